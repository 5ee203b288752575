"""The clearance of a path as the supervisor is told it: certified, and explained where it is not kept."""

from __future__ import annotations

import pytest

from igrt_hw.guidance.plan import load_plan
from igrt_hw.machine import load_machine
from igrt_hw.models.proposal import CheckOutcome, ClearanceStrip
from igrt_hw.safety.checks import clearance
from igrt_hw.safety.rules import SupervisorConfig
from igrt_hw.server.clearing import PatientLies, RoomChecker, surface_of_plan
from igrt_hw.server.placement import Placement
from igrt_hw.server.settings import DEMO_PLAN

NEAR = ((-20.0, -700.0, -122.5, -80.0, 0.0, 0.0), (-20.0, -700.0, -122.5, -30.0, 0.0, 0.0))
FREE = ((-20.0, -350.0, -122.5, 0.0, 0.0, 0.0), (-15.0, -345.0, -120.0, 1.0, 0.5, -0.5))
CONFIG = SupervisorConfig(machine="linac_pedestal", software_version="test")


@pytest.fixture(scope="module")
def checker() -> tuple[RoomChecker, PatientLies]:
    loaded = load_plan(DEMO_PLAN)
    uid = loaded.plan.plan_uid
    placement = Placement.of(loaded, loaded.plan.isocentres[0].isocentre_id)
    rooms = RoomChecker(load_machine("linac_pedestal"), {uid: surface_of_plan(loaded)})
    return rooms, PatientLies(uid, placement.table_from_patient)


def strip_of(
    checker: tuple[RoomChecker, PatientLies],
    path: tuple[tuple[float, ...], tuple[float, ...]],
    gantry_deg: float,
    explains: bool = True,
) -> ClearanceStrip:
    rooms, lies = checker
    warn_mm, stop_mm = CONFIG.clearance_warn_mm, CONFIG.clearance_stop_mm
    return rooms.check(
        *path, lies, gantry_deg=gantry_deg, warn_mm=warn_mm, stop_mm=stop_mm, explains=explains
    )


# safety: SR-26
def test_a_path_that_comes_too_near_says_which_parts_where_and_what_would_free_it(
    checker: tuple[RoomChecker, PatientLies],
) -> None:
    strip = strip_of(checker, NEAR, 90.0)
    assert strip.minimum_mm < CONFIG.clearance_warn_mm
    told = clearance(strip, CONFIG)
    assert told.outcome is not CheckOutcome.PASS
    for words in ("gantry head", "mm from the isocentre", "What would free it", "proposal"):
        assert words in told.detail, told.detail


def test_a_free_path_needs_no_words(checker: tuple[RoomChecker, PatientLies]) -> None:
    strip = strip_of(checker, FREE, 0.0)
    assert strip.remedy == ""
    assert clearance(strip, CONFIG).outcome is CheckOutcome.PASS


def test_manual_motion_is_certified_without_waiting_for_an_explanation(
    checker: tuple[RoomChecker, PatientLies],
) -> None:
    told = strip_of(checker, NEAR, 90.0, explains=False)
    assert told.remedy == ""
    assert told.minimum_mm == strip_of(checker, NEAR, 90.0).minimum_mm
