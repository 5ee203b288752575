"""What this patient was moved by, fraction by fraction, read from the record."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from igrt_hw.geometry import AXIS_NAMES, Correction
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.record import RecordEntry


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of one number over the fractions; `deviation` None below two values."""

    name: str
    count: int
    mean: float
    deviation: float | None


KINDS = ("proposal", "execute", "arrival")
"""Kinds of entries that `treated_shifts` reads."""


def treated_shifts(entries: Iterable[RecordEntry], patient_id: str) -> tuple[TreatedShift, ...]:
    """Shifts of this patient that were executed and arrived, in order. Reads entries of `KINDS`."""
    proposals: dict[str, RecordEntry] = {}
    pending = ""
    found = []
    for entry in entries:
        match entry.kind:
            case "proposal":
                proposals[str(entry.data["digest"])] = entry
            case "execute":
                pending = str(entry.data["digest"])
            case "arrival" if pending in proposals:
                found.append(_shift(proposals[pending], entry))
                pending = ""
            case _:
                continue
    return tuple(shift for shift in found if shift.patient_id == patient_id)


def _shift(proposal: RecordEntry, arrival: RecordEntry) -> TreatedShift:
    content = proposal.data["content"]
    if not isinstance(content, dict):
        raise ValueError(f"entry {proposal.sequence} is a proposal without content")
    return TreatedShift(
        sequence=arrival.sequence,
        patient_id=content["patient_id"],
        plan_uid=content["plan_uid"],
        isocentre_id=content["isocentre_id"],
        fraction=content["fraction"],
        at_utc=arrival.at_utc,
        correction=Correction(**content["registration"]["correction"]),
        target_axes=tuple(float(v) for v in content["target_axes"]),
    )


def spreads(shifts: Iterable[TreatedShift]) -> tuple[Spread, ...]:
    """Mean and standard deviation of each of the six numbers of the corrections."""
    rows = [shift.correction.values() for shift in shifts]
    found = []
    for index, name in enumerate(AXIS_NAMES):
        values = [row[index] for row in rows]
        mean = math.fsum(values) / len(values) if values else 0.0
        deviation = None
        if len(values) > 1:
            deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
        found.append(Spread(name, len(values), mean, deviation))
    return tuple(found)
