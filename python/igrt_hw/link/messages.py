"""The messages of CLP/1 as frozen values, and how each becomes the octets of a body.

Every class is checked against the dictionary when this module is imported: the same names in the
same order, or the program does not start. Fields are raw integers as on the line (micrometres,
microdegrees, microseconds); meaning and units are given to them by `igrt_hw.devices`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from igrt_hw.link.dictionary import SPECS, DictionaryError, Field, MessageSpec

BODY_LEN_MAX: Final = 4124
REPLY_BIT: Final = 0x80  # the reply to a command has the command's type with this bit set

_M = TypeVar("_M", bound="Message")
_Octets: TypeAlias = bytes


class MessageError(ValueError):
    """A body does not fit its message, or a field does not fit its type."""


class Message:
    """Base of all messages; `TYPE` is the type octet, `SPEC` the line of the dictionary."""

    __slots__ = ()
    TYPE: ClassVar[int]
    SPEC: ClassVar[MessageSpec]
    CODEC: ClassVar[_Codec]

    def pack(self) -> bytes:
        """The octets of the body. Raises `MessageError` where a field does not fit its type."""
        return self.CODEC.pack(self)


class _Codec:
    """Packs and unpacks the body of one message class, by its line of the dictionary."""

    def __init__(self, cls: Callable[..., Message], spec: MessageSpec) -> None:
        self.cls = cls
        self.spec = spec
        self._head = struct.Struct("<" + "".join(_code(field) for field in spec.fields))
        self._item = struct.Struct(
            "<" + "".join(_code(field) for field in spec.repeat.fields) if spec.repeat else "<"
        )
        self._plain = all(not f.is_array and f.code != "s" for f in spec.fields)
        self._fixed = spec.tail is None and spec.repeat is None
        names = [field.name for field in spec.fields]
        self._get: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()
        self._one = len(names) == 1

    @property
    def head_len(self) -> int:
        """Octets of the fields of fixed size."""
        return self._head.size

    def pack(self, message: Message) -> bytes:
        values = self._get(message)
        if self._one:
            values = (values,)
        try:
            if not self._plain:
                values = self._flatten(self.spec.fields, values)
            body = self._head.pack(*values)
            if self.spec.tail is not None:
                body += getattr(message, self.spec.tail)
            elif self.spec.repeat is not None:
                body += self._pack_items(message)
        except struct.error as error:
            raise MessageError(f"{self.spec.name}: {error} in {values!r}") from error
        if len(body) > BODY_LEN_MAX:
            raise MessageError(
                f"{self.spec.name}: a body of {len(body)} octets, most {BODY_LEN_MAX}"
            )
        return body

    def unpack(self, body: bytes) -> Message:
        head_len = self._head.size
        if self._fixed and self._plain and len(body) == head_len:
            return self.cls(*self._head.unpack(body))
        if len(body) < head_len:
            raise MessageError(f"{self.spec.name}: body of {len(body)} octets, at least {head_len}")
        values: Any = self._head.unpack_from(body)
        if not self._plain:
            values = self._gather(self.spec.fields, values)
        if self.spec.tail is not None:
            return self.cls(*values, body[head_len:])
        if self.spec.repeat is not None:
            return self.cls(
                *values,
                self._unpack_items(dict(zip(self.spec.field_names, values, strict=False)), body),
            )
        if len(body) != head_len:
            raise MessageError(f"{self.spec.name}: body of {len(body)} octets, must be {head_len}")
        return self.cls(*values)

    def _flatten(self, specs: tuple[Field, ...], values: Any) -> list[Any]:
        flat: list[Any] = []
        for field, value in zip(specs, values, strict=True):
            if (field.is_array or field.code == "s") and len(value) != field.count:
                raise MessageError(
                    f"{self.spec.name}.{field.name}: {len(value)} items, must be {field.count}"
                )
            if field.is_array:
                flat.extend(value)
            else:
                flat.append(value)
        return flat

    @staticmethod
    def _gather(specs: tuple[Field, ...], flat: tuple[Any, ...]) -> list[Any]:
        values: list[Any] = []
        at = 0
        for field in specs:
            if field.is_array:
                values.append(flat[at : at + field.count])
                at += field.count
            else:
                values.append(flat[at])
                at += 1
        return values

    def _pack_items(self, message: Message) -> bytes:
        repeat = self.spec.repeat
        assert repeat is not None
        items = getattr(message, repeat.name)
        if len(items) != getattr(message, repeat.counted_by):
            raise MessageError(
                f"{self.spec.name}: {repeat.counted_by} is {getattr(message, repeat.counted_by)}"
                f" but there are {len(items)} {repeat.name}"
            )
        return b"".join(self._item.pack(*item) for item in items)

    def _unpack_items(self, named: Mapping[str, Any], body: bytes) -> tuple[tuple[int, ...], ...]:
        repeat = self.spec.repeat
        assert repeat is not None
        count: int = named[repeat.counted_by]
        want = self._head.size + count * self._item.size
        if len(body) != want:
            raise MessageError(f"{self.spec.name}: body of {len(body)} octets, must be {want}")
        return tuple(self._item.iter_unpack(body[self._head.size :]))


def _code(field: Field) -> str:
    return field.code if field.count == 1 and not field.is_array else f"{field.count}{field.code}"


BY_TYPE: dict[int, type[Message]] = {}


def _message(name: str) -> Callable[[type[_M]], type[_M]]:
    """Bind a class to its line of the dictionary, and refuse a class that departs from it."""

    def bind(cls: type[_M]) -> type[_M]:
        spec = SPECS[name]
        names = tuple(field.name for field in fields(cls))  # type: ignore[arg-type]
        if names != spec.field_names:
            raise DictionaryError(f"{cls.__name__} has {names}, the dictionary {spec.field_names}")
        cls.TYPE = spec.type
        cls.SPEC = spec
        cls.CODEC = _Codec(cls, spec)
        BY_TYPE[spec.type] = cls
        return cls

    return bind


def unpack_body(type_code: int, body: bytes) -> Message:
    """Decode a body.

    Raises `MessageError` for an unknown type or a body that does not fit its message.
    """
    cls = BY_TYPE.get(type_code)
    if cls is None:
        raise MessageError(f"unknown message type 0x{type_code:02x}")
    return cls.CODEC.unpack(body)


@_message("STOP")
@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Stop now. Valid in any session, epoch and state; a repeated nonce does not bump the epoch."""

    reason: int
    nonce: int


@_message("STOP_ACK")
@dataclass(frozen=True, slots=True)
class StopAck(Message):
    """The epoch after the STOP, and the state the device is in."""

    nonce: int
    new_epoch: int
    state: int


@_message("HELLO")
@dataclass(frozen=True, slots=True)
class Hello(Message):
    """Open a session; whatever session there was ends."""

    version_min: int
    version_max: int
    host_nonce: int
    dictionary: bytes


@_message("HELLO_ACK")
@dataclass(frozen=True, slots=True)
class HelloAck(Message):
    """The device's answer to HELLO: who it is, which session, its clock."""

    status: int
    version: int
    device_kind: int
    family: int
    host_nonce: int
    boot_id: int
    session: int
    dictionary: bytes
    limits: bytes
    build: bytes
    max_body: int
    window: int
    axis_count: int
    device_us: int


@_message("COUCH_STATUS")
@dataclass(frozen=True, slots=True)
class CouchStatus(Message):
    """Couch telemetry. Positions in micrometres or microdegrees, in axis order, unused axes 0."""

    device_us: int
    state: int
    drive_state: int
    stop_cause: int
    axis_count: int
    flags: int
    faults: int
    plan_nonce: int
    path_ppm: int
    lease_age_ms: int
    enable_age_ms: int
    primary: tuple[int, ...]
    secondary: tuple[int, ...]
    commanded: tuple[int, ...]


@_message("IMAGER_STATUS")
@dataclass(frozen=True, slots=True)
class ImagerStatus(Message):
    """Imager telemetry."""

    device_us: int
    state: int
    dropped: int
    panel_mode: int
    binning: int
    flags: int
    faults: int
    gantry_udeg: int
    source_arm_um: int
    panel_arm_um: int
    anode_heat_ppm: int
    dose_area_uGycm2: int
    latest_frame: int


@_message("PENDANT_STATUS")
@dataclass(frozen=True, slots=True)
class PendantStatus(Message):
    """Pendant telemetry."""

    device_us: int
    enable_position: int
    contacts: int
    reserved: int
    flags: int
    faults: int
    jog_keys: int
    press_count: int


@_message("REFUSED")
@dataclass(frozen=True, slots=True)
class Refused(Message):
    """Something valid was not obeyed: a code and one sentence of UTF-8."""

    code: int
    about_type: int
    about_seq: int
    expected_seq: int
    text: bytes

    @property
    def sentence(self) -> str:
        """The device's sentence; octets that are not UTF-8 are shown as replacement characters."""
        return self.text.decode("utf-8", "replace")


@_message("ECHO")
@dataclass(frozen=True, slots=True)
class Echo(Message):
    """Ask for the same octets back."""

    payload: bytes


@_message("ECHO_REPLY")
@dataclass(frozen=True, slots=True)
class EchoReply(Message):
    """The same octets."""

    payload: bytes


@_message("LEASE")
@dataclass(frozen=True, slots=True)
class Lease(Message):
    """Keep the dead-man alive; `counter` rises strictly within a session."""

    counter: int
    host_us: int


@_message("LEASE_ACK")
@dataclass(frozen=True, slots=True)
class LeaseAck(Message):
    """The host's time given back with the device's receive and send times."""

    counter: int
    host_us: int
    rx_device_us: int
    tx_device_us: int


@_message("LIMITS_READ")
@dataclass(frozen=True, slots=True)
class LimitsRead(Message):
    """Ask for the axis table."""


@_message("LIMITS_REPLY")
@dataclass(frozen=True, slots=True)
class LimitsReply(Message):
    """The axis table. Each axis: kind (0 linear, 1 rotary), min, max, speed, acceleration, jerk."""

    axis_count: int
    axes: tuple[tuple[int, ...], ...]


@_message("PLAN_UPLOAD")
@dataclass(frozen=True, slots=True)
class PlanUpload(Message):
    """A plan: waypoints of axis positions (micrometres, microdegrees), the last one the target."""

    proposal: bytes
    limits: bytes
    ttl_ms: int
    speed_ppm: int
    axis_count: int
    waypoint_count: int
    start: tuple[int, ...]
    start_tolerance_linear_um: int
    start_tolerance_rotary_udeg: int
    waypoints: tuple[tuple[int, ...], ...]


@_message("PLAN_REPLY")
@dataclass(frozen=True, slots=True)
class PlanReply(Message):
    """The digest of what the device decoded, where it stands, and until when the plan holds."""

    plan_digest: bytes
    plan_nonce: int
    stands_at: tuple[int, ...]
    expires_device_us: int
    duration_ms: int


@_message("EXECUTE")
@dataclass(frozen=True, slots=True)
class Execute(Message):
    """Start the motion of a plan, once."""

    plan_digest: bytes
    plan_nonce: int
    token: bytes


@_message("EXECUTE_REPLY")
@dataclass(frozen=True, slots=True)
class ExecuteReply(Message):
    """The plan is armed or moving."""

    plan_nonce: int


@_message("PLAN_VOID")
@dataclass(frozen=True, slots=True)
class PlanVoid(Message):
    """Throw the plan away."""

    reason: int


@_message("PLAN_VOID_REPLY")
@dataclass(frozen=True, slots=True)
class PlanVoidReply(Message):
    """The plan is gone."""


@_message("FAULT_RESET")
@dataclass(frozen=True, slots=True)
class FaultReset(Message):
    """Reset the named faults whose cause is gone."""

    faults: int


@_message("FAULT_RESET_REPLY")
@dataclass(frozen=True, slots=True)
class FaultResetReply(Message):
    """Faults that remain."""

    remaining: int


@_message("HOME")
@dataclass(frozen=True, slots=True)
class Home(Message):
    """Reference the axes; needs enable and lease."""


@_message("HOME_REPLY")
@dataclass(frozen=True, slots=True)
class HomeReply(Message):
    """Homing begins."""


@_message("JOG")
@dataclass(frozen=True, slots=True)
class Jog(Message):
    """Move one axis at a speed in micrometres or microdegrees per second; 0 ends it."""

    axis: int
    reserved: int
    reserved2: int
    speed: int


@_message("JOG_REPLY")
@dataclass(frozen=True, slots=True)
class JogReply(Message):
    """Jogging."""


@_message("BEAM_GATE")
@dataclass(frozen=True, slots=True)
class BeamGate(Message):
    """1 asks to energise the beam gate (release the hold), 0 to let it fall."""

    request: int


@_message("BEAM_GATE_REPLY")
@dataclass(frozen=True, slots=True)
class BeamGateReply(Message):
    """Whether the gate is energised."""

    energised: int


@_message("TELEMETRY_RATE")
@dataclass(frozen=True, slots=True)
class TelemetryRate(Message):
    """Telemetry period in milliseconds, 2 to 1000; 0: only on STATUS_READ."""

    period_ms: int


@_message("TELEMETRY_RATE_REPLY")
@dataclass(frozen=True, slots=True)
class TelemetryRateReply(Message):
    """The period now in force."""

    period_ms: int


@_message("STATUS_READ")
@dataclass(frozen=True, slots=True)
class StatusRead(Message):
    """Ask for one status telemetry frame."""


@_message("STATUS_READ_REPLY")
@dataclass(frozen=True, slots=True)
class StatusReadReply(Message):
    """The status telemetry has been sent."""


@_message("ARMS")
@dataclass(frozen=True, slots=True)
class Arms(Message):
    """Park (0) or extend (1) source arm and panel arm."""

    source: int
    panel: int


@_message("ARMS_REPLY")
@dataclass(frozen=True, slots=True)
class ArmsReply(Message):
    """The arms move, or stand there already."""


@_message("GANTRY")
@dataclass(frozen=True, slots=True)
class Gantry(Message):
    """Turn the gantry to an absolute angle in microdegrees."""

    angle_udeg: int


@_message("GANTRY_REPLY")
@dataclass(frozen=True, slots=True)
class GantryReply(Message):
    """The gantry turns, or stands there already."""


@_message("TECHNIQUE")
@dataclass(frozen=True, slots=True)
class Technique(Message):
    """kVp x 10, filter, binning, mA x 10, microseconds, field edges at the isocentre (um)."""

    kvp_tenth: int
    filter: int
    binning: int
    ma_tenth: int
    time_us: int
    x1_um: int
    x2_um: int
    y1_um: int
    y2_um: int


@_message("TECHNIQUE_REPLY")
@dataclass(frozen=True, slots=True)
class TechniqueReply(Message):
    """The technique is set."""


@_message("PREPARE")
@dataclass(frozen=True, slots=True)
class Prepare(Message):
    """Spin the anode up (1) or let it fall (0)."""

    on: int


@_message("PREPARE_REPLY")
@dataclass(frozen=True, slots=True)
class PrepareReply(Message):
    """The anode spins up or down."""


@_message("EXPOSE")
@dataclass(frozen=True, slots=True)
class Expose(Message):
    """Take one frame: kind 0 X-ray, 1 dark; at the source angle named, in microdegrees."""

    kind: int
    reserved: int
    reserved2: int
    source_angle_udeg: int


@_message("EXPOSE_REPLY")
@dataclass(frozen=True, slots=True)
class ExposeReply(Message):
    """The number the frame will have."""

    frame: int


@_message("FRAME_INFO")
@dataclass(frozen=True, slots=True)
class FrameInfo(Message):
    """Ask about one frame."""

    frame: int


@_message("FRAME_INFO_REPLY")
@dataclass(frozen=True, slots=True)
class FrameInfoReply(Message):
    """What a frame is: its size, digest, times, technique and geometry."""

    kind: int
    binning: int
    bits: int
    frame: int
    rows: int
    cols: int
    bytes: int
    sha256: _Octets  # the field above hides the built-in name in this class
    begin_device_us: int
    end_device_us: int
    kvp_tenth: int
    ma_tenth: int
    mas_u: int
    source_angle_udeg: int
    source_arm_um: int
    panel_arm_um: int
    dose_area_uGycm2: int
    sad_um: int
    sid_um: int
    pitch_nm: int
    time_us: int
    panel_mode: int
    dropped: int


@_message("FRAME_READ")
@dataclass(frozen=True, slots=True)
class FrameRead(Message):
    """Read at most 4096 octets of a frame."""

    frame: int
    offset: int
    count: int


@_message("FRAME_READ_REPLY")
@dataclass(frozen=True, slots=True)
class FrameReadReply(Message):
    """One block of a frame."""

    reserved: int
    count: int
    frame: int
    offset: int
    data: bytes


@_message("PANEL_MODE")
@dataclass(frozen=True, slots=True)
class PanelMode(Message):
    """How the panel is read: 1 radiographic (period 0), 2 fluoroscopic with a period of its frames."""

    mode: int
    reserved: int
    reserved2: int
    period_us: int


@_message("PANEL_MODE_REPLY")
@dataclass(frozen=True, slots=True)
class PanelModeReply(Message):
    """When the panel will have settled, and how long a read-out takes in the binning that is set."""

    settled_device_us: int
    read_out_us: int


@_message("SERIES")
@dataclass(frozen=True, slots=True)
class Series(Message):
    """Begin a series of pulses at the source angle named, in microdegrees; 0 frames end the one under way."""

    frames: int
    reserved: int
    source_angle_udeg: int


@_message("SERIES_REPLY")
@dataclass(frozen=True, slots=True)
class SeriesReply(Message):
    """The number of the first frame; after an ending, that of the next frame there will be."""

    first_frame: int


_MISSING = set(SPECS) - {cls.SPEC.name for cls in BY_TYPE.values()}
if _MISSING:
    raise DictionaryError(f"messages without a class: {sorted(_MISSING)}")
