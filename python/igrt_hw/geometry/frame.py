"""The frames that a pose may carry (`docs/conventions.md`)."""

from enum import StrEnum


class Frame(StrEnum):
    """A coordinate frame of IEC 61217 or of this project."""

    FIXED = "fixed"
    GANTRY = "gantry"
    SOURCE_ARM = "source_arm"
    PANEL_ARM = "panel_arm"
    TURNTABLE = "turntable"
    ECCENTRIC = "eccentric"
    BASE = "base"
    FLANGE = "flange"
    TABLE_TOP = "table_top"
    PATIENT = "patient"
    DICOM = "dicom"
