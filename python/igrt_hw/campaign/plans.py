"""Plans of a campaign: made up, of every site that has a rule, one or two isocentres, all within the couch's reach."""

from __future__ import annotations

import random

from igrt_hw.models.plan import (
    CouchPosition,
    PatientIdentity,
    PlannedField,
    PlannedIsocentre,
    ToleranceTable,
    TreatmentPlan,
)

SITES = ("general", "lung_sbrt", "spine_sbrt", "brain_srs", "head_and_neck", "prostate", "breast")
PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
BIRTH_DATE = "19500101"


def couch_position() -> CouchPosition:
    """Where the simulated couch stands when a session begins."""
    lateral, longitudinal, vertical, rotation, pitch, roll = PLANNED
    return CouchPosition(
        lateral_mm=lateral,
        longitudinal_mm=longitudinal,
        vertical_mm=vertical,
        rotation_deg=rotation,
        pitch_deg=pitch,
        roll_deg=roll,
        relative=False,
    )


def _setup_field(number: int, angle_deg: float) -> PlannedField:
    return PlannedField(
        number=number,
        name=f"KV {number}",
        purpose="SETUP",
        angle_deg=angle_deg,
        half_field_mm=(100.0, 100.0, 100.0, 100.0),
        couch=couch_position(),
    )


def _isocentre(name: str, position: tuple[float, float, float]) -> PlannedIsocentre:
    return PlannedIsocentre(
        isocentre_id=name,
        position_dicom_mm=position,
        couch=couch_position(),
        setup_fields=(_setup_field(1, 0.0), _setup_field(2, 90.0)),
        treatment_fields=(),
    )


def plan_of(draw: random.Random) -> TreatmentPlan:
    """A plan by chance."""
    number = draw.randrange(10_000)
    isocentres = [_isocentre("ISO1", (10.0, 20.0, 30.0))]
    if draw.random() < 0.2:
        isocentres.append(_isocentre("ISO2", (10.0, 20.0, 90.0)))
    return TreatmentPlan(
        patient=PatientIdentity(
            patient_id=f"C-{number:04d}", name="Campaign^Patient", birth_date=BIRTH_DATE, sex="O"
        ),
        plan_uid=f"1.2.3.{number}",
        plan_label="CAMPAIGN",
        plan_name="",
        frame_of_reference_uid=f"1.2.4.{number}",
        structure_set_uid=f"1.2.5.{number}",
        machine_name="linac",
        patient_position="HFS",
        site=draw.choice(SITES),
        fractions=5,
        tolerance=ToleranceTable(
            label="CAMPAIGN",
            lateral_mm=50.0,
            longitudinal_mm=50.0,
            vertical_mm=50.0,
            rotation_deg=5.0,
            pitch_deg=5.0,
            roll_deg=5.0,
        ),
        isocentres=tuple(isocentres),
        ct_series_uid=f"1.2.6.{number}",
        ct_slices=100,
    )
