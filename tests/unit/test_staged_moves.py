"""A hexapod moves in stages: its base couch, then the platform. One plan, one approval, watched piece by piece."""

from __future__ import annotations

import pytest
import room_rig
from room_rig import PLANNED, Room

from igrt_hw.geometry import Correction
from igrt_hw.machine import load_machine
from igrt_hw.models.commands import AcquireImages, Arm, Propose, RegisterImages, Stop
from igrt_hw.models.proposal import CheckOutcome
from igrt_hw.safety import effects as fx
from igrt_hw.safety.canonical import canonical_digest
from igrt_hw.safety.couch_model import UnreachableError
from igrt_hw.safety.machine_couch import MachineCouch

HEXAPOD = MachineCouch(load_machine("linac_hexapod"))
SMALL = Correction(3.0, -4.0, 2.0, 1.0, -0.8, 0.6)
# Beyond the 3 deg of the platform, inside the window of 3.5 deg.
TURNED = Correction(3.0, -4.0, 2.0, 3.1, -1.4, 0.3)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(room_rig, "MODEL", HEXAPOD)
    return Room()


def stages_of(correction: Correction) -> tuple[tuple[float, ...], ...]:
    target = HEXAPOD.solve(PLANNED, correction)
    return HEXAPOD.stages(PLANNED, target, correction, None).via


# safety: SR-45
def test_what_the_platform_can_do_it_does_alone() -> None:
    assert stages_of(SMALL) == ()


# safety: SR-45
def test_what_it_cannot_do_the_base_couch_begins_without_pitch_and_roll() -> None:
    (via,) = stages_of(TURNED)
    assert via[4:] == pytest.approx(PLANNED[4:], abs=1e-6)
    assert via[3] == pytest.approx(HEXAPOD.solve(PLANNED, TURNED)[3], abs=1e-6)


# safety: SR-45
def test_what_neither_can_do_is_refused_in_words() -> None:
    far = Correction(pitch_deg=8.0)
    with pytest.raises(UnreachableError, match="platform"):
        HEXAPOD.stages(PLANNED, HEXAPOD.solve(PLANNED, far), far, None)


# safety: SR-45
def test_both_stages_are_one_approval_one_plan_and_one_execution(room: Room) -> None:
    room.correction = TURNED
    room.to("ARRIVED")
    (upload,) = [e for e in room.of(fx.UploadPlan) if isinstance(e, fx.UploadPlan)]
    assert len(upload.plan.waypoints) == 2
    assert len(room.of(fx.Execute)) == 1
    (asked,) = [e for e in room.of(fx.CheckPath) if isinstance(e, fx.CheckPath)]
    assert len(asked.via_axes) == 1, "the clearance of both pieces is certified"
    memory = room.supervisor.memory
    assert memory.base_axes is not None
    assert memory.base_axes[3] == pytest.approx(upload.plan.waypoints[0][3] / 1e6, abs=1e-5)


# safety: SR-45
def test_the_stop_between_the_stages_is_part_of_what_is_approved(room: Room) -> None:
    room.correction = TURNED
    room.to("CHECKED")
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    (via,) = proposal.content.via_axes
    elsewhere = (via[0] + 0.001, *via[1:])
    other = proposal.content.model_copy(update={"via_axes": (elsewhere,)})
    assert canonical_digest(other) != proposal.digest
    said = {check.name: check for check in proposal.content.checks}
    assert "two stages" in said["legs and singularities"].detail


# safety: SR-45, SR-13
def test_a_couch_that_goes_straight_to_the_target_past_the_stop_is_a_fault(room: Room) -> None:
    room.correction = TURNED
    room.couch.cuts_corners = True
    room.to("MOVING")
    room.run(60)
    assert room.state == "FAULT"


# safety: SR-45
def test_the_platform_begins_from_where_its_base_has_come_to_stand() -> None:
    (via,) = stages_of(TURNED)
    target = HEXAPOD.solve(PLANNED, TURNED)
    after = HEXAPOD.stages(PLANNED, target, TURNED, None).base_axes
    back = Correction(rotation_deg=-1.0)
    further = HEXAPOD.solve(target, back)
    assert HEXAPOD.stages(target, further, back, after).via == ()
    assert via[3] == pytest.approx(3.1, abs=0.1)


# safety: SR-45
@pytest.mark.parametrize("correction", [TURNED, SMALL])
def test_after_a_staged_move_that_was_broken_off_nobody_guesses_where_the_base_stands(
    room: Room, correction: Correction
) -> None:
    room.correction = correction
    room.to("MOVING")
    room.run(10)
    assert room.ask(Stop()).accepted
    assert room.state == "SUPERSEDED"
    room.run(5)
    room.correction = SMALL
    assert room.ask(AcquireImages()).accepted
    assert room.ask(RegisterImages()).accepted
    answer = room.ask(Propose())
    if correction is SMALL:  # the platform alone has moved, and its base stands where it stood
        assert answer.accepted
    else:
        assert not answer.accepted
        assert "where the base couch stands" in answer.message


# safety: SR-45
def test_a_stop_before_execute_is_answered_leaves_the_base_unknown_too(room: Room) -> None:
    room.correction = TURNED
    room.to("APPROVED")
    room.hold_answers = True
    room.ask(Arm(digest=room.digest()))
    room.feed(room.reply(room.waiting.pop()))
    assert room.supervisor.memory.pending_of("execute") is not None
    assert room.ask(Stop()).accepted
    assert "base couch" in room.supervisor.memory.base_lost


# safety: SR-45
def test_a_controller_that_moves_the_platform_alone_gets_no_stages(room: Room) -> None:
    room.correction = TURNED
    room.couch.extra = {"assurance": ("no lease",), "hardware_channel": True}
    room.to("REGISTERED")
    answer = room.ask(Propose())
    assert not answer.accepted
    assert "platform alone" in answer.message


# safety: SR-45
def test_every_couch_says_how_near_its_way_comes_to_a_singularity() -> None:
    proposal = Room().to("CHECKED").supervisor.memory.proposal
    assert proposal is not None
    said = {check.name: check for check in proposal.content.checks}
    assert said["legs and singularities"].outcome is CheckOutcome.PASS
    for name in ("robot_arm", "robot_scara", "linac_pedestal"):
        model = MachineCouch(load_machine(name))
        middle = tuple((low + high) / 2 for low, high in model.limits)
        found = model.stages(middle, middle, Correction(), None)
        assert 0.0 <= found.singularity[1] <= 1.0, name
