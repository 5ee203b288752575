"""When a lease may leave: every 50 ms, while somebody's permission is fresh, and never otherwise."""

from __future__ import annotations

from typing import Final

LEASE_PERIOD_US: Final = 50_000  # two may be lost before the 150 ms stop
LEASE_TTL_US: Final = 100_000  # an older one must not renew anything
PERMISSION_US_MAX: Final = 500_000


class LeaseSchedule:
    """The permission, and the instants at which leases are due."""

    def __init__(self) -> None:
        self.counter = 0
        self.due_us = 0
        self.permitted_until_us = 0

    def permit(self, until_us: int, now_us: int) -> None:
        """Let leases go out until `until_us`; at most `PERMISSION_US_MAX` ahead, or `ValueError`."""
        if until_us - now_us > PERMISSION_US_MAX:
            raise ValueError(
                f"a permission of {(until_us - now_us) / 1000:.0f} ms; the most is"
                f" {PERMISSION_US_MAX // 1000} ms: refresh it again and again instead"
            )
        if not self.is_fresh(now_us):
            self.due_us = now_us
        self.permitted_until_us = until_us

    def withdraw(self) -> None:
        """No lease leaves any more."""
        self.permitted_until_us = 0

    def is_fresh(self, now_us: int) -> bool:
        """Whether leases may go out now."""
        return now_us < self.permitted_until_us

    def next(self, now_us: int) -> tuple[int, int]:
        """Take the lease that is due: its counter, and by how much it leaves late."""
        late_us = now_us - self.due_us
        self.counter += 1
        self.due_us = max(self.due_us + LEASE_PERIOD_US, now_us + 1)
        return self.counter, late_us
