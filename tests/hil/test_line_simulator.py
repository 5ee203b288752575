"""The drivers against the simulated room: two implementations of one protocol over real ptys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from sim_room import PATIENCE_S, SimRoom, eventually, permission_for

from igrt_hw.devices.couch import ClpBeamGate, ClpCouch
from igrt_hw.devices.errors import DigestMismatch, LimitsMismatch, PlanError
from igrt_hw.devices.frames import RawFrame, View
from igrt_hw.devices.imager import ClpImager
from igrt_hw.devices.pendant import ClpPendant
from igrt_hw.devices.plan import CouchLimits, MotionPlan, PlanReceipt
from igrt_hw.link.errors import Refused
from igrt_hw.models.telemetry import (
    CouchFault,
    CouchFlag,
    CouchState,
    CouchTelemetry,
    EnablePosition,
    ImagerFlag,
    RefusalCode,
    StopCause,
)

# One room for all of them: together in one process, where tests run in several.
pytestmark = [pytest.mark.hil, pytest.mark.slow, pytest.mark.xdist_group("line_simulator")]

PROPOSAL = hashlib.sha256(b"a proposal").digest()
TOKEN = bytes(range(16))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimRoom]:
    sim = SimRoom(tmp_path_factory.mktemp("room"))
    yield sim
    sim.close()


@pytest.fixture
def couch(room: SimRoom) -> Iterator[ClpCouch]:
    device = ClpCouch.on_port(room.port("couch"))
    device.connect(PATIENCE_S)
    assert eventually(lambda: device.telemetry is not None and device.telemetry.at_rest)
    yield device
    room.ask("hand.enable", position="released")
    device.close()


@pytest.fixture
def imager(room: SimRoom) -> Iterator[ClpImager]:
    device = ClpImager.on_port(room.port("imager"))
    device.connect(PATIENCE_S)
    yield device
    try:
        with permission_for(device):
            device.park_arms()
    finally:
        device.close()


def now(couch: ClpCouch) -> CouchTelemetry:
    assert couch.telemetry is not None
    return couch.telemetry


def shifted(couch: ClpCouch, by: float) -> MotionPlan:
    """A plan from where the couch stands to `by` mm further in lateral and back towards zero."""
    start = now(couch).primary
    sign = -1.0 if start[0] > 0 else 1.0
    target = (start[0] + sign * by, *start[1:])
    return MotionPlan.of(
        proposal=PROPOSAL,
        limits=couch.limits,
        start=start,
        waypoints=[target],
        ttl_ms=60_000,
    )


def uploaded(couch: ClpCouch, by: float) -> tuple[MotionPlan, PlanReceipt]:
    plan = shifted(couch, by)
    return plan, couch.upload(plan).result(PATIENCE_S)


def in_state(couch: ClpCouch, *states: CouchState) -> bool:
    return eventually(lambda: now(couch).state in states)


def squeeze(room: SimRoom) -> None:
    room.ask("hand.enable", position="enabled", for_ms=60_000)


def test_all_devices_say_who_they_are(room: SimRoom, couch: ClpCouch, imager: ClpImager) -> None:
    pendant = ClpPendant.on_port(room.port("pendant"))
    pendant.connect(PATIENCE_S)
    try:
        assert couch.family == "pedestal"
        assert couch.limits.names[:3] == ("lateral", "longitudinal", "vertical")
        assert eventually(lambda: pendant.telemetry is not None)
        assert eventually(lambda: imager.telemetry is not None)
        assert pendant.telemetry is not None
        assert pendant.telemetry.enable_position is EnablePosition.RELEASED
        squeeze(room)
        assert eventually(
            lambda: (
                pendant.telemetry is not None
                and pendant.telemetry.enable_position is EnablePosition.ENABLED
                and pendant.telemetry.contact_a
                and pendant.telemetry.contact_b
            )
        )
        health = couch.health()
        assert health.connected
        assert health.counters.crc_errors == 0
        assert health.counters.retransmissions == 0
    finally:
        pendant.close()


def test_a_couch_with_other_limits_than_configured_is_not_driven(
    room: SimRoom, couch: ClpCouch
) -> None:
    expected = couch.limits
    couch.close()
    axes = (replace(expected.axes[0], maximum=expected.axes[0].maximum - 1000), *expected.axes[1:])
    other = ClpCouch.on_port(room.port("couch"), CouchLimits(axes))
    try:
        with pytest.raises(LimitsMismatch, match="lateral: the device has"):
            other.connect(PATIENCE_S)
        assert eventually(lambda: other.telemetry is not None)
        with pytest.raises(LimitsMismatch):
            other.upload(shifted_with(expected, now(other))).result(PATIENCE_S)
    finally:
        other.close()


def shifted_with(limits: CouchLimits, status: CouchTelemetry) -> MotionPlan:
    return MotionPlan.of(
        proposal=PROPOSAL,
        limits=limits,
        start=status.primary,
        waypoints=[status.primary],
        ttl_ms=1000,
    )


def test_the_device_answers_with_the_digest_of_what_it_decoded(couch: ClpCouch) -> None:
    plan, receipt = uploaded(couch, 4.0)
    assert receipt.device_digest == plan.plan_digest()
    assert receipt.digests_agree
    assert receipt.nonce != 0
    assert receipt.stands_at == pytest.approx(now(couch).primary, abs=0.1)
    assert eventually(lambda: now(couch).plan_nonce == receipt.nonce)
    couch.void_plan().result(PATIENCE_S)
    assert in_state(couch, CouchState.IDLE)


def test_a_plan_with_another_digest_is_not_executed(couch: ClpCouch) -> None:
    _, receipt = uploaded(couch, 4.0)
    tampered = replace(receipt, expected_digest=bytes(32))
    with pytest.raises(DigestMismatch):
        couch.execute(tampered, TOKEN).result(PATIENCE_S)
    wrong_nonce = replace(receipt, nonce=receipt.nonce ^ 1)
    with permission_for(couch), pytest.raises(Refused) as caught:
        couch.execute(wrong_nonce, TOKEN).result(PATIENCE_S)
    assert caught.value.code is RefusalCode.DIGEST_OR_NONCE_DIFFERS


def test_execution_without_a_lease_is_refused(couch: ClpCouch) -> None:
    _, receipt = uploaded(couch, 4.0)
    with pytest.raises(Refused) as caught:
        couch.execute(receipt, TOKEN).result(PATIENCE_S)
    assert caught.value.code is RefusalCode.LEASE_NOT_FRESH


def test_a_target_outside_the_limits_is_refused_by_both_ends(couch: ClpCouch) -> None:
    plan = shifted(couch, 0.0)
    with pytest.raises(PlanError, match="above its limit"):
        couch.limits.to_line((10_000.0, *now(couch).primary[1:]), "target")
    beyond = couch.limits.axes[0].maximum + 1
    plan = replace(plan, waypoints=((beyond, *plan.waypoints[0][1:]),))
    with pytest.raises(Refused) as caught:
        couch.upload(plan).result(PATIENCE_S)
    assert caught.value.code is RefusalCode.OUTSIDE_LIMITS
    assert "lateral" in caught.value.sentence


def test_the_couch_waits_for_the_enable_moves_holds_resumes_and_arrives(
    room: SimRoom, couch: ClpCouch
) -> None:
    plan, receipt = uploaded(couch, 30.0)
    with permission_for(couch):
        assert eventually(lambda: CouchFlag.LEASE_FRESH in now(couch).flags)
        couch.execute(receipt, TOKEN).result(PATIENCE_S)
        assert in_state(couch, CouchState.ARMED)
        assert CouchFlag.BRAKES_ON in now(couch).flags
        squeeze(room)
        assert eventually(lambda: now(couch).path_fraction > 0.1)
        room.ask("hand.enable", position="released")
        assert in_state(couch, CouchState.HELD)
        assert now(couch).stop_cause is StopCause.ENABLE_RELEASED
        held_at = now(couch).path_fraction
        assert 0.1 < held_at < 1.0
        with pytest.raises(Refused) as caught:
            couch.execute(receipt, TOKEN).result(PATIENCE_S)
        assert caught.value.code is RefusalCode.ALREADY_EXECUTED
        squeeze(room)
        assert in_state(couch, CouchState.ARRIVED)
    status = now(couch)
    target = couch.limits.from_line(plan.waypoints[-1])
    assert eventually(lambda: now(couch).at_rest)
    assert status.primary == pytest.approx(target, abs=0.2)
    assert status.secondary == pytest.approx(target, abs=0.5)


def test_stop_ends_the_motion_on_its_path_and_nothing_can_be_resumed(
    room: SimRoom, couch: ClpCouch
) -> None:
    _, receipt = uploaded(couch, 30.0)
    with permission_for(couch):
        assert eventually(lambda: CouchFlag.LEASE_FRESH in now(couch).flags)
        couch.execute(receipt, TOKEN).result(PATIENCE_S)
        squeeze(room)
        assert eventually(lambda: now(couch).path_fraction > 0.1)
        before = couch.health().epoch
        assert couch.stop().result(PATIENCE_S) == before + 1
        assert eventually(lambda: now(couch).at_rest)
        assert now(couch).stop_cause is StopCause.STOP
        assert now(couch).plan_nonce == 0
        with pytest.raises(Refused) as caught:
            couch.execute(receipt, TOKEN).result(PATIENCE_S)
        assert caught.value.code in (
            RefusalCode.WRONG_STATE,
            RefusalCode.DIGEST_OR_NONCE_DIFFERS,
            RefusalCode.ALREADY_EXECUTED,
        )


def test_a_permission_that_is_not_refreshed_stops_the_couch_and_latches(
    room: SimRoom, couch: ClpCouch
) -> None:
    _, receipt = uploaded(couch, 40.0)
    permission = permission_for(couch)
    with permission:
        assert eventually(lambda: CouchFlag.LEASE_FRESH in now(couch).flags)
        couch.execute(receipt, TOKEN).result(PATIENCE_S)
        squeeze(room)
        assert eventually(lambda: now(couch).path_fraction > 0.05)
        permission.let_go()  # the supervisor hangs; the thread of the line goes on
        assert eventually(lambda: CouchFault.LEASE_LOST in now(couch).faults)
    assert now(couch).state is CouchState.LATCHED
    assert now(couch).stop_cause in (StopCause.LEASE_LATE, StopCause.LEASE_LOST)
    assert eventually(lambda: CouchFlag.BRAKES_ON in now(couch).flags)
    assert now(couch).path_fraction < 1.0
    room.ask("hand.enable", position="released")
    with permission_for(couch):
        assert eventually(lambda: CouchFlag.LEASE_FRESH in now(couch).flags)
        remaining = couch.reset_faults(CouchFault.LEASE_LOST).result(PATIENCE_S)
        assert remaining == CouchFault(0)
    assert in_state(couch, CouchState.IDLE)


def test_closing_the_line_in_motion_stops_the_couch(room: SimRoom, couch: ClpCouch) -> None:
    _, receipt = uploaded(couch, 40.0)
    with permission_for(couch):
        assert eventually(lambda: CouchFlag.LEASE_FRESH in now(couch).flags)
        couch.execute(receipt, TOKEN).result(PATIENCE_S)
        squeeze(room)
        assert eventually(lambda: now(couch).path_fraction > 0.05)
        couch.close()
    again = ClpCouch.on_port(room.port("couch"))
    try:
        again.connect(PATIENCE_S)
        assert eventually(lambda: again.telemetry is not None and now(again).at_rest)
        assert now(again).plan_nonce == 0
        room.ask("hand.enable", position="released")
        faults = now(again).faults
        if faults:
            with permission_for(again):
                assert eventually(lambda: CouchFlag.LEASE_FRESH in now(again).flags)
                assert again.reset_faults(faults).result(PATIENCE_S) == CouchFault(0)
    finally:
        again.close()


def test_the_beam_gate_is_released_only_at_rest_with_a_fresh_lease(couch: ClpCouch) -> None:
    gate = ClpBeamGate(couch)
    with pytest.raises(Refused):
        gate.release().result(PATIENCE_S)
    with permission_for(couch):
        assert eventually(lambda: CouchFlag.LEASE_FRESH in now(couch).flags)
        assert gate.release().result(PATIENCE_S) is True
        assert eventually(lambda: gate.energised is True)
        couch.stop().result(PATIENCE_S)
        assert eventually(lambda: gate.energised is False)


def test_an_image_is_acquired_whole_and_the_couch_waits_for_the_arms(
    room: SimRoom, couch: ClpCouch, imager: ClpImager
) -> None:
    told: list[str] = []
    with permission_for(couch, imager):
        frame = imager.acquire(View(90.0, binning=2), progress=lambda text, _: told.append(text))
        assert frame.counts.dtype == np.uint16
        assert frame.counts.shape[0] > 100
        assert frame.source_angle_deg == pytest.approx(90.0, abs=0.1)
        assert frame.kvp == pytest.approx(100.0)
        assert frame.begin_us is not None
        assert frame.end_us is not None
        assert frame.begin_us < frame.end_us < frame.fetched_us
        assert int(frame.counts.max()) - int(frame.counts.min()) > 1000
        assert told[0] == "setting technique"
        assert told[-1].startswith("fetching frame")

        flood, offset = imager.stored_flood()
        assert flood.counts.shape == offset.counts.shape == frame.counts.shape
        assert float(flood.counts.mean()) > float(offset.counts.mean())
        (dark,) = imager.dark_frames(1)
        assert float(dark.counts.mean()) == pytest.approx(float(offset.counts.mean()), rel=0.2)

        _, receipt = uploaded(couch, 4.0)
        with pytest.raises(Refused) as caught:
            couch.execute(receipt, TOKEN).result(PATIENCE_S)
        assert caught.value.code is RefusalCode.INTERLOCK
        imager.park_arms()
        assert imager.telemetry is not None
        assert ImagerFlag.ARMS_PARKED in imager.telemetry.flags


def test_a_series_of_pulses_comes_frame_by_frame_and_what_is_dropped_is_told(
    couch: ClpCouch, imager: ClpImager
) -> None:
    frames: list[RawFrame] = []
    pulse = View(90.0, kvp=80.0, ma=40.0, ms=5.0, binning=4)
    with permission_for(couch, imager):
        told = imager.fluoroscopy(pulse, 12, 10.0, frames.append)
        assert told.asked == told.pulses == 12
        assert told.fetched == len(frames) == 12 - told.dropped
        assert frames, "none of the frames came in time"
        numbers = [frame.frame for frame in frames]
        assert numbers == sorted(numbers)
        assert told.first_frame <= numbers[0]
        assert numbers[-1] < told.first_frame + 12
        assert {frame.panel_mode for frame in frames} == {"fluoroscopic"}
        assert {(frame.ma, frame.ms, frame.mas) for frame in frames} == {(40.0, 5.0, 0.2)}
        with pytest.raises(PlanError, match=r"520 mA is 20 above"):
            imager.technique(replace(pulse, ma=520.0))
        # A single image afterwards finds the panel as it needs it.
        assert imager.acquire(View(90.0, binning=4)).panel_mode == "radiographic"
        imager.park_arms()


def test_a_frame_that_does_not_exist_is_refused(imager: ClpImager) -> None:
    with pytest.raises(Refused) as caught:
        imager.fetch(999_999)
    assert caught.value.code is RefusalCode.NO_SUCH_FRAME
