//! Rigid motions as the clearance core needs them: a rotation matrix and a translation, in millimetres.

use nalgebra::{Matrix3, Vector3};

use super::error::ClearanceError;
use crate::trig::sin_cos;

/// A point or direction, mm.
pub type V3 = Vector3<f64>;

/// How far a rotation matrix may be from orthonormal. Within it, lengths are off by less than 1e-5 mm over 5 m.
const ORTHONORMAL_TOLERANCE: f64 = 1e-9;

/// Nothing stands further from the isocentre than this, mm; a larger translation is a unit mistake.
const FAR_MM: f64 = 100_000.0;

/// A rigid motion `a <- b`: takes the coordinates of a point in frame b to those in frame a.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rigid {
    /// Rotation part.
    pub rotation: Matrix3<f64>,
    /// Translation part, mm.
    pub translation: V3,
}

impl Rigid {
    /// No motion.
    #[must_use]
    pub fn identity() -> Self {
        Self {
            rotation: Matrix3::identity(),
            translation: V3::zeros(),
        }
    }

    /// A translation, mm.
    #[must_use]
    pub fn slide(translation: V3) -> Self {
        Self {
            rotation: Matrix3::identity(),
            translation,
        }
    }

    /// A turn by `angle_rad` about a unit axis through the origin (Rodrigues' formula).
    #[must_use]
    pub fn turn(axis: &V3, angle_rad: f64) -> Self {
        let (sine, cosine) = sin_cos(angle_rad);
        let cross = axis.cross_matrix();
        let rotation =
            Matrix3::identity() * cosine + cross * sine + axis * axis.transpose() * (1.0 - cosine);
        Self {
            rotation,
            translation: V3::zeros(),
        }
    }

    /// The upper three rows of a 4x4 matrix, row by row. Refuses what is not a rigid motion.
    pub fn from_rows(rows: &[f64; 12], what: &str) -> Result<Self, ClearanceError> {
        let refuse = |reason: String| {
            Err(ClearanceError::Pose {
                what: what.to_owned(),
                reason,
            })
        };
        let [a, b, c, x, d, e, f, y, g, h, i, z] = *rows;
        if rows.iter().any(|v| !v.is_finite()) {
            return refuse("it holds a number that is not finite".to_owned());
        }
        let rotation = Matrix3::new(a, b, c, d, e, f, g, h, i);
        let error = (rotation * rotation.transpose() - Matrix3::identity()).amax();
        if error > ORTHONORMAL_TOLERANCE {
            return refuse(format!(
                "its rotation is not orthonormal (off by {error:.1e})"
            ));
        }
        if rotation.determinant() < 0.0 {
            return refuse("its rotation mirrors".to_owned());
        }
        let translation = V3::new(x, y, z);
        if translation.amax() > FAR_MM {
            return refuse(format!(
                "it lies {:.0} mm away; lengths are in millimetres",
                translation.norm()
            ));
        }
        Ok(Self {
            rotation,
            translation,
        })
    }

    /// `self . other`.
    #[must_use]
    pub fn then(&self, other: &Self) -> Self {
        Self {
            rotation: self.rotation * other.rotation,
            translation: self.rotation * other.translation + self.translation,
        }
    }

    /// The inverse motion.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let rotation = self.rotation.transpose();
        Self {
            rotation,
            translation: -(rotation * self.translation),
        }
    }

    /// Moves a point.
    #[must_use]
    pub fn point(&self, p: &V3) -> V3 {
        self.rotation * p + self.translation
    }
}
