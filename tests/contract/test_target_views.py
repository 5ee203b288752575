"""Low-dose views through the service's own taker: where the markers are seen, and what it costs."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from imaging_room import Room
from xray_pairs import DEMO

from igrt_hw.guidance.imaging_protocol import protocol_for
from igrt_hw.guidance.plan import load_plan
from igrt_hw.models.monitoring import MonitoringRule
from igrt_hw.models.plan import PlannedMarker
from igrt_hw.models.status import ImageView
from igrt_hw.safety.events import TargetSeen
from igrt_hw.server.registering import PreparedPlan
from igrt_hw.server.target_tracking import TargetTracker, target_seen

RULE = MonitoringRule(limit_mm=3.0)


def watched(room: Room, tracker: TargetTracker, request: int) -> TargetSeen:
    image, at_us = room.taker.look(
        protocol_for("prostate"),
        RULE.mas_share,
        threading.Event(),
        lambda *_: None,
        exposed=room.told.append,
    )
    return target_seen(request, tracker.viewed(image, at_us, RULE), image)


def marked_room() -> tuple[Room, TargetTracker]:
    """A patient with four seeds where the plan has them."""
    room = Room(markers=4, setup_error_mm=0.0, setup_error_deg=0.0, marker_spread_mm=15.0)
    loaded = load_plan(DEMO)
    seeds = tuple(
        PlannedMarker(name=f"seed {n}", position_dicom_mm=tuple(seed["centre_mm"]), sigma_mm=0.3)
        for n, seed in enumerate(room.room.perform("scene")["markers_planned"], 1)
    )
    marked = replace(
        loaded, plan=loaded.plan.model_copy(update={"markers": seeds, "site": "prostate"})
    )
    return room, TargetTracker.of(PreparedPlan.of(marked), "ISO1")


@pytest.mark.slow
def test_a_target_that_breathes_is_seen_where_it_was_in_the_instant_of_each_view() -> None:
    room, tracker = marked_room()
    at_rest = watched(room, tracker, 1)
    depth_mm, period_s, begun_us = 9.0, 7.0, room.room.now_us
    room.room.perform("patient.breathe", longitudinal_mm=depth_mm, period_s=period_s)
    off, true = [], []
    for n in range(2, 8):
        seen = watched(room, tracker, n)
        turns = (seen.at_us - begun_us) * 1e-6 / period_s
        true.append(depth_mm * (1.0 - np.cos(np.pi * turns) ** 6))
        off.append(seen.deviation_mm[1] - at_rest.deviation_mm[1])
    assert np.ptp(true) > 3.0, "the views fell upon one phase"
    assert np.abs(np.array(off) - true).max() < 1.0, (off, true)


@pytest.mark.slow
def test_a_target_that_slides_is_seen_by_its_markers_in_views_that_cost_half_a_pair_s_view() -> (
    None
):
    room, tracker = marked_room()
    rest = [watched(room, tracker, n) for n in (1, 2)]
    assert all(len(seen.seen) >= 2 for seen in rest)
    assert all(seen.distance_mm < 1.5 for seen in rest)
    room.room.perform("patient.shift", longitudinal_mm=5.0)
    gone = [watched(room, tracker, n) for n in (3, 4)]
    assert gone[-1].deviation_mm[1] == pytest.approx(5.0, abs=1.0)
    assert gone[-1].distance_mm > RULE.limit_mm
    assert [seen.at_us for seen in rest + gone] == sorted(seen.at_us for seen in rest + gone)
    views = [told for told in room.told if isinstance(told, ImageView)]
    assert [view.purpose for view in views] == ["monitoring"] * 4
    wanted = protocol_for("prostate").view_at(views[0].source_angle_deg)
    assert all(view.mas == pytest.approx(wanted.mas * RULE.mas_share, abs=1e-3) for view in views)
    counted = np.sum([seen.dose_area_uGycm2 for seen in rest + gone])
    assert counted == pytest.approx(room.imager.telemetry.dose_area_uGycm2, abs=4)
