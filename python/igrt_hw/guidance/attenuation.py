"""From HU to attenuation: the curves that a projection can be made with, all of them stated and replaceable.

A curve is (n, 2): HU and attenuation per mm, joined by straight lines, not falling; below the first point it holds,
above the last it goes on with the last slope. Water is 0.02059 /mm at 60 keV (0.2059 cm2/g, NIST XCOM), near the mean
energy of a filtered 100 kV beam.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

WATER_PER_MM = 0.02059
# Trabecular bone begins near 100 HU, contrast-filled vessels and cartilage lie below 250 (Schneider, PMB 1996;41:111).
BONE_FROM_HU = 150.0
# Above this a voxel is no soft tissue: muscle and blood end at 80 HU.
SOFT_TO_HU = 100.0
HIGHEST_HU = 3000.0

Curve = NDArray[np.float64]


class Emphasis(StrEnum):
    """What of the patient a projection shows."""

    NONE = "none"
    BONE = "bone"
    """Only what is denser than soft tissue: for spine, skull and pelvis, where soft tissue may have moved."""
    SOFT_TISSUE = "soft_tissue"
    """Bone counted as muscle: for lung tumours and the diaphragm, where ribs move otherwise than the target."""


def curve(emphasis: Emphasis = Emphasis.NONE, *, water_per_mm: float = WATER_PER_MM) -> Curve:
    """The curve of an emphasis, for a beam in which water attenuates so much.

    Raises:
        ValueError: attenuation of water that is not within 0.005 to 0.1 /mm, that is, in another unit.
    """
    if not 0.005 <= water_per_mm <= 0.1:
        raise ValueError(
            f"water attenuates {water_per_mm} /mm? Diagnostic X-rays give 0.015 to 0.03; is it per cm?"
        )

    def mu(hu: float) -> float:
        return water_per_mm * (1.0 + hu / 1000.0)

    if emphasis is Emphasis.BONE:
        points = [(BONE_FROM_HU, 0.0), (HIGHEST_HU, mu(HIGHEST_HU) - mu(BONE_FROM_HU))]
    elif emphasis is Emphasis.SOFT_TISSUE:
        points = [(-1000.0, 0.0), (SOFT_TO_HU, mu(SOFT_TO_HU)), (HIGHEST_HU, mu(SOFT_TO_HU))]
    else:
        points = [(-1000.0, 0.0), (0.0, mu(0.0)), (HIGHEST_HU, mu(HIGHEST_HU))]
    return np.array(points)
