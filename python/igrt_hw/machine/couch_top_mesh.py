"""Writes `machines/couch_top.stl`, the couch top of `linac_hexapod`: `python -m igrt_hw.machine.couch_top_mesh FILE`.

A shell of this project's own making, as couch tops are: rounded edges, and narrower where the head lies. The same bytes
every time (a test holds the shipped file to it). Table-top frame, millimetres: origin on the upper surface.
"""

from __future__ import annotations

import math
import struct
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HALF_THICKNESS_MM = 40.0
EDGE_RADIUS_MM = 30.0
CORNER_STEPS = 6
# Along y: place and half width. The neck makes the top non-convex.
STATIONS_MM = (
    (-1050.0, 235.0), (-1040.0, 255.0), (-1020.0, 265.0), (560.0, 265.0), (600.0, 255.0), (640.0, 225.0),
    (680.0, 205.0), (720.0, 200.0), (910.0, 200.0), (935.0, 190.0), (950.0, 170.0),
)  # fmt: skip


def couch_top() -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """Vertices (n, 3) in mm and outward triangles (m, 3)."""
    rings = [_ring(y, half_width) for y, half_width in STATIONS_MM]
    sides = len(rings[0])
    ends = [
        [0.0, STATIONS_MM[0][0], -HALF_THICKNESS_MM],
        [0.0, STATIONS_MM[-1][0], -HALF_THICKNESS_MM],
    ]
    vertices = np.concatenate([*rings, ends])
    low, high = len(rings) * sides, len(rings) * sides + 1
    triangles = []
    for side in range(sides):
        after = (side + 1) % sides
        triangles.append((low, after, side))
        top = (len(rings) - 1) * sides
        triangles.append((high, top + side, top + after))
        for ring in range(len(rings) - 1):
            a, b = ring * sides + side, ring * sides + after
            triangles += [(a, b, a + sides), (b, b + sides, a + sides)]
    return vertices, np.array(triangles, dtype=np.uint32)


def _ring(y: float, half_width: float) -> NDArray[np.float64]:
    """A rectangle with round corners in the plane at y, its top at z = 0."""
    centre_x, centre_z = half_width - EDGE_RADIUS_MM, HALF_THICKNESS_MM - EDGE_RADIUS_MM
    points = []
    for corner, (sx, sz) in enumerate(((1, 1), (1, -1), (-1, -1), (-1, 1))):
        for step in range(CORNER_STEPS + 1):
            angle = math.radians(90.0 - 90.0 * (corner + step / CORNER_STEPS))
            x = sx * centre_x + EDGE_RADIUS_MM * math.cos(angle)
            z = sz * centre_z + EDGE_RADIUS_MM * math.sin(angle) - HALF_THICKNESS_MM
            points.append((round(x, 3), y, round(z, 3)))
    return np.array(points)


def as_stl(vertices: NDArray[np.float64], triangles: NDArray[np.uint32]) -> bytes:
    """Binary STL, normals left to the reader."""
    header = b"igrt-hw couch top, millimetres".ljust(80, b"\0")
    corners = vertices[triangles].astype("<f4")
    body = b"".join(b"\0" * 12 + one.tobytes() + b"\0\0" for one in corners)
    return header + struct.pack("<I", len(triangles)) + body


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(as_stl(*couch_top()))
