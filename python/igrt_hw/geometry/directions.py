"""Directions in words, for people who approve a shift (`docs/conventions.md`, "Directions in words")."""

from igrt_hw.geometry.axes import AXIS_NAMES, Correction

_COUCH_WORDS = {
    "lateral": (
        "to the right of someone facing the gantry",
        "to the left of someone facing the gantry",
    ),
    "longitudinal": ("towards the gantry", "away from the gantry"),
    "vertical": ("up", "down"),
    "rotation": ("counter-clockwise seen from above", "clockwise seen from above"),
    "pitch": ("gantry end up", "gantry end down"),
    "roll": ("right side (facing the gantry) down", "right side (facing the gantry) up"),
}

# Which part of the patient lies towards +X (right of someone facing the gantry), +Y (gantry) and +Z (up) of the
# table top at couch rotation zero, and towards the opposite side. DICOM C.7.3.1.1.2, Patient Position.
_SIDES: dict[str, tuple[tuple[str, str], tuple[str, str], tuple[str, str]]] = {
    "HFS": (("left", "right"), ("head", "feet"), ("front", "back")),
    "HFP": (("right", "left"), ("head", "feet"), ("back", "front")),
    "HFDR": (("back", "front"), ("head", "feet"), ("left", "right")),
    "HFDL": (("front", "back"), ("head", "feet"), ("right", "left")),
    "FFS": (("right", "left"), ("feet", "head"), ("front", "back")),
    "FFP": (("left", "right"), ("feet", "head"), ("back", "front")),
    "FFDR": (("front", "back"), ("feet", "head"), ("left", "right")),
    "FFDL": (("back", "front"), ("feet", "head"), ("right", "left")),
}

PATIENT_POSITIONS = tuple(_SIDES)
"""The DICOM patient positions for which patient words are known."""


def couch_direction(axis: str, value: float) -> str:
    """Which way a couch goes: `couch_direction("vertical", -3.0)` is "down". Empty for exactly zero.

    Raises:
        ValueError: an axis that is not one of `AXIS_NAMES`.
    """
    _check_axis(axis)
    positive, negative = _COUCH_WORDS[axis]
    return "" if value == 0.0 else positive if value > 0.0 else negative


def patient_direction(axis: str, value: float, patient_position: str) -> str:
    """Which way the patient goes, in the patient's own sides, at couch rotation zero.

    For instance "towards the patient's left", "patient's head up", "patient's left side down",
    "patient's head turns towards the patient's right". Empty for exactly zero.

    Raises:
        ValueError: an axis or a patient position that is not known.
    """
    _check_axis(axis)
    if patient_position not in _SIDES:
        known = ", ".join(PATIENT_POSITIONS)
        raise ValueError(f"patient position {patient_position!r} is not one of {known}")
    if value == 0.0:
        return ""
    right, gantry, up = _SIDES[patient_position]
    sign = value > 0.0
    match axis:
        case "lateral":
            return f"towards the patient's {right[not sign]}"
        case "longitudinal":
            return f"towards the patient's {gantry[not sign]}"
        case "vertical":
            return f"towards the patient's {up[not sign]}"
        case "rotation":
            # Counter-clockwise seen from above carries the gantry end towards -X.
            return f"patient's {gantry[0]} turns towards the patient's {right[sign]}"
        case "pitch":
            return f"patient's {gantry[0]} {'up' if sign else 'down'}"
        case _:
            side = right[0] if right[0] in ("front", "back") else f"{right[0]} side"
            return f"patient's {side} {'down' if sign else 'up'}"


def correction_words(correction: Correction, patient_position: str) -> tuple[tuple[str, str], ...]:
    """Couch words and patient words for each of the six numbers of a correction, in the order of `AXIS_NAMES`."""
    return tuple(
        (couch_direction(axis, value), patient_direction(axis, value, patient_position))
        for axis, value in zip(AXIS_NAMES, correction, strict=True)
    )


def _check_axis(axis: str) -> None:
    if axis not in AXIS_NAMES:
        raise ValueError(f"axis {axis!r} is not one of {', '.join(AXIS_NAMES)}")
