"""The whole loop by keyboard, in a real terminal (tmux), with real processes and real ptys."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

COLUMNS, ROWS = 100, 30
WAIT_S = 120.0
KEY_S = 0.15  # between two characters: a hand, not a paste
BIN = Path(sys.executable).parent

pytestmark = [
    pytest.mark.hil,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("tmux") is None, reason="tmux is not installed; CI installs it"
    ),
    pytest.mark.skipif(
        not (BIN / "igrt-sim").exists(), reason="the simulator is not installed here"
    ),
]


class Operator:
    """Hands and eyes at a tmux terminal."""

    def __init__(self, socket: str, command: list[str | Path], password: str = "") -> None:
        self._socket = socket
        self._tmux(
            "new-session", "-d", "-s", "t", "-x", str(COLUMNS), "-y", str(ROWS),
            "-e", f"PATH={BIN}{os.pathsep}{os.environ['PATH']}", "-e", f"IGRT_PASSWORD={password}",
            "env", "-u", "COLUMNS", "-u", "LINES",  # a test runner sets them; the terminal knows better
            "sh", "-c", '"$@"; echo "the demo ended with $?"', "sh", *(str(part) for part in command),
            ";", "set-option", "remain-on-exit", "on",
        )  # fmt: skip

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", os.devnull, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def close(self) -> None:
        subprocess.run(
            ["tmux", "-L", self._socket, "kill-server"], capture_output=True, check=False
        )

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-t", "t")

    def see(self, words: str, seconds: float = WAIT_S) -> str:
        """Wait until words are on the screen; fail with the screen if they never are."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            screen = self.screen()
            if re.search(words, screen):
                return screen
            time.sleep(0.2)
        raise AssertionError(
            f"'{words}' never came in {seconds:.0f} s; the screen:\n{self.screen()}"
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self._tmux("send-keys", "-t", "t", key)
            time.sleep(KEY_S)

    def type(self, text: str) -> None:
        for character in text:
            self._tmux("send-keys", "-t", "t", "-l", "--", character)
            time.sleep(KEY_S)

    def type_by_hand(self, text: str, taken: str) -> None:
        """Type into a field that takes nothing but a hand's typing, until the screen says that it is taken.

        A machine under load may hand over two characters at once: the app empties the field, and the hand begins anew.
        It may also be late with the focus: the next attempt is in the other field.
        """
        for _ in range(4):
            self.type(text)
            ends = time.monotonic() + 8.0
            while time.monotonic() < ends:
                if re.search(taken, self.screen()):
                    return
                time.sleep(0.2)
            self.press(*["BSpace"] * len(text), "Tab")
        self.type(text)
        self.see(taken, 20)

    def do(self, key: str, asks: str) -> None:
        """Start an act that asks once more, and affirm it; what is refused for the moment is tried again."""
        for _ in range(5):
            self.press("F2")
            self.see("CONSOLE")
            self.press(key)
            self.see(asks)
            self.press("F8")
            self.see("CONSOLE|MOTION")
            time.sleep(
                0.5
            )  # the screen is kept: for an instant it may still say what it said before
            if "refused:" not in self.screen():
                return
            time.sleep(1.0)

    def hold_enable_until(self, words: str, seconds: float = WAIT_S) -> None:
        """Keep the space bar down, as a terminal repeats it."""
        until = time.monotonic() + seconds
        while not re.search(words, self.screen()):
            assert time.monotonic() < until, self.screen()
            self._tmux("send-keys", "-t", "t", "Space")
            time.sleep(0.08)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    command: list[str | Path] = [BIN / "igrt", "demo", "--seed", "5", "--keep", tmp_path / "run"]
    made = Operator(f"igrt-test-{os.getpid()}", command)
    yield made
    made.close()


def image_register_propose(operator: Operator) -> None:
    operator.do("i", "X-RAYS")
    operator.see(r"\n IMAGED ")
    operator.press("g")
    operator.see(r"\n REGISTERED ")
    operator.press("m")
    operator.see(r"\n CHECKED ")


def approve_and_arm(operator: Operator) -> None:
    operator.press("F4")
    operator.see("REVIEW")
    operator.press("F5")
    read_and_type(operator)
    operator.see(r"\n APPROVED ")
    operator.do("a", "The plan goes to the couch")
    operator.see(r"\n ARMED ")


def read_and_type(operator: Operator) -> str:
    """Read code and number off an approval that is opening, type them, press F8; return the number."""
    screen = operator.see("no spaces")
    code = re.search(r"code {3}(\w) (\w) (\w) (\w)", screen)
    asked = re.search(r"▶ \w+ \w+ +\S+ +\S+ +(\S+)", screen)
    assert code is not None, screen
    assert asked is not None, screen
    operator.press(
        "Enter", "Enter"
    )  # a habit that must approve nothing: it goes round the two fields
    operator.see(r"\n CHECKED ")
    operator.type_by_hand("".join(code.groups()), "✓ the code is typed as shown")
    operator.press("Tab")
    operator.type_by_hand(asked.group(1), "F8 +approves this shift, once")
    operator.press("F8")
    return asked.group(1)


def test_one_shift_goes_through_the_nine_steps_by_keyboard(
    operator: Operator, tmp_path: Path
) -> None:
    operator.see("SIGN IN")
    operator.see("SIMULATOR.*NOT A MEDICAL DEVICE")
    signed_in(operator)
    open_patient(operator)
    image_register_propose(operator)
    approve_and_arm(operator)

    operator.hold_enable_until(r"\n MOVING ")
    operator.press("F12")
    operator.see(r"\n SUPERSEDED ")  # HOLD in the middle of a move: what was approved is void

    image_register_propose(operator)
    approve_and_arm(operator)
    operator.hold_enable_until(r"\n ARRIVED ")
    operator.do("i", "X-RAYS")
    operator.see("g +Register the images")
    operator.press("g")
    operator.see(r"\n VERIFIED ")
    operator.do("b", "The beam gate will be energised")
    operator.see(r"\n BEAM_READY ")

    operator.press("F9")
    operator.see("RECORD")
    operator.press("C-v")
    operator.see(r"chain: . holds over \d+ entries")
    operator.press("C-q")
    operator.see("Type the word quit")
    operator.type("quit")
    operator.press("Enter")
    operator.see("the demo ended with 0")
    assert left_over(tmp_path / "run") == []


def test_two_people_approve_one_shift_on_one_terminal(operator: Operator, tmp_path: Path) -> None:
    signed_in(operator)
    open_patient(operator)
    operator.do("i", "X-RAYS")
    operator.see(r"\n IMAGED ")
    operator.press("g")
    operator.see(r"\n REGISTERED ")
    operator.press("F3")
    operator.see("IMAGES")
    operator.press("n")
    operator.see("BY HAND")
    operator.press("h")
    operator.see("Why by hand")
    operator.press("1", "Enter")
    operator.type("ribs")
    operator.press("F8")
    operator.see("registration doubtful|doubtful|CONSOLE")
    operator.press("F2")
    operator.see(r"\n REGISTERED ")
    operator.press("m")
    operator.see(r"\n CHECKED ")

    operator.press("F5")
    first = read_and_type(operator)
    operator.see(r"approvals 1 of 2")
    operator.see(r"\n CHECKED ")  # one of two is not enough
    operator.press("F5")
    operator.see("A second person approves this shift")
    operator.type("demo")
    operator.press("Enter")
    operator.type("demo-therapist")
    operator.press("Enter")
    operator.see("must be another person")

    operator.press("F5")
    operator.see("A second person approves this shift")
    operator.type("demo.physicist")
    operator.press("Enter")
    operator.type("demo-physicist")
    operator.press("Enter")
    operator.see("Typed by demo.physicist")
    second = read_and_type(operator)
    operator.see(r"\n APPROVED ")
    assert second != first, "the second person is asked for another number"
    operator.see(r"user +Dana Demo")  # the first person is still the one who works here
    leave(operator)
    assert left_over(tmp_path / "run") == []


def test_a_terminal_that_is_killed_while_the_couch_moves_takes_its_permission_with_it(
    operator: Operator, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    signed_in(operator)
    open_patient(operator)
    image_register_propose(operator)
    operator.press("F5")
    read_and_type(operator)
    operator.see(r"\n APPROVED ")
    url = json.loads((run / "service.json").read_text())["url"]
    other = Operator(
        f"igrt-other-{os.getpid()}",
        [BIN / "igrt-tui", "--url", url, "--username", "demo"],
        password="demo-therapist",
    )
    try:
        other.see("SIGN IN")
        other.press("Enter")
        other.see(r"\n APPROVED ")
        other.do("a", "The plan goes to the couch")
        other.see(r"\n ARMED ")
        # The enable is held by somebody else: what stops the couch is the terminal that is not there any more.
        simulator_does(run, "hand.enable", position="enabled", for_ms=60_000)
        operator.see(r"\n MOVING ")
        os.kill(
            process_with(f"--url {url} --username demo", not_with="--control-socket"),
            signal.SIGKILL,
        )
        operator.see(r"\n SUPERSEDED ", 10)
        operator.see("permission +not given", 10)
        operator.see("Terminal", 10)
    finally:
        other.close()
        simulator_does(run, "hand.enable", position="released")
    leave(operator)
    assert left_over(run) == []


def test_lines_that_are_lost_in_the_middle_of_an_approval_close_it(
    operator: Operator, tmp_path: Path
) -> None:
    signed_in(operator)
    open_patient(operator)
    image_register_propose(operator)
    operator.press("F5")
    screen = operator.see("no spaces")
    code = re.search(r"code {3}(\w) (\w) (\w) (\w)", screen)
    assert code is not None, screen
    operator.type("".join(code.groups()))
    simulator = process_of(tmp_path / "run", "igrt-sim")
    os.kill(simulator, signal.SIGSTOP)
    try:
        closed = operator.see("approval closed: .+", 20)
        assert "What F8 needs" not in closed
        operator.press("F8")
        time.sleep(1.0)
        assert " APPROVED " not in operator.screen()
    finally:
        os.kill(simulator, signal.SIGCONT)
    leave(operator)
    assert left_over(tmp_path / "run") == []


def test_a_daily_qa_is_begun_and_an_interlock_watched_from_the_terminal(
    operator: Operator, tmp_path: Path
) -> None:
    signed_in(operator)
    operator.press("C-d")
    operator.see("No run is in the record")
    operator.press("d")
    operator.see("phantoms only")
    operator.press("F8")
    operator.see("mode daily QA")
    operator.press("b")
    operator.see("Begin the daily QA at general limits")
    operator.press("F8")
    operator.see(r"0 of \d+ done")
    operator.press("Down", "Down", "Down")
    operator.see("▶ Door")
    operator.press("w")
    operator.see("watching Door")
    for closed in (False, True):
        simulator_does(tmp_path / "run", "hand.door", closed=closed)
        time.sleep(2.0)
    operator.see(r"▶ Door +✓ passed", 30)
    operator.press("e")
    operator.see("It will NOT pass")
    operator.press("F8")
    operator.see("did NOT pass", 20)
    leave(operator)
    assert left_over(tmp_path / "run") == []


def test_lines_that_fall_silent_are_shown_as_what_they_are_and_qa_and_record_go_on(
    operator: Operator, tmp_path: Path
) -> None:
    signed_in(operator)
    simulator = process_of(tmp_path / "run", "igrt-sim")
    os.kill(simulator, signal.SIGSTOP)
    try:
        operator.see("lost:|old:", 20)
        operator.press("F7")
        operator.see(r"[1-9]\d* active", 20)
        assert re.search(r"[1-9]\d* active", operator.screen()), operator.screen()
        operator.press("C-d")
        operator.see("Emergency Stop", 20)
        operator.press("F9")
        operator.see(r"shown of \d+ loaded", 20)
        operator.press("F12")
        operator.see("STOP confirmed|HOLD NOT CONFIRMED", 20)
    finally:
        os.kill(simulator, signal.SIGCONT)
    leave(operator)
    assert left_over(tmp_path / "run") == []


def test_a_supervisor_that_is_killed_is_shown_as_lost_and_the_terminal_does_not_fall_over(
    operator: Operator, tmp_path: Path
) -> None:
    signed_in(operator)
    os.kill(process_of(tmp_path / "run", "igrt serve"), signal.SIGKILL)
    lost = operator.see("SUPERVISOR LOST|OLD VALUES", 10)
    assert "Traceback" not in lost
    operator.press("F12")
    operator.see("HOLD NOT CONFIRMED.*hardware stop", 10)
    ended = operator.see("the demo ended with [1-9]", 40)
    assert "Traceback" not in ended
    assert left_over(tmp_path / "run") == []


def signed_in(operator: Operator) -> None:
    operator.see("SIGN IN")
    operator.press("Enter")
    operator.see(r"\n IDLE ")


def open_patient(operator: Operator) -> None:
    operator.press("o")
    wristband = operator.see("Wristband").partition("Wristband")[2]
    identity = re.search(r"patient ID +(\S+)", wristband)
    born = re.search(r"birth date +(\d{8})", wristband)
    assert identity is not None
    assert born is not None
    operator.type(identity.group(1))
    operator.press("Tab")
    operator.type(born.group(1))
    operator.press("F8")
    operator.see(r"\n PATIENT_BOUND ")
    operator.do("s", "The patient lies on the couch")
    operator.see(r"\n SETUP ")


def simulator_does(run: Path, op: str, **fields: object) -> None:
    """Ask the simulator's control socket for something; fail if it refuses."""
    endpoints = json.loads((run / "endpoints.json").read_text())
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10.0)
        line.connect(endpoints["control"])
        line.sendall(json.dumps({"id": 1, "op": op, **fields}).encode() + b"\n")
        answer = json.loads(line.makefile().readline())
    assert answer["ok"], answer


def leave(operator: Operator) -> None:
    operator.press("C-q")
    operator.see("Type the word quit")
    operator.type("quit")
    operator.press("Enter")
    operator.see("the demo ended with")


def process_of(run: Path, command: str) -> int:
    """Return the process that runs a command of the demo in this folder, not the leash that holds it."""
    wanted = command.split()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        names = [Path(word).name for word in words[:3]]
        if str(run) in " ".join(words) and wanted == names[1 : 1 + len(wanted)]:
            return int(process.name)
    raise AssertionError(f"{command} is not running in {run}")


def process_with(words: str, not_with: str) -> int:
    """Return the terminal whose command line holds words and does not hold others."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().replace("\0", " ")
        except OSError:
            continue
        program = command.split(" ")[:2]
        if words in command and not_with not in command and any("igrt-tui" in p for p in program):
            return int(process.name)
    raise AssertionError(f"no terminal runs with {words}")


def left_over(run: Path) -> list[str]:
    """Return the command lines of processes that still work in the run's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(run) in words and not words.startswith(("tmux", "sh -c")):
            found.append(words)
    return found
