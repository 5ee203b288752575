"""The GCS driver on the simulated hexapod, both in virtual time: what it does, what it refuses, what it gives up."""

from __future__ import annotations

import math

import pytest
from gcs_bench import BASE, FRAME, GcsBench

from igrt_hw._core import Pose
from igrt_hw.devices.errors import DeviceError, PlanError
from igrt_hw.devices.gcs_frame import platform_matrix
from igrt_hw.geometry import Frame
from igrt_hw.link import gcs
from igrt_hw.link.errors import LinkLost
from igrt_hw.models.telemetry import CouchFault, CouchFlag, CouchState, EnablePosition, StopCause

TARGET = (-15.0, -353.0, -120.0, 1.0, -0.8, 1.2)


@pytest.fixture
def bench() -> GcsBench:
    made = GcsBench()
    made.open()
    made.run(100)
    return made


def true_pose(bench: GcsBench) -> Pose:
    """Where the simulator's truth has the table top: its platform axes on the planned base, by its own convention."""
    lateral, longitudinal, vertical, rotation, pitch, roll = list(
        bench.room.truth()["axes"].values()
    )
    return Pose.from_parameters(
        (BASE[0] + lateral, BASE[1] + longitudinal, BASE[2] + vertical, rotation, pitch, roll),
        Frame.FIXED,
        Frame.TABLE_TOP,
    )


def uploaded_result(bench: GcsBench, target: tuple[float, ...]) -> object:
    uploaded = bench.couch.upload(bench.plan(target))
    bench.run(60)
    return uploaded.result(0)


# safety: SR-36
def test_approved_axes_are_where_the_platform_truly_goes(bench: GcsBench) -> None:
    bench.armed(TARGET)
    bench.hold("enabled")
    told = bench.run(12_000, lambda told: told.state is CouchState.ARRIVED)
    assert told.stop_cause is StopCause.ARRIVED
    assert told.at_rest
    wanted = FRAME._couch.forward(TARGET)
    mm, deg = (true_pose(bench) @ wanted.inverse()).deviation(
        Pose.identity(Frame.FIXED, Frame.FIXED)
    )
    assert mm < 0.1
    assert deg < 0.03


def test_flipped_or_exchanged_rotation_would_be_seen() -> None:
    numbers = (0.0, 0.0, 0.0, 1.0, -2.0, 1.5)
    good = platform_matrix(numbers)
    x, y, z, u, v, w = numbers
    for wrong in ((-u, v, w), (u, -v, w), (u, v, -w), (v, u, w), (w, v, u)):
        assert abs(platform_matrix((x, y, z, *wrong)) - good).max() > 1e-3
    for back, number in zip(FRAME.to_controller(FRAME.to_axes(numbers)), numbers, strict=True):
        assert math.isclose(back, number, abs_tol=1e-9)


def test_nothing_is_told_to_move_before_the_enable_is_held(bench: GcsBench) -> None:
    bench.armed(TARGET)
    told = bench.run(1500)
    assert told.state is CouchState.ARMED
    assert b"MOV X" not in bench.transport.written


# safety: SR-36
def test_released_enable_sends_hlt_and_held_again_goes_on_to_the_same_target(
    bench: GcsBench,
) -> None:
    nonce = bench.armed(TARGET)
    bench.hold("enabled")
    bench.run(1500)
    assert bench.couch.telemetry is not None
    assert bench.couch.telemetry.state is CouchState.MOVING
    # The line of the pendant alone lets go; the wire does not: HLT is what stops.
    bench.position = EnablePosition.RELEASED
    bench.run(3000, lambda told: told.state is CouchState.HELD)
    assert b"HLT\n" in bench.transport.written
    assert bench.room.truth()["speeds"] == pytest.approx([0.0] * 6, abs=0.05)
    bench.hold("released")
    bench.run(600)
    bench.hold("enabled")
    told = bench.run(12_000, lambda told: told.state is CouchState.ARRIVED)
    assert told.plan_nonce == nonce


# safety: SR-36
def test_permission_that_is_not_renewed_sends_hlt(bench: GcsBench) -> None:
    bench.armed(TARGET)
    bench.hold("enabled")
    bench.run(1500)
    bench.permitted = False
    told = bench.run(3000, lambda told: told.state is CouchState.HELD)
    assert told.stop_cause is StopCause.LEASE_LATE
    assert b"HLT\n" in bench.transport.written


# safety: SR-37
def test_enable_that_is_not_wired_into_the_drives_is_found_and_nothing_is_armed() -> None:
    bench = GcsBench()
    bench.open()
    bench.room.enable("enabled")  # as if the wire were bridged: the pendant says released
    bench.run(1500)
    assert bench.couch.telemetry is not None
    assert not bench.couch.telemetry.hardware_channel
    uploaded = bench.couch.upload(bench.plan(TARGET))
    bench.run(60)
    armed = bench.couch.execute(uploaded.result(0), bytes(16))
    bench.run(60)
    with pytest.raises(DeviceError, match="wired into the drives"):
        armed.result(0)


def test_stop_is_one_octet_ahead_of_everything_and_voids_the_plan(bench: GcsBench) -> None:
    bench.armed(TARGET)
    bench.hold("enabled")
    bench.run(1500)
    epoch = bench.couch.stop().result(0)
    assert bench.transport.written.endswith(b"\x18")
    told = bench.run(3000, lambda told: told.state is CouchState.IDLE and told.at_rest)
    assert told.epoch == epoch
    assert told.stop_cause is StopCause.STOP
    stands = told.primary
    assert bench.run(1500).primary == pytest.approx(stands, abs=0.05)


def test_stop_between_decision_and_move_has_the_last_word(bench: GcsBench) -> None:
    bench.armed(TARGET)
    write = bench.transport.write

    def overtaken(data: bytes) -> int:
        if data.startswith(b"MOV X"):
            bench.couch._line.stops += (
                1  # a STOP of another thread whose octet went out just before
            )
            write(b"\x18")
        return write(data)

    bench.transport.write = overtaken  # type: ignore[method-assign]
    bench.hold("enabled")
    bench.run(2500)
    assert list(bench.room.truth()["axes"].values()) == pytest.approx([0.0] * 6, abs=0.2)


def test_target_beyond_reach_is_refused_before_anything_is_sent(bench: GcsBench) -> None:
    for target, match in (
        ((-20.0 + 31.0, -350.0, -122.5, 0.0, 0.0, 0.0), "VMO"),
        ((-20.0, -350.0, -122.5, 0.0, 2.9, 2.9 + 0.2), "above its limit"),
    ):
        with pytest.raises(PlanError, match=match):
            uploaded_result(bench, target)
    assert b"MOV X" not in bench.transport.written


def test_foreign_coordinate_system_or_pivot_is_found_before_a_plan_is_loaded(
    bench: GcsBench,
) -> None:
    for spoil, back in ((b"KSD A X 5\nKEN A\n", b"KEN 0\n"), (b"SPI T 100\n", b"SPI T 0\n")):
        bench.room.write("couch", spoil)
        uploaded = bench.couch.upload(bench.plan(TARGET))
        bench.run(60)
        with pytest.raises(DeviceError, match=r"coordinate system|pivot"):
            uploaded.result(0)
        bench.room.write("couch", back)


def test_emergency_stop_latches_until_it_is_reset(bench: GcsBench) -> None:
    bench.armed(TARGET)
    bench.hold("enabled")
    bench.run(1500)
    bench.room.perform("hand.estop", pressed=True)
    told = bench.run(1000, lambda told: told.state is CouchState.LATCHED)
    assert CouchFault.EMERGENCY_STOP in told.faults
    assert CouchFlag.ESTOP_PRESSED in told.flags
    reset = bench.couch.reset_faults(CouchFault.EMERGENCY_STOP)
    bench.run(100)
    assert reset.result(0) == CouchFault.EMERGENCY_STOP, "still pressed"
    bench.room.perform("hand.estop", pressed=False)
    bench.run(100)
    reset = bench.couch.reset_faults(CouchFault.EMERGENCY_STOP)
    told = bench.run(300, lambda told: told.state is CouchState.IDLE)
    assert reset.result(0) == CouchFault(0)
    bench.armed(TARGET)
    bench.hold("enabled")
    bench.run(12_000, lambda told: told.state is CouchState.ARRIVED)


def test_controller_that_takes_another_target_is_stopped_before_it_moves(bench: GcsBench) -> None:
    bench.armed(TARGET)
    write = bench.transport.write

    bench.transport.write = lambda data: (  # type: ignore[method-assign]
        write(b"MOV X 1.5\n") and len(data) if data.startswith(b"MOV X") else write(data)
    )
    bench.hold("enabled")
    told = bench.run(2000, lambda told: told.state is CouchState.LATCHED)
    assert CouchFault.SELF_TEST in told.faults
    bench.run(1000)
    assert list(bench.room.truth()["axes"].values()) == pytest.approx([0.0] * 6, abs=0.2)


def test_power_lost_is_a_lost_link_and_the_new_connection_knows_nothing(bench: GcsBench) -> None:
    bench.armed(TARGET)
    bench.room.inject("power.couch", "off")
    assert isinstance(bench.lost(), LinkLost)
    bench.room.clear()
    bench.open()
    told = bench.run(200)
    assert told.state is CouchState.NOT_REFERENCED
    assert told.plan_nonce == 0


def test_homing_makes_an_unreferenced_hexapod_usable() -> None:
    bench = GcsBench(referenced=False)
    bench.open()
    bench.run(600, lambda told: told.hardware_channel)
    bench.hold("enabled")
    bench.run(200)
    began = bench.couch.home()
    bench.run(100)
    began.result(0)
    told = bench.run(10_000, lambda told: told.state is CouchState.IDLE)
    assert CouchFlag.REFERENCED in told.flags


def test_beam_gate_and_jog_are_refused_in_words(bench: GcsBench) -> None:
    with pytest.raises(DeviceError, match="no beam gate"):
        bench.couch.set_beam_gate(True).result(0)
    with pytest.raises(DeviceError, match="no lease"):
        bench.couch.jog(0, 1.0).result(0)


@pytest.mark.parametrize(
    ("question", "octets"),
    [
        (gcs.of_axes("POS?"), b"X=1 \nY=2 \nZ=3 \nU=4 \nV=5\n"),
        (gcs.of_axes("POS?"), b"X=1 \nZ=2 \nY=3 \nU=4 \nV=5 \nW=6\n"),
        (gcs.of_axes("POS?"), b"X=1 \nY=nan \nZ=3 \nU=4 \nV=5 \nW=6\n"),
        (gcs.of_axes("SVO?", gcs.Form.SWITCHES), b"X=1 \nY=1 \nZ=1 \nU=1 \nV=1 \nW=2\n"),
        (gcs.ERROR, b"zero\n"),
        (gcs.MOVING, b"G\n"),
        (gcs.IS_READY, b"1\n"),
        (gcs.IDENTITY, b"\xff\xfe\n"),
    ],
)
def test_answer_of_another_form_is_garbled(question: gcs.Question, octets: bytes) -> None:
    with pytest.raises(gcs.GarbledAnswer):
        gcs.parsed(question, octets)


def test_late_answer_and_answer_nobody_asked_for_lose_the_link() -> None:
    exchange = gcs.Exchange(gcs.ERROR, 0)
    with pytest.raises(LinkLost, match="not answered"):
        exchange.feed(b"", gcs.ANSWER_US_MAX)
    exchange = gcs.Exchange(gcs.ERROR, 0)
    with pytest.raises(LinkLost, match="twice"):
        exchange.feed(b"0\n0\n", 10)
