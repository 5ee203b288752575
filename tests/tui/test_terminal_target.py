"""The target while the beam may be on: shown by exception, its trace one view at a time, and why the beam is held."""

from __future__ import annotations

from typing import Any

import pytest

from igrt_hw.models.monitoring import TargetView
from igrt_hw.models.plan import PlannedMarker
from igrt_hw.models.status import Activity, LoopState, SupervisorStatus
from igrt_tui import rehearsal
from igrt_tui.view_model import target
from igrt_tui.view_model.acts import ACT_OF_KEY, offered, why_not
from igrt_tui.view_model.local import Local, Scene, User
from igrt_tui.view_model.target import Trace
from igrt_tui.view_model.text import plain

S = LoopState
MARKERS = tuple(
    PlannedMarker(name=f"M{n}", position_dicom_mm=(5.0 * n, 0.0, 100.0), sigma_mm=0.3)
    for n in (1, 2, 3)
)
PLAN = rehearsal.plan().model_copy(update={"markers": MARKERS})


def seen(
    views: int = 1, distance: float | None = 0.6, age_s: float = 0.4, **more: Any
) -> TargetView:
    fields: dict[str, Any] = {
        "views": views,
        "views_left": 60 - views,
        "limit_mm": 3.0,
        "deviation_mm": None if distance is None else (0.0, distance, 0.0),
        "sigma_mm": None if distance is None else (0.2, 0.2, 0.4),
        "distance_mm": distance,
        "seen": () if distance is None else ("M1", "M2"),
        "seen_age_s": None if distance is None else age_s,
        "dose_area_uGycm2": 1.2 * views,
        "problem": "",
    }
    return TargetView(**(fields | more))


def at(state: S, view: TargetView | None, **changes: Any) -> SupervisorStatus:
    return rehearsal.status(state, target=view, plan=PLAN, **changes)


def scene(status: SupervisorStatus) -> Scene:
    now = rehearsal.NOW_US
    user = User("rehearsal", "R. Hearsal", "therapist")
    return Scene(status, Local(now_us=now, connected=True, received_us=now, user=user))


def words(status: SupervisorStatus, trace: Trace | None = None, **how: Any) -> str:
    shown = target.target_panel(scene(status), trace or Trace(), 56, **how)
    return "\n".join(plain(line) for line in shown)


def test_every_view_has_one_place_in_the_trace_seen_blind_or_beyond() -> None:
    trace = Trace()
    now_us = rehearsal.NOW_US
    for views, distance in ((1, 0.2), (2, 2.9), (3, None), (4, 3.4)):
        for step in range(60):  # twenty statuses a second, the sight getting older
            now_us += 50_000
            taken = step >= 20 and distance is not None
            age_s = 0.05 * (step - 20) if taken else 9.0
            known = distance if taken else (0.2 if views > 1 else None)
            view = seen(views, known, round(age_s, 2))
            trace = trace.with_status(at(S.BEAM_READY, view, now_us=now_us))
    assert [sight.view for sight in trace.sights] == [1, 2, 3, 4]
    assert [sight.distance_mm for sight in trace.sights] == [0.2, 2.9, None, 3.4]
    drawn = trace.drawn(3.0, 40, waiting=False)
    assert drawn[2:] == "?×"
    assert drawn[0] < drawn[1]


def test_a_view_that_is_on_its_way_is_not_drawn_as_blind() -> None:
    trace = Trace().with_status(at(S.BEAM_READY, seen(1, 0.5)))
    waiting = at(S.BEAM_READY, seen(2, 0.5, 4.0), now_us=rehearsal.NOW_US + 3_600_000)
    assert "?" not in trace.with_status(waiting).drawn(3.0, 40, waiting=True)


def test_a_watch_that_ends_or_begins_anew_leaves_no_trace() -> None:
    trace = Trace().with_status(at(S.BEAM_READY, seen(7, 0.5)))
    assert trace.with_status(at(S.BEAM_READY, None)).sights == ()
    later = at(S.BEAM_READY, seen(1, 0.1), now_us=rehearsal.NOW_US + 60_000_000)
    assert [sight.view for sight in trace.with_status(later).sights] == [1]


def test_the_reason_of_a_held_beam_is_named_on_console_and_motion_in_words() -> None:
    reason = "Target Position: the target is 6.4 mm from its planned place (3 allowed)"
    problem = "the target is 6.4 mm from its planned place (3 allowed)"
    held = at(S.VERIFIED, seen(5, 6.4, problem=problem), reason=f"beam held: {reason}")
    assert target.held_because(held) == reason
    said = words(held)
    assert f"✗ BEAM HELD: {reason[:30]}" in said
    assert said.count("6.4 mm from") == 1, "what the hold says already is not said twice"


def test_what_the_views_do_not_tell_is_named() -> None:
    view = seen(3, 0.6, sigma_mm=(0.2, 0.2, 9.0))
    assert "hardly known: vrt ±9.0 mm" in words(at(S.BEAM_READY, view))
    assert "hardly known" not in words(at(S.BEAM_READY, seen(3, 0.6)))


def test_an_old_sight_looks_old() -> None:
    blind = seen(4, 0.6, 9.0, seen=(), problem="the markers were not recognised in 2 views")
    shown = target.target_panel(scene(at(S.VERIFIED, blind)), Trace(), 60)
    (where,) = [line for line in shown if "lng +0.6" in plain(line)]
    assert {span.tone.value for span in where} == {"old"}


def test_in_plain_words_the_trace_is_numbers() -> None:
    status = at(S.BEAM_READY, seen(1, 0.6))
    assert "planned place: 0.6" in words(status, Trace().with_status(status), spoken=True)


def test_watching_is_offered_only_where_it_can_be_done() -> None:
    def names(status: SupervisorStatus) -> set[str]:
        return {act.name for act in offered(status)}

    assert "watch" in names(at(S.VERIFIED, None))
    assert "watch" not in names(rehearsal.status(S.VERIFIED)), "no markers"
    assert "watch" not in names(at(S.SETUP, None))
    assert names(at(S.BEAM_READY, seen())) >= {"end watch"}
    assert "watch" not in names(at(S.BEAM_READY, seen()))


def test_a_view_of_the_target_keeps_nobody_waiting() -> None:
    view = Activity(name="monitoring", detail="a view of the target", fraction=None)
    status = at(S.VERIFIED, seen(), activity=view)
    assert why_not(ACT_OF_KEY["b"], scene(status)) == ""
    assert offered(status)
    other = at(S.VERIFIED, seen(), activity=view.model_copy(update={"name": "imaging"}))
    assert "imaging" in why_not(ACT_OF_KEY["b"], scene(other))


@pytest.mark.parametrize("size", [(100, 30), (120, 36)])
async def test_the_target_fits_beside_the_move_and_on_the_console(
    terminal: Any, size: tuple[int, int]
) -> None:
    problem = "the target is 6.4 mm from its planned place (3 allowed)"
    reason = f"beam held: Target Position: {problem}"
    held = at(S.VERIFIED, seen(5, 6.4, problem=problem, sigma_mm=(9.0, 0.2, 9.0)), reason=reason)
    async with terminal(held, size=size) as t:
        assert "HELD: the target is" in t.text()
        assert not t.app.screen.query_one("#devices").overflowing
        assert not t.app.screen.query_one("#next").overflowing
        await t.press("f6")
        for wanted in (
            "BEAM HELD: Target",
            "lng +6.4",
            "hardly known",
            "trace",
            "dose",
        ):
            assert wanted in t.text()
        assert not t.app.screen.query_one("#pendant").overflowing


async def test_watching_and_its_end_wait_for_f8(terminal: Any) -> None:
    async with terminal(at(S.VERIFIED, None)) as t:
        await t.press("w", "enter", "space")
        assert t.sent("monitor_target") == []
        assert "X-RAYS" in t.text()
        await t.press("f8", "f8")
        assert [command.on for command in t.sent("monitor_target")] == [True]
        t.supervisor.now = at(S.BEAM_READY, seen())
        t.advance(100)
        await t.press("f2", "e", "f8")
        assert [command.on for command in t.sent("monitor_target")] == [True, False]
