"""The rehearsed books: made-up daily QA, shifts, overrides, alarms, procedures. For pictures and tests only."""

import math
from datetime import UTC, datetime, timedelta

from igrt_hw.client import NotFoundError
from igrt_hw.geometry import Correction
from igrt_hw.models.procedures import Procedure
from igrt_hw.models.qa import (
    QaKind,
    QaOutcome,
    QaPoint,
    QaResult,
    QaRun,
    QaStanding,
    QaStep,
    QaTest,
    QaTrend,
    QaUnit,
    QaView,
)
from igrt_hw.models.review import AlarmRate, AlarmReview, Count, OverrideEntry, OverrideReview
from igrt_hw.models.trends import ActionLevels, AxisSpread, FractionShift, ShiftTrend

TODAY = datetime(2026, 3, 2, 7, 40, tzinfo=UTC)
SOURCE = "TG-142, daily"
INTERLOCKS = (
    ("Emergency Stop", "A pressed emergency stop is seen and forbids everything."),
    ("Machine Clearance", "A pressed touch-guard is seen and forbids everything."),
    ("Accessory Clearance", "Arms that are not parked are seen and forbid motion."),
    ("Door", "An open door is seen and forbids imaging and beam."),
    ("Motion Enable", "The enable is seen held, and seen released."),
    ("Beam Hold", "The gate of the beam falls when an interlock is lost under it."),
)
FIGURES: tuple[tuple[str, QaKind, QaUnit, float, float], ...] = (
    ("Imager coincidence", "coincidence", "mm", 2.0, 1.0),
    ("Imager coincidence, rotation", "coincidence", "deg", 1.0, 0.5),
    ("Isocentre coincidence", "coincidence", "mm", 2.0, 1.0),
    ("Shift test: matching", "shift test", "mm", 2.0, 1.0),
    ("Shift test: matching, rotation", "shift test", "deg", 1.0, 0.5),
    ("Shift test: couch motion", "shift test", "mm", 2.0, 1.0),
    ("Shift test: couch motion, rotation", "shift test", "deg", 1.0, 0.5),
    ("Shift test: verification", "shift test", "mm", 2.0, 1.0),
    ("Shift test: verification, rotation", "shift test", "deg", 1.0, 0.5),
    ("Lasers", "measured by hand", "mm", 2.0, 1.0),
)
BY_HAND = ("Audiovisual monitor", "Beam-on indicator")
NOT_REQUIRED = ("Isocentre coincidence", "Lasers", *BY_HAND)


def _test(
    name: str,
    kind: QaKind,
    sentence: str,
    steps: tuple[str, ...],
    unit: QaUnit = "",
    limits: tuple[float | None, float | None] = (None, None),
) -> QaTest:
    return QaTest(
        name=name,
        kind=kind,
        sentence=sentence,
        steps=steps,
        unit=unit,
        limit_general=limits[0],
        limit_stereotactic=limits[1],
        required=name not in NOT_REQUIRED,
        source=SOURCE,
    )


def tests() -> list[QaTest]:
    """Return eighteen daily tests."""
    watched = [
        _test(name, "interlock", sentence, ("Break it in the room.", "Make it whole again."))
        for name, sentence in INTERLOCKS
    ]
    measured = [
        _test(
            name, kind, f"{name}: within its limit.", ("Image the phantom.", "Register the pair."),
            unit, (general, stereotactic),
        )
        for name, kind, unit, general, stereotactic in FIGURES
    ]  # fmt: skip
    by_hand = [
        _test(name, "measured by hand", f"{name} works.", ("Look and listen.",)) for name in BY_HAND
    ]
    return [*watched, *measured, *by_hand]


def standing(passed: bool = True) -> QaStanding:
    """Return whether the rehearsed room may treat today."""
    return QaStanding(
        passed_today=passed,
        level="general" if passed else None,
        passed_utc="2026-03-02T07:58:00.000Z" if passed else "",
        sentence="Daily QA passed at 07:58 at general limits."
        if passed
        else "No daily QA has passed on this day; the site thorax warns of it.",
    )


def value_of(name: str, day: int = 0) -> float:
    """Return a made-up value that drifts a little with the day."""
    unit = next(unit for test, _, unit, _, _ in FIGURES if test == name)
    base = 0.35 + 0.25 * math.sin(0.9 * day + len(name)) + 0.008 * day
    return round(abs(base) * (1.0 if unit == "mm" else 0.4), 2)


def view(running: str = "Door") -> QaView:
    """Return a run in which the first interlocks passed and one is being watched."""
    steps = []
    names = [test.name for test in tests()]
    for index, test in enumerate(tests()):
        outcome: QaOutcome = "passed" if index < names.index(running) else "not done"
        words = "" if outcome == "passed" else "Watch it, or enter what was measured."
        if test.name == running:
            outcome, words = "running", "Open the door of the room."
        if test.name == "Lasers":
            outcome, words = "failed", "Measure again, or call the physicist."
        value = 2.6 if test.name == "Lasers" else None
        limit, unit = test.limit_general, test.unit
        steps.append(
            QaStep(test=test.name, outcome=outcome, next_step=words, value=value, limit=limit, unit=unit)
        )  # fmt: skip
    return QaView(
        run_id="QA-12",
        level="general",
        begun_by="rehearsal",
        begun_utc="2026-03-02T07:40:00.000Z",
        steps=tuple(steps),
        running_test=running,
    )


def _result(test: QaTest, run_id: str, at: datetime, day: int) -> QaResult:
    value = value_of(test.name, day) if test.unit else None
    limit = test.limit_general
    return QaResult(
        run_id=run_id,
        test=test.name,
        kind=test.kind,
        passed=value is None or limit is None or value <= limit,
        value=value,
        limit=limit,
        unit=test.unit,
        sentence=f"{test.name} was done.",
        by="rehearsal",
        at_utc=at.isoformat(),
    )


def runs() -> list[QaRun]:
    """Return one finished run of this morning."""
    results = tuple(_result(test, "QA-11", TODAY, 39) for test in tests())
    run = QaRun(
        run_id="QA-11",
        machine="pedestal",
        level="general",
        day="2026-03-02",
        begun_utc="2026-03-02T07:40:00.000Z",
        begun_by="rehearsal",
        finished_utc="2026-03-02T07:58:00.000Z",
        finished_by="rehearsal",
        passed=True,
        missing=(),
        results=results,
    )
    return [run]


def trend(name: str) -> QaTrend:
    """Return forty days of a test, two of them beyond its limit; an interlock only passes or fails."""
    test = next((found for found in tests() if found.name == name), None)
    if test is None:
        raise NotFoundError(f"there is no daily test '{name}'")
    points = []
    for day in range(40):
        value = value_of(name, day) if test.unit else None
        if value is not None and day in (17, 31) and test.limit_general is not None:
            value = test.limit_general * 1.15
        good = value is None or test.limit_general is None or value <= test.limit_general
        at = (TODAY - timedelta(days=39 - day)).isoformat()
        passed = good if test.unit else day != 22
        points.append(QaPoint(at_utc=at, run_id=f"QA-{day}", value=value, passed=passed))
    values = [point.value for point in points if point.value is not None]
    return QaTrend(
        test=name,
        unit=test.unit,
        limit_general=test.limit_general,
        limit_stereotactic=test.limit_stereotactic,
        points=tuple(points),
        mean=sum(values) / len(values) if values else None,
        deviation=0.31 if values else None,
        slope_per_day=0.008 if values else None,
    )


LEVELS = ActionLevels(
    site="thorax", warn_mm=5.0, warn_deg=1.5, second_person_mm=10.0, second_person_deg=2.0,
    window_mm=30.0, window_deg=4.0,
)  # fmt: skip
SHIFTS = (
    (2.1, 3.0, -1.2, 0.2, -0.4, 0.1),
    (-1.4, 4.2, -2.0, 0.4, -0.6, 0.0),
    (1.0, 2.2, -3.1, -0.1, -0.2, 0.3),
    (0.4, 5.8, -1.0, 0.3, 1.7, 0.2),
    (2.8, 3.6, -2.4, 0.1, -0.5, 0.1),
    (1.9, 11.2, -1.8, 0.2, -0.3, 0.2),
    (0.8, 2.9, -2.2, 0.0, -0.1, -0.2),
    (5.2, 7.9, -4.1, 0.6, -1.1, 0.4),
)


def shift_trend(patient_id: str, plan_uid: str) -> ShiftTrend:
    """Return eight fractions, one above the level of a second person."""
    shifts = []
    for index, six in enumerate(SHIFTS):
        size, turn = math.hypot(*six[:3]), math.hypot(*six[3:])
        above = tuple(
            name
            for name, mm, deg in (("warning", 5.0, 1.5), ("second person", 10.0, 2.0))
            if size > mm or turn > deg
        )
        shifts.append(
            FractionShift(
                sequence=100 + index,
                at_utc=(TODAY - timedelta(days=len(SHIFTS) - 1 - index)).isoformat(),
                fraction=index + 1,
                isocentre_id="ISO1",
                correction=Correction(*six),
                mm=size,
                deg=turn,
                residual_mm=None if index == 2 else 0.4 + 0.05 * index,
                residual_deg=None if index == 2 else 0.1,
                above=above,
            )
        )
    names = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
    spreads = tuple(
        AxisSpread(
            name=name,
            unit="mm" if axis < 3 else "deg",
            count=len(SHIFTS),
            mean=sum(six[axis] for six in SHIFTS) / len(SHIFTS),
            deviation=1.1 + 0.3 * axis,
            last_in_deviations=3.2 if axis == 0 else 0.6,
        )
        for axis, name in enumerate(names)
    )
    return ShiftTrend(
        patient_id=patient_id,
        plan_uid=plan_uid,
        levels=LEVELS,
        shifts=tuple(shifts),
        spreads=spreads,
    )


def overrides(days: int) -> OverrideReview:
    """Return two overrides."""
    entries = (
        OverrideEntry(
            sequence=17, at_utc="2026-03-02T08:31:00.000Z", what="setup beyond the tolerance table",
            reason="immobilisation changed", text="new knee support since Monday",
            people=("rehearsal", "physicist1"), parameters=("longitudinal 24.0 mm of 20.0 mm",),
        ),
        OverrideEntry(
            sequence=29, at_utc="2026-03-02T09:02:00.000Z", what="setup beyond the tolerance table",
            reason="couch readout offset", text="", people=("rehearsal", "therapist2"),
            parameters=("vertical 21.5 mm of 20.0 mm",),
        ),
    )  # fmt: skip
    return OverrideReview(
        since_utc="2026-03-01T09:15:00.000Z",
        overrides=entries,
        setups=24 * days,
        rate=2 / (24 * days),
        by_reason=(
            Count(name="immobilisation changed", count=1),
            Count(name="couch readout offset", count=1),
        ),
        by_person=(Count(name="rehearsal", count=2),),
        by_day=(("2026-03-01", 0, 11), ("2026-03-02", 2, 13)),
    )


def alarm_rates(days: int) -> AlarmReview:
    """Return three alarms, one of them a nuisance."""
    return AlarmReview(
        since_utc="2026-03-01T09:15:00.000Z",
        hours=24.0 * days,
        raised=14,
        per_hour=14 / (24.0 * days),
        rates=(
            AlarmRate(alarm_id="panel arm extended", raised=9, ended_unacknowledged=8),
            AlarmRate(alarm_id="registration weak", raised=4, ended_unacknowledged=1),
            AlarmRate(alarm_id="line imager late", raised=1, ended_unacknowledged=0),
        ),
    )


def procedures() -> list[Procedure]:
    """Return three procedures in words of the play."""
    return [
        Procedure(
            name="voided",
            title="The couch stopped and the screen says SUPERSEDED or EXPIRED",
            when="Motion or approval was void: STOP, a lost link, a couch that moved, time.",
            steps=(
                "Look at the patient and speak to them.",
                "Read the reason on the screen. Remove it.",
                "Acquire images again. The couch may stand in mid path; the new images see it where it is.",
                "Register, propose, approve, arm, move, verify. Nothing can be resumed.",
            ),
        ),
        Procedure(
            name="fault",
            title="The screen says FAULT",
            when="A device or the supervisor has latched a fault.",
            steps=(
                "Look at the patient. If they touch anything: emergency stop, then egress.",
                "Read every alarm. Acknowledging silences; it clears nothing.",
                "Remove the cause.",
                "Reset the fault. What is still latched is named, device by device.",
            ),
        ),
        Procedure(
            name="egress",
            title="Egress: the patient has to leave now",
            when="The patient is unwell, frightened or caught, or power is lost with the couch raised.",
            steps=(
                "Press the emergency stop. Drives are without power, brakes hold.",
                "If the couch top is free and low enough, help the patient down on the side away from the arms.",
            ),
        ),
    ]


class RehearsedBooks:
    """What the rehearsed supervisor has in its books."""

    async def qa_tests(self) -> list[QaTest]:
        """Return the daily tests."""
        return tests()

    async def qa_runs(self, *, limit: int = 30) -> list[QaRun]:
        """Return the runs."""
        return runs()[:limit]

    async def qa_trend(self, test: str, *, days: int = 365) -> QaTrend:
        """Return one test over time."""
        return trend(test)

    async def shift_trend(self, patient_id: str, plan_uid: str) -> ShiftTrend:
        """Return the shifts of the patient."""
        return shift_trend(patient_id, plan_uid)

    async def override_review(self, *, days: int = 1) -> OverrideReview:
        """Return the review list."""
        return overrides(days)

    async def alarm_review(self, *, days: int = 1) -> AlarmReview:
        """Return the alarm rates."""
        return alarm_rates(days)

    async def procedures(self) -> list[Procedure]:
        """Return what people do."""
        return procedures()
