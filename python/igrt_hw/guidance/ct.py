"""A DICOM CT series read into one volume, or refused with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from igrt_hw.guidance.orientation import PATIENT_FROM_DICOM
from igrt_hw.guidance.refusal import InputRefused

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

# Positions are decimal strings of at most 16 characters; scanners round them to about a micrometre.
POSITION_TOLERANCE_MM = 0.01
DIRECTION_TOLERANCE = 1e-4
SPACING_PLAUSIBLE_MM = (0.1, 10.0)
HU_PLAUSIBLE = (-2048.0, 32767.0)


@dataclass(frozen=True, slots=True, eq=False)
class CtVolume:
    """A CT on an axis-aligned grid in DICOM patient coordinates (LPS).

    `hu` has shape (slices, rows, cols), float32, ordered by increasing DICOM z, y, x
    whatever the order in the files was. `spacing_mm` and `origin_dicom_mm` are (x, y, z); the
    origin is the centre of voxel [0, 0, 0].
    """

    hu: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    origin_dicom_mm: tuple[float, float, float]
    frame_of_reference_uid: str
    series_uid: str
    patient_id: str
    patient_position: str

    def iec_patient_from_index(self) -> NDArray[np.float64]:
        """Affine (4, 4) from voxel index (col, row, slice) to the IEC patient frame in millimetres."""
        affine = np.eye(4)
        affine[:3, :3] = PATIENT_FROM_DICOM @ np.diag(self.spacing_mm)
        affine[:3, 3] = PATIENT_FROM_DICOM @ np.asarray(self.origin_dicom_mm)
        return affine

    def contains_dicom(self, point_mm: tuple[float, float, float]) -> bool:
        """Whether a point in DICOM patient coordinates lies between the first and the last voxel centres."""
        slices, rows, cols = self.hu.shape
        upper = np.asarray(self.origin_dicom_mm) + np.asarray(self.spacing_mm) * (
            cols - 1,
            rows - 1,
            slices - 1,
        )
        point = np.asarray(point_mm)
        return bool(np.all(point >= self.origin_dicom_mm) and np.all(point <= upper))


def read_dicom(path: Path) -> FileDataset:
    """Read one DICOM file, or refuse it by name."""
    try:
        return pydicom.dcmread(path)
    except (InvalidDicomError, OSError, ValueError, EOFError) as error:
        raise InputRefused(f"{path.name} is not a readable DICOM file: {error}") from error


def require(dataset: pydicom.Dataset, keyword: str, where: str) -> object:
    """The value of a mandatory element, or a refusal that names it and the file."""
    value = dataset.get(keyword)
    if value is None or value == "":
        raise InputRefused(f"{where} has no {keyword}; export it again with this element")
    return value


def load_ct(files: Sequence[Path]) -> CtVolume:
    """Read a CT series of axial slices into a volume.

    Raises InputRefused for mixed patients, series, frames of reference or grids, missing slices,
    uneven spacing, tilted or non-axial slices, compressed data that cannot be read, and values that
    cannot be Hounsfield units.
    """
    if len(files) < 3:
        raise InputRefused(f"a CT series needs at least 3 slices, {len(files)} found")
    slices = [read_dicom(path) for path in files]
    for path, ds in zip(files, slices, strict=True):
        if ds.get("SOPClassUID") != CT_IMAGE_STORAGE:
            raise InputRefused(
                f"{path.name} is not a CT image ({ds.get('Modality', 'unknown modality')})"
            )
    for keyword in (
        "PatientID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "PatientPosition",
        "Rows",
        "Columns",
        "PixelSpacing",
    ):
        _same_in_all(files, slices, keyword)
    signs = _axial_signs(slices[0], files[0].name)
    for path, ds in zip(files, slices, strict=True):
        if _axial_signs(ds, path.name) != signs:
            raise InputRefused(f"{path.name} is oriented differently from {files[0].name}")
    order = sorted(range(len(slices)), key=lambda i: float(_position(slices[i], files[i])[2]))
    slices = [slices[i] for i in order]
    names = [files[i].name for i in order]
    spacing_z = _even_spacing(slices, names)
    hu = np.stack([_hounsfield(ds, name) for ds, name in zip(slices, names, strict=True)])
    row_spacing, col_spacing = (float(v) for v in slices[0].PixelSpacing)
    spacing = (col_spacing, row_spacing, spacing_z)
    _plausible(spacing)
    hu, origin = _upright(hu, [float(v) for v in slices[0].ImagePositionPatient], signs, spacing)
    return CtVolume(
        hu=np.ascontiguousarray(hu),
        spacing_mm=spacing,
        origin_dicom_mm=(origin[0], origin[1], origin[2]),
        frame_of_reference_uid=str(require(slices[0], "FrameOfReferenceUID", names[0])),
        series_uid=str(slices[0].SeriesInstanceUID),
        patient_id=str(require(slices[0], "PatientID", names[0])),
        patient_position=str(require(slices[0], "PatientPosition", names[0])),
    )


def _plausible(spacing_mm: tuple[float, float, float]) -> None:
    for axis, value in zip("xyz", spacing_mm, strict=True):
        if not SPACING_PLAUSIBLE_MM[0] <= value <= SPACING_PLAUSIBLE_MM[1]:
            raise InputRefused(
                f"the voxel spacing in {axis} is {value} mm; DICOM lengths are millimetres, and "
                f"{SPACING_PLAUSIBLE_MM[0]} to {SPACING_PLAUSIBLE_MM[1]} mm is plausible. "
                "Was it written in other units?"
            )


def _upright(
    hu: NDArray[np.float32],
    origin_mm: list[float],
    signs: tuple[int, int],
    spacing_mm: tuple[float, float, float],
) -> tuple[NDArray[np.float32], list[float]]:
    """The volume with rows and columns along +y and +x, and the centre of its first voxel."""
    origin = list(origin_mm)
    for axis, sign in enumerate(signs):
        if sign < 0:
            origin[axis] -= (hu.shape[2 - axis] - 1) * spacing_mm[axis]
            hu = np.flip(hu, axis=2 - axis)
    return hu, origin


def _same_in_all(files: Sequence[Path], slices: Sequence[FileDataset], keyword: str) -> None:
    first = require(slices[0], keyword, files[0].name)
    for path, ds in zip(files, slices, strict=True):
        value = require(ds, keyword, path.name)
        if value != first:
            raise InputRefused(
                f"{keyword} differs within the CT series: {files[0].name} has {first}, {path.name} has {value}. "
                "Use the slices of one series of one patient only"
            )


def _axial_signs(ds: FileDataset, name: str) -> tuple[int, int]:
    """Signs of the row direction along x and of the column direction along y; anything else is refused."""
    cosines = np.asarray(require(ds, "ImageOrientationPatient", name), dtype=np.float64)
    if cosines.shape != (6,) or not np.all(np.isfinite(cosines)):
        raise InputRefused(f"{name} has a malformed ImageOrientationPatient: {cosines.tolist()}")
    signs = (1 if cosines[0] > 0 else -1, 1 if cosines[4] > 0 else -1)
    axial = np.array([signs[0], 0, 0, 0, signs[1], 0], dtype=np.float64)
    if np.max(np.abs(cosines - axial)) > DIRECTION_TOLERANCE:
        raise InputRefused(
            f"{name} is not an untilted axial slice (ImageOrientationPatient {cosines.tolist()}); "
            "only axial slices along the patient's axes are supported"
        )
    return signs


def _position(ds: FileDataset, path: Path) -> NDArray[np.float64]:
    position = np.asarray(require(ds, "ImagePositionPatient", path.name), dtype=np.float64)
    if position.shape != (3,) or not np.all(np.isfinite(position)):
        raise InputRefused(f"{path.name} has a malformed ImagePositionPatient: {position.tolist()}")
    return position


def _even_spacing(slices: Sequence[FileDataset], names: Sequence[str]) -> float:
    positions = np.array([[float(v) for v in ds.ImagePositionPatient] for ds in slices])
    drift = np.max(np.abs(positions[:, :2] - positions[0, :2]))
    if drift > POSITION_TOLERANCE_MM:
        raise InputRefused(
            f"the slices are not stacked along one axis: they drift by {drift:.3f} mm in x or y"
        )
    gaps = np.diff(positions[:, 2])
    nominal = float(np.median(gaps))
    neighbours = list(zip(gaps, names[:-1], names[1:], strict=True))
    for gap, before, after in neighbours:
        if gap < POSITION_TOLERANCE_MM:
            raise InputRefused(f"{before} and {after} lie at the same position: remove one of them")
    for gap, before, after in neighbours:
        if abs(gap - nominal) <= POSITION_TOLERANCE_MM:
            continue
        missing = gap / nominal - 1.0
        if abs(missing - round(missing)) < 0.05 and round(missing) >= 1:
            raise InputRefused(
                f"{round(missing)} slice(s) missing between {before} and {after}: "
                f"the gap is {gap:.3f} mm, the slices are {nominal:.3f} mm apart"
            )
        raise InputRefused(
            f"uneven slice spacing: {gap:.3f} mm between {before} and {after}, {nominal:.3f} mm elsewhere"
        )
    return float((positions[-1, 2] - positions[0, 2]) / (len(slices) - 1))


def _hounsfield(ds: FileDataset, name: str) -> NDArray[np.float32]:
    rescale_type = ds.get("RescaleType", "HU")
    if rescale_type != "HU":
        raise InputRefused(f"{name} is rescaled to {rescale_type}, not to Hounsfield units")
    slope = float(str(require(ds, "RescaleSlope", name)))
    intercept = float(str(require(ds, "RescaleIntercept", name)))
    try:
        pixels = ds.pixel_array
    except Exception as error:  # pydicom's decoders raise many kinds; the operator gets one
        raise InputRefused(f"the pixels of {name} cannot be decoded: {error}") from error
    hu: NDArray[np.float32] = np.asarray(pixels, dtype=np.float32) * np.float32(slope) + np.float32(
        intercept
    )
    if not np.all(np.isfinite(hu)) or hu.min() < HU_PLAUSIBLE[0] or hu.max() > HU_PLAUSIBLE[1]:
        raise InputRefused(
            f"{name} holds values outside {HU_PLAUSIBLE} that cannot be Hounsfield units"
        )
    return hu
