"""Projections of a cone-beam scan made fit for reconstruction: scatter off, holes filled, cut patients continued.

**Scatter** is read where no primary radiation falls: in the shadow of the blades above and below the field (Siewerdsen
et al., Med Phys 33 (2006) 187). What is there, smoothed along the shadow and drawn straight across the field, is taken
off every pixel. It follows the scatter from angle to angle without a model of the patient; what varies across the field
by less than the panel's height stays in.

**Truncation**: a patient wider than the field ends at the blade, and the ramp filter makes a bright rim of it. The
rows are continued beyond the field to nothing, as a patient would end (cosine over 70 mm at the isocentre; Ohnesorge et
al., Med Phys 27 (2000) 39 mirror instead). Voxels outside of the field of view stay wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.refusal import InputRefused

Floats = NDArray[np.float32]
Field = tuple[float, float, float, float]

SHADOW_ROWS_MIN: Final = 5
PENUMBRA_MM: Final = 6.0  # on the panel: blur of the blade and the first rows of its shadow
SMOOTH_MM: Final = 30.0  # on the panel; scatter has no finer structure
# Never take more than this share of a pixel: behind metal the estimate is larger than the signal.
SCATTER_SHARE_MAX: Final = 0.9
CONTINUE_MM: Final = 70.0  # at the isocentre


@dataclass(frozen=True, slots=True, eq=False)
class PreparedScan:
    """Line integrals (n, rows, cols) and geometries for `cbct.reconstruct`, and what was taken off.

    `scatter_to_primary` (n,): median over the field of each projection; zeros without correction.
    `filled_share`: pixels that held no number and were filled from their neighbours.
    """

    projections: Floats
    geometries: tuple[PanelGeometry, ...]
    scatter_to_primary: NDArray[np.float64]
    filled_share: float


def prepare_scan(
    line_integrals: Sequence[Floats],
    geometries: Sequence[PanelGeometry],
    field_mm: Field,
    *,
    scatter: bool = True,
) -> PreparedScan:
    """Corrected projections of a scan.

    Args:
        line_integrals: corrected images (rows, cols), NaN where nothing is; the blades' shadow included.
        geometries: one per image, all of one panel format.
        field_mm: blade edges x1, x2, y1, y2 at the isocentre.
        scatter: take off what lies in the blades' shadow.

    Raises:
        InputRefused: images that do not fit their geometries, a field without area, or (for scatter) a field that
            leaves no shadow above or below it on the panel.
    """
    if len(line_integrals) != len(geometries) or not geometries:
        raise InputRefused(
            f"{len(line_integrals)} projections and {len(geometries)} geometries: one for each is needed"
        )
    shape = geometries[0].shape
    for image, geometry in zip(line_integrals, geometries, strict=True):
        if image.shape != shape or geometry.shape != shape:
            raise InputRefused(
                f"a projection has shape {image.shape}, its geometry {geometry.shape}, the first one {shape}"
            )
    inside = _Inside.of(geometries[0], field_mm)
    ready, shares, holes = [], [], 0.0
    for image in line_integrals:
        share = 0.0
        transmission = np.exp(-np.asarray(image, dtype=np.float64))
        if scatter:
            transmission, share = _without_scatter(transmission, inside)
        line, filled = _whole(transmission, inside)
        ready.append(_continued(line, inside))
        shares.append(share)
        holes += filled
    wide = tuple(_widened(geometry, inside.pad) for geometry in geometries)
    return PreparedScan(np.stack(ready), wide, np.array(shares), holes / len(ready))


@dataclass(frozen=True, slots=True)
class _Inside:
    """Rows and columns of the field and of its shadow, pixels."""

    top: int
    bottom: int
    left: int
    right: int
    shadow_above: slice
    shadow_below: slice
    smooth_px: float
    pad: int
    cols: int

    @classmethod
    def of(cls, geometry: PanelGeometry, field_mm: Field) -> _Inside:
        rows, cols = geometry.shape
        pitch = geometry.pixel_pitch_mm
        scale = geometry.sid_mm / geometry.sad_mm / pitch
        x1, x2, y1, y2 = field_mm
        if not (x1 < x2 and y1 < y2):
            raise InputRefused(f"the field {field_mm} mm has no area")
        blur = PENUMBRA_MM / pitch
        # Row 0 is at the gantry side, +Y.
        edge_top, edge_bottom = (rows - 1) / 2 - y2 * scale, (rows - 1) / 2 - y1 * scale
        edge_left, edge_right = (cols - 1) / 2 + x1 * scale, (cols - 1) / 2 + x2 * scale
        return cls(
            top=max(0, int(np.ceil(edge_top + 1))),
            bottom=min(rows, int(np.floor(edge_bottom))),
            left=max(0, int(np.ceil(edge_left + 1))),
            right=min(cols, int(np.floor(edge_right))),
            shadow_above=slice(0, max(0, int(np.floor(edge_top - blur)))),
            shadow_below=slice(min(rows, int(np.ceil(edge_bottom + blur))), rows),
            smooth_px=SMOOTH_MM / pitch,
            pad=int(np.ceil(CONTINUE_MM * scale)),
            cols=cols,
        )


def _without_scatter(
    transmission: NDArray[np.float64], inside: _Inside
) -> tuple[NDArray[np.float64], float]:
    """Transmission without the straight line between the two shadows, and the scatter-to-primary ratio."""
    rows = len(transmission)
    edges, places = [], []
    for shadow, name in ((inside.shadow_above, "above"), (inside.shadow_below, "below")):
        if shadow.stop - shadow.start < SHADOW_ROWS_MIN:
            raise InputRefused(
                f"the field leaves {shadow.stop - shadow.start} rows of shadow {name} it on the panel "
                f"({SHADOW_ROWS_MIN} needed) to read the scatter from: close the blades along the couch"
            )
        edges.append(_smooth(np.nanmedian(transmission[shadow], axis=0), inside.smooth_px))
        places.append((shadow.start + shadow.stop - 1) / 2)
    along = (np.arange(rows) - places[0]) / (places[1] - places[0])
    scatter = (1.0 - along)[:, None] * edges[0] + along[:, None] * edges[1]
    taken = np.minimum(scatter, SCATTER_SHARE_MAX * transmission)
    primary = transmission - taken
    field = (slice(inside.top, inside.bottom), slice(inside.left, inside.right))
    ratio = taken[field] / np.maximum(primary[field], 1e-12)
    return primary, float(np.nanmedian(ratio))


def _smooth(values: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    known = np.isfinite(values)
    if not known.any():
        raise InputRefused("the blades' shadow holds no number: is the panel corrected there?")
    reach = int(3 * sigma_px) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel /= kernel.sum()
    filled = np.interp(np.arange(values.size), np.flatnonzero(known), values[known])
    return np.convolve(np.pad(filled, reach, mode="edge"), kernel, mode="valid")


def _whole(transmission: NDArray[np.float64], inside: _Inside) -> tuple[NDArray[np.float64], float]:
    """Line integrals of the field, holes filled along the rows; and the share of holes."""
    field = transmission[:, inside.left : inside.right]
    line = np.full(field.shape, np.nan)
    good = np.isfinite(field) & (field > 0.0)
    line[good] = -np.log(field[good])
    index = np.arange(field.shape[1])
    for row in range(len(line)):
        if good[row].any() and not good[row].all():
            line[row] = np.interp(index, index[good[row]], line[row, good[row]])
    lost = np.isnan(line).all(axis=1)
    if lost.any():
        kept = np.flatnonzero(~lost)
        if not kept.size:
            raise InputRefused("a projection holds no number at all")
        for empty in np.flatnonzero(lost):
            line[empty] = line[kept[np.argmin(np.abs(kept - empty))]]
    middle = good[inside.top : inside.bottom]
    return line, float(1.0 - middle.mean())


def _continued(line: NDArray[np.float64], inside: _Inside) -> Floats:
    """Rows of the field continued beyond its edges to nothing, rows of the shadow taken from the edge of the field."""
    inner = line.copy()
    inner[: inside.top] = inner[inside.top]
    inner[inside.bottom :] = inner[inside.bottom - 1]
    wide = np.zeros((line.shape[0], inside.cols + 2 * inside.pad))
    begin, end = inside.left + inside.pad, inside.right + inside.pad
    wide[:, begin:end] = inner
    fall = 0.5 * (1.0 + np.cos(np.pi * (np.arange(inside.pad) + 1) / inside.pad))
    edge = 4  # pixels averaged: one noisy pixel would draw a streak
    first, last = inner[:, :edge].mean(axis=1), inner[:, -edge:].mean(axis=1)
    wide[:, begin - inside.pad : begin] = first[:, None] * fall[::-1]
    wide[:, end : end + inside.pad] = last[:, None] * fall
    return np.ascontiguousarray(wide, dtype=np.float32)


def _widened(geometry: PanelGeometry, pad: int) -> PanelGeometry:
    """The same panel with `pad` columns more on each side."""
    rows, cols = geometry.shape
    return PanelGeometry(
        source_angle_deg=geometry.source_angle_deg,
        sad_mm=geometry.sad_mm,
        sid_mm=geometry.sid_mm,
        rows=rows,
        cols=cols + 2 * pad,
        pixel_pitch_mm=geometry.pixel_pitch_mm,
        source_lateral_mm=geometry.source_lateral_mm,
        source_longitudinal_mm=geometry.source_longitudinal_mm,
        panel_lateral_mm=geometry.panel_lateral_mm,
        panel_longitudinal_mm=geometry.panel_longitudinal_mm,
        panel_rotation_deg=geometry.panel_rotation_deg,
        panel_pitch_deg=geometry.panel_pitch_deg,
        panel_roll_deg=geometry.panel_roll_deg,
    )
