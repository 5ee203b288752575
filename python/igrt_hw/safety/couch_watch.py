"""What the couch's telemetry says: it stands, it moves on the approved line, it arrived, or it strayed."""

from __future__ import annotations

from itertools import pairwise

from igrt_hw.models.proposal import ProposalContent, Verification
from igrt_hw.models.status import LoopState
from igrt_hw.safety import events as ev
from igrt_hw.safety.approvals import (
    axis_shifts,
)
from igrt_hw.safety.couch_model import displacement
from igrt_hw.safety.guards import Ask
from igrt_hw.safety.target_watch import TargetWatch
from igrt_hw.safety.transitions import (
    IN_MOTION,
    Trigger,
)

S = LoopState
T = Trigger
HELD_CAUSES = frozenset({"enable released", "lease late"})
DRIVEN = frozenset({"moving", "stopping", "jogging", "homing"})
OWN_STOP_WINDOW_US = 1_000_000  # a STOP of ours is seen in telemetry within this time


class CouchWatch(TargetWatch):
    """Follows the couch, at rest and in motion."""

    def _couch_heard(self, couch: ev.CouchHeard, now_us: int) -> None:
        m = self._m
        axes = len(m.model.axis_names)
        if not len(couch.primary) == len(couch.secondary) == axes:
            self._fault(
                "couch axes",
                f"the couch reports {len(couch.primary)} axes, its description {axes}",
                now_us,
            )
            return
        m.couch.last = couch
        m.couch.hear(self._heard_us)
        foreign_stop = self._foreign_stop(couch, now_us)
        self._note_device_faults(now_us)
        if m.state is S.FAULT:
            return
        if foreign_stop:
            self._fire(T.STOP, Ask(now_us), "the couch was stopped from elsewhere", actor="couch")
        if m.state in IN_MOTION:
            self._follow_motion(couch, now_us)
        elif m.pending_of("execute") is None:
            self._watch_rest(couch, now_us)
        self._hold_beam(now_us)

    def _foreign_stop(self, couch: ev.CouchHeard, now_us: int) -> bool:
        """Whether the STOP epoch has moved without a STOP of ours."""
        m = self._m
        known, m.epoch = m.epoch, couch.epoch
        if known is None or known == couch.epoch:
            return False
        late = m.stop_sent_us is None or now_us - m.stop_sent_us > OWN_STOP_WINDOW_US
        own = 0 if late else m.stops_unseen
        steps = (couch.epoch - known) & 0xFFFF
        m.stops_unseen = max(0, own - steps)
        return steps > own

    def _note_device_faults(self, now_us: int) -> None:
        m = self._m
        found = m.device_faults()
        if found and m.state is not S.FAULT:
            self._record("fault", "device", "; ".join(found), {"faults": list(found)})
            self._fire(T.FAULT, Ask(now_us), "; ".join(found))
        elif m.state is S.FAULT and m.reset_asked and not found and not m.host_faults:
            m.reset_asked = False
            waiting = m.pending_of("fault reset")
            if waiting is not None:
                del m.pending[waiting.request]
            self._alarm_reset = True
            self._fire(T.FAULTS_CLEARED, Ask(now_us), actor="supervisor")

    def _watch_rest(self, couch: ev.CouchHeard, now_us: int) -> None:
        """At rest the couch stands where the images, or the arrival, saw it; drives that run are motion."""
        m = self._m
        if m.rest_axes is None or m.images_problem:
            return
        moved = displacement(m.model, m.rest_axes, couch.primary)
        within = moved.within(m.config.moved_mm, m.config.moved_deg)
        if within and not couch.moved_by_hand and couch.state not in DRIVEN:
            return
        how = f"{couch.state}, {moved.mm:.2f} mm, {moved.deg:.2f} deg"
        if couch.moved_by_hand:
            how = "by hand, with released brakes"
        reason = f"the couch moved since it was last seen ({how}): acquire the images again"
        self._void_images(reason)
        self._fire(T.COUCH_STRAYED, Ask(now_us), reason, actor="couch")
        m.rest_axes = None

    def _follow_motion(self, couch: ev.CouchHeard, now_us: int) -> None:
        m, ask = self._m, Ask(now_us)
        match couch.state:
            case "moving":
                if m.state is not S.MOVING:
                    self._fire(T.COUCH_MOVING, ask, actor="couch")
                self._watch_path(couch, now_us)
            case "stopping" | "held" if couch.stop_cause in HELD_CAUSES:
                if m.state is not S.HELD:
                    self._fire(T.COUCH_HELD, ask, f"held: {couch.stop_cause}", actor="couch")
                self._watch_path(couch, now_us)
            case "stopping" if couch.stop_cause in ("none", "arrived"):
                self._watch_path(couch, now_us)
            case "armed" | "plan loaded" if m.state is S.ARMED:
                self._watch_rest(couch, now_us)
            case "arrived":
                self._arrived(couch, now_us)
            case "latched":
                self._fault("couch latched", "the couch latched without naming a fault", now_us)
            case _:
                self._fire(
                    T.COUCH_ENDED,
                    ask,
                    f"the couch is {couch.state}: {couch.stop_cause}",
                    actor="couch",
                )

    def _watch_path(self, couch: ev.CouchHeard, now_us: int) -> None:
        """The couch stays on the approved line, and stops when the enable is released."""
        m = self._m
        if m.proposal is None or m.motion is None or m.state not in (S.MOVING, S.HELD):
            return
        off_mm, off_deg = self._off_line(couch.primary)
        if off_mm > m.config.path_mm or off_deg > m.config.path_deg:
            sentence = f"the couch is {off_mm:.2f} mm, {off_deg:.2f} deg off the approved line"
            m.host_faults["path"] = sentence
            self._fire(T.COUCH_STRAYED, Ask(now_us), sentence, actor="couch")
            return
        if couch.enable_held or not couch.moving:
            m.motion.released_since_us = None
        elif m.motion.released_since_us is None:
            m.motion.released_since_us = now_us
        elif now_us - m.motion.released_since_us > m.config.run_on_us:
            self._fault("run-on", "the enable is released and the couch still moves", now_us)

    def _off_line(self, axes: tuple[float, ...]) -> tuple[float, float]:
        """Largest distance, per unit, of the axes from the nearest straight piece of the approved way."""
        content = self._m.proposal.content if self._m.proposal is not None else None
        if content is None:
            return 0.0, 0.0
        stops = (content.start_axes, *content.via_axes, content.target_axes)
        config = self._m.config
        return min(
            (_off_piece(content, first, last, axes) for first, last in pairwise(stops)),
            key=lambda off: max(off[0] / config.path_mm, off[1] / config.path_deg),
        )

    def _arrived(self, couch: ev.CouchHeard, now_us: int) -> None:
        m = self._m
        if m.proposal is None or m.motion is None:
            return
        if m.motion.arrived_since_us is None:
            m.motion.arrived_since_us = now_us
        m.verification = self._compare_arrival(couch)
        sentence = m.verification.reason
        if not self._arrival_guard_holds(now_us) and not self._settling(now_us):
            m.host_faults["arrival"] = sentence
        self._fire(T.COUCH_ARRIVED, Ask(now_us), sentence, actor="couch")
        if m.state is S.ARRIVED:
            m.stamp, m.images, m.registration, m.images_problem = None, (), None, ""
            m.rest_axes = couch.primary
            m.base_axes = m.base_after
            if m.proposal is not None:
                m.last_shift = m.proposal.content.registration.correction
            self._record("arrival", "couch", sentence, m.verification.model_dump(mode="json"))

    def _arrival_guard_holds(self, now_us: int) -> bool:
        row, _ = self._choose(T.COUCH_ARRIVED, Ask(now_us))
        return row is not None and row.target is S.ARRIVED

    def _settling(self, now_us: int) -> bool:
        row, _ = self._choose(T.COUCH_ARRIVED, Ask(now_us))
        return row is not None and row.target is None

    def _compare_arrival(self, couch: ev.CouchHeard) -> Verification:
        m = self._m
        target = m.proposal.content.target_axes if m.proposal is not None else couch.primary
        pose = m.model.difference(target, couch.primary)
        apart = m.model.difference(couch.primary, couch.secondary)
        alone = "second channel" in couch.unreported
        agree = apart.mm <= m.config.channels_mm and apart.deg <= m.config.channels_deg
        rule = m.rule
        inside = pose.mm <= rule.pose_gate_mm and pose.deg <= rule.pose_gate_deg
        ours = m.motion is not None and m.motion.uploaded is not None
        nonce = m.motion.uploaded.nonce if ours and m.motion and m.motion.uploaded else 0
        if couch.plan_nonce != nonce:
            reason = "the couch arrived with another plan than the approved one"
        elif not inside:
            reason = (
                f"the couch arrived {pose.mm:.2f} mm, {pose.deg:.2f} deg off the approved target"
            )
        elif not alone and not agree:
            reason = (
                f"the position channels are {apart.mm:.2f} mm, {apart.deg:.2f} deg apart on arrival"
            )
        else:
            unproved = "; no second channel agrees, as there is none" if alone else ""
            reason = (
                f"arrived {pose.mm:.2f} mm, {pose.deg:.2f} deg off the target{unproved};"
                " verification images are needed"
            )
        return Verification(
            channels_agree=None if alone else agree,
            channel_difference_mm=None if alone else apart.mm,
            channel_difference_deg=None if alone else apart.deg,
            pose_error_mm=pose.mm,
            pose_error_deg=pose.deg,
            image_residual=None,
            image_residual_mm=None,
            image_residual_deg=None,
            tolerance_mm=rule.verify_mm,
            tolerance_deg=rule.verify_deg,
            passed=False,
            reason=reason,
        )


def _off_piece(
    content: ProposalContent,
    first: tuple[float, ...],
    last: tuple[float, ...],
    axes: tuple[float, ...],
) -> tuple[float, float]:
    """How far the axes are from one straight piece: largest distance in mm, and in degrees."""
    along = axis_shifts(content.model_copy(update={"start_axes": first, "target_axes": last}))
    so_far = axis_shifts(content.model_copy(update={"start_axes": first, "target_axes": axes}))
    # Axes in different units: the fraction of the way is the one that the largest mover is at.
    weight = sum(d * d for d in along)
    s = sum(a * b for a, b in zip(along, so_far, strict=True)) / weight if weight > 0 else 0.0
    s = min(1.0, max(0.0, s))
    off = {"mm": 0.0, "deg": 0.0}
    for unit, there, total in zip(content.axis_units, so_far, along, strict=True):
        off[unit] = max(off[unit], abs(there - s * total))
    return off["mm"], off["deg"]
