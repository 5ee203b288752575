"""Where to: every screen by name, and the few things of this terminal that can harm nobody. It sends no command."""

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input

from igrt_tui.keys import PLACES
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.places import matching, places_panel
from igrt_tui.widgets.panel import Panel


class PlacesScreen(OperatorScreen):
    """Type a part of a name, choose with the arrows, Enter goes there."""

    TITLE_WORDS = "Where to"
    KEYS = (("type", "part of a name"), ("↑ ↓", "choose"), ("Enter", "go there"), ("F2", "console"))
    HELP = (
        "Every screen, by name. Type a part of it, choose with the arrows, Enter goes there. Nothing here moves, "
        "images, approves or stops anything: acts are where their consequences are shown."
    )
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "place": "Part of a name or of what is to be done there; the list below keeps what fits."
    }
    AUTO_FOCUS = "#place"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", show=False, priority=True),
        Binding("down", "choose(1)", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._chosen = 0

    def body(self) -> ComposeResult:
        """Yield the field and the list."""
        yield Input(id="place", max_length=40)
        yield Panel(id="places")

    def draw_body(self, scene: Scene) -> None:
        """List what fits."""
        panel = self.panel("places")
        found = matching(PLACES, self.part("place", Input).value)
        self._chosen = max(0, min(len(found) - 1, self._chosen))
        panel.show(places_panel(found, self._chosen, panel.size.width))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Begin at the first that fits."""
        self._chosen = 0
        self.operator.draw()

    def action_choose(self, step: int) -> None:
        """Choose another."""
        self._chosen += step
        self.operator.draw()

    def on_key(self, event: events.Key) -> None:
        """Keep Tab from doing anything: there is one field."""
        if event.key == "tab":
            event.stop()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go there."""
        found = matching(PLACES, event.value)
        if found:
            self.operator.go_to(found[min(self._chosen, len(found) - 1)].name)
