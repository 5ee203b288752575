//! Rigid transforms as plain arrays: what the kernels compute with, beneath the typed [`crate::Pose`].

use crate::trig::sin_cos;

pub(crate) type Vec3 = [f64; 3];
pub(crate) type Mat3 = [[f64; 3]; 3];

/// x -> r x + p, with `r` by rows; millimetres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rigid {
    pub r: Mat3,
    pub p: Vec3,
}

impl Rigid {
    pub(crate) const IDENTITY: Self = Self {
        r: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        p: [0.0, 0.0, 0.0],
    };

    #[inline(always)]
    pub(crate) fn then(&self, next: &Self) -> Self {
        Self {
            r: mul(&self.r, &next.r),
            p: add(&rotate(&self.r, &next.p), &self.p),
        }
    }

    #[inline(always)]
    pub(crate) fn inverse(&self) -> Self {
        let r = transpose(&self.r);
        let p = rotate(&r, &self.p);
        Self {
            r,
            p: [-p[0], -p[1], -p[2]],
        }
    }

    #[inline(always)]
    pub(crate) fn apply(&self, v: &Vec3) -> Vec3 {
        add(&rotate(&self.r, v), &self.p)
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.r
            .iter()
            .flatten()
            .chain(&self.p)
            .all(|x| x.is_finite())
    }

    /// Squares of the distance between the origins (mm) and of the chord 2 sin(angle / 2): what a tolerance needs, cheaply.
    #[inline(always)]
    pub(crate) fn misfit(&self, other: &Self) -> (f64, f64) {
        let d = sub(&self.p, &other.p);
        let row = |x: &Vec3, y: &Vec3| {
            let e = sub(x, y);
            dot(&e, &e)
        };
        let (a, b) = (&self.r, &other.r);
        // |Ra - Rb|^2 (Frobenius) is twice the squared chord.
        (
            dot(&d, &d),
            0.5 * (row(&a[0], &b[0]) + row(&a[1], &b[1]) + row(&a[2], &b[2])),
        )
    }

    /// Distance between the origins in mm and angle between the axes in radians (accurate near zero).
    #[inline(always)]
    pub(crate) fn deviation(&self, other: &Self) -> (f64, f64) {
        let d = sub(&self.p, &other.p);
        let (a, b) = (&self.r, &other.r);
        let row = |x: &Vec3, y: &Vec3| {
            let e = sub(x, y);
            dot(&e, &e)
        };
        // |Ra - Rb| (Frobenius) = 2 sqrt(2) sin(angle / 2): well conditioned where acos of the trace is not.
        let chord = (row(&a[0], &b[0]) + row(&a[1], &b[1]) + row(&a[2], &b[2])).sqrt();
        let half_sine = chord / (2.0 * std::f64::consts::SQRT_2);
        (
            dot(&d, &d).sqrt(),
            2.0 * crate::trig::asin(half_sine.min(1.0)),
        )
    }
}

#[inline(always)]
pub(crate) fn mul(a: &Mat3, b: &Mat3) -> Mat3 {
    let row = |x: &Vec3| {
        [
            x[0] * b[0][0] + x[1] * b[1][0] + x[2] * b[2][0],
            x[0] * b[0][1] + x[1] * b[1][1] + x[2] * b[2][1],
            x[0] * b[0][2] + x[1] * b[1][2] + x[2] * b[2][2],
        ]
    };
    [row(&a[0]), row(&a[1]), row(&a[2])]
}

#[inline(always)]
pub(crate) fn transpose(a: &Mat3) -> Mat3 {
    [
        [a[0][0], a[1][0], a[2][0]],
        [a[0][1], a[1][1], a[2][1]],
        [a[0][2], a[1][2], a[2][2]],
    ]
}

#[inline(always)]
pub(crate) fn rotate(a: &Mat3, v: &Vec3) -> Vec3 {
    [dot(&a[0], v), dot(&a[1], v), dot(&a[2], v)]
}

#[inline(always)]
pub(crate) fn dot(a: &Vec3, b: &Vec3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[inline(always)]
pub(crate) fn cross(a: &Vec3, b: &Vec3) -> Vec3 {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

#[inline(always)]
pub(crate) fn add(a: &Vec3, b: &Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

#[inline(always)]
pub(crate) fn sub(a: &Vec3, b: &Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Rz(yaw) . Rx(pitch) . Ry(roll): the order of the IEC 61217 table top.
#[inline(always)]
pub(crate) fn yaw_pitch_roll(yaw: f64, pitch: f64, roll: f64) -> Mat3 {
    let (sy, cy) = sin_cos(yaw);
    let (sp, cp) = sin_cos(pitch);
    let (sr, cr) = sin_cos(roll);
    [
        [cy * cr - sy * sp * sr, -sy * cp, cy * sr + sy * sp * cr],
        [sy * cr + cy * sp * sr, cy * cp, sy * sr - cy * sp * cr],
        [-cp * sr, sp, cp * cr],
    ]
}

/// The angles of Rz(yaw) . Rx(pitch) . Ry(roll) with |pitch| <= pi/2. The other solution is (yaw + pi, pi - pitch,
/// roll + pi). The fourth value is cos(pitch), which vanishes where yaw and roll turn about the same axis.
#[inline(always)]
pub(crate) fn angles(r: &Mat3) -> (f64, f64, f64, f64) {
    let cos_pitch = (r[0][1] * r[0][1] + r[1][1] * r[1][1]).sqrt();
    let pitch = crate::trig::atan2(r[2][1], cos_pitch);
    let yaw = crate::trig::atan2(-r[0][1], r[1][1]);
    // Roll from the yaw just found, so that their sum stays right where each alone is poorly determined.
    let (sy, cy) = sin_cos(yaw);
    let roll = crate::trig::atan2(cy * r[0][2] + sy * r[1][2], cy * r[0][0] + sy * r[1][0]);
    (yaw, pitch, roll, cos_pitch)
}
