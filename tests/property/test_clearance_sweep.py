"""Certified sweeps of the whole room: whatever is asked, no sampled place is nearer than the bound."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import igrt_hw
from igrt_hw.machine import load_machine
from igrt_hw.machine.room import Room
from igrt_hw.machine.surface import surface_from_rtstruct


def _room() -> Room:
    table_from_patient = np.eye(4)
    table_from_patient[:3, 3] = (88.0, 535.0, 162.5)
    surface = surface_from_rtstruct(Path(igrt_hw.__file__).parent / "demo/thorax/RTSTRUCT.dcm")
    return Room(load_machine("linac_pedestal"), surface, table_from_patient)


ROOM = _room()
AXES = st.tuples(
    st.floats(-250.0, 250.0),
    st.floats(-1000.0, 400.0),
    st.floats(-450.0, 50.0),
    st.floats(-95.0, 95.0),
    st.floats(-3.0, 3.0),
    st.floats(-3.0, 3.0),
)
ANGLE = st.floats(-180.0, 180.0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=AXES,
    target=AXES,
    gantry=st.tuples(ANGLE, ANGLE),
    out=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_no_sampled_place_of_a_sweep_is_nearer_than_its_bound(
    start: tuple[float, ...],
    target: tuple[float, ...],
    gantry: tuple[float, float],
    out: tuple[float, float],
) -> None:
    first, last = (dict.fromkeys(ROOM.arms, extension) for extension in out)
    found = ROOM.sweep(
        start,
        target,
        gantry[0],
        first,
        gantry_target_deg=gantry[1],
        panel_target=last,
        stations=16,
        tolerance_mm=5.0,
    )
    reached = False
    for s in np.linspace(0.0, 1.0, 33):
        axes = [a + (b - a) * s for a, b in zip(start, target, strict=True)]
        panels = dict.fromkeys(ROOM.arms, min(1.0, max(0.0, out[0] + (out[1] - out[0]) * s)))
        truth = ROOM.clearance(
            axes, gantry[0] + (gantry[1] - gantry[0]) * s, panels
        ).nearest.upper_mm
        assert found.profile_mm[min(int(s * 16), 15)] <= max(truth, 0.0) + 1e-3
        reached = reached or truth <= 0.0
        if reached:
            assert found.contact is not None
            assert found.contact.path_fraction <= s
