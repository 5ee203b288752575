"""What people may ask of the supervisor. Each command is checked against the role matrix first."""

from typing import Annotated, Literal

from pydantic import Field

from igrt_hw.geometry import Correction
from igrt_hw.models.base import Frozen
from igrt_hw.models.qa import QaLevel

RejectReason = Literal[
    "wrong match", "implausible shift", "patient moved", "poor images", "clinical decision", "other"
]

OverrideReason = Literal[
    "planned position out of date",
    "immobilisation changed",
    "patient cannot lie as planned",
    "couch readout offset",
    "other",
]


HandMatchReason = Literal[
    "automatic match wrong", "automatic match refused", "match to another structure", "other"
]


class OpenPatient(Frozen):
    """Bind patient and plan. The two identifiers are typed by a person and compared with the plan's."""

    kind: Literal["open_patient"] = "open_patient"
    plan_uid: str
    patient_id: str
    birth_date: str
    isocentre_id: str
    fraction: int = Field(ge=1)


class ConfirmSetup(Frozen):
    """The patient lies on the couch and the couch stands at its planned position."""

    kind: Literal["confirm_setup"] = "confirm_setup"


class OverrideSetup(Frozen):
    """The couch stands outside the tolerance table and two people take that upon them, for a coded reason and in words.

    The first sends it to ask, the second (a physicist or physician, another user, another session) to agree.
    """

    kind: Literal["override_setup"] = "override_setup"
    reason: OverrideReason
    text: str = Field(min_length=1, max_length=500)


class AcquireImages(Frozen):
    """Take the pair of the plan's setup fields. After arrival the same command takes the verification pair."""

    kind: Literal["acquire_images"] = "acquire_images"
    modality: Literal["pair", "cone beam"] = "pair"
    """A pair of the plan's setup fields, or a cone-beam scan round the patient (minutes; docs/registration.md)."""


class HandMatch(Frozen):
    """A match by hand: the correction (fixed frame, about the isocentre) that would bring the patient onto the plan.

    Refused beyond 30 mm or 8 degrees, which no match by the computer may exceed either.
    """

    correction: Correction
    reason: HandMatchReason
    text: str = Field(min_length=1, max_length=500)


class DrawnRegion(Frozen):
    """The part of an image that a registration is to use: a closed polygon of columns and rows of its pixels."""

    image_uid: str = Field(max_length=128)
    corners_px: tuple[tuple[float, float], ...] = Field(min_length=3, max_length=64)


class RegisterImages(Frozen):
    """Register the pair against the CT; or take a match by hand, doubtful by rule: a second person approves."""

    kind: Literal["register"] = "register"
    translation_only: bool = False
    by_hand: HandMatch | None = None
    regions: tuple[DrawnRegion, ...] = Field(default=(), max_length=4)
    method: Literal["site", "anatomy", "markers"] = "site"
    """`site`: by markers where the protocol of the site wants them and the plan has them, else by the anatomy."""


class Propose(Frozen):
    """Make a proposal of the registration and check it."""

    kind: Literal["propose"] = "propose"


class RequestChallenge(Frozen):
    """First act of an approval: open it, and receive what has to be read and typed."""

    kind: Literal["request_challenge"] = "request_challenge"
    digest: str


class Approve(Frozen):
    """Second act: the code and the signed number, typed."""

    kind: Literal["approve"] = "approve"
    digest: str
    challenge_id: str
    code: str
    fact: str


class Reject(Frozen):
    """Reject the proposal, with a coded reason and text."""

    kind: Literal["reject"] = "reject"
    digest: str
    reason: RejectReason
    text: str = Field(max_length=500)


class Arm(Frozen):
    """Upload the approved plan, compare digests and execute; the couch then waits for the enable."""

    kind: Literal["arm"] = "arm"
    digest: str


class Stop(Frozen):
    """Stop whatever moves, void plan and permission. Always allowed to everybody who is logged in."""

    kind: Literal["stop"] = "stop"
    reason: str = Field(default="operator", max_length=200)


class ReleaseBeam(Frozen):
    """Energise the beam gate ("release the hold") after verification."""

    kind: Literal["release_beam"] = "release_beam"


class MonitorTarget(Frozen):
    """Have the target watched in low-dose views while the beam is on, or end it and park the arms."""

    kind: Literal["monitor_target"] = "monitor_target"
    on: bool


class AcknowledgeAlarm(Frozen):
    """Silence an alarm. It never clears it."""

    kind: Literal["acknowledge_alarm"] = "acknowledge_alarm"
    alarm_id: str


class ResetFault(Frozen):
    """Clear latched faults whose cause is gone."""

    kind: Literal["reset_fault"] = "reset_fault"


class NextIsocentre(Frozen):
    """Go on with another isocentre of the same plan: its own setup, images, proposal and approval."""

    kind: Literal["next_isocentre"] = "next_isocentre"
    isocentre_id: str


class EnterMode(Frozen):
    """Change what the room is for, with nobody on the couch. In service mode no patient can be opened, in daily QA
    only a phantom."""

    kind: Literal["enter_mode"] = "enter_mode"
    mode: Literal["clinical rehearsal", "service", "daily QA"]


class HomeCouch(Frozen):
    """Let the couch pass its reference marks; service mode, with the enable held."""

    kind: Literal["home_couch"] = "home_couch"


class BeginQa(Frozen):
    """Begin the daily QA of this room, at the tolerances of a level; daily QA mode.

    A run that was begun and not finished has failed.
    """

    kind: Literal["begin_qa"] = "begin_qa"
    level: QaLevel


class WatchInterlock(Frozen):
    """Watch one interlock of the run: broken in the room it has to be seen, forbid what it guards, and hold again."""

    kind: Literal["watch_interlock"] = "watch_interlock"
    test: str = Field(max_length=80)


class NoteQa(Frozen):
    """Enter what was measured by hand: `value` in the unit of a test that has a tolerance, `passed` for one that is
    functional; one of the two."""

    kind: Literal["note_qa"] = "note_qa"
    test: str = Field(max_length=80)
    value: float | None = None
    passed: bool | None = None
    text: str = Field(default="", max_length=500)


class FinishQa(Frozen):
    """End the daily QA: it passes if every required test has."""

    kind: Literal["finish_qa"] = "finish_qa"


class ClosePatient(Frozen):
    """End with this patient: queues, tokens, proposals and caches are cleared; refused while a fault is latched."""

    kind: Literal["close_patient"] = "close_patient"


Command = Annotated[
    OpenPatient
    | ConfirmSetup
    | OverrideSetup
    | AcquireImages
    | RegisterImages
    | Propose
    | RequestChallenge
    | Approve
    | Reject
    | Arm
    | Stop
    | ReleaseBeam
    | MonitorTarget
    | AcknowledgeAlarm
    | ResetFault
    | NextIsocentre
    | EnterMode
    | HomeCouch
    | BeginQa
    | WatchInterlock
    | NoteQa
    | FinishQa
    | ClosePatient,
    Field(discriminator="kind"),
]


class CommandResult(Frozen):
    """Whether the supervisor took the command; if not, a sentence that says why and what to do.

    `data` carries a challenge where one was asked for.
    """

    accepted: bool
    message: str
    data: dict[str, object] = Field(default_factory=dict)
