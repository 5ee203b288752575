"""STOP on its way: three copies 5 ms apart, then one every 50 ms until it is acknowledged.

Where the copies go unanswered, the line may be too bad for frames (wrong baud rate, a stuck partner
on a shared pair, heavy noise). A UART BREAK still gets through, and has the same effect
(protocol.md, section 4): one goes out before each further copy, until the device's epoch moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from igrt_hw.link import messages as m

STOP_COPIES: Final = 3
STOP_SPACING_US: Final = 5_000
STOP_REPEAT_US: Final = 50_000  # after the three, until it is acknowledged or the line is lost
BREAK_US: Final = 5_000  # one character of 9600 baud takes 1 ms; USB adaptors count in ms


@dataclass(slots=True)
class StopSender:
    """One STOP, for everybody who asked for it while it was on its way."""

    message: m.Stop
    tokens: list[Any]
    sent: int
    next_us: int
    answer: m.StopAck | None = None
    epoch_moved: bool = False
    break_until_us: int | None = None

    def join(self, token: object, now_us: int) -> None:
        """Somebody else asks for STOP: the next copy goes out now and serves both."""
        self.tokens.append(token)
        self.next_us = now_us

    @property
    def done(self) -> bool:
        """Whether it is acknowledged and all copies have gone out."""
        return self.answer is not None and self.sent >= STOP_COPIES

    def needs_break(self) -> bool:
        """Whether the next step is a BREAK: the copies were of no use, and none was sent since."""
        return (
            self.sent >= STOP_COPIES
            and self.answer is None
            and not self.epoch_moved
            and self.break_until_us is None
        )

    def begin_break(self, now_us: int) -> None:
        """BREAK is on; the next copy goes out when it is over."""
        self.break_until_us = self.next_us = now_us + BREAK_US

    def copy_sent(self, now_us: int) -> None:
        """A copy has gone out."""
        self.sent += 1
        self.break_until_us = None
        self.next_us = now_us + (STOP_SPACING_US if self.sent < STOP_COPIES else STOP_REPEAT_US)
