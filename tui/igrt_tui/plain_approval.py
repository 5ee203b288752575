"""The approval in the plain mode: the ritual of the screens in lines, by the person here or by a second one.

A second person signs in for one approval, in a session of their own that ends with it however it is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from igrt_hw.client import ClientError
from igrt_hw.models.commands import Approve, RequestChallenge
from igrt_hw.models.proposal import ApprovalChallenge
from igrt_tui import approval
from igrt_tui.approval import Phase, Ritual
from igrt_tui.supervisor import Supervisor
from igrt_tui.view_model import second_person
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import Lines

Answerer = Callable[[str], Awaitable[None]]
NOT_A_TERMINAL = "an approval is typed by hand, character by character: it needs a terminal, not a file or a pipe"
REPLACED = "the shift was replaced by another one: read the new one first"
NAME_WORDS = "name of the second person:"
PASSWORD_WORDS = "password:"


@dataclass(frozen=True, slots=True)
class Desk:
    """What an approval uses of the session that it is part of."""

    scene: Callable[[], Scene]
    say: Callable[[str], None]
    ask: Callable[[str, Answerer], None]
    stop_asking: Callable[[], bool]
    """Take a question back; True if one was open."""
    read_shift: Callable[[], None]
    read_out: Callable[[Lines], None]
    by_character: Callable[[bool], bool]
    clock_us: Callable[[], int]
    spawn: Callable[[Awaitable[None]], None]


class PlainApproval:
    """At most one approval at a time: nobody, a second person who signs in, or somebody who reads and types."""

    def __init__(self, supervisor: Supervisor, desk: Desk) -> None:
        self._supervisor = supervisor
        self._desk = desk
        self._ritual: Ritual | None = None
        self._guest: Supervisor | None = None
        self._signing_in: str | None = None
        self._code_entered = False

    @property
    def reading(self) -> bool:
        """Whether somebody types code and number now."""
        return self._ritual is not None and self._ritual.phase is Phase.READING

    @property
    def going_on(self) -> bool:
        """Whether anything of an approval is open."""
        return self._ritual is not None or self._signing_in is not None

    def watch(self) -> None:
        """Close what is open if its ground has changed."""
        scene = self._desk.scene()
        if self._signing_in is not None:
            reason = self._why_over(scene, self._signing_in)
            if reason:
                self.close(reason)
            return
        if self._ritual is not None and self._ritual.phase is not Phase.CLOSED:
            self._ritual = approval.watched(self._ritual, scene)
            self._ended()

    @staticmethod
    def _why_over(scene: Scene, digest: str) -> str:
        proposal = scene.status.proposal if scene.status else None
        if proposal is not None and proposal.digest != digest:
            return REPLACED
        return approval.why_not_open(scene, None)

    async def open(self) -> None:
        """Begin: by who is signed in here, or, if they have approved already, by asking for a second person."""
        # A line terminal has no size below which something is hidden: everything is read out.
        scene = self._desk.scene()
        user = scene.local.user
        if user is not None and approval.needs_second(scene, user.username):
            self._ask_second(scene)
            return
        reason = approval.why_not_open(scene, user.username if user else None)
        if reason or user is None:
            self._desk.say(f"cannot approve: {reason}")
            return
        await self._read_and_type(user.username, self._supervisor)

    # The second person

    def _ask_second(self, scene: Scene) -> None:
        proposal = scene.status.proposal if scene.status else None
        if proposal is None:
            return
        self._signing_in = proposal.digest
        self._desk.read_out(second_person.notice(scene, 400))
        self._desk.ask(NAME_WORDS, self._take_name)

    async def _take_name(self, text: str) -> None:
        username = text.strip()
        reason = approval.why_not_second(self._desk.scene(), username)
        if reason:
            self.close(reason)
            return

        async def take_password(password: str) -> None:
            await self._sign_in(username, password)

        self._desk.ask(PASSWORD_WORDS, take_password)

    async def _sign_in(self, username: str, password: str) -> None:
        digest = self._signing_in
        try:
            other = await self._supervisor.second_person(username, password)
        except ClientError as error:
            self.close(str(error))
            return
        who = other.signed_in
        scene = self._desk.scene()
        name = who.username if who else ""
        reason = approval.why_not_second(scene, name)
        if digest is None or self._signing_in != digest:
            await self._end_session(other)
            return
        reason = reason or self._why_over(scene, digest)
        self._signing_in = None
        self._guest = other
        if reason:
            self.close(reason)
            return
        self._desk.say(f"{name} reads and types now; their session ends with this approval")
        await self._read_and_type(name, other)

    async def _end_session(self, other: Supervisor) -> None:
        try:
            await other.logout()
        except ClientError as error:
            # The service ends it with the session of the first person in any case.
            self._desk.say(f"the end of the second session was not confirmed: {error}")
        finally:
            await other.close()

    # Reading and typing

    async def _read_and_type(self, username: str, approver: Supervisor) -> None:
        if not self._desk.by_character(True):
            self.close(NOT_A_TERMINAL)
            return
        self._code_entered = False
        self._ritual = ritual = approval.open_ritual(self._desk.scene(), username)
        self._desk.read_shift()
        try:
            result = await approver.send(RequestChallenge(digest=ritual.digest))
        except ClientError as error:
            self.close(str(error))
            return
        if self._ritual is not ritual:
            return  # closed while the challenge was on its way
        if not result.accepted:
            self.close(result.message)
            return
        challenge = ApprovalChallenge.model_validate(result.data.get("challenge", result.data))
        self._ritual = approval.challenged(ritual, challenge, self._desk.clock_us())
        if self._ended():
            return
        self._desk.say(f"the code is {' '.join(challenge.code)}")
        self._desk.say(
            "type the code by hand, without spaces, and Enter; Backspace empties it; Esc is HOLD:"
        )

    async def character(self, character: str) -> None:
        """Take one character of code or number, when it was typed."""
        ritual = self._ritual
        if ritual is None or ritual.phase is not Phase.READING or ritual.challenge is None:
            return
        in_code = ritual.code.text != ritual.challenge.code or not self._code_entered
        if character in ("\r", "\n"):
            self._entered(in_code)
        elif character in ("\x7f", "\b"):
            self._set_field("", in_code)
            self._desk.say("emptied; type it again:")
        elif character.isprintable():
            field = ritual.code if in_code else ritual.fact
            self._set_field(field.text + character, in_code)

    def _set_field(self, text: str, in_code: bool) -> None:
        if self._ritual is None:
            return
        take = approval.with_code if in_code else approval.with_fact
        self._ritual = take(self._ritual, text, self._desk.clock_us())
        if self._ritual.notice:
            self._desk.say(self._ritual.notice)

    def _entered(self, in_code: bool) -> None:
        ritual = self._ritual
        if ritual is None or ritual.challenge is None:
            return
        if in_code:
            if ritual.code.text == ritual.challenge.code:
                self._code_entered = True
                self._desk.say(ritual.challenge.fact_prompt)
            else:
                self._set_field("", in_code=True)
                self._desk.say("that is not the code; type it again:")
            return
        scene = self._desk.scene()
        steps = approval.steps(ritual, scene.local.now_us)
        missing = [step.words for step in steps if not step.done]
        if missing:
            self._desk.say(f"not yet: {missing[0]}; press Enter again when it is")
            return
        self._desk.by_character(False)
        self._desk.ask(
            "type the word approve and Enter to approve this shift, once; anything else leaves it:",
            self._approve,
        )

    async def _approve(self, text: str) -> None:
        ritual, scene = self._ritual, self._desk.scene()
        if ritual is None:
            return
        if text.strip().lower() != "approve":
            self.close("left by the person at the terminal")
            return
        self._ritual = ritual = approval.watched(ritual, scene)
        if self._ended():
            return
        self._ritual, send = approval.pressed(ritual, scene.local.now_us, scene.local.old)
        if not send or ritual.challenge is None:
            self.close(self._ritual.notice or "it could not be sent")
            return
        command = Approve(
            digest=ritual.digest,
            challenge_id=ritual.challenge.challenge_id,
            code=ritual.code.text,
            fact=ritual.fact.text.strip(),
        )
        approver = self._guest or self._supervisor
        self._ritual, self._code_entered = None, False
        try:
            result = await approver.send(command)
            self._desk.say(result.message if result.accepted else f"refused: {result.message}")
        finally:
            self._let_guest_go()

    def _ended(self) -> bool:
        if self._ritual is None or self._ritual.phase is not Phase.CLOSED:
            return False
        self.close(self._ritual.closed_because)
        return True

    def close(self, reason: str) -> None:
        """End what is open; what was typed is forgotten, and a line that was asked for is taken for nothing else."""
        asked = self.going_on and self._desk.stop_asking()
        self._ritual, self._signing_in, self._code_entered = None, None, False
        self._desk.by_character(False)
        self._let_guest_go()
        self._desk.say(f"approval closed: {reason}")
        if asked:
            self._desk.ask(
                "the line that was being typed is not taken; press Enter to go on:", self._swallow
            )

    async def _swallow(self, _: str) -> None:
        self._desk.say("not taken")

    def _let_guest_go(self) -> None:
        guest, self._guest = self._guest, None
        if guest is not None:
            self._desk.spawn(self._end_session(guest))
