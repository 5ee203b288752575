"""The imager's driver as `ImageTaker` sees it, on a room in virtual time: the simulator's firmware over its own line,
with no thread and no real second. Also the couch's history, which the taker stamps images with.
"""

from __future__ import annotations

import hashlib
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import numpy as np

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import (
    ARMS,
    EXPOSE,
    FLOOD,
    FLOOD_OFFSET,
    FRAME_INFO,
    PREPARE,
    TECHNIQUE,
    Host,
)
from igrt_hw.devices.frames import PANEL_MODES, RawFrame, View
from igrt_hw.devices.imager import technique_message
from igrt_hw.models.telemetry import CouchFlag

INFO = struct.Struct("<BBBIHHI32sQQHHIiiiIIIIIBI")


def done(value: Any = None) -> Future[Any]:
    """A future that has its answer."""
    answered: Future[Any] = Future()
    answered.set_result(value)
    return answered


class VirtualImager:
    """As much of `ClpImager` as taking images needs. Device time and host time are the room's clock."""

    source_offset_deg = 90.0

    def __init__(self, room: VirtualRoom, host: Host) -> None:
        self.room, self.host = room, host
        self.techniques: list[View] = []
        self.exposures = 0
        self.break_next: Callable[[], None] | None = None
        """Called after the next exposure, before its frame is fetched."""

    @property
    def telemetry(self) -> Any:
        """The last status."""
        self.host.advance_ms(60)
        status = self.host.status("imager")
        return SimpleNamespace(
            gantry_deg=status["gantry_udeg"] / 1e6, dose_area_uGycm2=float(status["dose_area"])
        )

    def health(self) -> Any:
        """The epoch, which moves with STOP."""
        return SimpleNamespace(epoch=self.host.epoch("imager"))

    def technique(self, view: View) -> Future[None]:
        """Set the technique."""
        message = technique_message(view)
        body = struct.pack(
            "<HBBHI4i",
            message.kvp_tenth,
            message.filter,
            message.binning,
            message.ma_tenth,
            message.time_us,
            *(round(edge * 1000) for edge in view.field_mm),
        )
        self.host.command("imager", TECHNIQUE, body)
        self.techniques.append(view)
        return done()

    def prepare(self, on: bool) -> Future[None]:
        """Spin the anode up."""
        self.host.command("imager", PREPARE, bytes([on]))
        return done()

    def extend_arms(self, cancel: threading.Event | None = None, progress: Any = None) -> None:
        """Arms out."""
        self.host.command("imager", ARMS, bytes([1, 1]))
        self.host.wait("imager", lambda status: bool(status["flags"] & 2), within_ms=5000)

    def park_arms(self, cancel: threading.Event | None = None, progress: Any = None) -> None:
        """Arms in."""
        self.host.park_arms()

    def stored_flood(self) -> tuple[RawFrame, RawFrame]:
        """Flood and its offset at the technique that is set."""
        return self.fetch(FLOOD), self.fetch(FLOOD_OFFSET)

    def dark_frames(self, count: int, cancel: threading.Event | None = None) -> list[RawFrame]:
        """Frames without radiation where the gantry stands."""
        angle = self.telemetry.gantry_deg + 90.0
        angle = angle - 360.0 if angle > 180.0 else angle
        frames = []
        for _ in range(count):
            body = struct.pack("<BBHi", 1, 0, 0, round(angle * 1e6))
            number = struct.unpack("<I", self.host.command("imager", EXPOSE, body).body)[0]
            self._until_read(number)
            frames.append(self.fetch(number))
        return frames

    def acquire(
        self, view: View, cancel: threading.Event | None = None, progress: Any = None
    ) -> RawFrame:
        """One image with everything before it."""
        self.technique(view)
        self.extend_arms()
        number = self.host._shoot(view.source_angle_deg, 0)
        self.exposures += 1
        if self.break_next is not None:
            self.break_next()
        return self.fetch(number)

    def projection(self, source_angle_deg: float, cancel: Any = None) -> RawFrame:
        """One frame of a scan."""
        self.exposures += 1
        return self.fetch(self.host._shoot(source_angle_deg, 0))

    def fetch(self, frame: int) -> RawFrame:
        """A frame with what FRAME_INFO says of it."""
        info = self.host.command("imager", FRAME_INFO, struct.pack("<I", frame)).body
        told = INFO.unpack_from(info)
        counts = np.array(self.host.fetch(frame), dtype=np.uint16)
        return RawFrame(
            frame=frame,
            kind=told[0],
            binning=told[1],
            bits=told[2],
            counts=counts,
            sha256=hashlib.sha256(counts.tobytes()).hexdigest(),
            begin_device_us=told[8],
            end_device_us=told[9],
            begin_us=told[8],
            end_us=told[9],
            fetched_us=self.room.now_us,
            kvp=told[10] / 10,
            ma=told[11] / 10,
            ms=told[20] / 1e3,
            mas=told[12] / 1e3,
            source_angle_deg=told[13] / 1e6,
            source_arm_mm=told[14] / 1e3,
            panel_arm_mm=told[15] / 1e3,
            dose_area_uGycm2=float(told[16]),
            sad_mm=told[17] / 1e3,
            sid_mm=told[18] / 1e3,
            pitch_mm=told[19] / 1e6,
            panel_mode=PANEL_MODES[told[21]],
            dropped=told[22],
        )

    def _until_read(self, number: int) -> None:
        self.host.wait("imager", lambda status: status["latest_frame"] >= number, within_ms=10_000)


class VirtualHistory:
    """The couch as its encoders told it; a virtual couch that nobody moves stands where it stands."""

    def __init__(self, room: VirtualRoom) -> None:
        self.room = room

    def between(self, first_us: int, last_us: int) -> tuple[Any, ...]:
        """One sample: where it stands now."""
        measured = self.room.truth()["measured"]
        return (
            SimpleNamespace(
                primary=tuple(float(measured[name]) for name in measured),
                axis_units=("mm", "mm", "mm", "deg", "deg", "deg"),
                flags=CouchFlag.BRAKES_ON,
            ),
        )
