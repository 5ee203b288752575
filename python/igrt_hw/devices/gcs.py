"""A couch whose hexapod controller speaks the General Command Set (docs/gcs.md).

The same couch interface as on CLP/1, on top of a dialect that promises less. What is missing is made up for here as
far as a host can, and said in `ASSURANCE`:

- plan: the target is formatted once; what was formatted is read back from its text, converted back to axes and
  compared with the approved line units; VMO? asks the controller whether it can go there; after MOV the controller's
  own target (MOV?) is compared at once, before its brakes are open, and a difference is answered by #24; on arrival
  POS? is compared by the supervisor.
- lease: this program sends HLT as soon as permission or the pendant's enable is not fresh. If this program dies,
  nobody sends it: only the pendant's enable in the supply of the drives stops the couch. So it is proved before every
  motion that the chain is there: with the enable released the controller must refuse to switch the servo on.
- STOP: the octet #24, written at once from any thread, ahead of everything, in the middle of whatever is being
  written.

One thread owns the line. Everything that waits has a bound; every failure of the line becomes one `LinkLost`.
"""

from __future__ import annotations

import logging
import secrets
import select
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from igrt_hw.devices.clp import failed
from igrt_hw.devices.errors import DeviceError, DigestMismatch, LimitsMismatch, PlanError
from igrt_hw.devices.gcs_frame import PlatformFrame
from igrt_hw.devices.interfaces import Couch
from igrt_hw.devices.plan import CouchLimits, MotionPlan, PlanReceipt
from igrt_hw.link import gcs
from igrt_hw.link.errors import LinkLost, LossCause, StoppedByStop
from igrt_hw.link.events import Identity, Lost, Opened
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.gcs import Form, GcsRefused
from igrt_hw.link.runner import LineEvent, monotonic_us
from igrt_hw.link.tally import Tally
from igrt_hw.link.transport import PortSettings, Transport, open_port
from igrt_hw.models.telemetry import (
    CouchFault,
    CouchFlag,
    CouchState,
    CouchTelemetry,
    DriveState,
    EnablePosition,
    LinkHealth,
    StopCause,
)

ASSURANCE: Final = (
    "no lease: if this program dies, only the pendant's enable in the supply of the drives stops the couch",
    "no plan digest: the controller keeps one target, which is read back only after it was told to go there",
    "no STOP epoch and no session: a command that was sent cannot be barred afterwards, only stopped",
    "no straight line: the struts move together and the platform bows out between start and target",
    "no second position channel: arrival is proved by the controller's own encoders and by images",
    "no wires in its status: arms and brakes are not reported; brakes are taken as on after servo off",
    "no limits digest, no beam gate: travel ranges are compared, the beam is held",
)
UNREPORTED: Final = ("second channel", "panel arms")

POLL_US: Final = 50_000
ENABLE_FRESH_US: Final = 250_000  # the pendant tells every 50 ms
PROOF_RELEASED_US: Final = 200_000  # both contacts have long opened
BRAKES_ON_US: Final = 500_000  # after servo off; nothing on the line says so
QUIET_US: Final = 60_000
QUIET_WAIT_US: Final = 1_000_000
TARGET_TOLERANCE: Final = 1e-5  # mm and degrees: what six decimals and a float lose
SETTLE_US_MAX: Final = 3_000_000
BACKOFF_S: Final = (0.1, 2.0)
TOKEN_LEN: Final = 16
CODES_OF_FAULTS: Final = {
    216: CouchFault.LIMIT_SWITCH,
    217: CouchFault.FOLLOWING_ERROR,
    500: CouchFault.EMERGENCY_STOP,
    501: CouchFault.EMERGENCY_STOP,
    503: CouchFault.TOUCH_GUARD,
    504: CouchFault.FOLLOWING_ERROR,
    505: CouchFault.ENCODER_FAULT,
    654: CouchFault.DRIVE_FAULT,
    720: CouchFault.BRAKE_DID_NOT_RELEASE,
}
CODE_SAFETY_STOP: Final = 657

_log = logging.getLogger(__name__)
T = TypeVar("T")
S = CouchState


@dataclass(slots=True)
class _Known:
    """What the controller said last."""

    position: tuple[float, ...] = (0.0,) * 6
    moving: bool = False
    servo: bool = False
    referenced: bool = False
    servo_off_us: int = 0
    estop: bool = False
    touch: bool = False


@dataclass(slots=True)
class _Task:
    """A plan and what became of it."""

    plan: MotionPlan
    text: str
    nonce: int
    expires_us: int
    executed: bool = False


class GcsCouch:
    """A hexapod couch on a GCS line. See the module.

    frame: how the platform is mounted on the couch. expected_limits: the axis table of the machine description.
    travel: what TMN? and TMX? must say at least, each way, mm and degrees.
    """

    assurance: tuple[str, ...] = ASSURANCE

    def __init__(
        self,
        port: PortSettings | str,
        frame: PlatformFrame,
        expected_limits: CouchLimits,
        travel: tuple[float, float],
        *,
        transport_of: Callable[[PortSettings], Transport] = open_port,
        clock_us: Callable[[], int] = monotonic_us,
        wait: Callable[[Transport, int], None] | None = None,
    ) -> None:
        self._port = PortSettings(port) if isinstance(port, str) else port
        self._frame, self._limits, self._travel = frame, expected_limits, travel
        self._transport_of, self._clock_us = transport_of, clock_us
        self._wait = wait or _wait_readable
        self._thread = threading.Thread(target=self._run, name="line couch (GCS)", daemon=True)
        self._closing = threading.Event()
        self._ready = threading.Condition()
        self._write_lock = threading.Lock()  # protects the order of octets on the line
        self._jobs: deque[tuple[Callable[[], None], Future[object]]] = deque()
        self._listeners: list[Callable[[CouchTelemetry], None]] = []
        self._event_listeners: list[Callable[[LineEvent], None]] = []
        self._transport: Transport | None = None
        self._lost: LinkLost = LinkLost(LossCause.CLOSED, "not connected yet")
        self._identity: Identity | None = None
        self._telemetry: CouchTelemetry | None = None
        self._tally = Tally()
        self._round_trip_us: float | None = None
        self._rate_from_us, self._rate_count, self._rate_hz = 0, 0, 0.0
        self._permission_until_us = 0
        self._enable = EnablePosition.RELEASED
        self._enable_us = 0
        self._released_since_us: int | None = None
        self._epoch = 1
        self._stops = 0  # grows with every STOP; what was decided under a smaller number is void
        self._forget()

    def _forget(self) -> None:
        """Nothing of one connection reaches the next."""
        self._known = _Known()
        self._task: _Task | None = None
        self._state = S.IDLE
        self._cause = StopCause.NONE
        self._faults = CouchFault(0)
        self._shown_nonce = 0
        self._target: tuple[float, ...] = ()
        self._from: tuple[float, ...] = ()
        self._rest_since_us: int | None = None
        self._chain_proved = False
        self._polled_us = -POLL_US
        self._stops_seen = self._stops

    # ---- life ------------------------------------------------------------------------------

    @property
    def line(self) -> GcsCouch:
        """The line of this couch: events and identity, as the service listens to them."""
        return self

    @property
    def identity(self) -> Identity | None:
        """Who is at the other end, while the line is open."""
        return self._identity

    @property
    def limits(self) -> CouchLimits:
        """The axis table of the machine description, whose travel the controller has. Raises what stands against it."""
        if self._identity is None:
            raise self._lost
        return self._limits

    @property
    def telemetry(self) -> CouchTelemetry | None:
        """The latest status."""
        return self._telemetry

    def start(self) -> None:
        """Begin to connect; go on connecting whenever the link is lost."""
        self._thread.start()

    def connect(self, timeout_s: float = 5.0) -> None:
        """Wait until the controller may be used; raises what stands against it."""
        if self._thread.ident is None:
            self.start()
        with self._ready:
            self._ready.wait_for(lambda: self._telemetry is not None, timeout_s)
        if self._telemetry is None:
            raise self._lost

    def close(self) -> None:
        """Stop, and give the line back."""
        if self._transport is not None:
            self.stop()
        self._closing.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def on_telemetry(self, listener: Callable[[CouchTelemetry], None]) -> None:
        """Call `listener` with each new status, in the thread of the line: return at once."""
        self._listeners.append(listener)

    def on_event(self, listener: Callable[[LineEvent], None]) -> None:
        """Call `listener` when the line opens or is lost, in the thread of the line."""
        self._event_listeners.append(listener)

    def health(self) -> LinkHealth:
        """How the line is doing."""
        now_us, told = self._clock_us(), self._telemetry
        open_now = self._identity is not None
        return LinkHealth(
            device="couch",
            port=self._port.port,
            state="open" if open_now else "lost",
            connected=open_now,
            cause="" if open_now else str(self._lost),
            session=self._identity.session if self._identity else 0,
            boot_id=0,
            epoch=self._epoch,
            permission_fresh=self._permitted(now_us),
            low_latency="",
            telemetry_age_ms=(now_us - told.received_us) / 1000 if told else None,
            telemetry_rate_hz=self._rate_hz,
            round_trip_us=self._round_trip_us,
            clock_offset_us=None,
            clock_uncertainty_us=None,
            clock_drift_ppm=None,
            counters=self._tally.frozen(),
            assurance=ASSURANCE,
        )

    # ---- what permits motion ---------------------------------------------------------------

    def refresh_permission(self, until_us: int) -> bool:
        """Motion may go on until `until_us`, at most 500 ms ahead; after that this program sends HLT."""
        self._permission_until_us = min(until_us, self._clock_us() + 500_000)
        return self._identity is not None

    def hear_enable(self, position: EnablePosition, at_us: int) -> None:
        """What the pendant's line said of the enable, and when."""
        if position is EnablePosition.RELEASED:
            self._released_since_us = self._released_since_us or at_us
        else:
            self._released_since_us = None
        self._enable, self._enable_us = position, at_us

    def _permitted(self, now_us: int) -> bool:
        return now_us < self._permission_until_us

    def _enable_held(self, now_us: int) -> bool:
        fresh = now_us - self._enable_us <= ENABLE_FRESH_US
        return fresh and self._enable is EnablePosition.ENABLED

    def _may_move(self, now_us: int) -> bool:
        """ALL of: enable held by fresh word of the pendant, permission fresh, chain proved, no fault."""
        return (
            self._enable_held(now_us)
            and self._permitted(now_us)
            and self._chain_proved
            and not self._faults
        )

    def stop(self, reason: int = 0) -> Future[int]:
        """#24 at once, from any thread, ahead of everything; what waits is dropped. Gives this program's epoch."""
        del reason  # the dialect has no word for it
        transport = self._transport
        self._stops += 1
        self._epoch = (self._epoch + 1) & 0xFFFF
        while self._jobs:
            with suppress(IndexError):
                waiting = self._jobs.popleft()[1]
                waiting.set_exception(StoppedByStop("dropped by STOP"))
        if transport is None:
            return failed(self._lost)
        try:
            transport.write(gcs.STOP)  # no lock: it may cut into whatever is being written
        except LinkLost as error:
            return failed(error)
        self._tally.stops_sent += 1
        future: Future[int] = Future()
        future.set_result(self._epoch)
        return future

    # ---- commands --------------------------------------------------------------------------

    def upload(self, plan: MotionPlan) -> Future[PlanReceipt]:
        """Prepare a plan: check it against limits and controller, read its text back. Nothing is told to move."""
        return self._do(lambda: self._upload(plan))

    def execute(self, receipt: PlanReceipt, token: bytes) -> Future[None]:
        """Arm the plan of a receipt, once; it moves when the enable is held."""
        if not receipt.digests_agree:
            return failed(DigestMismatch("the text for the controller is not the approved plan"))
        if len(token) != TOKEN_LEN:
            return failed(ValueError(f"a token has {TOKEN_LEN} octets, not {len(token)}"))
        return self._do(lambda: self._arm(receipt))

    def void_plan(self, reason: int = 0) -> Future[None]:
        """Throw the plan away; a motion under way is stopped."""
        del reason
        return self._do(self._void)

    def reset_faults(self, faults: CouchFault) -> Future[CouchFault]:
        """Forget the named faults whose cause the controller no longer tells."""
        return self._do(lambda: self._reset(faults))

    def jog(self, axis: int, speed: float) -> Future[None]:
        """Not there: without a lease nobody but the enable would end it. Ending one that is not there is no error."""
        if speed == 0.0:
            return self._do(lambda: None)
        return failed(DeviceError("this couch cannot be jogged: its dialect (GCS) has no lease"))

    def home(self) -> Future[None]:
        """FRF: the reference move; needs enable and permission."""
        return self._do(self._home)

    def set_beam_gate(self, energise: bool) -> Future[bool]:
        """There is no beam gate on this line: the beam is held."""
        if energise:
            return failed(
                DeviceError(
                    "this couch has no beam gate (GCS): the beam stays held by this program; release it by other means"
                )
            )
        return self._do(lambda: False)

    def _do(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` in the thread of the line."""
        future: Future[T] = Future()
        if self._identity is None:
            return failed(self._lost)

        def run() -> None:
            try:
                result = work()
            except LinkLost as error:
                future.set_exception(error)
                raise
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.append((run, future))  # type: ignore[arg-type]
        return future

    # ---- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        backoff_s, most_s = BACKOFF_S
        while not self._closing.is_set():
            if self.serve_once():
                backoff_s = BACKOFF_S[0]
            self._closing.wait(backoff_s)
            backoff_s = min(2 * backoff_s, most_s)

    def serve_once(self) -> bool:
        """One connection from opening to its loss; whether it was open."""
        opened = False
        try:
            transport = self._transport_of(self._port)
        except LinkLost as error:
            self._note_lost(error)
            return False
        self._forget()
        self._transport = transport
        try:
            self._open()
            opened = True
            while not self._closing.is_set():
                self.turn()
            raise LinkLost(LossCause.CLOSED, "")
        except LinkLost as error:
            with suppress(LinkLost):
                transport.write(gcs.STOP)  # a line that is given up must not leave a motion behind
            self._note_lost(error)
        except DeviceError as error:
            self._note_lost(LinkLost(LossCause.WRONG_DEVICE, str(error)))
        except Exception as error:
            # What this driver does not understand ends the connection, stopped, and not the thread.
            _log.exception("the couch's line")
            with suppress(LinkLost):
                transport.write(gcs.STOP)
            self._note_lost(LinkLost(LossCause.UNANSWERED, str(error)))
        finally:
            self._transport = None
            transport.close()
        return opened

    def _note_lost(self, error: LinkLost) -> None:
        news = self._identity is not None or str(error) != str(self._lost)
        self._lost, self._identity = error, None
        while self._jobs:
            with suppress(IndexError):
                self._jobs.popleft()[1].set_exception(error)
        if news:
            self._publish(Lost(error))
        with self._ready:
            self._ready.notify_all()

    def _publish(self, event: Opened | Lost) -> None:
        for listener in self._event_listeners:
            listener(LineEvent(self._clock_us(), event))

    def _open(self) -> None:
        """#24 and silence, then who it is and whether it is mounted, limited and set up as expected."""
        assert self._transport is not None
        self._transport.write(gcs.STOP + b"\n")
        self._drain()
        self._ask(gcs.ERROR)
        idn = str(self._ask(gcs.IDENTITY)[0])
        low = self._numbers(gcs.of_axes("TMN?"))
        high = self._numbers(gcs.of_axes("TMX?"))
        for axis, least, most, needed in zip(
            gcs.AXES, low, high, (self._travel[0],) * 3 + (self._travel[1],) * 3, strict=True
        ):
            if not (least <= -needed and most >= needed):
                raise LimitsMismatch(
                    f"axis {axis} travels {least} to {most}; the machine description needs {needed} each way"
                )
        units = self._ask(gcs.Question("PUN? " + " ".join(gcs.AXES), Form.TEXT))
        if units != tuple(
            f"{a}={u}" for a, u in zip(gcs.AXES, ("mm",) * 3 + ("deg",) * 3, strict=True)
        ):
            raise LimitsMismatch(f"the controller's units are {', '.join(map(str, units))}")
        self._check_coordinates()
        self._tally.sessions += 1
        self._poll(self._clock_us())
        self._identity = Identity(
            device=DeviceKind.COUCH,
            family=2,
            axis_count=6,
            boot_id=0,
            session=secrets.randbits(32) or 1,
            dictionary=b"",
            limits=self._limits.short_digest,
            build=idn.encode(),
            max_body=0,
            window=1,
        )
        self._publish(Opened(self._identity, ""))
        with self._ready:
            self._ready.notify_all()

    def _check_coordinates(self) -> None:
        """The numbers mean what `PlatformFrame` takes them for: root coordinate system, pivot at the origin."""
        systems = self._ask(gcs.ENABLED_SYSTEMS)
        if systems != ("ZERO=ZERO",):
            raise LimitsMismatch(
                f"coordinate system {', '.join(map(str, systems))} is enabled; send KEN ZERO and connect again"
            )
        pivot = self._numbers(gcs.of_axes("SPI?", items=("R", "S", "T")))
        if any(abs(value) > TARGET_TOLERANCE for value in pivot):
            raise LimitsMismatch(
                f"the pivot point is at {pivot}; set it to 0 (SPI R 0 S 0 T 0) and connect again"
            )

    def _drain(self) -> None:
        """Forget what waited in the line: what comes before silence belongs to nobody."""
        assert self._transport is not None
        begin_us = quiet_us = self._clock_us()
        while self._clock_us() - quiet_us < QUIET_US:
            self._wait(self._transport, 10_000)
            if self._transport.read():
                quiet_us = self._clock_us()
            if self._clock_us() - begin_us > QUIET_WAIT_US:
                raise LinkLost(LossCause.SILENT, "the line is never quiet; is it a GCS controller?")

    def turn(self) -> None:
        """Jobs, then a poll when it is due, then what follows from it; else wait a little."""
        now_us = self._clock_us()
        self._heed_stops()
        if self._jobs:
            with suppress(IndexError):
                self._jobs.popleft()[0]()
        if self._clock_us() - self._polled_us >= POLL_US:
            self._poll(now_us)
            self._follow(self._clock_us())
            self._tell(self._clock_us())
        else:
            self._guard_motion(self._clock_us())
            assert self._transport is not None
            self._wait(self._transport, 5_000)
            if self._transport.read():
                raise LinkLost(LossCause.SEQUENCE, "octets that nobody asked for")

    def _heed_stops(self) -> None:
        """A STOP was given from another thread: whatever was planned, armed or moving before it is void."""
        if self._stops_seen == self._stops:
            return
        self._stops_seen = self._stops
        self._task, self._shown_nonce = None, 0
        if self._state is not S.LATCHED:
            self._state, self._cause = S.STOPPING, StopCause.STOP

    # ---- questions and commands ------------------------------------------------------------

    def _ask(self, question: gcs.Question) -> gcs.Answer:
        transport = self._transport
        if transport is None:
            raise self._lost
        begin_us = self._clock_us()
        exchange = gcs.Exchange(question, begin_us)
        self._write(question.octets)
        while exchange.answer is None:
            self._guard_motion(self._clock_us())
            self._wait(transport, 5_000)
            octets = transport.read()
            self._tally.octets_received += len(octets)
            exchange.feed(octets, self._clock_us())
        self._tally.frames_received += 1
        took = self._clock_us() - begin_us
        self._round_trip_us = (
            took if self._round_trip_us is None else 0.9 * self._round_trip_us + 0.1 * took
        )
        return exchange.answer

    def _numbers(self, question: gcs.Question) -> tuple[float, ...]:
        return tuple(float(value) for value in self._ask(question))

    def _write(self, octets: bytes) -> None:
        assert self._transport is not None
        begin_us = self._clock_us()
        with self._write_lock:
            while octets:
                octets = octets[self._transport.write(octets) :]
                if octets and self._clock_us() - begin_us > gcs.ANSWER_US_MAX:
                    raise LinkLost(LossCause.SILENT, "the port takes no more octets")
        self._tally.frames_sent += 1

    def _command(self, text: str) -> None:
        """Give a command and ask what became of it. Raises `GcsRefused` with the controller's code."""
        if self._stops_seen != self._stops:
            raise StoppedByStop(f"{text.split()[0]}: a STOP came first")
        self._write(text.encode("ascii") + b"\n")
        if self._stops_seen != self._stops:
            # A STOP of another thread may have overtaken these octets: it must be the last word.
            self._write(gcs.STOP)
        code = int(self._numbers(gcs.ERROR)[0])
        if code:
            self._tally.refused += 1
            self._note_code(code)
            raise GcsRefused(text, code)

    def _servo(self, on: bool) -> None:
        self._command("SVO " + " ".join(f"{axis} {int(on)}" for axis in gcs.AXES))

    def _note_code(self, code: int) -> None:
        self._faults |= CODES_OF_FAULTS.get(code, CouchFault(0))

    def _guard_motion(self, now_us: int) -> None:
        """HLT as soon as what permits the motion is gone; between questions and while an answer is waited for."""
        if self._state in (S.MOVING, S.HOMING) and not self._may_move(now_us):
            self._cause = (
                StopCause.LEASE_LATE if self._enable_held(now_us) else StopCause.ENABLE_RELEASED
            )
            if self._state is S.HOMING:
                self._task = None
            self._state = S.STOPPING
            self._write(b"HLT\n")

    # ---- jobs ------------------------------------------------------------------------------

    def _upload(self, plan: MotionPlan) -> PlanReceipt:
        if self._faults:
            raise DeviceError("a fault is latched; reset it first")
        if self._state not in (S.IDLE, S.ARRIVED, S.PLAN_LOADED):
            raise DeviceError(f"not while the couch is {self._state.words}")
        if not self._known.referenced:
            raise DeviceError("the hexapod is not referenced: home it first")
        if len(plan.waypoints) != 1:
            raise PlanError(
                f"{len(plan.waypoints)} waypoints; this dialect (GCS) goes to one target"
            )
        self._check_coordinates()
        target = self._limits.from_line(plan.waypoints[0])
        self._limits.to_line(target, "target")
        text = gcs.command("MOV", self._frame.to_controller(target))
        numbers = gcs.values_of(text, "MOV")
        read_back = self._limits.to_line(self._frame.to_axes(numbers), "target read back")
        if any(abs(a - b) > 2 for a, b in zip(read_back, plan.waypoints[0], strict=True)):
            raise DigestMismatch(
                "the target does not survive the way to the controller and back: nothing is sent"
            )
        possible = self._ask(gcs.Question("VMO?" + text.removeprefix("MOV"), Form.CODE))
        if possible != (1.0,):
            raise PlanError("the controller cannot go to the target (VMO?); plan a smaller move")
        self._from = self._numbers(gcs.of_axes("POS?"))
        stands = self._frame.to_axes(self._from)
        now_us = self._clock_us()
        nonce = secrets.randbits(32) or 1
        self._task = _Task(plan, text, nonce, now_us + plan.ttl_ms * 1000)
        self._target, self._shown_nonce, self._state = numbers, nonce, S.PLAN_LOADED
        # The controller decodes no plan. This is the digest of what was read back from our own text, and no more.
        digest = plan.plan_digest()
        return PlanReceipt(
            device_digest=digest,
            expected_digest=digest,
            nonce=nonce,
            stands_at=stands,
            expires_us=now_us + plan.ttl_ms * 1000,
            expires_device_us=0,
            duration_ms=0,
        )

    def _arm(self, receipt: PlanReceipt) -> None:
        task = self._task
        if task is None or task.nonce != receipt.nonce or self._state is not S.PLAN_LOADED:
            raise DeviceError("this plan is not loaded; upload it anew")
        if task.executed:
            raise DeviceError("this plan was executed once; upload it anew")
        if not self._chain_proved:
            raise DeviceError(
                "it is not proved that the pendant's enable is wired into the drives: let go of it for a second"
            )
        task.executed = True
        self._state, self._cause = S.ARMED, StopCause.NONE

    def _void(self) -> None:
        moving = self._state in (S.MOVING, S.HOMING, S.STOPPING)
        self._task, self._shown_nonce = None, 0
        if moving:
            self._state, self._cause = S.STOPPING, StopCause.STOP
            self._write(gcs.STOP)
        elif self._state is not S.LATCHED:
            self._state = S.IDLE

    def _reset(self, faults: CouchFault) -> CouchFault:
        self._poll(self._clock_us())
        still = CouchFault(0)
        if self._known.estop:
            still |= CouchFault.EMERGENCY_STOP
        if self._known.touch:
            still |= CouchFault.TOUCH_GUARD
        self._faults = (self._faults & ~faults) | still
        if not self._faults and self._state is S.LATCHED:
            self._state = S.IDLE
        return self._faults

    def _home(self) -> None:
        if not self._may_move(self._clock_us()):
            raise DeviceError("FRF needs the enable held, a fresh permission and the proved chain")
        if self._state not in (S.IDLE, S.ARRIVED):
            raise DeviceError(f"not while the couch is {self._state.words}")
        self._servo(True)
        self._command("FRF " + " ".join(gcs.AXES))
        self._state, self._task = S.HOMING, None

    # ---- polling and following -------------------------------------------------------------

    def _poll(self, now_us: int) -> None:
        known = self._known
        self._polled_us = now_us
        known.position = self._numbers(gcs.of_axes("POS?"))
        known.moving = self._ask(gcs.MOVING) != (0.0,)
        servo = all(self._ask(gcs.of_axes("SVO?", Form.SWITCHES)))
        if known.servo and not servo:
            known.servo_off_us = self._clock_us()
        known.servo = servo
        known.referenced = all(self._ask(gcs.of_axes("FRF?", Form.SWITCHES)))
        code = int(self._numbers(gcs.ERROR)[0])
        # 501 says that it was pressed: a fault where the drives were on, until somebody resets it; after that it is
        # told on and on until the servo is switched on for the next motion.
        known.estop, known.touch = code == 500, code == 503
        if code != 501 or self._state in (S.MOVING, S.STOPPING, S.HOMING):
            self._note_code(code)
        if code == CODE_SAFETY_STOP and self._state is S.MOVING:
            self._state, self._cause = S.STOPPING, StopCause.ENABLE_RELEASED
        if code == gcs.CODE_STOPPED and self._cause is not StopCause.ENABLE_RELEASED:
            self._stopped()

    def _stopped(self) -> None:
        """The controller was stopped by command: by ours, or by somebody else's."""
        if self._cause is StopCause.LEASE_LATE and self._state in (S.STOPPING, S.HELD):
            return
        if self._state in (S.MOVING, S.STOPPING, S.HELD, S.ARMED, S.PLAN_LOADED, S.HOMING):
            self._task, self._shown_nonce = None, 0
            self._cause = StopCause.STOP
            self._state = S.STOPPING if self._known.moving else S.IDLE

    def _follow(self, now_us: int) -> None:
        """One step of what follows from what is known."""
        task, known = self._task, self._known
        if self._faults and self._state is not S.LATCHED:
            self._latch(now_us)
        if (
            task is not None
            and now_us > task.expires_us
            and self._state
            in (
                S.PLAN_LOADED,
                S.ARMED,
                S.HELD,
            )
        ):
            self._task, self._shown_nonce = None, 0
            self._state, self._cause = S.IDLE, StopCause.PLAN_EXPIRED
        match self._state:
            case S.IDLE | S.ARRIVED | S.PLAN_LOADED | S.NOT_REFERENCED:
                self._prove_chain(now_us)
            case S.ARMED | S.HELD if task is not None and self._may_move(now_us):
                self._go(task)
            case S.MOVING if not known.servo:
                self._lost_servo()
            case S.MOVING if not known.moving:
                self._settle(now_us)
            case S.STOPPING if not known.moving:
                self._rest()
            case S.HOMING if not known.moving and self._ask(gcs.IS_READY) == (1.0,):
                self._rest()
                self._state = S.IDLE
            case _:
                pass

    def _latch(self, now_us: int) -> None:
        del now_us
        if self._known.moving:
            self._write(gcs.STOP)
        self._task, self._shown_nonce = None, 0
        self._state = S.LATCHED
        self._cause = StopCause.FAULT
        if CouchFault.EMERGENCY_STOP in self._faults:
            self._cause = StopCause.EMERGENCY_STOP
        elif CouchFault.TOUCH_GUARD in self._faults:
            self._cause = StopCause.TOUCH_GUARD

    def _prove_chain(self, now_us: int) -> None:
        """With the enable released the controller must refuse the servo; once for each time that it was let go."""
        released = self._released_since_us
        if released is None or now_us - self._enable_us > ENABLE_FRESH_US:
            # Pressed: what was proved counts for this press. Not heard: nothing is proved.
            self._chain_proved &= now_us - self._enable_us <= ENABLE_FRESH_US
            return
        if self._chain_proved or now_us - released < PROOF_RELEASED_US or self._faults:
            return
        faults = self._faults
        try:
            self._servo(True)
        except StoppedByStop:
            return
        except GcsRefused as refused:
            # Any refusal proves it but those that say nothing of the supply.
            self._chain_proved = refused.code not in (1, 2, 3, 15, 17, 22, 24)
            if refused.code == 501:
                self._faults = faults
            return
        with suppress(GcsRefused, StoppedByStop):
            self._servo(False)
        self._chain_proved = False

    def _go(self, task: _Task) -> None:
        """Servo on, MOV, and at once what the controller takes for its target."""
        try:
            self._servo(True)
            self._state, self._cause = S.MOVING, StopCause.NONE
            self._rest_since_us = None
            # As slow as the slow speed of the approved plan: VLS bounds the platform's velocity.
            linear = [axis.speed_max / 1000 for axis in self._limits.axes[:3]]
            self._command(f"VLS {min(linear) * task.plan.speed_ppm / 1e6:.6f}")
            self._command(task.text)
        except StoppedByStop:
            self._heed_stops()
            return
        except GcsRefused as refused:
            _log.warning("%s", refused)
            self._cause = (
                StopCause.ENABLE_RELEASED if refused.code in (508, 657) else StopCause.FAULT
            )
            self._state = S.HELD if refused.code in (5, 508, 657) else S.STOPPING
            if self._state is S.STOPPING:
                self._task, self._shown_nonce = None, 0
            return
        target = self._numbers(gcs.of_axes("MOV?"))
        if any(abs(a - b) > TARGET_TOLERANCE for a, b in zip(target, self._target, strict=True)):
            self._write(gcs.STOP)
            self._faults |= CouchFault.SELF_TEST
            self._latch(self._clock_us())

    def _lost_servo(self) -> None:
        """The safety chain opened before our HLT did anything: held."""
        self._state = S.STOPPING
        if self._cause is StopCause.NONE:
            self._cause = StopCause.ENABLE_RELEASED

    def _settle(self, now_us: int) -> None:
        on_target = all(self._ask(gcs.of_axes("ONT?", Form.SWITCHES)))
        self._rest_since_us = self._rest_since_us or now_us
        if on_target:
            with suppress(StoppedByStop):
                self._servo(False)
            self._state, self._cause, self._task = S.ARRIVED, StopCause.ARRIVED, None
        elif now_us - self._rest_since_us > SETTLE_US_MAX:
            self._faults |= CouchFault.FOLLOWING_ERROR

    def _rest(self) -> None:
        """At rest after a stop: servo off, so that the brakes hold."""
        with suppress(GcsRefused, StoppedByStop):
            self._servo(False)
        self._state = S.HELD if self._task is not None else S.IDLE

    # ---- telemetry -------------------------------------------------------------------------

    def _flags(self, now_us: int) -> CouchFlag:
        known = self._known
        moving = known.moving or self._state in (S.MOVING, S.STOPPING, S.HOMING)
        braked = not known.servo and now_us - known.servo_off_us > BRAKES_ON_US
        pairs = (
            (CouchFlag.ENABLE_HELD, self._enable_held(now_us)),
            (CouchFlag.ENABLE_PANIC, self._enable is EnablePosition.SQUEEZED),
            (CouchFlag.LEASE_FRESH, self._permitted(now_us)),
            (CouchFlag.BRAKES_ON, braked),
            (CouchFlag.REFERENCED, known.referenced),
            (CouchFlag.MOVING, moving or not braked),
            (CouchFlag.ESTOP_PRESSED, known.estop),
            (CouchFlag.TOUCH_GUARD_PRESSED, known.touch),
        )
        flags = CouchFlag(0)
        for flag, on in pairs:
            if on:
                flags |= flag
        return flags

    def _tell(self, now_us: int) -> None:
        position = self._frame.to_axes(self._known.position)
        state = self._state
        if state is S.IDLE and not self._known.referenced:
            state = S.NOT_REFERENCED
        if state is S.ARRIVED and CouchFlag.BRAKES_ON not in self._flags(now_us):
            state = S.MOVING  # arrived is at rest with the brakes on
        target = self._frame.to_axes(self._target) if self._target else position
        told = CouchTelemetry(
            received_us=now_us,
            device_us=0,
            session=self._identity.session if self._identity else 0,
            epoch=self._epoch,
            axis_units=self._limits.units,
            primary=position,
            secondary=position,
            commanded=target,
            state=state,
            drive_state=DriveState.OPERATION_ENABLED
            if self._known.servo
            else DriveState.SWITCHED_ON,
            stop_cause=self._cause if state is self._state else StopCause.NONE,
            flags=self._flags(now_us),
            faults=self._faults,
            plan_nonce=self._shown_nonce,
            path_fraction=self._fraction(),
            lease_age_ms=0,
            enable_age_ms=min(65_535, max(0, now_us - self._enable_us) // 1000),
            assurance=ASSURANCE,
            unreported=UNREPORTED,
            hardware_channel=self._chain_proved,
        )
        self._telemetry = told
        self._tally.telemetry_received += 1
        self._count_rate(now_us)
        for listener in self._listeners:
            listener(told)
        with self._ready:
            self._ready.notify_all()

    def _fraction(self) -> float:
        """How far between start and target the platform is, judged by its position; the dialect does not tell."""
        if not self._shown_nonce:
            return 0.0
        way = [to - at for at, to in zip(self._from, self._target, strict=True)]
        done = [now - at for at, now in zip(self._from, self._known.position, strict=True)]
        length = sum(d * d for d in way)
        share = sum(a * b for a, b in zip(way, done, strict=True)) / length if length > 0 else 1.0
        return min(1.0, max(0.0, share))

    def _count_rate(self, now_us: int) -> None:
        self._rate_count += 1
        span_us = now_us - self._rate_from_us
        if span_us >= 1_000_000:
            self._rate_hz = self._rate_count * 1e6 / span_us if self._rate_from_us else 0.0
            self._rate_from_us, self._rate_count = now_us, 0


def _wait_readable(transport: Transport, timeout_us: int) -> None:
    select.select([transport.fileno()], [], [], timeout_us / 1e6)


def as_couch(driver: GcsCouch) -> Couch:
    """The driver as what it is to the rest of the program; the type checker holds it to that."""
    return driver
