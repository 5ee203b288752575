"""Quit: a word has to be typed, so that no slip of a finger takes the console away."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.widgets import Input

from igrt_hw.models.status import LoopState
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.text import Line, Tone, line, marked_paragraph, paragraph, rule
from igrt_tui.widgets.hand_typed import HandTyped
from igrt_tui.widgets.panel import Panel

WORD = "quit"
MOVING = (LoopState.ARMED, LoopState.MOVING, LoopState.HELD)


class LeaveScreen(OperatorScreen):
    """Says what quitting does; the word and Enter do it."""

    TITLE_WORDS = "Quit"
    KEYS = (("Enter", "quit, when the word is typed"), ("F2", "stay"))
    HELP = "Type the word quit and press Enter, or F2 to stay."
    AUTO_FOCUS = "#word"
    FIELD_HELP: ClassVar[dict[str, str]] = {"word": "The word quit, then Enter. F2 stays."}

    def body(self) -> ComposeResult:
        """Yield the words and the field."""
        yield Panel(id="leave")
        yield HandTyped(id="word", max_length=8)

    def draw_body(self, scene: Scene) -> None:
        """Say what quitting does now."""
        width = min(84, self.panel("leave").size.width)
        lines: list[Line] = [
            rule("Quit the terminal?", width),
            line(""),
            *paragraph(
                "The permission to move is taken away. The supervisor and its record go on; in the demo they end too.",
                width,
            ),
        ]
        if scene.status is not None and scene.status.state in MOVING:
            lines += marked_paragraph(
                Tone.MEDIUM,
                "A move is armed or running: it will be stopped and its plan void.",
                width,
            )
        lines += [
            line(""),
            *paragraph(f"Type the word {WORD} and press Enter.", width, Tone.STRONG),
        ]
        self.panel("leave").show(tuple(lines))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Quit if the word is right."""
        if event.value.strip().lower() == WORD:
            self.operator.leave()
        else:
            self.operator.answer(Answer(AnswerTone.REFUSED, f"the word is '{WORD}'; F2 stays"))
