"""PI's public Python client drives the simulated hexapod: a witness that the dialect is the dialect."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from igrt_firmware_sim.serving import Service
from igrt_firmware_sim.world import make_room

pipython = pytest.importorskip("pipython", reason="install the extra peers")
from pipython import pitools  # noqa: E402
from pipython.pidevice import gcserror  # noqa: E402
from pipython.pidevice.interfaces.pisocket import PISocket  # noqa: E402

# The client closes its socket once more when it is collected.
pytestmark = [
    pytest.mark.hil,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
AXES = ["X", "Y", "Z", "U", "V", "W"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Service]:
    room = make_room(seed=1, family="hexapod", dialect="gcs", renders=False, referenced=False)
    with Service(room, tmp_path, seed=1, tcp_host="127.0.0.1") as service:
        yield service


@pytest.fixture
def device(served: Service) -> Iterator[Any]:
    address = urlsplit(served.endpoints["couch"])
    gateway = PISocket(host=address.hostname, port=address.port)  # the client's own, no vendor DLL
    # Leaving the context takes its callback away again, which the client keeps for all gateways of the process.
    with pipython.GCSDevice(gateway=gateway) as connected:
        yield connected


def hold(served: Service) -> None:
    served.perform("hand.enable", position="enabled")
    time.sleep(0.1)  # the contacts close one after the other


def referenced(served: Service, device: Any) -> None:
    hold(served)
    device.SVO(dict.fromkeys(AXES, True))
    device.FRF(AXES)
    pitools.waitonreferencing(device, axes=AXES, timeout=30)


def test_client_connects_references_moves_and_reads_back(served: Service, device: Any) -> None:
    assert "SIMULATOR" in device.qIDN()
    assert device.devname == "C-887"
    assert device.axes == AXES
    assert device.qTMX()["X"] == 30.0
    assert not any(device.qFRF().values())
    referenced(served, device)
    assert all(device.qFRF().values())
    assert all(device.qSVO().values())
    target = {"X": 2.0, "Y": -1.0, "Z": 1.5, "U": 0.5, "V": -0.4, "W": 0.8}
    assert device.qVMO(target)
    device.VLS(8.0)
    device.MOV(target)
    assert any(device.IsMoving().values())
    pitools.waitontarget(device, axes=AXES, timeout=30)
    assert device.qONT() == dict.fromkeys(AXES, True)
    assert device.qMOV() == pytest.approx(target, abs=1e-6)
    assert device.qPOS() == pytest.approx(target, abs=0.03)
    device.MVR("X", -1.0)
    pitools.waitontarget(device, axes=AXES, timeout=30)
    assert device.qPOS("X")["X"] == pytest.approx(1.0, abs=0.03)


def test_client_s_stop_is_code_10_and_leaves_the_platform_where_it_came_to_rest(
    served: Service, device: Any
) -> None:
    referenced(served, device)
    device.MOV("X", 25.0)
    with pytest.raises(pipython.GCSError) as stopped:
        device.StopAll()
    assert stopped.value == gcserror.E10_PI_CNTR_STOP
    device.STP(noraise=True)
    device.HLT(noraise=True)
    pitools.waitontarget(device, axes=AXES, timeout=30)
    assert device.qPOS("X")["X"] < 20.0


def test_client_hears_why_it_is_refused(served: Service, device: Any) -> None:
    refusals = (
        (lambda: device.MOV("X", 1.0), gcserror.E508_PI_CNTR_MOVE_ATTEMPT_NOT_PERMITTED),
        (lambda: device.SVO("X", True), gcserror.E508_PI_CNTR_MOVE_ATTEMPT_NOT_PERMITTED),
        (lambda: device.MOV("Q", 1.0), gcserror.E15_PI_CNTR_INVALID_AXIS_IDENTIFIER),
        (lambda: device.VLS(-1.0), gcserror.E8_PI_CNTR_VEL_OUT_OF_LIMITS),
        (lambda: device.KEN("NOWHERE"), gcserror.E530_PI_CNTR_CS_DOES_NOT_EXIST),
        (lambda: device.send("WGO 1 1"), gcserror.E2_PI_CNTR_UNKNOWN_COMMAND),
    )
    for act, code in refusals:
        with pytest.raises(pipython.GCSError) as refused:
            act()
        assert refused.value == code
    referenced(served, device)
    with pytest.raises(pipython.GCSError) as refused:
        device.MOV("X", 31.0)
    assert refused.value == gcserror.E7_PI_CNTR_POS_OUT_OF_LIMITS
    served.perform("hand.estop", pressed=True)
    with pytest.raises(pipython.GCSError) as refused:
        pitools.waitonready(device, predelay=0.1)
    assert refused.value == gcserror.E500_PI_CNTR_EMERGENCY_STOP_BUTTON_ACTIVATED
    assert not any(read_quietly(device).values())
    served.perform("hand.estop", pressed=False)


def read_quietly(device: Any) -> dict[str, bool]:
    """The servo state without asking ERR? after it: a pressed emergency stop answers every time."""
    device.errcheck = False
    states: dict[str, bool] = device.qSVO()
    device.errcheck = True
    return states


def test_client_sets_pivot_point_and_work_coordinates(served: Service, device: Any) -> None:
    referenced(served, device)
    device.SPI({"R": 10.0, "S": 0.0, "T": 50.0})
    assert device.qSPI() == {"R": 10.0, "S": 0.0, "T": 50.0}
    device.MOV("U", 1.0)
    pitools.waitontarget(device, axes=AXES, timeout=30)
    truth = served.perform("truth")["axes"]
    # About a pivot 50 mm above the top a pitch of 1 degree takes the top's origin 50 sin(1) mm along Y.
    assert list(truth.values())[1] == pytest.approx(0.873, abs=0.05)
    device.MOV("U", 0.0)
    pitools.waitontarget(device, axes=AXES, timeout=30)
    device.SPI({"R": 0.0, "S": 0.0, "T": 0.0})
    device.KSD("TURNED", {"W": 90.0})
    device.KEN("TURNED")
    assert device.qKEN() == {"TURNED": "KSD"}
    device.MOV("X", 3.0)
    pitools.waitontarget(device, axes=AXES, timeout=30)
    assert list(served.perform("truth")["axes"].values())[1] == pytest.approx(3.0, abs=0.05)
    device.KEN("ZERO")
    assert device.qPOS("Y")["Y"] == pytest.approx(3.0, abs=0.05)


def test_startup_of_the_client_makes_the_hexapod_ready(served: Service, device: Any) -> None:
    hold(served)
    pitools.startup(device, refmodes=["FRF"] + [None] * 5, servostates=True)
    assert all(device.qFRF().values())
    assert all(device.qSVO().values())
