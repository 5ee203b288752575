"""The target while the beam is on: views at their intervals, and whether what they show lets the beam be on.

The shell takes a low-dose view and says where the markers put the target (`TargetSeen`); whether that holds the beam is
judged here, by the site's rule, and acts as an interlock of the beam: what is not known holds it too. A hold never ends
by itself; people release the beam again.
"""

from __future__ import annotations

from dataclasses import dataclass

from igrt_hw.models.monitoring import MonitoringRule, TargetSight, TargetView
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.memory import Memory
from igrt_hw.safety.target import TRACE_MAX, Target, problem_of
from igrt_hw.safety.timekeeper import Timekeeper

S = LoopState
WATCHED = (S.VERIFIED, S.BEAM_READY)


def target_view(m: Memory, now_us: int) -> TargetView | None:
    """The same for people."""
    if m.target is None:
        return None
    target, rule, last = m.target, m.rule.monitoring, m.target.last
    return TargetView(
        views=target.views,
        views_left=max(0, rule.views_max - target.views),
        limit_mm=rule.limit_mm,
        deviation_mm=None if last is None else last.deviation_mm,
        sigma_mm=None if last is None else last.sigma_mm,
        distance_mm=None if last is None else last.distance_mm,
        seen=() if last is None or target.blind else last.seen,
        seen_age_s=None if last is None else (now_us - last.at_us) / 1e6,
        dose_area_uGycm2=target.dose_area_uGycm2,
        problem=problem_of(target, rule, now_us),
        trace=tuple(
            TargetSight(
                age_s=round((now_us - seen.at_us) / 1e6, 1),
                deviation_mm=seen.deviation_mm,
                distance_mm=seen.distance_mm,
            )
            for seen in target.trace
        ),
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    beyond: int
    blind: int


class TargetWatch(Timekeeper):
    """Asks for views while somebody wants the target watched, and takes what they show."""

    def _begin_watch(self, username: str, now_us: int) -> None:
        m = self._m
        m.target = Target(begun_by=username, next_us=now_us)
        self._record(
            "target",
            username,
            "the target is watched from now on",
            m.rule.monitoring.model_dump(mode="json"),
        )
        self._watch_target(now_us)

    def _end_watch(self, why: str, now_us: int, *, park: bool) -> None:
        """Nobody looks any more. What was seen beyond the limit is not forgotten by it: the images that verified the
        position are void then."""
        m = self._m
        target, m.target = m.target, None
        if target is None:
            return
        m.beam_held = ""
        last_word = problem_of(target, m.rule.monitoring, now_us) if target.last else ""
        if last_word and m.state in WATCHED:
            self._void_images(f"{last_word}: verify the position again")
        waiting = m.pending_of("monitoring")
        if waiting is not None:
            del m.pending[waiting.request]
        self._record(
            "target",
            "supervisor",
            f"the target is not watched any more: {why}",
            {
                "views": target.views,
                "dose_area_uGycm2": target.dose_area_uGycm2,
                "problem": last_word,
            },
        )
        if park:
            request = self._await(
                "parking", "parking the imager's arms", m.config.park_us, "supervisor", now_us
            )
            self._emit(fx.RefreshPermission("imager", now_us + m.config.permission_us))
            self._emit(fx.ParkImager(request))

    def _pass_time(self, now_us: int) -> None:
        super()._pass_time(now_us)
        self._watch_target(now_us)

    def _watch_target(self, now_us: int) -> None:
        """The next view, when it is due."""
        m = self._m
        if m.target is None:
            return
        if m.state not in WATCHED:
            self._end_watch(f"the loop is in {m.state}", now_us, park=False)
            return
        rule = m.rule.monitoring
        if m.target.views >= rule.views_max:
            m.target.failed = f"{rule.views_max} views of this fraction were taken; people decide"
            self._hold_beam(now_us)
            return
        if now_us < m.target.next_us or m.pending or m.plan is None or m.isocentre is None:
            return
        m.target.next_us = now_us + rule.interval_us
        m.target.views += 1
        request = self._await(
            "monitoring", "a view of the target", m.config.view_us, m.target.begun_by, now_us
        )
        self._emit(fx.RefreshPermission("imager", now_us + m.config.permission_us))
        self._emit(
            fx.ViewTarget(
                request,
                m.plan.plan_uid,
                m.isocentre.isocentre_id,
                m.plan.site,
                rule,
                first=m.target.views == 1,
            )
        )

    def _target_seen(self, event: ev.TargetSeen, now_us: int) -> None:
        """One view. A hold is asked for by the interlock, at once."""
        m = self._m
        if m.target is None:
            return
        target, rule = m.target, m.rule.monitoring
        target.failed = ""
        target.dose_area_uGycm2 += event.dose_area_uGycm2
        count = _counted(target, event, rule)
        target.beyond, target.blind = count.beyond, count.blind
        if event.seen and event.at_us <= now_us:
            target.last = event
            target.trace = (*target.trace, event)[-TRACE_MAX:]
        problem = problem_of(target, rule, now_us)
        where = (
            f"{event.distance_mm:.1f} mm from its planned place"
            if event.seen
            else "not seen: the markers were not recognised"
        )
        self._record(
            "target",
            "guidance",
            f"view {target.views}: the target is {where}",
            {
                "deviation_mm": list(event.deviation_mm),
                "sigma_mm": list(event.sigma_mm),
                "seen": list(event.seen),
                "image_uid": event.image_uid,
                "dose_area_uGycm2": event.dose_area_uGycm2,
                "problem": problem,
            },
        )
        self._hold_beam(now_us)

    def _view_failed(self, sentence: str, now_us: int) -> None:
        """A view that came to nothing. Nothing is known, so the beam is held at once."""
        if self._m.target is not None:
            self._m.target.failed = sentence
        self._hold_beam(now_us)


def _counted(target: Target, event: ev.TargetSeen, rule: MonitoringRule) -> _Counted:
    if not event.seen:
        return _Counted(target.beyond, target.blind + 1)
    return _Counted(target.beyond + 1 if event.distance_mm > rule.limit_mm else 0, 0)
