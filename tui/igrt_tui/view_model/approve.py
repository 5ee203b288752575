"""The approval: what is read, what is typed, and what F8 still needs."""

from igrt_tui.approval import Phase, Ritual, steps
from igrt_tui.view_model.local import Local
from igrt_tui.view_model.numbers import countdown
from igrt_tui.view_model.text import (
    Line,
    Lines,
    Span,
    Tone,
    dim,
    key,
    line,
    paragraph,
    rule,
    strong,
)


def challenge_panel(ritual: Ritual, supervisor_us: int | None, width: int) -> Lines:
    """Show the code to be typed and which number is asked for."""
    title = f"Typed by {ritual.username}"
    challenge = ritual.challenge
    if challenge is None:
        return (rule(title, width), line(dim("asking the supervisor for a challenge ...")))
    left = (challenge.expires_us - supervisor_us) / 1e6 if supervisor_us is not None else None
    ends = f"ends in {countdown(left)}" if left is not None else "end unknown"
    code = " ".join(challenge.code)
    return (
        rule(title, width, dim(ends)),
        line(dim("code  "), Span(f" {code} ", Tone.KEY), dim("  no spaces")),
        *paragraph(challenge.fact_prompt, width, Tone.STRONG),
    )


def steps_panel(ritual: Ritual, local: Local, width: int) -> Lines:
    """Show what the approval still needs; F8 is offered only when nothing is missing."""
    lines: list[Line] = [rule("What F8 needs", width)]
    done = True
    for step in steps(ritual, local.now_us):
        mark = "✓" if step.done else "·"
        lines.append(line(Span(f"{mark} {step.words}", Tone.NORMAL if step.done else Tone.DIM)))
        done = done and step.done
    if ritual.phase is Phase.SENDING:
        lines.append(line(strong("sent; waiting for the supervisor's answer")))
    elif done:
        lines.append(line(key(" F8 "), strong(" approves this shift, once")))
    else:
        lines.append(line(dim("F8 does nothing yet")))
    return tuple(lines)
