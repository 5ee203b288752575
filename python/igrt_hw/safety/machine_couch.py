"""The couch of a machine description, as the supervisor needs to know it (`couch_model.CouchModel`)."""

from __future__ import annotations

import hashlib
import struct
from typing import Literal

import numpy as np

from igrt_hw import _core
from igrt_hw.geometry import (
    AXIS_NAMES,
    Correction,
    Frame,
    Pose,
    compose_correction,
    deg_to_udeg,
    mm_to_um,
)
from igrt_hw.guidance.daily_shift import ShiftTest, judge_shift
from igrt_hw.machine import Machine
from igrt_hw.machine.description import Axis, HexapodChain
from igrt_hw.machine.hexapod_split import split_correction
from igrt_hw.models.qa import QaLevel
from igrt_hw.safety.couch_model import PoseDifference, Stages, UnreachableError

Axes = tuple[float, ...]
DIFFERENCES_MAX = 16
PATH_SAMPLES = 33
_SHARES = np.linspace(0.0, 1.0, PATH_SAMPLES)[:, None]
"""Places looked at along a straight move: every millimetre of the largest correction."""
_STILL = Pose.identity(Frame.FIXED, Frame.FIXED)


class MachineCouch:
    """A couch of any family. `solve` and `difference` go through the core; limits and speeds are the description's."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._couch = machine.couch()
        self._axes = machine.description.axis
        self._differences: dict[tuple[Axes, Axes], PoseDifference] = {}
        self._limits_hash = device_limits_digest(tuple(self._axes))
        names = [axis.name for axis in self._axes]
        if tuple(names) != self._couch.axis_names:
            raise ValueError(
                f"{machine.name} names its axes {names}, its chain {self._couch.axis_names}"
            )

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names, in axis order."""
        return self._couch.axis_names

    @property
    def axis_units(self) -> tuple[Literal["mm", "deg"], ...]:
        """`mm` or `deg` by axis."""
        return tuple(axis.unit for axis in self._axes)

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        """Lower and upper limit by axis."""
        return tuple(axis.range for axis in self._axes)

    @property
    def speed_max(self) -> tuple[float, ...]:
        """Largest speed of the drives by axis, mm/s or deg/s: what `speed_ppm` scales."""
        return tuple(axis.drive[0] for axis in self._axes)

    @property
    def correction_window(self) -> tuple[float, float]:
        """The largest correction of one approval that the machine allows: mm, degrees."""
        caps = self._machine.description.correction_move
        return caps.translation_mm, caps.rotation_deg

    @property
    def correction_speed(self) -> tuple[float, float]:
        """The largest speed of a correction: mm/s, deg/s."""
        caps = self._machine.description.correction_move
        return caps.speed_mm_s, caps.speed_deg_s

    @property
    def limits_hash(self) -> str:
        """The limits digest of `docs/protocol.md` section 6, computed from the description."""
        return self._limits_hash

    @property
    def machine_hash(self) -> str:
        """Digest of the whole description and its meshes."""
        return self._machine.description_hash

    def solve(self, start_axes: tuple[float, ...], correction: Correction) -> tuple[float, ...]:
        """The branch of C . M(start) nearest to the start, limits not applied. Raises `UnreachableError`."""
        try:
            return compose_correction(self._couch, start_axes, correction, within_limits=False)
        except _core.CoreError as error:
            raise UnreachableError(str(error)) from error

    def stages(
        self,
        start_axes: Axes,
        target_axes: Axes,
        correction: Correction,
        base_axes: tuple[float, float, float, float] | None,
    ) -> Stages:
        """A hexapod: the platform alone, or its base couch first. Any other couch: one straight move."""
        if not isinstance(self._machine.description.chain, HexapodChain):
            return Stages(singularity=self._least_singular(start_axes, target_axes))
        couch = self._couch if base_axes is None else self._couch.with_base_axes(base_axes)
        try:
            plan = split_correction(self._machine, couch, start_axes, correction)
        except _core.CoreError as error:
            raise UnreachableError(str(error)) from error
        return Stages(
            via=tuple(stage.end for stage in plan.stages[:-1]),
            leg_margin_mm=min(stage.leg_margin_mm for stage in plan.stages),
            singularity=min((stage.singularity for stage in plan.stages), key=lambda s: s[1]),
            base_axes=plan.stages[-1].base_axes,
        )

    def _least_singular(self, start: Axes, target: Axes) -> tuple[str, float]:
        along = np.array(start) + _SHARES * (np.array(target) - np.array(start))
        names, margins = self._couch.singularity_many(along)
        least = int(np.argmin(margins))
        return names[least], float(margins[least])

    def limit_problem(self, axes: tuple[float, ...]) -> str:
        """What the axes, or the legs of a hexapod, exceed; empty if nothing."""
        try:
            self._couch.check_limits(axes)
        except (_core.LimitError, _core.SingularError) as error:
            return str(error)
        return ""

    def difference(self, first: tuple[float, ...], second: tuple[float, ...]) -> PoseDifference:
        """Displacement of the isocentre point, and angle, between two axis positions."""
        # One report of the couch is judged by several interlocks, and again by every tick until the next one.
        known = self._differences.get((first, second))
        if known is None:
            moved = self._couch.forward(second) @ self._couch.forward(first).inverse()
            known = PoseDifference(*moved.deviation(_STILL))
            if len(self._differences) >= DIFFERENCES_MAX:
                self._differences.clear()
            self._differences[first, second] = known
        return known

    def isocentre_in_table(self, axes: tuple[float, ...]) -> tuple[float, float, float]:
        """Where the isocentre is in the table-top frame, mm."""
        x, y, z = self._couch.forward(axes).inverse().translation_mm
        return x, y, z

    def judge_shift(
        self,
        aligned: Axes,
        displaced: Axes,
        found: Correction,
        reached: Axes,
        still_asked: Correction | None,
        level: QaLevel,
    ) -> ShiftTest:
        """The filled form of the daily shift test."""
        return judge_shift(
            self._couch, aligned, displaced, found, reached, still_asked=still_asked, level=level
        )

    def table_position(
        self, axes: tuple[float, ...]
    ) -> tuple[float, float, float, float, float, float]:
        """The six table-top numbers: the axes themselves where they are named so, else from the pose."""
        if self._couch.axis_names == AXIS_NAMES:
            a, b, c, d, e, f = axes
            return a, b, c, d, e, f
        # T . Rz . Rx . Ry of the pose; for a robot this is its table top seen as a pedestal without turntable radius.
        x, y, z, rotation, pitch, roll = self._couch.forward(axes).parameters()
        turned = Pose.from_parameters((0, 0, 0, -rotation, 0, 0), Frame.FIXED, Frame.FIXED)
        x, y, z = (float(v) for v in turned.apply((x, y, z)).reshape(3))
        return x, y, z, rotation, pitch, roll


def device_limits_digest(axes: tuple[Axis, ...]) -> str:
    """SHA-256 over `CLP1-LIMITS` and the integers of every axis, as the couch computes it; hexadecimal."""
    message = b"CLP1-LIMITS" + bytes([len(axes)])
    for axis in axes:
        scale = mm_to_um if axis.unit == "mm" else deg_to_udeg
        lower, upper = (scale(value) for value in axis.range)
        message += struct.pack(
            "<BiiIII", axis.unit == "deg", lower, upper, *(scale(v) for v in axis.drive)
        )
    return hashlib.sha256(message).hexdigest()
