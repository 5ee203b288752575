"""The team of a session: careful most of the time, and tired, hasty, mistaken or at odds the rest of it."""

from __future__ import annotations

import random

from igrt_hw.campaign.plans import BIRTH_DATE
from igrt_hw.campaign.rig import Person, Rig
from igrt_hw.models import commands
from igrt_hw.models.commands import Command
from igrt_hw.models.status import LoopState as S
from igrt_hw.safety.effects import Answer

THERAPIST = Person("anna", "therapist", "s-anna")
SECOND = Person("bert", "physicist", "s-bert")
SERVICE = Person("sven", "service", "s-sven")
BETWEEN_US = (2_000, 40_000)
READS_US = (40_000, 200_000)
HESITATES = 0.012  # of acts, and then for longer than the short lives of a hasty session
HESITATION_US = (300_000, 1_600_000)
MISTAKE = 0.12  # of acts; a department with such people would have other worries
RELEASES = 0.02  # of looks while the couch moves
KEYS = 12  # two for each axis
KEY_US = (100_000, 900_000)
LETS_GO = 0.7  # of looks while there is nothing to be held for
PATIENCE_US = 1_000_000
OPENINGS_MAX = 6
SIGN_MATTERS = 0.3  # mm or degrees: below it a wrong sign is within what counts as typed right

SLIPS: tuple[str, ...] = (
    "stop", "stale", "stale approval", "same", "order", "squeeze", "disagree", "service", "keys", "identity",
    "two at once", "idle",
)  # fmt: skip
OUT_OF_ORDER: tuple[Command, ...] = (
    commands.Propose(), commands.ReleaseBeam(), commands.RegisterImages(), commands.AcquireImages(),
    commands.ConfirmSetup(),
)  # fmt: skip


class Team:
    """Acts on a rig when it is time to; `done` when there is nothing left to do."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.done = False
        self.arrivals = 0
        self.stops = 0
        self._random = random.Random(f"{seed}/people")
        self._next_us = self._begun_us = rig.now_us
        self._came_in = False
        self.came_in_us = 0
        self._rejections = self._openings = 0
        self._resets = 0
        self._isocentres = [i.isocentre_id for i in rig.plan.isocentres]
        self._old_digest = ""
        self._keys_until_us: int | None = None

    @property
    def next_us(self) -> int:
        """When somebody acts next."""
        return self._next_us

    def act(self) -> None:
        """One act, if it is time for one."""
        rig, draw = self.rig, self._random
        if rig.now_us < self._next_us:
            return
        self._next_us = rig.now_us + draw.randrange(*BETWEEN_US)
        if self._keys_until_us is not None:
            self._by_hand(self._keys_until_us)
            return
        if rig.supervisor is None or not self._came_in:
            self._come_in()
            return
        if draw.random() < HESITATES:
            self._next_us += draw.randrange(*HESITATION_US)
        self._hand()
        if draw.random() < MISTAKE:
            self.slip(draw.choice(SLIPS))
            return
        self._careful()

    def _come_in(self) -> None:
        """The first patient is called in when everything is connected, or after a while all the same."""
        rig = self.rig
        late = rig.now_us - self._begun_us > PATIENCE_US
        self._came_in = rig.supervisor is not None and (rig.connected or late)
        self.came_in_us = rig.now_us

    # ---- the hand ----------------------------------------------------------------------------------------------------

    def _hand(self) -> None:
        rig, draw = self.rig, self._random
        if rig.state in (S.ARMED, S.MOVING, S.HELD):
            lets_go = draw.random() < RELEASES
            rig.hold("released" if lets_go else "enabled")
            if draw.random() < RELEASES / 4:
                rig.hold("squeezed")
        elif rig.enable != "released" and draw.random() < LETS_GO:
            rig.hold("released")

    # ---- by the keys of the pendant --------------------------------------------------------------------------------

    def _take_keys(self) -> None:
        """Service moves the empty couch by a key of the pendant."""
        rig, draw = self.rig, self._random
        answer = rig.ask(commands.EnterMode(mode="service"), SERVICE)
        if answer is None or not answer.accepted:
            return
        rig.hold("enabled")
        rig.press_keys(1 << draw.randrange(KEYS))
        self._keys_until_us = rig.now_us + draw.randrange(*KEY_US)

    def _by_hand(self, until_us: int) -> None:
        rig, draw = self.rig, self._random
        if draw.random() < RELEASES:
            rig.hold(draw.choice(("released", "enabled")))
        if rig.now_us < until_us:
            return
        rig.press_keys(0)
        if draw.random() < LETS_GO:
            rig.hold("released")
        answer = rig.ask(commands.EnterMode(mode="clinical rehearsal"), SERVICE)
        if answer is None or answer.accepted or rig.now_us > until_us + PATIENCE_US:
            self._keys_until_us = None
        else:
            self._think()  # the couch is still coming to rest

    # ---- as it should be -----------------------------------------------------------------------------------------

    def _careful(self) -> None:
        rig = self.rig
        if rig.supervisor is None or rig.supervisor.memory.pending:
            return
        match rig.state:
            case S.IDLE:
                self._open()
            case S.PATIENT_BOUND:
                self._ask(commands.ConfirmSetup())
            case S.SETUP:
                self._ask(commands.AcquireImages())
            case S.IMAGED:
                self._ask(commands.RegisterImages())
            case S.REGISTERED:
                self._propose()
            case S.CHECKED:
                self._approve()
            case S.APPROVED:
                self._arm()
            case S.ARRIVED:
                self._verify()
            case S.VERIFIED:
                self._after_verification()
            case S.BEAM_READY:
                self._next_or_close()
            case S.REJECTED | S.EXPIRED | S.SUPERSEDED:
                self._begin_anew()
            case S.FAULT:
                self._reset()
            case _:
                pass

    def _open(self) -> None:
        self._openings += 1
        if self.arrivals or self._openings > OPENINGS_MAX:
            self.done = True
            return
        plan = self.rig.plan
        self._ask(
            commands.OpenPatient(
                plan_uid=plan.plan_uid,
                patient_id=plan.patient.patient_id,
                birth_date=BIRTH_DATE,
                isocentre_id=self._isocentres[0],
                fraction=1,
            )
        )

    def _propose(self) -> None:
        answer = self._ask(commands.Propose())
        if answer is not None and not answer.accepted:
            self._begin_anew()

    def _approve(self, who: Person | None = None) -> None:
        rig = self.rig
        proposal = rig.supervisor.memory.proposal if rig.supervisor is not None else None
        if proposal is None or rig.supervisor is None:
            return
        self._old_digest = proposal.digest
        given = {approval.username for approval in rig.supervisor.memory.approvals}
        person = who or (SECOND if THERAPIST.username in given else THERAPIST)
        opened = rig.ask(commands.RequestChallenge(digest=proposal.digest), person)
        if opened is None or not opened.accepted:
            return
        content, draw = proposal.content, self._random
        index = content.axis_names.index(str(opened.data["fact_axis"]))
        shift = content.target_axes[index] - content.start_axes[index]
        code, fact = str(opened.data["code"]), f"{shift:+.1f}"
        mistaken = False
        if draw.random() < MISTAKE:
            slip = draw.randrange(3)
            code = code[::-1] if slip == 0 else code
            fact = f"{-shift:+.1f}" if slip == 1 else f"{shift + 1.0:+.1f}" if slip == 2 else fact
            mistaken = (
                (slip == 0 and code != opened.data["code"])
                or (slip == 1 and abs(shift) > SIGN_MATTERS)
                or slip == 2
            )
        approval = commands.Approve(
            digest=proposal.digest,
            challenge_id=str(opened.data["challenge_id"]),
            code=code,
            fact=fact,
        )
        rig.ask(approval, person, mistaken=mistaken)
        if draw.random() < MISTAKE:
            rig.ask(approval, person, mistaken=mistaken)  # a double click

    def _arm(self) -> None:
        proposal = self.rig.supervisor.memory.proposal if self.rig.supervisor is not None else None
        if proposal is not None:
            self._ask(commands.Arm(digest=proposal.digest))

    def _verify(self) -> None:
        supervisor = self.rig.supervisor
        if supervisor is None:
            return
        self.arrivals += 1
        has_images = supervisor.memory.stamp is not None and not supervisor.memory.images_problem
        self._ask(commands.RegisterImages() if has_images else commands.AcquireImages())

    def _after_verification(self) -> None:
        self._ask(commands.ReleaseBeam())

    def _next_or_close(self) -> None:
        supervisor = self.rig.supervisor
        if supervisor is None or supervisor.memory.isocentre is None:
            return
        at = self._isocentres.index(supervisor.memory.isocentre.isocentre_id)
        if at + 1 < len(self._isocentres) and self._random.random() < 0.5:
            self._ask(commands.NextIsocentre(isocentre_id=self._isocentres[at + 1]))
        else:
            self._ask(commands.ClosePatient())
            self.done = True

    def _begin_anew(self) -> None:
        self._rejections += 1
        if self._rejections > 4:
            self._ask(commands.ClosePatient())
            self.done = True
        else:
            self._ask(commands.AcquireImages())

    def _reset(self) -> None:
        self._resets += 1
        if self._resets > 12:
            self.done = True
        self.rig.hold("released")
        self._ask(commands.ResetFault())

    # ---- as it should not be -------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """What careful people do next in this state, once, right or mistyped."""
        self._hand()
        self._careful()

    def slip(self, kind: str) -> None:
        """One of `SLIPS`, where it makes sense; otherwise nothing."""
        draw, rig = self._random, self.rig
        match kind:
            case "stop":
                self.stops += 1
                self._ask(commands.Stop())
            case "stale" if self._old_digest:
                self._ask(commands.Arm(digest=self._old_digest))
            case "stale approval" if self._old_digest:
                rig.ask(commands.RequestChallenge(digest=self._old_digest), SECOND)
            case "same" if rig.state is S.CHECKED:
                self._approve(THERAPIST)
            case "order":
                self._ask(draw.choice(OUT_OF_ORDER))
            case "squeeze":
                rig.hold(draw.choice(("enabled", "squeezed", "released")))
            case "disagree" if rig.state in (S.CHECKED, S.APPROVED) and self._old_digest:
                reject = commands.Reject(digest=self._old_digest, reason="poor images", text="")
                rig.ask(reject, SECOND)
            case "service":
                rig.ask(commands.EnterMode(mode="service"), SERVICE)
            case "keys" if rig.state is S.IDLE:
                self._take_keys()
                return
            case "identity" if rig.state is S.IDLE:
                self._ask(self._another_patient())
            case "two at once" if rig.shown is not None:
                # Two people press the same button of two terminals.
                arm = commands.Arm(digest=rig.shown.digest)
                rig.ask(arm, THERAPIST)
                rig.ask(arm, SECOND)
            case _:
                pass
        if (
            rig.state is S.IDLE
            and rig.supervisor is not None
            and rig.supervisor.memory.mode == "service"
        ):
            rig.ask(commands.EnterMode(mode="clinical rehearsal"), SERVICE)

    def _another_patient(self) -> Command:
        return commands.OpenPatient(
            plan_uid=self.rig.plan.plan_uid,
            patient_id="somebody else",
            birth_date=BIRTH_DATE,
            isocentre_id="ISO1",
            fraction=1,
        )

    def _ask(self, command: Command) -> Answer | None:
        answer = self.rig.ask(command, THERAPIST)
        if answer is not None and not answer.accepted:
            self._think()
        return answer

    def _think(self) -> None:
        """Who was refused reads why, before anything else."""
        self._next_us = max(self._next_us, self.rig.now_us + self._random.randrange(*READS_US))
