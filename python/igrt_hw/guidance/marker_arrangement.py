"""Which spot is which marker: points on which views agree, and the arrangement of the markers among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from igrt_hw.guidance.marker_motion import (
    Fiducial,
    FiducialView,
    MotionProblem,
    Seen,
    carried,
    places_of,
)
from igrt_hw.guidance.registration import Reason
from igrt_hw.guidance.triangulation import fundamental_matrix, linear_point, project

Floats = NDArray[np.float64]

# Of the arrangement in the first guess: turned by 12 degrees at 30 mm, and a marker that moved.
FIRST_REACH_MM: Final = 9.0
# Nearer than this to where the arrangement says, a point is that marker even if it has moved in the body.
MARKER_REACH_MM: Final = 5.0
# Distance from the epipolar line, in standard deviations and in pixels for what the geometry does not know.
EPIPOLAR_SIGMAS: Final = 5.0
EPIPOLAR_SLACK_PX: Final = 1.5
ARRANGEMENT_RIVAL_MM: Final = 3.0
ARRANGEMENTS_MAX: Final = 12
# Another arrangement is a rival unless it fits worse by this much of chi-square, or by this share of the best one's.
RIVAL_GAIN_MIN: Final = 25.0
RIVAL_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    point: Floats
    seen: Seen


def _candidates(views: Sequence[FiducialView], about: Floats, reach_mm: float) -> list[_Candidate]:
    """Points on which the spots of two views agree, with the spots of further views that fit them."""
    matrices = [view.geometry.matrix() for view in views]
    out: list[_Candidate] = []
    for a, b in combinations(range(len(views)), 2):
        fundamental = fundamental_matrix(views[a].geometry, views[b].geometry)
        for i, first in enumerate(views[a].blobs):
            line = fundamental @ np.array([first.col, first.row, 1.0])
            norm = math.hypot(line[0], line[1])
            for j, second in enumerate(views[b].blobs):
                off = abs(line @ np.array([second.col, second.row, 1.0])) / norm
                sigma = math.hypot(first.sigma_px, second.sigma_px)
                if off > EPIPOLAR_SIGMAS * sigma + EPIPOLAR_SLACK_PX:
                    continue
                point = linear_point(
                    [matrices[a], matrices[b]], np.array([first.place, second.place])
                )
                if np.linalg.norm(point - about) <= reach_mm:
                    out.append(_Candidate(point, {a: i, b: j}))
    return [_with_further(candidate, views, matrices) for candidate in out]


def _with_further(
    candidate: _Candidate, views: Sequence[FiducialView], matrices: Sequence[Floats]
) -> _Candidate:
    seen = dict(candidate.seen)
    for n, view in enumerate(views):
        if n in seen or not view.blobs:
            continue
        shown = project([matrices[n]], candidate.point[None, :])[0][0, 0]
        away = [math.hypot(b.col - shown[0], b.row - shown[1]) for b in view.blobs]
        nearest = int(np.argmin(away))
        if away[nearest] <= EPIPOLAR_SIGMAS * view.blobs[nearest].sigma_px + EPIPOLAR_SLACK_PX:
            seen[n] = nearest
    return _Candidate(candidate.point, seen)


def arrange(
    fiducials: Sequence[Fiducial], views: Sequence[FiducialView], nominal: Floats
) -> dict[int, Seen] | Reason:
    """Marker -> its spots: the motion of the arrangement that most points agree with."""
    expected = carried(nominal, places_of(fiducials))
    centre = expected.mean(axis=0)
    radius = float(np.linalg.norm(expected - centre, axis=1).max())
    candidates = _candidates(views, centre, radius + 60.0)
    if not candidates:
        return Reason(
            code="no_markers",
            sentence="no spot of one view lies on the epipolar line of a spot of another: no marker was seen twice",
        )
    points = np.array([candidate.point for candidate in candidates])
    found: list[tuple[int, float, dict[int, int]]] = []
    for k in range(len(expected)):
        for start in points:
            guess = _agreeing(expected + (start - expected[k]), expected, points, candidates)
            if guess:
                found.append(guess)
    found.sort(key=lambda g: (-g[0], g[1]))
    if not found:
        return Reason(code="no_markers", sentence="no marker of the plan was recognised")
    needed = min(len(fiducials), 2) if len(fiducials) < 4 else 3
    if found[0][0] < needed:
        return Reason(
            code="too_few_markers",
            sentence=f"{found[0][0]} of {len(fiducials)} markers were recognised, {needed} are needed",
        )
    return _clearest(found, fiducials, views, nominal, candidates)


def _clearest(
    found: Sequence[tuple[int, float, dict[int, int]]],
    fiducials: Sequence[Fiducial],
    views: Sequence[FiducialView],
    nominal: Floats,
    candidates: Sequence[_Candidate],
) -> dict[int, Seen] | Reason:
    """The arrangement that fits the spots best, if no other fits them nearly as well."""
    distinct: dict[tuple[tuple[int, int], ...], dict[int, int]] = {}
    for count, _, chosen in found:
        if count == found[0][0] and len(distinct) < ARRANGEMENTS_MAX:
            distinct.setdefault(tuple(sorted(chosen.items())), chosen)
    fits = []
    for chosen in distinct.values():
        arrangement = {marker: dict(candidates[c].seen) for marker, c in chosen.items()}
        fit = MotionProblem.of(fiducials, views, arrangement, nominal).fit()
        fits.append((fit.chi_square, fit.pose, arrangement))
    fits.sort(key=lambda one: one[0])
    best = fits[0]
    places = places_of(fiducials)
    for chi, pose, _ in fits[1:]:
        if chi > best[0] + max(RIVAL_GAIN_MIN, RIVAL_SHARE * best[0]):
            break
        apart = float(
            np.linalg.norm(carried(pose, places) - carried(best[1], places), axis=1).max()
        )
        if apart > ARRANGEMENT_RIVAL_MM:
            return Reason(
                code="ambiguous_markers",
                sentence=f"the spots fit the markers in two ways, {apart:.0f} mm apart: choose the spots by hand, or "
                "take a third view",
            )
    return best[2]


def _agreeing(
    places: Floats, expected: Floats, points: Floats, candidates: Sequence[_Candidate]
) -> tuple[int, float, dict[int, int]] | None:
    """Markers and candidates that agree with a guess, refined by a rigid fit: count, misfit, marker -> candidate."""
    chosen = _nearest(places, points, candidates, FIRST_REACH_MM)
    for _ in range(3):
        if not chosen:
            return None
        markers = sorted(chosen)
        fitted = _rigid(expected[markers], points[[chosen[m] for m in markers]])
        chosen = _nearest(carried(fitted, expected), points, candidates, MARKER_REACH_MM)
    if not chosen:
        return None
    markers = sorted(chosen)
    off = carried(fitted, expected[markers]) - points[[chosen[m] for m in markers]]
    return len(chosen), float((off**2).sum()), chosen


def _nearest(
    places: Floats, points: Floats, candidates: Sequence[_Candidate], reach_mm: float
) -> dict[int, int]:
    away = np.linalg.norm(places[:, None, :] - points[None, :, :], axis=2)
    out: dict[int, int] = {}
    used: set[tuple[int, int]] = set()
    for flat in np.argsort(away, axis=None):
        marker, candidate = divmod(int(flat), len(points))
        if away[marker, candidate] > reach_mm:
            break
        spots = set(candidates[candidate].seen.items())
        if marker in out or spots & used:
            continue
        out[marker] = candidate
        used |= spots
    return out


def _rigid(source: Floats, target: Floats) -> Floats:
    """Rigid (4, 4) that takes points to points best (Kabsch); a shift alone for fewer than three."""
    out = np.eye(4)
    a, b = source.mean(axis=0), target.mean(axis=0)
    if len(source) >= 3:
        u, _, vt = np.linalg.svd((source - a).T @ (target - b))
        flip = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(vt.T @ u.T)))])
        out[:3, :3] = vt.T @ flip @ u.T
    out[:3, 3] = b - out[:3, :3] @ a
    return out
