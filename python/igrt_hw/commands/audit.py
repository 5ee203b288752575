"""`igrt audit`: the record, read beside a running service or without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igrt_hw.commands.places import default_store

if TYPE_CHECKING:
    from igrt_hw.records import RecordStore

Store = Annotated[
    Path | None, typer.Option("--store", envvar="IGRT_STORE", help="Folder of record and users.")
]
RECORD_FILE = "record.sqlite"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    audit = typer.Typer(help="The append-only, hash-chained record.", no_args_is_help=True)
    audit.command()(verify)
    audit.command()(show)
    audit.command()(export)
    app.add_typer(audit, name="audit")


def _open(store: Path | None) -> RecordStore:
    from igrt_hw.records import RecordStore

    return RecordStore((store or default_store()) / RECORD_FILE, read_only=True)


def verify(store: Store = None) -> None:
    """Walk the whole chain; exit 1 at the first edit, gap, reordering or cut-off end."""
    with _open(store) as record:
        problem = record.verify()
        entries, head = record.entries, record.head
    if problem is not None:
        typer.echo(f"the record does NOT verify: entry {problem.sequence}: {problem.sentence}")
        raise typer.Exit(1)
    typer.echo(f"the record verifies: {entries} entries, head {head}")


def show(
    store: Store = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only entries of these kinds.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only entries of this person or part.")] = None,
    last: Annotated[int, typer.Option(min=0, help="Only so many at the end; 0: all.")] = 0,
    data: Annotated[bool, typer.Option("--data", help="Print the data of each entry too.")] = False,
) -> None:
    """Print the record."""
    import json

    with _open(store) as record:
        entries = [
            entry
            for entry in record.all()
            if (not kind or entry.kind in kind) and (actor is None or entry.actor == actor)
        ]
    for entry in entries[-last:] if last else entries:
        typer.echo(
            f"{entry.sequence:>6}  {entry.at_utc}  {entry.kind:<20} {entry.actor:<16} {entry.text}"
        )
        if data and entry.data:
            typer.echo(f"        {json.dumps(entry.data, sort_keys=True)}")


def export(
    file: Annotated[Path, typer.Argument(help="Where to write; must not exist.")],
    store: Store = None,
) -> None:
    """Write the whole chain as JSON lines."""
    with _open(store) as record, file.open("x", encoding="utf-8") as target:
        for line in record.export():
            target.write(line + "\n")
        typer.echo(f"{record.entries} entries, head {record.head}")
