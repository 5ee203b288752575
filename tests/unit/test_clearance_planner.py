"""Detours: legs that certainly keep the clearance and the limits, the same every time, and honest reasons for none."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import igrt_hw
from igrt_hw.machine import load_machine
from igrt_hw.machine.leg_margin import legs_stay_within
from igrt_hw.machine.planner import Detour, PlannerRule, propose_detour
from igrt_hw.machine.room import Room, RoomError
from igrt_hw.machine.surface import PatientSurface, surface_from_rtstruct

PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def surface() -> PatientSurface:
    return surface_from_rtstruct(Path(igrt_hw.__file__).parent / "demo/thorax/RTSTRUCT.dcm")


def _room(name: str, surface: PatientSurface) -> Room:
    table_from_patient = np.eye(4)
    table_from_patient[:3, 3] = (88.0, 535.0, 162.5)
    return Room(load_machine(name), surface, table_from_patient)


@pytest.fixture(scope="module")
def room(surface: PatientSurface) -> Room:
    return _room("linac_pedestal", surface)


def _check(
    room: Room, detour: Detour, start: tuple[float, ...], target: tuple[float, ...],
    gantry_deg: float, panels: dict[str, float], keep_mm: float,
) -> None:  # fmt: skip
    """The legs join, stay within the limits, and no sampled place is nearer than their certificates."""
    legs = detour.legs
    assert legs[0].start_axes == start
    assert legs[-1].target_axes == pytest.approx(target, abs=1e-9)
    assert all(a.target_axes == b.start_axes for a, b in pairwise(legs))
    assert detour.min_mm == min(leg.min_mm for leg in legs) >= keep_mm
    couch = room.machine.couch()
    for leg in legs:
        a, b = np.array(leg.start_axes), np.array(leg.target_axes)
        for s in np.linspace(0.0, 1.0, 60):
            axes = tuple(a + (b - a) * s)
            couch.check_limits(axes)
            assert room.clearance(axes, gantry_deg, panels, exact=True).min_mm >= leg.min_mm - 1e-6


def _blocked_questions(
    room: Room, count: int, seed: int
) -> list[tuple[tuple[float, ...], tuple[float, ...], float, dict[str, float]]]:
    """Random moves whose ends are clear and whose straight line is not."""
    random = np.random.default_rng(seed)
    low, high = np.array(room.machine.couch().limits).T
    found = []
    while len(found) < count:
        gantry = float(random.uniform(-180.0, 180.0))
        panels = {arm: float(random.integers(2)) for arm in room.arms}
        clear = [
            axes
            for axes in (tuple(map(float, random.uniform(low, high))) for _ in range(60))
            if room.clearance(axes, gantry, panels).min_mm > 25.0
        ][:2]
        if len(clear) == 2 and room.sweep(*clear, gantry, panels, stations=1).min_mm < 20.0:
            found.append((clear[0], clear[1], gantry, panels))
    return found


@pytest.mark.parametrize("name", ["linac_pedestal", "robot_arm"])
def test_every_leg_of_a_detour_keeps_the_clearance_and_the_limits(
    name: str, surface: PatientSurface
) -> None:
    room = _room(name, surface)
    found = 0
    for start, target, gantry, panels in _blocked_questions(
        room, 1 if name == "robot_arm" else 3, seed=21
    ):
        proposal = propose_detour(room, start, target, gantry, panels, PlannerRule(sweeps_max=1500))
        assert proposal.straight.min_mm < 20.0
        if proposal.detour is not None:
            found += 1
            assert proposal.detour.how != "straight"
            _check(room, proposal.detour, start, target, gantry, panels, 20.0)
            assert "a proposal" in proposal.text()
    assert found


def test_sampling_finds_a_way_where_patterns_do_not_and_finds_the_same_again() -> None:
    room = Room(load_machine("robot_arm"))
    sampled = []
    for question in _blocked_questions(room, 1, seed=15):
        rule = PlannerRule(sweeps_max=300)
        proposal = propose_detour(room, *question, rule)
        if proposal.detour is not None and proposal.detour.how == "sampled":
            sampled.append(proposal.detour)
            if len(sampled) == 1:
                assert propose_detour(room, *question, rule) == proposal
                other = propose_detour(room, *question, PlannerRule(sweeps_max=300, seed=2))
                assert other.detour != proposal.detour
    assert sampled


def test_a_free_move_stays_one_straight_leg(room: Room) -> None:
    target = (-15.0, -345.0, -120.0, 1.0, 0.5, -0.5)
    proposal = propose_detour(room, PLANNED, target, 0.0, room.retracted())
    assert proposal.detour is not None
    assert proposal.detour.how == "straight"
    assert [leg.target_axes for leg in proposal.detour.legs] == [target]
    assert proposal.sweeps == 1
    assert "straight move is clear" in proposal.text()


def test_no_detour_is_offered_when_an_end_is_too_near_and_the_reason_names_it(room: Room) -> None:
    kicked = (-20.0, -350.0, -122.5, 60.0, 0.0, 0.0)
    proposal = propose_detour(room, PLANNED, kicked, -60.0, room.retracted())
    assert proposal.detour is None
    assert "the target does not: patient and gantry head touch" in proposal.reason
    back = propose_detour(room, kicked, PLANNED, -60.0, room.retracted())
    assert "the start does not" in back.reason


def test_no_clearance_asked_for_is_not_contact_allowed(room: Room) -> None:
    kicked = (-20.0, -350.0, -122.5, 60.0, 0.0, 0.0)
    rule = PlannerRule(keep_mm=0.0)
    proposal = propose_detour(room, PLANNED, kicked, -60.0, room.retracted(), rule)
    assert proposal.detour is None
    assert "the target does not: patient and gantry head touch" in proposal.reason
    turned = (-20.0, -700.0, -122.5, -80.0, 0.0, 0.0), (-20.0, -700.0, -122.5, 0.0, 0.0, 0.0)
    found = propose_detour(room, *turned, 90.0, room.retracted(), rule)
    assert found.detour is not None
    assert found.detour.min_mm > 0.0


def test_a_spent_budget_says_so_and_that_it_proves_nothing(room: Room) -> None:
    (question,) = _blocked_questions(room, 1, seed=3)
    proposal = propose_detour(room, *question, PlannerRule(sweeps_max=1))
    assert proposal.detour is None
    assert "no proof that there is none" in proposal.reason
    assert proposal.sweeps <= 1


def test_a_target_outside_the_limits_is_refused_not_clamped(room: Room) -> None:
    with pytest.raises(RoomError, match=r"target is outside the couch's limits.*vertical"):
        propose_detour(room, PLANNED, (0.0, 0.0, 51.0, 0.0, 0.0, 0.0), 0.0, room.retracted())
    with pytest.raises(RoomError, match="keep_mm"):
        PlannerRule(keep_mm=float("nan"))


def test_legs_of_a_hexapod_are_certified_along_the_line_not_only_at_its_ends() -> None:
    couch = load_machine("linac_hexapod").couch()
    base = couch.base_axes
    neutral = (*base, 0.0, 0.0)
    random = np.random.default_rng(4)
    outcomes = set()
    for _ in range(200):
        change = random.uniform(-1.0, 1.0, 6) * (150.0, 150.0, 150.0, 15.0, 3.0, 3.0)
        target = tuple(np.array(neutral) + change)
        start = tuple(np.array(neutral) - change)
        certain = legs_stay_within(couch, start, target)
        margins = [
            min(couch.leg_margins(tuple(np.array(start) + 2.0 * change * s)))
            for s in np.linspace(0.0, 1.0, 101)
        ]
        outcomes.add(certain)
        if certain:
            assert min(margins) >= 0.0
        elif min(margins) > 0.5:
            pytest.fail(f"refused with {min(margins):.2f} mm to spare")
    assert outcomes == {True, False}
    pedestal = load_machine("linac_pedestal").couch()
    assert legs_stay_within(pedestal, PLANNED, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
