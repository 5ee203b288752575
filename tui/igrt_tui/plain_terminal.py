"""The plain mode on a real terminal: lines in, lines out, single characters while an approval is typed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
from contextlib import suppress
from typing import Any

from igrt_hw.client import steady_us
from igrt_tui.plain import TICK_S, PlainSession, stamped
from igrt_tui.supervisor import Hand, Supervisor


class Keyboard:
    """Standard input: whole lines as the terminal edits them, or characters as they are typed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._kept: list[Any] | None = termios.tcgetattr(fd) if os.isatty(fd) else None
        self._single = False
        self._rest = b""

    def by_character(self, wanted: bool) -> bool:
        """Ask for single characters, or for lines again; False where that is not possible."""
        if self._kept is None:
            return False
        if wanted != self._single:
            mode = termios.tcgetattr(self.fd)
            bits = termios.ICANON
            mode[3] = mode[3] & ~bits if wanted else mode[3] | bits
            termios.tcsetattr(self.fd, termios.TCSADRAIN, mode)
            self._single = wanted
        return True

    def hush(self, quiet: bool) -> None:
        """Do not show what is typed, for a password; or show it again."""
        if self._kept is not None:
            mode = termios.tcgetattr(self.fd)
            mode[3] = mode[3] & ~termios.ECHO if quiet else mode[3] | termios.ECHO
            termios.tcsetattr(self.fd, termios.TCSADRAIN, mode)

    def restore(self) -> None:
        """Leave the terminal as it was found."""
        if self._kept is not None:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._kept)

    def read(self) -> list[str] | None:
        """What was typed since the last call: lines, or characters; None at the end."""
        octets = os.read(self.fd, 4096)
        if not octets:
            return None
        if self._single:
            return list(octets.decode(errors="replace"))
        *lines, self._rest = (self._rest + octets).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    @property
    def single(self) -> bool:
        """Whether single characters are read now."""
        return self._single


def run(supervisor: Supervisor, hand: Hand | None, username: str, password: str) -> int:
    """Run the plain mode until it is left; return the exit code."""
    return asyncio.run(_run(supervisor, hand, username, password))


async def _run(supervisor: Supervisor, hand: Hand | None, username: str, password: str) -> int:
    keyboard = Keyboard(sys.stdin.fileno())

    def say(words: str) -> None:
        keyboard.hush(words == "password:")
        sys.stdout.write(stamped(words) + "\n")
        sys.stdout.flush()

    session = PlainSession(
        supervisor, say, clock_us=steady_us, hand=hand, by_character=keyboard.by_character
    )
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[str | None] = asyncio.Queue()

    def readable() -> None:
        try:
            pieces = keyboard.read()
        except OSError:
            pieces = None
        if pieces is None:
            loop.remove_reader(keyboard.fd)
            typed.put_nowait(None)
        for piece in pieces or ():
            typed.put_nowait(piece)

    loop.add_signal_handler(signal.SIGINT, session.hold)  # Ctrl-C is HOLD, not the end
    for ending in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(ending, lambda: typed.put_nowait(None))
    try:
        await session.begin(username, password)
        loop.add_reader(keyboard.fd, readable)
        ticker = asyncio.create_task(_tick(session))
        await _take(session, typed)
        ticker.cancel()
    finally:
        with suppress(ValueError, OSError):
            loop.remove_reader(keyboard.fd)
        await session.end()
        keyboard.restore()
    return 0


async def _take(session: PlainSession, typed: asyncio.Queue[str | None]) -> None:
    """Hand over what is typed, in order, until the end of the input or of the session."""
    ended = asyncio.create_task(session.ended.wait())
    while not session.ended.is_set():
        following = asyncio.create_task(typed.get())
        await asyncio.wait({following, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not following.done():
            following.cancel()
            return
        piece = following.result()
        if piece is None:
            return
        if session.typing_by_hand:
            await session.character(piece)
        else:
            await session.line(piece)
    ended.cancel()


async def _tick(session: PlainSession) -> None:
    while True:
        session.tick()
        await asyncio.sleep(TICK_S)
