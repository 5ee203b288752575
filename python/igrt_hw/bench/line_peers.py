"""What others' serial lines do with the same work: a request of some octets and its answer.

- pymodbus: Modbus RTU with its asynchronous client and server, the quicker of its two kinds. The
  server sits on the master of a pty as our simulator does, so that both lines are one pty.
- lewis: its own example motor behind its TCP stream, the only transport it has for such a device.
- a bare pty: the octets of our request written, and read again, with no protocol at all. Asleep, both
  ends wait in `poll`, which is what a request costs on this machine; awake, they look for a moment
  before they sleep, as `igrt_hw.link` and the simulator do: the floor of `link_roundtrip_us_p50`.

Each server is a process of its own, as our simulator is.
"""

from __future__ import annotations

import asyncio
import os
import pty
import select
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any, Final

from igrt_hw.bench.registry import BenchError, Sampler

START_S_MAX: Final = 20.0
MODBUS_BURST: Final = 300
BARE_BURST: Final = 500
REQUEST_LEN: Final = 48  # an echo of 16 octets: header, CRC, delimiters
LEWIS_BURST: Final = 25  # 21 ms each with lewis 1.4
REGISTERS: Final = 8  # sixteen octets, as our echo carries

Figure = Callable[[list[float]], float]
"""What a burst of round trips in microseconds comes to."""


def part(share: float) -> Figure:
    """The round trip below which this share of a burst lies."""
    return lambda times: sorted(times)[int(share * len(times))]


def rate(times: list[float]) -> float:
    """Requests a second, one at a time."""
    return len(times) * 1e6 / sum(times)


# ---- a bare pty ----------------------------------------------------------------------------


def bare_pty(figure: Figure, awake_us: int) -> Callable[[], AbstractContextManager[Sampler]]:
    """As many octets as our request has, written and read again; `awake_us` of looking before sleep."""

    @contextmanager
    def prepare() -> Iterator[Sampler]:
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(slave, False)
        command = [sys.executable, "-m", "igrt_hw.bench.line_peers", "echo", str(master)]
        server = subprocess.Popen([*command, str(awake_us)], pass_fds=[master])
        os.close(master)
        try:
            yield lambda: figure(_bare_times_us(slave, awake_us))
        finally:
            server.terminate()
            server.wait()
            os.close(slave)

    return prepare


def _bare_times_us(slave: int, awake_us: int) -> list[float]:
    poller = select.poll()
    poller.register(slave, select.POLLIN)
    times = []
    for _ in range(BARE_BURST):
        begin = time.perf_counter_ns()
        os.write(slave, bytes(REQUEST_LEN))
        left = REQUEST_LEN
        while left > 0:
            if not _found(poller, awake_us, round(START_S_MAX * 1000)):
                raise BenchError("the bare pty does not answer")
            left -= len(os.read(slave, 4096))
        times.append((time.perf_counter_ns() - begin) / 1000)
    return times


def _found(poller: select.poll, awake_us: int, timeout_ms: int) -> bool:
    end_ns = time.monotonic_ns() + 1000 * awake_us
    while time.monotonic_ns() < end_ns:
        if poller.poll(0):
            return True
        os.sched_yield()
    return bool(poller.poll(timeout_ms))


def _serve_echo(descriptor: int, awake_us: int) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    while _found(poller, awake_us, round(START_S_MAX * 1000)):
        os.write(descriptor, os.read(descriptor, 4096))


# ---- pymodbus ------------------------------------------------------------------------------


@contextmanager
def modbus(figure: Figure) -> Iterator[Sampler]:
    """Reading eight registers over a pty."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    command = [sys.executable, "-m", "igrt_hw.bench.line_peers", str(master)]
    server = subprocess.Popen(command, pass_fds=[master], stderr=subprocess.PIPE, text=True)
    os.close(master)
    loop = asyncio.new_event_loop()
    try:
        client = loop.run_until_complete(_modbus_client(os.ttyname(slave)))
        try:
            yield lambda: figure(
                loop.run_until_complete(_times_us(lambda: _modbus_read(client), MODBUS_BURST))
            )
        finally:
            client.close()
    except (OSError, ImportError, TimeoutError) as error:
        raise BenchError(f"pymodbus does not answer: {error}") from error
    finally:
        server.terminate()
        server.wait()
        loop.close()
        os.close(slave)


async def _modbus_client(port: str) -> Any:
    clients: Any = import_module("pymodbus.client")
    failure: Any = import_module("pymodbus.exceptions").ModbusException
    client = clients.AsyncModbusSerialClient(port, baudrate=921_600, timeout=1, retries=0)
    ends = time.monotonic() + START_S_MAX
    while time.monotonic() < ends:
        if await client.connect():
            try:
                await _modbus_read(client)
            except failure:
                continue
            return client
        await asyncio.sleep(0.1)
    raise TimeoutError(f"no answer within {START_S_MAX:.0f} s")


async def _modbus_read(client: Any) -> None:
    answer = await client.read_holding_registers(0, count=REGISTERS)
    if answer.isError() or len(answer.registers) != REGISTERS:
        raise BenchError(f"pymodbus answers {answer}")


async def _times_us(ask: Callable[[], Awaitable[None]], count: int) -> list[float]:
    times = []
    for _ in range(count):
        begin = time.perf_counter_ns()
        await ask()
        times.append((time.perf_counter_ns() - begin) / 1000)
    return times


class _MasterPort:
    """The master of a pty, as far as pymodbus asks for a serial port."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self.timeout = self.write_timeout = 0
        self.in_waiting = 4096

    def fileno(self) -> int:
        return self._fd

    def read(self, size: int = 4096) -> bytes:
        try:
            return os.read(self._fd, size)
        except BlockingIOError:
            return b""

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)


async def _serve_modbus(descriptor: int) -> None:
    import serial

    store: Any = import_module("pymodbus.datastore")
    servers: Any = import_module("pymodbus.server")
    setattr(serial, "serial_for_url", lambda *_, **__: _MasterPort(descriptor))  # noqa: B010
    block = store.ModbusSequentialDataBlock(1, list(range(100)))
    devices = store.ModbusServerContext(devices=store.ModbusDeviceContext(hr=block), single=True)
    await servers.StartAsyncSerialServer(devices, port="the master", baudrate=921_600)


# ---- lewis ---------------------------------------------------------------------------------


@contextmanager
def lewis(figure: Figure) -> Iterator[Sampler]:
    """Reading the position of lewis' example motor over TCP."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = f"stream: {{bind_address: 127.0.0.1, port: {port}}}"
    start = "import sys; from lewis.scripts.run import run_simulation; run_simulation(sys.argv[1:])"
    server = subprocess.Popen(
        [sys.executable, "-c", start, "-k", "lewis.examples", "example_motor", "-p", where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with _connection(port, server) as wire:
            yield lambda: figure(_lewis_times_us(wire))
    except OSError as error:
        raise BenchError(f"lewis does not answer: {error}") from error
    finally:
        server.terminate()
        server.wait()


def _connection(port: int, server: subprocess.Popen[bytes]) -> socket.socket:
    ends = time.monotonic() + START_S_MAX
    while time.monotonic() < ends and server.poll() is None:
        try:
            wire = socket.create_connection(("127.0.0.1", port), timeout=5.0)
        except OSError:
            time.sleep(0.1)
        else:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return wire
    raise TimeoutError(f"no answer within {START_S_MAX:.0f} s")


def _lewis_times_us(wire: socket.socket) -> list[float]:
    times = []
    for _ in range(LEWIS_BURST):
        begin = time.perf_counter_ns()
        wire.sendall(b"P?\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            answer += wire.recv(256)
        times.append((time.perf_counter_ns() - begin) / 1000)
    return times


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        _serve_echo(int(sys.argv[2]), int(sys.argv[3]))
    else:
        asyncio.run(_serve_modbus(int(sys.argv[1])))
