"""A serial-to-network box: pyserial's own server side of RFC 2217 in front of a pty.

A pty has no modem lines and carries no BREAK; the box keeps what it was told of them in `lines`, and
calls `on_break` where a UART would hold its line down.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import serial
import serial.rfc2217


class ModemLines:
    """What the remote end was told of its modem lines, in order: ("dtr", True) and so on."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool]] = []
        self.on_break: Callable[[], object] = lambda: None

    def tell(self, name: str, on: bool) -> None:
        self.told.append((name, on))
        if (name, on) == ("break", True):
            self.on_break()

    def last(self, name: str) -> bool | None:
        return next((on for told, on in reversed(self.told) if told == name), None)


class _PtyWithModemLines(serial.Serial):
    """A pty, with the modem lines that the port manager asks for and sets."""

    cts = dsr = ri = cd = False

    def __init__(self, lines: ModemLines, port: str) -> None:
        self._lines = lines
        super().__init__(port, timeout=0.01)

    @property
    def dtr(self) -> bool:
        return bool(self._lines.last("dtr"))

    @dtr.setter
    def dtr(self, on: bool) -> None:
        self._lines.tell("dtr", on)

    @property
    def rts(self) -> bool:
        return bool(self._lines.last("rts"))

    @rts.setter
    def rts(self, on: bool) -> None:
        self._lines.tell("rts", on)

    @property
    def break_condition(self) -> bool:
        return bool(self._lines.last("break"))

    @break_condition.setter
    def break_condition(self, on: bool) -> None:
        self._lines.tell("break", on)


class Rfc2217Box:
    """Listens on a port of its own; one client. `deaf` lets nothing through to the device;
    `stuck` reads nothing more from the network."""

    def __init__(self, port: str) -> None:
        self.lines = ModemLines()
        self.serial = _PtyWithModemLines(self.lines, port)
        self.lines.told.clear()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.end = threading.Event()
        self.deaf = threading.Event()
        self.stuck = threading.Event()
        self.connection: socket.socket | None = None
        self.threads = [threading.Thread(target=self._serve)]
        self.threads[0].start()

    @property
    def url(self) -> str:
        return f"rfc2217://127.0.0.1:{self.listener.getsockname()[1]}"

    def write(self, data: bytes) -> None:
        """What the port manager answers with."""
        assert self.connection is not None
        self.connection.sendall(data)

    def _serve(self) -> None:
        try:
            self.connection, _ = self.listener.accept()
        except OSError:
            return
        self.connection.settimeout(0.01)
        manager = serial.rfc2217.PortManager(self.serial, self)
        reader = threading.Thread(target=self._pump, args=(manager,))
        self.threads.append(reader)
        reader.start()
        while not self.end.is_set():
            if self.stuck.is_set():
                self.end.wait(0.01)
                continue
            try:
                data = self.connection.recv(1024)
            except TimeoutError:
                continue
            except OSError:
                return
            octets = b"".join(manager.filter(data))
            if not self.deaf.is_set():
                self.serial.write(octets)

    def _pump(self, manager: serial.rfc2217.PortManager) -> None:
        while not self.end.is_set():
            data = self.serial.read(self.serial.in_waiting or 1)
            if data and self.connection is not None:
                try:
                    self.connection.sendall(b"".join(manager.escape(data)))
                except OSError:
                    return

    def close(self) -> None:
        self.end.set()
        self.listener.close()
        for thread in self.threads:
            thread.join(2.0)
        if self.connection is not None:
            self.connection.close()
        self.serial.close()
