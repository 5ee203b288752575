"""`igrt cone-beam`: a saved cone-beam scan against the CT of a plan, without a room, a service or a screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from igrt_hw._core import Pose
    from igrt_hw.guidance.cbct import ConeBeamVolume
    from igrt_hw.guidance.plan import LoadedPlan
    from igrt_hw.guidance.registration import View
    from igrt_hw.guidance.scan_protocol import ScanProtocol
    from igrt_hw.guidance.volume_registration import VolumeRegistration

EXIT_REFUSED = 4


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("cone-beam")(cone_beam_command)


def cone_beam_command(
    plan: Annotated[Path, typer.Argument(help="DICOM folder: CT, structure set and plan.")],
    scan: Annotated[
        Path, typer.Argument(help="Projections as own frames (.json), in the order of the scan.")
    ],
    field: Annotated[
        str, typer.Option(help="Blade edges at the isocentre: x1,x2,y1,y2 in mm.")
    ] = "-130,130,-85,85",
    isocentre: Annotated[str | None, typer.Option(help="Isocentre; the first without.")] = None,
    couch: Annotated[
        str | None,
        typer.Option(
            help="Couch at the scan: lateral, longitudinal, vertical mm, rotation, pitch, roll deg, "
            "separated by commas; as planned without."
        ),
    ] = None,
    scatter: Annotated[bool, typer.Option(help="Take off what lies in the blades' shadow.")] = True,
    json_out: Annotated[Path | None, typer.Option("--json", help="Result as JSON.")] = None,
    volume_out: Annotated[
        Path | None, typer.Option("--volume", help="The reconstruction in HU (.npy).")
    ] = None,
) -> None:
    """Reconstruct and register a cone-beam scan. Ends with 0 believed, 4 refused, 1 input that cannot be used."""
    import numpy as np

    from igrt_hw.commands.register import poses_of
    from igrt_hw.guidance.captured import load_views
    from igrt_hw.guidance.plan import load_plan
    from igrt_hw.guidance.scan_protocol import ScanProtocol

    loaded, protocol = load_plan(plan), ScanProtocol()
    poses = poses_of(loaded, isocentre, couch)
    views = load_views(scan)
    volume, shares = _reconstructed(views, _field(field), protocol, scatter)
    found = _registered(volume, loaded, poses, _field(field), protocol)
    if volume_out is not None:
        np.save(volume_out, volume.hu(protocol.water_per_mm))
    if json_out is not None:
        json_out.write_text(
            json.dumps(_as_json(found, loaded, len(views), shares), indent=1) + "\n"
        )
    _say(found)
    if found.correction is None:
        raise typer.Exit(EXIT_REFUSED)


def _reconstructed(
    views: list[View],
    field_mm: tuple[float, float, float, float],
    protocol: ScanProtocol,
    scatter: bool,
) -> tuple[ConeBeamVolume, float]:
    """The volume, and the scatter-to-primary ratio that was taken off."""
    import numpy as np

    from igrt_hw.guidance.cbct import reconstruct
    from igrt_hw.guidance.cbct_projections import prepare_scan

    ready = prepare_scan(
        [np.asarray(view.image, np.float32) for view in views],
        [view.geometry for view in views],
        field_mm,
        scatter=scatter,
    )
    volume = reconstruct(ready.projections, ready.geometries, protocol.grid(), hann=protocol.hann)
    return volume, float(np.median(ready.scatter_to_primary))


def _registered(
    volume: ConeBeamVolume,
    loaded: LoadedPlan,
    poses: tuple[Pose, Pose],
    field_mm: tuple[float, float, float, float],
    protocol: ScanProtocol,
) -> VolumeRegistration:
    """The match with what it leaves. `poses`: fixed <- patient as planned, and by the couch."""
    import numpy as np

    from igrt_hw.guidance.anatomy import change_in_scan
    from igrt_hw.guidance.mask import body_mask
    from igrt_hw.guidance.volume_registration import register_cone_beam

    planned, nominal = poses
    body = body_mask(loaded.ct, loaded.body_contours_dicom_mm)
    found = register_cone_beam(
        volume, loaded.ct, nominal, planned, body=body, water_per_mm=protocol.water_per_mm
    )
    if found.fixed_from_patient is None:
        return found
    pose = np.array(found.fixed_from_patient)
    change = change_in_scan(
        volume, loaded.ct, body, pose, planned, field_mm, water_per_mm=protocol.water_per_mm
    )
    return found.model_copy(update={"anatomy": change})


def _as_json(
    found: VolumeRegistration, loaded: LoadedPlan, projections: int, scatter_to_primary: float
) -> dict[str, object]:
    return {
        "format": "igrt cone beam 1",
        "patient_id": loaded.ct.patient_id,
        "plan": loaded.plan.plan_label,
        "frame_of_reference_uid": loaded.ct.frame_of_reference_uid,
        "projections": projections,
        "scatter_to_primary": scatter_to_primary,
        "result": found.model_dump(mode="json"),
    }


def _say(found: VolumeRegistration) -> None:
    from igrt_hw.commands.register import change_lines

    c = found.correction
    if c is None:
        typer.echo("refused: " + "; ".join(found.reasons))
        return
    typer.echo(
        f"correction {c.lateral_mm:+.2f} {c.longitudinal_mm:+.2f} {c.vertical_mm:+.2f} mm, "
        f"{c.rotation_deg:+.2f} {c.pitch_deg:+.2f} {c.roll_deg:+.2f} deg "
        f"(similarity {found.similarity:.3f}, overlap {found.overlap:.2f})"
    )
    for line in change_lines(found.anatomy):
        typer.echo(f"  {line}")


def _field(text: str) -> tuple[float, float, float, float]:
    from igrt_hw.guidance.refusal import InputRefused

    try:
        x1, x2, y1, y2 = (float(edge) for edge in text.split(","))
    except ValueError:
        raise InputRefused(f"--field {text!r} must be x1,x2,y1,y2 in mm") from None
    return x1, x2, y1, y2
