"""Daily QA: whether the room may treat today, every test with its result and limit, the chosen one with its trend."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from igrt_hw.models.qa import QaLevel, QaOutcome, QaRun, QaTest, QaTrend, QaUnit, QaView
from igrt_hw.models.status import LoopState
from igrt_tui.view_model.chart import Level, Point, chart, places
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import (
    Column,
    Line,
    Lines,
    Span,
    Tone,
    dim,
    line,
    marked,
    marked_paragraph,
    paragraph,
    rule,
    strong,
    table,
)

OUTCOME_TONE: dict[QaOutcome, Tone] = {
    "passed": Tone.OK,
    "failed": Tone.HIGH,
    "running": Tone.INFO,
    "not done": Tone.DIM,
}
DAILY_QA = "daily QA"
NAME_WIDTH = 34
HEAD_HEIGHT = 4


@dataclass(frozen=True, slots=True)
class Hints:
    """How the acts of daily QA are asked for at this terminal: keys on the screen, words in the plain mode."""

    enters: str
    begins: str
    begins_each: str
    ends: str
    watches: str
    chooses: str


KEYS = Hints(
    enters="d enters",
    begins="b or s begins",
    begins_each="b begins one at general limits, s at stereotactic limits",
    ends="e ends",
    watches="w",
    chooses="choose one with the arrows",
)
WORDS = Hints(
    enters="qa mode daily enters",
    begins="qa begin general or qa begin stereotactic begins",
    begins_each="qa begin general or qa begin stereotactic begins one",
    ends="qa end ends",
    watches="qa watch and its number",
    chooses="qa lists the tests",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One test as it is listed: `value` and `limit` in `unit`; `next_step` only in a run."""

    test: QaTest
    outcome: QaOutcome
    value: float | None
    limit: float | None
    next_step: str = ""

    @property
    def figures(self) -> str:
        """Value and limit in words, e.g. `0.4/2.0 mm`; empty for a test without a figure."""
        if self.limit is None:
            return ""
        value = "-" if self.value is None else f"{self.value:.1f}"
        return f"{value}/{self.limit:.1f} {self.test.unit}"


def level_of(view: QaView | None, runs: Sequence[QaRun]) -> QaLevel:
    """Return the level that limits are shown for: of the run that is going on, else of the last one."""
    if view is not None:
        return view.level
    return runs[0].level if runs else "general"


def rows(tests: Sequence[QaTest], view: QaView | None, runs: Sequence[QaRun]) -> tuple[Row, ...]:
    """Return a row for every test: from the run that is going on, or else from the last one."""
    level = level_of(view, runs)
    if view is not None:
        steps = {step.test: step for step in view.steps}
        return tuple(
            Row(
                test,
                steps[test.name].outcome if test.name in steps else "not done",
                steps[test.name].value if test.name in steps else None,
                test.limit(level),
                steps[test.name].next_step if test.name in steps else "",
            )
            for test in tests
        )
    last = {result.test: result for result in (runs[0].results if runs else ())}
    return tuple(
        Row(
            test,
            ("passed" if last[test.name].passed else "failed") if test.name in last else "not done",
            last[test.name].value if test.name in last else None,
            test.limit(level),
        )
        for test in tests
    )


def head_panel(
    scene: Scene, runs: Sequence[QaRun] | None, width: int, height: int = HEAD_HEIGHT
) -> Lines:
    """Say what run is shown and what is needed next, and whether today's QA passed.

    The service names every test that is missing; what of it has no room here is in the list below, and that is said.
    """
    status = scene.status
    if status is None:
        return (rule("Daily QA", width), line(dim("unknown: no status yet")))
    standing = status.daily_qa
    mode = Span(f"mode {status.mode}", Tone.DIM)
    lines: list[Line] = [
        rule("Daily QA", width, mode),
        *paragraph(run_words(scene, runs), width),
    ]
    if standing is None:
        return (*lines, line(dim("no site asks for daily QA now")))
    tone = Tone.OK if standing.passed_today else Tone.MEDIUM
    word = "passed today: " if standing.passed_today else "NOT passed today: "
    said = marked_paragraph(tone, word + standing.sentence, width)
    room = max(1, height - len(lines))
    if len(said) > room:
        more = " ... more in the list below"
        last = "".join(span.text for span in said[room - 1])[: max(2, width - len(more))]
        said = (*said[: room - 1], (Span(last, tone), dim(more)))
    return (*lines, *said)


def run_words(scene: Scene, runs: Sequence[QaRun] | None, hints: Hints = KEYS) -> str:
    """Say which run is shown and what the next act is."""
    status = scene.status
    view = status.qa if status else None
    if view is not None:
        done = sum(step.outcome in ("passed", "failed") for step in view.steps)
        watched = f"; watching {view.running_test}" if view.running_test else ""
        return (
            f"Run at {view.level} limits by {view.begun_by} since {clock(view.begun_utc)}: "
            f"{done} of {len(view.steps)} done{watched}. {hints.ends} it."
        )
    begins = f"{hints.begins_each}."
    entered = status is not None and status.mode == DAILY_QA
    if runs:
        last = runs[0]
        word = "passed" if last.passed else "did NOT pass" if last.finished_utc else "was abandoned"
        after = f"{hints.begins} another one." if entered else f"{hints.enters} daily QA."
        return f"Shown: the run of {last.day} at {last.level} limits; it {word}. {after}"
    if entered:
        return f"No run is going on. {begins}"
    return f"No run is in the record. {hints.enters} the mode daily QA, where one can be begun."


def list_panel(all_rows: Sequence[Row], chosen: int, width: int, height: int) -> Lines:
    """List the tests; those that do not fit are reached with the arrows and counted."""
    done = sum(row.outcome in ("passed", "failed") for row in all_rows)
    failed = sum(row.outcome == "failed" for row in all_rows)
    note = Span(f"{done} of {len(all_rows)} done, {failed} failed", Tone.DIM)
    head = rule("Tests", width, note)
    room = max(1, height - 1)
    start = max(0, min(chosen - room // 2, len(all_rows) - room))
    columns = (
        Column("", 1),
        Column("", min(NAME_WIDTH, max(12, width - 26))),
        Column("", 10),
        Column("", 11, right=True),
    )
    shown = [
        (
            "▶" if index == chosen else " ",
            strong(row.test.name) if index == chosen else row.test.name,
            marked(OUTCOME_TONE[row.outcome], row.outcome)
            if row.outcome != "not done"
            else dim("· not done"),
            dim(row.figures) if row.value is None else row.figures,
        )
        for index, row in enumerate(all_rows)
        if start <= index < start + room
    ]
    return (head, *table(columns, shown, head=False))


def test_panel(row: Row | None, width: int) -> Lines:
    """Say what the chosen test shows, how it is done, and what comes next."""
    if row is None:
        return (rule("Test", width), line(dim("asking the supervisor for its tests ...")))
    test = row.test
    lines: list[Line] = [rule(test.name, width), *paragraph(test.sentence, width)]
    if row.next_step:
        lines += marked_paragraph(Tone.INFO, f"next: {row.next_step}", width)
    else:
        for number, step in enumerate(test.steps, start=1):
            body = paragraph(step, width, indent=3)
            lines += [(dim(f"{number}. "), Span(body[0][0].text[3:])), *body[1:]]
    required = "required" if test.required else "not required"
    lines += paragraph(f"{test.kind}, {required}; {test.source}", width, Tone.DIM)
    return tuple(lines)


def trend_panel(
    row: Row | None, trend: QaTrend | None, problem: str, width: int, height: int
) -> Lines:
    """Draw the values of a test against the day with its limits; a functional test as a row of marks."""
    if row is None:
        return ()
    head = rule("Trend, one year", width)
    if problem:
        return (head, *marked_paragraph(Tone.MEDIUM, problem, width))
    if trend is None:
        return (head, line(dim("asking the supervisor ...")))
    if not trend.points:
        return (head, line(dim("never done yet")))
    words = trend_words(trend)
    told = paragraph(words, width, Tone.DIM)
    ends = (trend.points[0].at_utc[:10], trend.points[-1].at_utc[:10])
    valued = [point for point in trend.points if point.value is not None]
    if not valued:
        return (head, *_marks(trend, width), *told)
    at = places([_day(point.at_utc) for point in valued])
    points = [
        Point(place, point.value, point.passed)
        for place, point in zip(at, valued, strict=True)
        if point.value is not None
    ]
    drawn = chart(points, _levels(trend), width, height - 2 - len(told), ends)
    return (head, *drawn, *told)


def _levels(trend: QaTrend) -> tuple[Level, ...]:
    named = ((trend.limit_general, "general"), (trend.limit_stereotactic, "stereo"))
    levels = [Level(value, name) for value, name in named if value is not None]
    below = any(point.value is not None and point.value < 0 for point in trend.points)
    return (*levels, *(Level(-level.value, level.name) for level in levels if below))


def _marks(trend: QaTrend, width: int) -> Lines:
    """One mark for each time, newest at the right."""
    last = trend.points[-max(4, width - 10) :]
    spans = [Span("✓", Tone.OK) if point.passed else Span("✗", Tone.MEDIUM) for point in last]
    dates = f"{last[0].at_utc[:10]} to {last[-1].at_utc[:10]}"
    return (tuple(spans), line(dim(dates)))


def trend_words(trend: QaTrend) -> str:
    """Say how often it passed, its mean, spread and drift."""
    passed = sum(point.passed for point in trend.points)
    words = [f"{passed} of {len(trend.points)} passed"]
    if trend.mean is not None:
        words.append(f"mean {trend.mean:.2f} {trend.unit}")
    if trend.deviation is not None:
        words.append(f"SD {trend.deviation:.2f}")
    if trend.slope_per_day is not None:
        words.append(f"drift {trend.slope_per_day * 30:+.2f} {trend.unit} in 30 days")
    return ", ".join(words)


def _day(utc: str) -> float:
    return datetime.fromisoformat(utc).timestamp()


def clock(utc: str) -> str:
    """Return hours and minutes of an ISO date."""
    return utc[11:16] if len(utc) >= 16 else utc


@dataclass(frozen=True, slots=True)
class Typed:
    """What was entered for a test that is measured by hand, read; `problem` says why it cannot be."""

    value: float | None = None
    passed: bool | None = None
    problem: str = ""


def typed_result(text: str, unit: QaUnit) -> Typed:
    """Read a distance or angle (with a dot, no unit), or `passed` / `failed` for a functional test. Never guesses."""
    word = text.strip().lower()
    if not unit:
        if word in ("passed", "failed"):
            return Typed(passed=word == "passed")
        return Typed(problem="type passed or failed, the whole word")
    try:
        value = float(word)
    except ValueError:
        return Typed(
            problem=f"type the number in {unit} with a dot, for example 0.4, without its unit"
        )
    if not -1000.0 < value < 1000.0:
        return Typed(problem=f"{word} {unit} is no result of this test")
    return Typed(value=value)


def why_not(act: str, scene: Scene, row: Row | None, hints: Hints = KEYS) -> str:
    """Return why an act of this screen cannot be asked for now, or an empty string. The supervisor decides."""
    status = scene.status
    if status is None or scene.local.gone:
        return "the values on this screen are old: wait for the supervisor"
    if act == "mode":
        if status.state is not LoopState.IDLE:
            return f"the mode changes with nobody on the couch; the loop is {status.state.value}"
        return "a run is going on: end it first" if status.qa is not None else ""
    if status.mode != DAILY_QA:
        return f"daily QA is done in the mode daily QA, this is {status.mode}: {hints.enters} it"
    if act == "begin":
        return ""
    if status.qa is None:
        return f"no run is going on: {hints.begins} one"
    if act == "watch":
        if row is None or row.test.kind != "interlock":
            return f"only interlocks are watched; {hints.chooses}"
        if status.qa.running_test:
            return f"{status.qa.running_test} is being watched: finish it first"
    if act == "note" and (row is None or row.test.kind == "interlock"):
        return f"an interlock is watched ({hints.watches}), not entered by hand"
    return ""
