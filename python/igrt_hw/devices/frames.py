"""What an imager is asked for, and what it gives: views and raw frames."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

FLOOD_FRAME: Final = 0xFFFF0001
FLOOD_OFFSET_FRAME: Final = 0xFFFF0002


PanelModeName = Literal["off", "radiographic", "fluoroscopic", "unknown"]
PANEL_MODES: Final[dict[int, PanelModeName]] = {0: "off", 1: "radiographic", 2: "fluoroscopic"}


class PanelMode(IntEnum):
    """How the panel is read, by the codes of PANEL_MODE."""

    RADIOGRAPHIC = 1
    FLUOROSCOPIC = 2


class ArmsPosition(IntEnum):
    """Where source arm and panel arm are to stand."""

    PARKED = 0
    EXTENDED = 1


class BeamFilter(IntEnum):
    """Filters of the source."""

    NONE = 0
    HALF_BOW_TIE = 1
    FULL_BOW_TIE = 2
    TITANIUM = 3


class ExposureKind(IntEnum):
    """With or without radiation."""

    X_RAY = 0
    DARK = 1


@dataclass(frozen=True, slots=True)
class View:
    """One image to be taken.

    source_angle_deg: the source angle of `docs/conventions.md`. kvp: tube voltage in kV, ma: tube
    current in mA, ms: time in milliseconds. field_mm: edges x1, x2, y1, y2 at the isocentre.
    """

    source_angle_deg: float
    kvp: float = 100.0
    ma: float = 100.0
    ms: float = 20.0
    beam_filter: BeamFilter = BeamFilter.NONE
    binning: int = 1
    field_mm: tuple[float, float, float, float] = (-130.0, 130.0, -100.0, 100.0)

    @property
    def mas(self) -> float:
        """Current times time, mAs."""
        return self.ma * self.ms / 1000


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """One frame as the panel read it, verified by its SHA-256.

    counts: uint16, shape (rows, cols), row 0 at the gantry side (conventions.md, X-ray images).
    Times: exposure begin and end on the device's clock, and on the host's as far as it is known.
    pitch_mm: of the (binned) pixel on the panel itself. kind: as FRAME_INFO states it. ma, ms: tube
    current and time that were set; mas their product as the device states it. panel_mode: how the
    panel was read. dropped: frames of its series that nobody can have any more, when this was asked.
    """

    frame: int
    kind: int
    binning: int
    bits: int
    counts: npt.NDArray[np.uint16]
    sha256: str
    begin_device_us: int
    end_device_us: int
    begin_us: int | None
    end_us: int | None
    fetched_us: int
    kvp: float
    ma: float
    ms: float
    mas: float
    source_angle_deg: float
    source_arm_mm: float
    panel_arm_mm: float
    dose_area_uGycm2: float
    sad_mm: float
    sid_mm: float
    pitch_mm: float
    panel_mode: PanelModeName
    dropped: int


@dataclass(frozen=True, slots=True)
class SeriesTold:
    """What became of a series: frames asked for, pulses begun, frames fetched here, and those that did not come:
    dropped by the device because nobody fetched them in time or their read-out had no room, or broken off with
    the last pulse. Numbers run from `first_frame`."""

    asked: int
    first_frame: int
    pulses: int
    fetched: int
    dropped: int
