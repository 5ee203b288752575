"""The guards of the table: each returns None where it holds, and otherwise the sentence that says why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from igrt_hw.models.commands import (
    Approve,
    Arm,
    ConfirmSetup,
    EnterMode,
    MonitorTarget,
    NextIsocentre,
    OpenPatient,
    OverrideSetup,
    Reject,
    RequestChallenge,
)
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.proposal import CheckOutcome
from igrt_hw.safety import checks
from igrt_hw.safety.couch_model import displacement
from igrt_hw.safety.events import DeviceName, Event, PlanUploaded, UserCommand
from igrt_hw.safety.interlocks import Act, broken
from igrt_hw.safety.memory import Memory
from igrt_hw.safety.qa_standing import standing
from igrt_hw.safety.transitions import Guard


@dataclass(frozen=True, slots=True)
class Ask:
    """The occasion on which a guard is asked."""

    now_us: int
    event: Event | None = None

    @property
    def user(self) -> UserCommand | None:
        """The person's command, if it is one."""
        return self.event if isinstance(self.event, UserCommand) else None


MARKERS_MIN = 2  # one spot may be anything
GuardFunction = Callable[[Memory, Ask], str | None]


def _always(m: Memory, ask: Ask) -> str | None:
    return None


def _busy(m: Memory) -> str | None:
    # A view of the target runs beside what people do; whatever needs the imager ends it first.
    waiting = [p for p in m.pending.values() if p.kind != "monitoring"]
    if not waiting:
        return None
    running = waiting[0]
    return f"{running.kind} is running; wait for it or STOP"


def _in_the_way(m: Memory, ask: Ask, act: Act) -> str | None:
    found = broken(m.situation(ask.now_us), act)
    return f"{act.value} is not allowed: {'; '.join(found)}" if found else None


def _identity_matches(m: Memory, ask: Ask) -> str | None:
    user = ask.user
    if user is None or not isinstance(user.command, OpenPatient):
        return "no patient was named"
    if m.mode == "service":
        return f"the room is in the mode {m.mode}: no patient is treated in it"
    wanted, plan = user.command, user.plan
    if plan is None or plan.plan_uid != wanted.plan_uid:
        return "the plan is not one that this service has read; choose one of the list"
    if wanted.patient_id.strip() != plan.patient.patient_id.strip():
        return (
            "the patient ID is not that of the plan; ask the patient and read the wristband again"
        )
    if _date(wanted.birth_date) != _date(plan.patient.birth_date):
        return "the birth date is not that of the plan; ask the patient again (YYYY-MM-DD)"
    if wanted.isocentre_id not in {i.isocentre_id for i in plan.isocentres}:
        known = ", ".join(i.isocentre_id for i in plan.isocentres)
        return f"the plan has no isocentre {wanted.isocentre_id}; it has {known}"
    if not 1 <= wanted.fraction <= plan.fractions:
        return f"fraction {wanted.fraction} is not one of the {plan.fractions} of the plan"
    if plan.patient_position not in m.config.patient_positions:
        tested = ", ".join(m.config.patient_positions)
        return f"patient position {plan.patient_position} has not been tested in this room (tested: {tested})"
    return _not_in_this_mode(m, ask, plan)


def _not_in_this_mode(m: Memory, ask: Ask, plan: TreatmentPlan) -> str | None:
    """In daily QA a phantom and nobody else; in the clinical rehearsal nobody without the daily QA of the site."""
    if m.mode == "daily QA":
        if plan.patient.patient_id in m.config.qa_patient_ids:
            return None
        known = ", ".join(m.config.qa_patient_ids) or "none is named"
        return f"in the mode daily QA only a phantom is opened (phantoms: {known})"
    rule = m.config.rule_for(plan.site)
    if rule.daily_qa != "required":
        return None
    found = standing(m.qa_runs, m.day(ask.now_us), m.config.machine, rule)
    if found.passed_today:
        return None
    return f"site {rule.site} asks for daily QA: {found.sentence}. Do it in the mode daily QA first"


def _date(text: str) -> str:
    return text.strip().replace("-", "")


def _couch_at_planned_position(m: Memory, ask: Ask) -> str | None:
    if m.plan is None or m.isocentre is None or m.couch.last is None:
        return "no couch or no patient"
    if ask.user is None or not isinstance(ask.user.command, ConfirmSetup):
        return "a person has to confirm the setup"
    in_the_way = _in_the_way(m, ask, Act.SETUP)
    if in_the_way:
        return in_the_way
    if m.qa is not None and m.qa.aligned is not None:
        return _known_shift(m, m.qa.aligned, m.couch.last.primary)
    stands = m.model.table_position(m.couch.last.primary)
    beyond = checks.beyond_tolerance(m.plan, m.isocentre, stands)
    if beyond:
        return (
            "the couch is not at its planned position: "
            + "; ".join(beyond)
            + ". Move it there first"
        )
    return None


def _known_shift(m: Memory, aligned: tuple[float, ...], stands: tuple[float, ...]) -> str | None:
    """The shift test displaces an aligned phantom on purpose, inside the window of one correction."""
    moved = m.model.difference(aligned, stands)
    if moved.within(m.rule.window_mm, m.rule.window_deg):
        return None
    return (
        f"the phantom is {moved.mm:.1f} mm, {moved.deg:.1f} deg from where it was aligned, beyond the window of one "
        f"correction ({m.rule.window_mm:g} mm, {m.rule.window_deg:g} deg)"
    )


def _override_possible(m: Memory, ask: Ask) -> str | None:
    if m.plan is None or m.isocentre is None or m.couch.last is None:
        return "no couch or no patient"
    if ask.user is None or not isinstance(ask.user.command, OverrideSetup):
        return "a person has to ask for the override"
    if not setup_beyond(m):
        return "the couch is within its tolerance table: confirm the setup, nothing has to be overridden"
    return _in_the_way(m, ask, Act.SETUP)


def setup_beyond(m: Memory) -> list[str]:
    """Which table-top numbers are outside the tolerance table now."""
    if m.plan is None or m.isocentre is None or m.couch.last is None:
        return []
    return checks.beyond_tolerance(
        m.plan, m.isocentre, m.model.table_position(m.couch.last.primary)
    )


def _override_asked(m: Memory, ask: Ask) -> str | None:
    asked, user = m.override, ask.user
    if asked is None or user is None or _override_outdated(m, ask):
        return _override_possible(m, ask)
    if user.username == asked.username and user.command != asked.command:
        return _override_possible(m, ask)  # the same person puts it otherwise
    return f"an override asked for by {asked.username} waits for a second person"


def _override_outdated(m: Memory, ask: Ask) -> str | None:
    asked = m.override
    if asked is None or m.couch.last is None:
        return "nobody has asked for an override yet"
    moved = displacement(m.model, asked.axes, m.couch.last.primary)
    if not moved.within(m.config.moved_mm, m.config.moved_deg):
        return "the couch has moved since the override was asked for: ask again"
    if ask.now_us - asked.asked_us > m.config.override_life_us:
        return "the override was asked for too long ago: ask again"
    return None


def _override_seconded(m: Memory, ask: Ask) -> str | None:
    problem = _override_possible(m, ask)
    asked, user = m.override, ask.user
    if problem or asked is None or user is None:
        return problem or "nobody has asked for an override yet"
    if user.username == asked.username or user.session_id == asked.session_id:
        return "the second person is another user in another session"
    allowed = [role.value for role in m.config.override_second_roles]
    if user.role not in allowed:
        return f"the second person of an override is a {' or '.join(allowed)}"
    if user.command != asked.command:
        return "the second person agrees to the same reason and text as the first gave"
    return _override_outdated(m, ask)


def _imaging_allowed(m: Memory, ask: Ask) -> str | None:
    if m.isocentre is None:
        return "no isocentre is bound"
    if len(m.isocentre.setup_fields) < 2:
        return f"isocentre {m.isocentre.isocentre_id} has fewer than two setup fields; a pair is needed"
    return _busy(m) or _in_the_way(m, ask, Act.IMAGING)


def _stamp_holds(m: Memory, ask: Ask) -> str | None:
    return m.images_problem or (None if m.stamp is not None else "there are no images")


def _images_hold(m: Memory, ask: Ask) -> str | None:
    if m.stamp is None:
        return "there are no images: acquire them first"
    if m.images_problem:
        return m.images_problem
    if ask.now_us - m.stamp.acquired_us > m.rule.image_age_us:
        return "the images are too old: acquire them again"
    return _busy(m)


def _verified_by_images(m: Memory, ask: Ask) -> str | None:
    if m.verification is None or not m.verification.passed:
        return m.verification.reason if m.verification is not None else "nothing was verified"
    return _images_hold(m, ask)


def _targets_found(m: Memory, ask: Ask) -> str | None:
    if m.candidate_problem:
        return m.candidate_problem
    return _busy(m) or (None if m.candidate is not None else "there is no registration to propose")


def _no_check_refuses(m: Memory, ask: Ask) -> str | None:
    if m.proposal is None:
        return "there is no proposal"
    refused = [c for c in m.proposal.content.checks if c.outcome is CheckOutcome.REFUSE]
    return "; ".join(f"{c.name}: {c.detail}" for c in refused) or None


def _is_current(m: Memory, ask: Ask) -> str | None:
    user = ask.user
    if user is None or not isinstance(user.command, RequestChallenge | Approve | Reject | Arm):
        return "no digest was named"
    if m.proposal is None or user.command.digest != m.proposal.digest:
        return "this is not the current proposal; read the one that is on the screen now"
    return None


def _may_be_challenged(m: Memory, ask: Ask) -> str | None:
    stale = _is_current(m, ask)
    if stale or ask.user is None:
        return stale
    allowed = [role.value for role in m.rule.approver_roles]
    if ask.user.role not in allowed:
        return f"a {ask.user.role} may not approve here; the site rule names {', '.join(allowed)}"
    if ask.user.username in {a.username for a in m.approvals}:
        return f"{ask.user.username} has approved already; the second approval is another person's"
    if ask.user.session_id in m.approval_sessions:
        return "the second approval comes from another user session; sign in as the second person"
    return None


def _approvals_missing(m: Memory) -> int:
    needed = m.proposal.content.approvals_needed if m.proposal is not None else 2
    right = {a.username for a in m.approvals if m.proposal and a.digest == m.proposal.digest}
    return needed - len(right)


def _last_approval(m: Memory, ask: Ask) -> str | None:
    missing = _approvals_missing(m)
    return None if missing <= 0 else f"{missing} more approval needed, by another person"


def _one_more_needed(m: Memory, ask: Ask) -> str | None:
    return None if _approvals_missing(m) > 0 else "nobody else is needed"


def _too_many_wrong(m: Memory, ask: Ask) -> str | None:
    left = m.config.confirmations_wrong_max - m.wrong
    return (
        None if left <= 0 else f"the confirmation was wrong; {left} left. Request a new challenge"
    )


def _may_arm(m: Memory, ask: Ask) -> str | None:
    if m.proposal is None:
        return "there is no proposal"
    if _approvals_missing(m) > 0:
        return "the approvals are not complete"
    if m.proposal.digest in m.executed:
        return "this approval has moved the couch once; an approval moves at most once"
    if ask.now_us >= m.proposal.content.expires_us:
        return "the proposal has expired; propose again"
    return _is_current(m, ask) or _busy(m) or _images_hold(m, ask) or _in_the_way(m, ask, Act.START)


def _digests_equal(m: Memory, ask: Ask) -> str | None:
    differ = _digests_differ(m, ask)
    if differ is None:
        return "the device's digest is not that of the approved plan"
    receipt, motion = ask.event, m.motion
    if not isinstance(receipt, PlanUploaded) or motion is None or m.proposal is None:
        return "nothing was uploaded"
    if receipt.nonce == 0:
        return "the couch answered with the nonce 0, which names no plan"
    start = m.proposal.content.start_axes
    if len(receipt.stands_at) != len(start):
        return f"the couch answered with {len(receipt.stands_at)} axes"
    off = displacement(m.model, start, receipt.stands_at)
    if not off.within(m.config.moved_mm, m.config.moved_deg):
        return f"the couch stands {off.mm:.2f} mm, {off.deg:.2f} deg from where the images saw it: image again"
    if _approvals_missing(m) > 0 or m.proposal.digest in m.executed:
        return "the approvals are not complete or are spent"
    if ask.now_us >= m.proposal.content.expires_us:
        return "the proposal has expired; propose again"
    return _in_the_way(m, ask, Act.START)


def _digests_differ(m: Memory, ask: Ask) -> str | None:
    receipt, motion = ask.event, m.motion
    if not isinstance(receipt, PlanUploaded) or motion is None:
        return "nothing was uploaded"
    if receipt.device_digest.lower() == motion.digest:
        return "the digests are equal"
    return None


def _pose_is_approved(m: Memory, ask: Ask) -> str | None:
    if m.verification is None:
        return "nothing was compared"
    return (
        None
        if m.verification.pose_error_mm <= m.rule.pose_gate_mm
        and (
            # None is a couch without a second channel: arrived, and verified by images alone
            m.verification.pose_error_deg <= m.rule.pose_gate_deg
            and m.verification.channels_agree is not False
        )
        and _nonce_is_ours(m)
        else m.verification.reason
    )


def _nonce_is_ours(m: Memory) -> bool:
    receipt = m.motion.uploaded if m.motion is not None else None
    return (
        receipt is not None
        and m.couch.last is not None
        and m.couch.last.plan_nonce == receipt.nonce
    )


def _still_settling(m: Memory, ask: Ask) -> str | None:
    since = m.motion.arrived_since_us if m.motion is not None else None
    if since is not None and ask.now_us - since <= m.config.settle_us:
        return None
    return "the settling window is over"


def _plan_expired(m: Memory, ask: Ask) -> str | None:
    couch = m.couch.last
    return (
        None
        if couch is not None and couch.stop_cause == "plan expired"
        else "the plan did not expire"
    )


def _host_causes_gone(m: Memory, ask: Ask) -> str | None:
    names: tuple[DeviceName, ...] = ("couch", "imager", "pendant")
    for name in names:
        age = m.device(name).age_us(ask.now_us)
        if f"{name} link" in m.host_faults and (age is None or age > m.config.fresh_us):
            return f"the {name} is still not heard; reconnect it"
    return _busy(m)


def _setup_was_confirmed(m: Memory, ask: Ask) -> str | None:
    return None if m.plan is not None and m.setup_confirmed else "the setup was not confirmed"


def _patient_is_bound(m: Memory, ask: Ask) -> str | None:
    return None if m.plan is not None else "no patient is bound"


def _beam_allowed(m: Memory, ask: Ask) -> str | None:
    if m.verification is None or not m.verification.passed:
        return "the position is not verified"
    if m.stamp is None or ask.now_us - m.stamp.acquired_us > m.rule.image_age_us:
        return "the verification images are too old; verify again"
    return m.images_problem or _busy(m) or _in_the_way(m, ask, Act.BEAM)


def _target_watchable(m: Memory, ask: Ask) -> str | None:
    user = ask.user
    if user is None or not isinstance(user.command, MonitorTarget) or m.plan is None:
        return "nobody asks for the target to be watched"
    if not user.command.on:
        return None if m.target is not None else "the target is not watched"
    if m.target is not None:
        return "the target is watched already"
    if len(m.plan.markers) < MARKERS_MIN:
        return (
            f"the plan has {len(m.plan.markers)} marker(s) and {MARKERS_MIN} are needed to watch the target: it cannot "
            "be watched in this plan"
        )
    return _busy(m) or _in_the_way(m, ask, Act.IMAGING)


def _isocentre_of_plan(m: Memory, ask: Ask) -> str | None:
    user = ask.user
    if user is None or not isinstance(user.command, NextIsocentre) or m.plan is None:
        return "no isocentre was named"
    known = [i.isocentre_id for i in m.plan.isocentres]
    wanted = user.command.isocentre_id
    if wanted not in known:
        return f"the plan has no isocentre {wanted}; it has {', '.join(known)}"
    if m.isocentre is not None and m.isocentre.isocentre_id == wanted:
        return f"isocentre {wanted} is the one that is bound"
    return _busy(m) or _no_fault_latched(m, ask)


def _manual_allowed(m: Memory, ask: Ask) -> str | None:
    return _busy(m) or _in_the_way(m, ask, Act.MANUAL)


def _mode_may_change(m: Memory, ask: Ask) -> str | None:
    user, couch = ask.user, m.couch.last
    if user is None or not isinstance(user.command, EnterMode):
        return "no mode was named"
    if user.command.mode == m.mode:
        return f"the room is in the mode {m.mode}"
    allowed = [role.value for role in dict(m.config.mode_roles).get(user.command.mode, ())]
    if user.role not in allowed:
        return f"a {user.role} may not enter the mode {user.command.mode}; ask a {' or '.join(allowed)}"
    if couch is not None and couch.moving:
        return "the couch is moving; wait until it is at rest"
    return _busy(m) or _no_fault_latched(m, ask)


def _homing_allowed(m: Memory, ask: Ask) -> str | None:
    if m.mode != "service":
        return "homing belongs to the service mode; enter it first"
    if m.couch.last is None or not m.couch.last.enable_held:
        return "hold the enable of the pendant first, and look at the couch"
    return _busy(m) or _in_the_way(m, ask, Act.HOMING)


def _no_fault_latched(m: Memory, ask: Ask) -> str | None:
    latched = m.device_faults() + tuple(m.host_faults.values())
    return f"a fault is latched ({'; '.join(latched)}); reset it first" if latched else None


GUARDS: dict[Guard, GuardFunction] = {
    Guard.ALWAYS: _always,
    Guard.IDENTITY_MATCHES: _identity_matches,
    Guard.COUCH_AT_PLANNED_POSITION: _couch_at_planned_position,
    Guard.OVERRIDE_SECONDED: _override_seconded,
    Guard.OVERRIDE_ASKED: _override_asked,
    Guard.IMAGING_ALLOWED: _imaging_allowed,
    Guard.STAMP_HOLDS: _stamp_holds,
    Guard.IMAGES_HOLD: _images_hold,
    Guard.VERIFIED_BY_IMAGES: _verified_by_images,
    Guard.TARGETS_FOUND: _targets_found,
    Guard.NO_CHECK_REFUSES: _no_check_refuses,
    Guard.MAY_BE_CHALLENGED: _may_be_challenged,
    Guard.LAST_APPROVAL: _last_approval,
    Guard.ONE_MORE_NEEDED: _one_more_needed,
    Guard.TOO_MANY_WRONG: _too_many_wrong,
    Guard.IS_CURRENT: _is_current,
    Guard.MAY_ARM: _may_arm,
    Guard.DIGESTS_EQUAL: _digests_equal,
    Guard.DIGESTS_DIFFER: _digests_differ,
    Guard.POSE_IS_APPROVED: _pose_is_approved,
    Guard.STILL_SETTLING: _still_settling,
    Guard.PLAN_EXPIRED: _plan_expired,
    Guard.HOST_CAUSES_GONE: _host_causes_gone,
    Guard.SETUP_WAS_CONFIRMED: _setup_was_confirmed,
    Guard.PATIENT_IS_BOUND: _patient_is_bound,
    Guard.BEAM_ALLOWED: _beam_allowed,
    Guard.NO_FAULT_LATCHED: _no_fault_latched,
    Guard.TARGET_WATCHABLE: _target_watchable,
    Guard.ISOCENTRE_OF_PLAN: _isocentre_of_plan,
    Guard.MANUAL_ALLOWED: _manual_allowed,
    Guard.MODE_MAY_CHANGE: _mode_may_change,
    Guard.HOMING_ALLOWED: _homing_allowed,
}
