"""The plain mode: the whole loop by lines, HOLD by a word at any time, and the same ritual of approval."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from igrt_hw.models.status import AlarmPriority, LoopState
from igrt_tui import rehearsal
from igrt_tui.view_model import plain
from igrt_tui.view_model.local import Local, Scene, User

S = LoopState


MakeTypist = Callable[..., AbstractAsyncContextManager[Any]]


async def approved_up_to_the_word(t: Any) -> str:
    await t.line("approve")
    await t.by_hand("R4KD\r")
    t.advance(3000)
    return await t.by_hand("+8.1") + await waited(t)


async def waited(t: Any) -> str:
    t.advance(500)
    return await t.by_hand("\r", 0.0)


# HOLD


async def test_the_first_line_says_how_to_stop(typist: MakeTypist) -> None:
    async with typist() as t:
        assert t.said[0].startswith("HOLD stops whatever moves: type h and Enter")
        assert "NOT A MEDICAL DEVICE" in t.said[1]
        assert "SIMULATOR" in t.said[1]


@pytest.mark.parametrize("word", ["h", "H", "hold", "stop", " h "])
@pytest.mark.parametrize("before", [(), ("reject",), ("open",), ("arm",), ("quit",)])
async def test_hold_by_a_word_comes_before_any_question(
    typist: MakeTypist, word: str, before: tuple[str, ...]
) -> None:
    async with typist(rehearsal.status(S.APPROVED)) as t:
        await t.line(*before)
        said = await t.line(word)
        assert len(t.sent("stop")) == 1
        assert "HOLD: STOP confirmed" in said
        assert t.supervisor.sent[-1].kind == "stop"


@pytest.mark.parametrize("state", [S.ARMED, S.MOVING, S.HELD])
async def test_an_empty_line_is_hold_while_the_couch_is_armed_or_moves(
    typist: MakeTypist, state: LoopState
) -> None:
    async with typist(rehearsal.status(state)) as t:
        await t.line("")
        assert len(t.sent("stop")) == 1


async def test_an_empty_line_at_rest_reads_out_where_things_stand(typist: MakeTypist) -> None:
    async with typist() as t:
        assert "CHECKED" in await t.line("")
        assert t.sent("stop") == []


async def test_hold_that_is_not_confirmed_says_to_use_the_hardware_stop(typist: MakeTypist) -> None:
    async with typist(rehearsal.status(S.MOVING)) as t:
        t.supervisor.unreachable = True
        assert "HOLD NOT CONFIRMED" in await t.line("h")
        assert "hardware stop NOW" in "\n".join(t.said)


async def test_the_permission_is_not_renewed_while_a_hold_is_on_its_way(typist: MakeTypist) -> None:
    async with typist(rehearsal.status(S.MOVING)) as t:
        assert t.session.alive()
        t.session.hold()
        assert not t.session.alive()
        await t.settle()
        assert t.session.alive()


# The approval


async def test_a_shift_is_approved_by_code_number_and_word(typist: MakeTypist) -> None:
    async with typist() as t:
        said = await approved_up_to_the_word(t)
        assert "type the word approve" in said
        assert t.sent("approve") == []
        await t.line("approve")
        (sent,) = t.sent("approve")
        assert (sent.code, sent.fact) == ("R4KD", "+8.1")
        assert t.single == [True, False]


async def test_the_whole_shift_is_read_out_before_the_code(typist: MakeTypist) -> None:
    async with typist() as t:
        said = await t.line("approve")
        for wanted in (
            "lateral +5.2 mm",
            "longitudinal +7.9 mm",
            "vertical -4.1 mm",
            "closest: couch top to gantry head",
        ):
            assert wanted in said
        assert said.index("lateral +5.2 mm") < said.index("the code is R 4 K D")


async def test_what_is_pasted_into_the_code_is_not_taken(typist: MakeTypist) -> None:
    async with typist() as t:
        await t.line("approve")
        said = await t.by_hand("R4KD", every_ms=0.1)
        assert "not typed by hand" in said
        assert "not the code" in await t.by_hand("\r")


async def test_any_word_but_approve_leaves_the_shift(typist: MakeTypist) -> None:
    for word in ("yes", "y", "", "approve it"):
        async with typist() as t:
            await approved_up_to_the_word(t)
            assert "approval closed" in await t.line(word)
            assert t.sent("approve") == []


async def test_nothing_is_approved_before_three_seconds_of_reading(typist: MakeTypist) -> None:
    async with typist() as t:
        await t.line("approve")
        await t.by_hand("R4KD\r", 100.0)
        await t.by_hand("+8.1", 100.0)
        said = await t.by_hand("\r", 450.0)
        assert "not yet: the shift was shown for 3 s" in said


async def test_a_change_of_the_shift_closes_the_approval(typist: MakeTypist) -> None:
    async with typist() as t:
        await approved_up_to_the_word(t)
        t.supervisor.now = rehearsal.status(S.CHECKED, proposal=rehearsal.proposal(digest="a" * 64))
        t.advance(10)
        assert "approval closed: the shift was replaced" in "\n".join(t.said)
        await t.line("approve")
        assert t.sent("approve") == []


async def test_hold_in_the_middle_of_the_code(typist: MakeTypist) -> None:
    async with typist() as t:
        await t.line("approve")
        await t.by_hand("R4\x1b")
        assert len(t.sent("stop")) == 1
        assert "approval closed: HOLD" in "\n".join(t.said)
        assert t.single[-1] is False


async def test_without_a_terminal_nothing_can_be_approved(typist: MakeTypist) -> None:
    async with typist(terminal=False) as t:
        assert "needs a terminal" in await t.line("approve")
        assert t.supervisor.sent == []


# Acts


async def test_what_can_do_harm_needs_the_word_do(typist: MakeTypist) -> None:
    async with typist(rehearsal.status(S.APPROVED)) as t:
        assert "moves as soon as the pendant's enable is held" in await t.line("arm")
        await t.line("yes")
        assert t.sent("arm") == []
        await t.line("arm", "do")
        assert len(t.sent("arm")) == 1


async def test_a_patient_is_opened_by_what_the_wristband_says(typist: MakeTypist) -> None:
    async with typist(rehearsal.status(S.IDLE)) as t:
        await t.line("open", "1", "REHEARSAL-01", "19600101", "3")
        (sent,) = t.sent("open_patient")
        assert (sent.patient_id, sent.birth_date, sent.fraction) == ("REHEARSAL-01", "19600101", 3)


async def test_a_shift_is_rejected_with_reason_and_words(typist: MakeTypist) -> None:
    async with typist() as t:
        await t.line("reject", "2", "the heart stands out")
        (sent,) = t.sent("reject")
        assert (sent.reason, sent.text) == ("implausible shift", "the heart stands out")


async def test_the_simulated_enable_is_let_go_by_any_other_line(typist: MakeTypist) -> None:
    async with typist(rehearsal.status(S.ARMED)) as t:
        await t.line("enable 20")
        await t.line("status")
        assert t.hand == [("enabled", 20_000), ("released", None)]


async def test_on_hardware_this_terminal_cannot_press_the_enable(typist: MakeTypist) -> None:
    async with typist(rehearsal.status(S.ARMED, simulator=False)) as t:
        assert "a switch in your hand" in await t.line("enable 5")
        assert t.hand == []


async def test_every_word_that_is_offered_means_something(typist: MakeTypist) -> None:
    async with typist() as t:
        for word in (
            "status",
            "review",
            "images",
            "alarms",
            "interlocks",
            "links",
            "devices",
            "motion",
            "room",
            "session",
        ):
            said = await t.line(word)
            assert said, word
            assert "means nothing" not in said
        assert "means nothing here" in await t.line("approove")


async def test_nothing_that_is_said_carries_a_cursor_or_a_box(typist: MakeTypist) -> None:
    async with typist(rehearsal.status(S.CHECKED, alarms=(rehearsal.alarm(),))) as t:
        for word in ("status", "review", "alarms", "motion", "devices", "links"):
            await t.line(word)
        for said in t.said:
            assert "\x1b" not in said
            assert not set(said) & set("─█▁▂▃▄▅▆▇░✓✗▲◌▶·"), said


# News


def scene(state: LoopState = S.CHECKED, age_ms: float = 0.0, **changes: Any) -> Scene:
    user = User("r", "R", "therapist")
    now = rehearsal.NOW_US
    local = Local(now_us=now, connected=True, received_us=now - round(age_ms * 1000), user=user)
    return Scene(rehearsal.status(state, **changes), local)


def test_news_are_told_once() -> None:
    told, said = plain.news(plain.Told(), scene())
    assert any("CHECKED" in words for words in said)
    assert plain.news(told, scene())[1] == ()


def test_an_alarm_is_told_with_what_to_do_and_its_end_too() -> None:
    told, _ = plain.news(plain.Told(), scene())
    high = rehearsal.alarm("Couch: the two position channels disagree", AlarmPriority.HIGH, "H")
    told, said = plain.news(told, scene(alarms=(high,)))
    assert said == (
        "ALARM HIGH: Couch: the two position channels disagree Do: Look at both views before approving.",
    )
    assert plain.news(told, scene())[1] == ("1 alarm(s) ended, 0 left",)


def test_a_silent_supervisor_is_told_before_anything_else() -> None:
    told, _ = plain.news(plain.Told(), scene())
    told, said = plain.news(told, scene(S.FAULT, age_ms=201.0))
    assert said[0].startswith("SUPERVISOR LOST, values are old")
    assert "the supervisor is heard again" in plain.news(told, scene(S.FAULT))[1]


# On a real terminal


def test_on_a_real_terminal_the_first_line_comes_first_and_the_end_of_input_ends_it(
    tmp_path: Path,
) -> None:
    main, secondary = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "igrt_tui",
        "--plain",
        "--url",
        "http://127.0.0.1:9",
        "--log-file",
        str(tmp_path / "l"),
    ]
    with subprocess.Popen(command, stdin=secondary, stdout=secondary, stderr=secondary) as process:
        os.close(secondary)
        told = ""
        until = time.monotonic() + 60.0
        sent = False
        while time.monotonic() < until and process.poll() is None:
            if select.select([main], [], [], 0.2)[0]:
                try:
                    told += os.read(main, 4096).decode()
                except OSError:
                    break
            if "name:" in told and not sent:
                os.write(main, b"h\n\x04")
                sent = True
        assert process.wait(20) == 0
    os.close(main)
    first = next(line for line in told.splitlines() if line.strip())
    assert "HOLD stops whatever moves" in first
    assert "HOLD cannot be sent; use the hardware stop" in told
    assert "\x1b[" not in told
