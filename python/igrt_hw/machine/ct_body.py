"""What of a CT is patient: a threshold, with the CT table told apart, as slices of closed contours.

Every choice errs to the outside: clothes, blankets and cushions count as patient, and so does every piece that is not
certainly table. The table is what is the same in all slices: thin layers, sharp above and below, flat or evenly curved,
wide, under the patient. A patient is none of that. Where the two cannot be told apart, where the patient runs out of
the field of view, or where there is no air round them, the CT is refused: draw the external contour instead.

Frame: DICOM patient coordinates (+x left, +y posterior, +z superior), millimetres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from igrt_hw.machine.components import component_labels
from igrt_hw.machine.surface import (
    Contours,
    PatientSurface,
    SurfaceError,
    SurfaceRule,
    surface_from_contours,
)

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

LAYER_THICK_MM = 40.0
"""No layer of a table top is thicker; what is thicker in most slices is patient."""

LAYER_WIDE_MM = 200.0
_CURVATURE_MAX = (
    1.0 / 250.0
)  # 1/mm; table tops are flat or troughs of more than half a metre across.
_SLOPE_MAX = 0.15  # A table stands level to a few degrees.
_PERSISTENT, _RARE = 0.9, 0.3
_STRAY_CM2_MEAN, _STRAY_CM2_MAX = 3.0, 12.0
_SMALLEST_BODY_CM3 = 500.0
_PIECE_CM3 = 5.0
_RANSAC_ROUNDS = 400
_LAYERS_MAX = 6


class CtBodyRule(BaseModel):
    """How a CT becomes a body.

    Attributes:
        threshold_hu: what is denser is patient, clothes or table. Between air (-1000) and fat (-100).
        dilation_mm: how far the body is widened in every direction, for motion and for what a voxel hides. A voxel's
            whole box counts as body besides, and so do the two neighbours of every slice.
        beyond_field_mm: how far the patient may go on where they run out of the field of view. None: refuse then.
        find_table: whether there may be a table in the images. False keeps one that is there as part of the patient.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold_hu: FiniteFloat = Field(default=-400.0, ge=-800.0, le=-150.0)
    dilation_mm: FiniteFloat = Field(default=3.0, ge=0.0, le=50.0)
    beyond_field_mm: FiniteFloat | None = Field(default=None, ge=0.0, le=300.0)
    find_table: bool = True


@dataclass(frozen=True, slots=True)
class CtTable:
    """The table that was found: its upper surface y = a + b x + c x2 (mm) for x in `lateral_mm`, on the patient's side.

    `layers`: how many layers it has; `posterior`: whether it lies posterior of the patient (supine) or anterior.
    """

    surface: tuple[float, float, float]
    lateral_mm: tuple[float, float]
    layers: int
    posterior: bool

    def y_mm(self, x_mm: Floats) -> Floats:
        """The upper surface at lateral positions, mm."""
        a, b, c = self.surface
        return a + b * x_mm + c * x_mm**2


@dataclass(frozen=True, slots=True)
class CtBody:
    """Contours of the body, slice by slice, and the table that was taken away; None if there was none."""

    contours: Contours
    table: CtTable | None


def body_of_ct(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
    *,
    patient_position: str,
    rule: CtBodyRule | None = None,
    source: str = "CT",
) -> CtBody:
    """The body in a CT (slices, rows, cols) whose voxel [0, 0, 0] has its centre at `origin_mm`; x, y, z.

    `patient_position`: HFS, FFS (table posterior), HFP or FFP (table anterior).

    Raises:
        SurfaceError: lying on a side, no air, no patient, out of the field of view, table and patient not to be told
            apart, or numbers that are no CT.
    """
    rule = rule or CtBodyRule()
    grid = _Grid.of(hu, spacing_mm, origin_mm, patient_position, source)
    volume = grid.table_last(np.asarray(hu))
    if volume.min() > -800.0 or volume.max() < -100.0:
        raise SurfaceError(
            f"{source}: values from {volume.min():.0f} to {volume.max():.0f}; there is no air round a patient in it"
        )
    dense = volume > rule.threshold_hu
    table = _find_table(dense, grid) if rule.find_table else None
    body = dense if table is None else dense & ~_under(table, grid)[None]
    body = _pieces(body, grid)
    edges = _edges(body)
    edges = _field_of_view(volume, body, edges, grid, rule)
    return CtBody(_contours(_widened(edges, grid, rule), grid), _out(table, grid))


def surface_from_ct(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
    *,
    patient_position: str,
    body_rule: CtBodyRule | None = None,
    surface_rule: SurfaceRule | None = None,
    source: str = "CT",
) -> PatientSurface:
    """The patient's surface from a CT: `body_of_ct`, then completed like contours drawn by hand.

    Raises:
        SurfaceError: as `body_of_ct` and `surface_from_contours`.
    """
    rule = body_rule or CtBodyRule()
    body = body_of_ct(
        hu, spacing_mm, origin_mm, patient_position=patient_position, rule=rule, source=source
    )
    table = (
        "no table found"
        if body.table is None
        else f"table of {body.table.layers} layer(s) left out"
    )
    said = f"{source} above {rule.threshold_hu:g} HU, {table}, widened by {rule.dilation_mm:g} mm"
    return surface_from_contours(body.contours, rule=surface_rule, source=said)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The volume turned so that the table lies at large row numbers: rows run along +y, or along -y for prone."""

    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    posterior: bool
    source: str

    @classmethod
    def of(
        cls,
        hu: NDArray[np.float32],
        spacing_mm: tuple[float, float, float],
        origin_mm: tuple[float, float, float],
        patient_position: str,
        source: str,
    ) -> _Grid:
        if patient_position not in ("HFS", "FFS", "HFP", "FFP"):
            raise SurfaceError(
                f"{source}: patient position {patient_position!r}; the table is only known to lie under "
                "HFS, FFS, HFP and FFP"
            )
        if hu.ndim != 3 or min(hu.shape) < 3:
            raise SurfaceError(
                f"{source}: a volume of shape {hu.shape}; at least 3 x 3 x 3 is needed"
            )
        if not np.isfinite(hu).all():
            raise SurfaceError(f"{source}: voxels that are not finite")
        if not all(0.1 <= s <= 12.0 for s in spacing_mm) or not np.isfinite(origin_mm).all():
            raise SurfaceError(
                f"{source}: spacing {spacing_mm} mm, origin {origin_mm} mm: no CT in millimetres"
            )
        slices, rows, cols = hu.shape
        shape = (slices, rows, cols)
        return cls(spacing_mm, origin_mm, shape, patient_position.endswith("S"), source)

    def table_last(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        return hu if self.posterior else hu[:, ::-1]

    @property
    def x_mm(self) -> Floats:
        """Centres of the columns."""
        x = self.origin_mm[0] + self.spacing_mm[0] * np.arange(self.shape[2], dtype=np.float64)
        return np.asarray(x)

    @property
    def down_mm(self) -> Floats:
        """Centres of the rows, growing towards the table."""
        y = self.origin_mm[1] + self.spacing_mm[1] * np.arange(self.shape[1], dtype=np.float64)
        return np.asarray(y if self.posterior else -y[::-1])


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer: its upper surface (coefficients), lateral range, thickness."""

    surface: tuple[float, float, float]
    lateral_mm: tuple[float, float]
    thick_mm: float

    def down(self, x_mm: Floats) -> Floats:
        a, b, c = self.surface
        return a + b * x_mm + c * x_mm**2

    @property
    def middle(self) -> float:
        return float(self.down(np.array([sum(self.lateral_mm) / 2.0]))[0])


def _find_table(dense: Mask, grid: _Grid) -> _TableFit | None:
    """The table's layers, and of these the uppermost under which there is nothing but table."""
    share = dense.mean(axis=0)
    layers = sorted(_layers(share, grid), key=lambda layer: layer.middle)
    if not layers:
        return None
    strays = []
    for at in range(len(layers)):
        fit = _TableFit(layers[at], layers[-1], len(layers) - at)
        stray = dense & _under(fit, grid)[None] & ~_of_table(share, layers[at:], grid)[None]
        cm2 = stray.sum(axis=(1, 2)) * grid.spacing_mm[0] * grid.spacing_mm[1] / 100.0
        if cm2.mean() <= _STRAY_CM2_MEAN and cm2.max() <= _STRAY_CM2_MAX:
            return fit
        strays.append(float(cm2.max()))
    raise SurfaceError(
        f"{grid.source}: there is a table, but up to {min(strays):.0f} cm2 of something else under its surface in one "
        "slice: patient and table cannot be told apart; draw the external contour"
    )


@dataclass(frozen=True, slots=True)
class _TableFit:
    top: _Layer
    bottom: _Layer
    layers: int


def _layers(share: Floats, grid: _Grid) -> list[_Layer]:
    """Thin wide layers in the picture of how often each place is dense, by random sampling with a fixed seed."""
    runs = _thin_runs(share, grid)
    random = np.random.default_rng(61217)
    found: list[_Layer] = []
    while len(runs) > 10 and len(found) < _LAYERS_MAX:
        inside = _most_in_line(runs, grid, random)
        if inside is None:
            break
        layer = _layer_of(runs[inside], grid)
        if layer is not None:
            found.append(layer)
        runs = runs[~inside]
    return found


def _thin_runs(share: Floats, grid: _Grid) -> Floats:
    """Rows (x, top, bottom, sharp above) in mm of every thin persistent run with nothing persistent just below it."""
    dy = grid.spacing_mm[1]
    padded = np.pad((share >= _PERSISTENT).T, ((0, 0), (1, 1)))
    change = np.diff(padded.astype(np.int8), axis=1)
    column, first = np.nonzero(change == 1)
    _, after = np.nonzero(change == -1)
    thin = (after - first) * dy <= LAYER_THICK_MM
    column, first, after = column[thin], first[thin], after[thin]
    rows = share.shape[0]
    below = share[np.minimum(after + 1, rows - 1), column]
    above = share[np.maximum(first - 3, 0), column]
    sharp = (below < _RARE) & (after < rows - 1)
    down = grid.down_mm
    runs = np.stack(
        [grid.x_mm[column], down[first] - dy / 2.0, down[after - 1] + dy / 2.0, above < _RARE],
        axis=1,
    )
    return np.asarray(runs[sharp], dtype=np.float64)


def _most_in_line(runs: Floats, grid: _Grid, random: np.random.Generator) -> Mask | None:
    """Which runs lie on the parabola that most of them lie on."""
    x, top = runs[:, 0], runs[:, 1]
    tolerance = 1.5 * grid.spacing_mm[1]
    best: Mask | None = None
    for _ in range(_RANSAC_ROUNDS):
        chosen = random.choice(len(runs), 3, replace=False)
        if np.ptp(x[chosen]) < 0.3 * LAYER_WIDE_MM or len(np.unique(x[chosen])) < 3:
            continue
        c, b, _ = coefficients = np.polyfit(x[chosen], top[chosen], 2)
        middle = float(x.mean())
        if abs(2.0 * c) > _CURVATURE_MAX or abs(b + 2.0 * c * middle) > _SLOPE_MAX:
            continue
        inside = np.abs(np.polyval(coefficients, x) - top) <= tolerance
        if best is None or inside.sum() > best.sum():
            best = inside
    if best is None or np.ptp(x[best]) < LAYER_WIDE_MM:
        return None
    return best


def _layer_of(runs: Floats, grid: _Grid) -> _Layer | None:
    """The layer of runs that lie in one line; None unless they are wide, nearly gapless and mostly free above."""
    x, top, bottom, free = runs.T
    columns = len(np.unique(x))
    wide = columns * grid.spacing_mm[0]
    if wide < 0.5 * LAYER_WIDE_MM or np.ptp(x) < LAYER_WIDE_MM:
        return None
    # Where the patient lies on it for the whole scan the layer cannot be seen; both flanks must show it.
    if free.mean() < 0.3:
        return None
    c, b, a = (float(k) for k in np.polyfit(x, top, 2))
    thick = float(np.quantile(bottom - top, 0.95))
    # The upper envelope: nothing of the layer may stay on the patient's side but a rounding of its edge.
    lift = float(np.quantile(np.polyval([c, b, a], x) - top, 0.95))
    return _Layer((a - lift, b, c), (float(x.min()), float(x.max())), thick + 2.0 * max(lift, 0.0))


def _under(table: _TableFit, grid: _Grid) -> Mask:
    """Rows and columns under the table's upper surface, over its whole width."""
    x = grid.x_mm
    low, high = table.top.lateral_mm
    over = (x >= low - 10.0) & (x <= high + 10.0)
    under: Mask = (grid.down_mm[:, None] > table.top.down(x)[None] - 1e-9) & over[None]
    return under


def _of_table(share: Floats, layers: list[_Layer], grid: _Grid) -> Mask:
    """Rows and columns of the layers, and what hangs under them in every slice: rails, a base.

    Not what comes through from above: a column that is dense in most slices from well above the lowest layer to well
    below it holds a patient who hangs through an opening as likely as a rail under a patient.
    """
    x, down, dy = grid.x_mm, grid.down_mm[:, None], grid.spacing_mm[1]
    always = share >= _PERSISTENT
    lowest = layers[-1].down(x)[None]
    above = (always & (down > lowest - 30.0) & (down < lowest - dy)).sum(axis=0) * dy > 20.0
    beyond = lowest + layers[-1].thick_mm + 2.0 * dy
    below = (always & (down > beyond)).sum(axis=0) * dy > 20.0
    nearly = always.copy()
    for shift in (-2, -1, 1, 2):
        nearly |= np.roll(always, shift, axis=0) | np.roll(always, shift, axis=1)
    inside = (down > lowest - dy) & nearly & ~(above & below)[None]
    for layer in layers:
        top = layer.down(x)[None]
        inside = inside | ((down > top - 2.0 * dy) & (down < top + layer.thick_mm + 2.0 * dy))
    return np.asarray(inside)


def _pieces(body: Mask, grid: _Grid) -> Mask:
    """Without crumbs: pieces (6-connected) below 5 cm3 are dropped, all others are patient."""
    sx, sy, sz = grid.spacing_mm
    voxel_cm3 = sx * sy * sz / 1000.0
    slices, rows, _ = body.shape
    flat = np.pad(body.reshape(slices * rows, -1), ((0, 0), (1, 1)))
    change = np.diff(flat.astype(np.int8), axis=1)
    line, first = np.nonzero(change == 1)
    _, after = np.nonzero(change == -1)
    if line.size == 0:
        raise SurfaceError(f"{grid.source}: nothing in it is as dense as a patient")
    label = component_labels(line.size, _touching(line, first, after, slices, rows))
    size = np.bincount(label, weights=(after - first) * voxel_cm3, minlength=line.size)
    if size.max() < _SMALLEST_BODY_CM3:
        raise SurfaceError(
            f"{grid.source}: the largest piece has {size.max():.0f} cm3; no patient is in it"
        )
    keep = size[label] >= _PIECE_CM3
    lines, width = slices * rows, body.shape[2]
    ends = np.zeros((lines, width + 1), dtype=np.int8)
    ends[line[keep], first[keep]] += 1
    ends[line[keep], after[keep]] -= 1
    kept: Mask = np.cumsum(ends, axis=1)[:, :width] > 0
    return kept.reshape(body.shape)


def _touching(
    line: NDArray[np.int64],
    first: NDArray[np.int64],
    after: NDArray[np.int64],
    slices: int,
    rows: int,
) -> NDArray[np.int64]:
    """Pairs of runs that overlap in neighbouring lines: the next row of the slice, the same row of the next slice."""
    begin = np.searchsorted(line, np.arange(slices * rows + 1))
    pairs = []
    for step in (1, rows):
        here = np.arange(line.size)
        if step == 1:
            here = here[line % rows != rows - 1]
        here = here[line[here] + step < slices * rows]
        at = begin[line[here] + step].copy()
        stop = begin[line[here] + step + 1]
        while here.size:
            open_ = at < stop
            here, at, stop = here[open_], at[open_], stop[open_]
            meet = (first[at] < after[here]) & (first[here] < after[at])
            pairs.append(np.stack([here[meet], at[meet]], axis=1))
            at = at + 1
    return np.concatenate(pairs)


def _edges(body: Mask) -> Floats:
    """(2, slices, rows): first and last dense column of every row, NaN where there is none."""
    cols = body.shape[2]
    first = np.where(body.any(axis=2), np.argmax(body, axis=2), np.nan)
    last = np.where(body.any(axis=2), cols - 1 - np.argmax(body[:, :, ::-1], axis=2), np.nan)
    return np.stack([first, last])


def _field_of_view(
    volume: NDArray[np.float32], body: Mask, edges: Floats, grid: _Grid, rule: CtBodyRule
) -> Floats:
    """Where the patient runs out of the field of view: refused, or carried on sideways as the rule says."""
    measured = _field(volume)
    field = np.pad(measured, 1)
    inner = np.ones_like(measured)
    for down, right in ((0, 1), (2, 1), (1, 0), (1, 2)):
        inner &= field[down : down + inner.shape[0], right : right + inner.shape[1]]
    cut = body & ~inner[None]
    slices = np.flatnonzero(cut.any(axis=(1, 2)))
    if slices.size == 0:
        return edges
    if rule.beyond_field_mm is None:
        z = grid.origin_mm[2] + grid.spacing_mm[2] * slices
        raise SurfaceError(
            f"{grid.source}: in {slices.size} slices (z = {z[0]:.0f} to {z[-1]:.0f} mm) the patient runs out of the "
            "field of view, and how far they go on is not known; state it (beyond_field_mm) or use a wider scan"
        )
    edges = edges.copy()
    more = rule.beyond_field_mm / grid.spacing_mm[0]
    for side, sign in ((0, -1.0), (1, 1.0)):
        columns = np.nan_to_num(edges[side]).astype(int)
        at = np.take_along_axis(~np.broadcast_to(inner, body.shape), columns[..., None], axis=2)
        edges[side] += np.where(at[..., 0] & ~np.isnan(edges[side]), sign * more, 0.0)
    return edges


def _field(volume: NDArray[np.float32]) -> Mask:
    """Where the scanner measured: outside its circle it writes one value. The picture's own border ends the field too.

    A background that was cleaned to one value is no such circle; then the whole picture counts as the field.
    """
    seen: Mask = np.asarray((volume != volume.min()).any(axis=0))
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    middle = (rows[0] + rows[-1]) / 2.0, (columns[0] + columns[-1]) / 2.0
    radius = max(np.ptp(rows), np.ptp(columns)) / 2.0 + 0.5
    i, j = np.indices(seen.shape)
    disc = (i - middle[0]) ** 2 + (j - middle[1]) ** 2 <= (0.97 * radius) ** 2
    return seen if bool(seen[disc].mean() > 0.97) else np.ones_like(seen)


def _widened(edges: Floats, grid: _Grid, rule: CtBodyRule) -> Floats:
    """Whole voxels, wider by the rule's margin in every direction; both neighbours of a slice count as well."""
    sx, sy, sz = grid.spacing_mm
    low, high = edges[0] - 0.5, edges[1] + 0.5
    low, high = low - rule.dilation_mm / sx, high + rule.dilation_mm / sx
    for axis, reach in (
        (1, math.ceil(rule.dilation_mm / sy)),
        (0, max(1, math.ceil(rule.dilation_mm / sz))),
    ):
        low = _spread(np.where(np.isnan(low), np.inf, low), axis, reach)
        high = -_spread(np.where(np.isnan(high), np.inf, -high), axis, reach)
    return np.stack([low, high])


def _spread(values: Floats, axis: int, reach: int) -> Floats:
    """Smallest value within `reach` places along an axis."""
    out = values.copy()
    for step in range(1, reach + 1):
        ahead = [slice(None)] * values.ndim
        behind = [slice(None)] * values.ndim
        ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
        out[tuple(ahead)] = np.minimum(out[tuple(ahead)], values[tuple(behind)])
        out[tuple(behind)] = np.minimum(out[tuple(behind)], values[tuple(ahead)])
    return out


def _contours(edges: Floats, grid: _Grid) -> Contours:
    """One closed contour a slice: down its left steps and up its right ones, DICOM x, y in mm."""
    (x0, y0, z0), (sx, sy, sz) = grid.origin_mm, grid.spacing_mm
    contours = []
    for number in range(grid.shape[0]):
        low, high = edges[:, number]
        rows = np.flatnonzero(np.isfinite(low))
        if rows.size == 0:
            continue
        y = np.stack([rows - 0.5, rows + 0.5], axis=1).ravel()
        if not grid.posterior:
            y = grid.shape[1] - 1 - y
        left, right = np.repeat(low[rows], 2), np.repeat(high[rows], 2)
        x = np.concatenate([left, right[::-1]])
        loop = np.stack([x0 + sx * x, y0 + sy * np.concatenate([y, y[::-1]])], axis=1)
        contours.append((z0 + sz * number, [loop]))
    for (below, _), (above, _) in pairwise(contours):
        if above - below > 1.5 * sz:
            raise SurfaceError(
                f"{grid.source}: no patient between z = {below:.0f} and {above:.0f} mm, but on both sides of it"
            )
    return contours


def _out(table: _TableFit | None, grid: _Grid) -> CtTable | None:
    if table is None:
        return None
    sign = 1.0 if grid.posterior else -1.0
    a, b, c = (sign * k for k in table.top.surface)
    return CtTable((a, b, c), table.top.lateral_mm, table.layers, grid.posterior)
