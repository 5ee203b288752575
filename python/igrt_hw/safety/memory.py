"""Everything the supervisor knows between two events, in one place. Only the layers of the supervisor write here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Generic, Literal, TypeVar

from igrt_hw.geometry import Correction, wrap_deg
from igrt_hw.models.commands import OverrideSetup
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.plan import PlannedIsocentre, TreatmentPlan
from igrt_hw.models.proposal import Approval, ImageStamp, Proposal, Verification
from igrt_hw.models.qa import QaRun, QaStanding
from igrt_hw.models.status import ImageView, LoopState
from igrt_hw.safety.approvals import OpenChallenge
from igrt_hw.safety.couch_model import CouchModel, displacement
from igrt_hw.safety.events import (
    CouchHeard,
    DeviceName,
    ImagerHeard,
    PendantHeard,
    PlanUploaded,
    RegistrationDone,
)
from igrt_hw.safety.interlock_tests import Watching
from igrt_hw.safety.interlocks import Situation
from igrt_hw.safety.motion_plan import MotionPlan
from igrt_hw.safety.proposals import Draft
from igrt_hw.safety.rules import Mode, SiteRule, SupervisorConfig
from igrt_hw.safety.target import Target, target_problem

Heard = TypeVar("Heard")
PendingKind = Literal[
    "imaging",
    "monitoring",
    "parking",
    "registration",
    "path check",
    "upload",
    "execute",
    "beam gate",
    "fault reset",
    "manual path",
    "homing",
]


@dataclass(slots=True)
class Device(Generic[Heard]):
    """One device: what it last said and when, and whether a session with it stands."""

    last: Heard | None = None
    heard_us: int | None = None
    up: bool = False
    session: int = 0
    limits: str = ""
    cause: str = "never connected"

    def hear(self, heard_us: int) -> None:
        """Something was heard at this instant. An older word that comes late does not make the device younger."""
        self.heard_us = heard_us if self.heard_us is None else max(self.heard_us, heard_us)

    def age_us(self, now_us: int) -> int | None:
        """Age of what it last said; None without a session or without a word."""
        if not self.up or self.heard_us is None:
            return None
        return now_us - self.heard_us


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal that said it is there."""

    session_id: str
    heard_us: int


@dataclass(frozen=True, slots=True)
class Pending:
    """An effect whose answer is awaited."""

    request: int
    kind: PendingKind
    detail: str
    deadline_us: int
    actor: str


@dataclass(frozen=True, slots=True)
class AskedOverride:
    """An override that one person has asked for."""

    command: OverrideSetup
    username: str
    session_id: str
    asked_us: int
    axes: tuple[float, ...]


@dataclass(slots=True)
class Motion:
    """One upload of one approved plan, and what became of it."""

    plan: MotionPlan
    digest: str
    terminal_id: str
    armed_by: str
    uploaded: PlanUploaded | None = None
    executed: bool = False
    arrived_since_us: int | None = None
    released_since_us: int | None = None


@dataclass(slots=True)
class Jog:
    """One axis on its way by a key of the pendant, mm and degrees."""

    axis: int
    sign: int
    from_axes: tuple[float, ...]
    begun_us: int
    clear_to: float | None = None
    """How far the way is certified; None: not yet."""
    asked_from: float = 0.0
    asked_to: float = 0.0
    ends_at_limit: bool = False
    bound: str = ""
    """Why there is no way beyond `clear_to`; empty: not known yet."""
    told: bool = False
    """Whether the couch has been told to move."""


@dataclass(slots=True)
class QaSession:
    """The daily QA that is going on, and what the loop has done with the phantom so far (`daily_qa.py`)."""

    run: QaRun
    watching: Watching | None = None
    seen: RegistrationDone | None = None
    """The registration that was looked at last."""
    aligned: tuple[float, ...] | None = None
    displaced: tuple[float, ...] | None = None
    found: Correction | None = None
    reached: tuple[float, ...] | None = None


@dataclass(slots=True)
class Memory:
    """The state of the loop and all it rests on."""

    config: SupervisorConfig
    model: CouchModel
    state: LoopState = LoopState.IDLE
    state_since_us: int = 0
    reason: str = ""
    plan: TreatmentPlan | None = None
    isocentre: PlannedIsocentre | None = None
    fraction: int | None = None
    setup_confirmed: bool = False
    override: AskedOverride | None = None
    history: tuple[TreatedShift, ...] = ()
    last_shift: Correction | None = None
    """The correction that the couch made last for this patient since the patient was opened."""
    path_gantry_deg: float | None = None
    """Where the gantry stood when the path was certified."""

    stamp: ImageStamp | None = None
    images: tuple[ImageView, ...] = ()
    images_problem: str = ""
    registration: RegistrationDone | None = None

    candidate: Draft | None = None
    candidate_problem: str = ""
    draft: Draft | None = None
    proposal: Proposal | None = None
    challenge: OpenChallenge | None = None
    approvals: tuple[Approval, ...] = ()
    approval_sessions: tuple[str, ...] = ()
    wrong: int = 0
    motion: Motion | None = None
    executed: frozenset[str] = frozenset()
    base_axes: tuple[float, float, float, float] | None = None
    """Where the base couch of a hexapod stands after what it was last moved by; None: where its description says."""
    base_after: tuple[float, float, float, float] | None = None
    """Where it will stand when the proposal has been executed."""
    base_lost: str = ""
    """Why nobody knows where the base couch stands: a move in stages that was broken off. Empty: known."""
    rest_axes: tuple[float, ...] | None = None
    """Where the couch has to stand while it is at rest: at the images, later at the arrival."""
    verification: Verification | None = None
    target: Target | None = None
    beam_held: str = ""
    """Why the target took the beam away; empty from the next release on."""

    couch: Device[CouchHeard] = field(default_factory=Device)
    imager: Device[ImagerHeard] = field(default_factory=Device)
    pendant: Device[PendantHeard] = field(default_factory=Device)
    terminals: dict[str, Terminal] = field(default_factory=dict)
    epoch: int | None = None
    stop_sent_us: int | None = None
    stops_unseen: int = 0
    """STOPs of ours whose step of the couch's epoch has not been heard yet."""
    host_faults: dict[str, str] = field(default_factory=dict)
    reset_asked: bool = False

    mode: Mode = "clinical rehearsal"
    jog: Jog | None = None
    keys_latched: bool = False
    """A key of the pendant that was down through a STOP, a fault or a refusal counts again after it was let go."""
    jog_ended_us: int | None = None
    homing_since_us: int | None = None

    qa: QaSession | None = None
    qa_runs: tuple[QaRun, ...] = ()
    """Runs that were finished, as far as they were told (`UserCommand.qa_runs`) or seen, newest first."""
    daily_qa: QaStanding | None = None
    door_open_us: int | None = None
    """Since when the door is seen open; None while it is closed or the imager is not heard."""
    utc_origin: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    pending: dict[int, Pending] = field(default_factory=dict)
    permission: bool = False

    @property
    def rule(self) -> SiteRule:
        """The rule of the site of the bound plan."""
        return self.config.rule_for(self.plan.site if self.plan is not None else "general")

    def day(self, now_us: int) -> str:
        """The calendar day of the room at an instant of the supervisor's clock, YYYY-MM-DD."""
        at = self.utc_origin.astimezone(UTC) + timedelta(microseconds=now_us)
        return (at + timedelta(minutes=self.config.utc_offset_min)).date().isoformat()

    def device(
        self, name: DeviceName
    ) -> Device[CouchHeard] | Device[ImagerHeard] | Device[PendantHeard]:
        """A device by name."""
        match name:
            case "couch":
                return self.couch
            case "imager":
                return self.imager
            case "pendant":
                return self.pendant

    def pending_of(self, *kinds: PendingKind) -> Pending | None:
        """The pending request of one of these kinds, if there is one."""
        for pending in self.pending.values():
            if pending.kind in kinds:
                return pending
        return None

    def terminal_age_us(self, now_us: int) -> int | None:
        """Age of the terminal that counts: the one that armed, else the one heard last."""
        if self.motion is not None:
            bound = self.terminals.get(self.motion.terminal_id)
            return None if bound is None else now_us - bound.heard_us
        ages = [now_us - t.heard_us for t in self.terminals.values()]
        return min(ages, default=None)

    def device_faults(self) -> tuple[str, ...]:
        """What the devices report as latched."""
        found: list[str] = []
        couch, imager, pendant = self.couch.last, self.imager.last, self.pendant.last
        if couch is not None and couch.faults:
            found += [f"couch: {fault}" for fault in couch.faults]
        if imager is not None and imager.faults:
            found += [f"imager: {fault}" for fault in imager.faults]
        if pendant is not None and pendant.faults:
            found += [f"pendant: {fault}" for fault in pendant.faults]
        return tuple(found)

    def _gantry_since_path(self) -> float | None:
        if self.path_gantry_deg is None or self.imager.last is None:
            return None
        return abs(wrap_deg(self.imager.last.gantry_deg - self.path_gantry_deg))

    def situation(self, now_us: int) -> Situation:
        """What the interlocks judge."""
        couch = self.couch.last
        target = target_problem(
            self.target, self.rule.monitoring, self.mode == "clinical rehearsal", now_us
        )
        return Situation(
            config=self.config,
            couch=couch,
            imager=self.imager.last,
            pendant=self.pendant.last,
            couch_age_us=self.couch.age_us(now_us),
            imager_age_us=self.imager.age_us(now_us),
            pendant_age_us=self.pendant.age_us(now_us),
            terminal_age_us=self.terminal_age_us(now_us),
            channels=None
            if couch is None
            else self.model.difference(couch.primary, couch.secondary),
            moved=None
            if couch is None or self.rest_axes is None
            else displacement(self.model, self.rest_axes, couch.primary),
            gantry_deg=self._gantry_since_path(),
            faults=self.device_faults() + tuple(self.host_faults.values()),
            target=target,
        )
