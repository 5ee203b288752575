"""Phantoms of known geometry: the calibration phantom of steel balls and the daily cube, as data.

Places are in the phantom frame, mm: origin at its centre, axes those of the IEC patient frame of a phantom that
lies head first supine. The files are `guidance/phantoms/*.toml`; a department's own phantom is another file of
the same form.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, FiniteFloat, ValidationError, field_validator

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.markers import Blob, MarkerShape, find_markers
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.base import Frozen

FOLDER: Final = Path(__file__).parent / "phantoms"
APART_MIN_MM: Final = 5.0
SAME_SPOT_PX: Final = 3.0


class Ball(Frozen):
    """A ball or bubble of the phantom; `denser` is False for a bubble."""

    name: str
    position_mm: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    diameter_mm: Annotated[FiniteFloat, Field(gt=0.1, le=40)]
    denser: bool = True

    @property
    def shape(self) -> MarkerShape:
        """What to look for in an image."""
        return MarkerShape(self.diameter_mm, denser=self.denser)


class Phantom(Frozen):
    """A rigid body with balls at known places."""

    name: str
    kind: Literal["balls", "cube"]
    balls: Annotated[tuple[Ball, ...], Field(min_length=1)]

    @field_validator("balls")
    @classmethod
    def _distinct(cls, balls: tuple[Ball, ...]) -> tuple[Ball, ...]:
        if len({ball.name for ball in balls}) != len(balls):
            raise ValueError("two balls have one name")
        places = np.array([ball.position_mm for ball in balls])
        for n in range(len(places)):
            near = np.linalg.norm(places[:n] - places[n], axis=1)
            if near.size and near.min() < APART_MIN_MM:
                raise ValueError(
                    f"ball {balls[n].name} is {near.min():.1f} mm from another; {APART_MIN_MM:g} mm are needed"
                )
        return balls

    def positions_mm(self) -> NDArray[np.float64]:
        """Centres (n, 3) in the phantom frame, mm."""
        return np.array([ball.position_mm for ball in self.balls], dtype=np.float64)


def load_phantom(name_or_path: str | Path) -> Phantom:
    """A phantom of the package (`balls`, `cube`) or of a file.

    Raises:
        InputRefused: no such phantom, or a file that describes none; the message says where it is wrong.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise InputRefused(
            f"there is no phantom '{name_or_path}': known are {known}, or give a file"
        )
    try:
        return Phantom.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputRefused(f"{path.name} describes no phantom: {error}") from error


def find_phantom(
    image: ArrayLike,
    geometry: PanelGeometry,
    phantom: Phantom,
    fixed_from_phantom: NDArray[np.float64],
    *,
    region: NDArray[np.bool_] | None = None,
    search_mm: float = 30.0,
) -> tuple[Blob, ...]:
    """Spots of an image (rows, cols) within `search_mm`, at the isocentre, of where the phantom's balls should be.

    Each size and kind of ball is looked for by itself; a place found twice counts once.
    """
    centres = phantom.positions_mm() @ fixed_from_phantom[:3, :3].T + fixed_from_phantom[:3, 3]
    near = geometry.pixels_of(centres)
    reach = search_mm * geometry.sid_mm / geometry.sad_mm / geometry.pixel_pitch_mm
    shapes: dict[MarkerShape, list[tuple[float, float]]] = {}
    for ball, (col, row) in zip(phantom.balls, near, strict=True):
        shapes.setdefault(ball.shape, []).append((float(col), float(row)))
    found = [
        blob
        for shape, places in shapes.items()
        for blob in find_markers(
            image, geometry, shape, region=region, near_px=places, reach_px=reach
        )
    ]
    found.sort(key=lambda blob: -blob.contrast_sigmas)
    kept: list[Blob] = []
    for blob in found:
        if all(np.hypot(blob.col - b.col, blob.row - b.row) > SAME_SPOT_PX for b in kept):
            kept.append(blob)
    return tuple(kept)
