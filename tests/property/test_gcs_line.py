"""Answers of a GCS controller lost, cut, doubled or changed: a lost link or a named refusal, and a couch at rest."""

from __future__ import annotations

from collections.abc import Callable

from gcs_bench import GcsBench
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from igrt_hw.devices.errors import DeviceError
from igrt_hw.link import gcs
from igrt_hw.link.errors import LinkError, LinkLost
from igrt_hw.models.telemetry import CouchState

TARGET = (-15.0, -353.0, -120.0, 1.0, -0.8, 1.2)
QUESTIONS = (
    gcs.of_axes("POS?"),
    gcs.of_axes("SVO?", gcs.Form.SWITCHES),
    gcs.ERROR,
    gcs.MOVING,
    gcs.IS_READY,
    gcs.IDENTITY,
)


@given(st.sampled_from(QUESTIONS), st.binary(max_size=200))
def test_any_octets_are_an_answer_of_the_right_form_or_a_lost_link(
    question: gcs.Question, octets: bytes
) -> None:
    exchange = gcs.Exchange(question, 0)
    try:
        exchange.feed(octets, 1)
        if exchange.answer is None:
            exchange.feed(b"", gcs.ANSWER_US_MAX)
    except LinkLost:
        return
    assert exchange.answer is not None
    assert not question.items or len(exchange.answer) == len(question.items)


@given(st.lists(st.floats(-30.0, 30.0), min_size=6, max_size=6))
def test_what_is_formatted_is_read_back_to_six_decimals(values: list[float]) -> None:
    back = gcs.values_of(gcs.command("MOV", values), "MOV")
    assert all(abs(a - b) <= 5.1e-7 for a, b in zip(values, back, strict=True))


def spoiler(kind: str, at: int, octet: int) -> Callable[[bytes], bytes]:
    count = 0

    def spoil(said: bytes) -> bytes:
        nonlocal count
        count += 1
        if count != at:
            return said
        match kind:
            case "lost":
                return b""
            case "cut":
                return said[: len(said) // 2]
            case "doubled":
                return said + said
            case _:
                place = octet % len(said)
                return said[:place] + bytes([octet]) + said[place + 1 :]

    return spoil


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    kind=st.sampled_from(["lost", "cut", "doubled", "changed"]),
    at=st.integers(1, 60),
    octet=st.integers(0, 255),
)
def test_spoilt_answer_in_mid_motion_never_leaves_a_couch_that_moves_on_unwatched(
    kind: str, at: int, octet: int
) -> None:
    bench = GcsBench()
    bench.open()
    bench.armed(TARGET)
    bench.hold("enabled")
    bench.run(1200)
    bench.transport.spoil = spoiler(kind, at, octet)
    lost = None
    try:
        bench.run(2500)
    except LinkLost as error:
        lost = error
        bench.transport.write(gcs.STOP)  # as `serve_once` does with a line that is given up
    except (LinkError, DeviceError):
        pass  # refused by name
    told = bench.couch.telemetry
    assert told is not None
    if lost is not None:
        bench.room.advance_ms(1500)
        assert max(abs(speed) for speed in bench.room.truth()["speeds"]) < 0.05
    else:
        # A changed digit of an answer that still has its form: noticed by nobody, but it moved nothing else.
        assert told.state in (
            CouchState.MOVING,
            CouchState.ARRIVED,
            CouchState.HELD,
            CouchState.STOPPING,
            CouchState.LATCHED,
            CouchState.IDLE,
        )
        for at_mm, goal in zip(told.primary, TARGET, strict=True):
            assert abs(at_mm - goal) < 12.0
