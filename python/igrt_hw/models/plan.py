"""What a treatment plan says: patient, isocentres, couch positions, tolerances, fields. Millimetres and degrees."""

from typing import Literal

from igrt_hw.models.base import Frozen

PatientPosition = Literal["HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"]


class PatientIdentity(Frozen):
    """Two identifiers are compared before anything moves: the ID and the birth date; the name is shown beside them."""

    patient_id: str
    name: str
    birth_date: str
    sex: str


class ToleranceTable(Frozen):
    """How far the couch may stand from its planned position before a person has to be asked. None: no limit given."""

    label: str
    lateral_mm: float | None
    longitudinal_mm: float | None
    vertical_mm: float | None
    rotation_deg: float | None
    pitch_deg: float | None
    roll_deg: float | None


class CouchPosition(Frozen):
    """Planned table-top position in IEC 61217. `relative` when the first control point left a translation empty:
    later values are then displacements from a start that the plan does not know."""

    lateral_mm: float | None
    longitudinal_mm: float | None
    vertical_mm: float | None
    rotation_deg: float
    pitch_deg: float
    roll_deg: float
    relative: bool


class PlannedField(Frozen):
    """A setup or treatment field. For a kV setup field `angle_deg` is the source angle of `docs/conventions.md`."""

    number: int
    name: str
    purpose: Literal["SETUP", "TREATMENT"]
    angle_deg: float
    half_field_mm: tuple[float, float, float, float]
    couch: CouchPosition


class PlannedIsocentre(Frozen):
    """One isocentre with the couch position and the fields that belong to it."""

    isocentre_id: str
    position_dicom_mm: tuple[float, float, float]
    couch: CouchPosition
    setup_fields: tuple[PlannedField, ...]
    treatment_fields: tuple[PlannedField, ...]


class PlannedMarker(Frozen):
    """A marker of the structure set (interpreted type MARKER) in DICOM patient millimetres; `sigma_mm` is how well the
    CT's grid places it."""

    name: str
    position_dicom_mm: tuple[float, float, float]
    sigma_mm: float


class TreatmentPlan(Frozen):
    """A plan that has been read and checked against its CT series and structure set."""

    patient: PatientIdentity
    plan_uid: str
    plan_label: str
    plan_name: str
    frame_of_reference_uid: str
    structure_set_uid: str
    machine_name: str
    patient_position: PatientPosition
    site: str
    fractions: int
    tolerance: ToleranceTable
    isocentres: tuple[PlannedIsocentre, ...]
    ct_series_uid: str
    ct_slices: int
    markers: tuple[PlannedMarker, ...] = ()
    """Implanted markers, where the structure set has any: registration by markers is offered with two or more."""
