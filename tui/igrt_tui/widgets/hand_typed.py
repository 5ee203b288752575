"""A field that takes only what a hand types: no paste, no suggestions, no selection by mouse."""

from textual import events
from textual.message import Message
from textual.widgets import Input


class HandTyped(Input):
    """An input that refuses pasted text and says so."""

    class PasteRefused(Message):
        """Somebody tried to paste."""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.post_message(self.PasteRefused())

    def action_paste(self) -> None:
        """Refuse the app's own clipboard as well."""
        self.post_message(self.PasteRefused())

    def action_copy(self) -> None:
        """Copy nothing: what was typed once is to be typed again."""

    def action_cut(self) -> None:
        """Cut nothing."""
