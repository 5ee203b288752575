"""`igrt map`: where gantry and couch may stand together, with the patient of a plan on the couch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MACHINE = "linac_pedestal"
MARGIN_MM = 20.0


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("map")(clearance_map)


def clearance_map(
    output: Annotated[
        Path, typer.Argument(help="Picture (.png, .pdf, .svg) or data (.npz, .json).")
    ],
    plan: Annotated[Path | None, typer.Option(help="DICOM folder; the demo's without.")] = None,
    machine: Annotated[
        str, typer.Option(help="Machine of the package, or path of a machine file.")
    ] = DEFAULT_MACHINE,
    couch_axis: Annotated[str, typer.Option(help="Couch axis across the map.")] = "rotation",
    couch_range: Annotated[tuple[float, float], typer.Option(help="Its range, mm or degrees.")] = (
        -90.0,
        90.0,
    ),
    cells: Annotated[int, typer.Option(min=2, max=720, help="Cells along each axis.")] = 72,
    margin_mm: Annotated[float, typer.Option(min=0.0, help="Clearance asked for.")] = MARGIN_MM,
) -> None:
    """Map gantry angle against a couch axis, arms parked, the couch else at its planned position."""
    from igrt_hw.guidance.plan import load_plan
    from igrt_hw.machine import load_machine
    from igrt_hw.machine.clearance_map import clearance_map as measure
    from igrt_hw.machine.room import MapAxis, Room
    from igrt_hw.server.clearing import surface_of_plan
    from igrt_hw.server.placement import Placement, planned_axes
    from igrt_hw.server.settings import DEMO_PLAN

    loaded = load_plan(plan or DEMO_PLAN)
    isocentre_id = loaded.plan.isocentres[0].isocentre_id
    model = load_machine(machine)
    placement = Placement.of(loaded, isocentre_id)
    room = Room(model, surface_of_plan(loaded), placement.table_from_patient)
    limits = model.description.gantry
    found = measure(
        room,
        planned_axes(model.couch(), placement),
        room.retracted(),
        row=MapAxis("gantry", limits.lower_deg, limits.upper_deg, cells),
        column=MapAxis(couch_axis, *couch_range, cells),
        margin_mm=margin_mm,
    )
    if output.suffix in (".npz", ".json"):
        found.write_data(output)
    else:
        found.figure(f"{model.name}, plan {loaded.plan.plan_label}").savefig(output)
    typer.echo(f"{output}: model {found.model_hash[:16]}, margin {margin_mm:g} mm")
