"""What a rigid correction leaves: how the patient has changed since the planning CT, in numbers, and what to do.

Levels follow the traffic light protocol (Kwint et al., Radiother Oncol 2014;113:392): red, the target may lie outside
of its margin, nobody treats before a physician has looked; orange, somebody looks before the next fraction; green,
nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from igrt_hw.models.base import Frozen

Positive = Annotated[FiniteFloat, Field(gt=0)]
Advice = Literal["treat", "re-image", "call the physicist", "replan"]
ADVICE_ORDER: tuple[Advice, ...] = ("treat", "re-image", "call the physicist", "replan")


class ChangeLimits(Frozen):
    """From which figures on something is advised. Numbers marked P are proposals; a department sets its own.

    region_reimage_mm: a region lies off its place in the plan by so much after the correction: set up and image again
        (P; what is usual after a rigid correction in head and neck is 1.1 to 3.4 mm, 1 SD: van Kranen et al., IJROBP
        2009;73:1566).
    pair_reimage_mm: the same of a pair, where the worst region of an unchanged patient reached 2 to 5.5 mm (P).
        It is told and never asks for a second person.
    region_physicist_mm: the same, when it is of the order of a margin of 5 mm (P).
    target_replan_mm: the target region itself off by more than its margin: red of the traffic light protocol.
    target_density_share: share of the target region's tissue that has gone or come (P; tumour regression and
        atelectasis are the most frequent changes of a lung: Kwint et al. 2014).
    outline_physicist_mm: surface moved in or out over a sector (P).
    outline_replan_mm: half of a change of the neck's separation of 12.1 mm, which told the need of another plan
        with 93 % sensitivity and 88 % specificity (Barata et al., Turk J Oncol 2023;38:4).
    """

    region_reimage_mm: Positive = 3.0
    pair_reimage_mm: Positive = 4.0
    region_physicist_mm: Positive = 5.0
    target_replan_mm: Positive = 5.0
    target_density_share: Annotated[FiniteFloat, Field(gt=0, le=1)] = 0.25
    outline_physicist_mm: Positive = 4.0
    outline_replan_mm: Positive = 6.05


class RegionShift(Frozen):
    """One region after the correction. `centre_mm` in the fixed frame with the patient as planned; `shift_mm` where it
    lies today minus where the plan has it, fixed frame (of a view: across the beam only); `sigma_mm` standard
    deviations; `mm` the length of what is known to 0.7 mm."""

    name: str
    centre_mm: tuple[float, float, float]
    shift_mm: tuple[float, float, float]
    sigma_mm: tuple[float, float, float]
    mm: float
    similarity: float


class OutlineChange(Frozen):
    """The body's surface against the CT's, mm, negative where the body has shrunk. `covered_share`: of the surface
    within the scan's length, what lay in the field and not on the couch. `worst_*`: sector with the largest change."""

    covered_share: float
    mean_mm: float | None
    worst_mm: float | None
    worst_where: str = ""


class TargetChange(Frozen):
    """The region about the isocentre: `lost_share` of its tissue is lung or air today, `gained_share` the other way
    round, as shares of its tissue in the CT."""

    radius_mm: float
    lost_share: float
    gained_share: float


class AnatomyChange(Frozen):
    """What the rigid correction leaves, and what to do about it.

    `reasons` are sentences with their numbers and limits; `not_measured` what nobody could see, in words. `regions`
    are the worst first. A pair of X-rays shows regions across its beams only and no outline.
    """

    source: Literal["cone beam", "pair"]
    advice: Advice
    reasons: tuple[str, ...]
    not_measured: tuple[str, ...]
    regions_looked_at: int
    regions_measured: int
    median_mm: float | None
    worst_mm: float | None
    target_mm: float | None
    regions: tuple[RegionShift, ...]
    outline: OutlineChange | None = None
    target: TargetChange | None = None
    limits: ChangeLimits = ChangeLimits()


class FractionChange(Frozen):
    """What one registration of a course told of the patient's change."""

    sequence: int
    at_utc: str
    fraction: int
    source: Literal["cone beam", "pair"]
    advice: Advice
    worst_mm: float | None
    target_mm: float | None
    outline_mean_mm: float | None
    target_lost_share: float | None
    reasons: tuple[str, ...]


class ChangeTrend(Frozen):
    """A patient's change over the course, oldest first. Slopes per fraction are those of cone-beam scans, None below
    three of them; `forecast` says in words when a limit would be reached if it went on so."""

    patient_id: str
    plan_uid: str
    changes: tuple[FractionChange, ...]
    outline_slope_mm: float | None
    worst_slope_mm: float | None
    forecast: str
