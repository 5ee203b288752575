"""One device of the room for a bench that tests one driver: its line, its faults, the truth about it.

The whole room stands behind it, since its wires do: a couch needs the pendant's enable and the imager's arms out of the
way. The hands work from every device (`perform("hand.enable", position="enabled")`).
"""

from collections.abc import Callable
from typing import Any, Protocol

from igrt_firmware_sim._firmware import SimulatorError, fault_table
from igrt_firmware_sim.bench import LINES, VirtualRoom
from igrt_firmware_sim.host import Host
from igrt_firmware_sim.serving import Service

# Parts that a device does not share with the couch, by the beginning of their fault target; all others are the couch's.
PARTS = {
    "imager": ("source_arm", "panel", "generator", "anode"),
    "pendant": ("pendant", "enable_contact", "estop"),
}
WIRED_INTO_COUCH = ("enable_contact", "estop")
KNOWN_OF = {
    "imager": ("radiates", "imager_faults", "gantry_deg", "arms_parked"),
    "pendant": ("pendant_faults",),
}


def targets(line: str) -> tuple[str, ...]:
    """Fault targets of a device: its parts, its line, its clock, its power.

    Raises:
        SimulatorError: no such device.
    """
    if line not in LINES:
        raise SimulatorError(f"device {line!r} is none of {', '.join(LINES)}")
    names = dict.fromkeys(target for target, _kind, _meaning in fault_table())
    return tuple(name for name in names if _is_of(line, name))


def _is_of(line: str, target: str) -> bool:
    if "." in target:
        return target.endswith(f".{line}")
    if line == "couch":
        others = [part for parts in PARTS.values() for part in parts]
        return not target.startswith(tuple(others)) or target.startswith(WIRED_INTO_COUCH)
    return target.startswith(PARTS[line])


class _Room(Protocol):
    def perform(self, op: str, **fields: Any) -> dict[str, Any]: ...


class _Device:
    """What a device has in virtual time and in real time alike."""

    def __init__(self, room: _Room, line: str) -> None:
        self.line = line
        self.targets = targets(line)
        self._perform: Callable[..., dict[str, Any]] = room.perform
        self._injected: list[str] = []

    def perform(self, op: str, **fields: Any) -> dict[str, Any]:
        """Any operation of the control socket: the hands above all."""
        return self._perform(op, **fields)

    def inject(self, target: str, kind: str, **fields: Any) -> None:
        """A fault of this device; `line`, `clock` and `power` are its own.

        Raises:
            SimulatorError: the fault is another device's, or none that the model has.
        """
        name = f"{target}.{self.line}" if target in ("line", "clock", "power") else target
        if name not in self.targets:
            raise SimulatorError(
                f"{target!r} is no part of the {self.line}; it has {', '.join(self.targets)}"
            )
        self._perform("fault.inject", target=name, kind=kind, **fields)
        self._injected.append(name)

    def clear(self) -> None:
        """Ends the faults that were injected here."""
        while self._injected:
            self._perform("fault.clear", target=self._injected.pop())

    def truth(self) -> dict[str, Any]:
        """What no host may know of this device, and the counters of its line; the room's clock is `now_us`."""
        known = self._perform("truth")
        counters = known.pop("counters")[self.line]
        kept = KNOWN_OF.get(self.line)
        if kept is None:
            others = {name for names in KNOWN_OF.values() for name in names}
            kept = tuple(name for name in known if name not in others)
        return {name: known[name] for name in ("now_us", *kept)} | {"counters": counters}


class VirtualDevice(_Device):
    """A device in virtual time: it stands still until it is advanced. `room` is the room about it."""

    def __init__(self, room: VirtualRoom, line: str) -> None:
        super().__init__(room, line)
        self.room = room

    @property
    def now_us(self) -> int:
        """The clock in microseconds."""
        return self.room.now_us

    def write(self, octets: bytes) -> None:
        """Octets of the host arrive now."""
        self.room.write(self.line, octets)

    def read(self) -> bytes:
        """Takes what the device has sent since the last read."""
        return self.room.read(self.line)

    def line_break(self) -> None:
        """A UART BREAK."""
        self.room.line_break(self.line)

    def advance_ms(self, by_ms: float) -> None:
        """Advances the clock by milliseconds."""
        self.room.advance_ms(by_ms)

    def host(self) -> Host:
        """A small CLP/1 host with a session on this line, leases running; its other lines stay silent."""
        host = Host(self.room)
        host.hello(self.line)
        return host


class ServedDevice(_Device):
    """A device on a pty in real time: `port` is a path that a serial driver opens, at `baud`. `room` serves it."""

    def __init__(self, room: Service, line: str) -> None:
        super().__init__(room, line)
        self.room = room
        self.port: str = room.endpoints[line]
        self.baud: int | None = room.endpoints["baud"]
