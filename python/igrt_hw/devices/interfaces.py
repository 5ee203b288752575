"""What a couch, an imager, a pendant and a beam gate are to the rest of the program.

A driver for a new dialect satisfies one of these. `assurance` names what a dialect cannot promise;
it is empty for CLP/1, and the supervisor shows it and asks for more where it is not. Futures are
resolved in the thread of the line: callbacks on them must return at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from igrt_hw.devices.frames import ArmsPosition, RawFrame, View
from igrt_hw.devices.plan import CouchLimits, MotionPlan, PlanReceipt
from igrt_hw.models.telemetry import (
    CouchFault,
    CouchTelemetry,
    ImagerTelemetry,
    LinkHealth,
    PendantTelemetry,
)

Progress = Callable[[str, float], None]


class Device(Protocol):
    """What all devices have."""

    @property
    def assurance(self) -> tuple[str, ...]:
        """What this dialect cannot promise, one sentence each."""

    def start(self) -> None:
        """Begin to connect; go on connecting whenever the link is lost."""

    def connect(self, timeout_s: float = 5.0) -> None:
        """Wait until the device may be used; raises what stands against it."""

    def close(self) -> None:
        """Give the line back."""

    def health(self) -> LinkHealth:
        """How the line is doing."""

    def refresh_permission(self, until_us: int) -> bool:
        """Let the dead-man lease go on until `until_us` (`monotonic_us`); at most 500 ms ahead."""

    def stop(self, reason: int = 0) -> Future[int]:
        """STOP, from any thread, at once; the future has the new epoch."""


class Couch(Device, Protocol):
    """A couch. Positions are in axis order, millimetres and degrees."""

    @property
    def limits(self) -> CouchLimits:
        """The axis table."""

    @property
    def telemetry(self) -> CouchTelemetry | None:
        """The latest status."""

    def upload(self, plan: MotionPlan) -> Future[PlanReceipt]:
        """Upload a plan; compare the receipt's digests before anything else."""

    def execute(self, receipt: PlanReceipt, token: bytes) -> Future[None]:
        """Start the plan of a receipt, once."""

    def void_plan(self) -> Future[None]:
        """Throw the plan away."""

    def reset_faults(self, faults: CouchFault) -> Future[CouchFault]:
        """Reset the named faults; the future has those that remain."""

    def jog(self, axis: int, speed: float) -> Future[None]:
        """Move one axis (0 to 5) at a speed in mm/s or deg/s; 0 ends it."""

    def home(self) -> Future[None]:
        """Reference the axes."""

    def set_beam_gate(self, energise: bool) -> Future[bool]:
        """Energise the beam gate or let it fall; the future says whether it is energised."""


class Imager(Device, Protocol):
    """A kV imager: source, panel, arms and gantry."""

    @property
    def telemetry(self) -> ImagerTelemetry | None:
        """The latest status."""

    def arms(self, position: ArmsPosition) -> Future[None]:
        """Park or extend both arms."""

    def gantry(self, angle_deg: float) -> Future[None]:
        """Turn the gantry to an absolute angle."""

    def acquire(
        self, view: View, cancel: threading.Event | None = None, progress: Progress | None = None
    ) -> RawFrame:
        """Take one image, everything included. Blocks; to be called in a thread of its own."""

    def fetch(
        self,
        frame: int,
        cancel: threading.Event | None = None,
        progress: Progress | None = None,
    ) -> RawFrame:
        """Fetch one frame. Blocks."""

    def stored_flood(self) -> tuple[RawFrame, RawFrame]:
        """The stored flood frame and its offset, in the current binning. Blocks."""

    def dark_frames(self, count: int, cancel: threading.Event | None = None) -> list[RawFrame]:
        """Take frames without radiation. Blocks."""


class Pendant(Device, Protocol):
    """A hand pendant."""

    @property
    def telemetry(self) -> PendantTelemetry | None:
        """The latest status."""


class BeamGate(Protocol):
    """The gate that holds the beam: de-energised means hold."""

    @property
    def energised(self) -> bool | None:
        """Whether the hold is released now; None if not known freshly."""

    def release(self) -> Future[bool]:
        """Ask to release the hold; the future says whether it is released."""

    def hold(self) -> Future[bool]:
        """Hold the beam."""
