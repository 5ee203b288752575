"""Machines by name or by file: read, validated, refused with the file, the table and the key."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from igrt_hw._core import CoreError, Couch, Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.description import (
    ArmChain,
    Axis,
    HexapodChain,
    MachineDescription,
    Mount,
    PedestalChain,
    ScaraChain,
)


class MachineError(ValueError):
    """A machine file was refused; the message names the file, the table and the key."""


@dataclass(frozen=True)
class Machine:
    """A validated machine: its description, and where it came from.

    Attributes:
        description: everything the file says.
        origin: the file, for messages.
        mesh_sha256: SHA-256 of every mesh file that a part names.
        folder: where mesh files lie; None for a machine from text without meshes.
    """

    description: MachineDescription
    origin: str
    mesh_sha256: Mapping[str, str]
    folder: Path | None = None

    def couch(self) -> Couch:
        """The couch of this machine for the core; the same object every time."""
        return self._couch

    @cached_property
    def _couch(self) -> Couch:
        try:
            return _build_couch(self.description)
        except CoreError as error:
            raise MachineError(f"{self.origin}, [chain]: {error}") from error

    @property
    def name(self) -> str:
        """Name of the machine, for instance `linac_pedestal`."""
        return self.description.name

    def axis(self, name: str) -> Axis:
        """One axis by name.

        Raises:
            KeyError: no axis of that name.
        """
        for axis in self.description.axis:
            if axis.name == name:
                return axis
        raise KeyError(
            f"{self.name} has no axis {name!r}; it has {[axis.name for axis in self.description.axis]}"
        )

    @cached_property
    def limits_hash(self) -> str:
        """SHA-256 (hex) over axes, chain limits and correction caps in canonical form: the limits version."""
        # What a chain leaves out is left out here: a plain couch keeps its limits version.
        chain = self.description.chain.model_dump(mode="json", exclude_none=True)
        dumped = self.description.model_dump(mode="json", include={"axis", "correction_move"})
        return _canonical_sha256({"chain": chain, **dumped})

    @cached_property
    def description_hash(self) -> str:
        """SHA-256 (hex) over the whole description and the contents of its meshes, in canonical form."""
        dumped = self.description.model_dump(mode="json")
        return _canonical_sha256({"description": dumped, "meshes": dict(self.mesh_sha256)})


def machine_names() -> tuple[str, ...]:
    """Names of the machines shipped with the package."""
    folder = resources.files(__package__).joinpath("machines")
    return tuple(
        sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))
    )


def machine_file(name_or_file: str | Path) -> Path:
    """The TOML file of a shipped machine by name, or the file that was named.

    Raises:
        MachineError: no machine of that name is shipped.
    """
    if isinstance(name_or_file, str) and not name_or_file.endswith(".toml"):
        if name_or_file not in machine_names():
            known = ", ".join(machine_names())
            raise MachineError(
                f"no machine {name_or_file!r}; shipped are {known}; a file ends in .toml"
            )
        # The wheel is always installed unpacked, so the resource is a file.
        return Path(str(resources.files(__package__).joinpath("machines", f"{name_or_file}.toml")))
    return Path(name_or_file)


def load_machine(name_or_file: str | Path) -> Machine:
    """A shipped machine by name, or any machine by its TOML file (mesh files lie beside it).

    Raises:
        MachineError: no such machine, not TOML, or a table or key that is wrong; the message says which and why.
    """
    file = machine_file(name_or_file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MachineError(f"{file}: cannot be read: {error}") from error
    return parse_machine(text, origin=file.name, folder=file.parent)


def parse_machine(text: str, *, origin: str, folder: Path | None = None) -> Machine:
    """A machine from TOML text; mesh files are looked up in `folder`.

    Raises:
        MachineError: as `load_machine`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MachineError(f"{origin}: not TOML: {error}") from error
    try:
        description = MachineDescription.model_validate(table)
    except ValidationError as error:
        raise MachineError(_explain(origin, table, error)) from error
    machine = Machine(description, origin, _mesh_digests(description, origin, folder), folder)
    _check_couch_agrees(machine)
    return machine


def _check_couch_agrees(machine: Machine) -> None:
    couch = machine.couch()
    names = tuple(axis.name for axis in machine.description.axis)
    if couch.axis_names != names:
        raise MachineError(
            f"{machine.origin}: axes {names} are not those of the core, {couch.axis_names}"
        )


def _mesh_digests(
    description: MachineDescription, origin: str, folder: Path | None
) -> dict[str, str]:
    digests: dict[str, str] = {}
    for part in description.part:
        if part.file is None:
            continue
        if folder is None:
            raise MachineError(
                f"{origin}, [[part]] {part.name!r}: file {part.file!r} needs a folder to lie in"
            )
        try:
            content = (folder / part.file).read_bytes()
        except OSError as error:
            raise MachineError(
                f"{origin}, [[part]] {part.name!r}: mesh {part.file!r}: {error}"
            ) from error
        digests[part.file] = hashlib.sha256(content).hexdigest()
    return digests


def _build_couch(description: MachineDescription) -> Couch:
    limits = [axis.range for axis in description.axis]
    chain = description.chain
    if isinstance(chain, PedestalChain):
        top = {"eccentric_mm": chain.eccentric_mm, "eccentric_deg": chain.eccentric_deg}
        couch = Couch.pedestal(
            limits,
            **top,
            base=None if chain.base is None else _mount(chain.base, Frame.FIXED, Frame.BASE),
            tool=None if chain.tool is None else _mount(chain.tool, Frame.FLANGE, Frame.TABLE_TOP),
        )
        return _mapped(couch, chain)
    if isinstance(chain, HexapodChain):
        return Couch.hexapod(
            limits,
            base_joints_mm=chain.base_joints_mm,
            platform_joints_mm=chain.platform_joints_mm,
            leg_limits_mm=(chain.leg_lower_mm, chain.leg_upper_mm),
            base_axes=chain.base_start,
        )
    base = _mount(chain.base, Frame.FIXED, Frame.BASE)
    tool = _mount(chain.tool, Frame.FLANGE, Frame.TABLE_TOP)
    if isinstance(chain, ArmChain):
        return Couch.arm(
            limits,
            offsets_mm=chain.offsets_mm,
            lengths_mm=chain.lengths_mm,
            signs=chain.signs,
            zeros_deg=chain.zeros_deg,
            base=base,
            tool=tool,
        )
    scara = Couch.scara(
        limits,
        upper_mm=chain.upper_mm,
        fore_mm=chain.fore_mm,
        wrist_mm=chain.wrist_mm,
        base=base,
        tool=tool,
    )
    return _mapped(scara, chain)


def _mapped(couch: Couch, chain: PedestalChain | ScaraChain) -> Couch:
    if chain.gains is None and chain.zeros is None:
        return couch
    return couch.with_axis_map(chain.gains or (1.0,) * 6, chain.zeros or (0.0,) * 6)


def _mount(mount: Mount, to_frame: Frame, from_frame: Frame) -> Pose:
    return Pose.from_parameters(mount.parameters, to_frame, from_frame)


def _canonical_sha256(value: Mapping[str, Any]) -> str:
    """Hash of JSON with sorted keys, no spaces, ASCII only; floats in their shortest round-trip form."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _explain(origin: str, table: Mapping[str, Any], error: ValidationError) -> str:
    """Every refusal on one line: file, table (with the name of the entry where it has one), key, reason."""
    lines = [f"{origin}, {_place(table, issue['loc'])}: {issue['msg']}" for issue in error.errors()]
    return "\n".join(lines)


def _place(table: Mapping[str, Any], location: tuple[int | str, ...]) -> str:
    if not location:
        return "the whole file"
    head, *rest = location
    entry: Any = table.get(str(head))
    if not rest and not isinstance(entry, Mapping):
        return f"key {head!r}"
    if rest and isinstance(rest[0], int):
        index = rest.pop(0)
        items = entry if isinstance(entry, list) else []
        item = items[index] if isinstance(index, int) and index < len(items) else {}
        name = item.get("name") if isinstance(item, Mapping) else None
        place = f"[[{head}]] {name!r}" if name else f"[[{head}]] number {int(index) + 1}"
    else:
        place = f"[{head}]"
    # pydantic puts the discriminator's value into the path of a union; it is no key of the file.
    keys = [
        str(key)
        for key in rest
        if key not in ("linear", "rotary", "pedestal", "hexapod", "arm", "scara")
    ]
    return f"{place}, key {'.'.join(keys)!r}" if keys else place
