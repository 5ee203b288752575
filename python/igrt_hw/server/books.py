"""What is read beside the live status: daily QA, trends, reviews, procedures. Each reader opens the record for itself.

The writer's connection is the writer's; a reader sees what is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from igrt_hw.models.anatomy import ChangeTrend
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.procedures import Procedure
from igrt_hw.models.qa import QaRun, QaTest, QaTrend
from igrt_hw.models.review import AlarmReview, OverrideReview
from igrt_hw.models.trends import ActionLevels, ShiftTrend
from igrt_hw.records import anatomy, qa, review, trends
from igrt_hw.records.store import RecordStore
from igrt_hw.safety.procedures import PROCEDURES
from igrt_hw.safety.qa_tests import BY_NAME, QA_TESTS
from igrt_hw.safety.rules import SiteRule

T = TypeVar("T")


class RecordBooks:
    """Reads a record that another connection writes. `utc`: now, for `days` before now."""

    def __init__(
        self,
        record_path: Path,
        plans: Mapping[str, TreatmentPlan],
        rule_for: Callable[[str], SiteRule],
        utc: Callable[[], datetime],
    ) -> None:
        self._path = record_path
        self._plans = plans
        self._rule_for = rule_for
        self._utc = utc

    async def _read(self, work: Callable[[RecordStore], T]) -> T:
        def read() -> T:
            with RecordStore(self._path, read_only=True) as record:
                return work(record)

        return await asyncio.to_thread(read)

    def _since(self, days: int) -> str:
        at = self._utc() - timedelta(days=days)
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def qa_tests(self) -> Sequence[QaTest]:
        """The daily tests."""
        return QA_TESTS

    async def qa_runs(self, limit: int) -> list[QaRun]:
        """Daily QA runs, newest first."""
        return await self._read(lambda record: list(qa.runs(record.of_kind(*qa.KINDS))[:limit]))

    async def qa_trend(self, test: str, days: int) -> QaTrend | None:
        """A daily test over time; None if there is no such test."""
        wanted = BY_NAME.get(test)
        if wanted is None:
            return None
        since = self._since(days)
        results = await self._read(lambda record: record.qa_results(test))
        return qa.trend(wanted, [result for result in results if result.at_utc >= since])

    async def shift_trend(self, patient_id: str, plan_uid: str) -> ShiftTrend | None:
        """Shifts of a patient; None if this service has read no such plan of this patient."""
        plan = self._plans.get(plan_uid)
        if plan is None or plan.patient.patient_id != patient_id:
            return None
        levels = action_levels(self._rule_for(plan.site))
        return await self._read(
            lambda record: trends.shift_trend(
                record.of_kind(*trends.KINDS), patient_id, plan_uid, levels
            )
        )

    async def change_trend(self, patient_id: str, plan_uid: str) -> ChangeTrend | None:
        """How a patient has changed over the course; None as `shift_trend`."""
        plan = self._plans.get(plan_uid)
        if plan is None or plan.patient.patient_id != patient_id:
            return None
        return await self._read(
            lambda record: anatomy.change_trend(
                record.of_kind(*anatomy.KINDS), patient_id, plan_uid
            )
        )

    async def override_review(self, days: int) -> OverrideReview:
        """Overrides of the last days."""
        since = self._since(days)
        return await self._read(
            lambda record: review.override_review(record.of_kind(*review.KINDS), since)
        )

    async def alarm_review(self, days: int) -> AlarmReview:
        """Alarms of the last days."""
        since = self._since(days)
        return await self._read(
            lambda record: review.alarm_review(record.of_kind("alarm"), since, 24.0 * days)
        )

    def procedures(self) -> Sequence[Procedure]:
        """What to do when something went wrong."""
        return PROCEDURES


def action_levels(rule: SiteRule) -> ActionLevels:
    """The levels of a site rule that shifts are drawn against."""
    return ActionLevels(
        site=rule.site,
        warn_mm=rule.warn_mm,
        warn_deg=rule.warn_deg,
        second_person_mm=rule.second_person_mm,
        second_person_deg=rule.second_person_deg,
        window_mm=rule.window_mm,
        window_deg=rule.window_deg,
    )
