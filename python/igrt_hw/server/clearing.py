"""Clearance of the approved path: the room of the machine with this patient on its couch."""

from __future__ import annotations

from igrt_hw.machine import Machine
from igrt_hw.models.plan import TreatmentPlan
from igrt_hw.models.proposal import ClearanceStrip
from igrt_hw.server.errors import JobError
from igrt_hw.server.registering import PreparedPlan


class RoomChecker:
    """Certifies paths in the room of a machine."""

    def __init__(self, machine: Machine, plans: dict[str, PreparedPlan]) -> None:
        self._machine = machine
        self._plans = plans

    def check(
        self,
        start_axes: tuple[float, ...],
        target_axes: tuple[float, ...],
        plan: TreatmentPlan,
        isocentre_id: str,
        warn_mm: float,
        stop_mm: float,
    ) -> ClearanceStrip:
        """The strip of a path; raises `JobError` when it cannot be checked."""
        raise JobError("the clearance of the path cannot be checked: there is no room yet")
