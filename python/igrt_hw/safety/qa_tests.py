"""The daily tests, as data: what is asked, step by step, with tolerances and sources.

Interlock tests are watched (`daily_qa.py`): the interlock holds, is broken in the room, is seen, forbids every act that
it guards, and holds again. The shift test and the coincidence of imager and room come from the loop itself, which in
the mode daily QA positions a phantom as it positions a patient.
"""

from __future__ import annotations

from igrt_hw.models.qa import QaKind, QaTest, QaUnit

TG_142 = "TG-142, daily (clinical facts 2.2)"
SHIFT_FORM = "shift test, JACMP 2012;13(4):113 (clinical facts 2.2): 2 mm, 1 mm for SRS/SBRT"
# TG-142 tells no rotation; 1 mm at 60 mm, the half edge of the daily phantom, is 0.95 degrees.
SHIFT_TURN = SHIFT_FORM + "; degrees are this project's"


def _interlock(name: str, sentence: str, steps: tuple[str, ...], source: str) -> QaTest:
    return QaTest(
        name=name,
        kind="interlock",
        sentence=sentence,
        steps=steps,
        unit="",
        limit_general=None,
        limit_stereotactic=None,
        required=True,
        source=source,
    )


def _measured(
    name: str,
    kind: QaKind,
    sentence: str,
    steps: tuple[str, ...],
    unit: QaUnit,
    limits: tuple[float | None, float | None],
    source: str,
    *,
    required: bool = True,
) -> QaTest:
    return QaTest(
        name=name,
        kind=kind,
        sentence=sentence,
        steps=steps,
        unit=unit,
        limit_general=limits[0],
        limit_stereotactic=limits[1],
        required=required,
        source=source,
    )


ALIGNED_STEPS = (
    "Open the phantom's plan.",
    "Align the phantom with the lasers, the couch at its planned position; confirm the setup.",
    "Acquire and register the pair.",
)
SHIFT_STEPS = (
    "After the coincidence images: move the couch by a known shift with the pendant, 5 mm to 25 mm; confirm the setup.",
    "Acquire and register the pair; propose, approve, arm, hold the enable until the couch arrives.",
    "Acquire and register the verification pair.",
)

EMERGENCY_STOP = "Emergency Stop"
MACHINE_CLEARANCE = "Machine Clearance"
ACCESSORY_CLEARANCE = "Accessory Clearance"
DOOR = "Door"
MOTION_ENABLE = "Motion Enable"
BEAM_HOLD = "Beam Hold"
IMAGER_COINCIDENCE = "Imager coincidence"
SHIFT_MATCHING = "Shift test: matching"
SHIFT_MOTION = "Shift test: couch motion"
SHIFT_VERIFICATION = "Shift test: verification"
ROTATION = ", rotation"

_FIGURES: tuple[tuple[str, QaUnit, tuple[float, float], str], ...] = (
    ("", "mm", (2.0, 1.0), SHIFT_FORM),
    (ROTATION, "deg", (1.0, 0.5), SHIFT_TURN),
)

QA_TESTS: tuple[QaTest, ...] = (
    _interlock(
        EMERGENCY_STOP,
        "A pressed emergency stop is seen and forbids everything.",
        ("Press an emergency stop.", "Release it, and reset the fault."),
        TG_142,
    ),
    _interlock(
        MACHINE_CLEARANCE,
        "A pressed touch-guard is seen and forbids everything.",
        ("Press a touch-guard.", "Let go of it, and reset the fault."),
        TG_142 + ": collision interlocks, functional",
    ),
    _interlock(
        ACCESSORY_CLEARANCE,
        "Source and panel arms that are not parked are seen and forbid motion.",
        ("Extend the imager's arms, or take a pair.", "Park them."),
        TG_142 + ": collision interlocks, functional",
    ),
    _interlock(
        DOOR,
        "An open door is seen and forbids imaging and beam.",
        ("Open the door of the room.", "Close it."),
        TG_142,
    ),
    _interlock(
        MOTION_ENABLE,
        "The enable is seen held, by pendant and wire alike, and seen released, and squeezed counts as released.",
        ("Hold the enable.", "Squeeze it.", "Let go of it."),
        "two hardware controls of motion (clinical facts 1.3)",
    ),
    _interlock(
        BEAM_HOLD,
        "The gate of the beam falls when an interlock of the beam is lost under it.",
        ("With the phantom verified, release the beam.", "Open the door.", "Close it."),
        "gating interface that could fail on (recall 2018; clinical facts R12): per session",
    ),
    _measured(
        IMAGER_COINCIDENCE,
        "coincidence",
        "Images of the phantom at the lasers ask for no shift.",
        ALIGNED_STEPS,
        "mm",
        (2.0, 1.0),
        TG_142 + ": planar imaging coordinate coincidence",
    ),
    _measured(
        IMAGER_COINCIDENCE + ROTATION,
        "coincidence",
        "Images of the phantom at the lasers ask for no turn.",
        ALIGNED_STEPS,
        "deg",
        (1.0, 0.5),
        SHIFT_TURN,
    ),
    _measured(
        "Isocentre coincidence",
        "coincidence",
        "The isocentre of the treatment beam is that of the imager.",
        ("Take the ball with beam and imager; enter the distance.",),
        "mm",
        (2.0, 1.0),
        TG_142 + "; this project's machines have no treatment beam, so that it is entered by hand",
        required=False,
    ),
    *(
        _measured(name + turn, "shift test", sentence, SHIFT_STEPS, unit, limits, source)
        for name, sentence in (
            (SHIFT_MATCHING, "The match finds the shift that was made: D - (A - C)."),
            (SHIFT_MOTION, "The couch does what the match asked for: D - F."),
            (SHIFT_VERIFICATION, "Images after the move ask for nothing more."),
        )
        for turn, unit, limits, source in _FIGURES
    ),
    _measured(
        "Lasers",
        "measured by hand",
        "The lasers meet at the isocentre.",
        ("Measure at the isocentre; enter the largest distance.",),
        "mm",
        (2.0, 1.0),
        TG_142,
        required=False,
    ),
    _measured(
        "Audiovisual monitor",
        "measured by hand",
        "The patient can be seen and heard from outside.",
        ("Look and listen.",),
        "",
        (None, None),
        TG_142,
        required=False,
    ),
    _measured(
        "Beam-on indicator",
        "measured by hand",
        "The indicator lights with the beam.",
        ("Look at it with the beam on.",),
        "",
        (None, None),
        TG_142,
        required=False,
    ),
)

BY_NAME = {test.name: test for test in QA_TESTS}
