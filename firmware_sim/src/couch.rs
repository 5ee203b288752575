//! The firmware of the couch: what moves it, what stops it, and what it says of itself (docs/protocol.md section 6).

pub mod enable;
mod jog;
pub mod path;
pub mod plan;
mod supervision;

use crate::kinematics::Family;
use crate::limits::{self, AXES, Limits};
use crate::line::{Context, Device, Identity, Line, Obey, Sink};
use crate::plant::{Drive, Sensors};
use crate::random::Stream;
use crate::refusal::{Refusal, fault_names};
use crate::refuse;
use crate::station::Station;
use crate::wire::message::{Command, reply};
use crate::wire::octets::Writer;
use enable::{Contacts, Enable};
use path::{Path, Position, Travel};
use plan::Plan;
use supervision::Supervision;

/// Device kind on the wire.
pub const DEVICE: u8 = 1;

/// `state` of COUCH_STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(
    missing_docs,
    reason = "the names are those of docs/protocol.md section 6"
)]
pub enum State {
    NotReferenced = 0,
    Idle = 1,
    PlanLoaded = 2,
    Armed = 3,
    Moving = 4,
    Stopping = 5,
    Held = 6,
    Arrived = 7,
    Jogging = 8,
    Homing = 9,
    Latched = 10,
    PoweredOff = 11,
}

/// `stop_cause` of COUCH_STATUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(
    missing_docs,
    reason = "the names are those of docs/protocol.md section 6"
)]
pub enum StopCause {
    None = 0,
    Stop = 1,
    EnableReleased = 2,
    LeaseLate = 3,
    LeaseLost = 4,
    Fault = 5,
    TouchGuard = 6,
    NewSession = 7,
    Arrived = 8,
    EmergencyStop = 9,
    PlanExpired = 10,
    JogEnded = 11,
    InterlockWire = 12,
}

/// Bits of `faults` of COUCH_STATUS.
pub mod fault {
    #![allow(
        missing_docs,
        reason = "the names are those of docs/protocol.md section 6"
    )]
    pub const LEASE_LOST: u32 = 1;
    pub const FOLLOWING: u32 = 1 << 1;
    pub const CHANNELS_DISAGREE: u32 = 1 << 2;
    pub const TOUCH_GUARD: u32 = 1 << 3;
    pub const EMERGENCY_STOP: u32 = 1 << 4;
    pub const ENABLE_DISCREPANCY: u32 = 1 << 5;
    pub const LIMIT_SWITCH: u32 = 1 << 6;
    pub const BRAKE_SLIP: u32 = 1 << 7;
    pub const DRIVE: u32 = 1 << 8;
    pub const POWER_LOST: u32 = 1 << 9;
    pub const ENCODER: u32 = 1 << 10;
    pub const OVER_SPEED: u32 = 1 << 11;
    pub const LEG_LIMIT: u32 = 1 << 12;
    pub const BRAKE_NOT_RELEASED: u32 = 1 << 13;
    pub const SELF_TEST: u32 = 1 << 14;
}

/// Names of the fault bits, lowest first.
pub const FAULT_NAMES: [&str; 15] = [
    "lease lost",
    "following error",
    "position channels disagree",
    "touch guard",
    "emergency stop",
    "enable discrepancy",
    "limit switch",
    "brake slip",
    "drive fault",
    "power lost",
    "encoder fault",
    "over speed",
    "leg limit",
    "brake did not release",
    "self test",
];

/// Touch-guards, lowest bit first: the edges of the table top, and the covers of both arms.
pub const TOUCH_GUARDS: [&str; 6] = [
    "table_left",
    "table_right",
    "table_head",
    "table_foot",
    "source_arm",
    "panel_arm",
];

/// Names of the CiA 402 states of the drives, in the order of `drive_state`.
pub const DRIVE_STATES: [&str; 8] = [
    "not ready to switch on",
    "switch on disabled",
    "ready to switch on",
    "switched on",
    "operation enabled",
    "quick stop active",
    "fault reaction active",
    "fault",
];

/// The control cycle's watchdog has an oscillator of its own: over so many cycles the controller's clock must go on by their length,
/// a quarter more or less. Else the clock of leases, deadlines and set-points cannot be trusted.
const WATCHDOG_CYCLES: u64 = 64;

/// Hardware wires into the couch controller beside its sensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wires {
    /// Contacts of the three-position enable.
    pub enable: Contacts,
    /// E-stop chain open.
    pub estop: bool,
    /// Touch-guards pressed, a bit each as in [`TOUCH_GUARDS`].
    pub touch_guards: u8,
    /// Panel arms parked, from the imager.
    pub arms_parked: bool,
    /// Manual brake release in use.
    pub manual_release: bool,
}

/// How a couch is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// Family and its geometry.
    pub family: Family,
    /// Limits that the firmware enforces.
    pub limits: Limits,
    /// Whether the couch knows its position at power-up.
    pub referenced: bool,
    /// Whether the last power-down was none of its own.
    pub power_was_lost: bool,
}

/// Deadline of the brakes to open.
const BRAKE_TIMEOUT_US: u64 = 400_000;
/// Set-point and measurement agree for this long before the brakes engage.
const SETTLED_US: u64 = 50_000;
/// Longest settling.
const SETTLE_TIMEOUT_US: u64 = 1_500_000;
/// Jog and homing speed: 10 mm/s, 1 deg/s.
const SLOW: (f64, f64) = (10e3, 1e6);
/// Homing passes the distance-coded reference marks of an axis within 5 mm or 1 deg.
const HOMING_STROKE: (f64, f64) = (5e3, 1e6);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Plan,
    Jog {
        axis: usize,
        speed: i32,
        until_us: u64,
    },
    Home,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Brakes are opening; the motors hold the set-point.
    Releasing { since_us: u64 },
    /// The set-point moves.
    Running,
    /// The set-point rests; the couch catches up.
    Settling {
        since_us: u64,
        agreed_us: Option<u64>,
    },
    /// Brakes are engaging.
    Braking { since_us: u64 },
    /// Brakes on in mid path.
    Holding,
}

#[derive(Debug, Clone)]
struct Motion {
    phase: Phase,
    purpose: Purpose,
    /// Comes to rest on the path; set with the cause of the stop.
    stopping: bool,
    /// Ends at the next rest: a STOP, a new session, an open interlock.
    ending: bool,
}

/// Everything of the couch but its line.
#[derive(Debug)]
pub struct Core {
    limits: Limits,
    family: Family,
    entropy: Stream,
    referenced: bool,
    moved_by_hand: bool,
    faults: u32,
    stop_cause: StopCause,
    enable: Enable,
    plan: Option<Plan>,
    armed: bool,
    executed_nonce: u32,
    expired_nonce: u32,
    shown_nonce: u32,
    token: [u8; 16],
    motion: Option<Motion>,
    /// The way of the motion under way, or of the last; apart from it, as a cycle takes the motion out and puts it back.
    travel: Travel,
    drive: Drive,
    gate: bool,
    wires: Wires,
    sensors: Sensors,
    supervision: Supervision,
    arrived: bool,
    has_base: bool,
    /// Control cycles since the watchdog last compared the clock, and when that was.
    cycles: u64,
    watched_us: u64,
    clock_true: bool,
    /// Index of the last waypoint of the plan under way: a plan that is voided still comes to rest.
    last_leg: usize,
}

/// The couch: its line and its core.
pub type Couch = Station<Core>;

impl Couch {
    /// A couch at power-up, its sensors as they are.
    pub fn new(config: &Config, sensors: &Sensors, seed: u64, now_us: u64) -> Self {
        let core = Core {
            limits: config.limits,
            family: config.family,
            entropy: Stream::new(seed, "couch.nonce"),
            referenced: config.referenced,
            moved_by_hand: false,
            faults: if config.power_was_lost {
                fault::POWER_LOST
            } else {
                0
            },
            stop_cause: StopCause::None,
            enable: Enable::default(),
            plan: None,
            armed: false,
            executed_nonce: 0,
            expired_nonce: 0,
            shown_nonce: 0,
            token: [0; 16],
            motion: None,
            travel: Travel::new(Path::default()),
            drive: Drive {
                position: sensors.primary.map(f64::from),
                ..Drive::default()
            },
            gate: false,
            wires: Wires::default(),
            sensors: *sensors,
            supervision: Supervision::new(
                sensors,
                &config.limits,
                config.family.is_robot(),
                now_us,
            ),
            arrived: false,
            has_base: config.family.has_base(),
            cycles: 0,
            watched_us: now_us,
            clock_true: true,
            last_leg: 0,
        };
        Self {
            line: Line::new(DEVICE, Stream::new(seed, "couch.session"), now_us),
            core,
        }
    }

    /// One control cycle: wires and sensors in, command of the drives out, telemetry to `sink`.
    pub fn tick(
        &mut self,
        now_us: u64,
        wires: &Wires,
        sensors: &Sensors,
        sink: &mut impl Sink,
    ) -> Drive {
        self.core
            .control(&self.line.context(now_us), wires, sensors);
        if !self.core.clock_true && self.core.cycles == 0 {
            // A clock that stands still never makes telemetry due: the watchdog's oscillator does.
            self.line.tell(now_us, &self.core, sink);
        } else {
            self.line.tick(now_us, &self.core, sink);
        }
        self.core.drive
    }

    /// At rest with all brakes engaged: the wire into the imager.
    pub fn at_rest(&self) -> bool {
        self.core.at_rest()
    }

    /// Beam gate energised. De-energised means hold.
    pub fn beam_gate(&self) -> bool {
        self.core.gate
    }

    /// State as telemetry would show it.
    pub fn state(&self) -> State {
        self.core.state()
    }

    /// CiA 402 state of the drives, by its number in [`DRIVE_STATES`].
    pub fn drive_state(&self) -> u8 {
        self.core.drive_state()
    }

    /// Why it last stopped.
    pub fn stop_cause(&self) -> StopCause {
        self.core.stop_cause
    }

    /// Token of the last EXECUTE, for the bench.
    pub fn token(&self) -> [u8; 16] {
        self.core.token
    }
}

impl Core {
    fn at_rest(&self) -> bool {
        self.motion.is_none() && self.sensors.brakes_engaged
    }

    fn state(&self) -> State {
        if self.faults != 0 {
            return State::Latched;
        }
        match &self.motion {
            Some(motion)
                if motion.phase == Phase::Holding
                    || (motion.stopping
                        && !motion.ending
                        && matches!(motion.phase, Phase::Braking { .. })) =>
            {
                State::Held
            }
            Some(motion) if motion.stopping => State::Stopping,
            Some(motion) => match motion.purpose {
                Purpose::Plan => State::Moving,
                Purpose::Jog { .. } => State::Jogging,
                Purpose::Home => State::Homing,
            },
            None if self.armed => State::Armed,
            None if self.plan.is_some() => State::PlanLoaded,
            None if self.arrived => State::Arrived,
            None if self.referenced => State::Idle,
            None => State::NotReferenced,
        }
    }

    /// CiA 402 state of the drives as one.
    fn drive_state(&self) -> u8 {
        const SWITCH_ON_DISABLED: u8 = 1;
        const SWITCHED_ON: u8 = 3;
        const OPERATION_ENABLED: u8 = 4;
        const QUICK_STOP_ACTIVE: u8 = 5;
        const FAULT_REACTION_ACTIVE: u8 = 6;
        const FAULT: u8 = 7;
        if self.wires.estop {
            return SWITCH_ON_DISABLED;
        }
        match &self.motion {
            _ if self.faults != 0 => {
                if self.sensors.brakes_engaged {
                    FAULT
                } else {
                    FAULT_REACTION_ACTIVE
                }
            }
            Some(motion) if motion.stopping && self.drive.enabled => QUICK_STOP_ACTIVE,
            _ if self.drive.enabled => OPERATION_ENABLED,
            _ => SWITCHED_ON,
        }
    }

    fn void_plan(&mut self) {
        self.plan = None;
        self.armed = false;
        self.arrived = false;
        self.shown_nonce = 0;
    }

    /// A controlled stop that ends the motion. An armed or loaded plan is void at once.
    fn end_motion(&mut self, now_us: u64, cause: StopCause) {
        let had = self.motion.is_some() || self.armed || self.plan.is_some();
        self.void_plan();
        self.gate = false;
        if had || cause == StopCause::Stop {
            self.stop_cause = cause;
        }
        if let Some(motion) = &mut self.motion {
            motion.ending = true;
            motion.controlled_stop(&mut self.travel, now_us);
        }
    }

    /// Latches a fault: motors off, brakes on, plan void, beam hold.
    fn latch(&mut self, fault: u32, cause: StopCause) {
        if self.faults & fault == fault {
            return;
        }
        self.faults |= fault;
        self.stop_cause = cause;
        self.void_plan();
        self.motion = None;
        self.gate = false;
        self.drive.enabled = false;
        self.drive.release_brakes = false;
        self.drive.speed = [0.0; AXES];
        self.drive.base_moves = false;
    }

    /// One control cycle.
    fn control(&mut self, context: &Context, wires: &Wires, sensors: &Sensors) {
        let now_us = context.now_us;
        self.wires = *wires;
        self.sensors = *sensors;
        self.watch_clock(now_us);
        let differ = self.enable.sample(now_us, wires.enable);
        self.latch_wires(differ);
        self.supervise(now_us, sensors);
        if self.armed || self.motion.is_some() {
            self.keep_lease(context);
        }
        self.expire(now_us);
        if self.armed && self.motion.is_none() && self.may_move(context) {
            self.begin_plan(now_us);
        }
        if self.motion.is_some() {
            self.drive_motion(context);
        } else if self.drive.enabled
            && (self.sensors.brakes_engaged || self.wires.estop || self.wires.manual_release)
        {
            self.drive.enabled = false;
        }
        if self.motion.is_some()
            || self.faults != 0
            || !self.sensors.brakes_engaged
            || context.lease_lost()
        {
            self.gate = false;
        }
    }

    #[inline]
    fn watch_clock(&mut self, now_us: u64) {
        self.cycles += 1;
        if self.cycles < WATCHDOG_CYCLES {
            return;
        }
        let passed = now_us.saturating_sub(self.watched_us);
        let due = WATCHDOG_CYCLES * crate::plant::CYCLE_US;
        self.clock_true = passed.abs_diff(due) <= due / 4;
        self.cycles = 0;
        self.watched_us = now_us;
        if !self.clock_true {
            self.latch(fault::SELF_TEST, StopCause::Fault);
        }
    }

    fn latch_wires(&mut self, enable_differs: bool) {
        if self.wires.estop {
            self.latch(fault::EMERGENCY_STOP, StopCause::EmergencyStop);
        }
        if self.wires.touch_guards != 0 {
            self.latch(fault::TOUCH_GUARD, StopCause::TouchGuard);
        }
        if enable_differs {
            self.latch(fault::ENABLE_DISCREPANCY, StopCause::Fault);
        }
    }

    /// The lease matters from EXECUTE to arrival, but not to a motion that STOP, a new session or a void plan is bringing to rest for good.
    fn keep_lease(&mut self, context: &Context) {
        let ends = |motion: &Motion| motion.stopping && motion.ending;
        if context.lease_lost() && !self.motion.as_ref().is_some_and(ends) {
            self.latch(fault::LEASE_LOST, StopCause::LeaseLost);
        }
    }

    fn expire(&mut self, now_us: u64) {
        let Some(plan) = &self.plan else { return };
        let waits = self
            .motion
            .as_ref()
            .is_none_or(|motion| motion.phase == Phase::Holding);
        if now_us > plan.expires_us && waits {
            self.expired_nonce = plan.nonce;
            self.void_plan();
            self.motion = None;
            self.stop_cause = StopCause::PlanExpired;
        }
    }

    /// Motion goes on while ALL of: enable held, lease fresh, arms parked, no hand on the brakes, no fault.
    fn may_move(&self, context: &Context) -> bool {
        self.enable.held()
            && context.lease_fresh()
            && self.wires.arms_parked
            && !self.wires.manual_release
            && self.faults == 0
    }

    fn begin_plan(&mut self, now_us: u64) {
        let Some(plan) = &self.plan else { return };
        let from = self.sensors.primary.map(f64::from);
        let path = plan.path(&from, &self.limits);
        self.last_leg = plan.last_leg();
        self.armed = false;
        self.begin(now_us, path, from, Purpose::Plan);
    }

    fn begin(&mut self, now_us: u64, path: Path, from: Position, purpose: Purpose) {
        self.arrived = false;
        self.stop_cause = StopCause::None;
        self.gate = false;
        self.drive = Drive {
            position: from,
            speed: [0.0; AXES],
            enabled: true,
            release_brakes: true,
            base_moves: false,
        };
        self.travel = Travel::new(path);
        self.motion = Some(Motion {
            phase: Phase::Releasing { since_us: now_us },
            purpose,
            stopping: false,
            ending: false,
        });
    }

    /// Why the motion must come to rest now, if it must.
    fn stop_reason(&self, context: &Context, purpose: Purpose) -> Option<(StopCause, bool)> {
        let resumable = purpose == Purpose::Plan;
        if !self.wires.arms_parked || self.wires.manual_release {
            return Some((StopCause::InterlockWire, true));
        }
        if !self.enable.held() {
            return Some((StopCause::EnableReleased, !resumable));
        }
        if !context.lease_fresh() {
            return Some((StopCause::LeaseLate, !resumable));
        }
        match purpose {
            Purpose::Jog { until_us, .. } if context.now_us > until_us => {
                Some((StopCause::JogEnded, true))
            }
            _ => None,
        }
    }

    fn drive_motion(&mut self, context: &Context) {
        let now_us = context.now_us;
        let Some(mut motion) = self.motion.take() else {
            return;
        };
        if let Some((cause, ends)) = self.stop_reason(context, motion.purpose) {
            let fresh = !motion.stopping;
            if fresh || (ends && !motion.ending) {
                self.stop_cause = cause;
            }
            if ends && !motion.ending {
                motion.ending = true;
                self.void_plan();
            }
            if fresh {
                motion.controlled_stop(&mut self.travel, now_us);
            }
        }
        if self.step_phase(context, &mut motion) {
            self.motion = Some(motion);
        }
    }

    /// Set-point and measurement have to agree for a while before the brakes engage. False where the motion ends.
    fn settle(
        &mut self,
        now_us: u64,
        motion: &mut Motion,
        since_us: u64,
        agreed_us: Option<u64>,
    ) -> bool {
        let agreed_us = self
            .supervision
            .settled(&self.sensors, &self.drive)
            .then(|| agreed_us.unwrap_or(now_us));
        motion.phase = Phase::Settling {
            since_us,
            agreed_us,
        };
        if agreed_us.is_some_and(|at| now_us - at >= SETTLED_US) {
            motion.phase = Phase::Braking { since_us: now_us };
        } else if now_us - since_us > SETTLE_TIMEOUT_US {
            self.latch(fault::FOLLOWING, StopCause::Fault);
            return false;
        }
        true
    }

    /// Moves the motion on by one cycle; `false` when it is over.
    fn step_phase(&mut self, context: &Context, motion: &mut Motion) -> bool {
        let now_us = context.now_us;
        match motion.phase {
            Phase::Releasing { since_us } => {
                if motion.stopping {
                    motion.phase = Phase::Braking { since_us: now_us };
                } else if self.sensors.brakes_released {
                    self.travel.start(now_us);
                    motion.phase = Phase::Running;
                } else if now_us - since_us > BRAKE_TIMEOUT_US {
                    self.latch(fault::BRAKE_NOT_RELEASED, StopCause::Fault);
                    return false;
                }
            }
            Phase::Running => {
                let set = self.travel.advance(now_us);
                if self.has_base {
                    self.drive.base_moves = self.base_moves(motion.purpose);
                }
                self.drive.position = set.position;
                self.drive.speed = set.speed;
                if self.travel.at_rest(now_us) {
                    self.drive.speed = [0.0; AXES];
                    motion.phase = Phase::Settling {
                        since_us: now_us,
                        agreed_us: None,
                    };
                }
            }
            Phase::Settling {
                since_us,
                agreed_us,
            } => return self.settle(now_us, motion, since_us, agreed_us),
            Phase::Braking { since_us } => {
                // The motors hold until the brakes do, so that the couch does not drop.
                self.drive.release_brakes = false;
                if self.sensors.brakes_engaged {
                    self.drive.enabled = false;
                    return self.braked(motion);
                } else if now_us - since_us > BRAKE_TIMEOUT_US {
                    self.latch(fault::BRAKE_SLIP, StopCause::Fault);
                    // Brakes that do not hold must not be relied on: the motors keep the position, latched as the couch is.
                    self.drive.enabled = true;
                    return false;
                }
            }
            Phase::Holding => {
                if motion.ending {
                    return false;
                }
                if self.may_move(context) {
                    self.stop_cause = StopCause::None;
                    motion.stopping = false;
                    motion.phase = Phase::Releasing { since_us: now_us };
                    self.drive.enabled = true;
                    self.drive.release_brakes = true;
                }
            }
        }
        true
    }

    /// Of the waypoints of a plan the last is the platform's, all before it are the base couch's; other motion is the platform's.
    fn base_moves(&self, purpose: Purpose) -> bool {
        purpose == Purpose::Plan && self.travel.leg().is_some_and(|leg| leg < self.last_leg)
    }

    /// The brakes hold: arrived, held, or over.
    fn braked(&mut self, motion: &mut Motion) -> bool {
        self.supervision.rest(&self.sensors);
        if motion.ending {
            return false;
        }
        if motion.stopping && !self.travel.finished() {
            motion.phase = Phase::Holding;
            return true;
        }
        match motion.purpose {
            Purpose::Plan => {
                self.shown_nonce = self.plan.as_ref().map_or(0, |plan| plan.nonce);
                self.plan = None;
                self.arrived = true;
                self.stop_cause = StopCause::Arrived;
            }
            Purpose::Home => {
                self.referenced = true;
                self.moved_by_hand = false;
                self.stop_cause = StopCause::Arrived;
            }
            Purpose::Jog { .. } => self.stop_cause = StopCause::JogEnded,
        }
        false
    }

    fn fault_names(&self) -> heapless::String<160> {
        fault_names(self.faults, &FAULT_NAMES)
    }

    /// What every command that leads to motion demands before its own conditions.
    fn ready(&self, what: &str) -> Result<(), Refusal> {
        if self.faults != 0 {
            return refuse!(
                FaultLatched,
                "{what}: latched: {}; remove the cause and send FAULT_RESET",
                self.fault_names()
            );
        }
        if self.motion.is_some() || self.armed {
            return refuse!(
                WrongState,
                "{what}: a motion is under way or armed; end it with STOP or PLAN_VOID first"
            );
        }
        if self.wires.manual_release {
            return refuse!(
                Interlock,
                "{what}: the brakes are released by hand; let go of the manual release"
            );
        }
        Ok(())
    }

    fn upload(
        &mut self,
        context: &Context,
        upload: &crate::wire::message::PlanUpload,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        self.ready("PLAN_UPLOAD")?;
        if !self.referenced || self.moved_by_hand {
            return refuse!(
                WrongState,
                "PLAN_UPLOAD: the couch is not referenced or was moved by hand; run HOME first"
            );
        }
        self.void_plan();
        let nonce = self.entropy.nonzero_u32();
        let couch = plan::Standing {
            limits: &self.limits,
            family: &self.family,
            base: &self.base(),
        };
        let plan = Plan::decode(upload, &couch, nonce, context.now_us)?;
        let from = self.sensors.primary.map(f64::from);
        let duration_s = plan.path(&from, &self.limits).duration();
        let brakes_us = crate::plant::BRAKE_RELEASE_US + SETTLED_US + crate::plant::BRAKE_ENGAGE_US;
        body.octets(&plan.digest)
            .u32(nonce)
            .axes(&self.sensors.primary)
            .u64(plan.expires_us);
        body.u32((duration_s * 1e3) as u32 + (brakes_us / 1000) as u32);
        self.shown_nonce = nonce;
        self.plan = Some(plan);
        Ok(reply::PLAN)
    }

    fn execute(
        &mut self,
        context: &Context,
        digest: &[u8; 32],
        nonce: u32,
        token: &[u8; 16],
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        if nonce != 0 && nonce == self.executed_nonce {
            return refuse!(
                AlreadyExecuted,
                "plan {nonce:08x} was executed once; upload it anew"
            );
        }
        self.ready("EXECUTE")?;
        if nonce != 0 && nonce == self.expired_nonce {
            return refuse!(Expired, "plan {nonce:08x} has expired; upload it anew");
        }
        let Some(plan) = &self.plan else {
            return refuse!(
                WrongState,
                "EXECUTE: no plan is loaded; send PLAN_UPLOAD first"
            );
        };
        if plan.nonce != nonce || plan.digest != *digest {
            return refuse!(
                DigestDiffers,
                "EXECUTE: digest or nonce is not that of the loaded plan {:08x}; compare and upload anew",
                plan.nonce
            );
        }
        if context.now_us > plan.expires_us {
            return refuse!(Expired, "plan {nonce:08x} has expired; upload it anew");
        }
        if !self.referenced || self.moved_by_hand || !self.at_rest() {
            return refuse!(
                WrongState,
                "EXECUTE: the couch must be referenced and at rest with brakes on"
            );
        }
        if !self.wires.arms_parked {
            return refuse!(Interlock, "EXECUTE: the panel arms are out; park them");
        }
        plan.stands_at_start(&self.sensors.primary, &self.limits)?;
        if !context.lease_fresh() {
            return refuse!(
                LeaseNotFresh,
                "EXECUTE: the lease is {} ms old; renew it every 50 ms",
                context.lease_age_ms()
            );
        }
        self.executed_nonce = nonce;
        self.token = *token;
        self.armed = true;
        body.u32(nonce);
        Ok(reply::EXECUTE)
    }

    /// Conditions of jog and homing: they have no plan, so that enable and lease count at once.
    fn may_begin(&self, what: &str, context: &Context) -> Result<(), Refusal> {
        self.ready(what)?;
        if self.plan.is_some() {
            return refuse!(WrongState, "{what}: a plan is loaded; void it first");
        }
        if !self.wires.arms_parked {
            return refuse!(Interlock, "{what}: the panel arms are out; park them");
        }
        if !self.enable.held() {
            return refuse!(Interlock, "{what}: the enable is not held");
        }
        if !context.lease_fresh() {
            return refuse!(
                LeaseNotFresh,
                "{what}: the lease is {} ms old; renew it every 50 ms",
                context.lease_age_ms()
            );
        }
        Ok(())
    }

    /// Where the couch below a hexapod stands.
    fn base(&self) -> crate::kinematics::Base {
        self.sensors.base.map(f64::from)
    }

    /// Homing passes the reference marks of one axis after the other, out and back, away from the nearer limit.
    fn home(&mut self, context: &Context) -> Result<u8, Refusal> {
        self.may_begin("HOME", context)?;
        let from = self.sensors.primary.map(f64::from);
        let mut points: heapless::Vec<Position, { path::POINTS_MAX }> = heapless::Vec::new();
        for (k, limit) in self.limits.iter().enumerate() {
            let mut out = from;
            if let Some(value) = out.get_mut(k) {
                let middle = if self.has_base {
                    self.base().get(k).copied().unwrap_or(0.0)
                } else {
                    (f64::from(limit.min) + f64::from(limit.max)) / 2.0
                };
                let stroke = limit.kind.pick(HOMING_STROKE.0, HOMING_STROKE.1);
                *value += if *value > middle { -stroke } else { stroke };
            }
            let _ = points.push(out);
            let _ = points.push(from);
        }
        let caps = self.limits.map(|axis| axis.kind.pick(SLOW.0, SLOW.1));
        let path = Path::new(&from, &points, &self.limits, 1.0, |k| {
            caps.get(k).copied().unwrap_or(SLOW.0)
        });
        let base = self.base();
        if let Some((leg, length)) = path.find(|at| self.family.leg_outside(&base, at)) {
            return refuse!(
                OutsideLimits,
                "HOME: leg {leg} would be {length:.1} mm long on the way over the marks, outside its limits; jog the platform towards its middle"
            );
        }
        self.void_plan();
        self.begin(context.now_us, path, from, Purpose::Home);
        Ok(reply::HOME)
    }

    fn beam_gate(
        &mut self,
        context: &Context,
        request: u8,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        match request {
            0 => self.gate = false,
            1 => {
                if self.faults != 0 {
                    return refuse!(
                        FaultLatched,
                        "BEAM_GATE: latched: {}; the hold stays",
                        self.fault_names()
                    );
                }
                if !self.at_rest() || self.armed {
                    return refuse!(
                        Interlock,
                        "BEAM_GATE: the couch is not at rest with brakes on; the hold stays"
                    );
                }
                if !context.lease_fresh() {
                    return refuse!(
                        LeaseNotFresh,
                        "BEAM_GATE: the lease is {} ms old; the hold stays",
                        context.lease_age_ms()
                    );
                }
                self.gate = true;
            }
            _ => {
                return refuse!(
                    Malformed,
                    "BEAM_GATE: request {request} is neither 0 (hold) nor 1 (release the hold)"
                );
            }
        }
        body.u8(u8::from(self.gate));
        Ok(reply::BEAM_GATE)
    }

    fn reset(&mut self, named: u32, body: &mut Writer<'_>) -> Result<u8, Refusal> {
        if self.motion.is_some() || !(self.sensors.brakes_engaged || self.wires.manual_release) {
            return refuse!(
                WrongState,
                "FAULT_RESET: the couch is not at rest with brakes on"
            );
        }
        let still = self.causes_present();
        self.faults &= !named | still;
        if self.faults == 0 && named != 0 {
            self.supervision = Supervision::new(
                &self.sensors,
                &self.limits,
                self.family.is_robot(),
                self.supervision.last_us(),
            );
            self.drive.position = self.sensors.primary.map(f64::from);
        }
        body.u32(self.faults);
        Ok(reply::FAULT_RESET)
    }

    fn flags(&self, context: &Context) -> u32 {
        let moving = self
            .motion
            .as_ref()
            .is_some_and(|motion| !matches!(motion.phase, Phase::Holding))
            || !self.sensors.brakes_engaged;
        let limit = |low: bool| {
            self.sensors
                .primary
                .iter()
                .zip(&self.limits)
                .any(|(at, axis)| {
                    if low {
                        *at <= axis.min
                    } else {
                        *at >= axis.max
                    }
                })
        };
        [
            self.enable.held(),
            self.enable.panic(),
            context.lease_fresh(),
            self.sensors.brakes_engaged,
            self.referenced,
            moving,
            self.gate,
            self.wires.arms_parked,
            self.wires.estop,
            self.wires.touch_guards != 0,
            self.moved_by_hand,
            self.sensors.at_lower || limit(true),
            self.sensors.at_upper || limit(false),
            context.telemetry_only,
            self.wires.manual_release,
        ]
        .iter()
        .enumerate()
        .fold(
            u32::from(self.wires.touch_guards) << 16,
            |flags, (bit, set)| flags | u32::from(*set) << bit,
        )
    }

    fn progress_ppm(&self, now_us: u64) -> u32 {
        match &self.motion {
            Some(motion) if matches!(motion.phase, Phase::Releasing { .. }) && !motion.stopping => {
                0
            }
            Some(_) => self.travel.progress_ppm(now_us),
            None if self.arrived => 1_000_000,
            None => 0,
        }
    }
}

impl Motion {
    fn controlled_stop(&mut self, travel: &mut Travel, now_us: u64) {
        if !self.stopping {
            travel.stop(now_us);
        }
        self.stopping = true;
    }
}

impl Device for Core {
    fn identity(&self) -> Identity {
        Identity {
            device: DEVICE,
            family: self.family.number(),
            axis_count: AXES as u8,
            limits: limits::short_digest(&self.limits),
        }
    }

    fn stop(&mut self, now_us: u64) -> u8 {
        self.end_motion(now_us, StopCause::Stop);
        self.state() as u8
    }

    fn session_ended(&mut self, now_us: u64) {
        self.end_motion(now_us, StopCause::NewSession);
    }

    fn status(&self, context: &Context, body: &mut Writer<'_>) -> u8 {
        body.u64(context.now_us)
            .u8(self.state() as u8)
            .u8(self.drive_state())
            .u8(self.stop_cause as u8)
            .u8(AXES as u8);
        body.u32(self.flags(context))
            .u32(self.faults)
            .u32(self.shown_nonce)
            .u32(self.progress_ppm(context.now_us));
        body.u16(context.lease_age_ms())
            .u16(self.enable.age_ms(context.now_us));
        body.axes(&self.sensors.primary)
            .axes(&self.sensors.secondary)
            .axes(&self.drive.position.map(|v| libm::round(v) as i32));
        reply::COUCH_STATUS
    }

    fn faults(&self) -> u32 {
        self.faults
    }
}

impl Obey<()> for Core {
    fn obey(
        &mut self,
        context: &Context,
        command: &Command<'_>,
        _memory: &(),
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        match command {
            Command::LimitsRead => {
                body.u8(AXES as u8);
                for axis in &self.limits {
                    body.u8(axis.kind as u8)
                        .i32(axis.min)
                        .i32(axis.max)
                        .u32(axis.speed_max)
                        .u32(axis.accel_max)
                        .u32(axis.jerk_max);
                }
                Ok(reply::LIMITS)
            }
            Command::PlanUpload(upload) => self.upload(context, upload, body),
            Command::Execute {
                plan_digest,
                plan_nonce,
                token,
            } => self.execute(context, plan_digest, *plan_nonce, token, body),
            Command::PlanVoid { .. } => {
                self.end_motion(context.now_us, StopCause::Stop);
                Ok(reply::PLAN_VOID)
            }
            Command::FaultReset { faults } => self.reset(*faults, body),
            Command::Home => self.home(context),
            Command::Jog {
                axis,
                reserved,
                speed,
            } => self.jog(context, *axis, *reserved, *speed),
            Command::BeamGate { request } => self.beam_gate(context, *request, body),
            _ => refuse!(
                NotSupported,
                "a couch does not do this; send it to the imager"
            ),
        }
    }
}
