"""What a patient was exposed to, read from the record: per fraction and over the course, and what is to be said
of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from igrt_hw.guidance.imaging_protocol import TG180_SHARE, ImagingProtocol, load_tube
from igrt_hw.models.record import RecordEntry

KINDS = ("images",)
"""Kinds of entries that `exposures` reads."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One exposure as it was recorded. `dose_area_uGycm2` is what the imager told of it."""

    sequence: int
    at_utc: str
    patient_id: str
    fraction: int
    purpose: str
    source_angle_deg: float
    kvp: float
    mas: float
    dose_area_uGycm2: float


@dataclass(frozen=True, slots=True)
class FractionDose:
    """The exposures of one fraction: their number, mAs, dose-area product, and estimated skin dose of the worst
    entrance."""

    fraction: int
    exposures: int
    mas: float
    dose_area_uGycm2: float
    skin_dose_mGy: float


@dataclass(frozen=True, slots=True)
class DoseLedger:
    """All of a patient's imaging, by fraction; `warnings` are sentences for the operator."""

    patient_id: str
    fractions: tuple[FractionDose, ...]
    dose_area_uGycm2: float
    skin_dose_mGy: float
    warnings: tuple[str, ...]


def exposures(entries: Iterable[RecordEntry], patient_id: str) -> tuple[Exposure, ...]:
    """The exposures of a patient in the order of the record. Entries that tell no exposures (older records) hold
    none."""
    found = []
    for entry in entries:
        told = entry.data.get("exposures")
        if entry.kind not in KINDS or entry.data.get("patient_id") != patient_id:
            continue
        if not isinstance(told, list):
            continue
        fraction = entry.data.get("fraction")
        for one in told:
            found.append(
                Exposure(
                    sequence=entry.sequence,
                    at_utc=str(one["acquired_utc"]),
                    patient_id=patient_id,
                    fraction=int(fraction) if isinstance(fraction, int) else 0,
                    purpose=str(one["purpose"]),
                    source_angle_deg=float(one["source_angle_deg"]),
                    kvp=float(one["kvp"]),
                    mas=float(one["mas"]),
                    dose_area_uGycm2=float(one["dose_area_uGycm2"]),
                )
            )
    return tuple(found)


def ledger(
    entries: Iterable[RecordEntry],
    patient_id: str,
    protocol: ImagingProtocol,
    *,
    prescribed_mGy: float | None = None,  # noqa: N803
) -> DoseLedger:
    """The patient's imaging dose, with warnings by the protocol of the site.

    `prescribed_mGy` is the prescribed dose of the course; from 5 % of it on, imaging dose belongs into the plan
    (TG-180).
    """
    taken = exposures(entries, patient_id)
    numbers = sorted({one.fraction for one in taken})
    fractions = tuple(
        _fraction(n, [e for e in taken if e.fraction == n], protocol) for n in numbers
    )
    skin = sum(fraction.skin_dose_mGy for fraction in fractions)
    warnings = [text for fraction in fractions for text in _fraction_warnings(fraction, protocol)]
    if skin > protocol.course_skin_dose_mGy():
        warnings.append(
            f"the course has had {skin:.1f} mGy at the skin by estimate, more than the "
            f"{protocol.course_skin_dose_mGy():.1f} mGy of a whole course by the protocol {protocol.title}"
        )
    if prescribed_mGy is not None and skin > TG180_SHARE * prescribed_mGy:
        warnings.append(
            f"imaging has given {100 * skin / prescribed_mGy:.1f} % of the prescribed dose at the skin: from "
            f"{100 * TG180_SHARE:.0f} % on it belongs into the plan (TG-180)"
        )
    return DoseLedger(
        patient_id=patient_id,
        fractions=fractions,
        dose_area_uGycm2=sum(fraction.dose_area_uGycm2 for fraction in fractions),
        skin_dose_mGy=skin,
        warnings=tuple(warnings),
    )


def _fraction(number: int, taken: list[Exposure], protocol: ImagingProtocol) -> FractionDose:
    tube = load_tube()
    by_entrance: dict[int, float] = {}
    for one in taken:
        view = protocol.view_at(one.source_angle_deg)
        skin = 1000.0 - view.thickness_mm / 2.0
        kerma = tube.air_kerma_mGy(one.kvp, one.mas, view.beam_filter, skin)
        # Entrances further apart than this do not overlap on the skin.
        entrance = round(one.source_angle_deg / 30.0)
        by_entrance[entrance] = by_entrance.get(entrance, 0.0) + kerma * tube.backscatter
    return FractionDose(
        fraction=number,
        exposures=len(taken),
        mas=sum(one.mas for one in taken),
        dose_area_uGycm2=sum(one.dose_area_uGycm2 for one in taken),
        skin_dose_mGy=max(by_entrance.values(), default=0.0),
    )


def _fraction_warnings(fraction: FractionDose, protocol: ImagingProtocol) -> list[str]:
    pairs = fraction.exposures / 2.0
    if pairs <= protocol.pairs_per_fraction_max:
        return []
    return [
        f"fraction {fraction.fraction} was imaged {fraction.exposures} times ({pairs:g} pairs; "
        f"{protocol.pairs_per_fraction_max} is the most by protocol): before another "
        "exposure say what it will show that the last one did not"
    ]
