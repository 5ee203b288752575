"""The record, newest at the bottom, with a filter."""

from collections.abc import Sequence

from igrt_hw.models.record import RecordEntry
from igrt_tui.view_model.text import Column, Lines, Tone, dim, line, marked, rule, strong, table


def matching(entries: Sequence[RecordEntry], wanted: str) -> tuple[RecordEntry, ...]:
    """Return the entries whose kind, actor or text contain every word of the filter, whatever the case."""
    words = wanted.lower().split()
    return tuple(
        entry
        for entry in entries
        if all(word in f"{entry.kind} {entry.actor} {entry.text}".lower() for word in words)
    )


def audit_lines(entries: Sequence[RecordEntry], width: int) -> Lines:
    """Show one entry a line, wrapped, never cut: number, time, kind, actor, text."""
    columns = (
        Column("", 6, right=True),
        Column("", 12),
        Column("", 14),
        Column("", 12),
        Column("", max(20, width - 6 - 12 - 14 - 12 - 5)),
    )
    rows = [
        (
            dim(str(entry.sequence)),
            dim(clock_of(entry.at_utc)),
            strong(entry.kind),
            entry.actor,
            entry.text,
        )
        for entry in entries
    ]
    return table(columns, rows, head=False) or (line(dim("no entries match")),)


def audit_head(
    shown: int, loaded: int, total: int, verdict: str, ok: bool | None, width: int
) -> Lines:
    """Say how much of the record is on screen and whether its chain holds."""
    tone = {True: Tone.OK, False: Tone.HIGH, None: Tone.DIM}[ok]
    return (
        rule("Record", width, dim(f"{shown} shown of {loaded} loaded, {total} in all")),
        line(dim("chain: "), marked(tone, verdict) if ok is not None else dim(verdict)),
    )


def clock_of(utc: str) -> str:
    """Return the time of day of an ISO date in UTC, to the millisecond where it is given."""
    time = utc.partition("T")[2].removesuffix("Z").partition("+")[0]
    return time[:12] if time else utc
