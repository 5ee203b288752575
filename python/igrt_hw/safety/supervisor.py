"""The supervisor: events and time in, effects out. The only writer of `Memory`; states change by the table only.

    supervisor = Supervisor(config, couch_model, draw=secrets.randbelow, utc_origin=...)
    effects = supervisor.handle(event, now_us)     # for everything that is heard
    effects = supervisor.tick(now_us)              # 20 to 50 times a second

The shell carries effects out in the order given, and feeds the answers back as events. It must feed what it has heard
before it ticks: a tick judges ages by what was fed. `draw(n)` gives a random integer below n; it is the only source of
codes, identifiers and tokens, so that a seed replays a session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from igrt_hw.models import commands
from igrt_hw.models.proposal import Approval, Verification
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety import proposals
from igrt_hw.safety.alarm_causes import causes
from igrt_hw.safety.alarms import AlarmBoard, AlarmChange
from igrt_hw.safety.approvals import (
    CODE_ALPHABET,
    CODE_LENGTH,
    axis_shifts,
    fact_agrees,
    open_challenge,
)
from igrt_hw.safety.canonical import canonical_bytes
from igrt_hw.safety.checks import ProposalInputs, what_can_be_done
from igrt_hw.safety.couch_model import CouchModel, UnreachableError, rotation_total_deg
from igrt_hw.safety.guards import GUARDS, Ask, setup_beyond
from igrt_hw.safety.interlocks import Act, broken
from igrt_hw.safety.memory import (
    AskedOverride,
    Device,
    Memory,
    Motion,
    Pending,
    PendingKind,
    Terminal,
)
from igrt_hw.safety.rules import SupervisorConfig
from igrt_hw.safety.transitions import (
    ENDED,
    IN_MOTION,
    NEEDED_NEXT,
    PENDING,
    Guard,
    Transition,
    Trigger,
    rows,
)

S = LoopState
T = Trigger

HELD_CAUSES = frozenset({"enable released", "lease late"})
OWN_STOP_WINDOW_US = 1_000_000  # a STOP of ours is seen in telemetry within this time
GATE_TELEMETRY_US = 250_000  # after the gate answered, telemetry of before may still arrive
TERMINALS_MAX = 32


class Supervisor:
    """The loop of one treatment room. See the module."""

    def __init__(
        self,
        config: SupervisorConfig,
        model: CouchModel,
        *,
        draw: Callable[[int], int],
        utc_origin: datetime,
    ) -> None:
        self._m = Memory(config=config, model=model)
        self._draw = draw
        self._utc_origin = utc_origin
        self._alarms = AlarmBoard()
        self._request = 0
        self._now_us = 0
        self._version = 0
        self._alarm_reset = False
        self._out: list[fx.Effect] = []

    # ---- the doors -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> LoopState:
        """Where the loop stands."""
        return self._m.state

    @property
    def memory(self) -> Memory:
        """What the supervisor knows; to be read, never to be written."""
        return self._m

    @property
    def alarms(self) -> AlarmBoard:
        """The alarms; to be read."""
        return self._alarms

    @property
    def version(self) -> int:
        """Grows with every event that was handled."""
        return self._version

    def utc(self, now_us: int) -> str:
        """UTC of an instant of the supervisor's clock: one clock for every stamp, so that no two logs disagree."""
        at = self._utc_origin + timedelta(microseconds=now_us)
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def handle(self, event: ev.Event, now_us: int) -> list[fx.Effect]:
        """Take one event. Returns what is to be done, in order."""
        now_us = self._begin(now_us)
        # STOP first, before anything that could fail or refuse.
        if isinstance(event, ev.UserCommand) and isinstance(event.command, commands.Stop):
            self._stop(event, now_us)
        else:
            self._pass_time(now_us)
            self._dispatch(event, now_us)
        return self._end(now_us)

    def tick(self, now_us: int) -> list[fx.Effect]:
        """Let time pass: ages, expiries, permissions."""
        now_us = self._begin(now_us)
        self._pass_time(now_us)
        self._grant_permission(now_us)
        return self._end(now_us)

    def _begin(self, now_us: int) -> int:
        # Events may be stamped a little before the last tick; time never runs backwards in here.
        self._now_us = max(now_us, self._now_us)
        self._out = []
        return self._now_us

    def _end(self, now_us: int) -> list[fx.Effect]:
        for change in self._watch_alarms(now_us):
            self._record(
                "alarm", "supervisor", f"{change.alarm_id} {change.what}: {change.text}", {}
            )
        self._version += 1
        out, self._out = self._out, []
        return out

    # ---- the table -------------------------------------------------------------------------------------------------

    def _choose(self, trigger: Trigger, ask: Ask) -> tuple[Transition | None, str]:
        """The row to take, or why there is none."""
        candidates = rows(self._m.state, trigger)
        if not candidates:
            state = self._m.state
            return None, f"{trigger.value} is not possible in {state}. {NEEDED_NEXT[state]}"
        why = ""
        for row in candidates:
            problem = GUARDS[row.guard](self._m, ask)
            if problem is None:
                return row, ""
            why = why or problem
        return None, why

    def _fire(
        self, trigger: Trigger, ask: Ask, reason: str = "", actor: str = "supervisor"
    ) -> tuple[bool, str]:
        """Take the row for this trigger, if one holds: change state, then do what leaving and entering asks."""
        row, why = self._choose(trigger, ask)
        if row is None:
            return False, why
        before, after = self._m.state, row.target or self._m.state
        if after is not before or reason:
            self._m.reason = reason or row.sentence
        if after is not before:
            self._m.state, self._m.state_since_us = after, ask.now_us
            self._record(
                "transition",
                actor,
                f"{before} -> {after}: {row.sentence}",
                {"trigger": trigger.value, "reason": self._m.reason},
            )
            self._leave(before, after, ask.now_us)
        return True, row.sentence

    def _leave(self, before: LoopState, after: LoopState, now_us: int) -> None:
        """What a change of state takes with it. Nothing here asks how the change came about."""
        m = self._m
        moving = before in IN_MOTION or m.pending_of("execute") is not None
        if moving and after not in (*IN_MOTION, S.ARRIVED):
            self._stop_devices(m.reason, now_us)
        elif before is S.APPROVED and after is not S.ARMED and m.motion is not None:
            self._emit(fx.VoidPlan(m.reason))
        if before is S.BEAM_READY or (m.pending_of("beam gate") and after is not S.BEAM_READY):
            self._emit(fx.SetBeamGate(self._next_request(), energise=False))
        if after is S.FAULT and not moving:
            self._stop_devices(m.reason, now_us)
        if after not in (S.APPROVED, *IN_MOTION):
            m.motion = None
        if after not in (S.CHECKED, S.APPROVED, *IN_MOTION):
            m.challenge, m.approvals, m.approval_sessions = None, (), ()
        if after in (*ENDED, S.FAULT, S.SETUP, S.IDLE):
            self._drop_pending(m.reason)
        if after is not S.PATIENT_BOUND:
            m.override = None
        if after in (S.SETUP, S.PATIENT_BOUND, S.FAULT):
            self._drop_images("the images are void: acquire them again")
        if after is S.ARRIVED and before not in IN_MOTION and m.verification is not None:
            m.verification = m.verification.model_copy(
                update={"passed": False, "reason": "verification images are needed"}
            )

    # ---- small tools -----------------------------------------------------------------------------------------------

    def _emit(self, effect: fx.Effect) -> None:
        self._out.append(effect)

    def _record(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        self._emit(fx.Record(kind, actor, text, data))

    def _next_request(self) -> int:
        self._request += 1
        return self._request

    def _await(self, kind: PendingKind, detail: str, life_us: int, actor: str, now_us: int) -> int:
        request = self._next_request()
        self._m.pending[request] = Pending(request, kind, detail, now_us + life_us, actor)
        return request

    def _drop_pending(self, why: str) -> None:
        for waiting in self._m.pending.values():
            self._record(
                "cancelled", "supervisor", f"{waiting.kind} is no longer wanted: {why}", {}
            )
        self._m.pending.clear()

    def _drop_images(self, why: str) -> None:
        m = self._m
        m.images_problem = why if m.stamp is not None else ""
        m.stamp, m.images, m.registration, m.rest_axes = None, (), None, None
        m.draft, m.proposal, m.verification = None, None, None

    def _stop_devices(self, reason: str, now_us: int) -> None:
        self._m.stop_sent_us = now_us
        self._m.permission = False
        # One STOP an occasion: the shell repeats it on the line under one nonce; a second would bump the epoch again.
        if not any(isinstance(effect, fx.StopAll) for effect in self._out):
            self._m.stops_unseen += 1
            self._emit(fx.StopAll(reason))
            self._emit(fx.VoidPlan(reason))

    def _fault(self, name: str, sentence: str, now_us: int) -> None:
        self._m.host_faults[name] = sentence
        self._fire(T.FAULT, Ask(now_us), sentence)

    # ---- time ------------------------------------------------------------------------------------------------------

    def _pass_time(self, now_us: int) -> None:
        self._expire_pending(now_us)
        self._expire_proposal(now_us)
        self._expire_images(now_us)
        self._hold_permission(now_us)
        self._hold_beam(now_us)

    def _expire_pending(self, now_us: int) -> None:
        for waiting in [p for p in self._m.pending.values() if now_us > p.deadline_us]:
            del self._m.pending[waiting.request]
            sentence = f"{waiting.kind} did not answer in time"
            self._failed(
                waiting, ev.RequestFailed(waiting.request, sentence, uncertain=True), now_us
            )

    def _expire_proposal(self, now_us: int) -> None:
        proposal = self._m.proposal
        if proposal is not None and now_us >= proposal.content.expires_us:
            self._fire(T.PROPOSAL_AGED, Ask(now_us), "the proposal expired; propose again")

    def _expire_images(self, now_us: int) -> None:
        m = self._m
        if m.stamp is None or m.images_problem:
            return
        limit_us = m.rule.image_age_us
        if now_us - m.stamp.acquired_us <= limit_us or m.state in IN_MOTION:
            return
        reason = f"the images are older than {limit_us // 60_000_000} min: acquire them again"
        m.images_problem = reason
        self._fire(T.IMAGES_AGED, Ask(now_us), reason)

    def _arming(self) -> bool:
        return self._m.pending_of("upload", "execute") is not None

    def _hold_permission(self, now_us: int) -> None:
        """While the couch may move, all that permits it must hold; what is only late pauses, what is lost voids."""
        m = self._m
        if not (m.state in IN_MOTION or self._arming()):
            return
        lost = self._lost(now_us)
        if not lost:
            return
        reason = "what permits motion is gone: " + "; ".join(lost)
        if m.state in IN_MOTION:
            self._fire(T.PERMISSION_LOST, Ask(now_us), reason)
            return
        waiting = m.pending_of("upload", "execute")
        if waiting is not None:
            del m.pending[waiting.request]
            self._failed(waiting, ev.RequestFailed(waiting.request, reason, uncertain=True), now_us)

    def _lost(self, now_us: int) -> tuple[str, ...]:
        """Motion interlocks that do not hold, but for links that are late and not yet lost."""
        m = self._m
        found = []
        late = {"Couch Link": m.couch, "Imager Link": m.imager, "Pendant": m.pendant}
        for text in broken(m.situation(now_us), Act.MOTION):
            device: Device[object] | None = late.get(text.split(":")[0])  # type: ignore[assignment]
            age = device.age_us(now_us) if device is not None else None
            if age is not None and m.config.fresh_us < age <= m.config.lost_us:
                continue
            found.append(text)
        return tuple(found)

    def _hold_beam(self, now_us: int) -> None:
        m = self._m
        if m.state is not S.BEAM_READY:
            return
        found = list(broken(m.situation(now_us), Act.BEAM))
        couch = m.couch.last
        settled = now_us - m.state_since_us > GATE_TELEMETRY_US
        if couch is not None and settled and not couch.beam_gate_energised:
            found.append("the couch reports the beam gate as not energised")
        if found:
            self._fire(T.BEAM_LOST, Ask(now_us), "beam held: " + "; ".join(found))

    def _grant_permission(self, now_us: int) -> None:
        """Leases only while something permitted is going on, everything holds, and it is fresh at this instant."""
        m, until = self._m, now_us + self._m.config.permission_us
        situation = m.situation(now_us)
        move = (m.state in IN_MOTION or self._arming()) and not broken(situation, Act.MOTION)
        gate = m.state is S.BEAM_READY or m.pending_of("beam gate") is not None
        beam = gate and not broken(situation, Act.BEAM)
        m.permission = move or beam
        if m.permission:
            self._emit(fx.RefreshPermission("couch", until))
        # Imager arms and gantry move under the imager's lease; the couch must not have moved beneath them.
        arms_fresh = not [
            text
            for text in broken(situation, Act.IMAGING)
            if text.split(":")[0]
            in ("Couch Link", "Imager Link", "Terminal", "Fault", "Emergency Stop")
        ]
        if m.pending_of("imaging") is not None and arms_fresh:
            self._emit(fx.RefreshPermission("imager", until))

    # ---- events ----------------------------------------------------------------------------------------------------

    def _dispatch(self, event: ev.Event, now_us: int) -> None:
        match event:
            case ev.UserCommand():
                self._command(event, now_us)
            case ev.CouchHeard():
                self._couch_heard(event, now_us)
            case ev.ImagerHeard():
                self._m.imager.last, self._m.imager.heard_us = event, now_us
                self._note_device_faults(now_us)
            case ev.PendantHeard():
                self._m.pendant.last, self._m.pendant.heard_us = event, now_us
                self._note_device_faults(now_us)
            case ev.LinkUp():
                self._link_up(event, now_us)
            case ev.LinkLost():
                self._link_lost(event, now_us)
            case ev.TerminalAlive():
                self._terminal_alive(event, now_us)
            case ev.TerminalLost():
                if self._m.terminals.pop(event.terminal_id, None) is not None:
                    self._record("terminal", event.terminal_id, "terminal has gone", {})
                self._hold_permission(now_us)
                self._hold_beam(now_us)
            case _:
                self._answered(event, now_us)

    def _terminal_alive(self, event: ev.TerminalAlive, now_us: int) -> None:
        terminals = self._m.terminals
        if event.terminal_id not in terminals:
            self._record("terminal", event.terminal_id, "terminal is there", {})
            if len(terminals) >= TERMINALS_MAX:
                del terminals[min(terminals, key=lambda name: terminals[name].heard_us)]
        terminals[event.terminal_id] = Terminal(event.session_id, now_us)

    def _link_up(self, event: ev.LinkUp, now_us: int) -> None:
        m = self._m
        device = m.device(event.name)
        device.up, device.session, device.limits, device.cause = (
            True,
            event.session,
            event.limits,
            "",
        )
        device.heard_us = None  # what was heard before belongs to another session
        self._record(
            "link",
            event.name,
            f"{event.name}: session {event.session:08x}",
            {"limits": event.limits},
        )
        if event.name == "couch":
            m.epoch, m.stops_unseen = None, 0
            self._void_images("the couch began another session: acquire the images again")
            if m.state in IN_MOTION:
                m.host_faults["couch link"] = "the couch began another session in mid motion"
            self._fire(T.COUCH_NEW_SESSION, Ask(now_us), "the couch began another session")

    def _link_lost(self, event: ev.LinkLost, now_us: int) -> None:
        m = self._m
        device = m.device(event.name)
        device.up, device.cause = False, event.cause
        self._record("link", event.name, f"{event.name} lost: {event.cause}", {})
        sentence = f"{event.name} link lost: {event.cause}"
        if m.state in IN_MOTION or (event.name == "couch" and m.pending_of("execute") is not None):
            self._fault(
                f"{event.name} link", sentence + ", while the couch was permitted to move", now_us
            )
            return
        waiting = (
            m.pending_of("imaging")
            if event.name == "imager"
            else m.pending_of("upload", "beam gate")
        )
        if event.name != "pendant" and waiting is not None:
            del m.pending[waiting.request]
            self._failed(
                waiting, ev.RequestFailed(waiting.request, sentence, uncertain=True), now_us
            )
        self._hold_beam(now_us)

    def _void_images(self, why: str) -> None:
        if self._m.stamp is not None:
            self._m.images_problem = why

    # ---- the couch -------------------------------------------------------------------------------------------------

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
        m.couch.last, m.couch.heard_us = couch, now_us
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
        """At rest the couch stands where the images, or the arrival, saw it."""
        m = self._m
        if m.rest_axes is None or m.images_problem:
            return
        moved = m.model.difference(m.rest_axes, couch.primary)
        if (
            moved.mm <= m.config.moved_mm
            and moved.deg <= m.config.moved_deg
            and not couch.moved_by_hand
        ):
            return
        how = (
            "by hand, with released brakes"
            if couch.moved_by_hand
            else f"{moved.mm:.2f} mm, {moved.deg:.2f} deg"
        )
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
        """Largest distance, per unit, of the axes from the straight line between approved start and target."""
        content = self._m.proposal.content if self._m.proposal is not None else None
        if content is None:
            return 0.0, 0.0
        along = axis_shifts(content)
        so_far = axis_shifts(content.model_copy(update={"target_axes": axes}))
        # Axes in different units: the fraction of the way is the one that the largest mover is at.
        weight = sum(d * d for d in along)
        s = sum(a * b for a, b in zip(along, so_far, strict=True)) / weight if weight > 0 else 0.0
        s = min(1.0, max(0.0, s))
        off = {"mm": 0.0, "deg": 0.0}
        for unit, there, total in zip(content.axis_units, so_far, along, strict=True):
            off[unit] = max(off[unit], abs(there - s * total))
        return off["mm"], off["deg"]

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
        elif not agree:
            reason = (
                f"the position channels are {apart.mm:.2f} mm, {apart.deg:.2f} deg apart on arrival"
            )
        else:
            reason = f"arrived {pose.mm:.2f} mm, {pose.deg:.2f} deg off the target; verification images are needed"
        return Verification(
            channels_agree=agree,
            channel_difference_mm=apart.mm,
            channel_difference_deg=apart.deg,
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

    # ---- answers ---------------------------------------------------------------------------------------------------

    def _answered(self, event: ev.Event, now_us: int) -> None:
        request = getattr(event, "request", None)
        waiting = self._m.pending.pop(request, None) if isinstance(request, int) else None
        if waiting is None:
            # A gate that energised for nobody is taken back at once; any other late answer is dropped.
            if (
                isinstance(event, ev.BeamGateAnswered)
                and event.energised
                and self._m.state is not S.BEAM_READY
            ):
                self._emit(fx.SetBeamGate(self._next_request(), energise=False))
            self._record(
                "late answer",
                "supervisor",
                f"{type(event).__name__} came too late and was dropped",
                {},
            )
            return
        match event:
            case ev.ImagesAcquired() if waiting.kind == "imaging":
                self._images_acquired(event, now_us)
            case ev.RegistrationDone() if waiting.kind == "registration":
                self._registration_done(event, now_us)
            case ev.PathChecked() if waiting.kind == "path check":
                self._path_checked(event, now_us)
            case ev.PlanUploaded() if waiting.kind == "upload":
                self._plan_uploaded(event, waiting, now_us)
            case ev.ExecuteAccepted() if waiting.kind == "execute":
                self._execute_accepted(event, waiting, now_us)
            case ev.BeamGateAnswered() if waiting.kind == "beam gate":
                self._beam_gate_answered(event, now_us)
            case ev.FaultsReset() if waiting.kind == "fault reset":
                self._faults_reset(event, now_us)
            case ev.RequestFailed():
                self._failed(waiting, event, now_us)
            case _:
                failure = ev.RequestFailed(
                    waiting.request, f"{type(event).__name__} is no answer to {waiting.kind}", True
                )
                self._failed(waiting, failure, now_us)

    def _failed(self, waiting: Pending, event: ev.RequestFailed, now_us: int) -> None:
        """An effect was not done, or nobody knows. The sentence is shown; the way on depends on what it was."""
        m, ask = self._m, Ask(now_us, event)
        m.reason = f"{waiting.kind} failed: {event.sentence}"
        self._record(
            "failed", waiting.actor, m.reason, {"uncertain": event.uncertain, **event.data}
        )
        match waiting.kind:
            case "path check":
                self._fire(T.PATH_FAILED, ask, m.reason)
            case "upload":
                # Nothing was executed: the approval stands, and the couch forgets what it may have decoded.
                self._emit(fx.VoidPlan(m.reason))
                m.motion = None
            case "execute":
                if event.uncertain:
                    self._stop_devices(m.reason, now_us)
                self._fire(T.EXECUTE_FAILED, ask, m.reason)
            case "beam gate":
                self._emit(fx.SetBeamGate(self._next_request(), energise=False))
            case "fault reset":
                m.reset_asked = False
            case _:
                pass

    def _images_acquired(self, event: ev.ImagesAcquired, now_us: int) -> None:
        m, stamp = self._m, event.stamp
        problem = self._stamp_problem(event, now_us)
        m.stamp, m.images, m.registration = stamp, event.images, None
        m.images_problem = problem
        if m.state is not S.ARRIVED:
            m.proposal = None
        fired, why = self._fire(T.IMAGES_ACQUIRED, Ask(now_us, event))
        if not fired:
            m.stamp, m.images = None, ()
            m.reason = f"the images cannot be used: {why}"
        elif m.state is not S.ARRIVED:
            m.rest_axes = stamp.couch_axes
        self._record(
            "images",
            "imager",
            "images acquired" if fired else m.reason,
            stamp.model_dump(mode="json"),
        )

    def _stamp_problem(self, event: ev.ImagesAcquired, now_us: int) -> str:
        m, stamp = self._m, event.stamp
        if not stamp.brakes_on:
            return "the brakes were released while the images were taken: acquire them again"
        if len(stamp.couch_axes) != len(m.model.axis_names):
            return (
                f"the stamp has {len(stamp.couch_axes)} axes, the couch {len(m.model.axis_names)}"
            )
        if len(stamp.image_uids) < 2 or len(set(stamp.image_uids)) != len(stamp.image_uids):
            return "a pair of two different images is needed"
        if not 0 <= now_us - stamp.acquired_us <= m.rule.image_age_us:
            return "the time of acquisition is not of now: acquire the images again"
        if m.state is S.ARRIVED and m.rest_axes is not None:
            moved = m.model.difference(m.rest_axes, stamp.couch_axes)
            if moved.mm > m.config.moved_mm or moved.deg > m.config.moved_deg:
                return "the couch did not stand at its arrival while the images were taken"
        return ""

    def _registration_done(self, event: ev.RegistrationDone, now_us: int) -> None:
        m, summary = self._m, event.summary
        data = summary.model_dump(mode="json")
        self._record(
            "registration", "guidance", f"registration {summary.verdict}", {"summary": data}
        )
        wrong = self._foreign_registration(event)
        if wrong or summary.verdict == "refused":
            m.reason = wrong or "the registration refuses itself: " + "; ".join(summary.reasons)
            return
        m.registration = event
        if m.state is S.ARRIVED:
            self._judge_residual(event)
        reason = (
            m.verification.reason if m.state is S.ARRIVED and m.verification is not None else ""
        )
        fired, why = self._fire(T.REGISTRATION_DONE, Ask(now_us, event), reason)
        if not fired:
            m.registration, m.reason = None, why

    def _foreign_registration(self, event: ev.RegistrationDone) -> str:
        m = self._m
        if m.plan is None or m.stamp is None or m.isocentre is None:
            return "a registration without patient or images was dropped"
        pairs = (
            ("plan", event.plan_uid, m.plan.plan_uid),
            ("frame of reference", event.frame_of_reference_uid, m.plan.frame_of_reference_uid),
            ("isocentre", event.isocentre_id, m.isocentre.isocentre_id),
            ("images", event.image_uids, m.stamp.image_uids),
        )
        wrong = [name for name, found, wanted in pairs if found != wanted]
        return f"the registration is of another {', '.join(wrong)}; it was dropped" if wrong else ""

    def _judge_residual(self, event: ev.RegistrationDone) -> None:
        m = self._m
        if m.verification is None:
            return
        c = event.summary.correction
        mm, deg = c.magnitude_mm, rotation_total_deg(c)
        rule = m.rule
        close = mm <= rule.verify_mm and deg <= rule.verify_deg
        passed = close and m.verification.channels_agree and event.summary.verdict == "reliable"
        if passed:
            reason = f"verified: residual {mm:.2f} mm, {deg:.2f} deg"
        elif not close:
            reason = (
                f"residual {mm:.2f} mm, {deg:.2f} deg is above {rule.verify_mm:g} mm, {rule.verify_deg:g} deg: "
                "propose again from the verification images"
            )
        else:
            reason = "the verification registration is doubtful: " + "; ".join(
                event.summary.reasons
            )
        m.verification = m.verification.model_copy(
            update={
                "image_residual": c,
                "image_residual_mm": mm,
                "image_residual_deg": deg,
                "passed": passed,
                "reason": reason,
            }
        )
        self._record("verification", "supervisor", reason, {"mm": mm, "deg": deg, "passed": passed})

    def _path_checked(self, event: ev.PathChecked, now_us: int) -> None:
        m = self._m
        if m.draft is None:
            return
        m.proposal = proposals.finish(m.draft, event.clearance, now_us)
        m.draft, m.wrong = None, 0
        row, _ = self._choose(T.PATH_CHECKED, Ask(now_us, event))
        refused = "" if row is None or row.target is S.CHECKED else self._refusals()
        self._record(
            "proposal",
            "supervisor",
            f"proposal {m.proposal.digest[:16]}",
            {"digest": m.proposal.digest, "content": m.proposal.content.model_dump(mode="json")},
        )
        self._fire(T.PATH_CHECKED, Ask(now_us, event), refused)

    def _refusals(self) -> str:
        if self._m.proposal is None:
            return ""
        return "; ".join(
            f"{c.name}: {c.detail}"
            for c in self._m.proposal.content.checks
            if c.outcome == "refuse"
        )

    def _plan_uploaded(self, event: ev.PlanUploaded, waiting: Pending, now_us: int) -> None:
        m = self._m
        if m.motion is None or m.proposal is None:
            return
        m.motion.uploaded = event
        self._record(
            "upload",
            "couch",
            f"the couch decoded {event.device_digest[:16]}, we {m.motion.digest[:16]}",
            {
                "device_digest": event.device_digest,
                "own_digest": m.motion.digest,
                "nonce": event.nonce,
            },
        )
        ask = Ask(now_us, event)
        row, why = self._choose(T.PLAN_UPLOADED, ask)
        if row is not None and row.target is S.FAULT:
            sentence = "the couch decoded another plan than the approved one; nothing was executed"
            m.host_faults["digest"] = sentence
            self._fire(T.PLAN_UPLOADED, ask, sentence)
            return
        if row is None:
            m.motion = None
            m.reason = f"not executed: {why}"
            self._emit(fx.VoidPlan(m.reason))
            self._record("refused", "supervisor", m.reason, {})
            return
        self._fire(T.PLAN_UPLOADED, ask)
        self._execute(event, waiting, now_us)

    def _execute(self, receipt: ev.PlanUploaded, waiting: Pending, now_us: int) -> None:
        """Once and never again for this digest: it counts as executed before the effect leaves."""
        m = self._m
        if m.motion is None or m.proposal is None:
            return
        m.executed |= {m.proposal.digest}
        m.motion.executed = True
        token = self._token(receipt)
        request = self._await(
            "execute",
            "telling the couch to execute once",
            m.config.execute_us,
            waiting.actor,
            now_us,
        )
        self._record(
            "execute",
            waiting.actor,
            f"execute {m.proposal.digest[:16]} once",
            {
                "digest": m.proposal.digest,
                "plan_digest": m.motion.digest,
                "nonce": receipt.nonce,
                "token": token.hex(),
            },
        )
        self._emit(fx.RefreshPermission("couch", now_us + m.config.permission_us))
        self._emit(
            fx.Execute(request, receipt.nonce, m.motion.digest, token, now_us + m.config.execute_us)
        )

    def _token(self, receipt: ev.PlanUploaded) -> bytes:
        """16 octets that tie the execution to the approvals, the receipt and one drawing."""
        bound = {
            "approvals": list(self._m.approvals),
            "device_digest": receipt.device_digest,
            "nonce": receipt.nonce,
            "drawn": self._draw(1 << 64),
        }
        return hashlib.sha256(canonical_bytes(bound)).digest()[:16]

    def _execute_accepted(self, event: ev.ExecuteAccepted, waiting: Pending, now_us: int) -> None:
        receipt = self._m.motion.uploaded if self._m.motion is not None else None
        if receipt is None or event.nonce != receipt.nonce:
            failure = ev.RequestFailed(
                event.request, "the couch accepted another plan's nonce", uncertain=True
            )
            self._failed(waiting, failure, now_us)
            return
        self._fire(T.EXECUTE_ACCEPTED, Ask(now_us, event), actor="couch")

    def _beam_gate_answered(self, event: ev.BeamGateAnswered, now_us: int) -> None:
        if not event.energised:
            self._m.reason = "the couch did not energise the beam gate"
            return
        fired, why = self._fire(T.BEAM_GATE_ENERGISED, Ask(now_us, event), actor="couch")
        if not fired:
            self._m.reason = f"beam held: {why}"
            self._emit(fx.SetBeamGate(self._next_request(), energise=False))

    def _faults_reset(self, event: ev.FaultsReset, now_us: int) -> None:
        if event.remaining:
            self._m.reset_asked = False
            self._m.reason = "still latched: " + "; ".join(event.remaining)
            self._record("refused", "supervisor", self._m.reason, {})

    # ---- people ----------------------------------------------------------------------------------------------------

    def _command(self, user: ev.UserCommand, now_us: int) -> None:
        handlers: dict[str, Callable[[ev.UserCommand, int], fx.Answer]] = {
            "open_patient": self._open_patient,
            "confirm_setup": self._confirm_setup,
            "override_setup": self._override_setup,
            "acquire_images": self._acquire_images,
            "register": self._register,
            "propose": self._propose,
            "request_challenge": self._request_challenge,
            "approve": self._approve,
            "reject": self._reject,
            "arm": self._arm,
            "release_beam": self._release_beam,
            "acknowledge_alarm": self._acknowledge_alarm,
            "reset_fault": self._reset_fault,
            "close_patient": self._close_patient,
        }
        kind = user.command.kind
        answer = handlers[kind](user, now_us)
        # What was typed to approve is a secret of one person and one challenge; the record keeps what came of it.
        data = user.command.model_dump(mode="json", exclude={"code", "fact"})
        word = "accepted" if answer.accepted else "refused"
        self._record(
            "command" if answer.accepted else "refused",
            user.username,
            f"{kind} {word}: {answer.message}",
            data,
        )
        self._emit(answer)

    def _simple(self, trigger: Trigger, user: ev.UserCommand, now_us: int) -> fx.Answer:
        fired, sentence = self._fire(trigger, Ask(now_us, user), actor=user.username)
        return fx.Answer(fired, sentence)

    def _stop(self, user: ev.UserCommand, now_us: int) -> None:
        command = user.command
        why = command.reason if isinstance(command, commands.Stop) else "operator"
        reason = f"STOP by {user.username}: {why}"
        m = self._m
        self._stop_devices(reason, now_us)
        self._emit(fx.SetBeamGate(self._next_request(), energise=False))
        self._record("stop", user.username, reason, {"state": m.state.value})
        running = bool(m.pending)
        self._drop_pending(reason)
        m.motion = None
        moving = m.state in (*IN_MOTION, *PENDING, S.BEAM_READY)
        self._fire(
            T.STOP, Ask(now_us, user), reason if moving or running else "", actor=user.username
        )
        self._emit(fx.Answer(True, "Stopped. Whatever was pending or moving is void."))

    def _open_patient(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        answer = self._simple(T.OPEN_PATIENT, user, now_us)
        command = user.command
        if answer.accepted and user.plan is not None and isinstance(command, commands.OpenPatient):
            m.plan, m.fraction = user.plan, command.fraction
            m.isocentre = next(
                i for i in user.plan.isocentres if i.isocentre_id == command.isocentre_id
            )
            m.setup_confirmed = False
            m.history = tuple(
                s for s in user.history if s.patient_id == user.plan.patient.patient_id
            )
        return answer

    def _confirm_setup(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        answer = self._simple(T.CONFIRM_SETUP, user, now_us)
        self._m.setup_confirmed = self._m.setup_confirmed or answer.accepted
        return answer

    def _override_setup(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        """Two people, one coded reason, and a place on the review list."""
        m, command = self._m, user.command
        beyond, asked = setup_beyond(m), m.override
        answer = self._simple(T.OVERRIDE_SETUP, user, now_us)
        if (
            not answer.accepted
            or not isinstance(command, commands.OverrideSetup)
            or m.couch.last is None
        ):
            return answer
        if m.state is not S.SETUP:
            m.override = AskedOverride(
                command, user.username, user.session_id, now_us, m.couch.last.primary
            )
            return answer
        m.setup_confirmed = True
        self._record(
            "override",
            user.username,
            f"setup outside tolerance accepted by {asked.username if asked else '?'} and {user.username}: "
            f"{command.reason} ({command.text})",
            {
                "what": "setup tolerance",
                "reason": command.reason,
                "text": command.text,
                "people": [asked.username if asked else "", user.username],
                "parameters": beyond,
                "plan_uid": m.plan.plan_uid if m.plan else "",
                "fraction": m.fraction or 0,
            },
        )
        return answer

    def _acquire_images(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        answer = self._simple(T.ACQUIRE_IMAGES, user, now_us)
        if not answer.accepted or m.isocentre is None:
            return answer
        purpose = "verification" if m.state is S.ARRIVED else "setup"
        request = self._await(
            "imaging", f"{purpose} pair", m.config.imaging_us, user.username, now_us
        )
        self._emit(fx.RefreshPermission("imager", now_us + m.config.permission_us))
        fields = m.isocentre.setup_fields[:2]
        self._emit(
            fx.AcquireImages(request, fields, "verification" if m.state is S.ARRIVED else "setup")
        )
        return fx.Answer(True, "Imaging has begun.")

    def _register(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        answer = self._simple(T.REGISTER, user, now_us)
        if not answer.accepted or m.stamp is None or m.plan is None or m.isocentre is None:
            return answer
        only = isinstance(command, commands.RegisterImages) and command.translation_only
        detail = "translation only" if only else "six degrees of freedom"
        request = self._await(
            "registration", detail, m.config.registration_us, user.username, now_us
        )
        self._emit(
            fx.RegisterImages(
                request,
                m.stamp.image_uids,
                m.plan.plan_uid,
                m.isocentre.isocentre_id,
                m.stamp.couch_axes,
                only,
            )
        )
        return fx.Answer(True, "Registration has begun.")

    def _propose(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        self._make_candidate(now_us)
        candidate = m.candidate
        answer = self._simple(T.PROPOSE, user, now_us)
        m.candidate = None
        if not answer.accepted or candidate is None:
            problem, m.candidate_problem = m.candidate_problem, ""
            if problem:
                m.reason = problem
            found = (
                [c.model_dump(mode="json") for c in candidate.checks]
                if candidate is not None
                else []
            )
            return replace(answer, data={"checks": found})
        m.draft, m.proposal = candidate, None
        m.path_gantry_deg = m.imager.last.gantry_deg if m.imager.last is not None else None
        request = self._await(
            "path check", "clearance along the path", m.config.path_check_us, user.username, now_us
        )
        given = candidate.given
        self._emit(
            fx.CheckPath(
                request,
                given.stamp.couch_axes,
                given.target_axes,
                m.config.clearance_warn_mm,
                m.config.clearance_stop_mm,
            )
        )
        return fx.Answer(True, "Axis targets found; the path is being checked.")

    def _make_candidate(self, now_us: int) -> None:
        """Solve C . M and ask every question that needs no path; what comes out is for the guard to judge."""
        m = self._m
        m.candidate, m.candidate_problem = None, ""
        if m.plan is None or m.isocentre is None or m.fraction is None or m.couch.last is None:
            m.candidate_problem = "no patient or no couch"
            return
        if m.registration is None or m.stamp is None or m.images_problem:
            m.candidate_problem = m.images_problem or "there is no registration to propose"
            return
        correction = m.registration.summary.correction
        try:
            target = proposals.targets(m.model, m.stamp.couch_axes, correction)
        except (UnreachableError, ValueError) as error:
            m.candidate_problem = f"{error}. {what_can_be_done(correction)}"
            return
        given = ProposalInputs(
            plan=m.plan,
            isocentre=m.isocentre,
            fraction=m.fraction,
            stamp=m.stamp,
            registration=m.registration,
            target_axes=target,
            couch=m.couch.last,
            couch_limits=m.couch.limits,
            model=m.model,
            rule=m.rule,
            config=m.config,
            now_us=now_us,
            history=m.history,
            last_shift=m.last_shift,
        )
        m.candidate = proposals.draft(f"P-{self._draw(1 << 48):012x}", given)
        if m.candidate.refusals:
            m.candidate_problem = "; ".join(f"{c.name}: {c.detail}" for c in m.candidate.refusals)

    def _request_challenge(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        answer = self._simple(T.REQUEST_CHALLENGE, user, now_us)
        if not answer.accepted or m.proposal is None:
            return answer
        code = "".join(CODE_ALPHABET[self._draw(len(CODE_ALPHABET))] for _ in range(CODE_LENGTH))
        m.challenge = open_challenge(
            m.proposal,
            challenge_id=f"C-{self._draw(1 << 48):012x}",
            code=code,
            username=user.username,
            session_id=user.session_id,
            approvals_given=len(m.approvals),
            expires_us=now_us + m.config.challenge_life_us,
        )
        challenge = m.challenge.challenge
        data = {"challenge": challenge.model_dump(mode="json"), **challenge.model_dump(mode="json")}
        return fx.Answer(True, challenge.fact_prompt, data)

    def _approve(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        if not isinstance(command, commands.Approve) or not rows(m.state, T.APPROVE):
            return fx.Answer(False, self._choose(T.APPROVE, Ask(now_us, user))[1])
        problem = GUARDS[Guard.MAY_BE_CHALLENGED](m, Ask(now_us, user))
        opened = m.challenge
        if problem is None and (
            opened is None or opened.challenge.challenge_id != command.challenge_id
        ):
            problem = "this challenge is not open (used, replaced or void); request a new one"
        if problem is not None or opened is None or m.proposal is None:
            return fx.Answer(False, problem or "there is no proposal")
        if (opened.challenge.username, opened.session_id) != (user.username, user.session_id):
            return fx.Answer(
                False, f"this challenge was given to {opened.challenge.username}; request your own"
            )
        m.challenge = None  # one-shot: right, wrong or late, it is used now
        if now_us >= opened.challenge.expires_us or opened.challenge.digest != command.digest:
            return fx.Answer(False, "the challenge has expired; request a new one")
        right = command.code.strip().upper() == opened.challenge.code
        if not (right and fact_agrees(command.fact, opened.fact)):
            return self._wrong_confirmation(user, now_us)
        return self._take_approval(user, command, opened.fact.axis, now_us)

    def _wrong_confirmation(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        m.wrong += 1
        reason = f"{m.wrong} wrong confirmations; look at the proposal again and make a new one"
        fired, why = self._fire(
            T.CONFIRMATION_WRONG, Ask(now_us, user), reason, actor=user.username
        )
        return fx.Answer(False, reason if fired else why)

    def _take_approval(
        self, user: ev.UserCommand, command: commands.Approve, axis: str, now_us: int
    ) -> fx.Answer:
        m = self._m
        approval = Approval(
            digest=command.digest,
            username=user.username,
            role=user.role,
            approved_us=now_us,
            approved_utc=self.utc(now_us),
            fact_typed=command.fact.strip(),
        )
        m.approvals = (*m.approvals, approval)
        m.approval_sessions = (*m.approval_sessions, user.session_id)
        self._record(
            "approval",
            user.username,
            f"{user.username} ({user.role}) approved {command.digest[:16]} and typed {axis} {approval.fact_typed}",
            {
                "digest": command.digest,
                "role": user.role,
                "axis": axis,
                "fact": approval.fact_typed,
            },
        )
        return self._simple(T.APPROVE, user, now_us)

    def _reject(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        command = user.command
        reason = f"rejected by {user.username}"
        if isinstance(command, commands.Reject):
            reason += f": {command.reason}" + (f" ({command.text})" if command.text else "")
        if self._m.pending_of("upload", "execute") is not None:
            return fx.Answer(False, "the plan is on its way to the couch: STOP instead")
        fired, sentence = self._fire(T.REJECT, Ask(now_us, user), reason, actor=user.username)
        return fx.Answer(fired, sentence)

    def _arm(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        terminal = self._terminal_of(user.session_id, now_us)
        if terminal is None:
            return fx.Answer(
                False, "no live terminal belongs to this user session; motion needs one"
            )
        answer = self._simple(T.ARM, user, now_us)
        if not answer.accepted or m.proposal is None:
            return answer
        try:
            plan = proposals.motion_plan(m.proposal, m.model, m.config, now_us)
            digest = plan.digest()
        except ValueError as error:
            return fx.Answer(False, str(error))
        m.motion = Motion(plan=plan, digest=digest, terminal_id=terminal, armed_by=user.username)
        request = self._await(
            "upload", "uploading the approved plan", m.config.upload_us, user.username, now_us
        )
        self._emit(fx.RefreshPermission("couch", now_us + m.config.permission_us))
        self._emit(fx.UploadPlan(request, plan))
        return fx.Answer(True, answer.message)

    def _terminal_of(self, session_id: str, now_us: int) -> str | None:
        """The live terminal of a user session, the one heard last. One without a session serves any."""
        m = self._m
        live = [
            (t.heard_us, name)
            for name, t in m.terminals.items()
            if t.session_id in ("", session_id) and now_us - t.heard_us <= m.config.terminal_us
        ]
        return max(live)[1] if live else None

    def _release_beam(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        answer = self._simple(T.RELEASE_BEAM, user, now_us)
        if answer.accepted:
            life = self._m.config.gate_us
            request = self._await("beam gate", "releasing the hold", life, user.username, now_us)
            self._emit(fx.RefreshPermission("couch", now_us + self._m.config.permission_us))
            self._emit(fx.SetBeamGate(request, energise=True))
        return answer

    def _acknowledge_alarm(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        command = user.command
        name = command.alarm_id if isinstance(command, commands.AcknowledgeAlarm) else ""
        if self._alarms.acknowledge(name, user.username):
            return fx.Answer(True, f"{name} is silenced; it stays until its cause is gone.")
        return fx.Answer(False, f"there is no alarm {name}")

    def _reset_fault(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        if m.state is not S.FAULT:
            changes = self._alarms.reset()
            return fx.Answer(True, f"No fault is latched; {len(changes)} alarms reset.")
        answer = self._simple(T.RESET_FAULT, user, now_us)
        if not answer.accepted:
            return answer
        m.host_faults.clear()
        m.reset_asked = True
        faults = {
            name: device.last.faults
            for name, device in (("couch", m.couch), ("imager", m.imager), ("pendant", m.pendant))
            if device.last is not None and device.last.faults
        }
        if faults:
            request = self._await(
                "fault reset", "asking the devices", m.config.reset_us, user.username, now_us
            )
            self._emit(fx.ResetFaults(request, faults))
        self._note_device_faults(now_us)
        return fx.Answer(True, answer.message if faults else m.reason)

    def _close_patient(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        answer = self._simple(T.CLOSE_PATIENT, user, now_us)
        if answer.accepted:
            self._forget_patient()
        return answer

    def _forget_patient(self) -> None:
        """Nothing of one patient reaches the next: queues, tokens, proposals, images, what was executed."""
        m = self._m
        self._drop_pending("the patient was closed")
        self._drop_images("")
        m.images_problem, m.candidate, m.candidate_problem = "", None, ""
        m.plan, m.isocentre, m.fraction, m.setup_confirmed = None, None, None, False
        m.history, m.last_shift, m.path_gantry_deg = (), None, None
        m.challenge, m.approvals, m.approval_sessions, m.wrong = None, (), (), 0
        m.motion = None
        m.reason = ""

    # ---- alarms ----------------------------------------------------------------------------------------------------

    def _watch_alarms(self, now_us: int) -> list[AlarmChange]:
        utc = self.utc(now_us)
        there = causes(self._m, now_us)
        changes: list[AlarmChange] = []
        for cause in there:
            changes += self._alarms.sound(cause, now_us, utc)
        names = {cause.alarm_id for cause in there}
        for alarm in self._alarms.listed():
            if alarm.alarm_id not in names:
                changes += self._alarms.cause_gone(alarm.alarm_id)
        if self._alarm_reset:
            self._alarm_reset = False
            changes += self._alarms.reset()
        return changes
