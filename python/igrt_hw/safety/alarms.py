"""Alarms after IEC 60601-1-8: three priorities, latching, several at once. Acknowledging silences and never clears."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from igrt_hw.models.status import Alarm, AlarmPriority

RATE_WINDOW_US = 3_600_000_000
RAISED_MAX = 10_000  # of the rate window; an alarm flood must not eat the memory

_RANK = {AlarmPriority.HIGH: 0, AlarmPriority.MEDIUM: 1, AlarmPriority.LOW: 2}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an alarm sounds: its name, priority, words, and whether it stays after its cause has gone."""

    alarm_id: str
    priority: AlarmPriority
    text: str
    what_to_do: str
    latched: bool = False


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """What became of an alarm; for the record."""

    alarm_id: str
    what: str
    text: str


class AlarmBoard:
    """All alarms of the moment, one per name. No alarm hides or blocks another."""

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}
        self._raised: deque[int] = deque(maxlen=RAISED_MAX)

    def sound(self, cause: Cause, now_us: int, now_utc: str) -> list[AlarmChange]:
        """The cause is there. An alarm that sounded already keeps its time; a cause that came back sounds anew."""
        known = self._alarms.get(cause.alarm_id)
        if known is not None and known.active:
            if known.text != cause.text:
                self._alarms[cause.alarm_id] = known.model_copy(update={"text": cause.text})
            return []
        self._alarms[cause.alarm_id] = Alarm(
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
        self._raised.append(now_us)
        return [AlarmChange(cause.alarm_id, "raised", cause.text)]

    def cause_gone(self, alarm_id: str) -> list[AlarmChange]:
        """The cause has gone: an alarm that latches stays until `reset`, any other ends."""
        known = self._alarms.get(alarm_id)
        if known is None or not known.active:
            return []
        if known.latched:
            self._alarms[alarm_id] = known.model_copy(update={"active": False})
            return [AlarmChange(alarm_id, "cause gone, still latched", known.text)]
        del self._alarms[alarm_id]
        return [AlarmChange(alarm_id, "ended", known.text)]

    def acknowledge(self, alarm_id: str, username: str) -> bool:
        """Silence it in this person's name. False: there is no such alarm."""
        known = self._alarms.get(alarm_id)
        if known is None:
            return False
        self._alarms[alarm_id] = known.model_copy(update={"acknowledged_by": username})
        return True

    def reset(self) -> list[AlarmChange]:
        """End latched alarms whose cause has gone; others stay."""
        gone = [a for a in self._alarms.values() if a.latched and not a.active]
        for alarm in gone:
            del self._alarms[alarm.alarm_id]
        return [AlarmChange(a.alarm_id, "reset", a.text) for a in gone]

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
