//! The one error type of the crate: what was wrong, where, and what to do.

/// Why a pose, an axis value or a machine was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MotionError {
    /// No value of the axes, within limits or not, reaches the pose.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// At this pose infinitely many axis values are equivalent, and a small move may need a large turn.
    #[error("singular: {0}")]
    Singular(String),
    /// The pose or the axes are outside the limits of the machine.
    #[error("outside limits: {0}")]
    Limit(String),
    /// Numbers that do not describe a pose, a machine or axis values.
    #[error("{0}")]
    Geometry(String),
    /// A closed form found axis values, but they do not reproduce the pose to the promised tolerance: nothing is returned.
    #[error("not reproduced: {0}")]
    NotReproduced(String),
    /// An iteration did not settle within its bound.
    #[error("did not converge: {0}")]
    NotConverged(String),
}

pub(crate) fn geometry<T>(message: impl Into<String>) -> Result<T, MotionError> {
    Err(MotionError::Geometry(message.into()))
}
