"""Couch rotation of a couch that has no such axis: a robot turns the table top about the isocentre by all its axes.

`rotation` of such a couch is the angle of the table top in the room (`Pose.parameters`, IEC couch rotation, degrees).
The table top is turned about the vertical axis through the isocentre from where it stands, and the axes follow through
the inverse, step after step from there. Between two rotations the axes do not go along straight lines, so a map follows
them in steps of at most a degree: in each the straight line in axis space is certified, with a margin larger by twice
what the true way was found to lie beside it, measured at three places of the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from igrt_hw._core import CoreError, Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.catalogue import Machine
from igrt_hw.machine.room import PanelState, Room, RoomError

ROTATION = "rotation"
STEP_DEG = 1.0
"""Rotations are followed in steps of at most this."""

JUMP_MM = 600.0
"""A step that takes any part further than this is a change of branch. A stretched elbow moves 200 mm in a degree."""

Axes = tuple[float, ...]


class TurnError(RoomError):
    """A rotation at which this couch cannot stand; the message says why."""


def turns_by_inverse(machine: Machine) -> bool:
    """Whether the couch has no rotation axis of its own."""
    return all(axis.name != ROTATION for axis in machine.description.axis)


@dataclass(frozen=True, slots=True)
class TurnedCouch:
    """A robot couch with its table top turned about the isocentre.

    Attributes:
        room: the room it stands in.
        axes: where it stands; every other place is reached from there.
    """

    room: Room
    axes: Axes

    @property
    def rotation_deg(self) -> float:
        """The rotation of the table top where the couch stands."""
        return float(self.room.machine.couch().forward(self.axes).parameters()[3])

    def at(self, rotation_deg: float) -> Axes:
        """The axes that turn the table top to `rotation_deg`, followed from where the couch stands.

        Raises:
            TurnError: it cannot get there: out of reach or limits, or only with a change of branch.
        """
        here = self.rotation_deg
        steps = max(1, math.ceil(abs(rotation_deg - here) / STEP_DEG))
        seed = self.axes
        for k in range(1, steps + 1):
            angle = here + (rotation_deg - here) * k / steps
            found = self._next(angle, seed)
            if found is None:
                raise TurnError(
                    f"{self.room.machine.name} cannot turn the table top to {rotation_deg:g} degrees about the "
                    f"isocentre: it gets to {here + (rotation_deg - here) * (k - 1) / steps:.1f} degrees; "
                    f"{self._reason(angle, seed)}"
                )
            seed = found
        return seed

    def follow(self, angles_deg: Sequence[float]) -> list[Axes | None]:
        """Axes at growing rotations, followed from the nearest to where the couch stands; None beyond its reach."""
        here = self.rotation_deg
        first = min(range(len(angles_deg)), key=lambda k: abs(angles_deg[k] - here))
        found: list[Axes | None] = [None] * len(angles_deg)
        try:
            found[first] = self.at(angles_deg[first])
        except TurnError:
            return found
        for way in (range(first + 1, len(angles_deg)), range(first - 1, -1, -1)):
            seed = found[first]
            for k in way:
                seed = None if seed is None else self._next(angles_deg[k], seed)
                found[k] = seed
        return found

    def spread_mm(self, start: Axes, target: Axes, span_deg: tuple[float, float]) -> float | None:
        """How far the couch lies beside the straight line in axis space while it turns; None where it cannot follow.

        Measured at a quarter, half and three quarters of the step, at the corners of a box of 2 m about every frame.
        """
        furthest = 0.0
        for share in (0.25, 0.5, 0.75):
            angle = span_deg[0] + (span_deg[1] - span_deg[0]) * share
            straight = tuple(a + (b - a) * share for a, b in zip(start, target, strict=True))
            true = self._next(angle, straight)
            if true is None:
                return None
            furthest = max(furthest, _apart_mm(self.room, straight, true))
        return furthest

    def _next(self, rotation_deg: float, seed: Axes) -> Axes | None:
        couch = self.room.machine.couch()
        try:
            found = couch.inverse_nearest(self._pose(rotation_deg), seed)
        except CoreError:
            return None
        return found if _apart_mm(self.room, seed, found) <= JUMP_MM else None

    def _pose(self, rotation_deg: float) -> Pose:
        stands = self.room.machine.couch().forward(self.axes)
        turn = Pose.from_parameters(
            (0.0, 0.0, 0.0, rotation_deg - self.rotation_deg, 0.0, 0.0), Frame.FIXED, Frame.FIXED
        )
        return turn @ stands

    def _reason(self, rotation_deg: float, seed: Axes) -> str:
        couch, pose = self.room.machine.couch(), self._pose(rotation_deg)
        try:
            couch.check_limits(couch.nearest_branch(pose, seed))
            couch.inverse_nearest(pose, seed)
        except CoreError as error:
            return f"further on {error}"
        return "further on only another branch of its axes keeps its limits, which is not a turn but a move of its own"


def _apart_mm(room: Room, one: Axes, other: Axes) -> float:
    """The furthest that any corner of a box of 2 m a side about each couch frame lies from itself."""
    still: PanelState = room.retracted()
    first, second = room.poses(one, 0.0, still), room.poses(other, 0.0, still)
    corners = np.array(np.meshgrid(*[(-1000.0, 1000.0)] * 3)).reshape(3, 8)
    moved = (second[:, :3, :3] - first[:, :3, :3]) @ corners
    moved += (second[:, :3, 3] - first[:, :3, 3])[:, :, None]
    return float(np.linalg.norm(moved, axis=1).max())
