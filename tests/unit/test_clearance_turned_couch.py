"""Robot couches: the rotation of the table top through the inverse, its map and the beams delivered at it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import igrt_hw
from igrt_hw._core import Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine import load_machine
from igrt_hw.machine.beam_arcs import BeamArc, judge_arcs
from igrt_hw.machine.clearance_map import CellState, clearance_map
from igrt_hw.machine.map_view import map_text
from igrt_hw.machine.room import MapAxis, Room, RoomError
from igrt_hw.machine.surface import surface_from_rtstruct
from igrt_hw.machine.turned_couch import TurnedCouch, TurnError, turns_by_inverse

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"
PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
ROBOTS = ("robot_arm", "robot_scara")


@pytest.fixture(scope="module", params=ROBOTS)
def stands(request: pytest.FixtureRequest) -> TurnedCouch:
    machine = load_machine(request.param)
    placement = np.eye(4)
    placement[:3, 3] = (88.0, 535.0, 162.5)
    room = Room(machine, surface_from_rtstruct(DEMO / "RTSTRUCT.dcm"), placement)
    planned = Pose.from_parameters(PLANNED, Frame.FIXED, Frame.TABLE_TOP)
    middle = [(low + high) / 2.0 for low, high in machine.couch().limits]
    return TurnedCouch(room, machine.couch().inverse_nearest(planned, middle))


def test_only_couches_without_a_rotation_axis_turn_through_the_inverse() -> None:
    assert [turns_by_inverse(load_machine(name)) for name in ROBOTS] == [True, True]
    assert not turns_by_inverse(load_machine("linac_pedestal"))
    assert not turns_by_inverse(load_machine("linac_hexapod"))


@pytest.mark.parametrize("rotation_deg", [-40.0, -3.3, 0.0, 12.5])
def test_the_table_top_turns_about_the_isocentre_within_the_limits(
    stands: TurnedCouch, rotation_deg: float
) -> None:
    couch = stands.room.machine.couch()
    axes = stands.at(rotation_deg)
    couch.check_limits(axes)
    turn = np.radians(rotation_deg)
    about_z = np.eye(4)
    about_z[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    expected = about_z @ couch.forward(stands.axes).matrix()
    assert couch.forward(axes).matrix() == pytest.approx(expected, abs=1e-6)


def test_a_rotation_beyond_reach_is_refused_with_how_far_it_gets(stands: TurnedCouch) -> None:
    with pytest.raises(TurnError, match=r"cannot turn the table top to 90 degrees .* it gets to 2"):
        stands.at(90.0)
    verdict = judge_arcs(
        stands.room,
        [BeamArc(7, "wide", (0.0, 90.0), 90.0)],
        stands.axes,
        stands.room.retracted(),
        margin_mm=20.0,
    )[0]
    assert not verdict.deliverable
    assert verdict.nearest is None
    assert "beam 7 wide (gantry 0° to 90°, couch 90°) cannot be delivered: " in verdict.text()


def test_a_beam_is_judged_at_its_own_rotation(stands: TurnedCouch) -> None:
    room = stands.room
    arcs = [BeamArc(1, "free", (-30.0, 30.0), 10.0), BeamArc(2, "blocked", (60.0, 180.0), -40.0)]
    found = judge_arcs(room, arcs, stands.axes, room.retracted(), margin_mm=20.0)
    assert [one.deliverable for one in found] == [True, False]
    for verdict in found:
        axes = stands.at(verdict.arc.couch_rotation_deg)
        low, high = verdict.arc.angles_deg
        for gantry in np.linspace(low, high, 25):
            truth = room.clearance(axes, float(gantry), room.retracted(), exact=True).min_mm
            assert max(truth, 0.0) >= verdict.min_mm - 1e-6


def test_what_the_map_says_of_a_cell_holds_at_every_place_of_it(stands: TurnedCouch) -> None:
    room, random = stands.room, np.random.default_rng(5)
    row, column = MapAxis("gantry", -90.0, 180.0, 9), MapAxis("rotation", 8.0, 32.0, 6)
    found = clearance_map(room, stands.axes, room.retracted(), row=row, column=column)
    states = {CellState(int(state)) for state in np.unique(found.state)}
    assert {CellState.CLEAR, CellState.OPEN, CellState.UNREACHABLE} <= states
    assert "x" in map_text(found, colour=False).plain
    for (i, j), state in np.ndenumerate(found.state):
        if state == CellState.UNREACHABLE:
            assert found.lower_mm[i, j] == found.floor_mm[i, j] == 0.0
            continue
        at = np.array([i, j]) + random.random(2)
        gantry = row.start + (row.stop - row.start) * at[0] / row.cells
        rotation = column.start + (column.stop - column.start) * at[1] / column.cells
        truth = room.clearance(
            stands.at(float(rotation)), float(gantry), room.retracted(), exact=True
        )
        assert max(truth.min_mm, 0.0) >= found.floor_mm[i, j] - 1e-6
        if state == CellState.CLEAR:
            assert truth.min_mm >= found.margin_mm


def test_the_way_between_two_steps_lies_within_what_is_allowed_for_it(stands: TurnedCouch) -> None:
    angles = np.linspace(-30.0, 15.0, 46).tolist()
    way = stands.follow(angles)
    couch = stands.room.machine.couch()
    for (start, one), (stop, other) in list(pairwise(zip(angles, way, strict=True)))[::5]:
        assert one is not None
        assert other is not None
        beside = stands.spread_mm(one, other, (start, stop))
        assert beside is not None
        for share in (0.1, 0.4, 0.6, 0.9):
            straight = couch.forward(
                tuple(a + (b - a) * share for a, b in zip(one, other, strict=True))
            )
            true = couch.forward(stands.at(start + (stop - start) * share))
            assert np.abs(straight.matrix() - true.matrix()).max() <= 2.0 * beside


def test_a_turn_by_all_axes_goes_against_the_gantry_or_an_arm_only(stands: TurnedCouch) -> None:
    room = stands.room
    axis = room.machine.description.axis[1].name
    with pytest.raises(RoomError, match="all its axes turn the table top"):
        clearance_map(
            room,
            stands.axes,
            room.retracted(),
            row=MapAxis(axis, 0.0, 10.0, 3),
            column=MapAxis("rotation", 0.0, 10.0, 3),
        )
