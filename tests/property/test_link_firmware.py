"""Line and firmware together in virtual time, under byte faults and device faults at every instant.

What was approved is what moves, it moves only while someone holds the enable, and it can always be
stopped: looked at from the truth of the simulated room, not from what anybody says on the line.

The faults are read from the simulator's own table, so that a fault it learns is drawn here as well.
Some of them move the couch against its firmware's will (a runaway, a slipping brake, a hand that
pushes). Once one was drawn, the promises are asked of the drives (they are on only while they may
be) instead of the load; without one, of the load itself.

More of it: HYPOTHESIS_PROFILE=campaign python -m pytest tests/property/test_link_firmware.py
"""

from __future__ import annotations

from typing import Any

from firmware_bench import FirmwareBench, Noise
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from igrt_firmware_sim import _firmware
from igrt_hw.devices.errors import PlanError
from igrt_hw.devices.plan import AxisKind, CouchLimits
from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError
from igrt_hw.link.session import SessionState
from igrt_hw.models.telemetry import CouchState

# The longest jerk-limited stop: v/a + a/j at 10 mm/s, 30 mm/s2, 150 mm/s3 (1 deg/s, 5, 25 is
# shorter), doubled for a stop that begins in full acceleration, plus servo lag and brakes.
STOP_US = 1_500_000
LEASE_US = 150_000
LEASE_TTL_US = 100_000
JOG_US = 200_000
ON_THE_WAY_US = 100_000
MOVING_MM_S, MOVING_DEG_S = 0.2, 0.05
OFF_LINE_MM, OFF_LINE_DEG = 0.3, 0.06
BEYOND_MM, BEYOND_DEG = 5.0, 1.0  # from the soft limit to the mechanical end (docs/machines.md)
GIVE = 0.05  # of the structure that is driven against its end

UNDER_WAY = (CouchState.MOVING, CouchState.JOGGING, CouchState.HOMING)
DRIVEN = (*UNDER_WAY, CouchState.STOPPING)
AXES = ("lateral_mm", "longitudinal_mm", "vertical_mm", "rotation_deg", "pitch_deg", "roll_deg")
PER_AXIS = ("encoder", "second_channel", "axis", "lower_limit", "upper_limit", "brake", "drive")

# As many as a run has time for; a campaign loads a profile with more (tests/conftest.py).
PROFILE = settings.get_current_profile_name()
EXAMPLES = settings.get_profile("campaign").max_examples if PROFILE == "campaign" else 25

# Which faults there are: (target, kind, what its value means).
FAULTS: list[tuple[str, str, str]] = [
    row
    for row in _firmware.fault_table()
    if not row[0].endswith((".imager", ".pendant"))
    and row[0] not in ("source_arm", "panel_arm", "generator", "panel", "pendant_supply")
]
LINE_FAULTS = [row for row in FAULTS if row[0].startswith("line.")]
DEVICE_FAULTS = [row for row in FAULTS if not row[0].startswith("line.")]
# A fault that leaves the load where its firmware puts it: everything else may move it.
HARMLESS_TO_THE_LOAD = ("second_channel", "touch_guard", "estop", "enable_contact", "clock", "line")


def value_of(meaning: str, size: float) -> float | None:
    """A value for a fault; `size` from 0 to 1."""
    if not meaning:
        return None
    if meaning.startswith(("probability", "share")):
        return size * 0.4
    if "parts per million" in meaning:
        return (size - 0.5) * 1000
    if "ms" in meaning.split():
        return 1 + size * (249 if "250" in meaning else 299)
    if "octets" in meaning:
        return 1 + size * 40
    return 0.2 + size * 8  # mm, deg, mm/s, deg/s, times the noise


class LineAndFirmware(RuleBasedStateMachine):
    """Rules are what a host, a hand and a machine may do, and what a line may do to them."""

    @initialize(
        seed=st.integers(0, 1 << 20),
        breaks=st.booleans(),
        edge=st.sampled_from([0.0, 0.0, 0.97, -0.97, 0.998, -0.998]),
    )
    def begin(self, seed: int, breaks: bool, edge: float) -> None:
        self.outward, self.inward = Noise(seed), Noise(seed + 1)
        start = (edge * 250.0, -350.0, -200.0 + edge * 249.0, 0.0, edge * 3.0, 0.0)
        self.bench = FirmwareBench(seed, self.outward, self.inward, self.look, axes=start)
        self.line: tuple[list[float], list[float]] | None = None
        self.breaks = breaks  # whether this example may have device faults
        self.disturbed = False
        self.stuck_contacts: set[str] = set()
        self.enabled_until_us = self.leased_until_us = -1
        self.holding = False
        self.starts: list[int] = []
        self.executes = 0
        self.began = 0
        self.state_before = CouchState.IDLE
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
        fault=st.sampled_from(LINE_FAULTS),
        size=st.floats(0, 1),
        direction=st.sampled_from([None, "to_device", "to_host"]),
    )
    def line_fault(self, fault: tuple[str, str, str], size: float, direction: str | None) -> None:
        target, kind, meaning = fault
        value = value_of(meaning, size)
        try:
            self.bench.room.inject(target, kind, value=value, direction=direction)
        except _firmware.SimulatorError:
            self.bench.room.inject(target, kind, value=value)
        self.advance(5)

    @precondition(lambda self: self.breaks)
    @rule(fault=st.sampled_from(DEVICE_FAULTS), size=st.floats(0, 1), axis=st.sampled_from(AXES))
    def device_fault(self, fault: tuple[str, str, str], size: float, axis: str) -> None:
        target, kind, meaning = fault
        on = axis.rsplit("_", 1)[0] if target in PER_AXIS else None
        value = value_of(meaning, size)
        try:
            self.bench.room.inject(target, kind, axis=on, value=value)
        except _firmware.SimulatorError:
            self.bench.room.inject(target, kind, value=value)
        if not target.startswith(HARMLESS_TO_THE_LOAD):
            self.disturbed = True
        if target.startswith("enable_contact") and kind != "off":
            self.stuck_contacts.add(target)
        self.advance(5)

    @precondition(lambda self: self.breaks)
    @rule(axis=st.sampled_from(AXES), by=st.floats(-3, 3))
    def somebody_pushes(self, axis: str, by: float) -> None:
        try:
            self.bench.room.push(axis.rsplit("_", 1)[0], by)
        except _firmware.SimulatorError:
            return  # the brakes hold
        self.disturbed = True
        self.advance(5)

    @precondition(lambda self: self.breaks)
    @rule(released=st.booleans())
    def manual_brake_release(self, released: bool) -> None:
        self.disturbed = True
        self.bench.room.set_brake_release(released)
        self.advance(5)

    @rule()
    def repair(self) -> None:
        self.bench.room.clear("all")
        self.stuck_contacts.clear()
        self.outward.percent = self.inward.percent = 0
        self.advance(50)

    @rule(pressed=st.booleans())
    def emergency_stop(self, pressed: bool) -> None:
        self.bench.room.set_estop(pressed)
        self.advance(5)

    @rule(pressed=st.booleans())
    def touch_guard(self, pressed: bool) -> None:
        self.bench.room.set_touch_guard(pressed)
        self.advance(5)

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
        """A plan from where the couch stands by so much, as far as the limits let it."""
        self.keep_a_session()
        truth = self.bench.room.truth()
        if truth["couch_state"] not in (
            CouchState.IDLE,
            CouchState.PLAN_LOADED,
            CouchState.ARRIVED,
        ):
            return
        by = (lateral, 0.0, vertical, 0.0, pitch, 0.0)
        target = self.within_limits([a + b for a, b in zip(truth["primary"], by, strict=True)])
        try:
            plan = self.bench.plan(
                tuple(b - a for a, b in zip(truth["primary"], target, strict=True))
            )
        except PlanError:
            return  # it stands beyond a limit, where a hand or a fault has left it
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
        self.begin_motion(m.Execute(reply.plan_digest, reply.plan_nonce, bytes(16)))
        self.executes += 1
        self.advance(40)

    @rule(
        lateral=st.floats(-40, 40),
        vertical=st.floats(-40, 40),
        pitch=st.floats(-2, 2),
        ms=st.integers(0, 1200),
        noisy=st.sampled_from([0, 0, 5, 25]),
    )
    def be_under_way(
        self, lateral: float, vertical: float, pitch: float, ms: int, noisy: int
    ) -> None:
        """Everything as it should be, and the couch in motion: what comes next meets it there."""
        self.bench.room.set_brake_release(False)
        self.emergency_stop(False)
        self.touch_guard(False)
        self.let_go(panic=False)
        self.repair()
        self.keep_a_session()
        self.permit_for(400)
        self.bench.submit(m.FaultReset(0xFFFF), ("reset", self.count))
        self.count += 1
        self.advance(700)
        self.upload_and_execute(lateral, vertical, pitch, execute=True, enable=True)
        self.noise(noisy)
        self.hold_permission(ms)

    @rule(axis=st.integers(0, 5), speed=st.floats(-10, 10), times=st.integers(1, 12))
    def jog(self, axis: int, speed: float, times: int) -> None:
        """A key held, renewed every 100 ms; at the speed limit of its axis at most."""
        self.line = None
        per_unit, most = (1e3, 10.0) if axis < 3 else (1e6, 1.0)
        udeg_or_um = round(max(-most, min(speed, most)) * per_unit)
        for _ in range(times):
            self.keep_a_session()
            self.permit_for(200)
            self.begin_motion(m.Jog(axis, 0, 0, udeg_or_um))
            self.advance(100)

    @rule()
    def home(self) -> None:
        self.keep_a_session()
        self.permit_for(400)
        self.line = None
        self.begin_motion(m.Home())
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

    @rule(back=st.integers(1, 40))
    def an_old_chunk_again(self, back: int) -> None:
        """Something that the host once sent arrives a second time, however old: HELLO, EXECUTE, STOP."""
        sent = self.bench.sent
        if sent:
            self.bench.room.write("couch", sent[-min(back, len(sent))])
            self.advance(5)

    @rule()
    def reset(self) -> None:
        self.keep_a_session()
        self.bench.submit(m.FaultReset(0xFFFF), ("reset", self.count))
        self.count += 1
        self.advance(20)

    # ---- the machinery ---------------------------------------------------------------------

    @property
    def limits(self) -> CouchLimits:
        assert self.bench.limits is not None
        return self.bench.limits

    def within_limits(self, target: list[float]) -> list[float]:
        return [
            max(limit.minimum / limit.kind.per_unit, min(at, limit.maximum / limit.kind.per_unit))
            for at, limit in zip(target, self.limits.axes, strict=True)
        ]

    def begin_motion(self, command: m.Message) -> None:
        self.starts.append(self.bench.now_us)
        self.bench.submit(command, ("begin", self.count))
        self.count += 1

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
        if self.holding or len(self.stuck_contacts) == 2:
            self.enabled_until_us = self.bench.now_us

    def advance(self, ms: int) -> None:
        self.note_enable()
        self.bench.run(ms)
        self.note_enable()

    # ---- what must hold at every instant ---------------------------------------------------

    def look(self, truth: dict[str, Any]) -> None:
        now_us, state = truth["now_us"], CouchState(truth["couch_state"])
        self.note_enable()
        speeds = truth["speeds"]
        speed = max(abs(v) / MOVING_MM_S for v in speeds[:3])
        speed = max(speed, max(abs(v) / MOVING_DEG_S for v in speeds[3:]))
        if truth["epoch"] != self.epoch:
            self.epoch = truth["epoch"]
            self.stopped_us, self.speed_after_stop = now_us, None
        self.stays_inside(truth["axes"])
        self.runs_at_most_once(state, truth)
        if state in DRIVEN:
            self.may_be_driven(now_us, state)
        if speed > 1.0 and not self.disturbed:
            self.moved = True
            self.may_move(now_us)
            if state is not CouchState.LATCHED:  # the brakes stop each axis where it is
                self.is_on_the_line(truth["axes"])
        if state is CouchState.LATCHED:  # the drives are cut: the load sinks until the brakes hold
            self.speed_after_stop = None
        elif not self.disturbed:
            self.falls_after_stop(now_us, speed)
        self.state_before = state

    def stays_inside(self, axes: list[float]) -> None:
        """Inside the soft limits where nothing moves the load but its motors, and never past the
        mechanical ends."""
        if self.bench.limits is None:
            return
        for at, limit in zip(axes, self.limits.axes, strict=True):
            linear = limit.kind is AxisKind.LINEAR
            beyond = (BEYOND_MM if linear else BEYOND_DEG) if self.disturbed else 0.5
            low, high = limit.minimum / limit.kind.per_unit, limit.maximum / limit.kind.per_unit
            assert low - beyond - GIVE <= at <= high + beyond + GIVE, (at, low, high)

    def runs_at_most_once(self, state: CouchState, truth: dict[str, Any]) -> None:
        if state is CouchState.MOVING and self.state_before not in (*DRIVEN, CouchState.HELD):
            self.began += 1
        assert self.began <= self.executes, "more motions than EXECUTEs"
        given = self.bench.given_before + self.bench.session._window.next_seq - 1
        assert truth["counters"]["couch"]["executed"] <= given, "a command ran twice"

    def may_be_driven(self, now_us: int, state: CouchState) -> None:
        """The drives are on only after a command to move, under a lease, and with the enable."""
        assert self.starts, "it is driven although nobody has asked for motion"
        leased_us = self.leased_until_us + LEASE_TTL_US + LEASE_US + ON_THE_WAY_US
        assert now_us <= leased_us + STOP_US, "it is driven without a lease"
        assert now_us <= self.enabled_until_us + STOP_US, "it is driven without the enable"
        if self.stopped_us is not None and self.starts[-1] < self.stopped_us:
            assert state is CouchState.STOPPING, "it goes on after STOP"
            assert now_us <= self.stopped_us + STOP_US, "it is driven long after STOP"

    def may_move(self, now_us: int) -> None:
        assert self.starts, "it moves although nobody has asked for motion"
        leased_us = self.leased_until_us + LEASE_TTL_US + LEASE_US + ON_THE_WAY_US
        assert now_us <= leased_us + STOP_US, "it moves without a lease"
        assert now_us <= self.enabled_until_us + STOP_US, "it moves without the enable"
        if self.stopped_us is not None and self.starts[-1] < self.stopped_us:
            assert now_us <= self.stopped_us + STOP_US, "it moves after STOP"

    def is_on_the_line(self, axes: list[float]) -> None:
        if self.line is None:
            return  # jogging or homing
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
        """Past the jerk ramp out of an acceleration (a/j = 0.2 s) the speed only falls. The profile
        itself is compared in test_stop_profile.py."""
        if self.stopped_us is None or (self.starts and self.starts[-1] >= self.stopped_us):
            return
        if now_us < self.stopped_us + 300_000:
            return
        if self.speed_after_stop is not None:
            assert speed <= self.speed_after_stop + 1.0
        self.speed_after_stop = speed

    def teardown(self) -> None:
        """Whatever happened, once it is repaired and everybody lets go, the couch rests and stays."""
        if not hasattr(self, "bench"):
            return
        self.bench.room.set_brake_release(False)
        self.repair()
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
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_the_machine_above_can_move_the_couch_at_all() -> None:
    """So that its invariants are not kept by a couch that never moves."""
    machine = LineAndFirmware()
    machine.begin(seed=5, breaks=False, edge=0.0)
    start = machine.bench.room.truth()["axes"]
    machine.upload_and_execute(20.0, -10.0, 1.0, execute=True, enable=True)
    machine.hold_permission(6_000)
    truth = machine.bench.room.truth()
    assert machine.moved
    assert machine.began == 1
    assert truth["couch_state"] == CouchState.ARRIVED
    assert abs(truth["axes"][0] - start[0] - 20.0) < 0.2
    assert abs(truth["axes"][4] - start[4] - 1.0) < 0.05
    machine.jog(axis=0, speed=10.0, times=12)
    machine.teardown()


def test_every_fault_of_the_table_is_taken_by_the_machine_above() -> None:
    """So that a fault is not drawn and then refused without anybody noticing."""
    for target, kind, meaning in FAULTS:
        machine = LineAndFirmware()
        machine.begin(seed=6, breaks=True, edge=0.0)
        row = (target, kind, meaning)
        if target.startswith("line."):
            machine.line_fault(row, 0.5, None)
        else:
            machine.device_fault(row, 0.5, "lateral_mm")
        machine.teardown()
