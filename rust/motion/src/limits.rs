//! Ranges of the six axes.

use crate::error::{MotionError, geometry};

/// Round-off allowed when a value that was computed is compared with a limit: mm for linear axes, radians for rotary.
pub(crate) const ROUND_OFF: f64 = 1e-9;

/// Lower and upper ends of the six axes, mm or radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub(crate) lower: [f64; 6],
    pub(crate) upper: [f64; 6],
}

impl Limits {
    /// From pairs of (lower, upper).
    ///
    /// # Errors
    /// [`MotionError::Geometry`] naming the axis whose range is not finite or is empty.
    pub fn new(pairs: [(f64, f64); 6]) -> Result<Self, MotionError> {
        for (index, (lower, upper)) in pairs.iter().enumerate() {
            if !(lower.is_finite() && upper.is_finite() && lower < upper) {
                return geometry(format!(
                    "limits of axis {} are [{lower}, {upper}]; a range is finite and its lower end is below its upper",
                    index + 1
                ));
            }
        }
        Ok(Self {
            lower: pairs.map(|p| p.0),
            upper: pairs.map(|p| p.1),
        })
    }

    /// Pairs of (lower, upper).
    #[must_use]
    pub fn pairs(&self) -> [(f64, f64); 6] {
        let mut pairs = [(0.0, 0.0); 6];
        for ((pair, lower), upper) in pairs.iter_mut().zip(self.lower).zip(self.upper) {
            *pair = (lower, upper);
        }
        pairs
    }

    /// Distance of each axis to the nearer end of its range; negative outside.
    #[must_use]
    pub fn margins(&self, axes: &[f64; 6]) -> [f64; 6] {
        let mut margins = [0.0; 6];
        for (((margin, value), lower), upper) in
            margins.iter_mut().zip(axes).zip(self.lower).zip(self.upper)
        {
            *margin = (value - lower).min(upper - value);
        }
        margins
    }

    /// Whether every axis is inside its range, round-off allowed.
    #[must_use]
    pub fn contain(&self, axes: &[f64; 6]) -> bool {
        self.margins(axes).iter().all(|m| *m >= -ROUND_OFF)
    }
}
