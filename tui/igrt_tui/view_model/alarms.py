"""All alarms with what to do, one of them chosen."""

from igrt_hw.models.status import Alarm
from igrt_tui.view_model.header import PRIORITY_MARK, PRIORITY_TONE, ordered_alarms
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import duration
from igrt_tui.view_model.text import Line, Lines, Span, Tone, dim, line, paragraph, rule


def chosen_alarm(scene: Scene, chosen: int) -> Alarm | None:
    """Return the alarm at the cursor, None if there is none."""
    alarms = ordered_alarms(scene.status) if scene.status else ()
    return alarms[min(chosen, len(alarms) - 1)] if alarms else None


def alarms_panel(scene: Scene, width: int, chosen: int) -> Lines:
    """List active alarms: priority in marks and words, age, latch, who silenced it, and what to do."""
    if scene.status is None:
        return (rule("Alarms", width), line(dim("unknown: no status yet")))
    alarms = ordered_alarms(scene.status)
    lines: list[Line] = [rule("Alarms", width, dim(f"{len(alarms)} active"))]
    if not alarms:
        lines.append(line(dim("No alarms. Nothing needs your attention here.")))
    for index, alarm in enumerate(alarms):
        cursor = "▶ " if index == min(chosen, len(alarms) - 1) else "  "
        age_s = max(0.0, (scene.status.now_us - alarm.raised_us) / 1e6)
        state = "latched, " if alarm.latched else ""
        seen = f"silenced by {alarm.acknowledged_by}" if alarm.acknowledged_by else "NOT silenced"
        lines.append(
            line(
                cursor,
                Span(
                    f"{PRIORITY_MARK[alarm.priority]:<3} {alarm.priority.upper():<6}",
                    PRIORITY_TONE[alarm.priority],
                ),
                dim(f"  {duration(age_s)} ago, {state}{seen}"),
            )
        )
        lines += paragraph(alarm.text, width, Tone.STRONG, indent=6)
        lines += paragraph(f"do: {alarm.what_to_do}", width, indent=6)
    lines.append(line(""))
    lines += paragraph(
        "Silencing an alarm never clears it: only a cause that is gone (and a reset, where it is latched) ends it.",
        width,
        Tone.DIM,
    )
    return tuple(lines)
