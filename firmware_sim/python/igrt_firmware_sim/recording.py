"""Recordings of a room, in virtual time or served in real time, and their replay.

A recording is JSON lines: a header (format, seed, options, build hash), then every chunk of octets and every operation
with its virtual time, and at the end the trace hash. A replay applies the same inputs at the same times and must give
the same hash.

A served room is recorded by its pump, which notes each chunk with the time of the room's clock at which the device
took it, and two things more that only a served room has: when a rendered frame reached the imager (`frame.deliver`),
and when a client's baud rate was another than the device's (`line.rates`).
"""

import contextlib
import importlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from igrt_firmware_sim import control, world
from igrt_firmware_sim._firmware import Pacer, Replayer, Room, SimulatorError, build_hash
from igrt_firmware_sim.bench import LINES, VirtualRoom

FORMAT = "igrt-sim-recording"
VERSION = 1
TAKE_S = 0.05  # how often the notes of a served room are written
READING = ("truth", "time", "trace", "fault.list", "scene", "imager.view")


# Schema of every message of an export; the log time of a message is its `t` in nanoseconds.
MCAP_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "igrt_sim.event",
    "type": "object",
    "required": ["t"],
    "properties": {
        "t": {"type": "integer", "minimum": 0, "description": "virtual time in microseconds"},
        "write": {"enum": list(LINES), "description": "line on which the host sent octets"},
        "read": {"enum": list(LINES), "description": "line on which a device sent octets"},
        "octets": {"type": "string", "description": "the octets, hexadecimal"},
        "op": {"type": "string", "description": "operation of the control socket"},
        "fields": {"type": "object", "description": "its fields"},
        "trace_hash": {
            "type": "string",
            "description": "hash of the whole run, in the last message",
        },
    },
    "oneOf": [
        {"required": ["write", "octets"]},
        {"required": ["read", "octets"]},
        {"required": ["op", "fields"]},
        {"required": ["trace_hash"]},
    ],
}


def _header(
    seed: int, patient: str | Path | None, options: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "build": build_hash(),
        "seed": seed,
        "patient": str(patient) if patient else None,
        "options": dict(options),
        **more,
    }


class RecordedRoom(VirtualRoom):
    """A virtual room that writes everything that goes in and out to a file.

    A context manager: leaving it ends the recording.
    """

    def __init__(
        self, path: Path, *, seed: int = 1, patient: str | Path | None = None, **options: Any
    ) -> None:
        super().__init__(seed=seed, patient=patient, **options)
        self._file: TextIO = path.open("w", encoding="utf-8")
        self._note(_header(seed, patient, options))

    def _note(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")

    def write(self, line: str, octets: bytes) -> None:
        """As :meth:`VirtualRoom.write`, recorded."""
        self._note({"t": self.now_us, "write": line, "octets": octets.hex()})
        super().write(line, octets)

    def read(self, line: str) -> bytes:
        """As :meth:`VirtualRoom.read`, recorded."""
        octets = super().read(line)
        if octets:
            self._note({"t": self.now_us, "read": line, "octets": octets.hex()})
        return octets

    def line_break(self, line: str) -> None:
        """As :meth:`VirtualRoom.line_break`, recorded."""
        self.perform("line.break", line=line)

    def enable(self, position: str, for_ms: float | None = None) -> None:
        """As :meth:`VirtualRoom.enable`, recorded."""
        self.perform("hand.enable", position=position, for_ms=for_ms)

    def inject(self, target: str, kind: str, **fields: Any) -> None:
        """As :meth:`VirtualRoom.inject`, recorded."""
        self.perform("fault.inject", target=target, kind=kind, **fields)

    def clear(self, target: str = "all") -> None:
        """As :meth:`VirtualRoom.clear`, recorded."""
        self.perform("fault.clear", target=target)

    def perform(self, op: str, **fields: Any) -> dict[str, Any]:
        """As :meth:`VirtualRoom.perform`, recorded."""
        if op not in READING:
            self._note({"t": self.now_us, "op": op, "fields": fields})
        return super().perform(op, **fields)

    def close(self) -> None:
        """Writes the trace hash and ends the recording."""
        if not self._file.closed:
            self._note({"t": self.now_us, "trace_hash": self.trace_hash()})
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ServedRecorder:
    """Writes down what a pacer with notes does to its room, and the operations done to it beside.

    ``made``: how the room was made: `patient` (a folder or `phantom:NAME`) and `options`, the other arguments of
    :func:`igrt_firmware_sim.world.make_room`. Call :meth:`close` before the pacer is closed.
    """

    def __init__(
        self, path: Path, room: Room, pacer: Pacer, *, seed: int, made: Mapping[str, Any]
    ) -> None:
        self._room, self._pacer = room, pacer
        self._file: TextIO = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()  # protects the file, and the order of what goes into it
        self._ended = threading.Event()
        header = _header(seed, made.get("patient"), made.get("options", {}), served=True)
        self._note(header)
        self._thread = threading.Thread(target=self._write_on, name="igrt-sim-notes", daemon=True)
        self._thread.start()

    def _note(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")

    def _write_on(self) -> None:
        while not self._ended.wait(TAKE_S):
            with self._lock:
                self._take()

    def _take(self) -> None:
        """Writes the pump's notes since the last time. Once some are lost, the recording has no end and is refused."""
        notes = self._pacer.take_notes()
        for at_us, what, line, octets, number in notes or ():
            if what == "rates":
                fields: dict[str, Any] = {"line": line, "differ": bool(number)}
                self._note({"t": at_us, "op": "line.rates", "fields": fields})
            elif what == "deliver":
                self._note({"t": at_us, "op": "frame.deliver", "fields": {"frame": number}})
            else:
                self._note({"t": at_us, what: line, "octets": octets.hex()})

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        with self._lock:
            self._pacer.hold()
            try:
                self._take()
                yield
            finally:
                self._pacer.release()

    def perform(self, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """An operation of the control socket, done while the room's clock stands, and written down if it was obeyed."""
        if op in READING:
            return control.perform(self._room, op, fields)
        with self._held():
            answer = control.perform(self._room, op, fields)
            self._note({"t": self._room.now_us, "op": op, "fields": dict(fields)})
        return answer

    def close(self) -> None:
        """Writes what is left and the trace hash."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        with self._held():
            if self._pacer.take_notes() is not None:
                self._note({"t": self._room.now_us, "trace_hash": self._room.trace_hash()})
            self._file.close()


def entries(path: Path) -> list[dict[str, Any]]:
    """Header, events and end of a recording.

    Raises:
        SimulatorError: the file is no recording of this version, or was cut off.
    """
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise SimulatorError(f"{path}:{number} is not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise SimulatorError(f"{path}:{number} is not an object")
        entries.append(entry)
    if not entries or entries[0].get("format") != FORMAT or entries[0].get("version") != VERSION:
        raise SimulatorError(f"{path} is not a recording of version {VERSION}")
    if "trace_hash" not in entries[-1]:
        raise SimulatorError(f"{path} has no trace hash at its end: the recording was cut off")
    return entries


def replay(path: Path) -> tuple[str, str]:
    """Replays a recording; gives the recorded trace hash and that of the replay, equal unless the firmware has changed.

    Raises:
        SimulatorError: the file is no recording, or its octets come back otherwise than they were recorded.
    """
    header, *events, end = entries(path)
    served = bool(header.get("served"))
    room = world.make_room(
        seed=header["seed"],
        patient=world.resolve(header.get("patient")),
        renders=not served,
        **header.get("options", {}),
    )
    replayer = Replayer(room)
    waiting = dict.fromkeys(LINES, b"")
    for event in events:
        room.advance(event["t"])
        if "write" in event:
            room.write(event["write"], bytes.fromhex(event["octets"]))
        elif "op" in event:
            _do_again(room, replayer, event["op"], event["fields"])
        elif "read" in event:
            line, octets = event["read"], bytes.fromhex(event["octets"])
            waiting[line] += room.read(line)
            if not waiting[line].startswith(octets):
                at_ms = event["t"] / 1000
                raise SimulatorError(
                    f"{path}: at {at_ms:.3f} ms the {line} says something else than was recorded"
                )
            waiting[line] = waiting[line][len(octets) :]
    room.advance(end["t"])
    return end["trace_hash"], room.trace_hash()


def _do_again(room: Room, replayer: Replayer, op: str, fields: dict[str, Any]) -> None:
    if op == "frame.deliver":
        replayer.deliver(fields["frame"])
    elif op == "line.rates":
        replayer.rates_differ(fields["line"], fields["differ"])
    else:
        control.perform(room, op, fields)


def export_mcap(path: Path, target: Path) -> int:
    """Writes a recording as MCAP: one channel a line and direction, one for the operations. Gives the message count.

    Raises:
        SimulatorError: the file is no recording, or the `mcap` package is not installed.
    """
    try:
        writer_class = importlib.import_module("mcap.writer").Writer
    except ImportError as error:
        raise SimulatorError(
            "the export needs the package mcap: pip install 'igrt-firmware-sim[mcap]'"
        ) from error
    header, *events, end = entries(path)
    schema = json.dumps(MCAP_SCHEMA).encode()
    with target.open("wb") as stream:
        writer = writer_class(stream)
        writer.start(profile="", library="igrt-sim")
        number = writer.register_schema(name="igrt_sim.event", encoding="jsonschema", data=schema)
        topics: dict[str, int] = {}
        for sequence, event in enumerate([*events, end]):
            topic = _topic(event)
            if topic not in topics:
                topics[topic] = writer.register_channel(
                    topic=topic, message_encoding="json", schema_id=number
                )
            time_ns = int(event["t"]) * 1000
            data = json.dumps(event).encode()
            writer.add_message(
                topics[topic], log_time=time_ns, publish_time=time_ns, sequence=sequence, data=data
            )
        writer.add_metadata("recording", {key: str(value) for key, value in header.items()})
        writer.finish()
    return len(events) + 1


def _topic(event: dict[str, Any]) -> str:
    if "write" in event:
        return f"/{event['write']}/to_device"
    if "read" in event:
        return f"/{event['read']}/to_host"
    return "/operations"
