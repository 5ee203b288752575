//! `igrt_firmware_sim._firmware`: converts, releases the interpreter lock, maps errors, and nothing else.

use crate::breathing::Breathing;
use crate::couch::TOUCH_GUARDS;
use crate::kinematics::{self, Arm, Family, Hexapod, Legs, Scara};
use crate::limits::{AXES, AxisLimits, Limits};
use crate::paced::locked;
use crate::pose::{Pose, Six, Vector};
use crate::profile::{self, Profile, State};
use crate::room::controller::Dialect;
use crate::room::faults::{LINE_KINDS, MEANINGLESS, Request, TABLE, WORDS};
use crate::room::{self, Config, EnablePosition, LINES, Lies, LineName, MotionSample, Truth};
use crate::xray::phantom::MARKERS_MAX;
use crate::xray::physics::{EFFECTS, Physics};
use crate::xray::solids::{Shape, Solid};
use crate::xray::volume::Volume;
use numpy::{PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

create_exception!(
    igrt_firmware_sim._firmware,
    SimulatorError,
    PyValueError,
    "Something the simulator refuses; the message says what was wrong, where, and what to do."
);

pub(crate) fn refused(sentence: impl Into<String>) -> PyErr {
    SimulatorError::new_err(sentence.into())
}

pub(crate) fn line_named(name: &str) -> PyResult<LineName> {
    LINES
        .into_iter()
        .find(|line| format!("{line:?}").eq_ignore_ascii_case(name))
        .ok_or_else(|| refused(format!("line {name:?} is none of couch, imager, pendant")))
}

fn axis_named(name: &str, family: &Family) -> PyResult<usize> {
    let names = family.limits().map(|axis| axis.name);
    names
        .iter()
        .position(|axis| *axis == name)
        .or_else(|| name.parse().ok().filter(|index| *index < AXES))
        .ok_or_else(|| {
            refused(format!(
                "axis {name:?} is none of {} nor an index below {AXES}",
                names.join(", ")
            ))
        })
}

/// Dimensions of a chain by name, as a machine file gives them.
struct Chain(HashMap<String, Vec<f64>>);

impl Chain {
    /// So many numbers, finite and within 20 m or deg.
    fn take<const N: usize>(&mut self, key: &str) -> PyResult<[f64; N]> {
        let given = self
            .0
            .remove(key)
            .ok_or_else(|| refused(format!("chain: {key} is missing")))?;
        let numbers: [f64; N] = given
            .try_into()
            .map_err(|_| refused(format!("chain: {key} must have {N} numbers")))?;
        if numbers.iter().all(|part| part.abs() <= 2e4) {
            Ok(numbers)
        } else {
            Err(refused(format!(
                "chain: {key} is not finite and within 20 m"
            )))
        }
    }

    fn points(&mut self, key: &str) -> PyResult<[Vector; 6]> {
        let flat: [f64; 18] = self.take(key)?;
        let (points, _) = flat.as_chunks::<3>();
        points
            .try_into()
            .map_err(|_| refused(format!("chain: {key} must have six points")))
    }

    fn family(mut self, name: &str) -> PyResult<Family> {
        let family = match name {
            "pedestal" => {
                let [offset, turn] = self.take("eccentric")?;
                match (offset, turn) {
                    (0.0, 0.0) => Family::Pedestal,
                    _ => Family::Eccentric(offset, turn),
                }
            }
            "hexapod" => {
                let [shortest, longest] = self.take("leg_range")?;
                let [slide, tilt] = self.take("travel")?;
                let [a, b, c, d, e, f, g, h] = self.take("base_ranges")?;
                Family::Hexapod(Hexapod {
                    legs: Legs {
                        feet: self.points("feet")?,
                        heads: self.points("heads")?,
                        range: (shortest, longest),
                    },
                    travel: (slide, tilt),
                    base: [(a, b), (c, d), (e, f), (g, h)],
                })
            }
            "arm" => Family::Arm(Arm {
                offsets: self.take("offsets")?,
                lengths: self.take("lengths")?,
                signs: self.take("signs")?,
                zeros: self.take("zeros")?,
                foot: self.take("foot")?,
                tool: self.take("tool")?,
            }),
            "scara" => Family::Scara(Scara {
                links: self.take("links")?,
                wrist: self.take("wrist")?,
                foot: self.take("foot")?,
                tool: self.take("tool")?,
            }),
            _ => return Err(unknown_family(name)),
        };
        match self.0.keys().next() {
            None => Ok(family),
            Some(key) => Err(refused(format!("chain: a {name} couch has no {key}"))),
        }
    }
}

fn unknown_family(name: &str) -> PyErr {
    refused(format!(
        "family {name:?} is none of pedestal, hexapod, arm, scara"
    ))
}

fn family_named(name: &str, chain: Option<HashMap<String, Vec<f64>>>) -> PyResult<Family> {
    if let Some(chain) = chain {
        return Chain(chain).family(name);
    }
    match name {
        "pedestal" => Ok(Family::Pedestal),
        "hexapod" => Ok(kinematics::HEXAPOD),
        "arm" => Ok(kinematics::ARM),
        "scara" => Ok(kinematics::SCARA),
        _ => Err(unknown_family(name)),
    }
}

/// Lower and upper end, speed, acceleration and jerk of each axis, in mm or degrees.
fn limits_of(family: &Family, given: Option<[[f64; 5]; AXES]>) -> PyResult<Limits> {
    let mut limits = family.limits();
    let Some(given) = given else {
        return Ok(limits);
    };
    for (axis, [min, max, speed, accel, jerk]) in limits.iter_mut().zip(given) {
        let scale = axis.kind.scale();
        let ends = [min, max].map(|end| end * scale);
        let drive = [speed, accel, jerk].map(|most| most * scale);
        if !(min < max
            && ends.iter().all(|end| end.abs() < 2e9)
            && drive.iter().all(|most| *most >= 1.0 && *most < 4e9))
        {
            return Err(refused(format!(
                "limits of {} are not a range within 2 m or 2000 deg and drives above 0",
                axis.name
            )));
        }
        let ([min, max], [speed_max, accel_max, jerk_max]) = (
            ends.map(|end| end.round() as i32),
            drive.map(|most| most.round() as u32),
        );
        *axis = AxisLimits {
            min,
            max,
            speed_max,
            accel_max,
            jerk_max,
            ..*axis
        };
    }
    Ok(limits)
}

/// Micro-units of given axes, or those at which the table top stands as planned: `Tx Ty Tz rotation pitch roll` of IEC 61217.
fn start_axes(
    family: &Family,
    limits: &Limits,
    axes: Option<[f64; AXES]>,
    planned: &[f64; AXES],
) -> PyResult<[f64; AXES]> {
    if let Some(axes) = axes {
        for (limit, at) in limits.iter().zip(axes) {
            let (low, high) = (
                f64::from(limit.min) / limit.kind.scale(),
                f64::from(limit.max) / limit.kind.scale(),
            );
            if !(low..=high).contains(&at) {
                return Err(refused(format!(
                    "axes: {} is outside its limits of {low} to {high} {}",
                    limit.name,
                    limit.kind.unit()
                )));
            }
        }
        return Ok(micro(family, &axes));
    }
    let [x, y, z, rotation, pitch, roll] = *planned;
    let pose = Pose::rz(rotation)
        .then(&Pose::translation([x, y, z]))
        .then(&Pose::rx(pitch))
        .then(&Pose::ry(roll));
    family.posture(limits, &pose).ok_or_else(|| {
        refused(format!(
            "the couch does not reach the planned position ({x:.1}, {y:.1}, {z:.1} mm, {rotation:.1}, {pitch:.1}, {roll:.1} deg) within its limits"
        ))
    })
}

fn dialect_named(name: &str, family: &Family) -> PyResult<Dialect> {
    match (name, family) {
        ("clp1", _) => Ok(Dialect::Clp1),
        ("gcs", Family::Platform { .. }) => Ok(Dialect::Gcs),
        ("gcs", _) => Err(refused(
            "dialect gcs is that of a hexapod controller; choose the family hexapod",
        )),
        _ => Err(refused(format!("dialect {name:?} is none of clp1, gcs"))),
    }
}

/// Millimetres and degrees of each axis to micro-units and back.
fn micro(family: &Family, axes: &[f64; AXES]) -> [f64; AXES] {
    let mut out = *axes;
    for (value, limit) in out.iter_mut().zip(family.limits()) {
        *value *= limit.kind.scale();
    }
    out
}

fn human(family: &Family, axes: &[f64; AXES]) -> Vec<f64> {
    axes.iter()
        .zip(family.limits())
        .map(|(value, limit)| value / limit.kind.scale())
        .collect()
}

/// A simulated treatment room.
#[pyclass(frozen, module = "igrt_firmware_sim._firmware")]
pub(crate) struct Room {
    pub(crate) room: Arc<Mutex<room::Room>>,
    family: Family,
}

impl Room {
    fn with<T>(&self, py: Python<'_>, work: impl FnOnce(&mut room::Room) -> T + Send) -> T
    where
        T: Send,
    {
        py.detach(|| work(&mut locked(&self.room)))
    }
}

fn volume(
    hu: Option<PyReadonlyArray3<'_, i16>>,
    spacing: [f64; 3],
    origin: [f64; 3],
) -> PyResult<Option<Volume>> {
    let Some(hu) = hu else { return Ok(None) };
    let [nz, ny, nx] = hu.shape() else {
        return Err(refused("hu must have three dimensions: z, y, x"));
    };
    let size = [*nx, *ny, *nz];
    let values = hu
        .as_slice()
        .map_err(|_| refused("hu must be a contiguous array of int16 in z, y, x order"))?
        .to_vec();
    Volume::new(values, size, spacing, origin)
        .map(Some)
        .map_err(refused)
}

fn lies(patient: Option<Volume>, phantom: Option<&str>) -> PyResult<Lies> {
    match (patient, phantom) {
        (None, None) => Ok(Lies::Nothing),
        (Some(volume), None) => Ok(Lies::Patient(volume)),
        (None, Some("cube")) => Ok(Lies::Cube),
        (None, Some("balls")) => Ok(Lies::Balls),
        (None, Some(name)) => Err(refused(format!(
            "phantom {name:?} is neither cube nor balls"
        ))),
        (Some(_), Some(_)) => Err(refused("a patient and a phantom cannot lie on one couch")),
    }
}

fn physics_of(strengths: HashMap<String, f64>) -> PyResult<Physics> {
    let mut physics = Physics::default();
    for (name, strength) in strengths {
        physics.set(&name, strength).map_err(refused)?;
    }
    Ok(physics)
}

#[pymethods]
impl Room {
    #[new]
    #[pyo3(signature = (*, seed, family = "pedestal", chain = None, limits = None, axes = None, planned = [0.0; 6], referenced = true, load_kg = 75.0, isocentre_mm = [0.0; 3],
                        setup_error = [0.0; 6], hu = None, spacing_mm = [1.0; 3], origin_mm = [0.0; 3], phantom = None, markers = 0,
                        marker_spread_mm = 15.0, physics = None, renders = true, dialect = "clp1"))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        seed: u64,
        family: &str,
        chain: Option<HashMap<String, Vec<f64>>>,
        limits: Option<[[f64; 5]; AXES]>,
        axes: Option<[f64; AXES]>,
        planned: [f64; AXES],
        referenced: bool,
        load_kg: f64,
        isocentre_mm: [f64; 3],
        setup_error: Six,
        hu: Option<PyReadonlyArray3<'_, i16>>,
        spacing_mm: [f64; 3],
        origin_mm: [f64; 3],
        phantom: Option<&str>,
        markers: usize,
        marker_spread_mm: f64,
        physics: Option<HashMap<String, f64>>,
        renders: bool,
        dialect: &str,
    ) -> PyResult<Self> {
        let mut family = family_named(family, chain)?;
        let mut limits = limits_of(&family, limits)?;
        if let ("gcs", Family::Hexapod(hexapod)) = (dialect, family) {
            // That controller drives the legs alone; the couch below it stands where the plan wants the table top.
            let [x, y, z, ..] = planned;
            family = Family::Platform {
                base: [x, y, z],
                legs: hexapod.legs,
            };
            limits = family.limits();
        }
        let dialect = dialect_named(dialect, &family)?;
        let axes = start_axes(&family, &limits, axes, &planned)?;
        if !(0.0..=300.0).contains(&load_kg) {
            return Err(refused(format!("load_kg {load_kg} is not within 0 to 300")));
        }
        if !(1.0..=100.0).contains(&marker_spread_mm) || markers > MARKERS_MAX {
            return Err(refused(format!(
                "markers {markers} and marker_spread_mm {marker_spread_mm} are not within 0 to {MARKERS_MAX} and 1 to 100"
            )));
        }
        let config = Config {
            seed,
            family,
            limits: Some(limits),
            dialect,
            axes,
            referenced,
            load_kg,
            isocentre: isocentre_mm,
            setup_error,
            lies: lies(volume(hu, spacing_mm, origin_mm)?, phantom)?,
            markers,
            marker_spread_mm,
            physics: physics_of(physics.unwrap_or_default())?,
            renders,
        };
        Ok(Self {
            room: Arc::new(Mutex::new(room::Room::new(config).map_err(refused)?)),
            family,
        })
    }

    #[getter]
    fn now_us(&self, py: Python<'_>) -> u64 {
        self.with(py, |room| room.now_us())
    }

    fn advance(&self, py: Python<'_>, to_us: u64) {
        self.with(py, |room| room.advance(to_us));
    }

    /// The clock afterwards, and what couch, imager and pendant have sent.
    fn advance_to_octets<'py>(
        &self,
        py: Python<'py>,
        to_us: u64,
    ) -> (
        u64,
        Bound<'py, PyBytes>,
        Bound<'py, PyBytes>,
        Bound<'py, PyBytes>,
    ) {
        let (now_us, [couch, imager, pendant]) = self.with(py, |room| {
            room.advance_to_octets(to_us);
            (room.now_us(), LINES.map(|line| room.read(line)))
        });
        (
            now_us,
            PyBytes::new(py, &couch),
            PyBytes::new(py, &imager),
            PyBytes::new(py, &pendant),
        )
    }

    fn watch_motion(&self, py: Python<'_>, every_us: u64, mm_s: f64, deg_s: f64) -> PyResult<()> {
        if every_us == 0 || !(mm_s >= 0.0 && deg_s >= 0.0) {
            return Err(refused(
                "every_us must be above 0, mm_s and deg_s not negative",
            ));
        }
        self.with(py, |room| room.watch_motion(every_us, mm_s, deg_s));
        Ok(())
    }

    fn take_motion(&self, py: Python<'_>) -> Vec<Motion> {
        let seen = self.with(py, |room| room.take_motion());
        seen.iter()
            .map(|sample| self.human_motion(sample))
            .collect()
    }

    fn motion(&self, py: Python<'_>) -> Motion {
        let sample = self.with(py, |room| room.motion());
        self.human_motion(&sample)
    }

    fn write(&self, py: Python<'_>, line: &str, octets: &[u8]) -> PyResult<()> {
        let line = line_named(line)?;
        self.with(py, |room| room.write(line, octets));
        Ok(())
    }

    fn read<'py>(&self, py: Python<'py>, line: &str) -> PyResult<Bound<'py, PyBytes>> {
        let line = line_named(line)?;
        Ok(PyBytes::new(py, &self.with(py, |room| room.read(line))))
    }

    fn line_break(&self, py: Python<'_>, line: &str) -> PyResult<()> {
        let line = line_named(line)?;
        self.with(py, |room| room.line_break(line));
        Ok(())
    }

    #[pyo3(signature = (position, for_ms = None))]
    fn set_enable(&self, py: Python<'_>, position: &str, for_ms: Option<f64>) -> PyResult<()> {
        let position = match position {
            "released" => EnablePosition::Released,
            "enabled" => EnablePosition::Enabled,
            "squeezed" => EnablePosition::Squeezed,
            _ => {
                return Err(refused(format!(
                    "position {position:?} is none of released, enabled, squeezed"
                )));
            }
        };
        if for_ms.is_some_and(|time| !(time > 0.0 && time <= 3.6e6)) {
            return Err(refused("for_ms must be above 0 and at most 3600000"));
        }
        self.with(py, |room| {
            room.set_enable(position, for_ms.map(|time| (time * 1e3) as u64))
        });
        Ok(())
    }

    fn set_estop(&self, py: Python<'_>, pressed: bool) {
        self.with(py, |room| room.set_estop(pressed));
    }

    #[pyo3(signature = (pressed, guard="table_left"))]
    fn set_touch_guard(&self, py: Python<'_>, pressed: bool, guard: &str) -> PyResult<()> {
        let index = TOUCH_GUARDS
            .iter()
            .position(|name| *name == guard)
            .ok_or_else(|| {
                refused(format!(
                    "there is no touch-guard {guard:?}; there are {}",
                    TOUCH_GUARDS.join(", ")
                ))
            })?;
        self.with(py, |room| room.set_touch_guard(index, pressed))
            .map_err(refused)
    }

    fn set_exposure_switch(&self, py: Python<'_>, closed: bool) {
        self.with(py, |room| room.set_exposure_switch(closed));
    }

    fn set_door(&self, py: Python<'_>, closed: bool) {
        self.with(py, |room| room.set_door(closed));
    }

    fn set_jog_keys(&self, py: Python<'_>, keys: u16) {
        self.with(py, |room| room.set_jog_keys(keys));
    }

    fn set_brake_release(&self, py: Python<'_>, released: bool) {
        self.with(py, |room| room.set_manual_release(released));
    }

    fn push(&self, py: Python<'_>, axis: &str, by: f64) -> PyResult<()> {
        let axis = axis_named(axis, &self.family)?;
        self.with(py, |room| room.push(axis, by)).map_err(refused)
    }

    fn shift_patient(&self, py: Python<'_>, by: Six) -> PyResult<()> {
        if !by
            .iter()
            .all(|value| value.is_finite() && value.abs() <= 1000.0)
        {
            return Err(refused(
                "a patient shift must be finite and within 1000 mm and deg",
            ));
        }
        self.with(py, |room| room.shift_patient(&by));
        Ok(())
    }

    #[pyo3(signature = (amplitude_mm, period_s, *, drift_mm_per_min=[0.0; 3], baseline_mm=[0.0; 3], irregularity=0.0))]
    fn breathe(
        &self,
        py: Python<'_>,
        amplitude_mm: [f64; 3],
        period_s: f64,
        drift_mm_per_min: [f64; 3],
        baseline_mm: [f64; 3],
        irregularity: f64,
    ) -> PyResult<()> {
        let how = Breathing {
            amplitude_mm,
            period_s,
            drift_mm_per_min,
            baseline_mm,
            irregularity,
        }
        .checked()
        .map_err(refused)?;
        self.with(py, |room| room.breathe(Some(how)));
        Ok(())
    }

    fn hold_breath(&self, py: Python<'_>) {
        self.with(py, |room| room.breathe(None));
    }

    fn shift_marker(&self, py: Python<'_>, index: usize, by_mm: [f64; 3]) -> PyResult<()> {
        if !by_mm.iter().all(|by| by.is_finite() && by.abs() <= 100.0) {
            return Err(refused("a marker's shift must be finite and within 100 mm"));
        }
        self.with(py, |room| room.shift_marker(index, &by_mm))
            .map_err(refused)
    }

    /// Bodies in the beam, markers, the strengths of the effects.
    fn scene<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (solids, markers, physics) = self.with(py, |room| {
            let (solids, markers) = room.solids();
            (solids.to_vec(), markers.to_vec(), room.physics())
        });
        let phantom = solids.len() - markers.len();
        let dict = PyDict::new(py);
        dict.set_item("solids", solid_dicts(py, solids.iter().take(phantom))?)?;
        dict.set_item("markers", solid_dicts(py, solids.iter().skip(phantom))?)?;
        dict.set_item("markers_planned", solid_dicts(py, &markers)?)?;
        let strengths = PyDict::new(py);
        for (name, strength) in physics.named() {
            strengths.set_item(name, strength)?;
        }
        dict.set_item("physics", strengths)?;
        Ok(dict)
    }

    /// Where source and panel truly are at a source angle, in the fixed frame.
    fn view<'py>(&self, py: Python<'py>, source_deg: f64) -> PyResult<Bound<'py, PyDict>> {
        if !source_deg.is_finite() {
            return Err(refused("source_deg must be finite"));
        }
        let view = self.with(py, |room| room.view(source_deg));
        let [panel, x, y] = view.panel();
        let dict = PyDict::new(py);
        dict.set_item("source_mm", view.source())?;
        dict.set_item("panel_mm", panel)?;
        dict.set_item("panel_x", x)?;
        dict.set_item("panel_y", y)?;
        Ok(dict)
    }

    #[pyo3(signature = (target, kind, *, axis = None, value = None, direction = None))]
    fn inject(
        &self,
        py: Python<'_>,
        target: String,
        kind: String,
        axis: Option<&str>,
        value: Option<f64>,
        direction: Option<String>,
    ) -> PyResult<()> {
        let axis = axis
            .map(|axis| axis_named(axis, &self.family))
            .transpose()?;
        let request = Request {
            target,
            kind,
            axis,
            value,
            direction,
        };
        self.with(py, |room| room.inject(&request)).map_err(refused)
    }

    fn clear(&self, py: Python<'_>, target: &str) -> PyResult<()> {
        self.with(py, |room| room.clear(target)).map_err(refused)
    }

    fn trace_hash(&self, py: Python<'_>) -> String {
        format!("{:016x}", self.with(py, |room| room.trace_hash()))
    }

    fn truth<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let truth = self.with(py, |room| room.truth());
        self.truth_dict(py, &truth)
    }
}

/// Clock, axes in mm and degrees, mm/s, deg/s.
type Motion = (u64, [f64; AXES], f64, f64);

impl Room {
    fn human_motion(&self, sample: &MotionSample) -> Motion {
        let mut axes = sample.axes;
        for (axis, limit) in axes.iter_mut().zip(self.family.limits()) {
            *axis /= limit.kind.scale();
        }
        (sample.now_us, axes, sample.speed_mm_s, sample.speed_deg_s)
    }

    fn truth_dict<'py>(&self, py: Python<'py>, truth: &Truth) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("now_us", truth.now_us)?;
        dict.set_item("axis_names", self.family.limits().map(|axis| axis.name))?;
        dict.set_item("axes", human(&self.family, &truth.axes))?;
        dict.set_item("speeds", human(&self.family, &truth.speeds))?;
        dict.set_item(
            "primary",
            human(&self.family, &truth.primary.map(f64::from)),
        )?;
        dict.set_item(
            "secondary",
            human(&self.family, &truth.secondary.map(f64::from)),
        )?;
        dict.set_item("commanded", human(&self.family, &truth.commanded))?;
        dict.set_item("brakes_engaged", truth.brakes_engaged)?;
        dict.set_item("couch_state", truth.couch_state)?;
        dict.set_item("drive_state", truth.drive_state)?;
        dict.set_item("touch_guards", &truth.touch_guards)?;
        dict.set_item("injected", &truth.injected)?;
        dict.set_item("couch_faults", truth.couch_faults)?;
        dict.set_item("stop_cause", truth.stop_cause)?;
        dict.set_item("epoch", truth.epoch)?;
        dict.set_item("beam_gate", truth.beam_gate)?;
        dict.set_item("radiates", truth.radiates)?;
        dict.set_item("tube_mas", truth.tube_mas)?;
        dict.set_item("imager_faults", truth.imager_faults)?;
        dict.set_item("pendant_faults", truth.pendant_faults)?;
        dict.set_item("gantry_deg", truth.gantry_deg)?;
        dict.set_item("arms_parked", truth.arms_parked)?;
        dict.set_item("table_top", truth.table_top)?;
        let base = truth
            .base
            .map(|[x, y, z, turn]| [x / 1e3, y / 1e3, z / 1e3, turn / 1e6]);
        dict.set_item("base", base)?;
        dict.set_item("legs_mm", truth.legs_mm)?;
        dict.set_item("sag_mm", truth.sag_mm)?;
        dict.set_item("patient", truth.patient)?;
        dict.set_item("residual", truth.residual)?;
        dict.set_item("distance_mm", truth.distance_mm)?;
        dict.set_item("angle_deg", truth.angle_deg)?;
        dict.set_item("octets_through_line_faults", truth.dropped_by_line_faults)?;
        let counters = PyDict::new(py);
        for (line, counted) in LINES.iter().zip(&truth.counters) {
            let one = PyDict::new(py);
            one.set_item("accepted", counted.accepted)?;
            one.set_item("dropped", counted.dropped)?;
            one.set_item("too_long", counted.too_long)?;
            one.set_item("replayed", counted.replayed)?;
            one.set_item("refused", counted.refused)?;
            one.set_item("executed", counted.executed)?;
            counters.set_item(format!("{line:?}").to_lowercase(), one)?;
        }
        dict.set_item("counters", counters)?;
        Ok(dict)
    }
}

fn solid_dicts<'py, 'a>(
    py: Python<'py>,
    solids: impl IntoIterator<Item = &'a Solid>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for solid in solids {
        let dict = PyDict::new(py);
        dict.set_item("centre_mm", solid.centre)?;
        dict.set_item("material", solid.material.name)?;
        match solid.shape {
            Shape::Ball { radius } => {
                dict.set_item("shape", "ball")?;
                dict.set_item("radius_mm", radius)?;
            }
            Shape::Cylinder {
                axis,
                half_length,
                radius,
            } => {
                dict.set_item("shape", "cylinder")?;
                dict.set_item("radius_mm", radius)?;
                dict.set_item("length_mm", 2.0 * half_length)?;
                dict.set_item("axis", axis)?;
            }
            Shape::Block { half } => {
                dict.set_item("shape", "block")?;
                dict.set_item("size_mm", half.map(|edge| 2.0 * edge))?;
            }
        }
        list.append(dict)?;
    }
    Ok(list)
}

/// Six numbers of the setup error that a seed gives.
#[pyfunction]
fn seeded_setup_error(seed: u64, max_mm: f64, max_deg: f64) -> PyResult<Six> {
    if !(0.0..=100.0).contains(&max_mm) || !(0.0..=10.0).contains(&max_deg) {
        return Err(refused(format!(
            "setup error up to {max_mm} mm and {max_deg} deg is not within 100 mm and 10 deg"
        )));
    }
    Ok(room::seeded_setup_error(seed, max_mm, max_deg))
}

/// All faults of the model: (target, kind, meaning of the value).
#[pyfunction]
fn fault_table() -> Vec<(String, String, String)> {
    let (lines, others): (Vec<_>, Vec<_>) = TABLE.iter().partition(|(_, kind, _)| *kind == "*");
    let of = |target: &str, kind: &str, meaning: &str| {
        (target.to_owned(), kind.to_owned(), meaning.to_owned())
    };
    let devices = others
        .iter()
        .map(|(target, kind, meaning)| of(target, kind, meaning));
    let line_kinds = lines.iter().flat_map(|(target, _, _)| {
        LINE_KINDS
            .iter()
            .map(move |(kind, meaning)| of(target, kind, meaning))
    });
    devices.chain(line_kinds).collect()
}

/// Words without a meaning for a target: (target, word, why).
#[pyfunction]
fn faults_refused() -> Vec<(String, String, String)> {
    let mut refused = Vec::new();
    for (target, word, why) in MEANINGLESS {
        let has = |word: &str| {
            TABLE
                .iter()
                .any(|(t, kind, _)| t == target && *kind == word)
        };
        let words = WORDS.iter().filter(|one| *word == "*" || *one == word);
        for one in words.filter(|one| !has(one)) {
            refused.push(((*target).to_owned(), (*one).to_owned(), (*why).to_owned()));
        }
    }
    refused
}

/// Names of the touch-guards.
#[pyfunction]
fn touch_guards() -> [&'static str; TOUCH_GUARDS.len()] {
    TOUCH_GUARDS
}

fn motion_limits(limits: [f64; 3]) -> PyResult<profile::Limits> {
    if !limits.iter().all(|limit| limit.is_finite() && *limit > 0.0) {
        return Err(refused(
            "limits are speed, acceleration and jerk, all above 0",
        ));
    }
    let [speed, accel, jerk] = limits;
    Ok(profile::Limits { speed, accel, jerk })
}

/// Seconds of the motion profile from rest to rest over a distance, and its position and speed at some instants.
#[pyfunction]
#[pyo3(signature = (distance, limits, at_s = Vec::new()))]
fn motion_rest_to_rest(
    distance: f64,
    limits: [f64; 3],
    at_s: Vec<f64>,
) -> PyResult<(f64, Vec<(f64, f64)>)> {
    if !distance.is_finite() {
        return Err(refused("distance must be finite"));
    }
    let profile = Profile::rest_to_rest(0.0, distance, &motion_limits(limits)?);
    let states = at_s.iter().map(|t| profile.at(*t));
    Ok((
        profile.duration(),
        states.map(|state| (state.position, state.speed)).collect(),
    ))
}

/// Distance and seconds of the stop from a speed and an acceleration.
#[pyfunction]
fn motion_stop(speed: f64, accel: f64, limits: [f64; 3]) -> PyResult<(f64, f64)> {
    if !(speed.is_finite() && accel.is_finite()) {
        return Err(refused("speed and acceleration must be finite"));
    }
    let from = State {
        position: 0.0,
        speed,
        accel,
    };
    let profile = Profile::stop(from, &motion_limits(limits)?);
    Ok((profile.end(), profile.duration()))
}

/// All effects of the X-rays: (name, strength as built, largest strength, meaning).
#[pyfunction]
fn physics_table() -> Vec<(&'static str, f64, f64, &'static str)> {
    EFFECTS.to_vec()
}

/// Digest of the firmware build, hexadecimal.
#[pyfunction]
fn build_hash() -> String {
    crate::line::build()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// Firmware, mechanics and X-rays of the simulated room.
#[pymodule]
mod _firmware {
    #[pymodule_export]
    use super::{
        Room, SimulatorError, build_hash, fault_table, faults_refused, motion_rest_to_rest,
        motion_stop, physics_table, seeded_setup_error, touch_guards,
    };
    #[pymodule_export]
    use crate::python_codec::{decode_frame, encode_frame};
    #[pymodule_export]
    use crate::python_paced::{Pacer, Replayer};
}
