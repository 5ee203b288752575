"""Seeded X-ray pairs of the detailed patient, from the simulator's own ray tracer, kept on disk.

A frame is what the panel delivers with the simulator as it is built (`firmware_sim/src/xray/physics.rs`): three
energies, scatter (half of what scatters, 60 mm wide), blur, heel, quantum and electronic noise, defects, lag, arms
bent by what a compensated machine keeps, the carbon-fibre top with index bar and rails, all from `igrt_firmware_sim`,
which shares no code with the guidance. `Physics` adds what that model has not, before the panel correction, with its
own quantum noise: more scatter, and glare of the open field (light and scatter from where the beam passes beside the
patient).

Each room of fifty pairs has a machine of its own, known by its images of the ball phantom (`ball_calibration`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from ball_calibration import FIELD_MM, KVP, PANEL, RawPanel, calibrate_arms, host_of
from numpy.typing import NDArray

from igrt_firmware_sim.bench import VirtualRoom
from igrt_firmware_sim.patient import Patient
from igrt_hw._core import PanelGeometry
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.imager_calibration import load_imager_calibration
from igrt_hw.guidance.imager_geometry import FlexMap
from igrt_hw.guidance.panel import PanelCalibration, correct, field_region
from igrt_hw.guidance.registration import View

ROWS, COLS, PITCH_MM = PANEL.rows, PANEL.cols, PANEL.pixel_pitch_mm
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
    """Two raw frames, what corrects them, how the imager is known, and the correction that is truly needed."""

    seed: int
    frames: tuple[Counts, Counts]
    calibration: PanelCalibration
    dark: NDArray[np.float64]
    flex: FlexMap
    mas: float
    angles_deg: tuple[float, float]
    needed: Correction

    def views(self, physics: Physics) -> list[View]:
        """Both views, corrected, projected as calibrated, cut to the field."""
        views = []
        for index, (angle, frame) in enumerate(zip(self.angles_deg, self.frames, strict=True)):
            raw = _with(
                frame, self.dark, self.mas, physics, np.random.default_rng([self.seed, index])
            )
            image = correct(raw, self.mas, self.calibration)
            geometry = self.flex.geometry(angle, PANEL)
            region = image.usable & in_field(geometry)
            covariance = self.flex.covariance_at(angle)
            views.append(View(image.line_integrals, geometry, region, covariance))
        return views


def in_field(geometry: PanelGeometry) -> NDArray[np.bool_]:
    """The pixels within the blades, as the service cuts them."""
    return field_region(
        (ROWS, COLS),
        PITCH_MM,
        sad_mm=geometry.sad_mm,
        sid_mm=geometry.sid_mm,
        field_mm=(-FIELD_MM, FIELD_MM, -FIELD_MM, FIELD_MM),
        panel_lateral_mm=geometry.panel_lateral_mm,
        panel_longitudinal_mm=geometry.panel_longitudinal_mm,
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
        flex = _flex(path.with_name(f"imager_{room_seed}.json"))
        with np.load(path) as data:
            yield Pair(
                seed,
                (data["first"], data["second"]),
                calibration,
                dark,
                flex,
                float(data["mas"]),
                cases.angles_deg,
                Correction.of(data["needed"]),
            )


@cache
def _calibrated(panel_file: Path) -> tuple[PanelCalibration, NDArray[np.float64]]:
    with np.load(panel_file) as raw:
        panel = RawPanel(raw["darks"], raw["flood"], raw["flood_offset"], float(raw["flood_mas"]))
    return panel.calibration(), np.mean(panel.darks, axis=0)


@cache
def _flex(imager_file: Path) -> FlexMap:
    known = load_imager_calibration(imager_file).flex
    if known is None:
        raise ValueError(f"{imager_file.name} holds no flex map")
    return known


def _take(patient: Patient, cases: CaseSet, room_seed: int, seeds: list[int], target: Path) -> None:
    calibrate_arms(room_seed, cases.angles_deg, target / f"imager_{room_seed}.json")
    room = VirtualRoom(seed=room_seed, patient=patient, setup_error_mm=0.0, setup_error_deg=0.0)
    host = host_of(room)
    panel = RawPanel.fetched(host)
    np.savez(
        target / f"panel_{room_seed}.npz",
        darks=panel.darks,
        flood=panel.flood,
        flood_offset=panel.flood_offset,
        flood_mas=panel.flood_mas,
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
            host.fetch(host.expose(angle, mas=mas, kvp=KVP, field_mm=FIELD_MM))
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
