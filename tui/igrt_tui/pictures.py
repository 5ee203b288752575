"""Pictures of the screens for the documentation, drawn without a terminal from the rehearsed session.

Deterministic: the clock stands still, and the identifiers that Textual puts into an SVG at random are made stable.
"""

import asyncio
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from textual.widgets import Input

from igrt_hw.client import StreamUpdate
from igrt_hw.models.status import LoopState, SupervisorStatus
from igrt_tui import rehearsal, walkthrough
from igrt_tui.app import OperatorApp

SIZE = (120, 36)
STEP_SIZE = (100, 30)
KEY_NAMES = {"+": "plus", "-": "minus", ".": "full_stop"}
SCREENS: dict[str, tuple[LoopState, tuple[str, ...]]] = {
    "console": (LoopState.CHECKED, ()),
    "patient": (LoopState.IDLE, ("o",)),
    "images": (LoopState.CHECKED, ("f3",)),
    "review": (LoopState.CHECKED, ("f4",)),
    "approve": (LoopState.CHECKED, ("f5",)),
    "motion": (LoopState.MOVING, ("f6",)),
    "room": (LoopState.CHECKED, ("f10",)),
    "record": (LoopState.CHECKED, ("f9",)),
    "qa": (LoopState.IDLE, ("ctrl+d",)),
    "trends": (LoopState.CHECKED, ("ctrl+r",)),
    "review_list": (LoopState.CHECKED, ("ctrl+p", "v", "tab", "enter")),
    "procedures": (LoopState.FAULT, ("p", "right")),
    "places": (LoopState.CHECKED, ("ctrl+p",)),
    "fault": (LoopState.FAULT, ()),
}


@dataclass
class Hands:
    """The clock of a picture: it goes on only while somebody types."""

    now_us: int = rehearsal.NOW_US


def draw(file: Path, screen: str, theme: str) -> int:
    """Write one screen as an SVG; return an exit code."""
    if screen not in SCREENS:
        sys.stderr.write(f"there is no picture '{screen}'; there are: {', '.join(SCREENS)}\n")
        return 2
    svg = asyncio.run(picture_of(screen, theme))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(svg, encoding="utf-8")
    return 0


def draw_walkthrough(docs: Path, theme: str) -> int:
    """Write `usability.md` and the picture of every step of it; return an exit code."""
    folder = docs / "img" / "usability"
    folder.mkdir(parents=True, exist_ok=True)
    for number, task in enumerate(walkthrough.TASKS, start=1):
        for step in task.steps:
            svg = asyncio.run(picture_of_step(step, theme))
            (folder / walkthrough.file_name(number, step)).write_text(svg, encoding="utf-8")
    (docs / "usability.md").write_text(walkthrough.markdown(), encoding="utf-8")
    return 0


async def picture_of_step(step: walkthrough.Step, theme: str = "dark") -> str:
    """Return the SVG of one step of the walk-through."""
    keys = tuple(step.keys.split())
    return await picture(step.status(), keys, theme, signed_in=step.signed_in, size=STEP_SIZE)


async def picture_of(screen: str, theme: str = "dark") -> str:
    """Return the SVG of a screen."""
    state, keys = SCREENS[screen]
    return await picture(rehearsal.status(state), keys, theme)


async def picture(
    status: SupervisorStatus,
    keys: tuple[str, ...],
    theme: str,
    *,
    signed_in: bool = True,
    size: tuple[int, int] = SIZE,
) -> str:
    """Press keys one after the other as a hand would, and return the SVG of what is then on the screen.

    Time stands still but for what the keys take: a fifth of a second each, four seconds for `wait`.
    """
    clock, supervisor = Hands(), rehearsal.RehearsedSupervisor(status)
    app = OperatorApp(
        supervisor,
        username="rehearsal",
        password=rehearsal.PASSWORD,
        address="http://127.0.0.1:8421",
        theme=theme,
        clock_us=lambda: clock.now_us,
    )
    async with app.run_test(size=size) as pilot:
        for key in ("", *(("enter", *keys) if signed_in else ())):
            clock.now_us += 4_000_000 if key == "wait" else 200_000 if key in keys else 0
            if supervisor.signed_in is not None:
                # Time passes with the supervisor there: no instant in which its last word looks old.
                app.hear(StreamUpdate(supervisor.now, True, 0.0, False, ""))
            if key not in ("", "wait"):
                await pilot.press(KEY_NAMES.get(key, key))
            for _ in range(2 if len(key) == 1 else 8):
                await pilot.pause(0.05)
        if not keys:
            app.answer(None)
        for found in app.screen.query(Input):
            found.cursor_blink = False
        app.draw()
        await pilot.pause(0.05)
        return stable(app.export_screenshot(title="igrt-hw, rehearsed session"))


def stable(svg: str) -> str:
    """Replace the random identifiers of an exported screen."""
    return re.sub(r"terminal-\d+", "terminal-0", svg)
