"""Session and firmware in the ways of talking that are not the usual one, in virtual time."""

from __future__ import annotations

import itertools

import pytest
from firmware_bench import FirmwareBench, clean

from igrt_hw.link import messages as m
from igrt_hw.link import session as session_module
from igrt_hw.link.errors import Refused
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.session import SessionSettings, SessionState
from igrt_hw.models.telemetry import CouchState, RefusalCode, StopCause


def test_half_duplex_the_firmware_speaks_only_when_asked_and_one_exchange_at_a_time() -> None:
    """The collision test of a shared pair of wires: nobody begins while the other has the turn."""
    talk: list[tuple[str, int]] = []

    def outward(chunk: bytes) -> list[tuple[int, bytes]]:
        talk.append(("host", bench.now_us))
        return [(3_000, chunk)]  # a slow line: an exchange takes several steps

    def inward(chunk: bytes) -> list[tuple[int, bytes]]:
        talk.append(("device", bench.now_us))
        return [(3_000, chunk)]

    settings = SessionSettings(DeviceKind.COUCH, telemetry_period_ms=50, half_duplex=True)
    bench = FirmwareBench(settings=settings)
    bench.open()
    bench.run(200)
    bench.to_device, bench.to_host = outward, inward
    before = bench.tally.telemetry_received
    for number in range(40):
        if bench.session.state is SessionState.OPEN:
            bench.permit(200)
        bench.submit(m.Echo(b"a"), ("a", number))
        bench.submit(m.LimitsRead(), ("b", number))
        bench.run(50)
    turns = [who for who, _ in talk]
    assert turns[0] == "host"
    assert all(a != b for a, b in itertools.pairwise(turns)), "somebody spoke out of turn"
    assert bench.tally.retransmissions == 0
    assert bench.tally.telemetry_received - before >= 30
    assert bench.tally.leases_acknowledged >= 30
    assert sum(isinstance(o, m.LimitsReply) for o in bench.outcomes.values()) >= 30


def test_another_dictionary_leaves_telemetry_and_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "HASH", bytes(8))
    bench = FirmwareBench()
    bench.run(200)
    session = bench.session
    assert session.state is SessionState.TELEMETRY_ONLY
    assert "dictionary mismatch" in session.limitation
    assert session.telemetry is not None
    bench.submit(m.Home(), "home")
    bench.run(1)
    refusal = bench.outcomes["home"]
    assert isinstance(refusal, Refused)
    assert refusal.code is RefusalCode.TELEMETRY_ONLY
    epoch = session.epoch
    session.stop(0, bench.host_us, "stop")
    bench.run(50)
    answer = bench.outcomes["stop"]
    assert isinstance(answer, m.StopAck)
    assert answer.new_epoch == epoch + 1


def test_a_couch_on_the_port_of_the_imager_is_named() -> None:
    bench = FirmwareBench(settings=SessionSettings(DeviceKind.IMAGER))
    bench.run(1_500)
    assert bench.session.state is SessionState.LOST
    assert "a couch answers" in str(bench.session.lost)


def test_break_has_the_effect_of_stop_and_the_host_learns_the_epoch() -> None:
    bench = FirmwareBench(to_device=clean)
    bench.open()
    bench.room.line_break("couch")
    bench.run(100)
    assert bench.session.epoch == 1


@pytest.mark.parametrize("period_ms", [2, 10, 20, 1000])
def test_telemetry_comes_at_the_rate_asked_for(period_ms: int) -> None:
    bench = FirmwareBench(settings=SessionSettings(DeviceKind.COUCH, period_ms))
    bench.open()
    bench.run(100)
    before = bench.tally.telemetry_received
    bench.run(3_000)
    got = bench.tally.telemetry_received - before
    assert abs(got - 3_000 / period_ms) <= 1
    assert bench.tally.telemetry_missed == 0


def moving_bench() -> FirmwareBench:
    bench = FirmwareBench()
    bench.open()
    bench.permit(400)
    plan = bench.plan((30.0, 0.0, 20.0, 0.0, 0.0, 0.0))
    reply = bench.ask(plan.message())
    assert isinstance(reply, m.PlanReply)
    bench.room.set_enable("enabled")
    bench.permit(400)
    bench.ask(m.Execute(reply.plan_digest, reply.plan_nonce, bytes(16)))
    for _ in range(10):
        bench.permit(300)
        bench.run(100)
    assert bench.room.truth()["couch_state"] == CouchState.MOVING
    return bench


def test_a_new_session_in_mid_motion_ends_in_a_controlled_stop_not_in_the_brakes() -> None:
    """The lease is gone with its session, and its age counts from the HELLO: on the path, no fault."""
    bench = moving_bench()
    bench.new_session()
    bench.run(450)
    truth = bench.room.truth()
    assert truth["couch_faults"] == 0
    assert truth["stop_cause"] == StopCause.NEW_SESSION
    start, target = (0.0, -120.0), (30.0, -100.0)
    at = (truth["axes"][0], truth["axes"][2])
    part = (at[0] - start[0]) / (target[0] - start[0])
    assert abs(at[1] - (start[1] + part * (target[1] - start[1]))) < 0.1
    bench.permit(400)
    bench.run(400)
    truth = bench.room.truth()
    assert truth["brakes_engaged"]
    assert truth["couch_faults"] == 0


def test_a_new_session_without_any_lease_brings_the_motion_to_rest_and_latches_nothing() -> None:
    """A motion that is being ended for good needs no lease (protocol.md, section 5)."""
    bench = moving_bench()
    bench.new_session()
    bench.run(1_200)
    truth = bench.room.truth()
    assert truth["brakes_engaged"]
    assert truth["couch_faults"] == 0
    assert truth["couch_state"] == CouchState.IDLE
    assert truth["stop_cause"] == StopCause.NEW_SESSION


def test_a_load_that_does_not_come_to_rest_in_a_new_session_is_latched() -> None:
    bench = moving_bench()
    bench.room.inject("axis", "wrong", axis="lateral", value=2.0)  # it creeps against the motor
    bench.new_session()
    bench.run(1_200)
    assert bench.room.truth()["couch_faults"] != 0
    assert bench.room.truth()["couch_state"] == CouchState.LATCHED


@pytest.mark.parametrize(("octets_in_1_ms", "period_ms"), [(11, 50), (92, 10), (92, 6), (300, 2)])
def test_telemetry_fits_the_wire_of_115200_921600_and_3_million_baud(
    octets_in_1_ms: int, period_ms: int
) -> None:
    """The simulator's line passes no more octets than the wire would: all arrives, in time, and
    answers and leases find their way between."""
    bench = FirmwareBench(settings=SessionSettings(DeviceKind.COUCH, period_ms))
    bench.open()
    bench.room.inject("line.couch", "split", value=octets_in_1_ms)
    bench.run(200)
    before, late = bench.tally.telemetry_received, bench.tally.telemetry_late
    for _ in range(20):
        bench.permit(300)
        assert isinstance(bench.ask(m.LimitsRead()), m.LimitsReply)
        bench.run(100)
    got = bench.tally.telemetry_received - before
    assert got >= 2_000 / period_ms
    assert bench.tally.telemetry_missed == 0
    assert bench.tally.telemetry_late == late
    assert bench.tally.retransmissions == 0
    assert bench.tally.leases_acknowledged >= 38
