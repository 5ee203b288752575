"""Daily QA: its acts, the tests with results and limits, the trend of the chosen one."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical

from igrt_hw.models.commands import BeginQa, Command, EnterMode, FinishQa, WatchInterlock
from igrt_hw.models.qa import QaLevel, QaRun, QaTest, QaTrend
from igrt_tui.book import Book
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.screens.qa_note import QaNoteScreen
from igrt_tui.view_model import qa
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.text import Lines, Tone, key, line, marked_paragraph, strong
from igrt_tui.widgets.panel import Panel


@dataclass(frozen=True, slots=True)
class Asked:
    """An act that waits for F8: what it is for, what it does, and the command."""

    act: str
    words: str
    command: Command


class QaScreen(OperatorScreen):
    """Choose a test with the arrows; acts that change something wait for F8."""

    TITLE_WORDS = "Daily QA"
    KEYS = (
        ("↑ ↓", "test"),
        ("w", "watch"),
        ("n", "enter"),
        ("b s", "begin"),
        ("e", "end"),
        ("d c", "mode"),
        ("F8", "do"),
    )
    HELP = (
        "The daily tests of this room. d enters the mode daily QA (with nobody on the couch), b begins a run at "
        "general and s at stereotactic limits, w watches the chosen interlock, which you then break in the room, n "
        "enters what was measured by hand, e ends the run, c goes back to the clinical rehearsal. What comes from the "
        "loop (shift test, coincidence) fills itself in while you position the phantom from the console. b, s, e, d "
        "and c wait for F8."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "choose(-1)", show=False, priority=True),
        Binding("down", "choose(1)", show=False, priority=True),
        Binding("w", "watch", show=False),
        Binding("n", "note", show=False),
        Binding("b", "begin('general')", show=False),
        Binding("s", "begin('stereotactic')", show=False),
        Binding("e", "finish", show=False),
        Binding("d", "mode('daily QA')", show=False),
        Binding("c", "mode('clinical rehearsal')", show=False),
        Binding("f8", "do", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._chosen = 0
        self._asked: Asked | None = None
        self._tests: Book[list[QaTest]] = Book()
        self._runs: Book[list[QaRun]] = Book()
        self._trend: Book[QaTrend] = Book()

    def body(self) -> ComposeResult:
        """Yield the standing above, the tests at the left, the chosen one and its trend at the right."""
        yield Panel(id="qa-head")
        with Horizontal(id="qa-middle"):
            with Vertical(id="qa-left"):
                yield Panel(id="qa-list")
            with Vertical(id="qa-right"):
                yield Panel(id="qa-test")
                yield Panel(id="qa-trend")

    def draw_body(self, scene: Scene) -> None:
        """Ask for what is missing or has changed, draw what is here."""
        self._ask(scene)
        rows = self._rows(scene)
        self._chosen = max(0, min(len(rows) - 1, self._chosen))
        row = rows[self._chosen] if rows else None
        head = self.panel("qa-head")
        asked = self._asked_lines(scene, head.size.width)
        head.show(asked or qa.head_panel(scene, self._runs.value, head.size.width))
        listed = self.panel("qa-list")
        listed.show(qa.list_panel(rows, self._chosen, listed.size.width - 1, listed.size.height))
        about, trend = self.panel("qa-test"), self.panel("qa-trend")
        problem = self._tests.problem
        about.show(
            marked_paragraph(Tone.MEDIUM, problem, about.size.width)
            if problem
            else qa.test_panel(row, about.size.width)
        )
        known = self._trend.answer(self._trend_stamp(scene))
        trend.show(
            qa.trend_panel(row, known, self._trend.problem, trend.size.width, trend.size.height)
        )

    def _ask(self, scene: Scene) -> None:
        if scene.status is None or scene.local.user is None or scene.local.gone:
            return
        supervisor, spawn = self.operator.supervisor, self.operator.spawn
        stamp = (scene.status.qa, scene.status.daily_qa)
        if self._tests.due(True):
            self._tests.begin(True)
            spawn(self._tests.fill(True, supervisor.qa_tests), "daily tests")
        if self._runs.due(stamp):
            self._runs.begin(stamp)
            spawn(self._runs.fill(stamp, partial(supervisor.qa_runs, limit=5)), "runs of daily QA")
        row = self._row(scene)
        wanted = self._trend_stamp(scene)
        if row is not None and self._trend.due(wanted):
            self._trend.begin(wanted)
            name = row.test.name
            spawn(self._trend.fill(wanted, partial(supervisor.qa_trend, name)), f"trend of {name}")

    def _trend_stamp(self, scene: Scene) -> object:
        row = self._row(scene)
        if row is None or scene.status is None:
            return None
        return (row.test.name, row.outcome, row.value, scene.status.qa is None)

    def _rows(self, scene: Scene) -> tuple[qa.Row, ...]:
        view = scene.status.qa if scene.status else None
        return qa.rows(self._tests.value or [], view, self._runs.value or [])

    def _row(self, scene: Scene) -> qa.Row | None:
        rows = self._rows(scene)
        return rows[min(self._chosen, len(rows) - 1)] if rows else None

    def _asked_lines(self, scene: Scene, width: int) -> Lines:
        if self._asked is None:
            return ()
        reason = qa.why_not(self._asked.act, scene, self._row(scene))
        if reason:
            return marked_paragraph(Tone.MEDIUM, f"Not now: {reason}", width)
        return (
            *marked_paragraph(Tone.MEDIUM, self._asked.words, width),
            line(key(" F8 "), strong(" does it   "), key(" any other key "), strong(" leaves it")),
        )

    def _refused(self, act: str) -> bool:
        scene = self.operator.scene()
        reason = qa.why_not(act, scene, self._row(scene))
        if reason:
            self._asked = None
            self.operator.answer(Answer(AnswerTone.REFUSED, reason))
            self.operator.draw()
        return bool(reason)

    def _affirm(self, asked: Asked) -> None:
        if not self._refused(asked.act):
            self._asked = asked
            self.operator.draw()

    # Acts

    def action_choose(self, step: int) -> None:
        """Move the cursor; an act that waited for F8 is left."""
        self._asked = None
        rows = self._rows(self.operator.scene())
        self._chosen = max(0, min(len(rows) - 1, self._chosen + step))
        self.operator.draw()

    def action_watch(self) -> None:
        """Watch the chosen interlock. It harms nobody: what is then broken in the room forbids acts, it allows none."""
        self._asked = None
        if self._refused("watch"):
            return
        row = self._row(self.operator.scene())
        if row is not None:
            self.operator.ask(WatchInterlock(test=row.test.name), f"Watch {row.test.name}")

    def action_note(self) -> None:
        """Enter what was measured by hand."""
        self._asked = None
        row = self._row(self.operator.scene())
        if row is not None and not self._refused("note"):
            self.operator.switch_screen(QaNoteScreen(row.test, row.limit))

    def action_begin(self, level: QaLevel) -> None:
        """Ask to begin a run."""
        status = self.operator.scene().status
        going = status is not None and status.qa is not None
        lost = " The run that is going on is abandoned and has FAILED." if going else ""
        words = f"Begin the daily QA at {level} limits, recorded under your name.{lost}"
        self._affirm(Asked("begin", words, BeginQa(level=level)))

    def action_finish(self) -> None:
        """Ask to end the run; what is missing is said before."""
        rows = self._rows(self.operator.scene())
        missing = [r.test.name for r in rows if r.test.required and r.outcome != "passed"]
        words = "End this run: every required test has passed."
        if missing:
            words = f"End this run. It will NOT pass: {len(missing)} required without a pass ({missing[0]}"
            words += f" and {len(missing) - 1} more)." if len(missing) > 1 else ")."
        self._affirm(Asked("finish", words, FinishQa()))

    def action_mode(self, mode: str) -> None:
        """Ask to change what the room is for."""
        if mode == qa.DAILY_QA:
            words = "Enter the mode daily QA: phantoms only, no patient can be opened."
            self._affirm(Asked("mode", words, EnterMode(mode="daily QA")))
        else:
            words = "Go back to the mode clinical rehearsal."
            self._affirm(Asked("mode", words, EnterMode(mode="clinical rehearsal")))

    def action_do(self) -> None:
        """Do what waits, once."""
        asked, self._asked = self._asked, None
        if asked is not None and not self._refused(asked.act):
            self.operator.ask(asked.command, asked.words)
        self.operator.draw()

    def on_key(self, event: events.Key) -> None:
        """Leave what waited for F8: a key that means nothing else here means no."""
        if event.key not in self._bindings.key_to_bindings:
            self._asked = None

    def on_hold(self) -> None:
        """HOLD leaves what waited."""
        self._asked = None
