//! `Couch`: the couch families behind one Python class. Millimetres and degrees.

use igrt_motion::{
    Arm, AxisKind, Base, Couch, Family, Fixed, Flange, Hexapod, Limits, MotionError, Outcome,
    Pedestal, Pose, Scara, TableTop,
};
use numpy::ndarray::{Array2, Array3};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods};
use pyo3::prelude::*;

use crate::error::{CoreError, GeometryError, OrRaise, detached};
use crate::numbers::{DEG, RAD, matrices, numbers, rows};
use crate::pose::PyPose;

type Six = (f64, f64, f64, f64, f64, f64);
type Status<'py> = Bound<'py, PyArray1<u8>>;
type Table<'py> = Bound<'py, PyArray2<f64>>;

/// A couch: pedestal, hexapod, arm or scara. Immutable; axes in mm and degrees in the order of `axis_names`.
#[pyclass(frozen, name = "Couch", module = "igrt_hw._core")]
pub(crate) struct PyCouch {
    pub(crate) couch: Couch,
    /// Core units (radians) per unit of the face, per axis.
    to_core: [f64; 6],
    from_core: [f64; 6],
}

impl PyCouch {
    fn of(couch: Couch) -> Self {
        let scale = |factor: f64| {
            couch.axis_kinds().map(|kind| {
                if kind == AxisKind::Rotary {
                    factor
                } else {
                    1.0
                }
            })
        };
        Self {
            couch,
            to_core: scale(RAD),
            from_core: scale(DEG),
        }
    }

    /// Axis values of the face in the core's units.
    #[inline]
    pub(crate) fn core_axes(&self, axes: &Bound<'_, PyAny>) -> PyResult<[f64; 6]> {
        Ok(times(numbers(axes, "a couch position")?, &self.to_core))
    }

    #[inline]
    fn face_axes(&self, axes: &[f64; 6]) -> Six {
        times(*axes, &self.from_core).into()
    }

    fn face_jacobian(&self, jacobian: &mut [[f64; 6]; 6]) {
        for (index, row) in jacobian.iter_mut().enumerate() {
            *row = times(*row, &self.to_core);
            if index >= 3 {
                *row = row.map(|x| x * DEG);
            }
        }
    }

    fn face_table<'py>(&self, py: Python<'py>, mut table: Vec<[f64; 6]>) -> Table<'py> {
        for row in &mut table {
            *row = times(*row, &self.from_core);
        }
        Array2::from(table).into_pyarray(py)
    }

    fn core_rows(&self, axes: &Bound<'_, PyAny>) -> PyResult<Vec<[f64; 6]>> {
        let mut table = rows(axes, "couch positions")?;
        for row in &mut table {
            *row = times(*row, &self.to_core);
        }
        Ok(table)
    }
}

#[inline]
fn times(mut values: [f64; 6], scale: &[f64; 6]) -> [f64; 6] {
    for (value, factor) in values.iter_mut().zip(scale) {
        *value *= factor;
    }
    values
}

fn limits_of(kinds: [bool; 6], limits: &Bound<'_, PyAny>) -> PyResult<Limits> {
    let table: Vec<[f64; 2]> = rows(limits, "limits")?;
    let Ok(table) = <[[f64; 2]; 6]>::try_from(table) else {
        return Err(GeometryError::new_err(
            "limits are six pairs (lower, upper), one per axis",
        ));
    };
    let mut pairs = [(0.0, 0.0); 6];
    for ((pair, [low, high]), rotary) in pairs.iter_mut().zip(table).zip(kinds) {
        let scale = if rotary { RAD } else { 1.0 };
        *pair = (low * scale, high * scale);
    }
    Limits::new(pairs).or_raise()
}

fn mounted(couch: Couch, base: Option<&PyPose>, tool: Option<&PyPose>) -> PyResult<Couch> {
    let base = base.map_or(Ok(Pose::identity()), PyPose::typed::<Fixed, Base>)?;
    let tool = tool.map_or(Ok(Pose::identity()), PyPose::typed::<Flange, TableTop>)?;
    Ok(couch.with_mounts(&base, &tool))
}

const CARTESIAN: [bool; 6] = [false, false, false, true, true, true];

fn joints(value: &Bound<'_, PyAny>, what: &str) -> PyResult<[[f64; 3]; 6]> {
    <[[f64; 3]; 6]>::try_from(rows(value, what)?).map_err(|found| {
        GeometryError::new_err(format!("{what} are 6 points, got {}", found.len()))
    })
}

#[pymethods]
impl PyCouch {
    #[staticmethod]
    #[pyo3(signature = (limits, *, eccentric_mm = 0.0, eccentric_deg = 0.0, base = None, tool = None))]
    fn pedestal(
        limits: &Bound<'_, PyAny>,
        eccentric_mm: f64,
        eccentric_deg: f64,
        base: Option<&PyPose>,
        tool: Option<&PyPose>,
    ) -> PyResult<Self> {
        let chain = Pedestal::new(eccentric_mm, eccentric_deg * RAD).or_raise()?;
        let couch = Couch::new(Family::Pedestal(chain), limits_of(CARTESIAN, limits)?);
        Ok(Self::of(mounted(couch, base, tool)?))
    }

    #[staticmethod]
    #[pyo3(signature = (limits, *, base_joints_mm, platform_joints_mm, leg_limits_mm, base_axes = None,
                        eccentric_mm = 0.0, eccentric_deg = 0.0))]
    fn hexapod(
        limits: &Bound<'_, PyAny>,
        base_joints_mm: &Bound<'_, PyAny>,
        platform_joints_mm: &Bound<'_, PyAny>,
        leg_limits_mm: (f64, f64),
        base_axes: Option<&Bound<'_, PyAny>>,
        eccentric_mm: f64,
        eccentric_deg: f64,
    ) -> PyResult<Self> {
        let chain = Pedestal::new(eccentric_mm, eccentric_deg * RAD).or_raise()?;
        let base = base_axes.map_or(Ok([0.0; 4]), core_base_axes)?;
        let platform = joints(platform_joints_mm, "platform joints")?;
        let hexapod = Hexapod::new(
            joints(base_joints_mm, "base joints")?,
            platform,
            leg_limits_mm,
            chain,
            base,
        );
        let family = Family::Hexapod(hexapod.or_raise()?);
        Ok(Self::of(Couch::new(family, limits_of(CARTESIAN, limits)?)))
    }

    #[staticmethod]
    #[pyo3(signature = (limits, *, offsets_mm, lengths_mm, signs = None, zeros_deg = None, base = None, tool = None))]
    fn arm(
        limits: &Bound<'_, PyAny>,
        offsets_mm: [f64; 3],
        lengths_mm: [f64; 4],
        signs: Option<[f64; 6]>,
        zeros_deg: Option<[f64; 6]>,
        base: Option<&PyPose>,
        tool: Option<&PyPose>,
    ) -> PyResult<Self> {
        let arm = Arm::new(offsets_mm, lengths_mm).or_raise()?;
        let couch = Couch::new(Family::Arm(arm), limits_of([true; 6], limits)?);
        let zeros = zeros_deg.unwrap_or([0.0; 6]).map(|zero| zero * RAD);
        let couch = couch
            .with_axis_map(signs.unwrap_or([1.0; 6]), zeros)
            .or_raise()?;
        Ok(Self::of(mounted(couch, base, tool)?))
    }

    #[staticmethod]
    #[pyo3(signature = (limits, *, upper_mm, fore_mm, wrist_mm, signs = None, zeros = None, base = None, tool = None))]
    #[allow(
        clippy::too_many_arguments,
        reason = "keyword arguments of a Python constructor"
    )]
    fn scara(
        limits: &Bound<'_, PyAny>,
        upper_mm: f64,
        fore_mm: f64,
        wrist_mm: [f64; 3],
        signs: Option<[f64; 6]>,
        zeros: Option<[f64; 6]>,
        base: Option<&PyPose>,
        tool: Option<&PyPose>,
    ) -> PyResult<Self> {
        let scara = Scara::new(upper_mm, fore_mm, wrist_mm).or_raise()?;
        let rotary = [false, true, true, true, true, true];
        let couch = Couch::new(Family::Scara(scara), limits_of(rotary, limits)?);
        let [vertical, turns @ ..] = zeros.unwrap_or([0.0; 6]);
        let [a, b, c, d, e] = turns.map(|zero| zero * RAD);
        let couch = couch
            .with_axis_map(signs.unwrap_or([1.0; 6]), [vertical, a, b, c, d, e])
            .or_raise()?;
        Ok(Self::of(mounted(couch, base, tool)?))
    }

    #[getter]
    fn family(&self) -> &'static str {
        self.couch.family_name()
    }

    #[getter]
    fn axis_names(&self) -> (&str, &str, &str, &str, &str, &str) {
        self.couch.axis_names().into()
    }

    #[getter]
    fn axis_kinds(&self) -> (&str, &str, &str, &str, &str, &str) {
        let name = |kind| {
            if kind == AxisKind::Rotary {
                "rotary"
            } else {
                "linear"
            }
        };
        self.couch.axis_kinds().map(name).into()
    }

    #[getter]
    fn limits(&self) -> Vec<(f64, f64)> {
        let pairs = self.couch.limits().pairs();
        pairs
            .into_iter()
            .zip(self.from_core)
            .map(|((low, high), scale)| (low * scale, high * scale))
            .collect()
    }

    fn forward(&self, axes: &Bound<'_, PyAny>) -> PyResult<PyPose> {
        Ok(PyPose::of(
            &self.couch.forward(&self.core_axes(axes)?).or_raise()?,
        ))
    }

    fn inverse(&self, pose: &PyPose) -> PyResult<Vec<Six>> {
        let found = self.couch.inverse(&pose.typed()?).or_raise()?;
        Ok(found
            .as_slice()
            .iter()
            .map(|axes| self.face_axes(axes))
            .collect())
    }

    fn branches(&self, pose: &PyPose) -> PyResult<Vec<Six>> {
        let found = self.couch.branches(&pose.typed()?).or_raise()?;
        Ok(found
            .as_slice()
            .iter()
            .map(|axes| self.face_axes(axes))
            .collect())
    }

    fn inverse_nearest(&self, pose: &PyPose, seed: &Bound<'_, PyAny>) -> PyResult<Six> {
        let seed = self.core_axes(seed)?;
        Ok(self.face_axes(
            &self
                .couch
                .inverse_nearest(&pose.typed()?, &seed)
                .or_raise()?,
        ))
    }

    fn nearest_branch(&self, pose: &PyPose, seed: &Bound<'_, PyAny>) -> PyResult<Six> {
        let seed = self.core_axes(seed)?;
        Ok(self.face_axes(
            &self
                .couch
                .nearest_branch(&pose.typed()?, &seed)
                .or_raise()?,
        ))
    }

    fn check_limits(&self, axes: &Bound<'_, PyAny>) -> PyResult<()> {
        self.couch.check_limits(&self.core_axes(axes)?).or_raise()
    }

    fn margins(&self, axes: &Bound<'_, PyAny>) -> PyResult<Six> {
        let axes = self.core_axes(axes)?;
        self.couch.check_axes(&axes).or_raise()?;
        Ok(self.face_axes(&self.couch.margins(&axes)))
    }

    fn jacobian<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let mut jacobian = self.couch.jacobian(&self.core_axes(axes)?).or_raise()?;
        self.face_jacobian(&mut jacobian);
        Ok(Array2::from(jacobian.to_vec()).into_pyarray(py))
    }

    fn singularity(&self, axes: &Bound<'_, PyAny>) -> PyResult<(&'static str, f64)> {
        let axes = self.core_axes(axes)?;
        self.couch.check_axes(&axes).or_raise()?;
        let found = self.couch.singularity(&axes);
        Ok((found.name, found.margin))
    }

    #[pyo3(signature = (axes, *, length_mm = 500.0))]
    fn manipulability(&self, axes: &Bound<'_, PyAny>, length_mm: f64) -> PyResult<f64> {
        self.couch
            .manipulability(&self.core_axes(axes)?, length_mm)
            .or_raise()
    }

    fn leg_lengths(&self, axes: &Bound<'_, PyAny>) -> PyResult<Six> {
        let axes = self.core_axes(axes)?;
        self.couch.check_axes(&axes).or_raise()?;
        let legs = self
            .couch
            .leg_lengths(&axes)
            .ok_or_else(|| self.no_legs())?;
        Ok(legs.into())
    }

    fn leg_margins(&self, axes: &Bound<'_, PyAny>) -> PyResult<Six> {
        let axes = self.core_axes(axes)?;
        self.couch.check_axes(&axes).or_raise()?;
        let margins = self
            .couch
            .leg_margins(&axes)
            .ok_or_else(|| self.no_legs())?;
        Ok(margins.into())
    }

    fn leg_jacobian<'py>(&self, py: Python<'py>, axes: &Bound<'py, PyAny>) -> PyResult<Table<'py>> {
        let axes = self.core_axes(axes)?;
        self.couch.check_axes(&axes).or_raise()?;
        let mut rows = self
            .couch
            .leg_jacobian(&axes)
            .ok_or_else(|| self.no_legs())?;
        for entry in rows.iter_mut().flat_map(|row| row.iter_mut().skip(3)) {
            *entry *= RAD;
        }
        Ok(Array2::from(rows.to_vec()).into_pyarray(py))
    }

    #[pyo3(signature = (lengths_mm, seed = None))]
    fn forward_from_legs(
        &self,
        lengths_mm: &Bound<'_, PyAny>,
        seed: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyPose> {
        let lengths = numbers(lengths_mm, "leg lengths")?;
        let seed = seed.map(|axes| self.core_axes(axes)).transpose()?;
        Ok(PyPose::of(
            &self
                .couch
                .forward_from_legs(&lengths, seed.as_ref())
                .or_raise()?,
        ))
    }

    #[getter]
    fn base(&self) -> PyPose {
        PyPose::of(&self.couch.base())
    }

    #[getter]
    fn tool(&self) -> PyPose {
        PyPose::of(&self.couch.tool())
    }

    #[getter]
    fn axis_map(&self) -> (Six, Six) {
        let (gain, offset) = self.couch.axis_map();
        (gain.into(), self.face_axes(&offset))
    }

    fn with_mounts(&self, base: &PyPose, tool: &PyPose) -> PyResult<Self> {
        Ok(Self::of(mounted(self.couch, Some(base), Some(tool))?))
    }

    fn with_axis_map(&self, gains: &Bound<'_, PyAny>, zeros: &Bound<'_, PyAny>) -> PyResult<Self> {
        let zeros = times(numbers(zeros, "zeros of the axes")?, &self.to_core);
        Ok(Self::of(
            self.couch
                .with_axis_map(numbers(gains, "gains of the axes")?, zeros)
                .or_raise()?,
        ))
    }

    #[pyo3(signature = (axes, *, reach_mm = 50.0, reach_deg = 5.0))]
    fn correction_window(
        &self,
        py: Python<'_>,
        axes: &Bound<'_, PyAny>,
        reach_mm: f64,
        reach_deg: f64,
    ) -> PyResult<Vec<(f64, f64)>> {
        let axes = self.core_axes(axes)?;
        let window = detached(py, || {
            self.couch
                .correction_window(&axes, reach_mm, reach_deg * RAD)
        })
        .or_raise()?;
        Ok(face_window(window).map(|[low, high]| (low, high)).to_vec())
    }

    #[getter]
    fn base_axes(&self) -> PyResult<(f64, f64, f64, f64)> {
        let Family::Hexapod(hexapod) = self.couch.family() else {
            return Err(self.no_legs());
        };
        let [x, y, z, rotation] = hexapod.base_axes();
        Ok((x, y, z, rotation * DEG))
    }

    fn with_base_axes(&self, base_axes: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self::of(
            self.couch
                .with_base_axes(core_base_axes(base_axes)?)
                .or_raise()?,
        ))
    }

    #[getter]
    fn dimensions(&self) -> Vec<(String, f64)> {
        let face = |(name, value): (String, f64)| {
            let unit = if name.ends_with("_deg") { DEG } else { 1.0 };
            (name, value * unit)
        };
        self.couch.dimensions().into_iter().map(face).collect()
    }

    fn with_dimensions(&self, values: Vec<f64>) -> PyResult<Self> {
        let names = self.couch.dimensions().into_iter();
        let core: Vec<f64> = values
            .iter()
            .zip(names.map(|(name, _)| name.ends_with("_deg")))
            .map(|(value, turn)| if turn { value * RAD } else { *value })
            .collect();
        let given = if core.len() == values.len() {
            &core
        } else {
            &values
        };
        Ok(Self::of(self.couch.with_dimensions(given).or_raise()?))
    }

    fn forward_many<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let table = self.core_rows(axes)?;
        let poses = detached(py, || self.couch.forward_batch(&table)).or_raise()?;
        Ok(Array3::from(poses).into_pyarray(py))
    }

    fn inverse_nearest_many<'py>(
        &self,
        py: Python<'py>,
        matrices_mm: &Bound<'py, PyAny>,
        seed: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyArray2<f64>>, Status<'py>)> {
        let poses = matrices(matrices_mm, "poses")?;
        let seed = self.core_axes(seed)?;
        let found = detached(py, || {
            let mut found = self.couch.inverse_nearest_batch(&poses, &seed)?;
            for axes in &mut found.axes {
                *axes = times(*axes, &self.from_core);
            }
            Ok::<_, MotionError>(found)
        })
        .or_raise()?;
        Ok((
            Array2::from(found.axes).into_pyarray(py),
            status(py, found.outcomes),
        ))
    }

    fn inverse_many<'py>(
        &self,
        py: Python<'py>,
        matrices_mm: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyArray3<f64>>, Status<'py>, Status<'py>)> {
        let poses = matrices(matrices_mm, "poses")?;
        let (axes, counts, outcomes) = detached(py, || {
            let mut found = self.couch.inverse_batch(&poses);
            for axes in found.rows_mut().flatten() {
                *axes = times(*axes, &self.from_core);
            }
            (found.axes, found.counts, found.outcomes)
        });
        let shape = [poses.len(), self.couch.branches_max(), 6];
        let axes = PyArray1::from_vec(py, axes.into_flattened()).reshape(shape)?;
        Ok((axes, counts.into_pyarray(py), status(py, outcomes)))
    }

    fn jacobian_many<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let table = self.core_rows(axes)?;
        let found = detached(py, || {
            let mut found = self.couch.jacobian_batch(&table)?;
            for jacobian in &mut found {
                self.face_jacobian(jacobian);
            }
            Ok::<_, MotionError>(found)
        });
        Ok(Array3::from(found.or_raise()?).into_pyarray(py))
    }

    fn margins_many<'py>(&self, py: Python<'py>, axes: &Bound<'py, PyAny>) -> PyResult<Table<'py>> {
        let table = self.core_rows(axes)?;
        let margins = detached(py, || self.couch.margins_batch(&table)).or_raise()?;
        Ok(self.face_table(py, margins))
    }

    fn leg_lengths_many<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
    ) -> PyResult<Table<'py>> {
        self.refuse_without_legs()?;
        let table = self.core_rows(axes)?;
        let legs = detached(py, || self.couch.leg_lengths_batch(&table)).or_raise()?;
        Ok(Array2::from(legs).into_pyarray(py))
    }

    fn leg_margins_many<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
    ) -> PyResult<Table<'py>> {
        self.refuse_without_legs()?;
        let table = self.core_rows(axes)?;
        let margins = detached(py, || self.couch.leg_margins_batch(&table)).or_raise()?;
        Ok(Array2::from(margins).into_pyarray(py))
    }

    fn singularity_many<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
    ) -> PyResult<(Vec<&'static str>, Bound<'py, PyArray1<f64>>)> {
        let table = self.core_rows(axes)?;
        let found = detached(py, || self.couch.singularity_batch(&table)).or_raise()?;
        let (names, margins): (Vec<_>, Vec<_>) =
            found.into_iter().map(|s| (s.name, s.margin)).unzip();
        Ok((names, margins.into_pyarray(py)))
    }

    #[pyo3(signature = (axes, *, length_mm = 500.0))]
    fn manipulability_many<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
        length_mm: f64,
    ) -> PyResult<Bound<'py, PyArray1<f64>>> {
        let table = self.core_rows(axes)?;
        let found = detached(py, || self.couch.manipulability_batch(&table, length_mm));
        Ok(found.or_raise()?.into_pyarray(py))
    }

    #[pyo3(signature = (axes, *, reach_mm = 50.0, reach_deg = 5.0))]
    fn correction_window_many<'py>(
        &self,
        py: Python<'py>,
        axes: &Bound<'py, PyAny>,
        reach_mm: f64,
        reach_deg: f64,
    ) -> PyResult<(Bound<'py, PyArray3<f64>>, Status<'py>)> {
        let table = self.core_rows(axes)?;
        let found = detached(py, || {
            self.couch
                .correction_window_batch(&table, reach_mm, reach_deg * RAD)
        })
        .or_raise()?;
        let windows: Vec<_> = found.windows.into_iter().map(face_window).collect();
        Ok((
            Array3::from(windows).into_pyarray(py),
            status(py, found.outcomes),
        ))
    }

    fn forward_from_legs_many<'py>(
        &self,
        py: Python<'py>,
        lengths_mm: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyArray3<f64>>, Status<'py>)> {
        let table = rows(lengths_mm, "leg lengths")?;
        let found = detached(py, || self.couch.forward_from_legs_batch(&table)).or_raise()?;
        Ok((
            Array3::from(found.poses).into_pyarray(py),
            status(py, found.outcomes),
        ))
    }

    fn __repr__(&self) -> String {
        format!(
            "Couch({}, limits={:?})",
            self.couch.family_name(),
            self.limits()
        )
    }
}

/// A window in mm and degrees.
fn face_window(window: [(f64, f64); 6]) -> [[f64; 2]; 6] {
    let mut scaled = window.map(|(low, high)| [low, high]);
    for ends in scaled.iter_mut().skip(3) {
        *ends = ends.map(|end| end * DEG);
    }
    scaled
}

fn status(py: Python<'_>, outcomes: Vec<Outcome>) -> Status<'_> {
    let codes: Vec<u8> = outcomes.into_iter().map(|outcome| outcome as u8).collect();
    codes.into_pyarray(py)
}

impl PyCouch {
    fn refuse_without_legs(&self) -> PyResult<()> {
        match self.couch.family() {
            Family::Hexapod(_) => Ok(()),
            _ => Err(self.no_legs()),
        }
    }

    fn no_legs(&self) -> PyErr {
        CoreError::new_err(format!(
            "a couch of family {} has no legs",
            self.couch.family_name()
        ))
    }
}

fn core_base_axes(base_axes: &Bound<'_, PyAny>) -> PyResult<[f64; 4]> {
    let [x, y, z, rotation] = numbers(
        base_axes,
        "base couch axes (lateral, longitudinal, vertical, rotation)",
    )?;
    Ok([x, y, z, rotation * RAD])
}
