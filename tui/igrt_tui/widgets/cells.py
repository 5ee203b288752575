"""A grid of coloured characters: pictures in half blocks with words on them, and heat maps with marks in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

Rgb = npt.NDArray[np.uint8]
HALF = "▀"


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Characters (lines of one length) with their colours, uint8 (lines, cols, 3)."""

    text: tuple[str, ...]
    front: Rgb
    ground: Rgb

    def same(self, other: Grid | None) -> bool:
        """Whether the two look alike."""
        return (
            other is not None
            and self.text == other.text
            and np.array_equal(self.front, other.front)
            and np.array_equal(self.ground, other.ground)
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """A word laid over a grid: line and column of its first character, and its colours."""

    line: int
    column: int
    text: str
    front: tuple[int, int, int]
    ground: tuple[int, int, int] | None = None


def half_blocks(rgb: Rgb) -> Grid:
    """Pair the rows of a picture (rows, cols, 3) for half blocks."""
    rows, cols, _ = rgb.shape
    even = np.zeros((rows + rows % 2, cols, 3), dtype=np.uint8)
    even[:rows] = rgb
    lines = len(even) // 2
    return Grid((HALF * cols,) * lines, even[0::2], even[1::2])


def marked(grid: Grid, marks: tuple[Mark, ...]) -> Grid:
    """Lay words over a grid; what would stand outside it is left away."""
    text, front, ground = list(grid.text), grid.front.copy(), grid.ground.copy()
    for mark in marks:
        if not 0 <= mark.line < len(text):
            continue
        for offset, character in enumerate(mark.text):
            column = mark.column + offset
            if 0 <= column < front.shape[1]:
                line = text[mark.line]
                text[mark.line] = line[:column] + character + line[column + 1 :]
                front[mark.line, column] = mark.front
                if mark.ground is not None:
                    ground[mark.line, column] = mark.ground
    return Grid(tuple(text), front, ground)


@lru_cache(maxsize=32768)
def _style(front: int, ground: int) -> Style:
    return Style(color=_colour(front), bgcolor=_colour(ground))


def _colour(packed: int) -> Color:
    return Color.from_rgb(packed >> 16, packed >> 8 & 255, packed & 255)


class Cells(Widget):
    """Draws a grid, centred; nothing while there is none."""

    DEFAULT_CSS = "Cells { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._grid: Grid | None = None

    @property
    def grid(self) -> Grid | None:
        """What is shown now."""
        return self._grid

    def show(self, grid: Grid | None) -> None:
        """Show a grid; nothing happens if it is on the screen already."""
        if grid is self._grid or (grid is not None and grid.same(self._grid)):
            return
        self._grid = grid
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line of cells, runs of equal looks as one segment."""
        width, base, grid = self.size.width, self.rich_style, self._grid
        if grid is None:
            return Strip.blank(width, base)
        at = y - max(0, (self.size.height - len(grid.text)) // 2)
        if not 0 <= at < len(grid.text):
            return Strip.blank(width, base)
        text = grid.text[at]
        shift = np.array([65536, 256, 1])
        front, ground = (
            grid.front[at].astype(np.int64) @ shift,
            grid.ground[at].astype(np.int64) @ shift,
        )
        changes = np.flatnonzero((np.diff(front) != 0) | (np.diff(ground) != 0)) + 1
        edges = [0, *changes.tolist(), len(text)]
        left = max(0, (width - len(text)) // 2)
        segments = [Segment(" " * left, base)]
        segments += [
            Segment(text[a:b], _style(int(front[a]), int(ground[a])))
            for a, b in pairwise(edges)
            if a < b
        ]
        return Strip(segments).adjust_cell_length(width, base)
