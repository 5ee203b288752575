"""`igrt tui`: the operator's terminal, from its own distribution."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from igrt_hw.commands.operate import DEFAULT_URL


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("tui", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
        tui
    )


def tui(
    context: typer.Context,
    url: Annotated[str, typer.Option("--url", envvar="IGRT_URL")] = DEFAULT_URL,
) -> None:
    """Open the operator's terminal; further options go to `igrt-tui`."""
    from igrt_hw.demo.processes import command_path

    path = str(command_path("igrt-tui"))
    os.execv(path, [path, "--url", url, *context.args])
