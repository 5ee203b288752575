"""What holds for every panel geometry, not only for those somebody thought of."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from igrt_hw._core import PanelGeometry

ANGLES = st.floats(-180.0, 180.0)
OFFSETS = st.floats(-150.0, 150.0)
TILTS = st.floats(-10.0, 10.0)
POINTS = st.tuples(*[st.floats(-200.0, 200.0)] * 3)


def panel(
    angle: float, lateral: float, longitudinal: float, tilt: float, turn: float
) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=angle,
        sad_mm=1000.0,
        sid_mm=1500.0,
        rows=384,
        cols=512,
        pixel_pitch_mm=0.776,
        panel_lateral_mm=lateral,
        panel_longitudinal_mm=longitudinal,
        panel_pitch_deg=tilt,
        panel_rotation_deg=turn,
    )


@given(ANGLES, OFFSETS, OFFSETS, TILTS, TILTS, POINTS, st.floats(0.2, 3.0))
def test_points_on_one_ray_fall_on_one_pixel(
    angle: float,
    lateral: float,
    longitudinal: float,
    tilt: float,
    turn: float,
    point: tuple[float, float, float],
    stretch: float,
) -> None:
    geometry = panel(angle, lateral, longitudinal, tilt, turn)
    source = np.array(geometry.source_mm)
    along = source + stretch * (np.array(point) - source)
    a, b = geometry.pixels_of([point, along])
    np.testing.assert_allclose(a, b, atol=1e-6)


@given(ANGLES, ANGLES, OFFSETS, OFFSETS, TILTS, TILTS, POINTS)
def test_turning_gantry_and_world_together_changes_no_pixel(
    angle: float,
    more: float,
    lateral: float,
    longitudinal: float,
    tilt: float,
    turn: float,
    point: tuple[float, float, float],
) -> None:
    c, s = math.cos(math.radians(more)), math.sin(math.radians(more))
    x, y, z = point
    turned = (c * x + s * z, y, -s * x + c * z)
    before = panel(angle, lateral, longitudinal, tilt, turn).pixels_of([point])
    after = panel(angle + more, lateral, longitudinal, tilt, turn).pixels_of([turned])
    np.testing.assert_allclose(before, after, atol=1e-6)


@given(ANGLES, OFFSETS, OFFSETS, POINTS)
def test_a_shifted_panel_sees_the_same_picture_shifted(
    angle: float, lateral: float, longitudinal: float, point: tuple[float, float, float]
) -> None:
    (col, row) = panel(angle, 0.0, 0.0, 0.0, 0.0).pixels_of([point])[0]
    (col_shifted, row_shifted) = panel(angle, lateral, longitudinal, 0.0, 0.0).pixels_of([point])[0]
    assert math.isclose(col - col_shifted, lateral / 0.776, abs_tol=1e-6)
    assert math.isclose(row_shifted - row, longitudinal / 0.776, abs_tol=1e-6)
