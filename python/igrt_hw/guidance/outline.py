"""The body's surface in a cone-beam volume against that of the CT, along rays from the body's middle."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from igrt_hw.guidance.cbct import VolumeGrid
from igrt_hw.guidance.local_shift import sample, smoothed
from igrt_hw.models.anatomy import OutlineChange

Floats = NDArray[np.float64]

SURFACE_HU: Final = -500.0
RAYS: Final = 72
REACH_MM: Final = 20.0  # in and out of the CT's surface; beyond it the change is told as this
STEP_MM: Final = 0.5
BLUR_MM: Final = 2.0  # both volumes alike, so that noise makes no surface
# Rays that look down meet the couch, which is no air: the surface cannot be told there.
COUCH_BELOW: Final = -0.5
BAND_MM: Final = 30.0
SECTORS: Final = 12
SECTOR_FILLED_MIN: Final = 0.4
RAYS_MIN: Final = 20


def outline_change(
    seen: NDArray[np.float32],
    told: NDArray[np.float32],
    body: NDArray[np.bool_],
    grid: VolumeGrid,
    inside: NDArray[np.bool_],
    isocentre_mm: Floats,
) -> OutlineChange:
    """How far the surface has moved: HU of the scan `seen` on the CT's scale, of the CT `told` on the same voxels
    (slices, rows, cols), the CT's `body`, and `inside`, what every projection saw."""
    dx, dz, dy = grid.spacing_mm
    everywhere = np.ones(seen.shape, dtype=np.bool_)
    blur = BLUR_MM / np.array([dy, dz, dx])
    today = smoothed(seen.astype(np.float64), everywhere, blur)
    before = smoothed(told.astype(np.float64), everywhere, blur)
    angles = 2.0 * np.pi * np.arange(RAYS) / RAYS
    changes, rays = np.full((seen.shape[0], RAYS), np.nan), 0
    for k in range(seen.shape[0]):
        if body[k].sum() * dx * dz < 1000.0:
            continue  # a slice with less than 10 cm2 of the body
        rays += RAYS
        middle = np.argwhere(body[k]).mean(axis=0)
        for n, angle in enumerate(angles):
            changes[k, n] = _along(k, middle, angle, today, before, body, inside, (dz, dx))
    known = np.isfinite(changes)
    if known.sum() < RAYS_MIN:
        return OutlineChange(covered_share=0.0, mean_mm=None, worst_mm=None)
    worst, where = _worst_sector(changes, grid, isocentre_mm)
    return OutlineChange(
        covered_share=float(known.sum() / rays),
        mean_mm=float(changes[known].mean()),
        worst_mm=worst,
        worst_where=where,
    )


def _along(
    k: int,
    middle: Floats,
    angle: float,
    today: Floats,
    before: Floats,
    body: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    spacing: tuple[float, float],
) -> float:
    """Change along one ray, mm; NaN where the surface is not in the field or rests on the couch."""
    dz, dx = spacing
    across, up = np.cos(angle), np.sin(angle)
    if up < COUCH_BELOW:
        return float("nan")
    far = np.hypot(body.shape[1] * dz, body.shape[2] * dx)
    radii = np.arange(0.0, far, STEP_MM)
    rows, cols = middle[0] - up * radii / dz, middle[1] + across * radii / dx
    there = (rows >= 0) & (rows <= body.shape[1] - 1) & (cols >= 0) & (cols <= body.shape[2] - 1)
    radii, rows, cols = radii[there], rows[there], cols[there]
    r, c = np.rint(rows).astype(int), np.rint(cols).astype(int)
    hit = np.flatnonzero(body[k, r, c])
    if not hit.size or hit[-1] == len(radii) - 1:
        return float("nan")  # the surface lies beyond the volume
    surface = radii[hit[-1]]
    window = (radii >= surface - REACH_MM) & (radii <= surface + REACH_MM)
    if not inside[k, r[hit[-1]], c[hit[-1]]]:
        return float("nan")
    window &= inside[k, r, c]
    at = np.c_[rows[window], cols[window]]
    told = _crossing(radii[window], sample(before[k], at), surface)
    seen = _crossing(radii[window], sample(today[k], at), surface)
    return seen - told if told is not None and seen is not None else float("nan")


def _crossing(radii: Floats, hu: Floats, near: float) -> float | None:
    """Where tissue ends, next to where it should; the ends of the window where all is tissue or all is air."""
    if len(hu) < 8:
        return None
    ends = np.flatnonzero((hu[:-1] >= SURFACE_HU) & (hu[1:] < SURFACE_HU))
    if not ends.size:
        return float(radii[-1] if hu.mean() >= SURFACE_HU else radii[0])
    n = ends[np.argmin(np.abs(radii[ends] - near))]
    share = (hu[n] - SURFACE_HU) / (hu[n] - hu[n + 1])
    return float(radii[n] + share * (radii[n + 1] - radii[n]))


def _worst_sector(
    changes: Floats, grid: VolumeGrid, isocentre_mm: Floats
) -> tuple[float | None, str]:
    slices = max(1, round(BAND_MM / grid.spacing_mm[2]))
    rays = RAYS // SECTORS
    worst, where = None, ""
    for first in range(0, changes.shape[0], slices):
        for sector in range(SECTORS):
            part = changes[first : first + slices, sector * rays : (sector + 1) * rays]
            known = part[np.isfinite(part)]
            if known.size < SECTOR_FILLED_MIN * slices * rays:
                continue
            moved = float(np.median(known))
            if worst is None or abs(moved) > abs(worst):
                worst = moved
                along = grid.fixed_from_index()[1, 2] * (first + slices / 2) + (
                    grid.fixed_from_index()[1, 3] - isocentre_mm[1]
                )
                towards = (sector + 0.5) * 360.0 / SECTORS
                where = f"{along:+.0f} mm along Y, towards {towards:.0f} deg from +X to +Z"
    return worst, where
