"""Two people at one terminal: the second signs in for one approval of their own; the same person twice never."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from textual.events import Paste
from textual.widgets import Input

from igrt_hw.client import ServiceUnreachableError
from igrt_hw.models.status import AlarmPriority, LoopState
from igrt_tui import approval, rehearsal
from igrt_tui.view_model.local import Local, Scene, User
from igrt_tui.view_model.second_person import notice
from igrt_tui.view_model.text import plain

S = LoopState


def half_approved(**changes: Any) -> Any:
    fields: dict[str, Any] = {
        "proposal": rehearsal.proposal(approvals_needed=2),
        "approvals": (rehearsal.approval_of("rehearsal"),),
    }
    return rehearsal.status(changes.pop("state", S.CHECKED), **(fields | changes))


def scene(status: Any, **local: Any) -> Scene:
    fields: dict[str, Any] = {
        "now_us": rehearsal.NOW_US,
        "received_us": rehearsal.NOW_US,
        "connected": True,
        "user": User("rehearsal", "R. Hearsal", "therapist"),
    }
    return Scene(status, Local(**(fields | local)))


async def second_signs_in(t: Any, name: str = "second") -> None:
    await t.press("f5")
    assert t.is_on("SecondPerson")
    await t.type(name)
    await t.press("enter")
    await t.type(rehearsal.PASSWORD, every_ms=5.0)
    await t.press("enter")


async def second_types(t: Any, fact: str = "+5.4") -> None:
    await t.type("R4KD")
    await t.press("tab")
    await t.type(fact)
    t.advance(5000)
    await t.settle()


# Rules, without a screen


@pytest.mark.parametrize("name", ["rehearsal", "Rehearsal", "REHEARSAL", ""])
def test_the_same_person_twice_is_refused_whatever_the_case(name: str) -> None:
    assert approval.why_not_second(scene(half_approved()), name)
    assert not approval.why_not_second(scene(half_approved()), "second")


def test_who_has_approved_before_is_refused_too() -> None:
    given = (rehearsal.approval_of("somebody"), rehearsal.approval_of("rehearsal"))
    status = half_approved(proposal=rehearsal.proposal(approvals_needed=3), approvals=given)
    assert "has approved this shift already" in approval.why_not_second(scene(status), "SOMEBODY")


def test_a_second_person_is_asked_for_only_after_the_first_and_only_if_one_is_needed() -> None:
    assert approval.needs_second(scene(half_approved()), "rehearsal")
    assert not approval.needs_second(scene(half_approved(approvals=())), "rehearsal")
    one = half_approved(proposal=rehearsal.proposal(approvals_needed=1))
    assert not approval.needs_second(scene(one), "rehearsal")
    assert not approval.needs_second(scene(half_approved(expires_in_s=0.0)), "rehearsal")
    assert not approval.needs_second(scene(half_approved(), height=29), "rehearsal")


def test_the_second_person_is_not_told_what_the_first_typed() -> None:
    said = "\n".join(plain(line) for line in notice(scene(half_approved()), 84))
    assert "rehearsal (therapist) approved" in said
    assert "1 of 2 approvals missing" in said
    assert "7.9" not in said


# Acts


async def test_the_second_person_approves_in_their_own_session_with_another_number(
    terminal: Any,
) -> None:
    async with terminal(half_approved()) as t:
        await second_signs_in(t)
        assert t.is_on("Approve")
        assert "Typed by second" in t.text()
        assert "▶ lateral" in t.text()
        await second_types(t)
        assert t.sent("approve") == []
        await t.press("f8")
        (command,) = t.sent("approve")
        assert command.fact == "+5.4"
        assert t.is_on("Console")
        (guest,) = t.supervisor.guests
        assert guest.username == "second"
        assert guest.signed_in is None
        assert guest.closed
        assert t.supervisor.signed_in.username == "rehearsal"
        assert t.app.scene().local.user.username == "rehearsal"


@pytest.mark.parametrize("leave", ["f2", "f4", "escape"])
async def test_the_session_of_the_second_ends_however_the_approval_is_left(
    terminal: Any, leave: str
) -> None:
    async with terminal(half_approved()) as t:
        await second_signs_in(t)
        await t.press(leave)
        assert not t.is_on("Approve")
        (guest,) = t.supervisor.guests
        assert guest.signed_in is None
        assert guest.closed
        assert t.sent("approve") == []


@pytest.mark.parametrize("name", ["rehearsal", "Rehearsal"])
async def test_the_first_person_does_not_get_in_again(terminal: Any, name: str) -> None:
    async with terminal(half_approved()) as t:
        await second_signs_in(t, name)
        assert t.is_on("SecondPerson")
        assert "must be another person" in t.text()
        assert t.supervisor.guests == []
        assert t.app.screen.part("second-password", Input).value == ""


async def test_a_service_that_answers_with_the_first_person_is_not_believed(terminal: Any) -> None:
    async with terminal(half_approved()) as t:

        async def the_same(username: str, password: str) -> Any:
            return await rehearsal.RehearsedSupervisor.second_person(
                t.supervisor, "rehearsal", password
            )

        t.supervisor.second_person = the_same
        await second_signs_in(t)
        assert not t.is_on("Approve")
        (guest,) = t.supervisor.guests
        assert guest.closed
        assert t.sent("request_challenge") == []


async def test_a_wrong_password_is_a_sentence_and_the_field_is_empty(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        await t.press("f5")
        await t.type("second")
        await t.press("enter")
        await t.type("wrong")
        await t.press("enter")
        assert t.is_on("SecondPerson")
        assert "do not fit" in t.text()
        assert t.app.screen.part("second-password", Input).value == ""


async def test_double_enter_signs_in_once_and_approves_nothing(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        await second_signs_in(t)
        await t.press("enter", "enter", "enter")
        assert len(t.supervisor.guests) == 1
        assert t.sent("approve") == []


async def test_a_password_is_not_pasted(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        await t.press("f5")
        await t.type("second")
        await t.press("enter")
        t.app.post_message(Paste(rehearsal.PASSWORD))
        await t.settle()
        assert t.app.screen.part("second-password", Input).value == ""
        assert "pasting is off" in t.text()


CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("replaced", {"proposal": rehearsal.proposal(approvals_needed=2, digest="0" * 64)}),
    ("expired", {"expires_in_s": 0.0}),
    ("APPROVED", {"state": S.APPROVED}),
]


@pytest.mark.parametrize(("words", "changes"), CHANGES)
@pytest.mark.parametrize("reading", [False, True])
async def test_any_change_ends_the_second_approval_before_and_while_it_is_read(
    terminal: Any, words: str, changes: dict[str, Any], reading: bool
) -> None:
    async with terminal(half_approved()) as t:
        if reading:
            await second_signs_in(t)
            await second_types(t)
        else:
            await t.press("f5")
        t.supervisor.now = half_approved(**changes)
        await t.settle()
        await t.press("f8")
        assert not t.is_on("SecondPerson")
        assert not t.is_on("Approve")
        assert t.sent("approve") == []
        assert "closed" in t.text()
        assert words in t.text()


async def test_a_high_alarm_ends_the_second_approval(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        await second_signs_in(t)
        await second_types(t)
        alarms = (rehearsal.alarm("Touch", AlarmPriority.HIGH),)
        t.supervisor.now = half_approved(alarms=alarms)
        await t.settle()
        await t.press("f8")
        assert t.sent("approve") == []


async def test_a_lost_supervisor_ends_the_second_sign_in(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        await t.press("f5")
        t.supervisor.silent = True
        t.clock.advance(1100)
        await t.settle()
        assert t.is_on("Review")
        assert "silent" in t.text()


@pytest.mark.parametrize("milliseconds", [-60_000, 3_600_000])
async def test_a_clock_that_jumps_ends_the_second_approval(
    terminal: Any, milliseconds: int
) -> None:
    async with terminal(half_approved()) as t:
        await second_signs_in(t)
        await second_types(t)
        t.supervisor.silent = True
        t.clock.advance(milliseconds)
        await t.settle()
        await t.press("f8")
        assert t.sent("approve") == []
        assert not t.is_on("Approve")


async def test_a_small_terminal_ends_the_second_sign_in(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        await t.press("f5")
        await t.pilot.resize_terminal(99, 30)
        await t.settle()
        assert not t.is_on("SecondPerson")
        await t.press("f5")
        assert not t.is_on("SecondPerson")
        assert "enlarge" in t.text()


@pytest.mark.parametrize("hold", ["escape", "f12"])
@pytest.mark.parametrize("field", ["second-name", "second-password"])
async def test_hold_in_each_field_stops_and_forgets_what_was_typed(
    terminal: Any, field: str, hold: str
) -> None:
    async with terminal(half_approved()) as t:
        await t.press("f5")
        screen = t.app.screen
        screen.part(field, Input).focus()
        await t.type("abc")
        await t.press(hold)
        assert len(t.sent("stop")) == 1
        assert t.is_on("Review")
        assert screen.part(field, Input).value == ""


async def test_who_has_left_the_sign_in_is_not_brought_back_by_a_late_answer(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        answered = asyncio.Event()
        second = t.supervisor.second_person

        async def slow(username: str, password: str) -> Any:
            await answered.wait()
            return await second(username, password)

        t.supervisor.second_person = slow
        await second_signs_in(t)
        await t.press("f2")
        answered.set()
        await t.settle()
        assert t.is_on("Console")
        (guest,) = t.supervisor.guests
        assert guest.closed
        assert t.sent("request_challenge") == []


async def test_a_second_person_who_may_not_approve_is_told_why(terminal: Any) -> None:
    async with terminal(half_approved()) as t:
        second = t.supervisor.second_person

        async def without_a_right(username: str, password: str) -> Any:
            other = await second(username, password)

            async def refused(command: Any) -> Any:
                raise ServiceUnreachableError("a student may not approve")

            other.send = refused
            return other

        t.supervisor.second_person = without_a_right
        await second_signs_in(t)
        assert t.is_on("Review")
        assert "a student may not approve" in t.text()
