"""Corrections are composed with the pose of the couch and solved back to axes, never added to them."""

from collections.abc import Sequence

from igrt_hw._core import Couch, Pose
from igrt_hw.geometry.axes import Axes6, AxisValues, Correction
from igrt_hw.geometry.frame import Frame


def correction_to_pose(correction: Correction) -> Pose:
    """The transform of the fixed frame that a correction is: T . Rz . Rx . Ry about the isocentre."""
    return Pose.from_parameters(correction.values(), Frame.FIXED, Frame.FIXED)


def pose_to_correction(pose: Pose) -> Correction:
    """The six numbers of a transform of the fixed frame, |pitch| <= 90 degrees.

    Raises:
        FrameError: the pose is not fixed <- fixed.
        SingularError: a pitch of 90 degrees, where rotation and roll cannot be told apart.
    """
    pose.expect_frames(Frame.FIXED, Frame.FIXED)
    return Correction.of(pose.parameters())


def compose_correction(
    couch: Couch,
    axes_now: Sequence[float] | Axes6,
    correction: Correction,
    *,
    within_limits: bool = True,
) -> AxisValues:
    """Axis targets after a correction: the branch of C . M(axes_now) nearest to where the couch stands.

    Args:
        couch: the couch, any family.
        axes_now: its axes at the instant of imaging, in the order of `couch.axis_names`, mm and degrees.
        correction: C, in the fixed frame about the isocentre.
        within_limits: False gives the targets whatever the limits say, to explain a refusal; never to move.

    Returns:
        Six axis values in the order of `couch.axis_names`, mm and degrees.

    Raises:
        LimitError: every branch is outside the limits; the message names the axes and by how much.
        UnreachableError: no axis values reach the pose.
        SingularError: the pose is singular for this couch.
        GeometryError: numbers that cannot be axis values.
    """
    now = tuple(axes_now)
    target = correction_to_pose(correction) @ couch.forward(now)
    if within_limits:
        return couch.inverse_nearest(target, now)
    return couch.nearest_branch(target, now)


def compose_correction_branches(
    couch: Couch, axes_now: Sequence[float] | Axes6, correction: Correction
) -> list[AxisValues]:
    """Every axis set within the limits that puts the patient where the correction asks.

    Raises:
        As `compose_correction`.
    """
    return couch.inverse(correction_to_pose(correction) @ couch.forward(tuple(axes_now)))


def correction_between(
    couch: Couch, axes_from: Sequence[float] | Axes6, axes_to: Sequence[float] | Axes6
) -> Correction:
    """The correction that a move between two axis positions performs: C with C . M(from) = M(to)."""
    before, after = couch.forward(tuple(axes_from)), couch.forward(tuple(axes_to))
    return pose_to_correction(after @ before.inverse())
