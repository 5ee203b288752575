//! The paced runner for Python, and what replays its notes in virtual time.

use crate::paced::{Deed, Pump, locked};
use crate::python::{Room, line_named, refused};
use crate::room::LineName;
use crate::xray::Job;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A note for Python: microseconds, what, on which line, octets, number (frame, or whether rates differ).
type Note<'py> = (u64, &'static str, &'static str, Bound<'py, PyBytes>, u32);

/// Keeps a room at real time and pumps octets between its lines and open files.
#[pyclass(frozen, module = "igrt_firmware_sim._firmware")]
pub struct Pacer {
    pump: Mutex<Pump>,
}

impl Pacer {
    fn pump(&self) -> MutexGuard<'_, Pump> {
        self.pump.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Pacer {
    #[new]
    #[pyo3(signature = (room, noting = false))]
    fn new(room: &Room, noting: bool) -> PyResult<Self> {
        Ok(Self {
            pump: Mutex::new(Pump::start(Arc::clone(&room.room), noting)?),
        })
    }

    /// Attaches an open file by a duplicate of its descriptor, which must not block.
    #[pyo3(signature = (line, descriptor, baud = None))]
    fn attach(&self, line: &str, descriptor: i32, baud: Option<u32>) -> PyResult<()> {
        let line = line_named(line)?;
        self.pump().attach(line, duplicate(descriptor)?, baud);
        Ok(())
    }

    /// From here to `release` the room's clock stands, and what its devices say waits.
    fn hold(&self, py: Python<'_>) {
        py.detach(|| self.pump().hold());
    }

    fn release(&self) {
        self.pump().release();
    }

    /// Takes the notes since the last call, in order; `None` if some were lost because nobody took them.
    fn take_notes<'py>(&self, py: Python<'py>) -> Option<Vec<Note<'py>>> {
        let notes = self.pump().take_notes()?;
        let notes = notes.into_iter().map(|note| {
            let (what, line, octets, number) = match note.deed {
                Deed::Write(line, octets) => ("write", word(line), octets, 0),
                Deed::Read(line, octets) => ("read", word(line), octets, 0),
                Deed::RatesDiffer(line, differ) => {
                    ("rates", word(line), Vec::new(), u32::from(differ))
                }
                Deed::Deliver(frame) => ("deliver", "", Vec::new(), frame),
            };
            (note.at_us, what, line, PyBytes::new(py, &octets), number)
        });
        Some(notes.collect())
    }

    #[getter]
    fn slipped_us(&self) -> u64 {
        self.pump().gauges().slipped_us.load(Ordering::Relaxed)
    }

    #[getter]
    fn overrun_octets(&self) -> u64 {
        self.pump().gauges().overrun.load(Ordering::Relaxed)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.pump().close());
    }
}

#[allow(
    unsafe_code,
    reason = "a descriptor number from Python; it is only duplicated, and a number that is not open is an error of dup"
)]
fn duplicate(descriptor: i32) -> PyResult<OwnedFd> {
    if descriptor < 0 {
        return Err(refused(format!("{descriptor} is not a file descriptor")));
    }
    // SAFETY: the borrow ends with this call; a descriptor that is not open makes dup fail with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(borrowed.try_clone_to_owned()?)
}

/// Does to a room that does not render by itself what a pump noted: frames that were delivered, baud rates that differed.
#[pyclass(frozen, module = "igrt_firmware_sim._firmware")]
pub struct Replayer {
    room: Arc<Mutex<crate::room::Room>>,
    /// Taken from the room and not delivered yet.
    jobs: Mutex<Vec<Job>>,
}

#[pymethods]
impl Replayer {
    #[new]
    fn new(room: &Room) -> Self {
        Self {
            room: Arc::clone(&room.room),
            jobs: Mutex::default(),
        }
    }

    /// Whether the host's end of a line runs at another baud rate than the device.
    fn rates_differ(&self, line: &str, differ: bool) -> PyResult<()> {
        locked(&self.room).set_rates_differ(line_named(line)?, differ);
        Ok(())
    }

    /// Renders a frame that the imager waits for, and delivers it now.
    fn deliver(&self, py: Python<'_>, frame: u32) -> PyResult<()> {
        let job = {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.extend(locked(&self.room).take_jobs());
            let at = jobs.iter().position(|job| job.exposure.frame == frame);
            at.map(|at| jobs.remove(at))
        };
        let job = job.ok_or_else(|| refused(format!("the imager waits for no frame {frame}")))?;
        py.detach(|| {
            let rendered = job.render();
            locked(&self.room).deliver(&job, rendered);
        });
        Ok(())
    }
}

fn word(line: LineName) -> &'static str {
    match line {
        LineName::Couch => "couch",
        LineName::Imager => "imager",
        LineName::Pendant => "pendant",
    }
}
