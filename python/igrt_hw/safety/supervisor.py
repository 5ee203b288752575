"""The supervisor: events and time in, effects out. The only writer of `Memory`; states change by the table only.

    supervisor = Supervisor(config, couch_model, draw=secrets.randbelow, utc_origin=...)
    effects = supervisor.handle(event, now_us)     # for everything that is heard
    effects = supervisor.tick(now_us)              # 20 to 50 times a second

The shell carries effects out in the order given, and feeds the answers back as events. It must feed what it has heard
before it ticks, each with when it was heard: a tick judges ages by what was fed. Only a tick judges how long a terminal
has been silent, so that a program that stood still reads first what was said meanwhile; permission is given by ticks
alone, so that no tick is no lease. `draw(n)` gives a random integer below n; it is the only source of
codes, identifiers and tokens, so that a seed replays a session.

Built in layers, each a file: `loop.py` (state by the table), `answers.py`, `timekeeper.py`, `couch_watch.py`,
`people.py`, and this one, which takes events apart and gives effects back.
"""

from __future__ import annotations

import traceback
from contextlib import suppress

from igrt_hw.models import commands
from igrt_hw.safety import effects as fx
from igrt_hw.safety import events as ev
from igrt_hw.safety.alarm_causes import causes
from igrt_hw.safety.alarms import AlarmChange
from igrt_hw.safety.guards import Ask
from igrt_hw.safety.memory import (
    Terminal,
)
from igrt_hw.safety.people import People
from igrt_hw.safety.transitions import (
    IN_MOTION,
    Trigger,
)

T = Trigger
TERMINALS_MAX = 32


class Supervisor(People):
    """The loop of one treatment room. See the module."""

    def handle(self, event: ev.Event, now_us: int) -> list[fx.Effect]:
        """Take one event. Returns what is to be done, in order. `now_us`: when it was heard."""
        stamped_us, now_us = now_us, self._begin(now_us)
        try:
            # STOP first, before anything that could fail or refuse.
            if isinstance(event, ev.UserCommand) and isinstance(event.command, commands.Stop):
                self._stop(event, now_us)
            else:
                self._heard_us = min(stamped_us, now_us)
                self._pass_time(now_us)
                self._dispatch(event, now_us)
            return self._end(now_us)
        except Exception as error:
            return self._defect(error, event, now_us)

    def tick(self, now_us: int) -> list[fx.Effect]:
        """Let time pass: ages, expiries, permissions."""
        now_us = self._begin(now_us)
        self._in_tick = True
        try:
            self._pass_time(now_us)
            self._grant_permission(now_us)
            self._follow_keys(now_us)
            self._tell_alarms(now_us)
            return self._end(now_us)
        except Exception as error:
            return self._defect(error, None, now_us)
        finally:
            self._in_tick = False

    def _defect(self, error: Exception, event: ev.Event | None, now_us: int) -> list[fx.Effect]:
        """A defect of this program: stop, latch, say so. What the failed step had asked for is not done."""
        m = self._m
        what = type(event).__name__ if event is not None else "tick"
        sentence = f"defect of the supervisor in {what}: {type(error).__name__}: {error}"
        self._out = []
        asked_to_stop = isinstance(event, ev.UserCommand) and isinstance(
            event.command, commands.Stop
        )
        if asked_to_stop or m.host_faults.get("defect") != sentence:
            # Told and stopped once: a defect in every tick must not flood the line and the record.
            self._stop_devices(sentence, now_us)
            self._emit(fx.SetBeamGate(self._next_request(), energise=False))
            trace = traceback.format_exception(error)
            self._record("defect", "supervisor", sentence, {"trace": trace})
        m.pending.clear()
        m.motion, m.challenge, m.approvals, m.approval_sessions = None, None, (), ()
        m.host_faults["defect"] = sentence
        self._fire(T.FAULT, Ask(now_us), sentence)
        with suppress(
            Exception
        ):  # the alarms may be what is broken; the fault is latched all the same
            self._tell_alarms(now_us)
        if isinstance(event, ev.UserCommand):
            self._emit(fx.Answer(False, f"{sentence}. Stopped; call service."))
        self._version += 1
        out, self._out = self._out, []
        return out

    def _begin(self, now_us: int) -> int:
        # An event may have been heard before the last tick: time never runs backwards in here, but what it
        # tells keeps the age of when it was heard.
        self._now_us = max(now_us, self._now_us)
        self._out = []
        return self._now_us

    def _end(self, now_us: int) -> list[fx.Effect]:
        self._follow_door(now_us)
        self._follow_qa(now_us)
        self._version += 1
        out, self._out = self._out, []
        return out

    # ---- events

    def _dispatch(self, event: ev.Event, now_us: int) -> None:
        match event:
            case ev.UserCommand():
                self._command(event, now_us)
            case ev.CouchHeard():
                self._couch_heard(event, now_us)
            case ev.ImagerHeard():
                self._m.imager.last = event
                self._m.imager.hear(self._heard_us)
                self._note_device_faults(now_us)
            case ev.PendantHeard():
                self._m.pendant.last = event
                self._m.pendant.hear(self._heard_us)
                self._note_device_faults(now_us)
                self._keys_let_go(now_us)
            case ev.LinkUp():
                self._link_up(event, now_us)
            case ev.LinkLost():
                self._link_lost(event, now_us)
            case ev.TerminalAlive():
                self._terminal_alive(event, self._heard_us)
            case ev.TerminalLost():
                if self._m.terminals.pop(event.terminal_id, None) is not None:
                    self._record("terminal", event.terminal_id, "terminal has gone", {})
                self._hold_permission(now_us)
                self._hold_beam(now_us)
            case ev.JogRefused():
                self._end_jog(f"the couch refused: {event.sentence}", now_us)
            case _:
                if not self._manual_answered(event, now_us):
                    self._answered(event, now_us)

    def _terminal_alive(self, event: ev.TerminalAlive, heard_us: int) -> None:
        terminals = self._m.terminals
        if event.terminal_id not in terminals:
            self._record("terminal", event.terminal_id, "terminal is there", {})
            if len(terminals) >= TERMINALS_MAX:
                del terminals[min(terminals, key=lambda name: terminals[name].heard_us)]
        known = terminals.get(event.terminal_id)
        latest_us = heard_us if known is None else max(known.heard_us, heard_us)
        terminals[event.terminal_id] = Terminal(event.session_id, latest_us)

    def _link_up(self, event: ev.LinkUp, now_us: int) -> None:
        m = self._m
        device = m.device(event.name)
        device.up, device.session, device.limits, device.cause = (
            True,
            event.session,
            event.limits,
            "",
        )
        device.heard_us = None  # what was heard before belongs to another session
        self._record(
            "link",
            event.name,
            f"{event.name}: session {event.session:08x}",
            {"limits": event.limits},
        )
        if event.name == "couch":
            m.epoch, m.stops_unseen = None, 0
            self._void_images("the couch began another session: acquire the images again")
            if m.state in IN_MOTION:
                m.host_faults["couch link"] = "the couch began another session in mid motion"
            self._fire(T.COUCH_NEW_SESSION, Ask(now_us), "the couch began another session")

    def _link_lost(self, event: ev.LinkLost, now_us: int) -> None:
        m = self._m
        device = m.device(event.name)
        device.up, device.cause = False, event.cause
        self._record("link", event.name, f"{event.name} lost: {event.cause}", {})
        sentence = f"{event.name} link lost: {event.cause}"
        if m.state in IN_MOTION or (event.name == "couch" and m.pending_of("execute") is not None):
            self._fault(
                f"{event.name} link", sentence + ", while the couch was permitted to move", now_us
            )
            return
        waiting = (
            m.pending_of("imaging")
            if event.name == "imager"
            else m.pending_of("upload", "beam gate")
        )
        if event.name != "pendant" and waiting is not None:
            del m.pending[waiting.request]
            self._failed(
                waiting, ev.RequestFailed(waiting.request, sentence, uncertain=True), now_us
            )
        self._hold_beam(now_us)

    # ---- alarms

    def _tell_alarms(self, now_us: int) -> None:
        """Alarms are judged by ticks, 20 to 50 times a second; what became of each goes into the record."""
        for change in self._watch_alarms(now_us):
            data: dict[str, object] = {
                "alarm_id": change.alarm_id,
                "what": change.what,
                "priority": change.priority.value,
                "acknowledged_by": change.acknowledged_by,
            }
            text = f"{change.alarm_id} {change.what}: {change.text}"
            self._record("alarm", "supervisor", text, data)

    def _watch_alarms(self, now_us: int) -> list[AlarmChange]:
        there = causes(self._m, now_us)
        changes: list[AlarmChange] = []
        for cause in there:
            utc = "" if self._alarms.sounds(cause.alarm_id) else self.utc(now_us)
            changes += self._alarms.sound(cause, now_us, utc)
        if self._alarms.any:
            names = {cause.alarm_id for cause in there}
            for alarm in self._alarms.listed():
                if alarm.alarm_id not in names:
                    changes += self._alarms.cause_gone(alarm.alarm_id, now_us)
            changes += self._alarms.wake(now_us)
        if self._alarm_reset:
            self._alarm_reset = False
            changes += self._alarms.reset()
        return changes
