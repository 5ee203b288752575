"""A kV pair from the simulator's own ray tracer, over the simulated line, and what no host may know about it.

Nothing here is shared with the guidance code: the frames come out of `igrt_firmware_sim` as a panel delivers them.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import igrt_hw
from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import FLOOD, FLOOD_OFFSET, FRAME_INFO, Host
from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import Correction
from igrt_hw.guidance.panel import CorrectedImage, calibrate, correct, field_region
from igrt_hw.guidance.registration import View

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"
ANGLES_DEG = (0.0, 90.0)
FIELD_MM = 130.0
Counts = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class RawPair:
    """Frames (384, 512) counts, and the correction that is truly needed."""

    darks: tuple[Counts, ...]
    frames: tuple[Counts, ...]
    flood: Counts
    flood_offset: Counts
    flood_mas: float
    mas: float
    needed: Correction

    def corrected(self) -> list[CorrectedImage]:
        """Line integrals of both frames."""
        calibration = calibrate(self.flood, self.flood_offset, self.flood_mas, self.darks)
        return [correct(frame, self.mas, calibration) for frame in self.frames]

    def views(self) -> list[View]:
        """Both views, ready to be registered."""
        region = field_region(
            (384, 512),
            0.776,
            sad_mm=1000.0,
            sid_mm=1500.0,
            field_mm=(-FIELD_MM, FIELD_MM, -FIELD_MM, FIELD_MM),
        )
        return [
            View(image.line_integrals, geometry(angle), region)
            for angle, image in zip(ANGLES_DEG, self.corrected(), strict=True)
        ]


def geometry(angle_deg: float) -> PanelGeometry:
    """The simulated imager: SAD 1000, SID 1500, 512 x 384 binned pixels of 0.776 mm."""
    return PanelGeometry(
        source_angle_deg=angle_deg,
        sad_mm=1000.0,
        sid_mm=1500.0,
        rows=384,
        cols=512,
        pixel_pitch_mm=0.776,
    )


def take_pair(
    seed: int, *, setup_error_mm: float = 12.0, setup_error_deg: float = 2.0, mas: float = 5.0
) -> RawPair:
    """Two exposures of the demo patient with a seeded setup error; the couch stands where the plan wants it."""
    room = VirtualRoom(
        seed=seed, patient=DEMO, setup_error_mm=setup_error_mm, setup_error_deg=setup_error_deg
    )
    room.perform("hand.exposure_switch", closed=True)
    host = Host(room)
    host.hello("couch")
    host.hello("imager")
    host.advance_ms(200)
    shoot = {"mas": mas, "kvp": 80.0, "field_mm": FIELD_MM}
    darks = tuple(host.fetch(host.expose(0.0, kind=1, **shoot)) for _ in range(2))  # type: ignore[arg-type]
    frames = tuple(host.fetch(host.expose(angle, **shoot)) for angle in ANGLES_DEG)  # type: ignore[arg-type]
    info = host.command("imager", FRAME_INFO, struct.pack("<I", FLOOD)).body
    flood_mas = struct.unpack_from("<BBBIHHI32sQQHHI", info)[12] / 1e3
    needed = list(room.truth()["residual"].values())[:6]
    return RawPair(
        darks,
        frames,
        host.fetch(FLOOD),
        host.fetch(FLOOD_OFFSET),
        flood_mas,
        mas,
        Correction.of(needed),
    )
