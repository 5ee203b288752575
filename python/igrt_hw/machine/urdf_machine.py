"""A couch from URDF in a room of ours: the machine file that the product can load.

URDF says how a couch is built, how far its joints go and how fast. It says nothing of a gantry, of X-ray geometry, of
accelerations or of the caps of a correction. Those come from a machine that is there already, the `room`, and the file
says of each that they do.
"""

from __future__ import annotations

import math
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from igrt_hw._core import Couch
from igrt_hw.machine.catalogue import Machine, MachineError
from igrt_hw.machine.description import (
    Axis,
    CorrectionMove,
    HexapodChain,
    LinearAxis,
    MachineDescription,
    RotaryAxis,
)
from igrt_hw.machine.machine_toml import chain_of, machine_text
from igrt_hw.machine.part import PartDescription
from igrt_hw.machine.urdf import MeshReference, import_urdf, mesh_references, roll_pitch_yaw

_UNITS = {0.001: "mm", 0.01: "cm", 0.0254: "inch", 1.0: "m"}
_COUCH_FRAMES = ("turntable", "link_1", "link_2", "link_3", "link_4", "link_5", "link_6")
_CHECKS = 200


@dataclass(frozen=True, slots=True)
class ImportedMachine:
    """What an import gives.

    Attributes:
        text: the machine file.
        meshes: mesh files that must lie beside it: name in the file, and where they are now.
        remarks: what a reader must know: what was taken from the room, what was left out.
    """

    text: str
    meshes: tuple[tuple[str, Path], ...]
    remarks: tuple[str, ...]


def import_machine(file: Path, name: str, room: Machine) -> ImportedMachine:
    """The machine file of a couch in URDF, standing in the room of another machine.

    Args:
        file: the URDF file; meshes lie beside it.
        name: name of the new machine.
        room: a machine of the same family: gantry, imaging, caps, accelerations and fixed parts are its own.

    Raises:
        MachineError: as `import_urdf`; another family; a mesh that cannot be used; what was written does not give the
            poses of the URDF within 1e-6 mm and 1e-9 rad.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MachineError(f"{file}: cannot be read: {error}") from error
    couch = import_urdf(text, origin=file.name)
    model = room.description
    if couch.family != model.family:
        raise MachineError(
            f"{file.name} is a {couch.family} couch and {room.name} a {model.family} couch: accelerations and caps can "
            "be taken over from a machine of the same family only"
        )
    robot = ElementTree.fromstring(text)  # import_urdf has refused entities and what is not XML
    axes, silent = _axes(couch, _velocities(robot, couch), model.axis)
    parts, meshes, remarks = _parts(
        mesh_references(text, origin=file.name), robot, model, room, file
    )
    remarks = (*_remarks(couch, model, room, silent), *remarks)
    kept = {part.name for part in parts} | {"patient"}
    description = model.model_copy(
        update={
            "name": name,
            "title": f"{robot.get('name') or name} in the room of {model.title}",
            "sources": _sources(model, room.name, file.name, silent),
            "not_modelled": (*model.not_modelled, *remarks),
            "chain": chain_of(couch, model.chain),
            "axis": axes,
            "correction_move": _caps(model.correction_move, axes),
            "part": parts,
            "allowed_contact": tuple(c for c in model.allowed_contact if set(c.parts) <= kept),
        }
    )
    heading = (f"Written by igrt machine import from {file.name}; room of {room.name}.",)
    written = machine_text(description, heading)
    _check(written, couch, file.name)
    return ImportedMachine(written, meshes, remarks)


def _velocities(robot: ElementTree.Element, couch: Couch) -> list[float | None]:
    """Speed limits of the moving joints in the order of the couch's axes, mm/s or deg/s; None where there is none."""
    joints = {joint.find("parent").get("link"): joint for joint in robot.iter("joint")}  # type: ignore[union-attr]
    children = {joint.find("child").get("link") for joint in robot.iter("joint")}  # type: ignore[union-attr]
    link = next(name for link in robot.iter("link") if (name := link.get("name")) not in children)
    found: list[float | None] = []
    while link in joints:
        joint = joints[link]
        if joint.get("type") != "fixed":
            limit = joint.find("limit")
            said = float(limit.get("velocity", "0")) if limit is not None else 0.0
            scale = 1000.0 if joint.get("type") == "prismatic" else math.degrees(1.0)
            found.append(said * scale if said > 0.0 else None)
        link = joint.find("child").get("link")  # type: ignore[union-attr]
    if couch.family in ("pedestal", "hexapod"):
        rotation, lateral, longitudinal, vertical, *tilts = found
        return [lateral, longitudinal, vertical, rotation, *tilts]
    return found


def _axes(
    couch: Couch, speeds: Sequence[float | None], like: Sequence[Axis]
) -> tuple[tuple[Axis, ...], list[str]]:
    """Axis tables, and the names of those whose speed the file does not say."""
    axes: list[Axis] = []
    silent = []
    for (low, high), speed, axis in zip(couch.limits, speeds, like, strict=True):
        unit = axis.unit
        if speed is None:
            silent.append(axis.name)
        changes = {f"lower_{unit}": _tidy(low), f"upper_{unit}": _tidy(high)}
        changes[f"speed_{unit}_s"] = axis.drive[0] if speed is None else _tidy(speed)
        kind = LinearAxis if unit == "mm" else RotaryAxis
        axes.append(kind.model_validate({**axis.model_dump(), **changes}))
    return tuple(axes), silent


def _tidy(value: float) -> float:
    """Without the last digits that metres and radians cost, where nothing else is lost."""
    short = round(value, 9)
    return short if abs(short - value) < 1e-9 else value


def _caps(caps: CorrectionMove, axes: Sequence[Axis]) -> CorrectionMove:
    """The room's caps, lowered to what the slowest of these axes does."""
    changes = caps.model_dump()
    for axis in axes:
        speed = f"speed_{axis.unit}_s"
        changes[speed] = min(changes[speed], axis.drive[0])
    return CorrectionMove.model_validate(changes)


def _sources(
    model: MachineDescription, room: str, file: str, silent: Sequence[str]
) -> dict[str, str]:
    speeds = f"; speeds of {', '.join(silent)} as machine {room}" if silent else ""
    from_room = {
        key: f"assumption: as machine {room}: {text.removeprefix('assumption: ')}"
        for key, text in model.sources.items()
        if " " not in key
    }
    return from_room | {
        "chain": f"{file}"
        + (f"; travel and base couch as machine {room}" if model.family == "hexapod" else ""),
        "axis": f"ranges and speeds: {file}{speeds}; assumption: accelerations and jerks as machine {room}",
        "correction_move": f"assumption: as machine {room}, no faster than the slowest axis",
        "part": f"assumption: gantry, imagers and floor as machine {room}; meshes of the couch from {file}",
    }


def _remarks(
    couch: Couch, model: MachineDescription, room: Machine, silent: Sequence[str]
) -> tuple[str, ...]:
    said = []
    if silent:
        said.append(f"the URDF gives no speed for {', '.join(silent)}; that of {room.name} is used")
    if couch.family == "hexapod" and isinstance(model.chain, HexapodChain):
        said.append(f"travel of the platform and ranges of the base couch are those of {room.name}")
    return tuple(said)


def _parts(
    found: Sequence[MeshReference],
    robot: ElementTree.Element,
    model: MachineDescription,
    room: Machine,
    file: Path,
) -> tuple[tuple[PartDescription, ...], tuple[tuple[str, Path], ...], tuple[str, ...]]:
    """Parts of the room that do not belong to its couch, and the meshes of the new couch's table top."""
    parents = {joint.find("parent").get("link") for joint in robot.iter("joint")}  # type: ignore[union-attr]
    last = [link.get("name") for link in robot.iter("link") if link.get("name") not in parents]
    use = "collision" if any(m.use == "collision" for m in found) else "visual"
    top = [mesh for mesh in found if mesh.use == use and mesh.link in last]
    others = sorted({mesh.link for mesh in found if mesh.link not in last})
    parts = [part for part in model.part if part.frame not in _COUCH_FRAMES]
    remarks = [
        f"solids of the couch below its table top ({', '.join(others) or 'none in the URDF'})"
    ]
    meshes = []
    if top:
        parts = [part for part in parts if part.frame != "table_top"]
    else:
        remarks.append(f"the URDF has no mesh of the table top; that of {room.name} stands for it")
    for mesh in top:
        unit = _UNITS.get(mesh.scale)
        if unit is None:
            raise MachineError(
                f"{file.name}, link {mesh.link!r}: mesh scale {mesh.scale} is no unit; apply it to the mesh "
                f"({', '.join(f'{scale:g} {name}' for scale, name in _UNITS.items())})"
            )
        turns = tuple(math.degrees(angle) for angle in roll_pitch_yaw(mesh.pose[:3, :3]))
        place = tuple(float(value) for value in mesh.pose[:3, 3])
        parts.append(
            PartDescription.model_validate(
                {
                    "name": "couch top",
                    "frame": "table_top",
                    "shape": "mesh",
                    "file": mesh.path,
                    "file_unit": unit,
                    "position_mm": place,
                    "rotation_deg": turns,
                }
            )
        )
        meshes.append((mesh.path, file.parent / mesh.path))
    for part in parts:
        if part.file is not None and room.folder is not None and part.file not in dict(meshes):
            meshes.append((part.file, room.folder / part.file))
    return tuple(parts), tuple(meshes), tuple(remarks)


def _check(written: str, couch: Couch, origin: str) -> None:
    """What was written, read again as the service reads it, against the couch of the URDF."""
    description = MachineDescription.model_validate(tomllib.loads(written))
    again = Machine(description, origin, {}).couch()
    low, high = np.array(couch.limits).T
    for draw in np.random.default_rng(61217).random((_CHECKS, 6)):
        axes = low + (high - low) * draw
        off_mm, off_deg = again.forward(axes).deviation(couch.forward(axes))
        if off_mm > 1e-6 or math.radians(off_deg) > 1e-9:
            raise MachineError(
                f"{origin}: the machine file is off by {off_mm:.3g} mm and {off_deg:.3g} deg at {axes.tolist()}; "
                "this is a defect, nothing is written"
            )


__all__ = ["ImportedMachine", "import_machine"]
