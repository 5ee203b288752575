"""How a cone-beam scan is taken and reconstructed: technique, angles, blades, voxels; a department sets its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.cbct import VolumeGrid
from igrt_hw.models.base import Frozen
from igrt_hw.models.generator import technique_problem

Positive = Annotated[FiniteFloat, Field(gt=0)]


class ScanProtocol(Frozen):
    """A full turn with the gantry at rest at every projection.

    Angles: the source begins at `first_deg` and turns by `arc_deg`, never over +-180 degrees of the gantry. `field_mm`:
    the blades leave a shadow above and below, in which the scatter is read (`guidance.cbct_projections`). kVp, mA, ms:
    background, medium confidence (0.4 mAs a projection is what linac thorax scans of some 600 projections give, so that
    this scan of fewer has less dose and more noise).
    `water_per_mm`: attenuation of water in this beam as it is reconstructed, for HU; measured (docs/validation.md).
    """

    name: str = "thorax, 90 projections"
    kvp: Annotated[FiniteFloat, Field(ge=40, le=150)] = 100.0
    ma: Positive = 40.0
    ms: Annotated[FiniteFloat, Field(gt=0, le=100)] = 10.0
    binning: Literal[2, 4] = 4
    projections: Annotated[int, Field(ge=30, le=720)] = 90
    first_deg: FiniteFloat = -89.0
    arc_deg: Annotated[FiniteFloat, Field(gt=180, lt=360)] = 358.0
    field_mm: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] = (
        -130.0,
        130.0,
        -85.0,
        85.0,
    )
    cols: Annotated[int, Field(ge=16, le=512)] = 96
    rows: Annotated[int, Field(ge=16, le=512)] = 96
    slices: Annotated[int, Field(ge=8, le=512)] = 56
    spacing_mm: tuple[Positive, Positive, Positive] = (2.0, 2.0, 2.5)
    hann: Annotated[FiniteFloat, Field(gt=0, le=1)] = 0.6
    water_per_mm: Annotated[FiniteFloat, Field(gt=0.005, lt=0.1)] = 0.0205

    @model_validator(mode="after")
    def _gantry_can(self) -> ScanProtocol:
        problem = technique_problem(self.kvp, self.ma, self.ms)
        if problem:
            raise ValueError(problem)
        last = self.first_deg + self.arc_deg * (self.projections - 1) / self.projections
        if not (self.first_deg > -90.0 and last <= 270.0):
            raise ValueError(
                f"from {self.first_deg:g} to {last:g} deg: the source turns from above -90 to 270 deg, the gantry "
                "never crosses +-180"
            )
        return self

    @property
    def mas(self) -> float:
        """Current times time of a projection, mAs."""
        return self.ma * self.ms / 1000

    def source_angles_deg(self) -> tuple[float, ...]:
        """Source angles in the order of the scan, in (-180, 180]."""
        step = self.arc_deg / self.projections
        return tuple(wrap_deg(self.first_deg + k * step) for k in range(self.projections))

    def grid(self) -> VolumeGrid:
        """The voxels about the isocentre."""
        return VolumeGrid(self.cols, self.rows, self.slices, self.spacing_mm)
