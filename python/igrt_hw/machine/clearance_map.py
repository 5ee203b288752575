"""Maps of clearance over any two axes of gantry, couch and arms, with what is certain of every cell.

A cell is called clear only if the parts keep the margin everywhere inside it, between the measured middles too, and in
contact only if there is contact everywhere inside it. What is neither stays open, and counts as not deliverable.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from igrt_hw.machine.room import MapAxis, PanelState, Room, RoomError
from igrt_hw.machine.turned_couch import ROTATION, STEP_DEG, Axes, TurnedCouch, turns_by_inverse

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Plot
    from matplotlib.figure import Figure

    from igrt_hw.machine.beam_arcs import ArcVerdict

FINEST = 0.25
"""Cells are cut for certification until their pieces are at most this wide, degrees or millimetres."""


class CellState(IntEnum):
    """What is certain of a whole cell."""

    OPEN = 0
    CLEAR = 1
    CONTACT = 2
    UNREACHABLE = 3


@dataclass(frozen=True, slots=True, eq=False)
class ClearanceMap:
    """The clearance over two axes.

    Attributes:
        row, column: the axes, with ranges and numbers of cells.
        lower_mm: (rows, columns) at the middle of every cell the clearance is at least this; 0 is contact.
        pair: (rows, columns) number of the nearest pair there, into `pairs`.
        pairs: names; the first part of each moves with the couch.
        state: (rows, columns) `CellState`: what holds everywhere inside the cell, for `margin_mm`. Unreachable: the
            couch cannot stand there (`lower_mm` and `floor_mm` are 0).
        floor_mm: (rows, columns) everywhere inside the cell the clearance is at least this; 0: contact not excluded.
        margin_mm: the clearance asked for.
        model_hash: SHA-256 of the collision model.
    """

    row: MapAxis
    column: MapAxis
    lower_mm: NDArray[np.float64]
    pair: NDArray[np.uint32]
    pairs: tuple[tuple[str, str], ...]
    state: NDArray[np.uint8]
    floor_mm: NDArray[np.float64]
    margin_mm: float
    model_hash: str

    def clear_arcs(self, column: int) -> list[tuple[float, float]]:
        """Ranges of the row axis that keep the margin all the way, for every place of a column; longest first."""
        clear = np.concatenate([[False], self.state[:, column] == CellState.CLEAR, [False]])
        edges = np.flatnonzero(np.diff(clear.astype(int)))
        bounds = np.linspace(self.row.start, self.row.stop, self.row.cells + 1)
        arcs = [
            (float(bounds[a]), float(bounds[b]))
            for a, b in zip(edges[::2], edges[1::2], strict=True)
        ]
        return sorted(arcs, key=lambda arc: arc[0] - arc[1])

    def write_data(self, file: str | Path) -> None:
        """Everything as `.npz` (arrays), `.json` (lists and clear arcs) or `.csv` (a line a cell), for other tools.

        All of them carry the hash of the collision model; it changes with any geometry that the map rests on.

        Raises:
            RoomError: another suffix.
        """
        file = Path(file)
        about = {
            "row": {"axis": self.row.name, "start": self.row.start, "stop": self.row.stop},
            "column": {
                "axis": self.column.name,
                "start": self.column.start,
                "stop": self.column.stop,
            },
            "pairs": [list(pair) for pair in self.pairs],
            "margin_mm": self.margin_mm,
            "model_hash": self.model_hash,
            "states": {state.name.lower(): int(state) for state in CellState},
        }
        arrays: dict[str, NDArray[Any]] = {
            "lower_mm": np.round(self.lower_mm, 4),
            "floor_mm": _rounded_down(self.floor_mm),
            "pair": self.pair,
            "state": self.state,
        }
        if file.suffix == ".npz":
            np.savez_compressed(file, about=json.dumps(about), **arrays)  # type: ignore[arg-type]
        elif file.suffix == ".json":
            lists = {name: array.tolist() for name, array in arrays.items()}
            arcs = [self.clear_arcs(column) for column in range(self.column.cells)]
            file.write_text(json.dumps({**about, **lists, "clear_arcs": arcs}), encoding="utf-8")
        elif file.suffix == ".csv":
            file.write_text(self._csv(), encoding="utf-8")
        else:
            raise RoomError(f"{file.name}: map data is written as .npz, .json or .csv")

    def _csv(self) -> str:
        head = f"# model_hash {self.model_hash}, margin_mm {self.margin_mm:g}; values at the middle of every cell\n"
        names = (f"{axis.name}_{axis.unit}" for axis in (self.row, self.column))
        held = ("lower_mm", "couch_part", "machine_part", "whole_cell_lower_mm", "whole_cell")
        lines, floor = [",".join((*names, *held))], _rounded_down(self.floor_mm)
        rows, columns = self.row.middles, self.column.middles
        for (i, j), lower in np.ndenumerate(self.lower_mm):
            couch_part, machine_part = self.pairs[int(self.pair[i, j])]
            state = CellState(int(self.state[i, j])).name.lower()
            lines.append(
                f"{rows[i]:g},{columns[j]:g},{lower:.4f},{couch_part},{machine_part},{floor[i, j]:.4f},{state}"
            )
        return head + "\n".join(lines) + "\n"

    def figure(self, title: str = "", beams: Sequence[ArcVerdict] = ()) -> Figure:
        """A matplotlib figure: clearance in colour, contact black, uncertain cells hatched, arcs and beams marked.

        White lines bound what keeps the margin for certain. `beams` are drawn where gantry goes against couch rotation.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.0, 6.5), layout="constrained")
        axes = figure.add_subplot()
        extent = (self.column.start, self.column.stop, self.row.start, self.row.stop)
        shown = np.where(self.lower_mm > 0.0, self.lower_mm, np.nan)
        image = axes.imshow(
            shown,
            origin="lower",
            extent=extent,
            aspect="auto",
            cmap="viridis",
            vmin=0.0,
            interpolation="nearest",
        )
        axes.set_facecolor("black")
        figure.colorbar(image, ax=axes, label="clearance, lower bound (mm)")
        uncertain = ((self.state == CellState.OPEN) & (self.lower_mm > 0.0)).astype(float)
        if min(uncertain.shape) > 1 and uncertain.any():
            places = (self.column.middles, self.row.middles)
            hatched = axes.contourf(
                *places, uncertain, [0.5, 1.5], colors="none", hatches=["/////"]
            )
            hatched.set_edgecolor("white")
            hatched.set_linewidth(0.0)
        clear = (self.state == CellState.CLEAR).astype(float)
        if min(clear.shape) > 1 and 0.0 < clear.mean() < 1.0:
            axes.contour(
                self.column.middles, self.row.middles, clear, [0.5], colors="white", linewidths=0.8
            )
        unreachable = np.where(self.state == CellState.UNREACHABLE, 1.0, np.nan)
        if not np.isnan(unreachable).all():
            axes.imshow(
                unreachable, origin="lower", extent=extent, aspect="auto", cmap="Greys", vmin=0.0, vmax=2.0,
                interpolation="nearest",
            )  # fmt: skip
        self._mark_whole_arcs(axes)
        self._mark_beams(axes, beams)
        axes.set_xlim(self.column.start, self.column.stop)
        axes.set_xlabel(f"{self.column.name} ({self.column.unit})")
        axes.set_ylabel(f"{self.row.name} ({self.row.unit})")
        axes.set_title(title or "Clearance")
        said = f"black: contact; hatched: {self.margin_mm:g} mm not certain; model {self.model_hash[:16]}"
        if (self.state == CellState.UNREACHABLE).any():
            said = f"grey: out of the couch's reach; {said}"
        figure.supxlabel(said, fontsize=8)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(
                loc="upper left", bbox_to_anchor=(0.0, -0.09), fontsize=8, ncols=3, frameon=False
            )
        return figure

    def _mark_whole_arcs(self, axes: Plot) -> None:
        whole = [
            middle
            for k, middle in enumerate(self.column.middles)
            if bool((self.state[:, k] == CellState.CLEAR).all())
        ]
        if whole:
            label = f"every {self.row.name} keeps {self.margin_mm:g} mm"
            top = np.full(len(whole), self.row.stop)
            axes.plot(whole, top, "v", color="tab:green", clip_on=False, label=label)

    def _mark_beams(self, axes: Plot, beams: Sequence[ArcVerdict]) -> None:
        if (self.row.name, self.column.name) != ("gantry", "rotation"):
            return
        for beam in beams:
            colour = "tab:green" if beam.deliverable else "tab:red"
            said = "deliverable" if beam.deliverable else "not deliverable"
            label: str | None = f"beam {beam.arc.number} {beam.arc.name}: {said}"
            x = beam.arc.couch_rotation_deg
            if beam.arc.static:
                angle = _into(beam.arc.angles_deg[0], self.row)
                axes.plot([x], [angle], "o", color=colour, mec="white", ms=8, label=label)
                continue
            for low, high in _pieces(min(beam.arc.angles_deg), max(beam.arc.angles_deg), self.row):
                axes.plot([x, x], [low, high], color="white", lw=6.0, solid_capstyle="butt")
                axes.plot(
                    [x, x], [low, high], color=colour, lw=4.0, solid_capstyle="butt", label=label
                )
                label = None


def _into(angle: float, axis: MapAxis) -> float:
    """The angle, turned by whole turns into the axis where that is possible."""
    return axis.start + (angle - axis.start) % 360.0


def _pieces(low: float, high: float, axis: MapAxis) -> list[tuple[float, float]]:
    """An arc as the pieces of an axis of one turn that it covers."""
    if high - low >= 360.0:
        return [(axis.start, axis.stop)]
    first = _into(low, axis)
    last = first + high - low
    end = axis.start + 360.0
    return [(first, last)] if last <= end else [(first, end), (axis.start, last - 360.0)]


def clearance_map(
    room: Room,
    axes: Sequence[float],
    panel_state: PanelState,
    *,
    row: MapAxis,
    column: MapAxis,
    gantry_deg: float = 0.0,
    margin_mm: float = 20.0,
) -> ClearanceMap:
    """Measure and certify a map with the other couch axes at `axes`, the gantry at `gantry_deg`, the arms as given.

    Any two axes: the gantry, couch axes, arms. Both may move the same part. A column axis `rotation` of a couch that
    has none is the turn of its table top about the isocentre, through the inverse (`igrt_hw.machine.turned_couch`); the
    row is the gantry or an arm then, and contact is told at the middles only.

    Raises:
        RoomError: an unknown axis, a range without width, one axis twice, above 16 million pieces.
        ClearanceInputError: a margin out of range.
    """
    if column.name == ROTATION and turns_by_inverse(room.machine):
        return _turned_map(room, axes, panel_state, row, column, gantry_deg, margin_mm)
    drives = room.map_drives(axes, gantry_deg, panel_state, row=row, column=column)
    cuts = [_cuts(axis) for axis in (row, column)]
    pieces = row.cells * cuts[0] * column.cells * cuts[1]
    if pieces > 16_000_000:
        raise RoomError(
            f"the map would be certified in {pieces} pieces; ask for a smaller range or fewer cells"
        )
    lower, pair = room.core.map(drives, rows=row.cells, columns=column.cells)
    fine = room.core.certified_map(
        drives, rows=row.cells * cuts[0], columns=column.cells * cuts[1], margin_mm=margin_mm
    )
    blocks = fine.reshape(row.cells, cuts[0], column.cells, cuts[1])
    state = np.full((row.cells, column.cells), CellState.OPEN, dtype=np.uint8)
    for certain in (CellState.CLEAR, CellState.CONTACT):
        state[(blocks == certain).all(axis=(1, 3))] = certain
    floor, _ = room.core.floor_map(drives, rows=row.cells, columns=column.cells)
    floor = np.where(state == CellState.CLEAR, np.maximum(floor, margin_mm), floor)
    return ClearanceMap(
        row, column, lower, pair, room.pair_names, state, floor, margin_mm, room.model_hash
    )


def _turned_map(
    room: Room,
    axes: Sequence[float],
    panel_state: PanelState,
    row: MapAxis,
    column: MapAxis,
    gantry_deg: float,
    margin_mm: float,
) -> ClearanceMap:
    """Every column along the way that the axes of a robot take through the rotations of its cell."""
    if row.name not in ("gantry", *room.arms):
        raise RoomError(
            f"a map over the rotation of a {room.machine.description.family} couch goes against the gantry or an "
            f"arm, not {row.name!r}: all its axes turn the table top"
        )
    if not column.start < column.stop or column.cells < 1 or row.cells < 1:
        raise RoomError("rotation: it needs a growing range and at least one cell")
    couch = TurnedCouch(room, tuple(float(x) for x in axes))
    steps = 2 * math.ceil((column.stop - column.start) / column.cells / STEP_DEG / 2.0)
    angles = np.linspace(column.start, column.stop, column.cells * steps + 1).tolist()
    way = couch.follow(angles)
    shape = (row.cells, column.cells)
    lower, pair = np.zeros(shape), np.zeros(shape, dtype=np.uint32)
    floor, state = np.zeros(shape), np.full(shape, CellState.UNREACHABLE, dtype=np.uint8)
    still = (gantry_deg, panel_state)
    for number in range(column.cells):
        first = number * steps
        stood, middle = way[first : first + steps + 1], way[first + steps // 2]
        if middle is None or None in stood:
            continue
        drives = room.line_drives(middle, *still, axis=row)
        middles = room.core.map(drives, rows=row.cells, columns=1)
        lower[:, number], pair[:, number] = middles[0][:, 0], middles[1][:, 0]
        legs = list(pairwise(zip(angles[first:], stood, strict=False)))
        found = [_turned_step(couch, still, row, margin_mm, leg) for leg in legs]
        clear = np.all([kept for kept, _ in found], axis=0)
        state[:, number] = np.where(clear, CellState.CLEAR, CellState.OPEN)
        least = np.min([low for _, low in found], axis=0)
        floor[:, number] = np.where(clear, np.maximum(least, margin_mm), least)
    return ClearanceMap(
        row, column, lower, pair, room.pair_names, state, floor, margin_mm, room.model_hash
    )


def _turned_step(
    couch: TurnedCouch,
    still: tuple[float, PanelState],
    row: MapAxis,
    margin_mm: float,
    leg: tuple[tuple[float, Axes | None], tuple[float, Axes | None]],
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of one step of a turn, for every cell of the row: whether all of it keeps the margin, and what it keeps (mm)."""
    (start_deg, start), (stop_deg, stop) = leg
    nothing = np.zeros(row.cells, dtype=bool), np.zeros(row.cells)
    if start is None or stop is None:
        return nothing
    beside = couch.spread_mm(start, stop, (start_deg, stop_deg))
    if beside is None:
        return nothing
    core, cuts = couch.room.core, _cuts(row)
    drives = couch.room.path_drives(start, stop, *still, column=row)
    pieces = max(1, math.ceil((stop_deg - start_deg) / FINEST))
    fine = core.certified_map(
        drives, rows=pieces, columns=row.cells * cuts, margin_mm=margin_mm + 2.0 * beside
    )
    kept = (fine.reshape(pieces, row.cells, cuts) == CellState.CLEAR).all(axis=(0, 2))
    low = core.floor_map(drives, rows=1, columns=row.cells)[0][0]
    return kept, np.maximum(low - 2.0 * beside, 0.0)


def _rounded_down(lengths_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """To a ten-thousandth of a millimetre and never up: they are lower bounds."""
    return np.asarray(np.floor(lengths_mm * 1e4) / 1e4)


def _cuts(axis: MapAxis) -> int:
    """Pieces per cell along an axis: a power of two."""
    width = abs(axis.stop - axis.start) / axis.cells
    return int(2 ** math.ceil(math.log2(max(width / FINEST, 1.0))))
