"""The loop's state and the only way to change it: a row of the table. What leaving and entering a state takes along."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety.alarms import AlarmBoard
from igrt_hw.safety.couch_model import CouchModel
from igrt_hw.safety.guards import GUARDS, Ask
from igrt_hw.safety.memory import (
    Memory,
    Pending,
    PendingKind,
)
from igrt_hw.safety.rules import SupervisorConfig
from igrt_hw.safety.transitions import (
    ENDED,
    IN_MOTION,
    NEEDED_NEXT,
    Transition,
    Trigger,
    rows,
)

S = LoopState
T = Trigger


class Loop:
    """State by the table, effects, requests. The layers above feed it: see `supervisor.py`."""

    def __init__(
        self,
        config: SupervisorConfig,
        model: CouchModel,
        *,
        draw: Callable[[int], int],
        utc_origin: datetime,
    ) -> None:
        self._m = Memory(config=config, model=model, mode=config.mode, utc_origin=utc_origin)
        self._draw = draw
        self._utc_origin = utc_origin
        self._alarms = AlarmBoard()
        self._request = 0
        self._now_us = 0
        self._heard_us = 0
        self._version = 0
        self._alarm_reset = False
        self._in_tick = False
        self._out: list[fx.Effect] = []

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

    # ---- the table

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
        if moving and after not in (*IN_MOTION, S.ARRIVED):
            self._lose_base()
        if before in (S.MOVING, S.HELD) and after in ENDED:
            # However little of the way was gone: the images show a patient who has been moved since.
            self._void_images("the couch moved since the images: acquire them again")
            m.rest_axes = None
        if after is not S.PATIENT_BOUND:
            m.override = None
        if after in (S.SETUP, S.PATIENT_BOUND, S.FAULT):
            self._drop_images("the images are void: acquire them again")
        if after is S.ARRIVED and before not in IN_MOTION and m.verification is not None:
            m.verification = m.verification.model_copy(
                update={"passed": False, "reason": "verification images are needed"}
            )

    def _lose_base(self) -> None:
        """A move in stages was broken off: pose and axes do not tell how much of the way the base couch has gone."""
        m = self._m
        if m.proposal is not None and m.proposal.content.via_axes:
            m.base_lost = (
                "a move in two stages was broken off, and nobody knows where the base couch stands: bring it to the "
                "place of its description and start the service again"
            )

    # ---- small tools

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
        self._m.jog, self._m.keys_latched = None, True
        self._m.jog_ended_us = self._m.homing_since_us = None
        # One STOP an occasion: the shell repeats it on the line under one nonce; a second would bump the epoch again.
        if not any(isinstance(effect, fx.StopAll) for effect in self._out):
            self._m.stops_unseen += 1
            self._emit(fx.StopAll(reason))
            self._emit(fx.VoidPlan(reason))

    def _fault(self, name: str, sentence: str, now_us: int) -> None:
        self._m.host_faults[name] = sentence
        self._fire(T.FAULT, Ask(now_us), sentence)

    def _void_images(self, why: str) -> None:
        if self._m.stamp is not None:
            self._m.images_problem = why
