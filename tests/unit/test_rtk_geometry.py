"""RTK's geometry files say the same lines as the poses of this project, and RTK itself agrees where it is
installed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.rtk_geometry import (
    RtkProjection,
    pose_from_rtk,
    read_rtk_geometry,
    rtk_from_pose,
    write_rtk_geometry,
)

PANEL = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
POINTS = np.array([[0, 0, 0], [80, 0, 0], [0, 70, 0], [0, 0, 60], [-55, 33, 21]], dtype=float)


def rtk_or_skip() -> Any:
    """ITK with RTK in it."""
    itk = pytest.importorskip("itk", reason="itk-rtk is in the extra `peers`")
    if not hasattr(itk, "RTK"):
        pytest.skip("itk is installed without itk-rtk, which is in the extra `peers`")
    return itk


def poses(seed: int = 4, count: int = 24) -> list[ImagerPose]:
    rng = np.random.default_rng(seed)
    return [
        ImagerPose(
            source_angle_deg=wrap_deg(360.0 * n / count - 170.0),
            sad_mm=rng.normal(1000, 3),
            sid_mm=rng.normal(1500, 5),
            source_lateral_mm=rng.normal(0, 1),
            source_longitudinal_mm=rng.normal(0, 1),
            panel_lateral_mm=rng.normal(0, 60),
            panel_longitudinal_mm=rng.normal(0, 20),
            panel_rotation_deg=rng.normal(0, 3),
            panel_pitch_deg=rng.normal(0, 4),
            panel_roll_deg=rng.normal(0, 4),
        )
        for n in range(count)
    ]


def uv(pose: ImagerPose) -> NDArray[np.float64]:
    """Detector coordinates (n, 2) mm in RTK's sense, by this project's own projection."""
    pixels = pose.geometry(PANEL).pixels_of(POINTS)
    u = (pixels[:, 0] - (PANEL.cols - 1) / 2) * PANEL.pixel_pitch_mm
    v = ((PANEL.rows - 1) / 2 - pixels[:, 1]) * PANEL.pixel_pitch_mm
    return np.c_[u, v]


def through(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    h = np.c_[POINTS, np.ones(len(POINTS))] @ matrix.T
    return h[:, :2] / h[:, 2:]


def test_the_matrix_of_the_nine_numbers_sends_every_ball_where_the_projection_does() -> None:
    for pose in poses():
        np.testing.assert_allclose(
            through(rtk_from_pose(pose).matrix()), uv(pose), rtol=0, atol=1e-9
        )


def test_a_file_read_back_holds_the_same_lines() -> None:
    written = poses()
    read = read_rtk_geometry(write_rtk_geometry(written))
    for pose, projection in zip(written, read, strict=True):
        back = pose_from_rtk(projection, pose.source_angle_deg)
        np.testing.assert_allclose(back.numbers(), pose.numbers(), rtol=0, atol=1e-9)
        alone = pose_from_rtk(projection)
        np.testing.assert_allclose(uv(alone), uv(pose), rtol=0, atol=1e-8)


def test_the_gantry_angle_of_an_untilted_view_is_the_source_angle() -> None:
    projection = rtk_from_pose(ImagerPose(source_angle_deg=37.0, sad_mm=1000, sid_mm=1500))
    assert projection == RtkProjection(
        gantry_angle_deg=pytest.approx(37.0),
        out_of_plane_angle_deg=pytest.approx(0.0),
        in_plane_angle_deg=pytest.approx(0.0),
        source_to_isocenter_mm=pytest.approx(1000.0),
        source_to_detector_mm=pytest.approx(1500.0),
        source_offset_x_mm=pytest.approx(0.0, abs=1e-9),
        source_offset_y_mm=pytest.approx(0.0, abs=1e-9),
        projection_offset_x_mm=pytest.approx(0.0, abs=1e-9),
        projection_offset_y_mm=pytest.approx(0.0, abs=1e-9),
    )


def test_rtk_itself_reads_the_file_with_equal_matrices(tmp_path: Path) -> None:
    itk = rtk_or_skip()
    path = tmp_path / "geometry.xml"
    written = poses(7)
    path.write_text(write_rtk_geometry(written))
    reader = itk.RTK.ThreeDCircularProjectionGeometryXMLFileReader.New()
    reader.SetFilename(str(path))
    reader.GenerateOutputInformation()
    geometry = reader.GetOutputObject()
    for n, pose in enumerate(written):
        theirs = np.asarray(itk.array_from_matrix(geometry.GetMatrix(n)))
        ours = rtk_from_pose(pose).matrix()
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-9 * np.abs(ours).max())
        np.testing.assert_allclose(through(theirs), uv(pose), rtol=0, atol=1e-8)


def test_what_rtk_writes_is_read_with_its_own_matrices(tmp_path: Path) -> None:
    itk = rtk_or_skip()
    geometry = itk.RTK.ThreeDCircularProjectionGeometry.New()
    rng = np.random.default_rng(2)
    for n in range(12):
        sid, sdd = rng.normal(1000, 5), rng.normal(1500, 5)
        geometry.AddProjection(sid, sdd, 30.0 * n, *rng.normal(0, 3, 6))
    path = tmp_path / "theirs.xml"
    writer = itk.RTK.ThreeDCircularProjectionGeometryXMLFileWriter.New()
    writer.SetFilename(str(path))
    writer.SetObject(geometry)
    writer.WriteFile()
    for n, projection in enumerate(read_rtk_geometry(path.read_text())):
        theirs = np.asarray(itk.array_from_matrix(geometry.GetMatrix(n)))
        np.testing.assert_allclose(
            projection.matrix(), theirs, rtol=0, atol=1e-9 * np.abs(theirs).max()
        )
        np.testing.assert_allclose(
            uv(pose_from_rtk(projection)), through(theirs), rtol=0, atol=1e-6
        )


GOOD = write_rtk_geometry([ImagerPose(source_angle_deg=0.0, sad_mm=1000.0, sid_mm=1500.0)])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not XML"),
        ("<a/>", "the root is <a>"),
        (GOOD.replace('version="3"', 'version="9"'), "version 9"),
        (GOOD.replace("0.0</GantryAngle>", "x</GantryAngle>"), "not a number"),
        (GOOD.replace("0.0</GantryAngle>", "nan</GantryAngle>"), "not a number"),
        (GOOD.replace("0.0</GantryAngle>", "31.0</GantryAngle>"), "was edited"),
        (GOOD.replace("GantryAngle", "Angle"), "no GantryAngle"),
        (GOOD.replace("1000.0</Source", "0</Source"), "beyond the isocentre"),
        (
            GOOD.replace(
                "  <Projection>",
                "<RadiusCylindricalDetector>700</RadiusCylindricalDetector><Projection>",
            ),
            "cylinder",
        ),
        (
            GOOD.replace("<!DOCTYPE RTKGEOMETRY>", '<!DOCTYPE RTKGEOMETRY [<!ENTITY a "b">]>'),
            "entities",
        ),
        ('<RTKThreeDCircularGeometry version="3"></RTKThreeDCircularGeometry>', "no projection"),
    ],
    ids=lambda value: value if len(value) < 30 else "file",
)
def test_a_file_that_cannot_be_trusted_is_refused(text: str, word: str) -> None:
    with pytest.raises(InputRefused, match=word):
        read_rtk_geometry(text)
