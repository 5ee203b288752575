"""`igrt serve`: the supervisor's service in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from igrt_hw.commands.places import default_store

DEFAULT_MACHINE = "linac_pedestal"


class ServeError(Exception):
    """The service cannot be started as asked; the sentence says why."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(serve)


def serve(
    endpoints: Annotated[
        Path | None,
        typer.Option(help="endpoints.json of the simulator; instead of the three ports."),
    ] = None,
    couch: Annotated[str | None, typer.Option(help="Serial device of the couch.")] = None,
    imager: Annotated[str | None, typer.Option(help="Serial device of the imager.")] = None,
    pendant: Annotated[str | None, typer.Option(help="Serial device of the pendant.")] = None,
    couch_dialect: Annotated[
        str, typer.Option(help="What the couch's line speaks: clp1, or gcs (reduced assurance).")
    ] = "clp1",
    baud: Annotated[int, typer.Option(help="Line speed of the three ports.")] = 921_600,
    simulator: Annotated[
        bool, typer.Option("--simulator", help="Simulated devices are behind these ports.")
    ] = False,
    plan: Annotated[
        list[Path] | None,
        typer.Option(help="Folder with CT, RT Structure Set and RT Plan; may be repeated."),
    ] = None,
    machine: Annotated[
        str, typer.Option(help="Machine of the package, or path of a machine file.")
    ] = DEFAULT_MACHINE,
    store: Annotated[
        Path | None, typer.Option(envvar="IGRT_STORE", help="Folder of record and users.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")] = 8421,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    demo_users: Annotated[
        bool,
        typer.Option("--demo-users", help="Let the demo users in. Their passwords are public."),
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write the address here when the service listens.")
    ] = None,
    unix_socket: Annotated[
        Path | None,
        typer.Option(
            "--unix-socket", help="Listen at this file, which only you may open, not at an address."
        ),
    ] = None,
    qa_phantom: Annotated[
        list[str] | None,
        typer.Option(
            "--qa-phantom",
            help="Patient ID of a phantom for daily QA, or ID=DESCRIPTION (cube, or a file); may be repeated.",
        ),
    ] = None,
    imager_calibration: Annotated[
        Path | None,
        typer.Option(help="What was measured of the imager: flex map, lag, flickering pixels."),
    ] = None,
) -> None:
    """Run the supervisor's service until interrupted."""
    from pydantic import ValidationError

    from igrt_hw.server.main import run
    from igrt_hw.server.settings import DEMO_PLAN, ServeSettings

    ports = _ports(endpoints, couch, imager, pendant, baud)
    try:
        settings = ServeSettings(
            **ports,
            couch_dialect=couch_dialect,
            simulator=simulator or endpoints is not None,
            plan_folders=tuple(plan) if plan else (DEMO_PLAN,),
            machine=machine,
            store=store or default_store(),
            host=host,
            port=port,
            tls_certificate=tls_certificate,
            tls_key=tls_key,
            demo_users=demo_users,
            ready_file=ready_file,
            unix_socket=unix_socket,
            qa_phantoms=tuple(qa_phantom or ()),
            imager_calibration=imager_calibration,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ServeError(str(first["msg"]).removeprefix("Value error, ")) from error
    run(settings)


def _ports(
    endpoints: Path | None,
    couch: str | None,
    imager: str | None,
    pendant: str | None,
    baud: int,
) -> dict[str, Any]:
    if endpoints is not None:
        if couch or imager or pendant:
            raise ServeError("give either --endpoints or the three ports")
        from igrt_hw.client import Endpoints

        found = Endpoints.read(endpoints)
        return {
            "couch_port": found.couch,
            "imager_port": found.imager,
            "pendant_port": found.pendant,
            "baud": found.baud or baud,
        }
    if not (couch and imager and pendant):
        raise ServeError("give --couch, --imager and --pendant, or --endpoints of a simulator")
    return {"couch_port": couch, "imager_port": imager, "pendant_port": pendant, "baud": baud}
