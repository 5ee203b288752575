"""What becomes of an effect: its answer, its failure, or an answer that nobody waits for any more."""

from __future__ import annotations

import hashlib

from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety import proposals
from igrt_hw.safety.canonical import canonical_bytes
from igrt_hw.safety.couch_model import displacement, rotation_total_deg
from igrt_hw.safety.guards import Ask
from igrt_hw.safety.loop import Loop
from igrt_hw.safety.memory import (
    Pending,
)
from igrt_hw.safety.transitions import (
    Trigger,
)

S = LoopState
T = Trigger


class Answers(Loop):
    """Takes answers to effects; each belongs to one open request or is dropped."""

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
            case ev.TargetSeen() if waiting.kind == "monitoring":
                self._target_seen(event, now_us)
            case ev.ImagerParked() if waiting.kind == "parking":
                pass
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
            case "monitoring":
                self._view_failed(event.sentence, now_us)
            case _:
                pass

    def _target_seen(self, event: ev.TargetSeen, now_us: int) -> None:
        """Taken by the layer that watches the target."""
        raise NotImplementedError

    def _view_failed(self, sentence: str, now_us: int) -> None:
        """Taken by the layer that watches the target."""
        raise NotImplementedError

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
            {
                **stamp.model_dump(mode="json"),
                # Images that cannot be used have exposed the patient all the same (igrt_hw.records.dose).
                "patient_id": m.plan.patient.patient_id if m.plan else "",
                "fraction": m.fraction,
                "exposures": [image.model_dump(mode="json") for image in event.images],
            },
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
            moved = displacement(m.model, m.rest_axes, stamp.couch_axes)
            if not moved.within(m.config.moved_mm, m.config.moved_deg):
                return "the couch did not stand at its arrival while the images were taken"
        return ""

    def _registration_done(self, event: ev.RegistrationDone, now_us: int) -> None:
        m, summary = self._m, event.summary
        data = summary.model_dump(mode="json")
        told: dict[str, object] = {"summary": data}
        if event.anatomy is not None and m.plan is not None:
            told |= {
                "patient_id": m.plan.patient.patient_id,
                "plan_uid": event.plan_uid,
                "fraction": m.fraction,
                "anatomy": event.anatomy.model_dump(mode="json"),
            }
        self._record("registration", "guidance", f"registration {summary.verdict}", told)
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
        alone = m.verification.channels_agree is None
        hold = alone or m.verification.channels_agree is True
        passed = close and hold and event.summary.verdict == "reliable"
        if passed:
            how = "verified by images alone (no second channel)" if alone else "verified"
            reason = f"{how}: residual {mm:.2f} mm, {deg:.2f} deg"
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
