"""Running the service: listen, tell where, serve until asked to end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from igrt_hw.link.runner import monotonic_us
from igrt_hw.server.app import Door, create_app
from igrt_hw.server.building import Built, build
from igrt_hw.server.errors import StartRefusedError
from igrt_hw.server.settings import Ready, ServeSettings, is_loopback

SHUTDOWN_S = 3
KEEP_ALIVE_S = 30  # longer than clients keep a connection, so that none is closed under a command
MESSAGE_OCTETS_MAX = 4096
GIL_SWITCH_S = 0.001  # the lines' threads must get their turn between slices of Python work


def run(settings: ServeSettings) -> None:
    """Build and serve until SIGTERM or SIGINT. Raises `StartRefusedError` with one sentence."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    sys.setswitchinterval(GIL_SWITCH_S)
    listener = _listen(settings)
    built = build(settings)
    asyncio.run(_serve(settings, built, listener))


def _listen(settings: ServeSettings) -> socket.socket:
    if settings.unix_socket is not None:
        return listen_at_file(settings.unix_socket)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise StartRefusedError(
            f"cannot listen at {settings.host} port {settings.port}: {error.strerror}; is a supervisor running already?"
        ) from error


def listen_at_file(file: Path) -> socket.socket:
    """A socket in the file system that only its owner may open (0600), from the first instant on.

    What a service that was killed left behind is taken away; where somebody answers, or something else lies, the start
    is refused with `StartRefusedError`.
    """
    if file.exists() or file.is_symlink():
        if not stat.S_ISSOCK(file.lstat().st_mode):
            raise StartRefusedError(f"{file} is there and is no socket; give another file")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(file)) == 0:
                raise StartRefusedError(f"a supervisor is listening at {file} already")
        file.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(file))
        listener.listen()
    except OSError as error:
        listener.close()
        raise StartRefusedError(f"cannot listen at {file}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    return listener


def address_of(settings: ServeSettings, listener: socket.socket) -> str:
    """The URL that clients use."""
    if settings.unix_socket is not None:
        return f"unix://{settings.unix_socket.absolute()}"
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{settings.scheme}://{shown}:{port}"


async def _serve(settings: ServeSettings, built: Built, listener: socket.socket) -> None:
    url = address_of(settings, listener)
    hosts = ["127.0.0.1", "localhost", "[::1]"]
    if not is_loopback(settings.host):
        hosts.append(settings.host)
    door = Door(
        service=built.service,
        users=built.users,
        clock_us=monotonic_us,
        utc=lambda: datetime.now(UTC),
    )
    app = create_app(door, hosts=hosts)

    @asynccontextmanager
    async def life(_app: object) -> AsyncIterator[None]:
        await built.service.start()
        _tell(settings, built, url)
        try:
            yield
        finally:
            await built.service.close()

    app.router.lifespan_context = life
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # a WebSocket's query may carry a token
            timeout_graceful_shutdown=SHUTDOWN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws_max_size=MESSAGE_OCTETS_MAX,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=str(settings.tls_key) if settings.tls_key else None,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started and settings.ready_file is not None:
        _write_ready(
            settings.ready_file, Ready(url=url, pid=os.getpid(), simulator=settings.simulator)
        )
    await serving
    if settings.unix_socket is not None:
        settings.unix_socket.unlink(missing_ok=True)


def _write_ready(file: Path, ready: Ready) -> None:
    """Written beside and renamed, so that a reader never sees half of it."""
    fresh = file.with_suffix(file.suffix + ".new")
    fresh.write_text(ready.model_dump_json() + "\n")
    fresh.replace(file)


def _tell(settings: ServeSettings, built: Built, url: str) -> None:
    """The banner, in the log and in the record."""
    what = "SIMULATED DEVICES" if settings.simulator else "REAL DEVICES"
    users = "; DEMO USERS WITH PUBLIC PASSWORDS MAY SIGN IN" if settings.demo_users else ""
    sentence = f"supervisor at {url}: {what}{users}; not a medical device"
    for text in (sentence, *built.notes):
        print(text, file=sys.stderr, flush=True)  # noqa: T201  the banner of a process in the foreground
    built.service.note("service", "service", sentence, {"notes": list(built.notes)})
    for finding in built.findings:
        print(f"from the last run: {finding.sentence}", file=sys.stderr, flush=True)  # noqa: T201
        built.service.note(
            "recovery",
            "service",
            finding.sentence,
            {"kind": finding.kind, "entry": finding.sequence},
        )
