//! Where the table top of each couch family stands, and the legs of the hexapod: the truth of the simulator.
//!
//! Written from docs/conventions.md and the figures of docs/machines.md alone; the controller has its own.

use crate::limits::{self, AXES, Kind, Limits};
use crate::linear;
use crate::pose::{Pose, Six, Vector};
use crate::random::Stream;

/// Where the base couch under a hexapod stands: lateral, longitudinal, vertical, rotation in micro-units.
pub type Base = [f64; 4];

/// Joints and lengths of six legs, mm, in the table-top frame with the platform at neutral.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Legs {
    /// Joints on the base.
    pub feet: [Vector; 6],
    /// Joints on the platform.
    pub heads: [Vector; 6],
    /// Shortest and longest leg.
    pub range: (f64, f64),
}

/// A hexapod on a base couch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hexapod {
    /// Its legs.
    pub legs: Legs,
    /// Travel of the platform from neutral, each way: mm and degrees.
    pub travel: (f64, f64),
    /// Range of each axis of the base couch, mm and degrees.
    pub base: [(f64, f64); 4],
}

/// Six revolute joints with a spherical wrist, seven lengths in mm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arm {
    /// a1, a2, b.
    pub offsets: [f64; 3],
    /// c1 to c4.
    pub lengths: [f64; 4],
    /// Turn of a joint of the model for a turn of the axis: +1 or -1.
    pub signs: [f64; AXES],
    /// Joints of the model at zero axes, degrees.
    pub zeros: [f64; AXES],
    /// `fixed from foot`: six numbers of a pose.
    pub foot: Six,
    /// `flange from table top`: six numbers of a pose.
    pub tool: Six,
}

/// A column, three turns about vertical axes, pitch and roll; mm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scara {
    /// Upper and lower arm.
    pub links: [f64; 2],
    /// From the third vertical axis to where pitch and roll cross.
    pub wrist: Vector,
    /// `fixed from foot`: six numbers of a pose.
    pub foot: Six,
    /// `flange from table top`: six numbers of a pose.
    pub tool: Six,
}

/// A couch family with the constants of its geometry.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one is made per room and lent from then on"
)]
pub enum Family {
    /// Linac pedestal: turntable at the isocentre, translations, pitch and roll stage.
    Pedestal,
    /// The same with an eccentric table top: mm and degrees.
    Eccentric(f64, f64),
    /// A hexapod on its base couch, shown as the six axes of a pedestal.
    Hexapod(Hexapod),
    /// The platform of a hexapod alone, as its own controller sees it; zero axes stand at `base` of the fixed frame (mm).
    Platform {
        /// Table-top origin at zero axes.
        base: Vector,
        /// Its legs.
        legs: Legs,
    },
    /// A robot with six revolute joints.
    Arm(Arm),
    /// A SCARA-like robot.
    Scara(Scara),
}

/// The legs of the hexapod that is built in.
pub const LEGS: Legs = Legs {
    feet: [
        [334.835, -259.04, -360.0],
        [334.835, -140.96, -360.0],
        [-116.287, 119.495, -360.0],
        [-218.548, 60.455, -360.0],
        [-218.548, -460.455, -360.0],
        [-116.287, -519.495, -360.0],
    ],
    heads: [
        [154.269, -383.851, -100.0],
        [154.269, -16.149, -100.0],
        [82.085, 25.526, -100.0],
        [-236.354, -158.324, -100.0],
        [-236.354, -241.676, -100.0],
        [82.085, -425.526, -100.0],
    ],
    range: (240.0, 440.0),
};
/// The hexapod that is built in: docs/machines.md, `linac_hexapod`.
pub const HEXAPOD: Family = Family::Hexapod(Hexapod {
    legs: LEGS,
    travel: (30.0, 3.0),
    base: [
        (-250.0, 250.0),
        (-1000.0, 400.0),
        (-450.0, 50.0),
        (-95.0, 95.0),
    ],
});
/// The arm that is built in: docs/machines.md, `robot_arm`.
pub const ARM: Family = Family::Arm(Arm {
    offsets: [350.0, -41.0, 0.0],
    lengths: [675.0, 1150.0, 1220.0, 215.0],
    signs: [1.0; AXES],
    zeros: [0.0; AXES],
    foot: [-1900.0, -1900.0, -1300.0, 45.0, 0.0, 0.0],
    tool: [40.0, 0.0, 1070.0, 90.0, 90.0, 0.0],
});
/// The SCARA-like robot that is built in: docs/machines.md, `robot_scara`.
pub const SCARA: Family = Family::Scara(Scara {
    links: [900.0, 700.0],
    wrist: [0.0, 0.0, 700.0],
    foot: [-900.0, -2100.0, -1300.0, 0.0, 0.0, 0.0],
    tool: [0.0, 900.0, 60.0, 0.0, 0.0, 0.0],
});

impl Arm {
    fn table_top(&self, axes: &[f64; AXES]) -> Pose {
        let mut joints = axes.map(|axis| axis / Kind::Rotary.scale());
        for (joint, (sign, zero)) in joints.iter_mut().zip(self.signs.iter().zip(&self.zeros)) {
            *joint = *joint * sign + zero;
        }
        let [q1, q2, q3, q4, q5, q6] = joints;
        let ([a1, a2, b], [c1, c2, c3, c4]) = (self.offsets, self.lengths);
        // Upright at zero: column and shoulder offset, upper arm, elbow offset and forearm, wrist, flange.
        Pose::correction(&self.foot)
            .then(&Pose::translation([0.0, 0.0, c1]))
            .then(&Pose::rz(q1))
            .then(&Pose::translation([a1, b, 0.0]))
            .then(&Pose::ry(q2))
            .then(&Pose::translation([0.0, 0.0, c2]))
            .then(&Pose::ry(q3))
            .then(&Pose::translation([a2, 0.0, c3]))
            .then(&Pose::rz(q4))
            .then(&Pose::ry(q5))
            .then(&Pose::rz(q6))
            .then(&Pose::translation([0.0, 0.0, c4]))
            .then(&Pose::correction(&self.tool))
    }
}

impl Scara {
    fn table_top(&self, axes: &[f64; AXES]) -> Pose {
        let [column, turns @ ..] = axes;
        let [shoulder, elbow, wrist, pitch, roll] = turns.map(|turn| turn / Kind::Rotary.scale());
        let [upper, lower] = self.links;
        Pose::correction(&self.foot)
            .then(&Pose::translation([
                0.0,
                0.0,
                column / Kind::Linear.scale(),
            ]))
            .then(&Pose::rz(shoulder))
            .then(&Pose::translation([upper, 0.0, 0.0]))
            .then(&Pose::rz(elbow))
            .then(&Pose::translation([lower, 0.0, 0.0]))
            .then(&Pose::rz(wrist))
            .then(&Pose::translation(self.wrist))
            .then(&Pose::rx(pitch))
            .then(&Pose::ry(roll))
            .then(&Pose::correction(&self.tool))
    }
}

impl Legs {
    /// Lengths with the platform at a pose from neutral, mm.
    pub fn lengths(&self, platform: &Pose) -> [f64; 6] {
        let mut lengths = [0.0; 6];
        for ((length, foot), head) in lengths.iter_mut().zip(&self.feet).zip(&self.heads) {
            let head = platform.point(head);
            *length = libm::sqrt(head.iter().zip(foot).map(|(h, f)| (h - f) * (h - f)).sum());
        }
        lengths
    }

    /// The first leg outside its range, counted from 1, with its length.
    fn outside(&self, platform: &Pose) -> Option<(usize, f64)> {
        let (shortest, longest) = self.range;
        let lengths = self.lengths(platform);
        let found = lengths
            .iter()
            .enumerate()
            .find(|(_, length)| !(shortest..=longest).contains(*length));
        found.map(|(k, length)| (k + 1, *length))
    }
}

impl Hexapod {
    /// The platform from neutral, with the base couch at `base` and the table top at `axes`.
    fn platform(base: &Base, axes: &[f64; AXES]) -> Pose {
        let [x, y, z, turn] = *base;
        let neutral = pedestal(&[x, y, z, turn, 0.0, 0.0]);
        neutral.inverse().then(&pedestal(axes))
    }

    /// The first axis of the base couch outside its range.
    fn base_outside(&self, base: &Base) -> Option<usize> {
        let scales = [1e3, 1e3, 1e3, 1e6];
        base.iter()
            .zip(&self.base)
            .zip(scales)
            .position(|((at, (low, high)), scale)| !(low * scale..=high * scale).contains(at))
    }
}

/// Where the base couch goes when it carries the platform, as it stands, from one position of the axes to another.
///
/// M = Rz(base) T(base) P; with P unchanged the base turns as the axes turn, and slides as they slide, seen from a base that the platform
/// is turned against.
pub fn carried(base: &Base, from: &[f64; AXES], to: &[f64; AXES]) -> Base {
    let [x, y, z, turn] = *base;
    let [fx, fy, fz, from_turn, ..] = *from;
    let [tx, ty, tz, to_turn, ..] = *to;
    let (s, c) = libm::sincos(((from_turn - turn) / Kind::Rotary.scale()).to_radians());
    let (dx, dy) = (tx - fx, ty - fy);
    [
        x + c * dx - s * dy,
        y + s * dx + c * dy,
        z + tz - fz,
        turn + to_turn - from_turn,
    ]
}

impl Family {
    /// Number of the family in HELLO_ACK.
    pub fn number(&self) -> u8 {
        match self {
            Self::Pedestal | Self::Eccentric(..) => 1,
            Self::Hexapod(_) | Self::Platform { .. } => 2,
            Self::Arm(_) => 3,
            Self::Scara(_) => 4,
        }
    }

    /// Default limits of the family.
    pub fn limits(&self) -> Limits {
        match self {
            Self::Pedestal | Self::Eccentric(..) => limits::PEDESTAL,
            Self::Hexapod(_) => limits::HEXAPOD,
            Self::Platform { .. } => limits::PLATFORM,
            Self::Arm(_) => limits::ARM,
            Self::Scara(_) => limits::SCARA,
        }
    }

    /// Whether the table top hangs at the end of long links, whose joints must be measured more finely.
    pub fn is_robot(&self) -> bool {
        matches!(self, Self::Arm(_) | Self::Scara(_))
    }

    /// Which axis the load drives down where nothing holds it, and its way for 1 mm of sinking: um or udeg.
    pub fn sinks(&self) -> (usize, f64) {
        match self {
            Self::Arm(_) => (2, 24e3),
            Self::Scara(_) => (0, -1e3),
            _ => (2, -1e3),
        }
    }

    /// `fixed from table top` at axes in micro-units.
    pub fn table_top(&self, axes: &[f64; AXES]) -> Pose {
        match self {
            Self::Pedestal | Self::Hexapod(_) => pedestal(axes),
            Self::Eccentric(offset, turn) => eccentric(axes, *offset, *turn),
            Self::Platform { base, .. } => {
                Pose::translation(*base).then(&Pose::correction(&human(axes)))
            }
            Self::Arm(arm) => arm.table_top(axes),
            Self::Scara(scara) => scara.table_top(axes),
        }
    }

    /// How far the table top reaches out from what carries it, 0 to 1: what its sag grows with.
    pub fn reach(&self, limits: &Limits, axes: &[f64; AXES]) -> f64 {
        let from_foot = |foot: &Six, longest: f64| {
            let [x, y, _] = self.table_top(axes).origin();
            let [fx, fy, ..] = *foot;
            libm::hypot(x - fx, y - fy) / longest
        };
        let share = match self {
            Self::Arm(arm) => {
                let ([a1, ..], [_, c2, c3, c4]) = (arm.offsets, arm.lengths);
                from_foot(&arm.foot, a1 + c2 + c3 + c4)
            }
            Self::Scara(scara) => {
                let ([upper, lower], [_, y, ..]) = (scara.links, scara.tool);
                from_foot(&scara.foot, upper + lower + y.abs())
            }
            _ => {
                let ([_, axis, ..], [_, at, ..]) = (limits, axes);
                let (min, max) = (f64::from(axis.min), f64::from(axis.max));
                (at - min) / (max - min)
            }
        };
        share.clamp(0.0, 1.0)
    }

    /// Leg lengths in millimetres, with the base couch at `base` where there is one; `None` for families without legs.
    pub fn legs_mm(&self, base: &Base, axes: &[f64; AXES]) -> Option<[f64; 6]> {
        match self {
            Self::Platform { legs, .. } => Some(legs.lengths(&Pose::correction(&human(axes)))),
            Self::Hexapod(hexapod) => Some(hexapod.legs.lengths(&Hexapod::platform(base, axes))),
            _ => None,
        }
    }

    /// Whether legs limit the axes.
    pub fn has_legs(&self) -> bool {
        matches!(self, Self::Hexapod(_) | Self::Platform { .. })
    }

    /// Whether a couch below carries the platform.
    pub fn has_base(&self) -> bool {
        matches!(self, Self::Hexapod(_))
    }

    /// The first leg outside its limits, counted from 1, with its length.
    pub fn leg_outside(&self, base: &Base, axes: &[f64; AXES]) -> Option<(usize, f64)> {
        match self {
            Self::Platform { legs, .. } => legs.outside(&Pose::correction(&human(axes))),
            Self::Hexapod(hexapod) => hexapod.legs.outside(&Hexapod::platform(base, axes)),
            _ => None,
        }
    }

    /// The first of the platform's six axes beyond its travel, with its value in mm or degrees.
    pub fn travel_outside(&self, base: &Base, axes: &[f64; AXES]) -> Option<(usize, f64)> {
        let Self::Hexapod(hexapod) = self else {
            return None;
        };
        let (slide, tilt) = hexapod.travel;
        // Round-off of the line, a few micro-units, is no excess.
        let most = [slide, slide, slide, tilt, tilt, tilt].map(|most| most + 1e-4);
        let six = Hexapod::platform(base, axes).six();
        let found = six.iter().zip(most).position(|(at, most)| at.abs() > most);
        found.and_then(|k| Some((k, *six.get(k)?)))
    }

    /// The first axis of the base couch that would stand outside its range.
    pub fn base_outside(&self, base: &Base) -> Option<usize> {
        match self {
            Self::Hexapod(hexapod) => hexapod.base_outside(base),
            _ => None,
        }
    }

    /// Axes within `limits` at which the table top stands at a pose; of a robot's postures the one that is found first, always the same.
    pub fn posture(&self, limits: &Limits, pose: &Pose) -> Option<[f64; AXES]> {
        const TRIES: usize = 400;
        let [x, y, z] = pose.origin();
        let [_, _, _, turn, pitch, roll] = pose.six();
        let near = match self {
            Self::Arm(_) => limits::ARM_READY.map(|deg| deg * 1e6),
            Self::Scara(_) => {
                let [column, turns @ ..] = limits::SCARA_READY;
                let [a, b, c, d, e] = turns.map(|deg| deg * 1e6);
                [column * 1e3, a, b, c, d, e]
            }
            Self::Platform { .. } => [0.0; AXES],
            _ => [
                x * 1e3,
                y * 1e3,
                z * 1e3,
                turn * 1e6,
                pitch * 1e6,
                roll * 1e6,
            ],
        };
        if let Some(found) = self.axes_at(limits, pose, &near) {
            return Some(found);
        }
        let mut stream = Stream::new(0, "couch.posture");
        (0..TRIES).find_map(|_| {
            let start = limits.map(|axis| {
                let (min, max) = (f64::from(axis.min), f64::from(axis.max));
                min + (max - min) * stream.uniform()
            });
            self.axes_at(limits, pose, &start)
        })
    }

    /// The axes at which the table top stands at a pose, by Newton from `start`; `None` where that does not lead there within `limits`.
    pub fn axes_at(
        &self,
        limits: &Limits,
        pose: &Pose,
        start: &[f64; AXES],
    ) -> Option<[f64; AXES]> {
        const STEPS_MAX: usize = 60;
        // A step that is larger than this has left the neighbourhood in which the slopes hold.
        const STRIDE: f64 = 0.3;
        let scale = limits.map(|axis| axis.kind.pick(1e5, 57.3e6));
        let mut at = *start;
        for _ in 0..STEPS_MAX {
            let residual = missing(&self.table_top(&at), pose);
            if residual.iter().all(|part| part.abs() < 1e-9) {
                let within = at
                    .iter()
                    .zip(limits)
                    .all(|(at, axis)| (f64::from(axis.min)..=f64::from(axis.max)).contains(at));
                return within.then_some(at);
            }
            let mut columns = [[0.0; AXES]; AXES];
            for (k, (column, scale)) in columns.iter_mut().zip(&scale).enumerate() {
                let mut beside = at;
                *beside.get_mut(k)? += 1e-6 * scale;
                let there = missing(&self.table_top(&beside), pose);
                for (slope, (there, here)) in column.iter_mut().zip(there.iter().zip(&residual)) {
                    *slope = (here - there) * 1e6;
                }
            }
            let steps = linear::solved(&columns, &residual)?;
            let longest = steps
                .iter()
                .fold(0.0_f64, |most, step| most.max(step.abs()));
            let share = if longest > STRIDE {
                STRIDE / longest
            } else {
                1.0
            };
            for (value, (step, scale)) in at.iter_mut().zip(steps.iter().zip(&scale)) {
                *value += share * step * scale;
            }
        }
        None
    }
}

/// What is missing from one pose to another: metres and radians about the table-top origin.
fn missing(from: &Pose, to: &Pose) -> [f64; AXES] {
    let ([fx, fy, fz], [tx, ty, tz]) = (from.origin(), to.origin());
    let turn = to.then(&from.inverse()).rotation();
    let [[r00, r01, r02], [r10, r11, r12], [r20, r21, r22]] = turn;
    let axis = [r21 - r12, r02 - r20, r10 - r01];
    let sine = libm::sqrt(axis.iter().map(|part| part * part).sum());
    let angle = libm::atan2(sine, r00 + r11 + r22 - 1.0);
    let share = if sine > 1e-12 { angle / sine } else { 0.5 };
    let [rx, ry, rz] = axis.map(|part| part * share);
    let metres = [tx - fx, ty - fy, tz - fz].map(|part| part / 1e3);
    let [x, y, z] = metres;
    [x, y, z, rx, ry, rz]
}

fn pedestal(axes: &[f64; AXES]) -> Pose {
    let [lateral, longitudinal, vertical, rotation, pitch, roll] = human(axes);
    Pose::rz(rotation)
        .then(&Pose::translation([lateral, longitudinal, vertical]))
        .then(&Pose::rx(pitch))
        .then(&Pose::ry(roll))
}

fn eccentric(axes: &[f64; AXES], offset: f64, turn: f64) -> Pose {
    let [lateral, longitudinal, vertical, rotation, pitch, roll] = human(axes);
    Pose::rz(rotation)
        .then(&Pose::translation([0.0, offset, 0.0]))
        .then(&Pose::rz(turn))
        .then(&Pose::translation([lateral, longitudinal, vertical]))
        .then(&Pose::rx(pitch))
        .then(&Pose::ry(roll))
}

/// Pedestal or hexapod axes in millimetres and degrees.
fn human(axes: &[f64; AXES]) -> [f64; AXES] {
    let [a, b, c, d, e, f] = *axes;
    [a / 1e3, b / 1e3, c / 1e3, d / 1e6, e / 1e6, f / 1e6]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micro(six: [f64; 6]) -> [f64; 6] {
        [
            six[0] * 1e3,
            six[1] * 1e3,
            six[2] * 1e3,
            six[3] * 1e6,
            six[4] * 1e6,
            six[5] * 1e6,
        ]
    }

    #[test]
    fn golden_corrections_hold_for_the_pedestal() {
        // tests/vectors/golden_poses.json, cases A to G: pose(result) = C . pose(start).
        let home = [-20.0, -350.0, -120.0, 0.0, 0.0, 0.0];
        let turned = [0.0, -350.0, -120.0, 90.0, 0.0, 0.0];
        let cases = [
            (
                home,
                [3.0, -4.0, 2.0, 0.0, 0.0, 0.0],
                [-17.0, -354.0, -118.0, 0.0, 0.0, 0.0],
            ),
            (
                home,
                [0.0, 0.0, 0.0, 0.0, 2.0, 0.0],
                [-20.0, -345.5988, -132.1417, 0.0, 2.0, 0.0],
            ),
            (
                home,
                [0.0, 0.0, 0.0, 0.0, 0.0, 2.0],
                [-24.1758, -350.0, -119.2289, 0.0, 0.0, 2.0],
            ),
            (
                home,
                [0.0, 0.0, 0.0, 2.0, 0.0, 0.0],
                [-20.0, -350.0, -120.0, 2.0, 0.0, 0.0],
            ),
            (
                home,
                [3.0, -4.0, 2.0, 1.0, -0.8, 0.6],
                [-18.3258, -355.6901, -112.8855, 1.0, -0.8, 0.6],
            ),
            (
                turned,
                [5.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                [0.0, -355.0, -120.0, 90.0, 0.0, 0.0],
            ),
            (
                turned,
                [0.0, 0.0, 0.0, 0.0, 1.0, 0.0],
                [2.0943, -350.0, -119.9817, 90.0, 0.0, -1.0],
            ),
        ];
        for (start, correction, result) in cases {
            let moved =
                Pose::correction(&correction).then(&Family::Pedestal.table_top(&micro(start)));
            let expected = Family::Pedestal.table_top(&micro(result));
            let off = moved.then(&expected.inverse());
            assert!(
                off.angle_deg() < 1e-4 && off.origin().iter().all(|t| t.abs() < 2e-3),
                "{correction:?}: {off:?}"
            );
        }
    }

    #[test]
    fn the_legs_allow_the_travel_of_the_platform_wherever_its_base_stands_and_no_more() {
        let stands = micro([-20.0, -350.0, -122.5, 40.0, 0.0, 0.0]);
        let base = [-20e3, -350e3, -122.5e3, 40e6];
        let platform = Family::Platform {
            base: [0.0; 3],
            legs: LEGS,
        };
        for axis in 0..6 {
            for sign in [-1.0, 1.0] {
                let mut alone = [0.0; 6];
                alone[axis] = sign * if axis < 3 { 30e3 } else { 3e6 };
                assert_eq!(platform.leg_outside(&base, &alone), None);
            }
        }
        let high = micro([0.0, 0.0, 130.0, 0.0, 0.0, 0.0]);
        assert!(platform.leg_outside(&base, &high).is_some());
        let lengths = HEXAPOD.legs_mm(&base, &stands).unwrap();
        let neutral = platform.legs_mm(&base, &[0.0; 6]).unwrap();
        for (a, b) in lengths.iter().zip(neutral) {
            assert!((a - b).abs() < 1e-9, "neutral wherever the base stands");
        }
        let mut beyond = stands;
        beyond[2] += 31e3;
        let (axis, value) = HEXAPOD.travel_outside(&base, &beyond).unwrap();
        assert!(axis == 2 && (value - 31.0).abs() < 1e-9);
        assert_eq!(HEXAPOD.base_outside(&[251e3, 0.0, 0.0, 0.0]), Some(0));
        assert_eq!(HEXAPOD.base_outside(&base), None);
    }

    #[test]
    fn a_base_that_carries_the_platform_leaves_its_legs_as_they_are() {
        let base = [-20e3, -350e3, -122.5e3, 3e6];
        let from = micro([-10.0, -341.0, -130.0, 5.0, -1.2, 0.7]);
        let to = micro([35.0, -402.0, -90.0, -8.0, -1.2, 0.7]);
        let after = carried(&base, &from, &to);
        let before = HEXAPOD.legs_mm(&base, &from).unwrap();
        let still = HEXAPOD.legs_mm(&after, &to).unwrap();
        for (a, b) in before.iter().zip(still) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn an_upright_arm_stands_where_its_lengths_say() {
        let Family::Arm(arm) = ARM else { panic!() };
        let bare = Family::Arm(Arm {
            foot: [0.0; 6],
            tool: [0.0; 6],
            ..arm
        });
        let upright = bare.table_top(&[0.0; 6]).origin();
        assert_eq!(
            upright,
            [350.0 - 41.0, 0.0, 675.0 + 1150.0 + 1220.0 + 215.0]
        );
        let forward = bare.table_top(&[0.0; 6]).rotation();
        assert_eq!(forward, Pose::IDENTITY.rotation());
        // Joint 2 leans forward: the upper arm points along +X, and so does all that follows.
        let leaning = bare.table_top(&[0.0, 90e6, 0.0, 0.0, 0.0, 0.0]).origin();
        for (got, want) in leaning.iter().zip([350.0 + 2585.0, 0.0, 675.0 + 41.0]) {
            assert!((got - want).abs() < 1e-9, "{leaning:?}");
        }
    }

    #[test]
    fn a_scara_reaches_straight_ahead_and_turns_counter_clockwise() {
        let Family::Scara(scara) = SCARA else {
            panic!()
        };
        let bare = Family::Scara(Scara {
            foot: [0.0; 6],
            tool: [0.0; 6],
            ..scara
        });
        let ahead = bare.table_top(&[120e3, 0.0, 0.0, 0.0, 0.0, 0.0]).origin();
        assert_eq!(ahead, [1600.0, 0.0, 820.0]);
        let left = bare.table_top(&[0.0, 90e6, 0.0, 0.0, 0.0, 0.0]).origin();
        assert!(left[0].abs() < 1e-9 && (left[1] - 1600.0).abs() < 1e-9);
    }

    #[test]
    fn axes_are_found_for_a_pose_and_only_within_limits() {
        let start = limits::ARM_READY.map(|deg| deg * 1e6);
        let target = Pose::rz(-20.0).then(&Pose::translation([-20.0, -350.0, -122.5]));
        let axes = ARM.axes_at(&limits::ARM, &target, &start).unwrap();
        let off = ARM.table_top(&axes).then(&target.inverse());
        assert!(off.angle_deg() < 1e-6 && off.origin().iter().all(|t| t.abs() < 1e-5));
        let far = Pose::translation([4000.0, 0.0, 0.0]);
        assert_eq!(ARM.axes_at(&limits::ARM, &far, &start), None);
        let beyond = Pose::translation([0.0, 0.0, 60.0]);
        assert_eq!(
            Family::Pedestal.axes_at(&limits::PEDESTAL, &beyond, &[0.0; 6]),
            None,
            "the vertical ends at 50 mm"
        );
    }
}
