//! How the mechanics of the couch fail: channels, axes, drives, brakes, limit switches.

use super::{Axes, CYCLE_S, CYCLE_US, Drive, Plant, Sensors};
use crate::contact::{Contact, ContactFault, first_half};
use crate::limits::AXES;
use crate::random::{SIGMA_RAW, Stream};

/// Longest delay of a reading or of a set-point, in control cycles.
pub const DELAY_MAX: u16 = 250;

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
    /// Reads what was so many cycles ago.
    Delayed(u16),
    /// Says that it does not work in every other half period of so many microseconds.
    Intermittent(u64),
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
    /// The motor gives no force, and nobody says so.
    Off,
    /// The motor follows the set-point of so many cycles ago.
    Delayed(u16),
    /// The motor gives no force in every other half period of so many microseconds.
    Intermittent(u64),
}

/// A fault of the drives, which feed all motors.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum DriveFault {
    /// None.
    #[default]
    None,
    /// Without power; they report it.
    Off,
    /// Deaf: they hold the last set-point, energised or not as they were.
    Stuck,
    /// They turn the motors the wrong way round.
    Wrong,
    /// Noise on every set-point, one sigma in mm or deg.
    Garbage(f64),
    /// This share of the speed that was asked.
    Slow(f64),
    /// They follow the command of so many cycles ago.
    Delayed(u16),
    /// Without power in every other half period of so many microseconds; they report it.
    Intermittent(u64),
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
    /// Its feedback says the opposite.
    Wrong,
    /// Its feedback chatters.
    Garbage,
    /// Holds only in every other half period of so many microseconds.
    Intermittent(u64),
}

/// Faults of the mechanics; default none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[allow(missing_docs, reason = "each field is named for its part")]
pub struct Faults {
    pub encoder: [ChannelFault; AXES],
    pub second_channel: [ChannelFault; AXES],
    pub axis: [AxisFault; AXES],
    pub lower_switch: ContactFault,
    pub upper_switch: ContactFault,
    pub brake: BrakeFault,
    pub drive: DriveFault,
}

/// What was, cycle by cycle.
#[derive(Debug, Clone)]
struct History<T> {
    ring: [T; DELAY_MAX as usize + 1],
    at: usize,
}

impl<T: Copy> History<T> {
    fn new(value: T) -> Self {
        Self {
            ring: [value; DELAY_MAX as usize + 1],
            at: 0,
        }
    }

    fn push(&mut self, value: T) {
        self.at = (self.at + 1) % self.ring.len();
        if let Some(place) = self.ring.get_mut(self.at) {
            *place = value;
        }
    }

    fn ago(&self, cycles: u16) -> Option<&T> {
        let len = self.ring.len();
        self.ring
            .get((self.at + len - usize::from(cycles) % len) % len)
    }
}

/// What the faults have to remember.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    drift: [Axes; 2],
    readings: [History<[i32; AXES]>; 2],
    /// From the first cycle with a fault on.
    commands: Option<History<Drive>>,
    /// What deaf drives keep.
    deaf: Option<Drive>,
    lower: Contact,
    upper: Contact,
    noise: Stream,
}

impl Memory {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            drift: [[0.0; AXES]; 2],
            readings: [History::new([0; AXES]), History::new([0; AXES])],
            commands: None,
            deaf: None,
            lower: Contact::new(seed, "couch.lower_limit"),
            upper: Contact::new(seed, "couch.upper_limit"),
            noise: Stream::new(seed, "couch.faults"),
        }
    }
}

/// Motors that have power, each for itself.
pub(super) type Powered = [bool; AXES];

impl Plant {
    /// Replaces the faults. What is delayed begins with what is now.
    pub fn set_faults(&mut self, faults: Faults) {
        let before = core::mem::replace(&mut self.faults, faults);
        self.healthy = faults == Faults::default();
        let channels = [&faults.encoder, &faults.second_channel];
        for (drift, channel) in self.memory.drift.iter_mut().zip(channels) {
            if !channel
                .iter()
                .any(|fault| matches!(fault, ChannelFault::Slow(_)))
            {
                *drift = [0.0; AXES];
            }
        }
        if before == Faults::default() {
            let readings = [self.sensors.primary, self.sensors.secondary];
            for (history, now) in self.memory.readings.iter_mut().zip(readings) {
                *history = History::new(now);
            }
            self.memory.commands = None;
        }
        if before.lower_switch != faults.lower_switch {
            self.memory.lower.set(faults.lower_switch);
        }
        if before.upper_switch != faults.upper_switch {
            self.memory.upper.set(faults.upper_switch);
        }
        if faults.drive != DriveFault::Stuck {
            self.memory.deaf = None;
        }
    }

    /// The faults that are set.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// The command as it reaches the motors, and which of them have power.
    #[inline(never)]
    pub(super) fn distorted(&mut self, now_us: u64, drive: &Drive) -> (Drive, Powered) {
        let commands = self
            .memory
            .commands
            .get_or_insert_with(|| History::new(*drive));
        commands.push(*drive);
        let mut reaches = match self.faults.drive {
            DriveFault::Stuck => {
                let kept = Drive {
                    speed: [0.0; AXES],
                    ..*drive
                };
                *self.memory.deaf.get_or_insert(kept)
            }
            DriveFault::Delayed(cycles) => *commands.ago(cycles).unwrap_or(drive),
            _ => *drive,
        };
        if self.drive_dead(now_us) {
            reaches.enabled = false;
        }
        match self.faults.drive {
            DriveFault::Wrong => {
                for ((set, speed), motor) in reaches
                    .position
                    .iter_mut()
                    .zip(&mut reaches.speed)
                    .zip(&self.motor)
                {
                    *set = 2.0 * motor - *set;
                    *speed = -*speed;
                }
            }
            DriveFault::Garbage(sigma) => {
                for (set, unit) in reaches.position.iter_mut().zip(&self.shape.unit) {
                    *set += sigma * unit * self.memory.noise.noise();
                }
            }
            _ => {}
        }
        let mut powered = [reaches.enabled; AXES];
        for (k, (fault, power)) in self.faults.axis.iter().zip(&mut powered).enumerate() {
            match *fault {
                AxisFault::Off => *power = false,
                AxisFault::Intermittent(half_us) => *power &= first_half(now_us, half_us),
                AxisFault::Delayed(cycles) => {
                    let commands = self.memory.commands.as_ref();
                    let then = commands.and_then(|commands| commands.ago(cycles));
                    let pick = |axes: &Axes| axes.get(k).copied();
                    if let (Some(then), Some(set), Some(speed)) =
                        (then, reaches.position.get_mut(k), reaches.speed.get_mut(k))
                    {
                        *set = pick(&then.position).unwrap_or(*set);
                        *speed = pick(&then.speed).unwrap_or(*speed);
                    }
                }
                _ => {}
            }
        }
        (reaches, powered)
    }

    fn drive_dead(&self, now_us: u64) -> bool {
        match self.faults.drive {
            DriveFault::Off => true,
            DriveFault::Intermittent(half_us) => !first_half(now_us, half_us),
            _ => false,
        }
    }

    /// What faults do to the motion of a cycle.
    pub(super) fn move_faulty(&mut self, powered: &Powered, held: bool, drive: &Drive) {
        let share = match self.faults.drive {
            DriveFault::Slow(share) => Some(share),
            _ => None,
        };
        let axes = self
            .motor
            .iter_mut()
            .zip(&mut self.speed)
            .zip(&mut self.creep);
        let faults = self.faults.axis.iter().zip(powered).zip(&drive.speed);
        for (((motor, speed), creep), ((fault, powered), set_speed)) in axes.zip(faults) {
            let driven = *powered && !held;
            let slowed = match *fault {
                AxisFault::Slow(own) => Some(own),
                _ => share,
            };
            if let (Some(share), true) = (slowed, driven) {
                *motor -= (1.0 - share) * *speed * CYCLE_S;
            }
            match *fault {
                AxisFault::Stuck => {
                    *motor -= *speed * CYCLE_S;
                    *speed = 0.0;
                }
                AxisFault::Creep(rate) => *creep += rate * CYCLE_S,
                AxisFault::Garbage(rate) if driven && *set_speed != 0.0 => {
                    *motor += rate * CYCLE_S;
                }
                _ => {}
            }
        }
        for (drift, channel) in self
            .memory
            .drift
            .iter_mut()
            .zip([&self.faults.encoder, &self.faults.second_channel])
        {
            for (drift, fault) in drift.iter_mut().zip(channel) {
                if let ChannelFault::Slow(rate) = fault {
                    *drift += rate * CYCLE_S;
                }
            }
        }
        if let (BrakeFault::Slip(speed), true, [_, _, vertical, ..]) =
            (self.faults.brake, held, &mut self.motor)
        {
            *vertical -= speed * CYCLE_S;
        }
        let ends = self.shape.lower_end.iter().zip(&self.shape.upper_end);
        for ((motor, creep), (lower, upper)) in self.motor.iter_mut().zip(&mut self.creep).zip(ends)
        {
            *motor = motor.clamp(*lower, *upper);
            // The end stops the load, whatever slips between it and the motor.
            *creep = creep.clamp(lower - *motor, upper - *motor);
        }
    }

    /// What faults do to the measurements of a cycle.
    #[cold]
    #[inline(never)]
    pub(super) fn measure_faulty(&mut self, now_us: u64) {
        let drive_fault = self.drive_dead(now_us);
        let (faults, memory, sensors) = (&self.faults, &mut self.memory, &mut self.sensors);
        let Sensors {
            primary, secondary, ..
        } = sensors;
        let [first, second] = &mut memory.readings;
        let [drift_a, drift_b] = &memory.drift;
        let noise = [&self.shape.primary_noise, &self.shape.secondary_noise];
        let [noise_a, noise_b] = noise;
        let mut channels = Channels {
            now_us,
            stream: &mut memory.noise,
        };
        sensors.encoder_valid = channels.distort(primary, &faults.encoder, first, drift_a, noise_a);
        sensors.second_valid =
            channels.distort(secondary, &faults.second_channel, second, drift_b, noise_b);
        sensors.at_lower = memory.lower.applied(sensors.at_lower, now_us);
        sensors.at_upper = memory.upper.applied(sensors.at_upper, now_us);
        sensors.drive_fault = drive_fault;
        match faults.brake {
            BrakeFault::Wrong => {
                core::mem::swap(&mut sensors.brakes_engaged, &mut sensors.brakes_released);
            }
            BrakeFault::Garbage => {
                sensors.brakes_engaged = memory.noise.bits() >> 63 == 1;
                sensors.brakes_released = !sensors.brakes_engaged;
            }
            _ => {}
        }
    }
}

struct Channels<'a> {
    now_us: u64,
    stream: &'a mut Stream,
}

impl Channels<'_> {
    /// Puts the faults of one channel on its readings; whether it says that all of it works.
    fn distort(
        &mut self,
        values: &mut [i32; AXES],
        faults: &[ChannelFault; AXES],
        history: &mut History<[i32; AXES]>,
        drift: &Axes,
        noise_raw: &Axes,
    ) -> bool {
        history.push(*values);
        let mut valid = true;
        let parts = drift.iter().zip(noise_raw);
        for (k, ((value, fault), (drift, noise_raw))) in
            values.iter_mut().zip(faults).zip(parts).enumerate()
        {
            match *fault {
                ChannelFault::None => {}
                ChannelFault::Off => valid = false,
                ChannelFault::Intermittent(half_us) => valid &= first_half(self.now_us, half_us),
                ChannelFault::Stuck(at) => *value = at,
                ChannelFault::Wrong(offset) => *value = value.saturating_add(offset as i32),
                ChannelFault::Garbage(times) => {
                    let sigma = times * noise_raw * SIGMA_RAW;
                    *value = value.saturating_add((sigma * self.stream.noise()) as i32);
                }
                ChannelFault::Slow(_) => *value = value.saturating_add(*drift as i32),
                ChannelFault::Delayed(cycles) => {
                    let then = history.ago(cycles).and_then(|then| then.get(k));
                    *value = then.copied().unwrap_or(*value);
                }
            }
        }
        valid
    }
}

/// Cycles of a delay in milliseconds; a sentence if it is beyond what a history holds.
pub const fn cycles_of_ms(ms: u64) -> Option<u16> {
    let cycles = ms * 1000 / CYCLE_US;
    if cycles <= DELAY_MAX as u64 {
        Some(cycles as u16)
    } else {
        None
    }
}
