//! A wire that says yes or no (a limit switch, a touch-guard, a contact of the enable), and how it fails.

use crate::random::Stream;

/// A fault of a contact, in PX4's words. `slow` is none of them: between its two states a contact has no speed, only a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContactFault {
    /// Works.
    #[default]
    None,
    /// Never closes.
    Off,
    /// Always closed.
    Stuck,
    /// Says the opposite.
    Wrong,
    /// Chatters: closed or open at random in every millisecond.
    Garbage,
    /// Follows so many microseconds late; what is shorter than that is not seen.
    Delayed(u64),
    /// Open in every other half period of so many microseconds.
    Intermittent(u64),
}

/// A contact with its fault and what the fault has to remember.
#[derive(Debug, Clone)]
pub struct Contact {
    fault: ContactFault,
    shown: Option<bool>,
    differs_since_us: Option<u64>,
    chatter: Stream,
}

impl Contact {
    /// A contact that works; `name` names its own randomness.
    pub fn new(seed: u64, name: &str) -> Self {
        Self {
            fault: ContactFault::None,
            shown: None,
            differs_since_us: None,
            chatter: Stream::new(seed, name),
        }
    }

    /// Replaces the fault.
    pub fn set(&mut self, fault: ContactFault) {
        self.fault = fault;
        self.shown = None;
        self.differs_since_us = None;
    }

    /// Whether it has no fault.
    pub fn works(&self) -> bool {
        self.fault == ContactFault::None
    }

    /// What comes through of a contact that is `closed`; once a millisecond.
    #[inline]
    pub fn applied(&mut self, closed: bool, now_us: u64) -> bool {
        if self.fault == ContactFault::None {
            closed
        } else {
            self.faulty(closed, now_us)
        }
    }

    #[cold]
    fn faulty(&mut self, closed: bool, now_us: u64) -> bool {
        match self.fault {
            ContactFault::None => closed,
            ContactFault::Off => false,
            ContactFault::Stuck => true,
            ContactFault::Wrong => !closed,
            ContactFault::Garbage => self.chatter.bits() >> 63 == 1,
            ContactFault::Delayed(late_us) => self.delayed(closed, now_us, late_us),
            ContactFault::Intermittent(half_us) => closed && first_half(now_us, half_us),
        }
    }

    fn delayed(&mut self, closed: bool, now_us: u64, late_us: u64) -> bool {
        let shown = *self.shown.get_or_insert(closed);
        if shown == closed {
            self.differs_since_us = None;
            return shown;
        }
        let since = *self.differs_since_us.get_or_insert(now_us);
        if now_us - since < late_us {
            return shown;
        }
        self.shown = Some(closed);
        self.differs_since_us = None;
        closed
    }
}

/// What is intermittent works in the first of every two half periods.
#[inline]
pub fn first_half(now_us: u64, half_us: u64) -> bool {
    (now_us / half_us.max(1)).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fault: ContactFault, closed: impl Fn(u64) -> bool) -> Vec<bool> {
        let mut contact = Contact::new(1, "test");
        contact.set(fault);
        (0..20)
            .map(|k| contact.applied(closed(k), k * 1000))
            .collect()
    }

    #[test]
    fn every_fault_of_a_contact_shows_what_it_says() {
        let pressed = |k: u64| k >= 10;
        let count = |fault| {
            shown(fault, pressed)
                .iter()
                .filter(|closed| **closed)
                .count()
        };
        assert_eq!(count(ContactFault::None), 10);
        assert_eq!(count(ContactFault::Off), 0);
        assert_eq!(count(ContactFault::Stuck), 20);
        assert_eq!(
            shown(ContactFault::Wrong, pressed),
            shown(ContactFault::None, |k| k < 10)
        );
        assert_eq!(
            shown(ContactFault::Delayed(4000), pressed),
            shown(ContactFault::None, |k| k >= 14)
        );
        assert_eq!(
            shown(ContactFault::Intermittent(5000), pressed),
            shown(ContactFault::None, |k| (10..15).contains(&k))
        );
        assert!((3..18).contains(&count(ContactFault::Garbage)));
    }

    #[test]
    fn a_delayed_contact_does_not_see_what_is_shorter_than_its_delay() {
        let seen = shown(ContactFault::Delayed(4000), |k| (5..8).contains(&k));
        assert!(seen.iter().all(|closed| !closed));
    }
}
