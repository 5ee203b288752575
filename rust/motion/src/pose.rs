//! A rigid transform that knows its two frames.

use std::fmt;
use std::marker::PhantomData;

use nalgebra::{IsometryMatrix3, Matrix3, Matrix4, Rotation3, Translation3};

use crate::error::{MotionError, geometry};
use crate::frame::Frame;
use crate::rigid::{Mat3, Rigid, Vec3, mul, transpose};

/// How far `R^T R` may be from the identity, per entry, before a matrix is refused as not rigid. What passes is brought
/// onto the nearest rotation.
pub const RIGIDITY_TOLERANCE: f64 = 1e-6;

/// Coordinates beyond this many millimetres are a mistake of unit, not a treatment room.
pub(crate) const SCALE_MAX_MM: f64 = 1.0e5;

/// `To <- From`: maps coordinates in `From` to coordinates in `To`; millimetres.
///
/// `Pose<Fixed, TableTop> * Pose<TableTop, Patient>` is a `Pose<Fixed, Patient>`. Wrong neighbours do not compile:
///
/// ```compile_fail
/// use igrt_motion::{Fixed, Gantry, Pose, TableTop, Patient};
/// let table = Pose::<Fixed, TableTop>::identity();
/// let wrong = table * Pose::<Gantry, Patient>::identity();
/// ```
pub struct Pose<To, From> {
    pub(crate) rigid: Rigid,
    frames: PhantomData<(To, From)>,
}

impl<To, From> Clone for Pose<To, From> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<To, From> Copy for Pose<To, From> {}

impl<To, From> PartialEq for Pose<To, From> {
    fn eq(&self, other: &Self) -> bool {
        self.rigid == other.rigid
    }
}

impl<To: Frame, From: Frame> fmt::Debug for Pose<To, From> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Pose({} <- {}, {:?}, {:?})",
            To::NAME,
            From::NAME,
            self.rigid.r,
            self.rigid.p
        )
    }
}

impl<To, From> Pose<To, From> {
    /// The transform that leaves coordinates as they are.
    #[must_use]
    pub fn identity() -> Self {
        Self::of(Rigid::IDENTITY)
    }

    pub(crate) fn of(rigid: Rigid) -> Self {
        Self {
            rigid,
            frames: PhantomData,
        }
    }

    /// From a rotation by rows and a translation in mm.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] if a number is not finite, a length is absurd, or the rotation is not rigid to
    /// [`RIGIDITY_TOLERANCE`].
    pub fn from_parts(
        rotation: [[f64; 3]; 3],
        translation_mm: [f64; 3],
    ) -> Result<Self, MotionError> {
        Ok(Self::of(Rigid {
            r: checked_rotation(&rotation)?,
            p: checked_translation(&translation_mm)?,
        }))
    }

    /// From a homogeneous 4 x 4 matrix by rows, checked for rigidity.
    ///
    /// # Errors
    /// As [`Pose::from_parts`], and if the last row is not (0, 0, 0, 1).
    pub fn from_matrix(rows: [[f64; 4]; 4]) -> Result<Self, MotionError> {
        let [[a, b, c, x], [d, e, f, y], [g, h, i, z], last] = rows;
        if last != [0.0, 0.0, 0.0, 1.0] {
            return geometry(format!(
                "last row of a pose matrix is {last:?}, not [0, 0, 0, 1]; is it transposed?"
            ));
        }
        Self::from_parts([[a, b, c], [d, e, f], [g, h, i]], [x, y, z])
    }

    /// Homogeneous 4 x 4 matrix by rows.
    #[must_use]
    pub fn to_matrix(&self) -> [[f64; 4]; 4] {
        let Rigid {
            r: [[a, b, c], [d, e, f], [g, h, i]],
            p: [x, y, z],
        } = self.rigid;
        [
            [a, b, c, x],
            [d, e, f, y],
            [g, h, i, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    }

    /// Rotation by rows.
    #[must_use]
    pub fn rotation(&self) -> [[f64; 3]; 3] {
        self.rigid.r
    }

    /// Origin of `From` in `To`, mm.
    #[must_use]
    pub fn translation_mm(&self) -> [f64; 3] {
        self.rigid.p
    }

    /// The same transform for nalgebra.
    #[must_use]
    pub fn to_isometry(&self) -> IsometryMatrix3<f64> {
        let Rigid {
            r: [[a, b, c], [d, e, f], [g, h, i]],
            p: [x, y, z],
        } = self.rigid;
        let rotation = Rotation3::from_matrix_unchecked(Matrix3::new(a, b, c, d, e, f, g, h, i));
        IsometryMatrix3::from_parts(Translation3::new(x, y, z), rotation)
    }

    /// From a nalgebra isometry.
    ///
    /// # Errors
    /// As [`Pose::from_parts`].
    pub fn from_isometry(isometry: &IsometryMatrix3<f64>) -> Result<Self, MotionError> {
        let m: Matrix4<f64> = isometry.to_homogeneous();
        Self::from_matrix(m.transpose().into())
    }

    /// The same numbers under other frames, for a door where frames are checked at run time instead.
    #[must_use]
    pub fn with_frames<A, B>(&self) -> Pose<A, B> {
        Pose::of(self.rigid)
    }

    /// `From <- To`.
    #[must_use]
    pub fn inverse(&self) -> Pose<From, To> {
        Pose::of(self.rigid.inverse())
    }

    /// Coordinates of a point of `From` in `To`, mm.
    #[must_use]
    pub fn apply(&self, point_mm: [f64; 3]) -> [f64; 3] {
        self.rigid.apply(&point_mm)
    }

    /// Distance of the origins (mm) and angle between the axes (radians) of two poses.
    #[must_use]
    pub fn deviation(&self, other: &Self) -> (f64, f64) {
        self.rigid.deviation(&other.rigid)
    }
}

impl<A, B, C> std::ops::Mul<Pose<B, C>> for Pose<A, B> {
    type Output = Pose<A, C>;

    fn mul(self, next: Pose<B, C>) -> Pose<A, C> {
        Pose::of(self.rigid.then(&next.rigid))
    }
}

fn checked_translation(p: &Vec3) -> Result<Vec3, MotionError> {
    for (axis, value) in ["x", "y", "z"].iter().zip(p) {
        // Written so that not-a-number fails too.
        if !(value.abs() <= SCALE_MAX_MM) {
            return geometry(format!(
                "translation {axis} is {value} mm; a pose is finite and below {SCALE_MAX_MM} mm"
            ));
        }
    }
    Ok(*p)
}

fn checked_rotation(r: &Mat3) -> Result<Mat3, MotionError> {
    let error = rigidity_error(r);
    if !(error <= RIGIDITY_TOLERANCE) {
        return geometry(format!(
            "rotation part is not rigid: R^T R is off the identity by {error:.3e}, {RIGIDITY_TOLERANCE:e} is allowed; \
             check for scale, shear or a matrix by columns"
        ));
    }
    if determinant(r) < 0.0 {
        return geometry(
            "rotation part is a reflection (determinant -1); check handedness of the axes",
        );
    }
    Ok(nearest_rotation(r))
}

#[inline(always)]
pub(crate) fn determinant([[a, b, c], [d, e, f], [g, h, i]]: &Mat3) -> f64 {
    a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
}

/// Length of the translation, an upper bound of its largest coordinate; not a number if any coordinate is.
#[inline(always)]
pub(crate) fn length([x, y, z]: &Vec3) -> f64 {
    (x * x + y * y + z * z).sqrt()
}

/// Sum of the entries of |R^T R - I|; not a number if any entry is.
#[inline(always)]
pub(crate) fn rigidity_error(r: &Mat3) -> f64 {
    let g = mul(&transpose(r), r);
    let diagonal = (g[0][0] - 1.0).abs() + (g[1][1] - 1.0).abs() + (g[2][2] - 1.0).abs();
    diagonal + g[0][1].abs() + g[0][2].abs() + g[1][2].abs()
}

/// One Newton step of the polar decomposition, R (3 I - R^T R) / 2: quadratic, so one step from 1e-6 lands at round-off.
#[inline(always)]
pub(crate) fn nearest_rotation(r: &Mat3) -> Mat3 {
    let g = mul(&transpose(r), r);
    let half = |x: f64| -0.5 * x;
    let correction = [
        [1.5 + half(g[0][0]), half(g[0][1]), half(g[0][2])],
        [half(g[1][0]), 1.5 + half(g[1][1]), half(g[1][2])],
        [half(g[2][0]), half(g[2][1]), 1.5 + half(g[2][2])],
    ];
    mul(r, &correction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Fixed, TableTop};

    type Top = Pose<Fixed, TableTop>;

    #[test]
    fn a_scaled_matrix_is_refused() {
        let e = Top::from_parts(
            [[1.001, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [0.0; 3],
        );
        assert!(matches!(e, Err(MotionError::Geometry(m)) if m.contains("not rigid")));
    }

    #[test]
    fn a_reflection_is_refused() {
        let e = Top::from_parts(
            [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [0.0; 3],
        );
        assert!(matches!(e, Err(MotionError::Geometry(m)) if m.contains("reflection")));
    }

    #[test]
    fn a_transposed_matrix_is_refused() {
        let mut m = Top::identity().to_matrix();
        m[3][0] = 5.0;
        assert!(Top::from_matrix(m).is_err());
    }

    #[test]
    fn metres_for_micrometres_are_refused() {
        assert!(Top::from_parts(Rigid::IDENTITY.r, [0.0, 2.0e6, 0.0]).is_err());
        assert!(Top::from_parts(Rigid::IDENTITY.r, [f64::NAN, 0.0, 0.0]).is_err());
    }

    #[test]
    fn nalgebra_and_back_is_the_same_pose() {
        let r = crate::rigid::yaw_pitch_roll(0.3, -0.2, 0.1);
        let pose = Top::of(Rigid {
            r,
            p: [1.0, 2.0, 3.0],
        });
        let back = Top::from_isometry(&pose.to_isometry());
        let (mm, rad) = back.map(|b| b.deviation(&pose)).unwrap_or((1.0, 1.0));
        assert!(mm == 0.0 && rad < 1e-15);
    }
}
