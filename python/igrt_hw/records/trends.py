"""Shifts of a patient over the fractions, against the action levels of the site. Read from the record; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from igrt_hw.geometry import AXIS_NAMES
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.trends import ActionLevels, AxisSpread, FractionShift, ShiftTrend
from igrt_hw.records.history import KINDS as SHIFT_KINDS
from igrt_hw.records.history import treated_shifts
from igrt_hw.safety.couch_model import rotation_total_deg

KINDS = (*SHIFT_KINDS, "verification")
"""Kinds of entries that `shift_trend` reads."""
_BEFORE_MIN = 3  # fewer shifts before the last one give no deviation worth a word


def shift_trend(
    entries: Sequence[RecordEntry], patient_id: str, plan_uid: str, levels: ActionLevels
) -> ShiftTrend:
    """All shifts of this patient under this plan, oldest first, with residuals, levels and spreads."""
    residuals = _residuals(entries)
    shifts = [s for s in treated_shifts(entries, patient_id) if s.plan_uid == plan_uid]
    return ShiftTrend(
        patient_id=patient_id,
        plan_uid=plan_uid,
        levels=levels,
        shifts=tuple(_fraction(shift, residuals, levels) for shift in shifts),
        spreads=_spreads(shifts),
    )


def _residuals(entries: Iterable[RecordEntry]) -> dict[int, tuple[float, float]]:
    """What the verification images still asked for, by the sequence of the arrival that they followed."""
    found: dict[int, tuple[float, float]] = {}
    arrival = 0
    for entry in entries:
        if entry.kind == "arrival":
            arrival = entry.sequence
        elif entry.kind == "verification" and arrival:
            mm, deg = entry.data.get("mm"), entry.data.get("deg")
            if isinstance(mm, int | float) and isinstance(deg, int | float):
                found[arrival] = (float(mm), float(deg))
    return found


def _fraction(
    shift: TreatedShift, residuals: dict[int, tuple[float, float]], levels: ActionLevels
) -> FractionShift:
    mm, deg = shift.correction.magnitude_mm, rotation_total_deg(shift.correction)
    residual = residuals.get(shift.sequence)
    above = [
        name
        for name, most_mm, most_deg in (
            ("warning", levels.warn_mm, levels.warn_deg),
            ("second person", levels.second_person_mm, levels.second_person_deg),
        )
        if mm > most_mm or deg > most_deg
    ]
    return FractionShift(
        sequence=shift.sequence,
        at_utc=shift.at_utc,
        fraction=shift.fraction,
        isocentre_id=shift.isocentre_id,
        correction=shift.correction,
        mm=mm,
        deg=deg,
        residual_mm=None if residual is None else residual[0],
        residual_deg=None if residual is None else residual[1],
        above=tuple(above),
    )


def _spreads(shifts: Sequence[TreatedShift]) -> tuple[AxisSpread, ...]:
    rows = [shift.correction.values() for shift in shifts]
    return tuple(
        _spread(name, "mm" if index < 3 else "deg", [row[index] for row in rows])
        for index, name in enumerate(AXIS_NAMES)
    )


def _spread(name: str, unit: str, values: Sequence[float]) -> AxisSpread:
    before = values[:-1]
    usual = _deviation(before)
    last = None
    if len(before) >= _BEFORE_MIN and usual:
        last = (values[-1] - math.fsum(before) / len(before)) / usual
    return AxisSpread(
        name=name,
        unit=unit,
        count=len(values),
        mean=math.fsum(values) / len(values) if values else 0.0,
        deviation=_deviation(values),
        last_in_deviations=last,
    )


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
