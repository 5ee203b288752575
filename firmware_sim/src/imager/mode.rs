//! How the panel is read: its modes, their read-out, the frames on their way out of it, and the memory that a late host loses frames from.

use crate::imager::{Exposure, FRAMES_KEPT};
use heapless::Deque;

/// A mode of the panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// One frame an exposure, any binning, the full charge of a pixel.
    #[default]
    Radiographic,
    /// Frames at a rate, one for each pulse, binned, with the small charge range and the high gain.
    Fluoroscopic,
}

/// How long the panel needs to settle after its mode has changed.
pub const SETTLING_US: u64 = 500_000;
/// Period of frames in fluoroscopic mode.
pub const PERIOD_US: (u32, u32) = (33_333, 1_000_000);
/// Between the end of a read-out and the next pulse at least: the generator's start and the controller's cycles.
pub const GAP_US: u32 = 3_000;
/// Longest series.
pub const SERIES_US_MAX: u64 = 60_000_000;
/// Frames that may be on their way out of the panel at once; one more is dropped.
pub const ON_THEIR_WAY: usize = 8;
/// Longest wait for the panel's frame.
const READ_OUT_MAX_US: u64 = 20_000_000;

impl Mode {
    /// Its number on the wire; 0 is a panel without power.
    pub fn code(self) -> u8 {
        match self {
            Self::Radiographic => 1,
            Self::Fluoroscopic => 2,
        }
    }

    /// From the end of an exposure to its frame.
    pub fn read_out_us(self, binning: u8) -> u64 {
        match (self, binning) {
            (Self::Radiographic, _) => 250_000,
            (Self::Fluoroscopic, 4) => 18_000,
            (Self::Fluoroscopic, _) => 36_000,
        }
    }
}

/// A series of pulses under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Series {
    /// Pulses that are still to be given, the one under way not counted.
    pub left: u16,
    /// When the next one is due.
    pub next_us: u64,
    /// From pulse to pulse.
    pub period_us: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Leaving {
    frame: u32,
    earliest_us: u64,
    delivered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kept {
    frame: u32,
    of_series: bool,
    read: bool,
}

/// Frames between the panel and the host.
#[derive(Debug, Default)]
pub struct FramesOut {
    leaving: Deque<Leaving, ON_THEIR_WAY>,
    kept: Deque<Kept, { FRAMES_KEPT as usize }>,
    /// Frames of the series (under way, or last) that no host can have any more, or ever could.
    pub dropped: u32,
}

impl FramesOut {
    /// Nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.leaving.is_empty()
    }

    /// An exposure has ended and is read out; `false` where there is no room for its frame, which is dropped.
    pub fn begin(&mut self, exposure: &Exposure, earliest_us: u64) -> bool {
        let leaving = Leaving {
            frame: exposure.frame,
            earliest_us,
            delivered: false,
        };
        let room = self.leaving.push_back(leaving).is_ok();
        self.dropped += u32::from(!room);
        room
    }

    /// The panel has given a frame to the memory, which forgets its oldest: of a series and unread, that one is dropped.
    pub fn delivered(&mut self, frame: u32, of_series: bool) {
        // The memory has it even where the panel came so late that nobody waits for it any more.
        if let Some(found) = self
            .leaving
            .iter_mut()
            .find(|leaving| leaving.frame == frame)
        {
            found.delivered = true;
        }
        if self.kept.is_full()
            && let Some(oldest) = self.kept.pop_front()
        {
            self.dropped += u32::from(oldest.of_series && !oldest.read);
        }
        let _ = self.kept.push_back(Kept {
            frame,
            of_series,
            read: false,
        });
    }

    /// The host has read a frame to its end.
    pub fn read(&mut self, frame: u32) {
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.frame == frame) {
            kept.read = true;
        }
    }

    /// A new series begins: what an earlier one left is no longer counted.
    pub fn count_anew(&mut self) {
        self.dropped = 0;
        for kept in &mut self.kept {
            kept.of_series = false;
        }
    }

    /// The frame that shows from now on, if one does.
    pub fn shown(&mut self, now_us: u64) -> Option<u32> {
        let first = self.leaving.front()?;
        if !first.delivered || now_us < first.earliest_us {
            return None;
        }
        self.leaving.pop_front().map(|leaving| leaving.frame)
    }

    /// Whether the panel owes a frame for so long that it will not come; it is forgotten.
    pub fn overdue(&mut self, now_us: u64) -> bool {
        let late = self
            .leaving
            .front()
            .is_some_and(|first| now_us > first.earliest_us + READ_OUT_MAX_US);
        if late {
            self.leaving.clear();
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Technique;

    fn exposure(frame: u32) -> Exposure {
        Exposure {
            frame,
            kind: 0,
            technique: Technique {
                kvp_tenth: 800,
                filter: 0,
                binning: 2,
                ma_tenth: 200,
                time_us: 10_000,
                field_um: [-1, 1, -1, 1],
            },
            begin_us: 0,
            end_us: 0,
            gantry_udeg: 0,
            source_angle_udeg: 0,
            source_arm_um: 0,
            panel_arm_um: 0,
            dose_area: 0,
            mode: Mode::Fluoroscopic,
            period_us: 66_667,
        }
    }

    fn through(out: &mut FramesOut, frames: core::ops::RangeInclusive<u32>) {
        for frame in frames {
            assert!(out.begin(&exposure(frame), 0));
            out.delivered(frame, true);
            assert_eq!(out.shown(1), Some(frame));
        }
    }

    #[test]
    fn frames_that_the_memory_forgets_unread_are_counted_and_read_ones_are_not() {
        let mut out = FramesOut::default();
        through(&mut out, 1..=8);
        assert_eq!(out.dropped, 0);
        out.read(1);
        through(&mut out, 9..=11);
        assert_eq!(out.dropped, 2, "1 was read, 2 and 3 were not");
        out.count_anew();
        through(&mut out, 12..=19);
        assert_eq!(
            out.dropped, 0,
            "frames of the series before are not of this one"
        );
    }

    #[test]
    fn a_frame_for_which_there_is_no_room_is_dropped_and_frames_show_in_order() {
        let mut out = FramesOut::default();
        for frame in 1..=8 {
            assert!(out.begin(&exposure(frame), 10));
        }
        assert!(!out.begin(&exposure(9), 10));
        assert_eq!(out.dropped, 1);
        out.delivered(2, true);
        assert_eq!(out.shown(20), None, "1 comes first");
        out.delivered(1, true);
        assert_eq!(out.shown(9), None, "its read-out lasts until 10");
        assert_eq!((out.shown(10), out.shown(10)), (Some(1), Some(2)));
        assert!(!out.overdue(READ_OUT_MAX_US) && out.overdue(READ_OUT_MAX_US + 11));
        assert!(out.is_empty());
    }
}
