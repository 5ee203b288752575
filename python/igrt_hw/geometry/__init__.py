"""Typed poses and frames: the only door to matrices. Millimetres and degrees; IEC 61217 (`docs/conventions.md`)."""

from igrt_hw._core import Pose
from igrt_hw.geometry.angle import wrap_deg
from igrt_hw.geometry.axes import AXIS_NAMES, Axes6, AxisValues, Correction
from igrt_hw.geometry.compose import (
    compose_correction,
    compose_correction_branches,
    correction_between,
    correction_to_pose,
    pose_to_correction,
)
from igrt_hw.geometry.directions import (
    PATIENT_POSITIONS,
    correction_words,
    couch_direction,
    patient_direction,
)
from igrt_hw.geometry.frame import Frame
from igrt_hw.geometry.golden import GoldenVectorError, check_golden_vectors
from igrt_hw.geometry.leverage import leverage_mm, residual_mm
from igrt_hw.geometry.wire_units import deg_to_udeg, mm_to_um, udeg_to_deg, um_to_mm

__all__ = [
    "AXIS_NAMES",
    "PATIENT_POSITIONS",
    "Axes6",
    "AxisValues",
    "Correction",
    "Frame",
    "GoldenVectorError",
    "Pose",
    "check_golden_vectors",
    "compose_correction",
    "compose_correction_branches",
    "correction_between",
    "correction_to_pose",
    "correction_words",
    "couch_direction",
    "deg_to_udeg",
    "leverage_mm",
    "mm_to_um",
    "patient_direction",
    "pose_to_correction",
    "residual_mm",
    "udeg_to_deg",
    "um_to_mm",
    "wrap_deg",
]
