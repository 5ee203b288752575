"""`igrt`: the command line. Thin: every command lives in `igrt_hw.commands`.

An operator never sees a traceback: one sentence on standard error and an exit code. `--debug` shows the rest.
Exit codes: 0 done, 1 refused or failed with a reason, 2 wrong usage, 70 a defect of this program.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from igrt_hw import __version__
from igrt_hw.commands import (
    account,
    audit,
    bench,
    campaign,
    clearance,
    cone_beam,
    demo,
    doctor,
    imager,
    link,
    machine,
    operate,
    quality,
    register,
    safety,
    serve,
    sights,
    terminal,
)

DEBUG_VARIABLE = "IGRT_DEBUG"
EXIT_FAILED = 1
EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="igrt",
    help="Image-guided patient positioning with real hardware in the loop. Not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"igrt {__version__} (not a medical device)")
        raise typer.Exit


@app.callback()
def _everywhere(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


ROOMS = (
    demo, serve, terminal, operate, quality, sights, audit, account, clearance, register, cone_beam, imager, link,
    machine, safety, doctor, bench, campaign,
)  # fmt: skip
for room in ROOMS:
    room.add_to(app)


def sentence_of(error: BaseException) -> tuple[str, int]:
    """What an operator is told, and the exit code. Errors of this package carry their own sentence."""
    if type(error).__module__.split(".")[0] == "igrt_hw":
        return str(error), EXIT_FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", EXIT_FAILED
    return (
        f"igrt has a defect: {type(error).__name__}: {error}; run it again with --debug and report it",
        EXIT_DEFECT,
    )


def main() -> None:
    """Entry point of `igrt`."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            traceback.print_exc()
        sentence, code = sentence_of(error)
        typer.echo(f"igrt: {sentence}", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
