//! How a frame moves along a path: joints in a row, each turning or sliding in proportion to one path parameter s in [0, 1].
//!
//! A straight line in the axis space of a pedestal couch, an arm, a gantry or a panel arm is such a chain, so no sampling
//! comes between the commanded motion and the bound on how far any point of it can travel.

use super::error::ClearanceError;
use super::rigid::{Rigid, V3};

/// One joint, outermost first in a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Joint {
    /// A constant motion.
    Fixed(Rigid),
    /// A turn about an axis through the joint's origin.
    Turn {
        /// Unit axis.
        axis: V3,
        /// Angle at s = 0, radians.
        from: f64,
        /// Angle at s = 1, radians.
        to: f64,
    },
    /// A translation.
    Slide {
        /// Offset at s = 0, mm.
        from: V3,
        /// Offset at s = 1, mm.
        to: V3,
    },
}

impl Joint {
    /// A turn; the axis may have any length but zero.
    pub fn turn(axis: V3, from: f64, to: f64) -> Result<Self, ClearanceError> {
        let unit = axis
            .try_normalize(1e-9)
            .filter(|u| u.iter().all(|x| x.is_finite()));
        match unit {
            Some(axis) if from.abs() <= ANGLE_MAX && to.abs() <= ANGLE_MAX => {
                Ok(Self::Turn { axis, from, to })
            }
            _ => Err(ClearanceError::Question(format!(
                "a turning joint about {:?} from {from} to {to} rad: it needs an axis and angles within {ANGLE_MAX} rad",
                axis.as_slice()
            ))),
        }
    }

    /// A slide between two finite offsets within 100 m.
    pub fn slide(from: V3, to: V3) -> Result<Self, ClearanceError> {
        // Not the largest of them: a NaN beside a number is never the largest.
        if from.iter().chain(to.iter()).all(|x| x.abs() <= 1e5) {
            return Ok(Self::Slide { from, to });
        }
        Err(ClearanceError::Question(format!(
            "a sliding joint from {:?} to {:?} mm: offsets must be finite and within 100 m",
            from.as_slice(),
            to.as_slice()
        )))
    }

    /// The joint that undoes this one.
    pub(crate) fn inverse(&self) -> Self {
        match self {
            Self::Fixed(pose) => Self::Fixed(pose.inverse()),
            Self::Turn { axis, from, to } => Self::Turn {
                axis: *axis,
                from: -from,
                to: -to,
            },
            Self::Slide { from, to } => Self::Slide {
                from: -from,
                to: -to,
            },
        }
    }

    pub(crate) fn at(&self, s: f64) -> Rigid {
        match self {
            Self::Fixed(pose) => *pose,
            Self::Turn { axis, from, to } => Rigid::turn(axis, from + (to - from) * s),
            Self::Slide { from, to } => Rigid::slide(from + (to - from) * s),
        }
    }

    pub(crate) fn moves(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Turn { from, to, .. } => from != to,
            Self::Slide { from, to } => from != to,
        }
    }
}

/// Ten turns either way; more is a unit mistake.
const ANGLE_MAX: f64 = 20.0 * std::f64::consts::PI;

/// `fixed <- frame` along a path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// Outermost first.
    pub joints: Vec<Joint>,
}

impl Chain {
    /// A frame that does not move.
    #[must_use]
    pub fn still(pose: Rigid) -> Self {
        Self {
            joints: vec![Joint::Fixed(pose)],
        }
    }

    /// The pose at path parameter s.
    #[must_use]
    pub fn pose(&self, s: f64) -> Rigid {
        self.joints
            .iter()
            .fold(Rigid::identity(), |pose, joint| pose.then(&joint.at(s)))
    }
}

/// A box that, grown by `growth` all round, holds a part at every s of an interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swept {
    pose: Rigid,
    half: V3,
    growth: f64,
}

impl Swept {
    pub(crate) fn of_box(pose: Rigid, half: V3) -> Self {
        Self {
            pose,
            half,
            growth: 0.0,
        }
    }

    /// The furthest that any held point is from the line through `origin` along the unit vector `axis`, mm.
    pub(crate) fn reach(&self, origin: &V3, axis: &V3) -> f64 {
        let mut most = 0f64;
        for corner in 0..8 {
            let sign = |bit: u32| if corner >> bit & 1 == 0 { 1.0 } else { -1.0 };
            let offset = V3::new(sign(0), sign(1), sign(2)).component_mul(&self.half);
            most = most.max((self.pose.point(&offset) - origin).cross(axis).norm());
        }
        most + self.growth
    }

    /// The same parts seen from outside `joint`, for s in the interval of middle `middle` and length `length`.
    pub(crate) fn outside(&self, joint: &Joint, middle: f64, length: f64) -> Self {
        let drift = match joint {
            Joint::Fixed(_) => 0.0,
            Joint::Turn { axis, from, to } => {
                self.reach(&V3::zeros(), axis) * (to - from).abs() * length * 0.5
            }
            Joint::Slide { from, to } => (to - from).norm() * length * 0.5,
        };
        Self {
            pose: joint.at(middle).then(&self.pose),
            half: self.half,
            growth: self.growth + drift,
        }
    }
}
