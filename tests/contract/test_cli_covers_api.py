"""`igrt` does from the command line whatever the screen can do: every call of the service, every command, each made.

Each cell of the table is run as a process would run it, against a served door; what arrived there is what it says.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import argon2
import numpy as np
import pytest
import uvicorn
from idle_service import idle_status
from qa_books import qa_books
from sqlalchemy import create_engine

from igrt_hw import cli
from igrt_hw.models import commands
from igrt_hw.models.commands import CommandResult
from igrt_hw.models.users import ChainVerdict, Role
from igrt_hw.server.app import Door, create_app
from igrt_hw.server.pictures import scaled
from igrt_hw.server.sessions import RateLimit, Sessions
from igrt_hw.server.users import UserStore

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "long enough 1"
DIGEST = "ab" * 32
SIX = "1,2,3,0.1,0.2,0.3"

# (method, path of the description): the command line that makes the call; FILE is a file to be written.
CALLS: dict[tuple[str, str], str] = {
    ("GET", "/api/health"): "health",
    ("POST", "/api/login"): "login therapist",
    ("POST", "/api/second_person"): "second-person physicist",
    ("POST", "/api/logout"): "logout",
    ("GET", "/api/status"): "status",
    ("GET", "/api/plans"): "plans",
    ("POST", "/api/command"): "stop",
    ("GET", "/api/images/{image_uid}"): "image 1.2.3 FILE.pgm",
    ("GET", "/api/images/{image_uid}/drr"): "image 1.2.3 FILE.npy --drr --registered",
    ("GET", "/api/images/{image_uid}/nudged"): f"image 1.2.3 FILE.pgm --drr --correction {SIX}",
    ("GET", "/api/images/{image_uid}/landmarks"): f"landmarks 1.2.3 --correction {SIX}",
    ("GET", "/api/room/picture"): "room picture FILE.pgm",
    ("GET", "/api/room/map"): "room map",
    ("GET", "/api/record"): "record",
    ("GET", "/api/record/verify"): "record --verify",
    ("GET", "/api/qa/tests"): "qa tests",
    ("GET", "/api/qa/runs"): "qa runs",
    ("GET", "/api/qa/trend"): "qa trend Lasers",
    ("GET", "/api/trends/shifts"): "trends shifts IGRT-0001 1.2.3.plan",
    ("GET", "/api/trends/anatomy"): "trends anatomy IGRT-0001 1.2.3.plan",
    ("GET", "/api/review/overrides"): "review overrides",
    ("GET", "/api/review/alarms"): "review alarms",
    ("GET", "/api/procedures"): "procedures egress",
}
# Calls that the command line does not make, each with its reason. There is none.
WITHOUT: dict[tuple[str, str], str] = {}

# Kind of command: the words after `igrt`, and those that have a shorter form of their own beside `igrt command`.
COMMANDS: dict[str, tuple[str, ...]] = {
    "open_patient": (
        "command open_patient plan_uid=1.2 patient_id=p birth_date=19500101 isocentre_id=I fraction=1",
    ),
    "confirm_setup": ("command confirm_setup",),
    "override_setup": ("command override_setup reason=other text=cushion --second",),
    "acquire_images": ("command acquire_images",),
    "register": ("command register translation_only=true",),
    "propose": ("command propose",),
    "request_challenge": (f"command request_challenge digest={DIGEST}",),
    "approve": (f"command approve digest={DIGEST} challenge_id=C code=ACDE fact=+1.0 --second",),
    "reject": (f"command reject digest={DIGEST} reason=other text=no",),
    "arm": (f"command arm digest={DIGEST}",),
    "stop": ("command stop", "stop --reason drill"),
    "release_beam": ("command release_beam",),
    "monitor_target": ("command monitor_target on=true",),
    "acknowledge_alarm": ("command acknowledge_alarm alarm_id=held",),
    "reset_fault": ("command reset_fault",),
    "next_isocentre": ("command next_isocentre isocentre_id=ISO2",),
    "enter_mode": ("command enter_mode mode=service",),
    "home_couch": ("command home_couch --second",),
    "begin_qa": ("command begin_qa level=general", "qa begin stereotactic"),
    "watch_interlock": ("command watch_interlock test=Door", "qa watch Door"),
    "note_qa": ("command note_qa test=Lasers value=0.5", "qa note Lasers --value 0.5"),
    "finish_qa": ("command finish_qa", "qa finish"),
    "close_patient": ("command close_patient",),
}


class Everything:
    """A service that takes everything and knows one image."""

    simulator = True
    books = qa_books()

    def __init__(self) -> None:
        self.commands: list[tuple[Any, str]] = []
        self.pixels = np.linspace(0.0, 4.0, 12, dtype=np.float32).reshape(3, 4)

    def __getattr__(self, name: str) -> Any:
        """What only the screen's room and nudging need: nothing is there, which is a 404 or 409 and no defect."""

        async def nothing(*_: object, **__: object) -> None:
            return None

        return nothing

    def status(self) -> Any:
        return idle_status()

    def status_json(self) -> str:
        return str(idle_status().model_dump_json())

    def plans(self) -> tuple[()]:
        return ()

    async def command(self, command: Any, session: Any) -> CommandResult:
        self.commands.append((command, session.user.username))
        return CommandResult(accepted=True, message="done")

    async def image(self, image_uid: str) -> Any:
        return scaled(self.pixels)

    async def drr(self, image_uid: str, registered: bool) -> Any:
        return scaled(self.pixels)

    async def record(self, after: int, limit: int) -> list[Any]:
        return []

    async def verify_record(self) -> ChainVerdict:
        return ChainVerdict(ok=True, entries=0, problem="")

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        pass


class Served:
    """The door on a port of the loopback, in a thread; notes every call by the path of the description."""

    def __init__(self, folder: Path) -> None:
        users = UserStore(
            create_engine(f"sqlite:///{folder / 'users.sqlite'}"), demo_users=False, hasher=CHEAP
        )
        for role in Role:
            users.add(role.value, role.value.title(), role, PASSWORD)
        unlimited = RateLimit(burst=10**6, per_second=10**6)
        self.service = Everything()
        self.door = door = Door(
            service=self.service,
            users=users,
            clock_us=lambda: time.monotonic_ns() // 1000,
            utc=lambda: datetime.now(UTC),
            sign_in_limit=unlimited,
            call_limit=unlimited,
        )
        self.calls: list[tuple[str, str]] = []
        self.app = create_app(door)
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.server = uvicorn.Server(
            uvicorn.Config(self._noting, log_level="critical", lifespan="off", interface="asgi3")
        )
        self.thread = threading.Thread(
            target=lambda: asyncio.run(self.server.serve(sockets=[listener])), daemon=True
        )
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def sign_in(self) -> tuple[str, str]:
        """Tokens of a therapist, and of a physicist as the second person."""
        now_us, at = self.door.clock_us(), self.door.utc()
        first, second = (
            self.door.users.verify(name, PASSWORD, at) for name in ("therapist", "physicist")
        )
        token = self.door.sessions.open(first, now_us)
        parent = self.door.sessions.use(token, now_us)
        return token, self.door.sessions.open(second, now_us, parent)

    async def _noting(self, scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            route = scope.get("route")
            if message["type"] == "http.response.start" and route is not None:
                self.calls.append((scope["method"], route.path))
            await send(message)

        await self.app(scope, receive, tell)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = Served(tmp_path_factory.mktemp("served"))
    yield running
    running.server.should_exit = True
    running.thread.join(10.0)


Run = Callable[[str], int]


@pytest.fixture
def igrt(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run `igrt` with these words, a first and a second person signed in; returns the exit code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("IGRT_URL", served.url)
    monkeypatch.setenv("IGRT_PASSWORD", PASSWORD)
    monkeypatch.setenv("IGRT_SECOND_PASSWORD", PASSWORD)
    for name in ("IGRT_DEBUG", "IGRT_STORE"):
        monkeypatch.delenv(name, raising=False)
    first, second = served.sign_in()
    monkeypatch.setenv("IGRT_TOKEN", first)
    monkeypatch.setenv("IGRT_SECOND_TOKEN", second)

    def run(words: str) -> int:
        asked = [word.replace("FILE", str(tmp_path / "out")) for word in words.split()]
        monkeypatch.setattr(sys, "argv", ["igrt", *asked])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    served.calls.clear()
    served.service.commands.clear()
    yield run
    served.door.sessions = Sessions()  # everybody is signed out


def described(served: Served) -> set[tuple[str, str]]:
    return {
        (method.upper(), path)
        for path, methods in served.app.openapi()["paths"].items()
        for method in methods
    }


def test_every_call_of_the_service_has_a_command_or_a_reason(served: Served) -> None:
    missing = described(served) - CALLS.keys() - WITHOUT.keys()
    assert not missing, f"no igrt command and no reason for: {sorted(missing)}"
    assert not (CALLS.keys() | WITHOUT.keys()) - described(served), (
        "the table has calls that are gone"
    )


@pytest.mark.parametrize("call", list(CALLS), ids=lambda call: f"{call[0]} {call[1]}")
def test_the_command_makes_the_call(served: Served, igrt: Run, call: tuple[str, str]) -> None:
    code = igrt(CALLS[call])
    assert call in served.calls
    assert code != cli.EXIT_DEFECT


def test_every_command_has_its_words() -> None:
    kinds = {
        command.model_fields["kind"].default for command in get_args(get_args(commands.Command)[0])
    }
    assert kinds == COMMANDS.keys()


@pytest.mark.parametrize(
    ("kind", "words"), [(kind, words) for kind, forms in COMMANDS.items() for words in forms]
)
def test_the_words_give_the_command(served: Served, igrt: Run, kind: str, words: str) -> None:
    assert igrt(words) == 0
    ((command, username),) = served.service.commands
    assert command.kind == kind
    assert username == ("physicist" if "--second" in words else "therapist")


def test_two_people_sign_in_and_leave_from_the_command_line(
    served: Served, igrt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IGRT_TOKEN")
    monkeypatch.delenv("IGRT_SECOND_TOKEN")
    assert igrt("status") == 1
    assert igrt("login therapist") == 0
    assert igrt("command propose --second") == 1, "nobody is there yet"
    assert igrt("second-person therapist") == 1, "the same person twice"
    assert igrt("second-person physicist") == 0
    assert igrt("command propose --second") == 0
    assert served.service.commands[-1][1] == "physicist"
    assert igrt("logout") == 0
    assert igrt("command propose --second") == 1, "the second leaves with the first"


def test_an_image_written_by_the_command_is_the_image(
    served: Served, igrt: Run, tmp_path: Path
) -> None:
    assert igrt("image 1.2.3 FILE.npy") == 0
    assert igrt("image 1.2.3 FILE.pgm") == 0
    pixels = np.load(tmp_path / "out.npy")
    written = (tmp_path / "out.pgm").read_bytes()
    header = b"P5 4 3 65535\n"
    assert written.startswith(header)
    read = np.frombuffer(written[len(header) :], dtype=">u2").reshape(3, 4)
    assert np.array_equal(read, pixels)
    assert np.array_equal(read, scaled(served.service.pixels).pixels)
