"""The simulated patient breathes: by the clock, as one body, with the true pose in the truth."""

import numpy as np
import pytest

from igrt_firmware_sim import SimulatorError
from igrt_firmware_sim.bench import VirtualRoom

BREATH = {"longitudinal_mm": 8.0, "vertical_mm": 3.0, "period_s": 4.0}


def course(room: VirtualRoom, seconds: float, step_ms: int = 100) -> np.ndarray:
    """True residual (n, 3) over a time, mm."""
    told = []
    for _ in range(round(seconds * 1e3 / step_ms)):
        room.advance_ms(step_ms)
        residual = room.truth()["residual"]
        told.append([residual[f"{name}_mm"] for name in ("lateral", "longitudinal", "vertical")])
    return np.array(told)


def quiet(seed: int = 3) -> VirtualRoom:
    return VirtualRoom(seed=seed, patient="phantom:cube", setup_error_mm=0.0, setup_error_deg=0.0)


def test_the_truth_follows_the_breath_and_comes_back_when_it_is_held() -> None:
    room = quiet()
    still = course(room, 1.0)
    assert np.abs(still).max() < 0.2, "the couch sags and nothing else"
    room.perform("patient.breathe", **BREATH)
    moved = course(room, 8.0) - still.mean(axis=0)
    assert np.ptp(moved[:, 1]) == pytest.approx(8.0, abs=0.15)
    assert np.ptp(moved[:, 2]) == pytest.approx(3.0, abs=0.15)
    assert np.ptp(moved[:, 0]) < 0.1
    room.perform("patient.breathe", on=False)
    assert np.abs(course(room, 1.0) - still.mean(axis=0)).max() < 0.1


def test_drift_baseline_and_irregular_depth_are_seeded_and_repeat() -> None:
    wild = {
        **BREATH,
        "irregularity": 0.5,
        "drift_longitudinal_mm_per_min": 6.0,
        "baseline_vertical_mm": -2.0,
    }
    runs = []
    for seed in (3, 3, 4):
        room = quiet(seed)
        room.perform("patient.breathe", **wild)
        runs.append(course(room, 20.0))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 0.5
    # Exhalation at 0 and at 20 s: two millimetres of drift, and the baseline in the sense of a correction.
    ends = runs[0][-1] - runs[0][0]
    assert abs(ends[1]) == pytest.approx(2.0, abs=0.2)
    assert runs[0][-1][2] == pytest.approx(2.0, abs=0.25)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"period_s": 0.0}, "a breath of 0 s"),
        ({"longitudinal_mm": 500.0}, "within 100 mm"),
        ({"irregularity": 2.0}, "irregularity"),
        ({"depth": 3.0}, "no fields"),
    ],
)
def test_what_nobody_breathes_is_refused(fields: dict[str, float], word: str) -> None:
    with pytest.raises(SimulatorError, match=word):
        quiet().perform("patient.breathe", **fields)
