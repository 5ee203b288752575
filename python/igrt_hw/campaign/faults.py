"""What goes wrong in a session, when, and for how long: drawn from one stream of the session's seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

from igrt_hw.campaign.rig import Rig
from igrt_hw.campaign.room import room_factory
from igrt_hw.geometry import Correction

AXES = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
LINES = frozenset({"line.couch", "line.imager", "line.pendant"})
SESSION_US = 2_200_000
FAULTS_MEAN = 1.2
LASTS_US = (30_000, 900_000)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `target` and `kind` as in docs/simulator_control.md, or kind `hand` or `host`."""

    at_us: int
    for_us: int
    target: str
    kind: str
    fields: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """For the summary."""
        return f"{self.target} {self.kind}"

    @property
    def moves_by_itself(self) -> bool:
        """Whether the couch or what measures it goes wrong, so that nobody's permission is asked."""
        return self.target in MOVES_BY_ITSELF


MOVES_BY_ITSELF = frozenset(
    {"axis", "brake", "encoder", "second_channel", "drive", "push", "brake release", "power.couch"}
)

# The largest value that is drawn of a word; of all other words by what the simulator says that their value means.
MOST: dict[str, float] = {
    "line flip": 0.004, "line drop": 0.02, "line garbage": 0.4, "line duplicate": 0.5, "line reorder": 0.5,
    "line delayed": 180.0, "line jitter": 200.0, "line split": 12.0, "line merge": 90.0,
    "encoder wrong": 3.0, "encoder garbage": 50.0, "encoder slow": 1.5,
    "second_channel wrong": 3.0, "second_channel garbage": 50.0, "second_channel slow": 1.5,
    "axis wrong": 1.5, "axis garbage": 5.0, "brake slow": 1.5, "brake delayed": 400.0, "drive garbage": 0.5,
    "clock wrong": 400.0, "clock garbage": 3.0, "generator garbage": 0.5, "generator wrong": 1.5,
    "panel garbage": 200.0, "panel wrong": 500.0, "panel slow": 4.0,
}  # fmt: skip
MOST_BY_MEANING: tuple[tuple[str, float], ...] = (
    ("half period in ms", 90.0), ("ms", 200.0), ("share", 0.9), ("probability", 0.3),
)  # fmt: skip
LEAST: dict[str, float] = {"panel slow": 1.0, "delayed": 1.0, "intermittent": 1.0}
MECHANICS = frozenset(
    {"encoder", "second_channel", "axis", "brake", "drive", "lower_limit", "upper_limit"}
)


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the simulator's table, and the largest value to draw; None: it has no value."""

    target: str
    kind: str
    most: float | None


@cache
def words() -> tuple[tuple[Word, ...], ...]:
    """All words of the simulator that is installed: of lines, of mechanics, of everything else.

    Raises `KeyError` for a word whose value means something that nobody has told the campaign: then add it to `MOST`.
    """
    rows = room_factory()(seed=0).perform("fault.list")["faults"]
    found: tuple[list[Word], ...] = ([], [], [])
    for row in rows:
        target, kind, meaning = str(row["target"]), str(row["kind"]), row["value"]
        word = Word(target, kind, _most(target, kind, str(meaning)) if meaning else None)
        family = 0 if target in LINES else 1 if target in MECHANICS else 2
        found[family].append(word)
    return tuple(map(tuple, found))


def _most(target: str, kind: str, meaning: str) -> float:
    name = f"{target.split('.')[0]} {kind}"
    if name in MOST:
        return MOST[name]
    for begins, most in MOST_BY_MEANING:
        if meaning.startswith(begins):
            return most
    raise KeyError(f"the campaign does not know how much of {name} ({meaning}) to draw")


HANDS = (
    "estop",
    "touch guard",
    "door",
    "push",
    "shift patient",
    "brake release",
    "exposure switch",
    "jog keys",
)
HOST = ("terminal", "crash", "crash", "wrong registration", "wrong registration", "narrow path")
WITH_AXIS = frozenset({"encoder", "second_channel", "axis", "lower_limit", "upper_limit"})
SIGNED = frozenset(
    {"encoder wrong", "encoder slow", "second_channel wrong", "second_channel slow", "axis wrong",
     "clock wrong", "panel wrong"}
)  # fmt: skip


def plan_faults(seed: int) -> tuple[Fault, ...]:
    """The faults of a session, in order of time. At most one of them touches the couch's mechanics, its
    measuring or the contacts of the enable."""
    draw = random.Random(f"{seed}/faults")
    found: list[Fault] = []
    count = sum(draw.random() < FAULTS_MEAN / 4 for _ in range(4))
    mechanical = False
    for _ in range(count):
        fault = draw_fault(draw)
        # Single faults of what is there twice: the couch's measuring, and the two contacts of the enable.
        if fault.moves_by_itself or fault.target.startswith("enable_contact"):
            if mechanical:
                continue
            mechanical = True
        found.append(fault)
    return tuple(sorted(found, key=lambda fault: fault.at_us))


def draw_fault(draw: random.Random) -> Fault:
    """One fault of any family."""
    at_us, for_us = draw.randrange(SESSION_US), draw.randrange(*LASTS_US)
    family = draw.random()
    lines, mechanics, others = words()
    if family < 0.3:
        word = draw.choice(lines)
        fields = _value(draw, word)
        if word.kind != "echo" and draw.random() < 0.4:
            fields += (("direction", draw.choice(("to_device", "to_host"))),)
        return Fault(at_us, for_us, word.target, word.kind, fields)
    if family < 0.7:
        word = draw.choice(mechanics if family < 0.5 else others)
        fields = _value(draw, word)
        if word.target in WITH_AXIS:
            fields += (("axis", draw.choice(AXES)),)
        return Fault(at_us, for_us, word.target, word.kind, fields)
    if family < 0.85:
        name = draw.choice(HANDS)
        return Fault(at_us, for_us, name, "hand", (("by", draw.uniform(-4.0, 4.0)),))
    name = draw.choice(HOST)
    fields = (("by", _wrong(draw)),) if name == "wrong registration" else ()
    return Fault(at_us, for_us, name, "host", fields)


def _value(draw: random.Random, word: Word) -> tuple[tuple[str, Any], ...]:
    if word.most is None:
        return ()
    least = LEAST.get(f"{word.target} {word.kind}", LEAST.get(word.kind, 0.0))
    value = least + (word.most - least) * (1.0 - draw.random())
    if f"{word.target.split('.')[0]} {word.kind}" in SIGNED and draw.random() < 0.5:
        value = -value
    return (("value", value),)


def _wrong(draw: random.Random) -> tuple[float, ...]:
    """A registration that caught on something else: the next vertebra, a sign, some millimetres, a turn."""
    kind = draw.randrange(3)
    if kind == 0:
        return (0.0, draw.choice((-1.0, 1.0)) * draw.uniform(18.0, 25.0), 0.0, 0.0, 0.0, 0.0)
    shift = [draw.uniform(-6.0, 6.0) for _ in range(3)]
    turn = [draw.uniform(-1.5, 1.5) for _ in range(3)] if kind == 1 else [0.0, 0.0, 0.0]
    return (*shift, *turn)


class Misfortune:
    """Lets planned faults happen and end."""

    def __init__(self, rig: Rig, faults: tuple[Fault, ...]) -> None:
        self.rig = rig
        self.injected: Counter[str] = Counter()
        self.mechanical_since_us: int | None = None
        self.estop_deaf = self.guard_deaf = False
        self.shifted_us: int | None = None
        self.stopped_us: int | None = None
        """When a hand pressed the emergency stop or the touch guard last, and the contact worked."""
        self._waiting = list(faults)
        self._running: list[tuple[int, Fault]] = []
        self._begun_us = rig.now_us

    @property
    def next_us(self) -> int | None:
        """When something begins or ends next."""
        times = [ends_us for ends_us, _ in self._running]
        if self._waiting:
            times.append(self._begun_us + self._waiting[0].at_us)
        return min(times, default=None)

    def pass_time(self) -> None:
        """Begin what is due, end what is over."""
        now_us = self.rig.now_us
        while self._waiting and now_us - self._begun_us >= self._waiting[0].at_us:
            self.happen(self._waiting.pop(0))
        for ends_us, fault in list(self._running):
            if now_us >= ends_us:
                self._running.remove((ends_us, fault))
                self._end(fault)

    def happen(self, fault: Fault) -> None:
        """It begins now."""
        self._begin(fault)
        self.injected[fault.name] += 1
        self._running.append((self.rig.now_us + fault.for_us, fault))

    def end_all(self) -> None:
        """Everything is repaired."""
        self._waiting.clear()
        for _, fault in self._running:
            self._end(fault)
        self._running.clear()

    def _begin(self, fault: Fault) -> None:
        rig, fields = self.rig, dict(fault.fields)
        if fault.moves_by_itself:
            self.mechanical_since_us = rig.now_us
        if fault.kind == "hand":
            self._lay_hand(fault.target, float(fields["by"]))
        elif fault.kind == "host":
            self._trouble_host(fault)
        else:
            # A contact that is at fault need not report the hand that presses it.
            self.estop_deaf |= fault.target == "estop" and fault.kind != "stuck"
            self.guard_deaf |= fault.target == "touch_guard" and fault.kind != "stuck"
            rig.room.perform("fault.inject", target=fault.target, kind=fault.kind, **fields)

    def _lay_hand(self, what: str, by: float) -> None:
        rig, perform = self.rig, self.rig.room.perform
        match what:
            case "estop":
                perform("hand.estop", pressed=True)
                self.stopped_us = self.stopped_us if self.estop_deaf else rig.now_us
            case "touch guard":
                perform("hand.touch_guard", pressed=True)
                self.stopped_us = self.stopped_us if self.guard_deaf else rig.now_us
            case "door":
                perform("hand.door", closed=False)
            case "exposure switch":
                perform("hand.exposure_switch", closed=False)
            case "jog keys":
                perform("hand.jog_keys", keys=1 << int(abs(by) * 2.9))
            case "push":
                perform("hand.brake_release", released=True)
                perform("hand.push", axis="longitudinal", by=by)
            case "shift patient":
                self.shifted_us = rig.now_us
                perform("patient.shift", lateral_mm=by)
            case "brake release":
                perform("hand.brake_release", released=True)
            case _:
                raise ValueError(f"no hand {what}")

    def _trouble_host(self, fault: Fault) -> None:
        rig = self.rig
        match fault.target:
            case "terminal":
                rig.lose_terminal()
            case "crash":
                rig.crash(fault.for_us)
            case "wrong registration":
                rig.wrong_registration = Correction(*dict(fault.fields)["by"])
            case "narrow path":
                rig.come_near(7.0)
            case _:
                raise ValueError(f"no trouble {fault.target}")

    def _end(self, fault: Fault) -> None:
        rig, perform = self.rig, self.rig.room.perform
        match fault.kind, fault.target:
            case "hand", "estop":
                perform("hand.estop", pressed=False)
            case "hand", "touch guard":
                perform("hand.touch_guard", pressed=False)
            case "hand", "door":
                perform("hand.door", closed=True)
            case "hand", "exposure switch":
                perform("hand.exposure_switch", closed=True)
            case "hand", "jog keys":
                perform("hand.jog_keys", keys=0)
            case "hand", "brake release" | "push":
                perform("hand.brake_release", released=False)
            case "host", "terminal":
                rig.terminal_up = True
            case "host", "narrow path":
                rig.come_near(150.0)
            case "hand" | "host", _:
                pass
            case _:
                perform("fault.clear", target=fault.target)
