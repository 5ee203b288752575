"""A treatment room in virtual time for the supervisor's tests: modelled couch, imager and pendant, no I/O, no clock.

The couch is modelled apart from the firmware: a straight line in axis space at a constant speed, enough to drive the
supervisor through everything that telemetry can tell it. It computes the plan digest from what it was sent with its own
reading of `docs/protocol.md`.
"""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from igrt_hw.geometry import Correction
from igrt_hw.machine import load_machine
from igrt_hw.models import commands
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.plan import (
    CouchPosition,
    PatientIdentity,
    PlannedField,
    PlannedIsocentre,
    ToleranceTable,
    TreatmentPlan,
)
from igrt_hw.models.proposal import ClearanceStrip, ImageStamp, RegistrationSummary
from igrt_hw.models.qa import QaRun
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.machine_couch import MachineCouch
from igrt_hw.safety.motion_plan import MotionPlan
from igrt_hw.safety.rules import SupervisorConfig
from igrt_hw.safety.supervisor import Supervisor

ORIGIN = datetime(2026, 3, 2, 8, 0, 0, tzinfo=UTC)
PLANNED = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
SHIFT = Correction(3.0, -4.0, 2.0, 1.0, -0.8, 0.6)
MODEL = MachineCouch(load_machine("linac_pedestal"))
STEP_US = 20_000


def couch_position() -> CouchPosition:
    return CouchPosition(
        lateral_mm=PLANNED[0],
        longitudinal_mm=PLANNED[1],
        vertical_mm=PLANNED[2],
        rotation_deg=0.0,
        pitch_deg=0.0,
        roll_deg=0.0,
        relative=False,
    )


def setup_field(number: int, angle: float) -> PlannedField:
    return PlannedField(
        number=number,
        name=f"KV {number}",
        purpose="SETUP",
        angle_deg=angle,
        half_field_mm=(100.0, 100.0, 100.0, 100.0),
        couch=couch_position(),
    )


def treatment_plan(**changes: object) -> TreatmentPlan:
    isocentre = PlannedIsocentre(
        isocentre_id="ISO1",
        position_dicom_mm=(10.0, 20.0, 30.0),
        couch=couch_position(),
        setup_fields=(setup_field(1, 0.0), setup_field(2, 90.0)),
        treatment_fields=(),
    )
    plan = TreatmentPlan(
        patient=PatientIdentity(
            patient_id="IGRT-0001", name="Phantom^Thorax", birth_date="19500101", sex="O"
        ),
        plan_uid="1.2.3.plan",
        plan_label="LUNG1",
        plan_name="",
        frame_of_reference_uid="1.2.3.for",
        structure_set_uid="1.2.3.ss",
        machine_name="linac",
        patient_position="HFS",
        site="lung_sbrt",
        fractions=5,
        tolerance=ToleranceTable(
            label="LUNG SBRT",
            lateral_mm=5.0,
            longitudinal_mm=5.0,
            vertical_mm=5.0,
            rotation_deg=0.5,
            pitch_deg=1.0,
            roll_deg=1.0,
        ),
        isocentres=(isocentre,),
        ct_series_uid="1.2.3.ct",
        ct_slices=100,
    )
    return plan.model_copy(update=changes)


def device_digest(plan: MotionPlan) -> str:
    """The digest as the couch computes it, written here once more from the specification."""
    six = lambda axes: struct.pack("<iiiiii", *axes)  # noqa: E731
    message = b"CLP1-PLAN" + bytes.fromhex(plan.proposal) + bytes.fromhex(plan.limits)
    message += plan.ttl_ms.to_bytes(4, "little") + plan.speed_ppm.to_bytes(4, "little")
    message += bytes([len(plan.start), len(plan.waypoints)]) + six(plan.start)
    message += plan.start_tolerance_linear_um.to_bytes(4, "little")
    message += plan.start_tolerance_rotary_udeg.to_bytes(4, "little")
    for point in plan.waypoints:
        message += six(point)
    return hashlib.sha256(message).hexdigest()


@dataclass
class ModelCouch:
    """What the couch of this room does with a plan, an enable and leases."""

    axes: tuple[float, ...] = PLANNED
    secondary_offset: tuple[float, ...] = (0.0,) * 6
    state: str = "idle"
    stop_cause: str = "none"
    enable: bool = False
    lease_until_us: int = 0
    plan: MotionPlan | None = None
    nonce: int = 0
    start: tuple[float, ...] = PLANNED
    progress: float = 0.0
    executed: int = 0
    gate: bool = False
    epoch: int = 1
    faults: tuple[str, ...] = ()
    extra: dict[str, object] = field(default_factory=dict)
    corrupt_digest: bool = False
    cuts_corners: bool = False
    land_off_mm: float = 0.0
    permission_seen_us: int = -1
    jogging: tuple[int, float] | None = None
    jog_until_us: int = 0
    home_until_us: int = 0

    def upload(self, plan: MotionPlan, nonce: int) -> str:
        self.plan, self.nonce, self.state, self.progress = plan, nonce, "plan loaded", 0.0
        digest = device_digest(plan)
        return "00" * 32 if self.corrupt_digest else digest

    def execute(self, nonce: int, digest: str) -> bool:
        if self.plan is None or nonce != self.nonce or digest != device_digest(self.plan):
            return False
        if self.state != "plan loaded":
            return False
        self.state, self.start, self.stop_cause = "armed", self.axes, "none"
        self.executed += 1
        return True

    def stop(self) -> None:
        self.epoch += 1
        self.gate = False
        self.jogging = None
        self.void("STOP")

    def void(self, cause: str) -> None:
        if self.state in ("armed", "moving", "held", "plan loaded", "arrived"):
            self.stop_cause = cause
        self.plan, self.nonce, self.state = None, 0, "idle"

    def step(self, now_us: int, dt_us: int) -> None:
        lease = now_us <= self.lease_until_us
        self._step_by_hand(now_us, dt_us, lease)
        if self.state not in ("armed", "moving", "held") or self.plan is None:
            return
        if not (self.enable and lease):
            if self.state == "moving":
                self.state = "held"
            self.stop_cause = "lease late" if self.enable else "enable released"
            return
        self.state, self.stop_cause = "moving", "none"
        self.progress = min(1.0, self.progress + dt_us / 1e6)
        self.axes = self._on_the_way()
        if self.progress >= 1.0:
            self.state, self.stop_cause = "arrived", "arrived"
            self.axes = (self.axes[0] + self.land_off_mm, *self.axes[1:])

    def _on_the_way(self) -> tuple[float, ...]:
        """Where the couch is: through every waypoint in turn, or past all of them but the last."""
        assert self.plan is not None
        kept = self.plan.waypoints[-1:] if self.cuts_corners else self.plan.waypoints
        stops = [
            self.start,
            *(
                tuple(
                    v / (1000 if unit == "mm" else 1_000_000)
                    for v, unit in zip(point, MODEL.axis_units, strict=True)
                )
                for point in kept
            ),
        ]
        at = self.progress * (len(stops) - 1)
        piece = min(int(at), len(stops) - 2)
        share = at - piece
        return tuple(
            a + share * (b - a) for a, b in zip(stops[piece], stops[piece + 1], strict=True)
        )

    def jog(self, axis: int, speed: float, now_us: int) -> str:
        """As section 6 of the protocol: with the enable held only, ending 200 ms after the last JOG."""
        if speed == 0.0:
            self.jogging = None
            return ""
        if not self.enable:
            return "the enable is not held"
        self.jogging, self.jog_until_us = (axis, speed), now_us + 200_000
        return ""

    def _step_by_hand(self, now_us: int, dt_us: int, lease: bool) -> None:
        if not (self.enable and lease) or now_us > self.jog_until_us:
            self.jogging = None
        if self.jogging is not None:
            axis, speed = self.jogging
            moved = self.axes[axis] + speed * dt_us / 1e6
            self.axes = (*self.axes[:axis], moved, *self.axes[axis + 1 :])
            self.state = "jogging"
        elif self.state == "homing":
            if not (self.enable and lease):
                self.state = "not referenced"
            elif now_us > self.home_until_us:
                self.state = "idle"
        elif self.state == "jogging":
            self.state = "idle"

    def heard(self) -> ev.CouchHeard:
        secondary = tuple(a + b for a, b in zip(self.axes, self.secondary_offset, strict=True))
        report = ev.CouchHeard(
            primary=self.axes,
            secondary=secondary,
            commanded=self.axes,
            state="latched" if self.faults else self.state,  # type: ignore[arg-type]
            stop_cause=self.stop_cause,
            enable_held=self.enable,
            brakes_on=self.state not in ("moving", "jogging", "homing"),
            moving=self.state in ("moving", "jogging", "homing"),
            beam_gate_energised=self.gate,
            faults=self.faults,
            plan_nonce=self.nonce,
            path_fraction=self.progress,
            epoch=self.epoch,
        )
        return replace(report, **self.extra)  # type: ignore[arg-type]


class Room:
    """Supervisor and modelled devices in virtual time. Everything the supervisor asked for is in `effects`."""

    def __init__(
        self, config: SupervisorConfig | None = None, seed: int = 1, **plan: object
    ) -> None:
        self.config = config or SupervisorConfig(machine="linac_pedestal", software_version="test")
        self.random = random.Random(seed)
        self.supervisor = Supervisor(
            self.config, MODEL, draw=self.random.randrange, utc_origin=ORIGIN
        )
        self.plan = treatment_plan(**plan)
        self.couch = ModelCouch()
        self.now_us = 1_000_000
        self.effects: list[fx.Effect] = []
        self.waiting: list[fx.Effect] = []
        self.silent: set[str] = set()
        self.correction = SHIFT
        self.verify_correction = Correction(0.1, 0.1, 0.1, 0.0, 0.0, 0.0)
        self.clearance_mm = 150.0
        self.verdict = "reliable"
        self.arms = "parked"
        self.gantry_deg = 0.0
        self.door_closed = True
        self.enable_position = ""
        self.qa_runs: tuple[QaRun, ...] = ()
        self.history: tuple[TreatedShift, ...] = ()
        self.pendant_faults: tuple[str, ...] = ()
        self.keys: tuple[tuple[int, int], ...] = ()
        self.profile_mm: tuple[float, ...] = ()
        self.hold_answers = False
        self.target_mm: tuple[float, float, float] | None = (0.2, 0.0, -0.1)
        self.view_fails = ""
        self.image_count = 0
        self.on_effects = lambda effects: None
        for name in ("couch", "imager", "pendant"):
            self.feed(ev.LinkUp(name, 7, MODEL.limits_hash[:16]))  # type: ignore[arg-type]
        self.run(2)

    # ---- time and telemetry

    def feed(self, event: ev.Event) -> list[fx.Effect]:
        return self._take(self.supervisor.handle(event, self.now_us))

    def tick(self) -> list[fx.Effect]:
        return self._take(self.supervisor.tick(self.now_us))

    def run(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.now_us += STEP_US
            self.couch.step(self.now_us, STEP_US)
            self.telemetry()
            self.tick()

    def telemetry(self) -> None:
        if "terminal" not in self.silent:
            self.feed(ev.TerminalAlive("T1"))
        if "pendant" not in self.silent:
            self.feed(
                ev.PendantHeard(
                    self.enable_position or ("enabled" if self.couch.enable else "released"),  # type: ignore[arg-type]
                    faults=self.pendant_faults,
                    keys=self.keys,
                )
            )
        if "imager" not in self.silent:
            self.feed(
                ev.ImagerHeard(
                    "idle",
                    self.gantry_deg,
                    arms=self.arms,  # type: ignore[arg-type]
                    door_closed=self.door_closed,
                )
            )
        if "couch" not in self.silent:
            self.feed(self.couch.heard())

    # ---- effects

    def _take(self, effects: list[fx.Effect]) -> list[fx.Effect]:
        self.effects += effects
        self.on_effects(effects)
        for effect in effects:
            self._do(effect)
        return effects

    def _do(self, effect: fx.Effect) -> None:
        match effect:
            case fx.StopAll():
                if "couch" not in self.silent:
                    self.couch.stop()
            case fx.Jog(axis, speed):
                refused = self.couch.jog(axis, speed, self.now_us)
                if refused:
                    self.feed(ev.JogRefused(refused))
            case fx.VoidPlan():
                self.couch.void("plan void")
            case fx.RefreshPermission("couch", until):
                if "couch" not in self.silent:
                    self.couch.lease_until_us = until
            case fx.SetBeamGate(_, False):
                self.couch.gate = False
            case fx.Record() | fx.Answer() | fx.RefreshPermission():
                pass
            case _:
                self.waiting.append(effect)

    def serve(self) -> None:
        """Answer what waits, oldest first."""
        while self.waiting:
            self.feed(self.reply(self.waiting.pop(0)))

    def reply(self, effect: fx.Effect) -> ev.Event:
        match effect:
            case fx.AcquireImages():
                self.image_count += 1
                uids = (f"1.2.{self.image_count}.1", f"1.2.{self.image_count}.2")
                stamp = ImageStamp(
                    image_uids=uids,
                    acquired_us=self.now_us,
                    acquired_utc="2026-03-02T08:00:00Z",
                    couch_axes=self.couch.axes,
                    brakes_on=True,
                )
                return ev.ImagesAcquired(effect.request, stamp)
            case fx.RegisterImages():
                return self.registration(effect)
            case fx.ViewTarget():
                return self.target_seen(effect)
            case fx.ParkImager():
                return ev.ImagerParked(effect.request)
            case fx.CheckPath():
                return ev.PathChecked(effect.request, self.strip())
            case fx.UploadPlan():
                nonce = self.random.randrange(1, 1 << 32)
                digest = self.couch.upload(effect.plan, nonce)
                return ev.PlanUploaded(effect.request, digest, nonce, self.couch.axes)
            case fx.Execute():
                if self.couch.execute(effect.nonce, effect.plan_digest):
                    return ev.ExecuteAccepted(effect.request, effect.nonce)
                return ev.RequestFailed(effect.request, "refused")
            case fx.Home():
                self.couch.state, self.couch.home_until_us = "homing", self.now_us + 3_000_000
                return ev.HomingBegan(effect.request)
            case fx.SetBeamGate():
                self.couch.gate = True
                return ev.BeamGateAnswered(effect.request, True)
            case fx.ResetFaults():
                self.couch.faults = ()
                return ev.FaultsReset(effect.request)
        raise AssertionError(f"no answer to {effect}")

    def target_seen(self, effect: fx.ViewTarget) -> ev.Event:
        """Where the target of this room is; `None` for one that a view does not show."""
        if self.view_fails:
            return ev.RequestFailed(effect.request, self.view_fails)
        x, y, z = self.target_mm or (0.0, 0.0, 0.0)
        return ev.TargetSeen(
            request=effect.request,
            at_us=self.now_us,
            deviation_mm=(x, y, z),
            sigma_mm=(0.2, 0.2, 0.2),
            distance_mm=(x * x + y * y + z * z) ** 0.5,
            seen=() if self.target_mm is None else ("seed 1", "seed 2", "seed 3"),
            image_uid=f"1.9.{effect.request}",
            dose_area_uGycm2=20.0,
        )

    def strip(self) -> ClearanceStrip:
        return ClearanceStrip(
            minimum_mm=min(self.profile_mm, default=self.clearance_mm),
            at_path_fraction=0.5,
            pair=("couch top", "kV panel"),
            profile_mm=self.profile_mm or (self.clearance_mm,),
            warn_mm=20.0,
            stop_mm=10.0,
            model_hash="ab" * 32,
        )

    def registration(self, effect: fx.RegisterImages) -> ev.RegistrationDone:
        verifying = self.supervisor.state == "ARRIVED"
        summary = RegistrationSummary(
            correction=self.verify_correction if verifying else self.correction,
            sigma_mm=(0.1, 0.1, 0.1),
            sigma_deg=(0.1, 0.1, 0.1),
            per_view_similarity=(0.9, 0.9),
            verdict=self.verdict,  # type: ignore[arg-type]
            reasons=(),
            residual_at_target_mm=0.2,
            duration_ms=1.0,
        )
        return ev.RegistrationDone(
            effect.request,
            summary,
            effect.image_uids,
            effect.plan_uid,
            self.plan.frame_of_reference_uid,
            effect.isocentre_id,
        )

    # ---- people

    def ask(
        self,
        command: commands.Command,
        username: str = "anna",
        role: str = "therapist",
        session: str = "",
    ) -> fx.Answer:
        event = ev.UserCommand(
            command,
            username,
            role,
            session or f"s-{username}",
            self.plan,
            self.history,
            self.qa_runs,
        )
        effects = self.feed(event)
        answers = [e for e in effects if isinstance(e, fx.Answer)]
        assert len(answers) == 1
        if not self.hold_answers:
            self.serve()
        return answers[0]

    def open(self) -> fx.Answer:
        return self.ask(
            commands.OpenPatient(
                plan_uid=self.plan.plan_uid,
                patient_id="IGRT-0001",
                birth_date="1950-01-01",
                isocentre_id="ISO1",
                fraction=1,
            )
        )

    def approve(self, username: str = "anna", role: str = "therapist", **wrong: str) -> fx.Answer:
        proposal = self.supervisor.memory.proposal
        assert proposal is not None
        opened = self.ask(commands.RequestChallenge(digest=proposal.digest), username, role)
        if not opened.accepted:
            return opened
        index = proposal.content.axis_names.index(str(opened.data["fact_axis"]))
        shift = proposal.content.target_axes[index] - proposal.content.start_axes[index]
        typed = {
            "digest": proposal.digest,
            "challenge_id": str(opened.data["challenge_id"]),
            "code": str(opened.data["code"]),
            "fact": f"{shift:+.1f}",
        }
        return self.ask(commands.Approve(**(typed | wrong)), username, role)

    def approve_by_all(self) -> fx.Answer:
        """As many people as the proposal asks for."""
        proposal = self.supervisor.memory.proposal
        assert proposal is not None
        answer = self.approve()
        if proposal.content.approvals_needed > 1:
            answer = self.approve("phil", "physicist")
        return answer

    def digest(self) -> str:
        proposal = self.supervisor.memory.proposal
        assert proposal is not None
        return proposal.digest

    def to(self, state: str) -> Room:
        """Go the usual way until this state; each step has to be accepted."""
        steps = {
            "PATIENT_BOUND": self.open,
            "SETUP": lambda: self.ask(commands.ConfirmSetup()),
            "IMAGED": lambda: self.ask(commands.AcquireImages()),
            "REGISTERED": lambda: self.ask(commands.RegisterImages()),
            "CHECKED": lambda: self.ask(commands.Propose()),
            "APPROVED": self.approve_by_all,
            "ARMED": lambda: self.ask(commands.Arm(digest=self.digest())),
            "MOVING": self.enable,
            "ARRIVED": lambda: self.run(60),
            "VERIFIED": self.verify,
            "BEAM_READY": lambda: self.ask(commands.ReleaseBeam()),
        }
        names = list(steps)
        done = names.index(self.state) + 1 if self.state in names else 0
        for name, step in list(steps.items())[done:]:
            if self.supervisor.state == state:
                break
            result = step()
            assert not isinstance(result, fx.Answer) or result.accepted, result
            assert self.supervisor.state == name, (name, self.supervisor.state, self.reason)
            self.run()
        assert self.supervisor.state == state, (state, self.supervisor.state, self.reason)
        return self

    def enable(self) -> None:
        self.couch.enable = True
        self.run(3)

    def verify(self) -> fx.Answer:
        self.ask(commands.AcquireImages())
        return self.ask(commands.RegisterImages())

    @property
    def state(self) -> str:
        return self.supervisor.state.value

    @property
    def reason(self) -> str:
        return self.supervisor.memory.reason

    def of(self, kind: type) -> list[fx.Effect]:
        return [e for e in self.effects if isinstance(e, kind)]

    def clear(self) -> None:
        self.effects.clear()
