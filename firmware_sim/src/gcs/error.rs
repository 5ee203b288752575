//! Error codes of the General Command Set: what `ERR?` answers, once, about the last command that failed.
//!
//! Numbers and meanings are those of the error table of PI's public Python client (pipython, `pidevice/gcserror.py`). A code is all that the
//! dialect can say: there is no sentence on the line, so that docs/gcs.md carries them.

/// Codes that this controller gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u16)]
pub enum Error {
    /// No error.
    #[default]
    None = 0,
    /// A parameter is no number, or not of the form that the command takes.
    ParameterSyntax = 1,
    /// No such command.
    UnknownCommand = 2,
    /// The line is longer than the controller takes.
    TooLong = 3,
    /// A move of an axis that is not referenced, or whose servo is off.
    NoReferenceOrServo = 5,
    /// The position cannot be reached: beyond travel range, soft limit or strut length.
    OutOfLimits = 7,
    /// The velocity is not above zero, or above what the platform can do.
    VelocityOutOfLimits = 8,
    /// A pivot point was set while U, V, W are not all 0.
    PivotNotPossible = 9,
    /// Stopped by command.
    Stopped = 10,
    /// No such axis.
    InvalidAxis = 15,
    /// A parameter is out of its range.
    OutOfRange = 17,
    /// An axis was named twice.
    DoubleAxis = 22,
    /// Wrong number of parameters.
    ParameterCount = 24,
    /// A soft limit beyond the travel range, or on the wrong side of the position.
    SoftLimit = 27,
    /// Not while the platform moves.
    InMotion = 93,
    /// A limit switch is closed.
    LimitSwitch = 216,
    /// A strut did something that it was not told to.
    UnexpectedStrutStop = 217,
    /// The emergency stop is pressed.
    EmergencyStop = 500,
    /// The emergency stop was pressed; servo on re-animates the drives.
    EmergencyStopWas = 501,
    /// A collision switch is closed.
    CollisionSwitch = 503,
    /// A strut does not follow its set-point.
    FollowingError = 504,
    /// A sensor signal is not valid.
    SensorInvalid = 505,
    /// The safety chain of the drives is open: no move, no servo.
    MoveNotPermitted = 508,
    /// No such coordinate system.
    NoSuchSystem = 530,
    /// The coordinate system is in use.
    SystemInUse = 532,
    /// The chain of coordinate systems would end in itself.
    SystemCyclic = 533,
    /// Coordinate systems cannot be changed while the platform moves.
    SystemInMotion = 536,
    /// A coordinate system cannot be its own parent.
    SystemOwnParent = 539,
    /// No place for another coordinate system.
    SystemsFull = 543,
    /// SPI works in the root coordinate system only.
    PivotNotSupported = 544,
    /// Not a name that a coordinate system may have.
    SystemName = 557,
    /// The amplifier of a motor reports a fault.
    Amplifier = 654,
    /// The safety chain of the drives opened and stopped the platform.
    SafetyStop = 657,
    /// The brake did not open or does not hold.
    Brake = 720,
}

impl Error {
    /// The number on the line.
    pub fn code(self) -> u16 {
        self as u16
    }
}
