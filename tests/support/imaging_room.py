"""A room in virtual time with the service's own image taker on its imager."""

import threading
from typing import Any

import numpy as np
from virtual_imager import VirtualHistory, VirtualImager
from xray_pairs import DEMO

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import Host
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.imager_calibration import ImagerCalibration
from igrt_hw.guidance.imaging_protocol import protocol_for
from igrt_hw.machine.catalogue import load_machine
from igrt_hw.models.plan import PlannedField
from igrt_hw.models.status import ImageView
from igrt_hw.server.imaging import AcquiredPair, ImageTaker, LostExposure

COUCH = load_machine("linac_pedestal").couch()


class Room:
    """A virtual room with the service's taker on its imager."""

    def __init__(self, *, known: ImagerCalibration | None = None, **options: Any) -> None:
        self.room = VirtualRoom(**{"seed": 4, "patient": DEMO, **options})
        self.room.perform("hand.exposure_switch", closed=True)
        self.host = Host(self.room)
        self.host.hello("couch")
        self.host.hello("imager")
        self.host.advance_ms(200)
        self.imager = VirtualImager(self.room, self.host)
        self.told: list[ImageView | LostExposure] = []
        self.uids = 0
        self.later_us = 0
        self.taker = ImageTaker(
            self.imager,  # type: ignore[arg-type]  # as much of a driver as a taker needs
            VirtualHistory(self.room),  # type: ignore[arg-type]
            known=known,
            clock_us=lambda: self.room.now_us + self.later_us,
            utc=lambda at_us: f"{at_us / 1e6:.3f} s",
            new_uid=self._uid,
        )

    def _uid(self) -> str:
        self.uids += 1
        return f"1.2.{self.uids}"

    def pair(self, site: str, fields: tuple[PlannedField, ...]) -> AcquiredPair:
        return self.taker.take(
            fields,
            "setup",
            threading.Event(),
            lambda *_: None,
            protocol=protocol_for(site),
            exposed=self.told.append,
        )

    def needed(self) -> Correction:
        return Correction.of(list(self.room.truth()["residual"].values())[:6])

    def axes(self) -> tuple[float, ...]:
        measured = self.room.truth()["measured"]
        return tuple(float(measured[name]) for name in measured)

    def move_to(self, axes: tuple[float, ...]) -> None:
        self.host.advance_ms(1000)
        self.host.move_by(tuple(a - b for a, b in zip(axes, self.axes(), strict=True)))
        self.room.enable("enabled")
        for _ in range(600):
            self.host.advance_ms(100)
            if max(abs(a - b) for a, b in zip(axes, self.axes(), strict=True)) < 0.05:
                break
        self.room.enable("released")
        self.host.advance_ms(1500)


def off_by(found: Correction, needed: Correction) -> float:
    wrong = correction_to_pose(found) @ correction_to_pose(needed).inverse()
    return float(np.linalg.norm(wrong.parameters()[:3]))
