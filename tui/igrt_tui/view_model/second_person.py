"""The words of the second sign-in: who has approved, and what the second person does."""

from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import Line, Lines, Tone, dim, line, marked, paragraph, rule, strong


def notice(scene: Scene, width: int) -> Lines:
    """Say whose approval is there and what is asked of the second person; never what the first one typed."""
    status = scene.status
    lines: list[Line] = [rule("A second person approves this shift", width), line("")]
    if status is None or status.proposal is None:
        return (*lines, line(dim("there is no shift")))
    needed = status.proposal.content.approvals_needed
    for given in status.approvals:
        words = f"{given.username} ({given.role}) approved at {given.approved_utc[11:16]}"
        lines.append(line(marked(Tone.OK, words)))
    missing = needed - len(status.approvals)
    lines.append(line(strong(f"{missing} of {needed} approvals missing")))
    lines.append(line(""))
    user = scene.local.user
    here = f"{user.named} stays signed in. " if user else ""
    lines += paragraph(
        f"{here}Another person signs in here with their own name and password, reads the shift on the next screen and "
        "types another of its numbers than the first. Do not read it out to each other: two who read "
        "find what one overlooks. Their session ends with the approval, or when this is left.",
        width,
    )
    return tuple(lines)
