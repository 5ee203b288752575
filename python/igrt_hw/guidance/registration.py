"""Two X-rays (or one to four) against the CT: where the patient truly lies, and the correction that brings
the patient onto the plan.

The numbers come from `igrt_hw._core`; this is the door with names, units and frames. A result that is not
believed carries no
correction: it says why instead.
"""

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import (
    AttenuationVolume,
    CancelFlag,
    PanelGeometry,
    Pose,
    RegistrationCancelled,
    RegistrationOutcome,
    register_views,
)
from igrt_hw.geometry import Correction, Frame
from igrt_hw.guidance.attenuation import Emphasis
from igrt_hw.guidance.attenuation import curve as emphasis_curve
from igrt_hw.guidance.ct import CtVolume
from igrt_hw.guidance.geometry_error import feigned_motion
from igrt_hw.guidance.mask import body_mask
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.anatomy import AnatomyChange
from igrt_hw.models.base import Frozen
from igrt_hw.models.proposal import RegistrationSummary

__all__ = [
    "LEVEL_OFFSETS_MM",
    "CancelFlag",
    "Freedom",
    "Limits",
    "PatientModel",
    "Reason",
    "RegistrationCancelled",
    "RegistrationResult",
    "SetupPrior",
    "View",
    "prepare",
    "register",
]

LEVEL_OFFSETS_MM = (-50.0, -25.0, 25.0, 50.0)
"""Starts besides the nominal pose, along the head direction: about one and two vertebrae of a chest either way."""

# A bone or soft-tissue DRR shows a part of what the X-ray shows; the whole CT has been believed before.
EMPHASIS_SIMILARITY_MIN = 0.25
EMPHASIS_APART_MM = 6.0
EMPHASIS_APART_DEG = 3.0


class Freedom(StrEnum):
    """What the registration may move."""

    SIX = "six"
    TRANSLATION = "translation"
    TRANSLATION_AND_ROTATION = "translation_and_rotation"
    """Shifts and the turn about the vertical, for couches without pitch and roll."""
    ROTATION = "rotation"
    """Turns alone, when the shifts are known from markers."""
    LONGITUDINAL = "longitudinal"
    """The shift along the couch alone, to check a vertebral level."""


_FREE: dict[Freedom, tuple[bool, bool, bool, bool, bool, bool]] = {
    Freedom.SIX: (True, True, True, True, True, True),
    Freedom.TRANSLATION: (True, True, True, False, False, False),
    Freedom.TRANSLATION_AND_ROTATION: (True, True, True, False, False, True),
    Freedom.ROTATION: (False, False, False, True, True, True),
    Freedom.LONGITUDINAL: (False, True, False, False, False, False),
}


@dataclass(frozen=True, slots=True)
class SetupPrior:
    """How well the setup is known before the images: standard deviations about the nominal pose.

    With one view, or with views close to each other, it keeps the direction that they do not see where the setup
    has it, and the covariance says so. Infinity says nothing.
    """

    lateral_mm: float = float("inf")
    longitudinal_mm: float = float("inf")
    vertical_mm: float = float("inf")
    pitch_deg: float = float("inf")
    roll_deg: float = float("inf")
    rotation_deg: float = float("inf")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a result must satisfy to be believed; fitted on the ensemble of `docs/validation.md`."""

    similarity_min: float = 0.6
    overlap_min: float = 0.25
    displacement_max_mm: float = 30.0
    displacement_max_deg: float = 8.0
    disagreement_max_mm: float = 0.2
    rival_max: float = 0.95
    sigma_max_mm: float = 1.0
    sigma_max_deg: float = 1.0
    foreign_max: float = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One corrected image and where it was taken.

    `image` is (rows, cols) of `geometry`, line integrals of attenuation (`igrt_hw.guidance.panel`); NaN marks
    pixels that hold nothing. `region` is True where the image is to be used; None means everywhere.
    `geometry_covariance` (9, 9) is that of the geometry as it was calibrated (`FlexMap.covariance_at`); None says
    nothing of it, and then the result's covariance does not either.
    """

    image: NDArray[np.float32]
    geometry: PanelGeometry
    region: NDArray[np.bool_] | None = None
    geometry_covariance: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PatientModel:
    """The CT made ready for projection: attenuation of what lies within the body contour.

    With an emphasis, `volume` holds what is emphasised and `whole` everything: the whole decides whether to believe.
    """

    volume: AttenuationVolume
    frame_of_reference_uid: str
    whole: AttenuationVolume | None = None


class Reason(Frozen):
    """One reason against a result: a code that does not change, and a sentence for the operator."""

    code: str
    sentence: str


class RegistrationResult(Frozen):
    """What was found.

    `correction` is in the fixed frame about the isocentre: C . (fixed <- patient) is the planned pose. It is
    None when the verdict is `refused`. `covariance` is that of its six numbers, (6, 6), mm and degrees, in
    the order lateral, longitudinal, vertical, rotation, pitch, roll; `residual_covariance` is what the
    residuals alone say, before the model error of `docs/validation.md` and what the calibrated geometry errs by
    (`View.geometry_covariance`) are added. `residual_at_target_mm` is the miss at
    the target that is exceeded in 5 % of cases, by that covariance.
    """

    verdict: Literal["reliable", "doubtful", "refused"]
    reasons: tuple[Reason, ...]
    correction: Correction | None
    covariance: tuple[tuple[float, ...], ...]
    residual_covariance: tuple[tuple[float, ...], ...]
    fixed_from_patient: tuple[tuple[float, ...], ...] | None
    per_view_similarity: tuple[float, ...]
    per_view_foreign: tuple[float, ...]
    per_view_overlap: tuple[float, ...]
    per_view_disagreement_mm: tuple[float, ...]
    per_view_scatter_share: tuple[float, ...]
    displacement_mm: float
    displacement_deg: float
    residual_at_target_mm: float
    sigma_at_target_mm: float
    rival_share: float | None
    rival_distance_mm: float | None
    iterations: int
    converged: bool
    freedom: Freedom
    duration_ms: float
    anatomy: AnatomyChange | None = None
    """What the rigid correction leaves (`igrt_hw.guidance.anatomy`), where somebody measured it."""

    @property
    def sigma_mm(self) -> tuple[float, float, float]:
        """Standard deviations of lateral, longitudinal, vertical, mm."""
        a, b, c = (float(np.sqrt(self.covariance[n][n])) for n in range(3))
        return a, b, c

    @property
    def sigma_deg(self) -> tuple[float, float, float]:
        """Standard deviations of rotation, pitch, roll, degrees."""
        a, b, c = (float(np.sqrt(self.covariance[n][n])) for n in range(3, 6))
        return a, b, c

    def summary(self) -> RegistrationSummary:
        """The part that a proposal carries.

        Raises:
            InputRefused: the registration was refused; the message holds the reasons.
        """
        if self.correction is None:
            raise InputRefused(
                "the registration was refused: " + "; ".join(r.sentence for r in self.reasons)
            )
        return RegistrationSummary(
            correction=self.correction,
            sigma_mm=self.sigma_mm,
            sigma_deg=self.sigma_deg,
            per_view_similarity=self.per_view_similarity,
            verdict=self.verdict,
            reasons=tuple(r.sentence for r in self.reasons),
            residual_at_target_mm=self.residual_at_target_mm,
            duration_ms=self.duration_ms,
        )


def prepare(
    ct: CtVolume,
    body_contours_dicom_mm: Sequence[NDArray[np.float64]] | None,
    *,
    curve: ArrayLike | None = None,
    emphasis: Emphasis = Emphasis.NONE,
) -> PatientModel:
    """The CT ready for projection. Takes about a second; keep it for the session.

    `body_contours_dicom_mm` are the closed contours (n, 3) of the external surface; what lies outside is
    empty, because the CT table is not the treatment couch. None projects the CT as it is. `curve` is (n, 2):
    HU and attenuation per mm; by default that of `emphasis` (`igrt_hw.guidance.attenuation`), which for none
    is 0.02059 (1 + HU / 1000), water at 60 keV.

    Raises:
        ValueError: both a curve and an emphasis, which is a curve too.
        InputRefused: contours that do not fit the CT.
        ImagingInputError: a volume or a curve that cannot be projected.
    """
    if curve is not None and emphasis is not Emphasis.NONE:
        raise ValueError(f"an emphasis on {emphasis} is a curve of its own; give one of the two")
    body = None if body_contours_dicom_mm is None else body_mask(ct, body_contours_dicom_mm)
    hu = np.ascontiguousarray(ct.hu, dtype=np.float32)
    affine = ct.iec_patient_from_index()
    whole = AttenuationVolume(hu, affine, curve=curve, body=body)
    if emphasis is Emphasis.NONE:
        return PatientModel(whole, ct.frame_of_reference_uid)
    shown = AttenuationVolume(hu, affine, curve=emphasis_curve(emphasis), body=body)
    return PatientModel(shown, ct.frame_of_reference_uid, whole)


def register(
    patient: PatientModel,
    views: Sequence[View],
    nominal: Pose | NDArray[np.float64],
    planned: Pose | NDArray[np.float64] | None = None,
    *,
    freedom: Freedom = Freedom.SIX,
    limits: Limits | None = None,
    level_offsets_mm: Sequence[float] = LEVEL_OFFSETS_MM,
    target_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    scatter: bool = True,
    prior: SetupPrior | None = None,
    cancel: CancelFlag | None = None,
) -> RegistrationResult:
    """Find the patient in one to four views.

    Args:
        patient: the CT, from `prepare`.
        views: corrected images with their geometry.
        nominal: `fixed <- patient` by the couch pose at imaging and the planned placement on the table top;
            the search begins here.
        planned: `fixed <- patient` that the plan wants; `nominal` when the couch stood at the planned position.
        freedom: what may move.
        limits: what a result must satisfy to be believed.
        level_offsets_mm: further starts along the patient's head direction; empty for none.
        target_mm: where the plan wants the target, fixed frame; the isocentre unless told otherwise.
        scatter: whether scatter is estimated from the images and taken off.
        prior: what is known of the setup beforehand; nothing unless told.
        cancel: pulled from another thread (by a STOP, or by a request that supersedes this one) it ends the
            search before its next step, within some 20 ms.

    Raises:
        RegistrationCancelled: `cancel` was pulled before there was an answer.
        ImagingInputError: images, geometries or poses that do not fit together. An answer that is not
            believed is not an
            exception: its verdict is `refused` and it carries no correction.
    """
    begin = time.perf_counter()
    at_imaging = _matrix(nominal)
    wanted = at_imaging if planned is None else _matrix(planned)
    asked = _Request(
        tuple(views),
        freedom,
        limits or Limits(),
        tuple(float(offset) for offset in level_offsets_mm),
        target_mm,
        scatter,
        prior or SetupPrior(),
        cancel,
    )
    if patient.whole is None:
        return asked.run(patient.volume, at_imaging, wanted, begin)
    if prior is not None:
        raise ValueError("a prior goes with the whole CT, not with an emphasis on a part of it")
    whole = asked.run(patient.whole, at_imaging, wanted, begin)
    if whole.fixed_from_patient is None:
        return whole
    # The whole CT was believed; what is emphasised may move the answer a little, and looks less like the image.
    apart = replace(
        asked.limits,
        similarity_min=EMPHASIS_SIMILARITY_MIN,
        foreign_max=1.0,
        displacement_max_mm=EMPHASIS_APART_MM,
        displacement_max_deg=EMPHASIS_APART_DEG,
    )
    part = replace(asked, limits=apart, level_offsets_mm=())
    shown = part.run(patient.volume, np.array(whole.fixed_from_patient), wanted, begin)
    return shown.model_copy(
        update={
            "displacement_mm": whole.displacement_mm,
            "displacement_deg": whole.displacement_deg,
        }
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """What a registration is asked for, whatever the volume and the start."""

    views: tuple[View, ...]
    freedom: Freedom
    limits: Limits
    level_offsets_mm: tuple[float, ...]
    target_mm: tuple[float, float, float]
    scatter: bool
    prior: SetupPrior
    cancel: CancelFlag | None

    def run(
        self,
        volume: AttenuationVolume,
        nominal: NDArray[np.float64],
        planned: NDArray[np.float64],
        begin: float,
    ) -> RegistrationResult:
        """Through the core, and back as a model. `begin` is when the request came, s."""
        outcome = register_views(
            volume,
            [
                (
                    view.geometry,
                    np.ascontiguousarray(view.image, dtype=np.float32),
                    None
                    if view.region is None
                    else np.ascontiguousarray(view.region, dtype=np.bool_),
                )
                for view in self.views
            ],
            nominal,
            planned,
            free=_FREE[self.freedom],
            limits=astuple(self.limits),
            level_offsets_mm=list(self.level_offsets_mm),
            target_mm=self.target_mm,
            scatter=self.scatter,
            prior_sigma=astuple(self.prior),
            geometry_motion=self._geometry_motion(),
            cancel=self.cancel,
        )
        return _result(outcome, self.freedom, (time.perf_counter() - begin) * 1e3)

    def _geometry_motion(self) -> list[list[float]] | None:
        """What the calibrated geometries' own errors add; None where no view tells of any."""
        known = [(view.geometry, view.geometry_covariance) for view in self.views]
        if all(covariance is None for _, covariance in known):
            return None
        rows: list[list[float]] = feigned_motion(known, _FREE[self.freedom]).tolist()
        return rows


def _result(
    outcome: RegistrationOutcome, freedom: Freedom, duration_ms: float
) -> RegistrationResult:
    believed = outcome.verdict != "refused"
    rival = outcome.rival
    return RegistrationResult(
        verdict=outcome.verdict,
        reasons=tuple(Reason(code=code, sentence=text) for code, text in outcome.reasons),
        correction=Correction.of(outcome.correction) if believed else None,
        covariance=_rows(outcome.covariance),
        residual_covariance=_rows(outcome.residual_covariance),
        fixed_from_patient=_rows(outcome.fixed_from_patient) if believed else None,
        per_view_similarity=tuple(outcome.similarity),
        per_view_foreign=tuple(outcome.foreign),
        per_view_overlap=tuple(outcome.overlap),
        per_view_disagreement_mm=tuple(outcome.disagreement_mm),
        per_view_scatter_share=tuple(outcome.scatter_share),
        displacement_mm=outcome.displacement[0],
        displacement_deg=outcome.displacement[1],
        residual_at_target_mm=outcome.target_bound_mm,
        sigma_at_target_mm=outcome.target_sigma_mm,
        rival_share=rival[0] if rival else None,
        rival_distance_mm=rival[1] if rival else None,
        iterations=outcome.iterations,
        converged=outcome.converged,
        freedom=freedom,
        duration_ms=duration_ms,
    )


def _matrix(pose: Pose | NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(pose, Pose):
        pose.expect_frames(Frame.FIXED, Frame.PATIENT)
        return pose.matrix()
    return np.asarray(pose, dtype=np.float64)


def _rows(matrix: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in matrix)
