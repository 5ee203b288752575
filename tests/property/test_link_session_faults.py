"""The host's session under byte faults, in virtual time: whatever the line does, the promises hold.

The line flips, drops, doubles, holds back and cuts chunks; commands, permissions and STOP come at
any moment; a lost session is followed by a new one, as the line's thread would do it.
"""

from __future__ import annotations

from random import Random

from clp1_bench import Bench, ScriptedDevice
from hypothesis import given, settings
from hypothesis import strategies as st

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError
from igrt_hw.link.session import SessionState

FAULTS = ("flip", "drop", "double", "hold", "cut")
PLAN = m.PlanUpload(bytes(32), bytes(8), 1000, 1, 6, 1, (0,) * 6, 1, 1, ((0,) * 6,))

step = st.one_of(
    st.tuples(st.just("echo"), st.integers(1, 6)),
    st.tuples(st.just("plan"), st.integers(1, 2)),
    st.tuples(st.just("stop"), st.just(1)),
    st.tuples(st.just("permit"), st.integers(10, 500)),
    st.tuples(st.just("wait"), st.integers(1, 300)),
    st.tuples(st.just("reboot"), st.just(1)),
)


class Noise:
    """Faults by chance, each chunk once, from one seed."""

    def __init__(self, seed: int, percent: int, kinds: set[str]) -> None:
        self.random = Random(seed)
        self.percent = percent
        self.kinds = sorted(kinds)
        self.on = True

    def __call__(self, chunk: bytes) -> list[tuple[int, bytes]]:
        if not self.on or not self.kinds or self.random.random() * 100 >= self.percent:
            return [(0, chunk)]
        kind = self.random.choice(self.kinds)
        if kind == "drop":
            return []
        if kind == "double":
            return [(0, chunk), (self.random.randrange(20_000), chunk)]
        if kind == "hold":
            return [(self.random.randrange(400_000), chunk)]
        if kind == "cut":
            at = self.random.randrange(len(chunk))
            return [(0, chunk[:at]), (self.random.randrange(3_000), chunk[at:])]
        damaged = bytearray(chunk)
        for _ in range(self.random.randrange(1, 4)):
            damaged[self.random.randrange(len(chunk))] ^= 1 << self.random.randrange(8)
        return [(0, bytes(damaged))]


class Story:
    """Runs steps on a bench, and keeps what was asked for."""

    def __init__(self, seed: int, percent: int, kinds: set[str]) -> None:
        self.outward = Noise(seed, percent, kinds)
        self.inward = Noise(seed + 1, percent, kinds)
        self.bench = Bench(
            ScriptedDevice(seed=seed + 2),
            to_device=self.outward,
            to_host=self.inward,
            seed=seed + 3,
        )
        self.asked: dict[bytes, int] = {}
        self.permitted: list[tuple[int, int]] = []
        self.plan_times: list[int] = []
        self.bench.open()

    def keep_a_session(self) -> None:
        if self.bench.session.state is SessionState.LOST:
            self.bench.new_session()
            self.bench.open()

    def take(self, kind: str, amount: int) -> None:
        bench = self.bench
        self.keep_a_session()
        if kind == "echo":
            for _ in range(amount):
                payload = b"%d" % len(self.asked)
                self.asked[payload] = bench.now_us
                bench.submit(m.Echo(payload), payload)
        elif kind == "plan":
            bench.submit(PLAN, ("plan", bench.now_us, len(self.plan_times)))
            self.plan_times.append(bench.now_us)
        elif kind == "stop":
            bench.stop(("stop", bench.now_us))
        elif kind == "permit" and bench.session.state is SessionState.OPEN:
            self.permitted.append((bench.now_us, bench.now_us + amount * 1000))
            bench.permit(amount * 1000)
        elif kind == "reboot":
            bench.device.reboot()
        bench.run(amount * 1000 if kind == "wait" else 500)

    def finish(self) -> None:
        """The line heals; whatever is unanswered is answered or lost."""
        self.outward.on = self.inward.on = False
        for _ in range(8):
            self.keep_a_session()
            self.bench.run(700_000)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    percent=st.integers(0, 60),
    kinds=st.sets(st.sampled_from(FAULTS)),
    steps=st.lists(step, max_size=40),
)
def test_whatever_the_line_does_the_promises_hold(
    seed: int, percent: int, kinds: set[str], steps: list[tuple[str, int]]
) -> None:
    story = Story(seed, percent, kinds)
    for kind, amount in steps:
        story.take(kind, amount)
    story.finish()
    bench, device = story.bench, story.bench.device

    # every command has exactly one outcome
    assert all(bench.outcome_counts.get(p) == 1 for p in story.asked)
    assert all(count == 1 for count in bench.outcome_counts.values())

    # at most once, in the order given, and what was answered was executed
    ran = [e.payload for e in bench.executed(m.Echo) if isinstance(e, m.Echo) and e.payload]
    assert len(ran) == len(set(ran))
    assert ran == sorted(ran, key=int)
    for payload in story.asked:
        outcome = bench.outcomes[payload]
        assert isinstance(outcome, m.EchoReply | LinkError)
        if isinstance(outcome, m.EchoReply):
            assert outcome.payload == payload
            assert payload in ran

    # the device's dead-man was alive only under a permission (and its time on the way)
    for at_us in device.leases_us:
        assert any(begin <= at_us <= until + 100_000 for begin, until in story.permitted)

    # the line healed, so it works again
    assert bench.session.state is SessionState.OPEN


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    percent=st.integers(0, 50),
    waiting=st.integers(0, 12),
    gap_ms=st.integers(0, 60),
)
def test_nothing_given_before_a_stop_moves_anything_after_it(
    seed: int, percent: int, waiting: int, gap_ms: int
) -> None:
    """The device sees the STOP at some instant; from then on no plan given before it is accepted."""
    story = Story(seed, percent, set(FAULTS))
    bench = story.bench
    for _ in range(waiting):
        story.take("echo", 1)
        story.take("plan", 1)
    bench.run(gap_ms * 1000)
    if bench.session.state is not SessionState.OPEN:
        return
    asked_us = bench.now_us
    bench.stop("stop")
    bench.run(400_000)
    story.finish()
    stopped_us = min((t for t in bench.device.stops if t >= asked_us), default=None)
    if stopped_us is None:
        assert isinstance(bench.outcomes["stop"], LinkError)
        return
    after = [t for t, c in bench.device.executed if isinstance(c, m.PlanUpload) and t > stopped_us]
    assert after == []


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 64))
def test_no_octets_from_the_line_make_the_session_fail(octets: bytes, piece: int) -> None:
    bench = Bench()
    bench.open()
    for at in range(0, len(octets), piece):
        bench.session.receive(octets[at : at + piece], bench.now_us)
    bench.submit(m.Echo(b"after"), "after")
    bench.run(300_000)
    assert bench.outcomes["after"] == m.EchoReply(b"after")
