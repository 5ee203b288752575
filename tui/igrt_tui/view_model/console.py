"""The first screen of a session: state, what can be done, links, interlocks, alarms, the shift in one line."""

from igrt_hw.models.status import LinkStatus, LoopState, SupervisorStatus
from igrt_tui.view_model import header, target
from igrt_tui.view_model.acts import occupied, offered
from igrt_tui.view_model.header import PRIORITY_MARK, PRIORITY_TONE, ordered_alarms
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import age, countdown, duration, signed, unsigned
from igrt_tui.view_model.text import (
    Column,
    Line,
    Lines,
    Span,
    Tone,
    dim,
    key,
    line,
    marked,
    marked_paragraph,
    paragraph,
    rule,
    strong,
    table,
)


def next_panel(scene: Scene, width: int) -> Lines:
    """Say in words what the loop needs, and which keys do it."""
    head = rule("What is needed next", width)
    status = scene.status
    if status is None:
        return (head, *paragraph("Waiting for the supervisor.", width))
    lines: list[Line] = [head]
    job = occupied(status)
    if job is not None:
        lines += paragraph(f"Running: {job.name}. {job.detail}", width, Tone.STRONG)
        return tuple(lines)
    lines += paragraph(status.needed_next, width, Tone.STRONG)
    if status.reason:
        lines += paragraph(f"last: {status.reason}", width, Tone.DIM)
    lines.append(line(""))
    acts = offered(status)
    for act in acts:
        tail = dim("  (asks once more)") if act.asks else dim("")
        lines.append(line(key(f" {act.key:<2} "), f" {act.meaning}", tail))
    if not acts:
        lines.append(line(dim("Nothing to press here now.")))
    return tuple(lines)


def links_panel(scene: Scene, width: int) -> Lines:
    """Show the three serial lines with their ages; a line that is quiet says why."""
    head = rule("Links", width)
    status = scene.status
    if status is None:
        return (head, line(dim("unknown")))
    columns = (
        Column("line", 8),
        Column("age", 8, right=True),
        Column("rate", 7, right=True),
        Column("errors", 6, right=True),
        Column("resent", 6, right=True),
        Column("", max(8, width - 8 - 8 - 7 - 6 - 6 - 6)),
    )
    rows = [_link_row(link, scene.local.old) for link in status.links]
    return (head, *table(columns, rows))


def _link_row(link: LinkStatus, old: bool) -> tuple[Span | str, ...]:
    quiet = header.is_quiet(link, 0.0)
    if not link.connected:
        word, tone = f"✗ lost: {link.cause or 'no answer'}", Tone.HIGH
    elif quiet:
        word, tone = f"◌ old: {link.cause or 'no telemetry'}", Tone.MEDIUM
    else:
        word, tone = "✓ fresh", Tone.NORMAL
    number_tone = Tone.OLD if old or quiet or not link.connected else Tone.NORMAL
    shown_age = "never" if link.age_ms is None else age(link.age_ms)
    return (
        link.name,
        Span(shown_age, number_tone),
        Span(f"{link.rate_hz:.0f}/s", number_tone),
        Span(str(link.crc_errors), number_tone),
        Span(str(link.retransmissions), number_tone),
        Span(word, Tone.OLD if old else tone),
    )


def interlocks_panel(scene: Scene, width: int, room: int) -> Lines:
    """Report by exception: open interlocks in full, the closed ones by name if `room` lines allow, else counted."""
    status = scene.status
    if status is None:
        return (rule("Interlocks", width), line(dim("unknown")))
    open_ones = [interlock for interlock in status.interlocks if not interlock.satisfied]
    closed = [interlock.name for interlock in status.interlocks if interlock.satisfied]
    count = f"{len(closed)} of {len(status.interlocks)} hold"
    lines: list[Line] = [rule("Interlocks", width, dim(count))]
    for interlock in open_ones:
        lines += marked_paragraph(
            Tone.MEDIUM, f"{interlock.name}: {interlock.detail or interlock.sentence}", width
        )
    if closed:
        names = paragraph("✓ " + ", ".join(closed), width, Tone.DIM)
        fits = len(lines) + len(names) <= room
        lines += names if fits else paragraph(f"✓ {len(closed)} others hold", width, Tone.DIM)
    return tuple(lines)


def alarms_panel(scene: Scene, width: int, room: int) -> Lines:
    """Show the most urgent alarms with what to do; how many more there are is always said."""
    status = scene.status
    if status is None:
        return (rule("Alarms", width), line(dim("unknown")))
    alarms = ordered_alarms(status)
    lines: list[Line] = [rule("Alarms", width, dim(str(len(alarms)) if alarms else "none"))]
    for shown, alarm in enumerate(alarms):
        text = (
            *paragraph(
                f"{PRIORITY_MARK[alarm.priority]} {alarm.text}",
                width,
                PRIORITY_TONE[alarm.priority],
            ),
            *paragraph(f"do: {alarm.what_to_do}", width, indent=2),
        )
        if len(lines) + len(text) > room - 1 and shown > 0:
            lines.append(line(dim(f"and {len(alarms) - shown} more: F7")))
            break
        lines += text
    return tuple(lines)


def devices_panel(scene: Scene, width: int) -> Lines:
    """Show couch, imager, pendant and beam gate, each in a line or two."""
    status = scene.status
    head = rule("Devices", width)
    if status is None:
        return (head, line(dim("unknown")))
    columns = (Column("", 8), Column("", max(20, width - 10)))
    assurance = _assurance(status)
    watched = target.short(status)
    rows = (
        ("couch", _couch(status, scene)),
        *((("", assurance),) if assurance is not None else ()),
        ("imager", _imager(status, scene)),
        ("pendant", _pendant(status, scene)),
        ("beam", _gate(status)),
        *((("target", watched),) if watched is not None else ()),
    )
    return (head, *table(columns, rows, head=False))


def _couch(status: SupervisorStatus, scene: Scene) -> Span:
    couch = status.couch
    if couch is None:
        return marked(Tone.MEDIUM, "never heard")
    if couch.faults:
        return marked(Tone.HIGH, f"{couch.state}: {', '.join(couch.faults)}")
    if couch.moving and status.state not in (LoopState.ARMED, LoopState.MOVING, LoopState.HELD):
        return marked(Tone.MEDIUM, "MOVES BY HAND: keys or reference run, no approved path")
    text = f"{couch.state}, {'brakes on' if couch.brakes_on else 'brakes off'}"
    return _aged(text, couch.stale, couch.age_ms, scene)


def _assurance(status: SupervisorStatus) -> Span | None:
    """What this couch cannot promise, counted; the motion screen names it."""
    missing = status.couch.assurance if status.couch is not None else ()
    if not missing:
        return None
    return marked(Tone.MEDIUM, f"REDUCED ASSURANCE ({len(missing)}): F6")


def _imager(status: SupervisorStatus, scene: Scene) -> Span:
    imager = status.imager
    if imager is None:
        return marked(Tone.MEDIUM, "never heard")
    if imager.faults:
        return marked(Tone.HIGH, f"{imager.state}: {', '.join(imager.faults)}")
    door = "door closed" if imager.door_closed else "DOOR OPEN"
    text = f"{imager.state}, panel {imager.arms}, {imager.gantry_deg:.1f} deg, {door}"
    return _aged(text, imager.stale, imager.age_ms, scene)


def _pendant(status: SupervisorStatus, scene: Scene) -> Span:
    pendant = status.pendant
    if pendant is None:
        return marked(Tone.MEDIUM, "never heard")
    if pendant.estop:
        return marked(Tone.HIGH, "E-STOP pressed")
    words = {
        "released": "enable released",
        "enabled": "enable HELD",
        "squeezed": "enable SQUEEZED through: stop",
    }
    return _aged(words[pendant.enable_position], pendant.stale, pendant.age_ms, scene)


def _gate(status: SupervisorStatus) -> Span:
    if status.couch is None:
        return dim("unknown")
    held = target.held_because(status)
    if held:
        return marked(Tone.HIGH, f"HELD: {held.removeprefix(target.INTERLOCK)}")
    if status.couch.beam_gate_energised:
        return strong("gate energised: beam may be given")
    return Span("held off")


def _aged(text: str, stale: bool, age_ms: float, scene: Scene) -> Span:
    if stale:
        return Span(f"◌ {text} (old: {age(age_ms)})", Tone.OLD)
    return Span(text, Tone.OLD if scene.local.old else Tone.NORMAL)


def shift_panel(scene: Scene, width: int) -> Lines:
    """Show the proposed shift in a few lines, or say that there is none."""
    status = scene.status
    head = rule("Proposed shift", width)
    if status is None or status.proposal is None:
        return (head, line(dim("none")))
    content = status.proposal.content
    shift = content.registration.correction
    waits = status.state in (LoopState.CHECKED, LoopState.APPROVED)
    expires = scene.expires_in_s() if waits else None
    return (
        head,
        line(
            f"lat {signed(shift.lateral_mm, 'mm')}  lng {signed(shift.longitudinal_mm, 'mm')}  "
            f"vrt {signed(shift.vertical_mm, 'mm')}"
        ),
        line(
            f"rtn {signed(shift.rotation_deg, 'deg')}  pitch {signed(shift.pitch_deg, 'deg')}  "
            f"roll {signed(shift.roll_deg, 'deg')}"
        ),
        line(
            dim("clearance "),
            unsigned(content.clearance.minimum_mm, "mm"),
            *((dim("  expires in "), countdown(expires)) if expires is not None else ()),
        ),
        line(
            *(
                (dim("approvals "), f"{len(status.approvals)} of {content.approvals_needed}   ")
                if waits
                else ()
            ),
            dim("digest "),
            status.proposal.digest[:12],
        ),
    )


def session_panel(scene: Scene, width: int) -> Lines:
    """Show who works here, in which mode, and how far the record has grown."""
    status, user = scene.status, scene.local.user
    name = user.named if user else "nobody"
    head = rule("Session", width)
    if status is None:
        return (head, line(dim("user        "), name))
    permission = "given" if status.permission else "not given"
    lease = age(status.terminal_age_ms) if status.terminal_age_ms is not None else "none"
    images = duration(scene.image_age_s() or 0.0) if status.image_age_s is not None else "none"
    return (
        head,
        line(dim("user        "), name),
        line(dim("machine     "), f"{status.machine}, ", _mode(status)),
        line(dim("permission  "), permission, dim("   terminal lease "), lease),
        line(dim("images      "), images, dim("   record "), f"{status.record_entries} entries"),
        *dose_lines(status),
    )


def _mode(status: SupervisorStatus) -> Span:
    if status.mode == "clinical rehearsal":
        return Span(status.mode)
    return marked(Tone.MEDIUM, f"{status.mode.upper()} MODE")


def dose_lines(status: SupervisorStatus) -> Lines:
    """Say what imaging has cost this patient: an estimate, with how far it may be wrong."""
    dose = status.dose
    if dose is None:
        return ()
    words = (
        f"{dose.skin_mGy_fraction:.2g} mGy skin this fraction, {dose.skin_mGy_course:.2g} mGy course "
        f"(estimate, x{dose.uncertainty_factor:g})"
    )
    warned = bool(dose.warnings or dose.repeat)
    return (line(dim("dose        "), marked(Tone.MEDIUM, words) if warned else Span(words)),)


def alara_lines(status: SupervisorStatus | None, width: int) -> Lines:
    """What to think of before exposing: the dose so far and of the next pair, hints, what a repetition has to say."""
    dose = status.dose if status is not None else None
    if dose is None:
        return ()
    lines: list[Line] = [line(""), rule("Dose: as low as reasonably achievable", width)]
    lines += paragraph(
        f"The next pair adds about {dose.skin_mGy_next_pair:.2g} mGy to the skin. So far "
        f"{dose.skin_mGy_fraction:.2g} mGy in this fraction and {dose.skin_mGy_course:.2g} mGy in the course, in "
        f"{dose.exposures_in_course} exposures; {dose.pairs_usual} pair(s) a fraction are usual. Estimates, wrong by a "
        f"factor of {dose.uncertainty_factor:g} either way.",
        width,
    )
    for words in (dose.repeat, *dose.warnings):
        if words:
            lines += marked_paragraph(Tone.MEDIUM, words, width)
    for words in dose.alara:
        lines += paragraph(f"think of: {words}", width, Tone.DIM)
    return tuple(lines)
