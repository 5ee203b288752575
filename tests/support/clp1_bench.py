"""A scripted device and a line in virtual time, for tests of the host's session.

The device follows docs/protocol.md sections 2 to 5 and 9: sessions, sequence, reply cache, epoch,
deadlines, lease, telemetry. It logs what it executes, so that a test can ask what really happened.
The line carries octets with a delay; a fault may change, drop, double or hold back each chunk.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from igrt_hw.link import messages as m
from igrt_hw.link.dictionary import HASH
from igrt_hw.link.errors import LinkError
from igrt_hw.link.frame import (
    FLAG_DEADLINE,
    DeviceKind,
    Direction,
    Frame,
    FrameReader,
    Header,
    encode_frame,
)
from igrt_hw.link.session import Event, Session, SessionSettings
from igrt_hw.link.tally import Tally

Fault = Callable[[bytes], list[tuple[int, bytes]]]  # chunk -> (extra delay, chunk) each
MOTION = (m.PlanUpload, m.Execute, m.Jog, m.Home, m.Arms, m.Gantry, m.Expose)


def clean(chunk: bytes) -> list[tuple[int, bytes]]:
    """A line without faults."""
    return [(0, chunk)]


@dataclass
class ScriptedDevice:
    """The device's end of a line, with a clock that may be ahead and run fast."""

    seed: int = 1
    kind: DeviceKind = DeviceKind.COUCH
    clock_ahead_us: int = 7_000_000_000
    drift_ppm: float = 0.0
    period_us: int = 50_000
    hello_status: int = 0
    mute: bool = False
    executed: list[tuple[int, m.Message]] = field(default_factory=list)
    leases_us: list[int] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    session: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        self.boot_id = self._random.getrandbits(32)
        self._reader = FrameReader(Direction.HOST_TO_DEVICE, self.kind)
        self._expected = 1
        self._cache: deque[tuple[int, m.Message]] = deque(maxlen=8)
        self._stop_nonce: int | None = None
        self._lease_counter = 0
        self._telemetry_us = 0
        self._telemetry_seq = 0
        self._out: list[bytes] = []

    def reboot(self) -> None:
        """Power lost and back: another boot id, no session, epoch 0."""
        self.boot_id = self._random.getrandbits(32)
        self.session = self.epoch = 0
        self._cache.clear()

    def device_us(self, now_us: int) -> int:
        """The device's clock."""
        return self.clock_ahead_us + now_us + int(now_us * self.drift_ppm / 1e6)

    def receive(self, octets: bytes, now_us: int) -> bytes:
        """Octets in, octets out."""
        for item in self._reader.feed(octets):
            if isinstance(item, Frame) and not self.mute:
                self._accept(item, now_us)
        return self._take()

    def tick(self, now_us: int) -> bytes:
        """Telemetry when it is due."""
        if self.period_us and now_us >= self._telemetry_us:
            self._telemetry_us = now_us + self.period_us
            if not self.mute:
                self._status(now_us)
        return self._take()

    def next_us(self) -> int:
        """When telemetry is due next."""
        return self._telemetry_us if self.period_us else 1 << 62

    def _take(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _send(self, body: m.Message, session: int, seq: int, now_us: int) -> None:
        header = Header(
            1, body.TYPE, 0, session, seq, self._expected, self.epoch, 0, self.kind,
            self.device_us(now_us) & 0xFFFFFFFF, 0,
        )  # fmt: skip
        self._out.append(encode_frame(header, body.pack(), Direction.DEVICE_TO_HOST))

    def _status(self, now_us: int) -> None:
        self._telemetry_seq = (self._telemetry_seq + 1) & 0xFFFF
        zeros = (0,) * 6
        status = m.CouchStatus(
            self.device_us(now_us), 1, 4, 0, 6, 0, 0, 0, 0, 0, 0, zeros, zeros, zeros
        )
        self._send(status, self.session, self._telemetry_seq, now_us)

    def _refuse(self, frame: Frame, code: int, text: str, now_us: int) -> m.Refused:
        refused = m.Refused(
            code, frame.header.type, frame.header.seq, self._expected, text.encode()
        )
        self._send(refused, frame.header.session, frame.header.seq, now_us)
        return refused

    def _accept(self, frame: Frame, now_us: int) -> None:
        header, message = frame.header, frame.message
        if isinstance(message, m.Stop):
            if message.nonce != self._stop_nonce:
                self._stop_nonce = message.nonce
                self.epoch = (self.epoch + 1) & 0xFFFF
            self.stops.append(now_us)
            self._send(m.StopAck(message.nonce, self.epoch, 1), self.session, header.seq, now_us)
        elif isinstance(message, m.Hello):
            self._hello(message, now_us)
        elif header.session != self.session or self.session == 0:
            self._refuse(frame, 2, "another session is open", now_us)
        elif self.hello_status:
            self._refuse(frame, 3, "telemetry only", now_us)
        elif isinstance(message, m.Lease):
            self._lease(frame, message, now_us)
        else:
            self._sequenced(frame, message, now_us)

    def _hello(self, hello: m.Hello, now_us: int) -> None:
        self.session = self._random.getrandbits(32) or 1
        self._expected = 1
        self._cache.clear()
        self._lease_counter = 0
        self._send(
            m.HelloAck(
                self.hello_status, 1, self.kind, 1, hello.host_nonce, self.boot_id, self.session,
                HASH, bytes(8), bytes(8), 4124, 4, 6, self.device_us(now_us),
            ),
            self.session, 0, now_us,
        )  # fmt: skip

    def _late(self, header: Header, now_us: int) -> bool:
        left = (header.deadline_us - self.device_us(now_us)) & 0xFFFFFFFF
        return bool(header.flags & FLAG_DEADLINE) and left >= 1 << 31

    def _lease(self, frame: Frame, lease: m.Lease, now_us: int) -> None:
        if not frame.header.flags & FLAG_DEADLINE or self._late(frame.header, now_us):
            self._refuse(frame, 5, "late", now_us)
        elif lease.counter <= self._lease_counter:
            self._refuse(frame, 4, "counter", now_us)
        else:
            self._lease_counter = lease.counter
            self.leases_us.append(now_us)
            at = self.device_us(now_us)
            self._send(m.LeaseAck(lease.counter, lease.host_us, at, at), self.session, 0, now_us)

    def _sequenced(self, frame: Frame, message: m.Message, now_us: int) -> None:
        header = frame.header
        if header.seq != self._expected:
            for seq, answer in self._cache:
                if seq == header.seq:
                    self._send(answer, self.session, seq, now_us)
                    return
            self._refuse(frame, 4, "out of order", now_us)
            return
        self._expected = self._expected % 0xFFFF + 1
        answer = self._execute(frame, message, now_us)
        self._cache.append((header.seq, answer))

    def _execute(self, frame: Frame, message: m.Message, now_us: int) -> m.Message:
        header = frame.header
        deadline = bool(header.flags & FLAG_DEADLINE)
        if self._late(header, now_us) or not deadline:
            return self._refuse(frame, 5, "late", now_us)
        if isinstance(message, MOTION) and header.epoch != self.epoch:
            return self._refuse(frame, 6, "old epoch", now_us)
        self.executed.append((now_us, message))
        if isinstance(message, m.StatusRead):
            self._status(now_us)
        if isinstance(message, m.TelemetryRate):
            self.period_us = message.period_ms * 1000
        answer = self._answer(message, now_us)
        self._send(answer, self.session, header.seq, now_us)
        return answer

    def _answer(self, message: m.Message, now_us: int) -> m.Message:
        if isinstance(message, m.Echo):
            return m.EchoReply(message.payload)
        if isinstance(message, m.PlanUpload):
            return m.PlanReply(bytes(32), 1, message.start, self.device_us(now_us), 1000)
        if isinstance(message, m.Execute):
            return m.ExecuteReply(message.plan_nonce)
        if isinstance(message, m.TelemetryRate):
            return m.TelemetryRateReply(message.period_ms)
        if isinstance(message, m.FrameRead):
            data = bytes(message.count)
            return m.FrameReadReply(0, message.count, message.frame, message.offset, data)
        reply = m.BY_TYPE[message.TYPE | m.REPLY_BIT]
        return reply.CODEC.unpack(bytes(reply.CODEC._head.size))


class Bench:
    """A session and a device at the two ends of a line, in virtual time."""

    def __init__(
        self,
        device: ScriptedDevice | None = None,
        *,
        to_device: Fault = clean,
        to_host: Fault = clean,
        delay_us: int = 100,
        settings: SessionSettings | None = None,
        seed: int = 2,
        now_us: int = 1_000_000,
    ) -> None:
        self.now_us = now_us
        self.device = device or ScriptedDevice()
        self.tally = Tally()
        self.to_device, self.to_host, self.delay_us = to_device, to_host, delay_us
        self.settings = settings or SessionSettings(DeviceKind.COUCH)
        self._random = Random(seed)
        self.outcomes: dict[object, m.Message | LinkError] = {}
        self.outcome_counts: dict[object, int] = {}
        self.events: list[Event] = []
        self._flying: list[tuple[int, int, bool, bytes]] = []
        self._order = itertools.count()
        self.session = self.new_session()

    def new_session(self) -> Session:
        """A fresh session on the same line."""
        self.session = Session(self.settings, self.tally, lambda: self._random.getrandbits(32))
        return self.session

    def open(self) -> Session:
        """HELLO and wait for it."""
        self.session.open(self.now_us)
        self.pump()
        self.run(2 * self.delay_us + 1_000)
        return self.session

    def submit(self, message: m.Message, token: object, ttl_ms: int | None = None) -> None:
        """Give a command now."""
        self.session.submit(message, self.now_us, token, ttl_ms)
        self.pump()

    def stop(self, token: object = "stop") -> None:
        """STOP now."""
        self.session.stop(0, self.now_us, token)
        self.pump()

    def permit(self, for_us: int = 200_000) -> None:
        """Refresh the permission."""
        self.session.refresh_permission(self.now_us + for_us, self.now_us)
        self.pump()

    def pump(self) -> None:
        """Put what the session says on the line, and take what it has found out."""
        for octets in (self.session.take_urgent(), self.session.take_output()):
            if octets:
                self._fly(octets, True)
        for token, result in self.session.take_outcomes():
            self.outcomes[token] = result
            self.outcome_counts[token] = self.outcome_counts.get(token, 0) + 1
        self.events.extend(self.session.take_events())

    def _fly(self, octets: bytes, outward: bool) -> None:
        fault = self.to_device if outward else self.to_host
        for extra_us, chunk in fault(octets):
            due = self.now_us + self.delay_us + extra_us
            heapq.heappush(self._flying, (due, next(self._order), outward, chunk))

    def run(self, for_us: int) -> None:
        """Let virtual time pass."""
        end_us = self.now_us + for_us
        while True:
            self.pump()
            due = [end_us, self.device.next_us(), self.session.next_wake_us(self.now_us)]
            if self._flying:
                due.append(self._flying[0][0])
            at = min(due)
            if at >= end_us:
                self.now_us = end_us
                return
            self.now_us = max(at, self.now_us + (1 if at <= self.now_us else 0))
            self._step()

    def _step(self) -> None:
        while self._flying and self._flying[0][0] <= self.now_us:
            _, _, outward, chunk = heapq.heappop(self._flying)
            if outward:
                answer = self.device.receive(chunk, self.now_us)
                if answer:
                    self._fly(answer, False)
            else:
                self.session.receive(chunk, self.now_us)
        telemetry = self.device.tick(self.now_us)
        if telemetry:
            self._fly(telemetry, False)
        self.session.tick(self.now_us)

    def executed(self, kind: type[m.Message]) -> list[m.Message]:
        """What the device has executed, of one kind, in order."""
        return [message for _, message in self.device.executed if isinstance(message, kind)]
