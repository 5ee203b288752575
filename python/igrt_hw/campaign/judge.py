"""The invariants, judged by the room's truth and by books of its own: it believes neither supervisor nor drivers.

What the couch does is taken from the simulator's truth. What it was told is read from the octets that leave the host.
What was approved is what people were shown when they approved. Nothing is asked of the supervisor but its state, to
hold it to that, and its record, to see whether it explains what happened.

- permission: nothing moves without an executed plan (or a key of the pendant), a held enable and leases.
- approved: what is executed is octet for octet what enough different people were shown and approved, typed right.
- fresh: neither proposal nor images are too old, and the couch has not moved since the images.
- line: while it moves, it is on the approved line.
- arrival: where the loop says the couch arrived, it truly stands at the approved target.
- clearance: no path is executed below the stop distance, and what is swept keeps the distance that was certified.
- stop: after a STOP, an emergency stop or a touched guard everything comes to rest, until something new is permitted.
- once: one approval moves at most once.
- beam: while the gate is energised, the patient truly lies within the tolerance of verification.
- told: what moved by itself is told.
- log: the record explains every movement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from igrt_hw.campaign.faults import Misfortune
from igrt_hw.campaign.rig import Person, Rig
from igrt_hw.link import messages as m
from igrt_hw.link.frame import Direction, Frame, decode_run
from igrt_hw.models import commands
from igrt_hw.models.commands import Command
from igrt_hw.models.proposal import Proposal, ProposalContent
from igrt_hw.models.status import LoopState
from igrt_hw.safety import effects as fx
from igrt_hw.safety.couch_model import rotation_total_deg
from igrt_hw.safety.motion_plan import MotionPlan

# A stop from 10 mm/s takes v/a + a/j = 0.53 s; before it the last lease may be 150 ms old, and be 100 ms on its way.
RUN_ON_US = 800_000
NEVER_US = -10_000_000
REST_US = 250_000  # brakes have engaged, and what they gave way by is over
LEASE_US = 150_000
BY_HAND_US = 400_000
MOVES_MM_S = 0.4  # below that it is settling, sag under engaging brakes, and the ringing of a stop
MOVES_DEG_S = 0.08
GIVES_MM = 0.5
GIVES_DEG = 0.1
ARRIVED_MM = 1.0  # beside the gate of the site: the channels may be 0.5 mm apart
ARRIVED_DEG = 0.5
OFF_LINE_MM = 1.5
OFF_LINE_DEG = 0.75
CLEARANCE_MM = 3.0  # what 1.5 mm beside the line, and the sag of the top, may take of it
UNMOVED_MM = 1.0
UNMOVED_DEG = 0.5
GATE_US = 5_000  # the couch has obeyed by then
BEAM_MM = 1.0  # what registration and couch may be off beside the tolerance itself
TOLD_US = 1_000_000
UNTOLD_MM = 2.0
EXPLAINED_MM = 0.5
TELLING = frozenset(
    {"fault", "link", "transition", "stop", "alarm", "manual", "failed", "defect", "refused"}
)
ARRIVED = (LoopState.ARRIVED, LoopState.VERIFIED, LoopState.BEAM_READY)
_BOOKED = {
    kind.TYPE for kind in (m.PlanUpload, m.Execute, m.Jog, m.Home, m.Hello, m.Stop, m.BeamGate)
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken. `at_us` since the session began."""

    promise: str
    at_us: int
    detail: str


@dataclass(slots=True)
class Shown:
    """What people were shown and approved."""

    content: ProposalContent
    people: dict[str, str] = field(default_factory=dict)
    last_us: int = 0


@dataclass(slots=True)
class Track:
    """A plan on its way, and where the couch truly was meanwhile."""

    proposal: str
    start: tuple[float, ...]
    target: tuple[float, ...]
    executed_us: int
    clear_mm: float
    seen: list[list[float]] = field(default_factory=list)
    first_us: int | None = None
    last_us: int = 0
    arrived: bool = False


class Judge:
    """An onlooker of a rig; `violations` says what was broken."""

    def __init__(self, rig: Rig, misfortune: Misfortune) -> None:
        self.violations: list[Violation] = []
        self.moved_us = 0
        self._rig = rig
        self._misfortune = misfortune
        self._begun_us = self._last_us = rig.now_us
        self._shown: dict[str, Shown] = {}
        self._uploads: dict[str, m.PlanUpload] = {}
        self._tokens: dict[str, bytes] = {}
        self._stops: set[int] = set()
        self._tracks: list[Track] = []
        self._plan: Track | None = None
        self._track: Track | None = None
        self._lease_us = self._by_hand_us = self._permitted_us = self._stop_us = NEVER_US
        self._moved_last_us = NEVER_US
        self._permits = False
        self._hand_from: list[float] = []
        self._hand_last_us = NEVER_US
        self._hand_told = False
        self._free_from: list[float] | None = None
        self._allowed_us = NEVER_US
        self._imaged_at: list[float] = list(rig.room.motion()[1])
        self._gate_us: int | None = None
        self._strange_us: int | None = None
        self._strange_mm = 0.0
        self._strange_axes: list[float] | None = None
        self._accused: set[tuple[str, int]] = set()
        rig.onlooker = self

    def _broken(self, promise: str, at_us: int, detail: str) -> None:
        self.violations.append(Violation(promise, at_us - self._begun_us, detail))

    @property
    def _strange(self) -> bool:
        """Whether the couch's mechanics or measuring have gone wrong: then the device itself has to say so."""
        return self._misfortune.mechanical_since_us is not None

    @property
    def executed(self) -> tuple[str, ...]:
        """Digests of the proposals that were executed."""
        return tuple(self._tokens)

    @property
    def restless(self) -> bool:
        """Whether the couch is not at rest with brakes on, or moves by itself."""
        _, _, mm_s, deg_s = self._rig.room.motion()
        moves = mm_s > MOVES_MM_S or deg_s > MOVES_DEG_S
        return self._strange or moves or not self._rig.truth()["brakes_engaged"]

    # ---- people ----------------------------------------------------------------------------------------------------

    def asked(
        self, command: Command, person: Person, answer: fx.Answer | None, mistaken: bool
    ) -> None:
        """See `Onlooker`."""
        if answer is None or not answer.accepted:
            return
        now_us = self._rig.now_us
        if isinstance(command, commands.Stop):
            self._stopped(now_us)
        elif isinstance(command, commands.Approve):
            if mistaken:
                self._broken("approved", now_us, f"{person.username} typed something else")
            proposal = self._rig.shown
            if proposal is None or proposal.digest != command.digest:
                self._broken("approved", now_us, "approved what was not shown")
                return
            self._approved(proposal, person, now_us)

    def _approved(self, proposal: Proposal, person: Person, now_us: int) -> None:
        book = self._shown.setdefault(proposal.digest, Shown(proposal.content))
        book.people[person.username] = person.session
        book.last_us = now_us

    def hand(self) -> None:
        """See `Onlooker`."""

    def imaged(self) -> None:
        """See `Onlooker`."""
        self._imaged_at = list(self._rig.room.motion()[1])

    def crashed(self) -> None:
        """See `Onlooker`: a supervisor that begins anew has nobody's permission."""
        self._plan = None

    def _stopped(self, now_us: int) -> None:
        self._stop_us = now_us
        self._plan, self._by_hand_us = None, NEVER_US

    # ---- the line of the couch -------------------------------------------------------------------------------------

    def said(self, line: str, octets: bytes) -> None:
        """See `Onlooker`."""
        if line != "couch":
            return
        for run in octets.split(b"\0"):
            if len(run) < 3:
                continue
            kind = run[2]  # after the code of COBS and the version
            if kind == m.Lease.TYPE:
                self._lease_us = self._rig.now_us
            elif kind in _BOOKED:
                frame = decode_run(run, Direction.HOST_TO_DEVICE)
                if isinstance(frame, Frame):
                    self._book(frame.message, self._rig.now_us)

    def _book(self, message: m.Message, now_us: int) -> None:
        match message:
            case m.PlanUpload():
                self._uploads[_digest(message)] = message
            case m.Execute():
                self._execute(message, now_us)
            case m.Jog() | m.Home():
                self._by_hand_us, self._track = now_us, None
            case m.Hello():
                self._plan, self._by_hand_us = None, NEVER_US
            case m.Stop(nonce=nonce):
                if nonce not in self._stops:  # else one more copy, until it is acknowledged
                    self._stops.add(nonce)
                    self._stopped(now_us)
            case m.BeamGate(energise):
                self._gate_us = now_us + GATE_US if energise else None
            case _:
                pass

    def _execute(self, message: m.Execute, now_us: int) -> None:
        upload = self._uploads.get(message.plan_digest.hex())
        if upload is None:
            self._broken("approved", now_us, "executed a plan that was not uploaded")
            return
        proposal = upload.proposal.hex()
        known = self._tokens.setdefault(proposal, message.token)
        if known != message.token:
            self._broken("once", now_us, f"{proposal[:16]} was executed twice")
            return
        if self._track is not None and self._track.proposal == proposal:
            return  # the line says it again
        book = self._shown.get(proposal)
        if book is None:
            self._broken("approved", now_us, f"nobody approved {proposal[:16]}")
            return
        self._enough_people(proposal, book, now_us)
        self._same_values(upload, book.content, now_us)
        self._fresh(book, now_us)
        clear = book.content.clearance
        if clear.minimum_mm < self._rig.config.clearance_stop_mm:
            self._broken("clearance", now_us, f"executed a path of {clear.minimum_mm:.1f} mm")
        self._plan = self._track = Track(
            proposal,
            book.content.start_axes,
            book.content.target_axes,
            now_us,
            clear.minimum_mm,
        )
        self._tracks.append(self._track)

    def _enough_people(self, proposal: str, book: Shown, now_us: int) -> None:
        rule = self._rig.config.rule_for(self._rig.plan.site)
        correction = book.content.registration.correction
        large = (
            correction.magnitude_mm > rule.second_person_mm
            or rotation_total_deg(correction) > rule.second_person_deg
        )
        needed = max(2 if large else rule.approvals_base, book.content.approvals_needed)
        given = min(len(book.people), len(set(book.people.values())))
        if given < needed:
            self._broken("approved", now_us, f"{given} of {needed} people for {proposal[:16]}")
        if book.last_us < self._stop_us:
            self._broken("stop", now_us, f"{proposal[:16]} was approved before a STOP")

    def _same_values(self, upload: m.PlanUpload, content: ProposalContent, now_us: int) -> None:
        pairs = (
            (_natural(upload.start), content.start_axes),
            (_natural(upload.waypoints[-1]), content.target_axes),
        )
        if len(upload.waypoints) != 1 or any(
            abs(a - b) > 1e-3 for said, shown in pairs for a, b in zip(said, shown, strict=True)
        ):
            self._broken("approved", now_us, "the couch was told other values than were shown")

    def _fresh(self, book: Shown, now_us: int) -> None:
        content, rig = book.content, self._rig
        if now_us > content.expires_us:
            self._broken("fresh", now_us, "executed an expired proposal")
        age_us = now_us - content.images.acquired_us
        if age_us > rig.config.rule_for(rig.plan.site).image_age_us:
            self._broken("fresh", now_us, f"images of {age_us / 1e6:.1f} s")
        if self._strange:
            return
        moved = _apart(self._imaged_at, rig.room.motion()[1])
        if moved[0] > UNMOVED_MM or moved[1] > UNMOVED_DEG:
            self._broken("fresh", now_us, f"the couch moved {moved[0]:.1f} mm since the images")

    # ---- every step --------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """See `Onlooker`."""
        rig, misfortune = self._rig, self._misfortune
        now_us = rig.now_us
        pressed_us = misfortune.stopped_us
        if pressed_us is not None and pressed_us > self._stop_us:
            self._stopped(pressed_us)
        self._permits = rig.enable == "enabled" and (
            self._plan is not None or now_us - self._by_hand_us < BY_HAND_US
        )
        if self._permits:
            self._permitted_us = max(self._permitted_us, min(now_us, self._lease_us + LEASE_US))
            self._allowed_us = max(self._allowed_us, self._permitted_us)
        moved = rig.room.take_motion()
        if moved:
            self._judge_motion(moved)
        elif (
            self._permitted_us != NEVER_US
            and not self._permits
            and now_us - max(self._moved_last_us, self._permitted_us) > REST_US
        ):
            # At rest: what moves from now on needs a permission of its own.
            self._permitted_us, self._free_from = NEVER_US, None
        track = self._track
        if track is not None and not track.arrived and rig.state in ARRIVED:
            self._judge_arrival(track, now_us)
        if self._gate_us is not None and now_us >= self._gate_us:
            self._judge_beam(now_us)
        if misfortune.mechanical_since_us is not None:
            self._judge_strange(now_us)
        self._last_us = now_us

    def _judge_motion(self, moved: Sequence[tuple[int, list[float], float, float]]) -> None:
        ahead_us = self._rig.now_us - self._rig.room.now_us
        for room_us, axes, mm_s, deg_s in moved:
            if mm_s <= MOVES_MM_S and deg_s <= MOVES_DEG_S:
                continue
            at_us = self._moved_last_us = room_us + ahead_us
            self.moved_us += min(at_us - self._last_us, 10_000) if at_us > self._last_us else 0
            if self._strange:
                continue
            if at_us - self._permitted_us > RUN_ON_US:
                self._unpermitted(at_us, axes, mm_s, deg_s)
            else:
                self._free_from = None
            track = self._track
            if track is None:
                self._by_hand_seen(axes, at_us)
            else:
                track.seen.append(axes)
                track.last_us = at_us
                if track.first_us is None:
                    track.first_us = at_us

    def _by_hand_seen(self, axes: list[float], at_us: int) -> None:
        """By a key of the pendant: the record names the movement before it has gone far."""
        if at_us - self._hand_last_us > REST_US:
            self._hand_from = axes
        self._hand_last_us = at_us
        if _apart(self._hand_from, axes)[0] < EXPLAINED_MM or self._hand_told:
            return
        self._hand_told = any(told.record.kind == "manual" for told in self._rig.records)
        if not self._hand_told:
            self._hand_told = True
            self._broken("log", at_us, "no record explains what was moved by hand")

    def _unpermitted(self, at_us: int, axes: list[float], mm_s: float, deg_s: float) -> None:
        """Where drives fall off, the brakes give way by some tenths before they hold: that is no motion."""
        if self._free_from is None:
            self._free_from = axes
        mm, deg = _apart(self._free_from, axes)
        promise = "stop" if self._stop_us > self._allowed_us else "permission"
        if (mm <= GIVES_MM and deg <= GIVES_DEG) or (promise, self._allowed_us) in self._accused:
            return
        self._accused.add((promise, self._allowed_us))
        self._broken(
            promise,
            at_us,
            f"moves at {mm_s:.1f} mm/s, {deg_s:.2f} deg/s,"
            f" {(at_us - self._allowed_us) / 1e6:.2f} s after it was permitted last",
        )

    def _judge_arrival(self, track: Track, now_us: int) -> None:
        track.arrived = True
        self._plan = None  # used up
        mm, deg = _apart(self._rig.room.motion()[1], track.target)
        rule = self._rig.config.rule_for(self._rig.plan.site)
        more = 1.0 if self._strange else 0.0
        if mm > rule.pose_gate_mm + ARRIVED_MM + more or deg > rule.pose_gate_deg + ARRIVED_DEG:
            self._broken("arrival", now_us, f"arrived {mm:.1f} mm, {deg:.1f} deg off the target")

    def _judge_beam(self, now_us: int) -> None:
        self._gate_us = None
        rig, shifted_us = self._rig, self._misfortune.shifted_us
        truth = rig.truth()
        if not truth["beam_gate"] or rig.wrong_last or shifted_us is not None or self._strange:
            return
        rule = rig.config.rule_for(rig.plan.site)
        away = float(truth["residual"]["distance_mm"])
        if away > rule.verify_mm + BEAM_MM:
            self._broken("beam", now_us, f"the patient lies {away:.1f} mm off under the beam")

    def _judge_strange(self, now_us: int) -> None:
        """Motion that nobody permitted must be told within a time, whatever caused it."""
        axes = self._rig.room.motion()[1]
        before, self._strange_axes = self._strange_axes, axes
        if before is None or now_us - self._permitted_us < RUN_ON_US:
            return
        self._strange_mm += _apart(before, axes)[0]
        if self._strange_mm <= UNTOLD_MM:
            return
        if self._strange_us is None:
            self._strange_us = now_us
        elif now_us - self._strange_us > TOLD_US:
            since = (self._misfortune.mechanical_since_us or 0) - RUN_ON_US
            if not any(t.record.kind in TELLING and t.at_us >= since for t in self._rig.records):
                self._broken("told", now_us, f"{self._strange_mm:.1f} mm that nobody was told of")
            self._strange_mm, self._strange_us = 0.0, None

    # ---- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Judge what needs the whole of a way: line, clearance and record."""
        for track in self._tracks:
            if track.seen:
                seen = np.asarray(track.seen)
                self._judge_line(track, seen)
                self._judge_clearance(track, seen)
                self._judge_record(track, seen)

    def _judge_line(self, track: Track, seen: NDArray[np.float64]) -> None:
        start, target = np.asarray(track.start), np.asarray(track.target)
        along = target - start
        weight = float(along @ along)
        share = (
            np.clip((seen - start) @ along / weight, 0.0, 1.0) if weight else np.zeros(len(seen))
        )
        off = np.abs(seen - start - share[:, None] * along)
        mm, deg = float(off[:, :3].max()), float(off[:, 3:].max())
        if mm > OFF_LINE_MM or deg > OFF_LINE_DEG:
            self._broken("line", track.last_us, f"{mm:.1f} mm, {deg:.2f} deg off the approved line")

    def _judge_clearance(self, track: Track, seen: NDArray[np.float64]) -> None:
        rig = self._rig
        book = self._shown[track.proposal]
        obstacle = rig.obstacles.get(book.content.clearance.model_hash)
        if obstacle is None:
            self._broken("clearance", track.last_us, "certified against nothing in the room")
            return
        nearest = float(obstacle.distances_mm(rig.couch_core, seen).min())
        if nearest < track.clear_mm - CLEARANCE_MM:
            self._broken(
                "clearance",
                track.last_us,
                f"{nearest:.1f} mm where {track.clear_mm:.1f} mm was certified",
            )

    def _judge_record(self, track: Track, seen: NDArray[np.float64]) -> None:
        if float(np.abs(seen - seen[0]).max()) < EXPLAINED_MM or track.first_us is None:
            return
        explained = any(
            told.record.kind == "execute"
            and track.proposal[:16] in told.record.text
            and told.at_us <= track.first_us
            for told in self._rig.records
        )
        approved = any(
            told.record.kind == "approval" and track.proposal[:16] in told.record.text
            for told in self._rig.records
        )
        if not (explained and approved):
            self._broken("log", track.last_us, f"no record explains {track.proposal[:16]}")


def _natural(values: Sequence[int]) -> tuple[float, ...]:
    """Millimetres and degrees (pedestal: three linear axes, three rotary)."""
    return tuple(v / (1e3 if n < 3 else 1e6) for n, v in enumerate(values))


def _apart(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    off = [abs(a - b) for a, b in zip(first, second, strict=True)]
    return max(off[:3]), max(off[3:])


def _digest(upload: m.PlanUpload) -> str:
    """The digest of what is said on the line, by the supervisor's reading of the protocol and not by the driver's."""
    count = upload.axis_count
    return MotionPlan(
        proposal=upload.proposal.hex(),
        limits=upload.limits.hex(),
        ttl_ms=upload.ttl_ms,
        speed_ppm=upload.speed_ppm,
        start=tuple(upload.start[:count]),
        start_tolerance_linear_um=upload.start_tolerance_linear_um,
        start_tolerance_rotary_udeg=upload.start_tolerance_rotary_udeg,
        waypoints=tuple(tuple(point[:count]) for point in upload.waypoints),
    ).digest()
