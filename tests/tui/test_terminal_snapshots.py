"""Pictures of every screen in its main states at two sizes, with a frozen clock."""

from collections.abc import Callable
from typing import Any

import pytest
from terminal_quiet import heard, quiet
from textual.pilot import Pilot

from igrt_hw.models.status import AlarmPriority, LoopState
from igrt_tui import rehearsal, rehearsal_books
from igrt_tui.app import OperatorApp

S = LoopState
ALARMS = (
    rehearsal.alarm("Couch: the two position channels disagree", AlarmPriority.HIGH, "H"),
    rehearsal.alarm(),
    rehearsal.alarm("The imager's tube is warm", AlarmPriority.LOW, "L"),
)
IN_QA: dict[str, Any] = {
    "mode": "daily QA",
    "qa": rehearsal_books.view(),
    "daily_qa": rehearsal_books.standing(passed=False),
}
HALF: dict[str, Any] = {
    "proposal": rehearsal.proposal(approvals_needed=2),
    "approvals": (rehearsal.approval_of("rehearsal"),),
}
CASES: dict[str, tuple[Any, str]] = {
    "console_idle": (rehearsal.status(S.IDLE), ""),
    "console_checked": (rehearsal.status(S.CHECKED), ""),
    "console_fault": (rehearsal.status(S.FAULT, alarms=ALARMS, reason="channels disagree"), ""),
    "patient": (rehearsal.status(S.IDLE), "o"),
    "images": (rehearsal.status(S.CHECKED), "f3"),
    "images_checkerboard": (rehearsal.status(S.CHECKED), "f3 v v v"),
    "images_by_hand": (rehearsal.status(S.REGISTERED), "f3 n 2 right right"),
    "images_region": (rehearsal.status(S.REGISTERED), "f3 z o"),
    "by_hand": (rehearsal.status(S.REGISTERED), "f3 n h 1"),
    "review": (rehearsal.status(S.CHECKED), "f4"),
    "approve": (rehearsal.status(S.CHECKED), "f5"),
    "reject": (rehearsal.status(S.CHECKED), "x 2"),
    "affirm_arm": (rehearsal.status(S.APPROVED), "a"),
    "motion_moving": (rehearsal.status(S.MOVING), "f6"),
    "motion_held": (rehearsal.status(S.HELD), "f6"),
    "alarms": (rehearsal.status(S.CHECKED, alarms=ALARMS), "f7"),
    "room": (rehearsal.status(S.CHECKED), "f10"),
    "room_dry_run": (rehearsal.status(S.CHECKED), "f10 d"),
    "record": (rehearsal.status(S.CHECKED), "f9"),
    "record_found": (rehearsal.status(S.CHECKED), "f9 tab a p p r o ctrl+n ctrl+b"),
    "qa": (rehearsal.status(S.IDLE), "ctrl+d"),
    "qa_running": (rehearsal.status(S.IDLE, **IN_QA), "ctrl+d down down down"),
    "qa_failed": (rehearsal.status(S.IDLE, **IN_QA), "ctrl+d " + "down " * 15),
    "qa_ending": (rehearsal.status(S.IDLE, **IN_QA), "ctrl+d e"),
    "trends": (rehearsal.status(S.CHECKED), "ctrl+r"),
    "trends_longitudinal": (rehearsal.status(S.CHECKED), "ctrl+r right right right"),
    "trends_nobody": (rehearsal.status(S.IDLE), "ctrl+r"),
    "review_list": (rehearsal.status(S.CHECKED), "f9 ctrl+l"),
    "procedures": (rehearsal.status(S.FAULT), "p right"),
    "places": (rehearsal.status(S.CHECKED), "ctrl+p"),
    "second_person": (rehearsal.status(S.CHECKED, **HALF), "f5"),
    "help_of_a_field": (rehearsal.status(S.CHECKED, **HALF), "f5 f1"),
    "help": (rehearsal.status(S.CHECKED), "f4 f1"),
    "quit": (rehearsal.status(S.ARMED), "ctrl+q"),
}


def make(status: Any, theme: str = "dark") -> OperatorApp:
    return OperatorApp(
        rehearsal.RehearsedSupervisor(status),
        username="rehearsal",
        password=rehearsal.PASSWORD,
        address="http://127.0.0.1:8421",
        theme=theme,
        clock_us=lambda: rehearsal.NOW_US,
    )


async def settle(pilot: Pilot[int]) -> None:
    await heard(pilot.app)
    for field in pilot.app.screen.query("Input"):
        field.cursor_blink = False  # type: ignore[attr-defined]
    pilot.app.draw()  # type: ignore[attr-defined]
    await quiet(pilot.app)
    await pilot.pause()


def going_to(keys: str, signed_in: bool = True) -> Callable[[Pilot[int]], Any]:
    async def go(pilot: Pilot[int]) -> None:
        await settle(pilot)
        if signed_in:
            await pilot.press("enter")
            await settle(pilot)
        for key in keys.split():
            await pilot.press(key)
            await settle(pilot)

    return go


@pytest.mark.parametrize("size", [(120, 36), (100, 30)], ids=["120x36", "100x30"])
@pytest.mark.parametrize("name", CASES)
def test_screen(snap_compare: Any, name: str, size: tuple[int, int]) -> None:
    status, keys = CASES[name]
    assert snap_compare(make(status), run_before=going_to(keys), terminal_size=size)


@pytest.mark.parametrize("size", [(120, 36), (100, 30)], ids=["120x36", "100x30"])
def test_first_screen(snap_compare: Any, size: tuple[int, int]) -> None:
    app = make(rehearsal.status(S.IDLE))
    assert snap_compare(app, run_before=going_to("", signed_in=False), terminal_size=size)


@pytest.mark.parametrize("theme", ["light", "contrast"])
def test_colours(snap_compare: Any, theme: str) -> None:
    app = make(rehearsal.status(S.FAULT, alarms=ALARMS, reason="channels disagree"), theme)
    assert snap_compare(app, run_before=going_to(""), terminal_size=(100, 30))
