"""Two-view registration of the demo's CT, with ITK's two-projection registration beside it.

Ours gets the exact projection of the CT as the demo has it, with scatter (0.7 of the primary, 60 mm wide), two rails
of a couch, and Poisson noise of 1e5 quanta a pixel, and is told of none of them. ITK gets the same pair without all of
that, binned by two and cut to what lies between the rails, the CT without what lies outside the body, and Powell's
method as in its own example but for a tighter tolerance of the value: so it ends at the truth. On the pair that ours
gets, its correlation does not (docs/imaging_peers.md).
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import PanelGeometry
from igrt_hw.bench.imaging_peers import ray_lengths_mm, siddon_ray_caster, siddon_transform
from igrt_hw.bench.registry import BenchError, Metric, Peer, Sampler
from igrt_hw.geometry import Correction, Frame, Pose, correction_to_pose
from igrt_hw.guidance.mask import body_mask
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.registration import View, register
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import PreparedPlan
from igrt_hw.server.settings import DEMO_PLAN

# A shift of the size that the demo puts in; the answer is compared with it, so that speed is never bought with it.
SHIFT = Correction(
    lateral_mm=8.0,
    longitudinal_mm=-6.0,
    vertical_mm=5.0,
    rotation_deg=1.2,
    pitch_deg=-1.0,
    roll_deg=0.8,
)
MISS_MM_MAX = 1.0
ROWS, COLS, PITCH_MM, SAD_MM, SID_MM = 384, 512, 0.776, 1000.0, 1500.0


Floats = NDArray[np.float32]
SCATTER_TO_PRIMARY, SCATTER_WIDTH_MM = 0.7, 60.0
QUANTA = 1e5
RAIL_LINE_INTEGRAL = 0.4
SEED = 20265


def seen_through(primary: Floats, seed: int) -> Floats:
    """Line integrals (rows, cols) as an imager has them: with a couch's rails, scatter and quantum noise."""
    rails = np.zeros(primary.shape[1])
    for column in (120, 380):
        rails[column : column + 14] = RAIL_LINE_INTEGRAL
    through = np.exp(-(primary.astype(np.float64) + rails[None, :]))
    scatter = SCATTER_TO_PRIMARY * _blurred(through, SCATTER_WIDTH_MM / PITCH_MM)
    counted = np.random.default_rng(seed).poisson(QUANTA * (through + scatter))
    return np.asarray(-np.log(np.maximum(counted, 1.0) / QUANTA), dtype=np.float32)


def _blurred(image: NDArray[np.float64], sigma_px: float) -> NDArray[np.float64]:
    """A Gaussian of this width, edges continued."""
    pad = int(3 * sigma_px)
    x = np.arange(-pad, pad + 1)
    kernel = np.exp(-0.5 * (x / sigma_px) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        width = [(pad, pad) if n == axis else (0, 0) for n in (0, 1)]
        image = np.apply_along_axis(
            lambda line: np.convolve(line, kernel, "valid"), axis, np.pad(image, width, mode="edge")
        )
    return image


class _Pair:
    """The demo's plan, and a pair of a patient who lies off it by `SHIFT`; `clean` leaves out what an imager adds."""

    def __init__(self, *, clean: bool = False) -> None:
        self.plan = PreparedPlan.of(load_plan(DEMO_PLAN))
        isocentre = self.plan.loaded.plan.isocentres[0]
        self.planned = Placement.of(self.plan.loaded, isocentre.isocentre_id).planned
        lies = correction_to_pose(SHIFT).inverse() @ self.planned
        self.views = []
        for n, field in enumerate(isocentre.setup_fields[:2]):
            geometry = PanelGeometry(
                source_angle_deg=field.angle_deg,
                sad_mm=SAD_MM,
                sid_mm=SID_MM,
                rows=ROWS,
                cols=COLS,
                pixel_pitch_mm=PITCH_MM,
            )
            seen = self.plan.patient.volume.project(geometry, lies.matrix(), exact=True)
            image = seen if clean else seen_through(seen, SEED + n)
            self.views.append(View(image, geometry))

    def miss_mm(self, found: Pose) -> float:
        """Mean distance by which a correction is off on the corners of +-60 mm."""
        corners = np.array([[x, y, z] for x in (-60, 60) for y in (-60, 60) for z in (-60, 60)])
        wrong = (found @ correction_to_pose(SHIFT).inverse()).apply(corners.astype(np.float64))
        return float(np.linalg.norm(wrong - corners, axis=1).mean())


@contextmanager
def _registration() -> Iterator[Sampler]:
    pair = _Pair()

    def sample() -> float:
        begin = time.perf_counter()
        result = register(pair.plan.patient, pair.views, pair.planned)
        seconds = time.perf_counter() - begin
        if result.correction is None:
            raise BenchError(f"the registration was refused: {result.reasons}")
        if (miss := pair.miss_mm(correction_to_pose(result.correction))) > MISS_MM_MAX:
            raise BenchError(f"the registration is off by {miss:.2f} mm")
        return seconds

    yield sample


# --- ITK -------------------------------------------------------------------------------------------------------------

BINNING = 2
# Binned columns and rows: first and number of each.
BETWEEN_RAILS = ((70, 16), (116, 160))
POWELL = {"iterations": 10, "line_iterations": 4, "step": 4.0, "step_tolerance": 0.02}
VALUE_TOLERANCE = 1e-6
# The fixed frame (right, to the gantry, up) in DICOM axes of a supine patient, head first.
ITK_FROM_FIXED = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)


def _itk_volume(itk: Any, pair: _Pair) -> tuple[Any, Any]:
    """The CT for ITK's rays, whose first voxel has its corner at the origin, and its pose about the isocentre."""
    hu, to_fixed = pair.plan.loaded.ct.hu, pair.planned.matrix()
    # Index (col, row, slice) to the fixed frame; a CT of a supine patient, head first: x right, -z down the rows, y.
    fixed_from_index = to_fixed @ pair.plan.loaded.ct.iec_patient_from_index()
    spacing = np.linalg.norm(fixed_from_index[:3, :3], axis=0)
    room = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
    if not np.allclose(fixed_from_index[:3, :3] / spacing, room, atol=1e-6):
        raise BenchError(
            "ITK's projector stands to DICOM axes only: the CT must be supine, head first"
        )
    body = body_mask(pair.plan.loaded.ct, pair.plan.loaded.body_contours_dicom_mm)
    mu = np.where(body, np.maximum(hu + 1000.0, 0.0) * 2.059e-5, 0.0).astype(np.float32)
    volume = itk.image_from_array(mu)
    volume.SetSpacing([float(s) for s in spacing])
    first = ITK_FROM_FIXED @ fixed_from_index[:3, 3]
    x, y, z = (float(v) for v in spacing / 2.0 - first)
    return volume, siddon_transform(itk, (x, y, z))


def itk_two_projections(pair: _Pair) -> tuple[Pose, float]:
    """The correction that ITK finds, and the seconds of its search."""
    itk: Any = importlib.import_module("itk")
    kind = itk.Image[itk.F, 3]
    volume, transform = _itk_volume(itk, pair)
    method = itk.TwoProjectionImageRegistrationMethod[kind, kind].New()
    metric = itk.NormalizedCorrelationTwoImageToOneImageMetric[kind, kind].New()
    metric.ComputeGradientOff()
    metric.SetSubtractMean(True)
    method.SetMetric(metric)
    method.SetMovingImage(volume)
    method.SetTransform(transform)
    kept: list[Any] = []  # ITK holds no reference of its own to what Python made
    for n, view in enumerate(pair.views, start=1):
        image, rays = (
            _itk_view(itk, view),
            siddon_ray_caster(itk, view.geometry.source_angle_deg, transform),
        )
        kept.append((image, rays))
        getattr(method, f"SetFixedImage{n}")(image)
        getattr(method, f"SetFixedImageRegion{n}")(_between_the_rails(itk))
        getattr(method, f"SetInterpolator{n}")(rays)
    method.SetOptimizer(_powell(itk))
    method.SetInitialTransformParameters(transform.GetParameters())
    begin = time.perf_counter()
    method.StartRegistration()
    seconds = time.perf_counter() - begin
    transform.SetParameters(method.GetLastTransformParameters())
    turn = itk.array_from_matrix(transform.GetMatrix())
    moved = np.eye(4)
    moved[:3, :3] = ITK_FROM_FIXED.T @ turn @ ITK_FROM_FIXED
    # About the isocentre, where the fixed frame begins.
    moved[:3, 3] = ITK_FROM_FIXED.T @ np.array(transform.GetTranslation())
    return Pose.from_matrix(np.linalg.inv(moved), Frame.FIXED, Frame.FIXED), seconds


def _powell(itk: Any) -> Any:
    optimizer = itk.PowellOptimizer.New()
    optimizer.SetMaximize(False)
    optimizer.SetMaximumIteration(int(POWELL["iterations"]))
    optimizer.SetMaximumLineIteration(int(POWELL["line_iterations"]))
    optimizer.SetStepLength(POWELL["step"])
    optimizer.SetStepTolerance(POWELL["step_tolerance"])
    optimizer.SetValueTolerance(VALUE_TOLERANCE)
    optimizer.SetScales(itk.OptimizerParameters[itk.D]([180.0 / np.pi] * 3 + [1.0] * 3))
    return optimizer


def _between_the_rails(itk: Any) -> Any:
    """The part of the binned image that is compared."""
    first, size = BETWEEN_RAILS
    region = itk.ImageRegion[3]()
    region.SetIndex([*first, 0])
    region.SetSize([*size, 1])
    return region


def _itk_view(itk: Any, view: View) -> Any:
    """The image in ITK's camera: rows upwards, at the panel's distance, per length of the ray."""
    rows, cols = (n // BINNING for n in view.image.shape)
    binned = view.image.reshape(rows, BINNING, cols, BINNING).mean(axis=(1, 3))
    pitch = PITCH_MM * BINNING
    over_length = binned / ray_lengths_mm(rows, cols, pitch)
    image = itk.image_from_array(np.ascontiguousarray(over_length[None, ::-1], dtype=np.float32))
    image.SetSpacing([pitch, pitch, 1.0])
    image.SetOrigin([-pitch * (cols - 1) / 2.0, -pitch * (rows - 1) / 2.0, -SID_MM])
    return image


@contextmanager
def _itk() -> Iterator[Sampler]:
    if not hasattr(importlib.import_module("itk"), "TwoProjectionImageRegistrationMethod"):
        raise BenchError("ITK cannot register here: install itk-twoprojectionregistration")
    pair = _Pair(clean=True)

    def sample() -> float:
        found, seconds = itk_two_projections(pair)
        if (miss := pair.miss_mm(found)) > MISS_MM_MAX:
            raise BenchError(f"ITK's registration is off by {miss:.2f} mm")
        return seconds

    yield sample


METRICS = (
    Metric(
        "register_2view_s",
        "s",
        "lower",
        f"6-DOF registration of a pair of {ROWS} x {COLS} pixels of the demo's CT, with noise, scatter, a couch",
        _registration,
        samples=5,
        peers=(Peer("ITK two-projection", "itk", _itk, samples=1),),
    ),
)
