"""Help for the screen that was in front, and the keys that work everywhere."""

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.header import key_line
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import Line, Lines, Tone, line, paragraph, rule
from igrt_tui.widgets.panel import Panel

EVERYWHERE = (
    (
        "Esc F12",
        "HOLD: stops whatever moves, at once, from every screen and every field; plan and permission are void",
    ),
    ("F1", "this help"),
    ("F2", "the console; leaves any form without doing anything"),
    ("F8", "the one key that does what a screen asks; Enter never does"),
    ("Ctrl+T", "colours: dark, light, high contrast"),
    ("Ctrl+Q", "quit; asks for a word. Quitting takes the permission to move away"),
)
MARKS = (
    "✓ as it should be    ▲ look here    ✗ wrong    ◌ old: not heard for more than 200 ms, struck through    "
    "*** ** * alarm of high, medium, low priority"
)


class HelpScreen(OperatorScreen):
    """What the screen before this one is for."""

    TITLE_WORDS = "Help"
    KEYS = (("F2", "console"), ("F1", "back"))

    def __init__(
        self, title: str, words: str, keys: tuple[tuple[str, str], ...], back: str
    ) -> None:
        super().__init__()
        self._about = (title, words, keys)
        self.back = back

    def body(self) -> ComposeResult:
        """Yield the text."""
        with VerticalScroll():
            yield Panel(id="help", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Draw the text."""
        panel = self.panel("help")
        panel.show(help_lines(*self._about, width=min(96, max(20, panel.size.width))))


def help_lines(title: str, words: str, keys: tuple[tuple[str, str], ...], width: int) -> Lines:
    """Return the help of one screen."""
    lines: list[Line] = [rule(f"{title}", width), *paragraph(words, width)]
    if keys:
        lines += [line(""), key_line(keys)]
    lines += [line(""), rule("Everywhere", width)]
    for name, meaning in EVERYWHERE:
        body = paragraph(meaning, width, indent=10)
        head = key_line(((name, ""),))[0]
        lines += [
            (head, *line(" " * max(0, 10 - len(head.text))), *line(body[0][0].text[10:])),
            *body[1:],
        ]
    lines += [line(""), rule("Marks", width), *paragraph(MARKS, width, Tone.NORMAL)]
    return tuple(lines)
