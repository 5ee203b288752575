"""The widget that draws a grid of coloured characters."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from igrt_tui.grid import Grid


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
