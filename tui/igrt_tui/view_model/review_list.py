"""The review list: overrides with who, why and how often; alarms with how often they sounded and went unanswered."""

from igrt_hw.models.review import AlarmReview, Count, OverrideReview
from igrt_tui.view_model.text import (
    Column,
    Line,
    Lines,
    Span,
    Tone,
    dim,
    line,
    marked_paragraph,
    paragraph,
    rule,
    strong,
    table,
)

SPANS = (1, 7, 30, 365)
WORDS = {1: "last day", 7: "last 7 days", 30: "last 30 days", 365: "last year"}
BAR = 12


def overrides_panel(review: OverrideReview | None, problem: str, days: int, width: int) -> Lines:
    """List overrides newest first; above them the rate, below them reasons and days."""
    title = f"Overrides, {WORDS[days]}"
    if problem:
        return (rule(title, width), *marked_paragraph(Tone.MEDIUM, problem, width))
    if review is None:
        return (rule(title, width), line(dim("asking the supervisor ...")))
    count = len(review.overrides)
    rate = (
        "no setup was accepted"
        if review.rate is None
        else f"{review.rate * 100:.1f} in 100 accepted setups ({count} of {review.setups})"
    )
    lines: list[Line] = [rule(title, width, dim(str(count))), line(dim(rate))]
    if not review.overrides:
        lines.append(line(dim("none: nothing was overridden")))
    for entry in sorted(review.overrides, key=lambda e: e.sequence, reverse=True):
        people = ", ".join(entry.people)
        head = f"{entry.at_utc[:16].replace('T', ' ')}  {entry.what}"
        lines += paragraph(head, width, Tone.STRONG)
        lines += paragraph(f"{entry.reason}: {entry.text or 'no words'}", width, indent=2)
        parameters = f"; {', '.join(entry.parameters)}" if entry.parameters else ""
        lines += paragraph(f"by {people}{parameters}; entry {entry.sequence}", width, Tone.DIM, 2)
    lines += _counts("reasons", review.by_reason, width)
    lines += _counts("people", review.by_person, width)
    if len(review.by_day) > 1:
        lines.append(line(dim("overrides per accepted setup, day by day:")))
        for day, overrides, setups in review.by_day:
            share = overrides / setups if setups else 0.0
            bar = "█" * round(min(1.0, share) * BAR)
            lines.append(line(dim(f"  {day} "), f"{overrides:>3} of {setups:<4}", bar))
    return tuple(lines)


def _counts(name: str, counts: tuple[Count, ...], width: int) -> Lines:
    if not counts:
        return ()
    words = ", ".join(f"{found.name} {found.count}" for found in counts)
    return paragraph(f"{name}: {words}", width, Tone.DIM)


def alarms_panel(review: AlarmReview | None, problem: str, days: int, width: int) -> Lines:
    """List alarms by how often they sounded; many that ended unanswered are a nuisance and are marked."""
    title = f"Alarms, {WORDS[days]}"
    if problem:
        return (rule(title, width), *marked_paragraph(Tone.MEDIUM, problem, width))
    if review is None:
        return (rule(title, width), line(dim("asking the supervisor ...")))
    rate = "no hour yet" if review.per_hour is None else f"{review.per_hour:.1f} an hour"
    lines: list[Line] = [rule(title, width, dim(f"{review.raised} raised, {rate}"))]
    if not review.rates:
        lines.append(line(dim("none sounded")))
        return tuple(lines)
    columns = (
        Column("alarm", max(12, width - 9 - 20 - 3)),
        Column("sounded", 9, right=True),
        Column("ended unanswered", 20, right=True),
    )
    rows = []
    for rate_of in sorted(review.rates, key=lambda r: -r.raised):
        unanswered = rate_of.ended_unacknowledged
        nuisance = unanswered * 2 > rate_of.raised and unanswered > 1
        words = f"▲ {unanswered}, most of them" if nuisance else str(unanswered)
        tone = Tone.MEDIUM if nuisance else Tone.NORMAL
        rows.append((strong(rate_of.alarm_id), str(rate_of.raised), Span(words, tone)))
    lines += table(columns, rows)
    return tuple(lines)
