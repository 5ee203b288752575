//! The firmware of the imager: arms, gantry, generator, panel and their interlocks (docs/protocol.md section 7).

use crate::generator;
use crate::line::{Context, Counters, Device, Identity, Line, Sink};
use crate::profile::{Limits, Profile};
use crate::random::Stream;
use crate::refusal::{Refusal, fault_names};
use crate::refuse;
use crate::wire::message::{Command, Technique, reply};
use crate::wire::octets::Writer;

/// Device kind on the wire.
pub const DEVICE: u8 = 2;
/// Travel of an arm from parked to extended; the extended source stands 1000 mm from the isocentre, the panel 500 mm.
pub const SOURCE_TRAVEL_UM: f64 = 1e6;
/// See [`SOURCE_TRAVEL_UM`].
pub const PANEL_TRAVEL_UM: f64 = 5e5;
/// Source angle = gantry angle + this (C-arm linac: the source arm stands at gantry + 90 deg).
pub const SOURCE_OFFSET_DEG: f64 = 90.0;
/// Source to axis and source to panel.
pub const SAD_UM: u32 = 1_000_000;
/// See [`SAD_UM`].
pub const SID_UM: u32 = 1_500_000;
/// Native panel.
pub const PANEL_COLS: u16 = 1024;
/// See [`PANEL_COLS`].
pub const PANEL_ROWS: u16 = 768;
/// Pixel pitch on the panel without binning.
pub const PITCH_NM: u32 = 388_000;
/// Stored flood (gain) frame.
pub const FLOOD: u32 = 0xFFFF_0001;
/// Stored offset of the flood.
pub const FLOOD_OFFSET: u32 = 0xFFFF_0002;
/// Frames kept.
pub const FRAMES_KEPT: u32 = 8;
/// Largest read of a frame.
pub const READ_MAX: u16 = 4096;

const ARM_TRAVEL_US: f64 = 3e6;
const GANTRY: Limits = Limits {
    speed: 6.0,
    accel: 6.0,
    jerk: 24.0,
};
const PREPARE_US: u64 = 1_000_000;
const PREPARED_US: u64 = 15_000_000;
/// From the end of an exposure to its frame.
pub const READ_OUT_US: u64 = 250_000;
const TUBE_MA: f64 = 100.0;
/// Radiation that goes on, or has not come, so long after its time: the contactor opens and a fault latches.
const BACKUP_US: u64 = 50_000;
/// The meter may differ from what was asked by this share.
const METER_TOLERANCE: f64 = 0.2;
/// Longest wait for the panel's frame.
const READ_OUT_MAX_US: u64 = 20_000_000;
const ANODE_CAPACITY_J: f64 = 300e3;
const ANODE_COOLING_S: f64 = 240.0;
/// Source angle named in EXPOSE against the gantry encoder.
const ANGLE_TOLERANCE_UDEG: i64 = 100_000;
const HALF_TURN_UDEG: i64 = 180_000_000;

/// Bits of `faults` of IMAGER_STATUS.
pub mod fault {
    #![allow(
        missing_docs,
        reason = "the names are those of docs/protocol.md section 7"
    )]
    pub const SOURCE_ARM_COLLISION: u32 = 1;
    pub const PANEL_ARM_COLLISION: u32 = 1 << 1;
    pub const GENERATOR: u32 = 1 << 2;
    pub const ANODE_HEAT: u32 = 1 << 3;
    pub const PANEL: u32 = 1 << 4;
    pub const DOOR_OPENED: u32 = 1 << 5;
    pub const GANTRY: u32 = 1 << 6;
    pub const MOTION: u32 = 1 << 7;
}

/// Names of the fault bits, lowest first.
pub const FAULT_NAMES: [&str; 8] = [
    "source arm collision",
    "panel arm collision",
    "generator",
    "anode heat",
    "panel",
    "door opened while exposing",
    "gantry",
    "motion during exposure",
];

/// Hardware wires into the imager controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wires {
    /// Room door closed.
    pub door_closed: bool,
    /// Couch at rest with brakes on.
    pub couch_at_rest: bool,
    /// Exposure switch closed.
    pub exposure_switch: bool,
    /// Collision switch of the source arm.
    pub source_collision: bool,
    /// Collision switch of the panel arm.
    pub panel_collision: bool,
    /// What the generator reports.
    pub generator: generator::Readings,
    /// The panel reports a fault.
    pub panel_fault: bool,
}

/// An exposure as it was made, for the world to render.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "fields are those of FRAME_INFO_REPLY")]
pub struct Exposure {
    pub frame: u32,
    /// 0 X-ray, 1 dark.
    pub kind: u8,
    pub technique: Technique,
    pub begin_us: u64,
    pub end_us: u64,
    pub gantry_udeg: i32,
    pub source_angle_udeg: i32,
    pub source_arm_um: i32,
    pub panel_arm_um: i32,
    pub dose_area: u32,
}

/// What FRAME_INFO says of a frame in the store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameRecord {
    /// How it was exposed.
    pub exposure: Exposure,
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
    /// SHA-256 over all octets.
    pub sha256: [u8; 32],
}

/// Where the frames lie; the firmware has no memory of its own for them.
pub trait FrameStore {
    /// The record of a frame; of the stored frames, that of the tube voltage and the binning of `technique`.
    fn record(&self, frame: u32, technique: &Technique) -> Option<FrameRecord>;
    /// Copies octets from `offset` on, as many as fit and are there.
    fn read(&self, frame: u32, technique: &Technique, offset: u32, into: &mut [u8]) -> usize;
    /// A technique was set: its floods may be asked for next.
    fn technique_set(&self, _technique: &Technique) {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Exposing { until_us: u64 },
    ReadingOut { earliest_us: u64 },
}

/// What the generator has made of an exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    UnderWay,
    Given,
    Broken,
}

#[derive(Debug, Clone)]
struct Gantry {
    profile: Profile,
    began_us: u64,
    moving: bool,
    stopping: bool,
}

#[derive(Debug)]
struct Core {
    wires: Wires,
    faults: u32,
    source_um: f64,
    panel_um: f64,
    arm_targets: Option<(f64, f64)>,
    arms_us: u64,
    gantry: Gantry,
    gantry_udeg: i32,
    technique: Technique,
    prepare_since_us: Option<u64>,
    phase: Phase,
    exposure: Option<Exposure>,
    heat_j: f64,
    heat_us: u64,
    /// What the generator's meter has shown of this exposure so far.
    metered_u: u32,
    dose_area: f64,
    dose_area_before: f64,
    next_frame: u32,
    latest_frame: u32,
    read_out_done: bool,
}

/// The imager: its line and its core.
#[derive(Debug)]
pub struct Imager {
    line: Line,
    core: Core,
}

/// The core with the frames of the moment: what the line talks to.
struct Attended<'a, S> {
    core: &'a mut Core,
    frames: &'a S,
}

impl Imager {
    /// An imager at power-up: arms parked, gantry at 0.
    pub fn new(seed: u64, now_us: u64) -> Self {
        let core = Core {
            wires: Wires::default(),
            faults: 0,
            source_um: 0.0,
            panel_um: 0.0,
            arm_targets: None,
            arms_us: now_us,
            gantry: Gantry {
                profile: Profile::rest_to_rest(0.0, 0.0, &GANTRY),
                began_us: now_us,
                moving: false,
                stopping: false,
            },
            gantry_udeg: 0,
            technique: Technique {
                kvp_tenth: 800,
                filter: 0,
                binning: 2,
                mas_u: 2_000,
                field_um: [-100_000, 100_000, -100_000, 100_000],
            },
            prepare_since_us: None,
            phase: Phase::Idle,
            exposure: None,
            heat_j: 0.0,
            heat_us: now_us,
            metered_u: 0,
            dose_area: 0.0,
            dose_area_before: 0.0,
            next_frame: 1,
            latest_frame: 0,
            read_out_done: false,
        };
        Self {
            line: Line::new(DEVICE, Stream::new(seed, "imager.session"), now_us),
            core,
        }
    }

    /// Octets from the host.
    pub fn receive(
        &mut self,
        now_us: u64,
        octets: &[u8],
        frames: &impl FrameStore,
        sink: &mut impl Sink,
    ) {
        self.line.receive(
            now_us,
            octets,
            &mut Attended {
                core: &mut self.core,
                frames,
            },
            sink,
        );
    }

    /// UART BREAK on the line.
    pub fn line_break(&mut self, now_us: u64, frames: &impl FrameStore) {
        self.line.line_break(
            now_us,
            &mut Attended {
                core: &mut self.core,
                frames,
            },
        );
    }

    /// One control cycle. Gives the exposure that ended in it and is to be rendered.
    pub fn tick(
        &mut self,
        now_us: u64,
        wires: &Wires,
        frames: &impl FrameStore,
        sink: &mut impl Sink,
    ) -> Option<Exposure> {
        let ended = self.core.control(&self.line.context(now_us), wires);
        self.line.tick(
            now_us,
            &Attended {
                core: &mut self.core,
                frames,
            },
            sink,
        );
        ended
    }

    /// The panel has delivered the pending frame; it shows when the read-out has lasted long enough.
    pub fn frame_delivered(&mut self, frame: u32) {
        if self
            .core
            .exposure
            .is_some_and(|exposure| exposure.frame == frame)
        {
            self.core.read_out_done = true;
        }
    }

    /// Both arms parked: the wire into the couch.
    pub fn arms_parked(&self) -> bool {
        self.core.parked()
    }

    /// An exposure is under way.
    #[inline]
    pub fn exposes(&self) -> bool {
        matches!(self.core.phase, Phase::Exposing { .. })
    }

    /// What the generator is to do.
    pub fn generator_command(&self) -> generator::Command {
        let core = &self.core;
        generator::Command {
            expose: self.exposes() && core.exposure.is_some_and(|exposure| exposure.kind == 0),
            contactor: core.faults & fault::GENERATOR == 0,
            ma_tenth: (TUBE_MA * 10.0) as u16,
            time_us: core.technique.time_us(),
        }
    }

    /// Latched faults.
    pub fn faults(&self) -> u32 {
        self.core.faults
    }

    /// Gantry angle in degrees.
    pub fn gantry_deg(&self) -> f64 {
        f64::from(self.core.gantry_udeg) * 1e-6
    }

    /// Counters of the line.
    pub fn counters(&self) -> Counters {
        self.line.counters()
    }

    /// Nothing happens in a tick before telemetry is due, unless a wire changes or an octet comes.
    pub fn quiet_until_us(&self) -> u64 {
        let core = &self.core;
        let busy = core.arm_targets.is_some()
            || core.gantry.moving
            || core.phase != Phase::Idle
            || core.prepare_since_us.is_some();
        if busy { 0 } else { self.line.due_us() }
    }
}

/// Source angle of a gantry angle in microdegrees, wrapped to (-180, 180].
pub fn source_angle_udeg(gantry_udeg: i32) -> i32 {
    let turn = 2 * HALF_TURN_UDEG;
    let angle = (i64::from(gantry_udeg) + (SOURCE_OFFSET_DEG * 1e6) as i64).rem_euclid(turn);
    (if angle > HALF_TURN_UDEG {
        angle - turn
    } else {
        angle
    }) as i32
}

impl Core {
    fn parked(&self) -> bool {
        self.source_um == 0.0 && self.panel_um == 0.0
    }

    fn extended(&self) -> bool {
        self.source_um == SOURCE_TRAVEL_UM && self.panel_um == PANEL_TRAVEL_UM
    }

    fn prepared(&self, now_us: u64) -> bool {
        self.prepare_since_us.is_some_and(|since| {
            (PREPARE_US..=PREPARE_US + PREPARED_US).contains(&(now_us - since))
        })
    }

    fn state(&self, now_us: u64) -> u8 {
        match self.phase {
            _ if self.faults != 0 => 7,
            Phase::Exposing { .. } => 5,
            Phase::ReadingOut { .. } => 6,
            Phase::Idle if self.arm_targets.is_some() => 1,
            Phase::Idle if self.gantry.moving => 2,
            Phase::Idle if self.prepared(now_us) => 4,
            Phase::Idle if self.prepare_since_us.is_some() => 3,
            Phase::Idle => 0,
        }
    }

    fn latch(&mut self, now_us: u64, fault: u32) {
        self.faults |= fault;
        self.halt(now_us);
    }

    /// Motion, preparation and exposure end. A read-out under way goes on: the radiation is over.
    fn halt(&mut self, now_us: u64) {
        self.arm_targets = None;
        self.stop_gantry(now_us);
        self.prepare_since_us = None;
        if matches!(self.phase, Phase::Exposing { .. }) {
            self.phase = Phase::Idle;
            self.exposure = None;
        }
    }

    fn gantry_elapsed(&self, now_us: u64) -> f64 {
        now_us.saturating_sub(self.gantry.began_us) as f64 * 1e-6
    }

    fn stop_gantry(&mut self, now_us: u64) {
        if !self.gantry.moving {
            return;
        }
        if self.gantry.stopping {
            return;
        }
        let at = self.gantry.profile.at(self.gantry_elapsed(now_us));
        self.gantry.profile = Profile::stop(at, &GANTRY);
        self.gantry.began_us = now_us;
        self.gantry.stopping = true;
    }

    fn control(&mut self, context: &Context, wires: &Wires) -> Option<Exposure> {
        let now_us = context.now_us;
        self.wires = *wires;
        self.account(now_us);
        for (wire, bit) in [
            (wires.source_collision, fault::SOURCE_ARM_COLLISION),
            (wires.panel_collision, fault::PANEL_ARM_COLLISION),
            (wires.generator.fault, fault::GENERATOR),
            (wires.panel_fault, fault::PANEL),
        ] {
            if wire && self.faults & bit == 0 {
                self.latch(now_us, bit);
            }
        }
        if wires.generator.radiates && !matches!(self.phase, Phase::Exposing { .. }) {
            // Radiation that nobody asked for.
            self.latch(now_us, fault::GENERATOR);
        }
        if !context.lease_fresh() {
            self.arm_targets = None;
            self.stop_gantry(now_us);
        }
        self.move_arms(now_us);
        self.move_gantry(now_us);
        if self
            .prepare_since_us
            .is_some_and(|since| now_us - since > PREPARE_US + PREPARED_US)
        {
            self.prepare_since_us = None;
        }
        self.run_panel(now_us)
    }

    fn move_arms(&mut self, now_us: u64) {
        let elapsed = (now_us - self.arms_us) as f64;
        self.arms_us = now_us;
        let Some((source, panel)) = self.arm_targets else {
            return;
        };
        let toward = |at: f64, target: f64, travel: f64| {
            let step = travel * elapsed / ARM_TRAVEL_US;
            at + (target - at).clamp(-step, step)
        };
        self.source_um = toward(self.source_um, source, SOURCE_TRAVEL_UM);
        self.panel_um = toward(self.panel_um, panel, PANEL_TRAVEL_UM);
        if self.source_um == source && self.panel_um == panel {
            self.arm_targets = None;
        }
    }

    fn move_gantry(&mut self, now_us: u64) {
        if self.gantry.moving {
            let elapsed = self.gantry_elapsed(now_us);
            self.gantry_udeg = libm::round(self.gantry.profile.at(elapsed).position * 1e6) as i32;
            self.gantry.moving = elapsed < self.gantry.profile.duration();
        }
    }

    fn run_panel(&mut self, now_us: u64) -> Option<Exposure> {
        match self.phase {
            Phase::Idle => None,
            Phase::Exposing { until_us } => {
                let dark = self.exposure.is_some_and(|exposure| exposure.kind == 1);
                let output = if dark {
                    Output::Given
                } else {
                    self.output(now_us, until_us)
                };
                let broken = if dark {
                    None
                } else if !self.wires.door_closed {
                    Some(fault::DOOR_OPENED)
                } else if !self.wires.couch_at_rest {
                    Some(fault::MOTION)
                } else if output == Output::Broken {
                    Some(fault::GENERATOR)
                } else {
                    None
                };
                if let Some(fault) = broken {
                    self.latch(now_us, fault);
                } else if !dark && !self.wires.exposure_switch {
                    // Letting go of the switch is no fault, but there is no frame.
                    self.halt(now_us);
                } else if now_us >= until_us && output == Output::Given {
                    self.phase = Phase::ReadingOut {
                        earliest_us: now_us + READ_OUT_US,
                    };
                    self.read_out_done = false;
                    let dose_area = libm::round(self.dose_area - self.dose_area_before);
                    if let Some(exposure) = &mut self.exposure {
                        exposure.end_us = now_us;
                        exposure.dose_area = dose_area as u32;
                    }
                    return self.exposure;
                }
                None
            }
            Phase::ReadingOut { earliest_us } => {
                if self.read_out_done && now_us >= earliest_us {
                    self.phase = Phase::Idle;
                    if let Some(exposure) = self.exposure.take() {
                        self.latest_frame = exposure.frame;
                    }
                } else if now_us > earliest_us + READ_OUT_MAX_US {
                    self.phase = Phase::Idle;
                    self.exposure = None;
                    self.latch(now_us, fault::PANEL);
                }
                None
            }
        }
    }

    /// Dose and heat follow the generator's meter, so that what was broken off counts as well.
    fn account(&mut self, now_us: u64) {
        let mas_u = self.wires.generator.mas_u;
        if mas_u == self.metered_u {
            return;
        }
        let fresh = mas_u.checked_sub(self.metered_u).unwrap_or(mas_u);
        self.metered_u = mas_u;
        let mas = f64::from(fresh) * 1e-3;
        let kvp = f64::from(self.technique.kvp_tenth) / 10.0;
        self.heat_j = self.heat_at(now_us) + kvp * mas;
        self.heat_us = now_us;
        let [x1, x2, y1, y2] = self.technique.field_um.map(f64::from);
        // 40 uGy/mAs at 1 m and 80 kVp, with the square of the voltage; the area at the isocentre in cm2.
        self.dose_area += 40.0 * mas * (kvp / 80.0) * (kvp / 80.0) * (x2 - x1) * (y2 - y1) * 1e-8;
    }

    /// What the generator has made of the exposure under way.
    fn output(&self, now_us: u64, until_us: u64) -> Output {
        let generator = &self.wires.generator;
        let asked = f64::from(self.technique.mas_u);
        let off = (f64::from(generator.mas_u) - asked).abs();
        if generator.mas_u > 0 && !generator.radiates && now_us >= until_us {
            if off > METER_TOLERANCE * asked {
                Output::Broken
            } else {
                Output::Given
            }
        } else if now_us > until_us + BACKUP_US {
            Output::Broken
        } else {
            Output::UnderWay
        }
    }

    fn heat_at(&self, now_us: u64) -> f64 {
        let seconds = now_us.saturating_sub(self.heat_us) as f64 * 1e-6;
        self.heat_j * libm::exp(-seconds / ANODE_COOLING_S)
    }

    fn fault_names(&self) -> heapless::String<160> {
        fault_names(self.faults, &FAULT_NAMES)
    }

    fn ready(&self, what: &str) -> Result<(), Refusal> {
        if self.faults != 0 {
            return refuse!(
                FaultLatched,
                "{what}: latched: {}; remove the cause and send FAULT_RESET",
                self.fault_names()
            );
        }
        if self.phase != Phase::Idle {
            return refuse!(
                WrongState,
                "{what}: the panel is exposing or reading out; wait for the frame"
            );
        }
        Ok(())
    }

    fn may_travel(&self, what: &str, context: &Context) -> Result<(), Refusal> {
        self.ready(what)?;
        if !context.lease_fresh() {
            return refuse!(
                LeaseNotFresh,
                "{what}: the lease is {} ms old; renew it every 50 ms",
                context.lease_age_ms()
            );
        }
        Ok(())
    }

    fn arms(&mut self, context: &Context, source: u8, panel: u8) -> Result<u8, Refusal> {
        if source > 1 || panel > 1 {
            return refuse!(
                Malformed,
                "ARMS: {source}, {panel}: each is 0 (park) or 1 (extend)"
            );
        }
        self.may_travel("ARMS", context)?;
        if self.gantry.moving {
            return refuse!(WrongState, "ARMS: the gantry is moving; wait for it");
        }
        self.arms_us = context.now_us;
        let target = (
            f64::from(source) * SOURCE_TRAVEL_UM,
            f64::from(panel) * PANEL_TRAVEL_UM,
        );
        self.arm_targets = ((self.source_um, self.panel_um) != target).then_some(target);
        Ok(reply::ARMS)
    }

    fn turn(&mut self, context: &Context, angle_udeg: i32) -> Result<u8, Refusal> {
        if !(-HALF_TURN_UDEG + 1..=HALF_TURN_UDEG).contains(&i64::from(angle_udeg)) {
            return refuse!(
                OutsideLimits,
                "GANTRY: {:.3} deg is not within (-180, 180]",
                f64::from(angle_udeg) * 1e-6
            );
        }
        self.may_travel("GANTRY", context)?;
        if self.arm_targets.is_some() || self.gantry.moving {
            return refuse!(
                WrongState,
                "GANTRY: arms or gantry are moving; wait for them"
            );
        }
        let from = f64::from(self.gantry_udeg) * 1e-6;
        self.gantry.profile = Profile::rest_to_rest(from, f64::from(angle_udeg) * 1e-6, &GANTRY);
        self.gantry.began_us = context.now_us;
        self.gantry.stopping = false;
        self.gantry.moving = self.gantry.profile.duration() > 0.0;
        Ok(reply::GANTRY)
    }

    fn set_technique(&mut self, technique: &Technique) -> Result<u8, Refusal> {
        self.ready("TECHNIQUE")?;
        let [x1, x2, y1, y2] = technique.field_um;
        if !(400..=1500).contains(&technique.kvp_tenth) {
            return refuse!(
                OutsideLimits,
                "TECHNIQUE: {:.1} kVp is not within 40 to 150 kVp",
                f64::from(technique.kvp_tenth) / 10.0
            );
        }
        if !(50..=500_000).contains(&technique.mas_u) {
            return refuse!(
                OutsideLimits,
                "TECHNIQUE: {:.3} mAs is not within 0.05 to 500 mAs",
                f64::from(technique.mas_u) * 1e-3
            );
        }
        if technique.filter > 3 || !matches!(technique.binning, 1 | 2 | 4) {
            return refuse!(
                Malformed,
                "TECHNIQUE: filter {} is not 0 to 3 or binning {} not 1, 2 or 4",
                technique.filter,
                technique.binning
            );
        }
        let edges_mm = [x1, x2, y1, y2].map(|edge| f64::from(edge) / 1e3);
        if x1 >= x2 || y1 >= y2 || edges_mm.iter().any(|edge| edge.abs() > 250.0) {
            let [a, b, c, d] = edges_mm;
            return refuse!(
                OutsideLimits,
                "TECHNIQUE: field x {a:.1} to {b:.1}, y {c:.1} to {d:.1} mm is empty or beyond +-250 mm at the isocentre"
            );
        }
        self.technique = *technique;
        Ok(reply::TECHNIQUE)
    }

    fn prepare(&mut self, context: &Context, on: u8) -> Result<u8, Refusal> {
        match on {
            0 => self.prepare_since_us = None,
            1 => {
                self.ready("PREPARE")?;
                if self.prepare_since_us.is_none() {
                    self.prepare_since_us = Some(context.now_us);
                }
            }
            _ => return refuse!(Malformed, "PREPARE: {on} is neither 0 nor 1"),
        }
        Ok(reply::PREPARE)
    }

    fn interlocks(&self, now_us: u64, energy_j: f64) -> Result<(), Refusal> {
        let heat = self.heat_at(now_us) + energy_j;
        for (open, what) in [
            (
                !self.prepared(now_us),
                "the anode is not prepared; send PREPARE and wait for state ready",
            ),
            (!self.wires.door_closed, "the room door is open; close it"),
            (
                !self.wires.couch_at_rest,
                "the couch is not at rest with brakes on; wait for it",
            ),
            (
                !self.wires.exposure_switch,
                "the exposure switch is open; hold it",
            ),
            (
                heat > ANODE_CAPACITY_J,
                "the anode is too hot for this exposure; let it cool",
            ),
        ] {
            if open {
                return refuse!(Interlock, "EXPOSE: {what}");
            }
        }
        Ok(())
    }

    fn expose(
        &mut self,
        context: &Context,
        kind: u8,
        reserved: u32,
        angle_udeg: i32,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        if kind > 1 || reserved != 0 {
            return refuse!(
                Malformed,
                "EXPOSE: kind {kind} is neither 0 (X-ray) nor 1 (dark), or a reserved field is set"
            );
        }
        self.ready("EXPOSE")?;
        if !self.extended() || self.arm_targets.is_some() {
            return refuse!(
                Interlock,
                "EXPOSE: the arms are not extended; send ARMS 1 1"
            );
        }
        if self.gantry.moving {
            return refuse!(Interlock, "EXPOSE: the gantry is moving; wait for it");
        }
        let at = source_angle_udeg(self.gantry_udeg);
        let turn = 2 * HALF_TURN_UDEG;
        let off = (i64::from(angle_udeg) - i64::from(at) + HALF_TURN_UDEG).rem_euclid(turn)
            - HALF_TURN_UDEG;
        if off.abs() > ANGLE_TOLERANCE_UDEG {
            return refuse!(
                Interlock,
                "EXPOSE: the source stands at {:.3} deg, not at {:.3} deg; move the gantry",
                f64::from(at) * 1e-6,
                f64::from(angle_udeg) * 1e-6
            );
        }
        let technique = self.technique;
        let (mas, kvp) = (
            f64::from(technique.mas_u) * 1e-3,
            f64::from(technique.kvp_tenth) / 10.0,
        );
        if kind == 0 {
            self.interlocks(context.now_us, kvp * mas)?;
        }
        self.dose_area_before = self.dose_area;
        let exposure = Exposure {
            frame: self.next_frame,
            kind,
            technique,
            begin_us: context.now_us,
            end_us: context.now_us,
            gantry_udeg: self.gantry_udeg,
            source_angle_udeg: at,
            source_arm_um: libm::round(self.source_um) as i32,
            panel_arm_um: libm::round(self.panel_um) as i32,
            dose_area: 0,
        };
        self.exposure = Some(exposure);
        self.next_frame += 1;
        self.phase = Phase::Exposing {
            until_us: context.now_us + technique.time_us(),
        };
        body.u32(exposure.frame);
        Ok(reply::EXPOSE)
    }

    fn reset(&mut self, named: u32, body: &mut Writer<'_>) -> Result<u8, Refusal> {
        let mut still = 0;
        for (present, bit) in [
            (self.wires.source_collision, fault::SOURCE_ARM_COLLISION),
            (self.wires.panel_collision, fault::PANEL_ARM_COLLISION),
            (
                self.wires.generator.fault || self.wires.generator.radiates,
                fault::GENERATOR,
            ),
            (self.wires.panel_fault, fault::PANEL),
            (!self.wires.door_closed, fault::DOOR_OPENED),
        ] {
            still |= if present { bit } else { 0 };
        }
        self.faults &= !named | still;
        body.u32(self.faults);
        Ok(reply::FAULT_RESET)
    }

    fn status(&self, context: &Context, body: &mut Writer<'_>) -> u8 {
        let now_us = context.now_us;
        let flags = [
            self.parked(),
            self.extended(),
            self.wires.door_closed,
            self.wires.couch_at_rest,
            self.wires.exposure_switch,
            self.prepared(now_us),
            matches!(self.phase, Phase::Exposing { .. }),
            context.lease_fresh(),
        ]
        .iter()
        .enumerate()
        .fold(0, |flags, (bit, set)| flags | u32::from(*set) << bit);
        let panel_mode = u8::from(self.panel_um > 0.0);
        let heat_ppm = (self.heat_at(now_us) / ANODE_CAPACITY_J * 1e6) as u32;
        body.u64(now_us)
            .u8(self.state(now_us))
            .u8(0)
            .u8(panel_mode)
            .u8(self.technique.binning)
            .u32(flags)
            .u32(self.faults);
        body.i32(self.gantry_udeg)
            .i32(libm::round(self.source_um) as i32)
            .i32(libm::round(self.panel_um) as i32);
        body.u32(heat_ppm)
            .u32(self.dose_area as u32)
            .u32(self.latest_frame);
        reply::IMAGER_STATUS
    }
}

impl<S: FrameStore> Attended<'_, S> {
    /// The record of a frame that may be read now: shown, and not yet dropped.
    fn readable(&self, frame: u32) -> Result<FrameRecord, Refusal> {
        let latest = self.core.latest_frame;
        let shown = frame >= FLOOD || (frame != 0 && frame <= latest);
        match self
            .frames
            .record(frame, &self.core.technique)
            .filter(|_| shown)
        {
            Some(record) => Ok(record),
            None if frame >= FLOOD => refuse!(
                NoSuchFrame,
                "there is no stored frame {frame:08X}, or the floods of this technique are still being loaded; ask again"
            ),
            None => refuse!(
                NoSuchFrame,
                "frame {frame} is not kept; the latest is {latest}, and the last {FRAMES_KEPT} are kept"
            ),
        }
    }

    fn info(&self, frame: u32, body: &mut Writer<'_>) -> Result<u8, Refusal> {
        let record = self.readable(frame)?;
        let exposure = &record.exposure;
        let binning = exposure.technique.binning;
        let bytes = 2 * u32::from(record.rows) * u32::from(record.cols);
        body.u8(exposure.kind)
            .u8(binning)
            .u8(16)
            .u32(frame)
            .u16(record.rows)
            .u16(record.cols)
            .u32(bytes);
        body.octets(&record.sha256)
            .u64(exposure.begin_us)
            .u64(exposure.end_us)
            .u16(exposure.technique.kvp_tenth)
            .u16(0);
        body.u32(exposure.technique.mas_u)
            .i32(exposure.source_angle_udeg)
            .i32(exposure.source_arm_um)
            .i32(exposure.panel_arm_um);
        body.u32(exposure.dose_area)
            .u32(SAD_UM)
            .u32(SID_UM)
            .u32(PITCH_NM * u32::from(binning));
        Ok(reply::FRAME_INFO)
    }

    fn read(
        &self,
        frame: u32,
        offset: u32,
        count: u16,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        let record = self.readable(frame)?;
        let bytes = 2 * u32::from(record.rows) * u32::from(record.cols);
        if count == 0 || count > READ_MAX || offset >= bytes || u32::from(count) > bytes - offset {
            return refuse!(
                Malformed,
                "FRAME_READ: {count} octets from {offset} on are not within 1 to {READ_MAX} of the {bytes} of frame {frame}"
            );
        }
        body.u8(0).u16(count).u32(frame).u32(offset);
        let read = body.fill(usize::from(count), |place| {
            self.frames.read(frame, &self.core.technique, offset, place)
        });
        if read != usize::from(count) {
            return refuse!(
                NoSuchFrame,
                "frame {frame} could not be read at {offset}; read its FRAME_INFO again"
            );
        }
        Ok(reply::FRAME_READ)
    }
}

impl<S: FrameStore> Device for Attended<'_, S> {
    fn identity(&self) -> Identity {
        Identity {
            device: DEVICE,
            family: 0,
            axis_count: 0,
            limits: [0; 8],
        }
    }

    fn stop(&mut self, now_us: u64) -> u8 {
        self.core.halt(now_us);
        self.core.state(now_us)
    }

    fn session_ended(&mut self, now_us: u64) {
        self.core.halt(now_us);
    }

    fn status(&self, context: &Context, body: &mut Writer<'_>) -> u8 {
        self.core.status(context, body)
    }

    fn obey(
        &mut self,
        context: &Context,
        command: &Command<'_>,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        match command {
            Command::Arms { source, panel } => self.core.arms(context, *source, *panel),
            Command::Gantry { angle_udeg } => self.core.turn(context, *angle_udeg),
            Command::Technique(technique) => {
                let answer = self.core.set_technique(technique)?;
                self.frames.technique_set(technique);
                Ok(answer)
            }
            Command::Prepare { on } => self.core.prepare(context, *on),
            Command::Expose {
                kind,
                reserved,
                source_angle_udeg,
            } => self
                .core
                .expose(context, *kind, *reserved, *source_angle_udeg, body),
            Command::FrameInfo { frame } => self.info(*frame, body),
            Command::FrameRead {
                frame,
                offset,
                count,
            } => self.read(*frame, *offset, *count, body),
            Command::FaultReset { faults } => self.core.reset(*faults, body),
            _ => refuse!(
                NotSupported,
                "an imager does not do this; send it to the couch"
            ),
        }
    }
}
