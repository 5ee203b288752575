"""Registration by hand: the DRR stands where the nudge says, pixels stay in place when they are made coarser."""

from __future__ import annotations

import numpy as np
import pytest

from igrt_hw._core import PanelGeometry, Pose
from igrt_hw.geometry import Correction, Frame
from igrt_hw.server import nudging

POINTS = np.array([[0.0, 0.0, 0.0], [40.0, -30.0, 25.0], [-60.0, 70.0, -45.0]])


def panel(rows: int, cols: int, **others: float) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=30.0, sad_mm=1000.0, sid_mm=1500.0, rows=rows, cols=cols, pixel_pitch_mm=0.6, **others
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "cols", "side"), [(512, 512, 256), (511, 770, 256), (1000, 998, 300)]
)
@pytest.mark.parametrize("turn", [0.0, 4.0])
def test_a_coarser_panel_sees_every_point_in_the_same_place(
    rows: int, cols: int, side: int, turn: float
) -> None:
    fine = panel(
        rows, cols, panel_lateral_mm=3.0, panel_longitudinal_mm=-2.0, panel_rotation_deg=turn
    )
    coarse, step = nudging.coarser(fine, side)
    assert step > 1
    assert max(coarse.shape) <= side
    # The middle of coarse pixel k is that of fine pixels k * step ... k * step + step - 1.
    there = (fine.pixels_of(POINTS) - (step - 1) / 2.0) / step
    np.testing.assert_allclose(coarse.pixels_of(POINTS), there, atol=1e-6)


def test_the_correction_brings_the_nudged_patient_onto_the_plan() -> None:
    planned = Pose.from_parameters((60.0, 180.0, 40.0, 3.0, -2.0, 1.0), Frame.FIXED, Frame.PATIENT)
    correction = Correction(4.0, -3.0, 5.0, 0.8, -0.5, 0.6)
    before = nudging.pose_before(correction, planned)
    after = nudging.correction_to_pose(correction) @ before
    np.testing.assert_allclose(after.matrix(), planned.matrix(), atol=1e-9)


def test_likeness_is_one_for_the_same_picture_and_less_for_a_shifted_one() -> None:
    rng = np.random.default_rng(3)
    image = np.cumsum(np.cumsum(rng.normal(size=(64, 64)), axis=0), axis=1).astype(np.float32)
    everywhere = np.ones(image.shape, dtype=bool)
    same = nudging.likeness(image, 3.0 * image + 2.0, everywhere)
    shifted = nudging.likeness(image, np.roll(image, 8, axis=1), everywhere)
    assert same == pytest.approx(1.0)
    assert shifted is not None
    assert shifted < 0.99


def test_likeness_of_nothing_is_none_and_not_a_number() -> None:
    image = np.ones((64, 64), dtype=np.float32)
    assert nudging.likeness(image, image, np.ones(image.shape, dtype=bool)) is None
    assert nudging.likeness(image, image, np.zeros(image.shape, dtype=bool)) is None
