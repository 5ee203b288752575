"""Simulator and guidance agree without sharing code: frames become the correction that is truly needed."""

from functools import cache

import numpy as np
import pytest
from xray_pairs import DEMO, RawPair, take_pair

from igrt_hw.geometry import Correction, Frame, Pose, correction_to_pose
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.registration import PatientModel, prepare, register


@cache
def pair() -> RawPair:
    return take_pair(2)


@cache
def patient() -> tuple[PatientModel, Pose]:
    loaded = load_plan(DEMO)
    placed = loaded.table_from_patient(loaded.plan.isocentres[0].isocentre_id, np.zeros(3))
    model = prepare(loaded.ct, loaded.body_contours_dicom_mm)
    return model, Pose.from_matrix(placed, Frame.FIXED, Frame.PATIENT)


@pytest.mark.slow
def test_frames_of_the_simulator_become_the_correction_that_is_truly_needed() -> None:
    model, planned = patient()
    result = register(model, pair().views(), planned)
    assert result.verdict == "reliable", result.reasons
    assert result.correction is not None
    wrong = correction_to_pose(result.correction) @ correction_to_pose(pair().needed).inverse()
    left = Correction.of(wrong.parameters())
    assert np.linalg.norm(left.translation_mm) < 0.15
    assert np.abs(left.angles_deg).max() < 0.1


@pytest.mark.slow
def test_corrected_frames_have_no_defects_left_and_hold_line_integrals_of_a_chest() -> None:
    for image in pair().corrected():
        inside = image.line_integrals[60:-60, 120:-120]
        assert np.isfinite(inside).mean() > 0.99
        assert 1.0 < float(np.nanmedian(inside)) < 7.0
        step = np.abs(np.diff(inside, axis=1))
        assert float(np.nanquantile(step, 0.9999)) < 0.8


@pytest.mark.slow
def test_frames_read_upside_down_or_mirrored_are_refused() -> None:
    model, planned = patient()
    for flip in (np.flipud, np.fliplr):
        views = [
            type(view)(np.ascontiguousarray(flip(view.image)), view.geometry)
            for view in pair().views()
        ]
        result = register(model, views, planned)
        assert result.verdict == "refused"
        assert result.correction is None
