//! What the panel sees: the simulator's own exact projector and a model of tube and panel.
//!
//! Written from docs/conventions.md and shared with nothing in the controller, so that an axis flipped there cannot cancel itself out here.
//!
//! What is modelled: the true pose of the patient and of the carbon-fibre top, exact path lengths through every voxel, energy-dependent
//! attenuation of bone against water, beam hardening, bow-tie and titanium filters, collimation, heel effect and obliquity, scatter, focal and
//! scintillator blur, Poisson and electronic noise, pixel gains, offsets with drift, dead pixels, saturation. What is not: lag and ghosting,
//! flex of the arms, energy weighting of the quantum noise (Swank), noise correlation by the scintillator.

pub mod panel;
pub mod volume;

use crate::imager::{self, Exposure};
use crate::pose::{Pose, Vector};
use panel::Panel;
use rayon::prelude::*;
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

/// Beam hardening: three energies with their shares of the signal and their attenuation relative to the effective one.
const SPECTRUM: [(f64, f64); 3] = [(0.3, 1.2), (0.4, 1.0), (0.3, 0.82)];
/// Scattered over transmitted signal where everything scatters, behind the air gap of 500 mm.
const SCATTER_SHARE: f64 = 0.5;
/// Width of the scatter kernel on the panel.
const SCATTER_SIGMA_MM: f64 = 60.0;
/// Focal spot and scintillator together, on the panel.
const BLUR_SIGMA_MM: f64 = 0.35;
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
    /// Seed of the quantum noise.
    pub seed: u64,
}

/// One frame to be made: how it was exposed and where everything truly stood.
#[derive(Debug, Clone)]
pub struct Job {
    /// The exposure.
    pub exposure: Exposure,
    /// True gantry angle of the source, degrees.
    pub source_deg: f64,
    /// True pose of the patient: `fixed from DICOM`.
    pub fixed_from_dicom: Pose,
    /// True pose of the top: `fixed from table top`, bent by its load.
    pub fixed_from_table: Pose,
    /// What stands in the beam.
    pub scene: Arc<Scene>,
}

/// A frame as the panel delivers it: 16-bit little-endian counts, row 0 first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// rows x cols x 2 octets.
    pub octets: Vec<u8>,
}

/// Where the pixels of a view are, in the fixed frame.
#[derive(Debug, Clone, Copy)]
pub struct View {
    fixed_from_gantry: Pose,
    pitch_mm: f64,
    rows: usize,
    cols: usize,
}

impl View {
    /// The view from a source angle with a binning.
    pub fn new(source_deg: f64, binning: u8) -> Self {
        let binning = usize::from(binning.max(1));
        Self {
            fixed_from_gantry: Pose::ry(source_deg),
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
        self.fixed_from_gantry.point(&[0.0, 0.0, SAD_MM])
    }

    /// A point of the panel in the fixed frame.
    pub fn panel_point(&self, x_mm: f64, y_mm: f64) -> Vector {
        self.fixed_from_gantry.point(&[x_mm, y_mm, SAD_MM - SID_MM])
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

/// Transmission of a line integral at the effective energy, with beam hardening.
fn transmission(integral: f64) -> f64 {
    SPECTRUM
        .iter()
        .map(|(share, relative)| share * libm::exp(-relative * integral))
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
    water_per_mm: f64,
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
        let top = top_water_mm(
            &self.table_from_fixed.point(&self.source),
            &self.table_from_fixed.point(&end),
        ) * self.water_per_mm;
        let body = self.attenuation.as_ref().map_or(0.0, |attenuation| {
            attenuation.line_integral(
                &self.dicom_from_fixed.point(&self.source),
                &self.dicom_from_fixed.point(&end),
            )
        });
        let passed = open * transmission(top + body);
        (passed, passed * (1.0 - libm::exp(-body - top)))
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
    /// Relative signal of every pixel before the panel: transmitted, scattered, blurred.
    fn signal(&self, view: View) -> Vec<f32> {
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
            water_per_mm: water_per_mm(kvp),
            exposure: &self.exposure,
        };
        let rays = (view.pitch_mm / RAY_PITCH_MAX_MM).ceil().max(1.0) as usize;
        let traced: Vec<(f64, f64)> = (0..rows * cols)
            .into_par_iter()
            .map(|k| shot.pixel(k / cols.max(1), k % cols.max(1), rays))
            .collect();
        let scatter = scattered(&traced, rows, cols, view.pitch_mm);
        let sum: Vec<f32> = traced
            .iter()
            .zip(&scatter)
            .map(|((passed, _), scatter)| *passed as f32 + scatter)
            .collect();
        gaussian(&sum, cols, BLUR_SIGMA_MM / view.pitch_mm)
    }

    /// Makes the frame. Same job, same octets, on any number of threads.
    pub fn render(&self) -> Frame {
        let view = View::new(self.source_deg, self.exposure.technique.binning);
        let (rows, cols) = view.size();
        let signal = if self.exposure.kind == 0 {
            self.signal(view)
        } else {
            vec![0.0; rows * cols]
        };
        let octets = self
            .scene
            .panel
            .expose(&signal, &self.exposure, self.scene.seed);
        Frame { rows, cols, octets }
    }
}

/// Scatter: the scattering source spread widely. Computed on a coarse grid, as it has no detail.
fn scattered(traced: &[(f64, f64)], rows: usize, cols: usize, pitch_mm: f64) -> Vec<f32> {
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
        .map(|(sum, count)| (SCATTER_SHARE * sum / count.max(1.0)) as f32)
        .collect();
    // Beyond the panel nothing was traced: the edge repeats, which is right for a field that covers the panel.
    let spread = gaussian(
        &coarse,
        coarse_cols,
        SCATTER_SIGMA_MM / (pitch_mm * block as f64),
    );
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
            mas_u: 2_000,
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
        };
        Job {
            exposure,
            source_deg,
            fixed_from_dicom,
            fixed_from_table,
            scene: Arc::new(Scene {
                patient,
                panel: Panel::new(5),
                seed: 5,
            }),
        }
    }

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
                let view = View::new(source_deg, 2);
                let (rows, cols) = view.size();
                let with = job.signal(view);
                let without = Job {
                    scene: Arc::new(Scene {
                        patient: None,
                        panel: Panel::new(5),
                        seed: 5,
                    }),
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
                .install(|| job.render())
        };
        assert_eq!(on(1), on(2));
    }
}
