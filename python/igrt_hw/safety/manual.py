"""Motion by the pendant's keys: setting up, letting a patient off, service. Nothing here follows an approval.

One axis at a time, slowly, while the enable is held, and only where the way ahead is certified: before a key moves
anything the path in front of it is asked for, and the couch is told to go on tick by tick, so that it ends 200 ms
after this program does. A key that was down through a STOP, a fault or a refusal counts again after it was let go.
Whatever images there were are void, and a confirmed setup is confirmed anew.
"""

from __future__ import annotations

from igrt_hw.models.proposal import ClearanceStrip
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.couch_watch import CouchWatch
from igrt_hw.safety.guards import Ask
from igrt_hw.safety.interlocks import Act, broken
from igrt_hw.safety.memory import Jog
from igrt_hw.safety.transitions import MANUAL, Trigger

T = Trigger


class Manual(CouchWatch):
    """Follows the pendant's keys."""

    def _follow_keys(self, now_us: int) -> None:
        m = self._m
        if m.homing_since_us is not None:
            self._follow_homing(m.homing_since_us, now_us)
            return
        keys = m.pendant.last.keys if m.pendant.last is not None else ()
        if not keys:
            m.keys_latched = False
        if m.jog is not None:
            why = self._why_end(m.jog, keys, now_us)
            if why:
                self._end_jog(why, now_us)
            else:
                self._jog_on(m.jog, now_us)
        elif m.jog_ended_us is not None:
            self._wind_down(m.jog_ended_us, now_us)
        elif keys and not m.keys_latched and self._enabled():
            self._begin_jog(keys, now_us)

    def _wind_down(self, ended_us: int, now_us: int) -> None:
        """Leases until the couch rests with its brakes on: one that runs out in mid ramp is a fault of its own."""
        m, couch = self._m, self._m.couch.last
        resting = couch is None or (not couch.moving and couch.brakes_on)
        if (
            resting
            or now_us - ended_us > m.config.run_on_us
            or broken(m.situation(now_us), Act.MANUAL)
        ):
            m.jog_ended_us = None
        else:
            self._emit(fx.RefreshPermission("couch", now_us + m.config.permission_us))

    def _keys_let_go(self, now_us: int) -> None:
        """What the pendant tells ends a jog at once; only a tick begins or renews one."""
        jog, pendant = self._m.jog, self._m.pendant.last
        why = "" if jog is None or pendant is None else self._why_end(jog, pendant.keys, now_us)
        if why:
            self._end_jog(why, now_us)

    def _enabled(self) -> bool:
        pendant, couch = self._m.pendant.last, self._m.couch.last
        by_wire = couch is not None and couch.enable_held
        return pendant is not None and pendant.enable_position == "enabled" and by_wire

    def _begin_jog(self, keys: tuple[tuple[int, int], ...], now_us: int) -> None:
        m = self._m
        m.keys_latched = True  # whatever becomes of it, this press is used
        problem = self._objection(keys)
        if not problem:
            fired, problem = self._fire(
                T.MANUAL_MOTION, Ask(now_us), "the couch is moved by the pendant", actor="pendant"
            )
            problem = "" if fired else problem
        if problem:
            m.reason = f"manual motion is refused: {problem}"
            self._record("refused", "pendant", m.reason, {"keys": [list(key) for key in keys]})
            return
        (axis, sign), couch = keys[0], m.couch.last
        if couch is None:
            return
        m.setup_confirmed = False
        m.jog = Jog(axis, sign, couch.primary, now_us)
        name = m.model.axis_names[axis]
        self._record(
            "manual",
            "pendant",
            f"{name} {'+' if sign > 0 else '-'} by the pendant, from {couch.primary[axis]:.2f}",
            {"axis": name, "sign": sign, "from_axes": list(couch.primary)},
        )
        self._look_ahead(m.jog, now_us)

    def _objection(self, keys: tuple[tuple[int, int], ...]) -> str:
        m = self._m
        if len(keys) > 1:
            return "one key at a time; let go of all keys"
        axis, sign = keys[0]
        if m.couch.last is None or not 0 <= axis < len(m.model.axis_names):
            return f"this couch has no axis {axis}"
        lower, upper = m.model.limits[axis]
        room = (
            upper - m.couch.last.primary[axis] if sign > 0 else m.couch.last.primary[axis] - lower
        )
        if room <= self._overshoot(axis):
            return f"{m.model.axis_names[axis]} is at its limit"
        return ""

    def _why_end(self, jog: Jog, keys: tuple[tuple[int, int], ...], now_us: int) -> str:
        m = self._m
        if keys != ((jog.axis, jog.sign),):
            return "the key was let go" if not keys else "another key was pressed"
        if not self._enabled():
            return "the enable was let go"
        if m.state not in MANUAL:
            return f"the loop is {m.state}"
        return "; ".join(broken(m.situation(now_us), Act.MANUAL))

    def _end_jog(self, why: str, now_us: int) -> None:
        m, jog = self._m, self._m.jog
        if jog is None:
            return
        m.jog, m.keys_latched = None, True
        for waiting in [p for p in m.pending.values() if p.kind == "manual path"]:
            del m.pending[waiting.request]
        if jog.told:
            m.jog_ended_us = now_us
            self._emit(fx.Jog(jog.axis, 0.0))
        stands = m.couch.last.primary if m.couch.last is not None else jog.from_axes
        name = m.model.axis_names[jog.axis]
        travel = stands[jog.axis] - jog.from_axes[jog.axis]
        m.reason = f"manual motion of {name} ended: {why}"
        self._record(
            "manual",
            "pendant",
            f"{m.reason} ({travel:+.2f} {m.model.axis_units[jog.axis]})",
            {"axis": name, "from_axes": list(jog.from_axes), "to_axes": list(stands)},
        )

    def _jog_on(self, jog: Jog, now_us: int) -> None:
        """Renew the jog while certified way is left, and have the way ahead certified in time."""
        m, couch = self._m, self._m.couch.last
        if couch is None or jog.clear_to is None:
            return
        left = jog.sign * (jog.clear_to - couch.primary[jog.axis])
        if left <= self._overshoot(jog.axis):
            self._end_jog(jog.bound or "the end of the certified way", now_us)
            return
        if not jog.bound and left < self._reach(jog.axis) / 2 and not m.pending_of("manual path"):
            self._look_ahead(jog, now_us)
        slow_mm_s, slow_deg_s = m.model.correction_speed
        linear = self._linear(jog.axis)
        speed = (
            min(m.config.speed_mm_s, slow_mm_s) if linear else min(m.config.speed_deg_s, slow_deg_s)
        )
        jog.told = m.permission = True
        self._emit(fx.RefreshPermission("couch", now_us + m.config.permission_us))
        self._emit(fx.Jog(jog.axis, jog.sign * speed))

    def _look_ahead(self, jog: Jog, now_us: int) -> None:
        """Ask for the clearance of the next piece of the way, as far as the axis goes."""
        m, couch = self._m, self._m.couch.last
        if couch is None:
            return
        start = couch.primary
        lower, upper = m.model.limits[jog.axis]
        end = min(upper, max(lower, start[jog.axis] + jog.sign * self._reach(jog.axis)))
        jog.asked_from, jog.asked_to = start[jog.axis], end
        jog.ends_at_limit = end in (lower, upper)
        target = (*start[: jog.axis], end, *start[jog.axis + 1 :])
        request = self._await(
            "manual path",
            f"{m.model.axis_names[jog.axis]} by the pendant",
            m.config.path_check_us,
            "pendant",
            now_us,
        )
        stop_mm = m.config.manual_clearance_mm
        self._emit(fx.CheckPath(request, start, target, stop_mm, stop_mm, "manual"))

    def _manual_answered(self, event: ev.Event, now_us: int) -> bool:
        """Take an answer that belongs to manual motion; False: it belongs to something else."""
        request = getattr(event, "request", None)
        waiting = self._m.pending.get(request) if isinstance(request, int) else None
        if waiting is None or waiting.kind not in ("manual path", "homing"):
            return False
        del self._m.pending[waiting.request]
        match event:
            case ev.PathChecked() if waiting.kind == "manual path":
                self._way_ahead(event.clearance, now_us)
            case ev.HomingBegan() if waiting.kind == "homing":
                self._m.homing_since_us = now_us
            case ev.RequestFailed(sentence=sentence) if waiting.kind == "manual path":
                self._end_jog(f"the way ahead is not certified: {sentence}", now_us)
            case ev.RequestFailed(sentence=sentence):
                self._m.reason = f"homing failed: {sentence}"
                self._record("failed", waiting.actor, self._m.reason, {})
            case _:
                return False
        return True

    def _way_ahead(self, strip: ClearanceStrip, now_us: int) -> None:
        """How far the way is free. Away from what is near already, a key may always lead."""
        m, jog = self._m, self._m.jog
        if jog is None:
            return
        profile = strip.profile_mm or (strip.minimum_mm,)
        floor = min(m.config.manual_clearance_mm, profile[0])
        free = next((i for i, mm in enumerate(profile) if mm < floor), len(profile))
        jog.clear_to = jog.asked_from + (jog.asked_to - jog.asked_from) * free / len(profile)
        if free < len(profile):
            a, b = strip.pair
            jog.bound = f"{a} comes within {floor:.0f} mm of {b}"
        elif jog.ends_at_limit:
            jog.bound = f"{m.model.axis_names[jog.axis]} is at its limit"
        self._jog_on(jog, now_us)

    def _home(self, actor: str, now_us: int) -> None:
        m = self._m
        request = self._await("homing", "reference marks", m.config.home_us, actor, now_us)
        self._emit(fx.RefreshPermission("couch", now_us + m.config.permission_us))
        self._emit(fx.Home(request))

    def _follow_homing(self, since_us: int, now_us: int) -> None:
        """Leases while the couch homes under a held enable; without either it stops by itself."""
        m, couch = self._m, self._m.couch.last
        homing = couch is not None and couch.state == "homing"
        if not homing and now_us - since_us > m.config.home_us:
            m.homing_since_us = None
            done = couch is not None and couch.referenced
            m.reason = "the couch is referenced" if done else "homing ended without a reference"
            self._record("manual", "couch", m.reason, {})
        elif self._enabled() and not broken(m.situation(now_us), Act.HOMING):
            self._emit(fx.RefreshPermission("couch", now_us + m.config.permission_us))

    def _linear(self, axis: int) -> bool:
        return self._m.model.axis_units[axis] == "mm"

    def _reach(self, axis: int) -> float:
        config = self._m.config
        return config.manual_reach_mm if self._linear(axis) else config.manual_reach_deg

    def _overshoot(self, axis: int) -> float:
        config = self._m.config
        return config.manual_overshoot_mm if self._linear(axis) else config.manual_overshoot_deg
