//! The firmware of the imager: arms, gantry, generator, panel and their interlocks (docs/protocol.md section 7).

mod exposing;
mod frame;
pub mod mode;
pub mod rating;

use crate::generator;
use crate::line::{Context, Device, Identity, Line, Obey, Sink};
use crate::profile::{Limits, Profile};
use crate::random::Stream;
use crate::refusal::{Refusal, fault_names};
use crate::refuse;
use crate::station::Station;
use crate::wire::message::{Command, Technique, reply};
use crate::wire::octets::Writer;
pub use frame::{Exposure, FrameRecord, FrameStore};
use mode::{FramesOut, Mode, Series};
use rating::ANODE_CAPACITY_J;

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
/// Radiation that goes on, or has not come, so long after its time: the contactor opens and a fault latches.
const BACKUP_US: u64 = 50_000;
/// The meter may differ from what was asked by this share.
const METER_TOLERANCE: f64 = 0.2;
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Exposing {
        until_us: u64,
    },
    /// Between two pulses of a series.
    Between,
    ReadingOut,
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

/// Everything of the imager but its line.
#[derive(Debug)]
pub struct Core {
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
    mode: Mode,
    period_us: u32,
    settled_us: u64,
    series: Option<Series>,
    out: FramesOut,
}

/// The imager: its line and its core.
pub type Imager = Station<Core>;

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
                ma_tenth: 1_000,
                time_us: 20_000,
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
            mode: Mode::Radiographic,
            period_us: 0,
            settled_us: now_us,
            series: None,
            out: FramesOut::default(),
        };
        Self {
            line: Line::new(DEVICE, Stream::new(seed, "imager.session"), now_us),
            core,
        }
    }

    /// One control cycle. Gives the exposure that ended in it and is to be rendered.
    pub fn tick(&mut self, now_us: u64, wires: &Wires, sink: &mut impl Sink) -> Option<Exposure> {
        let ended = self.core.control(&self.line.context(now_us), wires);
        self.line.tick(now_us, &self.core, sink);
        ended
    }

    /// The panel has delivered the pending frame; it shows when the read-out has lasted long enough.
    pub fn frame_delivered(&mut self, exposure: &Exposure) {
        self.core
            .out
            .delivered(exposure.frame, exposure.period_us > 0);
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
            ma_tenth: core.technique.ma_tenth,
            time_us: u64::from(core.technique.time_us),
        }
    }

    /// Gantry angle in degrees.
    pub fn gantry_deg(&self) -> f64 {
        f64::from(self.core.gantry_udeg) * 1e-6
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
            let spun_us = now_us - since;
            // A series keeps the anode up.
            spun_us >= PREPARE_US && (spun_us <= PREPARE_US + PREPARED_US || self.series.is_some())
        })
    }

    fn state(&self, now_us: u64) -> u8 {
        match self.phase {
            _ if self.faults != 0 => 7,
            Phase::Exposing { .. } | Phase::Between => 5,
            Phase::ReadingOut => 6,
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
        self.end_exposing();
    }

    /// No more radiation; frames that are on their way come.
    fn end_exposing(&mut self) {
        self.series = None;
        self.exposure = None;
        self.phase = if self.out.is_empty() {
            Phase::Idle
        } else {
            Phase::ReadingOut
        };
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
            if self.series.is_some() {
                // Radiation that goes on needs a host that lives; what one exposure gives is bounded.
                self.halt(now_us);
            }
        }
        self.move_arms(now_us);
        self.move_gantry(now_us);
        if self
            .prepare_since_us
            .is_some_and(|since| now_us - since > PREPARE_US + PREPARED_US)
            && self.series.is_none()
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
        let asked = self.technique.uas();
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
                "{what}: the panel is exposing or reading out; wait for the frame, or end the series with SERIES 0"
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
        rating::check(technique)?;
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
        rating::fits("TECHNIQUE", self.mode, technique)?;
        self.technique = *technique;
        Ok(reply::TECHNIQUE)
    }

    fn prepare(&mut self, context: &Context, on: u8) -> Result<u8, Refusal> {
        match on {
            0 => {
                self.end_series();
                self.prepare_since_us = None;
            }
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
}

impl Device for Core {
    fn identity(&self) -> Identity {
        Identity::without_axes(DEVICE)
    }

    fn stop(&mut self, now_us: u64) -> u8 {
        self.halt(now_us);
        self.state(now_us)
    }

    fn session_ended(&mut self, now_us: u64) {
        self.halt(now_us);
        self.enter(now_us, Mode::Radiographic, 0);
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
            now_us < self.settled_us,
            self.series.is_some(),
        ]
        .iter()
        .enumerate()
        .fold(0, |flags, (bit, set)| flags | u32::from(*set) << bit);
        let panel_mode = if self.panel_um > 0.0 {
            self.mode.code()
        } else {
            0
        };
        let dropped = self.out.dropped.min(u32::from(u8::MAX)) as u8;
        let heat_ppm = (self.heat_at(now_us) / ANODE_CAPACITY_J * 1e6) as u32;
        body.u64(now_us)
            .u8(self.state(now_us))
            .u8(dropped)
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

    fn faults(&self) -> u32 {
        self.faults
    }
}

impl<S: FrameStore> Obey<S> for Core {
    fn obey(
        &mut self,
        context: &Context,
        command: &Command<'_>,
        frames: &S,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        match command {
            Command::Arms { source, panel } => self.arms(context, *source, *panel),
            Command::Gantry { angle_udeg } => self.turn(context, *angle_udeg),
            Command::Technique(technique) => {
                let answer = self.set_technique(technique)?;
                frames.technique_set(technique, self.mode);
                Ok(answer)
            }
            Command::Prepare { on } => self.prepare(context, *on),
            Command::Expose {
                kind,
                reserved,
                source_angle_udeg,
            } => self.expose(context, *kind, *reserved, *source_angle_udeg, body),
            Command::FrameInfo { frame } => self.info(*frame, frames, body),
            Command::FrameRead {
                frame,
                offset,
                count,
            } => self.read_frame(*frame, *offset, *count, frames, body),
            Command::FaultReset { faults } => self.reset(*faults, body),
            Command::PanelMode {
                mode,
                reserved,
                period_us,
            } => {
                let answer = self.set_mode(context, *mode, *reserved, *period_us, body)?;
                frames.technique_set(&self.technique, self.mode);
                Ok(answer)
            }
            Command::Series {
                frames,
                reserved,
                source_angle_udeg,
            } => self.run_series(context, *frames, *reserved, *source_angle_udeg, body),
            _ => refuse!(
                NotSupported,
                "an imager does not do this; send it to the couch"
            ),
        }
    }
}
