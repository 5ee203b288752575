"""A scan of a known patient comes back as that patient, and is registered to the correction that is needed."""

import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import igrt_hw
from igrt_hw._core import ImagingInputError, PanelGeometry
from igrt_hw.geometry import Correction, Frame, Pose, correction_to_pose
from igrt_hw.guidance.cbct import ConeBeamVolume, VolumeGrid, reconstruct
from igrt_hw.guidance.mask import body_mask
from igrt_hw.guidance.plan import LoadedPlan, load_plan
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import CancelFlag, RegistrationCancelled, prepare
from igrt_hw.guidance.volume_registration import register_cone_beam

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"
SHIFT = Correction(
    lateral_mm=6.0,
    longitudinal_mm=-5.0,
    vertical_mm=4.0,
    rotation_deg=1.5,
    pitch_deg=-1.0,
    roll_deg=0.8,
)
GRID = VolumeGrid(cols=96, rows=96, slices=64, spacing_mm=(3.0, 3.0, 3.0))


@cache
def loaded() -> LoadedPlan:
    return load_plan(DEMO)


def planned() -> Pose:
    # About the middle of the chest, so that a centred panel sees the patient's whole width.
    middle = np.eye(4)
    middle[:3, 3] = (-15.0, 185.0, 10.0)
    return Pose.from_matrix(middle, Frame.FIXED, Frame.PATIENT)


def panel(angle: float) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=angle,
        sad_mm=1000.0,
        sid_mm=1700.0,
        rows=96,
        cols=160,
        pixel_pitch_mm=4.5,
    )


@cache
def scan() -> ConeBeamVolume:
    patient = prepare(loaded().ct, loaded().body_contours_dicom_mm)
    lies = correction_to_pose(SHIFT).inverse() @ planned()
    panels = [panel(4.0 * n) for n in range(90)]
    images = np.stack([patient.volume.project(p, lies.matrix(), exact=True) for p in panels])
    return reconstruct(images, panels, GRID)


def body() -> np.ndarray:
    return body_mask(loaded().ct, loaded().body_contours_dicom_mm)


def test_a_cone_beam_scan_finds_the_correction_that_is_needed():
    found = register_cone_beam(scan(), loaded().ct, planned(), body=body())
    assert found.believed, found.reasons
    assert found.correction is not None
    misses = [abs(a - b) for a, b in zip(found.correction.values(), SHIFT.values(), strict=True)]
    assert max(misses[:3]) < 0.5
    assert max(misses[3:]) < 0.4


def test_the_reconstruction_has_the_attenuation_of_the_patient():
    col, row, slice_ = np.meshgrid(
        np.arange(32, 64), np.arange(36, 60), np.arange(26, 38), indexing="ij"
    )
    index = np.stack([col, row, slice_, np.ones_like(col)]).reshape(4, -1)
    lies = correction_to_pose(SHIFT).inverse() @ planned()
    ct = loaded().ct
    to_ct = np.linalg.inv(lies.matrix() @ ct.iec_patient_from_index())
    at = np.rint(to_ct @ GRID.fixed_from_index() @ index)[:3].astype(int)
    expected = np.maximum(ct.hu[at[2], at[1], at[0]], -1000.0)
    found = scan().hu()[slice_.ravel(), row.ravel(), col.ravel()]
    # Voxels of 3 mm from 90 projections: the mean holds, edges are blurred.
    assert abs(found.mean() - expected.mean()) < 40.0
    assert np.corrcoef(found, expected)[0, 1] > 0.9


def test_the_grid_lies_in_the_room_as_its_affine_says():
    grid = VolumeGrid(4, 6, 8, (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    at = grid.fixed_from_index() @ np.array([1.5, 2.5, 3.5, 1.0])
    assert np.allclose(at[:3], (10.0, 20.0, 30.0))
    step = grid.fixed_from_index()[:3, :3]
    assert np.allclose(step, [[1, 0, 0], [0, 0, 3], [0, -2, 0]])


def test_a_mirrored_patient_is_not_believed():
    ct = loaded().ct
    flat = ConeBeamVolume(np.ascontiguousarray(scan().attenuation_per_mm[::-1, ::-1, :]), GRID)
    found = register_cone_beam(flat, ct, planned(), body=body())
    assert not found.believed
    assert found.correction is None
    assert found.reasons


def test_scans_and_masks_that_cannot_be_used_are_refused():
    few = np.zeros((20, 96, 160), dtype=np.float32)
    with pytest.raises(ImagingInputError, match="30 or more"):
        reconstruct(few, [panel(4.0 * n) for n in range(20)], GRID)
    holed = np.zeros((90, 96, 160), dtype=np.float32)
    holed[7, 3, 4] = np.nan
    with pytest.raises(ImagingInputError, match="view 7"):
        reconstruct(holed, [panel(4.0 * n) for n in range(90)], GRID)
    with pytest.raises(InputRefused, match="body mask has shape"):
        register_cone_beam(scan(), loaded().ct, planned(), body=np.ones((2, 2, 2), dtype=np.bool_))


def test_a_reconstruction_is_cancelled():
    flag = CancelFlag()
    threading.Thread(target=flag.cancel).start()
    images = np.ones((90, 96, 160), dtype=np.float32)
    with pytest.raises(RegistrationCancelled):  # noqa: PT012
        while True:
            reconstruct(images, [panel(4.0 * n) for n in range(90)], GRID, cancel=flag)
