"""Figures of positioning by markers. No peer is known that offers this as a library; the Kabsch fit of
triangulated points, which most departments use, stands beside ours as the textbook's answer to the same spots.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.bench.registry import Metric, Peer, Sampler
from igrt_hw.geometry import Correction, Frame, Pose, correction_to_pose
from igrt_hw.guidance.fiducials import FiducialResult, register_fiducials
from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.marker_motion import Fiducial, FiducialView, skew
from igrt_hw.guidance.markers import Blob
from igrt_hw.guidance.triangulation import project, triangulate

Floats = NDArray[np.float64]

SEED = 20265
NOISE_PX = 0.3
HALF_MM = 15.0
APART_MM = 10.0  # as seeds are implanted
MIGRATION_MM = 1.0
PANEL = PanelFormat(rows=768, cols=1024, pixel_pitch_mm=0.388)
GRID_MM = np.array(
    [[x, y, z] for x in (-60, 0, 60) for y in (-60, 0, 60) for z in (-60, 0, 60)], dtype=float
)
BATCH = 25
_TOWARDS = np.random.default_rng(SEED).normal(size=(400, 3))
DIRECTIONS = _TOWARDS / np.linalg.norm(_TOWARDS, axis=1, keepdims=True)


def _views() -> tuple[PanelGeometry, PanelGeometry]:
    first, second = (
        ImagerPose(source_angle_deg=angle, sad_mm=1000.0, sid_mm=1500.0).geometry(PANEL)
        for angle in (0.0, 90.0)
    )
    return first, second


def _cluster(rng: np.random.Generator, count: int) -> Floats:
    places: list[Floats] = []
    while len(places) < count:
        place = rng.uniform(-HALF_MM, HALF_MM, 3)
        if all(np.linalg.norm(place - other) >= APART_MM for other in places):
            places.append(place)
    return np.array(places)


class _Case:
    """Markers in a body that lies wrongly, and their spots with noise; `moved` names the marker that has moved."""

    def __init__(self, rng: np.random.Generator, count: int, migration_mm: float) -> None:
        self.places = _cluster(rng, count)
        self.needed = Correction.of(np.r_[rng.uniform(-10, 10, 3), rng.uniform(-3, 3, 3)].tolist())
        body, self.moved = self.places.copy(), ""
        if migration_mm:
            index, direction = int(rng.integers(count)), rng.normal(size=3)
            body[index] += migration_mm * direction / np.linalg.norm(direction)
            self.moved = str(index)
        lies = correction_to_pose(self.needed).inverse()
        self.geometries = _views()
        self.seen = [
            geometry.pixels_of(lies.apply(body)) + rng.normal(0.0, NOISE_PX, (count, 2))
            for geometry in self.geometries
        ]

    def register(self) -> FiducialResult:
        """What the markers ask for; the spots are not told apart."""
        cov = NOISE_PX**2 * np.eye(2)
        views = [
            FiducialView(g, tuple(Blob(c, r, cov, 1.0, 50.0, 2.0, 3.0, 0.0) for c, r in spots))
            for g, spots in zip(self.geometries, self.seen, strict=True)
        ]
        markers = [Fiducial(str(n), (x, y, z)) for n, (x, y, z) in enumerate(self.places)]
        return register_fiducials(markers, views, np.eye(4))

    def kabsch(self) -> Pose:
        """The correction by triangulated points and a rigid fit; told which spot is which marker."""
        cov = np.stack([NOISE_PX**2 * np.eye(2)] * 2)
        points = np.array(
            [
                triangulate(self.geometries, np.array(pair), cov).position_mm
                for pair in zip(*self.seen, strict=True)
            ]
        )
        a, b = points.mean(axis=0), self.places.mean(axis=0)
        u, _, vt = np.linalg.svd((points - a).T @ (self.places - b))
        turn = vt.T @ np.diag([1.0, 1.0, float(np.sign(np.linalg.det(vt.T @ u.T)))]) @ u.T
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, b - turn @ a
        return Pose.from_matrix(matrix, Frame.FIXED, Frame.FIXED)

    def best_names(self) -> tuple[bool, bool]:
        """Whether the likeliest marker is the one that moved: not knowing how far it moved, and told it was by 1 mm.

        Both are told which spot is which and where the body lies, and always give a name: no method does better.
        """
        body = correction_to_pose(self.needed).inverse().apply(self.places)
        _, slopes = project([g.matrix() for g in self.geometries], body)
        shown = np.stack([g.pixels_of(body) for g in self.geometries])
        missed = (np.stack(self.seen) - shown).reshape(-1) / NOISE_PX
        slopes = slopes / NOISE_PX
        arms = body - body.mean(axis=0)
        motion = np.concatenate([slopes, -slopes @ skew(arms)], axis=3).reshape(-1, 6)
        basis, _ = np.linalg.qr(motion)
        free, known = [], []
        for marker in range(len(body)):
            alone = np.zeros_like(slopes)
            alone[:, marker] = slopes[:, marker]
            by_shift = alone.reshape(-1, 3)
            by_shift = by_shift - basis @ (basis.T @ by_shift)
            information, pull = by_shift.T @ by_shift, by_shift.T @ missed
            free.append(pull @ np.linalg.solve(information, pull))
            shifts = MIGRATION_MM * DIRECTIONS
            bent = np.einsum("ni,ij,nj->n", shifts, information, shifts)
            exponents = shifts @ pull - 0.5 * bent
            known.append(exponents.max() + np.log(np.exp(exponents - exponents.max()).mean()))
        return (
            str(int(np.argmax(free))) == self.moved,
            str(int(np.argmax(known))) == self.moved,
        )

    def miss_mm(self, correction: Pose) -> float:
        """Mean distance on the grid of +-60 mm."""
        wrong = correction @ correction_to_pose(self.needed).inverse()
        return float(np.linalg.norm(wrong.apply(GRID_MM) - GRID_MM, axis=1).mean())


@contextmanager
def _ours() -> Iterator[Sampler]:
    rng = np.random.default_rng(SEED)

    def sample() -> float:
        while True:
            case = _Case(rng, 4, 0.0)
            found = case.register()
            # A refusal and a shift alone have no error of six degrees of freedom to measure.
            if found.correction is not None and found.rotations_reported:
                return case.miss_mm(correction_to_pose(found.correction))

    yield sample


@contextmanager
def _kabsch() -> Iterator[Sampler]:
    rng = np.random.default_rng(SEED)
    yield lambda: (case := _Case(rng, 4, 0.0)).miss_mm(case.kabsch())


@contextmanager
def _register_ms() -> Iterator[Sampler]:
    case = _Case(np.random.default_rng(SEED), 4, 0.0)

    def sample() -> float:
        begin = time.perf_counter()
        case.register()
        return (time.perf_counter() - begin) * 1e3

    yield sample


@contextmanager
def _share(of: Callable[[_Case, FiducialResult], bool | None]) -> Iterator[Sampler]:
    rng = np.random.default_rng(SEED)

    def sample() -> float:
        told = []
        for _ in range(BATCH):
            case = _Case(rng, 4, MIGRATION_MM)
            told.append(of(case, case.register()))
        counted = [answer for answer in told if answer is not None]
        return 100.0 * sum(counted) / max(len(counted), 1)

    yield sample


@contextmanager
def _best(told: int) -> Iterator[Sampler]:
    rng = np.random.default_rng(SEED)

    def sample() -> float:
        named = [_Case(rng, 4, MIGRATION_MM).best_names()[told] for _ in range(BATCH)]
        return 100.0 * sum(named) / BATCH

    yield sample


METRICS = (
    Metric(
        "fiducial_mtre_mm",
        "mm",
        "lower",
        "mTRE on 27 points of +-60 mm: four markers within +-15 mm, 10 mm apart, two views, 0.3 px of 0.388 mm",
        _ours,
        samples=200,
        peers=(Peer("Kabsch of triangulated points", "numpy", _kabsch),),
    ),
    Metric(
        "fiducial_register_ms",
        "ms",
        "lower",
        "arrangement, motion, migration test of four markers in two views",
        _register_ms,
    ),
    Metric(
        "fiducial_migration_detected_percent",
        "%",
        "higher",
        f"1 mm of migration of one of four markers detected, 0.3 px; batches of {BATCH}",
        lambda: _share(lambda _, found: found.migration),
        samples=6,
    ),
    Metric(
        "fiducial_migration_named_percent",
        "%",
        "higher",
        "of those that were detected, the right marker named; the others ask the operator",
        lambda: _share(lambda case, found: found.moved == case.moved if found.migration else None),
        samples=6,
        peers=(
            Peer("likeliest marker, always named", "numpy", lambda: _best(0)),
            Peer("the same, told that it moved by 1 mm", "numpy", lambda: _best(1)),
        ),
    ),
    Metric(
        "fiducial_named_rightly_percent",
        "%",
        "higher",
        "of the names that were given, the right ones",
        lambda: _share(
            lambda case, found: found.moved == case.moved if found.moved is not None else None
        ),
        samples=6,
    ),
)
