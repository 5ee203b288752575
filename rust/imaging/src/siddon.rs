//! The exact projector: line integrals through voxels of constant attenuation (Siddon, Med Phys 1985;12:252).

use nalgebra::Isometry3;
use rayon::prelude::*;

use crate::error::{ImagingError, Result};
use crate::geometry::Projection;
use crate::ray::IndexRays;
use crate::volume::Volume;

/// Line integrals of attenuation from the source to every pixel centre, row by row, dimensionless.
///
/// `fixed_from_patient` places the patient. Each ray is cut at the source and at the panel.
///
/// # Errors
/// `Geometry` when the projection cannot be used.
pub fn project_exact(
    volume: &Volume,
    projection: &Projection,
    fixed_from_patient: &Isometry3<f64>,
) -> Result<Vec<f32>> {
    let rays = IndexRays::new(volume, projection, fixed_from_patient)?;
    let mut image = vec![0f32; projection.rows * projection.cols];
    if image.is_empty() {
        return Err(ImagingError::Geometry("the image has no pixels".into()));
    }
    image
        .par_chunks_mut(projection.cols)
        .enumerate()
        .for_each(|(row, line)| {
            for (col, pixel) in line.iter_mut().enumerate() {
                let direction = rays.direction(col as f64, row as f64);
                *pixel = (integrate(volume, rays.source, direction)
                    * rays.length_mm(col as f64, row as f64)) as f32;
            }
        });
    Ok(image)
}

/// The integral of attenuation over the ray parameter 0 to 1, from `source` along `direction`, both in index units.
#[allow(
    clippy::indexing_slicing,
    reason = "axes are 0 to 2; the voxel is checked against the size before it is read"
)]
fn integrate(volume: &Volume, source: [f64; 3], direction: [f64; 3]) -> f64 {
    let (mut enter, mut leave) = (0f64, 1f64);
    for axis in 0..3 {
        let (low, high) = (-0.5, volume.size[axis] as f64 - 0.5);
        if direction[axis].abs() < 1e-12 {
            if source[axis] <= low || source[axis] >= high {
                return 0.0;
            }
            continue;
        }
        let a = (low - source[axis]) / direction[axis];
        let b = (high - source[axis]) / direction[axis];
        enter = enter.max(a.min(b));
        leave = leave.min(a.max(b));
    }
    if leave <= enter {
        return 0.0;
    }
    let mut voxel = [0i64; 3];
    let mut next = [f64::INFINITY; 3];
    let mut step = [f64::INFINITY; 3];
    let mut sign = [0i64; 3];
    // The voxel is taken a hair inside the entry so that rounding on a face cannot put the ray outside.
    let inside = enter + 1e-9 * (leave - enter);
    for axis in 0..3 {
        let at = source[axis] + inside * direction[axis];
        voxel[axis] = ((at + 0.5).floor() as i64).clamp(0, volume.size[axis] as i64 - 1);
        if direction[axis].abs() >= 1e-12 {
            sign[axis] = if direction[axis] > 0.0 { 1 } else { -1 };
            let face = voxel[axis] as f64 + 0.5 * sign[axis] as f64;
            next[axis] = (face - source[axis]) / direction[axis];
            step[axis] = (1.0 / direction[axis]).abs();
        }
    }
    let strides = [1, volume.size[0], volume.size[0] * volume.size[1]];
    let (mut at, mut sum) = (enter, 0f64);
    while at < leave {
        let axis = if next[0] <= next[1] && next[0] <= next[2] {
            0
        } else if next[1] <= next[2] {
            1
        } else {
            2
        };
        let until = next[axis].min(leave);
        let index = voxel[0] as usize * strides[0]
            + voxel[1] as usize * strides[1]
            + voxel[2] as usize * strides[2];
        sum += f64::from(volume.mu[index]) * (until - at).max(0.0);
        at = until;
        next[axis] += step[axis];
        voxel[axis] += sign[axis];
        if voxel[axis] < 0 || voxel[axis] >= volume.size[axis] as i64 {
            break;
        }
    }
    sum
}
