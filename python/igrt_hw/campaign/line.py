"""A line in virtual time: the host's session against the room's octets, without port, thread and clock.

It stands where the drivers have their `Line`, so that the drivers themselves take part in a campaign unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from igrt_hw.campaign.room import SimulatedRoom
from igrt_hw.link import messages as m
from igrt_hw.link.answers import running_future, settle
from igrt_hw.link.bulletin import LineEvent
from igrt_hw.link.errors import LinkLost, LossCause
from igrt_hw.link.events import Identity, Lost, TelemetrySample
from igrt_hw.link.session import Session, SessionSettings, SessionState
from igrt_hw.link.tally import Tally

BACKOFF_US = 100_000
PACE_US = 1_000  # a line's thread is woken no more often: the room's control cycle


class VirtualLine:
    """One line of a simulated room. Times are the host's, microseconds.

    `said` is called with every run of octets that goes out: the tap of a judge.
    """

    def __init__(
        self,
        name: str,
        settings: SessionSettings,
        room: SimulatedRoom,
        clock_us: Callable[[], int],
        random_u32: Callable[[], int],
        said: Callable[[bytes], None] | None = None,
    ) -> None:
        self.name = name
        self.started = True
        self.telemetry: TelemetrySample | None = None
        self._settings = settings
        self._room = room
        self._clock_us = clock_us
        self._random_u32 = random_u32
        self._said = said
        self._tally = Tally()
        self._session: Session | None = None
        self._open_at_us = 0
        self._lost: LinkLost | None = None
        self.due_us: int | None = 0
        """When the next turn is due, if nothing comes before; None: ask `wake_us`."""
        self._in_break = False
        self._event_listeners: list[Callable[[LineEvent], None]] = []
        self._telemetry_listeners: list[Callable[[TelemetrySample], None]] = []

    # ---- what drivers use ------------------------------------------------------------------

    def start(self) -> VirtualLine:
        """Nothing to start: turns are given."""
        return self

    def close(self) -> None:
        """Forget the session, as a process does that is killed: nothing more is said on the line."""
        session, self._session = self._session, None
        if session is not None:
            session.lose(LinkLost(LossCause.CLOSED, ""))
            settle(session.take_outcomes())

    def on_event(self, listener: Callable[[LineEvent], None]) -> None:
        """Call `listener` with each event."""
        self._event_listeners.append(listener)

    def on_telemetry(self, listener: Callable[[TelemetrySample], None]) -> None:
        """Call `listener` with each new status."""
        self._telemetry_listeners.append(listener)

    @property
    def identity(self) -> Identity | None:
        """Who is at the other end."""
        return self._session.identity if self._session is not None else None

    @property
    def is_open(self) -> bool:
        """Whether a session stands."""
        return self._session is not None and self._session.state is SessionState.OPEN

    def host_us(self, device_us: int) -> int | None:
        """The host's clock at a device time."""
        clock = self._session.clock if self._session is not None else None
        return clock.host_us(device_us) if clock is not None else None

    def submit(self, message: m.Message, ttl_ms: int | None = None) -> Future[m.Message]:
        """Give one command."""
        future = running_future()
        if self._session is None:
            future.set_exception(self._down())
            return future
        self._session.submit(message, self._clock_us(), future, ttl_ms)
        self._flush(self._session)
        return future

    def stop(self, reason: int = 0) -> Future[m.Message]:
        """STOP."""
        future = running_future()
        if self._session is None:
            future.set_exception(self._down())
            return future
        self._session.stop(reason, self._clock_us(), future, self._random_u32() or 1)
        self._flush(self._session)
        return future

    def refresh_permission(self, until_us: int) -> bool:
        """Let leases go out until then."""
        session = self._session
        if session is None or session.state is not SessionState.OPEN:
            return False
        session.refresh_permission(until_us, self._clock_us())
        self._flush(session)
        return True

    # ---- turns -----------------------------------------------------------------------------

    def wake_us(self, now_us: int) -> int:
        """When the next turn is due, if nothing comes before."""
        if self.due_us is None:
            session = self._session
            wake = self._open_at_us if session is None else session.next_wake_us(now_us)
            self.due_us = max(wake, now_us + PACE_US)
        return self.due_us

    def turn(self, data: bytes, now_us: int) -> None:
        """Take what has come, let time pass, say what is to be said, tell what is new."""
        session = self._session
        if session is None:
            if now_us < self._open_at_us:
                self.due_us = None
                return
            session = self._session = Session(self._settings, self._tally, self._random_u32)
            session.open(now_us)
        if data:
            session.receive(data, now_us)
        session.tick(now_us)
        self._flush(session)
        self._tell(session, now_us)

    def _flush(self, session: Session) -> None:
        self.due_us = None
        if not session.is_quiet:
            if session.breaks_line and not self._in_break:
                self._room.perform("line.break", line=self.name)
            self._in_break = session.breaks_line
            if not self._in_break:
                octets = session.take_urgent() + session.take_output()
                if octets:
                    if self._said is not None:
                        self._said(octets)
                    self._room.write(self.name, octets)
        outcomes = session.take_outcomes()
        if outcomes:
            settle(outcomes)

    def _tell(self, session: Session, now_us: int) -> None:
        for event in session.take_events():
            if isinstance(event, Lost):
                self._lost, self._session = event.error, None
                self._open_at_us = now_us + BACKOFF_US
            for listener in self._event_listeners:
                listener(LineEvent(now_us, event))
        sample = session.telemetry
        if sample is not None and sample is not self.telemetry:
            self.telemetry = sample
            for hear in self._telemetry_listeners:
                hear(sample)
        outcomes = session.take_outcomes()
        if outcomes:
            settle(outcomes)

    def _down(self) -> LinkLost:
        return self._lost or LinkLost(LossCause.CLOSED, f"the {self.name} is not connected yet")
