"""The couch of a machine file (docs/machines.md) for the simulator: dimensions of its chain, limits of its axes.

The simulator's own reader: it takes the tables `chain` and `axis`, refuses what is missing, and shares nothing with
the controller's.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igrt_firmware_sim._firmware import SimulatorError

NO_TURN = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
FAMILIES = ("pedestal", "hexapod", "arm", "scara")


@dataclass(frozen=True, slots=True)
class Couch:
    """A couch: its family, the dimensions of its chain by name, and by axis lower and upper end, speed, acceleration
    and jerk in millimetres or degrees."""

    family: str
    chain: Mapping[str, list[float]]
    limits: list[list[float]]


def _numbers(table: Mapping[str, Any], key: str, where: str) -> list[float]:
    if key not in table:
        raise SimulatorError(f"{where}: {key} is missing")
    flat: list[float] = []
    waiting = [table[key]]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat.append(float(value))
        else:
            raise SimulatorError(f"{where}: {key} holds {value!r}, which is no number")
    return flat


def _mount(chain: Mapping[str, Any], key: str) -> list[float]:
    mount = chain.get(key, {})
    where = f"chain.{key}"
    place = _numbers(mount, "position_mm", where) if "position_mm" in mount else [0.0, 0.0, 0.0]
    turns = [
        _numbers(mount, name, where)[0] if name in mount else 0.0
        for name in ("rotation_deg", "pitch_deg", "roll_deg")
    ]
    return place + turns


def _chain(chain: Mapping[str, Any], family: str) -> dict[str, list[float]]:
    def take(*keys: str) -> list[float]:
        return [part for key in keys for part in _numbers(chain, key, "chain")]

    def optional(key: str, otherwise: list[float]) -> list[float]:
        return take(key) if key in chain else otherwise

    match family:
        case "pedestal":
            offset, turn = optional("eccentric_mm", [0.0]), optional("eccentric_deg", [0.0])
            return {"eccentric": offset + turn}
        case "hexapod":
            base = [f"base_{name}" for name in ("lateral_mm", "longitudinal_mm", "vertical_mm")]
            return {
                "feet": take("base_joints_mm"),
                "heads": take("platform_joints_mm"),
                "leg_range": take("leg_lower_mm", "leg_upper_mm"),
                "travel": take("platform_travel_mm", "platform_tilt_deg"),
                "base_ranges": take(*base, "base_rotation_deg"),
            }
        case "arm":
            return {
                "offsets": take("offsets_mm"),
                "lengths": take("lengths_mm"),
                "signs": optional("signs", [1.0] * 6),
                "zeros": optional("zeros_deg", NO_TURN),
                "foot": _mount(chain, "base"),
                "tool": _mount(chain, "tool"),
            }
        case _:
            return {
                "links": take("upper_mm", "fore_mm"),
                "wrist": take("wrist_mm"),
                "foot": _mount(chain, "base"),
                "tool": _mount(chain, "tool"),
            }


def _axis(axis: Mapping[str, Any]) -> list[float]:
    where = f"axis {axis.get('name')!r}"
    unit = {"linear": "mm", "rotary": "deg"}.get(str(axis.get("kind")))
    if unit is None:
        raise SimulatorError(f"{where}: kind {axis.get('kind')!r} is neither linear nor rotary")
    keys = (
        f"lower_{unit}",
        f"upper_{unit}",
        f"speed_{unit}_s",
        f"acceleration_{unit}_s2",
        f"jerk_{unit}_s3",
    )
    return [_numbers(axis, key, where)[0] for key in keys]


def load(path: Path) -> Couch:
    """Reads the couch of a machine file.

    Raises:
        SimulatorError: the file cannot be read, has another family, or lacks a figure; the message says which.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SimulatorError(f"{path}: {error}") from error
    try:
        chain = tables.get("chain", {})
        family = str(chain.get("family"))
        if family not in FAMILIES:
            raise SimulatorError(f"chain: family {family!r} is none of {', '.join(FAMILIES)}")
        axes = tables.get("axis", [])
        if len(axes) != 6:
            raise SimulatorError(f"{len(axes)} axes; a couch has six")
        return Couch(family, _chain(chain, family), [_axis(axis) for axis in axes])
    except SimulatorError as error:
        raise SimulatorError(f"{path.name}: {error}") from error
