"""The review list of the next day: overrides and alarm rates."""

from functools import partial
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll

from igrt_hw.models.review import AlarmReview, OverrideReview
from igrt_tui.book import Book
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import review_list
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel


class ReviewListScreen(OperatorScreen):
    """Overrides at the left, alarms at the right, of a day, a week, a month or a year."""

    TITLE_WORDS = "Review list"
    KEYS = (("← →", "how far back"), ("PgUp PgDn", "scroll"), ("u", "ask anew"), ("F9", "record"))
    HELP = (
        "What is looked at the next day: every override with its coded reason, the words, both people and the "
        "parameters, and how many there were per accepted setup; every alarm with how often it sounded and how often "
        "it ended before anybody answered it. An alarm that mostly ends unanswered is marked ▲: it teaches people to "
        "look away."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "span(-1)", show=False, priority=True),
        Binding("right", "span(1)", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
        Binding("u", "anew", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._span = 0
        self._overrides: Book[OverrideReview] = Book()
        self._alarms: Book[AlarmReview] = Book()

    def body(self) -> ComposeResult:
        """Yield both lists."""
        with Horizontal():
            with VerticalScroll(id="overrides-scroll", can_focus=False):
                yield Panel(id="overrides", classes="tall")
            with VerticalScroll(id="alarm-rates-scroll", can_focus=False):
                yield Panel(id="alarm-rates", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Ask for the chosen span; draw both lists."""
        days = review_list.SPANS[self._span]
        supervisor, spawn = self.operator.supervisor, self.operator.spawn
        if scene.local.user is not None and not scene.local.gone:
            if self._overrides.due(days):
                self._overrides.begin(days)
                ask = partial(supervisor.override_review, days=days)
                spawn(self._overrides.fill(days, ask), "overrides")
            if self._alarms.due(days):
                self._alarms.begin(days)
                spawn(
                    self._alarms.fill(days, partial(supervisor.alarm_review, days=days)), "alarms"
                )
        left, right = self.panel("overrides"), self.panel("alarm-rates")
        left.show(
            review_list.overrides_panel(
                self._overrides.answer(days), self._overrides.problem, days, left.size.width - 2
            )
        )
        right.show(
            review_list.alarms_panel(
                self._alarms.answer(days), self._alarms.problem, days, right.size.width - 1
            )
        )

    def on_screen_resume(self) -> None:
        """Ask anew whenever the screen comes to the front."""
        self.action_anew()
        super().on_screen_resume()

    def action_anew(self) -> None:
        """Ask the service again."""
        self._overrides.forget()
        self._alarms.forget()

    def action_span(self, step: int) -> None:
        """Look further back, or less far."""
        self._span = max(0, min(len(review_list.SPANS) - 1, self._span + step))
        self.operator.draw()

    def action_page(self, step: int) -> None:
        """Scroll both lists by a page."""
        for name in ("overrides", "alarm-rates"):
            scroll = self.panel(name).parent
            if isinstance(scroll, VerticalScroll):
                scroll.scroll_relative(y=step * max(1, scroll.size.height - 1), animate=False)
