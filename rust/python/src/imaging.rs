//! The face of `igrt-imaging`: panel geometry, attenuation volumes, projection and registration.

use std::sync::Arc;

use igrt_imaging::{
    AttenuationCurve, CancelFlag, ImagingError, Limits, ModelError, Outcome, PanelGeometry,
    Projection, Pyramid, Settings, Verdict, View, Volume, project_exact, project_fast, register,
};
use nalgebra::{
    Isometry3, Matrix3, Matrix4, Matrix6, Point3, Rotation3, Translation3, UnitQuaternion,
};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2, PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::create_exception;
use pyo3::prelude::*;

use crate::error::{CoreError, OrRaise, detached};
use crate::numbers::{matrices, rows};

create_exception!(
    igrt_hw._core,
    ImagingInputError,
    CoreError,
    "A geometry, volume, image or setting that cannot be projected or registered; the message says which and why."
);

create_exception!(
    igrt_hw._core,
    RegistrationCancelled,
    CoreError,
    "A registration or reconstruction was cancelled before it had an answer; nothing was found."
);

impl<T> OrRaise<T> for Result<T, ImagingError> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(|error| match error {
            ImagingError::Cancelled => RegistrationCancelled::new_err(error.to_string()),
            other => ImagingInputError::new_err(other.to_string()),
        })
    }
}

/// A stop for a running registration or reconstruction, pulled from any thread.
#[pyclass(frozen, name = "CancelFlag", module = "igrt_hw._core")]
pub(crate) struct PyCancelFlag {
    pub(crate) flag: CancelFlag,
}

#[pymethods]
impl PyCancelFlag {
    #[new]
    fn new() -> Self {
        Self {
            flag: CancelFlag::default(),
        }
    }

    /// Ask for the end; it cannot be taken back.
    fn cancel(&self) {
        self.flag.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.flag.is_cancelled()
    }
}

/// A 4 x 4 matrix that must be rigid: rotation and translation in mm.
pub(crate) fn rigid(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Isometry3<f64>> {
    let m = matrix4(value, what)?;
    let r: Matrix3<f64> = m.fixed_view::<3, 3>(0, 0).into_owned();
    let last = m.row(3).into_owned();
    let orthogonal = (r * r.transpose() - Matrix3::identity()).norm() < 1e-6;
    let affine = (last - nalgebra::RowVector4::new(0.0, 0.0, 0.0, 1.0)).norm() < 1e-9;
    if !(orthogonal && r.determinant() > 0.0 && affine) || m.iter().any(|x| !x.is_finite()) {
        return Err(ImagingInputError::new_err(format!(
            "{what} is not a rigid transform: the upper left 3 x 3 must be a rotation and the last row 0 0 0 1"
        )));
    }
    let rotation = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(r));
    let shift = m.column(3);
    Ok(Isometry3::from_parts(
        Translation3::new(shift.x, shift.y, shift.z),
        rotation,
    ))
}

pub(crate) fn matrix4(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Matrix4<f64>> {
    match matrices(value, what)?.as_slice() {
        [one] => Ok(Matrix4::from_fn(|i, j| {
            one.get(i)
                .and_then(|row| row.get(j))
                .copied()
                .unwrap_or(f64::NAN)
        })),
        many => Err(ImagingInputError::new_err(format!(
            "{what} must be one (4, 4) matrix, got {}",
            many.len()
        ))),
    }
}

fn image_of(
    py: Python<'_>,
    pixels: Vec<f32>,
    rows: usize,
    cols: usize,
) -> PyResult<Bound<'_, PyArray2<f32>>> {
    Array2::from_shape_vec((rows, cols), pixels)
        .map(|a| a.into_pyarray(py))
        .map_err(|error| ImagingInputError::new_err(error.to_string()))
}

/// Source and flat panel of one exposure, IEC 61217 (`docs/conventions.md`).
#[pyclass(frozen, name = "PanelGeometry", module = "igrt_hw._core")]
pub(crate) struct PyPanelGeometry {
    panel: PanelGeometry,
    projection: Projection,
}

impl PyPanelGeometry {
    pub(crate) fn projection(&self) -> Projection {
        self.projection
    }
}

#[pymethods]
impl PyPanelGeometry {
    #[new]
    #[pyo3(signature = (*, source_angle_deg, sad_mm, sid_mm, rows, cols, pixel_pitch_mm, panel_lateral_mm=0.0,
        panel_longitudinal_mm=0.0, panel_rotation_deg=0.0, panel_pitch_deg=0.0, panel_roll_deg=0.0,
        source_lateral_mm=0.0, source_longitudinal_mm=0.0))]
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments of the Python constructor"
    )]
    fn new(
        source_angle_deg: f64,
        sad_mm: f64,
        sid_mm: f64,
        rows: usize,
        cols: usize,
        pixel_pitch_mm: f64,
        panel_lateral_mm: f64,
        panel_longitudinal_mm: f64,
        panel_rotation_deg: f64,
        panel_pitch_deg: f64,
        panel_roll_deg: f64,
        source_lateral_mm: f64,
        source_longitudinal_mm: f64,
    ) -> PyResult<Self> {
        let panel = PanelGeometry {
            source_angle_deg,
            sad_mm,
            sid_mm,
            panel_lateral_mm,
            panel_longitudinal_mm,
            panel_rotation_deg,
            panel_pitch_deg,
            panel_roll_deg,
            source_lateral_mm,
            source_longitudinal_mm,
            rows,
            cols,
            pixel_pitch_mm,
        };
        let projection = panel.projection().or_raise()?;
        Ok(Self { panel, projection })
    }

    /// Rows and columns.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.panel.rows, self.panel.cols)
    }

    #[getter]
    fn source_angle_deg(&self) -> f64 {
        self.panel.source_angle_deg
    }

    #[getter]
    fn sad_mm(&self) -> f64 {
        self.panel.sad_mm
    }

    #[getter]
    fn sid_mm(&self) -> f64 {
        self.panel.sid_mm
    }

    #[getter]
    fn pixel_pitch_mm(&self) -> f64 {
        self.panel.pixel_pitch_mm
    }

    #[getter]
    fn panel_lateral_mm(&self) -> f64 {
        self.panel.panel_lateral_mm
    }

    #[getter]
    fn panel_longitudinal_mm(&self) -> f64 {
        self.panel.panel_longitudinal_mm
    }

    #[getter]
    fn panel_rotation_deg(&self) -> f64 {
        self.panel.panel_rotation_deg
    }

    #[getter]
    fn panel_pitch_deg(&self) -> f64 {
        self.panel.panel_pitch_deg
    }

    #[getter]
    fn panel_roll_deg(&self) -> f64 {
        self.panel.panel_roll_deg
    }

    #[getter]
    fn source_lateral_mm(&self) -> f64 {
        self.panel.source_lateral_mm
    }

    #[getter]
    fn source_longitudinal_mm(&self) -> f64 {
        self.panel.source_longitudinal_mm
    }

    /// The focal spot in the fixed frame, mm.
    #[getter]
    fn source_mm(&self) -> (f64, f64, f64) {
        let s = self.projection.source;
        (s.x, s.y, s.z)
    }

    /// The 3 x 4 matrix from homogeneous fixed-frame points in mm to homogeneous (col, row, 1).
    fn matrix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let m = self.projection.matrix().or_raise()?;
        let by_rows: Vec<f64> = m.transpose().iter().copied().collect();
        Array2::from_shape_vec((3, 4), by_rows)
            .map(|a| a.into_pyarray(py))
            .map_err(|error| ImagingInputError::new_err(error.to_string()))
    }

    /// Columns and rows (n, 2) on which fixed-frame points (n, 3) in mm fall; NaN behind the source.
    fn pixels_of<'py>(
        &self,
        py: Python<'py>,
        points_mm: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let points = rows::<3>(points_mm, "points_mm")?;
        let pixels: Vec<f64> = points
            .iter()
            .flat_map(|&[x, y, z]| {
                let at = self.projection.pixel_of(&Point3::new(x, y, z));
                let (col, row) = at.unwrap_or((f64::NAN, f64::NAN));
                [col, row]
            })
            .collect();
        Array2::from_shape_vec((points.len(), 2), pixels)
            .map(|a| a.into_pyarray(py))
            .map_err(|error| ImagingInputError::new_err(error.to_string()))
    }
}

/// A CT as attenuation in three resolutions, ready to be projected and registered.
#[pyclass(frozen, name = "AttenuationVolume", module = "igrt_hw._core")]
pub(crate) struct PyAttenuationVolume {
    pyramid: Arc<Pyramid>,
}

#[pymethods]
impl PyAttenuationVolume {
    #[new]
    #[pyo3(signature = (hu, patient_from_index, *, curve=None, body=None))]
    fn new(
        py: Python<'_>,
        hu: PyReadonlyArray3<'_, f32>,
        patient_from_index: &Bound<'_, PyAny>,
        curve: Option<&Bound<'_, PyAny>>,
        body: Option<PyReadonlyArray3<'_, bool>>,
    ) -> PyResult<Self> {
        let affine = matrix4(patient_from_index, "patient_from_index")?;
        let curve = match curve {
            None => AttenuationCurve::default(),
            Some(points) => {
                let points: Vec<(f64, f64)> = rows::<2>(points, "curve")?
                    .into_iter()
                    .map(|[hu, mu]| (hu, mu))
                    .collect();
                AttenuationCurve::new(&points).or_raise()?
            }
        };
        if let Some(body) = &body
            && body.shape() != hu.shape()
        {
            return Err(ImagingInputError::new_err(format!(
                "the body mask has shape {:?}, the CT {:?}",
                body.shape(),
                hu.shape()
            )));
        }
        let &[slices, height, width] = hu.shape() else {
            return Err(ImagingInputError::new_err(
                "hu must have shape (slices, rows, cols)",
            ));
        };
        let voxels = contiguous(hu.as_slice(), "hu")?;
        let inside = body
            .as_ref()
            .map(|b| contiguous(b.as_slice(), "body"))
            .transpose()?;
        let pyramid = detached(py, || {
            Volume::from_hu(voxels, [width, height, slices], affine, &curve, inside)
                .and_then(Pyramid::new)
        })
        .or_raise()?;
        Ok(Self {
            pyramid: Arc::new(pyramid),
        })
    }

    /// Slices, rows, columns.
    #[getter]
    fn shape(&self) -> PyResult<(usize, usize, usize)> {
        let [cols, rows, slices] = self.pyramid.finest().or_raise()?.size();
        Ok((slices, rows, cols))
    }

    /// Line integrals (rows, cols) float32 through a panel geometry, the patient placed by `fixed_from_patient`.
    #[pyo3(signature = (geometry, fixed_from_patient, *, exact=false))]
    fn project<'py>(
        &self,
        py: Python<'py>,
        geometry: &PyPanelGeometry,
        fixed_from_patient: &Bound<'py, PyAny>,
        exact: bool,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let pose = rigid(fixed_from_patient, "fixed_from_patient")?;
        let projection = geometry.projection;
        let pyramid = Arc::clone(&self.pyramid);
        let image = detached(py, move || {
            let volume = pyramid.finest()?;
            if exact {
                project_exact(volume, &projection, &pose)
            } else {
                project_fast(volume, &projection, &pose)
            }
        })
        .or_raise()?;
        image_of(py, image, projection.rows, projection.cols)
    }
}

pub(crate) fn contiguous<'a, T, E>(slice: Result<&'a [T], E>, what: &str) -> PyResult<&'a [T]> {
    slice.map_err(|_| ImagingInputError::new_err(format!("{what} must be C-contiguous")))
}

/// What a registration found (`igrt_hw.guidance.registration` makes a model of it).
#[pyclass(frozen, name = "RegistrationOutcome", module = "igrt_hw._core")]
pub(crate) struct PyRegistrationOutcome {
    outcome: Outcome,
}

#[pymethods]
impl PyRegistrationOutcome {
    #[getter]
    fn verdict(&self) -> &'static str {
        match self.outcome.verdict {
            Verdict::Reliable => "reliable",
            Verdict::Doubtful => "doubtful",
            Verdict::Refused => "refused",
        }
    }

    /// Reasons as (code, sentence).
    #[getter]
    fn reasons(&self) -> Vec<(&'static str, String)> {
        self.outcome
            .reasons
            .iter()
            .map(|r| (r.code(), r.to_string()))
            .collect()
    }

    /// Lateral, longitudinal, vertical mm; rotation, pitch, roll deg.
    #[getter]
    fn correction(&self) -> [f64; 6] {
        self.outcome.six_numbers.into()
    }

    /// (6, 6), mm and degrees.
    #[getter]
    fn covariance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        matrix_of::<6>(py, self.outcome.covariance.iter().copied().collect())
    }

    /// (6, 6), mm and degrees: what the residuals alone say, before the model error.
    #[getter]
    fn residual_covariance<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        matrix_of::<6>(
            py,
            self.outcome.residual_covariance.iter().copied().collect(),
        )
    }

    /// The estimated `fixed <- patient` (4, 4).
    #[getter]
    fn fixed_from_patient<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let m = self.outcome.pose.to_homogeneous().transpose();
        matrix_of::<4>(py, m.iter().copied().collect())
    }

    #[getter]
    fn target_sigma_mm(&self) -> f64 {
        self.outcome.target_sigma_mm
    }

    #[getter]
    fn target_bound_mm(&self) -> f64 {
        self.outcome.target_bound_mm
    }

    /// Distance mm and turn deg from the nominal pose.
    #[getter]
    fn displacement(&self) -> (f64, f64) {
        self.outcome.displacement
    }

    #[getter]
    fn similarity(&self) -> Vec<f64> {
        self.outcome.similarity.clone()
    }

    /// Per view, the share of the model's contrast where the image shows something else.
    #[getter]
    fn foreign(&self) -> Vec<f64> {
        self.outcome.foreign.clone()
    }

    #[getter]
    fn overlap(&self) -> Vec<f64> {
        self.outcome.overlap.clone()
    }

    /// Per view, the median share of scatter in the signal.
    #[getter]
    fn scatter_share(&self) -> Vec<f64> {
        self.outcome.scatter_share.clone()
    }

    #[getter]
    fn disagreement_mm(&self) -> Vec<f64> {
        self.outcome.disagreement_mm.clone()
    }

    /// Similarity as a share of the result's, and distance mm, of the best start that ended elsewhere.
    #[getter]
    fn rival(&self) -> Option<(f64, f64)> {
        self.outcome.rival
    }

    #[getter]
    fn iterations(&self) -> usize {
        self.outcome.iterations
    }

    #[getter]
    fn converged(&self) -> bool {
        self.outcome.converged
    }
}

fn matrix_of<const N: usize>(
    py: Python<'_>,
    by_rows: Vec<f64>,
) -> PyResult<Bound<'_, PyArray2<f64>>> {
    Array2::from_shape_vec((N, N), by_rows)
        .map(|a| a.into_pyarray(py))
        .map_err(|error| ImagingInputError::new_err(error.to_string()))
}

type PyView<'py> = (
    Bound<'py, PyPanelGeometry>,
    PyReadonlyArray2<'py, f32>,
    Option<PyReadonlyArray2<'py, bool>>,
);

/// Register one to four views with a volume; see `igrt_imaging::register`.
#[pyfunction]
#[pyo3(signature = (volume, views, nominal, planned, *, free, limits, level_offsets_mm, target_mm, scatter,
    prior_sigma=[f64::INFINITY; 6], model_error=None, geometry_motion=None, cancel=None))]
#[allow(
    clippy::too_many_arguments,
    reason = "keyword arguments of the Python function"
)]
pub(crate) fn register_views(
    py: Python<'_>,
    volume: &PyAttenuationVolume,
    views: Vec<PyView<'_>>,
    nominal: &Bound<'_, PyAny>,
    planned: &Bound<'_, PyAny>,
    free: [bool; 6],
    limits: [f64; 9],
    level_offsets_mm: Vec<f64>,
    target_mm: [f64; 3],
    scatter: bool,
    prior_sigma: [f64; 6],
    model_error: Option<[f64; 3]>,
    geometry_motion: Option<[[f64; 6]; 6]>,
    cancel: Option<&PyCancelFlag>,
) -> PyResult<PyRegistrationOutcome> {
    let (nominal, planned) = (rigid(nominal, "nominal")?, rigid(planned, "planned")?);
    let mut inputs = Vec::with_capacity(views.len());
    for (n, (geometry, image, region)) in views.iter().enumerate() {
        let geometry = geometry.get();
        let expected = [geometry.panel.rows, geometry.panel.cols];
        if image.shape() != expected || region.as_ref().is_some_and(|r| r.shape() != expected) {
            return Err(ImagingInputError::new_err(format!(
                "view {n}: the image has shape {:?}, its geometry {expected:?}; a region must have the same",
                image.shape()
            )));
        }
        inputs.push(View {
            projection: geometry.projection,
            image: contiguous(image.as_slice(), "image")?,
            region: region
                .as_ref()
                .map(|r| contiguous(r.as_slice(), "region"))
                .transpose()?,
        });
    }
    let [x, y, z] = target_mm;
    let settings = Settings {
        free,
        level_offsets_mm,
        limits: limits_of(limits),
        target: Point3::new(x, y, z),
        scatter,
        prior_sigma,
        model_error: model_error.map_or_else(ModelError::default, |[inflation, mm, deg]| {
            ModelError {
                inflation,
                shift_mm: mm,
                turn_deg: deg,
            }
        }),
        geometry: geometry_motion.map_or_else(Matrix6::zeros, |rows| {
            Matrix6::from_row_iterator(rows.into_iter().flatten())
        }),
        cancel: cancel.map(|c| c.flag.clone()).unwrap_or_default(),
        ..Settings::default()
    };
    let pyramid = Arc::clone(&volume.pyramid);
    let outcome = detached(py, || {
        register(&pyramid, &inputs, &nominal, &planned, &settings)
    })
    .or_raise()?;
    Ok(PyRegistrationOutcome { outcome })
}

/// The limits in the order of `igrt_hw.guidance.registration.Limits`.
fn limits_of(values: [f64; 9]) -> Limits {
    let [
        similarity_min,
        overlap_min,
        displacement_max_mm,
        displacement_max_deg,
        disagreement_max_mm,
        rival_max,
        sigma_max_mm,
        sigma_max_deg,
        foreign_max,
    ] = values;
    Limits {
        similarity_min,
        overlap_min,
        displacement_max_mm,
        displacement_max_deg,
        disagreement_max_mm,
        rival_max,
        sigma_max_mm,
        sigma_max_deg,
        foreign_max,
    }
}
