"""What each command needs on the line, as one table (protocol.md, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from igrt_hw.link import messages as m


@dataclass(frozen=True, slots=True)
class Rule:
    """How a command is sent.

    ttl_ms: the command must not begin later than this after it was given, by the device's clock.
    from_sending: the time runs from the first sending instead; for what is harmless late (it reads,
        or lets go), however long it waits for its turn.
    leads_to_motion: refused by the device, and by the session, under another epoch than its own.
    never_after_deadline: not retransmitted past its deadline, whatever became of it.
    """

    ttl_ms: int
    from_sending: bool = False
    leads_to_motion: bool = False
    never_after_deadline: bool = False


# Longer than three retransmissions take at their slowest (4 s), so that none of them is refused.
READ: Final = Rule(ttl_ms=5000, from_sending=True)
LET_GO: Final = Rule(ttl_ms=5000, from_sending=True)
SET: Final = Rule(ttl_ms=2000)
MOTION: Final = Rule(ttl_ms=500, leads_to_motion=True)

RULES: Final[Mapping[type[m.Message], Rule]] = {
    m.Echo: READ,
    m.LimitsRead: READ,
    m.StatusRead: READ,
    m.FrameInfo: READ,
    m.FrameRead: READ,
    m.TelemetryRate: SET,
    m.Technique: SET,
    m.PanelMode: SET,
    m.PlanVoid: LET_GO,
    m.FaultReset: Rule(ttl_ms=1000),  # a reset that a person asked for long ago must not run
    m.PlanUpload: Rule(ttl_ms=1000, leads_to_motion=True),
    m.Execute: Rule(ttl_ms=300, leads_to_motion=True, never_after_deadline=True),
    m.Home: MOTION,
    m.Jog: Rule(ttl_ms=150, leads_to_motion=True),  # repeated every 100 ms while a key is held
    m.BeamGate: MOTION,
    m.Arms: MOTION,
    m.Gantry: MOTION,
    m.Prepare: MOTION,
    m.Expose: MOTION,
    m.Series: MOTION,
}


def rule_of(command: m.Message) -> Rule:
    """The rule for one command; letting go (gate to hold, anode off, end of a series) needs no epoch.

    Raises `KeyError` for what is not a sequenced command.
    """
    rule = RULES[type(command)]
    if rule is MOTION and (
        (isinstance(command, m.BeamGate) and command.request == 0)
        or (isinstance(command, m.Prepare) and command.on == 0)
        or (isinstance(command, m.Series) and command.frames == 0)
    ):
        return LET_GO
    return rule
