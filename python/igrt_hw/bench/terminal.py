"""Figures of the operator's terminal: the real app in a real pseudo-terminal, over the real client and stream.

The app is a process of its own (`igrt-tui`), so that this package does not import it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from igrt_hw.bench.registry import BenchError, Metric, Sampler
from igrt_hw.bench.terminal_service import PASSWORD, USERNAME
from igrt_hw.demo.processes import ProcessError, command_path

COLUMNS, ROWS = 120, 36
START_S = 60.0
KEY_S_MAX = 5.0
KEYS = 60
KEY_EVERY_S = 0.11
CPU_S = 8.0
LOSSES = 12
LOST_S_MAX = 3.0


class TerminalUnderTest:
    """An `igrt-tui` in a pseudo-terminal; what it writes is read as it comes."""

    def __init__(self, url: str, folder: Path) -> None:
        self._main, secondary = pty.openpty()
        fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        environment = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "IGRT_PASSWORD": PASSWORD,
        }
        for name in ("COLUMNS", "LINES"):
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [
                command_path("igrt-tui"),
                "--url",
                url,
                "--username",
                USERNAME,
                "--log-file",
                folder / "terminal.log",
            ],
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
            env=environment,
            start_new_session=True,
        )
        os.close(secondary)
        self.service_pid = 0

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def press(self, octets: bytes) -> None:
        """Send a key."""
        os.write(self._main, octets)

    def see(self, wanted: bytes, seconds: float, seen: bytes = b"") -> float:
        """Seconds until these octets have come; raises `BenchError` if they do not."""
        begin = time.perf_counter()
        while wanted not in seen:
            left = seconds - (time.perf_counter() - begin)
            if left <= 0.0 or self._process.poll() is not None:
                raise BenchError(f"the terminal did not show {wanted!r} within {seconds:g} s")
            if select.select([self._main], [], [], min(left, 0.5))[0]:
                seen = seen[-4096:] + os.read(self._main, 65536)
        return time.perf_counter() - begin

    def drain(self, seconds: float) -> None:
        """Read what comes for a while."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0.0:
            if select.select([self._main], [], [], left)[0]:
                os.read(self._main, 65536)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)
        os.close(self._main)


@contextmanager
def running() -> Iterator[TerminalUnderTest]:
    """A signed-in terminal over a played service; both are gone afterwards."""
    try:
        program = command_path("igrt-tui")
    except ProcessError as error:
        raise BenchError(str(error)) from error
    with tempfile.TemporaryDirectory(prefix="igrt-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        status = subprocess.run(
            [program, "--rehearsal-status", "MOVING"],
            capture_output=True,
            timeout=START_S,
            check=True,
        )
        (folder / "status.json").write_bytes(status.stdout)
        ready = folder / "ready.json"
        service = subprocess.Popen(
            [sys.executable, "-m", "igrt_hw.bench.terminal_service", folder / "status.json", ready]
        )
        stack.callback(service.wait, 10)
        stack.callback(service.kill)
        until = time.monotonic() + START_S
        while not ready.exists():
            if time.monotonic() > until or service.poll() is not None:
                raise BenchError("the played service did not start")
            time.sleep(0.05)
        terminal = TerminalUnderTest(json.loads(ready.read_text(encoding="utf-8"))["url"], folder)
        stack.callback(terminal.close)
        terminal.service_pid = service.pid
        terminal.see(b"SIGN IN", START_S)
        terminal.drain(1.0)
        terminal.press(b"\r")
        terminal.see(b"CONSOLE", START_S)
        terminal.drain(1.0)
        yield terminal


@contextmanager
def _key() -> Iterator[Sampler]:
    with running() as terminal:
        terminal.press(b"\x1bOR")  # F3: the images, which are replaced and loaded all the time
        terminal.see(b"IMAGES", START_S)
        terminal.drain(3.0)
        level = 0

        def sample() -> float:
            nonlocal level
            took = []
            for _ in range(KEYS):
                up = level < 9
                level = level + 1 if up else 0
                terminal.press(b"]" if up else b"0")
                took.append(terminal.see(f"{0.05 * level:+.2f}".encode(), KEY_S_MAX))
                terminal.drain(KEY_EVERY_S)
            return sorted(took)[int(0.95 * len(took))] * 1e3

        yield sample


@contextmanager
def _cpu() -> Iterator[Sampler]:
    with running() as terminal:
        terminal.press(b"\x1b[17~")  # F6: the motion, where all of the telemetry is shown
        terminal.see(b"MOTION", START_S)
        terminal.drain(2.0)

        def sample() -> float:
            begin, used = time.perf_counter(), _cpu_s(terminal.pid)
            terminal.drain(CPU_S)
            return (_cpu_s(terminal.pid) - used) / (time.perf_counter() - begin) * 100.0

        yield sample


@contextmanager
def _noticed(words: bytes, begins: signal.Signals, ends: signal.Signals) -> Iterator[Sampler]:
    """Until the terminal says so: the longest of some losses, begun and ended by a signal to the service."""
    with running() as terminal:

        def sample() -> float:
            took = []
            for number in range(LOSSES):
                terminal.drain(1.0 + 0.013 * number)  # not in step with the stream
                os.kill(terminal.service_pid, begins)
                try:
                    took.append(terminal.see(words, LOST_S_MAX))
                finally:
                    os.kill(terminal.service_pid, ends)
            return max(took) * 1e3

        yield sample


def _lost() -> AbstractContextManager[Sampler]:
    """The service is stopped in its tracks, as when its machine freezes: nothing closes, nothing is said."""
    return _noticed(b"OLD VALUES", signal.SIGSTOP, signal.SIGCONT)


def _silent() -> AbstractContextManager[Sampler]:
    """The played line to the couch falls silent and speaks again: the service tells its age, as the real one does."""
    return _noticed(b"LINE SILENT", signal.SIGUSR1, signal.SIGUSR1)


def _cpu_s(pid: int) -> float:
    """Seconds of processor time of a process, its own and the system's for it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError as error:
        raise BenchError(f"the processor time of a process cannot be read here: {error}") from error
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


METRICS = (
    Metric(
        "tui_key_ms_p95",
        "ms",
        "lower",
        f"from a key to its answer on the terminal while megapixel images load, 95th percentile of {KEYS} keys",
        _key,
        samples=3,
    ),
    Metric(
        "tui_cpu_percent",
        "%",
        "lower",
        "of one core, used by the terminal with 20 statuses a second on the motion screen",
        _cpu,
        samples=3,
    ),
    Metric(
        "tui_lost_ms",
        "ms",
        "lower",
        f"from a supervisor that freezes to OLD VALUES on the terminal, the longest of {LOSSES}",
        _lost,
        samples=3,
    ),
    Metric(
        "tui_silent_line_ms",
        "ms",
        "lower",
        f"from the last word of the couch's line to LINE SILENT on the terminal, the longest of {LOSSES}",
        _silent,
        samples=3,
    ),
)
