"""Metrics by name: what is measured, in which unit, by which function, against which peer.

A metric's sampler returns one sample in its unit. Samples of the metric and of its peers are taken in turn,
so that a busy machine disturbs both alike and the ratio stays honest.
"""

from __future__ import annotations

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Literal

from igrt_hw.models.base import Frozen

Sampler = Callable[[], float]
Prepared = AbstractContextManager[Sampler]

# Modules that offer `METRICS`. A room that is not installed is left out and said so.
METRIC_MODULES = (
    "igrt_hw.bench.motion",
    "igrt_hw.bench.clearance",
    "igrt_hw.bench.line",
    "igrt_hw.bench.imaging",
    "igrt_hw.bench.imaging_peers",
    "igrt_hw.bench.fiducials",
    "igrt_hw.bench.loop",
    "igrt_hw.bench.terminal",
    "igrt_hw.bench.campaign",
)


class BenchError(Exception):
    """A figure cannot be measured here; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another implementation of the same work. `module` must be importable, else the peer is not measured.

    `samples` is how many are taken of one that is slow; 0 as many as of the metric.
    """

    name: str
    module: str
    prepare: Callable[[], Prepared]
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Metric:
    """One named figure."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    what: str
    prepare: Callable[[], Prepared]
    samples: int = 9
    peers: tuple[Peer, ...] = ()


class PeerFigure(Frozen):
    """A peer's median and how many times better this project is (above 1: better)."""

    name: str
    median: float
    ratio: float


class Figure(Frozen):
    """A measured metric. `noise` is half the distance between the quartiles over the median."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    what: str
    median: float
    best: float
    noise: float
    samples: int
    peers: tuple[PeerFigure, ...] = ()


class Skipped(Frozen):
    """A metric that could not be measured here, and why."""

    name: str
    reason: str


def metrics() -> tuple[Metric, ...]:
    """All metrics of the rooms that are there."""
    found: list[Metric] = []
    for module in METRIC_MODULES:
        if importlib.util.find_spec(module) is not None:
            found += importlib.import_module(module).METRICS
    return tuple(found)


def measure_all(wanted: Sequence[Metric], *, with_peers: bool) -> Iterator[Figure | Skipped]:
    """Measure one after the other; a figure that cannot be measured comes back as `Skipped`."""
    for metric in wanted:
        try:
            yield _measure(metric, with_peers)
        except BenchError as error:
            yield Skipped(name=metric.name, reason=str(error))


def _measure(metric: Metric, with_peers: bool) -> Figure:
    peers = [
        peer
        for peer in (metric.peers if with_peers else ())
        if importlib.util.find_spec(peer.module) is not None
    ]
    ours: list[float] = []
    theirs: dict[str, list[float]] = {}
    with metric.prepare() as sample:
        entered: list[tuple[Peer, Prepared, Sampler]] = []
        for peer in peers:
            manager = peer.prepare()
            with suppress(
                BenchError
            ):  # a part of the peer is not there, as if it were not installed
                entered.append((peer, manager, manager.__enter__()))
                theirs[peer.name] = []
        try:
            for n in range(metric.samples):
                ours.append(sample())
                for peer, _, peer_sample in entered:
                    if n < (peer.samples or metric.samples):
                        theirs[peer.name].append(peer_sample())
        finally:
            for _, manager, _ in reversed(entered):
                manager.__exit__(None, None, None)
    middle = statistics.median(ours)
    return Figure(
        name=metric.name,
        unit=metric.unit,
        better=metric.better,
        what=metric.what,
        median=middle,
        best=min(ours) if metric.better == "lower" else max(ours),
        noise=_noise(ours, middle),
        samples=len(ours),
        peers=tuple(
            _peer_figure(name, values, middle, metric.better) for name, values in theirs.items()
        ),
    )


def _noise(values: Sequence[float], middle: float) -> float:
    if len(values) < 4 or middle == 0.0:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return abs((high - low) / 2.0 / middle)


def _peer_figure(
    name: str, values: Sequence[float], ours: float, better: Literal["lower", "higher"]
) -> PeerFigure:
    theirs = statistics.median(values)
    ratio = theirs / ours if better == "lower" else ours / theirs
    return PeerFigure(name=name, median=theirs, ratio=ratio)


def per_call_ns(work: Callable[[], object], calls: int) -> float:
    """Nanoseconds per call of `work`, over so many calls."""
    begin = time.perf_counter_ns()
    for _ in range(calls):
        work()
    return (time.perf_counter_ns() - begin) / calls
