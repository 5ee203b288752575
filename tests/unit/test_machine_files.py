"""Machine files made by the product: a couch from URDF, a calibrated couch, and both in use."""

import csv
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from igrt_hw._core import Couch, Pose
from igrt_hw.cli import app
from igrt_hw.geometry import Correction
from igrt_hw.machine import MachineError, load_machine, machine_names, parse_machine
from igrt_hw.machine.calibration import CalibrationError
from igrt_hw.machine.calibration_table import MEASURED, calibrate_machine
from igrt_hw.machine.description import MachineDescription
from igrt_hw.machine.machine_toml import chain_of, machine_text, mount_of
from igrt_hw.machine.room import Room
from igrt_hw.machine.urdf import export_urdf, import_urdf
from igrt_hw.safety.machine_couch import MachineCouch

RUN = CliRunner()


def within(couch: Couch, count: int, seed: int) -> np.ndarray:
    low, high = np.array(couch.limits).T
    return low + (high - low) * np.random.default_rng(seed).random((count, 6))


def run(*words: object) -> str:
    result = RUN.invoke(app, ["machine", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", machine_names())
def test_a_description_written_and_read_again_is_the_same(name: str) -> None:
    machine = load_machine(name)
    text = machine_text(machine.description, ["two", "lines"])
    again = MachineDescription.model_validate(tomllib.loads(text))
    assert again == machine.description
    assert chain_of(machine.couch(), machine.description.chain) == machine.description.chain


def test_every_table_needs_a_source_and_a_strange_one_is_refused() -> None:
    description = load_machine("linac_pedestal").description
    for table in ("chain", "axis", "correction_move", "imaging", "gantry", "load", "part"):
        kept = {key: text for key, text in description.sources.items() if key != table}
        text = machine_text(description.model_copy(update={"sources": kept}))
        with pytest.raises(MachineError, match=rf"\[sources\] says nothing about {table}"):
            parse_machine(text, origin="bare.toml")
    strange = description.sources | {"couch": "a brochure"}
    with pytest.raises(MachineError, match="named like a table"):
        parse_machine(
            machine_text(description.model_copy(update={"sources": strange})), origin="bare.toml"
        )


def test_a_mount_keeps_its_pose_upright_or_not() -> None:
    rng = np.random.default_rng(5)
    turns = [*rng.uniform(-180, 180, (50, 3)), (30.0, 90.0, 10.0), (30.0, -90.0, 200.0)]
    turns += [(10.0, 90.0 - 1e-5, 40.0), (10.0, 90.0 - 1e-7, 40.0), (-170.0, 90.0 - 1e-9, 3.0)]
    for turn in turns:
        pose = Pose.from_parameters((1500.0, -1900.0, 700.0, *turn), "fixed", "base")
        again = Pose.from_parameters(mount_of(pose).parameters, "fixed", "base")
        off_mm, off_deg = again.deviation(pose)
        assert off_mm < 1e-9
        assert math.radians(off_deg) < 2e-9


@pytest.mark.parametrize("name", machine_names())
def test_a_couch_from_urdf_becomes_a_machine_that_room_service_and_simulator_load(
    name: str, tmp_path: Path
) -> None:
    urdf, file = tmp_path / "bought.urdf", tmp_path / "own" / "bought.toml"
    run("export", name, urdf)
    said = run("import", urdf, file)
    assert "200 places over the range come back" in said
    assert "no mesh of the table top" in said
    couch = import_urdf(urdf.read_text(encoding="utf-8"))
    machine = load_machine(file)
    axes = within(couch, 100, 3)
    assert np.allclose(machine.couch().forward_many(axes), couch.forward_many(axes), atol=1e-6)
    original = load_machine(name)
    for ours, theirs in zip(machine.description.axis, original.description.axis, strict=True):
        assert ours.range == pytest.approx(theirs.range, abs=1e-9)
        assert ours.drive == pytest.approx(theirs.drive)
    # The service's couch, and the room that every clearance is asked of: it compares its own chain with the couch.
    supervised = MachineCouch(machine)
    assert supervised.limits == tuple(axis.range for axis in machine.description.axis)
    room = Room(machine)
    reachable = original.couch().inverse(
        load_machine("linac_pedestal").couch().forward((-20.0, -350.0, -122.5, 0.0, 0.0, 0.0))
    )[0]
    found = room.clearance(reachable, 0.0, room.retracted())
    assert math.isfinite(found.min_mm)
    # The demo hands the same file to the simulator, which has a reader and a kinematics of its own.
    reader = pytest.importorskip("igrt_firmware_sim.machine_file", reason="no simulator here")
    firmware = pytest.importorskip("igrt_firmware_sim._firmware", reason="no simulator here")
    described = reader.load(file)
    plant = firmware.Room(
        seed=1, family=described.family, chain=described.chain, limits=described.limits,
        axes=reachable, renders=False,
    )  # fmt: skip
    truth = plant.truth()["table_top"]
    want = machine.couch().forward(reachable).parameters()
    assert truth[2] == pytest.approx(want[2], abs=1e-6)
    assert math.hypot(truth[0], truth[1]) == pytest.approx(math.hypot(*want[:2]), abs=1e-6)


def test_a_foreign_pedestal_with_mounts_and_zeros_is_swept_where_it_is_driven(
    tmp_path: Path,
) -> None:
    couch = load_machine("linac_pedestal").couch()
    base = Pose.from_parameters((40.0, -60.0, 10.0, 3.0, 0.4, -0.3), "fixed", "base")
    tool = Pose.from_parameters((5.0, 30.0, -12.0, 1.0, 0.2, 0.1), "flange", "table_top")
    foreign = couch.with_mounts(base, tool).with_axis_map((1,) * 6, (3, -20, 7, 2, 0, 0))
    model = load_machine("linac_pedestal").description
    moved = model.model_copy(update={"chain": chain_of(foreign, model.chain)})
    urdf, file = tmp_path / "foreign.urdf", tmp_path / "foreign_couch.toml"
    machine = parse_machine(machine_text(moved), origin="moved.toml")
    urdf.write_text(export_urdf(machine), encoding="utf-8")
    assert "simulator: its couch of this family has no" in run("import", urdf, file)
    brought = load_machine(file)
    axes = within(foreign, 60, 4)
    assert np.allclose(brought.couch().forward_many(axes), foreign.forward_many(axes), atol=1e-6)
    room = Room(brought)
    for row in axes[:10]:
        room.clearance(tuple(map(float, row)), 20.0, room.retracted())
    # Its limits version is another than that of the couch without them.
    assert brought.limits_hash != load_machine("linac_pedestal").limits_hash


def test_a_mesh_of_the_table_top_comes_with_its_place_and_unit(tmp_path: Path) -> None:
    import trimesh

    trimesh.creation.box(extents=(0.5, 2.0, 0.08)).export(tmp_path / "top.stl")
    mesh = (
        '<link name="table_top"><collision><origin xyz="0 -0.05 -0.04" rpy="0 0 0"/><geometry>'
        '<mesh filename="top.stl"/></geometry></collision></link>'
    )
    text = export_urdf(load_machine("robot_arm")).replace('<link name="table_top" />', mesh)
    assert mesh in text
    urdf, file = tmp_path / "arm.urdf", tmp_path / "there" / "arm.toml"
    urdf.write_text(text, encoding="utf-8")
    run("import", urdf, file)
    (top,) = [part for part in load_machine(file).description.part if part.frame == "table_top"]
    assert (top.file, top.file_unit, top.position_mm) == ("top.stl", "m", (0.0, -50.0, -40.0))
    assert (file.parent / "top.stl").exists()


def test_import_refuses_another_family_and_a_file_that_is_there(tmp_path: Path) -> None:
    urdf = tmp_path / "arm.urdf"
    run("export", "robot_arm", urdf)
    wrong = RUN.invoke(
        app,
        ["machine", "import", str(urdf), str(tmp_path / "a.toml"), "--room", "linac_pedestal"],
    )
    assert isinstance(wrong.exception, MachineError)
    assert "same family" in str(wrong.exception)
    run("import", urdf, tmp_path / "a.toml")
    again = RUN.invoke(app, ["machine", "import", str(urdf), str(tmp_path / "a.toml")])
    assert "is there already" in str(again.exception)


# --- calibration, end to end -----------------------------------------------------------------------------------------


def write_table(file: Path, columns: list[str], rows: np.ndarray, poses: list[Pose]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*columns, *MEASURED])
        for row, pose in zip(rows, poses, strict=True):
            writer.writerow([*map(repr, map(float, row)), *map(repr, pose.parameters())])


def noisy(poses: list[Pose], seed: int) -> list[Pose]:
    rng = np.random.default_rng(seed)
    sizes = [0.02] * 3 + [0.002] * 3
    return [
        pose @ Pose.from_parameters(rng.normal(size=6) * sizes, "table_top", "table_top")
        for pose in poses
    ]


def truly(name: str) -> Couch:
    """A couch that is not as its machine file says."""
    couch = load_machine(name).couch()
    base = couch.base @ Pose.from_parameters((0.8, -0.5, 0.2, 0.02, 0.06, -0.04), "base", "base")
    gains, zeros = (list(part) for part in couch.axis_map)
    zeros[4] += 0.05
    if couch.axis_kinds[1] == "linear":
        gains[1] *= 1.0008
    return couch.with_mounts(base, couch.tool).with_axis_map(gains, zeros)


@pytest.mark.parametrize("name", ["linac_pedestal", "robot_arm", "robot_scara"])
def test_a_calibrated_couch_is_the_one_that_the_service_uses(name: str, tmp_path: Path) -> None:
    machine, truth = load_machine(name), truly(name)
    columns = [f"{axis.name}_{axis.unit}" for axis in machine.description.axis]
    axes = within(truth, 80, 6)
    table, file, report = (tmp_path / n for n in ("table.csv", "ours.toml", "report.json"))
    measured = noisy([truth.forward(row) for row in axes], 7)
    write_table(table, columns, axes, measured)
    said = run("calibrate", name, table, file, "--report", report)
    assert "not seen by these poses, held" in said
    calibrated = load_machine(file)
    fresh = within(truth, 50, 8)
    nominal = machine.couch().forward_many(fresh)
    off = np.abs(calibrated.couch().forward_many(fresh) - truth.forward_many(fresh))
    assert off[:, :3, 3].max() < 0.1
    assert np.abs(nominal - truth.forward_many(fresh))[:, :3, 3].max() > 0.5
    # What the service solves with is this couch, and what the room sweeps too.
    supervised = MachineCouch(calibrated)
    now = tuple(map(float, fresh[0]))
    target = supervised.solve(now, Correction(2.0, -3.0, 1.0, 0.2, 0.1, -0.1))
    moved = Pose.from_parameters((2.0, -3.0, 1.0, 0.2, 0.1, -0.1), "fixed", "fixed")
    off_mm, _ = truth.forward(target).deviation(moved @ truth.forward(now))
    assert off_mm < 0.2
    room = Room(calibrated)
    room.clearance(now, 0.0, room.retracted())
    assert calibrated.limits_hash != machine.limits_hash
    written = json.loads(report.read_text(encoding="utf-8"))
    assert len(written["residuals"]) == 80
    assert np.shape(written["covariance"]) == (len(written["parameters"]),) * 2
    assert written["rms_mm"] < 0.05 < written["before_rms_mm"]
    assert "calibrated from table.csv: 80 poses" in calibrated.description.sources["chain"]


def test_a_hexapod_is_calibrated_by_its_legs(tmp_path: Path) -> None:
    machine = load_machine("linac_hexapod")
    couch, rng = machine.couch(), np.random.default_rng(9)
    sizes = np.array([value for _, value in couch.dimensions])
    truth = couch.with_dimensions(list(sizes + rng.uniform(-0.4, 0.4, 36)))
    centre, reach = np.array((*couch.base_axes, 0.0, 0.0)), np.array([30.0] * 3 + [3.0] * 3)
    legs = np.array([truth.leg_lengths(centre + reach * at) for at in rng.uniform(-1, 1, (100, 6))])
    table, file = tmp_path / "legs.csv", tmp_path / "ours.toml"
    poses = noisy([truth.forward_from_legs(row) for row in legs], 10)
    write_table(table, [f"leg_{n}_mm" for n in range(1, 7)], legs, poses)
    run("calibrate", "linac_hexapod", table, file)
    ours = load_machine(file).couch()
    before = [
        couch.forward_from_legs(row).deviation(truth.forward_from_legs(row))[0] for row in legs
    ]
    after = [ours.forward_from_legs(row).deviation(truth.forward_from_legs(row))[0] for row in legs]
    assert np.mean(after) < 0.1 * np.mean(before)
    asked = run("calibrate", "linac_hexapod", table, tmp_path / "b.toml", "--parameter", "leg.1_mm")
    assert "encoders belong into the couch's own controller" in asked


def test_a_broken_table_is_refused_with_line_and_column(tmp_path: Path) -> None:
    machine, table = load_machine("linac_pedestal"), tmp_path / "t.csv"
    columns = [f"{axis.name}_{axis.unit}" for axis in machine.description.axis]
    axes = within(machine.couch(), 5, 1)
    write_table(table, columns, axes, [machine.couch().forward(row) for row in axes])
    good = table.read_text(encoding="utf-8")
    table.write_text(good.replace("lateral_mm", "lateral_cm"), encoding="utf-8")
    with pytest.raises(CalibrationError, match=r"no column lateral_mm"):
        calibrate_machine(machine, table, "x")
    lines = good.splitlines()
    lines[3] = ",".join(["wide", *lines[3].split(",")[1:]])
    table.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CalibrationError, match=r"line 4, column lateral_mm: 'wide'"):
        calibrate_machine(machine, table, "x")
    with pytest.raises(CalibrationError, match="cannot be read"):
        calibrate_machine(machine, tmp_path / "none.csv", "x")
