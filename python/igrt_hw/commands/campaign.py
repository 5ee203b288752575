"""`igrt campaign`: whole treatment sessions in virtual time, with people and faults, judged by the truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from igrt_hw.campaign.runner import CampaignReport, Tally

SHOWN_MAX = 20


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(campaign)


def campaign(
    sessions: Annotated[int, typer.Option("--sessions", "-n", min=1, help="How many.")] = 1000,
    seed: Annotated[
        int, typer.Option("--seed", "-s", help="Seed of the first; then one by one.")
    ] = 1,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=0, help="Processes; 0: one for each core.")
    ] = 0,
    dask: Annotated[
        str, typer.Option("--dask", help="Address of a Dask scheduler, as tcp://host:8786.")
    ] = "",
    replay: Annotated[
        int | None, typer.Option("--replay", help="Run one seed here and show its whole record.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON to this file.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Run treatment sessions with random faults in virtual time; no promise may be broken.

    Exit code 1 if one was. Every violation comes with the seed that replays it.
    """
    from igrt_hw.campaign.room import NoSimulatorError
    from igrt_hw.campaign.runner import CampaignError, run_campaign

    try:
        if replay is not None:
            _replay(replay)
            return
        with SessionsBar(sessions, quiet) as progress:
            made = run_campaign(
                sessions, seed, jobs=jobs or os.cpu_count() or 1, dask=dask, progress=progress
            )
    except (CampaignError, NoSimulatorError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    if report is not None:
        report.write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _show(made)
    if not made.passed:
        raise typer.Exit(1)


class SessionsBar:
    """A progress bar with what was found so far."""

    def __init__(self, sessions: int, quiet: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("sessions"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, disable=quiet, transient=True)
        self._task = self._progress.add_task("", total=sessions)

    def __enter__(self) -> SessionsBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, tally: Tally) -> None:
        """Show what is done."""
        done = tally.sessions + len(tally.errors)
        words = f"{tally.violations_total} violations"
        self._progress.update(self._task, completed=done, description=words)


def _show(made: CampaignReport) -> None:
    typer.echo(
        f"{made.sessions} sessions from seed {made.first_seed}: {made.virtual_s:.0f} s of treatment,"
        f" {made.moved_s:.0f} s of motion, {made.arrivals} arrivals;"
        f" {made.wall_s:.1f} s, {made.sessions_per_core_s:.1f} sessions a second and core"
    )
    typer.echo(
        f"stops by people {made.stops}, crashes of the supervisor {made.crashes},"
        f" faults injected {sum(made.faults.values())} of {len(made.faults)} kinds"
    )
    typer.echo(
        f"nuisance alarms {made.nuisance_alarms} in {made.quiet_sessions} sessions without a fault"
        + (f" (seeds {', '.join(map(str, made.nuisance_seeds))})" if made.nuisance_seeds else "")
    )
    for title, counted in (
        ("faults", made.faults),
        ("alarms", made.alarms),
        ("ended", made.states),
    ):
        words = ", ".join(f"{name} {count}" for name, count in counted.items())
        typer.echo(f"{title}: {words or 'none'}")
    typer.echo(f"log hash {made.log_hash}")
    for seed, error in list(made.errors.items())[:SHOWN_MAX]:
        typer.echo(f"LOST   seed {seed}: {error}   igrt campaign --replay {seed}")
    for broken in made.violations[:SHOWN_MAX]:
        typer.echo(
            f"BROKEN {broken.promise}: {broken.detail}, at {broken.at_s:.3f} s"
            f"   igrt campaign --replay {broken.seed}"
        )
    typer.echo(f"violations: {made.violations_total}")


def _replay(seed: int) -> None:
    from igrt_hw.campaign.rig import Rig
    from igrt_hw.campaign.session import run_session

    rigs: list[Rig] = []

    def remembered(*args: object, **options: object) -> Rig:
        rigs.append(Rig(*args, **options))  # type: ignore[arg-type]
        return rigs[-1]

    made = run_session(seed, rig_of=remembered)
    began_us = rigs[0].began_us
    for told in rigs[0].records:
        record = told.record
        at_s = (told.at_us - began_us) / 1e6
        typer.echo(f"{at_s:9.3f} {record.kind:<12} {record.actor:<12} {record.text}")
    typer.echo(made.model_dump_json(indent=2))
    if made.violations:
        raise typer.Exit(1)
