"""Markers give the correction, its honest spread, and the name of the one that moved; what they do not determine is
not reported.
"""

import math

import numpy as np
import pytest
from ball_shadows import blurred, shadow, tissue
from marker_trials import PANEL, cluster, run_trial, spot, views_at

from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.fiducials import (
    FiducialLimits,
    chi_square_limit,
    find_fiducials,
    register_fiducials,
)
from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.marker_motion import Fiducial, FiducialView
from igrt_hw.guidance.markers import GOLD_SEED
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.triangulation import epipolar_distance_px, triangulate

FOUR = np.array([[-12.0, -8.0, 5.0], [10.0, -12.0, -8.0], [3.0, 13.0, -4.0], [-4.0, 2.0, 13.0]])


def codes(result: object) -> set[str]:
    return {reason.code for reason in result.reasons}  # type: ignore[attr-defined]


def test_a_point_is_triangulated_with_the_spread_that_its_misses_have() -> None:
    rng = np.random.default_rng(1)
    geometries = views_at(0.0, 75.0)
    squared = []
    for _ in range(200):
        point = rng.uniform(-60, 60, 3)
        seen = np.array([g.pixels_of(point[None, :])[0] for g in geometries])
        found = triangulate(
            geometries, seen + rng.normal(0.0, 0.3, (2, 2)), np.stack([0.09 * np.eye(2)] * 2)
        )
        error = found.position_mm - point
        squared.append(float(error @ np.linalg.solve(found.covariance_mm2, error)))
    assert 2.5 < np.mean(squared) < 3.5


def test_spots_of_one_point_lie_on_each_others_epipolar_lines() -> None:
    rng = np.random.default_rng(2)
    first, second = views_at(10.0, 100.0)
    for point in rng.uniform(-80, 80, (20, 3)):
        a, b = (tuple(g.pixels_of(point[None, :])[0]) for g in (first, second))
        assert epipolar_distance_px(first, a, second, b) < 1e-8
        assert epipolar_distance_px(first, a, second, (b[0], b[1] + 7.0)) > 5.0


def test_the_correction_is_found_and_its_covariance_is_that_of_its_errors() -> None:
    rng = np.random.default_rng(11)
    squared, misses = [], []
    for _ in range(60):
        trial = run_trial(rng, cluster(rng, 4, 15.0, 10.0))
        result = trial.result
        if not result.rotations_reported:
            continue
        assert result.correction is not None
        assert trial.miss_mm is not None
        error = np.array(result.correction.values()) - np.array(trial.needed.values())
        squared.append(float(error @ np.linalg.solve(np.array(result.covariance), error)) / 6.0)
        misses.append(trial.miss_mm)
    assert len(squared) > 55
    assert 0.75 < np.mean(squared) < 1.3
    assert np.median(misses) < 0.4


def test_false_spots_do_not_become_markers() -> None:
    rng = np.random.default_rng(12)
    for _ in range(15):
        trial = run_trial(rng, FOUR, false_spots=5)
        assert trial.result.verdict == "reliable", trial.result.reasons
        assert trial.miss_mm is not None
        assert trial.miss_mm < 1.2


def test_a_marker_that_moved_is_named_and_left_out() -> None:
    rng = np.random.default_rng(13)
    named = 0
    for _ in range(25):
        trial = run_trial(rng, cluster(rng, 5, 15.0, 10.0), migration_mm=2.0, sigma_px=0.2)
        assert trial.result.migration
        if trial.result.moved is None:
            continue
        named += 1
        assert trial.result.moved == trial.moved
        assert trial.result.verdict == "doubtful"
        assert codes(trial.result) >= {"marker_moved"}
        finding = next(m for m in trial.result.markers if m.name == trial.moved)
        assert not finding.used
        assert finding.displacement_mm is not None
        assert np.linalg.norm(finding.displacement_mm) == pytest.approx(2.0, abs=1.0)
        assert trial.miss_mm is not None
        assert trial.miss_mm < 1.5
    assert named >= 23


def test_migration_among_three_markers_is_detected_and_not_named() -> None:
    rng = np.random.default_rng(14)
    for _ in range(15):
        trial = run_trial(rng, cluster(rng, 3, 15.0, 15.0), migration_mm=6.0, sigma_px=0.1)
        if not trial.result.migration:
            continue  # along the one direction in which three points turn with it
        assert trial.result.moved is None
        assert trial.result.verdict == "refused"
        assert trial.result.correction is None
        assert "fewer than four" in trial.result.reasons[0].sentence


def test_markers_that_all_moved_against_each_other_are_refused() -> None:
    rng = np.random.default_rng(15)
    markers = [Fiducial(f"M{n}", tuple(place)) for n, place in enumerate(FOUR)]
    swollen = FOUR * 1.15
    views = [
        FiducialView(g, tuple(spot(c, r, 0.2) for c, r in g.pixels_of(swollen)))
        for g in views_at(0.0, 90.0)
    ]
    result = register_fiducials(markers, views, np.eye(4))
    assert result.verdict == "refused"
    assert result.migration
    assert result.moved is None
    del rng


def test_rotations_are_not_reported_of_two_markers_nor_of_markers_on_a_line() -> None:
    rng = np.random.default_rng(16)
    line = np.array([[-12.0, 1.0, 0.5], [0.0, 0.0, 0.0], [12.5, -0.5, 0.0], [20.0, 0.2, -0.3]])
    for places, word in ((FOUR[:2], "2 marker"), (line, "lie on a line")):
        trial = run_trial(rng, places, turn_deg=0.0)
        result = trial.result
        assert result.verdict == "doubtful"
        assert not result.rotations_reported
        assert word in next(r.sentence for r in result.reasons if r.code == "rotations_open")
        assert result.correction is not None
        assert np.abs(result.correction.angles_deg).max() < 1e-9
        off = np.array(result.correction.translation_mm) - trial.needed.translation_mm
        assert np.abs(off).max() < 0.5
        assert min(result.sigma_deg) > 2.0, "an unseen turn is not a known one"


def test_one_marker_gives_a_shift() -> None:
    rng = np.random.default_rng(17)
    trial = run_trial(rng, FOUR[:1], turn_deg=0.0)
    assert trial.result.correction is not None
    off = np.array(trial.result.correction.translation_mm) - trial.needed.translation_mm
    assert np.abs(off).max() < 0.6
    assert not trial.result.rotations_reported


def test_a_hidden_marker_is_named_and_the_others_do() -> None:
    rng = np.random.default_rng(18)
    trial = run_trial(rng, FOUR, hidden=((1, 2),))
    assert trial.result.verdict == "doubtful"
    assert "marker M3 was not recognised" in trial.result.reasons[0].sentence
    assert trial.result.per_view_share == (0.75, 0.75)
    assert trial.miss_mm is not None
    assert trial.miss_mm < 2.0


def test_three_views_are_better_than_two() -> None:
    misses = []
    for angles in ((0.0, 90.0), (0.0, 60.0, 120.0)):
        rng = np.random.default_rng(19)
        trials = [run_trial(rng, FOUR, angles=angles) for _ in range(25)]
        misses.append(np.median([t.miss_mm for t in trials if t.miss_mm is not None]))
    assert misses[1] < misses[0]


def test_what_the_imager_is_not_known_to_is_in_the_covariance() -> None:
    markers = [Fiducial(f"M{n}", tuple(place)) for n, place in enumerate(FOUR)]
    loose = np.diag([0.0, 0.0, 0.0, 0.0, 0.45, 0.45, 0.0, 0.0, 0.0])  # panel offsets, 0.67 mm
    spots = [(g, tuple(spot(c, r, 0.1) for c, r in g.pixels_of(FOUR))) for g in views_at(0.0, 90.0)]
    sure = register_fiducials(markers, [FiducialView(g, s) for g, s in spots], np.eye(4))
    unsure = register_fiducials(markers, [FiducialView(g, s, loose) for g, s in spots], np.eye(4))
    assert max(sure.sigma_mm) < 0.05
    # 0.67 mm on the panel are 0.45 mm at the isocentre; the longitudinal one is seen by both views, and the
    # magnification of the markers tells a little of the depth.
    assert unsure.sigma_mm == pytest.approx((0.45, 0.45 / math.sqrt(2), 0.45), rel=0.1)
    assert not unsure.migration


def test_the_summary_goes_into_a_proposal_and_a_refusal_does_not() -> None:
    rng = np.random.default_rng(20)
    good = run_trial(rng, FOUR).result
    assert good.summary().correction == good.correction
    assert good.summary().per_view_similarity == (1.0, 1.0)
    far = run_trial(rng, FOUR, shift_mm=0.0, turn_deg=0.0).result
    assert far.verdict == "reliable"
    markers = [Fiducial(f"M{n}", tuple(place)) for n, place in enumerate(FOUR)]
    views = [
        FiducialView(
            g, tuple(spot(c, r, 0.2) for c, r in g.pixels_of(FOUR + np.array([0.0, 40.0, 0.0])))
        )
        for g in views_at(0.0, 90.0)
    ]
    refused = register_fiducials(markers, views, np.eye(4))
    assert codes(refused) == {"displacement"}
    with pytest.raises(InputRefused, match="set up again"):
        refused.summary()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fiducials": []}, "0 markers"),
        ({"fiducials": [Fiducial("A", (0, 0, 0)), Fiducial("A", (9, 0, 0))]}, "one name"),
        (
            {"fiducials": [Fiducial("A", (0, 0, 0)), Fiducial("B", (0.2, 0, 0))]},
            "lie on each other",
        ),
        ({"fiducials": [Fiducial("A", (math.nan, 0, 0))]}, "no place"),
        ({"angles": (0.0,)}, "1 views"),
        ({"angles": (0.0, 5.0)}, "15 deg apart"),
        ({"angles": (0.0, 180.0)}, "15 deg apart"),
    ],
)
def test_what_makes_no_measurement_is_refused(change: dict[str, object], word: str) -> None:
    markers = change.get("fiducials", [Fiducial("A", (0.0, 0.0, 0.0))])
    views = [
        FiducialView(g, (spot(500.0, 400.0, 0.3),))
        for g in views_at(*change.get("angles", (0.0, 90.0)))  # type: ignore[misc]
    ]
    with pytest.raises(InputRefused, match=word):
        register_fiducials(markers, views, np.eye(4))  # type: ignore[arg-type]


def test_images_without_spots_give_a_refusal_with_its_reason() -> None:
    markers = [Fiducial(f"M{n}", tuple(place)) for n, place in enumerate(FOUR)]
    result = register_fiducials(
        markers, [FiducialView(g, ()) for g in views_at(0.0, 90.0)], np.eye(4)
    )
    assert result.verdict == "refused"
    assert codes(result) == {"no_markers"}


def test_from_pictures_with_ribs_to_the_correction() -> None:
    panel = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
    rng = np.random.default_rng(21)
    markers = [Fiducial(f"M{n}", tuple(place), 0.1) for n, place in enumerate(FOUR)]
    needed = Correction(4.0, -6.0, 3.0, 1.5, -1.0, 0.8)
    lies = correction_to_pose(needed).inverse().matrix()
    room = FOUR @ lies[:3, :3].T + lies[:3, 3]
    axes = rng.normal(size=(4, 3))
    views = []
    for seed, angle in enumerate((0.0, 90.0)):
        geometry = ImagerPose(source_angle_deg=angle, sad_mm=1000.0, sid_mm=1500.0).geometry(panel)
        lines = np.zeros(geometry.shape)
        for place, axis in zip(room, axes, strict=True):
            lines += shadow(
                geometry, place, 0.6, 2.0, axis=axis / np.linalg.norm(axis), half_length_mm=0.9
            )
        image = blurred(lines, 0.45) + tissue(geometry.shape, seed)
        image += rng.normal(0.0, 0.02, image.shape)
        views.append(find_fiducials(image, geometry, GOLD_SEED, markers, np.eye(4)))
    result = register_fiducials(markers, views, np.eye(4), limits=FiducialLimits())
    assert result.verdict == "reliable", result.reasons
    assert result.correction is not None
    wrong = correction_to_pose(result.correction) @ correction_to_pose(needed).inverse()
    assert np.linalg.norm(wrong.parameters()[:3]) < 0.3
    assert PANEL.pixel_pitch_mm < panel.pixel_pitch_mm


@pytest.mark.parametrize(("freedom", "share", "value"), [(1, 0.001, 10.83), (10, 0.005, 25.19)])
def test_the_limit_of_chi_square_is_that_of_the_tables(
    freedom: int, share: float, value: float
) -> None:
    assert chi_square_limit(freedom, share) == pytest.approx(value, rel=0.04)
