"""Rooms: what is measured, what is refused, and that answers hold for the demo patient on every shipped machine."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import igrt_hw
from igrt_hw._core import ClearanceRoom, Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine import load_machine, machine_names, parse_machine
from igrt_hw.machine.description import MachineDescription
from igrt_hw.machine.part import PartDescription
from igrt_hw.machine.path import couch_joints
from igrt_hw.machine.room import ClearanceInputError, Room, RoomError
from igrt_hw.machine.surface import PatientSurface, surface_from_rtstruct

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"
PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def surface() -> PatientSurface:
    return surface_from_rtstruct(DEMO / "RTSTRUCT.dcm")


@pytest.fixture(scope="module")
def placement() -> np.ndarray:
    table_from_patient = np.eye(4)
    table_from_patient[:3, 3] = (88.0, 535.0, 162.5)
    return table_from_patient


@pytest.fixture(scope="module")
def room(surface: PatientSurface, placement: np.ndarray) -> Room:
    return Room(load_machine("linac_pedestal"), surface, placement)


def _axes(name: str) -> tuple[float, ...]:
    couch = load_machine(name).couch()
    planned = Pose.from_parameters(PLANNED, Frame.FIXED, Frame.TABLE_TOP)
    return PLANNED if couch.family in ("pedestal", "hexapod") else couch.inverse(planned)[0]


@pytest.mark.parametrize("name", machine_names())
def test_the_planned_position_is_clear_all_round_on_every_machine(
    name: str, surface: PatientSurface, placement: np.ndarray
) -> None:
    room = Room(load_machine(name), surface, placement)
    axes = _axes(name)
    found = room.sweep(axes, axes, 0.0, room.retracted(), gantry_target_deg=359.0)
    assert found.contact is None
    assert 50.0 < found.min_mm < 80.0
    assert found.nearest.pair.parts == ("couch top", "gantry head")


def test_the_bound_is_below_the_exact_distance_by_at_most_two_hundredths(room: Room) -> None:
    for gantry in range(0, 360, 15):
        fast = room.clearance(PLANNED, gantry, room.retracted())
        exact = room.clearance(PLANNED, gantry, room.retracted(), exact=True)
        assert exact.bound_mm < 1e-6
        assert exact.min_mm - 0.02 <= fast.min_mm <= exact.min_mm + 1e-6
        for pair in exact.pairs:
            gap = np.linalg.norm(np.subtract(*pair.points))
            assert gap == pytest.approx(pair.upper_mm, abs=1e-6)


def test_the_patient_lies_on_the_couch_head_towards_the_gantry(room: Room) -> None:
    drum = {p.parts: p for p in room.clearance(PLANNED, 0.0, room.retracted()).pairs}[
        "patient", "gantry drum"
    ]
    # 950 mm to the drum, less where the extended head end stands: -350 + 535 + 440.
    assert drum.lower_mm == pytest.approx(950.0 - (-350.0 + 535.0 + 440.0), abs=0.03)
    below = {p.parts: p for p in room.clearance(PLANNED, 180.0, room.retracted()).pairs}
    assert below["couch top", "gantry head"].points[0][2] == pytest.approx(-122.5 - 80.0, abs=1e-6)


def test_contact_is_below_zero_and_named_with_its_place(room: Room) -> None:
    high = (0.0, -350.0, 400.0, 0.0, 0.0, 0.0)
    found = room.clearance(high, 0.0, room.retracted())
    assert found.min_mm < 0.0
    assert found.nearest.contact
    assert "touch" in found.nearest.text()
    assert "mm deep" in found.nearest.text()


def test_a_blocked_move_names_the_first_contact_and_one_that_is_clear_has_none(room: Room) -> None:
    up = (-20.0, -350.0, 300.0, 0.0, 0.0, 0.0)
    blocked = room.sweep(PLANNED, up, 0.0, room.retracted(), stations=32)
    assert blocked.min_mm == 0.0
    assert blocked.contact is not None
    assert blocked.contact.pair.parts == ("patient", "gantry head")
    before = blocked.contact.path_fraction - 1e-4
    axes = [a + (b - a) * before for a, b in zip(PLANNED, up, strict=True)]
    assert room.clearance(axes, 0.0, room.retracted()).min_mm > 0.0
    after = [a + (b - a) * (before + 2e-4) for a, b in zip(PLANNED, up, strict=True)]
    assert room.clearance(after, 0.0, room.retracted()).min_mm < 0.02
    clear = room.sweep(PLANNED, (-15.0, -345.0, -120.0, 1.0, 0.5, -0.5), 0.0, room.retracted())
    assert clear.contact is None
    assert clear.min_mm == min(clear.profile_mm)


def test_gantry_couch_and_panel_may_move_together(room: Room) -> None:
    out = dict.fromkeys(room.arms, 1.0)
    target = (-60.0, -300.0, -150.0, 10.0, 1.0, 1.0)
    found = room.sweep(
        PLANNED, target, 30.0, room.retracted(), gantry_target_deg=70.0, panel_target=out
    )
    for s in np.linspace(0.0, 1.0, 41):
        axes = [a + (b - a) * s for a, b in zip(PLANNED, target, strict=True)]
        exact = room.clearance(axes, 30.0 + 40.0 * s, dict.fromkeys(room.arms, s), exact=True)
        assert found.profile_mm[min(int(s * 64), 63)] <= exact.min_mm + 1e-6


@pytest.mark.parametrize("name", machine_names())
def test_the_swept_chain_is_the_couch_that_is_driven(name: str) -> None:
    machine = load_machine(name)
    random = np.random.default_rng(1)
    for _ in range(20):
        low, high = np.array([axis.range for axis in machine.description.axis]).T
        axes = tuple(random.uniform(low, high))
        joints = couch_joints(machine.description.chain, axes, axes)
        driven = machine.couch().forward(axes).matrix()
        assert np.abs(ClearanceRoom.poses_at([joints], 0.5)[0] - driven).max() < 1e-9


def test_allowed_contacts_and_parts_of_one_side_are_not_measured(room: Room) -> None:
    assert ("couch column", "floor") not in room.measured_pairs
    assert ("patient", "couch top") not in room.measured_pairs
    assert ("patient", "floor") in room.measured_pairs


def test_a_panel_state_must_name_every_arm_and_stay_within_zero_and_one(room: Room) -> None:
    with pytest.raises(RoomError, match="missing: \\['kv_panel_arm'"):
        room.clearance(PLANNED, 0.0, {"kv_source_arm": 0.0})
    with pytest.raises(RoomError, match="unknown: \\['flap'"):
        room.clearance(PLANNED, 0.0, {**room.retracted(), "flap": 1.0})
    with pytest.raises(RoomError, match="not between"):
        room.clearance(PLANNED, 0.0, {**room.retracted(), "kv_panel_arm": 1.2})


def test_numbers_that_are_none_are_refused(room: Room, surface: PatientSurface) -> None:
    with pytest.raises(RoomError, match="six finite"):
        room.clearance((0.0,) * 5, 0.0, room.retracted())
    with pytest.raises(RoomError, match="six finite"):
        room.clearance((float("nan"),) * 6, 0.0, room.retracted())
    with pytest.raises(ClearanceInputError):
        room.clearance(PLANNED, float("inf"), room.retracted())
    with pytest.raises(ClearanceInputError, match="stations"):
        room.sweep(PLANNED, PLANNED, 0.0, room.retracted(), stations=0)
    with pytest.raises(RoomError, match="placement"):
        Room(load_machine("linac_pedestal"), surface)
    with pytest.raises(ClearanceInputError, match="mirrors"):
        Room(load_machine("linac_pedestal"), surface, np.diag([1.0, 1.0, -1.0, 1.0]))


def test_the_model_hash_changes_with_anything_the_answer_rests_on(
    room: Room, surface: PatientSurface, placement: np.ndarray
) -> None:
    machine = load_machine("linac_pedestal")
    assert Room(machine, surface, placement).model_hash == room.model_hash
    moved = placement.copy()
    moved[0, 3] += 1e-9
    assert Room(machine, surface, moved).model_hash != room.model_hash
    assert Room(machine).model_hash != room.model_hash
    text = (Path(igrt_hw.__file__).parent / "machine/machines/linac_pedestal.toml").read_text()
    wider = parse_machine(text.replace("radius_mm = 380.0", "radius_mm = 380.1"), origin="test")
    assert Room(wider, surface, placement).model_hash != room.model_hash


def test_answers_are_the_same_from_many_threads(room: Room) -> None:
    def ask(gantry: float) -> float:
        return room.clearance(PLANNED, gantry, room.retracted()).min_mm

    angles = [float(g) for g in range(0, 360, 3)]
    alone = [ask(g) for g in angles]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, angles)) == alone


def test_a_room_with_nothing_to_measure_or_a_turntable_it_does_not_have_is_refused() -> None:
    text = (Path(igrt_hw.__file__).parent / "machine/machines/linac_pedestal.toml").read_text()
    bare = text[: text.index("[[part]]")]
    with pytest.raises(RoomError, match="nothing to measure"):
        Room(parse_machine(bare, origin="bare"))
    text = (Path(igrt_hw.__file__).parent / "machine/machines/robot_arm.toml").read_text()
    wrong = text.replace('frame = "table_top"', 'frame = "turntable"')
    with pytest.raises(RoomError, match="no turntable"):
        Room(parse_machine(wrong, origin="wrong"))


def test_a_patient_placed_elsewhere_is_the_room_built_with_that_placement(
    room: Room, surface: PatientSurface, placement: np.ndarray
) -> None:
    assert room.model_hash  # Computed before, so that a stale one would be seen.
    moved = placement.copy()
    moved[:3, 3] += (3.0, -4.0, 2.0)
    placed, built = room.placed(moved), Room(load_machine("linac_pedestal"), surface, moved)
    assert placed.model_hash == built.model_hash != room.model_hash
    ask = (PLANNED, 90.0, room.retracted())
    assert placed.clearance(*ask) == built.clearance(*ask) != room.clearance(*ask)
    with pytest.raises(ClearanceInputError, match="mirrors"):
        room.placed(np.diag([1.0, 1.0, -1.0, 1.0]))


def _device(name: str, **said: object) -> PartDescription:
    return PartDescription.model_validate(
        {"name": name, "frame": "patient", "shape": "box", "size_mm": (60.0, 40.0, 200.0), **said}
    )


def test_a_device_on_the_patient_moves_and_is_measured_with_them(
    surface: PatientSurface, placement: np.ndarray
) -> None:
    machine = load_machine("linac_pedestal")
    # A frame above the chest: patient axes are IEC, z upwards.
    device = _device("frame", position_mm=(0.0, 0.0, 260.0))
    bare, dressed = (
        Room(machine, surface, placement, devices) for devices in ((), (device, device))
    )
    assert ("frame", "gantry head") in dressed.measured_pairs
    assert ("frame", "patient") not in dressed.measured_pairs
    assert dressed.model_hash != bare.model_hash
    couch = load_machine("linac_pedestal").couch()
    corners = np.array([(x, y, z) for x in (-30, 30) for y in (-20, 20) for z in (160, 360)])
    for axes in (PLANNED, (*PLANNED[:3], 30.0, 2.0, -1.0)):
        found = dressed.clearance(axes, 0.0, dressed.retracted(), exact=True)
        pair = next(one for one in found.pairs if one.parts == ("frame", "gantry head"))
        # The head's face is a disc at one height here: nearest is the device's highest corner or edge under it.
        there = couch.forward(axes).matrix() @ placement
        highest = (corners @ there[:3, :3].T + there[:3, 3])[:, 2].max()
        assert pair.points[0][2] == pytest.approx(highest, abs=1e-6)
        assert found.min_mm < bare.clearance(axes, 0.0, bare.retracted()).min_mm
    moved = dressed.placed(np.eye(4))
    assert moved.model_hash != dressed.model_hash


def test_parts_of_the_machine_file_may_stand_on_the_patient_too(placement: np.ndarray) -> None:
    said = load_machine("linac_pedestal").description.model_dump(mode="json", exclude_none=True)
    said["part"] = [*said["part"], _device("mask").model_dump(mode="json", exclude_none=True)]
    machine = replace(
        load_machine("linac_pedestal"), description=MachineDescription.model_validate(said)
    )
    room = Room(machine, table_from_patient=placement)
    assert ("mask", "gantry head") in room.measured_pairs
    assert room.model_hash != room.placed(np.eye(4)).model_hash
    with pytest.raises(RoomError, match=r"mask: what stands on the patient frame needs"):
        Room(machine)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"frame": "gantry"}, "a patient's set-up stands on 'patient' or 'table_top'"),
        ({"shape": "mesh", "size_mm": None, "file": "mask.stl", "file_unit": "mm"}, "machine file"),
    ],
)
def test_a_device_that_is_none_is_refused(
    surface: PatientSurface, placement: np.ndarray, said: dict[str, object], reason: str
) -> None:
    device = _device("mask", **said)
    with pytest.raises(RoomError, match=reason):
        Room(load_machine("linac_pedestal"), surface, placement, [device])
