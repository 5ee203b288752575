"""The room in virtual time, inside a test: as fast as it goes, and the same octets every time.

    room = VirtualRoom(seed=7)
    room.write("couch", frame)          # octets of the host arrive now
    room.advance_ms(20)                 # twenty control cycles
    answer = room.read("couch")         # what the device has sent since
    room.enable("enabled")              # the hand on the three-position switch
    room.inject("brake", "stuck")       # faults by PX4's words; unknown ones are refused
    room.truth()["axes"]                # what no host may know

Nothing here knows the protocol: bring your own driver, or speak octets.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from igrt_firmware_sim import control, world
from igrt_firmware_sim._firmware import SimulatorError
from igrt_firmware_sim.patient import Patient
from igrt_firmware_sim.phantom import Phantom
from igrt_firmware_sim.truth import MotionTuple

LINES = ("couch", "imager", "pendant")


class VirtualRoom:
    """A room whose clock stands still until it is advanced.

    ``patient``: a folder with CT, structure set and plan, a loaded :class:`Patient`, `phantom:cube` or
    `phantom:balls`, or ``None`` for an empty couch.
    All other arguments as in :func:`igrt_firmware_sim.world.make_room`.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        patient: str | Path | Patient | Phantom | None = None,
        **options: Any,
    ) -> None:
        lying = world.resolve(patient)
        self._room = world.make_room(seed=seed, patient=lying, renders=True, **options)
        self.seed = seed

    @property
    def now_us(self) -> int:
        """The room's clock in microseconds."""
        return self._room.now_us

    def advance_us(self, by_us: int) -> None:
        """Advances the clock; control cycles run every millisecond."""
        if by_us < 0:
            raise SimulatorError(f"time does not run backwards: {by_us} us")
        self._room.advance(self._room.now_us + by_us)

    def advance_ms(self, by_ms: float) -> None:
        """Advances the clock by milliseconds."""
        self.advance_us(round(by_ms * 1000))

    def advance_to_octets(self, to_us: int) -> tuple[int, bytes, bytes, bytes]:
        """Advances until a device has sent something, but not beyond ``to_us``.

        Gives the clock, and what couch, imager and pendant have sent: a host that has nothing to do until it hears
        something, or until a time of its own, need not look every millisecond.
        """
        return self._room.advance_to_octets(to_us)

    def watch_motion(self, *, every_us: int, mm_s: float, deg_s: float) -> None:
        """From now on, records where the couch truly is, every ``every_us`` while it is faster than a threshold."""
        self._room.watch_motion(every_us, mm_s, deg_s)

    def take_motion(self) -> list[MotionTuple]:
        """What was recorded since the last call: (microseconds, axes in mm and degrees, mm/s, deg/s)."""
        return self._room.take_motion()

    def motion(self) -> MotionTuple:
        """The same of this instant; the speed is that over the last control cycle, 0 unless motion is watched."""
        return self._room.motion()

    def advance_until(
        self, condition: Callable[[dict[str, Any]], bool], *, within_ms: float, step_ms: float = 1.0
    ) -> dict[str, Any]:
        """Advances until ``condition(truth)`` holds, and gives that truth.

        Raises:
            TimeoutError: the condition did not hold within ``within_ms``.
        """
        end_us = self.now_us + round(within_ms * 1000)
        while True:
            known = self.truth()
            if condition(known):
                return known
            if self.now_us >= end_us:
                raise TimeoutError(f"not within {within_ms} ms; the truth at the end: {known}")
            self.advance_ms(step_ms)

    def write(self, line: str, octets: bytes) -> None:
        """Octets of the host arrive on a line now."""
        self._room.write(line, octets)

    def read(self, line: str) -> bytes:
        """Takes what the device on a line has sent since the last read."""
        return self._room.read(line)

    def line_break(self, line: str) -> None:
        """A UART BREAK on a line."""
        self._room.line_break(line)

    def enable(self, position: str, for_ms: float | None = None) -> None:
        """Puts the three-position switch to ``released``, ``enabled`` or ``squeezed``."""
        self._room.set_enable(position, for_ms)

    def perform(self, op: str, **fields: Any) -> dict[str, Any]:
        """Any operation of the control socket by its name, as in ``perform("hand.door", closed=False)``."""
        return control.perform(self._room, op, fields)

    def inject(self, target: str, kind: str, **fields: Any) -> None:
        """Injects a fault; one that the model does not have raises :class:`SimulatorError`."""
        self._room.inject(target, kind, **fields)

    def clear(self, target: str = "all") -> None:
        """Ends the faults of a target, or all."""
        self._room.clear(target)

    def truth(self) -> dict[str, Any]:
        """What no host may know (:func:`igrt_firmware_sim.control.truth`)."""
        return control.truth(self._room)

    def trace_hash(self) -> str:
        """Hash of every octet with its time and of every true position so far."""
        return self._room.trace_hash()
