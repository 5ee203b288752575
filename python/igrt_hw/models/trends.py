"""Shifts of a patient, fraction by fraction, with the action levels of the site. Millimetres and degrees."""

from __future__ import annotations

from igrt_hw.geometry import Correction
from igrt_hw.models.base import Frozen


class FractionShift(Frozen):
    """One shift that was executed and arrived. `correction` is C, in the fixed frame about the isocentre.

    `residual_*`: what the verification images still asked for; None: none were registered.
    `above`: the action levels that the shift is above, in words (`warning`, `second person`).
    """

    sequence: int
    at_utc: str
    fraction: int
    isocentre_id: str
    correction: Correction
    mm: float
    deg: float
    residual_mm: float | None
    residual_deg: float | None
    above: tuple[str, ...]


class ActionLevels(Frozen):
    """The levels of the site rule that the shifts are drawn against."""

    site: str
    warn_mm: float
    warn_deg: float
    second_person_mm: float
    second_person_deg: float
    window_mm: float
    window_deg: float


class AxisSpread(Frozen):
    """One of the six numbers over the fractions: mean, sample standard deviation (None below two), and the last one's
    distance from the mean of those before it in standard deviations (None below three before it)."""

    name: str
    unit: str
    count: int
    mean: float
    deviation: float | None
    last_in_deviations: float | None


class ShiftTrend(Frozen):
    """All shifts of one patient under one plan, oldest first."""

    patient_id: str
    plan_uid: str
    levels: ActionLevels
    shifts: tuple[FractionShift, ...]
    spreads: tuple[AxisSpread, ...]
