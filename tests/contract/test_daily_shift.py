"""The daily shift test through the whole chain: known shift in, images, match, couch move, verification."""

import numpy as np
import pytest
from phantom_room import PANEL, REGION, PhantomRoom, nominal

from igrt_hw.geometry import Correction, compose_correction
from igrt_hw.guidance.daily_shift import judge_shift
from igrt_hw.guidance.fiducials import FiducialResult, register_fiducials
from igrt_hw.guidance.marker_motion import Fiducial, FiducialView
from igrt_hw.guidance.phantom import find_phantom, load_phantom
from igrt_hw.machine.catalogue import load_machine

CUBE = load_phantom("cube")
# The form's known shift, axis by axis, mm and degrees.
KNOWN = (7.0, -5.0, 4.0, 1.0, 0.8, -0.6)


def matched(room: PhantomRoom) -> FiducialResult:
    """A pair of the cube, and the correction that its ball and bubbles ask for."""
    marks = [Fiducial(ball.name, ball.position_mm) for ball in CUBE.balls]
    views = []
    for angle in (0.0, 90.0):
        geometry = nominal(angle).geometry(PANEL)
        blobs = find_phantom(room.image(angle), geometry, CUBE, np.eye(4), region=REGION)
        views.append(FiducialView(geometry, blobs))
    return register_fiducials(marks, views, np.eye(4))


@pytest.mark.slow
def test_a_known_shift_is_found_moved_and_verified_far_inside_a_millimetre() -> None:
    room = PhantomRoom("phantom:cube", seed=5)
    couch = load_machine("linac_pedestal").couch()
    aligned = room.axes()
    room.move_by(KNOWN)
    displaced = room.axes()
    found = matched(room)
    assert found.correction is not None, found.reasons
    assert found.rotations_reported
    target = compose_correction(couch, displaced, found.correction)
    room.move_by(tuple(t - now for t, now in zip(target, displaced, strict=True)))
    again = matched(room)
    assert again.correction is not None, again.reasons
    form = judge_shift(
        couch, aligned, displaced, found.correction, room.axes(), still_asked=again.correction
    )
    assert form.passed, (form.matching.sentence, form.motion.sentence, form.verification)
    assert form.matching.mm < 0.4
    assert form.matching.deg < 0.15
    assert form.motion.mm < 0.1
    assert form.verification is not None
    assert form.verification.mm < 0.4


@pytest.mark.slow
def test_a_shift_applied_the_other_way_fails_the_form() -> None:
    couch = load_machine("linac_pedestal").couch()
    aligned = (0.0, -350.0, -60.0, 0.0, 0.0, 0.0)
    displaced = (5.0, -350.0, -60.0, 0.0, 0.0, 0.0)
    right = judge_shift(couch, aligned, displaced, Correction(lateral_mm=-5.0), aligned)
    assert right.passed
    assert right.matching.mm < 1e-9
    wrong = judge_shift(couch, aligned, displaced, Correction(lateral_mm=5.0), aligned)
    assert not wrong.passed
    assert wrong.matching.mm == pytest.approx(10.0)
    assert not wrong.matching.passed
    stood = judge_shift(couch, aligned, displaced, Correction(lateral_mm=-5.0), displaced)
    assert stood.matching.passed
    assert not stood.motion.passed
