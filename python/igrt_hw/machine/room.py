"""A treatment room that clearance can be asked of: the machine's parts, the patient on the couch, and how they move.

What is measured: every part that moves with the couch against every part that does not, and the links of a robot
couch against each other, the table top and the patient, less the contacts that the machine description allows.
Answers are lower bounds that hold (`docs/conventions.md` for frames; millimetres, degrees). A model is one layer: it
knows only what was described to it. Touch-guards and the enable stay.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import ClearanceInputError, ClearanceRoom
from igrt_hw.machine.catalogue import Machine
from igrt_hw.machine.mesh_file import MeshFileError, Unit, read_mesh
from igrt_hw.machine.part import BUILT_IN_FRAMES, PartDescription
from igrt_hw.machine.path import (
    Joints,
    Matrix,
    couch_joints,
    fixed_joint,
    joints_of_both,
    link_joints,
    slide_joint,
    turn_joint,
    turntable_joints,
)
from igrt_hw.machine.surface import PatientSurface

Point = tuple[float, float, float]
PanelState = Mapping[str, float]
"""How far each travelling arm is out: 0 retracted, 1 extended, by the arm's name."""

Drive = tuple[Literal["row", "column", "both"], Joints]
"""Which axis of a map moves a frame, and how; under "both" the joints themselves say which."""

PATIENT = "patient"
MODEL_FORMAT = "igrt-hw collision model 1"
"""Part of the model hash: a change of what is measured changes the hash even if no geometry does."""

_WITH_COUCH = frozenset({"turntable", "table_top", "patient"})
_COUCH_AGREES_MM = 1e-6


class RoomError(ValueError):
    """A room that cannot be built or a question that it cannot answer; the message says what to give instead."""


@dataclass(frozen=True, slots=True)
class PairClearance:
    """Two parts and how far they are apart.

    Attributes:
        parts: names; the first moves with the couch (of two links of a robot: the one nearer to the table top).
        lower_mm, upper_mm: the true distance lies between them; below zero, minus the depth of the contact.
        points: the nearest point of each part in the fixed frame, mm.
    """

    parts: tuple[str, str]
    lower_mm: float
    upper_mm: float
    points: tuple[Point, Point]

    @property
    def contact(self) -> bool:
        """Whether the parts cannot be shown to be apart."""
        return self.lower_mm <= 0.0

    def text(self) -> str:
        """One sentence: which parts, how close, where."""
        (couch_part, machine_part), (x, y, z) = self.parts, self.points[0]
        place = f"at lateral {x:.0f}, longitudinal {y:.0f}, vertical {z:.0f} mm from the isocentre"
        if self.contact:
            return f"{couch_part} and {machine_part} touch {place}, {max(0.0, -self.lower_mm):.1f} mm deep"
        return f"{couch_part} stays {self.lower_mm:.1f} mm from {machine_part}, nearest {place}"


@dataclass(frozen=True, slots=True)
class ClearanceResult:
    """The clearance of one configuration.

    Attributes:
        min_mm: never above the true clearance of the scene.
        bound_mm: the true clearance is at most `min_mm + bound_mm`.
        exact: whether the exact mode was asked for.
        nearest: the nearest pair.
        pairs: every measured pair, nearest first (pieces of one part are one entry).
        model_hash: SHA-256 of everything the answer rests on.
    """

    min_mm: float
    bound_mm: float
    exact: bool
    nearest: PairClearance
    pairs: tuple[PairClearance, ...]
    model_hash: str


@dataclass(frozen=True, slots=True)
class PathPlace:
    """A place on a path and the pair there.

    Attributes:
        path_fraction: 0 at the start, 1 at the target.
        axes: couch axes there, mm and degrees.
        gantry_deg: gantry angle there.
        pair: the pair, measured there.
    """

    path_fraction: float
    axes: tuple[float, ...]
    gantry_deg: float
    pair: PairClearance

    def text(self) -> str:
        """One sentence: which parts, how close, where, and where on the path."""
        return f"{self.pair.text()} ({100.0 * self.path_fraction:.0f} % of the way, gantry {self.gantry_deg:.1f}°)"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The certified clearance of a continuous motion.

    Attributes:
        min_mm: at every instant of the motion the clearance is at least this; 0 if there is contact.
        tolerance_mm: the clearance really attained is at most this much larger (and a rounding of 0.02 mm).
        nearest: the nearest place found.
        contact: the first place that cannot be shown to be clear; None if the whole motion is clear.
        profile_mm: lower bounds over equal intervals of the path.
        profile_pairs: the nearest pair of each interval.
        measured: number of distances that were computed.
        model_hash: SHA-256 of everything the answer rests on.
    """

    min_mm: float
    tolerance_mm: float
    nearest: PathPlace
    contact: PathPlace | None
    profile_mm: tuple[float, ...]
    profile_pairs: tuple[tuple[str, str], ...]
    measured: int
    model_hash: str


@dataclass(frozen=True, slots=True)
class MapAxis:
    """One axis of a map: from `start` to `stop` in `cells` equal cells.

    `name` is `gantry` (degrees), a couch axis (`rotation`, `lateral`, ...; mm or degrees) or an arm (extension 0 to 1).
    """

    name: str
    start: float
    stop: float
    cells: int

    @property
    def middles(self) -> NDArray[np.float64]:
        """The middle of every cell."""
        width = (self.stop - self.start) / self.cells
        return np.asarray(self.start + width * (np.arange(self.cells) + 0.5))

    @property
    def unit(self) -> str:
        """Unit of the axis, for labels."""
        if self.name in ("lateral", "longitudinal", "vertical"):
            return "mm"
        return "extension" if self.name.endswith("_arm") else "deg"


class Room:
    """A machine with a patient on its couch. Immutable; safe to ask from several threads.

    Args:
        machine: parts, arms, allowed contacts and couch chain.
        surface: the patient, IEC patient frame; None for an empty couch.
        table_from_patient: rigid (4, 4) t <- p, mm; needed with a surface, and with parts on the patient frame.
        devices: parts of this patient's set-up (a mask, a board, a frame) on `patient` or `table_top`; solids only.
            They move with the couch and are measured as its parts are, never against the patient or each other.

    Raises:
        RoomError: parts on frames that this couch does not have, a mesh that cannot be read, nothing to measure,
            parts on the patient frame without `table_from_patient`.
        ClearanceInputError: a shape that is no solid or a mesh that is no closed outward surface.
    """

    def __init__(
        self,
        machine: Machine,
        surface: PatientSurface | None = None,
        table_from_patient: ArrayLike | None = None,
        devices: Sequence[PartDescription] = (),
    ) -> None:
        self._machine = machine
        self._description = machine.description
        self._surface = surface
        self._devices = tuple(devices)
        self._placement = self._placed_at(table_from_patient)
        self._arms = tuple(arm.name for arm in self._description.arm)
        self._links = self._description.link_frames
        self._frames = (*BUILT_IN_FRAMES, *self._links, *self._arms)
        self._names: list[str] = []
        self._frame_of_part: list[str] = []
        for device in self._devices:
            _check_device(device)
        parts = [self._solid(part) for part in (*self._description.part, *self._devices)]
        if surface is not None:
            shape = (surface.vertices, surface.triangles)
            parts.append((PATIENT, self._frames.index(PATIENT), np.eye(4), "mesh", shape))
            self._remember(PATIENT, PATIENT)
        self._pairs = self._measured_pairs()
        self._core = ClearanceRoom(len(self._frames), parts, self._pairs)

    def placed(self, table_from_patient: ArrayLike) -> Room:
        """The same room and patient with the patient lying elsewhere on the table top; cheap, nothing is built anew.

        Raises:
            RoomError, ClearanceInputError: not a rigid (4, 4) matrix.
        """
        room = copy.copy(self)
        room.__dict__.pop("model_hash", None)
        room._placement = self._placed_at(table_from_patient)
        return room

    def _placed_at(self, table_from_patient: ArrayLike | None) -> Matrix:
        parts = (*self._description.part, *self._devices)
        with_patient = [part.name for part in parts if part.frame == PATIENT]
        if self._surface is not None:
            with_patient.append("the patient surface")
        return _placement(with_patient, table_from_patient)

    @property
    def arms(self) -> tuple[str, ...]:
        """The travelling arms that a panel state names."""
        return self._arms

    @property
    def machine(self) -> Machine:
        """The machine of this room."""
        return self._machine

    @property
    def measured_pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs that are measured, by name, in a fixed order."""
        return tuple(dict.fromkeys(self._pair_names(number) for number in range(len(self._pairs))))

    @property
    def pair_names(self) -> tuple[tuple[str, str], ...]:
        """Names of every measured pair of solids, in the order of the core's numbers."""
        return tuple(self._pair_names(number) for number in range(len(self._pairs)))

    @property
    def core(self) -> ClearanceRoom:
        """The room in the core, for maps and planners of this package."""
        return self._core

    def retracted(self) -> dict[str, float]:
        """A panel state with every arm in."""
        return dict.fromkeys(self.arms, 0.0)

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Name and frame of every solid, in the order of the core's numbers."""
        return tuple(zip(self._names, self._frame_of_part, strict=True))

    def poses(
        self, axes: Sequence[float], gantry_deg: float, panel_state: PanelState
    ) -> NDArray[np.float64]:
        """fixed <- frame (frames, 4, 4), mm, of everything with couch, gantry and arms as given.

        Raises:
            RoomError: as `clearance`.
        """
        motions = self._motions(axes, axes, (gantry_deg, gantry_deg), (panel_state, panel_state))
        return self._core.poses_at(motions, 0.0)

    def clearance(
        self,
        axes: Sequence[float],
        gantry_deg: float,
        panel_state: PanelState,
        *,
        exact: bool = False,
    ) -> ClearanceResult:
        """Every measured pair with the couch at `axes`, the gantry at `gantry_deg` and the arms as given.

        Raises:
            RoomError: a panel state that leaves an arm out or names one that is not there, numbers out of range.
        """
        motions = self._motions(axes, axes, (gantry_deg, gantry_deg), (panel_state, panel_state))
        poses = self._core.poses_at(motions, 0.0)
        bounds, points = self._core.separations(poses, exact=exact)
        best: dict[tuple[str, str], PairClearance] = {}
        for number, (lower, upper) in enumerate(bounds):
            found = self._pair(number, float(lower), float(upper), points[number])
            known = best.get(found.parts)
            if known is None or found.lower_mm < known.lower_mm:
                best[found.parts] = found
        pairs = tuple(sorted(best.values(), key=lambda pair: (pair.lower_mm, pair.parts)))
        upper = min(pair.upper_mm for pair in pairs)
        nearest = pairs[0]
        bound = max(0.0, upper - nearest.lower_mm)
        return ClearanceResult(nearest.lower_mm, bound, exact, nearest, pairs, self.model_hash)

    def sweep(
        self,
        start_axes: Sequence[float],
        target_axes: Sequence[float],
        gantry_deg: float,
        panel_state: PanelState,
        *,
        gantry_target_deg: float | None = None,
        panel_target: PanelState | None = None,
        stations: int = 64,
        tolerance_mm: float = 0.5,
    ) -> SweepResult:
        """Certify a straight motion in axis space: couch, gantry and arms move in proportion, any of them may stand.

        Angles are taken as they are, never wrapped: a gantry from 350 to 10 turns through 180.

        Args:
            start_axes, target_axes: six couch axes, mm and degrees.
            gantry_deg, gantry_target_deg: gantry angle at start and target; it stands if no target is given.
            panel_state, panel_target: arms at start and target; they stand if no target is given.
            stations: intervals of the profile.
            tolerance_mm: how far below an attained clearance the bound may be (0.05 to 1000).

        Raises:
            RoomError: as `clearance`.
            ClearanceInputError: stations or tolerance out of range.
        """
        gantry = (gantry_deg, gantry_deg if gantry_target_deg is None else gantry_target_deg)
        panels = (panel_state, panel_state if panel_target is None else panel_target)
        motions = self._motions(start_axes, target_axes, gantry, panels)
        found = self._core.sweep(motions, stations=stations, tolerance_mm=tolerance_mm)
        lower, nearest, contact, profile, measured = found

        def place(raw: tuple[float, int, float, float, list[float], list[float]]) -> PathPlace:
            s, number, low, high, on_a, on_b = raw
            between = [a + (b - a) * s for a, b in zip(start_axes, target_axes, strict=True)]
            pair = self._pair(number, low, high, np.array([on_a, on_b]))
            return PathPlace(s, tuple(between), gantry[0] + (gantry[1] - gantry[0]) * s, pair)

        if nearest is None:  # A room without pairs is refused when it is built.
            raise RoomError("the room has nothing to measure")
        return SweepResult(
            min_mm=lower,
            tolerance_mm=tolerance_mm,
            nearest=place(nearest),
            contact=None if contact is None else place(contact),
            profile_mm=tuple(float(x) for x in profile[:, 0]),
            profile_pairs=tuple(self._pair_names(int(number)) for number in profile[:, 3]),
            measured=measured,
            model_hash=self.model_hash,
        )

    def map_drives(
        self,
        axes: Sequence[float],
        gantry_deg: float,
        panel_state: PanelState,
        *,
        row: MapAxis,
        column: MapAxis,
    ) -> list[Drive]:
        """The motions of a map, one a frame, each with the map axis that drives it.

        Raises:
            RoomError: an unknown axis, a range without width, or one axis twice.
        """
        still = self._motions(axes, axes, (gantry_deg, gantry_deg), (panel_state, panel_state))
        moved = {}
        for which, axis in (("row", row), ("column", column)):
            if axis.cells < 1 or not axis.start != axis.stop:
                raise RoomError(
                    f"{which} axis {axis.name!r}: it needs a range and at least one cell"
                )
            moved[which] = self._motions(*self._along(axis, axes, gantry_deg, panel_state))
        return self._drives(still, moved["row"], moved["column"], (row.name, column.name))

    def path_drives(
        self,
        start_axes: Sequence[float],
        target_axes: Sequence[float],
        gantry_deg: float,
        panel_state: PanelState,
        *,
        column: MapAxis,
    ) -> list[Drive]:
        """The motions of a map whose rows are a straight couch path and whose columns are the gantry or an arm.

        Raises:
            RoomError: as `map_drives`.
        """
        stay = (gantry_deg, gantry_deg), (panel_state, panel_state)
        still = self._motions(start_axes, start_axes, *stay)
        by_row = self._motions(start_axes, target_axes, *stay)
        by_column = self._motions(*self._along(column, start_axes, gantry_deg, panel_state))
        return self._drives(still, by_row, by_column, ("the path", column.name))

    def line_drives(
        self, axes: Sequence[float], gantry_deg: float, panel_state: PanelState, *, axis: MapAxis
    ) -> list[Drive]:
        """The motions of a map of one column: everything stands but one axis, which goes along the rows.

        Raises:
            RoomError: an unknown axis.
        """
        moved = self._motions(*self._along(axis, axes, gantry_deg, panel_state))
        return [("row", motion) for motion in moved]

    def _drives(
        self,
        still: list[Joints],
        by_row: list[Joints],
        by_column: list[Joints],
        names: tuple[str, str],
    ) -> list[Drive]:
        drives: list[Drive] = []
        for frame, base, row, column in zip(self._frames, still, by_row, by_column, strict=True):
            with_row = not np.array_equal(base, row)
            with_column = not np.array_equal(base, column)
            if with_row and with_column:
                both = joints_of_both(base, row, column)
                if both is None:
                    raise RoomError(
                        f"{names[0]} and {names[1]} both turn the same joint of frame {frame!r}; "
                        "a map needs two axes that move apart from each other"
                    )
                drives.append(("both", both))
            else:
                drives.append(("column", column) if with_column else ("row", row))
        return drives

    def _along(
        self, axis: MapAxis, axes: Sequence[float], gantry_deg: float, panel_state: PanelState
    ) -> tuple[
        Sequence[float], Sequence[float], tuple[float, float], tuple[PanelState, PanelState]
    ]:
        """Start and target of a motion along one axis, everything else as given."""
        names = tuple(entry.name for entry in self._description.axis)
        if axis.name == "gantry":
            return axes, axes, (axis.start, axis.stop), (panel_state, panel_state)
        gantry = (gantry_deg, gantry_deg)
        if axis.name in self.arms:
            panels = ({**panel_state, axis.name: axis.start}, {**panel_state, axis.name: axis.stop})
            return axes, axes, gantry, panels
        if axis.name not in names:
            known = ", ".join(("gantry", *names, *self.arms))
            raise RoomError(f"{axis.name!r} is no axis of this room; it has {known}")
        at = names.index(axis.name)
        start, target = list(axes), list(axes)
        start[at], target[at] = axis.start, axis.stop
        return start, target, gantry, (panel_state, panel_state)

    @cached_property
    def model_hash(self) -> str:
        """SHA-256 (hex) over all geometry in canonical bytes: shapes, frames, chain, contacts, patient, placement."""
        description = self._description
        said = description.model_dump(
            mode="json", include={"chain", "part", "arm", "allowed_contact"}
        )
        digest = hashlib.sha256(MODEL_FORMAT.encode())
        meshes = dict(self._machine.mesh_sha256)
        pairs = [list(pair) for pair in self._pairs]
        head: dict[str, object] = {"described": said, "meshes": meshes, "pairs": pairs}
        if self._devices:
            head["devices"] = [device.model_dump(mode="json") for device in self._devices]
        digest.update(json.dumps(head, sort_keys=True, separators=(",", ":")).encode())
        if self._surface is not None:
            for array in (self._surface.vertices, self._placement):
                digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
            digest.update(np.ascontiguousarray(self._surface.triangles, dtype="<u4").tobytes())
        elif any(frame == PATIENT for frame in self._frame_of_part):
            digest.update(np.ascontiguousarray(self._placement, dtype="<f8").tobytes())
        return digest.hexdigest()

    def _remember(self, name: str, frame: str) -> None:
        self._names.append(name)
        self._frame_of_part.append(frame)

    def _solid(self, part: PartDescription) -> tuple[str, int, Matrix, str, object]:
        if part.frame == "turntable" and turntable_joints(self._description.chain, *_ZERO) is None:
            raise RoomError(
                f"part {part.name!r}: a couch of family {self._description.family} has no turntable"
            )
        self._remember(part.name, part.frame)
        frame = self._frames.index(part.frame)
        return (part.name, frame, _part_placement(part), part.shape, _shape(self._machine, part))

    def _moves_with_couch(self, frame: str) -> bool:
        parents = {arm.name: arm.parent for arm in self._description.arm}
        return parents.get(frame, frame) in (*_WITH_COUCH, *self._links)

    def _measured_pairs(self) -> list[tuple[int, int]]:
        allowed = {frozenset(contact.parts) for contact in self._description.allowed_contact}
        with_couch = [self._moves_with_couch(frame) for frame in self._frame_of_part]
        pairs = [
            (a, b)
            for a, couch_side in enumerate(with_couch)
            if couch_side
            for b, other_side in enumerate(with_couch)
            if not other_side and frozenset((self._names[a], self._names[b])) not in allowed
        ]
        pairs += self._pairs_within_the_robot(allowed)
        if not pairs:
            raise RoomError(
                "the room has nothing to measure: it needs a part that moves with the couch and one that does not"
            )
        return pairs

    def _pairs_within_the_robot(self, allowed: set[frozenset[str]]) -> list[tuple[int, int]]:
        """Links against each other and against what lies on the table top: a robot can fold onto itself."""
        order = (*self._links, "table_top", PATIENT)
        place = [order.index(frame) if frame in order else None for frame in self._frame_of_part]
        return [
            (a, b)
            for a, outer in enumerate(place)
            for b, inner in enumerate(place)
            if outer is not None
            and inner is not None
            and inner < min(outer, len(self._links))
            and frozenset((self._names[a], self._names[b])) not in allowed
        ]

    def _pair_names(self, number: int) -> tuple[str, str]:
        a, b = self._pairs[number]
        return self._names[a], self._names[b]

    def _pair(
        self, number: int, lower: float, upper: float, points: NDArray[np.float64]
    ) -> PairClearance:
        on_a, on_b = ((float(p[0]), float(p[1]), float(p[2])) for p in points)
        return PairClearance(self._pair_names(number), lower, upper, (on_a, on_b))

    def _motions(
        self,
        start_axes: Sequence[float],
        target_axes: Sequence[float],
        gantry: tuple[float, float],
        panels: tuple[PanelState, PanelState],
    ) -> list[Joints]:
        start, target = _six(start_axes, "start"), _six(target_axes, "target")
        chain = self._description.chain
        couch = couch_joints(chain, start, target)
        self._check_couch(couch, start, target)
        turn = turn_joint((0.0, 1.0, 0.0), *gantry)
        turntable = turntable_joints(chain, start, target)
        motions = {
            "fixed": _STILL,
            "gantry": turn,
            "turntable": _STILL if turntable is None else turntable,
            "table_top": couch,
            PATIENT: np.concatenate([couch, fixed_joint(self._placement)]),
        }
        motions |= link_joints(chain, couch)
        extensions = self._extensions(panels)
        for arm in self._description.arm:
            begin, end = extensions[arm.name]
            ends = list(zip(arm.retracted_mm, arm.extended_mm, strict=True))
            slide = slide_joint(
                [near + (far - near) * begin for near, far in ends],
                [near + (far - near) * end for near, far in ends],
            )
            motions[arm.name] = np.concatenate([motions[arm.parent], slide])
        return [motions[frame] for frame in self._frames]

    def _extensions(self, panels: tuple[PanelState, PanelState]) -> dict[str, tuple[float, float]]:
        for state in panels:
            unknown, missing = set(state) - set(self.arms), set(self.arms) - set(state)
            if unknown or missing:
                raise RoomError(
                    f"the panel state must name every arm ({', '.join(self.arms)}) and no other; "
                    f"missing: {sorted(missing)}, unknown: {sorted(unknown)}"
                )
            for name, extension in state.items():
                if not 0.0 <= extension <= 1.0:
                    raise RoomError(
                        f"{name}: extension {extension} is not between 0 (in) and 1 (out)"
                    )
        return {name: (float(panels[0][name]), float(panels[1][name])) for name in self.arms}

    def _check_couch(
        self, couch: Joints, start: tuple[float, ...], target: tuple[float, ...]
    ) -> None:
        """The chain that is swept must be the couch that is driven: both ends are compared with the kinematics."""
        for s, axes in ((0.0, start), (1.0, target)):
            swept = ClearanceRoom.poses_at([couch], s)[0]
            driven = self._machine.couch().forward(axes).matrix()
            off = float(np.abs(swept - driven).max())
            if not off <= _COUCH_AGREES_MM:
                raise RoomError(
                    f"the motion model and the kinematics of {self._description.name} differ by {off:.2e} mm "
                    f"at axes {axes}; this is a defect, no clearance is given"
                )


_STILL = fixed_joint(np.eye(4))
_ZERO = ((0.0,) * 6, (0.0,) * 6)


def _check_device(part: PartDescription) -> None:
    if part.frame not in (PATIENT, "table_top"):
        raise RoomError(
            f"device {part.name!r}: it stands on {part.frame!r}; a patient's set-up stands on 'patient' or 'table_top'"
        )
    if part.shape == "mesh":
        raise RoomError(
            f"device {part.name!r}: a device is a box, cylinder, capsule or hull; a mesh belongs in the machine file"
        )


def _placement(with_patient: Sequence[str], table_from_patient: ArrayLike | None) -> Matrix:
    if table_from_patient is None:
        if not with_patient:
            return np.eye(4)
        raise RoomError(
            f"{', '.join(with_patient)}: what stands on the patient frame needs the patient's placement on the table "
            "top, table_from_patient (4, 4)"
        )
    placement = np.asarray(table_from_patient, dtype=np.float64)
    if placement.shape != (4, 4):
        raise RoomError(f"table_from_patient has shape {placement.shape}; it needs (4, 4)")
    if tuple(placement[3]) != (0.0, 0.0, 0.0, 1.0):
        raise RoomError(f"table_from_patient: its last row is {placement[3]}, not 0 0 0 1")
    ClearanceRoom.poses_at([fixed_joint(placement)], 0.0)  # Refuses what is not a rigid motion.
    return placement


def _six(axes: Sequence[float], what: str) -> tuple[float, ...]:
    values = tuple(float(x) for x in axes)
    if len(values) != 6 or not all(map(math.isfinite, values)):
        raise RoomError(f"{what} axes {values}: six finite numbers are needed, mm and degrees")
    return values


def _part_placement(part: PartDescription) -> Matrix:
    """frame <- shape: turns about x, then y, then z of the frame, then the position."""
    rx, ry, rz = part.rotation_deg
    joints = np.concatenate(
        [
            slide_joint(part.position_mm, part.position_mm),
            turn_joint((0.0, 0.0, 1.0), rz, rz),
            turn_joint((0.0, 1.0, 0.0), ry, ry),
            turn_joint((1.0, 0.0, 0.0), rx, rx),
        ]
    )
    placement: Matrix = ClearanceRoom.poses_at([joints], 0.0)[0]
    return placement


def _shape(machine: Machine, part: PartDescription) -> object:
    if part.size_mm is not None:
        return tuple(length / 2.0 for length in part.size_mm)
    if part.radius_mm is not None and part.length_mm is not None:
        return (part.radius_mm, part.length_mm / 2.0)
    if part.points_mm is not None:
        return np.array(part.points_mm)
    if part.file is not None and part.file_unit is not None:
        return _mesh(machine, part, part.file, part.file_unit)
    raise RoomError(f"part {part.name!r}: shape {part.shape!r} is not known to rooms; a defect")


def _mesh(machine: Machine, part: PartDescription, file: str, unit: Unit) -> object:
    if machine.folder is None:
        raise RoomError(f"part {part.name!r}: mesh {file!r} needs a folder to lie in")
    try:
        mesh = read_mesh(machine.folder / file, unit=unit)
    except MeshFileError as error:
        raise RoomError(f"part {part.name!r}: {error}") from error
    if mesh.sha256 != machine.mesh_sha256.get(file):
        raise RoomError(
            f"part {part.name!r}: {file} has changed since {machine.origin} was read; load the machine again"
        )
    return mesh.vertices, mesh.triangles


__all__ = [
    "ClearanceInputError",
    "ClearanceResult",
    "MapAxis",
    "PairClearance",
    "PanelState",
    "PathPlace",
    "Room",
    "RoomError",
    "SweepResult",
]
