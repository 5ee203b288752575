"""Supervisor, drivers and a simulated room in virtual time, stepped by one hand.

What the service does round the supervisor is done here by the same pieces (`server.hands`, `server.hearing`). Pictures
are not taken: imaging takes its time and freezes the couch's pose as the drivers tell it, and registration answers with
what the room's truth says is missing, with an error. Everything else is what runs in a treatment.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from igrt_hw.campaign.line import VirtualLine
from igrt_hw.campaign.room import SimulatedRoom
from igrt_hw.devices.clp import line_settings
from igrt_hw.devices.couch import ClpCouch
from igrt_hw.devices.imager import ClpImager
from igrt_hw.devices.pendant import ClpPendant
from igrt_hw.geometry import Correction
from igrt_hw.link.bulletin import LineEvent
from igrt_hw.link.events import Lost, Opened
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import Line, LineSettings
from igrt_hw.link.session import SessionSettings
from igrt_hw.machine import load_machine
from igrt_hw.models.commands import Command
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.proposal import ClearanceStrip, ImageStamp, RegistrationSummary
from igrt_hw.models.status import LoopState
from igrt_hw.models.telemetry import CouchFlag
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.machine_couch import MachineCouch
from igrt_hw.safety.rules import SupervisorConfig
from igrt_hw.safety.supervisor import Supervisor
from igrt_hw.server.hands import Hands
from igrt_hw.server.hearing import couch_heard, imager_heard, pendant_heard

STEP_US = 20_000
TICK_US = 40_000
ALIVE_US = 100_000
TELEMETRY_MS = 100
HOST_AHEAD_US = 5_000_000_000  # the clocks of host and devices have nothing to do with each other
MACHINE = "linac_pedestal"
ORIGIN = datetime(2026, 3, 2, 8, tzinfo=UTC)
TERMINAL = "T1"
STILL_MM = 0.1
FRESH_US = 250_000


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in at the terminal."""

    username: str
    role: str
    session: str


@cache
def couch_model() -> MachineCouch:
    """The couch that the campaign's room has; one for each process."""
    return MachineCouch(load_machine(MACHINE))


class Rig:
    """One room, one supervisor. `step` lets `STEP_US` pass."""

    def __init__(self, seed: int, room: SimulatedRoom, plan: TreatmentPlan) -> None:
        self.room = room
        self.plan = plan
        self.random = random.Random(f"{seed}/rig")
        self.records: list[fx.Record] = []
        self.effects_seen: Callable[[Sequence[fx.Effect], int], None] = lambda effects, now_us: None
        self.terminal_up = True
        self.enable = "released"
        self.history: tuple[TreatedShift, ...] = ()
        self.registration_error: Correction | None = None
        self.clearance_mm = 150.0
        self.supervisor: Supervisor | None = None
        self._inbox: list[ev.Event] = []
        self._jobs: list[tuple[int, int, Callable[[], ev.Event]]] = []
        self._order = itertools.count()
        self._tick_us = self._alive_us = 0
        self._back_us = 0
        self._config = SupervisorConfig(machine=MACHINE, software_version="campaign")
        self.crashes = -1
        self._begin()

    # ---- processes -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """A supervisor's process begins: it knows nothing of what was."""
        self.crashes += 1
        draw = self.random.randrange
        self.supervisor = Supervisor(self._config, couch_model(), draw=draw, utc_origin=ORIGIN)
        self._inbox.clear()
        self._jobs.clear()
        lines = {name: self._line(name) for name in ("couch", "imager", "pendant")}
        self._lines = lines
        self.couch = ClpCouch(
            _nowhere(DeviceKind.COUCH), None, lambda _: cast(Line, lines["couch"])
        )
        self.imager = ClpImager(
            _nowhere(DeviceKind.IMAGER), line_of=lambda _: cast(Line, lines["imager"])
        )
        pendant = ClpPendant(_nowhere(DeviceKind.PENDANT), lambda _: cast(Line, lines["pendant"]))
        self.couch.on_telemetry(lambda told: self._inbox.append(couch_heard(told)))
        self.imager.on_telemetry(lambda told: self._inbox.append(imager_heard(told)))
        pendant.on_telemetry(lambda told: self._inbox.append(pendant_heard(told)))
        self._hands = Hands(self.couch, self.imager, lambda: self.now_us, self._inbox.append)

    def _line(self, name: str) -> VirtualLine:
        kind = DeviceKind[name.upper()]
        settings = SessionSettings(kind, telemetry_period_ms=TELEMETRY_MS)
        line = VirtualLine(
            name, settings, self.room, lambda: self.now_us, lambda: self.random.getrandbits(32)
        )
        line.on_event(lambda item: self._line_told(cast(ev.DeviceName, name), item))
        return line

    def _line_told(self, name: ev.DeviceName, item: LineEvent) -> None:
        match item.event:
            case Opened(identity=identity):
                self._inbox.append(ev.LinkUp(name, identity.session, identity.limits.hex()))
            case Lost(error=error):
                self._inbox.append(ev.LinkLost(name, str(error)))
            case _:
                pass

    def crash(self, for_us: int) -> None:
        """The supervisor's process is killed; another begins after a while."""
        self.supervisor = None
        for line in self._lines.values():
            line.close()
        self._inbox.clear()
        self._jobs.clear()
        self._back_us = self.now_us + for_us

    # ---- time ------------------------------------------------------------------------------------------------------

    @property
    def now_us(self) -> int:
        """The host's clock."""
        return self.room.now_us + HOST_AHEAD_US

    @property
    def state(self) -> LoopState | None:
        """Where the loop stands; None while no supervisor runs."""
        return self.supervisor.state if self.supervisor is not None else None

    def step(self) -> None:
        """Let a step pass, in the room first, then here."""
        self.room.advance_us(STEP_US)
        now_us = self.now_us
        if self.supervisor is None:
            for name in self._lines:
                self.room.read(name)
            if now_us < self._back_us:
                return
            self._begin()
        for line in self._lines.values():
            line.turn()
        if self.terminal_up and now_us >= self._alive_us:
            self._alive_us = now_us + ALIVE_US
            self._inbox.append(ev.TerminalAlive(TERMINAL))
        self._finish_jobs(now_us)
        self._hear()
        if self.supervisor is not None and now_us >= self._tick_us:
            self._tick_us = now_us + TICK_US
            self._perform(self.supervisor.tick(now_us))
            self._hear()

    def _finish_jobs(self, now_us: int) -> None:
        while self._jobs and self._jobs[0][0] <= now_us:
            self._inbox.append(heapq.heappop(self._jobs)[2]())

    def _hear(self) -> None:
        """Feed what has come in, in order; what that brings in is fed as well."""
        while self._inbox and self.supervisor is not None:
            event = self._inbox.pop(0)
            self._perform(self.supervisor.handle(event, self.now_us))

    def lose_terminal(self) -> None:
        """The terminal's process has gone."""
        self.terminal_up = False
        self._inbox.append(ev.TerminalLost(TERMINAL))

    # ---- effects -----------------------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[fx.Effect]) -> fx.Answer | None:
        answer = None
        self.effects_seen(effects, self.now_us)
        for effect in effects:
            match effect:
                case fx.Record():
                    self.records.append(effect)
                case fx.Answer():
                    answer = effect
                case fx.StopAll():
                    for device in (self.couch, self.imager):
                        device.stop(1).add_done_callback(lambda future: future.exception())
                case fx.AcquireImages():
                    self._acquire(effect)
                case fx.RegisterImages():
                    self._later(self.random.randrange(100_000, 400_000), self._registered(effect))
                case fx.CheckPath():
                    self._check_path(effect)
                case _:
                    self._hands.carry_out(effect)
        return answer

    def _later(self, after_us: int, job: Callable[[], ev.Event]) -> None:
        heapq.heappush(self._jobs, (self.now_us + after_us, next(self._order), job))

    def _check_path(self, effect: fx.CheckPath) -> None:
        found = ev.PathChecked(effect.request, self._strip(effect))
        self._later(self.random.randrange(20_000, 80_000), lambda: found)

    def _acquire(self, effect: fx.AcquireImages) -> None:
        before, begun_us = self.couch.telemetry, self.now_us

        def done() -> ev.Event:
            told, imager = self.couch.telemetry, self.imager.telemetry
            fresh = told is not None and self.now_us - told.received_us <= FRESH_US
            if before is None or told is None or not fresh:
                return ev.RequestFailed(effect.request, "the couch was not heard while imaging")
            if imager is None or imager.faults or self.now_us - imager.received_us > FRESH_US:
                return ev.RequestFailed(effect.request, "the imager failed")
            moved = max(abs(a - b) for a, b in zip(before.primary, told.primary, strict=True))
            if moved > STILL_MM:
                return ev.RequestFailed(effect.request, "the couch moved between the exposures")
            uids = tuple(f"1.2.{self.random.getrandbits(40)}.{n}" for n in (1, 2))
            stamp = ImageStamp(
                image_uids=uids,
                acquired_us=begun_us,
                acquired_utc="2026-03-02T08:00:00Z",
                couch_axes=told.primary,
                brakes_on=CouchFlag.BRAKES_ON in told.flags and CouchFlag.BRAKES_ON in before.flags,
            )
            return ev.ImagesAcquired(effect.request, stamp)

        self._later(self.random.randrange(150_000, 500_000), done)

    def _registered(self, effect: fx.RegisterImages) -> Callable[[], ev.Event]:
        missing = self.room.truth()["residual"]  # where the patient lay when the images were taken

        def done() -> ev.Event:
            error = self.registration_error or Correction(
                *(self.random.gauss(0.0, 0.1) for _ in range(3)),
                *(self.random.gauss(0.0, 0.03) for _ in range(3)),
            )
            values = [
                float(missing[name]) + off for name, off in zip(NAMES, error.values(), strict=True)
            ]
            if effect.translation_only:
                values[3:] = [0.0, 0.0, 0.0]
            summary = RegistrationSummary(
                correction=Correction(*values),
                sigma_mm=(0.1, 0.1, 0.1),
                sigma_deg=(0.1, 0.1, 0.1),
                per_view_similarity=(0.9, 0.9),
                verdict="reliable",
                reasons=(),
                residual_at_target_mm=0.2,
                duration_ms=100.0,
            )
            return ev.RegistrationDone(
                effect.request,
                summary,
                effect.image_uids,
                effect.plan_uid,
                self.plan.frame_of_reference_uid,
                effect.isocentre_id,
            )

        return done

    def _strip(self, effect: fx.CheckPath) -> ClearanceStrip:
        return ClearanceStrip(
            minimum_mm=self.clearance_mm,
            at_path_fraction=0.5,
            pair=("couch top", "kV panel"),
            profile_mm=(self.clearance_mm,),
            warn_mm=effect.warn_mm,
            stop_mm=effect.stop_mm,
            model_hash="ab" * 32,
        )

    # ---- people ----------------------------------------------------------------------------------------------------

    def ask(self, command: Command, person: Person) -> fx.Answer | None:
        """A person's command; None while no supervisor runs."""
        if self.supervisor is None:
            return None
        event = ev.UserCommand(
            command, person.username, person.role, person.session, self.plan, self.history
        )
        answer = self._perform(self.supervisor.handle(event, self.now_us))
        self._hear()
        return answer

    def hold(self, position: str) -> None:
        """Move the three-position switch."""
        if position != self.enable:
            self.enable = position
            self.room.perform("hand.enable", position=position)

    def truth(self) -> Mapping[str, Any]:
        """The room's truth."""
        return self.room.truth()


def _nowhere(kind: DeviceKind) -> LineSettings:
    """Settings of a line that has no port."""
    return line_settings("virtual", kind)


NAMES = ("lateral_mm", "longitudinal_mm", "vertical_mm", "rotation_deg", "pitch_deg", "roll_deg")
