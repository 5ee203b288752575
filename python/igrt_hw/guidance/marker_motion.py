"""One rigid motion for all spots of all markers: least squares of reprojection, with the covariance of
everything that errs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.geometric_calibration import pose_derivatives
from igrt_hw.guidance.markers import Blob
from igrt_hw.guidance.triangulation import project

Floats = NDArray[np.float64]

NEWTON_STEPS_MAX: Final = 12
# A rotation of this size is expected at most, as a standard deviation: it decides nothing where three markers
# span 10 mm, and keeps the fit finite where they do not.
ROTATION_PRIOR_DEG: Final = 10.0

Seen = dict[int, int]
"""View -> index of the spot in it."""


@dataclass(frozen=True, slots=True)
class Fiducial:
    """A marker as the CT shows it: `position_mm` in the IEC patient frame, and how well it is known."""

    name: str
    position_mm: tuple[float, float, float]
    sigma_mm: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class FiducialView:
    """Spots of one view. `geometry_covariance` (9, 9) is that of `FlexMap.covariance_at`, or None."""

    geometry: PanelGeometry
    blobs: tuple[Blob, ...]
    geometry_covariance: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MotionFit:
    """`pose` (4, 4) fixed <- patient; `covariance` (6, 6) of a small motion of it: shift mm, turn about the
    pivot, radians."""

    pose: Floats
    covariance: Floats
    chi_square: float
    freedom: float
    residuals_px: Floats
    pivot: Floats


@dataclass(frozen=True, slots=True, eq=False)
class MotionProblem:
    """All spots of all recognised markers, in one list."""

    fiducials: tuple[Fiducial, ...]
    views: tuple[FiducialView, ...]
    matrices: tuple[Floats, ...]
    marker: NDArray[np.int64]
    view: NDArray[np.int64]
    places: Floats
    blob_covariance: Floats
    start: Floats

    @classmethod
    def of(
        cls,
        fiducials: Sequence[Fiducial],
        views: Sequence[FiducialView],
        arrangement: dict[int, Seen],
        nominal: Floats,
    ) -> MotionProblem:
        """All spots of the recognised markers: marker -> view -> index of the spot."""
        rows = [
            (marker, n, views[n].blobs[k])
            for marker in sorted(arrangement)
            for n, k in sorted(arrangement[marker].items())
        ]
        return cls(
            fiducials=tuple(fiducials),
            views=tuple(views),
            matrices=tuple(view.geometry.matrix() for view in views),
            marker=np.array([row[0] for row in rows]),
            view=np.array([row[1] for row in rows]),
            places=np.array([row[2].place for row in rows]),
            blob_covariance=np.stack([row[2].covariance_px2 for row in rows]),
            start=nominal,
        )

    def markers(self) -> list[int]:
        """Recognised markers."""
        return sorted({int(m) for m in self.marker})

    def without(self, marker: int) -> MotionProblem:
        """The same without one marker."""
        keep = self.marker != marker
        return MotionProblem(
            self.fiducials,
            self.views,
            self.matrices,
            self.marker[keep],
            self.view[keep],
            self.places[keep],
            self.blob_covariance[keep],
            self.start,
        )

    def fit(self, start: Floats | None = None) -> MotionFit:
        """Gauss-Newton from a pose over six motions, rotations weakly held at the nominal ones."""
        pose = self.start if start is None else start
        local = places_of(self.fiducials)[self.marker]
        white = self._whitening(pose, local)
        prior = np.zeros((3, 6))
        prior[:, 3:] = np.eye(3) / math.radians(ROTATION_PRIOR_DEG)
        normal = np.eye(6)
        pivot = carried(pose, local).mean(axis=0)
        for _ in range(NEWTON_STEPS_MAX):
            points = carried(pose, local)
            pivot = points.mean(axis=0)
            shown, slopes = self._shown(points)
            arms = points - pivot
            by_motion = np.concatenate([slopes, -slopes @ skew(arms)], axis=2).reshape(-1, 6)
            jacobian = np.r_[white @ by_motion, prior]
            turned = turn_of(pose[:3, :3] @ self.start[:3, :3].T)
            residual = np.r_[white @ (self.places - shown).ravel(), -prior[:, 3:] @ turned]
            normal = jacobian.T @ jacobian
            step = np.linalg.solve(normal, jacobian.T @ residual)
            pose = small_motion(step, pivot) @ pose
            if float(np.abs(step).max()) < 1e-8:
                break
        points = carried(pose, local)
        missed = self.places - self._shown(points)[0]
        turned = turn_of(pose[:3, :3] @ self.start[:3, :3].T)
        chi = float(((white @ missed.ravel()) ** 2).sum() + ((prior[:, 3:] @ turned) ** 2).sum())
        covariance = np.asarray(np.linalg.inv(normal), dtype=np.float64)
        # A rotation that the spots determine costs one degree of freedom, one that only the prior holds costs none.
        open_rotations = float(np.trace(covariance[3:, 3:])) / math.radians(ROTATION_PRIOR_DEG) ** 2
        freedom = 2 * len(self.places) - 6 + open_rotations
        return MotionFit(pose, covariance, chi, freedom, missed, pivot)

    def _shown(self, points: Floats) -> tuple[Floats, Floats]:
        shown, slopes = np.zeros((len(points), 2)), np.zeros((len(points), 2, 3))
        for n, matrix in enumerate(self.matrices):
            of = self.view == n
            places, by_point = project([matrix], points[of])
            shown[of], slopes[of] = places[0], by_point[0]
        return shown, slopes

    def _whitening(self, pose: Floats, local: Floats) -> Floats:
        """W with W C W' = 1: noise of the spots, places in the CT, geometry of each view."""
        count = len(self.places)
        covariance = np.zeros((2 * count, 2 * count))
        for k in range(count):
            covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = self.blob_covariance[k]
        points = carried(pose, local)
        _, slopes = self._shown(points)
        for marker in self.markers():
            sigma = self.fiducials[marker].sigma_mm
            of = np.flatnonzero(self.marker == marker)
            rows = np.stack([2 * of, 2 * of + 1], axis=1).ravel()
            reach = slopes[of].reshape(-1, 3)
            covariance[np.ix_(rows, rows)] += sigma**2 * reach @ reach.T
        for n, view in enumerate(self.views):
            of = np.flatnonzero(self.view == n)
            if view.geometry_covariance is None or not len(of):
                continue
            rows = np.stack([2 * of, 2 * of + 1], axis=1).ravel()
            reach = _by_geometry(view.geometry, points[of])
            covariance[np.ix_(rows, rows)] += reach @ view.geometry_covariance @ reach.T
        return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)))


def places_of(fiducials: Sequence[Fiducial]) -> Floats:
    """Places (n, 3) in the IEC patient frame, mm."""
    return np.array([f.position_mm for f in fiducials], dtype=np.float64)


def carried(matrix: Floats, points: Floats) -> Floats:
    """Points (n, 3) through a rigid (4, 4)."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _by_geometry(geometry: PanelGeometry, points: Floats) -> Floats:
    """How the places follow the nine numbers of the imager's pose: (2 n, 9)."""
    return pose_derivatives(geometry, points).reshape(-1, 9)


def skew(points: Floats) -> Floats:
    """(n, 3, 3) with skew(p) w = p x w."""
    x, y, z = points.T
    zero = np.zeros_like(x)
    return np.stack(
        [
            np.stack([zero, -z, y], axis=1),
            np.stack([z, zero, -x], axis=1),
            np.stack([-y, x, zero], axis=1),
        ],
        axis=1,
    )


def turn(vector: Floats) -> Floats:
    """Rotation (3, 3) of a rotation vector, radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    k = skew(vector[None, :])[0]
    if angle < 1e-12:
        return np.asarray(np.eye(3) + k, dtype=np.float64)
    return np.asarray(
        np.eye(3) + math.sin(angle) / angle * k + (1.0 - math.cos(angle)) / angle**2 * (k @ k)
    )


def turn_of(rotation: Floats) -> Floats:
    """Rotation vector (3,), radians, of a rotation below 180 degrees."""
    cosine = float(np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0))
    angle = math.acos(cosine)
    axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    if angle < 1e-7:
        return np.asarray(axis / 2.0)
    return np.asarray(axis * angle / (2.0 * math.sin(angle)))


def small_motion(step: Floats, pivot: Floats) -> Floats:
    """Rigid (4, 4): a turn about the pivot by step[3:], then the shift step[:3]."""
    out = np.eye(4)
    out[:3, :3] = turn(step[3:])
    out[:3, 3] = step[:3] + pivot - out[:3, :3] @ pivot
    return out
