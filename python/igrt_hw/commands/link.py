"""`igrt link`: look at a serial line."""

from __future__ import annotations

import threading
from typing import Annotated

import typer


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    link = typer.Typer(help="Look at a serial line.", no_args_is_help=True)
    link.callback()(_group)
    link.command()(monitor)
    app.add_typer(link, name="link")


def _group() -> None:
    """Look at a serial line."""


def monitor(
    port: Annotated[str, typer.Argument(help="A device, a pty, socket:// or rfc2217://.")],
    baud: Annotated[int, typer.Option(help="Where the port has one.")] = 921_600,
    between: Annotated[
        bool,
        typer.Option("--between", help="Make a pty for the controller and show both directions."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only figures, once a second.")] = False,
    every: Annotated[
        bool,
        typer.Option(
            "--every",
            help="Every status; otherwise where it says something new, and one a second.",
        ),
    ] = False,
    dialect: Annotated[
        str, typer.Option(help="clp1, or gcs (which needs --between: it says nothing unasked).")
    ] = "clp1",
    seconds: Annotated[float, typer.Option(min=0.0, help="How long; 0: until Ctrl-C.")] = 0.0,
) -> None:
    """Decode live traffic: every frame in words; rates, retransmissions, CRC errors, clock offset.

    It never sends a frame of its own. Without --between it shows what the device says by itself.
    """
    from igrt_hw.link import monitor as watching
    from igrt_hw.link.gcs_monitor import GcsWatch
    from igrt_hw.link.runner import monotonic_us
    from igrt_hw.link.transport import PortSettings

    if dialect not in ("clp1", "gcs"):
        raise typer.BadParameter(f"{dialect!r} is neither clp1 nor gcs", param_hint="--dialect")
    if dialect == "gcs" and not between:
        raise typer.BadParameter(
            "a GCS controller says nothing unasked: add --between and let the driver open that pty",
            param_hint="--dialect",
        )
    end = threading.Event()
    if seconds:
        timer = threading.Timer(seconds, end.set)
        timer.daemon = True
        timer.start()
    now_us = monotonic_us()
    clp1 = watching.TrafficWatch(now_us, every_status=every)
    watch: watching.Watch = GcsWatch(now_us) if dialect == "gcs" else clp1
    run = watching.between if between else watching.listen
    try:
        run(PortSettings(port, baud), typer.echo, end, watch=watch, frames=not quiet)
    except KeyboardInterrupt:
        pass
    typer.echo(watch.summary(monotonic_us(), whole=True))
