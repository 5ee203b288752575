"""Images through the service's own taker, in virtual time: any technique has its flood, the arms' flex is followed,
every exposure is counted.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imaging_room import COUCH, Room, off_by
from phantom_room import PANEL, true_pixels
from xray_pairs import DEMO

from igrt_hw.geometry import Correction, compose_correction
from igrt_hw.guidance.imager_calibration import (
    ImagerCalibration,
    PanelLag,
    load_imager_calibration,
    save_imager_calibration,
)
from igrt_hw.guidance.imager_geometry import FlexMap, ImagerPose
from igrt_hw.guidance.imaging_protocol import protocol_for
from igrt_hw.guidance.plan import LoadedPlan, load_plan
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.plan import PlannedField, PlannedMarker
from igrt_hw.models.status import ImageView
from igrt_hw.server.errors import JobError
from igrt_hw.server.imaging import AcquiredPair, LostExposure
from igrt_hw.server.registering import (
    PreparedPlan,
    by_markers,
    register_markers,
    register_pair,
)


def setup_fields(loaded: LoadedPlan) -> tuple[PlannedField, ...]:
    return loaded.plan.isocentres[0].setup_fields[:2]


@pytest.fixture(scope="module")
def plan() -> PreparedPlan:
    return PreparedPlan.of(load_plan(DEMO))


@pytest.mark.slow
@pytest.mark.parametrize("site", ["head_and_neck", "prostate"])
def test_the_protocol_of_a_site_goes_from_its_own_floods_to_a_verified_couch(
    site: str, plan: PreparedPlan
) -> None:
    room = Room()
    fields = setup_fields(plan.loaded)
    first = room.pair(site, fields)
    wanted = [protocol_for(site).view_at(field.angle_deg) for field in fields]
    assert [(i.view.kvp, i.view.mas) for i in first.images] == [(w.kvp, w.mas) for w in wanted]
    found = register_pair(
        plan, "ISO1", first.images, COUCH, first.stamp.couch_axes, translation_only=False
    )
    assert found.correction is not None
    assert off_by(found.correction, room.needed()) < 0.25
    room.move_to(compose_correction(COUCH, first.stamp.couch_axes, found.correction))
    second = room.pair(site, fields)
    again = register_pair(
        plan, "ISO1", second.images, COUCH, second.stamp.couch_axes, translation_only=False
    )
    assert again.correction is not None
    assert again.correction.magnitude_mm < 0.4
    assert room.needed().magnitude_mm < 0.4
    assert len(room.told) == 4
    assert all(isinstance(told, ImageView) for told in room.told)


@pytest.mark.slow
def test_floods_are_fetched_once_for_each_voltage_and_dark_frames_once_for_both(
    plan: PreparedPlan,
) -> None:
    room = Room()
    counted = {"flood": 0, "dark": 0}
    flood, dark = room.imager.stored_flood, room.imager.dark_frames

    def floods() -> Any:
        counted["flood"] += 1
        return flood()

    def darks(count: int, cancel: Any = None) -> Any:
        counted["dark"] += 1
        return dark(count, cancel)

    room.imager.stored_flood, room.imager.dark_frames = floods, darks  # type: ignore[method-assign]
    fields = setup_fields(plan.loaded)
    room.pair("head_and_neck", fields)
    assert counted == {"flood": 2, "dark": 1}
    for view in room.imager.techniques[-2:]:
        assert room.taker._panel.fresh(view) is not None, "fresh ones serve again"
    room.later_us = 31 * 60 * 1_000_000
    room.pair("head_and_neck", fields)
    assert counted == {"flood": 2, "dark": 2}, "the offset is old, the floods are not"


@pytest.mark.slow
def test_the_flood_of_another_voltage_would_leave_structure_that_its_own_takes_out() -> None:
    room = Room(patient=None, physics={"scatter": 0.0, "flex": 0.0, "noise": 0.3})
    angle = 0.0
    field = PlannedField.model_validate(
        {
            "number": 1,
            "name": "kV",
            "purpose": "SETUP",
            "angle_deg": angle,
            "half_field_mm": (-100, 100, -100, 100),
            "couch": load_plan(DEMO).plan.isocentres[0].couch,
        }
    )
    lateral = field.model_copy(update={"number": 2, "angle_deg": 90.0})
    images = room.pair("head_and_neck", (field, lateral)).images
    side = images[1]  # 70 kVp; open field above and below the couch
    above = np.zeros_like(side.region)
    above[:, : side.region.shape[1] // 3] = True
    upper = side.line_integrals[side.region & above]
    lower = side.line_integrals[side.region & np.fliplr(above)]
    own = min(
        float(np.nanstd(upper)), float(np.nanstd(lower))
    )  # the side that is free of the couch
    keeper = room.taker._panel
    low, high = (
        next(made for (of, _), made in keeper._made.items() if of.kvp == kvp)
        for kvp in (70.0, 100.0)
    )
    ratio = high.gain / low.gain
    good = side.region & ~low.defects & ~high.defects
    other = float(np.std(np.log(ratio[good])))
    assert other > 0.002
    assert own < 0.02


@pytest.mark.slow
def test_an_exposure_that_came_to_nothing_is_counted_all_the_same(plan: PreparedPlan) -> None:
    room = Room()

    def broken() -> None:
        room.imager.break_next = None
        raise JobError("the line was cut while the frame was fetched")

    room.imager.break_next = broken
    with pytest.raises(JobError, match="cut"):
        room.pair("lung", setup_fields(plan.loaded))
    lost = [told for told in room.told if isinstance(told, LostExposure)]
    assert len(lost) == 1
    assert lost[0].dose_area_uGycm2 == pytest.approx(room.imager.telemetry.dose_area_uGycm2, abs=2)


@pytest.mark.slow
def test_the_flex_map_of_the_imager_is_what_images_are_projected_with(
    plan: PreparedPlan, tmp_path: Path
) -> None:
    bent = {"flex": 2.0}
    fields = setup_fields(plan.loaded)
    drawn = Room(physics=bent)
    pair = drawn.pair("lung", fields)
    assert {image.view.geometry for image in pair.images} == {"as drawn"}
    plain = try_to_register(plan, pair)
    poses = tuple(
        pose_of(drawn.room.perform("imager.view", source_deg=angle), angle) for angle in (0.0, 90.0)
    )
    file = tmp_path / "imager.json"
    save_imager_calibration(
        ImagerCalibration(
            imager="kV",
            made_utc="2026-01-01T00:00:00Z",
            flex=FlexMap(
                imager="kV", calibrated_utc="2026-01-01T00:00:00Z", phantom="truth", poses=poses
            ),
            lag=PanelLag(shares=(0.0038, 0.0011, 0.0001), decay_s=(0.3, 2.2, 60.0)),
        ),
        file,
    )
    room = Room(physics=bent, known=load_imager_calibration(file))
    pair = room.pair("lung", fields)
    assert {image.view.geometry for image in pair.images} == {"calibrated"}
    assert all(image.view.lag_corrected for image in pair.images)
    found = register_pair(
        plan, "ISO1", pair.images, COUCH, pair.stamp.couch_axes, translation_only=False
    )
    assert plain is None or off_by(plain, drawn.needed()) > 0.3, "the arms were not bent"
    assert found.correction is not None
    assert off_by(found.correction, room.needed()) < 0.15

    oblique = (fields[0].model_copy(update={"angle_deg": 45.0}), fields[1])
    exposed = room.imager.exposures
    with pytest.raises(InputRefused, match=r"flex map .* holds nothing near .* 45"):
        room.pair("lung", oblique)
    assert room.imager.exposures == exposed, "refused before anything is exposed"


def try_to_register(plan: PreparedPlan, pair: AcquiredPair) -> Correction | None:
    """The correction, or None where the registration does not believe itself."""
    with suppress(JobError):
        return register_pair(
            plan, "ISO1", pair.images, COUCH, pair.stamp.couch_axes, translation_only=False
        ).correction
    return None


def pose_of(view: dict[str, list[float]], angle: float) -> ImagerPose:
    """The true pose of the simulator's bent imager as a perfect calibration would find it: Gauss-Newton on pixels."""
    grid = np.array(
        [[x, y, z] for x in (-60, 0, 60) for y in (-60, 0, 60) for z in (-60, 0, 60)], dtype=float
    )
    truth = true_pixels(view, grid)
    numbers = ImagerPose(source_angle_deg=angle, sad_mm=1000.0, sid_mm=1500.0).numbers()

    def miss(at: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
        return (ImagerPose.from_numbers(angle, at).geometry(PANEL).pixels_of(grid) - truth).ravel()

    for _ in range(8):
        step = 1e-4 * np.eye(9)
        slopes = np.stack([(miss(numbers + s) - miss(numbers - s)) / 2e-4 for s in step], axis=1)
        numbers = numbers - np.linalg.lstsq(slopes, miss(numbers), rcond=None)[0]
    assert np.abs(miss(numbers)).max() < 1e-2
    return ImagerPose.from_numbers(angle, numbers)


@pytest.mark.slow
def test_a_prostate_plan_with_markers_is_matched_by_them_with_a_residual_for_each(
    plan: PreparedPlan,
) -> None:
    room = Room(markers=4, setup_error_mm=8.0, setup_error_deg=1.5, marker_spread_mm=15.0)
    seeds = tuple(
        PlannedMarker(name=f"seed {n}", position_dicom_mm=tuple(seed["centre_mm"]), sigma_mm=0.3)
        for n, seed in enumerate(room.room.perform("scene")["markers_planned"], 1)
    )
    marked = replace(
        plan.loaded, plan=plan.loaded.plan.model_copy(update={"markers": seeds, "site": "prostate"})
    )
    prepared = PreparedPlan(marked, plan.patient)
    assert by_markers(marked, protocol_for("prostate"), "site")
    pair = room.pair("prostate", setup_fields(marked))
    found = register_markers(prepared, "ISO1", pair.images, COUCH, pair.stamp.couch_axes)
    assert found.correction is not None
    assert off_by(found.correction, room.needed()) < 1.0
    summary = found.summary()
    assert summary.method == "markers"
    assert [marker.name for marker in summary.markers] == [seed.name for seed in seeds]
    used = [marker for marker in summary.markers if marker.used]
    assert len(used) >= 3
    for marker in used:
        assert marker.views == 2
        assert marker.reprojection_px is not None
        assert marker.reprojection_px < 1.5
