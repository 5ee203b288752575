"""Arcs of a plan's beams: read the way round that the plan says, judged over the whole turn, marked on the map."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from rich.console import Console

import igrt_hw
from igrt_hw.machine import load_machine
from igrt_hw.machine.beam_arcs import BeamArc, BeamArcError, judge_arcs, read_beam_arcs
from igrt_hw.machine.clearance_map import CellState, ClearanceMap
from igrt_hw.machine.map_view import map_text
from igrt_hw.machine.room import MapAxis, Room

DEMO = Path(igrt_hw.__file__).parent / "demo/thorax"
PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)


def _plan(folder: Path, points: list[dict[str, object]]) -> Path:
    """The demo's plan with the control points of its third beam replaced."""
    file = folder / "plan.dcm"
    plan = pydicom.dcmread(DEMO / "RTPLAN.dcm")
    beam = plan.BeamSequence[2]
    made = []
    for point in points:
        one = Dataset()
        for keyword, value in point.items():
            setattr(one, keyword, value)
        made.append(one)
    beam.ControlPointSequence = made
    plan.save_as(file)
    return file


def _point(gantry: float | None, direction: str | None, couch: float | None = None) -> dict:
    said = {
        "GantryAngle": gantry,
        "GantryRotationDirection": direction,
        "PatientSupportAngle": couch,
    }
    return {keyword: value for keyword, value in said.items() if value is not None}


@pytest.mark.parametrize(
    ("points", "angles"),
    [
        ([_point(181, "CW", 0), _point(179, "NONE")], (181.0, 539.0)),
        ([_point(350, "CW", 0), _point(10, "NONE")], (350.0, 370.0)),
        ([_point(10, "CC", 0), _point(350, "NONE")], (10.0, -10.0)),
        ([_point(0, "CW", 0), _point(120, None), _point(240, "NONE")], (0.0, 120.0, 240.0)),
        ([_point(200, "NONE", 0), _point(None, None)], (200.0,)),
    ],
)
def test_an_arc_goes_the_way_round_that_the_plan_says(
    tmp_path: Path, points: list[dict[str, object]], angles: tuple[float, ...]
) -> None:
    arc = read_beam_arcs(_plan(tmp_path, points))[2]
    assert arc.angles_deg == pytest.approx(angles)
    assert arc.static == (len(angles) == 1)


def test_couch_angles_are_wrapped_and_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    points = [_point(0, "CW", 330), _point(90, "NONE", 330)]
    assert read_beam_arcs(_plan(tmp_path, points))[2].couch_rotation_deg == -30.0
    turning = [_point(0, "CW", 0), _point(90, "NONE", 10)]
    with pytest.raises(BeamArcError, match="its couch turns from 0 to 10"):
        read_beam_arcs(_plan(tmp_path, turning))
    with pytest.raises(BeamArcError, match="its direction is NONE"):
        read_beam_arcs(_plan(tmp_path, [_point(0, "NONE", 0), _point(90, "NONE")]))
    with pytest.raises(BeamArcError, match="no gantry angle or no couch rotation"):
        read_beam_arcs(_plan(tmp_path, [_point(None, None, 0)]))
    with pytest.raises(BeamArcError, match="not RTPLAN"):
        read_beam_arcs(DEMO / "RTSTRUCT.dcm")


def test_a_verdict_holds_at_every_gantry_angle_of_the_arc() -> None:
    room = Room(load_machine("linac_pedestal"))
    arcs = (
        BeamArc(1, "free", (-40.0, 40.0), 30.0),
        BeamArc(2, "blocked", (181.0, 539.0), 70.0),
        BeamArc(3, "static", (20.0,), -70.0),
    )
    found = judge_arcs(room, arcs, PLANNED, room.retracted(), margin_mm=20.0)
    assert [one.deliverable for one in found] == [True, False, True]
    for verdict in found:
        axes = (*PLANNED[:3], verdict.arc.couch_rotation_deg, 0.0, 0.0)
        low, high = verdict.arc.angles_deg[0], verdict.arc.angles_deg[-1]
        for gantry in np.linspace(low, high, 80):
            truth = room.clearance(axes, float(gantry), room.retracted(), exact=True).min_mm
            assert max(truth, 0.0) >= verdict.min_mm - 1e-6
    assert "cannot be delivered" in found[1].text()
    assert "gantry 181° to 539°, couch 70°" in found[1].text()


def _map() -> ClearanceMap:
    lower = np.array([[0.0, 30.0, 260.0], [0.0, 10.0, 125.0], [0.0, 0.0, 40.0], [5.0, 50.0, 60.0]])
    state = np.array([[2, 1, 1], [2, 0, 1], [2, 0, 1], [0, 1, 1]], dtype=np.uint8)
    row, column = MapAxis("gantry", -180.0, 180.0, 4), MapAxis("rotation", -90.0, 90.0, 3)
    pair = np.zeros((4, 3), dtype=np.uint32)
    return ClearanceMap(
        row, column, lower, pair, (("patient", "gantry head"),), state, 0.7 * lower, 20.0, "ab" * 32
    )


def test_without_colour_the_terminal_shows_letters_highest_row_first() -> None:
    lines = map_text(_map(), colour=False).plain.splitlines()
    assert lines[0] == "gantry (deg) up, rotation (deg) across"
    assert [line[9:] for line in lines[1:5]] == ["?12", "##1", "#?4", "#19"]
    assert "less than 20 mm possible" in lines[-1]


def test_with_colour_two_rows_share_a_line_and_contact_is_black() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="truecolor", width=120).print(
        map_text(_map(), colour=True)
    )
    lines = out.getvalue().splitlines()
    assert sum("▀" in line for line in lines) == 2
    # The second pair of rows begins with contact above contact.
    assert "38;2;0;0;0;48;2;0;0;0m▀" in lines[2]
    # Upper right of the last pair is 125 mm: the middle of the ramp.
    assert "38;2;33;145;140" in lines[2]


def test_the_table_carries_model_pairs_and_what_holds_of_the_whole_cell(tmp_path: Path) -> None:
    found = _map()
    found.write_data(tmp_path / "map.csv")
    lines = (tmp_path / "map.csv").read_text().splitlines()
    assert lines[0].startswith(f"# model_hash {'ab' * 32}")
    places, held = "gantry_deg,rotation_deg,lower_mm", "whole_cell_lower_mm,whole_cell"
    assert lines[1] == f"{places},couch_part,machine_part,{held}"
    assert lines[2] == "-135,-60,0.0000,patient,gantry head,0.0000,contact"
    assert lines[5] == "-45,-60,0.0000,patient,gantry head,0.0000,contact"
    assert lines[4] == "-135,60,260.0000,patient,gantry head,182.0000,clear"
    assert len(lines) == 2 + 12
    states = [line.split(",")[-1] for line in lines[2:]]
    expected = [CellState(int(state)).name.lower() for state in found.state.ravel()]
    assert states == expected


def test_beams_are_drawn_where_they_are_deliverable_or_not(tmp_path: Path) -> None:
    room = Room(load_machine("linac_pedestal"))
    arcs = (BeamArc(1, "free", (-40.0, 40.0), 30.0), BeamArc(2, "over", (170.0, 200.0), 70.0),
            BeamArc(3, "whole", (181.0, 541.0), 0.0), BeamArc(4, "static", (200.0,), 0.0))  # fmt: skip
    beams = judge_arcs(room, arcs, PLANNED, room.retracted(), margin_mm=20.0)
    figure = _map().figure("demo", beams)
    (axes, *_) = figure.axes
    labels = axes.get_legend_handles_labels()[1]
    assert "beam 1 free: deliverable" in labels
    assert sum(label.startswith("beam") for label in labels) == 4
    drawn = {tuple(np.round(line.get_ydata(), 3)) for line in axes.get_lines()}
    assert (-40.0, 40.0) in drawn
    # Over the end of the axis: 170 to 180, and -180 to -160.
    assert (170.0, 180.0) in drawn
    assert (-180.0, -160.0) in drawn
    assert (-180.0, 180.0) in drawn
    assert (-160.0,) in drawn
    figure.savefig(tmp_path / "map.png")
