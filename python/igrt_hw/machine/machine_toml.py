"""A machine description as the text of a machine file; the chain table of a couch, imported or calibrated."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from igrt_hw._core import Couch, Pose
from igrt_hw.machine.catalogue import MachineError
from igrt_hw.machine.description import (
    ArmChain,
    Chain,
    HexapodChain,
    MachineDescription,
    Mount,
    PedestalChain,
    ScaraChain,
)

_NOTHING = Mount()
_SAME = 1e-12
"""Gains, zeros and mounts nearer than this to plain ones are not written."""


def machine_text(description: MachineDescription, heading: Sequence[str] = ()) -> str:
    """The TOML text of a description; `heading` are lines of comment above it.

    `parse_machine` of the text gives the description back, number by number.
    """
    table = description.model_dump(mode="json", exclude_none=True)
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    lines = [f"# {line}" for line in heading]
    lines += ["", *(f"{key} = {_value(value)}" for key, value in plain.items())]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _table(key, value)
        elif key not in plain:
            for entry in value:
                lines += ["", f"[[{key}]]", *(f"{k} = {_value(v)}" for k, v in entry.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _is_table(value: object) -> bool:
    tables = isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
    return tables or isinstance(value, Mapping)


def _table(name: str, table: Mapping[str, Any]) -> list[str]:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = ["", f"[{name}]", *(f"{_key(key)} = {_value(value)}" for key, value in plain.items())]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += _table(f"{name}.{key}", value)
    return lines


def _key(key: str) -> str:
    return key if key.replace("_", "a").isalnum() and key.isascii() else json.dumps(key)


def _value(value: object) -> str:
    # JSON's strings, numbers, true and false, and lists are TOML's.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")


def chain_of(couch: Couch, like: Chain) -> Chain:
    """The chain table of a couch: dimensions, gains, zeros and mounts; what a couch does not know is that of `like`.

    Raises:
        MachineError: another family, or gains that the family's table cannot say.
    """
    if couch.family != like.family:
        raise MachineError(f"a {couch.family} couch does not fit a {like.family} chain")
    sizes = [value for _, value in couch.dimensions]
    base, tool = mount_of(couch.base), mount_of(couch.tool)
    gains, zeros = couch.axis_map
    if isinstance(like, ArmChain):
        if any(abs(gain) != 1.0 for gain in gains):
            raise MachineError(f"gains {gains}: a rotary axis has a gain of 1 or -1")
        signs = tuple(1 if gain > 0.0 else -1 for gain in gains)
        named = {
            "offsets_mm": sizes[:3],
            "lengths_mm": sizes[3:],
            "signs": signs,
            "zeros_deg": zeros,
        }
        return ArmChain.model_validate({"family": "arm", **named, "base": base, "tool": tool})
    if isinstance(like, HexapodChain):
        return _hexapod_chain(couch, like, sizes)
    mapped = {
        "gains": None if gains == (1.0,) * 6 else gains,
        "zeros": None if max(map(abs, zeros)) <= _SAME else zeros,
    }
    if isinstance(like, ScaraChain):
        links = {"upper_mm": sizes[0], "fore_mm": sizes[1], "wrist_mm": sizes[2:]}
        return ScaraChain.model_validate(
            {"family": "scara", **links, **mapped, "base": base, "tool": tool}
        )
    mounts = {"base": _or_none(base), "tool": _or_none(tool)}
    eccentric = {"eccentric_mm": sizes[0], "eccentric_deg": sizes[1]}
    return PedestalChain.model_validate({"family": "pedestal", **eccentric, **mapped, **mounts})


def _hexapod_chain(couch: Couch, like: HexapodChain, sizes: Sequence[float]) -> HexapodChain:
    gains, zeros = couch.axis_map
    still = [mount_of(mount) == _NOTHING for mount in (couch.base, couch.tool)]
    if gains != (1.0,) * 6 or max(map(abs, zeros)) > _SAME or not all(still):
        raise MachineError(
            "the outward axes of a hexapod have no gains, zeros or mounts of their own: its joints say where it is"
        )
    points = [tuple(sizes[at : at + 3]) for at in range(0, 36, 3)]
    joints = {"base_joints_mm": points[:6], "platform_joints_mm": points[6:]}
    return HexapodChain.model_validate(
        {**like.model_dump(), **joints, "base_start": couch.base_axes}
    )


def _or_none(mount: Mount) -> Mount | None:
    return None if max(map(abs, mount.parameters)) <= _SAME else mount


def mount_of(pose: Pose) -> Mount:
    """The six numbers T . Rz . Rx . Ry of a pose; at a pitch of 90 degrees all of the turn is rotation."""
    r = pose.rotation()
    pitch = math.atan2(r[2, 1], math.hypot(r[2, 0], r[2, 2]))
    upright = math.hypot(r[2, 0], r[2, 2]) < 1e-7
    rotation = math.atan2(r[1, 0], r[0, 0]) if upright else math.atan2(-r[0, 1], r[1, 1])
    # Roll from what the rotation just found leaves, so that their sum stays right where each alone is poorly known.
    c, s = math.cos(rotation), math.sin(rotation)
    roll = math.atan2(c * r[0, 2] + s * r[1, 2], c * r[0, 0] + s * r[1, 0])
    x, y, z = (float(value) for value in pose.translation_mm)
    turns = [math.degrees(angle) + 0.0 for angle in (rotation, pitch, roll)]
    return Mount(
        position_mm=(x, y, z), rotation_deg=turns[0], pitch_deg=turns[1], roll_deg=turns[2]
    )
