//! A correction: a rigid transform in the fixed frame about the isocentre, as six numbers.

use crate::error::{MotionError, geometry};
use crate::pose::{Pose, SCALE_MAX_MM};
use crate::rigid::{Rigid, angles, yaw_pitch_roll};

/// C = T(lateral, longitudinal, vertical) . Rz(rotation) . Rx(pitch) . Ry(roll), millimetres and radians.
///
/// The patient is brought onto the plan by M' = C . M. A correction is composed, never added to axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correction {
    /// +X, mm.
    pub lateral_mm: f64,
    /// +Y, towards the gantry, mm.
    pub longitudinal_mm: f64,
    /// +Z, up, mm.
    pub vertical_mm: f64,
    /// About +Z, radians.
    pub rotation: f64,
    /// About +X, radians.
    pub pitch: f64,
    /// About +Y, radians.
    pub roll: f64,
}

impl Correction {
    /// From the six numbers in the order of the axes.
    #[must_use]
    pub fn from_array(v: [f64; 6]) -> Self {
        let [
            lateral_mm,
            longitudinal_mm,
            vertical_mm,
            rotation,
            pitch,
            roll,
        ] = v;
        Self {
            lateral_mm,
            longitudinal_mm,
            vertical_mm,
            rotation,
            pitch,
            roll,
        }
    }

    /// The six numbers in the order of the axes.
    #[must_use]
    pub fn to_array(self) -> [f64; 6] {
        [
            self.lateral_mm,
            self.longitudinal_mm,
            self.vertical_mm,
            self.rotation,
            self.pitch,
            self.roll,
        ]
    }

    /// The transform; of the fixed frame for a correction, of any frame where the same six numbers describe a pose.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for numbers that are not finite or absurdly large.
    pub fn to_pose<F>(self) -> Result<Pose<F, F>, MotionError> {
        let p = [self.lateral_mm, self.longitudinal_mm, self.vertical_mm];
        let q = [self.rotation, self.pitch, self.roll];
        if !p.iter().all(|x| x.abs() <= SCALE_MAX_MM)
            || !q.iter().all(|x| x.abs() <= crate::trig::ANGLE_MAX)
        {
            return geometry(format!(
                "a correction of {p:?} mm and {q:?} rad is not finite or absurdly large"
            ));
        }
        Ok(Pose::of(Rigid {
            r: yaw_pitch_roll(self.rotation, self.pitch, self.roll),
            p,
        }))
    }

    /// The six numbers of a transform, |pitch| <= pi/2.
    ///
    /// # Errors
    /// [`MotionError::Singular`] at a pitch of 90 degrees, where rotation and roll cannot be told apart.
    pub fn from_pose<F>(pose: &Pose<F, F>) -> Result<Self, MotionError> {
        let (yaw, pitch, roll, cos_pitch) = angles(&pose.rigid.r);
        if cos_pitch < 1e-9 {
            return Err(MotionError::Singular(
                "a correction with a pitch of 90 degrees has no unique rotation and roll".into(),
            ));
        }
        let [x, y, z] = pose.rigid.p;
        Ok(Self::from_array([x, y, z, yaw, pitch, roll]))
    }
}
