"""An estimate of the device's clock from exchanges of time stamps.

Each exchange bounds the offset hard: the device's stamps lie between the host's. The intersection of
all bounds, widened by the drift that crystals may have, holds the truth (Marzullo; RFC 5905,
section 11.2.1) and is the stated uncertainty. Inside it, the estimate is a regression of offset over
time whose old samples decay, fed by exchanges with a short round trip only (Klipper's clocksync). An
exchange that contradicts the bounds means that a clock was stepped: everything begins anew with it.

Times are integer microseconds; nothing here reads a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DECAY: Final = 1 / 30  # weight of the newest sample; thirty exchanges are remembered
DRIFT_PPM_MAX: Final = 200.0  # of two crystals against each other; usual ones are within 100
MIN_RTT_AGEING_PPM: Final = 100.0  # the shortest round trip may grow by 0.1 ms a second
RTT_SLACK_US: Final = 200  # scheduling noise on a quiet host
STAMP_US: Final = 1  # the stamps are whole microseconds
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
    """Host time to device time, with a hard bound on the error. Starts from one exchange."""

    def __init__(self, first: Exchange) -> None:
        self.rejected = 0
        self.exchanges = 1
        self._begin(first)

    def _begin(self, first: Exchange) -> None:
        """Forget everything but this exchange."""
        self._base_host_us = first.host_received_us
        self._base_offset_us = first.offset_us
        self._restart_regression(0.0, 0.0)
        self._min_rtt_us = float(max(first.round_trip_us, 0))
        self._min_rtt_at_us = self._bound_at_us = self._last_us = first.host_received_us
        self._low_us, self._high_us = _bounds(first)

    def _restart_regression(self, t: float, offset: float) -> None:
        self._mean_t, self._mean_offset = t, offset
        self._var_t = self._cov = 0.0
        self.drift_ppm = 0.0
        self.samples = 1

    def add(self, exchange: Exchange) -> bool:
        """Take one exchange. False if its round trip was too long for more than a bound."""
        rtt = exchange.round_trip_us
        self.exchanges += 1
        if rtt < 0 or exchange.device_sent_us < exchange.device_received_us:
            self.rejected += 1
            return False
        now = self._last_us = exchange.host_received_us
        low, high = self._bounds_at(now)
        sample_low, sample_high = _bounds(exchange)
        low, high = max(low, sample_low), min(high, sample_high)
        if low > high:
            self._begin(exchange)
            return True
        self._low_us, self._high_us, self._bound_at_us = low, high, now
        return self._feed_regression(exchange, rtt)

    def _feed_regression(self, exchange: Exchange, rtt: int) -> bool:
        now = exchange.host_received_us
        t, offset = now - self._base_host_us, exchange.offset_us - self._base_offset_us
        aged = self._min_rtt_us + (now - self._min_rtt_at_us) * MIN_RTT_AGEING_PPM * 1e-6
        if rtt > 2 * aged + RTT_SLACK_US:
            self.rejected += 1
            return False
        if rtt <= aged:
            much_better = 2 * rtt + RTT_SLACK_US < self._min_rtt_us
            self._min_rtt_us, self._min_rtt_at_us = float(rtt), now
            if much_better:  # what came before is worth nothing beside it
                self._restart_regression(t, offset)
                return True
        self._regress(t, offset)
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
        if self.samples >= SAMPLES_FOR_DRIFT and self._var_t >= SPAN_FOR_DRIFT_US**2 / 12:
            drift = self._cov / self._var_t * 1e6
            self.drift_ppm = drift if abs(drift) <= DRIFT_PPM_MAX else 0.0

    def _bounds_at(self, host_us: int) -> tuple[float, float]:
        """Between what the offset lies for certain at a host time, as crystals go."""
        spread = abs(host_us - self._bound_at_us) * DRIFT_PPM_MAX * 1e-6
        return self._low_us - spread, self._high_us + spread

    def offset_us(self, host_us: int) -> float:
        """Device clock minus host clock at a host time."""
        along = (host_us - self._base_host_us - self._mean_t) * self.drift_ppm * 1e-6
        estimate = self._base_offset_us + self._mean_offset + along
        # `_bounds_at`, here as well: this is asked several times for every frame.
        spread = abs(host_us - self._bound_at_us) * DRIFT_PPM_MAX * 1e-6
        low, high = self._low_us - spread, self._high_us + spread
        if estimate < low:
            estimate = low
        return high if estimate > high else estimate

    def device_us(self, host_us: int) -> int:
        """The device's clock at a host time."""
        return round(host_us + self.offset_us(host_us))

    def host_us(self, device_us: int) -> int:
        """The host's clock when the device's clock shows `device_us`."""
        near = device_us - self.offset_us(self._last_us)
        return round(device_us - self.offset_us(round(near)))

    def uncertainty_us(self, host_us: int) -> float:
        """How far `device_us` may be wrong: the further of the two bounds."""
        low, high = self._bounds_at(host_us)
        offset = self.offset_us(host_us)
        return max(high - offset, offset - low)


def _bounds(exchange: Exchange) -> tuple[float, float]:
    """The device sent before the host received, and received after the host sent."""
    low = exchange.device_sent_us - exchange.host_received_us - STAMP_US
    high = exchange.device_received_us - exchange.host_sent_us + STAMP_US
    return low, high


def widen(low_32: int, near_us: int) -> int:
    """The time whose low 32 bits are `low_32` and which lies nearest to `near_us`.

    The header carries 32 bits of a 64-bit clock; differences are read by the sign of their wrapped
    value (protocol.md, section 1), so this is right within 35 minutes.
    """
    difference = (low_32 - near_us) & 0xFFFF_FFFF
    return near_us + (difference - (1 << 32) if difference >= 1 << 31 else difference)
