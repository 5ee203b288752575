"""The images in the terminal: what is shown is what the keys say; a match by hand goes by the supervisor's rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from igrt_hw.geometry import Correction
from igrt_hw.models.commands import RegisterImages
from igrt_hw.models.proposal import MarkerResidual
from igrt_hw.models.status import LoopState
from igrt_tui import image_marks, picture, rehearsal
from igrt_tui.picture import Crop
from igrt_tui.view_model.images import Box, Nudge
from igrt_tui.widgets.cells import Cells

S = LoopState
PIXELS = np.arange(96 * 128, dtype=np.uint16).reshape(96, 128)


# Pixels


@pytest.mark.parametrize("size", [(48, 64), (31, 41), (96, 128), (150, 200)])
@pytest.mark.parametrize("zoom", [1.0, 1.5, 4.0, 12.0])
def test_what_is_shown_is_the_mean_of_what_is_there(size: tuple[int, int], zoom: float) -> None:
    crop = Crop(zoom, 0.3, 0.6)
    shown = picture.cropped(PIXELS, size, crop)
    assert shown.shape == size
    left, right, top, bottom = crop.edges()
    part = PIXELS[
        int(top * 96) : int(np.ceil(bottom * 96)), int(left * 128) : int(np.ceil(right * 128))
    ]
    assert int(part.min()) - 1 <= shown.min()
    assert shown.max() <= int(part.max()) + 1
    assert abs(float(shown.mean()) - float(part.mean())) < 200


def test_the_whole_at_its_own_size_is_the_image_itself() -> None:
    np.testing.assert_array_equal(picture.cropped(PIXELS, (96, 128), Crop()), PIXELS)


def test_a_zoomed_picture_never_leaves_the_image() -> None:
    crop = Crop(4.0)
    for _ in range(40):
        crop = crop.moved(0.3, -0.3)
    left, right, top, bottom = crop.edges()
    assert (left, right, top, bottom) == pytest.approx((0.75, 1.0, 0.0, 0.25))


def test_a_point_keeps_its_place_through_zoom_and_pan() -> None:
    crop = Crop(2.0, 0.25, 0.75)
    assert crop.place(0.25, 0.75) == pytest.approx((0.5, 0.5))
    assert crop.place(0.0, 0.5) == pytest.approx((0.0, 0.0))


def test_points_beside_what_is_shown_are_not_drawn() -> None:
    view = rehearsal.images()[0]
    points = (image_marks.Landmark(name="T8", kind="vertebra", column=10.0, row=10.0),)
    rgb = image_marks.coloured(np.zeros((40, 40), dtype=np.float32))
    whole = "".join(image_marks.with_points(rgb, points, view, Crop()).text)
    corner = "".join(image_marks.with_points(rgb, points, view, Crop(4.0, 1.0, 1.0)).text)
    assert "T8" in whole
    assert "T8" not in corner


def residual(name: str, distance_mm: float | None, used: bool = True) -> MarkerResidual:
    return MarkerResidual(
        name=name, views=2, reprojection_px=0.4, displacement_mm=None, distance_mm=distance_mm,
        sigma_mm=None, used=used,
    )  # fmt: skip


def test_beside_a_marker_stands_how_far_it_lies_and_whether_it_was_left_out() -> None:
    points = tuple(
        image_marks.Landmark(name=name, kind=kind, column=9.0, row=9.0)
        for name, kind in (("M1", "marker"), ("M2", "marker"), ("M3", "marker"), ("T8", "vertebra"))
    )
    markers = (residual("M1", 0.31), residual("M2", 2.4, used=False), residual("M3", None))
    told = [point.name for point in image_marks.with_residuals(points, markers)]
    assert told == ["M1 0.3 mm", "M2 2.4 mm LEFT OUT", "M3 not found", "T8"]


async def test_residuals_of_markers_are_drawn_at_the_registered_position_only(
    terminal: Any,
) -> None:
    found = rehearsal.registration().model_copy(
        update={"method": "markers", "markers": (residual("M1", 0.31),)}
    )
    async with terminal(rehearsal.status(S.REGISTERED, registration=found)) as t:
        await t.press("f3")
        await t.settle()
        assert "M1 0.3 mm" in drawn(t)
        await t.press("d")  # the DRR goes to the planned position: nothing was fitted there
        await t.settle()
        assert "M1" in drawn(t)
        assert "M1 0.3 mm" not in drawn(t)


def drawn(t: Any) -> str:
    grid = t.app.screen.query_one("#pixels-one", Cells).grid
    return "\n".join(grid.text) if grid else ""


def test_a_region_covers_the_pixels_that_its_outline_holds() -> None:
    assert Box(0.25, 0.5, 0.75, 1.0).corners_px(100, 200) == (
        (50, 50),
        (150, 50),
        (150, 100),
        (50, 100),
    )
    small = Box()
    for _ in range(99):
        small = small.grown(-0.02, -0.02)
    assert small.right - small.left == pytest.approx(0.1)


def test_a_nudge_stays_within_what_a_match_may_have() -> None:
    nudge = Nudge((0.0,) * 6, axis=2, step=5.0)  # type: ignore[arg-type]
    for _ in range(20):
        nudge = nudge.moved(1)
    assert nudge.correction == Correction(0.0, 0.0, 30.0, 0.0, 0.0, 0.0)


# Keys


async def test_zoom_and_pan_change_the_picture_and_0_brings_it_back(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f3")
        cells = t.app.screen.query_one("#pixels-one", Cells)
        whole = cells.grid
        await t.press("z", "right")
        assert not whole.same(cells.grid)
        assert "zoom x1.5" in t.text()
        await t.press("0")
        assert whole.same(cells.grid)


async def test_points_of_the_plan_are_named_on_the_image_and_can_be_hidden(terminal: Any) -> None:
    async with terminal() as t:
        await t.press("f3")
        cells = t.app.screen.query_one("#pixels-one", Cells)
        assert "T8" in "".join(cells.grid.text)
        assert "M1" in "".join(cells.grid.text)
        await t.press("k")
        assert "T8" not in "".join(cells.grid.text)


async def test_a_match_by_hand_starts_at_the_registration_and_the_drr_follows(
    terminal: Any,
) -> None:
    async with terminal(rehearsal.status(S.REGISTERED)) as t:
        await t.press("f3", "n", "2", "right", "right")
        assert "▶lng +8.9" in t.text()
        assert "(1: alike)  0.930 0.930" in t.text()
        shown = t.app.pictures.nudged["setup-1"]
        assert shown.correction.longitudinal_mm == pytest.approx(8.9)
        await t.press("full_stop", "left")
        assert "▶lng +7.9" in t.text()
        assert t.supervisor.sent == []


async def test_a_match_by_hand_needs_a_reason_and_words_and_f8(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.REGISTERED)) as t:
        await t.press("f3", "n", "1", "right", "h")
        assert t.is_on("ByHand")
        await t.press("f8")
        assert "choose a reason" in t.text()
        await t.press("2", "f8")
        assert "say in your words" in t.text()
        await t.press("enter")
        await t.type("ribs")
        await t.press("enter")
        assert t.sent("register") == []
        await t.press("f8")
        (asked,) = t.sent("register")
        assert isinstance(asked, RegisterImages)
        assert asked.by_hand is not None
        assert asked.by_hand.correction.lateral_mm == pytest.approx(5.7)
        assert asked.by_hand.reason == "automatic match refused"


async def test_leaving_the_match_by_hand_sends_nothing(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.REGISTERED)) as t:
        await t.press("f3", "n", "right", "n", "h")
        assert t.is_on("Images")
        assert t.supervisor.sent == []


async def test_a_drawn_region_is_what_the_registration_is_asked_for(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IMAGED, registration=None)) as t:
        await t.press("f3", "o", "right", "right", "greater_than_sign", "g")
        (asked,) = t.sent("register")
        (region,) = asked.regions
        assert region.image_uid == "setup-1"
        columns = [corner[0] for corner in region.corners_px]
        assert (min(columns), max(columns)) == pytest.approx((0.27 * 128, 0.81 * 128))


async def test_without_images_nothing_can_be_matched_or_drawn(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.SETUP)) as t:
        for key in ("n", "o"):
            await t.press("f3", key)
            assert "no images" in t.text()


async def test_hold_works_in_the_middle_of_a_match_by_hand(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.REGISTERED)) as t:
        await t.press("f3", "n", "h", "enter", "escape")
        assert len(t.sent("stop")) == 1
