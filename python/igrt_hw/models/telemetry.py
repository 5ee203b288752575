"""What devices tell, in millimetres and degrees, with every code spelt out in plain words.

Source of all codes and bits: `docs/protocol.md`, sections 4 to 10. Axis order is that of
`docs/conventions.md`; an arm orders its own joints from base to table top. Receive times are
microseconds of the host's monotonic clock, device times microseconds of the device's own clock.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from igrt_hw.models.base import Frozen

FRESH_MS_MAX = 250  # nothing older is shown as current (protocol.md, section 9)

AxisUnit = Literal["mm", "deg"]
Count = Annotated[int, Field(ge=0)]


class CouchState(IntEnum):
    """`state` of a couch."""

    NOT_REFERENCED = 0
    IDLE = 1
    PLAN_LOADED = 2
    ARMED = 3
    MOVING = 4
    STOPPING = 5
    HELD = 6
    ARRIVED = 7
    JOGGING = 8
    HOMING = 9
    LATCHED = 10
    POWERED_OFF = 11

    @property
    def words(self) -> str:
        """Plain words for a person."""
        return _COUCH_STATE_WORDS[self]


class DriveState(IntEnum):
    """Drive states by their CiA 402 names."""

    NOT_READY_TO_SWITCH_ON = 0
    SWITCH_ON_DISABLED = 1
    READY_TO_SWITCH_ON = 2
    SWITCHED_ON = 3
    OPERATION_ENABLED = 4
    QUICK_STOP_ACTIVE = 5
    FAULT_REACTION_ACTIVE = 6
    FAULT = 7

    @property
    def words(self) -> str:
        """The CiA 402 name."""
        return self.name.lower().replace("_", " ")


class StopCause(IntEnum):
    """Why the couch last came to rest."""

    NONE = 0
    STOP = 1
    ENABLE_RELEASED = 2
    LEASE_LATE = 3
    LEASE_LOST = 4
    FAULT = 5
    TOUCH_GUARD = 6
    NEW_SESSION = 7
    ARRIVED = 8
    EMERGENCY_STOP = 9
    PLAN_EXPIRED = 10
    JOG_ENDED = 11
    INTERLOCK_WIRE = 12

    @property
    def words(self) -> str:
        """Plain words for a person."""
        return _STOP_CAUSE_WORDS[self]


class CouchFlag(IntFlag):
    """`flags` of a couch."""

    ENABLE_HELD = 1 << 0
    ENABLE_PANIC = 1 << 1
    LEASE_FRESH = 1 << 2
    BRAKES_ON = 1 << 3
    REFERENCED = 1 << 4
    MOVING = 1 << 5
    BEAM_GATE_ENERGISED = 1 << 6
    PANEL_ARMS_CLEAR = 1 << 7
    ESTOP_PRESSED = 1 << 8
    TOUCH_GUARD_PRESSED = 1 << 9
    MOVED_BY_HAND = 1 << 10
    AT_LOWER_LIMIT = 1 << 11
    AT_UPPER_LIMIT = 1 << 12
    TELEMETRY_ONLY = 1 << 13
    MANUAL_BRAKE_RELEASE = 1 << 14


class CouchFault(IntFlag):
    """`faults` of a couch; each stays until a reset names it and its cause is gone."""

    LEASE_LOST = 1 << 0
    FOLLOWING_ERROR = 1 << 1
    POSITION_CHANNELS_DISAGREE = 1 << 2
    TOUCH_GUARD = 1 << 3
    EMERGENCY_STOP = 1 << 4
    ENABLE_DISCREPANCY = 1 << 5
    LIMIT_SWITCH = 1 << 6
    BRAKE_SLIP = 1 << 7
    DRIVE_FAULT = 1 << 8
    POWER_LOST = 1 << 9
    ENCODER_FAULT = 1 << 10
    OVER_SPEED = 1 << 11
    LEG_LIMIT = 1 << 12
    BRAKE_DID_NOT_RELEASE = 1 << 13
    SELF_TEST = 1 << 14


class ImagerState(IntEnum):
    """`state` of an imager."""

    IDLE = 0
    ARMS_MOVING = 1
    GANTRY_MOVING = 2
    PREPARING = 3
    READY = 4
    EXPOSING = 5
    READING_OUT = 6
    LATCHED = 7

    @property
    def words(self) -> str:
        """Plain words for a person."""
        return self.name.lower().replace("_", " ")


class ImagerFlag(IntFlag):
    """`flags` of an imager."""

    ARMS_PARKED = 1 << 0
    ARMS_EXTENDED = 1 << 1
    DOOR_CLOSED = 1 << 2
    COUCH_AT_REST = 1 << 3
    EXPOSURE_SWITCH_CLOSED = 1 << 4
    PREPARED = 1 << 5
    EXPOSING = 1 << 6
    LEASE_FRESH = 1 << 7
    PANEL_SETTLING = 1 << 8
    SERIES_UNDER_WAY = 1 << 9


class ImagerFault(IntFlag):
    """`faults` of an imager."""

    SOURCE_ARM_COLLISION = 1 << 0
    PANEL_ARM_COLLISION = 1 << 1
    GENERATOR = 1 << 2
    ANODE_HEAT = 1 << 3
    PANEL = 1 << 4
    DOOR_OPENED_WHILE_EXPOSING = 1 << 5
    GANTRY = 1 << 6
    MOTION_DURING_EXPOSURE = 1 << 7


class EnablePosition(IntEnum):
    """The three positions of the enable switch."""

    RELEASED = 0
    ENABLED = 1
    SQUEEZED = 2


class PendantFlag(IntFlag):
    """`flags` of a pendant."""

    ESTOP_PRESSED = 1 << 0


class PendantFault(IntFlag):
    """`faults` of a pendant."""

    CONTACTS_DISAGREE = 1 << 0
    KEY_STUCK = 1 << 1
    SUPPLY = 1 << 2


class RefusalCode(IntEnum):
    """Codes of REFUSED; `words` says what each means and what to do about it."""

    UNKNOWN = 0
    MALFORMED_VALUE = 1
    NOT_THIS_SESSION = 2
    TELEMETRY_ONLY = 3
    OUT_OF_ORDER = 4
    LATE = 5
    OLD_EPOCH = 6
    OUTSIDE_LIMITS = 7
    INTERLOCK = 8
    ALREADY_EXECUTED = 9
    DIGEST_OR_NONCE_DIFFERS = 10
    NO_SUCH_FRAME = 11
    NOT_AT_START_POSITION = 12
    EXPIRED = 13
    LEASE_NOT_FRESH = 14
    FAULT_LATCHED = 15
    WRONG_STATE = 16
    NOT_SUPPORTED = 17

    @property
    def words(self) -> str:
        """Plain words for a person."""
        return _REFUSAL_WORDS[self]


def flag_words(flags: IntFlag) -> tuple[str, ...]:
    """The names of the bits that are set, in plain words; bits without a name are shown by number."""
    return _flag_words(type(flags), flags.value) if flags else ()


@lru_cache(maxsize=1024)  # every status names its faults, and they are nearly always the same
def _flag_words(kind: type[IntFlag], bits: int) -> tuple[str, ...]:
    known = [
        member.name.lower().replace("_", " ")
        for member in kind
        if member.name and bits & member.value
    ]
    for member in kind:
        bits &= ~member.value
    known.extend(f"unknown bit {bit}" for bit in range(bits.bit_length()) if bits >> bit & 1)
    return tuple(known)


class CouchTelemetry(Frozen):
    """One status of a couch.

    `primary` and `secondary` are the two independent position channels, `commanded` the set-point,
    each in axis order and in the unit of `axis_units`. `path_fraction` runs from 0 to 1.
    """

    received_us: int
    device_us: Count
    session: Count
    epoch: Count
    axis_units: tuple[AxisUnit, ...]
    primary: tuple[float, ...]
    secondary: tuple[float, ...]
    commanded: tuple[float, ...]
    state: CouchState
    drive_state: DriveState
    stop_cause: StopCause
    flags: CouchFlag
    faults: CouchFault
    plan_nonce: Count
    path_fraction: float
    lease_age_ms: Count
    enable_age_ms: Count
    assurance: tuple[str, ...] = ()
    """What the dialect of this couch cannot promise, one sentence each; empty for CLP/1."""
    unreported: tuple[str, ...] = ()
    """Which of `second channel`, `panel arms` this dialect does not tell: what stands in their place means nothing."""
    hardware_channel: bool = False
    """Whether it was proved that the pendant's enable is in the supply of the drives."""

    @property
    def enable_held(self) -> bool:
        """Whether the enable contacts are held in the middle position."""
        return CouchFlag.ENABLE_HELD in self.flags

    @property
    def at_rest(self) -> bool:
        """Not moving, and all brakes on."""
        return CouchFlag.MOVING not in self.flags and CouchFlag.BRAKES_ON in self.flags

    def axis_difference(self) -> tuple[float, ...]:
        """Secondary channel minus primary, per axis, in the unit of the axis."""
        return tuple(b - a for a, b in zip(self.primary, self.secondary, strict=True))


class ImagerTelemetry(Frozen):
    """One status of an imager. Arm positions are on their own rails."""

    received_us: int
    device_us: Count
    session: Count
    epoch: Count
    state: ImagerState
    panel_mode: Literal["off", "radiographic", "fluoroscopic", "unknown"]
    frames_dropped: Count
    """Frames of a series that nobody fetched in time; 255 stands for that many or more."""
    binning: Count
    flags: ImagerFlag
    faults: ImagerFault
    gantry_deg: float
    source_arm_mm: float
    panel_arm_mm: float
    anode_heat_fraction: float
    dose_area_uGycm2: float
    latest_frame: Count


class PendantTelemetry(Frozen):
    """One status of a hand pendant. `jog_keys` has two bits an axis: plus, minus."""

    received_us: int
    device_us: Count
    session: Count
    epoch: Count
    enable_position: EnablePosition
    contact_a: bool
    contact_b: bool
    flags: PendantFlag
    faults: PendantFault
    jog_keys: Count
    press_count: Count


class LinkCounters(Frozen):
    """What went over one line since the program opened it, over all its sessions."""

    sessions: Count
    frames_sent: Count
    frames_received: Count
    octets_sent: Count
    octets_received: Count
    retransmissions: Count
    resent_after_gap: Count
    refused: Count
    crc_errors: Count
    other_drops: Count
    unexpected: Count
    telemetry_received: Count
    telemetry_missed: Count
    telemetry_late: Count = 0
    leases_sent: Count
    leases_acknowledged: Count
    leases_refused: Count
    stops_sent: Count
    breaks_sent: Count = 0
    events_lost: Count


class LinkHealth(Frozen):
    """How one line is doing. `telemetry_age_ms` is None if there never was any telemetry.

    `assurance` names what the dialect cannot promise; empty for CLP/1.
    """

    device: Literal["couch", "imager", "pendant"]
    port: str
    state: Literal["closed", "opening", "open", "telemetry only", "lost"]
    connected: bool
    cause: str
    session: Count
    boot_id: Count
    epoch: Count
    permission_fresh: bool
    low_latency: str
    line_break: str = ""
    telemetry_age_ms: float | None
    telemetry_rate_hz: float
    round_trip_us: float | None
    clock_offset_us: float | None
    clock_uncertainty_us: float | None
    clock_drift_ppm: float | None
    counters: LinkCounters
    assurance: tuple[str, ...] = ()


_COUCH_STATE_WORDS: dict[CouchState, str] = {
    CouchState.NOT_REFERENCED: "not referenced: home the axes first",
    CouchState.IDLE: "at rest, no plan",
    CouchState.PLAN_LOADED: "plan loaded, not yet executed",
    CouchState.ARMED: "armed: waits for the enable to be held",
    CouchState.MOVING: "moving",
    CouchState.STOPPING: "stopping on its path",
    CouchState.HELD: "held in mid path",
    CouchState.ARRIVED: "arrived",
    CouchState.JOGGING: "jogging",
    CouchState.HOMING: "homing",
    CouchState.LATCHED: "latched by a fault: clear the cause, then reset",
    CouchState.POWERED_OFF: "powered off",
}

_STOP_CAUSE_WORDS: dict[StopCause, str] = {
    StopCause.NONE: "none",
    StopCause.STOP: "STOP was sent",
    StopCause.ENABLE_RELEASED: "the enable was released or squeezed through",
    StopCause.LEASE_LATE: "the controller's lease was late (over 150 ms)",
    StopCause.LEASE_LOST: "the controller's lease was lost (over 500 ms)",
    StopCause.FAULT: "a fault",
    StopCause.TOUCH_GUARD: "the touch guard was pressed",
    StopCause.NEW_SESSION: "the controller opened a new session",
    StopCause.ARRIVED: "arrived at the target",
    StopCause.EMERGENCY_STOP: "the emergency stop was pressed",
    StopCause.PLAN_EXPIRED: "the plan expired",
    StopCause.JOG_ENDED: "jogging ended",
    StopCause.INTERLOCK_WIRE: "an interlock wire opened (panel arms left their parked position)",
}

_REFUSAL_WORDS: dict[RefusalCode, str] = {
    RefusalCode.UNKNOWN: "a code that this program does not know",
    RefusalCode.MALFORMED_VALUE: "a value makes no sense to the device",
    RefusalCode.NOT_THIS_SESSION: "another session is open: connect again",
    RefusalCode.TELEMETRY_ONLY: "this session may only read: version or dictionary differ",
    RefusalCode.OUT_OF_ORDER: "a command is missing before this one",
    RefusalCode.LATE: "the command came after its deadline, or had none",
    RefusalCode.OLD_EPOCH: "decided before the last STOP: decide again",
    RefusalCode.OUTSIDE_LIMITS: "outside the limits of the device",
    RefusalCode.INTERLOCK: "an interlock is open",
    RefusalCode.ALREADY_EXECUTED: "this plan has been executed already: upload a new one",
    RefusalCode.DIGEST_OR_NONCE_DIFFERS: "this is not the plan that the device holds",
    RefusalCode.NO_SUCH_FRAME: "the device no longer has this frame: expose again",
    RefusalCode.NOT_AT_START_POSITION: "the couch does not stand where the plan starts",
    RefusalCode.EXPIRED: "the plan has expired: upload it again",
    RefusalCode.LEASE_NOT_FRESH: "the controller's lease is not fresh",
    RefusalCode.FAULT_LATCHED: "a fault is latched: clear its cause, then reset",
    RefusalCode.WRONG_STATE: "not in this state of the device",
    RefusalCode.NOT_SUPPORTED: "not supported by this device",
}
