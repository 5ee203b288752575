"""Triangle meshes from STL, OBJ and PLY files, read by trimesh: closed outward surfaces in millimetres, or refused.

The unit is stated by whoever names the file, never guessed: none of the three formats can be trusted to say it. Nothing
is repaired either. trimesh is told to leave the mesh as it is (its own tidying drops vertices that are not finite and
joins what is only near); what a surface must be is checked here and by the core.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import ClearanceInputError, ClearanceRoom
from igrt_hw.machine.components import component_labels

Unit = Literal["mm", "cm", "m", "inch"]
MM_PER_UNIT: dict[Unit, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}

FORMATS = (".stl", ".obj", ".ply")
BYTES_MAX = 256_000_000
"""Larger files are no part of a treatment room at any sensible resolution."""

SMALLEST_MM, LARGEST_MM = 10.0, 5_000.0


class MeshFileError(ValueError):
    """A mesh file that cannot stand for a solid; the message names the file and says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class MeshData:
    """A closed, outward surface.

    Attributes:
        vertices: (n, 3), mm, in the file's own frame.
        triangles: (m, 3) uint32.
        sha256: of the file's bytes.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.uint32]
    sha256: str


def read_mesh(file: str | Path, *, unit: Unit) -> MeshData:
    """Read and check a mesh whose lengths are in `unit`.

    Raises:
        MeshFileError: not a file of the three formats, unreadable, empty, not finite, of a size that is no part's (with
            a hint at the unit), with a shell that is open, inside out or passes through itself or another one.
    """
    file = Path(file)
    if unit not in MM_PER_UNIT:
        raise MeshFileError(
            f"{file.name}: {unit!r} is no unit of length here; there are {', '.join(MM_PER_UNIT)}"
        )
    if file.suffix.lower() not in FORMATS:
        raise MeshFileError(
            f"{file.name}: mesh files end in {', '.join(FORMATS)}, not {file.suffix!r}"
        )
    try:
        if file.stat().st_size > BYTES_MAX:
            raise MeshFileError(f"{file.name}: above {BYTES_MAX // 1_000_000} MB; decimate it")
        content = file.read_bytes()
    except OSError as error:
        raise MeshFileError(f"{file.name}: cannot be read: {error.strerror}") from error
    vertices, triangles = _parsed(content, file)
    vertices = vertices * MM_PER_UNIT[unit]
    triangles = _without_slivers(vertices, triangles)
    check_mesh(vertices, triangles, file.name, unit)
    return MeshData(vertices, triangles, hashlib.sha256(content).hexdigest())


def check_mesh(
    vertices: NDArray[np.float64], triangles: NDArray[np.uint32], name: str, unit: Unit = "mm"
) -> None:
    """Refuse what is not the surface of a solid of a treatment room; lengths already in mm.

    Raises:
        MeshFileError: as `read_mesh`.
    """
    if len(triangles) == 0:
        raise MeshFileError(f"{name}: is empty; a surface needs at least four triangles")
    bad = np.flatnonzero(~np.isfinite(vertices).all(axis=1))
    if bad.size:
        raise MeshFileError(
            f"{name}: vertex {bad[0]} is not finite ({bad.size} of them); export the mesh again"
        )
    used = vertices[np.unique(triangles)]
    length = float(np.ptp(used, axis=0).max())
    if not SMALLEST_MM <= length <= LARGEST_MM:
        raise MeshFileError(f"{name}: {_size_hint(length, unit)}")
    try:
        ClearanceRoom(1, [(name, 0, np.eye(4), "mesh", (vertices, triangles))], [])
    except ClearanceInputError as error:
        raise MeshFileError(f"{name}: {error}") from error
    _refuse_inverted_shells(vertices, triangles, name)


def _parsed(content: bytes, file: Path) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    import trimesh

    try:
        # From bytes, so that a file cannot make the reader open others (materials, textures).
        mesh = trimesh.load_mesh(
            io.BytesIO(content), file_type=file.suffix.lower()[1:], process=False
        )
        vertices = np.array(mesh.vertices, dtype=np.float64).reshape(-1, 3)
        triangles = np.array(mesh.faces, dtype=np.int64).reshape(-1, 3)
    except Exception as error:  # The reader raises many kinds; whoever brings the file gets one.
        raise MeshFileError(
            f"{file.name}: cannot be read as {file.suffix[1:].upper()}: {error}"
        ) from error
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(vertices):
        raise MeshFileError(f"{file.name}: a triangle names a vertex that is not there")
    return vertices, triangles.astype(np.uint32)


def _without_slivers(
    vertices: NDArray[np.float64], triangles: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Without triangles two of whose corners are one point: they cover nothing, and the surface is the same."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    same = (a == b).all(axis=1) | (b == c).all(axis=1) | (c == a).all(axis=1)
    return np.ascontiguousarray(triangles[~same])


def _size_hint(length_mm: float, unit: Unit) -> str:
    known = [
        other
        for other, scale in MM_PER_UNIT.items()
        if SMALLEST_MM <= length_mm / MM_PER_UNIT[unit] * scale <= LARGEST_MM
    ]
    hint = f"; it would fit if it were in {' or '.join(known)}" if known else ""
    return (
        f"is {length_mm:.4g} mm long, read in {unit}; parts of a treatment room are {SMALLEST_MM:g} to "
        f"{LARGEST_MM:g} mm long{hint}. State the unit of the file"
    )


def _refuse_inverted_shells(
    vertices: NDArray[np.float64], triangles: NDArray[np.uint32], name: str
) -> None:
    """Every closed shell must face outwards: one that faces inwards is a cavity, or was exported the wrong way."""
    _, welded = np.unique(vertices, axis=0, return_inverse=True)
    corners = welded.reshape(-1)[triangles]
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]]])
    shell = component_labels(int(welded.max()) + 1, edges)[corners[:, 0]]
    a, b, c = (vertices[triangles[:, corner]] - vertices[triangles[0, 0]] for corner in range(3))
    six_fold = np.einsum("ij,ij->i", a, np.cross(b, c))
    for number in np.unique(shell):
        volume = float(six_fold[shell == number].sum()) / 6.0
        if volume <= 0.0:
            first = int(np.flatnonzero(shell == number)[0])
            raise MeshFileError(
                f"{name}: the shell of triangle {first} is inside out (volume {volume:.1f} mm3). Reverse its "
                "triangles; if it is a cavity leave it out, nothing can come near it from outside"
            )
