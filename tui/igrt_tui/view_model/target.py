"""The target while the beam may be on: where it is against its limit, its trace over the views, what it costs, and why
the beam is held.

Nothing here is a breathing signal: the system has none. The trace has one place for each view, and views come every few
seconds.
"""

from dataclasses import dataclass

from igrt_hw.models.monitoring import TargetView
from igrt_hw.models.status import LoopState, SupervisorStatus
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import duration, signed_number, unsigned
from igrt_tui.view_model.text import (
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
)

BEAM_TIME = (LoopState.VERIFIED, LoopState.BEAM_READY)
HELD_WORDS = "beam held: "
INTERLOCK = "Target Position: "
NAMES = ("lat", "lng", "vrt")
MARKERS_MIN = 2
TRACE_MAX = 120
SPOKEN_VIEWS = 6
BLIND, BEYOND = "?", "×"
_LEVELS = "▁▂▃▄▅▆▇█"
SAME_SIGHT_US = 300_000
"""The age of a sight comes rounded and from another instant than the status: two within this are one."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One view: its number, and how far from its planned place the target was, mm; None: it was not seen."""

    view: int
    distance_mm: float | None


@dataclass(frozen=True, slots=True)
class Trace:
    """The views of one watch, oldest first, and when the target was last seen, on the supervisor's clock."""

    sights: tuple[Sight, ...] = ()
    seen_us: int | None = None

    def with_status(self, status: SupervisorStatus | None) -> "Trace":
        """Take what a status knows; a watch that ended, or began anew, begins anew."""
        target = status.target if status else None
        if status is None or target is None:
            return Trace()
        last = self.sights[-1].view if self.sights else 0
        kept = self if target.views >= last else Trace()
        if target.views == 0:
            return kept
        fresh = _seen_us(status, target)
        news = fresh is not None and (kept.seen_us is None or fresh - kept.seen_us > SAME_SIGHT_US)
        sights = kept.sights
        if not sights or sights[-1].view < target.views:
            sights = (*sights, Sight(target.views, None))
        if news:
            sights = (*sights[:-1], Sight(target.views, target.distance_mm))
        if sights == kept.sights and not news:
            return kept
        return Trace(sights[-TRACE_MAX:], fresh if news else kept.seen_us)

    def drawn(self, limit_mm: float, width: int, waiting: bool) -> str:
        """One character for each view, the last ones: its height is the distance, full at the limit."""
        shown = self.sights[:-1] if waiting and self.sights else self.sights
        return "".join(_character(sight, limit_mm) for sight in shown[-max(1, width) :])


def _seen_us(status: SupervisorStatus, target: TargetView) -> int | None:
    return None if target.seen_age_s is None else status.now_us - round(target.seen_age_s * 1e6)


def _character(sight: Sight, limit_mm: float) -> str:
    if sight.distance_mm is None:
        return BLIND
    if sight.distance_mm > limit_mm:
        return BEYOND
    return _LEVELS[min(7, int(sight.distance_mm / max(limit_mm, 1e-9) * 8))]


def shown(status: SupervisorStatus | None) -> bool:
    """Whether the target is what matters now: it is watched, or the position is verified."""
    return status is not None and (status.target is not None or status.state in BEAM_TIME)


def held_because(status: SupervisorStatus) -> str:
    """Why the supervisor has withdrawn the beam; empty if it did not, or if somebody has to release it first."""
    held = status.state is LoopState.VERIFIED and status.reason.startswith(HELD_WORDS)
    return status.reason.removeprefix(HELD_WORDS) if held else ""


def short(status: SupervisorStatus) -> Span | None:
    """For the console, in one line; None while nobody watches the target."""
    target = status.target
    if target is None:
        return None
    if target.problem and target.problem not in held_because(status):
        return marked(Tone.HIGH if target.views else Tone.MEDIUM, target.problem)
    return Span(f"watched, {_distance(target)}, {_ago(target)}")


def target_panel(scene: Scene, trace: Trace, width: int, *, spoken: bool = False) -> Lines:
    """Where the target is, the trace of the views, what the beam waits for, and the dose of watching.

    `spoken`: the trace in numbers instead of characters.
    """
    status = scene.status
    if status is None:
        return (rule("Target and beam", width), line(dim("unknown")))
    target = status.target
    note = dim(f"view {target.views}, {target.views_left} left") if target else None
    lines: list[Line] = [rule("Target and beam", width, note), *_beam(status, width)]
    if target is None:
        return (*lines, *paragraph(_unwatched(status), width, Tone.DIM))
    if target.problem and target.problem not in held_because(status):
        lines += marked_paragraph(Tone.HIGH, target.problem, width)
    old = scene.local.old
    lines += _where(target, old, width)
    lines += _unsure(target, width)
    waiting = status.activity is not None and status.activity.name == "monitoring"
    dose = f"{target.dose_area_uGycm2:.1f} uGycm2"
    if spoken:
        return (*lines, _last_views(trace, waiting), line(dim("dose of watching "), dose))
    drawn = trace.drawn(target.limit_mm, width - 10 - len(dose) - 8, waiting)
    lines.append(line(dim("trace "), Span(drawn or "no view yet"), dim("   dose "), dose))
    return tuple(lines)


def _last_views(trace: Trace, waiting: bool) -> Line:
    shown = trace.sights[:-1] if waiting else trace.sights
    words = [
        "not seen" if sight.distance_mm is None else f"{sight.distance_mm:.1f}"
        for sight in shown[-SPOKEN_VIEWS:]
    ]
    return line(dim("last views, mm from the planned place: "), ", ".join(words) or "none yet")


def _beam(status: SupervisorStatus, width: int) -> Lines:
    held = held_because(status)
    if held:
        return marked_paragraph(Tone.HIGH, f"BEAM HELD: {held}", width)
    if status.couch is not None and status.couch.beam_gate_energised:
        return (line(marked(Tone.MEDIUM, "gate energised: beam may be given")),)
    return (line(dim("beam held off")),)


def _unwatched(status: SupervisorStatus) -> str:
    markers = len(status.plan.markers) if status.plan else 0
    if markers < MARKERS_MIN:
        return f"Target not watched: the plan has {markers} marker(s), {MARKERS_MIN} are needed."
    return "Target not watched; w on the console watches it by its markers."


def _where(target: TargetView, old: bool, width: int) -> Lines:
    if target.deviation_mm is None:
        return (line(dim("not seen yet")),)
    values = "  ".join(
        f"{name} {signed_number(value)}"
        for name, value in zip(NAMES, target.deviation_mm, strict=True)
    )
    tone = Tone.OLD if old or not target.seen else Tone.STRONG
    return paragraph(f"{values} mm: {_distance(target)}, {_ago(target)}", width, tone)


def _unsure(target: TargetView, width: int) -> Lines:
    """Name the directions that the views do not tell: along the beam of a source that stands still nothing is seen."""
    unsure = [
        f"{name} ±{sigma:.1f} mm"
        for name, sigma in zip(NAMES, target.sigma_mm or (), strict=False)
        if 2.0 * sigma > target.limit_mm
    ]
    if not unsure:
        return ()
    return marked_paragraph(Tone.MEDIUM, f"hardly known: {', '.join(unsure)}", width)


def _distance(target: TargetView) -> str:
    if target.distance_mm is None:
        return "not seen yet"
    return f"{target.distance_mm:.1f} of {unsigned(target.limit_mm, 'mm')} off"


def _ago(target: TargetView) -> str:
    if target.seen_age_s is None:
        return "never seen"
    return f"seen {duration(max(0.0, target.seen_age_s))} ago"
