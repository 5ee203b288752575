//! The X-ray generator: tube current, its own timer, its meter, and how they fail. What the imager's controller commands and reads.

use crate::contact::first_half;
use crate::random::Stream;

/// What the imager's controller commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Command {
    /// Expose: the rising edge starts the generator's timer.
    pub expose: bool,
    /// The main contactor is closed. Open, nothing radiates, whatever else is broken.
    pub contactor: bool,
    /// Tube current in tenths of a milliampere.
    pub ma_tenth: u16,
    /// Time that the timer is set to.
    pub time_us: u64,
}

/// What the imager's controller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readings {
    /// The generator reports a fault.
    pub fault: bool,
    /// Tube current flows.
    pub radiates: bool,
    /// The meter: micro-ampere-seconds of this exposure, or of the last.
    pub mas_u: u32,
}

/// A fault of the generator, in PX4's words.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum GeneratorFault {
    /// Works.
    #[default]
    None,
    /// Reports a fault and gives nothing.
    Off,
    /// Its timer does not end the exposure; the contactor does.
    Stuck,
    /// Output varies from exposure to exposure by this share (one sigma); its meter does not see it.
    Garbage(f64),
    /// Gives so many times what its meter says.
    Wrong(f64),
    /// Reaches this share of the tube current; its meter shows it.
    Slow(f64),
    /// Radiates so many microseconds after the command.
    Delayed(u64),
    /// As [`GeneratorFault::Off`] in every other half period of so many microseconds.
    Intermittent(u64),
}

/// The generator.
#[derive(Debug, Clone)]
pub struct Generator {
    fault: GeneratorFault,
    exposes: bool,
    /// The beam is due from here until there, by its own timer.
    from_us: u64,
    until_us: u64,
    last_us: u64,
    /// True output for what the meter shows, of this exposure.
    factor: f64,
    metered_uas: f64,
    true_uas: f64,
    total_mas: f64,
    readings: Readings,
    spread: Stream,
}

impl Generator {
    /// At rest, contactor open.
    pub fn new(seed: u64) -> Self {
        Self {
            fault: GeneratorFault::None,
            exposes: false,
            from_us: 0,
            until_us: 0,
            last_us: 0,
            factor: 1.0,
            metered_uas: 0.0,
            true_uas: 0.0,
            total_mas: 0.0,
            readings: Readings::default(),
            spread: Stream::new(seed, "generator.spread"),
        }
    }

    /// Replaces the fault.
    pub fn set_fault(&mut self, fault: GeneratorFault) {
        self.fault = fault;
    }

    /// Whether nothing changes while nobody asks for an exposure.
    #[inline]
    pub fn sleeps(&self) -> bool {
        !self.exposes
            && !self.readings.radiates
            && !self.readings.fault
            && self.fault == GeneratorFault::None
    }

    /// What it read last.
    #[inline]
    pub fn readings(&self) -> Readings {
        self.readings
    }

    /// One control cycle under the controller's command.
    pub fn cycle(&mut self, now_us: u64, command: &Command) -> Readings {
        self.work(now_us, command);
        self.last_us = now_us;
        self.readings
    }

    fn work(&mut self, now_us: u64, command: &Command) {
        if command.expose && !self.exposes {
            self.begin(now_us, command);
        }
        let ended = !command.expose && self.fault != GeneratorFault::Stuck;
        self.exposes = command.expose;
        let dead = match self.fault {
            GeneratorFault::Off => true,
            GeneratorFault::Intermittent(half_us) => !first_half(now_us, half_us),
            _ => false,
        };
        self.readings.fault = dead;
        let until_us = if self.fault == GeneratorFault::Stuck {
            u64::MAX
        } else {
            self.until_us
        };
        // Until the first exposure nothing is due.
        let due = self.until_us > 0 && command.contactor && !ended && !dead;
        if due {
            let (from, to) = (self.last_us.max(self.from_us), now_us.min(until_us));
            self.give(to.saturating_sub(from), command.ma_tenth);
        }
        self.readings.radiates = due && now_us >= self.from_us && now_us < until_us;
        self.readings.mas_u = (self.metered_uas + 0.5) as u32;
    }

    fn begin(&mut self, now_us: u64, command: &Command) {
        let late_us = match self.fault {
            GeneratorFault::Delayed(late_us) => late_us,
            _ => 0,
        };
        self.from_us = now_us + late_us;
        self.until_us = self.from_us + command.time_us;
        self.last_us = now_us;
        self.metered_uas = 0.0;
        self.true_uas = 0.0;
        self.factor = match self.fault {
            GeneratorFault::Wrong(factor) => factor,
            GeneratorFault::Garbage(sigma) => (1.0 + sigma * self.spread.noise()).max(0.0),
            _ => 1.0,
        };
    }

    fn give(&mut self, time_us: u64, ma_tenth: u16) {
        let share = match self.fault {
            GeneratorFault::Slow(share) => share,
            _ => 1.0,
        };
        // 0.1 mA for 1 us are 1e-4 micro-ampere-seconds.
        let uas = share * f64::from(ma_tenth) * time_us as f64 * 1e-4;
        self.metered_uas += uas;
        self.true_uas += uas * self.factor;
        self.total_mas += uas * self.factor * 1e-3;
    }

    /// X-rays are on.
    pub fn radiates(&self) -> bool {
        self.readings.radiates
    }

    /// What the tube truly gave in this exposure, or in the last, micro-ampere-seconds.
    pub fn true_uas(&self) -> f64 {
        self.true_uas
    }

    /// What the tube truly gave since power-up, milliampere-seconds.
    pub fn total_mas(&self) -> f64 {
        self.total_mas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: Command = Command {
        expose: true,
        contactor: true,
        ma_tenth: 1000,
        time_us: 20_000,
    };

    fn exposed(fault: GeneratorFault, cycles: u64) -> (Generator, Readings) {
        let mut generator = Generator::new(1);
        generator.set_fault(fault);
        let readings = (1..=cycles)
            .map(|k| generator.cycle(k * 1000, &COMMAND))
            .last()
            .unwrap_or_default();
        (generator, readings)
    }

    #[test]
    fn an_exposure_gives_current_times_time_and_ends_by_itself() {
        let (generator, readings) = exposed(GeneratorFault::None, 40);
        assert_eq!((readings.mas_u, readings.radiates), (2000, false));
        assert!((generator.true_uas() - 2000.0).abs() < 1e-9);
    }

    #[test]
    fn every_fault_of_the_generator_does_what_it_says() {
        let (_, off) = exposed(GeneratorFault::Off, 40);
        assert!(off.fault && off.mas_u == 0);
        let (wrong, meter) = exposed(GeneratorFault::Wrong(1.5), 40);
        assert!(meter.mas_u == 2000 && (wrong.true_uas() - 3000.0).abs() < 1e-6);
        let (_, slow) = exposed(GeneratorFault::Slow(0.5), 40);
        assert_eq!(slow.mas_u, 1000);
        let (_, early) = exposed(GeneratorFault::Delayed(10_000), 10);
        assert_eq!((early.mas_u, early.radiates), (0, false));
        let (_, late) = exposed(GeneratorFault::Delayed(10_000), 40);
        assert_eq!(late.mas_u, 2000);
        let (spread, meter) = exposed(GeneratorFault::Garbage(0.2), 40);
        assert!(meter.mas_u == 2000 && (spread.true_uas() - 2000.0).abs() > 1.0);
        let (_, broken) = exposed(GeneratorFault::Intermittent(10_000), 15);
        assert!(broken.fault && !broken.radiates);
        let (mut stuck, on) = exposed(GeneratorFault::Stuck, 40);
        assert!(on.radiates && on.mas_u > 3000);
        let open = Command {
            contactor: false,
            ..COMMAND
        };
        assert!(!stuck.cycle(41_000, &open).radiates);
    }
}
