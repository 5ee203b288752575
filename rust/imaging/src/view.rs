//! One view at one resolution: the observed gradients, the model's, and their derivatives by the six motions of the patient.

use nalgebra::{Isometry3, Matrix3, Matrix6, Vector3, Vector6};

use crate::error::Result;
use crate::geometry::Projection;
use crate::image::{GRADIENT_EDGE, Gradient, Shape, central_differences, eroded, window_sums};
use crate::kernel::Isa;
use crate::normal::{NormalSums, accumulate_normal};
use crate::ray::IndexRays;
use crate::scatter::ScatterField;
use crate::slab::{RayIntegrals, project_integrals};
use crate::volume::Volume;

/// Residuals beyond this many robust standard deviations count linearly (Huber).
const HUBER_SIGMAS: f32 = 2.0;
/// Half width of the window of the local intensity scale, as a share of the image width: 20 pixels of 256. Scatter changes the
/// contrast over centimetres; a narrower window would fit the anatomy away.
const SCALE_WINDOW_SHARE: f32 = 20.0 / 256.0;
/// Tiles along rows and columns over which likeness is asked piece by piece, and the likeness below which a piece shows something else.
const TILES: [usize; 2] = [6, 8];
const TILE_SIMILARITY_MIN: f64 = 0.25;
/// The local scale may leave the global one by these factors.
const SCALE_RANGE: (f32, f32) = (0.1, 3.0);

/// What was seen in one view, at one resolution.
#[derive(Debug)]
pub(crate) struct Observed {
    pub projection: Projection,
    pub shape: Shape,
    gradient: Gradient,
    image: Vec<f32>,
    all_valid: Vec<bool>,
    valid: Vec<bool>,
    length_mm: Vec<f32>,
}

/// Buffers of one view, reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    integrals: RayIntegrals,
    image: Vec<f32>,
    model: Gradient,
    columns: [Gradient; 6],
    differences: [Vec<f32>; 4],
    scratch: Vec<f32>,
    scale: Vec<f32>,
    energy: Vec<f32>,
    weights: [Vec<f32>; 2],
    residuals: [Vec<f32>; 2],
    mask: Vec<bool>,
    sample: Vec<f32>,
}

/// The linear system of one view at one pose, and how alike model and image are.
#[derive(Debug, Clone)]
pub(crate) struct ViewSystem {
    pub hessian: Matrix6<f64>,
    pub gradient: Vector6<f64>,
    /// Normalised correlation of the smoothed gradients over the pixels used.
    pub similarity: f64,
    /// Share of the pixels of the region that are used.
    pub overlap: f64,
    /// Share of the model's contrast that lies where the image shows something else; filled with `block_scores`.
    pub foreign: f64,
    /// Per block of pixels the part of `gradient` that came from it; filled on request.
    pub block_scores: Vec<Vector6<f64>>,
}

impl Observed {
    /// The view of an image of line integrals; pixels that are not valid are not used.
    pub fn new(projection: Projection, image: &[f32], valid: &[bool], shape: Shape) -> Self {
        let mut gradient = Gradient::default();
        let mut scratch = Vec::new();
        let clean: Vec<f32> = image
            .iter()
            .zip(valid)
            .map(|(&x, &ok)| if ok { x } else { 0.0 })
            .collect();
        gradient.fill(&clean, shape, &mut scratch);
        let length_mm = (0..shape.pixels())
            .map(|n| {
                projection
                    .ray((n % shape.cols) as f64, (n / shape.cols) as f64)
                    .norm() as f32
            })
            .collect();
        Self {
            projection,
            shape,
            gradient,
            image: clean,
            all_valid: valid.to_vec(),
            valid: eroded(valid, shape, GRADIENT_EDGE),
            length_mm,
        }
    }

    /// The scatter in this view, by what the CT at a pose does not explain.
    pub fn scatter(
        &self,
        volume: &Volume,
        pose: &Isometry3<f64>,
        isa: Isa,
        work: &mut Workspace,
    ) -> Result<Option<ScatterField>> {
        project_integrals(volume, &self.projection, pose, isa, &mut work.integrals)?;
        self.mask(volume, pose, &mut work.mask)?;
        work.image.clear();
        work.image.extend(
            work.integrals
                .integral
                .iter()
                .zip(&self.length_mm)
                .map(|(a, b)| a * b),
        );
        Ok(ScatterField::estimate(
            &self.image,
            &work.image,
            &work.mask,
            self.shape,
        ))
    }

    /// The same view without that scatter, and the median share of scatter in its signal.
    pub fn without(&self, scatter: &ScatterField) -> (Self, f64) {
        let (image, share) = scatter.remove(&self.image, self.shape);
        (
            Self::new(self.projection, &image, &self.all_valid, self.shape),
            share,
        )
    }

    /// The pixels whose rays do not pass tissue that the CT does not hold.
    pub fn mask(&self, volume: &Volume, pose: &Isometry3<f64>, out: &mut Vec<bool>) -> Result<()> {
        let rays = IndexRays::new(volume, &self.projection, pose)?;
        out.clear();
        out.extend_from_slice(&self.valid);
        for face in volume.cut_faces() {
            mask_face(&rays, face, self.shape, out);
        }
        Ok(())
    }

    /// Residual and derivatives at a pose.
    pub fn system(
        &self,
        volume: &Volume,
        pose: &Isometry3<f64>,
        isa: Isa,
        work: &mut Workspace,
        blocks: Option<usize>,
    ) -> Result<ViewSystem> {
        project_integrals(volume, &self.projection, pose, isa, &mut work.integrals)?;
        let mut mask = std::mem::take(&mut work.mask);
        self.mask(volume, pose, &mut mask)?;
        work.mask = mask;
        work.image.clear();
        work.image.extend(
            work.integrals
                .integral
                .iter()
                .zip(&self.length_mm)
                .map(|(a, b)| a * b),
        );
        work.model.fill(&work.image, self.shape, &mut work.scratch);
        self.derivatives(work)?;
        let (similarity, used) = self.weigh(work);
        let mut system = ViewSystem {
            hessian: Matrix6::zeros(),
            gradient: Vector6::zeros(),
            similarity,
            overlap: used as f64 / self.valid.iter().filter(|&&ok| ok).count().max(1) as f64,
            foreign: 0.0,
            block_scores: Vec::new(),
        };
        let mut sums = NormalSums::default();
        let along_cols: [&[f32]; 6] =
            std::array::from_fn(|n| work.columns.get(n).map_or(&[][..], |g| &g.along_cols));
        let along_rows: [&[f32]; 6] =
            std::array::from_fn(|n| work.columns.get(n).map_or(&[][..], |g| &g.along_rows));
        let [weight_cols, weight_rows] = &work.weights;
        let [residual_cols, residual_rows] = &work.residuals;
        accumulate_normal(
            isa,
            self.shape.cols,
            weight_cols,
            residual_cols,
            &work.scale,
            along_cols,
            &mut sums,
        );
        accumulate_normal(
            isa,
            self.shape.cols,
            weight_rows,
            residual_rows,
            &work.scale,
            along_rows,
            &mut sums,
        );
        sums.into_system(&mut system.hessian, &mut system.gradient);
        if let Some(block) = blocks {
            system.block_scores = self.block_scores(work, block);
            system.foreign = self.foreign(work);
        }
        Ok(system)
    }

    /// The derivative of the line integrals by the six motions, smoothed as the images are.
    ///
    /// A point at ray parameter l moves by `v = t + w x (s + l d)`. The derivative of the integral needs the integrals of
    /// `grad mu` and of `l grad mu` along the ray. Across the ray, these are the image derivatives of the two ray integrals (attenuation
    /// over l, and attenuation); along it they are 0 and minus the integral. So two projections give value and Jacobian.
    #[allow(
        clippy::indexing_slicing,
        reason = "measured inner kernel; all images have the shape of the view"
    )]
    fn derivatives(&self, work: &mut Workspace) -> Result<()> {
        let [dw_col, dw_row, di_col, di_row] = &mut work.differences;
        central_differences(&work.integrals.weighted, self.shape, dw_col, dw_row);
        central_differences(&work.integrals.integral, self.shape, di_col, di_row);
        let p = &self.projection;
        let from_vector: Matrix3<f64> = p.pixel_from_ray()?;
        let source = p.source.coords;
        for (axis, column) in work.columns.iter_mut().enumerate() {
            let unit = Vector3::from_fn(|n, _| if n == axis % 3 { 1.0 } else { 0.0 });
            let turn = if axis < 3 { Vector3::zeros() } else { unit };
            let shift = if axis < 3 { unit } else { turn.cross(&source) };
            let e = from_vector * shift;
            let per = [p.first_ray(), p.col_step, p.row_step]
                .map(|v| (from_vector * turn.cross(&v)).map(|x| x as f32));
            let e = e.map(|x| x as f32);
            work.image.clear();
            work.image.resize(self.shape.pixels(), 0.0);
            for row in 0..self.shape.rows {
                let v = row as f32;
                let at = row * self.shape.cols..(row + 1) * self.shape.cols;
                let (wc, wr) = (&dw_col[at.clone()], &dw_row[at.clone()]);
                let (ic, ir) = (&di_col[at.clone()], &di_row[at.clone()]);
                let (integral, length) = (
                    &work.integrals.integral[at.clone()],
                    &self.length_mm[at.clone()],
                );
                let out = &mut work.image[at];
                let start = per[0] + per[2] * v;
                for col in 0..out.len() {
                    let u = col as f32;
                    let across = (e.x - e.z * u) * wc[col] + (e.y - e.z * v) * wr[col];
                    let (b, g, a) = (
                        start.x + per[1].x * u,
                        start.y + per[1].y * u,
                        start.z + per[1].z * u,
                    );
                    let turned = (b - a * u) * ic[col] + (g - a * v) * ir[col] - a * integral[col];
                    out[col] = -length[col] * (across + turned);
                }
            }
            column.fill(&work.image, self.shape, &mut work.scratch);
        }
        Ok(())
    }

    /// Local intensity scale, residuals and Huber weights. Returns similarity and the number of pixels used.
    #[allow(
        clippy::indexing_slicing,
        reason = "measured inner kernel; all images have the shape of the view"
    )]
    fn weigh(&self, work: &mut Workspace) -> (f64, usize) {
        let n = self.shape.pixels();
        let (fx, fy) = (&self.gradient.along_cols, &self.gradient.along_rows);
        let (mx, my) = (&work.model.along_cols, &work.model.along_rows);
        let (mut ff, mut mm, mut fm, mut used) = (0f64, 0f64, 0f64, 0usize);
        for k in (0..n).filter(|&k| work.mask[k]) {
            ff += f64::from(fx[k] * fx[k] + fy[k] * fy[k]);
            mm += f64::from(mx[k] * mx[k] + my[k] * my[k]);
            fm += f64::from(fx[k] * mx[k] + fy[k] * my[k]);
            used += 1;
        }
        let similarity = if ff > 0.0 && mm > 0.0 {
            fm / (ff * mm).sqrt()
        } else {
            0.0
        };
        let global = (fm / mm.max(1e-12)).max(0.2) as f32;
        let floor = (mm / used.max(1) as f64 * 0.05).max(1e-12) as f32;
        work.scale.clear();
        work.scale.resize(n, 0.0);
        work.energy.clear();
        work.energy.resize(n, 0.0);
        for k in (0..n).filter(|&k| work.mask[k]) {
            work.scale[k] = fx[k] * mx[k] + fy[k] * my[k] + floor * global;
            work.energy[k] = mx[k] * mx[k] + my[k] * my[k] + floor;
        }
        let reach = ((SCALE_WINDOW_SHARE * self.shape.cols as f32).round() as usize).max(3);
        window_sums(&mut work.scale, self.shape, reach, &mut work.scratch);
        window_sums(&mut work.energy, self.shape, reach, &mut work.scratch);
        for (s, e) in work.scale.iter_mut().zip(&work.energy) {
            *s = (*s / e.max(1e-12)).clamp(SCALE_RANGE.0 * global, SCALE_RANGE.1 * global);
        }
        for (residual, (f, m)) in work.residuals.iter_mut().zip([(fx, mx), (fy, my)]) {
            residual.clear();
            residual.extend((0..n).map(|k| {
                if work.mask[k] {
                    f[k] - work.scale[k] * m[k]
                } else {
                    0.0
                }
            }));
        }
        let sigma = robust_sigma(&work.residuals, &work.mask, &mut work.sample);
        let limit = HUBER_SIGMAS * sigma;
        let one = 1.0 / (sigma * sigma);
        for (weight, residual) in work.weights.iter_mut().zip(&work.residuals) {
            weight.clear();
            weight.extend(residual.iter().zip(&work.mask).map(|(r, &ok)| {
                let huber = if r.abs() <= limit {
                    1.0
                } else {
                    limit / r.abs()
                };
                if ok { one * huber } else { 0.0 }
            }));
        }
        (similarity, used)
    }

    /// The share of the model's squared gradient in tiles that are not alike: an image half of which is of something else still has a
    /// fair similarity as a whole.
    #[allow(
        clippy::indexing_slicing,
        reason = "tiles and pixels are inside the image by construction"
    )]
    fn foreign(&self, work: &Workspace) -> f64 {
        let (fx, fy) = (&self.gradient.along_cols, &self.gradient.along_rows);
        let (mx, my) = (&work.model.along_cols, &work.model.along_rows);
        let mut sums = vec![[0f64; 3]; TILES[0] * TILES[1]];
        for k in (0..self.shape.pixels()).filter(|&k| work.mask[k]) {
            let row = (k / self.shape.cols) * TILES[0] / self.shape.rows;
            let col = (k % self.shape.cols) * TILES[1] / self.shape.cols;
            let [ff, mm, fm] = &mut sums[row * TILES[1] + col];
            *ff += f64::from(fx[k] * fx[k] + fy[k] * fy[k]);
            *mm += f64::from(mx[k] * mx[k] + my[k] * my[k]);
            *fm += f64::from(fx[k] * mx[k] + fy[k] * my[k]);
        }
        let total: f64 = sums.iter().map(|s| s[1]).sum();
        let unlike = |s: &&[f64; 3]| s[2] < TILE_SIMILARITY_MIN * (s[0] * s[1]).sqrt();
        let foreign: f64 = sums.iter().filter(unlike).map(|s| s[1]).sum();
        if total > 0.0 { foreign / total } else { 1.0 }
    }

    /// The gradient of the cost, block by block of `block` pixels: what the residuals of each neighbourhood pull at.
    #[allow(
        clippy::indexing_slicing,
        reason = "blocks and pixels are inside the image by construction"
    )]
    fn block_scores(&self, work: &Workspace, block: usize) -> Vec<Vector6<f64>> {
        let across = self.shape.cols.div_ceil(block);
        let mut scores = vec![Vector6::zeros(); across * self.shape.rows.div_ceil(block)];
        for k in 0..self.shape.pixels() {
            let [wc, wr] = [work.weights[0][k], work.weights[1][k]];
            if wc == 0.0 && wr == 0.0 {
                continue;
            }
            let score =
                &mut scores[(k / self.shape.cols / block) * across + (k % self.shape.cols) / block];
            for (axis, column) in work.columns.iter().enumerate() {
                let pull = wc * work.residuals[0][k] * column.along_cols[k]
                    + wr * work.residuals[1][k] * column.along_rows[k];
                score[axis] += f64::from(pull * work.scale[k]);
            }
        }
        scores
    }
}

/// Robust standard deviation of the residuals in use: 1.4826 times the median of their magnitudes, from every fifth pixel.
fn robust_sigma(residuals: &[Vec<f32>; 2], mask: &[bool], sample: &mut Vec<f32>) -> f32 {
    sample.clear();
    for residual in residuals {
        sample.extend(
            residual
                .iter()
                .zip(mask)
                .step_by(5)
                .filter(|(_, ok)| **ok)
                .map(|(r, _)| r.abs()),
        );
    }
    if sample.len() < 16 {
        return 1.0;
    }
    let half = sample.len() / 2;
    *sample.select_nth_unstable_by(half, f32::total_cmp).1 * 1.4826 + 1e-6
}

#[allow(
    clippy::indexing_slicing,
    reason = "axes are 0 to 2 and pixels inside the image"
)]
fn mask_face(rays: &IndexRays, face: &crate::volume::CutFace, shape: Shape, out: &mut [bool]) {
    let (a, b) = match face.axis {
        0 => (1, 2),
        1 => (0, 2),
        _ => (0, 1),
    };
    for row in 0..shape.rows {
        for col in 0..shape.cols {
            let k = row * shape.cols + col;
            if !out[k] {
                continue;
            }
            let d = rays.direction(col as f64, row as f64);
            let t = (face.plane - rays.source[face.axis]) / d[face.axis];
            if !(t > 0.0 && t < 1.0) {
                continue;
            }
            let at = [rays.source[a] + t * d[a], rays.source[b] + t * d[b]];
            if at[0] > face.low[0]
                && at[0] < face.high[0]
                && at[1] > face.low[1]
                && at[1] < face.high[1]
            {
                out[k] = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::Matrix4;

    use super::*;
    use crate::correction::small_motion;
    use crate::geometry::PanelGeometry;

    const SIZE: [usize; 3] = [72, 64, 56];

    fn volume() -> Volume {
        let mut mu = Vec::new();
        for z in 0..SIZE[2] {
            for y in 0..SIZE[1] {
                for x in 0..SIZE[0] {
                    let (x, y, z) = (x as f32 - 35.0, y as f32 - 31.0, z as f32 - 27.0);
                    let wave =
                        1.0 + 0.6 * (x * 0.21).sin() * (y * 0.17).cos() * (z * 0.23 + 1.0).sin();
                    mu.push(0.02 * wave * (-(x * x + 1.4 * y * y + 1.2 * z * z) / 300.0).exp());
                }
            }
        }
        let affine = Matrix4::new(
            2.0, 0.0, 0.0, -70.0, //
            0.0, 0.0, 2.0, -54.0, //
            0.0, -2.0, 0.0, 62.0, //
            0.0, 0.0, 0.0, 1.0,
        );
        Volume::from_attenuation(mu, SIZE, affine).unwrap()
    }

    fn view(angle: f64) -> Observed {
        let projection = PanelGeometry {
            source_angle_deg: angle,
            sad_mm: 1000.0,
            sid_mm: 1500.0,
            panel_lateral_mm: 6.0,
            panel_longitudinal_mm: -3.0,
            panel_rotation_deg: 2.0,
            panel_pitch_deg: 3.0,
            panel_roll_deg: -4.0,
            source_lateral_mm: 0.0,
            source_longitudinal_mm: 0.0,
            rows: 80,
            cols: 96,
            pixel_pitch_mm: 3.0,
        }
        .projection()
        .unwrap();
        let shape = Shape { rows: 80, cols: 96 };
        Observed::new(
            projection,
            &vec![0.0; shape.pixels()],
            &vec![true; shape.pixels()],
            shape,
        )
    }

    /// The smoothed gradients of the model at a pose.
    fn model(view: &Observed, volume: &Volume, pose: &Isometry3<f64>) -> Gradient {
        let mut work = Workspace::default();
        view.system(volume, pose, Isa::best(), &mut work, None)
            .unwrap();
        work.model
    }

    #[test]
    fn derivatives_follow_finite_differences_for_all_six_motions() {
        let volume = volume();
        let pose = Isometry3::new(
            Vector3::new(3.0, -5.0, 4.0),
            Vector3::new(0.05, -0.04, 0.06),
        );
        for angle in [0.0, 40.0, 90.0] {
            let view = view(angle);
            let mut work = Workspace::default();
            view.system(&volume, &pose, Isa::best(), &mut work, None)
                .unwrap();
            for axis in 0..6 {
                let step = if axis < 3 { 2.0 } else { 2.0 / 80.0 };
                let xi = Vector6::from_fn(|n, _| if n == axis { step } else { 0.0 });
                let ahead = model(&view, &volume, &(small_motion(&xi) * pose));
                let behind = model(&view, &volume, &(small_motion(&-xi) * pose));
                let (mut same, mut found, mut expected) = (0.0, 0.0, 0.0);
                for k in 0..view.shape.pixels() {
                    for (a, (p, m)) in [
                        (
                            work.columns[axis].along_cols[k],
                            (ahead.along_cols[k], behind.along_cols[k]),
                        ),
                        (
                            work.columns[axis].along_rows[k],
                            (ahead.along_rows[k], behind.along_rows[k]),
                        ),
                    ] {
                        let fd = f64::from(p - m) / (2.0 * step);
                        same += f64::from(a) * fd;
                        found += f64::from(a).powi(2);
                        expected += fd * fd;
                    }
                }
                // Along the beam a shift changes little, and the resampling of the two poses compared shows.
                let least = if axis == 2 && angle == 0.0 || axis == 0 && angle == 90.0 {
                    0.85
                } else {
                    0.94
                };
                let cosine = same / (found * expected).sqrt();
                let ratio = (found / expected).sqrt();
                assert!(cosine > least, "axis {axis} at {angle}: cosine {cosine}");
                assert!(
                    (0.8..1.15).contains(&ratio),
                    "axis {axis} at {angle}: ratio {ratio}"
                );
            }
        }
    }

    #[test]
    fn rays_through_cut_tissue_are_not_used() {
        let (nx, ny, nz) = (40, 40, 40);
        let mu = vec![0.02f32; nx * ny * nz];
        let affine = Matrix4::new(
            3.0, 0.0, 0.0, -58.5, //
            0.0, 0.0, 3.0, -58.5, //
            0.0, -3.0, 0.0, 58.5, //
            0.0, 0.0, 0.0, 1.0,
        );
        let volume = Volume::from_attenuation(mu, [nx, ny, nz], affine).unwrap();
        let mut mask = Vec::new();
        view(0.0)
            .mask(&volume, &Isometry3::identity(), &mut mask)
            .unwrap();
        // Every face of this block is cut, so every ray through it is lost; those beside it are kept.
        let p = view(0.0).projection;
        let (col, row) = p.pixel_of(&nalgebra::Point3::origin()).unwrap();
        assert!(!mask[row.round() as usize * 96 + col.round() as usize]);
        assert!(mask[40 * 96 + 3]);
    }
}
