"""A clearance map in a terminal: two cells a character in half blocks, or letters where there is no colour."""

from __future__ import annotations

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Text

from igrt_hw.machine.clearance_map import CellState, ClearanceMap

FULL_SCALE_MM = 250.0
"""Clearance shown in the last colour, and as 9."""

# Dark blue to yellow, as the figure's: readable in grey and to colour-blind eyes.
_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_CONTACT, _OPEN, _UNREACHABLE = (0, 0, 0), (150, 40, 40), (128, 128, 128)


def map_text(found: ClearanceMap, *, colour: bool) -> Text:
    """The map with its axes, highest row first. Black or `#`: contact; red or `?`: the margin is not certain."""
    lines = _blocks(found) if colour else _letters(found)
    step = 2 if colour else 1
    row, column = found.row, found.column
    text = Text(f"{row.name} ({row.unit}) up, {column.name} ({column.unit}) across\n")
    width = (row.stop - row.start) / row.cells
    for number, line in enumerate(lines):
        top = row.stop - width * step * number
        label = f"{top:8.1f} " if number % 4 == 0 else " " * 9
        text.append(label)
        text.append_text(line)
        text.append("\n")
    ends = f"{column.start:<10.1f}{'':{max(0, column.cells - 20)}}{column.stop:>10.1f}"
    text.append(" " * 9 + ends + "\n")
    if colour:
        text.append("         contact ")
        text.append("██", _style(_CONTACT, _CONTACT))
        text.append(f"  less than {found.margin_mm:g} mm possible ")
        text.append("██", _style(_OPEN, _OPEN))
        text.append("  0 ")
        for share in np.linspace(0.0, 1.0, 16):
            text.append("█", _style(_ramp(float(share)), _ramp(float(share))))
        text.append(f" {FULL_SCALE_MM:g} mm and more\n")
    else:
        said = f"# contact, ? less than {found.margin_mm:g} mm possible, 0 to 9: clearance up to {FULL_SCALE_MM:g} mm"
        text.append(" " * 9 + said + "\n")
    if (found.state == CellState.UNREACHABLE).any():
        text.append(" " * 9 + "grey or x: out of the couch's reach\n")
    return text


def _letters(found: ClearanceMap) -> list[Text]:
    shares = np.clip(found.lower_mm / FULL_SCALE_MM * 9.0, 0.0, 9.0).astype(int)
    lines = []
    for i in range(found.row.cells - 1, -1, -1):
        marks = [_letter(found, i, j, int(shares[i, j])) for j in range(found.column.cells)]
        lines.append(Text("".join(marks)))
    return lines


def _letter(found: ClearanceMap, i: int, j: int, share: int) -> str:
    if found.state[i, j] == CellState.UNREACHABLE:
        return "x"
    if found.lower_mm[i, j] <= 0.0:
        return "#"
    return str(share) if found.state[i, j] == CellState.CLEAR else "?"


def _blocks(found: ClearanceMap) -> list[Text]:
    lines = []
    for i in range(found.row.cells - 1, -1, -2):
        line = Text()
        for j in range(found.column.cells):
            upper = _colour(found, i, j)
            lower = _colour(found, i - 1, j) if i > 0 else upper
            line.append("▀", _style(upper, lower))
        lines.append(line)
    return lines


def _colour(found: ClearanceMap, i: int, j: int) -> tuple[int, int, int]:
    if found.state[i, j] == CellState.UNREACHABLE:
        return _UNREACHABLE
    if found.lower_mm[i, j] <= 0.0:
        return _CONTACT
    if found.state[i, j] != CellState.CLEAR:
        return _OPEN
    return _ramp(float(min(1.0, found.lower_mm[i, j] / FULL_SCALE_MM)))


def _ramp(share: float) -> tuple[int, int, int]:
    at = share * (len(_RAMP) - 1)
    k = min(int(at), len(_RAMP) - 2)
    r, g, b = (round(a + (b - a) * (at - k)) for a, b in zip(_RAMP[k], _RAMP[k + 1], strict=True))
    return r, g, b


def _style(front: tuple[int, int, int], back: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*front), bgcolor=Color.from_rgb(*back))
