"""The review list: what was overridden, by whom and why, and how often; and alarms likewise. Read from the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from igrt_hw.models.record import RecordEntry
from igrt_hw.models.review import AlarmRate, AlarmReview, Count, OverrideEntry, OverrideReview

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
        elif _is_setup(entry):
            setups += 1
    reasons = Counter(item.reason for item in found)
    return Review(tuple(found), setups, tuple(reasons.most_common()))


def _is_setup(entry: RecordEntry) -> bool:
    return entry.kind == "transition" and entry.text.startswith("PATIENT_BOUND -> SETUP")


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


def override_review(entries: Iterable[RecordEntry], since_utc: str) -> OverrideReview:
    """The review list of the entries (kinds of `KINDS`) from an instant on (ISO 8601, UTC)."""
    kept = [entry for entry in entries if entry.at_utc >= since_utc]
    found = review(kept)
    days: dict[str, list[int]] = {}
    for entry in kept:
        counted = days.setdefault(entry.at_utc[:10], [0, 0])
        counted[0] += entry.kind == "override"
        counted[1] += _is_setup(entry)
    people = Counter(name for item in found.overrides for name in item.people if name)
    return OverrideReview(
        since_utc=since_utc,
        overrides=tuple(OverrideEntry.model_validate(asdict(item)) for item in found.overrides),
        setups=found.setups,
        rate=found.rate,
        by_reason=tuple(Count(name=name, count=count) for name, count in found.by_reason),
        by_person=tuple(Count(name=name, count=count) for name, count in people.most_common()),
        by_day=tuple(
            (day, overrides, setups)
            for day, (overrides, setups) in sorted(days.items())
            if overrides or setups
        ),
    )


def alarm_review(entries: Iterable[RecordEntry], since_utc: str, hours: float) -> AlarmReview:
    """How often each alarm sounded (entries of kind `alarm`) from an instant on, the most frequent first."""
    raised: Counter[str] = Counter()
    ignored: Counter[str] = Counter()
    for entry in entries:
        if entry.kind != "alarm" or entry.at_utc < since_utc:
            continue
        alarm_id, what = str(entry.data.get("alarm_id", "")), str(entry.data.get("what", ""))
        raised[alarm_id] += what == "raised"
        ignored[alarm_id] += what == "ended" and entry.data.get("acknowledged_by") is None
    total = raised.total()
    return AlarmReview(
        since_utc=since_utc,
        hours=hours,
        raised=total,
        per_hour=total / hours if hours > 0 else None,
        rates=tuple(
            AlarmRate(alarm_id=name, raised=count, ended_unacknowledged=ignored[name])
            for name, count in raised.most_common()
            if count
        ),
    )
