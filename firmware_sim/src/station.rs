//! A controller on its line: what couch, imager and pendant have alike.

use crate::line::{Counters, Device, Line, Obey, Sink};

/// A line and the core that it talks to. How each kind is made and what it does in a control cycle stands with its core.
#[derive(Debug)]
pub struct Station<C> {
    pub(crate) line: Line,
    pub(crate) core: C,
}

impl<C: Device> Station<C> {
    /// Octets from the host. `memory` is what the device reads beside itself to obey: an imager its frames, the others `()`.
    pub fn receive<M>(&mut self, now_us: u64, octets: &[u8], memory: &M, sink: &mut impl Sink)
    where
        C: Obey<M>,
    {
        self.line
            .receive(now_us, octets, &mut self.core, memory, sink);
    }

    /// UART BREAK on the line.
    pub fn line_break(&mut self, now_us: u64) {
        self.line.line_break(now_us, &mut self.core);
    }

    /// Latched faults.
    pub fn faults(&self) -> u32 {
        self.core.faults()
    }

    /// STOP epoch.
    pub fn epoch(&self) -> u16 {
        self.line.epoch()
    }

    /// Counters of the line.
    pub fn counters(&self) -> Counters {
        self.line.counters()
    }
}
