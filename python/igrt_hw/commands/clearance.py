"""`igrt map`: where gantry and couch may stand together. `igrt clearance`: one move, and what would free it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from igrt_hw.guidance.plan import LoadedPlan
    from igrt_hw.machine.beam_arcs import ArcVerdict
    from igrt_hw.machine.clearance_map import ClearanceMap
    from igrt_hw.machine.room import MapAxis, Room
    from igrt_hw.machine.surface import PatientSurface

DEFAULT_MACHINE = "linac_pedestal"
MARGIN_MM = 20.0
DATA_SUFFIXES = (".npz", ".json", ".csv")

Plan = Annotated[Path | None, typer.Option(help="DICOM folder; the demo's without.")]
MachineName = Annotated[
    str, typer.Option(help="Machine of the package, or path of a machine file.")
]
SurfaceFrom = Annotated[
    str, typer.Option(help="Patient from the plan's external contours, or from the ct images.")
]
BeyondField = Annotated[
    float | None,
    typer.Option(help="With ct: how far the patient may go on beyond the field of view, mm."),
]
Arms = Annotated[
    list[str] | None, typer.Option(help="An arm that is out, as name=extension (0 in, 1 out).")
]


class AskedWrongError(ValueError):
    """Options that do not fit together; the message says what to give."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("map")(clearance_map)
    app.command("clearance")(clearance)


def clearance_map(
    output: Annotated[
        list[Path] | None,
        typer.Argument(help="Pictures (.png, .pdf, .svg) and data (.npz, .json, .csv) to write."),
    ] = None,
    plan: Plan = None,
    machine: MachineName = DEFAULT_MACHINE,
    row_axis: Annotated[
        str, typer.Option(help="Axis up the map: gantry, a couch axis or an arm.")
    ] = "gantry",
    row_range: Annotated[
        tuple[float, float] | None, typer.Option(help="Its range; the machine's without.")
    ] = None,
    couch_axis: Annotated[
        str, typer.Option(help="Axis across the map: a couch axis, an arm.")
    ] = "rotation",
    couch_range: Annotated[tuple[float, float], typer.Option(help="Its range, mm or degrees.")] = (
        -90.0,
        90.0,
    ),
    cells: Annotated[int, typer.Option(min=2, max=720, help="Cells along each axis.")] = 72,
    margin_mm: Annotated[float, typer.Option(min=0.0, help="Clearance asked for.")] = MARGIN_MM,
    gantry: Annotated[float, typer.Option(help="Gantry angle where it is no axis, degrees.")] = 0.0,
    arm: Arms = None,
    surface: SurfaceFrom = "contours",
    beyond_field_mm: BeyondField = None,
    show: Annotated[bool, typer.Option(help="Show the map in this terminal.")] = True,
) -> None:
    """Map two axes, gantry against couch rotation unless said; all else as planned, arms parked unless said."""
    from igrt_hw.machine.clearance_map import clearance_map as measure
    from igrt_hw.machine.room import MapAxis

    loaded, room, axes = _room_of(plan, machine, surface, beyond_field_mm)
    panels = _panels(room, arm)
    limits = room.machine.description.gantry
    if row_range is None:
        ranges = {axis.name: axis.range for axis in room.machine.description.axis}
        ranges["gantry"] = (limits.lower_deg, limits.upper_deg)
        row_range = ranges.get(row_axis, (0.0, 1.0))
    row = MapAxis(row_axis, *row_range, cells)
    column = MapAxis(couch_axis, *couch_range, cells)
    found = measure(
        room, axes, panels, row=row, column=column, gantry_deg=gantry, margin_mm=margin_mm
    )
    beams = _beams(plan, room, axes, panels, margin_mm)
    for file in output or []:
        if file.suffix in DATA_SUFFIXES:
            found.write_data(file)
        else:
            title = f"{room.machine.name}, plan {loaded.plan.plan_label}"
            found.figure(title, beams).savefig(file)
        typer.echo(f"{file}: model {found.model_hash[:16]}, margin {margin_mm:g} mm")
    if show:
        _show(found, column)
    for beam in beams:
        typer.echo(beam.text())
    if (row.name, column.name) == ("gantry", "rotation"):
        for couch in sorted({beam.arc.couch_rotation_deg for beam in beams}):
            typer.echo(f"free at couch {couch:g}°: {_free(found, couch)}")


def clearance(
    to: Annotated[str, typer.Option(help="Six target axes, comma-separated, mm and degrees.")],
    start: Annotated[
        str | None, typer.Option("--from", help="Six start axes; the planned position without.")
    ] = None,
    plan: Plan = None,
    machine: MachineName = DEFAULT_MACHINE,
    gantry: Annotated[float, typer.Option(help="Gantry angle, degrees.")] = 0.0,
    margin_mm: Annotated[float, typer.Option(min=0.0, help="Clearance asked for.")] = MARGIN_MM,
    arm: Arms = None,
    surface: SurfaceFrom = "contours",
    beyond_field_mm: BeyondField = None,
    detour: Annotated[bool, typer.Option(help="Look for a detour if it is blocked.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of the planner's sampling.")] = 1,
    sweeps: Annotated[
        int, typer.Option(min=1, help="Certified sweeps the planner may spend.")
    ] = 4000,
) -> None:
    """Certify one straight couch move; if it is blocked say why, what would free it, and propose a detour.

    Nothing moves. Exit code 0: the margin is kept all the way; 1: it is not.
    """
    from igrt_hw.machine.explain import explain_path
    from igrt_hw.machine.planner import PlannerRule

    _, room, planned = _room_of(plan, machine, surface, beyond_field_mm)
    begin = planned if start is None else _six(start, "--from")
    rule = PlannerRule(keep_mm=margin_mm, seed=seed, sweeps_max=sweeps) if detour else None
    found = explain_path(
        room, begin, _six(to, "--to"), gantry, _panels(room, arm), keep_mm=margin_mm, planner=rule
    )
    typer.echo(found.text(6))
    if found.detour is not None and found.detour.detour is not None and not found.clear:
        for number, leg in enumerate(found.detour.detour.legs, start=1):
            axes = ", ".join(f"{value:.1f}" for value in leg.target_axes)
            typer.echo(f"  leg {number}: {leg.name}; keeps {leg.min_mm:.1f} mm; to {axes}")
    typer.echo(f"model {found.model_hash[:16]}")
    if not found.clear:
        raise typer.Exit(1)


def _room_of(
    plan: Path | None, machine: str, surface: str, beyond_field_mm: float | None
) -> tuple[LoadedPlan, Room, tuple[float, ...]]:
    """The plan, its patient on the couch of the machine, and the axes at the planned position."""
    from igrt_hw.guidance.plan import load_plan
    from igrt_hw.machine import load_machine
    from igrt_hw.machine.room import Room
    from igrt_hw.server.placement import Placement, planned_axes
    from igrt_hw.server.settings import DEMO_PLAN

    loaded = load_plan(plan or DEMO_PLAN)
    model = load_machine(machine)
    placement = Placement.of(loaded, loaded.plan.isocentres[0].isocentre_id)
    if surface not in ("contours", "ct"):
        raise AskedWrongError(f"--surface {surface}: there are contours and ct")
    chosen: Literal["contours", "ct"] = "ct" if surface == "ct" else "contours"
    patient = _surface(loaded, chosen, beyond_field_mm)
    room = Room(model, patient, placement.table_from_patient)
    return loaded, room, planned_axes(model.couch(), placement)


def _surface(
    loaded: LoadedPlan, surface: Literal["contours", "ct"], beyond_field_mm: float | None
) -> PatientSurface:
    from igrt_hw.machine.ct_body import CtBodyRule, surface_from_ct
    from igrt_hw.server.clearing import surface_of_plan

    if surface == "contours":
        return surface_of_plan(loaded)
    return surface_from_ct(
        loaded.ct.hu,
        loaded.ct.spacing_mm,
        loaded.ct.origin_dicom_mm,
        patient_position=loaded.ct.patient_position,
        body_rule=CtBodyRule(beyond_field_mm=beyond_field_mm),
        source=f"CT of plan {loaded.plan.plan_label}",
    )


def _panels(room: Room, arms: list[str] | None) -> dict[str, float]:
    panels = room.retracted()
    for said in arms or []:
        name, _, extension = said.partition("=")
        try:
            panels[name] = float(extension)
        except ValueError as error:
            raise AskedWrongError(f"--arm {said}: name=extension is needed, 0 to 1") from error
    return panels


def _six(text: str, option: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise AskedWrongError(f"{option} {text}: six numbers with commas are needed") from error
    if len(values) != 6:
        raise AskedWrongError(f"{option} {text}: six numbers are needed, not {len(values)}")
    return values


def _beams(
    plan: Path | None,
    room: Room,
    axes: tuple[float, ...],
    panels: dict[str, float],
    margin_mm: float,
) -> tuple[ArcVerdict, ...]:
    """The treatment beams of the plan, judged at the rotation of each."""
    from igrt_hw.machine.beam_arcs import judge_arcs, read_beam_arcs
    from igrt_hw.server.settings import DEMO_PLAN

    arcs = [
        arc
        for file in sorted((plan or DEMO_PLAN).rglob("*"))
        if file.is_file() and _is_plan(file)
        for arc in read_beam_arcs(file)
    ]
    return judge_arcs(room, arcs, axes, panels, margin_mm=margin_mm)


def _is_plan(file: Path) -> bool:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        head = pydicom.dcmread(file, specific_tags=["Modality"], stop_before_pixels=True)
    except (InvalidDicomError, OSError):
        return False
    return bool(head.get("Modality") == "RTPLAN")


def _free(found: ClearanceMap, couch_deg: float) -> str:
    """The arcs that keep the margin in the column of a couch rotation."""
    column = found.column
    number = int((couch_deg - column.start) / (column.stop - column.start) * column.cells)
    if not (column.start <= couch_deg <= column.stop and 0 <= number < column.cells):
        return "not on the map"
    arcs = sorted(found.clear_arcs(number))
    return ", ".join(f"gantry {a:g}° to {b:g}°" for a, b in arcs) or "no gantry angle"


def _show(found: ClearanceMap, column: MapAxis) -> None:
    from rich.console import Console

    from igrt_hw.machine.map_view import map_text

    console = Console(soft_wrap=True, highlight=False)
    console.print(map_text(found, colour=console.color_system is not None))
    longest = [found.clear_arcs(number)[:1] for number in range(column.cells)]
    whole = sum(1 for arcs in longest if arcs and arcs[0] == (found.row.start, found.row.stop))
    typer.echo(
        f"{whole} of {column.cells} columns keep {found.margin_mm:g} mm at every {found.row.name}; "
        f"model {found.model_hash[:16]}"
    )
