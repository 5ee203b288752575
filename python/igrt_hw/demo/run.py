"""Running the demonstration: three processes, or two and a script. Nothing is left running."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from igrt_hw.client import AsyncClient, Client, Endpoints, SimulatedHand
from igrt_hw.demo.leash import die_with_parent
from igrt_hw.demo.processes import Family, ProcessError, command_path
from igrt_hw.demo.script import ScriptedOperator, ScriptReport
from igrt_hw.machine import machine_file
from igrt_hw.models.record import RecordEntry
from igrt_hw.server.settings import DEMO_PLAN, Ready
from igrt_hw.server.users import DEMO_USERS

SIMULATOR_START_S = 60.0
SUPERVISOR_START_S = 60.0
AFTER_CRASH_S = 10.0  # long enough to read on screen what was lost, before the report comes
LEAVE_SCREEN = "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?2004l\x1b[0m"
BANNER = "SIMULATOR: no real couch, no real X-rays, no real patient\nNOT A MEDICAL DEVICE"


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """What the demo is asked for."""

    seed: int
    machine: str
    keep: Path | None


@dataclass(frozen=True, slots=True)
class Running:
    """The two processes behind the screen, and how to reach them."""

    family: Family
    endpoints: Endpoints
    url: str
    folder: Path


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where record, logs and sockets live; removed after a clean run unless it is to be kept."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="igrt-demo-"))
    try:
        yield folder
    except BaseException:
        Console(stderr=True).print(f"record and logs are kept in {folder}", markup=False)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def start(settings: DemoSettings, folder: Path) -> Iterator[Running]:
    """Start simulator and supervisor, wait until both are ready; end both on leaving."""
    endpoints_file, ready_file = folder / "endpoints.json", folder / "service.json"
    for old in (endpoints_file, ready_file):
        old.unlink(missing_ok=True)
    with Family(folder) as family:
        family.start(
            "simulator",
            [
                command_path("igrt-sim"), "serve",
                "--run-dir", folder,
                "--patient", DEMO_PLAN,
                "--seed", str(settings.seed),
                "--machine", machine_file(settings.machine).absolute(),
            ],
            {},
        )  # fmt: skip
        family.wait_until(endpoints_file.exists, "the simulator's lines", SIMULATOR_START_S)
        endpoints = Endpoints.read(endpoints_file)
        family.start(
            "supervisor",
            [
                command_path("igrt"), "serve",
                "--endpoints", endpoints_file,
                "--plan", DEMO_PLAN,
                "--machine", settings.machine,
                "--store", folder / "store",
                "--port", "0",
                "--ready-file", ready_file,
                "--demo-users",
            ],
            {},
        )  # fmt: skip
        family.wait_until(ready_file.exists, "the supervisor's service", SUPERVISOR_START_S)
        ready = Ready.model_validate_json(ready_file.read_bytes())
        yield Running(family, endpoints, ready.url, folder)


def run_interactive(settings: DemoSettings) -> int:
    """Simulator and supervisor behind, the terminal app in front. Closing the app ends all."""
    console = Console(stderr=True)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ProcessError("the demo needs a terminal; without one run `igrt demo --script`")
    terminal = command_path("igrt-tui")
    console.print(Panel(BANNER, style="bold black on yellow", expand=False))
    console.print(
        f"starting simulator and supervisor ({settings.machine}, seed {settings.seed}) ..."
    )
    with _folder(settings.keep) as folder, start(settings, folder) as running:
        with _terminal_as_it_was():
            screen = subprocess.Popen(
                [
                    terminal,
                    "--url", running.url,
                    "--username", DEMO_USERS[0].username,
                    "--control-socket", running.endpoints.control,
                ],
                env={**os.environ, "IGRT_PASSWORD": DEMO_USERS[0].password},
                preexec_fn=die_with_parent,
            )  # fmt: skip
            crash = _watch(screen, running.family)
        if crash:
            raise ProcessError(crash)
        if screen.returncode != 0:
            raise ProcessError(
                f"the terminal app ended with exit code {screen.returncode}; its message is above"
            )
    return 0


def _watch(screen: subprocess.Popen[bytes], family: Family) -> str:
    """Wait for the screen to close. A crash behind it is left on screen for a while, then told by name."""
    crash, end_at = "", 0.0
    try:
        while screen.poll() is None:
            time.sleep(0.05)
            dead = family.dead()
            if dead and not crash:
                crash = "\n".join(child.obituary() for child in dead)
                end_at = time.monotonic() + AFTER_CRASH_S
            if crash and time.monotonic() > end_at:
                screen.terminate()
                end_at = float("inf")
    except KeyboardInterrupt:
        screen.terminate()
    finally:
        with suppress(subprocess.TimeoutExpired):
            screen.wait(3.0)
        if screen.poll() is None:
            screen.kill()
            screen.wait()
    return crash


@contextmanager
def _terminal_as_it_was() -> Iterator[None]:
    """Put the terminal back, even when the app was killed in the middle of drawing."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
        sys.stdout.write(LEAVE_SCREEN)
        sys.stdout.flush()


class _Telling:
    """Prints each step as it happens."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def step(self, title: str, lines: list[str]) -> None:
        """One step."""
        at = time.monotonic() - self._began
        self._console.print(f"[bold]{at:7.2f} s  {escape(title)}[/bold]")
        for line in lines:
            if line:
                self._console.print(f"           {escape(line)}")


def run_scripted(settings: DemoSettings, json_file: Path | None) -> int:
    """The same loop unattended; 0 only if the couch arrived and was verified and the record verifies."""
    console = Console(highlight=False)
    console.print(Panel(BANNER, style="bold black on yellow", expand=False))
    console.print(f"machine {settings.machine}, seed {settings.seed}")
    with _folder(settings.keep) as folder, start(settings, folder) as running:
        try:
            report = asyncio.run(_operate(running, settings, _Telling(console)))
        except Exception:
            running.family.raise_if_one_died()
            _tell_record(console, _record(running.url))
            raise
        _tell_record(console, _record(running.url))
    _tell_result(console, report)
    if json_file is not None:
        json_file.write_text(json.dumps(report.model_dump(mode="json"), indent=2) + "\n")
    return 0 if report.passed else 1


async def _operate(running: Running, settings: DemoSettings, telling: _Telling) -> ScriptReport:
    person = DEMO_USERS[0]
    async with AsyncClient(running.url) as client, SimulatedHand(running.endpoints.control) as hand:
        signed_in = await client.login(person.username, person.password)
        telling.step("Signed in", [f"{signed_in.display_name}, {signed_in.role}"])
        return await ScriptedOperator(client, hand, telling, seed=settings.seed).run()


def _record(url: str) -> list[RecordEntry]:
    person = DEMO_USERS[0]
    entries: list[RecordEntry] = []
    with suppress(Exception), Client(url) as client:
        client.login(person.username, person.password)
        while more := client.record(after=entries[-1].sequence if entries else 0, limit=500):
            entries += more
    return entries


def _tell_record(console: Console, entries: list[RecordEntry]) -> None:
    console.rule("the record")
    for entry in entries:
        text = f"{entry.sequence:>5}  {entry.at_utc[11:23]}  {entry.kind:<22} {entry.actor:<12} {entry.text}"
        console.print(text, markup=False, soft_wrap=True)
    console.rule()


def _tell_result(console: Console, report: ScriptReport) -> None:
    console.print(f"before: {report.before.sentence()}", markup=False)
    console.print(f"after:  {report.after.sentence()} (the simulator's truth)", markup=False)
    chain = "verifies" if report.record_ok else "DOES NOT VERIFY"
    console.print(
        f"record: {report.record_entries} entries, chain {chain}, head {report.record_head[:16]}",
        markup=False,
    )
    word = "arrived and verified" if report.passed else "NOT VERIFIED"
    style = "bold green" if report.passed else "bold red"
    console.print(f"[{style}]SIMULATOR: {word}[/{style}], {report.seconds:.1f} s")
