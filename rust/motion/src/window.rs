//! The reachable window of corrections round a pose: how far each of the six numbers can go alone.

use crate::correction::Correction;
use crate::couch::{AxisKind, Couch};
use crate::error::{MotionError, geometry};

/// The path is checked at every step; a gap narrower than this could be passed over.
const STEP_MM: f64 = 0.5;
/// The same for rotations, radians (0.05 degrees).
const STEP_RAD: f64 = 8.7e-4;
/// Axes may follow one step of a correction by this much; more is a jump to another branch, not a move.
const JUMP_MM: f64 = 50.0;
const JUMP_RAD: f64 = 0.1;
/// Halvings of the last step: 0.5 mm to below a nanometre.
const HALVINGS: usize = 32;

/// Refuses a reach that makes no sense.
pub(crate) fn check_reach(reach_mm: f64, reach_rad: f64) -> Result<(), MotionError> {
    if reach_mm > 0.0 && reach_mm <= 1000.0 && reach_rad > 0.0 && reach_rad <= 1.5 {
        return Ok(());
    }
    geometry(format!(
        "a window of {reach_mm} mm and {reach_rad} rad is not within 1000 mm and 1.5 rad"
    ))
}

impl Couch {
    /// Lowest and highest value of each of the six numbers of a correction, alone, that the couch can follow from `axes`
    /// without leaving its limits or its branch: lateral, longitudinal, vertical (mm), rotation, pitch, roll (radians).
    ///
    /// Searched outwards from zero up to `reach_mm` and `reach_rad`, in steps of 0.5 mm and 0.05 degrees, then bisected.
    ///
    /// # Errors
    /// [`MotionError::Limit`] if the couch stands outside its limits, [`MotionError::Geometry`] for numbers that make no
    /// sense.
    pub fn correction_window(
        &self,
        axes: &[f64; 6],
        reach_mm: f64,
        reach_rad: f64,
    ) -> Result<[(f64, f64); 6], MotionError> {
        self.check_limits(axes)?;
        check_reach(reach_mm, reach_rad)?;
        let mut window = [(0.0, 0.0); 6];
        for (index, (low, high)) in window.iter_mut().enumerate() {
            let (step, reach) = if index < 3 {
                (STEP_MM, reach_mm)
            } else {
                (STEP_RAD, reach_rad)
            };
            *low = self.farthest(axes, index, -step, reach)?;
            *high = self.farthest(axes, index, step, reach)?;
        }
        Ok(window)
    }

    /// The farthest value of one number in the direction of `step`.
    fn farthest(
        &self,
        axes: &[f64; 6],
        index: usize,
        step: f64,
        reach: f64,
    ) -> Result<f64, MotionError> {
        let start = self.forward(axes)?;
        let follow = |value: f64, seed: &[f64; 6]| {
            let mut six = [0.0; 6];
            if let Some(slot) = six.get_mut(index) {
                *slot = value;
            }
            let target = Correction::from_array(six).to_pose().ok()? * start;
            let next = self.inverse_nearest(&target, seed).ok()?;
            self.follows(seed, &next).then_some(next)
        };
        let (mut at, mut reached) = (*axes, 0.0_f64);
        while reached.abs() < reach {
            let wanted = (reached + step).clamp(-reach, reach);
            if let Some(next) = follow(wanted, &at) {
                (at, reached) = (next, wanted);
                continue;
            }
            let mut beyond = wanted;
            for _ in 0..HALVINGS {
                let middle = 0.5 * (reached + beyond);
                match follow(middle, &at) {
                    Some(next) => (at, reached) = (next, middle),
                    None => beyond = middle,
                }
            }
            break;
        }
        Ok(reached)
    }

    fn follows(&self, from: &[f64; 6], to: &[f64; 6]) -> bool {
        let steps = from.iter().zip(to).zip(self.axis_kinds());
        steps.into_iter().all(|((a, b), kind)| {
            (a - b).abs()
                <= if kind == AxisKind::Rotary {
                    JUMP_RAD
                } else {
                    JUMP_MM
                }
        })
    }
}
