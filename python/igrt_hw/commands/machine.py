"""`igrt machine`: bring a couch as URDF, export one, check a machine file, calibrate a couch from a table of poses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from igrt_hw.machine.calibration_table import CalibratedMachine

MachineName = Annotated[
    str, typer.Argument(help="Machine of the package, or path of a machine file.")
]
ROOM_OF_FAMILY = {
    "pedestal": "linac_pedestal",
    "hexapod": "linac_hexapod",
    "arm": "robot_arm",
    "scara": "robot_scara",
}

machine = typer.Typer(help="Machine files: import, export, check, calibrate.", no_args_is_help=True)


class FileExistsAlreadyError(ValueError):
    """A file that would be overwritten; the message names it."""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(machine, name="machine")


@machine.command("import")
def import_command(
    urdf: Annotated[Path, typer.Argument(help="URDF file of a couch; its meshes beside it.")],
    output: Annotated[Path, typer.Argument(help="Machine file to write, NAME.toml.")],
    room: Annotated[
        str | None,
        typer.Option(
            help="Machine whose gantry, imaging, caps and accelerations it gets; one of the package without."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Overwrite.")] = False,
) -> None:
    """Write the machine file of a couch in URDF, for --machine NAME.toml of igrt demo, serve and map."""
    from igrt_hw.machine import load_machine
    from igrt_hw.machine.urdf import import_urdf
    from igrt_hw.machine.urdf_machine import import_machine

    _refuse_existing(output, force)
    if room is None:
        family = import_urdf(urdf.read_text(encoding="utf-8"), origin=urdf.name).family
        room = ROOM_OF_FAMILY[family]
    made = import_machine(urdf, output.stem, load_machine(room))
    _write(output, made.text, made.meshes)
    for remark in made.remarks:
        typer.echo(f"note: {remark}")
    _tell(output)


@machine.command("export")
def export_command(
    name: MachineName,
    output: Annotated[
        Path | None, typer.Argument(help="URDF file; standard output without.")
    ] = None,
) -> None:
    """Write the chain of a machine's couch as URDF, metres and radians."""
    from igrt_hw.machine import load_machine
    from igrt_hw.machine.urdf import export_urdf

    text = export_urdf(load_machine(name))
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    typer.echo(f"{output}: written")


@machine.command("check")
def check_command(name: MachineName) -> None:
    """Load a machine as the service does, try its kinematics over the whole range, and build its room."""
    from igrt_hw.machine import machine_file

    _tell(machine_file(name))


@machine.command("calibrate")
def calibrate_command(
    name: MachineName,
    measured: Annotated[
        Path,
        typer.Argument(
            help="CSV: the axes by name and unit (lateral_mm, ...), or leg_1_mm to leg_6_mm, then measured_x_mm, "
            "measured_y_mm, measured_z_mm, measured_rotation_deg, measured_pitch_deg, measured_roll_deg "
            "(fixed <- table top)."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Machine file to write, NAME.toml.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            help="A parameter to estimate; all of the family without. Any number of times."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON: values, covariance, residuals of every pose.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Overwrite.")] = False,
) -> None:
    """Estimate a couch from measured poses and write the machine file with what was found."""
    from igrt_hw.machine import load_machine
    from igrt_hw.machine.calibration_table import calibrate_machine

    _refuse_existing(output, force)
    model = load_machine(name)
    found = calibrate_machine(model, measured, output.stem, parameter)
    _write(output, found.text, found.meshes(model))
    if report is not None:
        report.write_text(found.report(), encoding="utf-8")
    _tell_calibration(found)
    _tell(output)


def _refuse_existing(output: Path, force: bool) -> None:
    if output.suffix != ".toml":
        raise FileExistsAlreadyError(f"{output}: a machine file ends in .toml")
    if output.exists() and not force:
        raise FileExistsAlreadyError(f"{output} is there already; --force overwrites it")


def _write(output: Path, text: str, meshes: tuple[tuple[str, Path], ...]) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    for name, source in meshes:
        target = output.parent / name
        if target.resolve() != source.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    output.write_text(text, encoding="utf-8")


def _tell_calibration(found: CalibratedMachine) -> None:
    result = found.result
    deviations = result.standard_deviations
    typer.echo(
        f"{len(result.residuals)} poses: {result.before_rms_mm:.4f} mm, {result.before_rms_deg:.5f} deg before; "
        f"{result.rms_mm:.4f} mm, {result.rms_deg:.5f} deg after (root mean squares)"
    )
    for name, value, deviation in zip(result.names, result.values, deviations, strict=True):
        typer.echo(f"  {name:24} {value:+.6f} +- {deviation:.6f}")
    for direction in result.unseen:
        mixed = ", ".join(f"{weight:+.2f} {name}" for name, weight in direction.items())
        typer.echo(f"  not seen by these poses, held: {mixed}")
    for line in found.left_out:
        typer.echo(f"note: {line}")


def _tell(file: Path) -> None:
    """Load what is there as the service does and say what it is; refuses what does not hold."""
    from igrt_hw.machine import load_machine
    from igrt_hw.machine.machine_check import check_machine

    for line in check_machine(load_machine(file)):
        typer.echo(line)
