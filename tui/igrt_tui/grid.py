"""A grid of coloured characters as data: pictures in half blocks with words on them, heat maps with marks in them.

Pure; `igrt_tui.widgets.cells` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
