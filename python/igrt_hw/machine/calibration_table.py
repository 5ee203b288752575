"""From a table of measured poses (CSV) to the machine file of the calibrated couch."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import Pose
from igrt_hw.geometry import Frame
from igrt_hw.machine.calibration import (
    CalibrationError,
    CalibrationResult,
    calibrate,
    calibrate_legs,
    leg_parameter_names,
    parameter_names,
)
from igrt_hw.machine.catalogue import Machine
from igrt_hw.machine.machine_toml import chain_of, machine_text

MEASURED = tuple(
    f"measured_{name}" for name in ("x_mm", "y_mm", "z_mm", "rotation_deg", "pitch_deg", "roll_deg")
)
"""The pose fixed <- table_top as T . Rz . Rx . Ry (`Pose.from_parameters`)."""
LEGS = tuple(f"leg_{number}_mm" for number in range(1, 7))


@dataclass(frozen=True, slots=True)
class CalibratedMachine:
    """A calibration and the machine file that holds it.

    Attributes:
        text: the machine file.
        result: values, covariance, residuals.
        left_out: what was found and has no place in a machine file.
    """

    text: str
    result: CalibrationResult
    left_out: tuple[str, ...]

    def meshes(self, machine: Machine) -> tuple[tuple[str, Path], ...]:
        """Mesh files that must lie beside the file, and where they are now."""
        folder = machine.folder
        return (
            () if folder is None else tuple((name, folder / name) for name in machine.mesh_sha256)
        )

    def report(self) -> str:
        """JSON: names, values, standard deviations, covariance, unseen directions, residuals (mm, then degrees)."""
        result = self.result
        return json.dumps(
            {
                "parameters": list(result.names),
                "values": result.values.tolist(),
                "standard_deviations": result.standard_deviations.tolist(),
                "covariance": result.covariance.tolist(),
                "unseen": list(result.unseen),
                "residuals": result.residuals.tolist(),
                "rms_mm": result.rms_mm,
                "rms_deg": result.rms_deg,
                "before_rms_mm": result.before_rms_mm,
                "before_rms_deg": result.before_rms_deg,
            },
            indent=1,
        )


def calibrate_machine(
    machine: Machine, table: Path, name: str, parameters: Sequence[str] | None = None
) -> CalibratedMachine:
    """Calibrate a machine's couch from a CSV table.

    Args:
        machine: the nominal machine; a hexapod's base couch stands at `base_start`.
        table: columns of the axes (or of the legs of a hexapod) and `MEASURED`.
        name: name of the new machine.
        parameters: out of `parameter_names` (`leg_parameter_names`); all without, but for the offsets of leg encoders.
            What the poses cannot tell apart is held at nominal and listed.

    Raises:
        CalibrationError: a table without a column, with a word for a number or too few rows; a hexapod without legs.
    """
    couch = machine.couch()
    if couch.family == "hexapod":
        legs, poses = _columns(table, LEGS)
        # A machine file has no place for what the encoders read wrong: by default the joints alone explain the poses.
        joints = [name for name in leg_parameter_names(couch) if not name.startswith("leg.")]
        result = calibrate_legs(couch, legs, poses, parameters or joints)
    else:
        columns = [f"{axis.name}_{axis.unit}" for axis in machine.description.axis]
        axes, poses = _columns(table, columns)
        result = calibrate(couch, axes, poses, parameters or parameter_names(couch), unseen="hold")
    description = machine.description
    source = (
        f"calibrated from {table.name}: {len(poses)} poses, {result.rms_mm:.4f} mm and {result.rms_deg:.5f} deg left "
        f"(root mean square), {result.before_rms_mm:.4f} mm and {result.before_rms_deg:.5f} deg before; nominal: "
    )
    sources = description.sources | {"chain": source + description.sources["chain"]}
    calibrated = description.model_copy(
        update={
            "name": name,
            "chain": chain_of(result.couch, description.chain),
            "sources": sources,
        }
    )
    heading = [f"Written by igrt machine calibrate from {machine.origin} and {table.name}."]
    heading += [
        f"{parameter} {value:+.6f} +- {deviation:.6f}"
        for parameter, value, deviation in zip(
            result.names, result.values, result.standard_deviations, strict=True
        )
    ]
    offsets = [
        f"{parameter} {value:+.4f}"
        for parameter, value in zip(result.names, result.values, strict=True)
        if parameter.startswith("leg.")
    ]
    left_out = (
        (
            f"offsets of the leg encoders belong into the couch's own controller: {', '.join(offsets)}",
        )
        if offsets
        else ()
    )
    return CalibratedMachine(machine_text(calibrated, heading), result, left_out)


def _columns(table: Path, names: Sequence[str]) -> tuple[NDArray[np.float64], list[Pose]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CalibrationError(f"{table}: cannot be read: {error}") from error
    wanted = (*names, *MEASURED)
    missing = [name for name in wanted if not rows or name not in rows[0]]
    if missing:
        raise CalibrationError(
            f"{table.name}: no column {', '.join(missing)}; a table for this couch has {', '.join(wanted)}"
        )
    numbers = np.array(
        [
            [_number(row[name], table.name, line, name) for name in wanted]
            for line, row in enumerate(rows, start=2)
        ]
    )
    poses = [
        Pose.from_parameters(tuple(row), Frame.FIXED, Frame.TABLE_TOP)
        for row in numbers[:, len(names) :].tolist()
    ]
    return numbers[:, : len(names)], poses


def _number(text: str | None, table: str, line: int, column: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise CalibrationError(
            f"{table}, line {line}, column {column}: {text!r} is no finite number"
        )
    return value
