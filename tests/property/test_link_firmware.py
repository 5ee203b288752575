"""Line and firmware together in virtual time, under byte faults at every instant.

What was approved is what moves, it moves only while someone holds the enable, and it can always be
stopped: looked at from the truth of the simulated room, not from what anybody says on the line.
"""

from __future__ import annotations

from typing import Any

from firmware_bench import START, FirmwareBench, Noise
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from igrt_hw.devices.plan import AxisKind
from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError
from igrt_hw.link.session import SessionState

# The longest jerk-limited stop: v/a + a/j at 10 mm/s, 30 mm/s2, 150 mm/s3 (1 deg/s, 5, 25 is
# shorter), doubled for a stop that begins in full acceleration, plus servo lag and brakes.
STOP_US = 1_500_000
LEASE_US = 150_000
LEASE_TTL_US = 100_000
ON_THE_WAY_US = 100_000
MOVING_MM_S, MOVING_DEG_S = 0.2, 0.05
OFF_LINE_MM, OFF_LINE_DEG = 0.3, 0.06


class LineAndFirmware(RuleBasedStateMachine):
    """Rules are what a host and a hand may do, and what a line may do to them."""

    @initialize(seed=st.integers(0, 1 << 20))
    def begin(self, seed: int) -> None:
        self.outward, self.inward = Noise(seed), Noise(seed + 1)
        self.bench = FirmwareBench(seed, self.outward, self.inward, self.look)
        self.line: tuple[list[float], list[float]] | None = None
        self.enabled_until_us = self.leased_until_us = -1
        self.holding = False
        self.executes: list[int] = []
        self.plans: dict[object, Any] = {}
        self.count = 0
        self.stopped_us: int | None = None
        self.epoch = 0
        self.speed_after_stop: float | None = None
        self.moved = False
        self.bench.open()

    # ---- what may be done ------------------------------------------------------------------

    @rule(percent=st.sampled_from([0, 0, 5, 25, 60]))
    def noise(self, percent: int) -> None:
        self.outward.percent = self.inward.percent = percent

    @rule(
        lateral=st.floats(-40, 40),
        vertical=st.floats(-40, 40),
        pitch=st.floats(-2, 2),
        execute=st.booleans(),
        enable=st.booleans(),
    )
    def upload_and_execute(
        self, lateral: float, vertical: float, pitch: float, execute: bool, enable: bool
    ) -> None:
        self.keep_a_session()
        truth = self.bench.room.truth()
        if truth["couch_state"] not in (1, 2, 7):
            return
        target = [lateral, -350.0, -120.0 + vertical, 0.0, pitch, 0.0]
        by = tuple(b - a for a, b in zip(truth["primary"], target, strict=True))
        plan = self.bench.plan(by)
        self.permit_for(400)
        token = ("plan", self.count)
        self.count += 1
        self.bench.submit(plan.message(), token)
        self.advance(60)
        reply = self.bench.outcomes.get(token)
        if not isinstance(reply, m.PlanReply):
            return
        assert reply.plan_digest == plan.plan_digest()
        if enable:
            self.squeeze()
        if not execute:
            return
        self.permit_for(400)
        self.line = (list(truth["axes"]), target)
        self.executes.append(self.bench.now_us)
        self.bench.submit(m.Execute(reply.plan_digest, reply.plan_nonce, bytes(16)), "execute")
        self.advance(40)

    @rule()
    def squeeze(self) -> None:
        self.holding = True
        self.bench.room.set_enable("enabled")

    @rule(panic=st.booleans())
    def let_go(self, panic: bool) -> None:
        self.note_enable()
        self.holding = False
        self.bench.room.set_enable("squeezed" if panic else "released")

    @rule(for_ms=st.integers(1, 500))
    def permit(self, for_ms: int) -> None:
        self.keep_a_session()
        self.permit_for(for_ms)

    @rule(ms=st.integers(1, 1500))
    def hold_permission(self, ms: int) -> None:
        """The supervisor refreshes, as it should."""
        for _ in range(0, ms, 100):
            self.keep_a_session()
            self.permit_for(200)
            self.advance(100)

    @rule(ms=st.integers(1, 900))
    def wait(self, ms: int) -> None:
        self.advance(ms)

    @rule()
    def stop(self) -> None:
        self.keep_a_session()
        self.bench.session.stop(0, self.bench.host_us, ("stop", self.count))
        self.count += 1
        self.advance(30)

    @rule()
    def line_break(self) -> None:
        self.bench.room.line_break("couch")
        self.advance(5)

    @rule()
    def new_session(self) -> None:
        self.bench.new_session()
        self.advance(20)

    @rule(octets=st.binary(max_size=200))
    def garbage(self, octets: bytes) -> None:
        self.bench.room.write("couch", octets)
        self.advance(2)

    @rule()
    def reset(self) -> None:
        self.keep_a_session()
        self.bench.submit(m.FaultReset(0xFFFF), ("reset", self.count))
        self.count += 1
        self.advance(20)

    # ---- the machinery ---------------------------------------------------------------------

    def keep_a_session(self) -> None:
        for _ in range(3):
            if self.bench.session.state is SessionState.OPEN:
                return
            if self.bench.session.state is SessionState.LOST:
                self.bench.new_session()
            self.advance(60)

    def permit_for(self, for_ms: int) -> None:
        if self.bench.session.state is SessionState.OPEN:
            self.bench.permit(for_ms)
            self.leased_until_us = max(self.leased_until_us, self.bench.now_us + for_ms * 1000)

    def note_enable(self) -> None:
        if self.holding:
            self.enabled_until_us = self.bench.now_us

    def advance(self, ms: int) -> None:
        self.note_enable()
        self.bench.run(ms)
        self.note_enable()

    # ---- what must hold at every instant ---------------------------------------------------

    def look(self, truth: dict[str, Any]) -> None:
        now_us = truth["now_us"]
        if self.holding:
            self.enabled_until_us = now_us
        speeds = truth["speeds"]
        speed = max(abs(v) / MOVING_MM_S for v in speeds[:3])
        speed = max(speed, max(abs(v) / MOVING_DEG_S for v in speeds[3:]))
        if truth["epoch"] != self.epoch:
            self.epoch = truth["epoch"]
            self.stopped_us, self.speed_after_stop = now_us, None
        self.stays_inside(truth["axes"])
        if speed > 1.0:
            self.moved = True
            self.may_move(now_us)
            self.is_on_the_line(truth["axes"])
        self.falls_after_stop(now_us, speed)

    def stays_inside(self, axes: list[float]) -> None:
        assert self.bench.limits is None or all(
            limit.minimum / limit.kind.per_unit - 0.5
            <= at
            <= limit.maximum / limit.kind.per_unit + 0.5
            for at, limit in zip(axes, self.bench.limits.axes, strict=True)
        )

    def may_move(self, now_us: int) -> None:
        assert self.executes, "it moves although nobody has ever sent EXECUTE"
        leased_us = self.leased_until_us + LEASE_TTL_US + LEASE_US + ON_THE_WAY_US
        assert now_us <= leased_us + STOP_US, "it moves without a lease"
        assert now_us <= self.enabled_until_us + STOP_US, "it moves without the enable"
        if self.stopped_us is not None and self.executes[-1] < self.stopped_us:
            assert now_us <= self.stopped_us + STOP_US, "it moves after STOP"

    def is_on_the_line(self, axes: list[float]) -> None:
        assert self.line is not None
        start, target = self.line
        travels = [b - a for a, b in zip(start, target, strict=True)]
        # the furthest axis, in its own noise, says how far along the path it is
        leading = max(range(6), key=lambda i: abs(travels[i]) * (1 if i < 3 else 5))
        if abs(travels[leading]) < 0.5:
            return
        part = (axes[leading] - start[leading]) / travels[leading]
        for i, travel in enumerate(travels):
            off = axes[i] - (start[i] + part * travel)
            assert abs(off) <= (OFF_LINE_MM if i < 3 else OFF_LINE_DEG), (i, off, part)

    def falls_after_stop(self, now_us: int, speed: float) -> None:
        """Past the jerk ramp out of an acceleration (a/j = 0.2 s) the speed only falls."""
        if self.stopped_us is None or (self.executes and self.executes[-1] >= self.stopped_us):
            return
        if now_us < self.stopped_us + 300_000:
            return
        if self.speed_after_stop is not None:
            assert speed <= self.speed_after_stop + 1.0
        self.speed_after_stop = speed

    def teardown(self) -> None:
        """Whatever happened, everybody lets go, and the couch comes to rest and stays there."""
        if not hasattr(self, "bench"):
            return
        self.let_go(panic=False)
        self.advance(2_500)
        truth = self.bench.room.truth()
        assert truth["brakes_engaged"]
        assert max(map(abs, truth["speeds"])) == 0.0
        assert all(
            isinstance(outcome, m.Message | LinkError) for outcome in self.bench.outcomes.values()
        )


TestLineAndFirmware = LineAndFirmware.TestCase
TestLineAndFirmware.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_the_machine_above_can_move_the_couch_at_all() -> None:
    """So that its invariants are not kept by a couch that never moves."""
    machine = LineAndFirmware()
    machine.begin(seed=5)
    machine.upload_and_execute(20.0, -10.0, 1.0, execute=True, enable=True)
    machine.hold_permission(6_000)
    truth = machine.bench.room.truth()
    assert machine.moved
    assert truth["couch_state"] == 7
    assert abs(truth["axes"][0] - 20.0) < 0.2
    assert abs(truth["axes"][4] - 1.0) < 0.05
    assert machine.bench.limits is not None
    assert machine.bench.limits.axes[4].kind is AxisKind.ROTARY
    assert START[0] == 0.0
    machine.teardown()
