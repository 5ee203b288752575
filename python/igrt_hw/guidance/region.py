"""Regions of interest on the panel: drawn by hand, or the shadow of a structure of the plan."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import AttenuationVolume, PanelGeometry, Pose
from igrt_hw.geometry import Frame
from igrt_hw.guidance.ct import CtVolume
from igrt_hw.guidance.mask import body_mask
from igrt_hw.guidance.refusal import InputRefused

Region = NDArray[np.bool_]


def drawn(geometry: PanelGeometry, corners_px: ArrayLike) -> Region:
    """Pixels (rows, cols) inside a closed polygon (n, 2) of columns and rows, as drawn on the picture.

    Even-odd rule at pixel centres. Corners may lie outside the image.

    Raises:
        InputRefused: fewer than three corners, corners that are not finite, or a polygon without a pixel.
    """
    corners = np.asarray(corners_px, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise InputRefused(f"a region needs (3 or more, 2) corners, got shape {corners.shape}")
    if not np.isfinite(corners).all():
        raise InputRefused("a corner of the region is not finite")
    rows, cols = geometry.shape
    x, y = corners.T
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    centres = np.arange(cols, dtype=np.float64)
    inside = np.zeros((rows, cols), dtype=np.bool_)
    for row in range(rows):
        crossing = (y <= row) != (y_next <= row)
        if crossing.any():
            share = (row - y[crossing]) / (y_next[crossing] - y[crossing])
            at = np.sort(x[crossing] + share * (x_next[crossing] - x[crossing]))
            inside[row] = np.searchsorted(at, centres, side="right") % 2 == 1
    if not inside.any():
        raise InputRefused("the drawn region holds no pixel of the image")
    return inside


def of_structure(
    ct: CtVolume,
    contours_dicom_mm: Sequence[NDArray[np.float64]],
    geometry: PanelGeometry,
    fixed_from_patient: Pose | NDArray[np.float64],
    *,
    margin_mm: float = 20.0,
) -> Region:
    """Pixels (rows, cols) that see a structure of the CT, with a margin at the isocentre.

    The margin has to hold the setup error, since the structure is projected where the plan or the couch puts it.

    Raises:
        InputRefused: no contours, contours outside the CT, a negative margin, or a structure beside the panel.
    """
    if not (np.isfinite(margin_mm) and margin_mm >= 0.0):
        raise InputRefused(f"a margin of {margin_mm} mm; zero or more is needed")
    if isinstance(fixed_from_patient, Pose):
        fixed_from_patient.expect_frames(Frame.FIXED, Frame.PATIENT)
        fixed_from_patient = fixed_from_patient.matrix()
    inside = body_mask(ct, contours_dicom_mm)
    # As a volume of water in vacuum the shadow is where the projector finds anything at all.
    hu = np.where(inside, np.float32(0.0), np.float32(-1000.0))
    shadow = AttenuationVolume(hu, ct.iec_patient_from_index()).project(
        geometry, fixed_from_patient
    )
    seen = shadow > 1e-3
    if not seen.any():
        raise InputRefused(
            "the structure lies beside the panel at this pose; move the panel or choose another structure"
        )
    scale = geometry.sid_mm / geometry.sad_mm / geometry.pixel_pitch_mm
    return _widened(seen, round(margin_mm * scale))


def _widened(region: Region, pixels: int) -> Region:
    """All pixels within a square of so many pixels either way: sums over windows, one axis after the other."""
    out = region
    for axis in (0, 1):
        counts = np.cumsum(np.moveaxis(out, axis, 0), axis=0, dtype=np.int64)
        n = len(counts)
        zero = np.zeros_like(counts[:1])
        padded = np.concatenate([zero, counts])
        high = np.minimum(np.arange(n) + pixels + 1, n)
        low = np.maximum(np.arange(n) - pixels, 0)
        out = np.moveaxis(padded[high] > padded[low], 0, axis)
    return out
