"""The record, newest at the bottom: filtered, searched, and as lines of a file."""

from collections.abc import Sequence
from dataclasses import dataclass

from igrt_hw.models.record import RecordEntry
from igrt_tui.view_model.text import (
    Column,
    Lines,
    Span,
    Tone,
    dim,
    line,
    marked,
    rule,
    strong,
    table,
)

FILTER_WORDS = "words, kind:approval, by:name, from:09:30, to:2026-03-02T10"


def matching(entries: Sequence[RecordEntry], wanted: str) -> tuple[RecordEntry, ...]:
    """Return the entries that fit every word of the filter, whatever the case.

    `kind:` and `by:` look at kind and person alone, by their beginning; `from:` and `to:` at the time in UTC (a time of
    day, or a date with or without one; `to:` includes what begins so); any other word at kind, person and text.
    """
    words = wanted.lower().split()
    return tuple(entry for entry in entries if all(_fits(entry, word) for word in words))


def _fits(entry: RecordEntry, word: str) -> bool:
    name, colon, value = word.partition(":")
    if colon and name in ("kind", "by"):
        field = entry.kind if name == "kind" else entry.actor
        return field.lower().startswith(value)
    if colon and name in ("from", "to") and value:
        utc = entry.at_utc.lower()
        when = utc if "-" in value else utc.partition("t")[2]
        return when >= value if name == "from" else when <= value or when.startswith(value)
    return word in f"{entry.kind} {entry.actor} {entry.text}".lower()


def hits(entries: Sequence[RecordEntry], wanted: str) -> tuple[int, ...]:
    """Return the places (index) of the entries that have what is searched, as it stands, in kind, person or text."""
    sought = wanted.strip().lower()
    if not sought:
        return ()
    return tuple(
        index
        for index, entry in enumerate(entries)
        if sought in f"{entry.kind} {entry.actor} {entry.text}".lower()
    )


def next_hit(found: Sequence[int], now: int | None, step: int) -> int | None:
    """Return the hit after (`step` 1) or before (-1) the present one, round the end; the newest one to begin with."""
    if not found:
        return None
    if now is None or now not in found:
        return found[-1]
    return found[(list(found).index(now) + step) % len(found)]


@dataclass(frozen=True, slots=True)
class Listing:
    """The lines of a list of entries, and at which line each entry begins."""

    lines: Lines
    starts: tuple[int, ...]


def listing(
    entries: Sequence[RecordEntry], width: int, found: Sequence[int] = (), at: int | None = None
) -> Listing:
    """Show one entry a line, wrapped, never cut: mark, number, time, kind, actor, text.

    `•` marks what the search found, `▶` the present one of it.
    """
    columns = (
        Column("", 1),
        Column("", 6, right=True),
        Column("", 12),
        Column("", 14),
        Column("", 12),
        Column("", max(20, width - 1 - 6 - 12 - 14 - 12 - 6)),
    )
    lines: list[tuple[Span, ...]] = []
    starts: list[int] = []
    sought = set(found)
    for index, entry in enumerate(entries):
        here = index == at
        mark = "▶" if here else "•" if index in sought else " "
        text = strong(entry.text) if here else entry.text
        starts.append(len(lines))
        row = (
            strong(mark), dim(str(entry.sequence)), dim(clock_of(entry.at_utc)),
            strong(entry.kind), entry.actor, text,
        )  # fmt: skip
        lines += table(columns, [row], head=False)
    return Listing(tuple(lines) or (line(dim("no entries match")),), tuple(starts))


def audit_lines(entries: Sequence[RecordEntry], width: int) -> Lines:
    """Return the lines of a list without a search."""
    return listing(entries, width).lines


def audit_head(
    shown: int, loaded: int, total: int, verdict: str, ok: bool | None, width: int
) -> Lines:
    """Say how much of the record is on screen and whether its chain holds."""
    tone = {True: Tone.OK, False: Tone.HIGH, None: Tone.DIM}[ok]
    return (
        rule("Record", width, dim(f"{shown} shown of {loaded} loaded, {total} in all")),
        line(dim("chain: "), marked(tone, verdict) if ok is not None else dim(verdict)),
    )


def search_words(sought: str, found: Sequence[int], at: int | None) -> str:
    """Say how many hits there are and which one is marked."""
    if not sought.strip():
        return ""
    if not found:
        return "not found in what is shown"
    place = f"{list(found).index(at) + 1} of " if at is not None and at in found else ""
    return f"{place}{len(found)} found"


def export_lines(entries: Sequence[RecordEntry]) -> str:
    """Return entries as JSON, one a line, whole: with data, previous digest and digest, so that they can be checked."""
    return "".join(entry.model_dump_json() + "\n" for entry in entries)


def export_name(now_utc: str, entries: Sequence[RecordEntry]) -> str:
    """Return a file name that says when it was written and which entries it spans."""
    stamp = "".join(c for c in now_utc[:19] if c.isdigit() or c == "T") or "unknown-time"
    span = f"{entries[0].sequence}-{entries[-1].sequence}" if entries else "nothing"
    return f"record-{stamp}Z-{span}.jsonl"


def clock_of(utc: str) -> str:
    """Return the time of day of an ISO date in UTC, to the millisecond where it is given."""
    time = utc.partition("T")[2].removesuffix("Z").partition("+")[0]
    return time[:12] if time else utc
