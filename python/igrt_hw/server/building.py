"""From settings to a service that may run: everything is checked first, or the start is refused with the reason."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydicom.uid import generate_uid

from igrt_hw import __version__
from igrt_hw.devices.clp import line_settings
from igrt_hw.devices.couch import ClpCouch
from igrt_hw.devices.errors import DeviceError
from igrt_hw.devices.gcs import GcsCouch
from igrt_hw.devices.gcs_frame import PlatformFrame
from igrt_hw.devices.imager import ClpImager
from igrt_hw.devices.pendant import ClpPendant
from igrt_hw.devices.plan import AxisKind, AxisLimits, CouchLimits
from igrt_hw.geometry import GoldenVectorError, check_golden_vectors
from igrt_hw.guidance.imager_calibration import ImagerCalibration, load_imager_calibration
from igrt_hw.guidance.phantom import Phantom, load_phantom
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.link.errors import LinkError
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.runner import monotonic_us
from igrt_hw.link.transport import PortSettings
from igrt_hw.machine import Machine, MachineError, load_machine
from igrt_hw.machine.description import HexapodChain
from igrt_hw.models.record import RecordEntry
from igrt_hw.records import Finding, RecordStore, RecordStoreError, recovery
from igrt_hw.safety.machine_couch import MachineCouch
from igrt_hw.safety.rules import SITE_RULES, SupervisorConfig, demonstration_rules
from igrt_hw.safety.supervisor import Supervisor
from igrt_hw.server.clearing import RoomChecker, surface_of_plan
from igrt_hw.server.errors import JobError, StartRefusedError
from igrt_hw.server.imaging import CouchHistory, ImageTaker, Technique
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import PreparedPlan
from igrt_hw.server.service import Parts, Service
from igrt_hw.server.settings import ServeSettings
from igrt_hw.server.users import UserError, UserStore, open_users

logger = logging.getLogger(__name__)

CONNECT_S = 10.0
RECORD_FILE = "record.sqlite"


@dataclass(frozen=True, slots=True)
class Built:
    """What `igrt serve` runs."""

    service: Service
    users: UserStore
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def build(settings: ServeSettings) -> Built:
    """Read and check everything, open the lines. Raises `StartRefusedError` with one sentence."""
    try:
        checked = check_golden_vectors()
        machine = load_machine(settings.machine)
        plans = _plans(settings)
        known = _imager_calibration(settings)
        users = open_users(settings.store, demo_users=settings.demo_users)
        record = RecordStore(settings.store / RECORD_FILE)
    except (
        GoldenVectorError,
        MachineError,
        InputRefused,
        JobError,
        UserError,
        RecordStoreError,
    ) as e:
        raise StartRefusedError(str(e)) from e
    broken = record.verify()
    if broken is not None:
        raise StartRefusedError(
            f"the record does not verify (entry {broken.sequence}: {broken.sentence}); keep {settings.store} for "
            "whoever looks into it, and start with another --store"
        )
    notes = (
        f"{checked} golden vectors agree",
        f"machine {machine.name}, description {machine.description_hash[:16]}",
        f"{len(plans)} plan(s) read",
        "the imager is used as drawn"
        if known is None
        else f"imager {known.imager} as calibrated at {known.made_utc}",
    )
    try:
        service = _service(settings, machine, plans, record, known)
    except JobError as error:
        raise StartRefusedError(str(error)) from error
    return Built(service, users, _findings(record), notes)


def _plans(settings: ServeSettings) -> dict[str, PreparedPlan]:
    plans: dict[str, PreparedPlan] = {}
    phantoms = described_phantoms(settings.qa_phantoms)
    for folder in settings.plan_folders:
        loaded = load_plan(folder)
        for isocentre in loaded.plan.isocentres:
            Placement.of(
                loaded, isocentre.isocentre_id
            )  # a plan that cannot be placed is refused now
        described = phantoms.get(loaded.plan.patient.patient_id)
        plans[loaded.plan.plan_uid] = PreparedPlan.of(loaded, described)
    return plans


def described_phantoms(named: tuple[str, ...]) -> dict[str, Phantom]:
    """Descriptions of phantoms by patient ID, of those that were given one: `ID=DESCRIPTION`. Raises `InputRefused`."""
    given = (text.partition("=") for text in named)
    return {patient_id: load_phantom(name) for patient_id, _, name in given if name}


def _imager_calibration(settings: ServeSettings) -> ImagerCalibration | None:
    path = settings.imager_calibration
    return None if path is None else load_imager_calibration(path)


def _findings(record: RecordStore) -> tuple[Finding, ...]:
    """What the last run left open: the entries after the last start or end of a service."""
    marks = record.of_kind("service")
    after = marks[-1].sequence if marks else 0
    entries: list[RecordEntry] = []
    while page := record.read(after):
        entries += page
        after = page[-1].sequence
    return recovery(entries)


def _service(
    settings: ServeSettings,
    machine: Machine,
    plans: dict[str, PreparedPlan],
    record: RecordStore,
    known: ImagerCalibration | None = None,
) -> Service:
    clock_us = monotonic_us
    origin = datetime.now(UTC) - timedelta(microseconds=clock_us())
    couch_model = MachineCouch(machine)
    supervisor = Supervisor(
        SupervisorConfig(
            machine=machine.name,
            software_version=__version__,
            simulator=settings.simulator,
            site_rules=demonstration_rules() if settings.demo_users else SITE_RULES,
            utc_offset_min=local_offset_min(datetime.now().astimezone()),
            qa_patient_ids=_phantoms(settings, plans),
        ),
        couch_model,
        draw=secrets.randbelow,
        utc_origin=origin,
    )
    couch, imager, pendant = _devices(settings, machine)
    history = CouchHistory()
    return Service(
        Parts(
            supervisor=supervisor,
            couch=couch,
            imager=imager,
            pendant=pendant,
            history=history,
            taker=ImageTaker(
                imager,
                history,
                Technique(),
                known=known,
                clock_us=clock_us,
                utc=supervisor.utc,
                new_uid=_new_uid,
            ),
            checker=RoomChecker(
                machine, {uid: surface_of_plan(plan.loaded) for uid, plan in plans.items()}
            ),
            record=record,
            record_path=settings.store / RECORD_FILE,
            machine=machine,
            plans=plans,
            simulator=settings.simulator,
            clock_us=clock_us,
        )
    )


def _phantoms(settings: ServeSettings, plans: dict[str, PreparedPlan]) -> tuple[str, ...]:
    """Whom daily QA may position: who was named; behind simulated devices whoever has a plan is a phantom."""
    named = {text.partition("=")[0] for text in settings.qa_phantoms}
    known = {plan.loaded.plan.patient.patient_id for plan in plans.values()}
    return tuple(sorted(named | known if settings.simulator else named))


def local_offset_min(now: datetime) -> int:
    """Minutes from UTC to the room's own time at the start: the calendar day that daily QA holds for."""
    offset = now.utcoffset()
    return 0 if offset is None else round(offset.total_seconds() / 60)


def _new_uid() -> str:
    return str(generate_uid())


def _devices(
    settings: ServeSettings, machine: Machine
) -> tuple[ClpCouch | GcsCouch, ClpImager, ClpPendant]:
    """Drivers with open lines. The couch must have exactly the limits of the machine description."""

    def port(name: str) -> PortSettings:
        return PortSettings(name, baud=settings.baud)

    offset = machine.description.imaging.kv_source_offset_deg
    couch = (
        gcs_couch(port(settings.couch_port), machine)
        if settings.couch_dialect == "gcs"
        else ClpCouch(
            line_settings(port(settings.couch_port), DeviceKind.COUCH), expected_limits(machine)
        )
    )
    imager = ClpImager(line_settings(port(settings.imager_port), DeviceKind.IMAGER), offset)
    pendant = ClpPendant(line_settings(port(settings.pendant_port), DeviceKind.PENDANT))
    for name, device in (("couch", couch), ("imager", imager), ("pendant", pendant)):
        _connect(name, device.connect)
    return couch, imager, pendant


def gcs_couch(port: PortSettings, machine: Machine) -> GcsCouch:
    """The driver of a hexapod on a base couch that stands still; raises `StartRefusedError` for another machine."""
    chain = machine.description.chain
    if not isinstance(chain, HexapodChain):
        raise StartRefusedError(
            f"--couch-dialect gcs is that of a hexapod controller; machine {machine.name} is a {chain.family} couch"
        )
    frame = PlatformFrame(machine.couch(), (*chain.base_start, 0.0, 0.0))
    travel = (chain.platform_travel_mm, chain.platform_tilt_deg)
    return GcsCouch(port, frame, expected_limits(machine), travel)


def _connect(name: str, connect: Callable[[float], None]) -> None:
    try:
        connect(CONNECT_S)
    except (DeviceError, LinkError) as error:
        raise StartRefusedError(f"the {name} cannot be used: {error}") from error


def expected_limits(machine: Machine) -> CouchLimits:
    """The axis table that the couch must have, from the machine description."""
    return CouchLimits(
        tuple(
            AxisLimits.of(
                axis.name,
                AxisKind.LINEAR if axis.unit == "mm" else AxisKind.ROTARY,
                *axis.range,
                *axis.drive,
            )
            for axis in machine.description.axis
        )
    )
