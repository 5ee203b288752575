"""Whole treatment sessions in virtual time: the same seed gives the same session, and undisturbed ones arrive."""

from __future__ import annotations

import pytest

from igrt_hw.campaign.session import run_session


def test_a_seed_replays_its_session() -> None:
    first, again = run_session(5), run_session(5)
    assert first == again
    assert first != run_session(6)


@pytest.mark.parametrize("seed", range(3))
def test_a_session_without_faults_breaks_no_promise(seed: int) -> None:
    report = run_session(seed, faults=False)
    assert report.violations == ()
    assert report.faults == {}
