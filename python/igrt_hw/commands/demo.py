"""`igrt demo`: simulator, supervisor and terminal together; `--script` runs the loop unattended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MACHINE = "linac_pedestal"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(demo)


def demo(
    script: Annotated[
        bool, typer.Option("--script", help="Unattended: scripted approver, scripted hand.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the setup error and of all noise.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="With --script: write the report here.")
    ] = None,
    machine: Annotated[
        str,
        typer.Option(
            help="Machine of the package. The simulated couch has the limits of linac_pedestal; "
            "others are refused when the axis tables are compared."
        ),
    ] = DEFAULT_MACHINE,
    keep: Annotated[Path | None, typer.Option(help="Keep record and logs in this folder.")] = None,
) -> None:
    """Run the demonstration. SIMULATOR; not a medical device."""
    from igrt_hw.demo.run import DemoSettings, run_interactive, run_scripted

    settings = DemoSettings(seed=seed, machine=machine, keep=keep)
    if script:
        raise typer.Exit(run_scripted(settings, json_file))
    if json_file is not None:
        raise typer.BadParameter("--json goes with --script")
    raise typer.Exit(run_interactive(settings))
