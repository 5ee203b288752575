"""Figures of the serial line: drivers against the simulator, over ptys, with all that an operator has.

Every figure goes through the public driver (futures, the line's thread, leases possible), not
through an inner loop. A sample is a burst of exchanges; its value is the burst's median, 99th
percentile or rate, so that the spread between bursts shows how busy the machine was.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from igrt_hw.bench.registry import BenchError, Metric, Sampler
from igrt_hw.demo.processes import Family, ProcessError, command_path
from igrt_hw.devices.couch import ClpCouch
from igrt_hw.devices.imager import ClpImager
from igrt_hw.link import messages as m
from igrt_hw.link.runner import Line, LineEvent, monotonic_us
from igrt_hw.link.session import EpochMoved
from igrt_hw.server.settings import DEMO_PLAN

START_S_MAX = 60.0
BURST = 500
PIPELINED = 2000
PAYLOAD = bytes(range(16))
FLOOD = 0xFFFF0001  # the stored flood: a whole frame that needs no exposure


@contextmanager
def _simulator() -> Iterator[dict[str, str]]:
    """The ports of a simulator in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="igrt-bench-") as name:
        folder = Path(name)
        ready = folder / "endpoints.json"
        try:
            with Family(folder) as family:
                program = command_path("igrt-sim")
                patient = Path(DEMO_PLAN)
                patient = patient if patient.is_dir() else patient.parent
                family.start(
                    "simulator",
                    [program, "serve", "--run-dir", folder, "--patient", patient, "--seed", "1"],
                    {},
                )
                family.wait_until(ready.exists, "the simulator's lines", START_S_MAX)
                yield json.loads(ready.read_text("utf-8"))
        except ProcessError as error:
            raise BenchError(str(error)) from error


@contextmanager
def _line() -> Iterator[Line]:
    with _simulator() as ports:
        couch = ClpCouch.on_port(ports["couch"])
        try:
            couch.connect(START_S_MAX)
            yield couch.line
        finally:
            couch.close()


def _round_trips_us(line: Line) -> list[float]:
    times = []
    echo = m.Echo(PAYLOAD)
    for _ in range(BURST):
        begin = time.perf_counter_ns()
        line.call(echo)
        times.append((time.perf_counter_ns() - begin) / 1000)
    return sorted(times)


def _round_trip(part: float) -> Callable[[], AbstractContextManager[Sampler]]:
    @contextmanager
    def prepare() -> Iterator[Sampler]:
        with _line() as line:
            yield lambda: _round_trips_us(line)[int(part * BURST)]

    return prepare


@contextmanager
def _one_at_a_time() -> Iterator[Sampler]:
    with _line() as line:
        yield lambda: BURST * 1e6 / sum(_round_trips_us(line))


@contextmanager
def _window_of_four() -> Iterator[Sampler]:
    with _line() as line:
        echoes = [m.Echo(PAYLOAD)] * PIPELINED

        def sample() -> float:
            begin = time.perf_counter()
            line.submit_many(echoes).result(START_S_MAX)
            return PIPELINED / (time.perf_counter() - begin)

        yield sample


@contextmanager
def _stop() -> Iterator[Sampler]:
    """From the call to the moment at which the new epoch is heard (the first of three copies)."""
    with _line() as line:
        heard = threading.Event()

        def listen(item: LineEvent) -> None:
            if isinstance(item.event, EpochMoved):
                heard.set()

        line.on_event(listen)

        def sample() -> float:
            heard.clear()
            begin = time.perf_counter()
            answer = line.stop()
            if not heard.wait(START_S_MAX):
                raise BenchError("STOP was not acknowledged")
            taken_ms = (time.perf_counter() - begin) * 1000
            answer.result(START_S_MAX)
            return taken_ms

        yield sample


@contextmanager
def _fetch() -> Iterator[Sampler]:
    with _simulator() as ports:
        imager = ClpImager.on_port(ports["imager"])
        try:
            imager.connect(START_S_MAX)

            def sample() -> float:
                begin = time.perf_counter()
                frame = imager.fetch(FLOOD)
                return frame.counts.nbytes / 1e6 / (time.perf_counter() - begin)

            yield sample
        finally:
            imager.close()


@contextmanager
def _lease() -> Iterator[Sampler]:
    """How late the device saw leases, at worst, within one second of refreshing every 50 ms."""
    with _simulator() as ports:
        couch = ClpCouch.on_port(ports["couch"])
        try:
            couch.connect(START_S_MAX)

            def sample() -> float:
                worst_ms, ends = 0.0, time.monotonic() + 1.0
                while time.monotonic() < ends:
                    couch.refresh_permission(monotonic_us() + 200_000)
                    status = couch.telemetry
                    if status is not None and status.lease_age_ms < 0xFFFF:
                        worst_ms = max(worst_ms, status.lease_age_ms)
                    time.sleep(0.05)
                return worst_ms

            sample()  # the first second has no lease yet
            yield sample
        finally:
            couch.close()


@contextmanager
def _heartbeat() -> Iterator[Sampler]:
    """The 99th percentile of how late leases leave while this process registers images."""
    from igrt_hw.bench.imaging import METRICS as IMAGING

    registering = next(metric for metric in IMAGING if metric.name == "registration_s")
    end = threading.Event()
    with _line() as line, registering.prepare() as register:

        def work() -> None:
            while not end.is_set():
                register()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()

        def sample() -> float:
            before = line.health().counters.leases_sent
            ends = time.monotonic() + 5.0
            while time.monotonic() < ends:
                line.refresh_permission(monotonic_us() + 400_000)
                time.sleep(0.1)
            late = sorted(line.lease_lateness_us()[before - line.health().counters.leases_sent :])
            return late[int(0.99 * len(late))] / 1000

        try:
            yield sample
        finally:
            end.set()
            worker.join()


METRICS = (
    Metric(
        "link_roundtrip_us_p50",
        "us",
        "lower",
        f"one command and its answer over a pty, median of a burst of {BURST}",
        _round_trip(0.5),
    ),
    Metric(
        "link_roundtrip_us_p99",
        "us",
        "lower",
        f"the same, 99th percentile of a burst of {BURST}",
        _round_trip(0.99),
    ),
    Metric(
        "link_requests_per_s_window_1",
        "1/s",
        "higher",
        "commands answered in a second, one at a time",
        _one_at_a_time,
    ),
    Metric(
        "link_requests_per_s",
        "1/s",
        "higher",
        "commands answered in a second with a window of 4",
        _window_of_four,
    ),
    Metric(
        "frame_download_mb_per_s",
        "MB/s",
        "higher",
        "a whole frame over a pty, its SHA-256 verified",
        _fetch,
    ),
    Metric(
        "stop_latency_ms",
        "ms",
        "lower",
        "from the call to the device's acknowledgement of STOP",
        _stop,
    ),
    Metric(
        "lease_age_ms_worst",
        "ms",
        "lower",
        "the oldest lease that the device reports within a second of refreshing",
        _lease,
        samples=5,
    ),
    Metric(
        "heartbeat_late_ms_p99",
        "ms",
        "lower",
        "how late leases leave, 99th percentile, while a registration runs in the same process",
        _heartbeat,
        samples=3,
    ),
)
