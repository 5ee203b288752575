"""When a terminal was alive: by its own time of sending, never by when this program came to read it. Pure.

A program that was stalled finds many messages waiting. Dated by the reading, a terminal that died during the stall
would get the stall as a present on top of its lease. So each message says when it was sent, by the terminal's own
steady clock; the least difference between reading and sending of late tells how the two clocks stand, and dates it.
"""

from __future__ import annotations

from collections import deque

WINDOW_US = 60_000_000
"""How long a difference of the clocks is believed: two steady clocks drift apart by some 50 ppm, 3 ms in a minute."""
MESSAGES_MAX = 600


class AliveClock:
    """Dates the `alive` messages of one connection. `opened_us`: when it was accepted, by this side's clock."""

    def __init__(self, opened_us: int) -> None:
        self._read_us = opened_us
        self._differences: deque[tuple[int, int]] = deque(maxlen=MESSAGES_MAX)

    def heard_us(self, sent_us: int | None, read_us: int) -> int:
        """The instant, by this side's clock, at which the terminal was alive; never after `read_us`.

        A message that does not say when it was sent was sent after the one before it was, and no more is known: it is
        dated by when that one was read. The first with a time of its own cannot be later than it was read.
        """
        before_us, self._read_us = self._read_us, read_us
        if sent_us is None:
            return min(before_us, read_us)
        while self._differences and read_us - self._differences[0][0] > WINDOW_US:
            self._differences.popleft()
        self._differences.append((read_us, read_us - sent_us))
        return sent_us + min(difference for _, difference in self._differences)
