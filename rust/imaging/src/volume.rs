//! A CT as attenuation, its pyramid, and the slab layouts the fast projector reads.

use std::sync::OnceLock;

use nalgebra::{Matrix3, Matrix4, Point3, Vector3};
use rayon::prelude::*;

use crate::attenuation::AttenuationCurve;
use crate::error::{ImagingError, Result};

/// Zeros in front of every stored row: a block of 16 outputs may begin up to 31 voxels before the first one it touches.
pub(crate) const ROW_FRONT: usize = 32;
/// Zeros behind every stored row: the last block reads 32 words from its base.
pub(crate) const ROW_BACK: usize = 64;
/// Voxels are stored in 15 bits so that the integer interpolation of the kernels cannot overflow 32.
pub(crate) const WORD_MAX: f32 = 32767.0;
/// Below this attenuation per mm (0.05 % of water) a voxel counts as empty.
const EMPTY_PER_MM: f32 = 1e-5;
/// A face of the volume with more than this (a quarter of water) on it is cut tissue: rays through it are not known.
const TISSUE_PER_MM: f32 = 0.005;
/// 1024^3: a limit on everything.
const VOXELS_MAX: usize = 1 << 30;

/// A volume of attenuation on a regular grid, and where it lies in the patient frame.
#[derive(Debug)]
pub struct Volume {
    /// Columns, rows, slices.
    pub(crate) size: [usize; 3],
    /// `patient <- index`; index (col, row, slice), voxel centres at integers. Columns are orthogonal.
    pub(crate) patient_from_index: Matrix4<f64>,
    /// Attenuation per mm, slice by slice, row by row.
    pub(crate) mu: Vec<f32>,
    pub(crate) mu_max: f32,
    layouts: [OnceLock<Layout>; 3],
    faces: OnceLock<Vec<CutFace>>,
}

/// Voxels in slabs across one index axis: `[slab][q][p]`, `p` contiguous and zero padded.
#[derive(Debug)]
pub(crate) struct Layout {
    pub nq: usize,
    pub np: usize,
    pub stride: usize,
    pub words: Vec<i16>,
    /// Per slab the box of voxels that are not empty; `None` for an empty slab.
    pub boxes: Vec<Option<SlabBox>>,
}

/// Inclusive bounds of the voxels of one slab that are not empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlabBox {
    pub q0: usize,
    pub q1: usize,
    pub p0: usize,
    pub p1: usize,
}

/// A face of the volume at which tissue is cut off: rays through this rectangle pass tissue the CT does not hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CutFace {
    pub axis: usize,
    /// Index along `axis` of the plane tested, a little inside the face.
    pub plane: f64,
    /// Index range of the cut tissue along the two other axes, in ascending order of axis.
    pub low: [f64; 2],
    pub high: [f64; 2],
}

/// The index axes (p, q) that lie in a slab across `axis`; p is the contiguous one.
pub(crate) const fn in_slab(axis: usize) -> (usize, usize) {
    match axis {
        0 => (1, 2),
        1 => (0, 2),
        _ => (0, 1),
    }
}

impl Volume {
    /// A volume from HU, `hu[(slice * rows + row) * cols + col]`, through a curve.
    ///
    /// `size` is (cols, rows, slices). `patient_from_index` maps (col, row, slice) to mm in the patient frame.
    /// Voxels where `body` is false become empty (the CT table is not the treatment couch).
    ///
    /// # Errors
    /// `Volume` for a wrong length, fewer than two voxels along an axis, an affine that is not a grid, HU that are not finite,
    /// or a volume with nothing in it.
    pub fn from_hu(
        hu: &[f32],
        size: [usize; 3],
        patient_from_index: Matrix4<f64>,
        curve: &AttenuationCurve,
        body: Option<&[bool]>,
    ) -> Result<Self> {
        check_grid(hu.len(), size, &patient_from_index)?;
        if let Some(body) = body
            && body.len() != hu.len()
        {
            return Err(ImagingError::Volume(format!(
                "the body mask has {} voxels, the CT {}",
                body.len(),
                hu.len()
            )));
        }
        let (low, high) = hu
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &x| {
                (l.min(x), h.max(x))
            });
        if !hu.iter().all(|x| x.is_finite()) || low < -32768.0 || high > 65535.0 {
            return Err(ImagingError::Volume(format!(
                "HU must be finite and within -32768 to 65535, are {low} to {high}"
            )));
        }
        let base = low.round() as i32;
        let table = curve.table(base, high.round() as i32);
        let to_mu = |hu: f32| {
            table
                .get((hu.round() as i32 - base) as usize)
                .copied()
                .unwrap_or(0.0)
        };
        let mu: Vec<f32> = match body {
            None => hu.par_iter().map(|&x| to_mu(x)).collect(),
            Some(body) => hu
                .par_iter()
                .zip(body)
                .map(|(&x, &inside)| if inside { to_mu(x) } else { 0.0 })
                .collect(),
        };
        Self::from_attenuation(mu, size, patient_from_index)
    }

    /// A volume from attenuation per mm, in the same order.
    ///
    /// # Errors
    /// `Volume` for a wrong length, fewer than two voxels along an axis, an affine that is not a grid, attenuation that is
    /// negative or not finite, or a volume with nothing in it.
    pub fn from_attenuation(
        mu: Vec<f32>,
        size: [usize; 3],
        patient_from_index: Matrix4<f64>,
    ) -> Result<Self> {
        check_grid(mu.len(), size, &patient_from_index)?;
        if !mu.iter().all(|x| x.is_finite() && *x >= 0.0) {
            return Err(ImagingError::Volume(
                "attenuation must be finite and zero or more in every voxel".into(),
            ));
        }
        let mu_max = mu.iter().copied().fold(0.0, f32::max);
        if mu_max <= EMPTY_PER_MM {
            return Err(ImagingError::Volume(
                "there is nothing in it: no voxel attenuates".into(),
            ));
        }
        Ok(Self {
            size,
            patient_from_index,
            mu,
            mu_max,
            layouts: Default::default(),
            faces: OnceLock::new(),
        })
    }

    /// Columns, rows, slices.
    #[must_use]
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Voxel spacing along columns, rows and slices, mm.
    #[must_use]
    pub fn spacing_mm(&self) -> [f64; 3] {
        let m = self.patient_from_index.fixed_view::<3, 3>(0, 0);
        [m.column(0).norm(), m.column(1).norm(), m.column(2).norm()]
    }

    /// Centre of the grid in the patient frame, mm.
    #[must_use]
    pub fn centre(&self) -> Point3<f64> {
        let [nx, ny, nz] = self.size.map(|n| (n as f64 - 1.0) / 2.0);
        self.patient_from_index
            .transform_point(&Point3::new(nx, ny, nz))
    }

    /// Half the resolution along every axis whose voxels are not already twice as long as the shortest.
    pub(crate) fn halved(&self) -> Result<Self> {
        let spacing = self.spacing_mm();
        let shortest = spacing.iter().copied().fold(f64::INFINITY, f64::min);
        let [spacing_x, spacing_y, spacing_z] = spacing;
        let [nx, ny, nz] = self.size;
        let factor = |n: usize, s: f64| if n >= 4 && s < 1.5 * shortest { 2 } else { 1 };
        let (fx, fy, fz) = (
            factor(nx, spacing_x),
            factor(ny, spacing_y),
            factor(nz, spacing_z),
        );
        let size = [nx / fx, ny / fy, nz / fz];
        let mut mu = vec![0f32; size.iter().product()];
        average_blocks(&self.mu, self.size, [fx, fy, fz], &mut mu, size);
        let mut step = Matrix4::identity();
        for (axis, f) in [fx, fy, fz].into_iter().enumerate() {
            if let Some(x) = step.get_mut((axis, axis)) {
                *x = f as f64;
            }
            if let Some(x) = step.get_mut((axis, 3)) {
                *x = (f as f64 - 1.0) / 2.0;
            }
        }
        Self::from_attenuation(mu, size, self.patient_from_index * step)
    }

    /// The slab layout across one index axis, made on first use.
    #[allow(
        clippy::indexing_slicing,
        reason = "three layouts, axis below three by construction of the plan"
    )]
    pub(crate) fn layout(&self, axis: usize) -> &Layout {
        self.layouts[axis % 3].get_or_init(|| Layout::of(self, axis % 3))
    }

    /// The faces at which tissue is cut off.
    pub(crate) fn cut_faces(&self) -> &[CutFace] {
        self.faces.get_or_init(|| find_cut_faces(self))
    }
}

fn check_grid(voxels: usize, size: [usize; 3], affine: &Matrix4<f64>) -> Result<()> {
    let expected = size
        .iter()
        .try_fold(1usize, |n, &s| n.checked_mul(s))
        .unwrap_or(usize::MAX);
    if size.iter().any(|&n| n < 2) || expected > VOXELS_MAX {
        return Err(ImagingError::Volume(format!(
            "{} x {} x {} voxels; each side must be 2 or more and the whole at most {VOXELS_MAX}",
            size[0], size[1], size[2]
        )));
    }
    if voxels != expected {
        return Err(ImagingError::Volume(format!(
            "{voxels} voxels where the size says {expected}"
        )));
    }
    let m: Matrix3<f64> = affine.fixed_view::<3, 3>(0, 0).into_owned();
    if affine.iter().any(|x| !x.is_finite()) {
        return Err(ImagingError::Volume(
            "the affine patient <- index must be finite".into(),
        ));
    }
    let columns: [Vector3<f64>; 3] = [m.column(0).into(), m.column(1).into(), m.column(2).into()];
    let [a, b, c] = columns;
    let orthogonal =
        |u: &Vector3<f64>, v: &Vector3<f64>| u.dot(v).abs() <= 1e-4 * u.norm() * v.norm();
    if columns.iter().any(|v| v.norm() < 1e-3)
        || !orthogonal(&a, &b)
        || !orthogonal(&b, &c)
        || !orthogonal(&a, &c)
    {
        return Err(ImagingError::Volume(
            "the affine patient <- index must have three orthogonal columns in mm; sheared or tilted series are refused".into(),
        ));
    }
    Ok(())
}

#[allow(
    clippy::indexing_slicing,
    reason = "8 million voxels; the bounds follow from size = full / factor"
)]
fn average_blocks(
    from: &[f32],
    full: [usize; 3],
    factor: [usize; 3],
    to: &mut [f32],
    size: [usize; 3],
) {
    let scale = 1.0 / (factor[0] * factor[1] * factor[2]) as f32;
    to.par_chunks_mut(size[0] * size[1])
        .enumerate()
        .for_each(|(z, slice)| {
            for dz in 0..factor[2] {
                for y in 0..size[1] {
                    let out = &mut slice[y * size[0]..(y + 1) * size[0]];
                    for dy in 0..factor[1] {
                        let start = ((z * factor[2] + dz) * full[1] + y * factor[1] + dy) * full[0];
                        let row = &from[start..start + full[0]];
                        for (o, block) in out.iter_mut().zip(row.chunks_exact(factor[0])) {
                            *o += block.iter().sum::<f32>();
                        }
                    }
                }
            }
            for o in slice {
                *o *= scale;
            }
        });
}

impl Layout {
    #[allow(
        clippy::indexing_slicing,
        reason = "8 million voxels; every index is below the size it was made from"
    )]
    fn of(volume: &Volume, axis: usize) -> Self {
        const LANES: usize = 16;
        let (p_axis, q_axis) = in_slab(axis);
        let (slabs, np, nq) = (volume.size[axis], volume.size[p_axis], volume.size[q_axis]);
        let stride = ROW_FRONT + np + ROW_BACK;
        let steps = [1, volume.size[0], volume.size[0] * volume.size[1]];
        let (step_k, step_p, step_q) = (steps[axis], steps[p_axis], steps[q_axis]);
        let to_word = WORD_MAX / volume.mu_max;
        let threshold = (EMPTY_PER_MM * to_word).ceil().max(1.0) as i16;
        let mut words = vec![0i16; slabs * nq * stride];
        // 16 slabs at a time: where the slab axis is the contiguous one of the CT, each cache line is then read once.
        words
            .par_chunks_mut(LANES * nq * stride)
            .enumerate()
            .for_each(|(group, chunk)| {
                let k0 = group * LANES;
                let kn = LANES.min(slabs - k0);
                for q in 0..nq {
                    for p in 0..np {
                        let from = k0 * step_k + q * step_q + p * step_p;
                        for k in 0..kn {
                            let word = (volume.mu[from + k * step_k] * to_word)
                                .round()
                                .min(WORD_MAX) as i16;
                            chunk[(k * nq + q) * stride + ROW_FRONT + p] = word;
                        }
                    }
                }
            });
        let boxes = words
            .par_chunks(nq * stride)
            .map(|slab| slab_box(slab, stride, np, threshold))
            .collect();
        Self {
            nq,
            np,
            stride,
            words,
            boxes,
        }
    }
}

fn slab_box(slab: &[i16], stride: usize, np: usize, threshold: i16) -> Option<SlabBox> {
    let mut found: Option<SlabBox> = None;
    for (q, row) in slab.chunks_exact(stride).enumerate() {
        let row = row.get(ROW_FRONT..ROW_FRONT + np).unwrap_or(&[]);
        let Some(first) = row.iter().position(|&w| w >= threshold) else {
            continue;
        };
        let last = row.iter().rposition(|&w| w >= threshold).unwrap_or(first);
        let b = found.get_or_insert(SlabBox {
            q0: q,
            q1: q,
            p0: first,
            p1: last,
        });
        b.q1 = q;
        b.p0 = b.p0.min(first);
        b.p1 = b.p1.max(last);
    }
    found
}

fn find_cut_faces(volume: &Volume) -> Vec<CutFace> {
    let mut faces = Vec::new();
    for axis in 0..3 {
        let Some(&n) = volume.size.get(axis) else {
            continue;
        };
        for (slab, inside) in [(0, 2.0f64), (n - 1, n as f64 - 3.0)] {
            if let Some((low, high)) = tissue_on(volume, axis, slab) {
                faces.push(CutFace {
                    axis,
                    plane: inside.clamp(0.0, n as f64 - 1.0),
                    low,
                    high,
                });
            }
        }
    }
    faces
}

/// Bounding rectangle, two voxels wider, of the tissue on one face; `None` when there are fewer than 16 voxels of it.
#[allow(
    clippy::indexing_slicing,
    reason = "axes are 0 to 2 and voxels below the size"
)]
fn tissue_on(volume: &Volume, axis: usize, slab: usize) -> Option<([f64; 2], [f64; 2])> {
    let others: [usize; 2] = match axis {
        0 => [1, 2],
        1 => [0, 2],
        _ => [0, 1],
    };
    let steps = [1, volume.size[0], volume.size[0] * volume.size[1]];
    let (mut count, mut low, mut high) = (0, [f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for b in 0..volume.size[others[1]] {
        for a in 0..volume.size[others[0]] {
            if volume.mu[slab * steps[axis] + a * steps[others[0]] + b * steps[others[1]]]
                > TISSUE_PER_MM
            {
                count += 1;
                low = [low[0].min(a as f64 - 2.0), low[1].min(b as f64 - 2.0)];
                high = [high[0].max(a as f64 + 2.0), high[1].max(b as f64 + 2.0)];
            }
        }
    }
    (count >= 16).then_some((low, high))
}

/// A volume and its coarser copies, level 0 the finest.
#[derive(Debug)]
pub struct Pyramid {
    pub(crate) levels: Vec<Volume>,
}

impl Pyramid {
    /// The pyramid of a volume, three levels or as many as keep eight voxels along every axis.
    ///
    /// # Errors
    /// `Volume` when a coarser level would be empty.
    pub fn new(volume: Volume) -> Result<Self> {
        const LEVELS: usize = 3;
        let mut levels = vec![volume];
        while levels.len() < LEVELS {
            let Some(last) = levels.last() else { break };
            if last.size.iter().any(|&n| n < 16) {
                break;
            }
            let next = last.halved()?;
            levels.push(next);
        }
        Ok(Self { levels })
    }

    /// The volume as it was given.
    ///
    /// # Errors
    /// Never for a pyramid made by [`Pyramid::new`].
    pub fn finest(&self) -> Result<&Volume> {
        self.levels
            .first()
            .ok_or_else(|| ImagingError::Volume("the pyramid has no levels".into()))
    }

    /// A level, the coarsest there is when fewer were made.
    pub(crate) fn level(&self, level: usize) -> Result<&Volume> {
        self.levels
            .get(level)
            .or_else(|| self.levels.last())
            .ok_or_else(|| ImagingError::Volume("the pyramid has no levels".into()))
    }
}
