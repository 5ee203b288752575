//! The fast projector: a slab-separable Joseph projection (Joseph, IEEE TMI 1982;1:192; shear-warp, Lacroute 1994).
//!
//! Rays from one source through the slabs across one index axis form a fan: from a base plane in the middle of the volume to any
//! slab the map is a scale and a shift, the same for every row and column. So each slab is interpolated by rows and then by columns
//! into one image on the base plane, and only that image is warped onto the panel, with the path length per slab of each ray.

use std::ops::Range;

use nalgebra::Isometry3;
use rayon::prelude::*;

use crate::error::{ImagingError, Result};
use crate::geometry::Projection;
use crate::kernel::{
    GROUP, Isa, LANES, Part, STEP_MAX, Taps, WEIGHT_ONE, add_parts, interpolate_row, prepare,
};
use crate::ray::IndexRays;
use crate::volume::{Layout, ROW_FRONT, SlabBox, Volume, WORD_MAX, in_slab};

/// Tiles of the base-plane image (whole rows of it), as many as keep a few cores busy, and the least and most rows of one.
const TILES: usize = 8;
const TILE_ROWS_MIN: usize = 12;
const TILE_ROWS_MAX: usize = 64;

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

    /// Index of the source along the axis across the slabs.
    #[allow(clippy::indexing_slicing, reason = "axes are 0 to 2")]
    fn source_along(&self) -> f64 {
        self.rays.source[self.axis]
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
    let height = plan.nj.div_ceil(TILES).clamp(TILE_ROWS_MIN, TILE_ROWS_MAX);
    let tile_of = |n: usize| Tile {
        layout,
        plan,
        isa,
        j0: n * height,
    };
    let chunk = height * plan.ni;
    match weighted {
        None => sum.par_chunks_mut(chunk).enumerate().for_each(|(n, sum)| {
            tile_of(n).accumulate(sum, None);
        }),
        Some(weighted) => {
            sum.par_chunks_mut(chunk)
                .zip(weighted.par_chunks_mut(chunk))
                .enumerate()
                .for_each(|(n, (sum, over_depth))| {
                    tile_of(n).accumulate(sum, Some(over_depth));
                });
        }
    }
}

/// Some rows of the base-plane image, from `j0` on.
struct Tile<'a> {
    layout: &'a Layout,
    plan: &'a Plan,
    isa: Isa,
    j0: usize,
}

/// One slab of the group that is being added to a tile, and its two interpolated rows in use.
struct Lane {
    k: usize,
    map: SlabMap,
    slab_box: SlabBox,
    /// Blocks of 16 columns and rows of the base-plane image that it touches.
    blocks: (usize, usize),
    rows: (usize, usize),
    depth_weight: f32,
    taps: Vec<Taps>,
    /// Rows q and q + 1 by the parity of q, as wide as the plan; zero beside `blocks`.
    interpolated: [Vec<f32>; 2],
    /// Which voxel row each of them holds.
    holds: [i64; 2],
}

const NO_ROW: i64 = i64::MIN;

impl Tile<'_> {
    /// Add every slab. Slabs go in groups: a row of the image is then read and written once for all of a group, while the voxel
    /// rows of each slab come in the order in which they lie in memory.
    fn accumulate(&self, sum: &mut [f32], mut weighted: Option<&mut [f32]>) {
        let j1 = self.j0 + sum.len() / self.plan.ni;
        let mut lanes: Vec<Lane> = (0..GROUP).map(|_| Lane::new(self.plan.ni)).collect();
        let mut count = 0;
        for (k, slab_box) in self.layout.boxes.iter().enumerate() {
            let Some(slab_box) = slab_box else { continue };
            if let Some(lane) = lanes.get_mut(count)
                && lane.set(self, k, *slab_box, j1)
            {
                count += 1;
            }
            if count == GROUP {
                self.add(&mut lanes, sum, weighted.as_deref_mut());
                count = 0;
            }
        }
        lanes.truncate(count);
        self.add(&mut lanes, sum, weighted);
    }

    /// Add one group.
    fn add(&self, lanes: &mut [Lane], sum: &mut [f32], mut weighted: Option<&mut [f32]>) {
        let ni = self.plan.ni;
        let least = |of: fn(&Lane) -> usize| lanes.iter().map(of).min().unwrap_or(0);
        let most = |of: fn(&Lane) -> usize| lanes.iter().map(of).max().unwrap_or(0);
        let columns = least(|l| l.blocks.0) * LANES..most(|l| l.blocks.1) * LANES;
        let rows = least(|l| l.rows.0)..most(|l| l.rows.1);
        for j in rows {
            let mut parts: [Part<'_>; GROUP] = Default::default();
            let mut count = 0;
            for lane in lanes.iter_mut() {
                if let Some(slot) = parts.get_mut(count)
                    && let Some(part) = lane.part(self, j, columns.clone())
                {
                    *slot = part;
                    count += 1;
                }
            }
            let at = (j - self.j0) * ni;
            let range = at + columns.start..at + columns.end;
            let (Some(parts), Some(sum)) = (parts.get(..count), sum.get_mut(range.clone())) else {
                continue;
            };
            let over_depth = weighted.as_deref_mut().and_then(|w| w.get_mut(range));
            add_parts(self.isa, parts, sum, over_depth);
        }
    }
}

impl Lane {
    fn new(width: usize) -> Self {
        Self {
            k: 0,
            map: SlabMap {
                a: 0.0,
                b: 0.0,
                c: 0.0,
                d: 0.0,
            },
            slab_box: SlabBox {
                q0: 0,
                q1: 0,
                p0: 0,
                p1: 0,
            },
            blocks: (0, 0),
            rows: (0, 0),
            depth_weight: 0.0,
            taps: Vec::with_capacity(width / LANES),
            interpolated: [vec![0.0; width], vec![0.0; width]],
            holds: [NO_ROW; 2],
        }
    }

    /// Take up a slab; false when it does not touch the tile.
    fn set(&mut self, tile: &Tile<'_>, k: usize, slab_box: SlabBox, j1: usize) -> bool {
        let plan = tile.plan;
        let map = plan.slab(k);
        let Some(blocks) = block_range(&map, &slab_box, plan.ni / LANES) else {
            return false;
        };
        let Some(rows) = row_range(&map, &slab_box, tile.j0, j1) else {
            return false;
        };
        self.taps.clear();
        self.taps.resize(blocks.1 - blocks.0, Taps::EMPTY);
        prepare(tile.isa, &mut self.taps, blocks.0, map.a, map.b);
        for row in &mut self.interpolated {
            let (before, after) = (blocks.0 * LANES, blocks.1 * LANES);
            row.get_mut(..before).unwrap_or_default().fill(0.0);
            row.get_mut(after..).unwrap_or_default().fill(0.0);
        }
        self.depth_weight = (1.0 / (k as f64 - plan.source_along()).abs()) as f32;
        (self.k, self.map, self.slab_box) = (k, map, slab_box);
        (self.blocks, self.rows, self.holds) = (blocks, rows, [NO_ROW; 2]);
        true
    }

    /// What it adds to row `j`: the two voxel rows beside it, interpolated; `None` beyond its rows.
    fn part(&mut self, tile: &Tile<'_>, j: usize, columns: Range<usize>) -> Option<Part<'_>> {
        if j < self.rows.0 || j >= self.rows.1 {
            return None;
        }
        let q = self.map.c + self.map.d * j as f64;
        let above = whole(q);
        self.hold(tile, above);
        self.hold(tile, above + 1);
        let [even, odd] = &self.interpolated;
        let (upper, lower) = if above & 1 == 0 {
            (even, odd)
        } else {
            (odd, even)
        };
        Some(Part {
            upper: upper.get(columns.clone())?,
            lower: lower.get(columns)?,
            fraction: (q - above as f64) as f32,
            depth_weight: self.depth_weight,
        })
    }

    /// Have voxel row `q` interpolated.
    fn hold(&mut self, tile: &Tile<'_>, q: i64) {
        let parity = (q & 1) as usize;
        let (Some(held), Some(row)) = (
            self.holds.get_mut(parity),
            self.interpolated
                .get_mut(parity)
                .and_then(|row| row.get_mut(self.blocks.0 * LANES..self.blocks.1 * LANES)),
        ) else {
            return;
        };
        if *held == q {
            return;
        }
        *held = q;
        if q < self.slab_box.q0 as i64 || q > self.slab_box.q1 as i64 {
            row.fill(0.0);
        } else {
            let layout = tile.layout;
            let origin = (self.k * layout.nq + q as usize) * layout.stride + ROW_FRONT;
            interpolate_row(tile.isa, &layout.words, origin, &self.taps, row);
        }
    }
}

/// The largest whole number not above; unlike `floor` never a call into a library.
fn whole(x: f64) -> i64 {
    let towards_zero = x as i64;
    towards_zero - i64::from(towards_zero as f64 > x)
}

/// Blocks of 16 columns, of so many, that one slab touches.
fn block_range(map: &SlabMap, slab: &SlabBox, blocks: usize) -> Option<(usize, usize)> {
    let first = ((slab.p0 as f64 - 1.0 - map.a) / map.b).floor().max(0.0) as usize / LANES;
    let last = ((slab.p1 as f64 + 1.0 - map.a) / map.b).ceil() + 1.0;
    let end = (last.max(0.0) as usize).div_ceil(LANES).min(blocks);
    (end > first).then_some((first, end))
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
