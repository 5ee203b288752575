"""`igrt bench`: the figures."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from igrt_hw.bench.registry import Figure


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(bench)


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Figures; all if none is named.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure installed peers in turn with ours.")
    ] = False,
) -> None:
    """Measure this installation on this machine: medians, with their noise."""
    from igrt_hw import __version__
    from igrt_hw.bench.registry import BenchError, Skipped, measure_all, metrics

    known = {metric.name: metric for metric in metrics()}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise BenchError(f"no figure {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = [known[name] for name in names] if names else list(known.values())
    figures: list[Figure] = []
    skipped: list[Skipped] = []
    for result in measure_all(wanted, with_peers=peers):
        if isinstance(result, Skipped):
            skipped.append(result)
            typer.echo(f"{result.name}: not measured: {result.reason}", err=True)
            continue
        figures.append(result)
        if not as_json:
            typer.echo(_line(result))
    if as_json:
        report = {
            "version": __version__,
            "at_utc": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": {
                "processor": platform.machine(),
                "system": platform.system(),
                "python": platform.python_version(),
            },
            **{figure.name: figure.median for figure in figures},
            "figures": [figure.model_dump(mode="json") for figure in figures],
            "skipped": [one.model_dump(mode="json") for one in skipped],
        }
        typer.echo(json.dumps(report, indent=2))
    if skipped and names:
        raise typer.Exit(1)


def _line(figure: Figure) -> str:
    text = (
        f"{figure.name:<24} {figure.median:>12.4g} {figure.unit:<5} "
        f"+-{figure.noise:5.1%} of {figure.samples} samples  {figure.what}"
    )
    for peer in figure.peers:
        text += f"\n{'':<24} {peer.median:>12.4g} {figure.unit:<5} {peer.name}: {peer.ratio:.2f} x"
    return text
