"""What every screen has: banner, alarm, identity and state at the top, answer and keys at the foot, and calm."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from igrt_tui.keys import GLOBAL_KEYS, SIGNED_OUT_KEYS
from igrt_tui.view_model import header
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel

if TYPE_CHECKING:
    from igrt_tui.app import OperatorApp


Part = TypeVar("Part", bound=Widget)


class OperatorScreen(Screen[None]):
    """A screen between the fixed head and foot. Subclasses give `body` and `draw_body`."""

    TITLE_WORDS: ClassVar[str] = ""
    KEYS: ClassVar[tuple[tuple[str, str], ...]] = ()
    HELP: ClassVar[str] = ""
    AUTO_FOCUS: ClassVar[str | None] = ""
    BINDINGS: ClassVar[list[BindingType]] = []
    ALLOW_SELECT: ClassVar[bool] = False
    composed = False

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[str, Widget] = {}

    @property
    def operator(self) -> OperatorApp:
        """The app, by its own type."""
        return cast("OperatorApp", self.app)

    def compose(self) -> ComposeResult:
        """Put head and foot round the body."""
        yield Panel(id="head")
        yield Panel(id="foot")
        with Vertical(id="body"):
            yield from self.body()

    def body(self) -> ComposeResult:
        """Yield the widgets between head and foot."""
        yield from ()

    def on_mount(self) -> None:
        """Find every panel while all are there, then allow drawing."""
        for found in self.query(Panel):
            if found.id is not None:
                self._parts[found.id] = found
        self.composed = "foot" in self._parts  # false if the app ends just now

    def on_screen_resume(self) -> None:
        """Draw at once when the screen comes to the front."""
        self.call_after_refresh(self.operator.draw)

    def draw(self, scene: Scene) -> None:
        """Draw head, body and foot from one scene."""
        self.panel("head").show(header.head(scene))
        keys = GLOBAL_KEYS if scene.local.user else SIGNED_OUT_KEYS
        self.panel("foot").show(header.foot(scene, self.TITLE_WORDS, self.keys_now(scene), keys))
        try:
            self.draw_body(scene)
        except NoMatches:
            return  # a screen that is being put up or taken down: the next drawing finds it whole, or gone

    def keys_now(self, scene: Scene) -> tuple[tuple[str, str], ...]:
        """Return the screen's own keys as they are offered now."""
        return self.KEYS

    def draw_body(self, scene: Scene) -> None:
        """Draw what is between head and foot."""

    def on_hold(self) -> None:
        """Take notice that HOLD was pressed while this screen was in front."""

    def panel(self, name: str) -> Panel:
        """Return a panel by its id."""
        return self.part(name, Panel)

    def part(self, name: str, kind: type[Part]) -> Part:
        """Return a widget by its id, found once: a screen that is being taken down is still drawn without harm."""
        found = self._parts.get(name)
        if not isinstance(found, kind):
            found = self.query_one(f"#{name}", kind)
            self._parts[name] = found
        return found

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            self.operator.calm(error, f"screen {type(self).__name__}")
