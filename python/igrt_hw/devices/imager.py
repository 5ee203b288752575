"""The imager on a CLP/1 line: single commands, and whole acquisitions that wait and say for what."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, Literal, TypeVar, cast

import numpy as np

from igrt_hw.devices.clp import ClpDevice, after, line_settings
from igrt_hw.devices.errors import (
    Cancelled,
    DeviceFault,
    FrameCorrupt,
    PlanError,
    StoppedOnTheWay,
    TookTooLong,
)
from igrt_hw.devices.frames import (
    FLOOD_FRAME,
    FLOOD_OFFSET_FRAME,
    ArmsPosition,
    ExposureKind,
    RawFrame,
    View,
)
from igrt_hw.devices.interfaces import Imager, Progress
from igrt_hw.devices.plan import AxisKind, to_line
from igrt_hw.link import messages as m
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import Line, LineSettings, monotonic_us
from igrt_hw.link.session import TelemetrySample
from igrt_hw.link.transport import PortSettings
from igrt_hw.models.telemetry import (
    ImagerFault,
    ImagerFlag,
    ImagerState,
    ImagerTelemetry,
    flag_words,
)

BLOCK_LEN: Final = 4096
BLOCKS_AT_ONCE: Final = 64  # given to the line together; two such batches keep its window full
FRAME_OCTETS_MAX: Final = 64 * 1024 * 1024
ARMS_S_MAX: Final = 40.0
GANTRY_S_MAX: Final = 120.0
PREPARE_S_MAX: Final = 5.0
PREPARED_US_MAX: Final = 10_000_000  # the anode falls after 15 s
EXPOSURE_S_MAX: Final = 15.0
FETCH_S_MAX: Final = 600.0  # 1.5 MB at 115200 baud take 137 s
POLL_S: Final = 0.1  # how often a wait looks at `cancel`
GANTRY_TOLERANCE_DEG: Final = 0.05
BINNINGS: Final = (1, 2, 4)

T = TypeVar("T")


class ClpImager(ClpDevice[ImagerTelemetry]):
    """An imager that speaks CLP/1.

    source_offset_deg: source angle minus gantry angle (`kv_source_offset_deg` of the machine).
    """

    def __init__(
        self,
        settings: LineSettings,
        source_offset_deg: float = 90.0,
        line_of: Callable[[LineSettings], Line] = Line,
    ) -> None:
        super().__init__(settings, line_of)
        self.source_offset_deg = source_offset_deg
        self._prepared_us = -PREPARED_US_MAX

    @classmethod
    def on_port(cls, port: PortSettings | str, source_offset_deg: float = 90.0) -> ClpImager:
        """An imager by its port."""
        return cls(line_settings(port, DeviceKind.IMAGER), source_offset_deg)

    # ---- single commands -------------------------------------------------------------------

    def arms(self, position: ArmsPosition) -> Future[None]:
        """Park or extend both arms; the answer comes when they begin to move."""
        message = m.Arms(position.value, position.value)
        return after(self.line.submit(message), m.ArmsReply, lambda _: None)

    def gantry(self, angle_deg: float) -> Future[None]:
        """Turn the gantry to an absolute angle (wrapped to (-180, 180])."""
        message = m.Gantry(to_line(wrap_deg(angle_deg), AxisKind.ROTARY, "gantry angle"))
        return after(self.line.submit(message), m.GantryReply, lambda _: None)

    def technique(self, view: View) -> Future[None]:
        """Set kVp, mAs, filter, binning and field."""
        return after(self.line.submit(technique_message(view)), m.TechniqueReply, lambda _: None)

    def prepare(self, on: bool) -> Future[None]:
        """Spin the anode up, or let it fall."""
        return after(self.line.submit(m.Prepare(int(on))), m.PrepareReply, lambda _: None)

    def expose(self, kind: ExposureKind, source_angle_deg: float) -> Future[int]:
        """Take one frame; the future has the number it will have."""
        angle = to_line(wrap_deg(source_angle_deg), AxisKind.ROTARY, "source angle")
        message = m.Expose(kind.value, 0, 0, angle)
        return after(self.line.submit(message), m.ExposeReply, lambda reply: reply.frame)

    def reset_faults(self, faults: ImagerFault) -> Future[ImagerFault]:
        """Reset the named faults whose cause is gone; the future has those that remain."""
        return after(
            self.line.submit(m.FaultReset(faults.value)),
            m.FaultResetReply,
            lambda reply: ImagerFault(reply.remaining),
        )

    # ---- whole acquisitions ----------------------------------------------------------------

    def acquire(
        self, view: View, cancel: threading.Event | None = None, progress: Progress | None = None
    ) -> RawFrame:
        """Take one image: technique, arms, gantry, anode, exposure, read-out, transfer.

        Blocks for up to minutes. The permission of this line has to be refreshed meanwhile, since
        arms and gantry stop without a fresh lease. Raises `Refused`, `LinkLost`, `DeviceFault`,
        `TookTooLong`, `Cancelled` or `FrameCorrupt`; each says at which step and what is missing.
        """
        tell = progress or _no_progress
        tell("setting technique", 0.0)
        self._wait_answer(self.technique(view), cancel, "TECHNIQUE")
        self.extend_arms(cancel, lambda text, _: tell(text, 0.1))
        self.turn_gantry(view.source_angle_deg, cancel, lambda text, _: tell(text, 0.3))
        tell("preparing the anode", 0.5)
        self._wait_answer(self.prepare(True), cancel, "PREPARE")
        self._wait_status(
            lambda s: ImagerFlag.PREPARED in s.flags, PREPARE_S_MAX, cancel, "the anode to be ready"
        )
        tell("exposing", 0.6)
        frame = self._expose_and_wait(ExposureKind.X_RAY, view.source_angle_deg, cancel)
        return self.fetch(frame, cancel, lambda text, part: tell(text, 0.7 + 0.3 * part))

    def projection(
        self, source_angle_deg: float, cancel: threading.Event | None = None
    ) -> RawFrame:
        """One frame of a scan: gantry, anode, exposure, transfer; technique and arms are set. Blocks; raises as
        `acquire`."""
        self.turn_gantry(source_angle_deg, cancel)
        if monotonic_us() - self._prepared_us > PREPARED_US_MAX:
            self._wait_answer(self.prepare(False), cancel, "PREPARE")
            self._wait_answer(self.prepare(True), cancel, "PREPARE")
            self._wait_status(
                lambda s: ImagerFlag.PREPARED in s.flags,
                PREPARE_S_MAX,
                cancel,
                "the anode to be ready",
            )
            self._prepared_us = monotonic_us()
        frame = self._expose_and_wait(ExposureKind.X_RAY, source_angle_deg, cancel)
        return self.fetch(frame, cancel)

    def extend_arms(
        self, cancel: threading.Event | None = None, progress: Progress | None = None
    ) -> None:
        """Extend both arms and wait until they are out."""
        self._move_arms(ArmsPosition.EXTENDED, ImagerFlag.ARMS_EXTENDED, cancel, progress)

    def park_arms(
        self, cancel: threading.Event | None = None, progress: Progress | None = None
    ) -> None:
        """Park both arms and wait until they are in; the couch does not move before."""
        self._move_arms(ArmsPosition.PARKED, ImagerFlag.ARMS_PARKED, cancel, progress)

    def turn_gantry(
        self,
        source_angle_deg: float,
        cancel: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Turn the gantry so that the source stands at an angle, and wait until it does."""
        target_deg = wrap_deg(source_angle_deg - self.source_offset_deg)

        def there(status: ImagerTelemetry) -> bool:
            off_deg = abs(wrap_deg(status.gantry_deg - target_deg))
            return status.state is not ImagerState.GANTRY_MOVING and off_deg < GANTRY_TOLERANCE_DEG

        (progress or _no_progress)(f"turning the source to {source_angle_deg:.1f} deg", 0.0)
        self._wait_answer(self.gantry(target_deg), cancel, "GANTRY")
        what = f"the gantry to stand at {target_deg:.1f} deg"
        self._wait_status(
            lambda s: s.state is not ImagerState.GANTRY_MOVING, GANTRY_S_MAX, cancel, what
        )
        self._raise_unless(there, what)

    def dark_frames(self, count: int, cancel: threading.Event | None = None) -> list[RawFrame]:
        """Take frames without radiation where the gantry stands now."""
        status = self._status()
        angle_deg = wrap_deg(status.gantry_deg + self.source_offset_deg)
        frames = []
        for _ in range(count):
            number = self._expose_and_wait(ExposureKind.DARK, angle_deg, cancel)
            frames.append(self.fetch(number, cancel))
        return frames

    def stored_flood(self) -> tuple[RawFrame, RawFrame]:
        """The stored flood frame and its offset, in the current binning."""
        return self.fetch(FLOOD_FRAME), self.fetch(FLOOD_OFFSET_FRAME)

    def fetch(
        self,
        frame: int,
        cancel: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> RawFrame:
        """Fetch one frame in blocks and verify its SHA-256.

        Raises `FrameCorrupt` if the digest differs, `Refused` (code 11) if the device no longer has
        the frame.
        """
        info = self._wait_answer(self.line.submit(m.FrameInfo(frame)), cancel, "FRAME_INFO")
        assert isinstance(info, m.FrameInfoReply)
        if info.bytes != info.rows * info.cols * 2 or not 0 < info.bytes <= FRAME_OCTETS_MAX:
            raise FrameCorrupt(
                f"frame {frame}: {info.bytes} octets for {info.rows} x {info.cols} pixels of 16 bit"
            )
        octets = bytearray(info.bytes)
        at = 0
        for blocks in self._read_blocks(frame, info.bytes, cancel):
            for block in blocks:
                if block.frame != frame or block.offset != at or block.count != len(block.data):
                    raise FrameCorrupt(f"frame {frame}: a block for {block.offset}, asked for {at}")
                octets[at : at + block.count] = block.data
                at += block.count
            (progress or _no_progress)(f"fetching frame {frame}", at / info.bytes)
        if at != info.bytes or hashlib.sha256(octets).digest() != info.sha256:
            raise FrameCorrupt(
                f"frame {frame}: the octets received are not those the device has; fetch it again"
            )
        return self._raw_frame(info, octets)

    # ---- steps -----------------------------------------------------------------------------

    def _read_blocks(
        self, frame: int, total: int, cancel: threading.Event | None
    ) -> Iterator[list[m.FrameReadReply]]:
        """Batches of blocks in order; the next batch is given before the last one is awaited."""
        span = BLOCK_LEN * BLOCKS_AT_ONCE

        def give(at: int) -> Future[list[m.Message]]:
            end = min(at + span, total)
            return self.line.submit_many(
                [m.FrameRead(frame, o, min(BLOCK_LEN, end - o)) for o in range(at, end, BLOCK_LEN)]
            )

        ahead: Future[list[m.Message]] | None = give(0)
        for at in range(span, total + span, span):
            current = ahead
            ahead = give(at) if at < total else None
            assert current is not None
            blocks = self._wait_answer(current, cancel, f"frame {frame}", FETCH_S_MAX)
            yield cast("list[m.FrameReadReply]", blocks)

    def _raw_frame(self, info: m.FrameInfoReply, octets: bytearray) -> RawFrame:
        counts = np.frombuffer(octets, dtype="<u2").reshape(info.rows, info.cols)
        counts = counts.astype(np.uint16, copy=False)
        counts.flags.writeable = False
        return RawFrame(
            frame=info.frame,
            kind=info.kind,
            binning=info.binning,
            bits=info.bits,
            counts=counts,
            sha256=info.sha256.hex(),
            begin_device_us=info.begin_device_us,
            end_device_us=info.end_device_us,
            begin_us=self.line.host_us(info.begin_device_us),
            end_us=self.line.host_us(info.end_device_us),
            fetched_us=monotonic_us(),
            kvp=info.kvp_tenth / 10,
            mas=info.mas_u / 1e3,
            source_angle_deg=info.source_angle_udeg / 1e6,
            source_arm_mm=info.source_arm_um / 1e3,
            panel_arm_mm=info.panel_arm_um / 1e3,
            dose_area_uGycm2=float(info.dose_area_uGycm2),
            sad_mm=info.sad_um / 1e3,
            sid_mm=info.sid_um / 1e3,
            pitch_mm=info.pitch_nm / 1e6,
        )

    def _move_arms(
        self,
        position: ArmsPosition,
        flag: ImagerFlag,
        cancel: threading.Event | None,
        progress: Progress | None,
    ) -> None:
        (progress or _no_progress)(f"arms to {position.name.lower()}", 0.0)
        self._wait_answer(self.arms(position), cancel, "ARMS")
        what = f"the arms to be {position.name.lower()}"
        self._wait_status(
            lambda s: s.state is not ImagerState.ARMS_MOVING, ARMS_S_MAX, cancel, what
        )
        self._raise_unless(lambda s: flag in s.flags, what)

    def _raise_unless(self, there: Callable[[ImagerTelemetry], bool], what: str) -> None:
        """What stands still and is not there will not come by itself: a late lease or a STOP took its order away."""
        if not there(self._status()):
            raise StoppedOnTheWay(
                f"waited for {what}, but the motion stopped on its way (a lease was late, or STOP); {self._now_words()}"
            )

    def _expose_and_wait(
        self, kind: ExposureKind, source_angle_deg: float, cancel: threading.Event | None
    ) -> int:
        frame = self._wait_answer(self.expose(kind, source_angle_deg), cancel, "EXPOSE")
        self._wait_status(
            lambda s: s.latest_frame == frame,
            EXPOSURE_S_MAX,
            cancel,
            f"frame {frame} to be read out",
        )
        return frame

    def _status(self) -> ImagerTelemetry:
        status = self.telemetry
        if status is None:
            raise TookTooLong("no telemetry of the imager was received yet")
        return status

    def _wait_answer(
        self,
        future: Future[T],
        cancel: threading.Event | None,
        what: str,
        timeout_s: float = 10.0,
    ) -> T:
        end_s = time.monotonic() + timeout_s
        while True:
            try:
                return future.result(POLL_S)
            except FutureTimeoutError:
                _check(cancel, what)
                if time.monotonic() > end_s:
                    raise TookTooLong(f"{what}: no answer within {timeout_s:g} s") from None

    def _wait_status(
        self,
        until: Callable[[ImagerTelemetry], bool],
        timeout_s: float,
        cancel: threading.Event | None,
        what: str,
    ) -> None:
        """Wait for a status, received from now on, that satisfies `until`."""
        begin_us = monotonic_us()
        end_s = time.monotonic() + timeout_s

        def found(sample: TelemetrySample) -> bool:
            if sample.received_us < begin_us:
                return False
            status = self._convert(sample)
            return status is not None and (until(status) or bool(status.faults))

        while (sample := self.line.wait_telemetry(found, POLL_S)) is None:
            _check(cancel, what)
            self.line.raise_if_lost()
            if time.monotonic() > end_s:
                raise TookTooLong(f"waited {timeout_s:g} s for {what}; {self._now_words()}")
        status = self._convert(sample)
        if status is not None and status.faults:
            words = ", ".join(flag_words(status.faults))
            raise DeviceFault(f"while waiting for {what}, the imager latched: {words}")

    def _now_words(self) -> str:
        status = self._status()
        age_ms = (monotonic_us() - status.received_us) / 1000
        return (
            f"now: {status.state.words}, gantry {status.gantry_deg:.2f} deg, flags"
            f" {', '.join(flag_words(status.flags)) or 'none'}, heard {age_ms:.0f} ms ago"
        )

    def _convert(self, sample: TelemetrySample) -> ImagerTelemetry | None:
        status = sample.message
        if not isinstance(status, m.ImagerStatus):
            return None
        mode: Literal["off", "radiographic"] = "radiographic" if status.panel_mode == 1 else "off"
        return ImagerTelemetry(
            received_us=sample.received_us,
            device_us=status.device_us,
            session=sample.session,
            epoch=sample.epoch,
            state=ImagerState(status.state),
            panel_mode=mode,
            binning=status.binning,
            flags=ImagerFlag(status.flags),
            faults=ImagerFault(status.faults),
            gantry_deg=status.gantry_udeg / 1e6,
            source_arm_mm=status.source_arm_um / 1e3,
            panel_arm_mm=status.panel_arm_um / 1e3,
            anode_heat_fraction=status.anode_heat_ppm / 1e6,
            dose_area_uGycm2=float(status.dose_area_uGycm2),
            latest_frame=status.latest_frame,
        )


def technique_message(view: View) -> m.Technique:
    """TECHNIQUE for a view. Raises `PlanError` for values the line cannot carry."""
    if view.binning not in BINNINGS:
        raise PlanError(f"binning {view.binning}; the panel has {BINNINGS}")
    kvp_tenth, mas_u = round(view.kvp * 10), round(view.mas * 1000)
    if not 0 < kvp_tenth <= 0xFFFF or not 0 < mas_u <= 0xFFFF_FFFF:
        raise PlanError(f"{view.kvp} kVp, {view.mas} mAs: both must be positive and fit the line")
    edges = [to_line(edge, AxisKind.LINEAR, "field edge") for edge in view.field_mm]
    x1, x2, y1, y2 = edges
    if x1 >= x2 or y1 >= y2:
        raise PlanError(f"field {view.field_mm} mm: x1 must be below x2, and y1 below y2")
    return m.Technique(kvp_tenth, view.beam_filter.value, view.binning, mas_u, x1, x2, y1, y2)


def wrap_deg(angle_deg: float) -> float:
    """An angle in (-180, 180]."""
    return -((180.0 - angle_deg) % 360.0 - 180.0)


def _check(cancel: threading.Event | None, what: str) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled(f"given up while waiting for {what}")


def _no_progress(text: str, part: float) -> None:
    """For those who do not want to know."""


def as_imager(driver: ClpImager) -> Imager:
    """The driver as what it is to the rest of the program; the type checker holds it to that."""
    return driver
