"""Where the target is while the beam is on: what a site asks for, and what is known of it at this instant."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from igrt_hw.models.base import Frozen

Positive = Annotated[FiniteFloat, Field(gt=0)]


class MonitoringRule(Frozen):
    """How a site wants its target watched: by markers, in single low-dose views while the beam is released.

    use: `required` refuses the beam without it, `offered` leaves it to people.
    limit_mm: distance of the target from its planned place; beyond twice of it one view is enough for a hold.
    views_beyond: views in a row beyond the limit before a hold. views_blind: views in a row without the markers.
    interval_us: from one view to the next. seen_age_us: not seen for so long is not known.
    mas_share: share of the pair's mAs by the site's protocol. views_max: views of one watch; then people decide.
    """

    use: Literal["required", "offered"] = "offered"
    limit_mm: Positive = 3.0
    views_beyond: Annotated[int, Field(ge=1, le=10)] = 2
    views_blind: Annotated[int, Field(ge=1, le=10)] = 2
    interval_us: Annotated[int, Field(ge=1_000_000, le=60_000_000)] = 5_000_000
    seen_age_us: Annotated[int, Field(ge=2_000_000, le=120_000_000)] = 20_000_000
    mas_share: Annotated[FiniteFloat, Field(gt=0, le=1)] = 0.5
    views_max: Annotated[int, Field(ge=1, le=1000)] = 60


class TargetSight(Frozen):
    """One view in which the target was seen: how long ago, and its shift from the planned place, fixed frame, mm."""

    age_s: float
    deviation_mm: tuple[float, float, float]
    distance_mm: float


class TargetView(Frozen):
    """What is known of the watched target. `deviation_mm` is its shift from the planned place in the fixed frame
    (lateral, longitudinal, vertical), `sigma_mm` its standard deviations: along the beam of a source that does not turn
    nothing is seen, and there it grows. None: not seen yet. `problem` is empty while the beam may be on."""

    views: int
    views_left: int
    limit_mm: float
    deviation_mm: tuple[float, float, float] | None
    sigma_mm: tuple[float, float, float] | None
    distance_mm: float | None
    seen: tuple[str, ...]
    seen_age_s: float | None
    dose_area_uGycm2: float
    problem: str
    trace: tuple[TargetSight, ...] = ()
    """The last sights, oldest first: breathing and drift as far as views some seconds apart show them."""
