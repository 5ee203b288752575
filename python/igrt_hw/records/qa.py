"""Daily QA in the record: entries of the chain, a table of results beside them, runs and trends read from both.

The table is written in the transaction that appends the entry, and can be made anew from the chain; where the two
differ `disagreement` says so. Days are calendar days of the room.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    String,
    Table,
    Text,
    insert,
    select,
)

from igrt_hw.models.qa import QaPoint, QaResult, QaRun, QaTest, QaTrend
from igrt_hw.models.record import RecordEntry
from igrt_hw.records.tables import METADATA

BEGUN, RESULT, FINISHED = "qa begun", "qa result", "qa finished"
KINDS = (BEGUN, RESULT, FINISHED)
"""Kinds of entries that `runs` reads."""

QA_RESULTS = Table(
    "qa_results",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("run_id", String(40), nullable=False, index=True),
    Column("test", String(80), nullable=False, index=True),
    Column("kind", String(40), nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("value", Float),
    Column("limit", Float),
    Column("unit", String(8), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("by", String(100), nullable=False),
    Column("at_utc", String(40), nullable=False),
)


def result_of(entry: RecordEntry) -> QaResult:
    """The result that an entry of kind `qa result` holds. Raises `ValueError` for one that holds none."""
    return QaResult.model_validate(entry.data | {"sequence": entry.sequence})


def store(connection: Connection, entries: Iterable[RecordEntry]) -> None:
    """Write the results among these entries into the table; within the transaction that appends them."""
    rows = [result_of(entry).model_dump(mode="json") for entry in entries if entry.kind == RESULT]
    if rows:
        connection.execute(insert(QA_RESULTS), rows)


def stored(connection: Connection, test: str | None = None) -> tuple[QaResult, ...]:
    """Results of the table, oldest first."""
    query = select(QA_RESULTS).order_by(QA_RESULTS.c.sequence)
    if test is not None:
        query = query.where(QA_RESULTS.c.test == test)
    return tuple(QaResult.model_validate(dict(row)) for row in connection.execute(query).mappings())


def disagreement(entries: Iterable[RecordEntry], table: Sequence[QaResult]) -> str:
    """What the table says otherwise than the chain; empty: they agree."""
    chained = {entry.sequence: result_of(entry) for entry in entries if entry.kind == RESULT}
    tabled = {result.sequence: result for result in table}
    for sequence in sorted(chained.keys() | tabled.keys()):
        if sequence not in tabled:
            return f"the QA table lacks the result of entry {sequence}"
        if sequence not in chained:
            return f"the QA table holds a result of entry {sequence}, which is none"
        if chained[sequence] != tabled[sequence]:
            return f"the QA table was changed: its result of entry {sequence} is not that of the record"
    return ""


def runs(entries: Iterable[RecordEntry]) -> tuple[QaRun, ...]:
    """The runs of these entries (kinds of `KINDS`), newest first."""
    found: dict[str, QaRun] = {}
    for entry in entries:
        run_id = str(entry.data.get("run_id", ""))
        if entry.kind == BEGUN:
            found[run_id] = _begun(entry)
        elif run_id in found and entry.kind == RESULT:
            run = found[run_id]
            found[run_id] = run.model_copy(update={"results": (*run.results, result_of(entry))})
        elif run_id in found and entry.kind == FINISHED:
            missing = entry.data.get("missing")
            found[run_id] = found[run_id].model_copy(
                update={
                    "finished_utc": entry.at_utc,
                    "finished_by": entry.actor,
                    "passed": entry.data.get("passed") is True,
                    "missing": tuple(str(m) for m in missing) if isinstance(missing, list) else (),
                }
            )
    return tuple(reversed(found.values()))


def _begun(entry: RecordEntry) -> QaRun:
    return QaRun.model_validate(
        {
            "run_id": entry.data.get("run_id"),
            "machine": entry.data.get("machine"),
            "level": entry.data.get("level"),
            "day": entry.data.get("day"),
            "begun_utc": entry.at_utc,
            "begun_by": entry.actor,
            "finished_utc": "",
            "finished_by": "",
            "passed": False,
            "missing": (),
            "results": (),
        }
    )


def trend(test: QaTest, results: Iterable[QaResult]) -> QaTrend:
    """A test over time, from its results, oldest first."""
    points = tuple(
        QaPoint(at_utc=r.at_utc, run_id=r.run_id, value=r.value, passed=r.passed) for r in results
    )
    known = [(_days(p.at_utc), p.value) for p in points if p.value is not None]
    values = [value for _, value in known]
    mean = math.fsum(values) / len(values) if values else None
    deviation = slope = None
    if mean is not None and len(values) > 1:
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    if len(values) > 2:
        slope = _slope(known)
    return QaTrend(
        test=test.name,
        unit=test.unit,
        limit_general=test.limit_general,
        limit_stereotactic=test.limit_stereotactic,
        points=points,
        mean=mean,
        deviation=deviation,
        slope_per_day=slope,
    )


def _slope(known: Sequence[tuple[float, float]]) -> float | None:
    """Least squares, per day; None where all were measured at one time."""
    mean_day = math.fsum(day for day, _ in known) / len(known)
    mean_value = math.fsum(value for _, value in known) / len(known)
    spread = math.fsum((day - mean_day) ** 2 for day, _ in known)
    if spread == 0.0:
        return None
    return math.fsum((day - mean_day) * (value - mean_value) for day, value in known) / spread


def _days(at_utc: str) -> float:
    return datetime.fromisoformat(at_utc).timestamp() / 86_400
