"""Dark frames serve what they were taken for, and one that was not taken as asked is refused with the reason."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from igrt_hw.devices.frames import ExposureKind, RawFrame, View
from igrt_hw.server.errors import JobError
from igrt_hw.server.panel import DARK_US_MAX, PanelKeeper

SHAPE = (64, 80)
VIEW = View(0.0, 80.0, 200.0, 25.0, binning=2)


def frame(level: float, kind: ExposureKind, ms: float, seed: int) -> RawFrame:
    counts = np.random.default_rng(seed).normal(level, 4.0, SHAPE).astype(np.uint16)
    return RawFrame(
        frame=seed,
        kind=kind,
        binning=2,
        bits=16,
        counts=counts,
        sha256="",
        begin_device_us=1,
        end_device_us=2,
        begin_us=1,
        end_us=2,
        fetched_us=3,
        kvp=80.0,
        ma=200.0,
        ms=ms,
        mas=5.0,
        source_angle_deg=0.0,
        source_arm_mm=1000.0,
        panel_arm_mm=500.0,
        dose_area_uGycm2=0.0,
        sad_mm=1000.0,
        sid_mm=1500.0,
        pitch_mm=0.776,
        panel_mode="radiographic",
        dropped=0,
    )


class Panel:
    """As much of an imager as the keeper asks. `spoil` changes a dark frame; the time is that of the last technique."""

    def __init__(self, spoil: Callable[[RawFrame], RawFrame] = lambda dark: dark) -> None:
        self.spoil, self.ms, self.darks = spoil, 25.0, 0

    def stored_flood(self) -> tuple[RawFrame, RawFrame]:
        return frame(30_000, ExposureKind.X_RAY, 25.0, 1), frame(2000, ExposureKind.DARK, 25.0, 2)

    def dark_frames(self, count: int, cancel: threading.Event | None = None) -> list[RawFrame]:
        self.darks += 1
        return [
            self.spoil(frame(2000, ExposureKind.DARK, self.ms, 10 * self.darks + n))
            for n in range(count)
        ]


def keeper(panel: Panel, now: list[int]) -> PanelKeeper:
    return PanelKeeper(panel, None, clock_us=lambda: now[0])  # type: ignore[arg-type]


def test_dark_frames_of_a_longer_exposure_are_others_and_neither_is_taken_twice() -> None:
    panel, now = Panel(), [0]
    kept, cancel = keeper(panel, now), threading.Event()
    long = replace(VIEW, ms=250.0, ma=20.0)
    kept.calibration(VIEW, cancel)
    kept.calibration(replace(VIEW, ms=40.0), cancel)
    assert panel.darks == 1, "25 and 40 ms are of one class"
    assert kept.fresh(long) is None
    panel.ms = 250.0
    kept.calibration(long, cancel)
    kept.calibration(VIEW, cancel)
    assert panel.darks == 2
    now[0] = DARK_US_MAX + 1
    panel.ms = 25.0
    assert kept.fresh(VIEW) is None
    kept.calibration(VIEW, cancel)
    assert panel.darks == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"panel_mode": "fluoroscopic"}, "read in panel mode fluoroscopic, radiographic was asked"),
        ({"binning": 4}, "binned 4 x 4, 2 x 2 was asked"),
        ({"kind": ExposureKind.X_RAY}, "exposed to X-rays"),
        ({"ms": 250.0}, "of 250 ms, up to 100 ms was asked"),
        ({"counts": np.zeros((32, 40), np.uint16)}, "pixels, the flood"),
    ],
)
def test_a_dark_frame_that_was_not_taken_as_asked_is_refused(
    change: dict[str, object], sentence: str
) -> None:
    panel = Panel(lambda dark: replace(dark, **change))  # type: ignore[arg-type]
    with pytest.raises(JobError, match=sentence):
        keeper(panel, [0]).calibration(VIEW, threading.Event())


def test_a_panel_whose_offset_has_drifted_since_the_flood_is_refused() -> None:
    drifted = Panel(lambda dark: replace(dark, counts=dark.counts + np.uint16(2000)))
    with pytest.raises(ValueError, match="drifted"):
        keeper(drifted, [0]).calibration(VIEW, threading.Event())
