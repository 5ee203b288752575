"""One line, run by one thread: port, session, reconnection, leases, and futures for callers.

Any thread may call `submit`, `stop`, `refresh_permission`. The thread of the line reads the port,
lets time pass in the session, sends leases, and resolves futures. It never waits for a caller, and
no caller waits for it, except where a method says so.

Leases are sent by this thread every 50 ms, but only while the permission is fresh. The supervisor
has to refresh it again and again; if the supervisor hangs, the leases end although this thread goes
on, and the couch stops.
"""

from __future__ import annotations

import logging
import secrets
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Literal, TypeVar, cast

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError, LinkLost, LossCause, QueueFull
from igrt_hw.link.session import (
    QUEUE_LEN_MAX,
    Event,
    Identity,
    Lost,
    Opened,
    Outcome,
    Session,
    SessionSettings,
    SessionState,
    TelemetrySample,
)
from igrt_hw.link.tally import Tally
from igrt_hw.link.transport import PortSettings, Transport, open_port
from igrt_hw.models.telemetry import LinkHealth

BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 2.0
SLEEP_US_MAX: Final = 10_000  # how late a command given by another thread may be noticed by timers
EVENT_QUEUE_LEN_MAX: Final = 1024
UNSENT_LEN_MAX: Final = 262_144
STOP_LOCK_WAIT_S: Final = 0.005  # then the first copy goes out without asking anybody
RATE_SPAN_US: Final = 1_000_000

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Which port, which kind of device, and how to talk to it."""

    port: PortSettings
    session: SessionSettings


@dataclass(frozen=True, slots=True)
class LineEvent:
    """An event of the line with the host's time."""

    at_us: int
    event: Event


class _Batch:
    """Commands that have one future together: all answers in order, or the first failure."""

    def __init__(self, count: int) -> None:
        self.future: Future[list[m.Message]] = Future()
        self.future.set_running_or_notify_cancel()
        self._answers: list[m.Message | None] = [None] * count
        self._left = count

    def settle(self, index: int, result: m.Message | LinkError) -> None:
        """Take one outcome."""
        if self.future.done():
            return
        if isinstance(result, LinkError):
            self.future.set_exception(result)
            return
        self._answers[index] = result
        self._left -= 1
        if self._left == 0:
            self.future.set_result(cast("list[m.Message]", self._answers))


def monotonic_us() -> int:
    """The host's clock: microseconds that only go forward."""
    return time.monotonic_ns() // 1000


class Line:
    """A line to one device. `start` it, and `close` it when done (or use it in a `with`)."""

    def __init__(
        self,
        settings: LineSettings,
        *,
        transport_of: Callable[[PortSettings], Transport] = open_port,
        random_u32: Callable[[], int] = lambda: secrets.randbits(32),
    ) -> None:
        self.settings = settings
        self.name = settings.session.device.name.lower()
        self._transport_of = transport_of
        self._random_u32 = random_u32
        self._tally = Tally()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"line {self.name}", daemon=True)
        self._closing = threading.Event()
        self._event_listeners: list[Callable[[LineEvent], None]] = []
        self._telemetry_listeners: list[Callable[[TelemetrySample], None]] = []
        self._changed = threading.Condition()  # protects nothing: wakes those who wait below
        self._lock = threading.Lock()  # protects everything below
        self._session: Session | None = None
        self._transport: Transport | None = None
        self._unsent = b""
        self._wants_room = False
        self._sleeps_until_us = 0
        self._stops: deque[tuple[int, int, Future[m.Message]]] = deque()
        self._events: deque[LineEvent] = deque(maxlen=EVENT_QUEUE_LEN_MAX)
        self._telemetry: TelemetrySample | None = None
        self._lost: LinkLost | None = None
        self._rate_from_us = 0
        self._rate_count = 0
        self._rate_hz = 0.0

    # ---- life ------------------------------------------------------------------------------

    def start(self) -> Line:
        """Start the thread; it connects, and connects again whenever the link is lost."""
        self._thread.start()
        return self

    def close(self) -> None:
        """End the line. What is unanswered fails with `LinkLost`; the device's lease ends."""
        self._closing.set()
        self._poke()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5.0)
        if not self._thread.is_alive():
            self._wake_r.close()
            self._wake_w.close()

    @property
    def started(self) -> bool:
        """Whether `start` has been called."""
        return self._thread.ident is not None

    def __enter__(self) -> Line:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_event(self, listener: Callable[[LineEvent], None]) -> None:
        """Call `listener` with each event, in the thread of the line: it must return at once."""
        self._event_listeners.append(listener)

    def on_telemetry(self, listener: Callable[[TelemetrySample], None]) -> None:
        """Call `listener` with the latest telemetry, in the thread of the line; old ones drop."""
        self._telemetry_listeners.append(listener)

    # ---- commands --------------------------------------------------------------------------

    def submit(self, message: m.Message, ttl_ms: int | None = None) -> Future[m.Message]:
        """Give one command. The future has the answer, or raises `Refused` or `LinkLost`.

        Raises `MessageError` at once where a field does not fit its type.
        """
        future: Future[m.Message] = Future()
        future.set_running_or_notify_cancel()
        outcomes: list[Outcome] = []
        with self._lock:
            session = self._session
            if session is None:
                future.set_exception(self._down())
                return future
            now_us = monotonic_us()
            session.submit(message, now_us, future, ttl_ms)
            self._flush()
            outcomes = session.take_outcomes()
            poke = bool(self._unsent) or session.next_wake_us(now_us) < self._sleeps_until_us
        if poke:
            self._poke()
        _settle(outcomes)
        return future

    def submit_many(self, messages: Sequence[m.Message]) -> Future[list[m.Message]]:
        """Give commands that are sent in order with the window kept full; one future for all."""
        batch = _Batch(len(messages))
        if not messages:
            batch.future.set_result([])
            return batch.future
        if len(messages) > QUEUE_LEN_MAX:
            batch.future.set_exception(QueueFull(f"{len(messages)} commands at once"))
            return batch.future
        with self._lock:
            session = self._session
            if session is None:
                batch.future.set_exception(self._down())
                return batch.future
            now_us = monotonic_us()
            for index, message in enumerate(messages):
                session.submit(message, now_us, (batch, index))
            self._flush()
            outcomes = session.take_outcomes()
        self._poke()
        _settle(outcomes)
        return batch.future

    def call(
        self, message: m.Message, timeout_s: float = 5.0, ttl_ms: int | None = None
    ) -> m.Message:
        """Give one command and wait for its answer."""
        return self.submit(message, ttl_ms).result(timeout_s)

    def stop(self, reason: int = 0) -> Future[m.Message]:
        """Send STOP at once, ahead of everything, from any thread. The future has STOP_ACK.

        If the thread of the line hangs, the first copy still goes out from here.
        """
        future: Future[m.Message] = Future()
        future.set_running_or_notify_cancel()
        nonce = self._random_u32() or 1
        if self._lock.acquire(timeout=STOP_LOCK_WAIT_S):
            try:
                outcomes = self._stop_locked(reason, nonce, future, already_sent=0)
            finally:
                self._lock.release()
            _settle(outcomes)
        else:
            session, transport = self._session, self._transport
            if session is not None and transport is not None:
                # Cuts into whatever is being written; frames begin with 00, so only that one is lost.
                transport.write(session.stop_frame(reason, nonce, monotonic_us()))
            self._stops.append((reason, nonce, future))
        self._poke()
        return future

    def _stop_locked(
        self, reason: int, nonce: int, future: Future[m.Message], already_sent: int
    ) -> list[Outcome]:
        if self._session is None:
            return [(future, self._down())]
        self._session.stop(reason, monotonic_us(), future, nonce, already_sent)
        self._flush()
        return self._session.take_outcomes()

    def refresh_permission(self, until_us: int) -> bool:
        """Let leases go out until `until_us` of `monotonic_us`, at most 500 ms from now.

        To be called again and again. Returns whether the line is open, so that a lease can go out.
        """
        with self._lock:
            session = self._session
            if session is None or session.state is not SessionState.OPEN:
                return False
            session.refresh_permission(until_us, monotonic_us())
            self._flush()
        return True

    # ---- what is known ---------------------------------------------------------------------

    @property
    def telemetry(self) -> TelemetrySample | None:
        """The latest telemetry; judge its freshness by `received_us`."""
        return self._telemetry

    @property
    def identity(self) -> Identity | None:
        """Who is at the other end, while a session is open."""
        session = self._session
        return session.identity if session is not None else None

    def lease_lateness_us(self) -> list[int]:
        """How late each of the last leases left, after the instant at which it was due."""
        with self._lock:
            return list(self._tally.lease_late_us)

    def drain_events(self) -> list[LineEvent]:
        """Events since the last call, oldest first; if more than 1024 waited, the oldest are gone
        and counted (`events_lost`)."""
        with self._lock:
            events = list(self._events)
            self._events.clear()
        return events

    def device_us(self, host_us: int) -> int | None:
        """The device's clock at a host time, as far as it is known."""
        with self._lock:
            clock = self._session.clock if self._session is not None else None
            return clock.device_us(host_us) if clock is not None else None

    def host_us(self, device_us: int) -> int | None:
        """The host's clock at a device time, as far as it is known."""
        with self._lock:
            clock = self._session.clock if self._session is not None else None
            return clock.host_us(device_us) if clock is not None else None

    def wait_open(self, timeout_s: float = 5.0) -> Identity:
        """Wait until a session is open (or open for telemetry only). Raises `LinkLost` if none is."""

        def opened() -> Identity | None:
            session = self._session
            return session.identity if session is not None and self._lost is None else None

        with self._changed:
            self._changed.wait_for(lambda: opened() is not None, timeout_s)
        identity = opened()
        if identity is None:
            raise self._down()
        return identity

    def wait_telemetry(
        self, until: Callable[[TelemetrySample], bool], timeout_s: float
    ) -> TelemetrySample | None:
        """Wait for telemetry that satisfies `until`; None when the time is over."""

        def found() -> TelemetrySample | None:
            sample = self._telemetry
            return sample if sample is not None and until(sample) else None

        with self._changed:
            return self._changed.wait_for(found, timeout_s)

    def raise_if_lost(self) -> None:
        """Raise `LinkLost` if no session is open now."""
        session = self._session
        if session is None or session.state in (SessionState.LOST, SessionState.CLOSED):
            raise self._down()

    def health(self) -> LinkHealth:
        """How the line is doing now."""
        now_us = monotonic_us()
        with self._lock:
            session, sample, transport = self._session, self._telemetry, self._transport
            clock = session.clock if session is not None else None
            state = session.state.value if session is not None else "closed"
            identity = session.identity if session is not None else None
            cause = str(self._lost) if self._lost is not None else ""
            if session is not None and session.limitation:
                cause = session.limitation
            stale = now_us - self._rate_from_us > 2 * RATE_SPAN_US
            return LinkHealth(
                device=cast("Literal['couch', 'imager', 'pendant']", self.name),
                port=self.settings.port.port,
                state=state,
                connected=state in ("open", "telemetry only"),
                cause=cause,
                session=identity.session if identity is not None else 0,
                boot_id=identity.boot_id if identity is not None else 0,
                epoch=session.epoch if session is not None else 0,
                permission_fresh=session is not None and session.permission_fresh(now_us),
                low_latency=transport.low_latency if transport is not None else "",
                telemetry_age_ms=(now_us - sample.received_us) / 1000 if sample else None,
                telemetry_rate_hz=0.0 if stale else self._rate_hz,
                round_trip_us=session.round_trip_us if session is not None else None,
                clock_offset_us=clock.offset_us(now_us) if clock is not None else None,
                clock_uncertainty_us=clock.uncertainty_us(now_us) if clock is not None else None,
                clock_drift_ppm=clock.drift_ppm if clock is not None else None,
                counters=self._tally.frozen(),
            )

    # ---- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        backoff_s = BACKOFF_S_MIN
        while not self._closing.is_set():
            try:
                transport = self._transport_of(self.settings.port)
            except LinkLost as error:
                self._note_lost(error)
            else:
                if self._serve(transport):
                    backoff_s = BACKOFF_S_MIN
            self._closing.wait(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
        self._fail_stops(LinkLost(LossCause.CLOSED, ""))

    def _note_lost(self, error: LinkLost) -> None:
        """A port that cannot be opened is told once, not at every attempt."""
        with self._lock:
            news = self._lost is None or str(self._lost) != str(error)
            self._lost = error
        self._fail_stops(error)
        if news:
            self._publish([Lost(error)])

    def _fail_stops(self, error: LinkLost) -> None:
        while self._stops:
            _settle([(self._stops.popleft()[2], error)])

    def _serve(self, transport: Transport) -> bool:
        """One session from HELLO to its loss. True if it was open at some time."""
        session = Session(self.settings.session, self._tally, self._random_u32)
        session.settings = _with_baud(session.settings, transport.baud)
        with self._lock:
            self._session, self._transport, self._unsent = session, transport, b""
            self._wants_room = False
            session.open(monotonic_us())
            self._flush()
        poller = select.poll()
        wake_fd = self._wake_r.fileno()
        poller.register(wake_fd, select.POLLIN)
        try:
            poller.register(transport.fileno(), select.POLLIN)
            while session.state is not SessionState.LOST:
                if self._closing.is_set():
                    with self._lock:
                        session.lose(LinkLost(LossCause.CLOSED, ""))
                else:
                    self._turn(session, transport, poller)
        finally:
            with self._lock:
                self._session = self._transport = None
                product = self._product(session)
            transport.close()
            self._hand_out(*product)
        return session.identity is not None

    def _turn(self, session: Session, transport: Transport, poller: select.poll) -> None:
        """Wait for octets, a caller or a timer; then feed the session, octets first."""
        with self._lock:
            now_us = monotonic_us()
            wake_us = min(session.next_wake_us(now_us), now_us + SLEEP_US_MAX)
            self._sleeps_until_us = wake_us
            if bool(self._unsent) is not self._wants_room:
                self._wants_room = not self._wants_room
                more = select.POLLOUT if self._wants_room else 0
                poller.modify(transport.fileno(), select.POLLIN | more)
        readable = False
        for fd, event in poller.poll((wake_us - now_us) / 1000):
            if fd == transport.fileno():
                readable = bool(event & ~select.POLLOUT)
            else:
                self._wake_r.recv(4096)
        self._sleeps_until_us = 0
        data, gone = b"", None
        if readable:
            try:
                data = transport.read()
            except LinkLost as error:
                gone = error
        with self._lock:
            if gone is not None:
                session.lose(gone)
            else:
                self._feed(session, data)
            product = self._product(session)
        self._hand_out(*product)

    def _feed(self, session: Session, data: bytes) -> None:
        now_us = monotonic_us()
        if data:
            session.receive(data, now_us)
        while self._stops:
            reason, nonce, future = self._stops.popleft()
            session.stop(reason, now_us, future, nonce, already_sent=1)
        session.tick(now_us)
        self._flush()

    def _flush(self) -> None:
        """Write what the session has to say; STOP first, even into the middle of a frame."""
        session, transport = self._session, self._transport
        if session is None or transport is None or session.state is SessionState.LOST:
            return
        data = session.take_urgent() + self._unsent + session.take_output()
        if not data:
            return
        try:
            self._unsent = data[transport.write(data) :]
        except LinkLost as error:
            session.lose(error)
        if len(self._unsent) > UNSENT_LEN_MAX:
            session.lose(LinkLost(LossCause.SILENT, "the port takes no more octets"))

    def _product(
        self, session: Session
    ) -> tuple[list[Outcome], list[Event], TelemetrySample | None]:
        """What the session has produced since the last call, taken under the lock."""
        outcomes, events, sample = (
            session.take_outcomes(),
            session.take_events(),
            session.telemetry,
        )
        if sample is self._telemetry:
            sample = None
        if sample is not None:
            self._telemetry = sample
            self._count_rate(sample.received_us)
        if session.lost is not None:
            self._lost = session.lost
        elif events and any(isinstance(event, Opened) for event in events):
            self._lost = None
        return outcomes, events, sample

    def _hand_out(
        self, outcomes: list[Outcome], events: list[Event], sample: TelemetrySample | None
    ) -> None:
        """Resolve futures and call listeners; outside the lock, since they may give commands."""
        _settle(outcomes)
        if events:
            self._publish(events)
        if sample is not None:
            for listener in self._telemetry_listeners:
                _guard(listener, sample)
            with self._changed:
                self._changed.notify_all()

    def _count_rate(self, now_us: int) -> None:
        self._rate_count += 1
        span_us = now_us - self._rate_from_us
        if span_us >= RATE_SPAN_US:
            self._rate_hz = self._rate_count * 1e6 / span_us if self._rate_from_us else 0.0
            self._rate_from_us, self._rate_count = now_us, 0

    def _publish(self, events: Sequence[Event]) -> None:
        now_us = monotonic_us()
        stamped = [LineEvent(now_us, event) for event in events]
        with self._lock:
            overflow = len(self._events) + len(stamped) - EVENT_QUEUE_LEN_MAX
            self._tally.events_lost += max(0, overflow)
            self._events.extend(stamped)
        for event in stamped:
            for listener in self._event_listeners:
                _guard(listener, event)
        with self._changed:
            self._changed.notify_all()

    def _down(self) -> LinkLost:
        return self._lost or LinkLost(LossCause.CLOSED, f"the {self.name} is not connected yet")

    def _poke(self) -> None:
        try:
            self._wake_w.send(b"\x00")
        except OSError:
            pass  # full of pokes, so the thread will wake; or closed, and there is no thread


def _with_baud(settings: SessionSettings, baud: int | None) -> SessionSettings:
    return SessionSettings(
        settings.device, settings.telemetry_period_ms, settings.half_duplex, baud
    )


def _settle(outcomes: Sequence[Outcome]) -> None:
    for token, result in outcomes:
        if isinstance(token, tuple):
            batch, index = token
            batch.settle(index, result)
        elif isinstance(token, Future):
            if isinstance(result, Exception):
                token.set_exception(result)
            else:
                token.set_result(result)


def _guard(listener: Callable[[_T], None], item: _T) -> None:
    """A listener that fails must not end the thread that sends the leases."""
    try:
        listener(item)
    except Exception:
        _log.exception("a listener of the line failed")
