"""Numbers as people read and type them: always a sign, always a unit, never a negative zero."""

import re
from typing import Literal

Unit = Literal["mm", "deg"]

DECIMALS = (
    1  # what is read is what is typed: the approval asks for one decimal, so every screen shows one
)
FINE_DECIMALS = {"mm": 1, "deg": 2}
MISSING = "none"

_TYPED = re.compile(r"^([+-])(\d{1,4})(?:\.(\d{1,3}))?$")


def signed(value: float, unit: str) -> str:
    """Return e.g. `+3.2 mm` or `-0.4 deg`; a value that rounds to nothing has no sign."""
    return f"{signed_number(value)} {unit}"


def signed_number(value: float) -> str:
    """Return the number of `signed` without its unit."""
    text = f"{value:+.{DECIMALS}f}"
    return f"{0:.{DECIMALS}f}" if float(text) == 0 else text


def unsigned(value: float, unit: str) -> str:
    """Return a length or angle that has no direction, e.g. `12.4 mm`."""
    return f"{value:.{FINE_DECIMALS.get(unit, 2)}f} {unit}"


def read_back(text: str) -> tuple[float, str]:
    """Return value and unit of what `signed` wrote; raise ValueError on anything else."""
    number, _, unit = text.partition(" ")
    if unit not in FINE_DECIMALS:
        raise ValueError(f"'{text}' has no known unit")
    return float(number), unit


def typed_number(text: str) -> float | None:
    """Return a number typed with its sign in front (`+3.2`, `-0.4`), else None. Zero may stand without a sign."""
    cleaned = text.strip().replace("−", "-")
    if re.fullmatch(r"0(?:\.0{1,3})?", cleaned):
        return 0.0
    return float(cleaned) if _TYPED.match(cleaned) else None


def age(milliseconds: float | None) -> str:
    """Return how old something is in a form that is short and never misread."""
    if milliseconds is None:
        return "never heard"
    if milliseconds < 0:
        return "clock went back"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return duration(milliseconds / 1000)


def duration(seconds: float) -> str:
    """Return `4.2 s`, `2 min 05 s` or `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def countdown(seconds: float) -> str:
    """Return `4:05`; `over` when it has run out."""
    if seconds <= 0:
        return "over"
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def bar(fraction: float, width: int) -> str:
    """Draw a fraction from 0 to 1 as a bar of `width` columns."""
    filled = round(max(0.0, min(1.0, fraction)) * width)
    return "█" * filled + "░" * (width - filled)


_LEVELS = "▁▂▃▄▅▆▇█"


def strip(profile: tuple[float, ...], width: int) -> str:
    """Draw a profile as a strip of small columns; each column shows the least value of its stretch."""
    if not profile or width < 1:
        return ""
    columns = [
        min(
            profile[
                index * len(profile) // width : max(
                    (index + 1) * len(profile) // width, index * len(profile) // width + 1
                )
            ]
        )
        for index in range(width)
    ]
    top = max(max(columns), 1e-9)
    return "".join(_LEVELS[min(7, max(0, int(value / top * 8)))] for value in columns)
