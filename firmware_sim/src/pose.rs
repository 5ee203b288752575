//! Rigid transforms of the simulated world: millimetres, rotation matrices, and the angles of IEC 61217 in degrees.
//!
//! `docs/conventions.md`: Rz is positive counter-clockwise seen from above, Rx (pitch) raises +Y, Ry (roll) lowers +X.

/// A vector in millimetres.
pub type Vector = [f64; 3];

/// A rigid transform x -> R x + t between two frames; which ones, the name of the variable says (`fixed_from_table`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    rotation: [Vector; 3],
    translation: Vector,
}

/// Six numbers of a pose in axis order: lateral, longitudinal, vertical in millimetres, rotation, pitch, roll in degrees.
pub type Six = [f64; 6];

fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

impl Pose {
    /// The transform that changes nothing.
    pub const IDENTITY: Self = Self {
        rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        translation: [0.0; 3],
    };

    /// A translation.
    pub fn translation(by: Vector) -> Self {
        Self {
            translation: by,
            ..Self::IDENTITY
        }
    }

    /// Rotation about X (pitch), right-handed.
    pub fn rx(deg: f64) -> Self {
        let (s, c) = libm::sincos(deg.to_radians());
        Self {
            rotation: [[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]],
            translation: [0.0; 3],
        }
    }

    /// Rotation about Y (roll, gantry), right-handed.
    pub fn ry(deg: f64) -> Self {
        let (s, c) = libm::sincos(deg.to_radians());
        Self {
            rotation: [[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]],
            translation: [0.0; 3],
        }
    }

    /// Rotation about Z (turntable), right-handed.
    pub fn rz(deg: f64) -> Self {
        let (s, c) = libm::sincos(deg.to_radians());
        Self {
            rotation: [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]],
            translation: [0.0; 3],
        }
    }

    /// Rotation by `deg` about the unit vector `axis` (Rodrigues).
    pub fn about(axis: &Vector, deg: f64) -> Self {
        let (s, c) = libm::sincos(deg.to_radians());
        let [x, y, z] = *axis;
        let k = 1.0 - c;
        Self {
            rotation: [
                [c + x * x * k, x * y * k - z * s, x * z * k + y * s],
                [y * x * k + z * s, c + y * y * k, y * z * k - x * s],
                [z * x * k - y * s, z * y * k + x * s, c + z * z * k],
            ],
            translation: [0.0; 3],
        }
    }

    /// `IEC patient from DICOM LPS`: (x, y, z) -> (x, z, -y).
    pub fn patient_from_dicom() -> Self {
        Self {
            rotation: [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]],
            translation: [0.0; 3],
        }
    }

    /// A correction from its six numbers: T(lateral, longitudinal, vertical) Rz(rotation) Rx(pitch) Ry(roll).
    pub fn correction(six: &Six) -> Self {
        let [x, y, z, rotation, pitch, roll] = *six;
        Self::translation([x, y, z])
            .then(&Self::rz(rotation))
            .then(&Self::rx(pitch))
            .then(&Self::ry(roll))
    }

    /// `self . inner`: a_from_b.then(&b_from_c) is a_from_c.
    #[must_use]
    pub fn then(&self, inner: &Self) -> Self {
        let columns = inner.columns();
        Self {
            rotation: self.rotation.map(|row| {
                [
                    dot(&row, &columns[0]),
                    dot(&row, &columns[1]),
                    dot(&row, &columns[2]),
                ]
            }),
            translation: self.point(&inner.translation),
        }
    }

    fn columns(&self) -> [Vector; 3] {
        let [[a, b, c], [d, e, f], [g, h, i]] = self.rotation;
        [[a, d, g], [b, e, h], [c, f, i]]
    }

    /// The transform back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let rotation = self.columns();
        Self {
            rotation,
            translation: rotation.map(|row| -dot(&row, &self.translation)),
        }
    }

    /// Where a point goes.
    pub fn point(&self, p: &Vector) -> Vector {
        let [tx, ty, tz] = self.translation;
        let [x, y, z] = self.direction(p);
        [x + tx, y + ty, z + tz]
    }

    /// Where a direction goes.
    pub fn direction(&self, p: &Vector) -> Vector {
        self.rotation.map(|row| dot(&row, p))
    }

    /// The origin of the inner frame.
    pub fn origin(&self) -> Vector {
        self.translation
    }

    /// Rotation matrix by rows.
    pub fn rotation(&self) -> [Vector; 3] {
        self.rotation
    }

    /// The six numbers of a correction (inverse of [`Pose::correction`]); pitch within +-90 degrees.
    pub fn six(&self) -> Six {
        let [[_, r01, _], [_, r11, _], [r20, r21, r22]] = self.rotation;
        let [x, y, z] = self.translation;
        [
            x,
            y,
            z,
            libm::atan2(-r01, r11).to_degrees(),
            libm::asin(r21.clamp(-1.0, 1.0)).to_degrees(),
            libm::atan2(-r20, r22).to_degrees(),
        ]
    }

    /// Angle of the rotation in degrees, 0 to 180; precise near 0 as well.
    pub fn angle_deg(&self) -> f64 {
        let [[r00, r01, r02], [r10, r11, r12], [r20, r21, r22]] = self.rotation;
        let axis = [r21 - r12, r02 - r20, r10 - r01];
        libm::atan2(libm::sqrt(dot(&axis, &axis)), r00 + r11 + r22 - 1.0).to_degrees()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_numbers_and_pose_are_inverse_to_each_other() {
        let six = [3.0, -4.0, 2.0, 11.0, -0.8, 0.6];
        for (a, b) in Pose::correction(&six).six().iter().zip(&six) {
            assert!((a - b).abs() < 1e-12);
        }
        let pose = Pose::correction(&six);
        let back = pose.then(&pose.inverse());
        assert!(back.angle_deg() < 1e-9 && back.origin().iter().all(|t| t.abs() < 1e-12));
    }

    #[test]
    fn directions_are_those_of_the_conventions() {
        assert!(
            Pose::rx(1.0).point(&[0.0, 100.0, 0.0])[2] > 0.0,
            "pitch raises the gantry end"
        );
        assert!(
            Pose::ry(1.0).point(&[100.0, 0.0, 0.0])[2] < 0.0,
            "roll lowers +X"
        );
        assert!(
            Pose::rz(1.0).point(&[100.0, 0.0, 0.0])[1] > 0.0,
            "rotation is counter-clockwise from above"
        );
        assert_eq!(
            Pose::patient_from_dicom().point(&[1.0, 2.0, 3.0]),
            [1.0, 3.0, -2.0]
        );
    }
}
