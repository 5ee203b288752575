"""A rehearsed session: made-up statuses and a supervisor that plays them, for pictures and tests. Never for motion.

The numbers are invented but of one piece: axis targets are now plus travel, ages run.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any

import numpy as np

from igrt_hw.client import KvImage, ServiceUnreachableError, StreamUpdate
from igrt_hw.geometry import Correction
from igrt_hw.models.commands import Approve, Command, CommandResult, RequestChallenge, Stop
from igrt_hw.models.landmarks import Landmark, Landmarks
from igrt_hw.models.plan import (
    CouchPosition,
    PatientIdentity,
    PlannedField,
    PlannedIsocentre,
    ToleranceTable,
    TreatmentPlan,
)
from igrt_hw.models.proposal import (
    Approval,
    ApprovalChallenge,
    Check,
    CheckOutcome,
    ClearanceStrip,
    ImageStamp,
    Proposal,
    ProposalContent,
    RegistrationSummary,
)
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.room import RoomMap, RoomPicture, RoomQuestion
from igrt_hw.models.status import (
    Alarm,
    AlarmPriority,
    CouchView,
    ImagerView,
    ImageView,
    Interlock,
    LinkStatus,
    LoopState,
    PendantView,
    SupervisorStatus,
)
from igrt_hw.models.users import ChainVerdict, Health, Role, SignedIn
from igrt_tui import rehearsal_books, rehearsal_room

NOW_US = 1_000_000_000
UTC = "2026-03-02T09:15:00.000Z"
AXES = ("lateral", "longitudinal", "vertical", "rotation", "pitch", "roll")
START = (2.4, -1203.0, -148.6, 0.0, 0.0, 0.0)
TARGET = (7.8, -1194.9, -152.9, 0.62, -1.14, 0.35)
SHIFT = Correction(5.2, 7.9, -4.1, 0.62, -1.14, 0.35)
DIGEST = "6f1d0c9b2a7e4d5581c3aa90f1e2d3c4b5a697887766554433221100ffeeddcc"
PASSWORD = "rehearsal"

NEXT = {
    LoopState.IDLE: "Open a patient and a plan.",
    LoopState.PATIENT_BOUND: "Put the patient on the couch and confirm the setup.",
    LoopState.SETUP: "Take the kV pair.",
    LoopState.IMAGED: "Register the images against the CT.",
    LoopState.REGISTERED: "Make a proposal of the registration.",
    LoopState.CHECKED: "Read the shift and approve or reject it.",
    LoopState.APPROVED: "Arm the approved move.",
    LoopState.ARMED: "Hold the pendant's enable; the couch moves while it is held.",
    LoopState.MOVING: "Keep the enable held until the couch arrives.",
    LoopState.HELD: "Hold the enable again to go on, or HOLD to void the move.",
    LoopState.ARRIVED: "Take the verification pair.",
    LoopState.VERIFIED: "Release the beam hold.",
    LoopState.BEAM_READY: "Treat. Close the patient afterwards.",
    LoopState.FAULT: "Find the cause, then reset.",
}
_WITH_SHIFT = (
    LoopState.CHECKED,
    LoopState.APPROVED,
    LoopState.ARMED,
    LoopState.MOVING,
    LoopState.HELD,
    LoopState.ARRIVED,
    LoopState.VERIFIED,
    LoopState.BEAM_READY,
)
_WITH_IMAGES = (*_WITH_SHIFT, LoopState.IMAGED, LoopState.REGISTERED)


def plan() -> TreatmentPlan:
    """Return a plan for the rehearsal's invented patient."""
    couch = CouchPosition(
        lateral_mm=0.0,
        longitudinal_mm=-1200.0,
        vertical_mm=-150.0,
        rotation_deg=0.0,
        pitch_deg=0.0,
        roll_deg=0.0,
        relative=False,
    )
    fields = tuple(
        PlannedField(
            number=number,
            name=name,
            purpose="SETUP",
            angle_deg=angle,
            half_field_mm=(100.0, 100.0, 100.0, 100.0),
            couch=couch,
        )
        for number, name, angle in ((1, "kV AP", 0.0), (2, "kV LAT", 90.0))
    )
    return TreatmentPlan(
        patient=PatientIdentity(
            patient_id="REHEARSAL-01", name="REHEARSAL^PATIENT", birth_date="19600101", sex="O"
        ),
        plan_uid="1.2.3.4",
        plan_label="THORAX1",
        plan_name="Thorax, one isocentre",
        frame_of_reference_uid="1.2.3.5",
        structure_set_uid="1.2.3.6",
        machine_name="BENCH1",
        patient_position="HFS",
        site="thorax",
        fractions=20,
        tolerance=ToleranceTable(
            label="T1",
            lateral_mm=20.0,
            longitudinal_mm=20.0,
            vertical_mm=20.0,
            rotation_deg=3.0,
            pitch_deg=3.0,
            roll_deg=3.0,
        ),
        isocentres=(
            PlannedIsocentre(
                isocentre_id="ISO1",
                position_dicom_mm=(1.0, -20.0, 130.0),
                couch=couch,
                setup_fields=fields,
                treatment_fields=(),
            ),
        ),
        ct_series_uid="1.2.3.7",
        ct_slices=133,
    )


def registration() -> RegistrationSummary:
    """Return what registration would say of a good pair."""
    return RegistrationSummary(
        correction=SHIFT,
        sigma_mm=(0.12, 0.15, 0.11),
        sigma_deg=(0.06, 0.08, 0.07),
        per_view_similarity=(0.942, 0.917),
        verdict="reliable",
        reasons=(),
        residual_at_target_mm=0.4,
        duration_ms=2140.0,
    )


def checks() -> tuple[Check, ...]:
    """Return the checks of the proposal, one of them a warning."""
    rows: tuple[tuple[str, CheckOutcome, str, float | None, str], ...] = (
        ("axis limits", CheckOutcome.PASS, "all targets within limits", 1.9, "deg"),
        ("correction size", CheckOutcome.WARN, "10.3 mm is more than 10 mm", -0.3, "mm"),
        ("clearance", CheckOutcome.PASS, "whole path clear", 42.6, "mm"),
        ("registration quality", CheckOutcome.PASS, "reliable", None, ""),
        ("couch since imaging", CheckOutcome.PASS, "has not moved", 0.5, "mm"),
        ("patient and plan", CheckOutcome.PASS, "identifiers agree", None, ""),
        ("image age", CheckOutcome.PASS, "fresh", 540.0, "s"),
    )
    return tuple(
        Check(
            name=name,
            sentence=f"The {name} must be in order.",
            outcome=outcome,
            detail=detail,
            margin=margin,
            margin_unit=unit,
        )
        for name, outcome, detail, margin, unit in rows
    )


def proposal(approvals_needed: int = 1, digest: str = DIGEST) -> Proposal:
    """Return a checked shift."""
    profile = tuple(62.6 + 30.0 * (1 - index / 40) ** 2 for index in range(41))
    content = ProposalContent(
        proposal_id="P-0001",
        patient_id="REHEARSAL-01",
        patient_birth_date="19600101",
        plan_uid="1.2.3.4",
        frame_of_reference_uid="1.2.3.5",
        isocentre_id="ISO1",
        patient_position="HFS",
        fraction=3,
        images=ImageStamp(
            image_uids=("setup-1", "setup-2"),
            acquired_us=NOW_US - 42_000_000,
            acquired_utc="2026-03-02T09:14:18.000Z",
            couch_axes=START,
            brakes_on=True,
        ),
        registration=registration(),
        axis_names=AXES,
        axis_units=("mm", "mm", "mm", "deg", "deg", "deg"),
        start_axes=START,
        target_axes=TARGET,
        limits_hash="ab" * 32,
        machine_hash="cd" * 32,
        clearance=ClearanceStrip(
            minimum_mm=62.6,
            at_path_fraction=1.0,
            pair=("couch top", "gantry head"),
            profile_mm=profile,
            warn_mm=20.0,
            stop_mm=10.0,
            model_hash="ef" * 32,
        ),
        checks=checks(),
        approvals_needed=approvals_needed,
        software_version="0.1.0",
        created_us=NOW_US - 30_000_000,
        expires_us=NOW_US + 540_000_000,
    )
    return Proposal(content=content, digest=digest)


def approval_of(username: str) -> Approval:
    """Return one person's approval."""
    return Approval(
        digest=DIGEST,
        username=username,
        role="therapist",
        approved_us=NOW_US,
        approved_utc=UTC,
        fact_typed="+7.9",
    )


def couch(state: LoopState, fraction: float = 0.0) -> CouchView:
    """Return the couch somewhere along the path, a little behind its command."""
    moving = state is LoopState.MOVING
    at = tuple(a + (b - a) * fraction for a, b in zip(START, TARGET, strict=True))
    lag = 0.1 if moving else 0.0
    return CouchView(
        axis_names=AXES,
        axis_units=("mm", "mm", "mm", "deg", "deg", "deg"),
        primary=tuple(value - lag for value in at),
        secondary=tuple(value - lag + 0.04 for value in at),
        commanded=at,
        state="MOVING" if moving else "STANDSTILL",
        drive_state="on" if moving else "off",
        stop_cause="the enable was released" if state is LoopState.HELD else "",
        enable_held=moving,
        enable_panic=False,
        lease_fresh=True,
        brakes_on=not moving,
        referenced=True,
        moving=moving,
        beam_gate_energised=state is LoopState.BEAM_READY,
        estop=False,
        touch_guard=False,
        faults=(),
        path_fraction=fraction,
        age_ms=18.0,
        stale=False,
    )


def alarm(
    text: str = "The registration of the second view is weak",
    priority: AlarmPriority = AlarmPriority.MEDIUM,
    alarm_id: str = "A1",
) -> Alarm:
    """Return an alarm."""
    return Alarm(
        alarm_id=alarm_id,
        priority=priority,
        text=text,
        what_to_do="Look at both views before approving.",
        raised_us=NOW_US - 12_000_000,
        raised_utc=UTC,
        latched=False,
        acknowledged_by=None,
        active=True,
    )


def links() -> tuple[LinkStatus, ...]:
    """Return three serial lines in good order."""
    rows: tuple[tuple[Any, str, float, float, float], ...] = (
        ("couch", "/dev/pts/4", 18.0, 50.0, 410.0),
        ("imager", "/dev/pts/5", 42.0, 20.0, 530.0),
        ("pendant", "/dev/pts/6", 23.0, 50.0, 380.0),
    )
    return tuple(
        LinkStatus(
            name=name,
            port=port,
            connected=True,
            age_ms=age_ms,
            rate_hz=rate,
            crc_errors=0,
            retransmissions=0,
            round_trip_us=round_trip,
            clock_offset_us=12.0,
            cause="",
        )
        for name, port, age_ms, rate, round_trip in rows
    )


def interlocks() -> tuple[Interlock, ...]:
    """Return the interlocks, one of them open."""
    rows = (
        ("Machine Clearance", True, ""),
        ("Patient Clearance", True, ""),
        ("Door", True, ""),
        ("Patient Motion", True, ""),
        ("Panel Parked", False, "the panel arm is extended; it parks before a move"),
        ("Out of Tolerance", True, ""),
    )
    return tuple(
        Interlock(name=name, sentence=f"{name} holds.", satisfied=ok, detail=detail)
        for name, ok, detail in rows
    )


def images() -> tuple[ImageView, ...]:
    """Return the setup pair."""
    return tuple(
        ImageView(
            image_uid=uid,
            purpose="setup",
            source_angle_deg=angle,
            acquired_utc="2026-03-02T09:14:18.000Z",
            rows=128,
            cols=128,
            pitch_mm=3.0,
            kvp=120.0,
            mas=mas,
            dose_area_uGycm2=11.0,
        )
        for uid, angle, mas in (("setup-1", 0.0, 1.6), ("setup-2", 90.0, 4.0))
    )


def status(state: LoopState = LoopState.CHECKED, **changes: Any) -> SupervisorStatus:
    """Return a whole status in a state of the loop, with fields changed by name."""
    fraction = {
        LoopState.MOVING: 0.46,
        LoopState.HELD: 0.46,
        LoopState.ARRIVED: 1.0,
        LoopState.VERIFIED: 1.0,
        LoopState.BEAM_READY: 1.0,
    }.get(state, 0.0)
    with_shift, with_images = state in _WITH_SHIFT, state in _WITH_IMAGES
    bound = state is not LoopState.IDLE
    fields: dict[str, Any] = {
        "version": 1207,
        "now_us": NOW_US,
        "now_utc": UTC,
        "simulator": True,
        "mode": "clinical rehearsal",
        "machine": "pedestal",
        "state": state,
        "needed_next": NEXT.get(state, "Take new images."),
        "reason": "",
        "activity": None,
        "plan": plan() if bound else None,
        "isocentre_id": "ISO1" if bound else None,
        "fraction": 3 if bound else None,
        "links": links(),
        "couch": couch(state, fraction),
        "imager": ImagerView(
            state="READY",
            gantry_deg=0.0,
            arms="extended" if with_images else "parked",
            door_closed=True,
            prepared=False,
            exposing=False,
            anode_heat_fraction=0.04,
            dose_area_uGycm2=22.0,
            faults=(),
            age_ms=42.0,
            stale=False,
        ),
        "pendant": PendantView(
            enable_position="enabled" if state is LoopState.MOVING else "released",
            estop=False,
            faults=(),
            age_ms=23.0,
            stale=False,
        ),
        "interlocks": interlocks(),
        "alarms": (),
        "images": images() if with_images else (),
        "registration": registration() if with_shift or state is LoopState.REGISTERED else None,
        "proposal": proposal() if with_shift else None,
        "approvals": (approval_of("rehearsal"),)
        if with_shift and state is not LoopState.CHECKED
        else (),
        "verification": None,
        "image_age_s": 42.0 if with_images else None,
        "expires_in_s": 540.0 if with_shift else None,
        "permission": state in (LoopState.ARMED, LoopState.MOVING, LoopState.HELD),
        "terminal_age_ms": 61.0,
        "record_entries": 41,
        "record_head": "9a3c" * 16,
        "daily_qa": rehearsal_books.standing(),
        "procedure": {
            LoopState.SUPERSEDED: "voided",
            LoopState.EXPIRED: "voided",
            LoopState.FAULT: "fault",
        }.get(state, ""),
    }
    return SupervisorStatus(**(fields | changes))


def picture(seed: int) -> KvImage:
    """Return a made-up image: a body of soft tissue, a spine and ribs, with noise of a fixed seed."""
    rows, cols = np.mgrid[0:128, 0:128].astype(np.float64) / 64.0 - 1.0
    body = np.clip(1.0 - (rows**2 / 1.1 + cols**2 / 0.8), 0.0, 1.0)
    spine = np.exp(-((cols - 0.05 * seed) ** 2) / 0.006) * (0.6 + 0.2 * np.sin(rows * 26.0))
    ribs = 0.2 * np.clip(np.sin(14.0 * (rows + 0.6 * cols**2)), 0.0, 1.0) * (body > 0.05)
    noise = np.random.default_rng(seed).normal(0.0, 0.02, rows.shape)
    values = np.clip((body * 0.55 + spine * body + ribs + noise) / 1.6, 0.0, 1.0)
    return KvImage((values * 65535).astype(np.uint16), 0.0, 8.0, 1500, 52000)


class RehearsedSupervisor(rehearsal_books.RehearsedBooks):
    """Plays statuses and answers commands; what was asked of it is kept in `sent`."""

    def __init__(self, now: SupervisorStatus | None = None, username: str = "rehearsal") -> None:
        self.now = now if now is not None else status()
        self.username = username
        self.connected = True
        self.cause = ""
        self.silent = False
        self.unreachable = False
        self.refuse = ""
        self.sent: list[Command] = []
        self.entries = tuple(entry(number) for number in range(1, 42))
        self.alive_asked: list[bool] = []
        self.code = "R4KD"
        self._signed_in: SignedIn | None = None
        self.news = asyncio.Event()
        self.guests: list[RehearsedSupervisor] = []
        self.closed = False

    @property
    def signed_in(self) -> SignedIn | None:
        """Who is signed in."""
        return self._signed_in

    async def health(self) -> Health:
        """Say what answers here."""
        if self.unreachable:
            raise ServiceUnreachableError("nobody answers")
        return Health(
            service="igrt-hw",
            version="0.1.0",
            simulator=self.now.simulator,
            not_a_medical_device=True,
        )

    async def login(self, username: str, password: str) -> SignedIn:
        """Let in whoever knows the word of the play."""
        if self.unreachable or password != PASSWORD:
            raise ServiceUnreachableError("name and password do not fit")
        self._signed_in = SignedIn(
            token="none",
            username=username,
            display_name="R. Hearsal",
            role=Role.THERAPIST,
            expires_utc=UTC,
        )
        self.username = username
        return self._signed_in

    async def logout(self) -> None:
        """Forget who was signed in."""
        self._signed_in = None

    async def second_person(self, username: str, password: str) -> "RehearsedSupervisor":
        """Sign in a second person over the same play."""
        other = RehearsedSupervisor(self.now, username)
        other.sent = self.sent
        await other.login(username, password)
        self.guests.append(other)
        return other

    async def plans(self) -> list[TreatmentPlan]:
        """Return the one plan."""
        return [plan()]

    async def send(self, command: Command) -> CommandResult:
        """Keep the command and answer it."""
        self.sent.append(command)
        if self.unreachable:
            raise ServiceUnreachableError("nobody answers")
        if self.refuse and not isinstance(command, Stop):
            return CommandResult(accepted=False, message=self.refuse)
        if isinstance(command, RequestChallenge):
            return CommandResult(
                accepted=True, message="read and type", data=self._challenge(command.digest)
            )
        words = "approved" if isinstance(command, Approve) else f"{command.kind} taken"
        return CommandResult(accepted=True, message=words)

    def _challenge(self, digest: str) -> dict[str, object]:
        axis = (
            "lateral" if self.now.approvals else "longitudinal"
        )  # the second reads another number
        made = ApprovalChallenge(
            challenge_id="C1",
            digest=digest,
            username=self.username,
            code=self.code,
            fact_prompt=f"Type the {axis} shift of the couch (target minus current) in mm, "
            "with its sign, to one decimal.",
            fact_axis=axis,
            fact_unit="mm",
            expires_us=NOW_US + 120_000_000,
        )
        return made.model_dump(mode="json")

    async def image(self, image_uid: str) -> KvImage:
        """Return a made-up image."""
        return picture(int(image_uid[-1]))

    async def drr(self, image_uid: str, *, registered: bool) -> KvImage:
        """Return a made-up DRR."""
        return picture(int(image_uid[-1]) + (0 if registered else 3))

    async def nudged_drr(
        self, image_uid: str, correction: Correction, *, side_max: int = 384
    ) -> tuple[KvImage, float | None]:
        """Return a made-up DRR, less like the image the further the nudge is from the rehearsed shift."""
        off = sum(abs(a - b) for a, b in zip(correction.values(), SHIFT.values(), strict=True))
        made = picture(int(image_uid[-1]))
        moved = np.roll(
            made.pixels, round(correction.longitudinal_mm - SHIFT.longitudinal_mm), axis=0
        )
        return replace(made, pixels=moved), max(0.0, 0.95 - 0.02 * off)

    async def landmarks(self, image_uid: str, correction: Correction | None) -> Landmarks:
        """Return made-up points: the isocentre, a marker and a vertebra."""
        down = 0.0 if correction is None else correction.longitudinal_mm
        rows: tuple[tuple[str, Any, float, float], ...] = (
            ("isocentre", "isocentre", 64.0, 64.0 + down),
            ("M1", "marker", 40.0, 50.0 + down),
            ("T8", "vertebra", 68.0, 30.0 + down),
        )
        return Landmarks(
            image_uid=image_uid,
            points=tuple(Landmark(name=n, kind=k, column=c, row=r) for n, k, c, r in rows),
        )

    async def room_picture(self, asked: RoomQuestion) -> RoomPicture:
        """Return a made-up picture of the room."""
        arms = self.now.imager.arms if self.now.imager else "parked"
        return rehearsal_room.picture(asked).model_copy(update={"arms": arms})

    async def room_map(self) -> RoomMap:
        """Return a made-up clearance map."""
        arms = self.now.imager.arms if self.now.imager else "parked"
        return rehearsal_room.clearance_map().model_copy(update={"arms": arms})

    async def record(self, *, after: int = 0, limit: int = 200) -> list[RecordEntry]:
        """Return made-up entries."""
        return [made for made in self.entries if made.sequence > after][:limit]

    async def verify_record(self) -> ChainVerdict:
        """Say that the chain holds."""
        return ChainVerdict(ok=True, entries=len(self.entries), problem="")

    def stream(
        self, terminal_id: str | None = None, *, alive: Callable[[], bool] = lambda: True
    ) -> AsyncGenerator[StreamUpdate, None]:
        """Play the status of the moment until the end."""
        return self._updates(alive)

    async def _updates(self, alive: Callable[[], bool]) -> AsyncGenerator[StreamUpdate, None]:
        while True:
            self.alive_asked.append(alive())
            if not self.silent:
                yield StreamUpdate(self.now, self.connected, 0.0, False, self.cause)
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """End the play."""
        self.closed = True


def entry(number: int) -> RecordEntry:
    """Return a made-up entry of the record."""
    kinds = ("state", "command", "image", "approval", "motion")
    return RecordEntry(
        sequence=number,
        at_us=NOW_US - (41 - number) * 2_000_000,
        at_utc=f"2026-03-02T09:{13 + number // 30:02d}:{number * 2 % 60:02d}.000Z",
        kind=kinds[number % len(kinds)],
        actor="rehearsal" if number % 2 else "supervisor",
        text=f"made-up entry {number} of the rehearsal",
        data={},
        previous="0" * 64,
        digest="1" * 64,
    )
