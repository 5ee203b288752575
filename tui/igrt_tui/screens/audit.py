"""The record: newest at the bottom, filtered, searched, exported, its chain checked on request."""

import asyncio
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Input

from igrt_hw.models.record import RecordEntry
from igrt_tui import export_file
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import audit
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.text import dim, line
from igrt_tui.widgets.panel import Panel

PAGE = 200
LOADED_MAX = 2000  # a screen is no archive: the export and `igrt audit show` have the whole record


class AuditScreen(OperatorScreen):
    """The entries that this terminal has loaded, with a field that narrows them and one that finds among them."""

    TITLE_WORDS = "Record"
    KEYS = (
        ("Tab", "filter, find"),
        ("^N ^B", "next, before"),
        ("^O", "older"),
        ("^E", "export"),
        ("^V", "check chain"),
        ("^L", "review list"),
    )
    HELP = (
        "Every event is in this record, each entry chained to the one before by SHA-256. The filter narrows the list: "
        "words, kind:approval, by:name, from:09:30, to:10:00 (UTC). Find marks entries without hiding the others; "
        "Ctrl+N and Ctrl+B go to the next and the one before. PgUp and PgDn scroll, Ctrl+O loads older entries. "
        "Ctrl+E writes every entry of the whole record that fits the filter to a new file (JSON lines, readable by you "
        "alone; it holds patient data). Ctrl+V asks the service to check the whole chain. Ctrl+L shows overrides and "
        "alarm rates."
    )
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "filter": "Only entries that fit every word are shown: words of kind, person or text; kind:approval; by:name; "
        "from:09:30 and to:10:00 in UTC, also with a date.",
        "find": "Entries that hold this text are marked with a dot, the present one with ▶. Enter goes to the next.",
    }
    AUTO_FOCUS = "#filter"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+v", "verify", show=False, priority=True),
        Binding("ctrl+e", "export", show=False, priority=True),
        Binding("ctrl+o", "older", show=False, priority=True),
        Binding("ctrl+n", "find(1)", show=False, priority=True),
        Binding("ctrl+b", "find(-1)", show=False, priority=True),
        Binding("ctrl+l", "review_list", show=False, priority=True),
        Binding("pageup", "page(-1)", show=False, priority=True),
        Binding("pagedown", "page(1)", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._entries: list[RecordEntry] = []
        self._verdict: tuple[str, bool | None] = ("not checked in this session", None)
        self._loading = False
        self._loaded_at = -1
        self._follow = True
        self._at: int | None = None  # sequence of the entry that the search stands at
        self._listed: tuple[object, audit.Listing] | None = None
        self._exporting = False
        self._scrolled = VerticalScroll(id="audit-scroll", can_focus=False)

    def body(self) -> ComposeResult:
        """Yield the two fields and the list."""
        yield Panel(id="audit-head")
        with Horizontal(id="audit-fields"):
            yield Panel(classes="audit-label").with_lines((line(dim("filter")),))
            yield Input(id="filter")
            yield Panel(classes="audit-label").with_lines((line(dim("find")),))
            yield Input(id="find")
            yield Panel(id="audit-found")
        with self._scroll():
            yield Panel(id="audit", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Draw the entries and fetch those that are new."""
        total = scene.status.record_entries if scene.status else 0
        if total != self._loaded_at and not self._loading and not scene.local.gone:
            self._loading = True
            self.operator.spawn(self._load(total), "record")
        panel, (verdict, ok) = self.panel("audit"), self._verdict
        shown, found = self._shown(), self._found()
        width = max(20, panel.size.width - 2)
        self.panel("audit-head").show(
            audit.audit_head(len(shown), len(self._entries), total, verdict, ok, width)
        )
        at = self._index(shown)
        words = audit.search_words(self.part("find", Input).value, found, at)
        self.panel("audit-found").show((line(dim(words)),))
        made = self._listing(shown, found, at, width)
        if made.lines != panel.lines:
            panel.show(made.lines)
            if self._follow:
                self._scroll().scroll_end(animate=False)

    def _shown(self) -> tuple[RecordEntry, ...]:
        return audit.matching(self._entries, self.part("filter", Input).value)

    def _found(self) -> tuple[int, ...]:
        return audit.hits(self._shown(), self.part("find", Input).value)

    def _index(self, shown: tuple[RecordEntry, ...]) -> int | None:
        return next((i for i, entry in enumerate(shown) if entry.sequence == self._at), None)

    def _listing(
        self, shown: tuple[RecordEntry, ...], found: tuple[int, ...], at: int | None, width: int
    ) -> audit.Listing:
        """Lay the entries out, once for each set of them: thousands of lines twenty times a second are not free."""
        ends = (shown[0].sequence, shown[-1].sequence) if shown else ()
        stamp = (len(shown), ends, self.part("filter", Input).value, found, at, width)
        if self._listed is None or self._listed[0] != stamp:
            self._listed = (stamp, audit.listing(shown, width, found, at))
        return self._listed[1]

    def _scroll(self) -> VerticalScroll:
        return self._scrolled

    # More of it

    async def _load(self, total: int) -> None:
        try:
            after = self._entries[-1].sequence if self._entries else max(0, total - PAGE)
            fresh = await self.operator.supervisor.record(after=after, limit=PAGE)
            self._entries = (self._entries + fresh)[-LOADED_MAX:]
            self._loaded_at = total if len(fresh) < PAGE else -1
        except Exception:
            self._loaded_at = total  # asked again when the record grows, not twenty times a second
            raise
        finally:
            self._loading = False

    def action_older(self) -> None:
        """Load the entries before the first one that is here."""
        if self._loading or not self._entries:
            return
        first = self._entries[0].sequence
        if first <= 1:
            self.operator.answer(Answer(AnswerTone.NOTE, "the record begins here"))
        elif len(self._entries) + PAGE > LOADED_MAX:
            words = f"{LOADED_MAX} entries are all this screen holds: narrow them and export (^E)"
            self.operator.answer(Answer(AnswerTone.REFUSED, words))
        else:
            self._loading, self._follow = True, False
            self.operator.spawn(self._load_older(first), "older entries")

    async def _load_older(self, first: int) -> None:
        try:
            after = max(0, first - 1 - PAGE)
            older = await self.operator.supervisor.record(after=after, limit=first - 1 - after)
            self._entries = [entry for entry in older if entry.sequence < first] + self._entries
        finally:
            self._loading = False

    # Find

    def on_input_changed(self, event: Input.Changed) -> None:
        """A search that was changed begins anew."""
        if event.input.id == "find":
            self._at = None
        self.operator.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the search goes to the next one; in the filter it does nothing."""
        if event.input.id == "find":
            self.action_find(1)

    def action_find(self, step: int) -> None:
        """Go to the next entry that was found, or the one before, and bring it into view."""
        shown = self._shown()
        to = audit.next_hit(self._found(), self._index(shown), step)
        if to is None:
            return
        self._at, self._follow = shown[to].sequence, False
        self.operator.draw()
        if self._listed is not None:
            scroll = self._scroll()
            line_of = self._listed[1].starts[to]
            scroll.scroll_to(y=max(0, line_of - scroll.size.height // 2), animate=False)

    # Export

    def action_export(self) -> None:
        """Write everything that fits the filter, from the whole record, to a new file."""
        if self._exporting:
            return
        self._exporting = True
        self.operator.answer(Answer(AnswerTone.WORKING, "exporting ..."))
        self.operator.spawn(self._export(self.part("filter", Input).value), "export")

    async def _export(self, wanted: str) -> None:
        try:
            whole: list[RecordEntry] = []
            while page := await self.operator.supervisor.record(
                after=whole[-1].sequence if whole else 0, limit=PAGE
            ):
                whole += page
            fitting = audit.matching(whole, wanted)
            status = self.operator.scene().status
            name = audit.export_name(status.now_utc if status else "", fitting)
            folder, text = self.operator.export_folder, audit.export_lines(fitting)
            try:
                path = await asyncio.to_thread(export_file.write_new, folder, name, text)
            except OSError as error:
                words = f"the export could not be written: {error}"
                self.operator.answer(Answer(AnswerTone.REFUSED, words))
                return
            words = f"{len(fitting)} of {len(whole)} entries written to {path}"
            self.operator.answer(Answer(AnswerTone.ACCEPTED, words))
        finally:
            self._exporting = False

    def action_review_list(self) -> None:
        """Go to overrides and alarm rates."""
        self.operator.go("review_list")

    def action_page(self, step: int) -> None:
        """Scroll by a page; at the end new entries are followed."""
        scroll = self._scroll()
        scroll.scroll_relative(y=step * max(1, scroll.size.height - 1), animate=False)
        self._follow = step > 0 and scroll.scroll_target_y >= scroll.max_scroll_y - 1

    def action_verify(self) -> None:
        """Ask the service to check the chain."""
        self._verdict = ("being checked ...", None)
        self.operator.spawn(self._verify(), "verify record")

    async def _verify(self) -> None:
        try:
            verdict = await self.operator.supervisor.verify_record()
        except Exception:
            self._verdict = ("could not be checked", None)
            raise
        words = (
            f"holds over {verdict.entries} entries" if verdict.ok else f"BROKEN: {verdict.problem}"
        )
        self._verdict = (words, verdict.ok)
