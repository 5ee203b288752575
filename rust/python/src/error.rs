//! One exception tree for every error of the core, and the one helper through which long calls release the GIL.

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;

create_exception!(
    igrt_hw._core,
    CoreError,
    PyValueError,
    "Base of every error of the core; the message says what was wrong, where, and what to do."
);
