"""What an angle is worth in millimetres, and what a correction leaves behind at a distance."""

import math

from igrt_hw._core import Pose


def leverage_mm(angle_deg: float, distance_mm: float) -> float:
    """How far a point at `distance_mm` from the axis moves when turned by `angle_deg`: 2 r sin(|a| / 2), mm."""
    return 2.0 * abs(distance_mm) * abs(math.sin(math.radians(angle_deg) / 2.0))


def residual_mm(residual: Pose, distance_mm: float) -> float:
    """Largest displacement (mm) of any point within `distance_mm` of the origin under a residual transform.

    An upper bound: the displacement of the origin plus the leverage of the rotation angle.
    """
    moved_mm, turned_deg = residual.deviation(Pose.identity(residual.to_frame, residual.from_frame))
    return moved_mm + leverage_mm(turned_deg, distance_mm)
