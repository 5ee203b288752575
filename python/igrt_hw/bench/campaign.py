"""How many whole treatment sessions of a campaign one core judges in a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from igrt_hw.bench.registry import BenchError, Metric, Sampler
from igrt_hw.campaign.room import NoSimulatorError, room_factory
from igrt_hw.campaign.runner import run_lot

SESSIONS = 60  # of as many seeds, the same in every sample


@contextmanager
def _sessions() -> Iterator[Sampler]:
    try:
        room_factory()
    except NoSimulatorError as error:
        raise BenchError(str(error)) from error
    run_lot(1, 3)

    def sample() -> float:
        lot = run_lot(1, SESSIONS)
        if lot.errors or any(report.violations for report in lot.reports):
            raise BenchError("the sessions of the measurement did not pass: igrt campaign")
        return SESSIONS / lot.core_s

    yield sample


METRICS = (
    Metric(
        "campaign_sessions_per_s",
        "1/s",
        "higher",
        "whole treatment sessions with faults and judge in virtual time, one core (processor time)",
        _sessions,
        samples=5,
    ),
)
