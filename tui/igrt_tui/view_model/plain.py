"""The plain mode in words: what has changed since it was last told, and panels read out line by line. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from igrt_hw.models.status import LoopState, SupervisorStatus
from igrt_tui.view_model.acts import Act, occupied, offered
from igrt_tui.view_model.header import STATE_WORDS, banner, ordered_alarms
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.numbers import age, duration
from igrt_tui.view_model.text import Lines, plain

WIDTH = 78
HOLD_WORDS = ("h", "hold", "stop")
ARMED = (LoopState.ARMED, LoopState.MOVING, LoopState.HELD)
FIRST_LINE = (
    "HOLD stops whatever moves: type h and Enter, or press Ctrl-C, at any time; "
    "while the couch is armed or moves an empty Enter is HOLD too."
)
SAID = {
    "✓": "ok:", "✗": "WRONG:", "▲": "LOOK:", "◌": "OLD:", "→": "", "■": "", "□": "", "▶": "asked for:", "·": "not yet:",
}  # fmt: skip
EXPIRY_TOLD_S = (300, 120, 60, 30, 10)
PROGRESS_STEP = 0.25
ACT_WORDS = {
    "open": "open", "setup": "setup", "images": "take", "register": "register",
    "register, translation only": "translation", "propose": "propose", "approve": "approve", "reject": "reject",
    "arm": "arm", "release beam": "beam", "reset": "reset", "close": "close",
    "look": "images", "read": "review", "motion": "motion", "watch": "watch", "end watch": "unwatch",
}  # fmt: skip


def spoken(lines: Lines) -> tuple[str, ...]:
    """Panels as plain sentences: no rules, no boxes, no strips; every symbol as its word, every space once."""
    said: list[str] = []
    for of_line in lines:
        text = plain(of_line)
        text = re.sub(r"[▁▂▃▄▅▆▇█░▒▼]+", "", text)
        heads = "─" in text
        text = re.sub(r"─+", "", text)
        for symbol, word in SAID.items():
            text = text.replace(symbol, f" {word} ")
        text = re.sub(r"\s+", " ", text).strip()
        if text:
            said.append(f"{text}:" if heads and not text.endswith(":") else text)
    return tuple(said)


@dataclass(frozen=True, slots=True)
class Told:
    """What the person at this terminal has been told already."""

    connected: bool | None = None
    old: bool = False
    state: LoopState | None = None
    activity: str = ""
    alarms: frozenset[str] = frozenset()
    hold: tuple[bool, str] | None = None
    progress: int = 0
    expiry_s: float | None = None
    needed: str = ""


def news(told: Told, scene: Scene) -> tuple[Told, tuple[str, ...]]:
    """What has changed, the most urgent first, and what is told with it."""
    said: list[str] = []
    local, status = scene.local, scene.status
    old = local.user is not None and local.old
    if old and not told.old:
        cause = local.cause if not local.connected else "no news from the supervisor"
        heard = "never" if local.status_age_ms is None else f"{age(local.status_age_ms)} ago"
        said.append(f"SUPERVISOR LOST, values are old: last heard {heard}; {cause}")
    if told.old and not old:
        said.append("the supervisor is heard again")
    hold = _hold(scene)
    if hold is not None and hold != told.hold:
        said.append(hold[1])
    if status is None:
        return Told(connected=local.connected, old=old, hold=hold), tuple(said)
    alarms = {alarm.alarm_id: alarm for alarm in ordered_alarms(status)}
    for name, alarm in alarms.items():
        if name not in told.alarms:
            said.append(f"ALARM {alarm.priority.upper()}: {alarm.text} Do: {alarm.what_to_do}")
    gone = told.alarms - alarms.keys()
    if gone:
        said.append(f"{len(gone)} alarm(s) ended, {len(alarms)} left")
    job = occupied(status)
    activity = job.name if job else ""
    if activity and activity != told.activity:
        said.append(f"running: {activity}")
    if status.state is not told.state or (status.needed_next != told.needed and not activity):
        said += _state(status, told.state)
    progress = _progress(status)
    if progress != told.progress and status.state is LoopState.MOVING:
        said.append(f"{progress * PROGRESS_STEP * 100:.0f} % of the path")
    expiry = _expiry(scene)
    if expiry is not None and expiry != told.expiry_s and told.expiry_s is not None:
        said.append(f"the shift expires in less than {duration(expiry)}")
    fresh = Told(
        local.connected, old, status.state, activity, frozenset(alarms), hold, progress,
        expiry if expiry is not None else 1e9, status.needed_next,
    )  # fmt: skip
    return fresh, tuple(said)


def _hold(scene: Scene) -> tuple[bool, str] | None:
    report = scene.local.hold
    if report is None:
        return None
    if report.problem:
        return False, f"HOLD NOT CONFIRMED: {report.problem}. Use the hardware stop NOW."
    if report.confirmed_us is None:
        return False, "HOLD sent"
    took = age((report.confirmed_us - report.pressed_us) / 1000)
    return True, f"HOLD: STOP confirmed after {took}; permission and plan are void"


def _recovery(status: SupervisorStatus) -> list[str]:
    return ["what to do: type procedure and Enter"] if status.procedure else []


def _state(status: SupervisorStatus, before: LoopState | None) -> list[str]:
    said = []
    if status.state is not before:
        said.append(f"state {status.state.value}: {STATE_WORDS[status.state]}")
        if status.reason:
            said.append(status.reason)
        said += _recovery(status)
    if occupied(status) is None:
        said.append(f"next: {status.needed_next}")
    return said


def _progress(status: SupervisorStatus) -> int:
    return int(status.couch.path_fraction / PROGRESS_STEP) if status.couch else 0


def _expiry(scene: Scene) -> float | None:
    left = scene.expires_in_s()
    if left is None or scene.status is None or scene.status.state is not LoopState.CHECKED:
        return None
    passed = [mark for mark in EXPIRY_TOLD_S if left <= mark]
    return min(passed) if passed else None


def first_words(scene: Scene) -> tuple[str, ...]:
    """The first lines of the plain mode: how to stop, what this is, what is at the other end."""
    return (
        FIRST_LINE,
        " ".join(banner(scene).replace("▒", "").replace("·", ",").split()).replace(" ,", ","),
        "Type ? and Enter for the words that can be typed.",
    )


def words_now(scene: Scene) -> tuple[str, ...]:
    """The words that mean something now, the next one of the loop first."""
    acts = offered(scene.status) if scene.status else ()
    said = [f"{ACT_WORDS[act.name]}: {act.meaning}" for act in acts if act.name in ACT_WORDS]
    said += [
        "status, review, images, alarms, interlocks, links, devices, motion, target, room, session: read these out",
        "qa: the daily tests. trends: this patient's shifts. procedures: what to do when motion stopped by itself. "
        "reviews 7: overrides and alarms of the last 7 days",
        "silence: silences the most urgent alarm; it ends when its cause is gone",
        "h: HOLD. quit: ends this terminal, and its permission with it",
    ]
    if scene.local.pendant.available and scene.simulator:
        said.append(
            "enable 10: the simulated pendant is held for 10 seconds; any other line lets it go"
        )
    return tuple(said)


def act_of_word(word: str, acts: tuple[Act, ...]) -> Act | None:
    """Return the act that a typed word means."""
    return next((act for act in acts if ACT_WORDS.get(act.name) == word), None)
