"""Ball bearings at known places land on the pixels that `docs/conventions.md` says, at every angle, offset
and tilt.

The expected pixel is worked out here from the text of the conventions, in its own words and its own code:
this is the test that catches a mirrored axis.
"""

import math

import numpy as np
import pytest

from igrt_hw._core import ImagingInputError, PanelGeometry

SAD, SID, ROWS, COLS, PITCH = 1000.0, 1500.0, 384, 512, 0.776
BEARINGS = np.array(
    [[0, 0, 0], [50, 0, 0], [0, 60, 0], [0, 0, 70], [-40, 30, -20], [25, -80, 45]], dtype=np.float64
)


def turned_about_y(angle_deg: float, point: np.ndarray) -> np.ndarray:
    """Ry(angle): +Z goes towards +X, which is clockwise for someone facing the gantry."""
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    x, y, z = point
    return np.array([c * x + s * z, y, -s * x + c * z])


def expected_pixel(
    point: np.ndarray, angle: float, lateral: float, longitudinal: float
) -> tuple[float, float]:
    """Column and row by similar triangles in the gantry frame, as in the conventions."""
    xg, yg, zg = turned_about_y(-angle, point)
    magnification = SID / (SAD - zg)
    x_panel, y_panel = xg * magnification, yg * magnification
    col = (x_panel - lateral) / PITCH + (COLS - 1) / 2
    row = (ROWS - 1) / 2 - (y_panel - longitudinal) / PITCH
    return col, row


def panel(angle: float = 0.0, **more: float) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=angle,
        sad_mm=SAD,
        sid_mm=SID,
        rows=ROWS,
        cols=COLS,
        pixel_pitch_mm=PITCH,
        **more,
    )


@pytest.mark.parametrize("angle", range(-180, 181, 15))
@pytest.mark.parametrize(("lateral", "longitudinal"), [(0.0, 0.0), (-115.0, 0.0), (37.5, -12.25)])
def test_a_ball_bearing_lands_where_the_conventions_say(
    angle: int, lateral: float, longitudinal: float
) -> None:
    geometry = panel(angle, panel_lateral_mm=lateral, panel_longitudinal_mm=longitudinal)
    found = geometry.pixels_of(BEARINGS)
    expected = [expected_pixel(b, angle, lateral, longitudinal) for b in BEARINGS]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_source_stands_on_the_left_of_the_supine_patient_at_90_degrees() -> None:
    assert panel(0).source_mm == pytest.approx((0.0, 0.0, SAD))
    assert panel(90).source_mm == pytest.approx((SAD, 0.0, 0.0), abs=1e-9)
    assert panel(-90).source_mm == pytest.approx((-SAD, 0.0, 0.0), abs=1e-9)


def test_row_zero_is_at_the_gantry_side_and_columns_run_to_the_right_at_zero_degrees() -> None:
    (right, _), (_, towards_gantry) = panel(0).pixels_of([[10, 0, 0], [0, 10, 0]])
    assert right > (COLS - 1) / 2
    assert towards_gantry < (ROWS - 1) / 2


def test_a_tilted_panel_is_hit_where_the_ray_meets_its_plane() -> None:
    """Ray and plane are intersected here with the panel's own axes; pixels come back through the pixel pitch."""
    rotation, pitch, roll = (math.radians(v) for v in (3.0, -5.0, 8.0))
    rz = np.array(
        [
            [math.cos(rotation), -math.sin(rotation), 0],
            [math.sin(rotation), math.cos(rotation), 0],
            [0, 0, 1],
        ]
    )
    rx = np.array(
        [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    )
    ry = np.array(
        [[math.cos(roll), 0, math.sin(roll)], [0, 1, 0], [-math.sin(roll), 0, math.cos(roll)]]
    )
    axes = rz @ rx @ ry
    centre, source = np.array([12.0, -7.0, SAD - SID]), np.array([0.4, -0.3, SAD])
    geometry = panel(
        30.0,
        panel_lateral_mm=12.0,
        panel_longitudinal_mm=-7.0,
        panel_rotation_deg=3.0,
        panel_pitch_deg=-5.0,
        panel_roll_deg=8.0,
        source_lateral_mm=0.4,
        source_longitudinal_mm=-0.3,
    )
    for bearing, (col, row) in zip(BEARINGS, geometry.pixels_of(BEARINGS), strict=True):
        ray = turned_about_y(-30.0, bearing) - source
        t = (centre - source) @ axes[:, 2] / (ray @ axes[:, 2])
        x, y, z = axes.T @ (source + t * ray - centre)
        assert z == pytest.approx(0.0, abs=1e-9)
        assert col == pytest.approx(x / PITCH + (COLS - 1) / 2, abs=1e-8)
        assert row == pytest.approx((ROWS - 1) / 2 - y / PITCH, abs=1e-8)


def test_the_projection_matrix_says_the_same_as_the_bearings() -> None:
    geometry = panel(72.0, panel_lateral_mm=5.0, panel_pitch_deg=2.0)
    homogeneous = np.c_[BEARINGS, np.ones(len(BEARINGS))] @ geometry.matrix().T
    np.testing.assert_allclose(
        homogeneous[:, :2] / homogeneous[:, 2:], geometry.pixels_of(BEARINGS), atol=1e-9
    )


def test_a_point_behind_the_source_has_no_pixel() -> None:
    assert np.isnan(panel(0).pixels_of([[0.0, 0.0, SAD + 1.0]])).all()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sid_mm": 900.0}, "beyond the isocentre"),
        ({"pixel_pitch_mm": 0.0}, "pixel pitch"),
        ({"source_angle_deg": math.nan}, "finite"),
        ({"rows": 0}, "0 rows"),
        ({"rows": 100_000}, "must be 1 to"),
        ({"panel_pitch_deg": 85.0}, "edge on"),
    ],
)
def test_a_geometry_that_cannot_exist_is_refused(change: dict[str, float], word: str) -> None:
    values: dict[str, float] = {
        "source_angle_deg": 0.0, "sad_mm": SAD, "sid_mm": SID, "rows": ROWS, "cols": COLS, "pixel_pitch_mm": PITCH,
    }  # fmt: skip
    with pytest.raises(ImagingInputError, match=word):
        PanelGeometry(**(values | change))  # type: ignore[arg-type]
