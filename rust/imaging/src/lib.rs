//! Projection geometry, digitally reconstructed radiographs and registration. No Python, no I/O.
//!
//! Lengths are millimetres; angles are degrees in inputs and results and radians inside. Images are row-major, row 0 at the gantry side
//! (docs/conventions.md). Volumes are placed in the IEC patient frame, projections in the IEC fixed frame, and a pose is
//! `fixed <- patient`.

mod attenuation;
mod correction;
mod error;
mod fdk;
mod geometry;
mod image;
mod kernel;
mod normal;
mod ray;
mod registration;
mod rigid;
mod scatter;
mod siddon;
mod slab;
mod verdict;
mod view;
mod volume;

pub use attenuation::{AttenuationCurve, MU_WATER_PER_MM};
pub use correction::{
    covariance_at_target, covariance_of_six_numbers, from_six_numbers, six_numbers, small_motion,
};
pub use error::{ImagingError, Result};
pub use fdk::{FdkSettings, Grid, PROJECTIONS_MIN, reconstruct};
pub use geometry::{IMAGE_SIDE_MAX, PanelGeometry, Projection};
pub use kernel::Isa;
pub use registration::{CancelFlag, ModelError, Outcome, Settings, VIEWS_MAX, View, register};
pub use rigid::{RigidOutcome, RigidSettings, Scan, register_rigid};
pub use siddon::project_exact;
pub use slab::{project_fast, project_fast_with};
pub use verdict::{Limits, Reason, Verdict};
pub use volume::{Pyramid, Volume};
