"""Seeded trials of marker positioning: markers, a setup error, and spots with noise; the truth beside them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.fiducials import FiducialResult, register_fiducials
from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.marker_motion import Fiducial, FiducialView
from igrt_hw.guidance.markers import Blob

Floats = NDArray[np.float64]
PANEL = PanelFormat(rows=768, cols=1024, pixel_pitch_mm=0.388)
# A regular grid of +-60 mm, 27 points.
GRID_MM = np.array(
    [[x, y, z] for x in (-60, 0, 60) for y in (-60, 0, 60) for z in (-60, 0, 60)], dtype=float
)


def views_at(*angles: float) -> list[PanelGeometry]:
    return [
        ImagerPose(source_angle_deg=a, sad_mm=1000.0, sid_mm=1500.0).geometry(PANEL) for a in angles
    ]


def spot(col: float, row: float, sigma: float) -> Blob:
    return Blob(col, row, sigma**2 * np.eye(2), 1.0, 50.0, 2.0, 3.0, 0.0)


def cluster(rng: np.random.Generator, count: int, half_mm: float, apart_mm: float) -> Floats:
    out: list[Floats] = []
    while len(out) < count:
        place = rng.uniform(-half_mm, half_mm, 3)
        if all(np.linalg.norm(place - other) >= apart_mm for other in out):
            out.append(place)
    return np.array(out)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What was asked and what came out. `miss_mm` on the grid is None for a refusal."""

    result: FiducialResult
    needed: Correction
    moved: str | None
    miss_mm: float | None


def run_trial(
    rng: np.random.Generator,
    places: Floats,
    *,
    sigma_px: float = 0.3,
    migration_mm: float = 0.0,
    false_spots: int = 0,
    hidden: tuple[tuple[int, int], ...] = (),
    angles: tuple[float, ...] = (0.0, 90.0),
    shift_mm: float = 10.0,
    turn_deg: float = 3.0,
) -> Trial:
    """`hidden` are (view, marker) that were not found."""
    markers = [Fiducial(f"M{n + 1}", tuple(place)) for n, place in enumerate(places)]
    needed = Correction.of(
        np.r_[rng.uniform(-shift_mm, shift_mm, 3), rng.uniform(-turn_deg, turn_deg, 3)]
    )
    lies = correction_to_pose(needed).inverse().matrix()
    body, moved = places.copy(), None
    if migration_mm:
        n = int(rng.integers(len(places)))
        direction = rng.normal(size=3)
        body[n] += migration_mm * direction / np.linalg.norm(direction)
        moved = markers[n].name
    room = body @ lies[:3, :3].T + lies[:3, 3]
    views = []
    for v, geometry in enumerate(views_at(*angles)):
        pixels = geometry.pixels_of(room) + rng.normal(0.0, sigma_px, (len(room), 2))
        spots = [spot(c, r, sigma_px) for n, (c, r) in enumerate(pixels) if (v, n) not in hidden]
        spots += [
            spot(*rng.uniform([360, 230], [660, 530]), sigma_px)  # type: ignore[arg-type]
            for _ in range(false_spots)
        ]
        order = rng.permutation(len(spots))
        views.append(FiducialView(geometry, tuple(spots[k] for k in order)))
    result = register_fiducials(markers, views, np.eye(4))
    miss = None
    if result.correction is not None:
        wrong = correction_to_pose(result.correction) @ correction_to_pose(needed).inverse()
        miss = float(np.linalg.norm(wrong.apply(GRID_MM) - GRID_MM, axis=1).mean())
    return Trial(result, needed, moved, miss)
