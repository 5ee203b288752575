"""Fixtures for benches that drive the simulated room, in virtual time or over real ptys.

Installed with the distribution; nothing has to be imported. `--sim-seed N` replays a run. A bench with a patient
overrides `sim_patient`; one with another couch family or start overrides `sim_options`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from igrt_firmware_sim.bench import VirtualRoom
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
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[Service]":
    """A room on ptys in real time: `served_room.endpoints["couch"]` is a path that a serial driver opens.

    `served_room.perform("hand.enable", position="enabled")` is the hand; `served_room.perform("truth")` the eye.
    """
    from igrt_firmware_sim import world
    from igrt_firmware_sim.serving import Service

    patient = world.resolve(sim_patient)
    room = world.make_room(seed=sim_seed, patient=patient, renders=False, **sim_options)
    with Service(room, tmp_path_factory.mktemp("sim"), seed=sim_seed) as service:
        yield service
