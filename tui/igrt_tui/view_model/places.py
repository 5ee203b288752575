"""The list of places: what fits what was typed."""

from collections.abc import Sequence
from dataclasses import dataclass

from igrt_tui.view_model.text import Column, Lines, Span, Tone, dim, key, line, rule, strong, table


@dataclass(frozen=True, slots=True)
class Place:
    """One place: its name for the app, its words, its key (empty: only this list leads there), what it is for."""

    name: str
    words: str
    key: str
    purpose: str


def matching(places: Sequence[Place], wanted: str) -> tuple[Place, ...]:
    """Return the places whose words or purpose contain every typed word, those whose name begins with it first."""
    words = wanted.lower().split()
    found = [
        place
        for place in places
        if all(word in f"{place.words} {place.purpose}".lower() for word in words)
    ]
    first = words[0] if words else ""
    return tuple(sorted(found, key=lambda place: not place.words.lower().startswith(first)))


def places_panel(found: Sequence[Place], chosen: int, width: int) -> Lines:
    """List what fits, with keys, the chosen one marked."""
    head = rule("Where to", width)
    if not found:
        return (head, line(dim("nothing fits; take a letter away")))
    columns = (
        Column("", 1),
        Column("", 22),
        Column("", 7),
        Column("", max(12, width - 1 - 22 - 7 - 4)),
    )
    rows = [
        (
            "▶" if index == chosen else " ",
            strong(place.words) if index == chosen else place.words,
            key(place.key) if place.key else "",
            Span(place.purpose, Tone.DIM),
        )
        for index, place in enumerate(found)
    ]
    return (head, *table(columns, rows, head=False))
