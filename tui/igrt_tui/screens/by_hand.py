"""Take a match by hand to the supervisor: a coded reason by its digit, a sentence, F8."""

from typing import ClassVar, get_args

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from igrt_hw.geometry import Correction
from igrt_hw.models.commands import HandMatch, HandMatchReason, RegisterImages
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.numbers import signed
from igrt_tui.view_model.text import Line, Span, Tone, dim, key, line, paragraph, rule, strong
from igrt_tui.widgets.panel import Panel

REASONS: tuple[HandMatchReason, ...] = get_args(HandMatchReason)
WHAT_FOLLOWS = (
    "The supervisor takes this as a doubtful registration: the shift that comes of it needs a second person's "
    "approval, and the position cannot be verified by a match by hand."
)


class ByHandScreen(OperatorScreen):
    """Choose why, say it in words, F8 sends it."""

    TITLE_WORDS = "Match by hand"
    KEYS = (("1-4", "reason"), ("Enter", "to the text"), ("F8", "take this match"), ("F3", "leave"))
    HELP = "A match by hand replaces the registration. Choose a reason by its digit, write a sentence, press F8."
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f8", "take", show=False)]
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "text": "A sentence that says why the images were matched by hand; the second person reads it."
    }

    def __init__(self, correction: Correction) -> None:
        super().__init__()
        self._correction = correction
        self._reason: HandMatchReason | None = None

    def body(self) -> ComposeResult:
        """Yield the numbers, the reasons and the text."""
        yield Panel(id="by-hand")
        yield Panel(id="text-label", classes="label").with_lines((line(dim("in your words")),))
        yield Input(id="text", max_length=500)

    def draw_body(self, scene: Scene) -> None:
        """Show the match and the reasons, the chosen one marked."""
        width = min(84, self.panel("by-hand").size.width)
        c = self._correction
        lines: list[Line] = [
            rule("The shift that this match means", width),
            line(
                strong(
                    f"lat {signed(c.lateral_mm, 'mm')}  lng {signed(c.longitudinal_mm, 'mm')}  "
                    f"vrt {signed(c.vertical_mm, 'mm')}  rtn {signed(c.rotation_deg, 'deg')}  "
                    f"pitch {signed(c.pitch_deg, 'deg')}  roll {signed(c.roll_deg, 'deg')}"
                )
            ),
            *paragraph(WHAT_FOLLOWS, width, Tone.DIM),
            line(""),
            rule("Why by hand?", width),
        ]
        for number, reason in enumerate(REASONS, start=1):
            chosen = reason == self._reason
            tone = Tone.STRONG if chosen else Tone.NORMAL
            lines.append(
                line("▶ " if chosen else "  ", key(f" {number} "), Span(f" {reason}", tone))
            )
        self.panel("by-hand").show(tuple(lines))

    def on_key(self, event: events.Key) -> None:
        """Choose a reason while the text has no focus; Enter goes to the text."""
        if isinstance(self.focused, Input):
            return
        if event.key.isdigit() and 1 <= int(event.key) <= len(REASONS):
            self._reason = REASONS[int(event.key) - 1]
            self.operator.draw()
        elif event.key == "enter":
            self.part("text", Input).focus()

    def action_take(self) -> None:
        """Send the match."""
        text = self.part("text", Input).value.strip()
        if self._reason is None:
            self.operator.answer(Answer(AnswerTone.REFUSED, "choose a reason first, 1 to 4"))
            return
        if not text:
            self.operator.answer(Answer(AnswerTone.REFUSED, "say in your words why"))
            return
        match = HandMatch(correction=self._correction, reason=self._reason, text=text)
        self.operator.ask(RegisterImages(by_hand=match), "Match by hand", then="console")
