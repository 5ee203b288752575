"""Controller and imager refuse the same techniques: the bounds of the generator, from both sides of the line."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import TECHNIQUE, Host, RefusedError
from igrt_hw.models.generator import technique_problem

OUTSIDE_LIMITS = 7

_host: list[Host] = []


def imager() -> Host:
    """One imager for all examples: a technique changes nothing that another depends on."""
    if not _host:
        host = Host(VirtualRoom(seed=3))
        host.hello("imager")
        _host.append(host)
    return _host[0]


def device_takes(kvp_tenth: int, ma_tenth: int, time_us: int) -> bool:
    body = struct.pack("<HBBHI4i", kvp_tenth, 0, 2, ma_tenth, time_us, -1, 1, -1, 1)
    try:
        imager().command("imager", TECHNIQUE, body)
    except RefusedError as refused:
        if refused.code != OUTSIDE_LIMITS:
            raise
        return False
    return True


def both(kvp_tenth: int, ma_tenth: int, time_us: int) -> bool:
    taken = device_takes(kvp_tenth, ma_tenth, time_us)
    problem = technique_problem(kvp_tenth / 10, ma_tenth / 10, time_us / 1000)
    assert taken == (not problem), (kvp_tenth, ma_tenth, time_us, problem)
    return taken


def near(*bounds: int) -> st.SearchStrategy[int]:
    """Around a bound, or anywhere between the lowest and the highest of them."""
    around = st.sampled_from(bounds).flatmap(lambda b: st.integers(max(0, b - 2), b + 2))
    return around | st.integers(min(bounds), max(bounds))


@settings(max_examples=400, deadline=None)
@given(
    near(400, 800, 1000, 1500), near(10, 2000, 3200, 5000), near(500, 100_000, 1_000_000, 6_300_000)
)
def test_both_sides_take_and_refuse_the_same_techniques(kvp: int, ma: int, time_us: int) -> None:
    both(kvp, ma, time_us)


def test_the_bounds_of_power_and_meter_fall_between_the_same_integers() -> None:
    steps = (
        ((1000, 5000, 100_000), (1001, 5000, 100_000)),
        ((1000, 3200, 1_000_000), (1000, 3201, 1_000_000)),
        ((1000, 5000, 100_000), (1000, 5000, 100_001)),
        ((1000, 2000, 6_300_000), (1000, 2001, 6_300_000)),
        ((800, 10, 9_500), (800, 10, 9_499)),
    )
    for inside, outside in steps:
        assert both(*inside), inside
        assert not both(*outside), outside
