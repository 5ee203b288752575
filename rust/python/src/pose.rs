//! `Pose`: a rigid transform that carries its frames as tags.

use igrt_motion::{Correction, Pose, Untyped};
use numpy::ndarray::Array2;
use numpy::{AllowTypeChange, IntoPyArray, PyArray2, PyArrayLikeDyn};
use pyo3::prelude::*;

use crate::error::{FrameError, GeometryError, OrRaise};
use crate::numbers::{DEG, RAD, matrices, numbers};

/// Names a pose may carry, as in `igrt_hw.geometry.Frame`.
const FRAMES: [&str; 11] = [
    "fixed",
    "gantry",
    "source_arm",
    "panel_arm",
    "turntable",
    "eccentric",
    "base",
    "flange",
    "table_top",
    "patient",
    "dicom",
];

pub(crate) type Tag = &'static str;

fn tag(name: &str) -> PyResult<Tag> {
    FRAMES
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| {
            FrameError::new_err(format!(
                "frame {name:?} is not one of {}",
                FRAMES.join(", ")
            ))
        })
}

/// A rigid transform `to_frame <- from_frame`: maps coordinates in `from_frame` to coordinates in `to_frame`; millimetres.
#[pyclass(frozen, name = "Pose", module = "igrt_hw._core")]
pub(crate) struct PyPose {
    pub(crate) pose: Pose<Untyped, Untyped>,
    pub(crate) to: Tag,
    pub(crate) from: Tag,
}

impl PyPose {
    /// The pose under typed frames, after checking that it carries exactly them.
    pub(crate) fn typed<A: igrt_motion::Frame, B: igrt_motion::Frame>(
        &self,
    ) -> PyResult<Pose<A, B>> {
        if self.to == A::NAME && self.from == B::NAME {
            return Ok(self.pose.with_frames());
        }
        Err(FrameError::new_err(format!(
            "a pose {} <- {} is needed here, got {} <- {}",
            A::NAME,
            B::NAME,
            self.to,
            self.from
        )))
    }

    pub(crate) fn of<A: igrt_motion::Frame, B: igrt_motion::Frame>(pose: &Pose<A, B>) -> Self {
        Self {
            pose: pose.with_frames(),
            to: A::NAME,
            from: B::NAME,
        }
    }
}

#[pymethods]
impl PyPose {
    #[staticmethod]
    fn identity(to_frame: &str, from_frame: &str) -> PyResult<Self> {
        Ok(Self {
            pose: Pose::identity(),
            to: tag(to_frame)?,
            from: tag(from_frame)?,
        })
    }

    #[staticmethod]
    fn from_matrix(matrix: &Bound<'_, PyAny>, to_frame: &str, from_frame: &str) -> PyResult<Self> {
        let found = matrices(matrix, "matrix")?;
        let [rows] = found.as_slice() else {
            return Err(GeometryError::new_err(format!(
                "one (4, 4) matrix makes a pose, got {}",
                found.len()
            )));
        };
        Ok(Self {
            pose: Pose::from_matrix(*rows).or_raise()?,
            to: tag(to_frame)?,
            from: tag(from_frame)?,
        })
    }

    #[staticmethod]
    fn from_parameters(
        parameters: &Bound<'_, PyAny>,
        to_frame: &str,
        from_frame: &str,
    ) -> PyResult<Self> {
        let [x, y, z, rotation, pitch, roll] = numbers(parameters, "a pose from parameters")?;
        let six = Correction::from_array([x, y, z, rotation * RAD, pitch * RAD, roll * RAD]);
        Ok(Self {
            pose: six.to_pose().or_raise()?,
            to: tag(to_frame)?,
            from: tag(from_frame)?,
        })
    }

    fn parameters(&self) -> PyResult<(f64, f64, f64, f64, f64, f64)> {
        let c = Correction::from_pose(&self.pose).or_raise()?;
        let angles = (c.rotation * DEG, c.pitch * DEG, c.roll * DEG);
        Ok((
            c.lateral_mm,
            c.longitudinal_mm,
            c.vertical_mm,
            angles.0,
            angles.1,
            angles.2,
        ))
    }

    #[getter]
    fn to_frame(&self) -> &'static str {
        self.to
    }

    #[getter(from_frame)]
    fn source_frame(&self) -> &'static str {
        self.from
    }

    #[getter]
    fn translation_mm(&self) -> (f64, f64, f64) {
        self.pose.translation_mm().into()
    }

    fn expect_frames(&self, to_frame: &str, from_frame: &str) -> PyResult<()> {
        if self.to == tag(to_frame)? && self.from == tag(from_frame)? {
            return Ok(());
        }
        Err(FrameError::new_err(format!(
            "a pose {to_frame} <- {from_frame} is needed here, got {} <- {}",
            self.to, self.from
        )))
    }

    fn compose(&self, next: &Self) -> PyResult<Self> {
        if self.from != next.to {
            return Err(FrameError::new_err(format!(
                "cannot compose {} <- {} with {} <- {}: {} meets {}",
                self.to, self.from, next.to, next.from, self.from, next.to
            )));
        }
        Ok(Self {
            pose: self.pose * next.pose,
            to: self.to,
            from: next.from,
        })
    }

    fn __matmul__(&self, next: &Self) -> PyResult<Self> {
        self.compose(next)
    }

    fn inverse(&self) -> Self {
        Self {
            pose: self.pose.inverse(),
            to: self.from,
            from: self.to,
        }
    }

    fn matrix<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f64>> {
        let rows = self.pose.to_matrix();
        Array2::from(rows.to_vec()).into_pyarray(py)
    }

    fn rotation<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f64>> {
        Array2::from(self.pose.rotation().to_vec()).into_pyarray(py)
    }

    fn apply<'py>(
        &self,
        py: Python<'py>,
        points_mm: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array: PyArrayLikeDyn<'_, f64, AllowTypeChange> = points_mm.extract()?;
        let array = array.as_array();
        let shape = array.shape();
        if !matches!(shape, [3] | [_, 3]) {
            return Err(GeometryError::new_err(format!(
                "points have shape {shape:?}; they need (n, 3) or (3,)"
            )));
        }
        let flat: Vec<f64> = array.iter().copied().collect();
        let moved: Vec<[f64; 3]> = flat
            .as_chunks::<3>()
            .0
            .iter()
            .map(|p| self.pose.apply(*p))
            .collect();
        let moved = Array2::from(moved).into_pyarray(py);
        if shape.len() == 1 {
            moved.into_any().get_item(0)
        } else {
            Ok(moved.into_any())
        }
    }

    fn deviation(&self, other: &Self) -> PyResult<(f64, f64)> {
        if self.to != other.to || self.from != other.from {
            return Err(FrameError::new_err(format!(
                "cannot compare {} <- {} with {} <- {}",
                self.to, self.from, other.to, other.from
            )));
        }
        let (mm, rad) = self.pose.deviation(&other.pose);
        Ok((mm, rad * DEG))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            self.to == other.to && self.from == other.from && self.pose == other.pose
        })
    }

    fn __repr__(&self) -> String {
        let frames = format!("Pose({} <- {}", self.to, self.from);
        match self.parameters() {
            Ok((x, y, z, yaw, pitch, roll)) => format!(
                "{frames}, [{x:.3}, {y:.3}, {z:.3}] mm, rotation {yaw:.4}, pitch {pitch:.4}, roll {roll:.4} deg)"
            ),
            Err(_) => format!("{frames}, {:?})", self.pose.to_matrix()),
        }
    }
}
