"""The arcs of a plan's beams, and whether they can be delivered: certified over the whole turn of the gantry.

Gantry angles are IEC 61217 degrees, unwrapped along the arc: a clockwise arc from 350 to 10 goes from 350 to 370.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from igrt_hw.machine.room import PanelState, PathPlace, Room
from igrt_hw.machine.turned_couch import ROTATION, TurnedCouch, TurnError, turns_by_inverse


class BeamArcError(ValueError):
    """A plan file whose arcs cannot be read; the message names the beam and says why."""


@dataclass(frozen=True, slots=True)
class BeamArc:
    """One beam: its gantry angles in order (degrees, unwrapped; one for a static beam) and its couch rotation."""

    number: int
    name: str
    angles_deg: tuple[float, ...]
    couch_rotation_deg: float

    @property
    def static(self) -> bool:
        """Whether the gantry stands."""
        return len(self.angles_deg) == 1


@dataclass(frozen=True, slots=True)
class ArcVerdict:
    """What is certain of a beam: `min_mm` at every gantry angle of it; deliverable if that keeps the margin.

    A robot couch that cannot stand at the beam's rotation: not deliverable, `unreachable` says why, nothing is nearest.
    """

    arc: BeamArc
    min_mm: float
    deliverable: bool
    nearest: PathPlace | None
    unreachable: str = ""

    def text(self) -> str:
        """One sentence."""
        angles = self.arc.angles_deg
        what = f"gantry {angles[0]:g}°" + ("" if self.arc.static else f" to {angles[-1]:g}°")
        said = "can be delivered" if self.deliverable else "cannot be delivered"
        why = self.unreachable
        if self.nearest is not None:
            why = f"{self.nearest.pair.text()} at gantry {self.nearest.gantry_deg:.1f}°"
        return f"beam {self.arc.number} {self.arc.name} ({what}, couch {self.arc.couch_rotation_deg:g}°) {said}: {why}"


def read_beam_arcs(rtplan: str | Path) -> tuple[BeamArc, ...]:
    """The beams of an RT Plan file.

    Raises:
        BeamArcError: no plan, a beam without angles, one whose couch turns while it is delivered, or one whose gantry
            moves without saying which way round.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        plan = pydicom.dcmread(rtplan)
    except (OSError, InvalidDicomError) as error:
        raise BeamArcError(f"{rtplan}: cannot be read as DICOM: {error}") from error
    if plan.get("Modality") != "RTPLAN":
        raise BeamArcError(f"{rtplan}: modality is {plan.get('Modality')!r}, not RTPLAN")
    return tuple(_arc(beam) for beam in plan.get("BeamSequence", []))


def judge_arcs(
    room: Room,
    arcs: Sequence[BeamArc],
    axes: Sequence[float],
    panel_state: PanelState,
    *,
    margin_mm: float,
) -> tuple[ArcVerdict, ...]:
    """Certify every beam with the couch at `axes`, its rotation axis at the beam's.

    A couch without a rotation axis of its own (a robot) turns its table top about the isocentre to the beam's rotation,
    from the one it stands at (`igrt_hw.machine.turned_couch`); how it gets there is another question.

    Raises:
        RoomError, ClearanceInputError: as `Room.sweep`.
    """
    verdicts = []
    for arc in arcs:
        try:
            at = _axes_of_beam(room, axes, arc.couch_rotation_deg)
        except TurnError as error:
            verdicts.append(ArcVerdict(arc, 0.0, False, None, str(error)))
            continue
        swept = [
            room.sweep(at, at, a, panel_state, gantry_target_deg=b, stations=8)
            for a, b in zip(arc.angles_deg, arc.angles_deg[1:] or arc.angles_deg, strict=False)
        ]
        worst = min(swept, key=lambda one: one.min_mm)
        place = worst.contact or worst.nearest
        keeps = worst.contact is None and worst.min_mm >= margin_mm
        verdicts.append(ArcVerdict(arc, worst.min_mm, keeps, place))
    return tuple(verdicts)


def _axes_of_beam(room: Room, axes: Sequence[float], rotation_deg: float) -> tuple[float, ...]:
    at = tuple(float(x) for x in axes)
    if turns_by_inverse(room.machine):
        return TurnedCouch(room, at).at(rotation_deg)
    names = [axis.name for axis in room.machine.description.axis]
    number = names.index(ROTATION)
    return (*at[:number], rotation_deg, *at[number + 1 :])


def _arc(beam: Any) -> BeamArc:
    number, name = int(beam.BeamNumber), str(beam.get("BeamName", ""))
    angle: float | None = None
    couch: float | None = None
    direction = "NONE"
    angles: list[float] = []
    for point in beam.get("ControlPointSequence", []):
        turned = point.get("PatientSupportAngle")
        if turned is not None:
            if couch is not None and abs(_wrapped(float(turned) - couch)) > 1e-3:
                raise BeamArcError(
                    f"beam {number} {name}: its couch turns from {couch:g} to {float(turned):g} degrees while it is "
                    "delivered; only a standing couch is judged"
                )
            couch = float(turned)
        given = point.get("GantryAngle")
        if given is not None:
            step = 0.0 if angle is None else _step(float(given) - angle, direction, number, name)
            angle = float(given) if angle is None else angle + step
            if not angles or step != 0.0:
                angles.append(angle)
        direction = str(point.get("GantryRotationDirection", direction) or direction)
    if not angles or couch is None:
        raise BeamArcError(f"beam {number} {name}: it says no gantry angle or no couch rotation")
    return BeamArc(number, name, tuple(angles), _wrapped(couch))


def _step(change: float, direction: str, number: int, name: str) -> float:
    """How far the gantry turns from one control point to the next, the way the plan says. CW is growing IEC angle."""
    if not math.isfinite(change):
        raise BeamArcError(f"beam {number} {name}: a gantry angle is not finite")
    turn = change % 360.0
    if turn < 1e-6 or turn > 360.0 - 1e-6:
        return 0.0
    if direction == "CW":
        return turn
    if direction == "CC":
        return turn - 360.0
    raise BeamArcError(
        f"beam {number} {name}: the gantry moves by {turn:g} degrees but its direction is {direction}"
    )


def _wrapped(degrees: float) -> float:
    return 180.0 - (180.0 - degrees) % 360.0
