"""Approval: two acts, two people where the rule asks, a number that has been read; nothing can be used twice."""

from __future__ import annotations

import pytest
from room_rig import Room

from igrt_hw.geometry import Correction
from igrt_hw.models import commands
from igrt_hw.safety import effects as fx
from igrt_hw.safety.approvals import Fact, fact_agrees, shown

BIG = Correction(9.0, -8.0, 6.0, 0.5, 0.0, 0.0)  # 13.5 mm: above the 10 mm of one person


def two_people() -> Room:
    room = Room()
    room.correction = BIG
    return room.to("CHECKED")


def challenge(room: Room, username: str = "anna", **who: str) -> dict[str, str]:
    answer = room.ask(commands.RequestChallenge(digest=room.digest()), username, **who)
    assert answer.accepted, answer
    return {key: str(value) for key, value in answer.data.items()}


def fact_of(room: Room, axis: str) -> str:
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    index = proposal.content.axis_names.index(axis)
    return shown(proposal.content.target_axes[index] - proposal.content.start_axes[index])


def answer_to(room: Room, opened: dict[str, str], **changes: str) -> commands.Approve:
    right = {
        "digest": opened["digest"],
        "challenge_id": opened["challenge_id"],
        "code": opened["code"],
        "fact": fact_of(room, opened["fact_axis"]),
    }
    return commands.Approve(**(right | changes))


# safety: SR-20
def test_small_shift_needs_one_person_and_a_large_one_two() -> None:
    room = Room().to("CHECKED")
    assert room.approve().accepted
    assert room.state == "APPROVED"
    room = two_people()
    assert room.approve("anna").accepted
    assert room.state == "CHECKED"
    assert not room.ask(commands.Arm(digest=room.digest())).accepted
    assert room.approve("bert", "physicist").accepted
    assert room.state == "APPROVED"
    assert [a.username for a in room.supervisor.memory.approvals] == ["anna", "bert"]


# safety: SR-20
def test_same_person_does_not_approve_twice() -> None:
    room = two_people()
    room.approve("anna")
    answer = room.approve("anna")
    assert not answer.accepted
    assert "another person" in answer.message


# safety: SR-20
def test_second_approval_does_not_come_from_the_first_session() -> None:
    room = two_people()
    opened = challenge(room, "anna", session="shared")
    assert room.ask(answer_to(room, opened), "anna", session="shared").accepted
    answer = room.ask(commands.RequestChallenge(digest=room.digest()), "bert", session="shared")
    assert not answer.accepted
    assert "session" in answer.message


# safety: SR-20
def test_second_person_confirms_another_number() -> None:
    room = two_people()
    first = challenge(room, "anna")
    assert first["fact_axis"] == "lateral"
    room.ask(answer_to(room, first), "anna")
    second = challenge(room, "bert")
    assert second["fact_axis"] == "longitudinal"
    assert "longitudinal" in second["fact_prompt"]


# safety: SR-20
def test_doubtful_registration_asks_for_a_second_person_whatever_its_size() -> None:
    room = Room()
    room.verdict = "doubtful"
    room.to("CHECKED")
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    assert proposal.content.approvals_needed == 2


# safety: SR-20
@pytest.mark.parametrize("role", ["service", "visitor"])
def test_roles_outside_the_site_rule_do_not_approve(role: str) -> None:
    room = Room().to("CHECKED")
    answer = room.approve("sven", role)
    assert not answer.accepted
    assert role in answer.message


# safety: SR-21
@pytest.mark.parametrize(
    "change", [{"code": "XXXX"}, {"fact": "+99.9"}, {"fact": "7.1"}, {"fact": "-7.1"}, {"fact": ""}]
)
def test_mistyped_confirmation_does_not_approve_and_uses_the_challenge(
    change: dict[str, str],
) -> None:
    room = Room().to("CHECKED")
    opened = challenge(room)
    assert fact_of(room, opened["fact_axis"]) == "+7.1"
    wrong = room.ask(answer_to(room, opened, **change))
    assert not wrong.accepted
    right_but_late = room.ask(answer_to(room, opened))
    assert not right_but_late.accepted
    assert room.state == "CHECKED"
    assert room.supervisor.memory.approvals == ()
    assert room.approve().accepted


# safety: SR-21
def test_third_wrong_confirmation_rejects_the_proposal() -> None:
    room = Room().to("CHECKED")
    for _ in range(3):
        room.approve(code="XXXX")
    assert room.state == "REJECTED"
    assert not room.approve().accepted


# safety: SR-21
def test_right_answer_is_used_once() -> None:
    room = two_people()
    opened = challenge(room)
    assert room.ask(answer_to(room, opened)).accepted
    assert not room.ask(answer_to(room, opened)).accepted
    assert len(room.supervisor.memory.approvals) == 1


# safety: SR-21
def test_challenge_belongs_to_the_person_and_the_session_it_was_given_to() -> None:
    room = Room().to("CHECKED")
    opened = challenge(room, "anna")
    assert not room.ask(answer_to(room, opened), "bert").accepted
    assert not room.ask(answer_to(room, opened), "anna", session="elsewhere").accepted
    assert room.ask(answer_to(room, opened), "anna").accepted


# safety: SR-21
def test_challenge_expires() -> None:
    room = Room().to("CHECKED")
    opened = challenge(room)
    room.now_us += 120_000_000
    room.run()
    answer = room.ask(answer_to(room, opened))
    assert not answer.accepted
    assert "expired" in answer.message


# safety: SR-21
def test_new_challenge_replaces_the_old_one() -> None:
    room = Room().to("CHECKED")
    old = challenge(room)
    new = challenge(room)
    assert old["challenge_id"] != new["challenge_id"]
    assert not room.ask(answer_to(room, old)).accepted
    assert room.ask(answer_to(room, new)).accepted


# safety: SR-01
def test_approval_of_another_digest_is_refused() -> None:
    room = Room().to("CHECKED")
    opened = challenge(room)
    room.ask(commands.Propose())
    assert room.state == "CHECKED"
    answer = room.ask(answer_to(room, opened))
    assert not answer.accepted
    assert "current proposal" in answer.message
    assert not room.ask(commands.RequestChallenge(digest=opened["digest"])).accepted
    assert not room.ask(commands.Reject(digest=opened["digest"], reason="other", text="")).accepted


# safety: SR-01
def test_any_void_takes_the_approvals_with_it() -> None:
    room = two_people()
    room.approve("anna")
    room.ask(commands.Propose())
    assert room.supervisor.memory.approvals == ()
    assert room.approve("bert").accepted
    assert room.state == "CHECKED"


# safety: SR-21
def test_what_was_typed_is_not_in_the_record_of_commands() -> None:
    room = Room().to("CHECKED")
    room.clear()
    room.approve()
    for effect in room.of(fx.Record):
        assert isinstance(effect, fx.Record)
        assert "code" not in effect.data
        assert "challenge" not in effect.data


def test_reject_says_who_and_why() -> None:
    room = Room().to("APPROVED")
    room.ask(commands.Reject(digest=room.digest(), reason="patient moved", text="coughed"), "bert")
    assert room.state == "REJECTED"
    assert room.reason == "rejected by bert: patient moved (coughed)"
    assert not room.ask(commands.Arm(digest=room.digest())).accepted


@pytest.mark.parametrize(
    ("typed", "value", "agrees"),
    [
        ("+7.1", 7.1, True),
        (" +7.1 ", 7.14, True),
        ("7.1", 7.1, False),
        ("-7.1", 7.1, False),
        ("−7.1", -7.1, True),
        ("+7.10", 7.1, False),
        ("+7,1", 7.1, False),
        ("+7.1 mm", 7.1, False),
        ("0.0", 0.04, True),
        ("+0.0", -0.04, True),
        ("-0.0", 0.0, True),
        ("", 0.0, False),
        ("0", 0.0, False),
    ],
)
# safety: SR-21
def test_typed_number_is_compared_as_shown(typed: str, value: float, agrees: bool) -> None:
    assert fact_agrees(typed, Fact("lateral", "mm", shown(value))) is agrees
