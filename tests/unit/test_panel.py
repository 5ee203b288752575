"""Counts become line integrals: offset, gain, dead pixels; a calibration that cannot be right is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

from igrt_hw.guidance.panel import PanelCalibration, calibrate, correct, field_region
from igrt_hw.guidance.refusal import InputRefused

ROWS, COLS = 96, 128
FLOOD_MAS, MAS = 2.0, 1.6
Floats = NDArray[np.float64]


class Panel:
    """A panel as hardware is: uneven gain and offset, read noise, quantum noise, dead, hot and flickering pixels."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        col = np.arange(COLS) / COLS
        self.gain = self.rng.normal(1.0, 0.03, (ROWS, COLS)) * (0.9 + 0.2 * col)
        self.offset = 1200.0 + self.rng.normal(0.0, 15.0, (ROWS, COLS)) + 80.0 * col
        self.dead = [(10, 20), (40, 64), (41, 64), (70, 3), (0, 0)]
        self.hot = [(30, 100)]
        self.flicker = [(60, 60)]
        self.counts_per_mas = 12000.0

    def frame(
        self, transmission: Floats | float, mas: float, *, quanta_per_count: float = 0.5
    ) -> NDArray[np.uint16]:
        signal = self.counts_per_mas * mas * transmission * np.ones((ROWS, COLS))
        noisy = self.rng.poisson(signal * quanta_per_count) / quanta_per_count * self.gain
        counts = self.offset + noisy + self.rng.normal(0.0, 4.0, (ROWS, COLS))
        for place in self.dead:
            counts[place] = self.offset[place]
        for place in self.hot:
            counts[place] = 60000.0
        for place in self.flicker:
            counts[place] += self.rng.normal(0.0, 900.0)
        return np.clip(np.round(counts), 0, 65535).astype(np.uint16)

    def mean_of(self, count: int, transmission: float, mas: float) -> NDArray[np.float32]:
        return np.mean([self.frame(transmission, mas) for _ in range(count)], axis=0).astype(
            np.float32
        )

    def calibration(self) -> PanelCalibration:
        return calibrate(
            self.mean_of(16, 1.0, FLOOD_MAS),
            self.mean_of(16, 0.0, 0.0),
            FLOOD_MAS,
            [self.frame(0.0, 0.0) for _ in range(8)],
        )


def wedge() -> Floats:
    """Line integrals from 0.2 to 3.2 with a bright disc."""
    row, col = np.indices((ROWS, COLS))
    line = 0.2 + 3.0 * col / COLS
    line[(row - 50) ** 2 + (col - 80) ** 2 < 150] += 0.7
    return line


def test_counts_become_line_integrals_whatever_gain_and_offset_were() -> None:
    panel = Panel()
    image = correct(panel.frame(np.exp(-wedge()), MAS), MAS, panel.calibration())
    error = image.line_integrals - wedge()
    assert image.usable.all()
    assert abs(float(np.median(error))) < 0.003
    # Quantum noise alone: at the thick end 12000 * 1.6 * e^-3.2 / 2 = 390 quanta, 5 %.
    assert float(np.std(error[:, :30])) < 0.02
    assert float(np.std(error[:, -20:])) < 0.09


def test_dead_hot_and_flickering_pixels_are_found_by_the_calibration() -> None:
    panel = Panel()
    calibration = panel.calibration()
    for place in panel.dead + panel.hot + panel.flicker:
        assert calibration.defects[place], place
    assert calibration.defects.sum() < 20


def test_defective_pixels_are_filled_from_their_neighbours() -> None:
    panel = Panel()
    image = correct(panel.frame(np.exp(-wedge()), MAS), MAS, panel.calibration())
    for row, col in panel.dead:
        assert image.filled[row, col]
        assert image.line_integrals[row, col] == pytest.approx(wedge()[row, col], abs=0.25)


def test_pixels_that_failed_since_the_calibration_are_found_in_the_exposure() -> None:
    panel = Panel()
    calibration = panel.calibration()
    raw = panel.frame(np.exp(-wedge()), MAS)
    raw[55, 33], raw[20, 90] = 1200, 65535
    image = correct(raw, MAS, calibration)
    for place in ((55, 33), (20, 90)):
        assert image.new_defects[place]
        assert image.line_integrals[place] == pytest.approx(wedge()[place], abs=0.25)
    assert any("(55, 33)" in note for note in image.notes)


def test_sound_pixels_are_not_called_defects() -> None:
    panel = Panel(5)
    image = correct(panel.frame(np.exp(-wedge()), MAS), MAS, panel.calibration())
    assert image.new_defects.sum() == 0


def test_skin_lines_and_blade_edges_are_not_called_defects() -> None:
    panel = Panel(6)
    row, col = np.indices((ROWS, COLS))
    transmission = np.where((row - 48) ** 2 + (col - 60) ** 2 < 900, 0.05, 1.0)
    transmission[:8] = transmission[:, :12] = transmission[:, -9:] = 0.0005
    image = correct(panel.frame(transmission, MAS), MAS, panel.calibration())
    assert image.new_defects.sum() == 0


def test_saturated_pixels_are_marked_and_hold_no_number() -> None:
    panel = Panel()
    raw = panel.frame(np.exp(-wedge()), MAS)
    raw[:20] = 65535
    image = correct(raw, MAS, panel.calibration())
    assert not image.usable[:19].any()
    assert np.isnan(image.line_integrals[:19]).all()
    assert image.saturated_share > 0.15


def test_pixels_without_signal_are_marked_and_not_given_a_large_number() -> None:
    panel = Panel()
    transmission = np.exp(-wedge())
    transmission[:, 64:] = 0.0
    image = correct(panel.frame(transmission, MAS), MAS, panel.calibration())
    assert image.starved_share > 0.2
    assert np.nanmax(image.line_integrals) <= 9.01


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ("dark flood", "was the beam on"),
        ("saturated flood", "saturated"),
        ("other binning", "one size"),
        ("no dark", "no dark frame"),
        ("drifted", "drifted"),
        ("nan", "not numbers"),
        ("no exposure", "positive"),
        ("block in the beam", "in the beam"),
    ],
)
def test_a_bad_calibration_is_refused_with_the_reason(spoil: str, word: str) -> None:
    panel = Panel()
    flood, offset = panel.mean_of(8, 1.0, FLOOD_MAS), panel.mean_of(8, 0.0, 0.0)
    darks, mas = [panel.frame(0.0, 0.0) for _ in range(4)], FLOOD_MAS
    if spoil == "dark flood":
        flood = offset + 20
    elif spoil == "saturated flood":
        flood = np.full_like(flood, 65535)
    elif spoil == "other binning":
        offset = offset[::2, ::2]
    elif spoil == "no dark":
        darks = []
    elif spoil == "drifted":
        darks = [dark + np.uint16(2000) for dark in darks]
    elif spoil == "nan":
        flood[3, 3] = np.nan
    elif spoil == "no exposure":
        mas = 0.0
    elif spoil == "block in the beam":
        flood[:, ::16] = offset[:, ::16]
    with pytest.raises(InputRefused, match=word):
        calibrate(flood, offset, mas, darks)


def test_frames_that_cannot_be_right_are_refused_with_the_reason() -> None:
    panel = Panel()
    calibration = panel.calibration()
    with pytest.raises(InputRefused, match="no radiation reached"):
        correct(panel.frame(0.0, 0.0), MAS, calibration)
    with pytest.raises(InputRefused, match="saturated"):
        correct(np.full((ROWS, COLS), 65535, np.uint16), MAS, calibration)
    with pytest.raises(InputRefused, match="calibrate this binning"):
        correct(panel.frame(0.5, MAS)[::2, ::2], MAS, calibration)
    with pytest.raises(InputRefused, match="brighter than the open field"):
        correct(panel.frame(0.9, 3.0), 1.0, calibration)
    with pytest.raises(InputRefused, match="positive"):
        correct(panel.frame(0.5, MAS), 0.0, calibration)


def test_the_field_region_is_where_the_blades_leave_the_panel_open() -> None:
    """A 60 x 40 mm field at the isocentre is 90 x 60 mm on the panel; 3 mm of margin are taken from each side."""
    region = field_region(
        (ROWS, COLS), 1.0, sad_mm=1000.0, sid_mm=1500.0, field_mm=(-30.0, 30.0, -20.0, 20.0)
    )
    rows, cols = np.nonzero(region)
    assert cols.max() - cols.min() + 1 == pytest.approx((60 - 6) * 1.5, abs=1)
    assert rows.max() - rows.min() + 1 == pytest.approx((40 - 6) * 1.5, abs=1)


def test_the_y_blades_open_towards_the_gantry_at_the_top_of_the_image() -> None:
    region = field_region(
        (ROWS, COLS), 1.0, sad_mm=1000.0, sid_mm=1500.0, field_mm=(-30.0, 30.0, 5.0, 25.0)
    )
    assert np.nonzero(region)[0].max() < ROWS / 2
