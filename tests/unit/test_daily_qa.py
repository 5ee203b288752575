"""Daily QA: the shift test by the loop itself, interlocks that are asked for and must hold, a day without it."""

from __future__ import annotations

import pytest
from room_rig import PLANNED, Room

from igrt_hw.geometry import Correction
from igrt_hw.models import commands
from igrt_hw.models.proposal import CheckOutcome
from igrt_hw.models.qa import QaResult, QaRun
from igrt_hw.safety import effects as fx
from igrt_hw.safety.interlock_tests import STAGES
from igrt_hw.safety.qa_standing import standing
from igrt_hw.safety.qa_tests import BY_NAME, QA_TESTS
from igrt_hw.safety.rules import GENERAL, SITE_RULES, SiteRule, SupervisorConfig
from igrt_hw.safety.status_view import status

CONFIG = SupervisorConfig(
    machine="linac_pedestal", software_version="test", qa_patient_ids=("IGRT-0001",)
)


def qa_room(level: str = "stereotactic") -> Room:
    room = Room(CONFIG)
    assert room.ask(commands.EnterMode(mode="daily QA")).accepted
    assert room.ask(commands.BeginQa(level=level)).accepted  # type: ignore[arg-type]
    return room


def results(room: Room) -> dict[str, QaResult]:
    qa = room.supervisor.memory.qa
    assert qa is not None
    return {result.test: result for result in qa.run.results}


def by_hand(room: Room, mm: float) -> None:
    """Move the couch laterally with the pendant, as people do."""
    room.couch.enable, room.keys = True, ((0, 1),)
    room.run(2)
    room.serve()
    while room.couch.axes[0] < PLANNED[0] + mm:
        room.run()
        room.serve()
    room.couch.enable, room.keys = False, ()
    room.run(30)


def shift_test(room: Room, found: Correction | None = None) -> None:
    """Aligned, imaged, displaced by the pendant, imaged, moved, verified."""
    room.correction = Correction(0.2, -0.1, 0.1, 0.05, 0.0, 0.0)
    room.verify_correction = Correction(0.1, 0.1, 0.1, 0.0, 0.0, 0.0)
    room.to("REGISTERED")
    by_hand(room, 8.0)
    assert room.state == "PATIENT_BOUND", room.reason
    assert room.ask(commands.ConfirmSetup()).accepted
    made = room.couch.axes[0] - PLANNED[0]
    room.correction = found if found is not None else Correction(lateral_mm=-made)
    room.to("VERIFIED")


# safety: SR-39
def test_the_shift_test_is_read_off_what_the_loop_did() -> None:
    room = qa_room()
    shift_test(room)
    found = results(room)
    assert found["Imager coincidence"].value == pytest.approx(0.245, abs=0.01)
    for name in ("matching", "couch motion", "verification"):
        assert found[f"Shift test: {name}"].passed, found[f"Shift test: {name}"].sentence
        assert found[f"Shift test: {name}"].limit == 1.0
        assert found[f"Shift test: {name}, rotation"].passed
    assert found["Shift test: matching"].value == pytest.approx(0.0, abs=1e-6)
    assert found["Shift test: verification"].value == pytest.approx(0.173, abs=0.01)


# safety: SR-39
def test_a_match_that_misses_the_known_shift_fails_at_the_narrow_tolerance_and_passes_at_the_wide_one() -> (
    None
):
    for level, passed in (("stereotactic", False), ("general", True)):
        room = qa_room(level)
        shift_test(room, found=Correction(lateral_mm=-6.5))
        result = results(room)["Shift test: matching"]
        assert result.value is not None
        assert 1.0 < result.value < 2.0, result.sentence
        assert result.passed is passed


# safety: SR-39
def test_a_shift_the_other_way_fails() -> None:
    room = qa_room("general")
    shift_test(room, found=Correction(lateral_mm=8.0))
    assert not results(room)["Shift test: matching"].passed
    assert results(room)["Shift test: couch motion"].passed


def held_by(room: Room, name: str) -> None:
    """Break the interlock in the room."""
    match name:
        case "Emergency Stop":
            room.couch.extra, room.couch.faults = {"estop": True}, ("emergency stop",)
        case "Machine Clearance":
            room.couch.extra, room.couch.faults = {"touch_guard": True}, ("touch guard",)
        case "Accessory Clearance":
            room.arms = "extended"
        case "Door":
            room.door_closed = False


def healed(room: Room) -> None:
    room.couch.extra, room.arms, room.door_closed = {}, "parked", True
    room.run(3)
    room.ask(commands.ResetFault())
    room.run(3)


FOUR = ("Emergency Stop", "Machine Clearance", "Accessory Clearance", "Door")


# safety: SR-38
@pytest.mark.parametrize("name", FOUR)
def test_an_interlock_passes_only_when_it_was_broken_seen_and_holds_again(name: str) -> None:
    room = qa_room()
    began = room.ask(commands.WatchInterlock(test=name))
    assert began.accepted, began.message
    assert began.message == BY_NAME[name].steps[0]
    room.run(20)
    assert name not in results(room), "nothing was broken yet"
    held_by(room, name)
    room.run(3)
    assert name not in results(room), "it does not hold again yet"
    shown = status(room.supervisor, room.now_us).qa
    assert shown is not None
    step = next(step for step in shown.steps if step.test == name)
    assert (step.outcome, step.next_step) == ("running", BY_NAME[name].steps[1])
    healed(room)
    assert results(room)[name].passed


# safety: SR-38
@pytest.mark.parametrize("name", FOUR)
def test_an_interlock_that_is_never_seen_fails(name: str) -> None:
    room = qa_room()
    assert room.ask(commands.WatchInterlock(test=name)).accepted
    room.now_us += 121_000_000
    room.run(2)
    assert not results(room)[name].passed
    assert "not seen within 120 s" in results(room)[name].sentence


# safety: SR-38
@pytest.mark.parametrize("name", FOUR)
def test_an_interlock_that_is_stuck_cannot_begin(name: str) -> None:
    room = qa_room()
    held_by(room, name)
    room.run(3)
    assert not room.ask(commands.WatchInterlock(test=name)).accepted


# safety: SR-38
def test_a_lost_link_is_no_open_door() -> None:
    room = qa_room()
    assert room.ask(commands.WatchInterlock(test="Door")).accepted
    room.silent.add("imager")
    room.door_closed = False
    room.run(40)
    assert "Door" not in results(room)


# safety: SR-38
def test_the_enable_is_seen_held_squeezed_and_released_by_pendant_and_wire() -> None:
    room = qa_room()
    assert room.ask(commands.WatchInterlock(test="Motion Enable")).accepted
    for wire, word in ((True, "enabled"), (False, "squeezed"), (False, "released")):
        assert "Motion Enable" not in results(room)
        room.couch.enable, room.enable_position = wire, word
        room.run(3)
    assert results(room)["Motion Enable"].passed


# safety: SR-38
def test_a_wire_that_stays_held_while_the_enable_is_squeezed_does_not_pass() -> None:
    room = qa_room()
    room.ask(commands.WatchInterlock(test="Motion Enable"))
    room.couch.enable, room.enable_position = True, "enabled"
    room.run(3)
    room.enable_position = "squeezed"
    room.run(100)
    room.enable_position = "released"
    room.run(100)
    assert "Motion Enable" not in results(room)
    room.now_us += 121_000_000
    room.run(2)
    assert not results(room)["Motion Enable"].passed


# safety: SR-38
@pytest.mark.parametrize("stuck", [False, True])
def test_the_beam_gate_has_to_fall_under_an_open_door(stuck: bool) -> None:
    room = qa_room()
    assert room.ask(commands.WatchInterlock(test="Beam Hold")).accepted
    shift_test(room)
    room.ask(commands.ReleaseBeam())
    room.run(20)
    assert room.state == "BEAM_READY"
    if stuck:
        room.couch.extra = {"beam_gate_energised": True}
    room.door_closed = False
    room.run(40)
    room.door_closed = True
    room.run(3)
    result = results(room)["Beam Hold"]
    assert result.passed is not stuck
    assert ("still energised" in result.sentence) is stuck


# safety: SR-38
def test_every_interlock_test_has_a_step_in_words_for_each_stage() -> None:
    interlocks = {test.name for test in QA_TESTS if test.kind == "interlock"}
    assert set(STAGES) == interlocks
    assert all(len(BY_NAME[name].steps) == len(stages) for name, stages in STAGES.items())


# safety: SR-38, SR-39
def test_a_run_passes_only_with_every_required_test_and_says_what_is_missing() -> None:
    room = qa_room()
    shift_test(room)
    answer = room.ask(commands.FinishQa())
    assert answer.data["passed"] is False
    assert answer.data["missing"] == ["Emergency Stop", "Machine Clearance", "Accessory Clearance",
                                      "Door", "Motion Enable", "Beam Hold"]  # fmt: skip
    found = room.supervisor.memory.daily_qa
    assert found is not None
    assert not found.passed_today


def passing() -> Room:
    room = Room(
        CONFIG.model_copy(
            update={"qa_required": ("Shift test: matching", "Door"), "site_rules": required_rules()}
        )
    )
    room.ask(commands.EnterMode(mode="daily QA"))
    room.ask(commands.BeginQa(level="stereotactic"))
    shift_test(room)
    room.ask(commands.WatchInterlock(test="Door"))
    held_by(room, "Door")
    room.run(3)
    healed(room)
    return room


def required_rules() -> tuple[SiteRule, ...]:
    return tuple(rule.model_copy(update={"daily_qa": "required"}) for rule in SITE_RULES)


# safety: SR-40
def test_a_site_that_requires_daily_qa_opens_no_patient_before_it_passed_today() -> None:
    room = passing()
    room.ask(commands.ClosePatient())
    room.ask(commands.EnterMode(mode="clinical rehearsal"), "phil", "physicist")
    assert not room.open().accepted, "the run was not finished, and has failed"
    assert "asks for daily QA" in room.open().message

    room = passing()
    assert room.ask(commands.FinishQa()).data["passed"] is True
    room.ask(commands.ClosePatient())
    room.ask(commands.EnterMode(mode="clinical rehearsal"), "phil", "physicist")
    assert room.open().accepted
    assert room.to("CHECKED").state == "CHECKED"

    room.ask(commands.ClosePatient())
    room.now_us += 24 * 3600 * 1_000_000
    room.run(3)
    assert not room.open().accepted, "it was yesterday's"


# safety: SR-40
def test_a_run_of_the_record_counts_after_a_restart() -> None:
    room = passing()
    room.ask(commands.FinishQa())
    runs = room.supervisor.memory.qa_runs
    again = Room(CONFIG.model_copy(update={"site_rules": required_rules()}))
    assert not again.open().accepted
    again.qa_runs = runs
    assert again.open().accepted


# safety: SR-40
def test_a_site_that_only_warns_says_so_on_opening_and_in_the_proposal() -> None:
    room = Room()
    assert "WARNING: no daily QA" in room.open().message
    room.to("CHECKED")
    proposal = room.supervisor.memory.proposal
    assert proposal is not None
    check = next(check for check in proposal.content.checks if check.name == "daily QA")
    assert check.outcome is CheckOutcome.WARN
    assert proposal.content.approvals_needed == 1


# safety: SR-40
def test_only_a_phantom_is_opened_in_daily_qa_and_nobody_in_service() -> None:
    room = Room(CONFIG.model_copy(update={"qa_patient_ids": ("QA-CUBE",)}))
    room.ask(commands.EnterMode(mode="daily QA"))
    answer = room.open()
    assert not answer.accepted
    assert "only a phantom" in answer.message
    assert room.ask(commands.EnterMode(mode="service"), "phil", "physicist").accepted
    assert not room.open().accepted


# safety: SR-40
@pytest.mark.parametrize(
    ("role", "mode", "allowed"),
    [
        ("therapist", "daily QA", True),
        ("physicist", "daily QA", True),
        ("service", "daily QA", True),
        ("physician", "daily QA", False),
        ("therapist", "service", False),
        ("service", "service", True),
    ],
)
def test_who_may_enter_a_mode_is_data(role: str, mode: str, allowed: bool) -> None:
    answer = Room(CONFIG).ask(commands.EnterMode(mode=mode), "x", role)  # type: ignore[arg-type]
    assert answer.accepted is allowed


def run_of(level: str, passed: bool, at: str, day: str = "2026-03-02") -> QaRun:
    return QaRun(
        run_id=at,
        machine="m",
        level=level,  # type: ignore[arg-type]
        day=day,
        begun_utc=at,
        begun_by="anna",
        finished_utc=at,
        finished_by="anna",
        passed=passed,
        missing=() if passed else ("Door",),
        results=(),
    )


STEREOTACTIC = GENERAL.model_copy(update={"daily_qa_level": "stereotactic"})


# safety: SR-40
@pytest.mark.parametrize(
    ("runs", "rule", "passed"),
    [
        ([], GENERAL, False),
        ([("general", True, "08")], GENERAL, True),
        ([("general", True, "08")], STEREOTACTIC, False),
        ([("stereotactic", True, "08")], GENERAL, True),
        ([("stereotactic", True, "08")], STEREOTACTIC, True),
        ([("general", True, "08"), ("general", False, "09")], GENERAL, False),
        ([("stereotactic", True, "08"), ("general", False, "09")], STEREOTACTIC, False),
        ([("general", False, "08"), ("general", True, "09")], GENERAL, True),
        ([("stereotactic", False, "08"), ("general", True, "09")], STEREOTACTIC, False),
    ],
)
def test_the_newest_run_of_the_day_counts(
    runs: list[tuple[str, bool, str]], rule: SiteRule, passed: bool
) -> None:
    told = [run_of(level, ok, f"2026-03-02T{at}:00:00Z") for level, ok, at in runs]
    assert standing(told, "2026-03-02", "m", rule).passed_today is passed
    assert not standing(told, "2026-03-03", "m", rule).passed_today
    assert not standing(told, "2026-03-02", "another machine", rule).passed_today


# safety: SR-40
def test_the_day_is_that_of_the_room_not_of_greenwich() -> None:
    room = Room(CONFIG.model_copy(update={"utc_offset_min": 600}))
    memory = room.supervisor.memory
    assert memory.day(0) == "2026-03-02"  # 08:00 UTC is 18:00 in the room
    assert memory.day(6 * 3600 * 1_000_000) == "2026-03-03"


# safety: SR-39
def test_what_comes_from_the_loop_cannot_be_typed() -> None:
    room = qa_room()
    for name, value in (("Shift test: matching", 0.0), ("Imager coincidence", 0.0), ("Door", None)):
        answer = room.ask(
            commands.NoteQa(test=name, value=value, passed=None if value is not None else True)
        )
        assert not answer.accepted, name
    assert room.ask(commands.NoteQa(test="Lasers", value=1.4)).accepted
    assert not results(room)["Lasers"].passed, "1 mm at the stereotactic level"
    assert not room.ask(commands.NoteQa(test="Lasers", passed=True)).accepted
    assert room.ask(commands.NoteQa(test="Beam-on indicator", passed=True)).accepted


# safety: SR-25
def test_every_result_is_recorded_as_it_was_judged() -> None:
    room = qa_room()
    room.ask(commands.NoteQa(test="Lasers", value=0.4, text="north wall"))
    (entry,) = [e for e in room.of(fx.Record) if isinstance(e, fx.Record) and e.kind == "qa result"]
    kept = QaResult.model_validate(entry.data)
    assert kept == replace_sequence(results(room)["Lasers"])
    assert "north wall" in kept.sentence


def replace_sequence(result: QaResult) -> QaResult:
    return result.model_copy(update={"sequence": 0})


# safety: SR-38
def test_daily_qa_permits_nothing_by_itself() -> None:
    room = qa_room()
    room.clear()
    room.couch.enable = True
    room.run(20)
    for name in FOUR:
        room.ask(commands.WatchInterlock(test=name))
        room.run(5)
    assert not room.of(fx.RefreshPermission)
    assert not room.of(fx.Execute)
