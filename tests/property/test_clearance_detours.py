"""Detours and remedies over random questions: whatever is promised holds at every sampled place, limits and all."""

from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igrt_hw.machine import load_machine
from igrt_hw.machine.explain import explain_path, explain_position
from igrt_hw.machine.planner import PlannerRule
from igrt_hw.machine.room import Room

ROOM = Room(load_machine("linac_pedestal"))
AXES = st.tuples(
    st.floats(-250.0, 250.0),
    st.floats(-1000.0, 400.0),
    st.floats(-450.0, 50.0),
    st.floats(-95.0, 95.0),
    st.floats(-3.0, 3.0),
    st.floats(-3.0, 3.0),
)
GANTRY = st.floats(-180.0, 180.0)
OUT = st.sampled_from([0.0, 0.5, 1.0])
NAMES = tuple(axis.name for axis in ROOM.machine.description.axis)
KEEP_MM = 20.0


def _truth(axes: tuple[float, ...], gantry: float, panels: dict[str, float]) -> float:
    return ROOM.clearance(axes, gantry, panels).nearest.upper_mm


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(start=AXES, target=AXES, gantry=GANTRY, out=st.tuples(OUT, OUT, OUT))
def test_what_an_explanation_promises_holds(
    start: tuple[float, ...],
    target: tuple[float, ...],
    gantry: float,
    out: tuple[float, float, float],
) -> None:
    panels = dict(zip(ROOM.arms, out, strict=True))
    found = explain_path(
        ROOM, start, target, gantry, panels, keep_mm=KEEP_MM, planner=PlannerRule(sweeps_max=200)
    )
    a, b = np.array(start), np.array(target)
    path = [tuple(a + (b - a) * s) for s in np.linspace(0.0, 1.0, 25)]
    if found.clear:
        assert all(_truth(axes, gantry, panels) >= KEEP_MM for axes in path)
        return
    assert found.text()
    for one in found.freeing:
        if one.scope != "path":
            continue
        angle = one.value if one.axis == "gantry" else gantry
        arms = dict.fromkeys(panels, 0.0) if one.axis == "arms" else dict(panels)
        if one.axis in arms:
            arms[one.axis] = one.value
        assert all(_truth(axes, angle, arms) >= max(one.min_mm, KEEP_MM) for axes in path)
    if found.detour is not None and found.detour.detour is not None:
        legs = found.detour.detour.legs
        assert legs[0].start_axes == start
        assert legs[-1].target_axes == target
        assert all(x.target_axes == y.start_axes for x, y in pairwise(legs))
        for leg in legs:
            ROOM.machine.couch().check_limits(leg.target_axes)
            p, q = np.array(leg.start_axes), np.array(leg.target_axes)
            for s in np.linspace(0.0, 1.0, 15):
                assert _truth(tuple(p + (q - p) * s), gantry, panels) >= max(leg.min_mm, KEEP_MM)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(axes=AXES, gantry=GANTRY, out=st.tuples(OUT, OUT, OUT))
def test_a_couch_axis_that_is_named_frees_the_position_within_its_range(
    axes: tuple[float, ...], gantry: float, out: tuple[float, float, float]
) -> None:
    panels = dict(zip(ROOM.arms, out, strict=True))
    found = explain_position(ROOM, axes, gantry, panels, keep_mm=KEEP_MM)
    for one in found.freeing:
        if one.axis not in NAMES:
            continue
        at = NAMES.index(one.axis)
        low, high = ROOM.machine.description.axis[at].range
        assert low <= one.value <= high
        there = (*axes[:at], one.value, *axes[at + 1 :])
        assert _truth(there, gantry, panels) >= one.min_mm >= KEEP_MM
