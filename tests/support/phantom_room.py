"""A phantom on the simulated couch: frames over the simulated line, corrected as any image, and the couch moved as any
couch.
"""

import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import FLOOD, FLOOD_OFFSET, FRAME_INFO, Host
from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat
from igrt_hw.guidance.panel import PanelCalibration, calibrate, correct, field_region

pytest.importorskip("igrt_firmware_sim.phantom", reason="this simulator has no phantoms")

FIELD_MM = 130.0
MAS, KVP = 5.0, 80.0
PANEL = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
REGION = field_region(
    (384, 512),
    0.776,
    sad_mm=1000.0,
    sid_mm=1500.0,
    field_mm=(-FIELD_MM, FIELD_MM, -FIELD_MM, FIELD_MM),
)
Images = NDArray[np.float32]


class PhantomRoom:
    """A room whose imager is asked for images, and whose couch is moved, over the line."""

    def __init__(self, patient: Any, *, seed: int = 1, **options: Any) -> None:
        options = {"setup_error_mm": 0.0, "setup_error_deg": 0.0} | options
        self.room = VirtualRoom(seed=seed, patient=patient, **options)
        self.room.perform("hand.exposure_switch", closed=True)
        self.host = Host(self.room)
        self.host.hello("couch")
        self.host.hello("imager")
        self.host.advance_ms(200)
        self._calibration: PanelCalibration | None = None

    def image(self, angle_deg: float) -> Images:
        """Line integrals (384, 512) of one exposure."""
        if self._calibration is None:
            darks = [self._frame(angle_deg, kind=1) for _ in range(2)]
            info = self.host.command("imager", FRAME_INFO, struct.pack("<I", FLOOD)).body
            flood_mas = struct.unpack_from("<BBBIHHI32sQQHHI", info)[12] / 1e3
            flood, offset = self.host.fetch(FLOOD), self.host.fetch(FLOOD_OFFSET)
            self._calibration = calibrate(flood, offset, flood_mas, darks)
        return correct(self._frame(angle_deg), MAS, self._calibration).line_integrals

    def _frame(self, angle_deg: float, *, kind: int = 0) -> NDArray[np.uint16]:
        number = self.host.expose(angle_deg, kvp=KVP, mas=MAS, field_mm=FIELD_MM, kind=kind)
        return self.host.fetch(number)

    def axes(self) -> tuple[float, ...]:
        """Where the couch's own encoders say it stands: mm and degrees."""
        measured = self.room.truth()["measured"]
        return tuple(float(measured[name]) for name in measured)

    def move_by(self, by: tuple[float, ...]) -> None:
        """A straight move by mm and degrees, with the hand on the enable, to its end."""
        self.host.park_arms()
        self.host.advance_ms(1000)
        goal = [a + b for a, b in zip(self.axes(), by, strict=True)]
        self.host.move_by(by)
        self.room.enable("enabled")
        for _ in range(600):
            self.host.advance_ms(100)
            off = [abs(a - g) for a, g in zip(self.axes(), goal, strict=True)]
            if max(off) < 0.1:
                break
        self.room.enable("released")
        self.host.advance_ms(1500)
        assert max(abs(a - g) for a, g in zip(self.axes(), goal, strict=True)) < 0.1


def nominal(angle_deg: float) -> ImagerPose:
    """The imager as its drawing has it."""
    return ImagerPose(source_angle_deg=angle_deg, sad_mm=1000.0, sid_mm=1500.0)


def true_pixels(view: dict[str, list[float]], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels (n, 2) by where the simulator says that source and panel truly are: ray meets plane."""
    source, centre, along, across = (
        np.array(view[key]) for key in ("source_mm", "panel_mm", "panel_x", "panel_y")
    )
    normal = np.cross(along, across)
    rays = points - source
    hit = source + rays * ((centre - source) @ normal / (rays @ normal))[:, None] - centre
    col = hit @ along / PANEL.pixel_pitch_mm + (PANEL.cols - 1) / 2
    row = (PANEL.rows - 1) / 2 - hit @ across / PANEL.pixel_pitch_mm
    return np.stack([col, row], axis=1)
