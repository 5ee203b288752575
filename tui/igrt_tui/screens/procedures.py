"""Procedures: recovery and egress, one step at a time. Nothing is done from here; people do the steps."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll

from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import procedures
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel


class ProceduresScreen(OperatorScreen):
    """Titles at the left, the chosen one's steps at the right."""

    TITLE_WORDS = "Procedures"
    KEYS = (("↑ ↓", "procedure"), ("→", "step done"), ("←", "step back"), ("F7", "alarms"))
    HELP = (
        "What people do when motion stopped by itself or somebody has to leave the couch. → marks a step as done and "
        "goes to the next one, ← goes back. The marks are only on this screen; nothing is sent. The procedures stay "
        "here when the supervisor is lost."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", show=False, priority=True),
        Binding("down", "choose(1)", show=False, priority=True),
        Binding("right,enter", "step(1)", show=False, priority=True),
        Binding("left", "step(-1)", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._chosen: str | None = None
        self._steps: dict[str, int] = {}
        self._asked = ""

    def body(self) -> ComposeResult:
        """Yield titles and steps."""
        with Horizontal():
            yield Panel(id="procedure-list")
            with VerticalScroll(id="procedure-scroll", can_focus=False):
                yield Panel(id="procedure", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Follow the state to the procedure that it asks for, once each time it asks; draw."""
        book = self.operator.procedures
        known = book.value or []
        asked = scene.status.procedure if scene.status else ""
        if asked != self._asked:
            self._asked = asked
            if asked:
                self._chosen, self._steps = asked, self._steps | {asked: 0}
        names = [procedure.name for procedure in known]
        index = names.index(self._chosen) if self._chosen in names else 0
        listed, shown = self.panel("procedure-list"), self.panel("procedure")
        listed.show(procedures.list_panel(known, index, book.problem, listed.size.width - 2))
        if known:
            chosen = known[index]
            step = self._steps.get(chosen.name, 0)
            width = max(20, shown.size.width)
            shown.show(procedures.procedure_panel(chosen, step, chosen.name == asked, width))

    def action_choose(self, step: int) -> None:
        """Choose another procedure."""
        names = [procedure.name for procedure in self.operator.procedures.value or []]
        if names:
            at = names.index(self._chosen) if self._chosen in names else 0
            self._chosen = names[max(0, min(len(names) - 1, at + step))]
            self.operator.draw()

    def action_step(self, step: int) -> None:
        """Go to the next step or back."""
        known = self.operator.procedures.value or []
        chosen = next((p for p in known if p.name == self._chosen), known[0] if known else None)
        if chosen is not None:
            at = self._steps.get(chosen.name, 0) + step
            self._steps[chosen.name] = max(0, min(len(chosen.steps), at))
            self.operator.draw()
