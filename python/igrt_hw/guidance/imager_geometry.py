"""Where source and panel truly stand at each source angle: imager poses, and the flex map that holds them.

An `ImagerPose` is the description of `PanelGeometry` (`docs/conventions.md`, X-ray images) without pixels: ten
numbers, millimetres and degrees. Nine of them are free; the source angle is the label that the machine gives,
and a source that is not quite there shows as `source_lateral_mm`. A `FlexMap` is a table of poses by source
angle, as a geometric calibration measured them (`igrt_hw.guidance.geometric_calibration`).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, field_validator, model_validator

from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.base import Frozen

POSE_NUMBERS: Final = (
    "sad_mm",
    "source_lateral_mm",
    "source_longitudinal_mm",
    "sid_mm",
    "panel_lateral_mm",
    "panel_longitudinal_mm",
    "panel_rotation_deg",
    "panel_pitch_deg",
    "panel_roll_deg",
)
"""The nine free numbers of a pose, in the order of every covariance of a pose."""

# Interpolated linearly, a flex of amplitude A that goes once round with the gantry errs by A h^2 / 8: over 30 degrees
# 3.4 % of A, 0.02 mm of the 0.5 mm that real arms sag.
GAP_MAX_DEG: Final = 30.0
SAME_ANGLE_DEG: Final = 1e-6


class PanelFormat(Frozen):
    """What a panel delivers in one binning: rows, columns, and the pitch of a (binned) pixel on the panel."""

    rows: Annotated[int, Field(gt=0)]
    cols: Annotated[int, Field(gt=0)]
    pixel_pitch_mm: Annotated[FiniteFloat, Field(gt=0)]

    @classmethod
    def of(cls, geometry: PanelGeometry) -> PanelFormat:
        """The format of a geometry."""
        rows, cols = geometry.shape
        return cls(rows=rows, cols=cols, pixel_pitch_mm=geometry.pixel_pitch_mm)


class ImagerPose(Frozen):
    """Source and panel of one exposure, the numbers of `PanelGeometry` without pixels; mm and degrees."""

    source_angle_deg: FiniteFloat
    sad_mm: Annotated[FiniteFloat, Field(gt=0)]
    sid_mm: Annotated[FiniteFloat, Field(gt=0)]
    source_lateral_mm: FiniteFloat = 0.0
    source_longitudinal_mm: FiniteFloat = 0.0
    panel_lateral_mm: FiniteFloat = 0.0
    panel_longitudinal_mm: FiniteFloat = 0.0
    panel_rotation_deg: FiniteFloat = 0.0
    panel_pitch_deg: FiniteFloat = 0.0
    panel_roll_deg: FiniteFloat = 0.0

    @classmethod
    def of(cls, geometry: PanelGeometry) -> ImagerPose:
        """The pose of a geometry."""
        numbers = {name: getattr(geometry, name) for name in POSE_NUMBERS}
        return cls(source_angle_deg=geometry.source_angle_deg, **numbers)

    @classmethod
    def from_numbers(cls, source_angle_deg: float, numbers: NDArray[np.float64]) -> ImagerPose:
        """From the nine numbers in the order of `POSE_NUMBERS`."""
        named = dict(zip(POSE_NUMBERS, (float(x) for x in numbers), strict=True))
        return cls(source_angle_deg=source_angle_deg, **named)

    def numbers(self) -> NDArray[np.float64]:
        """The nine free numbers (9,) in the order of `POSE_NUMBERS`, mm and degrees."""
        return np.array([getattr(self, name) for name in POSE_NUMBERS], dtype=np.float64)

    def geometry(self, panel: PanelFormat) -> PanelGeometry:
        """The projection through a panel of a format.

        Raises:
            ImagingInputError: numbers that describe no panel beyond the isocentre.
        """
        numbers = {name: getattr(self, name) for name in POSE_NUMBERS}
        return PanelGeometry(
            source_angle_deg=self.source_angle_deg,
            rows=panel.rows,
            cols=panel.cols,
            pixel_pitch_mm=panel.pixel_pitch_mm,
            **numbers,
        )


class FlexMap(Frozen):
    """Poses of one imager by source angle, ascending in (-180, 180]; between them it is interpolated linearly.

    `covariance` holds for each pose the (9, 9) covariance of its numbers (`POSE_NUMBERS`), or is empty when
    nobody measured it. `gap_max_deg` is the widest gap between neighbours that is interpolated; over a
    wider one the map is silent and refuses.
    """

    imager: str
    calibrated_utc: str
    phantom: str
    poses: Annotated[tuple[ImagerPose, ...], Field(min_length=1)]
    covariance: tuple[tuple[tuple[float, ...], ...], ...] = ()
    rms_residual_px: tuple[float, ...] = ()
    gap_max_deg: Annotated[FiniteFloat, Field(gt=0, le=90)] = GAP_MAX_DEG

    @field_validator("poses")
    @classmethod
    def _ascending(cls, poses: tuple[ImagerPose, ...]) -> tuple[ImagerPose, ...]:
        angles = [pose.source_angle_deg for pose in poses]
        if any(not -180.0 < angle <= 180.0 for angle in angles):
            raise ValueError("source angles of a flex map lie in (-180, 180] degrees")
        if any(b - a < SAME_ANGLE_DEG for a, b in pairwise(angles)):
            raise ValueError("source angles of a flex map ascend, each angle once")
        return poses

    @model_validator(mode="after")
    def _one_covariance_for_each(self) -> FlexMap:
        for name in ("covariance", "rms_residual_px"):
            held = getattr(self, name)
            if held and len(held) != len(self.poses):
                raise ValueError(f"{len(held)} entries of {name} for {len(self.poses)} poses")
        for n in range(len(self.covariance)):
            matrix = np.array(self.covariance[n])
            if matrix.shape != (9, 9):
                raise ValueError(f"covariance {n} has shape {matrix.shape}, not (9, 9)")
        return self

    def at(self, source_angle_deg: float) -> ImagerPose:
        """The pose at a source angle.

        Raises:
            InputRefused: no pose was calibrated near enough on both sides.
        """
        low, high, share = self._between(source_angle_deg)
        numbers = (1.0 - share) * self.poses[low].numbers() + share * self.poses[high].numbers()
        return ImagerPose.from_numbers(wrap_deg(source_angle_deg), numbers)

    def covariance_at(self, source_angle_deg: float) -> NDArray[np.float64]:
        """Covariance (9, 9) of the numbers of `at`; neighbours err alike, so that their covariances are averaged.

        Raises:
            InputRefused: as `at`, and for a map without covariance.
        """
        if not self.covariance:
            raise InputRefused(
                f"the flex map of {self.imager} has no covariance: it was imported, not measured here"
            )
        low, high, share = self._between(source_angle_deg)
        return np.asarray(
            (1.0 - share) * np.array(self.covariance[low])
            + share * np.array(self.covariance[high]),
            dtype=np.float64,
        )

    def geometry(self, source_angle_deg: float, panel: PanelFormat) -> PanelGeometry:
        """The projection at a source angle through a panel of a format. Raises as `at`."""
        return self.at(source_angle_deg).geometry(panel)

    def _between(self, source_angle_deg: float) -> tuple[int, int, float]:
        """Indices of the neighbours and the share of the upper one."""
        if not math.isfinite(source_angle_deg):
            raise InputRefused(f"a source angle of {source_angle_deg} deg is no angle")
        angles = [pose.source_angle_deg for pose in self.poses]
        wanted = wrap_deg(source_angle_deg)
        for n, angle in enumerate(angles):
            if abs(wrap_deg(wanted - angle)) < SAME_ANGLE_DEG:
                return n, n, 0.0
        above = next((n for n, angle in enumerate(angles) if angle > wanted), 0)
        low = above - 1 if above else len(angles) - 1
        span = (angles[above] - angles[low]) % 360.0
        if len(angles) < 2 or span > self.gap_max_deg:
            raise InputRefused(
                f"the flex map of {self.imager} holds nothing near a source angle of {wanted:.1f} deg: "
                f"calibrate there (neighbours no more than {self.gap_max_deg:g} deg apart)"
            )
        return low, above, ((wanted - angles[low]) % 360.0) / span
