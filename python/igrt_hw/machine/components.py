"""Connected components of a graph given as pairs of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def component_labels(count: int, pairs: ArrayLike) -> NDArray[np.int64]:
    """A label per node (count,): the smallest number of its component. `pairs` (n, 2) join nodes.

    Smallest labels are handed over the edges and pointers shortened until nothing changes: a handful of passes over
    whole arrays (Shiloach and Vishkin 1982).
    """
    label: NDArray[np.int64] = np.arange(count)
    edges = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    while True:
        a, b = label[edges[:, 0]], label[edges[:, 1]]
        joined = a != b
        if not joined.any():
            return label
        low, high = np.minimum(a, b)[joined], np.maximum(a, b)[joined]
        np.minimum.at(label, high, low)
        edges = edges[joined]
        while True:
            shorter = label[label]
            if np.array_equal(shorter, label):
                break
            label = shorter
