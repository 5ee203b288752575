"""What is drawn over an image: points of the plan with their names, and the region of interest. Pure."""

from collections.abc import Sequence

import numpy as np

from igrt_hw.models.landmarks import Landmark
from igrt_hw.models.proposal import MarkerResidual
from igrt_hw.models.status import ImageView
from igrt_tui.grid import Grid, Mark, Rgb, half_blocks, marked
from igrt_tui.picture import Crop, Grey
from igrt_tui.view_model.images import Box
from igrt_tui.view_model.numbers import unsigned

Points = tuple[Landmark, ...]
LEVELS = 48
COLOURS: dict[str, tuple[int, int, int]] = {
    "isocentre": (240, 228, 66),
    "marker": (86, 180, 233),
    "vertebra": (236, 190, 150),
}
SIGNS = {"isocentre": "┼", "marker": "◇", "vertebra": "─"}
BOX, BOX_ACTIVE = (86, 180, 233), (240, 228, 66)


def with_residuals(points: Points, markers: Sequence[MarkerResidual]) -> Points:
    """Write beside each marker how far it lies from where the others put it, and whether it was left out."""
    known = {marker.name: marker for marker in markers}
    return tuple(
        point.model_copy(update={"name": f"{point.name} {_residual(known[point.name])}"})
        if point.kind == "marker" and point.name in known
        else point
        for point in points
    )


def _residual(marker: MarkerResidual) -> str:
    if marker.distance_mm is None:
        return "not found"
    return unsigned(marker.distance_mm, "mm") + ("" if marker.used else " LEFT OUT")


def coloured(grey: Grey) -> Rgb:
    """Grey of 0 to 1 as (rows, cols, 3), in steps."""
    steps = (np.round(grey * (LEVELS - 1)) * (255.0 / (LEVELS - 1))).astype(np.uint8)
    return np.repeat(steps[:, :, None], 3, axis=2)


def draw_box(rgb: Rgb, box: Box, crop: Crop, active: bool) -> None:
    """Draw the outline of a region, in place; it is dashed unless it is the one that the keys move."""
    rows, cols, _ = rgb.shape
    x0, y0 = crop.place(box.left, box.top)
    x1, y1 = crop.place(box.right, box.bottom)
    left, right = round(x0 * cols), round(x1 * cols) - 1
    top, bottom = round(y0 * rows), round(y1 * rows) - 1
    colour = BOX_ACTIVE if active else BOX
    for column in range(max(0, left), min(cols, right + 1)):
        if active or column % 4 < 2:
            for row in (top, bottom):
                if 0 <= row < rows:
                    rgb[row, column] = colour
    for row in range(max(0, top), min(rows, bottom + 1)):
        if active or row % 4 < 2:
            for column in (left, right):
                if 0 <= column < cols:
                    rgb[row, column] = colour


def with_points(rgb: Rgb, points: Points, view: ImageView, crop: Crop) -> Grid:
    """The picture in half blocks, each point a sign with its name beside it; what is not shown has none."""
    rows, cols, _ = rgb.shape
    marks: list[Mark] = []
    for point in points:
        # Pixel centres are at whole numbers, so that the share of the image begins half a pixel before.
        across, down = crop.place((point.column + 0.5) / view.cols, (point.row + 0.5) / view.rows)
        if not (0.0 <= across < 1.0 and 0.0 <= down < 1.0):
            continue
        place = (int(down * rows / 2), int(across * cols))
        colour = COLOURS[point.kind]
        marks.append(Mark(*place, SIGNS[point.kind], colour))
        if point.kind != "isocentre":
            column = (
                place[1] + 1
                if place[1] + 1 + len(point.name) <= cols
                else place[1] - len(point.name)
            )
            marks.append(Mark(place[0], column, point.name, colour, (12, 14, 16)))
    return marked(half_blocks(rgb), tuple(marks))


def labels(
    points: Points, view: ImageView, crop: Crop, size: tuple[int, int]
) -> tuple[tuple[float, float, str], ...]:
    """Column, row and word of each point in a picture of `size` rows and columns; what is not shown has none."""
    rows, cols = size
    places = (
        (crop.place((p.column + 0.5) / view.cols, (p.row + 0.5) / view.rows), p) for p in points
    )
    return tuple(
        (across * cols, down * rows, "" if point.kind == "isocentre" else point.name)
        for (across, down), point in places
        if 0.0 <= across < 1.0 and 0.0 <= down < 1.0
    )
