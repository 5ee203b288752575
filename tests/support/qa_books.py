"""Books with one day in them: a record of a QA run, an override, alarms and a shift, read as the service reads it."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from room_rig import treatment_plan

from igrt_hw.records.store import RecordStore
from igrt_hw.safety.rules import SITE_RULES
from igrt_hw.server.books import RecordBooks

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = "2026-01-01T08:00:00.000Z"


def record_of_a_day(path: Path) -> None:
    """Write the day's record."""
    run = {"run_id": "Q-1", "machine": "linac", "level": "general", "day": "2026-01-01"}
    result = {
        "run_id": "Q-1",
        "test": "Lasers",
        "kind": "measured by hand",
        "passed": True,
        "value": 0.5,
        "limit": 2.0,
        "unit": "mm",
        "sentence": "Lasers: 0.50 mm, within 2 mm",
        "by": "thea",
        "at_utc": AT,
    }
    override = {
        "what": "setup tolerance",
        "reason": "other",
        "text": "cushion",
        "people": ["thea", "phil"],
        "parameters": ["lateral"],
    }
    alarm = {"alarm_id": "link/couch", "what": "raised", "acknowledged_by": None}
    with RecordStore(path) as record:
        for kind, text, data in (
            ("qa begun", "daily QA begun", run),
            ("qa result", "Lasers", result),
            (
                "qa finished",
                "daily QA NOT passed",
                {"run_id": "Q-1", "passed": False, "missing": ["Door"]},
            ),
            ("transition", "PATIENT_BOUND -> SETUP: override", {}),
            ("override", "setup outside tolerance", override),
            ("alarm", "link/couch raised", alarm),
            ("alarm", "link/couch ended", alarm | {"what": "ended"}),
        ):
            record.append(kind, "thea", text, data, 0, AT)


@cache
def qa_books() -> RecordBooks:
    """Books over that record, at noon of its day; written once, only read afterwards."""
    path = Path(tempfile.mkdtemp()) / "record.sqlite"
    record_of_a_day(path)
    plan = treatment_plan()
    rules = {rule.site: rule for rule in SITE_RULES}
    return RecordBooks(
        path, {plan.plan_uid: plan}, lambda site: rules.get(site, rules["general"]), lambda: NOW
    )
