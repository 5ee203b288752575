"""The imager on a CLP/1 line: single commands, and whole acquisitions that wait and say for what."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final, TypeVar, cast

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
    PANEL_MODES,
    ArmsPosition,
    ExposureKind,
    PanelMode,
    RawFrame,
    SeriesTold,
    View,
)
from igrt_hw.devices.interfaces import Imager, Progress
from igrt_hw.devices.plan import AxisKind, to_line
from igrt_hw.link import messages as m
from igrt_hw.link.errors import Refused
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import Line, LineSettings, monotonic_us
from igrt_hw.link.session import TelemetrySample
from igrt_hw.link.transport import PortSettings
from igrt_hw.models.generator import technique_problem
from igrt_hw.models.telemetry import (
    ImagerFault,
    ImagerFlag,
    ImagerState,
    ImagerTelemetry,
    RefusalCode,
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
SETTLING_S_MAX: Final = 3.0
SERIES_S_MAX: Final = 65.0
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
        """Set kVp, mA, ms, filter, binning and field."""
        return after(self.line.submit(technique_message(view)), m.TechniqueReply, lambda _: None)

    def prepare(self, on: bool) -> Future[None]:
        """Spin the anode up, or let it fall."""
        return after(self.line.submit(m.Prepare(int(on))), m.PrepareReply, lambda _: None)

    def expose(self, kind: ExposureKind, source_angle_deg: float) -> Future[int]:
        """Take one frame; the future has the number it will have."""
        angle = to_line(wrap_deg(source_angle_deg), AxisKind.ROTARY, "source angle")
        message = m.Expose(kind.value, 0, 0, angle)
        return after(self.line.submit(message), m.ExposeReply, lambda reply: reply.frame)

    def panel_mode(self, mode: PanelMode, rate_hz: float = 0.0) -> Future[m.PanelModeReply]:
        """Change how the panel is read; it then settles for a while (`ImagerFlag.PANEL_SETTLING`).

        rate_hz: frames a second of fluoroscopic mode; 0 in radiographic mode. Raises `PlanError` for a rate
        that the line cannot carry.
        """
        if (mode is PanelMode.RADIOGRAPHIC) != (rate_hz == 0.0) or not 0.0 <= rate_hz <= 1000.0:
            raise PlanError(
                f"{rate_hz:g} frames a second in {mode.name.lower()} mode: 0 in radiographic, more in fluoroscopic"
            )
        period_us = round(1e6 / rate_hz) if rate_hz else 0
        message = m.PanelMode(mode.value, 0, 0, period_us)
        return after(self.line.submit(message), m.PanelModeReply, lambda reply: reply)

    def series(self, frames: int, source_angle_deg: float) -> Future[int]:
        """Begin a series of pulses; the future has the number of its first frame. Raises `PlanError`."""
        if not 0 < frames <= 0xFFFF:
            raise PlanError(f"a series of {frames} frames; 1 to {0xFFFF}")
        angle = to_line(wrap_deg(source_angle_deg), AxisKind.ROTARY, "source angle")
        message = m.Series(frames, 0, angle)
        return after(self.line.submit(message), m.SeriesReply, lambda reply: reply.first_frame)

    def end_series(self) -> Future[int]:
        """End a series with the pulse under way, if there is one; the future has the number of the next frame to be."""
        return after(
            self.line.submit(m.Series(0, 0, 0)), m.SeriesReply, lambda reply: reply.first_frame
        )

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
        self.read_panel(PanelMode.RADIOGRAPHIC, 0.0, cancel)
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

    def read_panel(
        self, mode: PanelMode, rate_hz: float, cancel: threading.Event | None = None
    ) -> None:
        """Put the panel into a mode and wait until it has settled; nothing where radiographic mode is on already."""
        told = self.telemetry
        if mode is PanelMode.RADIOGRAPHIC and (
            told is None
            or (told.panel_mode != "fluoroscopic" and ImagerFlag.PANEL_SETTLING not in told.flags)
        ):
            return
        self._wait_answer(self.panel_mode(mode, rate_hz), cancel, "PANEL_MODE")
        self._wait_status(
            lambda s: ImagerFlag.PANEL_SETTLING not in s.flags,
            SETTLING_S_MAX,
            cancel,
            "the panel to settle",
        )

    def fluoroscopy(
        self,
        view: View,
        frames: int,
        rate_hz: float,
        take: Callable[[RawFrame], None],
        cancel: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> SeriesTold:
        """Take a series of pulses and give every frame to `take` as it comes, in order.

        `view` has kVp, mA and ms of one pulse. Frames that this end fetches too late are dropped by the device, which
        counts and tells them; what is left comes. The exposure switch may end a series early, which is no error.
        Blocks; raises as `acquire`. Whatever is raised, the series is ended first.
        """
        tell = progress or _no_progress
        self.extend_arms(cancel, lambda text, _: tell(text, 0.0))
        self.read_panel(PanelMode.FLUOROSCOPIC, rate_hz, cancel)
        self._wait_answer(self.technique(view), cancel, "TECHNIQUE")
        self.turn_gantry(view.source_angle_deg, cancel, lambda text, _: tell(text, 0.1))
        self._wait_answer(self.prepare(True), cancel, "PREPARE")
        self._wait_status(
            lambda s: ImagerFlag.PREPARED in s.flags, PREPARE_S_MAX, cancel, "the anode to be ready"
        )
        first = self._wait_answer(self.series(frames, view.source_angle_deg), cancel, "SERIES")
        try:
            told = self._follow_series(first, frames, take, cancel, tell)
        except BaseException:
            self.end_series()
            raise
        self.read_panel(PanelMode.RADIOGRAPHIC, 0.0, cancel)
        return told

    def _follow_series(
        self,
        first: int,
        frames: int,
        take: Callable[[RawFrame], None],
        cancel: threading.Event | None,
        tell: Progress,
    ) -> SeriesTold:
        """Fetch what the panel shows until the series is over and nothing is on its way any more."""
        following, fetched, end_s = first, 0, time.monotonic() + SERIES_S_MAX
        while self._comes(following, max(0.1, end_s - time.monotonic()), cancel):
            for number in range(following, self._status().latest_frame + 1):
                try:
                    take(self.fetch(number, cancel))
                    fetched += 1
                except Refused as error:
                    if error.code is not RefusalCode.NO_SUCH_FRAME:
                        raise
                following = number + 1
                tell(f"frame {number - first + 1} of {frames}", (following - first) / frames)
        pulses = self._wait_answer(self.end_series(), cancel, "SERIES") - first
        return SeriesTold(frames, first, pulses, fetched, pulses - fetched)

    def _comes(self, frame: int, within_s: float, cancel: threading.Event | None) -> bool:
        """Wait for a frame of a series to show; `False` when the series is over without it."""
        under_way = (ImagerState.EXPOSING, ImagerState.READING_OUT)
        self._wait_status(
            lambda s: s.latest_frame >= frame or s.state not in under_way,
            within_s,
            cancel,
            f"frame {frame} of the series",
        )
        return self._status().latest_frame >= frame

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
            ma=info.ma_tenth / 10,
            ms=info.time_us / 1e3,
            mas=info.mas_u / 1e3,
            source_angle_deg=info.source_angle_udeg / 1e6,
            source_arm_mm=info.source_arm_um / 1e3,
            panel_arm_mm=info.panel_arm_um / 1e3,
            dose_area_uGycm2=float(info.dose_area_uGycm2),
            sad_mm=info.sad_um / 1e3,
            sid_mm=info.sid_um / 1e3,
            pitch_mm=info.pitch_nm / 1e6,
            panel_mode=PANEL_MODES.get(info.panel_mode, "unknown"),
            dropped=info.dropped,
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
        return ImagerTelemetry(
            received_us=sample.received_us,
            device_us=status.device_us,
            session=sample.session,
            epoch=sample.epoch,
            state=ImagerState(status.state),
            panel_mode=PANEL_MODES.get(status.panel_mode, "unknown"),
            frames_dropped=status.dropped,
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
    """TECHNIQUE for a view. Raises `PlanError` for what the generator does not give, with what is out and by how
    much, and for values the line cannot carry."""
    if view.binning not in BINNINGS:
        raise PlanError(f"binning {view.binning}; the panel has {BINNINGS}")
    problem = technique_problem(view.kvp, view.ma, view.ms)
    if problem:
        raise PlanError(problem)
    edges = [to_line(edge, AxisKind.LINEAR, "field edge") for edge in view.field_mm]
    x1, x2, y1, y2 = edges
    if x1 >= x2 or y1 >= y2:
        raise PlanError(f"field {view.field_mm} mm: x1 must be below x2, and y1 below y2")
    return m.Technique(
        round(view.kvp * 10),
        view.beam_filter.value,
        view.binning,
        round(view.ma * 10),
        round(view.ms * 1000),
        x1,
        x2,
        y1,
        y2,
    )


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
