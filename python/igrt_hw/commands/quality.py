"""`igrt qa`, `igrt trends`, `igrt review`, `igrt procedures`: what QA, Trends and Help show, as text or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from igrt_hw.commands.operate import (
    DEFAULT_URL,
    AsJson,
    CaFile,
    OperateError,
    Url,
    signed_in_client,
    told,
)
from igrt_hw.models.commands import BeginQa, Command, FinishQa, NoteQa, WatchInterlock
from igrt_hw.models.qa import QaLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel

Days = Annotated[int, typer.Option("--days", min=1, help="How many days back.")]
PatientId = Annotated[str, typer.Argument(help="Patient ID.")]
PlanUid = Annotated[str, typer.Argument(help="Plan, as in `igrt plans`.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    qa = typer.Typer(help="Daily QA: its tests, runs and trends.", no_args_is_help=True)
    for name, act in (
        ("tests", list_tests), ("runs", runs), ("trend", trend), ("begin", begin),
        ("watch", watch), ("note", note), ("finish", finish),
    ):  # fmt: skip
        qa.command(name)(act)
    app.add_typer(qa, name="qa")
    trends = typer.Typer(help="A patient's shifts over the fractions.", no_args_is_help=True)
    trends.callback()(_trends)
    trends.command("shifts")(shifts)
    trends.command("anatomy")(anatomy)
    app.add_typer(trends, name="trends")
    review = typer.Typer(help="What is looked at the next day.", no_args_is_help=True)
    review.command("overrides")(overrides)
    review.command("alarms")(alarms)
    app.add_typer(review, name="review")
    app.command("procedures")(procedures)


def _trends() -> None:
    """A patient's shifts over the fractions."""


def _say(lines: Sequence[str], found: BaseModel | Sequence[BaseModel], as_json: bool) -> None:
    typer.echo(as_text(found) if as_json else "\n".join(lines))


def as_text(found: BaseModel | Sequence[BaseModel]) -> str:
    """JSON of an answer."""
    import json

    from pydantic import BaseModel

    if isinstance(found, BaseModel):
        return found.model_dump_json(indent=2)
    return json.dumps([item.model_dump(mode="json") for item in found], indent=2)


def list_tests(url: Url = DEFAULT_URL, ca_file: CaFile = None, as_json: AsJson = False) -> None:
    """The daily tests: what is asked, the steps, tolerances and sources."""
    with signed_in_client(url, ca_file) as client:
        found = client.qa_tests()
    lines = []
    for test in found:
        limit = ""
        if test.limit_general is not None:
            limit = f" [{test.limit_general:g} / {test.limit_stereotactic:g} {test.unit}]"
        needed = "" if test.required else " (not required)"
        lines.append(f"{test.name}{limit}{needed}: {test.sentence}")
        lines += [f"    {number}. {step}" for number, step in enumerate(test.steps, 1)]
    _say(lines, found, as_json)


def runs(
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=400, help="So many, newest first.")] = 10,
) -> None:
    """Daily QA runs with their results, newest first."""
    with signed_in_client(url, ca_file) as client:
        found = client.qa_runs(limit=limit)
    lines = []
    for run in found:
        word = "passed" if run.passed else "NOT passed" if run.finished_utc else "not finished"
        lines.append(f"{run.day}  {run.machine}  {run.level}: {word}  ({run.begun_by})")
        lines += [f"    {result.at_utc}  {result.sentence}" for result in run.results]
        lines += [f"    without a passed result: {name}" for name in run.missing]
    _say(lines or ["no daily QA has been done"], found, as_json)


def trend(
    test: Annotated[str, typer.Argument(help="Name of the test, as in `igrt qa tests`.")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
    days: Days = 365,
) -> None:
    """One daily test over time."""
    with signed_in_client(url, ca_file) as client:
        found = client.qa_trend(test, days=days)
    lines = [
        f"{point.at_utc}  {'' if point.value is None else f'{point.value:8.2f} {found.unit}'}"
        f"  {'passed' if point.passed else 'FAILED'}"
        for point in found.points
    ]
    if found.mean is not None:
        deviation = "" if found.deviation is None else f", SD {found.deviation:.2f}"
        slope = "" if found.slope_per_day is None else f", {found.slope_per_day:+.3f} a day"
        lines.append(f"mean {found.mean:.2f} {found.unit}{deviation}{slope}")
    _say(lines or ["no results yet"], found, as_json)


def _send(command: Command, url: str, ca_file: CaFile, as_json: bool) -> None:
    with signed_in_client(url, ca_file) as client:
        told(client.send(command), as_json)


def begin(
    level: Annotated[str, typer.Argument(help="general, or stereotactic (narrower tolerances).")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Begin the daily QA; the room has to be in the mode daily QA."""
    levels: dict[str, QaLevel] = {"general": "general", "stereotactic": "stereotactic"}
    if level not in levels:
        raise OperateError(f"{level} is no level; they are: {', '.join(levels)}")
    _send(BeginQa(level=levels[level]), url, ca_file, as_json)


def watch(
    test: Annotated[str, typer.Argument(help="Name of an interlock test.")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Watch one interlock; `igrt status` says the next step."""
    _send(WatchInterlock(test=test), url, ca_file, as_json)


def note(
    test: Annotated[str, typer.Argument(help="Name of a test that is done by hand.")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
    value: Annotated[float | None, typer.Option(help="What was measured.")] = None,
    passed: Annotated[
        bool | None, typer.Option("--passed/--failed", help="Of a test without a figure.")
    ] = None,
    text: Annotated[str, typer.Option(help="For the record.")] = "",
) -> None:
    """Enter what was measured by hand."""
    _send(NoteQa(test=test, value=value, passed=passed, text=text), url, ca_file, as_json)


def finish(url: Url = DEFAULT_URL, ca_file: CaFile = None, as_json: AsJson = False) -> None:
    """End the daily QA and say whether it passed."""
    _send(FinishQa(), url, ca_file, as_json)


def shifts(
    patient_id: PatientId,
    plan_uid: PlanUid,
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """A patient's shifts, fraction by fraction, with the action levels of the site."""
    with signed_in_client(url, ca_file) as client:
        found = client.shift_trend(patient_id, plan_uid)
    levels = found.levels
    lines = [
        f"site {levels.site}: warning {levels.warn_mm:g} mm, {levels.warn_deg:g} deg; second person "
        f"{levels.second_person_mm:g} mm, {levels.second_person_deg:g} deg"
    ]
    for shift in found.shifts:
        six = " ".join(f"{value:+7.1f}" for value in shift.correction.values())
        above = f"  above: {', '.join(shift.above)}" if shift.above else ""
        lines.append(
            f"fraction {shift.fraction} {shift.isocentre_id}  {six}  {shift.mm:.1f} mm {shift.deg:.1f} deg{above}"
        )
    for spread in found.spreads:
        if spread.deviation is not None:
            lines.append(
                f"{spread.name}: mean {spread.mean:+.1f}, SD {spread.deviation:.1f} {spread.unit}"
            )
    _say(lines, found, as_json)


def anatomy(
    patient_id: PatientId,
    plan_uid: PlanUid,
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """How a patient has changed since the planning CT, registration by registration."""
    with signed_in_client(url, ca_file) as client:
        found = client.change_trend(patient_id, plan_uid)
    lines = []
    for one in found.changes:
        figures = [
            f"{name} {value:+.1f} mm"
            for name, value in (
                ("worst region", one.worst_mm),
                ("target", one.target_mm),
                ("outline", one.outline_mean_mm),
            )
            if value is not None
        ]
        lines.append(f"fraction {one.fraction} {one.source}: {one.advice}; {', '.join(figures)}")
        lines += [f"    {reason}" for reason in one.reasons]
    if found.forecast:
        lines.append(found.forecast)
    _say(lines or ["no registration of this plan has measured it"], found, as_json)


def overrides(
    url: Url = DEFAULT_URL, ca_file: CaFile = None, as_json: AsJson = False, days: Days = 1
) -> None:
    """Overrides of the last days, by whom and why, and how often."""
    with signed_in_client(url, ca_file) as client:
        found = client.override_review(days=days)
    rate = "no setups" if found.rate is None else f"{found.rate:.1%} of {found.setups} setups"
    lines = [f"{len(found.overrides)} overrides since {found.since_utc}: {rate}"]
    lines += [
        f"{item.at_utc}  {item.what}: {item.reason} ({item.text}); {' and '.join(item.people)}; "
        f"{'; '.join(item.parameters)}"
        for item in found.overrides
    ]
    lines += [f"{count.count:>4}  {count.name}" for count in (*found.by_reason, *found.by_person)]
    _say(lines, found, as_json)


def alarms(
    url: Url = DEFAULT_URL, ca_file: CaFile = None, as_json: AsJson = False, days: Days = 1
) -> None:
    """How often each alarm sounded in the last days, and how often nobody had answered it."""
    with signed_in_client(url, ca_file) as client:
        found = client.alarm_review(days=days)
    per_hour = "" if found.per_hour is None else f", {found.per_hour:.2f} an hour"
    lines = [f"{found.raised} alarms since {found.since_utc}{per_hour}"]
    lines += [
        f"{rate.raised:>4}  {rate.alarm_id}  ({rate.ended_unacknowledged} ended unanswered)"
        for rate in found.rates
    ]
    _say(lines, found, as_json)


def procedures(
    name: Annotated[str | None, typer.Argument(help="One of them; all without.")] = None,
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """What to do when something went wrong, step by step: recovery and egress."""
    with signed_in_client(url, ca_file) as client:
        found = client.procedures()
    names = [procedure.name for procedure in found]
    if name is not None and name not in names:
        raise OperateError(f"there is no procedure {name}; they are: {', '.join(names)}")
    found = [procedure for procedure in found if name in (None, procedure.name)]
    lines: list[str] = []
    for procedure in found:
        lines += [f"{procedure.title} ({procedure.name})", f"  {procedure.when}"]
        lines += [f"  {number}. {step}" for number, step in enumerate(procedure.steps, 1)]
    _say(lines, found, as_json)
