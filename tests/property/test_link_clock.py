"""The clock estimate: whatever the delays, the truth lies within the stated uncertainty."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from igrt_hw.link.clock import DeviceClock, Exchange, widen

AHEAD_US = 7_000_000_000


def device(host_us: float, drift_ppm: float) -> float:
    return host_us + AHEAD_US + host_us * drift_ppm * 1e-6


def exchange(sent_us: int, out_us: int, on_device_us: int, back_us: int, ppm: float) -> Exchange:
    received = sent_us + out_us + on_device_us + back_us
    return Exchange(
        sent_us,
        int(device(sent_us + out_us, ppm)),
        int(device(sent_us + out_us + on_device_us, ppm)),
        received,
    )


delay = st.one_of(st.integers(5, 200), st.integers(5, 300_000))


@given(
    ppm=st.floats(-190, 190),
    story=st.lists(
        st.tuples(delay, delay, st.integers(0, 500), st.integers(0, 2_000_000)),
        min_size=1,
        max_size=60,
    ),
    ahead_us=st.integers(-100_000, 3_000_000),
)
def test_the_truth_lies_within_the_stated_uncertainty(
    ppm: float, story: list[tuple[int, int, int, int]], ahead_us: int
) -> None:
    """Delays are as asymmetric as they like: 300 ms one way and 5 us the other."""
    now_us, clock = 1_000_000, None
    for out_us, back_us, on_device_us, pause_us in story:
        sample = exchange(now_us, out_us, on_device_us, back_us, ppm)
        now_us = sample.host_received_us
        if clock is None:
            clock = DeviceClock(sample)
        else:
            clock.add(sample)
        at_us = max(0, now_us + ahead_us)
        for look_us in (now_us, at_us):
            wrong_us = abs(clock.device_us(look_us) - device(look_us, ppm))
            assert wrong_us <= clock.uncertainty_us(look_us) + 2
        now_us += pause_us


@given(bad_us=st.integers(1_000, 500_000))
def test_one_good_exchange_mends_a_bad_beginning(bad_us: int) -> None:
    """HELLO on a stalled host is off by half of what it took; the next good answer mends that."""
    clock = DeviceClock(exchange(1_000_000, bad_us, 0, 20, 0.0))
    clock.add(exchange(2_000_000, 20, 0, 20, 0.0))
    assert abs(clock.device_us(2_000_100) - device(2_000_100, 0.0)) <= 25
    assert clock.uncertainty_us(2_000_100) <= 50


def test_drift_is_learnt_and_a_stepped_clock_begins_anew() -> None:
    clock = DeviceClock(exchange(1_000_000, 50, 0, 50, 80.0))
    now_us = 1_000_000
    for _ in range(40):
        now_us += 1_000_000
        clock.add(exchange(now_us, 50, 0, 50, 80.0))
    assert abs(clock.drift_ppm - 80.0) < 2.0
    stepped = exchange(now_us + 1_000_000, 50, 0, 50, 80.0)
    stepped = Exchange(
        stepped.host_sent_us,
        stepped.device_received_us + 5_000_000,
        stepped.device_sent_us + 5_000_000,
        stepped.host_received_us,
    )
    clock.add(stepped)
    host_us = stepped.host_received_us
    assert abs(clock.device_us(host_us) - (device(host_us, 80.0) + 5_000_000)) <= 60


@given(near_us=st.integers(1 << 33, 1 << 50), off_us=st.integers(-(1 << 31) + 1, (1 << 31) - 1))
def test_32_bits_of_a_time_are_widened_to_the_nearest(near_us: int, off_us: int) -> None:
    true_us = near_us + off_us
    assert widen(true_us & 0xFFFFFFFF, near_us) == true_us
