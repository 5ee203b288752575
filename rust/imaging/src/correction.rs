//! The six numbers of a correction and their covariance.
//!
//! A correction C is a rigid transform in the fixed frame about the isocentre, `C = T . Rz(rotation) . Rx(pitch) . Ry(roll)`; the patient is
//! brought onto the plan by `M' = C . M`.

use nalgebra::{
    Isometry3, Matrix6, Point3, Rotation3, Translation3, UnitQuaternion, Vector3, Vector6,
};

/// Lateral, longitudinal, vertical in mm; rotation, pitch, roll in degrees.
#[must_use]
pub fn six_numbers(c: &Isometry3<f64>) -> Vector6<f64> {
    let r = c.rotation.to_rotation_matrix();
    let m = r.matrix();
    let pitch = m.m32.clamp(-1.0, 1.0).asin();
    let roll = (-m.m31).atan2(m.m33);
    let rotation = (-m.m12).atan2(m.m22);
    let t = c.translation.vector;
    Vector6::new(
        t.x,
        t.y,
        t.z,
        rotation.to_degrees(),
        pitch.to_degrees(),
        roll.to_degrees(),
    )
}

/// The transform of six numbers.
#[must_use]
pub fn from_six_numbers(n: &Vector6<f64>) -> Isometry3<f64> {
    let r = Rotation3::from_axis_angle(&Vector3::z_axis(), n[3].to_radians())
        * Rotation3::from_axis_angle(&Vector3::x_axis(), n[4].to_radians())
        * Rotation3::from_axis_angle(&Vector3::y_axis(), n[5].to_radians());
    Isometry3::from_parts(
        Translation3::new(n[0], n[1], n[2]),
        UnitQuaternion::from_rotation_matrix(&r),
    )
}

/// A small motion of the patient in the fixed frame about the isocentre: translation in mm, then rotation vector in radians.
#[must_use]
pub fn small_motion(xi: &Vector6<f64>) -> Isometry3<f64> {
    Isometry3::new(
        Vector3::new(xi[0], xi[1], xi[2]),
        Vector3::new(xi[3], xi[4], xi[5]),
    )
}

/// Covariance of the six numbers of `c`, given that of the motion `xi` by which the patient may truly stand elsewhere: the true pose is
/// `small_motion(xi)` times the estimate, and the true correction `c . small_motion(xi)^-1`.
#[must_use]
pub fn covariance_of_six_numbers(c: &Isometry3<f64>, motion: &Matrix6<f64>) -> Matrix6<f64> {
    const STEP: f64 = 1e-5;
    let here = six_numbers(c);
    let mut jacobian = Matrix6::zeros();
    for (axis, mut column) in jacobian.column_iter_mut().enumerate() {
        let xi = Vector6::from_fn(|n, _| if n == axis { STEP } else { 0.0 });
        let moved = six_numbers(&(c * small_motion(&xi).inverse()));
        column.copy_from(&((moved - here) / STEP));
    }
    jacobian * motion * jacobian.transpose()
}

/// Covariance, mm2, of where a point of the patient ends after the correction; `target` is where the plan wants it, fixed frame.
#[must_use]
pub fn covariance_at_target(
    c: &Isometry3<f64>,
    motion: &Matrix6<f64>,
    target: &Point3<f64>,
) -> nalgebra::Matrix3<f64> {
    let before = c.inverse() * target;
    let mut lever = nalgebra::Matrix3x6::zeros();
    lever
        .fixed_view_mut::<3, 3>(0, 0)
        .copy_from(&nalgebra::Matrix3::identity());
    lever
        .fixed_view_mut::<3, 3>(0, 3)
        .copy_from(&(-before.coords.cross_matrix()));
    let turned = c.rotation.to_rotation_matrix().matrix() * lever;
    turned * motion * turned.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_numbers_come_back() {
        let n = Vector6::new(3.0, -7.0, 11.0, 1.7, -2.3, 0.9);
        assert!((six_numbers(&from_six_numbers(&n)) - n).norm() < 1e-12);
    }

    #[test]
    fn positive_pitch_raises_the_gantry_end() {
        let c = from_six_numbers(&Vector6::new(0.0, 0.0, 0.0, 0.0, 2.0, 0.0));
        assert!((c * Point3::new(0.0, 100.0, 0.0)).z > 3.0);
    }

    #[test]
    fn positive_roll_lowers_the_right_of_the_beholder() {
        let c = from_six_numbers(&Vector6::new(0.0, 0.0, 0.0, 0.0, 0.0, 2.0));
        assert!((c * Point3::new(100.0, 0.0, 0.0)).z < -3.0);
    }

    #[test]
    fn an_error_of_rotation_grows_with_the_distance_of_the_target() {
        let mut motion = Matrix6::zeros();
        motion[(5, 5)] = 0.01f64.powi(2);
        let at = covariance_at_target(
            &Isometry3::identity(),
            &motion,
            &Point3::new(100.0, 0.0, 0.0),
        );
        assert!((at.trace().sqrt() - 1.0).abs() < 1e-9);
    }
}
