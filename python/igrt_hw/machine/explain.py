"""Why a position or a move is refused, and what would free it: parts, place, distance, and the least change that helps.

Every remedy named here is certified: the clearance that it would give is a lower bound that holds over the whole
move (`Freeing.min_mm`), and what the change itself keeps on the way there is certified too (`Freeing.way_mm`). That a
smaller change would not do is found by search at the spacing said in `Freeing.resolution`. Nothing here moves
anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from igrt_hw._core import CoreError
from igrt_hw.machine.clearance_map import CellState
from igrt_hw.machine.leg_margin import legs_stay_within
from igrt_hw.machine.planner import (
    MM_PER_DEG,
    DetourProposal,
    PlannerRule,
    move_words,
    propose_detour,
)
from igrt_hw.machine.room import MapAxis, PairClearance, PanelState, PathPlace, Room

Axes = tuple[float, ...]

LINE_CELLS = 400
"""Places at which a couch axis is tried over its whole range before the least is refined."""

GANTRY_CELLS = 720
ARM_CELLS = 40
PATH_CELLS = 128
_FINE = {"mm": 0.1, "deg": 0.05}
_ARM_TRAVEL_MM = 450.0
"""What an arm's travel counts as beside millimetres of the couch when remedies are ranked."""


@dataclass(frozen=True, slots=True)
class Freeing:
    """One change that gives the clearance back.

    Attributes:
        axis: a couch axis, `gantry`, an arm, or `arms` (all of them).
        change: by how much: mm, degrees, or extension (0 to 1).
        unit: mm, deg or extension.
        value: where it stands afterwards.
        scope: path: the whole move keeps `min_mm` then; position: the one position does; start: the couch, moved there
            first, does; target: another target of the move would, which is to be registered and approved anew.
        min_mm: certified clearance after the change.
        way_mm: certified clearance of the straight way there: of the change itself, or from the start to the other
            target. 0 if that touches (or if everything stands in contact already).
        resolution: a smaller change was looked for at this spacing and did not do.
        effort: for ranking, mm; a degree counts as 500 mm per radian.
        words: what to do.
    """

    axis: str
    change: float
    unit: str
    value: float
    scope: Literal["path", "position", "start", "target"]
    min_mm: float
    way_mm: float
    resolution: float
    effort: float
    words: str

    def text(self) -> str:
        """What to do and what it gives."""
        if self.scope == "target":
            way = "" if self.way_mm > 0.0 else ", but the straight way there touches"
            return f"another target ({self.words}), which keeps {self.min_mm:.1f} mm{way}"
        if self.scope == "start":
            return f"first {self.words}: the couch then keeps {self.min_mm:.1f} mm"
        what = "the whole move" if self.scope == "path" else "this position"
        return f"{self.words}: {what} then keeps {self.min_mm:.1f} mm"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why, and what would help.

    Attributes:
        clear: whether the clearance asked for is kept; then there is nothing to free.
        keep_mm: the clearance asked for.
        min_mm: the certified clearance of what was asked.
        place: which parts, where, how close, at which gantry angle and part of the path.
        pairs_below: every pair below `keep_mm` at that place, nearest first.
        freeing: remedies, least effort first.
        detour: what the planner proposes, if it was asked.
        model_hash: of the collision model.
    """

    clear: bool
    keep_mm: float
    min_mm: float
    place: PathPlace
    pairs_below: tuple[PairClearance, ...]
    freeing: tuple[Freeing, ...]
    detour: DetourProposal | None
    model_hash: str

    def text(self, remedies: int = 3) -> str:
        """The refusal in full sentences."""
        place = self.place.text()
        if self.place.path_fraction == 0.0:
            place = f"{self.place.pair.text()} (gantry {self.place.gantry_deg:.1f}°)"
        if self.clear:
            return f"{place}; {self.keep_mm:g} mm are kept"
        said = [f"{place}; {self.keep_mm:g} mm are asked for"]
        others = [pair for pair in self.pairs_below if pair.parts != self.place.pair.parts]
        if others:
            named = "; ".join(pair.text() for pair in others[:2])
            said.append(f"Also there: {named}")
        if self.freeing:
            said.append(
                "What would free it: " + "; or ".join(one.text() for one in self.freeing[:remedies])
            )
        else:
            said.append("No change of one axis, of the gantry or of an arm alone would free it")
        if self.detour is not None:
            words = self.detour.text()
            # The reason begins with the place, which is said already.
            words = words.split("; ", 1)[-1] if self.detour.detour is None else words
            said.append(words[0].upper() + words[1:])
        return ". ".join(said) + "."


def explain_position(
    room: Room,
    axes: Sequence[float],
    gantry_deg: float,
    panel_state: PanelState,
    *,
    keep_mm: float,
) -> Explanation:
    """Why the couch may not stand there, and which single change would let it.

    Raises:
        RoomError, ClearanceInputError: as `Room.clearance`.
    """
    here = tuple(map(float, axes))
    found = room.clearance(here, gantry_deg, panel_state)
    place = PathPlace(0.0, here, gantry_deg, found.nearest)
    clear = _keeps(found.min_mm, keep_mm)
    freeing: tuple[Freeing, ...] = ()
    if not clear:
        ask = _Question(room, here, here, gantry_deg, panel_state, keep_mm, "position")
        freeing = _ranked([*_by_machine(ask), *_by_couch(ask, here)])
    below = tuple(pair for pair in found.pairs if pair.lower_mm < keep_mm)
    return Explanation(clear, keep_mm, found.min_mm, place, below, freeing, None, found.model_hash)


def explain_path(
    room: Room,
    start_axes: Sequence[float],
    target_axes: Sequence[float],
    gantry_deg: float,
    panel_state: PanelState,
    *,
    keep_mm: float,
    planner: PlannerRule | None = None,
) -> Explanation:
    """Why a straight move is refused, and what would free it: the gantry elsewhere, an arm further in, or a detour.

    If the start or the target itself is too near, no way between them helps; then single-axis changes of it are
    named as well (scopes `start`, `target`). `planner` asks for a detour too.

    Raises:
        RoomError, ClearanceInputError: as `Room.sweep` and `propose_detour`.
    """
    start, target = tuple(map(float, start_axes)), tuple(map(float, target_axes))
    swept = room.sweep(start, target, gantry_deg, panel_state, stations=1)
    place = swept.contact or swept.nearest
    if _keeps(swept.min_mm, keep_mm):
        return Explanation(True, keep_mm, swept.min_mm, place, (), (), None, swept.model_hash)
    there = room.clearance(place.axes, gantry_deg, panel_state)
    ask = _Question(room, start, target, gantry_deg, panel_state, keep_mm, "path")
    remedies = list(_by_machine(ask))
    if not _keeps(room.clearance(start, gantry_deg, panel_state).min_mm, keep_mm):
        at_start = _Question(room, start, start, gantry_deg, panel_state, keep_mm, "start")
        remedies += _by_couch(at_start, start)
    if not _keeps(room.clearance(target, gantry_deg, panel_state).min_mm, keep_mm):
        at_target = _Question(room, target, target, gantry_deg, panel_state, keep_mm, "target")
        remedies += _by_couch(at_target, start)
    detour = None
    if planner is not None:
        detour = propose_detour(room, start, target, gantry_deg, panel_state, planner)
    below = tuple(pair for pair in there.pairs if pair.lower_mm < keep_mm)
    return Explanation(
        False,
        keep_mm,
        swept.min_mm,
        place,
        below,
        _ranked(remedies),
        detour,
        swept.model_hash,
    )


@dataclass(frozen=True, slots=True)
class _Question:
    room: Room
    start: Axes
    target: Axes
    gantry_deg: float
    panel_state: PanelState
    keep_mm: float
    scope: Literal["path", "position", "start", "target"]


def _keeps(min_mm: float, keep_mm: float) -> bool:
    """Contact is never clear, not even where no clearance is asked for."""
    return min_mm > 0.0 and min_mm >= keep_mm


def _ranked(remedies: Sequence[Freeing]) -> tuple[Freeing, ...]:
    """By effort; other targets after everything that leaves the target as it is."""
    return tuple(sorted(remedies, key=lambda one: (one.scope == "target", one.effort, one.axis)))


def _by_machine(ask: _Question) -> Iterator[Freeing]:
    """The gantry at another angle, or one arm further in, everything else as asked."""
    limits = ask.room.machine.description.gantry
    gantry = MapAxis("gantry", limits.lower_deg, limits.upper_deg, GANTRY_CELLS)
    found = _least(ask, gantry, ask.gantry_deg)
    if found is not None:
        value, min_mm = found
        change = value - ask.gantry_deg
        way = ask.room.sweep(
            ask.start, ask.start, ask.gantry_deg, ask.panel_state,
            gantry_target_deg=value, stations=1,
        )  # fmt: skip
        words = f"turn the gantry to {value:.1f}° (by {abs(change):.1f}°)"
        width = (gantry.stop - gantry.start) / gantry.cells
        effort = abs(change) * MM_PER_DEG
        yield Freeing(
            "gantry", change, "deg", value, ask.scope, min_mm, way.min_mm, width, effort, words
        )
    for arm, extension in ask.panel_state.items():
        if extension <= 0.0:
            continue
        axis = MapAxis(arm, 0.0, extension, ARM_CELLS)
        found = _least(ask, axis, extension)
        if found is None:
            continue
        value, min_mm = found
        way = ask.room.sweep(
            ask.start, ask.start, ask.gantry_deg, ask.panel_state,
            panel_target={**ask.panel_state, arm: value}, stations=1,
        )  # fmt: skip
        name = arm.replace("_", " ")
        fully = value == 0.0
        words = f"retract the {name}" + ("" if fully else f" to {100.0 * value:.0f} %")
        effort = (extension - value) * _ARM_TRAVEL_MM
        yield Freeing(
            arm, value - extension, "extension", value, ask.scope, min_mm, way.min_mm,
            extension / ARM_CELLS, effort, words,
        )  # fmt: skip

    yield from _all_arms(ask)


def _all_arms(ask: _Question) -> Iterator[Freeing]:
    """Every arm in, where more than one is out."""
    out = [arm for arm, extension in ask.panel_state.items() if extension > 0.0]
    if len(out) < 2:
        return
    room, retracted = ask.room, ask.room.retracted()
    min_mm = room.sweep(ask.start, ask.target, ask.gantry_deg, retracted, stations=1).min_mm
    if _keeps(min_mm, ask.keep_mm):
        way = room.sweep(
            ask.start, ask.start, ask.gantry_deg, ask.panel_state, panel_target=retracted, stations=1
        )  # fmt: skip
        effort = _ARM_TRAVEL_MM * sum(ask.panel_state.values())
        yield Freeing(
            "arms", -1.0, "extension", 0.0, ask.scope, min_mm, way.min_mm, 1.0, effort, "retract every arm"
        )  # fmt: skip


def _least(ask: _Question, axis: MapAxis, now: float) -> tuple[float, float] | None:
    """The value nearest to `now` at which the whole move keeps the clearance, and that clearance, certified."""
    rows = 1 if ask.start == ask.target else PATH_CELLS
    drives = ask.room.path_drives(
        ask.start, ask.target, ask.gantry_deg, ask.panel_state, column=axis
    )
    states = ask.room.core.certified_map(
        drives, rows=rows, columns=axis.cells, margin_mm=ask.keep_mm
    )
    width = (axis.stop - axis.start) / axis.cells
    lows = axis.start + width * np.flatnonzero((states == CellState.CLEAR).all(axis=0))
    # Of a clear cell everything inside is clear; the edge nearest to where it stands is the least change.
    values = np.clip(now, lows, lows + width)
    for value in values[np.argsort(np.abs(values - now), kind="stable")][:20]:
        at = float(value)
        gantry = at if axis.name == "gantry" else ask.gantry_deg
        arms = ask.panel_state if axis.name == "gantry" else {**ask.panel_state, axis.name: at}
        min_mm = ask.room.sweep(
            ask.start, ask.target, gantry, arms, stations=1, tolerance_mm=0.05
        ).min_mm
        if _keeps(min_mm, ask.keep_mm):
            return at, min_mm
    return None


def _by_couch(ask: _Question, stands: Axes) -> Iterator[Freeing]:
    """One couch axis elsewhere within its limits, everything else as asked; the way there begins at `stands`."""
    couch = ask.room.machine.couch()
    cartesian = couch.family in ("pedestal", "hexapod")
    for number, axis in enumerate(ask.room.machine.description.axis):
        low, high = axis.range
        now = ask.start[number]
        line = MapAxis(axis.name, low, high, LINE_CELLS)
        drives = ask.room.line_drives(ask.start, ask.gantry_deg, ask.panel_state, axis=line)
        lower, _ = ask.room.core.map(drives, rows=LINE_CELLS, columns=1)
        spacing = (high - low) / LINE_CELLS
        places = low + spacing * (np.arange(LINE_CELLS) + 0.5)
        good = places[(lower[:, 0] >= ask.keep_mm) & (lower[:, 0] > 0.0)]
        good = good[np.argsort(np.abs(good - now), kind="stable")]
        found = _nearest_allowed(ask, number, good[:: max(1, len(good) // 50)].tolist())
        if found is None:
            continue
        value = _refined(ask, number, now, found, axis.unit)
        at = _with(ask.start, number, value)
        min_mm = ask.room.clearance(at, ask.gantry_deg, ask.panel_state).min_mm
        way = ask.room.sweep(stands, at, ask.gantry_deg, ask.panel_state, stations=1)
        change = value - now
        effort = abs(change) * (MM_PER_DEG if axis.unit == "deg" else 1.0)
        words = move_words(axis.name, change, axis.unit, cartesian=cartesian)
        yield Freeing(
            axis.name, change, axis.unit, value, ask.scope, min_mm, way.min_mm,
            max(spacing, _FINE[axis.unit]), effort, words,
        )  # fmt: skip


def _nearest_allowed(ask: _Question, number: int, values: Sequence[float]) -> float | None:
    """The first value where the couch may stand and, for a hexapod, to which its legs let it go."""
    couch = ask.room.machine.couch()
    for value in values:
        at = _with(ask.start, number, float(value))
        try:
            couch.check_limits(at)
        except CoreError:
            continue
        if legs_stay_within(couch, ask.start, at):
            return float(value)
    return None


def _refined(ask: _Question, number: int, now: float, good: float, unit: str) -> float:
    """Bisected towards `now` while the clearance is kept; always a value that was measured to keep it."""
    bad = now
    while abs(good - bad) > _FINE[unit] and not math.isclose(good, bad):
        middle = 0.5 * (good + bad)
        at = _with(ask.start, number, middle)
        if _keeps(ask.room.clearance(at, ask.gantry_deg, ask.panel_state).min_mm, ask.keep_mm):
            good = middle
        else:
            bad = middle
    return good


def _with(axes: Axes, number: int, value: float) -> Axes:
    return (*axes[:number], value, *axes[number + 1 :])
