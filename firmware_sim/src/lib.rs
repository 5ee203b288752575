//! Firmware of a simulated couch, imager and hand pendant. No I/O, no clock: bytes and time in, bytes out.
//!
//! Two rules hold in every module outside `python` and `paced`:
//! 1. time is an argument in integer microseconds, randomness is a seed with named sub-streams;
//! 2. a state machine is changed only by `receive` (octets of its line) and `tick` (its wires, once a control cycle).
//!
//! `wire` and `line` are the firmware's own implementation of `docs/protocol.md`. They share no code with the drivers of
//! the controller; both are checked against `tests/vectors/`. The three firmwares (`couch`, `imager`, `pendant`) and the
//! mechanics of the couch (`plant`) build without the standard library; `room` joins them by their hardware wires and needs it.
#![cfg_attr(not(feature = "std"), no_std)]
#![allow(
    clippy::result_large_err,
    reason = "a refusal carries its sentence in place, as the firmware has no allocator"
)]

pub mod contact;
pub mod couch;
pub mod gcs;
pub mod generator;
pub mod imager;
pub mod kinematics;
pub mod limits;
pub mod line;
pub mod linear;
pub mod pendant;
pub mod plant;
pub mod pose;
pub mod profile;
pub mod random;
pub mod refusal;
pub mod station;
pub mod wire;

#[cfg(feature = "std")]
pub mod breathing;
#[cfg(feature = "std")]
pub mod room;
#[cfg(feature = "std")]
pub mod xray;

#[cfg(feature = "paced")]
pub mod paced;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "python")]
mod python_codec;
#[cfg(feature = "python")]
mod python_paced;
