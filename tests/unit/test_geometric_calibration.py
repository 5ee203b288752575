"""Source and panel are found from images of the ball phantom, with an honest covariance, or refused by name."""

import numpy as np
import pytest
from ball_shadows import blurred, shadow
from numpy.typing import NDArray

from igrt_hw.guidance.geometric_calibration import (
    Observation,
    PhantomPlace,
    calibrate_imager,
    calibrate_view,
    observe_balls,
)
from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.phantom import Ball, Phantom, load_phantom
from igrt_hw.guidance.refusal import InputRefused

PANEL = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
BALLS = load_phantom("balls")
CENTRED = PhantomPlace(np.eye(4))
# Some times the bend of open arms (docs/validation.md): SAD, source x 2, SID, panel x 2 mm, turns.
BENT = np.array([1.5, 0.5, 0.5, 2.0, 1.5, 1.5, 0.3, 0.3, 0.3])
Floats = NDArray[np.float64]


def nominal(angle: float) -> ImagerPose:
    return ImagerPose(source_angle_deg=angle, sad_mm=1000.0, sid_mm=1500.0)


def bent(angle: float, rng: np.random.Generator) -> ImagerPose:
    return ImagerPose.from_numbers(angle, nominal(angle).numbers() + rng.normal(0.0, BENT))


def named(
    pose: ImagerPose,
    rng: np.random.Generator,
    sigma: float = 0.03,
    phantom: Phantom = BALLS,
    place: PhantomPlace = CENTRED,
) -> list[Observation]:
    pixels = pose.geometry(PANEL).pixels_of(place.balls_mm(phantom))
    noisy = pixels + rng.normal(0.0, sigma, pixels.shape)
    return [Observation(n, c, r, sigma**2 * np.eye(2)) for n, (c, r) in enumerate(noisy)]


def picture(pose: ImagerPose, rng: np.random.Generator, phantom: Phantom = BALLS) -> Floats:
    geometry = pose.geometry(PANEL)
    lines = np.zeros(geometry.shape)
    for ball in phantom.balls:
        lines += shadow(geometry, np.array(ball.position_mm), ball.diameter_mm / 2, 0.5)
    rows, cols = np.indices(lines.shape)
    lines += 0.3 * np.sqrt(np.maximum(0.0, 1.0 - ((cols - 255.0) / 135.0) ** 2))  # the tube
    return blurred(lines, 0.45) + 0.5 + rng.normal(0.0, 0.01, lines.shape) + 0.0005 * rows


def test_every_view_of_a_bent_imager_is_found_and_its_covariance_is_honest() -> None:
    rng = np.random.default_rng(3)
    squared = []
    for angle in range(-170, 181, 10):
        true = bent(float(angle), rng)
        found = calibrate_view(named(true, rng), BALLS, CENTRED, nominal(float(angle)), PANEL)
        error = found.pose.numbers() - true.numbers()
        squared.append(float(error @ np.linalg.solve(found.covariance, error)))
        assert found.sigma_at_isocentre_mm < 0.01
    # 36 views of 9 numbers; the noise is scaled up where residuals demand it, never down.
    assert 0.6 < np.mean(squared) / 9.0 < 1.3


def test_from_pictures_to_a_flex_map_that_shows_points_where_the_bent_arms_do() -> None:
    rng = np.random.default_rng(8)
    truth = {angle: bent(angle, rng) for angle in (-90.0, -30.0, 0.0, 60.0, 135.0)}
    images = [(picture(pose, rng), nominal(angle)) for angle, pose in truth.items()]
    known, views = calibrate_imager(
        images,
        BALLS,
        CENTRED,
        PANEL,
        imager="kV",
        calibrated_utc="2026-01-01T00:00:00Z",
    )
    points = np.array([[0, 0, 0], [50, 0, 0], [0, -50, 0], [0, 0, 50], [-40, 40, -40]], float)
    assert [view.pose.source_angle_deg for view in views] == sorted(truth)
    for view in views:
        angle = view.pose.source_angle_deg
        assert not view.missing
        assert view.rms_px < 0.06
        shown = known.geometry(angle, PANEL).pixels_of(points)
        np.testing.assert_allclose(
            shown, truth[angle].geometry(PANEL).pixels_of(points), rtol=0, atol=0.08
        )
        error = view.pose.numbers() - truth[angle].numbers()
        assert (
            float(error @ np.linalg.solve(view.covariance, error)) < 28.0
        )  # 0.999 of chi-square 9


def test_the_bend_itself_is_seen_where_nominal_geometry_is_a_millimetre_off() -> None:
    rng = np.random.default_rng(11)
    true = nominal(45.0).model_copy(update={"panel_lateral_mm": 1.2, "source_lateral_mm": -0.3})
    found = calibrate_view(named(true, rng, 0.02), BALLS, CENTRED, nominal(45.0), PANEL)
    sigma = found.sigma()
    assert found.pose.panel_lateral_mm == pytest.approx(1.2, abs=4 * sigma["panel_lateral_mm"])
    assert found.pose.source_lateral_mm == pytest.approx(-0.3, abs=4 * sigma["source_lateral_mm"])
    assert sigma["panel_lateral_mm"] < 0.06


def test_a_number_that_is_held_keeps_its_value_and_has_no_spread() -> None:
    rng = np.random.default_rng(4)
    true = nominal(0.0).model_copy(update={"panel_longitudinal_mm": 0.7})
    found = calibrate_view(
        named(true, rng, 0.05),
        BALLS,
        CENTRED,
        nominal(0.0),
        PANEL,
        held=("sad_mm", "panel_pitch_deg", "panel_roll_deg"),
    )
    assert found.pose.sad_mm == 1000.0
    assert found.sigma()["sad_mm"] == 0.0
    assert found.pose.panel_longitudinal_mm == pytest.approx(0.7, abs=0.2)


def test_what_is_not_known_of_the_phantom_is_in_the_covariance() -> None:
    rng = np.random.default_rng(4)
    true = nominal(30.0)
    loose = PhantomPlace(np.eye(4), sigma_mm=0.1, sigma_deg=0.05)
    sure = calibrate_view(named(true, rng), BALLS, CENTRED, nominal(30.0), PANEL)
    unsure = calibrate_view(named(true, rng), BALLS, loose, nominal(30.0), PANEL)
    assert sure.sigma_at_isocentre_mm < 0.02
    assert unsure.sigma_at_isocentre_mm == pytest.approx(0.1, rel=0.1)
    moved = PhantomPlace(np.eye(4))
    shifted = np.eye(4)
    shifted[:3, 3] = 0.1, -0.2, 0.15
    seen = named(true, rng, 0.02, place=PhantomPlace(shifted))
    misled = calibrate_view(seen, BALLS, moved, nominal(30.0), PANEL)
    assert misled.rms_px < 0.1, "a phantom moved as a whole cannot be told from an imager moved"


def flat_phantom() -> Phantom:
    places = [(x, y, 0.0) for x in (-60.0, -20.0, 20.0, 60.0) for y in (-60.0, -20.0, 20.0, 60.0)]
    return Phantom(
        name="plate",
        kind="balls",
        balls=tuple(
            Ball(name=str(n), position_mm=place, diameter_mm=4.0) for n, place in enumerate(places)
        ),
    )


def test_balls_in_one_plane_are_refused_with_the_names_of_what_they_leave_open() -> None:
    rng = np.random.default_rng(1)
    plate = flat_phantom()
    seen = named(nominal(0.0), rng, phantom=plate)
    with pytest.raises(InputRefused, match=r"do not determine .*sad_mm.*sid_mm"):
        calibrate_view(seen, plate, CENTRED, nominal(0.0), PANEL)


def test_too_much_noise_is_refused_and_says_how_much_is_allowed() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(InputRefused, match=r"sad_mm \(to [0-9.]+, 4 allowed\)"):
        calibrate_view(named(nominal(0.0), rng, 0.2), BALLS, CENTRED, nominal(0.0), PANEL)


def test_too_few_balls_are_refused() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(InputRefused, match="5 balls cannot determine 9 numbers"):
        calibrate_view(named(nominal(0.0), rng)[:5], BALLS, CENTRED, nominal(0.0), PANEL)


def test_one_ball_named_wrongly_is_left_out_and_many_are_refused() -> None:
    rng = np.random.default_rng(2)
    seen = named(nominal(0.0), rng, 0.02)
    seen[3] = Observation(3, seen[3].col + 30.0, seen[3].row, seen[3].covariance_px2)
    found = calibrate_view(seen, BALLS, CENTRED, nominal(0.0), PANEL)
    assert found.missing == ("4",)
    assert found.rms_px < 0.05
    shuffled = [
        Observation(o.ball, p.col, p.row, o.covariance_px2)
        for o, p in zip(seen, seen[5:] + seen[:5], strict=True)
    ]
    with pytest.raises(InputRefused, match=r"named rightly|named wrongly|not determine|left what"):
        calibrate_view(shuffled, BALLS, CENTRED, nominal(0.0), PANEL)


def test_a_mirrored_picture_and_another_phantom_are_refused() -> None:
    rng = np.random.default_rng(6)
    image = picture(nominal(40.0), rng)
    with pytest.raises(InputRefused, match=r"mirror image|recognised"):
        observe_balls(np.ascontiguousarray(image[:, ::-1]), BALLS, CENTRED, nominal(40.0), PANEL)
    with pytest.raises(InputRefused, match="recognised"):
        observe_balls(image, flat_phantom(), CENTRED, nominal(40.0), PANEL)


def test_the_phantom_is_recognised_two_centimetres_off() -> None:
    rng = np.random.default_rng(6)
    off = nominal(-50.0).model_copy(
        update={"panel_lateral_mm": 21.0, "panel_longitudinal_mm": -14.0, "panel_rotation_deg": 1.0}
    )
    found = observe_balls(picture(off, rng), BALLS, CENTRED, nominal(-50.0), PANEL)
    assert len(found) >= 14
    shown = off.geometry(PANEL).pixels_of(CENTRED.balls_mm(BALLS))
    for seen in found:
        assert np.hypot(seen.col - shown[seen.ball, 0], seen.row - shown[seen.ball, 1]) < 0.5


def test_a_phantom_file_that_describes_none_is_refused() -> None:
    with pytest.raises(InputRefused, match="known are balls, cube"):
        load_phantom("sphere")
    assert len(load_phantom("cube").balls) == 5
