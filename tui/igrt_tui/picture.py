"""Pixels for the terminal: resampling, window and level, and three ways to lay a DRR over an image. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from igrt_hw.client import KvImage

Grey = npt.NDArray[np.float32]


class Overlay(StrEnum):
    """What is drawn: the image, the DRR, or both."""

    IMAGE = "kV image"
    DRR = "DRR"
    BLEND = "blend, half and half"
    CHECKERBOARD = "checkerboard"
    DIFFERENCE = "difference, grey where equal"


OVERLAYS = tuple(Overlay)
CHECKS_ACROSS = 8


def fitted(pixels: npt.NDArray[np.generic], rows_max: int, cols_max: int) -> Grey:
    """Shrink (rows, cols) by area means to the largest size within the given one that keeps the shape; float32."""
    rows, cols = pixels.shape
    scale = min(1.0, rows_max / rows, cols_max / cols)
    to_rows, to_cols = max(1, int(rows * scale)), max(1, int(cols * scale))
    row_edges = np.arange(to_rows) * rows // to_rows
    col_edges = np.arange(to_cols) * cols // to_cols
    sums = np.add.reduceat(pixels.astype(np.float32), row_edges, axis=0)
    sums = np.add.reduceat(sums, col_edges, axis=1)
    heights = np.diff(np.append(row_edges, rows))[:, None]
    widths = np.diff(np.append(col_edges, cols))[None, :]
    means: Grey = (sums / (heights * widths)).astype(np.float32)
    return means


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of a picture that is shown: its middle and its size, as shares of the whole; `zoom` 1 is all of it."""

    zoom: float = 1.0
    across: float = 0.5
    down: float = 0.5

    def edges(self) -> tuple[float, float, float, float]:
        """Left, right, top and bottom as shares of the whole; always within it."""
        half = 0.5 / self.zoom
        across, down = (min(1.0 - half, max(half, middle)) for middle in (self.across, self.down))
        return across - half, across + half, down - half, down + half

    def moved(self, right: float, lower: float) -> "Crop":
        """Go so far, in shares of what is shown."""
        half = 0.5 / self.zoom
        across, down = self.across + right / self.zoom, self.down + lower / self.zoom
        kept = (min(1.0 - half, max(half, middle)) for middle in (across, down))
        return replace(self, across=next(kept), down=next(kept))

    def place(self, across: float, down: float) -> tuple[float, float]:
        """Where a place of the whole (shares) is in what is shown (shares); outside 0 to 1 it is not on it."""
        left, right, top, bottom = self.edges()
        return (across - left) / (right - left), (down - top) / (bottom - top)


def size_within(shape: tuple[int, int], rows_max: int, cols_max: int) -> tuple[int, int]:
    """Rows and columns of the largest picture of this shape (rows, cols) within the given size."""
    rows, cols = shape
    scale = min(rows_max / rows, cols_max / cols)
    return max(1, int(rows * scale)), max(1, int(cols * scale))


def cropped(pixels: npt.NDArray[np.generic], size: tuple[int, int], crop: Crop) -> Grey:
    """What `crop` shows of (rows, cols), in `size` rows and columns: means of areas, or the nearest pixel; float32."""
    left, right, top, bottom = crop.edges()
    row_edges = _edges(top, bottom, size[0], pixels.shape[0])
    col_edges = _edges(left, right, size[1], pixels.shape[1])
    part = pixels[row_edges[0] : row_edges[-1], col_edges[0] : col_edges[-1]].astype(np.float32)
    heights, widths = np.maximum(1, np.diff(row_edges)), np.maximum(1, np.diff(col_edges))
    sums = np.add.reduceat(part, np.minimum(row_edges[:-1] - row_edges[0], len(part) - 1), axis=0)
    first = np.minimum(col_edges[:-1] - col_edges[0], part.shape[1] - 1)
    sums = np.add.reduceat(sums, first, axis=1)
    means: Grey = (sums / (heights[:, None] * widths[None, :])).astype(np.float32)
    return means


def _edges(begin: float, end: float, count: int, pixels: int) -> npt.NDArray[np.int64]:
    edges = np.floor(np.linspace(begin, end, count + 1) * pixels + 1e-9).astype(np.int64)
    edges[-1] = max(edges[-1], edges[0] + 1)
    return edges


def windowed(image: KvImage, grey: Grey, brightness: float, contrast: float) -> Grey:
    """Map pixel values to [0, 1] by the image's own window, moved by `brightness` and narrowed by `contrast`."""
    centre = (image.window_low + image.window_high) / 2
    width = max(1.0, (image.window_high - image.window_low) / contrast)
    centre -= brightness * width
    scaled: Grey = np.clip((grey - centre) / width + 0.5, 0.0, 1.0).astype(np.float32)
    return scaled


def overlaid(image: Grey, drr: Grey | None, overlay: Overlay) -> Grey:
    """Lay the DRR over the image; both in [0, 1] and of one shape. Without a DRR the image stays alone.

    Raises:
        ValueError: the two shapes differ.
    """
    if drr is None or overlay is Overlay.IMAGE:
        return image
    if drr.shape != image.shape:
        raise ValueError(f"image {image.shape} and DRR {drr.shape} are not of one shape")
    if overlay is Overlay.DRR:
        return drr
    if overlay is Overlay.BLEND:
        return ((image + drr) / 2).astype(np.float32)
    if overlay is Overlay.DIFFERENCE:
        return np.clip((image - drr) / 2 + 0.5, 0.0, 1.0).astype(np.float32)
    rows, cols = image.shape
    side = max(1, cols // CHECKS_ACROSS)
    row, col = np.indices((rows, cols)) // side
    return np.where((row + col) % 2 == 0, image, drr).astype(np.float32)
