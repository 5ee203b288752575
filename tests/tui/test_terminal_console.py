"""What the console says of dose, mode, assurance and motion by hand: in words, and only where it matters."""

from __future__ import annotations

from typing import Any

import pytest

from igrt_hw.models.imaging import DoseView
from igrt_hw.models.status import AlarmPriority, LoopState
from igrt_tui import rehearsal
from igrt_tui.view_model import header

S = LoopState


def dose(**changes: Any) -> DoseView:
    fields: dict[str, Any] = {
        "site": "thorax", "protocol": "thorax", "fraction": 3, "exposures_in_fraction": 2, "exposures_in_course": 8,
        "lost_in_course": 0, "scans_in_course": 0, "pairs_usual": 1, "pairs_most": 3, "skin_mGy_fraction": 0.42,
        "skin_mGy_course": 1.7, "skin_mGy_next_pair": 0.21, "dose_area_uGycm2_fraction": 22.0,
        "dose_area_uGycm2_course": 88.0, "uncertainty_factor": 2.0, "alara": ("narrow the field to the spine",),
        "repeat": "", "warnings": (),
    }  # fmt: skip
    return DoseView.model_validate(fields | changes)


async def test_the_dose_is_told_as_an_estimate(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.CHECKED, dose=dose())) as t:
        assert "0.42 mGy skin this fraction, 1.7 mGy course (estimate, x2)" in t.text()


async def test_before_x_rays_the_terminal_says_what_they_cost_and_what_to_think_of(
    terminal: Any,
) -> None:
    said = "This is the third pair of this fraction: say why."
    async with terminal(rehearsal.status(S.SETUP, dose=dose(repeat=said))) as t:
        await t.press("i")
        for wanted in ("adds about 0.21 mGy", "narrow the field", said):
            assert wanted in t.text()
        assert t.supervisor.sent == []


async def test_a_mode_that_is_not_the_clinical_one_is_marked(terminal: Any) -> None:
    async with terminal(rehearsal.status(S.IDLE, mode="service")) as t:
        assert "▲ SERVICE MODE" in t.text()


async def test_reduced_assurance_is_on_the_console(terminal: Any) -> None:
    couch = rehearsal.couch(S.CHECKED).model_copy(
        update={"assurance": ("no second channel", "no digest")}
    )
    async with terminal(rehearsal.status(S.CHECKED, couch=couch)) as t:
        assert "REDUCED ASSURANCE (2): F6" in t.text()


async def test_motion_without_an_approved_path_is_called_what_it_is(terminal: Any) -> None:
    couch = rehearsal.couch(S.SETUP).model_copy(update={"moving": True})
    async with terminal(rehearsal.status(S.SETUP, couch=couch)) as t:
        assert "MOVES BY HAND" in t.text()


@pytest.mark.parametrize("size", [(100, 30), (120, 36)])
async def test_with_everything_wrong_at_once_what_matters_is_still_on_the_console(
    terminal: Any, size: tuple[int, int]
) -> None:
    couch = rehearsal.couch(S.FAULT).model_copy(
        update={"assurance": ("no second channel",), "faults": ("channels disagree", "brake slips")}
    )
    alarms = tuple(
        rehearsal.alarm(f"Alarm number {n} of many that came together", AlarmPriority.HIGH, f"A{n}")
        for n in range(9)
    )
    open_ones = tuple(
        i.model_copy(update={"satisfied": False, "detail": "it is open"})
        for i in rehearsal.interlocks()
    )
    status = rehearsal.status(
        S.FAULT,
        couch=couch,
        alarms=alarms,
        interlocks=open_ones,
        dose=dose(warnings=("much",)),
        reason="channels disagree",
    )
    async with terminal(status, size=size) as t:
        shown = "\n".join(
            str(line) for line in (strip.text for strip in t.app.screen._compositor.render_strips())
        )
        for wanted in (
            "*** HIGH",
            "(+8 more, F7)",
            "FAULT",
            "channels disagree",
            "REDUCED ASSURANCE",
            "Find the cause",
        ):
            assert wanted in shown, f"{wanted}\n{shown}"


@pytest.mark.parametrize("key", ["f2", "f4", "f6", "f10"])
async def test_a_line_that_has_just_fallen_silent_is_named_on_every_screen(
    terminal: Any, key: str
) -> None:
    links = tuple(
        link.model_copy(update={"age_ms": 160.0}) if link.name == "couch" else link
        for link in rehearsal.links()
    )
    async with terminal(rehearsal.status(S.CHECKED, links=links)) as t:
        await t.press(key)
        assert "◌ LINE SILENT: couch 160 ms" in t.text()
        high = rehearsal.alarm("the couch is lost", AlarmPriority.HIGH, "H")
        t.supervisor.now = rehearsal.status(S.CHECKED, links=links, alarms=(high,))
        await t.settle()
        assert "*** HIGH: the couch is lost" in t.text(), "what the supervisor says comes first"


def test_a_slow_line_is_silent_only_after_several_of_its_own_periods() -> None:
    link = rehearsal.links()[0].model_copy(update={"rate_hz": 5.0, "age_ms": 400.0})
    assert not header.is_quiet(link, 0.0)
    assert header.is_quiet(link, 250.0)
