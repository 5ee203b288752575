//! Cone-beam reconstruction of a circular scan (Feldkamp, Davis and Kress, JOSA A 1984;1:612).
//!
//! Every projection is weighted by the cosine of its rays, short scans by Parker (Med Phys 1982;9:254), displaced panels by Wang (Med
//! Phys 2002;29:1634), filtered by the band-limited ramp along the panel's columns and smeared back. Projections follow their own
//! geometry, so that angles need not be even and flex is allowed; the weights take the mean circle.

use nalgebra::{Matrix3x4, Point3, Vector3};
use rayon::prelude::*;
use realfft::RealFftPlanner;

use crate::error::{ImagingError, Result};
use crate::geometry::Projection;
use crate::registration::CancelFlag;

/// Fewer projections than this make streaks, not a volume.
pub const PROJECTIONS_MIN: usize = 30;
/// A gap between neighbouring projections beyond this, degrees, is a hole in the scan.
const GAP_MAX_DEG: f64 = 12.0;
/// Panels that reach less far on one side than this share of the other are displaced on purpose.
const DISPLACED_SHARE: f64 = 0.9;

/// Where voxels are wanted, fixed frame: columns along +X, rows along -Z, slices along +Y, as in the CT of a patient head first supine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Columns, rows, slices.
    pub size: [usize; 3],
    /// Voxel spacing along them, mm.
    pub spacing_mm: [f64; 3],
    /// Centre of the grid, mm.
    pub centre: Point3<f64>,
}

/// How to filter.
#[derive(Debug, Clone, Default)]
pub struct FdkSettings {
    /// Cut of the Hann window as a share of the Nyquist frequency; `None` for the plain ramp.
    pub hann: Option<f64>,
    /// Looked at before every projection.
    pub cancel: CancelFlag,
}

/// The circle that a set of projections lies on.
#[derive(Debug, Clone)]
struct Circle {
    /// Source angle of each projection, radians, unwrapped along the scan.
    angles: Vec<f64>,
    /// Angle that each projection stands for, radians.
    shares: Vec<f64>,
    sad: f64,
    full: bool,
}

/// Attenuation per mm, `[slice][row][col]`, from line integrals `[projection][row][col]`.
///
/// # Errors
/// `Settings` or `Geometry` when the projections are too few, do not lie on one circle about the isocentre, or do not cover half a turn and
/// the fan; `Image` for a wrong size or line integrals that are not finite; `Cancelled`.
pub fn reconstruct(
    projections: &[Projection],
    images: &[f32],
    grid: &Grid,
    settings: &FdkSettings,
) -> Result<Vec<f32>> {
    let first = check(projections, images, grid, settings)?;
    let circle = Circle::of(projections)?;
    let (rows, cols) = (first.rows, first.cols);
    let [nx, nz, ny] = grid.size;
    let mut volume = vec![0f32; nx * ny * nz];
    let ramp = Ramp::new(&circle, &first, settings.hann);
    let mut filtered = vec![0f32; rows * cols];
    for (n, projection) in projections.iter().enumerate() {
        settings.cancel.check()?;
        let Some(image) = images.get(n * rows * cols..(n + 1) * rows * cols) else {
            continue;
        };
        let weights = circle.row_weights(n, projection)?;
        ramp.filter(projection, image, &weights, &mut filtered)?;
        back_project(projection, &circle, &filtered, grid, &mut volume)?;
    }
    Ok(in_order(&volume, grid.size))
}

fn check(
    projections: &[Projection],
    images: &[f32],
    grid: &Grid,
    settings: &FdkSettings,
) -> Result<Projection> {
    if projections.len() < PROJECTIONS_MIN {
        return Err(ImagingError::Settings(format!(
            "{} projections; a scan has {PROJECTIONS_MIN} or more",
            projections.len()
        )));
    }
    let Some(first) = projections.first().copied() else {
        return Err(ImagingError::Settings("no projection".into()));
    };
    if projections
        .iter()
        .any(|p| p.rows != first.rows || p.cols != first.cols)
    {
        return Err(ImagingError::Geometry(
            "the projections of a scan must all have the same size".into(),
        ));
    }
    if images.len() != projections.len() * first.rows * first.cols {
        return Err(ImagingError::Settings(format!(
            "{} pixels for {} projections of {} x {}",
            images.len(),
            projections.len(),
            first.rows,
            first.cols
        )));
    }
    let size = first.rows * first.cols;
    if let Some(at) = images.iter().position(|x| !x.is_finite()) {
        return Err(ImagingError::Image {
            view: at / size.max(1),
            reason: "a line integral is not finite; fill starved and saturated pixels first".into(),
        });
    }
    let voxels: usize = grid.size.iter().product();
    if grid.size.iter().any(|&n| n < 2) || voxels > 1 << 30 {
        return Err(ImagingError::Volume(format!(
            "a grid of {:?} voxels; each side must be 2 or more and the whole at most 2^30",
            grid.size
        )));
    }
    if grid
        .spacing_mm
        .iter()
        .any(|s| !(s.is_finite() && *s > 0.01))
    {
        return Err(ImagingError::Volume(
            "voxel spacing must be above 0.01 mm".into(),
        ));
    }
    if settings.hann.is_some_and(|h| !(h > 0.05 && h <= 1.0)) {
        return Err(ImagingError::Settings(
            "the cut of the Hann window must be above 0.05 and at most 1".into(),
        ));
    }
    Ok(first)
}

impl Circle {
    fn of(projections: &[Projection]) -> Result<Self> {
        let radii: Vec<f64> = projections
            .iter()
            .map(|p| p.source.x.hypot(p.source.z))
            .collect();
        let sad = radii.iter().sum::<f64>() / radii.len() as f64;
        let off = projections
            .iter()
            .zip(&radii)
            .any(|(p, r)| (r - sad).abs() > 0.02 * sad || p.source.y.abs() > 0.02 * sad);
        if off || sad < 100.0 {
            return Err(ImagingError::Geometry(
                "the sources do not lie on a circle about the Y axis through the isocentre".into(),
            ));
        }
        let mut angles: Vec<f64> = Vec::with_capacity(projections.len());
        for p in projections {
            let angle = p.source.x.atan2(p.source.z);
            let before = angles.last().copied().unwrap_or(angle);
            let turns = ((before - angle) / std::f64::consts::TAU).round();
            angles.push(angle + turns * std::f64::consts::TAU);
        }
        let steps: Vec<f64> = angles
            .iter()
            .zip(angles.iter().skip(1))
            .map(|(a, b)| b - a)
            .collect();
        let forward = steps.iter().sum::<f64>() > 0.0;
        let widest = steps.iter().fold(0f64, |w, s| w.max(s.abs()));
        if steps.iter().any(|s| (*s > 0.0) != forward || *s == 0.0) {
            return Err(ImagingError::Geometry(
                "the gantry angles of a scan must all follow in one direction".into(),
            ));
        }
        if widest > GAP_MAX_DEG.to_radians() {
            return Err(ImagingError::Geometry(format!(
                "a gap of {:.1} deg between neighbouring projections; {GAP_MAX_DEG} deg at most",
                widest.to_degrees()
            )));
        }
        let range: f64 = steps.iter().map(|s| s.abs()).sum();
        let full = range + 1.5 * widest >= std::f64::consts::TAU;
        let closing = std::f64::consts::TAU - range;
        let gap = |n: usize| steps.get(n).map_or(0.0, |s| s.abs());
        let count = angles.len();
        let shares = (0..count)
            .map(|n| {
                let before = if n > 0 {
                    gap(n - 1)
                } else if full {
                    closing
                } else {
                    gap(0)
                };
                let after = if n + 1 < count {
                    gap(n)
                } else if full {
                    closing
                } else {
                    gap(count - 2)
                };
                0.5 * (before + after)
            })
            .collect();
        Ok(Self {
            angles,
            shares,
            sad,
            full,
        })
    }

    /// Per column the weight of a ray by how often it is measured. A full scan measures each ray twice.
    fn row_weights(&self, n: usize, projection: &Projection) -> Result<Vec<f64>> {
        let fan = fan_angles(projection);
        let share = self.shares.get(n).copied().unwrap_or(0.0);
        let (low, high) = (
            fan.iter().copied().fold(f64::INFINITY, f64::min),
            fan.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        );
        if self.full {
            let displaced = low.abs().min(high.abs()) < DISPLACED_SHARE * low.abs().max(high.abs());
            if displaced && low * high >= 0.0 {
                return Err(ImagingError::Geometry(
                    "the panel does not see the axis of rotation".into(),
                ));
            }
            let overlap = low.abs().min(high.abs());
            let side = if high > -low { 1.0 } else { -1.0 };
            return Ok(fan
                .iter()
                .map(|g| match displaced {
                    false => 0.5 * share,
                    true => share * displaced_weight(side * g, overlap),
                })
                .collect());
        }
        let (Some(first), Some(last)) = (self.angles.first(), self.angles.last()) else {
            return Ok(Vec::new());
        };
        let range = (last - first).abs();
        let spare = 0.5 * (range - std::f64::consts::PI);
        let widest = low.abs().max(high.abs());
        if spare < widest {
            return Err(ImagingError::Geometry(format!(
                "the scan covers {:.1} deg; half a turn and the fan of the panel are {:.1} deg",
                range.to_degrees(),
                180.0 + 2.0 * widest.to_degrees()
            )));
        }
        let along = if last > first { 1.0 } else { -1.0 };
        let beta = self.angles.get(n).map_or(0.0, |a| along * (a - first));
        Ok(fan
            .iter()
            .map(|g| share * parker(beta, -along * g, spare))
            .collect())
    }
}

/// Angle of each column's ray about the axis of rotation from the ray through it, radians; positive the way in which the source moves
/// when the gantry angle grows. Parker counts it the other way.
fn fan_angles(projection: &Projection) -> Vec<f64> {
    let middle = (projection.rows as f64 - 1.0) / 2.0;
    let to_axis = Vector3::new(-projection.source.x, 0.0, -projection.source.z).normalize();
    let across = Vector3::y().cross(&(-to_axis));
    (0..projection.cols)
        .map(|col| {
            let ray = projection.ray(col as f64, middle);
            ray.dot(&across).atan2(ray.dot(&to_axis))
        })
        .collect()
}

/// Weight of a ray that only a part of the displaced panel sees twice: 0 to 1 over the overlap.
fn displaced_weight(angle: f64, overlap: f64) -> f64 {
    if angle <= -overlap {
        0.0
    } else if angle >= overlap {
        1.0
    } else {
        0.5 * (1.0 + (std::f64::consts::FRAC_PI_2 * angle.tan() / overlap.tan()).sin())
    }
}

/// Parker's weight for a scan of `pi + 2 spare`: conjugate rays together count once.
fn parker(beta: f64, gamma: f64, spare: f64) -> f64 {
    use std::f64::consts::{FRAC_PI_4, PI};
    let square = |x: f64| x.sin().powi(2);
    if beta < 2.0 * (spare - gamma) {
        if beta <= 0.0 {
            0.0
        } else {
            square(FRAC_PI_4 * beta / (spare - gamma))
        }
    } else if beta <= PI - 2.0 * gamma {
        1.0
    } else if beta <= PI + 2.0 * spare {
        square(FRAC_PI_4 * (PI + 2.0 * spare - beta) / (spare + gamma))
    } else {
        0.0
    }
}

/// The ramp filter of one panel, by Fourier transform.
struct Ramp {
    length: usize,
    response: Vec<f32>,
    forward: std::sync::Arc<dyn realfft::RealToComplex<f32>>,
    backward: std::sync::Arc<dyn realfft::ComplexToReal<f32>>,
    sad: f64,
}

impl Ramp {
    /// Band-limited ramp sampled in space (Kak and Slaney, ch. 3), so that the mean of the image survives.
    fn new(circle: &Circle, first: &Projection, hann: Option<f64>) -> Self {
        let length = (2 * first.cols).next_power_of_two();
        let mut planner = RealFftPlanner::<f32>::new();
        let forward = planner.plan_fft_forward(length);
        let backward = planner.plan_fft_inverse(length);
        // Spacing of the rays on the axis of rotation.
        let tau = first.col_step.norm() * circle.sad / central_distance(first);
        let mut kernel = vec![0f32; length];
        for (k, value) in kernel.iter_mut().enumerate() {
            let n = k.min(length - k) as f64;
            *value = if k == 0 {
                1.0 / (4.0 * tau)
            } else if k % 2 == 1 {
                -1.0 / (std::f64::consts::PI.powi(2) * n * n * tau)
            } else {
                0.0
            } as f32;
        }
        let mut spectrum = forward.make_output_vec();
        // Lengths come from the plan itself, so it cannot fail; a zero response would show at once.
        let _ = forward.process(&mut kernel, &mut spectrum);
        let nyquist = (spectrum.len() - 1) as f64;
        let response = spectrum
            .iter()
            .enumerate()
            .map(|(k, s)| {
                let window = match hann {
                    None => 1.0,
                    Some(cut) => {
                        let x = k as f64 / (nyquist * cut);
                        if x >= 1.0 {
                            0.0
                        } else {
                            0.5 * (1.0 + (std::f64::consts::PI * x).cos())
                        }
                    }
                };
                s.re * window as f32 / length as f32
            })
            .collect();
        Self {
            length,
            response,
            forward,
            backward,
            sad: circle.sad,
        }
    }

    /// Weighted and filtered rows, stored by columns: `[col][row]`, so that the back-projection runs along the axis of rotation.
    fn filter(
        &self,
        projection: &Projection,
        image: &[f32],
        weights: &[f64],
        out: &mut [f32],
    ) -> Result<()> {
        let (rows, cols) = (projection.rows, projection.cols);
        let distance = central_distance(projection) as f32;
        let mut by_rows = vec![0f32; rows * cols];
        by_rows
            .par_chunks_mut(cols)
            .zip(image.par_chunks(cols))
            .enumerate()
            .try_for_each_init(
                || (vec![0f32; self.length], self.forward.make_output_vec()),
                |(line, spectrum), (row, (target, source))| {
                    line.fill(0.0);
                    for (col, ((value, p), w)) in
                        line.iter_mut().zip(source).zip(weights).enumerate()
                    {
                        let length = projection.ray(col as f64, row as f64).norm() as f32;
                        *value = p * *w as f32 * distance / length;
                    }
                    self.forward.process(line, spectrum).map_err(fourier)?;
                    for (s, r) in spectrum.iter_mut().zip(&self.response) {
                        *s *= *r;
                    }
                    self.backward.process(spectrum, line).map_err(fourier)?;
                    target.copy_from_slice(line.get(..cols).unwrap_or(&[]));
                    Ok(())
                },
            )?;
        out.par_chunks_mut(rows)
            .enumerate()
            .for_each(|(col, line)| {
                for (value, source) in line.iter_mut().zip(by_rows.iter().skip(col).step_by(cols)) {
                    *value = *source;
                }
            });
        debug_assert!(self.sad > 0.0);
        Ok(())
    }
}

fn fourier(error: realfft::FftError) -> ImagingError {
    ImagingError::Settings(format!("Fourier transform: {error}"))
}

/// Distance of the source from the panel's plane, mm.
fn central_distance(projection: &Projection) -> f64 {
    let normal = projection.col_step.cross(&projection.row_step).normalize();
    projection.first_ray().dot(&normal).abs()
}

/// Add one filtered projection, stored by columns, to the volume `[row][col][slice]`.
fn back_project(
    projection: &Projection,
    circle: &Circle,
    filtered: &[f32],
    grid: &Grid,
    volume: &mut [f32],
) -> Result<()> {
    let matrix = projection.matrix()?;
    let [nx, _, ny] = grid.size;
    let to_axis = Vector3::new(-projection.source.x, 0.0, -projection.source.z).normalize();
    let place = |col: usize, row: usize| {
        let at = |n: usize, of: usize, step: f64| (n as f64 - (of as f64 - 1.0) / 2.0) * step;
        let [sx, sz, sy] = grid.spacing_mm;
        Point3::new(
            grid.centre.x + at(col, nx, sx),
            grid.centre.y + at(0, ny, sy),
            grid.centre.z - at(row, grid.size[1], sz),
        )
    };
    let step = matrix.column(1) * grid.spacing_mm[2];
    // Along the axis of rotation neither the column nor the depth changes, unless the panel is turned about the beam or tilted.
    let straight = step.x.abs() < 1e-9 * projection.cols as f64 && step.z.abs() < 1e-12;
    volume
        .par_chunks_mut(nx * ny)
        .enumerate()
        .for_each_init(Vec::new, |blend, (row, plane)| {
            for (col, line) in plane.chunks_exact_mut(ny).enumerate() {
                let point = place(col, row);
                let h = apply(&matrix, &point);
                let depth = (point - projection.source).dot(&to_axis);
                if depth <= 1.0 {
                    continue;
                }
                let scale = (circle.sad / depth).powi(2) as f32;
                if straight {
                    let u = (h.x / h.z) as f32;
                    let (v, dv) = ((h.y / h.z) as f32, (step.y / h.z) as f32);
                    straight_line(filtered, projection, u, v, dv, scale, blend, line);
                } else {
                    turned_line(filtered, projection, h, step, scale, line);
                }
            }
        });
    Ok(())
}

fn apply(matrix: &Matrix3x4<f64>, p: &Point3<f64>) -> Vector3<f64> {
    matrix * p.to_homogeneous()
}

/// A line of voxels that all fall on one fractional column of the panel: the two columns are blended once, then sampled along.
#[allow(
    clippy::indexing_slicing,
    clippy::too_many_arguments,
    reason = "measured inner kernel; the range of voxels is cut to the panel first"
)]
fn straight_line(
    filtered: &[f32],
    projection: &Projection,
    u: f32,
    v: f32,
    dv: f32,
    scale: f32,
    blend: &mut Vec<f32>,
    line: &mut [f32],
) {
    let (rows, cols) = (projection.rows, projection.cols);
    if !(u >= 0.0 && u < cols as f32 - 1.0) || dv == 0.0 {
        return;
    }
    let (i, f) = (u as usize, u.fract());
    let (left, right) = (
        &filtered[i * rows..(i + 1) * rows],
        &filtered[(i + 1) * rows..(i + 2) * rows],
    );
    // Voxels whose row lies on the panel: v + k dv within [0, rows - 1).
    let limit = rows as f32 - 1.001;
    let (a, b) = ((0.0 - v) / dv, (limit - v) / dv);
    let first = a.min(b).ceil().max(0.0) as usize;
    let last = (a.max(b).floor() + 1.0).max(0.0).min(line.len() as f32) as usize;
    if first >= last {
        return;
    }
    // Only the rows that these voxels see.
    let ends = [v + dv * first as f32, v + dv * (last - 1) as f32];
    let low = (ends[0].min(ends[1]).max(0.0) as usize).min(rows - 2);
    let high = (ends[0].max(ends[1]).max(0.0) as usize + 2).min(rows);
    blend.clear();
    blend.extend(
        left[low..high]
            .iter()
            .zip(&right[low..high])
            .map(|(l, r)| scale * (l + f * (r - l))),
    );
    let top = blend.len() - 2;
    let v = v - low as f32;
    for (k, voxel) in line[first..last].iter_mut().enumerate() {
        let at = (v + dv * (first + k) as f32).max(0.0);
        // SAFETY: `at` is zero or more and below the number of rows by the cut above; max() turns NaN into 0.
        let whole = (unsafe { at.to_int_unchecked::<i32>() } as usize).min(top);
        let w = at - whole as f32;
        *voxel += blend[whole] + w * (blend[whole + 1] - blend[whole]);
    }
}

/// A line of voxels across a panel that is turned or tilted: every voxel finds its own place.
#[allow(
    clippy::indexing_slicing,
    reason = "measured inner kernel; samples are checked to lie on the panel"
)]
fn turned_line(
    filtered: &[f32],
    projection: &Projection,
    mut h: Vector3<f64>,
    step: Vector3<f64>,
    scale: f32,
    line: &mut [f32],
) {
    let (rows, cols) = (projection.rows, projection.cols);
    for voxel in line {
        let (u, v) = ((h.x / h.z) as f32, (h.y / h.z) as f32);
        h += step;
        if !(u >= 0.0 && v >= 0.0 && u < cols as f32 - 1.0 && v < rows as f32 - 1.0) {
            continue;
        }
        let (i, j) = (u as usize, v as usize);
        let (f, g) = (u.fract(), v.fract());
        let at = i * rows + j;
        let left = filtered[at] + g * (filtered[at + 1] - filtered[at]);
        let right = filtered[at + rows] + g * (filtered[at + rows + 1] - filtered[at + rows]);
        *voxel += scale * (left + f * (right - left));
    }
}

/// From `[row][col][slice]` to `[slice][row][col]`.
fn in_order(volume: &[f32], size: [usize; 3]) -> Vec<f32> {
    let [nx, nz, ny] = size;
    let mut out = vec![0f32; volume.len()];
    out.par_chunks_mut(nx * nz)
        .enumerate()
        .for_each(|(slice, plane)| {
            for (value, source) in plane.iter_mut().zip(volume.iter().skip(slice).step_by(ny)) {
                *value = *source;
            }
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::PanelGeometry;

    const BALL_MM: f64 = 45.0;
    const MU: f64 = 0.02;

    fn panel(angle: f64, lateral: f64, rotation: f64) -> Projection {
        PanelGeometry {
            source_angle_deg: angle,
            sad_mm: 1000.0,
            sid_mm: 1500.0,
            panel_lateral_mm: lateral,
            panel_longitudinal_mm: 0.0,
            panel_rotation_deg: rotation,
            panel_pitch_deg: 0.0,
            panel_roll_deg: 0.0,
            source_lateral_mm: 0.0,
            source_longitudinal_mm: 0.0,
            rows: 72,
            cols: 96,
            pixel_pitch_mm: 3.0,
        }
        .projection()
        .unwrap()
    }

    /// Exact line integrals of a ball.
    fn ball(projections: &[Projection], centre: Point3<f64>) -> Vec<f32> {
        let mut out = Vec::new();
        for p in projections {
            for row in 0..p.rows {
                for col in 0..p.cols {
                    let d = p.ray(col as f64, row as f64).normalize();
                    let off = (centre - p.source).cross(&d).norm_squared();
                    out.push((2.0 * MU * (BALL_MM * BALL_MM - off).max(0.0).sqrt()) as f32);
                }
            }
        }
        out
    }

    fn found(projections: &[Projection]) -> (f64, f64) {
        let centre = Point3::new(12.0, -7.0, 18.0);
        let grid = Grid {
            size: [48, 48, 40],
            spacing_mm: [3.0; 3],
            centre: Point3::new(5.0, -4.0, 10.0),
        };
        let images = ball(projections, centre);
        let volume = reconstruct(projections, &images, &grid, &FdkSettings::default()).unwrap();
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for slice in 10..30 {
            for row in 0..48 {
                for col in 0..48 {
                    let at = Point3::new(
                        5.0 + (col as f64 - 23.5) * 3.0,
                        -4.0 + (f64::from(slice) - 19.5) * 3.0,
                        10.0 - (row as f64 - 23.5) * 3.0,
                    );
                    let value = f64::from(volume[(slice as usize * 48 + row) * 48 + col]);
                    let r = (at - centre).norm();
                    if r < BALL_MM - 8.0 {
                        inside.push(value);
                    } else if r > BALL_MM + 8.0 && r < 75.0 {
                        outside.push(value);
                    }
                }
            }
        }
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        (mean(&inside) / MU, mean(&outside) / MU)
    }

    #[test]
    fn a_ball_comes_back_with_its_attenuation_from_a_full_scan() {
        let (inside, outside) = found(
            &(0..180)
                .map(|n| panel(f64::from(n) * 2.0, 0.0, 0.0))
                .collect::<Vec<_>>(),
        );
        assert!((inside - 1.0).abs() < 0.01, "{inside}");
        assert!(outside.abs() < 0.02, "{outside}");
    }

    #[test]
    fn a_short_scan_gives_the_same_either_way_round() {
        for sign in [1.0, -1.0] {
            let scan: Vec<_> = (0..105)
                .map(|n| panel(sign * f64::from(n) * 2.0, 0.0, 0.0))
                .collect();
            let (inside, outside) = found(&scan);
            assert!((inside - 1.0).abs() < 0.015, "{inside}");
            assert!(outside.abs() < 0.03, "{outside}");
        }
    }

    #[test]
    fn a_displaced_panel_sees_the_whole_in_a_full_turn() {
        for lateral in [60.0, -60.0] {
            let scan: Vec<_> = (0..180)
                .map(|n| panel(f64::from(n) * 2.0, lateral, 0.0))
                .collect();
            let (inside, outside) = found(&scan);
            assert!((inside - 1.0).abs() < 0.02, "{inside}");
            assert!(outside.abs() < 0.03, "{outside}");
        }
    }

    #[test]
    fn a_panel_turned_about_the_beam_is_followed() {
        let scan: Vec<_> = (0..180)
            .map(|n| panel(f64::from(n) * 2.0, 0.0, 0.5))
            .collect();
        let (inside, outside) = found(&scan);
        assert!((inside - 1.0).abs() < 0.015, "{inside}");
        assert!(outside.abs() < 0.02, "{outside}");
    }

    #[test]
    fn a_scan_that_cannot_be_reconstructed_is_refused() {
        let grid = Grid {
            size: [8; 3],
            spacing_mm: [3.0; 3],
            centre: Point3::origin(),
        };
        let tried = |scan: Vec<Projection>| {
            let images = vec![0f32; scan.len() * 72 * 96];
            reconstruct(&scan, &images, &grid, &FdkSettings::default())
                .unwrap_err()
                .to_string()
        };
        let at = |angles: &mut dyn Iterator<Item = f64>| {
            angles.map(|a| panel(a, 0.0, 0.0)).collect::<Vec<_>>()
        };
        assert!(
            tried(at(&mut (0..90).map(|n| f64::from(n) * 2.0))).contains("half a turn and the fan")
        );
        assert!(tried(at(&mut (0..10).map(f64::from))).contains("30 or more"));
        assert!(tried(at(&mut (0..40).map(|n| f64::from(n) * 15.0))).contains("gap"));
        assert!(tried(at(&mut (0..40).map(|n| f64::from(n % 2)))).contains("one direction"));
    }

    #[test]
    fn a_cancelled_reconstruction_ends() {
        let scan: Vec<_> = (0..180)
            .map(|n| panel(f64::from(n) * 2.0, 0.0, 0.0))
            .collect();
        let images = vec![0f32; scan.len() * 72 * 96];
        let settings = FdkSettings::default();
        settings.cancel.cancel();
        let grid = Grid {
            size: [8; 3],
            spacing_mm: [3.0; 3],
            centre: Point3::origin(),
        };
        assert_eq!(
            reconstruct(&scan, &images, &grid, &settings).unwrap_err(),
            ImagingError::Cancelled
        );
    }
}
