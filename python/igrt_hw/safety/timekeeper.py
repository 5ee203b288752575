"""What time alone does: requests, proposals and images expire; permission is given, withheld, taken."""

from __future__ import annotations

from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.answers import Answers
from igrt_hw.safety.guards import Ask
from igrt_hw.safety.interlocks import Act, broken
from igrt_hw.safety.memory import (
    Device,
)
from igrt_hw.safety.transitions import (
    IN_MOTION,
    Trigger,
)

S = LoopState
T = Trigger
NEEDED_BY_ARMS = frozenset({"Couch Link", "Imager Link", "Terminal", "Fault", "Emergency Stop"})
GATE_TELEMETRY_US = 250_000  # after the gate answered, telemetry of before may still arrive


class Timekeeper(Answers):
    """Ages and permissions. Nothing in here is asked for by anybody."""

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
        for text in self._not_holding(Act.MOTION, now_us):
            device: Device[object] | None = late.get(text.split(":")[0])  # type: ignore[assignment]
            age = device.age_us(now_us) if device is not None else None
            if age is not None and m.config.fresh_us < age <= m.config.lost_us:
                continue
            found.append(text)
        return tuple(found)

    def _not_holding(self, act: Act, now_us: int) -> list[str]:
        """What does not hold. Silence counts by ticks only: what was said meanwhile may still wait to be heard."""
        found = broken(self._m.situation(now_us), act)
        if self._in_tick:
            return list(found)
        silent = self._merely_silent(now_us)
        return [text for text in found if text.partition(":")[0] not in silent]

    def _merely_silent(self, now_us: int) -> frozenset[str]:
        """Interlocks of what stands but has said nothing for too long; what has gone, or never was, is not silent."""
        m = self._m
        fresh_us = m.config.fresh_us
        ages = (
            ("Couch Link", m.couch.age_us(now_us), fresh_us),
            ("Imager Link", m.imager.age_us(now_us), fresh_us),
            ("Pendant", m.pendant.age_us(now_us), fresh_us),
            ("Terminal", m.terminal_age_us(now_us), m.config.terminal_us),
        )
        return frozenset(name for name, age, limit in ages if age is not None and age > limit)

    def _hold_beam(self, now_us: int) -> None:
        m = self._m
        if m.state is not S.BEAM_READY:
            return
        found = self._not_holding(Act.BEAM, now_us)
        couch = m.couch.last
        settled = now_us - m.state_since_us > GATE_TELEMETRY_US
        if couch is not None and settled and not couch.beam_gate_energised:
            found.append("the couch reports the beam gate as not energised")
        if found:
            target = [text for text in found if text.startswith("Target Position")]
            m.beam_held = "; ".join(target)
            self._fire(T.BEAM_LOST, Ask(now_us), "beam held: " + "; ".join(found))

    def _grant_permission(self, now_us: int) -> None:
        """Leases only while something permitted is going on, everything holds, and it is fresh at this instant."""
        m, until = self._m, now_us + self._m.config.permission_us
        moving = m.state in IN_MOTION or self._arming()
        gate = m.state is S.BEAM_READY or m.pending_of("beam gate") is not None
        imaging = m.pending_of("imaging", "monitoring", "parking") is not None
        m.permission = False
        if not (moving or gate or imaging):
            return
        situation = m.situation(now_us)
        move = (
            moving
            and not broken(situation, Act.MOTION)
            # Late is a pause, not an end: the couch holds until the enable is held again.
            and not broken(situation, Act.DRIVE)
        )
        beam = gate and not broken(situation, Act.BEAM)
        m.permission = move or beam
        if m.permission:
            self._emit(fx.RefreshPermission("couch", until))
        # Imager arms and gantry move under the imager's lease; the couch must not have moved beneath them.
        if imaging and not any(
            text.split(":")[0] in NEEDED_BY_ARMS for text in broken(situation, Act.IMAGING)
        ):
            self._emit(fx.RefreshPermission("imager", until))
