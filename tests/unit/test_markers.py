"""Markers are found where they are, to a fraction of a pixel, with an honest spread, and bone is not taken for one."""

import math

import numpy as np
import pytest
from ball_shadows import blurred, shadow, tissue
from numpy.typing import NDArray

from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.markers import GOLD_SEED, MarkerShape, find_markers
from igrt_hw.guidance.refusal import InputRefused

PANEL = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
VIEW = ImagerPose(source_angle_deg=20.0, sad_mm=1000.0, sid_mm=1500.0).geometry(PANEL)
Floats = NDArray[np.float64]


def places(seed: int, count: int = 8, apart_mm: float = 22.0) -> Floats:
    rng = np.random.default_rng(seed)
    out: list[Floats] = []
    while len(out) < count:
        place = rng.uniform(-65, 65, 3)
        shown = VIEW.pixels_of(np.array([place, *out]))
        if all(
            np.linalg.norm(p - shown[0]) * 0.776 / 1.5 > apart_mm for p in shown[1:]
        ):  # none behind another
            out.append(place)
    return np.array(out)


def image_of(
    centres: Floats, diameter: float, per_mm: float, noise: float, seed: int, *, ribs: int = 6
) -> Floats:
    lines = np.zeros(VIEW.shape)
    for centre in centres:
        lines += shadow(VIEW, centre, diameter / 2, per_mm)
    out = blurred(lines, 0.45) + tissue(VIEW.shape, seed, ribs=ribs)
    return out + np.random.default_rng(seed).normal(0.0, noise, out.shape)


def matched(found: Floats, wanted: Floats) -> tuple[Floats, list[int]]:
    """Misses (n, 2) of those within 2 px, and which of the found they were."""
    misses, used = [], []
    for place in wanted:
        away = np.linalg.norm(found - place, axis=1) if len(found) else np.array([9e9])
        if away.min() < 2.0:
            used.append(int(np.argmin(away)))
            misses.append(found[used[-1]] - place)
    return np.array(misses).reshape(-1, 2), used


def test_steel_balls_are_all_found_to_a_fiftieth_of_a_pixel_and_near_it_over_ribs() -> None:
    far, over_ribs, normalised = [], [], []
    for seed in range(4):
        centres = places(seed)
        for ribs, misses_of in ((0, far), (6, over_ribs)):
            image = image_of(centres, 4.0, 0.5, 0.02, seed, ribs=ribs)
            blobs = find_markers(image, VIEW, MarkerShape(4.0))
            misses, used = matched(np.array([b.place for b in blobs]), VIEW.pixels_of(centres))
            assert len(misses) == len(centres)
            assert len(used) == len(blobs), "something that is no ball was taken for one"
            misses_of += list(misses)
            normalised += [
                m @ np.linalg.solve(blobs[k].covariance_px2, m) / 2
                for k, m in zip(used, misses, strict=True)
            ]
    assert float(np.sqrt(np.mean(np.square(far)))) < 0.02
    assert float(np.sqrt(np.mean(np.square(over_ribs)))) < 0.12
    assert max(normalised) < 25.0, "a place beside bone claims to be better than it is"


def test_faint_balls_are_found_and_their_stated_spread_is_that_of_their_misses() -> None:
    squared, stated = [], []
    for seed in range(6):
        centres = places(seed, 6)
        blobs = find_markers(
            image_of(centres, 3.0, 0.06, 0.015, seed, ribs=0), VIEW, MarkerShape(3.0)
        )
        misses, used = matched(np.array([b.place for b in blobs]), VIEW.pixels_of(centres))
        assert len(misses) >= 5
        squared += list((misses**2).mean(axis=1))
        stated += [blobs[k].sigma_px for k in used]
    rms = math.sqrt(float(np.mean(squared)))
    assert rms < 0.3
    assert 0.6 < rms / float(np.sqrt(np.mean(np.square(stated)))) < 1.6


def test_gold_seeds_lying_any_way_are_found_near_bone() -> None:
    rng = np.random.default_rng(5)
    missed, count, false = [], 0, 0
    for seed in range(4):
        centres = places(seed, 4)
        lines = np.zeros(VIEW.shape)
        for centre in centres:
            axis = rng.normal(size=3)
            lines += shadow(
                VIEW, centre, 0.6, 2.0, axis=axis / np.linalg.norm(axis), half_length_mm=0.9
            )
        image = blurred(lines, 0.45) + tissue(VIEW.shape, seed, ribs=10)
        image += rng.normal(0.0, 0.03, image.shape)
        blobs = find_markers(image, VIEW, GOLD_SEED)
        misses, used = matched(np.array([b.place for b in blobs]), VIEW.pixels_of(centres))
        missed += list(misses)
        count += len(centres)
        false += len(blobs) - len(used)
    assert len(missed) == count
    assert float(np.sqrt(np.mean(np.square(missed)))) < 0.2
    assert false == 0


def test_a_bubble_is_found_as_a_bubble_and_not_as_a_ball() -> None:
    centre = np.array([[12.0, -20.0, 5.0]])
    image = image_of(centre, 14.0, -0.024, 0.01, 2, ribs=0)
    bubble = find_markers(image, VIEW, MarkerShape(14.0, denser=False))[0]
    assert np.linalg.norm(np.array(bubble.place) - VIEW.pixels_of(centre)[0]) < 0.5
    assert bubble.contrast < 0
    for ball in find_markers(image, VIEW, MarkerShape(14.0)):
        assert np.linalg.norm(np.array(ball.place) - VIEW.pixels_of(centre)[0]) > 10.0


def test_ribs_and_noise_alone_hold_no_marker() -> None:
    for seed in range(6):
        image = image_of(np.zeros((0, 3)), 4.0, 0.5, 0.03, seed)
        assert find_markers(image, VIEW, GOLD_SEED) == ()
        assert find_markers(image, VIEW, MarkerShape(4.0)) == ()


def test_markers_are_looked_for_only_where_they_may_be() -> None:
    centres = places(1, 2)
    image = image_of(centres, 4.0, 0.5, 0.02, 1)
    first, second = VIEW.pixels_of(centres)
    region = np.zeros(VIEW.shape, np.bool_)
    row, col = round(float(first[1])), round(float(first[0]))
    region[row - 25 : row + 26, col - 25 : col + 26] = True
    for limit in ({"region": region}, {"near_px": [tuple(first)], "reach_px": 20.0}):
        (only,) = find_markers(image, VIEW, MarkerShape(4.0), **limit)  # type: ignore[arg-type]
        assert np.linalg.norm(np.array(only.place) - first) < 0.3
        assert np.linalg.norm(np.array(only.place) - second) > 20.0


def test_unusable_pixels_beside_a_marker_do_not_pull_it() -> None:
    centres = places(3, 1)
    image = image_of(centres, 6.0, 0.3, 0.02, 3, ribs=0)
    col, row = VIEW.pixels_of(centres)[0]
    image[round(float(row)) - 3, :] = np.nan
    (only,) = find_markers(image, VIEW, MarkerShape(6.0))
    assert np.hypot(only.col - col, only.row - row) < 0.1


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((10, 10)), "not of one exposure"),
        (np.full((384, 512), np.nan), "saturated or not exposed"),
        (np.zeros((384, 512)), "same number"),
    ],
)
def test_images_that_hold_nothing_are_refused(image: Floats, word: str) -> None:
    with pytest.raises(InputRefused, match=word):
        find_markers(image, VIEW, GOLD_SEED)
    with pytest.raises(InputRefused, match="region"):
        find_markers(
            image_of(places(1, 1), 4.0, 0.5, 0.02, 1),
            VIEW,
            GOLD_SEED,
            region=np.zeros((3, 3), np.bool_),
        )


@pytest.mark.parametrize(("diameter", "length"), [(0.0, None), (5.0, 2.0), (100.0, None)])
def test_a_marker_without_a_size_is_refused(diameter: float, length: float | None) -> None:
    with pytest.raises(ValueError, match="is none"):
        MarkerShape(diameter, length)
