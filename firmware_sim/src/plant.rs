//! The mechanics of the couch: servo, brakes, encoders, sag. What the firmware drives and measures, and what is true.
//!
//! Positions in micro-units (micrometres, microdegrees). The primary channel sits on the motor side; the second channel measures the load side
//! with another resolution and other noise. Sag is a bending of the top beyond both: only an X-ray sees it.

pub mod faults;

use crate::kinematics::{Base, Family, carried};
use crate::limits::{AXES, AxisLimits, Limits};
use crate::random::{SIGMA_RAW, Stream};
pub use faults::{AxisFault, BrakeFault, ChannelFault, DriveFault, Faults};

/// Length of a control cycle.
pub const CYCLE_US: u64 = 1000;
const CYCLE_S: f64 = CYCLE_US as f64 * 1e-6;

/// Brakes engage by springs 60 ms after the current is cut, and release 120 ms after it is given.
pub const BRAKE_ENGAGE_US: u64 = 60_000;
/// See [`BRAKE_ENGAGE_US`].
pub const BRAKE_RELEASE_US: u64 = 120_000;

/// Position gain of each axis, 1/s: no two axes are alike, so that the couch leaves the straight line by micrometres.
const GAIN: [f64; AXES] = [32.0, 28.0, 25.0, 30.0, 35.0, 34.0];
/// Share of the set-point's speed that is fed forward; the rest makes the servo lag.
const FEED_FORWARD: f64 = 0.92;
/// Deceleration by the brakes: 400 mm/s2 or 40 deg/s2.
const BRAKE_DECEL: (f64, f64) = (400e3, 40e6);
/// Acceleration that the motors can give: ten times the limit of a profile.
const MOTOR_ACCEL: (f64, f64) = (300e3, 50e6);
/// Friction of an axis that neither motor nor brake holds, as a share of the brakes.
const FRICTION: f64 = 0.2;
/// Speed at which 75 kg sink through the gear of the vertical axis, um/s, and how many times its friction the load pulls (200 mm/s2).
const SINK_SPEED: f64 = 5e3;
const SINK_PULL: f64 = 2.5;
/// Noise (one sigma) and resolution of the primary channel.
const PRIMARY: ((f64, f64), (f64, f64)) = ((2.0, 400.0), (1.0, 100.0));
/// Noise and resolution of the second channel.
const SECONDARY: ((f64, f64), (f64, f64)) = ((8.0, 2000.0), (20.0, 5000.0));
/// A robot's joints move the table top at the end of metres of links; they are measured at both sides of the gear accordingly.
const ROBOT_PRIMARY: (f64, f64) = (30.0, 10.0);
const ROBOT_SECONDARY: (f64, f64) = (200.0, 500.0);
/// Hard ends beyond the soft limits: 5 mm, 1 deg; limit switches at 40 % of the way.
pub const HARD_MARGIN: (f64, f64) = (5e3, 1e6);
const SWITCH_SHARE: f64 = 0.4;

/// What the firmware commands.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Drive {
    /// Set-point of each axis.
    pub position: [f64; AXES],
    /// Speed of the set-point.
    pub speed: [f64; AXES],
    /// Motors energised.
    pub enabled: bool,
    /// Current through the brakes: they open.
    pub release_brakes: bool,
    /// The couch below a hexapod moves and carries the platform, instead of the platform's legs.
    pub base_moves: bool,
}

/// What the firmware can measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensors {
    /// Primary position channel.
    pub primary: [i32; AXES],
    /// Second position channel.
    pub secondary: [i32; AXES],
    /// Where the couch below a hexapod stands, by its own encoders.
    pub base: [i32; 4],
    /// Feedback of the brakes: all engaged.
    pub brakes_engaged: bool,
    /// Feedback of the brakes: all released.
    pub brakes_released: bool,
    /// Limit switch at the lower end of any axis.
    pub at_lower: bool,
    /// Limit switch at the upper end of any axis.
    pub at_upper: bool,
    /// The primary channel says of itself that it works.
    pub encoder_valid: bool,
    /// The second channel says of itself that it works.
    pub second_valid: bool,
    /// The drives report a fault.
    pub drive_fault: bool,
}

/// One value an axis.
type Axes = [f64; AXES];

/// Constants of every axis, so that the control cycle does not look up kinds; an array each, so that it takes axes two by two.
#[derive(Debug, Clone, Copy)]
struct Shape {
    gain: Axes,
    brake_step: Axes,
    free_step: Axes,
    motor_step: Axes,
    /// Noise of each channel per unit of a raw sum ([`Stream::raw_four`]), resolution and its inverse.
    primary_noise: Axes,
    primary_step: Axes,
    primary_inverse: Axes,
    secondary_noise: Axes,
    secondary_step: Axes,
    secondary_inverse: Axes,
    lower_end: Axes,
    upper_end: Axes,
    lower_switch: Axes,
    upper_switch: Axes,
    /// Micro-units in one unit that people read.
    unit: Axes,
}

/// The couch between motors and table top.
#[derive(Debug, Clone)]
pub struct Plant {
    motor: Axes,
    speed: Axes,
    creep: Axes,
    settle: Axes,
    shape: Shape,
    /// How long the brakes have been commanded the way they are, and which way.
    brake_release: bool,
    brake_since_us: u64,
    brakes_engaged: bool,
    brakes_released: bool,
    load_kg: f64,
    /// The axis that the load drives down, and its way for 1 mm of sinking.
    sinks: (usize, f64),
    base: Base,
    /// Where the base and the axes stood when the base began to move.
    carries_from: Option<(Base, Axes)>,
    faults: Faults,
    healthy: bool,
    memory: faults::Memory,
    sensors: Sensors,
    noise_primary: Stream,
    noise_secondary: Stream,
    settling: Stream,
    /// A hand on the manual release of the brakes.
    pub manual_release: bool,
}

fn shape(limits: &Limits, robot: bool) -> Shape {
    // The linear axis of a robot, its column, is an axis like others.
    let fine = |((noise_um, noise), (step_um, step)): ((f64, f64), (f64, f64)),
                robots: (f64, f64)| {
        let (noise, step) = if robot { robots } else { (noise, step) };
        ((noise_um, noise), (step_um, step))
    };
    let each = |of: &dyn Fn(&AxisLimits) -> f64| limits.map(|axis| of(&axis));
    let pick = |axis: &AxisLimits, pair: (f64, f64)| axis.kind.pick(pair.0, pair.1);
    let (noise_a, step_a) = fine(PRIMARY, ROBOT_PRIMARY);
    let (noise_b, step_b) = fine(SECONDARY, ROBOT_SECONDARY);
    let (lower, upper) = (
        |axis: &AxisLimits| f64::from(axis.min),
        |axis: &AxisLimits| f64::from(axis.max),
    );
    let margin = |axis: &AxisLimits| pick(axis, HARD_MARGIN);
    Shape {
        gain: GAIN,
        brake_step: each(&|axis| pick(axis, BRAKE_DECEL) * CYCLE_S),
        free_step: each(&|axis| FRICTION * (pick(axis, BRAKE_DECEL) * CYCLE_S)),
        motor_step: each(&|axis| pick(axis, MOTOR_ACCEL) * CYCLE_S),
        primary_noise: each(&|axis| pick(axis, noise_a) / SIGMA_RAW),
        primary_step: each(&|axis| pick(axis, step_a)),
        primary_inverse: each(&|axis| 1.0 / pick(axis, step_a)),
        secondary_noise: each(&|axis| pick(axis, noise_b) / SIGMA_RAW),
        secondary_step: each(&|axis| pick(axis, step_b)),
        secondary_inverse: each(&|axis| 1.0 / pick(axis, step_b)),
        lower_end: each(&|axis| lower(axis) - margin(axis)),
        upper_end: each(&|axis| upper(axis) + margin(axis)),
        lower_switch: each(&|axis| lower(axis) - margin(axis) * SWITCH_SHARE),
        upper_switch: each(&|axis| upper(axis) + margin(axis) * SWITCH_SHARE),
        unit: each(&|axis| axis.kind.scale()),
    }
}

/// Rounds to a multiple of the resolution, for every |value| below 2^31.
#[inline]
fn quantise(value: f64, resolution: f64, inverse: f64) -> i32 {
    // Adding 1.5 x 2^52 rounds to the nearest integer without a call, and leaves it in the low bits of the number.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let steps = (value * inverse + ROUND) - ROUND;
    (steps * resolution + ROUND).to_bits() as i32
}

/// The lesser of two numbers; as processors have it in one step, as neither is a NaN.
#[inline]
fn lesser(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// See [`lesser`].
#[inline]
fn greater(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

impl Plant {
    /// A couch at rest at `axes` with brakes engaged and `load_kg` on it. A hexapod's base stands where its platform is neutral but for pitch
    /// and roll.
    pub fn new(
        family: &Family,
        limits: &Limits,
        axes: [f64; AXES],
        load_kg: f64,
        seed: u64,
    ) -> Self {
        let [x, y, z, turn, ..] = axes;
        let mut plant = Self {
            motor: axes,
            speed: [0.0; AXES],
            creep: [0.0; AXES],
            settle: [0.0; AXES],
            shape: shape(limits, family.is_robot()),
            brake_release: false,
            brake_since_us: 0,
            brakes_engaged: true,
            brakes_released: false,
            load_kg,
            sinks: family.sinks(),
            base: [x, y, z, turn],
            carries_from: None,
            faults: Faults::default(),
            healthy: true,
            memory: faults::Memory::new(seed),
            sensors: Sensors {
                primary: [0; AXES],
                secondary: [0; AXES],
                base: [x, y, z, turn].map(|at| libm::round(at) as i32),
                brakes_engaged: true,
                brakes_released: false,
                at_lower: false,
                at_upper: false,
                encoder_valid: true,
                second_valid: true,
                drive_fault: false,
            },
            noise_primary: Stream::new(seed, "couch.primary"),
            noise_secondary: Stream::new(seed, "couch.second_channel"),
            settling: Stream::new(seed, "couch.brake_settling"),
            manual_release: false,
        };
        plant.measure();
        plant
    }

    /// One control cycle under the firmware's command.
    pub fn cycle(&mut self, now_us: u64, drive: &Drive) -> &Sensors {
        self.move_brakes(now_us, drive.release_brakes);
        let held = self.brakes_engaged && !self.manual_release;
        if !self.healthy {
            self.cycle_faulty(now_us, drive, held);
        } else if !held || self.stirs() {
            self.steer(drive, held);
            self.travel();
            self.follow(drive, drive.enabled || held);
        }
        self.measure();
        if !self.healthy {
            self.measure_faulty(now_us);
        }
        &self.sensors
    }

    fn stirs(&self) -> bool {
        self.speed
            .iter()
            .chain(&self.settle)
            .fold(false, |stirs, value| stirs | (*value != 0.0))
    }

    #[cold]
    #[inline(never)]
    fn cycle_faulty(&mut self, now_us: u64, drive: &Drive, held: bool) {
        let (reaches, powered) = self.distorted(now_us, drive);
        let free = Drive {
            enabled: false,
            ..reaches
        };
        let before = self.speed;
        self.steer(&free, held);
        let freed = self.speed;
        self.speed = before;
        self.steer(&reaches, held);
        for ((speed, free), powered) in self.speed.iter_mut().zip(freed).zip(&powered) {
            *speed = if *powered { *speed } else { free };
        }
        self.travel();
        let (index, _) = self.sinks;
        let carried = powered.get(index).copied().unwrap_or(true);
        self.follow(&reaches, carried || held);
        self.move_faulty(&powered, held, &reaches);
    }

    /// What the load and the base couch make of the motion.
    #[inline]
    fn follow(&mut self, drive: &Drive, carried: bool) {
        if !carried && !self.manual_release {
            self.sink();
        }
        if drive.base_moves || self.carries_from.is_some() {
            self.carry(drive.base_moves);
        }
    }

    /// Speeds go towards what the motors want, or to rest: by the brakes, or by friction alone until the discs touch.
    #[inline]
    #[allow(
        clippy::indexing_slicing,
        clippy::needless_range_loop,
        reason = "the control cycle's kernel: arrays of AXES, indices below AXES"
    )]
    fn steer(&mut self, drive: &Drive, held: bool) {
        let shape = &self.shape;
        let mut wanted = [0.0; AXES];
        let step = if held {
            &shape.brake_step
        } else if drive.enabled {
            for k in 0..AXES {
                wanted[k] = shape.gain[k] * (drive.position[k] - self.motor[k])
                    + FEED_FORWARD * drive.speed[k];
            }
            &shape.motor_step
        } else {
            &shape.free_step
        };
        for k in 0..AXES {
            let change = wanted[k] - self.speed[k];
            self.speed[k] += lesser(greater(change, -step[k]), step[k]);
        }
    }

    /// Positions follow speeds, as far as the hard ends.
    #[inline]
    #[allow(
        clippy::indexing_slicing,
        clippy::needless_range_loop,
        reason = "the control cycle's kernel: arrays of AXES, indices below AXES"
    )]
    fn travel(&mut self) {
        let mut to = self.motor;
        for k in 0..AXES {
            to[k] += self.speed[k] * CYCLE_S;
        }
        if self.settle != [0.0; AXES] {
            // Springs press the brake discs home over some 30 ms: the couch settles by micrometres.
            for (to, settle) in to.iter_mut().zip(&mut self.settle) {
                let settled = if settle.abs() < 0.05 {
                    *settle
                } else {
                    0.1 * *settle
                };
                *settle -= settled;
                *to += settled;
            }
        }
        let (lower, upper) = (&self.shape.lower_end, &self.shape.upper_end);
        for k in 0..AXES {
            let free = to[k] > lower[k] && to[k] < upper[k];
            self.speed[k] = if free { self.speed[k] } else { 0.0 };
            self.motor[k] = lesser(greater(to[k], lower[k]), upper[k]);
        }
    }

    /// The base couch goes along with what the axes show, the platform on it as it stands.
    fn carry(&mut self, moves: bool) {
        let at = self.motor;
        let (base, from) = *self.carries_from.get_or_insert((self.base, at));
        self.base = carried(&base, &from, &at);
        self.sensors.base = self.base.map(|at| libm::round(at) as i32);
        if !moves {
            self.carries_from = None;
        }
    }

    /// Neither motor nor brake holds: the load drives the vertical axis down through its gear. A hand on the manual release
    /// holds the counterbalance as well.
    fn sink(&mut self) {
        let (index, per_mm) = self.sinks;
        let shape = (
            self.shape.lower_end.get(index),
            self.shape.upper_end.get(index),
            self.shape.free_step.get(index),
        );
        if let (Some(motor), Some(at), (Some(lower), Some(upper), Some(free_step))) =
            (self.motor.get(index), self.speed.get_mut(index), shape)
        {
            let free = if per_mm < 0.0 {
                motor > lower
            } else {
                motor < upper
            };
            if free {
                let speed = SINK_SPEED / 1e3 * per_mm * self.load_kg / 75.0;
                let step = SINK_PULL * free_step;
                *at += (speed - *at).clamp(-step, step);
            }
        }
    }

    #[inline]
    fn move_brakes(&mut self, now_us: u64, release: bool) {
        // Long since where they belong: nothing moves.
        let settled = release == self.brake_release
            && (if release {
                self.brakes_released
            } else {
                self.brakes_engaged
            });
        if !settled || !self.healthy {
            self.turn_brakes(now_us, release);
        }
    }

    #[inline(never)]
    fn turn_brakes(&mut self, now_us: u64, release: bool) {
        if release != self.brake_release {
            self.brake_release = release;
            self.brake_since_us = now_us;
        }
        let since = now_us - self.brake_since_us;
        let late = if let BrakeFault::Delayed(late) = self.faults.brake {
            late
        } else {
            0
        };
        let engaged = match self.faults.brake {
            BrakeFault::Stuck => true,
            BrakeFault::Off => false,
            BrakeFault::Intermittent(half_us) if !release => {
                crate::contact::first_half(now_us, half_us)
                    && (self.brakes_engaged || since >= BRAKE_ENGAGE_US)
            }
            _ if release => self.brakes_engaged && since < BRAKE_RELEASE_US / 2,
            _ => self.brakes_engaged || since >= BRAKE_ENGAGE_US + late,
        };
        if engaged && !self.brakes_engaged {
            for (settle, noise_raw) in self.settle.iter_mut().zip(&self.shape.primary_noise) {
                *settle = 3.0 * (noise_raw * SIGMA_RAW) * self.settling.noise();
            }
            let (index, per_mm) = self.sinks;
            if let Some(settle) = self.settle.get_mut(index) {
                *settle += 0.015 * per_mm;
            }
        }
        self.brakes_engaged = engaged;
        self.brakes_released = !engaged
            && (self.faults.brake == BrakeFault::Off || (release && since >= BRAKE_RELEASE_US));
    }

    #[inline]
    #[allow(
        clippy::indexing_slicing,
        clippy::needless_range_loop,
        reason = "the control cycle's kernel: arrays of AXES, indices below AXES"
    )]
    fn measure(&mut self) {
        let noise_a = [self.noise_primary.raw_four(), self.noise_primary.raw_four()];
        let noise_b = [
            self.noise_secondary.raw_four(),
            self.noise_secondary.raw_four(),
        ];
        let (noise_a, noise_b) = (noise_a.as_flattened(), noise_b.as_flattened());
        let (shape, motor, creep) = (&self.shape, &self.motor, &self.creep);
        let sensors = &mut self.sensors;
        for k in 0..AXES {
            sensors.primary[k] = quantise(
                motor[k] + shape.primary_noise[k] * noise_a[k],
                shape.primary_step[k],
                shape.primary_inverse[k],
            );
        }
        for k in 0..AXES {
            sensors.secondary[k] = quantise(
                motor[k] + creep[k] + shape.secondary_noise[k] * noise_b[k],
                shape.secondary_step[k],
                shape.secondary_inverse[k],
            );
        }
        let (mut lower, mut upper) = (false, false);
        for k in 0..AXES {
            lower |= motor[k] <= shape.lower_switch[k];
            upper |= motor[k] >= shape.upper_switch[k];
        }
        sensors.at_lower = lower;
        sensors.at_upper = upper;
        sensors.brakes_engaged = self.brakes_engaged && !self.manual_release;
        sensors.brakes_released = self.brakes_released;
        sensors.encoder_valid = true;
        sensors.second_valid = true;
        sensors.drive_fault = false;
    }

    /// The last measurement.
    pub fn sensors(&self) -> &Sensors {
        &self.sensors
    }

    /// True positions of the load side, without sag.
    #[inline]
    pub fn axes(&self) -> [f64; AXES] {
        let mut axes = self.motor;
        for (axis, creep) in axes.iter_mut().zip(&self.creep) {
            *axis += creep;
        }
        axes
    }

    /// Whether the brakes truly hold, whatever their feedback says.
    pub fn brakes_hold(&self) -> bool {
        self.brakes_engaged && !self.manual_release
    }

    /// Where the couch below a hexapod truly stands.
    pub fn base(&self) -> Base {
        self.base
    }

    /// True speeds.
    pub fn speeds(&self) -> [f64; AXES] {
        self.speed
    }

    /// Hard ends of an axis, lower and upper.
    pub fn hard_ends(&self) -> [(f64, f64); AXES] {
        let mut ends = self.shape.lower_end.map(|lower| (lower, lower));
        for (end, upper) in ends.iter_mut().zip(&self.shape.upper_end) {
            end.1 = *upper;
        }
        ends
    }

    /// A hand pushes an axis by so many micro-units. Moves only with the brakes released by hand; says whether it did.
    pub fn push(&mut self, axis: usize, by: f64) -> bool {
        let ends = (
            self.shape.lower_end.get(axis),
            self.shape.upper_end.get(axis),
        );
        match (self.motor.get_mut(axis), ends) {
            (Some(motor), (Some(lower), Some(upper))) if self.manual_release => {
                *motor = (*motor + by).clamp(*lower, *upper);
                true
            }
            _ => false,
        }
    }

    /// Kilograms on the top.
    pub fn load_kg(&self) -> f64 {
        self.load_kg
    }

    /// Sag of the top: how far the load bends it down (mm, negative) and tips its gantry end down (deg, negative). Grows with the load and
    /// with the square of how far the top reaches out, towards the gantry or from the foot of a robot; 75 kg at full reach give 0.4 mm and
    /// 0.02 deg.
    pub fn sag(&self, family: &Family, limits: &Limits) -> (f64, f64) {
        let share = family.reach(limits, &self.motor);
        let load = self.load_kg / 75.0;
        (-load * (0.05 + 0.35 * share * share), -load * 0.02 * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PEDESTAL;
    use proptest::prelude::*;

    fn plant_at(axes: [f64; 6]) -> Plant {
        Plant::new(&Family::Pedestal, &PEDESTAL, axes, 75.0, 1)
    }

    #[test]
    fn quantise_rounds_to_the_nearest_step() {
        for (value, want) in [
            (0.4, 0),
            (0.6, 1),
            (-0.4, 0),
            (-0.6, -1),
            (49.0, 40),
            (51.0, 60),
            (-51.0, -60),
        ] {
            let got = if want % 20 == 0 && want != 0 {
                quantise(value, 20.0, 0.05)
            } else {
                quantise(value, 1.0, 1.0)
            };
            assert_eq!(got, want, "{value}");
        }
    }

    #[test]
    fn two_channels_measure_the_same_position_with_other_noise_and_resolution() {
        let mut plant = plant_at([-20e3, -350e3, -122.5e3, 0.0, 0.0, 0.0]);
        let (mut sum, mut differ) = ([0i64; 2], false);
        for k in 0..1000 {
            let sensors = plant.cycle(k * CYCLE_US, &Drive::default());
            sum[0] += i64::from(sensors.primary[0]);
            sum[1] += i64::from(sensors.secondary[0]);
            differ |= sensors.primary[0] != sensors.secondary[0];
            assert_eq!(sensors.secondary[0] % 20, 0);
        }
        assert!(
            differ && sum.iter().all(|s| (*s / 1000 + 20_000).abs() <= 2),
            "{sum:?}"
        );
    }

    #[test]
    fn brakes_stop_a_moving_axis_and_hold_it() {
        let mut plant = plant_at([0.0; 6]);
        let mut drive = Drive {
            enabled: true,
            release_brakes: true,
            ..Drive::default()
        };
        let mut now = 0;
        for _ in 0..400 {
            drive.position[0] += 10.0;
            drive.speed[0] = 10e3;
            plant.cycle(now, &drive);
            now += CYCLE_US;
        }
        let at = plant.axes()[0];
        assert!(plant.speeds()[0] > 9e3);
        let off = Drive::default();
        for _ in 0..200 {
            plant.cycle(now, &off);
            now += CYCLE_US;
        }
        assert!(plant.sensors().brakes_engaged && plant.speeds()[0] == 0.0);
        // 60 ms until the discs touch (coasting against friction) and v^2/2a after it.
        assert!((plant.axes()[0] - at) < 10e3 * 0.06 + 10e3 * 10e3 / (2.0 * 400e3) + 50.0);
    }

    proptest! {
        #[test]
        fn no_command_drives_an_axis_past_its_hard_end(seed in 0u64..1000, sets in prop::collection::vec((-2e6..2e6f64, any::<bool>(), any::<bool>()), 1..40)) {
            let mut plant = Plant::new(&Family::Pedestal, &PEDESTAL, [240e3, 0.0, 0.0, 0.0, 0.0, 0.0], 75.0, seed);
            let mut now = 0;
            for (set, enabled, release) in sets {
                let drive = Drive { position: [set, set, set, set * 100.0, set, -set], speed: [0.0; 6], enabled, release_brakes: release, base_moves: false };
                for _ in 0..50 {
                    plant.cycle(now, &drive);
                    now += CYCLE_US;
                }
                for (at, (lower, upper)) in plant.axes().iter().zip(plant.hard_ends()) {
                    prop_assert!((lower..=upper).contains(at));
                }
            }
        }
    }
}
