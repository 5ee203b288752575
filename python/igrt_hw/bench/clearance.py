"""Figures of the clearance core from Python, on one processor, against Coal and python-fcl on the same scene.

Everything is measured as a caller in Python sees it, with arrays in and out; `cargo bench -p igrt-motion --bench
clearance` has the same names without Python. Peers go cell by cell and gain nothing from neighbours, so they are
measured on a fixed random part of the map and scaled; each figure says so.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from igrt_hw.bench.clearance_peers import (
    CoalScene,
    FclScene,
    PeerScene,
    collides,
    pair_distances,
    scene_distance,
    sweep_head,
)
from igrt_hw.bench.clearance_scene import (
    COLUMNS,
    COUCH_DEG,
    GANTRY_DEG,
    ROWS,
    SEED,
    Floats,
    drives,
    frame_poses,
    pair_cells,
    room,
    sweep_motions,
)
from igrt_hw.bench.registry import Metric, Peer, Prepared, Sampler

PAIR_CELLS = 1000
PEER_PAIR_CELLS = 100
SWEEP_CALLS = 200


@contextmanager
def one_processor() -> Iterator[None]:
    """Every thread of this process on one processor: the core's maps use all of them otherwise. Linux only."""
    tasks = Path("/proc/self/task")
    if not (hasattr(os, "sched_setaffinity") and tasks.is_dir()):
        yield
        return
    before = {int(task.name): os.sched_getaffinity(int(task.name)) for task in tasks.iterdir()}
    one = {max(os.sched_getaffinity(0))}
    try:
        for task in before:
            os.sched_setaffinity(task, one)
        yield
    finally:
        for task, processors in before.items():
            if (tasks / str(task)).exists():
                os.sched_setaffinity(task, processors)


def _timed(work: Callable[[], object], per: float) -> Sampler:
    """Samples of one call in nanoseconds over `per`, on one processor."""

    def sample() -> float:
        with one_processor():
            begin = time.perf_counter_ns()
            work()
            return (time.perf_counter_ns() - begin) / per

    return sample


def _ours(prepare: Callable[[], Callable[[], object]], per: float) -> Callable[[], Prepared]:
    @contextmanager
    def prepared() -> Iterator[Sampler]:
        work = prepare()
        work()  # Trees are built and the core's threads started before anything counts.
        yield _timed(work, per)

    return prepared


def _map_work(name: str) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        core, moves = room(), drives()
        return {
            "map": lambda: core.map(moves, rows=ROWS, columns=COLUMNS),
            "pairs": lambda: core.pairs_map(moves, rows=ROWS, columns=COLUMNS),
            "contact": lambda: core.contact_map(moves, rows=ROWS, columns=COLUMNS, margin_mm=0.0),
            "certified": lambda: core.certified_map(
                moves, rows=8 * ROWS, columns=8 * COLUMNS, margin_mm=0.0
            ),
        }[name]

    return prepare


def _pair_work() -> Callable[[], object]:
    core = room(("patient",), ("gantry head",))
    poses = np.stack([frame_poses(*cell) for cell in pair_cells(PAIR_CELLS)])
    return lambda: core.separations_many(poses)


def _sweep_work(couch_deg: float, tolerance_mm: float) -> Callable[[], Callable[[], object]]:
    def prepare() -> Callable[[], object]:
        core, motions = room(("patient",), ("gantry head",)), sweep_motions(couch_deg)

        def work() -> None:
            for _ in range(SWEEP_CALLS):
                core.sweep(motions, stations=1, tolerance_mm=tolerance_mm)

        return work

    return prepare


def _pair_peers() -> tuple[Peer, ...]:
    """Per pose the median, as such figures are usually given: a few near poses take a hundred times as long."""

    def prepared(build: Callable[[], PeerScene]) -> Callable[[], Prepared]:
        @contextmanager
        def prepare() -> Iterator[Sampler]:
            scene = build()
            cells = pair_cells(PAIR_CELLS)[:PEER_PAIR_CELLS]

            def sample() -> float:
                times = []
                with one_processor():
                    for gantry, couch in cells:
                        scene.place(gantry, couch)
                        begin = time.perf_counter_ns()
                        scene.distance("patient", "gantry head")
                        times.append(time.perf_counter_ns() - begin)
                return statistics.median(times) / 1e3

            yield sample

        return prepare

    return (
        Peer("Coal", "coal", prepared(CoalScene)),
        Peer("python-fcl", "fcl", prepared(FclScene)),
    )


def _peers(work: Callable[[PeerScene], object], per: float) -> tuple[Peer, ...]:
    def prepared(build: Callable[[], PeerScene]) -> Callable[[], Prepared]:
        @contextmanager
        def prepare() -> Iterator[Sampler]:
            scene = build()
            work(scene)
            yield _timed(lambda: work(scene), per)

        return prepare

    return (
        Peer("Coal", "coal", prepared(CoalScene)),
        Peer("python-fcl", "fcl", prepared(FclScene)),
    )


def _cells(count: int) -> Floats:
    """Random cells of the map, degrees (n, 2)."""
    random = np.random.default_rng(SEED)
    return np.stack([random.choice(GANTRY_DEG, count), random.choice(COUCH_DEG, count)], axis=1)


def _over_cells(
    count: int, ask: Callable[[PeerScene], object]
) -> tuple[Callable[[PeerScene], object], float]:
    """Work over so many cells of the map, and what to divide by for milliseconds of the whole map."""
    cells = _cells(count)

    def work(scene: PeerScene) -> None:
        for gantry, couch in cells:
            scene.place(gantry, couch)
            ask(scene)

    return work, 1e6 * count / (ROWS * COLUMNS)


_MAP = f"{ROWS} x {COLUMNS} cells, one processor, from Python"
METRICS = (
    Metric(
        "clearance_pair_us", "us", "lower",
        f"patient to head, cold, {PAIR_CELLS} clear poses in one call, mean per pose with placing; "
        f"peers: median of the first {PEER_PAIR_CELLS} without placing",
        _ours(_pair_work, 1e3 * PAIR_CELLS), peers=_pair_peers(),
    ),
    Metric(
        "clearance_map_ms", "ms", "lower",
        f"scene minimum, {_MAP}; peers: 300 random cells, scaled, boolean first and one shared bound",
        _ours(_map_work("map"), 1e6), peers=_peers(*_over_cells(300, scene_distance)),
    ),
    Metric(
        "clearance_pairs_map_ms", "ms", "lower",
        f"every pair, {_MAP}; peers: 60 random cells, scaled",
        _ours(_map_work("pairs"), 1e6), samples=5, peers=_peers(*_over_cells(60, pair_distances)),
    ),
    Metric(
        "collision_map_ms", "ms", "lower",
        f"contact or not, {_MAP}; peers: 300 random cells, scaled",
        _ours(_map_work("contact"), 1e6), peers=_peers(*_over_cells(300, collides)),
    ),
    Metric(
        "continuous_map_ms", "ms", "lower",
        "cells of 0.25 x 0.25 deg, certain over their whole interior, one processor, from Python; no peer has one",
        _ours(_map_work("certified"), 1e6), samples=5,
    ),
    Metric(
        "sweep_us", "us", "lower",
        "gantry 0 to 90, head against patient, couch 0: certified not to touch, how near it comes not asked; "
        "peers: our advancement on their distances",
        _ours(_sweep_work(0.0, 1000.0), 1e3 * SWEEP_CALLS), peers=_peers(lambda scene: sweep_head(scene, 0.0), 1e3),
    ),
    Metric(
        "sweep_tight_us", "us", "lower",
        "the same motion, how near it comes to 0.5 mm (the default of Room.sweep); peers: only whether it touches",
        _ours(_sweep_work(0.0, 0.5), 1e3 * SWEEP_CALLS), peers=_peers(lambda scene: sweep_head(scene, 0.0), 1e3),
    ),
    Metric(
        "sweep_contact_us", "us", "lower",
        "the same with the couch at 60: contact, found where it begins",
        _ours(_sweep_work(60.0, 1000.0), 1e3 * SWEEP_CALLS), peers=_peers(lambda scene: sweep_head(scene, 60.0), 1e3),
    ),
)  # fmt: skip
