"""What a GCS couch does: the plan it was given, the proof of its chain, the motion, and what follows from each answer.

A state machine in the thread of the line: `poll` asks, `follow` takes one step, `guard` ends a motion whose permission
is gone, the others are what people ask for. It reads no clock but the one it is given.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from igrt_hw.devices.errors import DeviceError, DigestMismatch, PlanError
from igrt_hw.devices.gcs_frame import PlatformFrame
from igrt_hw.devices.gcs_line import GcsLine
from igrt_hw.devices.gcs_permission import GcsPermission
from igrt_hw.devices.gcs_setup import TARGET_TOLERANCE, check_coordinates
from igrt_hw.devices.plan import CouchLimits, MotionPlan, PlanReceipt
from igrt_hw.link import gcs
from igrt_hw.link.errors import StoppedByStop
from igrt_hw.link.gcs import Form, GcsRefused
from igrt_hw.models.telemetry import CouchFault, CouchState, StopCause

POLL_US: Final = 50_000
PROOF_RELEASED_US: Final = 200_000  # both contacts have long opened
SETTLE_US_MAX: Final = 3_000_000
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
S = CouchState


@dataclass(slots=True)
class Known:
    """What the controller said last."""

    position: tuple[float, ...] = (0.0,) * 6
    moving: bool = False
    servo: bool = False
    referenced: bool = False
    servo_off_us: int = 0
    estop: bool = False
    touch: bool = False


@dataclass(slots=True)
class Task:
    """A plan and what became of it."""

    plan: MotionPlan
    text: str
    nonce: int
    expires_us: int
    executed: bool = False


class GcsMotion:
    """The motion of one connection. A new connection has a new one, so that nothing reaches it from the last."""

    def __init__(
        self,
        line: GcsLine,
        frame: PlatformFrame,
        limits: CouchLimits,
        permission: GcsPermission,
        clock_us: Callable[[], int],
    ) -> None:
        self._line, self._frame, self._limits = line, frame, limits
        self._permission, self._clock_us = permission, clock_us
        self.known = Known()
        self.task: Task | None = None
        self.state = S.IDLE
        self.cause = StopCause.NONE
        self.faults = CouchFault(0)
        self.shown_nonce = 0
        self.target: tuple[float, ...] = ()
        self.origin: tuple[float, ...] = ()
        self.chain_proved = False
        self.polled_us = -POLL_US
        self._rest_since_us: int | None = None

    def _may_move(self, now_us: int) -> bool:
        """ALL of: enable held by fresh word of the pendant, permission fresh, chain proved, no fault."""
        return (
            self._permission.enable_held(now_us)
            and self._permission.permitted(now_us)
            and self.chain_proved
            and not self.faults
        )

    def heed_stops(self) -> None:
        """A STOP was given from another thread: whatever was planned, armed or moving before it is void."""
        if not self._line.stop_came:
            return
        self._line.stops_heeded = self._line.stops
        self.task, self.shown_nonce = None, 0
        if self.state is not S.LATCHED:
            self.state, self.cause = S.STOPPING, StopCause.STOP

    def _command(self, text: str) -> None:
        """Give a command; a refusal with the code of a fault latches it."""
        try:
            self._line.command(text)
        except GcsRefused as refused:
            self._note_code(refused.code)
            raise

    def _servo(self, on: bool) -> None:
        self._command("SVO " + " ".join(f"{axis} {int(on)}" for axis in gcs.AXES))

    def _note_code(self, code: int) -> None:
        self.faults |= CODES_OF_FAULTS.get(code, CouchFault(0))

    def guard(self, now_us: int) -> None:
        """HLT as soon as what permits the motion is gone; between questions and while an answer is waited for."""
        if self.state in (S.MOVING, S.HOMING) and not self._may_move(now_us):
            self.cause = (
                StopCause.LEASE_LATE
                if self._permission.enable_held(now_us)
                else StopCause.ENABLE_RELEASED
            )
            if self.state is S.HOMING:
                self.task = None
            self.state = S.STOPPING
            self._line.write(b"HLT\n")

    # ---- jobs ------------------------------------------------------------------------------

    def upload(self, plan: MotionPlan) -> PlanReceipt:
        """Check a plan against limits and controller, read its text back. Nothing is told to move."""
        if self.faults:
            raise DeviceError("a fault is latched; reset it first")
        if self.state not in (S.IDLE, S.ARRIVED, S.PLAN_LOADED):
            raise DeviceError(f"not while the couch is {self.state.words}")
        if not self.known.referenced:
            raise DeviceError("the hexapod is not referenced: home it first")
        if len(plan.waypoints) != 1:
            raise PlanError(
                f"{len(plan.waypoints)} waypoints; this dialect (GCS) goes to one target"
            )
        check_coordinates(self._line)
        target = self._limits.from_line(plan.waypoints[0])
        self._limits.to_line(target, "target")
        text = gcs.command("MOV", self._frame.to_controller(target))
        numbers = gcs.values_of(text, "MOV")
        read_back = self._limits.to_line(self._frame.to_axes(numbers), "target read back")
        if any(abs(a - b) > 2 for a, b in zip(read_back, plan.waypoints[0], strict=True)):
            raise DigestMismatch(
                "the target does not survive the way to the controller and back: nothing is sent"
            )
        possible = self._line.ask(gcs.Question("VMO?" + text.removeprefix("MOV"), Form.CODE))
        if possible != (1.0,):
            raise PlanError("the controller cannot go to the target (VMO?); plan a smaller move")
        self.origin = self._line.numbers(gcs.of_axes("POS?"))
        stands = self._frame.to_axes(self.origin)
        now_us = self._clock_us()
        nonce = secrets.randbits(32) or 1
        self.task = Task(plan, text, nonce, now_us + plan.ttl_ms * 1000)
        self.target, self.shown_nonce, self.state = numbers, nonce, S.PLAN_LOADED
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

    def arm(self, receipt: PlanReceipt) -> None:
        """Arm the plan of a receipt, once."""
        task = self.task
        if task is None or task.nonce != receipt.nonce or self.state is not S.PLAN_LOADED:
            raise DeviceError("this plan is not loaded; upload it anew")
        if task.executed:
            raise DeviceError("this plan was executed once; upload it anew")
        if not self.chain_proved:
            raise DeviceError(
                "it is not proved that the pendant's enable is wired into the drives: let go of it for a second"
            )
        task.executed = True
        self.state, self.cause = S.ARMED, StopCause.NONE

    def void(self) -> None:
        """Throw the plan away; a motion under way is stopped."""
        moving = self.state in (S.MOVING, S.HOMING, S.STOPPING)
        self.task, self.shown_nonce = None, 0
        if moving:
            self.state, self.cause = S.STOPPING, StopCause.STOP
            self._line.write(gcs.STOP)
        elif self.state is not S.LATCHED:
            self.state = S.IDLE

    def reset(self, faults: CouchFault) -> CouchFault:
        """Forget the named faults whose cause the controller no longer tells; what stays."""
        self.poll(self._clock_us())
        still = CouchFault(0)
        if self.known.estop:
            still |= CouchFault.EMERGENCY_STOP
        if self.known.touch:
            still |= CouchFault.TOUCH_GUARD
        self.faults = (self.faults & ~faults) | still
        if not self.faults and self.state is S.LATCHED:
            self.state = S.IDLE
        return self.faults

    def home(self) -> None:
        """FRF, with the enable held and the permission fresh."""
        if not self._may_move(self._clock_us()):
            raise DeviceError("FRF needs the enable held, a fresh permission and the proved chain")
        if self.state not in (S.IDLE, S.ARRIVED):
            raise DeviceError(f"not while the couch is {self.state.words}")
        self._servo(True)
        self._command("FRF " + " ".join(gcs.AXES))
        self.state, self.task = S.HOMING, None

    # ---- polling and following -------------------------------------------------------------

    def poll(self, now_us: int) -> None:
        """Ask for all that the controller tells of itself."""
        known = self.known
        self.polled_us = now_us
        known.position = self._line.numbers(gcs.of_axes("POS?"))
        known.moving = self._line.ask(gcs.MOVING) != (0.0,)
        servo = all(self._line.ask(gcs.of_axes("SVO?", Form.SWITCHES)))
        if known.servo and not servo:
            known.servo_off_us = self._clock_us()
        known.servo = servo
        known.referenced = all(self._line.ask(gcs.of_axes("FRF?", Form.SWITCHES)))
        code = int(self._line.numbers(gcs.ERROR)[0])
        # 501 says that it was pressed: a fault where the drives were on, until somebody resets it; after that it is
        # told on and on until the servo is switched on for the next motion.
        known.estop, known.touch = code == 500, code == 503
        if code != 501 or self.state in (S.MOVING, S.STOPPING, S.HOMING):
            self._note_code(code)
        if code == CODE_SAFETY_STOP and self.state is S.MOVING:
            self.state, self.cause = S.STOPPING, StopCause.ENABLE_RELEASED
        if code == gcs.CODE_STOPPED and self.cause is not StopCause.ENABLE_RELEASED:
            self._stopped()

    def _stopped(self) -> None:
        """The controller was stopped by command: by ours, or by somebody else's."""
        if self.cause is StopCause.LEASE_LATE and self.state in (S.STOPPING, S.HELD):
            return
        if self.state in (S.MOVING, S.STOPPING, S.HELD, S.ARMED, S.PLAN_LOADED, S.HOMING):
            self.task, self.shown_nonce = None, 0
            self.cause = StopCause.STOP
            self.state = S.STOPPING if self.known.moving else S.IDLE

    def follow(self, now_us: int) -> None:
        """One step of what follows from what is known."""
        task, known = self.task, self.known
        if self.faults and self.state is not S.LATCHED:
            self._latch(now_us)
        if (
            task is not None
            and now_us > task.expires_us
            and self.state
            in (
                S.PLAN_LOADED,
                S.ARMED,
                S.HELD,
            )
        ):
            self.task, self.shown_nonce = None, 0
            self.state, self.cause = S.IDLE, StopCause.PLAN_EXPIRED
        match self.state:
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
            case S.HOMING if not known.moving and self._line.ask(gcs.IS_READY) == (1.0,):
                self._rest()
                self.state = S.IDLE
            case _:
                pass

    def _latch(self, now_us: int) -> None:
        del now_us
        if self.known.moving:
            self._line.write(gcs.STOP)
        self.task, self.shown_nonce = None, 0
        self.state = S.LATCHED
        self.cause = StopCause.FAULT
        if CouchFault.EMERGENCY_STOP in self.faults:
            self.cause = StopCause.EMERGENCY_STOP
        elif CouchFault.TOUCH_GUARD in self.faults:
            self.cause = StopCause.TOUCH_GUARD

    def _prove_chain(self, now_us: int) -> None:
        """With the enable released the controller must refuse the servo; once for each time that it was let go."""
        released = self._permission.released_since_us
        if released is None or not self._permission.enable_heard(now_us):
            # Pressed: what was proved counts for this press. Not heard: nothing is proved.
            self.chain_proved &= self._permission.enable_heard(now_us)
            return
        if self.chain_proved or now_us - released < PROOF_RELEASED_US or self.faults:
            return
        faults = self.faults
        try:
            self._servo(True)
        except StoppedByStop:
            return
        except GcsRefused as refused:
            # Any refusal proves it but those that say nothing of the supply.
            self.chain_proved = refused.code not in (1, 2, 3, 15, 17, 22, 24)
            if refused.code == 501:
                self.faults = faults
            return
        with suppress(GcsRefused, StoppedByStop):
            self._servo(False)
        self.chain_proved = False

    def _go(self, task: Task) -> None:
        """Servo on, MOV, and at once what the controller takes for its target."""
        try:
            self._servo(True)
            self.state, self.cause = S.MOVING, StopCause.NONE
            self._rest_since_us = None
            # As slow as the slow speed of the approved plan: VLS bounds the platform's velocity.
            linear = [axis.speed_max / 1000 for axis in self._limits.axes[:3]]
            self._command(f"VLS {min(linear) * task.plan.speed_ppm / 1e6:.6f}")
            self._command(task.text)
        except StoppedByStop:
            self.heed_stops()
            return
        except GcsRefused as refused:
            _log.warning("%s", refused)
            self.cause = (
                StopCause.ENABLE_RELEASED if refused.code in (508, 657) else StopCause.FAULT
            )
            self.state = S.HELD if refused.code in (5, 508, 657) else S.STOPPING
            if self.state is S.STOPPING:
                self.task, self.shown_nonce = None, 0
            return
        target = self._line.numbers(gcs.of_axes("MOV?"))
        if any(abs(a - b) > TARGET_TOLERANCE for a, b in zip(target, self.target, strict=True)):
            self._line.write(gcs.STOP)
            self.faults |= CouchFault.SELF_TEST
            self._latch(self._clock_us())

    def _lost_servo(self) -> None:
        """The safety chain opened before our HLT did anything: held."""
        self.state = S.STOPPING
        if self.cause is StopCause.NONE:
            self.cause = StopCause.ENABLE_RELEASED

    def _settle(self, now_us: int) -> None:
        on_target = all(self._line.ask(gcs.of_axes("ONT?", Form.SWITCHES)))
        self._rest_since_us = self._rest_since_us or now_us
        if on_target:
            with suppress(StoppedByStop):
                self._servo(False)
            self.state, self.cause, self.task = S.ARRIVED, StopCause.ARRIVED, None
        elif now_us - self._rest_since_us > SETTLE_US_MAX:
            self.faults |= CouchFault.FOLLOWING_ERROR

    def _rest(self) -> None:
        """At rest after a stop: servo off, so that the brakes hold."""
        with suppress(GcsRefused, StoppedByStop):
            self._servo(False)
        self.state = S.HELD if self.task is not None else S.IDLE

    def fraction(self) -> float:
        """How far between start and target the platform is, judged by its position; the dialect does not tell."""
        if not self.shown_nonce:
            return 0.0
        way = [to - at for at, to in zip(self.origin, self.target, strict=True)]
        done = [now - at for at, now in zip(self.origin, self.known.position, strict=True)]
        length = sum(d * d for d in way)
        share = sum(a * b for a, b in zip(way, done, strict=True)) / length if length > 0 else 1.0
        return min(1.0, max(0.0, share))
