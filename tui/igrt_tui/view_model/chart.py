"""Values over time drawn with characters: points in order are dots, the others crosses, levels are named lines.

Pure. What is beyond the picture is said below it, so that nothing is hidden by its scale.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from igrt_tui.view_model.text import Line, Lines, Span, Tone, dim, line, paragraph

LABEL = 7
GOOD, BAD = "●", "✗"
REACH = (
    2.5  # a level further away than this many times the largest value would press the values flat
)


@dataclass(frozen=True, slots=True)
class Point:
    """One value at a place from 0 (left) to 1 (right); `good`: nothing is to be said of it."""

    at: float
    value: float
    good: bool


@dataclass(frozen=True, slots=True)
class Level:
    """A line across the picture and its name."""

    value: float
    name: str


def places(times: Sequence[float]) -> tuple[float, ...]:
    """Lay times out from 0 to 1; a single one, or several of one instant, stand in the middle."""
    if not times:
        return ()
    first, last = min(times), max(times)
    if last <= first:
        return tuple(0.5 for _ in times)
    return tuple((time - first) / (last - first) for time in times)


def in_reach(levels: Sequence[Level], values: Sequence[float]) -> tuple[Level, ...]:
    """Return the levels that are drawn: the nearest one always, others if the values stay readable beside them."""
    if not levels:
        return ()
    nearest = min(abs(level.value) for level in levels)
    most = max((abs(value) for value in values), default=0.0)
    return tuple(
        level for level in levels if abs(level.value) <= max(nearest, REACH * most) + 1e-12
    )


def chart(
    points: Sequence[Point],
    levels: Sequence[Level],
    width: int,
    height: int,
    ends: tuple[str, str],
    nothing: str = "no values yet",
) -> Lines:
    """Draw `height` lines and one of dates (`ends`: what stands at the left and at the right below)."""
    if not points:
        return paragraph(nothing, width, Tone.DIM)
    drawn = in_reach(levels, [point.value for point in points])
    marks = [*(point.value for point in points), *(level.value for level in drawn), 0.0]
    low, high = min(marks), max(marks)
    if high - low < 1e-9:
        high = low + 1.0
    margin = max((len(level.name) + 1 for level in drawn), default=0)
    cols, rows = max(8, width - LABEL - 1 - margin), max(3, height)

    def row_of(value: float) -> int:
        return round((high - value) / (high - low) * (rows - 1))

    grid = _levels_drawn(drawn, rows, cols, row_of)
    for point in sorted(points, key=lambda p: p.good, reverse=True):
        col = round(point.at * (cols - 1))
        mark = Span(GOOD, Tone.STRONG) if point.good else Span(BAD, Tone.MEDIUM)
        grid[row_of(point.value)][col] = mark
    labels = {row_of(value): f"{value:+.1f}" for value in (high, low, 0.0)}
    labels |= {row_of(level.value): f"{level.value:+.1f}" for level in drawn}
    if row_of(0.0) in labels:
        labels[row_of(0.0)] = "0.0"
    names = {row_of(level.value): f" {level.name}" for level in reversed(drawn)}
    lines: list[Line] = [
        (dim(labels.get(row, "").rjust(LABEL) + "│"), *_merged(cells), dim(names.get(row, "")))
        for row, cells in enumerate(grid)
    ]
    gap = max(1, cols - len(ends[0]) - len(ends[1]))
    lines.append(line(dim(" " * (LABEL + 1) + ends[0] + " " * gap + ends[1])))
    lines += _beyond(levels, drawn, width)
    return tuple(lines)


def _levels_drawn(
    drawn: Sequence[Level], rows: int, cols: int, row_of: Callable[[float], int]
) -> list[list[Span]]:
    grid = [[Span(" ")] * cols for _ in range(rows)]
    zero = row_of(0.0)
    grid[zero] = [Span("─", Tone.DIM)] * cols
    for level in drawn:
        grid[row_of(level.value)] = [Span("┄", Tone.DIM)] * cols
    return grid


def _beyond(levels: Sequence[Level], drawn: Sequence[Level], width: int) -> Lines:
    left = [level for level in levels if level not in drawn and level.value > 0]
    if not left:
        return ()
    words = ", ".join(f"{level.name} {level.value:g}" for level in left)
    return paragraph(f"beyond this picture: {words}", width, Tone.DIM)


def _merged(cells: Sequence[Span]) -> Line:
    """Join neighbours of one tone, so that a line is a few pieces and not a hundred."""
    spans: list[Span] = []
    for cell in cells:
        if spans and spans[-1].tone is cell.tone:
            spans[-1] = Span(spans[-1].text + cell.text, cell.tone)
        else:
            spans.append(cell)
    return tuple(spans)
