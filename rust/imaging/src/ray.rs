//! The rays of a projection in the index space of a volume.

use nalgebra::{Isometry3, Point3, Vector3};

use crate::error::{ImagingError, Result};
use crate::geometry::Projection;
use crate::volume::Volume;

/// Source and pixel rays in voxel units, and the pixel rays in mm for path lengths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexRays {
    pub source: [f64; 3],
    pub first: [f64; 3],
    pub col_step: [f64; 3],
    pub row_step: [f64; 3],
    first_mm: Vector3<f64>,
    col_step_mm: Vector3<f64>,
    row_step_mm: Vector3<f64>,
}

impl IndexRays {
    pub fn new(
        volume: &Volume,
        projection: &Projection,
        fixed_from_patient: &Isometry3<f64>,
    ) -> Result<Self> {
        let index_from_fixed = (fixed_from_patient.to_homogeneous() * volume.patient_from_index)
            .try_inverse()
            .filter(|m| m.iter().all(|x| x.is_finite()))
            .ok_or_else(|| {
                ImagingError::Geometry("the pose of the patient is not finite".into())
            })?;
        let point =
            |p: &Point3<f64>| -> [f64; 3] { index_from_fixed.transform_point(p).coords.into() };
        let vector = |v: &Vector3<f64>| -> [f64; 3] { index_from_fixed.transform_vector(v).into() };
        Ok(Self {
            source: point(&projection.source),
            first: vector(&projection.first_ray()),
            col_step: vector(&projection.col_step),
            row_step: vector(&projection.row_step),
            first_mm: projection.first_ray(),
            col_step_mm: projection.col_step,
            row_step_mm: projection.row_step,
        })
    }

    /// From the source to a pixel centre, in voxels.
    pub fn direction(&self, col: f64, row: f64) -> [f64; 3] {
        std::array::from_fn(|axis| self.component(axis, col, row))
    }

    /// One component of [`Self::direction`].
    #[allow(clippy::indexing_slicing, reason = "axis is 0 to 2")]
    pub fn component(&self, axis: usize, col: f64, row: f64) -> f64 {
        self.first[axis] + self.col_step[axis] * col + self.row_step[axis] * row
    }

    /// The same vector in mm.
    pub fn direction_mm(&self, col: f64, row: f64) -> Vector3<f64> {
        self.first_mm + self.col_step_mm * col + self.row_step_mm * row
    }

    /// From the source to a pixel centre, mm.
    pub fn length_mm(&self, col: f64, row: f64) -> f64 {
        self.direction_mm(col, row).norm()
    }
}
