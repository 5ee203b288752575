"""The monitor's figures are what went over the line."""

from __future__ import annotations

from clp1_bench import Bench, clean

from igrt_hw.link import messages as m
from igrt_hw.link.frame import Direction, Drop
from igrt_hw.link.monitor import TrafficWatch


def watched(bench: Bench) -> tuple[TrafficWatch, list[str]]:
    watch = TrafficWatch(bench.now_us)
    lines: list[str] = []
    outward, inward = bench.to_device, bench.to_host

    def to_device(chunk: bytes) -> list[tuple[int, bytes]]:
        lines.extend(watch.feed(Direction.HOST_TO_DEVICE, chunk, bench.now_us))
        return outward(chunk)

    def to_host(chunk: bytes) -> list[tuple[int, bytes]]:
        lines.extend(watch.feed(Direction.DEVICE_TO_HOST, chunk, bench.now_us))
        return inward(chunk)

    bench.to_device, bench.to_host = to_device, to_host
    return watch, lines


def test_every_frame_of_both_directions_is_counted_and_named() -> None:
    bench = Bench()
    watch, lines = watched(bench)
    bench.open()
    bench.submit(m.LimitsRead(), 1)
    bench.run(2_000_000)
    sent, heard = watch.counts(Direction.HOST_TO_DEVICE), watch.counts(Direction.DEVICE_TO_HOST)
    assert sent.total() == bench.tally.frames_sent
    assert heard.total() == bench.tally.frames_received
    assert (sent["HELLO"], sent["LIMITS_READ"], heard["HELLO_ACK"]) == (1, 1, 1)
    assert heard["COUCH_STATUS"] == bench.tally.telemetry_received
    assert any("COUCH_STATUS couch" in line and "at rest, no plan" in line for line in lines)


def test_retransmissions_crc_errors_refusals_and_the_clock_are_shown() -> None:
    bench = Bench(to_device=clean)
    bench.open()
    watch, lines = watched(bench)
    bench.run(1_000_000)
    flips = iter([True])
    inner = bench.to_device

    def flip_once(chunk: bytes) -> list[tuple[int, bytes]]:
        if next(flips, False):
            chunk = chunk[:9] + bytes([chunk[9] ^ 2]) + chunk[10:]
        return inner(chunk)

    bench.to_device = flip_once
    bench.submit(m.Echo(b"x"), 1)
    bench.run(250_000)
    bench.session.clock, clock = None, bench.session.clock
    bench.submit(m.Home(), 2)
    bench.session.clock = clock
    bench.run(250_000)
    assert watch.drops(Direction.HOST_TO_DEVICE)[Drop.CRC] == 1
    assert watch.retransmissions == bench.tally.retransmissions + bench.tally.resent_after_gap
    assert sum(watch.refused.values()) >= 1
    assert watch.offset_us is not None
    # read without delay at the device's own end, so the offset is exact
    assert watch.offset_us == bench.device.clock_ahead_us
    text = watch.summary(bench.now_us)
    assert "CRC errors 1" in text
    assert "round trip p50" in text
    assert any("RETRANSMISSION" in line for line in lines)
    assert any("REFUSED" in line and "late" in line for line in lines)


def test_a_status_that_says_nothing_new_is_counted_and_shown_once_a_second() -> None:
    bench = Bench()
    watch = TrafficWatch(bench.now_us, every_status=False)
    lines: list[str] = []

    def to_host(chunk: bytes) -> list[tuple[int, bytes]]:
        lines.extend(watch.feed(Direction.DEVICE_TO_HOST, chunk, bench.now_us))
        return [(0, chunk)]

    bench.to_host = to_host
    bench.open()
    bench.run(5_000_000)
    shown = sum("COUCH_STATUS" in line for line in lines)
    assert watch.counts(Direction.DEVICE_TO_HOST)["COUCH_STATUS"] > 90
    assert 4 <= shown <= 7
    bench.stop()
    bench.run(10_000)
    assert any("STOP_ACK" in line for line in lines[-3:])
