"""A registration as a DICOM Spatial Registration object (PS3.3 A.39.1), and a check of what such an object must hold.

The images' frame of reference is the patient as the plan lays him, in DICOM patient axes: what the X-rays would show
were the setup right. The matrix of its item maps that frame to the frame of reference of the CT, so a correct setup
gives the identity.
"""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from igrt_hw.guidance.orientation import PATIENT_FROM_DICOM
from igrt_hw.guidance.plan import LoadedPlan
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import RegistrationResult

SPATIAL_REGISTRATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.1")

# Type 1 (a value) and type 2 (present, may be empty) elements of the mandatory modules of PS3.3 A.39.1-1.
TYPE_1 = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "FrameOfReferenceUID",
    "Manufacturer",
    "InstanceNumber",
    "ContentLabel",
    "ContentDate",
    "ContentTime",
    "RegistrationSequence",
)
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "SeriesNumber",
    "PositionReferenceIndicator",
    "ContentDescription",
    "ContentCreatorName",
)


def spatial_registration(
    loaded: LoadedPlan,
    planned: NDArray[np.float64],
    result: RegistrationResult,
    *,
    made_at: datetime,
    image_frame_uid: str | None = None,
) -> Dataset:
    """The object for a result that is believed.

    Args:
        loaded: plan and CT; patient and frame of reference come from there.
        planned: (4, 4) rigid, fixed <- IEC patient as planned, mm.
        result: reliable or doubtful.
        made_at: date and time of the content.
        image_frame_uid: frame of reference of the X-rays; a new one unless given.

    Raises:
        InputRefused: the result was refused: there is no transform to pass on.
    """
    if result.fixed_from_patient is None or result.correction is None:
        raise InputRefused(
            "a refused registration has no transform: "
            + "; ".join(r.sentence for r in result.reasons)
        )
    found = np.array(result.fixed_from_patient)
    to_iec = np.eye(4)
    to_iec[:3, :3] = PATIENT_FROM_DICOM
    ct_from_images = np.linalg.inv(to_iec) @ np.linalg.inv(found) @ planned @ to_iec
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = SPATIAL_REGISTRATION_STORAGE
    ds.SOPClassUID = SPATIAL_REGISTRATION_STORAGE
    ds.SOPInstanceUID = generate_uid()
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _patient_and_study(ds, loaded, made_at)
    ds.FrameOfReferenceUID = loaded.ct.frame_of_reference_uid
    ds.PositionReferenceIndicator = ""
    ds.ContentDate, ds.ContentTime = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S")
    ds.InstanceNumber = 1
    ds.ContentLabel = "SETUP"
    ds.ContentDescription = (
        f"X-ray registration, {result.verdict}, {result.sigma_at_target_mm:.2f} mm at target"
    )
    ds.ContentCreatorName = ""
    ds.RegistrationSequence = DicomSequence(
        [
            _item(loaded.ct.frame_of_reference_uid, np.eye(4), "planning CT"),
            _item(
                image_frame_uid or generate_uid(),
                ct_from_images,
                "X-rays: the patient as planned, seen from the room",
            ),
        ]
    )
    missing = missing_elements(ds)
    if missing:
        raise InputRefused("the Spatial Registration would lack " + ", ".join(missing))
    return ds


def _patient_and_study(ds: Dataset, loaded: LoadedPlan, made_at: datetime) -> None:
    ds.PatientName = ""
    ds.PatientID = loaded.ct.patient_id
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.StudyDate, ds.StudyTime = made_at.strftime("%Y%m%d"), made_at.strftime("%H%M%S")
    ds.ReferringPhysicianName = ds.StudyID = ds.AccessionNumber = ""
    ds.Modality = "REG"
    ds.SeriesNumber = 1
    ds.SeriesDate, ds.SeriesTime = ds.StudyDate, ds.StudyTime
    ds.Manufacturer = "igrt-hw (not a medical device)"


def _item(frame_uid: str, matrix: NDArray[np.float64], comment: str) -> Dataset:
    transform = Dataset()
    # DS holds 16 characters: 1e-12 for rotations, well below a micrometre for shifts.
    transform.FrameOfReferenceTransformationMatrix = [
        f"{value:.10f}"[:16] for value in matrix.ravel()
    ]
    transform.FrameOfReferenceTransformationMatrixType = "RIGID"
    registration = Dataset()
    registration.RegistrationTypeCodeSequence = DicomSequence([])
    registration.FrameOfReferenceTransformationComment = comment
    registration.MatrixSequence = DicomSequence([transform])
    item = Dataset()
    item.FrameOfReferenceUID = frame_uid
    item.MatrixRegistrationSequence = DicomSequence([registration])
    return item


def missing_elements(ds: Dataset) -> list[str]:
    """What the object lacks of PS3.3 A.39.1: mandatory elements by name, and matrices that are not rigid."""
    missing = [name for name in TYPE_1 if ds.get(name) in (None, "") or not ds.get(name)]
    missing += [name for name in TYPE_2 if name not in ds]
    if ds.get("Modality") != "REG":
        missing.append("Modality REG")
    for n, item in enumerate(ds.get("RegistrationSequence") or []):
        where = f"RegistrationSequence[{n}]"
        if not item.get("FrameOfReferenceUID") and not item.get("ReferencedImageSequence"):
            missing.append(f"{where}.FrameOfReferenceUID")
        steps = item.get("MatrixRegistrationSequence") or []
        if len(steps) != 1:
            missing.append(f"{where}.MatrixRegistrationSequence of one item")
        for step in steps:
            if "RegistrationTypeCodeSequence" not in step:
                missing.append(f"{where}.RegistrationTypeCodeSequence")
            if not step.get("MatrixSequence"):
                missing.append(f"{where}.MatrixSequence")
            missing += [
                f"{where}: {fault}"
                for m in step.get("MatrixSequence") or []
                for fault in _faults(m)
            ]
    return missing


def _faults(transform: Dataset) -> list[str]:
    values = transform.get("FrameOfReferenceTransformationMatrix") or []
    kind = transform.get("FrameOfReferenceTransformationMatrixType")
    if len(values) != 16 or kind != "RIGID":
        return ["a matrix of sixteen numbers of type RIGID"]
    matrix = np.array([float(v) for v in values]).reshape(4, 4)
    turn = matrix[:3, :3]
    rigid = np.allclose(turn @ turn.T, np.eye(3), atol=1e-6) and np.linalg.det(turn) > 0.0
    return [] if rigid and np.allclose(matrix[3], (0, 0, 0, 1)) else ["a rigid matrix"]
