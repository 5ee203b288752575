"""`igrt register` and what it stands on: files of views in, JSON, Spatial Registration and a picture out; modes,
regions and cancelling.

X-rays here are the exact projector's own, without physics: how close a registration comes is shown in
tests/validation and tests/unit/test_registration.py, with X-rays from elsewhere.
"""

import json
import sys
import threading
import time
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

import igrt_hw
from igrt_hw import cli
from igrt_hw._core import PanelGeometry, Pose
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance import region
from igrt_hw.guidance.attenuation import Emphasis, curve
from igrt_hw.guidance.captured import RT_IMAGE_STORAGE, load_rt_image, load_views, save_views
from igrt_hw.guidance.plan import LoadedPlan, load_plan, structure_contours
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import (
    CancelFlag,
    Freedom,
    PatientModel,
    RegistrationCancelled,
    SetupPrior,
    View,
    prepare,
    register,
)
from igrt_hw.guidance.spatial_registration import missing_elements, spatial_registration
from igrt_hw.server.placement import Placement

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"
SHIFT = Correction(
    lateral_mm=5.0,
    longitudinal_mm=-4.0,
    vertical_mm=3.0,
    rotation_deg=1.0,
    pitch_deg=-0.8,
    roll_deg=0.6,
)


@cache
def loaded() -> LoadedPlan:
    return load_plan(DEMO)


@cache
def patient() -> PatientModel:
    return prepare(loaded().ct, loaded().body_contours_dicom_mm)


@cache
def planned() -> Pose:
    return Placement.of(loaded(), loaded().plan.isocentres[0].isocentre_id).planned


def panel(angle: float, **changes: float) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=angle,
        sad_mm=1000.0,
        sid_mm=1500.0,
        rows=192,
        cols=256,
        pixel_pitch_mm=1.552,
        **changes,
    )


@cache
def view(angle: float, shift: Correction = SHIFT) -> View:
    lies = correction_to_pose(shift).inverse() @ planned()
    clean = patient().volume.project(panel(angle), lies.matrix(), exact=True)
    noise = np.random.default_rng(round(angle)).normal(0.0, 0.005, clean.shape)
    return View(np.asarray(clean + noise, dtype=np.float32), panel(angle))


def miss(found: Correction | None, wanted: Correction = SHIFT) -> float:
    assert found is not None
    return max(abs(a - b) for a, b in zip(found.values(), wanted.values(), strict=True))


@pytest.mark.parametrize("angles", [(45.0, 135.0), (0.0, 60.0, 120.0), (10.0, 100.0, 190.0, 280.0)])
def test_two_to_four_views_at_any_angles_are_registered(angles):
    result = register(patient(), [view(a) for a in angles], planned())
    assert result.verdict == "reliable", result.reasons
    assert miss(result.correction) < 0.3


def test_one_view_leaves_its_depth_to_the_prior_and_says_so():
    alone = register(patient(), [view(0.0)], planned())
    held = register(patient(), [view(0.0)], planned(), prior=SetupPrior(vertical_mm=1.0))
    assert held.correction is not None
    across = [
        held.correction.lateral_mm - SHIFT.lateral_mm,
        held.correction.longitudinal_mm - SHIFT.longitudinal_mm,
    ]
    assert np.abs(across).max() < 0.5
    assert held.sigma_mm[2] > 3.0 * max(held.sigma_mm[:2])
    assert abs(held.correction.vertical_mm) <= abs(SHIFT.vertical_mm) + 1.0
    assert alone.sigma_mm[2] > max(alone.sigma_mm[:2])


@pytest.mark.parametrize(
    ("freedom", "held"),
    [
        (Freedom.TRANSLATION, (3, 4, 5)),
        (Freedom.ROTATION, (0, 1, 2)),
        (Freedom.LONGITUDINAL, (0, 2, 3, 4, 5)),
        (Freedom.TRANSLATION_AND_ROTATION, (4, 5)),
    ],
)
def test_what_is_held_does_not_move_and_has_no_variance(freedom, held):
    free = [n for n in range(6) if n not in held]
    wanted = [v if n in free else 0.0 for n, v in enumerate(SHIFT.values())]
    shift = Correction.of(wanted)
    views = [view(a, shift) for a in (0.0, 90.0)]
    result = register(patient(), views, planned(), freedom=freedom)
    assert result.verdict == "reliable", result.reasons
    assert miss(result.correction, shift) < 0.2
    moved = np.array(result.fixed_from_patient) @ np.linalg.inv(planned().matrix())
    if freedom != Freedom.ROTATION:
        assert np.abs(np.array(result.covariance)[np.ix_(held, held)]).max() < 1e-4
    if freedom is Freedom.TRANSLATION:
        assert np.allclose(moved[:3, :3], np.eye(3), atol=1e-9)


def test_a_prior_without_meaning_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        register(patient(), [view(0.0)], planned(), prior=SetupPrior(vertical_mm=0.0))


def test_bone_and_soft_tissue_are_shown_apart_and_register():
    whole = patient().volume.project(panel(0.0), planned().matrix())
    models = {
        e: prepare(loaded().ct, loaded().body_contours_dicom_mm, emphasis=e)
        for e in (Emphasis.BONE, Emphasis.SOFT_TISSUE)
    }
    bone, soft = (m.volume.project(panel(0.0), planned().matrix()) for m in models.values())
    assert bone.max() < whole.max()
    assert bone.mean() < 0.3 * whole.mean()
    # What is no bone and what the soft-tissue curve keeps never add up to more than the whole.
    assert np.all(soft <= whole + 1e-3)
    for model in models.values():
        result = register(model, [view(0.0), view(90.0)], planned())
        assert result.correction is not None, result.reasons
        assert miss(result.correction) < 1.0
        assert result.displacement_mm == pytest.approx(np.linalg.norm(SHIFT.values()[:3]), abs=1.0)
    with pytest.raises(ValueError, match="not with an emphasis"):
        register(model, [view(0.0)], planned(), prior=SetupPrior(vertical_mm=1.0))


def test_a_curve_of_another_unit_is_refused():
    with pytest.raises(ValueError, match="per cm"):
        curve(water_per_mm=0.2059)
    with pytest.raises(ValueError, match="curve of its own"):
        prepare(loaded().ct, None, curve=curve(), emphasis=Emphasis.BONE)


def test_a_replaced_curve_scales_the_projection():
    twice = prepare(loaded().ct, loaded().body_contours_dicom_mm, curve=curve() * [1.0, 2.0])
    once = patient().volume.project(panel(0.0), planned().matrix())
    assert np.allclose(twice.volume.project(panel(0.0), planned().matrix()), 2.0 * once, atol=2e-3)


def test_a_drawn_region_holds_the_pixels_inside_its_corners():
    found = region.drawn(panel(0.0), [(10.0, 20.0), (50.0, 20.0), (50.0, 60.0), (10.0, 60.0)])
    assert found[40, 30]
    assert not found[40, 9]
    assert not found[61, 30]
    assert abs(int(found.sum()) - 40 * 40) <= 81
    with pytest.raises(InputRefused, match="no pixel"):
        region.drawn(panel(0.0), [(-9.0, -9.0), (-5.0, -9.0), (-5.0, -5.0)])


def test_the_region_of_a_structure_is_where_its_points_fall():
    contours = structure_contours(DEMO, "BODY")
    chosen = [c for c in contours if abs(c[0, 2] + 185.0) < 12.0]
    found = region.of_structure(loaded().ct, chosen, panel(0.0), planned(), margin_mm=0.0)
    wide = region.of_structure(loaded().ct, chosen, panel(0.0), planned(), margin_mm=15.0)
    points = np.concatenate(chosen)
    patient_mm = np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)
    pixels = np.rint(panel(0.0).pixels_of(planned().apply(patient_mm))).astype(int)
    on = (pixels >= 0).all(axis=1) & (pixels[:, 0] < 256) & (pixels[:, 1] < 192)
    assert wide[pixels[on, 1], pixels[on, 0]].all()
    assert found[96, 128]
    assert not found[5, 128]
    assert wide.sum() > found.sum()
    with pytest.raises(InputRefused, match="it has BODY"):
        structure_contours(DEMO, "LUNG")


def test_a_registration_is_cancelled_from_another_thread():
    flag = CancelFlag()
    ended: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                register(patient(), [view(0.0), view(90.0)], planned(), cancel=flag)
        except RegistrationCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(0.05)
    flag.cancel()
    thread.join(timeout=20.0)
    assert not thread.is_alive()
    assert flag.cancelled
    assert "nothing was found" in str(ended[0])


def test_own_frames_come_back_from_their_file(tmp_path):
    tilted = panel(30.0, panel_pitch_deg=1.5, panel_lateral_mm=4.0)
    image = np.full((192, 256), 1.5, dtype=np.float32)
    image[3, 4] = np.nan
    save_views(tmp_path / "pair.json", [View(image, tilted)])
    (back,) = load_views(tmp_path / "pair.json")
    assert np.array_equal(back.image, image, equal_nan=True)
    assert np.allclose(back.geometry.matrix(), tilted.matrix())
    (tmp_path / "bad.json").write_text('{"views": [{"image": "../x.npy"}]}')
    with pytest.raises(InputRefused, match="no file of views"):
        load_views(tmp_path / "bad.json")


def rt_image(path: Path, seen: View, **changes: object) -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RT_IMAGE_STORAGE
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Modality, ds.PatientID = "RTIMAGE", loaded().ct.patient_id
    ds.Rows, ds.Columns = seen.image.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    pitch = seen.geometry.pixel_pitch_mm
    ds.RTImagePlane, ds.RTImageSID, ds.RadiationMachineSAD = "NORMAL", 1500.0, 1000.0
    ds.GantryAngle, ds.ImagePlanePixelSpacing = seen.geometry.source_angle_deg, [pitch, pitch]
    ds.RTImagePosition = [-127.5 * pitch, 95.5 * pitch]
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LIN", 1
    ds.PixelData = np.rint(60000.0 * np.exp(-seen.image)).astype(np.uint16).tobytes()
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def test_an_rt_image_gives_its_geometry_and_line_integrals(tmp_path):
    found = load_rt_image(rt_image(tmp_path / "a.dcm", view(90.0)))
    assert np.allclose(found.geometry.matrix(), panel(90.0).matrix())
    assert np.nanmax(np.abs(found.image - view(90.0).image)[view(90.0).image < 5.0]) < 0.05


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PixelIntensityRelationship": None}, "does not say what its pixels mean"),
        ({"RTImagePlane": "NON_NORMAL"}, "perpendicular"),
        ({"XRayImageReceptorAngle": 5.0}, "not turned"),
        ({"ImagePlanePixelSpacing": [1.0, 2.0]}, "not square"),
        ({"RadiationMachineSAD": None}, "no RadiationMachineSAD"),
        ({"RTImageSID": 900.0}, "beyond the isocentre"),
        ({"PatientID": "SOMEBODY"}, "wrong patient"),
    ],
)
def test_an_rt_image_that_cannot_be_trusted_is_refused_by_name(tmp_path, changes, reason):
    path = rt_image(tmp_path / "a.dcm", view(90.0), **changes)
    with pytest.raises(InputRefused, match=reason):
        load_rt_image(path, loaded().ct.patient_id)


def test_a_spatial_registration_maps_the_images_to_the_ct(tmp_path):
    result = register(patient(), [view(0.0), view(90.0)], planned())
    made = spatial_registration(
        loaded(), planned().matrix(), result, made_at=datetime(2026, 1, 2, 3, 4, 5)
    )
    made.save_as(tmp_path / "reg.dcm", enforce_file_format=True)
    back = pydicom.dcmread(tmp_path / "reg.dcm")
    assert missing_elements(back) == []
    assert back.RegistrationSequence[0].FrameOfReferenceUID == loaded().ct.frame_of_reference_uid
    step = back.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence[0]
    ct_from_images = np.array(
        [float(v) for v in step.FrameOfReferenceTransformationMatrix]
    ).reshape(4, 4)
    # A point of the anatomy, DICOM mm in the CT; where it truly lies; and where the plan's frame calls that place.
    point = np.array([-40.0, 20.0, -170.0, 1.0])
    to_iec = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
    fixed = np.array(result.fixed_from_patient) @ to_iec @ point
    as_planned = np.linalg.inv(to_iec) @ np.linalg.inv(planned().matrix()) @ fixed
    assert np.allclose(ct_from_images @ as_planned, point, atol=1e-5)
    del back.ContentLabel
    back.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence[
        0
    ].FrameOfReferenceTransformationMatrix = [2.0] * 16
    assert missing_elements(back) == ["ContentLabel", "RegistrationSequence[1]: a rigid matrix"]


@pytest.fixture
def igrt(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["igrt", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_the_command_registers_and_writes_json_dicom_and_a_picture(igrt, tmp_path):
    first = rt_image(tmp_path / "ap.dcm", view(0.0))
    save_views(tmp_path / "lat.json", [view(90.0)])
    out = {name: tmp_path / name for name in ("r.json", "r.dcm", "r.png")}
    code, told, err = igrt(
        "register", DEMO, first, tmp_path / "lat.json",
        "--json", out["r.json"], "--dicom", out["r.dcm"], "--picture", out["r.png"],
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert told.startswith("reliable")
    assert "lateral" in told
    found = json.loads(out["r.json"].read_text())
    assert miss(Correction(**found["result"]["correction"])) < 0.3
    assert found["frame_of_reference_uid"] == loaded().ct.frame_of_reference_uid
    assert found["result"]["anatomy"]["advice"] == "treat"
    assert "the patient against the CT: treat" in told
    assert missing_elements(pydicom.dcmread(out["r.dcm"])) == []
    assert out["r.png"].stat().st_size > 20_000


def test_a_refused_registration_ends_with_4_and_writes_no_transform(igrt, tmp_path):
    mirrored = [View(np.ascontiguousarray(view(a).image[:, ::-1]), panel(a)) for a in (0.0, 90.0)]
    save_views(tmp_path / "m.json", mirrored)
    code, told, _ = igrt(
        "register",
        DEMO,
        tmp_path / "m.json",
        "--json",
        tmp_path / "r.json",
        "--dicom",
        tmp_path / "r.dcm",
    )
    assert code == 4
    assert told.startswith("refused")
    assert "does not look like this CT" in told
    result = json.loads((tmp_path / "r.json").read_text())["result"]
    assert result["correction"] is None
    assert result["reasons"]
    assert not (tmp_path / "r.dcm").exists()


def test_input_that_cannot_be_used_ends_with_1_and_a_sentence(igrt, tmp_path):
    save_views(tmp_path / "a.json", [view(0.0)])
    code, _, err = igrt("register", DEMO, tmp_path / "a.json", "--structure", "LUNG")
    assert code == 1
    assert "no structure 'LUNG'" in err
    code, _, err = igrt("register", DEMO, tmp_path / "a.json", "--couch", "1,2")
    assert code == 1
    assert "six numbers" in err
