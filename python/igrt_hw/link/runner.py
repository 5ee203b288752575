"""One line, run by one thread: port, session, reconnection, leases, and futures for callers.

Any thread may call `submit`, `stop`, `refresh_permission`. The thread of the line reads the port,
lets time pass in the session, sends leases, and resolves futures. It never waits for a caller, and
no caller waits for it, except where a method says so.

A caller that waits for its answer in `call` reads the port itself meanwhile: to hand an answer from
thread to thread costs as much as the device takes to give it (docs/line.md). The thread of the line
leaves the port to it until it has gone, or seems to hang.

Leases go out every 50 ms, but only while the permission is fresh. The supervisor has to refresh it
again and again; if the supervisor hangs, the leases end although this thread goes on, and the couch
stops.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

from igrt_hw.link import budget
from igrt_hw.link import messages as m
from igrt_hw.link.answers import Batch, Reply, running_future, settle
from igrt_hw.link.bulletin import Bulletin, LineEvent, News
from igrt_hw.link.errors import LinkLost, LossCause, QueueFull
from igrt_hw.link.session import (
    QUEUE_LEN_MAX,
    Identity,
    Outcome,
    Session,
    SessionSettings,
    SessionState,
    TelemetrySample,
)
from igrt_hw.link.tally import Tally
from igrt_hw.link.transport import PortSettings, Transport, open_port
from igrt_hw.models.telemetry import LinkHealth

__all__ = ["Line", "LineEvent", "LineSettings", "monotonic_us"]

BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 2.0
SLEEP_US_MAX: Final = 10_000  # how late a command given by another thread may be noticed by timers
UNSENT_LEN_MAX: Final = 262_144
STOP_LOCK_WAIT_S: Final = 0.005  # then the first copy goes out without asking anybody
CALLER_SLEEP_US_MAX: Final = 1_000  # how late a caller that reads the port notices a new timer
CALLER_GRACE_US: Final = 2_000  # so long after a caller's last sign of life the port is left to it
TICK_US: Final = 1_000  # a line that is never idle looks at its timers this often
AWAKE_US: Final = 150  # so long a caller looks for its answer before it sleeps (ADR 0010)
AWAKE_ROUND_TRIP_US_MAX: Final = 400  # on a line that takes longer, looking would only burn a core


def monotonic_us() -> int:
    """The host's clock: microseconds that only go forward."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class LineSettings:
    """Which port, which kind of device, and how to talk to it."""

    port: PortSettings
    session: SessionSettings


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
        self._bulletin = Bulletin(self._tally)
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"line {self.name}", daemon=True)
        self._closing = threading.Event()
        self._lock = threading.Lock()  # protects everything below, and the session
        self._session: Session | None = None
        self._transport: Transport | None = None
        self._unsent = b""
        self._in_break = False
        self._sleeps_until_us = 0
        self._callers = 0
        self._caller_seen_us = -CALLER_GRACE_US
        self._tick_us = 0
        self._stops: deque[tuple[int, int, Future[m.Message]]] = deque()

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
        self._bulletin.on_event(listener)

    def on_telemetry(self, listener: Callable[[TelemetrySample], None]) -> None:
        """Call `listener` with the latest telemetry, in the thread of the line; old ones drop."""
        self._bulletin.on_telemetry(listener)

    # ---- commands --------------------------------------------------------------------------

    def submit(self, message: m.Message, ttl_ms: int | None = None) -> Future[m.Message]:
        """Give one command. The future has the answer, or raises `Refused` or `LinkLost`.

        Raises `MessageError` at once where a field does not fit its type.
        """
        future = running_future()
        self._give(message, future, ttl_ms)
        return future

    def submit_many(self, messages: Sequence[m.Message]) -> Future[list[m.Message]]:
        """Give commands that are sent in order with the window kept full; one future for all."""
        batch = Batch(len(messages))
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
            self._want_thread()
        self._poke()
        settle(outcomes)
        return batch.future

    def call(
        self, message: m.Message, timeout_s: float = 5.0, ttl_ms: int | None = None
    ) -> m.Message:
        """Give one command and wait for its answer.

        Raises `Refused` and `LinkLost`, `TimeoutError` where neither came in `timeout_s`, and
        `MessageError` where a field does not fit its type.
        """
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("call in a listener: it would wait for itself; use submit")
        reply = Reply()
        end_us = monotonic_us() + round(timeout_s * 1e6)
        try:
            self._give(message, reply, ttl_ms, waits=True)
            if reply.result is None and self._looks_pay():
                self._look_for(reply)
            if reply.result is None:
                self._read_until(reply, end_us)
        finally:
            with self._lock:
                self._callers -= 1
                session = self._session
                if self._callers == 0 and session is not None and not session.idle:
                    self._want_thread()  # somebody else's answers are still to come
                    self._poke()
        return reply.get()

    def _give(
        self,
        message: m.Message,
        token: Future[m.Message] | Reply,
        ttl_ms: int | None,
        *,
        waits: bool = False,
    ) -> None:
        """Give one command; with `waits` the caller will read the port, and is counted."""
        with self._lock:
            now_us = monotonic_us()
            if waits:
                self._callers += 1
                self._caller_seen_us = now_us
            session = self._session
            if session is None:
                outcomes: list[Outcome] = [(token, self._down())]
                poke = False
            else:
                session.submit(message, now_us, token, ttl_ms)
                self._flush()
                outcomes = session.take_outcomes()
                poke = bool(self._unsent)
                if self._callers == 0:
                    self._want_thread()
                    poke = poke or session.next_wake_us(now_us) < self._sleeps_until_us
        if poke:
            self._poke()
        if outcomes:
            settle(outcomes)

    def _looks_pay(self) -> bool:
        """Whether answers come so soon that looking for one beats sleeping until it is there."""
        session = self._session
        round_trip_us = session.round_trip_us if session is not None else None
        return round_trip_us is not None and round_trip_us < AWAKE_ROUND_TRIP_US_MAX

    def _look_for(self, reply: Reply) -> None:
        """Look for the answer for a moment, giving the core away between looks."""
        session, transport = self._session, self._transport
        if session is None or transport is None:
            return
        poller = select.poll()
        try:
            poller.register(transport.fileno(), select.POLLIN)
        except (OSError, ValueError):
            return  # just closed: the thread is about to tell the loss
        end_us = monotonic_us() + AWAKE_US
        while reply.result is None:
            if poller.poll(0):
                with self._lock:
                    if session is not self._session or transport is not self._transport:
                        return
                    outcomes, has_news = self._advance(session, transport, None)
                if has_news:
                    self._poke()  # listeners are called in the thread of the line
                settle(outcomes)
            elif monotonic_us() >= end_us:
                return
            else:
                os.sched_yield()

    def _read_until(self, reply: Reply, end_us: int) -> None:
        """Do the turns of the line in a caller's thread until its answer is there."""
        poller = select.poll()
        transport: Transport | None = None
        while reply.result is None:
            with self._lock:
                session = self._session
                now_us = self._caller_seen_us = monotonic_us()
                if now_us >= end_us:
                    return
                if session is not None and transport is not self._transport:
                    transport = self._transport
                    poller = select.poll()
                if session is None or transport is None:
                    wake_us = now_us + CALLER_SLEEP_US_MAX  # the thread is about to tell the loss
                else:
                    poller.register(transport.fileno(), self._events_wanted())
                    wake_us = min(session.next_wake_us(now_us), now_us + CALLER_SLEEP_US_MAX)
            poller.poll((wake_us - now_us) / 1000)
            with self._lock:
                self._caller_seen_us = monotonic_us()
                if session is None or transport is None or session is not self._session:
                    continue
                outcomes, has_news = self._advance(session, transport, wake_us)
            if has_news:
                self._poke()  # listeners are called in the thread of the line
            settle(outcomes)

    def stop(self, reason: int = 0) -> Future[m.Message]:
        """Send STOP at once, ahead of everything, from any thread. The future has STOP_ACK.

        If the thread of the line hangs, the first copy still goes out from here.
        """
        future = running_future()
        nonce = self._random_u32() or 1
        if self._lock.acquire(timeout=STOP_LOCK_WAIT_S):
            try:
                outcomes = self._stop_locked(reason, nonce, future, already_sent=0)
            finally:
                self._lock.release()
            settle(outcomes)
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
        self._want_thread()
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
        return self._bulletin.telemetry

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
        return self._bulletin.drain_events()

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
            is_down = session is None or self._bulletin.lost is not None
            return None if is_down or session is None else session.identity

        identity = self._bulletin.wait_for(opened, timeout_s)
        if identity is None:
            raise self._down()
        return identity

    def wait_telemetry(
        self, until: Callable[[TelemetrySample], bool], timeout_s: float
    ) -> TelemetrySample | None:
        """Wait for telemetry that satisfies `until`; None when the time is over."""

        def found() -> TelemetrySample | None:
            sample = self._bulletin.telemetry
            return sample if sample is not None and until(sample) else None

        return self._bulletin.wait_for(found, timeout_s)

    def raise_if_lost(self) -> None:
        """Raise `LinkLost` if no session is open now."""
        session = self._session
        if session is None or session.state in (SessionState.LOST, SessionState.CLOSED):
            raise self._down()

    def health(self) -> LinkHealth:
        """How the line is doing now."""
        now_us = monotonic_us()
        with self._lock:
            session, transport = self._session, self._transport
            sample, lost = self._bulletin.telemetry, self._bulletin.lost
            clock = session.clock if session is not None else None
            state = session.state.value if session is not None else "closed"
            identity = session.identity if session is not None else None
            cause = str(lost) if lost is not None else ""
            if session is not None and session.limitation:
                cause = session.limitation
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
                line_break=transport.line_break if transport is not None else "",
                telemetry_age_ms=(now_us - sample.received_us) / 1000 if sample else None,
                telemetry_rate_hz=self._bulletin.rate_hz(now_us),
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
                self._check_budget(transport)
            except LinkLost as error:
                self._note_lost(error)
            else:
                if self._serve(transport):
                    backoff_s = BACKOFF_S_MIN
            self._closing.wait(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
        self._fail_stops(LinkLost(LossCause.CLOSED, ""))

    def _check_budget(self, transport: Transport) -> None:
        session = self.settings.session
        problem = budget.objection(
            session.device,
            session.telemetry_period_ms,
            transport.baud,
            half_duplex=session.half_duplex,
        )
        if problem:
            transport.close()
            raise LinkLost(LossCause.CANNOT_OPEN, problem)

    def _note_lost(self, error: LinkLost) -> None:
        with self._lock:
            self._bulletin.note_lost(error)
            news = self._bulletin.pop()
        self._fail_stops(error)
        self._bulletin.hand_out(news, monotonic_us())

    def _fail_stops(self, error: LinkLost) -> None:
        while self._stops:
            settle([(self._stops.popleft()[2], error)])

    def _serve(self, transport: Transport) -> bool:
        """One session from HELLO to its loss. True if it was open at some time."""
        settings = replace(self.settings.session, baud=transport.baud)
        session = Session(settings, self._tally, self._random_u32)
        with self._lock:
            self._session, self._transport = session, transport
            self._unsent, self._in_break = b"", False
            session.open(monotonic_us())
            self._flush()
        poller = select.poll()
        poller.register(self._wake_r.fileno(), select.POLLIN)
        try:
            while session.state is not SessionState.LOST:
                if self._closing.is_set():
                    with self._lock:
                        session.lose(LinkLost(LossCause.CLOSED, ""))
                else:
                    self._turn(session, transport, poller)
        finally:
            with self._lock:
                self._session = self._transport = None
                outcomes, news = self._product(session)
            transport.close()
            settle(outcomes)
            self._bulletin.hand_out(news, monotonic_us())
        return session.identity is not None

    def _turn(self, session: Session, transport: Transport, poller: select.poll) -> None:
        """Wait for octets, a caller or a timer, and do what is due; leave the port to a caller."""
        with self._lock:
            now_us = monotonic_us()
            lent_until_us = self._caller_seen_us + CALLER_GRACE_US
            lent = now_us < lent_until_us
            wake_us = min(session.next_wake_us(now_us), now_us + SLEEP_US_MAX)
            if lent:
                wake_us = lent_until_us if self._callers else min(wake_us, lent_until_us)
            self._sleeps_until_us = wake_us
            # without events asked for, a hang-up is still told
            poller.register(transport.fileno(), 0 if lent else self._events_wanted())
        hung_up = False
        for fd, event in poller.poll((wake_us - now_us) / 1000):
            if fd == transport.fileno():
                hung_up = bool(event & ~(select.POLLIN | select.POLLOUT))
            else:
                self._wake_r.recv(4096)
        outcomes: list[Outcome] = []
        with self._lock:
            self._sleeps_until_us = 0
            caller_lives = monotonic_us() < self._caller_seen_us + CALLER_GRACE_US
            if hung_up or not (lent and self._callers and caller_lives):
                outcomes, _ = self._advance(session, transport, wake_us)
            news = self._bulletin.pop()
        settle(outcomes)
        self._bulletin.hand_out(news, monotonic_us())

    # ---- one turn, under the lock ----------------------------------------------------------

    def _events_wanted(self) -> int:
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    def _want_thread(self) -> None:
        """The thread of the line is to read the port at its next turn; it has to be poked."""
        self._caller_seen_us = -CALLER_GRACE_US

    def _advance(
        self, session: Session, transport: Transport, wake_us: int | None
    ) -> tuple[list[Outcome], bool]:
        """Feed the session, octets first, let time pass in it from `wake_us` on (None: whenever it
        has not for a while), and write what it has to say.

        Reading belongs under the lock: octets must reach the session in the order in which they
        were read, whoever reads them.
        """
        try:
            data = transport.read()
        except LinkLost as error:
            session.lose(error)
        else:
            now_us = monotonic_us()
            if data:
                session.receive(data, now_us)
            while self._stops:
                reason, nonce, future = self._stops.popleft()
                session.stop(reason, now_us, future, nonce, already_sent=1)
            if now_us >= (self._tick_us if wake_us is None else wake_us):
                session.tick(now_us)
                self._tick_us = now_us + TICK_US
            self._flush()
        has_news = self._bulletin.take(session.take_events(), session.telemetry)
        return session.take_outcomes(), has_news

    def _product(self, session: Session) -> tuple[list[Outcome], News]:
        """The last words of a session."""
        self._bulletin.take(session.take_events(), session.telemetry)
        return session.take_outcomes(), self._bulletin.pop()

    def _flush(self) -> None:
        """Write what the session has to say; STOP first, even into the middle of a frame."""
        session, transport = self._session, self._transport
        if session is None or transport is None or session.state is SessionState.LOST:
            return
        if session.is_quiet and not self._unsent and not self._in_break:
            return
        try:
            if session.breaks_line is not self._in_break:
                self._in_break = session.breaks_line
                transport.set_break(self._in_break)
            if self._in_break:
                return
            data = session.take_urgent() + self._unsent + session.take_output()
            if data:
                self._unsent = data[transport.write(data) :]
        except LinkLost as error:
            session.lose(error)
        if len(self._unsent) > UNSENT_LEN_MAX:
            session.lose(LinkLost(LossCause.SILENT, "the port takes no more octets"))

    def _down(self) -> LinkLost:
        why = f"the {self.name} is not connected yet"
        return self._bulletin.lost or LinkLost(LossCause.CLOSED, why)

    def _poke(self) -> None:
        try:
            self._wake_w.send(b"\x00")
        except OSError:
            pass  # full of pokes, so the thread will wake; or closed, and there is no thread
