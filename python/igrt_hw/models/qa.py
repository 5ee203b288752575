"""Daily QA as data: the tests, a run with its results, the trend of a test, and whether a room may treat today.

Millimetres and degrees. Tolerances: clinical facts section 2.2 (TG-142; the shift test of JACMP 2012;13(4):113).
"""

from __future__ import annotations

from typing import Literal

from igrt_hw.models.base import Frozen

QaLevel = Literal["general", "stereotactic"]
QaKind = Literal["interlock", "shift test", "coincidence", "measured by hand"]
QaOutcome = Literal["passed", "failed", "running", "not done"]
QaUnit = Literal["", "mm", "deg"]


class QaTest(Frozen):
    """One daily test, as data.

    `steps`: what the operator does, in order. `limit_*` in `unit`; None: the test is functional, or has no figure for
    this level. `required`: the run does not pass without it.
    """

    name: str
    kind: QaKind
    sentence: str
    steps: tuple[str, ...]
    unit: QaUnit
    limit_general: float | None
    limit_stereotactic: float | None
    required: bool
    source: str

    def limit(self, level: QaLevel) -> float | None:
        """The tolerance at this level."""
        return self.limit_general if level == "general" else self.limit_stereotactic


class QaResult(Frozen):
    """What came of one test in one run. A test may be done again; the last result counts, every one is kept."""

    run_id: str
    test: str
    kind: QaKind
    passed: bool
    value: float | None
    limit: float | None
    unit: QaUnit
    sentence: str
    by: str
    at_utc: str
    sequence: int = 0
    """Entry of the record that holds it; 0 while it is not written yet."""


class QaRun(Frozen):
    """One daily QA of a machine. `day` is the calendar day of the room, YYYY-MM-DD.

    `finished_utc` empty: it is going on, or was abandoned. `passed`: finished, and every required test's last result
    passed. `missing`: required tests without a passed result.
    """

    run_id: str
    machine: str
    level: QaLevel
    day: str
    begun_utc: str
    begun_by: str
    finished_utc: str
    finished_by: str
    passed: bool
    missing: tuple[str, ...]
    results: tuple[QaResult, ...]


class QaStep(Frozen):
    """One test of the run that is going on: where it stands, and what to do next in words."""

    test: str
    outcome: QaOutcome
    next_step: str
    value: float | None = None
    limit: float | None = None
    unit: QaUnit = ""


class QaView(Frozen):
    """The run that is going on, for the screen."""

    run_id: str
    level: QaLevel
    begun_by: str
    begun_utc: str
    steps: tuple[QaStep, ...]
    running_test: str
    """Name of the interlock test that is being watched; empty: none."""


class QaStanding(Frozen):
    """Whether daily QA allows to treat today, by the rule of a site."""

    passed_today: bool
    level: QaLevel | None
    """The strictest level that passed today."""
    passed_utc: str
    sentence: str


class QaPoint(Frozen):
    """One value of a test, for its trend."""

    at_utc: str
    run_id: str
    value: float | None
    passed: bool


class QaTrend(Frozen):
    """A test over time: oldest first. `mean`, `deviation` (sample), `slope_per_day` of the values; None where there are
    too few (1, 2, 3). `limit_*` of the test."""

    test: str
    unit: QaUnit
    limit_general: float | None
    limit_stereotactic: float | None
    points: tuple[QaPoint, ...]
    mean: float | None
    deviation: float | None
    slope_per_day: float | None
