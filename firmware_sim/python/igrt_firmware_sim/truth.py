"""Shapes of what the firmware module takes and gives."""

from typing import Any, Literal, TypedDict

LineName = Literal["couch", "imager", "pendant"]


class LineCounters(TypedDict):
    """Counters of one line since power-up."""

    accepted: int
    dropped: int
    too_long: int
    replayed: int
    refused: int
    executed: int


class TruthDict(TypedDict):
    """What no host may know: millimetres, degrees, in axis order."""

    now_us: int
    axis_names: list[str]
    axes: list[float]
    speeds: list[float]
    primary: list[float]
    secondary: list[float]
    commanded: list[float]
    brakes_engaged: bool
    couch_state: int
    drive_state: str  # by its CiA 402 name
    touch_guards: list[str]
    injected: list[str]  # faults, each as "target kind [axis] [value] [direction]"
    couch_faults: int
    stop_cause: int
    epoch: int
    beam_gate: bool
    radiates: bool
    tube_mas: float
    imager_faults: int
    pendant_faults: int
    gantry_deg: float
    arms_parked: bool
    table_top: list[float]
    base: list[float] | None
    legs_mm: list[float] | None
    sag_mm: float
    patient: list[float]
    residual: list[float]
    distance_mm: float
    angle_deg: float
    octets_through_line_faults: int
    counters: dict[LineName, LineCounters]


class SceneDict(TypedDict):
    """What stands in the beam, positions in DICOM millimetres: a phantom's bodies, the markers where they are now and
    where the planning CT has them, the strength of each effect of the X-rays."""

    solids: list[dict[str, Any]]
    markers: list[dict[str, Any]]
    markers_planned: list[dict[str, Any]]
    physics: dict[str, float]


class ViewDict(TypedDict):
    """Where source and panel truly are, in the fixed frame: source, centre of the panel, unit vectors along +x and +y
    of the panel (columns run along x, rows against y)."""

    source_mm: list[float]
    panel_mm: list[float]
    panel_x: list[float]
    panel_y: list[float]


# The couch as it truly is at an instant: clock in microseconds, axes in mm and degrees, mm/s, deg/s.
MotionTuple = tuple[int, list[float], float, float]

# Header of a frame: type, session, seq, ack, epoch, flags, device, t_us, deadline_us.
Fields = tuple[int, int, int, int, int, int, int, int, int]
