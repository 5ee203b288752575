"""An estimate of the device's clock from exchanges of time stamps.

Each exchange bounds the offset to half its round trip, so exchanges with a short round trip are
worth most: those close to the shortest one seen (which ages, so that a line that became slower is
learnt again) enter a regression of offset over time whose old samples decay. This is the method of
Klipper's clocksync, with the bound of NTP (RFC 5905) as the stated uncertainty.

Times are integer microseconds; nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DECAY: Final = 1 / 30  # weight of the newest sample; thirty exchanges are remembered
DRIFT_PPM_MAX: Final = 500.0  # crystals are within 100; a drift beyond this is a broken estimate
DRIFT_PPM_UNKNOWN: Final = 100.0  # assumed while the regression has too few samples to tell
MIN_RTT_AGEING_PPM: Final = 100.0  # the shortest round trip may grow by 0.1 ms a second
RTT_SLACK_US: Final = 200  # scheduling noise on a quiet host
SAMPLES_FOR_DRIFT: Final = 8
SPAN_FOR_DRIFT_US: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """Four time stamps: host sends, device receives, device sends, host receives."""

    host_sent_us: int
    device_received_us: int
    device_sent_us: int
    host_received_us: int

    @property
    def round_trip_us(self) -> int:
        """Time on the way, both ways, without the device's own."""
        on_device = self.device_sent_us - self.device_received_us
        return self.host_received_us - self.host_sent_us - on_device

    @property
    def offset_us(self) -> float:
        """Device clock minus host clock, at the middle of the exchange."""
        outward = self.device_received_us - self.host_sent_us
        return (outward + self.device_sent_us - self.host_received_us) / 2


class DeviceClock:
    """Host time to device time, with an honest uncertainty. Starts from one exchange."""

    def __init__(self, first: Exchange) -> None:
        self._base_host_us = first.host_received_us
        self._base_offset_us = first.offset_us
        self._min_rtt_us = float(max(first.round_trip_us, 0))
        self._min_rtt_at_us = first.host_received_us
        self._last_us = first.host_received_us
        self._mean_t = 0.0
        self._mean_offset = 0.0
        self._var_t = 0.0
        self._cov = 0.0
        self.drift_ppm = 0.0
        self.samples = 1
        self.rejected = 0

    def add(self, exchange: Exchange) -> bool:
        """Take one exchange. False if its round trip was too long to say anything new."""
        rtt = exchange.round_trip_us
        if rtt < 0 or exchange.device_sent_us < exchange.device_received_us:
            self.rejected += 1
            return False
        now = exchange.host_received_us
        aged = self._min_rtt_us + (now - self._min_rtt_at_us) * MIN_RTT_AGEING_PPM * 1e-6
        if rtt <= aged:
            self._min_rtt_us, self._min_rtt_at_us = float(rtt), now
        elif rtt > 2 * aged + RTT_SLACK_US:
            self.rejected += 1
            return False
        self._regress(now - self._base_host_us, exchange.offset_us - self._base_offset_us)
        self._last_us = now
        return True

    def _regress(self, t: float, offset: float) -> None:
        self.samples += 1
        weight = max(DECAY, 1 / self.samples)
        dt = t - self._mean_t
        do = offset - self._mean_offset
        self._mean_t += weight * dt
        self._mean_offset += weight * do
        self._var_t = (1 - weight) * (self._var_t + weight * dt * dt)
        self._cov = (1 - weight) * (self._cov + weight * dt * do)
        if self.samples >= SAMPLES_FOR_DRIFT and t >= SPAN_FOR_DRIFT_US and self._var_t > 0:
            drift = self._cov / self._var_t * 1e6
            self.drift_ppm = drift if abs(drift) <= DRIFT_PPM_MAX else 0.0

    def offset_us(self, host_us: int) -> float:
        """Device clock minus host clock at a host time."""
        t = host_us - self._base_host_us
        along = (t - self._mean_t) * self.drift_ppm * 1e-6
        return self._base_offset_us + self._mean_offset + along

    def device_us(self, host_us: int) -> int:
        """The device's clock at a host time."""
        return round(host_us + self.offset_us(host_us))

    def host_us(self, device_us: int) -> int:
        """The host's clock when the device's clock shows `device_us`."""
        near = device_us - self.offset_us(self._last_us)
        return round(device_us - self.offset_us(round(near)))

    def uncertainty_us(self, host_us: int) -> float:
        """How far `device_us` may be wrong: half the round trip, and drift since the last sample."""
        known = self.samples >= SAMPLES_FOR_DRIFT
        drift_ppm = DRIFT_PPM_UNKNOWN / 4 if known else DRIFT_PPM_UNKNOWN
        return (
            self._min_rtt_us / 2
            + RTT_SLACK_US / 2
            + abs(host_us - self._last_us) * drift_ppm * 1e-6
        )


def widen(low_32: int, near_us: int) -> int:
    """The time whose low 32 bits are `low_32` and which lies nearest to `near_us`.

    The header carries 32 bits of a 64-bit clock; differences are read by the sign of their wrapped
    value (protocol.md, section 1), so this is right within 35 minutes.
    """
    difference = (low_32 - near_us) & 0xFFFF_FFFF
    return near_us + (difference - (1 << 32) if difference >= 1 << 31 else difference)
