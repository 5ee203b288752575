"""Registration of the pair, and DRRs of its views: jobs for a worker thread; the core releases the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import Couch, Pose
from igrt_hw.geometry import Frame
from igrt_hw.guidance.overlay import drr
from igrt_hw.guidance.plan import LoadedPlan
from igrt_hw.guidance.registration import (
    Freedom,
    PatientModel,
    RegistrationResult,
    View,
    prepare,
    register,
)
from igrt_hw.server.errors import JobError
from igrt_hw.server.imaging import StoredImage
from igrt_hw.server.placement import Placement


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPlan:
    """A plan with its CT ready for projection."""

    loaded: LoadedPlan
    patient: PatientModel

    @classmethod
    def of(cls, loaded: LoadedPlan) -> PreparedPlan:
        """Make the CT ready; takes about a second."""
        return cls(loaded, prepare(loaded.ct, loaded.body_contours_dicom_mm))


def register_pair(
    plan: PreparedPlan,
    isocentre_id: str,
    images: Sequence[StoredImage],
    couch: Couch,
    couch_axes: tuple[float, ...],
    *,
    translation_only: bool,
) -> RegistrationResult:
    """Find the patient in the pair. Raises `JobError` when the registration refuses itself."""
    placement = Placement.of(plan.loaded, isocentre_id)
    views = [View(image.line_integrals, image.geometry, image.region) for image in images]
    result = register(
        plan.patient,
        views,
        placement.at(couch, couch_axes),
        placement.planned,
        freedom=Freedom.TRANSLATION if translation_only else Freedom.SIX,
    )
    if result.correction is None:
        reasons = "; ".join(reason.sentence for reason in result.reasons)
        raise JobError(f"the registration refused its result: {reasons}")
    return result


def drr_of(
    plan: PreparedPlan,
    isocentre_id: str,
    image: StoredImage,
    couch: Couch,
    couch_axes: tuple[float, ...],
    registered: RegistrationResult | None,
) -> NDArray[np.float32]:
    """The DRR of an image's view, at the pose that registration found, or where the plan puts the patient."""
    if registered is not None and registered.fixed_from_patient is not None:
        pose = Pose.from_matrix(np.array(registered.fixed_from_patient), Frame.FIXED, Frame.PATIENT)
    else:
        pose = Placement.of(plan.loaded, isocentre_id).at(couch, couch_axes)
    return drr(plan.patient, image.geometry, pose)
