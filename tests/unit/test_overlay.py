"""The pictures shown for approval: grey where X-ray and DRR agree, and honest about shapes and missing pixels."""

import numpy as np
import pytest

from igrt_hw.guidance.overlay import blend, checkerboard, difference, grey, matched, picture

ROW, COL = np.indices((64, 80))
IMAGE = (0.5 + 0.03 * COL + 1.5 * np.exp(-((ROW - 30) ** 2 + (COL - 40) ** 2) / 60)).astype(
    np.float32
)


def test_more_attenuation_is_brighter_and_missing_pixels_are_black() -> None:
    image = IMAGE.copy()
    image[5, 5] = np.nan
    picture_ = grey(image)
    assert picture_.dtype == np.uint8
    assert picture_[30, 40] > picture_[60, 2]
    assert picture_[5, 5] == 0


def test_agreement_is_grey_and_disagreement_has_colour() -> None:
    same = blend(IMAGE, IMAGE).astype(int)
    assert np.ptp(same, axis=-1).max() <= 2
    shifted = blend(IMAGE, np.roll(IMAGE, 6, axis=1)).astype(int)
    assert np.ptp(shifted, axis=-1).max() > 60


def test_a_drr_on_another_scale_is_matched_before_it_is_compared() -> None:
    other = (3.0 * IMAGE + 7.0).astype(np.float32)
    np.testing.assert_allclose(matched(IMAGE, other), IMAGE, atol=1e-4)
    assert np.abs(difference(IMAGE, other).astype(int) - 127).max() <= 1


def test_the_checkerboard_alternates_between_the_two() -> None:
    board = checkerboard(IMAGE, np.roll(IMAGE, 3, axis=1), squares=8)
    plain = grey(IMAGE)
    np.testing.assert_array_equal(board[:10, :10], plain[:10, :10])
    assert (board[:10, 10:20] != plain[:10, 10:20]).any()


def test_pictures_of_different_shapes_are_refused() -> None:
    for kind in ("blend", "checkerboard", "difference"):
        with pytest.raises(ValueError, match="shape"):
            picture(kind, IMAGE, IMAGE[:-1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 to 1"):
        blend(IMAGE, IMAGE, 1.5)
