"""`igrt image`, `igrt landmarks`, `igrt room`, `igrt record`, `igrt health`: what screens show, in files or text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igrt_hw.commands.operate import (
    DEFAULT_URL,
    AsJson,
    CaFile,
    OperateError,
    Url,
    signed_in_client,
)

if TYPE_CHECKING:
    from igrt_hw.client import KvImage
    from igrt_hw.geometry import Correction

Uid = Annotated[str, typer.Argument(help="Image, as in `igrt status --json`.")]
Six = Annotated[
    str | None,
    typer.Option(
        "--correction",
        help="Six numbers with commas: lateral, longitudinal, vertical (mm), rotation, pitch, roll (deg).",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("image")(image)
    app.command("landmarks")(landmarks)
    room = typer.Typer(help="The room as it is checked for clearance.", no_args_is_help=True)
    room.command("picture")(picture)
    room.command("map")(clearance_map)
    app.add_typer(room, name="room")
    app.command("record")(record)
    app.command("health")(health)


def image(
    image_uid: Uid,
    file: Annotated[Path, typer.Argument(help="Where to write, .pgm (16 bit) or .npy.")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    drr: Annotated[bool, typer.Option("--drr", help="The DRR of its view instead.")] = False,
    registered: Annotated[
        bool, typer.Option("--registered", help="With --drr: at the pose that registration found.")
    ] = False,
    correction: Six = None,
) -> None:
    """Write a corrected image, or the DRR of its view: as planned, as registered, or as `--correction` has it."""
    if file.suffix not in (".pgm", ".npy"):
        raise OperateError(f"{file}: images are written as .pgm or .npy")
    if (correction is not None and not drr) or (registered and not drr):
        raise OperateError("--registered and --correction are of a DRR: give --drr too")
    if correction is not None and registered:
        raise OperateError("give either --registered or --correction")
    with signed_in_client(url, ca_file) as client:
        like: float | None = None
        if correction is not None:
            found, like = client.nudged_drr(image_uid, _six(correction))
        elif drr:
            found = client.drr(image_uid, registered=registered)
        else:
            found = client.image(image_uid)
    _write(file, found)
    rows, cols = found.pixels.shape
    alike = "" if like is None else f"; likeness to the image {like:.3f}"
    typer.echo(f"{file}: {rows} x {cols}{alike}")


def _write(file: Path, found: KvImage) -> None:
    import numpy as np

    if file.suffix == ".npy":
        np.save(file, found.pixels)
        return
    rows, cols = found.pixels.shape
    header = f"P5 {cols} {rows} 65535\n".encode()
    file.write_bytes(header + found.pixels.astype(">u2").tobytes())


def _six(text: str) -> Correction:
    from igrt_hw.geometry import Correction

    try:
        values = [float(word) for word in text.split(",")]
        return Correction.of(values)
    except ValueError as error:
        raise OperateError(f"{text!r}: {error}") from error


def landmarks(
    image_uid: Uid, url: Url = DEFAULT_URL, ca_file: CaFile = None, correction: Six = None
) -> None:
    """Points of the plan in an image: column and row, the patient as planned or where a correction starts from."""
    with signed_in_client(url, ca_file) as client:
        found = client.landmarks(image_uid, None if correction is None else _six(correction))
    for point in found.points:
        typer.echo(f"{point.column:9.1f} {point.row:9.1f}  {point.kind:<10} {point.name}")


def picture(
    file: Annotated[Path, typer.Argument(help="Where to write, .pgm (8 bit).")],
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    width: Annotated[int, typer.Option(min=8, max=640)] = 320,
    height: Annotated[int, typer.Option(min=8, max=480)] = 200,
    azimuth_deg: Annotated[float, typer.Option("--azimuth-deg")] = 30.0,
    elevation_deg: Annotated[float, typer.Option("--elevation-deg")] = 20.0,
) -> None:
    """Write a picture of the room at its live pose, and name the closest pair."""
    import base64

    from igrt_hw.models.room import RoomQuestion

    asked = RoomQuestion(
        width=width, height=height, azimuth_deg=azimuth_deg, elevation_deg=elevation_deg
    )
    with signed_in_client(url, ca_file) as client:
        found = client.room_picture(asked)
    shade = base64.b64decode(found.shade)
    file.write_bytes(f"P5 {found.width} {found.height} 255\n".encode() + shade)
    typer.echo(f"{file}: {found.width} x {found.height}; closest: {found.closest}")


def clearance_map(url: Url = DEFAULT_URL, ca_file: CaFile = None, as_json: AsJson = False) -> None:
    """The gantry x couch clearance map: the least clearance at each gantry angle over all couch rotations."""
    with signed_in_client(url, ca_file) as client:
        found = client.room_map()
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    for angle, row in zip(found.gantry_deg, found.lower_mm, strict=True):
        where = found.rotation_deg[row.index(min(row))]
        typer.echo(
            f"gantry {angle:+6.1f} deg: at least {min(row):6.1f} mm (couch {where:+.1f} deg)"
        )


def record(
    url: Url = DEFAULT_URL,
    ca_file: CaFile = None,
    as_json: AsJson = False,
    after: Annotated[int, typer.Option(min=0, help="Only entries after this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 200,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check the whole chain instead; exit 1 if it is broken."),
    ] = False,
) -> None:
    """The record of a running service; `igrt audit` reads the file without one."""
    from igrt_hw.commands.quality import as_text

    with signed_in_client(url, ca_file) as client:
        if verify:
            verdict = client.verify_record()
            typer.echo(
                f"the record verifies: {verdict.entries} entries"
                if verdict.ok
                else f"the record does NOT verify: {verdict.problem}"
            )
            if not verdict.ok:
                raise typer.Exit(1)
            return
        entries = client.record(after=after, limit=limit)
    if as_json:
        typer.echo(as_text(entries))
        return
    for entry in entries:
        typer.echo(
            f"{entry.sequence:>6}  {entry.at_utc}  {entry.kind:<20} {entry.actor:<16} {entry.text}"
        )


def health(url: Url = DEFAULT_URL, ca_file: CaFile = None) -> None:
    """What answers at the address; needs nobody signed in."""
    from igrt_hw.client import Client

    with Client(url, ca_file=ca_file) as client:
        found = client.health()
    what = "SIMULATED DEVICES" if found.simulator else "REAL DEVICES"
    typer.echo(f"{found.service} {found.version}: {what}; not a medical device")
