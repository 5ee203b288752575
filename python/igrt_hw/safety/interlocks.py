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
    DRIVE = "driving now"
    MANUAL = "manual motion"
    HOMING = "homing"


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
    target: str | None = None
    """What the watched target has against the beam, empty for nothing; None: nobody asks for it to be watched."""


@dataclass(frozen=True, slots=True)
class Contract:
    """One interlock: name, sentence, the acts it guards, the predicate that mirrors the sentence, what is measured."""

    name: str
    sentence: str
    needed_for: frozenset[Act]
    holds: Callable[[Situation], bool]
    detail: Callable[[Situation], str]
    shown: Callable[[Situation], bool] = lambda _: True
    """Whether it is listed; one that can never fail on this couch is not."""


def _fresh(age_us: int | None, limit_us: int) -> bool:
    return age_us is not None and age_us <= limit_us


def _age(age_us: int | None) -> str:
    return "not heard" if age_us is None else f"{age_us / 1000:.0f} ms"


def _pendant(s: Situation) -> bool:
    return _fresh(s.pendant_age_us, s.config.fresh_us) and not (s.pendant and s.pendant.faults)


def _pendant_detail(s: Situation) -> str:
    if s.pendant is not None and s.pendant.faults:
        return f"pendant: {', '.join(s.pendant.faults)}"
    return _age(s.pendant_age_us)


def _estop_pressed(s: Situation) -> bool:
    return (s.couch is not None and s.couch.estop) or (s.pendant is not None and s.pendant.estop)


def _machine_clearance_detail(s: Situation) -> str:
    if s.couch is None:
        return "couch not heard"
    return "touched" if s.couch.touch_guard else "free"


def _arms_parked(s: Situation) -> bool:
    if s.couch is None or s.imager is None:
        return False
    wire = s.couch.panel_arms_clear or "panel arms" in s.couch.unreported
    return wire and s.imager.arms == "parked"


def _arms_detail(s: Situation) -> str:
    if s.couch is None or s.imager is None:
        return "not heard"
    if "panel arms" in s.couch.unreported:
        return f"the couch does not tell its wire, imager says {s.imager.arms}"
    wire = "clear" if s.couch.panel_arms_clear else "not clear"
    return f"wire {wire}, imager says {s.imager.arms}"


def _referenced(s: Situation) -> bool:
    return s.couch is not None and s.couch.referenced and not s.couch.telemetry_only


def _referenced_detail(s: Situation) -> str:
    if s.couch is None:
        return "couch not heard"
    if s.couch.telemetry_only:
        return "telemetry only: the couch speaks another version of the protocol"
    return "referenced" if s.couch.referenced else "home the couch first"


def _at_rest(s: Situation) -> bool:
    couch = s.couch
    if couch is None:
        return False
    return not couch.moving and couch.brakes_on and not couch.manual_brake_release


def _at_rest_detail(s: Situation) -> str:
    if s.couch is None:
        return "couch not heard"
    moving = "moving" if s.couch.moving else "at rest"
    return f"{moving}, brakes {'on' if s.couch.brakes_on else 'off'}"


def _channels(s: Situation) -> bool:
    apart = s.channels
    if apart is None:
        return False
    return apart.mm <= s.config.channels_mm and apart.deg <= s.config.channels_deg


def _channels_detail(s: Situation) -> str:
    if s.channels is None:
        return "couch not heard"
    if s.couch is not None and "second channel" in s.couch.unreported:
        return "this couch has no second channel; images alone prove where it stands"
    return f"{s.channels.mm:.2f} mm, {s.channels.deg:.2f} deg apart"


def _reduced(s: Situation) -> bool:
    return s.couch is not None and bool(s.couch.assurance)


def _hardware_channel_detail(s: Situation) -> str:
    if not _reduced(s):
        return "not demanded: the couch keeps a lease"
    if s.couch is not None and s.couch.hardware_channel:
        return "the drives refused while the enable was released"
    return "not proved: let go of the enable for a second"


def _enable_held(s: Situation) -> bool:
    return s.pendant is not None and s.pendant.enable_position == "enabled"


def _unmoved(s: Situation) -> bool:
    if s.couch is not None and s.couch.moved_by_hand:
        return False
    if s.moved is None:
        return True
    return s.moved.within(s.config.moved_mm, s.config.moved_deg)


def _unmoved_detail(s: Situation) -> str:
    if s.couch is not None and s.couch.moved_by_hand:
        return "moved by hand with the brakes released"
    if s.moved is None:
        return "no images yet"
    return f"{s.moved.mm:.2f} mm, {s.moved.deg:.2f} deg"


def _gantry_detail(s: Situation) -> str:
    if s.gantry_deg is None:
        return "no path certified"
    return f"turned {s.gantry_deg:.1f} deg since"


def _door_detail(s: Situation) -> str:
    if s.imager is None:
        return "imager not heard"
    return "closed" if s.imager.door_closed else "open"


_ALL = frozenset(Act) - {Act.DRIVE}
_MOVE = frozenset({Act.START, Act.MOTION})
_ANY_MOVE = _MOVE | {Act.MANUAL, Act.HOMING}
_STILL = frozenset({Act.SETUP, Act.IMAGING, Act.START, Act.BEAM})
_ATTENDED = _ALL - {Act.SETUP}

CONTRACTS: tuple[Contract, ...] = (
    Contract(
        "Couch Link",
        "The couch was heard within the last 250 ms.",
        _ALL,
        lambda s: _fresh(s.couch_age_us, s.config.fresh_us),
        lambda s: _age(s.couch_age_us),
    ),
    Contract(
        "Imager Link",
        "The imager was heard within the last 250 ms.",
        _ATTENDED,
        lambda s: _fresh(s.imager_age_us, s.config.fresh_us),
        lambda s: _age(s.imager_age_us),
    ),
    Contract(
        "Pendant",
        "The hand pendant was heard within the last 250 ms and reports no fault.",
        _ANY_MOVE,
        _pendant,
        _pendant_detail,
    ),
    Contract(
        "Terminal",
        "The operator's terminal was heard within the last 500 ms.",
        _ATTENDED,
        lambda s: _fresh(s.terminal_age_us, s.config.terminal_us),
        lambda s: _age(s.terminal_age_us),
    ),
    Contract(
        "Fault",
        "No fault is latched, neither in a device nor here.",
        _ALL,
        lambda s: not s.faults,
        lambda s: "; ".join(s.faults) or "none",
    ),
    Contract(
        "Emergency Stop",
        "No emergency stop is pressed.",
        _ALL,
        lambda s: not _estop_pressed(s),
        lambda s: "pressed" if _estop_pressed(s) else "not pressed",
    ),
    Contract(
        "Machine Clearance",
        "No touch-guard is pressed.",
        _ALL,
        lambda s: s.couch is not None and not s.couch.touch_guard,
        _machine_clearance_detail,
    ),
    Contract(
        "Accessory Clearance",
        "Source and panel arm are parked, by the wire and by the imager's own word.",
        _ANY_MOVE,
        _arms_parked,
        _arms_detail,
    ),
    Contract(
        "Gantry",
        "The gantry stands where it stood when the clearance of the path was certified, within 1 deg.",
        _MOVE,
        lambda s: s.gantry_deg is None or s.gantry_deg <= s.config.gantry_deg,
        _gantry_detail,
    ),
    Contract(
        "Referenced",
        "The couch knows its position and obeys this session.",
        _ALL - {Act.HOMING},
        _referenced,
        _referenced_detail,
    ),
    Contract(
        "Couch At Rest",
        "The couch stands still with its brakes on.",
        _STILL,
        _at_rest,
        _at_rest_detail,
    ),
    Contract(
        "Position Channels",
        "At rest, both position channels of the couch agree within 0.5 mm and 0.2 deg.",
        # Not while moving: two channels sampled at different instants differ by lag, and too sensitive a check is
        # a recall of its own (HexaPOD 2019). In motion the couch compares them itself and latches a fault.
        _STILL,
        _channels,
        _channels_detail,
    ),
    Contract(
        "Patient Motion",
        "The couch stands where the images saw it, within 0.5 mm and 0.2 deg at the isocentre and by every axis.",
        frozenset({Act.START, Act.BEAM}),
        _unmoved,
        _unmoved_detail,
    ),
    Contract(
        "Door",
        "The door of the room is closed.",
        frozenset({Act.IMAGING, Act.BEAM}),
        lambda s: s.imager is not None and s.imager.door_closed,
        _door_detail,
    ),
    Contract(
        "Target Position",
        "A target that is watched was seen of late, within its limit, and one that has to be watched is.",
        frozenset({Act.BEAM}),
        lambda s: not s.target,
        lambda s: s.target or "within its limit",
        lambda s: s.target is not None,
    ),
    Contract(
        "Hardware Channel",
        "A couch without a lease has the pendant's enable in the supply of its drives, as proved at its last release.",
        _ANY_MOVE,
        lambda s: not _reduced(s) or (s.couch is not None and s.couch.hardware_channel),
        _hardware_channel_detail,
        _reduced,
    ),
    Contract(
        "Enable",
        "A couch without a lease is permitted to move only while the pendant says that its enable is held.",
        frozenset({Act.DRIVE}),
        lambda s: s.couch is not None and (not _reduced(s) or _enable_held(s)),
        lambda s: "held" if _enable_held(s) else "not held",
        _reduced,
    ),
)

_GUARDING = {act: tuple(c for c in CONTRACTS if act in c.needed_for) for act in Act}


def judge(situation: Situation) -> tuple[Interlock, ...]:
    """Every interlock, in the order of `CONTRACTS`."""
    return tuple(
        Interlock(
            name=contract.name,
            sentence=contract.sentence,
            satisfied=contract.holds(situation),
            detail=contract.detail(situation),
        )
        for contract in CONTRACTS
        if contract.shown(situation)
    )


def broken(situation: Situation, act: Act) -> tuple[str, ...]:
    """What stands in the way of an act: `name: detail` for each interlock that does not hold."""
    return tuple(
        f"{contract.name}: {contract.detail(situation)}"
        for contract in _GUARDING[act]
        if not contract.holds(situation)
    )
