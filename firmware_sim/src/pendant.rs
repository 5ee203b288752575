//! The firmware of the hand pendant: it reports what hands do. The enable itself reaches the couch by wire (docs/protocol.md section 8).

use crate::couch::enable::{Contacts, DISCREPANCY_US};
use crate::line::{Context, Device, Identity, Line, Obey, Sink};
use crate::random::Stream;
use crate::refusal::Refusal;
use crate::refuse;
use crate::station::Station;
use crate::wire::message::{Command, reply};
use crate::wire::octets::Writer;

/// Device kind on the wire.
pub const DEVICE: u8 = 3;
/// A key held longer than this is stuck: nobody jogs for two minutes.
const STUCK_US: u64 = 120_000_000;

/// Bits of `faults` of PENDANT_STATUS.
pub mod fault {
    #![allow(
        missing_docs,
        reason = "the names are those of docs/protocol.md section 8"
    )]
    pub const CONTACTS_DISAGREE: u32 = 1;
    pub const KEY_STUCK: u32 = 1 << 1;
    pub const SUPPLY: u32 = 1 << 2;
}

/// What hands do to the pendant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keys {
    /// Contacts of the three-position switch.
    pub enable: Contacts,
    /// E-stop pressed.
    pub estop: bool,
    /// Two bits an axis: plus, minus.
    pub jog: u16,
    /// The supply is out of range.
    pub supply_fault: bool,
}

/// Everything of the pendant but its line.
#[derive(Debug, Default)]
pub struct Core {
    keys: Keys,
    faults: u32,
    press_count: u16,
    differ_since_us: Option<u64>,
    held_since_us: Option<u64>,
    was_released: bool,
    was_enabled: bool,
}

/// The pendant: its line and its core.
pub type Pendant = Station<Core>;

impl Pendant {
    /// A pendant at power-up.
    pub fn new(seed: u64, now_us: u64) -> Self {
        Self {
            line: Line::new(DEVICE, Stream::new(seed, "pendant.session"), now_us),
            core: Core::default(),
        }
    }

    /// One control cycle.
    pub fn tick(&mut self, now_us: u64, keys: &Keys, sink: &mut impl Sink) {
        self.core.sample(now_us, keys);
        self.line.tick(now_us, &self.core, sink);
    }

    /// Nothing happens in a tick before telemetry is due while the keys stay as they are, or before a held one counts as stuck.
    #[inline]
    pub fn quiet_until_us(&self) -> u64 {
        let core = &self.core;
        if core.differ_since_us.is_some() || !core.was_released {
            return 0;
        }
        let stuck_us = core
            .held_since_us
            .map_or(u64::MAX, |since| since + STUCK_US);
        self.line.due_us().min(stuck_us)
    }
}

impl Core {
    fn sample(&mut self, now_us: u64, keys: &Keys) {
        self.keys = *keys;
        let enabled = keys.enable.a && keys.enable.b && !keys.enable.squeezed;
        if enabled && !self.was_enabled {
            self.press_count = self.press_count.wrapping_add(1);
        }
        self.was_enabled = enabled;
        let differ = keys.enable.a != keys.enable.b;
        self.differ_since_us = if differ {
            self.differ_since_us.or(Some(now_us))
        } else {
            None
        };
        if self
            .differ_since_us
            .is_some_and(|since| now_us - since > DISCREPANCY_US)
        {
            self.faults |= fault::CONTACTS_DISAGREE;
        }
        let held = keys.jog != 0 || keys.enable.a || keys.enable.b || keys.enable.squeezed;
        self.held_since_us = if held {
            self.held_since_us.or(Some(now_us))
        } else {
            None
        };
        self.was_released |= !held;
        // Held since power-up, or for longer than anybody holds a key.
        if held && !self.was_released
            || self
                .held_since_us
                .is_some_and(|since| now_us - since > STUCK_US)
        {
            self.faults |= fault::KEY_STUCK;
        }
        if keys.supply_fault {
            self.faults |= fault::SUPPLY;
        }
    }

    fn position(&self) -> u8 {
        match self.keys.enable {
            Contacts { squeezed: true, .. } => 2,
            Contacts {
                a: true, b: true, ..
            } => 1,
            _ => 0,
        }
    }
}

impl Device for Core {
    fn identity(&self) -> Identity {
        Identity::without_axes(DEVICE)
    }

    fn stop(&mut self, _now_us: u64) -> u8 {
        0
    }

    fn session_ended(&mut self, _now_us: u64) {}

    fn status(&self, context: &Context, body: &mut Writer<'_>) -> u8 {
        let contacts = u8::from(self.keys.enable.a) | u8::from(self.keys.enable.b) << 1;
        body.u64(context.now_us)
            .u8(self.position())
            .u8(contacts)
            .u16(0)
            .u32(u32::from(self.keys.estop))
            .u32(self.faults);
        body.u16(self.keys.jog).u16(self.press_count);
        reply::PENDANT_STATUS
    }

    fn faults(&self) -> u32 {
        self.faults
    }
}

impl Obey<()> for Core {
    fn obey(
        &mut self,
        _context: &Context,
        command: &Command<'_>,
        _memory: &(),
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        match command {
            Command::FaultReset { faults } => {
                let held = self.held_since_us.is_some();
                let still = if self.differ_since_us.is_some() {
                    fault::CONTACTS_DISAGREE
                } else {
                    0
                } | if held { fault::KEY_STUCK } else { 0 }
                    | if self.keys.supply_fault {
                        fault::SUPPLY
                    } else {
                        0
                    };
                self.faults &= !faults | still;
                body.u32(self.faults);
                Ok(reply::FAULT_RESET)
            }
            _ => refuse!(
                NotSupported,
                "a pendant does not do this; it reports and obeys nothing else"
            ),
        }
    }
}
