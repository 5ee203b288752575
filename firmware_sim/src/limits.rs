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
    pub kind: Kind,
    pub min: i32,
    pub max: i32,
    pub speed_max: u32,
    pub accel_max: u32,
    pub jerk_max: u32,
}

/// Limits of all axes.
pub type Limits = [AxisLimits; AXES];

const fn linear(min_mm: i32, max_mm: i32) -> AxisLimits {
    AxisLimits {
        kind: Kind::Linear,
        min: min_mm * 1000,
        max: max_mm * 1000,
        speed_max: 10_000,
        accel_max: 30_000,
        jerk_max: 150_000,
    }
}

const fn rotary(min_deg: i32, max_deg: i32) -> AxisLimits {
    AxisLimits {
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
    linear(-250, 250),
    linear(-1000, 400),
    linear(-450, 50),
    rotary(-95, 95),
    rotary(-3, 3),
    rotary(-3, 3),
];
/// A Stewart platform on a fixed base: +-30 mm and +-3 deg a single axis; the legs limit their combinations further.
pub const HEXAPOD: Limits = [
    linear(-30, 30),
    linear(-30, 30),
    linear(-30, 30),
    rotary(-3, 3),
    rotary(-3, 3),
    rotary(-3, 3),
];
/// Six revolute joints from base to table top.
pub const ARM: Limits = [
    rotary(-170, 170),
    rotary(-100, 100),
    rotary(-150, 150),
    rotary(-180, 180),
    rotary(-120, 120),
    rotary(-180, 180),
];

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
