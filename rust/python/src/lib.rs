//! `igrt_hw._core`: converts, releases the GIL, maps errors, and nothing else.

use pyo3::prelude::*;

mod clearance;
mod couch;
mod error;
mod imaging;
mod numbers;
mod pose;
mod room_view;
mod volumes;

/// The Rust core of igrt-hw: kinematics, clearance, projection and registration.
#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::clearance::{ClearanceInputError, PyClearanceRoom};
    #[pymodule_export]
    use crate::couch::PyCouch;
    #[pymodule_export]
    use crate::error::{
        CoreError, FrameError, GeometryError, LimitError, NotConvergedError, NotReproducedError,
        SingularError, UnreachableError,
    };
    #[pymodule_export]
    use crate::imaging::{
        ImagingInputError, PyAttenuationVolume, PyCancelFlag, PyPanelGeometry,
        PyRegistrationOutcome, RegistrationCancelled, register_views,
    };
    #[pymodule_export]
    use crate::pose::PyPose;
    #[pymodule_export]
    use crate::room_view::draw_room;
    #[pymodule_export]
    use crate::volumes::{PyRigidOutcome, reconstruct_fdk, register_volumes};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add(
            "BATCH_STATUS",
            pyo3::types::PyTuple::new(module.py(), igrt_motion::Outcome::NAMES)?,
        )
    }
}
