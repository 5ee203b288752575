"""Markers followed view by view while the beam is on: what is told, and when a hold is asked for."""

import numpy as np
import pytest

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.intrafraction import IntrafractionMonitor, MonitorLimits, MonitorVerdict
from igrt_hw.guidance.markers import Blob
from igrt_hw.guidance.refusal import InputRefused

SEEDS = (
    ("A", (8.0, -6.0, 4.0)),
    ("B", (-7.0, 5.0, 9.0)),
    ("C", (3.0, 9.0, -8.0)),
)
STEP_US = 5_000_000


def geometry(angle: float) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=angle,
        sad_mm=1000.0,
        sid_mm=1500.0,
        rows=384,
        cols=512,
        pixel_pitch_mm=0.776,
    )


def spots(
    angle: float, shift: tuple[float, float, float], rng: np.random.Generator, false_spots: int = 3
) -> list[Blob]:
    places = np.array([place for _, place in SEEDS]) + shift
    seen = geometry(angle).pixels_of(places) + rng.normal(0.0, 0.1, (3, 2))
    false = rng.uniform(150, 250, (false_spots, 2))
    return [
        Blob(float(c), float(r), np.eye(2) * 0.01, 0.3, 20.0, 1.0, 2.0, 0.0)
        for c, r in np.vstack([false, seen])
    ]


def follow(
    shifts: list[tuple[float, float, float]], *, seed: int = 1, turn_deg: float = 20.0
) -> list[MonitorVerdict]:
    rng = np.random.default_rng(seed)
    monitor = IntrafractionMonitor.start(SEEDS, 0)
    told = []
    for n, shift in enumerate(shifts, 1):
        angle = -60.0 + turn_deg * n
        monitor, verdict = monitor.viewed(geometry(angle), spots(angle, shift, rng), n * STEP_US)
        told.append(verdict)
    return told


def test_a_target_at_rest_is_followed_within_its_own_deviations_and_no_hold_is_asked_for() -> None:
    for seed in range(5):
        told = follow([(0.4, -0.3, 0.5)] * 8, seed=seed)
        assert not any(verdict.hold for verdict in told)
        off = np.array(told[-1].deviation_mm) - (0.4, -0.3, 0.5)
        assert np.abs(off / told[-1].sigma_mm).max() < 4.0
        assert np.linalg.norm(off) < 1.5, "the depth of the last views was seen some time ago"
        assert told[-1].seen == ("A", "B", "C")


def test_a_target_that_moved_beyond_the_limit_asks_for_a_hold_within_few_views() -> None:
    told = follow([(0.0, 0.0, 0.0)] * 4 + [(0.0, 5.0, -2.0)] * 4)
    assert not any(verdict.hold for verdict in told[:4])
    assert any(verdict.hold for verdict in told[4:6])
    assert "hold the beam" in told[-1].sentence


def test_a_shift_along_the_ray_of_one_view_shows_when_the_source_has_turned() -> None:
    """At -40 degrees the first view; a shift along its ray is not seen by it and is by those that follow."""
    ray = np.array([np.sin(np.radians(-40.0)), 0.0, np.cos(np.radians(-40.0))])
    shift = tuple(float(v) for v in 5.0 * ray)
    told = follow([shift] * 6, turn_deg=20.0)  # type: ignore[list-item]
    assert told[0].distance_mm < 1.5
    assert told[-1].hold


def test_markers_that_are_not_recognised_and_views_that_do_not_come_ask_for_a_hold() -> None:
    rng = np.random.default_rng(3)
    monitor = IntrafractionMonitor.start(SEEDS, 0)
    only_one = spots(0.0, (0.0, 0.0, 0.0), rng, false_spots=0)[:1]
    monitor, first = monitor.viewed(geometry(0.0), only_one, STEP_US)
    assert not first.hold
    assert first.seen == ()
    monitor, second = monitor.viewed(geometry(10.0), [], 2 * STEP_US)
    assert second.hold
    assert "not recognised" in second.sentence
    quiet = IntrafractionMonitor.start(SEEDS, 0, MonitorLimits(view_age_us=10_000_000))
    assert not quiet.verdict(9_000_000).hold
    assert "no view for 11 s" in quiet.verdict(11_000_000).sentence


def test_one_marker_and_views_out_of_order_are_refused() -> None:
    with pytest.raises(InputRefused, match="2 are needed"):
        IntrafractionMonitor.start(SEEDS[:1], 0)
    with pytest.raises(InputRefused, match="in their order"):
        IntrafractionMonitor.start(SEEDS, 10).viewed(geometry(0.0), [], 5)
