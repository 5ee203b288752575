"""The hand on the simulator's control socket (`docs/simulator_control.md`): SIMULATOR mode only.

On real hardware there is no such socket: the enable is a switch in a person's hand. Nothing here
reaches the supervisor.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import ValidationError

from igrt_hw.client.errors import SimulatorRefusedError, SimulatorUnreachableError
from igrt_hw.models.base import Frozen

EnablePosition = Literal["released", "enabled", "squeezed"]
ANSWER_TIMEOUT_S = 5.0
LINE_OCTETS_MAX = 1 << 20


class Endpoints(Frozen):
    """Where the simulator's lines and its control socket are (`endpoints.json`)."""

    couch: str
    imager: str
    pendant: str
    control: str
    pid: int
    seed: int
    simulator: bool
    baud: int | None = None

    @classmethod
    def read(cls, file: Path) -> Endpoints:
        """Read `endpoints.json`; raises `SimulatorUnreachableError` if there is none."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise SimulatorUnreachableError(
                f"{file}: {error.strerror}; is the simulator running?"
            ) from error
        except ValidationError as error:
            raise SimulatorUnreachableError(
                f"{file} does not describe a simulator's lines: {error.errors()[0]['msg']}"
            ) from error


def _question(identity: int, op: str, fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"id": identity, "op": op, **fields}).encode() + b"\n"


def _answer(path: Path, identity: int, line: bytes) -> dict[str, Any]:
    if not line:
        raise SimulatorUnreachableError(f"the simulator closed its control socket {path}")
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise SimulatorUnreachableError(
            f"{path} does not speak the simulator's control language"
        ) from error
    if not isinstance(answer, dict) or answer.get("id") != identity:
        raise SimulatorUnreachableError(f"{path} answered another question than was asked")
    if not answer.get("ok"):
        raise SimulatorRefusedError(str(answer.get("error", "the simulator gave no reason")))
    return answer


def _enable(position: EnablePosition, for_ms: int | None) -> dict[str, Any]:
    return {"position": position} if for_ms is None else {"position": position, "for_ms": for_ms}


class SimulatedHand:
    """Asynchronous hand: `async with SimulatedHand(path) as hand: await hand.enable("enabled")`."""

    def __init__(self, control: Path | str) -> None:
        self._path = Path(control)
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._identity = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the socket. The simulator keeps the switch until its `for_ms` has run out."""
        writer = self._writer
        self._drop()
        if writer is not None:
            with suppress(OSError):
                await writer.wait_closed()

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader, self._writer = None, None

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Any operation of `docs/simulator_control.md`; raises a `SimulatorError`."""
        async with self._lock:
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    return await self._exchange(op, fields)
            except asyncio.CancelledError:
                self._drop()  # half an exchange: the next question must not read this one's answer
                raise
            except TimeoutError as error:
                self._drop()
                raise SimulatorUnreachableError(
                    f"the simulator did not answer on {self._path} in {ANSWER_TIMEOUT_S:.0f} s"
                ) from error
            except OSError as error:
                self._drop()
                raise SimulatorUnreachableError(
                    f"nobody listens on {self._path} ({error})"
                ) from error

    async def _exchange(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_unix_connection(
                str(self._path), limit=LINE_OCTETS_MAX
            )
        self._identity += 1
        self._writer.write(_question(self._identity, op, fields))
        await self._writer.drain()
        return _answer(self._path, self._identity, await self._reader.readline())

    async def enable(self, position: EnablePosition, for_ms: int | None = None) -> None:
        """Move the three-position switch; with `for_ms` it falls back by itself unless renewed."""
        await self.ask("hand.enable", **_enable(position, for_ms))

    async def estop(self, pressed: bool) -> None:
        """Press or pull the E-stop button."""
        await self.ask("hand.estop", pressed=pressed)

    async def exposure_switch(self, closed: bool) -> None:
        """Close or open the exposure switch."""
        await self.ask("hand.exposure_switch", closed=closed)

    async def door(self, closed: bool) -> None:
        """Close or open the room door."""
        await self.ask("hand.door", closed=closed)

    async def truth(self) -> dict[str, Any]:
        """What no host may know: true axes, true pose of the patient, what is still missing."""
        return await self.ask("truth")

    async def quit(self) -> None:
        """End the simulator."""
        await self.ask("quit")


class BlockingHand:
    """The same hand without asyncio, for scripts and tests."""

    def __init__(self, control: Path | str) -> None:
        self._path = Path(control)
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._identity = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Any operation of `docs/simulator_control.md`; raises a `SimulatorError`."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(ANSWER_TIMEOUT_S)
                self._socket.connect(str(self._path))
            self._identity += 1
            self._socket.sendall(_question(self._identity, op, fields))
            line = self._line(self._socket)
        except OSError as error:
            self.close()
            raise SimulatorUnreachableError(f"nobody answers on {self._path} ({error})") from error
        return _answer(self._path, self._identity, line)

    def _line(self, source: socket.socket) -> bytes:
        while b"\n" not in self._buffer:
            chunk = source.recv(65536)
            if not chunk or len(self._buffer) > LINE_OCTETS_MAX:
                return b""
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def enable(self, position: EnablePosition, for_ms: int | None = None) -> None:
        """Move the three-position switch; with `for_ms` it falls back by itself unless renewed."""
        self.ask("hand.enable", **_enable(position, for_ms))

    def truth(self) -> dict[str, Any]:
        """What no host may know: true axes, true pose of the patient, what is still missing."""
        return self.ask("truth")
