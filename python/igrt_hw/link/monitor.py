"""Watch the traffic of a line: every frame in words, and what goes wrong in numbers.

Two ways to watch, neither of which ever sends a frame of its own:

- `listen` opens the port and shows what the device says. Status telemetry is readable without a
  session, so this works on a device that nobody else talks to.
- `between` opens the port, makes a pty, and carries octets both ways unchanged between the two; a
  controller that opens the pty instead of the port is watched in both directions.

`TrafficWatch` is the part without I/O: octets, directions and times in, lines and figures out.
"""

from __future__ import annotations

import os
import select
import threading
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Final, Protocol

from igrt_hw.link import messages as m
from igrt_hw.link.clock import widen
from igrt_hw.link.errors import LinkLost, LossCause
from igrt_hw.link.frame import (
    FLAG_DEADLINE,
    FLAG_RETRANSMISSION,
    DeviceKind,
    Direction,
    Drop,
    Frame,
    FrameReader,
)
from igrt_hw.link.runner import monotonic_us
from igrt_hw.link.transport import PortSettings, Transport, open_port
from igrt_hw.models.telemetry import CouchState, ImagerState, RefusalCode

SUMMARY_PERIOD_US: Final = 1_000_000
OCTETS_SHOWN_MAX: Final = 12
UNANSWERED_MAX: Final = 64
ROUND_TRIPS_MAX: Final = 1000

_STATUSES: Final = (m.CouchStatus, m.ImagerStatus, m.PendantStatus)
# What in a status is an event; times and measured positions change in every one.
_TELLING: Final = (
    *("state", "drive_state", "stop_cause", "flags", "faults", "plan_nonce", "panel_mode"),
    *("latest_frame", "enable_position", "contacts", "jog_keys", "press_count"),
)


class Watch(Protocol):
    """What looks at the octets of a line, without I/O: `TrafficWatch`, or that of another dialect."""

    def feed(self, direction: Direction, data: bytes, now_us: int) -> Iterator[str]:
        """Octets of one direction; gives lines for a person."""

    def summary_due(self, now_us: int) -> bool:
        """Whether a second has passed since the last summary."""

    def summary(self, now_us: int, *, whole: bool = False) -> str:
        """One line of figures; `whole`: since the beginning."""


@dataclass
class _Side:
    """What one direction has carried."""

    reader: FrameReader
    octets: int = 0
    frames: int = 0
    drops: Counter[Drop] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    octets_before: int = 0
    frames_before: int = 0


class TrafficWatch:
    """Decodes both directions of a line. Time is in microseconds of any monotonic clock."""

    def __init__(self, now_us: int, *, every_status: bool = True) -> None:
        """`every_status`: False shows a status only where it says something new, and one a second."""
        self._every_status = every_status
        self._status_shown: tuple[object, ...] | None = None
        self._status_shown_us = now_us
        self._begin_us = self._summary_us = now_us
        self._sides = {direction: _Side(FrameReader(direction)) for direction in Direction}
        self._sent_us: dict[tuple[int, int], int] = {}
        self._round_trips_us: list[int] = []
        self._telemetry_seq: int | None = None
        self.retransmissions = 0
        self.refused: Counter[str] = Counter()
        self.telemetry_missed = 0
        self.offset_us: int | None = None
        self._device_us: int | None = None

    def feed(self, direction: Direction, data: bytes, now_us: int) -> Iterator[str]:
        """Octets of one direction; gives one line for each frame, and for each drop."""
        side = self._sides[direction]
        side.octets += len(data)
        for item in side.reader.feed(data):
            stamp = f"{(now_us - self._begin_us) / 1e6:12.6f} {direction.value}"
            if isinstance(item, Drop):
                side.drops[item] += 1
                yield f"{stamp} dropped: {item.value}"
            else:
                side.frames += 1
                side.names[item.message.SPEC.name] += 1
                note = self._learn(direction, item, now_us)
                if self._is_news(item.message, now_us):
                    yield f"{stamp} {frame_words(item)}{note}"

    def _is_news(self, message: m.Message, now_us: int) -> bool:
        if self._every_status or not isinstance(message, _STATUSES):
            return True
        said = tuple(getattr(message, name) for name in _TELLING if hasattr(message, name))
        if said == self._status_shown and now_us - self._status_shown_us < SUMMARY_PERIOD_US:
            return False
        self._status_shown, self._status_shown_us = said, now_us
        return True

    def _learn(self, direction: Direction, frame: Frame, now_us: int) -> str:
        header = frame.header
        if direction is Direction.HOST_TO_DEVICE:
            if header.flags & FLAG_RETRANSMISSION:
                self.retransmissions += 1
            elif header.seq and len(self._sent_us) < UNANSWERED_MAX:
                self._sent_us[header.session, header.seq] = now_us
            return ""
        self._learn_clock(frame, now_us)
        if isinstance(frame.message, _STATUSES):
            if self._telemetry_seq is not None:
                self.telemetry_missed += (header.seq - self._telemetry_seq - 1) & 0xFFFF
            self._telemetry_seq = header.seq
            return ""
        if isinstance(frame.message, m.Refused):
            self.refused[_refusal_words(frame.message.code)] += 1
        sent_us = self._sent_us.pop((header.session, header.seq), None)
        if sent_us is None:
            return ""
        self._round_trips_us = [*self._round_trips_us[1 - ROUND_TRIPS_MAX :], now_us - sent_us]
        return f"  ({now_us - sent_us} us)"

    def _learn_clock(self, frame: Frame, now_us: int) -> None:
        """The least `receive - sent` seen is the offset, up to the shortest way on the line."""
        status = getattr(frame.message, "device_us", None)
        if status is not None:
            self._device_us = status
        elif self._device_us is not None:
            self._device_us = widen(frame.header.t_us, self._device_us)
        if self._device_us is not None:
            offset = self._device_us - now_us
            self.offset_us = offset if self.offset_us is None else max(self.offset_us, offset)

    def summary_due(self, now_us: int) -> bool:
        """Whether a second has passed since the last summary."""
        return now_us - self._summary_us >= SUMMARY_PERIOD_US

    def summary(self, now_us: int, *, whole: bool = False) -> str:
        """One line of figures since the last summary (rates) and since the beginning (counts).

        `whole`: the rates since the beginning as well.
        """
        span_s = max(now_us - (self._begin_us if whole else self._summary_us), 1) / 1e6
        self._summary_us = now_us
        parts = []
        for direction, side in self._sides.items():
            if whole:
                side.frames_before = side.octets_before = 0
            frames, octets = side.frames - side.frames_before, side.octets - side.octets_before
            side.frames_before, side.octets_before = side.frames, side.octets
            parts.append(
                f"{direction.value} {frames / span_s:.0f} frames/s {octets / span_s:.0f} octets/s"
            )
        crc = sum(side.drops[Drop.CRC] for side in self._sides.values())
        other = sum(side.drops.total() for side in self._sides.values()) - crc
        parts.append(f"CRC errors {crc}, other drops {other}")
        parts.append(f"retransmissions {self.retransmissions}")
        parts.append(f"refused {self.refused.total()}, telemetry missed {self.telemetry_missed}")
        if self._round_trips_us:
            ordered = sorted(self._round_trips_us)
            parts.append(f"round trip p50 {ordered[len(ordered) // 2]} us, most {ordered[-1]} us")
        if self.offset_us is not None:
            parts.append(f"clock offset {self.offset_us / 1e6:+.6f} s")
        return "; ".join(parts)

    def counts(self, direction: Direction) -> Counter[str]:
        """Frames of one direction by the name of their message."""
        return self._sides[direction].names.copy()

    def drops(self, direction: Direction) -> Counter[Drop]:
        """Drops of one direction by reason."""
        return self._sides[direction].drops.copy()


def frame_words(frame: Frame) -> str:
    """One frame in one line: name, who, which, and every field of the body."""
    header, message = frame.header, frame.message
    try:
        who = DeviceKind(header.device).name.lower()
    except ValueError:
        who = f"device {header.device}"
    marks = f"{message.SPEC.name} {who} session {header.session:08x} seq {header.seq}"
    marks += f" epoch {header.epoch}"
    if header.flags & FLAG_RETRANSMISSION:
        marks += " RETRANSMISSION"
    if header.flags & FLAG_DEADLINE:
        marks += f" deadline {header.deadline_us}"
    return f"{marks} | {_body_words(message)}".rstrip(" |")


def _body_words(message: m.Message) -> str:
    words = []
    for item in fields(message):  # type: ignore[arg-type]
        name, value = item.name, getattr(message, item.name)
        if isinstance(message, m.Refused) and name == "text":
            text = repr(message.sentence)
        elif isinstance(message, m.Refused) and name == "code":
            text = f"{value} ({_refusal_words(value)})"
        elif isinstance(value, bytes):
            text = value[:OCTETS_SHOWN_MAX].hex() + (
                f"... ({len(value)} octets)" if len(value) > OCTETS_SHOWN_MAX else ""
            )
        elif name == "state":
            text = _state_words(message, value)
        elif name in ("flags", "faults"):
            text = f"{value:#x}"
        else:
            text = str(value)
        words.append(f"{name} {text}")
    return ", ".join(words)


def _state_words(message: m.Message, state: int) -> str:
    kind = ImagerState if isinstance(message, m.ImagerStatus) else CouchState
    try:
        return f"{state} ({kind(state).words})"
    except ValueError:
        return str(state)


def _refusal_words(code: int) -> str:
    try:
        return RefusalCode(code).words
    except ValueError:
        return "unknown code"


# ---- the shell -----------------------------------------------------------------------------


def listen(
    settings: PortSettings,
    write: Callable[[str], None],
    end: threading.Event,
    *,
    watch: Watch | None = None,
    frames: bool = True,
) -> Watch:
    """Show what the device says until `end`; sends nothing. Raises `LinkLost`."""
    transport = open_port(settings)
    watch = watch or TrafficWatch(monotonic_us())
    try:
        while not end.is_set():
            _wait([transport.fileno()])
            _show(watch, Direction.DEVICE_TO_HOST, transport.read(), write, frames)
    finally:
        transport.close()
    return watch


def between(
    settings: PortSettings,
    write: Callable[[str], None],
    end: threading.Event,
    *,
    watch: Watch | None = None,
    frames: bool = True,
) -> Watch:
    """Carry octets between the port and a new pty until `end`, and show both directions.

    The first line written names the pty. Raises `LinkLost` when the port is lost.
    """
    transport = open_port(settings)
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    watch = watch or TrafficWatch(monotonic_us())
    write(f"open {os.ttyname(slave)} instead of {settings.port}")
    to_device = b""
    try:
        while not end.is_set():
            _wait([transport.fileno(), master])
            answer = transport.read()
            _show(watch, Direction.DEVICE_TO_HOST, answer, write, frames)
            _write_all(master, answer)
            asked = _read(master)
            _show(watch, Direction.HOST_TO_DEVICE, asked, write, frames)
            to_device = _drain(transport, to_device + asked)
    finally:
        os.close(master)
        os.close(slave)
        transport.close()
    return watch


def _wait(descriptors: list[int]) -> None:
    select.select(descriptors, [], [], 0.1)


def _show(
    watch: Watch,
    direction: Direction,
    data: bytes,
    write: Callable[[str], None],
    frames: bool,
) -> None:
    now_us = monotonic_us()
    for line in watch.feed(direction, data, now_us):
        if frames:
            write(line)
    if watch.summary_due(now_us):
        write(watch.summary(now_us))


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65_536)
    except BlockingIOError:
        return b""


def _drain(transport: Transport, data: bytes) -> bytes:
    return data[transport.write(data) :] if data else data


def _write_all(fd: int, data: bytes) -> None:
    """To the controller's pty; a controller that does not read loses the oldest it never read."""
    end_s = time.monotonic() + 0.1
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            if time.monotonic() > end_s:
                return
            select.select([], [fd], [], 0.01)
        except OSError as error:
            raise LinkLost(LossCause.PORT_GONE, str(error)) from error
