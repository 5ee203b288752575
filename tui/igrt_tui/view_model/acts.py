"""What a person can ask for, as data: key, words, in which states, and whether it takes a second key to do it."""

from dataclasses import dataclass

from igrt_hw.models.commands import (
    AcquireImages,
    Arm,
    ClosePatient,
    Command,
    ConfirmSetup,
    MonitorTarget,
    Propose,
    RegisterImages,
    ReleaseBeam,
    ResetFault,
)
from igrt_hw.models.status import Activity, LoopState, SupervisorStatus
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.target import MARKERS_MIN

S = LoopState
BESIDE = "monitoring"
_AFTER_SHIFT_ENDED = (S.REJECTED, S.EXPIRED, S.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Act:
    """One act. `asks` is the sentence a person affirms with F8; empty where the act can harm nobody.

    `states` only decides what is offered; whether it is done is decided by the supervisor alone.
    """

    key: str
    name: str
    meaning: str
    states: tuple[LoopState, ...]
    asks: str = ""


ACTS: tuple[Act, ...] = (
    Act("o", "open", "Open patient and plan", (S.IDLE,)),
    Act(
        "s",
        "setup",
        "Confirm the setup",
        (S.PATIENT_BOUND,),
        "The patient lies on the couch and is immobilised; the couch stands at its planned position.",
    ),
    Act(
        "i",
        "images",
        "Take the kV pair",
        (
            S.SETUP,
            S.IMAGED,
            S.REGISTERED,
            S.CHECKED,
            S.APPROVED,
            S.ARRIVED,
            S.VERIFIED,
            *_AFTER_SHIFT_ENDED,
        ),
        "X-RAYS: the panel arm moves out and two exposures are made. The room is empty and the door is closed.",
    ),
    Act("F3", "look", "Look at the images and the match", (S.IMAGED, S.REGISTERED)),
    Act("F4", "read", "Read the shift in numbers", (S.REGISTERED,)),
    Act("g", "register", "Register the images", (S.IMAGED, S.REGISTERED, S.ARRIVED)),
    Act(
        "t",
        "register, translation only",
        "Register, translation only",
        (S.IMAGED, S.REGISTERED),
        "Rotations will be left uncorrected; the residual is shown in Review.",
    ),
    Act("m", "propose", "Make and check a proposal", (S.REGISTERED, *_AFTER_SHIFT_ENDED)),
    Act("F5", "approve", "Read and approve the shift", (S.CHECKED,)),
    Act("x", "reject", "Reject the shift", (S.CHECKED, S.APPROVED)),
    Act(
        "a",
        "arm",
        "Arm the approved move",
        (S.APPROVED,),
        "The plan goes to the couch. It then moves as soon as the pendant's enable is held.",
    ),
    Act("F6", "motion", "Watch the motion", (S.ARMED, S.MOVING, S.HELD)),
    Act(
        "b",
        "release beam",
        "Release the beam hold",
        (S.VERIFIED,),
        "The position is verified. The beam gate will be energised.",
    ),
    Act(
        "w",
        "watch",
        "Watch the target",
        (S.VERIFIED, S.BEAM_READY),
        "X-RAYS while the beam may be on: single low-dose views at their interval. "
        "A target beyond its limit holds the beam.",
    ),
    Act(
        "e",
        "end watch",
        "End the watch",
        (S.VERIFIED, S.BEAM_READY),
        "Nobody looks at the target any more, and the panel arm parks. A target that was off voids the verification.",
    ),
    Act(
        "r",
        "reset",
        "Reset latched faults",
        (S.FAULT,),
        "The cause of every latched fault has been found and removed.",
    ),
    Act(
        "c",
        "close",
        "Close the patient",
        tuple(state for state in S if state not in (S.IDLE, S.MOVING, S.ARMED, S.HELD)),
        "The session of this patient ends; images, shift and approvals are cleared.",
    ),
)
LEADING = {
    S.IMAGED: "register",
    S.REGISTERED: "propose",
    S.CHECKED: "approve",
    S.APPROVED: "arm",
    S.VERIFIED: "release beam",
}
ACT_OF_KEY = {act.key: act for act in ACTS}


def occupied(status: SupervisorStatus) -> Activity | None:
    """Return the job that acts have to wait for; a view of the watched target runs beside what people do."""
    job = status.activity
    return job if job is not None and job.name != BESIDE else None


def offered(status: SupervisorStatus) -> tuple[Act, ...]:
    """Return the acts that the state offers now, the next one of the loop first."""
    if occupied(status) is not None:
        return ()
    acts = [act for act in ACTS if status.state in act.states and _has_what_it_needs(act, status)]
    leading = LEADING.get(status.state)
    if status.state is S.ARRIVED and _verification_images(status):
        leading = "register"
    return tuple(sorted(acts, key=lambda act: act.name != leading))


def _verification_images(status: SupervisorStatus) -> bool:
    return any(image.purpose == "verification" for image in status.images)


def _has_what_it_needs(act: Act, status: SupervisorStatus) -> bool:
    if act.name == "register" and status.state is S.ARRIVED:
        return _verification_images(status)
    if act.name == "propose":
        return status.registration is not None
    if act.name == "watch":
        markers = len(status.plan.markers) if status.plan is not None else 0
        return status.target is None and markers >= MARKERS_MIN
    if act.name == "end watch":
        return status.target is not None
    return True


def why_not(act: Act, scene: Scene) -> str:
    """Return why an act cannot be asked for now, or an empty string."""
    if scene.local.user is None:
        return "nobody is signed in"
    if scene.status is None or scene.local.gone:
        return "the values on this screen are old: wait for the supervisor"
    job = occupied(scene.status)
    if job is not None:
        return f"'{job.name}' is running; wait for it or press Esc to HOLD"
    if scene.status.state not in act.states:
        return f"'{act.meaning}' does not fit the state {scene.status.state.value}: {scene.status.needed_next}"
    return ""


def command_of(act: Act, status: SupervisorStatus) -> Command | None:
    """Return the command of an act that needs nothing typed; None for acts that have a screen of their own."""
    simple: dict[str, Command] = {
        "setup": ConfirmSetup(),
        "images": AcquireImages(),
        "register": RegisterImages(),
        "register, translation only": RegisterImages(translation_only=True),
        "propose": Propose(),
        "release beam": ReleaseBeam(),
        "watch": MonitorTarget(on=True),
        "end watch": MonitorTarget(on=False),
        "reset": ResetFault(),
        "close": ClosePatient(),
    }
    if act.name == "arm":
        return Arm(digest=status.proposal.digest) if status.proposal else None
    return simple.get(act.name)
