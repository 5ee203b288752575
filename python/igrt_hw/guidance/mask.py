"""What of a CT is patient: the voxels inside the external contour, so that the CT table is not taken for the couch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from igrt_hw.guidance.ct import CtVolume
from igrt_hw.guidance.refusal import InputRefused


def body_mask(
    ct: CtVolume, contours_dicom_mm: Sequence[NDArray[np.float64]], *, margin_mm: float = 0.0
) -> NDArray[np.bool_]:
    """Voxels (slices, rows, cols) whose centres lie inside the closed planar contours (n, 3), DICOM mm.

    A point inside an even number of contours of its slice is outside (a contour within a contour is a hole).
    Slices between two contoured ones are filled from the nearer; slices beyond the contours are outside.
    `margin_mm` widens the mask within the slice, for surfaces drawn a little inside the skin.

    Raises:
        InputRefused: no contours, a contour that is not planar or has fewer than three points, or a mask with
            nothing in it.
    """
    slices, rows, cols = ct.hu.shape
    _, _, dz = ct.spacing_mm
    mask = np.zeros((slices, rows, cols), dtype=np.bool_)
    seen = np.zeros(slices, dtype=np.bool_)
    if not contours_dicom_mm:
        raise InputRefused(
            "there is no body contour: draw the external surface in the planning system"
        )
    for number, contour in enumerate(contours_dicom_mm):
        points = np.asarray(contour, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 3:
            raise InputRefused(
                f"body contour {number} has shape {points.shape}, not (3 or more, 3)"
            )
        if np.ptp(points[:, 2]) > 0.01:
            raise InputRefused(f"body contour {number} does not lie in one axial plane")
        index = round(float((points[0, 2] - ct.origin_dicom_mm[2]) / dz))
        if 0 <= index < slices:
            mask[index] ^= _inside(ct, points[:, :2])
            seen[index] = True
    if not mask.any():
        raise InputRefused(
            "the body contours hold no voxel of this CT: are they of another series?"
        )
    _fill_between(mask, seen)
    if margin_mm > 0.0:
        mask = _widened(mask, margin_mm, ct.spacing_mm)
    return mask


def _inside(ct: CtVolume, polygon_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Even-odd rule row by row: a voxel is inside when an odd number of edges cross its row to the left of it."""
    _, rows, cols = ct.hu.shape
    dx, dy, _ = ct.spacing_mm
    x = (polygon_mm[:, 0] - ct.origin_dicom_mm[0]) / dx
    y = (polygon_mm[:, 1] - ct.origin_dicom_mm[1]) / dy
    x_next, y_next = np.roll(x, -1), np.roll(y, -1)
    toggles = np.zeros((rows, cols + 1), dtype=np.int64)
    for row in range(rows):
        crossing = (y <= row) != (y_next <= row)
        if not crossing.any():
            continue
        share = (row - y[crossing]) / (y_next[crossing] - y[crossing])
        at = x[crossing] + share * (x_next[crossing] - x[crossing])
        first = np.clip(np.ceil(at), 0, cols).astype(np.int64)
        np.add.at(toggles[row], first, 1)
    return np.asarray(np.cumsum(toggles[:, :cols], axis=1) % 2 == 1)


def _fill_between(mask: NDArray[np.bool_], seen: NDArray[np.bool_]) -> None:
    contoured = np.flatnonzero(seen)
    for index in range(contoured[0], contoured[-1]):
        if not seen[index]:
            mask[index] = mask[contoured[np.argmin(np.abs(contoured - index))]]


def _widened(
    mask: NDArray[np.bool_], margin_mm: float, spacing_mm: tuple[float, float, float]
) -> NDArray[np.bool_]:
    out = mask.copy()
    for axis, spacing in ((2, spacing_mm[0]), (1, spacing_mm[1])):
        source = out.copy()
        for step in range(1, round(margin_mm / spacing) + 1):
            ahead = [slice(None)] * 3
            behind = [slice(None)] * 3
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            out[tuple(ahead)] |= source[tuple(behind)]
            out[tuple(behind)] |= source[tuple(ahead)]
    return out
