"""Line integrals of balls and rods by their chords, pixel by pixel: images whose truth is a formula."""

import math

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry

Floats = NDArray[np.float64]


def pixel_points(geometry: PanelGeometry, col: Floats, row: Floats) -> Floats:
    """Points of the panel (..., 3) in the fixed frame, from the numbers of the geometry by the conventions."""
    rows, cols = geometry.shape
    rotation, pitch, roll, angle = (
        math.radians(a)
        for a in (
            geometry.panel_rotation_deg,
            geometry.panel_pitch_deg,
            geometry.panel_roll_deg,
            geometry.source_angle_deg,
        )
    )
    rz = np.array(
        [
            [math.cos(rotation), -math.sin(rotation), 0],
            [math.sin(rotation), math.cos(rotation), 0],
            [0, 0, 1],
        ]
    )
    rx = np.array(
        [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    )
    ry = turn_about_y(roll)
    x = (col - (cols - 1) / 2) * geometry.pixel_pitch_mm
    y = ((rows - 1) / 2 - row) * geometry.pixel_pitch_mm
    on_panel = np.stack([x, y, np.zeros_like(x)], axis=-1) @ (rz @ rx @ ry).T
    centre = np.array(
        [
            geometry.panel_lateral_mm,
            geometry.panel_longitudinal_mm,
            geometry.sad_mm - geometry.sid_mm,
        ]
    )
    return (on_panel + centre) @ turn_about_y(angle).T


def turn_about_y(angle: float) -> Floats:
    """Ry of radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def shadow(
    geometry: PanelGeometry,
    centre_mm: Floats,
    radius_mm: float,
    per_mm: float,
    *,
    axis: Floats | None = None,
    half_length_mm: float = 0.0,
    rays: int = 4,
) -> Floats:
    """Chord x attenuation (rows, cols) of a ball, or of a rod with round ends along `axis`.

    A rod is a row of balls whose union is taken ray by ray by its own quadratic: here by sampling its axis finely.
    """
    rows, cols = geometry.shape
    out = np.zeros((rows, cols))
    col, row = geometry.pixels_of(centre_mm[None, :])[0]
    magnification = geometry.sid_mm / geometry.sad_mm * 1.2
    reach = (
        math.ceil(magnification * (radius_mm + half_length_mm) / geometry.pixel_pitch_mm + 0.5) + 2
    )
    c0, c1 = max(0, round(col) - reach), min(cols, round(col) + reach + 1)
    r0, r1 = max(0, round(row) - reach), min(rows, round(row) + reach + 1)
    if c0 >= c1 or r0 >= r1:
        return out
    part = (np.arange(rays) + 0.5) / rays - 0.5
    fine_rows = (np.arange(r0, r1)[:, None] + part).ravel()
    fine_cols = (np.arange(c0, c1)[:, None] + part).ravel()
    grid_row, grid_col = np.meshgrid(fine_rows, fine_cols, indexing="ij")
    ends = pixel_points(geometry, grid_col, grid_row)
    source = turn_about_y(math.radians(geometry.source_angle_deg)) @ np.array(
        [geometry.source_lateral_mm, geometry.source_longitudinal_mm, geometry.sad_mm]
    )
    direction = ends - source
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    steps = 1 if axis is None else 41
    first = np.full(grid_row.shape, np.inf)
    last = np.full(grid_row.shape, -np.inf)
    for along in np.linspace(-half_length_mm, half_length_mm, steps):
        place = centre_mm if axis is None else centre_mm + along * axis
        away = place - source
        middle = direction @ away
        under = radius_mm**2 - (away @ away - middle**2)
        half = np.sqrt(np.maximum(under, 0.0))
        hit = under > 0.0
        first = np.where(hit, np.minimum(first, middle - half), first)
        last = np.where(hit, np.maximum(last, middle + half), last)
    chord = np.where(last > first, last - first, 0.0)
    fine = chord.reshape(r1 - r0, rays, c1 - c0, rays)
    out[r0:r1, c0:c1] = per_mm * fine.mean(axis=(1, 3))
    return out


def blurred(image: Floats, sigma_px: float) -> Floats:
    """Gaussian blur by its spectrum."""
    rows, cols = image.shape
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(cols)[None, :]
    gain = np.exp(-2.0 * (math.pi * sigma_px) ** 2 * (fx**2 + fy**2))
    return np.fft.irfft2(np.fft.rfft2(image) * gain, image.shape)


def tissue(shape: tuple[int, int], seed: int, *, ribs: int = 6) -> Floats:
    """Line integrals of something like a chest: slow waves, and ribs with edges."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices(shape)
    out = 2.5 + 0.6 * np.sin(cols / 70.0 + rng.uniform(0, 6)) * np.cos(
        rows / 50.0 + rng.uniform(0, 6)
    )
    for _ in range(ribs):
        tilt, at, bend = rng.uniform(-0.5, 0.5), rng.uniform(0, shape[0]), rng.uniform(-4e-4, 4e-4)
        away = rows - at - tilt * cols - bend * (cols - shape[1] / 2) ** 2
        half = rng.uniform(4, 9)
        out += 0.5 * np.sqrt(np.maximum(0.0, 1.0 - (away / half) ** 2))
    return blurred(out, 0.6)
