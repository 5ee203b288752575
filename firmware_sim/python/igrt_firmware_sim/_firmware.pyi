"""Firmware, mechanics and X-rays of the simulated room (Rust)."""

from collections.abc import Mapping, Sequence
from typing import Self, final

import numpy as np
import numpy.typing as npt

from igrt_firmware_sim.truth import Fields, MotionTuple, SceneDict, TruthDict, ViewDict

__all__ = [
    "Pacer",
    "Replayer",
    "Room",
    "SimulatorError",
    "build_hash",
    "decode_frame",
    "encode_frame",
    "fault_table",
    "faults_refused",
    "motion_rest_to_rest",
    "motion_stop",
    "physics_table",
    "seeded_setup_error",
    "touch_guards",
]

class SimulatorError(ValueError):
    """Something the simulator refuses; the message says what was wrong, where, and what to do."""

@final
class Room:
    """The firmwares, their wires, the couch and the patient under one clock (integer microseconds).

    ``axes`` in millimetres and degrees (lateral, longitudinal, vertical, rotation, pitch, roll; joints of a robot);
    without them the table top starts at ``planned``, its six numbers of IEC 61217. ``chain`` and ``limits`` (lower,
    upper, speed, acceleration, jerk by axis): the couch of a machine file instead of the one built in.
    ``hu``: int16 of shape (z, y, x), contiguous, -1000 where there is no patient; ``spacing_mm`` and
    ``origin_mm`` (centre of voxel 0) in x, y, z of the DICOM patient frame. ``setup_error``: six numbers of the
    transform in the fixed frame about the isocentre. ``phantom``: cube or balls, instead of ``hu``. ``markers``: gold
    seeds within ``marker_spread_mm`` of the isocentre. ``physics``: strength of effects by name (`physics_table`).
    """

    def __new__(
        cls,
        *,
        seed: int,
        family: str = "pedestal",
        chain: Mapping[str, Sequence[float]] | None = None,
        limits: Sequence[Sequence[float]] | None = None,
        axes: Sequence[float] | None = None,
        planned: Sequence[float] = ...,
        referenced: bool = True,
        load_kg: float = 75.0,
        isocentre_mm: Sequence[float] = ...,
        setup_error: Sequence[float] = ...,
        hu: npt.NDArray[np.int16] | None = None,
        spacing_mm: Sequence[float] = ...,
        origin_mm: Sequence[float] = ...,
        phantom: str | None = None,
        markers: int = 0,
        marker_spread_mm: float = 15.0,
        physics: dict[str, float] | None = None,
        renders: bool = True,
        dialect: str = "clp1",
    ) -> Self: ...
    @property
    def now_us(self) -> int: ...
    def advance(self, to_us: int) -> None: ...
    def advance_to_octets(self, to_us: int) -> tuple[int, bytes, bytes, bytes]:
        """Advance until a device has sent something, not beyond ``to_us``: the clock, and the octets of couch, imager
        and pendant."""

    def watch_motion(self, every_us: int, mm_s: float, deg_s: float) -> None:
        """From now on, record where the couch is while it is faster than ``mm_s`` or ``deg_s``."""

    def take_motion(self) -> list[MotionTuple]: ...
    def motion(self) -> MotionTuple: ...
    def write(self, line: str, octets: bytes) -> None: ...
    def read(self, line: str) -> bytes: ...
    def line_break(self, line: str) -> None: ...
    def set_enable(self, position: str, for_ms: float | None = None) -> None: ...
    def set_estop(self, pressed: bool) -> None: ...
    def set_touch_guard(self, pressed: bool, guard: str = "table_left") -> None: ...
    def set_exposure_switch(self, closed: bool) -> None: ...
    def set_door(self, closed: bool) -> None: ...
    def set_jog_keys(self, keys: int) -> None: ...
    def set_brake_release(self, released: bool) -> None: ...
    def push(self, axis: str, by: float) -> None: ...
    def shift_patient(self, by: Sequence[float]) -> None: ...
    def breathe(
        self,
        amplitude_mm: Sequence[float],
        period_s: float,
        *,
        drift_mm_per_min: Sequence[float] = ...,
        baseline_mm: Sequence[float] = ...,
        irregularity: float = ...,
    ) -> None: ...
    def hold_breath(self) -> None: ...
    def shift_marker(self, index: int, by_mm: Sequence[float]) -> None: ...
    def scene(self) -> SceneDict: ...
    def view(self, source_deg: float) -> ViewDict: ...
    def inject(
        self,
        target: str,
        kind: str,
        *,
        axis: str | None = None,
        value: float | None = None,
        direction: str | None = None,
    ) -> None: ...
    def clear(self, target: str) -> None: ...
    def trace_hash(self) -> str: ...
    def truth(self) -> TruthDict: ...

@final
class Pacer:
    """Keeps a room at real time and pumps octets between its lines and open, non-blocking files.

    With ``noting`` it keeps notes of all it does to the room: (microseconds, `write`, `read`, `rates` or `deliver`,
    line, octets, number), the number being that of a delivered frame, or 1 where baud rates differ and 0 where not.
    """

    def __new__(cls, room: Room, noting: bool = False) -> Self: ...
    def attach(self, line: str, descriptor: int, baud: int | None = None) -> None: ...
    def hold(self) -> None:
        """From here to `release` the room's clock stands."""

    def release(self) -> None: ...
    def take_notes(self) -> list[tuple[int, str, str, bytes, int]] | None:
        """The notes since the last call; None if some were lost because nobody took them."""

    @property
    def slipped_us(self) -> int: ...
    @property
    def overrun_octets(self) -> int: ...
    def close(self) -> None: ...

@final
class Replayer:
    """Does again what a pacer noted, to a room that does not render by itself."""

    def __new__(cls, room: Room) -> Self: ...
    def rates_differ(self, line: str, differ: bool) -> None: ...
    def deliver(self, frame: int) -> None:
        """Renders a frame that the imager waits for, and delivers it now."""

def seeded_setup_error(seed: int, max_mm: float, max_deg: float) -> list[float]: ...
def fault_table() -> list[tuple[str, str, str]]:
    """Every fault of the model: target, kind, what its value means (empty: it takes none)."""

def faults_refused() -> list[tuple[str, str, str]]:
    """Every word that has no meaning for a target: target, word, why."""

def touch_guards() -> list[str]: ...
def motion_rest_to_rest(
    distance: float, limits: Sequence[float], at_s: Sequence[float] = ...
) -> tuple[float, list[tuple[float, float]]]:
    """Seconds of the firmware's motion from rest to rest, and (position, speed) at the instants ``at_s``.

    ``limits``: speed, acceleration, jerk, in one unit of length and seconds.
    """

def motion_stop(speed: float, accel: float, limits: Sequence[float]) -> tuple[float, float]:
    """Distance and seconds of the firmware's stop from a speed and an acceleration."""

def physics_table() -> list[tuple[str, float, float, str]]: ...
def build_hash() -> str: ...
def decode_frame(direction: str, run: bytes) -> tuple[Fields, bytes] | None:
    """What stood between two delimiters: the fields and the body.

    Fields: type, session, seq, ack, epoch, flags, device, t_us, deadline_us.

    ``None`` where the firmware would drop it. ``direction``: "H" host to device, "D" device to host.
    """

def encode_frame(direction: str, fields: Fields, body: bytes) -> bytes:
    """The octets of a frame as the firmware writes it, delimiters included."""
