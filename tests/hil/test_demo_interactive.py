"""`igrt demo` under a terminal: what crashes is reported by name, and nothing is left running whatever ends it."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.hil,
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("igrt-tui", path=str(Path(sys.executable).parent)) is None,
        reason="the terminal app is not installed",
    ),
]
COLUMNS, ROWS = 120, 36


class Terminal:
    """The demo on a pty, and what it has drawn so far."""

    def __init__(self, folder: Path, *, deaf: bool = False) -> None:
        self.folder = folder
        self.drawn = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            if deaf:  # as below make or nohup; children inherit it
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
            os.execv(
                sys.executable,
                [sys.executable, "-m", "igrt_hw.cli", "demo", "--seed", "5", "--keep", str(folder)],
            )
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def draw(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            ready, _, _ = select.select([self.fd], [], [], 0.05)
            if ready:
                try:
                    self.drawn += os.read(self.fd, 65536)
                except OSError:
                    return

    def until(self, wanted: Callable[[], bool], patience_s: float = 90.0) -> bool:
        ends = time.monotonic() + patience_s
        while not wanted():
            if time.monotonic() > ends:
                return False
            self.draw(0.1)
        return True

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def exit_code(self, patience_s: float = 60.0) -> int | None:
        ends = time.monotonic() + patience_s
        while time.monotonic() < ends:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.draw(0.5)
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            self.draw(0.1)
        return None

    def up(self) -> bool:
        """The app has drawn its first screen over a running service."""
        return (self.folder / "service.json").exists() and b"supervisor:" in self.drawn

    def simulator(self) -> int:
        return int(json.loads((self.folder / "endpoints.json").read_text())["pid"])

    def supervisor(self) -> int:
        return int(json.loads((self.folder / "service.json").read_text())["pid"])

    def close(self) -> None:
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.fd)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    try:
        assert terminal.until(terminal.up), terminal.drawn[-2000:]
        yield terminal
    finally:
        terminal.close()


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name this run's folder, and live."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def nothing_left(terminal: Terminal) -> bool:
    return terminal.until(lambda: not processes_of(terminal.folder), 30.0)


def test_closing_the_app_ends_everything(demo: Terminal) -> None:
    demo.draw(1.0)
    demo.type("\x11")  # Ctrl-Q; on the first screen nobody is signed in and nothing can be lost
    demo.draw(1.0)
    demo.type("quit\r")
    assert demo.exit_code() == 0, demo.drawn[-2000:]
    assert nothing_left(demo), processes_of(demo.folder)


@pytest.mark.parametrize("name", ["simulator", "supervisor"])
def test_a_crash_behind_the_screen_is_reported_by_name(demo: Terminal, name: str) -> None:
    os.kill(getattr(demo, name)(), signal.SIGKILL)
    assert demo.exit_code() == 1
    told = demo.drawn.decode(errors="replace")
    assert f"the {name} ended by itself (ended by SIGKILL)" in told
    assert nothing_left(demo), processes_of(demo.folder)


def test_killing_the_demo_itself_leaves_nothing_running(demo: Terminal) -> None:
    assert len(processes_of(demo.folder)) >= 4  # two leashes and what is on them
    os.kill(demo.pid, signal.SIGKILL)
    assert demo.exit_code() == -signal.SIGKILL
    assert nothing_left(demo), processes_of(demo.folder)


def test_closing_the_window_ends_everything_even_where_no_hangup_is_heard(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, deaf=True)
    try:
        assert terminal.until(terminal.up), terminal.drawn[-2000:]
        assert len(processes_of(tmp_path)) >= 4
    finally:
        os.close(terminal.fd)
    ends = time.monotonic() + 30.0
    while processes_of(tmp_path) and time.monotonic() < ends:
        time.sleep(0.1)
    left = processes_of(tmp_path)
    os.waitpid(terminal.pid, 0 if not left else os.WNOHANG)
    assert not left
