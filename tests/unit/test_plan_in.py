"""Plan in: what belongs together is read; what does not is refused with the reason."""

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pydicom
import pytest

from igrt_hw.guidance.ct import load_ct
from igrt_hw.guidance.orientation import DIRECTIONS, iec_patient_point, table_from_patient_rotation
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.refusal import InputRefused

THORAX = Path(str(files("igrt_hw") / "demo" / "thorax"))
SLICES = range(58, 69)  # around the isocentre at z = -185 mm

Edit = Callable[[pydicom.Dataset], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven slices of the demo patient with the plan and the matching contours."""
    (tmp_path / "ct").mkdir()
    heights = []
    for number in SLICES:
        name = f"CT{number:03d}.dcm"
        shutil.copyfile(THORAX / "ct" / name, tmp_path / "ct" / name)
        heights.append(
            float(
                pydicom.dcmread(THORAX / "ct" / name, stop_before_pixels=True).ImagePositionPatient[
                    2
                ]
            )
        )
    shutil.copyfile(THORAX / "RTPLAN.dcm", tmp_path / "RTPLAN.dcm")
    structures = pydicom.dcmread(THORAX / "RTSTRUCT.dcm")
    roi = structures.ROIContourSequence[0]
    roi.ContourSequence = [c for c in roi.ContourSequence if float(c.ContourData[2]) in heights]
    structures.save_as(tmp_path / "RTSTRUCT.dcm")
    return tmp_path


def edit(path: Path, change: Edit) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def set_all_couch(keyword: str, value: object) -> Edit:
    def change(plan: pydicom.Dataset) -> None:
        for beam in plan.BeamSequence:
            setattr(beam.ControlPointSequence[0], keyword, value)

    return change


def test_the_demo_patient_is_read_whole() -> None:
    loaded = load_plan(THORAX)
    plan = loaded.plan
    assert plan.patient.patient_id == "IGRT-0001"
    assert plan.patient.birth_date == "19500101"
    assert plan.patient_position == "HFS"
    assert plan.site == "lung_sbrt"
    assert loaded.ct.hu.shape == (133, 256, 256)
    assert loaded.ct.spacing_mm == pytest.approx((1.40625, 1.40625, 2.5))
    (isocentre,) = plan.isocentres
    assert isocentre.position_dicom_mm == (-68.0, 40.0, -185.0)
    assert [f.angle_deg for f in isocentre.setup_fields] == [0.0, 90.0]
    assert [f.angle_deg for f in isocentre.treatment_fields] == [-160.0]
    assert (isocentre.couch.lateral_mm, isocentre.couch.longitudinal_mm) == (-20.0, -350.0)
    assert not isocentre.couch.relative
    assert plan.tolerance.vertical_mm == 5.0
    assert len(loaded.body_contours_dicom_mm) == 133


def test_the_volume_puts_bone_at_the_back_and_lungs_inside(folder: Path) -> None:
    """The spine lies behind the isocentre (DICOM +y), so an inverted axis would put it in front."""
    ct = load_plan(folder).ct
    _, rows, cols = np.nonzero(ct.hu > 300)
    posterior_mm = ct.origin_dicom_mm[1] + ct.spacing_mm[1] * rows.mean()
    assert posterior_mm > 0.0
    assert abs(ct.origin_dicom_mm[0] + ct.spacing_mm[0] * cols.mean()) < 40.0


def test_the_plan_lays_its_isocentre_where_it_is_told(folder: Path) -> None:
    loaded = load_plan(folder)
    placement = loaded.table_from_patient("ISO1", np.array([20.0, 350.0, 122.5]))
    isocentre = np.append(iec_patient_point((-68.0, 40.0, -185.0)), 1.0)
    np.testing.assert_allclose(placement @ isocentre, [20.0, 350.0, 122.5, 1.0], atol=1e-12)


def test_slices_are_ordered_by_position_whatever_their_file_names(folder: Path) -> None:
    expected = load_plan(folder).ct.hu
    names = sorted((folder / "ct").iterdir())
    for path, new in zip(names, reversed([f"{i:02d}.dcm" for i in range(len(names))]), strict=True):
        path.rename(path.with_name(new))
    np.testing.assert_array_equal(load_plan(folder).ct.hu, expected)


def test_a_series_with_reversed_rows_is_the_same_patient(folder: Path) -> None:
    expected = load_plan(folder).ct
    for path in (folder / "ct").iterdir():
        dataset = pydicom.dcmread(path)
        flipped = np.ascontiguousarray(dataset.pixel_array[::-1, ::-1])
        dataset.decompress()
        dataset.PixelData = flipped.tobytes()
        position = [float(v) for v in dataset.ImagePositionPatient]
        spacing = float(dataset.PixelSpacing[0])
        dataset.ImagePositionPatient = [
            position[0] + 255 * spacing,
            position[1] + 255 * spacing,
            position[2],
        ]
        dataset.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        dataset.save_as(path)
    actual = load_ct(sorted((folder / "ct").iterdir()))
    np.testing.assert_array_equal(actual.hu, expected.hu)
    assert actual.origin_dicom_mm == pytest.approx(expected.origin_dicom_mm)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: setattr(d, "PatientID", "SOMEBODY-ELSE"), "wrong patient"),
        (lambda d: setattr(d, "PatientBirthDate", "19510101"), "wrong patient"),
        (lambda d: setattr(d, "FrameOfReferenceUID", "1.2.3"), "mixed frames of reference"),
        (lambda d: setattr(d, "ApprovalStatus", "UNAPPROVED"), "not approved"),
        (
            lambda d: setattr(d.PatientSetupSequence[0], "PatientPosition", "SITTING"),
            "not supported",
        ),
        (
            lambda d: setattr(d.PatientSetupSequence[0], "PatientPosition", "HFP"),
            "the CT was taken HFS",
        ),
        (set_all_couch("IsocenterPosition", [-68.0, 40.0, 900.0]), "outside the CT"),
        (set_all_couch("IsocenterPosition", [-6.8, 4.0]), "malformed isocentre"),
        (set_all_couch("TableTopVerticalPosition", "-122500"), "millimetres"),
        (set_all_couch("TableTopEccentricAngle", "4"), "eccentric"),
        (
            lambda d: setattr(d.BeamSequence[0].ControlPointSequence[0], "GantryAngle", ""),
            "no GantryAngle",
        ),
        (
            lambda d: setattr(
                d.ReferencedStructureSetSequence[0], "ReferencedSOPInstanceUID", "1.2.3"
            ),
            "another structure set",
        ),
        (
            lambda d: setattr(d.BeamSequence[1], "ReferencedToleranceTableNumber", "7"),
            "tolerance table",
        ),
        (
            lambda d: setattr(
                d.ToleranceTableSequence[0], "TableTopVerticalPositionTolerance", "-1"
            ),
            "positive",
        ),
        (lambda d: setattr(d, "BeamSequence", []), "no beams"),
    ],
)
def test_a_plan_that_does_not_belong_is_refused(folder: Path, change: Edit, reason: str) -> None:
    edit(folder / "RTPLAN.dcm", change)
    with pytest.raises(InputRefused, match=reason):
        load_plan(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: setattr(d, "PatientID", "SOMEBODY-ELSE"), "PatientID differs"),
        (lambda d: setattr(d, "FrameOfReferenceUID", "1.2.3"), "FrameOfReferenceUID differs"),
        (lambda d: setattr(d, "PixelSpacing", [1.0, 1.0]), "PixelSpacing differs"),
        (
            lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, 0, -1]),
            "not an untilted axial slice",
        ),
        (
            lambda d: setattr(d, "ImageOrientationPatient", [1, 0, 0, 0, 0.999, 0.0447]),
            "not an untilted axial slice",
        ),
        (lambda d: setattr(d, "RescaleType", "OD"), "not to Hounsfield"),
        (lambda d: setattr(d, "RescaleSlope", "1e6"), "cannot be Hounsfield"),
        (
            lambda d: d.ImagePositionPatient.__setitem__(2, d.ImagePositionPatient[2] + 0.7),
            "uneven slice spacing",
        ),
        (lambda d: d.ImagePositionPatient.__setitem__(0, d.ImagePositionPatient[0] + 3), "drift"),
        (
            lambda d: d.ImagePositionPatient.__setitem__(2, d.ImagePositionPatient[2] + 2.5),
            "same position",
        ),
        (lambda d: d.__delattr__("ImagePositionPatient"), "has no ImagePositionPatient"),
        (lambda d: setattr(d, "PixelData", d.PixelData[:200]), "cannot be decoded"),
    ],
)
def test_a_slice_that_does_not_belong_is_refused(folder: Path, change: Edit, reason: str) -> None:
    edit(folder / "ct" / "CT063.dcm", change)
    with pytest.raises(InputRefused, match=reason):
        load_plan(folder)


def test_a_missing_slice_is_named(folder: Path) -> None:
    (folder / "ct" / "CT063.dcm").unlink()
    with pytest.raises(
        InputRefused, match=r"1 slice\(s\) missing between CT062\.dcm and CT064\.dcm"
    ):
        load_plan(folder)


def test_a_file_that_is_not_dicom_is_refused_by_name(folder: Path) -> None:
    (folder / "ct" / "CT063.dcm").write_bytes(b"not an image")
    with pytest.raises(InputRefused, match=r"CT063\.dcm is not a readable DICOM file"):
        load_plan(folder)


@pytest.mark.parametrize("name", ["RTPLAN.dcm", "RTSTRUCT.dcm"])
def test_an_incomplete_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(InputRefused, match="exactly one"):
        load_plan(folder)


def test_an_empty_first_couch_value_makes_the_position_relative(folder: Path) -> None:
    edit(folder / "RTPLAN.dcm", set_all_couch("TableTopVerticalPosition", ""))
    couch = load_plan(folder).plan.isocentres[0].couch
    assert couch.relative
    assert couch.vertical_mm is None


def test_stored_angles_are_wrapped(folder: Path) -> None:
    edit(folder / "RTPLAN.dcm", set_all_couch("TableTopPitchAngle", 359.0))
    edit(folder / "RTPLAN.dcm", set_all_couch("PatientSupportAngle", "270"))
    couch = load_plan(folder).plan.isocentres[0].couch
    assert couch.pitch_deg == pytest.approx(-1.0)
    assert couch.rotation_deg == pytest.approx(-90.0)


@pytest.mark.parametrize("position", sorted(DIRECTIONS))
def test_every_patient_position_is_a_proper_rotation(position: str) -> None:
    rotation = table_from_patient_rotation(position)  # type: ignore[arg-type]
    np.testing.assert_array_equal(rotation @ rotation.T, np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("position", "axis", "half_turns"),
    [("HFS", 1, 0), ("HFP", 1, 2), ("FFS", 2, 2), ("FFP", 0, 2), ("HFDR", 1, -1), ("HFDL", 1, 1)],
)
def test_patient_positions_are_the_turns_one_expects(
    position: str, axis: int, half_turns: int
) -> None:
    """Quarter turns about a table-top axis, written out by hand."""
    angle = half_turns * np.pi / 2
    c, s = np.cos(angle), np.sin(angle)
    j, k = (axis + 1) % 3, (axis + 2) % 3
    expected = np.eye(3)
    expected[j, j] = expected[k, k] = c
    expected[j, k], expected[k, j] = -s, s
    actual = table_from_patient_rotation(position)  # type: ignore[arg-type]
    np.testing.assert_allclose(actual, expected, atol=1e-12)
