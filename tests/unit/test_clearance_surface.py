"""The patient surface: it holds every contour, is closed and the right way round, and what makes none is refused."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

import igrt_hw
from igrt_hw._core import ClearanceInputError, ClearanceRoom
from igrt_hw.machine.surface import (
    SurfaceError,
    SurfaceRule,
    surface_from_contours,
    surface_from_rtstruct,
)

RTSTRUCT = Path(igrt_hw.__file__).parent / "demo" / "thorax" / "RTSTRUCT.dcm"


def _ring(radius: float, x: float = 0.0, y: float = 0.0, count: int = 40) -> np.ndarray:
    angle = np.arange(count) * (2.0 * np.pi / count)
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], -1)


def _slices(*loops: np.ndarray) -> list[tuple[float, list[np.ndarray]]]:
    return [(5.0 * k, list(loops)) for k in range(10)]


def _inside(vertices: np.ndarray, triangles: np.ndarray, point: np.ndarray) -> bool:
    """By the solid angle: independent of how the surface was made."""
    a, b, c = (vertices[triangles[:, k]] - point for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    dot = lambda u, v: np.einsum("ij,ij->i", u, v)  # noqa: E731
    below = la * lb * lc + dot(a, b) * lc + dot(b, c) * la + dot(c, a) * lb
    angle = 2.0 * np.arctan2(dot(a, np.cross(b, c)), below)
    return bool(angle.sum() > 2.0 * np.pi)


def _accepted(vertices: np.ndarray, triangles: np.ndarray) -> None:
    box = ("box", 0, np.eye(4), "box", (1.0, 1.0, 1.0))
    ClearanceRoom(2, [("patient", 1, np.eye(4), "mesh", (vertices, triangles)), box], [(0, 1)])


def test_the_demo_patient_makes_a_surface_that_the_core_accepts() -> None:
    surface = surface_from_rtstruct(RTSTRUCT)
    _accepted(surface.vertices, surface.triangles)
    assert surface.scanned_mm == (-340.0, -10.0)
    assert surface.vertices[:, 1].min() == pytest.approx(-340.0 - 1100.0)
    assert surface.vertices[:, 1].max() == pytest.approx(-10.0 + 450.0)


def test_every_contour_point_of_the_demo_lies_inside_the_surface() -> None:
    surface = surface_from_rtstruct(RTSTRUCT)
    dataset = pydicom.dcmread(RTSTRUCT)
    contours = dataset.ROIContourSequence[0].ContourSequence
    for contour in contours[1:-1:12]:
        points = np.asarray(contour.ContourData, dtype=float).reshape(-1, 3)
        for x, y, z in points[::9]:
            # A hundredth towards the middle: points of a convex stretch may lie on the surface itself.
            point = np.array([x, z, -y]) * [1 - 1e-6, 1.0, 1 - 1e-6]
            assert _inside(surface.vertices, surface.triangles, point), (x, y, z)


def test_dicom_posterior_becomes_iec_down_and_superior_becomes_plus_y() -> None:
    # A nose: the contour reaches far to anterior, which is DICOM -y and IEC +z.
    nose = np.concatenate([_ring(100.0), [[10.0, -180.0]]])
    order = np.argsort(np.arctan2(nose[:, 1], nose[:, 0]))
    surface = surface_from_contours(
        _slices(nose[order]), rule=SurfaceRule(inferior_mm=0.0, superior_mm=0.0)
    )
    tip = surface.vertices[np.argmax(surface.vertices[:, 2])]
    assert tip[2] == pytest.approx(180.0, abs=2.0)
    assert tip[0] == pytest.approx(10.0, abs=5.0)
    assert surface.vertices[:, 1].min() == 0.0
    assert surface.vertices[:, 1].max() == 45.0


def test_concave_and_split_contours_are_covered_by_a_closed_surface() -> None:
    arms = _slices(_ring(100.0), _ring(30.0, 170.0), _ring(30.0, -170.0))
    surface = surface_from_contours(arms)
    _accepted(surface.vertices, surface.triangles)
    for x in (-190.0, -145.0, 0.0, 145.0, 190.0):
        assert _inside(surface.vertices, surface.triangles, np.array([x, 22.0, 3.0]))


def test_beyond_the_scan_the_patient_goes_on_wider_as_the_rule_says() -> None:
    rule = SurfaceRule(superior_mm=200.0, inferior_mm=100.0, widening=1.3)
    surface = surface_from_contours(_slices(_ring(100.0)), rule=rule)
    beyond = surface.vertices[surface.vertices[:, 1] > 46.0]
    rim = np.hypot(beyond[:, 0], beyond[:, 2])
    assert 129.5 < rim[rim > 1.0].min() < 130.5  # chords of the test's own ring dip by 0.3
    assert surface.vertices[:, 1].max() == pytest.approx(245.0)
    assert surface.vertices[:, 1].min() == pytest.approx(-100.0)


@pytest.mark.parametrize(
    ("contours", "reason"),
    [
        ([], "0 slices"),
        ([(0.0, [_ring(50.0)])], "1 slices"),
        ([(0.0, [_ring(50.0)]), (0.0, [_ring(50.0)])], "two slices at"),
        ([(0.0, [_ring(50.0)]), (40.0, [_ring(50.0)])], "gap"),
        ([(0.0, [_ring(50.0)]), (3.0, [_ring(50.0)[:2]])], "fewer than three"),
        ([(0.0, [_ring(50.0)]), (3.0, [_ring(50.0) * np.nan])], "not finite"),
        ([(0.0, [_ring(50.0)]), (3.0, [])], "no contour"),
        ([(0.0, [_ring(9e5)]), (3.0, [_ring(9e5)])], "no patient"),
    ],
)
def test_contours_that_make_no_patient_are_refused(contours: list, reason: str) -> None:
    with pytest.raises(SurfaceError, match=reason):
        surface_from_contours(contours)


def test_a_file_that_is_no_structure_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SurfaceError, match="cannot be read"):
        surface_from_rtstruct(tmp_path / "missing.dcm")
    with pytest.raises(SurfaceError, match="RTPLAN"):
        surface_from_rtstruct(RTSTRUCT.with_name("RTPLAN.dcm"))
    with pytest.raises(SurfaceError, match="BODY"):
        surface_from_rtstruct(RTSTRUCT, roi="LUNG")


def test_an_open_or_inverted_mesh_is_refused_by_the_core() -> None:
    surface = surface_from_contours(_slices(_ring(100.0)))
    with pytest.raises(ClearanceInputError, match="open"):
        _accepted(surface.vertices, np.ascontiguousarray(surface.triangles[1:]))
    with pytest.raises(ClearanceInputError, match="inside out"):
        _accepted(surface.vertices, np.ascontiguousarray(surface.triangles[:, ::-1]))
    with pytest.raises(ClearanceInputError, match="metres"):
        _accepted(surface.vertices / 1000.0, surface.triangles)
