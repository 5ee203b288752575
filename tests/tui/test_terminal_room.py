"""The room in the terminal: drawn from what the service drew, never older than it says; it moves nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from igrt_hw.client import ServiceUnreachableError
from igrt_hw.models.room import RoomQuestion
from igrt_hw.models.status import LoopState
from igrt_tui import rehearsal, rehearsal_room, room_picture
from igrt_tui.grid import Mark, marked
from igrt_tui.room_store import OLD_AFTER_US, RoomStore, Seen
from igrt_tui.view_model import room
from igrt_tui.view_model.local import Local, Scene
from igrt_tui.view_model.text import plain
from igrt_tui.widgets.cells import Cells

S = LoopState
QUESTION = RoomQuestion(width=80, height=48, azimuth_deg=35.0, elevation_deg=25.0)


def words(lines: Any) -> str:
    return "\n".join(plain(line) for line in lines)


def scene(now_us: int = rehearsal.NOW_US, **changes: Any) -> Scene:
    return Scene(rehearsal.status(S.CHECKED, **changes), Local(now_us=now_us))


def store(pose_us: int = rehearsal.NOW_US, question: RoomQuestion = QUESTION) -> RoomStore:
    return RoomStore(seen=Seen(question, rehearsal_room.picture(question), pose_us))


# The picture


def test_every_kind_of_part_is_named_on_the_picture_and_the_closest_pair_is_joined() -> None:
    grid = room_picture.drawn(rehearsal_room.picture(QUESTION), old=False)
    text = "\n".join(grid.text)
    for kind in ("patient", "couch", "gantry"):
        assert kind in text
    assert text.count("A") == 1
    assert text.count("B") == 1
    line = (grid.front == room_picture.LINE).all(axis=2) | (grid.ground == room_picture.LINE).all(
        axis=2
    )
    assert line.sum() >= 3


def test_a_pair_that_meets_in_one_place_still_shows_two_letters() -> None:
    picture = rehearsal_room.picture(QUESTION)
    together = picture.closest.model_copy(update={"on_picture": ((40.0, 20.0), (40.2, 20.1))})
    grid = room_picture.drawn(picture.model_copy(update={"closest": together}), old=False)
    text = "\n".join(grid.text)
    assert "A" in text
    assert "B" in text


def test_a_pair_behind_the_eye_is_named_in_words_and_not_drawn() -> None:
    picture = rehearsal_room.picture(QUESTION)
    behind = picture.closest.model_copy(update={"on_picture": (None, (40.0, 20.0))})
    grid = room_picture.drawn(picture.model_copy(update={"closest": behind}), old=False)
    assert not (grid.front == room_picture.LINE).all(axis=2).any()


def test_an_old_picture_has_no_colour() -> None:
    picture = rehearsal_room.picture(QUESTION)
    fresh, old = room_picture.drawn(picture, old=False), room_picture.drawn(picture, old=True)

    def spread(rgb: Any) -> int:
        return int((rgb.max(axis=2).astype(int) - rgb.min(axis=2)).max())

    blocks = np.array([[c == "▀" for c in line] for line in old.text])
    assert spread(fresh.front) > 60
    assert spread(old.front[blocks][None]) <= 8


def test_softening_halves_the_picture_and_keeps_the_ends_of_the_line_in_place() -> None:
    twice = RoomQuestion(width=160, height=96, azimuth_deg=35.0, elevation_deg=25.0)
    grid = room_picture.drawn(rehearsal_room.picture(twice), old=False, detail=2)
    assert (len(grid.text), len(grid.text[0])) == (24, 80)
    once = room_picture.drawn(rehearsal_room.picture(QUESTION), old=False)
    assert [line.find("A") for line in grid.text] == [line.find("A") for line in once.text]


def test_marks_outside_a_grid_are_left_away() -> None:
    grid = room_picture.scale(30)
    over = marked(grid, (Mark(3, 2, "x", (0, 0, 0)), Mark(0, -1, "xy", (0, 0, 0))))
    assert over.text == ("y" + grid.text[0][1:],)


# The map


def test_merged_cells_of_the_map_show_the_worst_of_them() -> None:
    made = rehearsal_room.clearance_map()
    lower = np.array(made.lower_mm)
    one_bad = [list(row) for row in made.lower_mm]
    one_bad[17][18] = 0.0
    states = [list(row) for row in made.certain]
    states[17][18] = 2
    worse = made.model_copy(
        update={"lower_mm": tuple(map(tuple, one_bad)), "certain": tuple(map(tuple, states))}
    )
    assert lower[17][18] > 100.0
    grid = room_picture.heat_map(worse, lines=12, cols=19, gantry_deg=None, rotation_deg=None)
    assert "".join(grid.text).count(room_picture.CONTACT_MARK) == 1


def test_the_map_marks_where_gantry_and_couch_are_and_what_is_not_certain() -> None:
    made = rehearsal_room.clearance_map()
    grid = room_picture.heat_map(made, lines=36, cols=38, gantry_deg=355.0, rotation_deg=0.0)
    here = [
        (i, line.index(room_picture.HERE_MARK))
        for i, line in enumerate(grid.text)
        if room_picture.HERE_MARK in line
    ]
    assert here in ([(18, 18)], [(18, 19)])  # 355 is -5: just below the middle
    assert room_picture.OPEN_MARK in "".join(grid.text)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 38), (50, 90)])
def test_a_map_fits_whatever_room_there_is(size: tuple[int, int]) -> None:
    grid = room_picture.heat_map(rehearsal_room.clearance_map(), *size, 0.0, 0.0)
    assert len(grid.text) <= size[0]
    assert len(grid.text[0]) <= size[1]


def test_a_map_of_a_pose_that_the_couch_has_left_says_so() -> None:
    made = rehearsal_room.clearance_map()
    couch = rehearsal.couch(S.CHECKED)
    parked = rehearsal.status(S.CHECKED).imager.model_copy(update={"arms": "parked"})  # type: ignore[union-attr]
    there = rehearsal.status(S.CHECKED, imager=parked)
    assert room.moved_since(made, there) == ""
    moved = couch.model_copy(update={"primary": (12.4, *couch.primary[1:])})
    assert "lateral moved by +10.0 mm" in room.moved_since(
        made, rehearsal.status(S.CHECKED, couch=moved, imager=parked)
    )
    turned = couch.model_copy(update={"primary": (*couch.primary[:3], 40.0, *couch.primary[4:])})
    assert room.moved_since(made, rehearsal.status(S.CHECKED, couch=turned, imager=parked)) == ""
    assert room.moved_since(made, rehearsal.status(S.CHECKED)) == "the kV arms moved"


# Age


def test_the_age_of_a_picture_is_counted_from_before_it_was_asked_for() -> None:
    seen = store().seen
    assert seen is not None
    now = rehearsal.NOW_US + OLD_AFTER_US
    assert not seen.old(now)
    assert seen.old(now + 1)
    assert "OLD" in words(room.caption(store(), scene(now + 1), 60))
    assert "live pose" in words(room.caption(store(), scene(), 60))


async def test_a_late_answer_is_as_old_as_its_question() -> None:
    empty = RoomStore()
    empty.ask(QUESTION, 5_000_000)
    await empty.fetch(rehearsal.RehearsedSupervisor(), QUESTION, 5_000_000)
    assert empty.seen is not None
    assert empty.seen.pose_us == 5_000_000 - 60_000  # the age that the service told, on top


def test_a_place_on_the_path_is_never_called_live() -> None:
    question = QUESTION.model_copy(update={"path_fraction": 0.4})
    shown = words(room.caption(store(question=question), scene(), 70))
    assert "DRY RUN at 40 %" in shown
    assert "NOT LIVE" in shown


def test_pictures_are_asked_for_no_faster_than_they_come_and_slower_at_rest() -> None:
    empty = RoomStore()
    assert empty.due(QUESTION, 0, moving=True)
    empty.ask(QUESTION, 0)
    assert not empty.due(QUESTION, 10_000_000, moving=True)
    empty.waiting = False
    assert not empty.due(QUESTION, 100_000, moving=True)
    assert empty.due(QUESTION, 110_000, moving=True)
    assert not empty.due(QUESTION, 200_000, moving=False)
    assert empty.due(QUESTION, 450_000, moving=False)
    nearer = QUESTION.model_copy(update={"span_mm": 900.0})
    assert not empty.due(nearer, 60_000, moving=False)
    assert empty.due(nearer, 110_000, moving=False)
    assert empty.due(QUESTION.model_copy(update={"path_fraction": 0.0}), 1, moving=False)


# The screen


async def test_the_room_shows_picture_pair_map_and_path(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f10")
        assert t.is_on("Room")
        for wanted in ("live pose", "gantry head", "270.0 mm apart", "232 mm", "Dry run"):
            assert wanted in t.text()
        assert t.app.screen.query_one("#room-picture", Cells).grid is not None
        assert t.app.screen.query_one("#room-map", Cells).grid is not None


async def test_a_dry_run_goes_along_the_path_and_moves_nothing(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f10", "d")
        assert "DRY RUN at 0 % of the path: NOT LIVE" in t.text()
        await t.press("greater_than_sign", "full_stop")
        t.advance(200)
        await t.settle()
        assert "DRY RUN at 12 % of the path: NOT LIVE" in t.text()
        assert "268.8 mm" in t.text()
        await t.press("d")
        t.advance(200)
        await t.settle()
        assert "live pose" in t.text()
        assert t.supervisor.sent == []


async def test_without_a_proposal_there_is_no_dry_run(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.SETUP)) as t:
        await t.press("f10", "d", "full_stop")
        assert "DRY RUN" not in t.text()
        assert "no path" in t.text()


async def test_a_room_that_cannot_be_drawn_is_a_sentence(terminal: Any) -> None:
    async with terminal() as t:

        async def refuse(asked: RoomQuestion) -> Any:
            raise ServiceUnreachableError("nobody draws here")

        t.supervisor.room_picture = refuse
        await t.press("f10")
        assert "nobody draws here" in t.text()


async def test_hold_works_from_the_room(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.MOVING)) as t:
        await t.press("f10", "escape")
        assert len(t.sent("stop")) == 1


def test_a_map_of_another_model_is_old_even_where_the_couch_stands_still() -> None:
    from igrt_tui.room_store import SeenMap

    parked = rehearsal.status(S.CHECKED).imager.model_copy(update={"arms": "parked"})  # type: ignore[union-attr]
    there = rehearsal.status(S.CHECKED, imager=parked)
    held = store()
    held.map = SeenMap(rehearsal_room.clearance_map(), rehearsal.NOW_US)
    assert room.stale_because(held, there) == ""
    held.map = SeenMap(held.map.made.model_copy(update={"model_hash": "0" * 64}), rehearsal.NOW_US)
    assert "patient as registered now" in room.stale_because(held, there)


async def test_what_the_picture_leaves_out_stands_beside_it_and_in_the_help(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f10")
        await t.settle()
        assert "not in the model: cables" in t.text()
        await t.press("f1")
        assert "not in the model: cables" in t.text()
