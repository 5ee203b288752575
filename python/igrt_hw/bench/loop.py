"""Figures of the whole: the scripted demo from start to verified, the clearance of its path, the simulator's own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from igrt_hw.bench.registry import BenchError, Metric, Sampler
from igrt_hw.demo.processes import ProcessError, command_path
from igrt_hw.guidance.plan import load_plan
from igrt_hw.machine import load_machine
from igrt_hw.machine.room import Room
from igrt_hw.server.clearing import surface_of_plan
from igrt_hw.server.placement import Placement
from igrt_hw.server.settings import DEMO_PLAN

DEMO_S_MAX = 600.0
SIM_S_MAX = 300.0
SHIFT = (8.0, -6.0, 5.0, 1.2, -1.0, 0.8)  # of the size that the demo puts in, axis by axis
QUERIES = 50


@contextmanager
def _demo() -> Iterator[Sampler]:
    def sample() -> float:
        with tempfile.TemporaryDirectory(prefix="igrt-bench-") as folder:
            report = Path(folder) / "report.json"
            begin = time.perf_counter()
            ended = subprocess.run(
                [
                    sys.executable, "-m", "igrt_hw.cli", "demo", "--script",
                    "--json", report, "--keep", folder,
                ],
                capture_output=True,
                text=True,
                timeout=DEMO_S_MAX,
                check=False,
            )  # fmt: skip
            seconds = time.perf_counter() - begin
            if ended.returncode != 0:
                said = (ended.stderr or ended.stdout).strip().splitlines()
                raise BenchError(f"the demo did not pass: {said[-1] if said else 'no word'}")
            return seconds

    yield sample


@contextmanager
def _clearance() -> Iterator[Sampler]:
    loaded = load_plan(DEMO_PLAN)
    isocentre = loaded.plan.isocentres[0]
    placement = Placement.of(loaded, isocentre.isocentre_id)
    room = Room(
        load_machine("linac_pedestal"), surface_of_plan(loaded), placement.table_from_patient
    )
    couch = isocentre.couch
    start = (
        couch.lateral_mm or 0.0,
        couch.longitudinal_mm or 0.0,
        couch.vertical_mm or 0.0,
        couch.rotation_deg,
        couch.pitch_deg,
        couch.roll_deg,
    )
    parked = room.retracted()

    def sample() -> float:
        begin = time.perf_counter()
        for number in range(QUERIES):
            part = number / QUERIES
            axes = tuple(a + part * d for a, d in zip(start, SHIFT, strict=True))
            room.clearance(axes, -90.0 + 180.0 * part, parked)
        return (time.perf_counter() - begin) / QUERIES * 1e6

    yield sample


@contextmanager
def _sweep() -> Iterator[Sampler]:
    loaded = load_plan(DEMO_PLAN)
    isocentre = loaded.plan.isocentres[0]
    placement = Placement.of(loaded, isocentre.isocentre_id)
    room = Room(
        load_machine("linac_pedestal"), surface_of_plan(loaded), placement.table_from_patient
    )
    start = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
    target = tuple(a + d for a, d in zip(start, SHIFT, strict=True))
    parked = room.retracted()

    def sample() -> float:
        begin = time.perf_counter()
        room.sweep(start, target, 0.0, parked)
        return (time.perf_counter() - begin) * 1e3

    yield sample


@contextmanager
def _simulator() -> Iterator[Sampler]:
    try:
        program = command_path("igrt-sim")
    except ProcessError as error:
        raise BenchError(str(error)) from error

    def sample() -> float:
        ended = subprocess.run(
            [program, "bench", "--json"],
            capture_output=True,
            text=True,
            timeout=SIM_S_MAX,
            check=False,
        )
        try:
            return float(json.loads(ended.stdout)["sim_realtime_factor"])
        except (ValueError, KeyError, TypeError) as error:
            said = ended.stderr.strip().splitlines()
            raise BenchError(
                f"`igrt-sim bench --json` gives no sim_realtime_factor: {said[-1] if said else 'no word'}"
            ) from error

    yield sample


METRICS = (
    Metric(
        "clearance_us",
        "us",
        "lower",
        "clearance of one configuration of room and patient, every pair, from Python",
        _clearance,
    ),
    Metric(
        "sweep_ms",
        "ms",
        "lower",
        "certified clearance of the whole path of a correction",
        _sweep,
    ),
    Metric(
        "sim_realtime_factor",
        "x",
        "higher",
        "how much faster than real time the simulated room runs (igrt-sim bench)",
        _simulator,
        samples=1,
    ),
    Metric(
        "demo_script_s",
        "s",
        "lower",
        "igrt demo --script from the command to its end, in real time: most of it is gantry and arms",
        _demo,
        samples=1,
    ),
)
