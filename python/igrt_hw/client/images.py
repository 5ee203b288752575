"""Images as they come from the service."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class KvImage:
    """A corrected kV image or a DRR.

    Attributes:
        pixels: uint16, shape (rows, cols), row 0 at the gantry side
            (`docs/conventions.md`). More is more attenuation; 0 marks a pixel that holds nothing (starved,
            saturated).
        scale_low: line integral of attenuation (dimensionless) that the pixel value 1 stands for.
        scale_high: the same for the pixel value 65535.
        window_low: suggested lower edge of the display window, in pixel values.
        window_high: suggested upper edge of the display window, in pixel values.
    """

    pixels: npt.NDArray[np.uint16]
    scale_low: float
    scale_high: float
    window_low: int
    window_high: int

    def line_integrals(self) -> npt.NDArray[np.float32]:
        """Line integrals of attenuation (dimensionless), float32, shape (rows, cols); NaN where nothing is."""
        gain = (self.scale_high - self.scale_low) / 65534.0
        values = ((self.pixels.astype(np.float32) - 1.0) * gain + self.scale_low).astype(np.float32)
        values[self.pixels == 0] = np.nan
        return values

    def windowed(self) -> npt.NDArray[np.float32]:
        """Pixels in the suggested window, float32 in [0, 1], shape (rows, cols); display only."""
        width = max(1, self.window_high - self.window_low)
        scaled = (self.pixels.astype(np.float32) - self.window_low) / width
        return np.clip(scaled, 0.0, 1.0).astype(np.float32)
