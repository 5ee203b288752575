//! The messages a host may send (docs/clp1.dictionary, direction H), decoded; and the names of those a device sends.

use crate::wire::octets::Reader;

/// Most waypoints of a plan.
pub const WAYPOINTS_MAX: usize = 8;

/// Message types, device to host.
pub mod reply {
    #![allow(missing_docs, reason = "the names are those of docs/clp1.dictionary")]
    pub const COUCH_STATUS: u8 = 0x10;
    pub const IMAGER_STATUS: u8 = 0x11;
    pub const PENDANT_STATUS: u8 = 0x12;
    pub const REFUSED: u8 = 0x1f;
    pub const STOP_ACK: u8 = 0x81;
    pub const HELLO_ACK: u8 = 0x82;
    pub const ECHO: u8 = 0xa0;
    pub const LEASE_ACK: u8 = 0xa1;
    pub const LIMITS: u8 = 0xa2;
    pub const PLAN: u8 = 0xa3;
    pub const EXECUTE: u8 = 0xa4;
    pub const PLAN_VOID: u8 = 0xa5;
    pub const FAULT_RESET: u8 = 0xa6;
    pub const HOME: u8 = 0xa7;
    pub const JOG: u8 = 0xa8;
    pub const BEAM_GATE: u8 = 0xa9;
    pub const TELEMETRY_RATE: u8 = 0xaa;
    pub const STATUS_READ: u8 = 0xab;
    pub const ARMS: u8 = 0xc0;
    pub const GANTRY: u8 = 0xc1;
    pub const TECHNIQUE: u8 = 0xc2;
    pub const PREPARE: u8 = 0xc3;
    pub const EXPOSE: u8 = 0xc4;
    pub const FRAME_INFO: u8 = 0xc5;
    pub const FRAME_READ: u8 = 0xc6;
    pub const PANEL_MODE: u8 = 0xc7;
    pub const SERIES: u8 = 0xc8;
}

/// HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Lowest version that the host speaks.
    pub version_min: u8,
    /// Highest version that the host speaks.
    pub version_max: u8,
    /// Sent back in the answer.
    pub host_nonce: u32,
    /// The host's dictionary hash.
    pub dictionary: [u8; 8],
}

/// PLAN_UPLOAD as it came; positions in micrometres and microdegrees, in axis order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanUpload {
    /// SHA-256 of the proposal that people approved.
    pub proposal: [u8; 32],
    /// First 8 octets of the limits digest that the host believes in.
    pub limits: [u8; 8],
    /// Life of the plan from its upload.
    pub ttl_ms: u32,
    /// Scale of the speed limits of all axes.
    pub speed_ppm: u32,
    /// Axes in use.
    pub axis_count: u8,
    /// Where the couch is expected to stand.
    pub start: [i32; 6],
    /// How far a linear axis may stand from it.
    pub start_tolerance_linear_um: u32,
    /// How far a rotary axis may stand from it.
    pub start_tolerance_rotary_udeg: u32,
    /// How many waypoints the message says it has.
    pub waypoint_count: u8,
    /// Axis positions; the last is the target. More than [`WAYPOINTS_MAX`] are not kept (and the plan is refused).
    pub waypoints: heapless::Vec<[i32; 6], WAYPOINTS_MAX>,
}

/// TECHNIQUE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Technique {
    /// Tube voltage in tenths of a kilovolt.
    pub kvp_tenth: u16,
    /// 0 none, 1 half bow-tie, 2 full bow-tie, 3 titanium.
    pub filter: u8,
    /// 1, 2 or 4.
    pub binning: u8,
    /// Tube current in tenths of a milliampere.
    pub ma_tenth: u16,
    /// How long the tube current flows, microseconds.
    pub time_us: u32,
    /// Field edges at the isocentre in micrometres: x1, x2, y1, y2.
    pub field_um: [i32; 4],
}

impl Technique {
    /// Current times time, micro-ampere-seconds.
    pub fn uas(&self) -> f64 {
        // 0.1 mA for 1 us are 1e-4 micro-ampere-seconds.
        f64::from(self.ma_tenth) * f64::from(self.time_us) * 1e-4
    }

    /// The same, rounded to the unit of the line.
    pub fn mas_u(&self) -> u32 {
        (self.uas() + 0.5) as u32
    }

    /// Heat that the anode takes, joules.
    pub fn joules(&self) -> f64 {
        f64::from(self.kvp_tenth) / 10.0 * self.uas() * 1e-3
    }
}

/// A message of a host that fits its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, on the stack; boxing would need an allocator"
)]
#[allow(missing_docs, reason = "fields are those of docs/clp1.dictionary")]
pub enum Command<'a> {
    Stop {
        reason: u8,
        nonce: u32,
    },
    Hello(Hello),
    Echo(&'a [u8]),
    Lease {
        counter: u32,
        host_us: u64,
    },
    LimitsRead,
    PlanUpload(PlanUpload),
    Execute {
        plan_digest: [u8; 32],
        plan_nonce: u32,
        token: [u8; 16],
    },
    PlanVoid {
        reason: u8,
    },
    FaultReset {
        faults: u32,
    },
    Home,
    Jog {
        axis: u8,
        reserved: u32,
        speed: i32,
    },
    BeamGate {
        request: u8,
    },
    TelemetryRate {
        period_ms: u16,
    },
    StatusRead,
    Arms {
        source: u8,
        panel: u8,
    },
    Gantry {
        angle_udeg: i32,
    },
    Technique(Technique),
    Prepare {
        on: u8,
    },
    Expose {
        kind: u8,
        reserved: u32,
        source_angle_udeg: i32,
    },
    FrameInfo {
        frame: u32,
    },
    FrameRead {
        frame: u32,
        offset: u32,
        count: u16,
    },
    PanelMode {
        mode: u8,
        reserved: u32,
        period_us: u32,
    },
    Series {
        frames: u16,
        reserved: u16,
        source_angle_udeg: i32,
    },
}

impl Command<'_> {
    /// Whether the message leads to motion or radiation, so that an old epoch bars it (section 3, Epoch).
    pub fn is_barred_by_old_epoch(&self) -> bool {
        use Command::*;
        match self {
            PlanUpload(_)
            | Execute { .. }
            | Jog { .. }
            | Home
            | Arms { .. }
            | Gantry { .. }
            | Expose { .. } => true,
            BeamGate { request } => *request != 0,
            Prepare { on } => *on != 0,
            Series { frames, .. } => *frames != 0,
            _ => false,
        }
    }
}

/// Whether the dictionary has a message of this type from host to device.
pub fn is_known(kind: u8) -> bool {
    matches!(kind, 0x01 | 0x02 | 0x20..=0x2b | 0x40..=0x48)
}

/// Decodes a body by its type; `None` if the type is unknown or the body does not fit.
pub fn decode(kind: u8, body: &[u8]) -> Option<Command<'_>> {
    let mut r = Reader::new(body);
    let command = match kind {
        0x01 => Command::Stop {
            reason: r.u8()?,
            nonce: r.u32()?,
        },
        0x02 => Command::Hello(Hello {
            version_min: r.u8()?,
            version_max: r.u8()?,
            host_nonce: r.u32()?,
            dictionary: r.octets()?,
        }),
        0x20 => return Some(Command::Echo(body)),
        0x21 => Command::Lease {
            counter: r.u32()?,
            host_us: r.u64()?,
        },
        0x22 => Command::LimitsRead,
        0x23 => return plan_upload(r),
        0x24 => Command::Execute {
            plan_digest: r.octets()?,
            plan_nonce: r.u32()?,
            token: r.octets()?,
        },
        0x25 => Command::PlanVoid { reason: r.u8()? },
        0x26 => Command::FaultReset { faults: r.u32()? },
        0x27 => Command::Home,
        0x28 => Command::Jog {
            axis: r.u8()?,
            reserved: u32::from(r.u8()?) | u32::from(r.u16()?),
            speed: r.i32()?,
        },
        0x29 => Command::BeamGate { request: r.u8()? },
        0x2a => Command::TelemetryRate {
            period_ms: r.u16()?,
        },
        0x2b => Command::StatusRead,
        0x40 => Command::Arms {
            source: r.u8()?,
            panel: r.u8()?,
        },
        0x41 => Command::Gantry {
            angle_udeg: r.i32()?,
        },
        0x42 => Command::Technique(Technique {
            kvp_tenth: r.u16()?,
            filter: r.u8()?,
            binning: r.u8()?,
            ma_tenth: r.u16()?,
            time_us: r.u32()?,
            field_um: [r.i32()?, r.i32()?, r.i32()?, r.i32()?],
        }),
        0x43 => Command::Prepare { on: r.u8()? },
        0x44 => Command::Expose {
            kind: r.u8()?,
            reserved: u32::from(r.u8()?) | u32::from(r.u16()?),
            source_angle_udeg: r.i32()?,
        },
        0x45 => Command::FrameInfo { frame: r.u32()? },
        0x46 => Command::FrameRead {
            frame: r.u32()?,
            offset: r.u32()?,
            count: r.u16()?,
        },
        0x47 => Command::PanelMode {
            mode: r.u8()?,
            reserved: u32::from(r.u8()?) | u32::from(r.u16()?),
            period_us: r.u32()?,
        },
        0x48 => Command::Series {
            frames: r.u16()?,
            reserved: r.u16()?,
            source_angle_udeg: r.i32()?,
        },
        _ => return None,
    };
    r.end(command)
}

fn plan_upload(mut r: Reader<'_>) -> Option<Command<'_>> {
    let proposal = r.octets()?;
    let limits = r.octets()?;
    let ttl_ms = r.u32()?;
    let speed_ppm = r.u32()?;
    let axis_count = r.u8()?;
    let waypoint_count = r.u8()?;
    let start = r.axes()?;
    let start_tolerance_linear_um = r.u32()?;
    let start_tolerance_rotary_udeg = r.u32()?;
    let mut waypoints = heapless::Vec::new();
    for _ in 0..waypoint_count {
        // A ninth waypoint is read, so that the length is judged by the layout alone, and refused later by its count.
        let _ = waypoints.push(r.axes()?);
    }
    r.end(Command::PlanUpload(PlanUpload {
        proposal,
        limits,
        ttl_ms,
        speed_ppm,
        axis_count,
        start,
        start_tolerance_linear_um,
        start_tolerance_rotary_udeg,
        waypoint_count,
        waypoints,
    }))
}
