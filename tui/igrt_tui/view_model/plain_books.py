"""Daily QA, trends, procedures and the review list in sentences, for the plain mode. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from igrt_hw.models.procedures import Procedure
from igrt_hw.models.qa import QaRun, QaTrend
from igrt_hw.models.review import AlarmReview, OverrideReview
from igrt_hw.models.trends import ShiftTrend
from igrt_tui.view_model import qa
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import signed_number
from igrt_tui.view_model.trends import QUANTITIES, levels_of

Said = tuple[str, ...]
QA_WORDS = (
    "qa 4: reads test 4 and its trend. qa watch 4: watches that interlock. qa enter 4: enters what was measured.",
    "qa mode daily, qa begin general, qa begin stereotactic, qa end, qa mode clinical: each asks for the word do",
)


def qa_said(scene: Scene, rows: Sequence[qa.Row], runs: Sequence[QaRun]) -> Said:
    """Read which run this is, whether today's passed, and every test with its number."""
    status = scene.status
    standing = status.daily_qa if status else None
    said = [f"daily QA, {qa.run_words(scene, runs, qa.WORDS)}"]
    if standing is not None:
        word = "passed today" if standing.passed_today else "NOT passed today"
        said.append(f"{word}: {standing.sentence}")
    for number, row in enumerate(rows, start=1):
        figures = f", {row.figures}" if row.figures else ""
        said.append(f"{number}: {row.test.name}: {row.outcome}{figures}")
    return (*said, *QA_WORDS)


def test_said(row: qa.Row, trend: QaTrend | None) -> Said:
    """Read one test: what it shows, how it is done, what is next, and how it went over the year."""
    test = row.test
    figures = f", {row.figures}" if row.figures else ""
    said = [f"{test.name}: {row.outcome}{figures}", test.sentence]
    if row.next_step:
        said.append(f"next: {row.next_step}")
    else:
        said += [f"step {number}: {step}" for number, step in enumerate(test.steps, start=1)]
    said.append(f"{test.kind}, {'required' if test.required else 'not required'}; {test.source}")
    if trend is not None and trend.points:
        said.append(f"one year: {qa.trend_words(trend)}")
        beyond = [point.at_utc[:10] for point in trend.points if not point.passed]
        if beyond:
            said.append(f"not passed on: {', '.join(beyond[-5:])}")
    elif trend is not None:
        said.append("one year: never done yet")
    return tuple(said)


def trend_said(trend: ShiftTrend) -> Said:
    """Read the shifts fraction by fraction, means and spreads, and what was above an action level."""
    if not trend.shifts:
        return ("no shift of this patient and plan has been executed yet",)
    said = [f"{len(trend.shifts)} shifts of this patient and plan, mm and degrees"]
    for shift in trend.shifts:
        six = ", ".join(
            f"{quantity.name} {signed_number(quantity.of(shift))}"
            for quantity in QUANTITIES
            if quantity.axis is not None
        )
        left = "" if shift.residual_mm is None else f"; left over {shift.residual_mm:.1f} mm"
        above = f"; ABOVE the level of {shift.above[-1]}" if shift.above else ""
        said.append(f"fraction {shift.fraction}: {six}; {shift.mm:.1f} mm long{left}{above}")
    for spread in trend.spreads:
        deviation = "" if spread.deviation is None else f", SD {spread.deviation:.2f}"
        last = (
            ""
            if spread.last_in_deviations is None
            else f"; the last one is {spread.last_in_deviations:.1f} SD from the mean of those before"
        )
        said.append(
            f"{spread.name}: mean {signed_number(spread.mean)} {spread.unit}{deviation}{last}"
        )
    levels = ", ".join(
        f"{level.name} {level.value:g} {quantity.unit}"
        for quantity in QUANTITIES[:2]
        for level in levels_of(quantity, trend.levels)
    )
    return (*said, f"action levels of {trend.levels.site}: {levels}")


def procedures_said(known: Sequence[Procedure], asked: str) -> Said:
    """Read the titles with their numbers; the one that the state asks for first."""
    said = [f"{number}: {found.title}" for number, found in enumerate(known, start=1)]
    wanted = next((n for n, found in enumerate(known, start=1) if found.name == asked), None)
    if wanted is not None:
        said.insert(0, f"LOOK: this state asks for procedure {wanted}")
    return (*said, "procedure 1: reads it step by step; next, back and again go through its steps")


def step_said(found: Procedure, step: int) -> str:
    """Read one step of a procedure; `step` counts from 0."""
    if step >= len(found.steps):
        return f"{found.title}: all {len(found.steps)} steps are done here"
    return f"step {step + 1} of {len(found.steps)}: {found.steps[step]}"


def review_said(overrides: OverrideReview, alarms: AlarmReview, days: int) -> Said:
    """Read the overrides with who and why, their rate, and how often each alarm sounded and went unanswered."""
    rate = (
        "no setup was accepted"
        if overrides.rate is None
        else f"{overrides.rate * 100:.1f} in 100 accepted setups"
    )
    said = [f"overrides of the last {days} days: {len(overrides.overrides)}, {rate}"]
    for entry in sorted(overrides.overrides, key=lambda e: e.sequence, reverse=True):
        words = f"{entry.reason}: {entry.text or 'no words'}"
        said.append(
            f"{entry.at_utc[:16].replace('T', ' ')}: {entry.what}; {words}; by {', '.join(entry.people)}"
        )
    said.append(f"alarms: {alarms.raised} raised")
    for found in sorted(alarms.rates, key=lambda r: -r.raised):
        said.append(
            f"{found.alarm_id}: sounded {found.raised}, ended unanswered {found.ended_unacknowledged}"
        )
    return tuple(said)
