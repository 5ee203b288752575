"""Recordings of a room in virtual time, and their replay.

A recording is JSON lines: a header (format, seed, options, build hash), then every chunk of octets and every operation
with its virtual time, and at the end the trace hash. A replay applies the same inputs at the same times and must give
the same hash.
"""

import importlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from igrt_firmware_sim._firmware import SimulatorError, build_hash
from igrt_firmware_sim.bench import LINES, VirtualRoom

FORMAT = "igrt-sim-recording"
VERSION = 1


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


class RecordedRoom(VirtualRoom):
    """A virtual room that writes everything that goes in and out to a file.

    A context manager: leaving it ends the recording.
    """

    def __init__(
        self, path: Path, *, seed: int = 1, patient: str | Path | None = None, **options: Any
    ) -> None:
        super().__init__(seed=seed, patient=patient, **options)
        self._file: TextIO = path.open("w", encoding="utf-8")
        folder = str(patient) if patient else None
        self._note(
            {
                "format": FORMAT,
                "version": VERSION,
                "build": build_hash(),
                "seed": seed,
                "patient": folder,
            }
            | {"options": options}
        )

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
        if op not in ("truth", "time", "trace", "fault.list", "scene", "imager.view"):
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
    room = VirtualRoom(
        seed=header["seed"], patient=header.get("patient"), **header.get("options", {})
    )
    waiting = dict.fromkeys(LINES, b"")
    for event in events:
        room.advance_us(event["t"] - room.now_us)
        if "write" in event:
            room.write(event["write"], bytes.fromhex(event["octets"]))
        elif "op" in event:
            room.perform(event["op"], **event["fields"])
        elif "read" in event:
            line, octets = event["read"], bytes.fromhex(event["octets"])
            waiting[line] += room.read(line)
            if not waiting[line].startswith(octets):
                at_ms = event["t"] / 1000
                raise SimulatorError(
                    f"{path}: at {at_ms:.3f} ms the {line} says something else than was recorded"
                )
            waiting[line] = waiting[line][len(octets) :]
    room.advance_us(end["t"] - room.now_us)
    return end["trace_hash"], room.trace_hash()


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
