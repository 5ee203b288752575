"""A second person signs in, on the same terminal, for one approval of their own. The first stays signed in."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Input

from igrt_tui import approval
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.second_person import notice
from igrt_tui.view_model.text import dim, line
from igrt_tui.widgets.hand_typed import HandTyped
from igrt_tui.widgets.panel import Panel


class SecondPersonScreen(OperatorScreen):
    """Name and password of another person; Enter signs in, and the reading begins. It approves nothing."""

    TITLE_WORDS = "Second person"
    KEYS = (("Tab", "next field"), ("Enter", "sign in"), ("F2", "leave without"))
    HELP = (
        "This shift needs two people. The second one signs in here with their own name and password, reads the shift "
        "and types another number than the first. Their session is for this approval and ends with it; the first "
        "person stays signed in, HOLD works all the time. The same person twice is refused, here and by the supervisor."
    )
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "second-name": "The name of the second person, as it was given to `igrt users add`.",
        "second-password": "The second person types their own password; it is forgotten as soon as it is sent.",
    }
    AUTO_FOCUS = "#second-name"

    def __init__(self, digest: str) -> None:
        super().__init__()
        self._digest = digest
        self._signing_in = False
        self._left = False

    def body(self) -> ComposeResult:
        """Yield the words and the two fields."""
        yield Panel(id="second-notice")
        with Vertical(id="second-form"):
            yield Panel(id="second-name-label").with_lines((line(dim("name")),))
            yield Input(id="second-name", max_length=64)
            yield Panel(id="second-password-label").with_lines((line(dim("password")),))
            yield HandTyped(id="second-password", password=True, max_length=256)

    def draw_body(self, scene: Scene) -> None:
        """Watch the shift that is to be approved; say who has approved it."""
        reason = self._why_over(scene)
        if reason:
            self._leave(reason)
            return
        panel = self.panel("second-notice")
        panel.show(notice(scene, min(84, panel.size.width)))

    def _why_over(self, scene: Scene) -> str:
        proposal = scene.status.proposal if scene.status else None
        if proposal is not None and proposal.digest != self._digest:
            return "the shift was replaced by another one: read the new one first"
        return approval.why_not_open(scene, None)

    def _leave(self, reason: str) -> None:
        if self._left:
            return
        self._left = True
        self._forget()
        self.operator.answer(Answer(AnswerTone.REFUSED, f"second approval closed: {reason}"))
        self.operator.go("review")

    def _forget(self) -> None:
        for name in ("second-name", "second-password"):
            self.part(name, Input).clear()

    def on_hand_typed_paste_refused(self) -> None:
        """Say that pasting is off."""
        self.operator.answer(Answer(AnswerTone.REFUSED, "pasting is off here: type it"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on to the password, or sign in."""
        if event.input.id == "second-name":
            self.part("second-password", Input).focus()
            return
        name, password = self.part("second-name", Input), self.part("second-password", Input)
        username, word = name.value.strip(), password.value
        password.clear()
        if self._signing_in:
            return
        reason = approval.why_not_second(self.operator.scene(), username)
        if reason:
            self.operator.answer(Answer(AnswerTone.REFUSED, reason))
            return
        self._signing_in = True
        self.operator.answer(Answer(AnswerTone.WORKING, "signing in ..."))
        self.operator.spawn(self._sign_in(username, word), "second sign-in")

    async def _sign_in(self, username: str, password: str) -> None:
        try:
            other = await self.operator.supervisor.second_person(username, password)
        finally:
            self._signing_in = False
        if self._left or not self.is_current:
            await self.operator.end_session(other)
            return
        await self.operator.open_second(other, self._digest)

    def on_hold(self) -> None:
        """HOLD ends it."""
        self._leave("HOLD was pressed")
