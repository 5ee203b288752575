"""Figures of the kinematics from Python: single calls, and batches per pose; each beside the strongest peer.

Batches are 20,000 rows of machines as shipped, inside 90 percent of their limits. Every inverse result is checked
against its pose and against the limits; that is in the figure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from igrt_hw._core import Couch
from igrt_hw.bench import kinematics_peers as peers
from igrt_hw.bench.registry import Metric, Peer, Prepared, Sampler, per_call_ns
from igrt_hw.machine import load_machine

BATCH = 20_000
PEER_BATCH = 2_000
CALLS = 5_000
SEED = 20260101
PEDESTAL, HEXAPOD, ARM = "linac_pedestal", "linac_hexapod", "robot_arm"

Floats = npt.NDArray[np.float64]
Work = Callable[[], object]


def _axes(name: str, rows: int = BATCH) -> Floats:
    """Axis values (rows, 6) inside the limits of a machine, mm and degrees, away from their ends."""
    limits = np.asarray(load_machine(name).couch().limits)
    generator = np.random.default_rng(SEED)
    return generator.uniform(0.9 * limits[:, 0], 0.9 * limits[:, 1], size=(rows, 6))


def _legs(rows: int = BATCH) -> Floats:
    """Leg lengths (rows, 6) over the travel of the platform, mm."""
    couch = load_machine(HEXAPOD).couch()
    reach = np.array([30.0, 30.0, 30.0, 3.0, 3.0, 3.0])
    centre = np.array((*couch.base_axes, 0.0, 0.0))
    moves = np.random.default_rng(SEED).uniform(-reach, reach, size=(rows, 6))
    return np.array([couch.leg_lengths(row) for row in centre + moves])


def _first(table: Floats) -> tuple[float, ...]:
    return tuple(float(x) for x in table[0])


def _single(name: str, work_of: Callable[[Couch], Work]) -> Callable[[], Prepared]:
    @contextmanager
    def prepare() -> Iterator[Sampler]:
        work = work_of(load_machine(name).couch())
        yield lambda: per_call_ns(work, CALLS)

    return prepare


def _batched(name: str, work_of: Callable[[Couch], Work]) -> Callable[[], Prepared]:
    @contextmanager
    def prepare() -> Iterator[Sampler]:
        work = work_of(load_machine(name).couch())

        def sample() -> float:
            begin = time.perf_counter_ns()
            work()
            return (time.perf_counter_ns() - begin) / BATCH

        yield sample

    return prepare


def _forward(couch: Couch) -> Work:
    axes = _first(_axes(PEDESTAL))
    return lambda: couch.forward(axes)


def _jacobian(couch: Couch) -> Work:
    axes = _first(_axes(PEDESTAL))
    return lambda: couch.jacobian(axes)


def _forward_many(name: str) -> Callable[[Couch], Work]:
    def work_of(couch: Couch) -> Work:
        axes = _axes(name)
        return lambda: couch.forward_many(axes)

    return work_of


def _inverse_many(name: str) -> Callable[[Couch], Work]:
    def work_of(couch: Couch) -> Work:
        matrices = couch.forward_many(_axes(name))
        return lambda: couch.inverse_many(matrices)

    return work_of


def _inverse_arm(couch: Couch) -> Work:
    pose = couch.forward(_first(_axes(ARM)))
    return lambda: couch.inverse(pose)


def _from_legs(couch: Couch) -> Work:
    legs = _first(_legs(1))
    return lambda: couch.forward_from_legs(legs)


def _from_legs_many(couch: Couch) -> Work:
    legs = _legs()
    return lambda: couch.forward_from_legs_many(legs)


def _lazily(prepare: Callable[[], Callable[[], Prepared]]) -> Callable[[], Prepared]:
    """Peers are prepared only where they are measured: their inputs cost time too."""

    def later() -> Prepared:
        return prepare()()

    return later


def _pin(*, jacobian: bool) -> tuple[Peer, ...]:
    def prepare() -> Callable[[], Prepared]:
        return peers.pinocchio(PEDESTAL, _axes(PEDESTAL, 1)[0], jacobian=jacobian)

    return (Peer("Pinocchio (C++), single from Python", "pinocchio", _lazily(prepare)),)


_OPW = Peer(
    "OPW (Rust), batched",
    "py_opw_kinematics",
    _lazily(lambda: peers.opw_forward(ARM, _axes(ARM))),
)
_EAIK = Peer(
    "EAIK (C++), batched",
    "eaik",
    _lazily(lambda: peers.eaik_inverse(ARM, _axes(ARM, PEER_BATCH))),
)
_IK_GEO = Peer(
    "IK-Geo (Rust), single from Python",
    "ik_geo",
    _lazily(lambda: peers.ik_geo_inverse(ARM, _axes(ARM, 1))),
)
_TOOLBOX = Peer(
    "Robotics Toolbox (C), per call",
    "roboticstoolbox",
    _lazily(lambda: peers.toolbox_inverse(PEDESTAL, _axes(PEDESTAL, 200))),
)
_NUMBA = Peer(
    "Newton in numba (written here)",
    "numba",
    _lazily(lambda: peers.numba_legs(HEXAPOD, _legs(1)[0])),
)
_NUMPY = Peer(
    "Newton in numpy, batched (written here)",
    "numpy",
    _lazily(lambda: peers.numpy_legs(HEXAPOD, _legs(PEER_BATCH))),
)

METRICS = (
    Metric(
        "forward_ns", "ns", "lower", "forward kinematics of the pedestal couch, one call from Python",
        _single(PEDESTAL, _forward), peers=_pin(jacobian=False),
    ),
    Metric(
        "forward_batched_ns", "ns", "lower", "forward kinematics of the six-joint arm, per pose of a batch",
        _batched(ARM, _forward_many(ARM)), peers=(_OPW,),
    ),
    Metric(
        "jacobian_ns", "ns", "lower", "Jacobian of the pedestal couch, one call from Python",
        _single(PEDESTAL, _jacobian), peers=_pin(jacobian=True),
    ),
    Metric(
        "inverse_ns", "ns", "lower",
        "inverse kinematics of the pedestal couch, every branch, checked, per pose of a batch",
        _batched(PEDESTAL, _inverse_many(PEDESTAL)), peers=(_TOOLBOX,),
    ),
    Metric(
        "inverse_6r_ns", "ns", "lower", "inverse of the six-joint arm, every branch, checked, one call from Python",
        _single(ARM, _inverse_arm), peers=(_IK_GEO,),
    ),
    Metric(
        "inverse_6r_batched_ns", "ns", "lower",
        "inverse of the six-joint arm, every branch, checked, per pose of a batch",
        _batched(ARM, _inverse_many(ARM)), peers=(_EAIK,),
    ),
    Metric(
        "hexapod_forward_ns", "ns", "lower", "pose of the hexapod from its legs, from neutral, one call from Python",
        _single(HEXAPOD, _from_legs), peers=(_NUMBA,),
    ),
    Metric(
        "hexapod_forward_batched_ns", "ns", "lower",
        "pose of the hexapod from its legs, from neutral, per row of a batch",
        _batched(HEXAPOD, _from_legs_many), peers=(_NUMPY,),
    ),
)  # fmt: skip
