"""What the supervisor asks of the shell. Effects are carried out in the order given; answers come back as events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from igrt_hw.models.commands import DrawnRegion, HandMatch
from igrt_hw.models.monitoring import MonitoringRule
from igrt_hw.models.plan import PlannedField
from igrt_hw.safety.motion_plan import MotionPlan


@dataclass(frozen=True, slots=True)
class AcquireImages:
    """Take the pair of these setup fields, by the imaging protocol of the site. Answer: `ImagesAcquired` or
    `RequestFailed`."""

    request: int
    fields: tuple[PlannedField, ...]
    purpose: Literal["setup", "verification"]
    site: str = ""
    modality: Literal["pair", "cone beam"] = "pair"


@dataclass(frozen=True, slots=True)
class RegisterImages:
    """Register these images against the CT of the plan. Answer: `RegistrationDone` or `RequestFailed`."""

    request: int
    image_uids: tuple[str, ...]
    plan_uid: str
    isocentre_id: str
    couch_axes: tuple[float, ...]
    translation_only: bool
    method: Literal["site", "anatomy", "markers"] = "site"
    by_hand: HandMatch | None = None
    regions: tuple[DrawnRegion, ...] = ()
    asked_by: str = ""


@dataclass(frozen=True, slots=True)
class ViewTarget:
    """Take one low-dose view where the gantry stands and say where the markers put the target. `first`: the followed
    state begins anew. Answer: `TargetSeen` or `RequestFailed`."""

    request: int
    plan_uid: str
    isocentre_id: str
    site: str
    rule: MonitoringRule
    first: bool


@dataclass(frozen=True, slots=True)
class ParkImager:
    """Park the imager's arms after views of the target. Answer: `ImagerParked` or `RequestFailed`."""

    request: int


@dataclass(frozen=True, slots=True)
class CheckPath:
    """Certify the clearance of the straight line in axis space. Answer: `PathChecked` or `RequestFailed`."""

    request: int
    start_axes: tuple[float, ...]
    target_axes: tuple[float, ...]
    warn_mm: float
    stop_mm: float
    purpose: Literal["correction", "manual"] = "correction"
    """A correction has a registered patient; manual motion has the plan's placement of one, or nobody's."""
    via_axes: tuple[tuple[float, ...], ...] = ()
    """Stops on the way; every piece is straight."""


@dataclass(frozen=True, slots=True)
class UploadPlan:
    """PLAN_UPLOAD of exactly these values. Answer: `PlanUploaded` or `RequestFailed`."""

    request: int
    plan: MotionPlan


@dataclass(frozen=True, slots=True)
class Execute:
    """EXECUTE, once, not after `deadline_us` of the supervisor's clock. Answer: `ExecuteAccepted`,
    `RequestFailed`."""

    request: int
    nonce: int
    plan_digest: str
    token: bytes
    deadline_us: int


@dataclass(frozen=True, slots=True)
class Jog:
    """JOG of one axis, mm/s or deg/s; 0 ends it. Said again with every tick. Answer: `JogRefused`, or none."""

    axis: int
    speed: float


@dataclass(frozen=True, slots=True)
class Home:
    """HOME. Answer: `HomingBegan` or `RequestFailed`."""

    request: int


@dataclass(frozen=True, slots=True)
class StopAll:
    """STOP to every device, three times, now, before anything else that waits; and drop what is queued."""

    reason: str


@dataclass(frozen=True, slots=True)
class VoidPlan:
    """PLAN_VOID to the couch. A courtesy after `StopAll`; nothing depends on it."""

    reason: str


@dataclass(frozen=True, slots=True)
class SetBeamGate:
    """BEAM_GATE. True needs an answer (`BeamGateAnswered` or `RequestFailed`); False is sent and not waited for."""

    request: int
    energise: bool


@dataclass(frozen=True, slots=True)
class RefreshPermission:
    """The driver of this device may send leases until `until_us` of the supervisor's clock, and not a moment longer.

    Given by ticks, and just before an effect that needs a fresh lease; the driver then sends one at once.
    """

    device: Literal["couch", "imager"]
    until_us: int


@dataclass(frozen=True, slots=True)
class ResetFaults:
    """FAULT_RESET of these faults, named per device. Answer: `FaultsReset` or `RequestFailed`."""

    request: int
    faults: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Record:
    """Append to the record before the effects that follow it are carried out."""

    kind: str
    actor: str
    text: str
    data: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the `UserCommand` that is being handled; exactly one for each."""

    accepted: bool
    message: str
    data: dict[str, object] = field(default_factory=dict)


Effect = (
    AcquireImages
    | RegisterImages
    | ViewTarget
    | ParkImager
    | CheckPath
    | UploadPlan
    | Execute
    | Jog
    | Home
    | StopAll
    | VoidPlan
    | SetBeamGate
    | RefreshPermission
    | ResetFaults
    | Record
    | Answer
)
