"""What a restart finds in the record. It says; it never resumes, and it never gives an approval back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from igrt_hw.models.record import RecordEntry

IN_MOTION = frozenset({"ARMED", "MOVING", "HELD"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was open when the record ended."""

    kind: Literal["patient", "approval", "motion", "beam", "fault", "activity"]
    sequence: int
    sentence: str


def recovery(entries: Iterable[RecordEntry]) -> tuple[Finding, ...]:
    """Read the entries of the last run and name what it left open. An ended run (`service` stop) leaves nothing."""
    state, state_at = "IDLE", 0
    approval: RecordEntry | None = None
    executed: set[str] = set()
    for entry in entries:
        if entry.kind == "service":
            state, state_at, approval = "IDLE", entry.sequence, None
        elif entry.kind == "transition":
            state, state_at = entry.text.split(" -> ")[1].split(":")[0], entry.sequence
        elif entry.kind == "approval":
            approval = entry
        elif entry.kind == "execute":
            executed.add(str(entry.data.get("digest", "")))
    return tuple(_findings(state, state_at, approval, executed))


def _findings(
    state: str, at: int, approval: RecordEntry | None, executed: set[str]
) -> Iterable[Finding]:
    if state in IN_MOTION:
        yield Finding(
            "motion",
            at,
            f"the last run ended in {state}: the couch stopped by itself when the leases ended; "
            "look at the patient, and image again before anything moves",
        )
    if state == "BEAM_READY":
        yield Finding(
            "beam", at, "the last run ended with the beam released; the gate falls without leases"
        )
    if state == "FAULT":
        yield Finding(
            "fault", at, "the last run ended in FAULT; a fault that persists will latch again"
        )
    if approval is not None and state in ("CHECKED", "APPROVED", *IN_MOTION):
        digest = str(approval.data.get("digest", ""))
        spent = "it was executed once" if digest in executed else "it was not executed"
        yield Finding(
            "approval",
            approval.sequence,
            f"an approval of {digest[:16]} by {approval.actor} was outstanding ({spent}); it is void",
        )
    if state != "IDLE":
        yield Finding(
            "patient", at, f"a patient was open, in state {state}; open the patient again"
        )
