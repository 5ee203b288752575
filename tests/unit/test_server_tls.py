"""The door over TLS: the client that knows the certificate gets in, the one that does not says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import argon2
import pytest
import trustme
import uvicorn
from idle_service import idle_status
from sqlalchemy import create_engine

from igrt_hw.client import AsyncClient, ClientError
from igrt_hw.models.status import SupervisorStatus
from igrt_hw.models.users import Role
from igrt_hw.server.app import Door, create_app
from igrt_hw.server.users import UserStore

CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "long enough 1"


class Idle:
    """A service at rest."""

    simulator = True

    def status(self) -> SupervisorStatus:
        return idle_status()

    def status_json(self) -> str:
        return str(idle_status().model_dump_json())

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        pass


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    ca_file, key_file, cert_file = (tmp_path / name for name in ("ca.pem", "key.pem", "cert.pem"))
    authority.cert_pem.write_to_path(str(ca_file))
    certificate.private_key_pem.write_to_path(str(key_file))
    certificate.cert_chain_pems[0].write_to_path(str(cert_file))
    users = UserStore(
        create_engine(f"sqlite:///{tmp_path / 'users.sqlite'}"), demo_users=False, hasher=CHEAP
    )
    users.add("anna", "Anna", Role.THERAPIST, PASSWORD)
    door = Door(
        service=Idle(),  # type: ignore[arg-type]
        users=users,
        clock_us=lambda: 0,
        utc=lambda: datetime(2026, 1, 1, tzinfo=UTC),
    )
    config = uvicorn.Config(
        create_app(door), port=0, ssl_certfile=cert_file, ssl_keyfile=str(key_file),
        log_level="error", lifespan="off",
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"https://localhost:{port}", ca_file
    finally:
        server.should_exit = True
        await serving


# safety: SR-35
async def test_calls_and_the_stream_work_over_tls_with_the_certificate(tmp_path: Path) -> None:
    async with served(tmp_path) as (url, ca_file), AsyncClient(url, ca_file=ca_file) as client:
        await client.login("anna", PASSWORD)
        assert (await client.status()).machine == "linac_pedestal"
        async with asyncio.timeout(10):
            async for update in client.stream("T1"):
                if update.status is not None:
                    break
        assert update.status is not None


# safety: SR-35
async def test_a_certificate_that_nobody_vouches_for_is_refused_in_a_sentence(
    tmp_path: Path,
) -> None:
    async with served(tmp_path) as (url, _), AsyncClient(url) as client:
        with pytest.raises(ClientError, match="certificate"):
            await client.login("anna", PASSWORD)
