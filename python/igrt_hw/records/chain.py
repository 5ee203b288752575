"""The hash chain: each entry's digest covers the one before it. Pure.

An edit, a gap or a new order breaks the chain where it happened. A cut-off tail does not, which is why the store
keeps the head beside the entries (`anchor.py`). Whoever can rewrite entries, triggers and anchor together is not
detected by this; print or mail the head to somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from igrt_hw.models.record import RecordEntry
from igrt_hw.safety.canonical import canonical_digest

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """Where the chain does not hold, and how. `sequence` 0: the record as a whole."""

    sequence: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Head:
    """How far the chain has come."""

    sequence: int = 0
    digest: str = GENESIS


def entry_digest(entry: RecordEntry) -> str:
    """SHA-256 over `previous` and the canonical form of all fields but `digest`."""
    return canonical_digest(entry.model_dump(mode="json", exclude={"digest"}))


def next_entry(
    head: Head,
    *,
    kind: str,
    actor: str,
    text: str,
    data: dict[str, object],
    at_us: int,
    at_utc: str,
) -> RecordEntry:
    """The entry that follows `head`."""
    blank = RecordEntry(
        sequence=head.sequence + 1,
        at_us=at_us,
        at_utc=at_utc,
        kind=kind,
        actor=actor,
        text=text,
        data=data,
        previous=head.digest,
        digest="",
    )
    return blank.model_copy(update={"digest": entry_digest(blank)})


def follow(
    entries: Iterable[RecordEntry], head: Head | None = None
) -> tuple[Head, ChainProblem | None]:
    """Walk the chain from `head`. Returns how far it holds, and the first problem."""
    at = head if head is not None else Head()
    for entry in entries:
        problem = _problem(entry, at)
        if problem:
            return at, ChainProblem(entry.sequence, problem)
        at = Head(entry.sequence, entry.digest)
    return at, None


def _problem(entry: RecordEntry, at: Head) -> str:
    if entry.sequence != at.sequence + 1:
        return f"entry {at.sequence + 1} is missing or out of order: entry {entry.sequence} follows {at.sequence}"
    if entry.previous != at.digest:
        return f"entry {entry.sequence} does not follow the entry before it"
    if entry_digest(entry) != entry.digest:
        return f"entry {entry.sequence} was changed after it was written"
    return ""
