"""The plan that goes to the couch, in integers, and the digest that the couch must compute from its own decoded values.

Written from `docs/protocol.md` section 6, apart from the driver's codec: the supervisor judges the device's digest
by its own reading of the specification.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from igrt_hw.geometry import deg_to_udeg, mm_to_um, udeg_to_deg, um_to_mm

AXES_MAX = 6


@dataclass(frozen=True, slots=True)
class MotionPlan:
    """Values of PLAN_UPLOAD: micrometres or microdegrees by axis, axis_count of them; digests as hexadecimal."""

    proposal: str
    limits: str
    ttl_ms: int
    speed_ppm: int
    start: tuple[int, ...]
    start_tolerance_linear_um: int
    start_tolerance_rotary_udeg: int
    waypoints: tuple[tuple[int, ...], ...]

    def digest(self) -> str:
        """SHA-256 over `CLP1-PLAN` and the values, 64 hexadecimal digits. Raises `ValueError` out of range."""
        return hashlib.sha256(self.digest_input()).hexdigest()

    def digest_input(self) -> bytes:
        """What the digest runs over, octet for octet as `docs/protocol.md` says."""
        proposal, limits = bytes.fromhex(self.proposal), bytes.fromhex(self.limits)
        if len(proposal) != 32 or len(limits) != 8:
            raise ValueError(
                f"a plan names a proposal by 32 octets and limits by 8, not {len(proposal)} and {len(limits)}"
            )
        count = len(self.start)
        if not 1 <= count <= AXES_MAX or not 1 <= len(self.waypoints) <= 8:
            raise ValueError(f"{count} axes and {len(self.waypoints)} waypoints do not fit a plan")
        try:
            head = struct.pack("<IIBB", self.ttl_ms, self.speed_ppm, count, len(self.waypoints))
            tolerances = struct.pack(
                "<II", self.start_tolerance_linear_um, self.start_tolerance_rotary_udeg
            )
            points = b"".join(_six(point, count) for point in self.waypoints)
            return (
                b"CLP1-PLAN"
                + proposal
                + limits
                + head
                + _six(self.start, count)
                + tolerances
                + points
            )
        except struct.error as error:
            raise ValueError(f"a value of the plan does not fit its field: {error}") from error


def _six(axes: tuple[int, ...], count: int) -> bytes:
    if len(axes) != count:
        raise ValueError(f"a point of {len(axes)} values in a plan of {count} axes")
    return struct.pack("<6i", *axes, *([0] * (AXES_MAX - count)))


def to_wire(axes: tuple[float, ...], units: tuple[str, ...]) -> tuple[int, ...]:
    """Micrometres and microdegrees of `axes` in millimetres and degrees. Raises `ValueError` beyond 32 bits."""
    return tuple(
        mm_to_um(value) if unit == "mm" else deg_to_udeg(value)
        for value, unit in zip(axes, units, strict=True)
    )


def on_wire_grid(axes: tuple[float, ...], units: tuple[str, ...]) -> tuple[float, ...]:
    """The nearest values that the line can carry, so that people approve exactly what is sent."""
    return tuple(
        um_to_mm(value) if unit == "mm" else udeg_to_deg(value)
        for value, unit in zip(to_wire(axes, units), units, strict=True)
    )
