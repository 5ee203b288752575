"""Daily QA on the terminal: every act, every wrong act, and its words without a screen."""

from __future__ import annotations

from typing import Any

import pytest
from textual.widgets import Input

from igrt_hw.client import ServiceUnreachableError
from igrt_hw.models.status import LoopState
from igrt_tui import rehearsal, rehearsal_books
from igrt_tui.view_model import qa
from igrt_tui.view_model.local import Local, Scene
from igrt_tui.view_model.text import plain

S = LoopState
TESTS = rehearsal_books.tests()
LASERS = next(index for index, test in enumerate(TESTS) if test.name == "Lasers")
MONITOR = next(index for index, test in enumerate(TESTS) if test.name == "Audiovisual monitor")


def in_qa(running: bool = True, **changes: Any) -> Any:
    view = rehearsal_books.view()
    if not running:
        view = view.model_copy(update={"running_test": ""})
    fields = {
        "mode": "daily QA",
        "qa": view,
        "daily_qa": rehearsal_books.standing(passed=False),
    }
    return rehearsal.status(S.IDLE, **(fields | changes))


# Words


def test_a_run_that_is_going_on_is_what_is_listed() -> None:
    rows = qa.rows(TESTS, rehearsal_books.view(), rehearsal_books.runs())
    by_name = {row.test.name: row for row in rows}
    assert by_name["Emergency Stop"].outcome == "passed"
    assert by_name["Door"].outcome == "running"
    assert by_name["Lasers"].figures == "2.6/2.0 mm"
    assert by_name["Shift test: matching"].figures == "-/2.0 mm"


def test_the_last_run_is_listed_while_none_is_going_on() -> None:
    rows = qa.rows(TESTS, None, rehearsal_books.runs())
    assert all(row.outcome == "passed" for row in rows)
    assert qa.rows(TESTS, None, [])[0].outcome == "not done"


def test_limits_are_those_of_the_level_of_the_run() -> None:
    run = rehearsal_books.runs()[0].model_copy(update={"level": "stereotactic"})
    rows = {row.test.name: row for row in qa.rows(TESTS, None, [run])}
    assert rows["Lasers"].limit == 1.0


def test_every_result_has_a_word_and_a_symbol() -> None:
    rows = qa.rows(TESTS, rehearsal_books.view(), [])
    said = "\n".join(plain(line) for line in qa.list_panel(rows, 0, 61, 19))
    for words in ("✓ passed", "✗ failed", "→ running", "· not done"):
        assert words in said


def test_the_trend_has_its_limits_and_what_was_beyond_them_is_a_cross() -> None:
    row = qa.rows(TESTS, None, rehearsal_books.runs())[LASERS]
    lines = qa.trend_panel(row, rehearsal_books.trend("Lasers"), "", 60, 14)
    said = "\n".join(plain(line) for line in lines)
    assert said.count("✗") == 2
    assert "general" in said
    assert "stereo" in said
    assert "38 of 40 passed" in said
    assert "2026-01-22" in said


def test_a_functional_test_has_a_mark_for_every_day() -> None:
    row = qa.rows(TESTS, None, rehearsal_books.runs())[0]
    said = [plain(x) for x in qa.trend_panel(row, rehearsal_books.trend("Door"), "", 60, 14)]
    assert said[1] == "✓" * 22 + "✗" + "✓" * 17


@pytest.mark.parametrize("text", ["", "2,6", "0.4 mm", "nan", "inf", "1e4", "ok", "passed"])
def test_what_is_no_number_is_refused_and_never_guessed(text: str) -> None:
    typed = qa.typed_result(text, "mm")
    assert typed.problem
    assert typed.value is None


@pytest.mark.parametrize("text", ["", "p", "yes", "0.4", "pass"])
def test_a_functional_result_is_a_whole_word(text: str) -> None:
    assert qa.typed_result(text, "").problem


def test_results_as_typed() -> None:
    assert qa.typed_result(" 0.4 ", "mm").value == 0.4
    assert qa.typed_result("Passed", "").passed is True
    assert qa.typed_result("failed", "").passed is False


def test_acts_are_refused_with_their_reason() -> None:
    local = Local(now_us=rehearsal.NOW_US, received_us=rehearsal.NOW_US)
    rows = qa.rows(TESTS, None, rehearsal_books.runs())
    clinical, going = Scene(rehearsal.status(S.IDLE), local), Scene(in_qa(), local)
    assert "mode daily QA" in qa.why_not("begin", clinical, rows[0])
    assert "nobody on the couch" in qa.why_not(
        "mode", Scene(rehearsal.status(S.SETUP), local), None
    )
    assert "end it first" in qa.why_not("mode", going, None)
    assert "Door is being watched" in qa.why_not("watch", going, rows[0])
    assert "only interlocks" in qa.why_not("watch", going, rows[LASERS])
    assert "watched" in qa.why_not("note", going, rows[0])
    assert "old" in qa.why_not("begin", Scene(in_qa(), Local(now_us=rehearsal.NOW_US)), rows[0])


# Acts


@pytest.mark.parametrize(
    ("key", "status", "kind", "field", "value"),
    [
        ("d", rehearsal.status(S.IDLE), "enter_mode", "mode", "daily QA"),
        ("c", in_qa(qa=None), "enter_mode", "mode", "clinical rehearsal"),
        ("b", in_qa(qa=None), "begin_qa", "level", "general"),
        ("s", in_qa(qa=None), "begin_qa", "level", "stereotactic"),
        ("e", in_qa(), "finish_qa", "kind", "finish_qa"),
    ],
)
async def test_an_act_waits_for_f8_and_no_other_key_does_it(
    terminal: Any, key: str, status: Any, kind: str, field: str, value: str
) -> None:
    async with terminal(status) as t:
        await t.press("ctrl+d", key, "enter", key, "space")
        assert t.sent(kind) == []
        await t.press(key, "f8", "f8", "f8")
        (command,) = t.sent(kind)
        assert getattr(command, field) == value


async def test_another_key_leaves_what_waited(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", "e", "enter", "f8")
        assert t.sent("finish_qa") == []
        await t.press("e", "down", "f8")
        assert t.sent("finish_qa") == []


async def test_ending_says_what_is_missing(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", "e")
        assert "It will NOT pass: 11 required without a pass (Door and 10 more)" in t.text()


async def test_beginning_anew_says_that_the_run_before_has_failed(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", "b")
        assert "abandoned and has FAILED" in t.text()


async def test_the_chosen_interlock_is_watched(terminal: Any) -> None:
    async with terminal(in_qa(running=False)) as t:
        await t.press("ctrl+d", "down", "down", "down", "w")
        assert [command.test for command in t.sent("watch_interlock")] == ["Door"]
        assert "next: Open the door" in t.text()


async def test_two_interlocks_are_not_watched_at_once(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", "w")
        assert t.sent("watch_interlock") == []
        assert "Door is being watched" in t.text()


async def test_a_result_is_entered_with_f8_only(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", *["down"] * LASERS, "n")
        await t.type("2.6")
        assert "BEYOND the limit of 2.0 mm" in t.text()
        await t.press("enter", "enter")
        assert t.sent("note_qa") == []
        await t.press("f8", "f8")
        (command,) = t.sent("note_qa")
        assert (command.test, command.value, command.passed) == ("Lasers", 2.6, None)
        assert t.is_on("Qa")


async def test_a_functional_result_is_entered_as_a_word(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", *["down"] * MONITOR, "n")
        await t.type("yes")
        await t.press("f8")
        assert t.sent("note_qa") == []
        assert "the whole word" in t.text()
        t.app.screen.part("result", Input).value = "failed"
        await t.press("f8")
        (command,) = t.sent("note_qa")
        assert (command.passed, command.value) == (False, None)


async def test_an_act_on_old_values_is_refused(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", "e")
        t.supervisor.silent = True
        t.clock.advance(1500)
        await t.settle()
        assert "Not now" in t.text()
        await t.press("f8")
        assert t.sent("finish_qa") == []


async def test_hold_leaves_what_waited(terminal: Any) -> None:
    async with terminal(in_qa()) as t:
        await t.press("ctrl+d", "e", "escape", "f8")
        assert len(t.sent("stop")) == 1
        assert t.sent("finish_qa") == []


async def test_books_that_cannot_be_had_are_a_sentence(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IDLE)) as t:

        async def lost() -> Any:
            raise ServiceUnreachableError("the books are not to be had")

        t.supervisor.qa_tests = lost
        await t.press("ctrl+d")
        assert "the books are not to be had" in t.text()


async def test_the_standing_of_today_has_a_word(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IDLE)) as t:
        await t.press("ctrl+d")
        assert "✓ passed today" in t.text()
        t.supervisor.now = in_qa()
        await t.settle()
        assert "▲ NOT passed today" in t.text()


def test_a_long_standing_never_pushes_out_what_is_needed_next() -> None:
    standing = rehearsal_books.standing(passed=False)
    names = ", ".join(test.name for test in TESTS)
    long = standing.model_copy(update={"sentence": f"daily QA has NOT passed today: {names}"})
    local = Local(now_us=rehearsal.NOW_US, received_us=rehearsal.NOW_US)
    lines = qa.head_panel(Scene(in_qa(daily_qa=long), local), [], 98)
    said = [plain(line) for line in lines]
    assert len(said) == qa.HEAD_HEIGHT
    assert "watching Door. e ends it." in said[1]
    assert "NOT passed today" in said[2]
    assert said[-1].endswith("more in the list below")
    assert all(len(line) <= 98 for line in said)


@pytest.mark.parametrize("size", [(100, 30), (120, 36)])
async def test_all_tests_fit_on_the_screen(terminal: Any, size: tuple[int, int]) -> None:
    async with terminal(in_qa(), size=size) as t:
        await t.press("ctrl+d", *["down"] * LASERS)
        for name in ("qa-head", "qa-list", "qa-test", "qa-trend"):
            panel = t.app.screen.query_one(f"#{name}")
            assert not panel.overflowing, name
