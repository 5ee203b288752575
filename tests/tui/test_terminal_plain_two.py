"""The plain mode with two people, and its books: the second sign-in, daily QA, trends, procedures, the review list."""

from __future__ import annotations

from typing import Any

import pytest

from igrt_hw.models.status import LoopState, SupervisorStatus
from igrt_tui import rehearsal, rehearsal_books

S = LoopState
DAILY_QA = "daily QA"


def half() -> SupervisorStatus:
    """A shift that the person here has approved, and that needs another approval."""
    return rehearsal.status(
        S.CHECKED,
        proposal=rehearsal.proposal(approvals_needed=2),
        approvals=(rehearsal.approval_of("rehearsal"),),
    )


def in_qa(watched: str = "Door") -> SupervisorStatus:
    view = rehearsal_books.view().model_copy(update={"running_test": watched})
    standing = rehearsal_books.standing(passed=False)
    return rehearsal.status(S.IDLE, mode=DAILY_QA, qa=view, daily_qa=standing)


async def signed_in_second(t: Any) -> str:
    said: str = await t.line("approve", "physicist", rehearsal.PASSWORD)
    return said


async def test_the_second_person_approves_in_their_own_session_with_another_number(
    typist: Any,
) -> None:
    async with typist(half()) as t:
        said = await t.line("approve")
        assert "1 of 2 approvals missing" in said
        assert said.endswith("name of the second person:")
        assert await t.line("physicist") == "password:"
        said = await t.line(rehearsal.PASSWORD)
        assert "physicist reads and types now" in said
        assert "lateral +5.2 mm" in said, "the whole shift is read to the second person too"
        await t.by_hand("R4KD\r")
        t.advance(3000)
        await t.by_hand("+5.4")
        t.advance(500)
        assert "type the word approve" in await t.by_hand("\r", 0.0)
        await t.line("approve")
        (guest,) = t.supervisor.guests
        (sent,) = t.sent("approve")
        assert (sent.code, sent.fact) == ("R4KD", "+5.4")
        assert guest.username == "physicist"
        assert guest.closed
        assert guest.signed_in is None
        assert t.supervisor.signed_in is not None, "the first person stays signed in"


@pytest.mark.parametrize("name", ["rehearsal", "REHEARSAL", " Rehearsal "])
async def test_the_same_person_twice_is_refused_before_the_password(typist: Any, name: str) -> None:
    async with typist(half()) as t:
        said = await t.line("approve", name)
        assert "must be another person" in said
        assert "password:" not in said
        assert t.supervisor.guests == []


async def test_a_wrong_password_ends_it_and_is_not_repeated(typist: Any) -> None:
    async with typist(half()) as t:
        said = await t.line("approve", "physicist", "wrong word")
        assert "approval closed: name and password do not fit" in said
        assert "wrong word" not in said
        assert t.supervisor.signed_in is not None


async def test_a_service_that_answers_with_the_first_person_is_not_believed(typist: Any) -> None:
    async with typist(half()) as t:
        kept = t.supervisor.second_person

        async def first_again(username: str, password: str) -> Any:
            return await kept("rehearsal", password)

        t.supervisor.second_person = first_again
        assert "must be another person" in await signed_in_second(t)
        assert t.supervisor.guests[0].closed
        assert t.sent("request_challenge") == []


@pytest.mark.parametrize("typed", [(), ("physicist",), ("physicist", rehearsal.PASSWORD)])
async def test_hold_at_every_step_stops_and_ends_the_second_session(
    typist: Any, typed: tuple[str, ...]
) -> None:
    async with typist(half()) as t:
        await t.line("approve", *typed)
        if len(typed) == 2:
            await t.by_hand("R4\x1b")
        else:
            await t.line("h")
        assert len(t.sent("stop")) == 1
        assert not t.session.typing_by_hand
        assert all(guest.closed for guest in t.supervisor.guests)
        assert "not taken" not in "\n".join(t.said), "after HOLD nothing is asked"


@pytest.mark.parametrize("typed", [(), ("physicist",), ("physicist", rehearsal.PASSWORD)])
async def test_a_change_of_the_shift_closes_it_and_the_line_being_typed_is_taken_for_nothing(
    typist: Any, typed: tuple[str, ...]
) -> None:
    async with typist(half()) as t:
        await t.line("approve", *typed)
        other = rehearsal.proposal(approvals_needed=2, digest="0" * 64)
        t.supervisor.now = t.supervisor.now.model_copy(update={"proposal": other})
        t.advance(100)
        await t.settle()
        said = "\n".join(t.said)
        assert "approval closed: the shift was replaced" in said
        assert all(guest.closed for guest in t.supervisor.guests)
        if len(typed) < 2:
            late = await t.line("close")  # half of a password that begins like a word
            assert late == "not taken"
            assert t.supervisor.sent[-1:] == []


async def test_the_end_of_the_terminal_ends_the_second_session(typist: Any) -> None:
    async with typist(half()) as t:
        await signed_in_second(t)
        await t.session.end()
        await t.settle()
        assert t.supervisor.guests[0].closed


# Daily QA


async def test_the_daily_tests_are_read_with_numbers_limits_and_words_instead_of_keys(
    typist: Any,
) -> None:
    async with typist(in_qa()) as t:
        said = await t.line("qa")
        tests = rehearsal_books.tests()
        for number, test in enumerate(tests, start=1):
            assert f"\n{number}: {test.name}: " in said
        assert "qa end ends it" in said
        assert " e ends it" not in said


async def test_one_test_is_read_with_its_steps_and_its_year(typist: Any) -> None:
    async with typist(in_qa()) as t:
        names = [test.name for test in rehearsal_books.tests()]
        valued = next(n for n in names if rehearsal_books.trend(n).mean is not None)
        said = await t.line(f"qa {names.index(valued) + 1}")
        assert valued in said
        assert "one year: " in said
        assert "mean" in said


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("qa begin general", "begin_qa"),
        ("qa end", "finish_qa"),
        ("qa begin stereotactic", "begin_qa"),
    ],
)
async def test_acts_of_daily_qa_need_the_word_do(typist: Any, line: str, kind: str) -> None:
    async with typist(in_qa()) as t:
        assert "Type do and Enter" in await t.line(line)
        await t.line("yes")
        assert t.sent(kind) == []
        await t.line(line, "do")
        assert len(t.sent(kind)) == 1


async def test_the_mode_is_changed_with_the_word_do_and_nobody_on_the_couch(typist: Any) -> None:
    async with typist(rehearsal.status(S.IDLE)) as t:
        await t.line("qa mode daily", "do")
        assert [command.mode for command in t.sent("enter_mode")] == [DAILY_QA]
    async with typist(rehearsal.status(S.CHECKED)) as t:
        assert "nobody on the couch" in await t.line("qa mode daily")


async def test_an_interlock_is_watched_and_never_entered(typist: Any) -> None:
    async with typist(in_qa(watched="")) as t:
        tests = rehearsal_books.tests()
        number = next(n for n, test in enumerate(tests, 1) if test.kind == "interlock")
        assert "qa watch and its number" in await t.line(f"qa enter {number}")
        await t.line(f"qa watch {number}")
        assert [command.test for command in t.sent("watch_interlock")] == [tests[number - 1].name]
        assert "refused: there is no test 99" in await t.line("qa watch 99")


@pytest.mark.parametrize("text", ["0,4", "0.4 mm", "", "about 1"])
async def test_a_result_that_is_no_number_is_refused_and_never_guessed(
    typist: Any, text: str
) -> None:
    async with typist(in_qa()) as t:
        number = measured()
        assert "refused: type the number" in await t.line(f"qa enter {number}", text)
        assert t.sent("note_qa") == []


def measured() -> int:
    tests = rehearsal_books.tests()
    return next(
        n for n, test in enumerate(tests, 1) if test.kind == "measured by hand" and test.unit
    )


async def test_a_result_is_entered_after_it_was_said_what_it_means(typist: Any) -> None:
    async with typist(in_qa()) as t:
        said = await t.line(f"qa enter {measured()}", "99.5", "phantom slipped")
        assert "BEYOND the limit" in said
        assert t.sent("note_qa") == []
        await t.line("do")
        (sent,) = t.sent("note_qa")
        assert (sent.value, sent.text) == (99.5, "phantom slipped")


# Trends, procedures, review list


async def test_trends_are_read_fraction_by_fraction_and_never_without_a_patient(
    typist: Any,
) -> None:
    async with typist() as t:
        said = await t.line("trends")
        assert "fraction 1: lateral" in said
        assert "ABOVE the level of" in said
        assert "action levels of" in said
    async with typist(rehearsal.status(S.IDLE)) as t:
        assert "no patient is bound" in await t.line("trends")


async def test_a_procedure_is_told_with_the_state_and_read_step_by_step_without_the_supervisor(
    typist: Any,
) -> None:
    async with typist(rehearsal.status(S.FAULT)) as t:
        assert "type procedure and Enter" in "\n".join(t.said)
        t.supervisor.unreachable = True
        said = await t.line("procedure")
        assert "step 1 of" in said
        assert "step 2 of" in await t.line("next")
        assert "step 1 of" in await t.line("back")
        assert "step 1 of" in await t.line("again")
        assert "LOOK: this state asks for procedure" in await t.line("procedures")
        assert t.supervisor.sent == []


async def test_the_review_list_is_read(typist: Any) -> None:
    async with typist() as t:
        said = await t.line("reviews 7")
        assert "overrides of the last 7 days" in said
        assert "ended unanswered" in said
        assert "refused: reviews takes days" in await t.line("reviews often")


async def test_the_target_is_read(typist: Any) -> None:
    async with typist(rehearsal.status(S.VERIFIED)) as t:
        assert "not watched" in await t.line("target")
