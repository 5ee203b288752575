"""A panel of toned lines: redrawn only when they change, never silently cut."""

from functools import cache
from typing import Self

from textual.app import RenderResult
from textual.color import Color
from textual.content import Content
from textual.geometry import Size
from textual.style import Style
from textual.widget import Widget

from igrt_tui.themes import variables_of
from igrt_tui.view_model.text import Line, Lines, Span, Tone

EMPTY: Lines = ()

# tone: text colour, ground colour (names of theme variables), manner
LOOKS: dict[Tone, tuple[str, str, str]] = {
    Tone.NORMAL: ("", "", ""),
    Tone.DIM: ("igrt-dim", "", ""),
    Tone.STRONG: ("igrt-strong", "", "bold"),
    Tone.TITLE: ("igrt-dim", "", "bold"),
    Tone.KEY: ("igrt-strong", "igrt-key", "bold"),
    Tone.OK: ("igrt-ok", "", ""),
    Tone.INFO: ("igrt-info", "", ""),
    Tone.LOW: ("igrt-low", "", "bold"),
    Tone.MEDIUM: ("igrt-medium", "", "bold"),
    Tone.HIGH: ("igrt-high-text", "igrt-high", "bold"),
    Tone.BANNER: ("igrt-banner-text", "igrt-banner", "bold"),
    Tone.OLD: ("igrt-dim", "", "italic strike"),
}


class Panel(Widget):
    """Draws lines of the view model. Lines beyond its height are announced in its last line."""

    DEFAULT_CSS = """
    Panel { width: 1fr; height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._lines: Lines = EMPTY

    def with_lines(self, lines: Lines) -> Self:
        """Return the panel with lines that never change, for labels."""
        self._lines = lines
        return self

    @property
    def lines(self) -> Lines:
        """What is shown now."""
        return self._lines

    @property
    def overflowing(self) -> bool:
        """Whether there are more lines than fit."""
        return len(self._lines) > self.size.height

    def show(self, lines: Lines) -> None:
        """Show lines; nothing happens if they are on the screen already."""
        if lines == self._lines:
            return
        grows = len(lines) != len(self._lines) and self.styles.auto_dimensions
        self._lines = lines
        self.refresh(layout=grows)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many rows as lines, for panels that stand in a scrolling container."""
        return max(1, len(self._lines))

    def render(self) -> RenderResult:
        """Draw the lines that fit; say how many do not."""
        height = 0 if self.styles.auto_dimensions else self.size.height
        shown = self._lines
        if height and len(shown) > height:
            hidden = len(shown) - height + 1
            words = f"▼ {hidden} more lines: enlarge the terminal"
            shown = (*shown[: height - 1], (_warning(words),))
        styles = tone_styles(self.app.theme)
        return Content("\n").join([_content(of_line, styles) for of_line in shown])


@cache
def tone_styles(theme: str) -> dict[Tone, Style]:
    """Return how each tone looks in a theme.

    Made once for all panels: as component classes they were matched against the stylesheet for every panel of every
    screen, and that took longer than everything else together.
    """
    variables = variables_of(theme)
    styles: dict[Tone, Style] = {}
    for tone, (text, ground, manner) in LOOKS.items():
        styles[tone] = Style(
            foreground=Color.parse(variables[text]) if text else None,
            background=Color.parse(variables[ground]) if ground else None,
            bold=True if "bold" in manner else None,
            italic=True if "italic" in manner else None,
            strike=True if "strike" in manner else None,
        )
    return styles


def _warning(words: str) -> Span:
    return Span(words, Tone.MEDIUM)


def _content(of_line: Line, styles: dict[Tone, Style]) -> Content:
    return Content.assemble(*((span.text, styles[span.tone]) for span in of_line))
