"""Phantoms that lie on the couch, and their planning CT as DICOM.

The shapes are those of the simulator's X-rays (`_firmware.Room.scene`), so that a CT written here and an X-ray image
show the same body: the CT by sampling each voxel, the X-ray image by exact chords.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    RTPlanStorage,
    RTStructureSetStorage,
    generate_uid,
)

from igrt_firmware_sim._firmware import Room, SimulatorError

PREFIX = "phantom:"
# Hounsfield units at 120 kVp; metal saturates a 12-bit CT at 3071.
HU = {"air": -1000, "water": 0, "acrylic": 120, "aluminium": 2300, "steel": 3071, "gold": 3071}
MARGIN_MM = 20.0
# Samples along each edge of a voxel: a ball of 4 mm keeps its centre within a hundredth of a millimetre.
SAMPLES = 4
MADE_ON = "20260101"
WRITTEN_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Phantom:
    """A phantom with its centre as isocentre; ``couch``: planned axes at which it lies on the table top."""

    name: str
    half_size_mm: tuple[float, float, float]
    couch: tuple[float, float, float, float, float, float]
    isocentre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def patient_id(self) -> str:
        """The identifier in the DICOM objects."""
        return f"PHANTOM-{self.name.upper()}"


PHANTOMS = {
    "cube": Phantom("cube", (60.0, 60.0, 60.0), (0.0, -350.0, -60.0, 0.0, 0.0, 0.0)),
    "balls": Phantom("balls", (70.0, 70.0, 100.0), (0.0, -350.0, -70.0, 0.0, 0.0, 0.0)),
}


def named(name: str) -> Phantom:
    """The phantom of a name.

    Raises:
        SimulatorError: there is none.
    """
    if name not in PHANTOMS:
        raise SimulatorError(f"phantom {name!r} is none of {', '.join(PHANTOMS)}")
    return PHANTOMS[name]


def solids(phantom: Phantom) -> list[dict[str, Any]]:
    """The bodies of a phantom: shape, material, centre and sizes in DICOM millimetres about its centre."""
    room = Room(seed=0, axes=phantom.couch, phantom=phantom.name)
    return room.scene()["solids"]


Grid = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _inside(solid: dict[str, Any], points: Grid) -> npt.NDArray[np.bool_]:
    x, y, z = (axis - at for axis, at in zip(points, solid["centre_mm"], strict=True))
    inside: npt.NDArray[np.bool_]
    match solid["shape"]:
        case "ball":
            inside = x**2 + y**2 + z**2 <= solid["radius_mm"] ** 2
        case "cylinder":
            along = sum(c * v for c, v in zip(solid["axis"], (x, y, z), strict=True))
            across = x**2 + y**2 + z**2 - along**2
            inside = (abs(along) <= solid["length_mm"] / 2) & (across <= solid["radius_mm"] ** 2)
        case _:
            half = [size / 2 for size in solid["size_mm"]]
            inside = (abs(x) <= half[0]) & (abs(y) <= half[1]) & (abs(z) <= half[2])
    return inside


def hounsfield(phantom: Phantom, spacing_mm: float) -> tuple[npt.NDArray[np.int16], list[float]]:
    """The phantom as a CT (z, y, x) with the centre of voxel 0; a voxel is the mean of its samples."""
    reach = [half + MARGIN_MM for half in phantom.half_size_mm]
    counts = [round(2 * half / spacing_mm) for half in reach]
    origin = [-(count - 1) / 2 * spacing_mm for count in counts]
    offsets = (np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5
    fine = [
        (at + spacing_mm * (np.arange(count)[:, None] + offsets)).ravel()
        for at, count in zip(origin, counts, strict=True)
    ]
    planes = np.empty((counts[2], counts[1], counts[0]), dtype=np.int16)
    bodies = solids(phantom)
    for k in range(counts[2]):
        part = fine[2][k * SAMPLES : (k + 1) * SAMPLES]
        z, y, x = np.meshgrid(part, fine[1], fine[0], indexing="ij", sparse=True)
        values = np.full((SAMPLES, fine[1].size, fine[0].size), HU["air"], dtype=np.float64)
        # In the order of the list: what is inside another body comes after it.
        for solid in bodies:
            values[np.broadcast_to(_inside(solid, (x, y, z)), values.shape)] = HU[solid["material"]]
        mean = values.reshape(SAMPLES, counts[1], SAMPLES, counts[0], SAMPLES).mean(axis=(0, 2, 4))
        planes[k] = np.rint(mean)
    return planes, origin


def _dataset(phantom: Phantom, modality: str, sop_class: str, key: str) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = _uid(phantom, key)
    dataset.PatientID = phantom.patient_id
    dataset.PatientName = f"PHANTOM^{phantom.name.upper()}"
    dataset.PatientBirthDate = MADE_ON  # the second identifier, typed when the phantom is opened
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = _uid(phantom, "study")
    dataset.FrameOfReferenceUID = _uid(phantom, "frame")
    dataset.SeriesInstanceUID = _uid(phantom, f"series {modality}")
    dataset.Modality = modality
    dataset.Manufacturer = "igrt-sim"
    dataset.StudyDate = dataset.SeriesDate = WRITTEN_AT.strftime("%Y%m%d")
    dataset.StudyTime = WRITTEN_AT.strftime("%H%M%S")
    dataset.StudyID = dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = 1
    return dataset


def _uid(phantom: Phantom, key: str) -> str:
    # From names, not from the clock: the same phantom is the same objects.
    return generate_uid(entropy_srcs=["igrt-sim phantom", phantom.name, key])


def _save(dataset: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)


def _slices(phantom: Phantom, spacing_mm: float) -> Iterator[Dataset]:
    planes, origin = hounsfield(phantom, spacing_mm)
    for index, plane in enumerate(planes):
        ct = _dataset(phantom, "CT", CTImageStorage, f"slice {index}")
        ct.InstanceNumber = index + 1
        ct.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ct.PatientPosition = "HFS"
        ct.KVP = 120
        ct.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ct.ImagePositionPatient = [origin[0], origin[1], origin[2] + index * spacing_mm]
        ct.SliceThickness = spacing_mm
        ct.PixelSpacing = [spacing_mm, spacing_mm]
        ct.Rows, ct.Columns = plane.shape
        ct.SamplesPerPixel = 1
        ct.PhotometricInterpretation = "MONOCHROME2"
        ct.BitsAllocated = ct.BitsStored = 16
        ct.HighBit, ct.PixelRepresentation = 15, 1
        ct.RescaleIntercept, ct.RescaleSlope = 0, 1
        ct.RescaleType = "HU"
        ct.PixelData = plane.astype("<i2").tobytes()
        yield ct


def _outline(phantom: Phantom) -> list[tuple[float, float]]:
    half = phantom.half_size_mm[0]
    if phantom.name == "cube":
        return [(-half, -half), (half, -half), (half, half), (-half, half)]
    turns = np.arange(72) * (2 * np.pi / 72)
    return [(float(half * np.cos(t)), float(half * np.sin(t))) for t in turns]


def _structures(phantom: Phantom, slices: list[Dataset]) -> Dataset:
    ds = _dataset(phantom, "RTSTRUCT", RTStructureSetStorage, "structures")
    ds.StructureSetLabel = phantom.patient_id
    ds.StructureSetDate, ds.StructureSetTime = ds.StudyDate, ds.StudyTime
    reference = Dataset()
    reference.FrameOfReferenceUID = ds.FrameOfReferenceUID
    ds.ReferencedFrameOfReferenceSequence = [reference]
    roi = Dataset()
    roi.ROINumber, roi.ROIName = 1, "BODY"
    roi.ReferencedFrameOfReferenceUID = ds.FrameOfReferenceUID
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    ds.StructureSetROISequence = [roi]
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "EXTERNAL", ""
    ds.RTROIObservationsSequence = [observation]
    body = Dataset()
    body.ReferencedROINumber = 1
    body.ContourSequence = []
    for ct in slices:
        z = float(ct.ImagePositionPatient[2])
        if abs(z) > phantom.half_size_mm[2]:
            continue
        contour = Dataset()
        contour.ContourGeometricType = "CLOSED_PLANAR"
        points = [v for x, y in _outline(phantom) for v in (round(x, 3), round(y, 3), z)]
        contour.NumberOfContourPoints, contour.ContourData = len(points) // 3, points
        body.ContourSequence.append(contour)
    ds.ROIContourSequence = [body]
    return ds


def _plan(phantom: Phantom, structures: Dataset) -> Dataset:
    ds = _dataset(phantom, "RTPLAN", RTPlanStorage, "plan")
    ds.RTPlanLabel = phantom.patient_id
    ds.RTPlanDate, ds.RTPlanTime = ds.StudyDate, ds.StudyTime
    ds.RTPlanGeometry = "PATIENT"
    ds.ApprovalStatus = "APPROVED"
    ds.ReviewDate, ds.ReviewTime, ds.ReviewerName = ds.StudyDate, ds.StudyTime, "igrt-sim"
    reference = Dataset()
    reference.ReferencedSOPClassUID = structures.SOPClassUID
    reference.ReferencedSOPInstanceUID = structures.SOPInstanceUID
    ds.ReferencedStructureSetSequence = [reference]
    setup = Dataset()
    setup.PatientPosition, setup.PatientSetupNumber = "HFS", 1
    ds.PatientSetupSequence = [setup]
    ds.ToleranceTableSequence = [_tolerances()]
    ds.FractionGroupSequence = [_fractions()]
    ds.BeamSequence = [_beam(phantom, n, name, angle) for n, name, angle in BEAMS]
    return ds


def _tolerances() -> Dataset:
    """How far from its planned place the table top may be when the phantom is set up at the lasers."""
    table = Dataset()
    table.ToleranceTableNumber, table.ToleranceTableLabel = 1, "PHANTOM"
    table.TableTopLateralPositionTolerance = SETUP_MM
    table.TableTopLongitudinalPositionTolerance = SETUP_MM
    table.TableTopVerticalPositionTolerance = SETUP_MM
    table.PatientSupportAngleTolerance = SETUP_DEG
    table.TableTopPitchAngleTolerance = table.TableTopRollAngleTolerance = SETUP_DEG
    return table


def _fractions() -> Dataset:
    group = Dataset()
    group.FractionGroupNumber, group.NumberOfFractionsPlanned = 1, 1
    group.NumberOfBeams, group.NumberOfBrachyApplicationSetups = 0, 0
    return group


def _jaws(kind: str) -> tuple[Dataset, Dataset]:
    device, at = Dataset(), Dataset()
    device.RTBeamLimitingDeviceType = at.RTBeamLimitingDeviceType = kind
    device.NumberOfLeafJawPairs = 1
    at.LeafJawPositions = [-FIELD_MM, FIELD_MM]
    return device, at


SETUP_MM, SETUP_DEG = 10.0, 1.0
FIELD_MM = (
    90.0  # half the field of the images, at the isocentre: the phantom with its shadow around it
)
BEAMS = ((1, "kV AP", 0.0), (2, "kV LL", 90.0))


def _beam(phantom: Phantom, number: int, name: str, angle_deg: float) -> Dataset:
    beam = Dataset()
    beam.BeamNumber, beam.BeamName = number, name
    beam.BeamType, beam.RadiationType = "STATIC", "PHOTON"
    beam.TreatmentDeliveryType = "SETUP"
    beam.TreatmentMachineName, beam.PrimaryDosimeterUnit = "SIMULATED", "MU"
    beam.SourceAxisDistance = 1000
    beam.ReferencedToleranceTableNumber = 1
    x, y = _jaws("ASYMX"), _jaws("ASYMY")
    beam.BeamLimitingDeviceSequence = [x[0], y[0]]
    point = Dataset()
    point.ControlPointIndex = 0
    point.NominalBeamEnergy = 0.08
    point.GantryAngle, point.GantryRotationDirection = angle_deg, "NONE"
    point.BeamLimitingDeviceAngle, point.BeamLimitingDeviceRotationDirection = 0, "NONE"
    point.BeamLimitingDevicePositionSequence = [x[1], y[1]]
    point.IsocenterPosition = list(phantom.isocentre_mm)
    lateral, longitudinal, vertical, rotation, pitch, roll = phantom.couch
    point.TableTopLateralPosition = lateral
    point.TableTopLongitudinalPosition = longitudinal
    point.TableTopVerticalPosition = vertical
    point.PatientSupportAngle, point.PatientSupportRotationDirection = rotation, "NONE"
    point.TableTopPitchAngle, point.TableTopPitchRotationDirection = pitch, "NONE"
    point.TableTopRollAngle, point.TableTopRollRotationDirection = roll, "NONE"
    beam.NumberOfControlPoints, beam.ControlPointSequence = 1, [point]
    return beam


def write_dicom(phantom: Phantom, folder: Path, *, spacing_mm: float = 1.0) -> int:
    """Writes CT slices, structure set and plan of a phantom; gives the number of objects.

    Raises:
        SimulatorError: the folder holds files, or the spacing is not within 0.5 to 5 mm.
    """
    if not 0.5 <= spacing_mm <= 5.0:
        raise SimulatorError(f"spacing_mm {spacing_mm} is not within 0.5 to 5")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SimulatorError(f"{folder} holds files already; name an empty or a new folder")
    slices = list(_slices(phantom, spacing_mm))
    for index, ct in enumerate(slices):
        _save(ct, folder / f"ct_{index:04}.dcm")
    structures = _structures(phantom, slices)
    _save(structures, folder / "structures.dcm")
    _save(_plan(phantom, structures), folder / "plan.dcm")
    return len(slices) + 2
