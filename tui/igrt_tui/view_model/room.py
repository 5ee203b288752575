"""Words beside the picture of the room: what it shows, how old it is, who comes closest, and the way to go."""

from igrt_hw.models.room import RoomMap, RoomPicture
from igrt_hw.models.status import LoopState, SupervisorStatus
from igrt_tui.room_picture import CONTACT_MARK, HERE_MARK, OPEN_MARK
from igrt_tui.room_store import RoomStore, Seen
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import age, duration, signed_number, strip, unsigned
from igrt_tui.view_model.text import (
    Line,
    Lines,
    Span,
    Tone,
    dim,
    line,
    marked,
    paragraph,
    rule,
    strong,
)

WARN_MM, STOP_MM = 20.0, 10.0  # where no proposal states its own
MOVED_MM, MOVED_DEG = 1.0, 0.2


def look_words(seen: Seen) -> str:
    """Say from where a picture is taken."""
    question = seen.question
    if question.look == "beam":
        return "along the treatment beam"
    if question.look == "kv":
        return "along the kV beam"
    azimuth, elevation = question.azimuth_deg % 360.0, question.elevation_deg
    known = {
        (0.0, 0.0): "from the foot",
        (90.0, 0.0): "from the side, +X",
        (270.0, 0.0): "from the side, -X",
        (180.0, 0.0): "from the gantry",
        (0.0, 90.0): "from above",
    }
    words = known.get((azimuth, elevation))
    return words or f"orbit {azimuth:.0f} deg, {elevation:+.0f} deg up"


def caption(store: RoomStore, scene: Scene, width: int) -> Lines:
    """Two lines over the picture: what it is and how old; from where and at which pose."""
    seen, now_us = store.seen, scene.local.now_us
    if seen is None:
        words = store.problem or "asking the supervisor for the room ..."
        tone = Tone.MEDIUM if store.problem else Tone.DIM
        return (rule("Room", width), line(marked(tone, words) if store.problem else dim(words)))
    picture = seen.picture
    if picture.path_fraction is not None:
        head = Span(
            f"■ DRY RUN at {picture.path_fraction * 100:.0f} % of the path: NOT LIVE", Tone.MEDIUM
        )
    elif seen.old(now_us):
        cause = f"; {store.problem}" if store.problem else ""
        head = Span(f"◌ OLD: the pose of {age(seen.age_us(now_us) / 1000)} ago{cause}", Tone.HIGH)
    else:
        head = Span(f"live pose, {seen.age_us(now_us) / 1e6:.1f} s old", Tone.STRONG)
    return (
        line(head, dim("   "), look_words(seen)),
        line(
            dim("gantry "),
            f"{picture.gantry_deg:.1f} deg",
            dim("  kV arms "),
            picture.arms,
            dim("  patient "),
            picture.patient,
        ),
    )


def closest_panel(store: RoomStore, scene: Scene, width: int) -> Lines:
    """Name the closest pair of the picture and say how far it is, with the hash of the model that says so."""
    seen = store.seen
    if seen is None:
        return (rule("Closest pair", width), line(dim("unknown")))
    head = rule("Closest pair", width, dim(f"model {seen.picture.model_hash[:8]}"))
    old = seen.old(scene.local.now_us)
    pair = seen.picture.closest
    tone, word = _verdict(pair.lower_mm, scene.status)
    if pair.lower_mm <= 0.0:
        value = f"CONTACT {max(0.0, -pair.lower_mm):.1f} mm deep"
    else:
        value = f"{unsigned(pair.lower_mm, 'mm')} apart{word}"
    lines: list[Line] = [
        head,
        line(Span(" A ", Tone.KEY), " ", Span(pair.parts[0], Tone.OLD if old else Tone.STRONG)),
        line(Span(" B ", Tone.KEY), " ", Span(pair.parts[1], Tone.OLD if old else Tone.STRONG)),
        line(
            Span(f"◌ {value}", Tone.OLD)
            if old
            else marked(tone, value)
            if tone is not Tone.NORMAL
            else strong(value)
        ),
    ]
    return tuple(lines)


def _verdict(lower_mm: float, status: SupervisorStatus | None) -> tuple[Tone, str]:
    clearance = status.proposal.content.clearance if status and status.proposal else None
    warn = clearance.warn_mm if clearance else WARN_MM
    stop = clearance.stop_mm if clearance else STOP_MM
    if lower_mm < stop:
        return Tone.HIGH, f", BELOW STOP {unsigned(stop, 'mm')}"
    if lower_mm < warn:
        return Tone.MEDIUM, f", BELOW WARNING {unsigned(warn, 'mm')}"
    return Tone.NORMAL, ""


def notes_panel(store: RoomStore, width: int, room: int) -> Lines:
    """Say what the picture leaves out, as far as there is room."""
    if store.seen is None:
        return ()
    lines: list[Line] = []
    for note in store.seen.picture.notes:
        lines += paragraph(note, width, Tone.DIM)
    return (
        tuple(lines)
        if len(lines) <= room
        else (*lines[: max(0, room - 1)], line(dim("more under F1")))
    )


def map_head(store: RoomStore, scene: Scene, width: int) -> Lines:
    """Head the clearance map: for which pose it is, and whether the couch has moved since."""
    found = store.map
    if found is None:
        words = store.map_problem or (
            "being computed ..." if store.map_waiting else "m computes it"
        )
        tone = Tone.MEDIUM if store.map_problem else Tone.DIM
        return (rule("Clearance: gantry x couch", width), *paragraph(words, width, tone))
    made = found.made
    since = duration(max(0.0, (scene.local.now_us - found.asked_us) / 1e6 + made.pose_age_ms / 1e3))
    moved = stale_because(store, scene.status)
    if store.map_waiting:
        state = dim("being computed anew ...")
    elif moved:
        state = Span(f"◌ OLD: {moved}; m renews", Tone.MEDIUM)
    else:
        state = Span(f"for the pose of {since} ago", Tone.NORMAL)
    return (rule("Clearance: gantry x couch", width), line(state))


def stale_because(store: RoomStore, status: SupervisorStatus | None) -> str:
    """Say why the map does not hold any more: another model, or a couch that moved; an empty string if it holds."""
    if store.map is None:
        return ""
    made, seen = store.map.made, store.seen
    if (
        seen is not None
        and seen.picture.path_fraction is None
        and seen.picture.model_hash != made.model_hash
    ):
        return f"patient {seen.picture.patient} now"
    return moved_since(made, status)


def moved_since(made: RoomMap, status: SupervisorStatus | None) -> str:
    """Say which axis of the couch left the pose of the map, or an empty string. Its rotation may: it is on the map."""
    couch = status.couch if status else None
    if couch is None:
        return "the couch is not heard"
    for name, unit, then, now in zip(
        made.axis_names, couch.axis_units, made.axes, couch.primary, strict=False
    ):
        if name != "rotation" and abs(now - then) > (MOVED_MM if unit == "mm" else MOVED_DEG):
            return f"{name} moved by {signed_number(now - then)} {unit}"
    arms = status.imager.arms if status and status.imager else None
    return "the kV arms moved" if arms is not None and arms != made.arms else ""


def map_foot(store: RoomStore, scene: Scene, width: int) -> Lines:
    """Explain the marks, and say what the map holds where gantry and couch stand now."""
    found = store.map
    if found is None:
        return ()
    made = found.made
    gantry, rotation = position(scene.status)
    low, high = made.rotation_deg[0], made.rotation_deg[-1]
    across = f"±{high:.0f}" if high == -low else f"{low:.0f} to {high:.0f}"
    lines: list[Line] = [
        line(dim(f"↑ gantry ±180  → rotation {across} deg")),
        line(
            dim(
                f"{CONTACT_MARK} contact  {OPEN_MARK} maybe < {made.margin_mm:g} mm  {HERE_MARK} now"
            )
        ),
    ]
    if gantry is not None and rotation is not None:
        lower, pair = at_position(made, gantry, rotation)
        lines.append(
            line(
                dim("now "),
                f"{gantry + 0.0:.0f} / {round(rotation) + 0.0:.0f} deg: ",
                strong(f"{lower:.0f} mm"),
            )
        )
        lines += paragraph(f"{pair[0]} to {pair[1]}", width, Tone.DIM)
    return tuple(lines)


def position(status: SupervisorStatus | None) -> tuple[float | None, float | None]:
    """Return gantry angle and couch rotation now; None where unknown."""
    if status is None or status.couch is None or status.imager is None:
        return None, None
    couch = status.couch
    turns = [
        v for name, v in zip(couch.axis_names, couch.primary, strict=True) if name == "rotation"
    ]
    return status.imager.gantry_deg, turns[0] if turns else None


def at_position(
    made: RoomMap, gantry_deg: float, rotation_deg: float
) -> tuple[float, tuple[str, str]]:
    """Return what the map holds at its cell nearest to a place: lower bound in mm and the pair."""
    turned = (gantry_deg + 180.0) % 360.0 - 180.0
    row = min(range(len(made.gantry_deg)), key=lambda i: abs(made.gantry_deg[i] - turned))
    column = min(
        range(len(made.rotation_deg)), key=lambda i: abs(made.rotation_deg[i] - rotation_deg)
    )
    return made.lower_mm[row][column], made.pairs[made.pair[row][column]]


def run_panel(scene: Scene, at: float | None, picture: RoomPicture | None, width: int) -> Lines:
    """Show clearance along the planned path as a strip, with the place that the dry run or the couch has reached."""
    proposal = scene.status.proposal if scene.status else None
    if proposal is None:
        return (
            rule("Dry run of the planned path", width),
            line(dim("no path: a proposal makes one (F2, then m)")),
        )
    clearance = proposal.content.clearance
    bar = max(8, width - 12)
    couch = scene.status.couch if scene.status else None
    live = (
        couch.path_fraction
        if couch and scene.status and scene.status.state in _ON_THE_WAY
        else None
    )
    place, what = (at, "dry run") if at is not None else (live, "couch")
    head = rule(
        "Dry run of the planned path", width, dim(f"least {unsigned(clearance.minimum_mm, 'mm')}")
    )
    body = line(dim("now "), strip(clearance.profile_mm, bar), dim(" target"))
    if place is None:
        return (head, body, line(dim("d begins the dry run: nothing moves but this picture")))
    column = min(bar - 1, round(place * (bar - 1)))
    profile = clearance.profile_mm
    here = (
        profile[min(len(profile) - 1, int(place * len(profile)))]
        if profile
        else clearance.minimum_mm
    )
    words = f"{what} at {place * 100:.0f} %: at least {unsigned(here, 'mm')}"
    if picture is not None and picture.path_fraction is not None and at is not None:
        pair = picture.closest
        words = f"{what} at {place * 100:.0f} %: {unsigned(pair.lower_mm, 'mm')}, {pair.parts[0]} to {pair.parts[1]}"
    return (head, body, line(" " * (4 + column), Span("▲", Tone.STRONG)), line(words))


_ON_THE_WAY = (LoopState.MOVING, LoopState.HELD, LoopState.ARRIVED)
