"""The console: where the loop stands and what can be done about it."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import console, procedures
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel


class ConsoleScreen(OperatorScreen):
    """State, acts, devices, links, interlocks, alarms, the shift."""

    TITLE_WORDS = "Console"
    KEYS = (("letter", "does what is listed under 'What is needed next'"),)
    HELP = (
        "The left side says what the loop needs next and which key does it. Acts that can do harm (X-rays, arming, "
        "beam) ask once more and are done with F8. The right side shows devices, serial lines, interlocks and alarms: "
        "what is normal is grey, what is not has a colour, a symbol and a word."
    )

    def body(self) -> ComposeResult:
        """Yield two columns of panels."""
        with Horizontal():
            with Vertical(id="left"):
                yield Panel(id="next")
                yield Panel(id="shift")
                yield Panel(id="session")
            with Vertical(id="right"):
                yield Panel(id="devices")
                yield Panel(id="links")
                yield Panel(id="interlocks")
                yield Panel(id="alarms")

    def draw_body(self, scene: Scene) -> None:
        """Draw the panels."""
        left = self.panel("next").size.width - 2
        right = self.panel("links").size.width - 1
        recovery = procedures.first_words(scene, self.operator.procedures.value or [], left)
        needed = console.next_panel(scene, left)
        self.panel("next").show(needed[:1] + recovery + needed[1:])
        self.panel("shift").show(console.shift_panel(scene, left))
        self.panel("session").show(console.session_panel(scene, left))
        self.panel("devices").show(console.devices_panel(scene, right))
        self.panel("links").show(console.links_panel(scene, right))
        interlocks = self.panel("interlocks")
        interlocks.show(console.interlocks_panel(scene, right, max(3, interlocks.size.height)))
        alarms = self.panel("alarms")
        alarms.show(console.alarms_panel(scene, right, max(3, alarms.size.height)))

    def on_key(self, event: events.Key) -> None:
        """Start the act of a letter; p shows what people do when motion stopped by itself."""
        if event.key == "p":
            self.operator.go("procedures")
            event.stop()
        elif self.operator.start_act(event.key):
            event.stop()
