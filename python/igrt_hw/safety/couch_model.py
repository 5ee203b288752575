"""What the supervisor needs to know of a couch: solve a correction, measure a difference, name the limits.

A protocol, so that the supervisor judges any couch family alike; `machine_couch.py` supplies it from a machine
description. Axes are in millimetres or degrees, in the order of `docs/conventions.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from igrt_hw.geometry import Correction, wrap_deg
from igrt_hw.guidance.daily_shift import ShiftTest
from igrt_hw.models.qa import QaLevel


class UnreachableError(ValueError):
    """No axis position brings the patient there. The message is a sentence for people: what, how far, what to do."""


@dataclass(frozen=True, slots=True)
class PoseDifference:
    """How far two table-top poses differ: displacement of the isocentre point in mm, angle between them in degrees."""

    mm: float
    deg: float

    def within(self, mm: float, deg: float) -> bool:
        """Whether both are at most so much. A difference that is no number is within nothing."""
        return self.mm <= mm and self.deg <= deg


@dataclass(frozen=True, slots=True)
class Stages:
    """How a couch performs a correction: by which stops, and how near its legs and singularities it comes.

    Attributes:
        via: axes at which it comes to rest before the target: where the base couch of a hexapod has carried the
            platform. Empty: one straight move.
        leg_margin_mm: least distance of any leg to the end of its range anywhere on the way; None without legs.
        singularity: the nearest singularity on the way in words, and its least margin (1 far away, 0 at it).
        base_axes: where the base couch stands afterwards (mm, mm, mm, deg); None for a couch without one.
    """

    via: tuple[tuple[float, ...], ...] = ()
    leg_margin_mm: float | None = None
    singularity: tuple[str, float] = ("none", 1.0)
    base_axes: tuple[float, float, float, float] | None = None


class CouchModel(Protocol):
    """One couch: its axes, its limits, and the two sums that the supervisor needs done."""

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names, in axis order."""

    @property
    def axis_units(self) -> tuple[Literal["mm", "deg"], ...]:
        """`mm` for a linear axis, `deg` for a rotary one."""

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        """Lower and upper limit by axis."""

    @property
    def speed_max(self) -> tuple[float, ...]:
        """Largest speed by axis, mm/s or deg/s."""

    @property
    def correction_window(self) -> tuple[float, float]:
        """The largest correction that one approval may cover on this machine: mm, degrees."""

    @property
    def correction_speed(self) -> tuple[float, float]:
        """The largest speed of a correction on this machine: mm/s, deg/s."""

    @property
    def limits_hash(self) -> str:
        """The limits digest of `docs/protocol.md` section 6, 64 hexadecimal digits."""

    @property
    def machine_hash(self) -> str:
        """Digest of the machine description."""

    def solve(self, start_axes: tuple[float, ...], correction: Correction) -> tuple[float, ...]:
        """Axis targets of C . M(start_axes), of all branches the nearest to the start; axis limits are NOT applied.

        Raises `UnreachableError` where no position exists at all.
        """

    def stages(
        self,
        start_axes: tuple[float, ...],
        target_axes: tuple[float, ...],
        correction: Correction,
        base_axes: tuple[float, float, float, float] | None,
    ) -> Stages:
        """The way from start to target. `base_axes`: where the base couch stands; None: where the description says.

        Raises `UnreachableError` where neither one stage nor two lead there.
        """

    def limit_problem(self, axes: tuple[float, ...]) -> str:
        """What these axes exceed beyond `limits` (legs of a hexapod), as a sentence; empty if nothing."""

    def difference(self, first: tuple[float, ...], second: tuple[float, ...]) -> PoseDifference:
        """Difference of the two poses about the isocentre."""

    def isocentre_in_table(self, axes: tuple[float, ...]) -> tuple[float, float, float]:
        """Where the isocentre is in the table-top frame, mm: pitch and roll included."""

    def judge_shift(
        self,
        aligned: tuple[float, ...],
        displaced: tuple[float, ...],
        found: Correction,
        reached: tuple[float, ...],
        still_asked: Correction | None,
        level: QaLevel,
    ) -> ShiftTest:
        """The filled form of the daily shift test (`igrt_hw.guidance.daily_shift`)."""

    def table_position(
        self, axes: tuple[float, ...]
    ) -> tuple[float, float, float, float, float, float]:
        """The six table-top numbers of IEC 61217 for this axis position."""


def displacement(
    model: CouchModel, first: tuple[float, ...], second: tuple[float, ...]
) -> PoseDifference:
    """How far a couch has moved: at the isocentre, or by the axis that moved most, whichever is more.

    Axes can move by millimetres and leave the isocentre where it was (pitch against height); the patient beside it
    has moved all the same, and the couch judges the start of a plan by axes.
    """
    pose = model.difference(first, second)
    linear, rotary = [pose.mm], [pose.deg]
    for unit, a, b in zip(model.axis_units, first, second, strict=True):
        if unit == "mm":
            linear.append(abs(b - a))
        else:
            rotary.append(abs(wrap_deg(b - a)))
    return PoseDifference(max(linear), max(rotary))


def rotation_total_deg(correction: Correction) -> float:
    """Angle of the one rotation that Rz(rotation) . Rx(pitch) . Ry(roll) is."""
    half = [
        math.radians(a) / 2
        for a in (correction.rotation_deg, correction.pitch_deg, correction.roll_deg)
    ]
    (cz, sz), (cx, sx), (cy, sy) = ((math.cos(a), math.sin(a)) for a in half)
    # Vector part of the quaternion product qz * qx * qy; its sine keeps small angles exact where the trace would not.
    vector = (
        cz * sx * cy - sz * cx * sy,
        cz * cx * sy + sz * sx * cy,
        sz * cx * cy + cz * sx * sy,
    )
    scalar = cz * cx * cy - sz * sx * sy
    return math.degrees(2 * math.atan2(math.hypot(*vector), abs(scalar)))
