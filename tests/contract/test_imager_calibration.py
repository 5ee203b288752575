"""The simulator's arms bend, its own ray tracer takes the phantom, and the calibration finds where they truly stood."""

import numpy as np
import pytest
from phantom_room import PANEL, REGION, PhantomRoom, nominal, true_pixels

from igrt_hw.guidance.geometric_calibration import PhantomPlace, calibrate_imager
from igrt_hw.guidance.phantom import load_phantom

ANGLES = (-150.0, -60.0, 0.0, 90.0)
POINTS = np.array(
    [[0, 0, 0], [60, 0, 0], [0, 60, 0], [0, 0, 60], [-60, -60, -60], [40, -50, 30]], dtype=float
)


@pytest.mark.slow
def test_the_bend_of_the_arms_is_found_from_images_of_the_balls() -> None:
    room = PhantomRoom("phantom:balls", seed=3, physics={"flex": 1.0})
    images = [(room.image(angle), nominal(angle)) for angle in ANGLES]
    known, views = calibrate_imager(
        images,
        load_phantom("balls"),
        PhantomPlace(np.eye(4)),
        PANEL,
        imager="kV",
        calibrated_utc="2026-01-01T00:00:00Z",
        region=REGION,
    )
    off_before, off_after = [], []
    for view in views:
        angle = view.pose.source_angle_deg
        truth = true_pixels(room.room.perform("imager.view", source_deg=angle), POINTS)
        off_before.append(nominal(angle).geometry(PANEL).pixels_of(POINTS) - truth)
        off_after.append(known.geometry(angle, PANEL).pixels_of(POINTS) - truth)
        assert len(view.observations) >= 14
        assert view.rms_px < 0.1
    per_mm = 0.776 / 1.5
    before, after = (np.abs(np.array(off)).max() * per_mm for off in (off_before, off_after))
    assert before > 0.2, "the arms were not bent"
    assert after < 0.03
