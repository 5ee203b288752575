"""Keys as data: one table that the screens bind, the foot of the screen shows and the help explains."""

HOLD_KEYS = ("escape", "f12")
HAND_KEY = "space"

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
    ("^Q", "Quit"),
)
SIGNED_OUT_KEYS: tuple[tuple[str, str], ...] = (
    ("F1", "Help"),
    ("^T", "Colours"),
    ("^Q", "Quit"),
)
