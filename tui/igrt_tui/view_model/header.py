"""The four lines that are on every screen: what this is, the worst alarm, who lies there, where the loop stands."""

from igrt_hw.models.status import (
    Alarm,
    AlarmPriority,
    LinkStatus,
    LoopState,
    SupervisorStatus,
)
from igrt_tui.view_model.acts import occupied
from igrt_tui.view_model.local import HEIGHT_MIN, WIDTH_MIN, Answer, AnswerTone, Local, Scene
from igrt_tui.view_model.numbers import age
from igrt_tui.view_model.text import Line, Lines, Span, Tone, dim, key, line, marked, strong

PRIORITY_TONE = {
    AlarmPriority.HIGH: Tone.HIGH,
    AlarmPriority.MEDIUM: Tone.MEDIUM,
    AlarmPriority.LOW: Tone.LOW,
}
PRIORITY_MARK = {AlarmPriority.HIGH: "***", AlarmPriority.MEDIUM: "**", AlarmPriority.LOW: "*"}
QUIET_LINK_MS = 150.0
"""With a status every 50 ms and a drawing every 50 ms, a line that falls silent is on the screen within 250 ms."""
PERIODS_QUIET = 3.0
_ORDER = [AlarmPriority.HIGH, AlarmPriority.MEDIUM, AlarmPriority.LOW]

Keys = tuple[tuple[str, str], ...]

STATE_WORDS = {
    LoopState.IDLE: "no patient",
    LoopState.PATIENT_BOUND: "patient and plan bound",
    LoopState.SETUP: "patient set up",
    LoopState.IMAGED: "images taken",
    LoopState.REGISTERED: "images registered",
    LoopState.PROPOSED: "shift proposed, being checked",
    LoopState.CHECKED: "shift checked, not approved",
    LoopState.APPROVED: "shift approved",
    LoopState.ARMED: "armed, waits for the enable",
    LoopState.MOVING: "COUCH MOVING",
    LoopState.HELD: "held, rest of the move remains",
    LoopState.ARRIVED: "arrived, not verified",
    LoopState.VERIFIED: "position verified",
    LoopState.BEAM_READY: "beam ready",
    LoopState.REJECTED: "shift rejected",
    LoopState.EXPIRED: "shift expired",
    LoopState.SUPERSEDED: "shift superseded",
    LoopState.FAULT: "FAULT, latched",
}


def banner(scene: Scene) -> str:
    """Return the words of the first line: what is at the other end of the line, and what this is not."""
    if scene.simulator is None:
        return "NOT CONNECTED  ·  NOT A MEDICAL DEVICE"
    if scene.simulator:
        return "▒▒▒ SIMULATOR ▒▒▒  NOT A MEDICAL DEVICE  ·  no patient, no radiation  ▒▒▒ SIMULATOR ▒▒▒"
    links = scene.status.links if scene.status else ()
    ports = "  ".join(f"{link.name} {link.port}" for link in links)
    return f"HARDWARE  {ports}  ·  NOT A MEDICAL DEVICE, NOT FOR PATIENTS"


def head(scene: Scene) -> Lines:
    """Return the four lines at the top of every screen."""
    width = max(1, scene.local.width)
    rest = (alarm_line(scene), identity_line(scene), state_line(scene))
    title = line(Span(banner(scene).center(width), Tone.BANNER))
    return (title, *(line(" ", *of_line) for of_line in rest))


def foot(scene: Scene, title: str, own: Keys, everywhere: Keys) -> Lines:
    """Return the three lines at the foot of every screen: what was answered, the screen's keys, everybody's keys."""
    name = (Span(f"{title.upper()}  ", Tone.TITLE),) if title else ()
    return (
        line(" ", *answer_line(scene.local.answer, scene.local)),
        line(" ", *name, *key_line(own)),
        line(" ", *_everywhere(everywhere, scene.local.width)),
    )


def _everywhere(keys: Keys, width: int) -> Line:
    """Lay the keys out with a space after each if there is room; the ground of a key sets it apart in any case."""
    spaced = key_line(keys, roomy=False)
    if sum(len(span.text) for span in spaced) + 1 <= width:
        return spaced
    tight = key_line(keys[:1], roomy=False)  # HOLD keeps its space: it is read in a hurry
    return (*tight, *(s for name, meaning in keys[1:] for s in (key(name), Span(f"{meaning} "))))


def ordered_alarms(status: SupervisorStatus) -> tuple[Alarm, ...]:
    """Return active alarms, the most urgent first, unacknowledged before acknowledged, newest first."""
    return tuple(
        sorted(
            (alarm for alarm in status.alarms if alarm.active),
            key=lambda a: (_ORDER.index(a.priority), a.acknowledged_by is not None, -a.raised_us),
        )
    )


def is_quiet(link: LinkStatus, more_ms: float) -> bool:
    """Whether a line has said nothing for longer than it should; `more_ms` is the age of the status that says so."""
    if link.age_ms is None:
        return True
    due_ms = PERIODS_QUIET * 1000.0 / link.rate_hz if link.rate_hz > 0.0 else QUIET_LINK_MS
    return link.age_ms + more_ms > max(QUIET_LINK_MS, due_ms)


def _quiet_lines(scene: Scene) -> Line | None:
    """Lines that have just fallen silent, before the supervisor calls them lost."""
    if scene.status is None or scene.local.old:
        return None
    more_ms = max(0.0, scene.local.status_age_ms or 0.0)
    quiet = [
        f"{link.name} {age((link.age_ms or 0.0) + more_ms)}"
        for link in scene.status.links
        if link.connected and link.age_ms is not None and is_quiet(link, more_ms)
    ]
    if not quiet:
        return None
    return line(Span(f"◌ LINE SILENT: {', '.join(quiet)}; its values are old", Tone.MEDIUM))


def alarm_line(scene: Scene) -> Line:
    """Say the worst thing first: an unconfirmed HOLD, lost service, HOLD, a high alarm, a silent line, the rest.

    Who presses HOLD while the service is lost has to read that it did not arrive, and what else stops the couch.
    """
    lost, held = _lost(scene), _hold(scene.local)
    if held and scene.local.hold is not None and scene.local.hold.confirmed_us is None:
        return (*held, *(line(dim("  "), *lost) if lost else ()))
    if lost:
        return lost
    if held:
        return held
    if scene.status is None:
        return line(dim("no status yet"))
    alarms = ordered_alarms(scene.status)
    quiet = _quiet_lines(scene)
    if quiet and not (alarms and alarms[0].priority is AlarmPriority.HIGH):
        return quiet
    if not alarms:
        return line(dim("no alarms"))
    worst = alarms[0]
    tone = PRIORITY_TONE[worst.priority]
    more = f"   (+{len(alarms) - 1} more, F7)" if len(alarms) > 1 else "   (F7)"
    seen = ", silenced" if worst.acknowledged_by else ""
    mark = f"{PRIORITY_MARK[worst.priority]} {worst.priority.upper()}{seen}: {worst.text}"
    return line(Span(mark, tone), dim(more))


def _lost(scene: Scene) -> Line | None:
    local = scene.local
    if local.user is None or not local.old:
        return None
    if local.received_us is None:
        return line(Span(f"{'◌'} WAITING for the supervisor: {local.cause}", Tone.MEDIUM))
    word = "OLD VALUES" if local.connected else "SUPERVISOR LOST"
    cause = "no news from the supervisor" if local.connected else local.cause
    return line(Span(f"◌ {word}: last heard {age(local.status_age_ms)} ago; {cause}", Tone.HIGH))


def _hold(local: Local) -> Line | None:
    report = local.hold
    if report is None:
        return None
    if report.problem:
        return line(
            Span(f"✗ HOLD NOT CONFIRMED. Use the hardware stop NOW. ({report.problem})", Tone.HIGH)
        )
    if report.confirmed_us is None:
        return line(
            Span(
                f"■ HOLD sent {age((local.now_us - report.pressed_us) / 1000)} ago, not confirmed yet",
                Tone.HIGH,
            )
        )
    took = age((report.confirmed_us - report.pressed_us) / 1000)
    if local.now_us - report.confirmed_us < 5_000_000:
        return line(
            Span(f"■ HOLD: STOP confirmed after {took}; permission and plan are void", Tone.MEDIUM)
        )
    return None


def identity_line(scene: Scene) -> Line:
    """Name the patient by two identifiers, the plan, the isocentre and the fraction.

    The identifiers are never cut: where the line is too long, the plan's words go first, then the name is shortened.
    """
    status = scene.status
    if status is None or status.plan is None:
        return line(dim("no patient bound"))
    patient = status.plan.patient
    fraction = f"{status.fraction}/{status.plan.fractions}" if status.fraction else "none"
    who = f"  ID {patient.patient_id}  born {date(patient.birth_date)}  {status.plan.patient_position}"
    plan = f"  plan {status.plan.plan_label}  {status.isocentre_id or 'no isocentre'}  fraction {fraction}"
    room = scene.local.width - 2
    name = patient.name
    if len(name) + len(who) + len(plan) > room:
        plan = f"  {status.isocentre_id or 'no isocentre'}  fx {fraction}"
    if len(name) + len(who) + len(plan) > room:
        name = name[: max(4, room - len(who) - len(plan) - 1)] + "…"
    return line(strong(name), who, dim(plan))


def date(birth_date: str) -> str:
    """Return a DICOM date with dashes; anything else as it is."""
    plain_date = len(birth_date) == 8 and birth_date.isdigit()
    return f"{birth_date[:4]}-{birth_date[4:6]}-{birth_date[6:]}" if plain_date else birth_date


def state_line(scene: Scene) -> Line:
    """Say where the loop stands and what it needs next."""
    status = scene.status
    if status is None:
        return line(dim("state unknown"))
    tone = Tone.OLD if scene.local.old else state_tone(status.state)
    head = Span(f"{status.state.value}  {STATE_WORDS[status.state]}", tone)
    job = occupied(status)
    if job is not None:
        percent = f" {job.fraction * 100:.0f} %" if job.fraction is not None else ""
        return line(head, dim("   now: "), f"{job.name}{percent}  {job.detail}")
    room = scene.local.width - 2
    if len(head.text) + len("   next: ") + len(status.needed_next) > room:
        head = Span(status.state.value, tone)
    return line(head, dim("   next: "), status.needed_next)


def state_tone(state: LoopState) -> Tone:
    """Return the tone of a state: only what is not normal has a colour."""
    if state is LoopState.FAULT:
        return Tone.HIGH
    if state in (LoopState.MOVING, LoopState.REJECTED, LoopState.EXPIRED, LoopState.SUPERSEDED):
        return Tone.MEDIUM
    return Tone.STRONG


SHOWN_US = {  # what was done long ago must not be taken for what was done just now
    AnswerTone.ACCEPTED: 10_000_000,
    AnswerTone.NOTE: 10_000_000,
    AnswerTone.REFUSED: 60_000_000,
    AnswerTone.WORKING: 60_000_000,
}


def answer_line(answer: Answer | None, local: Local) -> Line:
    """Show what was last answered; a terminal that is too small says so first."""
    if local.too_small:
        return line(
            marked(
                Tone.MEDIUM,
                f"terminal is {local.width} x {local.height}; below {WIDTH_MIN} x {HEIGHT_MIN} "
                "nothing can be approved: enlarge it",
            )
        )
    if answer is None or local.now_us - local.answered_us > SHOWN_US[answer.tone]:
        return line("")
    tones = {
        AnswerTone.ACCEPTED: Tone.OK,
        AnswerTone.REFUSED: Tone.MEDIUM,
        AnswerTone.WORKING: Tone.INFO,
        AnswerTone.NOTE: Tone.INFO,
    }
    word = {AnswerTone.REFUSED: "refused: "}.get(answer.tone, "")
    return line(marked(tones[answer.tone], word + answer.text))


def key_line(keys: Keys, *, roomy: bool = True) -> Line:
    """Lay out keys with their meaning."""
    pieces: list[Span] = []
    for name, meaning in keys:
        pieces += [key(name), Span(f" {meaning}  " if roomy else f" {meaning} ")]
    return tuple(pieces)
