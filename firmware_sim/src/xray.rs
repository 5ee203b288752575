//! What the panel sees: the simulator's own exact projector and a model of tube and panel.
//!
//! Written from docs/conventions.md and shared with nothing in the controller, so that an axis flipped there cannot cancel itself out here.
//!
//! What is modelled: the true pose of the patient (or of a phantom), of markers in him, of the carbon-fibre top and its rails, exact path lengths
//! through every voxel and every body, energy-dependent attenuation of bone against water, beam hardening, bow-tie and titanium filters,
//! collimation, heel effect and obliquity, bend of the arms, scatter and an anti-scatter grid, glare, focal and scintillator blur, Poisson and
//! electronic noise, pixel gains, offsets with drift, dead pixels, lag and ghosting, saturation. Each has its strength in [`physics`]. What is not:
//! energy weighting of the quantum noise (Swank), noise correlation by the scintillator, off-focal radiation, motion within an exposure.

pub mod flex;
pub mod lag;
pub mod panel;
pub mod phantom;
pub mod physics;
pub mod solids;
pub mod volume;

use crate::imager::{self, Exposure};
use crate::pose::{Pose, Vector};
use flex::{Bend, Flex};
use lag::Residue;
use panel::Panel;
use physics::Physics;
use rayon::prelude::*;
use solids::{Bodies, Shape, Solid};
use std::sync::Arc;
use volume::{Attenuation, Volume};

/// Source to axis and source to panel in millimetres.
pub const SAD_MM: f64 = imager::SAD_UM as f64 / 1e3;
/// See [`SAD_MM`].
pub const SID_MM: f64 = imager::SID_UM as f64 / 1e3;

/// The carbon-fibre top in the table-top frame: width, from foot to head, thickness (mm); its upper face carries the origin.
const TOP_HALF_WIDTH_MM: f64 = 265.0;
const TOP_FOOT_MM: f64 = -1400.0;
const TOP_HEAD_MM: f64 = 850.0;
const TOP_THICKNESS_MM: f64 = 50.0;
/// Skins of 1.2 mm carbon fibre (1.6 g/cm3) on a foam core, relative to water.
const SKIN_MM: f64 = 1.2;
const SKIN_WATER: f64 = 1.45;
const CORE_WATER: f64 = 0.07;
/// What holds the patient, in the table-top frame: side rails along the top and an index bar across it, of glass-fibre plastic.
const RAIL_HALF_WIDTH_MM: f64 = 10.0;
const RAIL_HEIGHT_MM: f64 = 25.0;
const BAR_HALF_WIDTH_MM: f64 = 15.0;
const BAR_THICKNESS_MM: f64 = 8.0;
const BAR_AT_MM: [f64; 3] = [-140.0, 140.0, 420.0];
const RAIL_WATER: f64 = 1.5;

/// Beam hardening: three energies with their shares of the signal and their attenuation relative to the effective one.
const SPECTRUM: [(f64, f64); 3] = [(0.3, 1.2), (0.4, 1.0), (0.3, 0.82)];
/// Scattered over transmitted signal where everything scatters, behind the air gap of 500 mm.
const SCATTER_SHARE: f64 = 0.5;
/// Width of the scatter kernel on the panel.
const SCATTER_SIGMA_MM: f64 = 60.0;
/// Focal spot and scintillator together, on the panel.
const BLUR_SIGMA_MM: f64 = 0.35;
/// Width over which glare spreads on the panel.
const GLARE_SIGMA_MM: f64 = 60.0;
/// What an anti-scatter grid of ratio 10:1 lets through of the primary and of the scattered radiation.
const GRID_PRIMARY: f64 = 0.70;
const GRID_SCATTER: f64 = 0.12;
/// A body smaller than this is traced with more rays a pixel: a seed is one pixel wide.
const SMALL_MM: f64 = 12.0;
const SMALL_RAYS: usize = 4;
/// What passes the closed collimator.
const LEAKAGE: f64 = 5e-4;
/// Rays are no farther apart on the panel than this, a third of a CT voxel's shadow.
const RAY_PITCH_MAX_MM: f64 = 0.8;

/// Attenuation of water for a tube voltage, 1/mm: 0.0227 at 80 kVp (effective 45 keV), falling with its fourth root to 0.0205 at 120 kVp.
pub fn water_per_mm(kvp: f64) -> f64 {
    0.0227 * libm::pow(80.0 / kvp, 0.25)
}

/// What stands in the beam.
#[derive(Debug)]
pub struct Scene {
    /// The patient in DICOM coordinates; nothing outside the body.
    pub patient: Option<Volume>,
    /// The panel with its defects.
    pub panel: Panel,
    /// The arms that carry source and panel.
    pub flex: Flex,
    /// Strength of every effect.
    pub physics: Physics,
    /// Seed of the quantum noise.
    pub seed: u64,
}

impl Scene {
    /// The scene of a seed.
    pub fn new(patient: Option<Volume>, physics: Physics, seed: u64) -> Self {
        Self {
            patient,
            panel: Panel::new(seed, physics),
            flex: Flex::new(seed, physics.flex),
            physics,
            seed,
        }
    }
}

/// One frame to be made: how it was exposed and where everything truly stood.
#[derive(Debug, Clone)]
pub struct Job {
    /// The exposure.
    pub exposure: Exposure,
    /// What the tube truly gave, micro-ampere-seconds; its own technique says what it was asked for.
    pub given_uas: f64,
    /// True gantry angle of the source, degrees.
    pub source_deg: f64,
    /// True pose of the patient: `fixed from DICOM`.
    pub fixed_from_dicom: Pose,
    /// True pose of the top: `fixed from table top`, bent by its load.
    pub fixed_from_table: Pose,
    /// What stands in the beam.
    pub scene: Arc<Scene>,
    /// Bodies in the patient's coordinates: a phantom, or markers in the patient.
    pub solids: Arc<Vec<Solid>>,
    /// What the panel has kept of earlier frames.
    pub residue: Arc<Residue>,
}

/// A frame as the panel delivers it: 16-bit little-endian counts, row 0 first.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// rows x cols x 2 octets.
    pub octets: Vec<u8>,
    /// What the panel keeps of it and of those before.
    pub residue: Arc<Residue>,
}

/// Where source and pixels of a view are, in the fixed frame.
#[derive(Debug, Clone, Copy)]
pub struct View {
    source: Vector,
    panel: Vector,
    /// Unit vectors along the columns' and against the rows' order.
    panel_x: Vector,
    panel_y: Vector,
    pitch_mm: f64,
    rows: usize,
    cols: usize,
}

impl View {
    /// The view from a source angle with a binning, the arms bent.
    pub fn new(source_deg: f64, binning: u8, bend: &Bend) -> Self {
        let binning = usize::from(binning.max(1));
        let fixed_from_gantry = Pose::ry(source_deg);
        let [sx, sy, sz] = bend.source_mm;
        let [px, py, pz] = bend.panel_mm;
        let turned = fixed_from_gantry.then(&bend.turn());
        Self {
            source: fixed_from_gantry.point(&[sx, sy, SAD_MM + sz]),
            panel: fixed_from_gantry.point(&[px, py, SAD_MM - SID_MM + pz]),
            panel_x: turned.direction(&[1.0, 0.0, 0.0]),
            panel_y: turned.direction(&[0.0, 1.0, 0.0]),
            pitch_mm: f64::from(imager::PITCH_NM) * 1e-6 * binning as f64,
            rows: usize::from(imager::PANEL_ROWS) / binning,
            cols: usize::from(imager::PANEL_COLS) / binning,
        }
    }

    /// Rows and columns.
    pub fn size(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Position on the panel in its own axes (mm), of a fractional row and column.
    pub fn on_panel(&self, row: f64, col: f64) -> (f64, f64) {
        (
            (col - (self.cols as f64 - 1.0) / 2.0) * self.pitch_mm,
            ((self.rows as f64 - 1.0) / 2.0 - row) * self.pitch_mm,
        )
    }

    /// The source in the fixed frame.
    pub fn source(&self) -> Vector {
        self.source
    }

    /// The panel in the fixed frame: its centre, and the unit vectors of its X and Y.
    pub fn panel(&self) -> [Vector; 3] {
        [self.panel, self.panel_x, self.panel_y]
    }

    /// A point of the panel in the fixed frame.
    pub fn panel_point(&self, x_mm: f64, y_mm: f64) -> Vector {
        let ([px, py, pz], [ax, ay, az], [bx, by, bz]) = (self.panel, self.panel_x, self.panel_y);
        [
            px + x_mm * ax + y_mm * bx,
            py + x_mm * ay + y_mm * by,
            pz + x_mm * az + y_mm * bz,
        ]
    }

    /// Row, column and magnification of a point of the fixed frame; `None` behind the source.
    pub fn project(&self, point: &Vector) -> Option<(f64, f64, f64)> {
        let dot = |a: &Vector, b: &Vector| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let minus = |a: &Vector, b: &Vector| -> Vector {
            let ([ax, ay, az], [bx, by, bz]) = (*a, *b);
            [ax - bx, ay - by, az - bz]
        };
        let ([ax, ay, az], [bx, by, bz]) = (self.panel_x, self.panel_y);
        let normal = [ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx];
        let to_point = minus(point, &self.source);
        let depth = dot(&normal, &to_point);
        let magnified = dot(&normal, &minus(&self.panel, &self.source)) / depth;
        if !(magnified.is_finite() && magnified > 0.0) {
            return None;
        }
        let [x, y, z] = to_point.map(|part| part * magnified);
        let [sx, sy, sz] = self.source;
        let hit = minus(&[sx + x, sy + y, sz + z], &self.panel);
        Some((
            (self.rows as f64 - 1.0) / 2.0 - dot(&hit, &self.panel_y) / self.pitch_mm,
            (self.cols as f64 - 1.0) / 2.0 + dot(&hit, &self.panel_x) / self.pitch_mm,
            magnified,
        ))
    }
}

/// Path length of a ray through an axis-aligned box.
fn chord(from: &Vector, to: &Vector, low: &Vector, high: &Vector) -> f64 {
    let (mut begin, mut end, mut square) = (0.0_f64, 1.0_f64, 0.0);
    for ((from, to), (low, high)) in from.iter().zip(to).zip(low.iter().zip(high)) {
        let step = to - from;
        square += step * step;
        if step == 0.0 {
            if from < low || from > high {
                return 0.0;
            }
            continue;
        }
        let (a, b) = ((low - from) / step, (high - from) / step);
        begin = begin.max(a.min(b));
        end = end.min(a.max(b));
    }
    (end - begin).max(0.0) * square.sqrt()
}

/// Water-equivalent millimetres of the top along a ray given in the table-top frame.
fn top_water_mm(from: &Vector, to: &Vector) -> f64 {
    let outer = chord(
        from,
        to,
        &[-TOP_HALF_WIDTH_MM, TOP_FOOT_MM, -TOP_THICKNESS_MM],
        &[TOP_HALF_WIDTH_MM, TOP_HEAD_MM, 0.0],
    );
    if outer == 0.0 {
        return 0.0;
    }
    let s = SKIN_MM;
    let inner = chord(
        from,
        to,
        &[
            -TOP_HALF_WIDTH_MM + s,
            TOP_FOOT_MM + s,
            -TOP_THICKNESS_MM + s,
        ],
        &[TOP_HALF_WIDTH_MM - s, TOP_HEAD_MM - s, -s],
    );
    (outer - inner) * SKIN_WATER + inner * CORE_WATER
}

/// Water-equivalent millimetres of the rails and the index bars along a ray given in the table-top frame.
fn rails_water_mm(from: &Vector, to: &Vector) -> f64 {
    let edge = TOP_HALF_WIDTH_MM - 2.0 * RAIL_HALF_WIDTH_MM;
    let rail = |low: f64, high: f64| {
        chord(
            from,
            to,
            &[low, TOP_FOOT_MM, 0.0],
            &[high, TOP_HEAD_MM, RAIL_HEIGHT_MM],
        )
    };
    let bar = |at: f64| {
        let under = -TOP_THICKNESS_MM;
        chord(
            from,
            to,
            &[-edge, at - BAR_HALF_WIDTH_MM, under - BAR_THICKNESS_MM],
            &[edge, at + BAR_HALF_WIDTH_MM, under],
        )
    };
    let bars: f64 = BAR_AT_MM.map(bar).iter().sum();
    (rail(-TOP_HALF_WIDTH_MM, -edge) + rail(edge, TOP_HALF_WIDTH_MM) + bars) * RAIL_WATER
}

/// Transmission of a line integral at the effective energy, with a share of the beam hardening.
fn transmission(integral: f64, hardening: f64) -> f64 {
    SPECTRUM
        .iter()
        .map(|(share, relative)| {
            share * libm::exp(-(1.0 + hardening * (relative - 1.0)) * integral)
        })
        .sum()
}

/// Signal behind a filter at a position of the isocentre plane, relative to none.
fn filter(kind: u8, x_iso_mm: f64) -> f64 {
    let shaped = |x: f64| libm::exp(-0.8 * (x / 130.0) * (x / 130.0));
    match kind {
        1 => shaped(x_iso_mm.max(0.0)),
        2 => shaped(x_iso_mm),
        3 => 0.75,
        _ => 1.0,
    }
}

/// Share of the exposed signal that reaches a pixel: (transmitted, scattering source). Both 0 outside the field but for leakage.
struct Shot<'a> {
    view: View,
    source: Vector,
    dicom_from_fixed: Pose,
    table_from_fixed: Pose,
    attenuation: Option<Attenuation<'a>>,
    bodies: Bodies<'a>,
    water_per_mm: f64,
    physics: Physics,
    exposure: &'a Exposure,
}

impl Shot<'_> {
    fn ray(&self, x_mm: f64, y_mm: f64) -> (f64, f64) {
        let demagnified = SAD_MM / SID_MM;
        let (x_iso, y_iso) = (x_mm * demagnified, y_mm * demagnified);
        let [x1, x2, y1, y2] = self
            .exposure
            .technique
            .field_um
            .map(|edge| f64::from(edge) / 1e3);
        let open = filter(self.exposure.technique.filter, x_iso);
        if !(x1..=x2).contains(&x_iso) || !(y1..=y2).contains(&y_iso) {
            return (open * LEAKAGE, 0.0);
        }
        let end = self.view.panel_point(x_mm, y_mm);
        let (table_from, table_to) = (
            self.table_from_fixed.point(&self.source),
            self.table_from_fixed.point(&end),
        );
        let (from, to) = (
            self.dicom_from_fixed.point(&self.source),
            self.dicom_from_fixed.point(&end),
        );
        let held = self.physics.immobilisation * rails_water_mm(&table_from, &table_to);
        let top = (top_water_mm(&table_from, &table_to) + held) * self.water_per_mm;
        let voxels = self
            .attenuation
            .as_ref()
            .map_or(0.0, |attenuation| attenuation.line_integral(&from, &to));
        let body = (voxels + self.bodies.line_integral(&from, &to)).max(0.0);
        let passed = open * transmission(top + body, self.physics.hardening);
        (passed, passed * (1.0 - libm::exp(-body - top)))
    }

    /// Pixels on which a small body's shadow falls.
    fn small_shadows(&self, solids: &[Solid], fixed_from_dicom: &Pose) -> Vec<bool> {
        let (rows, cols) = self.view.size();
        let mut hit = vec![false; rows * cols];
        for solid in solids {
            let reach = solid.shape.reach();
            if reach > SMALL_MM || matches!(solid.shape, Shape::Block { .. }) {
                continue;
            }
            let Some((row, col, magnified)) =
                self.view.project(&fixed_from_dicom.point(&solid.centre))
            else {
                continue;
            };
            let half = reach * magnified / self.view.pitch_mm + 2.0;
            let range = |at: f64, count: usize| {
                let bound = |v: f64| v.clamp(0.0, count as f64) as usize;
                bound((at - half).floor())..bound((at + half).ceil() + 1.0)
            };
            for row in range(row, rows) {
                for col in range(col, cols) {
                    if let Some(pixel) = hit.get_mut(row * cols + col) {
                        *pixel = true;
                    }
                }
            }
        }
        hit
    }

    /// Mean over the rays of a pixel.
    fn pixel(&self, row: usize, col: usize, rays: usize) -> (f64, f64) {
        let mut sum = (0.0, 0.0);
        for i in 0..rays {
            for j in 0..rays {
                let part = |k: usize| (k as f64 + 0.5) / rays as f64 - 0.5;
                let (x, y) = self
                    .view
                    .on_panel(row as f64 + part(i), col as f64 + part(j));
                let (passed, scattering) = self.ray(x, y);
                sum = (sum.0 + passed, sum.1 + scattering);
            }
        }
        let count = (rays * rays) as f64;
        (sum.0 / count, sum.1 / count)
    }
}

/// Separable Gaussian of `sigma` pixels over a row-major image; edges repeat.
fn gaussian(image: &[f32], cols: usize, sigma: f64) -> Vec<f32> {
    let reach = (3.0 * sigma).ceil() as isize;
    let weights: Vec<f64> = (-reach..=reach)
        .map(|k| libm::exp(-0.5 * (k as f64 / sigma) * (k as f64 / sigma)))
        .collect();
    let total: f64 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|w| (w / total) as f32).collect();
    let along = |line: &[f32]| -> Vec<f32> {
        let last = line.len() as isize - 1;
        (0..line.len() as isize)
            .map(|at| {
                let part = weights.iter().zip(-reach..).map(|(w, k)| {
                    let place = (at + k).clamp(0, last.max(0)) as usize;
                    w * line.get(place).copied().unwrap_or(0.0)
                });
                part.sum()
            })
            .collect()
    };
    let rows: Vec<f32> = image.par_chunks(cols.max(1)).flat_map_iter(along).collect();
    let turned = transpose(&rows, cols);
    let both: Vec<f32> = turned
        .par_chunks((image.len() / cols.max(1)).max(1))
        .flat_map_iter(along)
        .collect();
    transpose(&both, image.len() / cols.max(1))
}

fn transpose(image: &[f32], cols: usize) -> Vec<f32> {
    (0..cols)
        .flat_map(|col| image.iter().skip(col).step_by(cols.max(1)).copied())
        .collect()
}

impl Job {
    /// Where source and pixels truly are.
    pub fn view(&self) -> View {
        View::new(
            self.source_deg,
            self.exposure.technique.binning,
            &self.scene.flex.at(self.source_deg),
        )
    }

    /// What every pixel of a view receives: (transmitted, scattering source).
    fn traced(&self, view: View) -> Vec<(f64, f64)> {
        let (rows, cols) = view.size();
        let kvp = f64::from(self.exposure.technique.kvp_tenth) / 10.0;
        let shot = Shot {
            view,
            source: view.source(),
            dicom_from_fixed: self.fixed_from_dicom.inverse(),
            table_from_fixed: self.fixed_from_table.inverse(),
            attenuation: self
                .scene
                .patient
                .as_ref()
                .map(|patient| Attenuation::new(patient, kvp)),
            bodies: Bodies::new(&self.solids, kvp),
            water_per_mm: water_per_mm(kvp),
            physics: self.scene.physics,
            exposure: &self.exposure,
        };
        let rays = (view.pitch_mm / RAY_PITCH_MAX_MM).ceil().max(1.0) as usize;
        let small = shot.small_shadows(&self.solids, &self.fixed_from_dicom);
        (0..rows * cols)
            .into_par_iter()
            .zip(small)
            .map(|(k, small)| {
                let rays = if small { rays.max(SMALL_RAYS) } else { rays };
                shot.pixel(k / cols.max(1), k % cols.max(1), rays)
            })
            .collect()
    }

    /// Relative signal of every pixel before the panel: transmitted, scattered, behind the grid, blurred.
    fn signal(&self, view: View) -> Vec<f32> {
        let (rows, cols) = view.size();
        let physics = &self.scene.physics;
        let traced = self.traced(view);
        let scatter = if physics.scatter > 0.0 {
            scattered(&traced, rows, cols, view.pitch_mm)
        } else {
            vec![0.0; rows * cols]
        };
        let (primary, grid_scatter) = grid(physics);
        let scatter_factor = (physics.scatter * grid_scatter) as f32;
        let sum: Vec<f32> = traced
            .iter()
            .zip(&scatter)
            .map(|((passed, _), scatter)| (primary * passed) as f32 + scatter_factor * scatter)
            .collect();
        let lit = if physics.glare > 0.0 {
            glared(&sum, rows, cols, view.pitch_mm, physics.glare)
        } else {
            sum
        };
        if physics.blur > 0.0 {
            gaussian(&lit, cols, physics.blur * BLUR_SIGMA_MM / view.pitch_mm)
        } else {
            lit
        }
    }

    /// Makes the frame. Same job, same octets, on any number of threads.
    pub fn render(&self) -> Frame {
        let view = self.view();
        let (rows, cols) = view.size();
        let signal = if self.exposure.kind == 0 {
            self.signal(view)
        } else {
            vec![0.0; rows * cols]
        };
        let (octets, residue) = self.scene.panel.expose(
            &signal,
            &self.exposure,
            libm::round(self.given_uas),
            self.scene.seed,
            &self.residue,
        );
        Frame {
            rows,
            cols,
            octets,
            residue: Arc::new(residue),
        }
    }
}

/// What the grid lets through: (primary, scatter).
pub(crate) fn grid(physics: &Physics) -> (f64, f64) {
    let through = |share: f64| 1.0 + physics.grid * (share - 1.0);
    (through(GRID_PRIMARY), through(GRID_SCATTER))
}

/// Glare: a share of all light spread widely, the rest where it was.
fn glared(image: &[f32], rows: usize, cols: usize, pitch_mm: f64, share: f64) -> Vec<f32> {
    let light: Vec<(f64, f64)> = image.iter().map(|v| (0.0, f64::from(*v))).collect();
    let spread = wide(&light, rows, cols, pitch_mm, GLARE_SIGMA_MM);
    image
        .iter()
        .zip(spread)
        .map(|(direct, spread)| (1.0 - share as f32) * direct + share as f32 * spread)
        .collect()
}

/// Scatter: the scattering source spread widely.
fn scattered(traced: &[(f64, f64)], rows: usize, cols: usize, pitch_mm: f64) -> Vec<f32> {
    let mut spread = wide(traced, rows, cols, pitch_mm, SCATTER_SIGMA_MM);
    for value in &mut spread {
        *value *= SCATTER_SHARE as f32;
    }
    spread
}

/// The second of each pair spread widely. Computed on a coarse grid, as it has no detail.
fn wide(traced: &[(f64, f64)], rows: usize, cols: usize, pitch_mm: f64, sigma_mm: f64) -> Vec<f32> {
    let block = ((6.0 / pitch_mm).round() as usize).max(1);
    let (coarse_rows, coarse_cols) = (rows.div_ceil(block), cols.div_ceil(block));
    let mut sums = vec![(0.0_f64, 0.0_f64); coarse_rows * coarse_cols];
    for (k, (_, source)) in traced.iter().enumerate() {
        let cell = (k / cols / block) * coarse_cols + (k % cols) / block;
        if let Some((sum, count)) = sums.get_mut(cell) {
            *sum += source;
            *count += 1.0;
        }
    }
    let coarse: Vec<f32> = sums
        .iter()
        .map(|(sum, count)| (sum / count.max(1.0)) as f32)
        .collect();
    // Beyond the panel nothing was traced: the edge repeats, which is right for a field that covers the panel.
    let spread = gaussian(&coarse, coarse_cols, sigma_mm / (pitch_mm * block as f64));
    let cell = |row: usize, col: usize| {
        spread
            .get(row.min(coarse_rows - 1) * coarse_cols + col.min(coarse_cols - 1))
            .copied()
            .unwrap_or(0.0)
    };
    (0..rows * cols)
        .map(|k| {
            let fine = |index: usize| ((index as f64 + 0.5) / block as f64 - 0.5).max(0.0);
            let (y, x) = (fine(k / cols), fine(k % cols));
            let (row, col) = (y as usize, x as usize);
            let (v, u) = ((y - row as f64) as f32, (x - col as f64) as f32);
            (1.0 - v) * ((1.0 - u) * cell(row, col) + u * cell(row, col + 1))
                + v * ((1.0 - u) * cell(row + 1, col) + u * cell(row + 1, col + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Technique;

    #[test]
    fn chord_of_a_box_is_exact() {
        let (low, high) = ([-1.0, -2.0, -3.0], [1.0, 2.0, 3.0]);
        assert!((chord(&[-10.0, 0.0, 0.0], &[10.0, 0.0, 0.0], &low, &high) - 2.0).abs() < 1e-12);
        assert!(
            (chord(&[-10.0, -10.0, 0.0], &[10.0, 10.0, 0.0], &low, &high) - 8f64.sqrt()).abs()
                < 1e-12
        );
        assert_eq!(
            chord(&[-10.0, 5.0, 0.0], &[10.0, 5.0, 0.0], &low, &high),
            0.0
        );
        assert_eq!(
            chord(&[2.0, 0.0, 0.0], &[10.0, 0.0, 0.0], &low, &high),
            0.0,
            "the box lies behind the source"
        );
    }

    fn ball_volume(centre: Vector) -> Volume {
        let (size, spacing, origin) = (
            [61, 61, 61],
            [2.0, 2.0, 2.0],
            [centre[0] - 61.3, centre[1] - 59.2, centre[2] - 60.4],
        );
        let mut hu = Vec::new();
        for k in 0..size[2] {
            for j in 0..size[1] {
                for i in 0..size[0] {
                    let at = [i, j, k].map(|n| n as f64 * 2.0);
                    let d: f64 = (0..3)
                        .map(|a| (origin[a] + at[a] - centre[a]).powi(2))
                        .sum::<f64>()
                        .sqrt();
                    hu.push(if d < 6.0 { 3000 } else { -1000 });
                }
            }
        }
        Volume::new(hu, size, spacing, origin).unwrap()
    }

    fn job(
        source_deg: f64,
        binning: u8,
        patient: Option<Volume>,
        fixed_from_dicom: Pose,
        fixed_from_table: Pose,
    ) -> Job {
        let technique = Technique {
            kvp_tenth: 800,
            filter: 0,
            binning,
            ma_tenth: 1_000,
            time_us: 20_000,
            field_um: [-130_000, 130_000, -98_000, 98_000],
        };
        let exposure = Exposure {
            frame: 1,
            kind: 0,
            technique,
            begin_us: 0,
            end_us: 20_000,
            gantry_udeg: 0,
            source_angle_udeg: 0,
            source_arm_um: 0,
            panel_arm_um: 0,
            dose_area: 0,
            mode: crate::imager::mode::Mode::Radiographic,
            period_us: 0,
        };
        Job {
            exposure,
            given_uas: exposure.technique.uas(),
            source_deg,
            fixed_from_dicom,
            fixed_from_table,
            scene: Arc::new(Scene::new(patient, RIGID, 5)),
            solids: Arc::default(),
            residue: Arc::default(),
        }
    }

    /// As built, but for the arms: these tests ask where a point is seen.
    const RIGID: Physics = Physics {
        flex: 0.0,
        noise: 1.0,
        hardening: 1.0,
        scatter: 1.0,
        blur: 1.0,
        heel: 1.0,
        defects: 1.0,
        lag: 1.0,
        immobilisation: 1.0,
        ..Physics::IDEAL
    };

    /// Where conventions.md says a point of the fixed frame is seen, written out without the transforms of this module.
    fn predicted(point: &Vector, source_deg: f64, rows: f64, cols: f64, pitch: f64) -> (f64, f64) {
        let (s, c) = source_deg.to_radians().sin_cos();
        let (xg, yg, zg) = (
            point[0] * c - point[2] * s,
            point[1],
            point[0] * s + point[2] * c,
        );
        let magnified = 1500.0 / (1000.0 - zg);
        (
            (rows - 1.0) / 2.0 - yg * magnified / pitch,
            (cols - 1.0) / 2.0 + xg * magnified / pitch,
        )
    }

    #[test]
    fn a_ball_lands_on_the_pixel_that_the_conventions_predict() {
        use crate::kinematics::Family;
        let isocentre_dicom = [-68.0, 40.0, -185.0];
        let ball_dicom = [-68.0 + 21.0, 40.0 - 13.0, -185.0 + 17.0];
        let planned = [-20e3, -350e3, -122.5e3, 0.0, 0.0, 0.0];
        let mut checked = 0;
        for (couch, error) in [
            (planned, [0.0; 6]),
            ([-25e3, -342e3, -119e3, 2e6, 1.5e6, -1e6], [0.0; 6]),
            (
                [-25e3, -342e3, -119e3, 2e6, 1.5e6, -1e6],
                [7.0, -5.0, 3.0, 1.2, -0.7, 1.9],
            ),
        ] {
            let table_from_dicom = crate::room::table_from_dicom(
                &isocentre_dicom,
                &Family::Pedestal.table_top(&planned),
                &Pose::correction(&error),
            );
            let fixed_from_table = Family::Pedestal.table_top(&couch);
            let fixed_from_dicom = fixed_from_table.then(&table_from_dicom);
            for source_deg in [0.0, 90.0, -30.0, 180.0] {
                let job = job(
                    source_deg,
                    2,
                    Some(ball_volume(ball_dicom)),
                    fixed_from_dicom,
                    fixed_from_table,
                );
                let view = job.view();
                let (rows, cols) = view.size();
                let with = job.signal(view);
                let without = Job {
                    scene: Arc::new(Scene::new(None, RIGID, 5)),
                    ..job.clone()
                }
                .signal(view);
                let (mut mass, mut at) = (0.0, (0.0, 0.0));
                for k in 0..rows * cols {
                    let shade = f64::from((without[k] / with[k]).ln());
                    if shade > 0.15 {
                        mass += shade;
                        at = (
                            at.0 + shade * (k / cols) as f64,
                            at.1 + shade * (k % cols) as f64,
                        );
                    }
                }
                let got = (at.0 / mass, at.1 / mass);
                let want = predicted(
                    &fixed_from_dicom.point(&ball_dicom),
                    source_deg,
                    rows as f64,
                    cols as f64,
                    0.776,
                );
                assert!(
                    (got.0 - want.0).abs() < 0.6 && (got.1 - want.1).abs() < 0.6,
                    "source {source_deg}: {got:?} against {want:?}"
                );
                checked += 1;
            }
        }
        assert_eq!(checked, 12);
    }

    #[test]
    fn gaussian_keeps_the_sum_and_spreads_by_its_sigma() {
        let mut image = vec![0.0; 61 * 41];
        image[20 * 61 + 30] = 1.0;
        let spread = gaussian(&image, 61, 2.0);
        assert!((spread.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let variance: f32 = spread
            .iter()
            .enumerate()
            .map(|(k, v)| v * ((k % 61) as f32 - 30.0).powi(2))
            .sum();
        assert!((variance - 4.0).abs() < 0.15, "{variance}");
    }

    #[test]
    fn a_frame_is_the_same_octets_on_one_thread_and_on_two() {
        let job = job(
            20.0,
            4,
            Some(ball_volume([0.0; 3])),
            Pose::IDENTITY,
            Pose::translation([0.0, -300.0, -100.0]),
        );
        let on = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| job.render().octets)
        };
        assert_eq!(on(1), on(2));
    }

    fn balls_job(source_deg: f64, binning: u8, physics: Physics, residue: Arc<Residue>) -> Job {
        Job {
            scene: Arc::new(Scene::new(None, physics, 5)),
            solids: Arc::new(phantom::balls()),
            residue,
            ..job(
                source_deg,
                binning,
                None,
                Pose::patient_from_dicom(),
                Pose::translation([0.0, -350.0, -70.0]),
            )
        }
    }

    /// Balls of the calibration phantom on the pixels that the bent geometry says, within a twentieth of a pixel.
    #[test]
    fn the_shadow_of_a_ball_is_where_source_and_panel_of_the_bent_arms_put_it() {
        for (source_deg, flex) in [(0.0, 0.0), (0.0, 3.0), (65.0, 3.0), (-120.0, 3.0)] {
            let with = balls_job(
                source_deg,
                1,
                Physics {
                    flex,
                    ..Physics::IDEAL
                },
                Arc::default(),
            );
            let without = Job {
                solids: Arc::new(phantom::balls().into_iter().take(2).collect()),
                ..with.clone()
            };
            let view = with.view();
            let (rows, cols) = view.size();
            let (a, b) = (with.signal(view), without.signal(view));
            let centres: Vec<(f64, f64, f64)> = phantom::ball_centres()
                .iter()
                .map(|centre| view.project(&with.fixed_from_dicom.point(centre)).unwrap())
                .collect();
            let mut checked = 0;
            for (row, col, _) in &centres {
                let near = |r: f64, c: f64| (r - row).abs().max((c - col).abs());
                let alone = centres
                    .iter()
                    .filter(|(r, c, _)| near(*r, *c) < 30.0)
                    .count()
                    == 1;
                if !alone || near(0.0, *col) < 20.0 || near(*row, 0.0) < 20.0 {
                    continue;
                }
                if *row > rows as f64 - 20.0 || *col > cols as f64 - 20.0 {
                    continue;
                }
                let (mut mass, mut at) = (0.0, (0.0, 0.0));
                for i in (*row as usize - 14)..(*row as usize + 15) {
                    for j in (*col as usize - 14)..(*col as usize + 15) {
                        let shade = f64::from((b[i * cols + j] / a[i * cols + j]).ln());
                        mass += shade;
                        at = (at.0 + shade * i as f64, at.1 + shade * j as f64);
                    }
                }
                let off = ((at.0 / mass - row).abs(), (at.1 / mass - col).abs());
                assert!(off.0 < 0.05 && off.1 < 0.05, "source {source_deg}: {off:?}");
                checked += 1;
            }
            assert!(checked >= 6, "{checked} balls at {source_deg}");
        }
    }

    #[test]
    fn the_grid_takes_scatter_out_and_is_in_the_flood_as_well() {
        let physics = |grid| Physics {
            scatter: 1.0,
            grid,
            ..Physics::IDEAL
        };
        let of = |grid, scatter| {
            let job = balls_job(
                0.0,
                4,
                Physics {
                    scatter,
                    ..physics(grid)
                },
                Arc::default(),
            );
            let view = job.view();
            let image = job.signal(view);
            let (rows, cols) = view.size();
            f64::from(image[rows / 2 * cols + cols / 2])
        };
        let share = |grid| of(grid, 1.0) / of(grid, 0.0) - 1.0;
        assert!(
            share(0.0) > 4.0 * share(1.0),
            "{} {}",
            share(0.0),
            share(1.0)
        );
        assert!((of(1.0, 0.0) / of(0.0, 0.0) - GRID_PRIMARY).abs() < 1e-6);
    }

    #[test]
    fn a_dark_frame_after_an_exposure_shows_its_ghost_and_without_lag_none() {
        let shown = |lag| {
            let physics = Physics {
                lag,
                ..Physics::IDEAL
            };
            let first = balls_job(0.0, 4, physics, Arc::default()).render();
            let mut dark = balls_job(0.0, 4, physics, first.residue);
            dark.exposure.kind = 1;
            dark.exposure.end_us += 67_000;
            let frame = dark.render();
            frame
                .octets
                .chunks(2)
                .map(|c| f64::from(u16::from_le_bytes([c[0], c[1]])))
                .sum::<f64>()
                / 49_152.0
        };
        assert!(
            shown(1.0) > shown(0.0) + 5.0,
            "{} {}",
            shown(1.0),
            shown(0.0)
        );
    }
}
