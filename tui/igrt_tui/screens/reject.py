"""Reject a shift: a coded reason by its digit, a sentence, F8."""

from typing import ClassVar, get_args

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from igrt_hw.models.commands import Reject, RejectReason
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.text import Line, Span, Tone, dim, key, line, rule
from igrt_tui.widgets.panel import Panel

REASONS: tuple[RejectReason, ...] = get_args(RejectReason)


class RejectScreen(OperatorScreen):
    """Choose why, say it in words, F8 rejects."""

    TITLE_WORDS = "Reject"
    KEYS = (("1-6", "reason"), ("Enter", "to the text"), ("F8", "reject"), ("F2", "leave"))
    HELP = "A rejected shift is never used again. Choose a reason by its digit, write a sentence, press F8."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f8", "reject", show=False)]
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "text": "A sentence that says what was wrong, for whoever looks at it tomorrow."
    }

    def __init__(self, digest: str) -> None:
        super().__init__()
        self._digest = digest
        self._reason: RejectReason | None = None

    def body(self) -> ComposeResult:
        """Yield the reasons and the text."""
        yield Panel(id="reasons")
        yield Panel(id="text-label", classes="label").with_lines((line(dim("in your words")),))
        yield Input(id="text", max_length=500)

    def draw_body(self, scene: Scene) -> None:
        """Show the reasons, the chosen one marked."""
        width = min(84, self.panel("reasons").size.width)
        lines: list[Line] = [rule("Why is this shift rejected?", width)]
        for number, reason in enumerate(REASONS, start=1):
            chosen = reason == self._reason
            mark = "▶" if chosen else " "
            lines.append(
                line(
                    f"{mark} ",
                    key(f" {number} "),
                    Span(f" {reason}", Tone.STRONG if chosen else Tone.NORMAL),
                )
            )
        lines.append(line(""))
        lines.append(line(dim(f"shift with digest {self._digest[:16]}")))
        self.panel("reasons").show(tuple(lines))

    def on_key(self, event: events.Key) -> None:
        """Choose a reason while the text has no focus; Enter goes to the text."""
        if isinstance(self.focused, Input):
            return
        if event.key.isdigit() and 1 <= int(event.key) <= len(REASONS):
            self._reason = REASONS[int(event.key) - 1]
            self.operator.draw()
        elif event.key == "enter":
            self.part("text", Input).focus()

    def action_reject(self) -> None:
        """Send the rejection."""
        text = self.part("text", Input).value.strip()
        if self._reason is None:
            self.operator.answer(Answer(AnswerTone.REFUSED, "choose a reason first, 1 to 6"))
            return
        if not text:
            self.operator.answer(Answer(AnswerTone.REFUSED, "say in your words why"))
            return
        command = Reject(digest=self._digest, reason=self._reason, text=text)
        self.operator.ask(command, "Reject", then="console")
