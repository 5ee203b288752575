"""An image in half blocks: two pixels a cell, in every terminal with colours."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget


@lru_cache(maxsize=8192)
def _style(upper: int, lower: int) -> Style:
    return Style(color=f"rgb({upper},{upper},{upper})", bgcolor=f"rgb({lower},{lower},{lower})")


class Pixels(Widget):
    """Draws grey half blocks, centred; nothing while there is no image."""

    DEFAULT_CSS = "Pixels { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._blocks: npt.NDArray[np.uint8] | None = None

    def show(self, blocks: npt.NDArray[np.uint8] | None) -> None:
        """Show (lines, cols, 2) greys; nothing happens if they are on the screen already."""
        before = self._blocks
        same = before is blocks or (
            before is not None and blocks is not None and np.array_equal(before, blocks)
        )
        if not same:
            self._blocks = blocks
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line of cells."""
        width = self.size.width
        base = self.rich_style
        blocks = self._blocks
        if blocks is None:
            return Strip.blank(width, base)
        top = (self.size.height - len(blocks)) // 2
        if not 0 <= y - top < len(blocks):
            return Strip.blank(width, base)
        cells = blocks[y - top]
        left = max(0, (width - len(cells)) // 2)
        segments = [Segment(" " * left, base)]
        segments += [Segment("▀", _style(int(upper), int(lower))) for upper, lower in cells]
        return Strip(segments).adjust_cell_length(width, base)
