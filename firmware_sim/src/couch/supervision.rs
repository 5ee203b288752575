//! What the couch watches in every control cycle, and which causes are gone when a fault is to be reset.

use super::{Core, StopCause, fault};
use crate::limits::{AXES, Limits};
use crate::plant::{Drive, Sensors};

/// Following error: 1 mm, 0.5 deg. Ten times the lag of a healthy servo at full speed.
const FOLLOWING: (f64, f64) = (1000.0, 500_000.0);
/// Primary and second channel differ for 50 ms by more than 1 mm, 0.5 deg.
const DISAGREE: (f64, f64) = (1000.0, 500_000.0);
const DISAGREE_US: u64 = 50_000;
/// Moved at rest with the brakes engaged: 0.5 mm, 0.3 deg.
const SLIP: (f64, f64) = (500.0, 300_000.0);
/// Moved by hand with the brakes released: 0.2 mm, 0.1 deg.
const HAND: (f64, f64) = (200.0, 100_000.0);
/// Set-point and measurement agree: 0.05 mm, 0.02 deg.
const SETTLED: (f64, f64) = (50.0, 20_000.0);
/// The rotary bounds at a robot, whose table top stands two metres and more from a joint: 0.1, 0.03, 0.02, 0.01 and 0.002 deg.
const ROBOT_FOLLOWING: f64 = 100_000.0;
const ROBOT_DISAGREE: f64 = 30_000.0;
const ROBOT_SLIP: f64 = 20_000.0;
const ROBOT_HAND: f64 = 10_000.0;
const ROBOT_SETTLED: f64 = 2_000.0;
/// Legs are looked at every so many microseconds: 0.08 mm at the speed of a correction.
const LEGS_EVERY_US: u64 = 8_000;
/// Speed is judged over 50 ms, and may be 30 % above its limit plus the noise of two readings.
const SPEED_WINDOW_US: u64 = 50_000;
const SPEED_FACTOR: f64 = 1.3;
const SPEED_NOISE: (f64, f64) = (60.0, 10_000.0);

/// Memory of the supervision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supervision {
    rest: Option<[i32; AXES]>,
    window: [i32; AXES],
    window_us: u64,
    differ_since_us: Option<u64>,
    last_us: u64,
    bounds: Bounds,
}

fn beyond(a: &[i32; AXES], b: &[i32; AXES], bounds: &[i32; AXES]) -> bool {
    // Without an early end the compiler takes all axes at once.
    a.iter()
        .zip(b)
        .zip(bounds)
        .fold(false, |beyond, ((a, b), bound)| {
            beyond | (a.abs_diff(*b) > bound.unsigned_abs())
        })
}

/// The same of a measurement against a set-point.
fn strays(at: &[i32; AXES], set: &[f64; AXES], bounds: &[f64; AXES]) -> bool {
    at.iter()
        .zip(set)
        .zip(bounds)
        .fold(false, |strays, ((at, set), bound)| {
            strays | ((f64::from(*at) - set).abs() > *bound)
        })
}

/// Bounds of every axis in micro-units, so that the control cycle does not look up kinds.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    following: [f64; AXES],
    disagree: [i32; AXES],
    slip: [i32; AXES],
    hand: [i32; AXES],
    settled: [i32; AXES],
}

impl Bounds {
    fn of(limits: &Limits, robot: bool) -> Self {
        let each = |(linear, rotary): (f64, f64), robots: f64| {
            let rotary = if robot { robots } else { rotary };
            limits.map(|axis| axis.kind.pick(linear, rotary) as i32)
        };
        Self {
            following: each(FOLLOWING, ROBOT_FOLLOWING).map(f64::from),
            disagree: each(DISAGREE, ROBOT_DISAGREE),
            slip: each(SLIP, ROBOT_SLIP),
            hand: each(HAND, ROBOT_HAND),
            settled: each(SETTLED, ROBOT_SETTLED),
        }
    }
}

impl Supervision {
    /// Fresh, from what is measured now.
    pub fn new(sensors: &Sensors, limits: &Limits, robot: bool, now_us: u64) -> Self {
        Self {
            rest: Some(sensors.primary),
            window: sensors.primary,
            window_us: now_us,
            differ_since_us: None,
            last_us: now_us,
            bounds: Bounds::of(limits, robot),
        }
    }

    /// When it last watched.
    pub fn last_us(&self) -> u64 {
        self.last_us
    }

    /// The couch came to rest with brakes on: from here slip is judged.
    pub fn rest(&mut self, sensors: &Sensors) {
        self.rest = Some(sensors.primary);
    }

    /// Set-point and measurement agree within the settling window.
    pub fn settled(&self, sensors: &Sensors, drive: &Drive) -> bool {
        !beyond(
            &sensors.primary,
            &drive.position.map(|v| v as i32),
            &self.bounds.settled,
        )
    }
}

impl Core {
    /// `measured` is what `self.sensors` was copied from: to read it again from there does not wait for the copy.
    pub(super) fn supervise(&mut self, now_us: u64, measured: &Sensors) {
        self.supervision.last_us = now_us;
        if !self.sensors.encoder_valid {
            self.referenced = false;
            self.latch(fault::ENCODER, StopCause::Fault);
        }
        if !self.sensors.second_valid {
            self.latch(fault::ENCODER, StopCause::Fault);
        }
        if self.sensors.drive_fault {
            self.latch(fault::DRIVE, StopCause::Fault);
        }
        if self.sensors.at_lower || self.sensors.at_upper {
            self.latch(fault::LIMIT_SWITCH, StopCause::Fault);
        }
        self.compare_channels(now_us, measured);
        if self.motion.is_some() {
            self.watch_motion(now_us, measured);
        } else {
            self.watch_rest();
        }
        self.watch_speed(now_us);
    }

    fn compare_channels(&mut self, now_us: u64, measured: &Sensors) {
        if !beyond(
            &measured.primary,
            &measured.secondary,
            &self.supervision.bounds.disagree,
        ) {
            self.supervision.differ_since_us = None;
            return;
        }
        let since = *self.supervision.differ_since_us.get_or_insert(now_us);
        if now_us - since > DISAGREE_US {
            self.latch(fault::CHANNELS_DISAGREE, StopCause::Fault);
        }
    }

    fn watch_motion(&mut self, now_us: u64, measured: &Sensors) {
        self.supervision.rest = None;
        if self.drive.enabled
            && strays(
                &measured.primary,
                &self.drive.position,
                &self.supervision.bounds.following,
            )
        {
            self.latch(fault::FOLLOWING, StopCause::Fault);
        }
        if self.has_base
            && now_us.is_multiple_of(LEGS_EVERY_US)
            && !self.drive.base_moves
            && self
                .family
                .leg_outside(&self.base(), &self.sensors.primary.map(f64::from))
                .is_some()
        {
            self.latch(fault::LEG_LIMIT, StopCause::Fault);
        }
    }

    fn watch_rest(&mut self) {
        if self.wires.manual_release {
            let from = *self.supervision.rest.get_or_insert(self.sensors.primary);
            if !self.moved_by_hand
                && beyond(&self.sensors.primary, &from, &self.supervision.bounds.hand)
            {
                self.moved_by_hand = true;
                self.void_plan();
            }
            return;
        }
        if !self.sensors.brakes_engaged {
            return;
        }
        let from = *self.supervision.rest.get_or_insert(self.sensors.primary);
        if self.moved_by_hand {
            return;
        }
        if beyond(&self.sensors.primary, &from, &self.supervision.bounds.slip) {
            self.latch(fault::BRAKE_SLIP, StopCause::Fault);
        }
    }

    fn watch_speed(&mut self, now_us: u64) {
        if self.wires.manual_release {
            // A hand may be quick; what it did is no speed of the drives.
            self.supervision.window = self.sensors.primary;
            self.supervision.window_us = now_us;
            return;
        }
        let window = now_us - self.supervision.window_us;
        if window < SPEED_WINDOW_US {
            return;
        }
        let seconds = window as f64 * 1e-6;
        let fast = self
            .sensors
            .primary
            .iter()
            .zip(&self.supervision.window)
            .zip(&self.limits)
            .any(|((now, then), axis)| {
                let moved = (i64::from(*now) - i64::from(*then)).abs() as f64;
                moved
                    > SPEED_FACTOR * f64::from(axis.speed_max) * seconds
                        + axis.kind.pick(SPEED_NOISE.0, SPEED_NOISE.1)
            });
        if fast {
            self.latch(fault::OVER_SPEED, StopCause::Fault);
        }
        self.supervision.window = self.sensors.primary;
        self.supervision.window_us = now_us;
    }

    /// Faults whose cause is still there. A fault of motion is gone once the couch is at rest.
    pub(super) fn causes_present(&self) -> u32 {
        let when = |present: bool, bit: u32| if present { bit } else { 0 };
        when(self.wires.estop, fault::EMERGENCY_STOP)
            | when(self.wires.touch_guards != 0, fault::TOUCH_GUARD)
            | when(!self.clock_true, fault::SELF_TEST)
            | when(
                self.wires.enable.a || self.wires.enable.b,
                fault::ENABLE_DISCREPANCY,
            )
            | when(
                self.sensors.at_lower || self.sensors.at_upper,
                fault::LIMIT_SWITCH,
            )
            | when(
                !self.sensors.encoder_valid || !self.sensors.second_valid,
                fault::ENCODER,
            )
            | when(self.sensors.drive_fault, fault::DRIVE)
            | when(
                !self.sensors.brakes_engaged,
                fault::BRAKE_NOT_RELEASED | fault::BRAKE_SLIP,
            )
            | when(
                beyond(
                    &self.sensors.primary,
                    &self.sensors.secondary,
                    &self.supervision.bounds.disagree,
                ),
                fault::CHANNELS_DISAGREE,
            )
    }
}
