"""The host's session against the real firmware in virtual time, with byte faults between them.

`FirmwareBench` carries octets between `igrt_hw.link.session` and `igrt_firmware_sim._firmware.Room`
in steps of one millisecond, and looks at the truth of the room as it goes.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from igrt_firmware_sim import _firmware
from igrt_hw.devices.plan import CouchLimits, MotionPlan
from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.session import Session, SessionSettings, SessionState
from igrt_hw.link.tally import Tally

Fault = Callable[[bytes], list[tuple[int, bytes]]]
START = (0.0, -350.0, -120.0, 0.0, 0.0, 0.0)
HOST_AHEAD_US = 5_000_000_000
STEP_US = 1_000
LOOK_US = 5_000
SENT_LEN_MAX = 40  # what the host said last, for those who say it again


def clean(chunk: bytes) -> list[tuple[int, bytes]]:
    """A line without faults."""
    return [(0, chunk)]


class Noise:
    """Byte faults by chance, each chunk once, from one seed."""

    KINDS = ("flip", "drop", "double", "hold", "cut", "junk")

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.percent = 0
        self.kinds: tuple[str, ...] = self.KINDS

    def __call__(self, chunk: bytes) -> list[tuple[int, bytes]]:
        r = self.random
        if r.random() * 100 >= self.percent:
            return [(0, chunk)]
        kind = r.choice(self.kinds)
        if kind == "drop":
            return []
        if kind == "double":
            return [(0, chunk), (r.randrange(20_000), chunk)]
        if kind == "hold":
            return [(r.randrange(400_000), chunk)]
        if kind == "cut":
            at = r.randrange(len(chunk))
            return [(0, chunk[:at]), (r.randrange(3_000), chunk[at:])]
        if kind == "junk":
            return [(0, r.randbytes(r.randrange(1, 40))), (0, chunk)]
        damaged = bytearray(chunk)
        for _ in range(r.randrange(1, 4)):
            damaged[r.randrange(len(chunk))] ^= 1 << r.randrange(8)
        return [(0, bytes(damaged))]


class FirmwareBench:
    """One host and one room. Times that tests see are microseconds since the room's power-up."""

    def __init__(
        self,
        seed: int = 1,
        to_device: Fault = clean,
        to_host: Fault = clean,
        look: Callable[[dict[str, Any]], None] | None = None,
        settings: SessionSettings | None = None,
        **room: Any,
    ) -> None:
        room = {"axes": START, "renders": False} | room
        self.room = _firmware.Room(seed=seed, **room)
        self.to_device, self.to_host = to_device, to_host
        self.look = look
        self.settings = settings or SessionSettings(DeviceKind.COUCH)
        self.tally = Tally()
        self._random = Random(seed)
        self.now_us = 0
        self.outcomes: dict[object, m.Message | LinkError] = {}
        self._flying: list[tuple[int, int, bool, bytes]] = []
        self._order = itertools.count()
        self._next_look_us = 0
        self.limits: CouchLimits | None = None
        self.sent: deque[bytes] = deque(maxlen=SENT_LEN_MAX)
        self.given_before = 0
        self._open_session()

    @property
    def host_us(self) -> int:
        """The host's clock."""
        return self.now_us + HOST_AHEAD_US

    def new_session(self) -> Session:
        """A fresh session, begun with HELLO. `given_before` counts the commands of those before."""
        self.given_before += self.session._window.next_seq - 1
        return self._open_session()

    def _open_session(self) -> Session:
        self.session = Session(self.settings, self.tally, lambda: self._random.getrandbits(32))
        self.session.open(self.host_us)
        return self.session

    def open(self) -> None:
        """Open a session and read the limits; for lines without faults."""
        self.run(20)
        assert self.session.state is SessionState.OPEN
        if self.settings.device is DeviceKind.COUCH:
            reply = self.ask(m.LimitsRead())
            assert isinstance(reply, m.LimitsReply)
            self.limits = CouchLimits.from_reply(reply)

    def submit(self, message: m.Message, token: object) -> None:
        """Give a command."""
        self.session.submit(message, self.host_us, token)

    def ask(self, message: m.Message, patience_ms: int = 300) -> m.Message | LinkError:
        """Give a command and run until it has its outcome."""
        token = object()
        self.submit(message, token)
        for _ in range(patience_ms):
            self.run(1)
            if token in self.outcomes:
                return self.outcomes.pop(token)
        raise AssertionError(f"{message.SPEC.name} had no outcome within {patience_ms} ms")

    def permit(self, for_ms: int) -> None:
        """Refresh the permission."""
        self.session.refresh_permission(self.host_us + for_ms * 1000, self.host_us)

    def plan(self, by: tuple[float, ...], ttl_ms: int = 60_000) -> MotionPlan:
        """A plan from where the couch stands to `by` further on each axis."""
        assert self.limits is not None
        start = self.room.truth()["primary"]
        target = [a + b for a, b in zip(start, by, strict=True)]
        return MotionPlan.of(
            proposal=hashlib.sha256(repr(by).encode()).digest(),
            limits=self.limits,
            start=start,
            waypoints=[target],
            ttl_ms=ttl_ms,
        )

    def run(self, for_ms: int) -> None:
        """Let virtual time pass, a millisecond at a time."""
        for _ in range(for_ms):
            self._pump()
            self.now_us += STEP_US
            while self._flying and self._flying[0][0] <= self.now_us:
                _, _, outward, chunk = heapq.heappop(self._flying)
                if outward:
                    self.room.write("couch", chunk)
                else:
                    self.session.receive(chunk, self.host_us)
            self.room.advance(self.now_us)
            answer = self.room.read("couch")
            if answer:
                self._fly(answer, False)
            self.session.tick(self.host_us)
            self._pump()
            if self.look is not None and self.now_us >= self._next_look_us:
                self._next_look_us = self.now_us + LOOK_US
                self.look(self.room.truth())

    def _pump(self) -> None:
        for octets in (self.session.take_urgent(), self.session.take_output()):
            if octets:
                self._fly(octets, True)
        self.outcomes.update(self.session.take_outcomes())
        self.session.take_events()

    def _fly(self, octets: bytes, outward: bool) -> None:
        if outward:
            self.sent.append(octets)
        fault = self.to_device if outward else self.to_host
        for extra_us, chunk in fault(octets):
            heapq.heappush(
                self._flying, (self.now_us + extra_us, next(self._order), outward, chunk)
            )
