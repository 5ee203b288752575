"""`igrt safety report`: hazards, requirements and the tests that show them, from `docs/safety/requirements.toml`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


class SafetyReportError(Exception):
    """The report cannot be made; the sentence says why."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    safety = typer.Typer(help="The safety case.", no_args_is_help=True)
    safety.callback()(_case)  # typer makes a group of one command the command itself
    safety.command()(report)
    app.add_typer(safety, name="safety")


def _case() -> None:
    """The safety case."""


def report(
    repository: Annotated[
        Path, typer.Option(help="A checkout: requirements and tests are not part of the package.")
    ] = Path(),
    html: Annotated[Path | None, typer.Option(help="Write HTML here.")] = None,
) -> None:
    """Print hazards and trace matrix as Markdown; exit 1 where requirements and tests disagree."""
    from igrt_hw.safety import trace

    file = repository / trace.REQUIREMENTS
    if not file.exists():
        raise SafetyReportError(
            f"{file} is not there; run this in a checkout, or give --repository"
        )
    case = trace.parse(file.read_text(encoding="utf-8"))
    found = trace.problems(case, trace.tests_in(repository))
    typer.echo(trace.hazards_markdown(case))
    typer.echo(trace.trace_markdown(case))
    if html is not None:
        html.write_text(trace.trace_html(case), encoding="utf-8")
    for problem in found:
        typer.echo(f"PROBLEM: {problem}", err=True)
    if found:
        raise typer.Exit(1)
