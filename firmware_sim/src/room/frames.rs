//! The memory of the imager: the last frames, and the stored floods.

use crate::imager::mode::Mode;
use crate::imager::{self, Exposure, FLOOD, FLOOD_OFFSET, FRAMES_KEPT, FrameRecord, FrameStore};
use crate::wire::message::Technique;
use crate::xray::panel::{FLOOD_TECHNIQUE, flood_technique};
use crate::xray::{Frame, Scene};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Debug, Clone)]
struct Stored {
    record: FrameRecord,
    octets: Vec<u8>,
}

/// Tube voltage (tenths of a kV), binning and mode of the panel: what a stored flood is of.
type FloodKey = (u16, u8, u8);

/// Floods kept at once: six voltages of three binnings.
const FLOODS_KEPT: usize = 18;

/// Frames in the imager. The floods of a voltage and a binning are made when they are first asked for, unless they were made before.
#[derive(Debug, Default)]
pub struct Frames {
    kept: VecDeque<Stored>,
    floods: Arc<Floods>,
    scene: OnceLock<Arc<Scene>>,
    /// Floods are made beside the room, when a technique is set; until then there are none.
    beside: bool,
}

/// Floods by what they are of; `None` while they are being made.
type Floods = Mutex<BTreeMap<FloodKey, Option<Arc<[Stored; 2]>>>>;

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

    /// The same with the floods of all binnings at 80 kVp made now, and others beside the room: in real time nobody may wait for a flood while
    /// telemetry and leases are due.
    pub fn with_floods(scene: &Arc<Scene>) -> Self {
        let mut frames = Self::of(scene);
        for binning in [1, 2, 4] {
            frames.floods(
                &Technique {
                    binning,
                    ..FLOOD_TECHNIQUE
                },
                Mode::Radiographic,
            );
        }
        frames.beside = true;
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

    /// Octets of the newest frame, if it has so many.
    pub fn newest(&self, len: usize) -> Option<&[u8]> {
        let octets = &self.kept.back()?.octets;
        (octets.len() == len).then_some(octets.as_slice())
    }

    fn kept(&self, frame: u32) -> Option<&Stored> {
        self.kept
            .iter()
            .find(|stored| stored.record.exposure.frame == frame)
    }

    /// Flood and its offset for a technique.
    fn floods(&self, technique: &Technique, mode: Mode) -> Option<Arc<[Stored; 2]>> {
        let scene = self.scene.get()?;
        if !matches!(technique.binning, 1 | 2 | 4) {
            return None;
        }
        let key = (technique.kvp_tenth, technique.binning, mode.code());
        {
            let mut floods = locked(&self.floods);
            if let Some(found) = floods.get(&key) {
                return found.clone();
            }
            if floods.len() >= FLOODS_KEPT {
                floods.clear();
            }
            floods.insert(key, None);
        }
        let (scene, technique) = (Arc::clone(scene), flood_technique(technique, mode));
        let floods = Arc::clone(&self.floods);
        let make = move || {
            let made = Arc::new(make_floods(&scene, &technique, mode));
            locked(&floods).insert(key, Some(Arc::clone(&made)));
            made
        };
        if self.beside {
            rayon::spawn(move || drop(make()));
            return None;
        }
        Some(make())
    }
}

fn locked(floods: &Floods) -> MutexGuard<'_, BTreeMap<FloodKey, Option<Arc<[Stored; 2]>>>> {
    floods.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make_floods(scene: &Scene, technique: &Technique, mode: Mode) -> [Stored; 2] {
    let binning = usize::from(technique.binning);
    let (rows, cols) = (
        usize::from(imager::PANEL_ROWS) / binning,
        usize::from(imager::PANEL_COLS) / binning,
    );
    let exposure = |frame, kind| Exposure {
        frame,
        kind,
        technique: *technique,
        begin_us: 0,
        end_us: 0,
        gantry_udeg: 0,
        source_angle_udeg: imager::source_angle_udeg(0),
        source_arm_um: imager::SOURCE_TRAVEL_UM as i32,
        panel_arm_um: imager::PANEL_TRAVEL_UM as i32,
        dose_area: 0,
        mode,
        period_us: 0,
    };
    let panel = &scene.panel;
    [
        stored(exposure(FLOOD, 0), rows, cols, panel.flood(technique, mode)),
        stored(
            exposure(FLOOD_OFFSET, 1),
            rows,
            cols,
            panel.flood_offset(technique, mode),
        ),
    ]
}

fn one_of([flood, offset]: &[Stored; 2], frame: u32) -> Option<&Stored> {
    match frame {
        FLOOD => Some(flood),
        FLOOD_OFFSET => Some(offset),
        _ => None,
    }
}

fn copied(stored: &Stored, offset: u32, into: &mut [u8]) -> usize {
    let rest = stored.octets.get(offset as usize..).unwrap_or_default();
    let count = rest.len().min(into.len());
    for (to, from) in into.iter_mut().zip(rest) {
        *to = *from;
    }
    count
}

impl FrameStore for Frames {
    fn record(&self, frame: u32, technique: &Technique, mode: Mode) -> Option<FrameRecord> {
        if frame < FLOOD {
            return self.kept(frame).map(|stored| stored.record);
        }
        one_of(&*self.floods(technique, mode)?, frame).map(|stored| stored.record)
    }

    fn read(
        &self,
        frame: u32,
        technique: &Technique,
        mode: Mode,
        offset: u32,
        into: &mut [u8],
    ) -> usize {
        if frame < FLOOD {
            return self
                .kept(frame)
                .map_or(0, |stored| copied(stored, offset, into));
        }
        self.floods(technique, mode).map_or(0, |floods| {
            one_of(&floods, frame).map_or(0, |stored| copied(stored, offset, into))
        })
    }

    fn technique_set(&self, technique: &Technique, mode: Mode) {
        if self.beside {
            self.floods(technique, mode);
        }
    }
}
