//! Numbers in and out: tuples, lists and arrays of known length, degrees to radians.

use numpy::{AllowTypeChange, PyArrayLike1, PyArrayLike2, PyArrayLikeDyn};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::error::GeometryError;

/// Radians per degree.
pub(crate) const RAD: f64 = std::f64::consts::PI / 180.0;
/// Degrees per radian.
pub(crate) const DEG: f64 = 180.0 / std::f64::consts::PI;

/// `N` numbers from a tuple or list (fast), or from anything numpy takes for a one-dimensional array.
#[inline]
pub(crate) fn numbers<const N: usize>(value: &Bound<'_, PyAny>, what: &str) -> PyResult<[f64; N]> {
    let mut out = [0.0; N];
    if let Ok(tuple) = value.cast::<PyTuple>() {
        check_len(tuple.len(), N, what)?;
        for (slot, index) in out.iter_mut().zip(0..) {
            *slot = tuple.get_borrowed_item(index)?.extract()?;
        }
    } else if let Ok(list) = value.cast::<PyList>() {
        check_len(list.len(), N, what)?;
        for (slot, index) in out.iter_mut().zip(0..) {
            *slot = list.get_item(index)?.extract()?;
        }
    } else if let Ok(array) = value.extract::<PyArrayLike1<'_, f64, AllowTypeChange>>() {
        check_len(array.as_array().len(), N, what)?;
        for (slot, x) in out.iter_mut().zip(array.as_array()) {
            *slot = *x;
        }
    } else {
        // Value objects such as Axes6 and Correction iterate over their six numbers.
        let items = value
            .try_iter()?
            .map(|item| item?.extract())
            .collect::<PyResult<Vec<f64>>>()?;
        check_len(items.len(), N, what)?;
        out.copy_from_slice(&items);
    }
    Ok(out)
}

fn check_len(got: usize, wanted: usize, what: &str) -> PyResult<()> {
    if got == wanted {
        return Ok(());
    }
    Err(GeometryError::new_err(format!(
        "{what} takes {wanted} numbers, got {got}"
    )))
}

/// A table of `N` columns as rows.
pub(crate) fn rows<const N: usize>(
    value: &Bound<'_, PyAny>,
    what: &str,
) -> PyResult<Vec<[f64; N]>> {
    let array: PyArrayLike2<'_, f64, AllowTypeChange> = value.extract().map_err(|_| {
        GeometryError::new_err(format!("{what} is a table of numbers with {N} columns"))
    })?;
    let array = array.as_array();
    if array.ncols() != N {
        let shape = array.shape();
        return Err(GeometryError::new_err(format!(
            "{what} has shape {shape:?}; it needs {N} columns"
        )));
    }
    if let Some(flat) = array.as_slice() {
        return Ok(flat.as_chunks::<N>().0.to_vec());
    }
    let mut out = vec![[0.0; N]; array.nrows()];
    for (slot, x) in out.as_flattened_mut().iter_mut().zip(array.iter()) {
        *slot = *x;
    }
    Ok(out)
}

/// Homogeneous matrices (n, 4, 4) by rows, or one (4, 4).
pub(crate) fn matrices(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Vec<[[f64; 4]; 4]>> {
    let array: PyArrayLikeDyn<'_, f64, AllowTypeChange> = value.extract().map_err(|_| {
        GeometryError::new_err(format!("{what} is an array of numbers of shape (n, 4, 4)"))
    })?;
    let array = array.as_array();
    let shape = array.shape();
    if !matches!(shape, [4, 4] | [_, 4, 4]) {
        return Err(GeometryError::new_err(format!(
            "{what} has shape {shape:?}; it needs (n, 4, 4)"
        )));
    }
    if let Some(flat) = array.as_slice() {
        return Ok(flat.as_chunks::<4>().0.as_chunks::<4>().0.to_vec());
    }
    let mut out = vec![[[0.0; 4]; 4]; array.len() / 16];
    for (slot, x) in out
        .as_flattened_mut()
        .as_flattened_mut()
        .iter_mut()
        .zip(array.iter())
    {
        *slot = *x;
    }
    Ok(out)
}
