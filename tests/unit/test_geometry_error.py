"""What an error of the calibrated geometry feigns: by hand where a hand can, by brute force elsewhere."""

import numpy as np
import pytest

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.geometry_error import REACH_MM, feigned_motion
from igrt_hw.guidance.imager_geometry import POSE_NUMBERS, ImagerPose, PanelFormat
from igrt_hw.guidance.refusal import InputRefused

PANEL = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
ALL = (True,) * 6


def geometry(angle: float) -> PanelGeometry:
    return ImagerPose(source_angle_deg=angle, sad_mm=1000.0, sid_mm=1500.0).geometry(PANEL)


def only(name: str, sigma: float) -> np.ndarray:
    out = np.zeros((9, 9))
    n = POSE_NUMBERS.index(name)
    out[n, n] = sigma**2
    return out


def test_a_panel_off_by_a_millimetre_feigns_a_shift_by_the_magnification() -> None:
    """One view that may shift along the couch: 0.3 mm on the panel is 0.2 mm at the isocentre."""
    free = (False, True, False, False, False, False)
    found = feigned_motion([(geometry(0.0), only("panel_longitudinal_mm", 0.3))], free)
    assert np.sqrt(found[1, 1]) == pytest.approx(0.2, rel=0.02)
    assert np.count_nonzero(found) == 1


def test_two_views_average_what_both_see_and_not_what_one_sees() -> None:
    free = (True, True, True, False, False, False)
    along = [(geometry(a), only("panel_longitudinal_mm", 0.3)) for a in (0.0, 90.0)]
    assert np.sqrt(feigned_motion(along, free)[1, 1]) == pytest.approx(0.2 / np.sqrt(2), rel=0.02)
    across = [(geometry(a), only("panel_lateral_mm", 0.3)) for a in (0.0, 90.0)]
    spread = feigned_motion(across, free)
    assert np.sqrt(spread[0, 0]) == pytest.approx(0.2, rel=0.02)
    assert np.sqrt(spread[2, 2]) == pytest.approx(0.2, rel=0.02)


def test_it_agrees_with_solving_the_pose_for_geometries_drawn_from_the_covariance() -> None:
    rng = np.random.default_rng(5)
    root = rng.standard_normal((9, 9)) * np.array([0.3, 0.05, 0.05, 0.4, 0.1, 0.1, 0.02, 0.1, 0.1])
    covariance = root.T @ root / 9.0
    angles = (0.0, 90.0)
    stated = feigned_motion([(geometry(a), covariance) for a in angles], ALL)
    side = np.linspace(-REACH_MM, REACH_MM, 5)
    points = np.array([[x, y, z] for x in side for y in side for z in side])
    found = []
    for _ in range(400):
        rows, missed = [], []
        for angle in angles:
            known = geometry(angle)
            numbers = ImagerPose.of(known).numbers() + rng.multivariate_normal(
                np.zeros(9), covariance
            )
            true = ImagerPose.from_numbers(angle, numbers).geometry(PANEL)
            missed.append((true.pixels_of(points) - known.pixels_of(points)).ravel())
            rows.append(jacobian(known, points))
        found.append(np.linalg.lstsq(np.vstack(rows), np.concatenate(missed), rcond=None)[0])
    seen = np.cov(np.array(found).T)
    ratio = np.diag(seen) / np.diag(stated)
    assert np.all((ratio > 0.7) & (ratio < 1.4)), ratio


def jacobian(known: PanelGeometry, points: np.ndarray) -> np.ndarray:
    columns = []
    for axis in range(6):
        unit = np.eye(3)[axis % 3]
        shift = np.tile(unit, (len(points), 1)) if axis < 3 else np.cross(unit, points)
        step = 1e-3
        columns.append((known.pixels_of(points + step * shift) - known.pixels_of(points)) / step)
    return np.stack(columns, axis=2).reshape(-1, 6)


def test_views_that_tell_nothing_add_nothing_and_what_is_no_covariance_is_refused() -> None:
    assert not feigned_motion([(geometry(0.0), None), (geometry(90.0), None)], ALL).any()
    with pytest.raises(InputRefused, match=r"\(9, 9\)"):
        feigned_motion([(geometry(0.0), np.eye(6))], ALL)
