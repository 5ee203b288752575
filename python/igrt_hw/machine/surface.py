"""The patient's surface as a closed mesh, from the contours of an RT Structure Set.

The surface must never be inside the true one. So every slice is replaced by its star-shaped hull about one axis (each
direction takes the furthest crossing of the contour), corners are pushed out until their chords clear the contour, and
beyond the scan the end sections are carried on, widened by a margin. Such a surface cannot cross itself, whatever the
contours do.

Frame: IEC patient (+X left, +Y superior, +Z anterior), millimetres; DICOM (x, y, z) becomes (x, z, -y).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Contours = Sequence[tuple[float, Sequence[NDArray[np.float64]]]]
"""Slices: DICOM z in mm, and the closed contours there as (n, 2) DICOM x, y in mm."""


class SurfaceError(ValueError):
    """Contours or a structure set from which no patient surface can be made; the message says why."""


class SurfaceRule(BaseModel):
    """How contours become a surface, and how the patient goes on beyond the scan.

    Attributes:
        directions: corners per slice. The surface lies at most r (1 / cos(pi / directions) - 1) further out than the
            furthest contour point within two directions of it.
        superior_mm: how far the patient goes on beyond the first slice towards the head.
        inferior_mm: the same towards the feet.
        widening: the end sections are carried on this many times as wide about the axis of the scan: arms raised
            beside the head, hips wider than the waist.
        gap_mm_max: slices further apart than this are refused; what lies between them is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    directions: int = Field(default=144, ge=24, le=720)
    superior_mm: FiniteFloat = Field(default=450.0, ge=0.0, le=1500.0)
    inferior_mm: FiniteFloat = Field(default=1100.0, ge=0.0, le=1500.0)
    widening: FiniteFloat = Field(default=1.15, ge=1.0, le=2.0)
    gap_mm_max: FiniteFloat = Field(default=12.0, gt=0.0, le=50.0)


@dataclass(frozen=True, slots=True, eq=False)
class PatientSurface:
    """A closed mesh of the patient, outward-facing.

    Attributes:
        vertices: (n, 3), IEC patient frame, mm.
        triangles: (m, 3) uint32.
        scanned_mm: superior-inferior range that the contours cover, IEC patient Y.
        source: where it came from, for messages and records.
        rule: how it was made; None for a mesh taken as it is.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.uint32]
    scanned_mm: tuple[float, float]
    source: str
    rule: SurfaceRule | None


def surface_from_rtstruct(
    file: str | Path, *, roi: str | None = None, rule: SurfaceRule | None = None
) -> PatientSurface:
    """The surface of the body contour of a structure set.

    `roi` names the structure; without it the one of type EXTERNAL is taken, or else the one called BODY.

    Raises:
        SurfaceError: not a structure set, no such structure, or contours that make no surface.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        dataset = pydicom.dcmread(file)
    except (OSError, InvalidDicomError) as error:
        raise SurfaceError(f"{file}: cannot be read as DICOM: {error}") from error
    if dataset.get("Modality") != "RTSTRUCT":
        raise SurfaceError(f"{file}: modality is {dataset.get('Modality')!r}, not RTSTRUCT")
    number, name = _body_number(dataset, roi, str(file))
    return surface_from_contours(
        _contours_of(dataset, number, f"{file}, structure {name!r}"),
        rule=rule,
        source=f"structure {name!r} of {Path(file).name}",
    )


def surface_from_contours(
    contours: Contours, *, rule: SurfaceRule | None = None, source: str = "contours"
) -> PatientSurface:
    """The surface of slices of closed contours.

    Raises:
        SurfaceError: fewer than two slices, a gap above `rule.gap_mm_max`, two slices at one place, a contour of fewer
            than three points, numbers that are not finite, or a size that is no patient's.
    """
    rule = rule or SurfaceRule()
    slices = sorted(((float(z), list(loops)) for z, loops in contours), key=lambda item: item[0])
    _check_slices(slices, rule, source)
    centre = _centre(slices)
    radii = np.array([_star_radii(loops, centre, rule.directions) for _, loops in slices])
    levels = np.array([z for z, _ in slices])
    scanned = (float(levels[0]), float(levels[-1]))
    levels, radii = _complete(levels, radii, rule)
    vertices, triangles = _tube(levels, radii, centre)
    size = np.ptp(vertices, axis=0)
    if size.max() < 50.0 or size.max() > 4000.0:
        raise SurfaceError(
            f"{source}: the surface is {size.max():.1f} mm long, which is no patient; contours are in millimetres"
        )
    return PatientSurface(vertices, triangles, scanned, source, rule)


def _body_number(dataset: object, roi: str | None, where: str) -> tuple[int, str]:
    structures = {
        int(item.ROINumber): str(item.get("ROIName", ""))
        for item in getattr(dataset, "StructureSetROISequence", [])
    }
    if roi is not None:
        found = [number for number, name in structures.items() if name == roi]
    else:
        found = [
            int(item.ReferencedROINumber)
            for item in getattr(dataset, "RTROIObservationsSequence", [])
            if str(item.get("RTROIInterpretedType", "")).upper() == "EXTERNAL"
        ] or [number for number, name in structures.items() if name.upper() == "BODY"]
    if len(found) != 1:
        wanted = f"structure {roi!r}" if roi else "structure of type EXTERNAL or named BODY"
        names = ", ".join(sorted(structures.values())) or "none"
        raise SurfaceError(f"{where}: {len(found)} times a {wanted}; structures: {names}")
    return found[0], structures.get(found[0], "")


def _contours_of(dataset: object, number: int, where: str) -> Contours:
    slices: dict[float, list[NDArray[np.float64]]] = {}
    for item in getattr(dataset, "ROIContourSequence", []):
        if int(item.ReferencedROINumber) != number:
            continue
        for contour in item.get("ContourSequence", []):
            kind = str(contour.get("ContourGeometricType", ""))
            if kind != "CLOSED_PLANAR":
                raise SurfaceError(
                    f"{where}: a contour of type {kind!r}; only CLOSED_PLANAR makes a surface"
                )
            points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
            if np.ptp(points[:, 2]) > 0.01:
                raise SurfaceError(
                    f"{where}: a contour near z = {points[0, 2]:.1f} mm is not in one axial plane; "
                    "only axial slices are supported"
                )
            slices.setdefault(round(float(points[0, 2]), 3), []).append(points[:, :2])
    if not slices:
        raise SurfaceError(f"{where}: has no contours")
    return [(z, slices[z]) for z in sorted(slices)]


def _check_slices(
    slices: list[tuple[float, list[NDArray[np.float64]]]], rule: SurfaceRule, source: str
) -> None:
    if len(slices) < 2:
        raise SurfaceError(f"{source}: {len(slices)} slices; a surface needs at least two")
    for (low, _), (high, _) in pairwise(slices):
        if not math.isfinite(low) or not math.isfinite(high):
            raise SurfaceError(f"{source}: a slice position is not finite")
        if high - low < 1e-3:
            raise SurfaceError(f"{source}: two slices at z = {low:.3f} mm")
        if high - low > rule.gap_mm_max:
            raise SurfaceError(
                f"{source}: nothing between z = {low:.1f} and {high:.1f} mm, a gap above {rule.gap_mm_max:g} mm"
            )
    for z, loops in slices:
        for loop in loops:
            if loop.ndim != 2 or loop.shape[1] != 2 or len(loop) < 3:
                raise SurfaceError(
                    f"{source}: a contour at z = {z:.1f} mm has fewer than three points"
                )
            if not np.isfinite(loop).all():
                raise SurfaceError(f"{source}: a contour at z = {z:.1f} mm is not finite")
        if not loops:
            raise SurfaceError(f"{source}: no contour at z = {z:.1f} mm")


def _centre(slices: list[tuple[float, list[NDArray[np.float64]]]]) -> NDArray[np.float64]:
    """One axis for all slices: the middle of the middles of their boxes. It need not lie inside every contour."""
    middles = []
    for _, loops in slices:
        points = np.concatenate(loops)
        middles.append((points.min(axis=0) + points.max(axis=0)) / 2.0)
    middle: NDArray[np.float64] = np.mean(middles, axis=0)
    return middle


def _star_radii(
    loops: list[NDArray[np.float64]], centre: NDArray[np.float64], directions: int
) -> NDArray[np.float64]:
    """Radius per direction such that the polygon through them holds every contour of the slice.

    Edges are cut into pieces of at most 2 mm, and the further end of a piece counts for every sector that it meets; a
    direction takes the larger of the two sectors beside it, and 1 / cos(half a sector) more, since a chord dips below
    its ends by that much.
    """
    sector = 2.0 * math.pi / directions
    largest = np.full(
        directions, 1.0
    )  # Without any crossing 1 mm is kept, so that the tube stays a tube.
    for loop in loops:
        points = _finer(loop - centre)
        after = np.roll(points, -1, axis=0)
        reach = np.maximum(np.linalg.norm(points, axis=1), np.linalg.norm(after, axis=1))
        angle = np.arctan2(points[:, 1], points[:, 0])
        turn = np.arctan2(after[:, 1], after[:, 0]) - angle
        turn = (turn + math.pi) % (2.0 * math.pi) - math.pi
        first = np.floor(np.minimum(angle, angle + turn) / sector).astype(int)
        last = np.floor(np.maximum(angle, angle + turn) / sector).astype(int)
        for step in range(int((last - first).max()) + 1):
            met = first + step <= last
            np.maximum.at(largest, (first + step)[met] % directions, reach[met])
    corner: NDArray[np.float64] = np.maximum(largest, np.roll(largest, 1)) / math.cos(sector / 2.0)
    return corner


def _finer(loop: NDArray[np.float64], longest_mm: float = 2.0) -> NDArray[np.float64]:
    """The same closed polygon with points added, none further than `longest_mm` from the next."""
    edges = np.roll(loop, -1, axis=0) - loop
    counts = np.maximum(1, np.ceil(np.linalg.norm(edges, axis=1) / longest_mm).astype(int))
    if counts.sum() > 1_000_000:
        return loop
    start = np.repeat(np.arange(len(loop)), counts)
    share = (np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[
        start
    ]
    finer: NDArray[np.float64] = loop[start] + edges[start] * share[:, None]
    return finer


def _complete(
    levels: NDArray[np.float64], radii: NDArray[np.float64], rule: SurfaceRule
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Carries the end sections on beyond the scan, widened; DICOM z grows towards the head."""
    low, high = levels[0], levels[-1]
    below, above = _beyond(rule.inferior_mm), _beyond(rule.superior_mm)
    ends = (radii[0] * rule.widening, radii[-1] * rule.widening)
    all_levels = np.concatenate([(low - below)[::-1], levels, high + above])
    all_radii = np.concatenate(
        [np.tile(ends[0], (below.size, 1)), radii, np.tile(ends[1], (above.size, 1))]
    )
    return all_levels, all_radii


def _beyond(length_mm: float) -> NDArray[np.float64]:
    """Distances from the scan at which rings stand. Widening begins at once: the first is a hundredth of a mm away."""
    if length_mm == 0.0:
        return np.empty(0)
    steps = np.linspace(0.0, length_mm, math.ceil(length_mm / 50.0) + 1)[1:]
    return np.concatenate([[min(0.01, length_mm / 2.0)], steps])


def _tube(
    levels: NDArray[np.float64], radii: NDArray[np.float64], centre: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """Rings joined by triangles, closed by a fan at both ends, in the IEC patient frame."""
    rings, sides = radii.shape
    angle = np.arange(sides) * (2.0 * math.pi / sides)
    x = centre[0] + radii * np.cos(angle)
    y = centre[1] + radii * np.sin(angle)
    z = np.broadcast_to(levels[:, None], radii.shape)
    ring = np.stack([x, z, -y], axis=-1).reshape(-1, 3)
    caps = np.array([[centre[0], levels[0], -centre[1]], [centre[0], levels[-1], -centre[1]]])
    vertices = np.concatenate([ring, caps])
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij")
    k = (j + 1) % sides
    a, b, c, d = i * sides + j, i * sides + k, (i + 1) * sides + j, (i + 1) * sides + k
    # Of the two ways to fold a wall the outer one: its section between two slices then holds whatever both slices hold.
    outer = (radii[i, k] * radii[i + 1, j] > radii[i, j] * radii[i + 1, k])[..., None]
    one = np.where(outer, np.stack([a, b, c], -1), np.stack([a, b, d], -1))
    two = np.where(outer, np.stack([b, d, c], -1), np.stack([a, d, c], -1))
    walls = np.concatenate([one.reshape(-1, 3), two.reshape(-1, 3)])
    side = np.arange(sides)
    after = (side + 1) % sides
    low = np.stack([np.full(sides, rings * sides), after, side], -1)
    top = (rings - 1) * sides
    high = np.stack([np.full(sides, rings * sides + 1), top + side, top + after], -1)
    triangles = np.concatenate([walls, low, high])
    if _volume(vertices, triangles) < 0.0:
        triangles = triangles[:, ::-1]
    return np.ascontiguousarray(vertices), np.ascontiguousarray(triangles, dtype=np.uint32)


def _volume(vertices: NDArray[np.float64], triangles: NDArray[np.int64]) -> float:
    a, b, c = (vertices[triangles[:, corner]] - vertices[0] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6.0
