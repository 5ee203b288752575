"""Machines as URDF, so that other tools can check our kinematics, and couches from URDF, so that a user can bring one.

URDF is in metres and radians; everything here is in millimetres and degrees. A chain is exported joint by joint from
the world (the isocentre) to the table top, with the axis ranges and speeds; joint names are the axis names. The outward
six axes of a hexapod are exported as a serial chain: URDF has no closed loops, so its legs are not in the file.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import Couch, Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.catalogue import Machine, MachineError
from igrt_hw.machine.description import (
    ArmChain,
    HexapodChain,
    LinearAxis,
    Mount,
    PedestalChain,
    ScaraChain,
)

Matrix = NDArray[np.float64]

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Joint:
    """A joint with the fixed transform before it (parent link to joint frame), mm."""

    name: str
    before: Matrix
    axis: tuple[float, float, float]


def export_urdf(machine: Machine) -> str:
    """URDF text of a machine's couch: links `world`, one per axis, `table_top`; joints named like the axes."""
    description = machine.description
    robot = ElementTree.Element("robot", name=description.name)
    robot.append(
        ElementTree.Comment(
            " kinematics of the couch only; origin at the isocentre, IEC 61217 fixed axes "
        )
    )
    ElementTree.SubElement(robot, "link", name="world")
    joints, last = _joints_of(machine)
    parent = "world"
    axes = {axis.name: axis for axis in description.axis}
    for joint in joints:
        axis = axes[joint.name]
        linear = isinstance(axis, LinearAxis)
        child = f"{joint.name}_link"
        ElementTree.SubElement(robot, "link", name=child)
        element = ElementTree.SubElement(
            robot, "joint", name=joint.name, type="prismatic" if linear else "revolute"
        )
        _place(element, parent, child, joint.before)
        ElementTree.SubElement(element, "axis", xyz=_text(joint.axis))
        scale = 0.001 if linear else math.pi / 180.0
        lower, upper = axis.range
        limit = {"lower": lower, "upper": upper, "velocity": axis.drive[0]}
        ElementTree.SubElement(
            element, "limit", {key: repr(value * scale) for key, value in limit.items()}, effort="0"
        )
        parent = child
    ElementTree.SubElement(robot, "link", name="table_top")
    tail = ElementTree.SubElement(robot, "joint", name="table_top_mount", type="fixed")
    _place(tail, parent, "table_top", last)
    ElementTree.indent(robot)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(robot, encoding="unicode") + "\n"


def _place(element: ElementTree.Element, parent: str, child: str, before: Matrix) -> None:
    ElementTree.SubElement(element, "parent", link=parent)
    ElementTree.SubElement(element, "child", link=child)
    ElementTree.SubElement(
        element, "origin", xyz=_text(before[:3, 3] / 1000.0), rpy=_text(_rpy(before[:3, :3]))
    )


def _joints_of(machine: Machine) -> tuple[list[_Joint], Matrix]:
    """The joints in their order from the world, and the fixed transform after the last one."""
    chain = machine.description.chain
    if isinstance(chain, PedestalChain | HexapodChain):
        offset, angle = (
            (chain.eccentric_mm, chain.eccentric_deg)
            if isinstance(chain, PedestalChain)
            else (0.0, 0.0)
        )
        eccentric = _shift(0.0, offset, 0.0) @ _turn(_Z, angle)
        return [
            _Joint("rotation", np.eye(4), _Z),
            _Joint("lateral", eccentric, _X),
            _Joint("longitudinal", np.eye(4), _Y),
            _Joint("vertical", np.eye(4), _Z),
            _Joint("pitch", np.eye(4), _X),
            _Joint("roll", np.eye(4), _Y),
        ], np.eye(4)
    base, tool = _mount(chain.base), _mount(chain.tool)
    if isinstance(chain, ArmChain):
        return _arm_joints(chain, base), _shift(0.0, 0.0, chain.lengths_mm[3]) @ tool
    return _scara_joints(chain, base), tool


def _arm_joints(chain: ArmChain, base: Matrix) -> list[_Joint]:
    a1, a2, b = chain.offsets_mm
    c1, c2, c3, _ = chain.lengths_mm
    before = (
        base,
        _shift(a1, b, c1),
        _shift(0.0, 0.0, c2),
        _shift(a2, 0.0, c3),
        np.eye(4),
        np.eye(4),
    )
    about = (_Z, _Y, _Y, _Z, _Y, _Z)
    joints = []
    for index, (fixed, axis) in enumerate(zip(before, about, strict=True)):
        sign, zero = chain.signs[index], chain.zeros_deg[index]
        turned = (sign * axis[0], sign * axis[1], sign * axis[2])
        joints.append(_Joint(f"joint_{index + 1}", fixed @ _turn(axis, zero), turned))
    return joints


def _scara_joints(chain: ScaraChain, base: Matrix) -> list[_Joint]:
    return [
        _Joint("vertical", base, _Z),
        _Joint("shoulder", np.eye(4), _Z),
        _Joint("elbow", _shift(chain.upper_mm, 0.0, 0.0), _Z),
        _Joint("wrist", _shift(chain.fore_mm, 0.0, 0.0), _Z),
        _Joint("pitch", _shift(*chain.wrist_mm), _X),
        _Joint("roll", np.eye(4), _Y),
    ]


def _mount(mount: Mount) -> Matrix:
    return Pose.from_parameters(mount.parameters, Frame.FIXED, Frame.BASE).matrix()


def _shift(x: float, y: float, z: float) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, 3] = (x, y, z)
    return matrix


def _turn(axis: tuple[float, float, float], angle_deg: float) -> Matrix:
    """Rotation about a unit axis through the origin (Rodrigues), homogeneous."""
    x, y, z = axis
    angle = math.radians(angle_deg)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix = np.eye(4)
    matrix[:3, :3] += math.sin(angle) * cross + (1.0 - math.cos(angle)) * cross @ cross
    return matrix


def _rpy(rotation: Matrix) -> tuple[float, float, float]:
    """URDF roll, pitch, yaw in radians: R = Rz(yaw) . Ry(pitch) . Rx(roll)."""
    across = math.hypot(rotation[0, 0], rotation[1, 0])
    pitch = math.atan2(-rotation[2, 0], across)
    if across < 1e-9:
        # Roll and yaw turn about the same axis; all of it goes into yaw.
        return (0.0, pitch, math.atan2(-rotation[0, 1], rotation[1, 1]))
    return (
        math.atan2(rotation[2, 1], rotation[2, 2]),
        pitch,
        math.atan2(rotation[1, 0], rotation[0, 0]),
    )


def _text(values: Sequence[float] | NDArray[np.float64]) -> str:
    return " ".join(repr(float(value) + 0.0) for value in values)


# --- import ----------------------------------------------------------------------------------------------------------


def import_urdf(text: str, *, origin: str = "URDF") -> Couch:
    """A couch from URDF text: the only chain with six moving joints, its root at the isocentre.

    Understood are chains of the pedestal family (rotation about z, then slides along x, y, z, then turns about x and
    y), wherever the root stands and whatever fixed joints lie between, as long as the three slides and two tilts share
    one set of axes. Joints keep their own names only in the file; the couch uses the names of its family.

    Returns:
        The couch; it reproduces the file's forward kinematics to 1e-6 mm and 1e-9 rad at 200 positions, which is
        checked here.

    Raises:
        MachineError: not XML, a chain that branches or is not of this family, missing limits, or mimic joints. Robot
            arms are not imported: describe them in a machine file.
    """
    joints, tail = _read_chain(text, origin)
    kinds = "".join("P" if joint.linear else "R" for joint in joints)
    if kinds != "RPPPRR":
        raise MachineError(
            f"{origin}: joints {kinds} (R turns, P slides) are no pedestal couch, RPPPRR; "
            "describe other couches in a machine file (TOML)"
        )
    couch = _pedestal_from(joints, tail, origin)
    _check_reproduces(couch, joints, tail, origin)
    return couch


@dataclass(frozen=True, slots=True)
class _Read:
    name: str
    before: Matrix
    axis: NDArray[np.float64]
    linear: bool
    lower: float
    upper: float


def _read_chain(text: str, origin: str) -> tuple[list[_Read], Matrix]:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise MachineError(f"{origin}: document types and entities are refused")
    try:
        robot = ElementTree.fromstring(text)  # entities are refused above
    except ElementTree.ParseError as error:
        raise MachineError(f"{origin}: not XML: {error}") from error
    by_parent: dict[str, list[ElementTree.Element]] = {}
    children = set()
    for joint in robot.iter("joint"):
        parent, child = (
            _attribute(joint, "parent", "link", origin),
            _attribute(joint, "child", "link", origin),
        )
        by_parent.setdefault(parent, []).append(joint)
        children.add(child)
    roots = [
        link.get("name", "") for link in robot.iter("link") if link.get("name", "") not in children
    ]
    if len(roots) != 1:
        raise MachineError(f"{origin}: a couch has one root link, found {roots}")
    return _follow(by_parent, roots[0], origin)


def _follow(
    by_parent: dict[str, list[ElementTree.Element]], root: str, origin: str
) -> tuple[list[_Read], Matrix]:
    joints: list[_Read] = []
    fixed = np.eye(4)
    link, steps = root, 0
    while link in by_parent:
        steps += 1
        if len(by_parent[link]) != 1 or steps > 64:
            raise MachineError(
                f"{origin}: the chain branches or loops at link {link!r}; a couch is one open chain"
            )
        joint = by_parent[link][0]
        name, kind = joint.get("name", ""), joint.get("type", "")
        if joint.find("mimic") is not None:
            raise MachineError(f"{origin}, joint {name!r}: mimic joints are not understood")
        fixed = fixed @ _origin_of(joint, origin)
        if kind in ("prismatic", "revolute", "continuous"):
            joints.append(_moving(joint, name, kind, fixed, origin))
            fixed = np.eye(4)
        elif kind != "fixed":
            raise MachineError(f"{origin}, joint {name!r}: type {kind!r} is not understood")
        link = _attribute(joint, "child", "link", origin)
    if len(joints) != 6:
        raise MachineError(
            f"{origin}: a couch has six moving joints, found {[joint.name for joint in joints]}"
        )
    return joints, fixed


def _moving(joint: ElementTree.Element, name: str, kind: str, before: Matrix, origin: str) -> _Read:
    axis_element = joint.find("axis")
    axis = _numbers(
        axis_element.get("xyz", "") if axis_element is not None else "1 0 0", 3, name, origin
    )
    length = float(np.linalg.norm(axis))
    if not length > 0.0:
        raise MachineError(f"{origin}, joint {name!r}: axis {axis} has no direction")
    linear = kind == "prismatic"
    scale = 1000.0 if linear else 180.0 / math.pi
    if kind == "continuous":
        return _Read(name, before, axis / length, linear, -180.0, 180.0)
    limit = joint.find("limit")
    if limit is None or limit.get("lower") is None or limit.get("upper") is None:
        raise MachineError(
            f"{origin}, joint {name!r}: no limit with lower and upper; limits are never guessed"
        )
    lower, upper = (
        _numbers(limit.get(key, ""), 1, name, origin)[0] * scale for key in ("lower", "upper")
    )
    return _Read(name, before, axis / length, linear, lower, upper)


def _origin_of(joint: ElementTree.Element, origin: str) -> Matrix:
    element = joint.find("origin")
    if element is None:
        return np.eye(4)
    name = joint.get("name", "")
    x, y, z = _numbers(element.get("xyz", "0 0 0"), 3, name, origin) * 1000.0
    roll, pitch, yaw = np.degrees(_numbers(element.get("rpy", "0 0 0"), 3, name, origin))
    return _shift(x, y, z) @ _turn(_Z, yaw) @ _turn(_Y, pitch) @ _turn(_X, roll)


def _attribute(joint: ElementTree.Element, tag: str, key: str, origin: str) -> str:
    element = joint.find(tag)
    value = element.get(key) if element is not None else None
    if not value:
        raise MachineError(f"{origin}, joint {joint.get('name', '')!r}: no <{tag} {key}=...>")
    return value


def _numbers(text: str, count: int, name: str, origin: str) -> NDArray[np.float64]:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.array([])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise MachineError(f"{origin}, joint {name!r}: {text!r} is not {count} finite numbers")
    return values


def _pedestal_from(joints: list[_Read], tail: Matrix, origin: str) -> Couch:
    """Base where the rotation axis stands with the table's axes at zero; the rest must follow IEC 61217."""
    frames = list(_frames_at_zero(joints))
    axes = [frame[:3, :3] @ joint.axis for frame, joint in zip(frames, joints, strict=True)]
    up, (across, along, lift) = axes[0], _slides(axes[1:4], origin)
    order = [
        int(np.argmax([abs(axis @ want) for axis in axes[1:4]])) for want in (across, along, lift)
    ]
    rotation = np.column_stack((across, along, lift))
    checks = (
        (axes[4], across, "the first tilt turns about the lateral axis (pitch)"),
        (axes[5], along, "the second tilt turns about the longitudinal axis (roll)"),
        (up, lift, "the couch rotation turns about the vertical axis"),
    )
    for got, want, rule in checks:
        if float(got @ want) < 1.0 - 1e-9:
            raise MachineError(
                f"{origin}: {rule}, in the positive sense; this file has {got} for {want}"
            )
    if order != [0, 1, 2]:
        raise MachineError(f"{origin}: slides come in the order lateral, longitudinal, vertical")
    base = np.eye(4)
    base[:3, :3], base[:3, 3] = rotation, frames[0][:3, 3]
    # At zero: fixed <- table top = base . T(0, Ey, 0) . T(table-top origin) . tool.
    pivot = np.linalg.inv(base) @ frames[5]
    end = frames[5] @ tail
    shift = _shift(*pivot[:3, 3])
    tool = np.linalg.inv(base @ shift) @ end
    limits = [
        (joint.lower, joint.upper) for joint in (*joints[1:4], joints[0], joints[4], joints[5])
    ]
    zeros = (*pivot[:3, 3], 0.0, 0.0, 0.0)
    return Couch.pedestal(
        limits,
        base=Pose.from_matrix(base, Frame.FIXED, Frame.BASE),
        tool=Pose.from_matrix(tool, Frame.FLANGE, Frame.TABLE_TOP),
    ).with_axis_map((1.0,) * 6, zeros)


def _slides(
    directions: Sequence[NDArray[np.float64]], origin: str
) -> tuple[NDArray[np.float64], ...]:
    table = np.array(directions)
    if not np.allclose(table @ table.T, np.eye(3), atol=1e-9) or np.linalg.det(table) < 0.0:
        raise MachineError(
            f"{origin}: the three slides are not perpendicular and right-handed: {table.tolist()}"
        )
    return tuple(table)


def _frames_at_zero(joints: Sequence[_Read]) -> Iterator[Matrix]:
    frame = np.eye(4)
    for joint in joints:
        frame = frame @ joint.before
        yield frame


def _forward(joints: Sequence[_Read], tail: Matrix, positions: Sequence[float]) -> Matrix:
    frame = np.eye(4)
    for joint, value in zip(joints, positions, strict=True):
        x, y, z = (float(a) for a in joint.axis)
        motion = (
            _shift(x * value, y * value, z * value) if joint.linear else _turn((x, y, z), value)
        )
        frame = frame @ joint.before @ motion
    return frame @ tail


def _check_reproduces(couch: Couch, joints: Sequence[_Read], tail: Matrix, origin: str) -> None:
    draws = np.random.default_rng(61217).random((200, 6))
    for draw in draws:
        chain = [
            joint.lower + (joint.upper - joint.lower) * f
            for joint, f in zip(joints, draw, strict=True)
        ]
        rotation, lateral, longitudinal, vertical, pitch, roll = chain
        got = couch.forward((lateral, longitudinal, vertical, rotation, pitch, roll))
        want = Pose.from_matrix(_forward(joints, tail, chain), Frame.FIXED, Frame.TABLE_TOP)
        off_mm, off_deg = got.deviation(want)
        if off_mm > 1e-6 or math.radians(off_deg) > 1e-9:
            raise MachineError(
                f"{origin}: not a pedestal couch: its model is off by {off_mm:.3g} mm and {off_deg:.3g} deg "
                f"at {chain}; "
                "tilt axes must meet in the table-top origin"
            )
