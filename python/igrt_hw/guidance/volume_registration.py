"""One volume of a patient against another: cone-beam CT to planning CT, and the correction that follows."""

import math
import time

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CancelFlag, Pose, register_volumes
from igrt_hw.geometry import Correction, Frame
from igrt_hw.guidance.attenuation import WATER_PER_MM
from igrt_hw.guidance.cbct import ConeBeamVolume
from igrt_hw.guidance.ct import CtVolume
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.anatomy import AnatomyChange
from igrt_hw.models.base import Frozen
from igrt_hw.models.proposal import RegistrationSummary


class VolumeRegistration(Frozen):
    """What was found. `correction` brings the patient onto the plan and is None when the result is not believed.

    `sigma_mm`, `sigma_deg`: standard deviations of lateral, longitudinal, vertical and of rotation, pitch, roll, by the
    residuals of the voxels; the imager's geometry is not in them.
    """

    believed: bool
    reasons: tuple[str, ...]
    correction: Correction | None
    fixed_from_patient: tuple[tuple[float, ...], ...] | None
    sigma_at_isocentre_mm: float
    sigma_mm: tuple[float, float, float]
    sigma_deg: tuple[float, float, float]
    similarity: float
    overlap: float
    spread_hu: float
    iterations: int
    duration_ms: float
    anatomy: AnatomyChange | None = None
    """What the rigid correction leaves (`igrt_hw.guidance.anatomy`), where somebody measured it."""

    def summary(self) -> RegistrationSummary:
        """The part that a proposal carries; the residual is the miss at the isocentre exceeded in 5 % of cases.

        Raises:
            InputRefused: the result was not believed; the message holds the reasons.
        """
        if self.correction is None:
            raise InputRefused("the cone-beam match was refused: " + "; ".join(self.reasons))
        return RegistrationSummary(
            correction=self.correction,
            sigma_mm=self.sigma_mm,
            sigma_deg=self.sigma_deg,
            per_view_similarity=(self.similarity,),
            verdict="reliable",
            reasons=self.reasons,
            # Chi-square of three degrees at 95 %, as if the three directions were alike.
            residual_at_target_mm=self.sigma_at_isocentre_mm * math.sqrt(7.815 / 3.0),
            duration_ms=self.duration_ms,
            method="cone beam",
        )


def register_cone_beam(
    cbct: ConeBeamVolume,
    ct: CtVolume,
    nominal: Pose | NDArray[np.float64],
    planned: Pose | NDArray[np.float64] | None = None,
    *,
    body: NDArray[np.bool_] | None = None,
    water_per_mm: float = WATER_PER_MM,
    cancel: CancelFlag | None = None,
) -> VolumeRegistration:
    """Find the patient of a CT in a cone-beam volume.

    Args:
        cbct: the reconstruction, fixed frame.
        ct: the planning CT.
        nominal: fixed <- patient by the couch at the scan; the search begins here.
        planned: fixed <- patient that the plan wants; `nominal` when the couch stood as planned.
        body: voxels of the CT that are patient; the CT table is left out with it.
        water_per_mm: attenuation of water in the scan's beam, for HU.
        cancel: looked at before every step.

    Raises:
        InputRefused: a body mask of another shape.
        ImagingInputError: volumes that do not overlap where the search begins.
        RegistrationCancelled: `cancel` was pulled.
    """
    begin = time.perf_counter()
    if body is not None and body.shape != ct.hu.shape:
        raise InputRefused(f"the body mask has shape {body.shape}, the CT {ct.hu.shape}")
    moving = ct.hu if body is None else np.where(body, ct.hu, np.float32(np.nan))
    start = _matrix(nominal)
    found = register_volumes(
        np.ascontiguousarray(cbct.hu(water_per_mm)),
        cbct.grid.fixed_from_index(),
        np.ascontiguousarray(moving, dtype=np.float32),
        ct.iec_patient_from_index(),
        start,
        cancel=cancel,
    )
    pose = found.fixed_from_moving
    wanted = start if planned is None else _matrix(planned)
    believed = not found.reasons
    spread = np.sqrt(np.diag(found.covariance))
    pitch, roll, rotation = (float(np.degrees(x)) for x in spread[3:])  # turns about X, Y, Z
    shift = Pose.from_matrix(wanted @ np.linalg.inv(pose), Frame.FIXED, Frame.FIXED)
    return VolumeRegistration(
        believed=believed,
        reasons=tuple(found.reasons),
        correction=Correction.of(shift.parameters()) if believed else None,
        fixed_from_patient=tuple(tuple(float(x) for x in row) for row in pose)
        if believed
        else None,
        sigma_at_isocentre_mm=float(np.sqrt(np.trace(found.covariance[:3, :3]))),
        sigma_mm=(float(spread[0]), float(spread[1]), float(spread[2])),
        sigma_deg=(rotation, pitch, roll),
        similarity=found.similarity,
        overlap=found.overlap,
        spread_hu=found.spread_hu,
        iterations=found.iterations,
        duration_ms=(time.perf_counter() - begin) * 1e3,
    )


def _matrix(pose: Pose | NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(pose, Pose):
        pose.expect_frames(Frame.FIXED, Frame.PATIENT)
        return pose.matrix()
    return np.asarray(pose, dtype=np.float64)
