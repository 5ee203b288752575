"""The app with keys: every act does what it says, and every wrong act does nothing."""

import asyncio
import re
from typing import Any

import pytest
from textual.events import Paste
from textual.widgets import Input

from igrt_hw.client import ServiceUnreachableError
from igrt_hw.models.commands import Command, CommandResult
from igrt_hw.models.proposal import CheckOutcome
from igrt_hw.models.status import Activity, AlarmPriority, LoopState
from igrt_tui import rehearsal
from igrt_tui.screens.approve import ApproveScreen

S = LoopState
SCREENS = {
    "f1": "Help",
    "f2": "Console",
    "f3": "Images",
    "f4": "Review",
    "f5": "Approve",
    "f6": "Motion",
    "f7": "Alarms",
    "f9": "Audit",
    "f10": "Room",
    "ctrl+d": "Qa",
    "ctrl+r": "Trends",
    "ctrl+p": "Places",
    "ctrl+q": "Leave",
}


async def approved_up_to_f8(t: Any, code: str = "R4KD", fact: str = "+8.1") -> None:
    await t.press("f5")
    assert t.is_on("Approve")
    await t.type(code)
    await t.press("tab")
    await t.type(fact)
    t.advance(5000)
    await t.settle()


# The first screen


async def test_the_first_screen_says_what_this_is_not_and_what_is_at_the_other_end(
    terminal: Any,
) -> None:
    async with terminal(signed_in=False) as t:
        assert "NOT A MEDICAL DEVICE" in t.text()
        assert "SIMULATOR" in t.text()


async def test_a_wrong_password_is_a_sentence_and_stays_on_the_first_screen(terminal: Any) -> None:
    async with terminal(signed_in=False) as t:
        await t.press("x", "enter")
        assert t.is_on("Login")
        assert "do not fit" in t.text()


async def test_no_screen_opens_before_somebody_has_signed_in(terminal: Any) -> None:
    async with terminal(signed_in=False) as t:
        for key in ("f2", "f3", "f4", "f5", "f6", "f7", "f9", "f10", "ctrl+d", "ctrl+r", "ctrl+p"):
            await t.press(key)
            assert t.is_on("Login")


@pytest.mark.parametrize(("key", "screen"), SCREENS.items())
async def test_every_screen_carries_the_simulator_banner(
    terminal: Any, key: str, screen: str
) -> None:
    async with terminal() as t:
        await t.press(key)
        assert t.is_on(screen)
        banner = t.app.screen.query_one("#head").lines[0][0].text
        assert banner.count("SIMULATOR") == 2
        assert "NOT A MEDICAL DEVICE" in banner


async def test_on_hardware_the_banner_names_the_ports_and_not_the_simulator(terminal: Any) -> None:
    async with terminal(rehearsal.status(simulator=False)) as t:
        assert "HARDWARE" in t.text()
        assert "/dev/pts/4" in t.text()
        assert "SIMULATOR" not in t.text()


# HOLD


@pytest.mark.parametrize("hold", ["escape", "f12"])
@pytest.mark.parametrize("key", SCREENS)
async def test_hold_is_one_key_from_every_screen(terminal: Any, key: str, hold: str) -> None:
    async with terminal(rehearsal.status(S.CHECKED)) as t:
        await t.press(key, hold)
        assert len(t.sent("stop")) == 1


@pytest.mark.parametrize("hold", ["escape", "f12"])
@pytest.mark.parametrize("screen", ["o", "x", "f5", "f9", "ctrl+p", "ctrl+q"])
async def test_hold_works_while_any_field_has_the_focus(
    terminal: Any, screen: str, hold: str
) -> None:
    state = S.IDLE if screen == "o" else S.CHECKED
    async with terminal(rehearsal.status(state)) as t:
        await t.press(screen)
        ids = [field.id for field in t.app.screen.query(Input) if not field.disabled]
        assert ids
        for number, field_id in enumerate(ids, start=1):
            if screen == "f5" and not t.is_on("Approve"):
                await t.press("f5")
            t.app.screen.query_one(f"#{field_id}").focus()
            await t.settle()
            await t.press(hold)
            assert len(t.sent("stop")) == number


async def test_hold_is_sent_while_another_command_waits_for_its_answer(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IMAGED)) as t:
        never = asyncio.Event()
        send = t.supervisor.send

        async def slow(command: Command) -> CommandResult:
            if command.kind == "register":
                await never.wait()
            return await send(command)

        t.supervisor.send = slow
        await t.press("g", "escape")
        assert len(t.sent("stop")) == 1


async def test_a_held_hold_key_never_piles_up_commands(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.MOVING)) as t:
        answered = asyncio.Event()
        send = t.supervisor.send

        async def slow(command: Command) -> CommandResult:
            await answered.wait()
            return await send(command)

        t.supervisor.send = slow
        await t.press(*["escape"] * 30)
        answered.set()
        await t.settle()
        assert 1 <= len(t.sent("stop")) <= 2


async def test_an_unconfirmed_hold_says_so_and_gives_up_the_lease(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.MOVING)) as t:
        waits = asyncio.Event()

        async def lost(command: Command) -> CommandResult:
            t.supervisor.sent.append(command)
            await waits.wait()
            raise ServiceUnreachableError("nobody answers")

        t.supervisor.send = lost
        await t.press("escape")
        assert "not confirmed yet" in t.text()
        assert not t.app.alive()
        waits.set()
        await t.settle()
        assert "HOLD NOT CONFIRMED" in t.text()
        assert "hardware stop" in t.text()
        assert len(t.sent("stop")) == 3


async def test_a_hold_while_the_supervisor_is_lost_says_that_it_did_not_arrive(
    terminal: Any,
) -> None:
    async with terminal(rehearsal.status(S.MOVING)) as t:
        t.supervisor.silent, t.supervisor.unreachable = True, True
        t.supervisor.connected, t.supervisor.cause = False, "the connection was lost"
        t.clock.advance(1500)
        await t.settle()
        assert "OLD VALUES" in t.text()
        await t.press("escape")
        shown = t.text()
        assert "HOLD NOT CONFIRMED. Use the hardware stop NOW" in shown
        assert "OLD VALUES" in shown
        assert len(t.sent("stop")) == 3


async def test_a_confirmed_hold_says_how_long_it_took(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.MOVING)) as t:
        await t.press("f12")
        assert "STOP confirmed" in t.text()
        assert t.app.alive()


# Approval


async def test_code_number_and_f8_approve_what_is_on_the_screen(terminal: Any) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        assert t.sent("approve") == []
        await t.press("f8")
        (command,) = t.sent("approve")
        assert (command.digest, command.code, command.fact) == (rehearsal.DIGEST, "R4KD", "+8.1")
        assert t.is_on("Console")


async def test_the_axis_that_is_asked_for_is_pointed_at(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f5")
        assert "▶ longitudinal mm" in t.text()
        assert "+8.1" in t.text()


@pytest.mark.parametrize("key", ["enter", "space", "y", "f5", "tab"])
async def test_no_other_key_approves_however_often_it_is_hit(terminal: Any, key: str) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        await t.press(*[key] * 5)
        assert t.sent("approve") == []


async def test_double_enter_from_any_screen_approves_nothing(terminal: Any) -> None:
    for key in ("f2", "f4", "f5"):
        async with terminal() as t:
            await t.press(key, "enter", "enter", "enter", "enter")
            assert t.sent("approve") == []


async def test_f8_pressed_twice_approves_once(terminal: Any) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        await t.press("f8", "f8", "f8")
        assert len(t.sent("approve")) == 1


async def test_a_paste_is_refused_and_said(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f5")
        t.app.post_message(Paste("R4KD"))
        await t.settle()
        assert t.app.screen.query_one("#code", Input).value == ""
        assert "pasting is off" in t.text()


async def test_the_apps_own_clipboard_is_refused_too(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f5")
        t.app.copy_to_clipboard("R4KD")
        await t.press("ctrl+v")
        assert t.app.screen.query_one("#code", Input).value == ""


async def test_a_paste_without_brackets_is_noticed_by_its_speed(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f5")
        await t.type("R4KD", every_ms=1.0)
        assert t.app.screen.query_one("#code", Input).value == ""
        assert "not typed by hand" in t.text()


LOST_COUCH = tuple(
    link.model_copy(update={"age_ms": 1500.0}) if link.name == "couch" else link
    for link in rehearsal.links()
)
CLOSING: list[tuple[str, dict[str, Any]]] = [
    ("replaced", {"proposal": rehearsal.proposal(digest="0" * 64)}),
    ("expired", {"expires_in_s": 0.0}),
    ("line to the couch is lost", {"links": LOST_COUCH}),
    ("high alarm", {"alarms": (rehearsal.alarm("Touch", AlarmPriority.HIGH),)}),
]


@pytest.mark.parametrize(("words", "changes"), CLOSING)
async def test_a_change_in_the_middle_closes_the_approval(
    terminal: Any, words: str, changes: dict[str, Any]
) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        t.supervisor.now = rehearsal.status(S.CHECKED, version=1300, **changes)
        await t.settle()
        await t.press("f8")
        assert t.sent("approve") == []
        assert not t.is_on("Approve")
        assert words in t.text()


async def test_a_new_version_of_the_same_shift_does_not_disturb_the_reader(terminal: Any) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        t.supervisor.now = rehearsal.status(S.CHECKED, version=1300)
        await t.settle()
        await t.press("f8")
        assert len(t.sent("approve")) == 1


async def test_a_change_in_the_very_instant_of_f8_is_seen(terminal: Any) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        t.app._status = rehearsal.status(S.CHECKED, proposal=rehearsal.proposal(digest="0" * 64))
        screen = t.app.screen
        assert isinstance(screen, ApproveScreen)
        screen.action_approve()
        assert t.sent("approve") == []
        assert screen.ritual.phase == "closed"


async def test_a_lost_supervisor_in_the_middle_closes_the_approval(terminal: Any) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        t.supervisor.silent = True
        t.clock.advance(1100)
        await t.settle()
        await t.press("f8")
        assert t.sent("approve") == []
        assert not t.is_on("Approve")
        assert "old" in t.text()


@pytest.mark.parametrize("milliseconds", [-60_000, 3_600_000])
async def test_a_clock_that_jumps_closes_the_approval(terminal: Any, milliseconds: int) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        t.supervisor.silent = True
        t.clock.advance(milliseconds)
        await t.settle()
        await t.press("f8")
        assert t.sent("approve") == []
        assert not t.is_on("Approve")


async def test_hold_in_the_middle_closes_the_approval(terminal: Any) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        await t.press("escape", "f8")
        assert t.sent("approve") == []
        assert t.is_on("Review")


async def test_a_wrong_answer_closes_the_approval_with_the_supervisors_reason(
    terminal: Any,
) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t, fact="-8.1")
        t.supervisor.refuse = "the number does not agree"
        await t.press("f8")
        assert t.is_on("Review")
        assert "the number does not agree" in t.text()


@pytest.mark.parametrize("size", [(99, 30), (100, 29), (80, 24)])
async def test_a_small_terminal_does_not_open_an_approval_and_says_why(
    terminal: Any, size: tuple[int, int]
) -> None:
    async with terminal(size=size) as t:
        await t.press("f5")
        assert not t.is_on("Approve")
        assert t.sent("request_challenge") == []
        assert "enlarge" in t.text()


async def test_making_the_terminal_small_closes_the_approval(terminal: Any) -> None:
    async with terminal() as t:
        await approved_up_to_f8(t)
        await t.pilot.resize_terminal(80, 24)
        await t.settle()
        await t.press("f8")
        assert t.sent("approve") == []
        assert not t.is_on("Approve")


async def test_the_same_person_cannot_approve_twice(terminal: Any) -> None:
    status = rehearsal.status(
        S.CHECKED,
        proposal=rehearsal.proposal(approvals_needed=2),
        approvals=(rehearsal.approval_of("rehearsal"),),
    )
    async with terminal(status) as t:
        await t.press("f5")
        assert not t.is_on("Approve")
        assert "second person" in t.text()


@pytest.mark.parametrize("state", [s for s in S if s is not S.CHECKED])
async def test_only_a_checked_shift_can_be_opened(terminal: Any, state: S) -> None:
    async with terminal(rehearsal.status(state)) as t:
        await t.press("f5")
        assert t.sent("request_challenge") == []


# Everything needed is on the approval screen, whole


@pytest.mark.parametrize("size", [(100, 30), (120, 36)])
async def test_everything_an_approver_must_read_fits_on_the_screen(
    terminal: Any, size: tuple[int, int]
) -> None:
    async with terminal(size=size) as t:
        await t.press("f5")
        for name in ("shift", "axes", "challenge", "clearance", "steps", "checks"):
            panel = t.app.screen.query_one(f"#{name}")
            assert not panel.overflowing, name
            widest = max(sum(len(span.text.rstrip()) for span in line) for line in panel.lines)
            assert widest <= panel.size.width + 1, name


async def test_warnings_that_do_not_fit_are_all_named(terminal: Any) -> None:
    long = "a sentence that is so long that several of them do not fit beside the shift"
    warned = tuple(
        check.model_copy(update={"outcome": CheckOutcome.WARN, "detail": long})
        for check in rehearsal.checks()[:3]
    )
    shift = rehearsal.proposal()
    content = shift.content.model_copy(update={"checks": warned})
    status = rehearsal.status(proposal=shift.model_copy(update={"content": content}))
    async with terminal(status) as t:
        await t.press("f5")
        assert not t.app.screen.query_one("#checks").overflowing
        assert all(check.name in t.text() for check in warned)
        assert "(in words: F4)" in t.text()
        await t.press("f4")
        assert long.split(" so ")[0] in t.text()


@pytest.mark.parametrize("size", [(100, 30), (120, 36)])
async def test_more_warnings_than_have_room_are_counted_beside_the_shift_and_all_read_in_review(
    terminal: Any, size: tuple[int, int]
) -> None:
    warned = tuple(
        rehearsal.checks()[1].model_copy(
            update={"name": f"a warning of number {number}", "detail": f"words of {number}"}
        )
        for number in range(20)
    )
    shift = rehearsal.proposal()
    content = shift.content.model_copy(update={"checks": warned})
    status = rehearsal.status(proposal=shift.model_copy(update={"content": content}))
    async with terminal(status, size=size) as t:
        await t.press("f5")
        assert not t.app.screen.query_one("#checks").overflowing
        assert re.search(r"a warning of number 0; .*and \d+ MORE", t.text().replace("\n  ", " "))
        await t.press("f4")
        checks = t.app.screen.query_one("#checks")
        assert checks.size.height >= len(checks.lines), "what does not fit is reached by scrolling"
        assert "a warning of number 19" in t.text()
        await t.press("pagedown", "pagedown")
        assert t.app.screen.query_one("#checks-scroll").scroll_offset.y > 0


# Acts


SIMPLE = [
    (S.PATIENT_BOUND, "s", "confirm_setup"),
    (S.SETUP, "i", "acquire_images"),
    (S.APPROVED, "a", "arm"),
    (S.VERIFIED, "b", "release_beam"),
    (S.FAULT, "r", "reset_fault"),
    (S.SETUP, "c", "close_patient"),
]


@pytest.mark.parametrize(("state", "key", "kind"), SIMPLE)
async def test_an_act_that_can_harm_takes_a_second_other_key(
    terminal: Any, state: S, key: str, kind: str
) -> None:
    async with terminal(rehearsal.status(state)) as t:
        await t.press(key)
        assert t.is_on("Affirm")
        await t.press(key, "enter", "space", key)
        assert t.sent(kind) == []
        await t.press("f8", "f8")
        assert len(t.sent(kind)) == 1


@pytest.mark.parametrize(
    ("state", "key", "kind"), [(S.IMAGED, "g", "register"), (S.REGISTERED, "m", "propose")]
)
async def test_an_act_that_harms_nobody_is_one_key(
    terminal: Any, state: S, key: str, kind: str
) -> None:
    async with terminal(rehearsal.status(state)) as t:
        await t.press(key)
        assert len(t.sent(kind)) == 1


async def test_a_refused_act_goes_back_to_the_console_with_its_reason(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.SETUP)) as t:
        await t.press("i")
        t.supervisor.refuse = "the couch is not at rest"
        await t.press("f8")
        assert t.is_on("Console")
        assert "refused: the couch is not at rest" in t.text()


async def test_leaving_the_question_does_nothing(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.APPROVED)) as t:
        await t.press("a", "f2")
        assert t.is_on("Console")
        assert t.sent("arm") == []


async def test_an_act_that_does_not_fit_the_state_is_refused_with_a_reason(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IDLE)) as t:
        await t.press("a")
        assert t.is_on("Console")
        assert "does not fit" in t.text()


async def test_a_question_whose_state_has_gone_on_is_not_done(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.APPROVED)) as t:
        await t.press("a")
        t.supervisor.now = rehearsal.status(S.EXPIRED)
        await t.settle()
        await t.press("f8")
        assert t.sent("arm") == []


async def test_nothing_is_asked_for_on_old_values(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IMAGED)) as t:
        t.supervisor.silent = True
        t.clock.advance(1100)
        await t.press("g")
        assert t.sent("register") == []
        assert "old" in t.text()


async def test_nothing_is_asked_for_while_something_runs(terminal: Any) -> None:
    running = Activity(name="register", detail="second view", fraction=0.4)
    async with terminal(rehearsal.status(S.IMAGED, activity=running)) as t:
        await t.press("g")
        assert t.sent("register") == []
        assert "40 %" in t.text()


async def test_a_patient_is_opened_with_what_was_typed(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IDLE)) as t:
        await t.press("o")
        await t.type("REHEARSAL-01")
        await t.press("enter")
        await t.type("19600101")
        assert t.sent("open_patient") == []
        await t.press("enter", "enter", "enter")
        assert t.sent("open_patient") == []
        await t.press("f8")
        (command,) = t.sent("open_patient")
        assert (command.patient_id, command.birth_date) == ("REHEARSAL-01", "19600101")
        assert (command.isocentre_id, command.fraction) == ("ISO1", 1)


async def test_on_hardware_the_identifiers_are_not_on_the_screen_that_asks_for_them(
    terminal: Any,
) -> None:
    async with terminal(rehearsal.status(S.IDLE, simulator=False)) as t:
        await t.press("o")
        assert "REHEARSAL-01" not in t.text()
        assert "19600101" not in t.text()


async def test_a_rejection_needs_a_reason_and_words(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("x", "f8")
        assert t.sent("reject") == []
        await t.press("2", "f8")
        assert t.sent("reject") == []
        await t.press("enter")
        await t.type("too large")
        await t.press("f8")
        (command,) = t.sent("reject")
        assert (command.reason, command.text) == ("implausible shift", "too large")


async def test_silencing_an_alarm_names_the_chosen_one(terminal: Any) -> None:
    alarms = (
        rehearsal.alarm("low one", AlarmPriority.LOW, "L"),
        rehearsal.alarm("high one", AlarmPriority.HIGH, "H"),
    )
    async with terminal(rehearsal.status(alarms=alarms)) as t:
        await t.press("f7", "down", "k")
        (command,) = t.sent("acknowledge_alarm")
        assert command.alarm_id == "L"


async def test_the_record_is_shown_and_filtered(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f9")
        assert "made-up entry 41" in t.text()
        await t.type("entry 17")
        assert "made-up entry 17" in t.text()
        assert "made-up entry 41" not in t.text()
        await t.press("ctrl+v")
        assert "holds over 41 entries" in t.text()


# The simulated hand


async def test_the_space_bar_squeezes_the_simulated_enable_and_another_key_lets_go(
    terminal: Any,
) -> None:
    async with terminal(rehearsal.status(S.ARMED)) as t:
        await t.press("f6", "space")
        assert t.hand.told == [("enabled", 700)]
        t.advance(300)
        await t.press("space")
        assert t.hand.told == [("enabled", 700)] * 2
        await t.press("a")
        assert t.hand.told[-1] == ("released", None)


async def test_hold_lets_the_simulated_hand_go_too(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.MOVING)) as t:
        await t.press("f6", "space", "escape")
        assert t.hand.told[-1] == ("released", None)
        assert len(t.sent("stop")) == 1


async def test_on_hardware_no_key_is_an_enable(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.ARMED, simulator=False)) as t:
        await t.press("f6", "space", "space")
        assert t.hand.told == []
        assert "cannot press it" in t.text()


# Calm


async def test_a_lost_supervisor_is_on_the_screen_within_a_quarter_of_a_second(
    terminal: Any,
) -> None:
    async with terminal() as t:
        t.supervisor.silent = True
        t.clock.advance(201)
        await t.settle()
        assert "OLD VALUES" in t.text()


async def test_a_closed_connection_names_its_cause(terminal: Any) -> None:
    async with terminal() as t:
        t.supervisor.connected, t.supervisor.cause = False, "the connection was lost"
        t.supervisor.silent = False
        await t.settle()
        t.supervisor.silent = True
        t.clock.advance(1500)
        await t.settle()
        assert "SUPERVISOR LOST" in t.text()
        assert "the connection was lost" in t.text()


async def test_quitting_takes_a_word(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("ctrl+q", "enter")
        assert t.app.is_running
        await t.type("quit")
        await t.press("enter")
        assert t.app.return_code == 0


async def test_quitting_while_armed_stops_first(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.ARMED)) as t:
        await t.press("ctrl+q")
        await t.type("quit")
        await t.press("enter")
        assert len(t.sent("stop")) == 1


async def test_device_text_that_looks_like_markup_is_shown_as_it_is(terminal: Any) -> None:
    alarms = (rehearsal.alarm("[red]odd[/red] [F3 alarms]"),)
    async with terminal(rehearsal.status(alarms=alarms)) as t:
        shown = t.app.export_screenshot()
        assert "[F3&#160;alarms]" in shown


@pytest.mark.parametrize("theme", ["dark", "light", "contrast"])
async def test_every_set_of_colours_draws(terminal: Any, theme: str) -> None:
    async with terminal() as t:
        for _ in range(3):
            if t.app._theme_name == theme:
                break
            await t.press("ctrl+t")
        assert t.app.theme == f"igrt-{theme}"
        assert "CHECKED" in t.text()
