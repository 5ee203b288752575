"""The rehearsed room: made-up boxes seen by a made-up eye, for pictures and tests. It measures nothing."""

import base64
import math

import numpy as np
import numpy.typing as npt

from igrt_hw.models.room import (
    ClosestPair,
    PartKind,
    RoomMap,
    RoomPart,
    RoomPicture,
    RoomQuestion,
)

MODEL_HASH = "ef" * 32
AXES = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
BOXES: tuple[tuple[str, PartKind, tuple[float, ...], tuple[float, ...]], ...] = (
    ("patient", "patient", (0.0, -250.0, 40.0), (190.0, 800.0, 110.0)),
    ("couch top", "couch", (0.0, -650.0, -100.0), (265.0, 1150.0, 25.0)),
    ("gantry head", "gantry", (0.0, 0.0, 760.0), (300.0, 300.0, 340.0)),
    ("gantry drum", "gantry", (0.0, 1350.0, 0.0), (900.0, 250.0, 900.0)),
    ("kV panel", "panel", (-760.0, 430.0, 0.0), (30.0, 250.0, 250.0)),
    ("floor", "room", (0.0, 0.0, -1320.0), (3000.0, 3000.0, 20.0)),
)
EYE_MM = 5000.0


def picture(asked: RoomQuestion) -> RoomPicture:
    """Return a made-up picture of the size that was asked for."""
    a, e = math.radians(asked.azimuth_deg), math.radians(asked.elevation_deg)
    eye = np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)]) * EYE_MM
    right = np.array([math.cos(a), math.sin(a), 0.0])
    up = np.cross(right, -eye / EYE_MM)
    pixel = asked.span_mm / asked.height
    x = (np.arange(asked.width) + 0.5 - asked.width / 2) * pixel
    z = (asked.height / 2 - np.arange(asked.height) - 0.5) * pixel
    along = -eye + x[None, :, None] * right + z[:, None, None] * up
    numbers, shade = _cast(eye, along / np.linalg.norm(along, axis=2, keepdims=True))
    slide = 10.0 * (asked.path_fraction or 0.0)
    ends = (np.array([60.0, 0.0, 150.0 + slide]), np.array([60.0, 0.0, 420.0]))
    first, second = (_seen(end, eye, right, up, pixel, asked) for end in ends)
    return RoomPicture(
        path_fraction=asked.path_fraction,
        width=asked.width,
        height=asked.height,
        parts=tuple(RoomPart(name=name, kind=kind) for name, kind, _, _ in BOXES),
        part_of_pixel=base64.b64encode(numbers.tobytes()).decode(),
        shade=base64.b64encode(shade.tobytes()).decode(),
        closest=ClosestPair(
            parts=("patient", "gantry head"),
            lower_mm=270.0 - slide,
            upper_mm=270.02 - slide,
            points=((60.0, 0.0, 150.0 + slide), (60.0, 0.0, 420.0)),
            on_picture=(first, second),
        ),
        axes=(2.4, -1203.0, -148.6, 0.0, 0.0, 0.0),
        axis_names=AXES,
        gantry_deg=0.0,
        arms="parked",
        patient="as registered",
        notes=("not in the model: cables",),
        pose_age_ms=0.0 if asked.path_fraction is not None else 60.0,
        model_hash=MODEL_HASH,
        drawn_ms=3.0,
    )


def _cast(
    eye: npt.NDArray[np.float64], along: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    depth = np.full(along.shape[:2], np.inf)
    numbers = np.zeros(along.shape[:2], dtype=np.uint8)
    shade = np.zeros(along.shape[:2], dtype=np.uint8)
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    for number, (_, _, middle, half) in enumerate(BOXES, start=1):
        to = np.array(middle) - eye
        near = (to - np.array(half) * np.sign(along)) / along
        far = (to + np.array(half) * np.sign(along)) / along
        enter, leave = near.max(axis=2), far.min(axis=2)
        hit = (enter < leave) & (enter > 0) & (enter < depth)
        depth[hit] = enter[hit]
        numbers[hit] = number
        shade[hit] = np.array([150, 200, 235], dtype=np.uint8)[near.argmax(axis=2)[hit]]
    return numbers, shade


def _seen(
    point: npt.NDArray[np.float64],
    eye: npt.NDArray[np.float64],
    right: npt.NDArray[np.float64],
    up: npt.NDArray[np.float64],
    pixel: float,
    asked: RoomQuestion,
) -> tuple[float, float]:
    to = point - eye
    to = to * (EYE_MM / float(to @ (-eye / EYE_MM)))
    return float(to @ right) / pixel + asked.width / 2, asked.height / 2 - float(to @ up) / pixel


def clearance_map() -> RoomMap:
    """Return a made-up map: contact where the head would meet a turned couch."""
    gantry = np.arange(-175.0, 180.0, 10.0)
    rotation = np.arange(-92.5, 95.0, 5.0)
    lower = (
        260.0 - 1.6 * np.abs(rotation)[None, :] - 0.9 * np.minimum(np.abs(gantry), 90.0)[:, None]
    )
    lower += 0.5 * np.maximum(0.0, np.abs(gantry) - 120.0)[:, None]
    lower = np.maximum(0.0, lower - 20.0)
    certain = np.where(lower <= 0.0, 2, np.where(lower < 25.0, 0, 1))
    return RoomMap(
        gantry_deg=tuple(gantry.tolist()),
        rotation_deg=tuple(rotation.tolist()),
        lower_mm=tuple(map(tuple, lower.tolist())),
        pair=tuple(map(tuple, np.zeros(lower.shape, dtype=int).tolist())),
        certain=tuple(map(tuple, certain.tolist())),
        pairs=(("couch top", "gantry head"),),
        margin_mm=20.0,
        axes=(2.4, -1203.0, -148.6, 0.0, 0.0, 0.0),
        axis_names=AXES,
        gantry_now_deg=0.0,
        arms="parked",
        patient="as registered",
        pose_age_ms=60.0,
        model_hash=MODEL_HASH,
        computed_ms=500.0,
    )
