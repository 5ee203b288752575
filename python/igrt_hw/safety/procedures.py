"""Recovery and egress, as data: what people do when motion has stopped by itself.

`docs/safety/recovery.md` is generated from it.
The patient comes first, the couch second, the record third.
"""

from __future__ import annotations

from igrt_hw.models.procedures import Procedure
from igrt_hw.models.status import LoopState

VOIDED = Procedure(
    name="voided",
    title="The couch stopped and the screen says SUPERSEDED or EXPIRED",
    when="Motion or approval was void: STOP, a lost link or terminal, a couch that moved, time.",
    steps=(
        "Look at the patient and speak to them.",
        "Read the reason on the screen. Remove it (terminal, cable, panel arm).",
        "Acquire images again. The couch may stand in mid path; the new images see it where it is.",
        "Register, propose, approve, arm, move, verify. Nothing can be resumed.",
    ),
)
FAULT = Procedure(
    name="fault",
    title="The screen says FAULT",
    when="A device or the supervisor has latched a fault.",
    steps=(
        "Look at the patient. If they touch anything: emergency stop, then egress.",
        "Read every alarm. Acknowledging silences; it clears nothing.",
        "Remove the cause: release the emergency stop, free the touch-guard, reconnect the line.",
        "Reset the fault. What is still latched is named, device by device; a cause that persists latches again.",
        "Acquire images again. The patient cannot be closed, and none opened, before the fault is reset.",
        "Call service for: position channels that disagree, following error, brake slip, encoder fault, a couch that "
        "decoded another plan, a couch that left the approved line or ran on after release. Do not treat on that couch "
        "until they have looked at it.",
    ),
)
EGRESS = Procedure(
    name="egress",
    title="Egress: the patient has to leave now",
    when="The patient is unwell, frightened or caught, or power is lost with the couch raised.",
    steps=(
        "Press the emergency stop. Drives are without power, brakes hold.",
        "If the couch top is free of the gantry and low enough, help the patient down on the side away from the panel "
        "arms.",
        "If it is too high or too close: park the imager's arms; then release the brakes by hand, with a second person "
        "holding the table top, and lower it. Without an emergency stop and without a fault the pendant does it under "
        "power: hold the enable and the key of the vertical axis; the way down is certified as it goes. Images and "
        "setup are void then.",
        "After a brake was released by hand the couch reports it, and every image and proposal is void: reference the "
        "couch, check the setup, image again.",
    ),
)
POWER_LOSS = Procedure(
    name="power loss",
    title="The power is gone",
    when="Couch or supervisor without power, patient raised.",
    steps=(
        "Brakes engage by spring: the couch stays where it is. Speak to the patient.",
        "Steps 2 and 3 of the egress hold.",
        "When power is back: reference the couch in service mode, open the patient again, begin with images.",
    ),
)
RESTARTED = Procedure(
    name="restarted",
    title="The supervisor was restarted",
    when="The service was ended or killed, and runs again.",
    steps=(
        "Read what it found in the record: a motion in progress, an approval outstanding, a patient open.",
        "It resumes nothing and gives no approval back. Look at the patient.",
        "Open the patient again and begin with images.",
    ),
)

PROCEDURES = (VOIDED, FAULT, EGRESS, POWER_LOSS, RESTARTED)

OF_STATE = {
    LoopState.SUPERSEDED: VOIDED,
    LoopState.EXPIRED: VOIDED,
    LoopState.FAULT: FAULT,
}
"""Which procedure a state asks for."""


def markdown() -> str:
    """`docs/safety/recovery.md`."""
    lines = [
        "# Recovery and egress",
        "",
        "Generated from `igrt_hw.safety.procedures` by `python -m igrt_hw.safety.procedures`; do not edit. The",
        "screen and `igrt procedures` show the same steps (`/api/procedures`); the status names the one that the state",
        "asks for.",
        "",
        "What the operator does when motion has stopped by itself. The patient comes first, the couch second, the",
        "record third.",
    ]
    for procedure in PROCEDURES:
        lines += ["", f"## {procedure.title}", "", procedure.when, ""]
        lines += [f"{number}. {step}" for number, step in enumerate(procedure.steps, 1)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201  this is what the command is for
