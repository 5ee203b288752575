"""One device of the room for a bench that tests one driver, in virtual time and on ptys."""

import termios
import time

import pytest

from igrt_firmware_sim import device
from igrt_firmware_sim._firmware import SimulatorError, decode_frame, fault_table
from igrt_firmware_sim.host import pendant_status

STATUS = {"couch": 0x10, "imager": 0x11, "pendant": 0x12}


def kinds(octets):
    """Types of the frames in octets."""
    decoded = [decode_frame("D", run) for run in octets.split(b"\0") if run]
    return [frame[0][0] for frame in decoded if frame is not None]


def test_every_fault_of_the_model_belongs_to_a_device():
    of_all = {target for line in STATUS for target in device.targets(line)}
    assert of_all == {target for target, _, _ in fault_table()}
    with pytest.raises(SimulatorError, match="none of couch, imager, pendant"):
        device.targets("gantry")


@pytest.mark.parametrize("line", sorted(STATUS))
def test_a_virtual_device_has_its_line_its_faults_and_its_truth(request, line):
    one = request.getfixturevalue(f"virtual_{line}")
    one.advance_ms(120)
    assert set(kinds(one.read())) == {STATUS[line]}
    assert one.truth()["counters"]["accepted"] == 0
    host = one.host()
    host.command(line, 0x20, b"hello")
    assert one.truth()["counters"]["executed"] == 1
    one.inject("line", "off")
    one.advance_ms(200)
    assert kinds(one.read()) == []
    one.clear()
    one.advance_ms(120)
    assert STATUS[line] in kinds(one.read())


def test_a_fault_of_another_device_is_refused_by_name(virtual_couch, virtual_imager):
    with pytest.raises(SimulatorError, match="no part of the couch"):
        virtual_couch.inject("generator", "off")
    with pytest.raises(SimulatorError, match="no part of the imager"):
        virtual_imager.inject("encoder", "off", axis="lateral")
    with pytest.raises(SimulatorError):
        virtual_couch.inject("encoder", "haunted", axis="lateral")


def test_the_truth_of_a_device_is_its_own(virtual_couch, virtual_imager, virtual_pendant):
    assert "axes" in virtual_couch.truth()
    assert "gantry_deg" not in virtual_couch.truth()
    assert set(virtual_imager.truth()) == {
        "now_us", "radiates", "imager_faults", "gantry_deg", "arms_parked", "counters",
    }  # fmt: skip
    assert set(virtual_pendant.truth()) == {"now_us", "pendant_faults", "counters"}


def test_a_broken_encoder_of_the_virtual_couch_is_latched_and_mends(virtual_couch):
    virtual_couch.inject("encoder", "off", axis="lateral")
    virtual_couch.advance_ms(200)
    assert virtual_couch.truth()["couch_state_name"] == "latched"
    assert virtual_couch.truth()["couch_faults"] & (1 << 10)


def test_the_hand_on_the_virtual_pendant_is_what_its_line_says(virtual_pendant):
    virtual_pendant.perform("hand.enable", position="enabled")
    virtual_pendant.advance_ms(120)
    runs = [run for run in virtual_pendant.read().split(b"\0") if run]
    decoded = [frame for frame in (decode_frame("D", run) for run in runs) if frame]
    assert pendant_status(decoded[-1][1])["enable_position"] == 1


@pytest.mark.hil
@pytest.mark.parametrize("line", sorted(STATUS))
def test_a_served_device_is_a_port_with_faults_and_truth(request, line):
    serial = pytest.importorskip("serial", reason="pyserial is not installed")
    one = request.getfixturevalue(f"served_{line}")
    assert one.baud == 921_600

    def heard(port, for_s):
        end, octets = time.monotonic() + for_s, b""
        while time.monotonic() < end:
            octets += port.read(4096)
        return kinds(octets)

    with serial.Serial(one.port, one.baud, timeout=0.05) as port:
        heard(port, 0.1)
        assert STATUS[line] in heard(port, 0.5)
        one.inject("line", "off")
        heard(port, 0.2)
        assert heard(port, 0.3) == []
        one.clear()
        assert STATUS[line] in heard(port, 0.5)
        assert one.truth()["now_us"] > 0
        port.baudrate = 115_200
        heard(port, 0.2)
        assert heard(port, 0.4) == [], "at another rate nothing can be read"
        port.baudrate = 921_600
        heard(port, 0.2)
        assert STATUS[line] in heard(port, 0.5)


@pytest.mark.hil
def test_a_client_that_sets_no_rate_finds_the_one_of_the_device(served_couch):
    with open(served_couch.port, "rb", buffering=0) as port:
        assert termios.tcgetattr(port)[4] == termios.B921600
