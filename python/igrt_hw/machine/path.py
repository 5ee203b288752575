"""Motions as the clearance core takes them: tables of joints, outermost first, for a path parameter from 0 to 1.

A row has 13 numbers: (0, twelve numbers of a constant pose), (1, axis, start and end angle in degrees, unused) or
(2, start offset, end offset in mm, unused). Straight lines in axis space are exact in this form; nothing is sampled.
Kinds 3 and 4 are 1 and 2 on the column axis of a map, in motions that both axes drive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.description import (
    ArmChain,
    Chain,
    HexapodChain,
    Mount,
    PedestalChain,
    ScaraChain,
)
from igrt_hw.machine.part import LINK_FRAMES

Matrix = NDArray[np.float64]
Joints = NDArray[np.float64]
"""(n, 13)."""

_ARM_LINK_ENDS = (2, 4, 6, 8, 9, 10)
_SCARA_LINK_ENDS = (2, 3, 5, 7, 9, 10)
"""How many rows of `_arm` and `_scara` lead to each link: all up to the joint of its own axis."""

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def fixed_joint(pose: ArrayLike) -> Joints:
    """A constant pose (4, 4), mm."""
    return _row(0.0, np.asarray(pose, dtype=np.float64)[:3].ravel())


def turn_joint(axis: Sequence[float], start_deg: float, end_deg: float) -> Joints:
    """A turn about `axis` through the joint's origin."""
    return _row(1.0, [*axis, start_deg, end_deg])


def slide_joint(start_mm: Iterable[float], end_mm: Iterable[float]) -> Joints:
    """A translation."""
    return _row(2.0, [*start_mm, *end_mm])


def couch_joints(chain: Chain, start: Sequence[float], target: Sequence[float]) -> Joints:
    """fixed <- table_top of a couch whose six axes go straight from `start` to `target` (mm, degrees)."""
    if isinstance(chain, PedestalChain):
        start, target = _joints_of(chain, start), _joints_of(chain, target)
        plain = _pedestal(start, target, chain.eccentric_mm, chain.eccentric_deg)
        if chain.base is None and chain.tool is None:
            return plain
        base = fixed_joint(_mount(chain.base or Mount(), Frame.FIXED, Frame.BASE))
        return np.concatenate(
            [base, plain, fixed_joint(_mount(chain.tool or Mount(), Frame.FLANGE, Frame.TABLE_TOP))]
        )
    if isinstance(chain, HexapodChain):
        # Its six axes are the Cartesian ones of a pedestal couch (igrt_motion::Hexapod).
        return _pedestal(start, target, 0.0, 0.0)
    if isinstance(chain, ArmChain):
        return _arm(chain, start, target)
    return _scara(chain, start, target)


def turntable_joints(
    chain: Chain, start: Sequence[float], target: Sequence[float]
) -> Joints | None:
    """fixed <- turntable; None for couches that have none. A hexapod's stands where its base couch does."""
    if isinstance(chain, PedestalChain):
        turn = turn_joint(_Z, _joints_of(chain, start)[3], _joints_of(chain, target)[3])
        if chain.base is None:
            return turn
        return np.concatenate([fixed_joint(_mount(chain.base, Frame.FIXED, Frame.BASE)), turn])
    if isinstance(chain, HexapodChain):
        return turn_joint(_Z, chain.base_start[3], chain.base_start[3])
    return None


def link_joints(chain: Chain, couch: Joints) -> dict[str, Joints]:
    """fixed <- link_n of a robot couch, from its `couch_joints`; empty for couches with Cartesian axes.

    A link's frame moves with axis n and stands at that joint. Arm: link 1 in the foot, link 2 at joint 2 with z along
    the upper arm, link 3 at joint 3 with z along the forearm, links 4, 5 and 6 at the wrist centre, link 6 with z
    towards the flange. SCARA: link 1 in the carriage, links 2, 3 and 4 at shoulder, elbow and wrist with x along the
    link, links 5 and 6 where pitch and roll turn.
    """
    if not isinstance(chain, ArmChain | ScaraChain):
        return {}
    ends = _ARM_LINK_ENDS if isinstance(chain, ArmChain) else _SCARA_LINK_ENDS
    return {name: couch[:end] for name, end in zip(LINK_FRAMES, ends, strict=True)}


def joints_of_both(still: Joints, by_row: Joints, by_column: Joints) -> Joints | None:
    """One motion of two axes from the motions of each; None if both turn the same joint.

    Two translations of one joint become two joints: offsets add in any order.
    """
    joints = []
    for base, row, column in zip(still, by_row, by_column, strict=True):
        with_row, with_column = not np.array_equal(base, row), not np.array_equal(base, column)
        if with_row and with_column and base[0] != 2.0:
            return None
        if with_row or not with_column:
            joints.append(row)
        if with_column:
            moved = column.copy()
            moved[0] += 2.0
            if with_row:
                moved[1:7] -= base[1:7]
            joints.append(moved)
    return np.stack(joints)


def _row(kind: float, numbers: Sequence[float] | Matrix) -> Joints:
    row = np.zeros((1, 13))
    row[0, 0] = kind
    row[0, 1 : 1 + len(numbers)] = numbers
    return row


def _pedestal(
    start: Sequence[float], target: Sequence[float], eccentric_mm: float, eccentric_deg: float
) -> Joints:
    # One array at once: this is built for every question asked of a room.
    e, t = eccentric_mm, eccentric_deg
    joints = np.zeros((6, 13))
    joints[:, :7] = (
        (1.0, *_Z, start[3], target[3], 0.0),
        (2.0, 0.0, e, 0.0, 0.0, e, 0.0),
        (1.0, *_Z, t, t, 0.0),
        (2.0, *start[:3], *target[:3]),
        (1.0, *_X, start[4], target[4], 0.0),
        (1.0, *_Y, start[5], target[5], 0.0),
    )
    return joints


def _arm(chain: ArmChain, start: Sequence[float], target: Sequence[float]) -> Joints:
    """The chain of Brandstötter et al. 2014: Rz(q1) Ry(q2) Ry(q3) Rz(q4) Ry(q5) Rz(q6) with offsets between."""
    maps = list(zip(chain.signs, chain.zeros_deg, start, target, strict=True))
    turns = [(sign * a + zero, sign * b + zero) for sign, zero, a, b in maps]
    (a1, a2, b), (c1, c2, c3, c4) = chain.offsets_mm, chain.lengths_mm
    stay = [(a1, b, c1), (0.0, 0.0, c2), (a2, 0.0, c3), (0.0, 0.0, c4)]
    shift = [slide_joint(offset, offset) for offset in stay]
    axes = (_Z, _Y, _Y, _Z, _Y, _Z)
    turn = [turn_joint(axis, *angles) for axis, angles in zip(axes, turns, strict=True)]
    base = fixed_joint(_mount(chain.base, Frame.FIXED, Frame.BASE))
    tool = fixed_joint(_mount(chain.tool, Frame.FLANGE, Frame.TABLE_TOP))
    middle = [turn[0], shift[0], turn[1], shift[1], turn[2], shift[2], *turn[3:], shift[3]]
    return np.concatenate([base, *middle, tool])


def _joints_of(chain: PedestalChain | ScaraChain, axes: Sequence[float]) -> Sequence[float]:
    """Joints of the model at axis positions: straight lines stay straight."""
    if chain.gains is None and chain.zeros is None:
        return axes
    maps = zip(chain.gains or (1.0,) * 6, axes, chain.zeros or (0.0,) * 6, strict=True)
    return tuple(gain * axis + zero for gain, axis, zero in maps)


def _scara(chain: ScaraChain, start: Sequence[float], target: Sequence[float]) -> Joints:
    start, target = _joints_of(chain, start), _joints_of(chain, target)
    upper, fore = (chain.upper_mm, 0.0, 0.0), (chain.fore_mm, 0.0, 0.0)
    return np.concatenate(
        [
            fixed_joint(_mount(chain.base, Frame.FIXED, Frame.BASE)),
            slide_joint((0.0, 0.0, start[0]), (0.0, 0.0, target[0])),
            turn_joint(_Z, start[1], target[1]),
            slide_joint(upper, upper),
            turn_joint(_Z, start[2], target[2]),
            slide_joint(fore, fore),
            turn_joint(_Z, start[3], target[3]),
            slide_joint(chain.wrist_mm, chain.wrist_mm),
            turn_joint(_X, start[4], target[4]),
            turn_joint(_Y, start[5], target[5]),
            fixed_joint(_mount(chain.tool, Frame.FLANGE, Frame.TABLE_TOP)),
        ]
    )


def _mount(mount: Mount, to_frame: Frame, from_frame: Frame) -> Matrix:
    return Pose.from_parameters(mount.parameters, to_frame, from_frame).matrix()
