"""Makes a room from a patient, a seed and a couch family: the one place where the defaults live."""

from collections.abc import Mapping
from pathlib import Path

from igrt_firmware_sim import machine_file
from igrt_firmware_sim._firmware import Room, SimulatorError, seeded_setup_error
from igrt_firmware_sim.patient import Patient, load
from igrt_firmware_sim.phantom import PREFIX, Phantom, named

DEFAULT_COUCH = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
SETUP_ERROR_MM = 12.0
SETUP_ERROR_DEG = 2.0
ORIGIN = (0.0, 0.0, 0.0)


def resolve(patient: str | Path | Patient | Phantom | None) -> Patient | Phantom | None:
    """Who or what lies on the couch: `phantom:cube`, `phantom:balls`, or a patient's folder (`ct:FOLDER` or `FOLDER`).

    Raises:
        SimulatorError: no such phantom, or the folder does not hold one patient.
    """
    if patient is None or isinstance(patient, Patient | Phantom):
        return patient
    text = str(patient)
    if text.startswith(PREFIX):
        return named(text.removeprefix(PREFIX))
    return load(Path(text.removeprefix("ct:")))


def make_room(
    *,
    seed: int,
    patient: Patient | Phantom | None = None,
    family: str = "pedestal",
    machine: str | Path | None = None,
    couch: tuple[float, float, float, float, float, float] | None = None,
    setup_error_mm: float = SETUP_ERROR_MM,
    setup_error_deg: float = SETUP_ERROR_DEG,
    referenced: bool = True,
    load_kg: float = 75.0,
    markers: int = 0,
    marker_spread_mm: float = 15.0,
    physics: Mapping[str, float] | None = None,
    renders: bool = True,
    dialect: str = "clp1",
) -> Room:
    """A room at time 0 with the couch at the planned position and the patient displaced by a seeded setup error.

    ``family``: `pedestal`, `hexapod` (on a base couch), `arm` or `scara`, with the dimensions built in. ``machine``: a
    machine file (docs/machines.md), whose couch is taken instead. ``couch``: axes at the start (millimetres and
    degrees, in axis order); without them they follow from the planned position, for a robot by one of its postures. A
    hexapod's base stands where its platform then is neutral. With ``dialect`` gcs the platform alone is driven, its
    zero at the plan.

    ``markers``: gold seeds in the patient within ``marker_spread_mm`` of the isocentre. ``physics``: strength of
    effects of the X-rays by name (:func:`igrt_firmware_sim._firmware.physics_table`); those not named are as built.

    Raises:
        SimulatorError: a machine file that is not one, a position that the couch does not reach within its limits, a
            setup error beyond 100 mm or 10 degrees, markers without a patient or that do not fit, or an effect that the
            X-rays do not have.
    """
    planned = patient.couch if patient else DEFAULT_COUCH
    described = machine_file.load(Path(machine)) if machine is not None else None
    if dialect == "gcs" and any(planned[3:]):
        raise SimulatorError(
            "the platform of dialect gcs stands on an unturned base; the plan has couch angles"
        )
    error = seeded_setup_error(seed, setup_error_mm, setup_error_deg)
    voxels = patient if isinstance(patient, Patient) else None
    return Room(
        seed=seed,
        family=described.family if described else family,
        chain=described.chain if described else None,
        limits=described.limits if described else None,
        axes=couch,
        planned=planned,
        referenced=referenced,
        load_kg=load_kg,
        isocentre_mm=patient.isocentre_mm if patient else ORIGIN,
        setup_error=error,
        hu=voxels.hu if voxels else None,
        spacing_mm=voxels.spacing_mm if voxels else (1.0, 1.0, 1.0),
        origin_mm=voxels.origin_mm if voxels else ORIGIN,
        phantom=patient.name if isinstance(patient, Phantom) else None,
        markers=markers,
        marker_spread_mm=marker_spread_mm,
        physics=dict(physics or {}),
        renders=renders,
        dialect=dialect,
    )
