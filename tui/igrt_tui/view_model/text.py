"""Lines of text with a meaning (tone) for each piece, and tables that never cut a word away."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from textwrap import wrap


class Tone(StrEnum):
    """What a piece of text means. A tone never carries a meaning alone: a word or symbol says it too."""

    NORMAL = "normal"
    DIM = "dim"
    STRONG = "strong"
    TITLE = "title"
    KEY = "key"
    OK = "ok"
    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    OLD = "old"
    BANNER = "banner"


SYMBOLS = {
    Tone.OK: "✓",
    Tone.INFO: "→",
    Tone.LOW: "*",
    Tone.MEDIUM: "▲",
    Tone.HIGH: "✗",
    Tone.OLD: "◌",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of text with one tone."""

    text: str
    tone: Tone = Tone.NORMAL


Line = tuple[Span, ...]
Lines = tuple[Line, ...]
Piece = str | Span


def line(*pieces: Piece) -> Line:
    """Make a line of pieces; bare strings are of normal tone."""
    return tuple(Span(piece) if isinstance(piece, str) else piece for piece in pieces)


def strong(text: str) -> Span:
    """Mark text that the eye should find first."""
    return Span(text, Tone.STRONG)


def dim(text: str) -> Span:
    """Mark text that is there for whoever looks for it."""
    return Span(text, Tone.DIM)


def key(text: str) -> Span:
    """Mark a key that can be pressed."""
    return Span(text, Tone.KEY)


def marked(tone: Tone, text: str) -> Span:
    """Put the symbol of a tone in front of a text, so that colour is never alone."""
    symbol = SYMBOLS.get(tone)
    return Span(f"{symbol} {text}" if symbol else text, tone)


def plain(of_line: Line) -> str:
    """Return the bare text of a line."""
    return "".join(span.text for span in of_line)


def length(of_line: Line) -> int:
    """Return the width of a line in columns."""
    return sum(len(span.text) for span in of_line)


def rule(title: str, width: int, note: Span | None = None) -> Line:
    """Head a panel: its title, a thin rule, and at the right a note (an age, a count)."""
    tail = f" {note.text}" if note else ""
    dashes = "─" * max(0, width - len(title) - 1 - len(tail))
    head = (Span(title, Tone.TITLE), Span(f" {dashes}", Tone.DIM))
    return (*head, Span(tail, note.tone)) if note else head


def paragraph(text: str, width: int, tone: Tone = Tone.NORMAL, indent: int = 0) -> Lines:
    """Break a text at spaces into lines of at most `width` columns; nothing of it is lost."""
    room = max(8, width - indent)
    pieces = wrap(text, room, break_long_words=True, break_on_hyphens=False) or [""]
    return tuple((Span(" " * indent + piece, tone),) for piece in pieces)


def marked_paragraph(tone: Tone, text: str, width: int) -> Lines:
    """Wrap a text behind the symbol of its tone, the further lines indented under the first."""
    symbol = SYMBOLS.get(tone, " ")
    body = paragraph(text, width, tone, indent=2)
    first = (Span(f"{symbol} ", tone), Span(plain(body[0])[2:], tone))
    return (first, *body[1:])


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its head, its width in columns and on which side its text stands."""

    head: str
    width: int
    right: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Piece]], *, head: bool = True
) -> Lines:
    """Lay rows out under heads. A cell that is too long takes further lines; no text is cut away."""
    lines: list[Line] = []
    if head:
        lines += _row(columns, [dim(column.head) for column in columns])
    for row in rows:
        lines += _row(columns, row)
    return tuple(lines)


def _row(columns: Sequence[Column], cells: Sequence[Piece]) -> list[Line]:
    spans = [Span(cell) if isinstance(cell, str) else cell for cell in cells]
    wrapped = [
        wrap(span.text, column.width, break_on_hyphens=False, drop_whitespace=True) or [""]
        for span, column in zip(spans, columns, strict=True)
    ]
    lines: list[Line] = []
    for index in range(max(len(pieces) for pieces in wrapped)):
        pieces_now = [pieces[index] if index < len(pieces) else "" for pieces in wrapped]
        lines.append(
            tuple(
                Span(_aligned(piece, column) + " ", span.tone)
                for piece, column, span in zip(pieces_now, columns, spans, strict=True)
            )
        )
    return lines


def _aligned(text: str, column: Column) -> str:
    return text.rjust(column.width) if column.right else text.ljust(column.width)


def toned(lines: Lines, tone: Tone) -> Lines:
    """Give all text one tone, except titles: the look of values that are old."""
    return tuple(
        tuple(span if span.tone is Tone.TITLE else Span(span.text, tone) for span in of_line)
        for of_line in lines
    )
