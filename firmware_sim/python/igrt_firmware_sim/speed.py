"""How fast the simulated room runs: seconds of its own time per second of the wall, measured here and now."""

import time
from dataclasses import dataclass

from igrt_firmware_sim._firmware import SimulatorError
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host

MOVE_MM = 20.0
MOVE_MS_MAX = 20_000.0
REST_MS = 20_000.0
LONG_MOVE_MM = 300.0
STRETCH_MS = 140  # below the 150 ms after which the couch stops for want of a lease
STRETCHES = 180
ARRIVED, MOVING = 7, 4  # docs/protocol.md section 6


@dataclass(frozen=True, slots=True)
class Speed:
    """Factors against real time: the couch moving, the room alone; at rest; the couch moving under a host in Python."""

    moving: float
    resting: float
    hosted: float


def _alone() -> float:
    """The room's own factor while the couch moves: the best stretch between two leases, the host's work not counted."""
    room = VirtualRoom(seed=1)
    host = Host(room)
    host.hello()
    room.enable("enabled")
    host.move_by((0.0, LONG_MOVE_MM, 0.0, 0.0, 0.0, 0.0))
    host.advance_ms(1000)
    best_s = float("inf")
    for _ in range(STRETCHES):
        host.lease()
        begin = time.perf_counter()
        room.advance_ms(STRETCH_MS)
        best_s = min(best_s, time.perf_counter() - begin)
    state = room.truth()["couch_state"]
    if state != MOVING:
        raise SimulatorError(f"the couch is in state {state} and did not move all the time")
    return STRETCH_MS / 1e3 / best_s


def measure(moves: int = 8) -> Speed:
    """Measures the room alone, then drives the couch to and fro under a host in Python, then lets the room rest."""
    alone = _alone()
    room = VirtualRoom(seed=1)
    host = Host(room)
    host.hello()
    room.enable("enabled")
    begin_us, begin = room.now_us, time.perf_counter()
    for number in range(moves):
        step = MOVE_MM if number % 2 == 0 else -MOVE_MM
        host.move_by((step, 0.0, 0.0, 0.0, 0.0, 0.0))
        host.wait("couch", lambda status: status["state"] == ARRIVED, within_ms=MOVE_MS_MAX)
    hosted = (room.now_us - begin_us) / 1e6 / (time.perf_counter() - begin)
    begin = time.perf_counter()
    room.advance_ms(REST_MS)
    resting = REST_MS / 1e3 / (time.perf_counter() - begin)
    return Speed(alone, resting, hosted)
