"""The reading ritual without a screen: what approves, and everything that must not."""

from dataclasses import replace
from typing import Any

import pytest

from igrt_hw.models.proposal import ApprovalChallenge, Check, CheckOutcome
from igrt_hw.models.status import AlarmPriority, LoopState
from igrt_tui import approval, rehearsal
from igrt_tui.approval import Phase, Ritual
from igrt_tui.view_model.local import Local, Scene, User

T0 = rehearsal.NOW_US
CHALLENGE = ApprovalChallenge(
    challenge_id="C1",
    digest=rehearsal.DIGEST,
    username="rehearsal",
    code="R4KD",
    fact_prompt="Type the longitudinal shift.",
    fact_unit="mm",
    expires_us=T0 + 120_000_000,
)


def scene(local: dict[str, Any] | None = None, **changes: Any) -> Scene:
    fields: dict[str, Any] = {
        "now_us": T0,
        "connected": True,
        "received_us": T0,
        "user": User("rehearsal", "R. Hearsal", "therapist"),
    }
    state = changes.pop("state", LoopState.CHECKED)
    return Scene(rehearsal.status(state, **changes), Local(**(fields | (local or {}))))


def reading() -> Ritual:
    return approval.challenged(approval.open_ritual(scene(), "rehearsal"), CHALLENGE, T0)


def typed_by_hand(ritual: Ritual, code: str = "R4KD", fact: str = "+8.1") -> tuple[Ritual, int]:
    now = T0 + 200_000
    for end in range(1, len(code) + 1):
        now += 150_000
        ritual = approval.with_code(ritual, code[:end], now)
    for end in range(1, len(fact) + 1):
        now += 150_000
        ritual = approval.with_fact(ritual, fact[:end], now)
    return ritual, now


def ready() -> tuple[Ritual, int]:
    ritual, now = typed_by_hand(reading())
    return ritual, max(now + approval.SETTLE_US, T0 + approval.DWELL_US) + 1


def test_code_number_and_one_press_of_f8_approve_once() -> None:
    ritual, now = ready()
    ritual, send = approval.pressed(ritual, now, False)
    assert send
    assert ritual.phase is Phase.SENDING
    ritual, again = approval.pressed(ritual, now + 5_000_000, False)
    assert not again


def test_a_held_f8_approves_nothing_however_long_it_is_held() -> None:
    ritual, _ = typed_by_hand(reading())
    now = T0
    for _ in range(400):
        now += 33_000
        ritual, send = approval.pressed(ritual, now, False)
        assert not send


def test_a_second_press_right_after_a_refused_one_does_not_count() -> None:
    ritual, now = ready()
    ritual, send = approval.pressed(replace(ritual, last_key_us=now - 200_000), now, False)
    assert not send
    assert "let go" in ritual.notice
    _, send = approval.pressed(ritual, now + approval.REPEAT_US + 1, False)
    assert send


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("R4KX", "+8.1"),
        ("r4kd", "+8.1"),
        ("R4K", "+8.1"),
        ("", "+8.1"),
        ("R4KD", "8.1"),
        ("R4KD", ""),
        ("R4KD", "+8,1"),
    ],
)
def test_a_wrong_code_or_a_number_without_sign_does_not_approve(code: str, fact: str) -> None:
    ritual, now = typed_by_hand(reading(), code, fact)
    _, send = approval.pressed(ritual, now + 10_000_000, False)
    assert not send


def test_nothing_is_approved_before_it_could_be_read() -> None:
    ritual = reading()
    now = T0
    for end in range(1, 5):
        now += 30_000
        ritual = approval.with_code(ritual, "R4KD"[:end], now)
        ritual = approval.with_fact(ritual, "+8.1"[:end], now)
    _, send = approval.pressed(ritual, now + approval.SETTLE_US, False)
    assert not send


def test_the_key_does_not_count_while_the_typing_goes_on() -> None:
    ritual, now = ready()
    ritual = approval.with_fact(ritual, "+8.", now)
    ritual = approval.with_fact(ritual, "+8.1", now + 100_000)
    _, send = approval.pressed(ritual, now + 200_000, False)
    assert not send


@pytest.mark.parametrize("step_us", [0, 1_000, 15_000])
def test_text_that_comes_faster_than_a_hand_is_thrown_away(step_us: int) -> None:
    ritual, now = reading(), T0 + 5_000_000
    for end in range(1, 5):
        now += step_us
        ritual = approval.with_code(ritual, "R4KD"[:end], now)
    assert ritual.code.text == ""
    assert ritual.notice == approval.NOT_BY_HAND


def test_text_that_comes_all_at_once_is_thrown_away() -> None:
    ritual = approval.with_code(reading(), "R4KD", T0 + 5_000_000)
    assert ritual.code.text == ""


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("replaced", {"proposal": rehearsal.proposal(digest="0" * 64)}),
    ("gone", {"proposal": None}),
    ("REJECTED", {"state": LoopState.REJECTED, "proposal": rehearsal.proposal()}),
    ("SUPERSEDED", {"state": LoopState.SUPERSEDED, "proposal": rehearsal.proposal()}),
    ("expired", {"expires_in_s": 0.0}),
    ("expired", {"expires_in_s": None}),
    ("challenge expired", {"now_us": T0 + 120_000_000}),
    ("high alarm", {"alarms": (rehearsal.alarm("Touch-guard", AlarmPriority.HIGH),)}),
]


@pytest.mark.parametrize(("words", "changes"), CHANGES)
def test_any_change_of_what_is_approved_closes_it(words: str, changes: dict[str, Any]) -> None:
    ritual, _ = typed_by_hand(reading())
    ritual = approval.watched(ritual, scene(**changes))
    assert ritual.phase is Phase.CLOSED
    assert words in ritual.closed_because
    assert ritual.code.text == ""


LOCAL_CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("silent", {"received_us": T0 - 1_100_000}),
    ("silent", {"received_us": T0 + 5_000_000}),
    ("lost", {"connected": False, "cause": "connection lost"}),
    ("enlarge", {"width": 99}),
    ("enlarge", {"height": 29}),
    ("signed in", {"user": None}),
]


@pytest.mark.parametrize(("words", "local"), LOCAL_CHANGES)
def test_what_this_terminal_cannot_vouch_for_closes_it(words: str, local: dict[str, Any]) -> None:
    ritual = approval.watched(reading(), scene(local=local))
    assert ritual.phase is Phase.CLOSED
    assert words in ritual.closed_because


@pytest.mark.parametrize(("words", "local"), LOCAL_CHANGES)
def test_what_closes_an_approval_also_keeps_it_from_opening(
    words: str, local: dict[str, Any]
) -> None:
    assert words in approval.why_not_open(scene(local=local), "rehearsal")


def test_one_late_status_does_not_close_an_approval_but_f8_waits_for_the_next() -> None:
    ritual, now = ready()
    ritual = approval.watched(ritual, scene(local={"received_us": T0 - 300_000}))
    assert ritual.phase is Phase.READING
    ritual, send = approval.pressed(ritual, now, True)
    assert not send
    assert "old" in ritual.notice
    _, send = approval.pressed(ritual, now + approval.REPEAT_US + 1, False)
    assert send


def test_a_shift_that_a_check_refuses_cannot_be_opened() -> None:
    proposal = rehearsal.proposal()
    refused = Check(
        name="clearance", sentence="", outcome=CheckOutcome.REFUSE, detail="4 mm at 60 %"
    )
    content = proposal.content.model_copy(update={"checks": (refused,)})
    blocked = scene(proposal=proposal.model_copy(update={"content": content}))
    assert "clearance: 4 mm" in approval.why_not_open(blocked, "rehearsal")


def test_the_same_person_cannot_open_it_twice() -> None:
    half = scene(proposal=rehearsal.proposal(2), approvals=(rehearsal.approval_of("rehearsal"),))
    assert "second person" in approval.why_not_open(half, "rehearsal")
    assert approval.why_not_open(half, "somebody else") == ""


def test_a_challenge_for_another_shift_or_person_closes_it() -> None:
    ritual = approval.open_ritual(scene(), "rehearsal")
    for update in ({"digest": "0" * 64}, {"username": "somebody"}):
        other = CHALLENGE.model_copy(update=update)
        assert approval.challenged(ritual, other, T0).phase is Phase.CLOSED


def test_once_sent_a_change_of_state_is_not_taken_for_a_refusal() -> None:
    ritual, now = ready()
    ritual, _ = approval.pressed(ritual, now, False)
    assert approval.watched(ritual, scene(state=LoopState.APPROVED)).phase is Phase.SENDING
