"""Ports at the edge: serial devices, ptys, `socket://` and `rfc2217://`, through pyserial.

A transport moves octets and does not wait. Whatever the platform raises (pyserial, termios and the
operating system use three different types for one unplugged cable) becomes one `LinkLost`.

Exclusive use is an advisory lock (flock), which ends with the process that holds it. TIOCEXCL is not
set: it outlives a crash while a simulator keeps the other side of a pty open.
"""

from __future__ import annotations

import errno
import os
import queue
import socket
import stat
import termios
import threading
from dataclasses import dataclass
from typing import Any, Final, Protocol

import serial

from igrt_hw.link.errors import LinkLost, LossCause

READ_LEN: Final = 65_536
PTY_MAJORS: Final = range(136, 144)  # Unix98 pty slaves, Documentation/admin-guide/devices.txt
PUMP_QUEUE_LEN_MAX: Final = 4096
PUMP_TIMEOUT_S: Final = 0.05
CARRIED: Final = "carried"
_OS_ERRORS: Final = (OSError, serial.SerialException, termios.error, ValueError)


@dataclass(frozen=True, slots=True)
class PortSettings:
    """How to open a port.

    port: a device path (prefer `/dev/serial/by-id/...`), a pty, `socket://host:port` or
        `rfc2217://host:port`.
    dtr, rts: set on purpose before the port opens. USB devices often stay silent without DTR; RTS
        turns RS-485 adaptors to sending, so it is left off.
    wire_time: whether octets take time by the baud rate; None: yes for devices and rfc2217, no for
        ptys and sockets.
    """

    port: str
    baud: int = 921_600
    dtr: bool = True
    rts: bool = False
    low_latency: bool = True
    wire_time: bool | None = None


class Transport(Protocol):
    """An open port. Every method may raise `LinkLost`; none of them waits.

    `low_latency` and `line_break` say in words whether the port has them; `baud` is None where
    octets take no time by it.
    """

    low_latency: str
    line_break: str
    baud: int | None

    def fileno(self) -> int:
        """A descriptor that is readable while `read` would give something."""

    def read(self) -> bytes:
        """What has arrived; empty if nothing has."""

    def write(self, data: bytes) -> int:
        """Write what the port takes now, and say how many octets that was."""

    def set_break(self, on: bool) -> None:
        """Hold the line in BREAK, or end that. Does nothing where the port carries none."""

    def close(self) -> None:
        """Give the port back. Never raises."""


class DescriptorTransport:
    """A serial device, a pty or a socket, by its file descriptor."""

    def __init__(
        self, port: Any, name: str, low_latency: str, line_break: str, baud: int | None
    ) -> None:
        self._port = port
        self._name = name
        self._fd: int = port.fileno()
        self.low_latency = low_latency
        self.line_break = line_break
        self.baud = baud
        os.set_blocking(self._fd, False)

    def fileno(self) -> int:
        """The descriptor of the port itself."""
        return self._fd

    def read(self) -> bytes:
        """What has arrived; an end of file is a lost link, not an empty read."""
        try:
            data = os.read(self._fd, READ_LEN)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LinkLost(LossCause.PORT_GONE, _words(self._name, error)) from error
        if not data:
            raise LinkLost(LossCause.PEER_CLOSED, self._name)
        return data

    def write(self, data: bytes) -> int:
        """Write what the port takes now."""
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise LinkLost(LossCause.PORT_GONE, _words(self._name, error)) from error

    def set_break(self, on: bool) -> None:
        """BREAK on a UART; neither a pty nor a plain socket has a wire to hold down."""
        if self.line_break != CARRIED:
            return
        try:
            self._port.break_condition = on
        except _OS_ERRORS as error:
            raise LinkLost(LossCause.PORT_GONE, _words(self._name, error)) from error

    def close(self) -> None:
        """Give the port back."""
        try:
            self._port.close()
        except _OS_ERRORS:
            pass  # it was unplugged: there is nothing left to give back


class PumpedTransport:
    """A port without a descriptor (rfc2217): one thread reads it and makes a pipe readable, another
    writes, since pyserial's rfc2217 has no write time-out and waits for whoever does not read."""

    def __init__(self, port: Any, name: str, baud: int | None) -> None:
        self._port = port
        self._name = name
        self.low_latency = "decided by the remote end"
        self.line_break = CARRIED
        self.baud = baud
        self._arrived: queue.Queue[bytes | Exception] = queue.Queue(PUMP_QUEUE_LEN_MAX)
        self._leaving: queue.Queue[bytes | bool] = queue.Queue(PUMP_QUEUE_LEN_MAX)
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        self._closing = False
        self._threads = [
            threading.Thread(target=work, name=f"{what} {name}", daemon=True)
            for what, work in (("read", self._read_on), ("write", self._write_on))
        ]
        for thread in self._threads:
            thread.start()

    def _read_on(self) -> None:
        while not self._closing:
            try:
                octets: bytes = self._port.read(1)
                if octets:
                    octets += self._port.read(self._port.in_waiting)
            except Exception as error:
                self._tell(error)
                return
            if octets:
                self._tell(octets)

    def _write_on(self) -> None:
        while not self._closing:
            try:
                item = self._leaving.get(timeout=PUMP_TIMEOUT_S)
            except queue.Empty:
                continue
            try:
                if isinstance(item, bool):
                    self._port.break_condition = item
                else:
                    self._port.write(item)
            except Exception as error:
                self._tell(error)
                return

    def _tell(self, item: bytes | Exception) -> None:
        self._arrived.put(item)
        os.write(self._wake_w, b"\x00")

    def fileno(self) -> int:
        """The reading end of the pipe."""
        return self._wake_r

    def read(self) -> bytes:
        """What has been read since the last call."""
        try:
            os.read(self._wake_r, READ_LEN)
        except BlockingIOError:
            return b""
        chunks: list[bytes] = []
        while not self._arrived.empty():
            item = self._arrived.get_nowait()
            if isinstance(item, Exception):
                raise LinkLost(LossCause.PORT_GONE, _words(self._name, item)) from item
            chunks.append(item)
        return b"".join(chunks)

    def write(self, data: bytes) -> int:
        """Hand everything to the writer; nothing while it is far behind."""
        try:
            self._leaving.put_nowait(data)
        except queue.Full:
            return 0
        return len(data)

    def set_break(self, on: bool) -> None:
        """BREAK at the remote port (RFC 2217, SET-CONTROL 5 and 6), in the order of the octets."""
        try:
            self._leaving.put_nowait(on)
        except queue.Full:
            pass  # nothing gets through anyway, and the session will end

    def close(self) -> None:
        """End the threads and give the port back."""
        self._closing = True
        try:
            self._port.close()
        except _OS_ERRORS:
            pass  # the remote end has gone first
        for thread in self._threads:
            thread.join(2 * PUMP_TIMEOUT_S + 1)
        if not any(thread.is_alive() for thread in self._threads):
            os.close(self._wake_r)
            os.close(self._wake_w)


def open_port(settings: PortSettings) -> Transport:
    """Open a port exclusively. Raises `LinkLost` with cause `CANNOT_OPEN` and what to do."""
    name = settings.port
    try:
        port = serial.serial_for_url(name, do_not_open=True, exclusive=_exclusive(name))
        port.baudrate = settings.baud
        port.timeout = PUMP_TIMEOUT_S
        port.dtr = settings.dtr
        port.rts = settings.rts
        port.open()
    except _OS_ERRORS as error:
        raise LinkLost(LossCause.CANNOT_OPEN, _open_words(name, error)) from error
    if name.startswith("rfc2217://"):
        return PumpedTransport(port, name, None if settings.wire_time is False else settings.baud)
    try:
        return _descriptor_transport(port, settings)
    except _OS_ERRORS as error:
        port.close()
        raise LinkLost(LossCause.CANNOT_OPEN, _open_words(name, error)) from error


def _descriptor_transport(port: Any, settings: PortSettings) -> DescriptorTransport:
    name = settings.port
    fd: int = port.fileno()
    if "://" in name:
        with socket.socket(fileno=os.dup(fd)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        baud = settings.baud if settings.wire_time else None
        return DescriptorTransport(port, name, "TCP_NODELAY", "not carried by a socket", baud)
    attributes = termios.tcgetattr(fd)
    attributes[6][termios.VMIN] = 1  # so that an empty read means a hang-up, and nothing else
    termios.tcsetattr(fd, termios.TCSANOW, attributes)
    is_pty = _is_pty(fd)
    wire_time = not is_pty if settings.wire_time is None else settings.wire_time
    return DescriptorTransport(
        port,
        name,
        _set_low_latency(port, settings),
        "not carried by a pty" if is_pty else CARRIED,
        settings.baud if wire_time else None,
    )


def _set_low_latency(port: Any, settings: PortSettings) -> str:
    if not settings.low_latency:
        return "not asked for"
    try:
        port.set_low_latency_mode(True)
    except (AttributeError, NotImplementedError):
        return "not offered on this system"
    except _OS_ERRORS:
        return "not offered by this port"
    return "on"


def _is_pty(fd: int) -> bool:
    mode = os.fstat(fd)
    return stat.S_ISCHR(mode.st_mode) and os.major(mode.st_rdev) in PTY_MAJORS


def _exclusive(name: str) -> bool | None:
    return None if "://" in name else True


def _words(name: str, error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{name}: {text or type(error).__name__}"


def _open_words(name: str, error: Exception) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return f"{name} does not exist: is the device plugged in, or the simulator running?"
    if code in (errno.EACCES, errno.EPERM):
        return f"{name}: permission denied; on Linux add the user to the group that owns the port"
    if code in (errno.EAGAIN, errno.EBUSY):
        return f"{name} is in use by another program"
    return _words(name, error)
