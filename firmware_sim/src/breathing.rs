//! A patient who breathes: a rigid shift of all that lies on the top, by the clock.
//!
//! The shift is zero at the end of exhalation, where a patient rests longest, and the amplitude at the end of inhalation:
//! `a (1 - cos^6(pi t / T))` (Lujan et al., Med Phys 1999;26:715, n = 3), on top of a baseline that was shifted once and one that drifts.
//! Each breath is deeper or shallower by a seeded share; the depth changes at the end of exhalation only, so that nothing jumps. Real lungs
//! deform; here chest and markers move as one, and the body surface with them.

use crate::pose::Vector;
use crate::random::Stream;

/// Longest period and largest shift that are taken.
const PERIOD_S: core::ops::RangeInclusive<f64> = 0.5..=60.0;
const SHIFT_MAX_MM: f64 = 100.0;

/// How somebody breathes. Vectors are lateral, longitudinal, vertical in the table-top frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breathing {
    /// From the end of exhalation to the end of inhalation, mm.
    pub amplitude_mm: Vector,
    /// One breath, s.
    pub period_s: f64,
    /// How the end of exhalation wanders, mm a minute.
    pub drift_mm_per_min: Vector,
    /// How far the end of exhalation has shifted from where the patient was laid, mm.
    pub baseline_mm: Vector,
    /// Share by which the depth of a breath may differ from the amplitude, 0 to 0.9.
    pub irregularity: f64,
}

impl Breathing {
    /// The same, if it is somebody's; a sentence if not.
    pub fn checked(self) -> Result<Self, String> {
        let vectors = [self.amplitude_mm, self.drift_mm_per_min, self.baseline_mm];
        if vectors
            .iter()
            .flatten()
            .any(|mm| !mm.is_finite() || mm.abs() > SHIFT_MAX_MM)
        {
            return Err(format!(
                "amplitude, drift and baseline of the breathing must be finite and within {SHIFT_MAX_MM} mm"
            ));
        }
        if !PERIOD_S.contains(&self.period_s) {
            return Err(format!(
                "a breath of {} s is not within {} to {} s",
                self.period_s,
                PERIOD_S.start(),
                PERIOD_S.end()
            ));
        }
        if !(0.0..=0.9).contains(&self.irregularity) {
            return Err(format!(
                "an irregularity of {} is not within 0 to 0.9",
                self.irregularity
            ));
        }
        Ok(self)
    }

    /// The shift so long after it began, by the seed of the room.
    pub fn shift_mm(&self, since_us: u64, seed: u64) -> Vector {
        let seconds = since_us as f64 * 1e-6;
        let breaths = seconds / self.period_s;
        let whole = libm::floor(breaths);
        let depth = libm::cos(core::f64::consts::PI * (breaths - whole));
        let open = 1.0 - depth * depth * depth * depth * depth * depth;
        let mut breath = Stream::new(seed.wrapping_add(whole as u64), "patient.breath");
        let deep = open * (1.0 + self.irregularity * (2.0 * breath.uniform() - 1.0));
        core::array::from_fn(|axis| {
            let pick = |of: &Vector| of.get(axis).copied().unwrap_or(0.0);
            pick(&self.baseline_mm)
                + pick(&self.drift_mm_per_min) * seconds / 60.0
                + pick(&self.amplitude_mm) * deep
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Breathing = Breathing {
        amplitude_mm: [0.0, 8.0, 3.0],
        period_s: 4.0,
        drift_mm_per_min: [0.0, 0.0, 0.0],
        baseline_mm: [0.0, 0.0, 0.0],
        irregularity: 0.0,
    };

    #[test]
    fn a_breath_begins_and_ends_at_exhalation_and_is_deepest_in_the_middle() {
        assert_eq!(CALM.shift_mm(0, 1), [0.0; 3]);
        let deepest = CALM.shift_mm(2_000_000, 1);
        assert!((deepest[1] - 8.0).abs() < 1e-9 && (deepest[2] - 3.0).abs() < 1e-9);
        assert!(CALM.shift_mm(4_000_000, 1)[1].abs() < 1e-9);
        let near = (0..400)
            .filter(|n| CALM.shift_mm(n * 10_000, 1)[1] > 4.0)
            .count();
        assert!((200..320).contains(&near), "{near}");
    }

    #[test]
    fn irregular_breaths_never_jump_and_differ_by_the_seed() {
        let wild = Breathing {
            irregularity: 0.5,
            drift_mm_per_min: [0.0, 1.0, 0.0],
            ..CALM
        };
        let mut last = wild.shift_mm(0, 7)[1];
        let mut peaks = Vec::new();
        for n in 1..12_000_u64 {
            let now = wild.shift_mm(n * 10_000, 7)[1];
            assert!((now - last).abs() < 0.4, "{last} to {now} in 10 ms");
            last = now;
            if n % 400 == 200 {
                peaks.push(now);
            }
        }
        let low = peaks.iter().copied().fold(f64::MAX, f64::min);
        let high = peaks.iter().copied().fold(f64::MIN, f64::max);
        assert!(high - low > 1.5, "{peaks:?}");
        assert_ne!(wild.shift_mm(2_000_000, 7), wild.shift_mm(2_000_000, 8));
    }

    #[test]
    fn what_nobody_breathes_is_refused() {
        for wrong in [
            Breathing {
                period_s: 0.0,
                ..CALM
            },
            Breathing {
                amplitude_mm: [f64::NAN, 0.0, 0.0],
                ..CALM
            },
            Breathing {
                irregularity: 1.0,
                ..CALM
            },
        ] {
            assert!(wrong.checked().is_err());
        }
        assert_eq!(CALM.checked(), Ok(CALM));
    }
}
