"""Markers of a plan: read from the structure set, offered for registration by the protocol of the site, or refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import igrt_hw
from igrt_hw.guidance.imaging_protocol import protocol_for
from igrt_hw.guidance.plan import RT_STRUCTURE_SET_STORAGE, LoadedPlan, load_plan
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.plan import PlannedMarker
from igrt_hw.server.errors import JobError
from igrt_hw.server.registering import by_markers

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"


def with_markers(
    folder: Path, points: dict[str, list[float]], geometric_type: str = "POINT"
) -> Path:
    """The demo plan whose structure set has these markers (DICOM mm, one point or several)."""
    shutil.copytree(DEMO, folder)
    for path in folder.rglob("*.dcm"):
        structures = pydicom.dcmread(path)
        if structures.SOPClassUID != RT_STRUCTURE_SET_STORAGE:
            continue
        first = structures.StructureSetROISequence[0]
        for number, (name, data) in enumerate(points.items(), 100):
            roi = Dataset()
            roi.ROINumber, roi.ROIName = number, name
            roi.ReferencedFrameOfReferenceUID = first.ReferencedFrameOfReferenceUID
            roi.ROIGenerationAlgorithm = "MANUAL"
            structures.StructureSetROISequence.append(roi)
            seen = Dataset()
            seen.ObservationNumber = seen.ReferencedROINumber = number
            seen.RTROIInterpretedType, seen.ROIInterpreter = "MARKER", ""
            structures.RTROIObservationsSequence.append(seen)
            contour = Dataset()
            contour.ContourGeometricType = geometric_type
            contour.NumberOfContourPoints, contour.ContourData = len(data) // 3, data
            item = Dataset()
            item.ReferencedROINumber, item.ContourSequence = number, Sequence([contour])
            structures.ROIContourSequence.append(item)
        structures.save_as(path)
    return folder


@pytest.fixture(scope="module")
def isocentre() -> tuple[float, float, float]:
    return load_plan(DEMO).plan.isocentres[0].position_dicom_mm


def test_points_of_type_marker_become_markers_of_the_plan(
    tmp_path: Path, isocentre: tuple[float, float, float]
) -> None:
    x, y, z = isocentre
    loaded = load_plan(
        with_markers(tmp_path / "plan", {"S1": [x + 5, y, z], "S2": [x, y - 8, z + 3]})
    )
    found = loaded.plan.markers
    assert [marker.name for marker in found] == ["S1", "S2"]
    assert found[0].position_dicom_mm == pytest.approx((x + 5, y, z))
    assert 0.2 < found[0].sigma_mm < 1.5
    assert load_plan(DEMO).plan.markers == ()


def test_a_contour_round_a_marker_gives_its_centre(
    tmp_path: Path, isocentre: tuple[float, float, float]
) -> None:
    x, y, z = isocentre
    square = [x - 1, y - 1, z, x + 1, y - 1, z, x + 1, y + 1, z, x - 1, y + 1, z]
    loaded = load_plan(with_markers(tmp_path / "plan", {"S1": square}, "CLOSED_PLANAR"))
    assert loaded.plan.markers[0].position_dicom_mm == pytest.approx((x, y, z))


@pytest.mark.parametrize(
    ("points", "kind", "why"),
    [
        ({"S1": [900.0, 0.0, 0.0]}, "POINT", "outside the CT"),
        ({"S1": [0.0, 0.0, -200.0, 1.0, 0.0, -200.0]}, "OPEN_PLANAR", "are understood"),
    ],
)
def test_a_marker_without_a_place_in_the_ct_is_refused(
    tmp_path: Path, points: dict[str, list[float]], kind: str, why: str
) -> None:
    with pytest.raises(InputRefused, match=why):
        load_plan(with_markers(tmp_path / "plan", points, kind))


def marked(count: int) -> Callable[[LoadedPlan], LoadedPlan]:
    markers = tuple(
        PlannedMarker(name=f"S{n}", position_dicom_mm=(5.0 * n, 0.0, 0.0), sigma_mm=0.5)
        for n in range(count)
    )

    def give(loaded: LoadedPlan) -> LoadedPlan:
        plan = loaded.plan.model_copy(update={"markers": markers})
        return LoadedPlan(plan, loaded.ct, loaded.body_contours_dicom_mm)

    return give


def test_the_site_says_whether_markers_are_used_and_the_operator_may_ask_otherwise() -> None:
    loaded = load_plan(DEMO)
    three, one = marked(3)(loaded), marked(1)(loaded)
    prostate, lung = protocol_for("prostate"), protocol_for("lung")
    assert by_markers(three, prostate, "site")
    assert not by_markers(three, lung, "site")
    assert by_markers(three, lung, "markers")
    assert not by_markers(three, prostate, "anatomy")
    assert not by_markers(one, prostate, "site"), "one marker tells no outlier from a shift"
    with pytest.raises(JobError, match="register by the anatomy"):
        by_markers(one, prostate, "markers")
