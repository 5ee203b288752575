"""Commands that wait, and those that are sent and unanswered: order, retransmission, gaps.

The device executes strictly in order and keeps its last answers (protocol.md, section 3), so that a
command may be sent again without being executed again. The timer follows RFC 6298.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError, LinkLost, LossCause, Refused
from igrt_hw.link.frame import FLAG_RETRANSMISSION
from igrt_hw.link.rules import Rule
from igrt_hw.link.tally import Tally
from igrt_hw.models.telemetry import RefusalCode

WINDOW: Final = 4
QUEUE_LEN_MAX: Final = 4096
RTO_US_MIN: Final = 25_000
RTO_US_MAX: Final = 1_000_000
RETRANSMISSIONS_MAX: Final = 3
STALE_SEQ_MAX: Final = 16
SEQ_MAX: Final = 0xFFFF  # followed by 1: 0 is for what is not sequenced


@dataclass(slots=True)
class Command:
    """A command on its way: waiting, or sent and unanswered."""

    message: m.Message
    body: bytes
    token: Any
    rule: Rule
    epoch: int
    ttl_us: int
    expires_us: int | None  # by the host's clock; None until it is sent, where it counts from there
    wire_us: int
    deadline_us: int | None = None  # by the device's clock, low 32 bits; of the first sending
    seq: int = 0
    sent_us: int = 0
    timer_us: int = 0  # the retransmission timer runs from here; restarted by answers to others
    retransmissions: int = 0
    was_resent: bool = False

    @property
    def name(self) -> str:
        """Its name in the dictionary."""
        return self.message.SPEC.name

    def objection(self, epoch: int, now_us: int) -> Refused | None:
        """Why it may not begin any more, or None."""
        expires_us = self.expires_us
        if expires_us is not None and now_us > expires_us:
            late = (now_us - expires_us) // 1000
            text = f"it waited in the queue until {late} ms after its deadline"
            return Refused(RefusalCode.LATE, text, self.name, by_device=False)
        if self.rule.leads_to_motion and self.epoch != epoch:
            text = f"it was given in epoch {self.epoch}, now it is {epoch}"
            return Refused(RefusalCode.OLD_EPOCH, text, self.name, by_device=False)
        return None


class Window:
    """The commands of one session.

    `transmit` puts a command on the line with header flags; `finish` hands over its outcome.
    """

    def __init__(
        self,
        size: int,
        tally: Tally,
        transmit: Callable[[Command, int, int], None],
        finish: Callable[[Command, m.Message | LinkError], None],
    ) -> None:
        self.size = size
        self.round_trip_us: float | None = None
        self.waiting: deque[Command] = deque()
        self.unanswered: dict[int, Command] = {}
        self.next_seq = 1
        self._rttvar_us = 0.0
        self._recovering_seq = 0
        self._tally = tally
        self._transmit = transmit
        self._finish = finish

    # ---- sending ---------------------------------------------------------------------------

    def fill(self, epoch: int, now_us: int) -> None:
        """Send what waits while there is room; what may not begin any more gets its refusal."""
        while self.waiting and self._has_room():
            command = self.waiting.popleft()
            objection = command.objection(epoch, now_us)
            if objection is not None:
                self._finish(command, objection)
                continue
            if command.expires_us is None:
                command.expires_us = now_us + command.ttl_us
            command.seq = self.next_seq
            self.next_seq = self.next_seq % SEQ_MAX + 1
            self.unanswered[command.seq] = command
            self._send(command, now_us, 0)

    def _has_room(self) -> bool:
        """Counted from the oldest unanswered one, so that its answer is still in the device's cache
        if only the answer was lost."""
        if not self.unanswered:
            return True
        return (self.next_seq - next(iter(self.unanswered))) % SEQ_MAX < self.size

    def _send(self, command: Command, now_us: int, flags: int) -> None:
        command.sent_us = command.timer_us = now_us
        self._transmit(command, now_us, flags)

    def _resend(self, command: Command, now_us: int) -> None:
        command.was_resent = True
        self._send(command, now_us, FLAG_RETRANSMISSION)

    def drop_waiting(self) -> Iterator[Command]:
        """Take out what was never sent."""
        while self.waiting:
            yield self.waiting.popleft()

    def fail_all(self, error: LinkLost) -> None:
        """Everything that waits or is unanswered fails."""
        for command in (*self.unanswered.values(), *self.waiting):
            self._finish(command, error)
        self.unanswered.clear()
        self.waiting.clear()

    # ---- time ------------------------------------------------------------------------------

    def retransmit_at_us(self) -> int:
        """When the oldest unanswered command is sent again; there must be one."""
        oldest = next(iter(self.unanswered.values()))
        at_us = oldest.timer_us + self._rto_us(oldest.retransmissions)
        if oldest.wire_us:  # octets take time on this line: those of the others as well
            at_us += sum(command.wire_us for command in self.unanswered.values())
        return at_us

    def _rto_us(self, retransmissions: int) -> int:
        """Smoothed round trip plus four deviations, doubled at each retransmission."""
        smoothed = self.round_trip_us
        rto = RTO_US_MIN if smoothed is None else smoothed + 4 * self._rttvar_us
        return min(int(max(rto, RTO_US_MIN)) << retransmissions, RTO_US_MAX)

    def tick(self, now_us: int) -> LinkLost | None:
        """Send the oldest again if its time is over. Gives the loss, if that was the last time."""
        if not self.unanswered or now_us < self.retransmit_at_us():
            return None
        oldest = next(iter(self.unanswered.values()))
        if oldest.retransmissions >= RETRANSMISSIONS_MAX:
            text = f"{oldest.name} was sent {RETRANSMISSIONS_MAX + 1} times"
            return LinkLost(LossCause.UNANSWERED, text)
        if (
            oldest.rule.never_after_deadline
            and oldest.expires_us is not None
            and now_us >= oldest.expires_us
        ):
            return LinkLost(
                LossCause.UNANSWERED, f"{oldest.name} had no answer before its deadline"
            )
        oldest.retransmissions += 1
        self._recovering_seq = 0
        self._resend(oldest, now_us)
        self._tally.retransmissions += 1
        return None

    # ---- answers ---------------------------------------------------------------------------

    def settle(
        self, seq: int, about_type: int, result: m.Message | LinkError, now_us: int
    ) -> Command | None:
        """An answer to the command of this number and type; None where there is no such command."""
        command = self.unanswered.get(seq)
        if command is None or about_type != command.message.TYPE:
            self._tally.unexpected += 1  # most often the second copy of an answer
            return None
        del self.unanswered[seq]
        if not command.was_resent:
            self._learn_round_trip(now_us - command.sent_us)
        if seq == self._recovering_seq:
            self._recovering_seq = 0
        if self.unanswered:
            self._on_progress(seq, now_us)
        self._finish(command, result)
        return command

    def _learn_round_trip(self, sample_us: int) -> None:
        if self.round_trip_us is None:
            self.round_trip_us, self._rttvar_us = float(sample_us), sample_us / 2
        else:
            self._rttvar_us += (abs(self.round_trip_us - sample_us) - self._rttvar_us) / 4
            self.round_trip_us += (sample_us - self.round_trip_us) / 8

    def _on_progress(self, answered_seq: int, now_us: int) -> None:
        """An answer came while others are unanswered.

        The device answers in order: if this was not the oldest, the answer to the oldest was lost,
        and it is asked for again at once. Otherwise the timer restarts (RFC 6298, 5.3).
        """
        oldest = next(iter(self.unanswered.values()))
        oldest.timer_us = max(oldest.timer_us, now_us)
        if 0 < (answered_seq - oldest.seq) % SEQ_MAX < self.size and not oldest.was_resent:
            self._resend(oldest, now_us)
            self._tally.resent_after_gap += 1

    def on_gap(self, about_seq: int, expected: int, now_us: int) -> LinkLost | None:
        """The device misses a command: send again from the one it expects, once for each gap.

        Gives the loss where it expects what this end never sent.
        """
        if about_seq not in self.unanswered or expected == self._recovering_seq:
            return None
        if expected not in self.unanswered:
            if 0 < (self.next_seq - expected) % SEQ_MAX <= STALE_SEQ_MAX:
                self._tally.unexpected += 1  # said before an answer that has come since
                return None
            text = f"the device expects {expected}, this end has sent up to {self.next_seq - 1}"
            return LinkLost(LossCause.SEQUENCE, text)
        self._recovering_seq = expected
        resend = False
        for command in self.unanswered.values():
            resend = resend or command.seq == expected
            if resend:
                self._resend(command, now_us)
                self._tally.resent_after_gap += 1
        return None
