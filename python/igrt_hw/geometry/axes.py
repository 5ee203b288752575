"""Six numbers with their names and units: couch axes, and corrections."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

from pydantic import ConfigDict

AXIS_NAMES = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
"""Order of the six axes everywhere: in files, on the line and in code."""

AxisValues = tuple[float, float, float, float, float, float]
"""Axis values of any couch family in its own order (`Couch.axis_names`), mm and degrees."""


@dataclass(frozen=True, slots=True)
class _Six:
    """Millimetres and degrees in the order of `AXIS_NAMES`; finite by construction."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    lateral_mm: float = 0.0
    longitudinal_mm: float = 0.0
    vertical_mm: float = 0.0
    rotation_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not math.isfinite(value):
                raise ValueError(f"{field.name} is {value}; it must be a finite number")

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """From six numbers in the order of `AXIS_NAMES`, mm and degrees.

        Raises:
            ValueError: not six numbers, or one is not finite.
        """
        if len(values) != 6:
            raise ValueError(
                f"{cls.__name__} takes 6 numbers ({', '.join(AXIS_NAMES)}), got {len(values)}"
            )
        return cls(*(float(value) for value in values))

    def values(self) -> AxisValues:
        """The six numbers in the order of `AXIS_NAMES`, mm and degrees."""
        return (
            self.lateral_mm,
            self.longitudinal_mm,
            self.vertical_mm,
            self.rotation_deg,
            self.pitch_deg,
            self.roll_deg,
        )

    def __iter__(self) -> Iterator[float]:
        return iter(self.values())

    @property
    def translation_mm(self) -> tuple[float, float, float]:
        """Lateral, longitudinal, vertical in mm."""
        return (self.lateral_mm, self.longitudinal_mm, self.vertical_mm)

    @property
    def angles_deg(self) -> tuple[float, float, float]:
        """Rotation, pitch, roll in degrees."""
        return (self.rotation_deg, self.pitch_deg, self.roll_deg)


@dataclass(frozen=True, slots=True)
class Axes6(_Six):
    """Axis values of a pedestal or hexapod couch: IEC 61217 table top, mm and degrees."""


@dataclass(frozen=True, slots=True)
class Correction(_Six):
    """A rigid transform in the fixed frame about the isocentre, C in M' = C . M; mm and degrees.

    C = T(lateral, longitudinal, vertical) . Rz(rotation) . Rx(pitch) . Ry(roll). It is composed
    (`compose_correction`), never added to axes.
    """

    @property
    def magnitude_mm(self) -> float:
        """Length of the translation, mm."""
        return math.hypot(*self.translation_mm)

    def translation_only(self) -> Correction:
        """The same translation without any rotation: what a couch without pitch and roll could do."""
        return Correction(self.lateral_mm, self.longitudinal_mm, self.vertical_mm)
