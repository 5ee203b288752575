"""Makes a room from a patient, a seed and a couch family: the one place where the defaults live."""

from igrt_firmware_sim._firmware import Room, SimulatorError, seeded_setup_error
from igrt_firmware_sim.patient import Patient

DEFAULT_COUCH = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
SETUP_ERROR_MM = 12.0
SETUP_ERROR_DEG = 2.0
NO_ERROR = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def make_room(
    *,
    seed: int,
    patient: Patient | None = None,
    family: str = "pedestal",
    couch: tuple[float, float, float, float, float, float] | None = None,
    setup_error_mm: float = SETUP_ERROR_MM,
    setup_error_deg: float = SETUP_ERROR_DEG,
    referenced: bool = True,
    load_kg: float = 75.0,
    renders: bool = True,
    dialect: str = "clp1",
) -> Room:
    """A room at time 0 with the couch at the planned position and the patient displaced by a seeded setup error.

    A hexapod stands with zero axes where the plan puts the table top; an arm starts with its joints at zero unless
    ``couch`` says otherwise (millimetres and degrees, in axis order).

    Raises:
        SimulatorError: a position outside the limits of the family, or a setup error beyond 100 mm or 10 degrees.
    """
    planned = patient.couch if patient else DEFAULT_COUCH
    if family == "hexapod" and any(planned[3:]):
        raise SimulatorError("a hexapod stands on an unturned base; the plan has couch angles")
    axes = couch if couch is not None else (planned if family == "pedestal" else NO_ERROR)
    error = seeded_setup_error(seed, setup_error_mm, setup_error_deg)
    if patient is None:
        return Room(
            seed=seed,
            family=family,
            axes=axes,
            base_mm=planned[:3],
            referenced=referenced,
            load_kg=load_kg,
            setup_error=error,
            renders=renders,
            dialect=dialect,
        )
    return Room(
        seed=seed,
        family=family,
        axes=axes,
        base_mm=planned[:3],
        referenced=referenced,
        load_kg=load_kg,
        isocentre_mm=patient.isocentre_mm,
        setup_error=error,
        hu=patient.hu,
        spacing_mm=patient.spacing_mm,
        origin_mm=patient.origin_mm,
        renders=renders,
        dialect=dialect,
    )
