"""The panel's calibrations by technique, and the correction of its frames in the order in which they were read.

The imager stores a flood for each tube voltage and binning (without a filter); dark frames are taken here, since the
offset follows the panel's temperature. A flood serves one voltage, binning and panel mode, and for a shift; dark
frames serve one binning, panel mode and class of exposure time (what leaks into a pixel grows with it), and for half
an hour. Charge that earlier frames have left is taken off frame by frame, where
the lag of the panel was measured.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw.devices.frames import ExposureKind, PanelModeName, RawFrame, View
from igrt_hw.devices.imager import ClpImager
from igrt_hw.guidance.imager_calibration import ImagerCalibration
from igrt_hw.guidance.panel import (
    SATURATED_COUNTS,
    CalibrationOf,
    CorrectedImage,
    PanelCalibration,
    calibrate,
    correct,
)
from igrt_hw.guidance.panel_lag import LagModel, LagState, without_lag
from igrt_hw.link.errors import Refused
from igrt_hw.models.telemetry import RefusalCode
from igrt_hw.server.errors import JobError

TIME_CLASS_MS = 100.0
DARK_FRAMES = 2  # two, so that unstable pixels show
DARK_US_MAX = 30 * 60 * 1_000_000  # the offset of a panel drifts with its temperature
FLOOD_US_MAX = (
    12 * 3600 * 1_000_000
)  # a day's work; the stored floods may have been replaced overnight
FLOOD_TRIES = 20
FLOOD_PAUSE_S = 0.25  # an imager loads the floods of another voltage while the arms travel


@dataclass(frozen=True, slots=True, eq=False)
class _Flood:
    flood: RawFrame
    offset: RawFrame
    at_us: int


@dataclass(frozen=True, slots=True)
class DarksOf:
    """What dark frames hold for: offset and read-out noise change with each of these. `time_class` counts begun
    `TIME_CLASS_MS` of the exposure: within one, what leaks into a pixel differs by less than the read-out's own share.
    """

    binning: int
    mode: PanelModeName
    time_class: int


@dataclass(frozen=True, slots=True, eq=False)
class _Darks:
    frames: tuple[NDArray[np.float32], ...]
    at_us: int


class PanelKeeper:
    """One panel. Used by one job at a time."""

    def __init__(
        self,
        imager: ClpImager,
        known: ImagerCalibration | None,
        *,
        clock_us: Callable[[], int],
    ) -> None:
        self._imager = imager
        self._known = known
        self._clock_us = clock_us
        self._floods: dict[CalibrationOf, _Flood] = {}
        self._darks: dict[DarksOf, _Darks] = {}
        self._made: dict[tuple[CalibrationOf, DarksOf], PanelCalibration] = {}
        self._lag: LagState | None = None

    @property
    def lag(self) -> LagModel | None:
        """The measured lag of the panel; None where nobody measured it."""
        if self._known is None or self._known.lag is None:
            return None
        return self._known.lag.model()

    def forget(self) -> None:
        """Whatever went wrong, the next image begins from the panel up."""
        self._floods.clear()
        self._darks.clear()
        self._made.clear()
        self._lag = None

    def fresh(self, view: View) -> PanelCalibration | None:
        """The calibration for a view's voltage, filter and binning, if one is held and not too old."""
        now_us, wanted = self._clock_us(), technique_of(view)
        dark = darks_of(view)
        flood, darks = self._floods.get(wanted), self._darks.get(dark)
        if flood is None or darks is None:
            return None
        if now_us - flood.at_us > FLOOD_US_MAX or now_us - darks.at_us > DARK_US_MAX:
            return None
        return self._made.get((wanted, dark))

    def calibration(self, view: View, cancel: threading.Event) -> PanelCalibration:
        """The calibration for a view; its flood is fetched and dark frames are taken where those held are too old.

        The arms have to be extended and the view's technique set. Raises `JobError` for a flood of another technique,
        `InputRefused` for one that cannot be used, and the errors of the driver.
        """
        known = self.fresh(view)
        if known is not None:
            return known
        now_us, wanted = self._clock_us(), technique_of(view)
        flood = self._floods.get(wanted)
        if flood is None or now_us - flood.at_us > FLOOD_US_MAX:
            flood = self._flood(wanted, now_us, cancel)
        dark = darks_of(view)
        darks = self._darks.get(dark)
        if darks is None or now_us - darks.at_us > DARK_US_MAX:
            darks = self._dark_frames(dark, flood, now_us, cancel)
        defects = None if self._known is None else self._known.defects(view.binning)
        made = calibrate(
            flood.flood.counts,
            flood.offset.counts,
            flood.flood.mas,
            darks.frames,
            known_defects=defects,
            of=wanted,
            taken_us=darks.at_us,
        )
        self._floods[wanted], self._darks[dark] = flood, darks
        self._made[wanted, dark] = made
        return made

    def corrected(self, frame: RawFrame, calibration: PanelCalibration) -> CorrectedImage:
        """Line integrals of a frame, without what earlier ones left in it. Frames come in the order of reading."""
        signal = frame.counts.astype(np.float32) - calibration.offset
        own = self._own(signal, frame.end_device_us)
        # A pixel at its limit stays there: what is taken off must not make it look like a number.
        counts = np.where(frame.counts >= SATURATED_COUNTS, frame.counts, own + calibration.offset)
        return correct(counts.astype(np.float32), frame.mas, calibration)

    def _flood(self, wanted: CalibrationOf, now_us: int, cancel: threading.Event) -> _Flood:
        flood, offset = self._stored_flood(cancel)
        # The stored floods of this line are taken without a filter (docs/protocol.md, FRAME_INFO).
        held = CalibrationOf(
            kvp=flood.kvp, beam_filter="none", binning=flood.binning, mode=flood.panel_mode
        )
        problem = wanted.problem_with(held)
        if problem:
            raise JobError(
                f"the stored flood does not fit the images to be taken: {problem}. Take a flood at this technique, "
                "or image at that of the flood"
            )
        return _Flood(flood, offset, now_us)

    def _stored_flood(self, cancel: threading.Event) -> tuple[RawFrame, RawFrame]:
        for _ in range(FLOOD_TRIES - 1):
            try:
                return self._imager.stored_flood()
            except Refused as error:
                if error.code is not RefusalCode.NO_SUCH_FRAME or cancel.wait(FLOOD_PAUSE_S):
                    raise
        return self._imager.stored_flood()

    def _dark_frames(
        self, wanted: DarksOf, flood: _Flood, now_us: int, cancel: threading.Event
    ) -> _Darks:
        base = flood.offset.counts.astype(np.float32)
        frames = []
        for dark in self._imager.dark_frames(DARK_FRAMES, cancel):
            problem = _dark_problem(dark, wanted, base.shape)
            if problem:
                raise JobError(
                    f"the dark frame cannot be used: {problem}. Take it again; if it stays so, call service"
                )
            own = self._own(dark.counts.astype(np.float32) - base, dark.end_device_us)
            frames.append(own + base)
        return _Darks(tuple(frames), now_us)

    def _own(self, signal: NDArray[np.float32], at_us: int) -> NDArray[np.float32]:
        """What a frame caught itself; follows the panel from frame to frame."""
        model = self.lag
        if model is None:
            return signal
        state = self._lag
        if state is not None and (state.planes[0].shape != signal.shape or at_us <= state.at_us):
            state = (
                None  # another binning, or a device that began anew: what is left is not known here
            )
        own, self._lag = without_lag(signal, at_us, state, model)
        return own


def darks_of(view: View) -> DarksOf:
    """What dark frames have to be of for a view: radiographic mode, and the class of its exposure time."""
    return DarksOf(view.binning, "radiographic", math.ceil(view.ms / TIME_CLASS_MS))


def _dark_problem(dark: RawFrame, wanted: DarksOf, shape: tuple[int, ...]) -> str:
    """Why a dark frame does not serve; empty when it does."""
    if dark.kind != ExposureKind.DARK:
        return "it was exposed to X-rays"
    if dark.counts.shape != shape:
        return f"it has {dark.counts.shape} pixels, the flood {shape}: binning {wanted.binning} was asked"
    if dark.binning != wanted.binning:
        return f"it is binned {dark.binning} x {dark.binning}, {wanted.binning} x {wanted.binning} was asked"
    if dark.panel_mode != wanted.mode:
        return f"it was read in panel mode {dark.panel_mode}, {wanted.mode} was asked"
    if math.ceil(dark.ms / TIME_CLASS_MS) != wanted.time_class:
        return f"it is of {dark.ms:g} ms, up to {TIME_CLASS_MS * wanted.time_class:g} ms was asked"
    return ""


def technique_of(view: View) -> CalibrationOf:
    """What a view's calibration has to be of."""
    return CalibrationOf(
        kvp=view.kvp, beam_filter=view.beam_filter.name.lower(), binning=view.binning
    )
