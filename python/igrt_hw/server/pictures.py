"""Corrected images on their way to a screen: line integrals scaled to 16 bit, with a suggested window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WINDOW_PERCENTILES = (1.0, 99.5)  # a few hot or dead pixels must not set the window


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels, uint16, shape (rows, cols); 0 stands for `scale_low`, 65535 for `scale_high`."""

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
    """Scale line integrals (dimensionless, shape (rows, cols)) to the whole of 16 bit.

    Raises `ValueError` for an image that is not finite: it must not be shown as if it were one.
    """
    if line_integrals.ndim != 2 or line_integrals.size == 0:
        raise ValueError(f"an image has rows and columns, this has shape {line_integrals.shape}")
    if not np.isfinite(line_integrals).all():
        raise ValueError("the image has pixels that are no numbers")
    low, high = float(line_integrals.min()), float(line_integrals.max())
    span = high - low if high > low else 1.0
    pixels = np.rint((line_integrals - low) * (65535.0 / span)).astype(np.uint16)
    window = np.percentile(pixels, WINDOW_PERCENTILES)
    return Picture(pixels, low, low + span, int(window[0]), max(int(window[1]), int(window[0]) + 1))
