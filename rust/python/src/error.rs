//! One exception tree for every error of the core, one mapping into it, and the one helper that releases the GIL.

use igrt_motion::MotionError;
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

create_exception!(
    igrt_hw._core,
    CoreError,
    PyValueError,
    "Base of every error of the core; the message says what was wrong, where, and what to do."
);
create_exception!(
    igrt_hw._core,
    GeometryError,
    CoreError,
    "Numbers that describe no pose, machine or axis values."
);
create_exception!(
    igrt_hw._core,
    FrameError,
    CoreError,
    "Poses composed with the wrong neighbour, or an unknown frame."
);
create_exception!(
    igrt_hw._core,
    UnreachableError,
    CoreError,
    "No axis values reach the pose."
);
create_exception!(
    igrt_hw._core,
    SingularError,
    CoreError,
    "Infinitely many axis values reach the pose."
);
create_exception!(
    igrt_hw._core,
    LimitError,
    CoreError,
    "Outside the limits of the machine; the message names them."
);
create_exception!(
    igrt_hw._core,
    NotReproducedError,
    CoreError,
    "Axis values were found that do not reproduce the pose to the promised tolerance; nothing is returned."
);
create_exception!(
    igrt_hw._core,
    NotConvergedError,
    CoreError,
    "An iteration did not settle within its bound."
);

/// Maps the errors of a crate into the exception tree; each crate of the core has one implementation.
pub(crate) trait OrRaise<T> {
    /// The value, or the Python exception for the error.
    fn or_raise(self) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, MotionError> {
    #[inline]
    fn or_raise(self) -> PyResult<T> {
        self.map_err(motion_error)
    }
}

#[cold]
pub(crate) fn motion_error(error: MotionError) -> PyErr {
    let message = error.to_string();
    match error {
        MotionError::Unreachable(_) => UnreachableError::new_err(message),
        MotionError::Singular(_) => SingularError::new_err(message),
        MotionError::Limit(_) => LimitError::new_err(message),
        MotionError::Geometry(_) => GeometryError::new_err(message),
        MotionError::NotConverged(_) => NotConvergedError::new_err(message),
        MotionError::NotReproduced(_) => NotReproducedError::new_err(message),
    }
}

/// Runs a long computation without the GIL, so that the lease keeps being renewed while it runs.
pub(crate) fn detached<T, F>(py: Python<'_>, work: F) -> T
where
    F: Send + FnOnce() -> T,
    T: Send,
{
    py.detach(work)
}
