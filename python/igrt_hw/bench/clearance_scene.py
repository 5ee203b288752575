"""The scene of the clearance figures, for this core and for its peers: the same triangles, solids, poses and motions.

Patient of 39,600 triangles, couch top, gantry head, kV source, two panels, floor; couch rotation -90 to 88 degrees and
gantry 0 to 358, every 2. Frames: fixed, gantry, table top. Millimetres, degrees.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import ClearanceRoom
from igrt_hw.machine.path import Joints, fixed_joint, turn_joint

Floats = NDArray[np.float64]
Drive = tuple[Literal["row", "column"], Joints]

ROWS, COLUMNS = 180, 90
GANTRY_DEG = np.arange(ROWS) * 2.0
COUCH_DEG = np.arange(COLUMNS) * 2.0 - 90.0
SEED = 20260101

FIXED, GANTRY, TABLE = 0, 1, 2
COUCH_PARTS = ("patient", "couch top")
# Name: frame, centre, then half sizes of a box or (radius, half length) of a cylinder along z.
SOLIDS: dict[str, tuple[int, tuple[float, float, float], tuple[float, ...]]] = {
    "couch top": (TABLE, (0.0, -550.0, -165.0), (265.0, 1000.0, 40.0)),
    "gantry head": (GANTRY, (0.0, 0.0, 615.0), (380.0, 200.0)),
    "kV source": (GANTRY, (1000.0, 0.0, 0.0), (100.0, 150.0, 150.0)),
    "kV panel": (GANTRY, (-540.0, 0.0, 0.0), (40.0, 220.0, 220.0)),
    "MV panel": (GANTRY, (0.0, 0.0, -600.0), (220.0, 250.0, 50.0)),
    "floor": (FIXED, (0.0, 0.0, -1350.0), (3000.0, 3000.0, 50.0)),
}
MACHINE_PARTS = ("gantry head", "kV source", "kV panel", "MV panel", "floor")
PAIRS = tuple((a, b) for a in COUCH_PARTS for b in MACHINE_PARTS)

# Along the patient from the head: place, half width, half height.
_PROFILE = np.array(
    [
        (0.0, 60.0, 60.0), (0.05, 80.0, 100.0), (0.12, 60.0, 60.0), (0.17, 220.0, 110.0),
        (0.35, 190.0, 125.0), (0.5, 180.0, 115.0), (0.75, 150.0, 80.0), (1.0, 90.0, 60.0),
    ]
)  # fmt: skip


@cache
def patient() -> tuple[Floats, NDArray[np.uint32]]:
    """Vertices and triangles: 220 rings of 90 corners along y, bumpy, with a cap at each end."""
    rings, sides = 220, 90
    t = (np.arange(rings) + 0.5)[:, None] / rings
    a = 2.0 * np.pi * np.arange(sides)[None] / sides
    rx, rz = (np.interp(t, _PROFILE[:, 0], _PROFILE[:, k]) for k in (1, 2))
    bump = 1.0 + 0.02 * np.sin(7.0 * a + 40.0 * t) + 0.01 * np.cos(13.0 * a - 90.0 * t)
    y = np.broadcast_to(700.0 - 1800.0 * t, bump.shape)
    wall = np.stack([rx * bump * np.cos(a), y, rz * bump * np.sin(a)], axis=-1).reshape(-1, 3)
    vertices = np.concatenate([[[0.0, 700.0, 0.0], [0.0, -1100.0, 0.0]], wall])
    ring, side = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    first = 2 + ring * sides + side
    after = 2 + ring * sides + (side + 1) % sides
    p, q, r, s = first[:-1], after[:-1], first[1:], after[1:]
    walls = [np.stack([p, q, r], -1).reshape(-1, 3), np.stack([q, s, r], -1).reshape(-1, 3)]
    head = np.stack([np.zeros(sides, int), after[0], first[0]], -1)
    feet = np.stack([np.ones(sides, int), first[-1], after[-1]], -1)
    triangles = np.concatenate([*walls, head, feet]).astype(np.uint32)
    return np.ascontiguousarray(vertices), np.ascontiguousarray(triangles)


def room(
    couch: tuple[str, ...] = COUCH_PARTS, machine: tuple[str, ...] = MACHINE_PARTS
) -> ClearanceRoom:
    """The scene, or some of it, in this core; every couch part against every machine part."""
    names = (*couch, *machine)
    pairs = [(a, b + len(couch)) for a in range(len(couch)) for b in range(len(machine))]
    return ClearanceRoom(3, [_part(name) for name in names], pairs)


def _part(name: str) -> tuple[str, int, Floats, str, object]:
    if name == "patient":
        return name, TABLE, np.eye(4), "mesh", patient()
    frame, centre, size = SOLIDS[name]
    placement = np.eye(4)
    placement[:3, 3] = centre
    return name, frame, placement, "cylinder" if len(size) == 2 else "box", size


def drives() -> list[Drive]:
    """Gantry along the rows, couch rotation along the columns; cells' middles are the even degrees."""
    return [
        ("row", fixed_joint(np.eye(4))),
        ("row", turn_joint((0.0, 1.0, 0.0), -1.0, 359.0)),
        ("column", turn_joint((0.0, 0.0, 1.0), -91.0, 89.0)),
    ]


def sweep_motions(couch_deg: float) -> list[Joints]:
    """Gantry 0 to 90 with the couch standing."""
    return [
        fixed_joint(np.eye(4)),
        turn_joint((0.0, 1.0, 0.0), 0.0, 90.0),
        turn_joint((0.0, 0.0, 1.0), couch_deg, couch_deg),
    ]


def frame_poses(gantry_deg: float, couch_deg: float) -> Floats:
    """fixed <- frame (3, 4, 4)."""
    return np.stack([np.eye(4), _turn(1, gantry_deg), _turn(2, couch_deg)])


def _turn(axis: int, degrees: float) -> Floats:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    pose = np.eye(4)
    i, j = ((1, 2), (2, 0), (0, 1))[axis]
    pose[i, i] = pose[j, j] = cos
    pose[i, j], pose[j, i] = -sin, sin
    return pose


@cache
def pair_cells(count: int) -> Floats:
    """Random cells (gantry, couch rotation) in degrees at which the head is clear of the patient: (n, 2)."""
    random = np.random.default_rng(SEED)
    cells = np.stack(
        [random.choice(GANTRY_DEG, 4 * count), random.choice(COUCH_DEG, 4 * count)], axis=1
    )
    poses = np.stack([frame_poses(*cell) for cell in cells])
    lower = room(("patient",), ("gantry head",)).separations_many(poses)[:, 0, 0]
    return np.asarray(cells[lower > 0.0][:count])
