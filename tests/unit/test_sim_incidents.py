"""Every incident of the list is played by a scenario that says so, or answered by a requirement that exists."""

import re
import tomllib
from pathlib import Path

import pytest

from igrt_firmware_sim import scenario

DOCS = Path(__file__).parents[2] / "docs"
ROW = re.compile(r"^\| ([DH]\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
ROWS = ROW.findall((DOCS / "simulator_control.md").read_text(encoding="utf-8"))
MACHINES = [f"D{number}" for number in range(1, 13)]
PEOPLE = [f"H{number}" for number in range(1, 13)]


def test_every_incident_has_its_row() -> None:
    assert [name for name, _, _ in ROWS] == MACHINES + PEOPLE


@pytest.mark.parametrize(("name", "scenarios", "requirements"), ROWS, ids=[row[0] for row in ROWS])
def test_an_incident_is_played_by_a_scenario_that_names_it_and_answered_by_a_requirement(
    name: str, scenarios: str, requirements: str
) -> None:
    known = tomllib.loads((DOCS / "safety" / "requirements.toml").read_text(encoding="utf-8"))
    assert set(requirements.split(", ")) <= {one["id"] for one in known["requirement"]}
    for played in re.findall(r"`(\w+)`", scenarios):
        why = scenario.read(scenario.library() / f"{played}.toml").why
        assert re.search(rf"\b{name}\b", why), f"{played} does not say {name}: {why}"
    assert scenarios.strip() == "-" or "`" in scenarios


def test_a_scenario_that_names_an_incident_stands_in_its_row() -> None:
    rows = {name: re.findall(r"`(\w+)`", scenarios) for name, scenarios, _ in ROWS}
    for path in scenario.library().glob("*.toml"):
        for name in re.findall(r"\b[DH]\d+\b", scenario.read(path).why):
            assert path.stem in rows[name], f"{path.stem} names {name}"
