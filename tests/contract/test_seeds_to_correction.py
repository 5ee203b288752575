"""Gold seeds in the simulated patient: frames of the simulator become the correction that is truly needed."""

import numpy as np
import pytest
from phantom_room import PANEL, REGION, PhantomRoom, nominal
from xray_pairs import DEMO

from igrt_hw.geometry import Correction, Frame, Pose, correction_to_pose
from igrt_hw.guidance.fiducials import FiducialResult, find_fiducials, register_fiducials
from igrt_hw.guidance.intrafraction import IntrafractionMonitor
from igrt_hw.guidance.marker_motion import Fiducial
from igrt_hw.guidance.markers import GOLD_SEED
from igrt_hw.guidance.orientation import iec_patient_point
from igrt_hw.guidance.plan import load_plan


def positioned(room: PhantomRoom) -> tuple[FiducialResult, Correction]:
    """What the seeds ask for, and what is truly needed."""
    loaded = load_plan(DEMO)
    placed = loaded.table_from_patient(loaded.plan.isocentres[0].isocentre_id, np.zeros(3))
    planned = Pose.from_matrix(placed, Frame.FIXED, Frame.PATIENT)
    seeds = [
        Fiducial(f"seed {n + 1}", tuple(float(x) for x in iec_patient_point(seed["centre_mm"])))
        for n, seed in enumerate(room.room.perform("scene")["markers_planned"])
    ]
    views = [
        find_fiducials(
            room.image(angle),
            nominal(angle).geometry(PANEL),
            GOLD_SEED,
            seeds,
            planned,
            region=REGION,
        )
        for angle in (0.0, 90.0)
    ]
    needed = Correction.of(list(room.room.truth()["residual"].values())[:6])
    return register_fiducials(seeds, views, planned), needed


@pytest.mark.slow
def test_four_seeds_over_ribs_and_spine_give_the_correction() -> None:
    room = PhantomRoom(
        DEMO, seed=4, markers=4, setup_error_mm=8.0, setup_error_deg=1.5, marker_spread_mm=15.0
    )
    result, needed = positioned(room)
    assert result.correction is not None, result.reasons
    wrong = correction_to_pose(result.correction) @ correction_to_pose(needed).inverse()
    assert np.linalg.norm(wrong.parameters()[:3]) < 1.0
    assert not result.migration


@pytest.mark.slow
def test_a_patient_who_slides_while_the_source_turns_makes_the_monitor_ask_for_a_hold() -> None:
    room = PhantomRoom(
        DEMO, seed=4, markers=4, setup_error_mm=0.0, setup_error_deg=0.0, marker_spread_mm=15.0
    )
    loaded = load_plan(DEMO)
    placed = loaded.table_from_patient(loaded.plan.isocentres[0].isocentre_id, np.zeros(3))
    seeds = [
        Fiducial(f"seed {n + 1}", tuple(float(x) for x in iec_patient_point(seed["centre_mm"])))
        for n, seed in enumerate(room.room.perform("scene")["markers_planned"])
    ]
    planned = [
        (seed.name, tuple(float(x) for x in (placed @ [*seed.position_mm, 1.0])[:3]))
        for seed in seeds
    ]
    pose = Pose.from_matrix(placed, Frame.FIXED, Frame.PATIENT)
    monitor = IntrafractionMonitor.start(planned, 0)  # type: ignore[arg-type]
    told = []
    for n, angle in enumerate((0.0, 30.0, 60.0, 90.0), 1):
        if n == 3:
            room.room.perform("patient.shift", longitudinal_mm=6.0)
        geometry = nominal(angle).geometry(PANEL)
        view = find_fiducials(room.image(angle), geometry, GOLD_SEED, seeds, pose, region=REGION)
        monitor, verdict = monitor.viewed(geometry, view.blobs, n * 6_000_000)
        told.append(verdict)
    assert not any(verdict.hold for verdict in told[:2]), told[:2]
    assert told[1].distance_mm < 1.5
    assert told[-1].hold, told[-1]
    assert told[-1].deviation_mm[1] == pytest.approx(6.0, abs=1.0)
