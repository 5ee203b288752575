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
    seconds: Annotated[float, typer.Option(min=0.0, help="How long; 0: until Ctrl-C.")] = 0.0,
) -> None:
    """Decode live traffic: every frame in words; rates, retransmissions, CRC errors, clock offset.

    It never sends a frame of its own. Without --between it shows what the device says by itself.
    """
    from igrt_hw.link import monitor as watching
    from igrt_hw.link.runner import monotonic_us
    from igrt_hw.link.transport import PortSettings

    end = threading.Event()
    if seconds:
        timer = threading.Timer(seconds, end.set)
        timer.daemon = True
        timer.start()
    watch = watching.TrafficWatch(monotonic_us(), every_status=every)
    run = watching.between if between else watching.listen
    try:
        run(PortSettings(port, baud), typer.echo, end, watch=watch, frames=not quiet)
    except KeyboardInterrupt:
        pass
    typer.echo(watch.summary(monotonic_us(), whole=True))
