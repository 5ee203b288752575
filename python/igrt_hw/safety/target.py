"""What is known of the watched target, and whether it lets the beam be on: pure."""

from __future__ import annotations

from dataclasses import dataclass

from igrt_hw.models.monitoring import MonitoringRule
from igrt_hw.safety.events import TargetSeen

TRACE_MAX = 30
"""Sights that are shown as a trace; all of them are in the record."""

FAR = 2.0
"""A target beyond so many times its limit holds the beam after one view."""


@dataclass(slots=True)
class Target:
    """The target while it is watched (`target_watch.py`). `last` is the last view in which it was seen, `trace` those
    before it with it, oldest first."""

    begun_by: str
    next_us: int
    views: int = 0
    beyond: int = 0
    blind: int = 0
    failed: str = ""
    last: TargetSeen | None = None
    trace: tuple[TargetSeen, ...] = ()
    dose_area_uGycm2: float = 0.0


def problem_of(target: Target, rule: MonitoringRule, now_us: int) -> str:
    """Why the beam must not be on, or nothing. In the order of what is worst."""
    last = target.last
    if last is not None and target.blind == 0:
        off = f"the target is {last.distance_mm:.1f} mm from its planned place ({rule.limit_mm:g} allowed)"
        if last.distance_mm > FAR * rule.limit_mm or target.beyond >= rule.views_beyond:
            return off
    if target.blind >= rule.views_blind:
        return f"the markers were not recognised in {target.blind} views"
    if target.failed:
        return f"no view: {target.failed}"
    if last is None:
        return "the target has not been seen yet"
    age_us = now_us - last.at_us
    if age_us > rule.seen_age_us:
        return f"the target was last seen {age_us / 1e6:.0f} s ago"
    return ""


def target_problem(
    target: Target | None, rule: MonitoringRule, treating: bool, now_us: int
) -> str | None:
    """What the interlock says: None where nobody asks for the target to be watched, empty where it holds."""
    if target is not None:
        return problem_of(target, rule, now_us)
    if rule.use == "required" and treating:
        return "this site asks for the target to be watched: begin it before the beam"
    return None
