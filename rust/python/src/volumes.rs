//! The face of cone-beam reconstruction and of the registration of volumes.

use igrt_imaging::{
    FdkSettings, Grid, RigidOutcome, RigidSettings, Scan, reconstruct, register_rigid,
};
use nalgebra::Point3;
use numpy::ndarray::{Array2, Array3};
use numpy::{IntoPyArray, PyArray2, PyArray3, PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::{OrRaise, detached};
use crate::imaging::{
    ImagingInputError, PyCancelFlag, PyPanelGeometry, contiguous, matrix4, rigid,
};

/// Attenuation per mm (slices, rows, cols) from line integrals (projections, rows, cols); see `igrt_imaging::reconstruct`.
#[pyfunction]
#[pyo3(signature = (geometries, projections, *, size, spacing_mm, centre_mm, hann=None, cancel=None))]
#[allow(
    clippy::too_many_arguments,
    reason = "keyword arguments of the Python function"
)]
pub(crate) fn reconstruct_fdk<'py>(
    py: Python<'py>,
    geometries: Vec<Bound<'py, PyPanelGeometry>>,
    projections: PyReadonlyArray3<'py, f32>,
    size: [usize; 3],
    spacing_mm: [f64; 3],
    centre_mm: [f64; 3],
    hann: Option<f64>,
    cancel: Option<&PyCancelFlag>,
) -> PyResult<Bound<'py, PyArray3<f32>>> {
    let views: Vec<_> = geometries.iter().map(|g| g.get().projection()).collect();
    if projections.shape().first() != Some(&views.len()) {
        return Err(ImagingInputError::new_err(format!(
            "projections have shape {:?}, there are {} geometries",
            projections.shape(),
            views.len()
        )));
    }
    let images = contiguous(projections.as_slice(), "projections")?;
    let [x, y, z] = centre_mm;
    let grid = Grid {
        size,
        spacing_mm,
        centre: Point3::new(x, y, z),
    };
    let settings = FdkSettings {
        hann,
        cancel: cancel.map(|c| c.flag.clone()).unwrap_or_default(),
    };
    let volume = detached(py, || reconstruct(&views, images, &grid, &settings)).or_raise()?;
    let [cols, rows, slices] = size;
    Array3::from_shape_vec((slices, rows, cols), volume)
        .map(|a| a.into_pyarray(py))
        .map_err(|error| ImagingInputError::new_err(error.to_string()))
}

/// What a registration of volumes found (`igrt_hw.guidance.volume_registration` makes a model of it).
#[pyclass(frozen, name = "RigidOutcome", module = "igrt_hw._core")]
pub(crate) struct PyRigidOutcome {
    outcome: RigidOutcome,
}

#[pymethods]
impl PyRigidOutcome {
    /// Rigid (4, 4), fixed world <- moving world.
    #[getter]
    fn fixed_from_moving<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let m = self.outcome.pose.to_homogeneous().transpose();
        square(py, 4, m.iter().copied().collect())
    }

    /// (6, 6), mm and radians, of the small motion about the fixed world's origin by which the pose may be off.
    #[getter]
    fn covariance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        square(py, 6, self.outcome.covariance.iter().copied().collect())
    }

    #[getter]
    fn similarity(&self) -> f64 {
        self.outcome.similarity
    }

    #[getter]
    fn overlap(&self) -> f64 {
        self.outcome.overlap
    }

    #[getter]
    fn spread_hu(&self) -> f64 {
        self.outcome.spread_hu
    }

    /// Scale and shift from moving to fixed HU.
    #[getter]
    fn intensity(&self) -> (f64, f64) {
        self.outcome.intensity
    }

    #[getter]
    fn iterations(&self) -> usize {
        self.outcome.iterations
    }

    #[getter]
    fn converged(&self) -> bool {
        self.outcome.converged
    }

    /// Why it is not believed; empty when it is.
    #[getter]
    fn reasons(&self) -> Vec<String> {
        self.outcome.reasons.clone()
    }
}

fn square(py: Python<'_>, side: usize, values: Vec<f64>) -> PyResult<Bound<'_, PyArray2<f64>>> {
    Array2::from_shape_vec((side, side), values)
        .map(|a| a.into_pyarray(py))
        .map_err(|error| ImagingInputError::new_err(error.to_string()))
}

/// Register a moving volume (HU) with a fixed one, rigidly; see `igrt_imaging::register_rigid`.
#[pyfunction]
#[pyo3(signature = (fixed_hu, fixed_world_from_index, moving_hu, moving_world_from_index, start, *, displacement_max_mm=80.0, cancel=None))]
#[allow(
    clippy::too_many_arguments,
    reason = "keyword arguments of the Python function"
)]
pub(crate) fn register_volumes(
    py: Python<'_>,
    fixed_hu: PyReadonlyArray3<'_, f32>,
    fixed_world_from_index: &Bound<'_, PyAny>,
    moving_hu: PyReadonlyArray3<'_, f32>,
    moving_world_from_index: &Bound<'_, PyAny>,
    start: &Bound<'_, PyAny>,
    displacement_max_mm: f64,
    cancel: Option<&PyCancelFlag>,
) -> PyResult<PyRigidOutcome> {
    let fixed_affine = matrix4(fixed_world_from_index, "fixed_world_from_index")?;
    let moving_affine = matrix4(moving_world_from_index, "moving_world_from_index")?;
    let start = rigid(start, "start")?;
    let size = |shape: &[usize]| [2, 1, 0].map(|n| shape.get(n).copied().unwrap_or(0));
    let (fixed_size, moving_size) = (size(fixed_hu.shape()), size(moving_hu.shape()));
    let fixed_voxels = contiguous(fixed_hu.as_slice(), "fixed_hu")?;
    let moving_voxels = contiguous(moving_hu.as_slice(), "moving_hu")?;
    let settings = RigidSettings {
        displacement_max_mm,
        cancel: cancel.map(|c| c.flag.clone()).unwrap_or_default(),
    };
    let outcome = detached(py, || {
        let fixed = Scan::new(fixed_voxels.to_vec(), fixed_size, fixed_affine)?;
        let moving = Scan::new(moving_voxels.to_vec(), moving_size, moving_affine)?;
        register_rigid(&fixed, &moving, &start, &settings)
    })
    .or_raise()?;
    Ok(PyRigidOutcome { outcome })
}
