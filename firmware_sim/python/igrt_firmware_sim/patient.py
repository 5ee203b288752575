"""The patient of the simulated room, from a CT series, a structure set and a plan.

The simulator's own loader: it shares nothing with the controller's, and refuses what it cannot read. Only head first
supine, axial slices.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from igrt_firmware_sim._firmware import SimulatorError

AIR_HU = -1000
SPACING_TOLERANCE_MM = 0.01


@dataclass(frozen=True, slots=True)
class Patient:
    """Voxels and plan of one patient; positions in DICOM patient millimetres (x, y, z).

    ``hu``: int16 (z, y, x), -1000 outside the body contour, so that the CT table is gone. ``couch``: planned axes
    (lateral, longitudinal, vertical in mm, rotation, pitch, roll in degrees).
    """

    patient_id: str
    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    isocentre_mm: tuple[float, float, float]
    couch: tuple[float, float, float, float, float, float]


def _read_all(folder: Path) -> list[FileDataset]:
    datasets = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        try:
            datasets.append(pydicom.dcmread(path))
        except InvalidDicomError:
            continue
    return datasets


def _only(datasets: Iterable[FileDataset], modality: str, folder: Path) -> FileDataset:
    found = [ds for ds in datasets if ds.get("Modality") == modality]
    if len(found) != 1:
        raise SimulatorError(f"{folder}: {len(found)} {modality} objects; exactly one is needed")
    return found[0]


def _same_frame(datasets: Sequence[FileDataset], plan: FileDataset) -> None:
    for keyword in ("PatientID", "FrameOfReferenceUID"):
        values = {str(ds.get(keyword)) for ds in [*datasets, plan]}
        if len(values) != 1:
            raise SimulatorError(f"CT and plan differ in {keyword}: {', '.join(sorted(values))}")


def _slices(datasets: Iterable[FileDataset], folder: Path) -> list[FileDataset]:
    slices = [ds for ds in datasets if ds.get("Modality") == "CT"]
    if len(slices) < 2:
        raise SimulatorError(f"{folder}: {len(slices)} CT slices; a series is needed")
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    first = slices[0]
    for ds in slices:
        if [round(float(v), 4) for v in ds.ImageOrientationPatient] != [1, 0, 0, 0, 1, 0]:
            raise SimulatorError(f"slice {ds.get('InstanceNumber')} is not axial head first supine")
        if ds.get("PatientPosition") != "HFS":
            raise SimulatorError(
                f"patient position {ds.get('PatientPosition')} is not HFS, the only one simulated"
            )
        same = (ds.Rows, ds.Columns, list(ds.PixelSpacing), list(ds.ImagePositionPatient[:2]))
        if same != (
            first.Rows,
            first.Columns,
            list(first.PixelSpacing),
            list(first.ImagePositionPatient[:2]),
        ):
            raise SimulatorError(
                f"slice {ds.get('InstanceNumber')} has another grid than the first"
            )
    steps = np.diff([float(ds.ImagePositionPatient[2]) for ds in slices])
    if steps.min() <= 0 or steps.max() - steps.min() > SPACING_TOLERANCE_MM:
        raise SimulatorError(
            f"slices are {steps.min():.3f} to {steps.max():.3f} mm apart; one is missing or doubled"
        )
    return slices


def _hounsfield(slices: Sequence[FileDataset]) -> npt.NDArray[np.int16]:
    planes = []
    for ds in slices:
        stored = ds.pixel_array.astype(np.float64)
        planes.append(stored * float(ds.RescaleSlope) + float(ds.RescaleIntercept))
    volume = np.clip(np.rint(np.stack(planes)), -1024, 6000)
    return np.ascontiguousarray(volume, dtype=np.int16)


def _inside(
    polygon: npt.NDArray[np.float64], xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Even-odd rule at the centres of a grid, row by row: crossings of each row with the edges, sorted."""
    mask = np.zeros((ys.size, xs.size), dtype=np.bool_)
    x0, y0 = polygon[:, 0], polygon[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    for row, y in enumerate(ys):
        cut = (y0 <= y) != (y1 <= y)
        crossings = np.sort(x0[cut] + (y - y0[cut]) / (y1[cut] - y0[cut]) * (x1[cut] - x0[cut]))
        mask[row] = np.searchsorted(crossings, xs) % 2 == 1
    return mask


def _body(structures: FileDataset) -> FileDataset:
    numbers = [
        item.ReferencedROINumber
        for item in structures.RTROIObservationsSequence
        if item.get("RTROIInterpretedType") == "EXTERNAL"
    ]
    if len(numbers) != 1:
        raise SimulatorError(
            f"the structure set has {len(numbers)} ROIs of type EXTERNAL; exactly one is needed"
        )
    for item in structures.ROIContourSequence:
        if item.ReferencedROINumber == numbers[0]:
            return item  # type: ignore[no-any-return]  # pydicom types sequences loosely
    raise SimulatorError("the EXTERNAL ROI has no contours")


def _without_table(
    hu: npt.NDArray[np.int16],
    structures: FileDataset,
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
) -> None:
    """Makes everything outside the body contour air, in place."""
    xs = origin[0] + spacing[0] * np.arange(hu.shape[2], dtype=np.float64)
    ys = origin[1] + spacing[1] * np.arange(hu.shape[1], dtype=np.float64)
    body = np.zeros(hu.shape, dtype=np.bool_)
    for contour in _body(structures).ContourSequence:
        points = np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        index = round((points[0, 2] - origin[2]) / spacing[2])
        off = abs(points[:, 2] - (origin[2] + index * spacing[2])).max()
        if not 0 <= index < hu.shape[0] or off > 0.5 * spacing[2]:
            raise SimulatorError(f"a body contour at z {points[0, 2]:.2f} mm lies on no slice")
        # Contours of one slice cut holes into each other.
        body[index] ^= _inside(points[:, :2], xs, ys)
    hu[~body] = AIR_HU


def _couch_and_isocentre(plan: FileDataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    positions = {str(item.get("PatientPosition")) for item in plan.PatientSetupSequence}
    if positions != {"HFS"}:
        raise SimulatorError(f"the plan's patient positions {sorted(positions)} are not HFS alone")
    points = [beam.ControlPointSequence[0] for beam in plan.BeamSequence]
    isocentres = {tuple(float(v) for v in point.IsocenterPosition) for point in points}
    if len(isocentres) != 1:
        raise SimulatorError(f"the plan has {len(isocentres)} isocentres; exactly one is simulated")
    keywords = (
        "TableTopLateralPosition",
        "TableTopLongitudinalPosition",
        "TableTopVerticalPosition",
        "PatientSupportAngle",
        "TableTopPitchAngle",
        "TableTopRollAngle",
    )
    for keyword in keywords[:3]:
        if any(point.get(keyword) is None for point in points):
            raise SimulatorError(
                f"{keyword} is empty in the plan, so that the couch position is unknown"
            )
    couches = {tuple(float(point.get(keyword) or 0.0) for keyword in keywords) for point in points}
    if len(couches) != 1:
        raise SimulatorError(
            f"the beams stand at {len(couches)} couch positions; exactly one is simulated"
        )
    couch = tuple(
        v - 360.0 if k >= 3 and v > 180.0 else v for k, v in enumerate(next(iter(couches)))
    )
    return couch, next(iter(isocentres))


def load(folder: Path) -> Patient:
    """Reads the one patient in a folder tree.

    Raises:
        SimulatorError: an object is missing or doubled, frames of reference differ, slices are uneven, the
            orientation is not head first supine, or the plan has more than one isocentre or couch position.
    """
    if not folder.is_dir():
        raise SimulatorError(f"{folder} is not a folder")
    datasets = _read_all(folder)
    slices = _slices(datasets, folder)
    structures = _only(datasets, "RTSTRUCT", folder)
    plan = _only(datasets, "RTPLAN", folder)
    _same_frame(slices, plan)
    first = slices[0]
    step = float(slices[1].ImagePositionPatient[2]) - float(first.ImagePositionPatient[2])
    spacing = (float(first.PixelSpacing[1]), float(first.PixelSpacing[0]), step)
    x, y, z = (float(v) for v in first.ImagePositionPatient)
    hu = _hounsfield(slices)
    _without_table(hu, structures, spacing, (x, y, z))
    couch, isocentre = _couch_and_isocentre(plan)
    a, b, c, d, e, f = couch
    i, j, k = isocentre
    return Patient(
        patient_id=str(first.PatientID),
        hu=hu,
        spacing_mm=spacing,
        origin_mm=(x, y, z),
        isocentre_mm=(i, j, k),
        couch=(a, b, c, d, e, f),
    )
