"""The supervisor's memory as the one status that everybody sees. Old values are marked old, never hidden."""

from __future__ import annotations

from dataclasses import dataclass

from igrt_hw.models.anatomy import AnatomyChange
from igrt_hw.models.imaging import DoseView
from igrt_hw.models.qa import QaStep, QaTest, QaView
from igrt_hw.models.status import (
    Activity,
    CouchView,
    ImagerView,
    LinkStatus,
    LoopState,
    PendantView,
    SupervisorStatus,
)
from igrt_hw.safety.interlocks import judge
from igrt_hw.safety.memory import Memory, QaSession
from igrt_hw.safety.procedures import OF_STATE
from igrt_hw.safety.qa_tests import QA_TESTS
from igrt_hw.safety.supervisor import Supervisor
from igrt_hw.safety.target_watch import target_view
from igrt_hw.safety.transitions import NEEDED_NEXT

NEVER_MS = 3_600_000.0  # an age for what is not heard at all; shown as stale in any case


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the shell knows and the supervisor does not: raw numbers of the links, the record's head."""

    links: tuple[LinkStatus, ...] = ()
    record_entries: int = 0
    record_head: str = ""
    activity_detail: str = ""
    activity_fraction: float | None = None
    dose: DoseView | None = None


def status(
    supervisor: Supervisor, now_us: int, around: Surroundings | None = None
) -> SupervisorStatus:
    """Everything an operator may see at this instant of the supervisor's clock."""
    around = around if around is not None else Surroundings()
    m = supervisor.memory
    proposal = m.proposal
    terminal_age = m.terminal_age_us(now_us)
    return SupervisorStatus(
        version=supervisor.version,
        now_us=now_us,
        now_utc=supervisor.utc(now_us),
        simulator=m.config.simulator,
        mode=m.mode,
        machine=m.config.machine,
        state=m.state,
        needed_next=needed_next(m),
        reason=m.reason,
        activity=_activity(m, around),
        plan=m.plan,
        isocentre_id=m.isocentre.isocentre_id if m.isocentre is not None else None,
        fraction=m.fraction,
        links=around.links,
        couch=_couch(m, now_us),
        imager=_imager(m, now_us),
        pendant=_pendant(m, now_us),
        interlocks=judge(m.situation(now_us)),
        alarms=supervisor.alarms.listed(),
        images=m.images,
        registration=m.registration.summary if m.registration is not None else None,
        anatomy=_anatomy(m),
        proposal=proposal,
        approvals=m.approvals,
        verification=m.verification,
        image_age_s=None if m.stamp is None else (now_us - m.stamp.acquired_us) / 1e6,
        expires_in_s=None
        if proposal is None
        else max(0.0, (proposal.content.expires_us - now_us) / 1e6),
        permission=m.permission,
        terminal_age_ms=None if terminal_age is None else terminal_age / 1000,
        record_entries=around.record_entries,
        record_head=around.record_head,
        dose=around.dose,
        qa=_qa(m),
        daily_qa=m.daily_qa,
        target=target_view(m, now_us),
        procedure=procedure.name if (procedure := OF_STATE.get(m.state)) is not None else "",
        alarms_per_hour=supervisor.alarms.rate_per_hour(now_us),
    )


def _anatomy(m: Memory) -> AnatomyChange | None:
    """Without the single regions, which are in the record: the status goes out many times a second."""
    found = m.registration.anatomy if m.registration is not None else None
    return None if found is None else found.model_copy(update={"regions": ()})


def _qa(m: Memory) -> QaView | None:
    if m.qa is None:
        return None
    run, watching = m.qa.run, m.qa.watching
    return QaView(
        run_id=run.run_id,
        level=run.level,
        begun_by=run.begun_by,
        begun_utc=run.begun_utc,
        steps=tuple(_qa_step(m.qa, test) for test in QA_TESTS),
        running_test="" if watching is None else watching.test,
    )


def _qa_step(qa: QaSession, test: QaTest) -> QaStep:
    last = next((r for r in reversed(qa.run.results) if r.test == test.name), None)
    if qa.watching is not None and qa.watching.test == test.name:
        return QaStep(test=test.name, outcome="running", next_step=test.steps[qa.watching.stage])
    if last is None:
        return QaStep(
            test=test.name,
            outcome="not done",
            next_step=test.steps[0],
            limit=test.limit(qa.run.level),
            unit=test.unit,
        )
    return QaStep(
        test=test.name,
        outcome="passed" if last.passed else "failed",
        next_step="" if last.passed else test.steps[0],
        value=last.value,
        limit=last.limit,
        unit=test.unit,
    )


def needed_next(m: Memory) -> str:
    """What the operator does next, by state and by what is open within it."""
    running = next((p for p in m.pending.values() if p.kind != "monitoring"), None)
    if running is not None:
        return f"Wait: {running.kind} is running. STOP ends it."
    if m.state is LoopState.VERIFIED and m.target is not None and m.target.views == 0:
        return "Wait for the first view of the target; then release the beam."
    if m.state is LoopState.ARRIVED and m.stamp is not None and not m.images_problem:
        return "Register the verification images."
    if m.state is LoopState.CHECKED and m.approvals and m.proposal is not None:
        missing = m.proposal.content.approvals_needed - len(m.approvals)
        return f"{missing} more approval is needed, by another person in another session."
    if m.state is LoopState.PATIENT_BOUND and m.override is not None:
        return "A physicist or physician has to agree to the override, or the couch is brought to its planned position."
    return NEEDED_NEXT[m.state]


def _activity(m: Memory, around: Surroundings) -> Activity | None:
    if not m.pending:
        return None
    running = next(iter(m.pending.values()))
    return Activity(
        name=running.kind,
        detail=around.activity_detail or running.detail,
        fraction=around.activity_fraction,
    )


def _age(heard_us: int | None, up: bool, m: Memory, now_us: int) -> tuple[float, bool]:
    """Age in milliseconds, and whether it is too old to be called current. Without a session everything is stale."""
    if heard_us is None:
        return NEVER_MS, True
    return (now_us - heard_us) / 1000, not up or now_us - heard_us > m.config.fresh_us


def _couch(m: Memory, now_us: int) -> CouchView | None:
    couch = m.couch.last
    if couch is None:
        return None
    age_ms, stale = _age(m.couch.heard_us, m.couch.up, m, now_us)
    return CouchView(
        axis_names=m.model.axis_names,
        axis_units=m.model.axis_units,
        primary=couch.primary,
        secondary=couch.secondary,
        commanded=couch.commanded,
        state=couch.state,
        drive_state=couch.drive_state,
        stop_cause=couch.stop_cause,
        enable_held=couch.enable_held,
        enable_panic=couch.enable_panic,
        lease_fresh=couch.lease_fresh,
        brakes_on=couch.brakes_on,
        referenced=couch.referenced,
        moving=couch.moving,
        beam_gate_energised=couch.beam_gate_energised,
        estop=couch.estop,
        touch_guard=couch.touch_guard,
        faults=couch.faults,
        path_fraction=couch.path_fraction,
        assurance=couch.assurance,
        age_ms=age_ms,
        stale=stale,
    )


def _imager(m: Memory, now_us: int) -> ImagerView | None:
    imager = m.imager.last
    if imager is None:
        return None
    age_ms, stale = _age(m.imager.heard_us, m.imager.up, m, now_us)
    return ImagerView(
        state=imager.state,
        gantry_deg=imager.gantry_deg,
        arms=imager.arms,
        door_closed=imager.door_closed,
        prepared=imager.prepared,
        exposing=imager.exposing,
        anode_heat_fraction=imager.anode_heat_fraction,
        dose_area_uGycm2=imager.dose_area_uGycm2,
        faults=imager.faults,
        age_ms=age_ms,
        stale=stale,
    )


def _pendant(m: Memory, now_us: int) -> PendantView | None:
    pendant = m.pendant.last
    if pendant is None:
        return None
    age_ms, stale = _age(m.pendant.heard_us, m.pendant.up, m, now_us)
    return PendantView(
        enable_position=pendant.enable_position,
        estop=pendant.estop,
        faults=pendant.faults,
        age_ms=age_ms,
        stale=stale,
    )
