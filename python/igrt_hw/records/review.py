"""The review list: what was overridden, by whom and why, and how often. Read from the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from igrt_hw.models.record import RecordEntry

KINDS = ("override", "transition")
"""Kinds of entries that `review` reads."""


@dataclass(frozen=True, slots=True)
class Override:
    """One override, as the reviewer of the next day sees it."""

    sequence: int
    at_utc: str
    what: str
    reason: str
    text: str
    people: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """Overrides in order, and their rate among all setups that were accepted."""

    overrides: tuple[Override, ...]
    setups: int
    by_reason: tuple[tuple[str, int], ...]

    @property
    def rate(self) -> float | None:
        """Overrides per accepted setup; None before the first setup."""
        return len(self.overrides) / self.setups if self.setups else None


def review(entries: Iterable[RecordEntry]) -> Review:
    """The review list of these entries (kinds of `KINDS`)."""
    found, setups = [], 0
    for entry in entries:
        if entry.kind == "override":
            found.append(_override(entry))
        elif entry.kind == "transition" and entry.text.startswith("PATIENT_BOUND -> SETUP"):
            setups += 1
    reasons = Counter(item.reason for item in found)
    return Review(tuple(found), setups, tuple(reasons.most_common()))


def _override(entry: RecordEntry) -> Override:
    data = entry.data
    return Override(
        sequence=entry.sequence,
        at_utc=entry.at_utc,
        what=str(data.get("what", "")),
        reason=str(data.get("reason", "")),
        text=str(data.get("text", "")),
        people=_words(data.get("people")),
        parameters=_words(data.get("parameters")),
    )


def _words(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()
