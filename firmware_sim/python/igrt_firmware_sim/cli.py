"""`igrt-sim`: the simulated room from the command line."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from igrt_firmware_sim import world
from igrt_firmware_sim._firmware import SimulatorError, fault_table
from igrt_firmware_sim.patient import load
from igrt_firmware_sim.serving import Service

BANNER = """\
+------------------------------------------------------------+
|  SIMULATOR: no couch moves, no X-rays, no patient is here  |
|  igrt-sim is not a medical device                          |
+------------------------------------------------------------+"""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="A simulated treatment couch, X-ray imager and hand pendant. Not a medical device.",
)


@app.callback()
def _banner() -> None:
    typer.echo(BANNER, err=True)


@app.command()
def serve(
    run_dir: Annotated[
        Path, typer.Option(help="Folder for endpoints.json and the control socket.")
    ],
    patient: Annotated[
        Path | None,
        typer.Option(help="Folder with CT, RTSTRUCT and RTPLAN; an empty couch without."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="One seed for everything.")] = 1,
    family: Annotated[str, typer.Option(help="pedestal, hexapod or arm.")] = "pedestal",
    setup_error_mm: Annotated[
        float, typer.Option(help="Longest shift of the setup error.")
    ] = world.SETUP_ERROR_MM,
    setup_error_deg: Annotated[
        float, typer.Option(help="Largest turn of the setup error.")
    ] = world.SETUP_ERROR_DEG,
    load_kg: Annotated[float, typer.Option(help="Load on the table top.")] = 75.0,
    unreferenced: Annotated[
        bool, typer.Option(help="Start without a reference; HOME is needed.")
    ] = False,
) -> None:
    """Serves couch, imager and pendant on ptys in real time until SIGTERM, Ctrl-C or `quit`."""
    room = world.make_room(
        seed=seed,
        patient=load(patient) if patient else None,
        family=family,
        setup_error_mm=setup_error_mm,
        setup_error_deg=setup_error_deg,
        referenced=not unreferenced,
        load_kg=load_kg,
        renders=False,
    )
    with Service(room, run_dir, seed=seed) as service:

        def stop(_signal: int, _frame: FrameType | None) -> None:
            service.stopped.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        for name, value in service.endpoints.items():
            typer.echo(f"{name:10} {value}", err=True)
        # A wait without a limit would keep Python from running the handler on some platforms.
        while not service.stopped.wait(0.5):
            pass
    typer.echo("simulator ended", err=True)


@app.command()
def faults() -> None:
    """Lists every fault of the model: target, kind, and what its value means."""
    for target, kind, meaning in fault_table():
        typer.echo(f"{target:18} {kind:14} {meaning}")


def main() -> None:
    """Runs the command line; a refusal is one line on stderr and exit code 2."""
    try:
        app()
    except SimulatorError as error:
        typer.echo(f"igrt-sim: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
