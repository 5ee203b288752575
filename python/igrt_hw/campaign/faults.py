"""What goes wrong in a session, when, and for how long: drawn from one stream of the session's seed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from igrt_hw.campaign.rig import Rig

AXES = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
LINES = ("line.couch", "line.imager", "line.pendant")
SESSION_US = 6_000_000
FAULTS_MEAN = 1.2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. `target` and `kind` as in docs/simulator_control.md, or `hand` and `host`."""

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


MOVES_BY_ITSELF = (
    "axis",
    "brake",
    "encoder",
    "second_channel",
    "drive",
    "push",
    "brake release",
    "power.couch",
)

_LINE_KINDS = (
    ("flip", 0.002), ("drop", 0.01), ("garbage", 0.2), ("duplicate", 0.3), ("reorder", 0.3), ("delayed", 120.0),
    ("jitter", 150.0), ("split", 8.0), ("merge", 60.0), ("stall", None), ("off", None), ("echo", None), ("baud", None),
)  # fmt: skip
_DEVICE_KINDS = (
    ("encoder", "stuck", None), ("encoder", "wrong", 2.0), ("encoder", "garbage", 30.0), ("encoder", "slow", 1.0),
    ("second_channel", "stuck", None), ("second_channel", "wrong", 2.0), ("second_channel", "slow", 1.0),
    ("axis", "stuck", None), ("axis", "slow", 0.4), ("axis", "wrong", 1.0), ("axis", "garbage", 3.0),
    ("brake", "stuck", None), ("brake", "slow", 1.0), ("drive", "off", None),
)  # fmt: skip
_OTHER_KINDS = (
    ("touch_guard", "stuck", None), ("touch_guard", "intermittent", 40.0), ("estop", "stuck", None),
    ("enable_contact_a", "stuck", None), ("enable_contact_a", "off", None),
    ("enable_contact_b", "intermittent", 70.0), ("pendant_supply", "off", None),
    ("power.imager", "off", None), ("power.pendant", "off", None), ("power.couch", "off", None),
    ("clock.couch", "wrong", 300.0), ("clock.imager", "wrong", -300.0),
)  # fmt: skip
_HANDS = ("estop", "touch guard", "door", "push", "shift patient", "brake release")
_HOST = ("terminal", "crash", "terminal", "wrong registration", "narrow path")


def plan_faults(seed: int) -> tuple[Fault, ...]:
    """The faults of a session, in order of time. At most one of them touches the couch's mechanics or measuring."""
    draw = random.Random(f"{seed}/faults")
    found: list[Fault] = []
    count = sum(draw.random() < FAULTS_MEAN / 4 for _ in range(4))
    mechanical = False
    for _ in range(count):
        fault = _fault(draw)
        if fault.moves_by_itself:
            if mechanical:
                continue
            mechanical = True
        found.append(fault)
    return tuple(sorted(found, key=lambda fault: fault.at_us))


def _fault(draw: random.Random) -> Fault:
    at_us, for_us = draw.randrange(SESSION_US), draw.randrange(50_000, 2_000_000)
    family = draw.random()
    if family < 0.35:
        kind, value = draw.choice(_LINE_KINDS)
        return Fault(at_us, for_us, draw.choice(LINES), kind, _value(value))
    if family < 0.55:
        target, kind, value = draw.choice(_DEVICE_KINDS)
        fields = _value(value)
        if target in ("encoder", "second_channel", "axis", "brake"):
            fields += (("axis", draw.choice(AXES)),)
        return Fault(at_us, for_us, target, kind, fields)
    if family < 0.7:
        target, kind, value = draw.choice(_OTHER_KINDS)
        return Fault(at_us, for_us, target, kind, _value(value))
    if family < 0.85:
        name = draw.choice(_HANDS)
        return Fault(at_us, for_us, name, "hand", (("by", draw.uniform(-3.0, 3.0)),))
    return Fault(at_us, for_us, draw.choice(_HOST), "host")


def _value(value: float | None) -> tuple[tuple[str, Any], ...]:
    return () if value is None else (("value", value),)


class Misfortune:
    """Lets planned faults happen and end."""

    def __init__(self, rig: Rig, faults: tuple[Fault, ...]) -> None:
        self.rig = rig
        self.injected: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.mechanical_since_us: int | None = None
        self._waiting = list(faults)
        self._running: list[tuple[int, Fault]] = []
        self._begun_us = rig.now_us

    def pass_time(self) -> None:
        """Begin what is due, end what is over."""
        now_us = self.rig.now_us
        while self._waiting and now_us - self._begun_us >= self._waiting[0].at_us:
            fault = self._waiting.pop(0)
            self._begin(fault)
            self.injected[fault.name] += 1
            self._running.append((now_us + fault.for_us, fault))
        for ends_us, fault in list(self._running):
            if now_us >= ends_us:
                self._running.remove((ends_us, fault))
                self._end(fault)

    def end_all(self) -> None:
        """Everything is repaired."""
        self._waiting.clear()
        for _, fault in self._running:
            self._end(fault)
        self._running.clear()

    def _begin(self, fault: Fault) -> None:
        rig, room, fields = self.rig, self.rig.room, dict(fault.fields)
        if fault.moves_by_itself:
            self.mechanical_since_us = rig.now_us
        match fault.target:
            case "estop":
                if fault.kind == "hand":
                    room.perform("hand.estop", pressed=True)
                    return
            case "touch guard":
                room.perform("hand.touch_guard", pressed=True)
                return
            case "door":
                room.perform("hand.door", closed=False)
                return
            case "push":
                self._push(float(fields["by"]))
                return
            case "shift patient":
                room.perform("patient.shift", lateral_mm=fields["by"])
                return
            case "brake release":
                room.perform("hand.brake_release", released=True)
                return
            case "terminal":
                rig.lose_terminal()
                return
            case "crash":
                rig.crash(fault.for_us)
                return
            case "wrong registration":
                rig.registration_error = None
                return
            case "narrow path":
                rig.clearance_mm = 7.0
                return
            case _:
                pass
        room.perform("fault.inject", target=fault.target, kind=fault.kind, **fields)

    def _push(self, by_mm: float) -> None:
        """Somebody leans on the couch: brakes that hold are stronger than a person."""
        if self.rig.truth()["brakes_engaged"]:
            return
        self.rig.room.perform("hand.push", axis="longitudinal", by=by_mm)

    def _end(self, fault: Fault) -> None:
        rig, room = self.rig, self.rig.room
        match fault.target:
            case "estop" if fault.kind == "hand":
                room.perform("hand.estop", pressed=False)
            case "touch guard":
                room.perform("hand.touch_guard", pressed=False)
            case "door":
                room.perform("hand.door", closed=True)
            case "brake release":
                room.perform("hand.brake_release", released=False)
            case "terminal":
                rig.terminal_up = True
            case "narrow path":
                rig.clearance_mm = 150.0
            case "push" | "shift patient" | "crash" | "wrong registration":
                pass
            case _:
                room.perform("fault.clear", target=fault.target)
