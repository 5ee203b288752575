"""All eight patient orientations through the service's own placement, registration and couch: a patient who lies off
the plan is found, and the couch axes that the correction asks for bring the isocentre back.

The simulator shows head first supine alone, so that the X-rays here are of guidance's exact projector: what is shown
is that no orientation is mixed up between plan, table top, room and couch, not that the images are right.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from imaging_room import COUCH
from xray_pairs import DEMO

from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import Correction, compose_correction, correction_to_pose
from igrt_hw.guidance.orientation import iec_patient_point
from igrt_hw.guidance.plan import LoadedPlan, load_plan
from igrt_hw.models.plan import PatientPosition
from igrt_hw.models.status import ImageView
from igrt_hw.server.imaging import StoredImage
from igrt_hw.server.placement import Placement, planned_axes
from igrt_hw.server.registering import PreparedPlan, register_pair

# For someone who stands at the foot of the couch and faces the gantry: where the patient's left hand and head point.
WORDS: dict[PatientPosition, tuple[str, str]] = {
    "HFS": ("right", "gantry"),
    "HFP": ("left", "gantry"),
    "HFDR": ("ceiling", "gantry"),
    "HFDL": ("floor", "gantry"),
    "FFS": ("left", "away"),
    "FFP": ("right", "away"),
    "FFDR": ("ceiling", "away"),
    "FFDL": ("floor", "away"),
}
ROOM = {
    "right": (1, 0, 0), "left": (-1, 0, 0), "gantry": (0, 1, 0), "away": (0, -1, 0),
    "ceiling": (0, 0, 1), "floor": (0, 0, -1),
}  # fmt: skip
NEEDED = Correction(4.0, -3.0, 5.0, 1.0, -0.8, 0.6)
SIDE = 128


@cache
def prepared() -> PreparedPlan:
    return PreparedPlan.of(load_plan(DEMO))


def lying(position: PatientPosition) -> LoadedPlan:
    loaded = prepared().loaded
    return replace(loaded, plan=loaded.plan.model_copy(update={"patient_position": position}))


def image(patient: PreparedPlan, pose: np.ndarray, angle: float) -> StoredImage:
    geometry = PanelGeometry(
        source_angle_deg=angle,
        sad_mm=1000.0,
        sid_mm=1500.0,
        rows=SIDE * 2,
        cols=SIDE * 2,
        pixel_pitch_mm=1.5,
    )
    seen = patient.patient.volume.project(geometry, pose, exact=True)
    noise = np.random.default_rng(int(angle)).normal(0.0, 0.01, seen.shape)
    view = ImageView(
        image_uid=f"1.{angle:.0f}",
        purpose="setup",
        source_angle_deg=angle,
        acquired_utc="2026-01-01T00:00:00Z",
        rows=SIDE * 2,
        cols=SIDE * 2,
        pitch_mm=1.5,
        kvp=80.0,
        mas=5.0,
        dose_area_uGycm2=1.0,
    )
    lines = (seen + noise).astype(np.float32)
    return StoredImage(view, lines, np.ones(lines.shape, np.bool_), geometry, ())


@pytest.mark.slow
@pytest.mark.parametrize("position", WORDS)
def test_a_patient_in_any_orientation_is_found_and_brought_back_by_the_couch(
    position: PatientPosition,
) -> None:
    loaded = lying(position)
    plan = PreparedPlan(loaded, prepared().patient)
    placement = Placement.of(loaded, "ISO1")
    axes = planned_axes(COUCH, placement)
    at_rest = placement.at(COUCH, axes).matrix()
    isocentre = iec_patient_point(loaded.isocentre("ISO1").position_dicom_mm)
    np.testing.assert_allclose((at_rest @ [*isocentre, 1.0])[:3], 0.0, atol=1e-6)
    for axis, word in zip((0, 1), WORDS[position], strict=True):  # the patient's left, then head
        np.testing.assert_allclose(at_rest[:3, axis], ROOM[word], atol=1e-9)
    lies = correction_to_pose(NEEDED).inverse().matrix() @ at_rest
    pair = [image(plan, lies, angle) for angle in (0.0, 90.0)]
    found = register_pair(plan, "ISO1", pair, COUCH, axes, translation_only=False)
    assert found.correction is not None
    np.testing.assert_allclose(found.correction.values(), NEEDED.values(), atol=0.2)
    target = compose_correction(COUCH, axes, found.correction)
    moved = COUCH.forward(target).matrix() @ np.linalg.inv(COUCH.forward(axes).matrix())
    np.testing.assert_allclose((moved @ lies @ [*isocentre, 1.0])[:3], 0.0, atol=0.2)
    assert found.anatomy is not None
    assert found.anatomy.advice == "treat", found.anatomy.reasons
