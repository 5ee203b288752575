"""Requirements and tests name one another, and the generated documents are those of the requirements that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from igrt_hw.safety import procedures, trace

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / trace.REQUIREMENTS).read_text(encoding="utf-8")
CASE = trace.parse(SOURCE)


def test_every_requirement_names_tests_and_every_safety_test_names_a_requirement() -> None:
    assert trace.problems(CASE, trace.tests_in(ROOT)) == []


def test_hazard_table_and_trace_matrix_are_up_to_date() -> None:
    say = "run: python -m igrt_hw.safety.trace ."
    assert (ROOT / "docs/safety/hazards.md").read_text(encoding="utf-8") == trace.hazards_markdown(
        CASE
    ), say
    assert (ROOT / "docs/safety/trace.md").read_text(encoding="utf-8") == trace.trace_markdown(
        CASE
    ), say


def test_recovery_document_is_what_the_api_shows() -> None:
    written = (ROOT / "docs/safety/recovery.md").read_text(encoding="utf-8")
    say = "run: python -m igrt_hw.safety.procedures > docs/safety/recovery.md"
    assert written == procedures.markdown(), say
    assert len({procedure.name for procedure in procedures.PROCEDURES}) == len(
        procedures.PROCEDURES
    )


def test_html_of_the_trace_matrix_names_every_requirement_and_test() -> None:
    page = trace.trace_html(CASE)
    for requirement in CASE.requirement:
        assert requirement.id in page
        for name in requirement.verification:
            assert name in page
    assert "http" not in page


def test_disagreements_are_found() -> None:
    first = CASE.requirement[0]
    tests = trace.tests_in(ROOT)
    gone = {name: marks for name, marks in tests.items() if name != first.verification[0]}
    assert any("does not exist" in p for p in trace.problems(CASE, gone))
    unmarked = tests | {first.verification[0]: frozenset[str]()}
    assert any("does not carry" in p for p in trace.problems(CASE, unmarked))
    stray = tests | {"tests/x.py::test_x": frozenset({"SR-99"})}
    assert any("no requirement" in p for p in trace.problems(CASE, stray))
    silent = tests | {"tests/x.py::test_x": frozenset({first.id})}
    assert any("does not name it" in p for p in trace.problems(CASE, silent))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('id = "SR-02"', 'id = "SR-01"', "used twice"),
        ('hazards = ["HZ-01"', 'hazards = ["HZ-98"', "not there"),
        ("verification = [", "verified_by = [", "verification"),
    ],
)
def test_broken_requirements_file_is_refused(old: str, new: str, says: str) -> None:
    assert old in SOURCE
    with pytest.raises(ValueError, match=says):
        trace.parse(SOURCE.replace(old, new, 1))
