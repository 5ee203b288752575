"""What is known of one imager beyond its drawing: the flex of its arms, the lag of its panel, pixels that flicker.

One JSON file, written by a calibration and read by the service. An imager without one is used as drawn, and every image
says so. Nothing in it is a guess: what was not measured is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, ValidationError, model_validator

from igrt_hw.guidance.imager_geometry import FlexMap
from igrt_hw.guidance.panel_lag import LagModel
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.base import Frozen

UNSTABLE_MAX = 20_000


class PanelLag(Frozen):
    """A measured `LagModel`, as data."""

    shares: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=8)]
    decay_s: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _is_a_model(self) -> PanelLag:
        self.model()  # raises ValueError with what is wrong
        return self

    @classmethod
    def of(cls, model: LagModel) -> PanelLag:
        """From what was measured."""
        return cls(shares=model.shares, decay_s=model.decay_s)

    def model(self) -> LagModel:
        """The model that `without_lag` takes."""
        return LagModel(self.shares, self.decay_s)


class UnstablePixels(Frozen):
    """Pixels (row, column) of one binning that flicker under radiation (`panel.unstable_pixels`)."""

    binning: Annotated[int, Field(ge=1, le=4)]
    rows: Annotated[int, Field(gt=0)]
    cols: Annotated[int, Field(gt=0)]
    pixels: Annotated[tuple[tuple[int, int], ...], Field(max_length=UNSTABLE_MAX)]

    @model_validator(mode="after")
    def _on_the_panel(self) -> UnstablePixels:
        for row, col in self.pixels:
            if not (0 <= row < self.rows and 0 <= col < self.cols):
                raise ValueError(f"pixel ({row}, {col}) is not on {self.rows} x {self.cols}")
        return self

    @classmethod
    def of(cls, mask: NDArray[np.bool_], binning: int) -> UnstablePixels:
        """From a mask (rows, cols)."""
        rows, cols = np.nonzero(mask)
        found = tuple((int(r), int(c)) for r, c in zip(rows, cols, strict=True))
        return cls(binning=binning, rows=mask.shape[0], cols=mask.shape[1], pixels=found)

    def mask(self) -> NDArray[np.bool_]:
        """(rows, cols), True where a pixel flickers."""
        out = np.zeros((self.rows, self.cols), dtype=np.bool_)
        for row, col in self.pixels:
            out[row, col] = True
        return out


class ImagerCalibration(Frozen):
    """One imager as it was measured. `made_utc` is when the file was written."""

    imager: str
    made_utc: str
    flex: FlexMap | None = None
    lag: PanelLag | None = None
    unstable: tuple[UnstablePixels, ...] = ()

    def defects(self, binning: int) -> NDArray[np.bool_] | None:
        """The flickering pixels of a binning; None where nobody looked for them."""
        for found in self.unstable:
            if found.binning == binning:
                return found.mask()
        return None


def load_imager_calibration(path: Path) -> ImagerCalibration:
    """Read the file of an imager.

    Raises:
        InputRefused: no such file, or one that holds no calibration; the message says where it is wrong.
    """
    try:
        return ImagerCalibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputRefused(f"the imager's calibration cannot be read: {error}") from error
    except ValidationError as error:
        raise InputRefused(f"{path.name} holds no calibration of an imager: {error}") from error


def save_imager_calibration(calibration: ImagerCalibration, path: Path) -> None:
    """Write the file of an imager. Raises `OSError`."""
    path.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")
