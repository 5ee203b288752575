"""Where the markers are while the beam is on: single low-dose kV views, one at a time, and when to ask for a beam hold.

One view sees two directions and not the depth. The target's shift from its planned place, three numbers in the fixed
frame, is therefore followed over the views as the source turns: each view is one update of a Kalman filter whose state
walks at random in between (the tracking of KIM: Keall et al., IJROBP 2015; its gating limit is 3 mm for 5 s). Markers
are taken as one rigid body that shifts and does not turn.

Pure: a view and its time go in, a verdict comes out. A hold is asked for when the target is beyond the limit, when the
markers are not seen, and when no view came in time: not knowing is a reason to hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.markers import Blob
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.base import Frozen

Floats = NDArray[np.float64]
Positive = Annotated[FiniteFloat, Field(gt=0)]

MARKERS_MIN: Final = 2  # one spot may be anything
# Spots of one frame that belong to one rigid body agree within this many deviations.
CONSISTENT_SIGMAS: Final = 4.0


class MonitorLimits(Frozen):
    """When to ask for a hold. Numbers are proposals; a department sets its own.

    limit_mm: shift of the target from its plan; beyond twice of it one view is enough.
    views_beyond: consecutive views beyond the limit before a hold (3 mm for 5 s in the KIM trial).
    views_blind: consecutive views in which the markers were not recognised.
    view_age_us: without a view for so long nothing is known.
    walk_mm_per_root_s: how far the target wanders; 0.3 mm in one second, 1.6 mm in thirty.
    prior_mm: how well the verified setup is known, per direction.
    geometry_mm: what the imager's geometry errs by at the isocentre, per direction.
    search_mm: how far from where it was expected a marker is looked for.
    """

    limit_mm: Positive = 3.0
    views_beyond: Annotated[int, Field(ge=1)] = 2
    views_blind: Annotated[int, Field(ge=1)] = 2
    view_age_us: Annotated[int, Field(gt=0)] = 20_000_000
    walk_mm_per_root_s: Positive = 0.3
    prior_mm: Positive = 1.0
    geometry_mm: Positive = 0.15
    search_mm: Positive = 12.0


class MonitorVerdict(Frozen):
    """What is known after a view or a tick. `deviation_mm` is the target's shift from its planned place, fixed frame;
    `sigma_mm` its deviations; `seen` the markers recognised in the last view."""

    at_us: int
    deviation_mm: tuple[float, float, float]
    sigma_mm: tuple[float, float, float]
    distance_mm: float
    seen: tuple[str, ...]
    hold: bool
    sentence: str


@dataclass(frozen=True, slots=True, eq=False)
class IntrafractionMonitor:
    """The follower; every view gives the next one. `planned_mm`: names and places of the markers, fixed frame, mm."""

    limits: MonitorLimits
    names: tuple[str, ...]
    planned_mm: Floats
    at_us: int
    mean_mm: Floats
    covariance_mm2: Floats
    beyond: int = 0
    blind: int = 0
    seen: tuple[str, ...] = ()

    @classmethod
    def start(
        cls,
        planned_mm: Sequence[tuple[str, tuple[float, float, float]]],
        at_us: int,
        limits: MonitorLimits | None = None,
    ) -> IntrafractionMonitor:
        """Begin after a verified setup. Raises `InputRefused` for fewer than two markers or places that are none."""
        kept = limits or MonitorLimits()
        places = np.array([place for _, place in planned_mm], dtype=np.float64).reshape(-1, 3)
        if len(places) < MARKERS_MIN or not np.isfinite(places).all():
            raise InputRefused(
                f"{len(places)} markers with a place; {MARKERS_MIN} are needed to tell them from other spots"
            )
        return cls(
            limits=kept,
            names=tuple(name for name, _ in planned_mm),
            planned_mm=places,
            at_us=at_us,
            mean_mm=np.zeros(3),
            covariance_mm2=np.eye(3) * kept.prior_mm**2,
        )

    def viewed(
        self, geometry: PanelGeometry, blobs: Sequence[Blob], at_us: int
    ) -> tuple[IntrafractionMonitor, MonitorVerdict]:
        """One view with the spots found in it. Raises `InputRefused` for a view older than the last one."""
        if at_us < self.at_us:
            raise InputRefused("the view is older than the last one: views come in their order")
        seconds = (at_us - self.at_us) * 1e-6
        wander = np.eye(3) * self.limits.walk_mm_per_root_s**2 * seconds
        now = replace(self, at_us=at_us, covariance_mm2=self.covariance_mm2 + wander)
        matched = now._matched(geometry, blobs)
        if matched is None:
            now = replace(now, blind=self.blind + 1, seen=())
        else:
            now = now._updated(geometry, blobs, matched)
            far = float(np.linalg.norm(now.mean_mm)) > self.limits.limit_mm
            now = replace(now, blind=0, beyond=self.beyond + 1 if far else 0)
        return now, now.verdict(at_us)

    def verdict(self, now_us: int) -> MonitorVerdict:
        """What is known now, also between views."""
        limits, distance = self.limits, float(np.linalg.norm(self.mean_mm))
        age_us = now_us - self.at_us
        hold, sentence = False, f"the target is {distance:.1f} mm from its planned place"
        if self.beyond >= limits.views_beyond or distance > 2.0 * limits.limit_mm:
            hold, sentence = True, f"{sentence}, beyond {limits.limit_mm:g} mm: hold the beam"
        elif self.blind >= limits.views_blind:
            words = f"the markers were not recognised in {self.blind} views"
            hold, sentence = True, f"{words}: hold the beam"
        elif age_us > limits.view_age_us:
            hold, sentence = True, f"no view for {age_us / 1e6:.0f} s: hold the beam"
        a, b, c = (float(v) for v in self.mean_mm)
        sa, sb, sc = (float(v) for v in np.sqrt(np.diag(self.covariance_mm2)))
        return MonitorVerdict(
            at_us=now_us,
            deviation_mm=(a, b, c),
            sigma_mm=(sa, sb, sc),
            distance_mm=distance,
            seen=self.seen,
            hold=hold,
            sentence=sentence,
        )

    def _matched(self, geometry: PanelGeometry, blobs: Sequence[Blob]) -> dict[int, int] | None:
        """Marker -> spot by the one shift on the panel that explains most markers; None where too few agree."""
        expected = geometry.pixels_of(self.planned_mm + self.mean_mm)
        per_mm = geometry.sid_mm / geometry.sad_mm / geometry.pixel_pitch_mm
        places = np.array([[blob.col, blob.row] for blob in blobs]).reshape(-1, 2)
        tolerance = CONSISTENT_SIGMAS * max(0.5, self.limits.geometry_mm * per_mm)
        best: tuple[int, float, dict[int, int]] = (0, math.inf, {})
        for marker in range(len(expected)):
            for place in places:
                shift = place - expected[marker]
                if np.linalg.norm(shift) > self.limits.search_mm * per_mm:
                    continue
                pairs, miss = _agreeing(expected + shift, places, tolerance)
                if (len(pairs), -miss) > (best[0], -best[1]):
                    best = (len(pairs), miss, pairs)
        needed = max(MARKERS_MIN, math.ceil(len(self.names) / 2))
        return best[2] if best[0] >= needed else None

    def _updated(
        self, geometry: PanelGeometry, blobs: Sequence[Blob], pairs: dict[int, int]
    ) -> IntrafractionMonitor:
        """The state after all matched spots of a view."""
        per_mm = geometry.sid_mm / geometry.sad_mm / geometry.pixel_pitch_mm
        at = self.planned_mm[list(pairs)] + self.mean_mm
        steps = np.eye(3) * 0.01
        slopes = np.stack(
            [(geometry.pixels_of(at + s) - geometry.pixels_of(at - s)) / 0.02 for s in steps],
            axis=2,
        )
        spots = np.array([[blobs[k].col, blobs[k].row] for k in pairs.values()])
        residual = (spots - geometry.pixels_of(at)).reshape(-1)
        noise = np.kron(np.eye(len(pairs)), np.zeros((2, 2)))
        for n, k in enumerate(pairs.values()):
            noise[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] = blobs[k].covariance_px2
        # The geometry errs alike for every marker of a view: it does not average out.
        common = np.kron(np.ones((len(pairs), len(pairs))), np.eye(2))
        noise = noise + common * (self.limits.geometry_mm * per_mm) ** 2
        slope = slopes.reshape(-1, 3)
        gain = (
            self.covariance_mm2
            @ slope.T
            @ np.linalg.inv(slope @ self.covariance_mm2 @ slope.T + noise)
        )
        covariance = (np.eye(3) - gain @ slope) @ self.covariance_mm2
        return replace(
            self,
            mean_mm=self.mean_mm + gain @ residual,
            covariance_mm2=0.5 * (covariance + covariance.T),
            seen=tuple(self.names[marker] for marker in pairs),
        )


def _agreeing(expected: Floats, places: Floats, tolerance: float) -> tuple[dict[int, int], float]:
    """Markers whose expected spot has one within the tolerance, each spot once, and the sum of squares."""
    pairs: dict[int, int] = {}
    miss = 0.0
    for marker, at in enumerate(expected):
        away = np.linalg.norm(places - at, axis=1)
        for k in np.argsort(away):
            if away[k] > tolerance:
                break
            if int(k) not in pairs.values():
                pairs[marker] = int(k)
                miss += float(away[k]) ** 2
                break
    return pairs, miss
