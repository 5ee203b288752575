"""A picture in the terminal's own pixels, where it said that it has them (textual-image, LGPL, used as it is)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from igrt_tui.graphics import Graphics
from igrt_tui.grid import Rgb

if TYPE_CHECKING:
    from textual.widget import Widget

CELL_PX = (8, 16)  # pixels drawn for a character; the terminal scales them to its own


class Shown:
    """One picture and the widget that shows it; the widget is told only of what is new, since encoding costs time."""

    def __init__(self, graphics: Graphics, name: str) -> None:
        # Imported only here: the library asks the terminal itself when it is imported.
        from textual_image.widget import SixelImage, TGPImage

        self._made = (
            SixelImage(id=name, classes="sharp")
            if graphics is Graphics.SIXEL
            else TGPImage(id=name, classes="sharp")
        )
        self._last: Rgb | None = None
        self._labels: tuple[tuple[float, float, str], ...] = ()

    @property
    def widget(self) -> Widget:
        """What stands on the screen."""
        return self._made

    def size_px(self) -> tuple[int, int]:
        """Rows and columns of pixels that there is room for."""
        return self._made.size.height * CELL_PX[1], self._made.size.width * CELL_PX[0]

    def show(self, rgb: Rgb | None, labels: tuple[tuple[float, float, str], ...]) -> None:
        """Show a picture (rows, cols, 3) with words at columns and rows of it; None shows nothing."""
        same = rgb is not None and self._last is not None and np.array_equal(rgb, self._last)
        if (same and labels == self._labels) or (rgb is None and self._last is None):
            return
        self._last, self._labels = rgb, labels
        if rgb is None:
            self._made.image = None
            return
        picture = PilImage.fromarray(rgb)
        pen = ImageDraw.Draw(picture)
        for column, row, words in labels:
            pen.line([(column - 6, row), (column + 6, row)], fill=(240, 228, 66))
            pen.line([(column, row - 6), (column, row + 6)], fill=(240, 228, 66))
            pen.text((column + 8, row - 6), words, fill=(240, 228, 66))
        self._made.image = picture
