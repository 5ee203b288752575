"""The two projectors against closed forms, against an independent ray caster, and against each other on a real CT."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import igrt_hw
from igrt_hw._core import AttenuationVolume, ImagingInputError, PanelGeometry
from igrt_hw.guidance.ct import load_ct

MU_WATER_PER_MM = 0.02059
CT_FOLDER = Path(igrt_hw.__file__).parent / "demo" / "thorax" / "ct"
AFFINE = np.array(
    # columns right, slices towards the head, rows downwards, as a supine CT in the IEC patient frame
    [[2.0, 0, 0, -63.0], [0, 0, 3.0, -58.5], [0, -2.0, 0, 63.0], [0, 0, 0, 1.0]]
)


def panel(
    angle: float, rows: int = 60, cols: int = 80, pitch: float = 4.0, **more: float
) -> PanelGeometry:
    return PanelGeometry(
        source_angle_deg=angle,
        sad_mm=1000.0,
        sid_mm=1500.0,
        rows=rows,
        cols=cols,
        pixel_pitch_mm=pitch,
        **more,
    )


def tilted_pose() -> NDArray[np.float64]:
    a, b = np.radians(4.0), np.radians(-3.0)
    rz = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    pose = np.eye(4)
    pose[:3, :3] = rz @ rx
    pose[:3, 3] = (5.0, -8.0, 3.0)
    return pose


def pixel_rays(
    angle_deg: float, rows: int, cols: int, pitch: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Source (3,) and pixel centres (rows, cols, 3) in the fixed frame, from the conventions."""
    a = np.radians(angle_deg)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    x = (np.arange(cols) - (cols - 1) / 2) * pitch
    y = ((rows - 1) / 2 - np.arange(rows)) * pitch
    grid = np.stack(np.broadcast_arrays(x[None, :], y[:, None], -500.0), axis=-1)
    return turn @ np.array([0.0, 0.0, 1000.0]), grid @ turn.T


def cast_trilinear(
    mu: NDArray[np.float32],
    index_from_fixed: NDArray[np.float64],
    source: NDArray[np.float64],
    pixels: NDArray[np.float64],
    step_mm: float = 0.5,
) -> NDArray[np.float64]:
    """Line integrals by small steps through trilinear samples; nothing shared with the code under test."""  # fmt: skip
    direction = pixels - source
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    direction = direction / length
    total = np.zeros(pixels.shape[:2])
    padded = np.pad(mu, 1)
    size = np.array(mu.shape[::-1])
    for depth in np.arange(750.0, 1250.0, step_mm):
        points = source + depth * direction
        index = points @ index_from_fixed[:3, :3].T + index_from_fixed[:3, 3]
        inside = np.all((index > -1) & (index < size), axis=-1)
        at = index[inside] + 1.0
        low = np.floor(at).astype(int)
        f = at - low
        sample = np.zeros(len(at))
        for dz in (0, 1):
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (
                        (f[:, 0] if dx else 1 - f[:, 0])
                        * (f[:, 1] if dy else 1 - f[:, 1])
                        * (f[:, 2] if dz else 1 - f[:, 2])
                    )
                    sample += weight * padded[low[:, 2] + dz, low[:, 1] + dy, low[:, 0] + dx]
        total[inside] += sample * step_mm
    return total


def blob(seed: int = 7) -> NDArray[np.float32]:
    """A smooth asymmetric body (40, 64, 64) in HU, air outside."""
    z, y, x = np.meshgrid(np.arange(40), np.arange(64), np.arange(64), indexing="ij")
    hu = np.full(z.shape, -1000.0)
    hu[((x - 31) / 26) ** 2 + ((y - 33) / 20) ** 2 + ((z - 19) / 18) ** 2 < 1] = 0.0
    rng = np.random.default_rng(seed)
    for _ in range(12):
        cx, cy, cz, r = (
            rng.uniform(14, 50),
            rng.uniform(18, 48),
            rng.uniform(6, 34),
            rng.uniform(2, 5),
        )
        hu += rng.uniform(200, 900) * np.exp(
            -((x - cx) ** 2 + (y - cy) ** 2 + (1.5 * (z - cz)) ** 2) / (2 * r**2)
        )
    return np.clip(hu, -1000, 2000).astype(np.float32)


def test_exact_projector_measures_a_water_box_along_its_axis() -> None:
    hu = np.zeros((40, 64, 64), dtype=np.float32)
    image = AttenuationVolume(hu, AFFINE).project(panel(0, rows=61, cols=81), np.eye(4), exact=True)
    # The central ray passes 64 rows of 2 mm.
    assert image[30, 40] == pytest.approx(128.0 * MU_WATER_PER_MM, rel=1e-5)


def test_both_projectors_see_a_heavy_voxel_on_the_pixel_of_a_ball_bearing() -> None:
    hu = np.full((40, 64, 64), -1000.0, dtype=np.float32)
    hu[29, 20, 45] = 3000.0
    volume, pose = AttenuationVolume(hu, AFFINE), tilted_pose()
    centre = (pose @ AFFINE @ np.array([45.0, 20.0, 29.0, 1.0]))[:3]
    for angle in (-150, -90, -45, 0, 30, 90, 180):
        geometry = panel(angle, rows=240, cols=320, pitch=1.0)
        (col, row) = geometry.pixels_of([centre])[0]
        for exact in (False, True):
            image = volume.project(geometry, pose, exact=exact).astype(np.float64)
            rows, cols = np.indices(image.shape)
            weight = image.sum()
            assert (cols * image).sum() / weight == pytest.approx(col, abs=0.3)
            assert (rows * image).sum() / weight == pytest.approx(row, abs=0.3)


@pytest.mark.parametrize("angle", [0.0, 37.0, 90.0, -135.0])
def test_fast_projector_agrees_with_an_independent_ray_caster(angle: float) -> None:
    hu, pose = blob(), tilted_pose()
    source, pixels = pixel_rays(angle, 60, 80, 4.0)
    mu = (np.maximum(hu + 1000.0, 0.0) * (MU_WATER_PER_MM / 1000.0)).astype(np.float32)
    truth = cast_trilinear(mu, np.linalg.inv(pose @ AFFINE), source, pixels)
    fast = AttenuationVolume(hu, AFFINE).project(panel(angle), pose)
    # Joseph samples once a slab where the caster samples every 0.5 mm; at 45 degrees a slab is 2.8 mm of path.
    assert np.sqrt(np.mean((fast - truth) ** 2)) < 0.006 * truth.max()
    assert np.abs(fast - truth).max() < 0.08 * truth.max()


def test_fast_and_exact_agree_on_a_real_ct() -> None:
    ct = load_ct(sorted(CT_FOLDER.glob("*.dcm")))
    volume = AttenuationVolume(ct.hu, ct.iec_patient_from_index())
    pose = np.eye(4)
    pose[:3, 3] = (68.0, 185.0, 40.0)
    for angle in (0, 45, 90):
        geometry = panel(angle, rows=192, cols=256, pitch=1.552)
        fast = volume.project(geometry, pose)
        exact = volume.project(geometry, pose, exact=True)
        assert np.sqrt(np.mean((fast - exact) ** 2)) < 0.005 * exact.max()
        assert np.mean(np.abs(fast - exact)) < 0.004 * exact.max()


def test_a_beam_along_the_patient_is_projected_too() -> None:
    """Couch at 90 degrees, source at 90 degrees: the beam runs from head to foot, across the slices."""
    pose = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    volume = AttenuationVolume(blob(), AFFINE)
    fast, exact = (volume.project(panel(90), pose, exact=e) for e in (False, True))
    assert np.sqrt(np.mean((fast - exact) ** 2)) < 0.012 * exact.max()


def test_voxels_outside_the_body_do_not_attenuate() -> None:
    hu = np.zeros((40, 64, 64), dtype=np.float32)
    body = np.zeros(hu.shape, dtype=bool)
    body[:, 16:48, 16:48] = True
    image = AttenuationVolume(hu, AFFINE, body=body).project(
        panel(0, rows=61, cols=81), np.eye(4), exact=True
    )
    assert image[30, 40] == pytest.approx(64.0 * MU_WATER_PER_MM, rel=1e-5)


def test_the_hu_curve_can_be_replaced() -> None:
    hu = np.full((40, 64, 64), 500.0, dtype=np.float32)
    volume = AttenuationVolume(hu, AFFINE, curve=[(-1000.0, 0.0), (0.0, 0.02), (1000.0, 0.06)])
    image = volume.project(panel(0, rows=61, cols=81), np.eye(4), exact=True)
    assert image[30, 40] == pytest.approx(128.0 * 0.04, rel=1e-5)


@pytest.mark.parametrize(
    ("curve", "word"),
    [
        ([(0.0, 1.0)], "two points"),
        ([(0.0, 1.0), (0.0, 2.0)], "increase"),
        ([(0.0, 2.0), (1.0, 1.0)], "not decrease"),
    ],
)
def test_a_curve_that_is_no_curve_is_refused(curve: list[tuple[float, float]], word: str) -> None:
    with pytest.raises(ImagingInputError, match=word):
        AttenuationVolume(blob(), AFFINE, curve=curve)


def test_volumes_that_cannot_be_projected_are_refused() -> None:
    hu = blob()
    bad = hu.copy()
    bad[3, 3, 3] = np.nan
    with pytest.raises(ImagingInputError, match="finite"):
        AttenuationVolume(bad, AFFINE)
    with pytest.raises(ImagingInputError, match="nothing in it"):
        AttenuationVolume(np.full(hu.shape, -1000.0, dtype=np.float32), AFFINE)
    sheared = AFFINE.copy()
    sheared[0, 2] = 1.0
    with pytest.raises(ImagingInputError, match="orthogonal"):
        AttenuationVolume(hu, sheared)


def test_poses_that_cannot_be_projected_are_refused() -> None:
    volume = AttenuationVolume(blob(), AFFINE)
    with pytest.raises(ImagingInputError, match="not a rigid transform"):
        volume.project(panel(0), 2.0 * np.eye(4))
    far = np.eye(4)
    far[2, 3] = 980.0
    with pytest.raises(ImagingInputError, match="behind the source or beyond the panel"):
        volume.project(panel(0), far)
