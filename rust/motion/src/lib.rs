//! Poses, IEC 61217 frames, couch kinematics and clearance. No Python, no I/O.
//!
//! Lengths are millimetres and angles radians throughout this crate; degrees begin at its Python face. A [`Pose`] carries
//! its two frames in its type, so that composing wrong neighbours does not compile. A [`Couch`] is one of four families
//! behind one interface: forward, inverse with every branch, Jacobian, limits, distance to singularity.
//!
//! Results are the same bits on every machine: the trigonometry is this crate's own (`trig`), built from IEEE 754 basic
//! operations only, and nothing is contracted into fused operations.

#![allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "`!(x <= limit)` refuses not-a-number, which `x > limit` lets through"
)]

mod angle;
mod arm;
mod batch;
mod branch_table;
pub mod clearance;
mod correction;
mod couch;
mod dimensions;
mod error;
mod frame;
mod hexapod;
mod leg_table;
mod limits;
mod measure_table;
mod pedestal;
mod pose;
mod rigid;
mod scara;
mod trig;
mod vector;
mod window;

pub use angle::{wrap_deg, wrap_rad};
pub use arm::Arm;
pub use batch::{Matrix, Outcome};
pub use branch_table::{BranchTable, NearestTable};
pub use correction::Correction;
pub use couch::{AxisKind, Branches, Couch, Family, Singularity, VERIFIED_MM, VERIFIED_RAD};
pub use error::MotionError;
pub use frame::{
    Base, Dicom, Eccentric, Fixed, Flange, Frame, Gantry, PanelArm, Patient, SourceArm, TableTop,
    Turntable, Untyped,
};
pub use hexapod::Hexapod;
pub use leg_table::LegTable;
pub use limits::Limits;
pub use measure_table::WindowTable;
pub use pedestal::Pedestal;
pub use pose::{Pose, RIGIDITY_TOLERANCE};
pub use scara::Scara;
