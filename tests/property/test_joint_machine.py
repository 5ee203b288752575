"""Supervisor, drivers and firmware together in virtual time, under people and faults in any order.

The same rig and the same judge as `igrt campaign`; here Hypothesis chooses, so that what it finds comes back as the
shortest story. In CI it is small. For hours:

    HYPOTHESIS_PROFILE=campaign pytest --timeout=0 tests/property/test_joint_machine.py
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from igrt_hw.campaign.faults import Fault, Misfortune, draw_fault
from igrt_hw.campaign.judge import Judge
from igrt_hw.campaign.people import SERVICE, SLIPS, THERAPIST, Team
from igrt_hw.campaign.plans import plan_of
from igrt_hw.campaign.rig import Rig
from igrt_hw.campaign.room import room_factory
from igrt_hw.models import commands
from igrt_hw.models.status import LoopState

IN_MOTION = (LoopState.ARMED, LoopState.MOVING, LoopState.HELD)
ONCE_IN_A_SESSION = ("enable_contact_a", "enable_contact_b")


# safety: SR-01 SR-02 SR-03 SR-04 SR-05 SR-06 SR-25
class JointSession(RuleBasedStateMachine):
    """One room, one supervisor, the team and whatever goes wrong."""

    rig: Rig

    @initialize(
        seed=st.integers(0, 2**20), setup_mm=st.sampled_from([2.0, 8.0]), hasty=st.booleans()
    )
    def begin(self, seed: int, setup_mm: float, hasty: bool) -> None:
        room = room_factory()(seed=seed, setup_error_mm=setup_mm, setup_error_deg=setup_mm / 8.0)
        self.rig = Rig(seed, room, plan_of(random.Random(seed)), hasty=hasty)
        self.misfortune = Misfortune(self.rig, ())
        self.judge = Judge(self.rig, self.misfortune)
        self.team = Team(self.rig, seed)
        self.broken_down = False
        self.rig.run_until(self.rig.now_us + 300_000)

    def _pass(self, by_us: int) -> None:
        rig = self.rig
        ends_us = rig.now_us + by_us
        while rig.now_us < ends_us:
            fault_us = self.misfortune.next_us
            rig.run_until(ends_us if fault_us is None else min(ends_us, max(fault_us, rig.now_us)))
            self.misfortune.pass_time()

    # ---- people

    @rule(acts=st.integers(1, 14), each_ms=st.sampled_from([15, 60, 150]))
    def people_go_on_as_intended(self, acts: int, each_ms: int) -> None:
        """Without it the dangerous states are hardly reached."""
        for _ in range(acts):
            self.team.go_on()
            self._pass(each_ms * 1000)

    @rule(kind=st.sampled_from(SLIPS))
    def somebody_errs(self, kind: str) -> None:
        self.team.slip(kind)

    @rule()
    def stop(self) -> None:
        answer = self.rig.ask(commands.Stop(), THERAPIST)
        if answer is not None:
            assert answer.accepted, "a STOP is never refused"
            assert self.rig.state not in (*IN_MOTION, LoopState.APPROVED, LoopState.BEAM_READY)

    @rule(position=st.sampled_from(["released", "enabled", "squeezed"]))
    def the_hand_moves(self, position: str) -> None:
        self.rig.hold(position)

    @rule()
    def an_old_digest_is_armed_again(self) -> None:
        for digest in self.judge.executed:
            answer = self.rig.ask(commands.Arm(digest=digest), THERAPIST)
            assert answer is None or not answer.accepted, "one approval moves at most once"

    @rule(mode=st.sampled_from(["service", "clinical rehearsal"]))
    def modes_are_changed(self, mode: str) -> None:
        self.rig.ask(commands.EnterMode(mode=mode), SERVICE)  # type: ignore[arg-type]

    # ---- time, and what goes wrong

    @rule(ms=st.sampled_from([1, 20, 120, 400, 1500]))
    def time_passes(self, ms: int) -> None:
        self._pass(ms * 1000)

    @rule(number=st.integers(0, 2**16))
    def something_goes_wrong(self, number: int) -> None:
        fault = draw_fault(random.Random(number))
        once = fault.moves_by_itself or fault.target in ONCE_IN_A_SESSION
        if once and self.broken_down:
            return  # one fault at a time of what is there twice
        self.broken_down |= once
        note(f"{fault.name} {dict(fault.fields)} for {fault.for_us} us")
        self.misfortune.happen(fault)

    @rule(for_ms=st.sampled_from([1, 60, 400, 900]))
    def the_supervisor_is_killed(self, for_ms: int) -> None:
        self.misfortune.happen(Fault(0, for_ms * 1000, "crash", "host"))

    @precondition(lambda self: self.rig.supervisor is not None)
    @rule()
    def everything_is_repaired(self) -> None:
        self.misfortune.end_all()
        self._pass(250_000)

    # ---- what always holds

    @invariant()
    def no_promise_is_broken(self) -> None:
        assert self.judge.violations == []

    def teardown(self) -> None:
        if not hasattr(self, "judge"):
            return
        self.misfortune.end_all()
        self.rig.hold("released")
        self.rig.run_until(self.rig.now_us + 900_000)
        self.judge.close()
        assert self.judge.violations == []


EXAMPLES = {"ci": 40, "campaign": 5_000}.get(os.environ.get("HYPOTHESIS_PROFILE", "dev"), 20)
TestJointSession = JointSession.TestCase
TestJointSession.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
