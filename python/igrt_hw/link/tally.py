"""What is counted on one line, over all its sessions."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Final

from igrt_hw.link.frame import Drop
from igrt_hw.models.telemetry import LinkCounters

LATENESS_LEN_MAX: Final = 1024  # the last fifty seconds of leases


@dataclass(slots=True)
class Tally:
    """Mutable counters, owned by the line and handed to each of its sessions in turn."""

    sessions: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    octets_sent: int = 0
    octets_received: int = 0
    retransmissions: int = 0
    resent_after_gap: int = 0
    refused: int = 0
    unexpected: int = 0
    telemetry_received: int = 0
    telemetry_missed: int = 0
    telemetry_late: int = 0
    leases_sent: int = 0
    leases_acknowledged: int = 0
    leases_refused: int = 0
    stops_sent: int = 0
    breaks_sent: int = 0
    events_lost: int = 0
    drops: dict[Drop, int] = field(default_factory=dict)
    lease_late_us: deque[int] = field(default_factory=lambda: deque(maxlen=LATENESS_LEN_MAX))

    def count_drop(self, reason: Drop) -> None:
        """Count something that was received and dropped."""
        self.drops[reason] = self.drops.get(reason, 0) + 1

    def frozen(self) -> LinkCounters:
        """The counters as a value that may cross doors."""
        numbers = asdict(self)
        del numbers["drops"], numbers["lease_late_us"]
        crc_errors = self.drops.get(Drop.CRC, 0)
        return LinkCounters(
            **numbers,
            crc_errors=crc_errors,
            other_drops=sum(self.drops.values()) - crc_errors,
        )
