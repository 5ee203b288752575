"""The plain mode: the whole loop in lines of text, for a screen reader, a braille line or a simple terminal.

Nothing is drawn, no cursor is moved, nothing is said by colour. It talks to the supervisor through the same client and
thinks with the same view model and the same ritual of approval as the screens do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from typing import get_args

from igrt_hw.client import ClientError, NotSignedInError, SimulatorError, StreamUpdate
from igrt_hw.models.commands import (
    AcknowledgeAlarm,
    Command,
    OpenPatient,
    Reject,
    RejectReason,
    Stop,
)
from igrt_hw.models.room import RoomQuestion
from igrt_hw.models.status import SupervisorStatus
from igrt_tui.plain_approval import Answerer, Desk, PlainApproval
from igrt_tui.plain_books import PlainBooks
from igrt_tui.supervisor import Hand, Supervisor
from igrt_tui.view_model import alarms, console, images, motion, plain, review, target
from igrt_tui.view_model.acts import ACTS, Act, command_of, why_not
from igrt_tui.view_model.header import identity_line, ordered_alarms, state_line
from igrt_tui.view_model.local import HoldReport, Local, PendantReport, Scene, User
from igrt_tui.view_model.numbers import unsigned
from igrt_tui.view_model.target import Trace
from igrt_tui.view_model.text import Lines

HOLD_ATTEMPTS = 3
RESTART_S = 0.5
TICK_S = 0.05
ENABLE_S_MAX = 60.0
REASONS: tuple[RejectReason, ...] = get_args(RejectReason)


class PlainSession:
    """One person at a line terminal. `line` takes what was typed; `say` puts out one line."""

    def __init__(
        self,
        supervisor: Supervisor,
        say: Callable[[str], None],
        *,
        clock_us: Callable[[], int],
        hand: Hand | None = None,
        by_character: Callable[[bool], bool] = lambda wanted: False,
        terminal_id: str = "plain",
    ) -> None:
        self.supervisor = supervisor
        self._say = say
        self._clock_us = clock_us
        self._hand = hand
        self._terminal_id = terminal_id
        self._status: SupervisorStatus | None = None
        self._local = Local(now_us=clock_us(), pendant=PendantReport(available=hand is not None))
        self._told = plain.Told()
        self._question: Answerer | None = None
        self._trace = Trace()
        self._books = PlainBooks(supervisor, self.scene, say, self._ask, self._send)
        desk = Desk(
            self.scene, say, self._ask, self._stop_asking, self._read_shift, self._read_out,
            by_character, clock_us, self._spawn,
        )  # fmt: skip
        self._approval = PlainApproval(supervisor, desk)
        self._holding = False
        self._listener: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended = asyncio.Event()

    # What is known

    def scene(self) -> Scene:
        """Everything that is known now."""
        return Scene(self._status, replace(self._local, now_us=self._clock_us()))

    def hear(self, update: StreamUpdate) -> None:
        """Take what the stream knows, and say what is new."""
        received_us = self._local.received_us
        if update.age_ms is not None:
            received_us = self._clock_us() - round(update.age_ms * 1000)
        self._status = update.status
        self._trace = self._trace.with_status(update.status)
        self._local = replace(
            self._local, connected=update.connected, cause=update.cause, received_us=received_us
        )
        self.tick()

    def tick(self) -> None:
        """Say what has changed; end an approval whose ground has changed."""
        scene = self.scene()
        self._told, said = plain.news(self._told, scene)
        for words in said:
            self._say(words)
        self._approval.watch()

    def alive(self) -> bool:
        """Whether this terminal may keep the permission to move: not while a HOLD waits to be confirmed."""
        return not (self._holding or self.ended.is_set())

    # Life

    async def begin(self, username: str = "", password: str = "") -> None:
        """Say the first words and sign in, or ask who it is."""
        with suppress(ClientError):
            health = await self.supervisor.health()
            self._local = replace(self._local, announced_simulator=health.simulator)
        for words in plain.first_words(self.scene()):
            self._say(words)
        if username and password:
            await self._sign_in(username, password)
        else:
            self._ask("name:", self._take_name)

    async def _take_name(self, name: str) -> None:
        async def take_password(password: str) -> None:
            await self._sign_in(name.strip(), password)

        self._ask("password:", take_password)

    async def _sign_in(self, username: str, password: str) -> None:
        try:
            who = await self.supervisor.login(username, password)
        except ClientError as error:
            self._say(f"refused: {error}")
            self._ask("name:", self._take_name)
            return
        user = User(who.username, who.display_name, who.role.value)
        self._local = replace(self._local, user=user)
        self._say(f"signed in as {user.named}")
        self._listener = asyncio.create_task(self._listen())
        await self._books.open()

    async def _listen(self) -> None:
        while not self.ended.is_set():
            try:
                stream = self.supervisor.stream(self._terminal_id, alive=self.alive)
                async with aclosing(stream) as updates:
                    async for update in updates:
                        self.hear(update)
            except NotSignedInError as error:
                self._local = replace(self._local, user=None, connected=False, cause=str(error))
                self._say(f"signed out: {error}")
                self._ask("name:", self._take_name)
                return
            except ClientError as error:
                self._local = replace(self._local, connected=False, cause=str(error))
                self.tick()
            await asyncio.sleep(RESTART_S)

    async def end(self) -> None:
        """Stop what is armed, sign out, end."""
        if self.ended.is_set():
            return
        self.ended.set()
        if self._approval.going_on:
            self._approval.close("this terminal was left")
        with suppress(ClientError, TimeoutError):
            async with asyncio.timeout(3.0):
                if self._status is not None and self._status.state in plain.ARMED:
                    await self.supervisor.send(Stop(reason="the plain terminal was closed"))
                if self._local.user is not None:
                    await self.supervisor.logout()
                await self.supervisor.close()
                if self._hand is not None:
                    await self._hand.close()
        if self._listener is not None:
            self._listener.cancel()

    # What is typed

    async def line(self, text: str) -> None:
        """Take one typed line. HOLD comes before any question that is open."""
        word = text.strip()
        armed = self._status is not None and self._status.state in plain.ARMED
        if word.lower() in plain.HOLD_WORDS or (not word and armed):
            self.hold()
            return
        if not word.lower().startswith("enable"):
            await self._let_go()
        try:
            if self._question is not None:
                question, self._question = self._question, None
                await question(text)
            else:
                await self._do(word)
        except (ClientError, SimulatorError) as error:
            self._say(f"refused: {error}")

    def hold(self) -> None:
        """Stop whatever moves, at once; whatever was being asked is over."""
        self._question = None
        if self._approval.going_on:
            self._approval.close("HOLD was typed")
        if self._local.user is None:
            self._say("nobody is signed in, so HOLD cannot be sent; use the hardware stop")
            self._ask("name:", self._take_name)
            return
        pressed_us = self._clock_us()
        self._holding = True
        self._local = replace(self._local, hold=HoldReport(pressed_us))
        self.tick()
        self._spawn(self._send_stop(pressed_us))

    async def _send_stop(self, pressed_us: int) -> None:
        problem = ""
        try:
            for _ in range(HOLD_ATTEMPTS):
                try:
                    result = await self.supervisor.send(Stop(reason="HOLD at the plain terminal"))
                except ClientError as error:
                    problem = str(error)
                    continue
                problem = "" if result.accepted else result.message
                break
            confirmed = None if problem else self._clock_us()
            self._local = replace(self._local, hold=HoldReport(pressed_us, confirmed, problem))
        finally:
            self._holding = False
        self.tick()
        await self._let_go()

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ask(self, words: str, answerer: Answerer) -> None:
        self._say(words)
        self._question = answerer

    async def _do(self, word: str) -> None:
        lowered = word.lower()
        act = plain.act_of_word(lowered.partition(" ")[0], ACTS)
        panel = self._panel(lowered)
        if not word:
            self._read_out((identity_line(self.scene()), state_line(self.scene())))
        elif lowered in ("?", "help"):
            for words in plain.words_now(self.scene()):
                self._say(words)
        elif lowered == "quit":
            self._ask("type quit once more to end this terminal:", self._quit)
        elif lowered.startswith("enable"):
            await self._squeeze(lowered)
        elif lowered == "silence":
            await self._silence()
        elif lowered == "room":
            await self._room()
        elif panel is not None:
            self._read_out(panel)
        elif await self._books.take(" ".join(lowered.split())):
            return
        elif act is not None:
            await self._act(act)
        else:
            self._say(f"'{word}' means nothing here; type ? and Enter for the words that do")

    async def _quit(self, text: str) -> None:
        if text.strip().lower() == "quit":
            await self.end()
        else:
            self._say("still here")

    def _panel(self, word: str) -> Lines | None:
        scene, width = self.scene(), plain.WIDTH
        panels: dict[str, Callable[[], Lines]] = {
            "status": lambda: (
                identity_line(scene),
                state_line(scene),
                *console.next_panel(scene, width),
            ),
            "review": lambda: self._shift_in_full(scene),
            "images": lambda: (
                images.match_line(scene),
                images.shift_line(scene),
                images.markers_line(scene),
            ),
            "alarms": lambda: alarms.alarms_panel(scene, width, 0),
            "interlocks": lambda: console.interlocks_panel(scene, width, 99),
            "links": lambda: console.links_panel(scene, width),
            "devices": lambda: console.devices_panel(scene, width),
            "session": lambda: console.session_panel(scene, width),
            "target": lambda: target.target_panel(scene, self._trace, width, spoken=True),
            "motion": lambda: (
                *motion.axes_panel(scene, 100),
                *motion.progress_panel(scene, width),
                *motion.permission_panel(scene, width),
                *motion.verification_panel(scene, width),
            ),
        }
        made = panels.get(word)
        return made() if made is not None else None

    def _shift_in_full(self, scene: Scene) -> Lines:
        width = plain.WIDTH
        return (
            *review.shift_panel(scene, 110),
            *review.axes_panel(scene, 100),
            *review.clearance_panel(scene, width),
            *review.registration_panel(scene, width),
            *review.checks_panel(scene, width, 99),
            *review.age_panel(scene, width),
        )

    def _read_shift(self) -> None:
        self._read_out(self._shift_in_full(self.scene()))

    def _read_out(self, lines: Lines) -> None:
        for words in plain.spoken(lines):
            self._say(words)

    # Acts

    async def _act(self, act: Act) -> None:
        reason = why_not(act, self.scene())
        if act.name == "approve":
            await self._approval.open()
        elif reason:
            self._say(f"refused: {reason}")
        elif act.name == "open":
            await self._open_patient()
        elif act.name == "reject":
            self._ask_reject()
        elif act.asks:
            self._ask(
                f"{act.asks} Type do and Enter to go on, anything else to leave it:",
                self._affirmed(act),
            )
        else:
            await self._send_act(act)

    def _affirmed(self, act: Act) -> Answerer:
        async def take(text: str) -> None:
            if text.strip().lower() == "do":
                await self._send_act(act)
            else:
                self._say("left; nothing was done")

        return take

    async def _send_act(self, act: Act) -> None:
        scene = self.scene()
        reason = why_not(act, scene)
        command = command_of(act, scene.status) if scene.status else None
        if reason or command is None:
            self._say(f"refused: {reason or 'there is nothing to send'}")
            return
        await self._send(command)

    async def _send(self, command: Command) -> bool:
        result = await self.supervisor.send(command)
        self._say(result.message if result.accepted else f"refused: {result.message}")
        return result.accepted

    async def _open_patient(self) -> None:
        plans = await self.supervisor.plans()
        if not plans:
            self._say("refused: the service has read no plan")
            return
        for number, known in enumerate(plans, start=1):
            self._say(
                f"plan {number}: {known.patient.name}, {known.plan_label}, {known.plan_name}, {known.site}"
            )
        if self.scene().simulator:
            for number, known in enumerate(plans, start=1):
                who = known.patient
                self._say(
                    f"wristband of simulated patient {number}: ID {who.patient_id}, born {who.birth_date}"
                )
        typed: list[str] = []

        async def take(text: str) -> None:
            typed.append(text.strip())
            asked = (
                "patient ID, from the wristband:",
                "birth date, from the wristband, as 8 digits:",
                "fraction:",
            )
            if len(typed) <= len(asked):
                self._ask(asked[len(typed) - 1], take)
                return
            number, patient_id, born, fraction = typed
            if not (number.isdigit() and 1 <= int(number) <= len(plans)):
                self._say(f"refused: there is no plan {number}")
                return
            if not fraction.isdigit() or int(fraction) < 1:
                self._say("refused: the fraction is a whole number from 1")
                return
            chosen = plans[int(number) - 1]
            await self._send(
                OpenPatient(
                    plan_uid=chosen.plan_uid,
                    patient_id=patient_id,
                    birth_date=born,
                    isocentre_id=chosen.isocentres[0].isocentre_id,
                    fraction=int(fraction),
                )
            )

        self._ask("number of the plan:", take)

    def _ask_reject(self) -> None:
        proposal = self._status.proposal if self._status else None
        if proposal is None:
            self._say("refused: there is no shift to reject")
            return
        for number, reason in enumerate(REASONS, start=1):
            self._say(f"{number}: {reason}")

        async def take_reason(text: str) -> None:
            number = text.strip()
            if not (number.isdigit() and 1 <= int(number) <= len(REASONS)):
                self._say("left; nothing was rejected")
                return

            async def take_text(words: str) -> None:
                await self._send(
                    Reject(
                        digest=proposal.digest, reason=REASONS[int(number) - 1], text=words.strip()
                    )
                )

            self._ask("in your words:", take_text)

        self._ask("number of the reason:", take_reason)

    async def _silence(self) -> None:
        loud = (
            [a for a in ordered_alarms(self._status) if not a.acknowledged_by]
            if self._status
            else []
        )
        if not loud:
            self._say("no alarm is sounding")
            return
        await self._send(AcknowledgeAlarm(alarm_id=loud[0].alarm_id))

    async def _room(self) -> None:
        picture = await self.supervisor.room_picture(RoomQuestion(width=8, height=8))
        pair = picture.closest
        apart = f"{unsigned(pair.lower_mm, 'mm')} apart" if pair.lower_mm > 0.0 else "IN CONTACT"
        self._say(
            f"closest: {pair.parts[0]} and {pair.parts[1]}, {apart}; gantry {picture.gantry_deg:.1f} deg, kV arms "
            f"{picture.arms}, patient {picture.patient}; the pose is {picture.pose_age_ms:.0f} ms old"
        )

    # The simulated hand

    async def _squeeze(self, words: str) -> None:
        if self._hand is None or not self.scene().simulator:
            self._say("refused: the enable is a switch in your hand; this terminal cannot press it")
            return
        text = words.removeprefix("enable").strip() or "5"
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0.0 < seconds <= ENABLE_S_MAX:
            self._say(f"refused: enable takes seconds, more than 0 and at most {ENABLE_S_MAX:.0f}")
            return
        until_us = self._clock_us() + round(seconds * 1e6)
        await self._hand.enable("enabled", round(seconds * 1000))
        self._local = replace(self._local, pendant=PendantReport(True, until_us))
        self._say(f"SIMULATED pendant: enable held for {seconds:g} s; any other line lets go")

    async def _let_go(self) -> None:
        if self._hand is None or self._local.pendant.held_until_us <= self._clock_us():
            return
        self._local = replace(self._local, pendant=PendantReport(True, 0))
        with suppress(SimulatorError):
            await self._hand.enable("released")

    # The approval: the same ritual as on the screen

    @property
    def typing_by_hand(self) -> bool:
        """Whether characters are wanted one by one, for an approval."""
        return self._approval.reading and self._question is None

    async def character(self, character: str) -> None:
        """Take one character of an approval, when it was typed."""
        if character in ("\x1b", "\x03"):
            self.hold()
            return
        await self._approval.character(character)

    def _stop_asking(self) -> bool:
        question, self._question = self._question, None
        return question is not None


def stamped(words: str) -> str:
    """One line as it is put out: the time of day, then the words."""
    return f"{datetime.now().astimezone():%H:%M:%S} {words}"
