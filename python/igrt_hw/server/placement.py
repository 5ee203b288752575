"""Where the patient lies: from plan and couch axes to poses of the patient in the room (`docs/conventions.md`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CoreError, Couch, Pose
from igrt_hw.geometry import Frame
from igrt_hw.guidance.plan import LoadedPlan
from igrt_hw.server.errors import JobError

# A plan's table-top position is one of IEC 61217 whatever couch carries the table top.
_TABLE_TOP = Couch.pedestal([(-10_000.0, 10_000.0)] * 3 + [(-360.0, 360.0)] * 3)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """One isocentre of one plan.

    Attributes:
        table_from_patient: rigid (4, 4), mm: how the plan lays the patient on the table top.
        planned: fixed <- patient when everything stands as planned.
    """

    table_from_patient: NDArray[np.float64]
    planned: Pose

    @classmethod
    def of(cls, loaded: LoadedPlan, isocentre_id: str) -> Placement:
        """The placement of an isocentre; raises `JobError` for a plan without an absolute table-top position."""
        couch = loaded.isocentre(isocentre_id).couch
        position = (couch.lateral_mm, couch.longitudinal_mm, couch.vertical_mm)
        known = [value for value in position if value is not None]
        if couch.relative or len(known) != 3:
            raise JobError(
                f"plan {loaded.plan.plan_label}, isocentre {isocentre_id}: the table-top position is relative to a "
                "start that the plan does not know; this version needs an absolute one"
            )
        table = _TABLE_TOP.forward(
            (*known, couch.rotation_deg, couch.pitch_deg, couch.roll_deg)
        ).matrix()
        isocentre_in_table = (np.linalg.inv(table) @ np.array([0.0, 0.0, 0.0, 1.0]))[:3]
        placed = loaded.table_from_patient(isocentre_id, isocentre_in_table)
        return cls(placed, Pose.from_matrix(table @ placed, Frame.FIXED, Frame.PATIENT))

    @property
    def planned_table(self) -> Pose:
        """fixed <- table top when the couch stands as planned."""
        matrix = self.planned.matrix() @ np.linalg.inv(self.table_from_patient)
        return Pose.from_matrix(matrix, Frame.FIXED, Frame.TABLE_TOP)

    def at(self, couch: Couch, axes: tuple[float, ...]) -> Pose:
        """fixed <- patient with the couch at these axes (mm, degrees), as far as the plan's placement is true."""
        matrix = couch.forward(axes).matrix() @ self.table_from_patient
        return Pose.from_matrix(matrix, Frame.FIXED, Frame.PATIENT)


def planned_axes(couch: Couch, placement: Placement) -> tuple[float, ...]:
    """Axes that put the table top where the plan wants it, the branch nearest to the middle of the ranges.

    Raises `JobError` when this couch cannot stand there.
    """
    middle = tuple((lower + upper) / 2.0 for lower, upper in couch.limits)
    try:
        return couch.inverse_nearest(placement.planned_table, middle)
    except CoreError as error:
        raise JobError(f"the couch cannot stand at the planned position: {error}") from error
