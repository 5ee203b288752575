"""What a patient was exposed to, read from the record: per fraction and over the course, and what is to be said
of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from igrt_hw.guidance.imaging_protocol import TG180_SHARE, ImagingProtocol, load_tube
from igrt_hw.models.imaging import DoseView
from igrt_hw.models.record import RecordEntry

KINDS = ("images", "exposure")
"""Kinds of entries that `exposures` reads: pairs as the supervisor took them, and single exposures as they were made.
An exposure that is in both counts once."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """One exposure as it was recorded. `dose_area_uGycm2` is what the imager told of it; `lost` one without an image,
    of which only that is known. `ma` and `ms` are tube current and time; records from before they were set apart tell
    their product `mas` alone."""

    sequence: int
    at_utc: str
    patient_id: str
    fraction: int
    purpose: str
    source_angle_deg: float
    kvp: float
    mas: float
    dose_area_uGycm2: float
    lost: bool = False
    scan_uid: str = ""
    ma: float | None = None
    ms: float | None = None


@dataclass(frozen=True, slots=True)
class FractionDose:
    """The exposures of one fraction: their number, mAs, dose-area product, and estimated skin dose of the worst
    entrance. `single` are those that are of no scan and of no watch over the target."""

    fraction: int
    exposures: int
    single: int
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
    found: list[Exposure] = []
    seen: set[str] = set()
    for entry in entries:
        told = entry.data.get("exposures")
        if entry.kind not in KINDS or entry.data.get("patient_id") != patient_id:
            continue
        if not isinstance(told, list):
            continue
        for one in told:
            uid = str(one.get("image_uid", ""))
            if uid and uid in seen:
                continue
            seen.add(uid)
            found.append(_exposure(entry, patient_id, one))
    return tuple(found)


def _exposure(entry: RecordEntry, patient_id: str, one: dict[str, Any]) -> Exposure:
    fraction = entry.data.get("fraction")
    return Exposure(
        sequence=entry.sequence,
        at_utc=str(one.get("acquired_utc", entry.at_utc)),
        patient_id=patient_id,
        fraction=int(fraction) if isinstance(fraction, int) else 0,
        purpose=str(one.get("purpose", "")),
        source_angle_deg=float(one.get("source_angle_deg", 0.0)),
        kvp=float(one.get("kvp", 0.0)),
        mas=float(one.get("mas", 0.0)),
        dose_area_uGycm2=float(one["dose_area_uGycm2"]),
        lost=bool(one.get("lost", False)),
        scan_uid=str(one.get("scan_uid", "")),
        ma=_number(one.get("ma")),
        ms=_number(one.get("ms")),
    )


def _number(told: object) -> float | None:
    return float(told) if isinstance(told, (int, float)) else None


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
    lost = 0.0
    for one in taken:
        if one.lost:
            lost += _skin_of_area(one.dose_area_uGycm2, protocol)
            continue
        view = protocol.view_at(one.source_angle_deg)
        skin = 1000.0 - view.thickness_mm / 2.0
        kerma = tube.air_kerma_mGy(one.kvp, one.mas, view.beam_filter, skin)
        # Entrances further apart than this do not overlap on the skin.
        entrance = round(one.source_angle_deg / 30.0)
        by_entrance[entrance] = by_entrance.get(entrance, 0.0) + kerma * tube.backscatter
    return FractionDose(
        fraction=number,
        exposures=len(taken),
        single=sum(not one.scan_uid and one.purpose != "monitoring" for one in taken),
        mas=sum(one.mas for one in taken),
        dose_area_uGycm2=sum(one.dose_area_uGycm2 for one in taken),
        # Nobody knows through which skin a lost exposure went: it is added to the worst.
        skin_dose_mGy=max(by_entrance.values(), default=0.0) + lost,
    )


def _skin_of_area(dose_area_uGycm2: float, protocol: ImagingProtocol) -> float:  # noqa: N803
    """Skin dose (mGy) of a dose-area product, by the thinner view of the protocol."""
    x1, x2, y1, y2 = protocol.field_mm
    at_isocentre = dose_area_uGycm2 / ((x2 - x1) * (y2 - y1) / 100.0) / 1e3
    skin = 1000.0 - max(view.thickness_mm for view in protocol.views) / 2.0
    return float(at_isocentre * (1000.0 / skin) ** 2 * load_tube().backscatter)


def _fraction_warnings(fraction: FractionDose, protocol: ImagingProtocol) -> list[str]:
    pairs = fraction.single / 2.0
    if pairs <= protocol.pairs_per_fraction_max:
        return []
    return [
        f"fraction {fraction.fraction} was imaged {fraction.single} times ({pairs:g} pairs; "
        f"{protocol.pairs_per_fraction_max} is the most by protocol): before another "
        "exposure say what it will show that the last one did not"
    ]


def dose_view(
    entries: Iterable[RecordEntry], patient_id: str, fraction: int, protocol: ImagingProtocol
) -> DoseView:
    """What the screen shows of a patient's imaging dose, and what has to be said before another pair."""
    kept = tuple(entries)
    taken = exposures(kept, patient_id)
    book = ledger(kept, patient_id, protocol)
    now = next((f for f in book.fractions if f.fraction == fraction), None)
    made = 0 if now is None else now.exposures
    single = 0 if now is None else now.single
    return DoseView(
        site=protocol.site,
        protocol=protocol.title,
        fraction=fraction,
        exposures_in_fraction=made,
        exposures_in_course=len(taken),
        lost_in_course=sum(one.lost for one in taken),
        scans_in_course=len({one.scan_uid for one in taken if one.scan_uid}),
        pairs_usual=protocol.pairs_per_fraction,
        pairs_most=protocol.pairs_per_fraction_max,
        skin_mGy_fraction=0.0 if now is None else now.skin_dose_mGy,
        skin_mGy_course=book.skin_dose_mGy,
        skin_mGy_next_pair=protocol.pair_skin_dose_mGy(),
        dose_area_uGycm2_fraction=0.0 if now is None else now.dose_area_uGycm2,
        dose_area_uGycm2_course=book.dose_area_uGycm2,
        uncertainty_factor=load_tube().uncertainty_factor,
        alara=protocol.alara,
        repeat=_before_another(single, protocol),
        warnings=book.warnings,
    )


def _before_another(made: int, protocol: ImagingProtocol) -> str:
    """What another pair would be; empty while it is a usual one."""
    another = made // 2 + 1
    if another <= protocol.pairs_per_fraction:
        return ""
    if another <= protocol.pairs_per_fraction_max:
        return (
            f"pair {another} of this fraction; {protocol.pairs_per_fraction} are usual for {protocol.title}: "
            "say what it will show that the last one did not"
        )
    return (
        f"pair {another} of this fraction is beyond the {protocol.pairs_per_fraction_max} of the protocol "
        f"{protocol.title}: ask whether imaging will solve it"
    )
