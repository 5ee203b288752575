"""Taking the kV pair: technique, calibration, exposures, correction, and the couch's pose frozen with them.

Blocks; runs in a worker thread. The supervisor keeps the imager's lease alive meanwhile; without it arms and
gantry stop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.devices.errors import StoppedOnTheWay
from igrt_hw.devices.frames import BeamFilter, RawFrame, View
from igrt_hw.devices.imager import ClpImager
from igrt_hw.geometry import wrap_deg
from igrt_hw.guidance.imager_calibration import ImagerCalibration
from igrt_hw.guidance.imager_geometry import FlexMap, PanelFormat
from igrt_hw.guidance.imaging_protocol import ImagingProtocol
from igrt_hw.guidance.panel import CorrectedImage, PanelCalibration, field_region
from igrt_hw.guidance.scan_protocol import ScanProtocol
from igrt_hw.link.errors import Refused
from igrt_hw.models.base import Frozen
from igrt_hw.models.plan import PlannedField
from igrt_hw.models.proposal import ImageStamp
from igrt_hw.models.status import ImageView
from igrt_hw.models.telemetry import CouchFlag, CouchTelemetry, RefusalCode
from igrt_hw.server.errors import JobError
from igrt_hw.server.panel import PanelKeeper

Progress = Callable[[str, float], None]
Purpose = Literal["setup", "verification", "monitoring"]

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
    ma: float = 200.0
    ms: float = 25.0
    beam_filter: BeamFilter = BeamFilter.NONE
    binning: int = 2
    field_mm: tuple[float, float, float, float] = (-130.0, 130.0, -100.0, 100.0)

    @classmethod
    def of(cls, protocol: ImagingProtocol, source_angle_deg: float) -> Technique:
        """What the protocol of a site wants of the view from a source angle."""
        view = protocol.view_at(source_angle_deg)
        return cls(
            kvp=view.kvp,
            ma=view.ma,
            ms=view.ms,
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
    geometry_covariance: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A cone-beam scan: line integrals (rows, cols) of each projection with its geometry. `image_uids` are those of
    the two projections that are shown for it."""

    protocol: ScanProtocol
    line_integrals: tuple[NDArray[np.float32], ...]
    geometries: tuple[PanelGeometry, ...]
    image_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AcquiredPair:
    """The images, and where the couch stood in that instant. Of a scan, the two projections to be looked at."""

    stamp: ImageStamp
    images: tuple[StoredImage, ...]
    scan: Scan | None = None


@dataclass(frozen=True, slots=True)
class LostExposure:
    """Radiation without an image, by the dose-area product that the imager counted. uGy cm2."""

    dose_area_uGycm2: float


Exposed = Callable[[ImageView | LostExposure], None]
"""Told of every exposure as soon as it is known, whatever becomes of the image."""


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
        known: ImagerCalibration | None = None,
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
        self._known = known
        self._panel = PanelKeeper(imager, known, clock_us=clock_us)

    def look(
        self,
        protocol: ImagingProtocol,
        mas_share: float,
        cancel: threading.Event,
        progress: Progress,
        *,
        exposed: Exposed = lambda _: None,
    ) -> tuple[StoredImage, int]:
        """One low-dose view where the gantry stands now, with the arms left out for the next; and when it was exposed.

        `mas_share` of the mAs of the protocol's view, by a shorter exposure: motion blurs less. Raises as `take`.
        """
        told = self._imager.telemetry
        if told is None:
            raise JobError("the imager was never heard: nobody knows where its source stands")
        angle = wrap_deg(told.gantry_deg + self._imager.source_offset_deg)
        wanted = Technique.of(protocol, angle)
        view = _viewed(angle, wanted.model_copy(update={"ms": wanted.ms * mas_share}))
        self._pose_is_known(view)
        meter = DoseMeter(self._imager, exposed)
        try:
            calibration = self._calibrate(view, cancel, progress)
            acquire = partial(self._imager.acquire, view, cancel, progress)
            frame = self._patiently(acquire, cancel)
            image_view = self._image_view(frame, "monitoring")
            meter.told(image_view)
        except Exception:
            self._panel.forget()
            meter.settle()
            raise
        self._around(frame)
        image = self._panel.corrected(frame, calibration)
        return self._stored(frame, view, image_view, image), _known(frame.begin_us)

    def park(self, cancel: threading.Event) -> None:
        """Park the arms after views of the target. Raises as `take`."""
        self._imager.prepare(False).result(5.0)
        self._patiently(lambda: self._imager.park_arms(cancel), cancel)

    def take(
        self,
        fields: Sequence[PlannedField],
        purpose: Purpose,
        cancel: threading.Event,
        progress: Progress,
        *,
        protocol: ImagingProtocol | None = None,
        exposed: Exposed = lambda _: None,
    ) -> AcquiredPair:
        """Take one image per field and park the arms again; by the protocol of the site, if one is given.

        `exposed` is told of every exposure, also of those that come to nothing.

        Raises `JobError` and the errors of the driver. A view whose technique the panel is not calibrated for, or
        whose angle the flex map does not hold, is refused before anything is exposed.
        """
        if len(fields) != 2:
            raise JobError(f"a pair has two setup fields; the plan has {len(fields)}")
        views = [self._view(field, protocol) for field in fields]
        for view in views:
            self._pose_is_known(view)
        meter = DoseMeter(self._imager, exposed)
        taken: dict[int, tuple[RawFrame, ImageView, CorrectedImage]] = {}
        try:
            calibrations = [self._calibrate(view, cancel, progress) for view in views]
            for number, index in enumerate(self._shortest_way(views)):
                tell = _part(progress, number, len(views))
                acquire = partial(self._imager.acquire, views[index], cancel, tell)
                frame = self._patiently(acquire, cancel)
                image_view = self._image_view(frame, purpose)
                meter.told(image_view)
                taken[index] = (
                    frame,
                    image_view,
                    self._panel.corrected(frame, calibrations[index]),
                )
            progress("parking the arms", 0.9)
            self._imager.prepare(False).result(5.0)
            self._patiently(lambda: self._imager.park_arms(cancel), cancel)
        except Exception:
            self._panel.forget()  # whatever went wrong, the next pair begins from the panel up
            meter.settle()
            if not cancel.is_set():
                with suppress(Exception):  # what failed first is what is told
                    self._imager.park_arms(cancel)
            raise
        progress("correcting the images", 0.97)
        pair = [taken[index] for index in range(len(views))]
        images = tuple(
            self._stored(frame, view, image_view, image)
            for (frame, image_view, image), view in zip(pair, views, strict=True)
        )
        return AcquiredPair(self._stamp([frame for frame, _, _ in pair], images), images)

    def scan(
        self,
        purpose: Purpose,
        cancel: threading.Event,
        progress: Progress,
        *,
        protocol: ScanProtocol | None = None,
        exposed: Exposed = lambda _: None,
    ) -> AcquiredPair:
        """Take a cone-beam scan, projection by projection, and park the arms again.

        The couch is watched at every projection. Raises as `take`.
        """
        asked = protocol or ScanProtocol()
        angles, scan_uid = asked.source_angles_deg(), self._new_uid()
        view = _scan_view(asked)
        for angle in angles:
            self._pose_is_known(replace(view, source_angle_deg=angle))
        meter = DoseMeter(self._imager, exposed)
        lines, geometries, shown = [], [], {}
        samples: list[CouchTelemetry] = []
        frame = None
        try:
            calibration = self._calibrate(view, cancel, progress)
            self._imager.technique(view).result(5.0)
            self._patiently(lambda: self._imager.extend_arms(cancel), cancel)
            wanted = (_nearest(angles, 0.0), _nearest(angles, 90.0))
            for number, angle in enumerate(angles):
                progress(
                    f"projection {number + 1} of {len(angles)}", 0.05 + 0.85 * number / len(angles)
                )
                frame = self._patiently(partial(self._imager.projection, angle, cancel), cancel)
                image_view = self._image_view(frame, purpose).model_copy(
                    update={"scan_uid": scan_uid}
                )
                meter.told(image_view)
                samples += self._around(frame)
                image = self._panel.corrected(frame, calibration)
                stored = self._stored(frame, view, image_view, image)
                lines.append(image.line_integrals)
                geometries.append(stored.geometry)
                if angle in wanted:
                    shown[angle] = stored
            progress("parking the arms", 0.92)
            self._imager.prepare(False).result(5.0)
            self._patiently(lambda: self._imager.park_arms(cancel), cancel)
        except Exception:
            self._panel.forget()
            meter.settle()
            if not cancel.is_set():
                with suppress(Exception):
                    self._imager.park_arms(cancel)
            raise
        images = tuple(shown[angle] for angle in sorted(shown, key=abs))
        stamp = self._stamped(samples, images, _known(frame.begin_us if frame else None))
        uids = tuple(image.view.image_uid for image in images)
        return AcquiredPair(stamp, images, Scan(asked, tuple(lines), tuple(geometries), uids))

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
        return _viewed(field.angle_deg, wanted)

    def _calibrate(
        self, view: View, cancel: threading.Event, progress: Progress
    ) -> PanelCalibration:
        """The calibration of the panel for a view's kVp, filter and binning; made anew where it is not fresh."""
        known = self._panel.fresh(view)
        if known is not None:
            return known
        progress(f"dark frames and flood of the panel at {view.kvp:g} kVp", 0.02)
        self._imager.technique(view).result(5.0)
        self._patiently(lambda: self._imager.extend_arms(cancel), cancel)
        return self._panel.calibration(view, cancel)

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

    def _pose_is_known(self, view: View) -> None:
        """A flex map that is silent about an angle ends the pair before anything is exposed. Raises `InputRefused`."""
        if self._known is not None and self._known.flex is not None:
            self._known.flex.at(view.source_angle_deg)

    def _image_view(self, frame: RawFrame, purpose: Purpose) -> ImageView:
        rows, cols = frame.counts.shape
        return ImageView(
            image_uid=self._new_uid(),
            purpose=purpose,
            source_angle_deg=frame.source_angle_deg,
            acquired_utc=self._utc(_known(frame.begin_us)),
            rows=rows,
            cols=cols,
            pitch_mm=frame.pitch_mm,
            kvp=frame.kvp,
            ma=frame.ma,
            ms=frame.ms,
            mas=frame.mas,
            dose_area_uGycm2=frame.dose_area_uGycm2,
            geometry="as drawn" if self._flex is None else "calibrated",
            lag_corrected=self._panel.lag is not None,
        )

    @property
    def _flex(self) -> FlexMap | None:
        return None if self._known is None else self._known.flex

    def _geometry(self, frame: RawFrame) -> tuple[PanelGeometry, NDArray[np.float64] | None]:
        """Where source and panel were: by the flex map, with its covariance, or as the imager's drawing has them."""
        rows, cols = frame.counts.shape
        flex = self._flex
        if flex is not None:
            panel = PanelFormat(rows=rows, cols=cols, pixel_pitch_mm=frame.pitch_mm)
            covariance = flex.covariance_at(frame.source_angle_deg) if flex.covariance else None
            return flex.geometry(frame.source_angle_deg, panel), covariance
        drawn = PanelGeometry(
            source_angle_deg=frame.source_angle_deg,
            sad_mm=frame.sad_mm,
            sid_mm=frame.sid_mm,
            rows=rows,
            cols=cols,
            pixel_pitch_mm=frame.pitch_mm,
        )
        return drawn, None

    def _stored(
        self, frame: RawFrame, view: View, image_view: ImageView, image: CorrectedImage
    ) -> StoredImage:
        geometry, covariance = self._geometry(frame)
        field = field_region(
            image.line_integrals.shape,
            frame.pitch_mm,
            sad_mm=geometry.sad_mm,
            sid_mm=geometry.sid_mm,
            field_mm=view.field_mm,
            panel_lateral_mm=geometry.panel_lateral_mm,
            panel_longitudinal_mm=geometry.panel_longitudinal_mm,
        )
        return StoredImage(
            view=image_view,
            line_integrals=image.line_integrals,
            region=image.usable & field,
            geometry=geometry,
            notes=image.notes,
            geometry_covariance=covariance,
        )

    def _around(self, frame: RawFrame) -> list[CouchTelemetry]:
        """What the couch said while a frame was exposed."""
        begin_us, end_us = _known(frame.begin_us), _known(frame.end_us)
        around = self._history.between(begin_us - AROUND_EXPOSURE_US, end_us + AROUND_EXPOSURE_US)
        if not around:
            raise JobError(
                f"the couch was not heard while frame {frame.frame} was exposed: "
                "its pose is not known, acquire the images again"
            )
        return list(around)

    def _stamp(self, frames: Sequence[RawFrame], images: Sequence[StoredImage]) -> ImageStamp:
        """The stamp of a pair, dated by its first exposure."""
        samples = [told for frame in frames for told in self._around(frame)]
        return self._stamped(samples, images, min(_known(frame.begin_us) for frame in frames))

    def _stamped(
        self, samples: Sequence[CouchTelemetry], images: Sequence[StoredImage], acquired_us: int
    ) -> ImageStamp:
        """Where the couch stood while everything was exposed, by its own encoders; it must not have moved."""
        axes = np.array([told.primary for told in samples])
        spread = np.ptp(axes, axis=0)
        for value, unit in zip(spread, samples[0].axis_units, strict=True):
            if value > (STILL_MM if unit == "mm" else STILL_DEG):
                raise JobError(
                    f"the couch moved by {value:.2f} {unit} between the exposures: acquire the images again"
                )
        return ImageStamp(
            image_uids=tuple(image.view.image_uid for image in images),
            acquired_us=acquired_us,
            acquired_utc=self._utc(acquired_us),
            couch_axes=tuple(float(value) for value in np.median(axes, axis=0)),
            brakes_on=all(CouchFlag.BRAKES_ON in told.flags for told in samples),
        )


def _nearest(angles_deg: Sequence[float], wanted_deg: float) -> float:
    return min(angles_deg, key=lambda angle: abs(wrap_deg(angle - wanted_deg)))


def _viewed(source_angle_deg: float, technique: Technique) -> View:
    return View(
        source_angle_deg=source_angle_deg,
        kvp=technique.kvp,
        ma=technique.ma,
        ms=technique.ms,
        beam_filter=technique.beam_filter,
        binning=technique.binning,
        field_mm=technique.field_mm,
    )


def _scan_view(protocol: ScanProtocol) -> View:
    return View(
        source_angle_deg=protocol.source_angles_deg()[0],
        kvp=protocol.kvp,
        ma=protocol.ma,
        ms=protocol.ms,
        binning=protocol.binning,
        field_mm=protocol.field_mm,
    )


class DoseMeter:
    """Every exposure is told once: those with an image as they come, radiation without one by what the imager
    counted."""

    def __init__(self, imager: ClpImager, exposed: Exposed) -> None:
        self._imager = imager
        self._exposed = exposed
        told = imager.telemetry
        self._began = None if told is None else told.dose_area_uGycm2
        self._told = 0.0

    def told(self, view: ImageView) -> None:
        """An exposure became an image."""
        self._told += view.dose_area_uGycm2
        self._exposed(view)

    def settle(self) -> None:
        """The work ended early: what the imager counted beyond the images was given as well."""
        told = self._imager.telemetry
        if told is None or self._began is None:
            return
        lost = told.dose_area_uGycm2 - self._began - self._told
        if lost > 1.0:  # the counter and the frames are rounded to 1 uGy cm2
            self._exposed(LostExposure(lost))


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
