"""The target while the beam is on, in virtual time: what holds the beam, what people are told, and what it costs."""

from __future__ import annotations

import pytest
from room_rig import STEP_US, Room

from igrt_hw.models import commands
from igrt_hw.models.monitoring import MonitoringRule
from igrt_hw.models.plan import PlannedMarker
from igrt_hw.models.status import AlarmPriority
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.rules import SITE_RULES, SupervisorConfig
from igrt_hw.safety.status_view import status

MARKERS = tuple(
    PlannedMarker(name=f"seed {n}", position_dicom_mm=(5.0 * n, 3.0, -4.0 * n), sigma_mm=0.3)
    for n in (1, 2, 3)
)
RULE = MonitoringRule(
    limit_mm=3.0, views_beyond=2, views_blind=2, interval_us=4_000_000, seen_age_us=15_000_000
)


def config(rule: MonitoringRule = RULE) -> SupervisorConfig:
    rules = tuple(r.model_copy(update={"monitoring": rule}) for r in SITE_RULES)
    return SupervisorConfig(machine="linac_pedestal", software_version="test", site_rules=rules)


def treated(rule: MonitoringRule = RULE) -> Room:
    """The beam is on and the target is watched."""
    room = Room(config(rule), markers=MARKERS).to("VERIFIED")
    assert room.ask(commands.MonitorTarget(on=True)).accepted
    later(room, 1)
    assert room.ask(commands.ReleaseBeam()).accepted
    assert room.state == "BEAM_READY"
    room.clear()
    return room


def later(room: Room, seconds: float) -> None:
    """Time passes, views are taken."""
    for _ in range(round(seconds * 1e6 / STEP_US)):
        room.run()
        room.serve()


def problem(room: Room) -> str:
    target = status(room.supervisor, room.now_us).target
    assert target is not None
    return target.problem


# safety: SR-60
def test_a_target_within_its_limit_keeps_the_beam_and_is_looked_at_again_and_again() -> None:
    room = treated()
    later(room, 60)
    assert room.state == "BEAM_READY"
    assert room.couch.gate
    assert 13 <= len(room.of(fx.ViewTarget)) <= 16
    assert problem(room) == ""


# safety: SR-60
def test_a_target_beyond_its_limit_in_two_views_takes_the_beam_and_says_so() -> None:
    room = treated()
    room.target_mm = (0.0, 4.0, 0.0)
    later(room, 4)
    assert room.couch.gate, "one view beyond the limit, and not far"
    later(room, 4.5)
    assert room.state == "VERIFIED"
    assert not room.couch.gate
    assert "4.0 mm from its planned place (3 allowed)" in room.reason
    alarm = next(a for a in room.supervisor.alarms.listed() if a.alarm_id == "target")
    assert alarm.priority is AlarmPriority.HIGH
    assert "4.0 mm" in alarm.text


def test_the_last_sights_are_shown_as_a_trace_that_does_not_grow_without_end() -> None:
    room = treated()
    for depth in (0.0, 2.0, 1.0):
        room.target_mm = (0.0, depth, 0.0)
        later(room, 4)
    target = status(room.supervisor, room.now_us).target
    assert target is not None
    trace = target.trace
    assert [sight.deviation_mm[1] for sight in trace][-3:] == [0.0, 2.0, 1.0]
    assert [sight.age_s for sight in trace] == sorted((s.age_s for s in trace), reverse=True)
    assert trace[-1].age_s == pytest.approx(target.seen_age_s, abs=0.1)
    later(room, 160)
    target = status(room.supervisor, room.now_us).target
    assert target is not None
    assert target.views > 30
    assert len(target.trace) == 30


# safety: SR-60
def test_a_target_far_beyond_its_limit_takes_the_beam_with_the_first_view() -> None:
    room = treated()
    room.target_mm = (0.0, 0.0, 6.1)
    later(room, 4.1)
    assert room.state == "VERIFIED"
    assert not room.couch.gate


# safety: SR-60
def test_a_hold_never_ends_by_itself_and_a_target_that_is_back_may_be_released_again() -> None:
    room = treated()
    room.target_mm = (0.0, 0.0, 9.0)
    later(room, 5)
    refused = room.ask(commands.ReleaseBeam())
    assert not refused.accepted
    assert "Target Position" in refused.message
    room.target_mm = (0.0, 0.0, 0.5)
    later(room, 30)
    assert room.state == "VERIFIED", "nobody has released it"
    assert not room.couch.gate
    assert room.ask(commands.ReleaseBeam()).accepted
    assert room.couch.gate
    later(room, 1)
    alarm = next(a for a in room.supervisor.alarms.listed() if a.alarm_id == "target")
    assert not alarm.active, "latched until it is reset, but its cause is gone"


# safety: SR-61
@pytest.mark.parametrize(
    "what", ["the markers are not recognised", "the views fail", "no view ever comes back"]
)
def test_what_is_not_known_holds_the_beam(what: str) -> None:
    room = treated()
    if what == "the markers are not recognised":
        room.target_mm = None
    elif what == "the views fail":
        room.view_fails = "the generator did not fire"
    for _ in range(round(25e6 / STEP_US)):
        room.run()
        if what != "no view ever comes back":
            room.serve()
    assert room.state == "VERIFIED"
    assert not room.couch.gate
    assert problem(room)


# safety: SR-61
def test_one_blind_view_is_borne_and_an_old_sight_is_not() -> None:
    room = treated()
    room.target_mm = None
    later(room, 4.1)
    assert room.couch.gate
    room.target_mm = (0.1, 0.0, 0.0)
    later(room, 8)
    assert room.couch.gate
    room = treated(RULE.model_copy(update={"views_blind": 10}))
    room.target_mm = None
    later(room, 14)
    assert room.couch.gate
    later(room, 3)
    assert not room.couch.gate
    assert "last seen" in problem(room)


# safety: SR-61
def test_the_beam_waits_for_the_first_view_and_a_site_may_require_the_watch() -> None:
    room = Room(config(), markers=MARKERS).to("VERIFIED")
    room.hold_answers = True
    assert room.ask(commands.MonitorTarget(on=True)).accepted
    early = room.ask(commands.ReleaseBeam())
    assert not early.accepted
    assert "has not been seen yet" in early.message
    room.hold_answers = False
    room.serve()
    assert room.ask(commands.ReleaseBeam()).accepted

    strict = Room(config(RULE.model_copy(update={"use": "required"})), markers=MARKERS)
    strict.to("VERIFIED")
    unwatched = strict.ask(commands.ReleaseBeam())
    assert not unwatched.accepted
    assert "asks for the target to be watched" in unwatched.message
    assert not strict.couch.gate


# safety: SR-60
def test_ending_the_watch_over_a_target_that_was_off_voids_the_verification() -> None:
    room = treated()
    room.target_mm = (0.0, 0.0, 9.0)
    later(room, 5)
    assert room.ask(commands.MonitorTarget(on=False)).accepted
    assert room.of(fx.ParkImager)
    refused = room.ask(commands.ReleaseBeam())
    assert not refused.accepted
    assert "verify the position again" in refused.message
    room.verify()
    assert room.state == "VERIFIED"
    assert room.ask(commands.ReleaseBeam()).accepted


# safety: SR-60
def test_ending_the_watch_while_a_required_watch_holds_the_beam_takes_it() -> None:
    room = treated(RULE.model_copy(update={"use": "required"}))
    assert room.ask(commands.MonitorTarget(on=False)).accepted
    assert room.state == "VERIFIED"
    assert not room.couch.gate


# safety: SR-62
def test_every_view_is_in_the_record_with_its_dose_and_the_views_are_counted() -> None:
    room = treated(RULE.model_copy(update={"views_max": 4}))
    later(room, 30)
    seen = [e for e in room.of(fx.Record) if e.kind == "target" and "image_uid" in e.data]  # type: ignore[union-attr]
    assert len(seen) == 3, "the fourth was before the release"
    assert all(e.data["dose_area_uGycm2"] == 20.0 for e in seen)  # type: ignore[union-attr]
    shown = status(room.supervisor, room.now_us).target
    assert shown is not None
    assert (shown.views, shown.views_left) == (4, 0)
    assert shown.dose_area_uGycm2 == 80.0
    assert room.state == "VERIFIED", "no more views, so nothing is known"


# safety: SR-60
@pytest.mark.parametrize("act", ["stop", "close", "door", "images"])
def test_whatever_ends_the_beam_ends_or_outlives_the_watch_in_order(act: str) -> None:
    room = treated()
    if act == "stop":
        room.ask(commands.Stop())
    elif act == "close":
        room.ask(commands.Stop())
        assert room.ask(commands.ClosePatient()).accepted
        assert room.supervisor.memory.target is None
    elif act == "door":
        room.door_closed = False
    else:
        room.ask(commands.Stop())
        assert room.ask(commands.AcquireImages()).accepted
        assert room.supervisor.memory.target is None
    later(room, 6)
    assert not room.couch.gate
    assert room.state != "BEAM_READY"


# safety: SR-61
def test_an_answer_to_an_old_view_is_dropped_and_a_view_of_the_future_is_no_sight() -> None:
    room = treated()
    room.hold_answers = True
    for _ in range(200):
        room.run()
        views = [e for e in room.waiting if isinstance(e, fx.ViewTarget)]
        if views:
            break
    view = views[0]
    room.ask(commands.MonitorTarget(on=False))
    answer = room.reply(view)
    assert isinstance(answer, ev.TargetSeen)
    room.feed(answer)
    assert room.supervisor.memory.target is None
    assert any(e.kind == "late answer" for e in room.of(fx.Record))  # type: ignore[union-attr]


def test_a_plan_without_markers_cannot_be_watched_and_says_why() -> None:
    room = Room(config()).to("VERIFIED")
    answer = room.ask(commands.MonitorTarget(on=True))
    assert not answer.accepted
    assert "2 are needed" in answer.message
    assert room.ask(commands.ReleaseBeam()).accepted, "nobody asks for it"
