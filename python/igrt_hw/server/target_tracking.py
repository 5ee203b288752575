"""From a low-dose view to where the target is: the markers in it, and the follower that every view updates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from igrt_hw.guidance.fiducials import find_fiducials
from igrt_hw.guidance.intrafraction import IntrafractionMonitor, MonitorLimits, MonitorVerdict
from igrt_hw.guidance.marker_motion import Fiducial
from igrt_hw.guidance.markers import GOLD_SEED
from igrt_hw.guidance.orientation import iec_patient_point
from igrt_hw.models.monitoring import MonitoringRule
from igrt_hw.safety import events as ev
from igrt_hw.server.imaging import StoredImage
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import PreparedPlan


@dataclass(slots=True)
class TargetTracker:
    """Follows one target from view to view. Not for two threads at once: views come one after the other."""

    plan: PreparedPlan
    placement: Placement
    fiducials: tuple[Fiducial, ...]
    monitor: IntrafractionMonitor | None = None

    @classmethod
    def of(cls, plan: PreparedPlan, isocentre_id: str) -> TargetTracker:
        """The markers of a plan about one of its isocentres."""
        fiducials = []
        for marker in plan.loaded.plan.markers:
            x, y, z = (float(v) for v in iec_patient_point(marker.position_dicom_mm))
            fiducials.append(Fiducial(marker.name, (x, y, z), marker.sigma_mm))
        return cls(plan, Placement.of(plan.loaded, isocentre_id), tuple(fiducials))

    def viewed(self, image: StoredImage, at_us: int, rule: MonitoringRule) -> MonitorVerdict:
        """One view. Raises `InputRefused` for an image without the markers' places in it."""
        if self.monitor is None:
            limits = MonitorLimits(
                limit_mm=rule.limit_mm,
                views_beyond=rule.views_beyond,
                views_blind=rule.views_blind,
                view_age_us=rule.seen_age_us,
            )
            planned = self.placement.planned.apply(
                np.array([fiducial.position_mm for fiducial in self.fiducials])
            )
            places = [
                (fiducial.name, (float(x), float(y), float(z)))
                for fiducial, (x, y, z) in zip(self.fiducials, planned, strict=True)
            ]
            self.monitor = IntrafractionMonitor.start(places, at_us, limits)
        spots = find_fiducials(
            image.line_integrals,
            image.geometry,
            GOLD_SEED,
            self.fiducials,
            self.placement.planned,
            region=image.region,
        )
        self.monitor, verdict = self.monitor.viewed(image.geometry, spots.blobs, at_us)
        return verdict


def target_seen(request: int, verdict: MonitorVerdict, image: StoredImage) -> ev.TargetSeen:
    """The answer to `ViewTarget`."""
    return ev.TargetSeen(
        request=request,
        at_us=verdict.at_us,
        deviation_mm=verdict.deviation_mm,
        sigma_mm=verdict.sigma_mm,
        distance_mm=verdict.distance_mm,
        seen=verdict.seen,
        image_uid=image.view.image_uid,
        dose_area_uGycm2=image.view.dose_area_uGycm2,
    )
