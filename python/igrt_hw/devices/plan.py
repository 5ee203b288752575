"""Motion plans and axis limits as the line carries them: whole micrometres and microdegrees.

What was approved is converted once, exactly, and everything after works on the integers, so that
both ends hash the same octets (protocol.md, section 6).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Final

from igrt_hw.devices.errors import PlanError
from igrt_hw.link import messages as m
from igrt_hw.models.telemetry import AxisUnit

AXES_MAX: Final = 6
WAYPOINTS_MAX: Final = 8
TTL_MS_MAX: Final = 600_000
TOLERANCE_LINEAR_UM_MAX: Final = 2_000
TOLERANCE_ROTARY_UDEG_MAX: Final = 2_000_000
I32: Final = range(-(1 << 31), 1 << 31)
U32_MAX: Final = 0xFFFF_FFFF
TABLE_TOP_AXES: Final = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
DIGEST_LIMITS_LEN: Final = 8

_AXIS: Final = struct.Struct("<BiiIII")
_PLAN_HEAD: Final = struct.Struct("<32s8sIIBB6iII")
_POSITION: Final = struct.Struct("<6i")


class AxisKind(IntEnum):
    """How an axis moves."""

    LINEAR = 0
    ROTARY = 1

    @property
    def unit(self) -> AxisUnit:
        """The unit for people and files."""
        return "mm" if self is AxisKind.LINEAR else "deg"

    @property
    def per_unit(self) -> int:
        """Line units in one unit: micrometres in a millimetre, microdegrees in a degree."""
        return 1_000 if self is AxisKind.LINEAR else 1_000_000


def to_line(value: float, kind: AxisKind, what: str) -> int:
    """Millimetres or degrees to the nearest micrometre or microdegree, exactly (half to even).

    Raises `PlanError` for what is not finite or does not fit 32 bits; nothing is ever clamped.
    """
    if not math.isfinite(value):
        raise PlanError(f"{what} is {value}: not a number that a couch can go to")
    number = round(Fraction(value) * kind.per_unit)
    if number not in I32:
        raise PlanError(f"{what} {value} {kind.unit} does not fit the line's 32 bits")
    return number


def from_line(number: int, kind: AxisKind) -> float:
    """Micrometres or microdegrees to millimetres or degrees."""
    return number / kind.per_unit


@dataclass(frozen=True, slots=True)
class AxisLimits:
    """Limits of one axis in line units (per second, per second squared, cubed)."""

    name: str
    kind: AxisKind
    minimum: int
    maximum: int
    speed_max: int
    acceleration_max: int
    jerk_max: int

    @classmethod
    def of(
        cls,
        name: str,
        kind: AxisKind,
        minimum: float,
        maximum: float,
        speed_max: float,
        acceleration_max: float,
        jerk_max: float,
    ) -> AxisLimits:
        """From millimetres or degrees (and per second, squared, cubed)."""
        low = to_line(minimum, kind, f"{name} minimum")
        high = to_line(maximum, kind, f"{name} maximum")
        if low >= high:
            raise PlanError(f"{name}: minimum {minimum} is not below maximum {maximum}")
        rates = []
        for what, value in (
            ("speed", speed_max),
            ("acceleration", acceleration_max),
            ("jerk", jerk_max),
        ):
            rate = round(Fraction(value) * kind.per_unit) if math.isfinite(value) else 0
            if not 0 < rate <= U32_MAX:
                raise PlanError(f"{name}: {what} limit {value} must be positive and fit 32 bits")
            rates.append(rate)
        return cls(name, kind, low, high, *rates)

    def describe(self) -> str:
        """The limits in words, in millimetres or degrees."""
        unit, per = self.kind.unit, self.kind.per_unit
        return (
            f"{self.minimum / per:g} to {self.maximum / per:g} {unit},"
            f" {self.speed_max / per:g} {unit}/s, {self.acceleration_max / per:g} {unit}/s2,"
            f" {self.jerk_max / per:g} {unit}/s3"
        )


@dataclass(frozen=True, slots=True)
class CouchLimits:
    """The axis table of a couch. Its digest is part of every plan."""

    axes: tuple[AxisLimits, ...]

    @classmethod
    def from_reply(cls, reply: m.LimitsReply, names: Sequence[str] = TABLE_TOP_AXES) -> CouchLimits:
        """From LIMITS_REPLY. Raises `PlanError` for a kind of axis that the protocol does not know."""
        axes = []
        for index, (kind, *numbers) in enumerate(reply.axes):
            name = names[index] if index < len(names) else f"axis {index + 1}"
            if kind not in (AxisKind.LINEAR, AxisKind.ROTARY):
                raise PlanError(f"{name} is of kind {kind}; known are 0 (linear) and 1 (rotary)")
            axes.append(AxisLimits(name, AxisKind(kind), *numbers))
        if not 1 <= len(axes) <= AXES_MAX:
            raise PlanError(f"a couch of {len(axes)} axes; the line carries 1 to {AXES_MAX}")
        return cls(tuple(axes))

    def digest(self) -> bytes:
        """SHA-256 over the axis table, as the device computes it."""
        text = b"CLP1-LIMITS" + bytes([len(self.axes)])
        for axis in self.axes:
            text += _AXIS.pack(
                axis.kind,
                axis.minimum,
                axis.maximum,
                axis.speed_max,
                axis.acceleration_max,
                axis.jerk_max,
            )
        return hashlib.sha256(text).digest()

    @property
    def short_digest(self) -> bytes:
        """The first 8 octets of the digest, as HELLO_ACK and PLAN_UPLOAD carry it."""
        return self.digest()[:DIGEST_LIMITS_LEN]

    @property
    def units(self) -> tuple[AxisUnit, ...]:
        """The unit of each axis."""
        return tuple(axis.kind.unit for axis in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each axis."""
        return tuple(axis.name for axis in self.axes)

    def differences(self, other: CouchLimits) -> tuple[str, ...]:
        """Where this table (the device's) differs from another (the expected one), in words."""
        if len(self.axes) != len(other.axes):
            return (f"the device has {len(self.axes)} axes, expected are {len(other.axes)}",)
        return tuple(
            f"{theirs.name}: the device has {mine.describe()}; expected is {theirs.describe()}"
            for mine, theirs in zip(self.axes, other.axes, strict=True)
            if _numbers(mine) != _numbers(theirs)
        )

    def to_line(self, position: Sequence[float], what: str) -> tuple[int, ...]:
        """A position in millimetres and degrees as line units, checked against the limits.

        Raises `PlanError` naming the axis, the value and the limit.
        """
        if len(position) != len(self.axes):
            raise PlanError(f"{what} has {len(position)} values for {len(self.axes)} axes")
        numbers = []
        for value, axis in zip(position, self.axes, strict=True):
            number = to_line(float(value), axis.kind, f"{what}: {axis.name}")
            if not axis.minimum <= number <= axis.maximum:
                side, limit = (
                    ("below", axis.minimum) if number < axis.minimum else ("above", axis.maximum)
                )
                raise PlanError(
                    f"{what}: {axis.name} {value:.3f} {axis.kind.unit} is {side} its limit of"
                    f" {limit / axis.kind.per_unit:.3f} {axis.kind.unit}"
                )
            numbers.append(number)
        return tuple(numbers)

    def from_line(self, numbers: Sequence[int]) -> tuple[float, ...]:
        """Line units as millimetres and degrees; numbers of unused axes are left out."""
        return tuple(from_line(n, axis.kind) for n, axis in zip(numbers, self.axes, strict=False))


def _numbers(axis: AxisLimits) -> tuple[int, ...]:
    return (
        axis.kind,
        axis.minimum,
        axis.maximum,
        axis.speed_max,
        axis.acceleration_max,
        axis.jerk_max,
    )


@dataclass(frozen=True, slots=True)
class MotionPlan:
    """A plan in line units; unused axes are 0. `waypoints[-1]` is the target.

    proposal: SHA-256 of the proposal that people approved. limits: first 8 octets of the limits
    digest. speed_ppm: parts per million of the speed limits of all axes.
    """

    proposal: bytes
    limits: bytes
    ttl_ms: int
    speed_ppm: int
    axis_count: int
    start: tuple[int, ...]
    start_tolerance_linear_um: int
    start_tolerance_rotary_udeg: int
    waypoints: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        *,
        proposal: bytes,
        limits: CouchLimits,
        start: Sequence[float],
        waypoints: Sequence[Sequence[float]],
        ttl_ms: int,
        speed_fraction: float = 1.0,
        start_tolerance_mm: float = 0.5,
        start_tolerance_deg: float = 0.2,
    ) -> MotionPlan:
        """From millimetres and degrees, rounded exactly to the nearest line unit.

        Raises `PlanError` for anything outside limits or tolerances: it says what, and by how much.
        """
        if len(proposal) != 32:
            raise PlanError(f"a proposal digest has 32 octets, not {len(proposal)}")
        if not 1 <= len(waypoints) <= WAYPOINTS_MAX:
            raise PlanError(f"{len(waypoints)} waypoints; a plan has 1 to {WAYPOINTS_MAX}")
        if not 1 <= ttl_ms <= TTL_MS_MAX:
            raise PlanError(f"a life of {ttl_ms} ms; a plan lives 1 to {TTL_MS_MAX} ms")
        if not 1e-6 <= speed_fraction <= 1.0:
            raise PlanError(f"speed fraction {speed_fraction} is not within 0.000001 to 1")
        linear = to_line(start_tolerance_mm, AxisKind.LINEAR, "start tolerance")
        rotary = to_line(start_tolerance_deg, AxisKind.ROTARY, "start tolerance")
        if not 1 <= linear <= TOLERANCE_LINEAR_UM_MAX:
            raise PlanError(f"start tolerance {start_tolerance_mm} mm is not within 0.001 to 2 mm")
        if not 1 <= rotary <= TOLERANCE_ROTARY_UDEG_MAX:
            raise PlanError(f"start tolerance {start_tolerance_deg} deg is not within 0 to 2 deg")
        return cls(
            proposal=proposal,
            limits=limits.short_digest,
            ttl_ms=ttl_ms,
            speed_ppm=round(Fraction(speed_fraction) * 1_000_000),
            axis_count=len(limits.axes),
            start=_padded(limits.to_line(start, "start")),
            start_tolerance_linear_um=linear,
            start_tolerance_rotary_udeg=rotary,
            waypoints=tuple(
                _padded(limits.to_line(point, f"waypoint {index + 1}"))
                for index, point in enumerate(waypoints)
            ),
        )

    def plan_digest(self) -> bytes:
        """The digest that the device must compute from what it decoded (protocol.md, section 6)."""
        text = b"CLP1-PLAN" + _PLAN_HEAD.pack(
            self.proposal,
            self.limits,
            self.ttl_ms,
            self.speed_ppm,
            self.axis_count,
            len(self.waypoints),
            *self.start,
            self.start_tolerance_linear_um,
            self.start_tolerance_rotary_udeg,
        )
        text += b"".join(_POSITION.pack(*point) for point in self.waypoints)
        return hashlib.sha256(text).digest()

    def message(self) -> m.PlanUpload:
        """The message that carries this plan."""
        return m.PlanUpload(
            self.proposal,
            self.limits,
            self.ttl_ms,
            self.speed_ppm,
            self.axis_count,
            len(self.waypoints),
            self.start,
            self.start_tolerance_linear_um,
            self.start_tolerance_rotary_udeg,
            self.waypoints,
        )


@dataclass(frozen=True, slots=True)
class PlanReceipt:
    """The device's answer to an upload, beside what the host computed from what was approved.

    stands_at: measured position in millimetres and degrees. expires_us: on the host's clock.
    """

    device_digest: bytes
    expected_digest: bytes
    nonce: int
    stands_at: tuple[float, ...]
    expires_us: int
    expires_device_us: int
    duration_ms: int

    @property
    def digests_agree(self) -> bool:
        """Whether the device has decoded what was approved. Only then may it be executed."""
        return self.device_digest == self.expected_digest


def _padded(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return numbers + (0,) * (AXES_MAX - len(numbers))
