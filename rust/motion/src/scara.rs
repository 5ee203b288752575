//! SCARA-like positioner: a vertical column, three vertical revolutes, then pitch and roll.

use std::f64::consts::PI;

use crate::angle::less_turns;
use crate::couch::{Screw, Singularity, Solutions};
use crate::error::{MotionError, geometry};
use crate::rigid::{Rigid, Vec3, angles, mul, rotate, yaw_pitch_roll};
use crate::trig::{atan2, sin_cos};

/// B = T(0, 0, v) . Rz(q1) . T(l1, 0, 0) . Rz(q2) . T(l2, 0, 0) . Rz(q3) . T(w) . Rx(pitch) . Ry(roll) in the base frame.
///
/// Axes from base to table top: vertical v in mm; shoulder q1, elbow q2, wrist q3, pitch, roll in radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scara {
    upper_mm: f64,
    fore_mm: f64,
    wrist_mm: Vec3,
}

impl Scara {
    /// From the two link lengths and the offset from the wrist axis to the point where pitch and roll turn; mm.
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for a link that is not positive and finite, or an absurd offset.
    pub fn new(upper_mm: f64, fore_mm: f64, wrist_mm: [f64; 3]) -> Result<Self, MotionError> {
        for (name, length) in [("upper", upper_mm), ("fore", fore_mm)] {
            if !(length > 0.0 && length <= 1.0e4) {
                return geometry(format!(
                    "{name} link of a SCARA arm is {length} mm; it is positive and below 10 m"
                ));
            }
        }
        if !wrist_mm.iter().all(|w| w.abs() <= 1.0e4) {
            return geometry(format!(
                "wrist offset {wrist_mm:?} mm is not finite and below 10 m"
            ));
        }
        Ok(Self {
            upper_mm,
            fore_mm,
            wrist_mm,
        })
    }

    /// Upper link, fore link, mm.
    #[must_use]
    pub fn links_mm(&self) -> [f64; 2] {
        [self.upper_mm, self.fore_mm]
    }

    /// Offset from the wrist axis to the pitch and roll axes, mm.
    #[must_use]
    pub fn wrist_mm(&self) -> [f64; 3] {
        self.wrist_mm
    }

    #[inline(always)]
    pub(crate) fn forward(&self, q: &[f64; 6]) -> Rigid {
        let [v, q1, q2, q3, pitch, roll] = *q;
        let (s1, c1) = sin_cos(q1);
        let (s12, c12) = sin_cos(q1 + q2);
        let (s, c) = sin_cos(q1 + q2 + q3);
        let [wx, wy, wz] = self.wrist_mm;
        Rigid {
            r: yaw_pitch_roll(q1 + q2 + q3, pitch, roll),
            p: [
                self.upper_mm * c1 + self.fore_mm * c12 + (c * wx - s * wy),
                self.upper_mm * s1 + self.fore_mm * s12 + (s * wx + c * wy),
                v + wz,
            ],
        }
    }

    /// Elbow left and right, for each of the two solutions of pitch; not a number where out of reach.
    #[inline(always)]
    pub(crate) fn solve(&self, m: &Rigid) -> ([[f64; 6]; 4], f64) {
        let (yaw, pitch, roll, cos_pitch) = angles(&m.r);
        let (a, reach_a) = self.elbows(m, yaw, pitch, roll);
        let (b, reach_b) = self.elbows(m, yaw + PI, PI - pitch, roll + PI);
        (
            [a[0], a[1], b[0], b[1]],
            cos_pitch.min(reach_a).min(reach_b),
        )
    }

    #[inline(always)]
    fn elbows(&self, m: &Rigid, yaw: f64, pitch: f64, roll: f64) -> ([[f64; 6]; 2], f64) {
        let (x, y, z) = self.wrist_axis(m, yaw);
        let (l1, l2) = (self.upper_mm, self.fore_mm);
        let square = x * x + y * y;
        let cos_elbow = (square - l1 * l1 - l2 * l2) / (2.0 * l1 * l2);
        // Round-off at full stretch is forgiven; anything beyond is not a number and is explained by `explain`.
        let sin_square = (1.0 - cos_elbow) * (1.0 + cos_elbow);
        let sin_elbow = if sin_square > -1e-12 {
            sin_square.max(0.0).sqrt()
        } else {
            f64::NAN
        };
        let elbow = atan2(sin_elbow, cos_elbow);
        let towards = atan2(y, x);
        let inner = atan2(l2 * sin_elbow, l1 + l2 * cos_elbow);
        let (left, right) = (towards - inner, towards + inner);
        let branches = [
            [
                z,
                less_turns(left),
                elbow,
                less_turns(yaw - left - elbow),
                pitch,
                roll,
            ],
            [
                z,
                less_turns(right),
                -elbow,
                less_turns(yaw - right + elbow),
                pitch,
                roll,
            ],
        ];
        (branches, square.sqrt() / (l1 + l2))
    }

    #[inline(always)]
    fn wrist_axis(&self, m: &Rigid, yaw: f64) -> (f64, f64, f64) {
        let (s, c) = sin_cos(yaw);
        let [wx, wy, wz] = self.wrist_mm;
        (
            m.p[0] - (c * wx - s * wy),
            m.p[1] - (s * wx + c * wy),
            m.p[2] - wz,
        )
    }

    pub(crate) fn solutions(&self, m: &Rigid) -> Solutions {
        let (q, singular) = self.solve(m);
        Solutions::of(&q, singular)
    }

    pub(crate) fn explain(&self, m: &Rigid) -> String {
        let (yaw, ..) = angles(&m.r);
        let (x, y, _) = self.wrist_axis(m, yaw);
        let reach = (x * x + y * y).sqrt();
        let (near, far) = (
            (self.upper_mm - self.fore_mm).abs(),
            self.upper_mm + self.fore_mm,
        );
        format!(
            "the wrist axis would stand {reach:.2} mm from the column; the arm reaches {near:.2} to {far:.2} mm"
        )
    }

    pub(crate) fn screws(&self, q: &[f64; 6]) -> [Screw; 6] {
        let [_, q1, q2, q3, pitch, _] = *q;
        let up = [0.0, 0.0, 1.0];
        let (s1, c1) = sin_cos(q1);
        let (s12, c12) = sin_cos(q1 + q2);
        let elbow = [self.upper_mm * c1, self.upper_mm * s1, 0.0];
        let wrist = [
            elbow[0] + self.fore_mm * c12,
            elbow[1] + self.fore_mm * s12,
            0.0,
        ];
        let yaw = yaw_pitch_roll(q1 + q2 + q3, 0.0, 0.0);
        let tilted = mul(&yaw, &yaw_pitch_roll(0.0, pitch, 0.0));
        let pivot = self.forward(q).p;
        [
            Screw::linear(up),
            Screw::rotary(up, [0.0, 0.0, 0.0]),
            Screw::rotary(up, elbow),
            Screw::rotary(up, wrist),
            Screw::rotary(rotate(&yaw, &[1.0, 0.0, 0.0]), pivot),
            Screw::rotary(rotate(&tilted, &[0.0, 1.0, 0.0]), pivot),
        ]
    }

    pub(crate) fn singularity(q: &[f64; 6]) -> Singularity {
        let pitch = Singularity {
            name: "pitch at 90 degrees",
            margin: sin_cos(q[4]).1.abs(),
        };
        let elbow = Singularity {
            name: "elbow stretched or folded",
            margin: sin_cos(q[2]).0.abs(),
        };
        pitch.nearer(elbow)
    }
}
