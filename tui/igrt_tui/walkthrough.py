"""The usability walk-through as data: ten tasks, each step with what is seen, typed, can go wrong, and stops it.

`igrt-tui --usability docs` writes `usability.md` and draws the picture of every step from the rehearsed session.
"""

from dataclasses import dataclass, field
from typing import Any

from igrt_hw.models.status import AlarmPriority, LoopState, SupervisorStatus
from igrt_tui import rehearsal, rehearsal_books

S = LoopState


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `keys` lead from the console to its picture (`wait` lets four seconds pass); `state` and `changes`
    are the rehearsed status."""

    name: str
    sees: str
    types: str
    wrong: str
    stops: str
    state: LoopState = S.CHECKED
    keys: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    signed_in: bool = True

    def status(self) -> SupervisorStatus:
        """Return the rehearsed status of the step."""
        return rehearsal.status(self.state, **self.changes)


@dataclass(frozen=True, slots=True)
class Task:
    """One task of an operator."""

    title: str
    steps: tuple[Step, ...]


IN_QA = {
    "mode": "daily QA",
    "qa": rehearsal_books.view(),
    "daily_qa": rehearsal_books.standing(passed=False),
}
HALF = {
    "proposal": rehearsal.proposal(approvals_needed=2),
    "approvals": (rehearsal.approval_of("rehearsal"),),
}
FAULTS = {
    "alarms": (
        rehearsal.alarm(
            "Couch: the two position channels disagree", AlarmPriority.HIGH, "H"
        ).model_copy(update={"what_to_do": "Call service. Do not treat on this couch."}),
        rehearsal.alarm(),
    ),
    "reason": "channels disagree",
}
TO_LASERS = " ".join(["down"] * 15)

TASKS: tuple[Task, ...] = (
    Task(
        "Sign in",
        (
            Step(
                "first-screen",
                "What this is, that it is not a medical device, whether a simulator is at the other end, and the two "
                "keys that stop.",
                "Name, Enter, password, Enter. The demo has filled both in: Enter.",
                "A wrong password; a service that is not there; the wrong machine.",
                "One sentence says which of these it is, and nothing opens before somebody is signed in. The banner "
                "says SIMULATOR or names the ports, on every screen.",
                state=S.IDLE,
                signed_in=False,
            ),
            Step(
                "console",
                "The console: what is needed next at the upper left with its key, everything that is normal in grey.",
                "Nothing yet. F1 explains the screen, Ctrl+P lists all others.",
                "Enter or another key is pressed by habit.",
                "Enter does nothing here. Letters do only what is listed.",
                state=S.IDLE,
            ),
        ),
    ),
    Task(
        "Do the daily QA",
        (
            Step(
                "qa",
                "The tests with the results of the last run, whether today's passed, and the trend of the chosen one.",
                "Ctrl+D; d and F8 for the mode daily QA; b and F8 to begin.",
                "QA is begun with a patient on the couch; a run is begun over another one.",
                "The mode changes only with nobody on the couch. Beginning anew says that the run before has then "
                "FAILED, and waits for F8.",
                state=S.IDLE,
                keys="ctrl+d",
            ),
            Step(
                "qa-watch",
                "The interlock that is watched, and the next step in words: open the door.",
                "Arrows to the test, w; then go and open the door.",
                "The test is ticked without being done.",
                "An interlock cannot be entered by hand: it passes only when it was seen broken, forbade what it "
                "guards, and held again. Two minutes without it fail the test.",
                state=S.IDLE,
                keys="ctrl+d down down down",
                changes=IN_QA,
            ),
            Step(
                "qa-enter",
                "What the typed number means before it is entered: beyond the limit.",
                "n, the number, Tab, a remark, F8.",
                "A comma for a dot, a unit typed along, a slip.",
                "What is no plain number is refused, never guessed. Every result is kept; the last one counts.",
                state=S.IDLE,
                keys=f"ctrl+d {TO_LASERS} n 2 full_stop 6",
                changes=IN_QA,
            ),
        ),
    ),
    Task(
        "Open the patient",
        (
            Step(
                "patient",
                "The plan, without the two identifiers that are to be typed (a simulator shows its wristband).",
                "o, then ID and birth date from the wristband, F8.",
                "The wrong person lies on the couch; the wrong plan is chosen.",
                "The supervisor compares what was typed with the plan and refuses a mismatch; on hardware this screen "
                "does not show what has to be typed.",
                state=S.IDLE,
                keys="o R E H",
            ),
            Step(
                "setup",
                "The sentence that is affirmed: the patient is immobilised, the couch at its planned position.",
                "s, read, F8.",
                "The sentence is affirmed by habit.",
                "Another key than the one that opened it affirms it, Enter never. The supervisor checks the couch "
                "itself against the tolerance table.",
                state=S.PATIENT_BOUND,
                keys="s",
            ),
        ),
    ),
    Task(
        "Take the images and look at the match",
        (
            Step(
                "x-rays",
                "That X-rays follow and that the panel arm moves.",
                "i, read, F8.",
                "Somebody is in the room.",
                "The door interlock forbids the exposure. Esc stops it.",
                state=S.SETUP,
                keys="i",
            ),
            Step(
                "images",
                "Both views with the DRR laid over them, the markers, and the quality of the match in words.",
                "g registers; F3; v goes through image, DRR, blend, checkerboard, difference.",
                "A match on the wrong vertebra, or no match.",
                "A registration that is doubtful says so and needs two people; one that fails cannot become a shift. "
                "n matches by hand, which always counts as doubtful.",
                state=S.REGISTERED,
                keys="f3 v v",
            ),
        ),
    ),
    Task(
        "Read the shift",
        (
            Step(
                "review",
                "Six axes with now, shift, target and direction in words, the clearance along the path, every check, "
                "the age of the images and the time left.",
                "m makes the proposal, F4 shows it.",
                "The sign of a shift is read the wrong way round.",
                "Directions are in words (towards gantry, patient's LEFT); shifts at the isocentre and axis targets "
                "are kept apart.",
                keys="f4",
            ),
            Step(
                "dry-run",
                "The room as its clearance is checked, along the planned path, and that it is NOT LIVE.",
                "F10, d.",
                "The dry run is taken for the motion.",
                "It moves nothing; the picture says NOT LIVE and has no age.",
                keys="f10 d",
            ),
        ),
    ),
    Task(
        "Approve it",
        (
            Step(
                "approve",
                "The shift at the left; at the right a code, the number that is asked for, and what F8 still needs.",
                "F5; then the code and the signed number, by hand.",
                "Enter twice; a held key; a paste; the number without its sign.",
                "None of these approves: only F8 does, once, when code and number were typed by hand and the shift "
                "was shown for three seconds.",
                keys="f5",
            ),
            Step(
                "approve-typed",
                "Every line of the list ticked; only now F8 is offered.",
                "F8.",
                "The shift changes, expires, an alarm sounds, the supervisor is lost or HOLD is pressed meanwhile.",
                "The screen closes with the reason and nothing is approved. Below 100 x 30 it does not open at all.",
                keys="f5 R 4 K D tab + 8 . 1 wait",
            ),
        ),
    ),
    Task(
        "Let a second person approve",
        (
            Step(
                "second-sign-in",
                "Who has approved, that one approval is missing, and two fields for another person.",
                "F5; name, Enter, password, Enter.",
                "The first person approves again under their own name.",
                "Refused here and by the supervisor, whatever the case of the letters. The first person stays signed "
                "in; HOLD works in both fields.",
                changes=HALF,
                keys="f5 s e c o n d",
            ),
            Step(
                "second-reads",
                "The same shift; another number is asked for than of the first person.",
                "Code and number, F8.",
                "The second person copies what the first one typed.",
                "That number is another one. Their session ends with this screen, however it is left.",
                changes=HALF,
                keys="f5 s e c o n d enter r e h e a r s a l enter wait",
            ),
        ),
    ),
    Task(
        "Arm, move, stop",
        (
            Step(
                "arm",
                "What arming means.",
                "a, read, F8.",
                "Something has changed since the approval.",
                "The supervisor compares digest, couch, images and time again and refuses.",
                state=S.APPROVED,
                keys="a",
            ),
            Step(
                "motion",
                "Commanded against actual of each axis, time left, the least clearance, enable and lease.",
                "Hold the enable of the pendant (space in the simulator).",
                "The enable is let go, or squeezed; the cable or this terminal is lost.",
                "Any of these stops the couch. This terminal is no enabling device on hardware.",
                state=S.MOVING,
                keys="f6",
            ),
            Step(
                "held-stop",
                "That HOLD was pressed and when the supervisor confirmed it.",
                "Esc or F12, from any screen and any field.",
                "The answer does not come.",
                "It says HOLD NOT CONFIRMED and to use the hardware stop; meanwhile this terminal gives up its "
                "permission.",
                state=S.MOVING,
                keys="f6 escape",
            ),
        ),
    ),
    Task(
        "Something went wrong",
        (
            Step(
                "fault",
                "FAULT, the worst alarm on every screen, and the first step of the procedure that applies.",
                "p shows it step by step; F7 shows the alarms.",
                "The alarm is silenced and forgotten.",
                "Silencing clears nothing: it stays on the screen until its cause is gone and it was reset.",
                state=S.FAULT,
                changes=FAULTS,
            ),
            Step(
                "alarms",
                "Every alarm with its priority in marks and words, its age, and what to do.",
                "Arrows, k silences the chosen one.",
                "The wrong one is silenced.",
                "Each is silenced alone, under a name, and can be heard again.",
                state=S.FAULT,
                changes=FAULTS,
                keys="f7",
            ),
            Step(
                "procedure",
                "The steps, what is done with a tick, the present one marked.",
                "→ after each step.",
                "A step is left out; the supervisor is lost in the middle.",
                "The procedure stays on this terminal without the supervisor. Nothing is sent from it: people act.",
                state=S.FAULT,
                changes=FAULTS,
                keys="p right",
            ),
        ),
    ),
    Task(
        "Look back",
        (
            Step(
                "trends",
                "All shifts of this patient, the action level that each is above, one number drawn.",
                "Ctrl+R; ← → draws another number.",
                "A drift over the fractions is not seen.",
                "The last shift is compared with the mean of those before; three standard deviations are marked ▲.",
                keys="ctrl+r right right right",
            ),
            Step(
                "record",
                "The record, the search at one of its hits.",
                "F9, Tab, a word, Ctrl+N; Ctrl+E exports; Ctrl+V checks the chain.",
                "An entry was changed afterwards.",
                "The chain of SHA-256 breaks at it, and the check names it.",
                keys="f9 tab a p p r o ctrl+n ctrl+b",
            ),
            Step(
                "review-list",
                "What was overridden, by whom and why; how often each alarm sounded and went unanswered.",
                "Ctrl+L from the record; ← → looks further back.",
                "Overrides and alarms become a habit.",
                "Rates are here every day, and an alarm that mostly ends unanswered is marked.",
                keys="f9 ctrl+l",
            ),
        ),
    ),
)


def markdown() -> str:
    """Return `docs/usability.md`."""
    lines = [
        "# Usability walk-through",
        "",
        "Ten tasks of a first-time operator. Generated from `igrt_tui.walkthrough` by `make pictures`, which presses",
        "these very keys in the real app over a rehearsed session (invented data, a frozen clock); do not edit.",
        "It is a walk-through by those who built it, not a study with operators; none has been done.",
        "",
        "Everywhere: Esc or F12 is HOLD, F1 explains what has the focus, F2 is the console, Ctrl+P lists all places.",
    ]
    for number, task in enumerate(TASKS, start=1):
        lines += ["", f"## {number}. {task.title}"]
        for step in task.steps:
            lines += [
                "",
                f"![{task.title}: {step.name}](img/usability/{file_name(number, step)})",
                "",
                f"- Seen: {step.sees}",
                f"- Typed: {step.types}",
                f"- What can go wrong: {step.wrong}",
                f"- What stops it: {step.stops}",
            ]
    return "\n".join(lines) + "\n"


def file_name(number: int, step: Step) -> str:
    """Return the name of a step's picture."""
    return f"{number:02d}-{step.name}.svg"
