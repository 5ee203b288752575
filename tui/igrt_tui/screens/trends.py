"""Trends: the executed shifts of this patient, fraction by fraction, with the action levels of the site."""

from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from igrt_hw.models.trends import ShiftTrend
from igrt_tui.book import Book
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import trends
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel


class TrendsScreen(OperatorScreen):
    """A table above, one of its numbers drawn below."""

    TITLE_WORDS = "Trends"
    KEYS = (("← →", "which number is drawn"), ("PgUp PgDn", "fractions"), ("F2", "console"))
    HELP = (
        "All shifts of this patient under this plan that were executed. 'left over' is what the verification images "
        "still asked for. 'above' names the highest action level that a shift is above: a warning, a second person. "
        "The last line says how far the last shift is from the mean of those before it, in standard deviations; three "
        "or more is marked ▲. Dots are within the warning level, crosses above it."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "choose(-1)", show=False, priority=True),
        Binding("right", "choose(1)", show=False, priority=True),
        Binding("pageup", "page(1)", show=False, priority=True),
        Binding("pagedown", "page(-1)", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._chosen = 0
        self._scrolled = 0
        self._book: Book[ShiftTrend] = Book()

    def body(self) -> ComposeResult:
        """Yield table and picture."""
        yield Panel(id="trend-table")
        yield Panel(id="trend-chart")

    def draw_body(self, scene: Scene) -> None:
        """Ask again when the record has grown; draw what is here."""
        table, drawing = self.panel("trend-table"), self.panel("trend-chart")
        plan = scene.status.plan if scene.status else None
        if plan is None or scene.status is None:
            table.show(trends.no_patient(table.size.width))
            drawing.show(())
            return
        stamp = (plan.patient.patient_id, plan.plan_uid, scene.status.state)
        if self._book.due(stamp) and not scene.local.gone:
            self._book.begin(stamp)
            ask = partial(self.operator.supervisor.shift_trend, *stamp[:2])
            self.operator.spawn(self._book.fill(stamp, ask), "shifts of this patient")
        known = self._book.value
        if known is not None and (known.patient_id, known.plan_uid) != stamp[:2]:
            known = None  # of the patient before: never shown under this one's name
        table.show(
            trends.table_panel(
                known, self._book.problem, self._scrolled, table.size.width, table.size.height
            )
        )
        quantity = trends.QUANTITIES[self._chosen]
        drawing.show(trends.chart_panel(known, quantity, drawing.size.width, drawing.size.height))

    def action_choose(self, step: int) -> None:
        """Draw another number."""
        self._chosen = (self._chosen + step) % len(trends.QUANTITIES)
        self.operator.draw()

    def action_page(self, step: int) -> None:
        """Go to earlier or later fractions."""
        room = max(1, self.panel("trend-table").size.height - 5)
        known = len(self._book.value.shifts) if self._book.value else 0
        self._scrolled = max(0, min(known - room, self._scrolled + step * room))
        self.operator.draw()
