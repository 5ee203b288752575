"""From measured poses to corrected kinematic parameters, and from measured droop to a model of sag; least squares.

A table of axis positions (or of leg lengths) with the table-top poses that a tracker measured there gives small
corrections of the couch's mounts, axes and dimensions, their covariance, and the residuals. What the table cannot tell
apart is never invented: by default it is refused by name (for a pedestal the zero of the lateral axis and the place of
the table top along it are one and the same); with `unseen="hold"` those directions stay where the nominal couch has
them and are listed in the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import CoreError, Couch, Pose
from igrt_hw.geometry import Correction, Frame

_SIX = ("x_mm", "y_mm", "z_mm", "rotation_deg", "pitch_deg", "roll_deg")
_STEPS_MAX = 30
_SETTLED_MM = 1e-8
"""Gauss-Newton has settled when no modelled pose changes by more; a radian counts as `length_mm`."""
_RANK_TOLERANCE = 1e-9
"""Smallest over largest singular value (of the scaled problem) below which parameters count as inseparable."""
_HOLD_TOLERANCE = 1e-5
"""The same where unseen directions are held: a tracker's noise, 1e-5 of the travel, would be blown up to the travel."""


class CalibrationError(ValueError):
    """A calibration that the measurements do not support; the message says which parameters and what to measure."""


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """Corrected parameters and how well they are known.

    Attributes:
        names: the parameters that were estimated.
        values: corrections to them, mm or degrees by their names, shape (p,).
        covariance: of the values, shape (p, p), from the variances of the residuals: one for lengths, one for angles.
        unseen: directions of the parameters (name to weight, unit length in scaled parameters) that the measurements
            cannot see; the values have no part along them and the covariance says nothing about them. Empty unless
            asked for with `unseen="hold"`.
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
    unseen: tuple[dict[str, float], ...] = ()

    @property
    def standard_deviations(self) -> NDArray[np.float64]:
        """One standard deviation of each value."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


def parameter_names(couch: Couch) -> tuple[str, ...]:
    """Every parameter that can be estimated from axis positions.

    Base and tool mounts, zeros of the axes, gains of the linear axes, and dimensions of the chain (`dim.`: link lengths
    and offsets). Joint centres of a hexapod do not show in its outward axes: `calibrate_legs`.
    """
    mounts = [f"{mount}.{name}" for mount in ("base", "tool") for name in _SIX]
    pairs = list(zip(couch.axis_names, couch.axis_kinds, strict=True))
    zeros = [f"zero.{name}_{'mm' if kind == 'linear' else 'deg'}" for name, kind in pairs]
    gains = [f"gain.{name}" for name, kind in pairs if kind == "linear"]
    sizes = [] if couch.family == "hexapod" else [f"dim.{name}" for name, _ in couch.dimensions]
    if couch.family == "hexapod":
        mounts = []
    return (*mounts, *zeros, *gains, *sizes)


def calibrate(
    couch: Couch,
    axes: ArrayLike,
    measured: Sequence[Pose],
    parameters: Sequence[str],
    *,
    length_mm: float = 500.0,
    unseen: Literal["refuse", "hold"] = "refuse",
) -> CalibrationResult:
    """Least-squares corrections of `parameters` that bring the model onto the measured poses (Gauss-Newton).

    Args:
        couch: the nominal couch.
        axes: axis positions (n, 6), mm and degrees.
        measured: n poses fixed <- table_top.
        parameters: names out of `parameter_names(couch)`.
        length_mm: what a radian of misfit counts for, so that lengths and angles share one sum of squares.
        unseen: what to do where the measurements cannot tell parameters apart: refuse, or hold that direction.

    Raises:
        CalibrationError: too few poses, unknown or inseparable parameters, or no convergence.
    """
    table = np.asarray(axes, dtype=np.float64)
    names = tuple(parameters)
    _check_table(table, measured)
    _check_parameters(names, parameter_names(couch), len(measured))
    return _fit(
        names,
        lambda values: _corrected(couch, names, values),
        lambda corrected, _: corrected.forward_many(table),
        np.array([pose.matrix() for pose in measured]),
        length_mm,
        unseen,
    )


def leg_parameter_names(couch: Couch) -> tuple[str, ...]:
    """Parameters of a hexapod's legs: its 36 joint coordinates, and what each encoder reads too little."""
    return (
        *(f"dim.{name}" for name, _ in couch.dimensions),
        *(f"leg.{n}_mm" for n in range(1, 7)),
    )


def calibrate_legs(
    couch: Couch,
    legs_mm: ArrayLike,
    measured: Sequence[Pose],
    parameters: Sequence[str] | None = None,
    *,
    length_mm: float = 500.0,
    unseen: Literal["refuse", "hold"] = "hold",
) -> CalibrationResult:
    """Joint centres and leg offsets of a hexapod from leg lengths and the poses measured there; the base couch at rest.

    A small travel sees some directions badly or not at all (a joint moved along its leg is nearly an offset of that
    leg): they are held at nominal and listed, unless `unseen` is `refuse`.

    Args:
        couch: the nominal hexapod, its base couch where it stood (`Couch.with_base_axes`).
        legs_mm: leg lengths as read (n, 6).
        measured: n poses fixed <- table_top.
        parameters: names out of `leg_parameter_names(couch)`; all unless given.
        length_mm, unseen: as `calibrate`.

    Raises:
        CalibrationError: as `calibrate`; a family without legs; lengths that fit no pose.
    """
    if couch.family != "hexapod":
        raise CalibrationError(f"a couch of family {couch.family} has no legs to calibrate")
    table = np.asarray(legs_mm, dtype=np.float64)
    names = tuple(leg_parameter_names(couch) if parameters is None else parameters)
    _check_table(table, measured)
    _check_parameters(names, leg_parameter_names(couch), len(measured))

    def poses(corrected: Couch, values: NDArray[np.float64]) -> NDArray[np.float64]:
        given = dict(zip(names, values, strict=True))
        offsets = np.array([given.get(f"leg.{n}_mm", 0.0) for n in range(1, 7)])
        found, status = corrected.forward_from_legs_many(table + offsets)
        if status.any():
            row = int(np.argmax(status != 0))
            raise CalibrationError(f"row {row}: leg lengths {table[row].tolist()} mm fit no pose")
        return found

    return _fit(
        names,
        lambda values: _corrected(couch, names, values),
        poses,
        np.array([pose.matrix() for pose in measured]),
        length_mm,
        unseen,
    )


_Model = Callable[[Couch, NDArray[np.float64]], NDArray[np.float64]]


def _fit(
    names: tuple[str, ...],
    corrected: Callable[[NDArray[np.float64]], Couch],
    poses: _Model,
    want: NDArray[np.float64],
    length_mm: float,
    unseen: Literal["refuse", "hold"],
) -> CalibrationResult:
    scale = np.array([1.0, 1.0, 1.0] + [math.radians(1.0) * length_mm] * 3)
    values = np.zeros(len(names))

    def misfit(at: NDArray[np.float64]) -> NDArray[np.float64]:
        try:
            return _residuals(poses(corrected(at), at), want)
        except CoreError as error:
            raise CalibrationError(f"the corrections became no couch: {error}") from error

    before = residuals = misfit(values)
    for _ in range(_STEPS_MAX):
        jacobian = _jacobian(misfit, names, values, scale)
        seen = _decompose(names, jacobian, unseen)
        step = seen.solve(-(residuals * scale).ravel())
        values = values + step
        residuals = misfit(values)
        # Judged by what the step changes in the modelled poses: a badly seen direction may wander without meaning.
        if np.abs(jacobian @ step).max() < _SETTLED_MM:
            break
    else:
        raise CalibrationError(
            f"no convergence in {_STEPS_MAX} steps; the measurements do not fit this couch"
        )
    return CalibrationResult(
        names,
        values,
        seen.covariance(residuals * scale),
        residuals,
        *_rms(residuals),
        *_rms(before),
        corrected(values),
        seen.unseen,
    )


def _check_table(table: NDArray[np.float64], measured: Sequence[Pose]) -> None:
    if table.ndim != 2 or table.shape[1] != 6 or len(table) != len(measured):
        raise CalibrationError(
            f"positions have shape {table.shape} for {len(measured)} poses; they need (n, 6) and n poses"
        )
    if not np.isfinite(table).all():
        raise CalibrationError("positions hold numbers that are not finite")
    for pose in measured:
        pose.expect_frames(Frame.FIXED, Frame.TABLE_TOP)


def _check_parameters(names: Sequence[str], known: Sequence[str], poses: int) -> None:
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) != len(names) or not names:
        raise CalibrationError(
            f"parameters {unknown or list(names)}: each once, out of {', '.join(known)}"
        )
    if 6 * poses <= len(names):
        raise CalibrationError(f"{poses} poses are too few for {len(names)} parameters")


def _corrected(couch: Couch, names: Sequence[str], values: NDArray[np.float64]) -> Couch:
    given = dict(zip(names, (float(value) for value in values), strict=True))
    if any(name.startswith("dim.") for name in names):
        couch = couch.with_dimensions(
            [value + given.get(f"dim.{name}", 0.0) for name, value in couch.dimensions]
        )
    gains, zeros = (list(part) for part in couch.axis_map)
    for index, (name, kind) in enumerate(zip(couch.axis_names, couch.axis_kinds, strict=True)):
        unit = "mm" if kind == "linear" else "deg"
        zeros[index] += given.get(f"zero.{name}_{unit}", 0.0)
        gains[index] += given.get(f"gain.{name}", 0.0)
    if couch.family != "hexapod":
        base = couch.base @ _small(given, "base", Frame.BASE)
        couch = couch.with_mounts(base, couch.tool @ _small(given, "tool", Frame.TABLE_TOP))
    return couch.with_axis_map(gains, zeros)


def _small(given: dict[str, float], mount: str, frame: Frame) -> Pose:
    return Pose.from_parameters([given.get(f"{mount}.{name}", 0.0) for name in _SIX], frame, frame)


def _residuals(have: NDArray[np.float64], want: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measured against modelled in the measured table-top frame: (n, 6), mm and degrees (rotation vector)."""
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
    misfit: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    names: Sequence[str],
    values: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    columns = []
    for index, name in enumerate(names):
        # Central differences; the model is smooth and the steps are far above round-off and far below curvature.
        step = 1e-5 if name.startswith("gain.") else 2e-2
        ahead, behind = values.copy(), values.copy()
        ahead[index] += step
        behind[index] -= step
        columns.append(((misfit(ahead) - misfit(behind)) * scale).ravel() / (2.0 * step))
    return np.array(columns).T


@dataclass(frozen=True, slots=True)
class _Seen:
    """The singular directions of a problem that its measurements see, columns of the Jacobian scaled to unit length."""

    left: NDArray[np.float64]
    sizes: NDArray[np.float64]
    directions: NDArray[np.float64]
    lengths: NDArray[np.float64]
    unseen: tuple[dict[str, float], ...]

    def solve(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
        """The shortest scaled step: none along what is not seen."""
        step = self.directions.T @ ((self.left.T @ right) / self.sizes)
        return np.asarray(step / self.lengths)

    def covariance(self, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the values, from scaled residuals (n, 6): lengths and angles scatter each by their own variance."""
        variances = np.empty(residuals.shape)
        share = (self.left**2).sum(axis=1).reshape(residuals.shape)
        for part in (slice(0, 3), slice(3, 6)):
            # What the fit took away from this part of the residuals: its leverage.
            freedom = share[:, part].size - float(share[:, part].sum())
            variances[:, part] = float((residuals[:, part] ** 2).sum()) / max(freedom, 1.0)
        solved = (self.directions.T / self.sizes) @ self.left.T
        spread = (solved * variances.ravel()) @ solved.T
        return np.asarray(spread / np.outer(self.lengths, self.lengths))


def _decompose(
    names: Sequence[str], jacobian: NDArray[np.float64], unseen: Literal["refuse", "hold"]
) -> _Seen:
    lengths = np.linalg.norm(jacobian, axis=0)
    idle = [name for name, length in zip(names, lengths, strict=True) if not length > 0.0]
    if idle and unseen == "refuse":
        raise CalibrationError(f"no measured pose depends on {', '.join(idle)}")
    lengths = np.where(lengths > 0.0, lengths, 1.0)
    left, sizes, directions = np.linalg.svd(jacobian / lengths, full_matrices=False)
    kept = sizes > (_RANK_TOLERANCE if unseen == "refuse" else _HOLD_TOLERANCE) * sizes[0]
    mixed = [
        {n: round(float(part), 4) for n, part in zip(names, direction, strict=True) if abs(part) > 0.1}
        for direction in directions[~kept]
    ]  # fmt: skip
    if mixed and unseen == "refuse":
        raise CalibrationError(
            f"the measurements cannot tell apart {', '.join(mixed[-1])}: leave one out, or measure at other positions"
        )
    return _Seen(left[:, kept], sizes[kept], directions[kept], lengths, tuple(mixed))


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

    With F the weight and e the distance from the support to the load, the load sinks by F (c + r e^2 + b e^3 / 3) and
    tilts by F (r e + b e^2 / 2).

    Attributes:
        root_per_n_mm: r, rotation of the root per moment, rad/(N mm).
        bending_per_n_mm2: b = 1 / (E I), 1/(N mm^2).
        covariance: of (r, b), shape (2, 2), or of (r, b, c), shape (3, 3); zeros for a model that was not fitted.
        rms_mm: root mean square of the fit.
        column_per_n_mm: c, how far the column under the root gives, mm/N.
    """

    root_per_n_mm: float
    bending_per_n_mm2: float
    covariance: NDArray[np.float64]
    rms_mm: float = 0.0
    column_per_n_mm: float = 0.0

    def droop_mm(self, load_kg: float, extension_mm: float) -> float:
        """How far the load sinks, mm, positive down."""
        weight, e = _checked_load(load_kg, extension_mm)
        bent = self.root_per_n_mm * e**2 + self.bending_per_n_mm2 * e**3 / 3.0
        return weight * (self.column_per_n_mm + bent)

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


@dataclass(frozen=True, slots=True)
class LoadedTop:
    """A couch's top with someone on it: forward kinematics with the sag as a step of its own.

    Never part of `Couch.forward`, which is where the axes are; an encoder does not see sag. Use it for what an image
    will see: the pose under load, and the residual that a verification image should then show.

    Attributes:
        couch: the couch, its table-top y axis along the top (`pedestal`, `hexapod`).
        sag: the fitted model.
        load_kg: patient and accessories.
        load_y_mm: the load's place along the table top.
        support_longitudinal_mm: longitudinal axis position at which the load would stand over the support; the
            extension is longitudinal + load_y - support.
    """

    couch: Couch
    sag: SagModel
    load_kg: float
    load_y_mm: float
    support_longitudinal_mm: float

    def __post_init__(self) -> None:
        if self.couch.family not in ("pedestal", "hexapod"):
            raise CalibrationError(
                f"a {self.couch.family} couch has no longitudinal axis; its sag is not this cantilever's"
            )

    def extension_mm(self, axes: Sequence[float]) -> float:
        """From the support to the load at these axes, mm."""
        return float(tuple(axes)[1]) + self.load_y_mm - self.support_longitudinal_mm

    def forward(self, axes: Sequence[float]) -> Pose:
        """Pose fixed <- table_top of the loaded top near its load.

        Raises:
            CalibrationError: an extension that the model does not cover (negative: the load is behind the support).
        """
        bent = self.sag.sagged(self.load_kg, self.extension_mm(axes), self.load_y_mm)
        return self.couch.forward(axes) @ bent

    def predicted_residual(self, imaged: Sequence[float], arrived: Sequence[float]) -> Correction:
        """The correction that a verification image should still ask for because the sag changed between two positions.

        The correction was found in an image at `imaged`, sag included, and applied to the axes; at `arrived` the sag is
        another. What the image then shows beyond this is not sag.
        """
        moved = self.couch.forward(arrived) @ self.couch.forward(imaged).inverse()
        # Meant: the loaded top of the image, moved as approved. Is: the loaded top as it stands now.
        off = moved @ self.forward(imaged) @ self.forward(arrived).inverse()
        return Correction.of(off.parameters())


def fit_sag(
    load_kg: ArrayLike, extension_mm: ArrayLike, droop_mm: ArrayLike, *, column: bool = False
) -> SagModel:
    """A sag model from measured droop: n loads, extensions and droops (positive down).

    `column` also fits the give of the column under the root; it needs three extensions.

    Raises:
        CalibrationError: fewer than three measurements (four with the column), nothing to tell root, bending and column
            apart, or a fit that rises under load.
    """
    loads, extensions, droops = (
        np.asarray(x, dtype=np.float64) for x in (load_kg, extension_mm, droop_mm)
    )
    if not (
        loads.shape == extensions.shape == droops.shape
        and loads.ndim == 1
        and len(loads) >= 3 + column
    ):
        raise CalibrationError(
            f"sag needs three lists of one length, at least {3 + column} measurements"
        )
    pairs = [_checked_load(float(a), float(b)) for a, b in zip(loads, extensions, strict=True)]
    weight, e = np.array(pairs).T
    design = np.column_stack((weight * e**2, weight * e**3 / 3.0, weight))[:, : 2 + column]
    lengths = np.linalg.norm(design, axis=0)
    left, sizes, right = np.linalg.svd(design / np.maximum(lengths, 1e-300), full_matrices=False)
    if sizes[-1] < 1e-6 * sizes[0]:
        raise CalibrationError(
            f"{'two extensions' if column else 'one extension'} cannot tell the root from the bending"
            f"{' and the column' if column else ''}; measure at {3 if column else 2} or more"
        )
    values = (right.T @ ((left.T @ droops) / sizes)) / lengths
    misfit = droops - design @ values
    variance = float(misfit @ misfit) / max(len(loads) - 2 - column, 1)
    scaled = (right.T / sizes**2) @ right
    covariance = variance * scaled / np.outer(lengths, lengths)
    model = SagModel(
        float(values[0]),
        float(values[1]),
        covariance,
        float(np.sqrt((misfit**2).mean())),
        float(values[2]) if column else 0.0,
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
