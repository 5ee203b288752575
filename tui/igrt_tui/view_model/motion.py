"""The move: commanded against actual per axis, progress, enable, lease, clearance, and how to stop."""

from igrt_hw.models.proposal import ClearanceStrip
from igrt_hw.models.status import CouchView, LoopState
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import age, bar, signed_number, unsigned
from igrt_tui.view_model.text import (
    Column,
    Line,
    Lines,
    Span,
    Tone,
    dim,
    key,
    line,
    marked_paragraph,
    paragraph,
    rule,
    strong,
    table,
    toned,
)

LAG_NOTICE = {"mm": 1.0, "deg": 0.5}
CHANNEL_NOTICE = {"mm": 0.5, "deg": 0.2}
PACE_US = 2_000_000
PACE_LEAST_US = 400_000


def axes_panel(scene: Scene, width: int) -> Lines:
    """Show per axis: target, commanded, actual, what remains, and the second channel."""
    head = rule("Couch axes, live", width)
    status = scene.status
    if status is None or status.couch is None:
        return (head, line(dim("the couch was never heard")))
    couch = status.couch
    target = status.proposal.content.target_axes if status.proposal else None
    columns = (
        Column("axis", 16),
        Column("target", 10, right=True),
        Column("commanded", 10, right=True),
        Column("actual", 10, right=True),
        Column("to go", 9, right=True),
        Column("lag", 8, right=True),
        Column("2nd channel", max(14, width - 16 - 10 * 3 - 9 - 8 - 7)),
    )
    rows = [_axis_row(couch, index, target) for index in range(len(couch.axis_names))]
    body = table(columns, rows)
    return (head, *(toned(body, Tone.OLD) if couch.stale or scene.local.old else body))


def _axis_row(
    couch: CouchView, index: int, target: tuple[float, ...] | None
) -> tuple[Span | str, ...]:
    unit = couch.axis_units[index]
    actual, commanded = couch.primary[index], couch.commanded[index]
    lag = commanded - actual
    between = couch.secondary[index] - actual
    agree = abs(between) <= CHANNEL_NOTICE[unit]
    second = (
        f"✓ agrees {signed_number(between)}" if agree else f"▲ DIFFERS {signed_number(between)}"
    )
    return (
        f"{couch.axis_names[index]} {unit}",
        signed_number(target[index]) if target else "none",
        signed_number(commanded),
        strong(signed_number(actual)),
        signed_number(target[index] - actual) if target else "none",
        Span(signed_number(lag), Tone.NORMAL if abs(lag) <= LAG_NOTICE[unit] else Tone.MEDIUM),
        Span(second, Tone.NORMAL if agree else Tone.HIGH),
    )


Sample = tuple[int, float]
"""The supervisor's clock in microseconds and the share of the path that is behind the couch."""


def with_sample(samples: tuple[Sample, ...], scene: Scene) -> tuple[Sample, ...]:
    """Add where the couch stands now; what is older than two seconds, or of another move, is left away."""
    status = scene.status
    if status is None or status.couch is None or not status.couch.moving:
        return ()
    now = (status.now_us, status.couch.path_fraction)
    if samples and (now[0] < samples[-1][0] or now[1] < samples[-1][1]):
        return (now,)
    kept = tuple(sample for sample in samples if now[0] - sample[0] <= PACE_US)
    return kept if kept and kept[-1] == now else (*kept, now)


def time_left_s(samples: tuple[Sample, ...]) -> float | None:
    """Return the seconds that the rest takes at the pace of the last ones; None while there is no pace to tell.

    A move ends slower than it runs, so it is said as `about`.
    """
    if len(samples) < 2:
        return None
    (begin_us, begin), (end_us, end) = samples[0], samples[-1]
    if end_us - begin_us < PACE_LEAST_US or end <= begin:
        return None
    return (1.0 - end) * (end_us - begin_us) / 1e6 / (end - begin)


def _time_words(state: LoopState, left_s: float | None) -> str:
    if state is not LoopState.MOVING:
        return "time left: not moving"
    return "time left: not known yet" if left_s is None else f"about {left_s:.0f} s left"


def clearance_words(strip: ClearanceStrip, fraction: float) -> str:
    """Say the clearance where the couch stands, from the checked path, and the least of what is ahead."""
    last = len(strip.profile_mm) - 1
    whole = f"{unsigned(strip.minimum_mm, 'mm')} on the whole path, {' to '.join(strip.pair)}"
    if last < 1:
        return f"clearance at least {whole}"
    at = min(last, max(0, int(fraction * last)))
    here, ahead = min(strip.profile_mm[at : at + 2]), min(strip.profile_mm[at:])
    return f"clearance here {unsigned(here, 'mm')}, ahead at least {unsigned(ahead, 'mm')}; {whole}"


def progress_panel(scene: Scene, width: int, left_s: float | None = None) -> Lines:
    """Show how far along the approved path the couch stands, the time left, and what it waits for."""
    head = rule("Approved path", width)
    status = scene.status
    if status is None or status.couch is None:
        return (head, line(dim("unknown")))
    couch = status.couch
    tone = Tone.OLD if couch.stale or scene.local.old else Tone.STRONG
    lines: list[Line] = [
        head,
        line(
            Span(bar(couch.path_fraction, max(8, width - 32)), tone),
            f" {couch.path_fraction * 100:.0f} %  ",
            Span(_time_words(status.state, left_s), tone),
        ),
    ]
    lines += paragraph(_waits_for(status.state, couch), width, Tone.STRONG)
    if status.proposal is not None:
        strip = status.proposal.content.clearance
        lines += paragraph(clearance_words(strip, couch.path_fraction), width)
    return tuple(lines)


def _waits_for(state: LoopState, couch: CouchView) -> str:
    if couch.stop_cause and state in (LoopState.HELD, LoopState.FAULT):
        return f"Stopped: {couch.stop_cause}."
    words = {
        LoopState.ARMED: "Armed. The couch moves while the pendant's enable is held.",
        LoopState.MOVING: "Moving. Release the enable to stop, press Esc to HOLD.",
        LoopState.HELD: "Held. Hold the enable again to go on along the approved path.",
        LoopState.ARRIVED: "Arrived. Take the verification pair (F2, then i).",
        LoopState.VERIFIED: "Arrived and verified.",
        LoopState.BEAM_READY: "Arrived, verified, beam ready.",
    }
    return words.get(state, "Nothing is armed; the couch does not move.")


def permission_panel(scene: Scene, width: int) -> Lines:
    """Show everything that lets the couch move, each with whether it is there."""
    head = rule("What lets the couch move", width)
    status = scene.status
    if status is None or status.couch is None:
        return (head, line(dim("unknown")))
    couch = status.couch
    rows = (
        (
            "approved and armed",
            status.state in (LoopState.ARMED, LoopState.MOVING, LoopState.HELD),
            "",
        ),
        ("permission", status.permission, ""),
        ("enable held", couch.enable_held, "squeezed through" if couch.enable_panic else ""),
        ("lease fresh", couch.lease_fresh, ""),
        ("no E-stop", not couch.estop, "E-STOP pressed" if couch.estop else ""),
        ("no touch", not couch.touch_guard, "touch-guard pressed" if couch.touch_guard else ""),
        ("referenced", couch.referenced, ""),
    )
    old = couch.stale or scene.local.old
    lines: list[Line] = [head]
    for name, there, detail in rows:
        mark = "✓" if there else "·"
        tone = Tone.OLD if old else Tone.HIGH if detail else Tone.STRONG if there else Tone.DIM
        lines.append(line(Span(f"{mark} {name:<20}{'yes' if there else 'no'}  {detail}", tone)))
    brakes = "on" if couch.brakes_on else "off"
    lines.append(
        line(
            dim("brakes "),
            brakes,
            dim("  drives "),
            couch.drive_state,
            dim("  age "),
            age(couch.age_ms),
        )
    )
    return tuple(lines)


def hold_panel(scene: Scene, width: int) -> Lines:
    """Say how to stop, always in the same place."""
    return (
        rule("To stop", width),
        line(
            key(" Esc "),
            strong(" or "),
            key(" F12 "),
            strong(" HOLD: works on every screen, at once"),
        ),
        line(dim("or let the enable go, or press the red button")),
    )


def pendant_panel(scene: Scene, width: int) -> Lines:
    """Show the simulated pendant of the demo, kept apart from the console proper."""
    local = scene.local
    if not local.pendant.available or scene.simulator is not True:
        return (
            rule("Pendant", width),
            *paragraph(
                "The enable is a switch in your hand. This screen cannot press it.", width, Tone.DIM
            ),
        )
    held = local.pendant.held_until_us > local.now_us
    state = strong("■ HELD") if held else Span("□ released")
    lines: list[Line] = [
        rule("SIMULATED pendant (demo only)", width),
        line(key(" space "), " keep pressed to hold the enable   ", state),
        *paragraph(
            "A real pendant is in your hand, not on this screen. Here any other key lets go at once; "
            "a key let up is noticed only 0.7 s after its last repeat.",
            width,
            Tone.DIM,
        ),
    ]
    if local.pendant.problem:
        lines += marked_paragraph(Tone.MEDIUM, local.pendant.problem, width)
    return tuple(lines)


def verification_panel(scene: Scene, width: int) -> Lines:
    """Show what proved, or did not prove, that the couch arrived."""
    head = rule("Arrival", width)
    verification = scene.status.verification if scene.status else None
    if verification is None:
        return (head, line(dim("not verified")))
    if verification.passed:
        words = marked_paragraph(Tone.OK, "VERIFIED", width)
    elif verification.image_residual is None:
        words = marked_paragraph(Tone.INFO, f"not yet: {verification.reason}", width)
    else:
        words = marked_paragraph(Tone.HIGH, f"NOT VERIFIED: {verification.reason}", width)
    image = (
        f"images {unsigned(verification.image_residual_mm, 'mm')} "
        f"{unsigned(verification.image_residual_deg or 0.0, 'deg')}, "
        if verification.image_residual_mm is not None
        else ""
    )
    apart_mm, apart_deg = verification.channel_difference_mm, verification.channel_difference_deg
    channels = (
        "no second position channel (reduced assurance)"
        if apart_mm is None or apart_deg is None
        else f"channels {unsigned(apart_mm, 'mm')} {unsigned(apart_deg, 'deg')}"
    )
    return (
        head,
        *words,
        *paragraph(
            f"pose {unsigned(verification.pose_error_mm, 'mm')} {unsigned(verification.pose_error_deg, 'deg')}, "
            f"{channels}, {image}tolerance "
            f"{unsigned(verification.tolerance_mm, 'mm')} {unsigned(verification.tolerance_deg, 'deg')}",
            width,
        ),
    )
