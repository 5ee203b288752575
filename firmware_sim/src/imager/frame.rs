//! Frames: how each was exposed, where they lie, and what a host reads of them.

use super::{Core, FLOOD, FRAMES_KEPT, PITCH_NM, READ_MAX, SAD_UM, SID_UM};
use crate::imager::mode::Mode;
use crate::refusal::Refusal;
use crate::refuse;
use crate::wire::message::{Technique, reply};
use crate::wire::octets::Writer;

/// An exposure as it was made, for the world to render.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "fields are those of FRAME_INFO_REPLY")]
pub struct Exposure {
    pub frame: u32,
    /// 0 X-ray, 1 dark.
    pub kind: u8,
    pub technique: Technique,
    pub begin_us: u64,
    pub end_us: u64,
    pub gantry_udeg: i32,
    pub source_angle_udeg: i32,
    pub source_arm_um: i32,
    pub panel_arm_um: i32,
    pub dose_area: u32,
    /// How the panel is read.
    pub mode: Mode,
    /// From frame to frame in a series; 0 for a single frame.
    pub period_us: u32,
}

/// What FRAME_INFO says of a frame in the store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameRecord {
    /// How it was exposed.
    pub exposure: Exposure,
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
    /// SHA-256 over all octets.
    pub sha256: [u8; 32],
}

/// Where the frames lie; the firmware has no memory of its own for them.
pub trait FrameStore {
    /// The record of a frame; of the stored frames, that of the tube voltage and the binning of `technique` in a mode.
    fn record(&self, frame: u32, technique: &Technique, mode: Mode) -> Option<FrameRecord>;
    /// Copies octets from `offset` on, as many as fit and are there.
    fn read(
        &self,
        frame: u32,
        technique: &Technique,
        mode: Mode,
        offset: u32,
        into: &mut [u8],
    ) -> usize;
    /// A technique was set: its floods in a mode may be asked for next.
    fn technique_set(&self, _technique: &Technique, _mode: Mode) {}
}

impl Core {
    /// The record of a frame that may be read now: shown, and not yet dropped.
    fn readable(&self, frame: u32, frames: &impl FrameStore) -> Result<FrameRecord, Refusal> {
        let latest = self.latest_frame;
        let shown = frame >= FLOOD || (frame != 0 && frame <= latest);
        match frames
            .record(frame, &self.technique, self.mode)
            .filter(|_| shown)
        {
            Some(record) => Ok(record),
            None if frame >= FLOOD => refuse!(
                NoSuchFrame,
                "there is no stored frame {frame:08X}, or the floods of this technique are still being loaded; ask again"
            ),
            None => refuse!(
                NoSuchFrame,
                "frame {frame} is not kept; the latest is {latest}, and the last {FRAMES_KEPT} are kept; {} frames of the series were dropped unread",
                self.out.dropped
            ),
        }
    }

    pub(super) fn info(
        &self,
        frame: u32,
        frames: &impl FrameStore,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        let record = self.readable(frame, frames)?;
        let exposure = &record.exposure;
        let binning = exposure.technique.binning;
        let bytes = 2 * u32::from(record.rows) * u32::from(record.cols);
        body.u8(exposure.kind)
            .u8(binning)
            .u8(16)
            .u32(frame)
            .u16(record.rows)
            .u16(record.cols)
            .u32(bytes);
        body.octets(&record.sha256)
            .u64(exposure.begin_us)
            .u64(exposure.end_us)
            .u16(exposure.technique.kvp_tenth)
            .u16(exposure.technique.ma_tenth);
        body.u32(exposure.technique.mas_u())
            .i32(exposure.source_angle_udeg)
            .i32(exposure.source_arm_um)
            .i32(exposure.panel_arm_um);
        body.u32(exposure.dose_area)
            .u32(SAD_UM)
            .u32(SID_UM)
            .u32(PITCH_NM * u32::from(binning));
        let dropped = if exposure.period_us > 0 {
            self.out.dropped
        } else {
            0
        };
        body.u32(exposure.technique.time_us)
            .u8(exposure.mode.code())
            .u32(dropped);
        Ok(reply::FRAME_INFO)
    }

    pub(super) fn read_frame(
        &mut self,
        frame: u32,
        offset: u32,
        count: u16,
        frames: &impl FrameStore,
        body: &mut Writer<'_>,
    ) -> Result<u8, Refusal> {
        let record = self.readable(frame, frames)?;
        let bytes = 2 * u32::from(record.rows) * u32::from(record.cols);
        if count == 0 || count > READ_MAX || offset >= bytes || u32::from(count) > bytes - offset {
            return refuse!(
                Malformed,
                "FRAME_READ: {count} octets from {offset} on are not within 1 to {READ_MAX} of the {bytes} of frame {frame}"
            );
        }
        body.u8(0).u16(count).u32(frame).u32(offset);
        let read = body.fill(usize::from(count), |place| {
            frames.read(frame, &self.technique, self.mode, offset, place)
        });
        if read != usize::from(count) {
            return refuse!(
                NoSuchFrame,
                "frame {frame} could not be read at {offset}; read its FRAME_INFO again"
            );
        }
        if offset + u32::from(count) == bytes {
            self.out.read(frame);
        }
        Ok(reply::FRAME_READ)
    }
}
