//! The firmware's frame codec for Python, so that a bench can compare it with another implementation frame by frame.

use crate::python::refused;
use crate::wire::frame::{self, Direction, Header};
use crate::wire::message;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Header fields after version, type and length: kind, session, seq, ack, epoch, flags, device, t_us, deadline_us.
type Fields = (u8, u32, u16, u16, u16, u8, u8, u32, u32);

fn direction_named(name: &str) -> PyResult<Direction> {
    match name {
        "H" => Ok(Direction::ToDevice),
        "D" => Ok(Direction::ToHost),
        other => Err(refused(format!(
            "direction {other:?} is neither H (host to device) nor D (device to host)"
        ))),
    }
}

/// Decodes what stood between two delimiters. `None` where the firmware would drop it, whatever its own kind of device; for
/// direction H that includes unknown types and bodies that do not fit their message.
#[pyfunction]
pub fn decode_frame<'py>(
    py: Python<'py>,
    direction: &str,
    run: &[u8],
) -> PyResult<Option<(Fields, Bound<'py, PyBytes>)>> {
    let direction = direction_named(direction)?;
    if run.len() > frame::ENCODED_MAX {
        return Ok(None);
    }
    let mut raw = [0; frame::ENCODED_MAX];
    let Ok((header, body)) = frame::decode(direction, run, &mut raw) else {
        return Ok(None);
    };
    if direction == Direction::ToDevice && message::decode(header.kind, body).is_none() {
        return Ok(None);
    }
    let fields = (
        header.kind,
        header.session,
        header.seq,
        header.ack,
        header.epoch,
        header.flags,
        header.device,
        header.t_us,
        header.deadline_us,
    );
    Ok(Some((fields, PyBytes::new(py, body))))
}

/// The octets of a frame, delimiters included.
#[pyfunction]
pub fn encode_frame<'py>(
    py: Python<'py>,
    direction: &str,
    fields: Fields,
    body: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let (kind, session, seq, ack, epoch, flags, device, t_us, deadline_us) = fields;
    let header = Header {
        kind,
        session,
        seq,
        ack,
        epoch,
        flags,
        device,
        t_us,
        deadline_us,
    };
    let (mut raw, mut encoded) = ([0; frame::ENCODED_MAX], [0; frame::ENCODED_MAX + 2]);
    let len = frame::encode(
        direction_named(direction)?,
        &header,
        body,
        &mut raw,
        &mut encoded,
    )
    .ok_or_else(|| {
        refused(format!(
            "a body of {} octets; the most is {}",
            body.len(),
            frame::BODY_MAX
        ))
    })?;
    Ok(PyBytes::new(py, encoded.get(..len).unwrap_or(&[])))
}
