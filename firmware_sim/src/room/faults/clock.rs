//! The clock of a device, and how it fails.

use crate::random::Stream;

/// How the clock of a device fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ClockFault {
    /// So many times as fast as time.
    Rate(f64),
    /// Jumps ahead by up to so many microseconds in every control cycle.
    Garbage(f64),
    /// Stands still in every other half period of so many microseconds.
    Intermittent(u64),
}

#[derive(Debug, Clone)]
pub(super) struct Clock {
    pub(super) base_us: u64,
    pub(super) device_base_us: u64,
    pub(super) fault: ClockFault,
    pub(super) jumps: Stream,
}

impl Clock {
    pub(super) fn at(&self, now_us: u64) -> u64 {
        let passed = now_us - self.base_us;
        self.device_base_us
            + match self.fault {
                ClockFault::Rate(rate) => (passed as f64 * rate) as u64,
                ClockFault::Garbage(_) => passed,
                ClockFault::Intermittent(half_us) => {
                    let ran =
                        |at: u64| at / (2 * half_us) * half_us + (at % (2 * half_us)).min(half_us);
                    ran(now_us) - ran(self.base_us)
                }
            }
    }

    pub(super) fn set(&mut self, now_us: u64, fault: ClockFault) {
        self.device_base_us = self.at(now_us);
        self.base_us = now_us;
        self.fault = fault;
    }
}
