"""A panel of toned lines: redrawn only when they change, never silently cut."""

from typing import ClassVar, Self

from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.style import Style
from textual.widget import Widget

from igrt_tui.view_model.text import Line, Lines, Span, Tone

EMPTY: Lines = ()


class Panel(Widget):
    """Draws lines of the view model. Lines beyond its height are announced in its last line."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"tone--{tone.value}" for tone in Tone}
    DEFAULT_CSS = """
    Panel { width: 1fr; height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    Panel .tone--normal { color: $foreground; }
    Panel .tone--dim { color: $igrt-dim; }
    Panel .tone--strong { color: $igrt-strong; text-style: bold; }
    Panel .tone--title { color: $igrt-dim; text-style: bold; }
    Panel .tone--key { color: $igrt-strong; background: $igrt-key; text-style: bold; }
    Panel .tone--ok { color: $igrt-ok; }
    Panel .tone--info { color: $igrt-info; }
    Panel .tone--low { color: $igrt-low; text-style: bold; }
    Panel .tone--medium { color: $igrt-medium; text-style: bold; }
    Panel .tone--high { color: $igrt-high-text; background: $igrt-high; text-style: bold; }
    Panel .tone--old { color: $igrt-dim; text-style: italic strike; }
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
        styles = {tone: self.get_visual_style(f"tone--{tone.value}") for tone in Tone}
        return Content("\n").join([_content(of_line, styles) for of_line in shown])


def _warning(words: str) -> Span:
    return Span(words, Tone.MEDIUM)


def _content(of_line: Line, styles: dict[Tone, Style]) -> Content:
    return Content.assemble(*((span.text, styles[span.tone]) for span in of_line))
