//! The fast projector: a slab-separable Joseph projection (Joseph, IEEE TMI 1982;1:192; shear-warp, Lacroute 1994).
//!
//! Rays from one source through the slabs across one index axis form a fan: from a base plane in the middle of the volume to any
//! slab the map is a scale and a shift, the same for every row and column. So each slab is interpolated by rows and then by columns
//! into one image on the base plane, and only that image is warped onto the panel, with the path length per slab of each ray.

use nalgebra::Isometry3;
use rayon::prelude::*;

use crate::error::{ImagingError, Result};
use crate::geometry::Projection;
use crate::kernel::{
    Isa, LANES, RowPair, STEP_MAX, Taps, Target, WEIGHT_ONE, add_rows, interpolate_row, prepare,
};
use crate::ray::IndexRays;
use crate::volume::{Layout, ROW_FRONT, SlabBox, Volume, WORD_MAX, in_slab};

/// Output rows and 16-wide blocks of one tile: its accumulators stay in the first-level cache while the slabs stream by.
const TILE_ROWS: usize = 24;
const TILE_BLOCKS: usize = 12;

/// Base-plane image and the way from it to the panel.
#[derive(Debug, Clone)]
struct Plan {
    rays: IndexRays,
    axis: usize,
    p_axis: usize,
    q_axis: usize,
    /// Index of the base plane along `axis`.
    base: f64,
    /// Base-plane grid: origin and step in voxels, sizes.
    p0: f64,
    q0: f64,
    dp: f64,
    dq: f64,
    ni: usize,
    nj: usize,
}

/// The scale and shift from the base-plane grid to one slab: `p = a + b i`, `q = c + d j`.
struct SlabMap {
    a: f64,
    b: f64,
    c: f64,
    d: f64,
}

/// Per pixel the two integrals from which a DRR and its derivatives follow, along the ray parameter (0 source, 1 panel):
/// `integral` of attenuation, and `weighted`, attenuation over the ray parameter. Neither holds the ray length.
#[derive(Debug, Default)]
pub(crate) struct RayIntegrals {
    pub integral: Vec<f32>,
    pub weighted: Vec<f32>,
}

/// Line integrals of attenuation from the source to every pixel centre, row by row, dimensionless.
///
/// `fixed_from_patient` places the patient. Agrees with [`crate::project_exact`] to the difference between voxels taken as boxes and as
/// trilinear samples.
///
/// # Errors
/// `Geometry` when the volume does not lie between source and panel, or the pose is not finite.
pub fn project_fast(
    volume: &Volume,
    projection: &Projection,
    fixed_from_patient: &Isometry3<f64>,
) -> Result<Vec<f32>> {
    project_fast_with(volume, projection, fixed_from_patient, Isa::best())
}

/// [`project_fast`] with a named instruction set; one the processor lacks is replaced by the scalar path.
///
/// # Errors
/// As [`project_fast`].
pub fn project_fast_with(
    volume: &Volume,
    projection: &Projection,
    fixed_from_patient: &Isometry3<f64>,
    isa: Isa,
) -> Result<Vec<f32>> {
    let isa = if Isa::available().contains(&isa) {
        isa
    } else {
        Isa::Scalar
    };
    let rays = IndexRays::new(volume, projection, fixed_from_patient)?;
    let plan = Plan::new(volume, projection, rays)?;
    let mut sum = vec![0f32; plan.ni * plan.nj];
    accumulate(volume.layout(plan.axis), &plan, isa, &mut sum, None);
    let mut image = vec![0f32; projection.rows * projection.cols];
    let scale = word_scale(volume);
    image
        .par_chunks_mut(projection.cols)
        .enumerate()
        .for_each(|(row, line)| {
            warp_row(isa, &plan, &sum, row, scale, RayFactor::PerSlab, line);
            for (col, value) in line.iter_mut().enumerate() {
                *value *= rays.length_mm(col as f64, row as f64) as f32;
            }
        });
    Ok(image)
}

/// Both integrals of every ray, into buffers that are reused.
pub(crate) fn project_integrals(
    volume: &Volume,
    projection: &Projection,
    fixed_from_patient: &Isometry3<f64>,
    isa: Isa,
    out: &mut RayIntegrals,
) -> Result<()> {
    let rays = IndexRays::new(volume, projection, fixed_from_patient)?;
    let plan = Plan::new(volume, projection, rays)?;
    let mut sum = vec![0f32; plan.ni * plan.nj];
    let mut weighted = vec![0f32; plan.ni * plan.nj];
    accumulate(
        volume.layout(plan.axis),
        &plan,
        isa,
        &mut sum,
        Some(&mut weighted),
    );
    let pixels = projection.rows * projection.cols;
    out.integral.resize(pixels, 0.0);
    out.weighted.resize(pixels, 0.0);
    let scale = word_scale(volume);
    out.integral
        .par_chunks_mut(projection.cols)
        .zip(out.weighted.par_chunks_mut(projection.cols))
        .enumerate()
        .for_each(|(row, (integral, over_depth))| {
            warp_row(isa, &plan, &sum, row, scale, RayFactor::PerSlab, integral);
            warp_row(
                isa,
                &plan,
                &weighted,
                row,
                scale,
                RayFactor::One,
                over_depth,
            );
        });
    Ok(())
}

/// From the integer sums of the kernels to attenuation.
fn word_scale(volume: &Volume) -> f32 {
    volume.mu_max / (WORD_MAX * WEIGHT_ONE)
}

impl Plan {
    #[allow(clippy::indexing_slicing, reason = "axes are 0 to 2")]
    fn new(volume: &Volume, projection: &Projection, rays: IndexRays) -> Result<Self> {
        let (last_col, last_row) = (projection.cols as f64 - 1.0, projection.rows as f64 - 1.0);
        let centre = rays.direction(last_col / 2.0, last_row / 2.0);
        let spacing = volume.spacing_mm();
        let along = |axis: usize| (centre[axis] * spacing[axis]).abs();
        let axis = (0..3)
            .max_by(|&m, &n| along(m).total_cmp(&along(n)))
            .unwrap_or(1);
        let (p_axis, q_axis) = in_slab(axis);
        let layout = volume.layout(axis);
        let (Some(first), Some(last)) = (
            layout.boxes.iter().position(Option::is_some),
            layout.boxes.iter().rposition(Option::is_some),
        ) else {
            return Err(ImagingError::Volume(
                "there is nothing in it: no voxel attenuates".into(),
            ));
        };
        let corners = [
            (0.0, 0.0),
            (last_col, 0.0),
            (0.0, last_row),
            (last_col, last_row),
        ];
        check_between(&rays, axis, [first as f64, last as f64], &corners)?;
        let source = rays.source[axis];
        let base = (first + last) as f64 / 2.0;
        let largest = ((first as f64 - source) / (base - source))
            .max((last as f64 - source) / (base - source));
        let on_base = |col: f64, row: f64| -> [f64; 2] {
            let d = rays.direction(col, row);
            let t = (base - source) / d[axis];
            [
                rays.source[p_axis] + t * d[p_axis],
                rays.source[q_axis] + t * d[q_axis],
            ]
        };
        let here = on_base(last_col / 2.0, last_row / 2.0);
        let [right, below] = [
            on_base(last_col / 2.0 + 1.0, last_row / 2.0),
            on_base(last_col / 2.0, last_row / 2.0 + 1.0),
        ];
        let step = |n: usize| {
            (right[n] - here[n])
                .abs()
                .max((below[n] - here[n]).abs())
                .min(STEP_MAX / largest)
        };
        let seen = corners.map(|(col, row)| on_base(col, row));
        let range = |n: usize, other: usize, size: usize, step: f64| {
            let (low, high) = footprint(
                [first as f64, last as f64],
                base,
                source,
                rays.source[other],
                size,
            );
            let from = seen
                .iter()
                .map(|s| s[n])
                .fold(f64::INFINITY, f64::min)
                .max(low)
                - 3.0 * step;
            let to = seen
                .iter()
                .map(|s| s[n])
                .fold(f64::NEG_INFINITY, f64::max)
                .min(high)
                + 3.0 * step;
            (from, ((to - from) / step).ceil().max(1.0) as usize + 1)
        };
        let (dp, dq) = (step(0), step(1));
        let (p0, ni) = range(0, p_axis, layout.np, dp);
        let (q0, nj) = range(1, q_axis, layout.nq, dq);
        Ok(Self {
            rays,
            axis,
            p_axis,
            q_axis,
            base,
            p0,
            q0,
            dp,
            dq,
            ni: ni.div_ceil(LANES) * LANES,
            nj,
        })
    }

    #[allow(clippy::indexing_slicing, reason = "axes are 0 to 2")]
    fn slab(&self, k: usize) -> SlabMap {
        let s = &self.rays.source;
        let scale = (k as f64 - s[self.axis]) / (self.base - s[self.axis]);
        SlabMap {
            a: s[self.p_axis] + (self.p0 - s[self.p_axis]) * scale,
            b: self.dp * scale,
            c: s[self.q_axis] + (self.q0 - s[self.q_axis]) * scale,
            d: self.dq * scale,
        }
    }
}

/// Range on the base plane in which slabs can be seen at all.
fn footprint(
    slabs: [f64; 2],
    base: f64,
    source: f64,
    source_across: f64,
    size: usize,
) -> (f64, f64) {
    let mut range = (f64::INFINITY, f64::NEG_INFINITY);
    for slab in slabs {
        let scale = (slab - source) / (base - source);
        for edge in [-1.0, size as f64] {
            let at = source_across + (edge - source_across) / scale;
            range = (range.0.min(at), range.1.max(at));
        }
    }
    range
}

/// All slabs with tissue must lie between the source and the panel on every ray.
#[allow(clippy::indexing_slicing, reason = "axis is 0 to 2")]
fn check_between(
    rays: &IndexRays,
    axis: usize,
    slabs: [f64; 2],
    corners: &[(f64, f64)],
) -> Result<()> {
    for &(col, row) in corners {
        let d = rays.direction(col, row);
        let inside = slabs.iter().all(|slab| {
            let t = (slab - rays.source[axis]) / d[axis];
            t > 1e-3 && t < 1.0
        });
        if !inside {
            return Err(ImagingError::Geometry(
                "the CT reaches behind the source or beyond the panel at this pose; check the couch position and SAD, SID in mm".into(),
            ));
        }
    }
    Ok(())
}

fn accumulate(
    layout: &Layout,
    plan: &Plan,
    isa: Isa,
    sum: &mut [f32],
    weighted: Option<&mut [f32]>,
) {
    let rows = TILE_ROWS * plan.ni;
    match weighted {
        None => sum.par_chunks_mut(rows).enumerate().for_each(|(n, tile)| {
            accumulate_tile(layout, plan, isa, n * TILE_ROWS, tile, None);
        }),
        Some(weighted) => {
            sum.par_chunks_mut(rows)
                .zip(weighted.par_chunks_mut(rows))
                .enumerate()
                .for_each(|(n, (tile, over_depth))| {
                    accumulate_tile(layout, plan, isa, n * TILE_ROWS, tile, Some(over_depth));
                });
        }
    }
}

/// Add every slab to the rows `j0..` of the base-plane image.
#[allow(
    clippy::indexing_slicing,
    reason = "axes are 0 to 2; ranges are cut to the tile above each use"
)]
fn accumulate_tile(
    layout: &Layout,
    plan: &Plan,
    isa: Isa,
    j0: usize,
    sum: &mut [f32],
    mut weighted: Option<&mut [f32]>,
) {
    let j1 = j0 + sum.len() / plan.ni;
    let blocks = plan.ni / LANES;
    let mut taps = [Taps::EMPTY; TILE_BLOCKS];
    let mut rows: Vec<f32> = Vec::new();
    let mut pairs: Vec<RowPair> = Vec::with_capacity(TILE_ROWS);
    for tile in (0..blocks).step_by(TILE_BLOCKS) {
        let tile_end = (tile + TILE_BLOCKS).min(blocks);
        for (k, slab_box) in layout.boxes.iter().enumerate() {
            let Some(slab_box) = slab_box else { continue };
            let map = plan.slab(k);
            let Some((b0, b1)) = block_range(&map, slab_box, tile, tile_end) else {
                continue;
            };
            let Some((jl, jh)) = row_range(&map, slab_box, j0, j1) else {
                continue;
            };
            let taps = &mut taps[..b1 - b0];
            prepare(isa, taps, b0, map.a, map.b);
            let width = taps.len() * LANES;
            let q_first = (map.c + map.d * jl as f64).floor() as i64;
            pairs.clear();
            for j in jl..jh {
                let q = map.c + map.d * j as f64;
                pairs.push(RowPair {
                    row: (q.floor() as i64 - q_first) as usize,
                    fraction: (q - q.floor()) as f32,
                });
            }
            let needed = pairs.last().map_or(0, |p| p.row + 2);
            if rows.len() < needed * width {
                rows.resize(needed * width, 0.0);
            }
            for (r, out) in rows.chunks_exact_mut(width).take(needed).enumerate() {
                let q = q_first + r as i64;
                if q < slab_box.q0 as i64 || q > slab_box.q1 as i64 {
                    out.fill(0.0);
                } else {
                    let origin = (k * layout.nq + q as usize) * layout.stride + ROW_FRONT;
                    interpolate_row(isa, &layout.words, origin, taps, out);
                }
            }
            let target = Target {
                sum,
                weighted: weighted.as_deref_mut(),
                stride: plan.ni,
                start: (jl - j0) * plan.ni + b0 * LANES,
                width,
            };
            let over_depth = 1.0 / (k as f64 - plan.rays.source[plan.axis]).abs();
            add_rows(isa, &rows, width, &pairs, target, over_depth as f32);
        }
    }
}

/// Blocks of 16 columns that one slab touches within a tile.
fn block_range(
    map: &SlabMap,
    slab: &SlabBox,
    tile: usize,
    tile_end: usize,
) -> Option<(usize, usize)> {
    let first = ((slab.p0 as f64 - 1.0 - map.a) / map.b).floor().max(0.0) as usize / LANES;
    let last = ((slab.p1 as f64 + 1.0 - map.a) / map.b).ceil() + 1.0;
    let (b0, b1) = (
        first.max(tile),
        (last.max(0.0) as usize).div_ceil(LANES).min(tile_end),
    );
    (b1 > b0).then_some((b0, b1))
}

/// Rows that one slab touches within a tile.
fn row_range(map: &SlabMap, slab: &SlabBox, j0: usize, j1: usize) -> Option<(usize, usize)> {
    let first = ((slab.q0 as f64 - 1.0 - map.c) / map.d)
        .ceil()
        .max(j0 as f64) as usize;
    let last = (((slab.q1 as f64 + 1.0 - map.c) / map.d).floor() + 1.0)
        .max(0.0)
        .min(j1 as f64) as usize;
    (last > first).then_some((first, last))
}

/// What a base-plane value is multiplied with on its way to the panel.
#[derive(Clone, Copy)]
enum RayFactor {
    /// The ray parameter spent in one slab.
    PerSlab,
    One,
}

fn warp_row(
    isa: Isa,
    plan: &Plan,
    sum: &[f32],
    row: usize,
    scale: f32,
    factor: RayFactor,
    out: &mut [f32],
) {
    match isa {
        // SAFETY: `Isa` values beyond the scalar one exist only after the processor was asked.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { warp_row_avx512(plan, sum, row, scale, factor, out) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { warp_row_avx2(plan, sum, row, scale, factor, out) },
        _ => warp_row_portable(plan, sum, row, scale, factor, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn warp_row_avx512(
    plan: &Plan,
    sum: &[f32],
    row: usize,
    scale: f32,
    factor: RayFactor,
    out: &mut [f32],
) {
    warp_row_portable(plan, sum, row, scale, factor, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn warp_row_avx2(
    plan: &Plan,
    sum: &[f32],
    row: usize,
    scale: f32,
    factor: RayFactor,
    out: &mut [f32],
) {
    warp_row_portable(plan, sum, row, scale, factor, out);
}

/// Bilinear samples of the base-plane image where the rays of one pixel row cross it; rays beside it see nothing.
#[inline(always)]
#[allow(
    clippy::indexing_slicing,
    reason = "measured inner kernel; the sample is clamped into the grid first"
)]
fn warp_row_portable(
    plan: &Plan,
    sum: &[f32],
    row: usize,
    scale: f32,
    factor: RayFactor,
    out: &mut [f32],
) {
    let rays = &plan.rays;
    let start = |axis: usize| rays.component(axis, 0.0, row as f64) as f32;
    let step = |axis: usize| rays.col_step[axis] as f32;
    let (a0, p0, q0) = (start(plan.axis), start(plan.p_axis), start(plan.q_axis));
    let (da, dp, dq) = (step(plan.axis), step(plan.p_axis), step(plan.q_axis));
    let reach = (plan.base - rays.source[plan.axis]) as f32;
    let (inv_p, inv_q) = (1.0 / plan.dp as f32, 1.0 / plan.dq as f32);
    let (off_p, off_q) = (
        (rays.source[plan.p_axis] - plan.p0) as f32 * inv_p,
        (rays.source[plan.q_axis] - plan.q0) as f32 * inv_q,
    );
    let (lim_i, lim_j) = (plan.ni as f32 - 1.001, plan.nj as f32 - 1.001);
    for (chunk, values) in out.chunks_mut(LANES).enumerate() {
        let mut at = [0usize; LANES];
        let mut weights = [[0f32; LANES]; 3];
        for lane in 0..LANES {
            let col = (chunk * LANES + lane) as f32;
            let inv = 1.0 / (a0 + da * col);
            let t = reach * inv;
            let x = off_p + t * (p0 + dp * col) * inv_p;
            let y = off_q + t * (q0 + dq * col) * inv_q;
            let inside = x >= 0.0 && y >= 0.0 && x <= lim_i && y <= lim_j;
            let (x, y) = (x.max(0.0).min(lim_i), y.max(0.0).min(lim_j));
            // SAFETY: clamped to the grid, which has fewer than 2^24 rows or columns; max() turns NaN into 0.
            let (i, j) = unsafe { (x.to_int_unchecked::<i32>(), y.to_int_unchecked::<i32>()) };
            at[lane] = j as usize * plan.ni + i as usize;
            weights[0][lane] = x - i as f32;
            weights[1][lane] = y - j as f32;
            let by = match factor {
                RayFactor::PerSlab => inv.abs() * scale,
                RayFactor::One => scale,
            };
            weights[2][lane] = if inside { by } else { 0.0 };
        }
        for (lane, value) in values.iter_mut().enumerate() {
            let upper = &sum[at[lane]..at[lane] + 2];
            let lower = &sum[at[lane] + plan.ni..at[lane] + plan.ni + 2];
            let a = upper[0] + weights[0][lane] * (upper[1] - upper[0]);
            let b = lower[0] + weights[0][lane] * (lower[1] - lower[0]);
            *value = weights[2][lane] * (a + weights[1][lane] * (b - a));
        }
    }
}
