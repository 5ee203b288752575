"""The couch on a CLP/1 line.

Each new session reads the axis table anew and compares it with HELLO's digest and with the table
that this program was configured with; until they agree, nothing but STOP, letting go and reading is
possible.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, lru_cache
from operator import truediv
from typing import Final

from igrt_hw.devices.clp import ClpDevice, after, failed, line_settings
from igrt_hw.devices.errors import DeviceError, DigestMismatch, LimitsMismatch, PlanError
from igrt_hw.devices.interfaces import BeamGate, Couch
from igrt_hw.devices.plan import (
    TABLE_TOP_AXES,
    AxisKind,
    CouchLimits,
    MotionPlan,
    PlanReceipt,
    to_line,
)
from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkLost, LossCause
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import Line, LineSettings, monotonic_us
from igrt_hw.link.session import Identity, Lost, Opened, TelemetrySample
from igrt_hw.link.transport import PortSettings
from igrt_hw.models.telemetry import (
    AxisUnit,
    CouchFault,
    CouchFlag,
    CouchState,
    CouchTelemetry,
    DriveState,
    StopCause,
)

FAMILIES: Final = {1: "pedestal", 2: "hexapod", 3: "arm", 4: "scara"}
AXES_OF: Final = {
    3: ("joint_1", "joint_2", "joint_3", "joint_4", "joint_5", "joint_6"),
    4: ("vertical", "shoulder", "elbow", "wrist", "pitch", "roll"),
}
TOKEN_LEN: Final = 16


class ClpCouch(ClpDevice[CouchTelemetry]):
    """A couch that speaks CLP/1.

    expected_limits: the axis table of the machine description; None takes the device's word, which
    is for benches only.
    """

    def __init__(
        self,
        settings: LineSettings,
        expected_limits: CouchLimits | None = None,
        line_of: Callable[[LineSettings], Line] = Line,
    ) -> None:
        super().__init__(settings, line_of)
        self.expected_limits = expected_limits
        self._limits: CouchLimits | None = None
        self._objection: DeviceError | LinkLost = LinkLost(LossCause.CLOSED, "not connected yet")

    @classmethod
    def on_port(
        cls, port: PortSettings | str, expected_limits: CouchLimits | None = None
    ) -> ClpCouch:
        """A couch by its port."""
        return cls(line_settings(port, DeviceKind.COUCH), expected_limits)

    # ---- identity and limits ---------------------------------------------------------------

    def connect(self, timeout_s: float = 5.0) -> None:
        """Wait until a session is open and the axis table is the expected one.

        Raises `LinkLost`, `LimitsMismatch` (with every difference), or `DeviceError` for a session
        that is for telemetry only.
        """
        super().connect(timeout_s)
        with self._ready:
            self._ready.wait_for(
                lambda: self._limits is not None or not isinstance(self._objection, LinkLost),
                timeout_s,
            )
        if self._limits is None:
            raise self._objection

    @property
    def limits(self) -> CouchLimits:
        """The device's axis table, agreed with the expected one. Raises what stands against it."""
        if self._limits is None:
            raise self._objection
        return self._limits

    @property
    def family(self) -> str:
        """Pedestal, hexapod, arm or scara; empty while not connected."""
        identity = self.line.identity
        return FAMILIES.get(identity.family, "unknown") if identity is not None else ""

    def _opened(self, event: Opened) -> None:
        if event.limitation:
            self._settle(DeviceError(f"this session is for telemetry only: {event.limitation}"))
            return
        identity = event.identity

        def read(answered: Future[m.Message]) -> None:
            error = answered.exception()
            if error is None:
                reply = answered.result()
                assert isinstance(reply, m.LimitsReply)
                self._settle(self._compare(reply, identity))
            elif not isinstance(error, LinkLost):
                self._settle(DeviceError(f"the couch does not tell its limits: {error}"))

        self.line.submit(m.LimitsRead()).add_done_callback(read)

    def _closed(self, event: Lost) -> None:
        self._settle(event.error)

    def _settle(self, outcome: CouchLimits | DeviceError | LinkLost) -> None:
        with self._ready:
            if isinstance(outcome, CouchLimits):
                self._limits = outcome
            else:
                self._limits, self._objection = None, outcome
            self._ready.notify_all()

    def _compare(self, reply: m.LimitsReply, identity: Identity) -> CouchLimits | DeviceError:
        names = AXES_OF.get(identity.family, TABLE_TOP_AXES)
        try:
            limits = CouchLimits.from_reply(reply, names)
        except PlanError as error:
            return error
        if limits.short_digest != identity.limits:
            return LimitsMismatch(
                f"the couch's axis table has digest {limits.short_digest.hex()}, but HELLO said"
                f" {identity.limits.hex()}: its firmware contradicts itself"
            )
        if self.expected_limits is not None:
            differences = limits.differences(self.expected_limits)
            if differences:
                return LimitsMismatch(
                    "the couch is not the one that is configured. " + ". ".join(differences)
                )
        return limits

    # ---- commands --------------------------------------------------------------------------

    def upload(self, plan: MotionPlan) -> Future[PlanReceipt]:
        """Upload a plan. The receipt has the device's digest beside the host's own."""
        if self._limits is None:
            return failed(self._objection)
        limits = self._limits
        expected = plan.plan_digest()

        def receipt(reply: m.PlanReply) -> PlanReceipt:
            expires_us = self.line.host_us(reply.expires_device_us)
            return PlanReceipt(
                device_digest=reply.plan_digest,
                expected_digest=expected,
                nonce=reply.plan_nonce,
                stands_at=limits.from_line(reply.stands_at),
                expires_us=monotonic_us() if expires_us is None else expires_us,
                expires_device_us=reply.expires_device_us,
                duration_ms=reply.duration_ms,
            )

        return after(self.line.submit(plan.message()), m.PlanReply, receipt)

    def execute(self, receipt: PlanReceipt, token: bytes) -> Future[None]:
        """Start the plan of a receipt, once. Fails with `DigestMismatch` unless digests agree."""
        if not receipt.digests_agree:
            return failed(
                DigestMismatch(
                    f"the couch decoded plan {receipt.device_digest.hex()[:16]}, approved was"
                    f" {receipt.expected_digest.hex()[:16]}: nothing was started"
                )
            )
        if len(token) != TOKEN_LEN:
            return failed(ValueError(f"a token has {TOKEN_LEN} octets, not {len(token)}"))
        message = m.Execute(receipt.device_digest, receipt.nonce, token)
        return after(self.line.submit(message), m.ExecuteReply, lambda _: None)

    def void_plan(self, reason: int = 0) -> Future[None]:
        """Throw the plan away."""
        return after(self.line.submit(m.PlanVoid(reason)), m.PlanVoidReply, lambda _: None)

    def reset_faults(self, faults: CouchFault) -> Future[CouchFault]:
        """Reset the named faults whose cause is gone; the future has those that remain."""
        return after(
            self.line.submit(m.FaultReset(faults.value)),
            m.FaultResetReply,
            lambda reply: CouchFault(reply.remaining),
        )

    def jog(self, axis: int, speed: float) -> Future[None]:
        """Move one axis at a speed in mm/s or deg/s; 0 ends it. Repeat within 200 ms to go on."""
        if self._limits is None:
            return failed(self._objection)
        if not 0 <= axis < len(self._limits.axes):
            return failed(
                PlanError(f"axis {axis}; this couch has 0 to {len(self._limits.axes) - 1}")
            )
        try:
            number = to_line(speed, self._limits.axes[axis].kind, "jog speed")
        except PlanError as error:
            return failed(error)
        return after(self.line.submit(m.Jog(axis, 0, 0, number)), m.JogReply, lambda _: None)

    def home(self) -> Future[None]:
        """Reference the axes; needs the enable held and a fresh lease."""
        return after(self.line.submit(m.Home()), m.HomeReply, lambda _: None)

    def set_beam_gate(self, energise: bool) -> Future[bool]:
        """Energise the beam gate or let it fall; the future says whether it is energised."""
        return after(
            self.line.submit(m.BeamGate(int(energise))),
            m.BeamGateReply,
            lambda reply: bool(reply.energised),
        )

    # ---- telemetry -------------------------------------------------------------------------

    def _convert(self, sample: TelemetrySample) -> CouchTelemetry | None:
        limits = self._limits or self.expected_limits
        if limits is None or not isinstance(sample.message, m.CouchStatus):
            return None
        return couch_telemetry(sample, tuple(axis.kind for axis in limits.axes))


# The same few numbers come ten times a second: looked up once. A number without a member raises every time.
_state = lru_cache(CouchState)
_drive_state = lru_cache(DriveState)
_stop_cause = lru_cache(StopCause)
_flags = lru_cache(CouchFlag)
_faults = lru_cache(CouchFault)


@cache
def _scales(kinds: tuple[AxisKind, ...]) -> tuple[tuple[AxisUnit, ...], tuple[int, ...]]:
    """Unit of each axis, and how many line units are one of it: what `from_line` divides by."""
    return tuple(kind.unit for kind in kinds), tuple(kind.per_unit for kind in kinds)


def couch_telemetry(sample: TelemetrySample, kinds: tuple[AxisKind, ...]) -> CouchTelemetry:
    """A couch's status in millimetres and degrees. Raises `ValueError` for an unknown state."""
    status = sample.message
    if not isinstance(status, m.CouchStatus):
        raise TypeError(f"{status.SPEC.name} is not the status of a couch")

    units, scales = _scales(kinds)

    def positions(numbers: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(map(truediv, numbers, scales))

    return CouchTelemetry(
        received_us=sample.received_us,
        device_us=status.device_us,
        session=sample.session,
        epoch=sample.epoch,
        axis_units=units,
        primary=positions(status.primary),
        secondary=positions(status.secondary),
        commanded=positions(status.commanded),
        state=_state(status.state),
        drive_state=_drive_state(status.drive_state),
        stop_cause=_stop_cause(status.stop_cause),
        flags=_flags(status.flags),
        faults=_faults(status.faults),
        plan_nonce=status.plan_nonce,
        path_fraction=status.path_ppm / 1e6,
        lease_age_ms=status.lease_age_ms,
        enable_age_ms=status.enable_age_ms,
    )


class ClpBeamGate:
    """The beam gate, wired to the couch controller. De-energised means hold."""

    def __init__(self, couch: ClpCouch, fresh_us_max: int = 250_000) -> None:
        self._couch = couch
        self._fresh_us_max = fresh_us_max

    @property
    def energised(self) -> bool | None:
        """Whether the hold is released; None while telemetry is not fresh."""
        status = self._couch.telemetry
        if status is None or monotonic_us() - status.received_us > self._fresh_us_max:
            return None
        return CouchFlag.BEAM_GATE_ENERGISED in status.flags

    def release(self) -> Future[bool]:
        """Ask to release the hold; refused unless at rest, brakes on, no fault, lease fresh."""
        return self._couch.set_beam_gate(True)

    def hold(self) -> Future[bool]:
        """Hold the beam."""
        return self._couch.set_beam_gate(False)


def as_couch(driver: ClpCouch) -> Couch:
    """The driver as what it is to the rest of the program; the type checker holds it to that."""
    return driver


def as_gate(driver: ClpBeamGate) -> BeamGate:
    """The driver as what it is to the rest of the program; the type checker holds it to that."""
    return driver
