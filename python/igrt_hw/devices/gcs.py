"""A couch whose hexapod controller speaks the General Command Set (docs/gcs.md).

The same couch interface as on CLP/1, on top of a dialect that promises less. What is missing is made up for here as
far as a host can, and said in `ASSURANCE` (gcs_assurance):

- plan: the target is formatted once; what was formatted is read back from its text, converted back to axes and
  compared with the approved line units; VMO? asks the controller whether it can go there; after MOV the controller's
  own target (MOV?) is compared at once, before its brakes are open, and a difference is answered by #24; on arrival
  POS? is compared by the supervisor.
- lease: this program sends HLT as soon as permission or the pendant's enable is not fresh. If this program dies,
  nobody sends it: only the pendant's enable in the supply of the drives stops the couch. So it is proved before every
  motion that the chain is there: with the enable released the controller must refuse to switch the servo on.
- STOP: the octet #24, written at once from any thread, ahead of everything, in the middle of whatever is being
  written.

One thread owns the line. Octets are `gcs_line`, motion and what follows from answers `gcs_motion`, who permits it
`gcs_permission`, how the controller must be set up `gcs_setup`, what is shown `gcs_telemetry`.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TypeVar

from igrt_hw.devices.clp import failed
from igrt_hw.devices.errors import DeviceError, DigestMismatch
from igrt_hw.devices.gcs_assurance import ASSURANCE
from igrt_hw.devices.gcs_frame import PlatformFrame
from igrt_hw.devices.gcs_line import GcsLine
from igrt_hw.devices.gcs_motion import POLL_US, GcsMotion
from igrt_hw.devices.gcs_permission import GcsPermission
from igrt_hw.devices.gcs_setup import check_coordinates, check_travel_and_units
from igrt_hw.devices.gcs_telemetry import telemetry_of
from igrt_hw.devices.interfaces import Couch
from igrt_hw.devices.plan import CouchLimits, MotionPlan, PlanReceipt
from igrt_hw.link import gcs
from igrt_hw.link.errors import LinkLost, LossCause, StoppedByStop
from igrt_hw.link.events import Identity, Lost, Opened
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import LineEvent, monotonic_us
from igrt_hw.link.transport import PortSettings, Transport, open_port
from igrt_hw.models.telemetry import CouchFault, CouchTelemetry, EnablePosition, LinkHealth

__all__ = ["ASSURANCE", "GcsCouch", "as_couch"]

BACKOFF_S: Final = (0.1, 2.0)
TOKEN_LEN: Final = 16

_log = logging.getLogger(__name__)
T = TypeVar("T")


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
        self._line = GcsLine(clock_us, wait)
        self._permission = GcsPermission()
        self._motion = self._new_motion()
        self._thread = threading.Thread(target=self._run, name="line couch (GCS)", daemon=True)
        self._closing = threading.Event()
        self._ready = threading.Condition()
        self._jobs: deque[tuple[Callable[[], None], Future[object]]] = deque()
        self._listeners: list[Callable[[CouchTelemetry], None]] = []
        self._event_listeners: list[Callable[[LineEvent], None]] = []
        self._identity: Identity | None = None
        self._telemetry: CouchTelemetry | None = None
        self._rate_from_us, self._rate_count, self._rate_hz = 0, 0, 0.0
        self._epoch = 1

    def _new_motion(self) -> GcsMotion:
        """Nothing of one connection reaches the next."""
        motion = GcsMotion(self._line, self._frame, self._limits, self._permission, self._clock_us)
        self._line.guard = motion.guard
        return motion

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
            raise self._line.lost
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
            raise self._line.lost

    def close(self) -> None:
        """Stop, and give the line back."""
        if self._line.transport is not None:
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
            cause="" if open_now else str(self._line.lost),
            session=self._identity.session if self._identity else 0,
            boot_id=0,
            epoch=self._epoch,
            permission_fresh=self._permission.permitted(now_us),
            low_latency="",
            telemetry_age_ms=(now_us - told.received_us) / 1000 if told else None,
            telemetry_rate_hz=self._rate_hz,
            round_trip_us=self._line.round_trip_us,
            clock_offset_us=None,
            clock_uncertainty_us=None,
            clock_drift_ppm=None,
            counters=self._line.tally.frozen(),
            assurance=ASSURANCE,
        )

    # ---- what permits motion ---------------------------------------------------------------

    def refresh_permission(self, until_us: int) -> bool:
        """Motion may go on until `until_us`, at most 500 ms ahead; after that this program sends HLT."""
        self._permission.refresh(until_us, self._clock_us())
        return self._identity is not None

    def hear_enable(self, position: EnablePosition, at_us: int) -> None:
        """What the pendant's line said of the enable, and when."""
        self._permission.hear_enable(position, at_us)

    def stop(self, reason: int = 0) -> Future[int]:
        """#24 at once, from any thread, ahead of everything; what waits is dropped. Gives this program's epoch."""
        del reason  # the dialect has no word for it
        self._epoch = (self._epoch + 1) & 0xFFFF
        try:
            self._line.stop()
        except LinkLost as error:
            return failed(error)
        finally:
            while self._jobs:
                with suppress(IndexError):
                    waiting = self._jobs.popleft()[1]
                    waiting.set_exception(StoppedByStop("dropped by STOP"))
        future: Future[int] = Future()
        future.set_result(self._epoch)
        return future

    # ---- commands --------------------------------------------------------------------------

    def upload(self, plan: MotionPlan) -> Future[PlanReceipt]:
        """Prepare a plan: check it against limits and controller, read its text back. Nothing is told to move."""
        return self._do(lambda: self._motion.upload(plan))

    def execute(self, receipt: PlanReceipt, token: bytes) -> Future[None]:
        """Arm the plan of a receipt, once; it moves when the enable is held."""
        if not receipt.digests_agree:
            return failed(DigestMismatch("the text for the controller is not the approved plan"))
        if len(token) != TOKEN_LEN:
            return failed(ValueError(f"a token has {TOKEN_LEN} octets, not {len(token)}"))
        return self._do(lambda: self._motion.arm(receipt))

    def void_plan(self, reason: int = 0) -> Future[None]:
        """Throw the plan away; a motion under way is stopped."""
        del reason
        return self._do(lambda: self._motion.void())

    def reset_faults(self, faults: CouchFault) -> Future[CouchFault]:
        """Forget the named faults whose cause the controller no longer tells."""
        return self._do(lambda: self._motion.reset(faults))

    def jog(self, axis: int, speed: float) -> Future[None]:
        """Not there: without a lease nobody but the enable would end it. Ending one that is not there is no error."""
        if speed == 0.0:
            return self._do(lambda: None)
        return failed(DeviceError("this couch cannot be jogged: its dialect (GCS) has no lease"))

    def home(self) -> Future[None]:
        """FRF: the reference move; needs enable and permission."""
        return self._do(lambda: self._motion.home())

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
            return failed(self._line.lost)

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
        try:
            self._open(transport)
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
            self._line.transport = None
            transport.close()
        return opened

    def _note_lost(self, error: LinkLost) -> None:
        news = self._identity is not None or str(error) != str(self._line.lost)
        self._line.lost, self._identity = error, None
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

    def _open(self, transport: Transport) -> None:
        """#24 and silence, then who it is and whether it is mounted, limited and set up as expected."""
        self._motion = self._new_motion()
        line = self._line
        line.connect(transport)
        line.ask(gcs.ERROR)
        idn = str(line.ask(gcs.IDENTITY)[0])
        check_travel_and_units(line, self._travel)
        check_coordinates(line)
        line.tally.sessions += 1
        self._motion.poll(self._clock_us())
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

    def turn(self) -> None:
        """Jobs, then a poll when it is due, then what follows from it; else wait a little."""
        motion, now_us = self._motion, self._clock_us()
        motion.heed_stops()
        if self._jobs:
            with suppress(IndexError):
                self._jobs.popleft()[0]()
        if self._clock_us() - motion.polled_us >= POLL_US:
            motion.poll(now_us)
            motion.follow(self._clock_us())
            self._tell(self._clock_us())
        else:
            motion.guard(self._clock_us())
            self._line.idle()

    # ---- telemetry -------------------------------------------------------------------------

    def _tell(self, now_us: int) -> None:
        told = telemetry_of(
            self._motion,
            self._permission,
            self._frame,
            self._limits.units,
            session=self._identity.session if self._identity else 0,
            epoch=self._epoch,
            now_us=now_us,
        )
        self._telemetry = told
        self._line.tally.telemetry_received += 1
        self._count_rate(now_us)
        for listener in self._listeners:
            listener(told)
        with self._ready:
            self._ready.notify_all()

    def _count_rate(self, now_us: int) -> None:
        self._rate_count += 1
        span_us = now_us - self._rate_from_us
        if span_us >= 1_000_000:
            self._rate_hz = self._rate_count * 1e6 / span_us if self._rate_from_us else 0.0
            self._rate_from_us, self._rate_count = now_us, 0


def as_couch(driver: GcsCouch) -> Couch:
    """The driver as what it is to the rest of the program; the type checker holds it to that."""
    return driver
