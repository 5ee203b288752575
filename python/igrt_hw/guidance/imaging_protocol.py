"""Imaging protocols per site: kVp, mA, ms, filter and field as data, and the dose that they cost.

The files are `guidance/protocols/*.toml`, each number with its source. The dose is an estimate from the tube's output
(`protocols/tube.toml`): air kerma free in air at the skin, with backscatter, wrong by a factor of about 1.5
either way. It is there to compare protocols and to notice repetition, not to be reported as a measurement; the
dose-area product that the imager itself tells goes into the record (`igrt_hw.records.dose`).
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.base import Frozen
from igrt_hw.models.generator import technique_problem

FOLDER: Final = Path(__file__).parent / "protocols"
TUBE_FILE: Final = "tube.toml"
GENERAL_SITE: Final = "thorax"
"""What a plan without a known site is imaged with."""
SAD_MM: Final = 1000.0
# TG-180: from 5 % of the prescribed dose on, imaging dose belongs into the plan.
TG180_SHARE: Final = 0.05

Positive = Annotated[FiniteFloat, Field(gt=0)]
FilterName = Literal["none", "half_bow_tie", "full_bow_tie", "titanium"]


class Tube(Frozen):
    """Output of the tube and what turns it into dose at the skin."""

    output_coefficient_uGy_per_mAs: Positive
    output_power: Positive
    output_distance_mm: Positive
    backscatter: Annotated[FiniteFloat, Field(ge=1.0, le=2.0)]
    uncertainty_factor: Annotated[FiniteFloat, Field(ge=1.0, le=5.0)]
    filters: dict[FilterName, Annotated[FiniteFloat, Field(gt=0, le=1)]]

    def air_kerma_mGy(  # noqa: N802 - SI units keep their capitals
        self, kvp: float, mas: float, beam_filter: FilterName, distance_mm: float
    ) -> float:
        """Air kerma free in air, mGy, at a distance from the focus."""
        per_mas = self.output_coefficient_uGy_per_mAs * kvp**self.output_power
        closer = (self.output_distance_mm / distance_mm) ** 2
        return float(per_mas * closer * mas * self.filters[beam_filter] / 1e3)


class DoseEstimate(Frozen):
    """What one exposure costs, by estimate: mGy at the skin, uGy cm2 of dose-area product at the isocentre's
    field."""

    entrance_air_kerma_mGy: float
    entrance_skin_dose_mGy: float
    dose_area_uGycm2: float
    uncertainty_factor: float


class ViewTechnique(Frozen):
    """How one of the two views is exposed: tube voltage (kV), current (mA), time (ms).

    `thickness_mm` is that of the patient along the beam at the isocentre."""

    name: str
    axis: Literal["anteroposterior", "lateral"]
    kvp: Annotated[FiniteFloat, Field(ge=40, le=150)]
    ma: Positive
    ms: Positive
    beam_filter: FilterName
    thickness_mm: Annotated[FiniteFloat, Field(gt=0, le=700)]
    source: Annotated[str, Field(min_length=10)]

    @model_validator(mode="after")
    def _generator_can(self) -> ViewTechnique:
        problem = technique_problem(self.kvp, self.ma, self.ms)
        if problem:
            raise ValueError(f"view {self.name}: {problem}")
        return self

    @property
    def mas(self) -> float:
        """Current times time, mAs."""
        return self.ma * self.ms / 1000


class ImagingProtocol(Frozen):
    """How pairs of a site are taken.

    `plan_sites` are the words for the site in plans and site rules; `field_mm` the kV blades at the isocentre
    (x1, x2, y1, y2); `alara` what to think of before exposing.
    """

    site: str
    title: str
    plan_sites: Annotated[tuple[str, ...], Field(min_length=1)]
    binning: Literal[1, 2, 4]
    field_mm: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    pairing: str
    course_fractions: Annotated[int, Field(gt=0)]
    pairs_per_fraction: Annotated[int, Field(gt=0)]
    pairs_per_fraction_max: Annotated[int, Field(gt=0)]
    alara: Annotated[tuple[str, ...], Field(min_length=1)]
    views: Annotated[tuple[ViewTechnique, ...], Field(min_length=1)]
    match: Literal["anatomy", "markers if planned"] = "anatomy"
    """What a pair of the site is registered by, unless the operator asks otherwise."""

    @model_validator(mode="after")
    def _sane(self) -> ImagingProtocol:
        x1, x2, y1, y2 = self.field_mm
        if not (x1 < 0.0 < x2 and y1 < 0.0 < y2):
            raise ValueError(f"{self.site}: the field {self.field_mm} does not hold the isocentre")
        axes = [view.axis for view in self.views]
        if sorted(axes) != ["anteroposterior", "lateral"]:
            raise ValueError(f"{self.site}: one technique a direction is needed, found {axes}")
        if self.pairs_per_fraction > self.pairs_per_fraction_max:
            raise ValueError(f"{self.site}: more pairs are usual than allowed")
        return self

    def view_at(self, source_angle_deg: float) -> ViewTechnique:
        """The technique for a source angle: that of the direction which is nearer; obliques at 45 deg take the
        lateral one.

        A lateral path is the longer one, so that an oblique is exposed as such.
        """
        folded = abs(wrap_deg(source_angle_deg))
        frontal = min(folded, 180.0 - folded) < 45.0
        wanted = "anteroposterior" if frontal else "lateral"
        return next(view for view in self.views if view.axis == wanted)

    def dose(self, source_angle_deg: float, tube: Tube | None = None) -> DoseEstimate:
        """Estimate for one exposure from a source angle."""
        view, output = self.view_at(source_angle_deg), tube or load_tube()
        skin = SAD_MM - view.thickness_mm / 2.0
        kerma = output.air_kerma_mGy(view.kvp, view.mas, view.beam_filter, skin)
        at_isocentre = output.air_kerma_mGy(view.kvp, view.mas, view.beam_filter, SAD_MM)
        x1, x2, y1, y2 = self.field_mm
        return DoseEstimate(
            entrance_air_kerma_mGy=kerma,
            entrance_skin_dose_mGy=kerma * output.backscatter,
            dose_area_uGycm2=at_isocentre * 1e3 * (x2 - x1) * (y2 - y1) / 100.0,
            uncertainty_factor=output.uncertainty_factor,
        )

    def pair_skin_dose_mGy(self) -> float:  # noqa: N802
        """Skin dose of a pair, both entrances added: an upper bound, since the entrances seldom overlap."""
        return sum(self.dose(angle).entrance_skin_dose_mGy for angle in (0.0, 90.0))

    def course_skin_dose_mGy(self) -> float:  # noqa: N802
        """Skin dose of a course as it is usually imaged, by the same bound."""
        return self.pair_skin_dose_mGy() * self.pairs_per_fraction * self.course_fractions


def protocols() -> tuple[ImagingProtocol, ...]:
    """All protocols of the package, by site."""
    names = sorted(path.name for path in FOLDER.glob("*.toml") if path.name != TUBE_FILE)
    return tuple(load_protocol(FOLDER / name) for name in names)


@cache
def load_protocol(path: Path) -> ImagingProtocol:
    """A protocol from a file.

    Raises:
        InputRefused: no such file, or one that is no protocol; the message says where it is wrong.
    """
    try:
        return ImagingProtocol.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputRefused(f"{path.name} is no imaging protocol: {error}") from error


@cache
def load_tube(path: Path = FOLDER / TUBE_FILE) -> Tube:
    """The tube of the package, or of a file. Raises `InputRefused` as `load_protocol`."""
    try:
        return Tube.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InputRefused(f"{path.name} describes no tube: {error}") from error


def protocol_for(plan_site: str) -> ImagingProtocol:
    """The protocol of a plan's site; the general one for a site that has none, and for no site."""
    known = protocols()
    for protocol in known:
        if plan_site == protocol.site or plan_site in protocol.plan_sites:
            return protocol
    return next(protocol for protocol in known if protocol.site == GENERAL_SITE)
