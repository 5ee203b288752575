"""What permits motion on a line without a lease: the supervisor's permission and the pendant's enable, both fresh."""

from __future__ import annotations

from typing import Final

from igrt_hw.models.telemetry import EnablePosition

ENABLE_FRESH_US: Final = 250_000  # the pendant tells every 50 ms
PERMISSION_US_MAX: Final = 500_000


class GcsPermission:
    """Permission and enable as they were last heard. Any thread may tell; nothing here waits."""

    def __init__(self) -> None:
        self.enable = EnablePosition.RELEASED
        self.enable_us = 0
        self.released_since_us: int | None = None
        self._until_us = 0

    def refresh(self, until_us: int, now_us: int) -> None:
        """Motion may go on until `until_us`, at most 500 ms ahead."""
        self._until_us = min(until_us, now_us + PERMISSION_US_MAX)

    def hear_enable(self, position: EnablePosition, at_us: int) -> None:
        """What the pendant's line said of the enable, and when."""
        if position is EnablePosition.RELEASED:
            self.released_since_us = self.released_since_us or at_us
        else:
            self.released_since_us = None
        self.enable, self.enable_us = position, at_us

    def permitted(self, now_us: int) -> bool:
        """Whether the supervisor's permission is fresh."""
        return now_us < self._until_us

    def enable_heard(self, now_us: int) -> bool:
        """Whether the pendant has been heard of late, whatever it said."""
        return now_us - self.enable_us <= ENABLE_FRESH_US

    def enable_held(self, now_us: int) -> bool:
        """Whether the enable is held, by fresh word of the pendant."""
        return self.enable_heard(now_us) and self.enable is EnablePosition.ENABLED
