"""What a patient was moved by before: one entry for each shift that was executed and arrived."""

from igrt_hw.geometry import Correction
from igrt_hw.models.base import Frozen


class TreatedShift(Frozen):
    """One executed shift that arrived. `sequence` is that of the arrival in the record; axes in mm and degrees."""

    sequence: int
    patient_id: str
    plan_uid: str
    isocentre_id: str
    fraction: int
    at_utc: str
    correction: Correction
    target_axes: tuple[float, ...]
