//! Rigid registration of one volume with another of the same patient, such as a cone-beam CT with the planning CT.
//!
//! Gauss-Newton on the differences of the voxels, coarse to fine: the moving volume is scaled and shifted onto the fixed one (cone-beam HU
//! are not CT HU), large differences count linearly (Huber), and every voxel of both volumes is smoothed alike, so that the noise
//! of one grid does not pull the other onto it.

use nalgebra::{Isometry3, Matrix3, Matrix4, Matrix6, Point3, Vector6};
use rayon::prelude::*;

use crate::correction::small_motion;
use crate::error::{ImagingError, Result};
use crate::registration::CancelFlag;

const LEVELS_MAX: usize = 4;
const SIDE_MIN: usize = 24;
const STEPS_MAX: usize = 24;
const HUBER_SIGMAS: f32 = 2.0;
const STEP_LIMIT_MM: f64 = 15.0;
const STEP_LIMIT_RAD: f64 = 0.12;
/// At the finest level every n-th row and slice is read: neighbouring voxels after smoothing say the same.
const FINEST_STRIDE: usize = 2;
/// Voxels per side of the cubes over which residuals are taken as one.
const BLOCK: usize = 12;
/// Robust spread is looked up in a histogram of this many bins over the range of differences.
const SPREAD_BINS: usize = 512;
const SIMILARITY_MIN: f64 = 0.6;
const OVERLAP_MIN: f64 = 0.3;
const CORNER_MM: f64 = 60.0;

/// Voxels in HU, `[slice][row][col]`, and where they lie.
#[derive(Debug, Clone)]
pub struct Scan {
    size: [usize; 3],
    world_from_index: Matrix4<f64>,
    voxels: Vec<f32>,
    /// Where voxels were measured; a cone-beam CT ends within the patient.
    valid: Vec<bool>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct RigidOutcome {
    /// Rigid `fixed world <- moving world`.
    pub pose: Isometry3<f64>,
    /// Covariance of the small motion (mm, radians) about the fixed world's origin by which the pose may be off.
    pub covariance: Matrix6<f64>,
    /// Correlation of the voxels that overlap.
    pub similarity: f64,
    /// Share of the fixed volume's valid voxels that the moving one covers.
    pub overlap: f64,
    /// Robust spread of the differences, HU.
    pub spread_hu: f64,
    /// Scale and shift from moving to fixed HU.
    pub intensity: (f64, f64),
    /// Gauss-Newton steps, all levels.
    pub iterations: usize,
    /// Whether the last step was short enough.
    pub converged: bool,
    /// Why it is not believed; empty when it is.
    pub reasons: Vec<String>,
}

/// How to search.
#[derive(Debug, Clone)]
pub struct RigidSettings {
    /// Largest shift at the centre of the fixed volume that is believed, mm.
    pub displacement_max_mm: f64,
    /// Looked at before every step.
    pub cancel: CancelFlag,
}

impl Default for RigidSettings {
    fn default() -> Self {
        Self {
            displacement_max_mm: 80.0,
            cancel: CancelFlag::default(),
        }
    }
}

impl Scan {
    /// A volume; voxels that are not finite hold nothing. `size` is (cols, rows, slices), `world_from_index` maps (col, row, slice) to mm.
    ///
    /// # Errors
    /// `Volume` for a wrong length, fewer than 24 voxels along an axis, an affine without an inverse, or nothing in it.
    pub fn new(
        mut voxels: Vec<f32>,
        size: [usize; 3],
        world_from_index: Matrix4<f64>,
    ) -> Result<Self> {
        let volume = |reason: String| Err(ImagingError::Volume(reason));
        if size.iter().any(|&n| n < SIDE_MIN) || size.iter().product::<usize>() != voxels.len() {
            return volume(format!(
                "{} voxels for {size:?}; each side must be {SIDE_MIN} or more",
                voxels.len()
            ));
        }
        if world_from_index.try_inverse().is_none()
            || world_from_index.iter().any(|x| !x.is_finite())
        {
            return volume("the affine world <- index has no inverse".into());
        }
        let valid: Vec<bool> = voxels.par_iter().map(|v| v.is_finite()).collect();
        voxels
            .par_iter_mut()
            .filter(|v| !v.is_finite())
            .for_each(|v| *v = -1000.0);
        let (low, high) = voxels.par_iter().map(|v| (*v, *v)).reduce(
            || (f32::INFINITY, f32::NEG_INFINITY),
            |a, b| (a.0.min(b.0), a.1.max(b.1)),
        );
        if high - low < 50.0 || !valid.par_iter().any(|v| *v) {
            return volume(format!(
                "there is nothing in it: all voxels lie within {low} to {high} HU"
            ));
        }
        Ok(Self {
            size,
            world_from_index,
            voxels,
            valid,
        })
    }

    fn centre(&self) -> Point3<f64> {
        let [x, y, z] = self.size.map(|n| (n as f64 - 1.0) / 2.0);
        self.world_from_index.transform_point(&Point3::new(x, y, z))
    }

    fn spacing(&self) -> f64 {
        let m: Matrix3<f64> = self.world_from_index.fixed_view::<3, 3>(0, 0).into_owned();
        m.determinant().abs().cbrt()
    }

    /// Means over blocks of two along every axis whose voxels are not twice as long as the shortest already.
    #[allow(
        clippy::indexing_slicing,
        reason = "axes are 0 to 2; blocks lie inside by construction"
    )]
    fn halved(&self) -> Option<Self> {
        let m: Matrix3<f64> = self.world_from_index.fixed_view::<3, 3>(0, 0).into_owned();
        let lengths: [f64; 3] = std::array::from_fn(|a| m.column(a).norm());
        let shortest = lengths.iter().copied().fold(f64::INFINITY, f64::min);
        let factor: [usize; 3] = std::array::from_fn(|a| {
            if lengths[a] < 1.6 * shortest && self.size[a] >= 2 * SIDE_MIN {
                2
            } else {
                1
            }
        });
        if factor == [1, 1, 1] {
            return None;
        }
        let size: [usize; 3] = std::array::from_fn(|a| self.size[a] / factor[a]);
        let mut voxels = vec![0f32; size.iter().product()];
        let mut valid = vec![true; voxels.len()];
        let scale = 1.0 / factor.iter().product::<usize>() as f32;
        let plane = size[0] * size[1];
        voxels
            .par_chunks_mut(plane)
            .zip(valid.par_chunks_mut(plane))
            .enumerate()
            .for_each(|(z, (out, ok))| {
                for dz in 0..factor[2] {
                    for y in 0..size[1] * factor[1] {
                        let start = ((z * factor[2] + dz) * self.size[1] + y) * self.size[0];
                        let at = y / factor[1] * size[0];
                        for x in 0..size[0] * factor[0] {
                            out[at + x / factor[0]] += scale * self.voxels[start + x];
                            ok[at + x / factor[0]] &= self.valid[start + x];
                        }
                    }
                }
            });
        let mut step = Matrix4::identity();
        for a in 0..3 {
            step[(a, a)] = factor[a] as f64;
            step[(a, 3)] = (factor[a] as f64 - 1.0) / 2.0;
        }
        Some(Self {
            size,
            world_from_index: self.world_from_index * step,
            voxels,
            valid,
        })
    }

    /// `[1 2 1] / 4` along every axis; the ends repeat.
    #[allow(
        clippy::indexing_slicing,
        reason = "neighbours are clamped into the volume"
    )]
    fn smoothed(&self) -> Self {
        let [nx, ny, nz] = self.size;
        let plane = nx * ny;
        let mut out = vec![0f32; self.voxels.len()];
        out.par_chunks_mut(plane).enumerate().for_each_init(
            || vec![0f32; plane],
            |between, (z, target)| {
                let at = |k: usize| &self.voxels[k * plane..(k + 1) * plane];
                let (a, b, c) = (at(z.saturating_sub(1)), at(z), at((z + 1).min(nz - 1)));
                for (k, t) in between.iter_mut().enumerate() {
                    *t = 0.25 * (a[k] + c[k]) + 0.5 * b[k];
                }
                for y in 0..ny {
                    let row = |k: usize| &between[k * nx..(k + 1) * nx];
                    let (a, b, c) = (row(y.saturating_sub(1)), row(y), row((y + 1).min(ny - 1)));
                    let line = &mut target[y * nx..(y + 1) * nx];
                    let blend = |x: usize| 0.25 * (a[x] + c[x]) + 0.5 * b[x];
                    let (mut before, mut here) = (blend(0), blend(0));
                    for (x, value) in line.iter_mut().enumerate() {
                        let after = blend((x + 1).min(nx - 1));
                        *value = 0.25 * (before + after) + 0.5 * here;
                        (before, here) = (here, after);
                    }
                }
            },
        );
        Self {
            voxels: out,
            valid: self.eroded(),
            ..*self
        }
    }

    /// Voxels all of whose neighbours hold something: what is smoothed beside nothing is half nothing.
    #[allow(
        clippy::indexing_slicing,
        reason = "neighbours are clamped into the volume"
    )]
    fn eroded(&self) -> Vec<bool> {
        if self.valid.par_iter().all(|v| *v) {
            return self.valid.clone();
        }
        let strides = [1, self.size[0], self.size[0] * self.size[1]];
        let mut here = self.valid.clone();
        for (stride, n) in strides.into_iter().zip(self.size) {
            let before = here.clone();
            here.par_iter_mut().enumerate().for_each(|(k, ok)| {
                let at = k / stride % n;
                *ok = *ok && (at == 0 || before[k - stride]) && (at + 1 == n || before[k + stride]);
            });
        }
        here
    }
}

/// Sums over the voxels of one pass.
#[derive(Debug, Clone)]
struct Sums {
    hessian: Matrix6<f64>,
    gradient: Vector6<f64>,
    /// Count, and the first and second moments of fixed and moving voxels.
    moments: [f64; 6],
    histogram: Vec<u32>,
    candidates: usize,
    scores: Vec<Vector6<f64>>,
}

impl Sums {
    fn new() -> Self {
        Self {
            hessian: Matrix6::zeros(),
            gradient: Vector6::zeros(),
            moments: [0.0; 6],
            histogram: vec![0; SPREAD_BINS],
            candidates: 0,
            scores: Vec::new(),
        }
    }

    fn plus(mut self, other: Self) -> Self {
        self.hessian += other.hessian;
        self.gradient += other.gradient;
        for (a, b) in self.moments.iter_mut().zip(other.moments) {
            *a += b;
        }
        for (a, b) in self.histogram.iter_mut().zip(other.histogram) {
            *a += b;
        }
        self.candidates += other.candidates;
        self.scores.extend(other.scores);
        self
    }

    /// Scale and shift that bring moving voxels onto fixed ones, and their correlation.
    fn intensity(&self) -> (f64, f64, f64) {
        let [n, f, m, ff, mm, fm] = self.moments;
        if n < 100.0 {
            return (1.0, 0.0, 0.0);
        }
        let (vf, vm, c) = (ff - f * f / n, mm - m * m / n, fm - f * m / n);
        if vf <= 0.0 || vm <= 0.0 {
            return (1.0, 0.0, 0.0);
        }
        let scale = (c / vm).clamp(0.3, 3.0);
        (scale, (f - scale * m) / n, c / (vf * vm).sqrt())
    }

    /// 1.4826 times the median of the magnitudes of the differences.
    fn spread(&self, range: f32) -> f32 {
        let half = self.histogram.iter().map(|&c| u64::from(c)).sum::<u64>() / 2;
        let mut seen = 0u64;
        for (bin, count) in self.histogram.iter().enumerate() {
            seen += u64::from(*count);
            if seen > half {
                return 1.4826 * (bin as f32 + 0.5) * range / SPREAD_BINS as f32;
            }
        }
        range
    }
}

/// How differences are weighed in a pass.
#[derive(Debug, Clone, Copy)]
struct Weighing {
    scale: f32,
    shift: f32,
    spread: f32,
    /// Differences beyond this fall into the last bin.
    range: f32,
}

/// Find where the moving volume lies in the world of the fixed one, from `start` (`fixed world <- moving world`).
///
/// # Errors
/// `Volume` when they do not overlap at the start; `Cancelled`. An answer that is not believed carries its reasons.
pub fn register_rigid(
    fixed: &Scan,
    moving: &Scan,
    start: &Isometry3<f64>,
    settings: &RigidSettings,
) -> Result<RigidOutcome> {
    let mut levels = vec![(fixed.smoothed(), moving.smoothed())];
    while levels.len() < LEVELS_MAX {
        let Some((f, m)) = levels.last() else { break };
        match (f.halved(), m.halved()) {
            (Some(f), Some(m)) => levels.push((f, m)),
            _ => break,
        }
    }
    let mut pose = *start;
    let mut weighing = Weighing {
        scale: 1.0,
        shift: 0.0,
        spread: 300.0,
        range: 2000.0,
    };
    let (mut iterations, mut converged) = (0, false);
    let centre = fixed.centre();
    for (n, (f, m)) in levels.iter().enumerate().rev() {
        let stride = if n == 0 { FINEST_STRIDE } else { 1 };
        let tolerance = if n == 0 { 0.001 } else { 0.02 * f.spacing() };
        converged = false;
        for step in 0..STEPS_MAX {
            settings.cancel.check()?;
            let last = pass(f, m, &pose, &centre, weighing, stride, None);
            if last.moments[0] < 500.0 {
                return Err(ImagingError::Volume(
                    "the two volumes do not overlap where the search began; give a start".into(),
                ));
            }
            let (scale, shift, _) = last.intensity();
            weighing = Weighing {
                scale: scale as f32,
                shift: shift as f32,
                spread: last.spread(weighing.range).max(1.0),
                range: weighing.range,
            };
            iterations += 1;
            // The first pass of all has only found how intensities go together.
            if step == 0 && n + 1 == levels.len() {
                continue;
            }
            let Some(xi) = solve(&last) else { break };
            pose = about(&centre, &xi) * pose;
            if xi.fixed_rows::<3>(0).norm() + CORNER_MM * xi.fixed_rows::<3>(3).norm() < tolerance {
                converged = true;
                break;
            }
        }
    }
    let Some((f, m)) = levels.first() else {
        return Err(ImagingError::Settings("no level".into()));
    };
    let end = pass(f, m, &pose, &centre, weighing, FINEST_STRIDE, Some(BLOCK));
    let outcome = summarise(pose, &centre, &end, weighing, iterations, converged);
    Ok(judged(outcome, start, &centre, settings))
}

fn solve(sums: &Sums) -> Option<Vector6<f64>> {
    let damped = sums.hessian + Matrix6::from_diagonal(&(sums.hessian.diagonal() * 1e-6));
    let mut xi = damped.cholesky()?.solve(&sums.gradient);
    if xi.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let (t, r) = (xi.fixed_rows::<3>(0).norm(), xi.fixed_rows::<3>(3).norm());
    xi *= (STEP_LIMIT_MM / t.max(1e-12))
        .min(STEP_LIMIT_RAD / r.max(1e-12))
        .min(1.0);
    Some(xi)
}

/// A small motion about a point.
fn about(centre: &Point3<f64>, xi: &Vector6<f64>) -> Isometry3<f64> {
    let there = nalgebra::Translation3::from(centre.coords);
    there * small_motion(xi) * there.inverse()
}

/// One pass over the fixed voxels: differences, derivatives, moments.
#[allow(
    clippy::indexing_slicing,
    reason = "measured inner kernel; samples are checked to lie inside both volumes"
)]
fn pass(
    fixed: &Scan,
    moving: &Scan,
    pose: &Isometry3<f64>,
    centre: &Point3<f64>,
    weighing: Weighing,
    stride: usize,
    block: Option<usize>,
) -> Sums {
    let Some(index_from_world) = moving.world_from_index.try_inverse() else {
        return Sums::new();
    };
    let index_from_index =
        index_from_world * pose.inverse().to_homogeneous() * fixed.world_from_index;
    // Derivative of the moving index by a motion of the patient: a voxel at world p of the fixed volume then sees p - xi(p).
    let turn: Matrix3<f64> = (index_from_world * pose.inverse().to_homogeneous())
        .fixed_view::<3, 3>(0, 0)
        .into_owned();
    let [nx, ny, nz] = fixed.size;
    let across = block.map_or(1, |b| nx.div_ceil(b));
    let slabs: Vec<usize> = (0..nz.div_ceil(stride)).collect();
    let per_slab = block.map_or(1, |b| b.div_ceil(stride)).max(1);
    slabs
        .par_chunks(per_slab)
        .map(|group| {
            let mut sums = Sums::new();
            let mut scores =
                vec![Vector6::<f64>::zeros(); block.map_or(0, |b| across * ny.div_ceil(b))];
            for &slab in group {
                let z = slab * stride;
                for y in (0..ny).step_by(stride) {
                    let mut line = Line::new();
                    read_line(
                        fixed,
                        moving,
                        &index_from_index,
                        [y, z],
                        weighing,
                        &mut sums,
                        &mut line,
                    );
                    gather(fixed, centre, &turn, [y, z], &line, &mut sums);
                    if let Some(b) = block {
                        score(fixed, centre, &turn, [y, z], &line, b, across, &mut scores);
                    }
                }
            }
            sums.scores = scores;
            sums
        })
        .reduce(Sums::new, Sums::plus)
}

/// The samples of one row that count: column, weight, weighted difference, gradient of the moving volume in its index.
struct Line {
    samples: Vec<(u32, f32, f32, [f32; 3])>,
}

impl Line {
    fn new() -> Self {
        Self {
            samples: Vec::new(),
        }
    }
}

#[allow(
    clippy::indexing_slicing,
    reason = "measured inner kernel; the corner is checked to lie inside the moving volume"
)]
fn read_line(
    fixed: &Scan,
    moving: &Scan,
    index_from_index: &Matrix4<f64>,
    [y, z]: [usize; 2],
    weighing: Weighing,
    sums: &mut Sums,
    line: &mut Line,
) {
    let [nx, ny, _] = fixed.size;
    let start = (z * ny + y) * nx;
    let origin = index_from_index.transform_point(&Point3::new(0.0, y as f64, z as f64));
    let [ox, oy, oz] = [origin.x as f32, origin.y as f32, origin.z as f32];
    let step = index_from_index.column(0);
    let [sx, sy, sz] = [step.x as f32, step.y as f32, step.z as f32];
    let [mx, my, mz] = moving.size;
    let limit = [mx as f32 - 1.0, my as f32 - 1.0, mz as f32 - 1.0];
    let (row, plane) = (mx, mx * my);
    let limit_difference = HUBER_SIGMAS * weighing.spread;
    let bin = SPREAD_BINS as f32 / weighing.range;
    let mut moments = [0f64; 6];
    for x in 0..nx {
        if !fixed.valid[start + x] {
            continue;
        }
        sums.candidates += 1;
        let k = x as f32;
        let (u, v, w) = (ox + sx * k, oy + sy * k, oz + sz * k);
        if !(u >= 0.0 && v >= 0.0 && w >= 0.0 && u < limit[0] && v < limit[1] && w < limit[2]) {
            continue;
        }
        let (i, j, l) = (u as usize, v as usize, w as usize);
        let (a, b, c) = (u - i as f32, v - j as f32, w - l as f32);
        let at = (l * my + j) * mx + i;
        // The two far corners of the cell stand for its eight.
        if !(moving.valid[at] && moving.valid[at + plane + row + 1]) {
            continue;
        }
        let q = &moving.voxels;
        let (p000, p100, p010, p110) = (q[at], q[at + 1], q[at + row], q[at + row + 1]);
        let up = at + plane;
        let (p001, p101, p011, p111) = (q[up], q[up + 1], q[up + row], q[up + row + 1]);
        let (x00, x10, x01, x11) = (
            p000 + a * (p100 - p000),
            p010 + a * (p110 - p010),
            p001 + a * (p101 - p001),
            p011 + a * (p111 - p011),
        );
        let (y0, y1) = (x00 + b * (x10 - x00), x01 + b * (x11 - x01));
        let value = y0 + c * (y1 - y0);
        let gx = (1.0 - c) * ((1.0 - b) * (p100 - p000) + b * (p110 - p010))
            + c * ((1.0 - b) * (p101 - p001) + b * (p111 - p011));
        let gy = (1.0 - c) * (x10 - x00) + c * (x11 - x01);
        let gz = y1 - y0;
        let f = fixed.voxels[start + x];
        let (df, dm) = (f64::from(f), f64::from(value));
        moments[0] += 1.0;
        moments[1] += df;
        moments[2] += dm;
        moments[3] += df * df;
        moments[4] += dm * dm;
        moments[5] += df * dm;
        let difference = f - (weighing.scale * value + weighing.shift);
        let size = difference.abs();
        sums.histogram[((size * bin) as usize).min(SPREAD_BINS - 1)] += 1;
        if gx * gx + gy * gy + gz * gz < 1.0 {
            // Air and flat tissue say nothing about the motion.
            continue;
        }
        let weight = if size <= limit_difference {
            1.0
        } else {
            limit_difference / size
        };
        let s = weighing.scale;
        line.samples.push((
            x as u32,
            weight,
            weight * difference,
            [s * gx, s * gy, s * gz],
        ));
    }
    for (total, part) in sums.moments.iter_mut().zip(moments) {
        *total += part;
    }
}

/// The derivative of a sample by the six motions about the centre: gradient in the world, and its moment.
#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "vectors of three and six")]
fn derivative(turn: &[[f32; 3]; 3], arm: [f32; 3], g: [f32; 3]) -> [f32; 6] {
    // Moving the patient by xi carries the sample back by xi: the sign is minus.
    let world: [f32; 3] =
        std::array::from_fn(|c| -(turn[0][c] * g[0] + turn[1][c] * g[1] + turn[2][c] * g[2]));
    [
        world[0],
        world[1],
        world[2],
        arm[1] * world[2] - arm[2] * world[1],
        arm[2] * world[0] - arm[0] * world[2],
        arm[0] * world[1] - arm[1] * world[0],
    ]
}

fn rows_of(turn: &Matrix3<f64>) -> [[f32; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|k| turn[(i, k)] as f32))
}

fn arm_of(fixed: &Scan, centre: &Point3<f64>, [y, z]: [usize; 2]) -> ([f32; 3], [f32; 3]) {
    let at = fixed
        .world_from_index
        .transform_point(&Point3::new(0.0, y as f64, z as f64))
        - centre;
    let step = fixed.world_from_index.column(0);
    (
        [at.x as f32, at.y as f32, at.z as f32],
        [step.x as f32, step.y as f32, step.z as f32],
    )
}

#[allow(
    clippy::indexing_slicing,
    reason = "measured inner kernel over arrays of six and 27"
)]
fn gather(
    fixed: &Scan,
    centre: &Point3<f64>,
    turn: &Matrix3<f64>,
    place: [usize; 2],
    line: &Line,
    sums: &mut Sums,
) {
    let turn = rows_of(turn);
    let (arm, step) = arm_of(fixed, centre, place);
    let mut total = [0f32; 27];
    for &(x, weight, difference, g) in &line.samples {
        let k = x as f32;
        let j = derivative(&turn, std::array::from_fn(|a| arm[a] + step[a] * k), g);
        let mut n = 0;
        for a in 0..6 {
            let wj = weight * j[a];
            for other in j.iter().take(a + 1) {
                total[n] += wj * other;
                n += 1;
            }
        }
        for a in 0..6 {
            total[21 + a] += difference * j[a];
        }
    }
    let mut n = 0;
    for a in 0..6 {
        for b in 0..=a {
            let v = f64::from(total[n]);
            sums.hessian[(a, b)] += v;
            if a != b {
                sums.hessian[(b, a)] += v;
            }
            n += 1;
        }
        sums.gradient[a] += f64::from(total[21 + a]);
    }
}

#[allow(
    clippy::indexing_slicing,
    clippy::too_many_arguments,
    reason = "blocks of the fixed volume, inside by construction"
)]
fn score(
    fixed: &Scan,
    centre: &Point3<f64>,
    turn: &Matrix3<f64>,
    place: [usize; 2],
    line: &Line,
    block: usize,
    across: usize,
    scores: &mut [Vector6<f64>],
) {
    let turn = rows_of(turn);
    let (arm, step) = arm_of(fixed, centre, place);
    for &(x, _, difference, g) in &line.samples {
        let k = x as f32;
        let j = derivative(&turn, std::array::from_fn(|a| arm[a] + step[a] * k), g);
        let cell = &mut scores[place[0] / block * across + x as usize / block];
        for a in 0..6 {
            cell[a] += f64::from(difference * j[a]);
        }
    }
}

fn summarise(
    pose: Isometry3<f64>,
    centre: &Point3<f64>,
    end: &Sums,
    weighing: Weighing,
    iterations: usize,
    converged: bool,
) -> RigidOutcome {
    let (scale, shift, similarity) = end.intensity();
    let meat: Matrix6<f64> = end.scores.iter().map(|s| s * s.transpose()).sum();
    let about_centre = end
        .hessian
        .cholesky()
        .map_or(Matrix6::identity() * 1e6, |c| {
            let inverse = c.inverse();
            inverse * meat * inverse
        });
    // From a motion about the centre to one about the origin: t' = t - w x c.
    let mut shift_origin = Matrix6::identity();
    shift_origin
        .fixed_view_mut::<3, 3>(0, 3)
        .copy_from(&centre.coords.cross_matrix());
    RigidOutcome {
        pose,
        covariance: shift_origin * about_centre * shift_origin.transpose(),
        similarity,
        overlap: end.moments[0] / end.candidates.max(1) as f64,
        spread_hu: f64::from(end.spread(weighing.range)),
        intensity: (scale, shift),
        iterations,
        converged,
        reasons: Vec::new(),
    }
}

/// Not a number falls short of everything.
fn short_of(value: f64, limit: f64) -> bool {
    value.is_nan() || limit.is_nan() || value < limit
}

fn judged(
    mut found: RigidOutcome,
    start: &Isometry3<f64>,
    centre: &Point3<f64>,
    settings: &RigidSettings,
) -> RigidOutcome {
    let moved = (found.pose * start.inverse() * centre - centre).norm();
    if short_of(found.similarity, SIMILARITY_MIN) {
        found.reasons.push(format!(
            "the volumes do not look alike (correlation {:.2}, {SIMILARITY_MIN} needed); check patient and plan",
            found.similarity
        ));
    }
    if short_of(found.overlap, OVERLAP_MIN) {
        found.reasons.push(format!(
            "only {:.0} % of the volume is covered by the other ({:.0} % needed)",
            found.overlap * 100.0,
            OVERLAP_MIN * 100.0
        ));
    }
    if !found.converged {
        found.reasons.push("the search did not settle".into());
    }
    if short_of(settings.displacement_max_mm, moved) {
        found.reasons.push(format!(
            "found {moved:.0} mm from where the search began; set the patient up again"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use nalgebra::Vector3;

    use super::*;

    /// Blobs on a body of water, sampled wherever the patient lies.
    fn scan(pose: &Isometry3<f64>, scale: f32, noise: u32) -> Scan {
        let size = [72, 64, 60];
        let affine = Matrix4::new(
            2.5, 0.0, 0.0, -88.75, 0.0, 2.5, 0.0, -78.75, 0.0, 0.0, 2.5, -73.75, 0.0, 0.0, 0.0, 1.0,
        );
        let mut state = noise;
        let mut voxels = Vec::new();
        for z in 0..size[2] {
            for y in 0..size[1] {
                for x in 0..size[0] {
                    let p = affine.transform_point(&Point3::new(x as f64, y as f64, z as f64));
                    let q = pose.inverse() * p;
                    let body = 1000.0
                        / (1.0
                            + (0.3
                                * (q.coords.component_mul(&Vector3::new(1.0, 1.2, 1.1)).norm()
                                    - 55.0))
                                .exp());
                    let blob = |c: [f64; 3], r: f64, h: f64| {
                        h * (-(q - Point3::from(c)).norm_squared() / (2.0 * r * r)).exp()
                    };
                    let hu = body - 1000.0
                        + blob([20.0, 10.0, -15.0], 9.0, 700.0)
                        + blob([-25.0, -12.0, 8.0], 11.0, -600.0)
                        + blob([5.0, 25.0, 22.0], 7.0, 900.0)
                        + blob([-8.0, -20.0, -25.0], 8.0, 500.0);
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let n = (f64::from(state >> 8) / f64::from(1u32 << 24) - 0.5) * 100.0;
                    voxels.push((hu + n) as f32 * scale + 20.0 * (scale - 1.0));
                }
            }
        }
        Scan::new(voxels, size, affine).unwrap()
    }

    fn worst_mm(a: &Isometry3<f64>, b: &Isometry3<f64>) -> f64 {
        let mut worst = 0f64;
        for corner in 0..8 {
            let s = |bit: u32| if corner & bit == 0 { -60.0 } else { 60.0 };
            let p = Point3::new(s(1), s(2), s(4));
            worst = worst.max((a * p - b * p).norm());
        }
        worst
    }

    #[test]
    fn a_known_motion_is_found_in_noise_and_with_another_scale_of_intensities() {
        let truth = Isometry3::new(
            Vector3::new(9.0, -7.0, 11.0),
            Vector3::new(0.06, -0.05, 0.07),
        );
        let moving = scan(&Isometry3::identity(), 1.0, 3);
        for scale in [1.0, 0.8] {
            let fixed = scan(&truth, scale, 77);
            let found = register_rigid(
                &fixed,
                &moving,
                &Isometry3::identity(),
                &RigidSettings::default(),
            )
            .unwrap();
            assert!(found.reasons.is_empty(), "{:?}", found.reasons);
            let miss = worst_mm(&found.pose, &truth);
            assert!(miss < 0.1, "{miss}");
            assert!((found.intensity.0 - f64::from(scale)).abs() < 0.05);
            assert!(
                found
                    .covariance
                    .diagonal()
                    .iter()
                    .all(|v| *v > 0.0 && *v < 0.01)
            );
        }
    }

    #[test]
    fn voxels_that_hold_nothing_are_left_out() {
        let truth = Isometry3::new(
            Vector3::new(3.0, 2.0, -4.0),
            Vector3::new(0.02, 0.01, -0.03),
        );
        let mut fixed = scan(&truth, 1.0, 5);
        for (n, (v, ok)) in fixed.voxels.iter_mut().zip(&mut fixed.valid).enumerate() {
            if n % 72 < 20 {
                *v = -1000.0;
                *ok = false;
            }
        }
        let moving = scan(&Isometry3::identity(), 1.0, 6);
        let found = register_rigid(
            &fixed,
            &moving,
            &Isometry3::identity(),
            &RigidSettings::default(),
        )
        .unwrap();
        let miss = worst_mm(&found.pose, &truth);
        // A tenth of a voxel, a quarter of the volume gone.
        assert!(miss < 0.3, "{miss}");
    }

    #[test]
    fn another_patient_is_not_believed_and_no_overlap_is_an_error() {
        let fixed = scan(&Isometry3::identity(), 1.0, 5);
        let mut other = fixed.clone();
        for (n, v) in other.voxels.iter_mut().enumerate() {
            *v = ((n * 7919) % 1000) as f32;
        }
        let found = register_rigid(
            &fixed,
            &other,
            &Isometry3::identity(),
            &RigidSettings::default(),
        )
        .unwrap();
        assert!(!found.reasons.is_empty());
        let away = Isometry3::translation(900.0, 0.0, 0.0);
        assert!(register_rigid(&fixed, &fixed, &away, &RigidSettings::default()).is_err());
    }

    #[test]
    fn a_cancelled_search_ends() {
        let fixed = scan(&Isometry3::identity(), 1.0, 5);
        let settings = RigidSettings::default();
        settings.cancel.cancel();
        assert_eq!(
            register_rigid(&fixed, &fixed, &Isometry3::identity(), &settings).unwrap_err(),
            ImagingError::Cancelled
        );
    }
}
