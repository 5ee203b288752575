"""What telemetry costs on a wire, and which rate a baud rate allows (protocol.md, section 9).

Ten bits an octet (8N1). In full duplex the device's half of the wire carries telemetry, answers and
acknowledgements of leases; telemetry may take a quarter of it, so that an answer never waits for
more than one status. In half duplex everything shares the wire, and the polls may take three
quarters of it.
"""

from __future__ import annotations

import math
from typing import Final

from igrt_hw.link import messages as m
from igrt_hw.link.frame import CRC_LEN, HEADER_LEN, DeviceKind

BITS_AN_OCTET: Final = 10
SHARE_MAX: Final = 0.25
SHARE_MAX_HALF_DUPLEX: Final = 0.75
PERIOD_MS_MIN: Final = 2
PERIOD_MS_MAX: Final = 1000
LEASES_A_SECOND: Final = 20

_STATUS: Final[dict[DeviceKind, type[m.Message]]] = {
    DeviceKind.COUCH: m.CouchStatus,
    DeviceKind.IMAGER: m.ImagerStatus,
    DeviceKind.PENDANT: m.PendantStatus,
}


def wire_octets(body_len: int) -> int:
    """The most octets a frame takes on the wire: header, body, CRC, one COBS code in 254, two delimiters."""
    content = HEADER_LEN + body_len + CRC_LEN
    return content + 1 + (content - 1) // 254 + 2


def _octets(message: type[m.Message]) -> int:
    return wire_octets(message.CODEC.head_len)


def share_of_wire(device: DeviceKind, period_ms: float, baud: int, *, half_duplex: bool) -> float:
    """Which part of the wire (full duplex: of the device's half) telemetry takes."""
    octets_a_second = _octets(_STATUS[device]) * 1000 / period_ms
    if half_duplex:
        polls = _octets(m.StatusRead) + _octets(m.StatusReadReply)
        octets_a_second += polls * 1000 / period_ms
        octets_a_second += (_octets(m.Lease) + _octets(m.LeaseAck)) * LEASES_A_SECOND
    return octets_a_second * BITS_AN_OCTET / baud


def period_ms_min(device: DeviceKind, baud: int, *, half_duplex: bool = False) -> int | None:
    """The shortest telemetry period in whole milliseconds that fits; None where none does."""
    most = SHARE_MAX_HALF_DUPLEX if half_duplex else SHARE_MAX
    once = share_of_wire(device, 1.0, baud, half_duplex=half_duplex)
    standing = 2 * share_of_wire(device, 2.0, baud, half_duplex=half_duplex) - once
    if standing >= most:
        return None
    period = max(PERIOD_MS_MIN, math.ceil((once - standing) / (most - standing)))
    return period if period <= PERIOD_MS_MAX else None


def objection(device: DeviceKind, period_ms: int, baud: int | None, *, half_duplex: bool) -> str:
    """Why telemetry of this period must not be asked for at this baud rate; empty if it may."""
    if baud is None:
        return ""
    least = period_ms_min(device, baud, half_duplex=half_duplex)
    if least is None:
        return f"no telemetry of the {device.name.lower()} fits {baud} baud; choose a higher rate"
    if period_ms >= least:
        return ""
    share = share_of_wire(device, period_ms, baud, half_duplex=half_duplex)
    return (
        f"telemetry every {period_ms} ms would take {share:.0%} of {baud} baud;"
        f" ask for {least} ms or more, or choose a higher rate"
    )
