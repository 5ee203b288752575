"""The reading ritual of an approval, as a pure state machine: status, keys and time in, a verdict out.

Two distinct acts. The first opens the shift and asks the supervisor for a challenge. The second is
typing, by hand and character by character, the code and one signed number, and then pressing F8.
No act can be done by a key that is held down, hit twice or pasted, and any change of what is being approved ends it.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from igrt_hw.models.proposal import ApprovalChallenge
from igrt_hw.models.status import LoopState, SupervisorStatus
from igrt_tui.view_model.header import ordered_alarms
from igrt_tui.view_model.local import GONE_AFTER_MS, HEIGHT_MIN, WIDTH_MIN, Local, Scene
from igrt_tui.view_model.numbers import typed_number
from igrt_tui.view_model.review import refusals

DWELL_US = 3_000_000  # nobody reads a shift in less
SETTLE_US = 400_000  # the last character must have been seen before the key that sends it
OLD = "the values on the screen are old: wait for the supervisor"
REPEAT_US = 700_000  # longer than the delay before a held key repeats (X11: 660 ms)
TYPED_CHARACTER_US = 20_000  # no hand types faster; a paste without brackets does
BURST_LENGTH = 4


class Phase(StrEnum):
    """Where the ritual stands."""

    ASKING = "asking"
    READING = "reading"
    SENDING = "sending"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Field:
    """One field with the times of its characters, so that what was not typed is noticed."""

    text: str = ""
    started_us: int = 0
    changed_us: int = 0


@dataclass(frozen=True, slots=True)
class Ritual:
    """One attempt to approve one digest by one user; `closed_because` says why it ended."""

    phase: Phase
    digest: str
    username: str
    patient_id: str
    plan_uid: str
    high_alarms: frozenset[str]
    challenge: ApprovalChallenge | None = None
    shown_us: int = 0
    code: Field = Field()
    fact: Field = Field()
    last_key_us: int | None = None
    notice: str = ""
    closed_because: str = ""


def why_not_open(scene: Scene, username: str | None) -> str:
    """Return why an approval by this person cannot be opened now, or an empty string."""
    reason = _why_blocked(scene.local)
    if reason:
        return reason
    status = scene.status
    if status is None or status.proposal is None:
        return "there is no checked shift to approve"
    if status.state is not LoopState.CHECKED:
        return f"the shift cannot be approved in the state {status.state.value}"
    if len(status.approvals) >= status.proposal.content.approvals_needed:
        return "the shift has all the approvals it needs"
    if any(approval.username == username for approval in status.approvals):
        return (
            f"{username} has approved this shift already; "
            "a second person has to approve it: F5 lets them sign in"
        )
    silent = _couch_lost(status)
    if silent:
        return silent
    refused = refusals(status.proposal)
    if refused:
        return f"a check refuses this shift: {refused[0]}"
    expires = scene.expires_in_s()
    if expires is None or expires <= 0:
        return "the shift has expired: take new images"
    return ""


def needs_second(scene: Scene, username: str) -> bool:
    """Whether this person has approved what could be approved by another one now."""
    status = scene.status
    if status is None or why_not_open(scene, None):
        return False
    return any(approval.username == username for approval in status.approvals)


def why_not_second(scene: Scene, username: str) -> str:
    """Return why this person cannot be the second one, or an empty string. Names differ by more than their case."""
    if not username:
        return "type the name of the second person"
    user = scene.local.user
    if user is not None and username.casefold() == user.username.casefold():
        return f"{user.username} is signed in already: the second person must be another person"
    status = scene.status
    given = status.approvals if status else ()
    if any(approval.username.casefold() == username.casefold() for approval in given):
        return (
            f"{username} has approved this shift already: the second person must be another person"
        )
    return why_not_open(scene, username)


def _why_blocked(local: Local) -> str:
    if local.user is None:
        return "nobody is signed in"
    if local.too_small:
        return (
            f"the terminal is {local.width} x {local.height}: below {WIDTH_MIN} x {HEIGHT_MIN} the shift "
            "cannot be shown whole, so it cannot be approved; enlarge the terminal"
        )
    if not local.connected:
        return f"the supervisor is lost: {local.cause}"
    if local.gone:
        return "the supervisor was silent: the values on the screen are old"
    return ""


def open_ritual(scene: Scene, username: str) -> Ritual:
    """Begin: what is on the screen now is what will be approved, or nothing."""
    status = scene.status
    if status is None or status.proposal is None:
        raise ValueError("there is no shift to approve; ask `why_not_open` first")
    content = status.proposal.content
    return Ritual(
        phase=Phase.ASKING,
        digest=status.proposal.digest,
        username=username,
        patient_id=content.patient_id,
        plan_uid=content.plan_uid,
        high_alarms=_high_alarms(status),
    )


def _high_alarms(status: SupervisorStatus) -> frozenset[str]:
    return frozenset(a.alarm_id for a in ordered_alarms(status) if a.priority == "high")


def challenged(ritual: Ritual, challenge: ApprovalChallenge, now_us: int) -> Ritual:
    """Take the challenge that the supervisor made; one for another digest or user closes the ritual."""
    if ritual.phase is not Phase.ASKING:
        return ritual
    if challenge.digest != ritual.digest or challenge.username != ritual.username:
        return closed(ritual, "the challenge is for another shift or another person")
    return replace(ritual, phase=Phase.READING, challenge=challenge, shown_us=now_us)


def closed(ritual: Ritual, reason: str) -> Ritual:
    """End the ritual; what was typed is forgotten."""
    return replace(ritual, phase=Phase.CLOSED, closed_because=reason, code=Field(), fact=Field())


def watched(ritual: Ritual, scene: Scene) -> Ritual:
    """Compare the ritual with what is true now; any change closes it. Once sent, only the answer counts."""
    if ritual.phase in (Phase.CLOSED, Phase.SENDING):
        return ritual
    reason = _why_blocked(scene.local) or _what_changed(ritual, scene)
    return closed(ritual, reason) if reason else ritual


def _couch_lost(status: SupervisorStatus) -> str:
    """Say that nobody knows where the couch is; one late message of its line is no reason to."""
    for link in status.links:
        quiet = link.age_ms is None or link.age_ms > GONE_AFTER_MS
        if link.name == "couch" and (quiet or not link.connected):
            return f"the line to the couch is lost ({link.cause or 'nothing heard'})"
    return ""


def _what_changed(ritual: Ritual, scene: Scene) -> str:
    status = scene.status
    if status is None or status.proposal is None:
        return "the shift is gone"
    content = status.proposal.content
    if status.proposal.digest != ritual.digest:
        return "the shift was replaced by another one: read the new one first"
    if content.patient_id != ritual.patient_id or content.plan_uid != ritual.plan_uid:
        return "patient or plan changed"
    if status.state is not LoopState.CHECKED:
        return f"the loop went to {status.state.value}: {status.reason or status.needed_next}"
    silent = _couch_lost(status)
    if silent:
        return silent
    expires = scene.expires_in_s()
    if expires is None or expires <= 0:
        return "the shift expired while it was read: take new images"
    challenge = ritual.challenge
    if challenge is not None and challenge.expires_us <= status.now_us:
        return "the challenge expired: open the approval again"
    new = _high_alarms(status) - ritual.high_alarms
    if new:
        text = next(a.text for a in status.alarms if a.alarm_id in new)
        return f"a high alarm came up: {text}"
    return ""


def typed(field: Field, text: str, now_us: int) -> tuple[Field, bool]:
    """Take the new text of a field; False and an empty field if it came faster than a hand types."""
    if not text:
        return Field(), True
    started = now_us if not field.text else field.started_us
    jumped = len(text) - len(field.text) > 1
    rushed = len(text) >= BURST_LENGTH and now_us - started < TYPED_CHARACTER_US * (len(text) - 1)
    if jumped or rushed:
        return Field(), False
    return Field(text=text, started_us=started, changed_us=now_us), True


def with_code(ritual: Ritual, text: str, now_us: int) -> Ritual:
    """Take the code field as it stands now."""
    field, by_hand = typed(ritual.code, text, now_us)
    return replace(ritual, code=field, notice="" if by_hand else NOT_BY_HAND)


def with_fact(ritual: Ritual, text: str, now_us: int) -> Ritual:
    """Take the number field as it stands now."""
    field, by_hand = typed(ritual.fact, text, now_us)
    return replace(ritual, fact=field, notice="" if by_hand else NOT_BY_HAND)


NOT_BY_HAND = "That was not typed by hand: the field was emptied. Type what you read."


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that an approval still needs, and whether it is there."""

    words: str
    done: bool


def steps(ritual: Ritual, now_us: int) -> tuple[Step, ...]:
    """Return everything that F8 needs, in order."""
    challenge = ritual.challenge
    code = challenge.code if challenge else None
    number = typed_number(ritual.fact.text)
    read_us = now_us - ritual.shown_us
    settled = now_us - max(ritual.code.changed_us, ritual.fact.changed_us) >= SETTLE_US
    return (
        Step("the challenge is shown", challenge is not None),
        Step("the code is typed as shown", code is not None and ritual.code.text == code),
        Step("the number is typed with its sign", number is not None),
        Step("the shift was shown for 3 s", challenge is not None and read_us >= DWELL_US),
        Step("the typing has come to rest", settled),
    )


def pressed(ritual: Ritual, now_us: int, old: bool) -> tuple[Ritual, bool]:
    """Take a press of F8; True if the approval is to be sent now, once. `old`: the status is not of this instant.

    A press that follows another within `REPEAT_US` is a held or bouncing key and counts for nothing.
    """
    repeated = ritual.last_key_us is not None and now_us - ritual.last_key_us < REPEAT_US
    ritual = replace(ritual, last_key_us=now_us)
    if ritual.phase is not Phase.READING:
        return ritual, False
    if repeated:
        return replace(ritual, notice="F8 was held or hit twice: let go and press it once."), False
    if old:
        return replace(ritual, notice=f"Not yet: {OLD}."), False
    missing = [step.words for step in steps(ritual, now_us) if not step.done]
    if missing:
        return replace(ritual, notice=f"Not yet: {missing[0]}."), False
    return replace(ritual, phase=Phase.SENDING, notice=""), True
