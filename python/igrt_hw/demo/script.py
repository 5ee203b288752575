"""The unattended demo: a scripted approver reads and types, a scripted hand holds the enable.

The operator here knows only what a person at the terminal sees. The truth from the simulator's control socket goes
into the report, never into a decision.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol

from igrt_hw.client import AsyncClient, ClientError, SimulatedHand, StreamUpdate
from igrt_hw.geometry import wrap_deg
from igrt_hw.models import commands
from igrt_hw.models.base import Frozen
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.proposal import ApprovalChallenge, CheckOutcome, Proposal
from igrt_hw.models.status import LoopState, SupervisorStatus

ENABLE_RENEW_S = 0.1
ENABLE_FOR_MS = 400  # a hand whose process has died lets go by itself
RELEASE_AT_FRACTION = 0.4  # once on the way the hand lets go, to show that the couch waits for it
RELEASED_FOR_S = 0.6
STEP_PATIENCE_S = 120.0

_BACK = (LoopState.FAULT, LoopState.REJECTED, LoopState.EXPIRED, LoopState.SUPERSEDED)


class ScriptError(Exception):
    """The unattended run did not reach its end; the sentence says at which step and why."""


class Narrator(Protocol):
    """Who tells the story while it happens."""

    def step(self, title: str, lines: list[str]) -> None:
        """One step has been done."""


class StepTime(Frozen):
    """How long a step took."""

    step: str
    seconds: float


class TrueResidual(Frozen):
    """The simulator's truth: what is still missing between where the isocentre of the plan is and should be."""

    lateral_mm: float
    longitudinal_mm: float
    vertical_mm: float
    rotation_deg: float
    pitch_deg: float
    roll_deg: float
    distance_mm: float
    angle_deg: float

    @classmethod
    def of(cls, truth: dict[str, Any]) -> TrueResidual:
        """Read the `residual` of the simulator's `truth`."""
        residual = truth["residual"]
        return cls(**{name: float(residual[name]) for name in cls.model_fields})

    def sentence(self) -> str:
        """For a person."""
        return f"{self.distance_mm:.2f} mm and {self.angle_deg:.2f} deg from where the plan wants the isocentre"


class ScriptReport(Frozen):
    """The result of an unattended run, for `--json`."""

    simulator: bool
    seed: int
    machine: str
    arrived: bool
    verified: bool
    beam_ready: bool
    record_ok: bool
    record_entries: int
    record_head: str
    before: TrueResidual
    after: TrueResidual
    steps: tuple[StepTime, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """The couch arrived and was verified, and the record verifies."""
        return self.arrived and self.verified and self.record_ok


class ScriptedOperator:
    """One person at a terminal with one hand on the enable. `run` goes the whole way of one shift."""

    def __init__(
        self,
        client: AsyncClient,
        hand: SimulatedHand,
        narrator: Narrator,
        *,
        seed: int,
        terminal_id: str | None = "script",
        release_on_the_way: bool = True,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._hand = hand
        self._narrator = narrator
        self._seed = seed
        self._terminal_id = terminal_id
        self._release_on_the_way = release_on_the_way
        self._seconds = seconds
        self._latest: StreamUpdate | None = None
        self._news = asyncio.Condition()
        self._steps: list[StepTime] = []
        self._began = seconds()
        self._step_began = seconds()

    async def run(self) -> ScriptReport:
        """Go the whole way; raises `ScriptError` or `ClientError` where it ends early."""
        before = TrueResidual.of(await self._hand.truth())
        async with self.at_the_terminal():
            await self.as_far_as_armed()
            await self._move()
            verified = await self._verify()
            ready = await self._release_beam() if verified.state is LoopState.VERIFIED else verified
            after = TrueResidual.of(await self._hand.truth())
            await self._demand(commands.ClosePatient())
            self._done("Patient closed", [])
            verdict = await self._client.verify_record()
            status = await self._client.status()
        return ScriptReport(
            simulator=status.simulator,
            seed=self._seed,
            machine=status.machine,
            arrived=True,
            verified=verified.verification is not None and verified.verification.passed,
            beam_ready=ready.state is LoopState.BEAM_READY,
            record_ok=verdict.ok,
            record_entries=verdict.entries,
            record_head=status.record_head,
            before=before,
            after=after,
            steps=tuple(self._steps),
            seconds=self._seconds() - self._began,
        )

    async def as_far_as_armed(self) -> Proposal:
        """From an empty room to a couch that waits for the enable."""
        await self._open_patient()
        await self._image_and_register()
        proposal = await self._propose()
        await self._approve(proposal)
        await self._demand(commands.Arm(digest=proposal.digest))
        status = await self.until(lambda s: s.state is LoopState.ARMED, "the couch to be armed")
        self._done("Armed: digests equal, waiting for the enable", [status.reason])
        return proposal

    @asynccontextmanager
    async def at_the_terminal(self) -> AsyncIterator[None]:
        """Watch the status and keep the terminal's lease, as the terminal app does."""
        watching = asyncio.create_task(self._watch(), name="scripted terminal")
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError, ClientError):
                await watching

    async def _watch(self) -> None:
        async with aclosing(self._client.stream(self._terminal_id)) as updates:
            async for update in updates:
                async with self._news:
                    self._latest = update
                    self._news.notify_all()

    async def until(
        self,
        wanted: Callable[[SupervisorStatus], bool],
        what: str,
        patience_s: float = STEP_PATIENCE_S,
    ) -> SupervisorStatus:
        """Watch until the status is as wanted; a fault or a void ends the wait with the supervisor's own reason."""
        try:
            async with asyncio.timeout(patience_s), self._news:
                while True:
                    status = self._latest.status if self._latest else None
                    if status is not None and wanted(status):
                        return status
                    if status is not None and _gave_up(status):
                        raise ScriptError(
                            f"while waiting for {what} the loop is in {status.state}: {status.reason}"
                        )
                    await self._news.wait()
        except TimeoutError as error:
            raise ScriptError(self._in_vain(what, patience_s)) from error

    def _in_vain(self, what: str, patience_s: float) -> str:
        if self._latest is None or self._latest.status is None:
            return f"waited {patience_s:.0f} s for {what}; no status was ever heard"
        status = self._latest.status
        alarms = "; ".join(alarm.text for alarm in status.alarms if alarm.active) or "none"
        return (
            f"waited {patience_s:.0f} s for {what}; the loop is in {status.state} "
            f"({status.reason or status.needed_next}); alarms: {alarms}"
        )

    async def _demand(self, command: commands.Command) -> commands.CommandResult:
        result = await self._client.send(command)
        if not result.accepted:
            raise ScriptError(f"{command.kind.replace('_', ' ')} was refused: {result.message}")
        return result

    def _done(self, title: str, lines: list[str]) -> None:
        now = self._seconds()
        self._steps.append(StepTime(step=title, seconds=round(now - self._step_began, 3)))
        self._step_began = now
        self._narrator.step(title, lines)

    async def _open_patient(self) -> None:
        plans = await self._client.plans()
        if not plans:
            raise ScriptError("the service has read no plan")
        plan = plans[0]
        await self.until(_devices_are_there, "couch, imager and pendant")
        self._done("Devices connected", [])
        await self._demand(_identity_of(plan))
        await self.until(lambda s: s.state is LoopState.PATIENT_BOUND, "the patient to be bound")
        self._done(
            "Patient and plan bound",
            [
                f"{plan.patient.name}, ID {plan.patient.patient_id}, born {plan.patient.birth_date}",
                f"plan {plan.plan_label}, {plan.patient_position}, isocentre {plan.isocentres[0].isocentre_id}",
            ],
        )
        await self._demand(commands.ConfirmSetup())
        status = await self.until(lambda s: s.state is LoopState.SETUP, "the setup")
        self._done("Setup confirmed", _couch_lines(status))

    async def _image_and_register(self) -> None:
        await self._demand(commands.AcquireImages())
        status = await self.until(lambda s: s.state is LoopState.IMAGED, "the kV pair")
        self._done(
            "kV pair acquired",
            [
                f"source {view.source_angle_deg:.0f} deg, {view.kvp:.0f} kVp, {view.mas:.1f} mAs, "
                f"{view.rows} x {view.cols} pixels of {view.pitch_mm:.3f} mm"
                for view in status.images
            ],
        )
        await self._demand(commands.RegisterImages())
        status = await self.until(lambda s: s.state is LoopState.REGISTERED, "the registration")
        summary = status.registration
        if summary is None:
            raise ScriptError("the loop says REGISTERED and shows no registration")
        found = summary.correction
        self._done(
            f"Registered: {summary.verdict}",
            [
                f"lateral {found.lateral_mm:+.2f}, longitudinal {found.longitudinal_mm:+.2f}, "
                f"vertical {found.vertical_mm:+.2f} mm",
                f"rotation {found.rotation_deg:+.2f}, pitch {found.pitch_deg:+.2f}, roll {found.roll_deg:+.2f} deg",
                *summary.reasons,
            ],
        )

    async def _propose(self) -> Proposal:
        await self._demand(commands.Propose())
        status = await self.until(
            lambda s: s.state is LoopState.CHECKED, "the proposal to be checked"
        )
        proposal = status.proposal
        if proposal is None:
            raise ScriptError("the loop says CHECKED and shows no proposal")
        strip = proposal.content.clearance
        remarks = [
            f"{check.outcome.value}: {check.name}: {check.detail}"
            for check in proposal.content.checks
            if check.outcome is not CheckOutcome.PASS
        ]
        self._done(
            f"Proposed and checked: {len(proposal.content.checks)} checks",
            [
                f"clearance at least {strip.minimum_mm:.1f} mm between {strip.pair[0]} and {strip.pair[1]}",
                f"digest {proposal.digest[:16]}, approvals needed: {proposal.content.approvals_needed}",
                *remarks,
            ],
        )
        return proposal

    async def _approve(self, proposal: Proposal) -> None:
        """Two acts: ask for the challenge, then read the proposal and type code and number."""
        result = await self._demand(commands.RequestChallenge(digest=proposal.digest))
        challenge = ApprovalChallenge.model_validate(result.data["challenge"])
        fact = _read_off(proposal, challenge.fact_axis)
        await self._demand(
            commands.Approve(
                digest=proposal.digest,
                challenge_id=challenge.challenge_id,
                code=challenge.code,
                fact=fact,
            )
        )
        await self.until(lambda s: s.state is LoopState.APPROVED, "the approval")
        self._done(
            "Approved",
            [
                f"code {challenge.code} typed; {challenge.fact_axis} {fact} {challenge.fact_unit} typed"
            ],
        )

    async def _move(self) -> None:
        holding = asyncio.create_task(self.hold(), name="scripted hand")
        try:
            if self._release_on_the_way:
                holding = await self._let_go_once(holding)
            status = await self.until(
                lambda s: s.state in (LoopState.ARRIVED, LoopState.VERIFIED), "the arrival"
            )
        finally:
            holding.cancel()
            with suppress(asyncio.CancelledError):
                await holding
            await self._hand.enable("released")
        self._done("Arrived", _couch_lines(status))

    async def _let_go_once(self, holding: asyncio.Task[None]) -> asyncio.Task[None]:
        await self.until(
            lambda s: (
                s.state in (LoopState.ARRIVED, LoopState.VERIFIED)
                or (
                    s.couch is not None
                    and s.state is LoopState.MOVING
                    and s.couch.path_fraction >= RELEASE_AT_FRACTION
                )
            ),
            "the couch to be on its way",
        )
        holding.cancel()
        with suppress(asyncio.CancelledError):
            await holding
        await self._hand.enable("released")
        status = await self.until(
            lambda s: s.state in (LoopState.HELD, LoopState.ARRIVED, LoopState.VERIFIED),
            "the couch to hold",
        )
        await asyncio.sleep(RELEASED_FOR_S)
        done = status.couch.path_fraction if status.couch else 0.0
        self._done("Enable released on the way: the couch holds", [f"{done:.0%} of the path done"])
        return asyncio.create_task(self.hold(), name="scripted hand")

    async def hold(self) -> None:
        """Hold the enable until cancelled."""
        while True:
            await self._hand.enable("enabled", ENABLE_FOR_MS)
            await asyncio.sleep(ENABLE_RENEW_S)

    async def _verify(self) -> SupervisorStatus:
        await self._demand(commands.AcquireImages())
        await self.until(lambda s: bool(s.images) and s.activity is None, "the verification pair")
        self._done("Verification pair acquired", [])
        await self._demand(commands.RegisterImages())
        status = await self.until(
            lambda s: s.verification is not None and s.verification.image_residual is not None,
            "the verification",
        )
        verification = status.verification
        if verification is None:
            raise ScriptError("no verification is shown")
        lines = [
            "no second position channel"
            if verification.channels_agree is None
            else f"channels differ by {verification.channel_difference_mm:.3f} mm, "
            f"{verification.channel_difference_deg:.3f} deg",
            f"pose error {verification.pose_error_mm:.3f} mm, {verification.pose_error_deg:.3f} deg",
        ]
        if verification.image_residual_mm is not None:
            lines.append(
                f"image residual {verification.image_residual_mm:.2f} mm, "
                f"{verification.image_residual_deg:.2f} deg"
            )
        lines.append(verification.reason)
        self._done("Verified" if verification.passed else "NOT verified", lines)
        return status

    async def _release_beam(self) -> SupervisorStatus:
        await self._demand(commands.ReleaseBeam())
        status = await self.until(lambda s: s.state is LoopState.BEAM_READY, "beam ready")
        self._done("Beam ready: the hold is released", [])
        return status


def _gave_up(status: SupervisorStatus) -> bool:
    """The loop went back, or the job that was waited for has failed."""
    failed = status.activity is None and " failed: " in status.reason
    return failed or status.state in _BACK


def _read_off(proposal: Proposal, axis_name: str) -> str:
    """The shift of an axis as a person reads it: target minus current, signed, one decimal."""
    content = proposal.content
    axis = content.axis_names.index(axis_name)
    shift = content.target_axes[axis] - content.start_axes[axis]
    if content.axis_units[axis] == "deg":
        shift = wrap_deg(shift)
    text = f"{shift:+.1f}"
    return "+0.0" if text == "-0.0" else text


def _devices_are_there(status: SupervisorStatus) -> bool:
    return all(link.connected for link in status.links) and status.couch is not None


def _identity_of(plan: TreatmentPlan) -> commands.OpenPatient:
    return commands.OpenPatient(
        plan_uid=plan.plan_uid,
        patient_id=plan.patient.patient_id,
        birth_date=plan.patient.birth_date,
        isocentre_id=plan.isocentres[0].isocentre_id,
        fraction=1,
    )


def _couch_lines(status: SupervisorStatus) -> list[str]:
    couch = status.couch
    if couch is None:
        return []
    return [
        ", ".join(
            f"{name} {value:+.2f} {unit}"
            for name, value, unit in zip(
                couch.axis_names, couch.primary, couch.axis_units, strict=True
            )
        )
    ]
