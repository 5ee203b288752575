"""Our projections against those of RTK, ITK and plastimatch, on the demo's real CT."""

from pathlib import Path

import numpy as np
import pytest

itk = pytest.importorskip("itk", reason="RTK comes with the extra `peers`")

from igrt_hw._core import AttenuationVolume  # noqa: E402
from igrt_hw.bench import imaging_peers as peers  # noqa: E402

if not hasattr(itk, "RTK"):
    pytest.skip("itk-rtk comes with the extra `peers`", allow_module_level=True)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_a_projection_is_within_half_a_percent_of_joseph_in_rtk(angle):
    volume = AttenuationVolume(peers.resampled(False), peers.WORLD)
    mu = np.maximum(peers.resampled(False) + 1000.0, 0.0).astype(np.float32) * np.float32(2.059e-5)
    ours = volume.project(peers.panel_of(angle, 512, 0.776), np.eye(4))
    theirs = peers.rtk_joseph(mu, peers.SPACING_MM, angle, 512, 0.776)()
    assert np.abs(ours - theirs).max() < 0.005 * theirs.max()


@pytest.fixture(scope="module")
def volume() -> AttenuationVolume:
    return AttenuationVolume(peers.resampled(False), peers.WORLD)


@pytest.fixture(scope="module")
def plastimatch(tmp_path_factory: pytest.TempPathFactory) -> peers.Plastimatch:
    pytest.importorskip("plastimatch", reason="plastimatch comes with the extra `peers`")
    folder: Path = tmp_path_factory.mktemp("plastimatch")
    return peers.Plastimatch(peers.attenuation(), peers.SPACING_MM, folder)


@pytest.mark.parametrize("angle", [0.0, 30.0, 85.0])
def test_an_exact_projection_is_within_half_a_percent_of_plastimatch(volume, plastimatch, angle):
    ours = volume.project(peers.panel_of(angle, 512, 0.776), np.eye(4), exact=True)
    theirs, _ = plastimatch.project("exact", angle, 512, 0.776)
    assert np.abs(ours - theirs).max() < 0.005 * theirs.max()


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_an_exact_projection_is_within_half_a_percent_of_siddon_jacobs_in_itk_in_the_mean(
    volume, angle
):
    """ITK gives each stretch of a ray the voxel behind it, so that single pixels differ by more."""
    if not hasattr(itk, "SiddonJacobsRayCastInterpolateImageFunction"):
        pytest.skip("itk-twoprojectionregistration comes with the extra `peers`")
    ours = volume.project(peers.panel_of(angle, 512, 0.776), np.eye(4), exact=True)
    theirs = peers.siddon_jacobs(peers.attenuation(), peers.SPACING_MM, angle, 512, 0.776)()
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.005 * theirs.max()
    for mirrored in (theirs[::-1], theirs[:, ::-1]):
        assert np.sqrt(np.mean((ours - mirrored) ** 2)) > 0.05 * theirs.max()
