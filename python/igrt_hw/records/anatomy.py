"""How a patient has changed over the course, read from the record: one line for every registration that measured it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from igrt_hw.models.anatomy import AnatomyChange, ChangeTrend, FractionChange
from igrt_hw.models.record import RecordEntry

KINDS = ("registration",)
"""Kinds of entries that `change_trend` reads; those without a measured change are passed over."""
FRACTIONS_MIN = 3  # fewer tell no slope
AHEAD_MAX = 40  # a forecast beyond the length of any course is none


def change_trend(entries: Iterable[RecordEntry], patient_id: str, plan_uid: str) -> ChangeTrend:
    """All changes of this patient under this plan, oldest first, with slopes per fraction and a forecast."""
    read = [
        (_one(entry, change), change)
        for entry in entries
        if (change := _told(entry, patient_id, plan_uid)) is not None
    ]
    changes = tuple(line for line, _ in read)
    scans = [line for line in changes if line.source == "cone beam"]
    outline = _slope([(one.fraction, one.outline_mean_mm) for one in scans])
    worst = _slope([(one.fraction, one.worst_mm) for one in scans])
    limits = read[-1][1].limits if read else None
    return ChangeTrend(
        patient_id=patient_id,
        plan_uid=plan_uid,
        changes=changes,
        outline_slope_mm=outline,
        worst_slope_mm=worst,
        forecast="" if limits is None else _forecast(scans, outline, limits.outline_physicist_mm),
    )


def _told(entry: RecordEntry, patient_id: str, plan_uid: str) -> AnatomyChange | None:
    data: dict[str, Any] = entry.data
    if entry.kind not in KINDS or data.get("anatomy") is None:
        return None
    if data.get("patient_id") != patient_id or data.get("plan_uid") != plan_uid:
        return None
    return AnatomyChange.model_validate(data["anatomy"])


def _one(entry: RecordEntry, change: AnatomyChange) -> FractionChange:
    fraction = entry.data.get("fraction")
    return FractionChange(
        sequence=entry.sequence,
        at_utc=entry.at_utc,
        fraction=fraction if isinstance(fraction, int) else 0,
        source=change.source,
        advice=change.advice,
        worst_mm=change.worst_mm,
        target_mm=change.target_mm,
        outline_mean_mm=None if change.outline is None else change.outline.mean_mm,
        target_lost_share=None if change.target is None else change.target.lost_share,
        reasons=change.reasons,
    )


def _slope(points: Sequence[tuple[int, float | None]]) -> float | None:
    """Least squares over the fractions; None below three different ones."""
    known = [(float(x), y) for x, y in points if y is not None]
    if len({x for x, _ in known}) < FRACTIONS_MIN:
        return None
    mean_x = math.fsum(x for x, _ in known) / len(known)
    mean_y = math.fsum(y for _, y in known) / len(known)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in known)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in known) / spread


def _forecast(scans: Sequence[FractionChange], slope: float | None, limit_mm: float) -> str:
    last = next((one for one in reversed(scans) if one.outline_mean_mm is not None), None)
    if slope is None or last is None or last.outline_mean_mm is None or slope == 0.0:
        return ""
    goal = math.copysign(limit_mm, slope)
    ahead = (goal - last.outline_mean_mm) / slope
    if not 0.0 < ahead <= AHEAD_MAX:
        return ""
    word = "inside" if slope < 0 else "outside"
    return (
        f"the surface moves by {slope:+.2f} mm a fraction: about fraction {last.fraction + math.ceil(ahead)} it lies "
        f"{limit_mm:g} mm {word} that of the CT"
    )
