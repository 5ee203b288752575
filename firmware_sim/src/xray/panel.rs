//! The flat panel: quantum and electronic noise, pixel gains, offsets, dead pixels, saturation, and its stored flood.

use crate::imager::mode::Mode;
use crate::imager::{Exposure, PANEL_COLS, PANEL_ROWS, PITCH_NM};
use crate::random::Stream;
use crate::wire::message::Technique;
use crate::xray::grid;
use crate::xray::lag::{Late, Residue};
use crate::xray::physics::Physics;
use rayon::prelude::*;
use std::sync::OnceLock;

const COLS: usize = PANEL_COLS as usize;
const ROWS: usize = PANEL_ROWS as usize;
const PITCH_MM: f64 = PITCH_NM as f64 * 1e-6;

/// Photons detected by an unbinned pixel of the open field for 1 mAs at 80 kVp and 1500 mm.
const PHOTONS_PER_MAS: f64 = 5e4;
/// Photons of one count: an open field of 10 mAs is near saturation.
const PHOTONS_PER_COUNT: f64 = 8.3;
/// Output of the tube rises with this power of the voltage.
const OUTPUT_POWER: f64 = 2.5;
/// Read-out noise in counts.
const ELECTRONIC_SIGMA: f64 = 6.0;
/// Fluoroscopic mode reads a small capacitor: so many times the counts of radiographic mode, an eighth of its charge range, a noise that is higher in
/// counts and lower in photons, and a darker level that is its own. Assumptions of their order: dual-gain panels have ratios of 4 to 16.
const FLUORO_GAIN: f64 = 8.0;
const FLUORO_SIGMA: f64 = 20.0;
const FLUORO_OFFSET: f64 = 350.0;
/// Period of frames for which the shares of the lag are printed (15 a second): what comes late into a frame grows with how long it gathers.
const LAG_PERIOD_US: f64 = 1e6 / 15.0;
/// The offset warms up by so many counts within so many seconds.
const OFFSET_DRIFT: (f64, f64) = (4.0, 600.0);
/// Frames averaged into the stored flood.
const FLOOD_FRAMES: f64 = 64.0;
const FULL_SCALE: f64 = 65535.0;
/// Lines of the grid a millimetre, and how deep they are before a pixel averages over them.
const GRID_LINES_PER_MM: f64 = 4.0;
const GRID_DEPTH: f64 = 0.15;
/// Sigma of the gain of a restless pixel from frame to frame. Noisy pixels are a tenth to a half of the defects of a panel; the size is an assumption.
const RESTLESS: f64 = 0.25;
/// How the gain follows the beam's quality: a scintillator of uneven thickness, and pixel by pixel. An assumption of its order: a percent between 70 and 110 kVp.
const SPECTRAL_SLOW: f64 = 0.02;
const SPECTRAL_PIXEL: f64 = 0.01;
/// Offset of a panel without defects.
const BLANK_OFFSET: f32 = 1000.0;

/// Technique of the stored flood: about a quarter of full scale.
pub const FLOOD_TECHNIQUE: Technique = Technique {
    kvp_tenth: 800,
    filter: 0,
    binning: 1,
    ma_tenth: 1_000,
    time_us: 25_000,
    field_um: [-250_000, 250_000, -250_000, 250_000],
};

/// Technique of the stored flood for the voltage and the binning of another: as many counts, whatever the voltage; without a filter.
pub fn flood_technique(of: &Technique, mode: Mode) -> Technique {
    let less = libm::pow(f64::from(of.kvp_tenth) / 800.0, -OUTPUT_POWER);
    let mas_u = libm::round(FLOOD_TECHNIQUE.uas() * less / gain(mode));
    // Current and time of a pulse in fluoroscopic mode: 50 mA, within what it takes.
    let (ma_tenth, us_per_uas) = match mode {
        Mode::Radiographic => (FLOOD_TECHNIQUE.ma_tenth, 10.0),
        Mode::Fluoroscopic => (FLOOD_TECHNIQUE.ma_tenth / 2, 20.0),
    };
    Technique {
        kvp_tenth: of.kvp_tenth,
        binning: of.binning,
        ma_tenth,
        time_us: libm::round(us_per_uas * mas_u) as u32,
        ..FLOOD_TECHNIQUE
    }
}

fn gain(mode: Mode) -> f64 {
    match mode {
        Mode::Radiographic => 1.0,
        Mode::Fluoroscopic => FLUORO_GAIN,
    }
}

/// Read-out noise, and what the dark level differs by, in counts of the mode.
fn dark_of(mode: Mode) -> (f64, f64) {
    match mode {
        Mode::Radiographic => (ELECTRONIC_SIGMA, 0.0),
        Mode::Fluoroscopic => (FLUORO_SIGMA, FLUORO_OFFSET),
    }
}

/// How a pixel fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    None,
    /// Reads its offset whatever comes.
    Deaf,
    /// Reads full scale.
    Hot,
    /// Quiet in the dark; under radiation its gain jumps from frame to frame.
    Restless,
}

#[derive(Debug, Clone, Copy)]
struct Pixel {
    gain: f32,
    /// Change of the gain with the logarithm of the tube voltage over 80 kVp.
    spectral: f32,
    offset: f32,
    defect: Defect,
}

impl Pixel {
    fn gain_at(&self, technique: &Technique) -> f64 {
        let harder = libm::log(f64::from(technique.kvp_tenth) / 800.0);
        f64::from(self.gain) * (1.0 + f64::from(self.spectral) * harder)
    }
}

/// A panel with its defects, unbinned.
#[derive(Debug)]
pub struct Panel {
    /// Made when the first frame is read: a room that takes no image does not pay for it.
    pixels: OnceLock<Vec<Pixel>>,
    seed: u64,
    physics: Physics,
}

/// How a frame is read.
struct Reading<'a> {
    binning: usize,
    technique: &'a Technique,
    mode: Mode,
    /// What the tube gave, micro-ampere-seconds.
    given_uas: f64,
    drift: f64,
    /// Reads that are averaged.
    frames: f64,
    key: u64,
    late: Option<Late<'a>>,
}

fn maps(seed: u64) -> Vec<Pixel> {
    let mut stream = Stream::new(seed, "panel.maps");
    let mut quality = Stream::new(seed, "panel.quality");
    let columns: Vec<f64> = (0..COLS).map(|_| 15.0 * stream.normal()).collect();
    let (line, line_from) = (
        (stream.uniform() * COLS as f64) as usize,
        (stream.uniform() * ROWS as f64) as usize,
    );
    let (centre_row, centre_col) = (
        stream.uniform() * ROWS as f64,
        stream.uniform() * COLS as f64,
    );
    let mut pixels = Vec::with_capacity(ROWS * COLS);
    for row in 0..ROWS {
        for (col, column) in columns.iter().enumerate() {
            let (y, x) = (
                row as f64 / ROWS as f64 - 0.5,
                col as f64 / COLS as f64 - 0.5,
            );
            let slow = 1.0 + 0.03 * libm::sin(7.0 * x + 1.0) * libm::cos(5.0 * y);
            let gain = slow * (1.0 + 0.01 * stream.normal());
            let offset = 1000.0 + column + 5.0 * stream.normal();
            let spectral = SPECTRAL_SLOW * libm::sin(9.0 * y + 2.0) * libm::cos(6.0 * x)
                + SPECTRAL_PIXEL * quality.normal();
            let far = (row as f64 - centre_row)
                .abs()
                .max((col as f64 - centre_col).abs());
            let defect = match stream.uniform() {
                _ if far < 2.0 || (col == line && row > line_from) => Defect::Deaf,
                u if u < 0.0004 => Defect::Deaf,
                u if u < 0.0005 => Defect::Hot,
                u if u < 0.0007 => Defect::Restless,
                _ => Defect::None,
            };
            pixels.push(Pixel {
                gain: gain as f32,
                spectral: spectral as f32,
                offset: offset as f32,
                defect,
            });
        }
    }
    pixels
}

impl Panel {
    /// The panel of a seed: gains within some percent, offsets near 1000 counts with column structure, 0.05 % dead pixels, 0.02 % restless ones, one dead line, one cluster.
    pub fn new(seed: u64, physics: Physics) -> Self {
        Self {
            pixels: OnceLock::new(),
            seed,
            physics,
        }
    }

    fn pixels(&self) -> &[Pixel] {
        self.pixels.get_or_init(|| maps(self.seed))
    }

    /// The panel read with a binning: means of gain and offset, dead if any of its pixels is.
    fn binned(&self, row: usize, col: usize, binning: usize) -> Pixel {
        if self.physics.defects == 0.0 {
            return Pixel {
                gain: 1.0,
                spectral: 0.0,
                offset: BLANK_OFFSET,
                defect: Defect::None,
            };
        }
        let (mut gain, mut spectral, mut offset) = (0.0, 0.0, 0.0);
        let mut defect = Defect::None;
        for i in 0..binning {
            for j in 0..binning {
                if let Some(pixel) = self
                    .pixels()
                    .get((row * binning + i) * COLS + col * binning + j)
                {
                    gain += pixel.gain;
                    spectral += pixel.spectral;
                    offset += pixel.offset;
                    if pixel.defect != Defect::None {
                        defect = pixel.defect;
                    }
                }
            }
        }
        let count = (binning * binning) as f32;
        Pixel {
            gain: gain / count,
            spectral: spectral / count,
            offset: offset / count,
            defect,
        }
    }

    /// Open-field signal relative to the central ray: obliquity (cos^3), the heel of the anode along Y, the lines of the grid along X.
    fn open_field(&self, row: usize, col: usize, binning: usize) -> f64 {
        let place = |index: usize, count: usize| {
            ((index * binning) as f64 + (binning as f64 - count as f64) / 2.0) * PITCH_MM
        };
        let (x, y) = (place(col, COLS), -place(row, ROWS));
        let sid = crate::xray::SID_MM;
        let cosine = sid / libm::sqrt(sid * sid + x * x + y * y);
        let heel = self.physics.heel * (0.04 * y / 150.0 - 0.02 * (y / 150.0) * (y / 150.0));
        cosine * cosine * cosine * (1.0 + heel) * self.grid_line(x, binning)
    }

    /// The grid's lines as a pixel sees them: averaged over its width, so that they beat with the pixels.
    fn grid_line(&self, x_mm: f64, binning: usize) -> f64 {
        if self.physics.grid == 0.0 {
            return 1.0;
        }
        let turns = core::f64::consts::PI * GRID_LINES_PER_MM * PITCH_MM * binning as f64;
        let depth = self.physics.grid * GRID_DEPTH * libm::sin(turns) / turns;
        1.0 + depth * libm::cos(core::f64::consts::TAU * GRID_LINES_PER_MM * x_mm)
    }

    /// Mean counts above the offset of a pixel of gain 1.
    fn counts(&self, place: (usize, usize), signal: f64, reading: &Reading<'_>) -> f64 {
        let (row, col) = place;
        let technique = reading.technique;
        let output = libm::pow(f64::from(technique.kvp_tenth) / 800.0, OUTPUT_POWER)
            * reading.given_uas
            * 1e-3;
        let open = self.open_field(row, col, reading.binning);
        signal * open * output * PHOTONS_PER_MAS / PHOTONS_PER_COUNT
    }

    /// Counts of one binned pixel.
    fn count(
        &self,
        place: (usize, usize),
        signal: f64,
        reading: &Reading<'_>,
        noise: &mut Stream,
    ) -> u16 {
        let (row, col) = place;
        let pixel = self.binned(row, col, reading.binning);
        let (late, sensitivity) = reading
            .late
            .as_ref()
            .map_or((0.0, 1.0), |late| late.of(row, col, reading.binning));
        let strength = self.physics.noise;
        let caught = sensitivity * self.counts(place, signal, reading) + late;
        let caught = if strength > 0.0 {
            // Noise of `strength` times the sigma is that of fewer photons.
            let photons =
                PHOTONS_PER_COUNT * (reading.binning * reading.binning) as f64 * reading.frames
                    / (strength * strength);
            noise.poisson(caught * photons) / photons
        } else {
            caught
        };
        let (sigma, level) = dark_of(reading.mode);
        let electronic = strength * sigma / libm::sqrt(reading.frames) * noise.normal();
        let dark = f64::from(pixel.offset) + level + reading.drift + electronic;
        let caught = gain(reading.mode) * caught;
        let exact = match pixel.defect {
            Defect::None => dark + pixel.gain_at(reading.technique) * caught,
            Defect::Deaf => dark,
            Defect::Hot => FULL_SCALE,
            Defect::Restless => {
                // The mean of many reads is quiet, and so is one pixel of four: single frames show it best.
                let share = libm::sqrt(reading.frames) * (reading.binning * reading.binning) as f64;
                let jump = RESTLESS / share * noise.normal();
                dark + pixel.gain_at(reading.technique) * (1.0 + jump).max(0.0) * caught
            }
        };
        libm::round(exact).clamp(0.0, FULL_SCALE) as u16
    }

    fn read(&self, reading: &Reading<'_>, signal: impl Fn(usize) -> f64 + Sync) -> Vec<u8> {
        let (rows, cols) = (ROWS / reading.binning, COLS / reading.binning);
        (0..rows)
            .into_par_iter()
            .flat_map_iter(|row| {
                // A stream of its own for every row, so that threads do not matter.
                let mut noise = Stream::new(
                    reading.key ^ (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                    "panel.noise",
                );
                let line: Vec<u8> = (0..cols)
                    .flat_map(|col| {
                        self.count((row, col), signal(row * cols + col), reading, &mut noise)
                            .to_le_bytes()
                    })
                    .collect();
                line
            })
            .collect()
    }

    /// Octets of a frame of relative `signal` (binned, row-major) for which the tube gave `given_uas`, and what the panel keeps of it.
    pub fn expose(
        &self,
        signal: &[f32],
        exposure: &Exposure,
        given_uas: f64,
        seed: u64,
        residue: &Residue,
    ) -> (Vec<u8>, Residue) {
        let (counts, seconds) = OFFSET_DRIFT;
        let gathers = match exposure.period_us {
            0 => 1.0,
            period_us => f64::from(period_us) / LAG_PERIOD_US,
        };
        let reading = Reading {
            binning: usize::from(exposure.technique.binning.max(1)),
            technique: &exposure.technique,
            mode: exposure.mode,
            given_uas,
            drift: counts * (1.0 - libm::exp(-(exposure.end_us as f64) * 1e-6 / seconds)),
            frames: 1.0,
            key: seed ^ (u64::from(exposure.frame) << 32),
            late: residue.late(exposure.end_us, gathers * self.physics.lag),
        };
        let at = |k: usize| f64::from(signal.get(k).copied().unwrap_or(0.0));
        let octets = self.read(&reading, at);
        if self.physics.lag == 0.0 {
            return (octets, Residue::default());
        }
        let cols = COLS / reading.binning;
        let charge: Vec<f32> = (0..signal.len())
            .into_par_iter()
            .map(|k| self.counts((k / cols, k % cols), at(k), &reading) as f32)
            .collect();
        let kept = residue.after(&charge, reading.binning, exposure.end_us);
        (octets, kept)
    }

    fn stored(&self, technique: &Technique, mode: Mode, key: u64, signal: f64) -> Vec<u8> {
        let reading = Reading {
            binning: usize::from(technique.binning.max(1)),
            technique,
            mode,
            given_uas: f64::from(technique.mas_u()),
            drift: 0.0,
            frames: FLOOD_FRAMES,
            key: self.seed
                ^ key
                ^ (u64::from(technique.kvp_tenth ^ 800) << 20)
                ^ (u64::from(mode.code() - 1) << 40),
            late: None,
        };
        self.read(&reading, |_| signal)
    }

    /// The stored flood of a technique: open field behind the grid, the mean of many frames.
    pub fn flood(&self, technique: &Technique, mode: Mode) -> Vec<u8> {
        self.stored(technique, mode, 0xF100D, grid(&self.physics).0)
    }

    /// The stored offset of the flood of a technique.
    pub fn flood_offset(&self, technique: &Technique, mode: Mode) -> Vec<u8> {
        self.stored(technique, mode, 0x0FF5E7, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(octets: &[u8]) -> Vec<f64> {
        octets
            .chunks(2)
            .map(|c| f64::from(u16::from_le_bytes([c[0], c[1]])))
            .collect()
    }

    const BINNED_4: Technique = Technique {
        binning: 4,
        ..FLOOD_TECHNIQUE
    };

    fn technique_2() -> Technique {
        Technique {
            binning: 2,
            ..FLOOD_TECHNIQUE
        }
    }

    /// A flood of the image's own voltage takes the gains out; one of another voltage leaves structure.
    #[test]
    fn gain_follows_the_voltage_and_the_stored_flood_follows_with_it() {
        let panel = Panel::new(3, Physics::default());
        let at = |kvp_tenth| {
            let of = Technique {
                kvp_tenth,
                ..BINNED_4
            };
            flood_technique(&of, Mode::Radiographic)
        };
        let signal = |kvp_tenth| -> Vec<f64> {
            counts(&panel.flood(&at(kvp_tenth), Mode::Radiographic))
                .iter()
                .zip(counts(
                    &panel.flood_offset(&at(kvp_tenth), Mode::Radiographic),
                ))
                .map(|(flood, offset)| flood - offset)
                .collect()
        };
        let (low, again, high) = (signal(800), signal(801), signal(1050));
        let scatter = |a: &[f64], b: &[f64]| {
            let ratios: Vec<f64> = a
                .iter()
                .zip(b)
                .filter(|(a, b)| **a > 5000.0 && **b > 5000.0)
                .map(|(a, b)| a / b)
                .collect();
            let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
            let square = ratios.iter().map(|r| (r / mean - 1.0).powi(2)).sum::<f64>();
            (mean, (square / ratios.len() as f64).sqrt())
        };
        let (same, near) = scatter(&low, &again);
        let (level, far) = scatter(&low, &high);
        assert!(
            (same - 1.0).abs() < 0.01 && (level - 1.0).abs() < 0.02,
            "{same} {level}"
        );
        assert!(far > 3.0 * near && far > 0.002, "{near} {far}");
    }

    #[test]
    fn flood_is_a_quarter_of_full_scale_and_its_offset_near_1000() {
        let panel = Panel::new(3, Physics::default());
        let (flood, offset) = (
            counts(&panel.flood(&BINNED_4, Mode::Radiographic)),
            counts(&panel.flood_offset(&BINNED_4, Mode::Radiographic)),
        );
        let middle = |image: &[f64]| {
            let mut sorted = image.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        };
        assert!(
            (10_000.0..22_000.0).contains(&middle(&flood)),
            "{}",
            middle(&flood)
        );
        assert!((middle(&offset) - 1000.0).abs() < 20.0);
        let dead = flood
            .iter()
            .zip(&offset)
            .filter(|(f, o)| (*f - *o).abs() < 1000.0)
            .count();
        assert!(
            dead > 50 && dead < flood.len() / 30,
            "{dead} dead of {}",
            flood.len()
        );
    }

    #[test]
    fn noise_of_a_flat_frame_is_that_of_its_photons() {
        let panel = Panel::new(3, Physics::default());
        let technique = Technique {
            time_us: 10_000,
            binning: 2,
            ..FLOOD_TECHNIQUE
        };
        let frame = |key| {
            let reading = Reading {
                binning: 2,
                technique: &technique,
                mode: Mode::Radiographic,
                given_uas: 1_000.0,
                drift: 0.0,
                frames: 1.0,
                key,
                late: None,
            };
            counts(&panel.read(&reading, |_| 0.05))
        };
        let (a, b) = (frame(1), frame(2));
        let flood = counts(&panel.flood(&technique_2(), Mode::Radiographic));
        let live: Vec<f64> = a
            .iter()
            .zip(&b)
            .zip(&flood)
            .filter(|(_, f)| **f > 5000.0 && **f < 60_000.0)
            .map(|((a, b), _)| a - b)
            .collect();
        let variance = live.iter().map(|d| d * d).sum::<f64>() / live.len() as f64 / 2.0;
        let photons = 0.05 * PHOTONS_PER_MAS * 4.0;
        let expected =
            photons / (PHOTONS_PER_COUNT * 4.0).powi(2) + ELECTRONIC_SIGMA.powi(2) + 1.0 / 12.0;
        assert!(
            (variance / expected - 1.0).abs() < 0.1,
            "{variance} against {expected}"
        );
    }
}
