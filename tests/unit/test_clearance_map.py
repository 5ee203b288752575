"""Maps of the room: cells agree with single questions, certain cells are certain, data and figure come out whole."""

import json
from pathlib import Path

import numpy as np
import pytest

import igrt_hw
from igrt_hw.machine import load_machine
from igrt_hw.machine.clearance_map import CellState, ClearanceMap, clearance_map
from igrt_hw.machine.room import ClearanceInputError, MapAxis, Room, RoomError
from igrt_hw.machine.surface import surface_from_rtstruct

PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
GANTRY = MapAxis("gantry", -180.0, 180.0, 60)
ROTATION = MapAxis("rotation", -90.0, 90.0, 30)


@pytest.fixture(scope="module")
def room() -> Room:
    table_from_patient = np.eye(4)
    table_from_patient[:3, 3] = (88.0, 535.0, 162.5)
    file = Path(igrt_hw.__file__).parent / "demo/thorax/RTSTRUCT.dcm"
    return Room(load_machine("linac_pedestal"), surface_from_rtstruct(file), table_from_patient)


@pytest.fixture(scope="module")
def found(room: Room) -> ClearanceMap:
    return clearance_map(room, PLANNED, room.retracted(), row=GANTRY, column=ROTATION)


def _place(axis: MapAxis, share: float) -> float:
    return axis.start + (axis.stop - axis.start) * share


def test_cells_hold_what_a_single_question_finds(room: Room, found: ClearanceMap) -> None:
    for i in range(0, 60, 7):
        for j in range(0, 30, 5):
            axes = (*PLANNED[:3], _place(ROTATION, (j + 0.5) / 30), 0.0, 0.0)
            exact = room.clearance(
                axes, _place(GANTRY, (i + 0.5) / 60), room.retracted(), exact=True
            )
            truth = max(exact.min_mm, 0.0)
            assert truth - 0.02 <= found.lower_mm[i, j] <= truth + 1e-6
            named = {pair.parts: pair for pair in exact.pairs}[found.pairs[found.pair[i, j]]]
            assert named.lower_mm <= max(exact.min_mm, 0.0) + 0.02


def test_a_certain_cell_is_certain_everywhere_inside(room: Room, found: ClearanceMap) -> None:
    random = np.random.default_rng(3)
    seen = {CellState.CLEAR: 0, CellState.CONTACT: 0}
    for u, v in random.random((400, 2)):
        state = CellState(found.state[int(u * 60), int(v * 30)])
        if state is CellState.OPEN:
            continue
        axes = (*PLANNED[:3], _place(ROTATION, v), 0.0, 0.0)
        here = room.clearance(axes, _place(GANTRY, u), room.retracted()).nearest
        seen[state] += 1
        assert here.upper_mm >= 20.0 if state is CellState.CLEAR else here.lower_mm <= 0.0
    assert min(seen.values()) > 20


def test_the_floor_of_a_cell_holds_everywhere_inside_and_is_no_idle_bound(
    room: Room, found: ClearanceMap
) -> None:
    random = np.random.default_rng(4)
    for u, v in random.random((400, 2)):
        axes = (*PLANNED[:3], _place(ROTATION, v), 0.0, 0.0)
        here = room.clearance(axes, _place(GANTRY, u), room.retracted()).nearest
        assert found.floor_mm[int(u * 60), int(v * 30)] <= max(here.upper_mm, 0.0)
    clear = found.state == CellState.CLEAR
    assert (found.floor_mm[clear] >= 20.0).all()
    assert (found.floor_mm[found.state == CellState.CONTACT] == 0.0).all()
    assert np.median(found.floor_mm[clear] / found.lower_mm[clear]) > 0.5


def test_arcs_of_a_column_are_its_certain_cells(found: ClearanceMap) -> None:
    assert found.clear_arcs(15) == [(-180.0, 180.0)]
    kicked = found.clear_arcs(29)
    assert kicked
    assert sum(b - a for a, b in kicked) == pytest.approx(
        6.0 * int((found.state[:, 29] == CellState.CLEAR).sum())
    )


def test_data_come_out_whole_and_other_suffixes_are_refused(
    found: ClearanceMap, tmp_path: Path
) -> None:
    found.write_data(tmp_path / "map.npz")
    with np.load(tmp_path / "map.npz") as data:
        assert data["lower_mm"].shape == (60, 30)
        assert json.loads(str(data["about"]))["model_hash"] == found.model_hash
    found.write_data(tmp_path / "map.json")
    text = json.loads((tmp_path / "map.json").read_text())
    assert np.array(text["state"]).shape == (60, 30)
    assert (np.array(text["floor_mm"]) <= found.floor_mm).all()
    assert text["pairs"][text["pair"][0][0]] == list(found.pairs[found.pair[0, 0]])
    with pytest.raises(RoomError, match=r"\.npz, \.json or \.csv"):
        found.write_data(tmp_path / "map.xlsx")


def test_the_figure_is_drawn(found: ClearanceMap, tmp_path: Path) -> None:
    found.figure("demo").savefig(tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_any_couch_axis_goes_against_any_machine_axis(room: Room) -> None:
    vertical = MapAxis("vertical", -450.0, 50.0, 5)
    panel = MapAxis("kv_panel_arm", 0.0, 1.0, 4)
    found = clearance_map(
        room, PLANNED, room.retracted(), row=panel, column=vertical, gantry_deg=90.0
    )
    for i in range(4):
        for j in range(5):
            axes = (*PLANNED[:2], _place(vertical, (j + 0.5) / 5), *PLANNED[3:])
            state = {**room.retracted(), "kv_panel_arm": (i + 0.5) / 4}
            truth = max(room.clearance(axes, 90.0, state, exact=True).min_mm, 0.0)
            assert truth - 0.02 <= found.lower_mm[i, j] <= truth + 1e-6


@pytest.mark.parametrize(
    ("row", "column"),
    [
        (MapAxis("vertical", -400.0, 50.0, 6), MapAxis("rotation", -80.0, 80.0, 5)),
        (MapAxis("lateral", -200.0, 200.0, 5), MapAxis("vertical", -400.0, 50.0, 6)),
        (MapAxis("gantry", -180.0, 180.0, 8), MapAxis("mv_panel_arm", 0.0, 1.0, 4)),
    ],
)
def test_two_axes_may_move_one_part(room: Room, row: MapAxis, column: MapAxis) -> None:
    found = clearance_map(room, PLANNED, room.retracted(), row=row, column=column, gantry_deg=90.0)
    names = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
    random = np.random.default_rng(9)

    def at(u: float, v: float) -> float:
        axes, gantry, panels = list(PLANNED), 90.0, room.retracted()
        for axis, share in ((row, u), (column, v)):
            value = _place(axis, share)
            if axis.name == "gantry":
                gantry = value
            elif axis.name in panels:
                panels[axis.name] = value
            else:
                axes[names.index(axis.name)] = value
        return max(room.clearance(axes, gantry, panels, exact=True).min_mm, 0.0)

    for i in range(row.cells):
        for j in range(column.cells):
            truth = at((i + 0.5) / row.cells, (j + 0.5) / column.cells)
            assert truth - 0.02 <= found.lower_mm[i, j] <= truth + 1e-6
    for u, v in random.random((150, 2)):
        state = CellState(found.state[int(u * row.cells), int(v * column.cells)])
        assert state is not CellState.CLEAR or at(u, v) >= 20.0 - 1e-6
        assert state is not CellState.CONTACT or at(u, v) <= 0.0


def test_axes_that_make_no_map_are_refused(room: Room) -> None:
    def ask(row: MapAxis, column: MapAxis, margin_mm: float = 20.0) -> None:
        clearance_map(room, PLANNED, room.retracted(), row=row, column=column, margin_mm=margin_mm)

    with pytest.raises(RoomError, match="both turn the same joint"):
        ask(MapAxis("rotation", 0.0, 10.0, 2), ROTATION)
    with pytest.raises(RoomError, match="no axis of this room"):
        ask(MapAxis("yaw", 0.0, 10.0, 2), ROTATION)
    with pytest.raises(RoomError, match="range"):
        ask(MapAxis("gantry", 5.0, 5.0, 2), ROTATION)
    with pytest.raises(RoomError, match="pieces"):
        ask(MapAxis("gantry", 0.0, 360.0, 20_000), MapAxis("rotation", -90.0, 90.0, 9000))
    with pytest.raises(ClearanceInputError, match="margin"):
        ask(GANTRY, ROTATION, margin_mm=-1.0)
