"""Properties of the simulated couch under every fault of the line, in virtual time."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host, RefusedError

MOVING = 4
LINE_FAULTS = st.sampled_from(
    [
        ("flip", 0.01),
        ("drop", 0.01),
        ("garbage", 0.5),
        ("duplicate", 0.5),
        ("reorder", 0.3),
        ("delayed", 40.0),
        ("jitter", 60.0),
        ("split", 12.0),
        ("merge", 30.0),
        ("stall", None),
        ("off", None),
        ("echo", None),
        ("baud", None),
    ]
)


def moving_host(seed):
    host = Host(VirtualRoom(seed=seed))
    host.hello()
    host.advance_ms(60)
    host.move_by([2, 25, -3, 0.4, 0.3, -0.2])
    host.room.enable("enabled")
    host.advance_ms(150)
    return host


def speed(room):
    return math.hypot(*room.truth()["speeds"][:3])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    fault=LINE_FAULTS,
    at_ms=st.integers(0, 2500),
    direction=st.sampled_from(["to_device", "to_host", "both"]),
)
def test_whatever_befalls_the_line_the_couch_arrives_or_rests(seed, fault, at_ms, direction):
    host = moving_host(seed)
    host.advance_ms(at_ms)
    kind, value = fault
    host.room.inject("line.couch", kind, value=value, direction=direction)
    host.advance_ms(6000)
    truth = host.room.truth()
    assert speed(host.room) == 0.0
    assert truth["brakes_engaged"]
    # On the line, between start and target, and never beyond.
    assert -350.1 <= truth["axes"]["longitudinal_mm"] <= -324.9
    host.room.clear("line.couch")
    before = truth["axes"]
    host.advance_ms(1500)
    after = host.room.truth()["axes"]
    if truth["couch_state_name"] in ("latched", "arrived", "idle"):
        assert all(abs(after[name] - before[name]) < 0.1 for name in before)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    hands=st.lists(
        st.tuples(st.sampled_from(["released", "enabled", "squeezed"]), st.integers(1, 400)),
        max_size=12,
    ),
)
def test_the_couch_moves_only_while_the_enable_is_held(seed, hands):
    host = moving_host(seed)
    for position, for_ms in hands:
        host.room.enable(position)
        host.advance_ms(for_ms)
        if position != "enabled" and for_ms > 10:
            state = host.room.truth()["couch_state_name"]
            assert state in ("stopping", "held", "arrived", "moving")
            assert state != "moving" or host.room.truth()["brakes_engaged"] is False
    host.room.enable("released")
    host.advance_ms(1500)
    assert speed(host.room) == 0.0
    assert host.room.truth()["brakes_engaged"]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), at_ms=st.integers(0, 2500), stops=st.integers(1, 3))
def test_nothing_made_before_a_stop_runs_after_it(seed, at_ms, stops):
    host = moving_host(seed)
    host.advance_ms(at_ms)
    last = host.last_octets
    for _ in range(stops):
        host.stop()
    for _ in range(30):
        host.room.write("couch", last)
        host.advance_ms(50)
    assert speed(host.room) == 0.0
    assert host.room.truth()["couch_state_name"] == "idle"
    with pytest.raises(RefusedError) as refused:
        host.execute()
    assert refused.value.code in (9, 16)
