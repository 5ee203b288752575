"""The patient's surface from a mesh file: an optical surface scan, or what another program made of the contours."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from igrt_hw.machine.mesh_file import MeshFileError, Unit, read_mesh
from igrt_hw.machine.surface import (
    PatientSurface,
    SurfaceError,
    SurfaceRule,
    surface_from_contours,
)

SLAB_MM = 5.0
"""Spacing of the slices that a mesh is cut into before it is completed."""


def surface_from_mesh(
    file: str | Path,
    *,
    unit: Unit,
    frame: Literal["iec_patient", "dicom"],
    rule: SurfaceRule | None = None,
) -> PatientSurface:
    """The patient from a closed mesh whose unit and frame are stated: IEC patient, or DICOM patient coordinates.

    Without a `rule` the mesh is taken as it is: it must be the whole patient. With one it is taken for the part that
    was scanned: slices every `SLAB_MM` hold every triangle that reaches into the slabs beside them, and the ends are
    carried on as for contours.

    Raises:
        SurfaceError: a mesh that `read_mesh` refuses, or one from which no surface can be made.
    """
    try:
        mesh = read_mesh(file, unit=unit)
    except MeshFileError as error:
        raise SurfaceError(str(error)) from error
    vertices = mesh.vertices
    if frame == "dicom":
        vertices = np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)
    elif frame != "iec_patient":
        raise SurfaceError(f"{file}: frame {frame!r}; there are iec_patient and dicom")
    source = f"mesh {Path(file).name}"
    if rule is not None:
        return surface_from_contours(_slabs(vertices, mesh.triangles), rule=rule, source=source)
    used = vertices[np.unique(mesh.triangles)]
    scanned = (float(used[:, 1].min()), float(used[:, 1].max()))
    return PatientSurface(np.ascontiguousarray(vertices), mesh.triangles, scanned, source, None)


def _slabs(
    vertices: NDArray[np.float64], triangles: NDArray[np.uint32]
) -> list[tuple[float, list[NDArray[np.float64]]]]:
    """Slices along y, each with every triangle (as DICOM x, y) that lies between its two neighbours."""
    corners = vertices[triangles]
    low, high = corners[..., 1].min(axis=1), corners[..., 1].max(axis=1)
    levels = np.linspace(low.min(), high.max(), max(3, int(np.ptp(corners[..., 1]) / SLAB_MM) + 1))
    step = float(levels[1] - levels[0])
    flat = np.stack([corners[..., 0], -corners[..., 2]], axis=-1)
    return [
        (float(level), list(flat[(low <= level + step) & (high >= level - step)]))
        for level in levels
    ]
