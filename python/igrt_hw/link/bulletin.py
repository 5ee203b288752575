"""What a line tells whoever listens: the latest telemetry, events, and why it is down.

Listeners are called in the thread of the line, one after the other, and never under a lock: they
may give commands. They must return at once.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from igrt_hw.link.errors import LinkLost
from igrt_hw.link.events import Event, Lost, Opened, TelemetrySample
from igrt_hw.link.tally import Tally

EVENT_QUEUE_LEN_MAX: Final = 1024
RATE_SPAN_US: Final = 1_000_000

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LineEvent:
    """An event of the line with the host's time."""

    at_us: int
    event: Event


News = tuple[list[Event], TelemetrySample | None]


class Bulletin:
    """The news of one line. `take`, `note_lost` and `pop` are called under the line's lock,
    `hand_out` outside it."""

    def __init__(self, tally: Tally) -> None:
        self.telemetry: TelemetrySample | None = None
        self.lost: LinkLost | None = None
        self._tally = tally
        self._event_listeners: list[Callable[[LineEvent], None]] = []
        self._telemetry_listeners: list[Callable[[TelemetrySample], None]] = []
        self._fresh: list[Event] = []  # taken, not handed out yet
        self._has_fresh_telemetry = False
        self._rate_from_us = 0
        self._rate_count = 0
        self._rate_hz = 0.0
        self._lock = threading.Lock()  # protects the events below
        self._events: deque[LineEvent] = deque(maxlen=EVENT_QUEUE_LEN_MAX)
        self._changed = threading.Condition()  # protects nothing: wakes those who wait

    def on_event(self, listener: Callable[[LineEvent], None]) -> None:
        """Call `listener` with each event."""
        self._event_listeners.append(listener)

    def on_telemetry(self, listener: Callable[[TelemetrySample], None]) -> None:
        """Call `listener` with the latest telemetry; old ones drop."""
        self._telemetry_listeners.append(listener)

    # ---- from the session to the listeners -------------------------------------------------

    def take(self, events: Sequence[Event], sample: TelemetrySample | None) -> bool:
        """Keep what a session has produced. Returns whether there is something to hand out."""
        if sample is not None and sample is not self.telemetry:
            self.telemetry = sample
            self._has_fresh_telemetry = True
            self._count_rate(sample.received_us)
        for event in events:
            if isinstance(event, Lost):
                self.lost = event.error
            elif isinstance(event, Opened):
                self.lost = None
        self._fresh.extend(events)
        return self._has_fresh_telemetry or bool(self._fresh)

    def note_lost(self, error: LinkLost) -> None:
        """A port that cannot be opened is told once, not at every attempt."""
        if self.lost is None or str(self.lost) != str(error):
            self._fresh.append(Lost(error))
        self.lost = error

    def pop(self) -> News:
        """What was taken since the last time, for `hand_out`."""
        events, self._fresh = self._fresh, []
        sample = self.telemetry if self._has_fresh_telemetry else None
        self._has_fresh_telemetry = False
        return events, sample

    def hand_out(self, news: News, now_us: int) -> None:
        """Call the listeners, and wake those who wait."""
        events, sample = news
        if not events and sample is None:
            return
        self._publish([LineEvent(now_us, event) for event in events])
        if sample is not None:
            for listener in self._telemetry_listeners:
                _guard(listener, sample)
        with self._changed:
            self._changed.notify_all()

    def _publish(self, stamped: Sequence[LineEvent]) -> None:
        with self._lock:
            overflow = len(self._events) + len(stamped) - EVENT_QUEUE_LEN_MAX
            self._tally.events_lost += max(0, overflow)
            self._events.extend(stamped)
        for event in stamped:
            for listener in self._event_listeners:
                _guard(listener, event)

    def _count_rate(self, now_us: int) -> None:
        """By what the session heard: a thread that was starved reads several statuses at once, and shows the last."""
        span_us = now_us - self._rate_from_us
        if span_us >= RATE_SPAN_US:
            heard = self._tally.telemetry_received
            count = heard - self._rate_count
            self._rate_hz = count * 1e6 / span_us if self._rate_from_us else 0.0
            self._rate_from_us, self._rate_count = now_us, heard

    # ---- for whoever asks ------------------------------------------------------------------

    def drain_events(self) -> list[LineEvent]:
        """Events since the last call, oldest first; if more than 1024 waited, the oldest are gone
        and counted (`events_lost`)."""
        with self._lock:
            events = list(self._events)
            self._events.clear()
        return events

    def rate_hz(self, now_us: int) -> float:
        """Telemetry messages a second of late; 0 where none has come for two seconds."""
        return 0.0 if now_us - self._rate_from_us > 2 * RATE_SPAN_US else self._rate_hz

    def wait_for(self, found: Callable[[], _T], timeout_s: float) -> _T:
        """Wait until `found` gives something true, looking again whenever there is news."""
        with self._changed:
            return self._changed.wait_for(found, timeout_s)


def _guard(listener: Callable[[_T], None], item: _T) -> None:
    """A listener that fails must not end the thread that sends the leases."""
    try:
        listener(item)
    except Exception:
        _log.exception("a listener of the line failed")
