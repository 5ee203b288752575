"""`igrt serve`: the supervisor's service in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from igrt_hw.commands.places import default_store

DEFAULT_MACHINE = "linac_pedestal"


class ServeError(Exception):
    """The service cannot be started as asked; the sentence says why."""


Endpoints = Annotated[
    Path | None, typer.Option(help="endpoints.json of the simulator; instead of the three ports.")
]
CouchPort = Annotated[str | None, typer.Option(help="Serial device of the couch.")]
ImagerPort = Annotated[str | None, typer.Option(help="Serial device of the imager.")]
PendantPort = Annotated[str | None, typer.Option(help="Serial device of the pendant.")]
Dialect = Annotated[
    str, typer.Option(help="What the couch's line speaks: clp1, or gcs (reduced assurance).")
]
Baud = Annotated[int, typer.Option(help="Line speed of the three ports.")]
IsSimulator = Annotated[
    bool, typer.Option("--simulator", help="Simulated devices are behind these ports.")
]
Plans = Annotated[
    list[Path] | None,
    typer.Option(help="Folder with CT, RT Structure Set and RT Plan; may be repeated."),
]
MachineName = Annotated[
    str, typer.Option(help="Machine of the package, or path of a machine file.")
]
Store = Annotated[
    Path | None, typer.Option(envvar="IGRT_STORE", help="Folder of record and users.")
]
Host = Annotated[str, typer.Option(help="Address to listen at.")]
Port = Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")]
PemFile = Annotated[Path | None, typer.Option(help="PEM file.")]
DemoUsers = Annotated[
    bool, typer.Option("--demo-users", help="Let the demo users in. Their passwords are public.")
]
ReadyFile = Annotated[
    Path | None, typer.Option(help="Write the address here when the service listens.")
]
UnixSocket = Annotated[
    Path | None,
    typer.Option(
        "--unix-socket", help="Listen at this file, which only you may open, not at an address."
    ),
]
QaPhantoms = Annotated[
    list[str] | None,
    typer.Option(
        "--qa-phantom",
        help="Patient ID of a phantom for daily QA, or ID=DESCRIPTION (cube, or a file); may be repeated.",
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(help="What was measured of the imager: flex map, lag, flickering pixels."),
]


def serve(
    endpoints: Endpoints = None,
    couch: CouchPort = None,
    imager: ImagerPort = None,
    pendant: PendantPort = None,
    couch_dialect: Dialect = "clp1",
    baud: Baud = 921_600,
    simulator: IsSimulator = False,
    plan: Plans = None,
    machine: MachineName = DEFAULT_MACHINE,
    store: Store = None,
    host: Host = "127.0.0.1",
    port: Port = 8421,
    tls_certificate: PemFile = None,
    tls_key: PemFile = None,
    demo_users: DemoUsers = False,
    ready_file: ReadyFile = None,
    unix_socket: UnixSocket = None,
    qa_phantom: QaPhantoms = None,
    imager_calibration: Calibration = None,
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


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(serve)


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
        from igrt_hw.client import Endpoints as SimulatorEndpoints

        found = SimulatorEndpoints.read(endpoints)
        return {
            "couch_port": found.couch,
            "imager_port": found.imager,
            "pendant_port": found.pendant,
            "baud": found.baud or baud,
        }
    if not (couch and imager and pendant):
        raise ServeError("give --couch, --imager and --pendant, or --endpoints of a simulator")
    return {"couch_port": couch, "imager_port": imager, "pendant_port": pendant, "baud": baud}
