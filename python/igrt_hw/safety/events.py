"""What the supervisor hears: people, telemetry, links, terminals, and the answers to its own effects.

Every answer carries the `request` of its effect. An answer to a request that is no longer open is recorded and
dropped: a late answer must not act on the next patient (a stale queue moved a couch: MAUDE 6941986).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from igrt_hw.models.anatomy import AnatomyChange
from igrt_hw.models.commands import Command
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.proposal import ClearanceStrip, ImageStamp, RegistrationSummary
from igrt_hw.models.qa import QaRun
from igrt_hw.models.status import ImageView

DeviceName = Literal["couch", "imager", "pendant"]
CouchState = Literal[
    "not referenced",
    "idle",
    "plan loaded",
    "armed",
    "moving",
    "stopping",
    "held",
    "arrived",
    "jogging",
    "homing",
    "latched",
    "powered off",
]


@dataclass(frozen=True, slots=True)
class UserCommand:
    """A command of somebody who is signed in. The role matrix was asked before; the state is asked here."""

    command: Command
    username: str
    role: str
    session_id: str
    plan: TreatmentPlan | None = None
    """For `OpenPatient`: the plan that the command names, as the shell read it; None if it read no such plan."""
    history: tuple[TreatedShift, ...] = ()
    """For `OpenPatient`: what this patient was moved by before, from the record (`records.history`)."""
    qa_runs: tuple[QaRun, ...] = ()
    """For `OpenPatient`: the daily QA runs of late, from the record (`records.qa`), newest first."""


@dataclass(frozen=True, slots=True)
class CouchHeard:
    """One COUCH_STATUS, in millimetres and degrees, words of `docs/protocol.md` section 6."""

    primary: tuple[float, ...]
    secondary: tuple[float, ...]
    commanded: tuple[float, ...]
    state: CouchState
    drive_state: str = ""
    stop_cause: str = "none"
    enable_held: bool = False
    enable_panic: bool = False
    lease_fresh: bool = False
    brakes_on: bool = True
    referenced: bool = True
    moving: bool = False
    beam_gate_energised: bool = False
    panel_arms_clear: bool = True
    estop: bool = False
    touch_guard: bool = False
    moved_by_hand: bool = False
    telemetry_only: bool = False
    manual_brake_release: bool = False
    faults: tuple[str, ...] = ()
    plan_nonce: int = 0
    path_fraction: float = 0.0
    epoch: int = 0
    assurance: tuple[str, ...] = ()
    """What the dialect of this couch cannot promise; empty where it promises everything."""
    unreported: tuple[str, ...] = ()
    """Which of `second channel`, `panel arms` this couch does not tell."""
    hardware_channel: bool = False
    """Whether it was proved that the pendant's enable is in the supply of the drives."""


@dataclass(frozen=True, slots=True)
class ImagerHeard:
    """One IMAGER_STATUS, words of `docs/protocol.md` section 7."""

    state: str
    gantry_deg: float = 0.0
    arms: Literal["parked", "extended", "moving"] = "parked"
    door_closed: bool = True
    prepared: bool = False
    exposing: bool = False
    anode_heat_fraction: float = 0.0
    dose_area_uGycm2: float = 0.0
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PendantHeard:
    """One PENDANT_STATUS."""

    enable_position: Literal["released", "enabled", "squeezed"] = "released"
    estop: bool = False
    faults: tuple[str, ...] = ()
    keys: tuple[tuple[int, int], ...] = ()
    """Jog keys that are down: axis, and 1 for plus or -1 for minus."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A session with a device has begun. Everything that belonged to an older session is void."""

    name: DeviceName
    session: int
    limits: str = ""
    """Couch: the limits digest of HELLO_ACK, 16 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The line or the session is gone, and why."""

    name: DeviceName
    cause: str


@dataclass(frozen=True, slots=True)
class TerminalAlive:
    """A terminal said that it is there and drawing. `session_id` as in `UserCommand`; empty: any session."""

    terminal_id: str
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class TerminalLost:
    """A terminal has gone (its socket closed)."""

    terminal_id: str


@dataclass(frozen=True, slots=True)
class ImagesAcquired:
    """Answer to `AcquireImages`: the pair, and where the couch stood in that instant by its own encoders."""

    request: int
    stamp: ImageStamp
    images: tuple[ImageView, ...] = ()


@dataclass(frozen=True, slots=True)
class RegistrationDone:
    """Answer to `RegisterImages`, with the identities that the registration itself worked with."""

    request: int
    summary: RegistrationSummary
    image_uids: tuple[str, ...]
    plan_uid: str
    frame_of_reference_uid: str
    isocentre_id: str
    anatomy: AnatomyChange | None = None
    """What the rigid correction leaves; None where nobody measured it (markers, a match by hand)."""


@dataclass(frozen=True, slots=True)
class TargetSeen:
    """Answer to `ViewTarget`: where the markers put it, shift from its planned place, fixed frame, mm. `at_us`: when
    it was exposed, by the supervisor's clock. `seen`: the markers that were recognised; none: the rest is old."""

    request: int
    at_us: int
    deviation_mm: tuple[float, float, float]
    sigma_mm: tuple[float, float, float]
    distance_mm: float
    seen: tuple[str, ...]
    image_uid: str = ""
    dose_area_uGycm2: float = 0.0


@dataclass(frozen=True, slots=True)
class ImagerParked:
    """Answer to `ParkImager`."""

    request: int


@dataclass(frozen=True, slots=True)
class PathChecked:
    """Answer to `CheckPath`: certified clearance of the straight axis path, with the hash of the model it used."""

    request: int
    clearance: ClearanceStrip


@dataclass(frozen=True, slots=True)
class PlanUploaded:
    """Answer to `UploadPlan`: what the device decoded. `stands_at` in millimetres and degrees."""

    request: int
    device_digest: str
    nonce: int
    stands_at: tuple[float, ...]
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class ExecuteAccepted:
    """Answer to `Execute`: the device waits for the enable."""

    request: int
    nonce: int


@dataclass(frozen=True, slots=True)
class BeamGateAnswered:
    """Answer to `SetBeamGate`."""

    request: int
    energised: bool


@dataclass(frozen=True, slots=True)
class FaultsReset:
    """Answer to `ResetFaults`: what is still latched, device by device."""

    request: int
    remaining: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JogRefused:
    """The couch did not take a `Jog`."""

    sentence: str


@dataclass(frozen=True, slots=True)
class HomingBegan:
    """Answer to `Home`."""

    request: int


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """An effect could not be done: the device refused, or the shell failed. `sentence` says what, where, what to do.

    `uncertain`: no answer came, so that it may or may not have been done.
    """

    request: int
    sentence: str
    uncertain: bool = False
    data: dict[str, object] = field(default_factory=dict)


Event = (
    UserCommand
    | CouchHeard
    | ImagerHeard
    | PendantHeard
    | LinkUp
    | LinkLost
    | TerminalAlive
    | TerminalLost
    | ImagesAcquired
    | RegistrationDone
    | TargetSeen
    | ImagerParked
    | PathChecked
    | PlanUploaded
    | ExecuteAccepted
    | BeamGateAnswered
    | FaultsReset
    | JogRefused
    | HomingBegan
    | RequestFailed
)
