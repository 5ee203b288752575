//! The memory of the imager: the last frames, and the stored floods.

use crate::imager::{self, Exposure, FLOOD, FLOOD_OFFSET, FRAMES_KEPT, FrameRecord, FrameStore};
use crate::wire::message::Technique;
use crate::xray::panel::FLOOD_TECHNIQUE;
use crate::xray::{Frame, Scene};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

#[derive(Debug, Clone)]
struct Stored {
    record: FrameRecord,
    octets: Vec<u8>,
}

/// Frames in the imager. The floods of a binning are made when they are first asked for, unless they were made before.
#[derive(Debug, Default)]
pub struct Frames {
    kept: VecDeque<Stored>,
    floods: [OnceLock<[Stored; 2]>; 3],
    scene: OnceLock<Arc<Scene>>,
}

fn stored(exposure: Exposure, rows: usize, cols: usize, octets: Vec<u8>) -> Stored {
    let sha256 = Sha256::digest(&octets).into();
    Stored {
        record: FrameRecord {
            exposure,
            rows: rows as u16,
            cols: cols as u16,
            sha256,
        },
        octets,
    }
}

impl Frames {
    /// The panel whose floods are stored.
    pub fn of(scene: &Arc<Scene>) -> Self {
        let frames = Self::default();
        let _ = frames.scene.set(Arc::clone(scene));
        frames
    }

    /// The same with the floods of all binnings made now.
    pub fn with_floods(scene: &Arc<Scene>) -> Self {
        let frames = Self::of(scene);
        for binning in [1, 2, 4] {
            frames.find(FLOOD, binning);
        }
        frames
    }

    /// Keeps a frame and drops the oldest beyond the limit.
    pub fn store(&mut self, exposure: Exposure, frame: Frame) {
        if self.kept.len() >= FRAMES_KEPT as usize {
            self.kept.pop_front();
        }
        self.kept
            .push_back(stored(exposure, frame.rows, frame.cols, frame.octets));
    }

    fn find(&self, frame: u32, binning: u8) -> Option<&Stored> {
        if frame < FLOOD {
            return self
                .kept
                .iter()
                .find(|stored| stored.record.exposure.frame == frame);
        }
        let slot = match binning {
            1 => 0,
            2 => 1,
            4 => 2,
            _ => return None,
        };
        let scene = self.scene.get()?;
        let [flood, offset] = self.floods.get(slot)?.get_or_init(|| {
            let (rows, cols) = (
                usize::from(imager::PANEL_ROWS) / usize::from(binning),
                usize::from(imager::PANEL_COLS) / usize::from(binning),
            );
            let exposure = |frame, kind| Exposure {
                frame,
                kind,
                technique: Technique {
                    binning,
                    ..FLOOD_TECHNIQUE
                },
                begin_us: 0,
                end_us: 0,
                gantry_udeg: 0,
                source_angle_udeg: imager::source_angle_udeg(0),
                source_arm_um: imager::SOURCE_TRAVEL_UM as i32,
                panel_arm_um: imager::PANEL_TRAVEL_UM as i32,
                dose_area: 0,
            };
            [
                stored(exposure(FLOOD, 0), rows, cols, scene.panel.flood(binning)),
                stored(
                    exposure(FLOOD_OFFSET, 1),
                    rows,
                    cols,
                    scene.panel.flood_offset(binning),
                ),
            ]
        });
        match frame {
            FLOOD => Some(flood),
            FLOOD_OFFSET => Some(offset),
            _ => None,
        }
    }
}

impl FrameStore for Frames {
    fn record(&self, frame: u32, binning: u8) -> Option<FrameRecord> {
        self.find(frame, binning).map(|stored| stored.record)
    }

    fn read(&self, frame: u32, binning: u8, offset: u32, into: &mut [u8]) -> usize {
        let Some(rest) = self
            .find(frame, binning)
            .and_then(|stored| stored.octets.get(offset as usize..))
        else {
            return 0;
        };
        let count = rest.len().min(into.len());
        for (to, from) in into.iter_mut().zip(rest) {
            *to = *from;
        }
        count
    }
}
