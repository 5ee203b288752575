"""The simulated room of a campaign: another distribution that shares no code, found as a plug-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol

GROUP = "igrt.simulated_room"


class SimulatedRoom(Protocol):
    """What a campaign needs of a room in virtual time (`igrt_firmware_sim.bench.VirtualRoom` has it)."""

    @property
    def now_us(self) -> int:
        """The room's clock."""

    def advance_us(self, by_us: int) -> None:
        """Let its time pass."""

    def write(self, line: str, octets: bytes) -> None:
        """Octets of the host arrive on a line."""

    def read(self, line: str) -> bytes:
        """What the device on a line has sent since the last read."""

    def perform(self, op: str, **fields: Any) -> dict[str, Any]:
        """An operation of the control socket (docs/simulator_control.md)."""

    def truth(self) -> Mapping[str, Any]:
        """What no host may know."""


class NoSimulatorError(Exception):
    """The simulator is not installed."""


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
