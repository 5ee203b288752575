"""The shell round the supervisor: what is heard goes in, effects come out and are carried out in order.

Everything that touches the supervisor happens on one event loop, so that it sees one event at a time. Lines have
their own threads and hand over with `call_soon_threadsafe`; long jobs run in a pool and hand over the same way.
STOP waits for nothing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np

from igrt_hw._core import CancelFlag, RegistrationCancelled
from igrt_hw.devices.couch import ClpCouch
from igrt_hw.devices.gcs import GcsCouch
from igrt_hw.devices.imager import ClpImager
from igrt_hw.devices.pendant import ClpPendant
from igrt_hw.geometry import Correction
from igrt_hw.guidance.fiducials import FiducialResult
from igrt_hw.guidance.imaging_protocol import protocol_for
from igrt_hw.guidance.intrafraction import MonitorVerdict
from igrt_hw.link.runner import Line as SerialLine
from igrt_hw.link.runner import LineEvent
from igrt_hw.link.session import Lost, Opened
from igrt_hw.machine import Machine
from igrt_hw.models.commands import Command, CommandResult, NextIsocentre, OpenPatient
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.imaging import DoseView
from igrt_hw.models.landmarks import Landmarks
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.proposal import ClearanceStrip
from igrt_hw.models.qa import QaRun
from igrt_hw.models.record import RecordEntry
from igrt_hw.models.status import ImageView, LinkStatus, SupervisorStatus
from igrt_hw.models.telemetry import (
    CouchTelemetry,
    ImagerTelemetry,
    LinkHealth,
    PendantTelemetry,
)
from igrt_hw.models.users import ChainVerdict
from igrt_hw.records import qa
from igrt_hw.records.dose import KINDS as DOSE_KINDS
from igrt_hw.records.dose import dose_view
from igrt_hw.records.history import KINDS as SHIFT_KINDS
from igrt_hw.records.history import treated_shifts
from igrt_hw.records.store import Line, RecordStore
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.status_view import Surroundings
from igrt_hw.safety.status_view import status as status_of
from igrt_hw.safety.supervisor import Supervisor
from igrt_hw.server.books import RecordBooks
from igrt_hw.server.clearing import PatientLies, RoomChecker
from igrt_hw.server.errors import JobError
from igrt_hw.server.hands import Hands, log_failure, outcome
from igrt_hw.server.hearing import couch_heard, imager_heard, pendant_heard
from igrt_hw.server.imaging import (
    AcquiredPair,
    CouchHistory,
    ImageTaker,
    LostExposure,
    Progress,
    Scan,
    StoredImage,
)
from igrt_hw.server.nudging import by_hand, landmarks, nudged_drr, within
from igrt_hw.server.pictures import Picture, scaled
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import (
    PreparedPlan,
    Registered,
    by_markers,
    drr_of,
    register_markers,
    register_pair,
    register_phantom,
    register_scan,
)
from igrt_hw.server.room_view import RoomViewer, Standing
from igrt_hw.server.scribe import Scribe, ScribeError
from igrt_hw.server.sessions import UserSession
from igrt_hw.server.target_tracking import TargetTracker, target_seen

logger = logging.getLogger(__name__)

TICK_S = 0.05
LATE_US = (
    250_000  # a tick this late is told in the record: permission was paused by this program itself
)
DRAIN_US = 100_000
DRAIN_TURNS = 20  # turns of the event loop from a readable socket to a message that was taken
STATUS_AGE_US_MAX = 40_000
VERIFY_TRIES = 3
WORKERS = 3
AXES_ON_LINE = 6
QA_RUNS_MAX = 20  # more than anybody does in one day

T = TypeVar("T")


@dataclass(slots=True)
class Parts:
    """What the service is made of."""

    supervisor: Supervisor
    couch: ClpCouch | GcsCouch
    imager: ClpImager
    pendant: ClpPendant
    history: CouchHistory
    taker: ImageTaker
    checker: RoomChecker
    record: RecordStore
    record_path: Path
    machine: Machine
    plans: dict[str, PreparedPlan]
    simulator: bool
    clock_us: Callable[[], int]


@dataclass(slots=True)
class _Activity:
    """Last line of progress of the job that runs; written by its thread."""

    detail: str = ""
    fraction: float | None = None


@dataclass(slots=True)
class _Shelf:
    """Images of the bound patient, and what the last registration made of them."""

    images: dict[str, StoredImage] = field(default_factory=dict)
    plan_uid: str = ""
    couch_axes: tuple[float, ...] = ()
    scan: Scan | None = None
    registered_axes: tuple[float, ...] = ()
    registered: Registered | None = None
    registered_uids: tuple[str, ...] = ()


class Service:
    """One treatment room. `await start()` inside an event loop; `await close()` at the end."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._dose: DoseView | None = None
        self._scribe = Scribe(
            parts.record, lambda why: self._soon(lambda: self._record_failed(why))
        )
        self._supervisor = parts.supervisor
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="job")
        self._cancel = threading.Event()
        self._pulled: set[CancelFlag] = set()
        self._activity = _Activity()
        self._shelf = _Shelf()
        self._hands = Hands(
            parts.couch,
            parts.imager,
            parts.clock_us,
            lambda event: self._soon(lambda: self._feed(event)),
        )
        self._books = RecordBooks(
            parts.record_path,
            {uid: plan.loaded.plan for uid, plan in parts.plans.items()},
            parts.supervisor.memory.config.rule_for,
            lambda: datetime.now(UTC),
        )
        self.room_viewer = RoomViewer(
            parts.machine, parts.checker.surfaces, self.standing, parts.clock_us
        )
        self._tracker: TargetTracker | None = None
        # A view of the target runs beside what people do: whoever comes second waits until the imager is free.
        self._imager_free = threading.Lock()
        self._broken = ""
        self._ticked_us = 0
        self._status_cache: tuple[int, str] = (-STATUS_AGE_US_MAX, "")

    # ---- life ------------------------------------------------------------------------------------------------------

    @property
    def simulator(self) -> bool:
        """Whether the devices are simulated."""
        return self._parts.simulator

    @property
    def books(self) -> RecordBooks:
        """What is read from the record: daily QA, trends, reviews."""
        return self._books

    async def start(self) -> None:
        """Begin to hear the devices and to tick. The lines must have been started before."""
        self._loop = asyncio.get_running_loop()
        parts = self._parts
        parts.couch.on_telemetry(self._couch_told)
        parts.imager.on_telemetry(self._imager_told)
        parts.pendant.on_telemetry(self._pendant_told)
        self._listen("couch", parts.couch.line)
        self._listen("imager", parts.imager.line)
        self._listen("pendant", parts.pendant.line)
        self._ticked_us = parts.clock_us()
        self._ticker = asyncio.create_task(self._tick_for_ever(), name="supervisor tick")

    def _listen(self, name: ev.DeviceName, line: SerialLine | GcsCouch) -> None:
        line.on_event(lambda item: self._line_told(name, item))
        identity = line.identity
        if identity is not None:
            self._feed(ev.LinkUp(name, identity.session, identity.limits.hex()))

    async def close(self) -> None:
        """Stop whatever moves, end jobs, close the lines. The lease ends with them."""
        self._cancel_jobs()
        if self._ticker is not None:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker
        self._loop = None  # what the lines say while they close is no news
        self._carry_out_stop("the service is ending")
        self.note("service", "service", "the service ended", {})
        self.room_viewer.close()
        await asyncio.to_thread(self._close_lines)
        await asyncio.to_thread(self._scribe.close)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _close_lines(self) -> None:
        for device in (self._parts.couch, self._parts.imager, self._parts.pendant):
            device.close()

    # ---- in --------------------------------------------------------------------------------------------------------

    def _soon(self, call: Callable[[], object]) -> None:
        """From any thread: run on the event loop. After the end of the loop nothing is heard any more."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call)

    def _couch_told(self, told: CouchTelemetry) -> None:
        self._parts.history.hear(told)
        event = couch_heard(told)
        self._soon(lambda: self._feed(event, told.received_us))

    def _imager_told(self, told: ImagerTelemetry) -> None:
        event = imager_heard(told)
        self._soon(lambda: self._feed(event, told.received_us))

    def _pendant_told(self, told: PendantTelemetry) -> None:
        event = pendant_heard(told)
        if isinstance(self._parts.couch, GcsCouch):
            # A couch without a lease is halted by its driver, which must not wait for anybody to hear of the enable.
            self._parts.couch.hear_enable(told.enable_position, told.received_us)
        self._soon(lambda: self._feed(event, told.received_us))

    def _line_told(self, name: ev.DeviceName, item: LineEvent) -> None:
        match item.event:
            case Opened(identity=identity):
                up = ev.LinkUp(name, identity.session, identity.limits.hex())
                self._soon(lambda: self._feed(up, item.at_us))
            case Lost(error=error):
                lost = ev.LinkLost(name, str(error).removeprefix("link lost: "))
                self._soon(lambda: self._feed(lost, item.at_us))
            case _:
                pass

    def _feed(self, event: ev.Event, at_us: int | None = None) -> None:
        """Give the supervisor one event and carry out what it asks for."""
        now_us = self._parts.clock_us() if at_us is None else at_us
        self._perform(self._supervisor.handle(event, now_us))

    async def _tick_for_ever(self) -> None:
        while True:
            now_us = self._parts.clock_us()
            late_us = now_us - self._ticked_us - round(TICK_S * 1e6)
            if late_us > DRAIN_US:
                # What was said while this program stood still is heard before anybody's silence is judged.
                for _ in range(DRAIN_TURNS):
                    await asyncio.sleep(0)
                now_us = self._parts.clock_us()
            self._ticked_us = now_us
            self._perform(self._supervisor.tick(now_us))
            if late_us > LATE_US:
                self.note("late", "service", f"this program was {late_us / 1000:.0f} ms late", {})
            await asyncio.sleep(TICK_S)

    # ---- out -------------------------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[fx.Effect]) -> fx.Answer | None:
        """Carry effects out in order; the answer to a command, if there was one."""
        answer: fx.Answer | None = None
        lines: list[Line] = []
        for effect in effects:
            if isinstance(effect, fx.Record):
                lines.append(self._line(effect.kind, effect.actor, effect.text, effect.data))
                continue
            if isinstance(effect, fx.StopAll):
                self._carry_out_stop(effect.reason)
                continue
            self._write(lines)
            lines = []
            if not isinstance(effect, fx.RefreshPermission):
                # What is recorded is on the disk before what follows it is done. Only STOP, and leases that the next
                # tick renews or not, do not wait for the disk.
                self._until_written()
            if isinstance(effect, fx.Answer):
                answer = effect
            elif not self._broken:
                # Without a record nothing may happen but STOP; permission ends because it is not renewed.
                self._carry_out(effect)
        self._write(lines)
        return answer

    def _carry_out(self, effect: fx.Effect) -> None:
        match effect:
            case fx.AcquireImages():
                self._acquire(effect)
            case fx.RegisterImages():
                self._register(effect)
            case fx.CheckPath():
                self._check_path(effect)
            case fx.ViewTarget():
                self._view_target(effect)
            case fx.ParkImager():
                self._park_imager(effect)
            case _ if self._hands.carry_out(effect):
                pass
            case _:
                raise AssertionError(f"no hand for {effect!r}")

    def _carry_out_stop(self, reason: str) -> None:
        """STOP to every device at once; running jobs are given up."""
        self._cancel_jobs()
        logger.warning("STOP: %s", reason)
        for device in (self._parts.couch, self._parts.imager, self._parts.pendant):
            device.stop(1).add_done_callback(log_failure("STOP"))

    def _cancel_jobs(self) -> None:
        """Give up what runs: imaging at its next step, a registration in the middle of its search."""
        self._cancel.set()
        self._cancel = threading.Event()
        for flag in tuple(self._pulled):
            flag.cancel()

    def _cancellable(self) -> CancelFlag:
        """A flag that the next STOP pulls; `_pulled` forgets it when its job is done."""
        flag = CancelFlag()
        self._pulled.add(flag)
        return flag

    def note(self, kind: str, actor: str, text: str, data: dict[str, object]) -> None:
        """Append to the record what happened outside the supervisor."""
        self._write([self._line(kind, actor, text, data)])

    def _line(self, kind: str, actor: str, text: str, data: dict[str, object]) -> Line:
        now_us = self._parts.clock_us()
        return Line(kind, actor, text, now_us, self._supervisor.utc(now_us), data)

    def _write(self, lines: Sequence[Line]) -> None:
        if not lines:
            return
        try:
            self._scribe.put(lines)
        except ScribeError as error:
            self._record_failed(str(error))

    def _until_written(self) -> None:
        try:
            self._scribe.until_written()
        except ScribeError as error:
            self._record_failed(str(error))

    def _record_failed(self, why: str) -> None:
        """Everything stops: what is not recorded must not happen."""
        if not self._broken:
            self._broken = f"the record cannot be written: {why}"
            logger.critical("%s; stopped", self._broken)
            self._carry_out_stop(self._broken)

    # ---- jobs ------------------------------------------------------------------------------------------------------

    def _job(
        self, request: int, what: str, work: Callable[[Progress], T], done: Callable[[T], ev.Event]
    ) -> None:
        """Run `work` in the pool; feed what `done` makes of its result, or why it failed.

        What nobody waits for any more (STOP, another patient, too late) is not even looked at: `done` may put it where
        people see it.
        """
        self._activity = activity = _Activity(detail=what)

        def tell(text: str, fraction: float) -> None:
            activity.detail, activity.fraction = text, fraction

        def landed(future: Future[T]) -> None:
            if request in self._supervisor.memory.pending:
                self._feed(outcome(request, future, done))
            else:
                self._feed(ev.RequestFailed(request, f"{what} was given up"))

        def finished(future: Future[T]) -> None:
            self._soon(lambda: landed(future))

        self._pool.submit(work, tell).add_done_callback(finished)

    def _acquire(self, effect: fx.AcquireImages) -> None:
        cancel, taker, memory = self._cancel, self._parts.taker, self._supervisor.memory
        patient_id = memory.plan.patient.patient_id if memory.plan is not None else ""
        exposed = self._exposure_note(patient_id, memory.fraction, effect.purpose)

        def done(pair: AcquiredPair) -> ev.Event:
            self._shelf.images |= {image.view.image_uid: image for image in pair.images}
            self._shelf.couch_axes = pair.stamp.couch_axes
            self._shelf.scan = pair.scan
            for image in pair.images:
                for text in image.notes:
                    self.note("image note", "guidance", text, {"image_uid": image.view.image_uid})
            return ev.ImagesAcquired(
                effect.request, pair.stamp, tuple(image.view for image in pair.images)
            )

        def work(tell: Progress) -> AcquiredPair:
            with self._imager_free:
                if effect.modality == "cone beam":
                    return taker.scan(effect.purpose, cancel, tell, exposed=exposed)
                return taker.take(
                    effect.fields,
                    effect.purpose,
                    cancel,
                    tell,
                    protocol=protocol_for(effect.site),
                    exposed=exposed,
                )

        self._job(effect.request, "imaging", work, done)

    def _view_target(self, effect: fx.ViewTarget) -> None:
        """One view, and where its markers put the target. Its follower lives as long as the watch."""
        cancel, taker, memory = self._cancel, self._parts.taker, self._supervisor.memory
        patient_id = memory.plan.patient.patient_id if memory.plan is not None else ""
        exposed = self._exposure_note(patient_id, memory.fraction, "monitoring")
        if effect.first or self._tracker is None:
            plan = self._parts.plans[effect.plan_uid]
            self._tracker = TargetTracker.of(plan, effect.isocentre_id)
        tracker = self._tracker

        def work(tell: Progress) -> tuple[StoredImage, MonitorVerdict]:
            with self._imager_free:
                image, at_us = taker.look(
                    protocol_for(effect.site), effect.rule.mas_share, cancel, tell, exposed=exposed
                )
            return image, tracker.viewed(image, at_us, effect.rule)

        def done(found: tuple[StoredImage, MonitorVerdict]) -> ev.Event:
            image, verdict = found
            # The last view is kept to be looked at; the ones before it are in the record by their numbers.
            for uid in [u for u, i in self._shelf.images.items() if i.view.purpose == "monitoring"]:
                del self._shelf.images[uid]
            self._shelf.images[image.view.image_uid] = image
            return target_seen(effect.request, verdict, image)

        self._job(effect.request, "a view of the target", work, done)

    def _park_imager(self, effect: fx.ParkImager) -> None:
        cancel, taker = self._cancel, self._parts.taker

        def work(_: Progress) -> None:
            with self._imager_free:
                taker.park(cancel)

        self._job(
            effect.request, "parking the arms", work, lambda _: ev.ImagerParked(effect.request)
        )

    def _exposure_note(
        self, patient_id: str, fraction: int | None, purpose: str
    ) -> Callable[[ImageView | LostExposure], None]:
        """Writes each exposure into the record as it is made, whatever becomes of the image (`records.dose`)."""

        def note(told: ImageView | LostExposure) -> None:
            lost = isinstance(told, LostExposure)
            one: dict[str, object] = (
                {"lost": True, "purpose": purpose, "dose_area_uGycm2": told.dose_area_uGycm2}
                if isinstance(told, LostExposure)
                else told.model_dump(mode="json")
            )
            data: dict[str, object] = {
                "patient_id": patient_id,
                "fraction": fraction,
                "exposures": [one],
            }
            text = "radiation without an image" if lost else "exposed"
            self._soon(lambda: self._note_exposure(text, data))

        return note

    def _note_exposure(self, text: str, data: dict[str, object]) -> None:
        self.note("exposure", "imager", text, data)
        self._refresh_dose()

    def _refresh_dose(self) -> None:
        """Read the bound patient's imaging dose from the record, beside the loop."""
        memory = self._supervisor.memory
        if memory.plan is None or memory.fraction is None:
            self._dose = None
            return
        patient_id, fraction = memory.plan.patient.patient_id, memory.fraction
        protocol = protocol_for(memory.plan.site)
        self._until_written()

        def read() -> DoseView:
            with RecordStore(self._parts.record_path, read_only=True) as reader:
                return dose_view(reader.of_kind(*DOSE_KINDS), patient_id, fraction, protocol)

        def keep(future: Future[DoseView]) -> None:
            if future.exception() is not None:
                logger.error("the imaging dose cannot be read", exc_info=future.exception())
                return
            self._soon(lambda: self._keep_dose(patient_id, future.result()))

        self._pool.submit(read).add_done_callback(keep)

    def _keep_dose(self, patient_id: str, dose: DoseView) -> None:
        plan = self._supervisor.memory.plan
        if plan is not None and plan.patient.patient_id == patient_id:
            self._dose = dose

    def _register(self, effect: fx.RegisterImages) -> None:
        plan = self._parts.plans[effect.plan_uid]
        couch = self._parts.machine.couch()
        missing = [uid for uid in effect.image_uids if uid not in self._shelf.images]
        images = [self._shelf.images[uid] for uid in effect.image_uids if uid not in missing]
        scan = self._shelf.scan

        cancel = self._cancellable()

        def work(_: Progress) -> Registered:
            try:
                return search()
            finally:
                self._soon(lambda: self._pulled.discard(cancel))

        def search() -> Registered:
            if cancel.cancelled:
                raise RegistrationCancelled("stopped before it began")
            if missing:
                raise JobError("the images are not here any more: acquire them again")
            if effect.by_hand is not None:
                return by_hand(plan, effect.isocentre_id, images, effect.by_hand, effect.asked_by)
            if scan is not None and scan.image_uids == effect.image_uids:
                return register_scan(
                    plan, effect.isocentre_id, scan, couch, effect.couch_axes, cancel=cancel
                )
            if plan.phantom is not None and effect.method != "anatomy":
                return register_phantom(
                    plan, effect.isocentre_id, plan.phantom, images, cancel=cancel
                )
            protocol = protocol_for(plan.loaded.plan.site)
            if by_markers(plan.loaded, protocol, effect.method):
                return register_markers(
                    plan, effect.isocentre_id, images, couch, effect.couch_axes, cancel=cancel
                )
            return register_pair(
                plan,
                effect.isocentre_id,
                within(images, effect.regions),
                couch,
                effect.couch_axes,
                translation_only=effect.translation_only,
                cancel=cancel,
            )

        def done(result: Registered) -> ev.Event:
            shelf = self._shelf
            shelf.registered, shelf.registered_uids = result, effect.image_uids
            shelf.plan_uid, shelf.registered_axes = effect.plan_uid, effect.couch_axes
            return ev.RegistrationDone(
                request=effect.request,
                summary=result.summary(),
                image_uids=effect.image_uids,
                plan_uid=effect.plan_uid,
                frame_of_reference_uid=plan.patient.frame_of_reference_uid,
                isocentre_id=effect.isocentre_id,
                anatomy=None if isinstance(result, FiducialResult) else result.anatomy,
            )

        self._job(effect.request, "comparing the pair with the CT", work, done)

    def _check_path(self, effect: fx.CheckPath) -> None:
        imager, memory = self._parts.imager.telemetry, self._supervisor.memory
        bound, isocentre, registered = memory.plan, memory.isocentre, self._patient_lies()

        def work(_: Progress) -> ClearanceStrip:
            lies = registered
            if imager is None or (lies is None and effect.purpose == "correction"):
                raise JobError("patient or gantry position is not known: register again")
            if lies is None and bound is not None and isocentre is not None:
                loaded = self._parts.plans[bound.plan_uid].loaded
                placement = Placement.of(loaded, isocentre.isocentre_id)
                lies = PatientLies(bound.plan_uid, placement.table_from_patient)
            return self._parts.checker.check(
                effect.start_axes,
                effect.target_axes,
                lies,
                gantry_deg=imager.gantry_deg,
                warn_mm=effect.warn_mm,
                stop_mm=effect.stop_mm,
                via_axes=effect.via_axes,
                explains=effect.purpose == "correction",
            )

        self._job(
            effect.request,
            "certifying the clearance of the whole path",
            work,
            lambda strip: ev.PathChecked(effect.request, strip),
        )

    def _patient_lies(self) -> PatientLies | None:
        """The bound patient on the table top as registration found them; None before a registration."""
        shelf, found = self._shelf, self._shelf.registered
        if found is None or found.fixed_from_patient is None:
            return None
        table = self._parts.machine.couch().forward(shelf.registered_axes).matrix()
        return PatientLies(
            shelf.plan_uid, np.linalg.inv(table) @ np.array(found.fixed_from_patient)
        )

    def standing(self) -> Standing:
        """Where everything stands now, for pictures; raises `JobError` until couch and imager were heard."""
        m = self._supervisor.memory
        couch, imager = m.couch, m.imager
        if couch.last is None or couch.heard_us is None:
            raise JobError("the couch was never heard, so nobody knows where it stands")
        if imager.last is None or imager.heard_us is None:
            raise JobError("the imager was never heard, so nobody knows where the gantry stands")
        lies = self._patient_lies()
        registered = lies is not None
        if lies is None and m.plan is not None and m.isocentre is not None:
            loaded = self._parts.plans[m.plan.plan_uid].loaded
            placement = Placement.of(loaded, m.isocentre.isocentre_id)
            lies = PatientLies(m.plan.plan_uid, placement.table_from_patient)
        content = m.proposal.content if m.proposal is not None else None
        return Standing(
            axes=couch.last.primary,
            gantry_deg=imager.last.gantry_deg,
            arms=imager.last.arms,
            heard_us=min(couch.heard_us, imager.heard_us),
            lies=lies,
            registered=registered,
            path=None if content is None else (content.start_axes, content.target_axes),
        )

    # ---- people ----------------------------------------------------------------------------------------------------

    async def command(self, command: Command, session: UserSession) -> CommandResult:
        """Hand a permitted command to the supervisor and carry out what follows."""
        plan: TreatmentPlan | None = None
        history: tuple[TreatedShift, ...] = ()
        runs: tuple[QaRun, ...] = ()
        if isinstance(command, OpenPatient):
            found = self._parts.plans.get(command.plan_uid)
            plan = found.loaded.plan if found else None
        elif isinstance(command, NextIsocentre):
            plan = self._supervisor.memory.plan
        if plan is not None:
            # Through a reader of its own: on the writer's connection a reader's end would undo what is being written.
            self._until_written()
            path, patient_id = self._parts.record_path, plan.patient.patient_id
            history, runs = await asyncio.to_thread(_past, path, patient_id)
        event = ev.UserCommand(
            command,
            session.user.username,
            session.user.role.value,
            session.identity,
            plan,
            history,
            runs,
        )
        if self._broken and command.kind != "stop":
            return CommandResult(accepted=False, message=f"{self._broken}; only STOP is possible")
        answer = self._perform(self._supervisor.handle(event, self._parts.clock_us()))
        if answer is None:
            raise AssertionError(f"the supervisor did not answer {command.kind}")
        if answer.accepted and command.kind == "close_patient":
            self._shelf = _Shelf()
            self._tracker = None
        if answer.accepted and command.kind in ("open_patient", "close_patient"):
            self._dose = None
            self._refresh_dose()
        return CommandResult(accepted=answer.accepted, message=answer.message, data=answer.data)

    def terminal_alive(self, terminal_id: str, session: UserSession, heard_us: int) -> None:
        """A terminal renews its lease: it was alive at this instant, which may be before this one."""
        self._feed(ev.TerminalAlive(terminal_id, session.identity), heard_us)

    def terminal_gone(self, terminal_id: str) -> None:
        """A terminal's connection ended: its permission ends with it."""
        self._feed(ev.TerminalLost(terminal_id))

    # ---- what is shown ---------------------------------------------------------------------------------------------

    def status(self) -> SupervisorStatus:
        """Everything now."""
        now_us = self._parts.clock_us()
        devices = (self._parts.couch, self._parts.imager, self._parts.pendant)
        shown = status_of(
            self._supervisor,
            now_us,
            Surroundings(
                links=tuple(link_status(device.health()) for device in devices),
                record_entries=self._scribe.entries,
                record_head=self._scribe.head,
                activity_detail=self._activity.detail,
                activity_fraction=self._activity.fraction,
                dose=self._dose,
            ),
        )
        if self._broken:
            shown = shown.model_copy(update={"reason": self._broken, "permission": False})
        return shown

    def status_json(self) -> str:
        """The same, serialised once for all listeners within 40 ms."""
        now_us = self._parts.clock_us()
        at_us, text = self._status_cache
        if now_us - at_us > STATUS_AGE_US_MAX:
            text = self.status().model_dump_json()
            self._status_cache = (now_us, text)
        return text

    def plans(self) -> Sequence[TreatmentPlan]:
        """The plans that have been read."""
        return [plan.loaded.plan for plan in self._parts.plans.values()]

    async def image(self, image_uid: str) -> Picture | None:
        """A corrected image; None if there is none."""
        stored = self._shelf.images.get(image_uid)
        return None if stored is None else await asyncio.to_thread(scaled, stored.line_integrals)

    async def drr(self, image_uid: str, registered: bool) -> Picture | None:
        """The DRR of an image's view; None if there is no image, or no registration of it where one is asked for."""
        shelf, memory = self._shelf, self._supervisor.memory
        stored = shelf.images.get(image_uid)
        if stored is None or memory.plan is None or memory.isocentre is None:
            return None
        found = shelf.registered if registered else None
        if registered and (found is None or image_uid not in shelf.registered_uids):
            return None
        plan, isocentre_id = self._parts.plans[memory.plan.plan_uid], memory.isocentre.isocentre_id
        couch, axes = self._parts.machine.couch(), shelf.couch_axes

        def work() -> Picture:
            return scaled(drr_of(plan, isocentre_id, stored, couch, axes, found))

        return await asyncio.to_thread(work)

    async def nudged_drr(
        self, image_uid: str, correction: Correction, side_max: int
    ) -> tuple[Picture, float | None] | None:
        """The DRR of an image's view where `correction` would bring the patient onto the plan, and its likeness to the
        image; None if there is no such image."""
        memory, stored = self._supervisor.memory, self._shelf.images.get(image_uid)
        if stored is None or memory.plan is None or memory.isocentre is None:
            return None
        plan, isocentre_id = self._parts.plans[memory.plan.plan_uid], memory.isocentre.isocentre_id

        def work() -> tuple[Picture, float | None]:
            made, like = nudged_drr(plan, isocentre_id, stored, correction, side_max)
            return scaled(made), like

        return await asyncio.to_thread(work)

    async def landmarks(self, image_uid: str, correction: Correction | None) -> Landmarks | None:
        """Where points of the plan are seen in an image; None if there is no such image."""
        memory, shelf = self._supervisor.memory, self._shelf
        stored = shelf.images.get(image_uid)
        if stored is None or memory.plan is None or memory.isocentre is None:
            return None
        plan = self._parts.plans[memory.plan.plan_uid]
        return landmarks(plan, memory.isocentre.isocentre_id, stored, correction)

    async def record(self, after: int, limit: int) -> list[RecordEntry]:
        """Entries of the record, through a reader of its own: the writer's connection is the writer's."""
        return await asyncio.to_thread(_read, self._parts.record_path, after, limit)

    async def verify_record(self) -> ChainVerdict:
        """Walk the whole chain through a reader of its own, beside the writer."""
        return await asyncio.to_thread(_verify, self._parts.record_path)


def _past(path: Path, patient_id: str) -> tuple[tuple[TreatedShift, ...], tuple[QaRun, ...]]:
    """What a patient was moved by before, and the daily QA of late."""
    with RecordStore(path, read_only=True) as reader:
        shifts = treated_shifts(reader.of_kind(*SHIFT_KINDS), patient_id)
        return shifts, qa.runs(reader.of_kind(*qa.KINDS))[:QA_RUNS_MAX]


def _read(path: Path, after: int, limit: int) -> list[RecordEntry]:
    with RecordStore(path, read_only=True) as reader:
        return list(reader.read(after, limit))


def _verify(path: Path) -> ChainVerdict:
    """Check a record that is being written: a real problem stays, one seen between two writes does not."""
    for _ in range(VERIFY_TRIES):
        with RecordStore(path, read_only=True) as reader:
            problem = reader.verify()
            entries = reader.entries
        if problem is None:
            return ChainVerdict(ok=True, entries=entries, problem="")
    sentence = f"entry {problem.sequence}: {problem.sentence}" if problem else ""
    return ChainVerdict(ok=False, entries=entries, problem=sentence)


def link_status(health: LinkHealth) -> LinkStatus:
    """A line's health as the status shows it."""
    return LinkStatus(
        name=health.device,
        port=health.port,
        connected=health.connected,
        age_ms=health.telemetry_age_ms,
        rate_hz=health.telemetry_rate_hz,
        crc_errors=health.counters.crc_errors,
        retransmissions=health.counters.retransmissions,
        round_trip_us=health.round_trip_us,
        clock_offset_us=health.clock_offset_us,
        cause=health.cause,
    )
