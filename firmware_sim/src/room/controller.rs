//! The couch's controller: one of two, by the dialect of its line.

use crate::couch::{Config, Couch, State, StopCause, Wires};
use crate::gcs::Gcs;
use crate::line::Counters;
use crate::plant::{Drive, Sensors};

/// What the couch's line speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// CLP/1 (docs/protocol.md).
    #[default]
    Clp1,
    /// General Command Set 2.0 (docs/gcs.md); for a hexapod.
    Gcs,
}

/// A controller with power.
#[derive(Debug)]
#[allow(missing_docs, reason = "each is named for its dialect")]
pub enum Controller {
    Clp1(Box<Couch>),
    Gcs(Box<Gcs>),
}

impl Controller {
    /// A controller at power-up.
    pub fn new(
        dialect: Dialect,
        config: &Config,
        sensors: &Sensors,
        seed: u64,
        now_us: u64,
    ) -> Self {
        match dialect {
            Dialect::Clp1 => Self::Clp1(Box::new(Couch::new(config, sensors, seed, now_us))),
            Dialect::Gcs => Self::Gcs(Box::new(Gcs::new(config, sensors))),
        }
    }

    /// Octets from the host.
    pub fn receive(&mut self, now_us: u64, octets: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Clp1(couch) => couch.receive(now_us, octets, &(), out),
            Self::Gcs(gcs) => gcs.receive(now_us, octets, out),
        }
    }

    /// A BREAK on the line. GCS knows none.
    pub fn line_break(&mut self, now_us: u64) {
        if let Self::Clp1(couch) = self {
            couch.line_break(now_us);
        }
    }

    /// One control cycle.
    pub fn tick(
        &mut self,
        now_us: u64,
        wires: &Wires,
        sensors: &Sensors,
        out: &mut Vec<u8>,
    ) -> Drive {
        match self {
            Self::Clp1(couch) => couch.tick(now_us, wires, sensors, out),
            Self::Gcs(gcs) => gcs.tick(now_us, wires, sensors),
        }
    }

    /// At rest with all brakes engaged.
    pub fn at_rest(&self) -> bool {
        match self {
            Self::Clp1(couch) => couch.at_rest(),
            Self::Gcs(gcs) => gcs.at_rest(),
        }
    }

    /// Beam gate energised; a GCS controller has none, so that the beam is held.
    pub fn beam_gate(&self) -> bool {
        match self {
            Self::Clp1(couch) => couch.beam_gate(),
            Self::Gcs(_) => false,
        }
    }

    /// State in the words of CLP/1.
    pub fn state(&self) -> State {
        match self {
            Self::Clp1(couch) => couch.state(),
            Self::Gcs(gcs) => gcs.state(),
        }
    }

    /// CiA 402 state of the drives; a GCS controller tells of none, and shows what its servo does.
    pub fn drive_state(&self) -> u8 {
        const SWITCHED_ON: u8 = 3;
        const OPERATION_ENABLED: u8 = 4;
        match self {
            Self::Clp1(couch) => couch.drive_state(),
            Self::Gcs(gcs) if gcs.at_rest() => SWITCHED_ON,
            Self::Gcs(_) => OPERATION_ENABLED,
        }
    }

    /// Latched faults in the bits of CLP/1.
    pub fn faults(&self) -> u32 {
        match self {
            Self::Clp1(couch) => couch.faults(),
            Self::Gcs(gcs) => gcs.faults(),
        }
    }

    /// Why it last stopped.
    pub fn stop_cause(&self) -> StopCause {
        match self {
            Self::Clp1(couch) => couch.stop_cause(),
            Self::Gcs(gcs) => gcs.stop_cause(),
        }
    }

    /// STOP epoch; GCS has none.
    pub fn epoch(&self) -> u16 {
        match self {
            Self::Clp1(couch) => couch.epoch(),
            Self::Gcs(_) => 0,
        }
    }

    /// Counters of the line.
    pub fn counters(&self) -> Counters {
        match self {
            Self::Clp1(couch) => couch.counters(),
            Self::Gcs(gcs) => gcs.counters(),
        }
    }
}
