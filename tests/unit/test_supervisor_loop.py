"""The loop from patient to beam, and every way out of it that people and devices can take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from room_rig import MODEL, PLANNED, STEP_US, Room, treatment_plan

from igrt_hw.geometry import Correction
from igrt_hw.models import commands
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.rules import SITE_RULES, SupervisorConfig, demonstration_rules
from igrt_hw.safety.status_view import status
from igrt_hw.safety.transitions import NEEDED_NEXT, TABLE, Guard, Trigger, rows

S = LoopState


# safety: SR-01
def test_whole_loop_reaches_beam_ready_with_one_execution() -> None:
    room = Room().to("BEAM_READY")
    executed = room.of(fx.Execute)
    uploaded = room.of(fx.UploadPlan)
    assert len(executed) == len(uploaded) == 1
    assert isinstance(executed[0], fx.Execute)
    assert isinstance(uploaded[0], fx.UploadPlan)
    assert executed[0].plan_digest == uploaded[0].plan.digest()
    assert len(executed[0].token) == 16
    assert room.couch.gate


def test_couch_stands_where_the_composed_correction_says() -> None:
    """Golden case E of the clinical facts: composed, not added to axes."""
    room = Room().to("ARRIVED")
    wanted = (-18.3258 + 0.0, -355.6901, -112.8855 - 2.5, 1.0, -0.8, 0.6)
    # Case E starts 2.5 mm higher; a vertical offset of the start carries over but for the small rotation.
    assert room.couch.axes == pytest.approx(wanted, abs=0.06)


@pytest.mark.parametrize("state", [s for s in S if s not in (S.PROPOSED, S.HELD)])
# safety: SR-05
def test_stop_wins_in_every_state(state: S) -> None:
    room = in_state(state)
    room.clear()
    epoch = room.couch.epoch
    answer = room.ask(commands.Stop())
    assert answer.accepted
    kinds = [type(e) for e in room.effects]
    assert kinds[0] is fx.StopAll
    assert room.couch.epoch == epoch + 1
    assert room.state not in ("ARMED", "MOVING", "HELD", "BEAM_READY", "APPROVED", "CHECKED")
    room.couch.enable = True
    room.run(30)
    assert not [e for e in room.of(fx.RefreshPermission) if e.device == "couch"]  # type: ignore[union-attr]
    assert not room.couch.gate


def in_state(state: S) -> Room:
    """A room in this state, by the shortest way."""
    room = Room()
    match state:
        case S.IDLE:
            return room
        case S.HELD:
            room.to("MOVING")
            room.couch.enable = False
            room.run(2)
        case S.REJECTED:
            room.to("CHECKED")
            room.ask(commands.Reject(digest=room.digest(), reason="wrong match", text="no"))
        case S.EXPIRED:
            room.to("CHECKED")
            room.now_us += 301_000_000
            room.run()
        case S.SUPERSEDED:
            room.to("CHECKED")
            room.ask(commands.Stop())
        case S.FAULT:
            room.to("CHECKED")
            room.couch.faults = ("touch guard",)
            room.run()
        case _:
            room.to(state.value)
    assert room.state == state
    return room


# safety: SR-05
def test_stop_while_held_and_while_the_path_is_checked_voids() -> None:
    room = in_state(S.HELD)
    assert room.ask(commands.Stop()).accepted
    assert room.state == "SUPERSEDED"
    room = Room().to("REGISTERED")
    room.hold_answers = True
    room.ask(commands.Propose())
    assert room.state == "PROPOSED"
    room.ask(commands.Stop())
    room.serve()
    assert room.state == "SUPERSEDED"
    assert room.supervisor.memory.proposal is None


# safety: SR-03
def test_release_holds_and_holding_again_resumes_the_same_approval() -> None:
    room = Room().to("MOVING")
    room.couch.enable = False
    room.run(3)
    assert room.state == "HELD"
    stood = room.couch.axes
    room.run(20)
    assert room.couch.axes == stood
    room.couch.enable = True
    room.run(60)
    assert room.state == "ARRIVED"
    assert len(room.of(fx.Execute)) == 1


# safety: SR-02
def test_another_device_digest_latches_a_fault_and_nothing_is_executed() -> None:
    room = Room().to("APPROVED")
    room.couch.corrupt_digest = True
    room.ask(commands.Arm(digest=room.digest()))
    assert room.state == "FAULT"
    assert not room.of(fx.Execute)
    assert room.of(fx.StopAll)
    assert not room.ask(commands.ClosePatient()).accepted


# safety: SR-02
@pytest.mark.parametrize("by", ["the isocentre", "an axis"])
def test_couch_that_stands_elsewhere_at_upload_is_not_executed(by: str) -> None:
    room = Room().to("APPROVED")
    room.hold_answers = True
    room.ask(commands.Arm(digest=room.digest()))
    upload = room.waiting.pop()
    answer = room.reply(upload)
    assert isinstance(answer, ev.PlanUploaded)
    pitched = MODEL.solve(answer.stands_at, Correction(0.0, 0.0, 0.0, 0.0, 0.15, 0.0))
    stands_at = pitched if by == "an axis" else (PLANNED[0] + 0.6, *PLANNED[1:])
    room.feed(replace(answer, stands_at=stands_at))
    assert not room.of(fx.Execute)
    assert room.of(fx.VoidPlan)
    assert "stands" in room.reason


# safety: SR-06
def test_one_approval_moves_at_most_once() -> None:
    room = Room().to("ARMED")
    digest = room.digest()
    room.ask(commands.Stop())
    assert room.state == "SUPERSEDED"
    assert not room.ask(commands.Arm(digest=digest)).accepted
    room.ask(commands.Propose())
    assert room.state == "CHECKED"
    assert room.digest() != digest
    assert not room.ask(commands.Arm(digest=room.digest())).accepted
    assert len(room.of(fx.Execute)) == 1


# safety: SR-06
def test_spent_digest_is_refused_by_the_guard_itself() -> None:
    """The state leaves APPROVED with the execution; the books must hold even if it did not."""
    room = Room().to("APPROVED")
    memory = room.supervisor.memory
    assert memory.executed == frozenset()
    memory.executed = frozenset({room.digest()})
    answer = room.ask(commands.Arm(digest=room.digest()))
    assert not answer.accepted
    assert "at most once" in answer.message
    room = Room().to("ARMED")
    assert room.supervisor.memory.executed == {room.digest()}


# safety: SR-09
@pytest.mark.parametrize("device", ["couch", "imager"])
def test_telemetry_without_a_session_permits_nothing(device: str) -> None:
    """Status frames are readable without a session; hearing them is not being connected."""
    room = Room().to("SETUP")
    room.feed(ev.LinkLost(device, "session ended"))  # type: ignore[arg-type]
    room.run(3)
    answer = room.ask(commands.AcquireImages())
    assert not answer.accepted
    assert "not heard" in answer.message


# safety: SR-06
def test_execute_without_an_answer_stops_and_spends_the_approval() -> None:
    room = Room().to("APPROVED")
    room.hold_answers = True
    room.ask(commands.Arm(digest=room.digest()))
    room.feed(room.reply(room.waiting.pop()))
    assert len(room.of(fx.Execute)) == 1
    room.clear()
    for _ in range(110):
        room.run()
    assert room.state == "SUPERSEDED"
    assert room.of(fx.StopAll)
    assert not room.ask(commands.Arm(digest="x")).accepted


# safety: SR-07
@pytest.mark.parametrize(
    "state", ["IMAGED", "REGISTERED", "CHECKED", "APPROVED", "ARMED", "VERIFIED", "BEAM_READY"]
)
@pytest.mark.parametrize("offset", [(0.6, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0.25, 0)])
def test_couch_that_moved_since_imaging_voids(state: str, offset: tuple[float, ...]) -> None:
    room = Room().to(state)
    room.couch.axes = tuple(a + b for a, b in zip(room.couch.axes, offset, strict=True))
    room.run()
    assert room.state in ("SETUP", "SUPERSEDED")
    assert "moved" in room.reason
    assert not room.couch.gate
    assert not room.ask(commands.Propose()).accepted
    assert not room.ask(commands.RegisterImages()).accepted
    assert room.ask(commands.AcquireImages()).accepted


# safety: SR-07
@pytest.mark.parametrize("state", ["IMAGED", "REGISTERED", "CHECKED", "APPROVED", "VERIFIED"])
def test_axes_that_moved_void_though_the_isocentre_stayed(state: str) -> None:
    """Pitch against height: half a millimetre at the isocentre is no measure of what the axes did."""
    room = Room().to(state)
    stood = room.couch.axes
    room.couch.axes = MODEL.solve(stood, Correction(0.0, 0.0, 0.0, 0.0, 0.15, 0.0))
    pose = MODEL.difference(stood, room.couch.axes)
    assert pose.mm < 0.1
    assert pose.deg < 0.2
    assert max(abs(a - b) for a, b in zip(stood[:3], room.couch.axes[:3], strict=True)) > 0.5
    room.run()
    assert room.state in ("SETUP", "SUPERSEDED")
    for refused in (commands.Propose(), commands.RegisterImages()):
        assert not room.ask(refused).accepted
    assert room.ask(commands.AcquireImages()).accepted


# safety: SR-07
@pytest.mark.parametrize("way_out", ["stop while moving", "stop while held", "terminal lost"])
def test_a_way_that_was_begun_voids_the_images_however_short_it_was(way_out: str) -> None:
    """Seed 1606 of the campaign: registered anew after a STOP on images of before the motion."""
    room = Room()
    room.correction = Correction(0.1, 0.1, 0.1, 0.0, 0.05, 0.0)  # below every threshold
    room.to("MOVING")
    if way_out == "stop while held":
        room.couch.enable = False
        room.run(2)
        assert room.state == "HELD"
    if way_out == "terminal lost":
        room.feed(ev.TerminalLost("T1"))
    else:
        assert room.ask(commands.Stop()).accepted
    assert room.state == "SUPERSEDED"
    executed = len(room.of(fx.Execute))
    for _ in range(3):
        for refused in (commands.RegisterImages(), commands.Propose()):
            answer = room.ask(refused)
            assert not answer.accepted
            assert "moved" in answer.message
        room.run()
    assert len(room.of(fx.Execute)) == executed
    room.feed(ev.TerminalAlive("T1"))
    assert room.ask(commands.AcquireImages()).accepted
    assert room.state == "IMAGED"


# safety: SR-07
@pytest.mark.parametrize("driven", ["moving", "stopping", "jogging", "homing"])
@pytest.mark.parametrize("state", ["IMAGED", "CHECKED", "ARRIVED", "VERIFIED"])
def test_drives_that_run_while_nothing_is_executed_void_the_images(state: str, driven: str) -> None:
    room = Room().to(state)
    room.feed(replace(room.couch.heard(), state=driven))  # type: ignore[arg-type]
    assert room.state in ("SETUP", "SUPERSEDED")
    assert driven in room.reason


# safety: SR-07
def test_noise_below_the_threshold_does_not_void() -> None:
    room = Room().to("CHECKED")
    room.couch.axes = (room.couch.axes[0] + 0.3, *room.couch.axes[1:])
    room.run(5)
    assert room.state == "CHECKED"


# safety: SR-07
def test_brakes_released_by_hand_void_the_images() -> None:
    room = Room().to("REGISTERED")
    room.couch.extra = {"moved_by_hand": True}
    room.run()
    assert room.state == "SETUP"
    assert "by hand" in room.reason


# safety: SR-08
def test_proposal_expires_after_its_life() -> None:
    room = Room().to("APPROVED")
    room.now_us += 300_000_000
    room.run()
    assert room.state == "EXPIRED"
    assert not room.ask(commands.Arm(digest=room.digest())).accepted


# safety: SR-08
@pytest.mark.parametrize(
    ("state", "then"),
    [
        ("IMAGED", "SETUP"),
        ("CHECKED", "EXPIRED"),
        ("VERIFIED", "ARRIVED"),
        ("BEAM_READY", "ARRIVED"),
    ],
)
def test_old_images_void(state: str, then: str) -> None:
    room = Room().to(state)
    room.now_us += 15 * 60_000_000 + 1
    room.run()
    assert room.state == then
    assert not room.couch.gate
    assert not room.ask(commands.ReleaseBeam()).accepted


# safety: SR-08
def test_proposal_of_old_images_lives_no_longer_than_they_do() -> None:
    room = Room().to("REGISTERED")
    for _ in range(14):
        room.now_us += 60_000_000
        room.run()
    room.ask(commands.Propose())
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    content = proposal.content
    assert content.expires_us == content.images.acquired_us + 15 * 60_000_000


# safety: SR-09
@pytest.mark.parametrize("device", ["couch", "imager", "pendant"])
def test_silent_link_pauses_then_stops_motion(device: str) -> None:
    room = Room().to("MOVING")
    room.silent.add(device)
    room.now_us += 260_000
    room.clear()
    room.tick()
    assert not room.of(fx.RefreshPermission)
    assert room.state == "MOVING"
    room.now_us += 250_000
    room.tick()
    assert room.state == "SUPERSEDED"
    assert isinstance(next(e for e in room.effects if not isinstance(e, fx.Record)), fx.StopAll)


# safety: SR-04
def test_lost_terminal_stops_motion() -> None:
    room = Room().to("MOVING")
    room.silent.add("terminal")
    room.run(24)
    assert room.state == "MOVING"
    room.run(2)
    assert room.state == "SUPERSEDED"
    assert room.of(fx.StopAll)
    assert "Terminal" in room.reason


# safety: SR-04
def test_closed_terminal_stops_motion_at_once() -> None:
    room = Room().to("MOVING")
    room.feed(ev.TerminalLost("T1"))
    assert room.state == "SUPERSEDED"
    assert room.of(fx.StopAll)


# safety: SR-04
def test_another_terminal_does_not_carry_the_motion_of_the_one_that_armed() -> None:
    room = Room().to("MOVING")
    room.silent.add("terminal")
    for _ in range(30):
        room.feed(ev.TerminalAlive("T2", "s-anna"))
        room.run()
    assert room.state == "SUPERSEDED"


# safety: SR-04
def test_arm_needs_a_live_terminal_of_the_same_session() -> None:
    room = Room().to("APPROVED")
    room.silent.add("terminal")
    room.feed(ev.TerminalLost("T1"))
    room.feed(ev.TerminalAlive("T9", "s-somebody-else"))
    answer = room.ask(commands.Arm(digest=room.digest()))
    assert not answer.accepted
    assert "terminal" in answer.message


# safety: SR-09
@pytest.mark.parametrize("device", ["couch", "imager", "pendant"])
def test_link_lost_in_motion_latches_a_fault(device: str) -> None:
    room = Room().to("MOVING")
    room.feed(ev.LinkLost(device, "cable pulled"))  # type: ignore[arg-type]
    assert room.state == "FAULT"
    assert "cable pulled" in room.reason
    assert room.of(fx.StopAll)
    room.silent.add(device)
    room.run(20)
    assert not room.ask(commands.ResetFault()).accepted
    room.silent.clear()
    room.feed(ev.LinkUp(device, 8, MODEL.limits_hash[:16]))  # type: ignore[arg-type]
    room.run(2)
    assert room.ask(commands.ResetFault()).accepted
    assert room.state == "SETUP"


# safety: SR-10
@pytest.mark.parametrize("state", ["IMAGED", "CHECKED", "APPROVED", "ARRIVED", "BEAM_READY"])
def test_new_couch_session_voids(state: str) -> None:
    room = Room().to(state)
    room.feed(ev.LinkUp("couch", 99, MODEL.limits_hash[:16]))
    assert room.state in ("SETUP", "SUPERSEDED")
    room.run(2)
    assert not room.ask(commands.Propose()).accepted


# safety: SR-10
def test_new_couch_session_in_motion_is_a_fault() -> None:
    room = Room().to("MOVING")
    room.feed(ev.LinkUp("couch", 99, MODEL.limits_hash[:16]))
    assert room.state == "FAULT"


# safety: SR-11
@pytest.mark.parametrize("state", [s for s in S if s not in (S.FAULT, S.PROPOSED)])
def test_device_fault_latches_everywhere_and_blocks_the_next_patient(state: S) -> None:
    room = in_state(state)
    room.couch.faults = ("following error",)
    room.run()
    assert room.state == "FAULT"
    assert not room.ask(commands.ClosePatient()).accepted
    assert not room.open().accepted
    alarm = next(a for a in room.supervisor.alarms.listed() if "following error" in a.text)
    assert alarm.priority == "high"
    assert alarm.latched


# safety: SR-11
def test_fault_stays_until_its_cause_is_gone_and_a_person_resets_it() -> None:
    room = Room().to("CHECKED")
    room.couch.faults = ("emergency stop",)
    room.run()
    room.hold_answers = True
    assert room.ask(commands.ResetFault()).accepted
    reset = room.waiting.pop()
    assert isinstance(reset, fx.ResetFaults)
    assert reset.faults == {"couch": ("emergency stop",)}
    room.feed(ev.FaultsReset(reset.request, ("couch: emergency stop",)))
    room.run(5)
    assert room.state == "FAULT"
    assert "still latched" in room.reason
    room.couch.faults = ()
    room.run(5)
    assert room.state == "FAULT"  # the cause is gone, but nobody has reset it
    room.ask(commands.ResetFault())
    room.run()
    assert room.state == "SETUP"
    assert not [a for a in room.supervisor.alarms.listed() if a.latched]


# safety: SR-12
def test_arrival_off_target_is_a_fault_after_the_settling_window() -> None:
    room = Room().to("MOVING")
    room.couch.land_off_mm = 0.7
    room.run(60)
    assert room.couch.state == "arrived" or room.state == "FAULT"
    room.run(60)
    assert room.state == "FAULT"
    assert "0.70 mm" in room.reason


# safety: SR-12
def test_ringing_within_the_settling_window_is_no_fault() -> None:
    room = Room().to("MOVING")
    room.couch.land_off_mm = 0.7
    while room.couch.state != "arrived":
        room.run()
    room.run(5)
    assert room.state == "MOVING"
    room.couch.axes = (room.couch.axes[0] - 0.7, *room.couch.axes[1:])
    room.run()
    assert room.state == "ARRIVED"


# safety: SR-12
def test_disagreeing_second_channel_on_arrival_is_a_fault() -> None:
    room = Room().to("MOVING")
    room.couch.secondary_offset = (0.0, 0.0, 0.8, 0.0, 0.0, 0.0)
    room.run(120)
    assert room.state == "FAULT"
    assert "channels" in room.reason


# safety: SR-12
def test_arrival_under_another_plan_nonce_is_a_fault() -> None:
    room = Room().to("MOVING")
    room.couch.extra = {"plan_nonce": 4711}
    room.run(120)
    assert room.state == "FAULT"
    assert "another plan" in room.reason


# safety: SR-13
def test_leaving_the_approved_line_is_a_fault() -> None:
    room = Room().to("MOVING")
    room.couch.start = (room.couch.start[0], room.couch.start[1] + 2.5, *room.couch.start[2:])
    room.run(2)
    assert room.state == "FAULT"
    assert "off the approved line" in room.reason
    assert room.of(fx.StopAll)


# safety: SR-03
def test_couch_that_runs_on_after_release_is_stopped_and_latched() -> None:
    room = Room().to("MOVING")
    room.couch.extra = {
        "enable_held": False,
        "state": "stopping",
        "stop_cause": "enable released",
        "moving": True,
    }
    room.run(70)
    assert room.state == "FAULT"
    assert "still moves" in room.reason


# safety: SR-14
def test_residual_above_tolerance_goes_back_to_a_new_proposal() -> None:
    room = Room().to("ARRIVED")
    room.verify_correction = Correction(1.5, 0.0, 0.0, 0.0, 0.0, 0.0)
    room.verify()
    assert room.state == "REGISTERED"
    assert "propose again" in room.reason
    assert not room.ask(commands.ReleaseBeam()).accepted
    room.ask(commands.Propose())
    assert room.state == "CHECKED"


# safety: SR-14
@pytest.mark.parametrize("verdict", ["doubtful", "refused"])
def test_doubtful_verification_does_not_verify(verdict: str) -> None:
    room = Room().to("ARRIVED")
    room.verdict = verdict
    room.verify()
    assert room.state in ("ARRIVED", "REGISTERED")
    assert not room.ask(commands.ReleaseBeam()).accepted


# safety: SR-15
@pytest.mark.parametrize(
    "loss",
    [
        {"moving": True},
        {"brakes_on": False},
        {"beam_gate_energised": False},
        {"estop": True},
        {"touch_guard": True},
        {"manual_brake_release": True},
    ],
)
def test_beam_gate_falls_when_a_beam_interlock_is_lost(loss: dict[str, object]) -> None:
    room = Room().to("BEAM_READY")
    room.run(20)
    assert room.state == "BEAM_READY"
    room.couch.extra = loss
    room.clear()
    room.run()
    assert room.state != "BEAM_READY"
    assert [e for e in room.of(fx.SetBeamGate) if not e.energise]  # type: ignore[union-attr]
    room.run(20)
    assert not room.couch.gate


# safety: SR-15
@pytest.mark.parametrize("device", ["couch", "imager", "terminal"])
def test_beam_gate_falls_on_silence(device: str) -> None:
    room = Room().to("BEAM_READY")
    room.silent.add(device)
    room.run(26)
    assert room.state == "VERIFIED"


# safety: SR-15
def test_beam_is_not_released_before_verification() -> None:
    for state in ("IDLE", "SETUP", "CHECKED", "ARRIVED"):
        assert not Room().to(state).ask(commands.ReleaseBeam()).accepted


# safety: SR-15
def test_gate_that_energises_for_nobody_is_taken_back() -> None:
    room = Room().to("VERIFIED")
    room.hold_answers = True
    room.ask(commands.ReleaseBeam())
    gate = room.waiting.pop()
    room.ask(commands.Stop())
    room.clear()
    assert isinstance(gate, fx.SetBeamGate)
    room.feed(ev.BeamGateAnswered(gate.request, True))
    assert [e for e in room.of(fx.SetBeamGate) if not e.energise]  # type: ignore[union-attr]
    assert room.state == "VERIFIED"


# safety: SR-16
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patient_id": "IGRT-0002"}, "patient ID"),
        ({"birth_date": "1950-01-02"}, "birth date"),
        ({"isocentre_id": "ISO9"}, "isocentre"),
        ({"fraction": 6}, "fraction"),
        ({"plan_uid": "9.9"}, "plan"),
    ],
)
def test_wrong_identity_is_refused(change: dict[str, object], says: str) -> None:
    room = Room()
    right = {
        "plan_uid": room.plan.plan_uid,
        "patient_id": "IGRT-0001",
        "birth_date": "19500101",
        "isocentre_id": "ISO1",
        "fraction": 1,
    }
    answer = room.ask(commands.OpenPatient.model_validate(right | change))
    assert not answer.accepted
    assert says in answer.message
    assert room.state == "IDLE"
    assert room.ask(commands.OpenPatient.model_validate(right)).accepted


# safety: SR-16
@pytest.mark.parametrize("position", ["HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"])
def test_untested_patient_position_is_refused(position: str) -> None:
    room = Room(patient_position=position)
    answer = room.open()
    assert not answer.accepted
    assert position in answer.message


# safety: SR-16
@pytest.mark.parametrize("field", ["plan_uid", "frame_of_reference_uid", "isocentre_id"])
def test_registration_of_something_else_is_dropped(field: str) -> None:
    room = Room().to("IMAGED")
    room.hold_answers = True
    room.ask(commands.RegisterImages())
    answer = room.reply(room.waiting.pop())
    assert isinstance(answer, ev.RegistrationDone)
    room.feed(replace(answer, **{field: "9.9.9"}))
    assert room.state == "IMAGED"
    assert "another" in room.reason


# safety: SR-17
def test_nothing_of_one_patient_reaches_the_next() -> None:
    room = Room().to("IMAGED")
    room.hold_answers = True
    room.ask(commands.RegisterImages())
    late = room.reply(room.waiting.pop())
    assert room.ask(commands.ClosePatient()).accepted
    memory = room.supervisor.memory
    assert (memory.plan, memory.stamp, memory.registration, memory.proposal) == (None,) * 4
    assert memory.pending == {}
    room.hold_answers = False
    room.to("IMAGED")
    room.feed(late)
    assert room.state == "IMAGED"
    assert memory.registration is None


# safety: SR-17
def test_patient_is_not_closed_in_motion() -> None:
    for state in ("ARMED", "MOVING"):
        assert not Room().to(state).ask(commands.ClosePatient()).accepted


# safety: SR-18
@pytest.mark.parametrize("axis", range(6))
def test_couch_off_its_planned_position_is_not_a_setup(axis: int) -> None:
    room = Room().to("PATIENT_BOUND")
    off = [0.0] * 6
    off[axis] = 6.0 if axis < 3 else 1.2
    room.couch.axes = tuple(a + b for a, b in zip(PLANNED, off, strict=True))
    room.run()
    answer = room.ask(commands.ConfirmSetup())
    assert not answer.accepted
    assert MODEL.axis_names[axis] in answer.message


def off_plan() -> Room:
    room = Room().to("PATIENT_BOUND")
    room.couch.axes = (PLANNED[0] + 6.0, *PLANNED[1:])
    room.run()
    return room


OVERRIDE = commands.OverrideSetup(reason="immobilisation changed", text="new mask, index H2")


# safety: SR-30
def test_override_of_the_setup_needs_two_people_one_reason_and_leaves_its_trace() -> None:
    room = off_plan()
    assert room.ask(OVERRIDE, "anna", "therapist").accepted
    assert room.state == "PATIENT_BOUND"
    assert not room.ask(OVERRIDE, "anna", "physicist").accepted
    assert not room.ask(OVERRIDE, "carla", "physician", session="s-anna").accepted
    assert room.ask(OVERRIDE, "bert", "physicist").accepted
    assert room.state == "SETUP"
    (entry,) = [e for e in room.of(fx.Record) if e.kind == "override"]  # type: ignore[union-attr]
    assert isinstance(entry, fx.Record)
    assert entry.data["people"] == ["anna", "bert"]
    assert "lateral is +6.0 mm" in str(entry.data["parameters"])


# safety: SR-30
def test_override_is_not_seconded_by_the_wrong_role_after_a_move_or_too_late() -> None:
    room = off_plan()
    room.ask(OVERRIDE, "anna", "therapist")
    answer = room.ask(OVERRIDE, "tom", "therapist")
    assert "physicist or physician" in answer.message
    assert room.state == "PATIENT_BOUND"
    for change in ("moved", "late", "other text"):
        room = off_plan()
        room.ask(OVERRIDE, "anna", "therapist")
        command = OVERRIDE
        if change == "moved":
            room.couch.axes = (PLANNED[0] + 7.0, *PLANNED[1:])
        elif change == "late":
            room.now_us += 301_000_000
        else:
            command = OVERRIDE.model_copy(update={"text": "something else"})
        room.run()
        room.ask(command, "bert", "physicist")
        assert room.state == "PATIENT_BOUND", change


# safety: SR-30
def test_nothing_within_tolerance_is_overridden() -> None:
    room = Room().to("PATIENT_BOUND")
    answer = room.ask(OVERRIDE, "anna", "therapist")
    assert not answer.accepted
    assert "within" in answer.message


def test_images_with_released_brakes_or_from_elsewhere_are_not_taken() -> None:
    for change in (
        {"brakes_on": False},
        {"couch_axes": (0.0,) * 5},
        {"acquired_us": 10**12},
        {"image_uids": ("1", "1")},
    ):
        room = Room().to("SETUP")
        room.hold_answers = True
        room.ask(commands.AcquireImages())
        answer = room.reply(room.waiting.pop())
        assert isinstance(answer, ev.ImagesAcquired)
        room.feed(replace(answer, stamp=answer.stamp.model_copy(update=change)))
        assert room.state == "SETUP"
        assert "cannot be used" in room.reason


def test_failed_imaging_and_failed_registration_say_why_and_leave_the_way_open() -> None:
    room = Room().to("SETUP")
    room.hold_answers = True
    room.ask(commands.AcquireImages())
    room.feed(ev.RequestFailed(room.waiting.pop().request, "anode too hot; wait 3 min"))  # type: ignore[union-attr]
    assert "anode too hot" in room.reason
    room.hold_answers = False
    room.to("IMAGED")
    room.verdict = "refused"
    room.ask(commands.RegisterImages())
    assert room.state == "IMAGED"
    assert "refuses itself" in room.reason


def test_unanswered_imaging_times_out() -> None:
    room = Room().to("SETUP")
    room.hold_answers = True
    room.ask(commands.AcquireImages())
    assert not room.ask(commands.AcquireImages()).accepted
    room.now_us += 5 * 60_000_000 + 1
    room.run()
    assert "did not answer in time" in room.reason
    assert room.ask(commands.AcquireImages()).accepted


def test_imager_has_permission_only_while_imaging() -> None:
    room = Room().to("SETUP")
    room.clear()
    room.run(5)
    assert not room.of(fx.RefreshPermission)
    room.hold_answers = True
    room.ask(commands.AcquireImages())
    room.clear()
    room.run(2)
    assert {e.device for e in room.of(fx.RefreshPermission)} == {"imager"}  # type: ignore[union-attr]
    room.feed(ev.TerminalLost("T1"))
    room.silent.add("terminal")
    room.clear()
    room.run(2)
    assert not room.of(fx.RefreshPermission)


def test_stop_from_elsewhere_is_seen_by_its_epoch() -> None:
    room = Room().to("MOVING")
    room.couch.epoch += 1
    room.run()
    assert room.state == "SUPERSEDED"
    assert "elsewhere" in room.reason


def test_own_stop_does_not_hide_a_stop_from_elsewhere() -> None:
    room = Room().to("CHECKED")
    room.ask(commands.Stop())
    room.run()
    room.ask(commands.Propose())
    assert room.state == "CHECKED"
    room.couch.epoch += 1  # within a second of our own STOP
    room.run()
    assert room.state == "SUPERSEDED"
    assert "elsewhere" in room.reason


def test_new_images_or_a_new_registration_supersede_the_proposal() -> None:
    for state in ("CHECKED", "APPROVED"):
        for command in (commands.AcquireImages(), commands.RegisterImages()):
            room = Room().to(state)
            digest = room.digest()
            assert room.ask(command).accepted
            assert room.state in ("IMAGED", "REGISTERED")
            assert room.supervisor.memory.approvals == ()
            assert not room.ask(commands.Arm(digest=digest)).accepted


def test_every_command_in_a_wrong_state_is_answered_with_what_is_needed_next() -> None:
    room = Room()
    for command in (
        commands.ConfirmSetup(),
        commands.AcquireImages(),
        commands.RegisterImages(),
        commands.Propose(),
        commands.Arm(digest="x"),
        commands.ReleaseBeam(),
        commands.ClosePatient(),
    ):
        answer = room.ask(command)
        assert not answer.accepted
        assert NEEDED_NEXT[S.IDLE] in answer.message or "terminal" in answer.message


# safety: SR-19
def test_status_marks_old_values_stale_and_keeps_showing_them() -> None:
    room = Room()
    assert not shown(room).couch.stale  # type: ignore[union-attr]
    room.silent.add("couch")
    room.now_us += 251_000
    view = shown(room).couch
    assert view is not None
    assert view.stale
    assert view.primary == PLANNED
    room.silent.clear()
    room.feed(ev.LinkLost("couch", "unplugged"))
    room.feed(room.couch.heard())
    assert shown(room).couch.stale  # type: ignore[union-attr]


# safety: SR-19
def test_telemetry_that_waited_in_a_queue_keeps_its_age() -> None:
    room = Room()
    heard_us = room.now_us
    room.now_us += 300_000
    room.tick()
    room.supervisor.handle(room.couch.heard(), heard_us + 10_000)
    assert shown(room).couch.stale  # type: ignore[union-attr]
    room.supervisor.handle(ev.TerminalAlive("T2"), heard_us - 300_000)
    assert room.supervisor.memory.terminals["T2"].heard_us == heard_us - 300_000


# safety: SR-31
@pytest.mark.parametrize("state", ["CHECKED", "MOVING", "BEAM_READY"])
def test_defect_of_the_supervisor_itself_stops_and_latches(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room().to(state)
    room.clear()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("somewhere deep")

    with monkeypatch.context() as patch:
        patch.setattr(room.supervisor, "_watch_rest", broken)
        patch.setattr(room.supervisor, "_follow_motion", broken)
        room.feed(room.couch.heard())
    assert room.state == "FAULT"
    assert isinstance(room.effects[0], fx.StopAll)
    assert "somewhere deep" in room.reason
    assert [e for e in room.of(fx.Record) if e.kind == "defect"]  # type: ignore[union-attr]
    room.run(3)
    assert not room.couch.gate
    assert room.couch.state == "idle"
    assert room.ask(commands.ResetFault()).accepted
    assert room.state == "SETUP"


# safety: SR-31
def test_defect_in_a_command_is_answered_and_in_a_tick_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Room().to("SETUP")

    def broken(*_: object) -> None:
        raise KeyError("x")

    with monkeypatch.context() as patch:
        patch.setattr(room.supervisor, "_acquire_images", broken)
        answer = room.ask(commands.AcquireImages())
    assert not answer.accepted
    assert "defect" in answer.message
    assert room.state == "FAULT"
    room = Room().to("MOVING")
    room.clear()
    with monkeypatch.context() as patch:
        patch.setattr(room.supervisor, "_grant_permission", broken)
        room.tick()
        assert room.state == "FAULT"
        assert room.of(fx.StopAll)
        room.clear()
        room.tick()
        assert room.effects == []  # told once, not in every tick
        assert room.ask(commands.Stop()).accepted
        assert isinstance(room.effects[0], fx.StopAll)
    assert not room.of(fx.RefreshPermission)


def shown(room: Room) -> object:
    return status(room.supervisor, room.now_us)


def test_status_is_complete_in_every_state() -> None:
    for state in S:
        if state is S.PROPOSED:
            continue
        room = in_state(state)
        seen = status(room.supervisor, room.now_us)
        assert seen.state is state
        assert seen.needed_next == NEEDED_NEXT[state]
        assert seen.simulator
        assert seen.now_utc.startswith("2026-03-02T08:")
        assert (seen.proposal is not None) or state not in (
            S.CHECKED,
            S.APPROVED,
            S.ARMED,
            S.MOVING,
            S.HELD,
            S.ARRIVED,
        )


def test_needed_next_follows_what_is_open() -> None:
    room = Room().to("ARRIVED")
    room.ask(commands.AcquireImages())
    assert status(room.supervisor, room.now_us).needed_next == "Register the verification images."
    room.hold_answers = True
    room.ask(commands.RegisterImages())
    assert status(room.supervisor, room.now_us).needed_next.startswith("Wait: registration")
    room = Room()
    room.correction = Correction(9.0, -8.0, 6.0, 0.5, 0.0, 0.0)
    room.to("CHECKED")
    room.approve("anna")
    assert "another person" in status(room.supervisor, room.now_us).needed_next


def test_a_daily_test_that_is_not_there_cannot_be_required() -> None:
    with pytest.raises(ValueError, match="none of: Weather"):
        SupervisorConfig(machine="m", software_version="v", qa_required=("Weather",))


def test_supervisor_time_does_not_run_backwards() -> None:
    room = Room().to("CHECKED")
    effects = room.supervisor.tick(room.now_us - 500_000)
    assert room.state == "CHECKED"
    assert not [e for e in effects if isinstance(e, fx.StopAll)]


def test_same_seed_and_events_give_the_same_effects() -> None:
    first, second = (Room(seed=5).to("BEAM_READY").effects for _ in range(2))
    assert first == second
    assert Room(seed=6).to("BEAM_READY").effects != first


# ---- the table itself ----------------------------------------------------------------------------------------------


# safety: SR-05
def test_every_state_has_a_row_for_stop_and_a_way_into_fault() -> None:
    for state in S:
        assert rows(state, Trigger.STOP), state
        if state is not S.FAULT:
            assert rows(state, Trigger.FAULT)[0].target is S.FAULT
            assert rows(state, Trigger.FAULT)[0].guard is Guard.ALWAYS


# safety: SR-01
def test_only_an_accepted_execution_arms_and_only_motion_arrives() -> None:
    into_armed = [r for r in TABLE if r.target is S.ARMED]
    assert [(r.source, r.trigger) for r in into_armed] == [
        ((S.APPROVED,), Trigger.EXECUTE_ACCEPTED)
    ]
    into_approved = [r for r in TABLE if r.target is S.APPROVED]
    assert [r.guard for r in into_approved] == [Guard.LAST_APPROVAL]
    for row in TABLE:
        if row.target is S.MOVING:
            assert set(row.source) <= {S.ARMED, S.HELD}
        if row.target is S.BEAM_READY:
            assert row.source == (S.VERIFIED,)


def test_no_row_hides_behind_an_unconditional_one() -> None:
    for state in S:
        for trigger in Trigger:
            found = rows(state, trigger)
            for row in found[:-1]:
                assert row.guard is not Guard.ALWAYS, (state, trigger)


def test_every_state_is_reached_and_left() -> None:
    targets = {r.target for r in TABLE}
    for state in S:
        assert state in targets, state
        assert any(state in r.source and r.target not in (None, state) for r in TABLE), state


def test_every_trigger_and_guard_is_used() -> None:
    assert {r.trigger for r in TABLE} == set(Trigger)
    assert {r.guard for r in TABLE} == set(Guard)


# ---- rules as data -------------------------------------------------------------------------------------------------


def test_site_rules_refuse_what_contradicts_itself() -> None:
    with pytest.raises(ValueError, match="never shows"):
        SITE_RULES[0].model_validate(SITE_RULES[0].model_dump() | {"warn_mm": 40.0})
    with pytest.raises(ValueError, match="general"):
        SupervisorConfig(machine="m", software_version="v", site_rules=SITE_RULES[1:])
    with pytest.raises(ValueError, match="twice"):
        SupervisorConfig(machine="m", software_version="v", site_rules=SITE_RULES + SITE_RULES[:1])


def test_demonstration_lets_one_person_approve_its_largest_seeded_error() -> None:
    config = SupervisorConfig(
        machine="linac_pedestal", software_version="test", site_rules=demonstration_rules()
    )
    room = Room(config)
    room.correction = Correction(12.0, -12.0, 12.0, 2.0, -2.0, 2.0)
    room.to("APPROVED")
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    assert proposal.content.approvals_needed == 1
    warned = {c.name for c in proposal.content.checks if c.outcome == "warn"}
    assert {"shift size", "planned position"} <= warned


def test_site_without_a_rule_gets_the_general_one() -> None:
    config = SupervisorConfig(machine="m", software_version="v")
    assert config.rule_for("no such site").site == "general"
    assert config.rule_for(treatment_plan().site).site == "lung_sbrt"
    assert config.lost_us > STEP_US * 20
