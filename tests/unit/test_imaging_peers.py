"""Our projections and reconstructions against RTK's, on the demo's real CT."""

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
