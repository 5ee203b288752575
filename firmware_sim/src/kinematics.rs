//! Where the table top of each couch family stands, and the legs of the hexapod: the truth of the simulator.
//!
//! Written from docs/conventions.md alone; the controller has its own.

use crate::limits::{self, AXES, Kind, Limits};
use crate::pose::{Pose, Vector};

/// A couch family with the constants of its geometry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Family {
    /// Linac pedestal: turntable at the isocentre, translations, pitch and roll stage.
    Pedestal,
    /// Stewart platform whose zero pose stands at `base` of the fixed frame (lateral, longitudinal, vertical, mm).
    Hexapod {
        /// Table-top origin at zero axes.
        base: Vector,
    },
    /// Six revolute joints.
    Arm,
}

/// Leg length limits of the hexapod in millimetres.
pub const LEG_MIN_MM: f64 = 352.0;
/// See [`LEG_MIN_MM`].
pub const LEG_MAX_MM: f64 = 448.0;

const PLATFORM_HEIGHT_MM: f64 = 350.0;

/// Joints of the base (radius 360 mm) and of the platform (radius 300 mm) in pairs, as on every 6-6 Stewart platform.
fn joints(radius: f64, half_gap_deg: f64, turn_deg: f64, z: f64) -> [Vector; 6] {
    let angle = |pair: f64, side: f64| turn_deg + pair * 120.0 + side * half_gap_deg;
    [
        angle(0.0, -1.0),
        angle(0.0, 1.0),
        angle(1.0, -1.0),
        angle(1.0, 1.0),
        angle(2.0, -1.0),
        angle(2.0, 1.0),
    ]
    .map(|deg| {
        [
            radius * libm::cos(deg.to_radians()),
            radius * libm::sin(deg.to_radians()),
            z,
        ]
    })
}

/// Modified Denavit-Hartenberg rows of the arm: a (mm), alpha (deg), d (mm), joint offset (deg). A floor-mounted positioner with a
/// spherical wrist whose tool flange carries the table top.
const ARM_ROWS: [(f64, f64, f64, f64); AXES] = [
    (0.0, 0.0, 600.0, 0.0),
    (300.0, -90.0, 0.0, -90.0),
    (700.0, 0.0, 0.0, 0.0),
    (150.0, -90.0, 750.0, 0.0),
    (0.0, 90.0, 0.0, 0.0),
    (0.0, -90.0, 200.0, 0.0),
];
const ARM_BASE_MM: Vector = [-400.0, -1500.0, -1300.0];

impl Family {
    /// Number of the family in HELLO_ACK.
    pub fn number(&self) -> u8 {
        match self {
            Self::Pedestal => 1,
            Self::Hexapod { .. } => 2,
            Self::Arm => 3,
        }
    }

    /// Default limits of the family.
    pub fn limits(&self) -> Limits {
        match self {
            Self::Pedestal => limits::PEDESTAL,
            Self::Hexapod { .. } => limits::HEXAPOD,
            Self::Arm => limits::ARM,
        }
    }

    /// `fixed from table top` at axes in micro-units.
    pub fn table_top(&self, axes: &[f64; AXES]) -> Pose {
        match self {
            Self::Pedestal => pedestal(axes),
            Self::Hexapod { base } => Pose::translation(*base).then(&platform(axes)),
            Self::Arm => {
                let mut pose = Pose::translation(ARM_BASE_MM);
                for ((a, alpha, d, offset), joint) in ARM_ROWS.iter().zip(axes) {
                    pose = pose
                        .then(&Pose::rx(*alpha))
                        .then(&Pose::translation([*a, 0.0, 0.0]))
                        .then(&Pose::rz(joint / Kind::Rotary.scale() + offset))
                        .then(&Pose::translation([0.0, 0.0, *d]));
                }
                pose
            }
        }
    }

    /// Leg lengths in millimetres; `None` for families without legs.
    pub fn legs_mm(&self, axes: &[f64; AXES]) -> Option<[f64; 6]> {
        let Self::Hexapod { .. } = self else {
            return None;
        };
        let pose = platform(axes);
        let base = joints(360.0, 12.0, 0.0, -PLATFORM_HEIGHT_MM);
        let top = joints(300.0, 12.0, 60.0, 0.0);
        // Leg k runs from base joint k to the platform joint nearest to it.
        let [t0, t1, t2, t3, t4, t5] = top;
        let paired = [t5, t0, t1, t2, t3, t4];
        let mut lengths = [0.0; 6];
        for ((length, foot), head) in lengths.iter_mut().zip(&base).zip(&paired) {
            let head = pose.point(head);
            *length = libm::sqrt(head.iter().zip(foot).map(|(h, f)| (h - f) * (h - f)).sum());
        }
        Some(lengths)
    }

    /// Whether legs limit the axes.
    pub fn has_legs(&self) -> bool {
        matches!(self, Self::Hexapod { .. })
    }

    /// The first leg outside its limits, counted from 1, with its length.
    pub fn leg_outside(&self, axes: &[f64; AXES]) -> Option<(usize, f64)> {
        let legs = self.legs_mm(axes)?;
        legs.iter()
            .enumerate()
            .find(|(_, l)| !(LEG_MIN_MM..=LEG_MAX_MM).contains(*l))
            .map(|(k, l)| (k + 1, *l))
    }
}

fn pedestal(axes: &[f64; AXES]) -> Pose {
    let [lateral, longitudinal, vertical, rotation, pitch, roll] = human(axes);
    Pose::rz(rotation)
        .then(&Pose::translation([lateral, longitudinal, vertical]))
        .then(&Pose::rx(pitch))
        .then(&Pose::ry(roll))
}

fn platform(axes: &[f64; AXES]) -> Pose {
    Pose::correction(&human(axes))
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
    fn hexapod_legs_are_equal_at_zero_and_limit_what_axes_allow() {
        let family = Family::Hexapod { base: [0.0; 3] };
        let legs = family.legs_mm(&[0.0; 6]).unwrap();
        assert!(
            legs.iter()
                .all(|l| (l - legs[0]).abs() < 1e-9 && (LEG_MIN_MM..=LEG_MAX_MM).contains(l))
        );
        for axis in 0..6 {
            for sign in [-1.0, 1.0] {
                let mut axes = [0.0; 6];
                axes[axis] = sign * f64::from(limits::HEXAPOD[axis].max);
                assert_eq!(
                    family.leg_outside(&axes),
                    None,
                    "a single axis reaches its limit: {:?}",
                    family.legs_mm(&axes)
                );
            }
        }
        let corner = [0.0, 30e3, 30e3, 3e6, 3e6, 3e6];
        assert!(
            family.leg_outside(&corner).is_some(),
            "{:?}",
            family.legs_mm(&corner)
        );
    }

    #[test]
    fn arm_at_zero_stands_where_its_rows_say() {
        // Joint 2 at -90 deg points the upper arm up: the wrist is 150 above and 750 before the elbow.
        let origin = Family::Arm.table_top(&[0.0; 6]).origin();
        for (got, want) in origin.iter().zip([
            -400.0 + 300.0 + 750.0 + 200.0,
            -1500.0,
            -1300.0 + 600.0 + 700.0 + 150.0,
        ]) {
            assert!((got - want).abs() < 1e-9, "{origin:?}");
        }
    }
}
