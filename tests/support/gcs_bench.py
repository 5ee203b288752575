"""The GCS driver on a simulated hexapod in virtual time: the driver's clock is the room's."""

from __future__ import annotations

from collections.abc import Callable

from igrt_firmware_sim.bench import VirtualRoom
from igrt_hw.devices.gcs import GcsCouch
from igrt_hw.devices.gcs_frame import PlatformFrame
from igrt_hw.devices.plan import AxisKind, AxisLimits, CouchLimits, MotionPlan
from igrt_hw.link.errors import LinkLost
from igrt_hw.link.transport import PortSettings
from igrt_hw.machine import load_machine
from igrt_hw.models.telemetry import CouchTelemetry, EnablePosition

BASE = (-20.0, -350.0, -122.5, 0.0, 0.0, 0.0)
MACHINE = load_machine("linac_hexapod")
FRAME = PlatformFrame(MACHINE.couch(), BASE)
LIMITS = CouchLimits(
    tuple(
        AxisLimits.of(
            axis.name,
            AxisKind.LINEAR if axis.unit == "mm" else AxisKind.ROTARY,
            *axis.range,
            *axis.drive,
        )
        for axis in MACHINE.description.axis
    )
)
PENDANT_US = 50_000


class RoomTransport:
    """The couch's line of a room; `spoil` may change what the device said."""

    low_latency = ""
    baud = None

    def __init__(self, room: VirtualRoom, spoil: Callable[[bytes], bytes] | None = None) -> None:
        self.room, self.spoil = room, spoil
        self.written = b""
        self.gone = False

    def fileno(self) -> int:
        raise AssertionError("virtual time needs no descriptor")

    def read(self) -> bytes:
        said = self.room.read("couch")
        return self.spoil(said) if self.spoil and said else said

    def write(self, data: bytes) -> int:
        self.written += data
        self.room.write("couch", data)
        return len(data)

    def close(self) -> None:
        self.gone = True


class GcsBench:
    """A driver, a room, a hand and a supervisor's permission."""

    def __init__(self, **options: object) -> None:
        self.room = VirtualRoom(family="hexapod", dialect="gcs", setup_error_mm=0.0, **options)
        self.transport = RoomTransport(self.room)
        self.permitted = True
        self._pendant_us = 0
        self.position = EnablePosition.RELEASED
        self.couch = GcsCouch(
            PortSettings("virtual"),
            FRAME,
            LIMITS,
            (30.0, 3.0),
            transport_of=lambda _: self.transport,
            clock_us=lambda: self.room.now_us,
            wait=lambda _, us: self._pass(us),
        )

    def _pass(self, us: int) -> None:
        """Time passes, and with it the pendant's line and the supervisor's ticks."""
        self.room.advance_us(min(us, 1000))
        if self.room.now_us - self._pendant_us >= PENDANT_US:
            self._pendant_us = self.room.now_us
            self.couch.hear_enable(self.position, self.room.now_us)
            if self.permitted:
                self.couch.refresh_permission(self.room.now_us + 150_000)

    def open(self) -> None:
        self.couch._open(self.transport)

    def hold(self, position: str) -> None:
        self.room.enable(position)
        self.position = EnablePosition[position.upper()]

    def run(self, ms: int, until: Callable[[CouchTelemetry], bool] | None = None) -> CouchTelemetry:
        end_us = self.room.now_us + ms * 1000
        while self.room.now_us < end_us:
            self.couch.turn()
            told = self.couch.telemetry
            if until is not None and told is not None and until(told):
                return told
        told = self.couch.telemetry
        assert told is not None
        if until is not None:
            raise AssertionError(f"not within {ms} ms: {told}")
        return told

    def plan(self, target: tuple[float, ...], ttl_ms: int = 60_000) -> MotionPlan:
        told = self.couch.telemetry
        assert told is not None
        return MotionPlan.of(
            proposal=b"\x01" * 32,
            limits=LIMITS,
            start=told.primary,
            waypoints=[target],
            ttl_ms=ttl_ms,
        )

    def armed(self, target: tuple[float, ...]) -> int:
        """Proves the chain, uploads and arms; the nonce."""
        self.hold("released")
        self.run(600, lambda told: told.hardware_channel)
        uploaded = self.couch.upload(self.plan(target))
        self.run(60)
        receipt = uploaded.result(0)
        armed = self.couch.execute(receipt, bytes(16))
        self.run(60)
        armed.result(0)
        return receipt.nonce

    def lost(self, ms: int = 3000) -> LinkLost | None:
        """Runs until the line is given up."""
        try:
            self.run(ms)
        except LinkLost as error:
            return error
        return None
