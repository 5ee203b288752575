"""The first screen: what this is, what it is not, and who works here."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import Line, Lines, Span, Tone, dim, line, paragraph, rule, strong
from igrt_tui.widgets.panel import Panel

WHAT_THIS_IS = (
    "igrt-hw positions a simulated or bench-mounted patient couch from X-ray images. "
    "It is research and teaching software."
)
WHAT_IT_IS_NOT = (
    "It is NOT A MEDICAL DEVICE. It has not been verified, certified or approved for use on people. "
    "Never connect it to a couch with a person on it."
)


class LoginScreen(OperatorScreen):
    """Sign in with name and password."""

    TITLE_WORDS = "Sign in"
    KEYS = (("Tab", "next field"), ("Enter", "sign in"))
    AUTO_FOCUS = None
    HELP = (
        "Type your name and your password and press Enter. Everything you ask for is recorded under your name. "
        "The demo fills in its own user; a bench has users made with `igrt users add`."
    )
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "username": "The name that was given to `igrt users add`; the demo fills in its own.",
        "password": "Your own password. Enter signs in; the field is emptied as soon as it is sent.",
    }

    def body(self) -> ComposeResult:
        """Yield the notice and the two fields."""
        yield Panel(id="notice")
        with Vertical(id="form"):
            yield Panel(id="name-label")
            yield Input(value=self.operator.first_username, id="username")
            yield Panel(id="password-label")
            yield Input(value=self.operator.first_password, password=True, id="password")

    def on_mount(self) -> None:
        """Focus the first field that is empty."""
        empty = "username" if not self.operator.first_username else "password"
        self.part(empty, Input).focus()

    def draw_body(self, scene: Scene) -> None:
        """Say what this is, in plain words."""
        width = min(76, self.panel("notice").size.width)
        self.panel("notice").show(notice(width, self.operator.address))
        self.panel("name-label").show((line(dim("name")),))
        self.panel("password-label").show((line(dim("password")),))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on to the password, or sign in."""
        if event.input.id == "username":
            self.part("password", Input).focus()
            return
        password = self.part("password", Input)
        self.operator.sign_in(self.part("username", Input).value.strip(), password.value)
        password.value = ""


def notice(width: int, address: str) -> Lines:
    """Return the words of the first screen."""
    lines: list[Line] = [
        rule("igrt-hw  operator's terminal", width),
        line(""),
        *paragraph(WHAT_THIS_IS, width),
        line(""),
        *paragraph(WHAT_IT_IS_NOT, width, Tone.STRONG),
        line(""),
        line(strong("What was approved is what moves, it moves only while someone holds the")),
        line(
            strong("enable, and it can always be stopped: "),
            Span(" Esc ", Tone.KEY),
            strong(" or "),
            Span(" F12 ", Tone.KEY),
            strong(" on every screen."),
        ),
        line(""),
        line(dim(f"supervisor: {address}")),
    ]
    return tuple(lines)
