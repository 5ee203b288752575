"""The pendant's keys, the service mode, and the way from one isocentre to the next."""

from __future__ import annotations

import pytest
from room_rig import PLANNED, Room, treatment_plan

from igrt_hw.models import commands
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev

LONGITUDINAL = 1
PLUS, MINUS = ((LONGITUDINAL, 1),), ((LONGITUDINAL, -1),)


def press(room: Room, keys: tuple[tuple[int, int], ...] = PLUS, steps: int = 3) -> Room:
    """Hold the enable and a key for a while; answers come at once."""
    room.couch.enable, room.keys = True, keys
    for _ in range(steps):
        room.run()
        room.serve()
    return room


def moved(room: Room) -> float:
    return room.couch.axes[LONGITUDINAL] - PLANNED[LONGITUDINAL]


def jogs(room: Room) -> list[fx.Jog]:
    return [effect for effect in room.of(fx.Jog) if effect.speed != 0.0]


# safety: SR-32
def test_a_key_moves_the_couch_only_while_it_and_the_enable_are_held() -> None:
    room = press(Room().to("PATIENT_BOUND"), steps=50)
    assert 5.0 < moved(room) < 11.0, "a second at no more than 10 mm/s"
    room.couch.enable = False
    room.run(2)
    stopped = moved(room)
    room.run(20)
    assert moved(room) == stopped
    assert "enable" in room.reason


# safety: SR-32
def test_a_key_without_the_enable_moves_nothing_and_asks_for_nothing() -> None:
    room = Room().to("PATIENT_BOUND")
    room.clear()
    room.keys, room.couch.enable = PLUS, False
    room.run(20)
    assert not room.of(fx.Jog)
    assert not room.of(fx.CheckPath)


# safety: SR-32
def test_two_keys_are_refused_and_the_record_says_so() -> None:
    room = press(Room(), (*PLUS, (0, 1)), steps=20)
    assert not jogs(room)
    assert "one key at a time" in room.reason
    assert [e for e in room.of(fx.Record) if e.kind == "refused"]


# safety: SR-32
def test_nothing_moves_before_the_way_ahead_is_certified() -> None:
    room = Room().to("PATIENT_BOUND")
    room.clear()
    room.couch.enable, room.keys = True, PLUS
    room.run(10)
    assert [e.purpose for e in room.of(fx.CheckPath)] == ["manual"]
    assert not jogs(room)
    room.serve()
    room.run(2)
    assert jogs(room)


# safety: SR-32
def test_the_couch_stops_short_of_what_comes_too_near() -> None:
    room = Room().to("PATIENT_BOUND")
    room.profile_mm = (120.0, 90.0, 60.0, 31.0, 12.0, 4.0)  # free for four sixths of 60 mm
    press(room, steps=400)
    assert moved(room) < 40.0
    assert "comes within" in room.reason
    assert not room.couch.jogging


# safety: SR-32
def test_away_from_what_is_near_already_a_key_leads() -> None:
    room = Room().to("PATIENT_BOUND")
    room.profile_mm = (8.0, 20.0, 60.0, 100.0)
    press(room, MINUS, steps=50)
    assert moved(room) < -5.0


# safety: SR-32
def test_a_long_way_is_certified_piece_by_piece() -> None:
    room = Room().to("PATIENT_BOUND")
    press(room, steps=600)
    assert moved(room) > 100.0
    assert len([e for e in room.of(fx.CheckPath) if e.purpose == "manual"]) >= 2


# safety: SR-32
@pytest.mark.parametrize("state", ["CHECKED", "APPROVED", "ARRIVED", "VERIFIED", "BEAM_READY"])
def test_keys_do_nothing_while_something_is_proposed_approved_or_verified(state: str) -> None:
    room = Room().to(state)
    room.clear()
    at = room.couch.axes
    press(room, steps=30)
    assert room.couch.axes == at
    assert not jogs(room)
    assert room.state == state


# safety: SR-32
@pytest.mark.parametrize("state", ["SETUP", "IMAGED", "REGISTERED"])
def test_manual_motion_voids_images_and_the_confirmed_setup(state: str) -> None:
    room = press(Room().to(state), steps=10)
    assert room.state == "PATIENT_BOUND"
    assert room.supervisor.memory.stamp is None
    room.couch.enable, room.keys = False, ()
    room.run(3)
    assert not room.ask(commands.AcquireImages()).accepted


# safety: SR-32 SR-04
def test_a_key_that_was_down_through_a_stop_counts_again_after_it_was_let_go() -> None:
    room = press(Room().to("PATIENT_BOUND"), steps=20)
    room.ask(commands.Stop())
    at = moved(room)
    press(room, steps=30)
    assert moved(room) == at
    room.keys = ()
    room.run(2)
    press(room, steps=30)
    assert moved(room) > at


# safety: SR-32
@pytest.mark.parametrize("silent", ["pendant", "couch", "terminal"])
def test_what_is_no_longer_heard_ends_manual_motion(silent: str) -> None:
    room = press(Room().to("PATIENT_BOUND"), steps=20)
    room.silent.add(silent)
    room.run(60)
    assert room.supervisor.memory.jog is None
    assert room.couch.jogging is None


# safety: SR-32
def test_a_refusal_of_the_couch_ends_the_jog_and_is_told() -> None:
    room = press(Room().to("PATIENT_BOUND"), steps=20)
    room.feed(ev.JogRefused("the brakes did not release"))
    assert room.supervisor.memory.jog is None
    assert "brakes did not release" in room.reason


# safety: SR-32
def test_a_fault_ends_manual_motion() -> None:
    room = press(Room().to("PATIENT_BOUND"), steps=20)
    room.couch.faults = ("touch guard",)
    room.run(2)
    assert room.state == "FAULT"
    assert room.supervisor.memory.jog is None


# safety: SR-33
def test_in_service_mode_no_patient_is_opened_and_only_some_may_enter_it() -> None:
    room = Room()
    entered = room.ask(commands.EnterMode(mode="service"), "sven", "service")
    assert entered.accepted
    refused = room.open()
    assert not refused.accepted
    assert "service" in refused.message
    assert room.ask(commands.EnterMode(mode="clinical rehearsal"), "sven", "service").accepted
    assert room.open().accepted


# safety: SR-33
def test_the_mode_does_not_change_under_a_patient() -> None:
    room = Room().to("PATIENT_BOUND")
    assert not room.ask(commands.EnterMode(mode="service"), "sven", "service").accepted


# safety: SR-33
def test_homing_needs_service_mode_and_a_held_enable() -> None:
    room = Room()
    assert "service mode" in room.ask(commands.HomeCouch(), "sven", "service").message
    room.ask(commands.EnterMode(mode="service"), "sven", "service")
    assert "enable" in room.ask(commands.HomeCouch(), "sven", "service").message
    room.couch.enable = True
    room.run(2)
    assert room.ask(commands.HomeCouch(), "sven", "service").accepted
    room.run(2)
    assert room.couch.state == "homing"
    room.run(300)
    assert "referenced" in room.reason


# safety: SR-33
def test_homing_ends_when_the_enable_is_let_go() -> None:
    room = Room()
    room.ask(commands.EnterMode(mode="service"), "sven", "service")
    room.couch.enable = True
    room.run(2)
    room.ask(commands.HomeCouch(), "sven", "service")
    room.run(10)
    room.clear()
    room.couch.enable = False
    room.run(10)
    assert not room.of(fx.RefreshPermission)
    assert room.couch.state == "not referenced"


def two_isocentres() -> dict[str, object]:
    plan = treatment_plan()
    first = plan.isocentres[0]
    second = first.model_copy(
        update={"isocentre_id": "ISO2", "position_dicom_mm": (10.0, 20.0, 90.0)}
    )
    return {"isocentres": (first, second)}


# safety: SR-34
def test_another_isocentre_needs_its_own_setup_images_and_approval() -> None:
    room = Room(**two_isocentres()).to("VERIFIED")
    first = room.digest()
    assert room.ask(commands.NextIsocentre(isocentre_id="ISO2")).accepted
    m = room.supervisor.memory
    assert room.state == "PATIENT_BOUND"
    assert m.isocentre is not None
    assert m.isocentre.isocentre_id == "ISO2"
    assert (m.stamp, m.approvals, m.challenge, m.motion) == (None, (), None, None)
    assert not room.ask(commands.Arm(digest=first)).accepted
    assert not room.ask(commands.AcquireImages()).accepted, "the setup is confirmed anew"


# safety: SR-34
def test_an_isocentre_that_the_plan_does_not_have_is_refused_by_name() -> None:
    room = Room(**two_isocentres()).to("SETUP")
    answer = room.ask(commands.NextIsocentre(isocentre_id="ISO9"))
    assert not answer.accepted
    assert "ISO1, ISO2" in answer.message
    same = room.ask(commands.NextIsocentre(isocentre_id="ISO1"))
    assert not same.accepted
    assert room.state == "SETUP"


# safety: SR-34
def test_going_on_to_another_isocentre_takes_the_beam_away() -> None:
    room = Room(**two_isocentres()).to("BEAM_READY")
    assert room.ask(commands.NextIsocentre(isocentre_id="ISO2")).accepted
    assert not room.couch.gate
