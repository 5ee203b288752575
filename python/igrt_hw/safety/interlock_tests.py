"""How an interlock is tested: stages that are watched, each with what has to be seen in the room.

A stage gives None while it waits, an empty text when it was seen, and a sentence when the test has failed. A test
begins with the interlock at rest, so that one that is stuck cannot pass, and a device that is not heard shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from igrt_hw.models.status import LoopState
from igrt_hw.safety.interlocks import CONTRACTS, Act, Contract, broken
from igrt_hw.safety.qa_tests import (
    ACCESSORY_CLEARANCE,
    BEAM_HOLD,
    DOOR,
    EMERGENCY_STOP,
    MACHINE_CLEARANCE,
    MOTION_ENABLE,
)

if TYPE_CHECKING:
    from igrt_hw.safety.memory import Memory

GATE_US_MAX = 500_000
"""From the open door seen to the gate seen down: two reports of each device, and the time of the relay."""


@dataclass(frozen=True, slots=True)
class Watching:
    """An interlock test that is going on."""

    test: str
    by: str
    stage: int
    since_us: int


Stage = Callable[["Memory", Watching, int], str | None]


def _contract(name: str) -> Contract:
    return next(contract for contract in CONTRACTS if contract.name == name)


def _heard(m: Memory, now_us: int) -> bool:
    ages = (m.couch.age_us(now_us), m.imager.age_us(now_us), m.pendant.age_us(now_us))
    return all(age is not None and age <= m.config.fresh_us for age in ages)


def _is_broken(contract: Contract) -> Stage:
    """The interlock is seen broken, and every act that it guards is refused in its name."""

    def stage(m: Memory, watching: Watching, now_us: int) -> str | None:
        situation = m.situation(now_us)
        if not _heard(m, now_us) or contract.holds(situation):
            return None
        allowed = [
            act.value
            for act in Act
            if act in contract.needed_for
            and not any(text.startswith(contract.name) for text in broken(situation, act))
        ]
        return f"broken, and yet allowed: {', '.join(allowed)}" if allowed else ""

    return stage


def _holds_again(contract: Contract) -> Stage:
    """The interlock holds again, and no fault is left latched."""

    def stage(m: Memory, watching: Watching, now_us: int) -> str | None:
        free = m.state is not LoopState.FAULT and not m.device_faults()
        return "" if _heard(m, now_us) and free and contract.holds(m.situation(now_us)) else None

    return stage


def _enable_held(m: Memory, watching: Watching, now_us: int) -> str | None:
    """Pendant and wire both say held. One alone for longer than links may be late is a broken channel."""
    couch, pendant = m.couch.last, m.pendant.last
    if couch is None or pendant is None or not _heard(m, now_us):
        return None
    by_word = pendant.enable_position == "enabled"
    return "" if by_word and couch.enable_held else None


def _enable_squeezed(m: Memory, watching: Watching, now_us: int) -> str | None:
    couch, pendant = m.couch.last, m.pendant.last
    if couch is None or pendant is None or not _heard(m, now_us):
        return None
    if pendant.enable_position != "squeezed":
        return None
    return "" if not couch.enable_held else None


def _enable_released(m: Memory, watching: Watching, now_us: int) -> str | None:
    couch, pendant = m.couch.last, m.pendant.last
    if couch is None or pendant is None or not _heard(m, now_us):
        return None
    return "" if pendant.enable_position == "released" and not couch.enable_held else None


def _beam_released(m: Memory, watching: Watching, now_us: int) -> str | None:
    couch = m.couch.last
    ready = m.state is LoopState.BEAM_READY and couch is not None and couch.beam_gate_energised
    return "" if ready else None


def _gate_falls(m: Memory, watching: Watching, now_us: int) -> str | None:
    """With the door open the gate goes down. It must not have gone down before the door was opened."""
    couch, imager = m.couch.last, m.imager.last
    if couch is None or imager is None:
        return None
    if imager.door_closed:
        if couch.beam_gate_energised:
            return None
        return "the gate fell before the door was opened: release the beam again"
    if not couch.beam_gate_energised:
        return ""
    since = m.door_open_us if m.door_open_us is not None else now_us
    if now_us - since > GATE_US_MAX:
        return f"the gate was still energised {GATE_US_MAX // 1000} ms after the door was open"
    return None


def _stages(name: str) -> tuple[Stage, ...]:
    return (_is_broken(_contract(name)), _holds_again(_contract(name)))


STAGES: Mapping[str, tuple[Stage, ...]] = {
    EMERGENCY_STOP: _stages(EMERGENCY_STOP),
    MACHINE_CLEARANCE: _stages(MACHINE_CLEARANCE),
    ACCESSORY_CLEARANCE: _stages(ACCESSORY_CLEARANCE),
    DOOR: _stages(DOOR),
    MOTION_ENABLE: (_enable_held, _enable_squeezed, _enable_released),
    BEAM_HOLD: (_beam_released, _gate_falls, _holds_again(_contract(DOOR))),
}
"""Interlock test -> its stages, one for each of its steps."""


def at_rest(name: str, m: Memory, now_us: int) -> str:
    """Why a test cannot begin; empty: it can."""
    if not _heard(m, now_us):
        return "a device is not heard"
    if m.state is LoopState.FAULT:
        return "a fault is latched; reset it first"
    situation = m.situation(now_us)
    if name == MOTION_ENABLE:
        seen = _enable_released(m, Watching(name, "", 0, now_us), now_us)
        return "" if seen == "" else "let go of the enable first"
    contract = _contract(DOOR if name == BEAM_HOLD else name)
    return "" if contract.holds(situation) else f"{contract.name}: {contract.detail(situation)}"
