"""The room as a picture and as a map, drawn by the service from the geometry that is checked for clearance."""

from typing import Literal

from pydantic import Field

from igrt_hw.models.base import Frozen

PartKind = Literal["patient", "couch", "gantry", "panel", "room"]
Axes = tuple[float, ...]
Point = tuple[float, float, float]


class RoomPart(Frozen):
    """One part of the collision model."""

    name: str
    kind: PartKind


class ClosestPair(Frozen):
    """The two parts that come closest.

    Attributes:
        parts: names; the first moves with the couch.
        lower_mm, upper_mm: the true distance lies between them; below zero, minus the depth of the contact.
        points: the nearest point of each, fixed frame, mm.
        on_picture: the same two in columns and rows of the picture, from its top left; None behind the eye.
    """

    parts: tuple[str, str]
    lower_mm: float
    upper_mm: float
    points: tuple[Point, Point]
    on_picture: tuple[tuple[float, float] | None, tuple[float, float] | None]


class RoomPicture(Frozen):
    """The room, one exact ray a pixel.

    Attributes:
        path_fraction: where on the path of the proposal this is; None for the live pose.
        parts: what the numbers of `part_of_pixel` mean: 1 is the first.
        part_of_pixel: base64 of uint8, row by row from the top left; 0 is nothing.
        shade: base64 of uint8, brightness, in the same order.
        axes, axis_names: where the couch stands in this picture, mm and degrees.
        gantry_deg, arms: where gantry and kV arms stand.
        patient: how the patient's place on the couch is known.
        pose_age_ms: age of the oldest pose in it when this answer was made; 0 on a path, which is not live.
        model_hash: SHA-256 of the collision model.
    """

    path_fraction: float | None
    width: int
    height: int
    parts: tuple[RoomPart, ...]
    part_of_pixel: str
    shade: str
    closest: ClosestPair
    axes: Axes
    axis_names: tuple[str, ...]
    gantry_deg: float
    arms: Literal["parked", "extended", "moving"]
    patient: Literal["as registered", "as planned", "not on the couch"]
    notes: tuple[str, ...]
    pose_age_ms: float
    model_hash: str
    drawn_ms: float


class RoomMap(Frozen):
    """Clearance over gantry and couch rotation, the other axes as they stood.

    Attributes:
        gantry_deg, rotation_deg: the middles of rows and columns.
        lower_mm: rows of columns: at the middle of each cell the clearance is at least this; 0 is contact.
        pair: rows of columns: number of the nearest pair there, into `pairs`.
        certain: rows of columns: 1, `margin_mm` is kept all over the cell; 2, contact all over it; 0, neither.
        axes: the couch axes that it was computed for; the rotation among them varies over the columns.
    """

    gantry_deg: tuple[float, ...]
    rotation_deg: tuple[float, ...]
    lower_mm: tuple[tuple[float, ...], ...]
    pair: tuple[tuple[int, ...], ...]
    certain: tuple[tuple[int, ...], ...]
    pairs: tuple[tuple[str, str], ...]
    margin_mm: float
    axes: Axes
    axis_names: tuple[str, ...]
    gantry_now_deg: float
    arms: Literal["parked", "extended", "moving"]
    patient: Literal["as registered", "as planned", "not on the couch"]
    pose_age_ms: float
    model_hash: str
    computed_ms: float


class RoomQuestion(Frozen):
    """Which picture of the room is asked for.

    Attributes:
        width, height: pixels.
        look: from an orbit round the isocentre, along the treatment beam, or along the kV beam.
        azimuth_deg, elevation_deg: where the eye of the orbit is: 0, 0 at the foot of the couch, facing the gantry;
            90, 0 at the right of someone who stands there; elevation 90 above.
        span_mm: how much of the room the height of the picture holds, at the isocentre.
        path_fraction: a place on the path of the proposal instead of the live pose.
    """

    width: int = Field(default=100, ge=8, le=640)
    height: int = Field(default=60, ge=8, le=480)
    look: Literal["orbit", "beam", "kv"] = "orbit"
    azimuth_deg: float = Field(default=0.0, ge=-360.0, le=360.0)
    elevation_deg: float = Field(default=0.0, ge=-90.0, le=90.0)
    span_mm: float = Field(default=2600.0, ge=100.0, le=20_000.0)
    path_fraction: float | None = Field(default=None, ge=0.0, le=1.0)
