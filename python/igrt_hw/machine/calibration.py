"""From measured poses to corrected kinematic parameters, and from measured droop to a model of sag; least squares.

A table of axis positions with the table-top poses that a tracker measured there gives small corrections of the couch's
mounts and axes, their covariance, and the residuals. Parameters that the table cannot tell apart are refused by name:
for a pedestal the zero of the lateral axis and the place of the table top along it are one and the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import Couch, Pose
from igrt_hw.geometry import Frame

_SIX = ("x_mm", "y_mm", "z_mm", "rotation_deg", "pitch_deg", "roll_deg")
_STEPS_MAX = 30
_RANK_TOLERANCE = 1e-9
"""Smallest over largest singular value (of the scaled problem) below which parameters count as inseparable."""


class CalibrationError(ValueError):
    """A calibration that the measurements do not support; the message says which parameters and what to measure."""


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """Corrected parameters and how well they are known.

    Attributes:
        names: the parameters that were estimated.
        values: corrections to them, mm or degrees by their names, shape (p,).
        covariance: of the values, shape (p, p), scaled by the residual variance.
        residuals: measured minus modelled poses, shape (n, 6): mm, then degrees, in the measured table-top frame.
        rms_mm, rms_deg: root mean squares of the residuals per point (3-vector length).
        before_rms_mm, before_rms_deg: the same before calibration.
        couch: the couch with the corrections applied.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    residuals: NDArray[np.float64]
    rms_mm: float
    rms_deg: float
    before_rms_mm: float
    before_rms_deg: float
    couch: Couch

    @property
    def standard_deviations(self) -> NDArray[np.float64]:
        """One standard deviation of each value."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


def parameter_names(couch: Couch) -> tuple[str, ...]:
    """Every parameter that can be estimated: base and tool mounts, zeros of the axes, gains of the linear axes."""
    mounts = [f"{mount}.{name}" for mount in ("base", "tool") for name in _SIX]
    pairs = list(zip(couch.axis_names, couch.axis_kinds, strict=True))
    zeros = [f"zero.{name}_{'mm' if kind == 'linear' else 'deg'}" for name, kind in pairs]
    gains = [f"gain.{name}" for name, kind in pairs if kind == "linear"]
    return (*mounts, *zeros, *gains)


def calibrate(
    couch: Couch,
    axes: ArrayLike,
    measured: Sequence[Pose],
    parameters: Sequence[str],
    *,
    length_mm: float = 500.0,
) -> CalibrationResult:
    """Least-squares corrections of `parameters` that bring the model onto the measured poses (Gauss-Newton).

    Args:
        couch: the nominal couch.
        axes: axis positions (n, 6), mm and degrees.
        measured: n poses fixed <- table_top.
        parameters: names out of `parameter_names(couch)`.
        length_mm: what a radian of misfit counts for, so that lengths and angles share one sum of squares.

    Raises:
        CalibrationError: too few poses, unknown or inseparable parameters, or no convergence.
    """
    table = np.asarray(axes, dtype=np.float64)
    _check_table(couch, table, measured, parameters)
    want = np.array([pose.matrix() for pose in measured])
    scale = np.array([1.0, 1.0, 1.0] + [math.radians(1.0) * length_mm] * 3)
    names = tuple(parameters)
    values = np.zeros(len(names))
    before = _residuals(couch, table, want)
    residuals = before
    for _ in range(_STEPS_MAX):
        jacobian = _jacobian(couch, names, values, table, want, scale)
        step = _solve(names, jacobian, -(residuals * scale).ravel())
        values = values + step
        residuals = _residuals(_corrected(couch, names, values), table, want)
        if np.abs(step).max() < 1e-9:
            break
    else:
        raise CalibrationError(
            f"no convergence in {_STEPS_MAX} steps; the measurements do not fit this couch"
        )
    freedom = residuals.size - len(names)
    variance = float(((residuals * scale) ** 2).sum()) / max(freedom, 1)
    jacobian = _jacobian(couch, names, values, table, want, scale)
    covariance = np.asarray(variance * np.linalg.inv(jacobian.T @ jacobian), dtype=np.float64)
    rms, before_rms = _rms(residuals), _rms(before)
    return CalibrationResult(
        names, values, covariance, residuals, *rms, *before_rms, _corrected(couch, names, values)
    )


def _check_table(
    couch: Couch, table: NDArray[np.float64], measured: Sequence[Pose], parameters: Sequence[str]
) -> None:
    if table.ndim != 2 or table.shape[1] != 6 or len(table) != len(measured):
        raise CalibrationError(
            f"axes have shape {table.shape} for {len(measured)} poses; they need (n, 6) and n poses"
        )
    for pose in measured:
        pose.expect_frames(Frame.FIXED, Frame.TABLE_TOP)
    known = parameter_names(couch)
    unknown = [name for name in parameters if name not in known]
    if unknown or len(set(parameters)) != len(parameters) or not parameters:
        raise CalibrationError(
            f"parameters {unknown or list(parameters)}: each once, out of {', '.join(known)}"
        )
    if 6 * len(measured) <= len(parameters):
        raise CalibrationError(
            f"{len(measured)} poses are too few for {len(parameters)} parameters"
        )


def _corrected(couch: Couch, names: Sequence[str], values: NDArray[np.float64]) -> Couch:
    given = dict(zip(names, (float(value) for value in values), strict=True))
    base = couch.base @ _small(given, "base", Frame.BASE)
    tool = couch.tool @ _small(given, "tool", Frame.TABLE_TOP)
    gains, zeros = (list(part) for part in couch.axis_map)
    for index, (name, kind) in enumerate(zip(couch.axis_names, couch.axis_kinds, strict=True)):
        unit = "mm" if kind == "linear" else "deg"
        zeros[index] += given.get(f"zero.{name}_{unit}", 0.0)
        gains[index] += given.get(f"gain.{name}", 0.0)
    return couch.with_mounts(base, tool).with_axis_map(gains, zeros)


def _small(given: dict[str, float], mount: str, frame: Frame) -> Pose:
    return Pose.from_parameters([given.get(f"{mount}.{name}", 0.0) for name in _SIX], frame, frame)


def _residuals(
    couch: Couch, table: NDArray[np.float64], want: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Measured against modelled in the measured table-top frame: (n, 6), mm and degrees (rotation vector)."""
    have = couch.forward_many(table)
    turned = np.swapaxes(want[:, :3, :3], 1, 2)
    moved = np.einsum("nij,nj->ni", turned, have[:, :3, 3] - want[:, :3, 3])
    off = turned @ have[:, :3, :3]
    skew = 0.5 * np.stack(
        [off[:, 2, 1] - off[:, 1, 2], off[:, 0, 2] - off[:, 2, 0], off[:, 1, 0] - off[:, 0, 1]], 1
    )
    sine = np.linalg.norm(skew, axis=1, keepdims=True)
    cosine = 0.5 * (np.trace(off, axis1=1, axis2=2)[:, None] - 1.0)
    angle = np.arctan2(sine, cosine)
    factor = np.where(sine > 1e-9, angle / np.maximum(sine, 1e-300), 1.0)
    return np.hstack([moved, np.degrees(skew * factor)])


def _jacobian(
    couch: Couch,
    names: Sequence[str],
    values: NDArray[np.float64],
    table: NDArray[np.float64],
    want: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    columns = []
    for index, name in enumerate(names):
        # Central differences; the model is smooth and the steps are far above round-off and far below curvature.
        step = 1e-6 if name.startswith("gain.") else 1e-3
        ahead, behind = values.copy(), values.copy()
        ahead[index] += step
        behind[index] -= step
        change = _residuals(_corrected(couch, names, ahead), table, want)
        change = change - _residuals(_corrected(couch, names, behind), table, want)
        columns.append((change * scale).ravel() / (2.0 * step))
    return np.array(columns).T


def _solve(
    names: Sequence[str], jacobian: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    lengths = np.linalg.norm(jacobian, axis=0)
    if not (lengths > 0.0).all():
        idle = [name for name, length in zip(names, lengths, strict=True) if not length > 0.0]
        raise CalibrationError(f"no measured pose depends on {', '.join(idle)}")
    left, sizes, directions = np.linalg.svd(jacobian / lengths, full_matrices=False)
    if sizes[-1] < _RANK_TOLERANCE * sizes[0]:
        mixed = [name for name, part in zip(names, directions[-1], strict=True) if abs(part) > 0.1]
        raise CalibrationError(
            f"the measurements cannot tell apart {', '.join(mixed)}: leave one out, or measure at other positions"
        )
    return np.asarray(directions.T @ ((left.T @ right) / sizes) / lengths)


def _rms(residuals: NDArray[np.float64]) -> tuple[float, float]:
    return tuple(
        float(np.sqrt((part**2).sum(axis=1).mean()))
        for part in (residuals[:, :3], residuals[:, 3:])
    )  # type: ignore[return-value]


# --- sag -------------------------------------------------------------------------------------------------------------

_G = 9.80665
"""Standard gravity, m/s^2 = N/kg (ISO 80000-3)."""


@dataclass(frozen=True, slots=True)
class SagModel:
    """A cantilevered table top under a load: Euler-Bernoulli beam on a root that gives.

    With F the weight and e the distance from the support to the load, the load sinks by F (r e^2 + b e^3 / 3) and tilts
    by F (r e + b e^2 / 2).

    Attributes:
        root_per_n_mm: r, rotation of the root per moment, rad/(N mm).
        bending_per_n_mm2: b = 1 / (E I), 1/(N mm^2).
        covariance: of (r, b), shape (2, 2); zeros for a model that was not fitted.
        rms_mm: root mean square of the fit.
    """

    root_per_n_mm: float
    bending_per_n_mm2: float
    covariance: NDArray[np.float64]
    rms_mm: float = 0.0

    def droop_mm(self, load_kg: float, extension_mm: float) -> float:
        """How far the load sinks, mm, positive down."""
        weight, e = _checked_load(load_kg, extension_mm)
        return weight * (self.root_per_n_mm * e**2 + self.bending_per_n_mm2 * e**3 / 3.0)

    def tilt_deg(self, load_kg: float, extension_mm: float) -> float:
        """How far the top tilts at the load, degrees, the gantry end down."""
        weight, e = _checked_load(load_kg, extension_mm)
        return math.degrees(weight * (self.root_per_n_mm * e + self.bending_per_n_mm2 * e**2 / 2.0))

    def sagged(self, load_kg: float, extension_mm: float, load_y_mm: float) -> Pose:
        """table_top <- table_top of the unloaded top: where the loaded top is near the load.

        Args:
            load_kg: patient and accessories.
            extension_mm: from the support to the load.
            load_y_mm: the load's place along the table top, about which the top tilts.
        """
        tilt = Pose.from_parameters(
            (0, 0, 0, 0, -self.tilt_deg(load_kg, extension_mm), 0), _TOP, _TOP
        )
        there = Pose.from_parameters((0, load_y_mm, 0, 0, 0, 0), _TOP, _TOP)
        down = Pose.from_parameters(
            (0, 0, -self.droop_mm(load_kg, extension_mm), 0, 0, 0), _TOP, _TOP
        )
        return down @ there @ tilt @ there.inverse()


_TOP = Frame.TABLE_TOP


def fit_sag(load_kg: ArrayLike, extension_mm: ArrayLike, droop_mm: ArrayLike) -> SagModel:
    """A sag model from measured droop: n loads, extensions and droops (positive down).

    Raises:
        CalibrationError: fewer than three measurements, nothing to tell root and bending apart, or a fit that rises
            under load.
    """
    loads, extensions, droops = (
        np.asarray(x, dtype=np.float64) for x in (load_kg, extension_mm, droop_mm)
    )
    if not (
        loads.shape == extensions.shape == droops.shape and loads.ndim == 1 and len(loads) >= 3
    ):
        raise CalibrationError("sag needs three lists of one length, at least three measurements")
    pairs = [_checked_load(float(a), float(b)) for a, b in zip(loads, extensions, strict=True)]
    weight, e = np.array(pairs).T
    design = np.column_stack((weight * e**2, weight * e**3 / 3.0))
    lengths = np.linalg.norm(design, axis=0)
    left, sizes, right = np.linalg.svd(design / np.maximum(lengths, 1e-300), full_matrices=False)
    if sizes[-1] < 1e-6 * sizes[0]:
        raise CalibrationError(
            "one extension cannot tell the root from the bending; measure at two or more"
        )
    values = (right.T @ ((left.T @ droops) / sizes)) / lengths
    misfit = droops - design @ values
    variance = float(misfit @ misfit) / max(len(loads) - 2, 1)
    scaled = (right.T / sizes**2) @ right
    covariance = variance * scaled / np.outer(lengths, lengths)
    model = SagModel(
        float(values[0]), float(values[1]), covariance, float(np.sqrt((misfit**2).mean()))
    )
    if model.droop_mm(float(loads.max()), float(extensions.max())) < 0.0:
        raise CalibrationError("the fitted top rises under load; droop is positive downwards")
    return model


def _checked_load(load_kg: float, extension_mm: float) -> tuple[float, float]:
    if not (0.0 <= load_kg <= 1000.0 and 0.0 <= extension_mm <= 5000.0):
        raise CalibrationError(
            f"load {load_kg} kg at {extension_mm} mm; 0 to 1000 kg and 0 to 5000 mm make sense"
        )
    return load_kg * _G, extension_mm
