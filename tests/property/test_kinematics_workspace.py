"""Couches over their whole workspace, as Python sees them: round trips, limits, batches, raw floats."""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from igrt_hw._core import BATCH_STATUS, CoreError, Couch, GeometryError, Pose, SingularError
from igrt_hw.geometry import (
    Correction,
    compose_correction,
    correction_between,
)
from igrt_hw.geometry.golden import golden_vectors
from igrt_hw.machine import load_machine, machine_names

SCARA = Couch.scara(
    [(0, 800), (-165, 165), (-150, 150), (-350, 350), (-15, 15), (-15, 15)],
    upper_mm=900.0,
    fore_mm=700.0,
    wrist_mm=(150.0, -20.0, 80.0),
    base=Pose.from_parameters((-900, -1200, -1300, 45, 1, -0.5), "fixed", "base"),
    tool=Pose.from_parameters((40, 10, 70, 90, 3, 2), "flange", "table_top"),
)
COUCHES = {name: load_machine(name).couch() for name in machine_names()} | {"scara": SCARA}
couches = st.sampled_from(sorted(COUCHES))
fractions = st.tuples(*[st.floats(0.0, 1.0)] * 6)
raw = st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 6)
corrections = st.tuples(*[st.floats(-12.0, 12.0)] * 3, *[st.floats(-2.0, 2.0)] * 3).map(
    Correction.of
)


def at_least(examples: int) -> int:
    """As many examples as the promise needs, more where the profile asks for a campaign."""
    return max(examples, settings().max_examples)


def place(couch: Couch, at: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(low + (high - low) * f for (low, high), f in zip(couch.limits, at, strict=True))


@given(couches, fractions)
@settings(max_examples=at_least(400), deadline=None)
def test_forward_then_inverse_finds_the_axes_again(name: str, at: tuple[float, ...]) -> None:
    couch = COUCHES[name]
    axes = place(couch, at)
    assume(couch.singularity(axes)[1] > 1e-4)
    pose = couch.forward(axes)
    found = couch.branches(pose)
    for branch in found:
        off_mm, off_deg = couch.forward(branch).deviation(pose)
        assert off_mm <= 1e-6
        assert math.radians(off_deg) <= 1e-9
    assert couch.nearest_branch(pose, axes) == pytest.approx(axes, abs=1e-5)


@given(couches, fractions)
@settings(max_examples=at_least(200), deadline=None)
def test_a_batch_gives_the_same_numbers_as_single_calls(name: str, at: tuple[float, ...]) -> None:
    couch = COUCHES[name]
    axes = place(couch, at)
    pose = couch.forward(axes)
    batch = couch.forward_many([axes] * 9)
    assert (batch == pose.matrix()).all()
    seed = place(couch, (0.5,) * 6)
    solved, status = couch.inverse_nearest_many(batch, seed)
    branches, counts, statuses = couch.inverse_many(batch)
    # A matrix is brought onto the nearest rotation on its way in, for one pose as for many.
    again = Pose.from_matrix(batch[0], "fixed", "table_top")
    try:
        every = couch.inverse(again)
    except CoreError:
        assert BATCH_STATUS[status[0]] != "ok"
        assert counts[0] == 0
        assert np.isnan(solved).all()
        return
    assert set(status) == set(statuses) == {0}
    assert (solved == couch.inverse_nearest(again, seed)).all()
    assert counts[0] == len(every)
    assert [tuple(row) for row in branches[0][: counts[0]]] == every


@given(couches, fractions, fractions)
@settings(max_examples=at_least(200), deadline=None)
def test_measures_of_a_batch_are_the_numbers_of_single_calls(
    name: str, at: tuple[float, ...], other: tuple[float, ...]
) -> None:
    couch = COUCHES[name]
    rows = [place(couch, at), place(couch, other)] * 3
    table = np.array(rows)
    assert (couch.jacobian_many(table) == [couch.jacobian(row) for row in rows]).all()
    assert (couch.margins_many(table) == [couch.margins(row) for row in rows]).all()
    names, margins = couch.singularity_many(table)
    assert list(zip(names, margins, strict=True)) == [couch.singularity(row) for row in rows]
    able = couch.manipulability_many(table, length_mm=350.0)
    assert list(able) == [couch.manipulability(row, length_mm=350.0) for row in rows]
    if couch.family == "hexapod":
        assert (couch.leg_lengths_many(table) == [couch.leg_lengths(r) for r in rows]).all()
        assert (couch.leg_margins_many(table) == [couch.leg_margins(r) for r in rows]).all()
    else:
        for call in (couch.leg_lengths_many, couch.leg_margins_many):
            with pytest.raises(CoreError, match="has no legs"):
                call(table)


@given(couches, st.tuples(*[st.floats(-0.1, 1.1)] * 6))
@settings(max_examples=at_least(40), deadline=None)
def test_windows_of_a_batch_are_those_of_single_calls_and_a_row_is_refused_alone(
    name: str, at: tuple[float, ...]
) -> None:
    couch = COUCHES[name]
    rows = [place(couch, (0.5,) * 6), place(couch, at), place(couch, (1.1,) * 6)]
    windows, status = couch.correction_window_many(rows, reach_mm=2.0, reach_deg=0.2)
    assert windows.shape == (3, 6, 2)
    assert BATCH_STATUS[status[2]] == "limit"
    for row, window, code in zip(rows, windows, status, strict=True):
        try:
            single = couch.correction_window(row, reach_mm=2.0, reach_deg=0.2)
        except CoreError:
            assert BATCH_STATUS[code] != "ok"
            assert np.isnan(window).all()
            continue
        assert BATCH_STATUS[code] == "ok"
        assert (window == single).all()


@pytest.mark.parametrize("name", sorted(COUCHES))
def test_measures_refuse_what_is_no_table_of_axes_and_name_the_row(name: str) -> None:
    couch = COUCHES[name]
    middle = place(couch, (0.5,) * 6)
    calls = [
        couch.jacobian_many,
        couch.margins_many,
        couch.singularity_many,
        couch.manipulability_many,
        couch.correction_window_many,
    ]
    if couch.family == "hexapod":
        calls += [couch.leg_lengths_many, couch.leg_margins_many]
    for call in calls:
        for bad in (math.nan, math.inf, 1e300):
            with pytest.raises(GeometryError, match="row 1: axis"):
                call([middle, (*middle[:5], bad), middle])
        with pytest.raises(GeometryError, match="it needs 6 columns"):
            call([middle[:5]])
        with pytest.raises(GeometryError, match="a table of numbers"):
            call("nonsense")
    assert couch.jacobian_many(np.empty((0, 6))).shape == (0, 6, 6)
    assert couch.margins_many(np.empty((0, 6))).shape == (0, 6)
    with pytest.raises(GeometryError, match="characteristic length"):
        couch.manipulability_many([middle], length_mm=0.0)
    with pytest.raises(GeometryError, match="a window of"):
        couch.correction_window_many([middle], reach_mm=-1.0)
    with pytest.raises(GeometryError, match="axis"):
        couch.margins((*middle[:5], math.nan))


@given(corrections, corrections)
@settings(max_examples=at_least(200), deadline=None)
def test_a_correction_undone_brings_the_couch_back(
    correction: Correction, before: Correction
) -> None:
    couch = COUCHES["linac_pedestal"]
    start = compose_correction(couch, (-20, -350, -122.5, 0, 0, 0), before, within_limits=False)
    there = compose_correction(couch, start, correction, within_limits=False)
    back = correction_between(couch, there, start)
    assert compose_correction(couch, there, back, within_limits=False) == pytest.approx(
        start, abs=1e-7
    )


@given(couches, raw, raw)
@settings(max_examples=at_least(400), deadline=None)
def test_raw_floats_are_answered_or_refused_but_never_crash(
    name: str, axes: tuple[float, ...], seed: tuple[float, ...]
) -> None:
    couch = COUCHES[name]
    for call in (
        lambda: couch.inverse_nearest(couch.forward(axes), seed),
        lambda: couch.jacobian(axes),
        lambda: couch.check_limits(axes),
        lambda: couch.correction_window(axes, reach_mm=2.0, reach_deg=0.2),
        lambda: couch.forward_from_legs(axes, seed),
        lambda: couch.forward_many([axes, seed]),
        lambda: couch.jacobian_many([axes, seed]),
        lambda: couch.margins_many([axes, seed]),
        lambda: couch.leg_margins_many([axes, seed]),
        lambda: couch.singularity_many([axes, seed]),
        lambda: couch.manipulability_many([axes, seed]),
        lambda: couch.correction_window_many([axes, seed], reach_mm=2.0, reach_deg=0.2),
        lambda: couch.with_axis_map(axes, seed),
        lambda: Pose.from_parameters(axes, "fixed", "fixed").parameters(),
        lambda: Pose.from_matrix(
            np.array([*axes, *seed, 0, 0, 0, 1.0]).reshape(4, 4), "fixed", "fixed"
        ),
    ):
        # Anything but a refusal of the core, a panic above all, fails the test.
        with contextlib.suppress(CoreError):
            call()


def test_the_hexapod_solves_the_golden_vectors_as_the_pedestal_does() -> None:
    couch = COUCHES["linac_hexapod"]
    for vector in golden_vectors():
        got = compose_correction(couch, vector.start, vector.correction, within_limits=False)
        assert got == pytest.approx(vector.result.values(), abs=vector.tolerance_mm)


@given(fractions)
@settings(max_examples=at_least(200), deadline=None)
def test_hexapod_legs_lead_back_to_the_pose_and_the_batch_agrees(at: tuple[float, ...]) -> None:
    couch = COUCHES["linac_hexapod"]
    reach = (30.0, 30.0, 30.0, 3.0, 3.0, 3.0)
    axes = [
        c + r * (2 * f - 1) for c, r, f in zip((*couch.base_axes, 0, 0), reach, at, strict=True)
    ]
    legs = couch.leg_lengths(axes)
    pose = couch.forward_from_legs(legs)
    assert pose.deviation(couch.forward(axes))[0] < 1e-6
    batch, status = couch.forward_from_legs_many([legs] * 3)
    assert (status == 0).all()
    assert (batch == pose.matrix()).all()


def test_an_arm_at_its_wrist_singularity_says_so() -> None:
    couch = COUCHES["robot_arm"]
    with pytest.raises(SingularError, match="wrist aligned"):
        couch.inverse(couch.forward((10, 20, 60, 30, 0, 40)))
