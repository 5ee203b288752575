"""The simulator's couches are the machines of the machine files, by kinematics of their own.

Two texts of the same geometry, written apart: the table top that the simulator's truth tells is compared with the
controller's forward kinematics over the workspace of every machine. A sign that is flipped in one of them shows here.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from igrt_firmware_sim._firmware import Room, SimulatorError
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host
from igrt_firmware_sim.machine_file import load
from igrt_hw.devices.couch import FAMILIES
from igrt_hw.machine import load_machine, machine_file, machine_names
from igrt_hw.machine.description import HexapodChain
from igrt_hw.safety.machine_couch import MachineCouch

MACHINES = machine_names()
BUILT_IN = {
    "linac_pedestal": "pedestal",
    "linac_hexapod": "hexapod",
    "robot_arm": "arm",
    "robot_scara": "scara",
}
POSES = 60
SAME_MM = 1e-6
SAME_DEG = 1e-7


def _workspace(name: str, rows: int = POSES) -> Iterator[tuple[float, ...]]:
    """Axis positions all over the limits: their ends, and between them."""
    limits = np.asarray([axis.range for axis in load_machine(name).description.axis])
    yield tuple(limits[:, 0])
    yield tuple(limits[:, 1])
    drawn = np.random.default_rng(20261123).uniform(limits[:, 0], limits[:, 1], (rows, 6))
    yield from (tuple(float(v) for v in row) for row in drawn)


def _room(name: str, axes: tuple[float, ...], *, built_in: bool) -> Room:
    if built_in:
        return Room(seed=1, family=BUILT_IN[name], axes=axes)
    couch = load(machine_file(name))
    return Room(seed=1, family=couch.family, chain=couch.chain, limits=couch.limits, axes=axes)


def _off(name: str, axes: tuple[float, ...], table_top: list[float]) -> tuple[float, float]:
    """Millimetres and degrees between the simulator's table top and the controller's."""
    pose = load_machine(name).couch().forward(axes)
    x, y, z, rotation, pitch, roll = table_top
    matrix = np.eye(4)
    matrix[:3, :3] = _rz(rotation) @ _rx(pitch) @ _ry(roll)
    matrix[:3, 3] = x, y, z
    there = pose.matrix()
    turn = matrix[:3, :3].T @ there[:3, :3]
    sine = np.linalg.norm(turn - turn.T) / (2 * math.sqrt(2))
    angle = math.degrees(math.atan2(sine, (np.trace(turn) - 1) / 2))
    return float(np.abs(there[:3, 3] - matrix[:3, 3]).max()), angle


def _rz(deg: float) -> np.ndarray:
    c, s = math.cos(math.radians(deg)), math.sin(math.radians(deg))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _rx(deg: float) -> np.ndarray:
    c, s = math.cos(math.radians(deg)), math.sin(math.radians(deg))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _ry(deg: float) -> np.ndarray:
    c, s = math.cos(math.radians(deg)), math.sin(math.radians(deg))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


@pytest.mark.parametrize("built_in", [False, True], ids=["machine file", "built in"])
@pytest.mark.parametrize("name", MACHINES)
def test_the_simulators_table_top_is_the_controllers_over_the_whole_workspace(
    name: str, built_in: bool
) -> None:
    """Every machine, from its file and as the simulator has it built in."""
    for axes in _workspace(name):
        off_mm, off_deg = _off(
            name, axes, _room(name, axes, built_in=built_in).truth()["table_top"]
        )
        assert off_mm < SAME_MM, axes
        assert off_deg < SAME_DEG, axes


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("axis", range(6))
def test_a_flipped_sign_of_any_axis_would_be_seen(name: str, axis: int) -> None:
    """The comparison above has teeth: with one axis mirrored it fails on every machine."""
    worst_mm = worst_deg = 0.0
    lower, upper = load_machine(name).description.axis[axis].range
    for axes in _workspace(name, 8):
        flipped = tuple(min(max(-v, lower), upper) if k == axis else v for k, v in enumerate(axes))
        off = _off(name, axes, _room(name, flipped, built_in=False).truth()["table_top"])
        worst_mm, worst_deg = max(worst_mm, off[0]), max(worst_deg, off[1])
    assert worst_mm > 1.0 or worst_deg > 0.5


def test_legs_and_base_of_the_hexapod_are_the_controllers_wherever_the_base_stands() -> None:
    """Lengths of all six legs, with the platform off its neutral pose by pitch and roll."""
    machine = load_machine("linac_hexapod")
    chain = machine.description.chain
    assert isinstance(chain, HexapodChain)
    for row in _workspace("linac_hexapod"):
        truth = _room("linac_hexapod", row, built_in=False).truth()
        base, legs = truth["base"], truth["legs_mm"]
        assert base is not None
        assert legs is not None
        assert base == pytest.approx(row[:4])
        there = machine.couch().with_base_axes(tuple(base)).leg_lengths(row)
        assert legs == pytest.approx(list(there), abs=1e-8)
    assert _room("linac_pedestal", (0.0,) * 6, built_in=False).truth()["legs_mm"] is None


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_starts_with_its_table_top_at_the_planned_position(name: str) -> None:
    """Without axes the simulator finds its own posture for the plan's table-top numbers, within the limits."""
    for planned in (
        (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0),
        (0.0, -340.0, -130.0, -12.0, 0.4, -0.6),
    ):
        couch = load(machine_file(name))
        room = Room(
            seed=1, family=couch.family, chain=couch.chain, limits=couch.limits, planned=planned
        )
        truth = room.truth()
        model = MachineCouch(load_machine(name))
        axes = tuple(truth["axes"])
        assert model.limit_problem(axes) == "" or name == "linac_hexapod"
        assert model.table_position(axes) == pytest.approx(planned, abs=1e-4)


@pytest.mark.parametrize("name", MACHINES)
def test_limits_and_axis_names_are_those_of_the_machine_file(name: str) -> None:
    """The digest of the limits in HELLO is the one that the controller computes from the same file."""
    room = VirtualRoom(machine=machine_file(name))
    answer = Host(room).hello()
    expected = MachineCouch(load_machine(name)).limits_hash
    assert answer.body[24:32].hex() == expected[:16]
    family = load_machine(name).description.family
    assert FAMILIES[answer.body[3]] == family
    names = [axis.name for axis in load_machine(name).description.axis]
    assert [key.rsplit("_", 1)[0] for key in room.truth()["axes"]] == names


def test_a_machine_file_that_is_not_one_is_refused_with_the_key(tmp_path: Path) -> None:
    """Every refusal names the file and what is wrong in it."""
    text = machine_file("robot_scara").read_text(encoding="utf-8")
    for edit, said in (
        (("fore_mm = 700.0", ""), "fore_mm is missing"),
        (('family = "scara"', 'family = "delta"'), "delta"),
        (("upper_mm = 800.0", "upper_mm = 'high'"), "no number"),
        (("fore_mm = 700.0", "fore_mm = [700.0, 1.0]"), "must have 2 numbers"),
        (("speed_mm_s = 20.0", "speed_mm_s = 0.0"), "limits of vertical"),
    ):
        broken = tmp_path / "broken.toml"
        broken.write_text(text.replace(*edit), encoding="utf-8")
        with pytest.raises(SimulatorError, match=said):
            VirtualRoom(machine=broken)
    with pytest.raises(SimulatorError, match="no_such"):
        VirtualRoom(machine=tmp_path / "no_such.toml")


def test_a_plan_that_a_robot_does_not_reach_is_refused() -> None:
    """Nothing is clamped: no posture, no room."""
    with pytest.raises(SimulatorError, match="does not reach the planned position"):
        Room(seed=1, family="arm", planned=(3000.0, 0.0, 0.0, 0.0, 0.0, 0.0))
