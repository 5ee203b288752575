"""Poses of the imager by angle: the flex map interpolates what was calibrated and refuses where nothing was."""

import numpy as np
import pytest
from pydantic import ValidationError

from igrt_hw.guidance.imager_geometry import FlexMap, ImagerPose, PanelFormat
from igrt_hw.guidance.refusal import InputRefused

PANEL = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)


def sagging(angle: float) -> ImagerPose:
    """Arms that sag by 0.6 mm, once round with the gantry."""
    a = np.radians(angle)
    return ImagerPose(
        source_angle_deg=angle,
        sad_mm=1000.0 + 0.4 * np.cos(a),
        sid_mm=1500.0 - 0.6 * np.cos(a),
        panel_lateral_mm=0.6 * np.sin(a),
        panel_longitudinal_mm=0.3 * np.cos(a),
        panel_rotation_deg=0.1 * np.sin(a),
    )


def full_map(step: int = 10) -> FlexMap:
    return FlexMap(
        imager="kV",
        calibrated_utc="2026-01-01T00:00:00Z",
        phantom="balls",
        poses=tuple(sagging(float(a)) for a in range(-180 + step, 181, step)),
    )


def test_between_calibrated_angles_the_pose_is_that_of_the_arms_to_a_hundredth() -> None:
    known = full_map()
    for angle in np.arange(-179.0, 180.0, 3.7):
        np.testing.assert_allclose(
            known.at(float(angle)).numbers(), sagging(float(angle)).numbers(), rtol=0, atol=0.003
        )


def test_the_map_goes_round_through_180_degrees() -> None:
    known = full_map()
    near = known.at(-179.0).numbers()
    np.testing.assert_allclose(near, known.at(181.0).numbers(), rtol=0, atol=1e-12)
    assert known.at(180.0) == known.poses[-1]
    assert known.at(-180.0).numbers() == pytest.approx(known.poses[-1].numbers())


def test_over_a_gap_the_map_is_silent() -> None:
    half = FlexMap(
        imager="kV",
        calibrated_utc="2026-01-01T00:00:00Z",
        phantom="balls",
        poses=tuple(sagging(float(a)) for a in range(-60, 61, 20)),
    )
    assert half.at(-50.0).source_angle_deg == -50.0
    for angle in (-61.0, 61.0, 180.0):
        with pytest.raises(InputRefused, match="calibrate there"):
            half.at(angle)
    with pytest.raises(InputRefused, match="no covariance"):
        half.covariance_at(0.0)
    with pytest.raises(InputRefused, match="no angle"):
        half.at(float("nan"))


def test_a_geometry_of_the_map_projects_through_the_bent_arms() -> None:
    geometry = full_map().geometry(90.0, PANEL)
    assert geometry.panel_lateral_mm == pytest.approx(0.6)
    assert ImagerPose.of(geometry) == full_map().at(90.0)
    assert PanelFormat.of(geometry) == PANEL


def test_a_map_survives_being_stored() -> None:
    known = full_map()
    assert FlexMap.model_validate_json(known.model_dump_json()) == known


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"poses": (sagging(20.0), sagging(10.0))}, "ascend"),
        ({"poses": (sagging(20.0), sagging(20.0))}, "ascend"),
        ({"poses": (sagging(270.0),)}, "180"),
        ({"covariance": (((1.0,),),)}, "1 entries of covariance"),
        ({"gap_max_deg": 200.0}, "less than or equal to 90"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        FlexMap.model_validate(full_map().model_dump() | change)
