"""What imaging costs and shows beside the images: dose of the fraction and the course, hints, warnings."""

from __future__ import annotations

from igrt_hw.models.base import Frozen


class DoseView(Frozen):
    """The imaging dose of the bound patient. Skin doses are estimates from the tube's output, wrong by
    `uncertainty_factor` either way; dose-area products are what the imager counted.

    `alara`: what to think of before exposing, by the protocol of the site. `repeat`: what has to be said before another
    pair in this fraction; empty while the number of pairs is usual. `warnings`: of this fraction and the course.
    """

    site: str
    protocol: str
    fraction: int
    exposures_in_fraction: int
    exposures_in_course: int
    lost_in_course: int
    """Exposures that became no image; they count in every dose."""
    scans_in_course: int
    """Cone-beam scans; their projections are among the exposures."""
    pairs_usual: int
    pairs_most: int
    skin_mGy_fraction: float
    skin_mGy_course: float
    skin_mGy_next_pair: float
    dose_area_uGycm2_fraction: float
    dose_area_uGycm2_course: float
    uncertainty_factor: float
    alara: tuple[str, ...]
    repeat: str
    warnings: tuple[str, ...]
