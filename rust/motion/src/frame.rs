//! The frames of IEC 61217 and of this project as zero-sized types.

/// A coordinate frame, known at compile time.
pub trait Frame: Copy + Send + Sync + 'static {
    /// The name used in files and messages, for instance `table_top`.
    const NAME: &'static str;
}

macro_rules! frames {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name;

        impl Frame for $name {
            const NAME: &'static str = $text;
        }
    )*};
}

frames! {
    /// Origin at the isocentre, +X to the right of someone facing the gantry, +Y towards the gantry, +Z up.
    Fixed = "fixed";
    /// Turns about +Y of the fixed frame.
    Gantry = "gantry";
    /// The arm of the kV source.
    SourceArm = "source_arm";
    /// The arm of an image panel.
    PanelArm = "panel_arm";
    /// IEC patient support: the turntable.
    Turntable = "turntable";
    /// IEC table top eccentric.
    Eccentric = "eccentric";
    /// Foot of a robot or of a couch, where its own chain begins.
    Base = "base";
    /// End of a robot's or couch's own chain, where the table top is bolted on.
    Flange = "flange";
    /// Table-top origin, fixed to the couch top.
    TableTop = "table_top";
    /// IEC patient: +X patient's left, +Y head, +Z front.
    Patient = "patient";
    /// DICOM LPS: +X left, +Y posterior, +Z superior.
    Dicom = "dicom";
    /// Frames known only at run time; who carries such a pose checks them (the Python face does).
    Untyped = "untyped";
}
