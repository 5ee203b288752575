"""The operator's terminal: one app that holds the connection, the clock and HOLD, and shows one screen at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from textual import events
from textual.app import App
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from igrt_hw.client import ClientError, NotSignedInError, SimulatorError, StreamUpdate, steady_us
from igrt_hw.models.commands import Command, Stop
from igrt_hw.models.procedures import Procedure
from igrt_hw.models.status import SupervisorStatus
from igrt_tui import approval, error_log, squeeze
from igrt_tui.book import Book
from igrt_tui.graphics import Graphics
from igrt_tui.keys import HAND_KEY, HOLD_KEYS, SCREEN_KEYS
from igrt_tui.picture_store import PictureStore
from igrt_tui.room_store import RoomStore
from igrt_tui.screens.affirm import AffirmScreen
from igrt_tui.screens.alarms import AlarmsScreen
from igrt_tui.screens.approve import ApproveScreen
from igrt_tui.screens.audit import AuditScreen
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.screens.console import ConsoleScreen
from igrt_tui.screens.help import HelpScreen
from igrt_tui.screens.images import ImagesScreen
from igrt_tui.screens.leave import MOVING, LeaveScreen
from igrt_tui.screens.login import LoginScreen
from igrt_tui.screens.motion import MotionScreen
from igrt_tui.screens.patient import PatientScreen
from igrt_tui.screens.places import PlacesScreen
from igrt_tui.screens.procedures import ProceduresScreen
from igrt_tui.screens.qa import QaScreen
from igrt_tui.screens.reject import RejectScreen
from igrt_tui.screens.review import ReviewScreen
from igrt_tui.screens.review_list import ReviewListScreen
from igrt_tui.screens.room import RoomScreen
from igrt_tui.screens.second_person import SecondPersonScreen
from igrt_tui.screens.trends import TrendsScreen
from igrt_tui.supervisor import Hand, Supervisor
from igrt_tui.themes import DEFAULT_VARIABLES, THEMES
from igrt_tui.view_model.acts import ACT_OF_KEY, Act, command_of, why_not
from igrt_tui.view_model.local import (
    Answer,
    AnswerTone,
    HoldReport,
    Local,
    PendantReport,
    Scene,
    User,
)
from igrt_tui.view_model.target import Trace

DRAW_PERIOD_S = 0.05
RESTART_S = 0.5
SCREEN_UP_S = 0.2  # its first painting
HOLD_ATTEMPTS = 3
BASE_SCREENS: dict[str, type[OperatorScreen]] = {
    "console": ConsoleScreen,
    "images": ImagesScreen,
    "review": ReviewScreen,
    "motion": MotionScreen,
    "alarms": AlarmsScreen,
    "audit": AuditScreen,
    "room": RoomScreen,
    "qa": QaScreen,
    "trends": TrendsScreen,
    "review_list": ReviewListScreen,
    "procedures": ProceduresScreen,
}


class OperatorApp(App[int]):
    """The console. Everything that waits for the network runs in a worker, so that no key ever waits for it."""

    CSS_PATH = "stylesheet.tcss"
    ENABLE_COMMAND_PALETTE = False
    ESCAPE_TO_MINIMIZE = False
    TITLE = "igrt-hw"
    SCREENS: ClassVar[dict[str, Callable[[], Screen[Any]]]] = dict(
        BASE_SCREENS
    )  # kept, not made anew
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f12", "hold", "HOLD", priority=True),
        Binding("f1", "help", "Help", priority=True),
        *(Binding(key, f"go('{name}')", words, priority=True) for key, name, words in SCREEN_KEYS),
        Binding("f5", "approve", "Approve", priority=True),
        Binding("ctrl+p", "places", "Where to", priority=True),
        Binding("ctrl+t", "next_theme", "Colours", priority=True),
        Binding("ctrl+q", "ask_to_leave", "Quit", priority=True),
        Binding("ctrl+c", "ask_to_leave", "Quit", priority=True),
    ]

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        hand: Hand | None = None,
        username: str = "",
        password: str = "",
        address: str = "",
        theme: str = "dark",
        clock_us: Callable[[], int] = steady_us,
        log_path: Path | None = None,
        graphics: Graphics = Graphics.NONE,
    ) -> None:
        self.first_username = username
        self.first_password = password
        self.address = address
        self.supervisor = supervisor
        self._hand = hand
        self._clock_us = clock_us
        self._log_path = log_path or error_log.default_path()
        self.export_folder = self._log_path.parent / "exports"
        self._status: SupervisorStatus | None = None
        self._local = Local(now_us=clock_us())
        self._squeeze = squeeze.Squeeze()
        self.trace = Trace()
        self._hold_running = False
        self._hold_again = False
        self._leaving = False
        self._theme_name = theme
        self.pictures = PictureStore()
        self.room = RoomStore()
        self.procedures: Book[list[Procedure]] = Book()
        self.graphics = graphics
        self.terminal_id = f"terminal-{uuid4().hex[:8]}"
        super().__init__()
        for known in THEMES.values():
            self.register_theme(known)
        self.theme = THEMES[theme].name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Give the stylesheet the app's own colours before any theme is set."""
        return DEFAULT_VARIABLES

    def on_mount(self) -> None:
        """Open the first screen and start drawing."""
        self.push_screen(LoginScreen())
        self.set_interval(DRAW_PERIOD_S, self.draw, name="draw")
        self.spawn(self._introduce(), "health")

    async def _introduce(self) -> None:
        """Ask what is at the other end, so that the banner says it before anybody signs in."""
        while self._local.announced_simulator is None:
            try:
                health = await self.supervisor.health()
                self._local = replace(self._local, announced_simulator=health.simulator)
            except ClientError as error:
                self.answer(Answer(AnswerTone.REFUSED, str(error)))
                await asyncio.sleep(RESTART_S)

    # What is known

    def now_us(self) -> int:
        """Return the time of this terminal's steady clock."""
        return self._clock_us()

    def scene(self) -> Scene:
        """Return everything a screen is drawn from, as it is now."""
        pendant = replace(
            self._local.pendant,
            available=self._hand is not None,
            held_until_us=self._squeeze.held_until_us,
        )
        local = replace(
            self._local,
            now_us=self._clock_us(),
            width=self.size.width,
            height=self.size.height,
            pendant=pendant,
        )
        return Scene(self._status, local)

    def draw(self) -> None:
        """Draw the screen in front from what is known now."""
        if not self._screen_stack:  # the app is ending
            return
        screen = self.screen
        if isinstance(screen, OperatorScreen) and screen.composed:
            try:
                screen.draw(self.scene())
                for other in self.screen_stack[:-1]:
                    if isinstance(other, OperatorScreen):
                        other.behind(self.scene())
            except Exception as error:
                self.calm(error, f"drawing {type(screen).__name__}")

    def answer(self, answer: Answer | None) -> None:
        """Show what was answered last."""
        self._local = replace(self._local, answer=answer, answered_us=self._clock_us())

    # Calm

    def calm(self, error: BaseException, where: str) -> None:
        """Turn an error into one sentence on the screen; a defect also into a line of the log file."""
        if isinstance(error, ClientError):
            self.answer(Answer(AnswerTone.REFUSED, str(error)))
            return
        written = error_log.write(self._log_path, where, error)
        told = f"written to {self._log_path}" if written else "it could not be written down"
        words = f"this terminal has a defect ({where}); {told}. HOLD still works."
        self.answer(Answer(AnswerTone.REFUSED, words))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something that waits, beside the screen; what goes wrong in it becomes a sentence."""

        async def calmly() -> None:
            try:
                await work
            except Exception as error:
                self.calm(error, name)

        self.run_worker(calmly(), name=name, exit_on_error=False)

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            self.calm(error, "app")

    def _handle_exception(self, error: Exception) -> None:
        """End without a traceback where Textual itself cannot go on; losing the terminal ends the permission."""
        error_log.write(self._log_path, "terminal", error)
        self._return_code = 1
        self.exit(
            1,
            message=f"The terminal had to end ({type(error).__name__}); see {self._log_path}. "
            "The permission to move has ended with it.",
        )

    # Connection

    def sign_in(self, username: str, password: str) -> None:
        """Sign in, then listen."""
        self.answer(Answer(AnswerTone.WORKING, "signing in ..."))
        self.spawn(self._sign_in(username, password), "sign in")

    async def _sign_in(self, username: str, password: str) -> None:
        who = await self.supervisor.login(username, password)
        user = User(who.username, who.display_name, who.role.value)
        self._local = replace(self._local, user=user)
        self.answer(Answer(AnswerTone.ACCEPTED, f"signed in as {user.named}"))
        self.spawn(self._listen(), "status stream")
        self.procedures.begin(who.username)
        self.spawn(self.procedures.fill(who.username, self.supervisor.procedures), "procedures")
        self.go("console")

    async def _listen(self) -> None:
        while self._local.user is not None:
            try:
                stream = self.supervisor.stream(self.terminal_id, alive=self.alive)
                async with aclosing(stream) as updates:
                    async for update in updates:
                        self.hear(update)
            except NotSignedInError as error:
                self._signed_out(str(error))
                return
            except Exception as error:
                self._local = replace(self._local, connected=False, cause=str(error))
                self.calm(error, "status stream")
            await asyncio.sleep(RESTART_S)

    def hear(self, update: StreamUpdate) -> None:
        """Take what the stream knows."""
        received_us = self._local.received_us
        if update.age_ms is not None:
            received_us = self._clock_us() - round(update.age_ms * 1000)
        self._status = update.status
        self.trace = self.trace.with_status(update.status)
        self._local = replace(
            self._local, connected=update.connected, cause=update.cause, received_us=received_us
        )

    def alive(self) -> bool:
        """Whether this terminal may keep the permission to move: not while a HOLD waits to be confirmed."""
        return not (self._leaving or self._hold_running)

    def _signed_out(self, reason: str) -> None:
        self._local = replace(self._local, user=None, connected=False, cause=reason)
        self.answer(Answer(AnswerTone.REFUSED, reason))
        self.switch_screen(LoginScreen())

    # Acts

    def ask(
        self, command: Command, words: str, then: str | None = None, otherwise: str | None = None
    ) -> None:
        """Send a command; show the answer; go to one screen if it was accepted, to another if not."""
        if self._local.user is None:
            self.answer(Answer(AnswerTone.REFUSED, "nobody is signed in"))
            return
        self.answer(Answer(AnswerTone.WORKING, f"{words} ..."))
        self.spawn(self._ask(command, words, then, otherwise), words)

    async def _ask(
        self, command: Command, words: str, then: str | None, otherwise: str | None
    ) -> None:
        result = await self.supervisor.send(command)
        tone = AnswerTone.ACCEPTED if result.accepted else AnswerTone.REFUSED
        self.answer(Answer(tone, result.message or words))
        where = then if result.accepted else otherwise
        if where is not None:
            self.go(where)

    def start_act(self, key: str) -> bool:
        """Start the act of a key; False if the key means no act."""
        act = ACT_OF_KEY.get(key)
        if act is None:
            return False
        reason = why_not(act, self.scene())
        if reason:
            self.answer(Answer(AnswerTone.REFUSED, reason))
        elif act.name == "open":
            self.switch_screen(PatientScreen())
        elif act.name == "reject":
            if self._status is not None and self._status.proposal is not None:
                self.switch_screen(RejectScreen(self._status.proposal.digest))
        elif act.asks:
            self.switch_screen(AffirmScreen(act))
        else:
            self.do_act(act)
        return True

    def do_act(self, act: Act) -> bool:
        """Send the command of an act; False (and the reason on screen) if it does not fit any more."""
        scene = self.scene()
        reason = why_not(act, scene)
        command = command_of(act, scene.status) if scene.status else None
        if reason or command is None:
            self.answer(Answer(AnswerTone.REFUSED, reason or "there is nothing to send"))
            return False
        if act.name == "arm":
            self.answer(Answer(AnswerTone.WORKING, "arming ..."))
            self.spawn(self._arm(command, act.meaning), act.meaning)
        else:
            self.ask(command, act.meaning, then="console", otherwise="console")
        return True

    async def _arm(self, command: Command, words: str) -> None:
        """Bring the motion screen up first: while the couch is armed, this terminal has nothing heavy to do."""
        await self.switch_screen("motion")
        await asyncio.sleep(SCREEN_UP_S)
        await self._ask(command, words, then=None, otherwise="console")

    def action_approve(self) -> None:
        """First act of an approval: open it."""
        if isinstance(self.screen, ApproveScreen):
            return
        user = self._local.user
        scene = self.scene()
        if user is not None and scene.status is not None and scene.status.proposal is not None:
            digest = scene.status.proposal.digest
            if approval.needs_second(scene, user.username):
                self.answer(None)
                self.switch_screen(SecondPersonScreen(digest))
                return
        reason = approval.why_not_open(scene, user.username if user else None)
        if reason or user is None:
            self.answer(Answer(AnswerTone.REFUSED, f"cannot approve: {reason}"))
            return
        self.answer(None)
        ritual = approval.open_ritual(scene, user.username)
        self.switch_screen(ApproveScreen(ritual, self.supervisor))

    async def open_second(self, other: Supervisor, digest: str) -> None:
        """Begin the reading of a second person in a session of their own; what has changed meanwhile ends it."""
        scene, who = self.scene(), other.signed_in
        username = who.username if who else ""
        reason = approval.why_not_second(scene, username)
        proposal = scene.status.proposal if scene.status else None
        if not reason and (proposal is None or proposal.digest != digest):
            reason = "the shift was replaced by another one: read the new one first"
        if reason:
            self.answer(Answer(AnswerTone.REFUSED, f"cannot approve: {reason}"))
            await self.end_session(other)
            return
        self.answer(Answer(AnswerTone.NOTE, f"{username} reads and types now"))
        ritual = approval.open_ritual(scene, username)
        self.switch_screen(ApproveScreen(ritual, other, guest=True))

    async def end_session(self, other: Supervisor) -> None:
        """End a session that was opened for one approval; the service ends it with the first person's in any case."""
        try:
            await other.logout()
        except ClientError as error:
            error_log.write(self._log_path, "end of a second session", error)
        finally:
            await other.close()

    # HOLD

    async def on_event(self, event: events.Event) -> None:
        """Look at every key before anything else does: HOLD is never eaten by a field, a screen or a focus."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            if event.key in HOLD_KEYS:
                event.stop()
                self.action_hold()
                return
            if event.key != HAND_KEY:
                self.let_go()
        await super().on_event(event)

    def action_hold(self) -> None:
        """Stop whatever moves. One key, from everywhere, at once."""
        self.let_go()
        if self._local.user is None:
            self.answer(
                Answer(
                    AnswerTone.REFUSED,
                    "nobody is signed in, so HOLD cannot be sent; use the hardware stop",
                )
            )
            return
        if self._hold_running:
            self._hold_again = True
            return
        self._hold_running = True
        self._local = replace(self._local, hold=HoldReport(self._clock_us()))
        self.spawn(self._hold(), "HOLD")
        for screen in self.screen_stack:
            if isinstance(screen, OperatorScreen):
                screen.on_hold()
        self.draw()

    async def _hold(self) -> None:
        try:
            self._hold_again = True
            while self._hold_again:
                self._hold_again = False
                await self._send_stop()
        finally:
            self._hold_running = False

    async def _send_stop(self) -> None:
        pressed = self._local.hold or HoldReport(self._clock_us())
        problem = ""
        for _ in range(HOLD_ATTEMPTS):
            try:
                result = await self.supervisor.send(Stop(reason="HOLD at the terminal"))
            except Exception as error:
                problem = str(error) or type(error).__name__
                if not isinstance(error, ClientError):
                    error_log.write(self._log_path, "HOLD", error)
                continue
            problem = "" if result.accepted else result.message
            break
        self._local = replace(
            self._local,
            hold=HoldReport(pressed.pressed_us, None if problem else self._clock_us(), problem),
        )

    # The simulated hand

    def squeeze(self) -> None:
        """Take one press or repeat of the key that stands for the simulated hand."""
        if self._hand is None or self._status is None or not self._status.simulator:
            return
        self._squeeze, tell = squeeze.key_seen(self._squeeze, self._clock_us())
        if tell:
            self.spawn(self._tell_hand(held=True), "simulated pendant")

    def let_go(self) -> None:
        """Let the simulated hand go, if it holds."""
        self._squeeze, tell = squeeze.other_key(self._squeeze, self._clock_us())
        if tell and self._hand is not None:
            self.spawn(self._tell_hand(held=False), "simulated pendant")

    async def _tell_hand(self, *, held: bool) -> None:
        if self._hand is None:
            return
        try:
            if held:
                await self._hand.enable("enabled", squeeze.HOLD_MS)
            else:
                await self._hand.enable("released")
            problem = ""
        except SimulatorError as error:
            problem = str(error)
            self._squeeze = squeeze.Squeeze()
        self._local = replace(self._local, pendant=PendantReport(problem=problem))

    # Where to

    def go(self, name: str) -> None:
        """Put a screen in front."""
        kind = BASE_SCREENS[name]
        if isinstance(self.screen, HelpScreen) and isinstance(self.screen_stack[-2], kind):
            self.pop_screen()
        elif not isinstance(self.screen, kind):
            self.switch_screen(name)

    def action_go(self, name: str) -> None:
        """Go where a key says, once somebody is signed in."""
        if self._local.user is None:
            self.answer(Answer(AnswerTone.NOTE, "sign in first"))
            if not isinstance(self.screen, LoginScreen):
                self.switch_screen(LoginScreen())
            return
        self.go(name)

    def switch_screen(self, screen: Screen[Any] | str) -> AwaitComplete:
        """Replace the screen in front; help that stands before it goes too, so that nothing is left behind it."""
        if isinstance(self.screen, HelpScreen):
            self.pop_screen()
        return super().switch_screen(screen)

    def go_to(self, name: str) -> None:
        """Go to a place of the list `Where to`."""
        others: dict[str, Callable[[], None]] = {
            "help": self.action_help,
            "colours": self.action_next_theme,
            "quit": self.action_ask_to_leave,
        }
        if name in others:
            self.go("console")
            self.call_after_refresh(others[name])
        else:
            self.go(name)

    def action_places(self) -> None:
        """List where one can go."""
        if self._local.user is None:
            self.answer(Answer(AnswerTone.NOTE, "sign in first"))
        elif not isinstance(self.screen, PlacesScreen):
            self.switch_screen(PlacesScreen())

    def action_help(self) -> None:
        """Show help for what has the focus and the screen in front, before it; F1 again goes back to it as it was."""
        screen = self.screen
        if isinstance(screen, HelpScreen):
            self.pop_screen()
        elif isinstance(screen, OperatorScreen):
            about = (screen.TITLE_WORDS, screen.help_words(), screen.KEYS, screen.focus_help())
            self.push_screen(HelpScreen(*about))

    def action_next_theme(self) -> None:
        """Go to the next set of colours."""
        names = list(THEMES)
        self._theme_name = names[(names.index(self._theme_name) + 1) % len(names)]
        self.theme = THEMES[self._theme_name].name
        self.answer(Answer(AnswerTone.NOTE, f"colours: {self._theme_name}"))

    def action_ask_to_leave(self) -> None:
        """Ask for the word that quits."""
        if not isinstance(self.screen, LeaveScreen):
            self.switch_screen(LeaveScreen())

    def leave(self) -> None:
        """Stop what is armed, sign out, end."""
        if not self._leaving:
            self._leaving = True
            self.spawn(self._leave(), "quit")

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(3.0):
                if self._status is not None and self._status.state in MOVING:
                    await self.supervisor.send(Stop(reason="the terminal was closed"))
                if self._local.user is not None:
                    await self.supervisor.logout()
                await self.supervisor.close()
                if self._hand is not None:
                    await self._hand.close()
        except (TimeoutError, ClientError) as error:
            error_log.write(self._log_path, "quit", error)
        finally:
            self.exit(0)


def main(arguments: list[str] | None = None) -> None:
    """Run the terminal from the command line."""
    from igrt_tui.command import run  # the app itself needs no command line

    raise SystemExit(run(arguments))
