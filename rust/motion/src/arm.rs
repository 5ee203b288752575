//! Six revolute joints with a spherical wrist.

use crate::angle::less_turns;
use crate::couch::{Screw, Singularity};
use crate::error::{MotionError, geometry};
use crate::rigid::{Mat3, Rigid, Vec3, dot, mul, transpose};
use crate::trig::{atan2, sin_cos};

/// An ortho-parallel arm with a spherical wrist, in the seven parameters of Brandstötter, Angerer and Hofbaur,
/// "An Analytical Solution of the Inverse Kinematics Problem of Industrial Serial Manipulators with an Ortho-parallel
/// Basis and a Spherical Wrist" (2014); millimetres.
///
/// At zero the arm stands straight up. R = Rz(q1) Ry(q2 + q3) Rz(q4) Ry(q5) Rz(q6) in the base frame. The joints are
/// the ones of the model; the couch maps its axes to them (sign and zero of each axis).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    a1: f64,
    a2: f64,
    b: f64,
    c1: f64,
    c2: f64,
    c3: f64,
    c4: f64,
    /// Length and angle of the forearm, from c3 and a2.
    fore: f64,
    fore_angle: f64,
}

/// Positions of the wrist centre on its way through the joints, shared by forward and Jacobian.
struct Reach {
    sin1: f64,
    cos1: f64,
    sin23: f64,
    cos23: f64,
    /// Distance from axis 1 and height of joint 3 and of the wrist centre.
    elbow: (f64, f64),
    wrist: (f64, f64),
}

/// Joint 1 and what joints 2 and 3 are made of, for one sign of the shoulder.
pub(crate) struct Shoulder {
    q1: f64,
    sin1: f64,
    cos1: f64,
    towards: f64,
    bend: f64,
    inner: f64,
    /// Radius of the wrist centre and distance from joint 2, over the size of the arm, whichever is smaller.
    reach: f64,
}

impl Arm {
    /// From the offsets a1, a2, b and the lengths c1 (base to joint 2), c2 (upper arm), c3 (forearm), c4 (wrist to flange).
    ///
    /// # Errors
    /// [`MotionError::Geometry`] for lengths that are not finite or a missing upper arm or forearm.
    pub fn new([a1, a2, b]: [f64; 3], [c1, c2, c3, c4]: [f64; 4]) -> Result<Self, MotionError> {
        for (name, value) in [
            ("a1", a1),
            ("a2", a2),
            ("b", b),
            ("c1", c1),
            ("c2", c2),
            ("c3", c3),
            ("c4", c4),
        ] {
            if !(value.abs() <= 1.0e4) {
                return geometry(format!(
                    "{name} of the arm is {value} mm; it is finite and below 10 m"
                ));
            }
        }
        let fore = (a2 * a2 + c3 * c3).sqrt();
        if c2 <= 0.0 || fore <= 0.0 {
            return geometry(format!(
                "upper arm c2 = {c2} mm and forearm {fore} mm must both be positive"
            ));
        }
        Ok(Self {
            a1,
            a2,
            b,
            c1,
            c2,
            c3,
            c4,
            fore,
            fore_angle: atan2(a2, c3),
        })
    }

    /// Offsets a1, a2, b in mm.
    #[must_use]
    pub fn offsets_mm(&self) -> [f64; 3] {
        [self.a1, self.a2, self.b]
    }

    /// Lengths c1, c2, c3, c4 in mm.
    #[must_use]
    pub fn lengths_mm(&self) -> [f64; 4] {
        [self.c1, self.c2, self.c3, self.c4]
    }

    #[inline(always)]
    fn reach(&self, q: &[f64; 6]) -> Reach {
        let (sin1, cos1) = sin_cos(q[0]);
        let (sin2, cos2) = sin_cos(q[1]);
        let (sin23, cos23) = sin_cos(q[1] + q[2]);
        let elbow = (self.a1 + self.c2 * sin2, self.c1 + self.c2 * cos2);
        let wrist = (
            elbow.0 + (self.a2 * cos23 + self.c3 * sin23),
            elbow.1 + (self.c3 * cos23 - self.a2 * sin23),
        );
        Reach {
            sin1,
            cos1,
            sin23,
            cos23,
            elbow,
            wrist,
        }
    }

    #[inline(always)]
    fn base_rotation(sin1: f64, cos1: f64, sin23: f64, cos23: f64) -> Mat3 {
        [
            [cos1 * cos23, -sin1, cos1 * sin23],
            [sin1 * cos23, cos1, sin1 * sin23],
            [-sin23, 0.0, cos23],
        ]
    }

    #[inline(always)]
    pub(crate) fn forward(&self, q: &[f64; 6]) -> Rigid {
        let at = self.reach(q);
        let (s4, c4) = sin_cos(q[3]);
        let (s5, c5) = sin_cos(q[4]);
        let (s6, c6) = sin_cos(q[5]);
        let wrist = [
            [c4 * c5 * c6 - s4 * s6, -c4 * c5 * s6 - s4 * c6, c4 * s5],
            [s4 * c5 * c6 + c4 * s6, c4 * c6 - s4 * c5 * s6, s4 * s5],
            [-s5 * c6, s5 * s6, c5],
        ];
        let r = mul(
            &Self::base_rotation(at.sin1, at.cos1, at.sin23, at.cos23),
            &wrist,
        );
        let p = [
            at.cos1 * at.wrist.0 - at.sin1 * self.b + self.c4 * r[0][2],
            at.sin1 * at.wrist.0 + at.cos1 * self.b + self.c4 * r[1][2],
            at.wrist.1 + self.c4 * r[2][2],
        ];
        Rigid { r, p }
    }

    #[inline(always)]
    fn wrist_centre(&self, m: &Rigid) -> Vec3 {
        [
            m.p[0] - self.c4 * m.r[0][2],
            m.p[1] - self.c4 * m.r[1][2],
            m.p[2] - self.c4 * m.r[2][2],
        ]
    }

    /// Signs of shoulder (front, back) and elbow (up, down).
    pub(crate) const POSTURES: [(f64, f64); 4] =
        [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)];

    /// Both flips of the wrist for one posture, and how far it is from a singularity; not a number where out of reach.
    #[inline(always)]
    pub(crate) fn solve_posture(
        &self,
        m: &Rigid,
        (shoulder, elbow): (f64, f64),
    ) -> ([[f64; 6]; 2], f64) {
        self.wrists(m, &self.shoulder(m, shoulder), elbow)
    }

    /// What both elbows share for one sign of the shoulder.
    #[inline(always)]
    pub(crate) fn shoulder(&self, m: &Rigid, sign: f64) -> Shoulder {
        let centre = self.wrist_centre(m);
        let rest = (centre[0] * centre[0] + centre[1] * centre[1]) - self.b * self.b;
        let radius = if rest > -1e-9 {
            rest.max(0.0).sqrt()
        } else {
            f64::NAN
        };
        let x = sign * radius;
        let q1 = less_turns(atan2(centre[1], centre[0]) - atan2(self.b, x));
        let (sin1, cos1) = sin_cos(q1);
        let (u, w) = (x - self.a1, centre[2] - self.c1);
        let square = u * u + w * w;
        let cos_elbow =
            (square - self.c2 * self.c2 - self.fore * self.fore) / (2.0 * self.c2 * self.fore);
        // Round-off at full stretch is forgiven; anything beyond is not a number and is explained by `explain`.
        let sin_square = (1.0 - cos_elbow) * (1.0 + cos_elbow);
        let sin_elbow = if sin_square > -1e-12 {
            sin_square.max(0.0).sqrt()
        } else {
            f64::NAN
        };
        let size = self.c2 + self.fore;
        Shoulder {
            q1,
            sin1,
            cos1,
            towards: atan2(u, w),
            bend: atan2(sin_elbow, cos_elbow),
            inner: atan2(self.fore * sin_elbow, self.c2 + self.fore * cos_elbow),
            reach: (radius / size).min(square.sqrt() / size),
        }
    }

    /// Both flips of the wrist for one sign of the elbow.
    #[inline(always)]
    pub(crate) fn wrists(&self, m: &Rigid, at: &Shoulder, elbow: f64) -> ([[f64; 6]; 2], f64) {
        let q2 = less_turns(at.towards - elbow * at.inner);
        let q3 = less_turns(elbow * at.bend - self.fore_angle);
        let ([a, b], sine) = wrist(m, at.sin1, at.cos1, [q2, q3]);
        (
            [
                [at.q1, q2, q3, a[0], a[1], a[2]],
                [at.q1, q2, q3, b[0], b[1], b[2]],
            ],
            sine.min(at.reach),
        )
    }

    pub(crate) fn explain(&self, m: &Rigid) -> String {
        let centre = self.wrist_centre(m);
        let square = centre[0] * centre[0] + centre[1] * centre[1];
        let rest = square - self.b * self.b;
        if rest < 0.0 {
            let off = square.sqrt();
            return format!(
                "the wrist centre would stand {off:.2} mm from axis 1, inside its offset b = {:.2} mm",
                self.b
            );
        }
        let height = centre[2] - self.c1;
        let from = |across: f64| (across * across + height * height).sqrt();
        let (front, back) = (from(rest.sqrt() - self.a1), from(-rest.sqrt() - self.a1));
        let (near, far) = ((self.c2 - self.fore).abs(), self.c2 + self.fore);
        format!(
            "the wrist centre would stand {front:.2} mm from joint 2 with the shoulder to the front and {back:.2} mm with it \
             to the back; the arm reaches {near:.2} to {far:.2} mm"
        )
    }

    pub(crate) fn screws(&self, q: &[f64; 6]) -> [Screw; 6] {
        let at = self.reach(q);
        let (s4, c4) = sin_cos(q[3]);
        let place = |x: f64, z: f64| {
            [
                at.cos1 * x - at.sin1 * self.b,
                at.sin1 * x + at.cos1 * self.b,
                z,
            ]
        };
        let b = Self::base_rotation(at.sin1, at.cos1, at.sin23, at.cos23);
        let side = [-at.sin1, at.cos1, 0.0];
        let centre = place(at.wrist.0, at.wrist.1);
        let fore = [b[0][2], b[1][2], b[2][2]];
        let bend = [
            -s4 * b[0][0] + c4 * b[0][1],
            -s4 * b[1][0] + c4 * b[1][1],
            -s4 * b[2][0] + c4 * b[2][1],
        ];
        let r = self.forward(q).r;
        [
            Screw::rotary([0.0, 0.0, 1.0], [0.0, 0.0, 0.0]),
            Screw::rotary(side, place(self.a1, self.c1)),
            Screw::rotary(side, place(at.elbow.0, at.elbow.1)),
            Screw::rotary(fore, centre),
            Screw::rotary(bend, centre),
            Screw::rotary([r[0][2], r[1][2], r[2][2]], centre),
        ]
    }

    pub(crate) fn singularity(&self, q: &[f64; 6]) -> Singularity {
        let at = self.reach(q);
        let size = self.c2 + self.fore;
        let wrist = Singularity {
            name: "wrist aligned (joint 5 at 0 or 180 degrees)",
            margin: sin_cos(q[4]).0.abs(),
        };
        let elbow = Singularity {
            name: "elbow stretched or folded",
            margin: sin_cos(q[2] + self.fore_angle).0.abs(),
        };
        let shoulder = Singularity {
            name: "wrist centre over axis 1",
            margin: (at.wrist.0 / size).abs(),
        };
        wrist.nearer(elbow).nearer(shoulder)
    }
}

/// Joints 4 to 6 for a given arm position: both flips of the wrist, and the sine of joint 5.
#[inline(always)]
fn wrist(m: &Rigid, sin1: f64, cos1: f64, [q2, q3]: [f64; 2]) -> ([[f64; 3]; 2], f64) {
    let (sin23, cos23) = sin_cos(q2 + q3);
    let b = Arm::base_rotation(sin1, cos1, sin23, cos23);
    let [across, side, along] = transpose(&b);
    let [m0, m1, m2] = transpose(&m.r);
    let (x, y, z) = (dot(&across, &m2), dot(&side, &m2), dot(&along, &m2));
    let sine = (x * x + y * y).sqrt();
    let q4 = atan2(y, x);
    let (s4, c4) = sin_cos(q4);
    let q5 = atan2(c4 * x + s4 * y, z);
    // Joint 6 from the joint 4 just found, so that their sum stays right where each alone is poorly determined.
    let q6 = atan2(
        c4 * dot(&side, &m0) - s4 * dot(&across, &m0),
        c4 * dot(&side, &m1) - s4 * dot(&across, &m1),
    );
    let opposite = |q: f64| q - std::f64::consts::PI.copysign(q);
    ([[q4, q5, q6], [opposite(q4), -q5, opposite(q6)]], sine)
}
