"""RTK's geometry files (ThreeDCircularProjectionGeometry, XML version 3) read and written.

RTK's fixed frame is the fixed frame of IEC 61217, millimetres and degrees. A projection has nine numbers. With

    R = Rz(-InPlaneAngle) . Rx(-OutOfPlaneAngle) . Ry(-GantryAngle)

(rows: the axes u, v and n of the detector in the fixed frame) the source stands in that turned frame at
(SourceOffsetX, SourceOffsetY, SourceToIsocenterDistance), and the detector lies in its plane
z = SourceToIsocenterDistance - SourceToDetectorDistance; detector coordinate (u, v) is the point
(u + ProjectionOffsetX, v + ProjectionOffsetY) of that plane. Source: RTK documentation, "RTK 3D circular projection
geometry"; checked against itk-rtk itself in `tests/unit/test_rtk_geometry.py`.

RTK tilts source and detector together, this project tilts the panel about its centre: the same lines in other
words. Detector coordinate (0, 0) is the centre of the panel, +u to higher columns, +v to lower rows:
u = (col - (cols - 1) / 2) pitch, v = ((rows - 1) / 2 - row) pitch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from igrt_hw.guidance.imager_geometry import ImagerPose
from igrt_hw.guidance.refusal import InputRefused

VERSIONS: Final = (2, 3)  # 2 has no cylindrical detector and no collimation; all else is the same
TEXT_LEN_MAX: Final = 32 * 1024 * 1024
# RTK writes 15 digits: a matrix of 1500 mm and offsets of 1e3 mm agrees with its numbers far below this.
MATRIX_TOLERANCE: Final = 1e-6
ROOT: Final = "RTKThreeDCircularGeometry"
COLLIMATION: Final = ("CollimationUInf", "CollimationUSup", "CollimationVInf", "CollimationVSup")


@dataclass(frozen=True, slots=True)
class RtkProjection:
    """The nine numbers of one projection in RTK's words, mm and degrees."""

    gantry_angle_deg: float
    out_of_plane_angle_deg: float
    in_plane_angle_deg: float
    source_to_isocenter_mm: float
    source_to_detector_mm: float
    source_offset_x_mm: float
    source_offset_y_mm: float
    projection_offset_x_mm: float
    projection_offset_y_mm: float

    def rotation(self) -> NDArray[np.float64]:
        """R (3, 3), fixed frame to detector axes."""
        return (
            _rz(-self.in_plane_angle_deg)
            @ _rx(-self.out_of_plane_angle_deg)
            @ _ry(-self.gantry_angle_deg)
        )

    def matrix(self) -> NDArray[np.float64]:
        """RTK's projection matrix (3, 4): fixed-frame point, mm, to homogeneous (u, v, 1), mm, in RTK's sign.

        The third row is distance in front of the source, negated.
        """
        rotated = np.eye(4)
        rotated[:3, :3] = self.rotation()
        to_source = np.eye(4)
        to_source[0, 3] = -self.source_offset_x_mm
        to_source[1, 3] = -self.source_offset_y_mm
        magnify = np.array(
            [
                [-self.source_to_detector_mm, 0, 0, 0],
                [0, -self.source_to_detector_mm, 0, 0],
                [0, 0, 1, -self.source_to_isocenter_mm],
            ],
            dtype=np.float64,
        )
        to_detector = np.eye(3)
        to_detector[0, 2] = self.source_offset_x_mm - self.projection_offset_x_mm
        to_detector[1, 2] = self.source_offset_y_mm - self.projection_offset_y_mm
        return np.asarray(to_detector @ magnify @ to_source @ rotated, dtype=np.float64)


_NAMES: Final = {
    "GantryAngle": "gantry_angle_deg",
    "OutOfPlaneAngle": "out_of_plane_angle_deg",
    "InPlaneAngle": "in_plane_angle_deg",
    "SourceToIsocenterDistance": "source_to_isocenter_mm",
    "SourceToDetectorDistance": "source_to_detector_mm",
    "SourceOffsetX": "source_offset_x_mm",
    "SourceOffsetY": "source_offset_y_mm",
    "ProjectionOffsetX": "projection_offset_x_mm",
    "ProjectionOffsetY": "projection_offset_y_mm",
}


def rtk_from_pose(pose: ImagerPose) -> RtkProjection:
    """The same source and panel in RTK's words."""
    fixed_from_panel = _ry(pose.source_angle_deg) @ (
        _rz(pose.panel_rotation_deg) @ _rx(pose.panel_pitch_deg) @ _ry(pose.panel_roll_deg)
    )
    # R transposed = Ry(gantry) . Rx(out of plane) . Rz(in plane)
    turn = fixed_from_panel
    gantry = math.degrees(math.atan2(turn[0, 2], turn[2, 2]))
    out_of_plane = math.degrees(math.asin(float(np.clip(-turn[1, 2], -1.0, 1.0))))
    in_plane = math.degrees(math.atan2(turn[1, 0], turn[1, 1]))
    to_fixed = _ry(pose.source_angle_deg)
    source = turn.T @ to_fixed @ [pose.source_lateral_mm, pose.source_longitudinal_mm, pose.sad_mm]
    centre = (
        turn.T
        @ to_fixed
        @ [pose.panel_lateral_mm, pose.panel_longitudinal_mm, pose.sad_mm - pose.sid_mm]
    )
    return RtkProjection(
        gantry_angle_deg=gantry % 360.0,
        out_of_plane_angle_deg=out_of_plane,
        in_plane_angle_deg=in_plane,
        source_to_isocenter_mm=float(source[2]),
        source_to_detector_mm=float(source[2] - centre[2]),
        source_offset_x_mm=float(source[0]),
        source_offset_y_mm=float(source[1]),
        projection_offset_x_mm=float(centre[0]),
        projection_offset_y_mm=float(centre[1]),
    )


def pose_from_rtk(projection: RtkProjection, source_angle_deg: float | None = None) -> ImagerPose:
    """The same source and panel as a pose told against a source angle; RTK's gantry angle unless another is given.

    Raises:
        InputRefused: a source that is not in front of the detector and the isocentre.
    """
    angle = projection.gantry_angle_deg if source_angle_deg is None else source_angle_deg
    gantry_from_panel = _ry(-angle) @ projection.rotation().T
    source = gantry_from_panel @ [
        projection.source_offset_x_mm,
        projection.source_offset_y_mm,
        projection.source_to_isocenter_mm,
    ]
    centre = gantry_from_panel @ [
        projection.projection_offset_x_mm,
        projection.projection_offset_y_mm,
        projection.source_to_isocenter_mm - projection.source_to_detector_mm,
    ]
    if not (source[2] > 0.0 and centre[2] < 0.0):
        raise InputRefused(
            f"at gantry angle {projection.gantry_angle_deg:g} deg isocentre and source are not on their sides of each "
            "other: source, isocentre and detector have to follow each other along the beam"
        )
    pitch = math.asin(float(np.clip(gantry_from_panel[2, 1], -1.0, 1.0)))
    roll = math.atan2(-gantry_from_panel[2, 0], gantry_from_panel[2, 2])
    rotation = math.atan2(-gantry_from_panel[0, 1], gantry_from_panel[1, 1])
    return ImagerPose(
        source_angle_deg=angle,
        sad_mm=float(source[2]),
        sid_mm=float(source[2] - centre[2]),
        source_lateral_mm=float(source[0]),
        source_longitudinal_mm=float(source[1]),
        panel_lateral_mm=float(centre[0]),
        panel_longitudinal_mm=float(centre[1]),
        panel_rotation_deg=math.degrees(rotation),
        panel_pitch_deg=math.degrees(pitch),
        panel_roll_deg=math.degrees(roll),
    )


def write_rtk_geometry(poses: Sequence[ImagerPose]) -> str:
    """RTK's XML of these poses, one projection each, matrices included as RTK itself writes them.

    Raises:
        InputRefused: no poses.
    """
    if not poses:
        raise InputRefused("a geometry file needs one projection or more")
    lines = ['<?xml version="1.0"?>', "<!DOCTYPE RTKGEOMETRY>", f'<{ROOT} version="3">']
    for pose in poses:
        projection = rtk_from_pose(pose)
        lines.append("  <Projection>")
        lines += [
            f"    <{tag}>{getattr(projection, name)!r}</{tag}>" for tag, name in _NAMES.items()
        ]
        lines.append("    <Matrix>")
        lines += ["      " + " ".join(repr(float(x)) for x in row) for row in projection.matrix()]
        lines += ["    </Matrix>", "  </Projection>"]
    lines.append(f"</{ROOT}>")
    return "\n".join(lines) + "\n"


def read_rtk_geometry(text: str) -> tuple[RtkProjection, ...]:
    """The projections of RTK's XML, in the order of the file.

    Raises:
        InputRefused: not such a file, an unknown version, a cylindrical detector, a number that is missing or
            none, or a matrix that contradicts the numbers beside it.
    """
    root = _root(text)
    common = {tag: _number(root, tag) for tag in _NAMES if root.find(tag) is not None}
    if "GantryAngle" in common and len(root.findall("Projection")) > 1:
        raise InputRefused("RTK geometry: one gantry angle is given for several projections")
    projections = []
    for index, element in enumerate(root.findall("Projection")):
        values = dict.fromkeys(_NAMES.values(), 0.0)
        given = dict(common)
        given.update(
            {tag: _number(element, tag) for tag in _NAMES if element.find(tag) is not None}
        )
        for needed in ("GantryAngle", "SourceToIsocenterDistance", "SourceToDetectorDistance"):
            if needed not in given:
                raise InputRefused(f"RTK geometry: projection {index} has no {needed}")
        values.update({_NAMES[tag]: value for tag, value in given.items()})
        projection = RtkProjection(**values)
        _check_distances(projection, index)
        _check_matrix(projection, element, index)
        projections.append(projection)
    if not projections:
        raise InputRefused("RTK geometry: the file holds no projection")
    return tuple(projections)


def _root(text: str) -> ElementTree.Element:
    if len(text) > TEXT_LEN_MAX:
        raise InputRefused(
            f"RTK geometry: {len(text)} characters; {TEXT_LEN_MAX} is the most that is read"
        )
    # An internal subset may define entities that grow without bound; RTK never writes one.
    if re.search(r"<!ENTITY|<!DOCTYPE[^>]*\[", text):
        raise InputRefused("RTK geometry: the file defines entities, which no geometry needs")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputRefused(f"RTK geometry: not XML: {error}") from error
    if root.tag != ROOT:
        raise InputRefused(f"RTK geometry: the root is <{root.tag}>, not <{ROOT}>")
    version = root.get("version", "")
    if version not in {str(v) for v in VERSIONS}:
        raise InputRefused(
            f"RTK geometry: version {version or 'missing'}; {' and '.join(str(v) for v in VERSIONS)} are known"
        )
    radius = root.find("RadiusCylindricalDetector")
    if radius is not None and _number(root, "RadiusCylindricalDetector") != 0.0:
        raise InputRefused("RTK geometry: the detector is a cylinder; only flat panels are known")
    return root


def _number(element: ElementTree.Element, tag: str) -> float:
    text = (element.findtext(tag) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputRefused(f"RTK geometry: <{tag}> holds '{text[:40]}', not a number")
    return value


def _check_distances(projection: RtkProjection, index: int) -> None:
    if not 0.0 < projection.source_to_isocenter_mm < projection.source_to_detector_mm:
        raise InputRefused(
            f"RTK geometry: projection {index}: the detector has to lie beyond the isocentre; source to isocentre "
            f"{projection.source_to_isocenter_mm:g}, to detector {projection.source_to_detector_mm:g} mm "
            "(a parallel beam, distance 0, is not an X-ray of this project)"
        )


def _check_matrix(projection: RtkProjection, element: ElementTree.Element, index: int) -> None:
    text = element.findtext("Matrix")
    if text is None:
        return
    try:
        told = np.array([float(word) for word in text.split()], dtype=np.float64).reshape(3, 4)
    except ValueError as error:
        raise InputRefused(
            f"RTK geometry: the matrix of projection {index} is not of 3 x 4 numbers"
        ) from error
    wanted = projection.matrix()
    scale = np.abs(wanted).max()
    if not np.allclose(told, wanted, rtol=0.0, atol=MATRIX_TOLERANCE * scale):
        raise InputRefused(
            f"RTK geometry: the matrix of projection {index} is not that of its numbers (they differ by "
            f"{np.abs(told - wanted).max():.3g}): one of them was edited"
        )


def _rx(angle_deg: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=np.float64)


def _ry(angle_deg: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=np.float64)


def _rz(angle_deg: float) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=np.float64)


assert set(_NAMES.values()) == {field.name for field in fields(RtkProjection)}
