//! What a panel keeps of earlier frames: charge that comes late (lag) and a sensitivity that has changed (ghosting).
//!
//! Charge is released as a sum of exponentials. The amplitudes make 0.41 % in the first and 0.054 % in the 25th frame at 15 frames a second, as
//! Colbeth (2005) printed for a 4030CB panel; the slowest part, the afterglow of caesium iodide and deep traps, is an assumption of its order of
//! magnitude, and so is the ghosting of 0.4 % at full scale. An exposure that was broken off leaves nothing: that is not modelled.

use crate::imager::{PANEL_COLS, PANEL_ROWS};
use rayon::prelude::*;

const ROWS: usize = PANEL_ROWS as usize / 2;
const COLS: usize = PANEL_COLS as usize / 2;
/// Share of the charge released per frame, and seconds in which it falls to 1/e.
const RELEASE: [(f64, f64); 3] = [(0.0038, 0.3), (0.0011, 2.2), (0.0001, 60.0)];
/// Rise of the sensitivity where full scale has fallen, fading as the slowest release.
const GHOST: f64 = 0.004;
const FULL_SCALE: f32 = 65_535.0;

/// Charge that earlier frames have left, in counts, on a grid of 2 x 2 native pixels.
#[derive(Debug, Default)]
pub struct Residue {
    at_us: u64,
    planes: [Vec<f32>; 3],
}

/// What a residue gives to a frame that is read at one instant.
#[derive(Debug)]
pub struct Late<'a> {
    residue: &'a Residue,
    shares: [f32; 3],
    ghost: f32,
}

fn faded(from_us: u64, to_us: u64) -> [f32; 3] {
    let seconds = to_us.saturating_sub(from_us) as f64 * 1e-6;
    RELEASE.map(|(_, fall_s)| libm::exp(-seconds / fall_s) as f32)
}

impl Residue {
    /// What comes late into a frame read at `now_us`; `None` where nothing is left or the effect is switched off.
    pub fn late(&self, now_us: u64, strength: f64) -> Option<Late<'_>> {
        if strength == 0.0 || self.planes.iter().all(Vec::is_empty) {
            return None;
        }
        let faded = faded(self.at_us, now_us);
        let [a, b, c] = RELEASE.map(|(share, _)| (share * strength) as f32);
        let [fa, fb, fc] = faded;
        Some(Late {
            residue: self,
            shares: [a * fa, b * fb, c * fc],
            ghost: (GHOST * strength) as f32 * fc / FULL_SCALE,
        })
    }

    /// What is left after one more frame whose pixels caught `charge` (counts, row-major, binned).
    pub fn after(&self, charge: &[f32], binning: usize, now_us: u64) -> Self {
        let fade = faded(self.at_us, now_us);
        let mut planes: [Vec<f32>; 3] = Default::default();
        let caught = on_grid(charge, binning);
        for ((plane, old), fade) in planes.iter_mut().zip(&self.planes).zip(fade) {
            *plane = caught
                .par_iter()
                .enumerate()
                .map(|(k, caught)| caught + fade * old.get(k).copied().unwrap_or(0.0))
                .collect();
        }
        Self {
            at_us: now_us,
            planes,
        }
    }
}

/// A binned image on the grid of the residue.
fn on_grid(charge: &[f32], binning: usize) -> Vec<f32> {
    let at = |row: usize, col: usize, cols: usize| {
        charge
            .get(row * cols + col)
            .copied()
            .unwrap_or(0.0)
            .min(FULL_SCALE)
    };
    (0..ROWS * COLS)
        .into_par_iter()
        .map(|k| {
            let (row, col) = (k / COLS, k % COLS);
            match binning {
                1 => {
                    let (r, c, cols) = (2 * row, 2 * col, 2 * COLS);
                    let four = at(r, c, cols)
                        + at(r, c + 1, cols)
                        + at(r + 1, c, cols)
                        + at(r + 1, c + 1, cols);
                    four / 4.0
                }
                2 => at(row, col, COLS),
                _ => at(row / 2, col / 2, COLS / 2),
            }
        })
        .collect()
}

impl Late<'_> {
    /// Late counts of a binned pixel, and the factor on its sensitivity.
    pub fn of(&self, row: usize, col: usize, binning: usize) -> (f64, f64) {
        let (row, col) = match binning {
            1 => (row / 2, col / 2),
            2 => (row, col),
            _ => (2 * row, 2 * col),
        };
        let mut counts = 0.0;
        for (plane, share) in self.residue.planes.iter().zip(self.shares) {
            counts += share * plane.get(row * COLS + col).copied().unwrap_or(0.0);
        }
        let [_, _, slow] = &self.residue.planes;
        let ghost = self.ghost * slow.get(row * COLS + col).copied().unwrap_or(0.0);
        (f64::from(counts), 1.0 + f64::from(ghost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_that_of_the_published_panel_in_its_first_and_25th_frame() {
        let exposed = Residue::default().after(&vec![10_000.0; ROWS * COLS], 2, 1_000_000);
        let share = |frame: f64| {
            let late_us = 1_000_000 + (frame / 15.0 * 1e6) as u64;
            let (counts, sensitivity) = exposed.late(late_us, 1.0).unwrap().of(100, 100, 2);
            assert!(sensitivity > 1.0 && sensitivity < 1.001);
            counts / 10_000.0
        };
        assert!((share(1.0) - 0.0041).abs() < 0.0002, "{}", share(1.0));
        assert!((share(25.0) - 0.00054).abs() < 0.0001, "{}", share(25.0));
    }

    #[test]
    fn residue_lies_where_the_charge_fell_whatever_the_binning() {
        for (binning, rows, cols) in [(1, 768, 1024), (2, 384, 512), (4, 192, 256)] {
            let mut charge = vec![0.0; rows * cols];
            let (row, col) = (64 / binning, 512 / binning);
            for i in 0..4 / binning {
                for j in 0..4 / binning {
                    charge[(row + i) * cols + col + j] = 8000.0;
                }
            }
            let residue = Residue::default().after(&charge, binning, 0);
            let late = residue.late(1, 1.0).unwrap();
            for read in [1, 2, 4] {
                assert!(late.of(64 / read, 512 / read, read).0 > 30.0);
                assert_eq!(late.of(64 / read + 4, 512 / read, read).0, 0.0);
            }
        }
    }
}
