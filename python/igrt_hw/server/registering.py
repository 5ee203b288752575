"""Registration of the pair, and DRRs of its views: jobs for a worker thread; the core releases the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CancelFlag, Couch, Pose, RegistrationCancelled
from igrt_hw.geometry import Frame
from igrt_hw.guidance.anatomy import change_after, change_in_scan
from igrt_hw.guidance.cbct import reconstruct
from igrt_hw.guidance.cbct_projections import prepare_scan
from igrt_hw.guidance.daily_shift import match_phantom
from igrt_hw.guidance.fiducials import FiducialResult, find_fiducials, register_fiducials
from igrt_hw.guidance.imaging_protocol import ImagingProtocol
from igrt_hw.guidance.marker_motion import Fiducial
from igrt_hw.guidance.markers import GOLD_SEED
from igrt_hw.guidance.mask import body_mask
from igrt_hw.guidance.orientation import iec_patient_point
from igrt_hw.guidance.overlay import drr
from igrt_hw.guidance.phantom import Phantom
from igrt_hw.guidance.plan import LoadedPlan
from igrt_hw.guidance.registration import (
    Freedom,
    PatientModel,
    RegistrationResult,
    View,
    prepare,
    register,
)
from igrt_hw.guidance.volume_registration import VolumeRegistration, register_cone_beam
from igrt_hw.server.errors import JobError
from igrt_hw.server.imaging import Scan, StoredImage
from igrt_hw.server.placement import Placement

Method = Literal["site", "anatomy", "markers"]
Registered = RegistrationResult | FiducialResult | VolumeRegistration
MARKERS_MIN = 2  # one marker tells no outlier from a shift


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPlan:
    """A plan with its CT ready for projection. `phantom`: what lies there, where it is described and no patient."""

    loaded: LoadedPlan
    patient: PatientModel
    phantom: Phantom | None = None

    @classmethod
    def of(cls, loaded: LoadedPlan, phantom: Phantom | None = None) -> PreparedPlan:
        """Make the CT ready; takes about a second."""
        return cls(loaded, prepare(loaded.ct, loaded.body_contours_dicom_mm), phantom)


def by_markers(plan: LoadedPlan, protocol: ImagingProtocol, method: Method) -> bool:
    """Whether a pair is to be registered by its markers.

    Raises `JobError` when markers are asked for and the plan has too few.
    """
    count = len(plan.plan.markers)
    if method == "markers" and count < MARKERS_MIN:
        raise JobError(
            f"the plan has {count} marker(s) and {MARKERS_MIN} are needed: register by the anatomy, or add them to "
            "the structure set (interpreted type MARKER)"
        )
    if method == "site":
        return protocol.match == "markers if planned" and count >= MARKERS_MIN
    return method == "markers"


def register_markers(
    plan: PreparedPlan,
    isocentre_id: str,
    images: Sequence[StoredImage],
    couch: Couch,
    couch_axes: tuple[float, ...],
    *,
    cancel: CancelFlag | None = None,
) -> FiducialResult:
    """Find the plan's markers in the pair; `cancel` as for a pair, heard between its views.

    Raises `JobError` when they are not believed, with the reasons.
    """
    placement = Placement.of(plan.loaded, isocentre_id)
    nominal = placement.at(couch, couch_axes)
    fiducials = []
    for marker in plan.loaded.plan.markers:
        x, y, z = (float(v) for v in iec_patient_point(marker.position_dicom_mm))
        fiducials.append(Fiducial(marker.name, (x, y, z), marker.sigma_mm))
    views = []
    for image in images:
        _not_stopped(cancel)
        views.append(
            find_fiducials(
                image.line_integrals,
                image.geometry,
                GOLD_SEED,
                fiducials,
                nominal,
                region=image.region,
                geometry_covariance=image.geometry_covariance,
            )
        )
    _not_stopped(cancel)
    result = register_fiducials(fiducials, views, nominal, placement.planned)
    if result.correction is None:
        reasons = "; ".join(reason.sentence for reason in result.reasons)
        raise JobError(f"the markers are not believed: {reasons}")
    return result


def register_phantom(
    plan: PreparedPlan,
    isocentre_id: str,
    phantom: Phantom,
    images: Sequence[StoredImage],
    *,
    cancel: CancelFlag | None = None,
) -> FiducialResult:
    """Find a described phantom by its balls. Raises `JobError` when it is not believed, with the reasons."""
    _not_stopped(cancel)
    result = match_phantom(images, phantom, Placement.of(plan.loaded, isocentre_id).planned)
    if result.correction is None:
        reasons = "; ".join(reason.sentence for reason in result.reasons)
        raise JobError(f"phantom {phantom.name} is not believed to lie there: {reasons}")
    return result


def _not_stopped(cancel: CancelFlag | None) -> None:
    if cancel is not None and cancel.cancelled:
        raise RegistrationCancelled("stopped between two views")


def register_scan(
    plan: PreparedPlan,
    isocentre_id: str,
    scan: Scan,
    couch: Couch,
    couch_axes: tuple[float, ...],
    *,
    cancel: CancelFlag | None = None,
) -> VolumeRegistration:
    """Reconstruct a cone-beam scan and find the patient in it; `cancel` as for a pair.

    Raises `JobError` when the result is not believed.
    """
    placement = Placement.of(plan.loaded, isocentre_id)
    _not_stopped(cancel)
    ready = prepare_scan(scan.line_integrals, scan.geometries, scan.protocol.field_mm)
    volume = reconstruct(
        ready.projections,
        ready.geometries,
        scan.protocol.grid(),
        hann=scan.protocol.hann,
        cancel=cancel,
    )
    body = body_mask(plan.loaded.ct, plan.loaded.body_contours_dicom_mm)
    result = register_cone_beam(
        volume,
        plan.loaded.ct,
        placement.at(couch, couch_axes),
        placement.planned,
        body=body,
        water_per_mm=scan.protocol.water_per_mm,
        cancel=cancel,
    )
    if result.correction is None or result.fixed_from_patient is None:
        raise JobError(f"the cone-beam scan is not believed: {'; '.join(result.reasons)}")
    change = change_in_scan(
        volume,
        plan.loaded.ct,
        body,
        np.array(result.fixed_from_patient),
        placement.planned,
        scan.protocol.field_mm,
        water_per_mm=scan.protocol.water_per_mm,
    )
    return result.model_copy(update={"anatomy": change})


def register_pair(
    plan: PreparedPlan,
    isocentre_id: str,
    images: Sequence[StoredImage],
    couch: Couch,
    couch_axes: tuple[float, ...],
    *,
    translation_only: bool,
    cancel: CancelFlag | None = None,
) -> RegistrationResult:
    """Find the patient in the pair. Raises `JobError` when the registration refuses itself.

    `cancel`, pulled by a STOP from another thread, ends it with `RegistrationCancelled`: nothing was found.
    """
    placement = Placement.of(plan.loaded, isocentre_id)
    views = [
        View(image.line_integrals, image.geometry, image.region, image.geometry_covariance)
        for image in images
    ]
    result = register(
        plan.patient,
        views,
        placement.at(couch, couch_axes),
        placement.planned,
        freedom=Freedom.TRANSLATION if translation_only else Freedom.SIX,
        cancel=cancel,
    )
    if result.correction is None:
        reasons = "; ".join(reason.sentence for reason in result.reasons)
        raise JobError(f"the registration refused its result: {reasons}")
    change = change_after(plan.patient, views, result, placement.planned)
    return result.model_copy(update={"anatomy": change})


def drr_of(
    plan: PreparedPlan,
    isocentre_id: str,
    image: StoredImage,
    couch: Couch,
    couch_axes: tuple[float, ...],
    registered: Registered | None,
) -> NDArray[np.float32]:
    """The DRR of an image's view, at the pose that registration found, or where the plan puts the patient."""
    if registered is not None and registered.fixed_from_patient is not None:
        pose = Pose.from_matrix(np.array(registered.fixed_from_patient), Frame.FIXED, Frame.PATIENT)
    else:
        pose = Placement.of(plan.loaded, isocentre_id).at(couch, couch_axes)
    return drr(plan.patient, image.geometry, pose)
