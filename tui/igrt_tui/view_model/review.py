"""The shift in full: isocentre shift and axis targets apart, clearance, checks, registration, age and expiry."""

from igrt_hw.geometry import wrap_deg
from igrt_hw.models.proposal import Check, CheckOutcome, Proposal, ProposalContent
from igrt_hw.models.status import SupervisorStatus
from igrt_tui.view_model.directions import shift_direction
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import (
    countdown,
    duration,
    signed,
    signed_number,
    strip,
    unsigned,
)
from igrt_tui.view_model.text import (
    Column,
    Line,
    Lines,
    Span,
    Tone,
    dim,
    line,
    marked,
    marked_paragraph,
    paragraph,
    rule,
    strong,
    table,
)

SHIFT_AXES = (
    ("lateral", "mm"),
    ("longitudinal", "mm"),
    ("vertical", "mm"),
    ("rotation", "deg"),
    ("pitch", "deg"),
    ("roll", "deg"),
)
EXPIRES_SOON_S = 60.0
NO_SHIFT = "There is no shift. It is found by registering the images."


def couch_rotation_deg(status: SupervisorStatus) -> float | None:
    """Return how far the couch is turned: at imaging if there is a proposal, else now.

    None for a couch whose axes do not say so, such as an arm.
    """
    if status.proposal is not None:
        content = status.proposal.content
        names, values = content.axis_names, content.start_axes
    elif status.couch is not None:
        names, values = status.couch.axis_names, status.couch.primary
    else:
        return None
    turns = [value for name, value in zip(names, values, strict=True) if "rotation" in name]
    return sum(turns) if turns else None


def shift_panel(scene: Scene, width: int) -> Lines:
    """Show the shift of the patient at the isocentre, in the room's frame, with directions in words."""
    head = rule("Shift of the patient at the isocentre (room frame)", width)
    status = scene.status
    if status is None or status.registration is None:
        return (head, *paragraph(NO_SHIFT, width, Tone.DIM))
    proposal = status.proposal
    registration = proposal.content.registration if proposal else status.registration
    position: str = status.plan.patient_position if status.plan else "unknown"
    if proposal is not None:
        position = proposal.content.patient_position
    rotation_deg = couch_rotation_deg(status)
    sigma = (*registration.sigma_mm, *registration.sigma_deg)
    columns = (
        Column("axis", 12),
        Column("shift", 10, right=True),
        Column("±", 5, right=True),
        Column("in the room", 33),
        Column("for the patient", max(20, width - 12 - 10 - 5 - 33 - 5)),
    )
    rows = []
    for index, (axis, unit) in enumerate(SHIFT_AXES):
        value = float(getattr(registration.correction, f"{axis}_{unit}"))
        direction = shift_direction(axis, float(signed_number(value)), position, rotation_deg)
        rows.append(
            (
                axis,
                strong(signed(value, unit)),
                dim(f"{sigma[index]:.2f}"),
                direction.room,
                direction.patient,
            )
        )
    return (head, *table(columns, rows))


def axes_panel(scene: Scene, width: int, asked: str = "") -> Lines:
    """Show the couch's own axes: now, target, move, and how far the target is off the plan.

    `asked` is the axis whose move an approver has to type; it is pointed at.
    """
    head = rule("Couch axes (what the couch will do)", width)
    status = scene.status
    if status is None or status.proposal is None:
        return (head, line(dim("none: a proposal computes them from the shift (F2, then m)")))
    content = status.proposal.content
    now = status.couch.primary if status.couch else content.start_axes
    columns = (
        Column("axis", 17),
        Column("now", 8, right=True),
        Column("target", 8, right=True),
        Column("move", 6, right=True),
        Column("off plan", 8, right=True),
        Column("limit", max(8, width - 17 - 8 - 8 - 6 - 8 - 6)),
    )
    moves = travel(content)
    old = scene.local.old or (status.couch.stale if status.couch else True)
    rows = []
    for index, name in enumerate(content.axis_names):
        unit = content.axis_units[index]
        off, limit = _off_plan(status, name, unit, content.target_axes[index])
        rows.append(
            (
                strong(f"▶ {name} {unit}") if name == asked else f"{name} {unit}",
                Span(signed_number(now[index]), Tone.OLD if old else Tone.NORMAL),
                strong(signed_number(content.target_axes[index])),
                strong(signed_number(moves[index])),
                signed_number(off) if off is not None else "none",
                _tolerance(off, limit),
            )
        )
    return (head, *table(columns, rows))


def travel(content: ProposalContent) -> tuple[float, ...]:
    """Return target minus start per axis, angles wrapped: the numbers that an approver is asked for."""
    return tuple(
        target - start if unit == "mm" else wrap_deg(target - start)
        for target, start, unit in zip(
            content.target_axes, content.start_axes, content.axis_units, strict=True
        )
    )


def _off_plan(
    status: SupervisorStatus, name: str, unit: str, target: float
) -> tuple[float | None, float | None]:
    if status.plan is None:
        return None, None
    field = f"{name}_{unit}"
    couch = next(
        (iso.couch for iso in status.plan.isocentres if iso.isocentre_id == status.isocentre_id),
        None,
    )
    planned = getattr(couch, field, None) if couch and not couch.relative else None
    limit = getattr(status.plan.tolerance, field, None)
    return (None if planned is None else target - planned), limit


def _tolerance(off: float | None, limit: float | None) -> Span:
    if limit is None:
        return dim("no limit")
    text = f"±{limit:.1f}"
    if off is None:
        return dim(text)
    return marked(Tone.MEDIUM, text) if abs(off) > limit else Span(f"✓ {text}")


def clearance_panel(scene: Scene, width: int) -> Lines:
    """Show clearance along the path as a strip, its least value and the pair that comes closest."""
    proposal = scene.status.proposal if scene.status else None
    if proposal is None:
        return (rule("Clearance along the path", width), line(dim("none")))
    clearance = proposal.content.clearance
    if clearance.minimum_mm < clearance.stop_mm:
        tone, word = Tone.HIGH, f"BELOW STOP {unsigned(clearance.stop_mm, 'mm')}"
    elif clearance.minimum_mm < clearance.warn_mm:
        tone, word = Tone.MEDIUM, f"BELOW WARNING {unsigned(clearance.warn_mm, 'mm')}"
    else:
        tone, word = Tone.OK, f"warning at {unsigned(clearance.warn_mm, 'mm')}"
    return (
        rule("Clearance along the path", width),
        *marked_paragraph(tone, f"at least {unsigned(clearance.minimum_mm, 'mm')}, {word}", width),
        line(dim("now "), strip(clearance.profile_mm, max(8, width - 12)), dim(" target")),
        *paragraph(
            f"closest: {clearance.pair[0]} to {clearance.pair[1]}, at "
            f"{clearance.at_path_fraction * 100:.0f} % of the path",
            width,
        ),
    )


def registration_panel(scene: Scene, width: int) -> Lines:
    """Give the quality of the registration in words and numbers."""
    head = rule("Registration", width)
    registration = scene.status.registration if scene.status else None
    if registration is None:
        return (head, line(dim("none")))
    tone = {"reliable": Tone.OK, "doubtful": Tone.MEDIUM, "refused": Tone.HIGH}[
        registration.verdict
    ]
    similarity = "  ".join(f"{value:.3f}" for value in registration.per_view_similarity)
    lines: list[Line] = [
        head,
        line(marked(tone, registration.verdict.upper()), dim("  similarity "), similarity),
    ]
    for reason in registration.reasons:
        lines += paragraph(reason, width, indent=2)
    lines.append(
        line(dim("residual at target "), unsigned(registration.residual_at_target_mm, "mm"))
    )
    return tuple(lines)


def age_panel(scene: Scene, width: int) -> Lines:
    """Show the age of the images and the time left, both running."""
    head = rule("Images and expiry", width)
    image_age, expires = scene.image_age_s(), scene.expires_in_s()
    tone = Tone.OLD if scene.local.old else Tone.NORMAL
    lines: list[Line] = [head]
    lines.append(
        line(
            dim("images taken "),
            Span(f"{duration(image_age)} ago" if image_age is not None else "never", tone),
        )
    )
    lines.append(line(dim("shift expires in "), _expiry(expires)))
    proposal = scene.status.proposal if scene.status else None
    if proposal is not None and scene.status is not None:
        needed = proposal.content.approvals_needed
        names = (
            ", ".join(f"{a.username} ({a.role})" for a in scene.status.approvals) or "nobody yet"
        )
        lines.append(line(dim("approved by "), names, dim(f"  needed {needed}")))
        lines.append(line(dim("digest "), proposal.digest[:16]))
    return tuple(lines)


def _expiry(expires: float | None) -> Span:
    if expires is None:
        return dim("no shift")
    if expires <= 0:
        return marked(Tone.HIGH, "EXPIRED")
    if expires < EXPIRES_SOON_S:
        return marked(Tone.MEDIUM, countdown(expires))
    return Span(countdown(expires))


def checks_panel(scene: Scene, width: int, room: int, *, brief: bool = False) -> Lines:
    """List what was checked: refusals and warnings in full, then what passed, by name if `room` lines allow.

    `brief`: where they do not fit in full they are named, and where their words stand is said; where even the names do
    not fit, the worst are named and the others counted.
    """
    proposal = scene.status.proposal if scene.status else None
    if proposal is None:
        return (rule("Checks", width), line(dim("none")))
    tones = {
        CheckOutcome.REFUSE: Tone.HIGH,
        CheckOutcome.WARN: Tone.MEDIUM,
        CheckOutcome.PASS: Tone.OK,
    }
    order = (CheckOutcome.REFUSE, CheckOutcome.WARN, CheckOutcome.PASS)
    checks = sorted(proposal.content.checks, key=lambda check: order.index(check.outcome))
    counts = ", ".join(
        f"{sum(check.outcome is outcome for check in checks)} {outcome.value}" for outcome in order
    )
    lines: list[Line] = [rule("Checks", width, dim(counts))]
    wanting = [check for check in checks if check.outcome is not CheckOutcome.PASS]
    told: list[Line] = []
    for check in wanting:
        words = f"{check.name}: {check.detail}{_margin(check)}"
        told += marked_paragraph(tones[check.outcome], words, width)
    if brief and len(lines) + len(told) > room:
        short = [check.name for check in wanting]
        told = [*_named(short, tones[wanting[0].outcome], width, room - len(lines))]
    lines += told
    passed = [check.name + _margin(check) for check in checks if check.outcome is CheckOutcome.PASS]
    if passed:
        names = _grey(marked_paragraph(Tone.OK, "; ".join(passed), width))
        count = (line(f"✓ {len(passed)} checks passed"),)
        if len(lines) + len(names) <= room:
            lines += names
        elif len(lines) < room:
            lines += count  # else the head alone says how many passed
    return tuple(lines)


def _named(names: list[str], tone: Tone, width: int, room: int) -> Lines:
    """Name as many as fit, the worst first; how many more there are is said, never left out."""
    for count in range(len(names), 0, -1):
        more = f"; and {len(names) - count} MORE" if count < len(names) else ""
        made = marked_paragraph(tone, f"{'; '.join(names[:count])}{more} (in words: F4)", width)
        if len(made) <= max(1, room):
            return made
    return marked_paragraph(tone, f"{len(names)} warnings (F4)", width)


def _margin(check: Check) -> str:
    return "" if check.margin is None else f" ({check.margin:.1f} {check.margin_unit} left)"


def _grey(lines: Lines) -> Lines:
    return tuple(tuple(Span(span.text) for span in of_line) for of_line in lines)


def refusals(proposal: Proposal) -> tuple[str, ...]:
    """Name the checks that refuse; a shift with one of them cannot be approved by anybody."""
    return tuple(
        f"{check.name}: {check.detail}"
        for check in proposal.content.checks
        if check.outcome is CheckOutcome.REFUSE
    )
