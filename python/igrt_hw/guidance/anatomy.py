"""How the patient has changed since the planning CT: what a rigid correction of a cone beam or of a pair leaves.

Three things are measured after the match, where the images show them: regions that lie elsewhere (turned vertebrae, a
tumour that drifted, breathing), the body's outline (weight, swelling), and tissue that has gone or come about the
isocentre (tumour regression, atelectasis). What to do about it follows from `ChangeLimits` alone (`judge`), and what
could not be seen is said. No dose is computed: the figures say when somebody has to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry, Pose
from igrt_hw.guidance.cbct import ConeBeamVolume
from igrt_hw.guidance.ct import CtVolume
from igrt_hw.guidance.local_shift import BlockSearch, LocalShift, local_shifts, sample, smoothed
from igrt_hw.guidance.outline import outline_change
from igrt_hw.guidance.registration import PatientModel, RegistrationResult, View
from igrt_hw.models.anatomy import (
    ADVICE_ORDER,
    Advice,
    AnatomyChange,
    ChangeLimits,
    OutlineChange,
    RegionShift,
    TargetChange,
)

Floats = NDArray[np.float64]
Field = tuple[float, float, float, float]

SIMILARITY_MIN: Final = 0.7
SIGMA_MAX_MM: Final = 1.0
EDGE_MM: Final = 8.0  # of the field, where cone-beam values fail first
REGIONS_KEPT: Final = 24
MEASURED_SHARE_MIN: Final = 0.3
TARGET_RADIUS_MM: Final = 25.0
TARGET_BLOCK_MM: Final = 60.0
# Between these values a voxel of 2 mm at an edge is neither: it counts as unchanged.
TISSUE_HU: Final = -250.0
LUNG_HU: Final = -550.0
TISSUE_SHARE_MIN: Final = 0.05
# What tells the scale: soft tissue, and lung or air, and so many voxels of either.
SOFT_HU: Final = 150.0
EMPTY_HU: Final = -600.0
CLASS_MIN: Final = 500
SCAN_SEARCH: Final = BlockSearch(contrast_min=25.0)
# Of views: what is wider than this is scatter and hardening, and is taken off both.
WIDE_MM: Final = 12.0
VIEW_SEARCH: Final = BlockSearch(scales_mm=(3.0, 1.0), contrast_min=0.01)
PITCH_MM: Final = 1.0
BODY_MIN: Final = 0.2  # line integral; 1 cm of water


@dataclass(frozen=True, slots=True, eq=False)
class ViewToCompare:
    """A corrected view, the DRR of it at the pose that was found, and where the view is to be used."""

    image: NDArray[np.float32]
    drr: NDArray[np.float32]
    geometry: PanelGeometry
    region: NDArray[np.bool_] | None = None


def change_in_scan(
    cbct: ConeBeamVolume,
    ct: CtVolume,
    body: NDArray[np.bool_],
    fixed_from_patient: Pose | NDArray[np.float64],
    planned: Pose | NDArray[np.float64],
    field_mm: Field,
    *,
    water_per_mm: float,
    limits: ChangeLimits | None = None,
) -> AnatomyChange:
    """What a cone-beam scan shows beyond the rigid match. Takes some seconds; for a worker.

    Args:
        cbct, ct, body: as for `register_cone_beam`.
        fixed_from_patient: the pose that the match found.
        planned: fixed <- patient as planned; its isocentre is where the target is looked for.
        field_mm: blade edges of the scan at the isocentre, x1, x2, y1, y2.
    """
    kept = limits or ChangeLimits()
    pose, wanted = _matrix(fixed_from_patient), _matrix(planned)
    told, mask = _laid(ct, body, pose, cbct)
    seen = cbct.hu(water_per_mm)
    inside = _in_field(cbct, field_mm)
    seen = _on_the_scale_of(seen, told, inside)
    dx, dz, dy = cbct.grid.spacing_mm
    spacing = (dy, dz, dx)
    deep = mask & inside
    found, looked = local_shifts(seen, told, deep, spacing, SCAN_SEARCH)
    to_fixed = cbct.grid.fixed_from_index()[:3, :3] / np.array([dx, dz, dy])
    regions = [_of_scan(shift, cbct, to_fixed) for shift in found if _believed(shift)]
    isocentre = (pose @ np.linalg.inv(wanted))[:3, 3]
    outline = outline_change(seen, told, mask, cbct.grid, inside, isocentre)
    target, target_mm = _target(seen, told, deep, cbct, isocentre, spacing)
    return judge("cone beam", regions, looked, target_mm, outline, target, kept)


def change_in_views(
    views: Sequence[ViewToCompare],
    fixed_from_patient: Pose | NDArray[np.float64],
    planned: Pose | NDArray[np.float64],
    *,
    limits: ChangeLimits | None = None,
) -> AnatomyChange:
    """What X-rays show beyond the rigid match: regions across the beams, no outline, no depth."""
    isocentre = (_matrix(fixed_from_patient) @ np.linalg.inv(_matrix(planned)))[:3, 3]
    regions: list[RegionShift] = []
    looked = 0
    target: list[float] = []
    for view in views:
        compared = _Compared.of(view)
        found, blocks = compared.everywhere()
        looked += blocks
        regions += [
            _of_view(one, view.geometry, compared, isocentre) for one in found if _believed(one)
        ]
        target += [one.mm for one in compared.about(view.geometry, isocentre) if _believed(one)]
    return judge(
        "pair",
        regions,
        looked,
        max(target, default=None),
        None,
        None,
        limits or ChangeLimits(),
    )


def change_after(
    patient: PatientModel,
    views: Sequence[View],
    result: RegistrationResult,
    planned: Pose | NDArray[np.float64],
    *,
    limits: ChangeLimits | None = None,
) -> AnatomyChange | None:
    """`change_in_views` of a registration; None when it was refused, as nobody knows then where the patient lies."""
    if result.fixed_from_patient is None:
        return None
    pose = np.array(result.fixed_from_patient)
    volume = patient.whole or patient.volume
    return change_in_views(
        [
            ViewToCompare(
                view.image, volume.project(view.geometry, pose), view.geometry, view.region
            )
            for view in views
        ],
        pose,
        planned,
        limits=limits,
    )


def judge(
    source: Literal["cone beam", "pair"],
    regions: Sequence[RegionShift],
    looked: int,
    target_mm: float | None,
    outline: OutlineChange | None,
    target: TargetChange | None,
    limits: ChangeLimits,
) -> AnatomyChange:
    """From figures to advice; the gravest reason decides."""
    ordered = sorted(regions, key=lambda region: -region.mm)
    said: list[tuple[Advice, str]] = []
    reimage_mm = limits.pair_reimage_mm if source == "pair" else limits.region_reimage_mm
    if ordered and ordered[0].mm >= reimage_mm:
        worst = ordered[0]
        grave = source == "cone beam" and worst.mm >= limits.region_physicist_mm
        limit = limits.region_physicist_mm if grave else reimage_mm
        meaning = "not one rigid body; set up and image again"
        if source == "pair":
            meaning = (
                "a change, or a mismatch of this region alone; look there, and take a cone beam"
            )
        said.append(
            (
                "call the physicist" if grave else "re-image",
                f"the region {worst.name} lies {worst.mm:.1f} mm off the plan after the correction "
                f"(limit {limit:g} mm): {meaning}",
            )
        )
    if target_mm is not None and target_mm >= limits.target_replan_mm:
        said.append(
            (
                "replan",
                f"the target region itself is {target_mm:.1f} mm off after the correction "
                f"(limit {limits.target_replan_mm:g} mm): treat only if a physician says so",
            )
        )
    said += _of_outline(outline, limits) + _of_target(target, limits)
    missing = _not_measured(source, looked, len(regions), target_mm, outline, target)
    if looked and len(regions) < MEASURED_SHARE_MIN * looked:
        said.append(
            (
                "re-image",
                f"only {len(regions)} of {looked} regions could be compared with the CT: whether the patient has "
                "changed is not known",
            )
        )
    lengths = [region.mm for region in ordered]
    return AnatomyChange(
        source=source,
        advice=max((advice for advice, _ in said), key=ADVICE_ORDER.index, default="treat"),
        reasons=tuple(f"{advice}: {sentence}" for advice, sentence in said),
        not_measured=tuple(missing),
        regions_looked_at=looked,
        regions_measured=len(regions),
        median_mm=float(np.median(lengths)) if lengths else None,
        worst_mm=lengths[0] if lengths else None,
        target_mm=target_mm,
        regions=tuple(ordered[:REGIONS_KEPT]),
        outline=outline,
        target=target,
        limits=limits,
    )


def _of_outline(outline: OutlineChange | None, limits: ChangeLimits) -> list[tuple[Advice, str]]:
    if outline is None or outline.worst_mm is None:
        return []
    size = abs(outline.worst_mm)
    if size < limits.outline_physicist_mm:
        return []
    word = "inside" if outline.worst_mm < 0 else "outside"
    grave = size >= limits.outline_replan_mm
    limit = limits.outline_replan_mm if grave else limits.outline_physicist_mm
    sentence = f"the body's surface lies {size:.1f} mm {word} that of the CT {outline.worst_where} (limit {limit:g} mm)"
    return [("replan" if grave else "call the physicist", sentence)]


def _of_target(target: TargetChange | None, limits: ChangeLimits) -> list[tuple[Advice, str]]:
    if target is None:
        return []
    return [
        (
            "call the physicist",
            f"{100 * share:.0f} % of the tissue within {target.radius_mm:g} mm of the isocentre has {word} since the "
            f"CT (limit {100 * limits.target_density_share:g} %)",
        )
        for share, word in ((target.lost_share, "gone"), (target.gained_share, "come"))
        if share >= limits.target_density_share
    ]


def _not_measured(
    source: str,
    looked: int,
    measured: int,
    target_mm: float | None,
    outline: OutlineChange | None,
    target: TargetChange | None,
) -> list[str]:
    out = []
    if source == "pair":
        out.append("outline, tissue and shifts along the beams: a pair does not show them")
    elif outline is None or outline.mean_mm is None:
        out.append("outline: the surface is not in the field")
    elif outline.covered_share < 0.5:
        out.append(
            f"{100 * (1 - outline.covered_share):.0f} % of the surface (outside of the field, or on the couch)"
        )
    if measured < looked:
        out.append(f"{looked - measured} of {looked} regions (nothing that could be matched)")
    if target_mm is None:
        out.append("the target region's own shift: nothing there that could be matched")
    if source != "pair" and target is None:
        out.append("tissue about the isocentre: there is hardly any in the CT")
    return out


# ---- the scan ------------------------------------------------------------------------------------


def _matrix(pose: Pose | NDArray[np.float64]) -> Floats:
    return pose.matrix() if isinstance(pose, Pose) else np.asarray(pose, dtype=np.float64)


def _laid(
    ct: CtVolume, body: NDArray[np.bool_], pose: Floats, cbct: ConeBeamVolume
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The CT where it was found, on the scan's voxels, air outside of the body; and the body there."""
    shape = cbct.attenuation_per_mm.shape
    slices, rows, cols = np.indices(shape, dtype=np.float64).reshape(3, -1)
    index = np.stack([cols, rows, slices, np.ones_like(cols)])
    at = np.linalg.inv(pose @ ct.iec_patient_from_index()) @ cbct.grid.fixed_from_index() @ index
    points = at[2::-1].T  # slices, rows, cols
    within = np.all((points >= 0) & (points <= np.array(ct.hu.shape) - 1), axis=1)
    patient = np.where(body, ct.hu, np.float32(-1000.0))
    told = np.full(len(points), -1000.0)
    told[within] = sample(patient.astype(np.float64), points[within])
    mask = np.zeros(len(points), dtype=np.bool_)
    mask[within] = sample(body.astype(np.float64), points[within]) > 0.5
    return told.reshape(shape).astype(np.float32), mask.reshape(shape)


def _in_field(cbct: ConeBeamVolume, field_mm: Field) -> NDArray[np.bool_]:
    """Voxels that every projection saw, some millimetres inside."""
    x, y, z = _places(cbct)
    x1, x2, y1, y2 = field_mm
    wide, along = min(-x1, x2) - EDGE_MM, min(-y1, y2) - EDGE_MM
    away = np.hypot(x, z)
    return np.asarray((away < wide) & (np.abs(y) < along * (1.0 - away / 1000.0)))


def _places(cbct: ConeBeamVolume) -> Floats:
    """Fixed-frame coordinates (3, slices, rows, cols) of the voxels."""
    shape = cbct.attenuation_per_mm.shape
    slices, rows, cols = np.indices(shape, dtype=np.float64)
    affine = cbct.grid.fixed_from_index()
    index = np.stack([cols, rows, slices]).reshape(3, -1)
    return np.asarray(affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def _on_the_scale_of(
    seen: NDArray[np.float32], told: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Cone-beam values on the CT's scale by the straight line through two medians, of what the CT says is soft tissue
    and of what it says is lung or air: scatter and hardening shift and stretch them. Medians, as a regression on noisy
    values would come out too flat, and as some of either may have changed."""
    soft = inside & (np.abs(told) < SOFT_HU)
    empty = inside & (told < EMPTY_HU)
    if soft.sum() < CLASS_MIN:
        return seen
    high_seen, high_told = float(np.median(seen[soft])), float(np.median(told[soft]))
    slope = 1.0
    if empty.sum() >= CLASS_MIN:
        low_seen, low_told = float(np.median(seen[empty])), float(np.median(told[empty]))
        if high_seen - low_seen > SOFT_HU:
            slope = (high_told - low_told) / (high_seen - low_seen)
    return np.asarray((seen - high_seen) * slope + high_told, dtype=np.float32)


def _believed(shift: LocalShift) -> bool:
    best = float(np.sqrt(np.linalg.eigvalsh(shift.covariance_mm2)[0]))
    return shift.similarity >= SIMILARITY_MIN and best < SIGMA_MAX_MM


def _of_scan(shift: LocalShift, cbct: ConeBeamVolume, to_fixed: Floats) -> RegionShift:
    turn = to_fixed[:, ::-1]  # from slices, rows, cols
    first = cbct.grid.fixed_from_index()[:3, 3]
    centre = turn @ shift.centre_mm + first
    return _region(centre, turn @ shift.shift_mm, turn @ shift.covariance_mm2 @ turn.T, shift)


def _region(centre: Floats, moved: Floats, covariance: Floats, shift: LocalShift) -> RegionShift:
    x, y, z = (float(v) for v in centre)
    return RegionShift(
        name=f"at X {x:+.0f}, Y {y:+.0f}, Z {z:+.0f} mm",
        centre_mm=(x, y, z),
        shift_mm=(float(moved[0]), float(moved[1]), float(moved[2])),
        sigma_mm=(
            float(np.sqrt(covariance[0, 0])),
            float(np.sqrt(covariance[1, 1])),
            float(np.sqrt(covariance[2, 2])),
        ),
        mm=shift.mm,
        similarity=shift.similarity,
    )


def _target(
    seen: NDArray[np.float32],
    told: NDArray[np.float32],
    deep: NDArray[np.bool_],
    cbct: ConeBeamVolume,
    isocentre: Floats,
    spacing: tuple[float, float, float],
) -> tuple[TargetChange | None, float | None]:
    away = np.linalg.norm(_places(cbct) - isocentre[:, None, None, None], axis=0)
    near = deep & (away < TARGET_BLOCK_MM / 2.0)
    if not near.any():
        return None, None
    bounds = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(near))
    whole = BlockSearch(
        block_mm=2.0 * TARGET_BLOCK_MM, pitch_mm=1e6, filled_min=0.2, contrast_min=25.0
    )
    found, _ = local_shifts(seen[bounds], told[bounds], near[bounds], spacing, whole)
    moved = [shift.mm for shift in found if _believed(shift)]
    about = deep & (away < TARGET_RADIUS_MM)
    sigma = 2.0 / np.asarray(spacing)
    today = smoothed(seen[bounds].astype(np.float64), deep[bounds], sigma)[about[bounds]]
    before = smoothed(told[bounds].astype(np.float64), deep[bounds], sigma)[about[bounds]]
    tissue = before > TISSUE_HU
    if tissue.mean() < TISSUE_SHARE_MIN:
        return None, max(moved, default=None)
    change = TargetChange(
        radius_mm=TARGET_RADIUS_MM,
        lost_share=float((today[tissue] < LUNG_HU).mean()),
        gained_share=float(((before < LUNG_HU) & (today > TISSUE_HU)).sum() / tissue.sum()),
    )
    return change, max(moved, default=None)


# ---- views ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Compared:
    """A view and its DRR without what is wide, in pixels of about a millimetre at the isocentre; `step` of the panel's
    make one of them."""

    image: NDArray[np.float32]
    drr: NDArray[np.float32]
    mask: NDArray[np.bool_]
    pitch_mm: float
    step: int

    @classmethod
    def of(cls, view: ViewToCompare) -> _Compared:
        fine = view.geometry.pixel_pitch_mm * view.geometry.sad_mm / view.geometry.sid_mm
        step = max(1, round(PITCH_MM / fine))
        used = np.isfinite(view.image) & np.isfinite(view.drr) & (view.drr > BODY_MIN)
        if view.region is not None:
            used &= view.region
        mask = _binned(used.astype(np.float32), step) > 0.999
        wide = np.full(2, WIDE_MM / (fine * step))
        image, drr = (
            (one - smoothed(one.astype(np.float64), mask, wide)).astype(np.float32)
            for one in (_binned(np.nan_to_num(view.image), step), _binned(view.drr, step))
        )
        return cls(image, drr, mask, fine * step, step)

    def place_mm(self, geometry: PanelGeometry, point_mm: Floats) -> Floats:
        """(row, column) of a point in mm of this grid."""
        col, row = geometry.pixels_of(point_mm[None])[0]
        half = (self.step - 1) / 2.0  # the middle of the first binned pixel
        return (np.array([row, col]) - half) / self.step * self.pitch_mm

    def everywhere(self) -> tuple[list[LocalShift], int]:
        return local_shifts(self.image, self.drr, self.mask, (self.pitch_mm,) * 2, VIEW_SEARCH)

    def about(self, geometry: PanelGeometry, point_mm: Floats) -> list[LocalShift]:
        """The shift of one block about a point."""
        half = TARGET_BLOCK_MM / 2.0
        low, high = (
            np.rint((self.place_mm(geometry, point_mm) + side) / self.pitch_mm).astype(int)
            for side in (-half, half)
        )
        cut = tuple(slice(max(0, a), max(0, b) + 1) for a, b in zip(low, high, strict=True))
        if min(self.mask[cut].shape) < 8:
            return []
        whole = BlockSearch(
            block_mm=2.0 * TARGET_BLOCK_MM,
            pitch_mm=1e6,
            scales_mm=VIEW_SEARCH.scales_mm,
            contrast_min=VIEW_SEARCH.contrast_min,
        )
        pitch = (self.pitch_mm, self.pitch_mm)
        return local_shifts(self.image[cut], self.drr[cut], self.mask[cut], pitch, whole)[0]


def _binned(image: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    rows, cols = (n // step * step for n in image.shape)
    blocks = image[:rows, :cols].reshape(rows // step, step, cols // step, step)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _of_view(
    shift: LocalShift, geometry: PanelGeometry, compared: _Compared, isocentre: Floats
) -> RegionShift:
    slopes = [
        compared.place_mm(geometry, isocentre + step)
        - compared.place_mm(geometry, isocentre - step)
        for step in np.eye(3) * 0.5
    ]
    back = np.linalg.pinv(np.stack(slopes, axis=1))  # from (row, column) in mm of the grid
    away = shift.centre_mm - compared.place_mm(geometry, isocentre)
    covariance = back @ shift.covariance_mm2 @ back.T
    return _region(back @ away, back @ shift.shift_mm, covariance, shift)
