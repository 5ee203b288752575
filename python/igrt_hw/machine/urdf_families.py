"""Which couch family a chain of URDF joints is, and its dimensions: from the axis lines at zero to a `Couch`.

A URDF file says where each joint axis stands when every joint is at zero; a family says how its axes must lie to each
other. The dimensions follow from the lines alone, whatever frames the file chose for its links. What does not lie as
the family asks is refused with the joint that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CoreError, Couch, Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.catalogue import MachineError

Matrix = NDArray[np.float64]
Line = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Unit direction and a point, mm, in the root frame."""

FAMILIES = {"RPPPRR": "pedestal", "RRRRRR": "arm", "PRRRRR": "scara"}
"""Kinds of the joints from the root (R turns, P slides), by family."""

_SINE = 1e-9
"""Two directions closer than this are parallel (perpendicular); radians."""
_MISS_MM = 1e-6
"""Two axes that pass each other closer than this meet."""


@dataclass(frozen=True, slots=True)
class ReadJoint:
    """A moving joint as the file has it: the fixed transform before it, its axis there, its range (mm or degrees)."""

    name: str
    before: Matrix
    axis: NDArray[np.float64]
    linear: bool
    lower: float
    upper: float


def couch_of(joints: Sequence[ReadJoint], tail: Matrix, origin: str) -> Couch:
    """The couch whose chain these joints are, its axes in the order of its family.

    Args:
        joints: six moving joints from the root.
        tail: fixed transform after the last one, mm.
        origin: the file, for messages.

    Raises:
        MachineError: no family has such joints, or a joint that does not lie as its family asks.
    """
    kinds = "".join("P" if joint.linear else "R" for joint in joints)
    family = FAMILIES.get(kinds)
    if family is None:
        known = ", ".join(f"{kinds} {family}" for kinds, family in FAMILIES.items())
        raise MachineError(
            f"{origin}: joints {kinds} from the root (R turns, P slides: "
            f"{', '.join(joint.name for joint in joints)}) are no couch family; known are {known}"
        )
    lines = _lines_at_zero(joints)
    end = forward(joints, tail, (0.0,) * 6)
    fit = {"pedestal": _pedestal, "arm": _arm, "scara": _scara}[family]
    try:
        couch = fit(joints, lines, end, origin)
    except CoreError as error:
        raise MachineError(f"{origin}: {error}") from error
    _check_reproduces(couch, joints, tail, origin)
    return couch


def in_file_order(family: str, axes: Sequence[float]) -> tuple[float, ...]:
    """Axis values of a couch in the order of the joints from the root."""
    if family in ("pedestal", "hexapod"):
        lateral, longitudinal, vertical, rotation, pitch, roll = axes
        return (rotation, lateral, longitudinal, vertical, pitch, roll)
    return tuple(axes)


def forward(joints: Sequence[ReadJoint], tail: Matrix, positions: Sequence[float]) -> Matrix:
    """root <- end at joint positions (mm, degrees), as the file says it."""
    frame = np.eye(4)
    for joint, value in zip(joints, positions, strict=True):
        motion = np.eye(4)
        if joint.linear:
            motion[:3, 3] = joint.axis * value
        else:
            motion[:3, :3] = _turn(joint.axis, math.radians(value))
        frame = frame @ joint.before @ motion
    return np.asarray(frame @ tail)


def _turn(axis: NDArray[np.float64], angle: float) -> Matrix:
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: Matrix = np.eye(3) + math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross
    return turned


def _lines_at_zero(joints: Sequence[ReadJoint]) -> list[Line]:
    lines = []
    frame = np.eye(4)
    for joint in joints:
        frame = frame @ joint.before
        lines.append((frame[:3, :3] @ joint.axis, frame[:3, 3].copy()))
    return lines


# --- what a family asks of its lines ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rules:
    joints: Sequence[ReadJoint]
    lines: Sequence[Line]
    origin: str

    def refuse(self, index: int, why: str) -> MachineError:
        return MachineError(f"{self.origin}, joint {self.joints[index].name!r}: {why}")

    def parallel(self, index: int, to: int) -> float:
        """+1 or -1."""
        mine, other = self.lines[index][0], self.lines[to][0]
        off = float(np.linalg.norm(np.cross(mine, other)))
        if off > _SINE:
            raise self.refuse(
                index,
                f"its axis must be parallel to that of {self.joints[to].name!r}; "
                f"it is {math.degrees(math.asin(min(off, 1.0))):.4g} degrees off",
            )
        return math.copysign(1.0, float(mine @ other))

    def perpendicular(self, index: int, to: int) -> None:
        off = abs(float(self.lines[index][0] @ self.lines[to][0]))
        if off > _SINE:
            raise self.refuse(
                index,
                f"its axis must be perpendicular to that of {self.joints[to].name!r}; "
                f"it is {math.degrees(math.asin(min(off, 1.0))):.4g} degrees off",
            )

    def meeting(self, index: int, to: int) -> NDArray[np.float64]:
        """The point where two perpendicular axes meet."""
        (u, p), (v, q) = self.lines[index], self.lines[to]
        normal = np.cross(u, v)
        miss = abs(float((q - p) @ normal)) / float(np.linalg.norm(normal))
        if miss > _MISS_MM:
            raise self.refuse(
                index,
                f"its axis must meet that of {self.joints[to].name!r}; it passes {miss:.4g} mm away",
            )
        along = float(np.cross(q - p, v) @ normal) / float(normal @ normal)
        return np.asarray(p + along * u)


def _pose(rotation: Matrix, position: NDArray[np.float64], to: Frame, source: Frame) -> Pose:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    return Pose.from_matrix(matrix, to, source)


def _tool(bare: Couch, end: Matrix) -> Pose:
    """flange <- table top, from the bare couch's flange with every axis at zero and the end of the file's chain."""
    flange = bare.forward((0.0,) * 6).matrix()
    return Pose.from_matrix(np.linalg.inv(flange) @ end, Frame.FLANGE, Frame.TABLE_TOP)


def _ranges(joints: Sequence[ReadJoint]) -> list[tuple[float, float]]:
    return [(joint.lower, joint.upper) for joint in joints]


def _pedestal(
    joints: Sequence[ReadJoint], lines: Sequence[Line], end: Matrix, origin: str
) -> Couch:
    """Rotation about z, then slides along x, y, z, then turns about x (pitch) and y (roll)."""
    rules = _Rules(joints, lines, origin)
    slides = np.array([direction for direction, _ in lines[1:4]])
    if not np.allclose(slides @ slides.T, np.eye(3), atol=_SINE) or np.linalg.det(slides) < 0.0:
        names = ", ".join(repr(joint.name) for joint in joints[1:4])
        raise MachineError(
            f"{origin}, joints {names}: the three slides go lateral, longitudinal, vertical, perpendicular and "
            f"right-handed; these go {slides.tolist()}"
        )
    for index, to, what in ((0, 3, "couch rotation"), (4, 1, "pitch"), (5, 2, "roll")):
        if rules.parallel(index, to) < 0.0:
            raise rules.refuse(
                index, f"the {what} turns about {joints[to].name!r} in the positive sense"
            )
    pivot = rules.meeting(5, 4)
    foot = lines[0][1]
    base = _pose(slides.T, foot, Frame.FIXED, Frame.BASE)
    zeros = (*(slides @ (pivot - foot)), 0.0, 0.0, 0.0)
    ranges = _ranges((*joints[1:4], joints[0], joints[4], joints[5]))
    bare = Couch.pedestal(ranges, base=base).with_axis_map((1.0,) * 6, zeros)
    return bare.with_mounts(base, _tool(bare, end))


def _arm(joints: Sequence[ReadJoint], lines: Sequence[Line], end: Matrix, origin: str) -> Couch:
    """Ortho-parallel arm, spherical wrist: 2 and 3 parallel and across 1, 4 across 3, 4 to 6 through one point."""
    rules = _Rules(joints, lines, origin)
    rules.perpendicular(1, 0)
    sign3 = rules.parallel(2, 1)
    for index in (3, 4, 5):
        rules.perpendicular(index, index - 1)
    centre = rules.meeting(4, 3)
    off = float(np.linalg.norm(np.cross(centre - lines[5][1], lines[5][0])))
    if off > _MISS_MM:
        raise rules.refuse(
            5,
            f"its axis must pass through the wrist centre, where joints 4 and 5 meet; it passes {off:.4g} mm away",
        )
    up, side = lines[0][0], lines[1][0]
    frame = np.array([np.cross(side, up), side, up])
    # The foot stands on axis 1 where the root's origin projects onto it.
    foot = lines[0][1] - up * float(lines[0][1] @ up)
    place = [frame @ (point - foot) for _, point in lines]
    wrist = frame @ (centre - foot)
    (a1, _, c1), (x3, _, z3) = place[1], place[2]
    upper = (x3 - a1, z3 - c1)
    c2 = math.hypot(*upper)
    if c2 < _MISS_MM:
        raise rules.refuse(2, f"its axis is that of {joints[1].name!r}: there is no upper arm")
    fore = (wrist[0] - x3, wrist[2] - z3)
    along = frame @ lines[3][0]
    sign4 = 1.0 if along[0] * fore[0] + along[2] * fore[1] >= 0.0 else -1.0
    sine, cosine = sign4 * along[0], sign4 * along[2]
    zero2, zero23 = math.atan2(upper[0], upper[1]), math.atan2(sine, cosine)
    turned = frame.T @ np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    bend = turned.T @ lines[4][0]
    zero4 = math.atan2(-bend[0], bend[1])
    last = _turn(np.array([0.0, 0.0, 1.0]), zero4).T @ turned.T @ lines[5][0]
    zeros = (0.0, zero2, zero23 - zero2, zero4, math.atan2(last[0], last[2]), 0.0)
    bare = Couch.arm(
        _ranges(joints),
        offsets_mm=(a1, fore[0] * cosine - fore[1] * sine, float(wrist[1])),
        lengths_mm=(
            c1,
            c2,
            fore[0] * sine + fore[1] * cosine,
            float(lines[5][0] @ (end[:3, 3] - centre)),
        ),
        signs=(1.0, 1.0, sign3, sign4, 1.0, 1.0),
        zeros_deg=tuple(math.degrees(zero) for zero in zeros),
        base=_pose(frame.T, foot, Frame.FIXED, Frame.BASE),
    )
    return bare.with_mounts(bare.base, _tool(bare, end))


def _scara(joints: Sequence[ReadJoint], lines: Sequence[Line], end: Matrix, origin: str) -> Couch:
    """A slide, three turns about axes parallel to it, then pitch across them and roll across pitch."""
    rules = _Rules(joints, lines, origin)
    signs = [rules.parallel(index, 0) for index in (1, 2, 3)]
    rules.perpendicular(4, 0)
    rules.perpendicular(5, 4)
    pivot = rules.meeting(5, 4)
    up = lines[0][0]

    def level(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(vector - up * float(vector @ up))

    upper, fore = level(lines[2][1] - lines[1][1]), level(lines[3][1] - lines[2][1])
    for index, link in ((2, upper), (3, fore)):
        if float(np.linalg.norm(link)) < _MISS_MM:
            raise rules.refuse(
                index, f"its axis is that of {joints[index - 1].name!r}: there is no link between"
            )
    ahead = upper / np.linalg.norm(upper)
    frame = np.array([ahead, np.cross(up, ahead), up])
    foot = level(lines[1][1])
    across = frame @ lines[4][0]
    towards = frame @ fore
    fore_angle, yaw = math.atan2(towards[1], towards[0]), math.atan2(across[1], across[0])
    turned = frame.T @ _turn(np.array([0.0, 0.0, 1.0]), yaw)
    offset = turned.T @ (pivot - lines[3][1])
    roll = turned.T @ lines[5][0]
    zeros = (0.0, 0.0, fore_angle, yaw - fore_angle, math.atan2(roll[2], roll[1]), 0.0)
    bare = Couch.scara(
        _ranges(joints),
        upper_mm=float(np.linalg.norm(upper)),
        fore_mm=float(np.linalg.norm(fore)),
        wrist_mm=(float(offset[0]), float(offset[1]), float(pivot @ up)),
        signs=(1.0, *signs, 1.0, 1.0),
        zeros=(0.0, *(math.degrees(zero) for zero in zeros[1:])),
        base=_pose(frame.T, foot, Frame.FIXED, Frame.BASE),
    )
    return bare.with_mounts(bare.base, _tool(bare, end))


def _check_reproduces(couch: Couch, joints: Sequence[ReadJoint], tail: Matrix, origin: str) -> None:
    """The last word: the couch built here against the file's own chain, at 200 positions over the ranges."""
    low, high = np.array(couch.limits).T
    for draw in np.random.default_rng(61217).random((200, 6)):
        axes = tuple(float(a) for a in low + (high - low) * draw)
        matrix = forward(joints, tail, in_file_order(couch.family, axes))
        want = Pose.from_matrix(matrix, Frame.FIXED, Frame.TABLE_TOP)
        off_mm, off_deg = couch.forward(axes).deviation(want)
        if off_mm > 1e-6 or math.radians(off_deg) > 1e-9:
            raise MachineError(
                f"{origin}: not a {couch.family} couch after all: its model is off by {off_mm:.3g} mm and "
                f"{off_deg:.3g} deg at {axes}"
            )
