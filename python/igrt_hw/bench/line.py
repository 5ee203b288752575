"""Figures of the serial line: drivers against the simulator, over ptys, with all that an operator has.

Every figure goes through the public driver (its thread, its locks, leases possible), not through an
inner loop: one command at a time by `call`, many by `submit_many`. A sample is a burst of
exchanges; its value is the burst's median, 99th percentile or rate, so that the spread between
bursts shows how busy the machine was.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from igrt_hw.bench import line_peers
from igrt_hw.bench.registry import BenchError, Metric, Peer, Sampler
from igrt_hw.demo.processes import Family, ProcessError, command_path
from igrt_hw.devices.couch import ClpCouch
from igrt_hw.devices.imager import ClpImager
from igrt_hw.link import messages as m
from igrt_hw.link.runner import AWAKE_US, Line, LineEvent, monotonic_us
from igrt_hw.link.session import EpochMoved
from igrt_hw.server.settings import DEMO_PLAN

START_S_MAX = 60.0
SIM_S_MAX = 120.0
BURST = 500
PIPELINED = 2000
PAYLOAD = bytes(range(16))
FRAME_MB = 1024 * 768 * 2 / 1e6
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
def _with_a_python_host() -> Iterator[Sampler]:
    """What the simulator says of itself with a host in Python: `igrt-sim bench --json`."""
    key = "sim_realtime_factor_python_host"

    def sample() -> float:
        try:
            command = [str(command_path("igrt-sim")), "bench", "--json"]
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=SIM_S_MAX, check=False
            )
            return float(json.loads(ended.stdout)[key])
        except (ProcessError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"`igrt-sim bench --json` gives no {key}: {error!r}") from error

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
def _frames() -> Iterator[Callable[[], tuple[float, float]]]:
    """Fetches a whole frame; gives its megabytes and the seconds it took."""
    with _simulator() as ports:
        imager = ClpImager.on_port(ports["imager"])
        try:
            imager.connect(START_S_MAX)
            imager.line.call(
                m.Technique(800, 0, 1, 1000, 20_000, -1000, 1000, -1000, 1000)
            )  # unbinned

            def fetch() -> tuple[float, float]:
                begin = time.perf_counter()
                frame = imager.fetch(FLOOD)
                return frame.counts.nbytes / 1e6, time.perf_counter() - begin

            yield fetch
        finally:
            imager.close()


@contextmanager
def _fetch() -> Iterator[Sampler]:
    with _frames() as fetch:

        def sample() -> float:
            megabytes, seconds = fetch()
            return megabytes / seconds

        yield sample


@contextmanager
def _fetch_time() -> Iterator[Sampler]:
    with _frames() as fetch:

        def sample() -> float:
            megabytes, seconds = fetch()
            if megabytes != FRAME_MB:
                raise BenchError(f"a frame of {megabytes} MB; 1024 x 768 x 16 bit was expected")
            return seconds

        yield sample


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

    registering = next(metric for metric in IMAGING if metric.name == "register_2view_s")
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


def _modbus(figure: line_peers.Figure) -> Peer:
    return Peer("pymodbus", "pymodbus", lambda: line_peers.modbus(figure))


def _lewis(figure: line_peers.Figure) -> Peer:
    return Peer("lewis", "lewis", lambda: line_peers.lewis(figure))


def _bare(share: float, awake_us: int) -> Peer:
    name = "bare pty, looking" if awake_us else "bare pty, sleeping"
    return Peer(name, "pty", line_peers.bare_pty(line_peers.part(share), awake_us))


KLIPPER_US_P50 = 138.0  # its host with its Linux firmware, on such a machine (docs/line.md)


@contextmanager
def _against_klipper() -> Iterator[Sampler]:
    with _line() as line:
        yield lambda: KLIPPER_US_P50 / _round_trips_us(line)[BURST // 2]


METRICS = (
    Metric(
        "link_floor_us_p50",
        "us",
        "lower",
        "no protocol: the same octets written and read over a pty, both ends asleep meanwhile",
        line_peers.bare_pty(line_peers.part(0.5), 0),
        peers=(_bare(0.5, AWAKE_US),),
    ),
    Metric(
        "link_klipper_ratio",
        "x",
        "higher",
        f"{KLIPPER_US_P50:.0f} us, measured for Klipper's round trip, over ours",
        _against_klipper,
    ),
    Metric(
        "link_roundtrip_us_p50",
        "us",
        "lower",
        f"one command and its answer over a pty, median of a burst of {BURST}",
        _round_trip(0.5),
        peers=(
            _modbus(line_peers.part(0.5)),
            _lewis(line_peers.part(0.5)),
            _bare(0.5, 0),
            _bare(0.5, AWAKE_US),
        ),
    ),
    Metric(
        "link_roundtrip_us_p99",
        "us",
        "lower",
        f"the same, 99th percentile of a burst of {BURST}",
        _round_trip(0.99),
        peers=(_modbus(line_peers.part(0.99)), _bare(0.99, 0), _bare(0.99, AWAKE_US)),
    ),
    Metric(
        "link_requests_per_s_w1",
        "1/s",
        "higher",
        "commands answered in a second, one at a time",
        _one_at_a_time,
        peers=(_modbus(line_peers.rate), _lewis(line_peers.rate)),
    ),
    Metric(
        "link_requests_per_s_w4",
        "1/s",
        "higher",
        "commands answered in a second with a window of 4 (peers have none: one at a time)",
        _window_of_four,
        peers=(_modbus(line_peers.rate), _lewis(line_peers.rate)),
    ),
    Metric(
        "link_requests_per_s",
        "1/s",
        "higher",
        "the same as with a window of 4, under the name it is gated by",
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
        "frame_download_s",
        "s",
        "lower",
        "that frame, 1024 x 768 x 16 bit",
        _fetch_time,
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
    Metric(
        "sim_realtime_factor_python_host",
        "x",
        "higher",
        "simulated couch moving at 1 kHz under a host in Python (sim_realtime_factor: alone)",
        _with_a_python_host,
        samples=3,
    ),
)
