"""The golden vectors: corrections whose result is known. Checked when the service starts; a mismatch stops it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from igrt_hw._core import Couch
from igrt_hw.geometry.angle import wrap_deg
from igrt_hw.geometry.axes import AXIS_NAMES, Axes6, Correction
from igrt_hw.geometry.compose import compose_correction

_PLAIN_LIMITS = [(-1000.0, 1000.0)] * 3 + [(-180.0, 180.0)] * 3


class GoldenVectorError(RuntimeError):
    """The kinematics does not give the known answer: this build must not move anything."""


@dataclass(frozen=True, slots=True)
class GoldenVector:
    """One case: a start, a correction in the fixed frame, and the axes that must come out."""

    case: str
    why: str
    start: Axes6
    correction: Correction
    result: Axes6
    tolerance_mm: float
    tolerance_deg: float


@cache
def golden_vectors() -> tuple[GoldenVector, ...]:
    """The vectors shipped with the package (the same file as `tests/vectors/golden_poses.json`)."""
    text = resources.files(__package__).joinpath("golden_poses.json").read_text(encoding="utf-8")
    table = json.loads(text)
    return tuple(
        GoldenVector(
            case=entry["case"],
            why=entry["why"],
            start=Axes6.of(entry["start"]),
            correction=Correction.of(entry["correction"]),
            result=Axes6.of(entry["result"]),
            tolerance_mm=table["tolerance_mm"],
            tolerance_deg=table["tolerance_deg"],
        )
        for entry in table["vectors"]
    )


def check_golden_vectors(couch: Couch | None = None) -> int:
    """Solve every golden vector and compare.

    Args:
        couch: the couch to check; a plain pedestal (Ey = 0, theta_e = 0) if not given.

    Returns:
        How many vectors were checked.

    Raises:
        GoldenVectorError: a result differs; the message names the case and the axis.
    """
    couch = couch or Couch.pedestal(_PLAIN_LIMITS)
    vectors = golden_vectors()
    if not vectors:
        raise GoldenVectorError("no golden vectors were shipped with this build")
    for vector in vectors:
        _check(couch, vector)
    return len(vectors)


def _check(couch: Couch, vector: GoldenVector) -> None:
    try:
        got = compose_correction(couch, vector.start, vector.correction)
    except ValueError as error:
        raise GoldenVectorError(f"golden vector {vector.case} ({vector.why}): {error}") from error
    for index, (name, value, want) in enumerate(zip(AXIS_NAMES, got, vector.result, strict=True)):
        linear = index < 3
        difference = value - want if linear else wrap_deg(value - want)
        tolerance = vector.tolerance_mm if linear else vector.tolerance_deg
        if not abs(difference) <= tolerance:
            unit = "mm" if linear else "deg"
            raise GoldenVectorError(
                f"golden vector {vector.case} ({vector.why}): {name} is {value:.6f} {unit}, must be {want:.6f}; "
                "do not use this build"
            )
