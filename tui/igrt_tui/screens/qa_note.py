"""Enter one result that was measured by hand: a number in the unit of its test, or the word passed or failed."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from igrt_hw.models.commands import NoteQa
from igrt_hw.models.qa import QaTest
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.qa import typed_result
from igrt_tui.view_model.text import Line, Span, Tone, dim, key, line, marked, paragraph, rule
from igrt_tui.widgets.panel import Panel


class QaNoteScreen(OperatorScreen):
    """The result, a remark, F8."""

    TITLE_WORDS = "Daily QA, enter a result"
    KEYS = (("Tab Enter", "next field"), ("F8", "enter it"), ("^D", "leave without"))
    HELP = (
        "Type the result as it was measured. A test with a limit takes a number in its unit, with a dot; a functional "
        "test takes the word passed or failed. F8 enters it. A test may be entered again: every result is kept, the "
        "last one counts."
    )
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "result": "The number that was measured, in the unit beside the field, or the word passed or failed.",
        "remark": "In your words, if something is to be remembered. It goes into the record with the result.",
    }
    AUTO_FOCUS = "#result"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f8", "enter", show=False)]

    def __init__(self, test: QaTest, limit: float | None) -> None:
        super().__init__()
        self._test, self._limit = test, limit
        self._done = False

    def body(self) -> ComposeResult:
        """Yield the test and the two fields."""
        yield Panel(id="qa-note")
        unit = self._test.unit or "passed or failed"
        yield Panel(id="result-label", classes="label").with_lines((line(dim(f"result, {unit}")),))
        yield Input(id="result", max_length=12)
        yield Panel(id="remark-label", classes="label").with_lines((line(dim("remark")),))
        yield Input(id="remark", max_length=500)

    def draw_body(self, scene: Scene) -> None:
        """Show the test, and what the typed result would mean."""
        width = min(84, self.panel("qa-note").size.width)
        lines: list[Line] = [rule(self._test.name, width), *paragraph(self._test.sentence, width)]
        for step in self._test.steps:
            lines += paragraph(step, width, Tone.DIM)
        lines.append(line(""))
        lines.append(self._verdict())
        self.panel("qa-note").show(tuple(lines))

    def _verdict(self) -> Line:
        text = self.part("result", Input).value
        if not text:
            return line(dim("nothing is typed yet"))
        typed = typed_result(text, self._test.unit)
        if typed.problem:
            return line(marked(Tone.MEDIUM, typed.problem))
        if typed.value is None:
            good = bool(typed.passed)
        elif self._limit is None:
            return line(dim("this level has no limit; the supervisor judges"))
        else:
            good = abs(typed.value) <= self._limit
        words = "within" if good else "BEYOND"
        limit = f" the limit of {self._limit:.1f} {self._test.unit}" if self._limit else ""
        said = f"{words}{limit}" if limit else ("passed" if good else "FAILED")
        return line(
            marked(Tone.OK if good else Tone.HIGH, said), Span("   "), key(" F8 "), " enters it"
        )

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the other field; Enter enters nothing."""
        self.part("remark" if event.input.id == "result" else "result", Input).focus()

    def action_enter(self) -> None:
        """Send the result, once."""
        if self._done:
            return
        typed = typed_result(self.part("result", Input).value, self._test.unit)
        if typed.problem:
            self.operator.answer(Answer(AnswerTone.REFUSED, typed.problem))
            return
        self._done = True
        text = self.part("remark", Input).value.strip()
        command = NoteQa(test=self._test.name, value=typed.value, passed=typed.passed, text=text)
        self.operator.ask(command, f"Result of {self._test.name}", then="qa", otherwise="qa")
