//! Scatter, estimated from the image itself: what the model of the patient cannot explain and is smooth.
//!
//! With the pose known to a millimetre, the primary beam follows from the CT: `P = exp(-model)`. The image is `T = c P + S`, where c
//! (couch, beam hardening, exposure) and S (scatter, glare) vary slowly. Both are fitted on coarse grids with a robust, relative
//! weight; S is then taken off before the logarithm. Scatter left in the image bends every contrast and is the largest error of
//! registration (docs/validation.md); a multiplicative window alone cannot undo it where thick and thin lie side by side.

use nalgebra::{DMatrix, DVector};

use crate::image::Shape;

/// Nodes (rows, columns) of the grids of the factor c and of the scatter S.
const FACTOR_GRID: [usize; 2] = [5, 6];
const SCATTER_GRID: [usize; 2] = [7, 9];
/// Stiffness between neighbouring nodes, relative to the pixels per node.
const FACTOR_STIFFNESS: f64 = 0.3;
const SCATTER_STIFFNESS: f64 = 0.03;
const REWEIGHTINGS: usize = 4;
const HUBER_SIGMAS: f64 = 2.0;
/// Fewer usable pixels than this say nothing about scatter.
const PIXELS_MIN: usize = 1000;
/// At least this share of the signal is always left as primary.
const PRIMARY_SHARE_MIN: f64 = 0.1;

/// Scatter over the image, as a share of the unattenuated beam, on a coarse grid.
#[derive(Debug, Clone)]
pub(crate) struct ScatterField {
    nodes: Vec<f64>,
}

/// The four nodes around a pixel and their weights.
struct Corners {
    node: [usize; 4],
    weight: [f64; 4],
}

fn corners(grid: [usize; 2], row: f64, col: f64) -> Corners {
    let [rows, cols] = grid;
    let (y, x) = (row * (rows as f64 - 1.0), col * (cols as f64 - 1.0));
    let (iy, ix) = ((y as usize).min(rows - 2), (x as usize).min(cols - 2));
    let (fy, fx) = (y - iy as f64, x - ix as f64);
    let node = iy * cols + ix;
    Corners {
        node: [node, node + 1, node + cols, node + cols + 1],
        weight: [
            (1.0 - fy) * (1.0 - fx),
            (1.0 - fy) * fx,
            fy * (1.0 - fx),
            fy * fx,
        ],
    }
}

/// Place of a pixel in the image, 0 to 1 along rows and columns.
fn place(k: usize, shape: Shape) -> (f64, f64) {
    let part = |n: usize, of: usize| n as f64 / (of as f64 - 1.0).max(1.0);
    (
        part(k / shape.cols, shape.rows),
        part(k % shape.cols, shape.cols),
    )
}

/// One pixel of the fit: eight unknowns with their coefficients, and the signal.
struct Sample {
    unknown: [usize; 8],
    coefficient: [f64; 8],
    signal: f64,
}

impl ScatterField {
    /// The field that explains an image of line integrals by a model of line integrals, over the pixels of `mask`. `None` when too few
    /// pixels are left or the fit has no solution.
    pub fn estimate(image: &[f32], model: &[f32], mask: &[bool], shape: Shape) -> Option<Self> {
        let factor_nodes = FACTOR_GRID.iter().product::<usize>();
        let scatter_nodes = SCATTER_GRID.iter().product::<usize>();
        let typical = typical_signal(image, mask)?;
        let samples: Vec<Sample> = image
            .iter()
            .zip(model)
            .zip(mask)
            .enumerate()
            .filter(|(_, (_, ok))| **ok)
            .map(|(k, ((&line, &line_model), _))| {
                let (row, col) = place(k, shape);
                let (c, s) = (
                    corners(FACTOR_GRID, row, col),
                    corners(SCATTER_GRID, row, col),
                );
                let primary = f64::from(-line_model).exp();
                let [c0, c1, c2, c3] = c.node;
                let [s0, s1, s2, s3] = s.node.map(|n| n + factor_nodes);
                let [a0, a1, a2, a3] = c.weight.map(|w| w * primary);
                let [b0, b1, b2, b3] = s.weight.map(|w| w * typical);
                Sample {
                    unknown: [c0, c1, c2, c3, s0, s1, s2, s3],
                    coefficient: [a0, a1, a2, a3, b0, b1, b2, b3],
                    signal: f64::from(-line).exp(),
                }
            })
            .collect();
        let unknowns = fit(&samples, factor_nodes, scatter_nodes)?;
        let nodes = unknowns
            .iter()
            .skip(factor_nodes)
            .map(|s| (s * typical).max(0.0))
            .collect();
        Some(Self { nodes })
    }

    /// Line integrals with the scatter taken off, and the median share of scatter in the signal.
    #[allow(
        clippy::indexing_slicing,
        reason = "nodes of the grid the field was made on"
    )]
    pub fn remove(&self, image: &[f32], shape: Shape) -> (Vec<f32>, f64) {
        let mut shares = Vec::with_capacity(image.len() / 7 + 1);
        let corrected = image
            .iter()
            .enumerate()
            .map(|(k, &line)| {
                let (row, col) = place(k, shape);
                let at = corners(SCATTER_GRID, row, col);
                let scatter: f64 = at
                    .node
                    .iter()
                    .zip(at.weight)
                    .map(|(&n, w)| w * self.nodes[n])
                    .sum();
                let share = (scatter / f64::from(-line).exp()).min(1.0 - PRIMARY_SHARE_MIN);
                if k % 7 == 0 && share.is_finite() {
                    shares.push(share);
                }
                line - (1.0 - share).ln() as f32
            })
            .collect();
        let half = shares.len() / 2;
        let median = if shares.is_empty() {
            0.0
        } else {
            *shares.select_nth_unstable_by(half, f64::total_cmp).1
        };
        (corrected, median)
    }
}

/// The signal that a fifth of the pixels fall below: where scatter weighs.
fn typical_signal(image: &[f32], mask: &[bool]) -> Option<f64> {
    let mut lines: Vec<f32> = image
        .iter()
        .zip(mask)
        .filter(|(x, ok)| **ok && x.is_finite())
        .map(|(x, _)| *x)
        .collect();
    if lines.len() < PIXELS_MIN {
        return None;
    }
    let at = lines.len() * 4 / 5;
    Some(f64::from(-*lines.select_nth_unstable_by(at, f32::total_cmp).1).exp())
}

/// Robust least squares with a weight of one over the signal, stiff between neighbouring nodes.
#[allow(
    clippy::indexing_slicing,
    reason = "unknowns are below the size of the system by construction"
)]
fn fit(samples: &[Sample], factor_nodes: usize, scatter_nodes: usize) -> Option<DVector<f64>> {
    let size = factor_nodes + scatter_nodes;
    let stiffness = stiffness_matrix(samples.len(), factor_nodes, size);
    let mut huber = vec![1.0f64; samples.len()];
    let mut solution = None;
    for _ in 0..REWEIGHTINGS {
        let mut normal = stiffness.clone();
        let mut right = DVector::zeros(size);
        for (sample, h) in samples.iter().zip(&huber) {
            let weight = h / (sample.signal * sample.signal);
            for (&i, a) in sample.unknown.iter().zip(sample.coefficient) {
                right[i] += weight * a * sample.signal;
                for (&l, b) in sample.unknown.iter().zip(sample.coefficient) {
                    normal[(i, l)] += weight * a * b;
                }
            }
        }
        let x = normal.cholesky()?.solve(&right);
        let residual = |s: &Sample| {
            let explained: f64 = s
                .unknown
                .iter()
                .zip(s.coefficient)
                .map(|(&i, a)| a * x[i])
                .sum();
            (s.signal - explained) / s.signal
        };
        let residuals: Vec<f64> = samples.iter().map(residual).collect();
        let mut magnitudes: Vec<f64> = residuals.iter().map(|r| r.abs()).collect();
        let half = magnitudes.len() / 2;
        let sigma = 1.4826 * *magnitudes.select_nth_unstable_by(half, f64::total_cmp).1;
        let limit = (HUBER_SIGMAS * sigma).max(1e-9);
        for (h, r) in huber.iter_mut().zip(&residuals) {
            *h = (limit / r.abs().max(1e-12)).min(1.0);
        }
        solution = Some(x);
    }
    solution
}

#[allow(clippy::indexing_slicing, reason = "neighbours within the two grids")]
fn stiffness_matrix(samples: usize, factor_nodes: usize, size: usize) -> DMatrix<f64> {
    let mut matrix = DMatrix::zeros(size, size);
    for (grid, first, stiffness, nodes) in [
        (FACTOR_GRID, 0, FACTOR_STIFFNESS, factor_nodes),
        (
            SCATTER_GRID,
            factor_nodes,
            SCATTER_STIFFNESS,
            size - factor_nodes,
        ),
    ] {
        let per_node = stiffness * samples as f64 / nodes as f64;
        let [rows, cols] = grid;
        for row in 0..rows {
            for col in 0..cols {
                let a = first + row * cols + col;
                let right = (col + 1 < cols).then_some(a + 1);
                let below = (row + 1 < rows).then_some(a + cols);
                for b in [right, below].into_iter().flatten() {
                    matrix[(a, a)] += per_node;
                    matrix[(b, b)] += per_node;
                    matrix[(a, b)] -= per_node;
                    matrix[(b, a)] -= per_node;
                }
                // So that a node which no pixel sees has an answer.
                matrix[(a, a)] += 1e-6;
            }
        }
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        rows: 90,
        cols: 120,
    };

    fn model() -> Vec<f32> {
        (0..SHAPE.pixels())
            .map(|k| {
                let (y, x) = ((k / 120) as f32, (k % 120) as f32);
                2.5 + 1.2 * (0.31 * x).sin() * (0.23 * y).cos() + 0.8 * (0.05 * x).cos()
            })
            .collect()
    }

    fn worst(a: &[f32], b: &[f32]) -> f32 {
        a.iter()
            .zip(b)
            .map(|(x, y)| (x - y).abs())
            .fold(0.0, f32::max)
    }

    #[test]
    fn smooth_scatter_is_found_and_taken_off() {
        let model = model();
        let scattered: Vec<f32> = model
            .iter()
            .enumerate()
            .map(|(k, m)| {
                let (y, x) = ((k / 120) as f32 / 90.0, (k % 120) as f32 / 120.0);
                -((-m).exp() + 0.03 + 0.02 * x + 0.02 * y).ln()
            })
            .collect();
        let mask = vec![true; SHAPE.pixels()];
        let field = ScatterField::estimate(&scattered, &model, &mask, SHAPE).unwrap();
        let (corrected, share) = field.remove(&scattered, SHAPE);
        assert!(worst(&scattered, &model) > 0.5);
        // The stiffness of the grid leaves a little at the corners.
        assert!(worst(&corrected, &model) < 0.15);
        assert!((0.2..0.6).contains(&share), "{share}");
    }

    #[test]
    fn an_image_without_scatter_stays_as_it_is() {
        let model = model();
        let mask = vec![true; SHAPE.pixels()];
        let field = ScatterField::estimate(&model, &model, &mask, SHAPE).unwrap();
        let (corrected, share) = field.remove(&model, SHAPE);
        assert!(worst(&corrected, &model) < 1e-3);
        assert!(share < 1e-3);
    }

    #[test]
    fn too_few_pixels_say_nothing() {
        let model = model();
        let mut mask = vec![false; SHAPE.pixels()];
        mask[..500].fill(true);
        assert!(ScatterField::estimate(&model, &model, &mask, SHAPE).is_none());
    }
}
