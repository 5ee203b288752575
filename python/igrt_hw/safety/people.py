"""What people ask for, command by command: each is answered, refused with what is needed next, or begun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from igrt_hw.models import commands
from igrt_hw.models.proposal import Approval
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety import proposals
from igrt_hw.safety.approvals import (
    CODE_ALPHABET,
    CODE_LENGTH,
    fact_agrees,
    open_challenge,
)
from igrt_hw.safety.checks import ProposalInputs, what_can_be_done
from igrt_hw.safety.couch_model import UnreachableError
from igrt_hw.safety.daily_qa import DailyQa
from igrt_hw.safety.guards import GUARDS, Ask, setup_beyond
from igrt_hw.safety.memory import (
    AskedOverride,
    Motion,
)
from igrt_hw.safety.qa_standing import standing
from igrt_hw.safety.transitions import (
    IN_MOTION,
    PENDING,
    Guard,
    Trigger,
    rows,
)

S = LoopState
T = Trigger


class People(DailyQa):
    """One handler for each command; who may give it was asked before, when it may be given is asked here."""

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
            "monitor_target": self._monitor_target,
            "acknowledge_alarm": self._acknowledge_alarm,
            "reset_fault": self._reset_fault,
            "next_isocentre": self._next_isocentre,
            "enter_mode": self._enter_mode,
            "home_couch": self._home_couch,
            "begin_qa": self._begin_qa,
            "watch_interlock": self._watch_interlock,
            "note_qa": self._note_qa,
            "finish_qa": self._finish_qa,
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
        if m.pending_of("execute") is not None:
            self._lose_base()
        self._drop_pending(reason)
        m.motion = None
        moving = m.state in (*IN_MOTION, *PENDING, S.BEAM_READY)
        self._fire(
            T.STOP, Ask(now_us, user), reason if moving or running else "", actor=user.username
        )
        self._emit(fx.Answer(True, "Stopped. Whatever was pending or moving is void."))

    def _open_patient(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m = self._m
        self._hear_runs(user.qa_runs)
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
            return self._say_daily_qa(answer, now_us)
        return answer

    def _say_daily_qa(self, answer: fx.Answer, now_us: int) -> fx.Answer:
        """A room whose daily QA has not passed is opened with a warning, where the site rule does not refuse it."""
        m = self._m
        m.daily_qa = standing(m.qa_runs, m.day(now_us), m.config.machine, m.rule)
        if m.daily_qa.passed_today or m.mode != "clinical rehearsal":
            return answer
        if m.rule.daily_qa == "not asked":
            return answer
        self._record("warning", "supervisor", f"opened although {m.daily_qa.sentence}", {})
        return replace(answer, message=f"{answer.message} WARNING: {m.daily_qa.sentence}.")

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
        if self._choose(T.ACQUIRE_IMAGES, Ask(now_us, user))[0] is not None:
            self._end_watch("other images are wanted", now_us, park=False)
        answer = self._simple(T.ACQUIRE_IMAGES, user, now_us)
        if not answer.accepted or m.isocentre is None:
            return answer
        purpose = "verification" if m.state is S.ARRIVED else "setup"
        command = user.command
        scans = isinstance(command, commands.AcquireImages) and command.modality == "cone beam"
        request = self._await(
            "imaging",
            f"{purpose} {'scan' if scans else 'pair'}",
            m.config.scan_us if scans else m.config.imaging_us,
            user.username,
            now_us,
        )
        self._emit(fx.RefreshPermission("imager", now_us + m.config.permission_us))
        fields = m.isocentre.setup_fields[:2]
        site = m.plan.site if m.plan is not None else ""
        self._emit(
            fx.AcquireImages(
                request,
                fields,
                "verification" if m.state is S.ARRIVED else "setup",
                site,
                "cone beam" if scans else "pair",
            )
        )
        return fx.Answer(True, "Imaging has begun.")

    def _register(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        answer = self._simple(T.REGISTER, user, now_us)
        if not answer.accepted or m.stamp is None or m.plan is None or m.isocentre is None:
            return answer
        asked = command if isinstance(command, commands.RegisterImages) else None
        only = asked is not None and asked.translation_only
        by_hand = asked.by_hand if asked is not None else None
        regions = asked.regions if asked is not None else ()
        detail = "translation only" if only else "six degrees of freedom"
        if by_hand is not None:
            detail = f"matched by hand by {user.username}: {by_hand.reason}: {by_hand.text}"
        elif regions:
            detail += f", within {len(regions)} drawn region(s)"
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
                "site" if asked is None else asked.method,
                by_hand,
                regions,
                user.username,
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
        m.base_after = candidate.given.stages.base_axes
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
                via_axes=given.via_axes,
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
        if m.base_lost:
            m.candidate_problem = m.base_lost
            return
        if m.registration is None or m.stamp is None or m.images_problem:
            m.candidate_problem = m.images_problem or "there is no registration to propose"
            return
        correction = m.registration.summary.correction
        try:
            start = m.stamp.couch_axes
            target = proposals.targets(m.model, start, correction)
            stages = proposals.stages(m.model, start, target, correction, m.base_axes)
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
            daily_qa=m.daily_qa if m.mode == "clinical rehearsal" else None,
            stages=stages,
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
            self._m.beam_held = ""
            life = self._m.config.gate_us
            request = self._await("beam gate", "releasing the hold", life, user.username, now_us)
            self._emit(fx.RefreshPermission("couch", now_us + self._m.config.permission_us))
            self._emit(fx.SetBeamGate(request, energise=True))
        return answer

    def _monitor_target(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        answer = self._simple(T.MONITOR_TARGET, user, now_us)
        if not answer.accepted or not isinstance(command, commands.MonitorTarget):
            return answer
        if command.on:
            self._begin_watch(user.username, now_us)
            return fx.Answer(
                True, f"The target is watched; {m.rule.monitoring.limit_mm:g} mm hold the beam."
            )
        self._end_watch(f"ended by {user.username}", now_us, park=True)
        self._hold_beam(now_us)
        return fx.Answer(
            True, "The target is not watched any more." + f" {m.images_problem}".rstrip()
        )

    def _acknowledge_alarm(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        command = user.command
        name = command.alarm_id if isinstance(command, commands.AcknowledgeAlarm) else ""
        if self._alarms.acknowledge(name, user.username, now_us):
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

    def _next_isocentre(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        m, command = self._m, user.command
        answer = self._simple(T.NEXT_ISOCENTRE, user, now_us)
        if not answer.accepted or m.plan is None or not isinstance(command, commands.NextIsocentre):
            return answer
        self._drop_images("images of another isocentre are void: acquire them again")
        m.isocentre = next(i for i in m.plan.isocentres if i.isocentre_id == command.isocentre_id)
        m.setup_confirmed, m.last_shift, m.verification, m.wrong = False, None, None, 0
        m.history = tuple(s for s in user.history if s.patient_id == m.plan.patient.patient_id)
        return answer

    def _enter_mode(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        answer, command = self._simple(T.ENTER_MODE, user, now_us), user.command
        if answer.accepted and isinstance(command, commands.EnterMode):
            self._abandon_qa(user.username, now_us)
            self._m.mode = command.mode
            return fx.Answer(True, f"The room is in the mode {command.mode}.")
        return answer

    def _home_couch(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        answer = self._simple(T.HOME_COUCH, user, now_us)
        if answer.accepted:
            self._home(user.username, now_us)
        return answer

    def _close_patient(self, user: ev.UserCommand, now_us: int) -> fx.Answer:
        answer = self._simple(T.CLOSE_PATIENT, user, now_us)
        if answer.accepted:
            self._forget_patient()
        return answer

    def _forget_patient(self) -> None:
        """Nothing of one patient reaches the next: queues, tokens, proposals, images, what was executed."""
        m = self._m
        self._end_watch("the patient was closed", self._now_us, park=True)
        self._drop_pending("the patient was closed")
        m.beam_held = ""
        self._drop_images("")
        m.images_problem, m.candidate, m.candidate_problem = "", None, ""
        m.plan, m.isocentre, m.fraction, m.setup_confirmed = None, None, None, False
        m.history, m.last_shift, m.path_gantry_deg = (), None, None
        m.challenge, m.approvals, m.approval_sessions, m.wrong = None, (), (), 0
        m.motion = None
        m.reason = ""
