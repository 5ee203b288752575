"""Figures of the motion core from Python: batches of poses, so that the call itself does not count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from igrt_hw.bench.registry import Metric, Prepared, Sampler
from igrt_hw.machine import load_machine

BATCH = 20_000
SEED = 20260101


def _axes(name: str) -> npt.NDArray[np.float64]:
    """Axis values (BATCH, 6) inside the limits of a machine, mm and degrees, away from their ends."""
    limits = np.asarray(load_machine(name).couch().limits)
    generator = np.random.default_rng(SEED)
    return generator.uniform(0.9 * limits[:, 0], 0.9 * limits[:, 1], size=(BATCH, 6))


def _forward(name: str) -> Callable[[], Prepared]:
    @contextmanager
    def prepare() -> Iterator[Sampler]:
        couch, axes = load_machine(name).couch(), _axes(name)

        def sample() -> float:
            begin = time.perf_counter_ns()
            couch.forward_many(axes)
            return (time.perf_counter_ns() - begin) / BATCH

        yield sample

    return prepare


def _inverse(name: str) -> Callable[[], Prepared]:
    @contextmanager
    def prepare() -> Iterator[Sampler]:
        couch = load_machine(name).couch()
        matrices = couch.forward_many(_axes(name))

        def sample() -> float:
            begin = time.perf_counter_ns()
            couch.inverse_many(matrices)
            return (time.perf_counter_ns() - begin) / BATCH

        yield sample

    return prepare


METRICS = (
    Metric(
        "forward_ns", "ns", "lower", "forward kinematics of the pedestal couch, per pose of a batch",
        _forward("linac_pedestal"),
    ),
    Metric(
        "inverse_ns", "ns", "lower",
        "inverse kinematics of the pedestal couch, every branch, per pose of a batch",
        _inverse("linac_pedestal"),
    ),
)  # fmt: skip
