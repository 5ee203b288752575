"""Corrected images on their way to a screen: line integrals scaled to 16 bit, with a suggested window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW_PERCENTILES = (1.0, 99.5)  # a few hot or dead pixels must not set the window
PIXEL_MAX = 65535


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels, uint16, shape (rows, cols). 0: holds nothing; 1 stands for `scale_low`, 65535 for `scale_high`."""

    pixels: npt.NDArray[np.uint16]
    scale_low: float
    scale_high: float
    window_low: int
    window_high: int

    def headers(self) -> dict[str, str]:
        """The headers of `docs/service_api.md`."""
        rows, cols = self.pixels.shape
        return {
            "X-Rows": str(rows),
            "X-Cols": str(cols),
            "X-Scale-Low": repr(self.scale_low),
            "X-Scale-High": repr(self.scale_high),
            "X-Window-Low": str(self.window_low),
            "X-Window-High": str(self.window_high),
        }

    def octets(self) -> bytes:
        """Row-major, little-endian."""
        return self.pixels.astype("<u2").tobytes()


def scaled(line_integrals: npt.NDArray[np.float32]) -> Picture:
    """Scale line integrals (dimensionless, shape (rows, cols)) to 16 bit; NaN marks pixels that hold nothing.

    Raises `ValueError` for an image without a single usable pixel: it must not be shown as if it were one.
    """
    if line_integrals.ndim != 2 or line_integrals.size == 0:
        raise ValueError(f"an image has rows and columns, this has shape {line_integrals.shape}")
    usable = np.isfinite(line_integrals)
    if not usable.any():
        raise ValueError("the image has no usable pixel")
    values = line_integrals[usable]
    low, high = float(values.min()), float(values.max())
    span = high - low if high > low else 1.0
    pixels = np.zeros(line_integrals.shape, dtype=np.uint16)
    pixels[usable] = 1 + np.rint((values - low) * ((PIXEL_MAX - 1) / span)).astype(np.uint16)
    window = np.percentile(pixels[usable], WINDOW_PERCENTILES)
    return Picture(pixels, low, low + span, int(window[0]), max(int(window[1]), int(window[0]) + 1))
