//! The mechanics of the couch: servo, brakes, encoders, sag. What the firmware drives and measures, and what is true.
//!
//! Positions in micro-units (micrometres, microdegrees). The primary channel sits on the motor side; the second channel measures the load side
//! with another resolution and other noise. Sag is a bending of the top beyond both: only an X-ray sees it.

use crate::kinematics::{Base, Family, carried};
use crate::limits::{AXES, Limits};
use crate::random::Stream;

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
    /// The drives report a fault.
    pub drive_fault: bool,
}

/// A fault of a position channel.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ChannelFault {
    /// None.
    #[default]
    None,
    /// Repeats its last value.
    Stuck(i32),
    /// Adds a constant.
    Wrong(f64),
    /// Multiplies the noise.
    Garbage(f64),
    /// Drifts by so much a second.
    Slow(f64),
    /// Says that it does not work.
    Off,
}

/// A fault of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum AxisFault {
    /// None.
    #[default]
    None,
    /// Jammed.
    Stuck,
    /// The motor follows with this share of its gain and feed-forward.
    Slow(f64),
    /// The load creeps away from the motor at so much a second (a slipping coupling); only the second channel sees it.
    Creep(f64),
    /// The motor runs away at so much a second.
    Garbage(f64),
}

/// A fault of a limit switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SwitchFault {
    /// None.
    #[default]
    None,
    /// Never closes.
    Off,
    /// Always closed.
    Stuck,
}

/// A fault of the brakes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum BrakeFault {
    /// None.
    #[default]
    None,
    /// Slips downwards at so many micrometres a second while engaged.
    Slip(f64),
    /// Engages so many microseconds late.
    Delayed(u64),
    /// Never releases.
    Stuck,
    /// Never engages.
    Off,
}

/// Faults of the mechanics; default none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(missing_docs, reason = "each field is named for its part")]
pub struct Faults {
    pub encoder: [ChannelFault; AXES],
    pub second_channel: [ChannelFault; AXES],
    pub axis: [AxisFault; AXES],
    pub lower_switch: SwitchFault,
    pub upper_switch: SwitchFault,
    pub brake: BrakeFault,
    pub drive_off: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Axis {
    motor: f64,
    speed: f64,
    creep: f64,
    drift: [f64; 2],
    settle: f64,
}

/// Per-axis constants, so that the control cycle does not look up kinds.
#[derive(Debug, Clone, Copy)]
struct Shape {
    gain: f64,
    brake_step: f64,
    motor_step: f64,
    primary: (f64, f64, f64),
    secondary: (f64, f64, f64),
    lower_end: f64,
    upper_end: f64,
    lower_switch: f64,
    upper_switch: f64,
}

/// The couch between motors and table top.
#[derive(Debug, Clone)]
pub struct Plant {
    axes: [Axis; AXES],
    shapes: [Shape; AXES],
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
    carries_from: Option<(Base, [f64; AXES])>,
    faults: Faults,
    healthy: bool,
    sensors: Sensors,
    noise_primary: Stream,
    noise_secondary: Stream,
    settling: Stream,
    /// A hand on the manual release of the brakes.
    pub manual_release: bool,
}

fn shapes(limits: &Limits, robot: bool) -> [Shape; AXES] {
    // The linear axis of a robot, its column, is an axis like others.
    let fine = |((noise_um, noise), (step_um, step)): ((f64, f64), (f64, f64)),
                robots: (f64, f64)| {
        let (noise, step) = if robot { robots } else { (noise, step) };
        ((noise_um, noise), (step_um, step))
    };
    let mut gains = GAIN.iter();
    limits.map(|axis| {
        let pick = |pair: (f64, f64)| axis.kind.pick(pair.0, pair.1);
        let margin = pick(HARD_MARGIN);
        let (lower, upper) = (f64::from(axis.min), f64::from(axis.max));
        let channel = |(noise, resolution): ((f64, f64), (f64, f64))| {
            let resolution = pick(resolution);
            (pick(noise), resolution, 1.0 / resolution)
        };
        Shape {
            gain: gains.next().copied().unwrap_or(30.0),
            brake_step: pick(BRAKE_DECEL) * CYCLE_S,
            motor_step: pick(MOTOR_ACCEL) * CYCLE_S,
            primary: channel(fine(PRIMARY, ROBOT_PRIMARY)),
            secondary: channel(fine(SECONDARY, ROBOT_SECONDARY)),
            lower_end: lower - margin,
            upper_end: upper + margin,
            lower_switch: lower - margin * SWITCH_SHARE,
            upper_switch: upper + margin * SWITCH_SHARE,
        }
    })
}

#[inline]
fn quantise(value: f64, resolution: f64, inverse: f64) -> i32 {
    // Adding and taking away 1.5 x 2^52 rounds to the nearest integer without a call, for every |value| below 2^51.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    (((value * inverse + ROUND) - ROUND) * resolution) as i32
}

#[inline]
fn toward_zero(speed: f64, step: f64) -> f64 {
    if speed > step {
        speed - step
    } else if speed < -step {
        speed + step
    } else {
        0.0
    }
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
            axes: axes.map(|motor| Axis {
                motor,
                ..Axis::default()
            }),
            shapes: shapes(limits, family.is_robot()),
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
            sensors: Sensors {
                primary: [0; AXES],
                secondary: [0; AXES],
                base: [x, y, z, turn].map(|at| libm::round(at) as i32),
                brakes_engaged: true,
                brakes_released: false,
                at_lower: false,
                at_upper: false,
                encoder_valid: true,
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
        if held
            && self.healthy
            && self
                .axes
                .iter()
                .all(|axis| axis.speed == 0.0 && axis.settle == 0.0)
        {
            self.measure();
            return &self.sensors;
        }
        let powered = drive.enabled && !self.faults.drive_off;
        for ((axis, shape), (set, speed)) in self
            .axes
            .iter_mut()
            .zip(&self.shapes)
            .zip(drive.position.iter().zip(&drive.speed))
        {
            if powered && !held {
                let wanted = shape.gain * (set - axis.motor) + FEED_FORWARD * speed;
                axis.speed += (wanted - axis.speed).clamp(-shape.motor_step, shape.motor_step);
            } else if held {
                axis.speed = toward_zero(axis.speed, shape.brake_step);
            } else {
                // Until the discs touch only friction slows the axes.
                axis.speed = toward_zero(axis.speed, FRICTION * shape.brake_step);
            }
            // Springs press the brake discs home over some 30 ms: the couch settles by micrometres.
            let settled = if axis.settle.abs() < 0.05 {
                axis.settle
            } else {
                0.1 * axis.settle
            };
            axis.settle -= settled;
            axis.motor += axis.speed * CYCLE_S + settled;
            if axis.motor <= shape.lower_end || axis.motor >= shape.upper_end {
                axis.motor = axis.motor.clamp(shape.lower_end, shape.upper_end);
                axis.speed = 0.0;
            }
        }
        if !powered && !held && !self.manual_release {
            self.sink();
        }
        if !self.healthy {
            self.apply_faults(powered, held, drive);
        }
        if drive.base_moves || self.carries_from.is_some() {
            self.carry(drive.base_moves);
        }
        self.measure();
        &self.sensors
    }

    /// The base couch goes along with what the axes show, the platform on it as it stands.
    fn carry(&mut self, moves: bool) {
        let at = self.axes.map(|axis| axis.motor);
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
        if let (Some(axis), Some(shape)) = (self.axes.get_mut(index), self.shapes.get(index)) {
            let free = if per_mm < 0.0 {
                axis.motor > shape.lower_end
            } else {
                axis.motor < shape.upper_end
            };
            if free {
                let speed = SINK_SPEED / 1e3 * per_mm * self.load_kg / 75.0;
                let step = SINK_PULL * FRICTION * shape.brake_step;
                axis.speed += (speed - axis.speed).clamp(-step, step);
            }
        }
    }

    fn move_brakes(&mut self, now_us: u64, release: bool) {
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
            _ if release => self.brakes_engaged && since < BRAKE_RELEASE_US / 2,
            _ => self.brakes_engaged || since >= BRAKE_ENGAGE_US + late,
        };
        if engaged && !self.brakes_engaged {
            for (axis, shape) in self.axes.iter_mut().zip(&self.shapes) {
                axis.settle = 3.0 * shape.primary.0 * self.settling.noise();
            }
            let (index, per_mm) = self.sinks;
            if let Some(axis) = self.axes.get_mut(index) {
                axis.settle += 0.015 * per_mm;
            }
        }
        self.brakes_engaged = engaged;
        self.brakes_released = !engaged
            && (self.faults.brake == BrakeFault::Off || (release && since >= BRAKE_RELEASE_US));
    }

    fn apply_faults(&mut self, powered: bool, held: bool, drive: &Drive) {
        for (k, (axis, fault)) in self.axes.iter_mut().zip(&self.faults.axis).enumerate() {
            match *fault {
                AxisFault::None => {}
                AxisFault::Stuck => {
                    axis.motor -= axis.speed * CYCLE_S;
                    axis.speed = 0.0;
                }
                AxisFault::Slow(share) => {
                    if powered && !held {
                        axis.motor -= (1.0 - share) * axis.speed * CYCLE_S;
                    }
                }
                AxisFault::Creep(speed) => axis.creep += speed * CYCLE_S,
                AxisFault::Garbage(speed) => {
                    if powered && !held && drive.speed.get(k).is_some_and(|s| *s != 0.0) {
                        axis.motor += speed * CYCLE_S;
                    }
                }
            }
        }
        for (axis, (first, second)) in self
            .axes
            .iter_mut()
            .zip(self.faults.encoder.iter().zip(&self.faults.second_channel))
        {
            for (drift, fault) in axis.drift.iter_mut().zip([first, second]) {
                if let ChannelFault::Slow(speed) = fault {
                    *drift += speed * CYCLE_S;
                }
            }
        }
        let (index, per_mm) = self.sinks;
        if let (BrakeFault::Slip(speed), true, Some(axis)) =
            (self.faults.brake, held, self.axes.get_mut(index))
        {
            axis.motor += speed / 1e3 * per_mm * CYCLE_S;
        }
        for (axis, shape) in self.axes.iter_mut().zip(&self.shapes) {
            axis.motor = axis.motor.clamp(shape.lower_end, shape.upper_end);
            // The end stops the load, whatever slips between it and the motor.
            axis.creep = axis
                .creep
                .clamp(shape.lower_end - axis.motor, shape.upper_end - axis.motor);
        }
    }

    fn measure(&mut self) {
        let (mut lower, mut upper) = (false, false);
        let (mut noise_a, mut noise_b) = ([0.0; AXES], [0.0; AXES]);
        let streams = [
            (&mut noise_a, &mut self.noise_primary),
            (&mut noise_b, &mut self.noise_secondary),
        ];
        for (noise, stream) in streams {
            for pair in noise.as_chunks_mut::<2>().0 {
                let (first, second) = stream.noise_pair();
                *pair = [first, second];
            }
        }
        let values = self
            .sensors
            .primary
            .iter_mut()
            .zip(self.sensors.secondary.iter_mut());
        let channels = values.zip(noise_a.iter().zip(&noise_b));
        for ((axis, shape), ((primary, secondary), (a, b))) in
            self.axes.iter().zip(&self.shapes).zip(channels)
        {
            let (noise, resolution, inverse) = shape.primary;
            *primary = quantise(axis.motor + noise * a, resolution, inverse);
            let (noise, resolution, inverse) = shape.secondary;
            *secondary = quantise(axis.motor + axis.creep + noise * b, resolution, inverse);
            lower |= axis.motor <= shape.lower_switch;
            upper |= axis.motor >= shape.upper_switch;
        }
        self.sensors.at_lower = lower;
        self.sensors.at_upper = upper;
        self.sensors.brakes_engaged = self.brakes_engaged && !self.manual_release;
        self.sensors.brakes_released = self.brakes_released;
        self.sensors.encoder_valid = true;
        self.sensors.drive_fault = false;
        if !self.healthy {
            self.measure_faults();
        }
    }

    fn measure_faults(&mut self) {
        let sensors = &mut self.sensors;
        for (axis, (shape, (fault, value))) in self.axes.iter().zip(
            self.shapes
                .iter()
                .zip(self.faults.encoder.iter().zip(sensors.primary.iter_mut())),
        ) {
            *value = faulty(
                *fault,
                *value,
                axis.drift[0],
                shape.primary.0,
                &mut self.noise_primary,
            );
            sensors.encoder_valid &= *fault != ChannelFault::Off;
        }
        for (axis, (shape, (fault, value))) in self.axes.iter().zip(
            self.shapes.iter().zip(
                self.faults
                    .second_channel
                    .iter()
                    .zip(sensors.secondary.iter_mut()),
            ),
        ) {
            *value = faulty(
                *fault,
                *value,
                axis.drift[1],
                shape.secondary.0,
                &mut self.noise_secondary,
            );
        }
        let switch = |fault: SwitchFault, closed: bool| match fault {
            SwitchFault::None => closed,
            SwitchFault::Off => false,
            SwitchFault::Stuck => true,
        };
        sensors.at_lower = switch(self.faults.lower_switch, sensors.at_lower);
        sensors.at_upper = switch(self.faults.upper_switch, sensors.at_upper);
        sensors.drive_fault = self.faults.drive_off;
    }

    /// The last measurement.
    pub fn sensors(&self) -> &Sensors {
        &self.sensors
    }

    /// True positions of the load side, without sag.
    pub fn axes(&self) -> [f64; AXES] {
        self.axes.map(|axis| axis.motor + axis.creep)
    }

    /// Where the couch below a hexapod truly stands.
    pub fn base(&self) -> Base {
        self.base
    }

    /// True speeds.
    pub fn speeds(&self) -> [f64; AXES] {
        self.axes.map(|axis| axis.speed)
    }

    /// Hard ends of an axis, lower and upper.
    pub fn hard_ends(&self) -> [(f64, f64); AXES] {
        self.shapes.map(|shape| (shape.lower_end, shape.upper_end))
    }

    /// Replaces the faults.
    pub fn set_faults(&mut self, faults: Faults) {
        self.healthy = faults == Faults::default();
        self.faults = faults;
        for axis in &mut self.axes {
            for (drift, channel) in axis
                .drift
                .iter_mut()
                .zip([&faults.encoder, &faults.second_channel])
            {
                if !channel
                    .iter()
                    .any(|fault| matches!(fault, ChannelFault::Slow(_)))
                {
                    *drift = 0.0;
                }
            }
        }
    }

    /// The faults that are set.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// A hand pushes an axis by so many micro-units. Moves only with the brakes released by hand; says whether it did.
    pub fn push(&mut self, axis: usize, by: f64) -> bool {
        let free = self.manual_release;
        match (self.axes.get_mut(axis), self.shapes.get(axis)) {
            (Some(axis), Some(shape)) if free => {
                axis.motor = (axis.motor + by).clamp(shape.lower_end, shape.upper_end);
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
        let share = family.reach(limits, &self.axes.map(|axis| axis.motor));
        let load = self.load_kg / 75.0;
        (-load * (0.05 + 0.35 * share * share), -load * 0.02 * share)
    }
}

fn faulty(fault: ChannelFault, value: i32, drift: f64, noise: f64, stream: &mut Stream) -> i32 {
    match fault {
        ChannelFault::None | ChannelFault::Off => value,
        ChannelFault::Stuck(at) => at,
        ChannelFault::Wrong(offset) => value.saturating_add(offset as i32),
        ChannelFault::Garbage(times) => {
            value.saturating_add((times * noise * stream.noise()) as i32)
        }
        ChannelFault::Slow(_) => value.saturating_add(drift as i32),
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
