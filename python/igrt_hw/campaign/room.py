"""The simulated room of a campaign: another distribution that shares no code, found as a plug-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol

GROUP = "igrt.simulated_room"


# Clock in microseconds, axes in mm and degrees, mm/s, deg/s.
MotionTuple = tuple[int, list[float], float, float]


class SimulatedRoom(Protocol):
    """What a campaign needs of a room in virtual time (`igrt_firmware_sim.bench.VirtualRoom` has it)."""

    @property
    def now_us(self) -> int:
        """The room's clock."""

    def advance_us(self, by_us: int) -> None:
        """Let its time pass."""

    def advance_to_octets(self, to_us: int) -> tuple[int, bytes, bytes, bytes]:
        """Let time pass until a device has sent something: the clock, octets of couch, imager and pendant."""

    def write(self, line: str, octets: bytes) -> None:
        """Octets of the host arrive on a line."""

    def perform(self, op: str, **fields: Any) -> dict[str, Any]:
        """An operation of the control socket (docs/simulator_control.md)."""

    def watch_motion(self, *, every_us: int, mm_s: float, deg_s: float) -> None:
        """Record where the couch truly is while it is faster than this."""

    def take_motion(self) -> list[MotionTuple]:
        """What was recorded since the last call."""

    def motion(self) -> MotionTuple:
        """Where the couch truly is now, and how fast."""

    def truth(self) -> Mapping[str, Any]:
        """What no host may know."""

    def trace_hash(self) -> str:
        """Hash of every octet and every true position so far."""


class NoSimulatorError(Exception):
    """The simulator is not installed."""


@cache
def room_factory() -> Callable[..., SimulatedRoom]:
    """Makes rooms by seed; raises `NoSimulatorError` with what to install."""
    found = list(entry_points(group=GROUP))
    if not found:
        raise NoSimulatorError(
            "a campaign needs the firmware simulator beside the controller: pip install igrt-firmware-sim"
        )
    made = found[0].load()
    if not callable(made):
        raise NoSimulatorError(f"{found[0].value} makes no room")
    return made  # type: ignore[no-any-return]
