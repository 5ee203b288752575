"""X-rays to register, from files: DICOM RT Images, or frames of our own imager with their geometry.

Own frames are a JSON file beside its arrays, `{"views": [{"image": "0.npy", "geometry": {...}}]}`: line integrals
(rows, cols) as float32, NaN where a pixel holds nothing, and the arguments of `PanelGeometry`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from igrt_hw._core import CoreError, PanelGeometry
from igrt_hw.guidance.ct import read_dicom, require
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import View

RT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.1"
GEOMETRY_FIELDS = (
    "source_angle_deg",
    "sad_mm",
    "sid_mm",
    "pixel_pitch_mm",
    "panel_lateral_mm",
    "panel_longitudinal_mm",
    "panel_rotation_deg",
    "panel_pitch_deg",
    "panel_roll_deg",
    "source_lateral_mm",
    "source_longitudinal_mm",
)
# Row and column directions of RT Image in the image receptor frame, columns along +X and rows along -Y.
ORIENTATION = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
POSITION_TOLERANCE_MM = 0.05
OPEN_FIELD_PERCENTILE = 99.5


def save_views(path: Path, views: Sequence[View]) -> None:
    """Write own frames: the JSON at `path`, the arrays beside it."""
    entries = []
    for index, view in enumerate(views):
        name = f"{path.stem}_{index}.npy"
        np.save(path.with_name(name), np.asarray(view.image, dtype=np.float32))
        geometry: dict[str, float] = {f: getattr(view.geometry, f) for f in GEOMETRY_FIELDS}
        rows, cols = view.geometry.shape
        entries.append({"image": name, "geometry": geometry | {"rows": rows, "cols": cols}})
    path.write_text(json.dumps({"views": entries}, indent=1))


def load_views(path: Path) -> list[View]:
    """Read own frames.

    Raises:
        InputRefused: a file that is missing or malformed, or an image of another size than its geometry.
    """
    try:
        entries = json.loads(path.read_text())["views"]
        return [_own(path, entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputRefused(f"{path.name} is no file of views: {error}") from error


def _own(path: Path, entry: dict[str, object]) -> View:
    image = np.load(path.with_name(Path(str(entry["image"])).name), allow_pickle=False)
    geometry = PanelGeometry(**entry["geometry"])  # type: ignore[arg-type]
    if image.shape != geometry.shape:
        raise InputRefused(
            f"{entry['image']} has shape {image.shape}, its geometry {geometry.shape}"
        )
    return View(np.asarray(image, dtype=np.float32), geometry)


def load_rt_image(path: Path, patient_id: str | None = None) -> View:
    """Read a DICOM RT Image as line integrals with its geometry.

    The gantry angle is taken as the angle of the source, as kV RT Images give it. The pixel intensity relationship
    must be stated: LOG is attenuation already (times an unknown scale, which registration does not need), LIN is
    exposure, of which the logarithm is taken against the brightest 0.5 % of the image.

    `patient_id`, when given, must be that of the image.

    Raises:
        InputRefused: another object or patient, elements that are missing, a panel that is turned or not
            perpendicular, pixels that are not square, or intensities without their meaning.
    """
    dataset = read_dicom(path)
    if dataset.get("SOPClassUID") != RT_IMAGE_STORAGE:
        raise InputRefused(
            f"{path.name} is no RT Image ({dataset.get('Modality', 'unknown modality')})"
        )
    if patient_id is not None and str(require(dataset, "PatientID", path.name)) != patient_id:
        raise InputRefused(
            f"wrong patient: {path.name} is of {dataset.PatientID!r}, the plan of {patient_id!r}"
        )
    rows, cols = int(dataset.Rows), int(dataset.Columns)
    sid, sad = _number(dataset, "RTImageSID", path), _number(dataset, "RadiationMachineSAD", path)
    down, across = _several(dataset, "ImagePlanePixelSpacing", 2, path)
    if abs(down - across) > 1e-6 * across:
        raise InputRefused(f"{path.name}: pixels of {down} x {across} mm are not square")
    _flat_and_upright(dataset, path)
    x, y = _several(dataset, "RTImagePosition", 2, path)
    # RT Image Position is the centre of the first pixel in the image receptor frame.
    lateral = x + (cols - 1) / 2.0 * across
    longitudinal = y - (rows - 1) / 2.0 * down
    shift = dataset.get("XRayImageReceptorTranslation")
    if shift is not None:
        lateral, longitudinal = lateral + float(shift[0]), longitudinal + float(shift[1])
    try:
        geometry = PanelGeometry(
            source_angle_deg=_number(dataset, "GantryAngle", path),
            sad_mm=sad,
            sid_mm=sid,
            rows=rows,
            cols=cols,
            pixel_pitch_mm=across,
            panel_lateral_mm=lateral,
            panel_longitudinal_mm=longitudinal,
        )
    except CoreError as error:
        raise InputRefused(f"{path.name}: {error}") from error
    return View(_line_integrals(dataset, path), geometry)


def _flat_and_upright(dataset: FileDataset, path: Path) -> None:
    plane = str(require(dataset, "RTImagePlane", path.name))
    turned = float(dataset.get("XRayImageReceptorAngle") or 0.0)
    orientation = [float(v) for v in dataset.get("RTImageOrientation") or ORIENTATION]
    if plane != "NORMAL" or abs(turned) > 1e-3 or not np.allclose(orientation, ORIENTATION):
        raise InputRefused(
            f"{path.name}: only panels perpendicular to the beam and not turned are read "
            f"(plane {plane}, receptor angle {turned}, orientation {orientation})"
        )


def _line_integrals(dataset: FileDataset, path: Path) -> NDArray[np.float32]:
    try:
        stored = dataset.pixel_array.astype(np.float64)
    except Exception as error:  # pydicom's decoders raise many kinds; the operator gets one
        raise InputRefused(f"the pixels of {path.name} cannot be decoded: {error}") from error
    stored = stored * float(dataset.get("RescaleSlope") or 1.0) + float(
        dataset.get("RescaleIntercept") or 0.0
    )
    meaning = str(dataset.get("PixelIntensityRelationship") or "")
    sign = float(dataset.get("PixelIntensityRelationshipSign") or 0.0)
    if meaning not in ("LIN", "LOG") or sign not in (-1.0, 1.0):
        raise InputRefused(
            f"{path.name} does not say what its pixels mean (PixelIntensityRelationship {meaning or 'absent'}, "
            f"sign {sign:g}); LIN or LOG with a sign is needed"
        )
    # Sign +1: more intensity, higher values; -1: the other way round.
    exposure = stored if sign > 0.0 else stored.max() - stored
    if meaning == "LOG":
        scale = float(np.percentile(exposure, OPEN_FIELD_PERCENTILE)) - float(exposure.min())
        # The unit of a logarithm is not in the object; four spans what a chest attenuates.
        return np.asarray((exposure.max() - exposure) * (4.0 / max(scale, 1e-6)), dtype=np.float32)
    brightest = float(np.percentile(exposure, OPEN_FIELD_PERCENTILE))
    if brightest <= 0.0:
        raise InputRefused(f"{path.name} holds no exposure")
    share = np.where(exposure > 0.0, exposure / brightest, np.nan)
    return np.asarray(-np.log(share), dtype=np.float32)


def _number(dataset: FileDataset, keyword: str, path: Path) -> float:
    return float(str(require(dataset, keyword, path.name)))


def _several(dataset: FileDataset, keyword: str, count: int, path: Path) -> Sequence[float]:
    value = require(dataset, keyword, path.name)
    if not isinstance(value, Sequence) or len(value) != count:
        raise InputRefused(f"{path.name}: {keyword} must have {count} values")
    return [float(str(v)) for v in value]
