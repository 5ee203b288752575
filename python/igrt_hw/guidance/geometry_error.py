"""What an error of the imager's calibrated geometry does to a registration: it feigns a motion of the patient.

An image shows the patient through the true geometry and is explained through the calibrated one. The registration
then moves the patient to where the two differ least, which is linear for small errors: with J how the pixels of points
in the patient follow a small motion, and G how they follow the nine numbers of a view, the motion is
-(sum J'J)^-1 sum J'G d of the errors d. Points spread evenly over a cube about the isocentre stand for the anatomy that
a registration goes by, which is an approximation.

The errors of different views count as independent. What is common to them, as a ball phantom that stood off the
isocentre (`PhantomPlace.sigma_mm`), is by that taken as up to 1.4 times too small along the axis that both views see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.geometric_calibration import pose_derivatives
from igrt_hw.guidance.refusal import InputRefused

Floats = NDArray[np.float64]

REACH_MM: Final = 60.0
_STEPS: Final = np.linspace(-REACH_MM, REACH_MM, 4)
_POINTS: Final = np.array([[x, y, z] for x in _STEPS for y in _STEPS for z in _STEPS])
_STEP_MM: Final = 0.1
_STEP_RAD: Final = 1e-3


def feigned_motion(
    views: Sequence[tuple[PanelGeometry, Floats | None]], free: Sequence[bool]
) -> Floats:
    """Covariance (6, 6) of the small motion, mm and radians, fixed frame about the isocentre.

    Args:
        views: each geometry with the covariance (9, 9) of its numbers (`POSE_NUMBERS`); None: nothing is told of it.
        free: which of lateral, longitudinal, vertical and the turns about X, Y and Z the registration may move.

    Raises:
        InputRefused: a covariance of another shape, or one that is none.
    """
    moving = np.array(free, dtype=np.bool_)
    systems = [_by_motion(geometry)[:, moving] for geometry, _ in views]
    normal = sum((j.T @ j for j in systems), np.zeros((int(moving.sum()),) * 2))
    # One view leaves its depth open: what the geometry does there is left to the images' own covariance.
    solve = np.linalg.pinv(normal, rcond=1e-7, hermitian=True)
    part = np.zeros_like(normal)
    for (geometry, covariance), by_motion in zip(views, systems, strict=True):
        if covariance is None:
            continue
        by_number = pose_derivatives(geometry, _POINTS).reshape(-1, 9)
        follows = solve @ by_motion.T @ by_number
        part += follows @ _sound(covariance) @ follows.T
    out = np.zeros((6, 6))
    out[np.ix_(moving, moving)] = 0.5 * (part + part.T)
    return out


def _by_motion(geometry: PanelGeometry) -> Floats:
    """(2 n, 6): pixels per mm and per radian, central differences."""
    columns = []
    for axis in range(6):
        unit = np.eye(3)[axis % 3]
        shift = np.broadcast_to(unit, _POINTS.shape) if axis < 3 else np.cross(unit, _POINTS)
        step = _STEP_MM if axis < 3 else _STEP_RAD
        ahead = geometry.pixels_of(_POINTS + step * shift)
        behind = geometry.pixels_of(_POINTS - step * shift)
        columns.append((ahead - behind) / (2.0 * step))
    return np.stack(columns, axis=2).reshape(-1, 6)


def _sound(covariance: Floats) -> Floats:
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.shape != (9, 9) or not np.isfinite(matrix).all() or (np.diag(matrix) < 0.0).any():
        raise InputRefused(
            f"the covariance of a view's geometry has shape {matrix.shape} or is none: (9, 9) in mm and degrees is "
            "needed, as a flex map gives it"
        )
    return matrix
