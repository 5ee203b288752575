//! The linac couch: IEC 61217 patient support, table top eccentric and table top with pitch and roll.

use crate::couch::{Screw, Singularity, Solutions};
use crate::error::{MotionError, geometry};
use crate::rigid::{Rigid, angles, mul, rotate, yaw_pitch_roll};
use crate::trig::sin_cos;

/// M = Rz(theta_s) . T(0, Ey, 0) . Rz(theta_e) . T(Tx, Ty, Tz) . Rx(psi) . Ry(phi), IEC 61217.
///
/// Axes: lateral Tx, longitudinal Ty, vertical Tz in mm; rotation theta_s, pitch psi, roll phi in radians. The eccentric
/// offset Ey and angle theta_e are constants of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pedestal {
    eccentric_mm: f64,
    eccentric: f64,
}

impl Pedestal {
    /// A couch without an eccentric top: Ey = 0, theta_e = 0.
    pub const PLAIN: Self = Self {
        eccentric_mm: 0.0,
        eccentric: 0.0,
    };

    /// From the eccentric offset Ey (mm) and angle theta_e (radians).
    ///
    /// # Errors
    /// [`MotionError::Geometry`] if either is not finite or absurdly large.
    pub fn new(eccentric_mm: f64, eccentric: f64) -> Result<Self, MotionError> {
        if !(eccentric_mm.abs() <= 1.0e4 && eccentric.abs() <= std::f64::consts::TAU) {
            return geometry(format!(
                "eccentric top of {eccentric_mm} mm and {eccentric} rad is not a couch"
            ));
        }
        Ok(Self {
            eccentric_mm,
            eccentric,
        })
    }

    /// Eccentric offset Ey (mm) and angle theta_e (radians).
    #[must_use]
    pub fn eccentric(&self) -> (f64, f64) {
        (self.eccentric_mm, self.eccentric)
    }

    #[inline(always)]
    pub(crate) fn forward(&self, q: &[f64; 6]) -> Rigid {
        let [x, y, z, rotation, pitch, roll] = *q;
        let (se, ce) = sin_cos(self.eccentric);
        let (ss, cs) = sin_cos(rotation);
        let (u, v) = (ce * x - se * y, self.eccentric_mm + (se * x + ce * y));
        Rigid {
            r: yaw_pitch_roll(rotation + self.eccentric, pitch, roll),
            p: [cs * u - ss * v, ss * u + cs * v, z],
        }
    }

    /// Both solutions; the second, with the pitch beyond 90 degrees, is outside the limits of every real couch.
    #[inline(always)]
    pub(crate) fn solve(&self, m: &Rigid) -> ([[f64; 6]; 2], f64) {
        let (yaw, pitch, roll, cos_pitch) = angles(&m.r);
        let half_turn = std::f64::consts::PI;
        let first = self.translations(m, [yaw, pitch, roll]);
        let second = self.translations(m, [yaw + half_turn, half_turn - pitch, roll + half_turn]);
        ([first, second], cos_pitch)
    }

    #[inline(always)]
    fn translations(&self, m: &Rigid, [yaw, pitch, roll]: [f64; 3]) -> [f64; 6] {
        let rotation = yaw - self.eccentric;
        let (ss, cs) = sin_cos(rotation);
        let (se, ce) = sin_cos(self.eccentric);
        let u = cs * m.p[0] + ss * m.p[1];
        let v = (cs * m.p[1] - ss * m.p[0]) - self.eccentric_mm;
        [
            ce * u + se * v,
            ce * v - se * u,
            m.p[2],
            rotation,
            pitch,
            roll,
        ]
    }

    pub(crate) fn solutions(&self, m: &Rigid) -> Solutions {
        let (q, singular) = self.solve(m);
        Solutions::of(&q, singular)
    }

    pub(crate) fn screws(&self, q: &[f64; 6]) -> [Screw; 6] {
        let yaw = yaw_pitch_roll(q[3] + self.eccentric, 0.0, 0.0);
        let tilted = mul(&yaw, &yaw_pitch_roll(0.0, q[4], 0.0));
        let origin = self.forward(q).p;
        [
            Screw::linear(rotate(&yaw, &[1.0, 0.0, 0.0])),
            Screw::linear(rotate(&yaw, &[0.0, 1.0, 0.0])),
            Screw::linear([0.0, 0.0, 1.0]),
            Screw::rotary([0.0, 0.0, 1.0], [0.0, 0.0, 0.0]),
            Screw::rotary(rotate(&yaw, &[1.0, 0.0, 0.0]), origin),
            Screw::rotary(rotate(&tilted, &[0.0, 1.0, 0.0]), origin),
        ]
    }

    pub(crate) fn singularity(q: &[f64; 6]) -> Singularity {
        let (_, cos_pitch) = sin_cos(q[4]);
        Singularity {
            name: "pitch at 90 degrees",
            margin: cos_pitch.abs(),
        }
    }
}
