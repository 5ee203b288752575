"""Which alarms have a cause now: rules, each with its priority, its words and what to do; nothing here acts."""

from __future__ import annotations

from igrt_hw.models.status import AlarmPriority, LoopState
from igrt_hw.safety.alarms import Cause
from igrt_hw.safety.memory import Memory
from igrt_hw.safety.transitions import IN_MOTION

HIGH, MEDIUM, LOW = AlarmPriority.HIGH, AlarmPriority.MEDIUM, AlarmPriority.LOW

_ACUTE = (*IN_MOTION, LoopState.BEAM_READY)
_WAITING = (LoopState.CHECKED, LoopState.APPROVED, *IN_MOTION)
EXPIRES_SOON_US = 60_000_000
LINK_STEADY_US = 2_000_000
"""A link is back when it was heard without a break for so long: on a loaded machine it comes and goes in a second."""


def causes(m: Memory, now_us: int) -> tuple[Cause, ...]:
    """Every cause that holds at this instant."""
    return (*_faults(m), *_links(m, now_us), *_terminal(m, now_us), *_loop(m), *_ageing(m, now_us))


def _faults(m: Memory) -> list[Cause]:
    found = [
        Cause(
            f"fault/{fault}",
            HIGH,
            fault,
            "Look at the patient. Remove the cause, then reset the fault. See docs/safety/recovery.md.",
            latched=True,
        )
        for fault in m.device_faults()
    ]
    found += [
        Cause(
            f"fault/{name}",
            HIGH,
            text,
            "Look at the patient. Then reset the fault and image again.",
            latched=True,
        )
        for name, text in m.host_faults.items()
    ]
    return found


def _links(m: Memory, now_us: int) -> list[Cause]:
    found = []
    acute = m.state in _ACUTE
    # The interlock falls at `fresh` in any case. Where nothing moves, what is only late is no news for people.
    limit_us = m.config.fresh_us if acute else m.config.lost_us
    for name, device in (("couch", m.couch), ("imager", m.imager), ("pendant", m.pendant)):
        age = device.age_us(now_us)
        if age is not None and age <= limit_us:
            continue
        text = (
            f"{name}: {device.cause or 'no telemetry'}"
            if age is None
            else f"{name}: silent for {limit_us // 1000} ms"
        )
        priority = HIGH if acute else MEDIUM
        found.append(
            Cause(
                f"link/{name}",
                priority,
                text,
                "Check the cable and the device; what is shown of it is old.",
                clears_after_us=LINK_STEADY_US,
            )
        )
    return found


def _terminal(m: Memory, now_us: int) -> list[Cause]:
    age = m.terminal_age_us(now_us)
    if m.plan is None or (age is not None and age <= m.config.terminal_us):
        return []
    return [
        Cause(
            "terminal",
            MEDIUM,
            "the operator's terminal is not heard",
            "Restart the terminal; nothing moves without it.",
            clears_after_us=LINK_STEADY_US,
        )
    ]


def _loop(m: Memory) -> list[Cause]:
    found = []
    if m.couch.last is not None and m.couch.last.estop:
        found.append(
            Cause(
                "emergency stop",
                HIGH,
                "an emergency stop is pressed",
                "Release it when the room is safe.",
            )
        )
    if m.couch.last is not None and m.couch.last.manual_brake_release:
        found.append(
            Cause(
                "brakes",
                HIGH,
                "the brakes are released by hand",
                "Hold the couch; engage the brakes; image again.",
            )
        )
    if m.state in (LoopState.SUPERSEDED, LoopState.EXPIRED):
        found.append(
            Cause("void", MEDIUM, m.reason, "The proposal is void; follow what is needed next.")
        )
    if m.beam_held:
        found.append(
            Cause(
                "target",
                HIGH,
                f"the beam is held. {m.beam_held}",
                "Look at the patient. Release the beam when the target is back; else end the watch and verify anew.",
                latched=True,
            )
        )
    if m.state is LoopState.HELD:
        found.append(Cause("held", LOW, m.reason, "Hold the enable to go on, or STOP."))
    if m.state is LoopState.REJECTED:
        found.append(
            Cause(
                "rejected",
                LOW,
                m.reason,
                "Register again, image again, or set the patient up again.",
            )
        )
    return found


def _ageing(m: Memory, now_us: int) -> list[Cause]:
    if m.proposal is None or m.state not in _WAITING:
        return []
    left = m.proposal.content.expires_us - now_us
    if left > EXPIRES_SOON_US:
        return []
    return [
        Cause(
            "expiry",
            LOW,
            "the proposal expires within a minute",
            "Approve and move now, or propose again.",
        )
    ]
