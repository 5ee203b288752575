"""A terminal with a rehearsed supervisor and a clock that only the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from igrt_hw.client import StreamUpdate
from igrt_tui import rehearsal
from igrt_tui.app import OperatorApp
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
        for _ in range(4):
            await self.pilot.pause(0.015)
        self.app.draw()
        await self.pilot.pause()

    def text(self) -> str:
        """Return all that the panels of the screen in front show."""
        panels = self.app.screen.query(Panel)
        return "\n".join(plain(line) for panel in panels for line in panel.lines)

    def sent(self, kind: str) -> list[Any]:
        """Return the commands of one kind that reached the supervisor."""
        return [command for command in self.supervisor.sent if command.kind == kind]

    def is_on(self, screen: str) -> bool:
        return type(self.app.screen).__name__ == f"{screen}Screen"


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
