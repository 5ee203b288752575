"""Shifts of a patient fraction by fraction, and one of their numbers drawn against the action levels of the site."""

from collections.abc import Sequence
from dataclasses import dataclass

from igrt_hw.models.trends import ActionLevels, AxisSpread, FractionShift, ShiftTrend
from igrt_tui.view_model.chart import Level, Point, chart
from igrt_tui.view_model.numbers import signed_number
from igrt_tui.view_model.text import (
    Column,
    Line,
    Lines,
    Piece,
    Span,
    Tone,
    dim,
    line,
    marked,
    marked_paragraph,
    paragraph,
    rule,
    strong,
    table,
)

USUAL_DEVIATIONS = 3.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a shift that can be drawn; `axis` is its index among the six, None for a size."""

    name: str
    unit: str
    axis: int | None

    def of(self, shift: FractionShift) -> float:
        """Return the number."""
        if self.axis is None:
            return shift.mm if self.unit == "mm" else shift.deg
        return shift.correction.values()[self.axis]


QUANTITIES = (
    Quantity("length of the shift", "mm", None),
    Quantity("size of the rotation", "deg", None),
    Quantity("lateral", "mm", 0),
    Quantity("longitudinal", "mm", 1),
    Quantity("vertical", "mm", 2),
    Quantity("rotation", "deg", 3),
    Quantity("pitch", "deg", 4),
    Quantity("roll", "deg", 5),
)


def levels_of(quantity: Quantity, levels: ActionLevels) -> tuple[Level, ...]:
    """Return the action levels of a quantity; both signs where it has a direction."""
    if quantity.unit == "mm":
        values = (levels.warn_mm, levels.second_person_mm, levels.window_mm)
    else:
        values = (levels.warn_deg, levels.second_person_deg, levels.window_deg)
    up = tuple(
        Level(value, name)
        for value, name in zip(values, ("warning", "second person", "refused"), strict=True)
    )
    if quantity.axis is None:
        return up
    return (*up, *(Level(-level.value, level.name) for level in up))


def history_line(trend: ShiftTrend | None, problem: str) -> Line:
    """Say in one line what this patient was moved by before: how often, how far on the mean, the last one."""
    if trend is None:
        return line(dim(f"earlier shifts: {problem or 'asking the supervisor ...'}"))
    if not trend.shifts:
        return line(dim("earlier shifts: none of this patient and plan"))
    last = trend.shifts[-1]
    mean = sum(shift.mm for shift in trend.shifts) / len(trend.shifts)
    six = last.correction.values()
    return line(
        dim(f"earlier {len(trend.shifts)} (^R), mean {mean:.1f} mm; last "),
        " ".join(signed_number(value) for value in six[:3]),
        dim(" mm"),
    )


def table_panel(
    trend: ShiftTrend | None, problem: str, scrolled: int, width: int, height: int
) -> Lines:
    """List shifts, newest last; `scrolled` counts fractions hidden below. Means and spreads stand under them."""
    head = rule("Shifts by fraction", width)
    if problem:
        return (head, *marked_paragraph(Tone.MEDIUM, problem, width))
    if trend is None:
        return (head, line(dim("asking the supervisor ...")))
    if not trend.shifts:
        return (head, line(dim("No shift of this patient and plan has been executed yet.")))
    columns = (
        Column("fx", 3, right=True),
        Column("date", 10),
        *(Column(name, 6, right=True) for name in ("lat", "lng", "vrt", "rtn", "pitch", "roll")),
        Column("mm", 5, right=True),
        Column("deg", 4, right=True),
        Column("left over", 10, right=True),
        Column("above", max(8, width - 3 - 10 - 36 - 5 - 4 - 10 - 12)),
    )
    spreads = [_spread_row(trend.spreads, which) for which in ("mean", "SD", "last in SD")]
    if len(trend.shifts) < 2:
        spreads = spreads[:1]
    room = max(1, height - 2 - len(spreads))
    end = len(trend.shifts) - max(0, min(scrolled, len(trend.shifts) - room))
    shown = trend.shifts[max(0, end - room) : end]
    count = f"{max(0, end - room) + 1} to {end} of {len(trend.shifts)}, mm and degrees"
    body = table(columns, [*(_row(shift) for shift in shown), *spreads])
    return (rule("Shifts by fraction", width, dim(count)), *body)


def _row(shift: FractionShift) -> tuple[Piece, ...]:
    six = tuple(signed_number(value) for value in shift.correction.values())
    left = "not seen" if shift.residual_mm is None else f"{shift.residual_mm:.1f} mm"
    above = marked(Tone.MEDIUM, shift.above[-1]) if shift.above else dim("")
    numbers = (f"{shift.mm:.1f}", f"{shift.deg:.1f}")
    return (str(shift.fraction), dim(shift.at_utc[:10]), *six, *numbers, dim(left), above)


def _spread_row(spreads: Sequence[AxisSpread], which: str) -> tuple[Piece, ...]:
    cells: list[Piece] = []
    for spread in spreads:
        if which == "mean":
            cells.append(strong(signed_number(spread.mean)))
        elif which == "SD":
            cells.append(dim("-" if spread.deviation is None else f"{spread.deviation:.1f}"))
        else:
            cells.append(_last(spread))
    return (dim(""), strong(which), *cells, "", "", "", "")


def _last(spread: AxisSpread) -> Span:
    last = spread.last_in_deviations
    if last is None:
        return dim("-")
    unusual = abs(last) >= USUAL_DEVIATIONS
    return Span(f"▲{last:+.1f}", Tone.MEDIUM) if unusual else dim(f"{last:+.1f}")


def chart_panel(trend: ShiftTrend | None, quantity: Quantity, width: int, height: int) -> Lines:
    """Draw one number over the fractions with its action levels."""
    title = f"{quantity.name}, {quantity.unit}"
    if trend is None or not trend.shifts:
        return (rule(title, width),)
    levels = levels_of(quantity, trend.levels)
    warn = levels[0].value
    last = len(trend.shifts) - 1
    points = [
        Point(index / last if last else 0.5, quantity.of(shift), abs(quantity.of(shift)) <= warn)
        for index, shift in enumerate(trend.shifts)
    ]
    above = sum(not point.good for point in points)
    words = f"{above} of {len(points)} above the warning level of {trend.levels.site}"
    told: Line = line(marked(Tone.MEDIUM, words)) if above else line(dim(words))
    ends = (f"fraction {trend.shifts[0].fraction}", f"fraction {trend.shifts[-1].fraction}")
    drawn = chart(points, levels, width, height - 4, ends)
    return (rule(title, width, dim("← → another number")), *drawn, told)


def no_patient(width: int) -> Lines:
    """Say what to do where nobody lies on the couch."""
    return (
        rule("Shifts by fraction", width),
        *paragraph(
            "No patient is bound. Open a patient (o on the console): this screen shows the shifts of all "
            "fractions of that plan. `igrt trends shifts` prints those of any patient.",
            width,
            Tone.DIM,
        ),
    )
