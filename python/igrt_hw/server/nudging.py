"""Registration by hand: the DRR where a person puts the patient, how like the image it is there, and the result of it.

A person's match is never called reliable: it is doubtful by rule, so that a second person has to approve what comes of
it, and no verification rests on it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry, Pose
from igrt_hw.geometry import Correction, Frame
from igrt_hw.geometry.compose import correction_to_pose
from igrt_hw.guidance.orientation import iec_patient_point
from igrt_hw.guidance.overlay import drr
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.region import drawn as region_of
from igrt_hw.guidance.registration import Freedom, Limits, Reason, RegistrationResult
from igrt_hw.models.commands import DrawnRegion, HandMatch
from igrt_hw.models.landmarks import Kind, Landmark, Landmarks
from igrt_hw.server.errors import JobError
from igrt_hw.server.imaging import StoredImage
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import PreparedPlan

Image = NDArray[np.float32]

SIGMA_MM, SIGMA_DEG = 1.0, 1.0
"""Assumed, not measured: the limits beyond which a match by the computer is not believed (`guidance.registration`)."""
TARGET_BOUND = 2.8  # exceeded in 5 % of cases by the length of three equal normal errors: chi, 3 degrees of freedom


def planned_pose(plan: PreparedPlan, isocentre_id: str) -> Pose:
    """fixed <- patient as the plan wants it; raises `JobError` for a plan that cannot be placed."""
    return Placement.of(plan.loaded, isocentre_id).planned


def pose_before(correction: Correction, planned: Pose) -> Pose:
    """fixed <- patient of somebody whom `correction` would bring onto the plan."""
    return correction_to_pose(correction).inverse() @ planned


def nudged_drr(
    plan: PreparedPlan, isocentre_id: str, image: StoredImage, correction: Correction, side_max: int
) -> tuple[Image, float | None]:
    """The DRR of an image's view, of at most `side_max` pixels a side, and how like the image it is (-1 to 1).

    The likeness is the normalised cross-correlation over the image's region; None where it has no usable pixels.
    """
    pose = pose_before(correction, planned_pose(plan, isocentre_id))
    geometry, step = coarser(image.geometry, side_max)
    made = drr(plan.patient, geometry, pose)
    return made, likeness(
        shrunk(image.line_integrals, step), made, shrunk_region(image.region, step)
    )


def coarser(geometry: PanelGeometry, side_max: int) -> tuple[PanelGeometry, int]:
    """The same panel with pixels of `step` x `step` of its own, and that step."""
    rows, cols = geometry.shape
    step = max(1, math.ceil(max(rows, cols) / side_max))
    if step == 1:
        return geometry, 1
    to_rows, to_cols = rows // step, cols // step
    # Pixels that do not fill a block fall away at the far edges; the middle of what stays is off by half of them.
    pitch = geometry.pixel_pitch_mm
    off_cols, off_rows = (
        (cols - to_cols * step) / 2.0 * pitch,
        (rows - to_rows * step) / 2.0 * pitch,
    )
    turn = math.radians(geometry.panel_rotation_deg)
    return (
        PanelGeometry(
            source_angle_deg=geometry.source_angle_deg,
            sad_mm=geometry.sad_mm,
            sid_mm=geometry.sid_mm,
            rows=to_rows,
            cols=to_cols,
            pixel_pitch_mm=pitch * step,
            panel_lateral_mm=geometry.panel_lateral_mm
            - off_cols * math.cos(turn)
            - off_rows * math.sin(turn),
            panel_longitudinal_mm=geometry.panel_longitudinal_mm
            - off_cols * math.sin(turn)
            + off_rows * math.cos(turn),
            panel_rotation_deg=geometry.panel_rotation_deg,
            panel_pitch_deg=geometry.panel_pitch_deg,
            panel_roll_deg=geometry.panel_roll_deg,
            source_lateral_mm=geometry.source_lateral_mm,
            source_longitudinal_mm=geometry.source_longitudinal_mm,
        ),
        step,
    )


def shrunk(image: Image, step: int) -> Image:
    """Means over blocks of `step` x `step`; NaN where a block holds a NaN."""
    rows, cols = image.shape[0] // step, image.shape[1] // step
    blocks = image[: rows * step, : cols * step].reshape(rows, step, cols, step)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def shrunk_region(region: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Blocks that lie wholly in the region."""
    rows, cols = region.shape[0] // step, region.shape[1] // step
    blocks = region[: rows * step, : cols * step].reshape(rows, step, cols, step)
    return np.asarray(blocks.all(axis=(1, 3)), dtype=np.bool_)


def likeness(image: Image, model: Image, region: NDArray[np.bool_]) -> float | None:
    """Normalised cross-correlation over the region, -1 to 1; None without usable pixels or without contrast."""
    seen = region & np.isfinite(image) & np.isfinite(model)
    if int(seen.sum()) < 64:
        return None
    a, b = image[seen].astype(np.float64), model[seen].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0.0 else None


def within(images: Sequence[StoredImage], drawn: Sequence[DrawnRegion]) -> list[StoredImage]:
    """The images with their regions cut down to what was drawn on them.

    Raises `JobError` for a region of an image that is not registered, or one that holds nothing of its image.
    """
    unknown = {one.image_uid for one in drawn} - {image.view.image_uid for image in images}
    if unknown:
        raise JobError("a region was drawn on an image that is not one of this pair: draw it anew")
    cut = list(images)
    for one in drawn:
        for number, image in enumerate(cut):
            if image.view.image_uid == one.image_uid:
                try:
                    region = image.region & region_of(image.geometry, one.corners_px)
                except InputRefused as error:
                    raise JobError(f"the drawn region cannot be used: {error}") from error
                if not region.any():
                    raise JobError(
                        "the drawn region holds no usable pixel of its image: draw it anew"
                    )
                cut[number] = replace(image, region=region)
    return cut


def checked(correction: Correction) -> Correction:
    """A correction that a match may have; raises `JobError` beyond the limits of any match."""
    shift, turn = correction.values()[:3], correction.values()[3:]
    limits = Limits()
    most_mm, most_deg = limits.displacement_max_mm, limits.displacement_max_deg
    if not (math.hypot(*shift) <= most_mm and math.hypot(*turn) <= most_deg):
        raise JobError(
            f"a match by hand may move at most {most_mm:g} mm and {most_deg:g} deg; set the patient up again"
        )
    return correction


def landmarks(
    plan: PreparedPlan, isocentre_id: str, image: StoredImage, correction: Correction | None
) -> Landmarks:
    """Isocentre and points of the plan in pixels of an image, the patient where `correction` would start from.

    Without a correction the patient is where the plan wants it.
    """
    pose = planned_pose(plan, isocentre_id)
    if correction is not None:
        pose = pose_before(correction, pose)
    isocentre = plan.loaded.isocentre(isocentre_id)
    named: list[tuple[str, Kind, tuple[float, float, float]]] = [
        ("isocentre", "isocentre", isocentre.position_dicom_mm),
        *((point.name, "marker", point.position_dicom_mm) for point in plan.loaded.plan.markers),
    ]
    patient = np.array([iec_patient_point(place) for _, _, place in named])
    fixed = patient @ pose.matrix()[:3, :3].T + pose.matrix()[:3, 3]
    pixels = image.geometry.pixels_of(fixed)
    return Landmarks(
        image_uid=image.view.image_uid,
        points=tuple(
            Landmark(
                name=name,
                kind="vertebra" if LEVEL.fullmatch(name) else kind,
                column=float(c),
                row=float(r),
            )
            for (name, kind, _), (c, r) in zip(named, pixels, strict=True)
            if np.isfinite(c) and np.isfinite(r)
        ),
    )


LEVEL = re.compile(r"(C[1-7]|T(1[0-2]|[1-9])|L[1-5]|S[1-5])", re.IGNORECASE)
"""Names of vertebrae: a point of the plan that carries one is its label on the image."""


def by_hand(
    plan: PreparedPlan,
    isocentre_id: str,
    images: Sequence[StoredImage],
    match: HandMatch,
    by: str,
) -> RegistrationResult:
    """The result of a match by hand: doubtful by rule, for the reason that a person gave. Raises `JobError`."""
    correction, why = checked(match.correction), f"by {by}: {match.reason}: {match.text}"
    likes = [nudged_drr(plan, isocentre_id, image, correction, 512)[1] for image in images]
    pose = pose_before(correction, planned_pose(plan, isocentre_id))
    pose.expect_frames(Frame.FIXED, Frame.PATIENT)
    covariance = np.diag([SIGMA_MM**2] * 3 + [SIGMA_DEG**2] * 3)
    shift, turn = correction.values()[:3], correction.values()[3:]
    rows = tuple(tuple(float(x) for x in row) for row in covariance)
    return RegistrationResult(
        verdict="doubtful",
        reasons=(
            Reason(
                code="by_hand",
                sentence=f"matched by hand {why}; its uncertainty is assumed, not measured: "
                f"{SIGMA_MM:g} mm and {SIGMA_DEG:g} deg",
            ),
        ),
        correction=correction,
        covariance=rows,
        residual_covariance=rows,
        fixed_from_patient=tuple(tuple(float(x) for x in row) for row in pose.matrix()),
        per_view_similarity=tuple(0.0 if like is None else like for like in likes),
        per_view_foreign=(),
        per_view_overlap=(),
        per_view_disagreement_mm=(),
        per_view_scatter_share=(),
        displacement_mm=math.hypot(*shift),
        displacement_deg=math.hypot(*turn),
        residual_at_target_mm=TARGET_BOUND * SIGMA_MM,
        sigma_at_target_mm=SIGMA_MM,
        rival_share=None,
        rival_distance_mm=None,
        iterations=0,
        converged=True,
        freedom=Freedom.SIX,
        duration_ms=0.0,
    )
