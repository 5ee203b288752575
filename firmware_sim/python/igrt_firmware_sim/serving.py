"""The room on ptys or TCP ports in real time, with its control socket beside."""

import contextlib
import json
import os
import pty
import socket
import socketserver
import termios
import threading
import tty
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from igrt_firmware_sim import control
from igrt_firmware_sim._firmware import Pacer, Room, SimulatorError
from igrt_firmware_sim.recording import ServedRecorder

LINES = ("couch", "imager", "pendant")
BAUD = 921_600  # of the devices, as they are built
SOCKET_PATH_MAX = 107  # sun_path of Linux, without its ending zero
REQUEST_MAX = 65536


class _PseudoTerminal:
    """One pty. The slave stays open here, so that a client may come and go without the master seeing a hang-up."""

    def __init__(self, baud: int | None) -> None:
        self.master, self.slave = pty.openpty()
        # A fresh pty echoes and translates; raw before anybody learns its name.
        tty.setraw(self.slave)
        if (rate := getattr(termios, f"B{baud}", None)) is not None:
            # A port keeps the rate of whoever set it last; a client that sets none finds the device's.
            settings = termios.tcgetattr(self.slave)
            settings[4] = settings[5] = rate
            termios.tcsetattr(self.slave, termios.TCSANOW, settings)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self.slave)

    def close(self) -> None:
        for descriptor in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)


class _TcpPort:
    """A line on a TCP port, for `socket://` of pyserial. A new client takes the line over from the one before."""

    def __init__(self, line: str, host: str, port: int, pacer: Pacer) -> None:
        try:
            self._listener = socket.create_server((host, port))
        except OSError as error:
            raise SimulatorError(f"cannot listen on {host} port {port}: {error}") from error
        name, port = self._listener.getsockname()[:2]
        self.path = f"socket://{name}:{port}"
        self._line, self._pacer = line, pacer
        threading.Thread(target=self._accept, name=f"igrt-sim-tcp-{line}", daemon=True).start()

    def _accept(self) -> None:
        # Closing the listener ends the wait with an error, and the thread with it.
        with contextlib.suppress(OSError):
            while True:
                client, _address = self._listener.accept()
                with client:
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    client.setblocking(False)
                    # The pump keeps a duplicate of its own.
                    self._pacer.attach(self._line, client.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class _ControlServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, service: "Service") -> None:
        self.service = service
        super().__init__(str(path), _ControlHandler)


class _ControlHandler(socketserver.StreamRequestHandler):
    server: _ControlServer

    def handle(self) -> None:
        while line := self.rfile.readline(REQUEST_MAX):
            answer = self.server.service.answer(line)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(json.dumps(answer).encode() + b"\n")


def _refuse_if_served(path: Path) -> None:
    """Two simulators in one folder would hide each other; a socket that nobody answers is a leftover."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise SimulatorError(
        f"{path} is served by another simulator; end it or choose another --run-dir"
    )


class Service:
    """A served room: three ptys, a control socket, `endpoints.json` in ``run_dir``.

    A context manager; leaving it ends everything. ``baud``: rate of the devices; a client that sets its pty to another
    gives and gets garbage, as on hardware. With ``None`` any rate will do. A TCP port has none.

    ``record``: a file for every octet and operation, which :func:`igrt_firmware_sim.recording.replay` reproduces;
    ``made`` then says how the room was made (`patient`, `options`), since a replay makes it anew.

    Raises:
        SimulatorError: ``run_dir`` cannot hold the socket, or ``record`` without ``made``.
    """

    def __init__(
        self,
        room: Room,
        run_dir: Path,
        *,
        seed: int,
        tcp_host: str | None = None,
        tcp_couch_port: int = 0,
        baud: int | None = BAUD,
        record: Path | None = None,
        made: Mapping[str, Any] | None = None,
    ) -> None:
        if record is not None and (made is None or room.now_us):
            raise SimulatorError(
                f"{record}: a recording begins with a new room and says how it was made (made=...)"
            )
        self._baud = baud
        self.room = room
        self.run_dir = run_dir.absolute()
        self.stopped = threading.Event()
        self._seed = seed
        self._pacer = Pacer(room, noting=record is not None)
        self._recorder: ServedRecorder | None = None
        if record is not None:
            self._recorder = ServedRecorder(record, room, self._pacer, seed=seed, made=made or {})
        self._tcp_host = tcp_host
        self._tcp_ports = {"couch": tcp_couch_port}
        self._ports: dict[str, _PseudoTerminal | _TcpPort] = {}
        self._server: _ControlServer | None = None
        self._owns_files = False

    @property
    def endpoints(self) -> dict[str, Any]:
        """What `endpoints.json` says."""
        lines = {name: terminal.path for name, terminal in self._ports.items()}
        control_path = str(self.run_dir / "control.sock")
        return {
            **lines,
            "control": control_path,
            "baud": self._baud if self._tcp_host is None else None,
            "pid": os.getpid(),
            "seed": self._seed,
            "simulator": True,
        }

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        path = self.run_dir / "control.sock"
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            raise SimulatorError(
                f"{path} is longer than {SOCKET_PATH_MAX} octets; choose a shorter --run-dir"
            )
        _refuse_if_served(path)
        self._owns_files = True
        path.unlink(missing_ok=True)
        for name in LINES:
            if self._tcp_host is not None:
                self._ports[name] = _TcpPort(
                    name, self._tcp_host, self._tcp_ports.get(name, 0), self._pacer
                )
                continue
            terminal = self._ports[name] = _PseudoTerminal(self._baud)
            self._pacer.attach(name, terminal.master, self._baud)
        self._server = _ControlServer(path, self)
        threading.Thread(
            target=self._server.serve_forever, name="igrt-sim-control", daemon=True
        ).start()
        partial = self.run_dir / "endpoints.json.partial"
        partial.write_text(json.dumps(self.endpoints) + "\n", encoding="utf-8")
        partial.replace(self.run_dir / "endpoints.json")

    def perform(self, op: str, **fields: Any) -> dict[str, Any]:
        """Any operation of the control socket, from inside the process."""
        return self._do(op, fields)

    def _do(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        if self._recorder is not None:
            return self._recorder.perform(op, fields)
        return control.perform(self.room, op, fields)

    def answer(self, line: bytes) -> dict[str, Any]:
        """Answers one request line of the control socket."""
        request_id: Any = None
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise SimulatorError("a request is one JSON object a line")
            request_id = request.pop("id", None)
            op = request.pop("op", None)
            if not isinstance(op, str):
                raise SimulatorError("a request needs the field op, a string")
            if op == "quit":
                self.stopped.set()
                return {"id": request_id, "ok": True}
            result = self._do(op, request)
            if op == "time":
                result |= {
                    "slipped_us": self._pacer.slipped_us,
                    "overrun_octets": self._pacer.overrun_octets,
                }
        except (SimulatorError, ValueError) as error:
            return {"id": request_id, "ok": False, "error": str(error)}
        return {"id": request_id, "ok": True, **result}

    def close(self) -> None:
        """Ends the pump, closes lines and socket, removes the files. Calling it twice does nothing."""
        self.stopped.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        if self._recorder is not None:
            self._recorder.close()
        self._pacer.close()
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        if self._owns_files:
            for name in ("endpoints.json", "control.sock"):
                (self.run_dir / name).unlink(missing_ok=True)
