"""X, Y, Z, U, V, W of a GCS hexapod as axes of the couch, and back.

The controller turns about axes that move with the platform, in the order U, V, W (manuals of PI's hexapods H-820,
MS207E, and H-850, MS202E, section "Motion"): platform = T(X, Y, Z) Rx(U) Ry(V) Rz(W). The couch of
`docs/conventions.md` is Rz . T . Rx . Ry with the turntable at the isocentre. Two orders of rotation are not one
number renamed: everything goes through the pose.

How the platform is mounted: X to the right of someone facing the gantry, Y towards the gantry, Z up, its origin the
table-top origin; at zero it stands where the base couch holds it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import Couch, Pose
from igrt_hw.geometry import Frame

Matrix = NDArray[np.float64]


def platform_matrix(numbers: Sequence[float]) -> Matrix:
    """(4, 4): T(X, Y, Z) Rx(U) Ry(V) Rz(W), millimetres and degrees."""
    x, y, z, *angles = numbers
    (cu, su), (cv, sv), (cw, sw) = (
        (math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in angles
    )
    rx = np.array([[1, 0, 0], [0, cu, -su], [0, su, cu]])
    ry = np.array([[cv, 0, sv], [0, 1, 0], [-sv, 0, cv]])
    rz = np.array([[cw, -sw, 0], [sw, cw, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = rx @ ry @ rz
    matrix[:3, 3] = (x, y, z)
    return matrix


def platform_numbers(matrix: Matrix) -> tuple[float, ...]:
    """X, Y, Z, U, V, W of a pose (inverse of `platform_matrix`); V within 90 degrees."""
    r = matrix[:3, :3]
    u = math.degrees(math.atan2(-r[1, 2], r[2, 2]))
    v = math.degrees(math.asin(min(1.0, max(-1.0, r[0, 2]))))
    w = math.degrees(math.atan2(-r[0, 1], r[0, 0]))
    x, y, z = (float(value) for value in matrix[:3, 3])
    return (x, y, z, u, v, w)


class PlatformFrame:
    """A platform on a base couch that stands still.

    couch: the couch of the machine description. base_axes: its six axes (mm, degrees) with the platform at zero.
    """

    def __init__(self, couch: Couch, base_axes: tuple[float, ...]) -> None:
        self._couch = couch
        self._near = base_axes
        self._base: Matrix = np.asarray(couch.forward(base_axes).matrix())
        self._base_inverse: Matrix = np.linalg.inv(self._base).astype(np.float64)

    def to_controller(self, axes: Sequence[float]) -> tuple[float, ...]:
        """Couch axes (mm, degrees) as X, Y, Z, U, V, W."""
        pose: Matrix = np.asarray(self._couch.forward(tuple(axes)).matrix())
        return platform_numbers(self._base_inverse @ pose)

    def to_axes(self, numbers: Sequence[float]) -> tuple[float, ...]:
        """X, Y, Z, U, V, W as couch axes, the branch nearest to the base position; limits are not applied."""
        pose = Pose.from_matrix(self._base @ platform_matrix(numbers), Frame.FIXED, Frame.TABLE_TOP)
        return self._couch.nearest_branch(pose, self._near)
