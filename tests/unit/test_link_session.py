"""The host's session in virtual time against a scripted device (tests/support/clp1_bench.py)."""

from __future__ import annotations

import pytest
from clp1_bench import Bench, ScriptedDevice, clean

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkLost, LossCause, Refused, StoppedByStop
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.session import (
    TRANSITIONS,
    EpochMoved,
    LeaseRefused,
    Opened,
    SessionSettings,
    SessionState,
    Trigger,
)
from igrt_hw.models.telemetry import RefusalCode

EXECUTE = m.Execute(bytes(32), 1, bytes(16))
PLAN = m.PlanUpload(bytes(32), bytes(8), 1000, 1, 6, 1, (0,) * 6, 1, 1, ((0,) * 6,))


def opened(device: ScriptedDevice | None = None, **more: object) -> Bench:
    bench = Bench(device, **more)  # type: ignore[arg-type]
    bench.open()
    assert bench.session.state is SessionState.OPEN
    return bench


class DropNth:
    """A fault that swallows the chunks whose numbers are given, counted from 0 when armed."""

    def __init__(self) -> None:
        self.left: set[int] = set()
        self.count = 0
        self.dropped = 0

    def arm(self, *numbers: int) -> None:
        self.left, self.count = set(numbers), 0

    def __call__(self, chunk: bytes) -> list[tuple[int, bytes]]:
        number, self.count = self.count, self.count + 1
        if number in self.left:
            self.dropped += 1
            return []
        return clean(chunk)


# ---- opening -------------------------------------------------------------------------------


def test_hello_opens_a_session_and_says_who_answered() -> None:
    bench = opened()
    (event,) = [e for e in bench.events if isinstance(e, Opened)]
    assert event.identity.session == bench.device.session
    assert event.identity.boot_id == bench.device.boot_id
    assert event.identity.axis_count == 6


def test_a_lost_hello_is_sent_again_with_another_nonce() -> None:
    drop = DropNth()
    drop.arm(0)
    bench = Bench(to_device=drop)
    bench.open()
    assert bench.session.state is SessionState.OPENING
    bench.run(250_000)
    assert bench.session.state is SessionState.OPEN


def test_no_answer_to_hello_is_a_loss_that_says_what_to_check() -> None:
    bench = Bench(ScriptedDevice(mute=True))
    bench.open()
    bench.run(2_000_000)
    assert bench.session.lost is not None
    assert bench.session.lost.cause is LossCause.NO_HELLO
    assert "check cable, power and port" in str(bench.session.lost)


def test_garbage_instead_of_an_answer_points_at_the_baud_rate() -> None:
    bench = Bench(to_host=lambda chunk: [(0, bytes(o ^ 0x55 for o in chunk))])
    bench.open()
    bench.run(2_000_000)
    assert "check the baud rate" in str(bench.session.lost)


def test_another_device_on_the_port_is_named() -> None:
    bench = Bench(settings=SessionSettings(DeviceKind.IMAGER))
    bench.open()
    bench.run(2_000_000)
    assert bench.session.lost is not None
    assert bench.session.lost.cause is LossCause.WRONG_DEVICE
    assert "a couch answers" in str(bench.session.lost)


@pytest.mark.parametrize(("status", "word"), [(1, "version"), (2, "dictionary")])
def test_a_mismatch_leaves_telemetry_and_stop_and_refuses_the_rest(status: int, word: str) -> None:
    bench = Bench(ScriptedDevice(hello_status=status))
    bench.open()
    assert bench.session.state is SessionState.TELEMETRY_ONLY
    assert word in bench.session.limitation
    bench.submit(m.Home(), "home")
    refusal = bench.outcomes["home"]
    assert isinstance(refusal, Refused)
    assert refusal.code is RefusalCode.TELEMETRY_ONLY
    assert not refusal.by_device
    bench.stop()
    bench.run(200_000)
    assert isinstance(bench.outcomes["stop"], m.StopAck)
    assert bench.session.telemetry is not None


def test_a_session_cannot_be_opened_twice() -> None:
    bench = opened()
    with pytest.raises(KeyError):
        bench.session.open(bench.now_us)


def test_every_live_state_can_be_lost_and_lost_is_final() -> None:
    for state in SessionState:
        assert ((state, Trigger.FAILED) in TRANSITIONS) == (state is not SessionState.LOST)
    assert not [key for key in TRANSITIONS if key[0] is SessionState.LOST]


# ---- sequence ------------------------------------------------------------------------------


def test_answers_find_their_commands() -> None:
    bench = opened()
    for number in range(50):
        bench.submit(m.Echo(bytes([number])), number)
    bench.run(50_000)
    assert [bench.outcomes[n] for n in range(50)] == [m.EchoReply(bytes([n])) for n in range(50)]
    assert set(bench.outcome_counts.values()) == {1}


def test_never_more_than_four_commands_are_unanswered() -> None:
    bench = opened(delay_us=5_000)
    bench.run(100_000)
    sent = bench.tally.frames_sent
    for number in range(50):
        bench.submit(m.Echo(b""), number)
    assert bench.tally.frames_sent - sent == 4


def test_sequence_numbers_go_from_65535_to_1() -> None:
    bench = opened()
    bench.run(1_000)
    bench.session._window.next_seq = bench.device._expected = 65_534
    for number in range(5):
        bench.submit(m.Echo(bytes([number])), number)
    bench.run(50_000)
    assert [bench.outcomes[n] for n in range(5)] == [m.EchoReply(bytes([n])) for n in range(5)]
    assert bench.device._expected in (4, 5, 6)  # the session's own echoes count as well


@pytest.mark.parametrize("direction", ["to_device", "to_host"])
@pytest.mark.parametrize("lost", [(0,), (1,), (0, 1), (0, 2, 4), (3,)])
def test_lost_chunks_are_made_good_and_nothing_runs_twice(
    direction: str, lost: tuple[int, ...]
) -> None:
    drop = DropNth()
    bench = opened(ScriptedDevice(), **{direction: drop})
    bench.run(1_000_000)  # past the first echoes
    drop.arm(*lost)
    for number in range(12):
        bench.submit(m.Echo(b"payload %d" % number), number)
    bench.run(400_000)
    assert bench.session.state is SessionState.OPEN
    assert drop.dropped
    assert [bench.outcomes[n] for n in range(12)] == [
        m.EchoReply(b"payload %d" % n) for n in range(12)
    ]
    ran = [e.payload for e in bench.executed(m.Echo) if isinstance(e, m.Echo) and e.payload]
    assert ran == [b"payload %d" % n for n in range(12)]


def test_duplicated_chunks_are_executed_once_and_answered_once() -> None:
    bench = opened()
    bench.to_device = bench.to_host = lambda chunk: [(0, chunk), (300, chunk)]
    for number in range(20):
        bench.submit(m.Echo(b"x%d" % number), number)
    bench.run(300_000)
    ran = [e.payload for e in bench.executed(m.Echo) if isinstance(e, m.Echo) and e.payload]
    assert ran == [b"x%d" % n for n in range(20)]
    assert all(bench.outcome_counts[n] == 1 for n in range(20))


def test_hello_that_reached_the_device_twice_ends_the_session_instead_of_guessing() -> None:
    bench = Bench(to_device=lambda chunk: [(0, chunk), (300, chunk)])
    bench.open()
    bench.run(10_000)
    assert bench.session.lost is not None
    assert bench.session.lost.cause is LossCause.SESSION_ENDED


def test_a_lost_answer_is_asked_for_as_soon_as_a_later_one_arrives() -> None:
    drop = DropNth()
    bench = opened(to_host=drop)
    bench.run(1_000_000)
    drop.arm(0)
    for number in range(4):
        bench.submit(m.Echo(b"%d" % number), number)
    bench.run(2_000)
    assert set(bench.outcomes) == {0, 1, 2, 3}
    assert bench.tally.retransmissions == 0


def test_a_command_unanswered_after_three_retransmissions_loses_the_link() -> None:
    bench = opened()
    bench.run(1_000_000)
    bench.to_device = lambda chunk: []
    bench.submit(m.LimitsRead(), "read")
    bench.run(3_000_000)
    error = bench.outcomes["read"]
    assert isinstance(error, LinkLost)
    assert error.cause in (LossCause.UNANSWERED, LossCause.SILENT)
    assert bench.tally.retransmissions == 3


def test_execute_is_not_sent_again_after_its_deadline() -> None:
    bench = opened()
    bench.run(1_000_000)
    bench.to_device = lambda chunk: []
    before = bench.tally.retransmissions
    bench.submit(EXECUTE, "go", ttl_ms=60)
    bench.run(120_000)
    error = bench.outcomes["go"]
    assert isinstance(error, LinkLost)
    assert "before its deadline" in str(error)
    assert bench.tally.retransmissions - before == 1  # at 25 ms; the next would be at 75 ms


def test_a_refusal_is_the_outcome_with_the_sentence_of_the_device() -> None:
    bench = opened()
    bench.session.clock = None  # so that EXECUTE goes out without the deadline it needs
    bench.submit(EXECUTE, "go")
    bench.run(5_000)
    refusal = bench.outcomes["go"]
    assert isinstance(refusal, Refused)
    assert (refusal.code, refusal.sentence, refusal.by_device) == (RefusalCode.LATE, "late", True)


def test_the_queue_is_bounded() -> None:
    bench = opened()
    for number in range(5000):
        bench.session.submit(m.Echo(b""), bench.now_us, number)
    bench.pump()
    assert "4096 commands wait" in str(bench.outcomes[4999])


# ---- time ----------------------------------------------------------------------------------


def test_deadlines_follow_the_device_clock_although_it_drifts() -> None:
    bench = opened(ScriptedDevice(drift_ppm=150.0), delay_us=700)
    for number in range(60):
        bench.run(1_000_000)
        bench.submit(m.Jog(0, 0, 0, 0), number)
    bench.run(10_000)
    assert all(isinstance(bench.outcomes[n], m.JogReply) for n in range(60))
    clock = bench.session.clock
    assert clock is not None
    error = clock.device_us(bench.now_us) - bench.device.device_us(bench.now_us)
    assert abs(error) <= clock.uncertainty_us(bench.now_us)
    assert clock.drift_ppm == pytest.approx(150.0, abs=5.0)


def test_a_command_that_arrives_after_its_deadline_is_refused_not_run() -> None:
    bench = opened()
    bench.run(1_000_000)
    bench.to_device = lambda chunk: [(200_000, chunk)]
    bench.submit(m.Jog(0, 0, 0, 5000), "jog")
    bench.run(300_000)
    refusal = bench.outcomes["jog"]
    assert isinstance(refusal, Refused)
    assert refusal.code is RefusalCode.LATE
    assert bench.executed(m.Jog) == []


def test_a_command_that_waited_too_long_in_the_queue_is_never_sent() -> None:
    bench = opened(delay_us=15_000)
    bench.run(1_000_000)
    for number in range(60):
        bench.submit(m.Echo(b""), number)
    bench.submit(m.Jog(0, 0, 0, 5000), "jog")
    bench.run(1_000_000)
    refusal = bench.outcomes["jog"]
    assert isinstance(refusal, Refused)
    assert not refusal.by_device
    assert "after its deadline" in str(refusal)


def test_silence_loses_the_link_within_the_stated_time() -> None:
    bench = opened()
    bench.run(1_000_000)
    bench.device.mute = True
    bench.run(600_000)
    assert bench.session.lost is not None
    assert bench.session.lost.cause is LossCause.SILENT


def test_a_device_that_restarts_ends_the_session() -> None:
    bench = opened()
    bench.run(500_000)
    bench.device.reboot()
    bench.run(200_000)
    assert bench.session.lost is not None
    assert bench.session.lost.cause is LossCause.SESSION_ENDED


def test_a_foreign_hello_ends_the_session() -> None:
    bench = opened()
    bench.device.session = 12345
    bench.submit(m.Echo(b""), "echo")
    bench.run(10_000)
    assert isinstance(bench.outcomes["echo"], LinkLost)


def test_after_a_loss_nothing_is_sent_and_every_command_fails() -> None:
    bench = opened()
    bench.session.lose(LinkLost(LossCause.PORT_GONE, "unplugged"))
    bench.pump()
    sent = bench.tally.frames_sent
    bench.submit(m.Echo(b""), "echo")
    bench.stop()
    bench.run(1_000_000)
    assert isinstance(bench.outcomes["echo"], LinkLost)
    assert isinstance(bench.outcomes["stop"], LinkLost)
    assert bench.tally.frames_sent == sent


# ---- lease ---------------------------------------------------------------------------------


def test_no_lease_without_permission() -> None:
    bench = opened()
    bench.run(2_000_000)
    assert bench.device.leases_us == []


def test_leases_come_every_50_ms_while_the_permission_is_refreshed() -> None:
    bench = opened()
    for _ in range(50):
        bench.permit(100_000)
        bench.run(40_000)
    gaps = [b - a for a, b in zip(bench.device.leases_us, bench.device.leases_us[1:], strict=False)]
    assert len(gaps) >= 38
    assert max(gaps) <= 50_100


def test_leases_end_when_the_permission_is_not_refreshed() -> None:
    bench = opened()
    bench.permit(200_000)
    begin_us = bench.now_us
    bench.run(3_000_000)
    assert bench.device.leases_us
    assert max(bench.device.leases_us) <= begin_us + 200_000 + bench.delay_us


def test_a_lease_that_leaves_late_says_by_how_much() -> None:
    bench = opened()
    bench.permit(400_000)
    due_us = bench.now_us + 50_000
    bench.session.tick(due_us + 7_000)
    assert list(bench.tally.lease_late_us) == [0, 7_000]
    bench.session.tick(due_us + 50_000)  # the next is due 50 ms after the last was due: no drift
    assert list(bench.tally.lease_late_us) == [0, 7_000, 0]


def test_a_permission_cannot_be_given_for_long() -> None:
    bench = opened()
    with pytest.raises(ValueError, match="refresh it again and again"):
        bench.permit(500_001)


def test_a_permission_does_not_survive_the_session() -> None:
    bench = opened()
    bench.permit(500_000)
    bench.session.lose(LinkLost(LossCause.PORT_GONE, ""))
    bench.new_session()
    bench.open()
    bench.run(1_000_000)
    assert not bench.session.permission_fresh(bench.now_us)
    assert len(bench.device.leases_us) <= 1


def test_a_refused_lease_is_told() -> None:
    bench = opened()
    bench.to_device = lambda chunk: [(120_000, chunk)]
    bench.permit(200_000)
    bench.run(400_000)
    assert [e for e in bench.events if isinstance(e, LeaseRefused)]
    assert bench.tally.leases_refused
    assert bench.device.leases_us == []


# ---- STOP ----------------------------------------------------------------------------------


def test_stop_goes_out_three_times_5_ms_apart_with_one_nonce_and_bumps_once() -> None:
    bench = opened()
    begin_us = bench.now_us
    bench.stop()
    bench.run(100_000)
    assert [t - begin_us - bench.delay_us for t in bench.device.stops] == [0, 5_000, 10_000]
    assert bench.device.epoch == 1
    assert bench.session.epoch == 1
    assert isinstance(bench.outcomes["stop"], m.StopAck)
    assert [e for e in bench.events if isinstance(e, EpochMoved)] == [EpochMoved(1)]


def test_stop_goes_on_until_it_is_acknowledged() -> None:
    bench = opened()
    bench.to_device = lambda chunk: []
    bench.stop()
    bench.run(200_000)
    assert "stop" not in bench.outcomes
    assert bench.tally.stops_sent >= 6
    bench.to_device = clean
    bench.run(100_000)
    assert isinstance(bench.outcomes["stop"], m.StopAck)
    assert bench.device.epoch == 1


def test_stop_empties_the_queue_and_what_waited_never_runs() -> None:
    bench = opened(delay_us=2_000)
    bench.run(10_000)
    for number in range(20):
        bench.submit(m.Echo(b"%d" % number), number)
    bench.stop()
    bench.run(500_000)
    ran = [e.payload for e in bench.executed(m.Echo) if isinstance(e, m.Echo) and e.payload]
    assert ran == [b"0", b"1", b"2", b"3"]
    assert all(isinstance(bench.outcomes[n], StoppedByStop) for n in range(4, 20))


def test_motion_given_while_stop_is_under_way_is_refused() -> None:
    bench = opened(delay_us=2_000)
    bench.stop()
    bench.submit(PLAN, "plan")
    assert isinstance(bench.outcomes["plan"], StoppedByStop)


def test_what_was_given_before_somebody_elses_stop_is_refused_after_it() -> None:
    bench = opened(delay_us=2_000)
    for number in range(4):
        bench.submit(m.Echo(b""), number)  # the window is full
    bench.submit(PLAN, "plan")  # waits, with epoch 0
    bench.device.epoch = 1  # a BREAK on the line
    bench.run(500_000)
    refusal = bench.outcomes["plan"]
    assert isinstance(refusal, Refused)
    assert refusal.code is RefusalCode.OLD_EPOCH
    assert bench.executed(m.PlanUpload) == []


def test_stop_is_sent_while_the_session_is_opening() -> None:
    bench = Bench(ScriptedDevice())
    bench.session.open(bench.now_us)
    bench.stop()
    bench.run(50_000)
    assert bench.device.epoch == 1
    assert isinstance(bench.outcomes["stop"], m.StopAck)


def test_a_second_stop_call_is_served_by_the_one_under_way() -> None:
    bench = opened()
    bench.stop("first")
    bench.run(1_000)
    bench.stop("second")
    bench.run(100_000)
    assert bench.outcomes["first"] == bench.outcomes["second"]
    assert bench.device.epoch == 1


# ---- telemetry and half duplex ------------------------------------------------------------


def test_old_telemetry_never_replaces_newer() -> None:
    held: list[bytes] = []

    def hold_one(chunk: bytes) -> list[tuple[int, bytes]]:
        if not held:
            held.append(chunk)
            return [(130_000, chunk)]
        return clean(chunk)

    bench = opened()
    bench.run(200_000)
    bench.to_host = hold_one
    newest = 0
    for _ in range(60):
        bench.run(5_000)
        assert bench.session.telemetry is not None
        assert bench.session.telemetry.message.device_us >= newest
        newest = bench.session.telemetry.message.device_us
    assert bench.tally.unexpected


def test_what_waited_in_a_buffer_is_not_news() -> None:
    bench = opened()
    bench.run(1_000_000)
    assert bench.tally.telemetry_late == 0
    bench.to_host = lambda chunk: [(300_000, chunk)]
    bench.run(450_000)
    sample = bench.session.telemetry
    assert sample is not None
    age_us = bench.now_us - sample.received_us
    made_us = sample.message.device_us - bench.device.clock_ahead_us
    assert sample.received_us - made_us < 1_000
    assert age_us >= 300_000  # so that it is shown as stale, although it has just come
    assert bench.tally.telemetry_late


def test_a_stepped_device_clock_is_found_out_at_once() -> None:
    """A device (or a starved simulator) whose clock falls back looks like late telemetry at first."""
    bench = opened()
    bench.run(5_000_000)
    bench.device.clock_ahead_us -= 400_000
    bench.run(450_000)  # until its times have passed those already heard
    bench.run(200_000)
    sample = bench.session.telemetry
    assert sample is not None
    assert bench.now_us - sample.received_us <= 51_000
    assert bench.session.clock is not None
    wrong_us = bench.session.clock.device_us(bench.now_us) - bench.device.device_us(bench.now_us)
    assert abs(wrong_us) < 1_000


def test_half_duplex_has_one_exchange_at_a_time_and_the_device_never_speaks_first() -> None:
    flying = {"out": 0, "max": 0}

    def count(chunk: bytes) -> list[tuple[int, bytes]]:
        flying["out"] += 1
        flying["max"] = max(flying["max"], flying["out"])
        return clean(chunk)

    settings = SessionSettings(DeviceKind.COUCH, telemetry_period_ms=50, half_duplex=True)
    bench = opened(settings=settings, delay_us=1_000)
    bench.run(100_000)
    assert bench.device.period_us == 0
    bench.to_device = count

    def answered(chunk: bytes) -> list[tuple[int, bytes]]:
        flying["out"] = 0
        return clean(chunk)

    bench.to_host = answered
    received = bench.tally.telemetry_received
    for number in range(40):
        bench.permit(200_000)
        bench.submit(m.Echo(b"a"), ("a", number))
        bench.submit(m.Echo(b"b"), ("b", number))
        bench.run(50_000)
    assert flying["max"] == 1
    assert bench.tally.telemetry_received - received >= 30
    assert len(bench.device.leases_us) >= 30
    assert all(isinstance(r, m.EchoReply) for r in bench.outcomes.values())


@pytest.mark.parametrize("step_us", [20_000_000, -20_000_000])
def test_a_device_whose_clock_is_stepped_is_understood_again(step_us: int) -> None:
    """After a step forward even the exchange that would tell has a deadline in the past; its refusal tells."""
    bench = Bench()
    bench.open()
    bench.run(500_000)
    bench.device.clock_ahead_us += step_us
    bench.run(2_500_000)
    bench.submit(m.Home(), "home")
    bench.run(100_000)
    assert isinstance(bench.outcomes["home"], m.HomeReply)
    assert bench.session.state is SessionState.OPEN
