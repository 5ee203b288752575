"""What the supervisor shows to the world: one immutable status, complete enough to draw every screen from."""

from enum import StrEnum
from typing import Literal

from igrt_hw.models.anatomy import AnatomyChange
from igrt_hw.models.base import Frozen
from igrt_hw.models.imaging import DoseView
from igrt_hw.models.monitoring import TargetView
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.proposal import Approval, Proposal, RegistrationSummary, Verification
from igrt_hw.models.qa import QaStanding, QaView


class LoopState(StrEnum):
    """States of the loop, `design.md` section 5."""

    IDLE = "IDLE"
    PATIENT_BOUND = "PATIENT_BOUND"
    SETUP = "SETUP"
    IMAGED = "IMAGED"
    REGISTERED = "REGISTERED"
    PROPOSED = "PROPOSED"
    CHECKED = "CHECKED"
    APPROVED = "APPROVED"
    ARMED = "ARMED"
    MOVING = "MOVING"
    HELD = "HELD"
    ARRIVED = "ARRIVED"
    VERIFIED = "VERIFIED"
    BEAM_READY = "BEAM_READY"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    FAULT = "FAULT"


class AlarmPriority(StrEnum):
    """IEC 60601-1-8 priorities."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Alarm(Frozen):
    """What is wrong, since when, and what to do.

    Acknowledging silences; only a cleared cause (and a reset, if latched) ends it.
    """

    alarm_id: str
    priority: AlarmPriority
    text: str
    what_to_do: str
    raised_us: int
    raised_utc: str
    latched: bool
    acknowledged_by: str | None
    active: bool


class Interlock(Frozen):
    """A contract in prose and whether it holds now. Names follow DICOM CID 9568 where it has one."""

    name: str
    sentence: str
    satisfied: bool
    detail: str


class LinkStatus(Frozen):
    """One serial line. `age_ms` is the age of the last telemetry; None if there never was any."""

    name: Literal["couch", "imager", "pendant"]
    port: str
    connected: bool
    age_ms: float | None
    rate_hz: float
    crc_errors: int
    retransmissions: int
    round_trip_us: float | None
    clock_offset_us: float | None
    cause: str


class CouchView(Frozen):
    """The couch as last heard. Values older than 250 ms are marked stale, never hidden."""

    axis_names: tuple[str, ...]
    axis_units: tuple[Literal["mm", "deg"], ...]
    primary: tuple[float, ...]
    secondary: tuple[float, ...]
    commanded: tuple[float, ...]
    state: str
    drive_state: str
    stop_cause: str
    enable_held: bool
    enable_panic: bool
    lease_fresh: bool
    brakes_on: bool
    referenced: bool
    moving: bool
    beam_gate_energised: bool
    estop: bool
    touch_guard: bool
    faults: tuple[str, ...]
    path_fraction: float
    age_ms: float
    stale: bool
    assurance: tuple[str, ...] = ()
    """What the dialect of this couch cannot promise; empty where it promises everything."""


class ImagerView(Frozen):
    """The imager as last heard."""

    state: str
    gantry_deg: float
    arms: Literal["parked", "extended", "moving"]
    door_closed: bool
    prepared: bool
    exposing: bool
    anode_heat_fraction: float
    dose_area_uGycm2: float
    faults: tuple[str, ...]
    age_ms: float
    stale: bool


class PendantView(Frozen):
    """The hand pendant as last heard."""

    enable_position: Literal["released", "enabled", "squeezed"]
    estop: bool
    faults: tuple[str, ...]
    age_ms: float
    stale: bool


class ImageView(Frozen):
    """One corrected kV image that can be fetched from `/api/images/{image_uid}`."""

    image_uid: str
    purpose: Literal["setup", "verification", "monitoring"]
    source_angle_deg: float
    acquired_utc: str
    rows: int
    cols: int
    pitch_mm: float
    kvp: float
    ma: float | None = None
    """Tube current, mA; not told by records from before it was set by itself."""
    ms: float | None = None
    """Time, ms; as `ma`."""
    mas: float
    dose_area_uGycm2: float
    geometry: Literal["as drawn", "calibrated"] = "as drawn"
    """Whether source and panel are where the imager's drawing has them, or where its flex map found them."""
    lag_corrected: bool = False
    """Whether charge of earlier frames was taken off; only where the panel's lag was measured."""
    scan_uid: str = ""
    """The cone-beam scan that this projection is of; empty for an image of its own."""


class Activity(Frozen):
    """A long job that is running now (imaging, registration, checks, upload), with its last line of progress."""

    name: str
    detail: str
    fraction: float | None


class SupervisorStatus(Frozen):
    """The whole of what an operator may see, at one instant of the supervisor's clock."""

    version: int
    now_us: int
    now_utc: str
    simulator: bool
    mode: Literal["clinical rehearsal", "service", "daily QA"]
    machine: str
    state: LoopState
    needed_next: str
    reason: str
    activity: Activity | None
    plan: TreatmentPlan | None
    isocentre_id: str | None
    fraction: int | None
    links: tuple[LinkStatus, ...]
    couch: CouchView | None
    imager: ImagerView | None
    pendant: PendantView | None
    interlocks: tuple[Interlock, ...]
    alarms: tuple[Alarm, ...]
    images: tuple[ImageView, ...]
    registration: RegistrationSummary | None
    proposal: Proposal | None
    approvals: tuple[Approval, ...]
    verification: Verification | None
    image_age_s: float | None
    expires_in_s: float | None
    permission: bool
    terminal_age_ms: float | None
    record_entries: int
    record_head: str
    dose: DoseView | None = None
    """Imaging dose of the bound patient; None without one, or while it is being read."""
    qa: QaView | None = None
    """The daily QA that is going on."""
    daily_qa: QaStanding | None = None
    """Whether daily QA passed today, as asked when the patient was opened or a run finished; None: not asked yet."""
    procedure: str = ""
    """Name of the procedure (`/api/procedures`) that this state asks for; empty: none."""
    target: TargetView | None = None
    """The target as it is watched while the beam is on; None: it is not watched."""
    anatomy: AnatomyChange | None = None
    """What the rigid correction leaves of the patient's change, without its regions; None: not measured."""
    alarms_per_hour: int = 0
    """Alarms raised within the last hour."""
