"""`igrt-sim`: the simulated room from the command line."""

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from igrt_firmware_sim import lockstep, phantom, scenario, world
from igrt_firmware_sim import recording as recording_module
from igrt_firmware_sim import speed as speed_module
from igrt_firmware_sim._firmware import (
    SimulatorError,
    fault_table,
    faults_refused,
    physics_table,
    touch_guards,
)
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.serving import BAUD, Service

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


def _strengths(assignments: list[str]) -> dict[str, float]:
    strengths = {}
    for text in assignments:
        name, _, number = text.partition("=")
        try:
            strengths[name] = float(number)
        except ValueError as error:
            raise SimulatorError(f"--physics {text!r} is not NAME=STRENGTH") from error
    return strengths


@app.command()
def serve(
    run_dir: Annotated[
        Path, typer.Option(help="Folder for endpoints.json and the control socket.")
    ],
    patient: Annotated[
        str | None,
        typer.Option(
            help="Folder with CT, RTSTRUCT and RTPLAN, phantom:cube or phantom:balls; an empty couch without."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="One seed for everything.")] = 1,
    family: Annotated[
        str, typer.Option(help="pedestal, hexapod, arm or scara, as built in.")
    ] = "pedestal",
    machine: Annotated[
        Path | None, typer.Option(help="Machine file (TOML) whose couch is simulated instead.")
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="What the couch's line speaks: clp1, or gcs for a hexapod.")
    ] = "clp1",
    baud: Annotated[
        int,
        typer.Option(
            min=0,
            help="Baud rate of the devices: a pty set to another gives garbage; 0: any will do.",
        ),
    ] = BAUD,
    record: Annotated[
        Path | None, typer.Option(help="File for every octet and operation, for igrt-sim replay.")
    ] = None,
    markers: Annotated[int, typer.Option(min=0, help="Gold seeds in the patient.")] = 0,
    physics: Annotated[
        list[str] | None, typer.Option(help="Strength of an effect of the X-rays, NAME=STRENGTH.")
    ] = None,
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
    tcp: Annotated[
        str | None, typer.Option(help="Serve on TCP ports of this address instead of ptys.")
    ] = None,
    tcp_couch_port: Annotated[
        int, typer.Option(min=0, max=65535, help="TCP port of the couch; 0 takes a free one.")
    ] = 0,
) -> None:
    """Serves couch, imager and pendant in real time until SIGTERM, Ctrl-C or `quit`."""
    options: dict[str, Any] = {
        "family": family,
        "machine": str(machine) if machine else None,
        "markers": markers,
        "physics": _strengths(physics or []),
        "setup_error_mm": setup_error_mm,
        "setup_error_deg": setup_error_deg,
        "referenced": not unreferenced,
        "load_kg": load_kg,
        "dialect": dialect,
    }
    room = world.make_room(seed=seed, patient=world.resolve(patient), renders=False, **options)
    with Service(
        room,
        run_dir,
        seed=seed,
        tcp_host=tcp,
        tcp_couch_port=tcp_couch_port,
        baud=baud or None,
        record=record,
        made={"patient": patient, "options": options},
    ) as service:

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


@app.command("list")
def list_scenarios() -> None:
    """Lists the scenarios that come with the simulator: name and title."""
    for path in sorted(scenario.library().glob("*.toml")):
        typer.echo(f"{path.stem:36} {scenario.read(path).title}")


def _found(name: str) -> Path:
    path = Path(name)
    if path.suffix == ".toml":
        return path
    found = scenario.library() / f"{name}.toml"
    if not found.exists():
        raise SimulatorError(
            f"no scenario {name!r}; igrt-sim list shows them, or give a .toml file"
        )
    return found


@app.command()
def run(
    names: Annotated[
        list[str], typer.Argument(help="Names from the library, .toml files, or all.")
    ],
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed than the file's.")] = None,
    record: Annotated[Path | None, typer.Option(help="Folder for recordings.")] = None,
    failures: Annotated[
        Path | None, typer.Option(help="Folder for a scenario that reproduces each failure.")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="Verdicts only.")] = False,
) -> None:
    """Runs scenarios in virtual time and prints a verdict with evidence; exit code 1 if one fails."""
    library = sorted(scenario.library().glob("*.toml"))
    paths = library if names == ["all"] else [_found(name) for name in names]
    failed = 0
    for path in paths:
        if record is not None:
            record.mkdir(parents=True, exist_ok=True)
        target = record / f"{path.stem}.jsonl" if record is not None else None
        verdict = scenario.run(scenario.read(path), seed=seed, record=target)
        failed += not verdict.passed
        if not verdict.passed and failures is not None:
            written = scenario.write_failure(scenario.read(path), failures, seed=seed)
            typer.echo(f"reproduced by {written}")
        word = "PASS" if verdict.passed else "FAIL"
        typer.echo(
            f"{word}  {path.stem}: {verdict.title}  (seed {verdict.seed}, trace {verdict.trace_hash})"
        )
        if not quiet or not verdict.passed:
            for line in verdict.evidence:
                typer.echo(f"      {line}")
    typer.echo(f"{len(paths) - failed} of {len(paths)} passed")
    if failed:
        raise typer.Exit(1)


@app.command()
def replay(
    recording: Annotated[
        Path, typer.Argument(help="A recording of igrt-sim run --record or serve --record.")
    ],
) -> None:
    """Replays a recording; exit code 1 if the trace hash differs."""
    recorded, replayed = recording_module.replay(recording)
    typer.echo(f"recorded {recorded}  replayed {replayed}")
    if recorded != replayed:
        raise typer.Exit(1)


@app.command("export-mcap")
def export_mcap(recording: Path, target: Path) -> None:
    """Exports a recording as MCAP (needs the package mcap)."""
    typer.echo(f"{recording_module.export_mcap(recording, target)} messages in {target}")


@app.command("lockstep")
def lockstep_command(
    socket: Annotated[Path, typer.Option(help="Unix socket for the one client.")],
    patient: Annotated[
        str | None, typer.Option(help="Folder with CT, RTSTRUCT and RTPLAN, or phantom:NAME.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="One seed for everything.")] = 1,
    family: Annotated[
        str, typer.Option(help="pedestal, hexapod, arm or scara, as built in.")
    ] = "pedestal",
    machine: Annotated[
        Path | None, typer.Option(help="Machine file (TOML) whose couch is simulated instead.")
    ] = None,
    dialect: Annotated[
        str, typer.Option(help="What the couch's line speaks: clp1, or gcs for a hexapod.")
    ] = "clp1",
) -> None:
    """Serves one client that asks for time: the clock stands still in between (see the README)."""
    room = VirtualRoom(seed=seed, patient=patient, family=family, machine=machine, dialect=dialect)
    lockstep.serve(room, socket)


@app.command()
def faults() -> None:
    """Lists every fault of the model: target, kind, and what its value means; then the words that a target refuses."""
    for target, kind, meaning in fault_table():
        typer.echo(f"{target:18} {kind:14} {meaning}")
    typer.echo(
        f"\ntouch_guard is all of them; one is touch_guard.NAME: {', '.join(touch_guards())}\n"
    )
    for target, word, why in faults_refused():
        typer.echo(f"{target:18} {word:14} refused: {why}")


@app.command("physics")
def physics_command() -> None:
    """Lists the effects of the X-rays: name, strength as built, largest strength, meaning."""
    for name, built, most, meaning in physics_table():
        typer.echo(f"{name:16} {built:4g}  0 to {most:g}  {meaning}")


@app.command("phantom")
def phantom_command(
    name: Annotated[str, typer.Argument(help="cube or balls.")],
    folder: Annotated[Path, typer.Argument(help="Folder to be made; it must not hold files.")],
    spacing_mm: Annotated[float, typer.Option(help="Edge of a voxel.")] = 1.0,
) -> None:
    """Writes the planning CT, structure set and plan of a phantom as DICOM."""
    count = phantom.write_dicom(phantom.named(name), folder, spacing_mm=spacing_mm)
    typer.echo(f"{count} objects in {folder}")


@app.command("bench")
def bench_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measures how much faster than real time the room runs, with the couch moving and at rest."""
    speed = speed_module.measure()
    if as_json:
        figures = {
            "sim_realtime_factor": speed.moving,
            "sim_realtime_factor_python_host": speed.hosted,
            "sim_realtime_factor_rest": speed.resting,
        }
        typer.echo(json.dumps(figures))
        return
    typer.echo(f"moving: {speed.moving:.0f} times real time, the room alone")
    typer.echo(f"moving: {speed.hosted:.0f} times real time, a host in Python included")
    typer.echo(f"resting: {speed.resting:.0f} times real time")


def main() -> None:
    """Runs the command line; a refusal is one line on stderr and exit code 2."""
    try:
        app()
    except SimulatorError as error:
        typer.echo(f"igrt-sim: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
