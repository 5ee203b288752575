"""After STOP the set-point falls along the planned profile, from any speed and acceleration.

The oracle is written here from the limits alone: acceleration that is under way is taken back at
the jerk limit, then the steepest deceleration that jerk and acceleration limits allow, to rest.
"""

from __future__ import annotations

import itertools
import math

import pytest
from firmware_bench import FirmwareBench
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from igrt_hw.link import messages as m

DT = 0.001


def stop_of(v: float, a: float, accel: float, jerk: float) -> tuple[float, float]:
    """How long and how far a stop takes from speed v >= 0 and acceleration a."""
    distance = duration = 0.0
    if a > 0:  # let the acceleration go first
        t = a / jerk
        distance, duration = v * t + a * t * t / 2 - jerk * t**3 / 6, t
        v, a = v + a * a / (2 * jerk), 0.0
    slowing = -a
    # the rest of a stop that began at a higher speed
    whole = v + slowing**2 / (2 * jerk)
    peak = min(accel, math.sqrt(whole * jerk))
    hold = (whole - peak**2 / jerk) / peak if peak > 0 else 0.0
    for t, j in (((peak - slowing) / jerk, -jerk), (hold, 0.0), (peak / jerk, jerk)):
        distance += v * t + a * t * t / 2 + j * t**3 / 6
        v, a, duration = v + a * t + j * t * t / 2, a + j * t, duration + t
    assert v == pytest.approx(0.0, abs=1e-6)
    return duration, distance


def test_the_oracle_knows_the_textbook_stop() -> None:
    """50 mm/s, 100 mm/s2, 500 mm/s3: 17.5 mm in 0.7 s; asked in full acceleration, about twice that."""
    assert stop_of(50, 0, 100, 500) == pytest.approx((0.7, 17.5))
    assert stop_of(50, 100, 100, 500)[1] == pytest.approx(35.3, abs=0.1)


@settings(max_examples=40, deadline=None)
@given(
    lateral=st.floats(-60, 60),
    vertical=st.floats(-60, 60),
    pitch=st.floats(-2.5, 2.5),
    speed_ppm=st.integers(100_000, 1_000_000),
    after_ms=st.integers(130, 4000),
    line_break=st.booleans(),
)
def test_after_stop_the_speed_falls_along_the_planned_profile(
    lateral: float,
    vertical: float,
    pitch: float,
    speed_ppm: int,
    after_ms: int,
    line_break: bool,
) -> None:
    bench = FirmwareBench()
    bench.open()
    assert bench.limits is not None
    by = (lateral, 0.0, vertical, 0.0, pitch, 0.0)
    # a wire takes whole micro-units: where it really goes, and where it stands
    plan = bench.plan(by)
    message = plan.message()
    message = m.PlanUpload(
        **{name: getattr(message, name) for name in message.SPEC.field_names}
        | {"speed_ppm": speed_ppm}
    )
    bench.permit(400)
    reply = bench.ask(message)
    assert isinstance(reply, m.PlanReply)
    bench.room.set_enable("enabled")
    bench.permit(400)
    executed = bench.ask(m.Execute(reply.plan_digest, reply.plan_nonce, bytes(16)))
    assert isinstance(executed, m.ExecuteReply)
    points = [tuple(bench.room.truth()["commanded"])]
    for _ in range(0, after_ms, 100):
        bench.permit(300)
        bench.run(min(100, after_ms))
    bench.run(after_ms % 100)
    for _ in range(5):
        bench.run(1)
        points.append(tuple(bench.room.truth()["commanded"]))
    assume(bench.room.truth()["couch_state"] == 4)  # else it has arrived already
    if line_break:
        bench.room.line_break("couch")
    else:
        bench.session.stop(0, bench.host_us, "stop")
    stopped = len(points) - 1
    for _ in range(1300):
        bench.run(1)
        points.append(tuple(bench.room.truth()["commanded"]))
    bench.submit(m.Execute(reply.plan_digest, reply.plan_nonce, bytes(16)), "again")

    travels = [b - a for a, b in zip(points[0], plan_end(points, by), strict=True)]
    leading = max(range(6), key=lambda i: abs(travels[i]))
    assume(abs(travels[leading]) >= 1.0)
    u = [(p[leading] - points[0][leading]) / travels[leading] for p in points]
    assert_on_the_line(points, travels, u)
    # the STOP is obeyed one or two cycles after it was given: where the plan's own speed bends
    speeds = [(b - a) / DT for a, b in itertools.pairwise(u)]
    scale = [abs(t) * a.kind.per_unit for t, a in zip(travels, bench.limits.axes, strict=True)]
    shares = [(a, s) for a, s in zip(bench.limits.axes, scale, strict=True) if s > 1]
    accel = min(axis.acceleration_max / way for axis, way in shares)
    jerk = min(axis.jerk_max / way for axis, way in shares)
    begin = stopped + 1
    v, a = speeds[begin - 1], (speeds[begin - 1] - speeds[begin - 2]) / DT
    duration, distance = stop_of(max(v, 0.0), a, accel, jerk)
    rest = next(i for i in range(begin, len(u)) if u[i + 1 :] and max(u[i:]) - u[i] < 1e-9)
    slack = 3 * DT * max(v, accel * DT)
    assert u[-1] - u[begin] <= distance * 1.03 + slack
    assert u[-1] - u[begin] >= distance * 0.97 - slack
    assert abs((rest - begin) * DT - duration) <= 0.03 * duration + 0.008
    # it only falls, once the acceleration that was under way is taken back
    falls_from = begin + 3 + math.ceil(max(a, 0.0) / jerk / DT)
    tail = speeds[falls_from:]
    assert all(b <= a + jerk * DT * DT for a, b in itertools.pairwise(tail))
    assert min(speeds[begin:]) >= -1e-9, "it turns back"
    # and it never goes on
    bench.permit(400)
    bench.run(800)
    assert bench.room.truth()["speeds"] == [0.0] * 6
    outcome = bench.outcomes["again"]
    assert not isinstance(outcome, m.ExecuteReply)


def plan_end(points: list[tuple[float, ...]], by: tuple[float, ...]) -> list[float]:
    return [a + b for a, b in zip(points[0], by, strict=True)]


def assert_on_the_line(
    points: list[tuple[float, ...]], travels: list[float], u: list[float]
) -> None:
    """All axes stand at the same fraction of their way, to what a micro-unit leaves over."""
    for point, part in zip(points, u, strict=True):
        for at, start, travel in zip(point, points[0], travels, strict=True):
            assert abs(at - (start + part * travel)) <= 0.01
