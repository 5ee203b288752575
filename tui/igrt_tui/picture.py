"""Pixels for the terminal: resampling, window and level, and three ways to lay a DRR over an image. Pure."""

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


def half_blocks(grey: Grey, levels: int = 64) -> npt.NDArray[np.uint8]:
    """Pair rows for half blocks: uint8 (lines, cols, 2), upper and lower grey from 0 to 255 in `levels` steps."""
    rows, cols = grey.shape
    even = np.zeros((rows + rows % 2, cols), dtype=np.float32)
    even[:rows] = grey
    steps = np.round(even * (levels - 1)) * (255.0 / (levels - 1))
    return steps.astype(np.uint8).reshape(-1, 2, cols).transpose(0, 2, 1)
