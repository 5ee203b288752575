"""One session of CLP/1 on the host's side, as a state machine without I/O, clock or threads.

Octets and the time go in (`receive`, `tick`, `submit`, `stop`); octets, outcomes and events come out
(`take_output`, `take_outcomes`, `take_events`). Time is integer microseconds of any monotonic clock.

What holds by construction:
- A session is used once. After a loss a new one is made, so that nothing carries over and nothing
  that moved is resumed.
- A command carries the epoch that held when it was given, not the one that holds when it is sent:
  what was decided before a STOP is refused after it, here and by the device.
- Leases go out only while the permission is fresh, and a permission can be given for at most
  `PERMISSION_US_MAX` ahead, so that whoever hangs ends the lease.
- STOP overtakes everything, is valid in every state with an open port, and empties the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from igrt_hw.link import messages as m
from igrt_hw.link.budget import PERIOD_MS_MAX, PERIOD_MS_MIN
from igrt_hw.link.clock import DeviceClock, Exchange, widen
from igrt_hw.link.dictionary import HASH
from igrt_hw.link.errors import (
    LinkError,
    LinkLost,
    LossCause,
    QueueFull,
    Refused,
    StoppedByStop,
)
from igrt_hw.link.events import (
    EpochMoved,
    Event,
    Identity,
    LeaseRefused,
    Lost,
    Opened,
    Outcome,
    TelemetrySample,
)
from igrt_hw.link.frame import (
    FLAG_DEADLINE,
    VERSION,
    DeviceKind,
    Direction,
    Drop,
    Frame,
    FrameReader,
    Header,
    encode_frame,
)
from igrt_hw.link.hearing import TelemetryEar
from igrt_hw.link.leasing import LEASE_TTL_US, PERMISSION_US_MAX, LeaseSchedule
from igrt_hw.link.rules import Rule, rule_of
from igrt_hw.link.stopping import StopSender
from igrt_hw.link.tally import Tally
from igrt_hw.link.window import QUEUE_LEN_MAX, RTO_US_MIN, WINDOW, Command, Window
from igrt_hw.models.telemetry import RefusalCode

__all__ = [
    "PERMISSION_US_MAX",
    "QUEUE_LEN_MAX",
    "TRANSITIONS",
    "WINDOW",
    "EpochMoved",
    "Event",
    "Identity",
    "LeaseRefused",
    "Lost",
    "Opened",
    "Outcome",
    "Session",
    "SessionSettings",
    "SessionState",
    "TelemetrySample",
    "Trigger",
]

HELLO_PERIOD_US: Final = 200_000
HELLO_TRIES_MAX: Final = 5
ECHO_PERIOD_US: Final = 983_900  # an odd period, so as not to resonate with anything (Klipper)
ECHO_FIRST_US: Final = 40_000  # until the clock has been seen often enough
ECHO_FIRST_COUNT: Final = 8
ECHO_CHECK_US: Final = 100_000  # at most so often when the clocks seem to disagree
SILENCE_US: Final = 500_000
DEADLINE_OFFSET_US: Final = 10_000  # so long an offset between the clocks serves for deadlines
CRYSTALS_APART: Final = 5_000  # two crystals go apart by one part in this, 200 ppm

U32: Final = 0xFFFF_FFFF
U16: Final = 0xFFFF

_STATUS_TYPES: Final = (m.CouchStatus, m.ImagerStatus, m.PendantStatus)
_REFUSALS: Final = {code.value: code for code in RefusalCode}
_INTERNAL: Final = object()  # token of commands that the session gives to itself


class SessionState(StrEnum):
    """Where a session is in its life."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    TELEMETRY_ONLY = "telemetry only"
    LOST = "lost"


_OPEN: Final = (SessionState.OPEN, SessionState.TELEMETRY_ONLY)


class Trigger(StrEnum):
    """What moves a session on."""

    OPEN = "open asked for"
    ACCEPTED = "HELLO accepted"
    LIMITED = "HELLO accepted for telemetry only"
    FAILED = "lost"


TRANSITIONS: Final[Mapping[tuple[SessionState, Trigger], SessionState]] = {
    (SessionState.CLOSED, Trigger.OPEN): SessionState.OPENING,
    (SessionState.OPENING, Trigger.ACCEPTED): SessionState.OPEN,
    (SessionState.OPENING, Trigger.LIMITED): SessionState.TELEMETRY_ONLY,
    (SessionState.CLOSED, Trigger.FAILED): SessionState.LOST,
    (SessionState.OPENING, Trigger.FAILED): SessionState.LOST,
    (SessionState.OPEN, Trigger.FAILED): SessionState.LOST,
    (SessionState.TELEMETRY_ONLY, Trigger.FAILED): SessionState.LOST,
}


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session talks.

    baud: for the time that octets need on the wire; None where octets take none (ptys, sockets).
    half_duplex: the host polls with STATUS_READ every `telemetry_period_ms`, one exchange at a time.
    Raises `ValueError` for a period outside 2 to 1000 ms; whether it fits the baud rate is judged
    when the port is open (`igrt_hw.link.budget`).
    """

    device: DeviceKind
    telemetry_period_ms: int = 50
    half_duplex: bool = False
    baud: int | None = None

    def __post_init__(self) -> None:
        if not PERIOD_MS_MIN <= self.telemetry_period_ms <= PERIOD_MS_MAX:
            raise ValueError(
                f"a telemetry period of {self.telemetry_period_ms} ms;"
                f" it must be {PERIOD_MS_MIN} to {PERIOD_MS_MAX} ms"
            )


class Session:
    """A host session. `random_u32` gives 32 random bits for nonces; it is called when one is needed."""

    def __init__(
        self,
        settings: SessionSettings,
        tally: Tally,
        random_u32: Callable[[], int],
    ) -> None:
        self.settings = settings
        self.tally = tally
        self.state = SessionState.CLOSED
        self.identity: Identity | None = None
        self.limitation = ""
        self.clock: DeviceClock | None = None
        self.epoch = 0
        self.lost: LinkLost | None = None
        self._random_u32 = random_u32
        self._silence_us = max(SILENCE_US, 4000 * settings.telemetry_period_ms)
        self._reader = FrameReader(Direction.DEVICE_TO_HOST)
        self._out: list[bytes] = []
        self._urgent: list[bytes] = []
        self._outcomes: list[Outcome] = []
        self._events: list[Event] = []
        self._number = 0
        self._ear = TelemetryEar(tally)
        self._lease = LeaseSchedule()
        self._window = Window(
            1 if settings.half_duplex else WINDOW, tally, self._transmit, self._finish
        )
        self._stop: StopSender | None = None
        self._hello: m.Hello | None = None
        self._hello_tries = 0
        self._hello_us = 0
        self._echo_next_us = 0
        self._echoes = 0
        self._echo_us = 0
        self._poll_next_us = 0
        self._busy_until_us = 0
        self._heard_us = 0
        self._other_device: int | None = None
        self._deadline_ahead_us = 0
        self._deadline_exchanges = -1
        self._deadline_until_us = 0

    # ---- what the shell calls -------------------------------------------------------------

    def open(self, now_us: int) -> None:
        """Begin with HELLO."""
        self._go(Trigger.OPEN)
        self.tally.sessions += 1
        self._heard_us = now_us
        self._send_hello(now_us)

    def receive(self, data: bytes, now_us: int) -> None:
        """Take octets from the line, as they come."""
        self.tally.octets_received += len(data)
        for item in self._reader.feed(data):
            if self.state in (SessionState.CLOSED, SessionState.LOST):
                return
            if isinstance(item, Drop):
                self.tally.count_drop(item)
            else:
                self.tally.frames_received += 1
                self._on_frame(item, now_us)
        self._fill_window(now_us)

    def submit(
        self, message: m.Message, now_us: int, token: object, ttl_ms: int | None = None
    ) -> None:
        """Give a command; its outcome appears under `token` exactly once.

        `ttl_ms` shortens or lengthens the deadline of the command's rule. A command that cannot be
        sent has its outcome at once. Raises `MessageError` where a field does not fit.
        """
        rule = rule_of(message)
        problem = self._objection(message, rule)
        if problem is not None:
            self._outcomes.append((token, problem))
            return
        body = message.pack()
        ttl_us = 1000 * (rule.ttl_ms if ttl_ms is None else ttl_ms)
        expires_us = None if rule.from_sending else now_us + ttl_us
        wire_us = self._wire_us(len(body) + 32 + _reply_len(message)) if self.settings.baud else 0
        self._window.waiting.append(
            Command(message, body, token, rule, self.epoch, ttl_us, expires_us, wire_us)
        )
        self._fill_window(now_us)

    def stop(
        self,
        reason: int,
        now_us: int,
        token: object = None,
        nonce: int | None = None,
        already_sent: int = 0,
    ) -> None:
        """Send STOP, three copies 5 ms apart, and go on until it is acknowledged.

        Commands that were waiting here are never sent. `nonce` and `already_sent` are for a shell
        that has put a first copy on the line by itself (`stop_frame`).
        """
        if self.state in (SessionState.CLOSED, SessionState.LOST):
            error = self.lost or LinkLost(LossCause.CLOSED, "STOP cannot reach the device")
            self._outcomes.append((token, error))
            return
        for command in self._window.drop_waiting():
            self._finish(command, StoppedByStop(f"{command.name}: STOP was given"))
        if self._stop is None:
            stop = m.Stop(reason & 0xFF, self._new_nonce() if nonce is None else nonce)
            self._stop = StopSender(stop, [token], already_sent, now_us)
        else:  # one is under way: its copies serve this call as well
            self._stop.join(token, now_us)
        self._tick_stop(now_us)

    def stop_frame(self, reason: int, nonce: int, now_us: int) -> bytes:
        """The octets of one STOP. Changes nothing, so that any thread may ask at any moment."""
        header = self._header(m.Stop.TYPE, 0, self.epoch, 0, now_us, 0)
        return encode_frame(header, m.Stop(reason & 0xFF, nonce).pack(), Direction.HOST_TO_DEVICE)

    def refresh_permission(self, until_us: int, now_us: int) -> None:
        """Let leases go out until `until_us`; at most `PERMISSION_US_MAX` ahead, or `ValueError`."""
        self._lease.permit(until_us, now_us)
        self._tick_lease(now_us)

    def permission_fresh(self, now_us: int) -> bool:
        """Whether leases may go out now."""
        return self._lease.is_fresh(now_us)

    def lose(self, error: LinkLost) -> None:
        """End the session: every command and STOP that is unanswered fails with `error`."""
        if self.state is SessionState.LOST:
            return
        self._go(Trigger.FAILED)
        self.lost = error
        self._window.fail_all(error)
        if self._stop is not None:
            self._outcomes.extend((token, error) for token in self._stop.tokens)
            self._stop = None
        self._lease.withdraw()
        self._events.append(Lost(error))

    def tick(self, now_us: int) -> None:
        """Let time pass. Feed what was received first, so that a stalled host blames no one."""
        state = self.state
        if state is SessionState.CLOSED or state is SessionState.LOST:
            return
        if state is SessionState.OPENING:
            self._tick_hello(now_us)
        if self._stop is not None:
            self._tick_stop(now_us)
        if state is SessionState.OPEN:
            if self._window.unanswered:
                self._lose_if(self._window.tick(now_us))
            if self._lease.permitted_until_us:
                self._tick_lease(now_us)
            if self.state is SessionState.OPEN and (
                now_us >= self._echo_next_us or self.settings.half_duplex
            ):
                self._tick_own_commands(now_us)
            if self._window.waiting:
                self._fill_window(now_us)
        if now_us - self._heard_us > self._silence_us and self.state in _OPEN:
            ms = (now_us - self._heard_us) // 1000
            self._fail(LossCause.SILENT, f"for {ms} ms (unplugged, powered off, or stalled)")

    def next_wake_us(self, now_us: int) -> int:
        """When `tick` has to be called next."""
        state, wake = self.state, now_us + SILENCE_US
        if state is SessionState.OPENING:
            wake = min(wake, self._hello_us + HELLO_PERIOD_US)
        elif state in _OPEN:
            wake = min(wake, self._heard_us + self._silence_us + 1)
        if self._stop is not None:
            wake = min(wake, self._stop.next_us)
        if state is SessionState.OPEN:
            # Asked after every turn: comparisons, since a call of `min` costs more than all of this.
            if self._echo_next_us < wake:
                wake = self._echo_next_us
            lease = self._lease
            if now_us < lease.permitted_until_us and lease.due_us < wake:
                wake = lease.due_us
            if self._window.unanswered:
                wake = min(wake, self._window.retransmit_at_us())
            if self.settings.half_duplex:
                wake = min(wake, max(self._poll_next_us, self._busy_until_us))
        return wake if wake > now_us else now_us

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to be written, and no BREAK to begin or end."""
        return not self._out and not self._urgent and self._stop is None

    def take_output(self) -> bytes:
        """Octets to be written, oldest first."""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def take_urgent(self) -> bytes:
        """Octets of STOP: to be written before everything else, even into the middle of a frame."""
        if not self._urgent:
            return b""
        data = b"".join(self._urgent)
        self._urgent.clear()
        return data

    @property
    def breaks_line(self) -> bool:
        """Whether the line is to be held in BREAK now; nothing is to be written meanwhile."""
        return self._stop is not None and self._stop.break_until_us is not None

    def take_outcomes(self) -> list[Outcome]:
        """Answers and failures since the last call, by token."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def take_events(self) -> list[Event]:
        """Events since the last call."""
        events, self._events = self._events, []
        return events

    @property
    def telemetry(self) -> TelemetrySample | None:
        """The newest status that was heard."""
        return self._ear.latest

    @property
    def round_trip_us(self) -> float | None:
        """The smoothed round trip of commands."""
        return self._window.round_trip_us

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is unanswered."""
        return not self._window.waiting and not self._window.unanswered and self._stop is None

    # ---- sending ---------------------------------------------------------------------------

    @property
    def _is_open(self) -> bool:
        return self.state in _OPEN

    def _go(self, trigger: Trigger) -> None:
        self.state = TRANSITIONS[self.state, trigger]

    def _fail(self, cause: LossCause, detail: str) -> None:
        self.lose(LinkLost(cause, detail))

    def _lose_if(self, error: LinkLost | None) -> None:
        if error is not None:
            self.lose(error)

    def _finish(self, command: Command, result: m.Message | LinkError) -> None:
        if command.token is not _INTERNAL:
            self._outcomes.append((command.token, result))

    def _new_nonce(self) -> int:
        return self._random_u32() & U32 or 1

    def _objection(self, message: m.Message, rule: Rule) -> LinkError | None:
        """Why a command cannot be given now, or None."""
        if (
            self.state is SessionState.OPEN
            and self._stop is None
            and len(self._window.waiting) < QUEUE_LEN_MAX
        ):
            return None
        if self.state is SessionState.LOST and self.lost is not None:
            return self.lost
        name = message.SPEC.name
        if self.state is SessionState.TELEMETRY_ONLY:
            return Refused(RefusalCode.TELEMETRY_ONLY, self.limitation, name, by_device=False)
        if self.state is not SessionState.OPEN:
            return LinkLost(LossCause.CLOSED, f"{name} was given while the session is {self.state}")
        if self._stop is not None and rule.leads_to_motion:
            return StoppedByStop(f"{name}: a STOP is under way; decide again after it")
        if len(self._window.waiting) >= QUEUE_LEN_MAX:
            return QueueFull(f"{name}: {QUEUE_LEN_MAX} commands wait already")
        return None

    def _device_deadline(self, expires_us: int, now_us: int) -> int | None:
        """The low 32 bits of the device's clock at a time of the host; rather too early than too
        late, by the uncertainty of the estimate."""
        clock = self.clock
        if clock is None:
            return None
        if clock.exchanges != self._deadline_exchanges or now_us > self._deadline_until_us:
            ahead = clock.offset_us(now_us) - clock.uncertainty_us(now_us)
            self._deadline_ahead_us = int(ahead) - DEADLINE_OFFSET_US // CRYSTALS_APART - 2
            self._deadline_exchanges = clock.exchanges
            self._deadline_until_us = now_us + DEADLINE_OFFSET_US
        drift_us = (expires_us - now_us) // CRYSTALS_APART
        return (expires_us + self._deadline_ahead_us - drift_us) & U32

    def _wire_us(self, octets: int) -> int:
        baud = self.settings.baud
        return 0 if baud is None else octets * 10_000_000 // baud  # 8N1: ten bits an octet

    def _fill_window(self, now_us: int) -> None:
        if (
            self._window.waiting
            and self.state is SessionState.OPEN
            and now_us >= self._busy_until_us
        ):
            self._window.fill(self.epoch, now_us)

    def _header(
        self, kind: int, seq: int, epoch: int, flags: int, now_us: int, deadline_us: int
    ) -> Header:
        device = self.settings.device
        t_us = now_us & U32
        return Header(
            VERSION, kind, 0, self._number, seq, 0, epoch, flags, device, t_us, deadline_us
        )

    def _transmit(self, command: Command, now_us: int, flags: int) -> None:
        deadline = command.deadline_us
        if deadline is None and command.expires_us is not None:
            deadline = command.deadline_us = self._device_deadline(command.expires_us, now_us)
        if deadline is not None:
            flags |= FLAG_DEADLINE
        header = self._header(
            command.message.TYPE, command.seq, command.epoch, flags, now_us, deadline or 0
        )
        self._put(encode_frame(header, command.body, Direction.HOST_TO_DEVICE))

    def _put(self, octets: bytes, *, urgent: bool = False) -> None:
        (self._urgent if urgent else self._out).append(octets)
        self.tally.frames_sent += 1
        self.tally.octets_sent += len(octets)

    def _put_unsequenced(self, message: m.Message, now_us: int, deadline_us: int | None) -> None:
        flags = 0 if deadline_us is None else FLAG_DEADLINE
        header = self._header(message.TYPE, 0, self.epoch, flags, now_us, deadline_us or 0)
        self._put(encode_frame(header, message.pack(), Direction.HOST_TO_DEVICE))

    def _send_hello(self, now_us: int) -> None:
        # A new nonce each time: the answer to an earlier HELLO names a session that has ended.
        self._hello = m.Hello(VERSION, VERSION, self._new_nonce(), HASH)
        self._hello_tries += 1
        self._hello_us = now_us
        self._put_unsequenced(self._hello, now_us, None)

    # ---- time ------------------------------------------------------------------------------

    def _tick_hello(self, now_us: int) -> None:
        if now_us < self._hello_us + HELLO_PERIOD_US:
            return
        if self._hello_tries < HELLO_TRIES_MAX:
            self._send_hello(now_us)
        elif self._other_device is not None:
            self._fail(LossCause.WRONG_DEVICE, self._wrong_device(self._other_device))
        else:
            self._fail(LossCause.NO_HELLO, self._why_no_hello())

    def _why_no_hello(self) -> str:
        if self.telemetry is not None:
            return "telemetry arrives, but HELLO is not answered: check the line towards the device"
        if self.tally.octets_received == 0:
            return "nothing was received: check cable, power and port"
        if self.tally.frames_received == 0:
            return "only garbage was received: check the baud rate"
        return f"{self._hello_tries} were sent"

    def _wrong_device(self, kind: int) -> str:
        names = {int(k): k.name.lower() for k in DeviceKind}
        wanted = self.settings.device.name.lower()
        return f"this port is configured for the {wanted}, but a {names.get(kind, kind)} answers"

    def _tick_stop(self, now_us: int) -> None:
        stop = self._stop
        if stop is None or now_us < stop.next_us:
            return
        if stop.done:
            self._finish_stop(stop)
        elif stop.needs_break():
            stop.begin_break(now_us)
            self.tally.breaks_sent += 1
        else:
            frame = self.stop_frame(stop.message.reason, stop.message.nonce, now_us)
            self._put(frame, urgent=True)
            self.tally.stops_sent += 1
            stop.copy_sent(now_us)
            if stop.done:
                self._finish_stop(stop)

    def _finish_stop(self, stop: StopSender) -> None:
        if stop.answer is not None:
            self._outcomes.extend((token, stop.answer) for token in stop.tokens)
        self._stop = None

    def _tick_lease(self, now_us: int) -> None:
        lease = self._lease
        if (
            self.state is not SessionState.OPEN
            or self.clock is None
            or not lease.is_fresh(now_us)
            or now_us < lease.due_us
            or now_us < self._busy_until_us
            or (self.settings.half_duplex and self._window.unanswered)
        ):
            return
        counter, late_us = lease.next(now_us)
        self.tally.lease_late_us.append(late_us)
        deadline_us = (self.clock.device_us(now_us) + LEASE_TTL_US) & U32
        self.tally.leases_sent += 1
        self._put_unsequenced(m.Lease(counter, now_us), now_us, deadline_us)
        if self.settings.half_duplex:
            self._busy_until_us = now_us + RTO_US_MIN + self._wire_us(120)

    def _tick_own_commands(self, now_us: int) -> None:
        if now_us >= self._echo_next_us and not self._window.waiting:
            first = self._echoes < ECHO_FIRST_COUNT
            self._echo_next_us = now_us + (ECHO_FIRST_US if first else ECHO_PERIOD_US)
            self._echoes += 1
            self._echo_us = now_us
            self.submit(m.Echo(b""), now_us, _INTERNAL)
        if self.settings.half_duplex and now_us >= self._poll_next_us and not self._window.waiting:
            self._poll_next_us = now_us + 1000 * self.settings.telemetry_period_ms
            self.submit(m.StatusRead(), now_us, _INTERNAL)

    # ---- receiving -------------------------------------------------------------------------

    def _on_frame(self, frame: Frame, now_us: int) -> None:
        header, message = frame
        if header.device != self.settings.device:
            self._other_device = header.device
            self.tally.unexpected += 1
        elif isinstance(message, _STATUS_TYPES):
            self._heard_us = now_us
            self._on_telemetry(message, header, now_us)
        elif isinstance(message, m.HelloAck):
            self._on_hello_ack(message, header, now_us)
        elif isinstance(message, m.StopAck):
            self._heard_us = now_us
            self._on_stop_ack(message)
        elif header.session != self._number or not self._is_open:
            self.tally.unexpected += 1
        else:
            self._heard_us = now_us
            if header.epoch != self.epoch:
                self._advance_epoch(header.epoch)
            self._on_answer(message, header, now_us)

    def _on_answer(self, message: m.Message, header: Header, now_us: int) -> None:
        if isinstance(message, m.LeaseAck):
            self._on_lease_ack(message, now_us)
        elif isinstance(message, m.Refused):
            self._on_refused(message, header, now_us)
        else:
            about = message.TYPE ^ m.REPLY_BIT
            command = self._window.settle(header.seq, about, message, now_us)
            if command is not None and command.token is _INTERNAL and not command.was_resent:
                self._learn_clock(command, header, now_us)

    def _learn_clock(self, command: Command, header: Header, now_us: int) -> None:
        if self.clock is not None:
            device_us = widen(header.t_us, self.clock.device_us(now_us))
            self.clock.add(Exchange(command.sent_us, device_us, device_us, now_us))

    def _on_hello_ack(self, ack: m.HelloAck, header: Header, now_us: int) -> None:
        if self._hello is None or ack.host_nonce != self._hello.host_nonce or ack.session == 0:
            self.tally.unexpected += 1
            return
        if self._is_open:
            if ack.session != self._number:
                self._fail(LossCause.SESSION_ENDED, "HELLO reached the device twice")
            return
        if ack.device_kind != self.settings.device:
            self._fail(LossCause.WRONG_DEVICE, self._wrong_device(ack.device_kind))
            return
        self._heard_us = now_us
        self._number = ack.session
        self.epoch = header.epoch
        self.clock = DeviceClock(Exchange(self._hello_us, ack.device_us, ack.device_us, now_us))
        self._window.size = min(self._window.size, max(1, ack.window))
        self.limitation = _limitation(ack)
        self.identity = _identity(ack)
        self._go(Trigger.LIMITED if self.limitation else Trigger.ACCEPTED)
        self._events.append(Opened(self.identity, self.limitation))
        self._echo_next_us = self._poll_next_us = now_us
        if self.state is SessionState.OPEN and (
            self.settings.half_duplex or self.settings.telemetry_period_ms != 50
        ):
            period = 0 if self.settings.half_duplex else self.settings.telemetry_period_ms
            self.submit(m.TelemetryRate(period), now_us, _INTERNAL)

    def _on_telemetry(
        self,
        message: m.CouchStatus | m.ImagerStatus | m.PendantStatus,
        header: Header,
        now_us: int,
    ) -> None:
        self.tally.telemetry_received += 1
        if self._is_open and header.session != self._number:
            if self._ear.hear_foreign():
                what = "it has restarted" if header.session == 0 else "another HELLO reached it"
                self._fail(LossCause.SESSION_ENDED, what)
            return
        if not self._ear.hear(message, header, self.clock if self._is_open else None, now_us):
            return
        if self._is_open:
            self._advance_epoch(header.epoch)
        if self._ear.was_late:
            # Or the device's clock was stepped: an exchange tells, so ask for one now.
            self._echo_next_us = min(self._echo_next_us, self._echo_us + ECHO_CHECK_US)

    def _on_stop_ack(self, ack: m.StopAck) -> None:
        stop = self._stop
        if stop is None or ack.nonce != stop.message.nonce:
            self.tally.unexpected += 1
            return
        if self._is_open:
            self._advance_epoch(ack.new_epoch)
        if stop.answer is None:
            stop.answer = ack
        if stop.done:
            self._finish_stop(stop)

    def _advance_epoch(self, epoch: int) -> None:
        ahead = (epoch - self.epoch) & U16
        if 0 < ahead < 1 << 15:  # an older one comes from a frame that was overtaken
            self.epoch = epoch
            self._events.append(EpochMoved(epoch))
            if self._stop is not None:
                self._stop.epoch_moved = True

    def _on_lease_ack(self, ack: m.LeaseAck, now_us: int) -> None:
        self._busy_until_us = 0
        if not 0 < ack.counter <= self._lease.counter or ack.host_us > now_us:
            self.tally.unexpected += 1
            return
        self.tally.leases_acknowledged += 1
        if self.clock is not None:
            self.clock.add(Exchange(ack.host_us, ack.rx_device_us, ack.tx_device_us, now_us))

    def _on_refused(self, refused: m.Refused, header: Header, now_us: int) -> None:
        name = _name_of(refused.about_type)
        code = _REFUSALS.get(refused.code, RefusalCode.UNKNOWN)
        error = Refused(code, refused.sentence, name, number=refused.code)
        if code is RefusalCode.NOT_THIS_SESSION:
            self._fail(LossCause.SESSION_ENDED, refused.sentence)
        elif refused.about_type == m.Lease.TYPE:
            self._busy_until_us = 0
            self.tally.leases_refused += 1
            self._events.append(LeaseRefused(error))
        elif code is RefusalCode.OUT_OF_ORDER:
            self._lose_if(self._window.on_gap(refused.about_seq, refused.expected_seq, now_us))
        else:
            command = self._window.settle(header.seq, refused.about_type, error, now_us)
            if command is not None:
                self.tally.refused += 1
                if code is RefusalCode.LATE and not command.was_resent:
                    # A device whose clock was stepped refuses the exchanges as well that would tell.
                    self._learn_clock(command, header, now_us)


def _identity(ack: m.HelloAck) -> Identity:
    return Identity(
        DeviceKind(ack.device_kind),
        ack.family,
        ack.axis_count,
        ack.boot_id,
        ack.session,
        ack.dictionary,
        ack.limits,
        ack.build,
        ack.max_body,
        ack.window,
    )


def _reply_len(message: m.Message) -> int:
    """Octets to expect in answer on the wire, roughly; for the time they need at a low baud rate."""
    if isinstance(message, m.FrameRead):
        return message.count + 64
    if isinstance(message, m.Echo):
        return len(message.payload) + 32
    return 320 if isinstance(message, m.LimitsRead | m.PlanUpload | m.StatusRead) else 160


def _limitation(ack: m.HelloAck) -> str:
    """Why a session is for telemetry only; empty if it is not."""
    if ack.status == 1 or ack.version != VERSION:
        return f"version mismatch: this end speaks {VERSION}, the device answered {ack.version}"
    if ack.status == 2 or ack.dictionary != HASH:
        return (
            f"dictionary mismatch: this end has {HASH.hex()}, the device {ack.dictionary.hex()};"
            " update the older of the two"
        )
    return "" if ack.status == 0 else f"the device answered HELLO with status {ack.status}"


def _name_of(type_code: int) -> str:
    cls = m.BY_TYPE.get(type_code)
    return cls.SPEC.name if cls is not None else f"type 0x{type_code:02x}"
