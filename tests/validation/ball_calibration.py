"""The imager of a room as its user would know it: the ball phantom at the isocentre, one image at each angle that is
used later, and the flex map with its covariance that comes out of it.

The phantom lies in a room of the same seed, so before the same bent arms and the same panel. Of where the arms truly
are nothing is asked.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import FLOOD, FLOOD_OFFSET, FRAME_INFO, Host
from igrt_hw.guidance.geometric_calibration import PhantomPlace, calibrate_imager
from igrt_hw.guidance.imager_calibration import ImagerCalibration, save_imager_calibration
from igrt_hw.guidance.imager_geometry import FlexMap, ImagerPose, PanelFormat
from igrt_hw.guidance.panel import PanelCalibration, calibrate, correct, field_region
from igrt_hw.guidance.phantom import load_phantom

PANEL = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
SAD_MM, SID_MM = 1000.0, 1500.0
FIELD_MM = 130.0
KVP = 80.0
BALLS_MAS = 5.0
# The simulator's phantom lies at the isocentre exactly. A real one stands by lasers or a Winston-Lutz test, to 0.1 to
# 0.3 mm; that would go into every view's covariance, and is not in these figures.
PHANTOM_SIGMA_MM = 0.0
Counts = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class RawPanel:
    """What calibrates a panel, as it came over the line."""

    darks: NDArray[np.uint16]
    flood: Counts
    flood_offset: Counts
    flood_mas: float

    @classmethod
    def fetched(cls, host: Host) -> "RawPanel":
        """Two dark frames, and the flood that the imager keeps."""
        darks = [
            host.fetch(host.expose(0.0, kind=1, mas=1.0, kvp=KVP, field_mm=FIELD_MM))
            for _ in range(2)
        ]
        info = host.command("imager", FRAME_INFO, struct.pack("<I", FLOOD)).body
        mas = struct.unpack_from("<BBBIHHI32sQQHHI", info)[12] / 1e3
        return cls(np.array(darks), host.fetch(FLOOD), host.fetch(FLOOD_OFFSET), mas)

    def calibration(self) -> PanelCalibration:
        """As the panel correction takes it."""
        return calibrate(self.flood, self.flood_offset, self.flood_mas, tuple(self.darks))


def host_of(room: VirtualRoom) -> Host:
    """Couch and imager of a room, ready for exposures."""
    room.perform("hand.exposure_switch", closed=True)
    host = Host(room)
    host.hello("couch")
    host.hello("imager")
    host.advance_ms(200)
    return host


def calibrate_arms(seed: int, angles_deg: Sequence[float], file: Path) -> FlexMap:
    """Image the balls in the room of a seed and write what the imager is known by to `file`."""
    room = VirtualRoom(seed=seed, patient="phantom:balls", setup_error_mm=0.0, setup_error_deg=0.0)
    host = host_of(room)
    panel = RawPanel.fetched(host).calibration()
    field = (-FIELD_MM, FIELD_MM, -FIELD_MM, FIELD_MM)
    shape = (PANEL.rows, PANEL.cols)
    region = field_region(shape, PANEL.pixel_pitch_mm, sad_mm=SAD_MM, sid_mm=SID_MM, field_mm=field)
    images = []
    for angle in angles_deg:
        frame = host.fetch(host.expose(angle, mas=BALLS_MAS, kvp=KVP, field_mm=FIELD_MM))
        drawn = ImagerPose(source_angle_deg=angle, sad_mm=SAD_MM, sid_mm=SID_MM)
        images.append((correct(frame, BALLS_MAS, panel).line_integrals, drawn))
    known, _ = calibrate_imager(
        images,
        load_phantom("balls"),
        PhantomPlace(np.eye(4), sigma_mm=PHANTOM_SIGMA_MM),
        PANEL,
        imager=f"room {seed}",
        calibrated_utc="2026-01-01T00:00:00Z",
        region=region,
    )
    save_imager_calibration(
        ImagerCalibration(imager=f"room {seed}", made_utc="2026-01-01T00:00:00Z", flex=known), file
    )
    return known
