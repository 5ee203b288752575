"""Whether daily QA allows to treat today: by the runs of the record, the calendar day of the room, the site rule."""

from __future__ import annotations

from collections.abc import Sequence

from igrt_hw.models.qa import QaLevel, QaRun, QaStanding
from igrt_hw.safety.rules import SiteRule


def standing(runs: Sequence[QaRun], day: str, machine: str, rule: SiteRule | None) -> QaStanding:
    """What the runs of a day (YYYY-MM-DD) say for a machine. `rule` None: no site is asked about.

    The stereotactic level covers the general one, not the other way round. A run that failed after one that passed
    takes the pass away: the newest finished run of a level counts.
    """
    today = [run for run in runs if run.day == day and run.machine == machine and run.finished_utc]
    newest: dict[QaLevel, QaRun] = {}
    for run in sorted(today, key=lambda run: run.finished_utc):
        newest[run.level] = run
        if run.level == "stereotactic" or not run.passed:
            newest["general"] = run
        if run.level == "general" and not run.passed:
            newest["stereotactic"] = run  # what fails the wide tolerance fails the narrow one
    wanted: QaLevel = rule.daily_qa_level if rule is not None else "general"
    found = newest.get(wanted)
    level: QaLevel | None = None
    for candidate in ("general", "stereotactic"):
        run_of = newest.get(candidate)
        if run_of is not None and run_of.passed:
            level = candidate
    if found is not None and found.passed:
        sentence = f"daily QA ({found.level}) passed today, by {found.finished_by}"
        return QaStanding(
            passed_today=True, level=level, passed_utc=found.finished_utc, sentence=sentence
        )
    if found is not None:
        sentence = f"daily QA ({found.level}) has NOT passed today: {', '.join(found.missing)}"
    else:
        sentence = f"no daily QA at {wanted} tolerances has been finished today"
    return QaStanding(passed_today=False, level=level, passed_utc="", sentence=sentence)
