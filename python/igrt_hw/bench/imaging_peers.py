"""DRR, cone-beam reconstruction and registration of volumes, beside RTK, ITK, plastimatch, elastix and SimpleITK.

Work is the same for all: the demo's CT on a grid of 256 cubed, 512 x 512 pixels of 0.776 mm, 120 projections of
256 x 256. ITK's two-projection registration stands beside `register_2view_s` (`igrt_hw.bench.imaging`).
"""

from __future__ import annotations

import importlib
import math
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from igrt_hw._core import AttenuationVolume, PanelGeometry, reconstruct_fdk, register_volumes
from igrt_hw.bench.registry import BenchError, Metric, Peer, Sampler
from igrt_hw.geometry import Correction, correction_to_pose
from igrt_hw.guidance.plan import load_plan
from igrt_hw.server.settings import DEMO_PLAN

SIDE = 256
SPACING_MM = 1.40625
ANGLES = 120
SHIFT = Correction(
    lateral_mm=8.0,
    longitudinal_mm=-6.0,
    vertical_mm=5.0,
    rotation_deg=2.0,
    pitch_deg=-2.0,
    roll_deg=1.5,
)
NOISE_HU = 30.0
MISS_MM_MAX = 0.2
Floats = NDArray[np.float32]
# Columns along +X, rows along -Z, slices along +Y, about the isocentre.
WORLD = np.array(
    [
        [SPACING_MM, 0, 0, -SPACING_MM * (SIDE - 1) / 2],
        [0, 0, SPACING_MM, -SPACING_MM * (SIDE - 1) / 2],
        [0, -SPACING_MM, 0, SPACING_MM * (SIDE - 1) / 2],
        [0, 0, 0, 1.0],
    ]
)


@cache
def resampled(shifted: bool) -> Floats:
    """The demo's CT (slices, rows, cols), HU, about the middle of the CT; shifted by `SHIFT` or not."""
    ct = load_plan(DEMO_PLAN).ct
    shape = np.array(ct.hu.shape[::-1])
    middle = ct.iec_patient_from_index() @ np.array([*(shape - 1) / 2.0, 1.0])
    to_middle = np.eye(4)
    to_middle[:3, 3] = middle[:3]
    moved = correction_to_pose(SHIFT).matrix() if shifted else np.eye(4)
    index = np.linalg.inv(ct.iec_patient_from_index()) @ to_middle @ moved @ WORLD
    out = np.empty((SIDE, SIDE, SIDE), dtype=np.float32)
    y, x = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    for z in range(SIDE):
        at = np.einsum("ij,jyx->iyx", index[:3, :3], np.stack([x, y, np.full_like(x, z)]))
        out[z] = _sampled(ct.hu, at + index[:3, 3, None, None])
    return out


def _sampled(hu: Floats, at: NDArray[np.float64]) -> Floats:
    limit = np.array(hu.shape[::-1], dtype=np.float64)[:, None, None] - 1.0
    inside = np.all((at >= 0.0) & (at < limit), axis=0)
    low = np.clip(at, 0.0, limit - 1.0).astype(np.int64)
    part = np.clip(at - low, 0.0, 1.0)
    total = np.zeros(inside.shape)
    for corner in np.ndindex(2, 2, 2):
        weight = np.ones(inside.shape)
        for axis, far in enumerate(corner):
            weight *= part[axis] if far else 1.0 - part[axis]
        i, j, k = (low[axis] + far for axis, far in enumerate(corner))
        total += weight * hu[k, j, i]
    return np.where(inside, total, -1000.0).astype(np.float32)


def noisy(shifted: bool) -> Floats:
    """One of the two volumes, with noise of its own."""
    rng = np.random.default_rng(int(shifted))
    noise = rng.standard_normal((SIDE, SIDE, SIDE), dtype=np.float32)
    return np.asarray(resampled(shifted) + NOISE_HU * noise, dtype=np.float32)


def miss_mm(fixed_from_moving: NDArray[np.float64]) -> float:
    """Mean distance on the corners of +-60 mm by which a registration of the two volumes is off."""
    corners = np.array(
        [[x, y, z, 1] for x in (-60, 60) for y in (-60, 60) for z in (-60, 60)], float
    )
    wrong = fixed_from_moving @ np.linalg.inv(correction_to_pose(SHIFT).matrix())
    return float(np.linalg.norm((corners @ wrong.T - corners)[:, :3], axis=1).mean())


def timed(work: Callable[[], object], scale: float = 1.0) -> Sampler:
    """A sampler of the time of a call."""

    def sample() -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) * scale

    return sample


@contextmanager
def drr() -> Iterator[Sampler]:
    """Milliseconds of a projection."""
    volume = AttenuationVolume(resampled(False), WORLD)
    panel = panel_of(0.0, 512, 0.776)
    yield timed(lambda: volume.project(panel, np.eye(4)), 1e3)


@contextmanager
def fdk() -> Iterator[Sampler]:
    """Seconds of a reconstruction."""
    images, panels = projections()
    yield timed(
        lambda: reconstruct_fdk(
            panels,
            images,
            size=(SIDE,) * 3,
            spacing_mm=(SPACING_MM,) * 3,
            centre_mm=(0.0, 0.0, 0.0),
        )
    )


@contextmanager
def rigid() -> Iterator[Sampler]:
    """Seconds of a registration of volumes, whose answer is checked."""
    fixed, moving = noisy(False), noisy(True)

    def sample() -> float:
        begin = time.perf_counter()
        found = register_volumes(fixed, WORLD, moving, WORLD, np.eye(4))
        seconds = time.perf_counter() - begin
        if (miss := miss_mm(found.fixed_from_moving)) > MISS_MM_MAX:
            raise BenchError(f"the registration of volumes is off by {miss:.2f} mm")
        return seconds

    yield sample


def panel_of(angle_deg: float, side: int, pitch_mm: float) -> PanelGeometry:
    """A square panel at SAD 1000, SID 1500."""
    return PanelGeometry(
        source_angle_deg=angle_deg,
        sad_mm=1000.0,
        sid_mm=1500.0,
        rows=side,
        cols=side,
        pixel_pitch_mm=pitch_mm,
    )


@cache
def projections() -> tuple[Floats, list[PanelGeometry]]:
    """120 projections of the CT over a full turn, 256 x 256 pixels of 2.1 mm."""
    volume = AttenuationVolume(resampled(False), WORLD)
    panels = [panel_of(360.0 * n / ANGLES, SIDE, 2.1) for n in range(ANGLES)]
    # The exact projector: at oblique angles the slabs of a whole cube reach beyond the panel.
    return np.stack([volume.project(p, np.eye(4), exact=True) for p in panels]), panels


# --- peers -----------------------------------------------------------------------------------------------------------


def rtk_volume(itk: Any, values: Floats, spacing_mm: float) -> Any:
    """An image in RTK's fixed frame (IEC 61217): x, y, z; our rows run along -Z and our slices along +Y."""
    by_axis = np.ascontiguousarray(values[:, ::-1, :].transpose(1, 0, 2))
    image = itk.image_from_array(by_axis)
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin([-spacing_mm * (n - 1) / 2.0 for n in by_axis.shape[::-1]])
    return image


def rtk_geometry(angles_deg: list[float]) -> Any:
    """RTK's circular geometry. Its gantry angle turns about Y as ours; a source at 0 stands at +Z in both."""
    geometry = importlib.import_module("itk").RTK.ThreeDCircularProjectionGeometry.New()
    for angle in angles_deg:
        geometry.AddProjection(1000.0, 1500.0, angle, 0.0, 0.0)
    return geometry


def rtk_stack(itk: Any, side: int, pitch_mm: float, count: int) -> Any:
    """An empty stack of projections. RTK's rows run along +Y, ours along -Y."""
    source = itk.RTK.ConstantImageSource[itk.Image[itk.F, 3]].New()
    source.SetSize([side, side, count])
    source.SetSpacing([pitch_mm, pitch_mm, 1.0])
    source.SetOrigin([-pitch_mm * (side - 1) / 2.0, -pitch_mm * (side - 1) / 2.0, 0.0])
    source.SetConstant(0.0)
    source.Update()
    return source.GetOutput()


def rtk_joseph(
    attenuation: Floats, spacing_mm: float, angle_deg: float, side: int, pitch_mm: float
) -> Callable[[], Floats]:
    """RTK's Joseph projector; gives (rows, cols) as ours."""
    itk = importlib.import_module("itk")
    image = rtk_volume(itk, attenuation, spacing_mm)
    kind = itk.Image[itk.F, 3]
    geometry = rtk_geometry([angle_deg])

    def work() -> Floats:
        projector = itk.RTK.JosephForwardProjectionImageFilter[kind, kind].New()
        projector.SetGeometry(geometry)
        projector.SetInput(0, rtk_stack(itk, side, pitch_mm, 1))
        projector.SetInput(1, image)
        projector.Update()
        return np.array(itk.array_from_image(projector.GetOutput())[0, ::-1])

    return work


def attenuation() -> Floats:
    """Attenuation per mm (slices, rows, cols) of the demo's CT, by the curve that ours has without another."""
    above_air = np.maximum(resampled(False) + 1000.0, 0.0).astype(np.float32)
    return np.asarray(above_air * np.float32(2.059e-5))


@contextmanager
def peer_joseph() -> Iterator[Sampler]:
    """RTK's Joseph projector."""
    yield timed(rtk_joseph(attenuation(), SPACING_MM, 0.0, 512, 0.776), 1e3)


def siddon_transform(itk: Any, corner_mm: tuple[float, float, float]) -> Any:
    """The pose of ITK's projector about the isocentre; its CT begins with a corner at the origin, DICOM axes."""
    transform = itk.Euler3DTransform[itk.D].New()
    transform.SetComputeZYX(True)
    transform.SetIdentity()
    transform.SetCenter(list(corner_mm))
    return transform


def siddon_ray_caster(itk: Any, angle_deg: float, transform: Any) -> Any:
    """ITK's Siddon-Jacobs rays. At angle 0 its source stands before the patient, as ours; angles run alike."""
    kind = itk.Image[itk.F, 3]
    rays = itk.SiddonJacobsRayCastInterpolateImageFunction[kind, itk.D].New()
    rays.SetProjectionAngle(math.radians(angle_deg))
    rays.SetFocalPointToIsocenterDistance(1000.0)
    rays.SetThreshold(0.0)
    rays.SetTransform(transform)
    rays.Initialize()
    return rays


def siddon_jacobs(
    mu: Floats, spacing_mm: float, angle_deg: float, side: int, pitch_mm: float
) -> Callable[[], Floats]:
    """ITK's Siddon-Jacobs projector on a volume about the isocentre; gives (rows, cols) as ours, line integrals."""
    itk = importlib.import_module("itk")
    kind = itk.Image[itk.F, 3]
    volume = itk.image_from_array(mu)
    volume.SetSpacing([spacing_mm] * 3)
    depth, height, width = (spacing_mm * n / 2.0 for n in mu.shape)
    rays = siddon_ray_caster(itk, angle_deg, siddon_transform(itk, (width, height, depth)))
    lengths = ray_lengths_mm(side, side, pitch_mm)

    def work() -> Floats:
        resample = itk.ResampleImageFilter[kind, kind].New()
        resample.SetInput(volume)
        resample.SetDefaultPixelValue(0)
        resample.SetTransform(itk.IdentityTransform[itk.D, 3].New())
        resample.SetInterpolator(rays)
        resample.SetSize([side, side, 1])
        resample.SetOutputSpacing([pitch_mm, pitch_mm, 1.0])
        first = -pitch_mm * (side - 1) / 2.0
        resample.SetOutputOrigin([first, first, -1500.0])
        resample.Update()
        # Its rows run upwards, and its sums are over the ray parameter from source to pixel.
        image: Floats = np.array(itk.array_from_image(resample.GetOutput())[0, ::-1])
        return np.asarray(image * lengths, dtype=np.float32)

    return work


def ray_lengths_mm(rows: int, cols: int, pitch_mm: float) -> Floats:
    """From the source to every pixel of a central panel at 1500 mm."""
    x = (np.arange(cols) - (cols - 1) / 2.0) * pitch_mm
    y = (np.arange(rows) - (rows - 1) / 2.0) * pitch_mm
    return np.sqrt(1500.0**2 + x[None, :] ** 2 + y[:, None] ** 2).astype(np.float32)


@contextmanager
def peer_siddon_jacobs() -> Iterator[Sampler]:
    """ITK's Siddon-Jacobs projector."""
    if not hasattr(importlib.import_module("itk"), "SiddonJacobsRayCastInterpolateImageFunction"):
        raise BenchError(
            "ITK has no Siddon-Jacobs rays here: install itk-twoprojectionregistration"
        )
    yield timed(siddon_jacobs(attenuation(), SPACING_MM, 0.0, 512, 0.776), 1e3)


class Plastimatch:
    """plastimatch's projector: a program that reads the volume from a file and says how long it drew."""

    def __init__(self, mu: Floats, spacing_mm: float, folder: Path) -> None:
        """Write the volume, which lies about the isocentre with DICOM axes."""
        self._folder = folder
        self._program = str(distribution("plastimatch").locate_file("plastimatch/bin/plastimatch"))
        low = " ".join(str(-spacing_mm * (n - 1) / 2.0) for n in mu.shape[::-1])
        size = " ".join(str(n) for n in mu.shape[::-1])
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = {low}\n"
            f"ElementSpacing = {spacing_mm} {spacing_mm} {spacing_mm}\nDimSize = {size}\n"
            "ElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
        )
        (folder / "volume.mha").write_bytes(header.encode() + mu.astype("<f4").tobytes())

    def project(
        self, algorithm: str, angle_deg: float, side: int, pitch_mm: float
    ) -> tuple[Floats, float]:
        """Line integrals (rows, cols) as ours, and the seconds without reading and writing that it tells itself."""
        turn = math.radians(angle_deg)
        out = subprocess.run(
            [
                self._program, "drr", "-i", algorithm, "-t", "pfm", "-P", "none",
                "-n", f"{math.sin(turn)} {-math.cos(turn)} 0", "--vup", "0 0 1",
                "--sad", "1000", "--sid", "1500", "-o", "0 0 0",
                "-r", f"{side} {side}", "-z", f"{side * pitch_mm} {side * pitch_mm}",
                "-O", str(self._folder / "drr_"), str(self._folder / "volume.mha"),
            ],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        told = {
            what: float(value) for what, value in re.findall(r"(I/O|Total) time: ([0-9.]+)", out)
        }
        with (self._folder / "drr_0000.pfm").open("rb") as file:
            head = [file.readline().split() for _ in range(3)]
            cols, rows = (int(n) for n in head[1])
            image = np.frombuffer(file.read(), dtype="<f4").reshape(rows, cols)
        # Its path lengths are in cm.
        return (10.0 * image).astype(np.float32), told["Total"] - told["I/O"]


@contextmanager
def peer_plastimatch() -> Iterator[Sampler]:
    """plastimatch's exact projector; reading the volume and writing the image are not counted."""
    with tempfile.TemporaryDirectory() as folder:
        program = Plastimatch(attenuation(), SPACING_MM, Path(folder))
        yield lambda: program.project("exact", 0.0, 512, 0.776)[1] * 1e3


@contextmanager
def peer_fdk() -> Iterator[Sampler]:
    """RTK's FDK."""
    yield timed(rtk_fdk())


def rtk_fdk() -> Callable[[], Floats]:
    """RTK's FDK on the same projections; gives (slices, rows, cols) as ours."""
    itk = importlib.import_module("itk")
    images, panels = projections()
    kind = itk.Image[itk.F, 3]
    stack = itk.image_from_array(np.ascontiguousarray(images[:, ::-1, :]))
    stack.SetSpacing([2.1, 2.1, 1.0])
    stack.SetOrigin([-2.1 * (SIDE - 1) / 2.0, -2.1 * (SIDE - 1) / 2.0, 0.0])
    geometry = rtk_geometry([p.source_angle_deg for p in panels])

    def work() -> Floats:
        filter_ = itk.RTK.FDKConeBeamReconstructionFilter[kind].New()
        filter_.SetInput(0, rtk_volume(itk, np.zeros((SIDE,) * 3, dtype=np.float32), SPACING_MM))
        filter_.SetInput(1, stack)
        filter_.SetGeometry(geometry)
        filter_.Update()
        return np.array(itk.array_from_image(filter_.GetOutput()).transpose(1, 0, 2)[:, ::-1])

    return work


@contextmanager
def peer_elastix() -> Iterator[Sampler]:
    """elastix with its own rigid settings."""
    itk = importlib.import_module("itk")
    images = []
    for shifted in (False, True):
        image = itk.image_from_array(noisy(shifted))
        image.SetSpacing([SPACING_MM] * 3)
        images.append(image)
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(parameters.GetDefaultParameterMap("rigid"))
    yield timed(
        lambda: itk.elastix_registration_method(
            images[0], images[1], parameter_object=parameters, log_to_console=False
        )
    )


@contextmanager
def peer_simpleitk() -> Iterator[Sampler]:
    """SimpleITK: correlation on a tenth of the voxels."""
    sitk = importlib.import_module("SimpleITK")
    fixed, moving = (sitk.GetImageFromArray(noisy(shifted)) for shifted in (False, True))
    for image in (fixed, moving):
        image.SetSpacing([SPACING_MM] * 3)

    def work() -> None:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsCorrelation()
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2, 1, 0])
        start = sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform())
        method.SetInitialTransform(start)
        method.Execute(fixed, moving)

    yield timed(work)


Prepare = Callable[[], AbstractContextManager[Sampler]]

METRICS = (
    Metric(
        "drr_ms",
        "ms",
        "lower",
        "a DRR of 512 x 512 from 256 cubed of the demo's CT",
        drr,
        samples=15,
        peers=(
            Peer("RTK Joseph", "itk", peer_joseph, samples=5),
            Peer("ITK Siddon-Jacobs", "itk", peer_siddon_jacobs, samples=5),
            Peer("plastimatch exact", "plastimatch", peer_plastimatch, samples=5),
        ),
    ),
    Metric(
        "fdk_s",
        "s",
        "lower",
        "cone-beam reconstruction of 120 projections of 256 squared to 256 cubed",
        fdk,
        samples=3,
        peers=(Peer("RTK FDK", "itk", peer_fdk, samples=2),),
    ),
    Metric(
        "register_3d_s",
        "s",
        "lower",
        "rigid registration of two volumes of 256 cubed, noise of 30 HU",
        rigid,
        samples=3,
        peers=(
            Peer("elastix", "itk", peer_elastix, samples=2),
            Peer("SimpleITK correlation", "SimpleITK", peer_simpleitk, samples=1),
        ),
    ),
)
