"""Detours for straight moves that are blocked: legs in axis space, every one certified to keep the clearance asked for.

First patterns that a therapist would try (lower or retract, move, come back), the shortest that works; then
RRT-Connect (Kuffner and LaValle, ICRA 2000) with shortcuts. A detour is a proposal for people and is never chosen by
itself: who accepts it approves its legs one by one, like any other move. Seeded, and bounded by a number of sweeps, not
by time: the same question has the same answer everywhere. Nothing found is no proof that there is nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CoreError, Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.leg_margin import legs_stay_within
from igrt_hw.machine.room import PanelState, PathPlace, Room, RoomError, SweepResult

Axes = tuple[float, ...]
Vector = NDArray[np.float64]

MM_PER_DEG = 500.0 * math.pi / 180.0
"""A degree counts as the travel of a point half a metre away, as in `Couch.inverse_nearest`."""

STEPS_MM = (0.0, 20.0, 40.0, 60.0, 100.0, 150.0, 200.0, 300.0, 400.0, 600.0)
"""How far a pattern goes out of the way."""

_SMALLEST = 1e-6
_CARTESIAN = ("pedestal", "hexapod")
Direction = Literal["down", "up", "back", "left", "right"]
_PATTERNS: tuple[tuple[Direction, ...], ...] = (
    ("down",), ("back",), ("up",), ("left",), ("right",), ("down", "back"), ("back", "down"),
    ("up", "back"), ("back", "up"),
)  # fmt: skip
# Component of the axes (Cartesian families) or of the table's own frame, sign, word out and word back.
_WAY: dict[Direction, tuple[int, float, str, str]] = {
    "down": (2, -1.0, "lower", "raise"),
    "up": (2, 1.0, "raise", "lower"),
    "back": (1, -1.0, "retract", "advance"),
    "left": (0, -1.0, "go left", "come back right"),
    "right": (0, 1.0, "go right", "come back left"),
}


@dataclass(frozen=True, slots=True)
class PlannerRule:
    """What a detour must keep and how long it is looked for.

    Attributes:
        keep_mm: clearance that every leg keeps all the way.
        tolerance_mm: how far below an attained clearance a certificate may lie; small gaps need a small one.
        sweeps_max: certified sweeps to spend at most; a sweep takes about a third of a millisecond.
        seed: of the sampling.
        step: longest extension of a tree; millimetres, a degree counts as `MM_PER_DEG`.
    """

    keep_mm: float = 20.0
    tolerance_mm: float = 0.5
    sweeps_max: int = 4000
    seed: int = 1
    step: float = 150.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.keep_mm) and self.keep_mm >= 0.0):
            raise RoomError(f"keep_mm {self.keep_mm}: a clearance of 0 mm or more is needed")
        if self.sweeps_max < 1 or not self.step > 0.0:
            raise RoomError("a planner needs at least one sweep and a step above 0")


@dataclass(frozen=True, slots=True)
class Leg:
    """One straight move in axis space.

    Attributes:
        name: what it does, for people.
        start_axes, target_axes: couch axes, mm and degrees.
        min_mm: certified: at every instant of the leg the clearance is at least this.
        nearest: the nearest place found on it.
    """

    name: str
    start_axes: Axes
    target_axes: Axes
    min_mm: float
    nearest: PathPlace


@dataclass(frozen=True, slots=True)
class Detour:
    """Legs from start to target.

    Attributes:
        how: straight (the direct move is clear), pattern, or sampled.
        legs: in order.
        travel: their length in axis space; millimetres, a degree counts as `MM_PER_DEG`.
    """

    how: Literal["straight", "pattern", "sampled"]
    legs: tuple[Leg, ...]
    travel: float

    @property
    def min_mm(self) -> float:
        """Certified clearance of the whole detour."""
        return min(leg.min_mm for leg in self.legs)

    def text(self) -> str:
        """One sentence: the legs in order and what the whole keeps."""
        names = ", then ".join(leg.name for leg in self.legs)
        return f"{names}; every leg keeps {self.min_mm:.1f} mm"


@dataclass(frozen=True, slots=True)
class DetourProposal:
    """What the planner found. A proposal: nothing moves because of it.

    Attributes:
        detour: None if nothing was found.
        reason: what blocks the straight move, and if there is no detour why not.
        straight: the direct move, certified.
        sweeps: how many motions were certified.
        model_hash: of the collision model.
    """

    detour: Detour | None
    reason: str
    straight: SweepResult
    sweeps: int
    model_hash: str

    def text(self) -> str:
        """For a refusal: the detour if there is one, else why there is none."""
        if self.detour is None:
            return self.reason
        if self.detour.how == "straight":
            return f"the straight move is clear: it keeps {self.detour.min_mm:.1f} mm"
        return f"a detour exists: {self.detour.text()} (a proposal; every leg is to be approved)"


def propose_detour(
    room: Room,
    start_axes: Sequence[float],
    target_axes: Sequence[float],
    gantry_deg: float,
    panel_state: PanelState,
    rule: PlannerRule | None = None,
) -> DetourProposal:
    """Look for legs from start to target that keep `rule.keep_mm` and the couch's limits; gantry and arms stand.

    Raises:
        RoomError: an arm left out, numbers that are none; the same for a start or target outside the limits.
        ClearanceInputError: a tolerance out of range.
    """
    rule = rule or PlannerRule()
    search = _Search(room, gantry_deg, panel_state, rule)
    start, target = tuple(map(float, start_axes)), tuple(map(float, target_axes))
    straight = search.sweep(start, target)
    search.check_ends(start, target)

    def answer(detour: Detour | None, reason: str) -> DetourProposal:
        return DetourProposal(detour, reason, straight, search.sweeps, room.model_hash)

    if search.keeps(start, target):
        return answer(search.detour("straight", [(start, target, None)]), "nothing blocks the move")
    blocked = f"the straight move is blocked: {(straight.contact or straight.nearest).text()}"
    for what, axes in (("start", start), ("target", target)):
        here = room.clearance(axes, gantry_deg, panel_state).nearest
        if here.contact or here.lower_mm < rule.keep_mm:
            ending = (
                f"no detour can keep {rule.keep_mm:g} mm, since the {what} does not: {here.text()}"
            )
            return answer(None, f"{blocked}; {ending}")
    found = _first_pattern(search, start, target) or _sampled(search, start, target)
    if found is not None:
        return answer(found, blocked)
    return answer(
        None,
        f"{blocked}; no detour that keeps {rule.keep_mm:g} mm was found in {search.sweeps} sweeps, "
        "which is no proof that there is none",
    )


class _SpentError(Exception):
    """The budget of sweeps is spent."""


class _Search:
    """Certified moves of one question, each computed once, and the budget."""

    def __init__(
        self, room: Room, gantry_deg: float, panel_state: PanelState, rule: PlannerRule
    ) -> None:
        self.room, self.rule = room, rule
        self.gantry_deg, self.panel_state = gantry_deg, panel_state
        self.couch = room.machine.couch()
        self.cartesian = self.couch.family in _CARTESIAN
        self.low, self.high = (np.array(ends) for ends in zip(*self.couch.limits, strict=True))
        self.sweeps = 0
        self._asked = 0
        self._known: dict[tuple[Axes, Axes], SweepResult] = {}

    def sweep(self, start: Axes, target: Axes) -> SweepResult:
        known = self._known.get((start, target))
        if known is not None:
            return known
        back = self._known.get((target, start))
        if back is not None and back.contact is None:
            # The same positions in the other order: the same certificate, and no second chance to differ from it.
            near = replace(back.nearest, path_fraction=1.0 - back.nearest.path_fraction)
            return replace(
                back,
                nearest=near,
                profile_mm=back.profile_mm[::-1],
                profile_pairs=back.profile_pairs[::-1],
            )
        if self.sweeps >= self.rule.sweeps_max:
            raise _SpentError
        self.sweeps += 1
        swept = self.room.sweep(
            start,
            target,
            self.gantry_deg,
            self.panel_state,
            stations=1,
            tolerance_mm=self.rule.tolerance_mm,
        )
        self._known[start, target] = swept
        return swept

    def keeps(self, start: Axes, target: Axes) -> bool:
        """Whether the leg stays within the limits and keeps the clearance, both certified."""
        self._asked += 1
        if self._asked > 20 * self.rule.sweeps_max:  # Legs outside the limits cost no sweep.
            raise _SpentError
        if not (self.allowed(start) and self.allowed(target)):
            return False
        swept = self.sweep(start, target)
        if swept.contact is not None or swept.min_mm < self.rule.keep_mm:
            return False
        return legs_stay_within(self.couch, start, target)

    def allowed(self, axes: Axes) -> bool:
        """Whether the couch may stand there. A straight line between two such places keeps the axis limits."""
        try:
            self.couch.check_limits(axes)
        except CoreError:
            return False
        return True

    def check_ends(self, start: Axes, target: Axes) -> None:
        for what, axes in (("start", start), ("target", target)):
            try:
                self.couch.check_limits(axes)
            except CoreError as error:
                raise RoomError(f"the {what} is outside the couch's limits: {error}") from error

    def detour(
        self,
        how: Literal["straight", "pattern", "sampled"],
        legs: Sequence[tuple[Axes, Axes, str | None]],
    ) -> Detour:
        certified = []
        for start, target, name in legs:
            swept = self.sweep(start, target)
            name = name or self.name_of(start, target)
            certified.append(Leg(name, start, target, swept.min_mm, swept.nearest))
        length = sum(distance(self, leg.start_axes, leg.target_axes) for leg in certified)
        return Detour(how, tuple(certified), length)

    def name_of(self, start: Axes, target: Axes) -> str:
        """The leg in words, every axis that moves."""
        words = []
        for axis, a, b in zip(self.room.machine.description.axis, start, target, strict=True):
            if abs(b - a) > 1e-3:
                words.append(move_words(axis.name, b - a, axis.unit, cartesian=self.cartesian))
        return ", ".join(words) or "stay"


def move_words(axis: str, change: float, unit: str, *, cartesian: bool = True) -> str:
    """A move of one axis in words: `lower 60 mm`, `rotation +12.5°`."""
    amount = f"{abs(change):.1f}".removesuffix(".0") + ("°" if unit == "deg" else f" {unit}")
    if axis == "vertical":
        return f"{'raise' if change > 0 else 'lower'} {amount}"
    if cartesian and axis == "longitudinal":
        return f"{'advance' if change > 0 else 'retract'} {amount}"
    return f"{axis.replace('_', ' ')} {'+' if change > 0 else '−'}{amount}"


def _first_pattern(search: _Search, start: Axes, target: Axes) -> Detour | None:
    """The shortest pattern all of whose legs keep the clearance; at most half the budget is spent on patterns."""
    ways = sorted(_patterns(search, start, target), key=lambda way: way[0])
    try:
        for _, legs in ways:
            if search.sweeps > search.rule.sweeps_max // 2:
                break
            if all(search.keeps(a, b) for a, b, _ in legs):
                return search.detour("pattern", legs)
    except _SpentError:
        pass
    return None


def _patterns(
    search: _Search, start: Axes, target: Axes
) -> Iterator[tuple[float, list[tuple[Axes, Axes, str | None]]]]:
    """Out of the way, over, and back: legs with their length."""
    for directions in _PATTERNS:
        for steps in itertools.product(STEPS_MM, repeat=len(directions)):
            if len(steps) > 1 and 0.0 in steps:
                continue
            out, away = _excursion(search, start, target, directions, steps)
            back, beyond = _excursion(search, target, start, directions, steps)
            if out is None or back is None:
                continue
            over = (away, beyond, None)
            home = [(b, a, _reverse(name)) for a, b, name in reversed(back)]
            legs = [leg for leg in (*out, over, *home) if leg[0] != leg[1]]
            yield sum(distance(search, a, b) for a, b, _ in legs), legs


def _excursion(
    search: _Search,
    here: Axes,
    there: Axes,
    directions: tuple[Direction, ...],
    steps: tuple[float, ...],
) -> tuple[list[tuple[Axes, Axes, str | None]] | None, Axes]:
    """Legs out of the way from `here`, to a place as far out as `there` will be; None where the couch cannot go."""
    legs: list[tuple[Axes, Axes, str | None]] = []
    at = here
    for direction, step in zip(directions, steps, strict=True):
        component, sign, word, _ = _WAY[direction]
        own, other = (_coordinate(search, axes, component) for axes in (here, there))
        amount = step + max(0.0, sign * (other - own))
        if amount < _SMALLEST:
            continue
        after = _moved(search, at, component, sign * amount)
        if after is None or not search.allowed(after):
            return None, at
        legs.append((at, after, f"{word} {amount:.1f}".removesuffix(".0") + " mm"))
        at = after
    return legs, at


def _reverse(name: str | None) -> str | None:
    for _, _, word, back in _WAY.values():
        if name is not None and name.startswith(f"{word} "):
            return back + name.removeprefix(word)
    return name


def _coordinate(search: _Search, axes: Axes, component: int) -> float:
    if search.cartesian:
        return axes[component]
    # An arm's table top turns; only its height is the same coordinate at both ends.
    return search.couch.forward(axes).translation_mm[2] if component == 2 else 0.0


def _moved(search: _Search, axes: Axes, component: int, amount: float) -> Axes | None:
    """Axes with the table top moved: along an axis of a Cartesian couch, else along up or the table's own axes."""
    if search.cartesian:
        return (*axes[:component], axes[component] + amount, *axes[component + 1 :])
    offset = [0.0] * 6
    offset[component] = amount
    pose = search.couch.forward(axes)
    try:
        if component == 2:
            moved = Pose.from_parameters(offset, Frame.FIXED, Frame.FIXED) @ pose
        else:
            moved = pose @ Pose.from_parameters(offset, Frame.TABLE_TOP, Frame.TABLE_TOP)
        return tuple(search.couch.inverse_nearest(moved, axes))
    except CoreError:
        return None


def distance(search: _Search, a: Axes, b: Axes) -> float:
    """Length of a leg; millimetres, a degree counts as `MM_PER_DEG`."""
    return float(np.linalg.norm((np.array(b) - np.array(a)) * _weights(search)))


def _weights(search: _Search) -> Vector:
    units = (axis.unit for axis in search.room.machine.description.axis)
    return np.array([MM_PER_DEG if unit == "deg" else 1.0 for unit in units])


class _Tree:
    """Places that are joined to a root by certified legs."""

    def __init__(self, root: Axes, weights: Vector) -> None:
        self.places = [root]
        self.parents = [-1]
        self._weights = weights

    def nearest(self, to: Vector) -> int:
        places = np.array(self.places)
        return int(np.argmin(np.linalg.norm((places - to) * self._weights, axis=1)))

    def add(self, place: Axes, parent: int) -> int:
        self.places.append(place)
        self.parents.append(parent)
        return len(self.places) - 1

    def to_root(self, at: int) -> list[Axes]:
        way = []
        while at >= 0:
            way.append(self.places[at])
            at = self.parents[at]
        return way


def _sampled(search: _Search, start: Axes, target: Axes) -> Detour | None:
    """RRT-Connect from both ends, then shortcuts with what is left of the budget."""
    random = np.random.default_rng(search.rule.seed)
    try:
        way = _connect(search, start, target, random)
    except _SpentError:
        return None
    way = _shortened(search, way, random)
    return search.detour("sampled", [(a, b, None) for a, b in itertools.pairwise(way)])


def _connect(search: _Search, start: Axes, target: Axes, random: np.random.Generator) -> list[Axes]:
    weights = _weights(search)
    grown, other = _Tree(start, weights), _Tree(target, weights)
    ends = np.array([start, target])
    spread = 0.05 * (search.high - search.low)
    while True:
        if (
            random.random() < 0.5
        ):  # Near the ends first, ever wider; else anywhere the couch can go.
            spread = np.minimum(spread * 1.02, search.high - search.low)
            goal = ends[random.integers(2)] + random.normal(0.0, 1.0, 6) * spread
            goal = np.minimum(np.maximum(goal, search.low), search.high)
        else:
            goal = random.uniform(search.low, search.high)
        added = _extend(search, grown, goal, weights)
        if added is not None:
            at = grown.places[added]
            reached: int | None = -1
            while reached is not None:
                reached = _extend(search, other, np.array(at), weights)
                if reached is not None and other.places[reached] == at:
                    way = [*reversed(grown.to_root(added)), *other.to_root(reached)[1:]]
                    return way if way[0] == start else way[::-1]
        grown, other = other, grown


def _extend(search: _Search, tree: _Tree, goal: Vector, weights: Vector) -> int | None:
    """One certified step of the tree towards `goal`; None if it is blocked."""
    near = tree.nearest(goal)
    begin = np.array(tree.places[near])
    length = float(np.linalg.norm((goal - begin) * weights))
    if length < _SMALLEST:
        return None
    share = min(1.0, search.rule.step / length)
    place = tuple(float(x) for x in (goal if share == 1.0 else begin + (goal - begin) * share))
    if not search.keeps(tree.places[near], place):
        return None
    return tree.add(place, near)


def _shortened(search: _Search, way: list[Axes], random: np.random.Generator) -> list[Axes]:
    """Leaves out corners, then cuts them; never longer than before. Ends when nothing helps or the budget is spent."""
    try:
        at = 0
        while at < len(way) - 2:  # As far ahead as one leg reaches.
            for ahead in range(len(way) - 1, at + 1, -1):
                if search.keeps(way[at], way[ahead]):
                    way = [*way[: at + 1], *way[ahead:]]
                    break
            at += 1
        for _ in range(60):
            if len(way) < 3:
                break
            corner = int(random.integers(1, len(way) - 1))
            shares = random.random(2)
            a = _between(way[corner], way[corner - 1], float(shares[0]))
            b = _between(way[corner], way[corner + 1], float(shares[1]))
            if all(
                search.keeps(*leg) for leg in ((way[corner - 1], a), (a, b), (b, way[corner + 1]))
            ):
                cut = _without_corners(search, [*way[:corner], a, b, *way[corner + 1 :]])
                # A corner more must be worth it: a leg is something that people read and approve.
                if len(cut) <= len(way) or _length(search, cut) < 0.95 * _length(search, way):
                    way = cut
    except _SpentError:
        pass
    return way


def _without_corners(search: _Search, way: list[Axes]) -> list[Axes]:
    at = 1
    while at < len(way) - 1:
        if search.keeps(way[at - 1], way[at + 1]):
            way = [*way[:at], *way[at + 1 :]]
        else:
            at += 1
    return way


def _length(search: _Search, way: list[Axes]) -> float:
    return sum(distance(search, a, b) for a, b in itertools.pairwise(way))


def _between(a: Axes, b: Axes, share: float) -> Axes:
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))
