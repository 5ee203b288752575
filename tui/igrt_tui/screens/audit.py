"""The record: newest at the bottom, filtered by words, its chain checked on request."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input

from igrt_hw.models.record import RecordEntry
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import audit
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import dim, line
from igrt_tui.widgets.panel import Panel

PAGE = 200
LOADED_MAX = 2000  # a screen is no archive: `igrt audit show` prints the whole record


class AuditScreen(OperatorScreen):
    """The entries that this terminal has loaded."""

    TITLE_WORDS = "Record"
    KEYS = (
        ("type", "filter"),
        ("PgUp PgDn", "scroll"),
        ("^V", "check the chain"),
        ("F2", "console"),
    )
    HELP = (
        "Every event is in this record, each entry chained to the one before by SHA-256. Type words to filter by kind, "
        "person and text. Ctrl+V asks the service to check the whole chain."
    )
    AUTO_FOCUS = "#filter"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+v", "verify", show=False, priority=True),
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

    def body(self) -> ComposeResult:
        """Yield filter and list."""
        yield Panel(id="audit-head")
        yield Panel(classes="label").with_lines((line(dim("filter")),))
        yield Input(id="filter")
        with VerticalScroll(id="audit-scroll", can_focus=False):
            yield Panel(id="audit", classes="tall")

    def draw_body(self, scene: Scene) -> None:
        """Draw the entries and fetch those that are new."""
        total = scene.status.record_entries if scene.status else 0
        if total != self._loaded_at and not self._loading and not scene.local.gone:
            self._loading = True
            self.operator.spawn(self._load(total), "record")
        panel = self.panel("audit")
        shown = audit.matching(self._entries, self.part("filter", Input).value)
        width = max(20, panel.size.width - 2)
        verdict, ok = self._verdict
        self.panel("audit-head").show(
            audit.audit_head(len(shown), len(self._entries), total, verdict, ok, width)
        )
        lines = audit.audit_lines(shown, width)
        if lines != panel.lines:
            panel.show(lines)
            if self._follow:
                self.part("audit-scroll", VerticalScroll).scroll_end(animate=False)

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

    def action_page(self, step: int) -> None:
        """Scroll by a page; at the end new entries are followed."""
        scroll = self.part("audit-scroll", VerticalScroll)
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
