"""Pictures of the screens for the documentation, drawn without a terminal from the rehearsed session.

Deterministic: the clock stands still, and the identifiers that Textual puts into an SVG at random are made stable.
"""

import asyncio
import re
import sys
from pathlib import Path

from igrt_hw.models.status import LoopState
from igrt_tui import rehearsal
from igrt_tui.app import OperatorApp

SIZE = (120, 36)
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


def draw(file: Path, screen: str, theme: str) -> int:
    """Write one screen as an SVG; return an exit code."""
    if screen not in SCREENS:
        sys.stderr.write(f"there is no picture '{screen}'; there are: {', '.join(SCREENS)}\n")
        return 2
    svg = asyncio.run(picture_of(screen, theme))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(svg, encoding="utf-8")
    return 0


async def picture_of(screen: str, theme: str = "dark") -> str:
    """Return the SVG of a screen."""
    state, keys = SCREENS[screen]
    app = OperatorApp(
        rehearsal.RehearsedSupervisor(rehearsal.status(state)),
        username="rehearsal",
        password=rehearsal.PASSWORD,
        address="http://127.0.0.1:8421",
        theme=theme,
        clock_us=lambda: rehearsal.NOW_US,
    )
    async with app.run_test(size=SIZE) as pilot:
        for key in ("", "enter", *keys):
            if key:
                await pilot.press(key)
            for _ in range(8):
                await pilot.pause(0.05)
        app.answer(None)
        app.draw()
        await pilot.pause()
        return stable(app.export_screenshot(title="igrt-hw, rehearsed session"))


def stable(svg: str) -> str:
    """Replace the random identifiers of an exported screen."""
    return re.sub(r"terminal-\d+", "terminal-0", svg)
