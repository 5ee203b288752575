"""Fixtures for benches that drive the simulated room, or one device of it, in virtual time or over real ptys.

Installed with the distribution; nothing has to be imported. `--sim-seed N` replays a run. A bench with a patient
overrides `sim_patient`; one with another couch family or start overrides `sim_options`; one that sets other baud rates
on its ports overrides `sim_baud`.

| | whole room | couch | imager | pendant |
| --- | --- | --- | --- | --- |
| virtual time | `virtual_room` | `virtual_couch` | `virtual_imager` | `virtual_pendant` |
| ptys, real time | `served_room` | `served_couch` | `served_imager` | `served_pendant` |

Every one has fault control (`inject`, `clear`) and ground truth (`truth`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from igrt_firmware_sim.bench import VirtualRoom
    from igrt_firmware_sim.device import ServedDevice, VirtualDevice
    from igrt_firmware_sim.host import Host
    from igrt_firmware_sim.serving import Service


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--sim-seed`."""
    group = parser.getgroup("igrt-sim", "simulated treatment room")
    group.addoption(
        "--sim-seed", type=int, default=1, help="seed of the simulated room (default 1)"
    )


@pytest.fixture
def sim_seed(request: pytest.FixtureRequest) -> int:
    """The seed of the room."""
    seed: int = request.config.getoption("--sim-seed")
    return seed


@pytest.fixture
def sim_patient() -> str | Path | None:
    """Folder with CT, structure set and plan, or `phantom:cube`; no patient unless a bench overrides it."""
    return None


@pytest.fixture
def sim_options() -> dict[str, Any]:
    """More arguments of :func:`igrt_firmware_sim.world.make_room`."""
    return {}


@pytest.fixture
def sim_baud() -> int | None:
    """Baud rate of the devices of `served_room`; a port that is set to another gives garbage. None: any will do."""
    from igrt_firmware_sim.serving import BAUD

    return BAUD


@pytest.fixture
def virtual_room(
    sim_seed: int, sim_patient: str | Path | None, sim_options: dict[str, Any]
) -> "VirtualRoom":
    """A room in virtual time: it stands still until it is advanced."""
    from igrt_firmware_sim.bench import VirtualRoom

    return VirtualRoom(seed=sim_seed, patient=sim_patient, **sim_options)


@pytest.fixture
def virtual_host(virtual_room: "VirtualRoom") -> "Host":
    """A small host with a session on every line of `virtual_room`, leases running."""
    from igrt_firmware_sim.host import Host

    host = Host(virtual_room)
    for line in ("couch", "imager", "pendant"):
        host.hello(line)
    host.advance_ms(60)
    return host


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Any:
    """Remembers whether the test itself failed, for `recorded_room`."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = bool(report.failed)
    return report


_FAILED = pytest.StashKey[bool]()


@pytest.fixture
def recorded_room(
    request: pytest.FixtureRequest,
    sim_seed: int,
    sim_patient: str | Path | None,
    sim_options: dict[str, Any],
    tmp_path: Path,
) -> "Iterator[VirtualRoom]":
    """As `virtual_room`; when the test fails, `failing.toml` in its `tmp_path` is a scenario that replays it."""
    from igrt_firmware_sim import scenario
    from igrt_firmware_sim.recording import RecordedRoom

    recording = tmp_path / "failing.jsonl"
    with RecordedRoom(recording, seed=sim_seed, patient=sim_patient, **sim_options) as room:
        yield room
    if request.node.stash.get(_FAILED, False):
        target = tmp_path / "failing.toml"
        scenario.from_recording(
            recording, target, title=request.node.name, why="a test failed on this run"
        )
        request.node.add_report_section("teardown", "igrt-sim", f"igrt-sim run {target}")


@pytest.fixture
def served_room(
    sim_seed: int,
    sim_patient: str | Path | None,
    sim_options: dict[str, Any],
    sim_baud: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[Service]":
    """A room on ptys in real time: `served_room.endpoints["couch"]` is a path that a serial driver opens.

    `served_room.perform("hand.enable", position="enabled")` is the hand; `served_room.perform("truth")` the eye.
    """
    from igrt_firmware_sim import world
    from igrt_firmware_sim.serving import Service

    patient = world.resolve(sim_patient)
    room = world.make_room(seed=sim_seed, patient=patient, renders=False, **sim_options)
    folder = tmp_path_factory.mktemp("sim")
    with Service(room, folder, seed=sim_seed, baud=sim_baud) as service:
        yield service


@pytest.fixture
def virtual_couch(virtual_room: "VirtualRoom") -> "VirtualDevice":
    """The couch of `virtual_room` alone: `write`, `read`, `advance_ms`, `inject`, `truth`; `host()` opens a session."""
    from igrt_firmware_sim.device import VirtualDevice

    return VirtualDevice(virtual_room, "couch")


@pytest.fixture
def virtual_imager(virtual_room: "VirtualRoom") -> "VirtualDevice":
    """The imager of `virtual_room` alone."""
    from igrt_firmware_sim.device import VirtualDevice

    return VirtualDevice(virtual_room, "imager")


@pytest.fixture
def virtual_pendant(virtual_room: "VirtualRoom") -> "VirtualDevice":
    """The hand pendant of `virtual_room` alone."""
    from igrt_firmware_sim.device import VirtualDevice

    return VirtualDevice(virtual_room, "pendant")


@pytest.fixture
def served_couch(served_room: "Service") -> "ServedDevice":
    """The couch of `served_room` alone: `port` is the path for a driver, `inject` breaks it, `truth` knows it."""
    from igrt_firmware_sim.device import ServedDevice

    return ServedDevice(served_room, "couch")


@pytest.fixture
def served_imager(served_room: "Service") -> "ServedDevice":
    """The imager of `served_room` alone."""
    from igrt_firmware_sim.device import ServedDevice

    return ServedDevice(served_room, "imager")


@pytest.fixture
def served_pendant(served_room: "Service") -> "ServedDevice":
    """The hand pendant of `served_room` alone."""
    from igrt_firmware_sim.device import ServedDevice

    return ServedDevice(served_room, "pendant")
