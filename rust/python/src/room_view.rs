//! The face of `igrt_motion::clearance::view`: a room drawn from the parts that are measured.

use igrt_motion::clearance::{Camera, V3};
use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray2};
use pyo3::prelude::*;

use crate::clearance::{PyClearanceRoom, rigids};
use crate::error::{OrRaise, detached};

/// Part numbers plus one, brightness, depth along the ray in mm; each (height, width).
type Picture<'py> = (
    Bound<'py, PyArray2<u16>>,
    Bound<'py, PyArray2<u8>>,
    Bound<'py, PyArray2<f32>>,
);

/// Eye, right, up, towards (each three numbers, fixed frame), mm per pixel at the focus, distance of the focus or None.
type CameraArgument = ([f64; 3], [f64; 3], [f64; 3], [f64; 3], f64, Option<f64>);

/// Draws a room whose frames stand at `poses` (n, 4, 4).
#[pyfunction]
pub(crate) fn draw_room<'py>(
    py: Python<'py>,
    room: &PyClearanceRoom,
    poses: &Bound<'_, PyAny>,
    camera: CameraArgument,
    size: (usize, usize),
    hidden: Vec<bool>,
) -> PyResult<Picture<'py>> {
    let poses = rigids(poses, "frame")?;
    let (eye, right, up, towards, pixel_mm, focus_mm) = camera;
    let camera = Camera {
        eye: V3::from(eye),
        right: V3::from(right),
        up: V3::from(up),
        towards: V3::from(towards),
        pixel_mm,
        focus_mm,
    };
    let view = detached(py, || room.room.view(&poses, &camera, size, &hidden)).or_raise()?;
    let (width, height) = size;
    Ok((
        picture(py, (height, width), view.part),
        picture(py, (height, width), view.shade),
        picture(py, (height, width), view.depth_mm),
    ))
}

fn picture<T>(py: Python<'_>, shape: (usize, usize), values: Vec<T>) -> Bound<'_, PyArray2<T>>
where
    T: numpy::Element + Clone + Default,
{
    Array2::from_shape_vec(shape, values)
        .unwrap_or_else(|_| Array2::default((0, 0)))
        .into_pyarray(py)
}
