"""Which way a shift goes, in words for the room and for the patient who lies on the couch.

The words are those of `igrt_hw.geometry`; they hold at couch rotation zero. Where the couch is turned further than
`TURNED_DEG`, no side of the patient is named and the screen says why: a guessed side is worse than none.
"""

from dataclasses import dataclass

from igrt_hw.geometry import PATIENT_POSITIONS, couch_direction, patient_direction

TURNED_DEG = 20.0


@dataclass(frozen=True, slots=True)
class Direction:
    """A direction in the room's words and, where it can be named, in the patient's."""

    room: str
    patient: str


def shift_direction(
    axis: str, value: float, position: str, couch_rotation_deg: float | None
) -> Direction:
    """Say where one component of a correction (mm or degrees, fixed frame) moves the patient.

    `value` is rounded as it is shown, so that a number shown as zero has no direction.
    Raises ValueError for an unknown axis.
    """
    room = couch_direction(axis, value)
    if not room:
        return Direction("no motion", "")
    if position not in PATIENT_POSITIONS:
        return Direction(_short(room), f"side unknown: position {position}")
    if couch_rotation_deg is None:
        return Direction(_short(room), "side not named: this couch has no turntable")
    if abs(couch_rotation_deg) > TURNED_DEG:
        return Direction(_short(room), f"side not named: couch at {couch_rotation_deg:+.0f} deg")
    return Direction(_short(room), _short(patient_direction(axis, value, position)))


def _short(words: str) -> str:
    """Fit the phrases into a table beside the numbers; the meaning stays."""
    words = words.replace("of someone facing the gantry", "(facing gantry)")
    words = words.replace("(facing the gantry)", "(facing gantry)")
    words = words.replace("towards the patient's", "to patient's")
    return words.replace("patient's ", "", 1) if words.startswith("patient's ") else words
