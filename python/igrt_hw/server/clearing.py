"""Clearance of the approved path: the room of the machine with this patient where registration found them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import CoreError
from igrt_hw.guidance.plan import LoadedPlan
from igrt_hw.machine import Machine
from igrt_hw.machine.explain import explain_path
from igrt_hw.machine.planner import PlannerRule
from igrt_hw.machine.room import Room, RoomError
from igrt_hw.machine.surface import PatientSurface, SurfaceError, surface_from_contours
from igrt_hw.models.proposal import ClearanceStrip
from igrt_hw.server.errors import JobError

STATIONS = 64
DETOUR_SWEEPS_MAX = 1500


def surface_of_plan(loaded: LoadedPlan) -> PatientSurface:
    """The patient's surface from the plan's EXTERNAL contours; raises `JobError` if there is none to be made."""
    by_slice: dict[float, list[NDArray[np.float64]]] = {}
    for contour in loaded.body_contours_dicom_mm:
        by_slice.setdefault(float(contour[0, 2]), []).append(contour[:, :2])
    try:
        return surface_from_contours(
            list(by_slice.items()), source=f"EXTERNAL of plan {loaded.plan.plan_label}"
        )
    except SurfaceError as error:
        raise JobError(f"no patient surface for the clearance check: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class PatientLies:
    """A patient on the table top. `table_from_patient` (4, 4), mm."""

    plan_uid: str
    table_from_patient: NDArray[np.float64]


class RoomChecker:
    """Certifies straight paths in axis space, arms parked and gantry where it stands."""

    def __init__(self, machine: Machine, surfaces: dict[str, PatientSurface]) -> None:
        self._machine = machine
        self._surfaces = surfaces

    @property
    def surfaces(self) -> dict[str, PatientSurface]:
        """Patient surfaces by plan."""
        return self._surfaces

    def check(
        self,
        start_axes: tuple[float, ...],
        target_axes: tuple[float, ...],
        lies: PatientLies | None,
        *,
        gantry_deg: float,
        warn_mm: float,
        stop_mm: float,
        via_axes: tuple[tuple[float, ...], ...] = (),
        explains: bool = True,
    ) -> ClearanceStrip:
        """The strip of a path; raises `JobError` when it cannot be certified. `lies` None: an empty couch.

        With stops on the way every straight piece is certified, and the strip is that of all of them one after another.
        With `explains`, a path that does not keep `warn_mm` comes with what would free it: at most a second or two.
        """
        remedy = ""
        try:
            if lies is None:
                room = Room(self._machine)
            else:
                surface = self._surfaces[lies.plan_uid]
                room = Room(self._machine, surface, lies.table_from_patient)
            stops = (start_axes, *via_axes, target_axes)
            pieces = tuple(pairwise(stops))
            panels = room.retracted()
            sweeps = [
                room.sweep(first, last, gantry_deg, panels, stations=STATIONS)
                for first, last in pieces
            ]
            worst = min(range(len(sweeps)), key=lambda n: sweeps[n].min_mm)
            swept = sweeps[worst]
            if explains and swept.min_mm < warn_mm:
                planner = PlannerRule(keep_mm=warn_mm, sweeps_max=DETOUR_SWEEPS_MAX)
                remedy = explain_path(
                    room,
                    *pieces[worst],
                    gantry_deg,
                    panels,
                    keep_mm=warn_mm,
                    planner=planner,
                ).text()
        except (RoomError, CoreError) as error:
            raise JobError(f"the clearance of the path cannot be certified: {error}") from error
        return ClearanceStrip(
            minimum_mm=swept.min_mm,
            at_path_fraction=(worst + swept.nearest.path_fraction) / len(sweeps),
            pair=swept.nearest.pair.parts,
            profile_mm=tuple(mm for sweep in sweeps for mm in sweep.profile_mm),
            warn_mm=warn_mm,
            stop_mm=stop_mm,
            model_hash=swept.model_hash,
            remedy=remedy,
        )
