"""A terminal, and a plain one, with a rehearsed supervisor and a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from terminal_quiet import heard, instead_of_idle, quiet
from textual.pilot import Pilot

from igrt_hw.client import StreamUpdate
from igrt_tui import rehearsal
from igrt_tui.app import OperatorApp
from igrt_tui.plain import PlainSession
from igrt_tui.view_model.text import plain
from igrt_tui.widgets.panel import Panel


@dataclass
class TestClock:
    """Microseconds that stand still until they are moved."""

    __test__ = False
    now_us: int = rehearsal.NOW_US

    def __call__(self) -> int:
        return self.now_us

    def advance(self, milliseconds: float) -> None:
        self.now_us += round(milliseconds * 1000)


@dataclass
class RecordedHand:
    """A simulated hand that only remembers what it was told."""

    told: list[tuple[str, int | None]] = field(default_factory=list)

    async def enable(self, position: str, for_ms: int | None = None) -> None:
        self.told.append((position, for_ms))

    async def close(self) -> None:
        pass


@dataclass
class Terminal:
    """The running app, the supervisor it talks to, and its clock."""

    app: OperatorApp
    pilot: Pilot[int]
    supervisor: rehearsal.RehearsedSupervisor
    clock: TestClock
    hand: RecordedHand

    async def press(self, *keys: str) -> None:
        """Press keys and let everything that follows happen."""
        for key in keys:
            await self.pilot.press(key)
        await self.settle()

    async def type(self, text: str, every_ms: float = 120.0) -> None:
        """Type text as a hand does, character by character in time."""
        names = {"+": "plus", "-": "minus", ".": "full_stop", " ": "space"}
        for character in text:
            self.advance(every_ms)
            await self.pilot.press(names.get(character, character))
        await self.settle()

    def advance(self, milliseconds: float) -> None:
        """Let time pass with the supervisor there: no instant in which its last word looks old."""
        self.clock.advance(milliseconds)
        supervisor = self.supervisor
        if not supervisor.silent and supervisor.signed_in is not None:
            self.app.hear(
                StreamUpdate(supervisor.now, supervisor.connected, 0.0, False, supervisor.cause)
            )

    async def settle(self) -> None:
        await heard(self.app)
        for _ in range(2):  # what the first drawing asks the service for is drawn by the second
            self.app.draw()
            await quiet(self.app)

    def text(self) -> str:
        """Return all that the panels of the screen in front show."""
        panels = self.app.screen.query(Panel)
        return "\n".join(plain(line) for panel in panels for line in panel.lines)

    def sent(self, kind: str) -> list[Any]:
        """Return the commands of one kind that reached the supervisor."""
        return [command for command in self.supervisor.sent if command.kind == kind]

    def is_on(self, screen: str) -> bool:
        return type(self.app.screen).__name__ == f"{screen}Screen"


@pytest.fixture(autouse=True)
def waiting_for_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the app's own work after a key, not for an idle processor."""
    for place in ("textual.app", "textual.pilot"):
        monkeypatch.setattr(f"{place}.wait_for_idle", instead_of_idle)


MakeTerminal = Callable[..., AbstractAsyncContextManager[Terminal]]


@pytest.fixture
def terminal(tmp_path: Path) -> MakeTerminal:
    """Make a terminal: `async with terminal(status) as t:`, signed in unless told otherwise."""

    @asynccontextmanager
    async def make(
        status: Any = None, size: tuple[int, int] = (100, 30), signed_in: bool = True
    ) -> AsyncIterator[Terminal]:
        supervisor = rehearsal.RehearsedSupervisor(status)
        clock, hand = TestClock(), RecordedHand()
        app = OperatorApp(
            supervisor,
            hand=hand,
            username="rehearsal",
            password=rehearsal.PASSWORD,
            address="http://127.0.0.1:8421",
            clock_us=clock,
            log_path=tmp_path / "terminal.log",
        )
        async with app.run_test(size=size) as pilot:
            made = Terminal(app, pilot, supervisor, clock, hand)
            await made.settle()
            if signed_in:
                await made.press("enter")
                assert made.is_on("Console")
            yield made
        assert not (tmp_path / "terminal.log").exists(), (tmp_path / "terminal.log").read_text()

    return make


@dataclass
class Typist:
    """A plain session with a rehearsed supervisor and a clock that only the test moves."""

    session: PlainSession
    supervisor: rehearsal.RehearsedSupervisor
    said: list[str]
    hand: list[tuple[str, int | None]]
    clock: list[int]
    single: list[bool]

    async def line(self, *texts: str) -> str:
        """Type lines; return what was said in answer."""
        before = len(self.said)
        for text in texts:
            await self.session.line(text)
            await self.settle()
        return "\n".join(self.said[before:])

    async def by_hand(self, text: str, every_ms: float = 150.0) -> str:
        before = len(self.said)
        for character in text:
            self.advance(every_ms)
            await self.session.character(character)
        await self.settle()
        return "\n".join(self.said[before:])

    def advance(self, milliseconds: float) -> None:
        self.clock[0] += round(milliseconds * 1000)
        self.session.hear(StreamUpdate(self.supervisor.now, True, 0.0, False, ""))

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0.002)

    def sent(self, kind: str) -> list[Any]:
        return [command for command in self.supervisor.sent if command.kind == kind]


MakeTypist = Callable[..., AbstractAsyncContextManager[Typist]]


@pytest.fixture
def typist() -> MakeTypist:
    @asynccontextmanager
    async def make(
        status: Any = None, terminal: bool = True, signed_in: bool = True
    ) -> AsyncIterator[Typist]:
        supervisor = rehearsal.RehearsedSupervisor(status)
        said: list[str] = []
        told: list[tuple[str, int | None]] = []

        class Hand:
            async def enable(self, position: str, for_ms: int | None = None) -> None:
                told.append((position, for_ms))

            async def close(self) -> None:
                pass

        clock = [rehearsal.NOW_US]
        single: list[bool] = []

        def by_character(wanted: bool) -> bool:
            single.append(wanted)
            return terminal

        session = PlainSession(
            supervisor,
            said.append,
            clock_us=lambda: clock[0],
            hand=Hand(),
            by_character=by_character,
        )
        made = Typist(session, supervisor, said, told, clock, single)
        await session.begin(
            "rehearsal" if signed_in else "", rehearsal.PASSWORD if signed_in else ""
        )
        made.advance(0)
        await made.settle()
        yield made
        await session.end()

    return make
