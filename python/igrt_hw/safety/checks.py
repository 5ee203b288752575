"""The questions asked of a proposal. Each has its sentence first, then its predicate, in the order of `CHECKS`.

PASS: nothing to say. WARN: may be approved by those whom the site rule names. REFUSE: may not be approved by anybody.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from igrt_hw.geometry import AXIS_NAMES, Correction, leverage_mm, wrap_deg
from igrt_hw.models.history import TreatedShift
from igrt_hw.models.plan import PlannedIsocentre, TreatmentPlan
from igrt_hw.models.proposal import Check, CheckOutcome, ClearanceStrip, ImageStamp
from igrt_hw.models.qa import QaStanding
from igrt_hw.safety.couch_model import CouchModel, Stages, displacement, rotation_total_deg
from igrt_hw.safety.events import CouchHeard, RegistrationDone
from igrt_hw.safety.rules import SiteRule, SupervisorConfig

SINGULAR_MARGIN = 0.02
"""Nearer to a singularity than this no couch goes; neutral platforms of treatment couches have 0.1."""
PASS, WARN, REFUSE = CheckOutcome.PASS, CheckOutcome.WARN, CheckOutcome.REFUSE


@dataclass(frozen=True, slots=True)
class ProposalInputs:
    """Everything a proposal is judged by, at one instant."""

    plan: TreatmentPlan
    isocentre: PlannedIsocentre
    fraction: int
    stamp: ImageStamp
    registration: RegistrationDone
    target_axes: tuple[float, ...]
    couch: CouchHeard
    couch_limits: str
    model: CouchModel
    rule: SiteRule
    config: SupervisorConfig
    now_us: int
    history: tuple[TreatedShift, ...] = ()
    last_shift: Correction | None = None
    daily_qa: QaStanding | None = None
    """None: not asked for in this mode."""
    stages: Stages = field(default_factory=Stages)

    @property
    def via_axes(self) -> tuple[tuple[float, ...], ...]:
        """Where the couch comes to rest on the way."""
        return self.stages.via

    @property
    def correction(self) -> Correction:
        """The correction that registration found."""
        return self.registration.summary.correction


def _answer(
    name: str,
    sentence: str,
    outcome: CheckOutcome,
    detail: str,
    source: str,
    margin: tuple[float, str] | None = None,
) -> Check:
    value, unit = margin if margin is not None else (None, "")
    return Check(
        name=name,
        sentence=sentence,
        outcome=outcome,
        detail=detail,
        margin=None if value is None else round(value, 6),
        margin_unit=unit,
        source=source,
    )


def identity(given: ProposalInputs) -> Check:
    """Plan, frame of reference, isocentre and images of the registration are those of the bound patient."""
    done, plan = given.registration, given.plan
    pairs = (
        ("plan", done.plan_uid, plan.plan_uid),
        ("frame of reference", done.frame_of_reference_uid, plan.frame_of_reference_uid),
        ("isocentre", done.isocentre_id, given.isocentre.isocentre_id),
        ("images", done.image_uids, given.stamp.image_uids),
    )
    wrong = [
        f"{name} {found} is not {expected}" for name, found, expected in pairs if found != expected
    ]
    return _answer(
        "identity",
        "Plan, frame of reference, isocentre and images of the registration are those of the bound patient.",
        REFUSE if wrong else PASS,
        "; ".join(wrong) + ": close the patient and begin again" if wrong else "all four agree",
        "plan of another patient delivered, 2015 (R27)",
    )


def patient_position(given: ProposalInputs) -> Check:
    """The patient lies in a position that this room has been tested for."""
    position = given.plan.patient_position
    known = given.config.patient_positions
    return _answer(
        "patient position",
        "The patient lies in a position that this room has been tested for.",
        PASS if position in known else REFUSE,
        f"{position}; tested: {', '.join(known)}",
        "Pinnacle wrong for HFP, FFS, FFP (R19)",
    )


def imaging_stamp(given: ProposalInputs) -> Check:
    """Couch pose and brakes were frozen together with the images: brakes on, every axis known."""
    problems = []
    if not given.stamp.brakes_on:
        problems.append("the brakes were released during imaging")
    if len(given.stamp.couch_axes) != len(given.model.axis_names):
        problems.append(f"the stamp has {len(given.stamp.couch_axes)} axes")
    return _answer(
        "imaging stamp",
        "Couch pose and brakes were frozen together with the images: brakes on, every axis known.",
        REFUSE if problems else PASS,
        "; ".join(problems) + ": acquire the images again" if problems else "brakes on, pose known",
        "stale registration (clinical facts 7.4)",
    )


def couch_unmoved(given: ProposalInputs) -> Check:
    """The couch has not moved since the images: 0.5 mm and 0.2 deg, at the isocentre and by axis, and not by hand."""
    moved = displacement(given.model, given.stamp.couch_axes, given.couch.primary)
    limit_mm, limit_deg = given.config.moved_mm, given.config.moved_deg
    bad = not moved.within(limit_mm, limit_deg) or given.couch.moved_by_hand
    hand = "; brakes were released by hand" if given.couch.moved_by_hand else ""
    return _answer(
        "couch unmoved",
        f"The couch has not moved since the images by more than {limit_mm} mm or {limit_deg} deg,"
        " neither at the isocentre nor by any axis.",
        REFUSE if bad else PASS,
        f"{moved.mm:.2f} mm, {moved.deg:.2f} deg{hand}"
        + (": acquire the images again" if bad else ""),
        "clinical facts 7.5 no 5",
        (limit_mm - moved.mm, "mm"),
    )


def image_age(given: ProposalInputs) -> Check:
    """The images are younger than the site allows."""
    age_s = (given.now_us - given.stamp.acquired_us) / 1e6
    limit_s = given.rule.image_age_us / 1e6
    bad = not 0 <= age_s <= limit_s
    return _answer(
        "image age",
        f"The images are not older than {limit_s / 60:.0f} min.",
        REFUSE if bad else PASS,
        f"{age_s:.0f} s" + (": acquire the images again" if bad else ""),
        "re-image after 10 to 15 min (clinical facts 2.5)",
        (limit_s - age_s, "s"),
    )


def registration_verdict(given: ProposalInputs) -> Check:
    """The registration is reliable; a doubtful one needs a second person, a refused one cannot be approved.

    So does a patient whom a cone beam shows changed: then the correction is right for a part of the body only. What a
    pair tells of a change is said and asks for nobody: one of six pairs of an unchanged patient was beyond its limit.
    """
    summary, anatomy = given.registration.summary, given.registration.anatomy
    outcome = {"reliable": PASS, "doubtful": WARN, "refused": REFUSE}[summary.verdict]
    changed = () if anatomy is None or anatomy.advice == "treat" else anatomy.reasons
    if anatomy is not None and changed and anatomy.source == "cone beam" and outcome is PASS:
        outcome = WARN
    reasons = "; ".join((*summary.reasons, *changed))
    return _answer(
        "registration verdict",
        "The registration is reliable; a doubtful one needs a second person, a refused one cannot be approved.",
        outcome,
        summary.verdict + (f": {reasons}" if reasons else ""),
        "wrong interpretation of pretreatment images, TG-100 RPN 388",
    )


def shift_size(given: ProposalInputs) -> Check:
    """The shift is below the action level of the site."""
    rule = given.rule
    mm, deg = given.correction.magnitude_mm, rotation_total_deg(given.correction)
    above = mm > rule.warn_mm or deg > rule.warn_deg
    return _answer(
        "shift size",
        f"The shift is not above the action level of site {rule.site}: {rule.warn_mm:g} mm, {rule.warn_deg:g} deg.",
        WARN if above else PASS,
        f"{mm:.1f} mm, {deg:.1f} deg" + (": look at setup and match once more" if above else ""),
        "covering physician approved a match 2.5 cm off (R21)",
        (rule.warn_mm - mm, "mm"),
    )


def correction_window(given: ProposalInputs) -> Check:
    """The shift is inside the window of one approval; beyond it the patient is set up again."""
    window_mm = min(given.rule.window_mm, given.model.correction_window[0])
    window_deg = min(given.rule.window_deg, given.model.correction_window[1])
    mm, deg = given.correction.magnitude_mm, rotation_total_deg(given.correction)
    outside = mm > window_mm or deg > window_deg
    return _answer(
        "correction window",
        f"The shift is inside the window of one approval: {window_mm:g} mm, {window_deg:g} deg.",
        REFUSE if outside else PASS,
        f"{mm:.1f} mm, {deg:.1f} deg"
        + (". " + what_can_be_done(given.correction) if outside else ""),
        "wrong-direction and omitted shifts of 8.5 to 15.6 cm (clinical facts 7.2)",
        (window_mm - mm, "mm"),
    )


def level_prompt(given: ProposalInputs) -> Check:
    """A large shift along the body may be a wrong level that matches well: the level has been looked at."""
    along, limit = given.correction.longitudinal_mm, given.rule.level_prompt_mm
    above = abs(along) > limit
    return _answer(
        "level",
        f"The shift along the body is not above {limit:g} mm, where a neighbouring level can match as well.",
        WARN if above else PASS,
        f"{along:+.1f} mm longitudinal"
        + (": count the levels and the side again before approval" if above else ""),
        "wrong vertebral body matched, 2.1 cm (ROILS; R24)",
        (limit - abs(along), "mm"),
    )


def planned_position(given: ProposalInputs) -> Check:
    """The target stands at the planned couch position within the tolerance table of the plan."""
    beyond = beyond_tolerance(
        given.plan, given.isocentre, given.model.table_position(given.target_axes)
    )
    return _answer(
        "planned position",
        "The target stands at the planned couch position within the tolerance table of the plan.",
        WARN if beyond else PASS,
        "; ".join(beyond) if beyond else f"within tolerance table {given.plan.tolerance.label}",
        "couch tolerance as a detector of mistakes (Hadley, JACMP 2009)",
    )


def axis_limits(given: ProposalInputs) -> Check:
    """Every axis target is inside its limits; nothing is clamped."""
    outside, smallest = [], (float("inf"), "")
    model = given.model
    rows = [
        row
        for axes in (*given.via_axes, given.target_axes)
        for row in zip(model.axis_names, model.axis_units, axes, model.limits, strict=True)
    ]
    for name, unit, value, (lower, upper) in rows:
        margin = min(value - lower, upper - value)
        smallest = min(smallest, (margin, unit))
        if margin < 0:
            side, limit = ("below", lower) if value < lower else ("above", upper)
            outside.append(f"{name} {value:.3f} {unit} is {side} its limit of {limit:.3f} {unit}")
    detail = (
        "; ".join(outside) + ". " + what_can_be_done(given.correction) if outside else "all inside"
    )
    return _answer(
        "axis limits",
        "Every axis target is inside its limits.",
        REFUSE if outside else PASS,
        detail,
        "clinical facts 7.5 no 10: refuse, do not clamp",
        smallest,
    )


def legs_and_singularities(given: ProposalInputs) -> Check:
    """Legs and singularities keep their distance all along the way, every stage of it."""
    legs, (name, margin) = given.stages.leg_margin_mm, given.stages.singularity
    problems = []
    if legs is not None and legs < 0.0:
        problems.append(f"a leg would be {-legs:.2f} mm past its range")
    if given.via_axes and given.couch.assurance:
        problems.append(
            "the base couch would have to move, and this controller moves the platform alone"
        )
    if margin < SINGULAR_MARGIN:
        problems.append(f"the couch would come to {margin:.3f} of a singularity ({name})")
    words = f"nearest singularity {margin:.2f} away ({name})"
    if legs is not None:
        words = f"legs keep {legs:.1f} mm; {words}"
    if given.via_axes:
        words += "; in two stages: the base couch first, then the platform"
    return _answer(
        "legs and singularities",
        "Legs and singularities keep their distance all along the way, every stage of it.",
        REFUSE if problems else PASS,
        "; ".join(problems) + ". " + what_can_be_done(given.correction) if problems else words,
        "a hexapod loses a direction where its legs cannot hold it; two-stage hand-off (HexaPOD 2019)",
        None if legs is None else (legs, "mm"),
    )


def limits_version(given: ProposalInputs) -> Check:
    """The couch reports the limits that this proposal was computed with."""
    ours = given.model.limits_hash[:16]
    return _answer(
        "limits version",
        "The couch reports the limits that this proposal was computed with.",
        PASS if given.couch_limits == ours else REFUSE,
        f"ours {ours}, the couch's {given.couch_limits or 'unknown'}"
        + (
            ""
            if given.couch_limits == ours
            else ": machine description and couch are of different versions"
        ),
        "docs/protocol.md section 6",
    )


def speed(given: ProposalInputs) -> Check:
    """No axis moves faster than the slow speed: 10 mm/s and 1 deg/s."""
    ppm = speed_ppm(given.model, given.config)
    return _answer(
        "speed",
        f"No axis moves faster than {given.config.speed_mm_s:g} mm/s or {given.config.speed_deg_s:g} deg/s.",
        PASS if ppm >= 1 else REFUSE,
        f"axis speeds scaled to {ppm} ppm of their limits",
        "slow speed of IEC 60601-2-1 (clinical facts 2.3, to be checked against the text)",
    )


def second_channel(given: ProposalInputs) -> Check:
    """Both position channels of the couch agree: 0.5 mm and 0.2 deg at the isocentre."""
    apart = given.model.difference(given.couch.primary, given.couch.secondary)
    limit_mm, limit_deg = given.config.channels_mm, given.config.channels_deg
    bad = apart.mm > limit_mm or apart.deg > limit_deg
    if "second channel" in given.couch.unreported:
        return _answer(
            "second channel",
            f"Both position channels agree within {limit_mm} mm and {limit_deg} deg at the isocentre.",
            WARN,
            "this couch has no second channel: images alone prove where it stands",
            "displayed and actual position diverged (Siemens TxT; R9)",
        )
    return _answer(
        "second channel",
        f"Both position channels agree within {limit_mm} mm and {limit_deg} deg at the isocentre.",
        REFUSE if bad else PASS,
        f"{apart.mm:.2f} mm, {apart.deg:.2f} deg apart" + (": call service" if bad else ""),
        "displayed and actual position diverged (Siemens TxT; R9)",
        (limit_mm - apart.mm, "mm"),
    )


def assurance(given: ProposalInputs) -> Check:
    """The couch promises lease, plan digest, STOP epoch and a straight line; else the enable has to be wired."""
    missing = given.couch.assurance
    proved = given.couch.hardware_channel
    wired = "the pendant's enable is proved to be in the supply of the drives" if proved else ""
    return _answer(
        "couch assurance",
        "The couch promises a lease, a plan digest, a STOP epoch and a straight line.",
        WARN if missing else PASS,
        f"REDUCED: {'; '.join(missing)}. {wired}".strip() if missing else "it promises all four",
        "docs/gcs.md",
    )


def plausibility(given: ProposalInputs) -> Check:
    """The target is within 2 SD of where the couch stood for this patient and isocentre before."""
    config = given.config
    before = [
        given.model.table_position(shift.target_axes)
        for shift in given.history
        if shift.plan_uid == given.plan.plan_uid
        and shift.isocentre_id == given.isocentre.isocentre_id
    ]
    sentence = (
        "The target is within 2 SD of where the couch stood for this patient and isocentre before."
    )
    source = "couch position as a detector of mistakes: 2 SD (Hadley, JACMP 2009)"
    if len(before) < config.history_min:
        detail = f"{len(before)} earlier shifts; judged from {config.history_min} on"
        return _answer("plausibility", sentence, PASS, detail, source)
    target = given.model.table_position(given.target_axes)
    far = []
    for index, name in enumerate(AXIS_NAMES):
        values = [position[index] for position in before]
        unit, floor = (
            ("mm", config.history_floor_mm) if index < 3 else ("deg", config.history_floor_deg)
        )
        limit = max(floor, 2 * statistics.stdev(values))
        off = target[index] - statistics.fmean(values)
        if abs(off) > limit:
            far.append(
                f"{name} is {off:+.1f} {unit} off its mean (2 SD or floor: {limit:.1f} {unit})"
            )
    detail = "; ".join(far) if far else f"within 2 SD of {len(before)} earlier shifts"
    return _answer("plausibility", sentence, WARN if far else PASS, detail, source)


def last_shift(given: ProposalInputs) -> Check:
    """The correction does not repeat, undo or double the shift that was just made."""
    config, last = given.config, given.last_shift
    sentence = "The correction does not repeat, undo or double the shift that was just made."
    source = "shift omitted, applied twice, or in the opposite direction (clinical facts 7.2: H1, H3, H7)"
    if last is None or last.magnitude_mm < config.last_shift_min_mm:
        detail = "no shift was just made" if last is None else "the last shift was small"
        return _answer("last shift", sentence, PASS, detail, source)
    now = given.correction.translation_mm
    stories = (
        (1.0, "as if the last shift had not been made"),
        (-1.0, "as if the last shift had been made twice"),
        (2.0, "as if the last shift had been made in the opposite direction"),
    )
    for factor, story in stories:
        off = math.dist(now, [factor * value for value in last.translation_mm])
        if off <= config.last_shift_mm:
            return _answer("last shift", sentence, WARN, f"{story} (to {off:.1f} mm)", source)
    return _answer("last shift", sentence, PASS, "unlike the last shift", source)


def isocentre_distance(given: ProposalInputs) -> Check:
    """Isocentres of one fraction lie as far apart on the couch as in the plan, pitch and roll included."""
    sentence = "Isocentres of one fraction lie as far apart on the couch as in the plan, pitch and roll included."
    source = "shift between two isocentres not applied (H6; R25)"
    here = given.isocentre
    others = {
        shift.isocentre_id: shift.target_axes
        for shift in given.history
        if shift.plan_uid == given.plan.plan_uid
        and shift.fraction == given.fraction
        and shift.isocentre_id != here.isocentre_id
    }
    planned = {i.isocentre_id: i.position_dicom_mm for i in given.plan.isocentres}
    found, worst = [], 0.0
    for name, axes in others.items():
        if name not in planned:
            continue
        wanted = math.dist(planned[name], here.position_dicom_mm)
        stands = math.dist(
            given.model.isocentre_in_table(axes), given.model.isocentre_in_table(given.target_axes)
        )
        worst = max(worst, abs(stands - wanted))
        found.append(f"{name}: {stands:.1f} mm on the couch, {wanted:.1f} mm in the plan")
    bad = worst > given.config.isocentre_mm
    detail = "; ".join(found) if found else "no other isocentre in this fraction"
    margin = (given.config.isocentre_mm - worst, "mm") if found else None
    return _answer("isocentre distance", sentence, WARN if bad else PASS, detail, source, margin)


def daily_qa(given: ProposalInputs) -> Check:
    """Daily QA of this room passed today, at the tolerances of the site."""
    rule, found = given.rule, given.daily_qa
    sentence = f"Daily QA of this room passed today, at {rule.daily_qa_level} tolerances."
    source = "TG-142 daily tests (clinical facts 2.2)"
    if rule.daily_qa == "not asked" or found is None:
        return _answer("daily QA", sentence, PASS, "not asked for", source)
    if found.passed_today:
        return _answer("daily QA", sentence, PASS, found.sentence, source)
    outcome = REFUSE if rule.daily_qa == "required" else WARN
    return _answer("daily QA", sentence, outcome, found.sentence, source)


CHECKS: tuple[Callable[[ProposalInputs], Check], ...] = (
    identity,
    patient_position,
    imaging_stamp,
    couch_unmoved,
    image_age,
    registration_verdict,
    shift_size,
    correction_window,
    level_prompt,
    planned_position,
    plausibility,
    last_shift,
    isocentre_distance,
    axis_limits,
    legs_and_singularities,
    limits_version,
    speed,
    second_channel,
    assurance,
    daily_qa,
)


def clearance(strip: ClearanceStrip, config: SupervisorConfig) -> Check:
    """The whole path keeps its distance: warning below 20 mm, no approval below 10 mm."""
    smallest = strip.minimum_mm
    outcome = REFUSE if smallest < config.clearance_stop_mm else PASS
    if outcome is PASS and smallest < config.clearance_warn_mm:
        outcome = WARN
    a, b = strip.pair
    way_on = ": move the patient or the machine and image again" if outcome is REFUSE else ""
    remedy = f". {strip.remedy}" if outcome is not PASS and strip.remedy else ""
    return _answer(
        "clearance",
        f"The whole path keeps {config.clearance_stop_mm:g} mm, and {config.clearance_warn_mm:g} mm without a warning.",
        outcome,
        f"at least {smallest:.1f} mm between {a} and {b}, at {strip.at_path_fraction:.0%} of the path{way_on}{remedy}",
        "models miss 1 in 20 real collisions (clinical facts section 5): one layer, not the last",
        (smallest - config.clearance_stop_mm, "mm"),
    )


def what_can_be_done(correction: Correction) -> str:
    """The ways on when a correction cannot be made whole. Never a clamp."""
    left = rotation_total_deg(correction)
    if left < 0.05:
        return "Set the patient up again."
    return (
        "Set the patient up again, or register translation only, which would leave "
        f"{left:.1f} deg, {leverage_mm(left, 100.0):.1f} mm at 100 mm."
    )


def beyond_tolerance(
    plan: TreatmentPlan, isocentre: PlannedIsocentre, stands: tuple[float, ...]
) -> list[str]:
    """Which of the six table-top numbers are off the planned position by more than the plan's tolerance table."""
    table, planned = plan.tolerance, isocentre.couch
    rows = (
        ("lateral", "mm", stands[0], planned.lateral_mm, table.lateral_mm),
        ("longitudinal", "mm", stands[1], planned.longitudinal_mm, table.longitudinal_mm),
        ("vertical", "mm", stands[2], planned.vertical_mm, table.vertical_mm),
        ("rotation", "deg", stands[3], planned.rotation_deg, table.rotation_deg),
        ("pitch", "deg", stands[4], planned.pitch_deg, table.pitch_deg),
        ("roll", "deg", stands[5], planned.roll_deg, table.roll_deg),
    )
    found = []
    for name, unit, value, wanted, tolerance in rows:
        if wanted is None or tolerance is None or (planned.relative and unit == "mm"):
            continue
        off = value - wanted if unit == "mm" else wrap_deg(value - wanted)
        if abs(off) > tolerance:
            found.append(
                f"{name} is {off:+.1f} {unit} off its planned {wanted:.1f} {unit} (tolerance {tolerance:g})"
            )
    return found


def speed_ppm(model: CouchModel, config: SupervisorConfig) -> int:
    """How far all axis speeds are scaled down together, so that none is above the slow speed or the machine's cap."""
    scale = 1.0
    mm_s, deg_s = model.correction_speed
    for unit, largest in zip(model.axis_units, model.speed_max, strict=True):
        allowed = min(config.speed_mm_s, mm_s) if unit == "mm" else min(config.speed_deg_s, deg_s)
        scale = min(scale, allowed / largest)
    return int(scale * 1_000_000)
