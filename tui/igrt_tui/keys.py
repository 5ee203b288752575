"""Keys as data: one table that the screens bind, the foot of the screen shows and the help explains."""

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
)
SIGNED_OUT_KEYS: tuple[tuple[str, str], ...] = (
    ("F1", "Help"),
    ("^T", "Colours"),
    ("^Q", "Quit"),
)
