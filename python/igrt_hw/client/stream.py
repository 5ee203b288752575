"""The live status over the WebSocket: reconnects, knows its age, keeps the terminal's lease."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from igrt_hw.client.errors import ClientError, NotSignedInError, UnexpectedAnswerError
from igrt_hw.models.base import Frozen
from igrt_hw.models.status import SupervisorStatus

STALE_MS = 250.0  # docs/protocol.md section 9: nothing older is shown as current
ALIVE_PERIOD_S = 0.1  # five may be lost before the 500 ms that end the terminal's lease
TICK_S = 0.1
RECONNECT_FIRST_S = 0.1
RECONNECT_LAST_S = 1.0  # an operator waits for this screen: never back off further
CLOSE_NOT_SIGNED_IN = (
    4401  # as HTTP 401, in the range of the WebSocket protocol that is free for applications
)
FRAME_OCTETS_MAX = 4 * 1024 * 1024


UNIX = "unix://"


def socket_file_of(url: str) -> str | None:
    """The file of an address `unix:///path`; None for an address of the network."""
    return url.removeprefix(UNIX) if url.startswith(UNIX) else None


def steady_us() -> int:
    """Microseconds of the monotonic clock."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class StreamUpdate:
    """What the stream knows now.

    Attributes:
        status: the last status heard, None before the first one.
        connected: whether the connection stands.
        age_ms: time since the last status was received, by this client's clock; None before it.
        stale: older than 250 ms, or never heard.
        cause: why there is no connection; empty while there is one.
    """

    status: SupervisorStatus | None
    connected: bool
    age_ms: float | None
    stale: bool
    cause: str


class _StatusMessage(Frozen):
    type: str
    status: SupervisorStatus


class StatusStream:
    """One stream of updates; use it through `AsyncClient.stream`."""

    def __init__(
        self,
        url: str,
        token: str,
        tls: ssl.SSLContext | None,
        terminal_id: str | None,
        alive: Callable[[], bool],
        clock_us: Callable[[], int],
    ) -> None:
        self._url = url
        self._file = socket_file_of(url)
        base = "ws://localhost" if self._file is not None else "ws" + url.removeprefix("http")
        self._socket_url = base + "/api/stream"
        self._token = token
        self._tls = tls
        self._terminal_id = terminal_id
        self._alive = alive
        self._clock_us = clock_us
        self._status: SupervisorStatus | None = None
        self._heard_us = 0
        self._connected = False
        self._cause = "not connected yet"
        self._news = asyncio.Event()

    def _update(self) -> StreamUpdate:
        age_ms = None if self._status is None else (self._clock_us() - self._heard_us) / 1000.0
        stale = age_ms is None or age_ms > STALE_MS
        return StreamUpdate(self._status, self._connected, age_ms, stale, self._cause)

    async def updates(self) -> AsyncGenerator[StreamUpdate, None]:
        """Yield at news and at least every 100 ms; raises `NotSignedInError` when signed out."""
        pump = asyncio.create_task(self._keep_connected(), name="status stream")
        try:
            while True:
                with suppress(TimeoutError):
                    # Not wait_for: before Python 3.12 it can swallow a cancellation that meets the news.
                    async with asyncio.timeout(TICK_S):
                        await self._news.wait()
                self._news.clear()
                if pump.done():
                    pump.result()
                yield self._update()
        finally:
            pump.cancel()
            with suppress(asyncio.CancelledError, ClientError):
                await pump

    async def _keep_connected(self) -> None:
        pause_s = RECONNECT_FIRST_S
        while True:
            try:
                async with self._connect() as socket:
                    pause_s = RECONNECT_FIRST_S
                    self._connected, self._cause = True, ""
                    await self._converse(socket)
            except ConnectionClosed as error:
                self._lost(self._sentence_of(error))
            except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as error:
                self._lost(f"the supervisor at {self._url} does not answer ({error})")
            finally:
                self._connected = False
                self._news.set()
            await asyncio.sleep(pause_s)
            pause_s = min(2.0 * pause_s, RECONNECT_LAST_S)

    def _connect(self) -> connect:
        how: dict[str, Any] = {
            "additional_headers": {"Authorization": f"Bearer {self._token}"},
            "ssl": self._tls,
            "open_timeout": 2.0,
            "close_timeout": 0.5,
            "max_size": FRAME_OCTETS_MAX,
            "proxy": None,
        }
        if self._file is not None:
            return unix_connect(self._file, uri=self._socket_url, **how)
        return connect(self._socket_url, **how)

    def _lost(self, cause: str) -> None:
        self._connected, self._cause = False, cause

    def _sentence_of(self, error: ConnectionClosed) -> str:
        if error.rcvd is not None and error.rcvd.code == CLOSE_NOT_SIGNED_IN:
            raise NotSignedInError(
                error.rcvd.reason or "the user session has ended; sign in again"
            ) from error
        if error.rcvd is not None and error.rcvd.reason:
            return f"the supervisor closed the stream: {error.rcvd.reason}"
        return f"the connection to the supervisor at {self._url} was lost"

    async def _converse(self, socket: ClientConnection) -> None:
        lease = asyncio.create_task(self._keep_lease(socket), name="terminal lease")
        try:
            async for message in socket:
                self._hear(message)
            raise ConnectionClosed(socket.protocol.close_rcvd, socket.protocol.close_sent)
        finally:
            lease.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await lease

    def _hear(self, message: str | bytes) -> None:
        try:
            self._status = _StatusMessage.model_validate_json(message).status
        except ValidationError as error:
            raise UnexpectedAnswerError(
                "the live status is not what this version expects; "
                "client and service must be of one version"
            ) from error
        self._heard_us = self._clock_us()
        self._news.set()

    async def _keep_lease(self, socket: ClientConnection) -> None:
        if self._terminal_id is None:
            return
        while True:
            if self._alive():
                # With its own time, so that a service that reads late does not take it for younger than it is.
                alive = {"type": "alive", "terminal_id": self._terminal_id}
                await socket.send(json.dumps(alive | {"sent_us": self._clock_us()}))
            await asyncio.sleep(ALIVE_PERIOD_S)
