"""Seeded X-ray pairs of the detailed patient, from the simulator's own ray tracer, kept on disk.

A frame is what the panel delivers: three energies, scatter (half of what scatters, 60 mm wide), blur, quantum and
electronic noise, defects, the carbon-fibre top, all from `igrt_firmware_sim`, which shares no code with the
guidance. `Physics` adds what that model has not, before the panel correction, with its own quantum noise:
more scatter, and glare of the open field (light and scatter from where the beam passes beside the patient).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.host import FLOOD, FLOOD_OFFSET, FRAME_INFO, Host
from igrt_firmware_sim.patient import Patient
from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.panel import PanelCalibration, calibrate, correct, field_region
from igrt_hw.guidance.registration import View

ROWS, COLS, PITCH_MM, SAD_MM, SID_MM = 384, 512, 0.776, 1000.0, 1500.0
FIELD_MM = 130.0
PAIRS_PER_ROOM = 50
MAS_RANGE = (0.3, 5.0)
# The simulator's panel (firmware_sim/src/xray/panel.rs): photons of one count. Needed for the noise of
# what is added.
PHOTONS_PER_COUNT = 8.3
PHOTONS_PER_MAS = 5e4
PIXELS_BINNED = 4
SCATTER_KERNEL_MM = 60.0
Counts = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class CaseSet:
    """Pairs with setup errors uniform within +-mm and +-deg on every axis, at two source angles."""

    name: str
    first_seed: int
    pairs: int
    mm: float
    deg: float
    angles_deg: tuple[float, float] = (0.0, 90.0)


@dataclass(frozen=True, slots=True)
class Physics:
    """What is added to a frame. Shares of the kernel-smoothed signal: of what scatters, and of the whole field."""

    scatter: float = 0.0
    glare: float = 0.0


# The simulator scatters 0.5 of what can scatter; 0.2 more makes the scatter-to-primary ratio of 0.7.
SCATTER_07 = Physics(scatter=0.2)
OPEN_FIELD_GLARE = Physics(glare=0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two raw frames, what corrects them, and the correction that is truly needed."""

    seed: int
    frames: tuple[Counts, Counts]
    calibration: PanelCalibration
    dark: NDArray[np.float64]
    mas: float
    angles_deg: tuple[float, float]
    needed: Correction

    def views(self, physics: Physics) -> list[View]:
        """Both views, corrected and cut to the field."""
        region = field_region(
            (ROWS, COLS),
            PITCH_MM,
            sad_mm=SAD_MM,
            sid_mm=SID_MM,
            field_mm=(-FIELD_MM, FIELD_MM, -FIELD_MM, FIELD_MM),
        )
        views = []
        for index, (angle, frame) in enumerate(zip(self.angles_deg, self.frames, strict=True)):
            raw = _with(
                frame, self.dark, self.mas, physics, np.random.default_rng([self.seed, index])
            )
            image = correct(raw, self.mas, self.calibration)
            views.append(View(image.line_integrals, geometry(angle), region))
        return views


def geometry(angle_deg: float) -> PanelGeometry:
    """The simulated imager."""
    return PanelGeometry(
        source_angle_deg=angle_deg,
        sad_mm=SAD_MM,
        sid_mm=SID_MM,
        rows=ROWS,
        cols=COLS,
        pixel_pitch_mm=PITCH_MM,
    )


def setup_error(seed: int, mm: float, deg: float) -> Correction:
    """Where a patient lies: uniform on every axis."""
    rng = np.random.default_rng([seed, 77])
    return Correction.of([*rng.uniform(-mm, mm, 3), *rng.uniform(-deg, deg, 3)])


def make_images(patient: Patient, cases: CaseSet, folder: Path) -> None:
    """Take the pairs of a set that are not on disk yet; each room of fifty has a panel of its own."""
    target = folder / cases.name
    target.mkdir(parents=True, exist_ok=True)
    seeds = range(cases.first_seed, cases.first_seed + cases.pairs)
    for start in range(0, cases.pairs, PAIRS_PER_ROOM):
        batch = seeds[start : start + PAIRS_PER_ROOM]
        missing = [seed for seed in batch if not (target / f"{seed}.npz").exists()]
        if missing:
            _take(patient, cases, batch[0], missing, target)


def pairs(cases: CaseSet, folder: Path) -> Iterator[Pair]:
    """The pairs of a set that are on disk, in the order of their seeds."""
    for seed in range(cases.first_seed, cases.first_seed + cases.pairs):
        path = folder / cases.name / f"{seed}.npz"
        if not path.exists():
            continue
        room_seed = seed - (seed - cases.first_seed) % PAIRS_PER_ROOM
        calibration, dark = _calibrated(path.with_name(f"panel_{room_seed}.npz"))
        with np.load(path) as data:
            yield Pair(
                seed,
                (data["first"], data["second"]),
                calibration,
                dark,
                float(data["mas"]),
                cases.angles_deg,
                Correction.of(data["needed"]),
            )


@cache
def _calibrated(panel_file: Path) -> tuple[PanelCalibration, NDArray[np.float64]]:
    with np.load(panel_file) as panel:
        darks = tuple(panel["darks"])
        flood, flood_offset = panel["flood"], panel["flood_offset"]
        return calibrate(flood, flood_offset, float(panel["flood_mas"]), darks), np.mean(
            darks, axis=0
        )


def _take(patient: Patient, cases: CaseSet, room_seed: int, seeds: list[int], target: Path) -> None:
    room = VirtualRoom(seed=room_seed, patient=patient, setup_error_mm=0.0, setup_error_deg=0.0)
    room.perform("hand.exposure_switch", closed=True)
    host = Host(room)
    host.hello("couch")
    host.hello("imager")
    host.advance_ms(200)
    darks = [
        host.fetch(host.expose(0.0, kind=1, mas=1.0, kvp=80.0, field_mm=FIELD_MM)) for _ in range(2)
    ]
    info = host.command("imager", FRAME_INFO, struct.pack("<I", FLOOD)).body
    flood_mas = struct.unpack_from("<BBBIHHI32sQQHHI", info)[12] / 1e3
    np.savez(
        target / f"panel_{room_seed}.npz",
        darks=np.array(darks),
        flood=host.fetch(FLOOD),
        flood_offset=host.fetch(FLOOD_OFFSET),
        flood_mas=flood_mas,
    )
    here = correction_to_pose(Correction())
    for seed in seeds:
        there = correction_to_pose(setup_error(seed, cases.mm, cases.deg))
        step = there @ here.inverse()
        room._room.shift_patient(list(step.parameters()))
        here = there
        low, high = np.log(MAS_RANGE)
        mas = round(float(np.exp(np.random.default_rng([seed, 78]).uniform(low, high))), 3)
        first, second = (
            host.fetch(host.expose(angle, mas=mas, kvp=80.0, field_mm=FIELD_MM))
            for angle in cases.angles_deg
        )
        needed = list(room.truth()["residual"].values())[:6]
        part = target / f".{seed}.npz"
        np.savez(part, first=first, second=second, mas=mas, needed=needed)
        part.rename(target / f"{seed}.npz")


def _with(
    frame: Counts,
    dark: NDArray[np.float64],
    mas: float,
    physics: Physics,
    rng: np.random.Generator,
) -> Counts:
    """The frame with more scatter and glare, and the quantum noise of both."""
    if physics == Physics():
        return frame
    open_counts = PHOTONS_PER_MAS * mas / PHOTONS_PER_COUNT
    signal = np.clip(frame - dark, 0.0, None)
    relative = np.clip(signal / open_counts, 0.0, 1.0)
    source = physics.scatter * signal * (1.0 - relative) + physics.glare * signal
    added = _wide(source)
    photons = PHOTONS_PER_COUNT * PIXELS_BINNED
    noisy = rng.poisson(added * photons) / photons
    return np.asarray(np.clip(np.rint(frame + noisy), 0, 65535), dtype=np.uint16)


def _wide(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian of the scatter kernel, on blocks of eight pixels; beyond the panel its edge repeats."""
    block = 8
    small = image.reshape(ROWS // block, block, COLS // block, block).mean(axis=(1, 3))
    sigma = SCATTER_KERNEL_MM / (PITCH_MM * block)
    reach = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(0, 0), (0, 0)]
        width[axis] = (reach, reach)
        padded = np.pad(small, width, mode="edge")
        small = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    rows = (np.arange(ROWS) + 0.5) / block - 0.5
    cols = (np.arange(COLS) + 0.5) / block - 0.5
    by_cols = np.array([np.interp(cols, np.arange(small.shape[1]), line) for line in small])
    return np.array([np.interp(rows, np.arange(len(small)), line) for line in by_cols.T]).T
