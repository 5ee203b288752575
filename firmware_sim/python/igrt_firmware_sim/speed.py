"""How fast the simulated room runs: seconds of its own time per second of the wall, measured here and now."""

import time
from dataclasses import dataclass

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host

MOVE_MM = 20.0
MOVE_MS_MAX = 20_000.0
REST_MS = 20_000.0
ARRIVED = 7  # docs/protocol.md section 6


@dataclass(frozen=True, slots=True)
class Speed:
    """Factors against real time: with the couch moving and a host leasing, and at rest with telemetry only."""

    moving: float
    resting: float


def measure(moves: int = 8) -> Speed:
    """Drives the couch to and fro in virtual time, the work of a host in Python included, then lets the room rest."""
    room = VirtualRoom(seed=1)
    host = Host(room)
    host.hello()
    room.enable("enabled")
    begin_us, begin = room.now_us, time.perf_counter()
    for number in range(moves):
        step = MOVE_MM if number % 2 == 0 else -MOVE_MM
        host.move_by((step, 0.0, 0.0, 0.0, 0.0, 0.0))
        host.wait("couch", lambda status: status["state"] == ARRIVED, within_ms=MOVE_MS_MAX)
    moving = (room.now_us - begin_us) / 1e6 / (time.perf_counter() - begin)
    begin = time.perf_counter()
    room.advance_ms(REST_MS)
    resting = REST_MS / 1e3 / (time.perf_counter() - begin)
    return Speed(moving, resting)
