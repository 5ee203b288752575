"""The move in words: time left from the pace of the couch, clearance from the path that was checked."""

from __future__ import annotations

from typing import Any

import pytest

from igrt_hw.models.status import LoopState
from igrt_tui import rehearsal
from igrt_tui.view_model import motion
from igrt_tui.view_model.local import Local, Scene

S = LoopState


def moving(now_us: int, fraction: float, state: S = S.MOVING) -> Scene:
    couch = rehearsal.couch(S.MOVING, fraction).model_copy(update={"moving": state is S.MOVING})
    status = rehearsal.status(state, couch=couch, now_us=now_us)
    return Scene(status, Local(now_us=now_us, received_us=now_us))


def test_time_left_follows_the_pace() -> None:
    samples: tuple[motion.Sample, ...] = ()
    for step in range(20):
        samples = motion.with_sample(samples, moving(step * 100_000, 0.01 * step))
    assert motion.time_left_s(samples) == pytest.approx(8.1, abs=0.05)


def test_there_is_no_time_left_without_a_pace() -> None:
    assert motion.time_left_s(()) is None
    assert motion.time_left_s(((0, 0.1), (100_000, 0.2))) is None  # too short to tell
    assert motion.time_left_s(((0, 0.3), (1_000_000, 0.3))) is None  # stands still


def test_a_couch_that_stopped_or_a_new_move_begins_to_count_anew() -> None:
    samples = motion.with_sample(((0, 0.1), (1_000_000, 0.5)), moving(1_100_000, 0.0))
    assert samples == ((1_100_000, 0.0),)
    assert motion.with_sample(samples, moving(1_200_000, 0.1, S.HELD)) == ()


def test_clearance_is_said_where_the_couch_stands_and_for_what_is_ahead() -> None:
    strip = rehearsal.proposal().content.clearance
    begin, end = motion.clearance_words(strip, 0.0), motion.clearance_words(strip, 1.0)
    assert "here 91.1 mm, ahead at least 62.6 mm" in begin
    assert "here 62.6 mm, ahead at least 62.6 mm" in end


@pytest.mark.parametrize("size", [(100, 30), (120, 36)])
@pytest.mark.parametrize("state", [S.ARMED, S.MOVING, S.HELD, S.ARRIVED])
async def test_everything_about_the_move_fits_on_the_screen(
    terminal: Any, state: S, size: tuple[int, int]
) -> None:
    async with terminal(rehearsal.status(state), size=size) as t:
        await t.press("f6")
        assert "clearance here" in t.text()
        assert "time left" in t.text()
        for name in ("motion-axes", "progress", "hold", "pendant", "permission"):
            assert not t.app.screen.query_one(f"#{name}").overflowing, name
