"""What a session tells of itself: who answered, that it opened or ended, what it heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from igrt_hw.link import messages as m
from igrt_hw.link.errors import LinkError, LinkLost, Refused
from igrt_hw.link.frame import DeviceKind

Outcome = tuple[Any, m.Message | LinkError]
"""The token of a command, and its answer or what became of it instead."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered HELLO."""

    device: DeviceKind
    family: int
    axis_count: int
    boot_id: int
    session: int
    dictionary: bytes
    limits: bytes
    build: bytes
    max_body: int
    window: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A session is open. `limitation` is empty, or says why it is for telemetry only."""

    identity: Identity
    limitation: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The session is over."""

    error: LinkLost


@dataclass(frozen=True, slots=True)
class EpochMoved:
    """The device's STOP epoch has advanced; what was decided before is refused."""

    epoch: int


@dataclass(frozen=True, slots=True)
class LeaseRefused:
    """The device did not accept a lease."""

    error: Refused


Event = Opened | Lost | EpochMoved | LeaseRefused


@dataclass(frozen=True, slots=True)
class TelemetrySample:
    """One status message. `received_us` is the host's time of receipt, or the time at which it was
    made where that lies more than 50 ms before."""

    message: m.CouchStatus | m.ImagerStatus | m.PendantStatus
    received_us: int
    session: int
    epoch: int
