"""What `igrt link monitor --dialect gcs` shows of a line, in virtual time against the simulated controller."""

from __future__ import annotations

import pytest
from gcs_bench import GcsBench
from typer.testing import CliRunner

from igrt_hw.cli import app
from igrt_hw.link.frame import Direction
from igrt_hw.link.gcs_monitor import GcsWatch

TO, FROM = Direction.HOST_TO_DEVICE, Direction.DEVICE_TO_HOST


def fed(watch: GcsWatch, direction: Direction, data: bytes, at_us: int = 0) -> list[str]:
    return list(watch.feed(direction, data, at_us))


def test_question_and_answer_of_several_lines_are_one_round_trip() -> None:
    watch = GcsWatch(0)
    assert "POS? X Y" in fed(watch, TO, b"POS? X Y\n", 1_000)[0]
    first, last = fed(watch, FROM, b"X=1.5 \nY=2\n", 4_500)
    assert "X=1.5" in first
    assert "us)" not in first
    assert last.endswith("Y=2  (3500 us)")
    assert "round trip p50 3500 us" in watch.summary(1_000_000)


def test_codes_of_refusal_are_told_in_words_and_counted() -> None:
    watch = GcsWatch(0)
    fed(watch, TO, b"MOV X 99\nERR?\n")
    assert "(position out of limits)" in fed(watch, FROM, b"7\n")[0]
    fed(watch, TO, b"ERR?\n")
    assert "(" not in fed(watch, FROM, b"0\n", 5)[0].replace("(5 us)", "")
    assert watch.codes == {7: 1}


def test_single_octets_are_seen_where_they_stand() -> None:
    watch = GcsWatch(0)
    said = fed(watch, TO, b"MO\x18V X 1\n")
    assert "#24 STOP" in said[0]
    assert watch.stops == 1
    fed(watch, TO, b"\x07")
    assert "ready" in fed(watch, FROM, b"\xb1")[0]


def test_what_goes_wrong_is_counted() -> None:
    watch = GcsWatch(0)
    assert "nobody asked" in fed(watch, FROM, b"X=1\n")[0]
    fed(watch, TO, b"POS?\nVEL?\n")
    assert "garbled" in fed(watch, FROM, b"\xff\xfe1\n")[0]
    assert (watch.unasked, watch.overtaken, watch.garbled) == (1, 1, 1)
    assert fed(watch, FROM, b"x" * 100_000) == []


def test_a_whole_motion_of_the_driver_is_decoded_without_a_fault() -> None:
    bench = GcsBench(seed=5)
    bench.room.perform("hand.enable", position="released")
    watch = GcsWatch(0)
    read, write = bench.transport.read, bench.transport.write
    lines: list[str] = []

    def watched_read() -> bytes:
        said = read()
        lines.extend(watch.feed(FROM, said, bench.room.now_us))
        return said

    def watched_write(data: bytes) -> int:
        lines.extend(watch.feed(TO, data, bench.room.now_us))
        return write(data)

    bench.transport.read, bench.transport.write = watched_read, watched_write  # type: ignore[method-assign]
    bench.open()
    bench.armed((-20.0 + 3.0, -350.0, -122.5, 0.0, 0.0, 0.0))
    bench.hold("enabled")
    bench.run(8000, lambda told: told.state.name == "ARRIVED")
    assert watch.counts()["MOV"] == 1
    assert watch.counts()["POS?"] > 20
    assert (watch.unasked, watch.overtaken, watch.garbled) == (0, 0, 0)
    assert watch.stops == 1  # of opening the line
    assert any("MOV X" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "why"),
    [(["--dialect", "gcs"], "--between"), (["--dialect", "morse"], "neither clp1 nor gcs")],
)
def test_monitor_says_why_it_cannot(words: list[str], why: str) -> None:
    result = CliRunner().invoke(app, ["link", "monitor", "/dev/null", *words])
    assert result.exit_code != 0
    assert why in " ".join(result.output.replace("│", " ").split())
