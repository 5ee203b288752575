"""What every screen has: banner, alarm, identity and state at the top, answer and keys at the foot, and calm."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
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
    FIELD_HELP: ClassVar[dict[str, str]] = {}
    """Id of a widget that can have the focus -> what F1 says of it, before it speaks of the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: dict[str, Widget] = {}
        self._whole = False

    @property
    def operator(self) -> OperatorApp:
        """The app, by its own type."""
        return cast("OperatorApp", self.app)

    def compose(self) -> ComposeResult:
        """Put head and foot round the body."""
        yield self._kept(Panel(id="head"))
        yield self._kept(Panel(id="foot"))
        with Vertical(id="body"):
            for widget in self.body():
                yield self._kept(widget)

    def _kept(self, widget: Widget) -> Widget:
        if widget.id is not None:
            self._parts[widget.id] = widget
        return widget

    @property
    def composed(self) -> bool:
        """Whether every part is on the screen, so that it may be drawn.

        A screen is put up part by part, on a busy machine with drawings in between, and taken down the same way when
        the app ends. The parts are known from `compose` on: none is ever looked for in a tree that is not whole.
        """
        if not self._whole:
            self._whole = "foot" in self._parts and all(w.is_mounted for w in self._parts.values())
        return self._whole

    def body(self) -> ComposeResult:
        """Yield the widgets between head and foot."""
        yield from ()

    def on_screen_resume(self) -> None:
        """Draw at once when the screen comes to the front."""
        self.call_after_refresh(self.operator.draw)

    def draw(self, scene: Scene) -> None:
        """Draw head, body and foot from one scene."""
        self.panel("head").show(header.head(scene))
        keys = GLOBAL_KEYS if scene.local.user else SIGNED_OUT_KEYS
        self.panel("foot").show(header.foot(scene, self.TITLE_WORDS, self.keys_now(scene), keys))
        self.draw_body(scene)

    def keys_now(self, scene: Scene) -> tuple[tuple[str, str], ...]:
        """Return the screen's own keys as they are offered now."""
        return self.KEYS

    def draw_body(self, scene: Scene) -> None:
        """Draw what is between head and foot."""

    def behind(self, scene: Scene) -> None:
        """Watch what is true while help stands in front of this screen."""

    def on_hold(self) -> None:
        """Take notice that HOLD was pressed while this screen was in front."""

    def panel(self, name: str) -> Panel:
        """Return a panel by its id."""
        return self.part(name, Panel)

    def part(self, name: str, kind: type[Part]) -> Part:
        """Return a widget that `body` yielded, by its id.

        Raises:
            LookupError: there is none of this id and kind: a defect of the screen.
        """
        found = self._parts.get(name)
        if not isinstance(found, kind):
            raise LookupError(f"{type(self).__name__} has no {kind.__name__} '{name}'")
        return found

    def help_words(self) -> str:
        """Return what F1 says of this screen as it is now."""
        return self.HELP

    def focus_help(self) -> tuple[str, str] | None:
        """Return name and meaning of what has the focus; None if nothing has, or nothing is to be said of it."""
        focused = self.focused
        name = focused.id if focused is not None and focused.id else ""
        return (name, self.FIELD_HELP[name]) if name in self.FIELD_HELP else None

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            self.operator.calm(error, f"screen {type(self).__name__}")
