"""Watch the traffic of a line that speaks the General Command Set: lines in words, and what goes wrong in numbers.

`GcsWatch` takes octets, directions and times, and gives lines and figures, as `monitor.TrafficWatch` does for CLP/1;
`monitor.between` carries the octets. A GCS controller says nothing unasked, so that only a controller that opens the
pty of `between` gives something to watch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from igrt_hw.link.frame import Direction
from igrt_hw.link.gcs import CODES
from igrt_hw.link.monitor import SUMMARY_PERIOD_US

LINE_LEN_MAX: Final = 8_192
ROUND_TRIPS_MAX: Final = 1000
SINGLE: Final = {5: "#5 (moving?)", 7: "#7 (ready?)", 24: "#24 STOP"}
READY_OCTETS: Final = {176: "#7: not ready", 177: "#7: ready"}
ASKING: Final = (5, 7)


@dataclass
class _Side:
    """What one direction has carried."""

    rest: bytes = b""
    octets: int = 0
    lines: int = 0
    octets_before: int = 0
    lines_before: int = 0
    names: Counter[str] = field(default_factory=Counter)


class GcsWatch:
    """Decodes both directions of a GCS line. Time is in microseconds of any monotonic clock.

    The dialect numbers nothing: an answer is taken for that of the last question. `unasked` counts answers without
    one, `overtaken` questions that were followed by another before their answer, `garbled` lines that are not ASCII.
    """

    def __init__(self, now_us: int) -> None:
        self.stops = self.unasked = self.overtaken = self.garbled = 0
        self.codes: Counter[int] = Counter()
        self._begin_us = self._summary_us = now_us
        self._sides = {direction: _Side() for direction in Direction}
        self._asked: tuple[str, int] | None = None
        self._round_trips_us: list[int] = []

    def feed(self, direction: Direction, data: bytes, now_us: int) -> Iterator[str]:
        """Octets of one direction; gives one line for each command, question and line of an answer."""
        side = self._sides[direction]
        side.octets += len(data)
        singles = SINGLE if direction is Direction.HOST_TO_DEVICE else READY_OCTETS
        for octet in data:
            if octet in singles:
                yield self._line(direction, singles[octet], octet, now_us)
            elif octet == 0x0A:
                text, side.rest = side.rest, b""
                yield from self._text(direction, text, now_us)
            elif len(side.rest) < LINE_LEN_MAX:
                side.rest += bytes([octet])

    def _text(self, direction: Direction, raw: bytes, now_us: int) -> Iterator[str]:
        text = raw.decode("ascii", "replace")
        if "\ufffd" in text or not text.strip().isprintable():
            self.garbled += 1
            yield self._line(direction, f"garbled: {raw[:24].hex()}", None, now_us)
        elif text.strip():
            yield self._line(direction, text.strip(), None, now_us, more=raw.endswith(b" "))

    def _line(
        self, direction: Direction, text: str, octet: int | None, now_us: int, *, more: bool = False
    ) -> str:
        side = self._sides[direction]
        side.lines += 1
        stamp = f"{(now_us - self._begin_us) / 1e6:12.6f} {direction.value}"
        if direction is Direction.HOST_TO_DEVICE:
            self._hear_host(text, octet, now_us)
            return f"{stamp} {text}"
        return f"{stamp} {text}{self._hear_device(text, now_us, more)}"

    def _hear_host(self, text: str, octet: int | None, now_us: int) -> None:
        name = text.split()[0]
        self._sides[Direction.HOST_TO_DEVICE].names[name] += 1
        self.stops += octet == 24
        if octet in ASKING or (octet is None and name.endswith("?")):
            self.overtaken += self._asked is not None
            self._asked = (name, now_us)

    def _hear_device(self, text: str, now_us: int, more: bool) -> str:
        if self._asked is None:
            self.unasked += 1
            return "  (nobody asked)"
        name, asked_us = self._asked
        words = ""
        if name == "ERR?" and text.lstrip("-").isdigit() and int(text):
            code = int(text)
            self.codes[code] += 1
            words = f" ({CODES.get(code, 'unknown code')})"
        if more:  # a blank before the LF: the answer goes on
            return words
        self._asked = None
        took_us = now_us - asked_us
        self._round_trips_us = [*self._round_trips_us[1 - ROUND_TRIPS_MAX :], took_us]
        return f"{words}  ({took_us} us)"

    def summary_due(self, now_us: int) -> bool:
        """Whether a second has passed since the last summary."""
        return now_us - self._summary_us >= SUMMARY_PERIOD_US

    def summary(self, now_us: int, *, whole: bool = False) -> str:
        """One line of figures; `whole`: rates since the beginning, else since the last summary."""
        span_s = max(now_us - (self._begin_us if whole else self._summary_us), 1) / 1e6
        self._summary_us = now_us
        parts = []
        for direction, side in self._sides.items():
            if whole:
                side.lines_before = side.octets_before = 0
            lines, octets = side.lines - side.lines_before, side.octets - side.octets_before
            side.lines_before, side.octets_before = side.lines, side.octets
            parts.append(
                f"{direction.value} {lines / span_s:.0f} lines/s {octets / span_s:.0f} octets/s"
            )
        parts.append(f"#24 {self.stops}, refusals {self.codes.total()}")
        parts.append(
            f"unasked {self.unasked}, overtaken {self.overtaken}, garbled {self.garbled}"
            " (no checksum: other damage is not seen)"
        )
        if self._round_trips_us:
            ordered = sorted(self._round_trips_us)
            parts.append(f"round trip p50 {ordered[len(ordered) // 2]} us, most {ordered[-1]} us")
        return "; ".join(parts)

    def counts(self) -> Counter[str]:
        """Commands and questions of the host by mnemonic."""
        return self._sides[Direction.HOST_TO_DEVICE].names.copy()
