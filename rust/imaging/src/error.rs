//! The one error type of this crate.

use thiserror::Error;

/// What was wrong, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ImagingError {
    /// A geometry that cannot exist or cannot be projected.
    #[error("projection geometry: {0}")]
    Geometry(String),
    /// A volume whose shape, spacing or values cannot be projected.
    #[error("volume: {0}")]
    Volume(String),
    /// An HU curve that is not a curve.
    #[error("HU curve: {0}")]
    Curve(String),
    /// An image whose shape or values do not fit its view.
    #[error("view {view}: {reason}")]
    Image {
        /// Index of the view in the call, from 0.
        view: usize,
        /// What is wrong with its image.
        reason: String,
    },
    /// A [`crate::CancelFlag`] was pulled.
    #[error("cancelled before it had an answer; nothing was found")]
    Cancelled,
    /// Settings that contradict each other or the input.
    #[error("settings: {0}")]
    Settings(String),
}

/// Result with the error of this crate.
pub type Result<T> = std::result::Result<T, ImagingError>;
