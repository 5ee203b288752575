//! The face of `igrt_motion::clearance`: rooms, distances, sweeps.

use igrt_motion::clearance::{
    Chain, ClearanceError as CoreClearanceError, Drive, Geometry, Grid, Hull, Joint, MapAxis, Mesh,
    Pair, PartSpec, Place, Precision, Rigid, Room, Solid, SweepOptions, V3,
};
use numpy::ndarray::{Array2, Array3};
use numpy::{IntoPyArray, PyArray2, PyArray3, PyReadonlyArray2, PyReadonlyArray4};
use pyo3::create_exception;
use pyo3::prelude::*;

use crate::error::{CoreError, OrRaise, detached};
use crate::numbers::{RAD, matrices, rows};

/// Lower and upper bounds (pairs, 2) and witness points (pairs, 2, 3), all in mm.
type Separations<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray3<f64>>);

create_exception!(
    igrt_hw._core,
    ClearanceInputError,
    CoreError,
    "A mesh, part, pose or motion that clearance cannot be computed for; the message says which and why."
);

impl<T> OrRaise<T> for Result<T, CoreClearanceError> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(|error| ClearanceInputError::new_err(error.to_string()))
    }
}

fn refuse<T>(message: String) -> PyResult<T> {
    Err(ClearanceInputError::new_err(message))
}

fn rigid(matrix: &[[f64; 4]; 4], what: &str) -> PyResult<Rigid> {
    let [[a, b, c, x], [d, e, f, y], [g, h, i, z], last] = *matrix;
    if last != [0.0, 0.0, 0.0, 1.0] {
        return refuse(format!(
            "pose of {what}: its last row is {last:?}, not 0 0 0 1"
        ));
    }
    Rigid::from_rows(&[a, b, c, x, d, e, f, y, g, h, i, z], what).or_raise()
}

pub(crate) fn rigids(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<Rigid>> {
    matrices(value, what)?
        .iter()
        .enumerate()
        .map(|(at, matrix)| rigid(matrix, &format!("{what} {at}")))
        .collect()
}

/// One part: name, frame number, frame <- shape (4, 4), kind, numbers of the shape.
#[derive(FromPyObject)]
struct PartArgument<'py> {
    #[pyo3(item(0))]
    name: String,
    #[pyo3(item(1))]
    frame: usize,
    #[pyo3(item(2))]
    placement: Bound<'py, PyAny>,
    #[pyo3(item(3))]
    kind: String,
    #[pyo3(item(4))]
    shape: Bound<'py, PyAny>,
}

impl PartArgument<'_> {
    fn spec(&self) -> PyResult<PartSpec> {
        let placement = match rigids(&self.placement, &self.name)?.as_slice() {
            [one] => *one,
            many => {
                return refuse(format!(
                    "part {:?}: one placement, not {}",
                    self.name,
                    many.len()
                ));
            }
        };
        Ok(PartSpec {
            name: self.name.clone(),
            frame: self.frame,
            placement,
            geometry: self.geometry()?,
        })
    }

    fn geometry(&self) -> PyResult<Geometry> {
        let solid = match self.kind.as_str() {
            "box" => {
                let (x, y, z) = self.shape.extract()?;
                Solid::Cuboid {
                    half: V3::new(x, y, z),
                }
            }
            "cylinder" => {
                let (radius, half_length) = self.shape.extract()?;
                Solid::Cylinder {
                    radius,
                    half_length,
                }
            }
            "capsule" => {
                let (radius, half_length) = self.shape.extract()?;
                Solid::Capsule {
                    radius,
                    half_length,
                }
            }
            "hull" => {
                let points: Vec<V3> = rows::<3>(&self.shape, "points of a hull")?
                    .into_iter()
                    .map(V3::from)
                    .collect();
                Solid::Hull(Hull::of_points(&points, &self.name).or_raise()?)
            }
            "mesh" => return self.surface().map(Geometry::Surface),
            other => {
                return refuse(format!(
                    "part {:?}: {other:?} is no shape; there are box, cylinder, capsule, hull, mesh",
                    self.name
                ));
            }
        };
        Ok(Geometry::Solid(solid))
    }

    fn surface(&self) -> PyResult<Mesh> {
        let vertices = self.shape.get_item(0)?;
        let vertices = rows::<3>(&vertices, "vertices of a mesh")?;
        let item = self.shape.get_item(1)?;
        let triangles: PyReadonlyArray2<'_, u32> = item.extract().map_err(|_| {
            ClearanceInputError::new_err("triangles of a mesh are a uint32 array of shape (n, 3)")
        })?;
        let triangles = triangles.as_array();
        if triangles.ncols() != 3 {
            return refuse("triangles of a mesh are a uint32 array of shape (n, 3)".to_owned());
        }
        let flat: Vec<u32> = triangles.iter().copied().collect();
        let (triangles, _) = flat.as_chunks::<3>();
        // The search tree of a patient takes a tenth of a second: long enough to keep a lease waiting.
        let name = self.name.as_str();
        detached(self.shape.py(), || Mesh::new(name, &vertices, triangles)).or_raise()
    }
}

/// A motion of one frame: rows of 13 numbers, outermost joint first. Kind 0: the twelve numbers of a constant pose; kind 1:
/// axis (3), start and end angle in degrees; kind 2: start (3) and end (3) offset in mm.
fn chain(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Chain> {
    let mut joints = Vec::new();
    for (axis, joint) in joints_of(value, what)? {
        if axis != MapAxis::Row {
            return refuse(format!(
                "{what}: a joint that moves with the columns; such a motion is driven by \"both\""
            ));
        }
        joints.push(joint);
    }
    Ok(Chain { joints })
}

/// Rows of a motion. Kinds 3 and 4 are 1 and 2 on the columns of a map.
fn joints_of(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<(MapAxis, Joint)>> {
    let mut joints = Vec::new();
    for row in rows::<13>(value, what)? {
        let [kind, a, b, c, d, e, f, g, h, i, j, k, l] = row;
        let axis = if kind == 3.0 || kind == 4.0 {
            MapAxis::Column
        } else {
            MapAxis::Row
        };
        let joint = if kind == 0.0 {
            Joint::Fixed(Rigid::from_rows(&[a, b, c, d, e, f, g, h, i, j, k, l], what).or_raise()?)
        } else if kind == 1.0 || kind == 3.0 {
            Joint::turn(V3::new(a, b, c), d * RAD, e * RAD).or_raise()?
        } else if kind == 2.0 || kind == 4.0 {
            Joint::slide(V3::new(a, b, c), V3::new(d, e, f)).or_raise()?
        } else {
            return refuse(format!("{what}: {kind} is no kind of joint"));
        };
        joints.push((axis, joint));
    }
    Ok(joints)
}

fn chains(motions: &[Bound<'_, PyAny>]) -> PyResult<Vec<Chain>> {
    motions
        .iter()
        .enumerate()
        .map(|(at, motion)| chain(motion, &format!("motion {at}")))
        .collect()
}

/// Which map axis drives each frame: "row", "column" or "both", and its motion.
fn drives(drives: &[(String, Bound<'_, PyAny>)]) -> PyResult<Vec<Drive>> {
    drives
        .iter()
        .enumerate()
        .map(|(at, (axis, motion))| {
            let what = format!("motion {at}");
            match axis.as_str() {
                "row" => chain(motion, &what).map(Drive::Row),
                "column" => chain(motion, &what).map(Drive::Column),
                "both" => joints_of(motion, &what).map(Drive::Both),
                other => refuse(format!(
                    "{what}: {other:?} is no axis of a map; row, column or both"
                )),
            }
        })
        .collect()
}

fn grid_of<T>(py: Python<'_>, grid: Grid, values: Vec<T>) -> Bound<'_, PyArray2<T>>
where
    T: numpy::Element + Clone + Default,
{
    Array2::from_shape_vec((grid.rows, grid.columns), values)
        .unwrap_or_else(|_| Array2::default((0, 0)))
        .into_pyarray(py)
}

fn cube_of(
    py: Python<'_>,
    shape: (usize, usize, usize),
    values: Vec<f64>,
) -> Bound<'_, PyArray3<f64>> {
    Array3::from_shape_vec(shape, values)
        .unwrap_or_else(|_| Array3::zeros((0, 0, 0)))
        .into_pyarray(py)
}

/// Lower bounds in mm, numbers of the nearest pairs.
type MapTuple<'py> = (Bound<'py, PyArray2<f64>>, Bound<'py, PyArray2<u32>>);

fn table<const N: usize>(py: Python<'_>, values: Vec<[f64; N]>) -> Bound<'_, PyArray2<f64>> {
    let count = values.len();
    let flat = values.into_iter().flatten().collect();
    Array2::from_shape_vec((count, N), flat)
        .unwrap_or_else(|_| Array2::zeros((0, N)))
        .into_pyarray(py)
}

/// s, pair, lower, upper, on_a, on_b
type PlaceTuple = (f64, usize, f64, f64, [f64; 3], [f64; 3]);

fn place(place: &Place) -> PlaceTuple {
    let found = &place.separation;
    (
        place.s,
        place.pair,
        found.lower_mm,
        found.upper_mm,
        found.on_a,
        found.on_b,
    )
}

/// What a sweep found: lower bound, nearest place, first contact, profile rows (lower, upper, s, pair), measurements.
type SweepTuple<'py> = (
    f64,
    Option<PlaceTuple>,
    Option<PlaceTuple>,
    Bound<'py, PyArray2<f64>>,
    u64,
);

/// Parts on frames and the pairs of them that are measured.
#[pyclass(frozen, name = "ClearanceRoom", module = "igrt_hw._core")]
pub(crate) struct PyClearanceRoom {
    pub(crate) room: Room,
}

#[pymethods]
impl PyClearanceRoom {
    #[new]
    fn new(
        py: Python<'_>,
        frame_count: usize,
        parts: Vec<PartArgument<'_>>,
        pairs: Vec<(usize, usize)>,
    ) -> PyResult<Self> {
        let specs = parts
            .iter()
            .map(PartArgument::spec)
            .collect::<PyResult<Vec<_>>>()?;
        let pairs = pairs.into_iter().map(|(a, b)| Pair { a, b }).collect();
        let room = detached(py, || Room::new(frame_count, specs, pairs)).or_raise()?;
        Ok(Self { room })
    }

    #[pyo3(signature = (poses, *, exact=false))]
    fn separations<'py>(
        &self,
        py: Python<'py>,
        poses: &Bound<'_, PyAny>,
        exact: bool,
    ) -> PyResult<Separations<'py>> {
        let poses = rigids(poses, "frame")?;
        let precision = if exact {
            Precision::exact()
        } else {
            Precision::fast()
        };
        let found = detached(py, || self.room.separations(&poses, precision)).or_raise()?;
        let bounds = table(
            py,
            found
                .iter()
                .map(|one| [one.lower_mm, one.upper_mm])
                .collect(),
        );
        let points: Vec<f64> = found
            .iter()
            .flat_map(|one| [one.on_a, one.on_b])
            .flatten()
            .collect();
        let points = Array3::from_shape_vec((found.len(), 2, 3), points)
            .unwrap_or_else(|_| Array3::zeros((0, 2, 3)));
        Ok((bounds, points.into_pyarray(py)))
    }

    /// Every pair for many sets of poses, each measured by itself: bounds (n, pairs, 2) in mm.
    #[pyo3(signature = (poses, *, exact=false))]
    fn separations_many<'py>(
        &self,
        py: Python<'py>,
        poses: PyReadonlyArray4<'_, f64>,
        exact: bool,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let view = poses.as_array();
        let (count, frames, rows, columns) = view.dim();
        if rows != 4 || columns != 4 || frames == 0 {
            return refuse(format!(
                "poses have shape {:?}; (n, frames, 4, 4) is needed",
                view.shape()
            ));
        }
        let flat: Vec<f64> = view.iter().copied().collect();
        let matrices = flat.as_chunks::<4>().0.as_chunks::<4>().0;
        let rigids = matrices
            .iter()
            .map(|matrix| rigid(matrix, "frame"))
            .collect::<PyResult<Vec<_>>>()?;
        let precision = if exact {
            Precision::exact()
        } else {
            Precision::fast()
        };
        if frames != self.room.frame_count() {
            return refuse(format!(
                "poses of {frames} frames were given for {}",
                self.room.frame_count()
            ));
        }
        let found = detached(py, || self.room.separations_many(&rigids, precision)).or_raise()?;
        let bounds = found
            .iter()
            .flat_map(|one| [one.lower_mm, one.upper_mm])
            .collect();
        Ok(cube_of(py, (count, self.room.pairs().len(), 2), bounds))
    }

    #[pyo3(signature = (motions, *, stations, tolerance_mm))]
    fn sweep<'py>(
        &self,
        py: Python<'py>,
        motions: Vec<Bound<'_, PyAny>>,
        stations: usize,
        tolerance_mm: f64,
    ) -> PyResult<SweepTuple<'py>> {
        let chains = chains(&motions)?;
        let options = SweepOptions {
            stations,
            tolerance_mm,
            precision: Precision::fast(),
        };
        let found = detached(py, || self.room.sweep(&chains, &options)).or_raise()?;
        let profile = found
            .stations
            .iter()
            .map(|one| [one.lower_mm, one.upper_mm, one.s, one.pair as f64])
            .collect();
        Ok((
            found.lower_mm,
            found.nearest.as_ref().map(place),
            found.contact.as_ref().map(place),
            table(py, profile),
            found.measured,
        ))
    }

    #[pyo3(signature = (drives, *, rows, columns))]
    fn map<'py>(
        &self,
        py: Python<'py>,
        drives: Vec<(String, Bound<'_, PyAny>)>,
        rows: usize,
        columns: usize,
    ) -> PyResult<MapTuple<'py>> {
        let (drives, grid) = (self::drives(&drives)?, Grid { rows, columns });
        let cells = detached(py, || self.room.map(&drives, grid, Precision::fast())).or_raise()?;
        let lower = cells.iter().map(|cell| cell.lower_mm).collect();
        let pairs = cells.iter().map(|cell| cell.pair).collect();
        Ok((grid_of(py, grid, lower), grid_of(py, grid, pairs)))
    }

    #[pyo3(signature = (drives, *, rows, columns))]
    fn floor_map<'py>(
        &self,
        py: Python<'py>,
        drives: Vec<(String, Bound<'_, PyAny>)>,
        rows: usize,
        columns: usize,
    ) -> PyResult<MapTuple<'py>> {
        let (drives, grid) = (self::drives(&drives)?, Grid { rows, columns });
        let floors =
            detached(py, || self.room.floor_map(&drives, grid, Precision::fast())).or_raise()?;
        let lower = floors.iter().map(|floor| floor.lower_mm).collect();
        let pairs = floors.iter().map(|floor| floor.pair).collect();
        Ok((grid_of(py, grid, lower), grid_of(py, grid, pairs)))
    }

    #[pyo3(signature = (drives, *, rows, columns, margin_mm))]
    fn certified_map<'py>(
        &self,
        py: Python<'py>,
        drives: Vec<(String, Bound<'_, PyAny>)>,
        rows: usize,
        columns: usize,
        margin_mm: f64,
    ) -> PyResult<Bound<'py, PyArray2<u8>>> {
        let (drives, grid) = (self::drives(&drives)?, Grid { rows, columns });
        let states = detached(py, || {
            self.room
                .certified_map(&drives, grid, margin_mm, Precision::fast())
        })
        .or_raise()?;
        let states = states.into_iter().map(|state| state as u8).collect();
        Ok(grid_of(py, grid, states))
    }

    /// The lower bound of every pair at every cell's middle: (rows, columns, pairs) in mm, 0 for contact.
    #[pyo3(signature = (drives, *, rows, columns))]
    fn pairs_map<'py>(
        &self,
        py: Python<'py>,
        drives: Vec<(String, Bound<'_, PyAny>)>,
        rows: usize,
        columns: usize,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let (drives, grid) = (self::drives(&drives)?, Grid { rows, columns });
        let lower =
            detached(py, || self.room.pairs_map(&drives, grid, Precision::fast())).or_raise()?;
        let shape = (rows, columns, self.room.pairs().len());
        Ok(cube_of(py, shape, lower))
    }

    /// Whether the clearance at every cell's middle is below `margin_mm` (zero: contact).
    #[pyo3(signature = (drives, *, rows, columns, margin_mm))]
    fn contact_map<'py>(
        &self,
        py: Python<'py>,
        drives: Vec<(String, Bound<'_, PyAny>)>,
        rows: usize,
        columns: usize,
        margin_mm: f64,
    ) -> PyResult<Bound<'py, PyArray2<bool>>> {
        let (drives, grid) = (self::drives(&drives)?, Grid { rows, columns });
        let contact = detached(py, || {
            self.room
                .contact_map(&drives, grid, margin_mm, Precision::fast())
        })
        .or_raise()?;
        Ok(grid_of(py, grid, contact))
    }

    /// The poses fixed <- frame of motions at path parameter `s`, (n, 4, 4).
    #[staticmethod]
    fn poses_at<'py>(
        py: Python<'py>,
        motions: Vec<Bound<'_, PyAny>>,
        s: f64,
    ) -> PyResult<Bound<'py, PyArray3<f64>>> {
        let chains = chains(&motions)?;
        let mut flat = Vec::with_capacity(16 * chains.len());
        for chain in &chains {
            let pose = chain.pose(s);
            let m = pose.rotation.insert_fixed_columns::<1>(3, 0.0);
            for (row, shift) in m.row_iter().zip(pose.translation.iter()) {
                let mut out: Vec<f64> = row.iter().copied().collect();
                if let Some(last) = out.last_mut() {
                    *last = *shift;
                }
                flat.extend(out);
            }
            flat.extend([0.0, 0.0, 0.0, 1.0]);
        }
        let array = Array3::from_shape_vec((chains.len(), 4, 4), flat)
            .unwrap_or_else(|_| Array3::zeros((0, 4, 4)));
        Ok(array.into_pyarray(py))
    }
}
