"""Help for the screen that was in front, and the keys that work everywhere."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.header import key_line
from igrt_tui.view_model.local import OLD_AFTER_MS, Scene
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
    ("Ctrl+P", "where to: every screen by name, also those without a key of their own"),
    ("Ctrl+D", "daily QA"),
    ("Ctrl+R", "trends: shifts by fraction"),
    ("Ctrl+T", "colours: dark, light, high contrast"),
    ("Ctrl+Q", "quit; asks for a word. Quitting takes the permission to move away"),
)
MARKS = (
    "✓ as it should be    ▲ look here    ✗ wrong    "
    f"◌ old: not heard for more than {OLD_AFTER_MS:.0f} ms, struck through    "
    "*** ** * alarm of high, medium, low priority"
)


class HelpScreen(OperatorScreen):
    """What the screen before this one is for."""

    TITLE_WORDS = "Help"
    KEYS = (("F1", "back"), ("p", "procedures: recovery, egress"), ("F2", "console"))

    HELP = "F1 goes back to where you were; what was typed there is still there."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "procedures", show=False),
        Binding("pageup", "page(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
    ]

    def __init__(
        self,
        title: str,
        words: str,
        keys: tuple[tuple[str, str], ...],
        focus: tuple[str, str] | None = None,
    ) -> None:
        """Say what a screen is for, and before it what has the focus: its name and what is to be known of it."""
        super().__init__()
        self._about = (title, words, keys)
        self._focus = focus

    def body(self) -> ComposeResult:
        """Yield the text."""
        with VerticalScroll(id="help-scroll", can_focus=False):
            yield Panel(id="help", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Draw the text."""
        panel = self.panel("help")
        width = min(96, max(20, panel.size.width))
        panel.show(focus_lines(self._focus, width) + help_lines(*self._about, width=width))

    def action_procedures(self) -> None:
        """Go to recovery and egress."""
        self.operator.go("procedures")

    def action_page(self, step: int) -> None:
        """Scroll by a page."""
        scroll = self.panel("help").parent
        if isinstance(scroll, VerticalScroll):
            scroll.scroll_relative(y=step * max(1, scroll.size.height - 1), animate=False)


def focus_lines(focus: tuple[str, str] | None, width: int) -> Lines:
    """Say what the field that has the focus wants; nothing where none has."""
    if focus is None:
        return ()
    name, words = focus
    title = f"The field you are in: {name.replace('-', ' ')}"
    return (rule(title, width), *paragraph(words, width, Tone.STRONG), line(""))


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
