"""The room in half blocks and its clearance map in characters, from what the service drew. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from igrt_hw.client.room import brightness, part_numbers
from igrt_hw.models.room import PartKind, RoomMap, RoomPicture
from igrt_tui.grid import Grid, Mark, Rgb, half_blocks, marked

GROUND = (16, 19, 22)
OLD_GROUND = (38, 38, 38)
COLOURS: dict[PartKind, tuple[int, int, int]] = {
    "patient": (236, 190, 150),
    "couch": (96, 158, 214),
    "gantry": (206, 208, 212),
    "panel": (92, 190, 160),
    "room": (74, 78, 84),
}
LINE, LINE_GROUND = (240, 228, 66), (20, 20, 20)
OLD_LINE = (170, 170, 170)
NAMED: tuple[PartKind, ...] = ("patient", "couch", "gantry", "panel")
SHADES = 24  # few enough that a terminal sees long runs of one colour

FULL_SCALE_MM = 250.0
# Dark violet to yellow through blue and green, in even steps of brightness: readable in grey and to colour-blind eyes.
RAMP = np.array(
    ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)), dtype=float
)
CONTACT, OPEN = (0, 0, 0), (92, 60, 60)
CONTACT_MARK, OPEN_MARK, HERE_MARK = "×", "/", "◆"


def drawn(picture: RoomPicture, old: bool, detail: int = 1) -> Grid:
    """The picture with the closest pair marked; grey and paler if it is old.

    `detail` is how many pixels of the picture make one of the screen, each way.
    """
    numbers, shade = part_numbers(picture), brightness(picture)
    rgb = _averaged(_coloured(picture, numbers, shade, old), detail)
    ends = [
        None if end is None else (end[0] / detail, end[1] / detail)
        for end in picture.closest.on_picture
    ]
    _draw_line(rgb, ends, OLD_LINE if old else LINE)
    grid = half_blocks(rgb)
    names = _names(picture, numbers[::detail, ::detail])
    return marked(grid, (*names, *_ends(ends, grid, old)))


def _coloured(
    picture: RoomPicture, numbers: npt.NDArray[np.uint8], shade: npt.NDArray[np.uint8], old: bool
) -> Rgb:
    palette = np.array([GROUND, *(COLOURS[part.kind] for part in picture.parts)], dtype=np.float32)
    levels = np.round(shade.astype(np.float32) / 255.0 * SHADES) / SHADES
    levels[numbers == 0] = 1.0
    rgb = palette[numbers] * levels[..., None]
    if old:
        grey = rgb.mean(axis=2, keepdims=True) * 0.5
        rgb = np.broadcast_to(grey, rgb.shape) + np.array(OLD_GROUND)
    coloured: Rgb = np.clip(rgb, 0, 255).astype(np.uint8)
    return coloured


def _averaged(rgb: Rgb, detail: int) -> Rgb:
    if detail <= 1:
        return rgb
    rows, cols = rgb.shape[0] // detail, rgb.shape[1] // detail
    blocks = rgb[: rows * detail, : cols * detail].reshape(rows, detail, cols, detail, 3)
    means = blocks.astype(np.float32).mean(axis=(1, 3))
    steps: Rgb = (np.round(means / 8.0) * 8.0).clip(0, 255).astype(np.uint8)
    return steps


def _draw_line(
    rgb: Rgb, ends: list[tuple[float, float] | None], colour: tuple[int, int, int]
) -> None:
    first, second = ends
    if first is None or second is None:
        return
    steps = int(max(abs(first[0] - second[0]), abs(first[1] - second[1]), 1.0)) + 1
    if steps > 4 * max(rgb.shape[:2]):
        return  # an end far outside the picture
    for share in np.linspace(0.0, 1.0, steps):
        column = int(first[0] + (second[0] - first[0]) * share)
        row = int(first[1] + (second[1] - first[1]) * share)
        if 0 <= row < rgb.shape[0] and 0 <= column < rgb.shape[1]:
            rgb[row, column] = colour


def _ends(ends: list[tuple[float, float] | None], grid: Grid, old: bool) -> tuple[Mark, ...]:
    """A and B at the two ends, pushed apart where they would stand in one place."""
    first, second = ends
    if first is None or second is None:
        return ()
    front = LINE_GROUND
    ground = OLD_LINE if old else LINE
    places = [(int(row / 2), int(column)) for column, row in (first, second)]
    (line_a, column_a), (line_b, column_b) = places
    if line_a == line_b and abs(column_a - column_b) < 2:
        column_a, column_b = (
            (column_a - 1, column_b + 1) if column_a <= column_b else (column_a + 1, column_b - 1)
        )
    return (
        Mark(line_a, column_a, "A", front, ground),
        Mark(line_b, column_b, "B", front, ground),
    )


def _names(picture: RoomPicture, numbers: npt.NDArray[np.uint8]) -> tuple[Mark, ...]:
    """The name of each kind of part, in the widest row that it fills."""
    marks: list[Mark] = []
    for kind in NAMED:
        own = [number for number, part in enumerate(picture.parts, start=1) if part.kind == kind]
        place = _widest_run(np.isin(numbers, own), len(kind) + 2)
        if place is not None:
            line, column, width = place
            marks.append(
                Mark(line, column + (width - len(kind)) // 2, kind, (12, 14, 16), COLOURS[kind])
            )
    return tuple(marks)


def _widest_run(mask: npt.NDArray[np.bool_], least: int) -> tuple[int, int, int] | None:
    """Line (two rows each), first column and length of the longest run of both rows; None below `least`."""
    best: tuple[int, int, int] | None = None
    both = mask[0 : len(mask) // 2 * 2 : 2] & mask[1 : len(mask) // 2 * 2 : 2]
    for line, row in enumerate(both):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            if end - begin >= least and (best is None or end - begin > best[2]):
                best = (line, int(begin), int(end - begin))
    return best


def heat_map(
    made: RoomMap, lines: int, cols: int, gantry_deg: float | None, rotation_deg: float | None
) -> Grid:
    """Gantry upwards, couch rotation to the right; what is now is marked. Merged cells show the worst of them."""
    lower, certain = np.array(made.lower_mm), np.array(made.certain)
    row_of = _merging(len(lower), lines)
    column_of = _merging(lower.shape[1], cols)
    rows, columns = int(row_of.max()) + 1, int(column_of.max()) + 1
    least = np.full((rows, columns), np.inf)
    np.minimum.at(least, (row_of[:, None], column_of[None, :]), lower)
    kept = np.ones((rows, columns), dtype=bool)
    np.logical_and.at(kept, (row_of[:, None], column_of[None, :]), certain == 1)
    least, kept = least[::-1], kept[::-1]  # the highest gantry angle on top
    ground = _heat(least)
    ground[~kept] = OPEN
    ground[least <= 0.0] = CONTACT
    text = [[" "] * columns for _ in range(rows)]
    for line, column in np.argwhere(~kept):
        text[line][column] = CONTACT_MARK if least[line, column] <= 0.0 else OPEN_MARK
    front = np.full((rows, columns, 3), 205, dtype=np.uint8)
    grid = Grid(tuple("".join(line) for line in text), front, ground)
    here = _here(made, row_of, column_of, gantry_deg, rotation_deg)
    if here is None:
        return grid
    line, column = rows - 1 - here[0], here[1]
    return marked(grid, (Mark(line, column, HERE_MARK, (0, 0, 0), (255, 255, 255)),))


def _merging(count: int, room: int) -> npt.NDArray[np.int64]:
    """Into which of at most `room` places each of `count` cells goes: as many cells to a place as needed, all alike."""
    together = max(1, -(-count // max(1, room)))
    return np.arange(count) // together


def _here(
    made: RoomMap,
    row_of: npt.NDArray[np.int64],
    column_of: npt.NDArray[np.int64],
    gantry_deg: float | None,
    rotation_deg: float | None,
) -> tuple[int, int] | None:
    if gantry_deg is None or rotation_deg is None:
        return None
    turned = (gantry_deg + 180.0) % 360.0 - 180.0
    row = int(np.abs(np.array(made.gantry_deg) - turned).argmin())
    column = int(np.abs(np.array(made.rotation_deg) - rotation_deg).argmin())
    return int(row_of[row]), int(column_of[column])


def _heat(values_mm: npt.NDArray[np.float64]) -> Rgb:
    at = np.clip(values_mm / FULL_SCALE_MM, 0.0, 1.0) * (len(RAMP) - 1)
    at = np.round(at * 4.0) / 4.0  # steps that the eye can tell apart
    low = np.minimum(at.astype(int), len(RAMP) - 2)
    share = (at - low)[..., None]
    heat: Rgb = (RAMP[low] * (1.0 - share) + RAMP[low + 1] * share).astype(np.uint8)
    return heat


def scale(cols: int) -> Grid:
    """The colours of the map from 0 to its full scale, as one line with its ends written in it."""
    ground = _heat(np.linspace(0.0, FULL_SCALE_MM, cols)[None, :])
    most = f"{FULL_SCALE_MM:.0f} mm +"
    bare = Grid((" " * cols,), np.zeros_like(ground), ground)
    ends = (Mark(0, 1, "0", (255, 255, 255)), Mark(0, cols - len(most) - 1, most, (0, 0, 0)))
    return marked(bare, ends)
