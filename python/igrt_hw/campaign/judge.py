"""The invariants, judged by the room's truth and by books of its own: it believes neither supervisor nor drivers.

1. No motion without an approved, executed plan (or a key of the pendant), a held enable and a lease.
2. Where the loop says the couch arrived, it truly stands at the approved target.
3. While it moves, it is on the approved line.
4. After a STOP nothing moves until something new was permitted.
5. One approval moves at most once, and only with all the approvals that its rule asks for.
6. What moved by itself is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from igrt_hw.campaign.faults import Misfortune
from igrt_hw.campaign.rig import Rig
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety.motion_plan import MotionPlan

# A stop from 10 mm/s takes v/a + a/j = 0.53 s; before it the lease may be 150 ms old; and steps are 20 ms.
RUN_ON_US = 750_000
MOVES_MM_S = 0.4  # below that it is settling, sag under engaging brakes, and the ringing of a stop
MOVES_DEG_S = 0.08
ARRIVED_MM = (
    2.0  # the gate of the widest site is 1 mm and 0.5 deg; the channels may be 0.5 mm apart
)
ARRIVED_DEG = 1.0
OFF_LINE_MM = 3.0
OFF_LINE_DEG = 1.5
TOLD_US = 3_000_000
UNTOLD_MM = 2.0
TELLING = frozenset({"fault", "link", "transition", "stop", "alarm", "manual", "failed", "defect"})
IN_MOTION = (LoopState.ARMED, LoopState.MOVING, LoopState.HELD)


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    promise: str
    at_us: int
    detail: str


class Judge:
    """Looks at every step; `violations` says what was broken."""

    def __init__(self, rig: Rig, misfortune: Misfortune) -> None:
        self.violations: list[Violation] = []
        self.moved_us = 0
        self._rig = rig
        self._misfortune = misfortune
        self._begun_us = rig.now_us
        self._approved: dict[str, set[str]] = {}
        self._needed: dict[str, int] = {}
        self._executed: set[str] = set()
        self._uploads: dict[str, MotionPlan] = {}
        self._plan: MotionPlan | None = None
        self._by_hand_us = -RUN_ON_US
        self._lease_until_us = 0
        self._permitted_us = -RUN_ON_US
        self._last_us = rig.now_us
        self._told = 0
        self._strange_since_us: int | None = None
        self._strange_mm = 0.0
        self._axes: tuple[float, ...] | None = None
        self._arrived_plan: MotionPlan | None = None
        rig.effects_seen = self._effects

    # ---- the books ---------------------------------------------------------------------------------------------------

    def _effects(self, effects: Sequence[fx.Effect], now_us: int) -> None:
        for effect in effects:
            match effect:
                case fx.Record("proposal", _, _, data):
                    content = data["content"]
                    assert isinstance(content, dict)
                    self._needed[str(data["digest"])] = int(content["approvals_needed"])
                case fx.Record("approval", actor, _, data):
                    self._approved.setdefault(str(data["digest"]), set()).add(actor)
                case fx.UploadPlan(_, plan):
                    self._uploads[plan.digest()] = plan
                    self._approvals_are_there(plan.proposal, now_us)
                case fx.Execute():
                    self._execute(effect, now_us)
                case fx.Jog() | fx.Home():
                    self._by_hand_us = now_us
                case fx.RefreshPermission("couch", until):
                    self._lease_until_us = until
                case fx.StopAll():
                    self._plan, self._by_hand_us = None, -RUN_ON_US
                case _:
                    pass

    def _approvals_are_there(self, digest: str, now_us: int) -> None:
        given, needed = self._approved.get(digest, set()), self._needed.get(digest, 99)
        if len(given) < needed:
            self._broken("approvals", now_us, f"{len(given)} of {needed} people for {digest[:16]}")

    def _execute(self, effect: fx.Execute, now_us: int) -> None:
        plan = self._uploads.get(effect.plan_digest)
        if plan is None:
            self._broken("approved is what moves", now_us, "executed a plan that was not uploaded")
            return
        self._approvals_are_there(plan.proposal, now_us)
        if plan.proposal in self._executed:
            self._broken("once", now_us, f"{plan.proposal[:16]} was executed twice")
        self._executed.add(plan.proposal)
        self._plan = plan

    def _broken(self, promise: str, at_us: int, detail: str) -> None:
        self.violations.append(Violation(promise, at_us - self._begun_us, detail))

    # ---- every step --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Judge the truth of this instant."""
        truth, now_us = self._rig.truth(), self._rig.now_us
        axes = tuple(float(v) for v in truth["axes"].values())
        moving = truth["speed_mm_s"] > MOVES_MM_S or truth["speed_deg_s"] > MOVES_DEG_S
        permitted = self._is_permitted(now_us)
        if permitted:
            self._permitted_us = now_us
        strange = self._misfortune.mechanical_since_us is not None
        if moving:
            self.moved_us += now_us - self._last_us
            if not strange and now_us - self._permitted_us > RUN_ON_US:
                self._broken("permission", now_us, f"moves at {truth['speed_mm_s']:.1f} mm/s")
                self._permitted_us = now_us  # told once
        if not strange:
            self._on_the_line(axes, now_us)
        self._arrival(axes, now_us, strange)
        self._strange_motion(axes, now_us, strange and not permitted)
        self._axes, self._last_us = axes, now_us

    def _is_permitted(self, now_us: int) -> bool:
        held = self._rig.enable == "enabled"
        lease = now_us <= self._lease_until_us + 200_000
        by_hand = now_us - self._by_hand_us < 400_000
        return held and lease and (self._plan is not None or by_hand)

    def _on_the_line(self, axes: tuple[float, ...], now_us: int) -> None:
        plan = self._plan
        if plan is None or self._rig.state not in IN_MOTION:
            return
        mm, deg = off_line(plan, axes)
        if mm > OFF_LINE_MM or deg > OFF_LINE_DEG:
            self._broken("line", now_us, f"{mm:.1f} mm, {deg:.1f} deg off the approved line")
            self._plan = None

    def _arrival(self, axes: tuple[float, ...], now_us: int, strange: bool) -> None:
        plan = self._plan
        if self._rig.state is not LoopState.ARRIVED or plan is None or plan is self._arrived_plan:
            return
        self._arrived_plan = plan
        off = [a - t for a, t in zip(axes, target_of(plan), strict=True)]
        mm, deg = max(map(abs, off[:3])), max(map(abs, off[3:]))
        limit_mm = ARRIVED_MM + (1.0 if strange else 0.0)
        if mm > limit_mm or deg > ARRIVED_DEG:
            self._broken("arrival", now_us, f"arrived {mm:.1f} mm, {deg:.1f} deg off the target")

    def _strange_motion(self, axes: tuple[float, ...], now_us: int, strange: bool) -> None:
        """What moves without permission under a mechanical fault cannot be prevented here; it has to be told."""
        records = self._rig.records
        if any(record.kind in TELLING for record in records[self._told :]):
            self._strange_mm, self._strange_since_us = 0.0, None
        self._told = len(records)
        if not strange or self._axes is None or self._rig.supervisor is None:
            return
        self._strange_mm += max(abs(a - b) for a, b in zip(axes[:3], self._axes[:3], strict=True))
        if self._strange_mm <= UNTOLD_MM:
            return
        if self._strange_since_us is None:
            self._strange_since_us = now_us
        elif now_us - self._strange_since_us > TOLD_US:
            self._broken(
                "told", now_us, f"{self._strange_mm:.1f} mm of motion that nobody was told"
            )
            self._strange_mm, self._strange_since_us = 0.0, None


def _natural(values: Sequence[int]) -> tuple[float, ...]:
    return tuple(v / (1e3 if n < 3 else 1e6) for n, v in enumerate(values))


def target_of(plan: MotionPlan) -> tuple[float, ...]:
    """The approved target, mm and degrees (pedestal: three linear axes, three rotary)."""
    return _natural(plan.waypoints[-1])


def off_line(plan: MotionPlan, axes: Sequence[float]) -> tuple[float, float]:
    """Distance of axes from the straight line of a plan: largest of the linear, largest of the rotary axes."""
    start, target = _natural(plan.start), target_of(plan)
    along = [t - s for s, t in zip(start, target, strict=True)]
    so_far = [a - s for s, a in zip(start, axes, strict=True)]
    weight = sum(d * d for d in along)
    share = sum(a * b for a, b in zip(along, so_far, strict=True)) / weight if weight else 0.0
    share = min(1.0, max(0.0, share))
    off = [abs(there - share * whole) for there, whole in zip(so_far, along, strict=True)]
    return max(off[:3]), max(off[3:])


def summary_of(truth: Mapping[str, Any]) -> str:
    """A line about where the couch stands, for a violation's report."""
    axes = ", ".join(f"{v:.2f}" for v in truth["axes"].values())
    return f"{truth['couch_state_name']} at {axes}"
