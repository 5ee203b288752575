"""Alarms after IEC 60601-1-8: three priorities, latching, several at once. Acknowledging silences and never clears.

An alarm sounds with its cause and ends when the cause has stayed away for as long as the cause asks for (hysteresis): a
link that comes and goes on a loaded machine is one alarm and not twenty. A latched alarm stays until it is reset. The
silence of a high alarm ends by itself. What it does to priorities, rates and the record is told as `AlarmChange`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from igrt_hw.models.status import Alarm, AlarmPriority

RATE_WINDOW_US = 3_600_000_000
RAISED_MAX = 10_000  # of the rate window; an alarm flood must not eat the memory
SILENCE_US_MAX = 120_000_000
"""So long a high alarm whose cause goes on stays silent: the two minutes that audio is paused for on monitors [P]."""

_RANK = {AlarmPriority.HIGH: 0, AlarmPriority.MEDIUM: 1, AlarmPriority.LOW: 2}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an alarm sounds: its name, priority, words, and whether it stays after its cause has gone.

    `clears_after_us`: the alarm ends only after its cause has been away for so long without a break.
    """

    alarm_id: str
    priority: AlarmPriority
    text: str
    what_to_do: str
    latched: bool = False
    clears_after_us: int = 0


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """What became of an alarm; for the record."""

    alarm_id: str
    what: str
    text: str
    priority: AlarmPriority
    acknowledged_by: str | None = None


@dataclass(slots=True)
class _Course:
    """When the cause was there last, how long it has to be away, and when somebody silenced the alarm."""

    there_us: int
    clears_after_us: int
    silenced_us: int | None = None


class AlarmBoard:
    """All alarms of the moment, one per name. No alarm hides or blocks another."""

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}
        self._courses: dict[str, _Course] = {}
        self._raised: deque[int] = deque(maxlen=RAISED_MAX)

    def sound(self, cause: Cause, now_us: int, now_utc: str) -> list[AlarmChange]:
        """The cause is there. An alarm that sounded already keeps its time; a cause that came back sounds anew."""
        known = self._alarms.get(cause.alarm_id)
        if known is not None and known.active:
            return self._goes_on(known, cause, now_us)
        self._alarms[cause.alarm_id] = raised = Alarm(
            alarm_id=cause.alarm_id,
            priority=cause.priority,
            text=cause.text,
            what_to_do=cause.what_to_do,
            raised_us=now_us,
            raised_utc=now_utc,
            latched=cause.latched,
            acknowledged_by=None,
            active=True,
        )
        self._courses[cause.alarm_id] = _Course(now_us, cause.clears_after_us)
        self._raised.append(now_us)
        return [_change(raised, "raised")]

    def _goes_on(self, known: Alarm, cause: Cause, now_us: int) -> list[AlarmChange]:
        """Words follow the cause. Who silenced it at a lower priority has not heard of the higher one."""
        course = self._courses[known.alarm_id]
        course.there_us, course.clears_after_us = now_us, cause.clears_after_us
        higher = _RANK[cause.priority] < _RANK[known.priority]
        if not higher and known.text == cause.text:
            return []
        update: dict[str, object] = {"text": cause.text}
        if higher:
            update |= {"priority": cause.priority, "acknowledged_by": None}
            course.silenced_us = None
        self._alarms[known.alarm_id] = now = known.model_copy(update=update)
        return [_change(now, f"raised to {cause.priority}")] if higher else []

    def cause_gone(self, alarm_id: str, now_us: int) -> list[AlarmChange]:
        """The cause is not there. Away for long enough, an alarm that latches stays until `reset`, any other ends."""
        known, course = self._alarms.get(alarm_id), self._courses.get(alarm_id)
        if known is None or course is None or not known.active:
            return []
        if now_us - course.there_us < course.clears_after_us:
            return []
        if known.latched:
            self._alarms[alarm_id] = known.model_copy(update={"active": False})
            return [_change(known, "cause gone, still latched")]
        self._drop(alarm_id)
        return [_change(known, "ended")]

    def acknowledge(self, alarm_id: str, username: str, now_us: int) -> bool:
        """Silence it in this person's name. False: there is no such alarm."""
        known = self._alarms.get(alarm_id)
        if known is None:
            return False
        self._alarms[alarm_id] = known.model_copy(update={"acknowledged_by": username})
        self._courses[alarm_id].silenced_us = now_us
        return True

    def wake(self, now_us: int) -> list[AlarmChange]:
        """High alarms that were silenced long enough ago, and whose cause goes on, sound again."""
        changes = []
        for alarm_id, course in self._courses.items():
            alarm = self._alarms[alarm_id]
            silent = course.silenced_us is not None and now_us - course.silenced_us > SILENCE_US_MAX
            if silent and alarm.active and alarm.priority is AlarmPriority.HIGH:
                course.silenced_us = None
                changes.append(_change(alarm, "sounds again"))
                self._alarms[alarm_id] = alarm.model_copy(update={"acknowledged_by": None})
        return changes

    def reset(self) -> list[AlarmChange]:
        """End latched alarms whose cause has gone; others stay."""
        gone = [a for a in self._alarms.values() if a.latched and not a.active]
        for alarm in gone:
            self._drop(alarm.alarm_id)
        return [_change(alarm, "reset") for alarm in gone]

    def _drop(self, alarm_id: str) -> None:
        del self._alarms[alarm_id]
        del self._courses[alarm_id]

    @property
    def any(self) -> bool:
        """Whether there is an alarm at all, a latched one whose cause has gone included."""
        return bool(self._alarms)

    def sounds(self, alarm_id: str) -> bool:
        """Whether this alarm is there with its cause: then `sound` keeps the time at which it was raised."""
        known = self._alarms.get(alarm_id)
        return known is not None and known.active

    def listed(self) -> tuple[Alarm, ...]:
        """Highest priority first, oldest first within a priority."""
        return tuple(
            sorted(
                self._alarms.values(), key=lambda a: (_RANK[a.priority], a.raised_us, a.alarm_id)
            )
        )

    def rate_per_hour(self, now_us: int) -> int:
        """Alarms raised within the last hour: nuisance alarms are a hazard of their own."""
        return sum(1 for at in self._raised if now_us - at <= RATE_WINDOW_US)


def _change(alarm: Alarm, what: str) -> AlarmChange:
    return AlarmChange(alarm.alarm_id, what, alarm.text, alarm.priority, alarm.acknowledged_by)
