"""Figures of registration and projection, on the demo's CT."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from igrt_hw._core import PanelGeometry
from igrt_hw.bench.registry import BenchError, Metric, Sampler
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.registration import View, register
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import PreparedPlan
from igrt_hw.server.settings import DEMO_PLAN

# A shift of the size that the demo puts in; the answer is compared with it, so that speed is never bought with it.
SHIFT = Correction(
    lateral_mm=8.0,
    longitudinal_mm=-6.0,
    vertical_mm=5.0,
    rotation_deg=1.2,
    pitch_deg=-1.0,
    roll_deg=0.8,
)
MISS_MM_MAX = 1.0
ROWS, COLS, PITCH_MM, SAD_MM, SID_MM = 384, 512, 0.776, 1000.0, 1500.0


@contextmanager
def _registration() -> Iterator[Sampler]:
    plan = PreparedPlan.of(load_plan(DEMO_PLAN))
    isocentre = plan.loaded.plan.isocentres[0]
    placement = Placement.of(plan.loaded, isocentre.isocentre_id)
    lies = correction_to_pose(SHIFT).inverse() @ placement.planned
    views = []
    for field in isocentre.setup_fields[:2]:
        geometry = PanelGeometry(
            source_angle_deg=field.angle_deg,
            sad_mm=SAD_MM,
            sid_mm=SID_MM,
            rows=ROWS,
            cols=COLS,
            pixel_pitch_mm=PITCH_MM,
        )
        seen = plan.patient.volume.project(geometry, lies.matrix(), exact=True)
        views.append(View(seen, geometry))

    def sample() -> float:
        begin = time.perf_counter()
        result = register(plan.patient, views, placement.planned)
        seconds = time.perf_counter() - begin
        found = result.correction
        if found is None or any(
            abs(got - true) > MISS_MM_MAX
            for got, true in zip(found.values(), SHIFT.values(), strict=True)
        ):
            raise BenchError(f"the registration missed the shift it was given: {found}")
        return seconds

    yield sample


METRICS = (
    Metric(
        "register_2view_s",
        "s",
        "lower",
        f"6-DOF registration of a pair of {ROWS} x {COLS} pixels against the demo's CT",
        _registration,
        samples=5,
    ),
)
