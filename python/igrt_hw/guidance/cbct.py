"""Cone-beam CT: from the line integrals of a gantry rotation to a volume in the room, in attenuation and HU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CancelFlag, PanelGeometry, reconstruct_fdk
from igrt_hw.guidance.attenuation import WATER_PER_MM


@dataclass(frozen=True, slots=True)
class VolumeGrid:
    """Where voxels are wanted, fixed frame: columns along +X, rows along -Z, slices along +Y about a centre, mm."""

    cols: int = 256
    rows: int = 256
    slices: int = 256
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def fixed_from_index(self) -> NDArray[np.float64]:
        """Affine (4, 4) from (col, row, slice) to the fixed frame, mm."""
        dx, dz, dy = self.spacing_mm
        affine = np.array([[dx, 0, 0, 0], [0, 0, dy, 0], [0, -dz, 0, 0], [0, 0, 0, 1]], dtype=float)
        middle = np.array([self.cols - 1, self.rows - 1, self.slices - 1]) / 2.0
        affine[:3, 3] = np.asarray(self.centre_mm) - affine[:3, :3] @ middle
        return affine


@dataclass(frozen=True, slots=True, eq=False)
class ConeBeamVolume:
    """A reconstruction: attenuation per mm (slices, rows, cols), and where it lies in the fixed frame."""

    attenuation_per_mm: NDArray[np.float32]
    grid: VolumeGrid

    def hu(self, water_per_mm: float = WATER_PER_MM) -> NDArray[np.float32]:
        """HU by the attenuation of water in this beam; scatter and hardening are not corrected."""
        return np.asarray((self.attenuation_per_mm / water_per_mm - 1.0) * 1000.0, dtype=np.float32)


def reconstruct(
    projections: NDArray[np.float32],
    geometries: Sequence[PanelGeometry],
    grid: VolumeGrid | None = None,
    *,
    hann: float | None = None,
    cancel: CancelFlag | None = None,
) -> ConeBeamVolume:
    """Feldkamp reconstruction of a circular scan.

    Args:
        projections: line integrals (n, rows, cols), n of 30 or more, angles all in one direction.
        geometries: one per projection; their flex is followed.
        grid: voxels wanted; 256 cubed of 1 mm about the isocentre unless told.
        hann: cut of the filter as a share of the Nyquist frequency; None for the plain ramp.
        cancel: looked at before every projection.

    A full turn, half a turn and the fan (Parker's weights), and a full turn with a displaced panel are told apart by
    the angles and by where the panel stands.

    Raises:
        ImagingInputError: a scan with gaps, off the circle, shorter than half a turn and the fan, or pixels that
            hold no number.
        RegistrationCancelled: `cancel` was pulled.
    """
    wanted = grid or VolumeGrid()
    volume = reconstruct_fdk(
        list(geometries),
        np.ascontiguousarray(projections, dtype=np.float32),
        size=(wanted.cols, wanted.rows, wanted.slices),
        spacing_mm=wanted.spacing_mm,
        centre_mm=wanted.centre_mm,
        hann=hann,
        cancel=cancel,
    )
    return ConeBeamVolume(volume, wanted)
