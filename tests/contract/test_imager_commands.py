"""`igrt imager`: ball-phantom images of the simulator become the calibration of the service, and RTK's files."""

import re
import threading
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from imaging_room import Room
from phantom_room import PANEL, nominal, true_pixels
from typer.testing import CliRunner, Result

from igrt_hw.cli import app
from igrt_hw.devices.frames import View as Wanted
from igrt_hw.guidance.captured import load_views, save_views
from igrt_hw.guidance.imager_calibration import load_imager_calibration
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.guidance.registration import View
from igrt_hw.server.imager_measurement import phantom_views

ANGLES = (0.0, 30.0, 60.0)
FIELD = (-130.0, 130.0, -130.0, 130.0)
POINTS = np.array([[0, 0, 0], [60, 0, 0], [0, 60, 0], [0, 0, 60], [-60, -60, -60]], dtype=float)


@cache
def taken() -> tuple[Room, list[View], float]:
    """The balls at the isocentre, seen by a calibration's own taker."""
    room = Room(
        patient="phantom:balls",
        seed=3,
        physics={"flex": 1.0},
        setup_error_mm=0.0,
        setup_error_deg=0.0,
    )
    views, dose = phantom_views(
        room.imager,  # type: ignore[arg-type]  # as much of a driver as it needs
        Wanted(0.0, 80.0, 200.0, 25.0, binning=2, field_mm=FIELD),
        ANGLES,
        threading.Event(),
        lambda *_: None,
        clock_us=lambda: room.room.now_us,
    )
    return room, views, dose


def igrt(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.slow
def test_images_of_the_balls_become_the_calibration_that_the_service_loads(tmp_path: Path) -> None:
    room, views, dose = taken()
    assert dose == pytest.approx(room.imager.telemetry.dose_area_uGycm2, abs=4)
    save_views(tmp_path / "balls.json", views)
    out = tmp_path / "imager.json"
    told = igrt("imager", "calibrate", tmp_path / "balls.json", "--out", out, "--imager", "kV 1")
    assert told.exit_code == 0, told.output
    assert told.output.count("px rms") == len(ANGLES)
    assert "silent between" in told.output
    known = load_imager_calibration(out)  # as `igrt serve --imager-calibration` does
    assert known.imager == "kV 1"
    assert known.flex is not None
    assert len(known.flex.covariance) == len(ANGLES)
    assert max(known.flex.rms_residual_px) < 0.1
    before, after = [], []
    for angle in (*ANGLES, 15.0):  # and between two of them
        truth = true_pixels(room.room.perform("imager.view", source_deg=angle), POINTS)
        before.append(nominal(angle).geometry(PANEL).pixels_of(POINTS) - truth)
        after.append(known.flex.geometry(angle, PANEL).pixels_of(POINTS) - truth)
    per_mm = PANEL.pixel_pitch_mm / 1.5
    assert np.abs(before).max() * per_mm > 0.2, "the arms were not bent"
    assert np.abs(after).max() * per_mm < 0.06
    shown = igrt("imager", "show", out)
    assert "flex map of 3 angles" in shown.output
    assert "no lag measured" in shown.output


@pytest.mark.slow
def test_a_calibration_goes_out_to_rtk_and_comes_back_the_same(tmp_path: Path) -> None:
    save_views(tmp_path / "balls.json", taken()[1][:1])
    igrt("imager", "calibrate", tmp_path / "balls.json", "--out", tmp_path / "a.json")
    assert (
        igrt("imager", "rtk-export", tmp_path / "a.json", "--out", tmp_path / "g.xml").exit_code
        == 0
    )
    back = igrt("imager", "rtk-import", tmp_path / "g.xml", "--out", tmp_path / "b.json")
    assert back.exit_code == 0, back.output
    assert "without covariance" in back.output
    first = load_imager_calibration(tmp_path / "a.json").flex
    again = load_imager_calibration(tmp_path / "b.json").flex
    assert first is not None
    assert again is not None
    assert again.covariance == ()
    # RTK's gantry angle turns with the panel's roll, so that the numbers differ and the projection does not.
    for pose, other in zip(first.poses, again.poses, strict=True):
        np.testing.assert_allclose(
            pose.geometry(PANEL).pixels_of(POINTS),
            other.geometry(PANEL).pixels_of(POINTS),
            atol=1e-6,
        )


@pytest.mark.slow
def test_what_cannot_be_a_calibration_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    _, views, _ = taken()
    path = tmp_path / "v.json"
    save_views(path, [View(np.asarray(views[0].image)[:, ::-1], views[0].geometry)])
    cases = (
        (("imager", "calibrate", path, "--out", tmp_path / "x.json"), "mirror image"),
        (("imager", "calibrate", path, "--out", tmp_path / "x.json", "--place=1,2"), "6 numbers"),
        (
            ("imager", "calibrate", path, "--out", tmp_path / "x.json", "--phantom=sphere"),
            "known are",
        ),
        (("imager", "rtk-import", path, "--out", tmp_path / "x.json"), "not XML"),
        (("imager", "show", path), "no calibration"),
    )
    for words, sentence in cases:
        told = igrt(*words)
        assert isinstance(told.exception, InputRefused), (words, told.output)
        assert re.search(sentence, str(told.exception)), told.exception
        assert not (tmp_path / "x.json").exists()
    assert len(load_views(path)) == 1


@pytest.mark.parametrize("angles", ["0:30", "a:b:c", "0:400:10", "0:30:0", "30:0:5"])
def test_angles_that_are_none_are_refused_before_the_port_is_opened(
    angles: str, tmp_path: Path
) -> None:
    told = igrt("imager", "take", "/dev/null", "--out", tmp_path / "v.json", f"--angles={angles}")
    assert isinstance(told.exception, InputRefused)
