"""Trends, the record, the review list and procedures: what they show, and that they only show."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from igrt_hw.client import ServiceUnreachableError
from igrt_hw.models.status import LoopState
from igrt_tui import export_file, rehearsal, rehearsal_books
from igrt_tui.view_model import audit, review_list, trends
from igrt_tui.view_model.chart import Level, Point, chart, in_reach, places
from igrt_tui.view_model.places import Place, matching
from igrt_tui.view_model.text import length, plain

S = LoopState


def said(lines: Any) -> str:
    return "\n".join(plain(line) for line in lines)


# Charts


def test_a_point_is_never_hidden_by_one_that_is_in_order() -> None:
    both = [Point(0.5, 1.0, False), Point(0.5, 1.0, True)]
    assert "✗" in said(chart(both, [], 40, 5, ("a", "b")))


def test_a_level_far_away_is_named_and_not_drawn() -> None:
    levels = [Level(5.0, "warning"), Level(50.0, "refused")]
    shown = said(chart([Point(0.0, 2.0, True)], levels, 60, 7, ("a", "b")))
    assert "beyond this picture: refused 50" in shown
    assert [level.name for level in in_reach(levels, [2.0])] == ["warning"]
    assert len(in_reach(levels, [30.0])) == 2


def test_nothing_is_said_where_there_is_nothing() -> None:
    assert said(chart([], [Level(1.0, "x")], 40, 5, ("", ""))) == "no values yet"


@pytest.mark.parametrize("width", [30, 60, 98])
def test_a_chart_keeps_to_its_width(width: int) -> None:
    points = [Point(index / 9, (-1) ** index * index, index < 5) for index in range(10)]
    for of_line in chart(points, [Level(5.0, "warning")], width, 9, ("2026-01-01", "2026-02-01")):
        assert length(of_line) <= width


def test_days_are_laid_out_in_proportion() -> None:
    assert places([0.0, 1.0, 10.0]) == (0.0, 0.1, 1.0)
    assert places([3.0]) == (0.5,)
    assert places([]) == ()


# Trends


def test_a_shift_above_a_level_is_named() -> None:
    shown = said(trends.table_panel(rehearsal_books.shift_trend("P", "U"), "", 0, 98, 16))
    assert "▲ second person" in shown
    assert "not seen" in shown
    assert "▲+3.2" in shown
    assert "1 to 8 of 8" in shown


def test_levels_stand_on_both_sides_of_an_axis_and_above_a_size() -> None:
    levels = rehearsal_books.LEVELS
    length_of, pitch = trends.QUANTITIES[0], trends.QUANTITIES[6]
    assert [level.value for level in trends.levels_of(length_of, levels)] == [5.0, 10.0, 30.0]
    assert [level.value for level in trends.levels_of(pitch, levels)] == [
        1.5, 2.0, 4.0, -1.5, -2.0, -4.0,
    ]  # fmt: skip


def test_every_number_of_a_shift_can_be_drawn() -> None:
    trend = rehearsal_books.shift_trend("P", "U")
    for quantity in trends.QUANTITIES:
        shown = said(trends.chart_panel(trend, quantity, 98, 11))
        assert quantity.name in shown
        assert "fraction 8" in shown
    marks = said(trends.chart_panel(trend, trends.QUANTITIES[3], 98, 11))
    assert "▲ 3 of 8 above the warning level" in marks


async def test_trends_of_the_patient_on_the_couch(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.CHECKED)) as t:
        await t.press("ctrl+r")
        assert t.is_on("Trends")
        assert "length of the shift, mm" in t.text()
        await t.press("right", "right")
        assert "lateral, mm" in t.text()
        await t.press("pageup")
        assert "1 to 7 of 8" in t.text()
        assert t.supervisor.sent == []


async def test_the_shifts_of_one_patient_are_never_shown_under_another_name(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.CHECKED)) as t:
        await t.press("ctrl+r")
        assert "▲ second person" in t.text()

        async def lost(patient_id: str, plan_uid: str) -> Any:
            raise ServiceUnreachableError("nobody answers")

        t.supervisor.shift_trend = lost
        plan = rehearsal.plan()
        other = plan.model_copy(
            update={"patient": plan.patient.model_copy(update={"patient_id": "OTHER"})}
        )
        t.supervisor.now = rehearsal.status(S.CHECKED, plan=other)
        await t.settle()
        assert "▲ second person" not in t.text()
        assert "nobody answers" in t.text()


@pytest.mark.parametrize("size", [(100, 30), (120, 36)])
async def test_the_review_says_what_this_patient_was_moved_by_before(
    terminal: Any, size: tuple[int, int]
) -> None:
    async with terminal(size=size) as t:
        await t.press("f4")
        await t.settle()
        assert re.search(r"earlier \d+ \(\^R\), mean \d", t.text())
        assert not t.app.screen.query_one("#age").overflowing
        patient = t.supervisor.now.plan.patient.model_copy(update={"patient_id": "OTHER"})
        plan = t.supervisor.now.plan.model_copy(update={"patient": patient})

        async def never(*_: Any) -> Any:
            raise ServiceUnreachableError("nobody answers")

        t.supervisor.shift_trend = never
        t.supervisor.now = t.supervisor.now.model_copy(update={"plan": plan})
        await t.settle()
        assert "mean" not in t.text(), "nothing of the patient before"
        assert "earlier shifts: nobody answers" in t.text()


async def test_without_a_patient_trends_say_what_to_do(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IDLE)) as t:
        await t.press("ctrl+r")
        assert "No patient is bound" in t.text()


# The record


ENTRIES = [rehearsal.entry(number) for number in range(1, 42)]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ("", 41), ("kind:approval", 8), ("kind:appr by:rehearsal", 4), ("entry 41", 1),
        ("from:09:14", 12), ("from:2026-03-02T09:14 to:2026-03-02t09:14:10", 6),
        ("kind:nothing", 0), ("APPROVAL", 8),
    ],
)  # fmt: skip
def test_the_filter_narrows_by_kind_person_time_and_words(wanted: str, count: int) -> None:
    assert len(audit.matching(ENTRIES, wanted)) == count


def test_the_search_goes_round_from_the_newest() -> None:
    found = audit.hits(ENTRIES, "entry 4")
    assert [ENTRIES[index].sequence for index in found] == [4, 40, 41]
    newest = audit.next_hit(found, None, 1)
    assert newest == found[-1]
    assert audit.next_hit(found, newest, 1) == found[0]
    assert audit.next_hit(found, newest, -1) == found[1]
    assert audit.next_hit((), None, 1) is None


def test_the_list_says_where_each_entry_begins() -> None:
    made = audit.listing(ENTRIES, 70, (0, 5), 5)
    for index, start in enumerate(made.starts):
        assert str(ENTRIES[index].sequence) in plain(made.lines[start])
    assert plain(made.lines[made.starts[5]]).startswith("▶")
    assert plain(made.lines[made.starts[0]]).startswith("•")


def test_an_exported_entry_is_whole() -> None:
    text = audit.export_lines(ENTRIES[:3])
    read = [json.loads(line) for line in text.splitlines()]
    assert read == [entry.model_dump(mode="json") for entry in ENTRIES[:3]]
    name = audit.export_name(rehearsal.UTC, ENTRIES[:3])
    assert name == "record-20260302T091500Z-1-3.jsonl"


def test_an_export_is_for_its_owner_and_replaces_nothing(tmp_path: Path) -> None:
    first = export_file.write_new(tmp_path / "exports", "a.jsonl", "one\n")
    second = export_file.write_new(tmp_path / "exports", "a.jsonl", "two\n")
    assert first != second
    assert (first.read_text(), second.read_text()) == ("one\n", "two\n")
    assert stat.S_IMODE(first.stat().st_mode) == 0o600


async def test_the_export_holds_what_fits_the_filter_of_the_whole_record(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f9")
        await t.type("approval")
        t.app.screen.part("filter", Input).value = "kind:approval"
        await t.press("ctrl+e")
        await t.pilot.pause(0.1)
        (file,) = t.app.export_folder.iterdir()
        kinds = [json.loads(line)["kind"] for line in file.read_text().splitlines()]
        assert kinds == ["approval"] * 8
        assert "8 of 41 entries written to" in t.text()


async def test_an_export_that_cannot_be_written_is_a_sentence(
    terminal: Any, tmp_path: Path
) -> None:
    async with terminal() as t:
        (tmp_path / "a file").write_text("")
        t.app.export_folder = tmp_path / "a file"
        await t.press("f9", "ctrl+e")
        await t.pilot.pause(0.1)
        await t.settle()
        assert "the export could not be written" in t.text()


async def test_find_marks_and_goes_from_one_to_the_next(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f9", "tab")
        await t.type("entry 4")
        await t.press("enter")
        assert "3 of 3 found" in t.text()
        await t.press("ctrl+b")
        assert "2 of 3 found" in t.text()
        assert "▶     40" in t.text()
        assert "made-up entry 12" in t.text()


async def test_older_entries_are_loaded_on_request(terminal: Any) -> None:
    async with terminal(rehearsal.status(record_entries=500)) as t:
        t.supervisor.entries = tuple(
            rehearsal.entry(1).model_copy(
                update={"sequence": number, "text": f"entry no {number}."}
            )
            for number in range(1, 501)
        )
        await t.press("f9")
        assert "entry no 300." not in t.text()
        await t.press("ctrl+o")
        assert "entry no 300." in t.text()
        assert "entry no 100." not in t.text()
        await t.press("ctrl+o", "ctrl+o")
        assert "entry no 1." in t.text()
        assert "the record begins here" in t.text()


# Review list


def test_overrides_have_reason_people_and_rate() -> None:
    shown = said(review_list.overrides_panel(rehearsal_books.overrides(1), "", 1, 90))
    for words in ("8.3 in 100 accepted setups", "immobilisation changed", "physicist1", "no words"):
        assert words in shown


def test_an_alarm_that_mostly_ends_unanswered_is_marked() -> None:
    shown = said(review_list.alarms_panel(rehearsal_books.alarm_rates(1), "", 1, 60))
    assert "▲ 8, most of them" in shown
    assert shown.count("▲") == 1


async def test_the_review_list_is_reached_from_the_record_and_looks_further_back(
    terminal: Any,
) -> None:
    async with terminal() as t:
        await t.press("f9", "ctrl+l")
        assert t.is_on("ReviewList")
        assert "Overrides, last day" in t.text()
        await t.press("right")
        assert "Alarms, last 7 days" in t.text()
        assert t.supervisor.sent == []


# Procedures


@pytest.mark.parametrize(
    ("state", "title"),
    [(S.FAULT, "The screen says FAULT"), (S.SUPERSEDED, "SUPERSEDED or EXPIRED")],
)
async def test_the_console_says_which_procedure_the_state_asks_for(
    terminal: Any, state: S, title: str
) -> None:
    async with terminal(rehearsal.status(state)) as t:
        assert "▲ Recovery:" in t.text()
        assert "1. Look at the patient" in t.text()
        await t.press("p")
        assert t.is_on("Procedures")
        assert title in t.text()
        assert "▲ what this state asks for" in t.text()


@pytest.mark.parametrize("way", [("f7", "p"), ("f1", "p"), ("ctrl+p",)])
async def test_procedures_are_reached_from_alarms_help_and_the_list(
    terminal: Any, way: tuple[str, ...]
) -> None:
    async with terminal() as t:
        await t.press(*way)
        if way == ("ctrl+p",):
            await t.type("egress")
            await t.press("enter")
        assert t.is_on("Procedures")


async def test_steps_go_one_by_one_and_back_and_nothing_is_sent(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.FAULT)) as t:
        await t.press("p", "right", "right", "left")
        assert "✓  1. Look" in t.text()
        assert "▶  2. Read every alarm" in t.text()
        await t.press(*["right"] * 9)
        assert "All steps are done" in t.text()
        assert t.supervisor.sent == []


async def test_procedures_stay_when_the_supervisor_is_lost(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.CHECKED)) as t:
        t.supervisor.silent, t.supervisor.unreachable = True, True
        t.clock.advance(5000)
        await t.press("f7", "p", "down", "down")
        assert "Press the emergency stop" in t.text()


# Where to


def test_a_place_is_found_by_its_name_or_its_purpose() -> None:
    rooms = (Place("a", "Room", "", "clearance"), Place("b", "Review", "", "the room of a shift"))
    assert [place.name for place in matching(rooms, "room")] == ["a", "b"]
    assert [place.name for place in matching(rooms, "shift rev")] == ["b"]
    assert matching(rooms, "nothing") == ()


async def test_every_place_of_the_list_leads_somewhere_and_sends_nothing(terminal: Any) -> None:
    from igrt_tui.keys import PLACES

    async with terminal() as t:
        for index, place in enumerate(PLACES):
            await t.press("ctrl+p", *["down"] * index, "enter")
            assert not t.is_on("Places"), place.name
            await t.press("f2")
        assert t.supervisor.sent == []


async def test_double_enter_in_the_list_of_places_does_no_act(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.APPROVED)) as t:
        await t.press("ctrl+p", "enter", "enter", "enter")
        assert t.supervisor.sent == []
