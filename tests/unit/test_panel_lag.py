"""Charge that comes late is measured and taken off, whatever the times between the frames."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from igrt_hw.guidance.panel_lag import LagModel, LagState, measure_lag, without_lag
from igrt_hw.guidance.refusal import InputRefused

SHAPE = (24, 32)
# Told apart from the decay times that are fitted: the panel is not the model.
TRUE = ((0.0038, 0.3), (0.0011, 2.2), (0.0002, 60.0))
Floats = NDArray[np.float64]


def read(own: list[tuple[Floats, int]]) -> list[tuple[NDArray[np.float32], int]]:
    """Frames as a lagging panel reads them: each sums what all earlier ones release, straight from the definition."""
    out = []
    for n, (signal, at) in enumerate(own):
        late = np.zeros(SHAPE)
        for before, then in own[:n]:
            for share, tau in TRUE:
                late += share * before * math.exp(-(at - then) * 1e-6 / tau)
        out.append(((signal + late).astype(np.float32), at))
    return out


def frames(seed: int = 1, count: int = 12) -> list[tuple[Floats, int]]:
    rng = np.random.default_rng(seed)
    at, out = 0, []
    for _ in range(count):
        at += int(rng.uniform(60_000, 3_000_000))
        out.append((rng.uniform(0, 40_000) * rng.uniform(0.5, 1.0, SHAPE), at))
    return out


def test_every_frame_of_a_series_is_what_it_would_be_alone() -> None:
    own = frames()
    model = LagModel(tuple(b for b, _ in TRUE), tuple(t for _, t in TRUE))
    state: LagState | None = None
    for (wanted, _), (seen, at) in zip(own, read(own), strict=True):
        found, state = without_lag(seen, at, state, model)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=0.05)


def test_the_lag_of_a_panel_is_measured_from_the_frames_after_an_exposure() -> None:
    rng = np.random.default_rng(2)
    bright = np.full(SHAPE, 30_000.0)
    darks = [(np.zeros(SHAPE), 66_000 * n) for n in range(1, 60)]
    darks += [(np.zeros(SHAPE), 4_000_000 + 1_000_000 * n) for n in range(1, 30)]
    seen = read([(bright, 0), *darks])
    noisy = [(f + rng.normal(0, 6.0, SHAPE).astype(np.float32), at) for f, at in seen]
    model = measure_lag(noisy[0][0], 0, noisy[1:])
    for seconds in (0.07, 0.5, 2.0, 10.0):
        true = sum(b * math.exp(-seconds / t) for b, t in TRUE)
        assert model.share_after(seconds) == pytest.approx(true, abs=1e-4)


def test_an_image_after_a_bright_one_keeps_no_ghost_of_it() -> None:
    bright = np.zeros(SHAPE)
    bright[:, 16:] = 50_000.0
    own = [(bright, 0), (np.full(SHAPE, 2_000.0), 100_000)]
    seen = read(own)
    model = LagModel(tuple(b for b, _ in TRUE), tuple(t for _, t in TRUE))
    _, state = without_lag(seen[0][0], 0, None, model)
    found, _ = without_lag(seen[1][0], 100_000, state, model)
    step = float(np.mean(seen[1][0][:, 16:]) - np.mean(seen[1][0][:, :16]))
    left = float(np.mean(found[:, 16:]) - np.mean(found[:, :16]))
    assert step > 150.0
    assert abs(left) < 0.1


def test_frames_out_of_order_or_of_another_binning_are_refused() -> None:
    model = LagModel((0.004,), (0.3,))
    _, state = without_lag(np.zeros(SHAPE, np.float32), 100, None, model)
    with pytest.raises(InputRefused, match="not later"):
        without_lag(np.zeros(SHAPE, np.float32), 100, state, model)
    with pytest.raises(InputRefused, match="one binning"):
        without_lag(np.zeros((12, 16), np.float32), 200, state, model)


@pytest.mark.parametrize(
    ("bright", "after", "word"),
    [
        (100.0, [(0.0, n) for n in range(1, 40)], "to show lag"),
        (3e4, [(0.0, n) for n in range(1, 4)], "3 frames"),
        (3e4, [(0.0, 0.1 * n) for n in range(1, 9)], "do not tell decays"),
        (3e4, [(400.0 * n, n * 0.5) for n in range(1, 60)], "does not decay"),
    ],
)
def test_frames_that_do_not_show_lag_are_refused(
    bright: float, after: list[tuple[float, float]], word: str
) -> None:
    frames = [(np.full(SHAPE, v, np.float32), round(t * 1e6)) for v, t in after]
    with pytest.raises(InputRefused, match=word):
        measure_lag(np.full(SHAPE, bright, np.float32), 0, frames)


@pytest.mark.parametrize("model", [((0.5,), (1.0,)), ((0.01,), ()), ((0.01,), (-1.0,))])
def test_a_model_that_is_none_is_refused(model: tuple[tuple[float], tuple[float]]) -> None:
    with pytest.raises(ValueError, match=r"share|decay"):
        LagModel(*model)
