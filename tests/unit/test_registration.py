"""Known poses are found again from X-rays made by an independent ray caster, and what should not be believed
is refused.

The X-rays are cast here through trilinear samples in numpy, with rays worked out from `docs/conventions.md`,
Poisson noise, a treatment couch in the beam, and none of the code under test.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import igrt_hw
from igrt_hw._core import AttenuationVolume, FrameError, ImagingInputError, PanelGeometry
from igrt_hw.geometry import Correction, Frame, Pose, correction_to_pose
from igrt_hw.guidance.mask import body_mask
from igrt_hw.guidance.plan import LoadedPlan, load_plan
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import (
    Freedom,
    Limits,
    PatientModel,
    RegistrationResult,
    View,
    prepare,
    register,
)

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"
MU_WATER_PER_MM = 0.02059
SAD, SID = 1000.0, 1500.0
ROWS, COLS, PITCH = 96, 128, 3.104
ANGLES = (0.0, 90.0)
Floats = NDArray[np.float64]


@cache
def loaded() -> LoadedPlan:
    return load_plan(DEMO)


@cache
def patient() -> PatientModel:
    return prepare(loaded().ct, loaded().body_contours_dicom_mm)


@cache
def attenuation() -> tuple[NDArray[np.float32], Floats]:
    """Attenuation (slices, rows, cols) within the body, and patient <- index from the DICOM tags."""
    ct = loaded().ct
    body = body_mask(ct, loaded().body_contours_dicom_mm)
    mu = np.where(body, np.maximum(ct.hu + 1000.0, 0.0) * (MU_WATER_PER_MM / 1000.0), 0.0)
    (dx, dy, dz), (x, y, z) = ct.spacing_mm, ct.origin_dicom_mm
    # DICOM (x, y, z) is IEC patient (x, z, -y)
    affine = np.array([[dx, 0, 0, x], [0, 0, dz, z], [0, -dy, 0, -y], [0, 0, 0, 1]])
    return mu.astype(np.float32), affine


def planned() -> Pose:
    isocentre = loaded().plan.isocentres[0].isocentre_id
    matrix = loaded().table_from_patient(isocentre, np.zeros(3))
    return Pose.from_matrix(matrix, Frame.FIXED, Frame.PATIENT)


def panel(angle: float, rows: int = ROWS, cols: int = COLS) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=angle, sad_mm=SAD, sid_mm=SID, rows=rows, cols=cols, pixel_pitch_mm=PITCH
    )


def rays(angle_deg: float) -> tuple[Floats, Floats]:
    a = np.radians(angle_deg)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    x = (np.arange(COLS) - (COLS - 1) / 2) * PITCH
    y = ((ROWS - 1) / 2 - np.arange(ROWS)) * PITCH
    grid = np.stack(np.broadcast_arrays(x[None, :], y[:, None], SAD - SID), axis=-1)
    return turn @ np.array([0.0, 0.0, SAD]), grid @ turn.T


def cast(
    mu: NDArray[np.float32], index_from_fixed: Floats, source: Floats, pixels: Floats
) -> Floats:
    """Line integrals by 2 mm steps through trilinear samples."""
    step = 2.0
    direction = pixels - source
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    start = (source @ index_from_fixed[:3, :3].T + index_from_fixed[:3, 3] + 1.0).astype(np.float32)
    along = (direction @ index_from_fixed[:3, :3].T).astype(np.float32)
    padded = np.pad(mu, 1)
    size = np.array(mu.shape[::-1], dtype=np.float32) + 1.0
    flat, (_, rows, cols) = padded.ravel(), padded.shape
    total = np.zeros(pixels.shape[:2])
    for depth in np.arange(780.0, 1240.0, step, dtype=np.float32):
        index = start + depth * along
        inside = np.all((index > 0) & (index < size), axis=-1)
        at = index[inside]
        low = at.astype(np.int32)
        fx, fy, fz = (at - low).T
        base = (low[:, 2] * rows + low[:, 1]) * cols + low[:, 0]
        planes = []
        for dz in (0, rows * cols):
            lines = [
                flat[base + dz + dy] * (1 - fx) + flat[base + dz + dy + 1] * fx for dy in (0, cols)
            ]
            planes.append(lines[0] * (1 - fy) + lines[1] * fy)
        total[inside] += (planes[0] * (1 - fz) + planes[1] * fz) * step
    return total


def couch_path(source: Floats, pixels: Floats) -> Floats:
    """Attenuation of a carbon-fibre couch: two 2 mm skins and a foam core, 53 cm wide, under the patient."""
    direction = pixels - source
    length = np.linalg.norm(direction, axis=-1)
    total = np.zeros(length.shape)
    for low, high, mu in ((-166.0, -164.0, 0.03), (-164.0, -118.0, 0.0008), (-118.0, -116.0, 0.03)):
        with np.errstate(divide="ignore", invalid="ignore"):
            corner_a = (np.array([-265.0, -1500.0, low]) - source) / direction
            corner_b = (np.array([265.0, 600.0, high]) - source) / direction
        enter = np.minimum(corner_a, corner_b).max(axis=-1)
        leave = np.maximum(corner_a, corner_b).min(axis=-1)
        total += np.clip(np.minimum(leave, 1.0) - np.maximum(enter, 0.0), 0.0, None) * length * mu
    return total


def x_rays(pose: Pose, seed: int, photons: float = 2e4) -> list[View]:
    mu, affine = attenuation()
    index_from_fixed = np.linalg.inv(pose.matrix() @ affine)
    rng = np.random.default_rng(seed)
    views = []
    for angle in ANGLES:
        source, pixels = rays(angle)
        line = cast(mu, index_from_fixed, source, pixels) + couch_path(source, pixels)
        counts = np.maximum(rng.poisson(photons * np.exp(-line)), 0.5)
        views.append(View((-np.log(counts / photons)).astype(np.float32), panel(angle)))
    return views


def setup_error(seed: int, mm: float = 12.0, deg: float = 2.0) -> Correction:
    rng = np.random.default_rng(seed)
    return Correction.of([*rng.uniform(-mm, mm, 3), *rng.uniform(-deg, deg, 3)])


def left_over(result: RegistrationResult, error: Correction) -> Correction:
    """What remains between patient and plan when the correction has been applied: zero for a perfect one."""
    assert result.correction is not None
    remaining = correction_to_pose(result.correction) @ correction_to_pose(error)
    return Correction.of(remaining.parameters())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_setup_error_is_found_and_its_correction_brings_the_patient_onto_the_plan(
    seed: int,
) -> None:
    error = setup_error(seed)
    views = x_rays(correction_to_pose(error) @ planned(), seed)
    result = register(patient(), views, planned())
    assert result.verdict == "reliable", result.reasons
    remaining = left_over(result, error)
    assert np.linalg.norm(remaining.translation_mm) < 0.4
    assert np.abs(remaining.angles_deg).max() < 0.3
    assert result.residual_at_target_mm > 0.3 * np.linalg.norm(remaining.translation_mm)


def test_the_correction_is_towards_the_plan_and_not_away_from_it() -> None:
    """The patient lies 9 mm too far to the right of someone facing the gantry: the couch has to go left."""
    error = Correction(lateral_mm=9.0)
    result = register(patient(), x_rays(correction_to_pose(error) @ planned(), 5), planned())
    assert result.correction is not None
    assert result.correction.lateral_mm == pytest.approx(-9.0, abs=0.4)


def test_a_couch_that_stood_elsewhere_at_imaging_is_in_the_correction() -> None:
    """The couch stood 15 mm off the planned position, the patient lay where the couch said: C brings both back."""
    offset = Correction(longitudinal_mm=15.0, vertical_mm=-4.0)
    nominal = correction_to_pose(offset) @ planned()
    result = register(patient(), x_rays(nominal, 6), nominal, planned())
    assert result.correction is not None
    assert result.displacement_mm < 0.5
    assert result.correction.longitudinal_mm == pytest.approx(-15.0, abs=0.4)
    assert result.correction.vertical_mm == pytest.approx(4.0, abs=0.4)


def test_translation_only_leaves_the_angles_alone() -> None:
    error = Correction(lateral_mm=4.0, longitudinal_mm=-6.0, vertical_mm=3.0)
    views = x_rays(correction_to_pose(error) @ planned(), 7)
    result = register(patient(), views, planned(), freedom=Freedom.TRANSLATION)
    assert result.correction is not None
    assert result.correction.angles_deg == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    assert np.linalg.norm(left_over(result, error).translation_mm) < 0.5


def test_one_view_alone_leaves_a_direction_open_and_says_so() -> None:
    error = Correction(lateral_mm=3.0, longitudinal_mm=-2.0)
    views = x_rays(correction_to_pose(error) @ planned(), 8)[:1]
    result = register(patient(), views, planned(), limits=Limits(disagreement_max_mm=5.0))
    # The depth of an AP view is the vertical: its uncertainty must stand out.
    assert result.sigma_mm[2] > 2.0 * max(result.sigma_mm[:2])


def test_a_region_of_interest_keeps_the_rest_of_the_image_out() -> None:
    error = Correction(lateral_mm=5.0, vertical_mm=-5.0)
    views = x_rays(correction_to_pose(error) @ planned(), 9)
    region = np.zeros((ROWS, COLS), dtype=bool)
    region[20:-20, 25:-25] = True
    spoilt = []
    for view in views:
        image = view.image.copy()
        image[~region] = np.random.default_rng(1).uniform(0, 8, int((~region).sum()))
        spoilt.append(View(image, view.geometry, region))
    result = register(patient(), spoilt, planned())
    assert result.verdict != "refused", result.reasons
    assert np.linalg.norm(left_over(result, error).translation_mm) < 0.6


def test_a_region_too_small_to_tell_one_place_from_another_is_refused() -> None:
    region = np.zeros((ROWS, COLS), dtype=bool)
    region[40:56, 56:72] = True
    views = [View(v.image, v.geometry, region) for v in x_rays(planned(), 10)]
    result = register(patient(), views, planned())
    assert result.verdict == "refused"
    assert "small_region" in {reason.code for reason in result.reasons}


# --- what must not be believed ---------------------------------------------------------------------------------------


def refused(views: list[View], **more: object) -> set[str]:
    result = register(patient(), views, planned(), **more)  # type: ignore[arg-type]
    assert result.verdict == "refused"
    assert result.correction is None
    assert result.fixed_from_patient is None
    with pytest.raises(InputRefused):
        result.summary()
    return {reason.code for reason in result.reasons}


def spoilt(change: object) -> list[View]:
    return [View(change(v.image.copy()), v.geometry) for v in x_rays(planned(), 11)]  # type: ignore[operator]


def test_an_empty_image_is_refused() -> None:
    assert "empty_image" in refused(spoilt(lambda image: np.zeros_like(image)))


def test_an_image_of_noise_is_refused() -> None:
    rng = np.random.default_rng(3)
    codes = refused(spoilt(lambda image: rng.normal(3.0, 0.5, image.shape).astype(np.float32)))
    assert "low_similarity" in codes


def test_an_image_of_nothing_but_nan_is_refused() -> None:
    codes = refused(spoilt(lambda image: np.full_like(image, np.nan)))
    assert "not_finite" in codes


def test_a_saturated_image_is_refused() -> None:
    def clipped(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.maximum(image, np.float32(np.quantile(image, 0.6)))

    assert "saturated" in refused(spoilt(clipped))


def test_swapped_views_are_refused() -> None:
    first, second = x_rays(planned(), 12)
    assert refused([View(second.image, first.geometry), View(first.image, second.geometry)])


def test_a_mirrored_image_is_refused() -> None:
    assert refused(spoilt(lambda image: np.ascontiguousarray(image[:, ::-1])))
    assert refused(spoilt(lambda image: np.ascontiguousarray(image[::-1])))


def test_a_patient_who_moved_between_the_views_is_refused() -> None:
    first = x_rays(planned(), 13)[0]
    second = x_rays(correction_to_pose(Correction(longitudinal_mm=8.0)) @ planned(), 13)[1]
    assert refused([first, second])


def test_a_patient_too_far_from_the_plan_is_refused() -> None:
    far = correction_to_pose(Correction(longitudinal_mm=45.0))
    assert "edge_of_search" in refused(x_rays(far @ planned(), 14))


@pytest.mark.parametrize("offset_mm", [-24.0, 24.0])
def test_a_patient_a_vertebra_off_is_found_where_he_lies_or_refused(offset_mm: float) -> None:
    """The neighbouring vertebra looks alike; to settle on it would leave the offset in."""
    error = Correction(longitudinal_mm=offset_mm)
    result = register(patient(), x_rays(correction_to_pose(error) @ planned(), 16), planned())
    if result.correction is None:
        assert result.verdict == "refused"
    else:
        assert np.linalg.norm(left_over(result, error).translation_mm) < 1.0


def test_a_wrong_vertebra_is_refused() -> None:
    """The CT without the level that the images show: what is left of the chest moves up to its place."""
    ct = loaded().ct
    near = round(-ct.origin_dicom_mm[2] / ct.spacing_mm[2]) + round(
        loaded().plan.isocentres[0].position_dicom_mm[2] / ct.spacing_mm[2]
    )
    gone = round(25.0 / ct.spacing_mm[2])
    mu, affine = attenuation()
    kept = np.concatenate([mu[:near], mu[near + gone :]])
    hu = (kept / MU_WATER_PER_MM * 1000.0 - 1000.0).astype(np.float32)
    other = PatientModel(AttenuationVolume(hu, affine), patient().frame_of_reference_uid)
    result = register(other, x_rays(planned(), 17), planned())
    assert result.verdict == "refused", result.correction
    assert result.correction is None


def test_another_patient_is_refused() -> None:
    """The same chest, but as an image of a person 12 % smaller lying 5 mm deeper: alike, and not the same."""
    mu, affine = attenuation()
    other = affine @ np.diag([0.88, 1.14, 0.9, 1.0])
    other[:3, 3] += affine[:3, :3] @ (
        np.array(mu.shape[::-1]) * (1 - np.array([0.88, 1.14, 0.9])) / 2
    )
    index_from_fixed = np.linalg.inv(planned().matrix() @ other)
    views = []
    for angle in ANGLES:
        source, pixels = rays(angle)
        line = cast(mu, index_from_fixed, source, pixels)
        views.append(View(line.astype(np.float32), panel(angle)))
    assert refused(views)


def test_input_that_does_not_fit_together_is_an_error() -> None:
    view = x_rays(planned(), 15)[0]
    with pytest.raises(ImagingInputError, match="image has shape"):
        register(patient(), [View(view.image[:-1], view.geometry)], planned())
    with pytest.raises(ImagingInputError, match="one to 4"):
        register(patient(), [view] * 5, planned())
    with pytest.raises(ImagingInputError, match="one to 4"):
        register(patient(), [], planned())
    with pytest.raises(ImagingInputError, match="rigid"):
        register(patient(), [view], np.eye(4) * 1.1)
    with pytest.raises(FrameError):
        register(patient(), [view], Pose.identity(Frame.TABLE_TOP, Frame.PATIENT))
