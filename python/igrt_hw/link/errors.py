"""What can go wrong on a line, as three kinds of exception: refused, lost, or never sent."""

from __future__ import annotations

from enum import StrEnum

from igrt_hw.models.telemetry import RefusalCode


class LinkError(Exception):
    """Base of everything that a line raises."""


class LossCause(StrEnum):
    """Why a line was lost. Whatever the platform raised, it becomes one of these."""

    CANNOT_OPEN = "cannot open the port"
    PORT_GONE = "the port is gone"
    PEER_CLOSED = "the other end closed the connection"
    NO_HELLO = "no answer to HELLO"
    WRONG_DEVICE = "another kind of device answers"
    SILENT = "nothing valid was received"
    UNANSWERED = "a command stayed unanswered"
    SEQUENCE = "the sequence numbers disagree"
    SESSION_ENDED = "the device ended the session"
    CLOSED = "closed by this program"


class LinkLost(LinkError):
    """The line is down. A new session is opened; nothing that moved is ever resumed."""

    def __init__(self, cause: LossCause, detail: str) -> None:
        super().__init__(f"link lost: {cause.value}: {detail}" if detail else f"link lost: {cause}")
        self.cause = cause
        self.detail = detail


class Refused(LinkError):
    """The device understood and did not obey, or the session knows that it would not.

    `by_device` tells the two apart: True where the sentence is the device's own.
    """

    def __init__(
        self,
        code: RefusalCode,
        sentence: str,
        about: str,
        *,
        by_device: bool = True,
        number: int = 0,
    ) -> None:
        who = "the device" if by_device else "the line"
        what = f"unknown code {number}" if code is RefusalCode.UNKNOWN else code.words
        super().__init__(f"{who} refused {about}: {sentence or what} ({what})")
        self.code = code
        self.sentence = sentence
        self.about = about
        self.by_device = by_device


class StoppedByStop(LinkError):
    """The command was still waiting in this program when STOP was given; it was never sent."""


class QueueFull(LinkError):
    """More commands wait than the line may hold; nothing was sent."""
