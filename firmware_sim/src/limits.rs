//! Limits of the axes and their digest (docs/protocol.md section 6). Positions in micrometres and microdegrees ("micro-units").

use sha2::{Digest, Sha256};

/// Axes of every family.
pub const AXES: usize = 6;
/// Axis names of a pedestal or hexapod, in order.
pub const NAMES: [&str; AXES] = [
    "lateral",
    "longitudinal",
    "vertical",
    "rotation",
    "pitch",
    "roll",
];

/// Linear axes count in micrometres, rotary ones in microdegrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Micrometres.
    Linear = 0,
    /// Microdegrees.
    Rotary = 1,
}

impl Kind {
    /// `linear` for linear axes, `rotary` for rotary ones.
    pub fn pick<T>(self, linear: T, rotary: T) -> T {
        match self {
            Self::Linear => linear,
            Self::Rotary => rotary,
        }
    }

    /// The unit in which people read the axis.
    pub fn unit(self) -> &'static str {
        self.pick("mm", "deg")
    }

    /// Micro-units in one unit that people read.
    pub fn scale(self) -> f64 {
        self.pick(1e3, 1e6)
    }
}

/// Limits of one axis, in micro-units (per second, per second squared, per second cubed).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of LIMITS_REPLY")]
pub struct AxisLimits {
    pub name: &'static str,
    pub kind: Kind,
    pub min: i32,
    pub max: i32,
    pub speed_max: u32,
    pub accel_max: u32,
    pub jerk_max: u32,
}

/// Limits of all axes.
pub type Limits = [AxisLimits; AXES];

const fn linear(name: &'static str, min_mm: i32, max_mm: i32) -> AxisLimits {
    AxisLimits {
        name,
        kind: Kind::Linear,
        min: min_mm * 1000,
        max: max_mm * 1000,
        speed_max: 10_000,
        accel_max: 30_000,
        jerk_max: 150_000,
    }
}

const fn rotary(name: &'static str, min_deg: i32, max_deg: i32) -> AxisLimits {
    AxisLimits {
        name,
        kind: Kind::Rotary,
        min: min_deg * 1_000_000,
        max: max_deg * 1_000_000,
        speed_max: 1_000_000,
        accel_max: 5_000_000,
        jerk_max: 25_000_000,
    }
}

/// The linac pedestal: ranges of a usual couch with a pitch and roll stage (+-3 deg, PerfectPitch), speeds of correction moves.
pub const PEDESTAL: Limits = [
    linear("lateral", -250, 250),
    linear("longitudinal", -1000, 400),
    linear("vertical", -450, 50),
    rotary("rotation", -95, 95),
    rotary("pitch", -3, 3),
    rotary("roll", -3, 3),
];
const fn slide(name: &'static str, range_mm: (i32, i32), drive: [u32; 3]) -> AxisLimits {
    let [speed_max, accel_max, jerk_max] = drive;
    AxisLimits {
        name,
        kind: Kind::Linear,
        min: range_mm.0 * 1000,
        max: range_mm.1 * 1000,
        speed_max,
        accel_max,
        jerk_max,
    }
}

const fn joint(name: &'static str, range_deg: (i32, i32), drive_deg: [u32; 3]) -> AxisLimits {
    let [speed, accel, jerk] = drive_deg;
    AxisLimits {
        name,
        kind: Kind::Rotary,
        min: range_deg.0 * 1_000_000,
        max: range_deg.1 * 1_000_000,
        speed_max: speed * 1_000_000,
        accel_max: accel * 1_000_000,
        jerk_max: jerk * 1_000_000,
    }
}

/// The platform of a hexapod alone: +-30 mm and +-3 deg a single axis; the legs limit their combinations further.
pub const PLATFORM: Limits = [
    linear("lateral", -30, 30),
    linear("longitudinal", -30, 30),
    linear("vertical", -30, 30),
    rotary("rotation", -3, 3),
    rotary("pitch", -3, 3),
    rotary("roll", -3, 3),
];
/// A hexapod on its base couch (docs/machines.md, `linac_hexapod`): the ranges of both together.
pub const HEXAPOD: Limits = [
    slide("lateral", (-280, 280), [8_000, 34_500, 150_000]),
    slide("longitudinal", (-1030, 430), [9_500, 29_500, 150_000]),
    slide("vertical", (-480, 80), [9_500, 29_500, 150_000]),
    joint("rotation", (-98, 98), [3, 5, 25]),
    joint("pitch", (-3, 3), [1, 5, 25]),
    joint("roll", (-3, 3), [1, 5, 25]),
];
/// Six revolute joints from base to table top (docs/machines.md, `robot_arm`).
pub const ARM: Limits = [
    joint("joint_1", (-170, 170), [5, 10, 50]),
    joint("joint_2", (-60, 110), [5, 10, 50]),
    joint("joint_3", (-20, 150), [5, 10, 50]),
    joint("joint_4", (-180, 180), [5, 10, 50]),
    joint("joint_5", (-130, 130), [5, 10, 50]),
    joint("joint_6", (-350, 350), [5, 10, 50]),
];
/// A posture of the arm near the treatment position, degrees: where the search for others begins.
pub const ARM_READY: [f64; AXES] = [-37.0, 24.5, 96.0, 94.0, 83.0, 59.0];
/// A column, three turns about vertical axes, pitch and roll (docs/machines.md, `robot_scara`).
pub const SCARA: Limits = [
    slide("vertical", (0, 800), [20_000, 50_000, 250_000]),
    joint("shoulder", (-165, 165), [5, 10, 50]),
    joint("elbow", (-150, 150), [5, 10, 50]),
    joint("wrist", (-350, 350), [5, 10, 50]),
    joint("pitch", (-5, 5), [2, 10, 50]),
    joint("roll", (-5, 5), [2, 10, 50]),
];
/// A posture of the SCARA near the treatment position, mm and degrees.
pub const SCARA_READY: [f64; AXES] = [417.5, 9.6, 81.0, -90.6, 0.0, 0.0];

/// SHA-256 over the canonical octets of the limits.
pub fn digest(limits: &Limits) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"CLP1-LIMITS");
    hash.update([AXES as u8]);
    for axis in limits {
        hash.update([axis.kind as u8]);
        hash.update(axis.min.to_le_bytes());
        hash.update(axis.max.to_le_bytes());
        hash.update(axis.speed_max.to_le_bytes());
        hash.update(axis.accel_max.to_le_bytes());
        hash.update(axis.jerk_max.to_le_bytes());
    }
    hash.finalize().into()
}

/// First 8 octets of [`digest`], as HELLO_ACK and PLAN_UPLOAD carry it.
pub fn short_digest(limits: &Limits) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = digest(limits);
    [a, b, c, d, e, f, g, h]
}
