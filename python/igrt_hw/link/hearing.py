"""Which telemetry is news: not what was overtaken, not what waited long, not another session's."""

from __future__ import annotations

from typing import Final

from igrt_hw.link import messages as m
from igrt_hw.link.clock import DeviceClock
from igrt_hw.link.events import TelemetrySample
from igrt_hw.link.frame import Header
from igrt_hw.link.tally import Tally

TELEMETRY_ON_WAY_US_MAX: Final = 50_000  # 135 octets take 12 ms at 115200 baud
FOREIGN_TELEMETRY_MAX: Final = 2  # one may be an old frame that was still on its way

Status = m.CouchStatus | m.ImagerStatus | m.PendantStatus


class TelemetryEar:
    """Takes the status messages of one session's line; `latest` is the newest of them."""

    def __init__(self, tally: Tally) -> None:
        self.latest: TelemetrySample | None = None
        self.was_late = False
        self._tally = tally
        self._counter: int | None = None
        self._foreign = 0

    def hear_foreign(self) -> bool:
        """Count a status of another session. Whether this one must have ended, by how many there
        were since the last of its own."""
        self._foreign += 1
        return self._foreign >= FOREIGN_TELEMETRY_MAX

    def hear(self, message: Status, header: Header, clock: DeviceClock | None, now_us: int) -> bool:
        """Take one status of the line's own session, or of a line without one. False: old news."""
        self._foreign = 0
        latest = self.latest
        if (
            latest is not None
            and latest.session == header.session
            and message.device_us <= latest.message.device_us
        ):
            self._tally.unexpected += 1  # duplicated or overtaken on the way
            return False
        if self._counter is not None:
            self._tally.telemetry_missed += (header.seq - self._counter - 1) & 0xFFFF
        self._counter = header.seq
        heard_us = now_us if clock is None else self._made_us(message.device_us, clock, now_us)
        self.was_late = heard_us != now_us
        self.latest = TelemetrySample(message, heard_us, header.session, header.epoch)
        return True

    def _made_us(self, device_us: int, clock: DeviceClock, now_us: int) -> int:
        """The time of receipt; earlier, where the clocks say that the status was long on its way.

        Octets that waited in some buffer are not news: without this, what a stalled line delivers
        at last would be shown as current.
        """
        made_us = clock.host_us(device_us) + round(clock.uncertainty_us(now_us))
        if now_us - made_us <= TELEMETRY_ON_WAY_US_MAX:
            return now_us
        self._tally.telemetry_late += 1
        return made_us
