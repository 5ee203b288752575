"""A calibration of another panel, technique or day serves no image; pixels that wander under radiation are found."""

import numpy as np
import pytest

from igrt_hw.guidance.panel import (
    CalibrationOf,
    PanelCalibration,
    calibrate,
    check_fits,
    unstable_pixels,
)
from igrt_hw.guidance.refusal import InputRefused

SHAPE = (64, 80)
HELD = CalibrationOf(kvp=80.0, beam_filter="none", binning=2, panel="SN 17")
MINUTE_US = 60_000_000


def made(of: CalibrationOf | None = HELD, taken_us: int | None = 5 * MINUTE_US) -> PanelCalibration:
    rng = np.random.default_rng(1)
    offset = rng.normal(1000.0, 5.0, SHAPE).astype(np.float32)
    flood = (offset + rng.normal(20_000.0, 60.0, SHAPE)).astype(np.float32)
    darks = [(offset + rng.normal(0.0, 4.0, SHAPE)).astype(np.float32) for _ in range(2)]
    return calibrate(flood, offset, 2.5, darks, of=of, taken_us=taken_us)


def test_a_calibration_serves_its_own_technique_while_it_is_fresh() -> None:
    check_fits(made(), HELD, 30 * MINUTE_US, 30 * MINUTE_US)


@pytest.mark.parametrize(
    ("wanted", "now_min", "word"),
    [
        ({"kvp": 100.0}, 6, "taken at 80 kVp, the image is of 100 kVp"),
        ({"beam_filter": "titanium"}, 6, "filter none, the image with titanium"),
        ({"binning": 1}, 6, "binned 2 x 2"),
        ({"panel": "SN 18"}, 6, "of panel SN 17, the image of panel SN 18"),
        ({}, 40, "35 min old"),
        ({}, 2, "clocks disagree"),
    ],
)
def test_another_technique_panel_or_day_is_refused(
    wanted: dict[str, object], now_min: int, word: str
) -> None:
    asked = CalibrationOf(
        **({"kvp": 80.0, "beam_filter": "none", "binning": 2, "panel": "SN 17"} | wanted)  # type: ignore[arg-type]
    )
    with pytest.raises(InputRefused, match=word):
        check_fits(made(), asked, now_min * MINUTE_US, 30 * MINUTE_US)


def test_a_calibration_that_does_not_say_what_it_is_of_is_refused() -> None:
    for calibration in (made(of=None), made(taken_us=None)):
        with pytest.raises(InputRefused, match="does not say"):
            check_fits(calibration, HELD, 6 * MINUTE_US, 30 * MINUTE_US)


def floods(count: int, seed: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    gain = rng.normal(1.0, 0.03, SHAPE)
    out = []
    for _ in range(count):
        output = rng.normal(1.0, 0.02)  # the tube's own scatter is no instability
        frame = 1000.0 + 20_000.0 * output * gain + rng.normal(0.0, 60.0, SHAPE)
        for place in ((10, 10), (33, 70)):
            frame[place] *= 1.0 + rng.normal(0.0, 0.03)
        out.append(frame.astype(np.float32))
    return out


def test_pixels_that_wander_from_flood_to_flood_are_found_and_no_others() -> None:
    found = unstable_pixels(floods(16), np.full(SHAPE, 1000.0, np.float32))
    assert {tuple(p) for p in np.argwhere(found)} == {(10, 10), (33, 70)}


def test_the_unstable_ones_become_defects_of_the_calibration() -> None:
    offset = np.full(SHAPE, 1000.0, np.float32)
    series = floods(16)
    unstable = unstable_pixels(series, offset)
    mean = np.mean(series, axis=0).astype(np.float32)
    rng = np.random.default_rng(4)
    darks = [(offset + rng.normal(0.0, 4.0, SHAPE)).astype(np.float32) for _ in range(2)]
    calibration = calibrate(mean, offset, 2.5, darks, known_defects=unstable)
    assert calibration.defects[10, 10]
    assert calibration.defects[33, 70]


def test_series_that_tell_nothing_are_refused() -> None:
    offset = np.full(SHAPE, 1000.0, np.float32)
    with pytest.raises(InputRefused, match="7 floods"):
        unstable_pixels(floods(7), offset)
    with pytest.raises(InputRefused, match="one size"):
        unstable_pixels(floods(8), offset[:-1])
    bright = [np.full(SHAPE, 65535.0, np.float32)] * 8
    with pytest.raises(InputRefused, match="saturated"):
        unstable_pixels(bright, offset)
