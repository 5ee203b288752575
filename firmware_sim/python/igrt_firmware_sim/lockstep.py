"""The lockstep runner: one client asks for time over a Unix socket, and the room stands still in between.

One JSON object a line each way, UTF-8. A request may hold, in this order of effect:

    {"write": {"couch": "00ff...00"}, "do": [{"op": "hand.enable", "position": "enabled"}], "advance_us": 1000}

and is answered, when the time has passed, by

    {"ok": true, "now_us": 1000, "read": {"couch": "..."}, "results": [{}]}

or `{"ok": false, "error": "a sentence"}`.

Breakpoints in the client are harmless, and a slow client is as exact as a quick one. `{"quit": true}` ends the runner.
"""

import json
import socket
from pathlib import Path
from typing import Any

from igrt_firmware_sim._firmware import SimulatorError
from igrt_firmware_sim.bench import LINES, VirtualRoom

ADVANCE_US_MAX = 60_000_000


def step(room: VirtualRoom, request: Any) -> dict[str, Any]:
    """Performs one request.

    Raises:
        SimulatorError: unknown keys, lines or operations, or an advance beyond a minute.
    """
    if not isinstance(request, dict) or set(request) - {"write", "do", "advance_us"}:
        raise SimulatorError("a request is an object with write, do and advance_us, or quit")
    advance_us = request.get("advance_us", 0)
    if not isinstance(advance_us, int) or not 0 <= advance_us <= ADVANCE_US_MAX:
        raise SimulatorError(f"advance_us {advance_us!r} is not within 0 to {ADVANCE_US_MAX}")
    for line, octets in request.get("write", {}).items():
        room.write(line, bytes.fromhex(octets))
    results = []
    for operation in request.get("do", []):
        fields = dict(operation)
        results.append(room.perform(str(fields.pop("op", "")), **fields))
    room.advance_us(advance_us)
    said = {line: octets.hex() for line in LINES if (octets := room.read(line))}
    return {"ok": True, "now_us": room.now_us, "read": said, "results": results}


def serve(room: VirtualRoom, path: Path) -> None:
    """Serves clients one after the other at a Unix socket until one asks to quit."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        try:
            while _attend(room, listener):
                pass
        finally:
            path.unlink(missing_ok=True)


def _attend(room: VirtualRoom, listener: socket.socket) -> bool:
    client, _address = listener.accept()
    with client, client.makefile("rwb") as stream:
        for line in stream:
            try:
                request = json.loads(line)
                if request == {"quit": True}:
                    return False
                answer = step(room, request)
            except (ValueError, AttributeError, TypeError) as error:
                answer = {"ok": False, "error": str(error)}
            stream.write(json.dumps(answer).encode() + b"\n")
            stream.flush()
    return True
