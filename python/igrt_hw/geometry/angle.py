"""Wrapping of angles, which happens before any comparison."""

import math


def wrap_deg(angle_deg: float) -> float:
    """An angle in degrees wrapped to (-180, 180]; a whole number of turns away from the argument.

    Raises:
        ValueError: the angle is not finite.
    """
    if not math.isfinite(angle_deg):
        raise ValueError(f"angle {angle_deg} is not finite; it cannot be wrapped")
    if -180.0 < angle_deg <= 180.0:
        return angle_deg
    folded = math.fmod(angle_deg, 360.0)
    if folded > 180.0:
        return folded - 360.0
    return folded + 360.0 if folded <= -180.0 else folded
