"""Taking the kV pair: technique, calibration, exposures, correction, and the couch's pose frozen with them.

Blocks; runs in a worker thread. The supervisor keeps the imager's lease alive meanwhile; without it arms and
gantry stop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.devices.errors import StoppedOnTheWay
from igrt_hw.devices.frames import BeamFilter, RawFrame, View
from igrt_hw.devices.imager import ClpImager
from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.imaging_protocol import ImagingProtocol
from igrt_hw.guidance.panel import (
    CalibrationOf,
    CorrectedImage,
    PanelCalibration,
    calibrate,
    check_fits,
    correct,
    field_region,
)
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.link.errors import Refused
from igrt_hw.models.base import Frozen
from igrt_hw.models.plan import PlannedField
from igrt_hw.models.proposal import ImageStamp
from igrt_hw.models.status import ImageView
from igrt_hw.models.telemetry import CouchFlag, CouchTelemetry, RefusalCode
from igrt_hw.server.errors import JobError

Progress = Callable[[str, float], None]
Purpose = Literal["setup", "verification"]

DARK_FRAMES = 2  # two, so that unstable pixels show
CALIBRATION_US_MAX = 30 * 60 * 1_000_000  # the offset of a panel drifts with its temperature
COUCH_SAMPLES_MAX = 6000  # five minutes at 20 Hz
AROUND_EXPOSURE_US = 150_000  # telemetry comes every 50 ms: three samples before and after
STILL_MM = 0.1  # encoder noise stays far below, a couch that creeps does not
STILL_DEG = 0.05
LEASE_TRIES = 4
LEASE_PAUSE_S = 0.2

T = TypeVar("T")


class Technique(Frozen):
    """How a view is exposed.

    `field_mm` are the kV blades at the isocentre, x1, x2, y1, y2. They are not the jaws of the plan, which
    belong to the treatment collimator, and a match needs the anatomy round the target.
    """

    kvp: float = 80.0
    mas: float = 5.0
    beam_filter: BeamFilter = BeamFilter.NONE
    binning: int = 2
    field_mm: tuple[float, float, float, float] = (-130.0, 130.0, -100.0, 100.0)

    @classmethod
    def of(cls, protocol: ImagingProtocol, source_angle_deg: float) -> Technique:
        """What the protocol of a site wants of the view from a source angle."""
        view = protocol.view_at(source_angle_deg)
        return cls(
            kvp=view.kvp,
            mas=view.mas,
            beam_filter=BeamFilter[view.beam_filter.upper()],
            binning=protocol.binning,
            field_mm=protocol.field_mm,
        )


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """A corrected image with its geometry. `line_integrals` (rows, cols) float32, NaN where nothing is."""

    view: ImageView
    line_integrals: NDArray[np.float32]
    region: NDArray[np.bool_]
    geometry: PanelGeometry
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AcquiredPair:
    """The images, and where the couch stood in that instant."""

    stamp: ImageStamp
    images: tuple[StoredImage, ...]


class CouchHistory:
    """What the couch said lately; written by the thread of the line, read by the imaging job."""

    def __init__(self) -> None:
        self._samples: deque[CouchTelemetry] = deque(maxlen=COUCH_SAMPLES_MAX)

    def hear(self, told: CouchTelemetry) -> None:
        """Keep a sample."""
        self._samples.append(told)

    def between(self, first_us: int, last_us: int) -> tuple[CouchTelemetry, ...]:
        """Samples received in a span, oldest first."""
        kept = self._samples.copy()  # one atomic call; the line goes on appending
        return tuple(told for told in kept if first_us <= told.received_us <= last_us)


class ImageTaker:
    """The imager with its calibration."""

    def __init__(
        self,
        imager: ClpImager,
        history: CouchHistory,
        technique: Technique | None = None,
        *,
        clock_us: Callable[[], int],
        utc: Callable[[int], str],
        new_uid: Callable[[], str],
    ) -> None:
        self._imager = imager
        self._history = history
        self._technique = technique or Technique()
        self._clock_us = clock_us
        self._utc = utc
        self._new_uid = new_uid
        self._calibrations: dict[CalibrationOf, PanelCalibration] = {}

    def take(
        self,
        fields: Sequence[PlannedField],
        purpose: Purpose,
        cancel: threading.Event,
        progress: Progress,
        *,
        protocol: ImagingProtocol | None = None,
    ) -> AcquiredPair:
        """Take one image per field and park the arms again; by the protocol of the site, if one is given.

        Raises `JobError` and the errors of the driver. A view whose technique the panel is not calibrated for is
        refused before anything is exposed.
        """
        if len(fields) != 2:
            raise JobError(f"a pair has two setup fields; the plan has {len(fields)}")
        views = [self._view(field, protocol) for field in fields]
        try:
            calibrations = [self._calibrate(view, cancel, progress) for view in views]
            taken: dict[int, RawFrame] = {}
            for number, index in enumerate(self._shortest_way(views)):
                tell = _part(progress, number, len(views))
                acquire = partial(self._imager.acquire, views[index], cancel, tell)
                taken[index] = self._patiently(acquire, cancel)
            frames = [taken[index] for index in range(len(views))]
            progress("parking the arms", 0.9)
            self._imager.prepare(False).result(5.0)
            self._patiently(lambda: self._imager.park_arms(cancel), cancel)
        except Exception:
            self._calibrations.clear()  # whatever went wrong, the next pair begins from the panel up
            if not cancel.is_set():
                with suppress(Exception):  # what failed first is what is told
                    self._imager.park_arms(cancel)
            raise
        progress("correcting the images", 0.97)
        images = tuple(
            self._stored(frame, view, purpose, correct(frame.counts, frame.mas, calibration))
            for frame, view, calibration in zip(frames, views, calibrations, strict=True)
        )
        return AcquiredPair(self._stamp(frames, images), images)

    def _shortest_way(self, views: Sequence[View]) -> list[int]:
        """Order of the views from where the gantry stands: the nearer one first. It turns slowly over a patient."""
        told = self._imager.telemetry
        if told is None:
            return list(range(len(views)))
        stands_deg = told.gantry_deg + self._imager.source_offset_deg
        return sorted(
            range(len(views)), key=lambda n: abs(wrap_deg(views[n].source_angle_deg - stands_deg))
        )

    def _view(self, field: PlannedField, protocol: ImagingProtocol | None) -> View:
        wanted = self._technique if protocol is None else Technique.of(protocol, field.angle_deg)
        return View(
            source_angle_deg=field.angle_deg,
            kvp=wanted.kvp,
            mas=wanted.mas,
            beam_filter=wanted.beam_filter,
            binning=wanted.binning,
            field_mm=wanted.field_mm,
        )

    def _calibrate(
        self, view: View, cancel: threading.Event, progress: Progress
    ) -> PanelCalibration:
        """The calibration of the panel for a view's kVp, filter and binning; made from the stored flood when it
        is not fresh."""
        now_us = self._clock_us()
        wanted = CalibrationOf(
            kvp=view.kvp, beam_filter=view.beam_filter.name.lower(), binning=view.binning
        )
        known = self._calibrations.get(wanted)
        if known is not None:
            with suppress(InputRefused):  # an old one is made anew
                check_fits(known, wanted, now_us, CALIBRATION_US_MAX)
                return known
        progress("dark frames and flood of the panel", 0.02)
        self._imager.technique(view).result(5.0)
        self._patiently(lambda: self._imager.extend_arms(cancel), cancel)
        flood, flood_offset = self._imager.stored_flood()
        # The stored floods of this line are taken without a filter (docs/protocol.md, FRAME_INFO).
        held = CalibrationOf(kvp=flood.kvp, beam_filter="none", binning=flood.binning)
        problem = wanted.problem_with(held)
        if problem:
            raise JobError(
                f"the stored flood does not fit the images to be taken: {problem}. Take a flood at this technique, "
                "or image at that of the flood"
            )
        darks = self._imager.dark_frames(DARK_FRAMES, cancel)
        calibration = calibrate(
            flood.counts,
            flood_offset.counts,
            flood.mas,
            [dark.counts for dark in darks],
            of=held,
            taken_us=now_us,
        )
        self._calibrations[wanted] = calibration
        return calibration

    def _patiently(self, work: Callable[[], T], cancel: threading.Event) -> T:
        """Do a step again when a late lease kept the device from it, or stopped arms or gantry on their way.

        A machine that is busy for a moment then costs a moment, and not the whole pair with its dose. A STOP, whoever
        gave it, ends the trying: it moved the epoch.
        """
        epoch = self._imager.health().epoch
        for _ in range(LEASE_TRIES - 1):
            try:
                return work()
            except (Refused, StoppedOnTheWay) as error:
                late = (
                    isinstance(error, StoppedOnTheWay) or error.code is RefusalCode.LEASE_NOT_FRESH
                )
                if not late or cancel.wait(LEASE_PAUSE_S) or self._imager.health().epoch != epoch:
                    raise
        return work()

    def _stored(
        self, frame: RawFrame, view: View, purpose: Purpose, image: CorrectedImage
    ) -> StoredImage:
        rows, cols = image.line_integrals.shape
        acquired_us = _known(frame.begin_us)
        return StoredImage(
            view=ImageView(
                image_uid=self._new_uid(),
                purpose=purpose,
                source_angle_deg=frame.source_angle_deg,
                acquired_utc=self._utc(acquired_us),
                rows=rows,
                cols=cols,
                pitch_mm=frame.pitch_mm,
                kvp=frame.kvp,
                mas=frame.mas,
                dose_area_uGycm2=frame.dose_area_uGycm2,
            ),
            line_integrals=image.line_integrals,
            region=image.usable
            & field_region(
                (rows, cols),
                frame.pitch_mm,
                sad_mm=frame.sad_mm,
                sid_mm=frame.sid_mm,
                field_mm=view.field_mm,
            ),
            geometry=PanelGeometry(
                source_angle_deg=frame.source_angle_deg,
                sad_mm=frame.sad_mm,
                sid_mm=frame.sid_mm,
                rows=rows,
                cols=cols,
                pixel_pitch_mm=frame.pitch_mm,
            ),
            notes=image.notes,
        )

    def _stamp(self, frames: Sequence[RawFrame], images: Sequence[StoredImage]) -> ImageStamp:
        """Where the couch stood while the frames were exposed, by its own encoders; it must not have moved."""
        samples: list[CouchTelemetry] = []
        for frame in frames:
            begin_us, end_us = _known(frame.begin_us), _known(frame.end_us)
            around = self._history.between(
                begin_us - AROUND_EXPOSURE_US, end_us + AROUND_EXPOSURE_US
            )
            if not around:
                raise JobError(
                    f"the couch was not heard while frame {frame.frame} was exposed: "
                    "its pose is not known, acquire the images again"
                )
            samples += around
        axes = np.array([told.primary for told in samples])
        spread = np.ptp(axes, axis=0)
        for value, unit in zip(spread, samples[0].axis_units, strict=True):
            if value > (STILL_MM if unit == "mm" else STILL_DEG):
                raise JobError(
                    f"the couch moved by {value:.2f} {unit} between the exposures: acquire the images again"
                )
        acquired_us = min(_known(frame.begin_us) for frame in frames)
        return ImageStamp(
            image_uids=tuple(image.view.image_uid for image in images),
            acquired_us=acquired_us,
            acquired_utc=self._utc(acquired_us),
            couch_axes=tuple(float(value) for value in np.median(axes, axis=0)),
            brakes_on=all(CouchFlag.BRAKES_ON in told.flags for told in samples),
        )


def _known(at_us: int | None) -> int:
    if at_us is None:
        raise JobError(
            "the imager's clock is not known yet, so that the exposure cannot be dated: acquire the images again"
        )
    return at_us


def _part(progress: Progress, number: int, count: int) -> Progress:
    """Progress of one exposure as a part of the whole pair."""

    def tell(text: str, part: float) -> None:
        progress(f"image {number + 1} of {count}: {text}", 0.1 + 0.8 * (number + part) / count)

    return tell
