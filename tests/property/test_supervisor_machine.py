"""A session that nobody planned: people mistype, hesitate and disagree; links, devices and answers fail at any instant.

What must hold at every step is in `_judge`; it looks at effects and at the modelled couch only, and keeps its own
books, so that it does not believe the supervisor's memory.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from room_rig import MODEL, PLANNED, Room

from igrt_hw.geometry import Correction
from igrt_hw.models import commands
from igrt_hw.models.plan import PlannedMarker
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.interlocks import Act, broken
from igrt_hw.safety.motion_plan import MotionPlan
from igrt_hw.safety.status_view import status
from igrt_hw.safety.transitions import IN_MOTION

PEOPLE = st.sampled_from(
    [("anna", "therapist"), ("bert", "physicist"), ("carla", "physician"), ("sven", "service")]
)
DEVICES = st.sampled_from(["couch", "imager", "pendant"])
SHIFTS = st.sampled_from(
    [
        Correction(3.0, -4.0, 2.0, 1.0, -0.8, 0.6),
        Correction(9.0, -8.0, 6.0, 0.5, 0.0, 0.0),
        Correction(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        Correction(0.0, 0.0, 0.0, 0.0, 3.3, 0.0),
        Correction(25.0, 20.0, 0.0, 0.0, 0.0, 0.0),
    ]
)


MARKERS = tuple(
    PlannedMarker(name=f"seed {n}", position_dicom_mm=(5.0 * n, 3.0, -4.0 * n), sigma_mm=0.3)
    for n in (1, 2, 3)
)


# safety: SR-01 SR-02 SR-04 SR-05 SR-06 SR-19 SR-60
class TreatmentSession(RuleBasedStateMachine):
    """Supervisor and modelled room under every event in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(markers=MARKERS)
        self.room.on_effects = self._judge
        self.target_off_mm: float | None = None
        self._look = self.room.target_seen
        self.room.target_seen = self._booked_view  # type: ignore[method-assign]
        self.approved: dict[str, set[str]] = {}
        self.needed: dict[str, int] = {}
        self.uploads: dict[int, str] = {}
        self.device_digest: dict[int, str] = {}
        self.executed: list[str] = []
        self._upload = self.room.couch.upload
        self.room.couch.upload = self._booked_upload  # type: ignore[method-assign]

    def _booked_upload(self, plan: MotionPlan, nonce: int) -> str:
        self.device_digest[nonce] = self._upload(plan, nonce)
        return self.device_digest[nonce]

    def _booked_view(self, effect: fx.ViewTarget) -> ev.Event:
        answer = self._look(effect)
        if effect.request in self.room.supervisor.memory.pending:
            seen = isinstance(answer, ev.TargetSeen) and bool(answer.seen)
            self.target_off_mm = answer.distance_mm if seen else None  # type: ignore[union-attr]
        return answer

    # ---- the books, kept from effects only

    def _judge(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            match effect:
                case fx.Record("proposal", _, _, data):
                    content = data["content"]
                    assert isinstance(content, dict)
                    self.needed[str(data["digest"])] = int(content["approvals_needed"])
                case fx.Record("approval", actor, _, data):
                    self.approved.setdefault(str(data["digest"]), set()).add(actor)
                case fx.Record("target", _, text) if "watched" in text:
                    self.target_off_mm = None
                case fx.UploadPlan(_, plan):
                    self._approved_enough(plan.proposal)
                    self.uploads[effect.request] = plan.digest()
                case fx.Execute():
                    self._execute_is_right(effect)
                case fx.RefreshPermission("couch", until):
                    self._permission_is_right(until, effects)
                case _:
                    pass
        # A STOP leaves nothing behind it in the same breath that could move.
        kinds = [type(e) for e in effects]
        if fx.StopAll in kinds:
            after = kinds[kinds.index(fx.StopAll) :]
            assert fx.Execute not in after
            assert fx.UploadPlan not in after
            assert fx.RefreshPermission not in after

    def _approved_enough(self, digest: str) -> None:
        assert len(self.approved.get(digest, set())) >= self.needed[digest]

    def _execute_is_right(self, effect: fx.Execute) -> None:
        plan = self.room.supervisor.memory.motion
        assert plan is not None
        proposal = plan.plan.proposal
        self._approved_enough(proposal)
        assert proposal not in self.executed, "one approval moves at most once"
        self.executed.append(proposal)
        assert effect.plan_digest in self.uploads.values()
        assert self.device_digest.get(effect.nonce) == effect.plan_digest

    def _permission_is_right(self, until_us: int, effects: list[fx.Effect]) -> None:
        room = self.room
        assert until_us - room.now_us <= room.config.permission_us
        m = room.supervisor.memory
        arming = any(isinstance(e, fx.UploadPlan | fx.Execute | fx.SetBeamGate) for e in effects)
        allowed = m.state in (*IN_MOTION, "BEAM_READY") or m.pending or arming
        assert allowed
        heard = m.terminal_age_us(room.now_us)
        assert heard is not None
        assert heard <= room.config.terminal_us
        act = (
            Act.MOTION
            if m.state in IN_MOTION
            else Act.BEAM
            if m.state == "BEAM_READY"
            else Act.START
        )
        assert not broken(m.situation(room.now_us), act) or m.pending

    # ---- people

    @rule(steps=st.integers(1, 14))
    def go_on_as_intended(self, steps: int) -> None:
        """What a careful team does next; without it the dangerous states are hardly reached."""
        room = self.room
        for _ in range(steps):
            room.hold_answers = False
            room.serve()
            match room.state:
                case "IDLE":
                    room.couch.axes = PLANNED
                    self.all_are_heard_again()
                    room.open()
                case "PATIENT_BOUND":
                    room.ask(commands.ConfirmSetup())
                case "SETUP" | "ARRIVED" if room.supervisor.memory.stamp is None:
                    room.ask(commands.AcquireImages())
                case "IMAGED" | "ARRIVED" | "REJECTED" | "EXPIRED" | "SUPERSEDED":
                    if not room.ask(commands.RegisterImages()).accepted:
                        room.ask(commands.AcquireImages())
                case "REGISTERED":
                    if not room.ask(commands.Propose()).accepted:
                        self.other_anatomy(Correction(1.0, 2.0, 3.0, 0.1, 0.2, 0.3), "reliable")
                        room.ask(commands.RegisterImages())
                case "CHECKED":
                    if not room.approve("anna").accepted:
                        room.approve("bert", "physicist")
                case "APPROVED":
                    room.ask(commands.Arm(digest=room.digest()))
                case "ARMED" | "MOVING" | "HELD":
                    room.couch.enable = True
                    room.run(25)
                case "VERIFIED":
                    room.ask(commands.ReleaseBeam())
                case "BEAM_READY":
                    room.ask(commands.ClosePatient())
                case "FAULT":
                    room.couch.faults, room.couch.corrupt_digest = (), False
                    self.all_are_heard_again()
                    room.ask(commands.ResetFault())
            room.run()

    @rule()
    def open_patient(self) -> None:
        self.room.open()

    @rule(
        command=st.sampled_from(
            [
                commands.ConfirmSetup(),
                commands.AcquireImages(),
                commands.RegisterImages(),
                commands.Propose(),
                commands.ReleaseBeam(),
                commands.MonitorTarget(on=True),
                commands.MonitorTarget(on=True),
                commands.MonitorTarget(on=False),
                commands.ResetFault(),
            ]
        ),
        who=PEOPLE,
    )
    def ask(self, command: commands.Command, who: tuple[str, str]) -> None:
        self.room.ask(command, *who)

    @rule(
        who=PEOPLE,
        wrong=st.sampled_from([{}, {}, {}, {"code": "XXXX"}, {"fact": "+1.0"}, {"digest": "00"}]),
    )
    def approve(self, who: tuple[str, str], wrong: dict[str, str]) -> None:
        if self.room.supervisor.memory.proposal is not None:
            self.room.approve(*who, **wrong)

    @rule(who=PEOPLE)
    def arm(self, who: tuple[str, str]) -> None:
        if self.room.supervisor.memory.proposal is not None:
            self.room.ask(commands.Arm(digest=self.room.digest()), *who)

    @rule(who=PEOPLE)
    def arm_an_old_digest(self, who: tuple[str, str]) -> None:
        for digest in list(self.executed):
            assert not self.room.ask(commands.Arm(digest=digest), *who).accepted

    @rule(who=PEOPLE)
    def stop(self, who: tuple[str, str]) -> None:
        assert self.room.ask(commands.Stop(), *who).accepted
        assert self.room.state not in (*IN_MOTION, "PROPOSED", "CHECKED", "APPROVED", "BEAM_READY")
        assert self.room.couch.state not in ("armed", "moving", "held", "plan loaded")
        assert not self.room.couch.gate

    @precondition(lambda self: self.room.state not in ("IDLE", "SETUP", "IMAGED"))
    @rule()
    def close(self) -> None:
        self.room.ask(commands.ClosePatient())

    @rule(shift=SHIFTS, verdict=st.sampled_from(["reliable", "reliable", "doubtful", "refused"]))
    def other_anatomy(self, shift: Correction, verdict: str) -> None:
        self.room.correction, self.room.verdict = shift, verdict

    @rule(held=st.booleans())
    def enable(self, held: bool) -> None:
        self.room.couch.enable = held

    @rule(at=st.sampled_from([(0.1, 0.0, 0.2), (0.0, 3.5, 0.0), (0.0, 0.0, 9.0), None]))
    def target_moves(self, at: tuple[float, float, float] | None) -> None:
        self.room.target_mm = at

    @rule(why=st.sampled_from(["", "", "the generator did not fire"]))
    def views_fail(self, why: str) -> None:
        self.room.view_fails = why

    @precondition(lambda self: self.room.state in ("VERIFIED", "BEAM_READY"))
    @rule(seconds=st.sampled_from([3, 10]))
    def the_target_is_watched_for_a_while(self, seconds: int) -> None:
        for _ in range(seconds * 10):
            self.room.run(5)
            if not self.room.hold_answers:
                self.room.serve()

    # ---- time and devices

    @rule(steps=st.sampled_from([1, 3, 10, 60]))
    def time_passes(self, steps: int) -> None:
        self.room.run(steps)

    @rule(gap_us=st.sampled_from([100_000, 260_000, 600_000, 5_000_000, 400_000_000]))
    def time_jumps(self, gap_us: int) -> None:
        self.room.now_us += gap_us
        self.room.tick()

    @rule(name=st.sampled_from(["couch", "imager", "pendant", "terminal"]))
    def falls_silent(self, name: str) -> None:
        self.room.silent.add(name)

    @rule()
    def all_are_heard_again(self) -> None:
        for name in self.room.silent & {"couch", "imager", "pendant"}:
            self.room.feed(
                ev.LinkUp(name, self.room.random.randrange(1, 99), MODEL.limits_hash[:16])
            )  # type: ignore[arg-type]
        self.room.silent.clear()
        self.room.couch.extra = {}
        self.room.arms, self.room.pendant_faults = "parked", ()
        self.room.run(2)

    @rule(name=DEVICES)
    def link_lost(self, name: str) -> None:
        self.room.silent.add(name)
        self.room.feed(ev.LinkLost(name, "unplugged"))  # type: ignore[arg-type]

    @rule()
    def terminal_closed(self) -> None:
        self.room.feed(ev.TerminalLost("T1"))

    @rule(fault=st.sampled_from(["touch guard", "following error", "lease lost"]))
    def couch_fault(self, fault: str) -> None:
        self.room.couch.faults = (fault,)
        self.room.couch.void("fault")
        self.room.run()

    @rule(mm=st.sampled_from([0.2, 0.6, 6.0]))
    def couch_is_pushed(self, mm: float) -> None:
        axes = self.room.couch.axes
        self.room.couch.axes = (axes[0] + mm, *axes[1:])

    @rule(change=st.sampled_from([{"moved_by_hand": True}, {"estop": True}, {"plan_nonce": 5}]))
    def couch_says(self, change: dict[str, object]) -> None:
        self.room.couch.extra = change
        self.room.run()

    @rule(arms=st.sampled_from(["parked", "extended", "moving"]))
    def arms_move(self, arms: str) -> None:
        self.room.arms = arms

    # ---- answers that come late, twice, wrong, or not at all

    @rule(hold=st.booleans())
    def answers_are_slow(self, hold: bool) -> None:
        self.room.hold_answers = hold
        if not hold:
            self.room.serve()

    @rule(corrupt=st.booleans())
    def couch_decodes(self, corrupt: bool) -> None:
        self.room.couch.corrupt_digest = corrupt

    @precondition(lambda self: self.room.waiting)
    @rule(how=st.sampled_from(["once", "twice", "refused", "uncertain", "elsewhere", "dropped"]))
    def one_answer(self, how: str) -> None:
        effect = self.room.waiting.pop(0)
        request = effect.request  # type: ignore[union-attr]
        if how in ("refused", "uncertain"):
            self.room.feed(ev.RequestFailed(request, "no", uncertain=how == "uncertain"))
            return
        if how == "dropped":
            return
        answer = self.room.reply(effect)
        if how == "elsewhere" and isinstance(answer, ev.PlanUploaded):
            answer = replace(answer, stands_at=(answer.stands_at[0] + 3.0, *answer.stands_at[1:]))
        for _ in range(2 if how == "twice" else 1):
            self.room.feed(answer)

    # ---- what always holds

    @invariant()
    def no_beam_over_a_target_that_was_just_seen_far_off(self) -> None:
        limit_mm = self.room.supervisor.memory.rule.monitoring.limit_mm
        if self.target_off_mm is not None and self.target_off_mm > 2.0 * limit_mm:
            assert not self.room.couch.gate

    @invariant()
    def couch_was_told_to_execute_no_more_often_than_recorded(self) -> None:
        assert self.room.couch.executed <= len(self.executed)
        assert len(set(self.executed)) == len(self.executed)

    @invariant()
    def status_never_shows_stale_as_fresh(self) -> None:
        room = self.room
        seen = status(room.supervisor, room.now_us)
        for view, device in (
            (seen.couch, room.supervisor.memory.couch),
            (seen.imager, room.supervisor.memory.imager),
            (seen.pendant, room.supervisor.memory.pendant),
        ):
            if view is None:
                continue
            heard = device.heard_us
            fresh = device.up and heard is not None and room.now_us - heard <= 250_000
            assert view.stale is not fresh

    @invariant()
    def armed_or_moving_only_after_an_execution(self) -> None:
        if self.room.state in IN_MOTION:
            assert self.executed
            assert self.room.supervisor.memory.proposal is not None
            assert self.room.digest() == self.executed[-1]

    @invariant()
    def host_faults_are_there_exactly_in_fault(self) -> None:
        if self.room.supervisor.memory.host_faults:
            assert self.room.state == "FAULT"

    @invariant()
    def verified_only_with_a_passed_verification(self) -> None:
        if self.room.state in ("VERIFIED", "BEAM_READY"):
            found = self.room.supervisor.memory.verification
            assert found is not None
            assert found.passed


class Deepened(TreatmentSession):
    """The same, begun where it is dangerous: approved and one command from motion."""

    def __init__(self) -> None:
        super().__init__()
        self.room.to("APPROVED")


class Treated(TreatmentSession):
    """The same, begun with the beam on and the target watched."""

    def __init__(self) -> None:
        super().__init__()
        self.room.to("VERIFIED")
        assert self.room.ask(commands.MonitorTarget(on=True)).accepted
        self.room.run()
        self.room.serve()
        assert self.room.ask(commands.ReleaseBeam()).accepted


SETTINGS = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
TestTreatmentSession = TreatmentSession.TestCase
TestTreatmentSession.settings = SETTINGS
TestFromApproved = Deepened.TestCase
TestFromApproved.settings = SETTINGS
TestTreated = Treated.TestCase
TestTreated.settings = SETTINGS
