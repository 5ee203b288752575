"""The service at a file of the file system: who may open it, what lies there already, calls and stream through it."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import argon2
import pytest
import uvicorn
from idle_service import idle_status
from sqlalchemy import create_engine

from igrt_hw.client import AsyncClient, Client, ServiceUnreachableError
from igrt_hw.models.status import SupervisorStatus
from igrt_hw.models.users import Role
from igrt_hw.server.app import Door, create_app
from igrt_hw.server.errors import StartRefusedError
from igrt_hw.server.main import address_of, listen_at_file
from igrt_hw.server.settings import DEMO_PLAN, ServeSettings
from igrt_hw.server.users import UserStore

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "long enough 1"


class Idle:
    """A service at rest that notes the terminals it hears."""

    simulator = True

    def __init__(self) -> None:
        self.terminals: list[str] = []

    def status(self) -> SupervisorStatus:
        return idle_status()

    def status_json(self) -> str:
        return str(idle_status().model_dump_json())

    def terminal_alive(self, terminal_id: str, session: Any, heard_us: int) -> None:
        self.terminals.append(terminal_id)

    def terminal_gone(self, terminal_id: str) -> None:
        pass

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        pass


@asynccontextmanager
async def served(file: Path, service: Idle) -> AsyncIterator[str]:
    users = UserStore(
        create_engine(f"sqlite:///{file.parent / 'users.sqlite'}"), demo_users=False, hasher=CHEAP
    )
    users.add("anna", "Anna", Role.THERAPIST, PASSWORD)
    door = Door(
        service=service,  # type: ignore[arg-type]
        users=users,
        clock_us=lambda: 0,
        utc=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )
    listener = listen_at_file(file)
    server = uvicorn.Server(uvicorn.Config(create_app(door), log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"unix://{file}"
    finally:
        server.should_exit = True
        await serving


# safety: SR-43
def test_only_the_owner_may_open_the_socket(tmp_path: Path) -> None:
    file = tmp_path / "igrt.sock"
    with listen_at_file(file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_calls_and_the_stream_work_through_the_socket(tmp_path: Path) -> None:
    service = Idle()
    async with served(tmp_path / "igrt.sock", service) as url, AsyncClient(url) as client:
        await client.login("anna", PASSWORD)
        assert (await client.status()).machine == "linac_pedestal"
        async with aclosing(client.stream("console-1")) as updates:
            async for update in updates:
                if update.connected and service.terminals:
                    break

        def blocking() -> str:
            with Client(url) as other:
                other.login("anna", PASSWORD)
                return other.health().service

        assert await asyncio.to_thread(blocking) == "igrt-hw"


def test_nobody_behind_the_socket_is_said_in_a_sentence(tmp_path: Path) -> None:
    with (
        Client(f"unix://{tmp_path / 'none.sock'}") as client,
        pytest.raises(ServiceUnreachableError),
    ):
        client.health()


def test_what_a_killed_service_left_behind_is_taken_away(tmp_path: Path) -> None:
    file = tmp_path / "igrt.sock"
    listen_at_file(file).close()  # the file stays, as after SIGKILL
    assert file.exists()
    listen_at_file(file).close()


def test_a_socket_that_somebody_serves_is_not_taken_from_them(tmp_path: Path) -> None:
    file = tmp_path / "igrt.sock"
    with listen_at_file(file), pytest.raises(StartRefusedError, match="already"):
        listen_at_file(file)
    with socket.socket(socket.AF_UNIX) as probe:
        assert probe.connect_ex(str(file)) != 0


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("keep me")
    with pytest.raises(StartRefusedError, match="no socket"):
        listen_at_file(file)
    assert file.read_text() == "keep me"


def settings(**changes: Any) -> ServeSettings:
    base = {
        "couch_port": "c",
        "imager_port": "i",
        "pendant_port": "p",
        "simulator": True,
        "plan_folders": (DEMO_PLAN,),
        "store": Path("store"),
    }
    return ServeSettings(**(base | changes))


# safety: SR-43
def test_a_file_and_an_address_are_one_or_the_other(tmp_path: Path) -> None:
    file = tmp_path / "igrt.sock"
    with pytest.raises(ValueError, match="at no address"):
        settings(unix_socket=file, tls_certificate=Path("c.pem"), tls_key=Path("k.pem"))
    with listen_at_file(file) as listener:
        assert address_of(settings(unix_socket=file), listener) == f"unix://{file}"
