"""All alarms; one can be silenced, none can be cleared from here."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from igrt_hw.models.commands import AcknowledgeAlarm
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import alarms
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel


class AlarmsScreen(OperatorScreen):
    """The list, a cursor, and the key that silences."""

    TITLE_WORDS = "Alarms"
    KEYS = (
        ("↑ ↓", "choose"),
        ("k", "silence the chosen one"),
        ("p", "procedures"),
        ("F2", "console"),
    )
    HELP = (
        "*** high, ** medium, * low. Silencing pauses an alarm for people; it never clears it. An alarm ends when its "
        "cause is gone and, if it is latched, after a reset on the console. p shows what people do then, step by step."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", show=False, priority=True),
        Binding("down", "choose(1)", show=False, priority=True),
        Binding("k", "silence", show=False),
        Binding("p", "procedures", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._chosen = 0

    def body(self) -> ComposeResult:
        """Yield the list."""
        with VerticalScroll():
            yield Panel(id="all-alarms", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Draw the list."""
        panel = self.panel("all-alarms")
        panel.show(alarms.alarms_panel(scene, panel.size.width, self._chosen))

    def action_procedures(self) -> None:
        """Go to recovery and egress, at the one that the state asks for."""
        self.operator.go("procedures")

    def action_choose(self, step: int) -> None:
        """Move the cursor."""
        status = self.operator.scene().status
        count = len([alarm for alarm in status.alarms if alarm.active]) if status else 0
        self._chosen = max(0, min(count - 1, self._chosen + step))
        self.operator.draw()

    def action_silence(self) -> None:
        """Silence the alarm at the cursor."""
        alarm = alarms.chosen_alarm(self.operator.scene(), self._chosen)
        if alarm is not None:
            self.operator.ask(AcknowledgeAlarm(alarm_id=alarm.alarm_id), f"Silence '{alarm.text}'")
