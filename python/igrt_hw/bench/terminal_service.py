"""The service as a terminal under measurement sees it: the real door and the real stream, behind them a played status.

20 statuses a second in which the couch moves, and images that come slowly and are replaced all the time.
`python -m igrt_hw.bench.terminal_service STATUS.json READY.json`, run by `igrt_hw.bench.terminal`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from igrt_hw.link.runner import monotonic_us
from igrt_hw.models.commands import Command, CommandResult
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.procedures import Procedure
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.status import SupervisorStatus
from igrt_hw.models.users import ChainVerdict, Role
from igrt_hw.server.app import Door, create_app
from igrt_hw.server.pictures import Picture, scaled
from igrt_hw.server.sessions import RateLimit, UserSession
from igrt_hw.server.users import UserStore

USERNAME, PASSWORD = "bench", "a long bench password"
IMAGE_PIXELS = 1024
IMAGE_S = 0.15  # how long an image is on its way
REPLACED_S = 0.4  # how long before the next pair takes its place


class _Books:
    """Nothing is written in them."""

    def procedures(self) -> tuple[Procedure, ...]:
        """No procedures."""
        return ()


class Played:
    """A supervision that plays one status with moving numbers. Everything that is asked of it is taken."""

    simulator = True
    books: Any = _Books()

    def __init__(self, status: SupervisorStatus) -> None:
        self._status = status
        self._silent_us: int | None = None
        rows, cols = np.mgrid[0:IMAGE_PIXELS, 0:IMAGE_PIXELS].astype(np.float32) / IMAGE_PIXELS
        self._picture = scaled(
            np.asarray(np.sin(9.0 * rows) * np.cos(7.0 * cols), dtype=np.float32)
        )

    def status(self) -> SupervisorStatus:
        """The status of this instant."""
        now_us = monotonic_us()
        couch, pair = self._status.couch, int(now_us / 1e6 / REPLACED_S)
        moved = None
        if couch is not None:
            share = 0.5 + 0.5 * math.sin(now_us / 1e6)
            at = tuple(value + 5.0 * share for value in couch.primary)
            moved = couch.model_copy(
                update={"primary": at, "commanded": at, "secondary": at, "path_fraction": share}
            )
        images = tuple(
            image.model_copy(update={"image_uid": f"{number}-{pair}"})
            for number, image in enumerate(self._status.images)
        )
        links = self._status.links
        if self._silent_us is not None:
            age_ms = (now_us - self._silent_us) / 1000.0
            links = tuple(
                link.model_copy(update={"age_ms": age_ms}) if link.name == "couch" else link
                for link in links
            )
        return self._status.model_copy(
            update={
                "now_us": now_us,
                "couch": moved,
                "images": images,
                "links": links,
                "version": now_us // 50_000,
            }
        )

    def silence(self) -> None:
        """The couch's line falls silent in this instant, or speaks again."""
        self._silent_us = monotonic_us() if self._silent_us is None else None

    def status_json(self) -> str:
        """The same as JSON."""
        return self.status().model_dump_json()

    def plans(self) -> Sequence[TreatmentPlan]:
        """No plans."""
        return ()

    async def command(self, command: Command, session: UserSession) -> CommandResult:
        """Take everything, do nothing."""
        return CommandResult(accepted=True, message="taken")

    def terminal_alive(self, *_: Any) -> None:
        """The lease is nobody's here."""

    def terminal_gone(self, terminal_id: str) -> None:
        """Nobody misses it."""

    async def image(self, image_uid: str) -> Picture | None:
        """A megapixel, after a while."""
        await asyncio.sleep(IMAGE_S)
        return self._picture

    async def drr(self, image_uid: str, registered: bool) -> Picture | None:
        """The same."""
        return await self.image(image_uid)

    async def record(self, after: int, limit: int) -> list[RecordEntry]:
        """No entries."""
        return []

    async def verify_record(self) -> ChainVerdict:
        """Nothing to check."""
        return ChainVerdict(ok=True, entries=0, problem="")

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        """Nothing is recorded."""

    def __getattr__(self, name: str) -> Any:
        """What newer parts of the door ask for is not there: they refuse by themselves."""
        raise AttributeError(name)


def main(status_file: Path, ready_file: Path) -> None:
    """Serve until killed."""
    status = SupervisorStatus.model_validate_json(status_file.read_text(encoding="utf-8"))
    engine = create_engine(
        "sqlite://", connect_args={"check_same_thread": False}, poolclass=StaticPool
    )
    users = UserStore(engine, demo_users=False)
    users.add(USERNAME, "B. Ench", Role.THERAPIST, PASSWORD)
    unlimited = RateLimit(burst=10**6, per_second=10**6)
    played = Played(status)
    signal.signal(signal.SIGUSR1, lambda *_: played.silence())
    door = Door(
        service=played,
        users=users,
        clock_us=monotonic_us,
        utc=lambda: datetime.now(UTC),
        call_limit=unlimited,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    fresh = ready_file.with_suffix(".new")
    fresh.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
    fresh.replace(ready_file)
    server = uvicorn.Server(uvicorn.Config(create_app(door), log_level="error", access_log=False))
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
