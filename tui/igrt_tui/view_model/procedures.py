"""Recovery and egress: one procedure, step by step, the present step marked."""

from collections.abc import Sequence

from igrt_hw.models.procedures import Procedure
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import (
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
)


def asked_for(scene: Scene, procedures: Sequence[Procedure]) -> Procedure | None:
    """Return the procedure that the state asks for, None if it asks for none or its text has not come yet."""
    name = scene.status.procedure if scene.status else ""
    return next((found for found in procedures if found.name == name), None) if name else None


def first_words(scene: Scene, procedures: Sequence[Procedure], width: int) -> Lines:
    """For the console: that there is a procedure, its first step, and the key that shows it."""
    if scene.status is None or not scene.status.procedure:
        return ()
    found = asked_for(scene, procedures)
    title = found.title if found else f"procedure '{scene.status.procedure}'"
    lines: list[Line] = [
        *marked_paragraph(Tone.MEDIUM, f"Recovery: {title}", width),
    ]
    if found:
        lines += paragraph(f"1. {found.steps[0]}", width, indent=2)
    lines.append(line("  ", key("p"), " shows it step by step"))
    return tuple(lines)


def procedure_panel(procedure: Procedure, step: int, asked: bool, width: int) -> Lines:
    """Show all steps, those done in grey with a tick, the present one marked; the next ones can be read ahead."""
    note = Span("▲ what this state asks for", Tone.MEDIUM) if asked else None
    lines: list[Line] = [rule(procedure.title, width, note)]
    lines += paragraph(procedure.when, width, Tone.DIM)
    lines.append(line(""))
    for number, words in enumerate(procedure.steps, start=1):
        done, now = number - 1 < step, number - 1 == step
        tone = Tone.DIM if done else Tone.STRONG if now else Tone.NORMAL
        mark = "✓" if done else "▶" if now else " "
        body = paragraph(words, width, tone, indent=6)
        lines.append((Span(f"{mark} {number:>2}. ", tone), Span(body[0][0].text[6:], tone)))
        lines += body[1:]
    lines.append(line(""))
    if step >= len(procedure.steps):
        lines.append(line(dim("All steps are done here. ← goes back.")))
    return tuple(lines)


def list_panel(procedures: Sequence[Procedure], chosen: int, problem: str, width: int) -> Lines:
    """List the procedures by title."""
    head = rule("Procedures", width)
    if problem and not procedures:
        words = f"{problem} They are also in docs/safety/recovery.md; print it and hang it up."
        return (head, *marked_paragraph(Tone.MEDIUM, words, width))
    if not procedures:
        return (head, line(dim("asking the supervisor ...")))
    lines: list[Line] = [head]
    for index, procedure in enumerate(procedures):
        tone = Tone.STRONG if index == chosen else Tone.NORMAL
        body = paragraph(procedure.title, width, tone, indent=2)
        mark = "▶ " if index == chosen else "  "
        lines += [(Span(mark, tone), Span(body[0][0].text[2:], tone)), *body[1:]]
    return tuple(lines)
