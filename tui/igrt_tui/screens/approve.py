"""The approval: the shift on the left, what has to be typed on the right. The rules are in `igrt_tui.approval`."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from igrt_hw.client import ClientError
from igrt_hw.models.commands import Approve, RequestChallenge
from igrt_hw.models.proposal import ApprovalChallenge
from igrt_tui import approval
from igrt_tui.approval import Phase, Ritual
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.supervisor import Supervisor
from igrt_tui.view_model import approve, review
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.text import dim, line
from igrt_tui.widgets.hand_typed import HandTyped
from igrt_tui.widgets.panel import Panel

CODE_LABEL = (line(dim("code")),)
FACT_LABEL = (line(dim("number")),)


class ApproveScreen(OperatorScreen):
    """One attempt of one person to approve one digest."""

    TITLE_WORDS = "Approve"
    KEYS = (
        ("Tab Enter", "next field"),
        ("F8", "approve, when all is typed"),
        ("F2", "leave without"),
    )
    HELP = (
        "Read the shift, then type the code and the number that is asked for, by hand and with the sign. F8 approves, "
        "once, and only when everything on its list is there. Enter, paste, a held key and a key hit twice approve "
        "nothing. Any change of the shift, a lost supervisor or HOLD closes this screen."
    )
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "code": "The four characters of the code, typed as they are shown, without spaces.",
        "fact": "The number that is asked for, with its sign and one decimal, as it stands in the row marked ▶.",
    }
    BINDINGS: ClassVar[list[BindingType]] = [Binding("f8", "approve", show=False)]

    def __init__(self, ritual: Ritual, approver: Supervisor, *, guest: bool = False) -> None:
        """Begin; `guest`: the approver's session is for this approval alone, and ends with this screen."""
        super().__init__()
        self.ritual = ritual
        self._approver = approver
        self._guest = guest
        self._left = False

    def body(self) -> ComposeResult:
        """Yield the shift and the fields; nothing here is a button."""
        yield Panel(id="shift")
        with Horizontal():
            with Vertical(id="approve-left"):
                yield Panel(id="axes")
                yield Panel(id="clearance")
                yield Panel(id="checks")
            with Vertical(id="approve-right"):
                yield Panel(id="challenge")
                for name, label in (("code", CODE_LABEL), ("fact", FACT_LABEL)):
                    with Horizontal(classes="field"):
                        yield Panel(classes="label").with_lines(label)
                        yield HandTyped(id=name, disabled=True)
                yield Panel(id="steps")

    def on_mount(self) -> None:
        """First act: open, and ask for the challenge."""
        self.operator.spawn(self._request(), "challenge")

    def on_unmount(self) -> None:
        """End the session of a second person, however this screen was left."""
        if self._guest:
            self.operator.spawn(self.operator.end_session(self._approver), "end of a session")

    async def _request(self) -> None:
        try:
            result = await self._approver.send(RequestChallenge(digest=self.ritual.digest))
        except ClientError as error:
            self._close(str(error))
            return
        if not result.accepted:
            self._close(result.message)
            return
        body = result.data.get("challenge", result.data)
        challenge = ApprovalChallenge.model_validate(body)
        self.ritual = approval.challenged(self.ritual, challenge, self.operator.now_us())
        if self.ritual.phase is Phase.READING and self.is_mounted:
            for name in ("code", "fact"):
                self.part(name, HandTyped).disabled = False
            self.part("code", HandTyped).focus()

    def draw_body(self, scene: Scene) -> None:
        """Watch for changes, then draw."""
        if self.ritual.phase is Phase.CLOSED:
            self._leave()  # closed while help stood in front of it
            return
        self.ritual = approval.watched(self.ritual, scene)
        if self.ritual.phase is Phase.CLOSED:
            self._leave()
            return
        self.panel("shift").show(review.shift_panel(scene, self.panel("shift").size.width))
        left, right = self.panel("axes").size.width - 2, self.panel("steps").size.width
        asked = self.ritual.challenge.fact_axis if self.ritual.challenge else ""
        self.panel("axes").show(review.axes_panel(scene, left, asked))
        self.panel("clearance").show(review.clearance_panel(scene, left))
        checks = self.panel("checks")
        checks.show(review.checks_panel(scene, left, checks.size.height, brief=True))
        supervisor_us = scene.status.now_us if scene.status else None
        self.panel("challenge").show(approve.challenge_panel(self.ritual, supervisor_us, right))
        self.panel("steps").show(approve.steps_panel(self.ritual, scene.local, right))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Take a character of one of the two fields; empty the field if no hand typed it."""
        if event.value != event.input.value:
            return  # an older change: a newer one is on its way
        now_us = self.operator.now_us()
        take = approval.with_code if event.input.id == "code" else approval.with_fact
        self.ritual = take(self.ritual, event.value, now_us)
        field = self.ritual.code if event.input.id == "code" else self.ritual.fact
        if field.text != event.value:
            event.input.clear()
            self.operator.answer(Answer(AnswerTone.REFUSED, self.ritual.notice))
        self.operator.draw()

    def on_hand_typed_paste_refused(self) -> None:
        """Say that pasting is off."""
        self.operator.answer(Answer(AnswerTone.REFUSED, "pasting is off here: type what you read"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the other field; Enter approves nothing."""
        other = "fact" if event.input.id == "code" else "code"
        self.part(other, HandTyped).focus()

    def action_approve(self) -> None:
        """Second act: F8, which counts only when nothing is missing."""
        self.operator.draw()  # watches for a change in this very instant
        local = self.operator.scene().local
        self.ritual, send = approval.pressed(self.ritual, local.now_us, local.old)
        if self.ritual.notice:
            self.operator.answer(Answer(AnswerTone.REFUSED, self.ritual.notice))
        if send:
            self.operator.answer(Answer(AnswerTone.WORKING, "approving ..."))
            self.operator.spawn(self._send(), "approve")
        self.operator.draw()

    async def _send(self) -> None:
        challenge = self.ritual.challenge
        if challenge is None:
            return
        command = Approve(
            digest=self.ritual.digest,
            challenge_id=challenge.challenge_id,
            code=self.ritual.code.text,
            fact=self.ritual.fact.text.strip(),
        )
        try:
            result = await self._approver.send(command)
        except Exception:
            self._close(
                "the answer to the approval did not arrive; see the console whether it counts"
            )
            raise
        if result.accepted:
            self.operator.answer(Answer(AnswerTone.ACCEPTED, result.message or "approved"))
            self.operator.go("console")
        else:
            self._close(result.message)

    def behind(self, scene: Scene) -> None:
        """Watch for changes while help stands in front: what was read must still be what is approved."""
        self.ritual = approval.watched(self.ritual, scene)

    def on_hold(self) -> None:
        """HOLD ends the approval."""
        self._close("HOLD was pressed")

    def _close(self, reason: str) -> None:
        self.ritual = approval.closed(self.ritual, reason)
        self._leave()

    def _leave(self) -> None:
        if self._left:
            return
        self.operator.answer(
            Answer(AnswerTone.REFUSED, f"approval closed: {self.ritual.closed_because}")
        )
        if self.is_current:
            self._left = True
            self.operator.go("review")
