"""Each interlock with its sentence, the alarms, and the diagram that the documentation shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from room_rig import Room

from igrt_hw.models import commands
from igrt_hw.models.status import AlarmPriority
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.alarms import SILENCE_US_MAX, AlarmBoard, Cause
from igrt_hw.safety.couch_model import PoseDifference
from igrt_hw.safety.interlocks import CONTRACTS, Act, Situation, broken, judge
from igrt_hw.safety.state_diagram import markdown

ROOT = Path(__file__).parents[2]
NOTHING = PoseDifference(0.0, 0.0)


def in_order() -> Situation:
    room = Room()
    situation = room.supervisor.memory.situation(room.now_us)
    assert all(i.satisfied for i in judge(situation)), judge(situation)
    return situation


def couch(**changes: object) -> dict[str, object]:
    room = Room()
    return {"couch": replace(room.couch.heard(), **changes)}  # type: ignore[arg-type]


CASES: list[tuple[str, dict[str, object]]] = [
    ("Couch Link", {"couch_age_us": 250_001}),
    ("Couch Link", {"couch_age_us": None}),
    ("Imager Link", {"imager_age_us": 250_001}),
    ("Pendant", {"pendant_age_us": 250_001}),
    ("Pendant", {"pendant": ev.PendantHeard(faults=("contacts disagree",))}),
    ("Terminal", {"terminal_age_us": 500_001}),
    ("Terminal", {"terminal_age_us": None}),
    ("Fault", {"faults": ("couch: drive fault",)}),
    ("Emergency Stop", couch(estop=True)),
    ("Emergency Stop", {"pendant": ev.PendantHeard(estop=True)}),
    ("Machine Clearance", couch(touch_guard=True)),
    ("Accessory Clearance", couch(panel_arms_clear=False)),
    ("Accessory Clearance", {"imager": ev.ImagerHeard("idle", arms="extended")}),
    ("Accessory Clearance", {"imager": ev.ImagerHeard("idle", arms="moving")}),
    ("Gantry", {"gantry_deg": 1.01}),
    ("Referenced", couch(referenced=False)),
    ("Referenced", couch(telemetry_only=True)),
    ("Couch At Rest", couch(moving=True)),
    ("Couch At Rest", couch(brakes_on=False)),
    ("Couch At Rest", couch(manual_brake_release=True)),
    ("Position Channels", {"channels": PoseDifference(0.51, 0.0)}),
    ("Position Channels", {"channels": PoseDifference(0.0, 0.21)}),
    ("Patient Motion", {"moved": PoseDifference(0.51, 0.0)}),
    ("Patient Motion", {"moved": PoseDifference(0.0, 0.21)}),
    ("Patient Motion", couch(moved_by_hand=True)),
    ("Door", {"imager": ev.ImagerHeard("idle", door_closed=False)}),
    ("Target Position", {"target": "the target is 4.0 mm from its planned place (3 allowed)"}),
    (
        "Hardware Channel",
        couch(assurance=("no lease",)) | {"pendant": ev.PendantHeard("enabled")},
    ),
    ("Enable", couch(assurance=("no lease",), hardware_channel=True)),
]


NOT_OF_MOTION = ("Door", "Patient Motion", "Position Channels", "Target Position", "Enable")


# safety: SR-27
@pytest.mark.parametrize(("name", "change"), CASES)
def test_interlock_drops_when_its_sentence_is_untrue(name: str, change: dict[str, object]) -> None:
    dropped = [i.name for i in judge(replace(in_order(), **change)) if not i.satisfied]  # type: ignore[arg-type]
    assert dropped == [name]


# safety: SR-27
def test_every_interlock_has_a_case_that_drops_it() -> None:
    assert {name for name, _ in CASES} == {contract.name for contract in CONTRACTS}


# safety: SR-27
def test_nothing_heard_satisfies_nothing_that_needs_hearing() -> None:
    deaf = replace(
        in_order(),
        couch=None,
        imager=None,
        pendant=None,
        couch_age_us=None,
        imager_age_us=None,
        pendant_age_us=None,
        terminal_age_us=None,
        channels=None,
    )
    holds = {i.name for i in judge(deaf) if i.satisfied}
    assert holds <= {"Fault", "Emergency Stop", "Patient Motion", "Gantry"}
    for act in Act:
        assert broken(deaf, act)


# safety: SR-27
@pytest.mark.parametrize(
    ("name", "change"),
    [c for c in CASES if c[0] not in NOT_OF_MOTION],
)
def test_arming_is_refused_under_each_broken_motion_interlock(
    name: str, change: dict[str, object]
) -> None:
    contract = next(c for c in CONTRACTS if c.name == name)
    situation = replace(in_order(), **change)  # type: ignore[arg-type]
    assert bool(broken(situation, Act.START)) is (Act.START in contract.needed_for)
    assert any(text.startswith(name) for text in broken(situation, Act.START))


# safety: SR-27
def test_extended_arms_prevent_arming_in_the_whole_loop() -> None:
    room = Room().to("APPROVED")
    room.arms = "extended"
    room.run()
    answer = room.ask(commands.Arm(digest=room.digest()))
    assert not answer.accepted
    assert "Accessory Clearance" in answer.message
    assert not room.of(fx.UploadPlan)
    room.arms = "parked"
    room.run()
    assert room.ask(commands.Arm(digest=room.digest())).accepted


# safety: SR-27
def test_arms_that_leave_during_motion_stop_it() -> None:
    room = Room().to("MOVING")
    room.arms = "moving"
    room.run(2)
    assert room.state == "SUPERSEDED"
    assert room.of(fx.StopAll)


# safety: SR-27
def test_gantry_that_turned_since_the_path_was_certified_prevents_and_ends_motion() -> None:
    for state in ("APPROVED", "MOVING"):
        room = Room().to(state)
        room.gantry_deg = 2.0
        room.run(2)
        if state == "APPROVED":
            answer = room.ask(commands.Arm(digest=room.digest()))
            assert not answer.accepted
            assert "Gantry" in answer.message
        else:
            assert room.state == "SUPERSEDED"
    room.gantry_deg = 359.5
    room.supervisor.memory.path_gantry_deg = 0.0
    room.run()
    situation = room.supervisor.memory.situation(room.now_us)
    assert next(i for i in judge(situation) if i.name == "Gantry").satisfied


# ---- alarms --------------------------------------------------------------------------------------------------------

HIGH = Cause("fault/x", AlarmPriority.HIGH, "x broke", "mend it", latched=True)
LOW = Cause("held", AlarmPriority.LOW, "held", "hold on")
UTC = "2026-03-02T08:00:00Z"


# safety: SR-28
def test_acknowledging_silences_and_never_clears() -> None:
    board = AlarmBoard()
    board.sound(HIGH, 1, UTC)
    assert board.acknowledge("fault/x", "anna", 2)
    (alarm,) = board.listed()
    assert (alarm.acknowledged_by, alarm.active) == ("anna", True)
    assert not board.acknowledge("no such alarm", "anna", 2)


# safety: SR-28
def test_latched_alarm_outlives_its_cause_until_reset() -> None:
    board = AlarmBoard()
    board.sound(HIGH, 1, UTC)
    assert board.reset() == []
    board.cause_gone("fault/x", 5)
    (alarm,) = board.listed()
    assert not alarm.active
    board.reset()
    assert board.listed() == ()


# safety: SR-28
def test_cause_that_returns_sounds_again_and_loses_its_acknowledgement() -> None:
    board = AlarmBoard()
    board.sound(HIGH, 1, UTC)
    board.acknowledge("fault/x", "anna", 2)
    board.cause_gone("fault/x", 5)
    board.sound(HIGH, 9, UTC)
    (alarm,) = board.listed()
    assert (alarm.acknowledged_by, alarm.active, alarm.raised_us) == (None, True, 9)


# safety: SR-28
def test_several_alarms_stand_side_by_side_highest_first() -> None:
    board = AlarmBoard()
    board.sound(LOW, 1, UTC)
    board.sound(HIGH, 2, UTC)
    assert [a.alarm_id for a in board.listed()] == ["fault/x", "held"]
    board.cause_gone("held", 3)
    assert [a.alarm_id for a in board.listed()] == ["fault/x"]
    assert board.rate_per_hour(3) == 2
    assert board.rate_per_hour(3_600_000_003) == 0


# safety: SR-28
def test_alarm_of_the_loop_is_acknowledged_by_command_and_stays() -> None:
    room = Room().to("SETUP")
    room.silent.add("imager")
    room.run(30)
    (alarm,) = room.supervisor.alarms.listed()
    assert room.ask(commands.AcknowledgeAlarm(alarm_id=alarm.alarm_id)).accepted
    room.run(5)
    (still,) = room.supervisor.alarms.listed()
    assert still.acknowledged_by == "anna"
    room.silent.clear()
    room.run(110)
    assert room.supervisor.alarms.listed() == ()
    assert not room.ask(commands.AcknowledgeAlarm(alarm_id=alarm.alarm_id)).accepted


LINK = Cause("link/couch", AlarmPriority.MEDIUM, "late", "look", clears_after_us=2_000_000)


# safety: SR-42
def test_a_link_that_comes_and_goes_is_one_alarm_until_it_stays() -> None:
    board = AlarmBoard()
    changes = []
    for at in range(0, 10_000_000, 400_000):
        changes += board.sound(LINK, at, UTC)
        changes += board.cause_gone("link/couch", at + 200_000)
    assert [change.what for change in changes] == ["raised"]
    assert board.rate_per_hour(10_000_000) == 1
    assert board.cause_gone("link/couch", 11_599_999) == []
    (ended,) = board.cause_gone("link/couch", 11_600_000)
    assert ended.what == "ended"


# safety: SR-42
def test_a_link_that_flickers_in_the_room_takes_permission_each_time_and_alarms_once() -> None:
    room = Room().to("SETUP")
    for _ in range(8):
        room.silent.add("imager")
        room.run(30)
        assert not room.ask(commands.AcquireImages()).accepted, "the interlock has no hysteresis"
        room.silent.clear()
        room.run(20)
    raised = [e for e in room.of(fx.Record) if isinstance(e, fx.Record) and e.kind == "alarm"]
    assert [e.data["what"] for e in raised if e.data["alarm_id"] == "link/imager"] == ["raised"]
    room.run(110)
    assert room.supervisor.alarms.listed() == ()


# safety: SR-42
def test_a_late_link_is_a_high_alarm_in_motion_and_none_at_rest() -> None:
    at_rest = Room().to("SETUP")
    at_rest.silent.add("imager")
    at_rest.run(16)
    assert at_rest.supervisor.alarms.listed() == ()
    moving = Room().to("MOVING")
    moving.silent.add("imager")
    moving.run(16)
    (alarm,) = [a for a in moving.supervisor.alarms.listed() if a.alarm_id == "link/imager"]
    assert alarm.priority is AlarmPriority.HIGH


# safety: SR-42
def test_a_higher_priority_asks_for_another_acknowledgement() -> None:
    board = AlarmBoard()
    board.sound(LINK, 1, UTC)
    board.acknowledge("link/couch", "anna", 2)
    (change,) = board.sound(replace(LINK, priority=AlarmPriority.HIGH), 3, UTC)
    assert change.what == "raised to high"
    (alarm,) = board.listed()
    assert (alarm.priority, alarm.acknowledged_by, alarm.raised_us) == (AlarmPriority.HIGH, None, 1)


# safety: SR-42
def test_the_silence_of_a_high_alarm_ends_by_itself_that_of_others_does_not() -> None:
    board = AlarmBoard()
    board.sound(HIGH, 0, UTC)
    board.sound(LOW, 0, UTC)
    board.acknowledge("fault/x", "anna", 0)
    board.acknowledge("held", "anna", 0)
    assert board.wake(SILENCE_US_MAX) == []
    (change,) = board.wake(SILENCE_US_MAX + 1)
    assert (change.alarm_id, change.what) == ("fault/x", "sounds again")
    assert [a.acknowledged_by for a in board.listed()] == [None, "anna"]


def test_state_diagram_of_the_documentation_is_the_table_that_runs() -> None:
    written = (ROOT / "docs/safety/state_machine.md").read_text(encoding="utf-8")
    assert written == markdown(), (
        "run: python -m igrt_hw.safety.state_diagram docs/safety/state_machine.md"
    )


# safety: SR-36
def test_couch_that_promises_everything_is_not_asked_for_its_enable_by_the_supervisor() -> None:
    names = {i.name for i in judge(in_order())}
    assert not names & {"Hardware Channel", "Enable"}
    assert not broken(in_order(), Act.DRIVE)


# safety: SR-36
def test_what_a_dialect_does_not_tell_is_said_and_never_taken_for_measured() -> None:
    told = couch(
        unreported=("second channel", "panel arms"), panel_arms_clear=False, assurance=("no lease",)
    )
    found = {i.name: i for i in judge(replace(in_order(), **told))}  # type: ignore[arg-type]
    assert "no second channel" in found["Position Channels"].detail
    assert found["Accessory Clearance"].satisfied
    assert "does not tell" in found["Accessory Clearance"].detail
    told["imager"] = ev.ImagerHeard("idle", arms="extended")
    found = {i.name: i for i in judge(replace(in_order(), **told))}  # type: ignore[arg-type]
    assert not found["Accessory Clearance"].satisfied
