"""Keys as data: one table that the screens bind, the foot of the screen shows and the help explains."""

from igrt_tui.view_model.places import Place

HOLD_KEYS = ("escape", "f12")
HAND_KEY = "space"

SCREEN_KEYS: tuple[tuple[str, str, str], ...] = (
    ("f2", "console", "Console"),
    ("f3", "images", "Images"),
    ("f4", "review", "Review"),
    ("f6", "motion", "Motion"),
    ("f7", "alarms", "Alarms"),
    ("f9", "audit", "Record"),
    ("f10", "room", "Room"),
    ("ctrl+d", "qa", "Daily QA"),
    ("ctrl+r", "trends", "Trends"),
)
"""Key, name of the screen in `app.BASE_SCREENS`, word at the foot. A new screen is one line here and one there."""

GLOBAL_KEYS: tuple[tuple[str, str], ...] = (
    ("Esc", "HOLD"),
    ("F1", "Help"),
    ("F2", "Console"),
    ("F3", "Images"),
    ("F4", "Review"),
    ("F5", "Approve"),
    ("F6", "Motion"),
    ("F7", "Alarms"),
    ("F9", "Record"),
    ("F10", "Room"),
    ("^P", "More"),
)
PLACES: tuple[Place, ...] = (
    Place("console", "Console", "F2", "where the loop stands, what is needed next"),
    Place("images", "Images", "F3", "kV pair, DRR, window and level, match by hand"),
    Place("review", "Review", "F4", "the proposed shift in numbers"),
    Place("motion", "Motion", "F6", "commanded and actual, time left, clearance"),
    Place("alarms", "Alarms", "F7", "all alarms, what to do, silence"),
    Place("audit", "Record", "F9", "every event: filter, find, export"),
    Place("room", "Room", "F10", "the room as its clearance is checked, dry run"),
    Place("qa", "Daily QA", "^D", "the daily tests, their results and trends"),
    Place("trends", "Trends", "^R", "shifts by fraction with action levels"),
    Place("review_list", "Review list", "", "overrides with reasons and rates, alarm rates"),
    Place("procedures", "Procedures", "", "recovery and egress, step by step"),
    Place("help", "Help", "F1", "what the console is for, marks and keys"),
    Place("colours", "Colours", "^T", "dark, light, high contrast"),
    Place("quit", "Quit", "^Q", "asks for a word"),
)
"""What `Where to` lists: screens and what can harm nobody."""
SIGNED_OUT_KEYS: tuple[tuple[str, str], ...] = (
    ("F1", "Help"),
    ("^T", "Colours"),
    ("^Q", "Quit"),
)
