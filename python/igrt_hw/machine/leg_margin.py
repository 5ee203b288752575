"""Whether a hexapod's legs stay within their ranges along a straight line in axis space: certified, not sampled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from igrt_hw._core import Couch

JOINT_REACH_MM = 1500.0
"""No joint of a platform lies further from the table-top origin; `legs_stay_within` counts on it."""

_HALVINGS_MAX = 12


def legs_stay_within(couch: Couch, start: Sequence[float], target: Sequence[float]) -> bool:
    """True only if every leg certainly stays within its range all the way; True for couches that have no legs.

    A leg cannot change faster than its platform joint moves: |dT| + |d rotation| (|T| + reach) + (|d pitch| + |d roll|)
    reach. Intervals are halved until the margins at their ends outweigh that.
    """
    if couch.family != "hexapod":
        return True
    a, b = np.asarray(start, dtype=np.float64), np.asarray(target, dtype=np.float64)
    change = np.abs(b - a)
    turn = np.radians(change[3:])
    outermost = max(float(np.linalg.norm(a[:3])), float(np.linalg.norm(b[:3]))) + JOINT_REACH_MM
    travel = float(np.linalg.norm(change[:3]) + turn[0] * outermost)
    travel += float(turn[1] + turn[2]) * JOINT_REACH_MM

    def margin(s: float) -> float:
        return min(couch.leg_margins(tuple(a + (b - a) * s)))

    open_intervals = [(0.0, margin(0.0), 1.0, margin(1.0), 0)]
    while open_intervals:
        s, at_s, e, at_e, depth = open_intervals.pop()
        if min(at_s, at_e) < 0.0:
            return False
        if at_s + at_e - travel * (e - s) >= 0.0:
            continue
        if depth == _HALVINGS_MAX:
            return False
        middle = 0.5 * (s + e)
        at_middle = margin(middle)
        open_intervals.append((s, at_s, middle, at_middle, depth + 1))
        open_intervals.append((middle, at_middle, e, at_e, depth + 1))
    return not math.isnan(travel)


__all__ = ["JOINT_REACH_MM", "legs_stay_within"]
