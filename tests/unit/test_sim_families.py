"""What the firmware promises of motion, on every family of couch and not on the pedestal alone; virtual time."""

from typing import Any

import numpy as np
import pytest

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host, RefusedError

FAMILIES = ("pedestal", "hexapod", "arm", "scara")
# A correction of a few millimetres and tenths of a degree, in the axes of each.
BY = {
    "pedestal": (6.0, -8.0, 5.0, 0.8, -0.5, 0.4),
    "hexapod": (6.0, -8.0, 5.0, 0.8, -0.5, 0.4),
    "arm": (0.4, -0.3, 0.5, -0.4, 0.3, 0.6),
    "scara": (6.0, 0.4, -0.6, 0.5, 0.3, -0.2),
}
PLAIN = ("pedestal", "hexapod")
ARRIVED, HELD = "arrived", "held"


def _host(family: str, **options: Any) -> Host:
    host = Host(VirtualRoom(seed=4, family=family, **options))
    host.hello()
    host.advance_ms(60)
    return host


def _axes(host: Host, which: str = "axes") -> np.ndarray:
    return np.array(list(host.room.truth()[which].values()))


def _until(host: Host, state: str, within_ms: int = 15_000) -> None:
    for _ in range(within_ms // 5):
        if host.room.truth()["couch_state_name"] == state:
            return
        host.advance_ms(5)
    raise AssertionError(f"not {state} but {host.room.truth()['couch_state_name']}")


def _moving(family: str) -> tuple[Host, np.ndarray]:
    """A correction under way, and where it began."""
    host = _host(family)
    start = _axes(host, "measured")
    # Robots are quick; at this share of their speed a correction takes as long as on a pedestal.
    host.upload_relative([BY[family]], speed_ppm=1_000_000 if family in PLAIN else 60_000)
    host.execute()
    host.room.perform("hand.enable", position="enabled")
    return host, start


@pytest.mark.parametrize("family", FAMILIES)
def test_a_correction_arrives_on_both_channels(family: str) -> None:
    host, start = _moving(family)
    _until(host, ARRIVED)
    target = start + BY[family]
    fine = family in ("arm", "scara")
    tolerance = [0.1 if name.endswith("_mm") else 0.003 if fine else 0.02
                 for name in host.room.truth()["axes"]]  # fmt: skip
    for channel in ("axes", "measured", "second_channel"):
        assert (abs(_axes(host, channel) - target) < tolerance).all(), channel
    assert host.room.truth()["couch_faults"] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_stop_comes_to_rest_on_the_line_and_the_plan_is_void(family: str) -> None:
    host, start = _moving(family)
    by = np.array(BY[family])
    host.advance_ms(500)
    host.stop()
    host.advance_ms(1500)
    truth = host.room.truth()
    assert truth["speed_mm_s"] == 0.0
    assert truth["speed_deg_s"] == 0.0
    assert truth["brakes_engaged"]
    done = (_axes(host, "commanded") - start) / by
    assert 0.02 < done[0] < 0.98
    assert np.ptp(done) < 1e-2, "the set-point left the straight line"
    with pytest.raises(RefusedError, match="executed once"):
        host.execute()


@pytest.mark.parametrize("family", FAMILIES)
def test_releasing_the_enable_holds_and_holding_it_again_goes_on(family: str) -> None:
    host, start = _moving(family)
    host.advance_ms(500)
    host.room.perform("hand.enable", position="released")
    _until(host, HELD)
    host.advance_ms(300)
    host.room.perform("hand.enable", position="enabled")
    _until(host, ARRIVED)
    assert (abs(_axes(host) - start - BY[family]) < 0.1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_target_beyond_a_soft_limit_is_refused_with_the_axis_by_name(family: str) -> None:
    host = _host(family)
    names = list(host.room.truth()["axes"])
    for index in range(6):
        by = [0.0] * 6
        by[index] = 1900.0
        with pytest.raises(RefusedError) as refused:
            host.upload_relative([by])
        assert names[index].rsplit("_", 1)[0] in str(refused.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_homing_and_jogging_work_and_end_where_they_should(family: str) -> None:
    host = _host(family, referenced=False)
    before = _axes(host)
    with pytest.raises(RefusedError, match="referenced"):
        host.upload_relative([BY[family]])
    host.room.perform("hand.enable", position="enabled")
    host.advance_ms(10)
    host.command("couch", 0x27)
    _until(host, "idle", 90_000)
    assert (abs(_axes(host) - before) < 0.1).all()
    for _ in range(10):
        host.jog(0, -0.8)
        host.advance_ms(100)
    host.advance_ms(1200)
    moved = _axes(host) - before
    assert -1.2 < moved[0] < -0.5
    assert (abs(moved[1:]) < 0.1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_channel_that_lies_latches_and_a_load_bends_the_top(family: str) -> None:
    host = _host(family)
    names = list(host.room.truth()["axes"])
    axis = names[1].rsplit("_", 1)[0]
    host.room.perform("fault.inject", target="second_channel", kind="wrong", axis=axis, value=2.0)
    host.advance_ms(200)
    assert host.room.truth()["couch_faults"] & 4
    light, heavy = (VirtualRoom(family=family, load_kg=load).truth() for load in (0.0, 150.0))
    assert light["sag_mm"] == 0.0
    assert -1.5 < heavy["sag_mm"] < -0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hand_moves_the_couch_with_the_brakes_released_and_a_plan_is_refused(family: str) -> None:
    host = _host(family)
    names = list(host.room.truth()["axes"])
    before = _axes(host)
    host.room.perform("hand.brake_release", released=True)
    host.advance_ms(20)
    host.room.perform("hand.push", axis=names[0].rsplit("_", 1)[0], by=1.5)
    host.advance_ms(50)
    host.room.perform("hand.brake_release", released=False)
    host.advance_ms(300)
    moved = _axes(host) - before
    assert abs(moved[0] - 1.5) < 0.05
    assert (abs(moved[1:]) < 0.05).all()
    with pytest.raises(RefusedError, match="moved by hand"):
        host.upload_relative([BY[family]])


@pytest.mark.parametrize("family", FAMILIES)
def test_with_nothing_to_hold_it_the_load_sinks_and_does_not_rise(family: str) -> None:
    """Brakes that never engage, motors that are off: a robot goes down in its own joints."""
    host = _host(family)
    before = host.room.truth()["table_top"]
    host.room.perform("fault.inject", target="brake", kind="off")
    host.advance_ms(400)
    after = host.room.truth()["table_top"]
    assert -4.0 < after["vertical_mm"] - before["vertical_mm"] < -0.8
    host.room.perform("fault.clear", target="brake")
    host.advance_ms(300)
    assert host.room.truth()["brakes_engaged"]
