"""Five hundred registrations that must not be believed: wrong level, another patient's CT, corrupted images.

Other patients are made from the one CT there is, since no second one of this site was at hand: mirrored, stretched by
5 to 15 % along each axis on its own, and warped smoothly by 6 to 12 mm (rms), alone and together. Of each a
registration is tried with the X-rays of the true patient.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from registration_ensembles import as_row, rows
from xray_cases import SCATTER_07, CaseSet, Pair, pairs

from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import Correction, Pose, correction_to_pose
from igrt_hw.guidance.ct import CtVolume
from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.registration import PatientModel, View, prepare, register

PATIENTS, PAIRS_PER_PATIENT = 44, 5
LEVELS, HIDDEN_LEVELS = 100, 40
CORRUPTED_ROUNDS = 14
MISSED_MM = 1.0

Contours = Sequence[NDArray[np.float64]]


def run_wrong(
    ct: CtVolume,
    contours: Contours,
    planned: Pose,
    cases: CaseSet,
    images: Path,
    out: Path,
    name: str = "wrong",
) -> None:
    """Try what is not yet in the results."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}.jsonl"
    done = {row["case"] for row in rows(path)}
    available = list(pairs(cases, images))
    with path.open("a") as file:
        for case, attempt in _cases(ct, contours, planned, available):
            if case in done:
                continue
            file.write(json.dumps({"case": case} | attempt()) + "\n")
            file.flush()


def wrongly_believed(row: dict[str, object]) -> bool:
    """Whether a result is a number that should not have been given.

    Another patient or a corrupted image must never be believed. Where the truth can still be found (a wrong level,
    one half of one image replaced, a small region), a result that is right to a millimetre is not wrong.
    """
    if row["verdict"] != "reliable":
        return False
    case = str(row["case"])
    findable = case.startswith(("level", "hidden", "corrupted half", "corrupted tiny"))
    return not findable or float(str(row["mtre_mm"])) > MISSED_MM


Attempt = Callable[[], dict[str, object]]


def _cases(
    ct: CtVolume, contours: Contours, planned: Pose, available: list[Pair]
) -> Iterator[tuple[str, Attempt]]:
    model = prepare(ct, contours)
    for n in range(CORRUPTED_ROUNDS):
        pair = available[n % len(available)]
        other = available[(n + 7) % len(available)]
        for kind, views in _corruptions(pair, other, n).items():
            yield f"corrupted {kind} {pair.seed}", _attempt(model, views, pair, planned, planned)
    for n in range(LEVELS):
        pair = available[(3 * n + 1) % len(available)]
        rng = np.random.default_rng([n, 5])
        mm = float(rng.choice([-1, 1]) * rng.uniform(18.0, 85.0))
        away = correction_to_pose(Correction(longitudinal_mm=mm)) @ planned
        yield f"level off by {mm:.0f} mm {n}", _attempt(model, None, pair, away, planned)
    for n in range(HIDDEN_LEVELS // 8):
        side = -1.0 if n % 2 else 1.0
        hidden = prepare(*_without_the_level(ct, contours, side * (20.0 + 8.0 * (n // 2))))
        for pair in available[8 * n : 8 * n + 8]:
            away = correction_to_pose(Correction(longitudinal_mm=side * 30.0)) @ planned
            yield (
                f"hidden level {n} {pair.seed}",
                _attempt(hidden, None, pair, away, planned),
            )
    for n in range(PATIENTS):
        kind, other_model = _another_patient(ct, contours, n)
        for k in range(PAIRS_PER_PATIENT):
            pair = available[(n * PAIRS_PER_PATIENT + k) % len(available)]
            yield (
                f"patient {kind} {n} {pair.seed}",
                _attempt(other_model, None, pair, planned, planned),
            )


def _attempt(
    model: PatientModel, views: list[View] | None, pair: Pair, nominal: Pose, planned: Pose
) -> Attempt:
    def attempt() -> dict[str, object]:
        seen = views if views is not None else pair.views(SCATTER_07)
        row = as_row(register(model, seen, nominal, planned), pair, planned, nominal)
        return {k: v for k, v in row.items() if "covariance" not in k}

    return attempt


def _corruptions(pair: Pair, other: Pair, seed: int) -> dict[str, list[View]]:
    first, second = pair.views(SCATTER_07)
    moved_first, moved_second = other.views(SCATTER_07)
    rng = np.random.default_rng([seed, 9])

    def with_image(view: View, image: NDArray[np.float32]) -> View:
        return replace(view, image=np.ascontiguousarray(image, dtype=np.float32))

    noise = [with_image(v, rng.normal(3, 1, v.image.shape)) for v in (first, second)]
    half = first.image.copy()
    half[:, ::2] = np.nan
    cut = first.image.copy()
    cut[:, : cut.shape[1] // 2] = moved_first.image[:, : cut.shape[1] // 2]
    flooded = np.minimum(first.image, np.nanpercentile(first.image, 40))
    small = np.zeros(first.image.shape, dtype=np.bool_)
    small[180:210, 240:270] = True
    angle = float(rng.choice([-1, 1]) * rng.uniform(2.5, 6.0))
    return {
        "mirrored": [with_image(v, v.image[:, ::-1]) for v in (first, second)],
        "upside down": [with_image(v, v.image[::-1]) for v in (first, second)],
        "views swapped": [
            View(first.image, second.geometry, first.region, second.geometry_covariance),
            View(second.image, first.geometry, second.region, first.geometry_covariance),
        ],
        "moved between views": [first, moved_second],
        "noise": noise,
        "one of noise": [first, noise[1]],
        f"source angle wrong by {angle:.1f}": [
            replace(first, geometry=_turned(first.geometry, angle)),
            second,
        ],
        "every other column empty": [with_image(first, half), second],
        "saturated": [with_image(first, flooded), second],
        "empty": [with_image(first, np.zeros_like(first.image)), second],
    } | (
        {"half of another": [with_image(first, cut), second]}
        if seed % 2
        else {"tiny region": [replace(first, region=small), replace(second, region=small)]}
    )


def _turned(geometry: PanelGeometry, by_deg: float) -> PanelGeometry:
    """The same arms, with another angle written beside the image."""
    pose = ImagerPose.of(geometry)
    wrong = pose.model_copy(update={"source_angle_deg": pose.source_angle_deg + by_deg})
    return wrong.geometry(PanelFormat.of(geometry))


def _without_the_level(
    ct: CtVolume, contours: Contours, from_mm: float
) -> tuple[CtVolume, Contours]:
    """The CT cut at the isocentre's level: only what lies beyond `from_mm` towards the head (or the feet) is left."""
    z = ct.origin_dicom_mm[2] + ct.spacing_mm[2] * np.arange(len(ct.hu))
    isocentre_z = -185.0
    keep = z > isocentre_z + from_mm if from_mm > 0 else z < isocentre_z + from_mm
    x, y, _ = ct.origin_dicom_mm
    low = float(z[keep][0])
    part = replace(ct, hu=np.ascontiguousarray(ct.hu[keep]), origin_dicom_mm=(x, y, low))
    high = float(z[keep][-1])
    return part, [c for c in contours if low - 0.1 <= c[0, 2] <= high + 0.1]


def _another_patient(ct: CtVolume, contours: Contours, n: int) -> tuple[str, PatientModel]:
    rng = np.random.default_rng([n, 11])
    kind = ("mirrored", "stretched", "warped", "stretched and warped", "mirrored and warped")[n % 5]
    body = prepare_mask(ct, contours)
    hu = np.where(body, ct.hu, -1000.0).astype(np.float32)
    if "mirrored" in kind:
        hu = np.ascontiguousarray(hu[:, :, ::-1])
    stretch = np.ones(3)
    if "stretched" in kind:
        stretch = 1.0 + rng.choice([-1, 1], 3) * rng.uniform(0.05, 0.15, 3)
    rms = rng.uniform(6.0, 12.0) if "warped" in kind else 0.0
    hu = _resampled(hu, ct.spacing_mm, stretch, rms, rng)
    return kind, prepare(replace(ct, hu=hu), None)


def prepare_mask(ct: CtVolume, contours: Contours) -> NDArray[np.bool_]:
    """The body of the CT."""
    from igrt_hw.guidance.mask import body_mask

    return body_mask(ct, contours)


def _resampled(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    stretch: NDArray[np.float64],
    rms_mm: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """The volume stretched about its centre and warped by a smooth field of nodes about 60 mm apart."""
    shape = np.array(hu.shape)
    step = np.array(spacing_mm[::-1])
    out = np.empty_like(hu)
    nodes = np.maximum(np.ceil(shape * step / 60.0).astype(int) + 2, 4)
    field = rng.standard_normal((3, *nodes)) * rms_mm * 1.6
    for z in range(shape[0]):
        y, x = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
        place = np.stack([np.full(y.shape, z), y, x]).astype(np.float64)
        centre = ((shape - 1) / 2.0)[:, None, None]
        source = (place - centre) / stretch[::-1][:, None, None] + centre
        if rms_mm > 0.0:
            at = place / (shape - 1)[:, None, None] * (nodes - 1)[:, None, None]
            shift = np.stack([_sampled(component, at) for component in field])
            source += shift / step[:, None, None]
        out[z] = _sampled(hu, source, outside=-1000.0)
    return out


def _sampled(
    grid: NDArray[np.floating], at: NDArray[np.float64], outside: float | None = None
) -> NDArray[np.float64]:
    """Trilinear samples at index coordinates (3, ...); beyond the edge the edge, or a value."""
    limit = np.array(grid.shape)[:, None, None] - 1.0
    inside = np.all((at >= 0) & (at <= limit), axis=0)
    at = np.clip(at, 0.0, limit - 1e-6)
    i = at.astype(int)
    f = at - i
    total = np.zeros(at.shape[1:])
    for corner in np.ndindex(2, 2, 2):
        c = np.array(corner)[:, None, None]
        weight = np.prod(np.where(c == 1, f, 1.0 - f), axis=0)
        total += weight * grid[tuple(i + c)]
    return total if outside is None else np.where(inside, total, outside)
