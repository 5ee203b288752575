"""The shift in full, for reading before it is approved."""

from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll

from igrt_hw.models.trends import ShiftTrend
from igrt_tui.book import Book
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import review, trends
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import Lines
from igrt_tui.widgets.panel import Panel

ALL_LINES = 999


class ReviewScreen(OperatorScreen):
    """Six axes of the shift, six axes of the couch, clearance, registration, checks, ages."""

    TITLE_WORDS = "Review"
    KEYS = (
        ("F5", "read and approve"),
        ("F3", "images"),
        ("x", "reject"),
        ("PgDn PgUp", "checks"),
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
    ]
    HELP = (
        "The upper table is the shift of the patient at the isocentre in the room's frame. The lower one is what the "
        "couch's own axes will do; it is not the same, because pitch and roll turn about the table top. 'off plan' is "
        "how far the target stands from the planned couch position, against the plan's tolerance. Page Down and Page "
        "Up go through the checks where there are more than fit."
    )

    def __init__(self) -> None:
        super().__init__()
        self._book: Book[ShiftTrend] = Book()

    def body(self) -> ComposeResult:
        """Yield the two tables and the panels beside them."""
        yield Panel(id="shift")
        with Horizontal():
            with Vertical(id="review-left"):
                yield Panel(id="axes")
                yield Panel(id="age")
            with Vertical(id="review-right"):
                yield Panel(id="registration")
                yield Panel(id="clearance")
                with VerticalScroll(id="checks-scroll", can_focus=False):
                    yield Panel(id="checks", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Draw the panels."""
        self.panel("shift").show(review.shift_panel(scene, self.panel("shift").size.width))
        left = self.panel("axes").size.width - 2
        right = self.panel("checks").size.width
        self.panel("axes").show(review.axes_panel(scene, left))
        self.panel("age").show((*review.age_panel(scene, left), *self._history(scene)))
        self.panel("registration").show(review.registration_panel(scene, right))
        self.panel("clearance").show(review.clearance_panel(scene, right))
        self.panel("checks").show(review.checks_panel(scene, right, ALL_LINES))

    def _history(self, scene: Scene) -> Lines:
        """Ask once for each patient, plan and state; nothing of another patient is shown."""
        plan = scene.status.plan if scene.status else None
        if plan is None or scene.status is None:
            return ()
        stamp = (plan.patient.patient_id, plan.plan_uid, scene.status.state)
        if self._book.due(stamp) and not scene.local.gone:
            self._book.begin(stamp)
            ask = partial(self.operator.supervisor.shift_trend, *stamp[:2])
            self.operator.spawn(self._book.fill(stamp, ask), "shifts of this patient")
        known = self._book.value
        if known is not None and (known.patient_id, known.plan_uid) != stamp[:2]:
            known = None
        return (trends.history_line(known, self._book.problem),)

    def action_page(self, step: int) -> None:
        """Scroll the checks by a page."""
        scroll = self.panel("checks").parent
        if isinstance(scroll, VerticalScroll):
            scroll.scroll_relative(y=step * max(1, scroll.size.height - 1), animate=False)

    def key_x(self) -> None:
        """Reject the shift."""
        self.operator.start_act("x")
