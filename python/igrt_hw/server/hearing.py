"""From what drivers tell to what the supervisor hears: the same facts in its words. Pure."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Literal, cast

from igrt_hw.models.telemetry import (
    CouchFault,
    CouchFlag,
    CouchTelemetry,
    ImagerFault,
    ImagerFlag,
    ImagerTelemetry,
    PendantFlag,
    PendantTelemetry,
    flag_words,
)
from igrt_hw.safety.events import CouchHeard, CouchState, ImagerHeard, PendantHeard

AXES_MAX = 6
EnablePosition = Literal["released", "enabled", "squeezed"]

# Plain numbers: each status asks for all of them, and `in` of an enum takes ten times as long.
_ENABLE_HELD = CouchFlag.ENABLE_HELD.value
_ENABLE_PANIC = CouchFlag.ENABLE_PANIC.value
_LEASE_FRESH = CouchFlag.LEASE_FRESH.value
_BRAKES_ON = CouchFlag.BRAKES_ON.value
_REFERENCED = CouchFlag.REFERENCED.value
_MOVING = CouchFlag.MOVING.value
_BEAM_GATE_ENERGISED = CouchFlag.BEAM_GATE_ENERGISED.value
_PANEL_ARMS_CLEAR = CouchFlag.PANEL_ARMS_CLEAR.value
_ESTOP_PRESSED = CouchFlag.ESTOP_PRESSED.value
_TOUCH_GUARD_PRESSED = CouchFlag.TOUCH_GUARD_PRESSED.value
_MOVED_BY_HAND = CouchFlag.MOVED_BY_HAND.value
_TELEMETRY_ONLY = CouchFlag.TELEMETRY_ONLY.value
_MANUAL_BRAKE_RELEASE = CouchFlag.MANUAL_BRAKE_RELEASE.value


@lru_cache(maxsize=256, typed=True)  # typed: numbers of different codes are equal
def plain(member: Enum) -> str:
    """The name of a code as the supervisor spells it: `ENABLE_RELEASED` is `enable released`."""
    return member.name.lower().replace("_", " ")


def couch_heard(told: CouchTelemetry) -> CouchHeard:
    """A couch's status as an event."""
    bits = told.flags.value
    return CouchHeard(
        primary=told.primary,
        secondary=told.secondary,
        commanded=told.commanded,
        state=cast(CouchState, plain(told.state)),
        drive_state=told.drive_state.words,
        stop_cause=plain(told.stop_cause),
        enable_held=bool(bits & _ENABLE_HELD),
        enable_panic=bool(bits & _ENABLE_PANIC),
        lease_fresh=bool(bits & _LEASE_FRESH),
        brakes_on=bool(bits & _BRAKES_ON),
        referenced=bool(bits & _REFERENCED),
        moving=bool(bits & _MOVING),
        beam_gate_energised=bool(bits & _BEAM_GATE_ENERGISED),
        panel_arms_clear=bool(bits & _PANEL_ARMS_CLEAR),
        estop=bool(bits & _ESTOP_PRESSED),
        touch_guard=bool(bits & _TOUCH_GUARD_PRESSED),
        moved_by_hand=bool(bits & _MOVED_BY_HAND),
        telemetry_only=bool(bits & _TELEMETRY_ONLY),
        manual_brake_release=bool(bits & _MANUAL_BRAKE_RELEASE),
        faults=flag_words(told.faults),
        plan_nonce=told.plan_nonce,
        path_fraction=told.path_fraction,
        epoch=told.epoch,
        assurance=told.assurance,
        unreported=told.unreported,
        hardware_channel=told.hardware_channel,
    )


def imager_heard(told: ImagerTelemetry) -> ImagerHeard:
    """An imager's status as an event. Arms that are neither parked nor extended are on their way."""
    arms: Literal["parked", "extended", "moving"] = "moving"
    if ImagerFlag.ARMS_PARKED in told.flags:
        arms = "parked"
    elif ImagerFlag.ARMS_EXTENDED in told.flags:
        arms = "extended"
    return ImagerHeard(
        state=told.state.words,
        gantry_deg=told.gantry_deg,
        arms=arms,
        door_closed=ImagerFlag.DOOR_CLOSED in told.flags,
        prepared=ImagerFlag.PREPARED in told.flags,
        exposing=ImagerFlag.EXPOSING in told.flags,
        anode_heat_fraction=told.anode_heat_fraction,
        dose_area_uGycm2=told.dose_area_uGycm2,
        faults=flag_words(told.faults),
    )


def pendant_heard(told: PendantTelemetry) -> PendantHeard:
    """A pendant's status as an event."""
    return PendantHeard(
        enable_position=cast(EnablePosition, plain(told.enable_position)),
        estop=PendantFlag.ESTOP_PRESSED in told.flags,
        faults=flag_words(told.faults),
        keys=jog_keys(told.jog_keys),
    )


def jog_keys(bits: int) -> tuple[tuple[int, int], ...]:
    """The keys that are down: two bits an axis, plus and minus."""
    return tuple(
        (axis, sign)
        for axis in range(AXES_MAX)
        for sign, bit in ((1, 2 * axis), (-1, 2 * axis + 1))
        if bits >> bit & 1
    )


def couch_faults(words: tuple[str, ...]) -> CouchFault:
    """The fault bits of their words; raises `ValueError` for a word that is no fault of a couch."""
    found = CouchFault(0)
    for word in words:
        try:
            found |= CouchFault[word.upper().replace(" ", "_")]
        except KeyError as error:
            raise ValueError(f"{word!r} is no fault of a couch") from error
    return found


def imager_faults(words: tuple[str, ...]) -> ImagerFault:
    """The fault bits of their words; raises `ValueError` for a word that is no fault of an imager."""
    found = ImagerFault(0)
    for word in words:
        try:
            found |= ImagerFault[word.upper().replace(" ", "_")]
        except KeyError as error:
            raise ValueError(f"{word!r} is no fault of an imager") from error
    return found
