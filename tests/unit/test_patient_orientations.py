"""All eight patient orientations through guidance: the same body, turned on the table as its position says, is found
and corrected in the room's axes.

Where left, head and front of a patient point in the room is written here in words and not taken from the code.
"""

import numpy as np
import pytest
from marker_trials import spot, views_at

from igrt_hw._core import AttenuationVolume, PanelGeometry
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.fiducials import register_fiducials
from igrt_hw.guidance.marker_motion import Fiducial, FiducialView
from igrt_hw.guidance.orientation import table_from_patient_rotation
from igrt_hw.guidance.registration import PatientModel, View, register
from igrt_hw.models.plan import PatientPosition

# For someone who stands at the foot of the couch and faces the gantry: where the patient's left hand, head and
# nose point.
WORDS: dict[PatientPosition, tuple[str, str, str]] = {
    "HFS": ("right", "gantry", "ceiling"),
    "HFP": ("left", "gantry", "floor"),
    "HFDR": ("ceiling", "gantry", "left"),
    "HFDL": ("floor", "gantry", "right"),
    "FFS": ("left", "away", "ceiling"),
    "FFP": ("right", "away", "floor"),
    "FFDR": ("ceiling", "away", "right"),
    "FFDL": ("floor", "away", "left"),
}
ROOM = {
    "right": (1, 0, 0), "left": (-1, 0, 0), "gantry": (0, 1, 0), "away": (0, -1, 0),
    "ceiling": (0, 0, 1), "floor": (0, 0, -1),
}  # fmt: skip
# No turn maps these onto each other; left, head and front of the patient, mm.
MARKERS = np.array([[14.0, 0.0, 0.0], [0.0, 11.0, 0.0], [0.0, 0.0, 17.0], [-6.0, -9.0, 4.0]])
NEEDED = Correction(3.0, -4.0, 5.0, 1.2, -0.9, 0.7)


def placed(position: PatientPosition) -> np.ndarray:
    """fixed <- patient with the isocentre in the middle of the body."""
    out = np.eye(4)
    out[:3, :3] = table_from_patient_rotation(position)
    return out


@pytest.mark.parametrize("position", WORDS)
def test_markers_at_left_head_and_front_lie_where_the_words_say(position: PatientPosition) -> None:
    room = MARKERS[:3] @ placed(position)[:3, :3].T
    for place, marker, word in zip(room, MARKERS, WORDS[position], strict=False):
        np.testing.assert_allclose(place, np.linalg.norm(marker) * np.array(ROOM[word]), atol=1e-12)


@pytest.mark.parametrize("position", WORDS)
def test_markers_give_the_correction_in_the_axes_of_the_room(position: PatientPosition) -> None:
    planned = placed(position)
    lies = correction_to_pose(NEEDED).inverse().matrix() @ planned
    room = MARKERS @ lies[:3, :3].T + lies[:3, 3]
    views = [
        FiducialView(g, tuple(spot(c, r, 0.1) for c, r in g.pixels_of(room)))
        for g in views_at(0.0, 90.0)
    ]
    marks = [Fiducial(str(n), tuple(place)) for n, place in enumerate(MARKERS)]
    result = register_fiducials(marks, views, planned)
    assert result.verdict == "reliable", result.reasons
    assert result.correction is not None
    np.testing.assert_allclose(result.correction.values(), NEEDED.values(), atol=1e-3)


@pytest.mark.parametrize("position", WORDS)
def test_a_patient_taken_to_lie_otherwise_is_refused(position: PatientPosition) -> None:
    """Images of a supine patient are not believed for a plan of another position, nor the other way round."""
    taken = "HFS" if position != "HFS" else "FFS"
    truly = placed(position)
    room = MARKERS @ truly[:3, :3].T
    views = [
        FiducialView(g, tuple(spot(c, r, 0.1) for c, r in g.pixels_of(room)))
        for g in views_at(0.0, 90.0)
    ]
    marks = [Fiducial(str(n), tuple(place)) for n, place in enumerate(MARKERS)]
    result = register_fiducials(marks, views, placed(taken))  # type: ignore[arg-type]
    assert result.verdict == "refused"
    assert result.correction is None


SIZE = 64


def body() -> PatientModel:
    """A body without symmetry: an ellipsoid with a spine, ribs of different length and a heart to one side."""
    z, y, x = np.indices((SIZE, SIZE, SIZE)).astype(np.float64) * 4.0 - 2.0 * (SIZE - 1)
    hu = np.where((x / 105) ** 2 + (y / 75) ** 2 + (z / 110) ** 2 < 1.0, 0.0, -1000.0)
    hu[(x / 45 - 1.0) ** 2 + (y / 55) ** 2 + (z / 80) ** 2 < 0.8] = -700.0
    hu[(x + 5) ** 2 + (y - 45) ** 2 < 260] = 600.0
    for k, (at, reach) in enumerate(((-70, 70), (-38, 60), (-4, 85), (22, 50), (64, 65))):
        ring = np.abs(np.hypot(x / 1.3 - 4 * k, y) - 55) < 5
        hu[ring & (np.abs(z - at - 0.2 * x) < 6) & (y < reach - 20)] = 700.0
    hu[(x - 30) ** 2 + (y + 20) ** 2 + (z - 25) ** 2 < 900] = 350.0
    half = 2.0 * (SIZE - 1)
    # index (col, row, slice) -> patient: left, head, front; rows run to the back
    affine = np.array([[4, 0, 0, -half], [0, 0, 4, -half], [0, -4, 0, half], [0, 0, 0, 1]], float)
    return PatientModel(AttenuationVolume(hu.astype(np.float32), affine), "1.2.3")


@pytest.mark.parametrize("position", WORDS)
def test_intensity_registration_gives_the_correction_in_the_axes_of_the_room(
    position: PatientPosition,
) -> None:
    model, planned = body(), placed(position)
    lies = correction_to_pose(NEEDED).inverse().matrix() @ planned
    views = []
    for angle in (0.0, 90.0):
        geometry = PanelGeometry(
            source_angle_deg=angle,
            sad_mm=1000.0,
            sid_mm=1500.0,
            rows=128,
            cols=160,
            pixel_pitch_mm=2.5,
        )
        seen = model.volume.project(geometry, lies, exact=True)
        noise = np.random.default_rng(int(angle)).normal(0.0, 0.01, seen.shape)
        views.append(View((seen + noise).astype(np.float32), geometry))
    result = register(model, views, planned, scatter=False)
    assert result.correction is not None, result.reasons
    np.testing.assert_allclose(result.correction.values(), NEEDED.values(), atol=0.3)
