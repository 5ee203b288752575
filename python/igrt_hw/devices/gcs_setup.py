"""Whether a GCS controller is set up as the machine description has it: travel, units, coordinates."""

from __future__ import annotations

from typing import Final

from igrt_hw.devices.errors import LimitsMismatch
from igrt_hw.devices.gcs_line import GcsLine
from igrt_hw.link import gcs
from igrt_hw.link.gcs import Form

TARGET_TOLERANCE: Final = 1e-5  # mm and degrees: what six decimals and a float lose


def check_travel_and_units(line: GcsLine, travel: tuple[float, float]) -> None:
    """TMN?, TMX? and PUN? against what the machine needs each way, in mm and degrees. Raises `LimitsMismatch`."""
    low = line.numbers(gcs.of_axes("TMN?"))
    high = line.numbers(gcs.of_axes("TMX?"))
    for axis, least, most, needed in zip(
        gcs.AXES, low, high, (travel[0],) * 3 + (travel[1],) * 3, strict=True
    ):
        if not (least <= -needed and most >= needed):
            raise LimitsMismatch(
                f"axis {axis} travels {least} to {most}; the machine description needs {needed} each way"
            )
    units = line.ask(gcs.Question("PUN? " + " ".join(gcs.AXES), Form.TEXT))
    if units != tuple(
        f"{a}={u}" for a, u in zip(gcs.AXES, ("mm",) * 3 + ("deg",) * 3, strict=True)
    ):
        raise LimitsMismatch(f"the controller's units are {', '.join(map(str, units))}")


def check_coordinates(line: GcsLine) -> None:
    """The numbers mean what `PlatformFrame` takes them for: root coordinate system, pivot at the origin."""
    systems = line.ask(gcs.ENABLED_SYSTEMS)
    if systems != ("ZERO=ZERO",):
        raise LimitsMismatch(
            f"coordinate system {', '.join(map(str, systems))} is enabled; send KEN ZERO and connect again"
        )
    pivot = line.numbers(gcs.of_axes("SPI?", items=("R", "S", "T")))
    if any(abs(value) > TARGET_TOLERANCE for value in pivot):
        raise LimitsMismatch(
            f"the pivot point is at {pivot}; set it to 0 (SPI R 0 S 0 T 0) and connect again"
        )
