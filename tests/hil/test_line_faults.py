"""Drivers on bad lines, over real ptys: what arrives is right, or it is an error that says why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from sim_room import PATIENCE_S, SimRoom, eventually

from igrt_hw.devices.frames import FLOOD_FRAME
from igrt_hw.devices.imager import ClpImager
from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkLost

# One room for all of them: together in one process, where tests run in several.
pytestmark = [pytest.mark.hil, pytest.mark.slow, pytest.mark.xdist_group("line_faults")]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimRoom]:
    sim = SimRoom(tmp_path_factory.mktemp("room"), seed=11)
    yield sim
    sim.close()


@pytest.fixture
def imager(room: SimRoom) -> Iterator[ClpImager]:
    device = ClpImager.on_port(room.port("imager"))
    device.connect(PATIENCE_S)
    device.line.call(m.Technique(800, 0, 4, 1000, 20_000, -1000, 1000, -1000, 1000))  # small frames
    yield device
    room.ask("fault.clear", target="line.imager")
    device.close()


HARMLESS = ("jitter", "merge")  # late, but whole and in order


def trouble(imager: ClpImager) -> int:
    """Everything the line has counted that a clean line does not have."""
    c = imager.health().counters
    return c.crc_errors + c.other_drops + c.retransmissions + c.resent_after_gap + c.unexpected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("flip", 2e-6),
        ("drop", 2e-5),
        ("garbage", 0.1),
        ("duplicate", 0.2),
        ("reorder", 0.02),
        ("jitter", 5.0),
        ("merge", 4.0),
        ("echo", None),
    ],
)
def test_a_frame_over_a_bad_line_is_whole_or_the_link_is_lost(
    room: SimRoom, imager: ClpImager, kind: str, value: float | None
) -> None:
    honest = imager.fetch(FLOOD_FRAME)
    assert hashlib.sha256(honest.counts.tobytes()).hexdigest() == honest.sha256
    fields = {} if value is None else {"value": value}
    room.ask("fault.inject", target="line.imager", kind=kind, **fields)
    before, whole = trouble(imager), 0
    for _ in range(6):
        try:
            frame = imager.fetch(FLOOD_FRAME)
        except LinkLost:
            assert eventually(lambda: imager.health().connected)
        else:
            whole += 1
            assert frame.sha256 == honest.sha256
            assert (frame.counts == honest.counts).all()
    room.ask("fault.clear", target="line.imager")
    assert eventually(lambda: imager.health().connected)
    assert whole or imager.health().counters.sessions > 1
    assert trouble(imager) > before or kind in HARMLESS, "the fault has never bitten"


@pytest.mark.parametrize("kind", ["stall", "off", "baud"])
def test_a_dead_line_is_lost_in_words_and_comes_back_in_a_new_session(
    room: SimRoom, imager: ClpImager, kind: str
) -> None:
    identity = imager.line.identity
    assert identity is not None
    room.ask("fault.inject", target="line.imager", kind=kind)
    assert eventually(lambda: not imager.health().connected)
    assert imager.health().cause.startswith("link lost: ")
    with pytest.raises(LinkLost):
        imager.fetch(FLOOD_FRAME)
    room.ask("fault.clear", target="line.imager")
    assert eventually(lambda: imager.health().connected)
    again = imager.line.identity
    assert again is not None
    assert again.session != identity.session
    assert again.boot_id == identity.boot_id
    assert imager.fetch(FLOOD_FRAME).counts.size
