"""The loop as a table: state, trigger, guard, next state, and the sentence that says it.

Two rules. The machine changes its state by a row of this table and in no other way. Rows of one state and trigger
are tried from the top; the first whose guard holds is taken; if none holds, the first guard that said why answers.
`docs/safety/state_machine.md` is generated from this table (`python -m igrt_hw.safety.state_diagram`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from igrt_hw.models.status import LoopState as S


class Trigger(StrEnum):
    """What can happen to the loop: commands of people, answers, and what telemetry and time say."""

    OPEN_PATIENT = "open patient"
    CONFIRM_SETUP = "confirm setup"
    OVERRIDE_SETUP = "override setup"
    ACQUIRE_IMAGES = "acquire images"
    IMAGES_ACQUIRED = "images acquired"
    REGISTER = "register"
    REGISTRATION_DONE = "registration done"
    PROPOSE = "propose"
    PATH_CHECKED = "path checked"
    PATH_FAILED = "path not checked"
    REQUEST_CHALLENGE = "request challenge"
    APPROVE = "approve"
    CONFIRMATION_WRONG = "confirmation wrong"
    REJECT = "reject"
    ARM = "arm"
    PLAN_UPLOADED = "plan uploaded"
    EXECUTE_ACCEPTED = "execute accepted"
    EXECUTE_FAILED = "execute failed"
    COUCH_MOVING = "couch moving"
    COUCH_HELD = "couch held"
    COUCH_ARRIVED = "couch arrived"
    COUCH_ENDED = "couch gave up the plan"
    COUCH_STRAYED = "couch moved outside an approval"
    COUCH_NEW_SESSION = "new couch session"
    IMAGES_AGED = "images too old"
    PROPOSAL_AGED = "proposal expired"
    PERMISSION_LOST = "permission lost"
    STOP = "stop"
    FAULT = "fault"
    RESET_FAULT = "reset fault"
    FAULTS_CLEARED = "faults cleared"
    RELEASE_BEAM = "release beam"
    MONITOR_TARGET = "monitor target"
    BEAM_GATE_ENERGISED = "beam gate energised"
    BEAM_LOST = "beam interlock lost"
    CLOSE_PATIENT = "close patient"
    NEXT_ISOCENTRE = "next isocentre"
    MANUAL_MOTION = "manual motion"
    ENTER_MODE = "enter mode"
    HOME_COUCH = "home couch"


class Guard(StrEnum):
    """Conditions by name; the predicates are in `guards.py`."""

    ALWAYS = "always"
    IDENTITY_MATCHES = "two identifiers, plan, isocentre and fraction match"
    COUCH_AT_PLANNED_POSITION = "couch at rest within the tolerance table"
    OVERRIDE_SECONDED = "a second person with the right role agrees, the couch is at rest"
    OVERRIDE_ASKED = "one person asks, the couch is at rest outside the tolerance table"
    IMAGING_ALLOWED = "imaging interlocks hold, nothing else is running"
    STAMP_HOLDS = "pose and brakes were frozen with the images"
    IMAGES_HOLD = "images are fresh and the couch has not moved"
    VERIFIED_BY_IMAGES = "residual within the tolerance of the site"
    TARGETS_FOUND = "no check refuses"
    NO_CHECK_REFUSES = "no check refuses, clearance included"
    MAY_BE_CHALLENGED = "this person may approve this digest"
    LAST_APPROVAL = "right code and number, and nobody else is needed"
    ONE_MORE_NEEDED = "right code and number, one more person is needed"
    TOO_MANY_WRONG = "wrong once too often"
    IS_CURRENT = "digest is that of the current proposal"
    MAY_ARM = "approvals complete, motion interlocks hold"
    DIGESTS_EQUAL = "the device's digest is ours"
    DIGESTS_DIFFER = "the device's digest is not ours"
    POSE_IS_APPROVED = "pose and both channels agree with the target"
    STILL_SETTLING = "within the settling window"
    PLAN_EXPIRED = "the device's plan has expired"
    HOST_CAUSES_GONE = "what this side found is gone"
    SETUP_WAS_CONFIRMED = "the setup had been confirmed"
    PATIENT_IS_BOUND = "a patient is bound"
    BEAM_ALLOWED = "beam interlocks hold, verification is fresh"
    NO_FAULT_LATCHED = "no fault is latched"
    TARGET_WATCHABLE = "the plan has markers, imaging interlocks hold"
    ISOCENTRE_OF_PLAN = "another isocentre of the bound plan, nothing is running"
    MANUAL_ALLOWED = "interlocks of manual motion hold, nothing else is running"
    MODE_MAY_CHANGE = "another mode, the couch is at rest, no fault is latched"
    HOMING_ALLOWED = "service mode, the enable is held, interlocks of homing hold"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row. `target` None: the state stays."""

    source: tuple[S, ...]
    trigger: Trigger
    guard: Guard
    target: S | None
    sentence: str


WITHOUT_PROPOSAL = (S.IMAGED, S.REGISTERED)
ENDED = (S.REJECTED, S.EXPIRED, S.SUPERSEDED)
PENDING = (S.PROPOSED, S.CHECKED, S.APPROVED)
IN_MOTION = (S.ARMED, S.MOVING, S.HELD)
DONE = (S.ARRIVED, S.VERIFIED, S.BEAM_READY)
MANUAL = (S.IDLE, S.PATIENT_BOUND, S.SETUP, *WITHOUT_PROPOSAL, *ENDED)
"""Where the pendant's keys may move the couch: nothing is proposed, approved, moving or verified."""
BOUND = tuple(s for s in S if s is not S.IDLE)


def _row(
    source: S | tuple[S, ...], trigger: Trigger, guard: Guard, target: S | None, sentence: str
) -> Transition:
    return Transition(
        source if isinstance(source, tuple) else (source,), trigger, guard, target, sentence
    )


T, G = Trigger, Guard

TABLE: tuple[Transition, ...] = (
    # Patient and setup.
    _row(
        S.IDLE,
        T.OPEN_PATIENT,
        G.IDENTITY_MATCHES,
        S.PATIENT_BOUND,
        "Patient, plan and isocentre are bound.",
    ),
    _row(
        S.PATIENT_BOUND,
        T.CONFIRM_SETUP,
        G.COUCH_AT_PLANNED_POSITION,
        S.SETUP,
        "The couch stands at its planned position.",
    ),
    _row(
        S.PATIENT_BOUND,
        T.OVERRIDE_SETUP,
        G.OVERRIDE_SECONDED,
        S.SETUP,
        "Two people have taken upon them where the couch stands.",
    ),
    _row(
        S.PATIENT_BOUND,
        T.OVERRIDE_SETUP,
        G.OVERRIDE_ASKED,
        None,
        "One person asks for an override; a physicist or physician has to agree.",
    ),
    # Images.
    _row(
        (S.CHECKED, S.APPROVED),
        T.ACQUIRE_IMAGES,
        G.IMAGING_ALLOWED,
        S.SUPERSEDED,
        "New images void the proposal.",
    ),
    _row(
        (S.VERIFIED,),
        T.ACQUIRE_IMAGES,
        G.IMAGING_ALLOWED,
        S.ARRIVED,
        "New verification images replace the old.",
    ),
    _row(
        (S.SETUP, *WITHOUT_PROPOSAL, *ENDED, S.ARRIVED),
        T.ACQUIRE_IMAGES,
        G.IMAGING_ALLOWED,
        None,
        "The pair is being taken.",
    ),
    _row(
        (S.SETUP, *WITHOUT_PROPOSAL, *ENDED),
        T.IMAGES_ACQUIRED,
        G.STAMP_HOLDS,
        S.IMAGED,
        "Images and couch pose are frozen together.",
    ),
    _row(S.ARRIVED, T.IMAGES_ACQUIRED, G.STAMP_HOLDS, None, "The verification pair is there."),
    # Registration.
    _row(
        (S.CHECKED, S.APPROVED),
        T.REGISTER,
        G.IMAGES_HOLD,
        S.SUPERSEDED,
        "A new registration voids the proposal.",
    ),
    _row(
        (*WITHOUT_PROPOSAL, *ENDED, S.ARRIVED),
        T.REGISTER,
        G.IMAGES_HOLD,
        None,
        "Registration is running.",
    ),
    _row(
        (*WITHOUT_PROPOSAL, *ENDED),
        T.REGISTRATION_DONE,
        G.IMAGES_HOLD,
        S.REGISTERED,
        "The correction is known.",
    ),
    _row(
        S.ARRIVED,
        T.REGISTRATION_DONE,
        G.VERIFIED_BY_IMAGES,
        S.VERIFIED,
        "Pose, both channels and the images agree with the approved target.",
    ),
    _row(
        S.ARRIVED,
        T.REGISTRATION_DONE,
        G.IMAGES_HOLD,
        S.REGISTERED,
        "The residual is too large: propose again from the verification images.",
    ),
    # Proposal.
    _row(
        (S.REGISTERED, S.CHECKED, S.APPROVED, *ENDED),
        T.PROPOSE,
        G.TARGETS_FOUND,
        S.PROPOSED,
        "Axis targets are found; the path is being checked.",
    ),
    _row(
        S.PROPOSED,
        T.PATH_CHECKED,
        G.NO_CHECK_REFUSES,
        S.CHECKED,
        "The proposal is frozen and waits for approval.",
    ),
    _row(S.PROPOSED, T.PATH_CHECKED, G.ALWAYS, S.REJECTED, "A check refuses the proposal."),
    _row(
        S.PROPOSED,
        T.PATH_FAILED,
        G.ALWAYS,
        S.REJECTED,
        "The path could not be checked, so nothing may move on it.",
    ),
    # Approval.
    _row(
        S.CHECKED,
        T.REQUEST_CHALLENGE,
        G.MAY_BE_CHALLENGED,
        None,
        "A code and a number have to be read and typed.",
    ),
    _row(
        S.CHECKED,
        T.APPROVE,
        G.LAST_APPROVAL,
        S.APPROVED,
        "Everybody whom the rule names has approved this digest.",
    ),
    _row(S.CHECKED, T.APPROVE, G.ONE_MORE_NEEDED, None, "One person has approved; another has to."),
    _row(
        S.CHECKED,
        T.CONFIRMATION_WRONG,
        G.TOO_MANY_WRONG,
        S.REJECTED,
        "The confirmation was wrong too often.",
    ),
    _row(
        (S.CHECKED, S.APPROVED),
        T.REJECT,
        G.IS_CURRENT,
        S.REJECTED,
        "A person has rejected the proposal.",
    ),
    # Motion.
    _row(S.APPROVED, T.ARM, G.MAY_ARM, None, "The plan is on its way to the couch."),
    _row(
        S.APPROVED,
        T.PLAN_UPLOADED,
        G.DIGESTS_EQUAL,
        None,
        "The couch decoded what was approved; it is told to execute once.",
    ),
    _row(
        S.APPROVED,
        T.PLAN_UPLOADED,
        G.DIGESTS_DIFFER,
        S.FAULT,
        "The couch decoded something else than what was approved.",
    ),
    _row(S.APPROVED, T.EXECUTE_ACCEPTED, G.ALWAYS, S.ARMED, "The couch waits for the enable."),
    _row(
        S.APPROVED,
        T.EXECUTE_FAILED,
        G.ALWAYS,
        S.SUPERSEDED,
        "The approval is spent and the couch did not arm.",
    ),
    _row(
        (S.ARMED, S.HELD),
        T.COUCH_MOVING,
        G.ALWAYS,
        S.MOVING,
        "The enable is held and the couch moves.",
    ),
    _row(
        (S.ARMED, S.MOVING),
        T.COUCH_HELD,
        G.ALWAYS,
        S.HELD,
        "The couch holds in mid path; holding the enable resumes.",
    ),
    _row(
        IN_MOTION,
        T.COUCH_ARRIVED,
        G.POSE_IS_APPROVED,
        S.ARRIVED,
        "The couch stands at the approved target, by both channels.",
    ),
    _row(
        IN_MOTION,
        T.COUCH_ARRIVED,
        G.STILL_SETTLING,
        None,
        "The couch says it arrived; it is given time to settle.",
    ),
    _row(
        IN_MOTION,
        T.COUCH_ARRIVED,
        G.ALWAYS,
        S.FAULT,
        "The couch says it arrived but does not stand at the approved target.",
    ),
    _row(
        IN_MOTION,
        T.COUCH_ENDED,
        G.PLAN_EXPIRED,
        S.EXPIRED,
        "The plan expired before the couch arrived.",
    ),
    _row(IN_MOTION, T.COUCH_ENDED, G.ALWAYS, S.SUPERSEDED, "The couch gave up the plan."),
    _row(
        IN_MOTION,
        T.PERMISSION_LOST,
        G.ALWAYS,
        S.SUPERSEDED,
        "What permits motion is gone: stopped, plan void.",
    ),
    # What voids.
    _row(
        WITHOUT_PROPOSAL,
        T.COUCH_STRAYED,
        G.ALWAYS,
        S.SETUP,
        "The couch moved since the images: image again.",
    ),
    _row(
        (*PENDING, S.ARMED, *DONE),
        T.COUCH_STRAYED,
        G.ALWAYS,
        S.SUPERSEDED,
        "The couch moved outside an approval: image again.",
    ),
    _row(
        (S.MOVING, S.HELD), T.COUCH_STRAYED, G.ALWAYS, S.FAULT, "The couch left the approved line."
    ),
    _row(
        WITHOUT_PROPOSAL,
        T.COUCH_NEW_SESSION,
        G.ALWAYS,
        S.SETUP,
        "The couch began another session: image again.",
    ),
    _row(
        (*PENDING, *DONE),
        T.COUCH_NEW_SESSION,
        G.ALWAYS,
        S.SUPERSEDED,
        "The couch began another session: image again.",
    ),
    _row(
        IN_MOTION,
        T.COUCH_NEW_SESSION,
        G.ALWAYS,
        S.FAULT,
        "The couch began another session in mid motion.",
    ),
    _row(
        WITHOUT_PROPOSAL, T.IMAGES_AGED, G.ALWAYS, S.SETUP, "The images are too old: image again."
    ),
    _row(PENDING, T.IMAGES_AGED, G.ALWAYS, S.EXPIRED, "The images are too old: image again."),
    _row(
        (S.VERIFIED, S.BEAM_READY),
        T.IMAGES_AGED,
        G.ALWAYS,
        S.ARRIVED,
        "The verification images are too old: verify again.",
    ),
    _row(
        (S.CHECKED, S.APPROVED, *IN_MOTION),
        T.PROPOSAL_AGED,
        G.ALWAYS,
        S.EXPIRED,
        "The proposal expired.",
    ),
    _row(
        (*PENDING, *IN_MOTION),
        T.STOP,
        G.ALWAYS,
        S.SUPERSEDED,
        "STOP: whatever was pending or moving is void.",
    ),
    _row(S.BEAM_READY, T.STOP, G.ALWAYS, S.VERIFIED, "STOP: the beam gate is down."),
    _row(
        (
            S.IDLE,
            S.PATIENT_BOUND,
            S.SETUP,
            *WITHOUT_PROPOSAL,
            *ENDED,
            S.ARRIVED,
            S.VERIFIED,
            S.FAULT,
        ),
        T.STOP,
        G.ALWAYS,
        None,
        "STOP: nothing was pending.",
    ),
    # By hand, between treatments, and from one isocentre to the next.
    _row(
        (S.SETUP, *WITHOUT_PROPOSAL, *ENDED),
        T.MANUAL_MOTION,
        G.MANUAL_ALLOWED,
        S.PATIENT_BOUND,
        "The couch is moved by the pendant: confirm the setup again.",
    ),
    _row(
        (S.IDLE, S.PATIENT_BOUND),
        T.MANUAL_MOTION,
        G.MANUAL_ALLOWED,
        None,
        "The couch is moved by the pendant.",
    ),
    _row(
        (S.PATIENT_BOUND, S.SETUP, *WITHOUT_PROPOSAL, *ENDED, *DONE),
        T.NEXT_ISOCENTRE,
        G.ISOCENTRE_OF_PLAN,
        S.PATIENT_BOUND,
        "The same patient, another isocentre: images, proposals and approvals begin anew.",
    ),
    _row(S.IDLE, T.ENTER_MODE, G.MODE_MAY_CHANGE, None, "The room is in another mode."),
    _row(
        S.IDLE,
        T.HOME_COUCH,
        G.HOMING_ALLOWED,
        None,
        "The couch passes its reference marks while the enable is held.",
    ),
    # Faults.
    _row(
        tuple(s for s in S if s is not S.FAULT), T.FAULT, G.ALWAYS, S.FAULT, "A fault is latched."
    ),
    _row(
        S.FAULT,
        T.RESET_FAULT,
        G.HOST_CAUSES_GONE,
        None,
        "The devices are asked to reset what is latched.",
    ),
    _row(
        S.FAULT, T.FAULTS_CLEARED, G.SETUP_WAS_CONFIRMED, S.SETUP, "Causes are gone: image again."
    ),
    _row(
        S.FAULT,
        T.FAULTS_CLEARED,
        G.PATIENT_IS_BOUND,
        S.PATIENT_BOUND,
        "Causes are gone: confirm the setup.",
    ),
    _row(S.FAULT, T.FAULTS_CLEARED, G.ALWAYS, S.IDLE, "Causes are gone."),
    # Beam and end.
    _row(S.VERIFIED, T.RELEASE_BEAM, G.BEAM_ALLOWED, None, "The beam gate is asked to energise."),
    _row(S.VERIFIED, T.BEAM_GATE_ENERGISED, G.BEAM_ALLOWED, S.BEAM_READY, "The hold is released."),
    _row(
        (S.VERIFIED, S.BEAM_READY),
        T.MONITOR_TARGET,
        G.TARGET_WATCHABLE,
        None,
        "The target is watched in low-dose views, or not any more.",
    ),
    _row(
        S.BEAM_READY,
        T.BEAM_LOST,
        G.ALWAYS,
        S.VERIFIED,
        "A beam interlock is lost: the gate is down.",
    ),
    _row(
        tuple(s for s in BOUND if s not in (*IN_MOTION, S.FAULT)),
        T.CLOSE_PATIENT,
        G.NO_FAULT_LATCHED,
        S.IDLE,
        "Queues, tokens, proposals and images of this patient are cleared.",
    ),
)


@cache
def rows(state: S, trigger: Trigger) -> tuple[Transition, ...]:
    """The rows to be tried in this state for this trigger, from the top."""
    return tuple(row for row in TABLE if row.trigger is trigger and state in row.source)


NEEDED_NEXT: dict[S, str] = {
    S.IDLE: "Open a patient: type patient ID and birth date.",
    S.PATIENT_BOUND: "Bring the couch to its planned position and confirm the setup.",
    S.SETUP: "Acquire the setup images.",
    S.IMAGED: "Register the images.",
    S.REGISTERED: "Look at the match; propose the shift.",
    S.PROPOSED: "Wait: the path is being checked.",
    S.CHECKED: "Read the proposal; approve or reject it.",
    S.APPROVED: "Arm the couch.",
    S.ARMED: "Hold the enable of the hand pendant; look at the patient.",
    S.MOVING: "Keep holding the enable; release it to stop.",
    S.HELD: "Hold the enable to go on, or STOP.",
    S.ARRIVED: "Acquire and register the verification images.",
    S.VERIFIED: "Release the beam, or close the patient.",
    S.BEAM_READY: "Treat; then close the patient.",
    S.REJECTED: "Register again, or image again, or set the patient up again.",
    S.EXPIRED: "Image again; or propose again while the images are fresh.",
    S.SUPERSEDED: "Image again; or propose again while the images hold.",
    S.FAULT: "Remove the cause, then reset the fault.",
}
"""What the operator does next, state by state."""
