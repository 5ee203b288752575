"""Processes that belong together: started on a leash, watched, ended together, nothing left running."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

LAST_LINES = 12
END_PATIENCE_S = 8.0  # the leash itself needs up to twice three seconds
POLL_S = 0.05


class ProcessError(Exception):
    """A process could not be started, did not become ready, or ended by itself; the sentence names it."""


def command_path(name: str) -> Path:
    """A command of this installation: next to the interpreter first, then on the path."""
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return beside
    found = shutil.which(name)
    if found is None:
        raise ProcessError(
            f"the command {name} is not installed beside {Path(sys.executable).name}; "
            "install all three distributions (`make setup`)"
        )
    return Path(found)


@dataclass(frozen=True, slots=True)
class Child:
    """One process on its leash. What it prints goes to `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def exit_code(self) -> int | None:
        """None while it runs; 128 + signal for one that a signal ended."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def last_lines(self) -> list[str]:
        """The last lines that it printed."""
        with suppress(OSError):
            return self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return []

    def obituary(self) -> str:
        """Name, exit code and last words, for a person."""
        code = self.exit_code()
        how = f"exit code {code}"
        if code is not None and code > 128:
            with suppress(ValueError):
                how = f"ended by {signal.Signals(code - 128).name}"
        lines = "\n".join(f"    {line}" for line in self.last_lines()) or "    (it printed nothing)"
        return f"the {self.name} ended by itself ({how}); its last lines:\n{lines}"


class Family:
    """Processes that live and die together. Use as a context manager; leaving it ends all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []
        atexit.register(self.end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        atexit.unregister(self.end)

    @property
    def children(self) -> Sequence[Child]:
        """All that were started, in order."""
        return tuple(self._children)

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str]) -> Child:
        """Start a command on a leash, in a process group of its own."""
        log = self._folder / f"{name.replace(' ', '-')}.log"
        leash = [sys.executable, "-m", "igrt_hw.demo.leash", *(str(part) for part in command)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                leash,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **env},
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait for something while watching everybody; raises `ProcessError` with the reason."""
        ends = time.monotonic() + timeout_s
        while not ready():
            self.raise_if_one_died()
            if time.monotonic() > ends:
                raise ProcessError(f"waited {timeout_s:.0f} s for {what} in vain{self._said()}")
            time.sleep(POLL_S)

    def _said(self) -> str:
        said = [
            f"\n{child.name} said:\n" + "\n".join(f"    {line}" for line in child.last_lines())
            for child in self._children
            if child.last_lines()
        ]
        return "".join(said)

    def dead(self) -> list[Child]:
        """Those that have ended by themselves."""
        return [child for child in self._children if child.exit_code() is not None]

    def raise_if_one_died(self) -> None:
        """Raise `ProcessError` with the obituary of the first that ended."""
        for child in self.dead():
            raise ProcessError(child.obituary())

    def end(self) -> None:
        """End all, the last started first: let go of the leash, then SIGTERM, then SIGKILL for the whole group."""
        for child in reversed(self._children):
            if child.process.stdin is not None:
                with suppress(OSError):
                    child.process.stdin.close()
        for child in reversed(self._children):
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(END_PATIENCE_S)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()
        self._children.clear()
