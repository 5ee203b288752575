"""Something in the room that the couch must not touch, simple enough that its distance is known without doubt.

A half-space and the eight corners of a box on the table top: the distance is a sum of products, in closed form. The
certified sweeps of the real room have proofs and campaigns of their own (docs/clearance.md); here the question is
whether what was certified is what is swept.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from igrt_hw._core import Couch

# The patient and the top, about the isocentre of an average treatment; table-top frame, mm.
CORNERS = np.array(
    [(x, y, z) for x, y, z in itertools.product((-260.0, 260.0), (-200.0, 1300.0), (-60.0, 240.0))]
)
STATIONS = 9


@dataclass(frozen=True, slots=True, eq=False)
class Obstacle:
    """All points x of the fixed frame with `normal` . x > `at_mm`."""

    normal: NDArray[np.float64]
    at_mm: float

    def distances_mm(self, couch: Couch, axes: ArrayLike) -> NDArray[np.float64]:
        """How far the box is from it at each of `axes` (n, 6), exactly; negative: inside."""
        heights: NDArray[np.float64] = _corners(couch, axes) @ self.normal
        distances: NDArray[np.float64] = self.at_mm - heights.max(axis=1)
        return distances

    def certified_mm(self, couch: Couch, start: Sequence[float], target: Sequence[float]) -> float:
        """A lower bound of the distance along the whole straight line in axis space.

        Between two stations no corner is further from the nearer of them than half the way that the corner goes from
        one to the other; the way is longer than its chord by less than the 2 % that turns of a few degrees make.
        """
        corners = _corners(couch, np.linspace(np.asarray(start), np.asarray(target), STATIONS))
        nearest = self.at_mm - float((corners @ self.normal).max())
        chord = float(np.linalg.norm(np.diff(corners, axis=0), axis=2).max())
        return nearest - 0.51 * chord


def _corners(couch: Couch, axes: ArrayLike) -> NDArray[np.float64]:
    """Corners in the fixed frame, (n, 8, 3)."""
    poses = np.asarray(couch.forward_many(axes))
    moved: NDArray[np.float64] = CORNERS @ poses[:, :3, :3].transpose(0, 2, 1)
    return moved + poses[:, None, :3, 3]


def obstacle_at(
    draw: random.Random, couch: Couch, axes: Sequence[float], gap_mm: float
) -> Obstacle:
    """An obstacle in a random direction, `gap_mm` from the box as the couch stands."""
    normal = np.array([draw.gauss(0.0, 1.0) for _ in range(3)])
    normal /= float(np.linalg.norm(normal))
    return Obstacle(normal, float((_corners(couch, [list(axes)]) @ normal).max()) + gap_mm)
