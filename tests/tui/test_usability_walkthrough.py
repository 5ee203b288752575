"""`docs/usability.md` is what the command writes, and its pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from igrt_tui import pictures, walkthrough

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_walkthrough_has_ten_tasks_and_every_step_says_what_stops_it() -> None:
    assert len(walkthrough.TASKS) == 10
    for task in walkthrough.TASKS:
        for step in task.steps:
            assert all((step.sees, step.types, step.wrong, step.stops)), step.name


def test_the_document_is_the_one_that_the_command_writes() -> None:
    assert (DOCS / "usability.md").read_text(encoding="utf-8") == walkthrough.markdown()


def test_every_step_has_its_picture_and_no_picture_is_left_over() -> None:
    wanted = {
        walkthrough.file_name(number, step)
        for number, task in enumerate(walkthrough.TASKS, start=1)
        for step in task.steps
    }
    assert {file.name for file in (DOCS / "img" / "usability").iterdir()} == wanted


@pytest.mark.parametrize("name", ["approve-typed", "second-reads"])
async def test_the_keys_of_a_step_lead_to_its_picture(name: str) -> None:
    step = next(s for task in walkthrough.TASKS for s in task.steps if s.name == name)
    words = re.sub(r"<[^>]+>|&#160;", " ", await pictures.picture_of_step(step))
    wanted = {"approve-typed": "approves this shift, once", "second-reads": "Typed by second"}
    assert wanted[name] in re.sub(r"\s+", " ", words)
