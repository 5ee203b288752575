"""The hand pendant on a CLP/1 line. It tells; the enable itself is wired to the couch."""

from __future__ import annotations

from igrt_hw.devices.clp import ClpDevice, line_settings
from igrt_hw.devices.interfaces import Pendant
from igrt_hw.link import messages as m
from igrt_hw.link.frame import DeviceKind
from igrt_hw.link.session import TelemetrySample
from igrt_hw.link.transport import PortSettings
from igrt_hw.models.telemetry import (
    EnablePosition,
    PendantFault,
    PendantFlag,
    PendantTelemetry,
)


class ClpPendant(ClpDevice[PendantTelemetry]):
    """A hand pendant that speaks CLP/1."""

    @classmethod
    def on_port(cls, port: PortSettings | str) -> ClpPendant:
        """A pendant by its port."""
        return cls(line_settings(port, DeviceKind.PENDANT))

    def _convert(self, sample: TelemetrySample) -> PendantTelemetry | None:
        status = sample.message
        if not isinstance(status, m.PendantStatus):
            return None
        return PendantTelemetry(
            received_us=sample.received_us,
            device_us=status.device_us,
            session=sample.session,
            epoch=sample.epoch,
            enable_position=EnablePosition(status.enable_position),
            contact_a=bool(status.contacts & 1),
            contact_b=bool(status.contacts & 2),
            flags=PendantFlag(status.flags),
            faults=PendantFault(status.faults),
            jog_keys=status.jog_keys,
            press_count=status.press_count,
        )


def as_pendant(driver: ClpPendant) -> Pendant:
    """The driver as what it is to the rest of the program; the type checker holds it to that."""
    return driver
