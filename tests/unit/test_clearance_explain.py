"""Refusals explained: parts, place, distance, and remedies that really give the clearance back, none smaller needed."""

from pathlib import Path

import numpy as np
import pytest

import igrt_hw
from igrt_hw.machine import load_machine
from igrt_hw.machine.explain import Explanation, Freeing, explain_path, explain_position
from igrt_hw.machine.planner import PlannerRule
from igrt_hw.machine.room import Room
from igrt_hw.machine.surface import surface_from_rtstruct

PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
HIGH = (-20.0, -350.0, 40.0, 40.0, 0.0, 0.0)
KICKED = (-20.0, -350.0, -122.5, 60.0, 0.0, 0.0)
NAMES = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")


@pytest.fixture(scope="module")
def room() -> Room:
    table_from_patient = np.eye(4)
    table_from_patient[:3, 3] = (88.0, 535.0, 162.5)
    surface = surface_from_rtstruct(Path(igrt_hw.__file__).parent / "demo/thorax/RTSTRUCT.dcm")
    return Room(load_machine("linac_pedestal"), surface, table_from_patient)


def _after(one: Freeing, axes: tuple[float, ...], gantry: float, panels: dict[str, float]) -> tuple:
    if one.axis == "gantry":
        return axes, one.value, panels
    if one.axis in panels:
        return axes, gantry, {**panels, one.axis: one.value}
    at = NAMES.index(one.axis)
    return (*axes[:at], one.value, *axes[at + 1 :]), gantry, panels


def test_remedies_of_a_position_give_the_clearance_back_and_much_less_does_not(room: Room) -> None:
    out = dict.fromkeys(room.arms, 1.0)
    found = explain_position(room, HIGH, 0.0, out, keep_mm=20.0)
    assert not found.clear
    assert {one.axis for one in found.freeing} >= {"lateral", "longitudinal", "vertical"}
    for one in found.freeing:
        if one.axis == "arms":
            continue
        exact = room.clearance(*_after(one, HIGH, 0.0, out), exact=True)
        assert one.min_mm <= exact.min_mm + 1e-6
        assert one.min_mm >= 20.0
        low, high = {axis.name: axis.range for axis in room.machine.description.axis}.get(
            one.axis, (-180.0, 180.0)
        )
        assert low <= one.value <= high
        # Half way there it is not free yet: the change named is not many times too large.
        half = Freeing(**{**_fields(one), "value": one.value - 0.5 * one.change})
        assert room.clearance(*_after(half, HIGH, 0.0, out)).min_mm < 20.0


def _fields(one: Freeing) -> dict:
    return {name: getattr(one, name) for name in Freeing.__slots__}


def test_the_least_change_of_an_axis_is_found_to_its_resolution(room: Room) -> None:
    found = explain_position(
        room, (-20.0, -350.0, 50.0, 0.0, 0.0, 0.0), 0.0, room.retracted(), keep_mm=80.0
    )
    lower = next(one for one in found.freeing if one.axis == "vertical")
    # The head's face is flat and above: every millimetre down is a millimetre more.
    assert -lower.change == pytest.approx(80.0 - found.min_mm, abs=0.15)
    assert lower.words.startswith("lower ")


def test_the_text_names_parts_place_gantry_and_what_would_free_it(room: Room) -> None:
    out = {**room.retracted(), "kv_panel_arm": 1.0}
    found = explain_position(room, HIGH, 0.0, out, keep_mm=20.0)
    text = found.text(9)
    assert "couch top and kV panel touch at lateral" in text
    assert "mm deep (gantry 0.0°); 20 mm are asked for" in text
    assert "retract the kv panel arm" in text
    assert "this position then keeps" in text


def test_a_path_blocked_by_an_arm_is_freed_by_retracting_it_and_the_whole_move_is_certified(
    room: Room,
) -> None:
    out = {**room.retracted(), "kv_panel_arm": 1.0}
    start, target = PLANNED, (-20.0, -350.0, -122.5, 40.0, 0.0, 0.0)
    found = explain_path(room, start, target, 0.0, out, keep_mm=20.0)
    assert not found.clear
    assert "kV panel" in found.place.pair.parts
    arm = next(one for one in found.freeing if one.axis == "kv_panel_arm")
    assert arm.scope == "path"
    panels = {**out, "kv_panel_arm": arm.value}
    for s in np.linspace(0.0, 1.0, 50):
        axes = tuple(np.array(start) + (np.array(target) - np.array(start)) * s)
        assert room.clearance(axes, 0.0, panels, exact=True).min_mm >= arm.min_mm - 1e-6
    assert arm.min_mm >= 20.0


def test_a_start_that_is_too_near_is_freed_first(room: Room) -> None:
    found = explain_path(room, KICKED, PLANNED, -60.0, room.retracted(), keep_mm=20.0)
    first = [one for one in found.freeing if one.scope == "start"]
    assert {one.axis for one in first} >= {"vertical", "rotation"}
    assert "first lower" in found.text(9)


def test_several_arms_that_are_each_in_the_way_are_retracted_together(room: Room) -> None:
    out = dict.fromkeys(room.arms, 1.0)
    axes = (-20.0, -350.0, -122.5, 90.0, 0.0, 0.0)
    found = explain_position(room, axes, 0.0, out, keep_mm=20.0)
    together = next(one for one in found.freeing if one.axis == "arms")
    assert together.words == "retract every arm"
    assert room.clearance(axes, 0.0, room.retracted(), exact=True).min_mm >= together.min_mm - 1e-6


def test_a_target_that_is_too_near_is_said_and_other_targets_are_named_as_such(room: Room) -> None:
    found = explain_path(
        room, PLANNED, KICKED, -60.0, room.retracted(), keep_mm=20.0, planner=PlannerRule()
    )
    assert found.detour is not None
    assert found.detour.detour is None
    text = found.text(9)
    assert "% of the way, gantry -60.0°" in text
    assert "another target (lower" in text
    assert "No detour can keep 20 mm, since the target does not" in text
    turned = next(one for one in found.freeing if one.axis == "gantry")
    swept = room.sweep(PLANNED, KICKED, turned.value, room.retracted())
    assert swept.min_mm >= 20.0
    assert found.freeing[0].scope == "path"


def test_contact_is_not_clear_even_where_no_clearance_is_asked_for(room: Room) -> None:
    found = explain_path(room, PLANNED, KICKED, -60.0, room.retracted(), keep_mm=0.0)
    assert not found.clear
    assert all(one.min_mm > 0.0 for one in found.freeing)
    assert not explain_position(room, KICKED, -60.0, room.retracted(), keep_mm=0.0).clear


def test_what_is_clear_needs_no_remedy(room: Room) -> None:
    found = explain_position(room, PLANNED, 0.0, room.retracted(), keep_mm=20.0)
    assert isinstance(found, Explanation)
    assert found.clear
    assert found.freeing == ()
    assert "20 mm are kept" in found.text()
    path = explain_path(room, PLANNED, PLANNED, 0.0, room.retracted(), keep_mm=20.0)
    assert path.clear
