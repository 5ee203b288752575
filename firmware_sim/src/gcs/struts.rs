//! Motion of a hexapod as its controller makes it: all six struts begin and end together, each jerk-limited, and the platform goes wherever
//! that takes it.
//!
//! Between start and target the platform is therefore NOT on the straight line of the six axes; it bows out by fractions of a millimetre.
//! A driver that needs the line has to watch for it.

use crate::kinematics::{Base, Family};
use crate::limits::{AXES, Limits};
use crate::linear::solved;
use crate::profile::{self, Profile};

/// Axes of the platform in micro-units, in the order of [`crate::limits::NAMES`].
pub type Position = [f64; AXES];

type Lengths = [f64; AXES];

/// How much faster a stop by #24 or STP is than one along the profile.
const ABRUPT: f64 = 3.0;
/// A platform alone knows no base couch.
const STANDS: Base = [0.0; 4];
const CYCLE_S: f64 = crate::plant::CYCLE_US as f64 * 1e-6;

/// The platform cannot be where the struts would put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck;

/// A motion from rest to rest.
#[derive(Debug, Clone)]
pub struct Path {
    from: Lengths,
    step: Lengths,
    limits: profile::Limits,
    profile: Profile,
    began_us: u64,
    stopping: bool,
    position: Position,
    target: Position,
}

/// Caps of the speed beside the limits of the axes.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Speed of the platform along its way, um/s (VLS).
    pub platform: f64,
    /// Speed of each axis, micro-units a second (VEL).
    pub axes: Position,
}

impl Path {
    /// From `from` to `to`; `None` where there is nothing to move. Both must be within the struts' reach.
    pub fn new(
        family: &Family,
        limits: &Limits,
        caps: &Caps,
        from: &Position,
        to: &Position,
        now_us: u64,
    ) -> Option<Self> {
        let start = family.legs_mm(&STANDS, from)?;
        let end = family.legs_mm(&STANDS, to)?;
        let mut scalar = profile::Limits {
            speed: f64::INFINITY,
            accel: f64::INFINITY,
            jerk: f64::INFINITY,
        };
        for ((axis, cap), (from, to)) in limits.iter().zip(&caps.axes).zip(from.iter().zip(to)) {
            let length = (to - from).abs();
            if length > 0.5 {
                let speed = f64::from(axis.speed_max).min(*cap);
                scalar.speed = scalar.speed.min(speed / length);
                scalar.accel = scalar.accel.min(f64::from(axis.accel_max) / length);
                scalar.jerk = scalar.jerk.min(f64::from(axis.jerk_max) / length);
            }
        }
        let [a, b, c, ..] = from;
        let [x, y, z, ..] = to;
        let way = libm::sqrt((x - a) * (x - a) + (y - b) * (y - b) + (z - c) * (z - c));
        if way > 0.5 {
            scalar.speed = scalar.speed.min(caps.platform / way);
        }
        if !scalar.speed.is_finite() {
            return None;
        }
        let mut step = [0.0; AXES];
        for (step, (start, end)) in step.iter_mut().zip(start.iter().zip(&end)) {
            *step = end - start;
        }
        Some(Self {
            from: start,
            step,
            limits: scalar,
            profile: Profile::rest_to_rest(0.0, 1.0, &scalar),
            began_us: now_us,
            stopping: false,
            position: *from,
            target: *to,
        })
    }

    fn elapsed(&self, now_us: u64) -> f64 {
        now_us.saturating_sub(self.began_us) as f64 * 1e-6
    }

    /// Set-point at `now_us` and its speed over the last cycle.
    pub fn advance(&mut self, family: &Family, now_us: u64) -> Result<(Position, Position), Stuck> {
        let s = self.profile.at(self.elapsed(now_us)).position;
        let next = if s >= 1.0 {
            self.target
        } else {
            let mut lengths = self.from;
            for (length, step) in lengths.iter_mut().zip(&self.step) {
                *length += s * step;
            }
            forward(family, &lengths, &self.position).ok_or(Stuck)?
        };
        let mut speed = [0.0; AXES];
        for (speed, (now, before)) in speed.iter_mut().zip(next.iter().zip(&self.position)) {
            *speed = (now - before) / CYCLE_S;
        }
        self.position = next;
        Ok((next, speed))
    }

    /// Comes to rest where the struts can; `abrupt` with all that the motors have. A stop under way is not begun anew, but may become abrupt.
    pub fn stop(&mut self, now_us: u64, abrupt: bool) {
        if self.stopping && !abrupt {
            return;
        }
        let limits = if abrupt {
            profile::Limits {
                speed: self.limits.speed,
                accel: self.limits.accel * ABRUPT,
                jerk: self.limits.jerk * ABRUPT * ABRUPT,
            }
        } else {
            self.limits
        };
        let state = self.profile.at(self.elapsed(now_us));
        self.profile = Profile::stop(state, &limits);
        self.began_us = now_us;
        self.stopping = true;
    }

    /// Whether the set-point rests.
    pub fn at_rest(&self, now_us: u64) -> bool {
        self.elapsed(now_us) >= self.profile.duration()
    }

    /// Whether the target of the path is where it ends.
    pub fn stopping(&self) -> bool {
        self.stopping
    }
}

/// The axes at which the struts have these lengths, by Newton from a near start; `None` when it does not converge.
fn forward(family: &Family, lengths: &Lengths, start: &Position) -> Option<Position> {
    const ITERATIONS_MAX: usize = 12;
    const CLOSE_MM: f64 = 1e-8;
    // Millimetres and degrees, so that the six columns are alike in size.
    const STEP: Position = [1.0, 1.0, 1.0, 1000.0, 1000.0, 1000.0];
    let mut at = *start;
    for _ in 0..ITERATIONS_MAX {
        let here = family.legs_mm(&STANDS, &at)?;
        let mut residual = [0.0; AXES];
        for (residual, (wanted, here)) in residual.iter_mut().zip(lengths.iter().zip(&here)) {
            *residual = wanted - here;
        }
        if residual.iter().all(|off| off.abs() < CLOSE_MM) {
            return Some(at);
        }
        let mut columns = [[0.0; AXES]; AXES];
        for (k, (column, step)) in columns.iter_mut().zip(&STEP).enumerate() {
            let mut beside = at;
            *beside.get_mut(k)? += step;
            let there = family.legs_mm(&STANDS, &beside)?;
            for (slope, (there, here)) in column.iter_mut().zip(there.iter().zip(&here)) {
                *slope = there - here;
            }
        }
        let steps = solved(&columns, &residual)?;
        for (value, (steps, unit)) in at.iter_mut().zip(steps.iter().zip(&STEP)) {
            *value += steps * unit;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAMILY: Family = Family::Platform {
        base: [0.0; 3],
        legs: crate::kinematics::LEGS,
    };

    fn caps() -> Caps {
        Caps {
            platform: 10e3,
            axes: [1e9; AXES],
        }
    }

    #[test]
    fn struts_take_the_platform_to_its_target_but_not_along_the_straight_line() {
        let limits = FAMILY.limits();
        let target = [20e3, -15e3, 5e3, 1.5e6, -1e6, 2e6];
        let mut path = Path::new(&FAMILY, &limits, &caps(), &[0.0; 6], &target, 0).unwrap();
        let (mut now, mut off_line, mut last) = (0, 0.0_f64, [0.0; 6]);
        while !path.at_rest(now) {
            now += 1000;
            last = path.advance(&FAMILY, now).unwrap().0;
            let share = last[0] / target[0];
            for (value, target) in last.iter().zip(&target).take(3) {
                off_line = off_line.max((value - share * target).abs());
            }
        }
        assert_eq!(last, target);
        assert!(off_line > 20.0, "a straight line within {off_line} um");
        assert!(off_line < 1000.0, "{off_line} um off the line");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn stop_comes_to_rest_short_of_the_target_and_never_turns_back(at_ms in 1u64..1500, abrupt: bool) {
            let limits = FAMILY.limits();
            let target = [12e3, 8e3, -6e3, 1e6, 1e6, -1e6];
            let mut path = Path::new(&FAMILY, &limits, &caps(), &[0.0; 6], &target, 0).unwrap();
            let (mut now, mut last) = (0, 0.0);
            while now < at_ms * 1000 { now += 1000; path.advance(&FAMILY, now).unwrap(); }
            path.stop(now, abrupt);
            while !path.at_rest(now) {
                now += 1000;
                let (position, _) = path.advance(&FAMILY, now).unwrap();
                prop_assert!(position[0] >= last - 1e-3);
                last = position[0];
                prop_assert!(now < 10_000_000);
            }
            now += 1000;
            prop_assert_eq!(path.advance(&FAMILY, now).unwrap().1, [0.0; 6]);
        }
    }
}
