"""The demo's processes end together, whatever kills whom. Real processes, no devices."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from igrt_hw.demo.processes import Family, ProcessError, command_path

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def eventually(promise: Callable[[], bool], patience_s: float = 20.0) -> bool:
    ends = time.monotonic() + patience_s
    while not promise():
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return True


def members(group: int) -> list[int]:
    """Processes of a group that are not zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def is_up(log: Path) -> bool:
    return "up" in log.read_text()


def test_leaving_the_family_leaves_nothing_running(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        child = family.start("sleeper", SLEEPER, {})
        family.wait_until(lambda: is_up(child.log), "the sleeper", 20)
        group = child.process.pid
        assert len(members(group)) == 2
    assert members(group) == []


def test_a_process_that_ignores_sigterm_is_ended_too(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        child = family.start("deaf", DEAF, {})
        family.wait_until(lambda: is_up(child.log), "the deaf one", 20)
        group = child.process.pid
    assert members(group) == []


def test_a_crash_is_reported_by_name_with_its_last_lines(tmp_path: Path) -> None:
    crash = [sys.executable, "-c", "print('it was the valve'); raise SystemExit(7)"]
    with Family(tmp_path) as family:
        family.start("simulator", crash, {})
        with pytest.raises(ProcessError, match=r"the simulator ended .*exit code 7[\s\S]*valve"):
            family.wait_until(lambda: False, "nothing", 20)


def test_a_killed_process_is_reported_with_its_signal(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        child = family.start("supervisor", SLEEPER, {})
        family.wait_until(lambda: is_up(child.log), "the sleeper", 20)
        (inner,) = [pid for pid in members(child.process.pid) if pid != child.process.pid]
        os.kill(inner, signal.SIGKILL)
        with pytest.raises(ProcessError, match=r"the supervisor ended by itself .*SIGKILL"):
            family.wait_until(lambda: False, "nothing", 20)


@pytest.mark.parametrize("command", [SLEEPER, DEAF], ids=["polite", "deaf"])
def test_killing_the_holder_ends_the_children(tmp_path: Path, command: list[str]) -> None:
    script = textwrap.dedent(f"""
        import pathlib, time
        from igrt_hw.demo.processes import Family
        with Family(pathlib.Path({str(tmp_path)!r})) as family:
            child = family.start("sleeper", {command!r}, {{}})
            family.wait_until(lambda: "up" in child.log.read_text(), "the sleeper", 20)
            print(child.process.pid, flush=True)
            time.sleep(600)
    """)
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        group = int(holder.stdout.readline())
        assert members(group)
        holder.kill()
        assert eventually(lambda: members(group) == [])
    finally:
        holder.kill()
        holder.wait()


def test_killing_the_leash_ends_what_is_on_it(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        child = family.start("sleeper", SLEEPER, {})
        family.wait_until(lambda: is_up(child.log), "the sleeper", 20)
        group = child.process.pid
        os.kill(group, signal.SIGKILL)
        assert eventually(lambda: members(group) == [])


def test_a_missing_command_says_what_to_install() -> None:
    with pytest.raises(ProcessError, match="igrt-no-such-command is not installed"):
        command_path("igrt-no-such-command")
