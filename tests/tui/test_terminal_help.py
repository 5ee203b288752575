"""F1 for whatever has the focus, on every screen; what was typed is still there; what is read is still watched."""

from __future__ import annotations

from typing import Any

import pytest
from textual.widgets import Input

from igrt_hw.models.status import LoopState
from igrt_tui import rehearsal
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.screens.review import ReviewScreen

S = LoopState
TWO = {
    "proposal": rehearsal.proposal(approvals_needed=2),
    "approvals": (rehearsal.approval_of("rehearsal"),),
}
PLACES: dict[str, tuple[Any, str]] = {
    "Console": (rehearsal.status(S.CHECKED), "f2"),
    "Images": (rehearsal.status(S.CHECKED), "f3"),
    "Review": (rehearsal.status(S.CHECKED), "f4"),
    "Approve": (rehearsal.status(S.CHECKED), "f5"),
    "Motion": (rehearsal.status(S.MOVING), "f6"),
    "Alarms": (rehearsal.status(S.CHECKED), "f7"),
    "Audit": (rehearsal.status(S.CHECKED), "f9"),
    "Room": (rehearsal.status(S.CHECKED), "f10"),
    "Qa": (rehearsal.status(S.IDLE), "ctrl+d"),
    "QaNote": (rehearsal.status(S.IDLE), ""),
    "Trends": (rehearsal.status(S.CHECKED), "ctrl+r"),
    "ReviewList": (rehearsal.status(S.CHECKED), "f9 ctrl+l"),
    "Procedures": (rehearsal.status(S.FAULT), "p"),
    "Places": (rehearsal.status(S.CHECKED), "ctrl+p"),
    "SecondPerson": (rehearsal.status(S.CHECKED, **TWO), "f5"),
    "Patient": (rehearsal.status(S.IDLE), "o"),
    "Reject": (rehearsal.status(S.CHECKED), "x"),
    "ByHand": (rehearsal.status(S.REGISTERED), "f3 n h"),
    "Affirm": (rehearsal.status(S.APPROVED), "a"),
    "Leave": (rehearsal.status(S.CHECKED), "ctrl+q"),
}


async def go(t: Any, name: str, keys: str) -> None:
    if name == "QaNote":
        from igrt_tui import rehearsal_books
        from igrt_tui.screens.qa_note import QaNoteScreen

        t.app.switch_screen(QaNoteScreen(rehearsal_books.tests()[-1], None))
        await t.settle()
    await t.press(*keys.split())
    assert t.is_on(name)


@pytest.mark.parametrize("name", PLACES)
async def test_every_screen_and_every_field_has_its_help(terminal: Any, name: str) -> None:
    status, keys = PLACES[name]
    async with terminal(status) as t:
        await go(t, name, keys)
        screen = t.app.screen
        for field in [w for w in screen.focus_chain if isinstance(w, Input)] or [None]:
            if field is not None:
                field.focus()
                await t.settle()
            await t.press("f1")
            assert t.is_on("Help")
            shown = " ".join(t.text().split())
            assert screen.HELP.split(".")[0] in shown
            if field is not None:
                assert screen.FIELD_HELP[field.id].split(",")[0][:40] in shown, field.id
            await t.press("f1")
            assert t.app.screen is screen


def test_nothing_that_takes_the_focus_is_without_a_name_in_the_help() -> None:
    for kind in OperatorScreen.__subclasses__():
        assert kind.HELP, kind.__name__


async def test_help_keeps_what_was_typed(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IDLE)) as t:
        await t.press("o")
        await t.type("ABC")
        await t.press("f1", "f1")
        assert t.is_on("Patient")
        assert t.app.screen.part("patient-id", Input).value.lower() == "abc"


async def test_a_change_while_help_stands_in_front_closes_the_approval(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f5", "f1")
        t.supervisor.now = rehearsal.status(S.CHECKED, proposal=rehearsal.proposal(digest="0" * 64))
        await t.settle()
        t.supervisor.now = rehearsal.status(S.CHECKED)
        await t.settle()
        await t.press("f1")
        assert not t.is_on("Approve")
        assert "replaced" in t.text()


async def test_hold_while_help_stands_in_front_closes_the_approval(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f5", "f1", "escape")
        assert len(t.sent("stop")) == 1
        await t.press("f1")
        assert not t.is_on("Approve")
        assert "HOLD was pressed" in t.text()


async def test_leaving_from_help_leaves_nothing_behind(terminal: Any) -> None:
    async with terminal() as t:
        depth = len(t.app.screen_stack)
        for key in ("f2", "f4", "f5", "ctrl+p", "ctrl+q"):
            await t.press("f5", "f1", key)
            assert len(t.app.screen_stack) == depth
            await t.press("f2")


# Drawn only when whole


async def test_a_screen_that_is_drawn_while_it_is_put_up_is_no_defect(terminal: Any) -> None:
    async with terminal() as t:
        for name in ("review", "qa", "audit", "motion", "trends"):
            t.app.switch_screen(name)
            for _ in range(40):
                t.app.draw()
                await t.pilot.pause(0)
        assert "defect" not in t.text()


async def test_a_screen_of_which_a_part_is_missing_is_not_drawn(terminal: Any) -> None:
    async with terminal() as t:
        screen = ReviewScreen()
        assert not screen.composed
        t.app.switch_screen(screen)
        await t.settle()
        assert screen.composed
        screen._whole = False
        screen.panel("shift")._is_mounted = False
        assert not screen.composed
        t.app.draw()
        assert "defect" not in t.text()


async def test_a_part_that_no_screen_has_is_a_defect_and_not_passed_over(terminal: Any) -> None:
    async with terminal() as t:
        with pytest.raises(LookupError, match="has no Panel 'nowhere'"):
            t.app.screen.panel("nowhere")
