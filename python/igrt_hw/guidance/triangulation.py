"""Points from several views: epipolar lines, triangulation, and how places follow points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.refusal import InputRefused

Floats = NDArray[np.float64]

NEWTON_STEPS_MAX: Final = 12
CONDITION_MAX: Final = 1e10


@dataclass(frozen=True, slots=True, eq=False)
class Triangulated:
    """A point from its places in several views.

    `position_mm` (3,) in the fixed frame with `covariance_mm2` (3, 3); `residuals_px` (views, 2) seen minus
    reprojected; `chi_square` of them with `2 views - 3` degrees of freedom.
    """

    position_mm: Floats
    covariance_mm2: Floats
    residuals_px: Floats
    chi_square: float


def epipolar_distance_px(
    first: PanelGeometry,
    place: tuple[float, float],
    second: PanelGeometry,
    other: tuple[float, float],
) -> float:
    """Distance in the second view, pixels, of a place there from the epipolar line of a place in the first."""
    fundamental = fundamental_matrix(first, second)
    line = fundamental @ np.array([*place, 1.0])
    return float(abs(line @ np.array([*other, 1.0])) / math.hypot(line[0], line[1]))


def triangulate(
    geometries: Sequence[PanelGeometry], places: ArrayLike, covariances_px2: ArrayLike
) -> Triangulated:
    """The point whose reprojection misses its places (views, 2) least, weighted by their covariances (views, 2, 2).

    Raises:
        InputRefused: fewer than two views, or views whose rays are parallel.
    """
    seen = np.asarray(places, dtype=np.float64)
    covariances = np.asarray(covariances_px2, dtype=np.float64)
    if len(geometries) < 2 or seen.shape != (len(geometries), 2):
        raise InputRefused("a point is triangulated from two views or more, one place in each")
    matrices = [geometry.matrix() for geometry in geometries]
    point = linear_point(matrices, seen)
    white = np.stack([np.linalg.inv(np.linalg.cholesky(c)) for c in covariances])
    normal = np.eye(3)
    for _ in range(NEWTON_STEPS_MAX):
        shown, slopes = project(matrices, point[None, :])
        residual = np.einsum("vij,vj->vi", white, seen - shown[:, 0])
        jacobian = np.einsum("vij,vjk->vik", white, slopes[:, 0]).reshape(-1, 3)
        normal = jacobian.T @ jacobian
        step = np.linalg.solve(normal, jacobian.T @ residual.ravel())
        point = point + step
        if float(np.abs(step).max()) < 1e-7:
            break
    if np.linalg.cond(normal) > CONDITION_MAX:
        raise InputRefused(
            "the rays of the views are all but parallel: take views at least some degrees apart"
        )
    residuals = seen - project(matrices, point[None, :])[0][:, 0]
    chi = float((np.einsum("vij,vj->vi", white, residuals) ** 2).sum())
    return Triangulated(point, np.asarray(np.linalg.inv(normal), np.float64), residuals, chi)


def project(matrices: Sequence[Floats], points: Floats) -> tuple[Floats, Floats]:
    """Places (views, n, 2) and their derivatives by the points (views, n, 2, 3)."""
    places, slopes = [], []
    for matrix in matrices:
        h = points @ matrix[:, :3].T + matrix[:, 3]
        uv = h[:, :2] / h[:, 2:]
        places.append(uv)
        slopes.append(
            (matrix[None, :2, :3] - uv[:, :, None] * matrix[None, 2:, :3]) / h[:, 2, None, None]
        )
    return np.stack(places), np.stack(slopes)


def linear_point(matrices: Sequence[Floats], places: Floats) -> Floats:
    """Where the rays pass each other nearest, by linear equations."""
    rows, right = [], []
    for matrix, (u, v) in zip(matrices, places, strict=True):
        for line in (matrix[0] - u * matrix[2], matrix[1] - v * matrix[2]):
            scale = np.linalg.norm(line[:3])
            rows.append(line[:3] / scale)
            right.append(-line[3] / scale)
    return np.asarray(np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0])


def fundamental_matrix(first: PanelGeometry, second: PanelGeometry) -> Floats:
    """F (3, 3): a place of the first view to its line in the second."""
    a, b = first.matrix(), second.matrix()
    epipole = b @ np.array([*first.source_mm, 1.0])
    cross = np.array(
        [
            [0.0, -epipole[2], epipole[1]],
            [epipole[2], 0.0, -epipole[0]],
            [-epipole[1], epipole[0], 0.0],
        ]
    )
    return np.asarray(cross @ b @ np.linalg.pinv(a), dtype=np.float64)
