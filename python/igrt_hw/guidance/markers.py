"""Finding markers in kV images: seeds, gold cylinders, balls and bubbles, to a fraction of a pixel.

A marker is where the image is curved both ways at the scale of the marker: the smaller of the two principal
curvatures of the smoothed line integrals. A rib or a blade edge is curved one way only and drops out. Each
candidate is then fitted with an elongated Gaussian over a quadratic background by least squares, robustly, which
gives its centre with a covariance. Both shadow and model are symmetric, so that a shape that is not a Gaussian
biases nothing; the centre of the shadow of a ball of radius r misses the shadow of its centre by about
magnification x r^2 / SAD^2 x distance off axis, 0.002 mm for 4 mm at 100 mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.guidance.refusal import InputRefused

Floats = NDArray[np.float64]

# A candidate stands out of the noise of the curvature by this much. In 200,000 pixels of noise a maximum of 5.5
# sigma comes once in about 100 images; bone makes more, which is why the fit and the geometry decide and not
# this threshold.
CANDIDATE_SIGMAS: Final = 5.5
CANDIDATES_MAX: Final = 200
# Contrast over its own standard deviation that makes a fitted blob a marker.
CONTRAST_SIGMAS_MIN: Final = 6.0
# Width and length of the fitted blob, in units of what the marker's shadow would have: the blur of focus and
# scintillator widens, and a cylinder seen end on is short.
SIZE_RATIO_MIN: Final = 0.45
SIZE_RATIO_MAX: Final = 1.9
# Half width of the fitted window: the shadow ends at 1.75 sigma, and as much again of what surrounds it tells
# the background.
REACH_SIGMAS: Final = 3.6
# A large ball or bubble beside an edge of the couch: no smooth background follows the edge, but the peak of the
# curvature stands far out of everything. It is taken as it is, with this standard deviation.
PEAK_WIDTH_MIN_PX: Final = 5.0
PEAK_SIGMAS_MIN: Final = 30.0
PEAK_SIGMA_PX: Final = 1.5
FIT_STEPS_MAX: Final = 30
# Of the fitted exp(-q^n / 2): 1 is a Gaussian, 2 the flat shadow of a body that lets nothing through.
EXPONENTS: Final = (0.7, 4.0)
# The exponent is believed where it takes this much out of the variance of the residuals; on a faint marker it
# would fit noise.
EXPONENT_GAIN_MIN: Final = 2.0
# What sampling, and a background that is not quadratic, leave in the place, px, added to the noise: by the
# standard deviation of the shadow, px. Fitted on balls, bubbles and seeds of the simulator (docs/validation.md,
# markers).
SYSTEMATIC_PX: Final = ((0.7, 1.6, 4.0, 8.0), (0.065, 0.015, 0.02, 0.04))
HUBER_SIGMAS: Final = 2.5
USABLE_SHARE_MIN: Final = 0.6
# FWHM of the shadow's Gaussian over the marker's diameter: a ball's chord profile sqrt(r^2 - x^2) is best
# matched at sigma = r / 1.75.
RADIUS_PER_SIGMA: Final = 1.75
BLUR_MM: Final = 0.3
"""Standard deviation of focal spot and scintillator on the panel, mm, as flat panels of this class have; widens
what is looked for."""


@dataclass(frozen=True, slots=True)
class MarkerShape:
    """What is looked for: diameter, and length for a cylinder (the diameter for a ball), mm.

    `denser` is False for a bubble, which shows less attenuation than what surrounds it.
    """

    diameter_mm: float
    length_mm: float | None = None
    denser: bool = True

    def __post_init__(self) -> None:
        longest = self.diameter_mm if self.length_mm is None else self.length_mm
        if not 0.1 <= self.diameter_mm <= 40.0 or not self.diameter_mm <= longest <= 60.0:
            raise ValueError(
                f"a marker of {self.diameter_mm} x {longest} mm is none: diameter 0.1 to 40 mm, length from the "
                "diameter to 60 mm"
            )


GOLD_SEED: Final = MarkerShape(1.2, 3.0)
"""The usual implanted gold seed, 1.2 mm x 3 mm."""


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """One marker-like spot. Pixels are columns and rows with centres at integers.

    `covariance_px2` (2, 2) is that of (col, row) by the noise of the fit. `contrast` is the height in line
    integrals (negative for a bubble) and `contrast_sigmas` its significance; `width_px` and `length_px` are
    the standard deviations of the fitted Gaussian across and along.
    """

    col: float
    row: float
    covariance_px2: Floats
    contrast: float
    contrast_sigmas: float
    width_px: float
    length_px: float
    angle_deg: float

    @property
    def place(self) -> tuple[float, float]:
        """Column and row."""
        return self.col, self.row

    @property
    def sigma_px(self) -> float:
        """Standard deviation of the place, the mean of both directions."""
        return math.sqrt(float(np.trace(self.covariance_px2)) / 2.0)


def find_markers(
    image: ArrayLike,
    geometry: PanelGeometry,
    shape: MarkerShape,
    *,
    region: NDArray[np.bool_] | None = None,
    near_px: Sequence[tuple[float, float]] | None = None,
    reach_px: float = 40.0,
    depth_mm: float = 0.0,
    count_max: int = 64,
) -> tuple[Blob, ...]:
    """Markers of one shape in an image of line integrals (rows, cols), the most significant first.

    Args:
        image: corrected image (`igrt_hw.guidance.panel`); NaN where nothing is.
        geometry: of the image.
        shape: what is looked for.
        region: True where markers may be.
        near_px: places (col, row) round which they may be, within `reach_px`; everywhere when None.
        depth_mm: distance of the markers from the isocentre towards the source, for their magnification.
        count_max: no more than these are given back.

    Raises:
        InputRefused: an image of another size than its geometry, empty, or flat.
    """
    seen, usable = _checked(image, geometry, region)
    magnification = geometry.sid_mm / max(geometry.sad_mm - depth_mm, 1.0)
    per_px = magnification / geometry.pixel_pitch_mm
    blur_px = BLUR_MM / geometry.pixel_pitch_mm
    width = math.hypot(shape.diameter_mm * per_px / 2.0 / RADIUS_PER_SIGMA, blur_px)
    longest = shape.diameter_mm if shape.length_mm is None else shape.length_mm
    length = math.hypot(longest * per_px / 2.0 / RADIUS_PER_SIGMA, blur_px)
    signed = seen if shape.denser else -seen
    scale = max(math.sqrt(width * length), 0.8)
    curvature, sound = _curvature(signed, usable, scale)
    allowed = sound if near_px is None else sound & _near(seen.shape, near_px, reach_px)
    places = _candidates(curvature, sound, allowed, scale)
    blobs = []
    for col, row, height in places:
        fitted = _fit(signed, usable, col, row, width, length)
        if fitted is None or not _looks_right(fitted, width, length):
            fitted = _peak(curvature, col, row, height, width)
        if fitted is not None:
            blobs.append(fitted)
    blobs.sort(key=lambda blob: -blob.contrast_sigmas)
    apart = _apart(blobs, 1.5 * scale)
    sign = 1.0 if shape.denser else -1.0
    return tuple(_signed(blob, sign) for blob in apart[:count_max])


def _signed(blob: Blob, sign: float) -> Blob:
    return Blob(
        blob.col,
        blob.row,
        blob.covariance_px2,
        sign * blob.contrast,
        blob.contrast_sigmas,
        blob.width_px,
        blob.length_px,
        blob.angle_deg,
    )


def _checked(
    image: ArrayLike, geometry: PanelGeometry, region: NDArray[np.bool_] | None
) -> tuple[Floats, NDArray[np.bool_]]:
    seen = np.asarray(image, dtype=np.float64)
    if seen.shape != geometry.shape:
        raise InputRefused(
            f"the image has shape {seen.shape}, its geometry {geometry.shape}: they are not of one exposure"
        )
    if region is not None and region.shape != seen.shape:
        raise InputRefused(f"the region has shape {region.shape}, the image {seen.shape}")
    usable = np.isfinite(seen)
    if usable.mean() < 0.05:
        raise InputRefused(
            f"only {100 * usable.mean():.1f} % of the pixels hold a number: is the image saturated or not exposed?"
        )
    values = seen[usable]
    if float(np.ptp(values)) <= 0.0:
        raise InputRefused("every pixel of the image holds the same number: this is no X-ray image")
    allowed = usable if region is None else usable & region
    if not allowed.any():
        raise InputRefused("no usable pixel lies in the region where markers are looked for")
    return np.where(usable, seen, float(np.median(values))), allowed


def _near(
    shape: tuple[int, ...], places: Sequence[tuple[float, float]], reach_px: float
) -> NDArray[np.bool_]:
    rows, cols = np.indices(shape)
    out = np.zeros(shape, dtype=np.bool_)
    for col, row in places:
        out |= (cols - col) ** 2 + (rows - row) ** 2 <= reach_px**2
    return out


def _kernel(sigma: float, order: int) -> Floats:
    reach = max(2, math.ceil(4.0 * sigma))
    x = np.arange(-reach, reach + 1, dtype=np.float64)
    g = np.exp(-0.5 * (x / sigma) ** 2)
    g /= g.sum()
    if order == 1:
        return np.asarray(-x / sigma**2 * g)
    if order == 2:
        second = (x**2 / sigma**4 - 1.0 / sigma**2) * g
        return np.asarray(
            second - second.mean()
        )  # a flat image has no curvature, however short the kernel
    return np.asarray(g)


def _along(image: Floats, kernel: Floats, axis: int) -> Floats:
    reach = len(kernel) // 2
    pad = [(0, 0), (0, 0)]
    pad[axis] = (reach, reach)
    padded = np.pad(image, pad, mode="edge")
    if len(kernel) > 41:  # long kernels are quicker through the spectrum
        n = padded.shape[axis] + len(kernel) - 1
        product = np.fft.rfft(padded, n, axis=axis) * np.expand_dims(
            np.fft.rfft(kernel, n), 1 - axis
        )
        full = np.fft.irfft(product, n, axis=axis)
        begin = 2 * reach
        return np.asarray(full.take(range(begin, begin + image.shape[axis]), axis=axis))
    out = np.zeros_like(image)
    for k, weight in enumerate(kernel[::-1]):
        window = [slice(None), slice(None)]
        window[axis] = slice(k, k + image.shape[axis])
        out += weight * padded[tuple(window)]
    return out


def _curvature(
    image: Floats, usable: NDArray[np.bool_], sigma: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """The smaller principal curvature, positive on a hill, in line integrals; and where it is of good pixels."""
    smooth, first, second = (_kernel(sigma, order) for order in range(3))
    xx = _along(_along(image, second, 1), smooth, 0)
    yy = _along(_along(image, second, 0), smooth, 1)
    xy = _along(_along(image, first, 1), first, 0)
    mean, half = (xx + yy) / 2.0, np.hypot((xx - yy) / 2.0, xy)
    weaker = -(mean + half) * sigma**2
    share = _along(_along(usable.astype(np.float64), smooth, 1), smooth, 0)
    return weaker, usable & (share > 0.9)


def _candidates(
    curvature: Floats, sound: NDArray[np.bool_], allowed: NDArray[np.bool_], sigma: float
) -> list[tuple[int, int, float]]:
    """Maxima (col, row, height in spreads) well above the spread of the curvature, the highest first."""
    if not sound.any():
        return []
    values = curvature[sound]
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    reach = max(1, round(sigma))
    padded = np.pad(curvature, reach, mode="constant", constant_values=-np.inf)
    side = 2 * reach + 1
    rows_max = sliding_window_view(padded, side, axis=0).max(axis=-1)
    around = sliding_window_view(rows_max, side, axis=1).max(axis=-1)
    peak = allowed & (curvature >= around) & (curvature > middle + CANDIDATE_SIGMAS * spread)
    rows, cols = np.nonzero(peak)
    order = np.argsort(-curvature[rows, cols])[:CANDIDATES_MAX]
    heights = (curvature[rows, cols] - middle) / max(spread, 1e-30)
    return [(int(cols[n]), int(rows[n]), float(heights[n])) for n in order]


def _peak(curvature: Floats, col: int, row: int, height: float, width: float) -> Blob | None:
    """The peak of the curvature by parabolas, for a large marker whose surroundings no smooth background follows."""
    rows, cols = curvature.shape
    if width < PEAK_WIDTH_MIN_PX or height < PEAK_SIGMAS_MIN:
        return None
    if not (0 < col < cols - 1 and 0 < row < rows - 1):
        return None
    across = curvature[row, col - 1 : col + 2]
    down = curvature[row - 1 : row + 2, col]
    place = []
    for at, (before, here, after) in ((col, across), (row, down)):
        bend = before - 2.0 * here + after
        place.append(at + float(0.5 * (before - after) / bend if bend < 0.0 else 0.0))
    return Blob(
        place[0],
        place[1],
        PEAK_SIGMA_PX**2 * np.eye(2),
        float(
            4.0 * curvature[row, col]
        ),  # a Gaussian hill of the filter's own width is four times its curvature here
        CONTRAST_SIGMAS_MIN,
        width,
        width,
        0.0,
    )


def _fit(
    image: Floats, usable: NDArray[np.bool_], col: int, row: int, width: float, length: float
) -> Blob | None:
    """Elongated hill over a quadratic background round a candidate; None where it does not settle."""
    reach = max(5, math.ceil(REACH_SIGMAS * length))
    rows, cols = image.shape
    r0, r1, c0, c1 = row - reach, row + reach + 1, col - reach, col + reach + 1
    if r0 < 0 or c0 < 0 or r1 > rows or c1 > cols:
        return None
    good = usable[r0:r1, c0:c1].ravel()
    y, x = (a.ravel().astype(np.float64) for a in np.indices((2 * reach + 1, 2 * reach + 1)))
    x, y = x - reach, y - reach
    disc = good & (x * x + y * y <= (reach + 0.5) ** 2)
    if disc.sum() < max(30, USABLE_SHARE_MIN * math.pi * reach * reach):
        return None
    values = image[r0:r1, c0:c1].ravel()[disc]
    x, y = x[disc], y[disc]
    settled = _settle(values, x, y, reach, math.sqrt(width * length))
    if settled is None:
        return None
    p, covariance, residual = settled
    covariance = covariance * _clumping(residual, x, y, max(2, round(math.sqrt(width * length))))
    shape = np.array([[p[3], p[4]], [p[4], p[5]]])
    eigen, vectors = np.linalg.eigh(shape)
    if eigen[0] <= 0.0:
        return None
    along = vectors[:, 0]
    return Blob(
        col=col + float(p[1]),
        row=row + float(p[2]),
        covariance_px2=covariance[1:3, 1:3] + _systematic_px(width) ** 2 * np.eye(2),
        contrast=float(p[0]),
        contrast_sigmas=float(p[0] / math.sqrt(max(covariance[0, 0], 1e-30))),
        width_px=float(1.0 / math.sqrt(eigen[1])),
        length_px=float(1.0 / math.sqrt(eigen[0])),
        angle_deg=math.degrees(math.atan2(-along[1], along[0])) % 180.0,
    )


def _systematic_px(width: float) -> float:
    return float(np.interp(width, *SYSTEMATIC_PX))


def _settle(
    values: Floats, x: Floats, y: Floats, reach: float, sigma: float
) -> tuple[Floats, Floats, Floats] | None:
    """Height, x, y, a, b, c, exponent, their covariance, and the residuals; the exponent is free where the image
    shows that it has to be."""
    u, v = x / reach, y / reach
    background = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    inverse = 1.0 / sigma**2
    linear = np.c_[np.exp(-0.5 * inverse * (x * x + y * y)), background]
    first = np.linalg.lstsq(linear, values, rcond=None)[0]
    if first[0] <= 0.0:
        return None
    start = np.r_[first[0], 0.0, 0.0, inverse, 0.0, inverse, 1.0, first[1:]]
    gaussian = _descend(start, values, x, y, background, reach, exponent_free=False)
    if gaussian is None:
        return None
    free = _descend(gaussian[0], values, x, y, background, reach, exponent_free=True)
    if free is not None and free[2] * EXPONENT_GAIN_MIN < gaussian[2]:
        gaussian = free
    residual = _linearised(gaussian[0], values, x, y, background)[1]
    return gaussian[0][:7], gaussian[1], residual


def _clumping(residual: Floats, x: Floats, y: Floats, side: int) -> float:
    """By how much the variance of sums over blocks exceeds that of independent pixels; 1 for noise, more beside bone.

    What the background does not follow is alike from pixel to pixel and pulls the place farther than as many
    independent errors.
    """
    block = (np.floor(x / side) + 1000.0 * np.floor(y / side)).astype(np.int64)
    which = np.unique(block, return_inverse=True)[1]
    sums = np.bincount(which, weights=residual)
    return max(1.0, float((sums**2).sum() / max(float((residual**2).sum()), 1e-30)))


def _descend(
    start: Floats,
    values: Floats,
    x: Floats,
    y: Floats,
    background: Floats,
    reach: float,
    *,
    exponent_free: bool,
) -> tuple[Floats, Floats, float] | None:
    """Damped Gauss-Newton with Huber weights: parameters (13,), covariance, and variance of the residuals."""
    used = np.ones(13, dtype=np.bool_)
    used[6] = exponent_free
    p, damping = start, 1e-3
    jacobian, residual = _linearised(p, values, x, y, background)
    weights = _weights(residual)
    for _ in range(FIT_STEPS_MAX):
        weights = _weights(residual)
        cost = float(weights @ residual**2)
        some = jacobian[:, used]
        normal = some.T @ (weights[:, None] * some)
        pull = some.T @ (weights * residual)
        for _ in range(8):
            damped = normal + damping * np.diag(np.diag(normal) + 1e-12)
            step = np.zeros(13)
            step[used] = np.linalg.solve(damped, pull)
            trial = p + step
            if _possible(trial, reach):
                trial_jacobian, trial_residual = _linearised(trial, values, x, y, background)
                if float(weights @ trial_residual**2) <= cost * (1 + 1e-9):
                    break
            damping = max(damping, 1e-6) * 8.0
        else:
            break
        p, jacobian, residual = trial, trial_jacobian, trial_residual
        damping *= 0.2
        if math.hypot(step[1], step[2]) < 1e-4 and abs(step[0]) < 1e-4 * abs(p[0]):
            break
    some = jacobian[:, used]
    variance = float(weights @ residual**2) / max(1.0, float(weights.sum()) - used.sum())
    try:
        covariance = variance * np.linalg.inv(some.T @ (weights[:, None] * some))
    except np.linalg.LinAlgError:
        return None
    if not np.isfinite(covariance).all() or covariance[0, 0] <= 0.0:
        return None
    return p, covariance, variance


def _weights(residual: Floats) -> Floats:
    noise = 1.4826 * float(np.median(np.abs(residual))) + 1e-9
    return np.minimum(1.0, HUBER_SIGMAS * noise / np.maximum(np.abs(residual), 1e-12))


def _possible(p: Floats, reach: float) -> bool:
    """A hill, elliptic, with a sane exponent, in the window."""
    return bool(
        p[0] > 0.0
        and p[3] > 0.0
        and p[5] > 0.0
        and p[3] * p[5] > p[4] ** 2
        and EXPONENTS[0] <= p[6] <= EXPONENTS[1]
        and math.hypot(p[1], p[2]) < 0.5 * reach
    )


def _linearised(
    p: Floats, values: Floats, x: Floats, y: Floats, background: Floats
) -> tuple[Floats, Floats]:
    """Derivatives (n, 13) of height . exp(-q^exponent / 2) + background, and what the values have besides it."""
    dx, dy = x - p[1], y - p[2]
    q = p[3] * dx * dx + 2.0 * p[4] * dx * dy + p[5] * dy * dy + 1e-9
    steep = q ** p[6]
    height = p[0] * np.exp(-0.5 * steep)
    slope = 0.5 * height * p[6] * steep / q
    jacobian = np.concatenate(
        [
            np.stack(
                [
                    height / p[0],
                    2.0 * slope * (p[3] * dx + p[4] * dy),
                    2.0 * slope * (p[4] * dx + p[5] * dy),
                    -slope * dx * dx,
                    -2.0 * slope * dx * dy,
                    -slope * dy * dy,
                    -0.5 * height * steep * np.log(q),
                ],
                axis=1,
            ),
            background,
        ],
        axis=1,
    )
    return jacobian, values - height - background @ p[7:]


def _looks_right(blob: Blob, width: float, length: float) -> bool:
    return (
        blob.contrast_sigmas >= CONTRAST_SIGMAS_MIN
        and SIZE_RATIO_MIN * width <= blob.width_px <= SIZE_RATIO_MAX * width
        and SIZE_RATIO_MIN * width <= blob.length_px <= SIZE_RATIO_MAX * length
    )


def _apart(blobs: Sequence[Blob], distance_px: float) -> list[Blob]:
    """Without those that settled onto a more significant one."""
    kept: list[Blob] = []
    for blob in blobs:
        if all(
            math.hypot(blob.col - other.col, blob.row - other.row) > distance_px for other in kept
        ):
            kept.append(blob)
    return kept
