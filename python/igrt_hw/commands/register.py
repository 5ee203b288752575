"""`igrt register`: X-rays against the CT of a plan, without a room, a service or a screen."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igrt_hw.guidance.attenuation import Emphasis
from igrt_hw.guidance.registration import Freedom

if TYPE_CHECKING:
    from igrt_hw._core import Pose
    from igrt_hw.guidance.plan import LoadedPlan
    from igrt_hw.guidance.registration import PatientModel, RegistrationResult, View
    from igrt_hw.models.anatomy import AnatomyChange

EXIT_DOUBTFUL = 3
EXIT_REFUSED = 4
EXIT_CODES = {"reliable": 0, "doubtful": EXIT_DOUBTFUL, "refused": EXIT_REFUSED}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("register")(register_command)


def register_command(
    plan: Annotated[Path, typer.Argument(help="DICOM folder: CT, structure set and plan.")],
    image: Annotated[
        list[Path],
        typer.Argument(help="RT Images (.dcm), or files of own frames (.json); 1 to 4 views."),
    ],
    isocentre: Annotated[str | None, typer.Option(help="Isocentre; the first without.")] = None,
    couch: Annotated[
        str | None,
        typer.Option(
            help="Couch at imaging: lateral, longitudinal, vertical mm, rotation, pitch, roll deg, "
            "separated by commas; as planned without."
        ),
    ] = None,
    freedom: Annotated[Freedom, typer.Option(help="What may move.")] = Freedom.SIX,
    emphasis: Annotated[Emphasis, typer.Option(help="What the DRR shows.")] = Emphasis.NONE,
    curve: Annotated[
        Path | None, typer.Option(help="HU curve: lines of HU and attenuation per mm.")
    ] = None,
    structure: Annotated[
        str | None, typer.Option(help="Use only what sees this structure of the plan.")
    ] = None,
    margin_mm: Annotated[float, typer.Option(min=0.0, help="Margin round the structure.")] = 20.0,
    region: Annotated[
        list[str] | None,
        typer.Option(help="Drawn region, one per view in order: 'col,row col,row col,row ...'."),
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Result as JSON.")] = None,
    dicom_out: Annotated[
        Path | None, typer.Option("--dicom", help="DICOM Spatial Registration.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Overlay of all views (.png).")] = None,
) -> None:
    """Register X-rays with a plan's CT. Ends with 0 reliable, 3 doubtful, 4 refused, 1 input that cannot be used."""
    from igrt_hw.guidance import registration
    from igrt_hw.guidance.anatomy import change_after
    from igrt_hw.guidance.plan import load_plan

    loaded = load_plan(plan)
    planned, nominal = poses_of(loaded, isocentre, couch)
    views = _regions(_views(image, loaded), plan, loaded, nominal, structure, margin_mm, region)
    patient = registration.prepare(
        loaded.ct, loaded.body_contours_dicom_mm, curve=_curve(curve), emphasis=emphasis
    )
    result = registration.register(patient, views, nominal, planned, freedom=freedom)
    change = change_after(patient, views, result, planned)
    result = result.model_copy(update={"anatomy": change})
    if json_out is not None:
        json_out.write_text(json.dumps(_as_json(result, loaded, image), indent=1) + "\n")
    if picture is not None:
        _draw(picture, patient, views, result, nominal)
    if dicom_out is not None and result.correction is not None:
        from igrt_hw.guidance.spatial_registration import spatial_registration

        found = spatial_registration(loaded, planned.matrix(), result, made_at=datetime.now())
        found.save_as(dicom_out, enforce_file_format=True)
    _say(result)
    raise typer.Exit(EXIT_CODES[result.verdict])


def poses_of(loaded: LoadedPlan, isocentre: str | None, couch: str | None) -> tuple[Pose, Pose]:
    """fixed <- patient as planned, and by where the couch stood (`--couch`). Raises `InputRefused`."""
    from igrt_hw._core import Couch
    from igrt_hw.guidance.refusal import InputRefused
    from igrt_hw.server.placement import Placement

    name = isocentre or loaded.plan.isocentres[0].isocentre_id
    placement = Placement.of(loaded, name)
    if couch is None:
        return placement.planned, placement.planned
    try:
        axes = tuple(float(value) for value in couch.split(","))
    except ValueError:
        axes = ()
    if len(axes) != 6:
        raise InputRefused(f"--couch {couch!r} must be six numbers separated by commas")
    table = Couch.pedestal([(-10_000.0, 10_000.0)] * 3 + [(-360.0, 360.0)] * 3)
    return placement.planned, placement.at(table, axes)


def _views(files: list[Path], loaded: LoadedPlan) -> list[View]:
    from igrt_hw.guidance.captured import load_rt_image, load_views

    views: list[View] = []
    for path in files:
        if path.suffix == ".json":
            views += load_views(path)
        else:
            views.append(load_rt_image(path, loaded.ct.patient_id))
    return views


def _regions(
    views: list[View],
    folder: Path,
    loaded: LoadedPlan,
    nominal: Pose,
    structure: str | None,
    margin_mm: float,
    drawn: list[str] | None,
) -> list[View]:
    from dataclasses import replace

    from igrt_hw.guidance import region
    from igrt_hw.guidance.plan import structure_contours
    from igrt_hw.guidance.refusal import InputRefused

    if drawn and structure:
        raise InputRefused("give a drawn region or a structure, not both")
    if structure:
        contours = structure_contours(folder, structure)
        return [
            replace(
                view,
                region=region.of_structure(
                    loaded.ct, contours, view.geometry, nominal, margin_mm=margin_mm
                ),
            )
            for view in views
        ]
    if not drawn:
        return views
    if len(drawn) != len(views):
        raise InputRefused(f"{len(drawn)} regions for {len(views)} views; draw one for each")
    try:
        corners = [[[float(x) for x in c.split(",")] for c in text.split()] for text in drawn]
    except ValueError as error:
        raise InputRefused(f"a region is written 'col,row col,row col,row': {error}") from error
    return [
        replace(view, region=region.drawn(view.geometry, polygon))
        for view, polygon in zip(views, corners, strict=True)
    ]


def _curve(path: Path | None) -> list[list[float]] | None:
    from igrt_hw.guidance.refusal import InputRefused

    if path is None:
        return None
    try:
        lines = [line.replace(",", " ").split() for line in path.read_text().splitlines()]
        return [[float(x) for x in line] for line in lines if line and not line[0].startswith("#")]
    except ValueError as error:
        raise InputRefused(
            f"{path.name}: a curve has lines of HU and attenuation per mm: {error}"
        ) from error


def _as_json(
    result: RegistrationResult, loaded: LoadedPlan, images: list[Path]
) -> dict[str, object]:
    return {
        "format": "igrt registration 1",
        "patient_id": loaded.ct.patient_id,
        "plan": loaded.plan.plan_label,
        "frame_of_reference_uid": loaded.ct.frame_of_reference_uid,
        "images": [path.name for path in images],
        "result": result.model_dump(mode="json"),
    }


def _draw(
    path: Path,
    patient: PatientModel,
    views: list[View],
    result: RegistrationResult,
    nominal: Pose,
) -> None:
    import matplotlib.image
    import numpy as np

    from igrt_hw.guidance.overlay import drr, sheet

    # A refused result has no pose: the overlay then shows where the search began, for the eye to judge.
    pose = (
        nominal.matrix()
        if result.fixed_from_patient is None
        else np.array(result.fixed_from_patient)
    )
    pairs = [(view.image, drr(patient, view.geometry, pose)) for view in views]
    matplotlib.image.imsave(path, sheet(pairs))


def _say(result: RegistrationResult) -> None:
    typer.echo(
        f"{result.verdict}: {result.duration_ms:.0f} ms, similarity "
        + ", ".join(f"{s:.2f}" for s in result.per_view_similarity)
    )
    for reason in result.reasons:
        typer.echo(f"  {reason.sentence}")
    if result.correction is not None:
        mm, deg = result.sigma_mm, result.sigma_deg
        names = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
        for name, value, sigma, unit in zip(
            names, result.correction.values(), (*mm, *deg), ("mm",) * 3 + ("deg",) * 3, strict=True
        ):
            typer.echo(f"  {name:<13}{value:+8.2f} {unit:<3} +- {sigma:.2f}")
        typer.echo(f"  miss at the target exceeded in 5 %: {result.residual_at_target_mm:.2f} mm")
    for line in change_lines(result.anatomy):
        typer.echo(f"  {line}")


def change_lines(change: AnatomyChange | None) -> list[str]:
    """What the correction leaves of the patient's change, for people."""
    if change is None:
        return []
    worst = "" if change.worst_mm is None else f", the worst {change.worst_mm:.1f} mm off"
    lines = [
        f"the patient against the CT: {change.advice} ({change.regions_measured} of {change.regions_looked_at} regions "
        f"compared{worst})"
    ]
    return lines + list(change.reasons) + [f"not seen: {text}" for text in change.not_measured]
