"""Pictures for the eye: X-ray and DRR blended, in a checkerboard, or subtracted, as uint8 arrays."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry, Pose
from igrt_hw.geometry import Frame
from igrt_hw.guidance.registration import PatientModel

Image = NDArray[np.float32]
Grey = NDArray[np.uint8]


def drr(
    patient: PatientModel, geometry: PanelGeometry, fixed_from_patient: Pose | NDArray[np.float64]
) -> Image:
    """Line integrals (rows, cols) of the CT at a pose, as the panel would see them without noise or scatter."""
    if isinstance(fixed_from_patient, Pose):
        fixed_from_patient.expect_frames(Frame.FIXED, Frame.PATIENT)
        return patient.volume.project(geometry, fixed_from_patient.matrix())
    return patient.volume.project(geometry, fixed_from_patient)


def grey(image: Image, window: tuple[float, float] | None = None) -> Grey:
    """Line integrals as grey values: more attenuation is brighter, as on a film. Pixels that hold nothing are black.

    `window` are the line integrals of black and white; by default the 1st and 99th percentile.
    """
    low, high = _window(image) if window is None else window
    scaled = (np.nan_to_num(image, nan=low) - low) / max(high - low, 1e-6)
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)


def matched(image: Image, model: Image) -> Image:
    """The DRR brought onto the grey scale of the X-ray: scale and shift by the spreads and medians of both."""
    seen = np.isfinite(image) & np.isfinite(model)
    if not seen.any():
        return model
    centre, spread = _spread(image[seen])
    model_centre, model_spread = _spread(model[seen])
    if model_spread <= 0.0:
        return np.full_like(model, centre)
    return np.asarray((model - model_centre) * (spread / model_spread) + centre, dtype=np.float32)


def blend(image: Image, model: Image, share: float = 0.5) -> NDArray[np.uint8]:
    """X-ray and DRR in complementary colours (rows, cols, 3): orange and blue; where they agree the picture is grey.

    `share` is how much of the DRR is seen, 0 to 1.

    Raises:
        ValueError: different shapes, or a share outside 0 to 1.
    """
    _same(image, model)
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"the share of the DRR is {share}; it must be 0 to 1")
    window = _window(image)
    a = grey(image, window).astype(np.float32)
    b = grey(matched(image, model), window).astype(np.float32)
    mean = (1.0 - share) * a + share * b
    rgb = np.stack([(1.0 - share) * 2.0 * a, mean, share * 2.0 * b], axis=-1)
    return np.asarray(np.clip(rgb, 0.0, 255.0) + 0.0, dtype=np.uint8)


def checkerboard(image: Image, model: Image, squares: int = 8) -> Grey:
    """X-ray and DRR in alternating squares (rows, cols), `squares` of them across the image.

    Raises:
        ValueError: different shapes, or fewer than two squares.
    """
    _same(image, model)
    if squares < 2:
        raise ValueError(f"{squares} squares; two or more are needed")
    side = max(1, -(-image.shape[1] // squares))
    row, col = np.indices(image.shape)
    window = _window(image)
    odd = (row // side + col // side) % 2 == 1
    return np.where(odd, grey(matched(image, model), window), grey(image, window))


def difference(image: Image, model: Image) -> Grey:
    """X-ray minus DRR (rows, cols): mid-grey where they agree, bright where the X-ray attenuates more.

    Raises:
        ValueError: different shapes.
    """
    _same(image, model)
    low, high = _window(image)
    scaled = (np.nan_to_num(image - matched(image, model), nan=0.0)) / max(high - low, 1e-6)
    return np.asarray(np.clip(scaled + 0.5, 0.0, 1.0) * 255.0, dtype=np.uint8)


def picture(
    kind: Literal["blend", "checkerboard", "difference"], image: Image, model: Image
) -> NDArray[np.uint8]:
    """One of the three by name; (rows, cols) or (rows, cols, 3)."""
    if kind == "blend":
        return blend(image, model)
    return checkerboard(image, model) if kind == "checkerboard" else difference(image, model)


def sheet(pairs: Sequence[tuple[Image, Image]]) -> NDArray[np.uint8]:
    """One picture of all views (rows, cols, 3): X-ray, blend, checkerboard and difference side by side, a view a row.

    Raises:
        ValueError: no view, or an X-ray and a DRR of different shapes.
    """
    if not pairs:
        raise ValueError("there is no view to show")
    rows = []
    for image, model in pairs:
        greys = (grey(image), checkerboard(image, model), difference(image, model))
        xray, board, rest = (np.repeat(g[..., None], 3, axis=2) for g in greys)
        rows.append(np.concatenate([xray, blend(image, model), board, rest], axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(padded, axis=0)


def _same(image: Image, model: Image) -> None:
    if image.shape != model.shape or image.ndim != 2:
        raise ValueError(f"the X-ray has shape {image.shape}, the DRR {model.shape}")


def _window(image: Image) -> tuple[float, float]:
    seen = image[np.isfinite(image)]
    if seen.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(seen, (1.0, 99.0))
    return float(low), float(high)


def _spread(values: NDArray[np.float32]) -> tuple[float, float]:
    low, middle, high = np.percentile(values, (10.0, 50.0, 90.0))
    return float(middle), float(high - low)
