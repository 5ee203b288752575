"""`igrt imager`: images of the ball phantom, the calibration made of them, and RTK's geometry files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from igrt_hw.guidance.geometric_calibration import PhantomPlace, ViewCalibration
    from igrt_hw.guidance.imager_calibration import ImagerCalibration
    from igrt_hw.guidance.imager_geometry import FlexMap
    from igrt_hw.guidance.registration import View

Out = Annotated[Path, typer.Option("--out", help="File to write.")]
Name = Annotated[str, typer.Option("--imager", help="Name of the imager, kept in the file.")]
FIELD = "-130,130,-130,130"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    imager = typer.Typer(help="The imager as it was measured.", no_args_is_help=True)
    for name, act in (
        ("take", take), ("calibrate", calibrate), ("show", show), ("rtk-export", rtk_export),
        ("rtk-import", rtk_import),
    ):  # fmt: skip
        imager.command(name)(act)
    app.add_typer(imager, name="imager")


def take(
    port: Annotated[str, typer.Argument(help="Port of the imager; the supervisor must not run.")],
    out: Out,
    angles: Annotated[
        str, typer.Option(help="Source angles, first:last:step in deg.")
    ] = "-75:255:15",
    kvp: Annotated[float, typer.Option(help="Tube voltage, kV.")] = 80.0,
    ma: Annotated[float, typer.Option(help="Tube current, mA.")] = 200.0,
    ms: Annotated[float, typer.Option(help="Time, ms.")] = 25.0,
    field: Annotated[str, typer.Option(help="Blades at the isocentre: x1,x2,y1,y2 mm.")] = FIELD,
    offset_deg: Annotated[float, typer.Option(help="Source angle minus gantry angle.")] = 90.0,
) -> None:
    """Take images of the phantom round the gantry and save them (own frames). Arms and gantry move while it runs and
    stop when it ends; someone has to close the exposure switch and watch. Nobody may lie on the couch."""
    import threading

    from igrt_hw.devices.frames import View as Wanted
    from igrt_hw.devices.imager import ClpImager
    from igrt_hw.guidance.captured import save_views
    from igrt_hw.server.imager_measurement import lease_of, phantom_views

    wanted = _angles(angles)
    technique = Wanted(wanted[0], kvp, ma, ms, binning=2, field_mm=_edges(field))
    imager = ClpImager.on_port(port, offset_deg)
    cancel = threading.Event()
    try:
        imager.connect(10.0)
        with lease_of(imager):
            views, dose = phantom_views(
                imager, technique, wanted, cancel, lambda text, _: typer.echo(text, err=True)
            )
    finally:
        cancel.set()
        imager.close()
    save_views(out, views)
    typer.echo(f"{len(views)} views in {out}; {dose:.0f} uGy cm2")


def calibrate(
    views: Annotated[Path, typer.Argument(help="Images of the phantom: own frames (.json).")],
    out: Out,
    phantom: Annotated[str, typer.Option(help="Name of the phantom, or its file.")] = "balls",
    place: Annotated[
        str,
        typer.Option(
            help="Where the phantom stands: lateral, longitudinal, vertical mm, rotation, pitch, roll deg."
        ),
    ] = "0,0,0,0,0,0",
    place_sigma_mm: Annotated[float, typer.Option(min=0.0, help="How well, mm.")] = 0.0,
    place_sigma_deg: Annotated[float, typer.Option(min=0.0, help="How well, deg.")] = 0.0,
    hold: Annotated[
        list[str] | None, typer.Option(help="A number to keep as drawn, e.g. sad_mm.")
    ] = None,
    field: Annotated[str, typer.Option(help="Blades at the isocentre: x1,x2,y1,y2 mm.")] = FIELD,
    keep: Annotated[
        Path | None, typer.Option(help="A calibration whose lag and pixels go on being used.")
    ] = None,
    imager: Name = "kV",
) -> None:
    """Solve the imager's geometry at every angle, and write the flex map with residuals and covariance for
    `igrt serve --imager-calibration`."""
    from igrt_hw.guidance.captured import load_views
    from igrt_hw.guidance.imager_calibration import (
        ImagerCalibration,
        load_imager_calibration,
        save_imager_calibration,
    )

    now = datetime.now(UTC).isoformat(timespec="seconds")
    stands = _place(place, place_sigma_mm, place_sigma_deg)
    flex, solved = _solved(
        load_views(views), phantom, stands, hold or [], _edges(field), imager, now
    )
    known = ImagerCalibration(imager=imager, made_utc=now, flex=flex)
    if keep is not None:
        before = load_imager_calibration(keep)
        known = before.model_copy(update={"imager": imager, "made_utc": now, "flex": flex})
    save_imager_calibration(known, out)
    for view in solved:
        typer.echo(_line(view))
    typer.echo(f"{len(solved)} angles in {out}{_gaps(known)}")


def show(
    calibration: Annotated[Path, typer.Argument(help="A calibration (.json).")],
) -> None:
    """What a calibration holds."""
    from igrt_hw.guidance.imager_calibration import load_imager_calibration

    known = load_imager_calibration(calibration)
    typer.echo(f"{known.imager}, {known.made_utc}")
    if known.flex is None:
        typer.echo("no flex map: the imager is used as drawn")
    else:
        typer.echo(
            f"flex map of {len(known.flex.poses)} angles by phantom {known.flex.phantom!r}{_gaps(known)}"
        )
        for n, pose in enumerate(known.flex.poses):
            rms = known.flex.rms_residual_px
            told = f", balls {rms[n]:.3f} px rms" if rms else ""
            typer.echo(
                f"{pose.source_angle_deg:+8.2f} deg  SAD {pose.sad_mm:8.2f}  SID {pose.sid_mm:8.2f}  panel "
                f"{pose.panel_lateral_mm:+.2f} {pose.panel_longitudinal_mm:+.2f} mm{told}"
            )
    typer.echo("lag measured" if known.lag is not None else "no lag measured")
    for found in known.unstable:
        typer.echo(f"{len(found.pixels)} flickering pixels at binning {found.binning}")


def rtk_export(
    calibration: Annotated[Path, typer.Argument(help="A calibration (.json).")], out: Out
) -> None:
    """Write the flex map as RTK's geometry file, one projection an angle."""
    from igrt_hw.guidance.imager_calibration import load_imager_calibration
    from igrt_hw.guidance.refusal import InputRefused
    from igrt_hw.guidance.rtk_geometry import write_rtk_geometry

    known = load_imager_calibration(calibration)
    if known.flex is None:
        raise InputRefused(f"{calibration.name} holds no flex map: nothing to export")
    out.write_text(write_rtk_geometry(known.flex.poses), encoding="utf-8")
    typer.echo(
        f"{len(known.flex.poses)} projections in {out}; RTK's file has no place for the covariance"
    )


def rtk_import(
    geometry: Annotated[Path, typer.Argument(help="RTK's geometry file (.xml).")],
    out: Out,
    imager: Name = "kV",
) -> None:
    """Write a calibration of RTK's geometry file. It has no covariance: what the geometry errs by is then not in the
    covariance of a registration."""
    from igrt_hw.geometry import wrap_deg
    from igrt_hw.guidance.imager_calibration import ImagerCalibration, save_imager_calibration
    from igrt_hw.guidance.imager_geometry import FlexMap
    from igrt_hw.guidance.refusal import InputRefused
    from igrt_hw.guidance.rtk_geometry import pose_from_rtk, read_rtk_geometry

    try:
        poses = [pose_from_rtk(p) for p in read_rtk_geometry(geometry.read_text(encoding="utf-8"))]
    except UnicodeDecodeError as error:
        raise InputRefused(f"{geometry.name} is no text: {error}") from error
    wrapped = [
        pose.model_copy(update={"source_angle_deg": wrap_deg(pose.source_angle_deg)})
        for pose in poses
    ]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        flex = FlexMap(
            imager=imager,
            calibrated_utc=now,
            phantom=f"imported from {geometry.name}",
            poses=tuple(sorted(wrapped, key=lambda pose: pose.source_angle_deg)),
        )
    except ValueError as error:
        raise InputRefused(f"{geometry.name} makes no flex map: {error}") from error
    known = ImagerCalibration(imager=imager, made_utc=now, flex=flex)
    save_imager_calibration(known, out)
    typer.echo(f"{len(poses)} angles in {out}, without covariance{_gaps(known)}")


def _solved(
    images: list[View],
    phantom: str,
    place: PhantomPlace,
    held: list[str],
    field_mm: tuple[float, float, float, float],
    imager: str,
    now: str,
) -> tuple[FlexMap, tuple[ViewCalibration, ...]]:
    import numpy as np

    from igrt_hw.guidance.geometric_calibration import calibrate_imager
    from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
    from igrt_hw.guidance.panel import field_region
    from igrt_hw.guidance.phantom import load_phantom
    from igrt_hw.guidance.refusal import InputRefused

    if not images:
        raise InputRefused("a geometric calibration needs images of the phantom")
    first = images[0].geometry
    panel = PanelFormat.of(first)
    if any(PanelFormat.of(image.geometry) != panel for image in images):
        raise InputRefused("the images are of different panel formats: take them with one binning")
    region = field_region(
        first.shape,
        first.pixel_pitch_mm,
        sad_mm=first.sad_mm,
        sid_mm=first.sid_mm,
        field_mm=field_mm,
    )
    return calibrate_imager(
        [(np.asarray(image.image), ImagerPose.of(image.geometry)) for image in images],
        load_phantom(phantom),
        place,
        panel,
        imager=imager,
        calibrated_utc=now,
        held=held,
        region=region,
    )


def _line(view: ViewCalibration) -> str:
    lost = f", not found: {', '.join(view.missing)}" if view.missing else ""
    return (
        f"{view.pose.source_angle_deg:+8.2f} deg  {len(view.observations)} balls, {view.rms_px:.3f} px rms, the "
        f"isocentre's ray known to {view.sigma_at_isocentre_mm:.3f} mm{lost}"
    )


def _gaps(known: ImagerCalibration) -> str:
    """What angles a map is silent about, in words."""
    from itertools import pairwise

    if known.flex is None:
        return ""
    angles = [pose.source_angle_deg for pose in known.flex.poses]
    ring = [*angles, angles[0] + 360.0]
    silent = [f"{a:.0f} to {b:.0f}" for a, b in pairwise(ring) if b - a > known.flex.gap_max_deg]
    return f"; silent between {', '.join(silent)} deg" if silent else ""


def _place(text: str, sigma_mm: float, sigma_deg: float) -> PhantomPlace:
    from igrt_hw.geometry import Correction, correction_to_pose
    from igrt_hw.guidance.geometric_calibration import PhantomPlace

    six = _numbers(text, 6, "--place")
    return PhantomPlace(correction_to_pose(Correction.of(six)).matrix(), sigma_mm, sigma_deg)


def _edges(text: str) -> tuple[float, float, float, float]:
    x1, x2, y1, y2 = _numbers(text, 4, "--field")
    return x1, x2, y1, y2


def _numbers(text: str, count: int, option: str) -> list[float]:
    import math

    from igrt_hw.guidance.refusal import InputRefused

    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise InputRefused(f"{option} {text!r} must be {count} numbers separated by commas")
    return values


def _angles(text: str) -> list[float]:
    from igrt_hw.geometry import wrap_deg
    from igrt_hw.guidance.refusal import InputRefused

    try:
        first, last, step = (float(word) for word in text.split(":"))
    except ValueError:
        raise InputRefused(f"--angles {text!r} must be first:last:step in degrees") from None
    if not step > 0.0 or not 0.0 <= last - first < 360.0:
        raise InputRefused(
            f"--angles {text!r}: a positive step, and less than a turn from first to last"
        )
    return [wrap_deg(first + n * step) for n in range(int((last - first) / step + 1e-9) + 1)]
