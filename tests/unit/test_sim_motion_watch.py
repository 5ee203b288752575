"""A host need not look every millisecond: the room runs until something is said, and remembers what moved."""

from __future__ import annotations

import itertools

import pytest

from igrt_firmware_sim import SimulatorError
from igrt_firmware_sim.bench import VirtualRoom
from igrt_hw.campaign.line import VirtualLine
from igrt_hw.campaign.room import SimulatedRoom
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.session import SessionSettings


def told(room: SimulatedRoom, until_us: int, *, step_us: int | None) -> tuple[list[int], str]:
    """Connect to the couch; the instants at which it said something, and the trace. `step_us` None: by events."""
    line = VirtualLine(
        "couch", SessionSettings(DeviceKind.COUCH), room, lambda: room.now_us, lambda: 0x1234_5678
    )
    line.turn(b"", room.now_us)
    heard: list[int] = []
    while room.now_us < until_us:
        to_us = until_us if step_us is None else min(until_us, room.now_us + step_us)
        now_us, octets, *_ = room.advance_to_octets(to_us)
        if octets:
            heard.append(now_us)
    return heard, room.trace_hash()


def test_running_to_the_next_octets_is_the_same_time_cycle_by_cycle() -> None:
    by_events = told(VirtualRoom(seed=3), 700_000, step_us=None)
    by_cycles = told(VirtualRoom(seed=3), 700_000, step_us=1_000)
    assert by_events == by_cycles
    assert len(by_events[0]) > 10


def test_it_stops_at_the_time_it_was_given_where_nobody_speaks() -> None:
    room = VirtualRoom(seed=3)
    for line in ("line.couch", "line.imager", "line.pendant"):
        room.inject(line, "off")
    now_us, *octets = room.advance_to_octets(20_500)
    assert (now_us, room.now_us) == (20_500, 20_500)
    assert octets == [b"", b"", b""]


def test_what_moves_is_remembered_and_what_rests_is_not() -> None:
    room = VirtualRoom(seed=3)
    room.watch_motion(every_us=5_000, mm_s=0.5, deg_s=0.5)
    room.advance_ms(300)
    assert room.take_motion() == []
    room.inject("brake", "slow", value=4.0)
    room.advance_ms(300)
    seen = room.take_motion()
    assert len(seen) > 20
    assert all(mm_s > 0.5 or deg_s > 0.5 for _, _, mm_s, deg_s in seen)
    times = [at_us for at_us, *_ in seen]
    assert all(b - a >= 5_000 for a, b in itertools.pairwise(times))
    assert room.take_motion() == []
    now_us, axes, mm_s, _ = room.motion()
    assert now_us == room.now_us
    assert axes == list(room.truth()["axes"].values())
    assert mm_s == pytest.approx(4.0, rel=0.01)


def test_a_watch_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(SimulatorError, match="every_us"):
        VirtualRoom(seed=3).watch_motion(every_us=0, mm_s=0.5, deg_s=0.5)
