"""What a rigid correction leaves is measured and told: a part that slid, a body that shrank, a tumour that went."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from igrt_hw.guidance.anatomy import change_in_scan, judge
from igrt_hw.guidance.attenuation import WATER_PER_MM
from igrt_hw.guidance.cbct import ConeBeamVolume, VolumeGrid
from igrt_hw.guidance.ct import CtVolume
from igrt_hw.guidance.local_shift import BlockSearch, local_shifts, sample, smoothed
from igrt_hw.models.anatomy import (
    AnatomyChange,
    ChangeLimits,
    OutlineChange,
    RegionShift,
    TargetChange,
)
from igrt_hw.models.record import RecordEntry
from igrt_hw.records.anatomy import change_trend

SIZE, SPACING = 62, 3.5
HALF = SPACING * (SIZE - 1) / 2.0
GRID = VolumeGrid(SIZE, SIZE, SIZE, (SPACING,) * 3)
FIELD = (-150.0, 150.0, -150.0, 150.0)
Hu = NDArray[np.float32]


@cache
def places() -> NDArray[np.float64]:
    """Fixed-frame X, Y, Z of the voxels (slices, rows, cols)."""
    k, j, i = np.indices((SIZE, SIZE, SIZE)) * SPACING - HALF
    return np.stack([i, k, -j])


@cache
def texture() -> Hu:
    """Organs of all sizes, 40 HU or so, and bone here and there."""
    noise = np.random.default_rng(3).normal(0.0, 1.0, (SIZE,) * 3)
    every = np.ones((SIZE,) * 3, dtype=np.bool_)
    wide = smoothed(noise, every, np.full(3, 2.5))
    wide /= wide.std()
    return np.where(wide > 1.6, 500.0, 40.0 * wide).astype(np.float32)


def anatomy(
    *, thinner_mm: float = 0.0, tumour: bool = True, slid_mm: float = 0.0
) -> tuple[Hu, NDArray[np.bool_]]:
    """HU and body: an ellipse with a lung about the isocentre and a tumour in it; above Y = 20 mm it has slid."""
    x, y, z = places()
    front = np.where(z > 0.0, 1.0, 0.0) * thinner_mm
    body = (x / 95.0) ** 2 + (z / (75.0 - front)) ** 2 < 1.0
    hu = texture()
    lung = (x / 38.0) ** 2 + (y / 60.0) ** 2 + (z / 38.0) ** 2 < 1.0
    hu = np.where(lung, -800.0 + 0.5 * hu, hu)
    if tumour:
        hu = np.where(x**2 + y**2 + z**2 < 15.0**2, 20.0 + 0.3 * texture(), hu)
    hu = np.where(body, hu, -1000.0).astype(np.float32)
    if slid_mm:
        index = np.argwhere(np.ones_like(body)).astype(float)
        index[:, 2] -= slid_mm / SPACING * (y.ravel() > 20.0)
        hu = sample(hu.astype(np.float64), index).reshape(hu.shape).astype(np.float32)
    return hu, body


def planning_ct() -> tuple[CtVolume, NDArray[np.bool_]]:
    hu, body = anatomy()
    # DICOM: x left, y back, z head; supine, so that X = x, Z = -y, Y = z.
    ct = CtVolume(
        hu=hu,
        spacing_mm=(SPACING,) * 3,
        origin_dicom_mm=(-HALF, -HALF, -HALF),
        frame_of_reference_uid="1.2",
        series_uid="1.3",
        patient_id="A",
        patient_position="HFS",
    )
    return ct, body


def seen(hu: Hu) -> ConeBeamVolume:
    """As a cone beam would have it: low by scatter and hardening, noisy."""
    noise = np.random.default_rng(7).normal(0.0, 25.0, hu.shape)
    told = 0.9 * hu - 120.0 + noise
    return ConeBeamVolume(((told / 1000.0 + 1.0) * WATER_PER_MM).astype(np.float32), GRID)


def change(hu: Hu, field: tuple[float, float, float, float] = FIELD) -> AnatomyChange:
    ct, body = planning_ct()
    return change_in_scan(
        seen(hu), ct, body, np.eye(4), np.eye(4), field, water_per_mm=WATER_PER_MM
    )


def test_a_block_s_shift_is_found_to_a_tenth_of_a_voxel_with_another_scale_and_offset() -> None:
    plane = smoothed(
        np.random.default_rng(1).normal(0, 1, (90, 110)), np.ones((90, 110), bool), np.full(2, 2.0)
    )
    index = np.argwhere(np.ones_like(plane, bool)).astype(float)
    moved = sample(plane, index - np.array([1.3, -2.1])).reshape(plane.shape)
    mask = np.zeros(plane.shape, bool)
    mask[8:-8, 8:-8] = True
    found, looked = local_shifts(
        (0.7 * moved + 3.0).astype(np.float32),
        plane.astype(np.float32),
        mask,
        (1.0, 1.0),
        BlockSearch(),
    )
    assert looked == len(found) > 1
    for one in found:
        np.testing.assert_allclose(one.shift_mm, (1.3, -2.1), atol=0.1)


def test_a_patient_who_has_not_changed_may_be_treated() -> None:
    found = change(anatomy()[0])
    assert found.advice == "treat", found.reasons
    assert found.reasons == ()
    assert found.worst_mm is not None
    assert found.worst_mm < 1.0
    assert found.target_mm is not None
    assert found.target_mm < 0.5
    assert found.regions_measured > 0.8 * found.regions_looked_at
    assert found.outline is not None
    assert found.outline.mean_mm is not None
    assert abs(found.outline.mean_mm) < 0.3
    assert found.outline.covered_share > 0.5
    assert found.target is not None
    assert found.target.lost_share < 0.02


def test_a_part_that_slid_is_told_with_its_place_and_length() -> None:
    found = change(anatomy(slid_mm=6.0)[0])
    assert found.advice == "call the physicist"
    # Blocks reach 20 mm beyond their middles, and the tear is at 20 mm.
    gone = np.array([r.shift_mm for r in found.regions if r.centre_mm[1] > 45.0])
    stayed = [r for r in found.regions if r.centre_mm[1] < -5.0]
    assert len(gone) >= 3
    np.testing.assert_allclose(np.median(gone, axis=0), (6.0, 0.0, 0.0), atol=0.5)
    assert np.abs(gone - (6.0, 0.0, 0.0)).max() < 2.0
    assert all(region.mm < 2.0 for region in stayed)
    assert "mm off the plan after the correction (limit 5 mm)" in found.reasons[0]


def test_a_body_that_lost_eight_millimetres_in_front_asks_for_a_new_plan() -> None:
    found = change(anatomy(thinner_mm=8.0)[0])
    assert found.outline is not None
    assert found.outline.worst_mm is not None
    assert found.outline.worst_mm == pytest.approx(-8.0, abs=1.2)
    assert found.advice == "replan"
    assert any("inside that of the CT" in reason for reason in found.reasons)
    grown = change(anatomy(thinner_mm=-5.0)[0])
    assert grown.outline is not None
    assert grown.outline.worst_mm is not None
    assert grown.outline.worst_mm == pytest.approx(5.0, abs=1.0)
    assert any("outside that of the CT" in reason for reason in grown.reasons)


def test_a_tumour_that_went_is_told_as_tissue_that_has_gone() -> None:
    found = change(anatomy(tumour=False)[0])
    assert found.target is not None
    assert found.target.lost_share > 0.6
    assert found.advice in ("call the physicist", "replan")
    assert any("has gone since the CT" in reason for reason in found.reasons)


def test_a_field_that_does_not_hold_the_surface_says_that_it_was_not_seen() -> None:
    found = change(anatomy(thinner_mm=8.0)[0], (-60.0, 60.0, -80.0, 80.0))
    assert found.outline is not None
    assert found.outline.mean_mm is None
    assert any("the surface is not in the field" in text for text in found.not_measured)


def region(mm: float) -> RegionShift:
    return RegionShift(
        name="r",
        centre_mm=(0, 0, 0),
        shift_mm=(mm, 0, 0),
        sigma_mm=(0.2, 0.2, 0.2),
        mm=mm,
        similarity=0.9,
    )


@pytest.mark.parametrize(
    ("worst", "target", "outline", "lost", "advice"),
    [
        (1.0, 1.0, -1.0, 0.0, "treat"),
        (2.9, 4.9, -3.9, 0.24, "treat"),
        (3.0, 1.0, 0.0, 0.0, "re-image"),
        (5.0, 1.0, 0.0, 0.0, "call the physicist"),
        (1.0, 1.0, 4.0, 0.0, "call the physicist"),
        (1.0, 1.0, -6.1, 0.0, "replan"),
        (1.0, 1.0, 0.0, 0.25, "call the physicist"),
        (5.0, 5.0, 0.0, 0.0, "replan"),
    ],
)
def test_the_gravest_figure_decides_and_every_one_is_said(
    worst: float, target: float, outline: float, lost: float, advice: str
) -> None:
    found = judge(
        "cone beam",
        [region(worst), region(0.1)],
        2,
        target,
        OutlineChange(covered_share=0.6, mean_mm=outline, worst_mm=outline, worst_where="here"),
        TargetChange(radius_mm=25, lost_share=lost, gained_share=0.0),
        ChangeLimits(),
    )
    assert found.advice == advice
    assert bool(found.reasons) == (advice != "treat")


def test_a_pair_calls_for_images_again_from_a_larger_figure_on_and_for_nothing_graver() -> None:
    scan = judge("cone beam", [region(3.5)], 1, 0.1, None, None, ChangeLimits())
    assert scan.advice == "re-image"
    pairs = [
        judge("pair", [region(mm)], 1, 0.1, None, None, ChangeLimits()) for mm in (3.5, 4.0, 5.0)
    ]
    assert [pair.advice for pair in pairs] == ["treat", "re-image", "re-image"]


def test_too_little_that_could_be_compared_is_no_permission() -> None:
    found = judge("pair", [region(0.1)], 10, None, None, None, ChangeLimits())
    assert found.advice == "re-image"
    assert "only 1 of 10 regions" in found.reasons[0]
    assert any("a pair does not show them" in text for text in found.not_measured)


def entry(sequence: int, fraction: int, outline: float, patient: str = "A") -> RecordEntry:
    told = judge(
        "cone beam",
        [region(1.0)],
        1,
        0.5,
        OutlineChange(covered_share=0.6, mean_mm=outline, worst_mm=outline),
        None,
        ChangeLimits(),
    )
    return RecordEntry(
        sequence=sequence,
        at_us=0,
        at_utc="2026-01-01T00:00:00Z",
        kind="registration",
        actor="guidance",
        text="",
        data={
            "summary": {},
            "patient_id": patient,
            "plan_uid": "1.2",
            "fraction": fraction,
            "anatomy": told.model_dump(mode="json"),
        },
        previous="0" * 64,
        digest="0" * 64,
    )


def test_the_course_shows_a_slope_and_when_a_limit_would_be_reached() -> None:
    entries = [entry(n, n, -0.2 * n) for n in range(1, 6)]
    entries.append(entry(9, 6, 9.0, "B"))
    old = entries[0].model_copy(update={"sequence": 0, "data": {"summary": {}}})
    found = change_trend([old, *entries], "A", "1.2")
    assert [one.fraction for one in found.changes] == [1, 2, 3, 4, 5]
    assert found.outline_slope_mm == pytest.approx(-0.2)
    assert "fraction 20 it lies 4 mm inside" in found.forecast
    few = change_trend(entries[:2], "A", "1.2")
    assert few.outline_slope_mm is None
    assert few.forecast == ""
    assert change_trend([], "A", "1.2").changes == ()
