"""A bench for `couch_driver`: over a real pty, with faults, against the truth."""

import contextlib
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from couch_driver import COUCH_STATUS, STOP_ACK, Couch

from igrt_firmware_sim.host import RefusedError


@pytest.fixture
def couch(served_couch):
    """The driver under test on the pty of the couch."""
    driver = Couch(served_couch.port)
    yield driver
    driver.close()


def test_the_position_that_the_driver_reads_is_where_the_couch_is(couch, served_couch):
    """Talk to the real pty and compare with the truth."""
    primary = struct.unpack_from("<6i", couch.hear(COUCH_STATUS)["body"], 32)
    truth = served_couch.truth()["axes"]
    assert primary[1] / 1000 == pytest.approx(truth["longitudinal_mm"], abs=0.02)


def test_stop_is_acknowledged_over_a_line_that_loses_octets(couch, served_couch):
    """Break the line: repeated with one nonce, a STOP comes through and counts once."""
    served_couch.inject("line", "drop", value=0.005)
    for _attempt in range(50):
        couch.stop(nonce=99)
        try:
            assert couch.hear(STOP_ACK, within_s=0.3)["epoch"] == 1
        except TimeoutError:
            continue
        break
    else:
        pytest.fail("no answer after 50 attempts")
    assert served_couch.truth()["epoch"] == 1


def test_a_broken_encoder_is_latched_and_the_driver_sees_it(couch, served_couch):
    """Break the couch and see it in the telemetry."""
    served_couch.inject("encoder", "off", axis="lateral")
    for _ in range(20):
        body = couch.hear(COUCH_STATUS)["body"]
        if body[8] == 10:
            break
    assert struct.unpack_from("<I", body, 16)[0] & (1 << 10)


def test_a_driver_at_another_baud_rate_hears_nothing(served_couch):
    """The pty is held to the rate of the device, as a wire is."""
    driver = Couch(served_couch.port, baud=115_200)
    try:
        with contextlib.suppress(TimeoutError):
            driver.hear(COUCH_STATUS, within_s=0.3)  # what was on its way may still be whole
        with pytest.raises(TimeoutError):
            driver.hear(COUCH_STATUS, within_s=0.5)
    finally:
        driver.close()


def test_a_dead_generator_refuses_the_exposure(virtual_imager):
    """An imager alone, in virtual time, with the small host that comes with the simulator."""
    virtual_imager.inject("generator", "off")
    host = virtual_imager.host()
    host.advance_ms(60)
    with pytest.raises((RefusedError, TimeoutError)):
        host.expose(90.0)
    assert not virtual_imager.truth()["radiates"]


def test_a_squeezed_enable_is_told_apart_from_a_released_one(virtual_pendant):
    """A pendant alone: the hand squeezes, the line says so."""
    host = virtual_pendant.host()
    for position, number in (("enabled", 1), ("squeezed", 2), ("released", 0)):
        virtual_pendant.perform("hand.enable", position=position)
        host.advance_ms(120)
        assert host.status("pendant")["enable_position"] == number
