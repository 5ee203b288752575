"""Interlocks: what must hold, in prose, and whether it does. The predicate mirrors its sentence.

Names are those of DICOM CID 9568 where it has one (Machine Clearance, Patient Motion, Door, Out of Tolerance), the
words of `docs/protocol.md` elsewhere. `needed_for` says which acts an interlock guards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from igrt_hw.models.status import Interlock
from igrt_hw.safety.couch_model import PoseDifference
from igrt_hw.safety.events import CouchHeard, ImagerHeard, PendantHeard
from igrt_hw.safety.rules import SupervisorConfig


class Act(StrEnum):
    """What interlocks guard."""

    SETUP = "confirmation of the setup"
    IMAGING = "imaging"
    START = "start of motion"
    MOTION = "motion"
    BEAM = "beam"


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at one instant. Ages in microseconds; None: never heard, or the link is down."""

    config: SupervisorConfig
    couch: CouchHeard | None
    imager: ImagerHeard | None
    pendant: PendantHeard | None
    couch_age_us: int | None
    imager_age_us: int | None
    pendant_age_us: int | None
    terminal_age_us: int | None
    channels: PoseDifference | None
    moved: PoseDifference | None
    """How far the couch is from where the images (or the arrival) saw it; None: nothing to compare with."""
    gantry_deg: float | None
    """How far the gantry has turned since the clearance of the path was certified; None: nothing was certified."""
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """One interlock: its name, its sentence, the acts it guards, and the predicate that answers (holds, detail)."""

    name: str
    sentence: str
    needed_for: frozenset[Act]
    predicate: Callable[[Situation], tuple[bool, str]]


def _age(age_us: int | None, limit_us: int) -> tuple[bool, str]:
    if age_us is None:
        return False, "not heard"
    return age_us <= limit_us, f"{age_us / 1000:.0f} ms"


def _couch_link(s: Situation) -> tuple[bool, str]:
    return _age(s.couch_age_us, s.config.fresh_us)


def _imager_link(s: Situation) -> tuple[bool, str]:
    return _age(s.imager_age_us, s.config.fresh_us)


def _pendant(s: Situation) -> tuple[bool, str]:
    heard, detail = _age(s.pendant_age_us, s.config.fresh_us)
    if s.pendant is not None and s.pendant.faults:
        return False, f"pendant: {', '.join(s.pendant.faults)}"
    return heard, detail


def _terminal(s: Situation) -> tuple[bool, str]:
    return _age(s.terminal_age_us, s.config.terminal_us)


def _no_fault(s: Situation) -> tuple[bool, str]:
    return not s.faults, "; ".join(s.faults) or "none"


def _estop(s: Situation) -> tuple[bool, str]:
    pressed = (s.couch is not None and s.couch.estop) or (s.pendant is not None and s.pendant.estop)
    return not pressed, "pressed" if pressed else "not pressed"


def _machine_clearance(s: Situation) -> tuple[bool, str]:
    if s.couch is None:
        return False, "couch not heard"
    return not s.couch.touch_guard, "touched" if s.couch.touch_guard else "free"


def _arms_parked(s: Situation) -> tuple[bool, str]:
    if s.couch is None or s.imager is None:
        return False, "not heard"
    wire, said = s.couch.panel_arms_clear, s.imager.arms == "parked"
    return wire and said, f"wire {'clear' if wire else 'not clear'}, imager says {s.imager.arms}"


def _referenced(s: Situation) -> tuple[bool, str]:
    if s.couch is None:
        return False, "couch not heard"
    if s.couch.telemetry_only:
        return False, "telemetry only: the couch speaks another version of the protocol"
    return s.couch.referenced, "referenced" if s.couch.referenced else "home the couch first"


def _at_rest(s: Situation) -> tuple[bool, str]:
    if s.couch is None:
        return False, "couch not heard"
    rest = not s.couch.moving and s.couch.brakes_on and not s.couch.manual_brake_release
    return (
        rest,
        f"{'moving' if s.couch.moving else 'at rest'}, brakes {'on' if s.couch.brakes_on else 'off'}",
    )


def _channels(s: Situation) -> tuple[bool, str]:
    if s.channels is None:
        return False, "couch not heard"
    close = s.channels.mm <= s.config.channels_mm and s.channels.deg <= s.config.channels_deg
    return close, f"{s.channels.mm:.2f} mm, {s.channels.deg:.2f} deg apart"


def _unmoved(s: Situation) -> tuple[bool, str]:
    if s.couch is not None and s.couch.moved_by_hand:
        return False, "moved by hand with the brakes released"
    if s.moved is None:
        return True, "no images yet"
    close = s.moved.mm <= s.config.moved_mm and s.moved.deg <= s.config.moved_deg
    return close, f"{s.moved.mm:.2f} mm, {s.moved.deg:.2f} deg"


def _gantry(s: Situation) -> tuple[bool, str]:
    if s.gantry_deg is None:
        return True, "no path certified"
    return s.gantry_deg <= s.config.gantry_deg, f"turned {s.gantry_deg:.1f} deg since"


def _door(s: Situation) -> tuple[bool, str]:
    if s.imager is None:
        return False, "imager not heard"
    return s.imager.door_closed, "closed" if s.imager.door_closed else "open"


_ALL = frozenset(Act)
_MOVE = frozenset({Act.START, Act.MOTION})
_STILL = frozenset({Act.SETUP, Act.IMAGING, Act.START, Act.BEAM})
_ATTENDED = _ALL - {Act.SETUP}

CONTRACTS: tuple[Contract, ...] = (
    Contract("Couch Link", "The couch was heard within the last 250 ms.", _ALL, _couch_link),
    Contract(
        "Imager Link", "The imager was heard within the last 250 ms.", _ATTENDED, _imager_link
    ),
    Contract(
        "Pendant",
        "The hand pendant was heard within the last 250 ms and reports no fault.",
        frozenset({Act.START, Act.MOTION}),
        _pendant,
    ),
    Contract(
        "Terminal",
        "The operator's terminal was heard within the last 500 ms.",
        _ATTENDED,
        _terminal,
    ),
    Contract("Fault", "No fault is latched, neither in a device nor here.", _ALL, _no_fault),
    Contract("Emergency Stop", "No emergency stop is pressed.", _ALL, _estop),
    Contract("Machine Clearance", "No touch-guard is pressed.", _ALL, _machine_clearance),
    Contract(
        "Accessory Clearance",
        "Source and panel arm are parked, by the wire and by the imager's own word.",
        _MOVE,
        _arms_parked,
    ),
    Contract(
        "Gantry",
        "The gantry stands where it stood when the clearance of the path was certified, within 1 deg.",
        _MOVE,
        _gantry,
    ),
    Contract(
        "Referenced", "The couch knows its position and obeys this session.", _ALL, _referenced
    ),
    Contract("Couch At Rest", "The couch stands still with its brakes on.", _STILL, _at_rest),
    Contract(
        "Position Channels",
        "At rest, both position channels of the couch agree within 0.5 mm and 0.2 deg.",
        # Not while moving: two channels sampled at different instants differ by lag, and too sensitive a check is
        # a recall of its own (HexaPOD 2019). In motion the couch compares them itself and latches a fault.
        _STILL,
        _channels,
    ),
    Contract(
        "Patient Motion",
        "The couch stands where the images saw it, within 0.5 mm and 0.2 deg.",
        frozenset({Act.START, Act.BEAM}),
        _unmoved,
    ),
    Contract("Door", "The door of the room is closed.", frozenset({Act.IMAGING, Act.BEAM}), _door),
)


def judge(situation: Situation) -> tuple[Interlock, ...]:
    """Every interlock, in the order of `CONTRACTS`."""
    found = []
    for contract in CONTRACTS:
        holds, detail = contract.predicate(situation)
        found.append(
            Interlock(
                name=contract.name, sentence=contract.sentence, satisfied=holds, detail=detail
            )
        )
    return tuple(found)


def broken(situation: Situation, act: Act) -> tuple[str, ...]:
    """What stands in the way of an act: `name: detail` for each interlock that does not hold."""
    found = []
    for contract in CONTRACTS:
        if act not in contract.needed_for:
            continue
        holds, detail = contract.predicate(situation)
        if not holds:
            found.append(f"{contract.name}: {detail}")
    return tuple(found)
