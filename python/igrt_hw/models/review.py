"""What is looked at the next day: overrides with their rates, alarms with theirs."""

from __future__ import annotations

from igrt_hw.models.base import Frozen


class OverrideEntry(Frozen):
    """One override, as its reviewer sees it: what, the coded reason, the text, both people, the parameters."""

    sequence: int
    at_utc: str
    what: str
    reason: str
    text: str
    people: tuple[str, ...]
    parameters: tuple[str, ...]


class Count(Frozen):
    """How often something occurred."""

    name: str
    count: int


class OverrideReview(Frozen):
    """The review list. `rate`: overrides per accepted setup, None before the first setup.

    `by_day`: rate day by day (UTC), oldest first, as `(day, overrides, setups)`.
    """

    since_utc: str
    overrides: tuple[OverrideEntry, ...]
    setups: int
    rate: float | None
    by_reason: tuple[Count, ...]
    by_person: tuple[Count, ...]
    by_day: tuple[tuple[str, int, int], ...]


class AlarmRate(Frozen):
    """How often one alarm sounded in the window."""

    alarm_id: str
    raised: int
    ended_unacknowledged: int
    """How often it ended before anybody acknowledged it: many of these are a nuisance."""


class AlarmReview(Frozen):
    """Alarms of a span of the record: a rate that people cannot answer is a hazard of its own."""

    since_utc: str
    hours: float
    raised: int
    per_hour: float | None
    rates: tuple[AlarmRate, ...]
