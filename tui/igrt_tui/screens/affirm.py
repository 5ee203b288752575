"""The second key of an act that can do harm: a sentence that a person affirms with F8."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.acts import Act, why_not
from igrt_tui.view_model.console import alara_lines
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import (
    Line,
    Span,
    Tone,
    key,
    line,
    marked_paragraph,
    paragraph,
    rule,
    strong,
)
from igrt_tui.widgets.panel import Panel


class AffirmScreen(OperatorScreen):
    """Shows the sentence; F8 does the act, F2 leaves without it. Enter and space do nothing."""

    TITLE_WORDS = "Affirm"
    KEYS = (("F8", "do it"), ("F2", "leave without"))
    HELP = "Read the sentence. F8 says that it is true and does the act. F2 goes back and does nothing."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f8", "affirm", show=False)]

    def __init__(self, act: Act) -> None:
        super().__init__()
        self._act = act
        self._done = False

    def body(self) -> ComposeResult:
        """Yield the sentence."""
        yield Panel(id="affirm")

    def draw_body(self, scene: Scene) -> None:
        """Show what is asked, and why it cannot be done if the state has gone on."""
        panel = self.panel("affirm")
        width = min(84, panel.size.width)
        lines: list[Line] = [
            line(""),
            rule(self._act.meaning, width),
            line(""),
            *paragraph(self._act.asks, width, Tone.STRONG),
            line(""),
        ]
        reason = why_not(self._act, scene)
        if reason:
            lines += marked_paragraph(Tone.MEDIUM, f"Not now: {reason}", width)
        else:
            lines.append(line(key(" F8 "), strong(f" {self._act.meaning}")))
        lines.append(line(key(" F2 "), Span(" leave, nothing happens")))
        if self._act.name == "images":
            lines += alara_lines(scene.status, width)
        panel.show(tuple(lines))

    def action_affirm(self) -> None:
        """Do the act, once; a held F8 finds it done."""
        if self._done:
            return
        self._done = self.operator.do_act(self._act)
