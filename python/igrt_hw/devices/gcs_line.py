"""The octets of a GCS line: questions and their answers, commands and what became of them, STOP.

One thread asks and commands; any thread may stop. Everything that waits has a bound, and every failure of the line
becomes one `LinkLost`. While an answer is waited for, `guard` is called again and again, so that a motion whose
permission goes is ended meanwhile.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import Final

from igrt_hw.link import gcs
from igrt_hw.link.errors import LinkLost, LossCause, StoppedByStop
from igrt_hw.link.gcs import GcsRefused
from igrt_hw.link.tally import Tally
from igrt_hw.link.transport import Transport

QUIET_US: Final = 60_000
QUIET_WAIT_US: Final = 1_000_000
WAIT_US: Final = 5_000


class GcsLine:
    """One connection after another to a GCS controller.

    wait: waits for octets, at most so many microseconds. `stops` grows with every STOP; what was decided under a
    smaller number than it is now (`stops_heeded`) is void.
    """

    def __init__(
        self,
        clock_us: Callable[[], int],
        wait: Callable[[Transport, int], None] | None = None,
    ) -> None:
        self.tally = Tally()
        self.round_trip_us: float | None = None
        self.transport: Transport | None = None
        self.lost = LinkLost(LossCause.CLOSED, "not connected yet")
        self.guard: Callable[[int], None] = lambda _: None
        self.stops = 0
        self.stops_heeded = 0
        self._clock_us = clock_us
        self._wait = wait or _wait_readable
        self._write_lock = threading.Lock()  # protects the order of octets on the line

    def connect(self, transport: Transport) -> None:
        """Begin with a port: #24, and silence."""
        self.transport = transport
        self.stops_heeded = self.stops
        transport.write(gcs.STOP + b"\n")
        self._drain()

    @property
    def stop_came(self) -> bool:
        """Whether a STOP was given that has not been heeded yet."""
        return self.stops_heeded != self.stops

    def stop(self) -> None:
        """#24 at once, from any thread, without asking anybody. Raises `LinkLost`."""
        self.stops += 1
        transport = self.transport
        if transport is None:
            raise self.lost
        transport.write(gcs.STOP)  # no lock: it may cut into whatever is being written
        self.tally.stops_sent += 1

    def idle(self) -> None:
        """Wait a little. Nobody has asked anything: octets that come are a fault."""
        transport = self._connected()
        self._wait(transport, WAIT_US)
        if transport.read():
            raise LinkLost(LossCause.SEQUENCE, "octets that nobody asked for")

    def _connected(self) -> Transport:
        if self.transport is None:
            raise self.lost
        return self.transport

    def _drain(self) -> None:
        """Forget what waited in the line: what comes before silence belongs to nobody."""
        transport = self._connected()
        begin_us = quiet_us = self._clock_us()
        while self._clock_us() - quiet_us < QUIET_US:
            self._wait(transport, 2 * WAIT_US)
            if transport.read():
                quiet_us = self._clock_us()
            if self._clock_us() - begin_us > QUIET_WAIT_US:
                raise LinkLost(LossCause.SILENT, "the line is never quiet; is it a GCS controller?")

    def ask(self, question: gcs.Question) -> gcs.Answer:
        """The answer to a question. Raises `LinkLost` where none comes in time, or one that is none."""
        transport = self._connected()
        begin_us = self._clock_us()
        exchange = gcs.Exchange(question, begin_us)
        self.write(question.octets)
        while exchange.answer is None:
            self.guard(self._clock_us())
            self._wait(transport, WAIT_US)
            octets = transport.read()
            self.tally.octets_received += len(octets)
            exchange.feed(octets, self._clock_us())
        self.tally.frames_received += 1
        took = self._clock_us() - begin_us
        self.round_trip_us = (
            took if self.round_trip_us is None else 0.9 * self.round_trip_us + 0.1 * took
        )
        return exchange.answer

    def numbers(self, question: gcs.Question) -> tuple[float, ...]:
        """The answer, as numbers."""
        return tuple(float(value) for value in self.ask(question))

    def write(self, octets: bytes) -> None:
        """Write all of it, after whatever is being written."""
        transport = self._connected()
        begin_us = self._clock_us()
        with self._write_lock:
            while octets:
                octets = octets[transport.write(octets) :]
                if octets and self._clock_us() - begin_us > gcs.ANSWER_US_MAX:
                    raise LinkLost(LossCause.SILENT, "the port takes no more octets")
        self.tally.frames_sent += 1

    def command(self, text: str) -> None:
        """Give a command and ask what became of it. Raises `GcsRefused` with the controller's code."""
        if self.stop_came:
            raise StoppedByStop(f"{text.split()[0]}: a STOP came first")
        self.write(text.encode("ascii") + b"\n")
        if self.stop_came:
            # A STOP of another thread may have overtaken these octets: it must be the last word.
            self.write(gcs.STOP)
        code = int(self.numbers(gcs.ERROR)[0])
        if code:
            self.tally.refused += 1
            raise GcsRefused(text, code)


def _wait_readable(transport: Transport, timeout_us: int) -> None:
    select.select([transport.fileno()], [], [], timeout_us / 1e6)
