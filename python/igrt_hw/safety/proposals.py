"""Making a proposal: C . M solved to axis targets, judged, frozen, hashed; and the motion plan that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from igrt_hw.geometry import Correction
from igrt_hw.models.proposal import Check, CheckOutcome, ClearanceStrip, Proposal, ProposalContent
from igrt_hw.safety import checks
from igrt_hw.safety.canonical import canonical_digest
from igrt_hw.safety.checks import ProposalInputs
from igrt_hw.safety.couch_model import CouchModel, Stages, rotation_total_deg
from igrt_hw.safety.motion_plan import MotionPlan, on_wire_grid, to_wire
from igrt_hw.safety.rules import SupervisorConfig

BaseAxes = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal that waits for the clearance of its path."""

    proposal_id: str
    given: ProposalInputs
    checks: tuple[Check, ...]

    @property
    def refusals(self) -> tuple[Check, ...]:
        """Checks that forbid any approval."""
        return tuple(c for c in self.checks if c.outcome is CheckOutcome.REFUSE)


def targets(
    model: CouchModel, axes: tuple[float, ...], correction: Correction
) -> tuple[float, ...]:
    """Axis targets of C . M(axes), on the grid that the line can carry. Raises `UnreachableError`."""
    return on_wire_grid(model.solve(axes, correction), model.axis_units)


def stages(
    model: CouchModel,
    start: tuple[float, ...],
    target: tuple[float, ...],
    correction: Correction,
    base_axes: BaseAxes | None,
) -> Stages:
    """The way to a target, its stops on the grid of the line. Raises `UnreachableError`."""
    found = model.stages(start, target, correction, base_axes)
    return replace(found, via=tuple(on_wire_grid(axes, model.axis_units) for axes in found.via))


def draft(proposal_id: str, given: ProposalInputs) -> Draft:
    """Ask every question that needs no path."""
    return Draft(proposal_id, given, tuple(check(given) for check in checks.CHECKS))


def approvals_needed(given: ProposalInputs, found: tuple[Check, ...]) -> int:
    """One or two people: by the site's base, by the size of the shift, by warnings that ask for a second person."""
    rule = given.rule
    large = (
        given.correction.magnitude_mm > rule.second_person_mm
        or rotation_total_deg(given.correction) > rule.second_person_deg
    )
    doubtful = any(
        c.outcome is CheckOutcome.WARN and c.name in rule.second_person_checks for c in found
    )
    return 2 if large or doubtful else rule.approvals_base


def finish(waiting: Draft, strip: ClearanceStrip, now_us: int) -> Proposal:
    """Freeze content and digest. The clearance is part of both."""
    given = waiting.given
    found = (*waiting.checks, checks.clearance(strip, given.config))
    content = ProposalContent(
        proposal_id=waiting.proposal_id,
        patient_id=given.plan.patient.patient_id,
        patient_birth_date=given.plan.patient.birth_date,
        plan_uid=given.plan.plan_uid,
        frame_of_reference_uid=given.plan.frame_of_reference_uid,
        isocentre_id=given.isocentre.isocentre_id,
        patient_position=given.plan.patient_position,
        fraction=given.fraction,
        images=given.stamp,
        registration=given.registration.summary,
        axis_names=given.model.axis_names,
        axis_units=given.model.axis_units,
        start_axes=given.stamp.couch_axes,
        target_axes=given.target_axes,
        via_axes=given.via_axes,
        limits_hash=given.model.limits_hash,
        machine_hash=given.model.machine_hash,
        clearance=strip,
        checks=found,
        approvals_needed=approvals_needed(given, found),
        software_version=given.config.software_version,
        created_us=now_us,
        expires_us=min(
            now_us + given.rule.proposal_life_us, given.stamp.acquired_us + given.rule.image_age_us
        ),
    )
    return Proposal(content=content, digest=canonical_digest(content))


def motion_plan(
    proposal: Proposal, model: CouchModel, config: SupervisorConfig, now_us: int
) -> MotionPlan:
    """The integers that go to the couch. The plan dies with the proposal: its time to live is what is left of it.

    Raises `ValueError` when nothing is left.
    """
    content = proposal.content
    ttl_ms = (content.expires_us - now_us) // 1000
    if ttl_ms <= 0:
        raise ValueError("the proposal has expired; propose again")
    return MotionPlan(
        proposal=proposal.digest,
        limits=content.limits_hash[:16],
        ttl_ms=ttl_ms,
        speed_ppm=checks.speed_ppm(model, config),
        start=to_wire(content.start_axes, content.axis_units),
        start_tolerance_linear_um=round(config.moved_mm * 1000),
        start_tolerance_rotary_udeg=round(config.moved_deg * 1_000_000),
        waypoints=tuple(
            to_wire(axes, content.axis_units) for axes in (*content.via_axes, content.target_axes)
        ),
    )
