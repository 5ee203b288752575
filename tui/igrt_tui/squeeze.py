"""The key that stands for the simulated hand: what a held key means when a terminal never tells that it went up."""

from dataclasses import dataclass

HOLD_MS = 700  # one delay before the first repeat (X11: 660 ms) must not let go
RENEW_US = 100_000  # a repeating key comes 25 to 50 times a second; ten renewals are enough


@dataclass(frozen=True, slots=True)
class Squeeze:
    """Until when the simulated hand holds, and when it was last told so."""

    held_until_us: int = 0
    renewed_us: int | None = None

    def held(self, now_us: int) -> bool:
        """Whether the simulated hand holds now."""
        return now_us < self.held_until_us


def key_seen(squeeze: Squeeze, now_us: int) -> tuple[Squeeze, bool]:
    """Take one press or repeat of the key; True if the simulator is to be told now."""
    fresh = not squeeze.held(now_us) or squeeze.renewed_us is None
    due = fresh or now_us - (squeeze.renewed_us or 0) >= RENEW_US
    renewed = now_us if due else squeeze.renewed_us
    until = now_us + HOLD_MS * 1000 if due else squeeze.held_until_us
    return Squeeze(held_until_us=until, renewed_us=renewed), due


def other_key(squeeze: Squeeze, now_us: int) -> tuple[Squeeze, bool]:
    """Take any other key: a hand that does something else lets go. True if the simulator is to be told."""
    return Squeeze(), squeeze.held(now_us)
