"""Machine files: the shipped ones are right, and a wrong one is refused with file, table and key."""

import dataclasses
import re
from importlib import resources
from pathlib import Path

import pytest

from igrt_hw.geometry import Axes6, Correction, compose_correction
from igrt_hw.machine import MachineError, load_machine, machine_names, parse_machine

DEMO_PLAN = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)


def text_of(name: str) -> str:
    return (
        resources.files("igrt_hw.machine").joinpath("machines", f"{name}.toml").read_text("utf-8")
    )


def test_a_machine_of_every_family_is_shipped() -> None:
    assert set(machine_names()) >= {"linac_pedestal", "linac_hexapod", "robot_arm", "robot_scara"}
    assert {load_machine(name).couch().family for name in machine_names()} == {
        "pedestal",
        "hexapod",
        "arm",
        "scara",
    }


@pytest.mark.parametrize("name", machine_names())
def test_every_shipped_machine_stands_at_the_demo_plan_within_its_limits(name: str) -> None:
    couch = load_machine(name).couch()
    plan = load_machine("linac_pedestal").couch().forward(DEMO_PLAN)
    branches = couch.inverse(plan)
    assert branches
    for axes in branches:
        couch.check_limits(axes)
        assert couch.forward(axes).deviation(plan)[0] < 1e-6


@pytest.mark.parametrize("name", machine_names())
def test_every_shipped_machine_can_make_the_largest_correction_of_the_demo(name: str) -> None:
    machine = load_machine(name)
    couch = machine.couch()
    now = couch.inverse(load_machine("linac_pedestal").couch().forward(DEMO_PLAN))[0]
    for sign in (1.0, -1.0):
        correction = Correction.of([sign * 12.0] * 3 + [sign * 2.0] * 3)
        couch.check_limits(compose_correction(couch, now, correction))


def test_the_hexapod_reaches_its_stated_travel_and_tilt_in_every_corner() -> None:
    machine = load_machine("linac_hexapod")
    chain = machine.description.chain
    assert chain.family == "hexapod"
    couch = machine.couch()
    travel, tilt = chain.platform_travel_mm, chain.platform_tilt_deg
    for corner in range(64):
        signs = [1.0 if corner >> bit & 1 else -1.0 for bit in range(6)]
        reach = [travel] * 3 + [tilt] * 3
        axes = [
            at + sign * far
            for at, sign, far in zip((*couch.base_axes, 0, 0), signs, reach, strict=True)
        ]
        assert min(couch.leg_margins(axes)) >= 0.0


def test_the_pedestal_carries_the_agreed_limits_and_caps() -> None:
    machine = load_machine("linac_pedestal")
    assert [axis.range for axis in machine.description.axis] == [
        (-250.0, 250.0),
        (-1000.0, 400.0),
        (-450.0, 50.0),
        (-95.0, 95.0),
        (-3.0, 3.0),
        (-3.0, 3.0),
    ]
    caps = machine.description.correction_move
    assert (caps.speed_mm_s, caps.acceleration_mm_s2, caps.jerk_mm_s3) == (10.0, 30.0, 150.0)
    assert (caps.speed_deg_s, caps.acceleration_deg_s2, caps.jerk_deg_s3) == (1.0, 5.0, 25.0)
    for (low, high), axis in zip(machine.couch().limits, machine.description.axis, strict=True):
        assert (low, high) == pytest.approx(axis.range)


def test_the_same_text_gives_the_same_hashes_and_a_changed_limit_gives_others() -> None:
    text = text_of("linac_pedestal")
    first, again = (parse_machine(text, origin="a.toml") for _ in range(2))
    moved = parse_machine(text.replace("upper_mm = 250.0", "upper_mm = 251.0"), origin="a.toml")
    assert first.limits_hash == again.limits_hash
    assert first.description_hash == again.description_hash
    assert first.limits_hash != moved.limits_hash
    assert first.description_hash != moved.description_hash


def test_a_moved_solid_part_changes_the_description_but_not_the_limits() -> None:
    text = text_of("linac_pedestal")
    first = parse_machine(text, origin="a.toml")
    moved = parse_machine(text.replace("radius_mm = 380.0", "radius_mm = 381.0"), origin="a.toml")
    assert first.limits_hash == moved.limits_hash
    assert first.description_hash != moved.description_hash


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("upper_mm = 250.0", "upper_mm = -251.0", r"bad\.toml, \[\[axis\]\] 'lateral'.*not below"),
        ("upper_mm = 250.0", "", r"\[\[axis\]\] 'lateral', key 'upper_mm': Field required"),
        ("upper_mm = 250.0", "upper_cm = 25.0", r"key 'upper_cm': Extra inputs"),
        (
            "upper_mm = 250.0",
            'upper_mm = "wide"',
            r"key 'upper_mm': Input should be a valid number",
        ),
        ("upper_mm = 250.0", "upper_mm = inf", r"key 'upper_mm': Input should be a finite number"),
        ("upper_mm = 250.0", "upper_mm = 250000.0", r"'lateral'.*check the unit"),
        ('name = "lateral"', 'name = "sideways"', r"the whole file.*axis 1 is linear 'sideways'"),
        ("sad_mm = 1000.0", "sad_mm = 2000.0", r"\[imaging\].*not beyond the isocentre"),
        ("speed_mm_s = 10.0", "speed_mm_s = 90.0", r"correction_move\.speed_mm_s 90\.0 is above"),
        ("format = 1", "format = 2", r"key 'format'"),
        ('frame = "gantry"', 'frame = "gentry"', r"frame 'gentry' is not one of"),
        ('family = "pedestal"', 'family = "teapot"', r"\[chain\]"),
        ("format = 1", "format = = 1", r"bad\.toml: not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_file_table_and_key(old: str, new: str, place: str) -> None:
    text = text_of("linac_pedestal")
    assert old in text
    with pytest.raises(MachineError) as refusal:
        parse_machine(text.replace(old, new, 1), origin="bad.toml")
    assert re.search(place, str(refusal.value)), str(refusal.value)
    assert "bad.toml" in str(refusal.value)


def test_legs_that_do_not_hold_the_platform_are_refused() -> None:
    text = text_of("linac_hexapod")
    with pytest.raises(MachineError, match=r"bad\.toml, \[chain\].*leg 1 is .* at neutral"):
        parse_machine(
            text.replace("leg_upper_mm = 440.0", "leg_upper_mm = 300.0"),
            origin="bad.toml",
            folder=Path(str(resources.files("igrt_hw.machine").joinpath("machines"))),
        )


def test_an_unknown_machine_is_refused_with_the_known_names() -> None:
    with pytest.raises(MachineError, match="linac_pedestal"):
        load_machine("linac_gold")


def test_a_missing_file_and_a_missing_mesh_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"none\.toml.*cannot be read"):
        load_machine(tmp_path / "none.toml")
    mesh = '[[part]]\nname = "cover"\nframe = "gantry"\nshape = "mesh"\nfile = "cover.stl"\nfile_unit = "mm"\n'
    file = tmp_path / "own.toml"
    file.write_text(
        text_of("linac_pedestal").replace("[[part]]", mesh + "\n[[part]]", 1), encoding="utf-8"
    )
    with pytest.raises(MachineError, match=r"own\.toml, \[\[part\]\] 'cover'.*cover\.stl"):
        load_machine(file)
    (tmp_path / "cover.stl").write_bytes(b"solid")
    one = load_machine(file)
    (tmp_path / "cover.stl").write_bytes(b"SOLID")
    assert one.description_hash != load_machine(file).description_hash


def test_axes_of_the_pedestal_are_the_six_cartesian_names_of_axes6() -> None:
    machine = load_machine("linac_pedestal")
    fields = [f"{axis.name}_{axis.unit}" for axis in machine.description.axis]
    assert fields == [field.name for field in dataclasses.fields(Axes6)]
