"""A folder with a CT series, an RT Structure Set and an RT Plan, read and checked against each other, or refused.

The plan is DICOM: lengths are millimetres, angles degrees. Angles have no range in DICOM and
are wrapped to (-180, 180].
"""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.ct import CT_IMAGE_STORAGE, CtVolume, load_ct, read_dicom, require
from igrt_hw.guidance.orientation import iec_patient_point, table_from_patient_rotation
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.plan import (
    CouchPosition,
    PatientIdentity,
    PatientPosition,
    PlannedField,
    PlannedIsocentre,
    PlannedMarker,
    ToleranceTable,
    TreatmentPlan,
)

RT_PLAN_STORAGE = "1.2.840.10008.5.1.4.1.1.481.5"
RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"

SUPPORTED_POSITIONS: tuple[PatientPosition, ...] = get_args(PatientPosition)
# A table top does not travel further than this in any room; a larger number is another unit (micrometres, tenths).
TABLE_TOP_PLAUSIBLE_MM = 3000.0


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPlan:
    """A plan with the images it was made on.

    `body_contours_dicom_mm` holds closed contours (n, 3) of the external surface, ordered by DICOM z.
    """

    plan: TreatmentPlan
    ct: CtVolume
    body_contours_dicom_mm: tuple[NDArray[np.float64], ...]

    def isocentre(self, isocentre_id: str) -> PlannedIsocentre:
        """The isocentre of that name, or a refusal that lists those there are."""
        for isocentre in self.plan.isocentres:
            if isocentre.isocentre_id == isocentre_id:
                return isocentre
        known = ", ".join(i.isocentre_id for i in self.plan.isocentres)
        raise InputRefused(f"the plan has no isocentre {isocentre_id!r}; it has {known}")

    def table_from_patient(
        self, isocentre_id: str, isocentre_in_table_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Rigid `t <- p` (4, 4) that lays the isocentre on a point of the table top, in the patient position."""
        rotation = table_from_patient_rotation(self.plan.patient_position)
        placement = np.eye(4)
        placement[:3, :3] = rotation
        placement[:3, 3] = isocentre_in_table_mm - rotation @ iec_patient_point(
            self.isocentre(isocentre_id).position_dicom_mm
        )
        return placement


def load_plan(folder: Path) -> LoadedPlan:
    """Read the one plan of a folder (searched recursively) with its structure set and CT series.

    Raises InputRefused with the reason for anything that is missing, ambiguous, or does not belong together.
    """
    if not folder.is_dir():
        raise InputRefused(f"{folder} is not a folder")
    files = sorted(folder.rglob("*.dcm"))
    if not files:
        raise InputRefused(f"{folder} holds no .dcm files")
    by_class: dict[str, list[tuple[Path, FileDataset]]] = {}
    for path in files:
        dataset = read_dicom(path)
        by_class.setdefault(str(dataset.get("SOPClassUID", "")), []).append((path, dataset))
    plan_path, plan = _the_only(by_class, RT_PLAN_STORAGE, "RT Plan", folder)
    _, structures = _the_only(by_class, RT_STRUCTURE_SET_STORAGE, "RT Structure Set", folder)
    ct_files = [path for path, _ in by_class.get(CT_IMAGE_STORAGE, [])]
    if not ct_files:
        raise InputRefused(f"{folder} holds no CT images")
    ct = load_ct(ct_files)
    _belong_together(plan, structures, ct)
    parsed = _parse_plan(plan, plan_path.name, ct).model_copy(
        update={"markers": _markers(structures, ct)}
    )
    for isocentre in parsed.isocentres:
        if not ct.contains_dicom(isocentre.position_dicom_mm):
            raise InputRefused(
                f"isocentre {isocentre.isocentre_id} at {isocentre.position_dicom_mm} mm lies outside the CT"
            )
    return LoadedPlan(parsed, ct, _body_contours(structures, ct))


def structure_contours(folder: Path, name: str) -> tuple[NDArray[np.float64], ...]:
    """The closed contours (n, 3), DICOM mm, of a structure of the folder's one structure set, by its name.

    Raises InputRefused when the structure is not there (the message lists those that are) or has no closed contours.
    """
    found = [
        (path, dataset)
        for path in sorted(folder.rglob("*.dcm"))
        if (dataset := read_dicom(path)).get("SOPClassUID") == RT_STRUCTURE_SET_STORAGE
    ]
    _, structures = _the_only(
        {RT_STRUCTURE_SET_STORAGE: found}, RT_STRUCTURE_SET_STORAGE, "RT Structure Set", folder
    )
    names = {
        str(item.ROINumber): str(item.ROIName)
        for item in structures.get("StructureSetROISequence", [])
    }
    if name not in names.values():
        raise InputRefused(
            f"the structure set has no structure {name!r}; it has {', '.join(sorted(names.values()))}"
        )
    contours = tuple(
        np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        for roi in structures.get("ROIContourSequence", [])
        if names.get(str(roi.ReferencedROINumber)) == name
        for contour in roi.get("ContourSequence", [])
        if str(contour.ContourGeometricType) == "CLOSED_PLANAR"
    )
    if not contours:
        raise InputRefused(f"structure {name!r} has no closed contours")
    return contours


def _the_only(
    by_class: dict[str, list[tuple[Path, FileDataset]]], sop_class: str, what: str, folder: Path
) -> tuple[Path, FileDataset]:
    found = by_class.get(sop_class, [])
    if len(found) != 1:
        names = ", ".join(path.name for path, _ in found) or "none"
        raise InputRefused(f"{folder} must hold exactly one {what}; found {names}")
    return found[0]


def _belong_together(plan: FileDataset, structures: FileDataset, ct: CtVolume) -> None:
    """Same patient, same frame of reference, and the references between the objects hold."""
    for what, dataset in (("RT Plan", plan), ("RT Structure Set", structures)):
        patient_id = str(require(dataset, "PatientID", what))
        if patient_id != ct.patient_id:
            raise InputRefused(
                f"wrong patient: the {what} is of {patient_id!r}, the CT of {ct.patient_id!r}"
            )
    if str(require(plan, "PatientBirthDate", "RT Plan")) != str(
        require(structures, "PatientBirthDate", "RT Structure Set")
    ):
        raise InputRefused("wrong patient: RT Plan and RT Structure Set give different birth dates")
    frame = str(require(plan, "FrameOfReferenceUID", "RT Plan"))
    if frame != ct.frame_of_reference_uid:
        raise InputRefused(
            f"mixed frames of reference: the plan is in {frame}, the CT in {ct.frame_of_reference_uid}"
        )
    referenced = structures.get("ReferencedFrameOfReferenceSequence") or []
    frames = {str(item.get("FrameOfReferenceUID", "")) for item in referenced}
    frames |= {
        str(item.get("ReferencedFrameOfReferenceUID", ""))
        for item in structures.get("StructureSetROISequence", [])
    }
    frames.discard("")
    if frames != {frame}:
        raise InputRefused(
            f"mixed frames of reference: the structure set is in {sorted(frames)}, the plan in {frame}"
        )
    wanted = [
        str(item.ReferencedSOPInstanceUID)
        for item in plan.get("ReferencedStructureSetSequence", [])
    ]
    if wanted != [str(structures.SOPInstanceUID)]:
        raise InputRefused("the plan was made on another structure set than the one in the folder")
    if plan.get("ApprovalStatus") != "APPROVED":
        raise InputRefused(
            f"the plan is not approved (ApprovalStatus {plan.get('ApprovalStatus', 'absent')})"
        )


def _parse_plan(plan: FileDataset, where: str, ct: CtVolume) -> TreatmentPlan:
    if not plan.get("BeamSequence"):
        raise InputRefused(f"{where} has no beams")
    position = _patient_position(plan, ct)
    table = _tolerance_table(plan)
    fields: dict[tuple[float, float, float], list[PlannedField]] = {}
    for beam in plan.get("BeamSequence", []):
        isocentre, field = _field(beam)
        fields.setdefault(isocentre, []).append(field)
    groups = plan.get("FractionGroupSequence", [])
    if len(groups) != 1:
        raise InputRefused(f"{where} must have one fraction group, it has {len(groups)}")
    isocentres = tuple(
        _isocentre(number, point, group) for number, (point, group) in enumerate(fields.items(), 1)
    )
    return TreatmentPlan(
        patient=PatientIdentity(
            patient_id=str(require(plan, "PatientID", where)),
            name=str(require(plan, "PatientName", where)),
            birth_date=str(require(plan, "PatientBirthDate", where)),
            sex=str(plan.get("PatientSex", "")),
        ),
        plan_uid=str(require(plan, "SOPInstanceUID", where)),
        plan_label=str(require(plan, "RTPlanLabel", where)),
        plan_name=str(plan.get("RTPlanName", "")),
        frame_of_reference_uid=ct.frame_of_reference_uid,
        structure_set_uid=str(plan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID),
        machine_name=str(require(plan.BeamSequence[0], "TreatmentMachineName", where)),
        patient_position=position,
        # A department keeps one tolerance table a site; its label names the site protocol.
        site=table.label.lower().replace(" ", "_"),
        fractions=int(require(groups[0], "NumberOfFractionsPlanned", where)),  # type: ignore[call-overload]
        tolerance=table,
        isocentres=isocentres,
        ct_series_uid=ct.series_uid,
        ct_slices=int(ct.hu.shape[0]),
    )


def _patient_position(plan: FileDataset, ct: CtVolume) -> PatientPosition:
    stated = {str(item.get("PatientPosition", "")) for item in plan.get("PatientSetupSequence", [])}
    if len(stated) != 1:
        raise InputRefused(
            f"the plan must state one patient position, it states {sorted(stated) or 'none'}"
        )
    position = stated.pop()
    for supported in SUPPORTED_POSITIONS:
        if position == supported:
            if ct.patient_position != position:
                raise InputRefused(
                    f"the plan is for {position}, but the CT was taken {ct.patient_position}"
                )
            return supported
    raise InputRefused(
        f"patient position {position!r} is not supported; supported are {', '.join(SUPPORTED_POSITIONS)}"
    )


def _tolerance_table(plan: FileDataset) -> ToleranceTable:
    tables = {
        str(item.ToleranceTableNumber): item for item in plan.get("ToleranceTableSequence", [])
    }
    used = {str(b.get("ReferencedToleranceTableNumber", "")) for b in plan.get("BeamSequence", [])}
    if len(used) != 1 or (number := used.pop()) not in tables:
        raise InputRefused(
            "every field of the plan must refer to the same tolerance table, and it must be there"
        )
    item = tables[number]

    def limit(keyword: str) -> float | None:
        value = item.get(keyword)
        if value in (None, ""):
            return None
        tolerance = float(value)
        if not np.isfinite(tolerance) or tolerance <= 0.0:
            raise InputRefused(
                f"{keyword} of tolerance table {number} is {tolerance}; it must be positive"
            )
        return tolerance

    return ToleranceTable(
        label=str(require(item, "ToleranceTableLabel", f"tolerance table {number}")),
        lateral_mm=limit("TableTopLateralPositionTolerance"),
        longitudinal_mm=limit("TableTopLongitudinalPositionTolerance"),
        vertical_mm=limit("TableTopVerticalPositionTolerance"),
        rotation_deg=limit("PatientSupportAngleTolerance"),
        pitch_deg=limit("TableTopPitchAngleTolerance"),
        roll_deg=limit("TableTopRollAngleTolerance"),
    )


def _field(beam: Dataset) -> tuple[tuple[float, float, float], PlannedField]:
    name = str(beam.get("BeamName", beam.get("BeamNumber", "?")))
    delivery = str(require(beam, "TreatmentDeliveryType", f"field {name}"))
    if delivery not in ("SETUP", "TREATMENT"):
        raise InputRefused(
            f"field {name} has delivery type {delivery!r}; SETUP and TREATMENT are supported"
        )
    points = require(beam, "ControlPointSequence", f"field {name}")
    first: Dataset = points[0]  # type: ignore[index]
    point = [float(v) for v in require(first, "IsocenterPosition", f"field {name}")]  # type: ignore[attr-defined]
    if len(point) != 3 or not np.all(np.isfinite(point)):
        raise InputRefused(f"field {name} has a malformed isocentre {point}")
    return (point[0], point[1], point[2]), PlannedField(
        number=int(beam.BeamNumber),
        name=name,
        purpose="SETUP" if delivery == "SETUP" else "TREATMENT",
        angle_deg=_angle(first, "GantryAngle", name, required=True),
        half_field_mm=_half_field(first, name),
        couch=_couch(first, name),
    )


def _half_field(point: Dataset, name: str) -> tuple[float, float, float, float]:
    """Field edges x1, x2, y1, y2 at the isocentre in millimetres."""
    edges = {}
    for device in point.get("BeamLimitingDevicePositionSequence", []):
        kind = str(device.RTBeamLimitingDeviceType)
        if kind in ("ASYMX", "X", "ASYMY", "Y"):
            edges[kind[-1]] = [float(v) for v in device.LeafJawPositions]
    if sorted(edges) != ["X", "Y"] or any(len(v) != 2 or v[0] >= v[1] for v in edges.values()):
        raise InputRefused(f"field {name} does not give its X and Y jaw positions")
    return (edges["X"][0], edges["X"][1], edges["Y"][0], edges["Y"][1])


def _angle(point: Dataset, keyword: str, name: str, *, required: bool = False) -> float:
    value = point.get(keyword)
    if value in (None, ""):
        if required:
            raise InputRefused(f"field {name} has no {keyword}")
        return 0.0
    angle = float(value)
    if not np.isfinite(angle):
        raise InputRefused(f"{keyword} of field {name} is {angle}")
    return wrap_deg(angle)


def _couch(point: Dataset, name: str) -> CouchPosition:
    if abs(_angle(point, "TableTopEccentricAngle", name)) > 0.0:
        raise InputRefused(
            f"field {name} has an eccentric table-top angle, which no supported couch has"
        )
    values: list[float | None] = []
    for keyword in (
        "TableTopLateralPosition",
        "TableTopLongitudinalPosition",
        "TableTopVerticalPosition",
    ):
        raw = point.get(keyword)
        if raw in (None, ""):
            values.append(None)
            continue
        value = float(raw)
        if not np.isfinite(value) or abs(value) > TABLE_TOP_PLAUSIBLE_MM:
            raise InputRefused(
                f"{keyword} of field {name} is {value}; DICOM gives millimetres, and no table top travels so far"
            )
        values.append(value)
    return CouchPosition(
        lateral_mm=values[0],
        longitudinal_mm=values[1],
        vertical_mm=values[2],
        rotation_deg=_angle(point, "PatientSupportAngle", name),
        pitch_deg=_angle(point, "TableTopPitchAngle", name),
        roll_deg=_angle(point, "TableTopRollAngle", name),
        # DICOM PS3.3 C.8.8.14.6: an empty first value makes all later ones relative to an unknown start.
        relative=None in values,
    )


def _isocentre(
    number: int, point: tuple[float, float, float], fields: list[PlannedField]
) -> PlannedIsocentre:
    couch = fields[0].couch
    for field in fields:
        if field.couch != couch:
            raise InputRefused(
                f"fields {fields[0].name} and {field.name} share an isocentre but not a couch position; "
                "this version supports one couch position per isocentre"
            )
    return PlannedIsocentre(
        isocentre_id=f"ISO{number}",
        position_dicom_mm=point,
        couch=couch,
        setup_fields=tuple(f for f in fields if f.purpose == "SETUP"),
        treatment_fields=tuple(f for f in fields if f.purpose == "TREATMENT"),
    )


def _markers(structures: FileDataset, ct: CtVolume) -> tuple[PlannedMarker, ...]:
    """Structures of interpreted type MARKER: points, or closed contours around the marker, whose centroid counts."""
    wanted = {
        str(item.ReferencedROINumber)
        for item in structures.get("RTROIObservationsSequence", [])
        if str(item.get("RTROIInterpretedType", "")) == "MARKER"
    }
    names = {
        str(item.ROINumber): str(item.ROIName)
        for item in structures.get("StructureSetROISequence", [])
    }
    # A place read off a grid errs evenly within a voxel.
    sigma = float(np.sqrt(np.mean(np.square(ct.spacing_mm)) / 12.0))
    found = []
    for roi in structures.get("ROIContourSequence", []):
        number = str(roi.ReferencedROINumber)
        if number not in wanted:
            continue
        name = names.get(number, number)
        x, y, z = _marker_place(roi, name)
        if not ct.contains_dicom((x, y, z)):
            raise InputRefused(
                f"marker {name} at ({x:.1f}, {y:.1f}, {z:.1f}) mm lies outside the CT"
            )
        found.append(PlannedMarker(name=name, position_dicom_mm=(x, y, z), sigma_mm=sigma))
    doubled = sorted({m.name for m in found if sum(o.name == m.name for o in found) > 1})
    if doubled:
        raise InputRefused(f"the structure set has two markers of one name: {', '.join(doubled)}")
    return tuple(found)


def _marker_place(roi: Dataset, name: str) -> tuple[float, float, float]:
    contours = [
        (str(contour.ContourGeometricType), np.asarray(contour.ContourData, float).reshape(-1, 3))
        for contour in roi.get("ContourSequence", [])
    ]
    if not contours or not all(np.isfinite(points).all() for _, points in contours):
        raise InputRefused(f"marker {name} has no place: a point or closed contours are needed")
    kinds = {kind for kind, _ in contours}
    if kinds == {"POINT"} and len(contours) == 1:
        x, y, z = (float(v) for v in contours[0][1][0])
        return x, y, z
    if kinds == {"CLOSED_PLANAR"}:
        x, y, z = (
            float(v) for v in np.mean([points.mean(axis=0) for _, points in contours], axis=0)
        )
        return x, y, z
    raise InputRefused(
        f"marker {name} has {len(contours)} contours of type {', '.join(sorted(kinds))}: one POINT, or "
        "CLOSED_PLANAR contours around one marker, are understood"
    )


def _body_contours(structures: FileDataset, ct: CtVolume) -> tuple[NDArray[np.float64], ...]:
    external = {
        str(item.ReferencedROINumber)
        for item in structures.get("RTROIObservationsSequence", [])
        if str(item.get("RTROIInterpretedType", "")) == "EXTERNAL"
    }
    if len(external) != 1:
        raise InputRefused(
            f"the structure set must have one EXTERNAL structure, it has {len(external)}"
        )
    number = external.pop()
    contours: list[NDArray[np.float64]] = []
    for roi in structures.get("ROIContourSequence", []):
        if str(roi.ReferencedROINumber) != number:
            continue
        for contour in roi.get("ContourSequence", []):
            points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            if str(contour.ContourGeometricType) != "CLOSED_PLANAR" or len(points) < 3:
                raise InputRefused(
                    "the EXTERNAL structure holds a contour that is not closed and planar"
                )
            if not np.all(np.isfinite(points)) or np.ptp(points[:, 2]) > POSITION_SPREAD_MM:
                raise InputRefused("the EXTERNAL structure holds a contour that is not axial")
            contours.append(points)
    if len(contours) < 2:
        raise InputRefused("the EXTERNAL structure has fewer than two contours")
    contours.sort(key=lambda points: float(points[0, 2]))
    low, high = contours[0][0, 2], contours[-1][0, 2]
    bottom = ct.origin_dicom_mm[2]
    top = bottom + ct.spacing_mm[2] * (ct.hu.shape[0] - 1)
    slack = 1.5 * ct.spacing_mm[2]
    if low < bottom - slack or high > top + slack:
        raise InputRefused("the EXTERNAL structure reaches beyond the CT series")
    return tuple(contours)


# A contour belongs to one slice; what scatters more is not axial.
POSITION_SPREAD_MM = 0.01
