//! The enable: two contacts of a three-position switch, wired to the couch controller.
//!
//! The enable is held when ALL of: contact A closed, contact B closed, the switch is not squeezed through, no squeeze is waiting for its release.
//! A squeeze waits for its release until both contacts were open with the switch not squeezed.
//! Contacts that disagree for more than 50 ms are a fault.

/// Contacts of one switch never close in the same instant; longer than this is a broken wire.
pub const DISCREPANCY_US: u64 = 50_000;

/// Wires of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contacts {
    /// Channel A closed.
    pub a: bool,
    /// Channel B closed.
    pub b: bool,
    /// The monitoring contact of the third position: squeezed through.
    pub squeezed: bool,
}

/// What the couch knows of the enable.
#[derive(Debug, Clone, Copy, Default)]
pub struct Enable {
    held: bool,
    panic: bool,
    differ_since_us: Option<u64>,
    last_held_us: Option<u64>,
}

impl Enable {
    /// Takes the wires of one control cycle; says whether they have disagreed for too long.
    pub fn sample(&mut self, now_us: u64, contacts: Contacts) -> bool {
        if contacts.squeezed {
            self.panic = true;
        } else if !contacts.a && !contacts.b {
            self.panic = false;
        }
        self.held = contacts.a && contacts.b && !contacts.squeezed && !self.panic;
        if self.held {
            self.last_held_us = Some(now_us);
        }
        if contacts.a == contacts.b {
            self.differ_since_us = None;
        } else if self.differ_since_us.is_none() {
            self.differ_since_us = Some(now_us);
        }
        self.differ_since_us
            .is_some_and(|since| now_us - since > DISCREPANCY_US)
    }

    /// Held at the last sample.
    pub fn held(&self) -> bool {
        self.held
    }

    /// Squeezed through, and not released since.
    pub fn panic(&self) -> bool {
        self.panic
    }

    /// Both contacts agree.
    pub fn agrees(&self) -> bool {
        self.differ_since_us.is_none()
    }

    /// Milliseconds since it was last held; saturates at 65535.
    pub fn age_ms(&self, now_us: u64) -> u16 {
        self.last_held_us.map_or(u16::MAX, |at| {
            u16::try_from(now_us.saturating_sub(at) / 1000).unwrap_or(u16::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: Contacts = Contacts {
        a: true,
        b: true,
        squeezed: false,
    };
    const OPEN: Contacts = Contacts {
        a: false,
        b: false,
        squeezed: false,
    };

    #[test]
    fn a_squeeze_needs_a_release_before_the_next_enable_counts() {
        let mut enable = Enable::default();
        enable.sample(0, CLOSED);
        assert!(enable.held());
        enable.sample(
            1000,
            Contacts {
                squeezed: true,
                ..OPEN
            },
        );
        assert!(!enable.held() && enable.panic());
        enable.sample(2000, CLOSED);
        assert!(!enable.held(), "eased back to the middle: does not count");
        enable.sample(3000, OPEN);
        enable.sample(4000, CLOSED);
        assert!(enable.held());
    }

    #[test]
    fn one_contact_never_enables_and_is_a_fault_after_50_ms() {
        let mut enable = Enable::default();
        for now in (0..=50_000).step_by(1000) {
            assert!(!enable.sample(now, Contacts { b: false, ..CLOSED }));
            assert!(!enable.held());
        }
        assert!(enable.sample(51_000, Contacts { b: false, ..CLOSED }));
    }
}
