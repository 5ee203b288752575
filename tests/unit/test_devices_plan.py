"""Plans and limits: exact integers, refusals with reasons, digests as the protocol defines them."""

from __future__ import annotations

import hashlib
import math
import struct

import pytest

from igrt_hw.devices.errors import PlanError
from igrt_hw.devices.frames import View
from igrt_hw.devices.imager import technique_message, wrap_deg
from igrt_hw.devices.plan import AxisKind, AxisLimits, CouchLimits, MotionPlan, to_line
from igrt_hw.link import messages as m

LINEAR, ROTARY = AxisKind.LINEAR, AxisKind.ROTARY
LIMITS = CouchLimits(
    (
        AxisLimits.of("lateral", LINEAR, -250, 250, 50, 100, 500),
        AxisLimits.of("longitudinal", LINEAR, 0, 1500, 100, 100, 500),
        AxisLimits.of("vertical", LINEAR, -400, 400, 50, 100, 500),
        AxisLimits.of("rotation", ROTARY, -95, 95, 3, 5, 20),
        AxisLimits.of("pitch", ROTARY, -3, 3, 1, 2, 8),
        AxisLimits.of("roll", ROTARY, -3, 3, 1, 2, 8),
    )
)
START = (0.0, 800.0, -120.0, 0.0, 0.0, 0.0)
TARGET = (1.2345, 801.0, -119.5, 0.75, -1.25, 0.3)


def plan(**changes: object) -> MotionPlan:
    values: dict[str, object] = {
        "proposal": bytes(range(32)),
        "limits": LIMITS,
        "start": START,
        "waypoints": [TARGET],
        "ttl_ms": 120_000,
    }
    return MotionPlan.of(**(values | changes))  # type: ignore[arg-type]


def test_positions_become_the_nearest_micrometre_and_microdegree() -> None:
    assert plan().waypoints == ((1234, 801_000, -119_500, 750_000, -1_250_000, 300_000),)


def test_rounding_is_exact_and_half_to_even() -> None:
    # as a double, 1.2345 lies just below 1234.5 um: rounding its decimal text would give 1235
    assert to_line(1.2345, LINEAR, "x") == 1234
    assert to_line(0.0625, LINEAR, "x") == 62  # exactly 62.5 um
    assert to_line(0.1875, LINEAR, "x") == 188  # exactly 187.5 um
    assert to_line(-0.0625, LINEAR, "x") == -62


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_refused(value: float) -> None:
    with pytest.raises(PlanError, match="lateral"):
        plan(waypoints=[(value, *TARGET[1:])])


def test_a_target_outside_its_limit_is_refused_with_value_and_limit_not_clamped() -> None:
    with pytest.raises(
        PlanError, match=r"waypoint 1: lateral 260\.000 mm is above its limit of 250\.000 mm"
    ):
        plan(waypoints=[(260.0, *TARGET[1:])])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"proposal": b"short"}, "32 octets"),
        ({"waypoints": []}, "0 waypoints"),
        ({"waypoints": [TARGET] * 9}, "9 waypoints"),
        ({"ttl_ms": 0}, "0 ms"),
        ({"ttl_ms": 600_001}, "600001 ms"),
        ({"speed_fraction": 0.0}, "speed fraction"),
        ({"speed_fraction": 1.01}, "speed fraction"),
        ({"start_tolerance_mm": 2.1}, "2.1 mm"),
        ({"start_tolerance_deg": 0.0}, "0.0 deg"),
        ({"start": START[:5]}, "5 values for 6 axes"),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused_with_words(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(PlanError, match=words):
        plan(**changes)


def test_plan_digest_is_that_of_the_protocol_text() -> None:
    p = plan(ttl_ms=1000, speed_fraction=0.5)
    text = (
        b"CLP1-PLAN"
        + bytes(range(32))
        + LIMITS.digest()[:8]
        + struct.pack("<II", 1000, 500_000)
        + bytes([6, 1])
        + struct.pack("<6i", 0, 800_000, -120_000, 0, 0, 0)
        + struct.pack("<II", 500, 200_000)
        + struct.pack("<6i", 1234, 801_000, -119_500, 750_000, -1_250_000, 300_000)
    )
    assert p.plan_digest() == hashlib.sha256(text).digest()


def test_every_value_of_a_plan_is_in_its_digest() -> None:
    base = plan()
    digests = {base.plan_digest()}
    for changed in (
        plan(proposal=bytes(32)),
        plan(ttl_ms=119_999),
        plan(speed_fraction=0.999),
        plan(start=(0.001, *START[1:])),
        plan(start_tolerance_mm=0.501),
        plan(start_tolerance_deg=0.201),
        plan(waypoints=[TARGET, TARGET]),
        plan(waypoints=[(*TARGET[:5], 0.300001)]),
        plan(limits=CouchLimits((*LIMITS.axes[:5], AxisLimits.of("roll", ROTARY, -3, 3, 1, 2, 9)))),
    ):
        digests.add(changed.plan_digest())
    assert len(digests) == 10


def test_the_message_carries_exactly_what_the_digest_covers() -> None:
    p = plan()
    message = m.unpack_body(m.PlanUpload.TYPE, p.message().pack())
    assert isinstance(message, m.PlanUpload)
    assert message == p.message()
    assert (message.start, message.waypoints) == (p.start, p.waypoints)


def test_unused_axes_are_zero() -> None:
    three = CouchLimits(LIMITS.axes[:3])
    p = plan(limits=three, start=START[:3], waypoints=[TARGET[:3]])
    assert (p.axis_count, p.start) == (3, (0, 800_000, -120_000, 0, 0, 0))


def test_limits_digest_is_that_of_the_protocol_text() -> None:
    text = b"CLP1-LIMITS\x01\x00" + struct.pack(
        "<iiIII", -250_000, 250_000, 50_000, 100_000, 500_000
    )
    assert CouchLimits(LIMITS.axes[:1]).digest() == hashlib.sha256(text).digest()


def test_differences_between_axis_tables_are_told_in_millimetres_and_degrees() -> None:
    other = CouchLimits(
        (*LIMITS.axes[:4], AxisLimits.of("pitch", ROTARY, -5, 5, 1, 2, 8), LIMITS.axes[5])
    )
    (text,) = other.differences(LIMITS)
    assert text.startswith("pitch: the device has -5 to 5 deg")
    assert "expected is -3 to 3 deg" in text
    assert LIMITS.differences(LIMITS) == ()


def test_an_unknown_kind_of_axis_is_refused() -> None:
    reply = m.LimitsReply(1, ((2, 0, 1, 1, 1, 1),))
    with pytest.raises(PlanError, match="kind 2"):
        CouchLimits.from_reply(reply)


@pytest.mark.parametrize(
    ("angle", "wrapped"),
    [(0, 0), (180, 180), (-180, 180), (190, -170), (540, 180), (-359, 1), (359.5, -0.5)],
)
def test_angles_wrap_to_half_open_turn(angle: float, wrapped: float) -> None:
    assert wrap_deg(angle) == pytest.approx(wrapped)


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (View(0, binning=3), "binning 3"),
        (View(0, kvp=0), "kVp"),
        (View(0, ms=-1), "ms"),
        (View(0, field_mm=(10, -10, -1, 1)), "x1 must be below x2"),
    ],
)
def test_a_technique_that_makes_no_sense_is_refused(view: View, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        technique_message(view)
