"""Images of a phantom for a calibration: many source angles with one technique, straight from the imager's line.

No supervisor and no couch take part; whoever calls holds the line's permission (`lease_of`) and stands at the exposure
switch. Blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from igrt_hw._core import PanelGeometry
from igrt_hw.devices.frames import RawFrame
from igrt_hw.devices.frames import View as Wanted
from igrt_hw.devices.imager import ClpImager
from igrt_hw.guidance.panel import field_region
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import View
from igrt_hw.link.runner import monotonic_us
from igrt_hw.server.panel import PanelKeeper

ANGLES_MAX = 360
LEASE_US = 150_000  # as the supervisor's: three leases of 50 ms
REFRESH_S = 0.04


@contextmanager
def lease_of(imager: ClpImager) -> Iterator[None]:
    """Keep the line's permission fresh while the body runs: arms and gantry stop without it, also when this dies."""
    over = threading.Event()

    def keep() -> None:
        while not over.wait(REFRESH_S):
            imager.refresh_permission(monotonic_us() + LEASE_US)

    imager.refresh_permission(monotonic_us() + LEASE_US)
    keeper = threading.Thread(target=keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def phantom_views(
    imager: ClpImager,
    technique: Wanted,
    source_angles_deg: Sequence[float],
    cancel: threading.Event,
    progress: Callable[[str, float], None],
    *,
    clock_us: Callable[[], int] = monotonic_us,
) -> tuple[list[View], float]:
    """Corrected views with the geometry of the imager's drawing, and their dose-area product, uGy cm2. Parks the arms.

    Raises `InputRefused` for no angles, too many, or one twice; and as `ImageTaker.take`.
    """
    angles = [float(angle) for angle in source_angles_deg]
    if not 0 < len(angles) <= ANGLES_MAX or len(set(angles)) != len(angles):
        raise InputRefused(f"{len(angles)} source angles: 1 to {ANGLES_MAX}, each once")
    keeper = PanelKeeper(imager, None, clock_us=clock_us)
    views, dose = [], 0.0
    try:
        imager.technique(technique).result(5.0)
        imager.extend_arms(cancel)
        calibration = keeper.calibration(technique, cancel)
        for number, angle in enumerate(angles):
            progress(f"source angle {angle:g} deg", number / len(angles))
            frame = imager.acquire(replace(technique, source_angle_deg=angle), cancel)
            dose += frame.dose_area_uGycm2
            image = keeper.corrected(frame, calibration)
            geometry = _drawn(frame)
            field = field_region(
                image.line_integrals.shape,
                frame.pitch_mm,
                sad_mm=geometry.sad_mm,
                sid_mm=geometry.sid_mm,
                field_mm=technique.field_mm,
            )
            views.append(View(image.line_integrals, geometry, image.usable & field))
    finally:
        if not cancel.is_set():
            with suppress(Exception):  # what failed first is what is told
                imager.prepare(False).result(5.0)
                imager.park_arms(cancel)
    return views, dose


def _drawn(frame: RawFrame) -> PanelGeometry:
    rows, cols = frame.counts.shape
    return PanelGeometry(
        source_angle_deg=frame.source_angle_deg,
        sad_mm=frame.sad_mm,
        sid_mm=frame.sid_mm,
        rows=rows,
        cols=cols,
        pixel_pitch_mm=frame.pitch_mm,
    )
