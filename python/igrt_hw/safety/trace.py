"""Hazards, requirements and the tests that verify them: read from `requirements.toml`, checked, and rendered.

python -m igrt_hw.safety.trace REPOSITORY        # writes docs/safety/hazards.md and docs/safety/trace.md
"""

from __future__ import annotations

import ast
import html
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from igrt_hw.models.base import Frozen

Severity = Literal["negligible", "minor", "serious", "critical", "catastrophic"]
Control = Literal["inherent design", "protective measure", "information"]
CONTROL_ORDER: tuple[Control, ...] = ("inherent design", "protective measure", "information")
MARKER = re.compile(r"#\s*safety:\s*(.+)$")
REQUIREMENT_ID = re.compile(r"SR-\d\d")
REQUIREMENTS = Path("docs/safety/requirements.toml")


class Hazard(Frozen):
    """What can hurt somebody, how badly, and what has happened to others."""

    id: str = Field(pattern=r"^HZ-\d\d$")
    hazard: str
    harm: str
    severity: Severity
    happened: str


class Requirement(Frozen):
    """What has to hold so that a hazard is controlled, why, and which tests show it."""

    id: str = Field(pattern=r"^SR-\d\d$")
    hazards: tuple[str, ...]
    cause: str
    requirement: str
    rationale: str
    source: str
    control: Control
    verification: tuple[str, ...] = Field(min_length=1)


class SafetyCase(Frozen):
    """Everything that the requirements file says."""

    hazard: tuple[Hazard, ...]
    requirement: tuple[Requirement, ...]


def parse(text: str) -> SafetyCase:
    """The file as data. Raises `ValueError` for unknown fields, names used twice, and hazards that are not there."""
    case = SafetyCase.model_validate(tomllib.loads(text))
    for kind, names in (
        ("hazard", [h.id for h in case.hazard]),
        ("requirement", [r.id for r in case.requirement]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{kind} used twice: {', '.join(twice)}")
    known = {h.id for h in case.hazard}
    for requirement in case.requirement:
        missing = set(requirement.hazards) - known
        if missing or not requirement.hazards:
            raise ValueError(
                f"{requirement.id} names hazards that are not there: {sorted(missing)}"
            )
    return case


def tests_in(root: Path) -> dict[str, frozenset[str]]:
    """Every test below `root/tests` by node id, with the requirements that its `# safety:` comment names.

    A test is a function `test_*` or a class; the comment stands directly above it, decorators in between allowed.
    """
    found: dict[str, frozenset[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if not node.name.startswith("test_"):
                    continue
            elif not isinstance(node, ast.ClassDef):
                continue
            name = f"{path.relative_to(root).as_posix()}::{node.name}"
            found[name] = _marked(lines, node)
    return found


def _marked(
    lines: list[str], node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
) -> frozenset[str]:
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    last_of_decorators = node.lineno
    above = lines[first - 2 : first - 1] if first >= 2 else []
    names: set[str] = set()
    for line in (*above, *lines[first - 1 : last_of_decorators]):
        match = MARKER.search(line)
        if match:
            names |= set(REQUIREMENT_ID.findall(match.group(1)))
    return frozenset(names)


def problems(case: SafetyCase, tests: dict[str, frozenset[str]]) -> list[str]:
    """Where requirements and tests disagree: named tests that do not exist, marks that name no requirement."""
    found = []
    known = {r.id: r for r in case.requirement}
    for requirement in case.requirement:
        for name in requirement.verification:
            if name not in tests:
                found.append(f"{requirement.id} names {name}, which does not exist")
            elif requirement.id not in tests[name]:
                found.append(
                    f"{name} does not carry `# safety: {requirement.id}`, but {requirement.id} names it"
                )
    for name, marks in tests.items():
        for mark in sorted(marks):
            if mark not in known:
                found.append(f"{name} is marked {mark}, which is no requirement")
            elif name not in known[mark].verification:
                found.append(f"{name} is marked {mark}, but {mark} does not name it")
    covered = {h for r in case.requirement for h in r.hazards}
    found += [f"{h.id} has no requirement" for h in case.hazard if h.id not in covered]
    return found


# ---- rendering -----------------------------------------------------------------------------------------------------


def hazards_markdown(case: SafetyCase) -> str:
    """The hazard table: what can happen, how bad, what controls it, in the order of ISO 14971."""
    lines = [
        "# Hazards",
        "",
        "Generated from `requirements.toml` by `python -m igrt_hw.safety.trace .`; do not edit.",
        "",
        "Not a risk management file: severities are this project's judgement, probabilities are not estimated, nothing",
        "here was reviewed by a notified body. Controls stand in the order of ISO 14971: inherent design, protective",
        "measure, information.",
        "",
        "| id | hazard | harm | severity | it has happened | controls |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for hazard in case.hazard:
        controls = "<br>".join(
            f"{r.id} ({r.control})"
            for r in sorted(
                (r for r in case.requirement if hazard.id in r.hazards),
                key=lambda r: (CONTROL_ORDER.index(r.control), r.id),
            )
        )
        cells = (hazard.id, hazard.hazard, hazard.harm, hazard.severity, hazard.happened, controls)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def trace_markdown(case: SafetyCase) -> str:
    """The trace matrix: hazard, cause, requirement, rationale, verification."""
    lines = [
        "# Trace matrix",
        "",
        "Generated from `requirements.toml` by `python -m igrt_hw.safety.trace .`; do not edit.",
        "",
    ]
    for r in case.requirement:
        lines += [
            f"## {r.id}",
            "",
            r.requirement,
            "",
            f"- hazards: {', '.join(r.hazards)}; cause: {r.cause}",
            f"- rationale: {r.rationale} Source: {r.source}.",
            f"- control: {r.control}",
            "- verified by:",
            *(f"  - `{name}`" for name in r.verification),
            "",
        ]
    return "\n".join(lines)


def trace_html(case: SafetyCase) -> str:
    """The same as one HTML page without anything from elsewhere."""
    head = "<th>" + "</th><th>".join(
        ("id", "hazards", "cause", "requirement", "rationale", "control", "verified by")
    )
    rows = "\n".join(_html_row(r) for r in case.requirement)
    hazards = "\n".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(c)}</td>" for c in (h.id, h.hazard, h.harm, h.severity, h.happened)
        )
        + "</tr>"
        for h in case.hazard
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>igrt-hw trace matrix</title>"
        "<style>body{font-family:sans-serif}td,th{border:1px solid #999;padding:.3em;vertical-align:top}"
        "table{border-collapse:collapse}</style></head><body><h1>igrt-hw trace matrix</h1>"
        "<p>Not a medical device, and not a risk management file.</p>"
        f"<table><tr>{head}</th></tr>\n{rows}</table><h2>Hazards</h2>"
        "<table><tr><th>id</th><th>hazard</th><th>harm</th><th>severity</th><th>it has happened</th></tr>\n"
        f"{hazards}</table></body></html>\n"
    )


def _html_row(r: Requirement) -> str:
    tests = "<br>".join(f"<code>{html.escape(name)}</code>" for name in r.verification)
    cells: Iterable[str] = (
        r.id,
        ", ".join(r.hazards),
        r.cause,
        r.requirement,
        f"{r.rationale} ({r.source})",
        r.control,
    )
    return "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + f"<td>{tests}</td></tr>"


def main(arguments: list[str]) -> int:
    """Write the generated documents of the repository given."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m igrt_hw.safety.trace REPOSITORY\n")
        return 2
    root = Path(arguments[0])
    case = parse((root / REQUIREMENTS).read_text(encoding="utf-8"))
    (root / "docs/safety/hazards.md").write_text(hazards_markdown(case), encoding="utf-8")
    (root / "docs/safety/trace.md").write_text(trace_markdown(case), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
