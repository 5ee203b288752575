//! The second controller that the couch can have: a hexapod controller that speaks the General Command Set (GCS 2.0), as
//! commercial hexapods do (docs/gcs.md).
//!
//! It drives the same mechanics through the same hardware wires as [`crate::couch`], and knows less: no session, no lease, no plan, no digest,
//! no second channel. What holds the platform back is its servo, its reference, its limits, and the safety chain of its drives, into which
//! the pendant's enable, the parked position of the imager's arms and the manual brake release are wired:
//! - the chain is closed when ALL of: enable held, arms parked, no hand on the brakes;
//! - opened, it brings the platform to rest along its path, engages the brakes and switches the servo off (stop category 1);
//! - E-stop and collision switch cut motors and brakes at once (stop category 0) and latch until the servo is switched on again.

mod command;
pub mod error;
pub mod frame;
pub mod struts;
pub mod syntax;

use crate::couch::enable::Enable;
use crate::couch::{Config, State, StopCause, Wires, fault};
use crate::kinematics::Family;
use crate::limits::{AXES, Limits};
use crate::line::{Counters, Sink};
use crate::plant::{Drive, Sensors};
use crate::pose::{Pose, Six};
use error::Error;
use frame::Systems;
use struts::{Caps, Path, Position};
use syntax::{Assembler, Piece};

/// Travel range of the platform in each axis, to both sides, with all others at 0: what `TMN?` and `TMX?` say.
pub const TRAVEL: Six = [30.0, 30.0, 30.0, 3.0, 3.0, 3.0];
/// Platform velocity at power-up and at most, mm/s.
pub const VELOCITY_MM_S: (f64, f64) = (5.0, 10.0);
/// Velocity of each axis at power-up and at most, mm/s and deg/s.
pub const AXIS_VELOCITY: Six = [10.0, 10.0, 10.0, 1.0, 1.0, 1.0];

/// Deadline of the brakes to open or to engage.
const BRAKE_TIMEOUT_US: u64 = 400_000;
/// On target when set-point and measurement agree for this long.
const SETTLED_US: u64 = 50_000;
/// Set-point and measurement agree: 0.05 mm, 0.02 deg.
const SETTLED: (f64, f64) = (50.0, 20_000.0);
/// Following error: 1 mm, 0.5 deg.
const FOLLOWING: (f64, f64) = (1000.0, 500_000.0);
/// The struts pass their reference marks within 5 mm of lift, at 5 mm/s.
const REFERENCE_STROKE_UM: f64 = 5e3;
const REFERENCE_SPEED: f64 = 5e3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Servo {
    Off,
    /// Brakes are opening; the motors hold.
    Releasing {
        since_us: u64,
    },
    On,
    /// Brakes are engaging; the motors hold until they do.
    Braking {
        since_us: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Move,
    /// Over the reference marks and back.
    ReferenceOut,
    ReferenceBack,
}

#[derive(Debug, Clone)]
struct Motion {
    path: Path,
    purpose: Purpose,
}

/// What waits for the platform to be ready for it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pending {
    Move(Position),
    Reference,
}

/// Everything of the controller but its line.
#[derive(Debug)]
struct Core {
    family: Family,
    limits: Limits,
    referenced: bool,
    error: Error,
    latched: Error,
    stop_cause: StopCause,
    enable: Enable,
    chain_closed: bool,
    servo: Servo,
    /// The servo goes off as soon as the platform rests.
    switching_off: bool,
    motion: Option<Motion>,
    pending: Option<Pending>,
    /// Where a reference move began.
    reference_from: Position,
    target: Position,
    settled_since_us: Option<u64>,
    velocity_mm_s: f64,
    axis_velocity: Six,
    soft_limits: [(f64, f64); AXES],
    soft_limits_on: [bool; AXES],
    systems: Systems,
    drive: Drive,
    wires: Wires,
    sensors: Sensors,
}

/// The controller: its line and its core.
#[derive(Debug)]
pub struct Gcs {
    assembler: Assembler,
    core: Core,
    counters: Counters,
}

impl Gcs {
    /// A controller at power-up, its sensors as they are: servo off, and unreferenced where the power was lost.
    pub fn new(config: &Config, sensors: &Sensors) -> Self {
        let here = sensors.primary.map(f64::from);
        let core = Core {
            family: config.family,
            limits: config.limits,
            referenced: config.referenced && !config.power_was_lost,
            error: Error::None,
            latched: Error::None,
            stop_cause: StopCause::None,
            enable: Enable::default(),
            chain_closed: false,
            servo: Servo::Off,
            switching_off: false,
            motion: None,
            pending: None,
            reference_from: here,
            target: here,
            settled_since_us: None,
            velocity_mm_s: VELOCITY_MM_S.0,
            axis_velocity: AXIS_VELOCITY,
            soft_limits: TRAVEL.map(|range| (-range, range)),
            soft_limits_on: [false; AXES],
            systems: Systems::default(),
            drive: Drive {
                position: here,
                ..Drive::default()
            },
            wires: Wires::default(),
            sensors: *sensors,
        };
        Self {
            assembler: Assembler::default(),
            core,
            counters: Counters::default(),
        }
    }

    /// Octets from the host. Each is taken in its turn, so that #24 stops what stood before it in the same chunk.
    pub fn receive(&mut self, now_us: u64, octets: &[u8], sink: &mut impl Sink) {
        for octet in octets {
            match self.assembler.push(*octet) {
                Piece::Nothing => {}
                Piece::Single(octet) => self.core.single(octet, now_us, sink),
                Piece::TooLong => {
                    self.counters.too_long += 1;
                    self.core.error = Error::TooLong;
                }
                Piece::Line => {
                    let line = self.assembler.line();
                    self.obey(&line, now_us, sink);
                }
            }
        }
    }

    fn obey(&mut self, line: &str, now_us: u64, sink: &mut impl Sink) {
        if line.trim().is_empty() {
            return;
        }
        self.counters.accepted += 1;
        match self.core.obey(line, now_us) {
            Ok(answer) => {
                self.counters.executed += 1;
                if !answer.is_empty() {
                    sink.put(answer.as_bytes());
                }
            }
            Err(error) => {
                self.counters.refused += 1;
                self.core.error = error;
            }
        }
    }

    /// One control cycle: wires and sensors in, command of the drives out. This dialect says nothing unasked.
    pub fn tick(&mut self, now_us: u64, wires: &Wires, sensors: &Sensors) -> Drive {
        self.core.control(now_us, wires, sensors);
        self.core.drive
    }

    /// At rest with all brakes engaged: the wire into the imager.
    pub fn at_rest(&self) -> bool {
        self.core.servo == Servo::Off && self.core.sensors.brakes_engaged
    }

    /// State in the words of the other dialect, for the bench.
    pub fn state(&self) -> State {
        let core = &self.core;
        if core.latched != Error::None {
            return State::Latched;
        }
        match &core.motion {
            Some(motion) if motion.path.stopping() => State::Stopping,
            Some(motion) if motion.purpose != Purpose::Move => State::Homing,
            Some(_) => State::Moving,
            None if core.referenced => State::Idle,
            None => State::NotReferenced,
        }
    }

    /// Latched faults in the bits of the other dialect, for the bench.
    pub fn faults(&self) -> u32 {
        match self.core.latched {
            Error::EmergencyStop | Error::EmergencyStopWas => fault::EMERGENCY_STOP,
            Error::CollisionSwitch => fault::TOUCH_GUARD,
            Error::FollowingError | Error::UnexpectedStrutStop => fault::FOLLOWING,
            Error::SensorInvalid => fault::ENCODER,
            Error::LimitSwitch => fault::LIMIT_SWITCH,
            Error::Amplifier => fault::DRIVE,
            Error::Brake => fault::BRAKE_NOT_RELEASED,
            _ => 0,
        }
    }

    /// Why it last stopped, in the words of the other dialect, for the bench.
    pub fn stop_cause(&self) -> StopCause {
        self.core.stop_cause
    }

    /// Counters of the line.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}

impl Core {
    /// The platform's pose from its axes: lateral, longitudinal, vertical, rotation, pitch, roll.
    fn platform(axes: &Position) -> Pose {
        let [a, b, c, d, e, f] = *axes;
        Pose::correction(&[a / 1e3, b / 1e3, c / 1e3, d / 1e6, e / 1e6, f / 1e6])
    }

    fn axes_of(platform: &Pose) -> Position {
        let [a, b, c, d, e, f] = platform.six();
        [a * 1e3, b * 1e3, c * 1e3, d * 1e6, e * 1e6, f * 1e6]
    }

    /// What the line shows for axes.
    fn shown(&self, axes: &Position) -> Six {
        self.systems.shown(&Self::platform(axes))
    }

    fn measured(&self) -> Position {
        self.sensors.primary.map(f64::from)
    }

    fn moving(&self) -> bool {
        self.motion.is_some() || self.pending.is_some()
    }

    fn referencing(&self) -> bool {
        self.pending == Some(Pending::Reference)
            || self
                .motion
                .as_ref()
                .is_some_and(|motion| motion.purpose != Purpose::Move)
    }

    /// The axes that six numbers on the line mean, if the platform can be there.
    fn reachable(&self, numbers: &Six) -> Result<Position, Error> {
        let platform = self.systems.meant(numbers);
        let within = |value: f64, low: f64, high: f64| (low..=high).contains(&value);
        let travel = frame::six(&platform)
            .iter()
            .zip(&TRAVEL)
            .all(|(value, range)| within(*value, -range, *range));
        let soft = numbers
            .iter()
            .zip(self.soft_limits.iter().zip(&self.soft_limits_on))
            .all(|(value, ((low, high), on))| !on || within(*value, *low, *high));
        let axes = Self::axes_of(&platform);
        if travel && soft && self.family.leg_outside(&[0.0; 4], &axes).is_none() {
            Ok(axes)
        } else {
            Err(Error::OutOfLimits)
        }
    }

    // ---- what commands do

    fn single(&mut self, octet: u8, now_us: u64, sink: &mut impl Sink) {
        match octet {
            syntax::MOTION => sink.put(if self.moving() { b"3F\n" } else { b"0\n" }),
            // 177 and 176, as the manuals have it: no text, but octets.
            syntax::READY => sink.put(if self.referencing() {
                &[176, b'\n']
            } else {
                &[177, b'\n']
            }),
            _ => self.stop(now_us, true),
        }
    }

    /// #24, STP (abrupt) and HLT (along the profile). Whatever waits is forgotten.
    fn stop(&mut self, now_us: u64, abrupt: bool) {
        self.pending = None;
        self.error = Error::Stopped;
        self.stop_cause = StopCause::Stop;
        match &mut self.motion {
            Some(motion) => motion.path.stop(now_us, abrupt),
            None => self.target = self.drive.position,
        }
    }

    /// What stands against servo and moves before all else.
    fn permitted(&self) -> Result<(), Error> {
        if self.wires.estop {
            return Err(Error::EmergencyStop);
        }
        if self.wires.touch_guards != 0 {
            return Err(Error::CollisionSwitch);
        }
        if self.chain_closed {
            Ok(())
        } else {
            Err(Error::MoveNotPermitted)
        }
    }

    fn servo_on(&mut self, now_us: u64) -> Result<(), Error> {
        self.permitted()?;
        if !self.sensors.encoder_valid {
            return Err(Error::SensorInvalid);
        }
        if self.sensors.drive_fault {
            return Err(Error::Amplifier);
        }
        match self.servo {
            Servo::Off => {
                self.latched = Error::None;
                self.target = self.measured();
                self.drive = Drive {
                    position: self.target,
                    enabled: true,
                    release_brakes: true,
                    ..Drive::default()
                };
                self.servo = Servo::Releasing { since_us: now_us };
                self.settled_since_us = None;
                Ok(())
            }
            Servo::Releasing { .. } | Servo::On if !self.switching_off => Ok(()),
            _ => Err(Error::InMotion),
        }
    }

    /// Brings the platform to rest, then engages the brakes.
    fn servo_off(&mut self, now_us: u64) {
        self.pending = None;
        if matches!(self.servo, Servo::Off | Servo::Braking { .. }) {
            return;
        }
        self.switching_off = true;
        if let Some(motion) = &mut self.motion {
            motion.path.stop(now_us, false);
        }
    }

    fn servo_is_on(&self) -> bool {
        matches!(self.servo, Servo::Releasing { .. } | Servo::On) && !self.switching_off
    }

    fn go_to(&mut self, numbers: &Six, now_us: u64) -> Result<(), Error> {
        self.permitted()?;
        if !self.referenced || !self.servo_is_on() || self.latched != Error::None {
            return Err(Error::NoReferenceOrServo);
        }
        if self.referencing() {
            return Err(Error::InMotion);
        }
        let target = self.reachable(numbers)?;
        self.target = target;
        self.stop_cause = StopCause::None;
        self.settled_since_us = None;
        self.pending = Some(Pending::Move(target));
        if let Some(motion) = &mut self.motion {
            // A new target in mid motion: to rest on the way at hand, then on to the new one.
            motion.path.stop(now_us, false);
        }
        Ok(())
    }

    fn reference(&mut self, now_us: u64) -> Result<(), Error> {
        self.permitted()?;
        if self.moving() {
            return Err(Error::InMotion);
        }
        if !self.servo_is_on() {
            self.servo_on(now_us)?;
        }
        self.referenced = false;
        self.pending = Some(Pending::Reference);
        Ok(())
    }

    // ---- the control cycle

    fn control(&mut self, now_us: u64, wires: &Wires, sensors: &Sensors) {
        self.wires = *wires;
        self.sensors = *sensors;
        self.enable.sample(now_us, wires.enable);
        self.chain_closed = self.enable.held() && wires.arms_parked && !wires.manual_release;
        self.watch_wires(now_us);
        self.watch_drives();
        self.step_servo(now_us);
        if self.servo == Servo::On {
            self.step_motion(now_us);
        }
        self.settle(now_us);
    }

    fn watch_wires(&mut self, now_us: u64) {
        if self.wires.estop {
            self.cut(Error::EmergencyStop, StopCause::EmergencyStop);
        } else if self.latched == Error::EmergencyStop {
            self.latched = Error::EmergencyStopWas;
        }
        if self.wires.touch_guards != 0 {
            self.cut(Error::CollisionSwitch, StopCause::TouchGuard);
        }
        if !self.chain_closed && self.servo_is_on() {
            if self.moving() {
                self.error = Error::SafetyStop;
            }
            self.stop_cause = if self.enable.held() {
                StopCause::InterlockWire
            } else {
                StopCause::EnableReleased
            };
            self.servo_off(now_us);
        }
    }

    fn watch_drives(&mut self) {
        if !self.sensors.encoder_valid {
            self.referenced = false;
            self.cut(Error::SensorInvalid, StopCause::Fault);
        }
        if self.sensors.drive_fault {
            self.cut(Error::Amplifier, StopCause::Fault);
        }
        if self.drive.enabled && (self.sensors.at_lower || self.sensors.at_upper) {
            self.cut(Error::LimitSwitch, StopCause::Fault);
        }
        if self.drive.enabled && self.off_by(FOLLOWING) {
            self.cut(Error::FollowingError, StopCause::Fault);
        }
    }

    fn off_by(&self, bound: (f64, f64)) -> bool {
        self.sensors
            .primary
            .iter()
            .zip(self.drive.position.iter().zip(&self.limits))
            .any(|(at, (set, axis))| {
                (f64::from(*at) - set).abs() > axis.kind.pick(bound.0, bound.1)
            })
    }

    /// Motors off, brakes on, now; latched until the servo is switched on again.
    fn cut(&mut self, error: Error, cause: StopCause) {
        if self.latched == error {
            return;
        }
        self.latched = error;
        self.error = error;
        self.stop_cause = cause;
        self.servo = Servo::Off;
        self.switching_off = false;
        self.motion = None;
        self.pending = None;
        self.drive.enabled = false;
        self.drive.release_brakes = false;
        self.drive.speed = [0.0; AXES];
    }

    fn step_servo(&mut self, now_us: u64) {
        match self.servo {
            Servo::Releasing { since_us } => {
                if self.switching_off {
                    self.servo = Servo::Braking { since_us: now_us };
                } else if self.sensors.brakes_released {
                    self.servo = Servo::On;
                } else if now_us - since_us > BRAKE_TIMEOUT_US {
                    self.cut(Error::Brake, StopCause::Fault);
                }
            }
            Servo::On if self.switching_off && self.motion.is_none() => {
                self.servo = Servo::Braking { since_us: now_us };
            }
            Servo::Braking { since_us } => {
                self.drive.release_brakes = false;
                self.drive.speed = [0.0; AXES];
                if self.sensors.brakes_engaged {
                    self.drive.enabled = false;
                    self.servo = Servo::Off;
                    self.switching_off = false;
                } else if now_us - since_us > BRAKE_TIMEOUT_US && self.latched != Error::Brake {
                    // Brakes that do not hold must not be relied on: the motors keep the position.
                    self.latched = Error::Brake;
                    self.error = Error::Brake;
                }
            }
            Servo::Off | Servo::On => {}
        }
    }

    fn caps(&self, purpose: Purpose) -> Caps {
        let [x, y, z, u, v, w] = self.axis_velocity;
        let slow = if purpose == Purpose::Move {
            f64::INFINITY
        } else {
            REFERENCE_SPEED
        };
        Caps {
            platform: (self.velocity_mm_s * 1e3).min(slow),
            // W turns about the vertical, U about the lateral, V about the longitudinal axis.
            axes: [x * 1e3, y * 1e3, z * 1e3, w * 1e6, u * 1e6, v * 1e6],
        }
    }

    fn begin(&mut self, target: &Position, purpose: Purpose, now_us: u64) {
        let caps = self.caps(purpose);
        let from = self.drive.position;
        self.motion = Path::new(&self.family, &self.limits, &caps, &from, target, now_us)
            .map(|path| Motion { path, purpose });
    }

    fn step_motion(&mut self, now_us: u64) {
        if self.motion.is_none() {
            match self.pending.take() {
                Some(Pending::Move(target)) => self.begin(&target, Purpose::Move, now_us),
                Some(Pending::Reference) => self.begin_reference(now_us),
                None => {}
            }
        }
        let Some(motion) = &mut self.motion else {
            self.drive.speed = [0.0; AXES];
            return;
        };
        let Ok((position, speed)) = motion.path.advance(&self.family, now_us) else {
            return self.cut(Error::UnexpectedStrutStop, StopCause::Fault);
        };
        self.drive.position = position;
        self.drive.speed = speed;
        if motion.path.at_rest(now_us) {
            self.drive.speed = [0.0; AXES];
            let (purpose, stopped) = (motion.purpose, motion.path.stopping());
            self.motion = None;
            self.come_to_rest(purpose, stopped, now_us);
        }
    }

    fn begin_reference(&mut self, now_us: u64) {
        let from = self.drive.position;
        self.reference_from = from;
        let mut out = from;
        let [_, _, vertical, ..] = &mut out;
        *vertical += if *vertical > 0.0 {
            -REFERENCE_STROKE_UM
        } else {
            REFERENCE_STROKE_UM
        };
        self.begin(&out, Purpose::ReferenceOut, now_us);
    }

    fn come_to_rest(&mut self, purpose: Purpose, stopped: bool, now_us: u64) {
        if stopped {
            if !matches!(self.pending, Some(Pending::Move(_))) {
                self.target = self.drive.position;
            }
            return;
        }
        match purpose {
            Purpose::Move => self.stop_cause = StopCause::Arrived,
            Purpose::ReferenceOut => {
                let back = self.reference_from;
                self.begin(&back, Purpose::ReferenceBack, now_us);
            }
            Purpose::ReferenceBack => {
                self.referenced = true;
                self.target = self.drive.position;
                self.stop_cause = StopCause::Arrived;
            }
        }
    }

    fn settle(&mut self, now_us: u64) {
        let rests = self.servo == Servo::On && !self.moving() && !self.off_by(SETTLED);
        self.settled_since_us = if rests {
            self.settled_since_us.or(Some(now_us))
        } else {
            None
        };
    }

    fn on_target(&self, now_us: u64) -> bool {
        self.settled_since_us
            .is_some_and(|since| now_us - since >= SETTLED_US)
            && self
                .target
                .iter()
                .zip(&self.drive.position)
                .all(|(target, set)| (target - set).abs() < 1.0)
    }
}

#[cfg(test)]
mod tests;
