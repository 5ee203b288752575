"""Pictures and maps of the room: drawn from the collision model at the live pose, beside the supervisor.

One thread of low priority draws one picture at a time with the interpreter released; what it draws is asked for through
a snapshot that the event loop hands over, so that nothing here can hold the supervisor up.
"""

from __future__ import annotations

import asyncio
import base64
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CoreError, draw_room
from igrt_hw.machine import Machine
from igrt_hw.machine.clearance_map import clearance_map
from igrt_hw.machine.room import MapAxis, PairClearance, Room, RoomError
from igrt_hw.machine.surface import PatientSurface
from igrt_hw.models.room import ClosestPair, PartKind, RoomMap, RoomPart, RoomPicture, RoomQuestion
from igrt_hw.server.clearing import PatientLies
from igrt_hw.server.errors import JobError

Arms = Literal["parked", "extended", "moving"]
Vector = NDArray[np.float64]
CameraNumbers = tuple[list[float], list[float], list[float], list[float], float, float | None]
T = TypeVar("T")

EYE_MM = 5000.0  # far enough for straight lines to look straight
WAITING_MAX = 4  # pictures and maps in hand, all terminals together
NICE = 10
MARGIN_MM = 20.0
GANTRY_CELLS, ROTATION_CELLS = 36, 37  # as many as a terminal of 100 columns has room for
MAPS_KEPT = 4


class BusyError(Exception):
    """More pictures are asked for than are drawn."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where everything stands at one instant, copied for a thread.

    Attributes:
        axes: couch axes, mm and degrees.
        heard_us: when the older of couch and imager was heard, on the service's clock.
        lies: the patient; None with nobody on the couch.
        registered: whether the patient's place was found in images.
        path: start and target of the proposal; None without one.
    """

    axes: tuple[float, ...]
    gantry_deg: float
    arms: Arms
    heard_us: int
    lies: PatientLies | None
    registered: bool
    path: tuple[tuple[float, ...], tuple[float, ...]] | None

    @property
    def patient(self) -> Literal["as registered", "as planned", "not on the couch"]:
        """How the patient's place is known."""
        if self.lies is None:
            return "not on the couch"
        return "as registered" if self.registered else "as planned"

    def along(self, fraction: float) -> tuple[float, ...]:
        """Couch axes at a place of the path; raises `JobError` without one."""
        if self.path is None:
            raise JobError("there is no proposal, so there is no path to run dry")
        start, target = self.path
        return tuple(a + (b - a) * fraction for a, b in zip(start, target, strict=True))


class RoomViewer:
    """Draws one room for everybody who asks. `stand` gives the snapshot; it is called on the event loop."""

    def __init__(
        self,
        machine: Machine,
        surfaces: dict[str, PatientSurface],
        stand: Callable[[], Standing],
        clock_us: Callable[[], int],
    ) -> None:
        self._machine = machine
        self._surfaces = surfaces
        self._stand = stand
        self._clock_us = clock_us
        self._pool = ThreadPoolExecutor(
            1, thread_name_prefix="room view", initializer=_yield_to_all
        )
        self._waiting = 0
        self._rooms: dict[str, Room] = {}
        self._placed: tuple[bytes, Room] | None = None
        self._maps: dict[tuple[object, ...], RoomMap] = {}

    async def picture(self, question: RoomQuestion) -> RoomPicture:
        """Draw; raises `BusyError`, or `JobError` where it cannot be drawn."""
        standing = self._stand()
        return await self._in_turn(lambda: self._draw(question, standing))

    async def map(self) -> RoomMap:
        """Clearance over gantry and couch rotation where the couch stands now; raises as `picture`."""
        standing = self._stand()
        return await self._in_turn(lambda: self._map(standing))

    def close(self) -> None:
        """Draw nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise BusyError(
                "pictures of the room are asked for faster than they are drawn; ask less often"
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except (RoomError, CoreError) as error:
            raise JobError(f"the room cannot be drawn: {error}") from error
        finally:
            self._waiting -= 1

    def _room(self, lies: PatientLies | None) -> Room:
        uid = "" if lies is None else lies.plan_uid
        if lies is None:
            if uid not in self._rooms:
                self._rooms[uid] = Room(self._machine)
            return self._rooms[uid]
        place = uid.encode() + lies.table_from_patient.tobytes()
        if self._placed is None or self._placed[0] != place:
            if uid not in self._rooms:
                surface = self._surfaces[uid]
                self._rooms[uid] = Room(self._machine, surface, lies.table_from_patient)
            self._placed = (place, self._rooms[uid].placed(lies.table_from_patient))
        return self._placed[1]

    def _panels(self, room: Room, arms: Arms) -> dict[str, float]:
        """The kV arms as the imager tells, those under way as out; arms that nobody tells of are in."""
        out = 0.0 if arms == "parked" else 1.0
        return {name: out if name.startswith("kv") else 0.0 for name in room.arms}

    def _draw(self, question: RoomQuestion, standing: Standing) -> RoomPicture:
        begin = time.perf_counter()
        room = self._room(standing.lies)
        at = question.path_fraction
        arms: Arms = standing.arms if at is None else "parked"  # a move begins with the arms in
        axes = standing.axes if at is None else standing.along(at)
        panels = self._panels(room, arms)
        nearest = room.clearance(axes, standing.gantry_deg, panels).nearest
        camera, hidden_kinds = self._camera(question, standing.gantry_deg)
        kinds = [_kind(frame, name, room) for name, frame in room.parts]
        hidden = [
            (kind, frame) in hidden_kinds
            for kind, (_, frame) in zip(kinds, room.parts, strict=True)
        ]
        poses = room.poses(axes, standing.gantry_deg, panels)
        size = (question.width, question.height)
        part, shade, _ = draw_room(room.core, poses, camera, size, hidden)
        return RoomPicture(
            path_fraction=at,
            width=question.width,
            height=question.height,
            parts=tuple(
                RoomPart(name=name, kind=kind)
                for (name, _), kind in zip(room.parts, kinds, strict=True)
            ),
            part_of_pixel=_packed(part.astype(np.uint8)),
            shade=_packed(shade),
            closest=_closest(nearest, camera, size),
            axes=axes,
            axis_names=_axis_names(self._machine),
            gantry_deg=standing.gantry_deg,
            arms=arms,
            patient=standing.patient,
            notes=_notes(room, arms),
            pose_age_ms=0.0 if at is not None else self._age_ms(standing),
            model_hash=room.model_hash,
            drawn_ms=(time.perf_counter() - begin) * 1e3,
        )

    def _age_ms(self, standing: Standing) -> float:
        return max(0.0, (self._clock_us() - standing.heard_us) / 1e3)

    def _camera(
        self, question: RoomQuestion, gantry_deg: float
    ) -> tuple[CameraNumbers, frozenset[tuple[PartKind, str]]]:
        imaging = self._machine.description.imaging
        pixel_mm = question.span_mm / question.height
        if question.look == "orbit":
            eye, right, up, towards = _orbit(question.azimuth_deg, question.elevation_deg)
            return _numbers(eye * EYE_MM, right, up, towards, pixel_mm, EYE_MM), frozenset()
        offset = imaging.kv_source_offset_deg if question.look == "kv" else 0.0
        turn = math.radians(gantry_deg + offset)
        eye = np.array([math.sin(turn), 0.0, math.cos(turn)])
        up = np.array([0.0, 1.0, 0.0])
        hidden: frozenset[tuple[PartKind, str]] = frozenset(
            {("panel", "kv_source_arm")} if question.look == "kv" else {("gantry", "gantry")}
        )
        camera = _numbers(
            eye * imaging.sad_mm, np.cross(-eye, up), up, -eye, pixel_mm, imaging.sad_mm
        )
        return camera, hidden

    def _map(self, standing: Standing) -> RoomMap:
        begin = time.perf_counter()
        room = self._room(standing.lies)
        names = _axis_names(self._machine)
        if "rotation" not in names:
            raise JobError(
                f"a {self._machine.description.family} couch has no rotation axis for a map"
            )
        at = names.index("rotation")
        # A couch at rest reads a little differently every time; the map is that of the nearest tenth.
        axes = tuple(round(value, 1) for value in standing.axes)
        around = (*axes[:at], 0.0, *axes[at + 1 :])
        key = (room.model_hash, around, standing.arms)
        found = self._maps.get(key)
        if found is None:
            while len(self._maps) >= MAPS_KEPT:
                self._maps.pop(next(iter(self._maps)))
            found = self._maps[key] = self._fresh_map(room, axes, standing, at, begin)
        return found.model_copy(
            update={
                "axes": axes,
                "gantry_now_deg": standing.gantry_deg,
                "pose_age_ms": self._age_ms(standing),
            }
        )

    def _fresh_map(
        self, room: Room, axes: tuple[float, ...], standing: Standing, at: int, begin: float
    ) -> RoomMap:
        low, high = self._machine.description.axis[at].range
        made = clearance_map(
            room,
            axes,
            self._panels(room, standing.arms),
            row=MapAxis("gantry", -180.0, 180.0, GANTRY_CELLS),
            column=MapAxis("rotation", low, high, ROTATION_CELLS),
            margin_mm=MARGIN_MM,
        )
        return RoomMap(
            gantry_deg=tuple(made.row.middles.tolist()),
            rotation_deg=tuple(made.column.middles.tolist()),
            lower_mm=tuple(map(tuple, np.round(made.lower_mm, 1).tolist())),
            pair=tuple(map(tuple, made.pair.tolist())),
            certain=tuple(map(tuple, made.state.tolist())),
            pairs=made.pairs,
            margin_mm=MARGIN_MM,
            axes=axes,
            axis_names=_axis_names(self._machine),
            gantry_now_deg=standing.gantry_deg,
            arms=standing.arms,
            patient=standing.patient,
            pose_age_ms=0.0,
            model_hash=made.model_hash,
            computed_ms=(time.perf_counter() - begin) * 1e3,
        )


def _yield_to_all() -> None:
    """Let the drawing thread wait for every other thread that wants to run."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def _axis_names(machine: Machine) -> tuple[str, ...]:
    return tuple(axis.name for axis in machine.description.axis)


def _kind(frame: str, name: str, room: Room) -> PartKind:
    if frame == "patient":
        return "patient"
    if frame in room.arms:
        return "panel"
    if frame == "gantry":
        return "gantry"
    return "room" if frame == "fixed" else "couch"


def _notes(room: Room, arms: Arms) -> tuple[str, ...]:
    notes = []
    if arms == "moving":
        notes.append("the kV arms are under way: drawn and measured as if they were out")
    silent = [name.replace("_", " ") for name in room.arms if not name.startswith("kv")]
    if silent:
        notes.append(f"nobody tells where these are, drawn retracted: {', '.join(silent)}")
    left_out = room.machine.description.not_modelled
    if left_out:
        notes.append(f"not in the model: {', '.join(left_out)}")
    return tuple(notes)


def _orbit(azimuth_deg: float, elevation_deg: float) -> tuple[Vector, Vector, Vector, Vector]:
    """Direction to the eye and the picture's axes, for an eye round the isocentre; 0, 0 is the foot of the couch."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    eye = np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])
    right = np.array([math.cos(a), math.sin(a), 0.0])
    return eye, right, np.cross(right, -eye), -eye


def _numbers(
    eye: Vector, right: Vector, up: Vector, towards: Vector, pixel_mm: float, focus_mm: float
) -> CameraNumbers:
    return (eye.tolist(), right.tolist(), up.tolist(), towards.tolist(), pixel_mm, focus_mm)


def _packed(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode("ascii")


def _closest(nearest: PairClearance, camera: CameraNumbers, size: tuple[int, int]) -> ClosestPair:
    first, second = (_projected(np.array(point), camera, size) for point in nearest.points)
    return ClosestPair(
        parts=nearest.parts,
        lower_mm=nearest.lower_mm,
        upper_mm=nearest.upper_mm,
        points=nearest.points,
        on_picture=(first, second),
    )


def _projected(
    point: Vector, camera: CameraNumbers, size: tuple[int, int]
) -> tuple[float, float] | None:
    """Column and row of a point of the fixed frame, from the top left; None behind the eye."""
    eye, right, up, towards, pixel_mm, focus_mm = camera
    to = point - np.array(eye)
    depth = float(to @ np.array(towards))
    if focus_mm is not None:
        if depth <= 1.0:
            return None
        to = to * (focus_mm / depth)
    column = float(to @ np.array(right)) / pixel_mm + size[0] / 2.0
    row = size[1] / 2.0 - float(to @ np.array(up)) / pixel_mm
    return column, row
