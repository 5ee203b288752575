"""Geometric calibration of the imager: from images of a ball phantom to the flex map, with residuals and covariance.

Each view is solved by itself: the balls are found and named, and the nine numbers of the imager's pose
(`imager_geometry.POSE_NUMBERS`) are fitted to their places by least squares. The phantom defines the isocentre:
its pose in the room has to be known (lasers, couch, or a Winston-Lutz test), and what is not known of it goes
into the covariance of every view alike.

What the balls do not determine is refused with its name, not guessed: balls in one plane leave SAD and SID to
trade against each other, and so on. A number may be held at its nominal value instead (`held`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import ImagingInputError, PanelGeometry
from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.imager_geometry import POSE_NUMBERS, FlexMap, ImagerPose, PanelFormat
from igrt_hw.guidance.markers import Blob, find_markers
from igrt_hw.guidance.phantom import Phantom
from igrt_hw.guidance.refusal import InputRefused

Floats = NDArray[np.float64]

# Steps of the numeric derivatives: mm and degrees small against curvature, large against rounding.
_STEP: Final = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])

SIGMA_MAX: Final[Mapping[str, float]] = {
    "sad_mm": 4.0,
    "source_lateral_mm": 4.0,
    "source_longitudinal_mm": 4.0,
    "sid_mm": 6.0,
    "panel_lateral_mm": 6.0,
    "panel_longitudinal_mm": 6.0,
    "panel_rotation_deg": 0.1,
    "panel_pitch_deg": 1.0,
    "panel_roll_deg": 1.0,
}
"""Standard deviations beyond which a number counts as not determined.

SAD, SID, source and tilts trade against each other: each alone may be uncertain by millimetres while what the
view does to the volume of the phantom is known to hundredths (`ViewCalibration.sigma_at_isocentre_mm`)."""
SIGMA_AT_ISOCENTRE_MAX_MM: Final = 0.25
BALLS_MIN: Final = 6
FOUND_SHARE_MIN: Final = 0.7
# Beyond a wrong nominal geometry by this much on the panel nothing is recognised.
SEARCH_MM: Final = 40.0
ALIKE_PX: Final = 6.0
RESIDUAL_RMS_MAX_PX: Final = 0.35
OUTLIER_SIGMAS: Final = 5.0
SECOND_BEST_MAX: Final = 0.7
STEPS_MAX: Final = 25


@dataclass(frozen=True, slots=True)
class Observation:
    """A named ball in one view: its place in pixels and the covariance (2, 2) of it."""

    ball: int
    col: float
    row: float
    covariance_px2: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ViewCalibration:
    """One view solved.

    `covariance` (9, 9) is in the order of `POSE_NUMBERS`, mm and degrees, zero for numbers that were held.
    `residuals_px` (n, 2) are seen minus predicted of `observations`. `sigma_at_isocentre_mm` is the standard
    deviation of where a ray through the isocentre passes, the worse of both directions, at the isocentre;
    it holds the phantom's own pose too.
    """

    pose: ImagerPose
    covariance: Floats
    observations: tuple[Observation, ...]
    residuals_px: Floats
    rms_px: float
    missing: tuple[str, ...]
    sigma_at_isocentre_mm: float

    def sigma(self) -> dict[str, float]:
        """Standard deviation of each number by its name."""
        return dict(zip(POSE_NUMBERS, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class PhantomPlace:
    """Where the phantom stands: `fixed_from_phantom` rigid (4, 4), mm, and how well that is known."""

    fixed_from_phantom: Floats
    sigma_mm: float = 0.0
    sigma_deg: float = 0.0

    def balls_mm(self, phantom: Phantom) -> Floats:
        """Centres (n, 3) in the fixed frame, mm."""
        m = np.asarray(self.fixed_from_phantom, dtype=np.float64)
        return np.asarray(phantom.positions_mm() @ m[:3, :3].T + m[:3, 3])


def observe_balls(
    image: ArrayLike,
    phantom: Phantom,
    place: PhantomPlace,
    nominal: ImagerPose,
    panel: PanelFormat,
    *,
    region: NDArray[np.bool_] | None = None,
) -> tuple[Observation, ...]:
    """The balls of the phantom in one image of line integrals (rows, cols), found and named.

    The nominal pose may be off by some centimetres on the panel; turned by more than some degrees, mirrored or of
    another phantom it is not recognised.

    Raises:
        InputRefused: too few balls, an arrangement that is not the phantom's, or one that fits in two ways.
    """
    geometry = nominal.geometry(panel)
    wanted = geometry.pixels_of(place.balls_mm(phantom))
    found: dict[tuple[float, bool], tuple[Blob, ...]] = {}
    for ball in phantom.balls:
        key = (ball.diameter_mm, ball.denser)
        if key not in found:
            found[key] = find_markers(image, geometry, ball.shape, region=region)
    sizes = [found[(ball.diameter_mm, ball.denser)] for ball in phantom.balls]
    reach = SEARCH_MM / panel.pixel_pitch_mm
    named = _name_balls(wanted, sizes, reach)
    mirrored = _name_balls(_mirror(wanted, panel), sizes, reach)
    needed = max(BALLS_MIN, math.ceil(FOUND_SHARE_MIN * len(phantom.balls)))
    if len(mirrored) > len(named) and len(mirrored) >= needed:
        raise InputRefused(
            f"at {nominal.source_angle_deg:.1f} deg the image is a mirror image of the phantom: rows or columns are "
            "read the wrong way round, or the source stands on the other side"
        )
    if len(named) < needed:
        raise InputRefused(
            f"at {nominal.source_angle_deg:.1f} deg {len(named)} of the {len(phantom.balls)} balls of phantom "
            f"'{phantom.name}' were recognised ({needed} needed): is it this phantom, on the isocentre, in the field?"
        )
    return tuple(
        Observation(n, blob.col, blob.row, blob.covariance_px2) for n, blob in sorted(named.items())
    )


def calibrate_view(
    observations: Sequence[Observation],
    phantom: Phantom,
    place: PhantomPlace,
    nominal: ImagerPose,
    panel: PanelFormat,
    *,
    held: Sequence[str] = (),
    sigma_max: Mapping[str, float] = SIGMA_MAX,
) -> ViewCalibration:
    """The pose of the imager in one view from the named balls.

    Raises:
        InputRefused: fewer balls than unknowns need, numbers that the balls do not determine (each is named), or
            residuals that no imager explains (a wrong name, another phantom, a phantom that was moved).
    """
    unknown = set(held) - set(POSE_NUMBERS)
    if unknown:
        raise InputRefused(
            f"{', '.join(sorted(unknown))} cannot be held: the numbers are {', '.join(POSE_NUMBERS)}"
        )
    free = np.array([name not in held for name in POSE_NUMBERS])
    if len(observations) < BALLS_MIN or 2 * len(observations) < free.sum() + 3:
        raise InputRefused(
            f"at {nominal.source_angle_deg:.1f} deg {len(observations)} balls cannot determine {int(free.sum())} "
            f"numbers: {BALLS_MIN} or more are needed"
        )
    balls = place.balls_mm(phantom)
    kept = list(observations)
    numbers = nominal.numbers()
    for _ in range(2):  # with all, then without those that no imager explains
        numbers, normal = _solve(kept, balls, numbers, nominal.source_angle_deg, panel, free)
        distance = _distances(kept, balls, numbers, nominal.source_angle_deg, panel)
        limit = OUTLIER_SIGMAS * max(1.0, float(np.median(distance)))
        sound = [seen for seen, d in zip(kept, distance, strict=True) if d <= limit]
        if len(sound) == len(kept):
            break
        if len(sound) < max(BALLS_MIN, FOUND_SHARE_MIN * len(observations)):
            raise InputRefused(
                f"at {nominal.source_angle_deg:.1f} deg {len(kept) - len(sound)} of {len(kept)} balls do not lie where "
                "any imager would show them: are they named rightly, and is it this phantom?"
            )
        kept = sound
    return _judged(kept, balls, numbers, normal, nominal, panel, free, phantom, place, sigma_max)


def calibrate_imager(
    images: Sequence[tuple[ArrayLike, ImagerPose]],
    phantom: Phantom,
    place: PhantomPlace,
    panel: PanelFormat,
    *,
    imager: str,
    calibrated_utc: str,
    held: Sequence[str] = (),
    region: NDArray[np.bool_] | None = None,
) -> tuple[FlexMap, tuple[ViewCalibration, ...]]:
    """The flex map of an imager from images (rows, cols) of line integrals with their nominal poses.

    Raises:
        InputRefused: no images, an angle twice, or a view that cannot be solved; its angle is named.
    """
    if not images:
        raise InputRefused("a geometric calibration needs images of the phantom")
    views = []
    for image, nominal in images:
        named = observe_balls(image, phantom, place, nominal, panel, region=region)
        views.append(calibrate_view(named, phantom, place, nominal, panel, held=held))
    views.sort(key=lambda view: wrap_deg(view.pose.source_angle_deg))
    return flex_map(
        views, imager=imager, calibrated_utc=calibrated_utc, phantom=phantom.name
    ), tuple(views)


def flex_map(
    views: Sequence[ViewCalibration], *, imager: str, calibrated_utc: str, phantom: str
) -> FlexMap:
    """Solved views as a flex map. Raises `InputRefused` for an angle that comes twice."""
    ordered = sorted(views, key=lambda view: wrap_deg(view.pose.source_angle_deg))
    try:
        return FlexMap(
            imager=imager,
            calibrated_utc=calibrated_utc,
            phantom=phantom,
            poses=tuple(
                view.pose.model_copy(
                    update={"source_angle_deg": wrap_deg(view.pose.source_angle_deg)}
                )
                for view in ordered
            ),
            covariance=tuple(
                tuple(tuple(float(x) for x in row) for row in view.covariance) for view in ordered
            ),
            rms_residual_px=tuple(view.rms_px for view in ordered),
        )
    except ValueError as error:
        raise InputRefused(f"the views make no flex map: {error}") from error


def _mirror(places: Floats, panel: PanelFormat) -> Floats:
    out = places.copy()
    out[:, 0] = panel.cols - 1 - out[:, 0]
    return out


def _name_balls(wanted: Floats, seen: Sequence[Sequence[Blob]], reach_px: float) -> dict[int, Blob]:
    """Ball -> blob: the shift that most balls agree on, then an affine map that follows, each blob once.

    A second shift far from the first that fits nearly as many balls means that the arrangement is ambiguous: then
    nothing is named.
    """
    shifts = [
        (blob.col - at[0], blob.row - at[1])
        for at, blobs in zip(wanted, seen, strict=True)
        for blob in blobs
        if math.hypot(blob.col - at[0], blob.row - at[1]) <= reach_px
    ]
    best: dict[int, Blob] = {}
    tried = []
    for shift in shifts:
        pairs = _pairs(wanted + np.array(shift), seen, ALIKE_PX)
        tried.append((len(pairs), shift))
        if len(pairs) > len(best):
            best, chosen = pairs, shift
    if len(best) < BALLS_MIN:
        return best
    rival = max(
        (n for n, s in tried if math.hypot(s[0] - chosen[0], s[1] - chosen[1]) > 3.0 * ALIKE_PX),
        default=0,
    )
    if rival > SECOND_BEST_MAX * len(best):
        return {}
    for tolerance in (ALIKE_PX, ALIKE_PX / 2.0):
        names = sorted(best)
        design = np.c_[wanted[names], np.ones(len(names))]
        target = np.array([best[n].place for n in names])
        affine = np.linalg.lstsq(design, target, rcond=None)[0]
        best = _pairs(np.c_[wanted, np.ones(len(wanted))] @ affine, seen, tolerance)
        if len(best) < BALLS_MIN:
            return best
    return best


def _pairs(places: Floats, seen: Sequence[Sequence[Blob]], tolerance_px: float) -> dict[int, Blob]:
    """Nearest ball and blob of one size within a tolerance, the closest pairs first, each once."""
    near = sorted(
        (
            (math.hypot(blob.col - at[0], blob.row - at[1]), n, k)
            for n, (at, blobs) in enumerate(zip(places, seen, strict=True))
            for k, blob in enumerate(blobs)
        ),
        key=lambda found: found[0],
    )
    out: dict[int, Blob] = {}
    used: list[tuple[float, float]] = []
    for distance, n, k in near:
        if distance > tolerance_px:
            break
        blob = seen[n][k]
        # A ball of one size may have been found at the other size too: one place names one ball.
        if n in out or any(math.hypot(blob.col - c, blob.row - r) < 2.0 for c, r in used):
            continue
        out[n] = blob
        used.append(blob.place)
    return out


def _predicted(
    numbers: Floats, source_angle_deg: float, panel: PanelFormat, points: Floats
) -> Floats:
    try:
        geometry = ImagerPose.from_numbers(source_angle_deg, numbers).geometry(panel)
    except (ImagingInputError, ValueError) as error:
        raise InputRefused(
            f"at {source_angle_deg:.1f} deg the fit left what can be an imager: {error}"
        ) from error
    return geometry.pixels_of(points)


def pose_derivatives(geometry: PanelGeometry, points_mm: Floats) -> Floats:
    """How the pixels of fixed-frame points (n, 3) follow the nine numbers of a geometry's pose: (n, 2, 9)."""
    pose = ImagerPose.of(geometry)
    return _derivatives(pose.numbers(), pose.source_angle_deg, PanelFormat.of(geometry), points_mm)


def _derivatives(
    numbers: Floats, source_angle_deg: float, panel: PanelFormat, points: Floats
) -> Floats:
    """(n, 2, 9): pixels per mm and per degree, central differences."""
    columns = []
    for n in range(9):
        step = np.zeros(9)
        step[n] = _STEP[n]
        ahead = _predicted(numbers + step, source_angle_deg, panel, points)
        behind = _predicted(numbers - step, source_angle_deg, panel, points)
        columns.append((ahead - behind) / (2.0 * _STEP[n]))
    return np.stack(columns, axis=2)


def _whitening(seen: Sequence[Observation]) -> Floats:
    """(n, 2, 2): W with W C W' = 1."""
    return np.stack([np.linalg.inv(np.linalg.cholesky(o.covariance_px2)) for o in seen])


def _places(seen: Sequence[Observation]) -> Floats:
    return np.array([(o.col, o.row) for o in seen])


def _solve(
    seen: Sequence[Observation],
    balls: Floats,
    numbers: Floats,
    angle: float,
    panel: PanelFormat,
    free: NDArray[np.bool_],
) -> tuple[Floats, Floats]:
    """Levenberg-Marquardt; the numbers and the normal matrix of the free ones."""
    points, places, white = balls[[o.ball for o in seen]], _places(seen), _whitening(seen)
    damping = 1e-6
    normal = np.zeros((int(free.sum()),) * 2)
    for _ in range(STEPS_MAX):
        residual = np.einsum(
            "nij,nj->ni", white, places - _predicted(numbers, angle, panel, points)
        ).ravel()
        jacobian = np.einsum("nij,njk->nik", white, _derivatives(numbers, angle, panel, points))
        jacobian = jacobian.reshape(-1, 9)[:, free]
        normal = jacobian.T @ jacobian
        scale = np.sqrt(np.diag(normal)) + 1e-12
        step = np.zeros(9)
        damped = normal / np.outer(scale, scale) + damping * np.eye(len(normal))
        step[free] = (
            np.linalg.lstsq(damped, (jacobian.T @ residual) / scale, rcond=1e-15)[0] / scale
        )
        step = np.clip(step, -50.0, 50.0)
        numbers = numbers + step
        damping *= 0.1
        if np.all(np.abs(step) < 1e-5):
            break
    return numbers, normal


def _distances(
    seen: Sequence[Observation], balls: Floats, numbers: Floats, angle: float, panel: PanelFormat
) -> Floats:
    """Residual of each ball in its own standard deviations."""
    missed = _places(seen) - _predicted(numbers, angle, panel, balls[[o.ball for o in seen]])
    return np.asarray(np.linalg.norm(np.einsum("nij,nj->ni", _whitening(seen), missed), axis=1))


def _judged(
    seen: Sequence[Observation],
    balls: Floats,
    numbers: Floats,
    normal: Floats,
    nominal: ImagerPose,
    panel: PanelFormat,
    free: NDArray[np.bool_],
    phantom: Phantom,
    place: PhantomPlace,
    sigma_max: Mapping[str, float],
) -> ViewCalibration:
    """Residuals and covariance; refused when the data do not carry them."""
    angle = nominal.source_angle_deg
    points = balls[[o.ball for o in seen]]
    residuals = _places(seen) - _predicted(numbers, angle, panel, points)
    rms = float(np.sqrt(np.mean(residuals**2)))
    if rms > RESIDUAL_RMS_MAX_PX:
        raise InputRefused(
            f"at {angle:.1f} deg the balls miss their places by {rms:.2f} px rms ({RESIDUAL_RMS_MAX_PX:g} allowed): "
            "the phantom is not the one described, or a ball is named wrongly"
        )
    inverse = _determined(normal, free, sigma_max, angle, len(seen))
    white = np.einsum("nij,nj->ni", _whitening(seen), residuals)
    freedom = max(1, 2 * len(seen) - int(free.sum()))
    # Where the balls miss by more than their own noise says, the noise was more.
    inverse = inverse * max(1.0, float((white**2).sum()) / freedom)
    covariance = np.zeros((9, 9))
    covariance[np.ix_(free, free)] = inverse
    follows, moved = _following(seen, balls, numbers, angle, panel, free, normal, place)
    covariance += follows @ moved @ follows.T
    pose = ImagerPose.from_numbers(angle, numbers)
    sigma = _sigma_at_isocentre(numbers, angle, panel, covariance, pose)
    if sigma > SIGMA_AT_ISOCENTRE_MAX_MM:
        raise InputRefused(
            f"at {angle:.1f} deg rays near the isocentre are known to {sigma:.2f} mm only "
            f"({SIGMA_AT_ISOCENTRE_MAX_MM:g} allowed): more balls, less noise, or a phantom that stands more surely"
        )
    known = {o.ball for o in seen}
    return ViewCalibration(
        pose=pose,
        covariance=covariance,
        observations=tuple(seen),
        residuals_px=residuals,
        rms_px=rms,
        missing=tuple(ball.name for n, ball in enumerate(phantom.balls) if n not in known),
        sigma_at_isocentre_mm=sigma,
    )


def _determined(
    normal: Floats,
    free: NDArray[np.bool_],
    sigma_max: Mapping[str, float],
    angle: float,
    balls: int,
) -> Floats:
    """Inverse of the normal matrix, or a refusal that names what the balls leave open."""
    names = [name for name, wanted in zip(POSE_NUMBERS, free, strict=True) if wanted]
    limits = np.array([sigma_max[name] for name in names])
    # In units of the limits: a direction whose information is below 1 is not determined to its limit.
    values, vectors = np.linalg.eigh(normal * np.outer(limits, limits))
    floor = max(float(values[-1]) * 1e-14, 1e-12)
    weak = values < floor
    inverse = (vectors / np.maximum(values, floor)) @ vectors.T * np.outer(limits, limits)
    sigmas = np.sqrt(np.diag(inverse))
    open_names = [n for n, s, limit in zip(names, sigmas, limits, strict=True) if s > limit]
    if open_names or weak.any():
        told = ", ".join(
            f"{name} (to {sigma:.3g}, {limit:g} allowed)"
            for name, sigma, limit in zip(names, sigmas, limits, strict=True)
            if name in open_names
        )
        worst = vectors[:, 0] / np.abs(vectors[:, 0]).max()
        together = [n for n, part in zip(names, worst, strict=True) if abs(part) > 0.2]
        raise InputRefused(
            f"at {angle:.1f} deg {balls} balls do not determine {told or 'the view'}; what trades against each other: "
            f"{', '.join(together)}. Use a phantom whose balls are spread in depth and across, or hold numbers at "
            "their nominal values"
        )
    return np.asarray(inverse)


def _following(
    seen: Sequence[Observation],
    balls: Floats,
    numbers: Floats,
    angle: float,
    panel: PanelFormat,
    free: NDArray[np.bool_],
    normal: Floats,
    place: PhantomPlace,
) -> tuple[Floats, Floats]:
    """How the numbers follow the six motions of the phantom (9, 6), and the covariance (6, 6) of its place."""
    variance = np.diag([place.sigma_mm**2] * 3 + [math.radians(place.sigma_deg) ** 2] * 3)
    points = balls[[o.ball for o in seen]]
    centre = balls.mean(axis=0)
    columns = []
    for axis in range(6):
        unit = np.eye(3)[axis % 3]
        shift = unit[None, :] if axis < 3 else np.cross(unit, points - centre)
        step = 0.1 if axis < 3 else 1e-3
        ahead = _predicted(numbers, angle, panel, points + step * shift)
        behind = _predicted(numbers, angle, panel, points - step * shift)
        columns.append((ahead - behind) / (2.0 * step))
    white = _whitening(seen)
    by_motion = np.einsum("nij,njk->nik", white, np.stack(columns, axis=2)).reshape(-1, 6)
    by_number = np.einsum("nij,njk->nik", white, _derivatives(numbers, angle, panel, points))
    by_number = by_number.reshape(-1, 9)[:, free]
    follows = np.zeros((9, 6))
    # seen = predicted(numbers, motion): a phantom moved by m and taken as unmoved shifts the numbers by this.
    follows[free] = np.linalg.solve(normal, by_number.T @ by_motion)
    return follows, variance


def _sigma_at_isocentre(
    numbers: Floats, angle: float, panel: PanelFormat, covariance: Floats, pose: ImagerPose
) -> float:
    derivative = _derivatives(numbers, angle, panel, np.zeros((1, 3)))[0]
    per_px = panel.pixel_pitch_mm * pose.sad_mm / pose.sid_mm
    spread = derivative @ covariance @ derivative.T * per_px**2
    return float(math.sqrt(max(0.0, float(np.linalg.eigvalsh(spread)[-1]))))
