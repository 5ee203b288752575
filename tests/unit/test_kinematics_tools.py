"""Around the kinematics: URDF out and in, hexapod split plans, windows, calibration, sag."""

import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from igrt_hw._core import (
    CoreError,
    Couch,
    LimitError,
    NotConvergedError,
    Pose,
    SingularError,
)
from igrt_hw.geometry import Correction, Frame, compose_correction
from igrt_hw.machine import MachineError, load_machine, machine_names
from igrt_hw.machine.calibration import (
    CalibrationError,
    LoadedTop,
    calibrate,
    calibrate_legs,
    fit_sag,
    parameter_names,
)
from igrt_hw.machine.hexapod_split import platform_pose, split_correction
from igrt_hw.machine.urdf import export_urdf, import_urdf, mesh_references

PLAN = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)


def within(couch: Couch, count: int, seed: int) -> np.ndarray:
    low, high = np.array(couch.limits).T
    return low + (high - low) * np.random.default_rng(seed).random((count, 6))


# --- URDF ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", machine_names())
def test_exported_urdf_names_every_axis_with_its_range_in_metres_and_radians(name: str) -> None:
    machine = load_machine(name)
    robot = ElementTree.fromstring(export_urdf(machine))
    joints = {joint.get("name"): joint for joint in robot.iter("joint")}
    for axis in machine.description.axis:
        limit = joints[axis.name].find("limit")
        assert limit is not None
        scale = 0.001 if axis.unit == "mm" else math.pi / 180
        assert float(limit.get("lower", "")) == pytest.approx(axis.range[0] * scale)
        assert float(limit.get("upper", "")) == pytest.approx(axis.range[1] * scale)


@pytest.mark.parametrize("name", machine_names())
def test_pinocchio_agrees_with_our_forward_kinematics_through_urdf(name: str) -> None:
    pin = pytest.importorskip(
        "pinocchio", reason="Pinocchio (pin) is not installed; it is a peer, not a dependency"
    )
    machine = load_machine(name)
    couch = machine.couch()
    model = pin.buildModelFromXML(export_urdf(machine))
    data = model.createData()
    top = model.getFrameId("table_top")
    scale = np.array(
        [0.001 if axis.unit == "mm" else math.pi / 180 for axis in machine.description.axis]
    )
    for axes in within(couch, 200, 1):
        q = pin.neutral(model)
        for axis, value in zip(machine.description.axis, axes * scale, strict=True):
            q[model.joints[model.getJointId(axis.name)].idx_q] = value
        pin.framesForwardKinematics(model, data, q)
        want = data.oMf[top].homogeneous.copy()
        want[:3, 3] *= 1000.0
        off_mm, off_deg = couch.forward(axes).deviation(
            Pose.from_matrix(want, Frame.FIXED, Frame.TABLE_TOP)
        )
        assert off_mm < 1e-6
        assert math.radians(off_deg) < 1e-9
        aligned = pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        theirs = pin.computeFrameJacobian(model, data, q, top, aligned)
        columns = [model.joints[model.getJointId(a.name)].idx_v for a in machine.description.axis]
        # Pinocchio: metres and radians per metre or radian; ours: millimetres and degrees per millimetre or degree.
        rows = np.array([1000.0] * 3 + [180.0 / math.pi] * 3)[:, None]
        assert np.allclose(couch.jacobian(axes), rows * theirs[:, columns] * scale, atol=1e-6)


def test_our_pedestal_comes_back_from_urdf_as_the_same_couch() -> None:
    machine = load_machine("linac_pedestal")
    couch, back = machine.couch(), import_urdf(export_urdf(machine))
    assert np.allclose(back.limits, couch.limits, atol=1e-9)
    axes = within(couch, 50, 2)
    assert np.allclose(back.forward_many(axes), couch.forward_many(axes), atol=1e-9)


def test_a_foreign_couch_with_fixed_joints_between_is_imported_and_inverts() -> None:
    text = export_urdf(load_machine("linac_pedestal"))
    robot = ElementTree.fromstring(text)
    for joint in robot.iter("joint"):
        origin = joint.find("origin")
        assert origin is not None
        if joint.get("name") == "rotation":
            origin.set("xyz", "0.1 -0.2 0.05")
            origin.set("rpy", "0 0 0.3")
        if joint.get("name") in ("lateral", "pitch", "table_top_mount"):
            origin.set("xyz", "0.02 0.4 -0.1")
    couch = import_urdf(ElementTree.tostring(robot, encoding="unicode"))
    for axes in within(couch, 20, 3):
        pose = couch.forward(axes)
        assert couch.inverse_nearest(pose, axes) == pytest.approx(tuple(axes), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("<robot", "<!DOCTYPE x><robot"), "entities are refused"),
        (("</robot>", ""), "not XML"),
        (('type="prismatic"', 'type="planar"'), "type 'planar' is not understood"),
        (('lower="', 'lowest="'), "limits are never guessed"),
        (('axis xyz="1.0 0.0 0.0"', 'axis xyz="0 0 0"'), "has no direction"),
        (('axis xyz="1.0 0.0 0.0"', 'axis xyz="1 wide 0"'), "not 3 finite numbers"),
        (('child link="roll_link"', 'child link="world"'), "six moving joints"),
    ],
)
def test_urdf_that_is_not_understood_is_refused_with_the_reason(
    change: tuple[str, str], reason: str
) -> None:
    text = export_urdf(load_machine("linac_pedestal"))
    assert change[0] in text
    with pytest.raises(MachineError, match=reason):
        import_urdf(text.replace(*change, 1))


@pytest.mark.parametrize("name", machine_names())
def test_every_machine_comes_back_from_urdf_as_the_same_couch(name: str) -> None:
    couch = load_machine(name).couch()
    back = import_urdf(export_urdf(load_machine(name)))
    assert back.family == couch.family
    assert np.allclose(back.limits, couch.limits, atol=1e-9)
    axes = within(couch, 200, 2)
    assert np.allclose(back.forward_many(axes), couch.forward_many(axes), atol=1e-7)
    if couch.family == "hexapod":
        centre = (*couch.base_axes, 0.0, 0.0)
        assert back.leg_lengths(centre) == pytest.approx(couch.leg_lengths(centre), abs=1e-9)
        assert back.base_axes == pytest.approx(couch.base_axes)
    for row in axes[:20]:
        if couch.singularity(row)[1] > 1e-3:
            assert back.nearest_branch(couch.forward(row), row) == pytest.approx(row, abs=1e-5)


def reframed(text: str, seed: int) -> str:
    """The same machine with its root and every link frame elsewhere: what another author would have drawn."""
    rng = np.random.default_rng(seed)
    robot = ElementTree.fromstring(text)
    turned = Pose.identity("fixed", "fixed")
    for joint in robot.iter("joint"):
        own = Pose.from_parameters(
            [*rng.uniform(-300, 300, 3), *rng.uniform(-60, 60, 3)], "fixed", "fixed"
        )
        origin = joint.find("origin")
        assert origin is not None
        x, y, z = (float(word) * 1000 for word in origin.get("xyz", "").split())
        matrix = np.eye(4)
        matrix[:3, :3] = rotation_of(*(float(word) for word in origin.get("rpy", "").split()))
        matrix[:3, 3] = (x, y, z)
        axis = joint.find("axis")
        if axis is None:
            own = Pose.identity("fixed", "fixed")
        else:
            # A link frame may turn at will and slide along its own joint axis.
            along = np.array([float(word) for word in axis.get("xyz", "").split()])
            slide = along * rng.uniform(-200, 200)
            own = Pose.from_matrix(
                np.block([[own.rotation(), slide[:, None]], [np.zeros(3), 1.0]]), "fixed", "fixed"
            )
            axis.set("xyz", " ".join(map(repr, map(float, own.rotation().T @ along))))
        new = turned.inverse().matrix() @ matrix @ own.matrix()
        origin.set("xyz", " ".join(repr(float(v) / 1000) for v in new[:3, 3]))
        origin.set("rpy", " ".join(map(repr, rpy_of(new[:3, :3]))))
        turned = own
    return ElementTree.tostring(robot, encoding="unicode")


def rotation_of(roll: float, pitch: float, yaw: float) -> np.ndarray:
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(a), math.cos(a)) for a in (roll, pitch, yaw))
    x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(z @ y @ x)


def rpy_of(r: np.ndarray) -> tuple[float, float, float]:
    pitch = math.atan2(-r[2, 0], math.hypot(r[0, 0], r[1, 0]))
    return (math.atan2(r[2, 1], r[2, 2]), pitch, math.atan2(r[1, 0], r[0, 0]))


@pytest.mark.parametrize("name", ["linac_pedestal", "robot_arm", "robot_scara"])
@pytest.mark.parametrize("seed", range(5))
def test_a_couch_is_the_same_whatever_frames_its_author_chose(name: str, seed: int) -> None:
    couch = load_machine(name).couch()
    back = import_urdf(reframed(export_urdf(load_machine(name)), seed))
    axes = within(couch, 50, 8)
    assert np.allclose(back.forward_many(axes), couch.forward_many(axes), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "joint", "key", "value", "reason"),
    [
        ("robot_arm", "joint_3", "rpy", "0.01 0 0", r"'joint_3'.*parallel to that of 'joint_2'"),
        ("robot_arm", "joint_5", "xyz", "0.01 0 0", r"'joint_5'.*must meet.*10 mm away"),
        ("robot_arm", "joint_6", "xyz", "0.02 0 0", r"'joint_6'.*wrist centre.*20 mm away"),
        ("robot_arm", "joint_2", "rpy", "0.02 0 0", r"'joint_2'.*perpendicular.*1\.14"),
        ("robot_scara", "elbow", "rpy", "0 0.01 0", r"'elbow'.*parallel to that of 'vertical'"),
        ("robot_scara", "elbow", "xyz", "0 0 0.1", r"'elbow'.*no link between"),
        ("robot_scara", "roll", "xyz", "0 0 0.005", r"'roll'.*must meet that of 'pitch'.*5 mm"),
    ],
)
def test_a_joint_that_does_not_lie_as_its_family_asks_is_named(
    name: str, joint: str, key: str, value: str, reason: str
) -> None:
    robot = ElementTree.fromstring(export_urdf(load_machine(name)))
    element = robot.find(f"joint[@name='{joint}']/origin")
    assert element is not None
    element.set(key, value)
    with pytest.raises(MachineError, match=reason):
        import_urdf(ElementTree.tostring(robot, encoding="unicode"))


def test_joints_of_no_family_are_refused_with_their_kinds() -> None:
    text = export_urdf(load_machine("robot_scara")).replace('"prismatic"', '"revolute"')
    text = text.replace('name="roll" type="revolute"', 'name="roll" type="prismatic"')
    with pytest.raises(MachineError, match=r"joints RRRRRP.*known are RPPPRR pedestal"):
        import_urdf(text)


def test_legs_in_a_loop_and_broken_leg_tables_are_refused_with_what_to_do() -> None:
    text = export_urdf(load_machine("linac_hexapod"))
    looped = text.replace(
        "</robot>",
        '<joint name="leg" type="prismatic"><parent link="world"/><child link="table_top"/></joint></robot>',
    )
    with pytest.raises(MachineError, match=r"'leg'.*two parents.*igrt_hexapod"):
        import_urdf(looped)
    robot = ElementTree.fromstring(text)
    element = robot.find("igrt_hexapod")
    assert element is not None
    element.remove(element[0])
    with pytest.raises(MachineError, match="six <leg> elements, found 5"):
        import_urdf(ElementTree.tostring(robot, encoding="unicode"))
    pedestal_with_legs = export_urdf(load_machine("robot_arm")).replace(
        "</robot>", "<igrt_hexapod/></robot>"
    )
    with pytest.raises(MachineError, match="one <igrt_hexapod> on a pedestal chain"):
        import_urdf(pedestal_with_legs)


def test_meshes_are_kept_by_path_and_unusable_ones_refused_with_the_link() -> None:
    link = (
        '<robot name="r"><link name="top"><visual><origin xyz="0.1 0 0"/><geometry>'
        '<mesh filename="{}" scale="{}"/></geometry></visual></link></robot>'
    )
    (mesh,) = mesh_references(link.format("meshes/top.stl", "0.001 0.001 0.001"))
    assert (mesh.link, mesh.use, mesh.path, mesh.scale) == (
        "top",
        "visual",
        "meshes/top.stl",
        0.001,
    )
    assert mesh.pose[0, 3] == pytest.approx(100.0)
    for path, scale, reason in (
        ("package://robot/top.stl", "1 1 1", "not a path beside the file"),
        ("../top.stl", "1 1 1", "not a path beside the file"),
        ("top.dae", "1 1 1", "not STL, OBJ or PLY"),
        ("top.stl", "1 1 -1", "not one positive number"),
    ):
        with pytest.raises(MachineError, match=f"link 'top', visual mesh.*{reason}"):
            mesh_references(link.format(path, scale))


def test_tilt_axes_that_do_not_meet_are_no_pedestal() -> None:
    robot = ElementTree.fromstring(export_urdf(load_machine("linac_pedestal")))
    for joint in robot.iter("joint"):
        if joint.get("name") == "roll":
            joint.find("origin").set("xyz", "0 0 0.05")  # type: ignore[union-attr]
    with pytest.raises(MachineError, match=r"'roll'.*must meet"):
        import_urdf(ElementTree.tostring(robot, encoding="unicode"))


# --- hexapod split ---------------------------------------------------------------------------------------------------


def test_a_small_correction_is_the_platforms_alone() -> None:
    machine = load_machine("linac_hexapod")
    couch = machine.couch()
    plan = split_correction(machine, couch, PLAN, Correction(3.0, -4.0, 2.0, 1.0, -0.8, 0.6))
    assert [stage.mover for stage in plan.stages] == ["platform"]
    assert plan.target == pytest.approx(compose_correction(couch, PLAN, plan.correction))
    assert plan.stages[0].leg_margin_mm > 0.0


def test_a_large_correction_moves_the_base_first_and_ends_where_it_should() -> None:
    machine = load_machine("linac_hexapod")
    couch = machine.couch()
    now = compose_correction(couch, PLAN, Correction(5.0, 5.0, -5.0, 0.5, 1.0, -1.0))
    correction = Correction(45.0, -60.0, 20.0, 2.0, 1.0, 0.5)
    plan = split_correction(machine, couch, now, correction)
    base, platform = plan.stages
    assert (base.mover, platform.mover) == ("base", "platform")
    # The platform does not move while the base does, and the base does not while the platform does.
    carried = platform_pose(plan.couch_after, base.end)
    assert carried.deviation(platform_pose(couch, now)) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert base.base_axes == platform.base_axes == plan.couch_after.base_axes
    for stage in plan.stages:
        plan.couch_after.check_limits(stage.end)
        assert stage.leg_margin_mm > 0.0
    want = Pose.from_parameters(correction.values(), "fixed", "fixed") @ couch.forward(now)
    assert couch.forward(plan.target).deviation(want)[0] < 1e-6
    # The platform ends in its middle: only the tilts remain.
    remaining = Correction.of(platform_pose(plan.couch_after, plan.target).parameters())
    assert remaining.magnitude_mm < 1e-6


def test_a_split_plan_says_how_near_its_stages_come_to_a_singularity() -> None:
    machine = load_machine("linac_hexapod")
    couch = machine.couch()
    plan = split_correction(machine, couch, PLAN, Correction(45.0, -60.0, 20.0, 2.0, 1.0, 0.5))
    for stage in plan.stages:
        name, margin = stage.singularity
        assert name == "legs of the platform"
        assert margin > 0.05
        # A base carries its platform as it stands: one value; a platform's stage has its least somewhere on the way.
        ends = (stage.end,) if stage.mover == "base" else (stage.start, stage.end)
        able = min(plan.couch_after.manipulability(axes) for axes in ends)
        assert 0.5 * able < stage.manipulability <= able * (1.0 + 1e-12)
        assert stage.manipulability > 0.0
        at_end = min(plan.couch_after.leg_margins(stage.end))
        assert 0.0 < stage.leg_margin_mm <= at_end + 1e-9


def test_a_correction_beyond_base_and_platform_is_refused_for_both() -> None:
    machine = load_machine("linac_hexapod")
    with pytest.raises(
        LimitError, match=r"platform alone cannot.*together cannot: base lateral ends at 250 of 380"
    ):
        split_correction(machine, machine.couch(), PLAN, Correction(lateral_mm=400.0))
    with pytest.raises(LimitError, match=r"together cannot: platform pitch"):
        split_correction(machine, machine.couch(), PLAN, Correction(pitch_deg=5.0))
    with pytest.raises(ValueError, match="only a hexapod"):
        split_correction(load_machine("linac_pedestal"), machine.couch(), PLAN, Correction())


def test_at_the_end_of_the_bases_range_the_platform_takes_the_rest_and_the_whole_is_exact() -> None:
    machine = load_machine("linac_hexapod")
    couch = machine.couch().with_base_axes((215.0, -350.0, -122.5, 0.0))
    now = (240.0, -350.0, -122.5, 0.0, 0.0, 0.0)
    for correction in (
        Correction(lateral_mm=25.0),
        Correction(30.0, 12.0, -20.0, 0.8, 0.3, -0.4),
        Correction(pitch_deg=1.0, lateral_mm=28.0),
    ):
        plan = split_correction(machine, couch, now, correction)
        base, platform = plan.stages
        assert base.base_axes[0] == 250.0
        want = Pose.from_parameters(correction.values(), "fixed", "fixed") @ couch.forward(now)
        off_mm, off_deg = couch.forward(plan.target).deviation(want)
        assert off_mm < 1e-6
        assert off_deg < 1e-7
        six = Correction.of(platform_pose(plan.couch_after, plan.target).parameters())
        assert 0.0 < six.lateral_mm < machine.description.chain.platform_travel_mm  # type: ignore[union-attr]
        assert min(base.leg_margin_mm, platform.leg_margin_mm) > 0.0


def test_leg_lengths_do_not_lead_to_the_mirrored_platform_from_a_stale_seed() -> None:
    couch = load_machine("linac_hexapod").couch()
    neutral = (*couch.base_axes, 0.0, 0.0)
    legs, pose = couch.leg_lengths(neutral), couch.forward(neutral)
    refused = 0
    for low in range(300, 801, 20):
        seed = (*neutral[:2], neutral[2] - low, *neutral[3:])
        try:
            found = couch.forward_from_legs(legs, seed)
        except NotConvergedError:
            refused += 1
            continue
        assert found.deviation(pose)[0] < 1e-6
    assert refused > 15
    seed = (*neutral[:2], neutral[2] - 520.0, *neutral[3:])
    with pytest.raises(NotConvergedError, match="another assembly"):
        couch.forward_from_legs(legs, seed)


def test_the_leg_jacobian_is_the_change_of_the_legs_per_axis() -> None:
    couch = load_machine("linac_hexapod").couch()
    axes = np.add((*couch.base_axes, 0.0, 0.0), (5.0, -8.0, 11.0, 1.0, -2.0, 1.5))
    said = couch.leg_jacobian(axes) @ couch.jacobian(axes)
    for column in range(6):
        step = np.zeros(6)
        step[column] = 1e-4
        ahead, behind = couch.leg_lengths(axes + step), couch.leg_lengths(axes - step)
        assert said[:, column] == pytest.approx(
            (np.array(ahead) - np.array(behind)) / 2e-4, abs=1e-6
        )
    with pytest.raises(CoreError, match="no legs"):
        load_machine("robot_arm").couch().leg_jacobian((0.0,) * 6)


def test_a_platform_turned_to_the_singularity_of_its_legs_is_singular_and_manipulability_ends() -> (
    None
):
    machine = load_machine("linac_hexapod")
    chain = machine.description.chain
    couch = Couch.hexapod(
        [(-300, 300)] * 3 + [(-120, 120), (-20, 20), (-20, 20)],
        base_joints_mm=[(x, y + 200.0, z) for x, y, z in chain.base_joints_mm],  # type: ignore[union-attr]
        platform_joints_mm=[(x, y + 200.0, z) for x, y, z in chain.platform_joints_mm],  # type: ignore[union-attr]
        leg_limits_mm=(100.0, 900.0),
    )
    able = [couch.manipulability((0, 0, 0, turn, 0, 0)) for turn in (0, 45, 80, 89, 90)]
    assert sorted(able, reverse=True) == able
    assert able[-1] < 1e-6 * able[0]
    for turn in (90.0, 95.0):
        with pytest.raises(SingularError, match="legs"):
            couch.check_limits((0, 0, 0, turn, 0, 0))
        with pytest.raises(SingularError, match="legs"):
            couch.inverse(couch.forward((0, 0, 0, turn, 0, 0)))


# --- window ----------------------------------------------------------------------------------------------------------


def test_the_window_of_corrections_ends_at_the_limits() -> None:
    couch = load_machine("linac_pedestal").couch()
    window = couch.correction_window(
        (-20.0, -350.0, 30.0, 0.0, 1.0, 0.0), reach_mm=40.0, reach_deg=10.0
    )
    assert window[0] == pytest.approx((-40.0, 40.0))
    assert window[2] == pytest.approx((-40.0, 20.0), abs=1e-6)
    low, high = window[4]
    assert (low, high) == pytest.approx((-4.0, 2.0), abs=1.0)
    assert compose_correction(couch, (-20, -350, 30, 0, 1, 0), Correction(pitch_deg=high * 0.999))
    with pytest.raises(LimitError):
        compose_correction(couch, (-20, -350, 30, 0, 1, 0), Correction(pitch_deg=high + 1e-3))


# --- calibration -----------------------------------------------------------------------------------------------------


def measured_by_a_tracker(
    truth: Couch, axes: np.ndarray, noise_mm: float, noise_deg: float
) -> list[Pose]:
    rng = np.random.default_rng(11)
    sizes = [noise_mm] * 3 + [noise_deg] * 3
    return [
        truth.forward(row)
        @ Pose.from_parameters(rng.normal(size=6) * sizes, "table_top", "table_top")
        for row in axes
    ]


TRUE_CORRECTIONS = {
    "base.x_mm": 0.8,
    "base.y_mm": -0.5,
    "base.pitch_deg": 0.06,
    "base.roll_deg": -0.04,
    "tool.z_mm": 0.3,
    "zero.pitch_deg": 0.05,
    "gain.longitudinal": 0.0008,
}


def displaced(couch: Couch) -> Couch:
    base = couch.base @ Pose.from_parameters((0.8, -0.5, 0, 0, 0.06, -0.04), "base", "base")
    tool = couch.tool @ Pose.from_parameters((0, 0, 0.3, 0, 0, 0), "table_top", "table_top")
    return couch.with_mounts(base, tool).with_axis_map(
        (1, 1.0008, 1, 1, 1, 1), (0, 0, 0, 0, 0.05, 0)
    )


def test_calibration_recovers_what_was_wrong_with_the_couch() -> None:
    couch = load_machine("linac_pedestal").couch()
    axes = within(couch, 60, 4)
    result = calibrate(
        couch, axes, measured_by_a_tracker(displaced(couch), axes, 0.0, 0.0), list(TRUE_CORRECTIONS)
    )
    assert dict(zip(result.names, result.values, strict=True)) == pytest.approx(
        TRUE_CORRECTIONS, abs=1e-6
    )
    assert result.before_rms_mm > 0.5
    assert result.rms_mm < 1e-7
    checks = within(couch, 20, 5)
    assert np.allclose(
        result.couch.forward_many(checks), displaced(couch).forward_many(checks), atol=1e-5
    )


def test_calibration_states_its_uncertainty_honestly() -> None:
    couch = load_machine("linac_pedestal").couch()
    axes = within(couch, 80, 6)
    measured = measured_by_a_tracker(displaced(couch), axes, 0.05, 0.01)
    result = calibrate(couch, axes, measured, list(TRUE_CORRECTIONS))
    errors = result.values - np.array(list(TRUE_CORRECTIONS.values()))
    ratio = errors / result.standard_deviations
    assert np.abs(ratio).max() < 4.0
    # Neither far too wide: the tracker's own noise over the root of the count, within an order.
    assert result.standard_deviations[0] < 0.05
    assert result.rms_mm == pytest.approx(0.05 * math.sqrt(3), rel=0.2)


@pytest.mark.parametrize("noise_deg", [0.002, 0.01])
def test_over_a_hundred_draws_the_covariance_is_neither_too_narrow_nor_too_wide(
    noise_deg: float,
) -> None:
    couch = load_machine("linac_pedestal").couch()
    axes = within(couch, 30, 6)
    exact = [displaced(couch).forward(row) for row in axes]
    true = np.array(list(TRUE_CORRECTIONS.values()))
    sizes = [0.05] * 3 + [noise_deg] * 3
    rng = np.random.default_rng(61)
    chi = []
    for _ in range(100):
        measured = [
            pose @ Pose.from_parameters(rng.normal(size=6) * sizes, "table_top", "table_top")
            for pose in exact
        ]
        result = calibrate(couch, axes, measured, list(TRUE_CORRECTIONS))
        error = result.values - true
        chi.append(error @ np.linalg.solve(result.covariance, error) / len(true))
    assert 0.8 < np.mean(chi) < 1.2


def test_parameters_that_cannot_be_told_apart_are_refused_by_name() -> None:
    couch = load_machine("linac_pedestal").couch()
    axes = within(couch, 40, 7)
    measured = measured_by_a_tracker(couch, axes, 0.01, 0.01)
    with pytest.raises(CalibrationError, match=r"cannot tell apart .*zero\.vertical_mm"):
        calibrate(couch, axes, measured, ["base.z_mm", "zero.vertical_mm"])
    with pytest.raises(CalibrationError, match="too few"):
        calibrate(couch, axes[:1], measured[:1], parameter_names(couch)[:6])
    with pytest.raises(CalibrationError, match=r"each once, out of"):
        calibrate(couch, axes, measured, ["base.yaw_deg"])
    assert "gain.vertical" in parameter_names(couch)


@pytest.mark.parametrize("name", ["robot_arm", "robot_scara"])
def test_link_lengths_are_recovered_and_what_cannot_be_seen_is_listed(name: str) -> None:
    couch = load_machine(name).couch()
    truth = couch.with_dimensions(
        [value + 0.3 * (-1) ** i for i, (_, value) in enumerate(couch.dimensions)]
    )
    axes = within(couch, 60, 9)
    measured = measured_by_a_tracker(truth, axes, 0.0, 0.0)
    names = [f"dim.{name}" for name, _ in couch.dimensions]
    result = calibrate(couch, axes, measured, names)
    assert result.unseen == ()
    want = [0.3 * (-1) ** i for i in range(len(names))]
    assert result.values == pytest.approx(want, abs=1e-6)
    # The height of the foot and of the first link are one and the same: held between them, and said.
    upright = "dim.c1_mm" if name == "robot_arm" else "dim.wrist_z_mm"
    both = [*names, "base.z_mm"]
    with pytest.raises(CalibrationError, match="cannot tell apart"):
        calibrate(couch, axes, measured, both)
    held = calibrate(couch, axes, measured, both, unseen="hold")
    assert {upright, "base.z_mm"} <= set(held.unseen[0])
    assert held.rms_mm < 1e-6
    checks = within(couch, 20, 10)
    assert np.allclose(held.couch.forward_many(checks), truth.forward_many(checks), atol=1e-5)


def test_hexapod_joint_centres_are_corrected_as_far_as_the_travel_shows_them() -> None:
    couch = load_machine("linac_hexapod").couch()
    rng = np.random.default_rng(21)
    sizes = [value for _, value in couch.dimensions]
    truth = couch.with_dimensions([value + rng.uniform(-0.5, 0.5) for value in sizes])
    offsets = rng.uniform(-0.3, 0.3, 6)
    centre, reach = np.array((*couch.base_axes, 0.0, 0.0)), np.array([30.0] * 3 + [3.0] * 3)
    axes = centre + rng.uniform(-1.0, 1.0, (120, 6)) * reach
    true_legs = np.array([truth.leg_lengths(row) for row in axes])
    sizes_of_noise = [0.002] * 3 + [0.0003] * 3
    measured = [
        truth.forward_from_legs(row)
        @ Pose.from_parameters(rng.normal(size=6) * sizes_of_noise, "table_top", "table_top")
        for row in true_legs
    ]
    result = calibrate_legs(couch, true_legs - offsets, measured)
    assert result.before_rms_mm > 0.3
    assert result.rms_mm < 0.004
    # Prediction at poses that were not measured is what a calibration is for.
    fresh = centre + rng.uniform(-0.9, 0.9, (50, 6)) * reach
    given = dict(zip(result.names, result.values, strict=True))
    found = np.array([given[f"leg.{n}_mm"] for n in range(1, 7)])
    for row in fresh:
        legs = np.array(truth.leg_lengths(row))
        got = result.couch.forward_from_legs(legs - offsets + found)
        off_mm, off_deg = got.deviation(truth.forward_from_legs(legs))
        assert off_mm < 0.01
        assert off_deg < 0.002
    assert np.isfinite(result.covariance).all()


def test_a_leg_parameter_that_two_poses_cannot_show_is_held_and_listed() -> None:
    couch = load_machine("linac_hexapod").couch()
    centre = np.array((*couch.base_axes, 0.0, 0.0))
    axes = [centre + shift for shift in ([0.0] * 6, [1.0, 0, 0, 0, 0, 0], [0, 2.0, 0, 0, 0, 0])]
    legs = np.array([couch.leg_lengths(row) for row in axes])
    names = [f"leg.{n}_mm" for n in range(1, 7)] + [f"dim.base_1_{a}_mm" for a in "xyz"]
    measured = [couch.forward(row) for row in axes]
    result = calibrate_legs(couch, legs, measured, names)
    assert result.unseen
    assert set(result.unseen[-1]) <= set(names)
    assert np.abs(result.values).max() < 1e-6
    with pytest.raises(CalibrationError, match="no legs to calibrate"):
        calibrate_legs(load_machine("robot_arm").couch(), legs, measured)


def test_sag_fitted_to_the_simulators_truth_predicts_what_it_was_not_shown() -> None:
    firmware = pytest.importorskip(
        "igrt_firmware_sim._firmware", reason="the simulator is not installed"
    )
    low = load_machine("linac_pedestal").axis("longitudinal").range[0]

    def droop(longitudinal: float, load_kg: float) -> float:
        room = firmware.Room(
            seed=5, axes=(0, longitudinal, -100, 0, 0, 0), load_kg=load_kg, phantom="cube",
            renders=False,
        )  # fmt: skip
        return -float(room.truth()["sag_mm"])

    places, loads = (-900.0, -600.0, -300.0, 0.0, 300.0), (40.0, 80.0, 120.0)
    rows = [(load, place - low, droop(place, load)) for place in places for load in loads]
    model = fit_sag(*np.array(rows).T, column=True)
    assert model.rms_mm < 0.02
    couch = load_machine("linac_pedestal").couch()
    top = LoadedTop(couch, model, 75.0, 0.0, low)
    for place in (-750.0, -350.0, 150.0):
        axes = (0.0, place, -100.0, 0.0, 0.0, 0.0)
        sunk = couch.forward(axes).translation_mm[2] - top.forward(axes).translation_mm[2]
        assert sunk == pytest.approx(droop(place, 75.0), abs=0.02)
    # A move of 200 mm along the couch changes the sag, and a verification image will show just that.
    imaged, arrived = (0.0, -600.0, -100.0, 0, 0, 0), (0.0, -400.0, -100.0, 0, 0, 0)
    residual = top.predicted_residual(imaged, arrived)
    want = droop(-400.0, 75.0) - droop(-600.0, 75.0)
    at_load = Pose.from_parameters(residual.values(), "fixed", "fixed").apply((0.0, -400.0, -100.0))
    assert at_load[2] + 100.0 == pytest.approx(want, abs=0.02)
    with pytest.raises(CalibrationError, match="make sense"):
        top.forward((0.0, low - 50.0, -100.0, 0, 0, 0))
    with pytest.raises(CalibrationError, match="no longitudinal axis"):
        LoadedTop(load_machine("robot_arm").couch(), model, 75.0, 0.0, low)


def test_sag_is_fitted_from_droop_and_told_back() -> None:
    root, bending = 2.0e-9, 3.0e-13
    loads, extensions = (
        grid.ravel() for grid in np.meshgrid([40.0, 80.0, 120.0], [600.0, 1000.0, 1400.0])
    )
    weight = loads * 9.80665
    droop = weight * (root * extensions**2 + bending * extensions**3 / 3)
    noisy = droop + np.random.default_rng(3).normal(size=droop.shape) * 0.01
    model = fit_sag(loads, extensions, noisy)
    sigma = np.sqrt(np.diag(model.covariance))
    assert abs(model.root_per_n_mm - root) < 4 * sigma[0]
    assert abs(model.bending_per_n_mm2 - bending) < 4 * sigma[1]
    assert model.rms_mm < 0.02
    assert model.droop_mm(80.0, 1000.0) == pytest.approx(float(droop[4]), abs=0.02)
    sagged = model.sagged(80.0, 1000.0, load_y_mm=350.0)
    assert sagged.apply((0.0, 350.0, 0.0))[2] == pytest.approx(
        -model.droop_mm(80.0, 1000.0), abs=1e-9
    )
    assert sagged.apply((0.0, 900.0, 0.0))[2] < sagged.apply((0.0, 350.0, 0.0))[2]
    with pytest.raises(CalibrationError, match="one extension"):
        fit_sag([40.0, 80.0, 120.0], [1000.0] * 3, [1.0, 2.0, 3.0])
    with pytest.raises(CalibrationError, match="make sense"):
        model.droop_mm(-5.0, 100.0)
