"""The clearance figures: their names, their scene, and that one processor means one."""

import os

import numpy as np

from igrt_hw.bench.clearance import METRICS, one_processor
from igrt_hw.bench.clearance_scene import COLUMNS, PAIRS, ROWS, drives, patient, room
from igrt_hw.bench.registry import metrics


def test_the_figures_have_the_names_they_are_asked_for_by_and_both_peers() -> None:
    names = {metric.name: metric for metric in METRICS}
    assert set(names) == {
        "clearance_pair_us", "clearance_map_ms", "clearance_pairs_map_ms", "collision_map_ms",
        "continuous_map_ms", "sweep_us", "sweep_tight_us", "sweep_contact_us",
    }  # fmt: skip
    for name, metric in names.items():
        assert name.endswith(metric.unit)
        peers = {peer.module for peer in metric.peers}
        assert peers == (set() if name == "continuous_map_ms" else {"coal", "fcl"})
    assert {metric.name for metric in metrics()} >= set(names)


def test_the_maps_of_the_scene_say_the_same_thing_four_ways() -> None:
    assert len(patient()[1]) == 39_600
    core, moves = room(), drives()
    lower, nearest = core.map(moves, rows=ROWS, columns=COLUMNS)
    pairs = core.pairs_map(moves, rows=ROWS, columns=COLUMNS)
    touch = core.contact_map(moves, rows=ROWS, columns=COLUMNS, margin_mm=0.0)
    assert pairs.shape == (ROWS, COLUMNS, len(PAIRS))
    assert np.abs(pairs.min(axis=2) - lower).max() < 0.02
    assert np.array_equal(touch, lower <= 0.0)
    i, j = np.indices(lower.shape)
    assert np.abs(pairs[i, j, nearest] - pairs.min(axis=2)).max() < 0.02
    near = core.contact_map(moves, rows=ROWS, columns=COLUMNS, margin_mm=50.0)
    assert (near[lower < 49.9]).all()
    assert not (near[lower > 50.1]).any()


def test_while_a_figure_is_taken_every_thread_has_the_same_one_processor() -> None:
    before = os.sched_getaffinity(0)
    with one_processor():
        seen = {frozenset(os.sched_getaffinity(int(t))) for t in os.listdir("/proc/self/task")}
        assert len(seen) == 1
        assert len(seen.pop()) == 1
    assert os.sched_getaffinity(0) == before
