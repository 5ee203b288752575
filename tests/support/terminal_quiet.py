"""Wait until an app in a test has nothing left to do: by its queues, its jobs and what it still has to draw.

Textual's own `wait_for_idle` waits until the process uses next to no processor time, for up to a second. An app that
hears a status every few milliseconds never gets there, and every key of a test cost seconds of waiting.
"""

from __future__ import annotations

import asyncio
import time

from textual._context import active_app
from textual.app import App
from textual.message_pump import MessagePump
from textual.screen import Screen

LASTING_JOBS = ("status stream", "sign in", "health")
"""What goes on for as long as the app does, or waits for the other end: nobody waits for these."""
TURN_S = 0.002
JOBS_S_MAX = 0.25
"""A job that a test keeps waiting on purpose is not waited for longer than this."""
QUIET_S_MAX = 1.0
TURNS = 3
STREAM_S = 0.012  # the rehearsed supervisor has a status every 10 ms


def _idle(pump: MessagePump) -> bool:
    return (
        pump.message_queue_size == 0 and not pump._next_callbacks and pump._pending_message is None
    )


def _drawn(screen: Screen[object]) -> bool:
    return not (screen._dirty_widgets or screen._layout_required or screen._callbacks)


def is_quiet(app: App[object], *, jobs: bool) -> bool:
    """Whether no message waits, nothing is to be drawn, and (with `jobs`) no job runs."""
    if jobs and any(w.is_running and w.name not in LASTING_JOBS for w in app.workers):
        return False
    stack = app._screen_stack if app._screen_stack else []
    pumps: list[MessagePump] = [app]
    for screen in stack:
        if not _drawn(screen):
            return False
        pumps += screen.walk_children(with_self=True)
    return all(_idle(pump) for pump in pumps)


async def quiet(app: App[object]) -> None:
    """Wait until the app has been quiet for a few turns of the loop; never longer than a second."""
    begin = time.monotonic()
    still = 0
    while still < TURNS:
        await asyncio.sleep(TURN_S)
        waited = time.monotonic() - begin
        if waited > QUIET_S_MAX:
            return
        still = still + 1 if is_quiet(app, jobs=waited < JOBS_S_MAX) else 0


async def heard(app: App[object]) -> None:
    """Wait until a status that was changed has come, and everything that follows of it is done."""
    await asyncio.sleep(STREAM_S)
    await quiet(app)


async def instead_of_idle(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """Take the place of Textual's wait for an idle processor."""
    try:
        app = active_app.get()
    except LookupError:
        await asyncio.sleep(TURN_S)
        return
    await quiet(app)
