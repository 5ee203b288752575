"""How a patient lies on the table top: the eight DICOM patient positions as rotations `t <- p`.

IEC patient frame: +X patient's left, +Y head, +Z front. Table-top frame at couch angle zero: +X to the
right of someone facing the gantry, +Y towards the gantry, +Z up. Each position is given by where left,
head and front of the patient point on the table; that is how a person can check it against a picture.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from igrt_hw.models.plan import PatientPosition

_RIGHT, _GANTRY, _UP = (1, 0, 0), (0, 1, 0), (0, 0, 1)
_LEFTWARD, _AWAY, _DOWN = (-1, 0, 0), (0, -1, 0), (0, 0, -1)

#: position -> (patient's left points to, head points to, front points to), in table-top axes
DIRECTIONS: Final[dict[PatientPosition, tuple[tuple[int, int, int], ...]]] = {
    "HFS": (_RIGHT, _GANTRY, _UP),
    "HFP": (_LEFTWARD, _GANTRY, _DOWN),
    "HFDR": (_UP, _GANTRY, _LEFTWARD),
    "HFDL": (_DOWN, _GANTRY, _RIGHT),
    "FFS": (_LEFTWARD, _AWAY, _UP),
    "FFP": (_RIGHT, _AWAY, _DOWN),
    "FFDR": (_UP, _AWAY, _RIGHT),
    "FFDL": (_DOWN, _AWAY, _LEFTWARD),
}

#: DICOM LPS -> IEC patient: (x, y, z) -> (x, z, -y)
PATIENT_FROM_DICOM: Final = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def table_from_patient_rotation(position: PatientPosition) -> NDArray[np.float64]:
    """Rotation (3, 3) that takes IEC patient axes to table-top axes for a patient position."""
    return np.array(DIRECTIONS[position], dtype=np.float64).T


def iec_patient_point(dicom_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """A point (3,) in the IEC patient frame from DICOM patient coordinates (LPS), both in millimetres."""
    return PATIENT_FROM_DICOM @ np.asarray(dicom_mm, dtype=np.float64)
