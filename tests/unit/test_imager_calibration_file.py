"""What was measured of an imager, as a file: it comes back as it was written, and nonsense is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from igrt_hw.guidance.imager_calibration import (
    ImagerCalibration,
    PanelLag,
    UnstablePixels,
    load_imager_calibration,
    save_imager_calibration,
)
from igrt_hw.guidance.imager_geometry import FlexMap, ImagerPose
from igrt_hw.guidance.panel import CalibrationOf
from igrt_hw.guidance.panel_lag import LagModel
from igrt_hw.guidance.refusal import InputRefused

POSE = ImagerPose(source_angle_deg=0.0, sad_mm=1000.0, sid_mm=1500.0, panel_lateral_mm=0.3)
FLEX = FlexMap(imager="kV", calibrated_utc="2026-01-01T00:00:00Z", phantom="balls", poses=(POSE,))


def known() -> ImagerCalibration:
    mask = np.zeros((192, 256), dtype=np.bool_)
    mask[3, 7] = mask[100, 200] = True
    return ImagerCalibration(
        imager="kV",
        made_utc="2026-01-01T00:00:00Z",
        flex=FLEX,
        lag=PanelLag.of(LagModel((0.004, 0.001), (0.3, 2.2))),
        unstable=(UnstablePixels.of(mask, 4),),
    )


def test_a_calibration_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "imager.json"
    save_imager_calibration(known(), path)
    again = load_imager_calibration(path)
    assert again == known()
    flickering = again.defects(4)
    assert flickering is not None
    assert flickering.sum() == 2
    assert flickering[100, 200]
    assert again.defects(2) is None
    assert again.lag is not None
    assert again.lag.model().share_after(0.0) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"lag": {"shares": [0.5], "decay_s": [1.0]}}, "not within"),
        ({"lag": {"shares": [0.01], "decay_s": [1.0, 2.0]}}, "one share"),
        (
            {"unstable": [{"binning": 4, "rows": 192, "cols": 256, "pixels": [[192, 0]]}]},
            "is not on 192 x 256",
        ),
        ({"flux": 1}, "Extra inputs"),
    ],
)
def test_a_file_that_holds_nonsense_is_refused(
    tmp_path: Path, change: dict[str, object], word: str
) -> None:
    path = tmp_path / "imager.json"
    path.write_text(json.dumps(known().model_dump(mode="json") | change))
    with pytest.raises(InputRefused, match=word):
        load_imager_calibration(path)


def test_no_file_is_refused_and_not_taken_for_an_imager_as_drawn(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="cannot be read"):
        load_imager_calibration(tmp_path / "none.json")


def test_another_panel_mode_has_its_own_calibration() -> None:
    still, moving = (
        CalibrationOf(kvp=80.0, beam_filter="none", binning=2, mode=mode)
        for mode in ("radiographic", "fluoroscopic")
    )
    assert "panel mode" in still.problem_with(moving)
    assert still.problem_with(still) == ""
