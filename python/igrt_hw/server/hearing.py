"""From what drivers tell to what the supervisor hears: the same facts in its words. Pure."""

from __future__ import annotations

from enum import Enum
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


def plain(member: Enum) -> str:
    """The name of a code as the supervisor spells it: `ENABLE_RELEASED` is `enable released`."""
    return member.name.lower().replace("_", " ")


def couch_heard(told: CouchTelemetry) -> CouchHeard:
    """A couch's status as an event."""
    flags = told.flags
    return CouchHeard(
        primary=told.primary,
        secondary=told.secondary,
        commanded=told.commanded,
        state=cast(CouchState, plain(told.state)),
        drive_state=told.drive_state.words,
        stop_cause=plain(told.stop_cause),
        enable_held=CouchFlag.ENABLE_HELD in flags,
        enable_panic=CouchFlag.ENABLE_PANIC in flags,
        lease_fresh=CouchFlag.LEASE_FRESH in flags,
        brakes_on=CouchFlag.BRAKES_ON in flags,
        referenced=CouchFlag.REFERENCED in flags,
        moving=CouchFlag.MOVING in flags,
        beam_gate_energised=CouchFlag.BEAM_GATE_ENERGISED in flags,
        panel_arms_clear=CouchFlag.PANEL_ARMS_CLEAR in flags,
        estop=CouchFlag.ESTOP_PRESSED in flags,
        touch_guard=CouchFlag.TOUCH_GUARD_PRESSED in flags,
        moved_by_hand=CouchFlag.MOVED_BY_HAND in flags,
        telemetry_only=CouchFlag.TELEMETRY_ONLY in flags,
        manual_brake_release=CouchFlag.MANUAL_BRAKE_RELEASE in flags,
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
