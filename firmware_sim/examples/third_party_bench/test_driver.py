"""A bench for `couch_driver`: over a real pty, with faults, against the truth."""

import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from couch_driver import COUCH_STATUS, STOP_ACK, Couch


@pytest.fixture
def couch(served_room):
    """The driver under test on the pty of the couch."""
    driver = Couch(served_room.endpoints["couch"])
    yield driver
    driver.close()


def test_the_position_that_the_driver_reads_is_where_the_couch_is(couch, served_room):
    """Talk to the real pty and compare with the truth."""
    primary = struct.unpack_from("<6i", couch.hear(COUCH_STATUS)["body"], 32)
    truth = served_room.perform("truth")["axes"]
    assert primary[1] / 1000 == pytest.approx(truth["longitudinal_mm"], abs=0.02)


def test_stop_is_acknowledged_over_a_line_that_loses_octets(couch, served_room):
    """Break the line: repeated with one nonce, a STOP comes through and counts once."""
    served_room.perform("fault.inject", target="line.couch", kind="drop", value=0.005)
    for _attempt in range(50):
        couch.stop(nonce=99)
        try:
            assert couch.hear(STOP_ACK, within_s=0.3)["epoch"] == 1
        except TimeoutError:
            continue
        break
    else:
        pytest.fail("no answer after 50 attempts")
    assert served_room.perform("truth")["epoch"] == 1


def test_a_broken_encoder_is_latched_and_the_driver_sees_it(couch, served_room):
    """Break the couch and see it in the telemetry."""
    served_room.perform("fault.inject", target="encoder", kind="off", axis="lateral")
    for _ in range(20):
        body = couch.hear(COUCH_STATUS)["body"]
        if body[8] == 10:
            break
    assert struct.unpack_from("<I", body, 16)[0] & (1 << 10)
