"""Machines as URDF, so that other tools can check our kinematics, and couches from URDF, so that a user can bring one.

URDF is in metres and radians; everything here is in millimetres and degrees. A chain is exported joint by joint from
the world (the isocentre) to the table top, with the axis ranges and speeds; joint names are the axis names. The outward
six axes of a hexapod are exported as a serial chain, its legs in an `<igrt_hexapod>` element: URDF has no closed loops.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CoreError, Couch, Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.catalogue import Machine, MachineError
from igrt_hw.machine.description import (
    ArmChain,
    Chain,
    HexapodChain,
    LinearAxis,
    PedestalChain,
    ScaraChain,
)
from igrt_hw.machine.urdf_families import ReadJoint, couch_of

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
    if isinstance(description.chain, HexapodChain):
        robot.append(_legs_of(description.chain))
    ElementTree.indent(robot)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(robot, encoding="unicode") + "\n"


def _legs_of(chain: HexapodChain) -> ElementTree.Element:
    """What URDF cannot say, in an element that its readers pass over: metres and radians like the rest of the file."""
    x, y, z, rotation = chain.base_start
    element = ElementTree.Element(
        "igrt_hexapod",
        leg_limits=_text((chain.leg_lower_mm / 1000.0, chain.leg_upper_mm / 1000.0)),
        base_start=_text((x / 1000.0, y / 1000.0, z / 1000.0, math.radians(rotation))),
    )
    for base, platform in zip(chain.base_joints_mm, chain.platform_joints_mm, strict=True):
        ElementTree.SubElement(
            element,
            "leg",
            base=_text(np.array(base) / 1000.0),
            platform=_text(np.array(platform) / 1000.0),
        )
    return element


def _place(element: ElementTree.Element, parent: str, child: str, before: Matrix) -> None:
    ElementTree.SubElement(element, "parent", link=parent)
    ElementTree.SubElement(element, "child", link=child)
    ElementTree.SubElement(
        element,
        "origin",
        xyz=_text(before[:3, 3] / 1000.0),
        rpy=_text(roll_pitch_yaw(before[:3, :3])),
    )


def _joints_of(machine: Machine) -> tuple[list[_Joint], Matrix]:
    """The joints in their order from the world, and the fixed transform after the last one.

    Mounts, signs and zeros come from the couch as it is driven, whatever table of the file says them.
    """
    couch = machine.couch()
    joints, last = _plain_joints(machine.description.chain)
    gains, zeros = (dict(zip(couch.axis_names, part, strict=True)) for part in couch.axis_map)
    kinds = dict(zip(couch.axis_names, couch.axis_kinds, strict=True))
    mapped = []
    for joint in joints:
        gain, zero = gains[joint.name], zeros[joint.name]
        if abs(gain) != 1.0:
            raise MachineError(
                f"{machine.origin}: axis {joint.name!r} has a gain of {gain}; URDF cannot scale an axis"
            )
        x, y, z = joint.axis
        still = (
            _shift(x * zero, y * zero, z * zero)
            if kinds[joint.name] == "linear"
            else _turn(joint.axis, zero)
        )
        mapped.append(_Joint(joint.name, joint.before @ still, (gain * x, gain * y, gain * z)))
    first = mapped[0]
    mapped[0] = _Joint(first.name, couch.base.matrix() @ first.before, first.axis)
    return mapped, last @ couch.tool.matrix()


def _plain_joints(chain: Chain) -> tuple[list[_Joint], Matrix]:
    """The chain from its foot to its flange, joints as the model counts them."""
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
    if isinstance(chain, ArmChain):
        return _arm_joints(chain), _shift(0.0, 0.0, chain.lengths_mm[3])
    return _scara_joints(chain), np.eye(4)


def _arm_joints(chain: ArmChain) -> list[_Joint]:
    a1, a2, b = chain.offsets_mm
    c1, c2, c3, _ = chain.lengths_mm
    before = (
        np.eye(4),
        _shift(a1, b, c1),
        _shift(0.0, 0.0, c2),
        _shift(a2, 0.0, c3),
        np.eye(4),
        np.eye(4),
    )
    about = (_Z, _Y, _Y, _Z, _Y, _Z)
    return [
        _Joint(f"joint_{index + 1}", fixed, axis)
        for index, (fixed, axis) in enumerate(zip(before, about, strict=True))
    ]


def _scara_joints(chain: ScaraChain) -> list[_Joint]:
    return [
        _Joint("vertical", np.eye(4), _Z),
        _Joint("shoulder", np.eye(4), _Z),
        _Joint("elbow", _shift(chain.upper_mm, 0.0, 0.0), _Z),
        _Joint("wrist", _shift(chain.fore_mm, 0.0, 0.0), _Z),
        _Joint("pitch", _shift(*chain.wrist_mm), _X),
        _Joint("roll", np.eye(4), _Y),
    ]


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


def roll_pitch_yaw(rotation: Matrix) -> tuple[float, float, float]:
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

    Families by the kinds of their joints from the root (R turns, P slides): RPPPRR pedestal, RRRRRR arm, spherical
    wrist, PRRRRR SCARA-like. Frames of the links and fixed joints between are free; dimensions follow from the axes
    (`igrt_hw.machine.urdf_families`). A hexapod is its outward pedestal chain with its legs in an `<igrt_hexapod>`
    element, as `export_urdf` writes it: URDF itself has no closed loops. Joints keep their own names only in the file;
    the couch uses those of its family.

    Returns:
        The couch; it reproduces the file's forward kinematics to 1e-6 mm and 1e-9 rad at 200 positions, which is
        checked here.

    Raises:
        MachineError: not XML, a chain that branches, loops or is of no family, missing limits, or mimic joints; names
            the joint.
    """
    robot = _robot(text, origin)
    joints, tail = _read_chain(robot, origin)
    couch = couch_of(joints, tail, origin)
    legs = robot.findall("igrt_hexapod")
    if not legs:
        return couch
    if len(legs) > 1 or couch.family != "pedestal":
        raise MachineError(
            f"{origin}: one <igrt_hexapod> on a pedestal chain makes a hexapod; found {len(legs)} on {couch.family}"
        )
    return _hexapod_of(couch, legs[0], origin)


def _hexapod_of(chain: Couch, element: ElementTree.Element, origin: str) -> Couch:
    still = Pose.identity(Frame.FIXED, Frame.BASE), Pose.identity(Frame.FLANGE, Frame.TABLE_TOP)
    placed = any(
        max(mount.deviation(none)) > 1e-9
        for mount, none in zip((chain.base, chain.tool), still, strict=True)
    )
    if placed or max(abs(zero) for zero in chain.axis_map[1]) > 1e-9:
        raise MachineError(
            f"{origin}: a hexapod's chain is that of IEC 61217 without fixed transforms: root at the isocentre, "
            "pitch and roll in the table-top origin; put the offsets into the axis zeros or describe it in TOML"
        )
    legs = element.findall("leg")
    if len(legs) != 6:
        raise MachineError(f"{origin}, <igrt_hexapod>: six <leg> elements, found {len(legs)}")
    base, platform = (
        [_numbers(leg.get(key, ""), 3, f"leg {number + 1} {key}", origin) * 1000.0 for number, leg in enumerate(legs)]
        for key in ("base", "platform")
    )  # fmt: skip
    low, high = _numbers(element.get("leg_limits", ""), 2, "leg_limits", origin) * 1000.0
    start = _numbers(element.get("base_start", ""), 4, "base_start", origin)
    try:
        return Couch.hexapod(
            chain.limits,
            base_joints_mm=base,
            platform_joints_mm=platform,
            leg_limits_mm=(float(low), float(high)),
            base_axes=(*(start[:3] * 1000.0), math.degrees(start[3])),
        )
    except CoreError as error:
        raise MachineError(f"{origin}, <igrt_hexapod>: {error}") from error


def _robot(text: str, origin: str) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise MachineError(f"{origin}: document types and entities are refused")
    try:
        return ElementTree.fromstring(text)  # entities are refused above
    except ElementTree.ParseError as error:
        raise MachineError(f"{origin}: not XML: {error}") from error


@dataclass(frozen=True, slots=True)
class MeshReference:
    """A mesh that a URDF file names; nothing is read from it here.

    Attributes:
        link: the link it belongs to; `use` is `visual` or `collision`.
        path: as the file has it, relative to the file.
        scale: URDF lengths are metres, so a mesh in millimetres has 0.001.
        pose: link <- mesh, homogeneous, mm.
    """

    link: str
    use: str
    path: str
    scale: float
    pose: Matrix


def mesh_references(text: str, *, origin: str = "URDF") -> tuple[MeshReference, ...]:
    """Every mesh that the file names, visual and collision.

    Raises:
        MachineError: a mesh that cannot be used here, with the link and what to do: a `package://` or other URI, an
            absolute path, a format other than STL, OBJ and PLY, a scale that is not one positive number.
    """
    found = []
    for link in _robot(text, origin).iter("link"):
        for use in ("visual", "collision"):
            for element in link.findall(use):
                mesh = element.find("geometry/mesh")
                if mesh is not None:
                    found.append(_mesh_of(link.get("name", ""), use, element, mesh, origin))
    return tuple(found)


def _mesh_of(
    link: str, use: str, element: ElementTree.Element, mesh: ElementTree.Element, origin: str
) -> MeshReference:
    place = f"{origin}, link {link!r}, {use} mesh"
    path = mesh.get("filename", "")
    if "://" in path or path.startswith(("/", "~")) or ".." in path.split("/") or not path:
        raise MachineError(
            f"{place}: {path!r} is not a path beside the file; copy the mesh there and name it"
        )
    if not path.lower().endswith((".stl", ".obj", ".ply")):
        raise MachineError(f"{place}: {path!r} is not STL, OBJ or PLY; convert it")
    scale = _numbers(mesh.get("scale", "1 1 1"), 3, "scale", place)
    if not (scale[0] > 0.0 and (scale == scale[0]).all()):
        raise MachineError(
            f"{place}: scale {scale.tolist()} is not one positive number; apply it to the mesh"
        )
    return MeshReference(link, use, path, float(scale[0]), _origin_of(element, place))


def _read_chain(robot: ElementTree.Element, origin: str) -> tuple[list[ReadJoint], Matrix]:
    by_parent: dict[str, list[ElementTree.Element]] = {}
    children = set()
    for joint in robot.iter("joint"):
        parent, child = (
            _attribute(joint, "parent", "link", origin),
            _attribute(joint, "child", "link", origin),
        )
        by_parent.setdefault(parent, []).append(joint)
        if child in children:
            raise MachineError(
                f"{origin}, joint {joint.get('name', '')!r}: link {child!r} has two parents; URDF is a tree without "
                "loops. Legs of a hexapod go into <igrt_hexapod> (see docs/machines.md)"
            )
        children.add(child)
    roots = [
        link.get("name", "") for link in robot.iter("link") if link.get("name", "") not in children
    ]
    if len(roots) != 1:
        raise MachineError(f"{origin}: a couch has one root link, found {roots}")
    return _follow(by_parent, roots[0], origin)


def _follow(
    by_parent: dict[str, list[ElementTree.Element]], root: str, origin: str
) -> tuple[list[ReadJoint], Matrix]:
    joints: list[ReadJoint] = []
    fixed = np.eye(4)
    link, steps = root, 0
    while link in by_parent:
        steps += 1
        if len(by_parent[link]) != 1 or steps > 64:
            raise MachineError(
                f"{origin}: the chain branches or loops at link {link!r}; a couch is one open chain "
                "(legs of a hexapod go into <igrt_hexapod>)"
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


def _moving(
    joint: ElementTree.Element, name: str, kind: str, before: Matrix, origin: str
) -> ReadJoint:
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
        return ReadJoint(name, before, axis / length, linear, -180.0, 180.0)
    limit = joint.find("limit")
    if limit is None or limit.get("lower") is None or limit.get("upper") is None:
        raise MachineError(
            f"{origin}, joint {name!r}: no limit with lower and upper; limits are never guessed"
        )
    lower, upper = (
        _numbers(limit.get(key, ""), 1, name, origin)[0] * scale for key in ("lower", "upper")
    )
    return ReadJoint(name, before, axis / length, linear, lower, upper)


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
