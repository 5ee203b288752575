//! REFUSED: its codes (docs/protocol.md section 10) and the sentence that goes with each.

use core::fmt::{self, Write};

/// Octets of the sentence at most.
pub const TEXT_MAX: usize = 200;

/// Why a command was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(
    missing_docs,
    reason = "the names are those of docs/protocol.md section 10"
)]
pub enum Code {
    Malformed = 1,
    NotThisSession = 2,
    TelemetryOnly = 3,
    OutOfOrder = 4,
    Late = 5,
    OldEpoch = 6,
    OutsideLimits = 7,
    Interlock = 8,
    AlreadyExecuted = 9,
    DigestDiffers = 10,
    NoSuchFrame = 11,
    NotAtStart = 12,
    Expired = 13,
    LeaseNotFresh = 14,
    FaultLatched = 15,
    WrongState = 16,
    NotSupported = 17,
}

/// A code and one sentence: what was wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// UTF-8, at most [`TEXT_MAX`] octets.
    pub text: heapless::String<TEXT_MAX>,
}

impl Refusal {
    /// A refusal with a formatted sentence; one too long is cut at the last whole character that fits.
    pub fn new(code: Code, sentence: fmt::Arguments<'_>) -> Self {
        let mut cut = Cut {
            text: heapless::String::new(),
        };
        let _ = cut.write_fmt(sentence);
        Self {
            code,
            text: cut.text,
        }
    }
}

struct Cut {
    text: heapless::String<TEXT_MAX>,
}

impl Write for Cut {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for character in part.chars() {
            self.text.push(character).map_err(|_| fmt::Error)?;
        }
        Ok(())
    }
}

/// Names of the fault bits that are set, lowest first, in one line.
pub fn fault_names(faults: u32, names: &[&str]) -> heapless::String<160> {
    let mut text = heapless::String::new();
    for (k, name) in names.iter().enumerate() {
        if faults & (1 << k) != 0 {
            let separator = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{separator}{name}");
        }
    }
    text
}

/// `refuse!(Code, "sentence {}", value)`: an `Err` of [`Refusal`].
#[macro_export]
macro_rules! refuse {
    ($code:ident, $($sentence:tt)+) => {
        Err($crate::refusal::Refusal::new($crate::refusal::Code::$code, format_args!($($sentence)+)))
    };
}
