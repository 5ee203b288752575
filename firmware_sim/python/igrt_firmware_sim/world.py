"""Makes a room from a patient, a seed and a couch family: the one place where the defaults live."""

from collections.abc import Mapping
from pathlib import Path

from igrt_firmware_sim._firmware import Room, SimulatorError, seeded_setup_error
from igrt_firmware_sim.patient import Patient, load
from igrt_firmware_sim.phantom import PREFIX, Phantom, named

DEFAULT_COUCH = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
SETUP_ERROR_MM = 12.0
SETUP_ERROR_DEG = 2.0
NO_ERROR = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
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

    A hexapod stands with zero axes where the plan puts the table top; an arm starts with its joints at zero unless
    ``couch`` says otherwise (millimetres and degrees, in axis order).

    ``markers``: gold seeds in the patient within ``marker_spread_mm`` of the isocentre. ``physics``: strength of
    effects of the X-rays by name (:func:`igrt_firmware_sim._firmware.physics_table`); those not named are as built.

    Raises:
        SimulatorError: a position outside the limits of the family, a setup error beyond 100 mm or 10 degrees, markers
            without a patient or that do not fit, or an effect that the X-rays do not have.
    """
    planned = patient.couch if patient else DEFAULT_COUCH
    if family == "hexapod" and any(planned[3:]):
        raise SimulatorError("a hexapod stands on an unturned base; the plan has couch angles")
    axes = couch if couch is not None else (planned if family == "pedestal" else NO_ERROR)
    error = seeded_setup_error(seed, setup_error_mm, setup_error_deg)
    voxels = patient if isinstance(patient, Patient) else None
    return Room(
        seed=seed,
        family=family,
        axes=axes,
        base_mm=planned[:3],
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
