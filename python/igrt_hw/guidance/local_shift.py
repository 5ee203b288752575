"""By how much parts of an image lie elsewhere than in a model of it: one least-squares shift for each block.

Within a block today's image is taken as `a model(x - d) + b`: shift d, scale a and offset b (scatter, another
voltage) are fitted together by Gauss-Newton on smoothed images, coarse to fine (Lucas and Kanade, IJCAI 1981). What the
block does not show in a direction stays near zero by a weak prior, and its standard deviation says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEPS_MAX: Final = 8
SETTLED_MM: Final = 0.02
PRIOR_MM: Final = 10.0
POINTS_MAX: Final = 1000
SCALE_MIN: Final = 0.2  # a model that has to be stretched more than this is of something else
HUBER: Final = 1.5  # spreads beyond which a point counts less
KNOWN_MM: Final = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class LocalShift:
    """A block: its centre and shift along the array's axes, mm; `mm` is the length of what of the shift is known to
    `KNOWN_MM`. `similarity` is the correlation after the shift."""

    centre_mm: Floats
    shift_mm: Floats
    covariance_mm2: Floats
    mm: float
    similarity: float


@dataclass(frozen=True, slots=True)
class BlockSearch:
    """How blocks are laid and matched, mm. `filled_min`: share of a block's points inside the mask."""

    block_mm: float = 40.0
    pitch_mm: float = 40.0
    reach_mm: float = 15.0
    scales_mm: tuple[float, ...] = (5.0, 2.0)
    filled_min: float = 0.4
    contrast_min: float = 0.0


def local_shifts(
    image: NDArray[np.float32],
    model: NDArray[np.float32],
    mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    search: BlockSearch,
) -> tuple[list[LocalShift], int]:
    """Shifts of the blocks in which something could be matched, and how many blocks were looked at.

    Args:
        image, model: n-dimensional, one shape; values outside `mask` are not used.
        mask: what of both is to be compared.
        spacing_mm: along each axis of the arrays. Shifts are where the image lies minus where the model does.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    weight = mask & np.isfinite(image) & np.isfinite(model)
    layers = [_layer(image, model, weight, spacing, scale) for scale in search.scales_mm]
    half = np.maximum(1, np.rint(0.5 * search.block_mm / spacing).astype(int))
    starts = [
        _centres(n, h, search.pitch_mm / s)
        for n, h, s in zip(mask.shape, half, spacing, strict=True)
    ]
    found: list[LocalShift] = []
    looked = 0
    for centre in product(*starts):
        window = tuple(slice(max(0, c - h), c + h + 1) for c, h in zip(centre, half, strict=True))
        inside = weight[window]
        if inside.mean() < search.filled_min:
            continue
        looked += 1
        points = np.argwhere(inside) + [piece.start for piece in window]
        points = points[:: max(1, len(points) // POINTS_MAX)].astype(np.float64)
        shift = _block(layers, points, spacing, search)
        if shift is not None:
            found.append(shift)
    return found, looked


def smoothed(image: Floats, weight: NDArray[np.bool_], sigma_px: Floats) -> Floats:
    """A Gaussian mean of what is inside `weight`; what is far from it is zero."""
    inside = weight.astype(np.float64)
    values = np.where(weight, np.nan_to_num(image), 0.0)
    for axis, sigma in enumerate(sigma_px):
        values, inside = _blurred(values, axis, sigma), _blurred(inside, axis, sigma)
    return np.asarray(np.where(inside > 1e-3, values / np.maximum(inside, 1e-3), 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """Smoothed image, and smoothed model with its slopes along the axes (..., 1 + n)."""

    image: Floats
    model: Floats
    correlated: float


def _layer(
    image: NDArray[np.float32],
    model: NDArray[np.float32],
    weight: NDArray[np.bool_],
    spacing: Floats,
    scale_mm: float,
) -> _Layer:
    sigma = scale_mm / spacing
    plain = smoothed(model.astype(np.float64), weight, sigma)
    slopes = np.gradient(plain, *spacing)
    # A Gaussian of this width makes so many neighbours say the same (its area or volume against one point's).
    alike = float(np.prod(np.maximum(1.0, 2.0 * np.sqrt(np.pi) * sigma)))
    return _Layer(
        smoothed(image.astype(np.float64), weight, sigma),
        np.stack([plain, *slopes], axis=-1),
        alike,
    )


def _block(
    layers: Sequence[_Layer], points: Floats, spacing: Floats, search: BlockSearch
) -> LocalShift | None:
    shift = np.zeros(len(spacing))
    covariance = np.zeros((len(spacing),) * 2)
    similarity = 0.0
    for layer in layers:
        seen = sample(layer.image, points)
        for _ in range(STEPS_MAX):
            told = sample(layer.model, points - shift / spacing, len(spacing))
            if told[:, 0].std() <= search.contrast_min:
                return None
            fitted = _step(seen, told, shift, layer.correlated)
            if fitted is None:
                return None
            step, covariance, similarity = fitted
            shift = shift + step
            if not np.isfinite(shift).all() or np.linalg.norm(shift) > search.reach_mm:
                return None
            if np.linalg.norm(step) < SETTLED_MM:
                break
    centre = points.mean(axis=0) * spacing
    return LocalShift(centre, shift, covariance, _known_mm(shift, covariance), similarity)


def _step(
    seen: Floats, told: Floats, shift: Floats, correlated: float
) -> tuple[Floats, Floats, float] | None:
    """One Gauss-Newton step of the shift with its covariance, and the correlation before it; None where the model has
    to be stretched until it is of something else."""
    model, slopes = told[:, 0], told[:, 1:]
    weight = np.ones(len(model))
    for _ in range(
        2
    ):  # with all, then with less of what the model does not hold: a rail, a tube, a new edge
        total = float(weight.sum())
        centred = model - float(weight @ model) / total
        image = seen - float(weight @ seen) / total
        power = float(weight @ centred**2)
        scale = float(weight @ (centred * image)) / max(power, 1e-12)
        if not scale >= SCALE_MIN:
            return None
        residual = image - scale * centred
        spread = 1.4826 * float(np.median(np.abs(residual)))
        weight = np.minimum(1.0, HUBER * spread / np.maximum(np.abs(residual), 1e-12))
    design = np.c_[model, np.ones(len(model)), -scale * slopes]
    freedom = max(1.0, total - float(design.shape[1]))
    variance = correlated * float(weight @ residual**2) / freedom
    prior = np.zeros(design.shape[1])
    prior[2:] = max(variance, 1e-12) / PRIOR_MM**2
    pull = design.T @ (weight * residual)
    pull[2:] -= prior[2:] * shift
    inverse = np.linalg.pinv(design.T @ (weight[:, None] * design) + np.diag(prior))
    similarity = float(np.corrcoef(seen, model)[0, 1])
    return (inverse @ pull)[2:], variance * inverse[2:, 2:], similarity


def _known_mm(shift: Floats, covariance: Floats) -> float:
    """Length of the shift along the directions that are known."""
    values, vectors = np.linalg.eigh(covariance)
    along = vectors.T @ shift
    return float(np.linalg.norm(along[values < KNOWN_MM**2]))


def sample(array: Floats, at: Floats, axes: int | None = None) -> Floats:
    """Linear interpolation of an array at points (m, n) in index units; the border continues.

    `axes`: how many leading axes are places; what follows is values, (m, ...). All are places without.
    """
    count = at.shape[1] if axes is None else axes
    shape = np.array(array.shape[:count])
    values = array.reshape(int(shape.prod()), -1)
    place = np.clip(at, 0.0, shape - 1.0)
    low = np.minimum(place.astype(np.intp), np.maximum(shape - 2, 0))
    share = place - low
    strides = np.append(np.cumprod(shape[::-1])[::-1][1:], 1)
    first = low @ strides
    out = np.zeros((len(at), values.shape[1]))
    for corner in product((0, 1), repeat=count):
        weight = np.prod(np.where(corner, share, 1.0 - share), axis=1)
        # Beyond an axis of one there is nothing to step to, and no weight either.
        step = int(np.minimum(corner, shape - 1) @ strides)
        out += weight[:, None] * values[first + step]
    return out.reshape(len(at), *array.shape[count:])


def _centres(count: int, half: int, pitch: float) -> list[int]:
    """Middles of blocks along one axis, symmetric about the array's own."""
    span = max(0, count - 2 * half)
    pieces = int(span / max(pitch, 1.0)) + 1
    middle = (count - 1) / 2.0
    return [round(middle + (n - (pieces - 1) / 2.0) * pitch) for n in range(pieces)]


def _blurred(values: Floats, axis: int, sigma: float) -> Floats:
    reach = int(np.ceil(3.0 * sigma))
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    moved = np.moveaxis(values, axis, 0)
    padded = np.pad(moved, [(reach, reach)] + [(0, 0)] * (moved.ndim - 1))
    out = np.zeros_like(moved)
    for n, share in enumerate(kernel):
        out += share * padded[n : n + len(moved)]
    return np.moveaxis(out, 0, axis)
