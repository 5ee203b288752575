"""What a line tells of its telemetry: rates and ages that a starved thread does not falsify."""

from __future__ import annotations

import pytest

from igrt_hw.link import messages as m
from igrt_hw.link.bulletin import Bulletin
from igrt_hw.link.events import TelemetrySample
from igrt_hw.link.tally import Tally


def sample(at_us: int) -> TelemetrySample:
    return TelemetrySample(m.PendantStatus(at_us, 0, 0, 0, 0, 0, 0, 0), at_us, 1, 0)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_statuses_that_are_read_together_count_one_by_one(at_once: int) -> None:
    tally = Tally()
    bulletin = Bulletin(tally)
    now_us = 10_000_000
    for _ in range(100 // at_once):
        now_us += 50_000 * at_once
        tally.telemetry_received += at_once
        bulletin.take((), sample(now_us))
    assert bulletin.rate_hz(now_us) == pytest.approx(20.0, rel=0.01)


def test_rate_of_a_silent_line_is_zero() -> None:
    tally = Tally()
    bulletin = Bulletin(tally)
    for number in range(60):
        tally.telemetry_received += 1
        bulletin.take((), sample(1_000_000 + 50_000 * number))
    heard_us = 1_000_000 + 50_000 * 59
    assert bulletin.rate_hz(heard_us) == pytest.approx(20.0, rel=0.06)
    assert bulletin.rate_hz(heard_us + 2_500_000) == 0.0
