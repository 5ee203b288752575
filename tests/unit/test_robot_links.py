"""The links of a robot couch as solid parts: they stand where its joints are, and are measured against the machine."""

from pathlib import Path

import numpy as np
import pytest

import igrt_hw
from igrt_hw.machine import MachineError, load_machine, parse_machine
from igrt_hw.machine.clearance_map import CellState, clearance_map
from igrt_hw.machine.room import MapAxis, Room

FLOOR_MM = -1300.0
NEAR_HEAD = (-9.0, 57.0, 1.0, 88.0, -92.0, 321.0)
IN_HEAD = (1.0, 61.0, -15.0, 126.0, 93.0, -92.0)
PARTS_OF_ARM = ("shoulder", "upper arm", "forearm", "hand", "wrist", "flange")
PARTS_OF_SCARA = ("carriage", "upper arm", "forearm", "wrist", "pitch joint", "roll joint")

Pairs = dict[tuple[str, str], float]


@pytest.fixture(scope="module")
def arm() -> Room:
    return Room(load_machine("robot_arm"))


@pytest.fixture(scope="module")
def scara() -> Room:
    return Room(load_machine("robot_scara"))


def _text(name: str) -> str:
    return (Path(igrt_hw.__file__).parent / f"machine/machines/{name}.toml").read_text()


def _turn(axis: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if axis == "z":
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _exact(room: Room, axes: tuple[float, ...]) -> Pairs:
    found = room.clearance(axes, 0.0, room.retracted(), exact=True)
    return {pair.parts: pair.lower_mm for pair in found.pairs}


def _random_axes(room: Room, count: int) -> list[tuple[float, ...]]:
    random = np.random.default_rng(7)
    low, high = np.array(room.machine.couch().limits).T
    return [tuple(map(float, random.uniform(low, high))) for _ in range(count)]


@pytest.mark.parametrize(
    ("name", "parts"), [("robot_arm", PARTS_OF_ARM), ("robot_scara", PARTS_OF_SCARA)]
)
def test_every_moving_link_is_measured_against_everything_of_the_machine(
    name: str, parts: tuple[str, ...]
) -> None:
    room = Room(load_machine(name))
    others = ("gantry head", "gantry arm", "gantry drum", "kV source", "kV panel", "MV panel")
    for link in parts:
        for other in (*others, "floor"):
            assert (f"robot {link}", other) in room.measured_pairs
    frames = {part.name: part.frame for part in room.machine.description.part}
    assert [frames[f"robot {link}"] for link in parts] == [f"link_{n}" for n in range(1, 7)]


def test_the_links_of_the_arm_stand_where_its_joints_are(arm: Room) -> None:
    """The height of each capsule over the floor, from the chain written out once more here."""
    apart = 0
    for axes in _random_axes(arm, 60):
        first = _turn("z", 45.0 + axes[0])
        upper = first @ _turn("y", axes[1])
        fore = upper @ _turn("y", axes[2])
        joint_2 = np.array([-1900.0, -1900.0, FLOOR_MM]) + first @ [350.0, 0.0, 675.0]
        joint_3 = joint_2 + upper @ [0.0, 0.0, 1150.0]
        wrist = joint_3 + fore @ [-41.0, 0.0, 1220.0]
        last = fore @ _turn("z", axes[3]) @ _turn("y", axes[4])
        ends = {
            "robot shoulder": (joint_2, joint_2, 260.0),
            "robot upper arm": (joint_2, joint_3, 180.0),
            "robot forearm": (
                joint_3 + fore @ [-41.0, 0.0, -250.0],
                joint_3 + fore @ [-41.0, 0.0, 850.0],
                160.0,
            ),
            "robot hand": (wrist, wrist + fore @ [0.0, 0.0, -370.0], 120.0),
            "robot wrist": (wrist, wrist + last @ [0.0, 0.0, 70.0], 100.0),
        }
        pairs = _exact(arm, axes)
        for part, (a, b, radius) in ends.items():
            gap = min(a[2], b[2]) - radius - FLOOR_MM
            if gap > 0.0:
                apart += 1
                assert pairs[part, "floor"] == pytest.approx(gap, abs=1e-6), (part, axes)
            else:
                assert pairs[part, "floor"] <= 1e-6
    assert apart > 200


def test_the_flange_stands_where_the_kinematics_has_it(arm: Room) -> None:
    couch = arm.machine.couch()
    tool = np.linalg.inv(couch.tool.matrix())
    apart = 0
    for axes in _random_axes(arm, 60):
        flange = couch.forward(axes).matrix() @ tool
        axis = flange[:3, 2]
        middle = flange[2, 3] + (177.5 - 215.0) * axis[2]
        gap = middle - 37.5 * abs(axis[2]) - 100.0 * np.hypot(axis[0], axis[1]) - FLOOR_MM
        if gap > 0.0:
            apart += 1
            assert _exact(arm, axes)["robot flange", "floor"] == pytest.approx(gap, abs=1e-6)
    assert apart > 30


def test_the_links_of_the_scara_stand_where_its_joints_are(scara: Room) -> None:
    """Heights over the floor, and the forearm's place from its distance to the drum's front plane."""
    for axes in _random_axes(scara, 40):
        pairs = _exact(scara, axes)
        heights = {"carriage": 105.0, "upper arm": 100.0, "forearm": 380.0, "wrist": 520.0}
        for part, height in heights.items():
            assert pairs[f"robot {part}", "floor"] == pytest.approx(axes[0] + height, abs=1e-6)
        shoulder, elbow = np.radians(axes[1]), np.radians(axes[1] + axes[2])
        joint = np.array([-900.0, -2100.0]) + 900.0 * np.array([np.cos(shoulder), np.sin(shoulder)])
        tip = joint + 700.0 * np.array([np.cos(elbow), np.sin(elbow)])
        nearest = tip if tip[1] > joint[1] else joint
        level = FLOOR_MM + axes[0] + 480.0
        if nearest[1] < 950.0 and np.hypot(nearest[0], level) < 1000.0:
            gap = 950.0 - nearest[1] - 100.0
            assert pairs["robot forearm", "gantry drum"] == pytest.approx(gap, abs=1e-6)


def test_pitch_and_roll_joints_of_the_scara_tilt_with_the_table_top(scara: Room) -> None:
    couch = scara.machine.couch()
    tool = np.linalg.inv(couch.tool.matrix())
    for axes in _random_axes(scara, 40):
        pairs = _exact(scara, axes)
        level, pitch = axes[0] + 700.0, np.radians(axes[4])
        below = 100.0 * np.cos(pitch) + 120.0 * abs(np.sin(pitch))
        assert pairs["robot pitch joint", "floor"] == pytest.approx(level - below, abs=1e-6)
        flange = couch.forward(axes).matrix() @ tool
        up = flange[2, :3]
        lowest = flange[2, 3] - 35.0 * up[2] - np.abs(up) @ [150.0, 140.0, 15.0]
        assert pairs["robot roll joint", "floor"] == pytest.approx(lowest - FLOOR_MM, abs=1e-6)


def test_a_link_near_the_gantry_head_is_reported_and_a_link_in_it_is_contact(arm: Room) -> None:
    near = arm.clearance(NEAR_HEAD, 0.0, arm.retracted())
    assert near.nearest.parts == ("robot hand", "gantry head")
    assert 30.0 < near.min_mm < 35.0
    touching = arm.clearance(IN_HEAD, 0.0, arm.retracted())
    assert touching.nearest.parts == ("robot hand", "gantry head")
    assert touching.nearest.contact
    way = arm.sweep(NEAR_HEAD, IN_HEAD, 0.0, arm.retracted())
    assert way.contact is not None
    assert way.contact.pair.parts[1] == "gantry head"
    assert way.contact.pair.parts[0].startswith("robot ")
    # The same position without the links knows nothing of it: the links are what was missing.
    pieces = _text("robot_arm").split("[[part]]")
    kept = [piece for piece in pieces if 'frame = "link_' not in piece]
    tail = pieces[-1][pieces[-1].index("[[allowed_contact]]") :]
    contacts = [c for c in tail.split("[[allowed_contact]]")[1:] if '"robot foot", "floor"' in c]
    bare = "[[part]]".join(kept) + "".join("[[allowed_contact]]" + c for c in contacts)
    without = Room(parse_machine(bare, origin="without links"))
    assert without.clearance(IN_HEAD, 0.0, without.retracted()).min_mm > 0.0


def test_a_sweep_bounds_the_links_between_its_ends(arm: Room) -> None:
    found = arm.sweep(NEAR_HEAD, (-9.0, 50.0, 20.0, 70.0, -60.0, 300.0), 0.0, arm.retracted())
    target = (-9.0, 50.0, 20.0, 70.0, -60.0, 300.0)
    for s in np.linspace(0.0, 1.0, 41):
        axes = tuple(a + (b - a) * s for a, b in zip(NEAR_HEAD, target, strict=True))
        exact = arm.clearance(axes, 0.0, arm.retracted(), exact=True)
        assert found.profile_mm[min(int(s * 64), 63)] <= exact.min_mm + 1e-6


def test_a_robot_that_folds_onto_its_own_table_top_is_contact(arm: Room) -> None:
    folded = _exact(arm, (0.0, 0.0, 60.0, 0.0, 130.0, 90.0))
    straight = _exact(arm, (0.0, 0.0, 60.0, 0.0, 0.0, 90.0))
    assert folded["couch top", "robot forearm"] <= 0.0 < straight["couch top", "robot forearm"]
    assert ("couch top", "robot flange") not in arm.measured_pairs
    assert ("robot forearm", "robot upper arm") not in arm.measured_pairs


def test_a_map_over_two_joints_agrees_with_single_questions_and_is_certain_where_it_says(
    arm: Room,
) -> None:
    """One axis moves the forearm, both move the table top that it is measured against."""
    row, column = MapAxis("joint_2", 30.0, 64.0, 12), MapAxis("joint_5", 20.0, 130.0, 10)
    axes = (1.0, 61.0, -15.0, 0.0, 93.0, 90.0)
    found = clearance_map(arm, axes, arm.retracted(), row=row, column=column)
    random = np.random.default_rng(4)
    seen = set()
    for u, v in random.random((200, 2)):
        i, j = int(u * row.cells), int(v * column.cells)
        at = (1.0, 30.0 + 34.0 * u, -15.0, 0.0, 20.0 + 110.0 * v, 90.0)
        here = arm.clearance(at, 0.0, arm.retracted(), exact=True).nearest
        state = CellState(found.state[i, j])
        seen.add((state, here.parts))
        if state is CellState.CLEAR:
            assert here.upper_mm > 0.0
        if state is CellState.CONTACT:
            assert here.lower_mm <= 1e-6
        middle = (1.0, row.middles[i], -15.0, 0.0, column.middles[j], 90.0)
        truth = max(arm.clearance(middle, 0.0, arm.retracted(), exact=True).min_mm, 0.0)
        assert truth - 0.02 <= found.lower_mm[i, j] <= truth + 1e-6
    assert {state for state, _ in seen} >= {CellState.CLEAR, CellState.CONTACT}
    folded = {parts for state, parts in seen if state is CellState.CONTACT}
    assert ("couch top", "robot forearm") in folded


def test_link_frames_belong_to_robots_and_their_names_to_links() -> None:
    wrong = _text("linac_pedestal").replace('frame = "turntable"', 'frame = "link_2"')
    with pytest.raises(MachineError, match="'link_2' is not one of"):
        parse_machine(wrong, origin="pedestal")
    wrong = _text("robot_arm").replace('frame = "link_6"', 'frame = "link_7"')
    with pytest.raises(MachineError, match="'link_7' is not one of"):
        parse_machine(wrong, origin="seven")
    wrong = _text("robot_arm").replace('name = "kv_source_arm"', 'name = "link_3"')
    with pytest.raises(MachineError, match="taken by a built-in frame"):
        parse_machine(wrong, origin="taken")
