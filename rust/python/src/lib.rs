//! `igrt_hw._core`: converts, releases the GIL, maps errors, and nothing else.

use pyo3::prelude::*;

mod error;

/// The Rust core of igrt-hw: kinematics, clearance, projection and registration.
#[pymodule]
mod _core {
    #[pymodule_export]
    use crate::error::CoreError;
}
